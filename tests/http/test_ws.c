/* test_ws.c: WebSocket read as a bystander: frames and messages of both sides, cut anywhere; violations, flaws and what is ambiguous;
 * permessage-deflate with every window and takeover; the negotiation; memory that runs out; long messages. */
#include "http/ws.h"

#include "base/util.h"
#include "tests/http/ws_side.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

enum {
    FIN = 0x80,
    RSV1 = 0x40,
    RSV2 = 0x20,
    RSV3 = 0x10,
    CONT = 0,
    TEXT = 1,
    BINARY = 2,
    CLOSE = 8,
    PING = 9,
    PONG = 10
};

static const struct ws_extensions plain = {.window_bits = {15, 15}};
static const struct ws_extensions deflating = {.deflate = true, .window_bits = {15, 15}};

struct frame {
    unsigned first;
    const char *payload;
    size_t n; /* 0: as long as the text is */
};

#define KAPPA "\xce\xba\xe1\xbd\xb9\xcf\x83\xce\xbc\xce\xb5"

static const struct {
    const char *name;
    struct frame frames[6];
    const char *want; /* a violation: "! what", and the reading ends with ERR_PARSE */
    bool in_message;
} cases[] = {
    {"text", {{FIN | TEXT, "hello", 0}}, "text:hello|", false},
    {"nothing", {{FIN | TEXT, "", 0}, {FIN | BINARY, "", 0}}, "text:|binary:|", false},
    {"binary", {{FIN | BINARY, "\x00\xff", 2}, {FIN | TEXT, "a", 0}}, NULL, false},
    {"ping and pong", {{FIN | PING, "p", 0}, {FIN | PONG, "q", 0}, {FIN | PING, "", 0}}, "ping:p|pong:q|ping:|", false},
    {"fragments", {{TEXT, "he", 0}, {CONT, "ll", 0}, {FIN | CONT, "o", 0}}, "text:hello|", false},
    {"empty fragments", {{TEXT, "", 0}, {CONT, "", 0}, {FIN | CONT, "", 0}}, "text:|", false},
    {"a ping between fragments",
     {{TEXT, "he", 0}, {FIN | PING, "p", 0}, {CONT, "l", 0}, {FIN | PONG, "", 0}, {FIN | CONT, "lo", 0}},
     "ping:p|pong:|text:hello|",
     false},
    {"an open message", {{TEXT, "he", 0}, {FIN | PING, "p", 0}}, "ping:p|", true},
    {"a close within a message", {{TEXT, "he", 0}, {FIN | CLOSE, "\x03\xe8", 2}}, "close 1000:|", true},

    {"UTF-8 over fragments",
     {{TEXT, KAPPA, 1}, {CONT, &KAPPA[1], 2}, {FIN | CONT, &KAPPA[3], 0}},
     "text:" KAPPA "|",
     false},
    {"UTF-8 of four bytes",
     {{TEXT, "\xf0", 0}, {CONT, "\x9f\x98", 0}, {FIN | CONT, "\x80!", 0}},
     "text:\xf0\x9f\x98\x80!|",
     false},
    {"UTF-8 cut", {{FIN | TEXT, "a\xce", 0}}, "text (text that is not UTF-8):a\xce|", false},
    {"UTF-8 cut at a fragment",
     {{TEXT, "\xe1\xbd", 0}, {FIN | CONT, "", 0}},
     "text (text that is not UTF-8):\xe1\xbd|",
     false},
    {"a surrogate",
     {{FIN | TEXT,
       "\xed\xa0\x80"
       "edited",
       0}},
     "text (text that is not UTF-8):\xed\xa0\x80"
     "edited|",
     false},
    {"a byte that is none",
     {{TEXT, "a\xff", 0}, {FIN | CONT, "bcdef", 0}},
     "text (text that is not UTF-8):a\xff"
     "bcdef|",
     false},
    {"bad text, then good",
     {{FIN | TEXT, "\xff", 0}, {FIN | TEXT, "ok", 0}},
     "text (text that is not UTF-8):\xff|text:ok|",
     false},
    {"binary may be anything", {{FIN | BINARY, "\xff\xc0", 0}}, "binary:\xff\xc0|", false},

    {"close", {{FIN | CLOSE, "", 0}}, "close 0:|", false},
    {"close with a code", {{FIN | CLOSE, "\x03\xe9", 2}}, "close 1001:|", false},
    {"close with a reason",
     {{FIN | CLOSE,
       "\x0f\xa0"
       "bye",
       0}},
     "close 4000:bye|",
     false},
    {"close codes that may be sent", {{FIN | CLOSE, "\x03\xf6", 0}}, "close 1014:|", false},
    {"close 3000", {{FIN | CLOSE, "\x0b\xb8", 0}}, "close 3000:|", false},
    {"close 4999", {{FIN | CLOSE, "\x13\x87", 0}}, "close 4999:|", false},
    {"close 0", {{FIN | CLOSE, "\x00\x00", 2}}, "close 0 (a reserved close code):|", false},
    {"close 999", {{FIN | CLOSE, "\x03\xe7", 0}}, "close 999 (a reserved close code):|", false},
    {"close 1004", {{FIN | CLOSE, "\x03\xec", 0}}, "close 1004 (a reserved close code):|", false},
    {"close 1005", {{FIN | CLOSE, "\x03\xed", 0}}, "close 1005 (a reserved close code):|", false},
    {"close 1006", {{FIN | CLOSE, "\x03\xee", 0}}, "close 1006 (a reserved close code):|", false},
    {"close 1015", {{FIN | CLOSE, "\x03\xf7", 0}}, "close 1015 (a reserved close code):|", false},
    {"close 2999", {{FIN | CLOSE, "\x0b\xb7", 0}}, "close 2999 (a reserved close code):|", false},
    {"close 5000", {{FIN | CLOSE, "\x13\x88", 0}}, "close 5000 (a reserved close code):|", false},
    {"close, a reason of no text",
     {{FIN | CLOSE, "\x03\xe8\xff", 0}},
     "close 1000 (a close reason that is not UTF-8):\xff|",
     false},
    {"half a code", {{FIN | CLOSE, "\x03", 0}}, "! a close frame with half a status code", false},
    {"ping after close", {{FIN | CLOSE, "", 0}, {FIN | PING, "p", 0}}, "close 0:|ping:p|", false},
    {"text after close", {{FIN | CLOSE, "", 0}, {FIN | TEXT, "p", 0}}, "close 0:|! data after the close frame", false},
    {"a continuation after close",
     {{TEXT, "a", 0}, {FIN | CLOSE, "", 0}, {FIN | CONT, "p", 0}},
     "close 0:|! data after the close frame",
     true},
    {"close after close", {{FIN | CLOSE, "", 0}, {FIN | CLOSE, "", 0}}, "close 0:|! a second close frame", false},

    {"RSV1",
     {{FIN | TEXT, "a", 0}, {FIN | RSV1 | TEXT, "b", 0}},
     "text:a|! a reserved bit that no extension stands behind",
     false},
    {"RSV2", {{FIN | RSV2 | TEXT, "b", 0}}, "! a reserved bit that no extension stands behind", false},
    {"RSV3 of a ping", {{FIN | RSV3 | PING, "b", 0}}, "! a reserved bit that no extension stands behind", false},
    {"RSV1 of a ping", {{FIN | RSV1 | PING, "b", 0}}, "! a reserved bit in a control frame", false},
    {"opcode 3", {{FIN | 3, "b", 0}}, "! a reserved opcode", false},
    {"opcode 7", {{FIN | 7, "", 0}}, "! a reserved opcode", false},
    {"opcode 11", {{FIN | 11, "b", 0}}, "! a reserved opcode", false},
    {"opcode 15", {{FIN | 15, "", 0}}, "! a reserved opcode", false},
    {"a fragmented ping", {{PING, "b", 0}}, "! a fragmented control frame", false},
    {"a continuation of nothing", {{FIN | CONT, "b", 0}}, "! a continuation frame without a message", false},
    {"a continuation too many",
     {{FIN | TEXT, "a", 0}, {CONT, "b", 0}},
     "text:a|! a continuation frame without a message",
     false},
    {"a message within a message",
     {{TEXT, "a", 0}, {FIN | TEXT, "b", 0}},
     "! a new message within a fragmented one",
     true},
};

