/* sessions.h: TLS sessions with origins, kept for resumption; shared by all workers. A resumed connection skips the check of
 * the certificate, so the key says everything that the check depended on. */
#ifndef RINGTAPE_TLS_SESSIONS_H
#define RINGTAPE_TLS_SESSIONS_H

#include "base/buf.h"
#include "tls/chain.h"

struct sessions;

MUST_USE enum err sessions_create(struct sessions **out, unsigned max);
void sessions_destroy(struct sessions **sessions);

/* Keeps a copy, in the place of an older one under this key; the least recently used goes when there are too many. Losing one
 * costs a full handshake, so that there is no error. `chain` may be NULL; a reference is taken. */
void sessions_put(struct sessions *s, struct span key, struct span session, struct chain *chain);

/* Copies the session to `out` (cleared first) and references its chain. ERR_NOT_FOUND: none. Fails with ERR_NOMEM. */
MUST_USE enum err sessions_get(struct sessions *s, struct span key, struct buf *out, struct chain **chain);

/* Forgets it: the handshake that used it failed. */
void sessions_drop(struct sessions *s, struct span key);

#endif
