/* test_h2_floods.c: peers of HTTP/2 that cost more than they may: each ends with ENHANCE_YOUR_CALM, or is bounded. */
#include "tests/http/h2_frames.h"

static uint8_t zeros[70000];

/* Repeats `once` until the connection ends; how often it took. */
static size_t flood(struct side *side, struct seen *seen, const struct buf *once, size_t most)
{
    for (size_t i = 1; i <= most; i++)
        if (feed(side, seen, buf_span(once), 100000))
            return i;
    return 0;
}

static void check_flood(const char *name, const struct buf *first, const struct buf *once, size_t most)
{
    struct side *side = side_new(H2_SERVER);
    struct seen seen = {.frames = 0};
    struct buf wire = BUF_INIT;
    put_preface(&wire, H2_CLIENT);
    assert_int_equal(buf_put(&wire, buf_span(first)), ERR_OK);
    assert_int_equal(feed(side, &seen, buf_span(&wire), 100000), ERR_OK);
    size_t times = flood(side, &seen, once, most);
    if (!times || !seen.goaway || seen.goaway_code != ENHANCE_YOUR_CALM || h2_failure(side->h2) != ERR_LIMIT)
        fail_msg("%s: ended after %zu with GOAWAY %d, %u: %s", name, times, seen.goaway, seen.goaway_code,
                 h2_error(side->h2));
    assert_true(h2_error(side->h2)[0]);
    side_free(side);
    buf_free(&seen.rest);
    buf_free(&wire);
}

static void test_floods(void **state)
{
    (void)state;
    struct buf none = BUF_INIT, open = BUF_INIT, once = BUF_INIT;
    put_headers(&open, 1, 0, span_str(POST));
    const struct {
        const char *name;
        bool on_stream;
        unsigned type, flags;
        uint32_t stream;
        struct span payload;
        size_t most;
    } floods[] = {
        {"PING", false, PING, 0, 0, SPAN("12345678"), LIMIT_H2_IDLE_FRAMES + 1},
        {"PING ACK", false, PING, 1, 0, SPAN("12345678"), LIMIT_H2_IDLE_FRAMES + 1},
        {"SETTINGS", false, SETTINGS, 0, 0, SPAN("\0\3\0\0\0\x64"), LIMIT_H2_IDLE_FRAMES + 1},
        {"WINDOW_UPDATE", false, WINDOW_UPDATE, 0, 0, SPAN("\0\0\0\1"), LIMIT_H2_IDLE_FRAMES + 1},
        {"PRIORITY", false, PRIORITY, 0, 1, SPAN("\0\0\0\3\x10"), LIMIT_H2_IDLE_FRAMES + 1},
        {"empty DATA", true, DATA, 0, 1, SPAN_EMPTY, LIMIT_H2_IDLE_FRAMES + 1},
        {"padded empty DATA", true, DATA, PADDED, 1, SPAN("\3\0\0\0"), LIMIT_H2_IDLE_FRAMES + 1},
        {"tiny DATA", true, DATA, 0, 1, SPAN("a"), LIMIT_H2_TINY_FRAMES + 2},
    };
    for (size_t i = 0; i < ARRAY_LEN(floods); i++) {
        buf_clear(&once);
        put_frame(&once, floods[i].type, floods[i].flags, floods[i].stream, floods[i].payload);
        check_flood(floods[i].name, floods[i].on_stream ? &open : &none, &once, floods[i].most);
    }
    buf_free(&open);
    buf_free(&once);
}

/* All at once, nothing of the answers read: what waits stays bounded. */
static void test_answers_that_nobody_reads(void **state)
{
    (void)state;
    const struct {
        unsigned type;
        struct span payload;
    } asks[] = {{PING, SPAN("12345678")}, {SETTINGS, SPAN_EMPTY}};
    for (size_t k = 0; k < ARRAY_LEN(asks); k++) {
        struct side *side = side_new(H2_SERVER);
        struct buf wire = BUF_INIT, out = BUF_INIT;
        put_preface(&wire, H2_CLIENT);
        for (size_t i = 0; i < 1000; i++)
            put_frame(&wire, asks[k].type, 0, 0, asks[k].payload);
        assert_int_equal(h2_feed(side->h2, buf_span(&wire)), ERR_LIMIT);
        assert_int_equal(h2_output(side->h2, &out, 1 << 20), ERR_OK);
        assert_true(out.n < 200 * 17);
        side_free(side);
        buf_free(&wire);
        buf_free(&out);
    }
}

