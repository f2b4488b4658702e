/* content.h: what a request body amounts to when two are compared: JSON as a document, forms and multipart bodies part by part, anything else
 * byte by byte; content codings undone where they can be. Bodies above LIMIT_REPLAY_KEY_BODY_BYTES are compared byte by byte as they came, and
 * are not kept. A body is fed in pieces of any size. */
#ifndef RINGTAPE_REPLAY_CONTENT_H
#define RINGTAPE_REPLAY_CONTENT_H

#include "http/head.h"
#include "replay/key.h"

enum content_kind { CONTENT_EMPTY, CONTENT_RAW, CONTENT_JSON, CONTENT_FORM, CONTENT_MULTIPART };

/* Embedded; zeroed is "not begun" and may be freed. */
struct content {
    struct hash128_state raw;
    uint64_t bytes;
    struct buf kept; /* the bytes as they came, as long as they are few enough or only as many as a report shows */
    struct buf type, encoding; /* Content-Type and Content-Encoding */
    bool keep_all;             /* `kept` is all of it */
    bool decided;              /* the first byte that tells was seen */
    bool cut;                  /* there is no more on the tape; `bytes` is how many there were (content_cut()) */
};

/* Starts anew. `h` may be NULL. Fails with ERR_NOMEM. */
MUST_USE enum err content_begin(struct content *c, const struct headers *h, const struct hash_key *hash);
MUST_USE enum err content_add(struct content *c, struct span piece);
/* What stands for the body in a key: 0 without one. Fails with ERR_NOMEM. */
MUST_USE enum err content_end(struct content *c, const struct rules *rules, const struct hash_key *hash,
                              struct key_scratch *scratch, uint64_t *out);
void content_free(struct content *c);

/* What stands in a key for a body of which the tape holds a part only (--max-body): its length. */
uint64_t content_cut_key(uint64_t bytes, const struct hash_key *hash);

/* After content_end(): what it was taken for, and its bytes, decoded; what was not kept is missing at the end. Decoded bytes lie in `room`. */
enum content_kind content_view(const struct content *c, struct buf *room, struct span *bytes);

/* The name under which a part of a multipart body, or a pair of a form, is compared. */
bool content_is_ignored(const struct rules *rules, struct span name);

#endif
