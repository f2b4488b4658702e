/* grpc.c: length-prefixed messages, taken apart as they come: base64 undone (gRPC-Web text), the prefix read, the payload decoded if its flag says so,
 * and cut into pieces. A decoder lives as long as its message, since each message is compressed on its own.
 *
 *   PREFIX ──5 bytes──> PAYLOAD ──its length──> PREFIX */
#include "http/grpc.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "base/text.h"
#include "base/util.h"
#include "http/coding.h"
#include "http/mime.h"

enum {
    PREFIX_BYTES = 5,
    FLAG_COMPRESSED = 0x01,
    FLAG_TRAILERS = 0x80, /* gRPC-Web */
    TEXT_PIECE_BYTES = 768,
};

enum dialect { DIALECT_GRPC, DIALECT_WEB, DIALECT_WEB_TEXT };

struct grpc {
    enum err (*message)(void *ctx, const struct grpc_message *message);
    void *ctx;
    enum dialect dialect;
    struct buf encoding; /* grpc-encoding; empty: none, or none that is known */

    uint8_t prefix[PREFIX_BYTES];
    unsigned prefix_n;
    uint64_t left; /* of the payload, when the prefix is whole */
    struct coding *coding;
    struct grpc_message now; /* the message under way: its flags, and its bytes on the wire */
    struct buf piece;

    /* Base64: the bits that make no byte yet, the characters of the quantum, and whether its second '=' is due. */
    uint32_t bits;
    unsigned bits_n, quantum;
    bool pad_due;
};

/* The part of a type behind "application/grpc" says which; its own suffix ("+proto") and parameters do not matter here. */
static bool dialect_of(struct span content_type, enum dialect *dialect)
{
    static const struct {
        const char *type;
        enum dialect dialect;
    } types[] = {
        {"application/grpc", DIALECT_GRPC},
        {"application/grpc-web", DIALECT_WEB},
        {"application/grpc-web-text", DIALECT_WEB_TEXT},
    };
    struct span type = mime_essence(content_type);
    type = span_first(type, span_find(type, '+'));
    for (size_t i = 0; i < ARRAY_LEN(types); i++) {
        if (span_eq_nocase(type, span_str(types[i].type))) {
            *dialect = types[i].dialect;
            return true;
        }
    }
    return false;
}

bool grpc_is(struct span content_type)
{
    enum dialect dialect;
    return dialect_of(content_type, &dialect);
}

/* ---- pieces ---- */

static enum err tell(struct grpc *g, bool last)
{
    struct grpc_message message = g->now;
    message.last = last;
    message.data = buf_span(&g->piece);
    enum err e = g->message(g->ctx, &message);
    g->now.wire_bytes = 0;
    buf_clear(&g->piece);
    return e;
}

/* A full piece is told when more comes, so that the last one is never told without need. */
static enum err piece_put(void *ctx, struct span in)
{
    struct grpc *g = ctx;
    enum err e = ERR_OK;
    while (!e && in.n > 0) {
        if (g->piece.n == LIMIT_MESSAGE_BYTES)
            e = tell(g, false);
        struct span some = span_first(in, LIMIT_MESSAGE_BYTES - g->piece.n);
        if (!e)
            e = buf_put(&g->piece, some);
        in = span_from(in, some.n);
    }
    return e;
}

/* ---- messages ---- */

static enum err message_begin(struct grpc *g)
{
    uint8_t flags = g->prefix[0], known = FLAG_COMPRESSED | (g->dialect == DIALECT_GRPC ? 0 : FLAG_TRAILERS);
    if (flags & ~known)
        return ERR_PARSE;
    g->left = (uint64_t)g->prefix[1] << 24 | (uint64_t)g->prefix[2] << 16 | (uint64_t)g->prefix[3] << 8 | g->prefix[4];
    bool compressed = flags & FLAG_COMPRESSED;
    g->now = (struct grpc_message){
        .compressed = compressed,
        .raw = compressed && g->encoding.n == 0,
        .trailers = flags & FLAG_TRAILERS,
        .wire_bytes = PREFIX_BYTES,
    };
    if (!compressed || g->now.raw)
        return ERR_OK;
    return coding_create(&g->coding, buf_span(&g->encoding), piece_put, g);
}

static enum err message_end(struct grpc *g)
{
    enum err e = ERR_OK;
    if (g->coding) {
        e = coding_end(g->coding);
        coding_destroy(&g->coding);
        e = e == ERR_TRUNCATED ? ERR_PARSE : e; /* the content's end is there, but not the coding's */
    }
    g->prefix_n = 0;
    return e ? e : tell(g, true);
}

