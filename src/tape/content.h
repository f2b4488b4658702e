/* content.h: content as its sender meant it: a body of the tape with its codings undone, in pieces. */
#ifndef RINGTAPE_TAPE_CONTENT_H
#define RINGTAPE_TAPE_CONTENT_H

#include "tape/tape.h"

/* Reads a body through its codings into `sink`; an empty `encoding` passes it as it is on the tape. *coding says how the decoding went: ERR_OK, or
 * ERR_UNSUPPORTED, ERR_PARSE, ERR_LIMIT, ERR_TRUNCATED, which are not failures of this call (part of the content may have gone to the sink).
 * Fails with ERR_NOMEM, ERR_DB, ERR_CORRUPT (the tape), or what the sink returned. */
MUST_USE enum err tape_content(struct tape *tape, const struct tape_body_ref *ref, struct span encoding,
                               enum err (*sink)(void *ctx, struct span bytes), void *ctx, enum err *coding);

#endif
