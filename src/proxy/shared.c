/* shared.c: joins an upstream of raw bytes and an HTTP/2 engine.
 *
 *   OPEN ──GOAWAY from either side──> DRAINING ──last request──> GONE
 *     └──connection or protocol error──────────────────────────────^
 *
 * Invariants: a request is in `requests` from shared_begin() until its user is told done or failed, or releases it; its stream's owner is NULL from
 * then on. What the engine has to send leaves in the flush task, once a turn, as far as the connection takes it. `busy` counts the frames
 * of this object on the stack: it is freed when there are none. `waits` is empty once the SETTINGS have come. */
#include "proxy/shared.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/util.h"
#include "http/h2.h"

#include <assert.h>
#include <stdio.h>

enum { OUTPUT_BYTES = 65536 };

struct shared_request {
    struct list link; /* shared->requests */
    struct shared *shared;
    struct h2_stream *h2;
    const struct shared_user *user;
    void *ctx;
    bool sent_end, done;
};

struct shared {
    struct list link, requests;
    struct list waits; /* struct shared_wait */
    struct loop *loop;
    struct upstream *up; /* NULL: gone */
    struct upstream_key key;
    struct connection *info; /* referenced */
    struct h2 *h2;
    struct buf out;
    struct task flush;
    unsigned busy;
    bool used;
    uint64_t idle_since_ns, calm_ns; /* when h2_calm() was called */
    uint64_t stuck_ns;               /* h2_stuck_since() */
};

static void shared_free(struct shared *s)
{
    loop_stop_task(s->loop, &s->flush);
    h2_destroy(&s->h2);
    connection_unref(&s->info);
    buf_free(&s->out);
    mem_free(s);
}

static void shared_leave(struct shared *s)
{
    assert(s->busy > 0);
    if (--s->busy == 0 && !s->up)
        shared_free(s);
}

static void shared_wake(struct shared *s)
{
    if (s->up && !task_waiting(&s->flush))
        loop_start(s->loop, &s->flush, 0);
}

/* ---- ends ---- */

/* Nothing is told of it any more. */
static void request_forget(struct shared_request *r)
{
    struct shared *s = r->shared;
    if (r->h2)
        h2_set_owner(r->h2, NULL);
    list_remove(&r->link);
    mem_free(r);
    if (list_empty(&s->requests))
        s->idle_since_ns = loop_now_ns(s->loop);
    shared_wake(s);
}

static void request_fail(struct shared_request *r, enum err why, bool untouched, const char *reason)
{
    const struct shared_user *user = r->user;
    void *ctx = r->ctx;
    request_forget(r);
    user->failed(ctx, why, untouched, reason);
}

/* Whoever waits for SETTINGS is told: they have come, or (NULL) never will. */
static void shared_tell_waits(struct shared *s, struct shared *as)
{
    struct list *link;
    while ((link = list_pop(&s->waits))) {
        struct shared_wait *wait = container_of(link, struct shared_wait, link);
        wait->done(wait, as);
    }
}

/* The connection is of no use any more. From the loop. */
static void shared_end(struct shared *s, enum err why, const char *reason)
{
    struct upstream *up = s->up;
    char text[256];
    if (!up)
        return;
    connection_set(text, sizeof text, span_str(reason));
    s->busy++;
    s->up = NULL;
    loop_stop_task(s->loop, &s->flush);
    upstream_release(up, false);
    list_remove(&s->link);
    struct list *link;
    while ((link = list_pop(&s->requests)))
        request_fail(container_of(link, struct shared_request, link), why, false, text);
    shared_tell_waits(s, NULL);
    shared_leave(s);
}

static void shared_failed_parse(struct shared *s, enum err e)
{
    char reason[300];
    const char *what = h2_error(s->h2);
    (void)snprintf(reason, sizeof reason, "the origin's HTTP/2 is not acceptable: %s", what[0] ? what : err_text(e));
    buf_clear(&s->out);
    if (h2_output(s->h2, &s->out, OUTPUT_BYTES) == ERR_OK && s->out.n)
        upstream_send(s->up, buf_span(&s->out)); /* the GOAWAY that says so */
    shared_end(s, e, reason);
}

/* It went as HTTP/2 means it to, or without a word. */
static void shared_closed(struct shared *s)
{
    char reason[300] = "the origin closed the connection";
    const char *what = h2_error(s->h2);
    if (what[0])
        (void)snprintf(reason, sizeof reason, "the origin closed the connection (HTTP/2 %s)", what);
    shared_end(s, ERR_CLOSED, reason);
}

/* ---- sending ---- */

