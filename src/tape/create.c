/* create.c: tapes as files. A file that has the tape's name is a whole tape at any moment: it is made under a temporary name
 * and renamed. When an existing tape is replaced, its -wal and -shm go first: a log left beside a new database would be played into it. */
#include "tape/create.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "gen/tape_sql.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    PAGE_BYTES = 32768, /* measured: docs/performance.md */
    WAL_BYTES = 4 << 20,
    WAL_KEPT_BYTES = 64 << 20, /* what the log is cut back to after a long reader let it grow */
    BUSY_MS = 5000,
};

/* path + suffix; NULL when out of memory. Free with mem_free(). */
static char *path_with(const char *path, const char *suffix)
{
    size_t n = strlen(path), m = strlen(suffix);
    char *joined = mem_new(n + m + 1, 1);
    if (joined) {
        memcpy(joined, path, n);
        memcpy(joined + n, suffix, m);
    }
    return joined;
}

static enum err say_errno(struct buf *problem, const char *path, const char *what, int errno_value)
{
    enum err e = err_from_errno(errno_value);
    if (problem) {
        buf_clear(problem);
        if (buf_printf(problem, "%s: %s: %s", path, what, err_text(e)))
            buf_clear(problem);
    }
    return e;
}

static int open_lock(const char *path)
{
    int fd;
    do
        fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0600);
    while (fd < 0 && errno == EINTR);
    return fd;
}

/* The holder removes the file as it lets go, so a lock on a file that has no name any more is none: then once more. */
enum err tape_lock_take(struct tape_lock *lock, const char *path, struct buf *problem)
{
    struct stat held, named;
    *lock = TAPE_LOCK_INIT;
    lock->path = path_with(path, "-lock");
    if (!lock->path)
        return ERR_NOMEM;
    for (int tries = 0; tries < 100; tries++) {
        lock->fd = open_lock(lock->path);
        if (lock->fd < 0) {
            int errno_value = errno;
            tape_lock_drop(lock);
            return say_errno(problem, path, "cannot write in this folder", errno_value);
        }
        if (flock(lock->fd, LOCK_EX | LOCK_NB) != 0) {
            (void)close(lock->fd);
            lock->fd = -1;
            tape_lock_drop(lock);
            db_say(problem, path, "another ringtape is recording into this tape", NULL);
            return ERR_EXISTS;
        }
        if (fstat(lock->fd, &held) == 0 && stat(lock->path, &named) == 0 && held.st_ino == named.st_ino &&
            held.st_dev == named.st_dev)
            return ERR_OK;
        (void)close(lock->fd);
        lock->fd = -1;
    }
    tape_lock_drop(lock);
    db_say(problem, path, "cannot lock the tape", NULL);
    return ERR_IO;
}

void tape_lock_drop(struct tape_lock *lock)
{
    if (lock->fd >= 0) {
        (void)unlink(lock->path);
        (void)close(lock->fd);
    }
    mem_free(lock->path);
    *lock = TAPE_LOCK_INIT;
}

enum err tape_file_name(char **out, const char *path)
{
    struct stat st;
    char *target = lstat(path, &st) == 0 && S_ISLNK(st.st_mode) ? realpath(path, NULL) : NULL;
    const char *name = target ? target : path;
    *out = mem_strdup(name, strlen(name));
    free(target);
    return *out ? ERR_OK : ERR_NOMEM;
}

/* "./" in front: to SQLite, ":memory:" and "file:..." are no files. */
static enum err db_open(sqlite3 **out, const char *path, int flags)
{
    struct buf name = BUF_INIT;
    *out = NULL;
    const char *text = buf_printf(&name, "%s%s", path[0] == '/' ? "" : "./", path) ? NULL : buf_cstr(&name);
    int rc =
        text ? sqlite3_open_v2(text, out, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, NULL) : SQLITE_NOMEM;
    buf_free(&name);
    if (rc == SQLITE_OK)
        rc = sqlite3_busy_timeout(*out, BUSY_MS);
    if (rc == SQLITE_OK)
        return ERR_OK;
    return db_err(*out, rc);
}

