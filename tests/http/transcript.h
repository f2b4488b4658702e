/* transcript.h: runs the HTTP/1 codec over a wire and writes down what it said, so that tests compare texts. For tests and fuzzers. */
#ifndef RINGTAPE_TESTS_HTTP_TRANSCRIPT_H
#define RINGTAPE_TESTS_HTTP_TRANSCRIPT_H

#include "base/alloc.h"
#include "http/h1.h"

struct transcript {
    struct buf text;
    struct buf body; /* of the message in hand: pieces joined, so that chunking does not show */
    size_t heads, ends;
    enum err refuse; /* what the head callback answers */
    struct head last;
    struct h1_message message;
};

static inline enum err transcript_fields(struct buf *out, const struct headers *h)
{
    enum err e = ERR_OK;
    for (size_t i = 0; i < h->n && !e; i++) {
        struct header f = headers_at(h, i);
        e = buf_printf(out, " %.*s=%.*s;", (int)f.name.n, (const char *)f.name.p, (int)f.value.n,
                       (const char *)f.value.p);
    }
    return e;
}

static inline enum err transcript_slice(struct buf *out, const struct head *h, struct slice s)
{
    enum err e = buf_put(out, head_span(h, s));
    return e ? e : buf_put_byte(out, ' ');
}

static inline enum err transcript_head(void *ctx, const struct head *h, const struct h1_message *m)
{
    static const char *const framings[] = {"none", "length", "chunked", "close", "tunnel"};
    struct transcript *t = ctx;
    struct buf *out = &t->text;
    t->heads++;
    t->message = *m;
    enum err e = buf_put_str(out, "HEAD ");
    if (!e && h->kind == HEAD_REQUEST) {
        const struct slice parts[] = {h->method, h->scheme, h->host, h->path};
        for (size_t i = 0; i < 4 && !e; i++)
            e = transcript_slice(out, h, parts[i]);
        if (!e)
            e = buf_printf(out, ":%u ", h->port);
    } else if (!e) {
        e = buf_printf(out, "%u ", h->status);
        if (!e)
            e = transcript_slice(out, h, h->reason);
    }
    if (!e)
        e = transcript_slice(out, h, h->version);
    if (!e)
        e = buf_printf(out, "%s/%llu %s%s%s%s|", framings[m->framing], (unsigned long long)m->content_length,
                       m->keep_alive ? "K" : "-", m->expect_continue ? "E" : "", m->upgrade ? "U" : "",
                       m->absolute_form ? "A" : "");
    if (!e)
        e = transcript_fields(out, &h->headers);
    if (!e)
        e = head_copy(&t->last, h);
    return e ? e : t->refuse;
}

static inline enum err transcript_informational(void *ctx, const struct head *h)
{
    struct transcript *t = ctx;
    enum err e = buf_printf(&t->text, "INFO %u|", h->status);
    return e ? e : transcript_fields(&t->text, &h->headers);
}

static inline enum err transcript_body(void *ctx, struct span bytes)
{
    struct transcript *t = ctx;
    return bytes.n == 0 ? ERR_USAGE : buf_put(&t->body, bytes);
}

static inline enum err transcript_flush(struct transcript *t)
{
    enum err e = t->body.n ? buf_put_str(&t->text, " BODY ") : ERR_OK;
    if (!e)
        e = buf_put(&t->text, buf_span(&t->body));
    buf_clear(&t->body);
    return e;
}

static inline enum err transcript_trailers(void *ctx, const struct headers *h)
{
    struct transcript *t = ctx;
    enum err e = transcript_flush(t);
    if (!e)
        e = buf_put_str(&t->text, " TRAILERS");
    return e ? e : transcript_fields(&t->text, h);
}

static inline enum err transcript_end(void *ctx)
{
    struct transcript *t = ctx;
    t->ends++;
    enum err e = transcript_flush(t);
    return e ? e : buf_put_str(&t->text, " END\n");
}

static const struct h1_events transcript_events = {
    .head = transcript_head,
    .informational = transcript_informational,
    .body = transcript_body,
    .trailers = transcript_trailers,
    .end = transcript_end,
};

static inline void transcript_free(struct transcript *t)
{
    buf_free(&t->text);
    buf_free(&t->body);
    head_free(&t->last);
}

static inline void transcript_clear(struct transcript *t)
{
    buf_clear(&t->text);
    buf_clear(&t->body);
    t->heads = t->ends = 0;
}

/* Feeds wire in pieces of `chunk` bytes, going on to the next message as long as there is none that ends in a tunnel. `methods`: what the
 * responses answer, in order, separated by spaces. *used: how much was taken. */
static inline enum err transcript_run(struct transcript *t, struct h1 *codec, struct span wire, size_t chunk,
                                      const char *methods, size_t *used)
{
    enum err e = ERR_OK;
    struct span rest = span_str(methods);
    size_t at = 0;
    while (!e) {
        if (methods) {
            struct span method = span_first(rest, span_find(rest, ' '));
            rest = span_from(rest, method.n + 1);
            h1_expect(codec, method);
        }
        size_t ends = t->ends;
        while (!e && at < wire.n && t->ends == ends) {
            size_t took = 0;
            e = h1_feed(codec, span_first(span_from(wire, at), chunk), &took);
            at += took;
        }
        if (e || at == wire.n || h1_message(codec)->framing == H1_TUNNEL)
            break;
        h1_next(codec);
    }
    *used = at;
    return e;
}

#endif
