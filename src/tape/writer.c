/* writer.c: rows into a tape.
 *
 * Invariants: a transaction is open exactly when `open` is set; `failed` never goes back to ERR_OK; ids of bodies and header
 * blocks are counted here, so that nothing is asked of the database on the way in. All text is bound with its length; what is not UTF-8 is
 * shown escaped and kept as it is in the column `raw`. */
#include "tape/writer.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/text.h"
#include "base/util.h"
#include "tape/create.h"
#include "tape/dedup.h"
#include "tape/keep.h"
#include "tape/statements.h"

#include <assert.h>

enum {
    HEADER_BLOCKS_REMEMBERED = 16384,
    CHAINS_REMEMBERED = 1024,
    DEDUP_CHUNKED_BYTES_MAX = 64 << 20, /* giving up a larger copy would take too long between two batches */
    BUSY_TRIES = 24,                    /* of BUSY_MS each: somebody else is writing into our tape */
};

struct tape_writer {
    sqlite3 *db;
    sqlite3_stmt *statements[ST_COUNT];
    struct tape_lock lock;
    char *path;
    char *temporary; /* where it is written until it is whole; NULL: at `path` */
    bool force;
    const struct log *log;
    int64_t session, flow_base, connection_base, last_body, last_fields;
    struct hash_key key;
    struct dedup bodies, blocks;
    struct dedup
        chains; /* with a keeper: connections stay on the tape, so these may be shared, but not with a flow's content */
    struct keeper *keeper;   /* NULL: every flow stays */
    struct buf scratch, raw; /* JSON being built; what goes into the column `raw` */
    struct buf problem;      /* why it failed */
    enum err failed;
    bool open;   /* a transaction */
    bool verify; /* the hash key may be known to others: equal hashes are not taken as proof */
};

int64_t tape_writer_flow_base(const struct tape_writer *w)
{
    return w->flow_base;
}

int64_t tape_writer_connection_base(const struct tape_writer *w)
{
    return w->connection_base;
}

int64_t tape_writer_session(const struct tape_writer *w)
{
    return w->session;
}

static enum err writer_fail(struct tape_writer *w, enum err e)
{
    if (e && !w->failed) {
        w->failed = e;
        db_say(&w->problem, w->path, err_text(e), e == ERR_NOMEM || e == ERR_DISK_FULL ? NULL : w->db);
        if (!buf_cstr(&w->problem))
            buf_clear(&w->problem);
    }
    return e;
}

/* --- statements -------------------------------------------------------------------------------------------------- */

static void bind_span(sqlite3_stmt *s, int at, struct span text)
{
    (void)sqlite3_bind_text64(s, at, text.n ? (const char *)text.p : "", text.n, SQLITE_STATIC, SQLITE_UTF8);
}

/* Empty is null. */
static void bind_optional(sqlite3_stmt *s, int at, struct span text)
{
    if (text.n)
        bind_span(s, at, text);
    else
        (void)sqlite3_bind_null(s, at);
}

static void bind_id(sqlite3_stmt *s, int at, int64_t id)
{
    if (id)
        (void)sqlite3_bind_int64(s, at, id);
    else
        (void)sqlite3_bind_null(s, at);
}

static void bind_offset(sqlite3_stmt *s, int at, int64_t ns)
{
    if (ns >= 0)
        (void)sqlite3_bind_int64(s, at, ns);
    else
        (void)sqlite3_bind_null(s, at);
}

static void bind_blob(sqlite3_stmt *s, int at, struct span bytes)
{
    (void)sqlite3_bind_blob64(s, at, bytes.n ? (const void *)bytes.p : "", bytes.n, SQLITE_STATIC);
}

static void bind_hash(sqlite3_stmt *s, int at, const struct hash128 *hash)
{
    (void)sqlite3_bind_blob(s, at, hash, sizeof *hash, SQLITE_STATIC);
}