static void test_rapid_reset(void **state)
{
    (void)state;
    struct side *side = side_new(H2_SERVER);
    struct seen seen = {.frames = 0};
    struct buf wire = BUF_INIT;
    put_preface(&wire, H2_CLIENT);
    enum err e = feed(side, &seen, buf_span(&wire), 100);
    uint32_t stream = 1;
    for (; !e && stream < 4000; stream += 2) {
        buf_clear(&wire);
        put_headers(&wire, stream, END_STREAM, span_str(GET));
        put_number(&wire, RST_STREAM, stream, H2_CANCEL);
        side->n = 0;
        e = feed(side, &seen, buf_span(&wire), 100);
        buf_free(&side->calls[0].text);
    }
    assert_int_equal(e, ERR_LIMIT);
    assert_int_equal(seen.goaway_code, ENHANCE_YOUR_CALM);
    assert_true(stream / 2 <= LIMIT_H2_RESETS + 2);
    side_free(side);
    buf_free(&seen.rest);
    buf_free(&wire);
}

/* Malformed ones count as much: each makes us reset it. */
static void test_endless_malformed_requests(void **state)
{
    (void)state;
    struct side *side = side_new(H2_SERVER);
    struct seen seen = {.frames = 0};
    struct buf wire = BUF_INIT;
    put_preface(&wire, H2_CLIENT);
    enum err e = feed(side, &seen, buf_span(&wire), 100);
    uint32_t stream = 1;
    for (; !e && stream < 4000; stream += 2) {
        buf_clear(&wire);
        put_headers(&wire, stream, END_STREAM, SPAN(GET "|x y=1"));
        side->n = 0;
        e = feed(side, &seen, buf_span(&wire), 100);
        buf_free(&side->calls[0].text);
    }
    assert_int_equal(e, ERR_LIMIT);
    assert_int_equal(seen.goaway_code, ENHANCE_YOUR_CALM);
    side_free(side);
    buf_free(&seen.rest);
    buf_free(&wire);
}

static void test_continuation_flood(void **state)
{
    (void)state;
    for (size_t size = 0; size < 2; size++) {
        struct side *side = side_new(H2_SERVER);
        struct seen seen = {.frames = 0};
        struct buf wire = BUF_INIT, once = BUF_INIT;
        put_preface(&wire, H2_CLIENT);
        put_frame(&wire, HEADERS, END_STREAM, 1, SPAN("\x82"));
        assert_int_equal(feed(side, &seen, buf_span(&wire), 100), ERR_OK);
        put_frame(&once, CONTINUATION, 0, 1, span_of("\0\1x\1y", size ? 5 : 0));
        size_t times = flood(side, &seen, &once, 5000);
        assert_in_range(times, 1, 100);
        assert_true(seen.goaway);
        assert_int_equal(seen.goaway_code, ENHANCE_YOUR_CALM);
        assert_int_equal(h2_failure(side->h2), ERR_LIMIT);
        side_free(side);
        buf_free(&seen.rest);
        buf_free(&wire);
        buf_free(&once);
    }
}

/* A field of 3 KB in the table, named by one byte each time. */
static void test_header_bomb(void **state)
{
    (void)state;
    struct side *side = side_new(H2_SERVER);
    struct seen seen = {.frames = 0};
    struct buf wire = BUF_INIT, block = BUF_INIT;
    put_preface(&wire, H2_CLIENT);
    memset(zeros, 'a', 3000);
    put_block(&block, span_str(GET));
    assert_int_equal(buf_put(&block, SPAN("\x40\1x")), ERR_OK);
    put_string(&block, span_of(zeros, 3000));
    memset(zeros, 0xbe, 10000); /* the first entry of the dynamic table */
    assert_int_equal(buf_put(&block, span_of(zeros, 10000)), ERR_OK);
    memset(zeros, 0, sizeof zeros);
    put_long_block(&wire, 1, buf_span(&block));
    assert_int_equal(feed(side, &seen, buf_span(&wire), 100), ERR_LIMIT);
    assert_true(seen.goaway);
    assert_int_equal(seen.goaway_code, ENHANCE_YOUR_CALM);
    side_free(side);
    buf_free(&seen.rest);
    buf_free(&wire);
    buf_free(&block);
}

