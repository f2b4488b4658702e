/* flows.c: the flows of a tape, one row after the other.
 *
 * Sorted by start, only numbers are sorted, and each row is then looked up: a sorter that carried whole rows would spill a large tape
 * into a temporary file. Columns whose bytes were not UTF-8 come back from the column `raw`. */
#include "tape/internal.h"

#include "base/alloc.h"
#include "base/util.h"

#define FLOW_SELECT                                                                                                                \
    "SELECT f.id, f.session, f.track, f.kind, f.started_ns, f.method, f.scheme, f.host, f.port, f.path, f.request_version, "       \
    "f.response_version, f.status, f.reason, a.fields, b.fields, c.fields, d.fields, f.informational, f.request_body, p.bytes, "   \
    "f.request_bytes, f.response_body, q.bytes, f.response_bytes, f.request_wire_bytes, f.response_wire_bytes, f.request_end_ns, " \
    "f.sent_ns, f.response_begin_ns, f.response_end_ns, f.complete, f.error, f.client_connection, f.server_connection, "           \
    "f.server_reused, f.answered, f.raw FROM flow f LEFT JOIN header_block a ON a.id = f.request_headers "                         \
    "LEFT JOIN header_block b ON b.id = f.request_trailers LEFT JOIN header_block c ON c.id = f.response_headers "                 \
    "LEFT JOIN header_block d ON d.id = f.response_trailers LEFT JOIN body p ON p.id = f.request_body "                            \
    "LEFT JOIN body q ON q.id = f.response_body "

struct tape_cursor {
    struct tape *tape;
    sqlite3_stmt *order; /* gives ids; NULL: `row` gives rows by itself */
    sqlite3_stmt *row;
    struct headers raw; /* what `raw` of this row says */
    int64_t last;       /* id of the row before; ids grow, in a table whose pages are in order */
    bool one;           /* a look-up of one flow: kept for the next */
};

void tape_cursor_free(struct tape_cursor *cursor)
{
    if (!cursor)
        return;
    (void)sqlite3_finalize(cursor->order);
    (void)sqlite3_finalize(cursor->row);
    headers_free(&cursor->raw);
    mem_free(cursor);
}

void tape_cursor_close(struct tape_cursor **cursor)
{
    struct tape_cursor *it = *cursor;
    *cursor = NULL;
    if (it && it->one && !it->tape->one) {
        (void)sqlite3_reset(it->row);
        it->tape->one = it;
        return;
    }
    tape_cursor_free(it);
}

static enum err cursor_prepare(struct tape_cursor *cursor, const struct tape_query *query)
{
    static const char *const rows[] = {
        FLOW_SELECT "ORDER BY f.id",
        FLOW_SELECT "WHERE f.session = ?1 ORDER BY f.id",
        FLOW_SELECT "WHERE f.id = ?1",
    };
    static const char *const orders[] = {
        "SELECT id FROM flow ORDER BY started_ns, id",
        "SELECT id FROM flow WHERE session = ?1 ORDER BY started_ns, id",
    };
    int64_t filter = query->id ? query->id : query->session;
    bool sorted = query->by_start && !query->id;
    enum err e = ERR_OK;
    if (sorted) {
        e = tape_prepare(cursor->tape, orders[filter != 0], &cursor->order);
        if (!e && filter)
            (void)sqlite3_bind_int64(cursor->order, 1, filter);
    }
    if (!e)
        e = tape_prepare(cursor->tape, rows[query->id || sorted ? 2 : filter ? 1 : 0], &cursor->row);
    if (!e && filter && !sorted)
        (void)sqlite3_bind_int64(cursor->row, 1, filter);
    return e;
}

enum err tape_flows(struct tape *tape, const struct tape_query *query, struct tape_cursor **out)
{
    *out = NULL;
    struct tape_cursor *cursor = query->id ? tape->one : NULL;
    if (cursor)
        tape->one = NULL;
    else
        cursor = mem_new(1, sizeof *cursor);
    if (!cursor)
        return ERR_NOMEM;
    cursor->tape = tape;
    cursor->one = query->id != 0;
    cursor->last = INT64_MIN;
    enum err e = cursor_prepare(cursor, query);
    if (e)
        tape_cursor_free(cursor);
    else
        *out = cursor;
    return e;
}