/* One step; bindings need not outlive it. A failed bind shows as a constraint failure here, for no value is then bound. */
static enum err run(struct tape_writer *w, enum statement which)
{
    int rc = sqlite3_step(w->statements[which]);
    enum err e = db_err(w->db, rc);
    if (e)
        (void)writer_fail(w, e);
    (void)sqlite3_reset(w->statements[which]);
    return e;
}

/* Opens the transaction that a row needs. Readers never stand in the way; another writer may, and is waited for. */
static enum err ready(struct tape_writer *w)
{
    if (w->failed || w->open)
        return w->failed;
    for (int tries = 1;; tries++) {
        int rc = sqlite3_step(w->statements[ST_BEGIN]);
        (void)sqlite3_reset(w->statements[ST_BEGIN]);
        if (rc == SQLITE_DONE)
            break;
        if ((rc & 0xff) != SQLITE_BUSY || tries == BUSY_TRIES)
            return writer_fail(w, db_err(w->db, rc));
        log_write(w->log, LOG_WARN, "tape", "%s: another program is writing into the tape; waiting", w->path);
    }
    w->open = true;
    return ERR_OK;
}

enum err tape_writer_commit(struct tape_writer *w)
{
    if (w->failed || !w->open)
        return w->failed;
    enum err e = run(w, ST_COMMIT);
    w->open = false;
    return e;
}

/* --- header blocks ----------------------------------------------------------------------------------------------- */

/* Lower case, up to `end`. */
static enum err put_lower(struct buf *out, struct span s, uint8_t end)
{
    s = span_trim(span_first(s, span_find(s, end)));
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < s.n; i++)
        e = buf_put_byte(out, (uint8_t)(s.p[i] >= 'A' && s.p[i] <= 'Z' ? s.p[i] | 0x20 : s.p[i]));
    return e;
}

static struct span fields_find(const struct fields_packed *fields, struct span name)
{
    struct header field;
    uint32_t at = 0;
    size_t offset = 0;
    while (fields_next(fields, &at, &offset, &field))
        if (span_eq_nocase(field.name, name))
            return field.value;
    return SPAN_EMPTY;
}

static enum err insert_fields(struct tape_writer *w, const struct fields_packed *fields, int64_t id)
{
    sqlite3_stmt *s = w->statements[ST_FIELDS];
    struct span mime = fields_find(fields, SPAN("content-type"));
    struct span encoding = fields_find(fields, SPAN("content-encoding"));
    buf_clear(&w->scratch);
    enum err e = fields_json(fields, &w->scratch);
    size_t mime_at = w->scratch.n;
    if (!e && text_is_utf8(mime))
        e = put_lower(&w->scratch, mime, ';');
    size_t encoding_at = w->scratch.n;
    if (!e && text_is_utf8(encoding))
        e = put_lower(&w->scratch, encoding, 0);
    if (e)
        return writer_fail(w, e);
    struct span all = buf_span(&w->scratch);
    (void)sqlite3_bind_int64(s, 1, id);
    bind_span(s, 2, span_first(all, mime_at));
    bind_optional(s, 3, span_from(span_first(all, encoding_at), mime_at));
    bind_optional(s, 4, span_from(all, encoding_at));
    return run(w, ST_FIELDS);
}

enum err tape_writer_fields(struct tape_writer *w, const struct fields_packed *fields, int64_t *id)
{
    *id = 0;
    if (fields->n == 0)
        return ERR_OK;
    enum err e = ready(w);
    if (e)
        return e;
    struct hash128_state st;
    hash128_begin(&st, &w->key);
    /* Lengths and bytes lie one after the other (fields.h). */
    size_t lengths = (size_t)(fields->bytes.p - fields->lengths);
    hash128_add(&st, span_of(fields->lengths, lengths + fields->bytes.n));
    struct hash128 hash = hash128_end(&st);
    uint64_t size = lengths + fields->bytes.n;
    *id = dedup_get(&w->blocks, &hash, size);
    if (*id)
        return ERR_OK;
    *id = w->last_fields + 1;
    e = insert_fields(w, fields, *id);
    if (e)
        return e;
    w->last_fields = *id;
    if (!w->keeper)
        dedup_put(&w->blocks, &hash, size, *id);
    return ERR_OK;
}

