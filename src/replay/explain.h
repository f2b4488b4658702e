/* explain.h: by what a recording is known: its key, field by field, for people who write rules. */
#ifndef RINGTAPE_REPLAY_EXPLAIN_H
#define RINGTAPE_REPLAY_EXPLAIN_H

#include "replay/matcher.h"
#include "tape/tape.h"

/* Lines, safe for a terminal: each field with its recorded value and whether it is compared, and which recordings have the same key. `tape` is the
 * match's. Fails with ERR_NOT_FOUND (no such flow), ERR_DB, ERR_CORRUPT, ERR_NOMEM. */
MUST_USE enum err explain_flow(const struct matcher *m, struct tape *tape, const struct match *match, struct buf *out);

#endif