static void wire_of(struct buf *out, enum ws_side from, const struct frame *frames, size_t n)
{
    buf_clear(out);
    for (size_t i = 0; i < n && frames[i].payload; i++) {
        struct span payload = span_str(frames[i].payload);
        if (frames[i].n > 0)
            payload.n = frames[i].n;
        ws_side_frame(out, from, frames[i].first, payload);
    }
}

static void test_cases(void **state)
{
    (void)state;
    struct buf wire = BUF_INIT;
    struct ws_said said = {.wire = 0};
    bool ambiguous = false, in_message = false;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct span want = cases[i].want ? span_str(cases[i].want) : SPAN("binary:\x00\xff|text:a|");
        bool bad = span_find(want, '!') < want.n && want.p[want.n - 1] != '|';
        for (int side = WS_CLIENT; side <= WS_SERVER; side++) {
            wire_of(&wire, (enum ws_side)side, cases[i].frames, ARRAY_LEN(cases[i].frames));
            for (size_t chunk = 1; chunk <= wire.n; chunk++) {
                enum err e =
                    ws_said_read(&said, (enum ws_side)side, &plain, buf_span(&wire), chunk, &ambiguous, &in_message);
                if (e != (bad ? ERR_PARSE : ERR_OK) || !span_eq(buf_span(&said.text), want) || ambiguous ||
                    in_message != cases[i].in_message)
                    fail_msg("%s, side %d, chunks of %zu: %s, %d, \"%.*s\"", cases[i].name, side, chunk, err_word(e),
                             in_message, (int)said.text.n, (const char *)buf_span(&said.text).p);
                if (!bad && !in_message)
                    assert_int_equal(said.wire, wire.n);
            }
        }
    }
    ws_said_free(&said);
    buf_free(&wire);
}