/* --- contents ---------------------------------------------------------------------------------------------------- */

/* Does the row hold exactly these bytes? Asked only where a hash is no proof. */
static enum err content_is(struct tape_writer *w, int64_t id, struct span content, bool *yes)
{
    sqlite3_stmt *s = w->statements[ST_CONTENT_OF];
    (void)sqlite3_bind_int64(s, 1, id);
    int rc = sqlite3_step(s);
    *yes = rc == SQLITE_ROW && span_eq(db_span(s, 0), content);
    enum err e = writer_fail(w, db_err(w->db, rc));
    (void)sqlite3_reset(s);
    return e;
}

/* `known_ones`: where it is looked for and remembered. */
static enum err content_store(struct tape_writer *w, struct dedup *known_ones, struct span content, int64_t *id)
{
    *id = 0;
    if (content.n == 0)
        return ERR_OK;
    enum err e = ready(w);
    if (e)
        return e;
    struct hash128_state st;
    hash128_begin(&st, &w->key);
    hash128_add(&st, content);
    struct hash128 hash = hash128_end(&st);
    int64_t known = dedup_get(known_ones, &hash, content.n);
    bool same = known != 0;
    if (known && w->verify)
        e = content_is(w, known, content, &same);
    if (e)
        return e;
    if (same) {
        *id = known;
        return ERR_OK;
    }
    sqlite3_stmt *s = w->statements[ST_CONTENT];
    *id = w->last_body + 1;
    (void)sqlite3_bind_int64(s, 1, *id);
    (void)sqlite3_bind_int64(s, 2, (int64_t)content.n);
    bind_hash(s, 3, &hash);
    bind_blob(s, 4, content);
    e = run(w, ST_CONTENT);
    if (e)
        return e;
    w->last_body = *id;
    if (!w->keeper || known_ones == &w->chains)
        dedup_put(known_ones, &hash, content.n, *id);
    return ERR_OK;
}

enum err tape_writer_content(struct tape_writer *w, struct span content, int64_t *id)
{
    return content_store(w, &w->bodies, content, id);
}

enum err tape_writer_body_begin(struct tape_writer *w, struct tape_writer_body *body)
{
    enum err e = ready(w);
    if (e)
        return e;
    *body = (struct tape_writer_body){.id = w->last_body + 1};
    hash128_begin(&body->hash, &w->key);
    (void)sqlite3_bind_int64(w->statements[ST_BODY], 1, body->id);
    e = run(w, ST_BODY);
    if (!e)
        w->last_body = body->id;
    return e;
}

enum err tape_writer_body_chunk(struct tape_writer *w, struct tape_writer_body *body, int64_t at_ns, struct span piece)
{
    assert(piece.n > 0 && piece.n <= LIMIT_CHUNK_BYTES);
    enum err e = ready(w);
    if (e)
        return e;
    sqlite3_stmt *s = w->statements[ST_CHUNK];
    (void)sqlite3_bind_int64(s, 1, body->id);
    (void)sqlite3_bind_int64(s, 2, body->seq);
    (void)sqlite3_bind_int64(s, 3, at_ns < 0 ? 0 : at_ns);
    (void)sqlite3_bind_int64(s, 4, (int64_t)piece.n);
    bind_blob(s, 5, piece);
    e = run(w, ST_CHUNK);
    if (e)
        return e;
    hash128_add(&body->hash, piece);
    body->bytes += piece.n;
    body->seq++;
    body->dirty = true;
    return ERR_OK;
}

enum err tape_writer_body_sync(struct tape_writer *w, struct tape_writer_body *body)
{
    if (!body->dirty)
        return w->failed;
    enum err e = ready(w);
    if (e)
        return e;
    (void)sqlite3_bind_int64(w->statements[ST_BODY_BYTES], 1, body->id);
    (void)sqlite3_bind_int64(w->statements[ST_BODY_BYTES], 2, (int64_t)body->bytes);
    body->dirty = false;
    return run(w, ST_BODY_BYTES);
}

