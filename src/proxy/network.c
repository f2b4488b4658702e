/* network.c: the origin that is the network. A `call` is one exchange at work here.
 *
 *   call:  WAITING (no connection yet, its own or another's that it may share; the request is held) ──> SENT (the head has gone out) ──> RAW (tunnel, upgrade)
 *
 * Invariants: a call has either an upstream (`up`, its own while it lasts) or a stream of a shared one (`ride`) from its first step on, unless it
 * waits for another call's or its failure is on its way (`fail` runs). A request may be
 * sent again only while nothing of the response was heard and all of the request is still held in `body`.*/
#include "proxy/network_internal.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/util.h"
#include "tls/hello.h"

#include <assert.h>
#include <stdio.h>

enum { UNTOUCHED_TRIES = 3 };

struct call {
    struct network *net;
    struct list link; /* network->dialling or ->waiting, or neither */
    struct exchange *x;
    struct upstream *up;
    struct shared_request *ride;
    struct shared_wait settings;
    struct head head;
    struct h1_out plan;
    struct buf body; /* of the request: held while waiting, and kept for a retry */
    struct headers trailers;
    struct task fail;
    enum err fail_why;
    char fail_reason[256];
    struct upstream_key key;
    bool sent, ended; /* head handed over; request complete */
    bool keep;        /* `body` still is the whole request body: it could be sent again */
    bool fresh;       /* this connection carried no exchange before */
    bool pooled;      /* it was idle: its end may have been under way already */
    bool no_body;     /* the request ends with its head */
    bool heard;       /* something of the response came, on a ride */
    bool half_closed; /* a tunnel whose origin sent FIN */
    unsigned tries;   /* beyond the first */
    bool waits;       /* for the connection of another call that dials */
    bool extended;    /* an upgrade that came over HTTP/2, and goes on over HTTP/2 (RFC 8441) */
    bool raw, has_trailers, request_paused, response_paused;
};

static const char ambiguous_frames[] = "a WebSocket frame could be read in two ways";
static const char no_upgrade[] = "the origin takes no upgrade over HTTP/2 (RFC 8441)";

static const struct upstream_user call_user;
static const struct shared_user ride_user;

static void call_connect(struct call *call, bool pooled, bool alone);

/* ---- keys ---- */

/* In a tunnel what the client offered, so that the probe's connection serves; else what the client speaks itself. An upgrade over
 * HTTP/1.1 stays there. */
static struct span call_offer(const struct call *call)
{
    const struct exchange *x = call->x;
    static const char both[] = "\x02h2\x08http/1.1", http11[] = "\x08http/1.1";
    if (call->plan.upgrade && !call->extended)
        return span_str(http11);
    if (x->tunnel_host.n > 0)
        return x->alpn_offer;
    return strcmp(x->client->alpn, "h2") == 0 ? span_str(both) : span_str(http11);
}

static void call_key(struct call *call)
{
    const struct exchange *x = call->x;
    struct upstream_key *key = &call->key;
    struct span host = head_span(&call->head, call->head.host);
    bool tunnelled = x->tunnel_host.n > 0;
    memset(key, 0, sizeof *key);
    connection_set(key->host, sizeof key->host, tunnelled ? x->tunnel_host : host);
    key->port = tunnelled ? x->tunnel_port : call->head.port;
    key->raw = x->kind == FLOW_TUNNEL;
    key->tls = key->raw ? x->tunnel_tls : span_eq(head_span(&call->head, call->head.scheme), SPAN("https"));
    key->h2c =
        !key->raw && !key->tls && tunnelled && span_eq(head_span(&call->head, call->head.version), SPAN("HTTP/2"));
    if (!key->tls)
        return;
    bool named = x->intercepted_sni[0] && tunnelled;
    connection_set(key->sni, sizeof key->sni, named ? span_str(x->intercepted_sni) : span_str(key->host));
    if (!key->raw)
        network_offer(call->net, key, call_offer(call));
}

