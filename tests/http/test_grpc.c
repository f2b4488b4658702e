/* test_grpc.c: length-prefixed messages of gRPC and gRPC-Web, binary and text, at every chunk size; compressed, long, damaged; memory that fails. */
#include "http/grpc.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "base/text.h"
#include "base/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <zlib.h>

#include <cmocka.h>

/* What was told: one [flags:data]bytes a message; flags: c compressed, r raw, t trailers, + goes on. */
struct told {
    struct buf text;
    uint64_t wire_bytes;
};

static enum err tell(void *ctx, const struct grpc_message *message)
{
    struct told *told = ctx;
    assert_true(message->last || message->data.n == LIMIT_MESSAGE_BYTES);
    told->wire_bytes += message->wire_bytes;
    enum err e = buf_printf(&told->text, "[%s%s%s%s:", message->compressed ? "c" : "", message->raw ? "r" : "",
                            message->trailers ? "t" : "", message->last ? "" : "+");
    if (!e)
        e = buf_put(&told->text, message->data);
    return e ? e : buf_printf(&told->text, "]%llu", (unsigned long long)message->wire_bytes);
}

static enum err open(struct grpc **g, const char *type, const char *encoding,
                     enum err (*message)(void *ctx, const struct grpc_message *message), void *ctx)
{
    struct headers fields = HEADERS_INIT;
    *g = NULL;
    enum err e = type ? headers_add(&fields, SPAN("Content-Type"), span_str(type)) : ERR_OK;
    if (!e && encoding)
        e = headers_add(&fields, SPAN("grpc-encoding"), span_str(encoding));
    if (!e)
        e = grpc_create(g, &fields, message, ctx);
    headers_free(&fields);
    return e;
}

static enum err read_all(struct told *told, const char *type, const char *encoding, struct span wire, size_t chunk)
{
    struct grpc *g;
    buf_clear(&told->text);
    told->wire_bytes = 0;
    enum err e = open(&g, type, encoding, tell, told);
    for (size_t at = 0; !e && at < wire.n; at += chunk) {
        struct span part = span_first(span_from(wire, at), chunk);
        uint8_t *copy = malloc(part.n);
        memcpy(copy, part.p, part.n);
        e = grpc_feed(g, span_of(copy, part.n));
        free(copy);
    }
    grpc_destroy(&g);
    assert_null(g);
    return e;
}

static void check(const char *type, const char *encoding, struct span wire, enum err want, const char *text)
{
    struct told told = {.text = BUF_INIT};
    for (size_t chunk = 1; chunk <= MAX(wire.n, (size_t)1); chunk++) {
        enum err e = read_all(&told, type, encoding, wire, chunk);
        if (e != want || !span_eq(buf_span(&told.text), span_str(text)))
            fail_msg("%s, chunks of %zu: %s, \"%.*s\" instead of \"%s\"", type, chunk, err_word(e), (int)told.text.n,
                     (const char *)buf_span(&told.text).p, text);
    }
    buf_free(&told.text);
}

static void test_types(void **state)
{
    (void)state;
    static const struct {
        const char *type;
        bool yes;
    } cases[] = {
        {"application/grpc", true},
        {"application/grpc+proto", true},
        {"Application/GRPC+json; charset=utf-8", true},
        {"application/grpc;proto=x", true},
        {"application/grpc-web", true},
        {"application/grpc-web+proto", true},
        {"application/grpc-web-text", true},
        {"application/grpc-web-text+proto", true},
        {"application/grpc-web-text ; x=y", true},
        {"application/grpcx", false},
        {"application/grpc-other", false},
        {"application/grp", false},
        {"application/json", false},
        {"application/json; x=application/grpc", false},
        {"text/grpc", false},
        {"", false},
    };
    struct grpc *g;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (grpc_is(span_str(cases[i].type)) != cases[i].yes)
            fail_msg("%s", cases[i].type);
        assert_int_equal(open(&g, cases[i].type, NULL, tell, NULL), cases[i].yes ? ERR_OK : ERR_UNSUPPORTED);
        assert_true((g != NULL) == cases[i].yes);
        grpc_destroy(&g);
    }
    assert_int_equal(open(&g, NULL, NULL, tell, NULL), ERR_UNSUPPORTED);
    assert_null(g);
}