/* The row whose content this body's chunks repeat, or 0. */
static enum err find_same(struct tape_writer *w, const struct tape_writer_body *body, const struct hash128 *hash,
                          int64_t *same)
{
    *same = body->bytes <= DEDUP_CHUNKED_BYTES_MAX ? dedup_get(&w->bodies, hash, body->bytes) : 0;
    if (*same == 0 || !w->verify)
        return ERR_OK;
    sqlite3_stmt *s = w->statements[ST_CHUNKS_DIFFER];
    (void)sqlite3_bind_int64(s, 1, body->id);
    (void)sqlite3_bind_int64(s, 2, *same);
    int rc = sqlite3_step(s);
    if (rc != SQLITE_ROW || sqlite3_column_int64(s, 0) != 0)
        *same = 0;
    enum err e = writer_fail(w, db_err(w->db, rc));
    (void)sqlite3_reset(s);
    return e;
}

enum err tape_writer_body_end(struct tape_writer *w, struct tape_writer_body *body)
{
    int64_t same = 0;
    enum err e = ready(w);
    if (e)
        return e;
    struct hash128 hash = hash128_end(&body->hash);
    e = find_same(w, body, &hash, &same);
    if (!e && same) {
        (void)sqlite3_bind_int64(w->statements[ST_CHUNKS_DROP], 1, body->id);
        e = run(w, ST_CHUNKS_DROP);
    }
    if (e)
        return e;
    sqlite3_stmt *s = w->statements[ST_BODY_END];
    (void)sqlite3_bind_int64(s, 1, body->id);
    (void)sqlite3_bind_int64(s, 2, (int64_t)body->bytes);
    bind_hash(s, 3, &hash);
    bind_id(s, 4, same);
    body->dirty = false;
    e = run(w, ST_BODY_END);
    /* A small one that came slowly is not referred to: its chunks tell its own times. */
    if (!e && !same && !w->keeper && body->bytes > LIMIT_INLINE_BODY_BYTES)
        dedup_put(&w->bodies, &hash, body->bytes, body->id);
    return e;
}

/* --- flows, connections, messages -------------------------------------------------------------------------------- */

/* Text for people in `scratch`, the bytes in `raw`, for a column that is not UTF-8. Offsets, since the buffers may move. */
struct shown {
    struct span text;
    size_t at, n; /* in scratch, when n > 0 */
};

static enum err show(struct tape_writer *w, const char *column, struct span text, struct shown *out)
{
    *out = (struct shown){text, 0, 0};
    if (text.n == 0 || (text_is_utf8(text) && !memchr(text.p, 0, text.n)))
        return ERR_OK;
    out->at = w->scratch.n;
    enum err e = text_escape_terminal(&w->scratch, text);
    out->n = w->scratch.n - out->at;
    if (!e)
        e = buf_printf(&w->raw, "%s[\"%s\",", w->raw.n ? "," : "[", column);
    if (!e)
        e = fields_json_value(text, &w->raw);
    return e ? e : buf_put_byte(&w->raw, ']');
}

static void bind_shown(struct tape_writer *w, sqlite3_stmt *s, int at, const struct shown *shown, bool optional)
{
    struct span text = shown->n ? span_first(span_from(buf_span(&w->scratch), shown->at), shown->n) : shown->text;
    if (optional)
        bind_optional(s, at, text);
    else
        bind_span(s, at, text);
}