/* ---- the end of a call ---- */

/* The connection that others wait for stands, or never will: they go on. `shared`: it carries them, too. */
static void call_dialled(struct call *call, bool shared)
{
    struct network *n = call->net;
    bool awaited = !list_empty(&call->link) && !call->waits;
    struct list due, *link;
    list_init(&due);
    list_remove(&call->link);
    LIST_FOREACH (it, &n->waiting) { /* who finds no room may wait anew */
        if (!awaited || !upstream_key_equal(&container_of(it, struct call, link)->key, &call->key))
            continue;
        list_remove(it);
        list_push(&due, it);
    }
    while ((link = list_pop(&due))) {
        struct call *other = container_of(link, struct call, link);
        other->waits = false;
        call_connect(other, true, !shared);
    }
}

static void call_free(struct call *call)
{
    if (call->x)
        call->x->origin_state = NULL;
    call_dialled(call, true); /* given up: the next one dials */
    list_remove(&call->settings.link);
    loop_stop_task(call->net->env.worker->loop, &call->fail);
    head_free(&call->head);
    headers_free(&call->trailers);
    buf_free(&call->body);
    mem_free(call);
}

static uint64_t call_now(const struct call *call)
{
    return loop_now_ns(call->net->env.worker->loop);
}

static void call_wire_bytes(struct call *call)
{
    const struct h1_message *m = call->up && !call->raw ? upstream_message(call->up) : NULL;
    if (call->ride)
        call->x->response_wire_bytes = shared_wire_bytes(call->ride);
    else if (m)
        call->x->response_wire_bytes = m->head_bytes + m->body_wire_bytes;
}

/* Lets go of the connection or stream, wherever it stands. */
static void call_release(struct call *call, bool reusable)
{
    struct upstream *up = call->up;
    struct shared_request *ride = call->ride;
    call->up = NULL;
    call->ride = NULL;
    if (up)
        upstream_release(up, reusable);
    if (ride)
        shared_release(ride);
}

/* From the loop. */
static void call_fail(struct call *call, enum err why, const char *reason)
{
    struct exchange *x = call->x;
    char text[256];
    connection_set(text, sizeof text, span_str(reason));
    struct event event = {.part = PART_ERROR, .at_ns = call_now(call), .error = why, .reason = text};
    call_release(call, false);
    call_free(call);
    exchange_response(x, &event);
}

/* The same when the origin had finished before: from the loop. */
static void call_let_go(struct call *call)
{
    struct exchange *x = call->x;
    call_release(call, false);
    call_free(call);
    exchange_let_go(x);
}

static void call_fail_run(struct task *task)
{
    struct call *call = container_of(task, struct call, fail);
    if (call->half_closed)
        call_let_go(call);
    else
        call_fail(call, call->fail_why, call->fail_reason);
}

/* From within the client's call: the loop tells it. */
static void call_fail_later(struct call *call, enum err why, const char *reason)
{
    if (task_waiting(&call->fail))
        return;
    call->fail_why = why;
    connection_set(call->fail_reason, sizeof call->fail_reason, span_str(reason));
    loop_start(call->net->env.worker->loop, &call->fail, 0);
}

/* ---- sending the request ---- */

static void call_pause_request(struct call *call, bool paused)
{
    if (call->request_paused == paused)
        return;
    call->request_paused = paused;
    exchange_pause_request(call->x, paused);
}

static bool call_full(const struct call *call)
{
    return call->ride ? shared_full(call->ride) : upstream_full(call->up);
}

static void call_send_piece(struct call *call, struct span piece)
{
    struct buf *line = &call->net->scratch;
    buf_clear(line);
    if (call->ride)
        shared_send(call->ride, piece);
    else if (call->raw || call->plan.framing != H1_CHUNKED) {
        upstream_send(call->up, piece);
    } else if (h1_put_chunk_begin(line, piece.n)) {
        call_fail_later(call, ERR_NOMEM, err_text(ERR_NOMEM));
    } else {
        upstream_send(call->up, buf_span(line));
        upstream_send(call->up, piece);
        upstream_send(call->up, SPAN("\r\n"));
    }
    if (call_full(call))
        call_pause_request(call, true);
}

