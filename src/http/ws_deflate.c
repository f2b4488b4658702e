/* ws_deflate.c: raw inflate over zlib, with the rules of RFC 7692 around it: each message ends with the four bytes that the sender left out; the
 * window outlives the message unless no_context_takeover was negotiated; a block with BFINAL (§7.2.3.4) ends a stream of zlib's, but neither the
 * message nor the window.
 * Invariant: `fresh` holds while nothing of a block was read since the stream began, so that there is nothing to complete. */
#include "http/ws_deflate.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "base/util.h"

#include <zlib.h>

enum {
    DEFLATE_PIECE = 16384,
    DEFLATE_FEED = 1 << 30, /* what zlib's counters can hold */
    /* Whatever was negotiated: zlib holds a smaller window against what came in earlier calls only, so that what is read would hang on how the
     * bytes came; and one of 8 is more than its own deflate keeps to. */
    DEFLATE_WINDOW_BITS = 15,
    DEFLATE_AT_BLOCK = 128, /* data_type: a block has just ended */
    DEFLATE_UNUSED_BITS = 7,
};

struct ws_deflate {
    z_stream z;
    bool open, no_takeover, fresh;
    uint64_t in_bytes, out_bytes; /* of this message */
    uint8_t *piece;
    enum err (*sink)(void *ctx, struct span bytes);
    void *ctx;
};

static void *deflate_alloc(void *opaque, unsigned count, unsigned size)
{
    (void)opaque;
    return mem_new(count, size);
}

static void deflate_free(void *opaque, void *block)
{
    (void)opaque;
    mem_free(block);
}

static enum err deflate_open(struct ws_deflate *d)
{
    d->z = (z_stream){.zalloc = deflate_alloc, .zfree = deflate_free};
    if (inflateInit2(&d->z, -DEFLATE_WINDOW_BITS) != Z_OK)
        return ERR_NOMEM;
    d->open = d->fresh = true;
    return ERR_OK;
}

/* A block with BFINAL has ended: another stream begins, which may still refer to what the first one said. */
static enum err deflate_go_on(struct ws_deflate *d)
{
    Bytef *window = mem_new(1, 32768);
    uInt n = 0;
    if (!window)
        return ERR_NOMEM;
    bool good = inflateGetDictionary(&d->z, window, &n) == Z_OK && inflateReset(&d->z) == Z_OK;
    int set = good ? inflateSetDictionary(&d->z, window, n) : Z_STREAM_ERROR;
    mem_free(window);
    d->fresh = true;
    return set == Z_OK ? ERR_OK : set == Z_MEM_ERROR ? ERR_NOMEM : ERR_PARSE;
}

static enum err deflate_out(struct ws_deflate *d, size_t made)
{
    d->out_bytes += made;
    if (d->out_bytes > LIMIT_DECODE_BYTES && d->out_bytes / LIMIT_WS_RATIO > d->in_bytes)
        return ERR_LIMIT;
    return made > 0 ? d->sink(d->ctx, span_of(d->piece, made)) : ERR_OK;
}

static enum err deflate_run(struct ws_deflate *d, struct span in)
{
    bool more = false;
    while (in.n > 0 || more) {
        uInt fed = (uInt)MIN(in.n, (size_t)DEFLATE_FEED);
        union {
            const uint8_t *in;
            Bytef *z; /* zlib reads only */
        } next = {.in = in.p};
        d->z.next_in = next.z;
        d->z.avail_in = fed;
        d->z.next_out = d->piece;
        d->z.avail_out = DEFLATE_PIECE;
        int result = inflate(&d->z, Z_SYNC_FLUSH);
        size_t used = fed - d->z.avail_in;
        d->in_bytes += used;
        d->fresh &= used == 0;
        in = span_from(in, used);
        more = d->z.avail_out == 0;
        /* What came out before the damage is good, and is wanted. */
        enum err e = deflate_out(d, DEFLATE_PIECE - d->z.avail_out);
        if (e)
            return e;
        if (result == Z_STREAM_END) {
            e = deflate_go_on(d);
            more = false;
        } else if (result == Z_MEM_ERROR) {
            e = ERR_NOMEM;
        } else if (result != Z_OK && result != Z_BUF_ERROR) {
            e = ERR_PARSE;
        }
        if (e)
            return e;
    }
    return ERR_OK;
}

/* The room for output is there only while it is needed: most connections are silent most of the time. */
static enum err deflate_with_room(struct ws_deflate *d, struct span in)
{
    enum err e = d->open ? ERR_OK : deflate_open(d);
    if (e)
        return e;
    d->piece = mem_new(DEFLATE_PIECE, 1);
    if (!d->piece)
        return ERR_NOMEM;
    e = deflate_run(d, in);
    mem_free(d->piece);
    d->piece = NULL;
    return e;
}

enum err ws_deflate_feed(struct ws_deflate *d, struct span in)
{
    return in.n > 0 ? deflate_with_room(d, in) : ERR_OK;
}

enum err ws_deflate_end(struct ws_deflate *d)
{
    enum err e = ERR_OK;
    /* A message without a byte, and one that ends with BFINAL and no empty block behind it, have nothing to complete. */
    if (d->open && !d->fresh) {
        e = deflate_with_room(d, SPAN("\x00\x00\xff\xff"));
        int at = d->z.data_type;
        if (!e && (!(at & DEFLATE_AT_BLOCK) || (at & DEFLATE_UNUSED_BITS)))
            e = ERR_TRUNCATED;
        d->fresh = true; /* at a block's boundary, which is as good */
    }
    if (!e && d->open && d->no_takeover && inflateReset(&d->z) != Z_OK)
        e = ERR_PARSE;
    d->in_bytes = d->out_bytes = 0;
    return e;
}

enum err ws_deflate_create(struct ws_deflate **out, bool no_takeover, enum err (*sink)(void *ctx, struct span bytes),
                           void *ctx)
{
    struct ws_deflate *d = *out = mem_new(1, sizeof *d);
    if (!d)
        return ERR_NOMEM;
    d->no_takeover = no_takeover;
    d->sink = sink;
    d->ctx = ctx;
    return ERR_OK;
}

void ws_deflate_destroy(struct ws_deflate **d)
{
    if (!*d)
        return;
    if ((*d)->open)
        (void)inflateEnd(&(*d)->z);
    mem_free((*d)->piece);
    mem_free(*d);
    *d = NULL;
}
