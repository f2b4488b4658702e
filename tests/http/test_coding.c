/* test_coding.c: content codings: each of them, stacked, in small pieces, several members, damaged, cut, and grown out of proportion. */
#include "http/coding.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "base/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <zlib.h>
#include <zstd.h>

#include <cmocka.h>

#define FOX "The quick brown fox jumps over the lazy dog. The quick brown fox jumps over the lazy dog."

static const uint8_t fox_br[] = {
    0x1b, 0x58, 0x00, 0x88, 0x2c, 0x0e, 0x78, 0xd3, 0xd0, 0x95, 0x5d, 0x97, 0x10, 0xbb, 0x17,
    0x2b, 0xa9, 0xca, 0xd0, 0x92, 0xcc, 0x8c, 0xad, 0x41, 0x5c, 0xe6, 0xf2, 0x36, 0xc8, 0x19,
    0x9e, 0x9e, 0x0a, 0x7b, 0x83, 0x0d, 0x38, 0x70, 0x48, 0x20, 0x6f, 0x21, 0xbf, 0x41, 0xa7,
    0x15, 0xce, 0x1c, 0x1e, 0x27, 0xaa, 0x29, 0x38, 0xc2, 0xa5, 0x7d, 0x1a, 0x63,
};
/* 8 MB of zeros. */
static const uint8_t zeros_br[] = {0x9b, 0xff, 0xff, 0x7f, 0x00, 0x24, 0x00, 0xe2, 0xb1, 0x40, 0x72, 0xef, 0xff, 0x00};

static void put_deflated(struct buf *out, struct span in, int window)
{
    z_stream z = {.zalloc = NULL};
    uint8_t *at;
    union {
        const uint8_t *in;
        Bytef *z;
    } next = {.in = in.p};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, window, 8, Z_DEFAULT_STRATEGY), Z_OK);
    size_t room = deflateBound(&z, in.n) + 32;
    assert_int_equal(buf_reserve(out, room, &at), ERR_OK);
    z.next_in = next.z;
    z.avail_in = (uInt)in.n;
    z.next_out = at;
    z.avail_out = (uInt)room;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    buf_commit(out, room - z.avail_out);
    (void)deflateEnd(&z);
}

static void put_zstd(struct buf *out, struct span in)
{
    uint8_t *at;
    size_t room = ZSTD_compressBound(in.n);
    assert_int_equal(buf_reserve(out, room, &at), ERR_OK);
    buf_commit(out, ZSTD_compress(at, room, in.p, in.n, 3));
}

static enum err collect(void *ctx, struct span bytes)
{
    assert_true(bytes.n > 0 && bytes.n <= 65536);
    return buf_put(ctx, bytes);
}

static enum err decode(struct span encoding, struct span in, size_t chunk, struct buf *out)
{
    struct coding *c;
    buf_clear(out);
    enum err e = coding_create(&c, encoding, collect, out);
    for (size_t at = 0; !e && at < in.n; at += chunk)
        e = coding_feed(c, span_first(span_from(in, at), chunk));
    if (!e)
        e = coding_end(c);
    coding_destroy(&c);
    return e;
}

static void check_every_chunk(const char *encoding, const struct buf *wire, struct span want)
{
    struct buf out = BUF_INIT;
    for (size_t chunk = 1; chunk <= wire->n; chunk++) {
        enum err e = decode(span_str(encoding), buf_span(wire), chunk, &out);
        if (e || !span_eq(buf_span(&out), want))
            fail_msg("%s, chunks of %zu: %s", encoding, chunk, err_word(e));
    }
    /* Cut anywhere it is truncated, not damaged. */
    for (size_t n = 1; n < wire->n; n++) {
        enum err e = decode(span_str(encoding), span_first(buf_span(wire), n), n, &out);
        if (e != ERR_TRUNCATED)
            fail_msg("%s, cut at %zu: %s", encoding, n, err_word(e));
    }
    buf_free(&out);
}

