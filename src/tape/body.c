/* body.c: contents, read in pieces.
 *
 * A body row holds its content, or its chunks do, or another row (same_as) does; in the last case its own chunks still tell when how
 * much of it came. One row is in memory at a time. An open body of the tape is kept for the next one, with its statements. */
#include "tape/internal.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "base/util.h"

struct tape_body {
    struct tape *tape;
    sqlite3_stmt *row, *chunks, *times;
    struct span rest;     /* of the row at hand; borrowed from its statement */
    int64_t at_ns;        /* of the row at hand */
    uint64_t left;        /* of the piece that `times` told of */
    uint64_t unread;      /* what the body row promises and has not been given */
    bool chunked, shared; /* more rows may follow; times are in `times` */
};

void tape_body_free(struct tape_body *body)
{
    if (!body)
        return;
    (void)sqlite3_finalize(body->row);
    (void)sqlite3_finalize(body->chunks);
    (void)sqlite3_finalize(body->times);
    mem_free(body);
}

static struct tape_body *body_take(struct tape *tape)
{
    for (size_t i = 0; i < TAPE_SPARES; i++) {
        struct tape_body *spare = tape->spares[i];
        if (spare) {
            tape->spares[i] = NULL;
            return spare;
        }
    }
    return mem_new(1, sizeof(struct tape_body));
}

void tape_body_close(struct tape_body **body)
{
    struct tape_body *it = *body;
    *body = NULL;
    if (!it)
        return;
    (void)sqlite3_reset(it->row);
    (void)sqlite3_reset(it->chunks);
    (void)sqlite3_reset(it->times);
    for (size_t i = 0; i < TAPE_SPARES; i++)
        if (!it->tape->spares[i]) {
            it->tape->spares[i] = it;
            return;
        }
    tape_body_free(it);
}

static enum err body_prepare(struct tape *tape, struct tape_body *body)
{
    static const char chunk_sql[] = "SELECT at_ns, bytes, content FROM chunk WHERE body = ?1 ORDER BY seq";
    enum err e = tape_prepare(tape,
                              "SELECT b.bytes, b.same_as IS NOT NULL, o.id, o.content FROM body b JOIN body o ON "
                              "o.id = coalesce(b.same_as, b.id) WHERE b.id = ?1",
                              &body->row);
    if (!e)
        e = tape_prepare(tape, chunk_sql, &body->chunks);
    if (!e)
        e = tape_prepare(tape, chunk_sql, &body->times);
    return e;
}

static enum err body_start(struct tape_body *body, int64_t id)
{
    (void)sqlite3_bind_int64(body->row, 1, id);
    int rc = sqlite3_step(body->row);
    if (rc == SQLITE_DONE)
        return tape_corrupt(body->tape, "a flow refers to content that is not there");
    if (rc != SQLITE_ROW)
        return tape_failed(body->tape, rc);
    int64_t bytes = sqlite3_column_int64(body->row, 0);
    if (bytes < 0)
        return tape_corrupt(body->tape, "a content's size");
    body->unread = (uint64_t)bytes;
    body->shared = sqlite3_column_int(body->row, 1) != 0;
    body->chunked = sqlite3_column_type(body->row, 3) == SQLITE_NULL;
    body->rest = db_span(body->row, 3);
    (void)sqlite3_bind_int64(body->chunks, 1, sqlite3_column_int64(body->row, 2));
    (void)sqlite3_bind_int64(body->times, 1, id);
    return ERR_OK;
}

enum err tape_body_open(struct tape *tape, const struct tape_body_ref *ref, struct tape_body **out)
{
    *out = NULL;
    struct tape_body *body = body_take(tape);
    if (!body)
        return ERR_NOMEM;
    body->tape = tape;
    body->rest = SPAN_EMPTY;
    body->at_ns = -1;
    body->left = body->unread = 0;
    body->chunked = body->shared = false;
    enum err e = body_prepare(tape, body);
    if (!e && ref->id != 0)
        e = body_start(body, ref->id);
    if (e)
        tape_body_close(&body);
    *out = body;
    return e;
}

/* Bytes at hand, if there are any left. */
static enum err body_fill(struct tape_body *body)
{
    while (body->rest.n == 0) {
        if (!body->chunked)
            return body->unread ? tape_corrupt(body->tape, "content is shorter than its size") : ERR_NOT_FOUND;
        int rc = sqlite3_step(body->chunks);
        if (rc == SQLITE_DONE) {
            body->chunked = false;
            continue;
        }
        if (rc != SQLITE_ROW)
            return tape_failed(body->tape, rc);
        body->rest = db_span(body->chunks, 2);
        if (!body->shared)
            body->at_ns = db_offset(body->chunks, 0);
    }
    return ERR_OK;
}

/* The next piece's own time, when the bytes are another's. Without one, everything that is left is one piece of unknown time. */
static enum err body_time(struct tape_body *body)
{
    if (!body->shared || body->left > 0)
        return ERR_OK;
    int rc = sqlite3_step(body->times);
    if (rc != SQLITE_ROW && rc != SQLITE_DONE)
        return tape_failed(body->tape, rc);
    bool known = rc == SQLITE_ROW && sqlite3_column_int64(body->times, 1) > 0;
    body->at_ns = known ? db_offset(body->times, 0) : -1;
    body->left = known ? (uint64_t)sqlite3_column_int64(body->times, 1) : UINT64_MAX;
    return ERR_OK;
}

enum err tape_body_next(struct tape_body *body, struct span *piece, int64_t *at_ns)
{
    enum err e = body_fill(body);
    if (!e)
        e = body_time(body);
    if (e)
        return e;
    size_t n = MIN(body->rest.n, (size_t)LIMIT_CHUNK_BYTES);
    if (body->shared && n > body->left)
        n = (size_t)body->left;
    if (n > body->unread)
        return tape_corrupt(body->tape, "content is longer than its size");
    *piece = span_first(body->rest, n);
    *at_ns = body->at_ns;
    body->rest = span_from(body->rest, n);
    body->unread -= n;
    if (body->shared)
        body->left -= n;
    return ERR_OK;
}

enum err tape_body_read(struct tape *tape, const struct tape_body_ref *ref, size_t max, struct buf *out)
{
    struct tape_body *body = NULL;
    size_t before = out->n;
    enum err e = tape_body_open(tape, ref, &body);
    while (!e) {
        struct span piece = SPAN_EMPTY;
        int64_t at_ns;
        e = tape_body_next(body, &piece, &at_ns);
        if (!e && piece.n > max - (out->n - before))
            e = ERR_LIMIT;
        if (!e)
            e = buf_put(out, piece);
    }
    tape_body_close(&body);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}
