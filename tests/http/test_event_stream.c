/* test_event_stream.c: the standard's parsing rules, each stream at every chunk size; long data, types and ids; what a callback refuses; memory that fails. */
#include "http/event_stream.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "base/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

/* What was told, one event a line: [type|id|retry|data]bytes; "-" where there is no id or retry time; "+" in front of a piece that goes on. */
struct told {
    struct buf text;
    bool sizes;
    uint64_t wire_bytes;
};

static enum err tell(void *ctx, const struct stream_event *event)
{
    struct told *told = ctx;
    assert_true(event->last || event->data.n == LIMIT_MESSAGE_BYTES);
    told->wire_bytes += event->wire_bytes;
    enum err e = buf_put_str(&told->text, event->last ? "[" : "+[");
    if (!e)
        e = buf_put(&told->text, event->type);
    if (!e)
        e = buf_put_str(&told->text, event->has_id ? "|" : "|-");
    if (!e)
        e = buf_put(&told->text, event->id);
    if (!e)
        e = event->retry_ms >= 0 ? buf_printf(&told->text, "|%lld|", (long long)event->retry_ms)
                                 : buf_put_str(&told->text, "|-|");
    if (!e)
        e = buf_put(&told->text, event->data);
    if (!e)
        e = buf_put_str(&told->text, "]");
    if (!e && told->sizes)
        e = buf_printf(&told->text, "%llu", (unsigned long long)event->wire_bytes);
    return e;
}

static enum err read_stream(struct told *told, struct span wire, size_t chunk)
{
    struct event_stream *s;
    buf_clear(&told->text);
    told->wire_bytes = 0;
    enum err e = event_stream_create(&s, tell, told);
    for (size_t at = 0; !e && at < wire.n; at += chunk) {
        /* A block of its own, so that a read beyond it is seen. */
        struct span part = span_first(span_from(wire, at), chunk);
        uint8_t *copy = malloc(part.n);
        memcpy(copy, part.p, part.n);
        e = event_stream_feed(s, span_of(copy, part.n));
        free(copy);
    }
    event_stream_destroy(&s);
    assert_null(s);
    return e;
}

static void check(const char *name, struct span wire, const char *want)
{
    struct told told = {.text = BUF_INIT};
    for (size_t chunk = 1; chunk <= MAX(wire.n, (size_t)1); chunk++) {
        assert_int_equal(read_stream(&told, wire, chunk), ERR_OK);
        if (!span_eq(buf_span(&told.text), span_str(want)))
            fail_msg("%s, chunks of %zu: \"%.*s\" instead of \"%s\"", name, chunk, (int)told.text.n,
                     (const char *)buf_span(&told.text).p, want);
    }
    buf_free(&told.text);
}

#define WIRE(literal) literal, sizeof(literal) - 1

