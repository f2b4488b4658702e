/* internal.h: the open tape, as tape.c, rows.c and body.c share it. Internal to tape/. */
#ifndef RINGTAPE_TAPE_INTERNAL_H
#define RINGTAPE_TAPE_INTERNAL_H

#include "tape/db.h"

enum { TAPE_SPARES = 4 };

struct tape {
    sqlite3 *db;
    char *path;
    int64_t version;
    bool borrowed; /* db is somebody else's */
    uint64_t work,
        work_max; /* of one step, in thousands of SQLite's instructions: what is left; what the file's size can explain */
    struct buf problem;
    sqlite3_stmt *connection, *connection_next, *session_next; /* prepared at first use */
    struct buf chain;
    struct tape_cursor *one; /* kept for the next look-up of one flow; NULL: in use, or none yet */
    struct tape_body *spares[TAPE_SPARES];
};

/* Translates the failure of a call on this tape, and keeps a sentence. ERR_OK for SQLITE_ROW and SQLITE_DONE. */
enum err tape_failed(struct tape *tape, int rc);
/* For rows that make no sense. Gives ERR_CORRUPT. */
enum err tape_corrupt(struct tape *tape, const char *what);
/* A reader on a connection that is open already, which outlives it. tape_close() ends it. Fails with ERR_NOMEM. */
MUST_USE enum err tape_attach(struct tape **out, sqlite3 *db, const char *path);
/* sqlite3_step() for what walks a whole table: a file whose pages refer to one another in circles, or a thousand times to one, ends in
 * SQLITE_INTERRUPT. */
int tape_step(struct tape *tape, sqlite3_stmt *stmt);
MUST_USE enum err tape_prepare(struct tape *tape, const char *sql, sqlite3_stmt **stmt);

/* Frees the spares. */
void tape_body_free(struct tape_body *body);
void tape_cursor_free(struct tape_cursor *cursor);

#endif
