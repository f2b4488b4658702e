/* recorder.c: the tap of each worker, and the writer thread.
 *
 *     worker: event ──note──> block ──(64 KB, or end of turn)──> queue ──> writer thread: assembler ──> tape
 *
 * Invariants: a worker's block belongs to its thread until it is handed over; the writer and the assembler belong to the writer thread from
 * its start until it is joined. Once `failed` is set the taps write nothing more and the writer thread only gives blocks back, so that
 * nobody waits for a disk that is full. */
#include "record/recorder.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/util.h"
#include "record/assemble.h"
#include "record/queue.h"
#include "tape/fields.h"
#include "tape/writer.h"

#include <assert.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>

enum { GATHER_MS = 20 };

struct recorder_tap {
    struct tap tap;
    struct recorder *recorder;
    struct block *block; /* NULL before the first event */
    atomic_uint_fast64_t body_bytes;
    char apart[64]; /* the next worker's counter lies in another cache line */
};

struct recorder {
    struct queue *queue;
    struct tape_writer *writer;
    struct assembler *assembler;
    const struct log *log;
    pthread_t thread;
    bool running;
    uint64_t commit_ns, gather_ns, body_bytes_max;
    uint64_t deadline_ns; /* the writer thread's: of the next commit; 0: nothing to commit */
    enum err result;      /* the writer thread's, to be read after it was joined */
    atomic_bool failed;
    atomic_uint_fast64_t flows, errors, commits;
    unsigned workers;
    struct recorder_tap taps[];
};

/* --- the tap ----------------------------------------------------------------------------------------------------- */

static bool tap_off(const struct recorder_tap *t)
{
    return atomic_load_explicit(&t->recorder->failed, memory_order_relaxed);
}

/* Room for a note with n bytes behind its header, which is written. */
static uint8_t *tap_note(struct recorder_tap *t, struct note note, size_t n)
{
    size_t size = (sizeof note + n + NOTE_ALIGN - 1) & ~(size_t)(NOTE_ALIGN - 1);
    assert(size <= NOTE_BYTES_MAX);
    if (!t->block)
        t->block = queue_first_block(t->recorder->queue);
    else if (t->block->n + size > BLOCK_BYTES)
        t->block = queue_hand_over(t->recorder->queue, t->block);
    uint8_t *at = t->block->bytes + t->block->n;
    t->block->n += size;
    note.bytes = (uint32_t)size;
    memcpy(at, &note, sizeof note);
    return at + sizeof note;
}

static void tap_full(struct recorder_tap *t)
{
    if (t->block->n >= BLOCK_FULL_BYTES)
        t->block = queue_hand_over(t->recorder->queue, t->block);
}

static uint8_t *put(uint8_t *at, const void *bytes, size_t n)
{
    if (n)
        memcpy(at, bytes, n);
    return at + n;
}

static struct note note_of(enum note_kind kind, const struct exchange *x, bool response, const struct event *event)
{
    return (struct note){
        .kind = (uint8_t)kind,
        .response = response,
        .flow_kind = (uint8_t)x->kind,
        .id = x->id,
        .at_ns = event ? event->at_ns : 0,
    };
}

static struct note_facts facts_of(const struct exchange *x)
{
    return (struct note_facts){
        .server = x->server ? x->server->id : 0,
        .sent_ns = x->sent_ns,
        .request_bytes = x->request_bytes,
        .response_bytes = x->response_bytes,
        .request_wire_bytes = x->request_wire_bytes,
        .response_wire_bytes = x->response_wire_bytes,
        .reused = x->server_reused,
    };
}

static void tap_begin(struct tap *tap, const struct exchange *x)
{
    struct recorder_tap *t = container_of(tap, struct recorder_tap, tap);
    if (tap_off(t))
        return;
    struct span track = span_first(x->track, NOTE_REASON_BYTES_MAX);
    struct note_begin begin = {x->started_wall_ns, x->started_ns, x->client ? x->client->id : 0, track.n};
    uint8_t *at = tap_note(t, note_of(NOTE_BEGIN, x, false, NULL), sizeof begin + track.n);
    at = put(at, &begin, sizeof begin);
    (void)put(at, track.p, track.n);
    tap_full(t);
}