static void test_rules(void **state)
{
    (void)state;
    static const struct {
        const char *name, *wire;
        size_t n;
        const char *want;
    } cases[] = {
        {"nothing", WIRE(""), ""},
        {"one event", WIRE("data: a\n\n"), "[|-|-|a]"},
        {"the standard's first example", WIRE("data: YHOO\ndata: +2\ndata: 10\n\n"), "[|-|-|YHOO\n+2\n10]"},
        {"its second example",
         WIRE(": test stream\n\ndata: first event\nid: 1\n\ndata:second event\nid\n\ndata:  third event\n"),
         "[|1|-|first event][||-|second event]"},
        {"its third example", WIRE("data\n\ndata\ndata\n\ndata:"), "[|-|-|][|-|-|\n]"},
        {"its fourth example", WIRE("data:test\n\ndata: test\n\n"), "[|-|-|test][|-|-|test]"},
        {"all fields", WIRE("event: add\nid: 7\nretry: 250\ndata: x\n\n"), "[add|7|250|x]"},
        {"fields are the event's own", WIRE("event: add\nid: 7\nretry: 1\ndata: x\n\ndata: y\n\n"),
         "[add|7|1|x][|-|-|y]"},
        {"CRLF", WIRE("event: e\r\ndata: a\r\ndata: b\r\n\r\ndata: c\r\n\r\n"), "[e|-|-|a\nb][|-|-|c]"},
        {"CR", WIRE("event: e\rdata: a\rdata: b\r\rdata: c\r\r"), "[e|-|-|a\nb][|-|-|c]"},
        {"mixed ends", WIRE("data: a\r\ndata: b\rdata: c\n\r\ndata: d\n\rdata: e\r\n\n"),
         "[|-|-|a\nb\nc][|-|-|d][|-|-|e]"},
        {"LF CR is two ends", WIRE("data: a\n\rdata: b\n\n"), "[|-|-|a][|-|-|b]"},
        {"BOM",
         WIRE("\xef\xbb\xbf"
              "data: a\n\n"),
         "[|-|-|a]"},
        {"one BOM only",
         WIRE("\xef\xbb\xbf\xef\xbb\xbf"
              "data: a\n\ndata: b\n\n"),
         "[|-|-|b]"},
        {"BOM later on",
         WIRE("\n\xef\xbb\xbf"
              "data: a\n\ndata: b\n\n"),
         "[|-|-|b]"},
        {"half a BOM",
         WIRE("\xef\xbb"
              "data: a\n\ndata: b\n\n"),
         "[|-|-|b]"},
        {"half a BOM, an empty line", WIRE("\xef\n\ndata: b\n\n"), "[|-|-|b]"},
        {"comments", WIRE(":\n: x\n:data: y\ndata: a\n:z\n\n:\n\n"), "[|-|-|a]"},
        {"unknown fields", WIRE("dat: a\ndata2: b\ndatabase: c\nData: d\n data: e\nids: 1\nfoo\n\n"), ""},
        {"an unknown one beside", WIRE("foo: x\ndata: a\nbar\n\n"), "[|-|-|a]"},
        {"one space is dropped", WIRE("data:  a\ndata:\tb\ndata: \ndata:c \n\n"), "[|-|-| a\n\tb\n\nc ]"},
        {"a colon in the value", WIRE("data::a:b\ndata: :\n\n"), "[|-|-|:a:b\n:]"},
        {"without colon", WIRE("data\nevent\nid\nretry\n\n"), "[||-|]"},
        {"without data", WIRE("id: 5\n\nevent: e\n\nretry: 9\n\n"), "[|5|-|][e|-|-|][|-|9|]"},
        {"the last one counts", WIRE("event: a\nevent: b\nid: 1\nid: 2\nretry: 1\nretry: 2\ndata: x\n\n"), "[b|2|2|x]"},
        {"set back", WIRE("event: a\nevent\nid: 1\nid:\ndata: x\n\n"), "[||-|x]"},
        {"id with NUL", WIRE("id: a\0b\ndata: x\n\nid: 1\nid: \0\ndata: y\n\n"), "[|-|-|x][|1|-|y]"},
        {"retry that is none",
         WIRE(
             "retry: -1\ndata\n\nretry: 1x\ndata\n\nretry:  1\ndata\n\nretry: 1 \ndata\n\nretry:\ndata\n\nretry: x1\ndata\n\n"),
         "[|-|-|][|-|-|][|-|-|][|-|-|][|-|-|][|-|-|]"},
        {"a bad retry keeps a good one", WIRE("retry: 007\nretry: soon\ndata\n\n"), "[|-|7|]"},
        {"retry, the largest",
         WIRE("retry: 9223372036854775807\n\nretry: 9223372036854775808\n\nretry: 99999999999999999999999\n\n"),
         "[|-|9223372036854775807|][|-|9223372036854775807|][|-|9223372036854775807|]"},
        {"retry zero", WIRE("retry:0\n\n"), "[|-|0|]"},
        {"empty lines alone", WIRE("\n\n\r\r\r\n\r\n"), ""},
        {"not ended", WIRE("data: a\n\ndata: b\n"), "[|-|-|a]"},
        {"not UTF-8", WIRE("data: \xff\xfe\n\n"), "[|-|-|\xff\xfe]"},
        {"a name with a space", WIRE("data : a\n\n"), ""},
        {"no stream at all", WIRE("<!DOCTYPE html>\n<p>data\n\n</p>"), ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check(cases[i].name, span_of(cases[i].wire, cases[i].n), cases[i].want);
}

static void test_an_event_is_told_with_the_byte_that_ends_it(void **state)
{
    (void)state;
    static const char *const cases[] = {"data: a\n\n", "data: a\r\r", "data: a\r\n\r", "data: a\n\r"};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct told told = {.text = BUF_INIT};
        struct event_stream *s;
        struct span wire = span_str(cases[i]);
        assert_int_equal(event_stream_create(&s, tell, &told), ERR_OK);
        assert_int_equal(event_stream_feed(s, span_first(wire, wire.n - 1)), ERR_OK);
        assert_int_equal(told.text.n, 0);
        assert_int_equal(event_stream_feed(s, span_from(wire, wire.n - 1)), ERR_OK);
        assert_true(span_eq(buf_span(&told.text), SPAN("[|-|-|a]")));
        /* What may be the LF of its CRLF begins no further line. */
        assert_int_equal(event_stream_feed(s, SPAN("\ndata: b\n\n")), ERR_OK);
        assert_true(span_eq(buf_span(&told.text), SPAN("[|-|-|a][|-|-|b]")));
        event_stream_destroy(&s);
        buf_free(&told.text);
    }
}

static void test_sizes(void **state)
{
    (void)state;
    static const struct {
        const char *wire, *want;
    } cases[] = {
        {"data: a\n\n", "[|-|-|a]9"},
        {"data: a\n: comment\nfoo\n\n", "[|-|-|a]23"},
        {"data: a\r\n\r\ndata: b\r\n\r\n", "[|-|-|a]11[|-|-|b]11"},
        {"data: a\r\rdata: b\r\r", "[|-|-|a]9[|-|-|b]9"},
        /* Comments to keep the connection alive are no part of the next event. */
        {":\n\n:\n\ndata: a\n\n\n\n:\n\ndata: b\n\n", "[|-|-|a]9[|-|-|b]9"},
    };
    struct told told = {.text = BUF_INIT, .sizes = true};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct span wire = span_str(cases[i].wire);
        assert_int_equal(read_stream(&told, wire, wire.n), ERR_OK);
        if (!span_eq(buf_span(&told.text), span_str(cases[i].want)))
            fail_msg("%s: %.*s", cases[i].wire, (int)told.text.n, (const char *)buf_span(&told.text).p);
    }
    buf_free(&told.text);
}