static void call_send_end(struct call *call)
{
    if (call->ride) {
        if (call->extended ? call->raw : !call->no_body)
            shared_send_end(call->ride, call->has_trailers ? &call->trailers : NULL);
        return;
    }
    if (call->raw) {
        upstream_send_end(call->up);
        return;
    }
    if (call->plan.framing != H1_CHUNKED)
        return;
    struct buf last = BUF_INIT;
    if (h1_put_last_chunk(&last, call->has_trailers ? &call->trailers : NULL))
        call_fail_later(call, ERR_NOMEM, err_text(ERR_NOMEM));
    else
        upstream_send(call->up, buf_span(&last));
    buf_free(&last);
}

/* The connection stands: everything held goes out. From the loop, or from within open(). */
static void call_send_held(struct call *call)
{
    if (call->body.n)
        call_send_piece(call, buf_span(&call->body));
    if (!call->keep)
        buf_free(&call->body);
    if (call->ended)
        call_send_end(call);
    if (!call_full(call))
        call_pause_request(call, false);
}

static void call_send(struct call *call)
{
    struct exchange *x = call->x;
    call->sent = true;
    x->sent_ns = call_now(call);
    exchange_set_server(x, upstream_connection(call->up), !call->fresh);
    if (x->kind != FLOW_TUNNEL) {
        enum err e = upstream_send_head(call->up, &call->head, &call->plan);
        if (e) {
            call_fail_later(call, e, "the request cannot be sent on");
            return;
        }
    }
    call_send_held(call);
    if (call->response_paused)
        upstream_pause(call->up, true);
}

/* The same as a stream of a shared connection. */
static void call_ride(struct call *call, struct shared *shared, bool pooled)
{
    struct exchange *x = call->x;
    call->fresh = !shared_used_before(shared);
    call->pooled = pooled;
    call->sent = true;
    x->sent_ns = call_now(call);
    exchange_set_server(x, shared_connection(shared), !call->fresh);
    enum shared_body body = call->extended ? SHARED_UPGRADE : call->no_body ? SHARED_NO_BODY : SHARED_BODY;
    enum err e = shared_begin(shared, &call->head, body, &ride_user, call, &call->ride);
    if (e) {
        call_fail_later(call, e, "the request cannot be sent on");
        return;
    }
    call_send_held(call);
    if (call->response_paused)
        shared_pause(call->ride, true);
}

static void call_carry(struct call *call, struct shared *shared, bool pooled)
{
    if (!call->extended)
        call_ride(call, shared, pooled);
    else if (shared_await_settings(shared, &call->settings))
        return; /* call_settled() */
    else if (shared_can_upgrade(shared))
        call_ride(call, shared, pooled);
    else
        call_fail_later(call, ERR_UNSUPPORTED, no_upgrade);
}

static void call_settled(struct shared_wait *wait, struct shared *shared)
{
    struct call *call = container_of(wait, struct call, settings);
    if (shared)
        call_carry(call, shared, false);
    else
        call_fail_later(call, ERR_CLOSED, "the origin closed the connection");
}

/* Is somebody dialling this origin who may come back with a connection for all? */
static bool call_may_wait(const struct call *call)
{
    bool h2 = call->key.h2c || hello_offers(span_of(call->key.alpn, call->key.alpn_n), SPAN("h2"));
    if (!h2 || upstream_key_equal(&call->key, &call->net->without_h2))
        return false;
    LIST_FOREACH (it, &call->net->dialling) {
        if (upstream_key_equal(&container_of(it, struct call, link)->key, &call->key))
            return true;
    }
    return false;
}

