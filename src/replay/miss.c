/* miss.c: candidates come from the matcher by likeness of hashes; those few are read from the tape, compared field by field, and ranked by how
 * far they are. */
#include "replay/miss.h"

#include "base/text.h"
#include "base/util.h"
#include "http/url.h"
#include "replay/difference.h"

struct near_miss {
    struct match match;
    struct buf url;
    struct span host; /* in url's buffer, behind the URL */
    unsigned port;
    struct differences differences;
};

struct explain {
    const struct matcher *m;
    struct tape *const *tapes;
    const struct miss *miss;
    struct difference_side actual;
    struct near_miss best[LIMIT_NEAREST + 1]; /* one to work in */
    size_t n;
    uint64_t compared; /* bytes of bodies */
    struct headers headers;
    struct content content;
    struct key_scratch scratch;
};

static enum err put_url(struct buf *out, const struct tape_flow *f)
{
    bool v6 = span_find(f->host, ':') < f->host.n, connect = span_eq(f->method, SPAN("CONNECT"));
    enum err e = ERR_OK;
    if (!connect) {
        e = buf_put(out, f->scheme);
        if (!e)
            e = buf_put_str(out, "://");
    }
    if (!e)
        e = buf_put_str(out, v6 ? "[" : "");
    if (!e)
        e = buf_put(out, f->host);
    if (!e)
        e = buf_put_str(out, v6 ? "]" : "");
    if (!e && (connect || f->port != url_default_port(f->scheme)))
        e = buf_printf(out, ":%u", f->port);
    return e ? e : buf_put(out, f->path);
}

static enum err read_content(struct explain *x, struct tape *tape, const struct tape_flow *f)
{
    struct tape_body *body = NULL;
    uint64_t unused;
    enum err e = content_begin(&x->content, &x->headers, matcher_hash_key(x->m));
    if (!e)
        e = tape_body_open(tape, &f->request_body, &body);
    while (!e) {
        struct span piece;
        int64_t at_ns;
        e = tape_body_next(body, &piece, &at_ns);
        if (!e)
            e = content_add(&x->content, piece);
    }
    tape_body_close(&body);
    if (e == ERR_NOT_FOUND)
        e = content_end(&x->content, matcher_rules(x->m), matcher_hash_key(x->m), &x->scratch, &unused);
    x->content.cut = f->request_body.wire_bytes > f->request_body.bytes;
    if (x->content.cut)
        x->content.bytes = f->request_body.wire_bytes;
    return e;
}

static enum err compare_flow(struct explain *x, struct tape *tape, const struct tape_flow *f, struct near_miss *out)
{
    struct difference_side recorded = {
        .method = f->method, .scheme = f->scheme, .host = f->host, .path = f->path, .port = f->port};
    headers_clear(&x->headers);
    enum err e = f->request_headers.n > 0 ? tape_headers(f->request_headers, &x->headers) : ERR_OK;
    recorded.headers = &x->headers;
    if (!e && x->miss->content && f->request_body.id != 0) {
        e = read_content(x, tape, f);
        recorded.body = &x->content;
    }
    if (!e)
        e = differences_find(&out->differences, matcher_rules(x->m), &recorded, &x->actual);
    /* The same in everything, and yet it was not served: it belongs to another track. */
    if (!e && out->differences.total == 0 && x->miss->reason == MISS_DIFFERENT)
        e = differences_add_track(&out->differences, f->track, x->miss->track);
    buf_clear(&out->url);
    if (!e)
        e = put_url(&out->url, f);
    size_t url_n = out->url.n;
    if (!e)
        e = buf_put(&out->url, f->host);
    out->host = span_from(buf_span(&out->url), url_n);
    out->url.n = url_n;
    out->port = f->port;
    return e;
}