static void bind_flow_request(struct tape_writer *w, sqlite3_stmt *s, const struct tape_flow_row *row)
{
    (void)sqlite3_bind_int64(s, 1, row->id);
    (void)sqlite3_bind_int64(s, 2, w->session);
    bind_span(s, 3, row->kind);
    (void)sqlite3_bind_int64(s, 5, (int64_t)row->started_ns);
    (void)sqlite3_bind_int64(s, 9, row->port);
    bind_id(s, 12, row->request_headers);
    bind_id(s, 13, row->request_trailers);
    bind_id(s, 14, row->request_body);
    (void)sqlite3_bind_int64(s, 15, (int64_t)row->request_bytes);
    (void)sqlite3_bind_int64(s, 16, (int64_t)row->request_wire_bytes);
    bind_offset(s, 26, row->request_end_ns);
    bind_offset(s, 27, row->sent_ns);
}

static void bind_flow_response(sqlite3_stmt *s, const struct tape_flow_row *row)
{
    bind_id(s, 18, row->status);
    bind_id(s, 20, row->response_headers);
    bind_id(s, 21, row->response_trailers);
    bind_id(s, 22, row->response_body);
    (void)sqlite3_bind_int64(s, 23, (int64_t)row->response_bytes);
    (void)sqlite3_bind_int64(s, 24, (int64_t)row->response_wire_bytes);
    bind_optional(s, 25, row->informational);
    bind_offset(s, 28, row->response_begin_ns);
    bind_offset(s, 29, row->response_end_ns);
    (void)sqlite3_bind_int64(s, 30, row->complete);
    (void)sqlite3_bind_int64(s, 32, row->answered);
    bind_id(s, 33, row->client_connection);
    bind_id(s, 34, row->server_connection);
    (void)sqlite3_bind_int64(s, 35, row->server_reused);
}

enum err tape_writer_flow(struct tape_writer *w, const struct tape_flow_row *row)
{
    const struct {
        const char *name;
        int at;
        bool optional;
        struct span text;
    } columns[] = {
        {"track", 4, true, row->track},
        {"method", 6, false, row->method},
        {"scheme", 7, false, row->scheme},
        {"host", 8, false, row->host},
        {"path", 10, false, row->path},
        {"request_version", 11, false, row->request_version},
        {"response_version", 17, true, row->response_version},
        {"reason", 19, row->response_version.n == 0, row->reason},
        {"error", 31, true, row->error},
    };
    struct shown shown[ARRAY_LEN(columns)];
    enum err e = ready(w);
    buf_clear(&w->scratch);
    buf_clear(&w->raw);
    for (size_t i = 0; !e && i < ARRAY_LEN(columns); i++)
        e = writer_fail(w, show(w, columns[i].name, columns[i].text, &shown[i]));
    if (!e && w->raw.n)
        e = writer_fail(w, buf_put_byte(&w->raw, ']'));
    if (e)
        return e;
    sqlite3_stmt *s = w->statements[ST_FLOW];
    for (size_t i = 0; i < ARRAY_LEN(columns); i++)
        bind_shown(w, s, columns[i].at, &shown[i], columns[i].optional);
    bind_flow_request(w, s, row);
    bind_flow_response(s, row);
    bind_optional(s, 36, buf_span(&w->raw));
    return run(w, ST_FLOW);
}

enum err tape_writer_flow_ended(struct tape_writer *w, int64_t id, bool *kept)
{
    *kept = true;
    if (!w->keeper)
        return w->failed;
    enum err e = ready(w);
    return e ? e : writer_fail(w, keeper_judge(w->keeper, id, kept));
}

