/* The ClientHello parser: fields, every fragmentation over records, every truncation, hostile lengths. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/buf.h"
#include "base/limits.h"
#include "base/util.h"
#include "tls/hello.h"

#include <stdlib.h>

static void put(struct buf *b, const void *p, size_t n)
{
    assert_int_equal(buf_put(b, span_of(p, n)), ERR_OK);
}

static void put_be(struct buf *b, size_t bytes, size_t value)
{
    for (size_t i = bytes; i-- > 0;)
        assert_int_equal(buf_put_byte(b, (uint8_t)(value >> 8 * i)), ERR_OK);
}

static void put_vector(struct buf *b, size_t length_bytes, struct span content)
{
    put_be(b, length_bytes, content.n);
    put(b, content.p, content.n);
}

static void put_extension(struct buf *b, unsigned type, struct span content)
{
    put_be(b, 2, type);
    put_vector(b, 2, content);
}

/* The handshake message around these extensions; with_extensions false: without the block. */
static void make_message(struct buf *out, struct span extensions, bool with_extensions)
{
    struct buf body = BUF_INIT;
    uint8_t random[32] = {1, 2, 3};
    put_be(&body, 2, 0x0303);
    put(&body, random, sizeof random);
    put_vector(&body, 1, SPAN("0123456789abcdef0123456789abcdef"));
    put_vector(&body, 2, SPAN("\x1a\x1a\x13\x01\x13\x02\xc0\x2b"));
    put_vector(&body, 1, SPAN("\0"));
    if (with_extensions)
        put_vector(&body, 2, extensions);
    buf_clear(out);
    put_be(out, 1, 1);
    put_vector(out, 3, buf_span(&body));
    buf_free(&body);
}

/* As records of `fragment` handshake bytes each. */
static void make_records(struct buf *out, struct span message, size_t fragment)
{
    buf_clear(out);
    while (message.n > 0) {
        struct span part = span_first(message, fragment);
        put(out, "\x16\x03\x01", 3);
        put_vector(out, 2, part);
        message = span_from(message, part.n);
    }
}

static void make_usual(struct buf *message)
{
    struct buf extensions = BUF_INIT;
    put_extension(&extensions, 0x2a2a, SPAN_EMPTY); /* GREASE */
    put_extension(&extensions, 0,
                  SPAN("\x00\x0e\x00\x00\x0b"
                       "Example.COM"));
    put_extension(&extensions, 10, SPAN("\x00\x04\x3a\x3a\x00\x1d"));
    put_extension(&extensions, 16, SPAN("\x00\x0c\x02h2\x08http/1.1"));
    put_extension(&extensions, 43, SPAN("\x06\x4a\x4a\x03\x04\x03\x03"));
    put_extension(&extensions, 0xbaba, SPAN("\0"));
    make_message(message, buf_span(&extensions), true);
    buf_free(&extensions);
}

static void check_usual(const struct hello *h)
{
    assert_string_equal(h->server_name, "example.com");
    assert_true(span_eq(h->alpn, SPAN("\2h2\10http/1.1")));
    assert_int_equal(h->legacy_version, 0x0303);
    assert_int_equal(h->max_version, 0x0304);
    assert_true(hello_offers(h->alpn, SPAN("h2")));
    assert_true(hello_offers(h->alpn, SPAN("http/1.1")));
    assert_false(hello_offers(h->alpn, SPAN("http/1")));
    assert_false(hello_offers(h->alpn, SPAN("")));
}

static enum err parse_exact(struct span in, struct hello *h)
{
    /* A block of its own, so that a read beyond it is seen. */
    uint8_t *copy = malloc(in.n ? in.n : 1);
    assert_non_null(copy);
    if (in.n)
        memcpy(copy, in.p, in.n);
    enum err e = hello_parse(span_of(copy, in.n), h);
    free(copy);
    return e;
}

static void test_fragments(void **state)
{
    (void)state;
    struct buf message = BUF_INIT, records = BUF_INIT;
    struct hello h;
    make_usual(&message);
    for (size_t fragment = 1; fragment <= message.n + 1; fragment++) {
        make_records(&records, buf_span(&message), fragment);
        assert_int_equal(parse_exact(buf_span(&records), &h), ERR_OK);
        check_usual(&h);
        put(&records, "\x17\x03\x03\x00\x01x", 6); /* what follows is not looked at */
        assert_int_equal(parse_exact(buf_span(&records), &h), ERR_OK);
        check_usual(&h);
    }
    for (size_t fragment = 1; fragment <= message.n; fragment = fragment * 3 + 1) {
        make_records(&records, buf_span(&message), fragment);
        for (size_t n = 0; n < records.n; n++)
            assert_int_equal(parse_exact(span_first(buf_span(&records), n), &h), ERR_AGAIN);
    }
    buf_free(&message);
    buf_free(&records);
}