/* Large bodies take long, and nobody else on this thread is served meanwhile: they are compared for the likeliest recordings only. */
static bool is_too_long(struct explain *x, const struct tape_flow *f)
{
    if (!x->miss->content || f->request_body.id == 0)
        return false;
    uint64_t bytes = f->request_body.bytes + x->miss->content->bytes;
    bool left_out = x->n > 0 && x->compared + bytes > LIMIT_REPLAY_COMPARE_BYTES;
    x->compared += left_out ? 0 : bytes;
    return left_out;
}

/* Reads one candidate and sorts it in. Only running out of memory is an error. */
static enum err consider(struct explain *x, const struct match *match)
{
    struct near_miss *work = &x->best[LIMIT_NEAREST];
    struct tape *tape = x->tapes[match->tape];
    struct tape_query query = {.id = match->flow};
    struct tape_cursor *cursor = NULL;
    struct tape_flow flow;
    enum err e = tape_flows(tape, &query, &cursor);
    if (!e)
        e = tape_flow_next(cursor, &flow);
    bool left_out = !e && is_too_long(x, &flow);
    if (!e && !left_out)
        e = compare_flow(x, tape, &flow, work);
    tape_cursor_close(&cursor);
    if (e || left_out)
        return e == ERR_NOMEM ? e : ERR_OK;
    work->match = *match;
    size_t at = x->n;
    while (at > 0 && x->best[at - 1].differences.distance > work->differences.distance)
        at--;
    if (at == LIMIT_NEAREST)
        return ERR_OK;
    if (x->n < LIMIT_NEAREST)
        x->n++;
    struct near_miss newcomer = *work, dropped = x->best[x->n - 1];
    memmove(&x->best[at + 1], &x->best[at], (x->n - 1 - at) * sizeof x->best[0]);
    x->best[at] = newcomer;
    *work = dropped;
    return ERR_OK;
}

static enum err put_json_text(struct buf *out, const char *before, struct span text, bool present)
{
    enum err e = buf_put_str(out, before);
    if (e)
        return e;
    return present ? text_json_string(out, text) : buf_put_str(out, "null");
}

static enum err put_differences(struct buf *json, const struct differences *d)
{
    enum err e = buf_put_str(json, ", \"differences\": [");
    for (size_t i = 0; !e && i < d->n; i++) {
        const struct difference *it = &d->at[i];
        e = put_json_text(json, i ? ", {\"field\": " : "{\"field\": ", difference_text(d, it->field), true);
        if (!e)
            e = put_json_text(json, ", \"recorded\": ", difference_text(d, it->recorded), it->has_recorded);
        if (!e)
            e = put_json_text(json, ", \"actual\": ", difference_text(d, it->actual), it->has_actual);
        if (!e)
            e = buf_put_byte(json, '}');
    }
    return e ? e : buf_put_byte(json, ']');
}

/* A flow's number, as a string when it has a tape's number too. */
static enum err put_flow(const struct matcher *m, struct buf *json, const struct match *match)
{
    const char *quote = matcher_tapes(m) > 1 ? "\"" : "";
    enum err e = buf_put_str(json, quote);
    if (!e)
        e = matcher_put_flow(m, match, json);
    return e ? e : buf_put_str(json, quote);
}

static enum err put_head(struct buf *json, const struct head *head, enum miss_reason reason)
{
    struct buf url = BUF_INIT;
    enum err e = head_url(head, &url);
    if (!e)
        e = put_json_text(json, "{\"error\": \"no recording matches this request\", \"request\": {\"method\": ",
                          head_span(head, head->method), true);
    if (!e)
        e = put_json_text(json, ", \"url\": ", buf_span(&url), true);
    if (!e)
        e = buf_printf(json, "}, \"reason\": \"%s\", \"nearest\": [", miss_reason_word(reason));
    buf_free(&url);
    return e;
}

