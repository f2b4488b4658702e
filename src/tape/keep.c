/* keep.c: judges ended flows through the reader's own eyes, on the writer's connection, so that what is not committed yet is seen. */
#include "tape/keep.h"

#include "base/alloc.h"
#include "base/util.h"
#include "tape/internal.h"

/* In this order: the flow's row says what is its own. */
static const char *const keep_sql[] = {
    "DELETE FROM chunk WHERE body IN (SELECT request_body FROM flow WHERE id = ?1 UNION ALL SELECT response_body FROM flow WHERE id = ?1)",
    "DELETE FROM body WHERE id IN (SELECT request_body FROM flow WHERE id = ?1 UNION ALL SELECT response_body FROM flow WHERE id = ?1)",
    ("DELETE FROM header_block WHERE id IN (SELECT request_headers FROM flow WHERE id = ?1 UNION ALL SELECT response_headers FROM flow "
     "WHERE id = ?1 UNION ALL SELECT request_trailers FROM flow WHERE id = ?1 UNION ALL SELECT response_trailers FROM flow WHERE id = ?1)"),
    "DELETE FROM message WHERE flow = ?1",
    "DELETE FROM flow WHERE id = ?1",
};

struct keeper {
    struct tape *tape; /* a reader on the writer's connection */
    struct tape_filter *filter;
    sqlite3_stmt *statements[ARRAY_LEN(keep_sql)];
};

enum err keeper_create(struct keeper **out, sqlite3 *db, const char *path, struct tape_filter *filter)
{
    struct keeper *k = mem_new(1, sizeof *k);
    *out = NULL;
    if (!k)
        return ERR_NOMEM;
    k->filter = filter;
    enum err e = tape_attach(&k->tape, db, path);
    if (!e)
        e = db_exec(db, "PRAGMA secure_delete = ON");
    for (size_t i = 0; !e && i < ARRAY_LEN(keep_sql); i++)
        e = db_prepare(db, keep_sql[i], &k->statements[i]);
    if (e)
        keeper_destroy(&k);
    *out = k;
    return e;
}

void keeper_destroy(struct keeper **k)
{
    struct keeper *it = *k;
    *k = NULL;
    if (!it)
        return;
    for (size_t i = 0; i < ARRAY_LEN(keep_sql); i++)
        (void)sqlite3_finalize(it->statements[i]);
    tape_close(&it->tape);
    mem_free(it);
}

static enum err keeper_remove(struct keeper *k, int64_t flow)
{
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < ARRAY_LEN(keep_sql); i++) {
        (void)sqlite3_bind_int64(k->statements[i], 1, flow);
        e = tape_failed(k->tape, sqlite3_step(k->statements[i]));
        (void)sqlite3_reset(k->statements[i]);
    }
    return e;
}

enum err keeper_judge(struct keeper *k, int64_t flow, bool *kept)
{
    struct tape_query query = {.id = flow};
    struct tape_cursor *cursor = NULL;
    struct tape_flow row;
    *kept = true;
    enum err e = tape_flows(k->tape, &query, &cursor);
    if (!e)
        e = tape_flow_next(cursor, &row);
    if (!e)
        e = tape_filter_match(k->filter, k->tape, &row, kept);
    tape_cursor_close(&cursor);
    return e || *kept ? e : keeper_remove(k, flow);
}