/* Raw bytes: heads that no frame of ours has. */
static const struct {
    const char *name;
    enum ws_side from;
    const char *wire;
    size_t n;
    const char *want;
    bool ambiguous;
} heads[] = {
    {"an unmasked client", WS_CLIENT, "\x81\x01", 2, "! an unmasked frame from the client", false},
    {"a masked server", WS_SERVER, "\x81\x81", 2, "! a masked frame from the server", false},
    {"a long ping", WS_SERVER, "\x89\x7e", 2, "! a control frame of more than 125 bytes", false},
    {"a very long close", WS_CLIENT, "\x88\xff", 2, "! a control frame of more than 125 bytes", false},
    {"125 in two bytes", WS_SERVER, "\x81\x7e\x00\x7d", 4,
     "! a length that is not written in the shortest way, or beyond 63 bits", true},
    {"0 in two bytes, masked", WS_CLIENT, "\x82\xfe\x00\x00", 4,
     "! a length that is not written in the shortest way, or beyond 63 bits", true},
    {"65535 in eight bytes", WS_SERVER, "\x82\x7f\x00\x00\x00\x00\x00\x00\xff\xff", 10,
     "! a length that is not written in the shortest way, or beyond 63 bits", true},
    {"64 bits", WS_CLIENT, "\x82\xff\x80\x00\x00\x00\x00\x00\x00\x00", 10,
     "! a length that is not written in the shortest way, or beyond 63 bits", true},
    {"the head alone of 2^63-1 bytes", WS_SERVER, "\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", 10, "", false},
};

static void test_heads(void **state)
{
    (void)state;
    struct ws_said said = {.wire = 0};
    bool ambiguous = false, in_message = false;
    for (size_t i = 0; i < ARRAY_LEN(heads); i++) {
        for (size_t chunk = 1; chunk <= heads[i].n; chunk++) {
            enum err e = ws_said_read(&said, heads[i].from, &plain, span_of(heads[i].wire, heads[i].n), chunk,
                                      &ambiguous, &in_message);
            if (e != (*heads[i].want ? ERR_PARSE : ERR_OK) || !span_eq(buf_span(&said.text), span_str(heads[i].want)) ||
                ambiguous != heads[i].ambiguous)
                fail_msg("%s, chunks of %zu: %s, %.*s", heads[i].name, chunk, err_word(e), (int)said.text.n,
                         (const char *)buf_span(&said.text).p);
        }
    }
    ws_said_free(&said);
}

/* ---- long messages ---- */

static void fill(struct buf *out, size_t n, const char *pattern)
{
    buf_clear(out);
    for (size_t i = 0, k = strlen(pattern); i < n; i++)
        assert_int_equal(buf_put_byte(out, (uint8_t)pattern[i % k]), ERR_OK);
}

static void test_lengths(void **state)
{
    (void)state;
    static const size_t sizes[] = {125, 126, 127, 65535, 65536, 65537, 131072, 131073, 400000};
    static const size_t chunks[] = {1, 7, 4095, 4096, 4097, 65536, SIZE_MAX / 2};
    struct buf content = BUF_INIT, wire = BUF_INIT;
    struct ws_said said = {.wire = 0};
    bool ambiguous = false, in_message = false;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        fill(&content, sizes[i],
             "a\xe2\x82\xac-\xf0\x9f\x98\x80"
             "b");
        for (int side = WS_CLIENT; side <= WS_SERVER; side++) {
            buf_clear(&wire);
            ws_side_frame(&wire, (enum ws_side)side, TEXT, buf_span(&content));
            ws_side_frame(&wire, (enum ws_side)side, FIN | PING, SPAN("p"));
            /* The content may end within a character: what completes it is in the next fragment. */
            size_t at = sizes[i] % 10;
            static const char whole[] = "a\xe2\x82\xac-\xf0\x9f\x98\x80"
                                        "b";
            static const size_t left[10] = {0, 0, 2, 1, 0, 0, 3, 2, 1, 0};
            ws_side_frame(&wire, (enum ws_side)side, FIN | CONT, span_of(&whole[at], left[at]));
            for (size_t c = 0; c < ARRAY_LEN(chunks); c++) {
                assert_int_equal(ws_said_read(&said, (enum ws_side)side, &plain, buf_span(&wire), chunks[c], &ambiguous,
                                              &in_message),
                                 ERR_OK);
                size_t total = sizes[i] + left[at];
                assert_int_equal(said.pieces, 1 + (total + LIMIT_MESSAGE_BYTES - 1) / LIMIT_MESSAGE_BYTES);
                assert_int_equal(said.text.n, strlen("ping:p|text:|") + total);
                assert_true(span_starts_with(buf_span(&said.text), SPAN("ping:p|text:a\xe2\x82\xac")));
                assert_int_equal(said.wire, wire.n);
            }
        }
    }
    ws_said_free(&said);
    buf_free(&content);
    buf_free(&wire);
}

/* Each piece is told with the bytes of its own frames. */
struct piece_sizes {
    uint64_t wire[8];
    size_t n;
};

static enum err note_wire(void *ctx, const struct ws_message *m)
{
    struct piece_sizes *s = ctx;
    assert_true(s->n < ARRAY_LEN(s->wire));
    s->wire[s->n++] = m->wire_bytes;
    return ERR_OK;
}

