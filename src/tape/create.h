/* create.h: a tape as a file: its lock, its making, its opening for writing. Internal to tape/.
 *
 * The lock is a file beside the tape ("login.tape-lock"), held by flock and gone when the tape is closed. It cannot be a lock on the
 * tape itself: closing any descriptor of a file drops this process's POSIX locks on it, SQLite's too. */
#ifndef RINGTAPE_TAPE_CREATE_H
#define RINGTAPE_TAPE_CREATE_H

#include "tape/db.h"

struct tape_lock {
    int fd; /* -1: not held */
    char *path;
};
#define TAPE_LOCK_INIT ((struct tape_lock){-1, NULL})

/* Fails with ERR_EXISTS (another process records into this tape), ERR_PERMISSION, ERR_NOT_FOUND (no such folder), ERR_IO, ERR_NOMEM. */
MUST_USE enum err tape_lock_take(struct tape_lock *lock, const char *path, struct buf *problem);
/* Harmless when not held. */
void tape_lock_drop(struct tape_lock *lock);

enum tape_mode { TAPE_NEW, TAPE_APPEND, TAPE_REPLACE };

/* The name under which a tape is locked and written: of a symbolic link what it points to, so that two names of one tape have one lock, and
 * a replaced tape stays where the link points. *out is the caller's. Fails with ERR_NOMEM. */
MUST_USE enum err tape_file_name(char **out, const char *path);

/* A database of our schema at `path`, mode 0600, open for writing, in WAL mode. A new one is made under another name and gets its own
 * when it is whole; what exists is not touched by a failure. page_bytes: 0 is the default. Fails with ERR_EXISTS,
 * ERR_PERMISSION, ERR_NOT_FOUND, ERR_NOT_TAPE, ERR_TAPE_NEWER, ERR_CORRUPT, ERR_DISK_FULL, ERR_DB, ERR_IO, ERR_NOMEM; *problem says why. */
MUST_USE enum err tape_file_open(sqlite3 **out, const char *path, enum tape_mode mode, unsigned page_bytes,
                                 struct buf *problem);

/* A tape that is written elsewhere until it is whole. begin: *temporary is a name beside `path` (free with mem_free()), and `path` may become a tape;
 * end: it has its own name; discard: nothing of it is left (NULL: nothing was begun). Fail as tape_file_open(). */
MUST_USE enum err tape_file_begin(char **temporary, const char *path, enum tape_mode mode, struct buf *problem);
MUST_USE enum err tape_file_end(const char *temporary, const char *path, bool replace, struct buf *problem);
void tape_file_discard(const char *temporary);

#endif
