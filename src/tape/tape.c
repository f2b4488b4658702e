/* tape.c: opening a tape for reading, and its sessions, connections and messages. Flows are in flows.c, contents in body.c.
 *
 * A tape may have been made by anybody: see db.h for what is switched off. No statement here depends on what the file says, every
 * value is bounded by DB_VALUE_BYTES_MAX, and a row that makes no sense is ERR_CORRUPT. */
#include "tape/internal.h"

#include "base/alloc.h"
#include "base/util.h"

#include <errno.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

enum { WORK_MIN = 20000 };

/* The sentence is handed out as text. Passes e on. */
static enum err tape_terminate(struct tape *tape, enum err e)
{
    if (!buf_cstr(&tape->problem))
        buf_clear(&tape->problem);
    return e;
}

enum err tape_failed(struct tape *tape, int rc)
{
    enum err e = db_err(tape->db, rc);
    if (e == ERR_NOT_TAPE || (rc & 0xff) == SQLITE_INTERRUPT)
        e = ERR_CORRUPT; /* it was one when it was opened */
    if (e == ERR_CORRUPT)
        db_say(&tape->problem, tape->path, "the tape is damaged; `sqlite3 TAPE .dump` prints what is sound", tape->db);
    else if (e)
        db_say(&tape->problem, tape->path, "cannot read the tape", tape->db);
    return tape_terminate(tape, e);
}

enum err tape_corrupt(struct tape *tape, const char *what)
{
    buf_clear(&tape->problem);
    if (buf_printf(&tape->problem, "%s: the tape is damaged (%s); `sqlite3 TAPE .dump` prints what is sound",
                   tape->path, what))
        buf_clear(&tape->problem);
    return tape_terminate(tape, ERR_CORRUPT);
}

static int tape_at_work(void *ctx)
{
    struct tape *tape = ctx;
    return tape->work == 0 || --tape->work == 0;
}

int tape_step(struct tape *tape, sqlite3_stmt *stmt)
{
    tape->work = tape->work_max;
    sqlite3_progress_handler(tape->db, 1000, tape_at_work, tape);
    int rc = sqlite3_step(stmt);
    sqlite3_progress_handler(tape->db, 0, NULL, NULL);
    return rc;
}

enum err tape_prepare(struct tape *tape, const char *sql, sqlite3_stmt **stmt)
{
    if (*stmt)
        return ERR_OK;
    return tape_failed(tape, sqlite3_prepare_v3(tape->db, sql, -1, SQLITE_PREPARE_PERSISTENT, stmt, NULL));
}

/* --- opening ----------------------------------------------------------------------------------------------------- */

static enum err say_stat(struct buf *problem, const char *path, enum err e)
{
    if (problem) {
        buf_clear(problem);
        if (buf_printf(problem, "%s: %s", path, err_text(e)))
            buf_clear(problem);
    }
    return e;
}

/* Without opening it: closing a descriptor of a database that this process has open elsewhere would drop its locks. */
static enum err tape_look(const char *path, struct buf *problem)
{
    struct stat st;
    if (stat(path, &st) != 0 || (S_ISREG(st.st_mode) && access(path, R_OK) != 0))
        return say_stat(problem, path, err_from_errno(errno));
    if (!S_ISREG(st.st_mode)) {
        db_say(problem, path, S_ISDIR(st.st_mode) ? "a folder, not a tape" : "not a regular file, so not a tape", NULL);
        return ERR_NOT_TAPE;
    }
    if (st.st_size == 0) {
        db_say(problem, path, "the file is empty, so not a tape", NULL);
        return ERR_NOT_TAPE;
    }
    return ERR_OK;
}

/* file: URI of a path, with parameters. NULL: out of memory. */
static const char *tape_uri(struct buf *out, const char *path, const char *parameters)
{
    enum err e = buf_put_str(out, path[0] == '/' ? "file://" : "file:./"); /* "./": for ":memory:" */
    for (const char *p = path; !e && *p; p++)
        e = strchr("?#%", *p) ? buf_printf(out, "%%%02X", (unsigned char)*p) : buf_put_byte(out, (uint8_t)*p);
    if (!e)
        e = buf_put_str(out, parameters);
    return e ? NULL : buf_cstr(out);
}