static void test_each(void **state)
{
    (void)state;
    struct buf b = BUF_INIT, two = BUF_INIT;
    put_deflated(&b, SPAN(FOX), 15 + 16);
    check_every_chunk("gzip", &b, SPAN(FOX));
    check_every_chunk(" X-GZIP , identity", &b, SPAN(FOX));
    buf_clear(&b);
    put_deflated(&b, SPAN(FOX), 15);
    check_every_chunk("deflate", &b, SPAN(FOX));
    buf_clear(&b);
    put_deflated(&b, SPAN(FOX), -15);
    check_every_chunk("deflate", &b, SPAN(FOX));
    buf_clear(&b);
    put_zstd(&b, SPAN(FOX));
    check_every_chunk("zstd", &b, SPAN(FOX));
    buf_clear(&b);
    assert_int_equal(buf_put(&b, span_of(fox_br, sizeof fox_br)), ERR_OK);
    check_every_chunk("br", &b, SPAN(FOX));
    put_deflated(&two, buf_span(&b), 15 + 16);
    check_every_chunk("br, gzip", &two, SPAN(FOX));
    buf_clear(&b);
    put_zstd(&b, buf_span(&two));
    check_every_chunk("br,gzip, zstd", &b, SPAN(FOX));
    buf_free(&b);
    buf_free(&two);
}

static void test_members(void **state)
{
    (void)state;
    struct buf b = BUF_INIT, out = BUF_INIT;
    put_deflated(&b, SPAN("one "), 15 + 16);
    put_deflated(&b, SPAN("two "), 15 + 16);
    put_deflated(&b, SPAN(""), 15 + 16);
    put_deflated(&b, SPAN("three"), 15 + 16);
    size_t n = b.n;
    assert_int_equal(buf_put(&b, SPAN("\0\0\0garbage\x1f\x8b\x08")), ERR_OK);
    for (size_t chunk = 1; chunk <= b.n; chunk++) {
        assert_int_equal(decode(SPAN("gzip"), buf_span(&b), chunk, &out), ERR_OK);
        assert_true(span_eq(buf_span(&out), SPAN("one two three")));
        assert_int_equal(decode(SPAN("gzip"), span_first(buf_span(&b), n), chunk, &out), ERR_OK);
    }
    buf_clear(&b);
    put_zstd(&b, SPAN("one "));
    put_zstd(&b, SPAN("two"));
    for (size_t chunk = 1; chunk <= b.n; chunk++) {
        assert_int_equal(decode(SPAN("zstd"), buf_span(&b), chunk, &out), ERR_OK);
        assert_true(span_eq(buf_span(&out), SPAN("one two")));
    }
    buf_free(&b);
    buf_free(&out);
}

static void test_identity(void **state)
{
    (void)state;
    struct buf out = BUF_INIT;
    assert_true(coding_is_identity(SPAN("")));
    assert_true(coding_is_identity(SPAN(" identity, Identity ")));
    assert_false(coding_is_identity(SPAN("identity, br")));
    assert_int_equal(decode(SPAN("identity"), SPAN(FOX), 7, &out), ERR_OK);
    assert_true(span_eq(buf_span(&out), SPAN(FOX)));
    uint8_t *big = calloc(1, 200000);
    assert_int_equal(decode(SPAN(""), span_of(big, 200000), 200000, &out), ERR_OK);
    assert_int_equal(out.n, 200000);
    free(big);
    /* No content at all is no damage: HEAD, 304. */
    assert_int_equal(decode(SPAN("gzip, br, zstd, deflate"), SPAN_EMPTY, 1, &out), ERR_OK);
    buf_free(&out);
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        const char *encoding, *wire;
        enum err want;
    } cases[] = {
        {"compress", "", ERR_UNSUPPORTED},
        {"gzip;q=1", "", ERR_UNSUPPORTED},
        {"gzip, gzip, gzip, gzip, gzip", "", ERR_UNSUPPORTED},
        {"aws-chunked", "", ERR_UNSUPPORTED},
        {"gzip", "hello, this is plain", ERR_PARSE},
        {"br", "\xff\xff\xff\xff\xff\xff", ERR_PARSE},
        {"zstd", "hello, this is plain", ERR_PARSE},
        {"deflate", "hello, this is plain", ERR_PARSE},
        {"deflate", "x", ERR_TRUNCATED},
        {"gzip", "\x1f", ERR_TRUNCATED},
        {"zstd", "\x28\xb5\x2f\xfd", ERR_TRUNCATED},
        {"zstd", "\x28\xb5\x2f\xfd\x04\x88", ERR_LIMIT}, /* a window of 128 MB */
    };
    struct buf out = BUF_INIT;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (size_t chunk = 1; chunk < 30; chunk += 28) {
            enum err e = decode(span_str(cases[i].encoding), span_str(cases[i].wire), chunk, &out);
            if (e != cases[i].want)
                fail_msg("%s of %s: %s", cases[i].encoding, cases[i].wire, err_word(e));
        }
    buf_free(&out);
}