/* A head larger than any limit lets through is noted without its fields rather than not at all. */
static void tap_head(struct recorder_tap *t, enum note_kind kind, const struct exchange *x, bool response,
                     const struct event *event)
{
    const struct head *h = event->head;
    struct span texts[NOTE_HEAD_TEXTS] = {head_span(h, h->method), head_span(h, h->scheme), head_span(h, h->host),
                                          head_span(h, h->path), head_span(h, h->version)};
    if (response) {
        texts[0] = head_span(h, h->reason);
        texts[1] = texts[4];
        texts[2] = texts[3] = texts[4] = SPAN_EMPTY;
    }
    struct note_head head = {.facts = facts_of(x), .number = response ? h->status : h->port};
    size_t n = sizeof head, fields = fields_size(&h->headers);
    for (size_t i = 0; i < NOTE_HEAD_TEXTS; i++) {
        texts[i] = span_first(texts[i], LIMIT_TARGET_BYTES);
        if (n + texts[i].n > LIMIT_HEAD_BYTES)
            texts[i] = SPAN_EMPTY;
        head.text_n[i] = (uint32_t)texts[i].n;
        n += texts[i].n;
    }
    if (n + fields + sizeof(struct note) + NOTE_ALIGN <= NOTE_BYTES_MAX) {
        head.fields = h->headers.n;
        head.fields_bytes = (uint32_t)fields;
        n += fields;
    }
    uint8_t *at = tap_note(t, note_of(kind, x, response, event), n);
    at = put(at, &head, sizeof head);
    for (size_t i = 0; i < NOTE_HEAD_TEXTS; i++)
        at = put(at, texts[i].p, texts[i].n);
    if (head.fields)
        fields_pack(&h->headers, at);
}

static void tap_body(struct recorder_tap *t, const struct exchange *x, bool response, const struct event *event)
{
    struct span data = event->data;
    uint64_t total = response ? x->response_bytes : x->request_bytes;
    uint64_t before = total > data.n ? total - data.n : 0, max = t->recorder->body_bytes_max;
    atomic_fetch_add_explicit(&t->body_bytes, data.n, memory_order_relaxed);
    if (x->kind == FLOW_WEBSOCKET)
        data = SPAN_EMPTY; /* it comes as messages */
    else if (max)
        data = span_first(data, before >= max ? 0 : (size_t)MIN(max - before, (uint64_t)SIZE_MAX));
    do {
        struct span piece = span_first(data, LIMIT_CHUNK_BYTES);
        struct note_body body = {total, piece.n};
        data = span_from(data, piece.n);
        uint8_t *at = tap_note(t, note_of(NOTE_BODY, x, response, event), sizeof body + piece.n);
        at = put(at, &body, sizeof body);
        (void)put(at, piece.p, piece.n);
        if (data.n)
            tap_full(t);
    } while (data.n > 0);
}

static void tap_trailers(struct recorder_tap *t, const struct exchange *x, bool response, const struct event *event)
{
    size_t fields = fields_size(event->trailers);
    struct note_trailers trailers = {event->trailers->n, (uint32_t)fields};
    if (sizeof trailers + fields + sizeof(struct note) + NOTE_ALIGN > NOTE_BYTES_MAX)
        return;
    uint8_t *at = tap_note(t, note_of(NOTE_TRAILERS, x, response, event), sizeof trailers + fields);
    fields_pack(event->trailers, put(at, &trailers, sizeof trailers));
}

static void tap_error(struct recorder_tap *t, const struct exchange *x, bool response, const struct event *event)
{
    struct span reason = span_first(span_str(event->reason), NOTE_REASON_BYTES_MAX);
    struct note_error error = {facts_of(x), event->error, (uint32_t)reason.n};
    struct note note = note_of(NOTE_ERROR, x, response, event);
    /* The origin's own failure has ended the response by now; one that comes of the client's going has not. */
    note.flag = response && x->response_ended && event->error != ERR_CANCELLED;
    uint8_t *at = tap_note(t, note, sizeof error + reason.n);
    at = put(at, &error, sizeof error);
    (void)put(at, reason.p, reason.n);
}

