/* test_h2c.c: HTTP/2 on a connection that began with HTTP/1.1 (RFC 7540 §3.2): what HTTP2-Settings may say, stream 1, which no frame began, and what
 * follows it, at several cuts of the bytes and under every failing allocation. */
#include "tests/http/h2_frames.h"

static const size_t chunks[] = {1, 2, 7, 24, 50, 100000};

/* ---- HTTP2-Settings ---- */

static void test_settings(void **state)
{
    static const struct {
        const char *name, *field;
        size_t settings; /* 0: refused */
    } cases[] = {
        {"curl's", "AAMAAABkAAQCAAAAAAIAAAAA", 3},
        {"nghttp's", "AAMAAABkAAQAAP__", 2},
        {"Java's", "AAEAAEAAAAIAAAABAAMAAABkAAQBAAAAAAUAAEAA", 5},
        {"the largest window", "AAR_____", 1},
        {"a window beyond", "AASAAAAA", 0},
        {"push 1", "AAIAAAAB", 1},
        {"push 2", "AAIAAAAC", 0},
        {"the smallest frames", "AAUAAEAA", 1},
        {"smaller ones", "AAUAAD__", 0},
        {"the largest frames", "AAUA____", 1},
        {"larger ones", "AAUBAAAA", 0},
        {"extended CONNECT 2", "AAgAAAAC", 0},
        {"no priorities 2", "AAkAAAAC", 0},
        {"an unknown one", "_________", 0},
        {"an unknown one of the right length", "________", 1},
        {"a wrong one behind a right one", "AAIAAAABAAIAAAAC", 0},
        {"none", "", 0},
        {"five bytes", "AAIAAAA", 0},
        {"seven bytes", "AAIAAAABAA", 0},
        {"padding", "AAIAAAAB====", 0},
        {"the other alphabet", "AAQAAP//", 0},
        {"white space", "AAIAAAAB ", 0},
        {"a comma", "AAIAAAAB,AAIAAAAB", 0},
        {"words", "please upgrade", 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out = BUF_INIT;
        assert_int_equal(buf_put_str(&out, "before"), ERR_OK);
        enum err e = h2_settings_decode(&out, span_str(cases[i].field));
        if (e != (cases[i].settings ? ERR_OK : ERR_PARSE) || out.n != 6 + cases[i].settings * 6)
            fail_msg("%s: %s, %zu bytes", cases[i].name, err_text(e), out.n - 6);
        buf_free(&out);
    }
}

static void test_many_settings(void **state)
{
    (void)state;
    for (size_t n = 31; n <= 34; n++) {
        struct buf field = BUF_INIT, out = BUF_INIT;
        for (size_t i = 0; i < n; i++)
            assert_int_equal(buf_put_str(&field, "AAIAAAAB"), ERR_OK);
        assert_int_equal(h2_settings_decode(&out, buf_span(&field)), n <= 32 ? ERR_OK : ERR_PARSE);
        buf_free(&field);
        buf_free(&out);
    }
}

/* ---- stream 1 ---- */

static enum err upgrade(struct side *side, const char *method, const char *settings)
{
    struct head h = HEAD_INIT;
    struct buf payload = BUF_INIT;
    head_clear(&h, HEAD_REQUEST);
    h.port = 80;
    enum err e = head_set(&h, &h.method, span_str(method));
    e = e ? e : head_set(&h, &h.scheme, SPAN("http"));
    e = e ? e : head_set(&h, &h.host, SPAN("ex.org"));
    e = e ? e : head_set(&h, &h.path, SPAN("/one"));
    e = e ? e : head_set(&h, &h.version, SPAN("HTTP/1.1"));
    e = e ? e : headers_add(&h.headers, SPAN("X-Case"), SPAN("Kept"));
    e = e ? e : h2_settings_decode(&payload, span_str(settings));
    e = e ? e : h2_upgrade(side->h2, buf_span(&payload), &h, 321);
    head_free(&h);
    buf_free(&payload);
    return e;
}

#define ONE "HEAD %s http ex.org /one 80 HTTP/1.1 X-Case=Kept; END"

static void answer_at_length(struct call *c)
{
    static const uint8_t content[1000];
    if (c->side->e)
        return;
    bool head_only = memcmp(buf_span(&c->text).p, "HEAD HEAD", 9) == 0;
    c->side->e = answer(c, 200, "Content-Length: 1000\n", head_only);
    if (!head_only && !c->side->e)
        c->side->e = h2_body(c->s, span_of(content, sizeof content));
    if (!head_only && !c->side->e)
        c->side->e = finish(c, "");
}

/* The request is answered without a frame of the client's; then comes its preface, and a stream as any other. */
static void test_conversation(void **state)
{
    static const char *const methods[] = {"GET", "HEAD"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(chunks) * ARRAY_LEN(methods); i++) {
        const char *method = methods[i % 2];
        struct side *side = side_new(H2_SERVER);
        struct seen seen = {.frames = 0};
        struct buf wire = BUF_INIT;
        char said[100];
        side->on_complete = answer_at_length;
        assert_int_equal(upgrade(side, method, "AAMAAABkAAQCAAAAAAIAAAAA"), ERR_OK);
        (void)snprintf(said, sizeof said, ONE, method);
        assert_int_equal(side->n, 1);
        assert_said(&side->calls[0], said);
        assert_int_equal(h2_id(side->calls[0].s), 1);
        assert_int_equal(h2_wire_bytes(side->calls[0].s), 321);
        assert_int_equal(drain(side, &seen), ERR_OK);
        assert_true(seen.ended[1]);
        assert_int_equal(seen.data[1], i % 2 ? 0 : 1000);
        assert_int_equal(seen.settings_acks, 0); /* "no acknowledgement is needed" (§3.2.1) */
        assert_closed(&side->calls[0], 0);
        put_preface(&wire, H2_CLIENT);
        put_headers(&wire, 3, END_STREAM, span_str(GET));
        assert_int_equal(feed(side, &seen, buf_span(&wire), chunks[i / 2]), ERR_OK);
        assert_int_equal(side->n, 2);
        assert_said(&side->calls[1], "HEAD GET https ex.org / 0 HTTP/2 END");
        assert_true(seen.ended[3] && !seen.goaway && !seen.reset[1] && !seen.reset[3]);
        assert_int_equal(seen.settings_acks, 1);
        assert_int_equal(h2_streams(side->h2), 0);
        side_free(side);
        buf_free(&seen.rest);
        buf_free(&wire);
    }
}

/* The window that HTTP2-Settings give, not the default's 65535, holds for stream 1. */
static void test_window(void **state)
{
    (void)state;
    struct side *side = side_new(H2_SERVER);
    struct seen seen = {.frames = 0};
    struct buf wire = BUF_INIT;
    side->on_complete = answer_at_length;
    assert_int_equal(upgrade(side, "GET", "AAQAAABk"), ERR_OK); /* 100 */
    assert_int_equal(drain(side, &seen), ERR_OK);
    assert_int_equal(seen.data[1], 100);
    assert_false(seen.ended[1]);
    put_preface(&wire, H2_CLIENT); /* its SETTINGS are empty: what was said stays */
    put_number(&wire, WINDOW_UPDATE, 1, 300);
    assert_int_equal(feed(side, &seen, buf_span(&wire), 9), ERR_OK);
    assert_int_equal(seen.data[1], 400);
    buf_clear(&wire);
    put_number(&wire, WINDOW_UPDATE, 1, 1000);
    assert_int_equal(feed(side, &seen, buf_span(&wire), 9), ERR_OK);
    assert_int_equal(seen.data[1], 1000);
    assert_true(seen.ended[1]);
    side_free(side);
    buf_free(&seen.rest);
    buf_free(&wire);
}

struct after {
    const char *name;
    unsigned type, flags;
    uint32_t stream;
    const char *payload;
    uint32_t goaway; /* what comes of it; 0: nothing */
};

/* What the client says of stream 1, whose request is complete, or of ids that it has used up. */
static void test_frames_of_stream_1(void **state)
{
    static const struct after cases[] = {
        {"content", DATA, END_STREAM, 1, "more", STREAM_CLOSED},
        {"another head", HEADERS, END_STREAM | END_HEADERS, 1, "\x82\x86\x84", STREAM_CLOSED},
        {"its reset", RST_STREAM, 0, 1, "\0\0\0\x08", 0},
        {"its window", WINDOW_UPDATE, 0, 1, "\0\0\1\0", 0},
        {"HTTP/1.1", 'T' /* GET / */, 0, 0, NULL, H2_PROTOCOL_ERROR},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases) * ARRAY_LEN(chunks); i++) {
        const struct after *t = &cases[i / ARRAY_LEN(chunks)];
        struct side *side = side_new(H2_SERVER);
        struct seen seen = {.frames = 0};
        struct buf wire = BUF_INIT;
        assert_int_equal(upgrade(side, "GET", "AAMAAABk"), ERR_OK);
        if (t->payload) {
            put_preface(&wire, H2_CLIENT);
            size_t n = t->type == DATA ? strlen(t->payload) : t->type == HEADERS ? 3 : 4;
            put_frame(&wire, t->type, t->flags, t->stream, span_of(t->payload, n));
        } else {
            assert_int_equal(buf_put_str(&wire, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"), ERR_OK);
        }
        enum err e = feed(side, &seen, buf_span(&wire), chunks[i % ARRAY_LEN(chunks)]);
        assert_int_equal(drain(side, &seen), ERR_OK);
        if ((e != ERR_OK) != (t->goaway != 0) || seen.goaway != (t->goaway != 0) || seen.goaway_code != t->goaway)
            fail_msg("%s: %s, GOAWAY %u", t->name, err_text(e), seen.goaway_code);
        assert_int_equal(side->n, 1);
        if (t->type == RST_STREAM)
            assert_closed(&side->calls[0], H2_CANCEL);
        else if (!e)
            assert_int_equal(side->calls[0].closed, 0);
        side_free(side);
        buf_free(&seen.rest);
        buf_free(&wire);
    }
}

/* An owner that cannot take it. */
static void test_refused_by_the_owner(void **state)
{
    (void)state;
    struct side *side = side_new(H2_SERVER);
    struct seen seen = {.frames = 0};
    side->refuse = ERR_CANCELLED;
    assert_int_equal(upgrade(side, "GET", "AAMAAABk"), ERR_OK);
    assert_int_equal(drain(side, &seen), ERR_OK);
    assert_true(seen.reset[1]);
    assert_int_equal(seen.code[1], H2_INTERNAL_ERROR);
    assert_closed(&side->calls[0], H2_INTERNAL_ERROR);
    side_free(side);
    buf_free(&seen.rest);
}

/* ---- the absolute form in :path ---- */

#define AT(path) ":method=GET|:scheme=http|:authority=ex.org|:path=" path

/* curl 7 asks a proxy so: it may try again elsewhere. Only after an upgrade, and nothing else that is malformed. */
static void test_absolute_path(void **state)
{
    static const struct {
        const char *fields;
        bool upgraded;
        uint32_t code; /* of its reset */
    } cases[] = {
        {AT("http://ex.org/two"), true, H2_REFUSED_STREAM},
        {AT("HTTP://ex.org/two"), true, H2_REFUSED_STREAM},
        {AT("http://ex.org/two"), false, H2_PROTOCOL_ERROR},
        {AT("https://ex.org/two"), true, H2_PROTOCOL_ERROR},
        {AT("two"), true, H2_PROTOCOL_ERROR},
        {AT(""), true, H2_PROTOCOL_ERROR},
        {AT("/two|path=http://x/"), true, 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases) * ARRAY_LEN(chunks); i++) {
        const char *fields = cases[i / ARRAY_LEN(chunks)].fields;
        bool upgraded = cases[i / ARRAY_LEN(chunks)].upgraded;
        uint32_t code = cases[i / ARRAY_LEN(chunks)].code;
        struct side *side = side_new(H2_SERVER);
        struct seen seen = {.frames = 0};
        struct buf wire = BUF_INIT;
        if (upgraded)
            assert_int_equal(upgrade(side, "GET", "AAMAAABk"), ERR_OK);
        put_preface(&wire, H2_CLIENT);
        put_headers(&wire, 3, END_STREAM, span_str(fields));
        put_headers(&wire, 5, END_STREAM, span_str(GET));
        assert_int_equal(feed(side, &seen, buf_span(&wire), chunks[i % ARRAY_LEN(chunks)]), ERR_OK);
        if (seen.reset[3] != (code != 0) || seen.code[3] != code || seen.goaway)
            fail_msg("%s: reset %d with %u", fields, seen.reset[3], seen.code[3]);
        size_t told = (size_t)upgraded + (code == H2_REFUSED_STREAM ? 0 : 1);
        for (size_t k = 0; k < side->n; k++)
            assert_true(side->calls[k].malformed == (k == told - 1 && code == H2_PROTOCOL_ERROR));
        assert_int_equal(seen.reset[5], false);
        side_free(side);
        buf_free(&seen.rest);
        buf_free(&wire);
    }
}

/* Who goes on so is a flood. */
static void test_many_absolute_paths(void **state)
{
    (void)state;
    struct side *side = side_new(H2_SERVER);
    struct seen seen = {.frames = 0};
    struct buf wire = BUF_INIT;
    assert_int_equal(upgrade(side, "GET", "AAMAAABk"), ERR_OK);
    put_preface(&wire, H2_CLIENT);
    for (uint32_t i = 0; i <= LIMIT_H2_RESETS + 1; i++)
        put_headers(&wire, 3 + 2 * i, END_STREAM, span_str(AT("http://ex.org/")));
    assert_int_equal(feed(side, &seen, buf_span(&wire), 1000), ERR_LIMIT);
    assert_int_equal(drain(side, &seen), ERR_OK);
    assert_int_equal(seen.goaway_code, ENHANCE_YOUR_CALM);
    side_free(side);
    buf_free(&seen.rest);
    buf_free(&wire);
}

/* ---- allocation failure ---- */

static void test_allocation_failure(void **state)
{
    struct buf wire = BUF_INIT;
    bool done = false;
    long n = 0;
    (void)state;
    put_preface(&wire, H2_CLIENT);
    put_headers(&wire, 3, END_STREAM, span_str(GET));
    for (; !done && n < 2000; n++) {
        struct side *side = calloc(1, sizeof *side);
        struct seen seen = {.frames = 0};
        assert_non_null(side);
        side->on_complete = answer_at_length;
        mem_fail_after(n);
        enum err e = h2_create(&side->h2, H2_SERVER, &side_events, side);
        e = e ? e : upgrade(side, "GET", "AAMAAABkAAQCAAAAAAIAAAAA");
        e = e ? e : feed(side, &seen, buf_span(&wire), 900);
        mem_fail_after(-1);
        done = e == ERR_OK && !side->e && seen.ended[1] && seen.ended[3];
        assert_true(e == ERR_OK || e == ERR_NOMEM);
        assert_true(e || side->e || done || seen.reset[1] || seen.reset[3]);
        side_free(side);
        buf_free(&seen.rest);
    }
    assert_true(done && n > 30);
    buf_free(&wire);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_settings),           cmocka_unit_test(test_many_settings),
        cmocka_unit_test(test_conversation),       cmocka_unit_test(test_window),
        cmocka_unit_test(test_frames_of_stream_1), cmocka_unit_test(test_refused_by_the_owner),
        cmocka_unit_test(test_absolute_path),      cmocka_unit_test(test_many_absolute_paths),
        cmocka_unit_test(test_allocation_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
