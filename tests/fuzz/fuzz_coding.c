/* fuzz_coding.c: content decoders. Input: a byte that picks the codings, a byte that says how the rest is cut, the content. Whatever the
 * cut, what comes out is the same (but where the ratio's limit falls within a piece). */
#include "http/coding.h"

#include <stdlib.h>

static void must(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static enum err collect(void *ctx, struct span bytes)
{
    must(bytes.n > 0 && bytes.n <= 65536);
    return buf_put(ctx, bytes);
}

static enum err run(struct span encoding, struct span in, size_t chunk, struct buf *out)
{
    struct coding *c;
    enum err e = coding_create(&c, encoding, collect, out);
    for (size_t at = 0; !e && at < in.n; at += chunk)
        e = coding_feed(c, span_first(span_from(in, at), chunk));
    if (!e)
        e = coding_end(c);
    coding_destroy(&c);
    return e;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const encodings[] = {"gzip",     "deflate",       "br",       "zstd",
                                            "br, gzip", "deflate, zstd", "identity", "gzip, deflate"};
    if (size < 2)
        return 0;
    struct span encoding = span_str(encodings[data[0] & 7]), in = span_of(data + 2, size - 2);
    struct buf whole = BUF_INIT, cut = BUF_INIT;
    enum err e = run(encoding, in, size, &whole), f = run(encoding, in, (size_t)data[1] % 64 + 1, &cut);
    if (e != ERR_LIMIT && f != ERR_LIMIT) {
        must(e == f);
        must(e != ERR_OK || span_eq(buf_span(&whole), buf_span(&cut)));
    }
    buf_free(&whole);
    buf_free(&cut);
    return 0;
}