static void tap_facts(struct recorder_tap *t, struct note note, const struct exchange *x)
{
    struct note_facts facts = facts_of(x);
    (void)put(tap_note(t, note, sizeof facts), &facts, sizeof facts);
}

static void tap_event(struct tap *tap, const struct exchange *x, bool response, const struct event *event)
{
    struct recorder_tap *t = container_of(tap, struct recorder_tap, tap);
    if (tap_off(t))
        return;
    switch (event->part) {
    case PART_HEAD:
        tap_head(t, NOTE_HEAD, x, response, event);
        break;
    case PART_INFORMATIONAL:
        tap_head(t, NOTE_INFORMATIONAL, x, response, event);
        break;
    case PART_BODY:
        tap_body(t, x, response, event);
        break;
    case PART_TRAILERS:
        tap_trailers(t, x, response, event);
        break;
    case PART_END:
        tap_facts(t, note_of(NOTE_END, x, response, event), x);
        break;
    case PART_ERROR:
        tap_error(t, x, response, event);
        break;
    }
    if (t->block)
        tap_full(t);
}

static void tap_request(struct tap *tap, const struct exchange *x, const struct event *event)
{
    tap_event(tap, x, false, event);
}

static void tap_response(struct tap *tap, const struct exchange *x, const struct event *event)
{
    tap_event(tap, x, true, event);
}

static void tap_message(struct tap *tap, const struct exchange *x, bool response, const struct message *message)
{
    struct recorder_tap *t = container_of(tap, struct recorder_tap, tap);
    uint64_t before = message->before, max = t->recorder->body_bytes_max;
    if (tap_off(t))
        return;
    struct span event = span_first(message->event, NOTE_REASON_BYTES_MAX);
    struct span event_id = span_first(message->event_id, NOTE_REASON_BYTES_MAX);
    struct span data = span_first(message->data, LIMIT_MESSAGE_BYTES);
    if (max)
        data = span_first(data, before >= max ? 0 : (size_t)MIN(max - before, (uint64_t)SIZE_MAX));
    struct note_message body = {
        .wire_bytes = message->wire_bytes,
        .retry_ms = message->retry_ms,
        .kind = message->kind,
        .code = message->code,
        .event_n = (uint32_t)event.n,
        .event_id_n = (uint32_t)event_id.n,
        .n = (uint32_t)data.n,
        .more = message->more,
        .has_event_id = message->has_event_id,
    };
    struct note note = note_of(NOTE_MESSAGE, x, response, NULL);
    note.at_ns = message->at_ns;
    uint8_t *at = tap_note(t, note, sizeof body + event.n + event_id.n + data.n);
    at = put(at, &body, sizeof body);
    at = put(at, event.p, event.n);
    at = put(at, event_id.p, event_id.n);
    (void)put(at, data.p, data.n);
    tap_full(t);
}

static void tap_end(struct tap *tap, const struct exchange *x)
{
    struct recorder_tap *t = container_of(tap, struct recorder_tap, tap);
    if (tap_off(t))
        return;
    tap_facts(t, note_of(NOTE_DONE, x, false, NULL), x);
    tap_full(t);
}

static void tap_connection(struct tap *tap, const struct connection *c)
{
    struct recorder_tap *t = container_of(tap, struct recorder_tap, tap);
    if (tap_off(t))
        return;
    const struct span texts[NOTE_CONNECTION_TEXTS] = {
        span_str(c->peer), span_str(c->local),       span_str(c->host),       span_str(c->sni),
        span_str(c->alpn), span_str(c->tls_version), span_str(c->tls_cipher), span_str(c->reason),
    };
    struct span chain = c->chain.n <= NOTE_CHAIN_BYTES_MAX ? buf_span(&c->chain) : SPAN_EMPTY;
    struct note_connection note = {
        .opened_wall_ns = c->opened_wall_ns,
        .opened_ns = c->opened_ns,
        .dns_ns = c->dns_ns,
        .connected_ns = c->connected_ns,
        .tls_ns = c->tls_ns,
        .closed_ns = c->closed_ns,
        .server = c->side == CONNECTION_SERVER,
        .port = c->port,
        .tls_resumed = c->tls_resumed,
        .error = c->error,
        .chain_n = (uint32_t)chain.n,
    };
    size_t n = sizeof note + chain.n;
    for (size_t i = 0; i < NOTE_CONNECTION_TEXTS; i++) {
        note.text_n[i] = (uint32_t)texts[i].n;
        n += texts[i].n;
    }
    uint8_t *at = tap_note(t, (struct note){.kind = NOTE_CONNECTION, .id = c->id}, n);
    at = put(at, &note, sizeof note);
    for (size_t i = 0; i < NOTE_CONNECTION_TEXTS; i++)
        at = put(at, texts[i].p, texts[i].n);
    (void)put(at, chain.p, chain.n);
    tap_full(t);
}

