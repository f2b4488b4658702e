/* assemble.c: notes into rows.
 *
 * One struct assembly for each flow under way, found by its number, recycled with its buffers. Invariants: it is in `changed` exactly when the
 * tape does not have all of it; a side's content is in `pending` only as long as nothing was committed since it came, so memory is
 * bounded by what arrives between two commits. */
#include "record/assemble.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/util.h"

#include <assert.h>

enum {
    CHUNK_GATHER_NS =
        20 * 1000 * 1000, /* pieces of one chunk or message came within this time, so that its time means something */
    SPARES_MAX = 256,
};

struct assembly_side {
    int64_t fields, trailers; /* ids on the tape */
    int64_t content;          /* id, once it is whole or given up */
    uint64_t bytes;
    struct buf pending;
    int64_t pending_at_ns;
    struct tape_writer_body body; /* id 0: no chunks yet */
    int64_t begin_ns, end_ns;     /* offsets, -1 */
    bool headed, ended, closed;   /* a head came; it is complete; nothing more comes */
};

struct assembly {
    struct list changed;
    struct assembly *spare_next;
    uint64_t id; /* in this process */
    enum flow_kind kind;
    uint64_t started_wall_ns, started_ns, client;
    struct note_facts facts;
    struct assembly_side sides[2]; /* request, response */
    struct buf text;
    struct slice track, method, scheme, host, path, request_version, response_version, reason;
    unsigned port, status;
    struct buf informational, error;
    bool answered;
    struct buf message; /* bytes of a tunnel that are not a row yet */
    int64_t message_at_ns, message_seq;
    bool message_from_client;
};

struct assembler {
    struct tape_writer *writer;
    int64_t flow_base, connection_base;
    struct hash_table table; /* struct assembly by id */
    struct list changed;
    struct assembly *spares;
    size_t spares_n;
    struct buf scratch;
    struct assembler_pending pending;
    struct assembler_counters counters;
};

/* --- memory ------------------------------------------------------------------------------------------------------ */

enum err assembler_create(struct assembler **out, struct tape_writer *writer)
{
    struct assembler *a = mem_new(1, sizeof *a);
    *out = a;
    if (!a)
        return ERR_NOMEM;
    a->writer = writer;
    a->flow_base = tape_writer_flow_base(writer);
    a->connection_base = tape_writer_connection_base(writer);
    list_init(&a->changed);
    return ERR_OK;
}

static void assembly_free(struct assembly *f)
{
    for (size_t i = 0; i < 2; i++)
        buf_free(&f->sides[i].pending);
    buf_free(&f->text);
    buf_free(&f->informational);
    buf_free(&f->error);
    buf_free(&f->message);
    mem_free(f);
}

void assembler_destroy(struct assembler **a)
{
    struct assembler *it = *a;
    *a = NULL;
    if (!it)
        return;
    struct assembly *f;
    for (size_t at = 0; (f = hash_table_next(&it->table, &at)) != NULL;)
        assembly_free(f);
    while ((f = it->spares) != NULL) {
        it->spares = f->spare_next;
        assembly_free(f);
    }
    hash_table_free(&it->table);
    buf_free(&it->scratch);
    mem_free(it);
}

/* Empties a buffer, and lets go of a large block. */
static void buf_rest(struct buf *b)
{
    if (b->cap > LIMIT_INLINE_BODY_BYTES)
        buf_free(b);
    else
        buf_clear(b);
}

/* Ready for another flow; its buffers stay. */
static void assembly_reset(struct assembly *f)
{
    struct buf keep[] = {f->sides[0].pending, f->sides[1].pending, f->text, f->informational, f->error, f->message};
    for (size_t i = 0; i < ARRAY_LEN(keep); i++)
        buf_rest(&keep[i]);
    *f = (struct assembly){.text = keep[2], .informational = keep[3], .error = keep[4], .message = keep[5]};
    for (size_t i = 0; i < 2; i++) {
        f->sides[i].pending = keep[i];
        f->sides[i].begin_ns = f->sides[i].end_ns = -1;
    }
    list_init(&f->changed);
}