enum err tape_writer_connection(struct tape_writer *w, const struct tape_connection *c)
{
    const struct span columns[] = {c->peer, c->local,       c->host,       c->sni,
                                   c->alpn, c->tls_version, c->tls_cipher, c->error};
    static const int at[] = {4, 5, 6, 8, 9, 10, 11, 19};
    struct shown shown[ARRAY_LEN(columns)];
    int64_t chain = 0;
    enum err e = content_store(w, w->keeper ? &w->chains : &w->bodies, c->chain, &chain);
    if (!e)
        e = ready(w);
    buf_clear(&w->scratch);
    buf_clear(&w->raw); /* there is no such column here: names of connections are for people */
    for (size_t i = 0; !e && i < ARRAY_LEN(columns); i++)
        e = writer_fail(w, show(w, "", columns[i], &shown[i]));
    if (e)
        return e;
    sqlite3_stmt *s = w->statements[ST_CONNECTION];
    for (size_t i = 0; i < ARRAY_LEN(columns); i++)
        bind_shown(w, s, at[i], &shown[i], at[i] == 19);
    (void)sqlite3_bind_int64(s, 1, c->id);
    (void)sqlite3_bind_int64(s, 2, w->session);
    bind_span(s, 3, c->server ? SPAN("server") : SPAN("client"));
    (void)sqlite3_bind_int64(s, 7, c->port);
    (void)sqlite3_bind_int64(s, 12, c->tls_resumed);
    bind_id(s, 13, chain);
    (void)sqlite3_bind_int64(s, 14, (int64_t)c->opened_ns);
    bind_offset(s, 15, c->dns_ns);
    bind_offset(s, 16, c->connected_ns);
    bind_offset(s, 17, c->tls_ns);
    bind_offset(s, 18, c->closed_ns);
    return run(w, ST_CONNECTION);
}

enum err tape_writer_message(struct tape_writer *w, int64_t flow, const struct tape_message *message)
{
    struct shown shown[2];
    enum err e = ready(w);
    buf_clear(&w->scratch);
    buf_clear(&w->raw);
    if (!e)
        e = show(w, "event", message->event, &shown[0]);
    if (!e)
        e = show(w, "event_id", message->event_id, &shown[1]);
    if (e)
        return e;
    sqlite3_stmt *s = w->statements[ST_MESSAGE];
    (void)sqlite3_bind_int64(s, 1, flow);
    (void)sqlite3_bind_int64(s, 2, message->seq);
    (void)sqlite3_bind_int64(s, 3, message->at_ns < 0 ? 0 : message->at_ns);
    bind_span(s, 4, message->from_client ? SPAN("request") : SPAN("response"));
    bind_span(s, 5, message->kind);
    (void)sqlite3_bind_int(s, 6, message->more);
    (void)sqlite3_bind_int64(s, 7, (int64_t)message->wire_bytes);
    bind_id(s, 8, (int64_t)message->code);
    bind_shown(w, s, 9, &shown[0], true);
    bind_shown(w, s, 10, &shown[1], !message->has_event_id);
    bind_offset(s, 11, span_eq(message->kind, SPAN("event")) ? message->retry_ms : -1);
    bind_blob(s, 12, message->payload);
    return run(w, ST_MESSAGE);
}

/* --- sessions ---------------------------------------------------------------------------------------------------- */

/* Contents of earlier sessions are remembered, the newest first. Their key came with the file: see `verify`. */
static enum err load_hashes(struct tape_writer *w)
{
    sqlite3_stmt *s = NULL;
    int rc = SQLITE_DONE;
    enum err e = db_prepare(w->db,
                            "SELECT id, bytes, hash FROM body WHERE length(hash) = 16 AND same_as IS NULL AND "
                            "(content IS NOT NULL OR bytes > ?1) ORDER BY id DESC LIMIT ?2",
                            &s);
    if (!e) {
        (void)sqlite3_bind_int(s, 1, LIMIT_INLINE_BODY_BYTES);
        (void)sqlite3_bind_int(s, 2, LIMIT_DEDUP_ENTRIES);
        while ((rc = sqlite3_step(s)) == SQLITE_ROW) {
            struct span bytes = db_span(s, 2);
            struct hash128 hash;
            if (bytes.n != sizeof hash)
                continue;
            memcpy(&hash, bytes.p, sizeof hash);
            dedup_put(&w->bodies, &hash, (uint64_t)sqlite3_column_int64(s, 1), sqlite3_column_int64(s, 0));
        }
        e = db_err(w->db, rc);
    }
    (void)sqlite3_finalize(s);
    return e;
}

/* The key of the sessions before, if there are any. `share`: their contents may be referred to. With a filter they may not: what a flow refers
 * to is taken off the tape with it. */