static const struct tap_ops recorder_tap_ops = {tap_begin, tap_request,    tap_response,
                                                tap_end,   tap_connection, tap_message};

struct tap *recorder_tap(struct recorder *r, unsigned worker)
{
    assert(worker < r->workers);
    return &r->taps[worker].tap;
}

void recorder_flush(struct recorder *r, unsigned worker)
{
    assert(worker < r->workers);
    struct recorder_tap *t = &r->taps[worker];
    if (t->block && t->block->n)
        t->block = queue_flush(r->queue, t->block);
}

/* --- the writer thread ------------------------------------------------------------------------------------------- */

static void recorder_failed(struct recorder *r, enum err e)
{
    if (atomic_exchange(&r->failed, true))
        return;
    r->result = e;
    queue_give_up(r->queue);
    log_write(r->log, LOG_ERROR, "tape",
              "recording has stopped: %s: traffic is still forwarded, but nothing more of it is on the tape",
              tape_writer_problem(r->writer, e));
}

/* rest: what was taken and is not written yet. It has waited already, so the next commit is not a whole interval away. */
static enum err recorder_commit(struct recorder *r, const struct block *rest)
{
    r->deadline_ns = rest ? clock_mono_ns() + r->commit_ns / 2 : 0;
    enum err e = assembler_commit(r->assembler);
    if (!e)
        atomic_fetch_add_explicit(&r->commits, 1, memory_order_relaxed);
    queue_committed(r->queue, rest ? rest->at_ns : 0);
    return e;
}

static enum err recorder_write(struct recorder *r, const struct block *b)
{
    enum err e = assembler_notes(r->assembler, span_of(b->bytes, b->n));
    struct assembler_counters counters = assembler_counters(r->assembler);
    atomic_store_explicit(&r->flows, counters.flows, memory_order_relaxed);
    atomic_store_explicit(&r->errors, counters.errors, memory_order_relaxed);
    struct assembler_pending pending = assembler_pending(r->assembler);
    bool due =
        pending.flows >= LIMIT_COMMIT_FLOWS || pending.bytes >= LIMIT_COMMIT_BYTES || clock_mono_ns() >= r->deadline_ns;
    return !e && due ? recorder_commit(r, b->next) : e;
}

/* Takes a list of blocks; after a failure it only gives them back. */
static enum err recorder_write_all(struct recorder *r, struct block *list, enum err e)
{
    while (list) {
        struct block *next = list->next;
        if (!e)
            e = recorder_write(r, list);
        if (e)
            recorder_failed(r, e);
        queue_recycle(r->queue, list);
        list = next;
    }
    return e;
}

static void *recorder_run(void *ctx)
{
    struct recorder *r = ctx;
    enum err e = ERR_OK;
    bool stopped = false, awaited;
    while (!stopped) {
        struct block *list = queue_take(r->queue, r->gather_ns, r->deadline_ns, &awaited, &stopped);
        if (list && !r->deadline_ns)
            r->deadline_ns = list->at_ns + r->commit_ns;
        e = recorder_write_all(r, list, e);
        if (!e && r->deadline_ns && (awaited || clock_mono_ns() >= r->deadline_ns))
            e = recorder_commit(r, NULL);
        if (e) {
            recorder_failed(r, e);
            r->deadline_ns = 0;
        }
    }
    if (!e)
        e = assembler_finish(r->assembler);
    if (!e)
        e = recorder_commit(r, NULL);
    if (e)
        recorder_failed(r, e);
    return NULL;
}

