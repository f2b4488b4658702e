/* coding.c: content codings undone as a chain of stages, each with one output buffer of its own: what a stage yields is fed to the
 * next one at once, so memory is bounded by the chain's length whatever the content decodes to. Hostile content is stopped by the
 * bytes and by the ratio that any stage reaches; small contents are free of the ratio, because a page of blanks is no attack.
 * Invariant: after an error the coding only repeats it. */
#include "http/coding.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "base/util.h"
#include "http/token.h"

#include <brotli/decode.h>
#include <zlib.h>
#include <zstd.h>
#include <zstd_errors.h>

enum {
    CODING_PIECE = 32768,
    CODING_PASS = 65536,         /* largest piece of what needs no decoding */
    CODING_FEED = 1 << 30,       /* what zlib's counters can hold */
    CODING_FREE_BYTES = 1 << 20, /* decoded bytes that the ratio does not concern */
    CODING_ZSTD_WINDOW_LOG = 23, /* RFC 9659: no window above 8 MB on the web */
    GZIP_WINDOW = 15 + 16,
    ZLIB_WINDOW = 15,
    RAW_WINDOW = -15,
};

enum coding_kind { CODING_GZIP, CODING_DEFLATE, CODING_BR, CODING_ZSTD };

struct stage {
    enum coding_kind kind;
    bool open;        /* the library's state exists */
    bool started;     /* a byte came in */
    bool complete;    /* the content may end here */
    bool over;        /* what follows is no part of it */
    uint8_t probe[2]; /* deflate: its first bytes, until they tell zlib from raw */
    unsigned probed;
    unsigned magic_n; /* zstd: bytes of its first frame's magic number that came */
    bool no_frame, no_skippable;
    uint64_t out_bytes;
    uint8_t *piece;
    union {
        z_stream z;
        BrotliDecoderState *br;
        ZSTD_DStream *zstd;
    };
};

struct coding {
    struct stage stages[LIMIT_CODINGS];
    size_t n;
    uint64_t in_bytes;
    enum err failed;
    enum err (*sink)(void *ctx, struct span bytes);
    void *ctx;
};

/* What one turn of a decoder did. */
struct step {
    struct span in; /* what is left of it */
    size_t made;
    bool more; /* there may be output without further input */
};

static void *coding_alloc(void *opaque, unsigned count, unsigned size)
{
    (void)opaque;
    return mem_new(count, size);
}

static void coding_free(void *opaque, void *block)
{
    (void)opaque;
    mem_free(block);
}

static void *coding_br_alloc(void *opaque, size_t size)
{
    (void)opaque;
    return mem_new(size, 1);
}

/* ---- the three libraries ---- */

static enum err zlib_open(struct stage *s, int window)
{
    s->z = (z_stream){.zalloc = coding_alloc, .zfree = coding_free};
    if (inflateInit2(&s->z, window) != Z_OK)
        return ERR_NOMEM;
    s->open = true;
    return ERR_OK;
}

static enum err zlib_step(struct stage *s, struct step *step)
{
    if (s->complete) {
        /* Another gzip member may follow; anything else after the end is ignored, as browsers do. */
        s->over |= s->kind != CODING_GZIP || (step->in.n > 0 && step->in.p[0] != 0x1f);
        if (s->over || step->in.n == 0) {
            step->in = SPAN_EMPTY;
            return ERR_OK;
        }
        if (inflateReset(&s->z) != Z_OK)
            return ERR_PARSE;
        s->complete = false;
    }
    uInt fed = (uInt)MIN(step->in.n, (size_t)CODING_FEED);
    union {
        const uint8_t *in;
        Bytef *z; /* zlib reads only */
    } next = {.in = step->in.p};
    s->z.next_in = next.z;
    s->z.avail_in = fed;
    s->z.next_out = s->piece;
    s->z.avail_out = CODING_PIECE;
    int result = inflate(&s->z, Z_NO_FLUSH);
    step->in = span_from(step->in, fed - s->z.avail_in);
    step->made = CODING_PIECE - s->z.avail_out;
    step->more = s->z.avail_out == 0 && result == Z_OK;
    s->complete = result == Z_STREAM_END;
    if (result == Z_MEM_ERROR)
        return ERR_NOMEM;
    return result == Z_OK || result == Z_STREAM_END || result == Z_BUF_ERROR ? ERR_OK : ERR_PARSE;
}

static enum err br_step(struct stage *s, struct step *step)
{
    if (s->complete) {
        step->in = SPAN_EMPTY;
        return ERR_OK;
    }
    size_t in_left = step->in.n, out_left = CODING_PIECE;
    const uint8_t *next_in = step->in.p;
    uint8_t *next_out = s->piece;
    BrotliDecoderResult result = BrotliDecoderDecompressStream(s->br, &in_left, &next_in, &out_left, &next_out, NULL);
    step->in = span_from(step->in, step->in.n - in_left);
    step->made = CODING_PIECE - out_left;
    step->more = result == BROTLI_DECODER_RESULT_NEEDS_MORE_OUTPUT;
    s->complete = result == BROTLI_DECODER_RESULT_SUCCESS;
    if (result != BROTLI_DECODER_RESULT_ERROR)
        return ERR_OK;
    BrotliDecoderErrorCode code = BrotliDecoderGetErrorCode(s->br);
    bool memory =
        code <= BROTLI_DECODER_ERROR_ALLOC_CONTEXT_MODES && code >= BROTLI_DECODER_ERROR_ALLOC_BLOCK_TYPE_TREES;
    return memory ? ERR_NOMEM : ERR_PARSE;
}