/* Numbers follow one another; the multiplier spreads them over the table. */
static uint64_t id_hash(uint64_t id)
{
    return (id * UINT64_C(0x9e3779b97f4a7c15)) >> 16;
}

static bool id_match(const void *value, const void *wanted)
{
    return ((const struct assembly *)value)->id == *(const uint64_t *)wanted;
}

static struct assembly *assembly_new(struct assembler *a, uint64_t id)
{
    struct assembly *f = a->spares;
    if (f) {
        a->spares = f->spare_next;
        a->spares_n--;
    } else if (!(f = mem_new(1, sizeof *f)))
        return NULL;
    assembly_reset(f);
    f->id = id;
    if (hash_table_add(&a->table, id_hash(id), f)) {
        assembly_free(f);
        return NULL;
    }
    return f;
}

static void assembly_drop(struct assembler *a, struct assembly *f)
{
    hash_table_remove(&a->table, id_hash(f->id), f);
    list_remove(&f->changed);
    if (a->spares_n >= SPARES_MAX) {
        assembly_free(f);
        return;
    }
    f->spare_next = a->spares;
    a->spares = f;
    a->spares_n++;
}

/* Takes n bytes off the front. The tap made the note, so they are there. */
static struct span bite(struct span *rest, size_t n)
{
    assert(n <= rest->n);
    struct span out = span_first(*rest, n);
    *rest = span_from(*rest, n);
    return out;
}

static void bite_into(struct span *rest, void *out, size_t n)
{
    struct span bytes = bite(rest, n);
    memcpy(out, bytes.p, n);
}

/* --- content ----------------------------------------------------------------------------------------------------- */

static int64_t offset_of(const struct assembly *f, uint64_t at_ns)
{
    return at_ns == 0 ? -1 : at_ns > f->started_ns ? (int64_t)(at_ns - f->started_ns) : 0;
}

/* What is pending becomes a chunk. */
static enum err side_flush(struct assembler *a, struct assembly_side *side)
{
    enum err e = ERR_OK;
    if (side->pending.n == 0)
        return ERR_OK;
    if (side->body.id == 0)
        e = tape_writer_body_begin(a->writer, &side->body);
    struct span all = buf_span(&side->pending);
    for (size_t at = 0; !e && at < all.n; at += LIMIT_CHUNK_BYTES)
        e = tape_writer_body_chunk(a->writer, &side->body, side->pending_at_ns,
                                   span_first(span_from(all, at), LIMIT_CHUNK_BYTES));
    buf_clear(&side->pending);
    return e;
}

/* Small content that comes at once is kept in one piece; what is large, or slow, goes to chunks, which keep its time. */
static enum err side_content(struct assembler *a, const struct assembly *f, struct assembly_side *side, uint64_t at_ns,
                             struct span data)
{
    int64_t at = offset_of(f, at_ns);
    enum err e = ERR_OK;
    bool slow = side->pending.n > 0 && at - side->pending_at_ns > CHUNK_GATHER_NS;
    if (slow)
        e = side_flush(a, side);
    while (!e && data.n > 0) {
        if (side->pending.n == 0)
            side->pending_at_ns = at;
        struct span piece = span_first(data, LIMIT_CHUNK_BYTES - side->pending.n);
        e = buf_put(&side->pending, piece);
        data = span_from(data, piece.n);
        if (!e && side->pending.n == LIMIT_CHUNK_BYTES)
            e = side_flush(a, side);
    }
    return e;
}

/* Nothing more comes on this side. */
static enum err side_close(struct assembler *a, struct assembly_side *side, bool whole)
{
    enum err e = ERR_OK;
    if (side->closed)
        return ERR_OK;
    side->closed = true;
    if (side->body.id == 0)
        e = tape_writer_content(a->writer, buf_span(&side->pending), &side->content);
    else {
        side->content = side->body.id;
        e = side_flush(a, side);
        if (!e)
            e = whole ? tape_writer_body_end(a->writer, &side->body) : tape_writer_body_sync(a->writer, &side->body);
    }
    buf_rest(&side->pending);
    return e;
}

/* --- tunnel bytes ------------------------------------------------------------------------------------------------ */

