/* json.h: comparing JSON texts (RFC 8259): key order, white space and the spelling of strings do not count; numbers count as written, so that
 * 1 and 1.0 differ. What the rules' pointers name is left out. Depth is bounded by JSON_DEPTH_MAX. */
#ifndef RINGTAPE_REPLAY_JSON_H
#define RINGTAPE_REPLAY_JSON_H

#include "replay/key.h"
#include "replay/leaves.h"

enum { JSON_DEPTH_MAX = 200 };

/* Equal texts have equal hashes. Fails with ERR_PARSE (not JSON, too deep) and ERR_NOMEM. */
MUST_USE enum err json_hash(struct span text, const struct rules *rules, const struct hash_key *hash,
                            struct key_scratch *scratch, uint64_t *out);

/* Takes a text apart into scalars and empty containers: `out` (cleared first) has their pointers (RFC 6901; "" is the whole text) and, borrowed from the
 * text, their values as written. Fails as json_hash(). */
MUST_USE enum err json_flatten(struct span text, const struct rules *rules, struct leaves *out);

/* A string as written, with its quotes, to its bytes. Appends. Fails with ERR_PARSE, ERR_NOMEM. */
MUST_USE enum err json_unquote(struct span written, struct buf *out);

/* Walks an array: *rest starts as its text. *element is the text of one element. False at the end, and when it is malformed. */
bool json_element_next(struct span *rest, struct span *element);

#endif
