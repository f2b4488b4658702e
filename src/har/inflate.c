/* inflate.c: a source within a source: gzip (RFC 1952), or the first HAR of a zip file, told by the first bytes and not by a name. A zip file is
 * read as it comes, from local header to local header, so that a pipe will do; its directory at the end is not asked. */
#include "har/import.h"

#include "base/alloc.h"
#include "base/util.h"

#include <zlib.h>

enum {
    INFLATE_BLOCK = 65536,
    GZIP_WINDOW = 15 + 16,
    RAW_WINDOW = -15,
    ZIP_HEADER = 30,
    ZIP_DESCRIPTOR_MAX = 24,
    ZIP_ENCRYPTED = 1,
    ZIP_SIZES_FOLLOW = 8,
    ZIP_STORED = 0,
    ZIP_DEFLATED = 8,
};

struct har_inflate {
    struct har_source self;
    const struct har_source *source;
    z_stream z;
    enum { FORM_UNKNOWN, FORM_PLAIN, FORM_GZIP, FORM_ZIP, FORM_ZIP_STORED, FORM_DONE } form;
    bool begun;    /* z is to be ended */
    bool ended;    /* the source */
    bool between;  /* two members of gzip */
    uint64_t left; /* of what is stored */
    bool checked;  /* the header says the sum */
    uint32_t wanted, sum;
    size_t n; /* of the block */
    uint8_t block[INFLATE_BLOCK];
};

static enum err more(struct har_inflate *z)
{
    if (z->z.avail_in > 0 || z->ended)
        return ERR_OK;
    enum err e = z->source->read(z->source->ctx, z->block, sizeof z->block, &z->n);
    z->z.next_in = z->block;
    z->z.avail_in = (uInt)(e ? 0 : z->n);
    z->ended = !e && z->n == 0;
    return e;
}

/* What is there of the source's bytes, at most n. */
static void pass(struct har_inflate *z, uint8_t *to, size_t n, size_t *got)
{
    *got = MIN(n, (size_t)z->z.avail_in);
    if (*got > 0)
        memcpy(to, z->z.next_in, *got);
    z->z.next_in += *got;
    z->z.avail_in -= (uInt)*got;
}

/* Exactly n; ERR_TRUNCATED when there are fewer. `to` NULL: passed over. */
static enum err take(struct har_inflate *z, uint8_t *to, size_t n)
{
    uint8_t waste[256];
    while (n > 0) {
        size_t got;
        enum err e = more(z);
        if (e || z->ended)
            return e ? e : ERR_TRUNCATED;
        pass(z, to ? to : waste, to ? n : MIN(n, sizeof waste), &got);
        n -= got;
        to = to ? to + got : NULL;
    }
    return ERR_OK;
}

static enum err begin(struct har_inflate *z, int window)
{
    int rc = z->begun ? inflateReset2(&z->z, window) : inflateInit2(&z->z, window);
    z->begun = z->begun || rc == Z_OK;
    return rc == Z_OK ? ERR_OK : ERR_NOMEM;
}

/* Some of the deflated bytes, until some came out or the stream ended. */
static enum err inflate_some(struct har_inflate *z, uint8_t *to, size_t n, size_t *got, bool *end)
{
    z->z.next_out = to;
    z->z.avail_out = (uInt)n;
    *got = 0;
    *end = false;
    while (*got == 0 && !*end) {
        enum err e = more(z);
        if (e || z->ended)
            return e ? e : ERR_TRUNCATED;
        int rc = inflate(&z->z, Z_NO_FLUSH);
        if (rc != Z_STREAM_END && rc != Z_OK && rc != Z_BUF_ERROR)
            return rc == Z_MEM_ERROR ? ERR_NOMEM : ERR_PARSE;
        *end = rc == Z_STREAM_END;
        *got = n - z->z.avail_out;
    }
    return ERR_OK;
}

static enum err read_gzip(struct har_inflate *z, uint8_t *to, size_t n, size_t *got)
{
    enum err e = ERR_OK;
    *got = 0;
    while (!e && *got == 0) {
        bool end;
        e = more(z);
        if (!e && z->between && z->ended)
            return ERR_OK;
        if (!e && z->between && z->z.next_in[0] == 0) { /* padding to the end of a block */
            e = take(z, NULL, 1);
            continue;
        }
        z->between = false;
        if (!e)
            e = inflate_some(z, to, n, got, &end);
        if (!e && end) {
            z->between = true;
            e = begin(z, GZIP_WINDOW);
        }
    }
    return e;
}

/* --- zip --------------------------------------------------------------------------------------------------------- */

static uint32_t little(const uint8_t *at, size_t n)
{
    uint32_t v = 0;
    while (n-- > 0)
        v = v << 8 | at[n];
    return v;
}

/* The whole of a deflated member, to nowhere. */
static enum err pass_deflated(struct har_inflate *z)
{
    uint8_t waste[4096];
    bool end = false;
    enum err e = begin(z, RAW_WINDOW);
    while (!e && !end) {
        size_t got;
        e = inflate_some(z, waste, sizeof waste, &got, &end);
    }
    return e;
}

