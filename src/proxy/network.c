/* network.c: the origin that is the network. A `call` is one exchange at work here; an `inquiry` is a probe at work.
 *
 *   call:  WAITING (no connection yet; the request is held) ──> SENT (the head has gone out) ──> RAW (tunnel, upgrade)
 *
 * Invariants: a call has an upstream from its first step on, unless its failure is on its way (`fail` runs). A request may be
 * sent again only while nothing of the response was heard and all of the request is still held in `body`. The pool's list of
 * one worker holds idle upstreams, the most recently used first. */
#include "proxy/network.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/util.h"
#include "proxy/upstream.h"
#include "tls/hello.h"

#include <assert.h>
#include <stdio.h>

struct network {
    struct origin origin;
    struct network_options options;
    struct upstream_env env;
    struct list pool;      /* idle upstreams, the latest first */
    size_t pool_n, open_n; /* idle ones; all */
    struct task reap;
    struct buf scratch; /* chunk framing on its way; kept, so that no piece of a body allocates */
};

struct call {
    struct network *net;
    struct exchange *x;
    struct upstream *up;
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
    bool retried, raw, has_trailers, request_paused, response_paused;
};

struct inquiry {
    struct network *net;
    struct probe *probe;
    struct upstream *up;
    struct task done; /* answers from the pool come later all the same */
};

static const struct upstream_user call_user;

/* ---- pool ---- */

static void network_idle(void *ctx, struct upstream *u)
{
    struct network *n = ctx;
    list_push_front(&n->pool, upstream_pool_link(u));
    n->pool_n++;
    if (n->pool_n > LIMIT_POOL_TOTAL)
        upstream_release(upstream_of_pool_link(n->pool.prev), false);
    if (!task_waiting(&n->reap))
        loop_start(n->env.worker->loop, &n->reap, LIMIT_POOL_IDLE_MS * NS_PER_MS / 2);
}

static void network_gone(void *ctx, struct upstream *u)
{
    struct network *n = ctx;
    (void)u;
    n->pool_n--;
}

static struct upstream *network_find_idle(struct network *n, const struct upstream_key *key)
{
    LIST_FOREACH (it, &n->pool) {
        struct upstream *u = upstream_of_pool_link(it);
        if (upstream_key_equal(upstream_key(u), key))
            return u;
    }
    return NULL;
}

/* A new connection is wanted: idle ones give way when descriptors are few. */
static void network_make_room(struct network *n)
{
    size_t max = proxy_worker_origins(n->env.worker);
    while (!list_empty(&n->pool) && n->open_n + 1 > max)
        upstream_release(upstream_of_pool_link(n->pool.prev), false);
}

static void network_reap(struct task *task)
{
    struct network *n = container_of(task, struct network, reap);
    uint64_t now = loop_now_ns(n->env.worker->loop);
    while (!list_empty(&n->pool)) {
        struct upstream *oldest = upstream_of_pool_link(n->pool.prev);
        if (now - upstream_idle_since_ns(oldest) < LIMIT_POOL_IDLE_MS * NS_PER_MS)
            break;
        upstream_release(oldest, false);
    }
    if (!list_empty(&n->pool))
        loop_start(n->env.worker->loop, &n->reap, LIMIT_POOL_IDLE_MS * NS_PER_MS / 2);
}

/* ---- keys ---- */

static void key_set_alpn(struct upstream_key *key, struct span offer)
{
    static const char http11[] = "\x08http/1.1";
    if (!hello_offers(offer, SPAN("http/1.1")))
        return;
    key->alpn_n = sizeof http11 - 1;
    memcpy(key->alpn, http11, key->alpn_n);
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
    if (!key->tls)
        return;
    bool named = x->intercepted_sni[0] && tunnelled;
    connection_set(key->sni, sizeof key->sni, named ? span_str(x->intercepted_sni) : span_str(key->host));
    if (!key->raw)
        key_set_alpn(key, SPAN("\x08http/1.1"));
}

/* ---- the end of a call ---- */

static void call_free(struct call *call)
{
    if (call->x)
        call->x->origin_state = NULL;
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
    if (m)
        call->x->response_wire_bytes = m->head_bytes + m->body_wire_bytes;
}

/* From the loop. */
static void call_fail(struct call *call, enum err why, const char *reason)
{
    struct exchange *x = call->x;
    char text[256];
    connection_set(text, sizeof text, span_str(reason));
    struct event event = {.part = PART_ERROR, .at_ns = call_now(call), .error = why, .reason = text};
    if (call->up)
        upstream_release(call->up, false);
    call->up = NULL;
    call_free(call);
    exchange_response(x, &event);
}

