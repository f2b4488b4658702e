/* h2_side.h: one end of an HTTP/2 connection that writes down what its engine told, stream by stream. For tests. */
#ifndef RINGTAPE_TESTS_HTTP_H2_SIDE_H
#define RINGTAPE_TESTS_HTTP_H2_SIDE_H

#include "base/alloc.h"
#include "base/limits.h"
#include "base/util.h"
#include "http/h2.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

enum { CALLS_MAX = 2100, ROUNDS_MAX = 100000 };

struct side;

struct call {
    struct side *side;
    struct h2_stream *s; /* NULL once closed */
    struct buf text;     /* what was told, the content left out */
    size_t body;         /* its bytes */
    uint32_t sum;        /* and a checksum over them */
    unsigned drained, malformed, closed;
    uint32_t code;
    bool untouched, complete;
};

struct side {
    struct h2 *h2;
    struct call calls[CALLS_MAX];
    size_t n;
    void (*on_head)(struct call *c, const struct head *head);
    void (*on_body)(struct call *c);
    void (*on_complete)(struct call *c);
    void (*on_drained)(struct call *c);
    void (*on_closed)(struct call *c);
    void *test;
    enum err refuse; /* what the head event answers */
    enum err e;      /* of the writing down */
};

static inline uint32_t sum_of(uint32_t sum, struct span bytes)
{
    for (size_t i = 0; i < bytes.n; i++)
        sum = sum * 31 + bytes.p[i];
    return sum;
}

static inline struct call *call_new(struct side *side, struct h2_stream *s)
{
    assert_true(side->n < CALLS_MAX);
    struct call *c = &side->calls[side->n++];
    *c = (struct call){.side = side, .s = s};
    h2_set_owner(s, c);
    return c;
}

static inline struct call *call_of(void *ctx, struct h2_stream *s)
{
    struct call *c = h2_owner(s);
    return c ? c : call_new(ctx, s);
}

static inline void say(struct call *c, const char *text)
{
    if (!c->side->e)
        c->side->e = buf_put_str(&c->text, text);
}

static inline void say_span(struct call *c, struct span s)
{
    if (!c->side->e)
        c->side->e = buf_put(&c->text, s);
}

static inline void say_fields(struct call *c, const struct headers *h)
{
    for (size_t i = 0; i < h->n; i++) {
        struct header f = headers_at(h, i);
        say(c, " ");
        say_span(c, f.name);
        say(c, "=");
        say_span(c, f.value);
        say(c, ";");
    }
}

static inline void say_head(struct call *c, const char *what, const struct head *h)
{
    char number[32];
    say(c, what);
    if (h->kind == HEAD_REQUEST) {
        const struct slice parts[] = {h->method, h->scheme, h->host, h->path};
        for (size_t i = 0; i < ARRAY_LEN(parts); i++) {
            say(c, " ");
            say_span(c, head_span(h, parts[i]));
        }
    }
    (void)snprintf(number, sizeof number, " %u ", h->kind == HEAD_REQUEST ? h->port : h->status);
    say(c, number);
    say_span(c, head_span(h, h->version));
    say_fields(c, &h->headers);
}

static inline void complete(struct call *c)
{
    assert_false(c->complete);
    c->complete = true;
    if (c->side->on_complete)
        c->side->on_complete(c);
}

static inline enum err side_head(void *ctx, struct h2_stream *s, const struct head *head, bool end)
{
    struct call *c = call_of(ctx, s);
    say_head(c, "HEAD", head);
    say(c, end ? " END" : "");
    if (c->side->on_head)
        c->side->on_head(c, head);
    if (end)
        complete(c);
    return c->side->e ? c->side->e : c->side->refuse;
}

static inline enum err side_informational(void *ctx, struct h2_stream *s, const struct head *head)
{
    struct call *c = call_of(ctx, s);
    say_head(c, "INFO", head);
    say(c, " ");
    return c->side->e;
}

static inline enum err side_body(void *ctx, struct h2_stream *s, struct span bytes)
{
    struct call *c = call_of(ctx, s);
    assert_true(bytes.n > 0);
    assert_false(c->complete);
    c->body += bytes.n;
    c->sum = sum_of(c->sum, bytes);
    if (c->side->on_body)
        c->side->on_body(c);
    return c->side->e;
}

static inline enum err side_trailers(void *ctx, struct h2_stream *s, const struct headers *trailers)
{
    struct call *c = call_of(ctx, s);
    say(c, " TRAILERS");
    say_fields(c, trailers);
    return c->side->e;
}

static inline enum err side_end(void *ctx, struct h2_stream *s)
{
    struct call *c = call_of(ctx, s);
    say(c, " END");
    complete(c);
    return c->side->e;
}

static inline void side_drained(void *ctx, struct h2_stream *s)
{
    struct call *c = call_of(ctx, s);
    assert_false(h2_full(s));
    c->drained++;
    if (c->side->on_drained)
        c->side->on_drained(c);
}

