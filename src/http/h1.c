/* h1.c: parsing HTTP/1. The start line, the division into lines and chunks (h1_chunk.c) are ours, the fields and the message's extent
 * are llhttp's, and where both have an opinion they must agree, or the message is refused: a proxy that reads framing differently from its neighbours is
 * how requests are smuggled.
 *
 *   START ──> HEAD ──> BODY ──> TRAILERS ──> DONE ──> START
 *     ^        │ └──────│──────────────────────^
 *     └─(1xx)──┘        └──────────────────────^        any ──> FAILED
 *
 * A head is collected in the block of `head` until its empty line, each line checked as it completes; then llhttp reads it in one
 * go, and names and values are slices of that same block: one copy, and no difference between one feed and many. Bodies are handed
 * on straight from the input. llhttp starts anew with each message, so nothing of one message can colour the next.
 * The method and the target are ours alone (llhttp is told "POST / "): it knows a fixed list of methods and refuses raw UTF-8 in
 * targets, while every token is a method (RFC 9110 §9.1) and such targets occur; neither touches the framing. */
#include "http/h1.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "base/util.h"
#include "http/h1_chunk.h"
#include "http/h1_facts.h"
#include "http/token.h"
#include "http/url.h"

#include <assert.h>
#include <llhttp.h>

enum h1_state { H1_START, H1_HEAD, H1_BODY, H1_TRAILERS, H1_DONE, H1_FAILED };
enum h1_answers { H1_ANY, H1_ANSWERS_HEAD, H1_ANSWERS_CONNECT };
enum { H1_BLANKS_MAX = 16, H1_STATUS_AT = 9, H1_STATUS_END = 12, H1_VERSION_BYTES = 8 };

struct h1 {
    llhttp_t parser;
    enum h1_role role;
    enum h1_state state;
    enum h1_answers answers;
    struct h1_events events;
    void *ctx;
    struct h1_message message;
    struct head head;
    struct headers trailers;
    struct slice target; /* request: as sent */
    size_t start_line;   /* bytes of the first line with its CRLF */
    size_t line;         /* where the unfinished line begins in the block */
    uint32_t lines;      /* complete ones in this section; trailers start at 1, for they have no start line */
    unsigned blanks;     /* bytes of empty lines before the request */
    struct h1_chunk chunk;
    unsigned informational;     /* responses before the final one, which is still due */
    size_t informational_bytes; /* of their heads */
    enum err failed;
    enum err callback_error;
    const char *why;
};

static const unsigned h1_next_states[] = {
    [H1_START] = BIT(H1_HEAD) | BIT(H1_FAILED),
    [H1_HEAD] = BIT(H1_START) | BIT(H1_BODY) | BIT(H1_DONE) | BIT(H1_FAILED),
    [H1_BODY] = BIT(H1_TRAILERS) | BIT(H1_DONE) | BIT(H1_FAILED),
    [H1_TRAILERS] = BIT(H1_DONE) | BIT(H1_FAILED),
    [H1_DONE] = BIT(H1_START) | BIT(H1_FAILED),
    [H1_FAILED] = 0,
};

static void h1_enter(struct h1 *c, enum h1_state to)
{
    assert(h1_next_states[c->state] & BIT(to));
    c->state = to;
    if (to == H1_START)
        head_clear(&c->head, c->role == H1_SERVER ? HEAD_REQUEST : HEAD_RESPONSE);
    c->line = 0;
    c->lines = to == H1_TRAILERS;
}

static enum err h1_refuse(struct h1 *c, enum err e, const char *why)
{
    c->why = why;
    return e;
}

static struct h1 *h1_of(llhttp_t *parser)
{
    return container_of(parser, struct h1, parser);
}

/* ---- lines ---- */