static void call_fail_run(struct task *task)
{
    struct call *call = container_of(task, struct call, fail);
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

static void call_send_piece(struct call *call, struct span piece)
{
    struct buf *line = &call->net->scratch;
    buf_clear(line);
    if (call->raw || call->plan.framing != H1_CHUNKED) {
        upstream_send(call->up, piece);
    } else if (h1_put_chunk_begin(line, piece.n)) {
        call_fail_later(call, ERR_NOMEM, err_text(ERR_NOMEM));
    } else {
        upstream_send(call->up, buf_span(line));
        upstream_send(call->up, piece);
        upstream_send(call->up, SPAN("\r\n"));
    }
    if (upstream_full(call->up))
        call_pause_request(call, true);
}

static void call_send_end(struct call *call)
{
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
    if (call->body.n)
        call_send_piece(call, buf_span(&call->body));
    if (!call->keep)
        buf_free(&call->body);
    if (call->ended)
        call_send_end(call);
    if (!upstream_full(call->up))
        call_pause_request(call, false);
    if (call->response_paused)
        upstream_pause(call->up, true);
}

static void call_connect(struct call *call, bool pooled)
{
    struct network *n = call->net;
    struct upstream *idle = pooled ? network_find_idle(n, &call->key) : NULL;
    if (pooled && !idle && call->key.alpn_n) {
        /* Where nothing was offered HTTP/1.1 is spoken all the same: the probe of a client without ALPN opened it so. */
        struct upstream_key silent = call->key;
        silent.alpn_n = 0;
        idle = network_find_idle(n, &silent);
    }
    call->fresh = idle == NULL || !upstream_used_before(idle);
    call->pooled = idle != NULL;
    if (idle) {
        call->up = idle;
        upstream_take(idle, &call_user, call);
        call_send(call);
        return;
    }
    network_make_room(n);
    enum err e = upstream_open(&call->up, &n->env, &call->key, &call_user, call);
    if (e)
        call_fail_later(call, e, err_text(e));
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

static void call_ready(void *ctx)
{
    struct call *call = ctx;
    struct exchange *x = call->x;
    if (x->kind != FLOW_TUNNEL) {
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
        e = head_set(&head, &head.version, SPAN("HTTP/1.1"));
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
        struct span to = SPAN_EMPTY;
        (void)headers_find(&head->headers, SPAN("Upgrade"), &to);
        exchange_set_kind(call->x, span_eq_nocase(to, SPAN("websocket")) ? FLOW_WEBSOCKET : FLOW_TUNNEL);
        call->raw = true;
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
    exchange_response(call->x, &event);
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
    if (call->raw)
        return ERR_OK; /* the 101 itself */
    struct event event = {.part = PART_END, .at_ns = call_now(call)};
    call_wire_bytes(call);
    bool reusable = call->ended && upstream_message(call->up)->keep_alive && !task_waiting(&call->fail);
    struct upstream *up = call->up;
    call->up = NULL;
    call_free(call);
    upstream_release(up, reusable);
    exchange_response(x, &event);
    return ERR_OK;
}

static void call_eof(void *ctx)
{
    struct call *call = ctx;
    struct exchange *x = call->x;
    struct event event = {.part = PART_END, .at_ns = call_now(call)};
    struct upstream *up = call->up;
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

static void call_failed(void *ctx, enum err why, const char *reason)
{
    struct call *call = ctx;
    bool heard = call->sent && upstream_heard(call->up);
    call->up = NULL; /* it goes by itself */
    if (call->sent && !heard && call->pooled && !call->retried && call->keep && call_is_idempotent(call)) {
        call->retried = true;
        call->sent = false;
        call_connect(call, false);
        return;
    }
    call_fail(call, heard && why == ERR_CLOSED ? ERR_TRUNCATED : why, reason);
}

static const struct upstream_user call_user = {
    .ready = call_ready,
    .http = {call_http_head, call_http_informational, call_bytes, call_http_trailers, call_http_end},
    .bytes = call_bytes,
    .eof = call_eof,
    .drained = call_drained,
    .failed = call_failed,
};

/* ---- the origin's operations on exchanges ---- */

static struct network *network_of(struct origin *origin)
{
    return container_of(origin, struct network, origin);
}

static void network_open(struct origin *origin, struct exchange *x)
{
    struct call *call = mem_new(1, sizeof *call);
    x->origin_state = call;
    if (!call)
        return; /* network_request() says so */
    call->net = network_of(origin);
    call->x = x;
    call->keep = true;
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
    call_key(call);
    const struct headers *fields = &call->head.headers;
    call->plan = h1_plan_request(&call->head, !event->no_body, true);
    call->plan.upgrade = headers_has_token(fields, SPAN("Connection"), SPAN("upgrade"));
    call->plan.absolute_form = call->net->env.options->upstream && !call->key.tls && !call->key.raw;
    e = call_authorise(call);
    if (e)
        call_fail_later(call, e, err_text(e));
    else if (x->facts && x->facts->error)
        call_fail_later(call, x->facts->error, x->facts->reason);
    else if (call->key.host[0] == '\0')
        call_fail_later(call, ERR_PARSE, "the request names no host");
    else
        call_connect(call, !call->key.raw && !call->plan.upgrade);
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
        if (!task_waiting(&call->fail))
            call_body(call, event->data);
        break;
    case PART_TRAILERS:
        call->has_trailers = true;
        if (headers_copy(&call->trailers, event->trailers))
            call_fail_later(call, ERR_NOMEM, err_text(ERR_NOMEM));
        break;
    case PART_END:
        if (call->up && call->sent && !task_waiting(&call->fail))
            call_send_end(call);
        call->ended = true;
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
    if (call->up && call->sent)
        upstream_pause(call->up, paused);
}

static void network_cancel(struct origin *origin, struct exchange *x)
{
    struct call *call = x->origin_state;
    (void)origin;
    if (!call)
        return;
    call_wire_bytes(call);
    if (call->up)
        upstream_release(call->up, false);
    call->up = NULL;
    call_free(call);
}

/* ---- probes ---- */

static void inquiry_facts(struct inquiry *q)
{
    struct origin_facts *facts = q->probe->facts;
    facts->error = ERR_OK;
    connection_set(facts->alpn, sizeof facts->alpn, span_str(upstream_connection(q->up)->alpn));
    const struct buf *chain = &upstream_connection(q->up)->chain;
    struct span all = buf_span(chain);
    if (all.n < 4)
        return;
    size_t n = (size_t)all.p[0] << 24 | (size_t)all.p[1] << 16 | (size_t)all.p[2] << 8 | all.p[3];
    if (tls_certificate_names(span_first(span_from(all, 4), n), &facts->names))
        buf_clear(&facts->names); /* a leaf without the origin's names serves as well */
}

static void inquiry_end(struct inquiry *q)
{
    struct probe *probe = q->probe;
    probe->state = NULL;
    loop_stop_task(q->net->env.worker->loop, &q->done);
    mem_free(q);
    probe->done(probe);
}

static void inquiry_ready(void *ctx)
{
    struct inquiry *q = ctx;
    inquiry_facts(q);
    upstream_release(q->up, true);
    inquiry_end(q);
}

static void inquiry_failed(void *ctx, enum err why, const char *reason)
{
    struct inquiry *q = ctx;
    q->probe->facts->error = why;
    connection_set(q->probe->facts->reason, sizeof q->probe->facts->reason, span_str(reason));
    inquiry_end(q);
}

static void inquiry_done_run(struct task *task)
{
    inquiry_end(container_of(task, struct inquiry, done));
}

static enum err inquiry_nothing(void *ctx, struct span bytes)
{
    (void)ctx;
    (void)bytes;
    return ERR_PARSE;
}

static void inquiry_silent(void *ctx)
{
    (void)ctx;
}

static const struct upstream_user inquiry_user = {.ready = inquiry_ready,
                                                  .bytes = inquiry_nothing,
                                                  .eof = inquiry_silent,
                                                  .drained = inquiry_silent,
                                                  .failed = inquiry_failed};

static void inquiry_start(struct inquiry *q)
{
    struct network *n = q->net;
    struct upstream_key key = {.port = q->probe->port, .tls = true};
    connection_set(key.host, sizeof key.host, q->probe->host);
    connection_set(key.sni, sizeof key.sni, q->probe->sni.n ? q->probe->sni : q->probe->host);
    key_set_alpn(&key, q->probe->alpn);
    q->up = network_find_idle(n, &key);
    if (q->up) {
        inquiry_facts(q);
        loop_start(n->env.worker->loop, &q->done, 0);
        return;
    }
    network_make_room(n);
    enum err e = upstream_open(&q->up, &n->env, &key, &inquiry_user, q);
    if (e) {
        q->probe->facts->error = e;
        connection_set(q->probe->facts->reason, sizeof q->probe->facts->reason, span_str(err_text(e)));
        loop_start(n->env.worker->loop, &q->done, 0);
    }
}

static void network_probe(struct origin *origin, struct probe *probe)
{
    struct inquiry *q = mem_new(1, sizeof *q);
    probe->state = q;
    if (!q) {
        probe->facts->error = ERR_NOMEM;
        return;
    }
    q->net = network_of(origin);
    q->probe = probe;
    task_init(&q->done, inquiry_done_run);
    inquiry_start(q);
}

static void network_probe_cancel(struct origin *origin, struct probe *probe)
{
    struct inquiry *q = probe->state;
    (void)origin;
    if (!q)
        return;
    probe->state = NULL;
    if (task_waiting(&q->done))
        loop_stop_task(q->net->env.worker->loop, &q->done);
    else
        upstream_release(q->up, false);
    mem_free(q);
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
    buf_free(&it->scratch);
    mem_free(it);
}
