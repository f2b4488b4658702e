/* db.h: what reader and writer of a tape share: errors translated, connections hardened, the schema compared. Internal to tape/. */
#ifndef RINGTAPE_TAPE_DB_H
#define RINGTAPE_TAPE_DB_H

#include "base/buf.h"
#include "tape/tape.h"

#include <sqlite3.h>

/* Translates a result code. ERR_DISK_FULL wherever the system said so. `db` may be NULL. */
enum err db_err(sqlite3 *db, int rc);

/* A sentence for people into *problem (may be NULL; replaced): "PATH: what (why)". Out of memory leaves it empty. */
void db_say(struct buf *problem, const char *path, const char *what, sqlite3 *db);

/* Runs statements that give no rows. */
MUST_USE enum err db_exec(sqlite3 *db, const char *sql);
MUST_USE enum err db_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **out);
/* The first column of the first row; 0 when there is no row or it is null. */
MUST_USE enum err db_int(sqlite3 *db, const char *sql, int64_t *out);

/* For any file that may come from somebody else: DEFENSIVE, no trusted schema, no views or triggers of the file's, limits. */
MUST_USE enum err db_harden(sqlite3 *db);

/* Is this a tape that we can read? *version: of its schema, from 1 to TAPE_VERSION.
 * Fails with ERR_NOT_TAPE, ERR_TAPE_NEWER, ERR_CORRUPT, ERR_DB, ERR_IO, ERR_NOMEM, and says why. */
MUST_USE enum err db_check(sqlite3 *db, const char *path, int64_t *version, struct buf *problem);

/* Is a write-ahead log beside the file? */
bool db_has_log(const char *path);
/* Was the file cut off in the middle of a page? SQLite would take half a page at the end for a page. Fails with ERR_CORRUPT. */
MUST_USE enum err db_check_size(sqlite3 *db, const char *path, struct buf *problem);

/* Column as bytes, borrowed from the statement; empty when null. */
struct span db_span(sqlite3_stmt *stmt, int column);
/* Column as an offset: -1 when null or negative. */
int64_t db_offset(sqlite3_stmt *stmt, int column);

enum {
    /* Longest value taken from a tape: heads, chunks and certificate chains are far below. */
    DB_VALUE_BYTES_MAX = 16 << 20,
};

#endif