/* The first line as far as it is here: is it a request or a status line at all? Garbage is refused at its first byte. */
static enum err start_check(struct h1 *c, struct span line)
{
    if (c->role == H1_CLIENT) {
        struct span magic = SPAN("HTTP/1.");
        size_t n = MIN(magic.n, line.n);
        return span_eq(span_first(line, n), span_first(magic, n)) ? ERR_OK
                                                                  : h1_refuse(c, ERR_PARSE, "no HTTP/1 status line");
    }
    for (size_t i = 0; i < line.n && line.p[i] != ' '; i++) {
        if (!token_char(line.p[i]))
            return h1_refuse(c, ERR_PARSE, "no HTTP/1 request line: the method is no token");
        if (i >= LIMIT_METHOD_BYTES)
            return h1_refuse(c, ERR_LIMIT, "the method is too long");
    }
    return ERR_OK;
}

/* One line, complete with its LF unless `whole` is false. */
static enum err line_check(struct h1 *c, struct span line, bool whole, bool *last)
{
    if (c->lines == 0) {
        enum err e = start_check(c, line);
        if (e)
            return e;
    }
    if (!whole)
        return ERR_OK;
    if (line.n < 2 || line.p[line.n - 2] != '\r')
        return h1_refuse(c, ERR_AMBIGUOUS, "bare LF");
    if (memchr(line.p, '\r', line.n - 2))
        return h1_refuse(c, ERR_AMBIGUOUS, "bare CR");
    if (c->lines > 0 && (line.p[0] == ' ' || line.p[0] == '\t'))
        return h1_refuse(c, ERR_AMBIGUOUS, "folded field line");
    if (c->lines == 0)
        c->start_line = line.n;
    *last = line.n == 2;
    if (++c->lines > LIMIT_HEADERS + 1 && !*last)
        return h1_refuse(c, ERR_LIMIT, "too many fields");
    return ERR_OK;
}

/* Takes lines until the empty one. Lines are checked in the input and copied together; only one that began in an earlier feed is
 * checked in the block. */
static enum err section_take(struct h1 *c, struct buf *block, struct span in, size_t *took, bool *done)
{
    struct span all = span_first(in, LIMIT_HEAD_BYTES - block->n);
    size_t base = block->n, at = 0, copied = 0;
    while (!*done && at < all.n) {
        size_t lf = at + span_find(span_from(all, at), '\n');
        bool whole = lf < all.n;
        size_t end = whole ? lf + 1 : all.n;
        struct span line = span_of(all.p + at, end - at);
        if (base + at > c->line) {
            enum err e = buf_put(block, line);
            if (e)
                return e;
            copied = end;
            line = span_from(buf_span(block), c->line);
        }
        enum err e = line_check(c, line, whole, done);
        if (e)
            return e;
        at = end;
        if (whole)
            c->line = base + end;
    }
    *took = at;
    enum err e = buf_put(block, span_of(all.p + copied, at - copied));
    if (!e && !*done && block->n >= LIMIT_HEAD_BYTES)
        return h1_refuse(c, ERR_LIMIT, c->state == H1_TRAILERS ? "the trailers are too long" : "the head is too long");
    return e;
}

/* ---- the start line ---- */

static enum err version_check(struct h1 *c, struct span version)
{
    if (span_eq(version, SPAN("HTTP/1.1")) || span_eq(version, SPAN("HTTP/1.0")))
        return ERR_OK;
    return h1_refuse(c, ERR_PARSE, "no HTTP version of 1.0 or 1.1");
}

static enum err request_line(struct h1 *c)
{
    struct span line = span_first(buf_span(&c->head.headers.block), c->start_line - 2);
    size_t method = span_find(line, ' ');
    struct span rest = span_from(line, method + 1);
    size_t target = span_find(rest, ' ');
    if (method == 0 || target == 0 || target == rest.n)
        return h1_refuse(c, ERR_PARSE, "the request line has not three parts");
    if (target > LIMIT_TARGET_BYTES)
        return h1_refuse(c, ERR_LIMIT, "the request target is too long");
    if (!token_graphic(span_first(rest, target)))
        return h1_refuse(c, ERR_PARSE, "control character in the request target");
    struct span version = span_from(rest, target + 1);
    c->head.method = (struct slice){0, (uint32_t)method};
    c->target = (struct slice){(uint32_t)method + 1, (uint32_t)target};
    c->head.version = (struct slice){(uint32_t)(method + target + 2), (uint32_t)version.n};
    return version_check(c, version);
}