#define WIRE(literal) literal, sizeof(literal) - 1

static void test_binary(void **state)
{
    (void)state;
    static const struct {
        const char *type, *encoding, *wire;
        size_t n;
        enum err want;
        const char *text;
    } cases[] = {
        {"application/grpc", NULL, WIRE(""), ERR_OK, ""},
        {"application/grpc", NULL, WIRE("\0\0\0\0\0"), ERR_OK, "[:]5"},
        {"application/grpc", NULL, WIRE("\0\0\0\0\3abc"), ERR_OK, "[:abc]8"},
        {"application/grpc", "identity", WIRE("\0\0\0\0\1a\0\0\0\0\0\0\0\0\0\2bc"), ERR_OK, "[:a]6[:]5[:bc]7"},
        {"application/grpc", NULL, WIRE("\0\0\0\0\1a\0\0\0\0"), ERR_OK, "[:a]6"},
        {"application/grpc", NULL, WIRE("\0\0\0\0\1a\0\0\0\0\2b"), ERR_OK, "[:a]6"},
        {"application/grpc", NULL, WIRE("\0\0\0\1\0"), ERR_OK, ""},
        {"application/grpc", NULL,
         WIRE("\0\xff\xff\xff\xff"
              "abc"),
         ERR_OK, ""},
        /* Compressed with what is not known, or with nothing: as it came. */
        {"application/grpc", "snappy", WIRE("\1\0\0\0\2\xff\x01\0\0\0\0\1a"), ERR_OK, "[cr:\xff\x01]7[:a]6"},
        {"application/grpc", NULL, WIRE("\1\0\0\0\1a"), ERR_OK, "[cr:a]6"},
        {"application/grpc", "identity", WIRE("\1\0\0\0\1a"), ERR_OK, "[cr:a]6"},
        {"application/grpc", "gzip", WIRE("\1\0\0\0\0"), ERR_OK, "[c:]5"},
        /* No such messages. */
        {"application/grpc", NULL, WIRE("{\"a\":1}"), ERR_PARSE, ""},
        {"application/grpc", NULL, WIRE("\0\0\0\0\1a\2\0\0\0\0"), ERR_PARSE, "[:a]6"},
        {"application/grpc", NULL, WIRE("\x80\0\0\0\1a"), ERR_PARSE, ""},
        {"application/grpc", "gzip", WIRE("\1\0\0\0\6abcdef"), ERR_PARSE, ""},
        {"application/grpc", "gzip", WIRE("\1\0\0\0\3\x1f\x8b\x08"), ERR_PARSE, ""},
        {"application/grpc-web", NULL, WIRE("\0\0\0\0\1a\x80\0\0\0\x10grpc-status: 0\r\n"), ERR_OK,
         "[:a]6[t:grpc-status: 0\r\n]21"},
        {"application/grpc-web+proto", NULL, WIRE("\x80\0\0\0\0"), ERR_OK, "[t:]5"},
        {"application/grpc-web", NULL, WIRE("\x81\0\0\0\1x"), ERR_OK, "[crt:x]6"},
        {"application/grpc-web", NULL, WIRE("\x40\0\0\0\1x"), ERR_PARSE, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check(cases[i].type, cases[i].encoding, span_of(cases[i].wire, cases[i].n), cases[i].want, cases[i].text);
}

static void test_text(void **state)
{
    (void)state;
    static const struct {
        const char *wire;
        enum err want;
        const char *text;
    } cases[] = {
        {"", ERR_OK, ""},
        {"AAAAAAA=", ERR_OK, "[:]5"},
        {"AAAAAAFh", ERR_OK, "[:a]6"},
        {"AAAAAAJhYg==", ERR_OK, "[:ab]7"},
        {"AAAAAANhYmM=", ERR_OK, "[:abc]8"},
        /* A segment a write, each padded on its own; and a message across segments. */
        {"AAAAAAJhYg==AAAAAAJhYg==gAAAABBncnBjLXN0YXR1czogMA0K", ERR_OK, "[:ab]7[:ab]7[t:grpc-status: 0\r\n]21"},
        {"AA==AA==AA==AA==AQ==YQ==", ERR_OK, "[:a]6"},
        {"AAAAAAI=YWI=", ERR_OK, "[:ab]7"},
        /* Not padded at the end; told as soon as its last byte is known. */
        {"AAAAAAJhYg", ERR_OK, "[:ab]7"},
        {"AAAAAANhYmM", ERR_OK, "[:abc]8"},
        {"AAAAAAJh", ERR_OK, ""},
        {"AAAA\r\nAAJh\r\nYg==\r\n", ERR_OK, "[:ab]7"},
        {"AAAAAAM+Pz8=", ERR_OK, "[:>??]8"},
        {"AAAAAAL7/w==", ERR_OK, "[:\xfb\xff]7"},
        /* Damage, after what was good. */
        {"AAAAAAJhYg==!", ERR_PARSE, "[:ab]7"},
        {"AAAAAAJhYg=A", ERR_PARSE, "[:ab]7"},
        {"AAAAAAJhYg===", ERR_PARSE, "[:ab]7"},
        {"=", ERR_PARSE, ""},
        {"A=", ERR_PARSE, ""},
        {"AAAA-_", ERR_PARSE, ""},
        {"AAAA AAJh", ERR_PARSE, ""},
        {"QAAAAAFh", ERR_PARSE, ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check("application/grpc-web-text+proto", NULL, span_str(cases[i].wire), cases[i].want, cases[i].text);
}

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

static void put_message(struct buf *out, uint8_t flags, struct span payload)
{
    uint8_t prefix[5] = {flags, (uint8_t)(payload.n >> 24), (uint8_t)(payload.n >> 16), (uint8_t)(payload.n >> 8),
                         (uint8_t)payload.n};
    assert_int_equal(buf_put(out, span_of(prefix, 5)), ERR_OK);
    assert_int_equal(buf_put(out, payload), ERR_OK);
}

#define ZIPPED 15 + 16

static void test_compressed(void **state)
{
    (void)state;
    static const struct {
        const char *encoding;
        int window;
    } cases[] = {{"gzip", ZIPPED}, {"deflate", 15}, {"deflate", -15}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf wire = BUF_INIT, one = BUF_INIT, text = BUF_INIT, want = BUF_INIT;
        put_deflated(&one, SPAN("hello, hello, hello, hello"), cases[i].window);
        put_message(&wire, 1, buf_span(&one));
        put_message(&wire, 0, SPAN("plain"));
        put_message(&wire, 1, buf_span(&one));
        assert_int_equal(buf_printf(&want,
                                    "[c:hello, hello, hello, hello]%zu[:plain]10[c:hello, hello, hello, hello]%zu",
                                    one.n + 5, one.n + 5),
                         ERR_OK);
        check("application/grpc", cases[i].encoding, buf_span(&wire), ERR_OK, buf_cstr(&want));
        check("application/grpc-web", cases[i].encoding, buf_span(&wire), ERR_OK, buf_cstr(&want));
        assert_int_equal(text_base64(&text, buf_span(&wire)), ERR_OK);
        check("application/grpc-web-text", cases[i].encoding, buf_span(&text), ERR_OK, buf_cstr(&want));
        /* Trailers of gRPC-Web may be compressed, too. */
        buf_clear(&wire);
        buf_clear(&want);
        put_message(&wire, 0x81, buf_span(&one));
        assert_int_equal(buf_printf(&want, "[ct:hello, hello, hello, hello]%zu", one.n + 5), ERR_OK);
        check("application/grpc-web", cases[i].encoding, buf_span(&wire), ERR_OK, buf_cstr(&want));
        buf_free(&wire);
        buf_free(&one);
        buf_free(&text);
        buf_free(&want);
    }
}

struct joined {
    struct buf data;
    uint64_t wire_bytes;
    size_t pieces, messages;
};

static enum err join(void *ctx, const struct grpc_message *message)
{
    struct joined *j = ctx;
    assert_true(message->last || message->data.n == LIMIT_MESSAGE_BYTES);
    assert_true(message->data.n > 0);
    j->pieces++;
    j->messages += message->last;
    j->wire_bytes += message->wire_bytes;
    return buf_put(&j->data, message->data);
}

static void check_long(const char *type, const char *encoding, struct span wire, struct span want, uint64_t wire_bytes)
{
    static const size_t chunks[] = {1, 7, 4096, LIMIT_MESSAGE_BYTES - 1, LIMIT_MESSAGE_BYTES, SIZE_MAX / 2};
    for (size_t c = 0; c < ARRAY_LEN(chunks); c++) {
        struct joined j = {.data = BUF_INIT};
        struct grpc *g;
        assert_int_equal(open(&g, type, encoding, join, &j), ERR_OK);
        for (size_t at = 0; at < wire.n; at += MIN(chunks[c], wire.n))
            assert_int_equal(grpc_feed(g, span_first(span_from(wire, at), chunks[c])), ERR_OK);
        grpc_destroy(&g);
        assert_int_equal(j.messages, 1);
        assert_int_equal(j.pieces, (want.n + LIMIT_MESSAGE_BYTES - 1) / LIMIT_MESSAGE_BYTES);
        assert_int_equal(j.wire_bytes, wire_bytes);
        assert_true(span_eq(buf_span(&j.data), want));
        buf_free(&j.data);
    }
}

static void test_long(void **state)
{
    (void)state;
    static const size_t sizes[] = {LIMIT_MESSAGE_BYTES - 1, LIMIT_MESSAGE_BYTES, LIMIT_MESSAGE_BYTES + 1,
                                   2 * LIMIT_MESSAGE_BYTES, 300000};
    uint8_t *payload = malloc(300000);
    for (size_t i = 0; i < 300000; i++)
        payload[i] = (uint8_t)(i * i >> 7);
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct buf wire = BUF_INIT, one = BUF_INIT, text = BUF_INIT;
        struct span want = span_of(payload, sizes[i]);
        put_message(&wire, 0, want);
        check_long("application/grpc", NULL, buf_span(&wire), want, wire.n);
        assert_int_equal(text_base64(&text, buf_span(&wire)), ERR_OK);
        check_long("application/grpc-web-text", NULL, buf_span(&text), want, wire.n);
        buf_clear(&wire);
        put_deflated(&one, want, ZIPPED);
        put_message(&wire, 1, buf_span(&one));
        check_long("application/grpc", "gzip", buf_span(&wire), want, wire.n);
        buf_free(&wire);
        buf_free(&one);
        buf_free(&text);
    }
    free(payload);
}

static enum err count(void *ctx, const struct grpc_message *message)
{
    *(uint64_t *)ctx += message->data.n;
    return ERR_OK;
}

static enum err refuse(void *ctx, const struct grpc_message *message)
{
    (void)message;
    return ++*(uint64_t *)ctx == 2 ? ERR_DISK_FULL : ERR_OK;
}

static void test_bomb_and_refusal(void **state)
{
    (void)state;
    /* gzip alone cannot exceed the ratio; twice it can. */
    size_t big = 24u << 20;
    uint8_t *zeros = calloc(1, big);
    struct buf once = BUF_INIT, twice = BUF_INIT, wire = BUF_INIT;
    put_deflated(&once, span_of(zeros, big), ZIPPED);
    put_deflated(&twice, buf_span(&once), ZIPPED);
    put_message(&wire, 1, buf_span(&twice));
    free(zeros);
    struct grpc *g;
    uint64_t n = 0;
    assert_int_equal(open(&g, "application/grpc", "gzip, gzip", count, &n), ERR_OK);
    assert_int_equal(grpc_feed(g, buf_span(&wire)), ERR_LIMIT);
    grpc_destroy(&g);
    assert_true(n < big);
    n = 0;
    assert_int_equal(open(&g, "application/grpc", NULL, refuse, &n), ERR_OK);
    assert_int_equal(grpc_feed(g, SPAN("\0\0\0\0\1a\0\0\0\0\1b\0\0\0\0\1c")), ERR_DISK_FULL);
    assert_int_equal(n, 2);
    grpc_destroy(&g);
    grpc_destroy(&g);
    buf_free(&once);
    buf_free(&twice);
    buf_free(&wire);
}

static void test_status_words(void **state)
{
    (void)state;
    static const struct {
        const char *status, *word;
    } cases[] = {
        {"0", "OK"},
        {"1", "CANCELLED"},
        {"2", "UNKNOWN"},
        {"3", "INVALID_ARGUMENT"},
        {"4", "DEADLINE_EXCEEDED"},
        {"5", "NOT_FOUND"},
        {"6", "ALREADY_EXISTS"},
        {"7", "PERMISSION_DENIED"},
        {"8", "RESOURCE_EXHAUSTED"},
        {"9", "FAILED_PRECONDITION"},
        {"10", "ABORTED"},
        {"11", "OUT_OF_RANGE"},
        {"12", "UNIMPLEMENTED"},
        {"13", "INTERNAL"},
        {"14", "UNAVAILABLE"},
        {"15", "DATA_LOSS"},
        {"16", "UNAUTHENTICATED"},
        {"17", NULL},
        {"-1", NULL},
        {"", NULL},
        {"5 ", NULL},
        {"OK", NULL},
        {"99999999999999999999", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        const char *word = grpc_status_word(span_str(cases[i].status));
        if (cases[i].word ? !word || strcmp(word, cases[i].word) != 0 : word != NULL)
            fail_msg("%s: %s", cases[i].status, word ? word : "none");
    }
}

static void test_allocation_failure(void **state)
{
    (void)state;
    struct buf wire = BUF_INIT, one = BUF_INIT, text = BUF_INIT;
    uint8_t *payload = calloc(1, 100000);
    put_message(&wire, 0, span_of(payload, 100000));
    put_deflated(&one, span_of(payload, 100000), ZIPPED);
    put_message(&wire, 1, buf_span(&one));
    put_message(&wire, 0x80, SPAN("grpc-status: 0\r\n"));
    assert_int_equal(text_base64(&text, buf_span(&wire)), ERR_OK);
    free(payload);
    bool done = false;
    for (long n = 0; !done && n < 200; n++) {
        struct told told = {.text = BUF_INIT};
        mem_fail_after(n);
        enum err e = read_all(&told, "application/grpc-web-text", "gzip", buf_span(&text), 1000);
        mem_fail_after(-1);
        if (e != ERR_OK && e != ERR_NOMEM)
            fail_msg("after %ld allocations: %s", n, err_word(e));
        done = e == ERR_OK;
        buf_free(&told.text);
    }
    assert_true(done);
    buf_free(&wire);
    buf_free(&one);
    buf_free(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),        cmocka_unit_test(test_binary),
        cmocka_unit_test(test_text),         cmocka_unit_test(test_compressed),
        cmocka_unit_test(test_long),         cmocka_unit_test(test_bomb_and_refusal),
        cmocka_unit_test(test_status_words), cmocka_unit_test(test_allocation_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