static enum err load_key(struct tape_writer *w, bool share)
{
    sqlite3_stmt *s = NULL;
    hash_key_random(&w->key);
    enum err e = db_prepare(w->db, "SELECT hash_key FROM session ORDER BY id DESC LIMIT 1", &s);
    if (!e) {
        int rc = sqlite3_step(s);
        struct span key = rc == SQLITE_ROW ? db_span(s, 0) : SPAN_EMPTY;
        w->verify = key.n == sizeof w->key;
        if (w->verify)
            memcpy(&w->key, key.p, sizeof w->key);
        e = db_err(w->db, rc);
    }
    (void)sqlite3_finalize(s);
    return e || !w->verify || !share ? e : load_hashes(w);
}

static enum err load_bases(struct tape_writer *w)
{
    const struct {
        const char *sql;
        int64_t *to;
    } bases[] = {
        {"SELECT max(id) FROM flow", &w->flow_base},
        {"SELECT max(id) FROM connection", &w->connection_base},
        {"SELECT max(id) FROM body", &w->last_body},
        {"SELECT max(id) FROM header_block", &w->last_fields},
    };
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < ARRAY_LEN(bases); i++) {
        e = db_int(w->db, bases[i].sql, bases[i].to);
        if (!e && (*bases[i].to < 0 || *bases[i].to > INT64_MAX / 2))
            e = ERR_CORRUPT;
    }
    return e;
}

static enum err begin_session(struct tape_writer *w, const struct tape_writer_options *options)
{
    sqlite3_stmt *s = w->statements[ST_SESSION];
    enum err e = ready(w);
    buf_clear(&w->scratch);
    for (size_t i = 0; !e && options->command && options->command[i]; i++) {
        e = buf_put_str(&w->scratch, i ? "," : "[");
        if (!e)
            e = fields_json_value(span_str(options->command[i]), &w->scratch);
    }
    if (!e && w->scratch.n)
        e = buf_put_byte(&w->scratch, ']');
    if (e)
        return e;
    (void)sqlite3_bind_int64(s, 1, (int64_t)clock_wall_ns());
    bind_optional(s, 2, buf_span(&w->scratch));
    bind_span(s, 3, span_str(options->version ? options->version : ""));
    (void)sqlite3_bind_blob(s, 4, &w->key, sizeof w->key, SQLITE_STATIC);
    e = run(w, ST_SESSION);
    w->session = sqlite3_last_insert_rowid(w->db);
    return e ? e : tape_writer_commit(w);
}

static enum err prepare_all(struct tape_writer *w)
{
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < ST_COUNT; i++)
        e = db_prepare(w->db, statement_sql[i], &w->statements[i]);
    return e;
}

static void db_shut(struct tape_writer *w)
{
    keeper_destroy(&w->keeper);
    for (size_t i = 0; i < ST_COUNT; i++) {
        (void)sqlite3_finalize(w->statements[i]);
        w->statements[i] = NULL;
    }
    (void)sqlite3_close(w->db);
    w->db = NULL;
}

static void writer_free(struct tape_writer *w)
{
    db_shut(w);
    tape_lock_drop(&w->lock);
    dedup_free(&w->bodies);
    dedup_free(&w->blocks);
    dedup_free(&w->chains);
    buf_free(&w->scratch);
    buf_free(&w->raw);
    buf_free(&w->problem);
    mem_free(w->path);
    mem_free(w->temporary);
    mem_free(w);
}

void tape_writer_abandon(struct tape_writer **w)
{
    struct tape_writer *it = *w;
    *w = NULL;
    if (!it)
        return;
    if (it->db && !sqlite3_get_autocommit(it->db))
        (void)sqlite3_exec(it->db, "ROLLBACK", NULL, NULL, NULL);
    db_shut(it);
    tape_file_discard(it->temporary);
    writer_free(it);
}