static enum err tape_connect(struct tape *tape, const char *parameters, bool exclusive)
{
    struct buf uri = BUF_INIT;
    const char *text = tape_uri(&uri, tape->path, parameters);
    enum err e = text ? ERR_OK : ERR_NOMEM;
    if (!e)
        e = db_err(tape->db,
                   sqlite3_open_v2(text, &tape->db,
                                   SQLITE_OPEN_READONLY | SQLITE_OPEN_URI | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE,
                                   NULL));
    buf_free(&uri);
    if (!e && exclusive) /* before anything is read */
        e = db_exec(tape->db, "PRAGMA locking_mode=EXCLUSIVE");
    if (!e)
        e = db_harden(tape->db);
    if (!e)
        e = db_exec(tape->db, "PRAGMA query_only=1; PRAGMA cache_size=-8192");
    if (!e)
        e = db_err(tape->db, sqlite3_busy_timeout(tape->db, 5000));
    return e;
}

/* Nobody who reads needs to write, but a log left by a crash wants its index (-shm) beside it. Where that cannot be made, the index is kept
 * in memory, which only a connection does that minds no locks: in a folder that is read-only to us, and where nobody else made an index,
 * nobody records. Without a log the file is read as it lies there. */
static enum err tape_connect_any(struct tape *tape)
{
    static const struct {
        const char *parameters;
        bool exclusive;
    } ways[] = {{"?mode=ro", false}, {"?mode=ro&vfs=unix-none", true}, {"?mode=ro&immutable=1", false}};
    enum err e = ERR_OK;
    for (size_t i = 0; i < ARRAY_LEN(ways) - db_has_log(tape->path); i++) {
        int64_t ignored;
        (void)sqlite3_close(tape->db);
        tape->db = NULL;
        e = tape_connect(tape, ways[i].parameters, ways[i].exclusive);
        if (!e)
            e = db_int(tape->db, "SELECT count(*) FROM sqlite_schema", &ignored);
        int code = tape->db ? sqlite3_errcode(tape->db) & 0xff : SQLITE_NOMEM;
        if (!e || (code != SQLITE_CANTOPEN && code != SQLITE_READONLY))
            break;
    }
    return e == ERR_NOT_TAPE || e == ERR_CORRUPT ? ERR_OK : e; /* db_check() finds the words for those */
}

/* A row takes some 40 bytes at the least, and a dozen instructions to sort. */
static uint64_t tape_work(const char *path)
{
    struct stat st;
    uint64_t bytes = stat(path, &st) == 0 && st.st_size > 0 ? (uint64_t)st.st_size : 0;
    return WORK_MIN + bytes / 500;
}

enum err tape_open(struct tape **out, const char *path, struct buf *problem)
{
    struct tape *tape = NULL;
    *out = NULL;
    enum err e = tape_look(path, problem);
    if (e)
        return e;
    tape = mem_new(1, sizeof *tape);
    if (!tape)
        return ERR_NOMEM;
    tape->work_max = tape_work(path);
    tape->path = mem_strdup(path, strlen(path));
    e = tape->path ? tape_connect_any(tape) : ERR_NOMEM;
    if (e)
        db_say(problem, path, "cannot open the tape", tape->db);
    else
        e = db_check(tape->db, path, &tape->version, problem);
    if (!e)
        e = db_check_size(tape->db, path, problem);
    if (e)
        tape_close(&tape);
    *out = tape;
    return e;
}

enum err tape_attach(struct tape **out, sqlite3 *db, const char *path)
{
    struct tape *tape = mem_new(1, sizeof *tape);
    *out = NULL;
    if (!tape)
        return ERR_NOMEM;
    tape->borrowed = true;
    tape->work_max = WORK_MIN;
    tape->version = TAPE_VERSION;
    tape->db = db;
    tape->path = mem_strdup(path, strlen(path));
    if (!tape->path)
        tape_close(&tape);
    *out = tape;
    return tape ? ERR_OK : ERR_NOMEM;
}

void tape_close(struct tape **tape)
{
    struct tape *it = *tape;
    *tape = NULL;
    if (!it)
        return;
    tape_cursor_free(it->one);
    for (size_t i = 0; i < TAPE_SPARES; i++)
        tape_body_free(it->spares[i]);
    (void)sqlite3_finalize(it->connection);
    (void)sqlite3_finalize(it->connection_next);
    (void)sqlite3_finalize(it->session_next);
    if (!it->borrowed)
        (void)sqlite3_close(it->db);
    buf_free(&it->problem);
    buf_free(&it->chain);
    mem_free(it->path);
    mem_free(it);
}