/* Schema and marks into the empty file at `temporary`; what goes wrong is told of `path`. */
static enum err fill(const char *temporary, const char *path, unsigned page_bytes, struct buf *problem)
{
    sqlite3 *db = NULL;
    char pragmas[160];
    (void)snprintf(
        pragmas, sizeof pragmas,
        "PRAGMA page_size=%u; PRAGMA encoding='UTF-8'; PRAGMA auto_vacuum=0; PRAGMA application_id=%d; PRAGMA user_version=%d",
        page_bytes ? page_bytes : (unsigned)PAGE_BYTES, TAPE_APPLICATION_ID, TAPE_VERSION);
    enum err e = db_open(&db, temporary, SQLITE_OPEN_READWRITE);
    if (!e)
        e = db_exec(db, pragmas);
    if (!e)
        e = db_exec(db, "BEGIN");
    if (!e)
        e = db_exec(db, tape_schema_sql);
    if (!e)
        e = db_exec(db, "COMMIT");
    if (e)
        db_say(problem, path, "cannot make the tape", db);
    (void)sqlite3_close(db);
    return e;
}

/* Gives the temporary file the tape's name. A log that lies about from a tape that is gone would be played into the new one. */
static enum err rename_into_place(const char *temporary, const char *path, bool replace, struct buf *problem)
{
    /* Those of a tape that was removed without them, too. */
    if (replace || (access(path, F_OK) != 0 && errno == ENOENT)) {
        static const char *const companions[] = {"-wal", "-shm", "-journal"};
        for (size_t i = 0; i < sizeof companions / sizeof companions[0]; i++) {
            char *companion = path_with(path, companions[i]);
            if (!companion)
                return ERR_NOMEM;
            int failed = unlink(companion) != 0 && errno != ENOENT ? errno : 0;
            mem_free(companion);
            if (failed)
                return say_errno(problem, path, "cannot replace the tape", failed);
        }
    }
    int rc = renameat2(AT_FDCWD, temporary, AT_FDCWD, path, replace ? 0 : RENAME_NOREPLACE);
    if (rc != 0 && !replace && (errno == EINVAL || errno == ENOSYS))
        rc = rename(temporary, path); /* that file system has no such rename; existence was looked at before */
    return rc == 0 ? ERR_OK : say_errno(problem, path, "cannot make the tape", errno);
}

/* NULL when out of memory. Free with mem_free(). */
static char *temporary_name(const char *path, const char *what)
{
    struct hash_key random;
    char suffix[32];
    hash_key_random(&random);
    (void)snprintf(suffix, sizeof suffix, ".%08x.%s", (unsigned)random.k0, what);
    return path_with(path, suffix);
}

static enum err make(const char *path, bool replace, unsigned page_bytes, struct buf *problem)
{
    char *temporary = temporary_name(path, "new");
    if (!temporary)
        return ERR_NOMEM;
    enum err e = ERR_OK;
    int fd = open(temporary, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0)
        e = say_errno(problem, path, "cannot write in this folder", errno);
    else {
        /* Whatever the umask is: a tape holds secrets, and its owner must be able to read it. */
        int rc = fchmod(fd, 0600);
        (void)close(fd);
        if (rc != 0)
            e = say_errno(problem, path, "cannot make the tape", errno);
        if (!e)
            e = fill(temporary, path, page_bytes, problem);
        if (!e)
            e = rename_into_place(temporary, path, replace, problem);
        if (e)
            (void)unlink(temporary);
    }
    mem_free(temporary);
    return e;
}

/* The settings of a recording. The size of the log is counted in pages. */
static enum err configure(sqlite3 *db, const char *path, struct buf *problem)
{
    char pragmas[200];
    int64_t page_bytes = 0;
    sqlite3_stmt *stmt = NULL;
    enum err e = db_int(db, "PRAGMA page_size", &page_bytes);
    if (!e)
        e = db_prepare(db, "PRAGMA journal_mode=WAL", &stmt);
    if (!e)
        e = db_err(db, sqlite3_step(stmt));
    bool wal = !e && span_eq(db_span(stmt, 0), SPAN("wal"));
    (void)sqlite3_finalize(stmt);
    if (!e && !wal) {
        db_say(problem, path, "this file system cannot hold a tape while it is recorded (no shared memory for its log)",
               NULL);
        return ERR_DB;
    }
    (void)snprintf(
        pragmas, sizeof pragmas,
        "PRAGMA synchronous=NORMAL; PRAGMA secure_delete=0; PRAGMA wal_autocheckpoint=%d; PRAGMA journal_size_limit=%d; "
        "PRAGMA cache_size=-1024; PRAGMA foreign_keys=0",
        (int)(WAL_BYTES / (page_bytes > 0 ? page_bytes : PAGE_BYTES)), WAL_KEPT_BYTES);
    if (!e)
        e = db_exec(db, pragmas);
    if (e)
        db_say(problem, path, "cannot write the tape", db);
    return e;
}