/* pooled: one that is there already will do. alone: it waits for nobody's. */
static void call_connect(struct call *call, bool pooled, bool alone)
{
    struct network *n = call->net;
    struct shared *shared = pooled ? network_find_shared(n, &call->key) : NULL;
    if (shared) {
        call_carry(call, shared, true);
        return;
    }
    struct upstream *idle = pooled && !call->extended ? network_find_idle(n, &call->key) : NULL;
    call->fresh = idle == NULL || !upstream_used_before(idle);
    call->pooled = idle != NULL;
    if (idle) {
        call->up = idle;
        upstream_take(idle, &call_user, call);
        call_send(call);
        return;
    }
    call->waits = pooled && !alone && call_may_wait(call);
    if (call->waits) {
        list_push(&n->waiting, &call->link);
        return;
    }
    network_make_room(n);
    enum err e = upstream_open(&call->up, &n->env, &call->key, &call_user, call);
    if (e)
        call_fail_later(call, e, err_text(e));
    else if (pooled)
        list_push(&n->dialling, &call->link);
}

static bool call_is_idempotent(const struct call *call)
{
    static const char *const methods[] = {"GET", "HEAD", "OPTIONS", "TRACE", "PUT", "DELETE"};
    struct span method = head_span(&call->head, call->head.method);
    for (size_t i = 0; i < ARRAY_LEN(methods); i++)
        if (span_eq(method, span_str(methods[i])))
            return true;
    return false;
}

/* ---- what the upstream says ---- */

static void call_ready_shared(struct call *call)
{
    struct upstream *up = call->up;
    struct shared *shared = NULL;
    call->up = NULL;
    enum err e = network_share(call->net, up, &shared);
    if (e) {
        call_fail(call, e, err_text(e));
        return;
    }
    call_carry(call, shared, false);
    call_dialled(call, true);
}

static void call_ready(void *ctx)
{
    struct call *call = ctx;
    struct exchange *x = call->x;
    if (x->kind != FLOW_TUNNEL && upstream_is_h2(call->up)) {
        call_ready_shared(call);
        return;
    }
    if (call->extended) {
        call_fail(call, ERR_UNSUPPORTED, no_upgrade);
        return;
    }
    if (x->kind != FLOW_TUNNEL) {
        call->net->without_h2 = call->key;
        call_dialled(call, false);
        call_send(call);
        return;
    }
    upstream_go_raw(call->up);
    call->raw = true;
    struct head head = HEAD_INIT;
    head_clear(&head, HEAD_RESPONSE);
    head.status = 200;
    enum err e = head_set(&head, &head.reason, SPAN("Connection established"));
    if (!e)
        e = head_set(&head, &head.version, head_span(&call->head, call->head.version));
    struct event event = {.part = PART_HEAD, .at_ns = call_now(call), .head = &head};
    if (!e) {
        exchange_set_server(x, upstream_connection(call->up), false);
        exchange_response(x, &event);
        call_send(call);
    } else {
        call_fail_later(call, e, err_text(e));
    }
    head_free(&head);
}

/* It is a 101: bytes from now on. */
static void call_upgraded(struct call *call, const struct head *head)
{
    struct span to = SPAN_EMPTY;
    (void)headers_find(&head->headers, SPAN("Upgrade"), &to);
    exchange_set_kind(call->x, span_eq_nocase(to, SPAN("websocket")) ? FLOW_WEBSOCKET : FLOW_TUNNEL);
    call->raw = true;
}

static enum err call_http_head(void *ctx, const struct head *head, const struct h1_message *message)
{
    struct call *call = ctx;
    bool upgraded = head->status == 101;
    struct event event = {
        .part = PART_HEAD, .at_ns = call_now(call), .head = head, .no_body = message->framing == H1_NO_BODY};
    call->keep = false;
    if (upgraded && !(call->plan.upgrade && call->ended)) {
        call_fail(call, ERR_PARSE, "the origin switched protocols (101) without having been asked to");
        return ERR_CANCELLED;
    }
    if (upgraded) {
        call_upgraded(call, head);
        upstream_go_raw(call->up);
    }
    exchange_response(call->x, &event);
    return ERR_OK;
}