/* A frame, or one to be passed over (RFC 8878, section 3.1)? The library would read formats older than the RFC as well, and those not alike in one piece and
 * in several. */
static bool zstd_begins_well(struct stage *s, struct span in)
{
    static const uint8_t frame[] = {0x28, 0xb5, 0x2f, 0xfd}, skippable[] = {0x50, 0x2a, 0x4d, 0x18};
    for (size_t i = 0; i < in.n && s->magic_n < sizeof frame; i++, s->magic_n++) {
        uint8_t c = s->magic_n ? in.p[i] : (in.p[i] & 0xf0) == 0x50 ? 0x50 : in.p[i];
        s->no_frame |= c != frame[s->magic_n];
        s->no_skippable |= c != skippable[s->magic_n];
    }
    return !s->no_frame || !s->no_skippable;
}

static enum err zstd_step(struct stage *s, struct step *step)
{
    if (!zstd_begins_well(s, step->in))
        return ERR_PARSE;
    ZSTD_inBuffer in = {step->in.p, step->in.n, 0};
    ZSTD_outBuffer out = {s->piece, CODING_PIECE, 0};
    size_t result = ZSTD_decompressStream(s->zstd, &out, &in);
    step->in = span_from(step->in, in.pos);
    step->made = out.pos;
    step->more = out.pos == out.size;
    s->complete = result == 0;
    if (!ZSTD_isError(result))
        return ERR_OK;
    switch (ZSTD_getErrorCode(result)) {
    case ZSTD_error_memory_allocation:
        return ERR_NOMEM;
    case ZSTD_error_frameParameter_windowTooLarge:
        return ERR_LIMIT;
    default:
        return ERR_PARSE;
    }
}

static enum err stage_open(struct stage *s)
{
    switch (s->kind) {
    case CODING_GZIP:
        return zlib_open(s, GZIP_WINDOW);
    case CODING_DEFLATE:
        return ERR_OK; /* after the probe */
    case CODING_BR:
        s->br = BrotliDecoderCreateInstance(coding_br_alloc, coding_free, NULL);
        s->open = s->br != NULL;
        break;
    case CODING_ZSTD:
        s->zstd = ZSTD_createDStream();
        s->open = s->zstd != NULL;
        if (s->open && ZSTD_isError(ZSTD_DCtx_setParameter(s->zstd, ZSTD_d_windowLogMax, CODING_ZSTD_WINDOW_LOG)))
            return ERR_UNSUPPORTED;
        break;
    }
    return s->open ? ERR_OK : ERR_NOMEM;
}

static void stage_close(struct stage *s)
{
    mem_free(s->piece);
    s->piece = NULL;
    if (!s->open)
        return;
    s->open = false;
    if (s->kind == CODING_BR)
        BrotliDecoderDestroyInstance(s->br);
    else if (s->kind == CODING_ZSTD)
        (void)ZSTD_freeDStream(s->zstd);
    else
        (void)inflateEnd(&s->z);
}

/* ---- the chain ---- */

static enum err stage_feed(struct coding *c, size_t i, struct span in);

static enum err stage_account(struct coding *c, struct stage *s, size_t made)
{
    s->out_bytes += made;
    if (s->out_bytes > LIMIT_DECODE_BYTES ||
        (s->out_bytes > CODING_FREE_BYTES && s->out_bytes / LIMIT_DECODE_RATIO > c->in_bytes))
        return ERR_LIMIT;
    return ERR_OK;
}

static enum err stage_run(struct coding *c, size_t i, struct span in)
{
    struct stage *s = &c->stages[i];
    struct step step = {.in = in, .more = false};
    while (step.in.n > 0 || step.more) {
        size_t before = step.in.n;
        step.made = 0;
        step.more = false;
        enum err e = s->kind == CODING_BR     ? br_step(s, &step)
                     : s->kind == CODING_ZSTD ? zstd_step(s, &step)
                                              : zlib_step(s, &step);
        if (i == 0)
            c->in_bytes += before - step.in.n;
        /* What came out before the damage is good, and is wanted. */
        if (step.made > 0) {
            enum err over = stage_account(c, s, step.made);
            if (over)
                return over;
            over = stage_feed(c, i + 1, span_of(s->piece, step.made));
            if (over)
                return over;
        }
        if (e)
            return e;
    }
    return ERR_OK;
}