static enum err status_line(struct h1 *c)
{
    struct span line = span_first(buf_span(&c->head.headers.block), c->start_line - 2);
    uint64_t status;
    if (line.n < H1_STATUS_END || line.p[H1_VERSION_BYTES] != ' ' ||
        (line.n > H1_STATUS_END && line.p[H1_STATUS_END] != ' ') ||
        !span_to_u64(span_of(line.p + H1_STATUS_AT, 3), 999, &status) || status < 100)
        return h1_refuse(c, ERR_PARSE, "invalid status line");
    size_t reason = MIN((size_t)H1_STATUS_END + 1, line.n);
    c->head.status = (unsigned)status;
    c->head.version = (struct slice){0, H1_VERSION_BYTES};
    c->head.reason = (struct slice){(uint32_t)reason, (uint32_t)(line.n - reason)};
    if (!token_line_safe(head_span(&c->head, c->head.reason)))
        return h1_refuse(c, ERR_PARSE, "control character in the reason phrase");
    return version_check(c, head_span(&c->head, c->head.version));
}

/* ---- what the fields mean ---- */

/* The slice of bytes that lie in the head's block. */
static struct slice slice_in(const struct buf *block, struct span s)
{
    assert(s.n == 0 || (s.p >= block->p && s.p + s.n <= block->p + block->n));
    return s.n == 0 ? (struct slice){0, 0} : (struct slice){(uint32_t)(s.p - block->p), (uint32_t)s.n};
}

/* Appends to the block, which head_parse() made large enough: llhttp is reading it, so it must not move. */
static uint8_t *block_append(struct h1 *c, size_t n, struct slice *out)
{
    struct buf *block = &c->head.headers.block;
    assert(block->cap - block->n >= n);
    *out = (struct slice){(uint32_t)block->n, (uint32_t)n};
    block->n += n;
    return block->p + out->at;
}

static struct slice keep_lower(struct h1 *c, struct span s)
{
    size_t i = 0;
    while (i < s.n && !(s.p[i] >= 'A' && s.p[i] <= 'Z'))
        i++;
    if (i == s.n)
        return slice_in(&c->head.headers.block, s);
    struct slice out;
    uint8_t *to = block_append(c, s.n, &out);
    for (i = 0; i < s.n; i++)
        to[i] = s.p[i] >= 'A' && s.p[i] <= 'Z' ? (uint8_t)(s.p[i] | 0x20) : s.p[i];
    return out;
}

/* Where Host disagrees with an absolute target, Host becomes the target's authority (RFC 9112 §3.2.2), so that no later reader
 * can be led elsewhere. Its value then lies in the target. */
static void host_agree(struct h1 *c, const struct h1_facts *facts, struct span target, const struct url *url)
{
    struct span host;
    unsigned port;
    if (facts->hosts == 0)
        return;
    if (facts->host.n > 0 && url_authority(facts->host, &host, &port) == ERR_OK && span_eq_nocase(host, url->host) &&
        (port ? port : url_default_port(url->scheme)) == url->port)
        return;
    const uint8_t *from = url->host.p, *end = target.p + target.n;
    if (from[-1] == '[')
        from--;
    const uint8_t *to = from;
    while (to < end && *to != '/' && *to != '?' && *to != '#')
        to++;
    c->head.headers.fields[facts->host_index].value =
        slice_in(&c->head.headers.block, span_of(from, (size_t)(to - from)));
}