static enum err put_nearest(const struct explain *x, struct buf *json)
{
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < x->n; i++) {
        const struct near_miss *near = &x->best[i];
        e = buf_put_str(json, i ? ", {\"flow\": " : "{\"flow\": ");
        if (!e)
            e = put_flow(x->m, json, &near->match);
        if (!e)
            e = put_json_text(json, ", \"url\": ", buf_span(&near->url), true);
        if (!e)
            e = put_differences(json, &near->differences);
        if (!e)
            e = buf_put_byte(json, '}');
    }
    return e ? e : buf_put_byte(json, ']');
}

static bool is_field(const struct differences *d, const struct difference *it, struct span name)
{
    return span_eq(difference_text(d, it->field), name);
}

static enum err put_authority(struct buf *out, struct span host, unsigned port, bool with_port)
{
    bool v6 = span_find(host, ':') < host.n;
    enum err e = buf_put_str(out, v6 ? "[" : "");
    if (!e)
        e = buf_put(out, host);
    if (!e)
        e = buf_put_str(out, v6 ? "]" : "");
    if (!e && with_port)
        e = buf_printf(out, ":%u", port);
    return e;
}

static enum err put_map(const struct explain *x, const struct near_miss *near, bool with_port, struct buf *hint)
{
    struct buf map = BUF_INIT;
    enum err e = put_authority(&map, head_span(x->miss->head, x->miss->head->host), x->miss->head->port, with_port);
    if (!e)
        e = buf_put_byte(&map, '=');
    if (!e)
        e = put_authority(&map, near->host, near->port, with_port);
    if (!e)
        e = buf_put_str(hint, " --map ");
    if (!e)
        e = text_shell_word(hint, buf_span(&map));
    buf_free(&map);
    return e;
}

static bool said_before(const struct differences *d, size_t i)
{
    for (size_t k = 0; k < i; k++)
        if (span_eq(difference_text(d, d->at[k].field), difference_text(d, d->at[i].field)))
            return true;
    return false;
}

/* One difference's share of the hint. */
static enum err put_remedy(const struct explain *x, const struct near_miss *near, size_t i, bool host, bool whole_body,
                           struct buf *hint)
{
    const struct differences *d = &near->differences;
    const struct difference *it = &d->at[i];
    if (said_before(d, i) || (it->in_body && whole_body) || (host && is_field(d, it, SPAN("port"))))
        return ERR_OK;
    if (is_field(d, it, SPAN("host"))) {
        bool port = false;
        for (size_t k = 0; k < d->n; k++)
            port |= is_field(d, &d->at[k], SPAN("port"));
        return put_map(x, near, port, hint);
    }
    enum err e = buf_put_str(hint, " --ignore ");
    return e ? e : text_shell_word(hint, difference_text(d, it->field));
}

/* What to type so that the nearest recording matches; nothing when no option does that. */
static enum err put_hint(const struct explain *x, struct buf *hint)
{
    const struct near_miss *near = &x->best[0];
    const struct differences *d = &near->differences;
    if (x->miss->reason == MISS_EXHAUSTED)
        return buf_put_str(hint, "ringtape replay --order sequence \xe2\x80\xa6");
    if (x->n == 0 || d->n == 0)
        return ERR_OK;
    bool host = false, body = false;
    for (size_t i = 0; i < d->n; i++) {
        if (!d->at[i].ignorable)
            return ERR_OK;
        host |= is_field(d, &d->at[i], SPAN("host"));
        body |= d->at[i].in_body;
    }
    /* Bodies are compared last: what did not fit in the list lies in them, if in one thing only. */
    bool whole_body = d->total > d->n;
    if (whole_body && !body)
        return ERR_OK;
    enum err e = buf_put_str(hint, "ringtape replay");
    for (size_t i = 0; !e && i < d->n; i++)
        e = put_remedy(x, near, i, host, whole_body, hint);
    if (!e && whole_body)
        e = buf_put_str(hint, " --ignore body");
    return e ? e : buf_put_str(hint, " \xe2\x80\xa6");
}