static enum err message_flush(struct assembler *a, struct assembly *f)
{
    if (f->message.n == 0)
        return ERR_OK;
    struct tape_message message = {
        .seq = f->message_seq++,
        .at_ns = f->message_at_ns,
        .from_client = f->message_from_client,
        .kind = SPAN("bytes"),
        .wire_bytes = f->message.n,
        .retry_ms = -1,
        .payload = buf_span(&f->message),
    };
    enum err e = tape_writer_message(a->writer, a->flow_base + (int64_t)f->id, &message);
    buf_clear(&f->message);
    return e;
}

static enum err message_bytes(struct assembler *a, struct assembly *f, bool from_client, uint64_t at_ns,
                              struct span data)
{
    int64_t at = offset_of(f, at_ns);
    enum err e = ERR_OK;
    if (f->message.n && (f->message_from_client != from_client || at - f->message_at_ns > CHUNK_GATHER_NS))
        e = message_flush(a, f);
    while (!e && data.n > 0) {
        if (f->message.n == 0) {
            f->message_at_ns = at;
            f->message_from_client = from_client;
        }
        struct span piece = span_first(data, LIMIT_CHUNK_BYTES - f->message.n);
        e = buf_put(&f->message, piece);
        data = span_from(data, piece.n);
        if (!e && f->message.n == LIMIT_CHUNK_BYTES)
            e = message_flush(a, f);
    }
    return e;
}

static enum err take_message(struct assembler *a, struct assembly *f, const struct note *note, struct span rest)
{
    struct note_message m;
    bite_into(&rest, &m, sizeof m);
    struct span event = bite(&rest, m.event_n), event_id = bite(&rest, m.event_id_n), data = bite(&rest, m.n);
    if (m.kind == MESSAGE_BYTES)
        return message_bytes(a, f, !note->response, note->at_ns, data);
    struct tape_message message = {
        .at_ns = offset_of(f, note->at_ns),
        .from_client = !note->response,
        .kind = span_str(message_kind_word((enum message_kind)m.kind)),
        .more = m.more != 0,
        .wire_bytes = m.wire_bytes,
        .code = m.code,
        .event = event,
        .event_id = event_id,
        .has_event_id = m.has_event_id != 0,
        .retry_ms = m.retry_ms,
        .payload = data,
    };
    enum err e = message_flush(a, f);
    message.seq = f->message_seq++;
    return e ? e : tape_writer_message(a->writer, a->flow_base + (int64_t)f->id, &message);
}

/* --- rows -------------------------------------------------------------------------------------------------------- */

static struct span text_of(const struct assembly *f, struct slice s)
{
    return span_first(span_from(buf_span(&f->text), s.at), s.n);
}

static enum err assembly_write(struct assembler *a, const struct assembly *f)
{
    const struct assembly_side *request = &f->sides[0], *response = &f->sides[1];
    bool complete = request->ended && response->ended && f->error.n == 0;
    struct tape_flow_row row = {
        .id = a->flow_base + (int64_t)f->id,
        .kind = span_str(flow_kind_word(f->kind)),
        .track = text_of(f, f->track),
        .started_ns = f->started_wall_ns,
        .method = text_of(f, f->method),
        .scheme = text_of(f, f->scheme),
        .host = text_of(f, f->host),
        .path = text_of(f, f->path),
        .port = f->port,
        .request_version = text_of(f, f->request_version),
        .response_version = text_of(f, f->response_version),
        .status = f->status,
        .reason = text_of(f, f->reason),
        .request_headers = request->fields,
        .request_trailers = request->trailers,
        .response_headers = response->fields,
        .response_trailers = response->trailers,
        .request_body = request->content ? request->content : request->body.id,
        .response_body = response->content ? response->content : response->body.id,
        .request_bytes = request->bytes,
        .response_bytes = response->bytes,
        .request_wire_bytes = f->facts.request_wire_bytes,
        .response_wire_bytes = f->facts.response_wire_bytes,
        .informational = buf_span(&f->informational),
        .request_end_ns = request->end_ns,
        .sent_ns = offset_of(f, f->facts.sent_ns),
        .response_begin_ns = response->begin_ns,
        .response_end_ns = response->end_ns,
        .complete = complete,
        .error = buf_span(&f->error),
        .client_connection = f->client ? a->connection_base + (int64_t)f->client : 0,
        .server_connection = f->facts.server ? a->connection_base + (int64_t)f->facts.server : 0,
        .server_reused = f->facts.reused != 0,
        .answered = f->answered,
    };
    return tape_writer_flow(a->writer, &row);
}

