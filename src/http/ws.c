/* ws.c: wslay cuts the frames and takes the mask off; what a sequence of frames means, and whether it may be one, is told here. wslay answers what it
 * does not like with one error for all, so the two bytes that every frame begins with are judged here, before it sees a third: what is left for it
 * to refuse is a length.
 * wslay is given a frame's head byte by byte and never a byte beyond the frame's end, so that each byte is known for what it is.
 *
 *   HEAD ──> PAYLOAD ──> HEAD ...       `head_n` < `head_need`: HEAD
 *
 * Invariants: `piece` holds at most LIMIT_MESSAGE_BYTES; it holds something only while a message is open; after an error nothing is read. */
#include "http/ws.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "base/text.h"
#include "base/util.h"
#include "http/ws_deflate.h"

#include <assert.h>
#include <wslay/wslay.h>

enum {
    WS_FIN = 0x80,
    WS_RSV1 = 0x40,
    WS_RSV_OTHERS = 0x30,
    WS_OPCODE = 0x0f,
    WS_MASKED = 0x80,
    WS_LENGTH = 0x7f,
    WS_LENGTH_16 = 126,
    WS_LENGTH_64 = 127,
    WS_CONTINUATION = 0x0,
    WS_CONTROL = 0x8,
    WS_CONTROL_BYTES = 125,
    WS_HEAD_BYTES = 14,
    WS_KEEP_BYTES = 4096, /* of a buffer, from one message to the next */
};

/* Text that comes in parts, which may be cut within a character. */
struct utf8 {
    uint8_t tail[4];
    size_t n;
    bool bad;
};

struct ws {
    wslay_frame_context_ptr frames;
    enum ws_side from;
    bool deflate;
    struct ws_deflate *inflater;
    enum err (*message)(void *ctx, const struct ws_message *message);
    void *ctx;

    struct span in;   /* what wslay may take, in one call */
    uint64_t payload; /* that the frame still has, once has_length */

    /* the frame in hand */
    uint8_t head[2];
    size_t head_n, head_need;
    bool has_length; /* told by wslay */
    uint8_t control[WS_CONTROL_BYTES];
    size_t control_n;
    uint64_t control_wire;

    /* the message in hand */
    bool open, compressed;
    enum ws_kind kind;
    struct buf piece;
    struct utf8 text;
    uint64_t wire;

    size_t fed, frame_at; /* bytes given to ws_feed(), and where among them the frame in hand begins */
    bool closed;
    const char *error;
    bool ambiguous;
};

const char *ws_kind_word(enum ws_kind kind)
{
    switch (kind) {
#define WS_KIND_WORD(name, opcode, word)                                                                               \
    case name:                                                                                                         \
        return word;
        WS_KINDS(WS_KIND_WORD)
#undef WS_KIND_WORD
    }
    return "";
}

static void utf8_feed(struct utf8 *u, struct span in)
{
    while (u->n > 0 && in.n > 0 && !u->bad) {
        u->tail[u->n++] = in.p[0];
        in = span_from(in, 1);
        if (text_is_utf8(span_of(u->tail, u->n)))
            u->n = 0;
        else
            u->bad = u->n == sizeof u->tail;
    }
    if (u->bad || in.n == 0)
        return;
    struct span rest = span_from(in, text_utf8_prefix(in));
    u->bad = rest.n >= sizeof u->tail;
    if (u->bad || rest.n == 0)
        return;
    memcpy(u->tail, rest.p, rest.n);
    u->n = rest.n;
}

static enum err violation(struct ws *ws, const char *what)
{
    ws->error = what;
    return ERR_PARSE;
}

/* ---- messages ---- */

static enum err tell_piece(struct ws *ws, bool last)
{
    struct ws_message m = {
        .kind = ws->kind, .last = last, .data = buf_span(&ws->piece), .wire_bytes = ws->wire, .flaw = NULL};
    if (ws->kind == WS_TEXT)
        utf8_feed(&ws->text, m.data);
    if (last && (ws->text.bad || ws->text.n > 0))
        m.flaw = "text that is not UTF-8";
    enum err e = ws->message(ws->ctx, &m);
    ws->wire = 0;
    buf_clear(&ws->piece);
    return e;
}