const char *tape_path(const struct tape *tape)
{
    return tape->path;
}

const char *tape_problem(const struct tape *tape)
{
    return tape->problem.n ? (const char *)buf_span(&tape->problem).p : "no problem is known";
}

enum err tape_count_flows(struct tape *tape, int64_t *out)
{
    sqlite3_stmt *stmt = NULL;
    *out = 0;
    enum err e = tape_prepare(tape, "SELECT count(*) FROM flow", &stmt);
    if (!e) {
        int rc = tape_step(tape, stmt);
        e = tape_failed(tape, rc);
        if (!e)
            *out = sqlite3_column_int64(stmt, 0);
    }
    (void)sqlite3_finalize(stmt);
    return e;
}

/* --- connections ------------------------------------------------------------------------------------------------- */

#define CONNECTION_COLUMNS                                                                                                      \
    "id, side = 'server', peer, local, host, port, sni, alpn, tls_version, tls_cipher, tls_resumed, chain, opened_ns, dns_ns, " \
    "connected_ns, tls_ns, closed_ns, error"

static enum err connection_read(struct tape *tape, sqlite3_stmt *s, struct tape_connection *out)
{
    int64_t port = sqlite3_column_int64(s, 5), chain = sqlite3_column_int64(s, 11);
    *out = (struct tape_connection){
        .id = sqlite3_column_int64(s, 0),
        .server = sqlite3_column_int(s, 1) != 0,
        .peer = db_span(s, 2),
        .local = db_span(s, 3),
        .host = db_span(s, 4),
        .sni = db_span(s, 6),
        .alpn = db_span(s, 7),
        .tls_version = db_span(s, 8),
        .tls_cipher = db_span(s, 9),
        .tls_resumed = sqlite3_column_int(s, 10) != 0,
        .opened_ns = (uint64_t)sqlite3_column_int64(s, 12),
        .dns_ns = db_offset(s, 13),
        .connected_ns = db_offset(s, 14),
        .tls_ns = db_offset(s, 15),
        .closed_ns = db_offset(s, 16),
        .error = db_span(s, 17),
    };
    if (port < 0 || port > 65535)
        return tape_corrupt(tape, "a connection's port");
    out->port = (unsigned)port;
    buf_clear(&tape->chain);
    if (chain > 0) {
        struct tape_body_ref ref = {.id = chain};
        enum err e = tape_body_read(tape, &ref, DB_VALUE_BYTES_MAX, &tape->chain);
        if (e)
            return e == ERR_LIMIT ? tape_corrupt(tape, "a certificate chain") : e;
    }
    out->chain = buf_span(&tape->chain);
    return ERR_OK;
}

static enum err connection_get(struct tape *tape, sqlite3_stmt *s, int64_t id, struct tape_connection *out)
{
    (void)sqlite3_reset(s);
    (void)sqlite3_bind_int64(s, 1, id);
    int rc = sqlite3_step(s);
    if (rc == SQLITE_ROW)
        return connection_read(tape, s, out);
    return rc == SQLITE_DONE ? ERR_NOT_FOUND : tape_failed(tape, rc);
}

enum err tape_connection(struct tape *tape, int64_t id, struct tape_connection *out)
{
    enum err e = tape_prepare(tape, "SELECT " CONNECTION_COLUMNS " FROM connection WHERE id = ?1", &tape->connection);
    return e ? e : connection_get(tape, tape->connection, id, out);
}

enum err tape_connection_next(struct tape *tape, int64_t *after, struct tape_connection *out)
{
    enum err e = tape_prepare(tape,
                              "SELECT " CONNECTION_COLUMNS
                              " FROM connection WHERE id > ?1 AND side = 'server' ORDER BY id LIMIT 1",
                              &tape->connection_next);
    if (!e)
        e = connection_get(tape, tape->connection_next, *after, out);
    if (!e)
        *after = out->id;
    return e;
}

/* --- sessions ---------------------------------------------------------------------------------------------------- */