static void test_sniff(void **state)
{
    static const struct {
        struct span in;
        enum err want;
    } cases[] = {
        {{(const uint8_t *)"", 0}, ERR_AGAIN},
        {{(const uint8_t *)"\x16", 1}, ERR_AGAIN},
        {{(const uint8_t *)"\x16\x03", 2}, ERR_AGAIN},
        {{(const uint8_t *)"\x16\x03\x01\x02\x00", 5}, ERR_AGAIN},
        {{(const uint8_t *)"\x16\x03\x01\x02\x00\x01", 6}, ERR_OK},
        {{(const uint8_t *)"\x16\x03\x01\x02\x00\x02", 6}, ERR_PARSE},
        {{(const uint8_t *)"\x16\x03\x05\x02\x00\x01", 6}, ERR_PARSE},
        {{(const uint8_t *)"\x16\x03\x01\x00\x00", 5}, ERR_PARSE},
        {{(const uint8_t *)"\x16\x03\x01\x40\x01", 5}, ERR_PARSE},
        {{(const uint8_t *)"\x15", 1}, ERR_PARSE},
        {{(const uint8_t *)"\x16\x02", 2}, ERR_PARSE},
        {{(const uint8_t *)"GET / HTTP/1.1", 14}, ERR_PARSE},
        {{(const uint8_t *)"SSH-2.0-x", 9}, ERR_PARSE},
        {{(const uint8_t *)"\x80\x2e\x01\x03\x01", 5}, ERR_PARSE},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_int_equal(hello_sniff(cases[i].in), cases[i].want);
}

static void test_extensions(void **state)
{
    static const struct {
        const char *what;
        unsigned type;
        struct span content;
        enum err want;
    } cases[] = {
        {"empty name list", 0, {(const uint8_t *)"\x00\x00", 2}, ERR_OK},
        {"unknown name type", 0, {(const uint8_t *)"\x00\x04\x07\x00\x01x", 6}, ERR_OK},
        {"empty name", 0, {(const uint8_t *)"\x00\x03\x00\x00\x00", 5}, ERR_PARSE},
        {"name beyond its list", 0, {(const uint8_t *)"\x00\x04\x00\x00\x09x", 6}, ERR_PARSE},
        {"list beyond its extension", 0, {(const uint8_t *)"\x00\x09\x00\x00\x01x", 6}, ERR_PARSE},
        {"0 byte in a name",
         0,
         {(const uint8_t *)"\x00\x06\x00\x00\x03"
                           "a\0b",
          8},
         ERR_PARSE},
        {"space in a name",
         0,
         {(const uint8_t *)"\x00\x06\x00\x00\x03"
                           "a b",
          8},
         ERR_PARSE},
        {"two names",
         0,
         {(const uint8_t *)"\x00\x08\x00\x00\x01"
                           "a\x00\x00\x01"
                           "b",
          10},
         ERR_PARSE},
        {"rest after the list",
         0,
         {(const uint8_t *)"\x00\x04\x00\x00\x01"
                           "ax",
          7},
         ERR_PARSE},
        {"empty extension", 0, {NULL, 0}, ERR_PARSE},
        {"empty ALPN list", 16, {(const uint8_t *)"\x00\x00", 2}, ERR_PARSE},
        {"empty protocol", 16, {(const uint8_t *)"\x00\x02\x00\x00", 4}, ERR_PARSE},
        {"protocol beyond its list", 16, {(const uint8_t *)"\x00\x03\x05h2", 5}, ERR_PARSE},
        {"protocol of any bytes", 16, {(const uint8_t *)"\x00\x03\x02\x00\xff", 5}, ERR_OK},
        {"odd versions", 43, {(const uint8_t *)"\x03\x03\x04\x03", 4}, ERR_PARSE},
        {"only GREASE versions", 43, {(const uint8_t *)"\x02\x0a\x0a", 3}, ERR_OK},
        {"no versions", 43, {(const uint8_t *)"\x00", 1}, ERR_OK},
    };
    (void)state;
    struct buf extensions = BUF_INIT, message = BUF_INIT, records = BUF_INIT;
    struct hello h;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        buf_clear(&extensions);
        put_extension(&extensions, cases[i].type, cases[i].content);
        make_message(&message, buf_span(&extensions), true);
        make_records(&records, buf_span(&message), 7);
        enum err e = parse_exact(buf_span(&records), &h);
        if (e != cases[i].want)
            fail_msg("%s: %s", cases[i].what, err_word(e));
        if (!e)
            assert_int_equal(h.max_version, 0x0303);
        /* The same extension twice is refused, whatever it says. */
        put_extension(&extensions, cases[i].type, cases[i].content);
        make_message(&message, buf_span(&extensions), true);
        make_records(&records, buf_span(&message), 4000);
        assert_int_equal(parse_exact(buf_span(&records), &h), ERR_PARSE);
    }
    buf_free(&extensions);
    buf_free(&message);
    buf_free(&records);
}

