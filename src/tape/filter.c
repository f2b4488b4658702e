/* filter.c: mitmproxy's filter language, parsed into a tree and asked of one flow at a time.
 *
 *     all   := or { or }                 side by side: and, binding weakest
 *     or    := and { "|" and }
 *     and   := not { "&" not }
 *     not   := "!" not | "(" all ")" | atom
 *     atom  := "~" operator [argument] | regex           a bare one is ~u
 *
 * A word ends at white space, a parenthesis, a quote or a tilde, so that "a|b" is one expression and "a | b" two, as in mitmproxy.
 * Children of a node are a list: the depth of the tree is that of the parentheses, which is bounded, and so is all recursion.
 * The expression is the user's; what it is matched against is anybody's, and is searched in windows of bounded size. */
#include "tape/filter.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "base/text.h"
#include "base/util.h"
#include "tape/content.h"
#include "tape/pattern.h"
#include "http/coding.h"

#include <regex.h>
#include <stdio.h>

enum argument { NO_ARGUMENT, REGEX, INTEGER };

/* name, operator, argument, what it matches */
#define FILTER_OPERATORS(X)                                                                                            \
    X(OP_ASSET, "a", NO_ARGUMENT, "responses that are assets: CSS, JavaScript, images, fonts, Flash")                  \
    X(OP_ALL, "all", NO_ARGUMENT, "all flows")                                                                         \
    X(OP_BODY, "b", REGEX, "body of the request or response, or a message")                                            \
    X(OP_BODY_REQUEST, "bq", REGEX, "body of the request")                                                             \
    X(OP_BODY_RESPONSE, "bs", REGEX, "body of the response")                                                           \
    X(OP_CODE, "c", INTEGER, "status code")                                                                            \
    X(OP_COMMENT, "comment", REGEX, "nothing: flows of a tape have no comments")                                       \
    X(OP_DOMAIN, "d", REGEX, "host")                                                                                   \
    X(OP_DESTINATION, "dst", REGEX, "host:port or address:port of the origin")                                         \
    X(OP_ERROR, "e", NO_ARGUMENT, "flows that failed")                                                                 \
    X(OP_HEADER, "h", REGEX, "a header field, as a line")                                                              \
    X(OP_HEADER_REQUEST, "hq", REGEX, "a header field of the request")                                                 \
    X(OP_HEADER_RESPONSE, "hs", REGEX, "a header field of the response")                                               \
    X(OP_HTTP, "http", NO_ARGUMENT, "HTTP flows, WebSocket ones too")                                                  \
    X(OP_ID, "id", INTEGER, "the flow of that number")                                                                 \
    X(OP_METHOD, "m", REGEX, "method")                                                                                 \
    X(OP_MARKED, "marked", NO_ARGUMENT, "nothing: flows of a tape are not marked")                                     \
    X(OP_META, "meta", REGEX, "nothing: flows of a tape have no metadata")                                             \
    X(OP_NO_RESPONSE, "q", NO_ARGUMENT, "requests without a response")                                                 \
    X(OP_RESPONSE, "s", NO_ARGUMENT, "flows with a response")                                                          \
    X(OP_SOURCE, "src", REGEX, "address:port of the client")                                                           \
    X(OP_TYPE, "t", REGEX, "Content-Type of the request or response")                                                  \
    X(OP_TYPE_REQUEST, "tq", REGEX, "Content-Type of the request")                                                     \
    X(OP_TYPE_RESPONSE, "ts", REGEX, "Content-Type of the response")                                                   \
    X(OP_TRACK, "track", REGEX, "track")                                                                               \
    X(OP_TUNNEL, "tunnel", NO_ARGUMENT, "tunnels")                                                                     \
    X(OP_URL, "u", REGEX, "URL")                                                                                       \
    X(OP_WEBSOCKET, "websocket", NO_ARGUMENT, "WebSocket flows")

enum op {
#define OP_ENUM(name, word, argument, what) name,
    FILTER_OPERATORS(OP_ENUM)
#undef OP_ENUM
        OP_COUNT,
    /* what the parser makes beside atoms */
    OP_AND = OP_COUNT,
    OP_OR,
    OP_NOT,
};

static const struct {
    const char *word;
    enum argument argument;
    const char *usage, *what;
} operators[] = {
#define USAGE_NO_ARGUMENT                  ""
#define USAGE_REGEX                        " REGEX"
#define USAGE_INTEGER                      " N"
#define OP_ROW(name, word, argument, what) {word, argument, "~" word USAGE_##argument, what},
    FILTER_OPERATORS(OP_ROW)
#undef OP_ROW
};

