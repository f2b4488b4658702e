/* coding.h: content codings (RFC 9110 §8.4.1): gzip, x-gzip, deflate (zlib and raw), br, zstd, identity, and stacks of them.
 * Streaming; hostile input is bounded by LIMIT_DECODE_BYTES and LIMIT_DECODE_RATIO. */
#ifndef RINGTAPE_HTTP_CODING_H
#define RINGTAPE_HTTP_CODING_H

#include "http/head.h"

struct coding;

/* A decoder for a Content-Encoding value ("gzip, br": undone from the last to the first). Decoded bytes go to `sink`, in pieces of at most
 * 64 KB; an error of the sink ends the decoding. Fails with ERR_UNSUPPORTED (unknown coding), ERR_NOMEM. */
MUST_USE enum err coding_create(struct coding **out, struct span content_encoding,
                                enum err (*sink)(void *ctx, struct span bytes), void *ctx);
/* Fails with ERR_PARSE (damaged), ERR_LIMIT, ERR_NOMEM, or what the sink returned. */
MUST_USE enum err coding_feed(struct coding *c, struct span in);
/* Fails with ERR_TRUNCATED when the content ended early, and as coding_feed(). */
MUST_USE enum err coding_end(struct coding *c);
void coding_destroy(struct coding **c);

/* All at once into a buffer; at most `max` bytes (ERR_LIMIT beyond). */
MUST_USE enum err coding_decode(struct span content_encoding, struct span in, size_t max, struct buf *out);

/* The value of all Content-Encoding fields, joined as one list (RFC 9110 §5.3), into `out` (cleared first). Fails with ERR_NOMEM. */
MUST_USE enum err coding_field(const struct headers *h, struct buf *out);

/* Nothing to undo: empty, or "identity" only? */
bool coding_is_identity(struct span content_encoding);

#endif