static enum err absolute_target(struct h1 *c, const struct h1_facts *facts, struct span target)
{
    struct url url;
    if (url_parse(target, &url))
        return h1_refuse(c, ERR_PARSE, "the request target is neither a path nor an http URL");
    struct head *h = &c->head;
    c->message.absolute_form = true;
    host_agree(c, facts, target, &url);
    h->port = url.port;
    h->host = keep_lower(c, url.host);
    bool secure = url_default_port(url.scheme) == 443;
    memcpy(block_append(c, secure ? 5 : 4, &h->scheme), "https", secure ? 5 : 4);
    if (url.path.n > 0) {
        h->path = slice_in(&h->headers.block, url.path);
    } else if (url.has_query) {
        uint8_t *to = block_append(c, url.query.n + 2, &h->path);
        memcpy(to, "/?", 2);
        if (url.query.n)
            memcpy(to + 2, url.query.p, url.query.n);
    } else {
        /* RFC 9112 §3.2.4: OPTIONS for a URL without a path asks about the server. */
        bool server_wide = span_eq(head_span(h, h->method), SPAN("OPTIONS"));
        *block_append(c, 1, &h->path) = server_wide ? '*' : '/';
    }
    return ERR_OK;
}

static enum err target_resolve(struct h1 *c, const struct h1_facts *facts, bool http10, bool connect)
{
    struct head *h = &c->head;
    struct span host = SPAN_EMPTY, target = head_span(h, c->target);
    if (facts->hosts > 1)
        return h1_refuse(c, ERR_AMBIGUOUS, "more than one Host");
    bool origin_form = !connect && (target.p[0] == '/' || span_eq(target, SPAN("*")));
    /* Real clients (hyper's, among others) leave it out where the target says it all; written on, there is one. */
    if (facts->hosts == 0 && !http10 && origin_form)
        return h1_refuse(c, ERR_PARSE, "no Host field");
    if (facts->host.n > 0 && url_authority(facts->host, &host, &h->port))
        return h1_refuse(c, ERR_PARSE, "invalid Host field");
    c->message.has_host = facts->hosts > 0;
    if (connect) {
        if (url_authority(target, &host, &h->port) || h->port == 0)
            return h1_refuse(c, ERR_PARSE, "the target of CONNECT is no host:port");
        h->host = keep_lower(c, host);
        return ERR_OK;
    }
    if (!origin_form)
        return absolute_target(c, facts, target);
    h->path = c->target;
    h->host = keep_lower(c, host);
    return ERR_OK;
}

static bool llhttp_agrees(const struct h1 *c)
{
    bool chunked = (c->parser.flags & F_CHUNKED) != 0, length = (c->parser.flags & F_CONTENT_LENGTH) != 0;
    return chunked == (c->message.framing == H1_CHUNKED) && length == (c->message.framing == H1_LENGTH) &&
           (!length || c->parser.content_length == c->message.content_length);
}

/* Everything about the message that follows from its head; *skip is what llhttp is told (0: go on, 1: no body, 2: nor HTTP after it). */
static enum err head_judge(struct h1 *c, int *skip)
{
    struct h1_facts facts;
    struct h1_message *m = &c->message;
    h1_facts_gather(&facts, &c->head.headers);
    if (facts.options > LIMIT_HEADERS) /* each is looked for among all fields when the head is passed on */
        return h1_refuse(c, ERR_LIMIT, "too many options in Connection");
    bool http10 = c->parser.http_minor == 0;
    m->framing = c->role == H1_SERVER ? H1_NO_BODY : H1_UNTIL_CLOSE;
    enum err e = h1_facts_framing(&facts, http10, m, &c->why);
    if (e)
        return e;
    if (!llhttp_agrees(c))
        return h1_refuse(c, ERR_AMBIGUOUS, "framing fields with two readings");
    if (c->role == H1_SERVER) {
        bool connect = span_eq(head_span(&c->head, c->head.method), SPAN("CONNECT"));
        if (connect && (m->framing == H1_CHUNKED || m->content_length > 0))
            return h1_refuse(c, ERR_AMBIGUOUS, "content in a CONNECT request");
        e = target_resolve(c, &facts, http10, connect);
        m->expect_continue = facts.expect_continue;
        m->upgrade = facts.upgrade && facts.upgrade_token && !http10 && !connect;
        m->keep_alive = h1_facts_persist(&facts, http10, connect || m->absolute_form);
        if (connect) {
            m->framing = H1_TUNNEL;
            *skip = 2;
        }
        return e;
    }
    unsigned status = c->head.status;
    if (status == 101 || (c->answers == H1_ANSWERS_CONNECT && status / 100 == 2)) {
        m->framing = H1_TUNNEL;
        *skip = 2;
    } else if (status / 100 == 1 || status == 204 || status == 304 || c->answers == H1_ANSWERS_HEAD) {
        m->framing = H1_NO_BODY;
        *skip = 1;
    }
    m->upgrade = status == 101;
    m->keep_alive = h1_facts_persist(&facts, http10, false) && m->framing != H1_UNTIL_CLOSE && m->framing != H1_TUNNEL;
    if (m->framing != H1_LENGTH)
        m->content_length = 0;
    return ERR_OK;
}