static void test_endless_informational(void **state)
{
    (void)state;
    struct side *side = side_new(H2_CLIENT);
    struct seen seen = {.frames = 0};
    struct buf wire = BUF_INIT;
    struct call *c;
    assert_int_equal(ask(side, "GET", "/", "", true, &c), ERR_OK);
    assert_int_equal(drain(side, &seen), ERR_OK);
    put_preface(&wire, H2_SERVER);
    for (size_t i = 0; i < 3000; i++)
        put_headers(&wire, 1, 0, SPAN(":status=103|link=</a>"));
    assert_int_equal(feed(side, &seen, buf_span(&wire), 1000), ERR_OK);
    assert_int_equal(c->malformed, 1);
    assert_closed(c, H2_PROTOCOL_ERROR);
    side_free(side);
    buf_free(&seen.rest);
    buf_free(&wire);
}

/* gRPC's keepalive, for hours: each PING is answered, and time makes them forgotten. */
static void test_pings_over_time(void **state)
{
    (void)state;
    struct side *side = side_new(H2_SERVER);
    struct seen seen = {.frames = 0};
    struct buf wire = BUF_INIT, once = BUF_INIT;
    put_preface(&wire, H2_CLIENT);
    put_frame(&once, PING, 0, 0, SPAN("12345678"));
    assert_int_equal(feed(side, &seen, buf_span(&wire), 1000), ERR_OK);
    for (size_t i = 0; i < 3 * LIMIT_H2_IDLE_FRAMES; i++) {
        if (i % 1000 == 0)
            h2_calm(side->h2);
        assert_int_equal(feed(side, &seen, buf_span(&once), 1000), ERR_OK);
    }
    assert_int_equal(seen.ping_acks, 3 * LIMIT_H2_IDLE_FRAMES);
    assert_int_equal(h2_failure(side->h2), ERR_OK);
    side_free(side);
    buf_free(&seen.rest);
    buf_free(&wire);
    buf_free(&once);
}

static void answer_100_bytes(struct call *c)
{
    c->side->e = answer(c, 200, "", false);
    if (!c->side->e)
        c->side->e = h2_body(c->s, span_of(zeros, 100));
    if (!c->side->e)
        c->side->e = h2_end(c->s, NULL);
}

/* The client gives no window at all: everything waits, and one byte at a time is sent as it may be. */
static void test_zero_windows(void **state)
{
    (void)state;
    struct side *side = side_new(H2_SERVER);
    struct seen seen = {.frames = 0};
    struct buf wire = BUF_INIT;
    side->on_complete = answer_100_bytes;
    put_preface(&wire, H2_CLIENT);
    put_frame(&wire, SETTINGS, 0, 0, SPAN("\0\4\0\0\0\0"));
    for (uint32_t i = 0; i < LIMIT_H2_STREAMS; i++)
        put_headers(&wire, 1 + 2 * i, END_STREAM, span_str(GET));
    assert_int_equal(feed(side, &seen, buf_span(&wire), 5000), ERR_OK);
    assert_int_equal(h2_streams(side->h2), LIMIT_H2_STREAMS);
    assert_int_equal(seen.data[1] + seen.data[3], 0);
    buf_clear(&wire);
    put_number(&wire, WINDOW_UPDATE, 1, 1);
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(feed(side, &seen, buf_span(&wire), 5000), ERR_OK);
    assert_int_equal(seen.data[1], 100);
    assert_true(seen.ended[1]);
    assert_int_equal(h2_streams(side->h2), LIMIT_H2_STREAMS - 1);
    side_free(side);
    buf_free(&seen.rest);
    buf_free(&wire);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_floods),
        cmocka_unit_test(test_answers_that_nobody_reads),
        cmocka_unit_test(test_rapid_reset),
        cmocka_unit_test(test_endless_malformed_requests),
        cmocka_unit_test(test_continuation_flood),
        cmocka_unit_test(test_header_bomb),
        cmocka_unit_test(test_endless_informational),
        cmocka_unit_test(test_pings_over_time),
        cmocka_unit_test(test_zero_windows),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