/* "deflate" means the zlib format (RFC 9110 §8.4.1.2), but some servers send raw deflate data; the header's check bits tell. */
static enum err deflate_probe(struct coding *c, size_t i, struct span *in)
{
    struct stage *s = &c->stages[i];
    while (s->probed < 2 && in->n > 0) {
        s->probe[s->probed++] = in->p[0];
        *in = span_from(*in, 1);
    }
    if (s->probed < 2)
        return ERR_OK;
    bool zlib = (s->probe[0] & 0x0f) == 8 && s->probe[0] >> 4 <= 7 && (s->probe[0] * 256 + s->probe[1]) % 31 == 0;
    enum err e = zlib_open(s, zlib ? ZLIB_WINDOW : RAW_WINDOW);
    return e ? e : stage_run(c, i, span_of(s->probe, 2));
}

static enum err stage_feed(struct coding *c, size_t i, struct span in)
{
    if (i == c->n) {
        enum err e = ERR_OK;
        while (!e && in.n > 0) {
            e = c->sink(c->ctx, span_first(in, CODING_PASS));
            in = span_from(in, CODING_PASS);
        }
        return e;
    }
    struct stage *s = &c->stages[i];
    s->started |= in.n > 0;
    if (s->kind == CODING_DEFLATE && !s->open) {
        enum err e = deflate_probe(c, i, &in);
        if (e || !s->open)
            return e;
    }
    return stage_run(c, i, in);
}

enum err coding_feed(struct coding *c, struct span in)
{
    if (!c->failed)
        c->failed = stage_feed(c, 0, in);
    return c->failed;
}

enum err coding_end(struct coding *c)
{
    for (size_t i = 0; i < c->n && !c->failed; i++)
        if (c->stages[i].started && !c->stages[i].complete)
            c->failed = ERR_TRUNCATED;
    return c->failed;
}

/* ---- making ---- */

static bool coding_kind_of(struct span name, enum coding_kind *kind)
{
    static const struct {
        const char *name;
        enum coding_kind kind;
    } kinds[] = {
        {"gzip", CODING_GZIP}, {"x-gzip", CODING_GZIP}, {"deflate", CODING_DEFLATE},
        {"br", CODING_BR},     {"zstd", CODING_ZSTD},
    };
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        if (span_eq_nocase(name, span_str(kinds[i].name))) {
            *kind = kinds[i].kind;
            return true;
        }
    }
    return false;
}

bool coding_is_identity(struct span content_encoding)
{
    struct span name;
    while (token_list_next(&content_encoding, &name))
        if (!span_eq_nocase(name, SPAN("identity")))
            return false;
    return true;
}

static enum err coding_build(struct coding *c, struct span content_encoding)
{
    struct span name;
    enum coding_kind kinds[LIMIT_CODINGS];
    size_t n = 0;
    while (token_list_next(&content_encoding, &name)) {
        if (span_eq_nocase(name, SPAN("identity")))
            continue;
        if (n == LIMIT_CODINGS || !coding_kind_of(name, &kinds[n]))
            return ERR_UNSUPPORTED;
        n++;
    }
    for (; c->n < n; c->n++) {
        struct stage *s = &c->stages[c->n];
        s->kind = kinds[n - 1 - c->n]; /* applied first to last, so undone last to first */
        s->piece = mem_new(CODING_PIECE, 1);
        enum err e = s->piece ? stage_open(s) : ERR_NOMEM;
        if (e) {
            stage_close(s);
            return e;
        }
    }
    return ERR_OK;
}

enum err coding_create(struct coding **out, struct span content_encoding,
                       enum err (*sink)(void *ctx, struct span bytes), void *ctx)
{
    struct coding *c = *out = mem_new(1, sizeof *c);
    if (!c)
        return ERR_NOMEM;
    c->sink = sink;
    c->ctx = ctx;
    enum err e = coding_build(c, content_encoding);
    if (e)
        coding_destroy(out);
    return e;
}

void coding_destroy(struct coding **c)
{
    if (!*c)
        return;
    for (size_t i = 0; i < (*c)->n; i++)
        stage_close(&(*c)->stages[i]);
    mem_free(*c);
    *c = NULL;
}

struct bounded {
    struct buf *out;
    size_t left;
};

static enum err bounded_put(void *ctx, struct span bytes)
{
    struct bounded *b = ctx;
    if (bytes.n > b->left)
        return ERR_LIMIT;
    b->left -= bytes.n;
    return buf_put(b->out, bytes);
}

enum err coding_decode(struct span content_encoding, struct span in, size_t max, struct buf *out)
{
    struct bounded b = {out, max};
    struct coding *c;
    enum err e = coding_create(&c, content_encoding, bounded_put, &b);
    if (!e)
        e = coding_feed(c, in);
    if (!e)
        e = coding_end(c);
    coding_destroy(&c);
    return e;
}

enum err coding_field(const struct headers *h, struct buf *out)
{
    buf_clear(out);
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < h->n; i++) {
        struct header field = headers_at(h, i);
        if (!span_eq_nocase(field.name, SPAN("Content-Encoding")))
            continue;
        if (out->n > 0)
            e = buf_put_str(out, ", ");
        if (!e)
            e = buf_put(out, span_trim(field.value));
    }
    return e;
}