static bool is_informational(const struct h1 *c)
{
    return c->role == H1_CLIENT && c->head.status / 100 == 1 && c->head.status != 101;
}

/* A recording keeps them all in one row, so there must be an end to them. */
static enum err informational_take(struct h1 *c)
{
    c->informational_bytes += c->head.headers.block.n;
    c->informational++;
    if (c->informational_bytes > LIMIT_INFORMATIONAL_BYTES)
        return h1_refuse(c, ERR_LIMIT, "too many informational responses");
    return c->events.informational ? c->events.informational(c->ctx, &c->head) : ERR_OK;
}

/* ---- llhttp's callbacks; a callback that fails leaves its error in callback_error ---- */

static int stop_unless_ok(struct h1 *c, enum err e)
{
    c->callback_error = e;
    return e ? -1 : 0;
}

static struct headers *section_of(struct h1 *c)
{
    return c->state == H1_TRAILERS ? &c->trailers : &c->head.headers;
}

static int on_field(llhttp_t *parser, const char *at, size_t n)
{
    struct h1 *c = h1_of(parser);
    struct headers *h = section_of(c);
    if (n == 0)
        return stop_unless_ok(c, h1_refuse(c, ERR_PARSE, "a field without a name"));
    struct slice name = slice_in(&h->block, span_of(at, n));
    return stop_unless_ok(c, headers_add_slices(h, name, (struct slice){name.at + name.n, 0}));
}

static int on_value(llhttp_t *parser, const char *at, size_t n)
{
    struct h1 *c = h1_of(parser);
    struct headers *h = section_of(c);
    struct span value = span_trim(span_of(at, n));
    if (h->n == 0 || h->fields[h->n - 1].value.n != 0)
        return stop_unless_ok(c, h1_refuse(c, ERR_AMBIGUOUS, "a field with two values"));
    if (value.n > 0)
        h->fields[h->n - 1].value = slice_in(&h->block, value);
    return 0;
}

static int on_headers_complete(llhttp_t *parser)
{
    struct h1 *c = h1_of(parser);
    int skip = 0;
    enum err e = head_judge(c, &skip);
    if (e)
        return stop_unless_ok(c, e);
    e = is_informational(c) ? informational_take(c) : c->events.head(c->ctx, &c->head, &c->message);
    if (e)
        return stop_unless_ok(c, e);
    if (c->message.framing == H1_CHUNKED || c->message.framing == H1_UNTIL_CLOSE ||
        (c->message.framing == H1_LENGTH && c->message.content_length > 0))
        h1_enter(c, H1_BODY);
    return skip;
}

static int on_body(llhttp_t *parser, const char *at, size_t n)
{
    struct h1 *c = h1_of(parser);
    c->message.body_wire_bytes += n; /* before `end`, which comes from the same call of llhttp and is told of them */
    return n == 0 ? 0 : stop_unless_ok(c, c->events.body(c->ctx, span_of(at, n)));
}