/* Data of n bytes in lines of `line` bytes. */
static void put_long(struct buf *wire, size_t n, size_t line)
{
    for (size_t i = 0; i < n; i++) {
        if (i % line == 0)
            assert_int_equal(buf_put_str(wire, i > 0 ? "\ndata: " : "data: "), ERR_OK);
        assert_int_equal(buf_put_byte(wire, (uint8_t)('a' + i % 23)), ERR_OK);
    }
    assert_int_equal(buf_put_str(wire, "\n\n"), ERR_OK);
}

struct joined {
    struct buf data;
    uint64_t wire_bytes;
    size_t pieces, events;
};

static enum err join(void *ctx, const struct stream_event *event)
{
    struct joined *j = ctx;
    assert_true(event->data.n == LIMIT_MESSAGE_BYTES || event->last);
    assert_true(event->data.n > 0);
    /* Each piece has its own bytes: those of its data, and what the names of its lines cost. */
    assert_true(event->wire_bytes >= event->data.n);
    j->pieces++;
    j->events += event->last;
    j->wire_bytes += event->wire_bytes;
    return buf_put(&j->data, event->data);
}

static void test_long_data(void **state)
{
    (void)state;
    static const struct {
        size_t n, line, pieces;
    } cases[] = {
        {LIMIT_MESSAGE_BYTES - 1, SIZE_MAX, 1},
        {LIMIT_MESSAGE_BYTES, SIZE_MAX, 1},
        {LIMIT_MESSAGE_BYTES + 1, SIZE_MAX, 2},
        {2 * LIMIT_MESSAGE_BYTES, SIZE_MAX, 2},
        {LIMIT_MESSAGE_BYTES + 1, LIMIT_MESSAGE_BYTES, 2},
        {5 * LIMIT_MESSAGE_BYTES, 100, 6},
        {300000, 1, 10},
    };
    static const size_t chunks[] = {1, 7, 4096, LIMIT_MESSAGE_BYTES - 1, LIMIT_MESSAGE_BYTES, SIZE_MAX / 2};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf wire = BUF_INIT, want = BUF_INIT;
        put_long(&wire, cases[i].n, cases[i].line);
        for (size_t k = 0; k < cases[i].n; k++) {
            if (k > 0 && k % cases[i].line == 0)
                assert_int_equal(buf_put_byte(&want, '\n'), ERR_OK);
            assert_int_equal(buf_put_byte(&want, (uint8_t)('a' + k % 23)), ERR_OK);
        }
        for (size_t c = 0; c < ARRAY_LEN(chunks); c++) {
            struct joined j = {.data = BUF_INIT};
            struct event_stream *s;
            assert_int_equal(event_stream_create(&s, join, &j), ERR_OK);
            for (size_t at = 0; at < wire.n; at += MIN(chunks[c], wire.n))
                assert_int_equal(event_stream_feed(s, span_first(span_from(buf_span(&wire), at), chunks[c])), ERR_OK);
            event_stream_destroy(&s);
            assert_int_equal(j.pieces, cases[i].pieces);
            assert_int_equal(j.events, 1);
            assert_int_equal(j.wire_bytes, wire.n);
            assert_true(span_eq(buf_span(&j.data), buf_span(&want)));
            buf_free(&j.data);
        }
        buf_free(&wire);
        buf_free(&want);
    }
}