static enum err assembly_error(struct assembly *f, enum err why, struct span reason)
{
    if (f->error.n)
        return ERR_OK; /* the first one is the cause */
    enum err e = buf_printf(&f->error, "%s: ", err_word(why));
    return e ? e : buf_put(&f->error, reason.n ? reason : span_str(err_text(why)));
}

/* Brings the tape up to what is known of a flow under way. */
static enum err assembly_sync(struct assembler *a, struct assembly *f)
{
    enum err e = message_flush(a, f);
    for (size_t i = 0; !e && i < 2; i++) {
        e = side_flush(a, &f->sides[i]);
        if (!e && f->sides[i].body.id)
            e = tape_writer_body_sync(a->writer, &f->sides[i].body);
        buf_rest(&f->sides[i].pending);
    }
    return e ? e : assembly_write(a, f);
}

enum err assembler_commit(struct assembler *a)
{
    enum err e = ERR_OK;
    LIST_FOREACH (it, &a->changed) {
        if (!e)
            e = assembly_sync(a, container_of(it, struct assembly, changed));
        list_remove(it);
    }
    if (!e)
        e = tape_writer_commit(a->writer);
    a->pending = (struct assembler_pending){0, 0};
    return e;
}

struct assembler_pending assembler_pending(const struct assembler *a)
{
    return a->pending;
}

struct assembler_counters assembler_counters(const struct assembler *a)
{
    return a->counters;
}

/* --- notes ------------------------------------------------------------------------------------------------------- */

static enum err text_put(struct assembly *f, struct span text, struct slice *out)
{
    *out = (struct slice){(uint32_t)f->text.n, (uint32_t)text.n};
    return buf_put(&f->text, text);
}

static enum err take_fields(struct assembler *a, uint32_t n, struct span packed, int64_t *id)
{
    struct fields_packed fields;
    bool sound = fields_unpack(n, packed, &fields);
    assert(sound);
    (void)sound;
    return tape_writer_fields(a->writer, &fields, id);
}

static enum err take_begin(struct assembler *a, const struct note *note, struct span rest)
{
    struct note_begin begin;
    bite_into(&rest, &begin, sizeof begin);
    struct assembly *f = assembly_new(a, note->id);
    if (!f)
        return ERR_NOMEM;
    f->kind = note->flow_kind;
    f->started_wall_ns = begin.started_wall_ns;
    f->started_ns = begin.started_ns;
    f->client = begin.client;
    list_push(&a->changed, &f->changed);
    return text_put(f, bite(&rest, begin.track_n), &f->track);
}

static enum err take_head(struct assembler *a, struct assembly *f, const struct note *note, struct span rest)
{
    struct note_head head;
    bite_into(&rest, &head, sizeof head);
    struct slice *const request[] = {&f->method, &f->scheme, &f->host, &f->path, &f->request_version};
    struct slice *const response[] = {&f->reason, &f->response_version};
    struct slice *const *texts = note->response ? response : request;
    size_t n = note->response ? ARRAY_LEN(response) : ARRAY_LEN(request);
    struct assembly_side *side = &f->sides[note->response];
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < n; i++)
        e = text_put(f, bite(&rest, head.text_n[i]), texts[i]);
    if (!e)
        e = take_fields(a, head.fields, bite(&rest, head.fields_bytes), &side->fields);
    *(note->response ? &f->status : &f->port) = head.number;
    side->headed = true;
    side->begin_ns = offset_of(f, note->at_ns);
    f->facts = head.facts;
    return e;
}