static void test_wire_of_pieces(void **state)
{
    (void)state;
    static const size_t chunks[] = {1, 100, 65536, SIZE_MAX / 2};
    struct buf content = BUF_INIT, wire = BUF_INIT;
    fill(&content, 100000, "x");
    ws_side_frame(&wire, WS_SERVER, FIN | BINARY, buf_span(&content));
    ws_side_frame(&wire, WS_SERVER, FIN | PONG, SPAN("abc"));
    ws_side_frame(&wire, WS_SERVER, BINARY, SPAN("abc"));
    ws_side_frame(&wire, WS_SERVER, FIN | CONT, SPAN("d"));
    for (size_t c = 0; c < ARRAY_LEN(chunks); c++) {
        struct piece_sizes sizes = {.n = 0};
        struct ws *ws;
        assert_int_equal(ws_create(&ws, WS_SERVER, &plain, note_wire, &sizes), ERR_OK);
        for (size_t at = 0; at < wire.n; at += chunks[c])
            assert_int_equal(ws_feed(ws, span_first(span_from(buf_span(&wire), at), chunks[c])), ERR_OK);
        ws_destroy(&ws);
        assert_int_equal(sizes.n, 4);
        assert_int_equal(sizes.wire[0], 10 + 65536);
        assert_int_equal(sizes.wire[1], 100000 - 65536);
        assert_int_equal(sizes.wire[2], 5);
        assert_int_equal(sizes.wire[3], 2 + 3 + 2 + 1);
    }
    buf_free(&content);
    buf_free(&wire);
}

/* ---- permessage-deflate ---- */

static const char *const texts[] = {
    "Hello", "Hello", "", "Hello, Hello, hello? \xe2\x82\xac", "{\"a\": [1, 2, 3, 1, 2, 3, 1, 2, 3]}", "Hello"};

static void put_messages(struct buf *wire, enum ws_side side, int bits, bool no_takeover, struct span noise,
                         struct buf *want)
{
    z_stream z = {.zalloc = NULL};
    struct buf payload = BUF_INIT;
    /* zlib's deflate knows no raw window of 8: peers that are built on it send with 9. */
    assert_int_equal(deflateInit2(&z, 6, Z_DEFLATED, -MAX(bits, 9), 8, Z_DEFAULT_STRATEGY), Z_OK);
    for (size_t i = 0; i <= ARRAY_LEN(texts); i++) {
        struct span text = i < ARRAY_LEN(texts) ? span_str(texts[i]) : noise;
        buf_clear(&payload);
        ws_side_deflate(&z, text, no_takeover, &payload);
        struct span whole = buf_span(&payload);
        size_t cut = whole.n / 2;
        ws_side_frame(wire, side, RSV1 | TEXT, span_first(whole, cut));
        ws_side_frame(wire, side, FIN | PING, SPAN("p"));
        ws_side_frame(wire, side, CONT, span_from(whole, cut));
        ws_side_frame(wire, side, FIN | CONT, SPAN_EMPTY);
        ws_side_frame(wire, side, FIN | TEXT, SPAN("plain"));
        assert_int_equal(buf_put_str(want, "ping:p|text:"), ERR_OK);
        assert_int_equal(buf_put(want, text), ERR_OK);
        assert_int_equal(buf_put_str(want, "|text:plain|"), ERR_OK);
    }
    (void)deflateEnd(&z);
    buf_free(&payload);
}

static void test_deflate(void **state)
{
    (void)state;
    struct buf wire = BUF_INIT, want = BUF_INIT, noise = BUF_INIT;
    struct ws_said said = {.wire = 0};
    bool ambiguous = false, in_message = false;
    uint32_t seed = 1;
    /* Repeats at distances up to the whole window, and does not compress well. */
    for (size_t i = 0; i < 90000; i++) {
        seed = seed * 1664525 + 1013904223;
        assert_int_equal(buf_put_byte(&noise, (uint8_t)(i < 33000 ? 'a' + (seed >> 24) % 26 : noise.p[i - 32500])),
                         ERR_OK);
    }
    /* Beyond 15: one who keeps to no window that was negotiated, 8 here. What is read does not hang on how it came. */
    for (int bits = 8; bits <= 16; bits++)
        for (int mode = 0; mode < 4; mode++) {
            enum ws_side side = mode & 1 ? WS_SERVER : WS_CLIENT;
            struct ws_extensions x = deflating;
            x.window_bits[side] = bits > 15 ? 8 : (unsigned)bits;
            x.no_takeover[side] = mode & 2;
            for (int big = 0; big < 2; big++) {
                buf_clear(&wire);
                buf_clear(&want);
                put_messages(&wire, side, MIN(bits, 15), mode & 2, big ? buf_span(&noise) : SPAN("!"), &want);
                for (size_t chunk = 1; chunk <= wire.n; chunk += big ? wire.n / 3 + 1 : 1) {
                    enum err e = ws_said_read(&said, side, &x, buf_span(&wire), chunk, &ambiguous, &in_message);
                    if (e || !span_eq(buf_span(&said.text), buf_span(&want)))
                        fail_msg("window %d, mode %d, chunks of %zu: %s", bits, mode, chunk, err_word(e));
                    assert_int_equal(said.wire, wire.n);
                }
            }
        }
    ws_said_free(&said);
    buf_free(&wire);
    buf_free(&want);
    buf_free(&noise);
}

