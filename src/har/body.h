/* body.h: how a body of the tape is written: as text when it is UTF-8, else as base64; with its codings undone or as it came.
 * Deciding needs a look through all of it; what is small is kept from that look, what is large is read again. Internal to har/. */
#ifndef RINGTAPE_HAR_BODY_H
#define RINGTAPE_HAR_BODY_H

#include "har/out.h"

struct body {
    struct tape_body_ref ref;
    struct buf encoding; /* codings to undo; empty: none, or they could not be undone */
    uint64_t size;       /* bytes that will be written */
    enum out_form form;
    enum err coding; /* why the codings could not be undone, or ERR_TRUNCATED: `size` bytes could be; ERR_OK */
    bool decoded;    /* there were codings and they are undone */
    bool damaged;    /* the tape cannot give it: size is 0 */
    bool cut;        /* the tape holds less than was forwarded */
    bool whole;      /* `kept` is all of it */
    struct buf kept;
    struct carry carry;
};

void body_free(struct body *b);

/* Looks through it. `encoding` is a Content-Encoding value, or empty to leave it as it came. Fails with ERR_NOMEM, ERR_DB. */
MUST_USE enum err body_look(struct body *b, struct tape *tape, const struct tape_body_ref *ref, struct span encoding);

/* All of it to `sink`, in pieces. Fails with ERR_NOMEM, ERR_DB, ERR_CORRUPT, or what the sink returned. */
MUST_USE enum err body_pass(struct body *b, struct tape *tape, enum err (*sink)(void *ctx, struct span bytes),
                            void *ctx);

/* As one JSON string, in its form. */
void body_write(struct body *b, struct tape *tape, struct out *o);

/* What a reader must know about it, as a sentence into `out` (cleared first; empty: nothing). Fails with ERR_NOMEM. */
MUST_USE enum err body_comment(const struct body *b, struct span encoding, struct buf *out);

#endif