/* [status, reason, fields, offset], one after the other within one array; the bracket at the end is moved along. */
static enum err take_informational(struct assembly *f, const struct note *note, struct span rest)
{
    struct note_head head;
    struct fields_packed fields;
    bite_into(&rest, &head, sizeof head);
    struct span reason = bite(&rest, head.text_n[0]);
    (void)bite(&rest, head.text_n[1]);
    bool sound = fields_unpack(head.fields, bite(&rest, head.fields_bytes), &fields);
    assert(sound);
    (void)sound;
    struct buf *out = &f->informational;
    if (out->n)
        out->n--;
    enum err e = buf_printf(out, "%s[%u,", out->n ? "," : "[", head.number);
    if (!e)
        e = fields_json_value(reason, out);
    if (!e)
        e = buf_put_byte(out, ',');
    if (!e)
        e = fields_json(&fields, out);
    return e ? e : buf_printf(out, ",%lld]]", (long long)offset_of(f, note->at_ns));
}

static enum err take_body(struct assembler *a, struct assembly *f, const struct note *note, struct span rest)
{
    struct note_body body;
    bite_into(&rest, &body, sizeof body);
    struct span data = bite(&rest, body.n);
    struct assembly_side *side = &f->sides[note->response];
    side->bytes = body.total;
    if (note->flow_kind == FLOW_TUNNEL)
        return message_bytes(a, f, !note->response, note->at_ns, data);
    return side->closed || note->flow_kind != FLOW_HTTP ? ERR_OK : side_content(a, f, side, note->at_ns, data);
}

static enum err take_trailers(struct assembler *a, struct assembly *f, const struct note *note, struct span rest)
{
    struct note_trailers trailers;
    bite_into(&rest, &trailers, sizeof trailers);
    return take_fields(a, trailers.fields, bite(&rest, trailers.fields_bytes), &f->sides[note->response].trailers);
}

static enum err take_end(struct assembler *a, struct assembly *f, const struct note *note, struct span rest)
{
    struct assembly_side *side = &f->sides[note->response];
    bite_into(&rest, &f->facts, sizeof f->facts);
    side->ended = true;
    side->end_ns = offset_of(f, note->at_ns);
    /* What the other side says after this end is a message of its own, so that a replay can end in between. */
    enum err e = message_flush(a, f);
    return e ? e : side_close(a, side, true);
}

static enum err take_error(struct assembler *a, struct assembly *f, const struct note *note, struct span rest)
{
    struct note_error error;
    struct assembly_side *side = &f->sides[note->response];
    bite_into(&rest, &error, sizeof error);
    f->facts = error.facts;
    side->end_ns = offset_of(f, note->at_ns);
    /* Nobody but the client can break off a request, and then nobody is there to be told. */
    if (note->response && note->flag && !side->headed && f->error.n == 0) {
        f->answered = true;
        f->status = exchange_error_status((enum err)error.error);
    }
    enum err e = assembly_error(f, (enum err)error.error, bite(&rest, error.reason_n));
    return e ? e : side_close(a, side, false);
}

/* The last of a flow: its one row. */
static enum err assembly_end(struct assembler *a, struct assembly *f)
{
    enum err e = message_flush(a, f);
    /* The origin's end of a tunnel is the end of all of it: the client has nobody left to say more to. */
    f->sides[0].ended |= f->kind == FLOW_TUNNEL && f->sides[1].ended;
    for (size_t i = 0; !e && i < 2; i++)
        e = side_close(a, &f->sides[i], false);
    /* After a CONNECT or an upgrade either end may be the first to close; whose end came first is chance. */
    if (f->kind != FLOW_HTTP && f->sides[1].ended)
        f->sides[0].ended = true;
    if (!e && f->error.n == 0 && !f->sides[1].ended)
        e = assembly_error(f, ERR_CANCELLED, SPAN("the flow was given up before the response ended"));
    if (!e && f->error.n == 0 && !f->sides[0].ended)
        e = assembly_error(f, ERR_TRUNCATED, SPAN(TAPE_ENDED_EARLY));
    if (!e)
        e = assembly_write(a, f);
    bool kept = true;
    if (!e)
        e = tape_writer_flow_ended(a->writer, a->flow_base + (int64_t)f->id, &kept);
    a->counters.flows += kept;
    a->counters.errors += kept && f->error.n != 0;
    a->pending.flows++;
    assembly_drop(a, f);
    return e;
}