static enum err call_http_informational(void *ctx, const struct head *head)
{
    struct call *call = ctx;
    struct event event = {.part = PART_INFORMATIONAL, .at_ns = call_now(call), .head = head};
    exchange_response(call->x, &event);
    return ERR_OK;
}

static enum err call_bytes(void *ctx, struct span bytes)
{
    struct call *call = ctx;
    struct event event = {.part = PART_BODY, .at_ns = call_now(call), .data = bytes};
    if (task_waiting(&call->fail))
        return ERR_OK;
    exchange_response(call->x, &event);
    if (call->x->ambiguous)
        call_fail_later(call, ERR_AMBIGUOUS, ambiguous_frames);
    return ERR_OK;
}

static enum err call_http_trailers(void *ctx, const struct headers *trailers)
{
    struct call *call = ctx;
    struct event event = {.part = PART_TRAILERS, .at_ns = call_now(call), .trailers = trailers};
    exchange_response(call->x, &event);
    return ERR_OK;
}

/* The response is complete: the connection goes back first, so that the client's next request finds it. */
static enum err call_http_end(void *ctx)
{
    struct call *call = ctx;
    struct exchange *x = call->x;
    if (call->raw && !call->ride)
        return ERR_OK; /* the 101 itself */
    struct event event = {.part = PART_END, .at_ns = call_now(call)};
    call_wire_bytes(call);
    bool reusable = call->up && call->ended && upstream_message(call->up)->keep_alive && !task_waiting(&call->fail);
    call_release(call, reusable);
    call_free(call);
    exchange_response(x, &event);
    return ERR_OK;
}

static void call_eof(void *ctx)
{
    struct call *call = ctx;
    struct exchange *x = call->x;
    struct event event = {.part = PART_END, .at_ns = call_now(call)};
    struct upstream *up = call->up;
    if (call->key.raw && !call->ended && exchange_half_close(x)) {
        call->half_closed = true;
        return;
    }
    call->up = NULL;
    call_free(call);
    upstream_release(up, false);
    exchange_response(x, &event);
}

static void call_drained(void *ctx)
{
    struct call *call = ctx;
    if (call->sent)
        call_pause_request(call, false);
}

/* Once more on another connection, when that cannot do anything twice; a few times more while no origin has begun with it. */
static bool call_retry(struct call *call, bool untouched)
{
    unsigned most = untouched ? UNTOUCHED_TRIES : 1;
    if (!call->sent || call->tries >= most || !call->keep || !(untouched || (call->pooled && call_is_idempotent(call))))
        return false;
    call->tries++;
    call->sent = false;
    call_connect(call, untouched, false);
    return true;
}

static void call_failed(void *ctx, enum err why, const char *reason)
{
    struct call *call = ctx;
    bool heard = call->sent && upstream_heard(call->up);
    call->up = NULL; /* it goes by itself */
    if (call->half_closed) {
        call_let_go(call); /* it does not listen any more: nothing of what it said is missing */
        return;
    }
    call_dialled(call, false);
    if (heard || !call_retry(call, false))
        call_fail(call, heard && why == ERR_CLOSED ? ERR_TRUNCATED : why, reason);
}

/* ---- what the stream of a shared connection says ---- */

static enum err ride_head(void *ctx, const struct head *head, bool end)
{
    struct call *call = ctx;
    struct event event = {.part = PART_HEAD, .at_ns = call_now(call), .head = head, .no_body = end};
    call->keep = false;
    call->heard = true;
    if (head->status == 101)
        call_upgraded(call, head);
    call_wire_bytes(call);
    exchange_response(call->x, &event);
    return ERR_OK;
}