static enum err put_line(const struct explain *x, struct span hint, struct buf *line)
{
    static const char *const reasons[] = {
        [MISS_DIFFERENT] = "no recording is the same",
        [MISS_EXHAUSTED] = "every recording of it was already consumed",
        [MISS_UNKNOWN_HOST] = "nothing was recorded from this host",
        [MISS_EMPTY_TAPE] = "the tape has no recordings",
    };
    enum err e = buf_put(line, head_span(x->miss->head, x->miss->head->method));
    if (!e)
        e = buf_put_byte(line, ' ');
    if (!e)
        e = head_url(x->miss->head, line);
    if (!e)
        e = buf_printf(line, ": %s", reasons[x->miss->reason]);
    const struct differences *d = &x->best[0].differences;
    if (!e && x->n > 0 && d->n > 0) {
        e = buf_put_str(line, "; nearest is flow ");
        if (!e)
            e = matcher_put_flow(x->m, &x->best[0].match, line);
    }
    for (size_t i = 0; !e && x->n > 0 && i < d->n && i < 3; i++) {
        const struct difference *it = &d->at[i];
        struct span field = difference_text(d, it->field), r = difference_text(d, it->recorded),
                    a = difference_text(d, it->actual);
        e = buf_printf(line, "%s %.*s (recorded %.*s, actual %.*s)", i ? "," : ", which differs in", (int)field.n,
                       (const char *)field.p, it->has_recorded ? (int)r.n : 7,
                       it->has_recorded ? (const char *)r.p : "nothing", it->has_actual ? (int)a.n : 7,
                       it->has_actual ? (const char *)a.p : "nothing");
    }
    if (!e && hint.n > 0) {
        e = buf_put_str(line, "; try: ");
        if (!e)
            e = buf_put(line, hint);
    }
    return e;
}

static enum err put_tail(struct buf *json, struct span hint)
{
    enum err e = put_json_text(json, ", \"hint\": ", hint, hint.n > 0);
    return e ? e : buf_put_byte(json, '}');
}

enum err miss_explain(const struct matcher *m, struct tape *const *tapes, const struct miss *miss, struct buf *json,
                      struct buf *line)
{
    const struct head *head = miss->head;
    struct explain x = {.m = m, .tapes = tapes, .miss = miss, .headers = HEADERS_INIT};
    struct match candidates[LIMIT_REPLAY_CANDIDATES];
    struct buf hint = BUF_INIT;
    enum err e = ERR_OK;
    x.actual = (struct difference_side){.method = head_span(head, head->method),
                                        .scheme = head_span(head, head->scheme),
                                        .host = miss->host,
                                        .path = head_span(head, head->path),
                                        .port = miss->port,
                                        .headers = &head->headers,
                                        .body = miss->content};
    size_t n = matcher_nearest(m, miss->key, candidates, LIMIT_REPLAY_CANDIDATES);
    for (size_t i = 0; !e && i < n; i++)
        e = consider(&x, &candidates[i]);
    if (!e)
        e = put_hint(&x, &hint);
    if (!e)
        e = put_head(json, head, miss->reason);
    if (!e)
        e = put_nearest(&x, json);
    if (!e)
        e = put_tail(json, buf_span(&hint));
    if (!e)
        e = put_line(&x, buf_span(&hint), line);
    for (size_t i = 0; i < ARRAY_LEN(x.best); i++) {
        buf_free(&x.best[i].url);
        differences_free(&x.best[i].differences);
    }
    headers_free(&x.headers);
    content_free(&x.content);
    key_scratch_free(&x.scratch);
    buf_free(&hint);
    return e;
}