/* A rollback journal may name another file at its end, for transactions over several databases; SQLite removes that file after playing the journal
 * back. Ours never do: it is a trap that came with the tape. */
static bool journal_names_file(const char *path)
{
    static const uint8_t magic[] = {0xd9, 0xd5, 0x05, 0xf9, 0x20, 0xa1, 0x63, 0xd7};
    uint8_t end[sizeof magic];
    struct stat st;
    char *journal = path_with(path, "-journal");
    int fd = journal ? open(journal, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK) : -1;
    mem_free(journal);
    if (fd < 0)
        return false;
    bool found = fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > (off_t)sizeof end &&
                 pread(fd, end, sizeof end, st.st_size - (off_t)sizeof end) == (ssize_t)sizeof end &&
                 memcmp(end, magic, sizeof magic) == 0;
    (void)close(fd);
    return found;
}

/* It can be read, but rows of today do not go into it. */
static enum err say_older(const char *path, int64_t version, struct buf *problem)
{
    buf_clear(problem);
    enum err e =
        buf_printf(problem,
                   "%s: the tape was made by an older ringtape (tape version %lld): a session cannot be added to it; "
                   "record it to a tape of its own, replay takes both",
                   path, (long long)version);
    return e ? e : ERR_UNSUPPORTED;
}

/* May `path` be opened so? */
static enum err look_at(const char *path, enum tape_mode mode, const char *if_exists, bool *exists, struct buf *problem)
{
    struct stat st;
    *exists = stat(path, &st) == 0;
    if (*exists && !S_ISREG(st.st_mode)) {
        db_say(problem, path, "not a regular file", NULL);
        return mode == TAPE_NEW ? ERR_EXISTS : ERR_NOT_TAPE;
    }
    if (*exists && mode == TAPE_NEW) {
        db_say(problem, path, if_exists, NULL);
        return ERR_EXISTS;
    }
    return ERR_OK;
}

enum err tape_file_begin(char **temporary, const char *path, enum tape_mode mode, struct buf *problem)
{
    bool exists;
    *temporary = NULL;
    enum err e = look_at(path, mode, "the tape exists; --force replaces it", &exists, problem);
    if (e)
        return e;
    *temporary = temporary_name(path, "part");
    return *temporary ? ERR_OK : ERR_NOMEM;
}

enum err tape_file_end(const char *temporary, const char *path, bool replace, struct buf *problem)
{
    enum err e = rename_into_place(temporary, path, replace, problem);
    if (e)
        tape_file_discard(temporary);
    return e;
}

void tape_file_discard(const char *temporary)
{
    static const char *const names[] = {"", "-wal", "-shm", "-journal"};
    for (size_t i = 0; temporary && i < sizeof names / sizeof names[0]; i++) {
        char *name = path_with(temporary, names[i]);
        if (name)
            (void)unlink(name);
        mem_free(name);
    }
}

enum err tape_file_open(sqlite3 **out, const char *path, enum tape_mode mode, unsigned page_bytes, struct buf *problem)
{
    int64_t version = 0;
    bool exists;
    *out = NULL;
    enum err looked =
        look_at(path, mode, "the tape exists; --append adds a session to it, --force replaces it", &exists, problem);
    if (looked)
        return looked;
    if (exists && mode == TAPE_APPEND && journal_names_file(path)) {
        db_say(problem, path, "the journal beside it (-journal) is not one that a recording leaves; remove it to go on",
               NULL);
        return ERR_NOT_TAPE;
    }
    enum err e = ERR_OK;
    if (!exists || mode == TAPE_REPLACE)
        e = make(path, exists, page_bytes, problem);
    if (e)
        return e;
    e = db_open(out, path, SQLITE_OPEN_READWRITE);
    if (!e)
        e = db_harden(*out);
    if (e)
        db_say(problem, path, "cannot open the tape for writing", *out);
    if (!e)
        e = db_check(*out, path, &version, problem);
    if (!e && version < TAPE_VERSION)
        e = say_older(path, version, problem);
    if (!e)
        e = db_check_size(*out, path, problem);
    if (!e)
        e = configure(*out, path, problem);
    if (e) {
        (void)sqlite3_close(*out);
        *out = NULL;
    }
    return e;
}