static enum err ride_informational(void *ctx, const struct head *head)
{
    struct call *call = ctx;
    call->keep = false; /* what was passed on cannot be told twice */
    call->heard = true;
    return call_http_informational(ctx, head);
}

static enum err ride_body(void *ctx, struct span bytes)
{
    struct call *call = ctx;
    call_wire_bytes(call); /* how it ends is told when the stream has gone */
    return call_bytes(call, bytes);
}

/* The origin wants this request over HTTP/1.1 only (RFC 9113 §7). */
static void call_without_h2(struct call *call)
{
    call->key.h2c = false;
    call->key.alpn_n = 0;
    if (call->key.tls)
        network_offer(call->net, &call->key, SPAN("\x08http/1.1"));
}

static void ride_failed(void *ctx, enum err why, bool untouched, const char *reason)
{
    struct call *call = ctx;
    call->ride = NULL;
    if (why == ERR_UNSUPPORTED && !call->extended)
        call_without_h2(call);
    bool idle = why == ERR_CLOSED || why == ERR_RESET; /* a connection that turned out dead */
    if (call->heard || !(untouched || idle) || !call_retry(call, untouched))
        call_fail(call, call->heard && why == ERR_CLOSED ? ERR_TRUNCATED : why, reason);
}

static const struct shared_user ride_user = {
    .head = ride_head,
    .informational = ride_informational,
    .body = ride_body,
    .trailers = call_http_trailers,
    .done = call_http_end,
    .drained = call_drained,
    .failed = ride_failed,
};

static const struct upstream_user call_user = {
    .ready = call_ready,
    .http = {call_http_head, call_http_informational, call_bytes, call_http_trailers, call_http_end},
    .bytes = call_bytes,
    .eof = call_eof,
    .drained = call_drained,
    .failed = call_failed,
};

/* ---- the origin's operations on exchanges ---- */

static void network_open(struct origin *origin, struct exchange *x)
{
    struct call *call = mem_new(1, sizeof *call);
    x->origin_state = call;
    if (!call)
        return; /* network_request() says so */
    call->net = network_of(origin);
    call->x = x;
    call->keep = true;
    list_init(&call->link);
    list_init(&call->settings.link);
    call->settings.done = call_settled;
    task_init(&call->fail, call_fail_run);
}

/* The proxy beyond may want a password of its own: with CONNECT it is given by upstream.c, with all else here. */
static enum err call_authorise(struct call *call)
{
    const struct network_upstream *beyond = call->net->env.options->upstream;
    struct buf value = BUF_INIT;
    if (!call->plan.absolute_form || !beyond->credentials[0])
        return ERR_OK;
    enum err e = buf_printf(&value, "Basic %s", beyond->credentials);
    if (!e)
        e = headers_set(&call->head.headers, SPAN("Proxy-Authorization"), buf_span(&value));
    buf_free(&value);
    return e;
}

static void call_begin(struct call *call, const struct event *event)
{
    const struct exchange *x = call->x;
    enum err e = head_copy(&call->head, event->head);
    if (e) {
        call_fail_later(call, e, err_text(e));
        return;
    }
    const struct headers *fields = &call->head.headers;
    call->no_body = event->no_body;
    call->plan = h1_plan_request(&call->head, !event->no_body, true);
    call->plan.upgrade = headers_has_token(fields, SPAN("Connection"), SPAN("upgrade"));
    call->extended = call->plan.upgrade && span_eq(head_span(&call->head, call->head.version), SPAN("HTTP/2"));
    call_key(call);
    call->plan.absolute_form = call->net->env.options->upstream && !call->key.tls && !call->key.raw;
    e = call_authorise(call);
    if (e)
        call_fail_later(call, e, err_text(e));
    else if (x->facts && x->facts->error)
        call_fail_later(call, x->facts->error, x->facts->reason);
    else if (call->key.host[0] == '\0')
        call_fail_later(call, ERR_PARSE, "the request names no host");
    else
        call_connect(call, !call->key.raw && (!call->plan.upgrade || call->extended), false);
}

