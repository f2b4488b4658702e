/* look.h: what a recorder has left behind, as readers of tapes and any program with SQLite see it. Failures are test failures. */
#ifndef RINGTAPE_TESTS_RECORD_LOOK_H
#define RINGTAPE_TESTS_RECORD_LOOK_H

#include "drive.h"

#include <sqlite3.h>
#include <time.h>

struct opened {
    struct tape *tape;
    struct tape_cursor *cursor;
    struct tape_flow flow;
};

static inline void open_flow(struct opened *o, const char *path, int64_t id)
{
    struct buf problem = BUF_INIT;
    enum err e = tape_open(&o->tape, path, &problem);
    if (e)
        fail_msg("%s: %.*s", err_word(e), (int)problem.n, (const char *)buf_span(&problem).p);
    buf_free(&problem);
    assert_int_equal(tape_flows(o->tape, &(struct tape_query){.id = id}, &o->cursor), ERR_OK);
    assert_int_equal(tape_flow_next(o->cursor, &o->flow), ERR_OK);
}

static inline void close_flow(struct opened *o)
{
    tape_cursor_close(&o->cursor);
    tape_close(&o->tape);
}

static inline void assert_text(struct span s, const char *wanted)
{
    if (!span_eq(s, span_str(wanted)))
        fail_msg("'%.*s' is not '%s'", (int)s.n, (const char *)s.p, wanted);
}

/* The first number that a query gives, as any program with SQLite sees it. */
static inline int64_t sql_int(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *s = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    (void)sqlite3_busy_timeout(db, 5000);
    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK || sqlite3_step(s) != SQLITE_ROW)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    int64_t n = sqlite3_column_int64(s, 0);
    (void)sqlite3_finalize(s);
    (void)sqlite3_close(db);
    return n;
}

static inline void assert_sound(const char *path)
{
    assert_int_equal(sql_int(path, "SELECT integrity_check = 'ok' FROM pragma_integrity_check"), 1);
}

static inline bool is_there(const char *path, const char *suffix)
{
    char name[PATH_MAX + 16];
    (void)snprintf(name, sizeof name, "%s%s", path, suffix);
    return access(name, F_OK) == 0;
}

static inline void sleep_ms(long ms)
{
    (void)nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

#endif