static int on_message_complete(llhttp_t *parser)
{
    struct h1 *c = h1_of(parser);
    if (c->state == H1_HEAD && is_informational(c)) {
        h1_enter(c, H1_START);
        return HPE_PAUSED;
    }
    enum err e = ERR_OK;
    if (c->trailers.n > 0 && c->events.trailers)
        e = c->events.trailers(c->ctx, &c->trailers);
    if (!e)
        e = c->events.end(c->ctx);
    if (e)
        return stop_unless_ok(c, e);
    h1_enter(c, H1_DONE);
    return HPE_PAUSED;
}

static const llhttp_settings_t h1_settings = {
    .on_header_field = on_field,
    .on_header_value = on_value,
    .on_headers_complete = on_headers_complete,
    .on_body = on_body,
    .on_message_complete = on_message_complete,
};

/* Is there white space before the colon of some field? Parsers have been known to skip it, or to take it as part of the name. */
static bool has_spaced_name(struct span section)
{
    while (section.n > 0) {
        struct span line = span_first(section, span_find(section, '\n'));
        struct span name = span_first(line, span_find(line, ':'));
        if (name.n < line.n && (span_find(name, ' ') < name.n || span_find(name, '\t') < name.n))
            return true;
        section = span_from(section, line.n + 1);
    }
    return false;
}

/* What llhttp refused, in our terms: what another parser might have read otherwise is ambiguous, the rest malformed. */
static enum err llhttp_refusal(struct h1 *c, llhttp_errno_t error)
{
    static const struct {
        llhttp_errno_t error;
        enum err e;
        const char *why;
    } refusals[] = {
        {HPE_UNEXPECTED_CONTENT_LENGTH, ERR_AMBIGUOUS, "Content-Length beside another one or beside Transfer-Encoding"},
        {HPE_INVALID_CONTENT_LENGTH, ERR_AMBIGUOUS, "Content-Length that is no number"},
        {HPE_INVALID_TRANSFER_ENCODING, ERR_AMBIGUOUS, "Transfer-Encoding that does not end in one chunked"},
        {HPE_STRICT, ERR_AMBIGUOUS, "line ends with two readings"},
        {HPE_LF_EXPECTED, ERR_AMBIGUOUS, "CR without LF"},
        {HPE_CR_EXPECTED, ERR_AMBIGUOUS, "LF without CR"},
        {HPE_INVALID_VERSION, ERR_PARSE, "no HTTP version of 1.0 or 1.1"},
        {HPE_INVALID_STATUS, ERR_PARSE, "invalid status line"},
    };
    if (c->callback_error)
        return c->callback_error;
    if (error == HPE_INVALID_HEADER_TOKEN) {
        size_t skip = c->state == H1_HEAD ? c->start_line : 0;
        if (has_spaced_name(span_from(buf_span(&section_of(c)->block), skip)))
            return h1_refuse(c, ERR_AMBIGUOUS, "white space in a field name or before its colon");
        return h1_refuse(c, ERR_PARSE, "invalid character in a field");
    }
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++)
        if (refusals[i].error == error)
            return h1_refuse(c, refusals[i].e, refusals[i].why);
    return h1_refuse(c, ERR_PARSE, "malformed message");
}

/* ---- feeding ---- */

static llhttp_errno_t parser_run(struct h1 *c, struct span s)
{
    return llhttp_execute(&c->parser, (const char *)s.p, s.n);
}

/* A whole section lies in the block. llhttp must take it to its last byte. */
static enum err section_parse(struct h1 *c, struct span section)
{
    enum h1_state before = c->state;
    const char *end = (const char *)section.p + section.n;
    llhttp_errno_t error = parser_run(c, section);
    bool paused = error == HPE_PAUSED || error == HPE_PAUSED_UPGRADE;
    if (error != HPE_OK && !paused)
        return llhttp_refusal(c, error);
    if (c->state == before || (paused && llhttp_get_error_pos(&c->parser) != end))
        return h1_refuse(c, ERR_AMBIGUOUS, "a section with two readings of its end");
    return ERR_OK;
}