struct node {
    enum op op;
    struct node *first, *next; /* children; siblings */
    regex_t regex;
    bool compiled;
    uint64_t number;
};

struct tape_filter {
    struct node *root;
    struct headers fields;
    struct buf text, copy;
};

static void node_free(struct node *n)
{
    while (n) {
        struct node *next = n->next;
        node_free(n->first);
        if (n->compiled)
            regfree(&n->regex);
        mem_free(n);
        n = next;
    }
}

void tape_filter_destroy(struct tape_filter **filter)
{
    struct tape_filter *it = *filter;
    *filter = NULL;
    if (!it)
        return;
    node_free(it->root);
    headers_free(&it->fields);
    buf_free(&it->text);
    buf_free(&it->copy);
    mem_free(it);
}

bool tape_filter_operator(size_t i, const char **usage, const char **what)
{
    if (i >= ARRAY_LEN(operators))
        return false;
    *usage = operators[i].usage;
    *what = operators[i].what;
    return true;
}

/* --- parsing ----------------------------------------------------------------------------------------------------- */

struct parser {
    struct span text;
    size_t at;
    unsigned depth;
    struct buf *problem;
    struct buf word;
};

/* One sentence, with the place: characters are counted from 1. */
static enum err refuse(struct parser *p, const char *what, struct span word)
{
    struct buf safe = BUF_INIT;
    enum err e = text_escape_terminal(&safe, span_first(word, 100));
    if (!e && p->problem) {
        buf_clear(p->problem);
        e = buf_printf(p->problem, "filter, at character %zu: %s", p->at + 1, what);
        if (!e && safe.n > 0)
            e = buf_printf(p->problem, " \"%.*s\"", (int)safe.n, (const char *)buf_span(&safe).p);
    }
    buf_free(&safe);
    return e ? e : ERR_USAGE;
}