/* RFC 7692 §7.2.3, byte by byte, and damage. */
static const struct {
    const char *name;
    struct frame frames[4];
    const char *want;
} deflated[] = {
    {"one block", {{FIN | RSV1 | TEXT, "\xf2\x48\xcd\xc9\xc9\x07\x00", 7}}, "text:Hello|"},
    {"two fragments", {{RSV1 | TEXT, "\xf2\x48\xcd", 3}, {FIN | CONT, "\xc9\xc9\x07\x00", 4}}, "text:Hello|"},
    {"a shared window",
     {{FIN | RSV1 | TEXT, "\xf2\x48\xcd\xc9\xc9\x07\x00", 7}, {FIN | RSV1 | TEXT, "\xf2\x00\x11\x00\x00", 5}},
     "text:Hello|text:Hello|"},
    {"stored", {{FIN | RSV1 | TEXT, "\x00\x05\x00\xfa\xff\x48\x65\x6c\x6c\x6f\x00", 11}}, "text:Hello|"},
    {"BFINAL", {{FIN | RSV1 | TEXT, "\xf3\x48\xcd\xc9\xc9\x07\x00\x00", 8}}, "text:Hello|"},
    {"BFINAL, and the window behind it",
     {{FIN | RSV1 | TEXT, "\xf3\x48\xcd\xc9\xc9\x07\x00\x00", 8}, {FIN | RSV1 | TEXT, "\xf2\x00\x11\x00\x00", 5}},
     "text:Hello|text:Hello|"},
    {"BFINAL and nothing behind it",
     {{FIN | RSV1 | TEXT, "\xf3\x48\xcd\xc9\xc9\x07\x00", 7}, {FIN | RSV1 | TEXT, "\xf2\x00\x11\x00\x00", 5}},
     "text:Hello|text:Hello|"},
    {"two blocks", {{FIN | RSV1 | TEXT, "\xf2\x48\x05\x00\x00\x00\xff\xff\xca\xc9\xc9\x07\x00", 13}}, "text:Hello|"},
    {"nothing",
     {{FIN | RSV1 | TEXT, "\x00", 1},
      {FIN | RSV1 | BINARY, "", 0},
      {FIN | RSV1 | TEXT, "\xf2\x48\xcd\xc9\xc9\x07\x00", 7}},
     "text:|binary:|text:Hello|"},
    {"not compressed", {{FIN | TEXT, "Hello", 0}}, "text:Hello|"},
    {"text that is none", {{FIN | RSV1 | TEXT, "\xfa\x0f\x00", 3}}, "text (text that is not UTF-8):\xff|"},
    {"RSV1 on a continuation",
     {{RSV1 | TEXT, "\xf2\x48\xcd", 3}, {FIN | RSV1 | CONT, "\xc9\xc9\x07\x00", 4}},
     "! a continuation frame that says compressed"},
    {"RSV1 on a continuation alone",
     {{TEXT, "a", 0}, {FIN | RSV1 | CONT, "b", 0}},
     "! a continuation frame that says compressed"},
    {"RSV1 on a close", {{FIN | RSV1 | CLOSE, "", 0}}, "! a reserved bit in a control frame"},
    {"a bad block", {{FIN | RSV1 | TEXT, "\x07\xff", 2}}, "! compressed data that cannot be inflated"},
    {"a distance beyond what was said",
     {{FIN | RSV1 | TEXT, "\xf2\x00\x11\x00\x00", 5}},
     "! compressed data that cannot be inflated"},
    {"cut", {{FIN | RSV1 | TEXT, "\xf2\x48\xcd", 3}}, "! a compressed message that ends within a block"},
};

static void test_deflate_bytes(void **state)
{
    (void)state;
    struct buf wire = BUF_INIT;
    struct ws_said said = {.wire = 0};
    bool ambiguous = false, in_message = false;
    for (size_t i = 0; i < ARRAY_LEN(deflated); i++) {
        struct span want = span_str(deflated[i].want);
        enum err bad = want.p[0] == '!' ? ERR_PARSE : ERR_OK;
        for (int side = WS_CLIENT; side <= WS_SERVER; side++) {
            wire_of(&wire, (enum ws_side)side, deflated[i].frames, ARRAY_LEN(deflated[i].frames));
            for (size_t chunk = 1; chunk <= wire.n; chunk++) {
                enum err e = ws_said_read(&said, (enum ws_side)side, &deflating, buf_span(&wire), chunk, &ambiguous,
                                          &in_message);
                if (e != bad || !span_eq(buf_span(&said.text), want) || ambiguous)
                    fail_msg("%s, side %d, chunks of %zu: %s, %.*s", deflated[i].name, side, chunk, err_word(e),
                             (int)said.text.n, (const char *)buf_span(&said.text).p);
            }
        }
    }
    /* Without a window behind it the second message means nothing. */
    struct ws_extensions forgetful = deflating;
    forgetful.no_takeover[WS_SERVER] = true;
    wire_of(&wire, WS_SERVER, deflated[2].frames, 2);
    assert_int_equal(ws_said_read(&said, WS_SERVER, &forgetful, buf_span(&wire), 1, &ambiguous, &in_message),
                     ERR_PARSE);
    assert_true(span_eq(buf_span(&said.text), SPAN("text:Hello|! compressed data that cannot be inflated")));
    ws_said_free(&said);
    buf_free(&wire);
}

