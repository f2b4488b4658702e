/* ws_side.h: the other side of a WebSocket: frames and compressed messages, and what a reader of them said as text. For tests and fuzzers. */
#ifndef RINGTAPE_TESTS_HTTP_WS_SIDE_H
#define RINGTAPE_TESTS_HTTP_WS_SIDE_H

#include "base/alloc.h"
#include "base/limits.h"
#include "http/ws.h"

#include <stdlib.h>
#include <zlib.h>

static inline void ws_side_must(bool holds)
{
    if (!holds)
        abort();
}

static inline void ws_side_put(struct buf *out, const void *p, size_t n)
{
    ws_side_must(buf_put(out, span_of(p, n)) == ERR_OK);
}

/* A frame; first: its first byte. The client's are masked. */
static inline void ws_side_frame(struct buf *out, enum ws_side from, unsigned first, struct span payload)
{
    static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
    uint8_t head[10] = {(uint8_t)first};
    unsigned width = payload.n <= 125 ? 0 : payload.n <= 0xffff ? 2 : 8;
    head[1] = (uint8_t)((width == 0 ? payload.n : width == 2 ? 126 : 127) | (from == WS_CLIENT ? 0x80u : 0));
    for (unsigned i = 0; i < width; i++)
        head[2 + i] = (uint8_t)((uint64_t)payload.n >> (8 * (width - 1 - i)));
    ws_side_put(out, head, 2 + width);
    if (from == WS_SERVER) {
        ws_side_must(buf_put(out, payload) == ERR_OK);
        return;
    }
    ws_side_put(out, mask, 4);
    for (size_t i = 0; i < payload.n; i++)
        ws_side_must(buf_put_byte(out, (uint8_t)(payload.p[i] ^ mask[i % 4])) == ERR_OK);
}

/* One message through a sender's compressor, without the four bytes at its end. */
static inline void ws_side_deflate(z_stream *z, struct span in, bool no_takeover, struct buf *out)
{
    uint8_t *at;
    if (in.n == 0) { /* zlib has nothing to flush then: an empty block (RFC 7692 §7.2.3.6) */
        ws_side_must(buf_put_byte(out, 0) == ERR_OK);
        return;
    }
    size_t room = deflateBound(z, in.n) + 64;
    union {
        const uint8_t *in;
        Bytef *z;
    } next = {.in = in.p};
    ws_side_must(buf_reserve(out, room, &at) == ERR_OK);
    z->next_in = next.z;
    z->avail_in = (uInt)in.n;
    z->next_out = at;
    z->avail_out = (uInt)room;
    ws_side_must(deflate(z, no_takeover ? Z_FULL_FLUSH : Z_SYNC_FLUSH) == Z_OK && z->avail_in == 0);
    buf_commit(out, room - z->avail_out);
    struct span made = buf_span(out);
    ws_side_must(made.n >= 4 && memcmp(made.p + made.n - 4, "\0\0\xff\xff", 4) == 0);
    out->n -= 4;
    if (no_takeover)
        ws_side_must(deflateReset(z) == Z_OK);
}

/* What was read: "text:hello|close 1000:bye|". Pieces are joined, so that cuts do not show. */
struct ws_said {
    struct buf text;
    uint64_t wire;       /* of all messages */
    size_t pieces, most; /* how many, and the longest */
    struct buf kept;     /* the pieces of a data message, apart from control frames within */
    enum err refuse;     /* what the callback answers */
};

static inline enum err ws_said_message(void *ctx, const struct ws_message *m)
{
    struct ws_said *s = ctx;
    bool data = m->kind == WS_TEXT || m->kind == WS_BINARY;
    s->wire += m->wire_bytes;
    s->pieces++;
    if (m->data.n > s->most)
        s->most = m->data.n;
    ws_side_must(m->data.n <= LIMIT_MESSAGE_BYTES && (m->last || (data && m->data.n == LIMIT_MESSAGE_BYTES)));
    if (s->refuse)
        return s->refuse;
    enum err e = data ? buf_put(&s->kept, m->data) : ERR_OK;
    if (e || !m->last)
        return e;
    e = buf_put_str(&s->text, ws_kind_word(m->kind));
    if (!e && m->kind == WS_CLOSE)
        e = buf_printf(&s->text, " %u", m->code);
    if (!e && m->flaw)
        e = buf_printf(&s->text, " (%s)", m->flaw);
    if (!e)
        e = buf_put_byte(&s->text, ':');
    if (!e)
        e = buf_put(&s->text, data ? buf_span(&s->kept) : m->data);
    if (!e)
        e = buf_put_byte(&s->text, '|');
    if (data)
        buf_clear(&s->kept);
    return e;
}

static inline void ws_said_free(struct ws_said *s)
{
    buf_free(&s->text);
    buf_free(&s->kept);
}

/* Reads all of `wire` in pieces of `chunk` bytes; ends the text with what the violation was. */
static inline enum err ws_said_read(struct ws_said *s, enum ws_side from, const struct ws_extensions *extensions,
                                    struct span wire, size_t chunk, bool *ambiguous, bool *in_message)
{
    struct ws *ws;
    buf_clear(&s->text);
    buf_clear(&s->kept);
    s->wire = 0;
    s->pieces = s->most = 0;
    enum err e = ws_create(&ws, from, extensions, ws_said_message, s);
    if (e)
        return e;
    for (size_t at = 0; !e && at < wire.n; at += chunk)
        e = ws_feed(ws, span_first(span_from(wire, at), chunk));
    *ambiguous = ws_ambiguous(ws);
    *in_message = ws_in_message(ws);
    if (*ws_error(ws) && buf_printf(&s->text, "! %s", ws_error(ws)))
        e = ERR_NOMEM;
    ws_destroy(&ws);
    return e;
}

#endif