static enum err head_parse(struct h1 *c)
{
    struct buf *block = &c->head.headers.block;
    size_t n = block->n;
    c->message = (struct h1_message){.head_bytes = n};
    enum err e = c->role == H1_SERVER ? request_line(c) : status_line(c);
    if (e)
        return e;
    uint8_t *unused; /* host, scheme and path may be written behind the head, while llhttp reads it */
    e = buf_reserve(block, n + 16, &unused);
    if (e)
        return e;
    llhttp_reset(&c->parser);
    size_t from = 0;
    if (c->role == H1_SERVER) {
        from = c->head.version.at;
        llhttp_errno_t error = parser_run(c, SPAN("POST / "));
        if (error)
            return llhttp_refusal(c, error);
    }
    return section_parse(c, span_of(block->p + from, n - from));
}

static enum err start_take(struct h1 *c, struct span in, size_t *took)
{
    /* Some clients end a body with one CRLF too many (RFC 9112 §2.2). */
    size_t n = 0;
    while (c->role == H1_SERVER && n < in.n && (in.p[n] == '\r' || in.p[n] == '\n')) {
        if ((in.p[n] == '\n') != (c->blanks % 2 == 1))
            return h1_refuse(c, ERR_AMBIGUOUS, in.p[n] == '\n' ? "bare LF" : "bare CR");
        if (++c->blanks > H1_BLANKS_MAX)
            return h1_refuse(c, ERR_LIMIT, "too many empty lines before a request");
        n++;
    }
    *took = n;
    if (n == in.n)
        return ERR_OK;
    if (c->blanks % 2 == 1)
        return h1_refuse(c, ERR_AMBIGUOUS, "bare CR");
    h1_enter(c, H1_HEAD);
    return ERR_OK;
}

static enum err head_take(struct h1 *c, struct span in, size_t *took)
{
    bool done = false;
    enum err e = section_take(c, &c->head.headers.block, in, took, &done);
    return e || !done ? e : head_parse(c);
}

/* Chunk framing is ours; llhttp is shown an empty chunked body, so that it reads the trailers as what they are. */
static enum err chunked_take(struct h1 *c, struct span in, size_t *took)
{
    struct span data;
    bool last;
    enum err e = h1_chunk_take(&c->chunk, in, took, &data, &last, &c->why);
    c->message.body_wire_bytes += *took;
    if (!e && data.n > 0)
        return c->events.body(c->ctx, data);
    if (e || !last)
        return e;
    if (parser_run(c, SPAN("0\r\n")) != HPE_OK)
        return h1_refuse(c, ERR_AMBIGUOUS, "chunk framing with two readings");
    headers_clear(&c->trailers);
    h1_enter(c, H1_TRAILERS);
    return ERR_OK;
}

static enum err body_take(struct h1 *c, struct span in, size_t *took)
{
    if (c->message.framing == H1_CHUNKED)
        return chunked_take(c, in, took);
    llhttp_errno_t error = parser_run(c, in);
    if (error != HPE_OK && error != HPE_PAUSED && error != HPE_PAUSED_UPGRADE)
        return llhttp_refusal(c, error);
    *took = error == HPE_OK ? in.n : (size_t)(llhttp_get_error_pos(&c->parser) - (const char *)in.p);
    return ERR_OK;
}

static bool is_framing_field(struct span name)
{
    return span_eq_nocase(name, SPAN("content-length")) || span_eq_nocase(name, SPAN("transfer-encoding"));
}

/* Framing fields are looked for before llhttp and the events see the trailers. */
static enum err trailers_check(struct h1 *c)
{
    struct span rest = buf_span(&c->trailers.block);
    while (rest.n > 0) {
        struct span line = span_first(rest, span_find(rest, '\n'));
        if (is_framing_field(span_first(line, span_find(line, ':'))))
            return h1_refuse(c, ERR_AMBIGUOUS, "a framing field in the trailers");
        rest = span_from(rest, line.n + 1);
    }
    return ERR_OK;
}

