/* keep.h: a filter over what is being recorded. A flow is written like any other, judged once it has ended, and taken off the tape again when
 * the filter does not match: only then is there all that a filter may ask for. Internal to tape/. */
#ifndef RINGTAPE_TAPE_KEEP_H
#define RINGTAPE_TAPE_KEEP_H

#include "tape/filter.h"

#include <sqlite3.h>

struct keeper;

/* `db` (the writer's connection) and `filter` are borrowed. From now on deleted content is overwritten in the file. Fails with ERR_NOMEM, ERR_DB. */
MUST_USE enum err keeper_create(struct keeper **out, sqlite3 *db, const char *path, struct tape_filter *filter);
/* Clears *k (may be NULL). Before the connection is closed. */
void keeper_destroy(struct keeper **k);

/* Within a transaction, when nothing more comes for this flow. Contents and header blocks go with it, so no other flow may share them.
 * Fails with ERR_DB, ERR_NOMEM, ERR_CORRUPT. */
MUST_USE enum err keeper_judge(struct keeper *k, int64_t flow, bool *kept);

#endif