static void flow_read(sqlite3_stmt *s, struct tape_flow *out)
{
    *out = (struct tape_flow){
        .id = sqlite3_column_int64(s, 0),
        .session = sqlite3_column_int64(s, 1),
        .track = db_span(s, 2),
        .kind = db_span(s, 3),
        .started_ns = (uint64_t)sqlite3_column_int64(s, 4),
        .method = db_span(s, 5),
        .scheme = db_span(s, 6),
        .host = db_span(s, 7),
        .path = db_span(s, 9),
        .request_version = db_span(s, 10),
        .response_version = db_span(s, 11),
        .reason = db_span(s, 13),
        .request_headers = db_span(s, 14),
        .request_trailers = db_span(s, 15),
        .response_headers = db_span(s, 16),
        .response_trailers = db_span(s, 17),
        .informational = db_span(s, 18),
        .request_body = {sqlite3_column_int64(s, 19), (uint64_t)sqlite3_column_int64(s, 20),
                         (uint64_t)sqlite3_column_int64(s, 21)},
        .response_body = {sqlite3_column_int64(s, 22), (uint64_t)sqlite3_column_int64(s, 23),
                          (uint64_t)sqlite3_column_int64(s, 24)},
        .request_wire_bytes = (uint64_t)sqlite3_column_int64(s, 25),
        .response_wire_bytes = (uint64_t)sqlite3_column_int64(s, 26),
        .request_end_ns = db_offset(s, 27),
        .sent_ns = db_offset(s, 28),
        .response_begin_ns = db_offset(s, 29),
        .response_end_ns = db_offset(s, 30),
        .complete = sqlite3_column_int(s, 31) != 0,
        .error = db_span(s, 32),
        .client_connection = sqlite3_column_int64(s, 33),
        .server_connection = sqlite3_column_int64(s, 34),
        .server_reused = sqlite3_column_int(s, 35) != 0,
        .answered = sqlite3_column_int(s, 36) != 0,
    };
}

/* Puts the bytes that `raw` names in place of the text for people. */
static enum err flow_raw(struct tape_cursor *cursor, struct span json, struct tape_flow *out)
{
    const struct {
        const char *name;
        struct span *to;
    } columns[] = {
        {"track", &out->track}, {"method", &out->method}, {"scheme", &out->scheme},
        {"host", &out->host},   {"path", &out->path},     {"request_version", &out->request_version},
        {"error", &out->error}, {"reason", &out->reason}, {"response_version", &out->response_version},
    };
    enum err e = tape_headers(json, &cursor->raw);
    if (e)
        return e == ERR_NOMEM ? e : tape_corrupt(cursor->tape, "a flow's column `raw`");
    for (uint32_t i = 0; i < cursor->raw.n; i++) {
        struct header field = headers_at(&cursor->raw, i);
        for (size_t k = 0; k < ARRAY_LEN(columns); k++)
            if (span_eq(field.name, span_str(columns[k].name)))
                *columns[k].to = field.value;
    }
    return ERR_OK;
}

/* What goes into a start line again must not be able to end it. */
static bool is_one_line(struct span s)
{
    return s.n == 0 || (!memchr(s.p, '\r', s.n) && !memchr(s.p, '\n', s.n) && !memchr(s.p, 0, s.n));
}

static enum err flow_check(struct tape_cursor *cursor, int64_t port, int64_t status, const struct tape_flow *f)
{
    if (port < 0 || port > 65535 || status < 0 || status > 999)
        return tape_corrupt(cursor->tape, "a flow's port or status");
    if ((int64_t)f->request_body.bytes < 0 || (int64_t)f->request_body.wire_bytes < 0 ||
        (int64_t)f->response_body.bytes < 0 || (int64_t)f->response_body.wire_bytes < 0 ||
        (int64_t)f->request_wire_bytes < 0 || (int64_t)f->response_wire_bytes < 0 || (int64_t)f->started_ns < 0)
        return tape_corrupt(cursor->tape, "a flow's sizes or start");
    const struct span lines[] = {f->method,          f->scheme,           f->host,  f->path,
                                 f->request_version, f->response_version, f->reason};
    for (size_t i = 0; i < ARRAY_LEN(lines); i++)
        if (!is_one_line(lines[i]))
            return tape_corrupt(cursor->tape, "a flow's start line");
    return ERR_OK;
}

enum err tape_flow_next(struct tape_cursor *cursor, struct tape_flow *out)
{
    sqlite3_stmt *s = cursor->row;
    if (cursor->order) {
        int rc = tape_step(cursor->tape, cursor->order);
        if (rc != SQLITE_ROW)
            return rc == SQLITE_DONE ? ERR_NOT_FOUND : tape_failed(cursor->tape, rc);
        (void)sqlite3_reset(s);
        (void)sqlite3_bind_int64(s, 1, sqlite3_column_int64(cursor->order, 0));
    }
    int rc = tape_step(cursor->tape, s);
    if (rc != SQLITE_ROW)
        return rc == SQLITE_DONE ? ERR_NOT_FOUND : tape_failed(cursor->tape, rc);
    int64_t port = sqlite3_column_int64(s, 8), status = sqlite3_column_int64(s, 12);
    flow_read(s, out);
    if (!cursor->order && !cursor->one && out->id <= cursor->last)
        return tape_corrupt(cursor->tape, "flows come twice");
    cursor->last = out->id;
    enum err e = ERR_OK;
    struct span raw = db_span(s, 37);
    if (raw.n)
        e = flow_raw(cursor, raw, out);
    if (!e)
        e = flow_check(cursor, port, status, out);
    out->port = (unsigned)port;
    out->status = (unsigned)status;
    return e;
}