/* Held while there is no connection; kept beyond that as long as it is small enough to be sent again. */
static void call_body(struct call *call, struct span data)
{
    bool hold = !call->sent || call->keep;
    if (hold && call->sent && call->body.n + data.n > LIMIT_SEND_LOW) {
        call->keep = false;
        buf_free(&call->body);
        hold = false;
    }
    if (hold && buf_put(&call->body, data)) {
        call_fail_later(call, ERR_NOMEM, err_text(ERR_NOMEM));
        return;
    }
    if (call->sent)
        call_send_piece(call, data);
    else if (call->body.n >= LIMIT_SEND_HIGH)
        call_pause_request(call, true);
    if (call->body.n > LIMIT_SEND_LOW)
        call->keep = false;
}

static void network_request(struct origin *origin, struct exchange *x, const struct event *event)
{
    struct call *call = x->origin_state;
    (void)origin;
    if (!call)
        return;
    switch (event->part) {
    case PART_HEAD:
        call_begin(call, event);
        break;
    case PART_BODY:
        if (x->ambiguous)
            call_fail_later(call, ERR_AMBIGUOUS, ambiguous_frames);
        else if (!task_waiting(&call->fail))
            call_body(call, event->data);
        break;
    case PART_TRAILERS:
        call->has_trailers = true;
        if (headers_copy(&call->trailers, event->trailers))
            call_fail_later(call, ERR_NOMEM, err_text(ERR_NOMEM));
        break;
    case PART_END:
        if ((call->up || call->ride) && call->sent && !task_waiting(&call->fail))
            call_send_end(call);
        call->ended = true;
        if (call->half_closed && !task_waiting(&call->fail))
            loop_start(call->net->env.worker->loop, &call->fail, 0);
        break;
    case PART_INFORMATIONAL:
    case PART_ERROR:
        break; /* the client leg destroys the exchange: cancel follows */
    }
}

static void network_pause_response(struct origin *origin, struct exchange *x, bool paused)
{
    struct call *call = x->origin_state;
    (void)origin;
    if (!call)
        return;
    call->response_paused = paused;
    if (call->ride)
        shared_pause(call->ride, paused);
    else if (call->up && call->sent)
        upstream_pause(call->up, paused);
}

static void network_cancel(struct origin *origin, struct exchange *x)
{
    struct call *call = x->origin_state;
    (void)origin;
    if (!call)
        return;
    call_wire_bytes(call);
    call_release(call, false);
    call_free(call);
}

/* ---- life ---- */

static const struct origin_ops network_ops = {network_probe,   network_probe_cancel,   network_open,
                                              network_request, network_pause_response, network_cancel};

enum err network_create(struct network **out, const struct network_options *options, const struct proxy_worker_env *env,
                        const struct pipeline *pipeline)
{
    struct network *n = mem_new(1, sizeof *n);
    *out = n;
    if (!n)
        return ERR_NOMEM;
    n->origin.ops = &network_ops;
    n->options = *options;
    n->env = (struct upstream_env){&n->options, env, pipeline, network_idle, network_gone, &n->open_n, n};
    list_init(&n->pool);
    list_init(&n->shared);
    list_init(&n->dialling);
    list_init(&n->waiting);
    task_init(&n->reap, network_reap);
    return ERR_OK;
}

struct origin *network_origin(struct network *n)
{
    return &n->origin;
}

void network_destroy(struct network **n)
{
    struct network *it = *n;
    *n = NULL;
    if (!it)
        return;
    loop_stop_task(it->env.worker->loop, &it->reap);
    while (!list_empty(&it->pool))
        upstream_release(upstream_of_pool_link(it->pool.next), false);
    while (!list_empty(&it->shared)) {
        struct shared *s = shared_of_link(it->shared.next);
        shared_close(&s);
    }
    buf_free(&it->scratch);
    mem_free(it);
}