/* Signals are the main thread's. */
static enum err recorder_start(struct recorder *r)
{
    sigset_t all, before;
    (void)sigfillset(&all);
    (void)pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(&r->thread, NULL, recorder_run, r);
    (void)pthread_sigmask(SIG_SETMASK, &before, NULL);
    if (rc != 0)
        return err_from_errno(rc);
    r->running = true;
    (void)pthread_setname_np(r->thread, "tape");
    return ERR_OK;
}

/* --- life -------------------------------------------------------------------------------------------------------- */

static void recorder_free(struct recorder *r)
{
    for (unsigned i = 0; i < r->workers; i++)
        mem_free(r->taps[i].block);
    assembler_destroy(&r->assembler);
    queue_destroy(&r->queue);
    mem_free(r);
}

enum err recorder_create(struct recorder **out, const struct recorder_options *options, struct buf *problem)
{
    *out = NULL;
    assert(options->workers > 0);
    struct recorder *r = mem_new(1, sizeof *r + options->workers * sizeof(struct recorder_tap));
    if (!r)
        return ERR_NOMEM;
    unsigned commit_ms = options->commit_ms ? options->commit_ms : LIMIT_COMMIT_MS;
    r->log = options->log;
    r->workers = options->workers;
    r->body_bytes_max = options->body_bytes_max;
    r->gather_ns = MIN((uint64_t)GATHER_MS, (uint64_t)commit_ms / 4) * NS_PER_MS;
    /* The interval counts from the event; it has waited for its turn's end and for company by then. */
    r->commit_ns = commit_ms * NS_PER_MS - 2 * r->gather_ns;
    for (unsigned i = 0; i < r->workers; i++) {
        r->taps[i].tap.ops = &recorder_tap_ops;
        r->taps[i].recorder = r;
    }
    struct tape_writer_options writer = {
        .path = options->path,
        .append = options->append,
        .force = options->force,
        .command = options->command,
        .version = options->version,
        .filter = options->filter,
        .log = options->log,
    };
    enum err e =
        queue_create(&r->queue, r->workers, options->queue_bytes_max ? options->queue_bytes_max : LIMIT_QUEUE_BYTES,
                     commit_ms * NS_PER_MS);
    if (!e)
        e = tape_writer_open(&r->writer, &writer, problem);
    if (!e)
        e = assembler_create(&r->assembler, r->writer);
    if (!e)
        e = recorder_start(r);
    if (e) {
        tape_writer_abandon(&r->writer);
        recorder_free(r);
        return e;
    }
    *out = r;
    return ERR_OK;
}

void recorder_get_counters(const struct recorder *r, struct recorder_counters *out)
{
    struct queue_counters queue;
    queue_counters(r->queue, &queue);
    *out = (struct recorder_counters){
        .flows = atomic_load_explicit(&r->flows, memory_order_relaxed),
        .errors = atomic_load_explicit(&r->errors, memory_order_relaxed),
        .queue_bytes = queue.bytes,
        .commits = atomic_load_explicit(&r->commits, memory_order_relaxed),
        .stalls = queue.stalls,
        .failed = atomic_load_explicit(&r->failed, memory_order_relaxed),
    };
    for (unsigned i = 0; i < r->workers; i++)
        out->body_bytes += atomic_load_explicit(&r->taps[i].body_bytes, memory_order_relaxed);
}

enum err recorder_close(struct recorder **r, struct buf *problem)
{
    struct recorder_counters last;
    return recorder_finish(r, &last, problem);
}

enum err recorder_finish(struct recorder **r, struct recorder_counters *last, struct buf *problem)
{
    struct recorder *it = *r;
    *r = NULL;
    *last = (struct recorder_counters){.flows = 0};
    if (!it)
        return ERR_OK;
    for (unsigned i = 0; i < it->workers; i++)
        recorder_flush(it, i);
    queue_stop(it->queue);
    (void)pthread_join(it->thread, NULL);
    it->running = false;
    recorder_get_counters(it, last);
    enum err e = it->result;
    if (e && problem) {
        buf_clear(problem);
        if (buf_put_str(problem, tape_writer_problem(it->writer, e)))
            buf_clear(problem);
    }
    if (e)
        tape_writer_abandon(&it->writer);
    else
        e = tape_writer_close(&it->writer, problem);
    recorder_free(it);
    return e;
}