/* Content of the message in hand: the sink of the inflater, too. */
static enum err message_put(void *ctx, struct span bytes)
{
    struct ws *ws = ctx;
    enum err e = ERR_OK;
    while (!e && bytes.n > 0) {
        if (ws->piece.n == LIMIT_MESSAGE_BYTES) {
            e = tell_piece(ws, false);
            if (e)
                break;
        }
        struct span part = span_first(bytes, LIMIT_MESSAGE_BYTES - ws->piece.n);
        e = buf_put(&ws->piece, part);
        bytes = span_from(bytes, part.n);
    }
    return e;
}

static enum err inflated(struct ws *ws, enum err e)
{
    if (e == ERR_PARSE && !*ws->error)
        return violation(ws, "compressed data that cannot be inflated");
    if (e == ERR_TRUNCATED)
        return violation(ws, "a compressed message that ends within a block");
    return e;
}

static enum err message_data(struct ws *ws, struct span bytes)
{
    /* A full piece goes before the bytes that follow it are counted to the next one. */
    while (!ws->compressed && bytes.n > 0) {
        enum err e = ws->piece.n == LIMIT_MESSAGE_BYTES ? tell_piece(ws, false) : ERR_OK;
        struct span part = span_first(bytes, LIMIT_MESSAGE_BYTES - ws->piece.n);
        if (!e)
            e = message_put(ws, part);
        if (e)
            return e;
        ws->wire += part.n;
        bytes = span_from(bytes, part.n);
    }
    ws->wire += bytes.n;
    return ws->compressed ? inflated(ws, ws_deflate_feed(ws->inflater, bytes)) : ERR_OK;
}

static enum err message_end(struct ws *ws)
{
    enum err e = ws->compressed ? inflated(ws, ws_deflate_end(ws->inflater)) : ERR_OK;
    if (!e)
        e = tell_piece(ws, true);
    ws->open = false;
    if (ws->piece.cap > WS_KEEP_BYTES)
        buf_free(&ws->piece);
    return e;
}

/* RFC 6455 §7.4, and what IANA registered since. */
static bool code_may_be_sent(unsigned code)
{
    return (code >= 1000 && code <= 1003) || (code >= 1007 && code <= 1014) || (code >= 3000 && code <= 4999);
}

static enum err control_end(struct ws *ws, enum ws_kind kind)
{
    struct ws_message m = {
        .kind = kind, .last = true, .data = span_of(ws->control, ws->control_n), .wire_bytes = ws->control_wire};
    if (kind == WS_CLOSE) {
        ws->closed = true;
        if (m.data.n == 1)
            return violation(ws, "a close frame with half a status code");
        if (m.data.n > 0) {
            m.code = (unsigned)(m.data.p[0] << 8 | m.data.p[1]);
            m.data = span_from(m.data, 2);
            if (!code_may_be_sent(m.code))
                m.flaw = "a reserved close code";
            else if (!text_is_utf8(m.data))
                m.flaw = "a close reason that is not UTF-8";
        }
    }
    return ws->message(ws->ctx, &m);
}

/* ---- frames ---- */

static const char *control_flaw(const struct ws *ws)
{
    unsigned opcode = ws->head[0] & WS_OPCODE;
    if (opcode > WS_PONG)
        return "a reserved opcode";
    if (ws->head[0] & WS_RSV1)
        return "a reserved bit in a control frame";
    if (!(ws->head[0] & WS_FIN))
        return "a fragmented control frame";
    if ((ws->head[1] & WS_LENGTH) > WS_CONTROL_BYTES)
        return "a control frame of more than 125 bytes";
    return ws->closed && opcode == WS_CLOSE ? "a second close frame" : NULL;
}

static const char *data_flaw(const struct ws *ws)
{
    unsigned opcode = ws->head[0] & WS_OPCODE;
    bool continuation = opcode == WS_CONTINUATION;
    if (opcode > WS_BINARY)
        return "a reserved opcode";
    if ((ws->head[0] & WS_RSV1) && !ws->deflate)
        return "a reserved bit that no extension stands behind";
    if ((ws->head[0] & WS_RSV1) && continuation)
        return "a continuation frame that says compressed";
    if (ws->closed)
        return "data after the close frame";
    if (continuation && !ws->open)
        return "a continuation frame without a message";
    return !continuation && ws->open ? "a new message within a fragmented one" : NULL;
}