static enum err payload_put(struct grpc *g, struct span *in)
{
    struct span some = span_first(*in, (size_t)MIN(g->left, (uint64_t)in->n));
    enum err e = ERR_OK;
    if (g->coding) {
        g->now.wire_bytes += some.n;
        e = coding_feed(g->coding, some);
    } else {
        /* A piece at a time, so that its bytes on the wire are counted with it. */
        if (g->piece.n == LIMIT_MESSAGE_BYTES)
            e = tell(g, false);
        some = span_first(some, LIMIT_MESSAGE_BYTES - g->piece.n);
        g->now.wire_bytes += some.n;
        if (!e)
            e = piece_put(g, some);
    }
    g->left -= some.n;
    *in = span_from(*in, some.n);
    return e;
}

static enum err binary_feed(struct grpc *g, struct span in)
{
    enum err e = ERR_OK;
    while (!e && in.n > 0) {
        if (g->prefix_n < PREFIX_BYTES) {
            g->prefix[g->prefix_n++] = in.p[0];
            in = span_from(in, 1);
            if (g->prefix_n < PREFIX_BYTES)
                continue;
            e = message_begin(g);
        } else {
            e = payload_put(g, &in);
        }
        if (!e && g->left == 0)
            e = message_end(g);
    }
    return e;
}

/* ---- gRPC-Web text ---- */

/* One character; *out gets a byte when it makes one whole. Padding ends a segment, and another may begin: servers encode each write on its own. */
static enum err base64_next(struct grpc *g, uint8_t c, uint8_t *out, bool *made)
{
    int value = text_base64_value(c);
    *made = false;
    if (c == '=') {
        if (g->quantum < 2)
            return ERR_PARSE;
        g->pad_due = !g->pad_due && g->quantum == 2;
        if (!g->pad_due)
            g->quantum = g->bits_n = 0;
        return ERR_OK;
    }
    if (value < 0 || g->pad_due)
        return ERR_PARSE;
    g->bits = (g->bits << 6 | (uint32_t)value) & 0xffff;
    g->bits_n += 6;
    g->quantum = (g->quantum + 1) % 4;
    if (g->bits_n >= 8) {
        g->bits_n -= 8;
        *out = (uint8_t)(g->bits >> g->bits_n);
        *made = true;
    }
    return ERR_OK;
}

static enum err text_feed(struct grpc *g, struct span in)
{
    uint8_t bytes[TEXT_PIECE_BYTES];
    size_t n = 0;
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < in.n; i++) {
        bool made;
        if (in.p[i] == '\r' || in.p[i] == '\n') /* MIME's line breaks: decoders let them pass */
            continue;
        e = base64_next(g, in.p[i], &bytes[n], &made);
        if (!e && made && ++n == sizeof bytes) {
            e = binary_feed(g, span_of(bytes, n));
            n = 0;
        }
    }
    /* What is good before the damage is good. */
    enum err f = n > 0 ? binary_feed(g, span_of(bytes, n)) : ERR_OK;
    return f ? f : e;
}

enum err grpc_feed(struct grpc *g, struct span in)
{
    return g->dialect == DIALECT_WEB_TEXT ? text_feed(g, in) : binary_feed(g, in);
}

/* ---- making ---- */

static enum err encoding_take(struct grpc *g, const struct headers *fields)
{
    struct span encoding;
    struct coding *trial = NULL;
    if (!headers_find(fields, SPAN("grpc-encoding"), &encoding) || coding_is_identity(encoding))
        return ERR_OK;
    enum err e = coding_create(&trial, encoding, piece_put, g);
    coding_destroy(&trial);
    if (e)
        return e == ERR_UNSUPPORTED ? ERR_OK : e;
    return buf_put(&g->encoding, encoding);
}

enum err grpc_create(struct grpc **out, const struct headers *fields,
                     enum err (*message)(void *ctx, const struct grpc_message *message), void *ctx)
{
    struct span type;
    enum dialect dialect;
    *out = NULL;
    if (!headers_find(fields, SPAN("content-type"), &type) || !dialect_of(type, &dialect))
        return ERR_UNSUPPORTED;
    struct grpc *g = *out = mem_new(1, sizeof *g);
    if (!g)
        return ERR_NOMEM;
    g->message = message;
    g->ctx = ctx;
    g->dialect = dialect;
    enum err e = encoding_take(g, fields);
    if (e)
        grpc_destroy(out);
    return e;
}

void grpc_destroy(struct grpc **g)
{
    if (!*g)
        return;
    coding_destroy(&(*g)->coding);
    buf_free(&(*g)->encoding);
    buf_free(&(*g)->piece);
    mem_free(*g);
    *g = NULL;
}

const char *grpc_status_word(struct span status)
{
    static const char *const words[] = {
        "OK",        "CANCELLED",       "UNKNOWN",           "INVALID_ARGUMENT",   "DEADLINE_EXCEEDED",
        "NOT_FOUND", "ALREADY_EXISTS",  "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
        "ABORTED",   "OUT_OF_RANGE",    "UNIMPLEMENTED",     "INTERNAL",           "UNAVAILABLE",
        "DATA_LOSS", "UNAUTHENTICATED",
    };
    uint64_t code;
    return span_to_u64(status, ARRAY_LEN(words) - 1, &code) ? words[code] : NULL;
}
