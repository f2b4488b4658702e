/* h1_chunk.h: the chunked transfer coding (RFC 9112 §7.1) up to its last chunk; the trailers are h1.c's. Zeroed is ready. */
#ifndef RINGTAPE_HTTP_H1_CHUNK_H
#define RINGTAPE_HTTP_H1_CHUNK_H

#include "base/err.h"
#include "base/span.h"

struct h1_chunk {
    int state;
    unsigned digits;        /* of the size */
    size_t extension_bytes; /* of this size line, padding included */
    uint64_t left;          /* of the chunk's data */
};

/* Takes bytes until there is data to hand on (*data, borrowed from in), the last chunk's size line is over (*last) or `in` is. Fails with
 * ERR_AMBIGUOUS or ERR_LIMIT, and *why. */
MUST_USE enum err h1_chunk_take(struct h1_chunk *chunk, struct span in, size_t *took, struct span *data, bool *last,
                                const char **why);

#endif