/* The first two bytes are there. */
static enum err frame_begin(struct ws *ws)
{
    unsigned opcode = ws->head[0] & WS_OPCODE, length = ws->head[1] & WS_LENGTH;
    bool masked = ws->head[1] & WS_MASKED;
    const char *flaw = opcode & WS_CONTROL ? control_flaw(ws) : data_flaw(ws);
    if (ws->head[0] & WS_RSV_OTHERS)
        flaw = "a reserved bit that no extension stands behind";
    else if (!flaw && masked != (ws->from == WS_CLIENT))
        flaw = masked ? "a masked frame from the server" : "an unmasked frame from the client";
    if (flaw)
        return violation(ws, flaw);
    ws->head_need = 2u + (length == WS_LENGTH_64 ? 8u : length == WS_LENGTH_16 ? 2u : 0u) + (masked ? 4u : 0u);
    if (opcode & WS_CONTROL) {
        ws->control_n = 0;
        ws->control_wire = 0;
    } else if (opcode != WS_CONTINUATION) {
        ws->kind = (enum ws_kind)opcode;
        ws->open = true;
        ws->compressed = ws->head[0] & WS_RSV1;
        ws->text = (struct utf8){.n = 0};
        ws->wire = 0;
    }
    return ERR_OK;
}

static enum err frame_payload(struct ws *ws, struct span bytes)
{
    if (!(ws->head[0] & WS_CONTROL))
        return message_data(ws, bytes);
    assert(ws->control_n + bytes.n <= WS_CONTROL_BYTES);
    if (bytes.n > 0)
        memcpy(ws->control + ws->control_n, bytes.p, bytes.n);
    ws->control_n += bytes.n;
    ws->control_wire += bytes.n;
    return ERR_OK;
}

static enum err frame_end(struct ws *ws)
{
    unsigned opcode = ws->head[0] & WS_OPCODE;
    bool fin = ws->head[0] & WS_FIN;
    ws->head_n = 0;
    ws->head_need = 2;
    ws->has_length = false;
    if (opcode & WS_CONTROL)
        return control_end(ws, (enum ws_kind)opcode);
    return fin ? message_end(ws) : ERR_OK;
}

static ssize_t frame_recv(uint8_t *out, size_t n, int flags, void *ctx)
{
    struct ws *ws = ctx;
    (void)flags;
    n = MIN(n, ws->in.n);
    if (n == 0)
        return -1;
    memcpy(out, ws->in.p, n);
    ws->in = span_from(ws->in, n);
    return (ssize_t)n;
}

/* wslay took a byte of a head. */
static enum err head_byte(struct ws *ws, uint8_t byte)
{
    if (ws->head_n < 2)
        ws->head[ws->head_n] = byte;
    ws->head_n++;
    if (ws->head_n == 2) {
        enum err e = frame_begin(ws);
        if (e)
            return e;
    }
    if (ws->head_n >= 2) {
        uint64_t *wire = ws->head[0] & WS_CONTROL ? &ws->control_wire : &ws->wire;
        *wire += ws->head_n == 2 ? 2 : 1;
    }
    return ERR_OK;
}

/* One turn of wslay's: a byte of a head, or as much of the payload as it takes. */
static enum err frame_step(struct ws *ws, struct span *in)
{
    struct wslay_frame_iocb frame = {.data_length = 0};
    bool in_head = ws->head_n < ws->head_need;
    uint64_t may = in_head || !ws->has_length ? 1 : ws->payload;
    size_t given = (size_t)MIN(may, (uint64_t)in->n);
    ws->in = span_first(*in, given);
    ssize_t got = wslay_frame_recv(ws->frames, &frame);
    size_t used = given - ws->in.n;
    assert(used > 0);
    enum err e = in_head ? head_byte(ws, in->p[0]) : ERR_OK;
    *in = span_from(*in, used);
    if (e)
        return e;
    if (got == WSLAY_ERR_PROTO) {
        ws->ambiguous = true;
        return violation(ws, "a length that is not written in the shortest way, or beyond 63 bits");
    }
    if (got == WSLAY_ERR_WANT_READ)
        return ERR_OK;
    if (got < 0)
        return ERR_NOMEM;
    if (!ws->has_length)
        ws->payload = frame.payload_length;
    ws->has_length = true;
    ws->payload -= frame.data_length;
    e = frame_payload(ws, span_of(frame.data, frame.data_length));
    return e || ws->payload > 0 ? e : frame_end(ws);
}