static void test_no_extensions(void **state)
{
    (void)state;
    struct buf message = BUF_INIT, records = BUF_INIT;
    struct hello h;
    make_message(&message, SPAN_EMPTY, false);
    make_records(&records, buf_span(&message), 4000);
    assert_int_equal(parse_exact(buf_span(&records), &h), ERR_OK);
    assert_string_equal(h.server_name, "");
    assert_int_equal(h.alpn.n, 0);
    buf_free(&message);
    buf_free(&records);
}

/* Names as long as DNS allows, dots at the end, more protocols than we keep. */
static void test_bounds(void **state)
{
    (void)state;
    struct buf extensions = BUF_INIT, content = BUF_INIT, message = BUF_INIT, records = BUF_INIT;
    struct hello h;
    for (size_t n = 250; n <= 258; n++) {
        buf_clear(&content);
        put_be(&content, 2, n + 3);
        put_be(&content, 1, 0);
        put_be(&content, 2, n);
        for (size_t i = 0; i < n; i++)
            put(&content, i == n - 1 ? "." : "A", 1);
        buf_clear(&extensions);
        put_extension(&extensions, 0, buf_span(&content));
        make_message(&message, buf_span(&extensions), true);
        make_records(&records, buf_span(&message), 100);
        assert_int_equal(parse_exact(buf_span(&records), &h), n < HELLO_NAME_MAX ? ERR_OK : ERR_PARSE);
        if (n < HELLO_NAME_MAX)
            assert_int_equal(strlen(h.server_name), n - 1);
    }
    buf_clear(&content);
    put_be(&content, 2, 40 * 101);
    for (int i = 0; i < 40; i++) {
        uint8_t name[101] = {100, (uint8_t)i};
        put(&content, name, sizeof name);
    }
    buf_clear(&extensions);
    put_extension(&extensions, 16, buf_span(&content));
    make_message(&message, buf_span(&extensions), true);
    make_records(&records, buf_span(&message), 100);
    assert_int_equal(parse_exact(buf_span(&records), &h), ERR_OK);
    assert_int_equal(h.alpn.n, 5 * 101);
    assert_false(hello_offers(span_first(h.alpn, 100), SPAN("h2")));
    buf_free(&extensions);
    buf_free(&content);
    buf_free(&message);
    buf_free(&records);
}

static void test_hostile(void **state)
{
    (void)state;
    struct hello h;
    struct buf records = BUF_INIT, message = BUF_INIT;
    assert_int_equal(hello_parse(SPAN("\x16\x03\x01\x00\x04\x01\xff\xff\xff"), &h), ERR_LIMIT);
    assert_int_equal(hello_parse(SPAN("\x16\x03\x01\x00\x04\x02\x00\x00\x00"), &h), ERR_PARSE);
    assert_int_equal(hello_parse(SPAN("\x16\x03\x01\x00\x04\x01\x00\x00\x00"), &h), ERR_PARSE);
    assert_int_equal(hello_parse(SPAN("\x16\x03\x01\x00\x04\x01\x00\x00\x05\x17\x03\x01\x00\x01x"), &h), ERR_PARSE);
    assert_int_equal(hello_parse(SPAN("\x16\x03\x01\x00\x00"), &h), ERR_PARSE);
    /* A large hello in one-byte records: the headers must not be walked for ever. */
    put_be(&message, 1, 1);
    put_be(&message, 3, LIMIT_CLIENT_HELLO_BYTES);
    for (size_t i = 0; i < LIMIT_CLIENT_HELLO_BYTES / 2; i++)
        put_be(&message, 1, 0);
    make_records(&records, buf_span(&message), 1);
    assert_int_equal(hello_parse(buf_span(&records), &h), ERR_LIMIT);
    /* Each byte of a real one, damaged in turn: any answer, no crash. */
    make_usual(&message);
    make_records(&records, buf_span(&message), 50);
    for (size_t i = 0; i < records.n; i++)
        for (int bit = 0; bit < 8; bit++) {
            records.p[records.head + i] ^= (uint8_t)(1 << bit);
            enum err e = parse_exact(buf_span(&records), &h);
            assert_true(e == ERR_OK || e == ERR_PARSE || e == ERR_AGAIN || e == ERR_LIMIT);
            records.p[records.head + i] ^= (uint8_t)(1 << bit);
        }
    buf_free(&records);
    buf_free(&message);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_fragments),     cmocka_unit_test(test_sniff),  cmocka_unit_test(test_extensions),
        cmocka_unit_test(test_no_extensions), cmocka_unit_test(test_bounds), cmocka_unit_test(test_hostile),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