static inline void side_closed(void *ctx, struct h2_stream *s, uint32_t code, bool untouched)
{
    struct call *c = call_of(ctx, s);
    c->closed++;
    c->code = code;
    c->untouched = untouched;
    if (c->side->on_closed)
        c->side->on_closed(c);
    c->s = NULL;
}

static inline void side_malformed(void *ctx, struct h2_stream *s, const struct head *head, const char *why)
{
    struct call *c = call_of(ctx, s);
    assert_true(why && why[0] && head);
    assert_int_equal(c->closed, 0);
    c->malformed++;
    say(c, " MALFORMED ");
    say(c, why);
}

static const struct h2_events side_events = {side_head, side_informational, side_body,   side_trailers,
                                             side_end,  side_drained,       side_closed, side_malformed};

static inline struct side *side_new(enum h2_role role)
{
    struct side *side = calloc(1, sizeof *side);
    assert_non_null(side);
    assert_int_equal(h2_create(&side->h2, role, &side_events, side), ERR_OK);
    return side;
}

static inline void side_free(struct side *side)
{
    h2_destroy(&side->h2);
    for (size_t i = 0; i < side->n; i++)
        buf_free(&side->calls[i].text);
    free(side);
}

/* ---- heads ---- */

/* "Name: value\n..." */
static inline enum err fields_add(struct headers *to, const char *fields)
{
    struct span rest = span_str(fields);
    enum err e = ERR_OK;
    while (!e && rest.n) {
        size_t line = span_find(rest, '\n'), colon = span_find(rest, ':');
        e = headers_add(to, span_first(rest, colon), span_from(span_first(rest, line), colon + 2));
        rest = span_from(rest, line + 1);
    }
    return e;
}

static inline enum err ask(struct side *c, const char *method, const char *path, const char *fields, bool end,
                           struct call **out)
{
    struct head h = HEAD_INIT;
    struct h2_stream *s = NULL;
    head_clear(&h, HEAD_REQUEST);
    h.port = 443;
    enum err e = head_set(&h, &h.method, span_str(method));
    e = e ? e : head_set(&h, &h.scheme, SPAN("https"));
    e = e ? e : head_set(&h, &h.host, SPAN("ex.org"));
    e = e ? e : head_set(&h, &h.path, span_str(path));
    e = e ? e : fields_add(&h.headers, fields);
    e = e ? e : h2_request(c->h2, &h, end, &s);
    head_free(&h);
    *out = e ? NULL : call_new(c, s);
    return e;
}

static inline enum err answer(struct call *c, unsigned status, const char *fields, bool end)
{
    struct head h = HEAD_INIT;
    head_clear(&h, HEAD_RESPONSE);
    h.status = status;
    enum err e = fields_add(&h.headers, fields);
    if (!e)
        e = status < 200 ? h2_informational(c->s, &h) : h2_respond(c->s, &h, end);
    head_free(&h);
    return e;
}

static inline enum err finish(struct call *c, const char *trailers)
{
    struct headers h = HEADERS_INIT;
    enum err e = fields_add(&h, trailers);
    e = e ? e : h2_end(c->s, &h);
    headers_free(&h);
    return e;
}

/* ---- bytes ---- */

/* What `from` has to say goes to `to`, `chunk` bytes at a time. False: nothing moved. */
static inline bool carry(struct side *from, struct side *to, size_t chunk, enum err *e)
{
    struct buf out = BUF_INIT;
    *e = h2_output(from->h2, &out, 30000);
    struct span rest = buf_span(&out);
    bool any = rest.n > 0;
    while (!*e && rest.n) {
        *e = h2_feed(to->h2, span_first(rest, chunk));
        rest = span_from(rest, chunk);
    }
    buf_free(&out);
    return any;
}

static inline enum err pump_all(struct side *a, struct side *b, size_t chunk)
{
    enum err e = ERR_OK;
    for (size_t round = 0; round < ROUNDS_MAX; round++) {
        bool there = carry(a, b, chunk, &e);
        if (e)
            return e;
        bool back = carry(b, a, chunk, &e);
        if (e || (!there && !back))
            return e;
    }
    return ERR_TIMEOUT;
}

static inline void pump(struct side *a, struct side *b, size_t chunk)
{
    assert_int_equal(pump_all(a, b, chunk), ERR_OK);
    assert_int_equal(a->e, ERR_OK);
    assert_int_equal(b->e, ERR_OK);
}

static inline void assert_said(struct call *c, const char *want)
{
    assert_string_equal(c->text.n ? buf_cstr(&c->text) : "", want);
}

static inline void assert_closed(const struct call *c, uint32_t code)
{
    assert_int_equal(c->closed, 1);
    assert_int_equal(c->code, code);
}

#endif
