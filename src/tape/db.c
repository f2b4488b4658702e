/* db.c: the part of SQLite that both sides of a tape need.
 *
 * A file is taken for a tape only when every object of our schema is in it with exactly our text, and nothing in it could run: no trigger, no
 * view but ours, no virtual table. Plain tables and indexes that somebody added are left alone. */
#include "tape/db.h"

#include "gen/tape_1_sql.h"
#include "gen/tape_sql.h"

#include <errno.h>
#include <sys/stat.h>

enum err db_err(sqlite3 *db, int rc)
{
    int system_errno = db ? sqlite3_system_errno(db) : 0;
    switch (rc & 0xff) {
    case SQLITE_OK:
    case SQLITE_ROW:
    case SQLITE_DONE:
        return ERR_OK;
    case SQLITE_NOMEM:
        return ERR_NOMEM;
    case SQLITE_FULL:
        return ERR_DISK_FULL;
    case SQLITE_IOERR:
        return system_errno == ENOSPC || system_errno == EDQUOT ? ERR_DISK_FULL : ERR_IO;
    case SQLITE_CORRUPT:
    case SQLITE_TOOBIG:
    case SQLITE_MISMATCH:
        return ERR_CORRUPT;
    case SQLITE_NOTADB:
        return ERR_NOT_TAPE;
    case SQLITE_PERM:
    case SQLITE_READONLY:
        return ERR_PERMISSION;
    case SQLITE_CANTOPEN:
        return system_errno == EACCES || system_errno == EPERM || system_errno == EROFS ? ERR_PERMISSION : ERR_DB;
    default:
        return ERR_DB;
    }
}

void db_say(struct buf *problem, const char *path, const char *what, sqlite3 *db)
{
    if (!problem)
        return;
    buf_clear(problem);
    enum err e = buf_printf(problem, "%s: %s", path, what);
    if (!e && db && sqlite3_errcode(db) != SQLITE_OK && sqlite3_errcode(db) != SQLITE_ROW &&
        sqlite3_errcode(db) != SQLITE_DONE)
        e = buf_printf(problem, " (%s)", sqlite3_errmsg(db));
    if (e)
        buf_clear(problem);
}

enum err db_exec(sqlite3 *db, const char *sql)
{
    return db_err(db, sqlite3_exec(db, sql, NULL, NULL, NULL));
}

enum err db_prepare(sqlite3 *db, const char *sql, sqlite3_stmt **out)
{
    return db_err(db, sqlite3_prepare_v3(db, sql, -1, SQLITE_PREPARE_PERSISTENT, out, NULL));
}

enum err db_int(sqlite3 *db, const char *sql, int64_t *out)
{
    sqlite3_stmt *stmt = NULL;
    *out = 0;
    enum err e = db_prepare(db, sql, &stmt);
    if (!e) {
        int rc = sqlite3_step(stmt);
        if (rc == SQLITE_ROW)
            *out = sqlite3_column_int64(stmt, 0);
        e = db_err(db, rc);
    }
    (void)sqlite3_finalize(stmt);
    return e;
}