static void shared_output(struct shared *s)
{
    while (s->up && !upstream_full(s->up)) {
        buf_clear(&s->out);
        enum err e = h2_output(s->h2, &s->out, OUTPUT_BYTES);
        if (e) {
            shared_failed_parse(s, e);
            return;
        }
        if (s->out.n == 0)
            break;
        upstream_send(s->up, buf_span(&s->out));
    }
    s->stuck_ns = h2_stuck_since(s->h2, loop_now_ns(s->loop));
    if (s->up && h2_failure(s->h2))
        shared_failed_parse(s, h2_failure(s->h2));
    else if (s->up && h2_done(s->h2))
        shared_closed(s);
}

static void shared_flush(struct task *task)
{
    struct shared *s = container_of(task, struct shared, flush);
    s->busy++;
    shared_output(s);
    shared_leave(s);
}

/* ---- what the engine says ---- */

static struct shared_request *request_of(const struct h2_stream *h2)
{
    return h2_owner(h2);
}

static enum err request_done(struct shared_request *r)
{
    r->done = true;
    return r->user->done(r->ctx);
}

static enum err shared_h2_head(void *ctx, struct h2_stream *h2, const struct head *head, bool end)
{
    struct shared_request *r = request_of(h2);
    (void)ctx;
    if (!r)
        return ERR_OK;
    enum err e = r->user->head(r->ctx, head, end);
    r = request_of(h2); /* the user may have let go */
    return e || !end || !r ? e : request_done(r);
}

static enum err shared_h2_informational(void *ctx, struct h2_stream *h2, const struct head *head)
{
    struct shared_request *r = request_of(h2);
    (void)ctx;
    return r ? r->user->informational(r->ctx, head) : ERR_OK;
}

static enum err shared_h2_body(void *ctx, struct h2_stream *h2, struct span bytes)
{
    struct shared_request *r = request_of(h2);
    (void)ctx;
    return r ? r->user->body(r->ctx, bytes) : ERR_OK;
}

static enum err shared_h2_trailers(void *ctx, struct h2_stream *h2, const struct headers *trailers)
{
    struct shared_request *r = request_of(h2);
    (void)ctx;
    return r ? r->user->trailers(r->ctx, trailers) : ERR_OK;
}

static enum err shared_h2_end(void *ctx, struct h2_stream *h2)
{
    struct shared_request *r = request_of(h2);
    (void)ctx;
    return r ? request_done(r) : ERR_OK;
}

static void shared_h2_drained(void *ctx, struct h2_stream *h2)
{
    struct shared_request *r = request_of(h2);
    (void)ctx;
    if (r)
        r->user->drained(r->ctx);
}

static void shared_h2_closed(void *ctx, struct h2_stream *h2, uint32_t code, bool untouched)
{
    struct shared_request *r = request_of(h2);
    char reason[96];
    (void)ctx;
    if (!r)
        return;
    r->h2 = NULL;
    (void)snprintf(reason, sizeof reason, "the origin reset the stream (HTTP/2 error code %u)", code);
    bool http11 = code == H2_HTTP_1_1_REQUIRED;
    request_fail(r, http11 ? ERR_UNSUPPORTED : ERR_RESET, untouched || http11, reason);
}

static void shared_h2_malformed(void *ctx, struct h2_stream *h2, const struct head *head, const char *why)
{
    struct shared_request *r = request_of(h2);
    char reason[200];
    (void)ctx;
    (void)head;
    if (!r)
        return;
    (void)snprintf(reason, sizeof reason, "the origin's response is not acceptable: %s", why);
    request_fail(r, ERR_PARSE, false, reason);
}

static const struct h2_events shared_h2_events = {
    shared_h2_head, shared_h2_informational, shared_h2_body,   shared_h2_trailers,
    shared_h2_end,  shared_h2_drained,       shared_h2_closed, shared_h2_malformed,
};

/* ---- what the connection says ---- */

static void shared_ready(void *ctx)
{
    (void)ctx; /* it was, before it came here */
}

static enum err shared_bytes(void *ctx, struct span bytes)
{
    struct shared *s = ctx;
    uint64_t now = loop_now_ns(s->loop);
    if (now - s->calm_ns >= LIMIT_H2_CALM_MS * NS_PER_MS) {
        s->calm_ns = now;
        h2_calm(s->h2);
    }
    s->busy++;
    enum err e = h2_feed(s->h2, bytes);
    if (e && s->up)
        shared_failed_parse(s, e);
    else
        shared_output(s);
    if (s->up && h2_settled(s->h2))
        shared_tell_waits(s, s);
    shared_leave(s);
    return ERR_OK;
}

static void shared_eof(void *ctx)
{
    struct shared *s = ctx;
    s->busy++;
    shared_closed(s);
    shared_leave(s);
}

static void shared_drained(void *ctx)
{
    struct shared *s = ctx;
    s->busy++;
    shared_output(s);
    shared_leave(s);
}

