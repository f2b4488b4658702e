/* fuzz_h2.c: the HTTP/2 engine in both roles, with an owner that does anything at any time. Input: a byte of options, a byte that says how the wire is
 * cut, a byte that seeds what the owner does, the wire; by option a server's has a line of HTTP2-Settings before it. Held to: events come in order, nothing is told of a stream that has gone, what is told can be
 * said in HTTP/1.1, and what is to be sent is bounded. */
#include "base/limits.h"
#include "base/util.h"
#include "http/h2.h"
#include "http/token.h"

#include <stdlib.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

enum { STREAMS = 256, OUTPUT_MAX = 1 << 22 };

struct stream {
    struct h2_stream *s;
    bool headed, ended, closed, responded, finished;
};

struct owner {
    struct h2 *h2;
    enum h2_role role;
    struct stream streams[STREAMS];
    size_t n;
    uint32_t random;
};

static void must(bool holds)
{
    if (!holds)
        abort();
}

static uint32_t dice(struct owner *o, uint32_t sides)
{
    o->random = o->random * 1664525 + 1013904223;
    return (o->random >> 16) % sides;
}

/* The engine needs one to say anything; what is out of memory is not what is looked for here. */
static void fine(enum err e)
{
    must(e != ERR_NOMEM);
}

static void respond(struct owner *o, struct stream *t)
{
    struct head head = HEAD_INIT;
    head_clear(&head, HEAD_RESPONSE);
    head.status = 100 + dice(o, 5) * 100;
    fine(headers_add(&head.headers, SPAN("X"), SPAN("y")));
    if (head.status < 200) {
        head.status = 103;
        fine(h2_informational(t->s, &head));
    } else if (!t->responded) {
        t->responded = true;
        t->finished = dice(o, 2);
        fine(h2_respond(t->s, &head, t->finished));
    }
    head_free(&head);
}

static void finish(struct owner *o, struct stream *t)
{
    struct headers trailers = HEADERS_INIT;
    if (dice(o, 2))
        fine(headers_add(&trailers, SPAN("T"), SPAN("1")));
    t->finished = true;
    fine(h2_end(t->s, &trailers));
    headers_free(&trailers);
}

/* Whatever an owner may do with a stream. */
static void act(struct owner *o, struct stream *t)
{
    static const uint8_t bytes[70000];
    bool sends = o->role == H2_CLIENT || t->responded;
    if (t->closed)
        return;
    switch (dice(o, 9)) {
    case 0:
        if (o->role == H2_SERVER)
            respond(o, t);
        break;
    case 1:
        if (sends && !t->finished)
            fine(h2_body(t->s, span_of(bytes, dice(o, 10) ? dice(o, 100) : sizeof bytes)));
        break;
    case 2:
        if (sends && !t->finished)
            finish(o, t);
        break;
    case 3:
        if (!dice(o, 8))
            h2_reset(t->s, dice(o, 14));
        break;
    case 4:
        if (!dice(o, 4))
            h2_abort(t->s, dice(o, 14));
        break;
    case 5:
    case 6:
        h2_pause(t->s, dice(o, 2));
        break;
    case 7:
        must(h2_of(t->s) == o->h2 && h2_owner(t->s) == t);
        break;
    default:
        break;
    }
}

static void act_somewhere(struct owner *o)
{
    for (size_t i = 0; o->n && i < 3; i++)
        act(o, &o->streams[dice(o, (uint32_t)o->n)]);
}

static struct stream *stream_of(struct owner *o, struct h2_stream *s)
{
    struct stream *t = h2_owner(s);
    if (!t) {
        must(o->n < STREAMS);
        t = &o->streams[o->n++];
        *t = (struct stream){.s = s};
        h2_set_owner(s, t);
    }
    must(t->s == s && !t->closed);
    return t;
}

static void fields_safe(const struct headers *h)
{
    for (size_t i = 0; i < h->n; i++) {
        struct header f = headers_at(h, i);
        must(token_valid(f.name) && token_line_safe(f.value));
    }
}

static enum err on_head(void *ctx, struct h2_stream *s, const struct head *head, bool end)
{
    struct owner *o = ctx;
    struct stream *t = stream_of(o, s);
    must(!t->headed && !t->ended);
    t->headed = true;
    t->ended = end;
    fields_safe(&head->headers);
    if (o->role == H2_SERVER) {
        must(token_valid(head_span(head, head->method)) && token_graphic(head_span(head, head->path)));
        must(token_graphic(head_span(head, head->host)));
    } else {
        must(head->status >= 101 && head->status <= 999);
    }
    act(o, t);
    act_somewhere(o);
    return dice(o, 50) ? ERR_OK : ERR_CANCELLED;
}

static enum err on_informational(void *ctx, struct h2_stream *s, const struct head *head)
{
    struct stream *t = stream_of(ctx, s);
    must(!t->headed && head->status / 100 == 1);
    fields_safe(&head->headers);
    act(ctx, t);
    return ERR_OK;
}

static enum err on_body(void *ctx, struct h2_stream *s, struct span bytes)
{
    struct stream *t = stream_of(ctx, s);
    must(t->headed && !t->ended && bytes.n > 0);
    act(ctx, t);
    return ERR_OK;
}

static enum err on_trailers(void *ctx, struct h2_stream *s, const struct headers *trailers)
{
    struct stream *t = stream_of(ctx, s);
    must(t->headed && !t->ended);
    fields_safe(trailers);
    return ERR_OK;
}