static enum err count(void *ctx, struct span bytes)
{
    *(uint64_t *)ctx += bytes.n;
    return ERR_OK;
}

static enum err refuse(void *ctx, struct span bytes)
{
    (void)ctx;
    (void)bytes;
    return ERR_DISK_FULL;
}

static void test_bombs(void **state)
{
    (void)state;
    uint64_t n = 0;
    struct coding *c;
    assert_int_equal(coding_create(&c, SPAN("br"), count, &n), ERR_OK);
    assert_int_equal(coding_feed(c, span_of(zeros_br, sizeof zeros_br)), ERR_LIMIT);
    assert_int_equal(coding_feed(c, SPAN("x")), ERR_LIMIT);
    assert_int_equal(coding_end(c), ERR_LIMIT);
    coding_destroy(&c);
    assert_true(n >= 1000000 && n <= (1 << 20) + 32768);

    /* gzip of gzip of zeros: each stage within what its own input allows, both together far beyond. */
    size_t big = 24u << 20;
    uint8_t *zeros = calloc(1, big);
    struct buf once = BUF_INIT, twice = BUF_INIT;
    put_deflated(&once, span_of(zeros, big), 15 + 16);
    put_deflated(&twice, buf_span(&once), 15 + 16);
    n = 0;
    assert_int_equal(coding_create(&c, SPAN("gzip"), count, &n), ERR_OK);
    assert_int_equal(coding_feed(c, buf_span(&once)), ERR_OK);
    assert_int_equal(coding_end(c), ERR_OK);
    assert_int_equal(n, big);
    coding_destroy(&c);
    assert_int_equal(coding_create(&c, SPAN("gzip, gzip"), count, &n), ERR_OK);
    assert_int_equal(coding_feed(c, buf_span(&twice)), ERR_LIMIT);
    coding_destroy(&c);
    buf_clear(&twice);
    assert_int_equal(coding_decode(SPAN("gzip"), buf_span(&once), 1000, &twice), ERR_LIMIT);
    assert_int_equal(coding_decode(SPAN("gzip"), buf_span(&once), big, &twice), ERR_OK);
    assert_int_equal(coding_create(&c, SPAN("gzip"), refuse, NULL), ERR_OK);
    assert_int_equal(coding_feed(c, buf_span(&once)), ERR_DISK_FULL);
    coding_destroy(&c);
    buf_free(&once);
    buf_free(&twice);
    free(zeros);
}

static void test_allocation_failure(void **state)
{
    (void)state;
    struct buf out = BUF_INIT, wire = BUF_INIT;
    put_deflated(&wire, span_of(fox_br, sizeof fox_br), 15);
    bool done = false;
    for (long n = 0; !done && n < 200; n++) {
        buf_free(&out);
        mem_fail_after(n);
        enum err e = decode(SPAN("br, deflate"), buf_span(&wire), 16, &out);
        mem_fail_after(-1);
        if (e != ERR_OK && e != ERR_NOMEM)
            fail_msg("after %ld allocations: %s", n, err_word(e));
        done = e == ERR_OK;
    }
    assert_true(done);
    buf_free(&out);
    buf_free(&wire);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each),    cmocka_unit_test(test_members), cmocka_unit_test(test_identity),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_bombs),   cmocka_unit_test(test_allocation_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