static void shared_failed(void *ctx, enum err why, const char *reason)
{
    struct shared *s = ctx;
    s->busy++;
    shared_end(s, why, reason);
    shared_leave(s);
}

static const struct upstream_user shared_upstream_user = {
    .ready = shared_ready,
    .bytes = shared_bytes,
    .eof = shared_eof,
    .drained = shared_drained,
    .failed = shared_failed,
};

/* ---- life ---- */

enum err shared_create(struct shared **out, struct upstream *u, struct loop *loop)
{
    struct shared *s = mem_new(1, sizeof *s);
    *out = NULL;
    enum err e = s ? h2_create(&s->h2, H2_CLIENT, &shared_h2_events, s) : ERR_NOMEM;
    if (e) {
        mem_free(s);
        upstream_release(u, false);
        return e;
    }
    s->loop = loop;
    s->up = u;
    s->key = *upstream_key(u);
    s->info = connection_ref(upstream_connection(u));
    s->idle_since_ns = loop_now_ns(loop);
    list_init(&s->link);
    list_init(&s->requests);
    list_init(&s->waits);
    task_init(&s->flush, shared_flush);
    upstream_set_user(u, &shared_upstream_user, s);
    upstream_go_raw(u);
    shared_wake(s);
    *out = s;
    return ERR_OK;
}

void shared_close(struct shared **s)
{
    struct shared *it = *s;
    *s = NULL;
    if (!it || !it->up)
        return;
    it->busy++;
    h2_shutdown(it->h2);
    shared_output(it);
    shared_end(it, ERR_SHUTDOWN, "ringtape closed the connection");
    shared_leave(it);
}

struct list *shared_link(struct shared *s)
{
    return &s->link;
}

struct shared *shared_of_link(struct list *link)
{
    return container_of(link, struct shared, link);
}

const struct upstream_key *shared_key(const struct shared *s)
{
    return &s->key;
}

struct connection *shared_connection(const struct shared *s)
{
    return s->info;
}

bool shared_used_before(const struct shared *s)
{
    return s->used;
}

bool shared_can_take(const struct shared *s)
{
    return s->up && h2_can_request(s->h2);
}

bool shared_can_upgrade(const struct shared *s)
{
    return s->up && h2_can_upgrade(s->h2);
}

bool shared_await_settings(struct shared *s, struct shared_wait *wait)
{
    if (h2_settled(s->h2))
        return false;
    list_push(&s->waits, &wait->link);
    return true;
}

uint64_t shared_idle_since_ns(const struct shared *s)
{
    return list_empty(&s->requests) ? s->idle_since_ns : 0;
}

void shared_check(struct shared *s, uint64_t now_ns)
{
    if (s->up && s->stuck_ns && now_ns - s->stuck_ns >= LIMIT_STALL_MS * NS_PER_MS)
        shared_end(s, ERR_TIMEOUT, "the origin took nothing of the request for too long");
}

/* ---- requests ---- */

enum err shared_begin(struct shared *s, const struct head *head, enum shared_body body, const struct shared_user *user,
                      void *ctx, struct shared_request **out)
{
    struct shared_request *r = mem_new(1, sizeof *r);
    *out = NULL;
    enum err e = ERR_NOMEM;
    if (r && body == SHARED_UPGRADE)
        e = h2_request_upgrade(s->h2, head, &r->h2);
    else if (r)
        e = h2_request(s->h2, head, body == SHARED_NO_BODY, &r->h2);
    if (e) {
        mem_free(r);
        return e;
    }
    r->shared = s;
    r->user = user;
    r->ctx = ctx;
    r->sent_end = body == SHARED_NO_BODY;
    list_init(&r->link);
    list_push(&s->requests, &r->link);
    h2_set_owner(r->h2, r);
    s->used = true;
    shared_wake(s);
    *out = r;
    return ERR_OK;
}

void shared_send(struct shared_request *r, struct span bytes)
{
    if (h2_body(r->h2, bytes))
        h2_reset(r->h2, H2_INTERNAL_ERROR);
    shared_wake(r->shared);
}

void shared_send_end(struct shared_request *r, const struct headers *trailers)
{
    r->sent_end = true;
    if (h2_end(r->h2, trailers))
        h2_reset(r->h2, H2_INTERNAL_ERROR);
    shared_wake(r->shared);
}

bool shared_full(const struct shared_request *r)
{
    return h2_full(r->h2);
}

uint64_t shared_wire_bytes(const struct shared_request *r)
{
    return h2_wire_bytes(r->h2);
}

void shared_pause(struct shared_request *r, bool paused)
{
    h2_pause(r->h2, paused);
    shared_wake(r->shared);
}

void shared_release(struct shared_request *r)
{
    if (!r->done || !r->sent_end)
        h2_reset(r->h2, H2_CANCEL);
    request_forget(r);
}