static enum err count_bytes(void *ctx, const struct ws_message *m)
{
    *(uint64_t *)ctx += m->data.n;
    return ERR_OK;
}

/* A message of zeros, as long as its sender likes. */
static enum err feed_zeros(uint64_t bytes, uint64_t *told)
{
    static uint8_t zeros[1 << 20], out[1 << 16];
    z_stream z = {.zalloc = NULL};
    struct buf wire = BUF_INIT;
    struct ws *ws;
    *told = 0;
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY), Z_OK);
    assert_int_equal(ws_create(&ws, WS_SERVER, &deflating, count_bytes, told), ERR_OK);
    enum err e = ERR_OK;
    for (uint64_t at = 0; !e && at < bytes; at += sizeof zeros) {
        z.next_in = zeros;
        z.avail_in = sizeof zeros;
        z.next_out = out;
        z.avail_out = sizeof out;
        assert_int_equal(deflate(&z, Z_SYNC_FLUSH), Z_OK);
        buf_clear(&wire);
        ws_side_frame(&wire, WS_SERVER, at ? CONT : RSV1 | BINARY, span_of(out, sizeof out - z.avail_out));
        e = ws_feed(ws, buf_span(&wire));
    }
    (void)deflateEnd(&z);
    ws_destroy(&ws);
    buf_free(&wire);
    return e;
}

static void test_bomb(void **state)
{
    (void)state;
    uint64_t told;
    assert_int_equal(feed_zeros(LIMIT_DECODE_BYTES / 2, &told), ERR_OK);
    assert_true(told >= LIMIT_DECODE_BYTES / 2 - LIMIT_MESSAGE_BYTES);
    assert_int_equal(feed_zeros(UINT64_C(2) * LIMIT_DECODE_BYTES, &told), ERR_LIMIT);
    assert_true(told <= LIMIT_DECODE_BYTES);
}

/* ---- failures of others ---- */

static void test_callback_fails(void **state)
{
    (void)state;
    static const enum err refusals[] = {ERR_NOMEM, ERR_PARSE, ERR_LIMIT, ERR_DISK_FULL};
    struct buf wire = BUF_INIT;
    struct ws_said said = {.wire = 0};
    bool ambiguous = false, in_message = false;
    ws_side_frame(&wire, WS_SERVER, FIN | RSV1 | TEXT, span_of("\xf2\x48\xcd\xc9\xc9\x07\x00", 7));
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        said.refuse = refusals[i];
        assert_int_equal(ws_said_read(&said, WS_SERVER, &deflating, buf_span(&wire), 100, &ambiguous, &in_message),
                         refusals[i]);
        assert_int_equal(said.text.n, 0);
    }
    ws_said_free(&said);
    buf_free(&wire);
}

static void test_out_of_memory(void **state)
{
    (void)state;
    struct buf wire = BUF_INIT, content = BUF_INIT, want = BUF_INIT, frame = BUF_INIT;
    struct ws_said said = {.wire = 0};
    bool ambiguous = false, in_message = false;
    fill(&content, 150000, "0123456789");
    put_messages(&wire, WS_CLIENT, 15, false, buf_span(&content), &want);
    ws_side_frame(&wire, WS_CLIENT, FIN | RSV1 | TEXT, span_of("\xf3\x48\xcd\xc9\xc9\x07\x00\x00", 8));
    enum err e = ERR_NOMEM;
    long n = 0;
    for (; e == ERR_NOMEM && n < 10000; n++) {
        mem_fail_after(n);
        e = ws_said_read(&said, WS_CLIENT, &deflating, buf_span(&wire), 1000, &ambiguous, &in_message);
        mem_fail_after(-1);
    }
    assert_int_equal(e, ERR_OK);
    assert_true(n > 10);
    assert_true(span_starts_with(buf_span(&said.text), buf_span(&want)));
    mem_fail_after(0);
    assert_int_equal(ws_put(&frame, WS_TEXT, 0, SPAN("a")), ERR_NOMEM);
    assert_int_equal(ws_put_head(&frame, WS_TEXT, true, true, 1), ERR_NOMEM);
    mem_fail_after(-1);
    assert_int_equal(frame.n, 0);
    ws_said_free(&said);
    buf_free(&wire);
    buf_free(&content);
    buf_free(&want);
    buf_free(&frame);
}

/* ---- the negotiation ---- */

