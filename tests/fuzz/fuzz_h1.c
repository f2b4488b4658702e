/* fuzz_h1.c: the HTTP/1 codec in both roles. Input: a byte of options, a byte that says how the rest is cut, the wire. Whatever the cut,
 * the events and the outcome must be the same; and a head that was let through must go out as exactly one head that this parser reads
 * back the same way, or two readers could be told different things. */
#include "tests/http/transcript.h"

#include <stdlib.h>

static void must(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct outcome {
    struct transcript t;
    enum err e, eof;
    size_t used;
    const char *why;
    bool in_message;
};

static void run(struct outcome *o, enum h1_role role, struct span wire, size_t chunk, const char *methods)
{
    struct h1 *codec;
    *o = (struct outcome){.e = ERR_OK};
    must(h1_create(&codec, role, &transcript_events, &o->t) == ERR_OK);
    o->e = transcript_run(&o->t, codec, wire, chunk, methods, &o->used);
    o->in_message = h1_in_message(codec);
    o->why = h1_error(codec);
    must(o->e == ERR_OK || o->why[0] != 0);
    o->eof = h1_eof(codec);
    must(transcript_flush(&o->t) == ERR_OK);
    h1_destroy(&codec);
}

/* The last head, put out and read again. */
static void round_trip(const struct outcome *o, enum h1_role role, struct span method)
{
    const struct head *head = &o->t.last;
    const struct h1_message *m = &o->t.message;
    struct transcript again = {.heads = 0};
    struct buf wire = BUF_INIT;
    struct h1 *codec;
    size_t used;
    if (role == H1_SERVER) {
        bool has_body = m->framing == H1_CHUNKED || (m->framing == H1_LENGTH && m->content_length > 0);
        struct h1_out how = h1_plan_request(head, has_body, m->keep_alive);
        must(how.framing == m->framing && how.content_length == m->content_length);
        must(h1_put_request(&wire, head, &how) == ERR_OK);
    } else {
        struct h1_out how = h1_plan_response(head, method, false, m->keep_alive);
        must(h1_put_response(&wire, head, &how) == ERR_OK);
    }
    must(h1_create(&codec, role, &transcript_events, &again) == ERR_OK);
    if (role == H1_CLIENT)
        h1_expect(codec, method);
    enum err e = h1_feed(codec, buf_span(&wire), &used);
    /* Fields that are made here (Host, Connection) may take a head at the limit beyond it. */
    if (e != ERR_LIMIT || head->headers.n < 250) {
        must(e == ERR_OK && used == wire.n && again.heads == 1);
        must(again.last.status == head->status);
        must(span_eq(head_span(&again.last, again.last.method), head_span(head, head->method)));
        must(span_eq(head_span(&again.last, again.last.path), head_span(head, head->path)));
        must(role == H1_CLIENT ||
             (again.message.framing == m->framing && again.message.content_length == m->content_length));
    }
    h1_destroy(&codec);
    transcript_free(&again);
    buf_free(&wire);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const answered[] = {"GET", "HEAD", "CONNECT", "GET HEAD POST"};
    if (size < 2)
        return 0;
    enum h1_role role = data[0] & 1 ? H1_CLIENT : H1_SERVER;
    const char *methods = role == H1_CLIENT ? answered[data[0] >> 1 & 3] : NULL;
    struct span wire = span_of(data + 2, size - 2);
    struct outcome whole, cut;
    run(&whole, role, wire, size, methods);
    run(&cut, role, wire, (size_t)data[1] % 64 + 1, methods);
    must(whole.e == cut.e && whole.eof == cut.eof && strcmp(whole.why, cut.why) == 0 &&
         whole.in_message == cut.in_message);
    must(whole.e != ERR_OK || whole.used == cut.used);
    must(span_eq(buf_span(&whole.t.text), buf_span(&cut.t.text)));
    /* The answered method is known for the first response only. */
    if (whole.t.heads == 1)
        round_trip(&whole, role, span_first(span_str(methods), span_find(span_str(methods), ' ')));
    transcript_free(&whole.t);
    transcript_free(&cut.t);
    return 0;
}