enum err tape_writer_open(struct tape_writer **out, const struct tape_writer_options *options, struct buf *problem)
{
    struct tape_writer *w = mem_new(1, sizeof *w);
    *out = NULL;
    if (!w)
        return ERR_NOMEM;
    w->lock = TAPE_LOCK_INIT;
    w->log = options->log;
    enum err e = tape_file_name(&w->path, options->path);
    if (!e)
        e = dedup_init(&w->bodies, LIMIT_DEDUP_ENTRIES);
    if (!e)
        e = dedup_init(&w->blocks, HEADER_BLOCKS_REMEMBERED);
    if (!e)
        e = dedup_init(&w->chains, CHAINS_REMEMBERED);
    if (!e)
        e = tape_lock_take(&w->lock, w->path, problem);
    enum tape_mode mode = options->append ? TAPE_APPEND : options->force ? TAPE_REPLACE : TAPE_NEW;
    if (!e && options->whole)
        e = tape_file_begin(&w->temporary, w->path, mode, problem);
    if (!e)
        e = tape_file_open(&w->db, w->temporary ? w->temporary : w->path, w->temporary ? TAPE_NEW : mode,
                           options->page_bytes, problem);
    w->force = options->force;
    if (!e) {
        e = load_bases(w);
        if (!e)
            e = load_key(w, !options->filter);
        if (!e)
            e = prepare_all(w);
        if (!e && options->filter)
            e = keeper_create(&w->keeper, w->db, w->path, options->filter);
        if (!e)
            e = begin_session(w, options);
        if (e)
            db_say(problem, w->path, "cannot write the tape", w->db);
    }
    if (e)
        tape_writer_abandon(&w);
    *out = w;
    return e;
}

/* One file, unless somebody is reading it just now: then the log stays beside it until the last one closes. */
static void leave_one_file(struct tape_writer *w)
{
    sqlite3_stmt *s = NULL;
    (void)sqlite3_busy_timeout(w->db, 1000);
    if (sqlite3_wal_checkpoint_v2(w->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL) != SQLITE_OK)
        log_write(w->log, LOG_WARN, "tape",
                  "%s: another program is reading the tape; its log (-wal) stays until that ends", w->path);
    else if (db_prepare(w->db, "PRAGMA journal_mode=DELETE", &s) == ERR_OK)
        (void)sqlite3_step(s);
    (void)sqlite3_finalize(s);
}

bool tape_writer_failed(const struct tape_writer *w)
{
    return w->failed != ERR_OK;
}

const char *tape_writer_problem(const struct tape_writer *w, enum err otherwise)
{
    return w->problem.n ? (const char *)buf_span(&w->problem).p : err_text(otherwise);
}

enum err tape_writer_close(struct tape_writer **w, struct buf *problem)
{
    struct tape_writer *it = *w;
    *w = NULL;
    if (!it)
        return ERR_OK;
    enum err e = ready(it);
    if (!e) {
        (void)sqlite3_bind_int64(it->statements[ST_SESSION_END], 1, it->session);
        (void)sqlite3_bind_int64(it->statements[ST_SESSION_END], 2, (int64_t)clock_wall_ns());
        e = run(it, ST_SESSION_END);
    }
    if (!e)
        e = tape_writer_commit(it);
    if (!sqlite3_get_autocommit(it->db))
        (void)sqlite3_exec(it->db, "ROLLBACK", NULL, NULL, NULL);
    for (size_t i = 0; i < ST_COUNT; i++) {
        (void)sqlite3_finalize(it->statements[i]);
        it->statements[i] = NULL;
    }
    keeper_destroy(&it->keeper);
    if (!e)
        leave_one_file(it);
    if (it->failed && problem) {
        buf_clear(problem);
        if (buf_put(problem, buf_span(&it->problem)))
            buf_clear(problem);
    }
    e = it->failed;
    if (it->temporary) {
        db_shut(it);
        if (e)
            tape_file_discard(it->temporary);
        else
            e = tape_file_end(it->temporary, it->path, it->force, problem);
    }
    writer_free(it);
    return e;
}