/* After a member whose sizes follow it: up to the next signature, which goes to the front of `header`. */
static enum err pass_descriptor(struct har_inflate *z, uint8_t *header)
{
    enum err e = take(z, header, 4);
    for (int i = 0; !e && i <= ZIP_DESCRIPTOR_MAX; i++) {
        if (memcmp(header, "PK\x03\x04", 4) == 0 || memcmp(header, "PK\x01\x02", 4) == 0)
            return ERR_OK;
        memmove(header, header + 1, 3);
        e = take(z, header + 3, 1);
    }
    return e ? e : ERR_PARSE;
}

struct zip_member {
    unsigned flags, method;
    uint32_t size;
    bool har;
};

/* The rest of a local header, of which `header` holds the signature. */
static enum err read_member(struct har_inflate *z, uint8_t *header, struct zip_member *m)
{
    uint8_t name[1024];
    enum err e = take(z, header + 4, ZIP_HEADER - 4);
    if (e)
        return e;
    size_t name_n = little(header + 26, 2), extra_n = little(header + 28, 2);
    *m = (struct zip_member){little(header + 6, 2), little(header + 8, 2), little(header + 18, 4), false};
    z->checked = !(m->flags & ZIP_SIZES_FOLLOW);
    z->wanted = little(header + 14, 4);
    bool known = name_n <= sizeof name;
    e = take(z, known ? name : NULL, name_n);
    m->har = known && name_n > 4 && span_eq_nocase(span_of(name + name_n - 4, 4), SPAN(".har"));
    return e ? e : take(z, NULL, extra_n);
}

/* Can it be read without asking the directory how long it is? */
static bool is_readable(const struct zip_member *m)
{
    return !(m->flags & ZIP_ENCRYPTED) &&
           (m->method == ZIP_DEFLATED ||
            (m->method == ZIP_STORED && !(m->flags & ZIP_SIZES_FOLLOW) && m->size != UINT32_MAX));
}

/* Up to the first HAR. `header` holds the first signature. */
static enum err find_har(struct har_inflate *z)
{
    uint8_t header[ZIP_HEADER];
    enum err e = take(z, header, 4);
    while (!e) {
        struct zip_member m;
        if (memcmp(header, "PK\x03\x04", 4) != 0)
            return ERR_UNSUPPORTED; /* the directory: there is no HAR */
        e = read_member(z, header, &m);
        if (e)
            break;
        if (!is_readable(&m))
            return ERR_UNSUPPORTED;
        if (m.har) {
            z->form = m.method == ZIP_STORED ? FORM_ZIP_STORED : FORM_ZIP;
            z->left = m.size;
            return m.method == ZIP_STORED ? ERR_OK : begin(z, RAW_WINDOW);
        }
        e = m.method == ZIP_STORED ? take(z, NULL, m.size) : pass_deflated(z);
        if (!e)
            e = m.flags & ZIP_SIZES_FOLLOW ? pass_descriptor(z, header) : take(z, header, 4);
    }
    return e;
}

static enum err zip_end(struct har_inflate *z)
{
    z->form = FORM_DONE;
    return z->checked && z->sum != z->wanted ? ERR_PARSE : ERR_OK;
}

static enum err read_zip(struct har_inflate *z, uint8_t *to, size_t n, size_t *got)
{
    bool end = false;
    enum err e = ERR_OK;
    if (z->form == FORM_ZIP) {
        e = inflate_some(z, to, n, got, &end);
    } else {
        e = z->left > 0 ? more(z) : ERR_OK;
        if (!e && z->left > 0 && z->ended)
            e = ERR_TRUNCATED;
        if (!e)
            pass(z, to, (size_t)MIN((uint64_t)n, z->left), got);
        z->left -= e ? 0 : *got;
        end = z->left == 0;
    }
    if (!e)
        z->sum = (uint32_t)crc32(z->sum, to, (uInt)*got);
    return !e && end ? zip_end(z) : e;
}

/* --- the source -------------------------------------------------------------------------------------------------- */

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
    z->z.next_in = z->block;
    z->z.avail_in = (uInt)n;
    z->form = FORM_PLAIN;
    if (n >= 4 && memcmp(z->block, "PK\x03\x04", 4) == 0)
        return find_har(z);
    if (n < 2 || z->block[0] != 0x1f || z->block[1] != 0x8b)
        return ERR_OK;
    z->form = FORM_GZIP;
    return begin(z, GZIP_WINDOW);
}

static enum err inflate_read(void *ctx, uint8_t *to, size_t n, size_t *got)
{
    struct har_inflate *z = ctx;
    *got = 0;
    enum err e = z->form == FORM_UNKNOWN ? look(z) : ERR_OK;
    n = MIN(n, (size_t)INFLATE_BLOCK);
    if (e || z->form == FORM_DONE)
        return e;
    if (z->form == FORM_GZIP)
        return read_gzip(z, to, n, got);
    if (z->form != FORM_PLAIN)
        return read_zip(z, to, n, got);
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
    if (*z && (*z)->begun)
        (void)inflateEnd(&(*z)->z);
    mem_free(*z);
    *z = NULL;
}
