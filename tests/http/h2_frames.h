/* h2_frames.h: writes HTTP/2 frames by hand, good ones and others, and reads what an engine answers. For tests. */
#ifndef RINGTAPE_TESTS_HTTP_H2_FRAMES_H
#define RINGTAPE_TESTS_HTTP_H2_FRAMES_H

#include "tests/http/h2_side.h"

#define GET  ":method=GET|:scheme=https|:authority=ex.org|:path=/"
#define POST ":method=POST|:scheme=https|:authority=ex.org|:path=/"

/* RFC 9113 §7 */
#define FLOW_CONTROL_ERROR 3
#define STREAM_CLOSED      5
#define FRAME_SIZE_ERROR   6
#define COMPRESSION_ERROR  9
#define ENHANCE_YOUR_CALM  11

enum {
    DATA = 0,
    HEADERS = 1,
    PRIORITY = 2,
    RST_STREAM = 3,
    SETTINGS = 4,
    PUSH_PROMISE = 5,
    PING = 6,
    GOAWAY = 7,
    WINDOW_UPDATE = 8,
    CONTINUATION = 9
};
enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4, PADDED = 8 };

enum { SEEN_STREAMS = 64 };

/* What an engine has sent. */
struct seen {
    struct buf rest; /* of a frame that is not all there */
    bool reset[SEEN_STREAMS];
    uint32_t code[SEEN_STREAMS]; /* of RST_STREAM */
    bool ended[SEEN_STREAMS];
    size_t data[SEEN_STREAMS];
    bool goaway;
    uint32_t goaway_code, goaway_last;
    size_t ping_acks, settings_acks, frames;
};

static inline void put_u32(struct buf *to, uint32_t n)
{
    uint8_t bytes[4] = {(uint8_t)(n >> 24), (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n};
    assert_int_equal(buf_put(to, span_of(bytes, 4)), ERR_OK);
}

static inline void put_frame(struct buf *to, unsigned type, unsigned flags, uint32_t stream, struct span payload)
{
    uint8_t head[5] = {(uint8_t)(payload.n >> 16), (uint8_t)(payload.n >> 8), (uint8_t)payload.n, (uint8_t)type,
                       (uint8_t)flags};
    assert_int_equal(buf_put(to, span_of(head, 5)), ERR_OK);
    put_u32(to, stream);
    assert_int_equal(buf_put(to, payload), ERR_OK);
}

/* One with a number of four bytes: RST_STREAM, WINDOW_UPDATE. */
static inline void put_number(struct buf *to, unsigned type, uint32_t stream, uint32_t number)
{
    struct buf payload = BUF_INIT;
    put_u32(&payload, number);
    put_frame(to, type, 0, stream, buf_span(&payload));
    buf_free(&payload);
}

/* HPACK (RFC 7541 §5.2): a string as it is. */
static inline void put_string(struct buf *to, struct span s)
{
    uint8_t n = s.n < 127 ? (uint8_t)s.n : 127;
    assert_int_equal(buf_put_byte(to, n), ERR_OK);
    for (size_t rest = s.n - n; n == 127; rest >>= 7) {
        assert_int_equal(buf_put_byte(to, (uint8_t)(rest >= 128 ? (rest & 127) | 128 : rest)), ERR_OK);
        if (rest < 128)
            break;
    }
    assert_int_equal(buf_put(to, s), ERR_OK);
}

/* A literal field that is not indexed (§6.2.2). */
static inline void put_literal(struct buf *to, struct span name, struct span value)
{
    assert_int_equal(buf_put_byte(to, 0), ERR_OK);
    put_string(to, name);
    put_string(to, value);
}

/* "name=value|name=value|...": the first '=' behind the name's first byte divides them. */
static inline void put_block(struct buf *to, struct span fields)
{
    while (fields.n) {
        struct span field = span_first(fields, span_find(fields, '|'));
        size_t at = 1 + span_find(span_from(field, 1), '=');
        put_literal(to, span_first(field, at), span_from(field, at + 1));
        fields = span_from(fields, field.n + 1);
    }
}

static inline void put_headers(struct buf *to, uint32_t stream, unsigned flags, struct span fields)
{
    struct buf block = BUF_INIT;
    put_block(&block, fields);
    put_frame(to, HEADERS, flags | END_HEADERS, stream, buf_span(&block));
    buf_free(&block);
}

/* What a peer begins with. */
static inline void put_preface(struct buf *to, enum h2_role peer)
{
    if (peer == H2_CLIENT)
        assert_int_equal(buf_put_str(to, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), ERR_OK);
    put_frame(to, SETTINGS, 0, 0, SPAN_EMPTY);
    put_frame(to, SETTINGS, ACK, 0, SPAN_EMPTY);
}

static inline uint32_t get_u32(struct span s)
{
    return (uint32_t)s.p[0] << 24 | (uint32_t)s.p[1] << 16 | (uint32_t)s.p[2] << 8 | s.p[3];
}

static inline void seen_frame(struct seen *seen, unsigned type, unsigned flags, uint32_t stream, struct span payload)
{
    seen->frames++;
    if (type == GOAWAY && payload.n >= 8) {
        seen->goaway = true;
        seen->goaway_last = get_u32(payload);
        seen->goaway_code = get_u32(span_from(payload, 4));
    }
    seen->ping_acks += type == PING && flags & ACK;
    seen->settings_acks += type == SETTINGS && flags & ACK;
    if (stream >= SEEN_STREAMS)
        return;
    if (type == RST_STREAM) {
        seen->reset[stream] = true;
        seen->code[stream] = get_u32(payload);
    }
    if (type == DATA)
        seen->data[stream] += payload.n;
    if ((type == DATA || type == HEADERS) && flags & END_STREAM)
        seen->ended[stream] = true;
}

/* Reads what the engine has to say. */
static inline enum err drain(struct side *side, struct seen *seen)
{
    static const uint8_t preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
    enum err e = h2_output(side->h2, &seen->rest, 1 << 20);
    struct span all = buf_span(&seen->rest);
    size_t used = all.n >= 24 && memcmp(all.p, preface, 24) == 0 ? 24 : 0;
    while (!e && all.n - used >= 9) {
        struct span f = span_from(all, used);
        size_t n = (size_t)f.p[0] << 16 | (size_t)f.p[1] << 8 | f.p[2];
        if (f.n < 9 + n)
            break;
        seen_frame(seen, f.p[3], f.p[4], get_u32(span_from(f, 5)), span_first(span_from(f, 9), n));
        used += 9 + n;
    }
    buf_consume(&seen->rest, used);
    return e;
}

/* Feeds the wire in pieces, as a connection would: after each one what there is to say is taken. */
static inline enum err feed(struct side *side, struct seen *seen, struct span wire, size_t chunk)
{
    enum err e = ERR_OK;
    while (!e && wire.n) {
        e = h2_feed(side->h2, span_first(wire, chunk));
        enum err out = drain(side, seen);
        e = e ? e : out ? out : h2_failure(side->h2);
        wire = span_from(wire, chunk);
    }
    return e;
}

/* One block over as many CONTINUATION frames as it takes. */
static inline void put_long_block(struct buf *to, uint32_t stream, struct span block)
{
    for (size_t at = 0; at < block.n || at == 0; at += 16384) {
        struct span piece = span_first(span_from(block, at), 16384);
        put_frame(to, at ? CONTINUATION : HEADERS,
                  (at ? 0u : END_STREAM) | (at + 16384 >= block.n ? (unsigned)END_HEADERS : 0u), stream, piece);
    }
}

#endif