/* Some bytes of a tunnel, as text where they are some. */
static enum err put_bytes(struct buf *out, struct span s)
{
    struct span shown = span_first(s, LIMIT_REPLAY_VALUE_BYTES);
    bool text = text_utf8_prefix(shown) + 3 >= shown.n;
    for (size_t i = 0; text && i < shown.n; i++)
        text = shown.p[i] >= 0x20 || shown.p[i] == '\n' || shown.p[i] == '\r' || shown.p[i] == '\t';
    if (text)
        return text_json_string(out, shown);
    enum err e = buf_put_str(out, "\"hex ");
    for (size_t i = 0; !e && i < MIN(shown.n, (size_t)32); i++)
        e = buf_printf(out, "%02x", shown.p[i]);
    return e ? e : buf_put_byte(out, '"');
}

/* Both sides of what a client said within a flow; NULL: nothing was, nothing is. */
static enum err put_said(const struct matcher *m, const struct head *head, const struct match *match,
                         enum miss_reason reason, const char *field, uint64_t n, const struct span *recorded,
                         const struct span *actual, struct buf *json)
{
    struct buf url = BUF_INIT;
    enum err e = head_url(head, &url);
    if (!e)
        e = put_head(json, head, reason);
    if (!e)
        e = buf_put_str(json, "{\"flow\": ");
    if (!e)
        e = put_flow(m, json, match);
    if (!e)
        e = put_json_text(json, ", \"url\": ", buf_span(&url), true);
    if (!e)
        e = buf_printf(json, ", \"differences\": [{\"field\": \"%s:%llu\", \"recorded\": ", field,
                       (unsigned long long)n);
    if (!e)
        e = recorded ? put_bytes(json, *recorded) : buf_put_str(json, "null");
    if (!e)
        e = buf_put_str(json, ", \"actual\": ");
    if (!e)
        e = actual ? put_bytes(json, *actual) : buf_put_str(json, "null");
    if (!e)
        e = buf_put_str(json, "}]}], \"hint\": null}");
    buf_free(&url);
    return e;
}

static enum err put_said_line(const struct matcher *m, const struct head *head, const struct match *match,
                              const char *before, const char *after, uint64_t n, struct buf *line)
{
    struct buf url = BUF_INIT;
    enum err e = head_url(head, &url);
    if (!e)
        e = buf_put(line, head_span(head, head->method));
    if (!e)
        e = buf_put_byte(line, ' ');
    if (!e)
        e = buf_put(line, buf_span(&url));
    if (!e)
        e = buf_put_str(line, before);
    if (!e)
        e = matcher_put_flow(m, match, line);
    if (!e)
        e = buf_printf(line, "%s%llu", after, (unsigned long long)n);
    buf_free(&url);
    return e;
}

enum err miss_explain_bytes(const struct matcher *m, const struct head *head, const struct match *match,
                            uint64_t offset, struct span recorded, struct span actual, struct buf *json,
                            struct buf *line)
{
    enum err e = put_said(m, head, match, MISS_DIFFERENT, "bytes", offset, &recorded, &actual, json);
    return e ? e : put_said_line(m, head, match, ": the client's bytes differ from flow ", " at byte ", offset, line);
}

enum err miss_explain_message(const struct matcher *m, const struct head *head, const struct match *match,
                              const struct miss_message *miss, struct buf *json, struct buf *line)
{
    bool differs = miss->reason == MISS_DIFFERENT;
    enum err e = put_said(m, head, match, miss->reason, "message", miss->n, differs ? &miss->recorded : NULL,
                          miss->ended ? NULL : &miss->actual, json);
    if (!e)
        e = put_said_line(m, head, match,
                          miss->ended ? ": the client says less than flow "
                          : differs   ? ": the client's messages differ from flow "
                                      : ": the client says more than flow ",
                          " at message ", miss->n, line);
    if (!e)
        e = buf_put_str(line, differs ? ": recorded " : ": ");
    if (!e && differs)
        e = put_bytes(line, miss->recorded);
    if (e || miss->ended)
        return e;
    if (differs)
        e = buf_put_str(line, ", now ");
    return e ? e : put_bytes(line, miss->actual);
}