static enum err trailers_take(struct h1 *c, struct span in, size_t *took)
{
    bool done = false;
    enum err e = section_take(c, &c->trailers.block, in, took, &done);
    c->message.body_wire_bytes += *took;
    if (e || !done)
        return e;
    e = trailers_check(c);
    return e ? e : section_parse(c, buf_span(&c->trailers.block));
}

static enum err h1_fail(struct h1 *c, enum err e)
{
    c->failed = e;
    h1_enter(c, H1_FAILED);
    return e;
}

enum err h1_feed(struct h1 *codec, struct span in, size_t *used)
{
    enum err e = codec->failed;
    size_t at = 0;
    while (!e && at < in.n && codec->state != H1_DONE) {
        size_t took = 0;
        struct span rest = span_from(in, at);
        switch (codec->state) {
        case H1_START:
            e = start_take(codec, rest, &took);
            break;
        case H1_HEAD:
            e = head_take(codec, rest, &took);
            break;
        case H1_BODY:
            e = body_take(codec, rest, &took);
            break;
        case H1_TRAILERS:
            e = trailers_take(codec, rest, &took);
            break;
        case H1_DONE:
        case H1_FAILED:
            assert(false);
            break;
        }
        at += took;
    }
    *used = at;
    return e && codec->state != H1_FAILED ? h1_fail(codec, e) : e;
}

enum err h1_create(struct h1 **out, enum h1_role role, const struct h1_events *events, void *ctx)
{
    assert(events->head && events->body && events->end);
    *out = mem_new(1, sizeof **out);
    if (!*out)
        return ERR_NOMEM;
    struct h1 *c = *out;
    c->role = role;
    c->events = *events;
    c->ctx = ctx;
    c->why = "";
    c->head.kind = role == H1_SERVER ? HEAD_REQUEST : HEAD_RESPONSE;
    llhttp_init(&c->parser, role == H1_SERVER ? HTTP_REQUEST : HTTP_RESPONSE, &h1_settings);
    return ERR_OK;
}

void h1_destroy(struct h1 **codec)
{
    struct h1 *c = *codec;
    if (!c)
        return;
    head_free(&c->head);
    headers_free(&c->trailers);
    mem_free(c);
    *codec = NULL;
}

void h1_expect(struct h1 *codec, struct span method)
{
    assert(codec->role == H1_CLIENT);
    codec->answers = span_eq(method, SPAN("HEAD"))      ? H1_ANSWERS_HEAD
                     : span_eq(method, SPAN("CONNECT")) ? H1_ANSWERS_CONNECT
                                                        : H1_ANY;
}

void h1_next(struct h1 *codec)
{
    if (codec->state != H1_DONE)
        return;
    codec->answers = H1_ANY;
    codec->blanks = 0;
    codec->informational = 0;
    codec->informational_bytes = 0;
    codec->chunk = (struct h1_chunk){.left = 0};
    headers_clear(&codec->trailers);
    h1_enter(codec, H1_START);
}

enum err h1_eof(struct h1 *codec)
{
    if (codec->state == H1_FAILED)
        return codec->failed;
    if (codec->state == H1_DONE || (codec->state == H1_START && codec->informational == 0))
        return ERR_OK;
    if (codec->state != H1_BODY || codec->message.framing != H1_UNTIL_CLOSE)
        return h1_fail(codec, h1_refuse(codec, ERR_TRUNCATED, "the connection ended within a message"));
    enum err e = codec->events.end(codec->ctx);
    if (e)
        return h1_fail(codec, e);
    h1_enter(codec, H1_DONE);
    return ERR_OK;
}

bool h1_in_message(const struct h1 *codec)
{
    return codec->informational ? codec->state != H1_DONE : codec->state != H1_START && codec->state != H1_DONE;
}

const struct h1_message *h1_message(const struct h1 *codec)
{
    return &codec->message;
}

const char *h1_error(const struct h1 *codec)
{
    return codec->why;
}
