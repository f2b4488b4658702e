/* explain.c: walks the fields in the order in which key_compute() does; where a field lies in a name and a value, one line is one pair. */
#include "replay/explain.h"

#include "base/limits.h"
#include "base/text.h"
#include "base/util.h"
#include "http/mime.h"
#include "http/url.h"
#include "replay/content.h"
#include "replay/matcher_internal.h"

#include <stdio.h>

enum { EXPLAIN_RECORDINGS = 20 };

struct explain {
    const struct matcher *m;
    struct buf *out;
    struct headers headers;
    struct content content;
    struct key_scratch scratch;
};

/* "field   value   (why it does not count)" */
static enum err put_line(struct explain *x, const char *kind, struct span name, struct span value, const char *note)
{
    size_t before = x->out->n;
    enum err e = buf_printf(x->out, "  %s", kind);
    if (!e)
        e = text_escape_terminal(x->out, name);
    while (!e && x->out->n < before + 14)
        e = buf_put_byte(x->out, ' ');
    if (!e)
        e = buf_put_byte(x->out, ' ');
    if (!e)
        e = text_escape_terminal(x->out, span_first(value, LIMIT_REPLAY_VALUE_BYTES));
    if (!e && value.n > LIMIT_REPLAY_VALUE_BYTES)
        e = buf_put_str(x->out, "...");
    return e ? e : buf_printf(x->out, "%s%s\n", note[0] ? "  " : "", note);
}

static const char *note_of(const struct rules *rules, enum rule_field field)
{
    if (rules->ignore & BIT(field))
        return "(ignored)";
    return rules->match & BIT(field) ? "" : "(not compared)";
}

static enum err put_field(struct explain *x, const char *name, enum rule_field field, struct span value)
{
    return put_line(x, name, SPAN_EMPTY, value, note_of(x->m->rules, field));
}

static enum err put_query(struct explain *x, struct span query)
{
    struct span name, value;
    struct buf plain = BUF_INIT;
    enum err e = ERR_OK;
    while (!e && url_query_next(&query, &name, &value)) {
        buf_clear(&plain);
        e = url_decode(&plain, name, false);
        size_t n = plain.n;
        if (!e)
            e = url_decode(&plain, value, false);
        struct span all = buf_span(&plain);
        const char *note = note_of(x->m->rules, RULE_QUERY);
        if (rule_names_has(&x->m->rules->ignore_query, span_first(all, n), false))
            note = "(ignored)";
        if (!e && all.n > 0)
            e = put_line(x, "query:", span_first(all, n), span_from(all, n), note);
    }
    buf_free(&plain);
    return e;
}

/* Those that --match names; the others never count. */
static enum err put_headers(struct explain *x)
{
    const struct rules *rules = x->m->rules;
    struct span cookie, value;
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < x->headers.n; i++) {
        struct header h = headers_at(&x->headers, i);
        if (rule_names_has(&rules->match_headers, h.name, true))
            e = put_line(x, "header:", h.name, h.value,
                         rule_names_has(&rules->ignore_headers, h.name, true) ? "(ignored)" : "");
        struct span rest = span_eq_nocase(h.name, SPAN("cookie")) ? h.value : SPAN_EMPTY;
        while (!e && cookie_next(&rest, &cookie, &value))
            if (rule_names_has(&rules->match_cookies, cookie, false))
                e = put_line(x, "cookie:", cookie, value,
                             rule_names_has(&rules->ignore_cookies, cookie, false) ? "(ignored)" : "");
    }
    return e;
}

static enum err read_body(struct explain *x, struct tape *tape, const struct tape_flow *f)
{
    struct tape_body *body = NULL;
    struct span piece;
    int64_t at_ns;
    uint64_t key;
    enum err e = content_begin(&x->content, &x->headers, &x->m->hash);
    if (!e)
        e = tape_body_open(tape, &f->request_body, &body);
    while (!e && (e = tape_body_next(body, &piece, &at_ns)) == ERR_OK)
        e = content_add(&x->content, piece);
    tape_body_close(&body);
    return e == ERR_NOT_FOUND ? content_end(&x->content, x->m->rules, &x->m->hash, &x->scratch, &key) : e;
}