enum err db_harden(sqlite3 *db)
{
    static const struct {
        int id, value;
    } limits[] = {
        {SQLITE_LIMIT_LENGTH, DB_VALUE_BYTES_MAX},
        {SQLITE_LIMIT_SQL_LENGTH, 100000},
        {SQLITE_LIMIT_COLUMN, 100},
        {SQLITE_LIMIT_EXPR_DEPTH, 40},
        {SQLITE_LIMIT_COMPOUND_SELECT, 8},
        {SQLITE_LIMIT_VDBE_OP, 25000},
        {SQLITE_LIMIT_FUNCTION_ARG, 8},
        {SQLITE_LIMIT_ATTACHED, 0},
        {SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 50},
        {SQLITE_LIMIT_VARIABLE_NUMBER, 100},
        {SQLITE_LIMIT_TRIGGER_DEPTH, 1},
        {SQLITE_LIMIT_WORKER_THREADS, 0},
    };
    for (size_t i = 0; i < sizeof limits / sizeof limits[0]; i++)
        (void)sqlite3_limit(db, limits[i].id, limits[i].value);
    int rc = sqlite3_db_config(db, SQLITE_DBCONFIG_DEFENSIVE, 1, (int *)NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_db_config(db, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, (int *)NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_TRIGGER, 0, (int *)NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_db_config(db, SQLITE_DBCONFIG_ENABLE_VIEW, 0, (int *)NULL);
    if (rc != SQLITE_OK)
        return db_err(db, rc);
    /* A mapped file that somebody truncates is a SIGBUS. */
    return db_exec(db, "PRAGMA mmap_size=0; PRAGMA cell_size_check=1; PRAGMA trusted_schema=0");
}

struct span db_span(sqlite3_stmt *stmt, int column)
{
    /* The blob first, then its size: the order that SQLite asks for. */
    const void *p = sqlite3_column_blob(stmt, column);
    int n = sqlite3_column_bytes(stmt, column);
    return p && n > 0 ? span_of(p, (size_t)n) : SPAN_EMPTY;
}

int64_t db_offset(sqlite3_stmt *stmt, int column)
{
    if (sqlite3_column_type(stmt, column) == SQLITE_NULL)
        return -1;
    int64_t at = sqlite3_column_int64(stmt, column);
    return at < 0 ? -1 : at;
}

/* What could run, and is not ours. A table without a root page is a virtual one. */
static const char foreign_sql[] =
    "SELECT count(*) FROM sqlite_schema WHERE type NOT IN ('table', 'index', 'view') OR type = 'view' AND name NOT IN "
    "('flows', 'headers', 'bodies', 'sessions') OR type = 'table' AND coalesce(rootpage, 0) = 0";

static enum err db_find(sqlite3_stmt *theirs, struct span name, struct span sql, bool *same)
{
    (void)sqlite3_reset(theirs);
    int rc = sqlite3_bind_text64(theirs, 1, (const char *)name.p, name.n, SQLITE_STATIC, SQLITE_UTF8);
    if (rc == SQLITE_OK)
        rc = sqlite3_step(theirs);
    *same = rc == SQLITE_ROW && span_eq(db_span(theirs, 0), sql);
    return db_err(sqlite3_db_handle(theirs), rc);
}

/* Compares each statement of our schema, as SQLite itself keeps it, with the file's. */
static enum err db_compare_schema(sqlite3 *db, int64_t version, bool *same)
{
    sqlite3 *model = NULL;
    sqlite3_stmt *ours = NULL, *theirs = NULL;
    enum err e = db_err(NULL, sqlite3_open(":memory:", &model));
    if (!e)
        e = db_exec(model, version < 2 ? tape_schema_1_sql : tape_schema_sql);
    if (!e)
        e = db_prepare(model, "SELECT name, sql FROM sqlite_schema WHERE sql IS NOT NULL", &ours);
    if (!e)
        e = db_prepare(db, "SELECT sql FROM sqlite_schema WHERE name = ?1", &theirs);
    *same = true;
    while (!e && *same) {
        int rc = sqlite3_step(ours);
        e = db_err(model, rc);
        if (rc != SQLITE_ROW)
            break;
        e = db_find(theirs, db_span(ours, 0), db_span(ours, 1), same);
    }
    (void)sqlite3_finalize(ours);
    (void)sqlite3_finalize(theirs);
    (void)sqlite3_close(model);
    return e;
}

static enum err db_is_utf8(sqlite3 *db, bool *yes)
{
    sqlite3_stmt *stmt = NULL;
    enum err e = db_prepare(db, "PRAGMA encoding", &stmt);
    if (!e) {
        int rc = sqlite3_step(stmt);
        *yes = rc == SQLITE_ROW && span_eq(db_span(stmt, 0), SPAN("UTF-8"));
        e = db_err(db, rc);
    }
    (void)sqlite3_finalize(stmt);
    return e;
}

static enum err db_check_objects(sqlite3 *db, const char *path, int64_t version, struct buf *problem)
{
    int64_t foreign = 0;
    bool same = false, utf8 = false;
    enum err e = db_int(db, foreign_sql, &foreign);
    if (!e)
        e = db_is_utf8(db, &utf8);
    if (!e)
        e = db_compare_schema(db, version, &same);
    if (e == ERR_CORRUPT)
        db_say(problem, path, "the tape is damaged; `sqlite3 TAPE .dump` prints what is sound", db);
    else if (e)
        db_say(problem, path, "cannot read the tape", db);
    else if (foreign || !utf8) {
        db_say(problem, path, "not a tape of ours: it holds triggers, views or other objects that no tape has", NULL);
        e = ERR_NOT_TAPE;
    } else if (!same) {
        db_say(problem, path, "the tape's tables are not as they should be; `sqlite3 TAPE .dump` prints what is sound",
               NULL);
        e = ERR_CORRUPT;
    }
    return e;
}

enum err db_check(sqlite3 *db, const char *path, int64_t *version, struct buf *problem)
{
    int64_t application = 0;
    *version = 0;
    enum err e = db_int(db, "PRAGMA application_id", &application);
    if (!e)
        e = db_int(db, "PRAGMA user_version", version);
    if (e == ERR_NOT_TAPE || (!e && (application != TAPE_APPLICATION_ID || *version < 1))) {
        db_say(problem, path,
               e ? "not a tape (not an SQLite database)" : "not a tape (an SQLite database of another kind)", NULL);
        return ERR_NOT_TAPE;
    }
    if (e == ERR_CORRUPT)
        db_say(problem, path, "the tape is truncated or damaged; `sqlite3 TAPE .dump` prints what is sound", NULL);
    else if (e)
        db_say(problem, path, "cannot read the tape", db);
    if (e)
        return e;
    if (*version > TAPE_VERSION) {
        if (problem) {
            buf_clear(problem);
            e = buf_printf(problem,
                           "%s: the tape was made by a newer ringtape (tape version %lld; this one reads up to %d)",
                           path, (long long)*version, TAPE_VERSION);
        }
        return e ? e : ERR_TAPE_NEWER;
    }
    return db_check_objects(db, path, *version, problem);
}

bool db_has_log(const char *path)
{
    struct stat st;
    struct buf name = BUF_INIT;
    const char *text = buf_printf(&name, "%s-wal", path) ? NULL : buf_cstr(&name);
    bool yes = !text || stat(text, &st) == 0;
    buf_free(&name);
    return yes;
}

/* With a log beside it (a crash in the middle of a checkpoint) the size is none of our business. */
enum err db_check_size(sqlite3 *db, const char *path, struct buf *problem)
{
    struct stat st;
    int64_t page_bytes = 0;
    enum err e = db_int(db, "PRAGMA page_size", &page_bytes);
    if (!e && page_bytes > 0 && stat(path, &st) == 0 && st.st_size % page_bytes != 0 && !db_has_log(path)) {
        db_say(problem, path, "the tape is truncated; `sqlite3 TAPE .dump` prints what is sound", NULL);
        e = ERR_CORRUPT;
    }
    return e;
}