enum err tape_session_next(struct tape *tape, int64_t *after, struct tape_session *out)
{
    enum err e = tape_prepare(
        tape,
        "SELECT id, started_ns, ended_ns, command, ringtape_version, "
        "(SELECT count(*) FROM flow WHERE session = s.id) FROM session s WHERE id > ?1 ORDER BY id LIMIT 1",
        &tape->session_next);
    if (e)
        return e;
    sqlite3_stmt *s = tape->session_next;
    (void)sqlite3_reset(s);
    (void)sqlite3_bind_int64(s, 1, *after);
    int rc = tape_step(tape, s);
    if (rc != SQLITE_ROW)
        return rc == SQLITE_DONE ? ERR_NOT_FOUND : tape_failed(tape, rc);
    *out = (struct tape_session){
        .id = sqlite3_column_int64(s, 0),
        .started_ns = (uint64_t)sqlite3_column_int64(s, 1),
        .ended_ns = (uint64_t)sqlite3_column_int64(s, 2),
        .command = db_span(s, 3),
        .ringtape_version = db_span(s, 4),
        .flows = sqlite3_column_int64(s, 5),
    };
    *after = out->id;
    return ERR_OK;
}

/* --- messages ---------------------------------------------------------------------------------------------------- */

struct tape_message_cursor {
    struct tape *tape;
    sqlite3_stmt *stmt;
    bool over; /* another step would begin anew */
};

static const char messages_sql[] =
    "SELECT id, seq, at_ns, direction = 'request', kind, more, wire_bytes, code, event, event_id, retry_ms, payload "
    "FROM message WHERE flow = ?1 AND seq >= ?2 ORDER BY seq";
static const char messages_sql_1[] =
    "SELECT id, seq, at_ns, direction = 'request', kind, 0, length(payload), NULL, NULL, NULL, NULL, payload "
    "FROM message WHERE flow = ?1 AND seq >= ?2 ORDER BY seq";

enum err tape_messages(struct tape *tape, int64_t flow, struct tape_message_cursor **out)
{
    return tape_messages_from(tape, flow, 0, out);
}

enum err tape_messages_from(struct tape *tape, int64_t flow, int64_t seq, struct tape_message_cursor **out)
{
    struct tape_message_cursor *cursor = mem_new(1, sizeof *cursor);
    *out = NULL;
    if (!cursor)
        return ERR_NOMEM;
    cursor->tape = tape;
    enum err e = tape_prepare(tape, tape->version < 2 ? messages_sql_1 : messages_sql, &cursor->stmt);
    if (e) {
        tape_message_cursor_close(&cursor);
    } else {
        (void)sqlite3_bind_int64(cursor->stmt, 1, flow);
        (void)sqlite3_bind_int64(cursor->stmt, 2, seq);
    }
    *out = cursor;
    return e;
}

bool tape_message_is_content(const struct tape_message *message)
{
    static const char *const kinds[] = {"text", "binary", "event", "grpc"};
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (span_eq(message->kind, span_str(kinds[i])))
            return true;
    return false;
}

enum err tape_message_next(struct tape_message_cursor *cursor, struct tape_message *out)
{
    sqlite3_stmt *s = cursor->stmt;
    int rc = cursor->over ? SQLITE_DONE : tape_step(cursor->tape, s);
    cursor->over = rc == SQLITE_DONE;
    if (rc != SQLITE_ROW)
        return rc == SQLITE_DONE ? ERR_NOT_FOUND : tape_failed(cursor->tape, rc);
    int64_t wire_bytes = sqlite3_column_int64(s, 6), code = sqlite3_column_int64(s, 7);
    *out = (struct tape_message){
        .id = sqlite3_column_int64(s, 0),
        .seq = sqlite3_column_int64(s, 1),
        .at_ns = sqlite3_column_int64(s, 2),
        .from_client = sqlite3_column_int(s, 3) != 0,
        .kind = db_span(s, 4),
        .more = sqlite3_column_int(s, 5) != 0,
        .wire_bytes = wire_bytes > 0 ? (uint64_t)wire_bytes : 0,
        .code = code > 0 && code <= UINT16_MAX ? (unsigned)code : 0,
        .event = db_span(s, 8),
        .event_id = db_span(s, 9),
        .has_event_id = sqlite3_column_type(s, 9) != SQLITE_NULL,
        .retry_ms = db_offset(s, 10),
        .payload = db_span(s, 11),
    };
    return out->at_ns < 0 ? tape_corrupt(cursor->tape, "a message's time") : ERR_OK;
}

void tape_message_cursor_close(struct tape_message_cursor **cursor)
{
    struct tape_message_cursor *it = *cursor;
    *cursor = NULL;
    if (!it)
        return;
    (void)sqlite3_finalize(it->stmt);
    mem_free(it);
}