static enum err put_body(struct explain *x, struct tape *tape, const struct tape_flow *f)
{
    static const char *const kinds[] = {[CONTENT_EMPTY] = "none",
                                        [CONTENT_RAW] = "byte by byte",
                                        [CONTENT_JSON] = "as JSON",
                                        [CONTENT_FORM] = "as a form",
                                        [CONTENT_MULTIPART] = "part by part"};
    struct buf line = BUF_INIT, room = BUF_INIT;
    struct span bytes;
    enum content_kind kind = CONTENT_EMPTY;
    enum err e = ERR_OK;
    if (!span_eq(f->kind, SPAN("http"))) {
        e = buf_put_str(&line, "compared as the client says it");
    } else if (f->request_body.wire_bytes > f->request_body.bytes) {
        e = buf_printf(&line, "by its length, %llu bytes: the tape has only a part",
                       (unsigned long long)f->request_body.wire_bytes);
    } else {
        if (f->request_body.id != 0) {
            e = read_body(x, tape, f);
            kind = e ? kind : content_view(&x->content, &room, &bytes);
        }
        if (!e)
            e = buf_put_str(&line, kinds[kind]);
        if (!e && kind != CONTENT_EMPTY)
            e = buf_printf(&line, ", %llu bytes", (unsigned long long)f->request_body.wire_bytes);
        if (!e && kind == CONTENT_JSON && x->m->rules->pointers_n > 0)
            e = buf_printf(&line, ", less %zu JSON pointer%s", x->m->rules->pointers_n,
                           x->m->rules->pointers_n == 1 ? "" : "s");
    }
    if (!e)
        e = put_field(x, "body", RULE_BODY, buf_span(&line));
    buf_free(&line);
    buf_free(&room);
    return e;
}

/* Which recordings have this key, and the place of this one. */
static enum err put_order(struct explain *x, const struct match *match)
{
    const struct matcher *m = x->m;
    size_t at = 0;
    while (at < m->entries_n && (m->entries[at].flow != match->flow || m->entries[at].tape != match->tape))
        at++;
    if (at == m->entries_n)
        return buf_put_str(x->out,
                           "it is no recording to answer with: --filter leaves it out, or it holds no answer\n");
    const struct group *g = &m->groups[m->entries[at].group];
    uint32_t place = 0;
    while (m->order[g->first + place] != at)
        place++;
    enum err e = buf_printf(x->out, "recording %u of %u with this key", place + 1, g->n);
    if (!e && g->track != TRACK_NONE) {
        e = buf_put_str(x->out, " and of the track ");
        if (!e)
            e = text_escape_terminal(x->out, span_str(m->tracks[g->track].name));
    }
    for (uint32_t i = 0; !e && g->n > 1 && i < MIN(g->n, (uint32_t)EXPLAIN_RECORDINGS); i++) {
        const struct entry *entry = &m->entries[m->order[g->first + i]];
        struct match one = {.tape = entry->tape, .flow = entry->flow};
        e = buf_put_str(x->out, i > 0 ? ", " : ": flows ");
        if (!e)
            e = matcher_put_flow(m, &one, x->out);
    }
    if (!e && g->n > EXPLAIN_RECORDINGS)
        e = buf_put_str(x->out, ", ...");
    return e ? e : buf_put_byte(x->out, '\n');
}

static enum err put_flow(struct explain *x, struct tape *tape, const struct tape_flow *f, const struct match *match)
{
    struct span bare, query;
    char port[16];
    (void)snprintf(port, sizeof port, "%u", f->port);
    key_split_path(f->path, &bare, &query);
    enum err e = f->request_headers.n > 0 ? tape_headers(f->request_headers, &x->headers) : ERR_OK;
    if (!e)
        e = buf_put_str(x->out, "flow ");
    if (!e)
        e = matcher_put_flow(x->m, match, x->out);
    if (!e)
        e = buf_put_byte(x->out, '\n');
    if (!e)
        e = put_field(x, "method", RULE_METHOD, f->method);
    if (!e)
        e = put_field(x, "scheme", RULE_SCHEME, f->scheme);
    if (!e)
        e = put_field(x, "host", RULE_HOST, f->host);
    if (!e)
        e = put_field(x, "port", RULE_PORT, span_str(port));
    if (!e)
        e = put_field(x, "path", RULE_PATH, bare);
    if (!e)
        e = put_query(x, query);
    if (!e)
        e = put_headers(x);
    if (!e)
        e = put_body(x, tape, f);
    return e ? e : put_order(x, match);
}

enum err explain_flow(const struct matcher *m, struct tape *tape, const struct match *match, struct buf *out)
{
    struct tape_query query = {.id = match->flow};
    struct explain x = {.m = m, .out = out, .headers = HEADERS_INIT};
    struct tape_cursor *cursor = NULL;
    struct tape_flow flow;
    enum err e = tape_flows(tape, &query, &cursor);
    if (!e)
        e = tape_flow_next(cursor, &flow);
    if (!e)
        e = put_flow(&x, tape, &flow, match);
    tape_cursor_close(&cursor);
    headers_free(&x.headers);
    content_free(&x.content);
    key_scratch_free(&x.scratch);
    return e;
}