static enum err take_done(struct assembler *a, struct assembly *f, struct span rest)
{
    bite_into(&rest, &f->facts, sizeof f->facts);
    f->sides[0].bytes = f->facts.request_bytes;
    f->sides[1].bytes = f->facts.response_bytes;
    return assembly_end(a, f);
}

static enum err take_connection(struct assembler *a, const struct note *note, struct span rest)
{
    struct note_connection c;
    struct span texts[NOTE_CONNECTION_TEXTS], reason;
    bite_into(&rest, &c, sizeof c);
    for (size_t i = 0; i < NOTE_CONNECTION_TEXTS; i++)
        texts[i] = bite(&rest, c.text_n[i]);
    reason = texts[7];
    buf_clear(&a->scratch);
    enum err e = ERR_OK;
    if (c.error || reason.n)
        e = buf_printf(&a->scratch, "%s: ", err_word((enum err)c.error));
    if (!e && a->scratch.n)
        e = buf_put(&a->scratch, reason.n ? reason : span_str(err_text((enum err)c.error)));
    if (e)
        return e;
    const uint64_t times[] = {c.dns_ns, c.connected_ns, c.tls_ns, c.closed_ns};
    int64_t offsets[ARRAY_LEN(times)];
    for (size_t i = 0; i < ARRAY_LEN(times); i++)
        offsets[i] = times[i] == 0 ? -1 : times[i] > c.opened_ns ? (int64_t)(times[i] - c.opened_ns) : 0;
    struct tape_connection row = {
        .id = a->connection_base + (int64_t)note->id,
        .server = c.server != 0,
        .peer = texts[0],
        .local = texts[1],
        .host = texts[2],
        .sni = texts[3],
        .alpn = texts[4],
        .tls_version = texts[5],
        .tls_cipher = texts[6],
        .port = c.port,
        .tls_resumed = c.tls_resumed != 0,
        .chain = bite(&rest, c.chain_n),
        .opened_ns = c.opened_wall_ns,
        .dns_ns = offsets[0],
        .connected_ns = offsets[1],
        .tls_ns = offsets[2],
        .closed_ns = offsets[3],
        .error = buf_span(&a->scratch),
    };
    return tape_writer_connection(a->writer, &row);
}

static enum err take_note(struct assembler *a, const struct note *note, struct span rest)
{
    if (note->kind == NOTE_CONNECTION)
        return take_connection(a, note, rest);
    if (note->kind == NOTE_BEGIN)
        return take_begin(a, note, rest);
    struct assembly *f = hash_table_get(&a->table, id_hash(note->id), id_match, &note->id);
    assert(f);
    f->kind = note->flow_kind;
    if (list_empty(&f->changed))
        list_push(&a->changed, &f->changed);
    switch ((enum note_kind)note->kind) {
    case NOTE_HEAD:
        return take_head(a, f, note, rest);
    case NOTE_INFORMATIONAL:
        return take_informational(f, note, rest);
    case NOTE_BODY:
        return take_body(a, f, note, rest);
    case NOTE_TRAILERS:
        return take_trailers(a, f, note, rest);
    case NOTE_END:
        return take_end(a, f, note, rest);
    case NOTE_ERROR:
        return take_error(a, f, note, rest);
    case NOTE_MESSAGE:
        return take_message(a, f, note, rest);
    case NOTE_DONE:
        return take_done(a, f, rest);
    case NOTE_BEGIN:
    case NOTE_CONNECTION:
        break;
    }
    return ERR_OK;
}

enum err assembler_notes(struct assembler *a, struct span notes)
{
    enum err e = ERR_OK;
    a->pending.bytes += notes.n;
    while (!e && notes.n > 0) {
        struct note note;
        struct span rest = notes;
        bite_into(&rest, &note, sizeof note);
        struct span whole = bite(&notes, note.bytes);
        e = take_note(a, &note, span_from(whole, sizeof note));
    }
    return e;
}

enum err assembler_finish(struct assembler *a)
{
    enum err e = ERR_OK;
    struct assembly *f;
    for (size_t at = 0; !e && (f = hash_table_next(&a->table, &at)) != NULL;) {
        e = assembly_error(f, ERR_SHUTDOWN, SPAN("ringtape stopped before the flow ended"));
        if (!e)
            e = assembly_end(a, f);
    }
    return e;
}