static enum err on_end(void *ctx, struct h2_stream *s)
{
    struct stream *t = stream_of(ctx, s);
    must(t->headed && !t->ended);
    t->ended = true;
    act(ctx, t);
    return ERR_OK;
}

static void on_drained(void *ctx, struct h2_stream *s)
{
    must(!h2_full(s));
    act_somewhere(ctx);
}

static void on_closed(void *ctx, struct h2_stream *s, uint32_t code, bool untouched)
{
    struct stream *t = stream_of(ctx, s);
    must(!untouched || (code != 0 && !t->headed));
    act(ctx, t);
    act_somewhere(ctx);
    t->closed = true;
}

static void on_malformed(void *ctx, struct h2_stream *s, const struct head *head, const char *why)
{
    struct stream *t = stream_of(ctx, s);
    must(head && why[0]);
    act(ctx, t);
}

static const struct h2_events events = {on_head, on_informational, on_body,   on_trailers,
                                        on_end,  on_drained,       on_closed, on_malformed};

static void request(struct owner *o)
{
    struct head head = HEAD_INIT;
    struct h2_stream *s;
    head_clear(&head, HEAD_REQUEST);
    head.port = 443;
    fine(head_set(&head, &head.method, dice(o, 3) ? SPAN("POST") : SPAN("HEAD")));
    fine(head_set(&head, &head.scheme, SPAN("https")));
    fine(head_set(&head, &head.host, SPAN("ex.org")));
    fine(head_set(&head, &head.path, SPAN("/")));
    bool upgrade = h2_can_upgrade(o->h2) && dice(o, 2);
    if (upgrade)
        fine(headers_add(&head.headers, SPAN("Upgrade"), SPAN("websocket")));
    bool end = !upgrade && dice(o, 2), can = h2_can_request(o->h2);
    enum err e = o->n >= STREAMS ? ERR_REFUSED
                 : upgrade       ? h2_request_upgrade(o->h2, &head, &s)
                                 : h2_request(o->h2, &head, end, &s);
    must(e == ERR_OK || e == ERR_REFUSED || !can);
    if (!e) {
        stream_of(o, s)->finished = end;
        must(h2_streams(o->h2) > 0);
    }
    head_free(&head);
}

/* A request of HTTP/1.1 is stream 1: settings that can be decoded are the engine's, too. */
static void upgrade(struct owner *o, struct span *wire)
{
    struct head head = HEAD_INIT;
    struct buf settings = BUF_INIT;
    size_t line = span_find(*wire, '\n');
    head_clear(&head, HEAD_REQUEST);
    fine(head_set(&head, &head.method, dice(o, 2) ? SPAN("GET") : SPAN("HEAD")));
    fine(head_set(&head, &head.path, SPAN("/")));
    fine(headers_add(&head.headers, SPAN("X"), SPAN("y")));
    if (h2_settings_decode(&settings, span_first(*wire, line)) == ERR_OK) {
        must(settings.n > 0 && h2_upgrade(o->h2, buf_span(&settings), &head, 99) == ERR_OK);
        must(o->n == 1 && o->streams[0].headed);
    }
    *wire = span_from(*wire, line + 1);
    head_free(&head);
    buf_free(&settings);
}

static bool output(struct owner *o, struct buf *out)
{
    bool ok = h2_output(o->h2, out, 65536) == ERR_OK;
    must(out->n < OUTPUT_MAX);
    buf_clear(out);
    return ok;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";
    if (size < 3)
        return 0;
    struct owner *o = calloc(1, sizeof *o);
    must(o != NULL);
    o->role = data[0] & 1 ? H2_CLIENT : H2_SERVER;
    o->random = data[2];
    size_t chunk = (size_t)data[1] * 3 + 1;
    struct span wire = span_of(data + 3, size - 3);
    struct buf all = BUF_INIT, out = BUF_INIT;
    fine(h2_create(&o->h2, o->role, &events, o));
    if (o->role == H2_SERVER && data[0] & 4)
        h2_allow_upgrade(o->h2);
    for (size_t i = 0; o->role == H2_CLIENT && i < 4; i++)
        request(o);
    if (o->role == H2_SERVER && data[0] & 8)
        upgrade(o, &wire);
    bool on = output(o, &out);
    must(on && h2_failure(o->h2) == ERR_OK);
    if (data[0] & 2)
        fine(buf_put(&all, o->role == H2_SERVER ? span_of(preface, 33) : span_of(preface + 24, 9)));
    fine(buf_put(&all, wire));
    wire = buf_span(&all);
    while (on && wire.n && o->n < STREAMS - 110) {
        on = h2_feed(o->h2, span_first(wire, chunk)) == ERR_OK;
        must(on || h2_failure(o->h2) != ERR_OK);
        must(on || h2_error(o->h2)[0]);
        wire = span_from(wire, chunk);
        if (on && !dice(o, 3))
            act_somewhere(o);
        if (on && o->role == H2_CLIENT && !dice(o, 8))
            request(o);
        if (on && !dice(o, 40))
            h2_calm(o->h2);
        if (on && !dice(o, 200))
            h2_shutdown(o->h2);
        bool sent = dice(o, 4) == 0 || output(o, &out);
        on = on && sent && h2_failure(o->h2) == ERR_OK;
    }
    for (size_t i = 0; i < 100 && output(o, &out) && !h2_done(o->h2); i++)
        act_somewhere(o);
    h2_destroy(&o->h2);
    buf_free(&all);
    buf_free(&out);
    free(o);
    return 0;
}
