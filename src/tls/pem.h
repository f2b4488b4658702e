/* pem.h: textual encoding of keys and certificates (RFC 7468). */
#ifndef RINGTAPE_TLS_PEM_H
#define RINGTAPE_TLS_PEM_H

#include "base/buf.h"

/* Appends one block, 64 characters a line. Fails with ERR_NOMEM. */
MUST_USE enum err pem_put(struct buf *out, const char *label, struct span der);

/* Takes the next block off *in: *label is what stands after BEGIN (borrowed from *in) and `der` (cleared first) gets the content.
 * ERR_NOT_FOUND: no further block. ERR_PARSE: a damaged one, which has been passed over. Fails with ERR_NOMEM. */
MUST_USE enum err pem_next(struct span *in, struct span *label, struct buf *der);

#endif