static enum err check_fields(void *ctx, const struct stream_event *event)
{
    (*(size_t *)ctx)++;
    assert_int_equal(event->type.n, LIMIT_EVENT_FIELD_BYTES);
    assert_int_equal(event->id.n, LIMIT_EVENT_FIELD_BYTES);
    return ERR_OK;
}

static void test_long_fields(void **state)
{
    (void)state;
    size_t told = 0;
    struct event_stream *s;
    uint8_t *long_value = malloc(1000000);
    memset(long_value, 'x', 1000000);
    assert_int_equal(event_stream_create(&s, check_fields, &told), ERR_OK);
    for (size_t i = 0; i < 2; i++) {
        assert_int_equal(event_stream_feed(s, SPAN("event: ")), ERR_OK);
        assert_int_equal(event_stream_feed(s, span_of(long_value, 1000000)), ERR_OK);
        assert_int_equal(event_stream_feed(s, SPAN("\nid: ")), ERR_OK);
        assert_int_equal(event_stream_feed(s, span_of(long_value, 1000000)), ERR_OK);
        assert_int_equal(event_stream_feed(s, SPAN("\n")), ERR_OK);
        /* A NUL beyond what is kept counts, too; so does an endless name. */
        assert_int_equal(event_stream_feed(s, SPAN("id: ")), ERR_OK);
        assert_int_equal(event_stream_feed(s, span_of(long_value, 1000000)), ERR_OK);
        assert_int_equal(event_stream_feed(s, SPAN("\0\n")), ERR_OK);
        assert_int_equal(event_stream_feed(s, span_of(long_value, 1000000)), ERR_OK);
        assert_int_equal(event_stream_feed(s, SPAN("\n\n")), ERR_OK);
    }
    assert_int_equal(told, 2);
    event_stream_destroy(&s);
    free(long_value);
}

static enum err refuse(void *ctx, const struct stream_event *event)
{
    (void)event;
    return ++*(size_t *)ctx == 2 ? ERR_DISK_FULL : ERR_OK;
}

static void test_refused(void **state)
{
    (void)state;
    size_t told = 0;
    struct event_stream *s;
    assert_int_equal(event_stream_create(&s, refuse, &told), ERR_OK);
    assert_int_equal(event_stream_feed(s, SPAN("data: a\n\ndata: b\n\ndata: c\n\n")), ERR_DISK_FULL);
    assert_int_equal(told, 2);
    event_stream_destroy(&s);
    event_stream_destroy(&s);
}

static void test_allocation_failure(void **state)
{
    (void)state;
    struct buf wire = BUF_INIT;
    assert_int_equal(buf_put_str(&wire, "event: e\nid: 1\nretry: 5\ndata: a\ndata: b\n\nevent: f\n"), ERR_OK);
    put_long(&wire, 100000, 1000);
    bool done = false;
    for (long n = 0; !done && n < 200; n++) {
        struct told told = {.text = BUF_INIT};
        mem_fail_after(n);
        enum err e = read_stream(&told, buf_span(&wire), 1000);
        mem_fail_after(-1);
        if (e != ERR_OK && e != ERR_NOMEM)
            fail_msg("after %ld allocations: %s", n, err_word(e));
        done = e == ERR_OK;
        buf_free(&told.text);
    }
    assert_true(done);
    buf_free(&wire);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_rules),
        cmocka_unit_test(test_an_event_is_told_with_the_byte_that_ends_it),
        cmocka_unit_test(test_sizes),
        cmocka_unit_test(test_long_data),
        cmocka_unit_test(test_long_fields),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_allocation_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
