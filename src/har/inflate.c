/* inflate.c: a source within a source. Whether it is gzip is told by its first bytes, not by a name. */
#include "har/import.h"

#include "base/alloc.h"
#include "base/util.h"

#include <zlib.h>

enum { INFLATE_BLOCK = 65536, GZIP_WINDOW = 15 + 16 };

struct har_inflate {
    struct har_source self;
    const struct har_source *source;
    z_stream z;
    bool looked, gzip, ended;
    bool between; /* two members */
    size_t n;     /* of the block: filled, and where the stream's input ends */
    uint8_t block[INFLATE_BLOCK];
};

static enum err more(struct har_inflate *z)
{
    if (z->z.avail_in > 0 || z->ended)
        return ERR_OK;
    enum err e = z->source->read(z->source->ctx, z->block, sizeof z->block, &z->n);
    z->z.next_in = z->block;
    z->z.avail_in = (uInt)(e ? 0 : z->n);
    z->ended = z->z.avail_in == 0;
    return e;
}

/* The first bytes, however few a read gives at a time. */
static enum err look(struct har_inflate *z)
{
    size_t n = 0, got = 1;
    enum err e = ERR_OK;
    while (!e && n < 4 && got > 0) {
        e = z->source->read(z->source->ctx, z->block + n, sizeof z->block - n, &got);
        n += e ? 0 : got;
    }
    if (e)
        return e;
    z->looked = true;
    z->ended = n == 0;
    z->z.next_in = z->block;
    z->z.avail_in = (uInt)n;
    z->gzip = n >= 2 && z->block[0] == 0x1f && z->block[1] == 0x8b;
    if (n >= 4 && memcmp(z->block, "PK\x03\x04", 4) == 0)
        return ERR_UNSUPPORTED;
    return z->gzip && inflateInit2(&z->z, GZIP_WINDOW) != Z_OK ? ERR_NOMEM : ERR_OK;
}

static void pass(struct har_inflate *z, uint8_t *to, size_t n, size_t *got)
{
    *got = MIN(n, (size_t)z->z.avail_in);
    if (*got > 0)
        memcpy(to, z->z.next_in, *got);
    z->z.next_in += *got;
    z->z.avail_in -= (uInt)*got;
}

static enum err inflate_some(struct har_inflate *z, uint8_t *to, size_t n, size_t *got)
{
    z->z.next_out = to;
    z->z.avail_out = (uInt)n;
    while (z->z.avail_out == n) {
        enum err e = more(z);
        if (e)
            return e;
        if (z->ended)
            return z->between ? ERR_OK : ERR_TRUNCATED;
        if (z->between && z->z.next_in[0] == 0) { /* padding, as tar and tapes of the old kind have it */
            z->z.next_in++;
            z->z.avail_in--;
            continue;
        }
        z->between = false;
        int rc = inflate(&z->z, Z_NO_FLUSH);
        if (rc == Z_STREAM_END) {
            z->between = true;
            if (inflateReset2(&z->z, GZIP_WINDOW) != Z_OK)
                return ERR_NOMEM;
        } else if (rc != Z_OK && rc != Z_BUF_ERROR) {
            return rc == Z_MEM_ERROR ? ERR_NOMEM : ERR_PARSE;
        }
        *got = n - z->z.avail_out;
    }
    return ERR_OK;
}

static enum err inflate_read(void *ctx, uint8_t *to, size_t n, size_t *got)
{
    struct har_inflate *z = ctx;
    *got = 0;
    enum err e = z->looked ? ERR_OK : look(z);
    if (e)
        return e;
    if (z->gzip)
        return inflate_some(z, to, MIN(n, (size_t)INFLATE_BLOCK), got);
    e = more(z);
    if (!e)
        pass(z, to, n, got);
    return e;
}

enum err har_inflate_create(struct har_inflate **out, const struct har_source *source)
{
    struct har_inflate *z = mem_new(1, sizeof *z);
    *out = z;
    if (!z)
        return ERR_NOMEM;
    z->self = (struct har_source){inflate_read, z};
    z->source = source;
    return ERR_OK;
}

const struct har_source *har_inflate_source(struct har_inflate *z)
{
    return &z->self;
}

void har_inflate_destroy(struct har_inflate **z)
{
    if (*z && (*z)->gzip)
        (void)inflateEnd(&(*z)->z);
    mem_free(*z);
    *z = NULL;
}