static const struct {
    const char *field, *second; /* NULL: none */
    bool deflate, unknown, client_no, server_no;
    unsigned client_bits, server_bits;
} negotiations[] = {
    {NULL, NULL, false, false, false, false, 15, 15},
    {"", NULL, false, false, false, false, 15, 15},
    {"permessage-deflate", NULL, true, false, false, false, 15, 15},
    {"Permessage-Deflate ; SERVER_no_context_takeover", NULL, true, false, false, true, 15, 15},
    {"permessage-deflate;client_no_context_takeover;\tserver_max_window_bits = 10", NULL, true, false, true, false, 15,
     10},
    {"permessage-deflate; client_max_window_bits=\"1\\2\"; server_max_window_bits=\"8\"", NULL, true, false, false,
     false, 12, 8},
    {" , permessage-deflate; client_max_window_bits=15,", NULL, true, false, false, false, 15, 15},
    {"", "permessage-deflate", true, false, false, false, 15, 15},
    {"permessage-deflate; client_max_window_bits", NULL, false, true, false, false, 0, 0},
    {"permessage-deflate; server_max_window_bits", NULL, false, true, false, false, 0, 0},
    {"permessage-deflate; server_max_window_bits=7", NULL, false, true, false, false, 0, 0},
    {"permessage-deflate; server_max_window_bits=16", NULL, false, true, false, false, 0, 0},
    {"permessage-deflate; server_max_window_bits=010", NULL, false, true, false, false, 0, 0},
    {"permessage-deflate; server_max_window_bits=1 0", NULL, false, true, false, false, 0, 0},
    {"permessage-deflate; server_max_window_bits=\"10", NULL, false, true, false, false, 0, 0},
    {"permessage-deflate; server_max_window_bits=\"\"", NULL, false, true, false, false, 0, 0},
    {"permessage-deflate; server_max_window_bits=", NULL, false, true, false, false, 0, 0},
    {"permessage-deflate; server_max_window_bits=1000000000000", NULL, false, true, false, false, 0, 0},
    {"permessage-deflate; server_max_window_bits=\"10\\", NULL, false, true, false, false, 0, 0},
    {"permessage-deflate; server_max_window_bits=10; server_max_window_bits=10", NULL, false, true, false, false, 0, 0},
    {"permessage-deflate; server_no_context_takeover=1", NULL, false, true, false, false, 0, 0},
    {"permessage-deflate; something", NULL, false, true, false, false, 0, 0},
    {"permessage-deflate;", NULL, false, true, false, false, 0, 0},
    {"permessage-deflate x", NULL, false, true, false, false, 0, 0},
    {"permessage-deflate, permessage-deflate", NULL, true, true, false, false, 0, 0},
    {"permessage-deflate", "permessage-bzip2", true, true, false, false, 0, 0},
    {"x-webkit-deflate-frame", NULL, false, true, false, false, 0, 0},
    {"\"permessage-deflate\"", NULL, false, true, false, false, 0, 0},
};

static void add(struct headers *h, const char *name, const char *value)
{
    assert_int_equal(headers_add(h, span_str(name), span_str(value)), ERR_OK);
}

static void test_negotiations(void **state)
{
    (void)state;
    struct headers h = HEADERS_INIT;
    struct ws_extensions x;
    struct ws *ws;
    for (size_t i = 0; i < ARRAY_LEN(negotiations); i++) {
        headers_clear(&h);
        add(&h, "Upgrade", "websocket");
        if (negotiations[i].field)
            add(&h, "sec-websocket-extensions", negotiations[i].field);
        if (negotiations[i].second)
            add(&h, "Sec-WebSocket-Extensions", negotiations[i].second);
        ws_extensions_read(&x, &h);
        if (x.unknown != negotiations[i].unknown)
            fail_msg("%s", negotiations[i].field);
        if (x.unknown) {
            assert_int_equal(ws_create(&ws, WS_SERVER, &x, count_bytes, NULL), ERR_UNSUPPORTED);
            assert_null(ws);
            continue;
        }
        if (x.deflate != negotiations[i].deflate || x.no_takeover[WS_CLIENT] != negotiations[i].client_no ||
            x.no_takeover[WS_SERVER] != negotiations[i].server_no ||
            x.window_bits[WS_CLIENT] != negotiations[i].client_bits ||
            x.window_bits[WS_SERVER] != negotiations[i].server_bits)
            fail_msg("%s: %u, %u", negotiations[i].field, x.window_bits[WS_CLIENT], x.window_bits[WS_SERVER]);
    }
    headers_free(&h);
}