static bool is_space(uint8_t c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static void skip_space(struct parser *p)
{
    while (p->at < p->text.n && is_space(p->text.p[p->at]))
        p->at++;
}

static bool next_is(struct parser *p, char c)
{
    skip_space(p);
    return p->at < p->text.n && p->text.p[p->at] == (uint8_t)c;
}

static bool take(struct parser *p, char c)
{
    bool found = next_is(p, c);
    p->at += found;
    return found;
}

static bool ends_word(uint8_t c)
{
    return is_space(c) || strchr("()~'\"", c);
}

static enum err take_quoted(struct parser *p, uint8_t quote)
{
    size_t start = p->at++;
    enum err e = ERR_OK;
    while (!e && p->at < p->text.n && p->text.p[p->at] != quote) {
        /* Only the quote and the backslash need one; others belong to the regular expression. */
        if (p->text.p[p->at] == '\\' && p->at + 1 < p->text.n && p->text.p[p->at + 1] == quote)
            p->at++;
        e = buf_put_byte(&p->word, p->text.p[p->at++]);
    }
    if (!e && p->at == p->text.n) {
        p->at = start;
        e = refuse(p, "a quote is not closed", SPAN_EMPTY);
    }
    p->at++;
    return e;
}

/* A word or a quoted string, into p->word. */
static enum err take_word(struct parser *p)
{
    buf_clear(&p->word);
    skip_space(p);
    if (p->at < p->text.n && strchr("'\"", p->text.p[p->at]))
        return take_quoted(p, p->text.p[p->at]);
    size_t start = p->at;
    while (p->at < p->text.n && !ends_word(p->text.p[p->at]))
        p->at++;
    return buf_put(&p->word, span_of(p->text.p + start, p->at - start));
}

static enum err node_compile(struct parser *p, struct node *n)
{
    struct buf pattern = BUF_INIT;
    enum err e = pattern_translate(buf_span(&p->word), &pattern);
    const char *text = e ? NULL : buf_cstr(&pattern);
    if (e == ERR_UNSUPPORTED) {
        buf_free(&pattern);
        return refuse(p, "look-around and flags \"(?\" are not supported:", buf_span(&p->word));
    }
    if (!text) {
        buf_free(&pattern);
        return ERR_NOMEM;
    }
    bool lines = n->op == OP_HEADER || n->op == OP_HEADER_REQUEST || n->op == OP_HEADER_RESPONSE;
    int rc = regcomp(&n->regex, text, REG_EXTENDED | REG_ICASE | REG_NOSUB | (lines ? REG_NEWLINE : 0));
    buf_free(&pattern);
    if (rc == 0) {
        n->compiled = true;
        return ERR_OK;
    }
    char why[128], sentence[192];
    (void)regerror(rc, &n->regex, why, sizeof why);
    (void)snprintf(sentence, sizeof sentence, "not a regular expression (%s):", why);
    return rc == REG_ESPACE ? ERR_NOMEM : refuse(p, sentence, buf_span(&p->word));
}

static enum err node_new(enum op op, struct node **out)
{
    *out = mem_new(1, sizeof **out);
    if (!*out)
        return ERR_NOMEM;
    (*out)->op = op;
    return ERR_OK;
}

static enum err parse_argument(struct parser *p, struct node *n)
{
    enum argument argument = operators[n->op].argument;
    if (argument == NO_ARGUMENT)
        return ERR_OK;
    skip_space(p);
    size_t start = p->at;
    enum err e = take_word(p);
    if (e)
        return e;
    size_t end = p->at;
    p->at = start;
    if (p->word.n == 0)
        return refuse(p, argument == REGEX ? "a regular expression is missing after" : "a number is missing after",
                      span_str(operators[n->op].usage));
    if (span_find(buf_span(&p->word), 0) < p->word.n)
        return refuse(p, "a NUL", SPAN_EMPTY);
    if (argument == REGEX)
        e = node_compile(p, n);
    else if (!span_to_u64(buf_span(&p->word), INT64_MAX, &n->number))
        e = refuse(p, "not a number:", buf_span(&p->word));
    if (!e)
        p->at = end;
    return e;
}

static enum err parse_atom(struct parser *p, struct node **out)
{
    enum op op = OP_URL;
    skip_space(p);
    if (next_is(p, '~')) {
        size_t start = p->at++, end = p->at;
        while (end < p->text.n && !ends_word(p->text.p[end]))
            end++;
        struct span word = span_of(p->text.p + p->at, end - p->at);
        for (op = 0; op < OP_COUNT && !span_eq(word, span_str(operators[op].word)); op++)
            ;
        if (op == OP_COUNT) {
            p->at = start;
            return refuse(p, "no such operator:", span_of(p->text.p + start, end - start));
        }
        p->at = end;
    } else if (p->at == p->text.n || strchr("&|)", p->text.p[p->at]))
        return refuse(p, "something to match is missing here", SPAN_EMPTY);
    enum err e = node_new(op, out);
    return e ? e : parse_argument(p, *out);
}

static enum err parse_all(struct parser *p, struct node **out);

static enum err parse_not(struct parser *p, struct node **out)
{
    if (!next_is(p, '!') && !next_is(p, '('))
        return parse_atom(p, out);
    if (p->depth == LIMIT_FILTER_DEPTH)
        return refuse(p, "parentheses lie too deep", SPAN_EMPTY);
    p->depth++;
    enum err e;
    if (take(p, '!')) {
        e = node_new(OP_NOT, out);
        if (!e)
            e = parse_not(p, &(*out)->first);
    } else {
        (void)take(p, '(');
        e = parse_all(p, out);
        if (!e && !take(p, ')'))
            e = refuse(p, "a parenthesis is not closed", SPAN_EMPTY);
    }
    p->depth--;
    return e;
}

/* A list of what `item` parses, as long as `more` says so; one item stands for itself. */
static enum err parse_list(struct parser *p, enum op op, enum err (*item)(struct parser *p, struct node **out),
                           bool (*more)(struct parser *p), struct node **out)
{
    enum err e = item(p, out);
    if (e || !more(p))
        return e;
    struct node *list;
    e = node_new(op, &list);
    if (e)
        return e;
    list->first = *out;
    *out = list;
    struct node **last = &list->first->next;
    do {
        e = item(p, last);
        if (*last)
            last = &(*last)->next;
    } while (!e && more(p));
    return e;
}

static bool more_and(struct parser *p)
{
    return take(p, '&');
}

static bool more_or(struct parser *p)
{
    return take(p, '|');
}

static bool more_all(struct parser *p)
{
    skip_space(p);
    return p->at < p->text.n && p->text.p[p->at] != ')';
}

static enum err parse_and(struct parser *p, struct node **out)
{
    return parse_list(p, OP_AND, parse_not, more_and, out);
}

static enum err parse_or(struct parser *p, struct node **out)
{
    return parse_list(p, OP_OR, parse_and, more_or, out);
}

static enum err parse_all(struct parser *p, struct node **out)
{
    return parse_list(p, OP_AND, parse_or, more_all, out);
}

enum err tape_filter_parse(struct tape_filter **out, struct span text, struct buf *problem)
{
    struct parser p = {.text = text, .problem = problem, .word = BUF_INIT};
    *out = NULL;
    if (text.n > LIMIT_FILTER_BYTES)
        return refuse(&p, "the expression is too long", SPAN_EMPTY);
    struct tape_filter *filter = mem_new(1, sizeof *filter);
    if (!filter)
        return ERR_NOMEM;
    filter->fields = HEADERS_INIT;
    enum err e = parse_all(&p, &filter->root);
    if (!e && p.at < text.n)
        e = refuse(&p, "a parenthesis was not opened", SPAN_EMPTY);
    buf_free(&p.word);
    if (e)
        tape_filter_destroy(&filter);
    *out = filter;
    return e;
}
/* --- matching ---------------------------------------------------------------------------------------------------- */

struct subject {
    struct tape_filter *filter;
    struct tape *tape;
    const struct tape_flow *flow;
};

/* `edges` are REG_NOTBOL and REG_NOTEOL. The length counts, NULs and all; the terminator is for those who come between us and regexec(), as
 * sanitizers do. */
static enum err search_buf(const struct node *n, struct buf *b, int edges, bool *yes)
{
    const char *text = buf_cstr(b);
    regmatch_t range = {.rm_so = 0, .rm_eo = (regoff_t)b->n};
    *yes = false;
    if (!text)
        return ERR_NOMEM;
    int rc = regexec(&n->regex, text, 1, &range, REG_STARTEND | edges);
    *yes = rc == 0;
    return rc == REG_ESPACE ? ERR_NOMEM : ERR_OK;
}

static enum err search(const struct subject *s, const struct node *n, struct span in, bool *yes)
{
    struct buf *copy = &s->filter->copy;
    *yes = false;
    buf_clear(copy);
    enum err e = buf_put(copy, in);
    return e ? e : search_buf(n, copy, 0, yes);
}

/* A stream searched window by window; what two windows share finds what lies across. */
struct window {
    const struct node *node;
    struct buf bytes;
    int edges;
    bool found;
};

static enum err window_search(struct window *w, int edges)
{
    enum err e = w->found ? ERR_OK : search_buf(w->node, &w->bytes, edges, &w->found);
    size_t keep = MIN(w->bytes.n, (size_t)LIMIT_FILTER_OVERLAP_BYTES);
    buf_consume(&w->bytes, w->bytes.n - keep);
    w->edges = REG_NOTBOL;
    return e;
}

static enum err window_add(void *ctx, struct span bytes)
{
    struct window *w = ctx;
    if (w->found)
        return ERR_CANCELLED; /* nothing more is to be known */
    enum err e = buf_put(&w->bytes, bytes);
    if (!e && w->bytes.n >= LIMIT_FILTER_WINDOW_BYTES)
        e = window_search(w, w->edges | REG_NOTEOL);
    return e;
}

static enum err search_content(const struct subject *s, const struct node *n, const struct tape_body_ref *ref,
                               struct span encoding, enum err *coding, bool *yes)
{
    struct window w = {.node = n, .bytes = BUF_INIT};
    *yes = false;
    *coding = ERR_OK;
    if (ref->bytes == 0)
        return ERR_OK;
    enum err e = tape_content(s->tape, ref, encoding, window_add, &w, coding);
    if (e == ERR_CANCELLED)
        e = ERR_OK;
    if (!e && !w.found)
        e = window_search(&w, w.edges);
    *yes = w.found;
    buf_free(&w.bytes);
    return e;
}

static enum err match_body(const struct subject *s, const struct node *n, enum tape_side side, bool *yes)
{
    const struct tape_flow *f = s->flow;
    const struct tape_body_ref *ref = side == TAPE_REQUEST ? &f->request_body : &f->response_body;
    struct headers *h = &s->filter->fields;
    enum err coding,
        e = ref->bytes == 0 ? ERR_OK : tape_headers(side == TAPE_REQUEST ? f->request_headers : f->response_headers, h);
    *yes = false;
    if (e || ref->bytes == 0)
        return e;
    e = coding_field(h, &s->filter->text);
    if (!e)
        e = search_content(s, n, ref, buf_span(&s->filter->text), &coding, yes);
    if (!e && !*yes && coding) /* it cannot be decoded: as it came, then */
        e = search_content(s, n, ref, SPAN_EMPTY, &coding, yes);
    return e;
}

static enum err match_messages(const struct subject *s, const struct node *n, bool client, bool server, bool *yes)
{
    struct tape_message_cursor *cursor = NULL;
    struct tape_message m;
    *yes = false;
    if (span_eq(s->flow->kind, SPAN("http")))
        return ERR_OK;
    enum err e = tape_messages(s->tape, s->flow->id, &cursor);
    while (!e && !*yes && (e = tape_message_next(cursor, &m)) == ERR_OK)
        if (m.from_client ? client : server)
            e = search(s, n, m.payload, yes);
    tape_message_cursor_close(&cursor);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

static enum err match_bodies(const struct subject *s, const struct node *n, bool client, bool server, bool *yes)
{
    enum err e = ERR_OK;
    *yes = false;
    if (client)
        e = match_body(s, n, TAPE_REQUEST, yes);
    if (!e && !*yes && server)
        e = match_body(s, n, TAPE_RESPONSE, yes);
    if (!e && !*yes)
        e = match_messages(s, n, client, server, yes);
    return e;
}

/* The fields as lines, trailers among them; with `type` only the values of Content-Type. */
static enum err search_fields(const struct subject *s, const struct node *n, struct span json, bool type, bool *yes)
{
    struct headers *h = &s->filter->fields;
    struct buf *text = &s->filter->text;
    enum err e = tape_headers(json, h);
    buf_clear(text);
    *yes = false;
    for (size_t i = 0; !e && !*yes && i < h->n; i++) {
        struct header field = headers_at(h, i);
        if (type) {
            if (span_eq_nocase(field.name, SPAN("Content-Type")))
                e = search(s, n, field.value, yes);
            continue;
        }
        e = text->n > 0 ? buf_put_byte(text, '\n') : ERR_OK;
        if (!e)
            e = buf_put(text, field.name);
        if (!e)
            e = buf_put_str(text, ": ");
        if (!e)
            e = buf_put(text, field.value);
    }
    if (!e && !type && h->n > 0)
        e = search_buf(n, text, 0, yes);
    return e;
}

static enum err match_fields(const struct subject *s, const struct node *n, bool client, bool server, bool type,
                             bool *yes)
{
    const struct tape_flow *f = s->flow;
    const struct span blocks[] = {f->request_headers, type ? SPAN_EMPTY : f->request_trailers, f->response_headers,
                                  type ? SPAN_EMPTY : f->response_trailers};
    enum err e = ERR_OK;
    *yes = false;
    for (size_t i = 0; !e && !*yes && i < ARRAY_LEN(blocks); i++)
        if ((i < 2 ? client : server) && blocks[i].n > 0)
            e = search_fields(s, n, blocks[i], type, yes);
    return e;
}

static enum err put_host_port(struct buf *out, struct span host, unsigned port)
{
    bool v6 = span_find(host, ':') < host.n;
    enum err e = v6 ? buf_put_byte(out, '[') : ERR_OK;
    if (!e)
        e = buf_put(out, host);
    return e ? e : buf_printf(out, "%s:%u", v6 ? "]" : "", port);
}

static enum err match_url(const struct subject *s, const struct node *n, bool *yes)
{
    const struct tape_flow *f = s->flow;
    struct buf *url = &s->filter->text;
    bool connect = span_eq(f->method, SPAN("CONNECT")), secure = span_eq(f->scheme, SPAN("https"));
    bool usual = !connect && ((secure && f->port == 443) || (span_eq(f->scheme, SPAN("http")) && f->port == 80));
    enum err e = ERR_OK;
    buf_clear(url);
    if (!connect)
        e = buf_put(url, f->scheme);
    if (!e && !connect)
        e = buf_put_str(url, "://");
    if (!e)
        e = put_host_port(url, f->host, f->port);
    if (!e && usual) /* without the port */
        url->n -= secure ? 4 : 3;
    if (!e)
        e = buf_put(url, f->path);
    return e ? e : search_buf(n, url, 0, yes);
}

static enum err match_connection(const struct subject *s, const struct node *n, int64_t id, bool server, bool *yes)
{
    struct tape_connection c;
    struct buf *text = &s->filter->text;
    enum err e = ERR_OK;
    *yes = false;
    if (server) {
        buf_clear(text);
        e = put_host_port(text, s->flow->host, s->flow->port);
        if (!e)
            e = search_buf(n, text, 0, yes);
    }
    if (e || *yes || id == 0)
        return e;
    e = tape_connection(s->tape, id, &c);
    if (!e)
        e = search(s, n, c.peer, yes);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

static bool is_asset(struct span type)
{
    static const char *const prefixes[] = {
        "text/javascript", "application/x-javascript", "application/javascript",       "text/css", "image/",
        "font/",           "application/font",         "application/x-shockwave-flash"};
    for (size_t i = 0; i < ARRAY_LEN(prefixes); i++) {
        struct span prefix = span_str(prefixes[i]);
        if (span_eq_nocase(span_first(type, prefix.n), prefix))
            return true;
    }
    return false;
}

static enum err match_asset(const struct subject *s, bool *yes)
{
    struct span type;
    enum err e = tape_headers(s->flow->response_headers, &s->filter->fields);
    *yes = !e && headers_find(&s->filter->fields, SPAN("Content-Type"), &type) && is_asset(span_trim(type));
    return e;
}

static bool has_response(const struct tape_flow *f)
{
    return f->status != 0 && !f->answered;
}

static enum err match_atom(const struct subject *s, const struct node *n, bool *yes)
{
    const struct tape_flow *f = s->flow;
    bool tunnel = span_eq(f->kind, SPAN("tunnel"));
    *yes = false;
    switch (n->op) {
    case OP_ASSET:
        return match_asset(s, yes);
    case OP_BODY:
    case OP_BODY_REQUEST:
    case OP_BODY_RESPONSE:
        return match_bodies(s, n, n->op != OP_BODY_RESPONSE, n->op != OP_BODY_REQUEST, yes);
    case OP_HEADER:
    case OP_HEADER_REQUEST:
    case OP_HEADER_RESPONSE:
        return match_fields(s, n, n->op != OP_HEADER_RESPONSE, n->op != OP_HEADER_REQUEST, false, yes);
    case OP_TYPE:
    case OP_TYPE_REQUEST:
    case OP_TYPE_RESPONSE:
        return match_fields(s, n, n->op != OP_TYPE_RESPONSE, n->op != OP_TYPE_REQUEST, true, yes);
    case OP_DOMAIN:
        return search(s, n, f->host, yes);
    case OP_METHOD:
        return search(s, n, f->method, yes);
    case OP_TRACK:
        return f->track.n > 0 ? search(s, n, f->track, yes) : ERR_OK;
    case OP_URL:
        return match_url(s, n, yes);
    case OP_SOURCE:
        return match_connection(s, n, f->client_connection, false, yes);
    case OP_DESTINATION:
        return match_connection(s, n, f->server_connection, true, yes);
    default:
        break;
    }
    *yes = n->op == OP_ALL || (n->op == OP_CODE && f->status != 0 && f->status == n->number) ||
           (n->op == OP_ID && f->id == (int64_t)n->number) || (n->op == OP_ERROR && f->error.n > 0) ||
           (n->op == OP_HTTP && !tunnel) || (n->op == OP_TUNNEL && tunnel) ||
           (n->op == OP_WEBSOCKET && span_eq(f->kind, SPAN("websocket"))) ||
           (n->op == OP_RESPONSE && has_response(f)) || (n->op == OP_NO_RESPONSE && !has_response(f));
    return ERR_OK;
}

static enum err match_node(const struct subject *s, const struct node *n, bool *yes)
{
    if (n->op < OP_COUNT) {
        enum err e = match_atom(s, n, yes);
        if (e != ERR_CORRUPT && e != ERR_LIMIT)
            return e;
        *yes = false; /* what is damaged matches nothing, and the other flows are looked at */
        return ERR_OK;
    }
    /* An `or` is decided by the first yes, an `and` by the first no. */
    bool decides = n->op == OP_OR;
    for (const struct node *child = n->first; child; child = child->next) {
        enum err e = match_node(s, child, yes);
        if (e)
            return e;
        if (n->op == OP_NOT)
            *yes = !*yes;
        else if (*yes == decides)
            break;
    }
    return ERR_OK;
}

enum err tape_filter_match(struct tape_filter *filter, struct tape *tape, const struct tape_flow *flow, bool *yes)
{
    const struct subject s = {filter, tape, flow};
    *yes = false;
    return match_node(&s, filter->root, yes);
}