enum err ws_feed(struct ws *ws, struct span in)
{
    enum err e = ERR_OK;
    ws->fed = in.n;
    ws->frame_at = 0;
    while (!e && in.n > 0) {
        if (ws->head_n == 0)
            ws->frame_at = ws->fed - in.n;
        e = frame_step(ws, &in);
    }
    return e;
}

struct span ws_unread(const struct ws *ws, struct span in)
{
    return span_from(in, ws->frame_at);
}

enum err ws_create(struct ws **out, enum ws_side from, const struct ws_extensions *extensions,
                   enum err (*message)(void *ctx, const struct ws_message *message), void *ctx)
{
    static const struct wslay_frame_callbacks callbacks = {.recv_callback = frame_recv};
    *out = NULL;
    if (extensions->unknown)
        return ERR_UNSUPPORTED;
    struct ws *ws = mem_new(1, sizeof *ws);
    if (!ws)
        return ERR_NOMEM;
    ws->from = from;
    ws->message = message;
    ws->ctx = ctx;
    ws->head_need = 2;
    ws->error = "";
    ws->deflate = extensions->deflate;
    enum err e = ERR_OK;
    if (ws->deflate)
        e = ws_deflate_create(&ws->inflater, extensions->no_takeover[from], message_put, ws);
    if (!e && wslay_frame_context_init(&ws->frames, &callbacks, ws) != 0)
        e = ERR_NOMEM;
    if (e)
        ws_destroy(&ws);
    *out = ws;
    return e;
}

const char *ws_error(const struct ws *ws)
{
    return ws->error;
}

bool ws_ambiguous(const struct ws *ws)
{
    return ws->ambiguous;
}

bool ws_in_message(const struct ws *ws)
{
    return ws->open;
}

void ws_destroy(struct ws **ws)
{
    if (!*ws)
        return;
    if ((*ws)->frames)
        wslay_frame_context_free((*ws)->frames);
    ws_deflate_destroy(&(*ws)->inflater);
    buf_free(&(*ws)->piece);
    mem_free(*ws);
    *ws = NULL;
}

/* ---- a server's frames ---- */

static enum err put_head(struct buf *out, unsigned first_byte, uint64_t n)
{
    uint8_t head[WS_HEAD_BYTES] = {(uint8_t)first_byte};
    unsigned width = n <= WS_CONTROL_BYTES ? 0 : n <= UINT16_MAX ? 2 : 8;
    head[1] = (uint8_t)(width == 0 ? n : width == 2 ? WS_LENGTH_16 : WS_LENGTH_64);
    for (unsigned i = 0; i < width; i++)
        head[2 + i] = (uint8_t)(n >> (8 * (width - 1 - i)));
    return buf_put(out, span_of(head, 2 + width));
}

enum err ws_put_head(struct buf *out, enum ws_kind kind, bool first, bool last, uint64_t n)
{
    return put_head(out, (first ? (unsigned)kind : WS_CONTINUATION) | (last ? WS_FIN : 0u), n);
}

enum err ws_put(struct buf *out, enum ws_kind kind, unsigned code, struct span payload)
{
    uint8_t *room;
    bool with_code = kind == WS_CLOSE && code != 0;
    size_t n = kind == WS_CLOSE ? (with_code ? 2 + payload.n : 0) : payload.n;
    assert(!(kind & WS_CONTROL) || n <= WS_CONTROL_BYTES);
    /* All of it or nothing. */
    enum err e = buf_reserve(out, WS_HEAD_BYTES + n, &room);
    if (!e)
        e = ws_put_head(out, kind, true, true, n);
    const uint8_t bytes[2] = {(uint8_t)(code >> 8), (uint8_t)code};
    if (!e && with_code)
        e = buf_put(out, span_of(bytes, sizeof bytes));
    if (!e && n > 0)
        e = buf_put(out, payload);
    return e;
}