/* What was agreed on, what another client offers, and what it is told (NULL: nothing). */
static const struct {
    const char *recorded, *offer, *want;
} fits[] = {
    {"permessage-deflate", "permessage-deflate", "permessage-deflate"},
    {"permessage-deflate", NULL, NULL},
    {"permessage-deflate", "permessage-bzip2", NULL},
    {"permessage-deflate", "permessage-deflate; new_idea", NULL},
    {"permessage-deflate", "permessage-deflate; new_idea, permessage-deflate; client_max_window_bits",
     "permessage-deflate"},
    {"permessage-deflate;server_max_window_bits=\"12\"; client_max_window_bits=12",
     "permessage-deflate; client_max_window_bits",
     "permessage-deflate;server_max_window_bits=\"12\"; client_max_window_bits=12"},
    {"permessage-deflate; client_max_window_bits=12", "permessage-deflate", "permessage-deflate"},
    {"permessage-deflate; client_max_window_bits=12; client_no_context_takeover",
     "permessage-deflate; client_max_window_bits=10",
     "permessage-deflate; client_no_context_takeover; client_max_window_bits=10"},
    {"permessage-deflate; server_max_window_bits=12", "permessage-deflate; server_max_window_bits=9",
     "permessage-deflate; server_max_window_bits=9"},
    {"permessage-deflate; server_max_window_bits=9", "permessage-deflate; server_max_window_bits=12",
     "permessage-deflate; server_max_window_bits=9"},
    {"permessage-deflate", "permessage-deflate; server_max_window_bits=12; server_no_context_takeover",
     "permessage-deflate; server_no_context_takeover; server_max_window_bits=12"},
    {"permessage-deflate; server_no_context_takeover", "permessage-deflate",
     "permessage-deflate; server_no_context_takeover"},
    {"x-other", "x-other", NULL},
    {"permessage-deflate, x-other", "permessage-deflate", NULL},
    {NULL, "permessage-deflate", NULL},
};

static void test_fits(void **state)
{
    (void)state;
    struct headers response = HEADERS_INIT, request = HEADERS_INIT;
    struct span value;
    for (size_t i = 0; i < ARRAY_LEN(fits); i++) {
        headers_clear(&response);
        headers_clear(&request);
        add(&response, "Upgrade", "websocket");
        if (fits[i].recorded)
            add(&response, "sec-websocket-extensions", fits[i].recorded);
        if (fits[i].offer)
            add(&request, "Sec-WebSocket-Extensions", fits[i].offer);
        assert_int_equal(ws_extensions_fit(&response, &request), ERR_OK);
        bool found = headers_find(&response, SPAN("Sec-WebSocket-Extensions"), &value);
        if (found != (fits[i].want != NULL) || !span_eq(value, span_str(fits[i].want)))
            fail_msg("%s offered for %s: %.*s", fits[i].offer, fits[i].recorded, (int)value.n, (const char *)value.p);
    }
    headers_free(&response);
    headers_free(&request);
}

/* ---- a server's frames ---- */

static void test_put(void **state)
{
    (void)state;
    struct buf out = BUF_INIT, content = BUF_INIT;
    struct ws_said said = {.wire = 0};
    bool ambiguous = false, in_message = false;
    assert_int_equal(ws_put(&out, WS_TEXT, 0, SPAN("hello")), ERR_OK);
    assert_int_equal(ws_put(&out, WS_PING, 0, SPAN_EMPTY), ERR_OK);
    assert_int_equal(ws_put_head(&out, WS_BINARY, true, false, 3), ERR_OK);
    assert_int_equal(buf_put_str(&out, "abc"), ERR_OK);
    assert_int_equal(ws_put_head(&out, WS_BINARY, false, true, 1), ERR_OK);
    assert_int_equal(buf_put_str(&out, "d"), ERR_OK);
    assert_int_equal(ws_put(&out, WS_PONG, 0, SPAN("x")), ERR_OK);
    assert_int_equal(ws_put(&out, WS_CLOSE, 4001, SPAN("bye")), ERR_OK);
    static const uint8_t want[] = "\x81\x05hello\x89\x00\x02\x03"
                                  "abc\x80\x01"
                                  "d\x8a\x01x\x88\x05\x0f\xa1"
                                  "bye";
    assert_true(span_eq(buf_span(&out), span_of(want, sizeof want - 1)));
    assert_int_equal(ws_said_read(&said, WS_SERVER, &plain, buf_span(&out), 3, &ambiguous, &in_message), ERR_OK);
    assert_true(span_eq(buf_span(&said.text), SPAN("text:hello|ping:|binary:abcd|pong:x|close 4001:bye|")));
    buf_clear(&out);
    assert_int_equal(ws_put(&out, WS_CLOSE, 0, SPAN_EMPTY), ERR_OK);
    assert_true(span_eq(buf_span(&out), SPAN("\x88\x00")));
    static const size_t sizes[] = {125, 126, 65535, 65536};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        buf_clear(&out);
        fill(&content, sizes[i], "z");
        assert_int_equal(ws_put(&out, WS_BINARY, 0, buf_span(&content)), ERR_OK);
        assert_int_equal(ws_said_read(&said, WS_SERVER, &plain, buf_span(&out), 1000, &ambiguous, &in_message), ERR_OK);
        assert_int_equal(said.text.n, sizes[i] + strlen("binary:|"));
    }
    ws_said_free(&said);
    buf_free(&out);
    buf_free(&content);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),         cmocka_unit_test(test_heads),
        cmocka_unit_test(test_lengths),       cmocka_unit_test(test_wire_of_pieces),
        cmocka_unit_test(test_deflate),       cmocka_unit_test(test_deflate_bytes),
        cmocka_unit_test(test_bomb),          cmocka_unit_test(test_callback_fails),
        cmocka_unit_test(test_out_of_memory), cmocka_unit_test(test_negotiations),
        cmocka_unit_test(test_fits),          cmocka_unit_test(test_put),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
