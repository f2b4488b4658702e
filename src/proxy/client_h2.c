/* client_h2.c: the exchanges of a client that speaks HTTP/2: each stream is one, and they run side by side.
 *
 * Invariants: a client_stream lives as long as its HTTP/2 stream or its exchange does. What is to be sent lies in the engine until the flush
 * task, once a turn, moves as much as the connection takes; so a client that reads slowly stops its streams one by one (h2_full()), and they
 * their origins. Nothing of the engine is called from within h2_feed() or h2_output() that these do not allow. */
#include "proxy/client_internal.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/util.h"
#include "http/h2.h"

#include <assert.h>
#include <stdio.h>

enum { OUTPUT_BYTES = 65536 };

struct client_stream {
    struct list link; /* client->streams */
    struct client *client;
    struct h2_stream *h2; /* NULL: closed */
    struct exchange *x;   /* NULL: over, or never begun */
    bool request_done, response_begun, response_done;
    bool tunnel;          /* a CONNECT */
    bool upgrade;         /* an extended CONNECT (RFC 8441): to the exchange, a request for an upgrade */
    bool switched;        /* it was granted: bytes from now on */
    struct task to_bytes; /* goes on with `early` then */
    struct buf
        early; /* what the client of an upgrade said before it was granted; no more than the window, for it is paused */
    bool paused; /* by the origin */
    bool over;   /* the exchange said its last */
};

static const struct exchange_client client_stream_ops;

static uint64_t stream_now(const struct client_stream *s)
{
    return loop_now_ns(s->client->worker->env.loop);
}

static void client_h2_wake(struct client *c)
{
    if (!task_waiting(&c->resume))
        loop_start(c->worker->env.loop, &c->resume, 0);
}

/* ---- the end of a stream ---- */

static void stream_free(struct client_stream *s)
{
    loop_stop_task(s->client->worker->env.loop, &s->to_bytes);
    list_remove(&s->link);
    buf_free(&s->early);
    mem_free(s);
}

static void stream_settle(struct client_stream *s)
{
    if (s->h2 || s->x)
        return;
    struct client *c = s->client;
    stream_free(s);
    client_start_timer(c);
    if (c->stopping)
        client_h2_wake(c);
}

static void stream_exchange_end(struct client_stream *s, enum err why, const char *reason)
{
    if (!s->x)
        return;
    WORKER_COUNT(s->client->worker, exchanges_now, -1);
    if (s->h2)
        s->x->request_wire_bytes = h2_wire_bytes(s->h2);
    exchange_destroy(&s->x, why, reason);
    s->client->facts.error = ERR_OK; /* told once; the next request tries anew */
}

/* ---- answers ---- */

/* A response of our own. */
static void stream_answer(struct client_stream *s, unsigned status, const char *extra, const char *value,
                          const char *body)
{
    struct head head = HEAD_INIT;
    char length[24];
    (void)snprintf(length, sizeof length, "%zu", strlen(body));
    head_clear(&head, HEAD_RESPONSE);
    head.status = status;
    enum err e = headers_add(&head.headers, SPAN("content-type"), SPAN("text/plain; charset=utf-8"));
    if (!e)
        e = headers_add(&head.headers, SPAN("content-length"), span_str(length));
    if (!e && extra)
        e = headers_add(&head.headers, span_str(extra), span_str(value));
    if (!e)
        e = h2_respond_own(s->h2, &head, false);
    if (!e)
        e = h2_body(s->h2, span_str(body));
    if (!e)
        e = h2_end(s->h2, NULL);
    if (e)
        h2_reset(s->h2, H2_INTERNAL_ERROR);
    s->response_begun = s->response_done = true;
    if (!s->request_done)
        h2_enough(s->h2, H2_NO_ERROR); /* what else was to come is not wanted (RFC 9113 §8.1) */
    head_free(&head);
}

static void stream_error(struct client_stream *s, const struct event *event)
{
    char body[600];
    if (!s->h2)
        return;
    if (s->response_begun) {
        /* After what was forwarded. An upgraded connection that broke is CANCEL (RFC 8441 §5). */
        h2_abort(s->h2, s->tunnel ? H2_CONNECT_ERROR : s->upgrade ? H2_CANCEL : H2_INTERNAL_ERROR);
        return;
    }
    (void)snprintf(body, sizeof body, "ringtape: %s\n", event->reason);
    char value[64];
    (void)snprintf(value, sizeof value, "error; %s", err_word(event->error));
    stream_answer(s, exchange_error_status(event->error), "ringtape", value, body);
}

static enum err stream_respond(struct client_stream *s, const struct event *event)
{
    switch (event->part) {
    case PART_INFORMATIONAL:
        return event->head->status == 101 ? ERR_OK : h2_informational(s->h2, event->head);
    case PART_HEAD:
        s->response_begun = true;
        s->response_done = event->no_body;
        if (s->upgrade && event->head->status == 101)
            loop_start(s->client->worker->env.loop, &s->to_bytes, 0);
        return h2_respond(s->h2, event->head, event->no_body);
    case PART_BODY:
        if (s->response_done)
            return ERR_OK;
        if (h2_body(s->h2, event->data))
            return ERR_NOMEM;
        if (h2_full(s->h2))
            exchange_pause_response(s->x, true);
        return ERR_OK;
    case PART_TRAILERS:
    case PART_END:
        if (s->response_done)
            return ERR_OK;
        s->response_done = true;
        return h2_end(s->h2, event->part == PART_TRAILERS ? event->trailers : NULL);
    case PART_ERROR:
        stream_error(s, event);
        break;
    }
    return ERR_OK;
}

static void stream_response(struct exchange *x, const struct event *event)
{
    struct client_stream *s = x->client_ctx;
    struct client *c = s->client;
    c->busy++;
    c->active_ns = event->at_ns;
    worker_touch(c->worker);
    if (s->h2 && stream_respond(s, event))
        h2_reset(s->h2, H2_INTERNAL_ERROR);
    if (event->part == PART_END || event->part == PART_ERROR) {
        s->over = true;
        if (s->h2 && !s->request_done && event->part == PART_END)
            h2_enough(s->h2, H2_NO_ERROR); /* an early answer, as stream_answer()'s */
        if (!c->feeding) {
            stream_exchange_end(s, ERR_OK, "");
            stream_settle(s);
        }
    }
    client_h2_wake(c);
    client_leave(c);
}

/* Nothing is asked for while the origin cannot take it, or an upgrade was not granted. */
static void stream_window(const struct client_stream *s)
{
    if (s->h2)
        h2_pause(s->h2, s->paused || (s->upgrade && !s->switched));
}

static void stream_pause_request(struct exchange *x, bool paused)
{
    struct client_stream *s = x->client_ctx;
    s->paused = paused;
    stream_window(s);
    client_h2_wake(s->client);
}

/* A tunnel's origin sent FIN: this stream's side ends, and the client may go on, until nobody listens (RFC 9113 §8.5). */
static void stream_finished(struct exchange *x, bool gone)
{
    struct client_stream *s = x->client_ctx;
    struct client *c = s->client;
    c->busy++;
    worker_touch(c->worker);
    if (gone) {
        if (s->h2 && !s->request_done)
            h2_enough(s->h2, H2_CONNECT_ERROR);
        stream_exchange_end(s, ERR_OK, "");
        stream_settle(s);
    } else if (s->h2 && !s->response_done) {
        s->response_done = true;
        if (h2_end(s->h2, NULL))
            h2_reset(s->h2, H2_INTERNAL_ERROR);
    }
    client_h2_wake(c);
    client_leave(c);
}

static const struct exchange_client client_stream_ops = {.response = stream_response,
                                                         .pause_request = stream_pause_request,
                                                         .finished = stream_finished};

/* ---- requests ---- */

/* What the exchange is given may be answered at once; it is let go of here then, not from within its own call. */
static enum err stream_give(struct client_stream *s, const struct event *event)
{
    if (!s->x)
        return ERR_OK;
    exchange_request(s->x, event);
    bool failed = s->x->origin_open && !s->x->origin_state;
    if (failed || s->over)
        stream_exchange_end(s, failed ? ERR_NOMEM : ERR_OK, failed ? err_text(ERR_NOMEM) : "");
    return failed ? ERR_NOMEM : ERR_OK;
}

/* In clear text a client may mean us to be its proxy, or its origin. HTTP/1.1 said which. */
static bool stream_is_proxied(const struct client *c, const struct head *head)
{
    char local[NET_ADDRESS_TEXT];
    struct span host = head_span(head, head->host);
    if (c->upgrade)
        return c->absolute;
    if (c->tls || c->tunnel_host[0] || client_reverse(c, host))
        return false;
    net_ip_text((const struct sockaddr *)&c->worker->env.listening, local);
    bool ours = span_eq(host, span_str(local)) || span_eq(host, SPAN("localhost"));
    return !ours || head->port != net_port((const struct sockaddr *)&c->worker->env.listening);
}

/* The head, and the end of a request that is no more than that. */
static enum err stream_begin(struct client_stream *s, const struct head *head, bool end)
{
    bool whole = s->upgrade || (end && !s->tunnel);
    struct event event = {.part = PART_HEAD, .at_ns = stream_now(s), .head = head, .no_body = whole};
    enum err e = stream_give(s, &event);
    if (!e && (end || s->upgrade)) {
        event = (struct event){.part = PART_END, .at_ns = stream_now(s)};
        e = stream_give(s, &event);
    }
    return e;
}

/* The stream becomes a tunnel (RFC 9113 §8.5). As over HTTP/1.1, what the CONNECT itself said besides the target is for us alone. */
static enum err stream_connect(struct client_stream *s, struct head *head, bool end)
{
    struct client *c = s->client;
    if (c->tls || c->tunnel_host[0]) {
        stream_answer(s, 501, NULL, NULL, "ringtape: CONNECT inside a tunnel is not supported\n");
        return ERR_OK;
    }
    if (head->host.n == 0 || head->port == 0) {
        stream_answer(s, 400, NULL, NULL, "ringtape: CONNECT needs HOST:PORT\n");
        return ERR_OK;
    }
    s->tunnel = true;
    head->headers.n = 0;
    enum err e = head_set(head, &head->scheme, SPAN("http"));
    if (!e)
        e = client_exchange_begin(c, FLOW_TUNNEL, &client_stream_ops, s, &s->x);
    return e ? e : stream_begin(s, head, end);
}

static enum err stream_ask(struct client_stream *s, struct head *head, bool proxied, bool end)
{
    struct client *c = s->client;
    bool page = false;
    enum err e = client_aim(c, head, proxied, &page);
    if (e == ERR_UNSUPPORTED) {
        stream_answer(s, 400, NULL, NULL, "ringtape: only http and https URLs can be asked for\n");
        return ERR_OK;
    }
    if (!e)
        e = client_exchange_begin(c, FLOW_HTTP, &client_stream_ops, s, &s->x);
    if (e)
        return e;
    if (page)
        s->x->filter_state[c->worker->page.filter.index] = PAGE_MISDIRECTED;
    /* HTTP/2 has no such field of its own (RFC 9113 §8.2.2): the engine put it there. */
    s->upgrade = headers_has_token(&head->headers, SPAN("connection"), SPAN("upgrade"));
    stream_window(s);
    return stream_begin(s, head, end);
}

static enum err stream_request(struct client_stream *s, struct head *head, bool end)
{
    struct client *c = s->client;
    bool connect = span_eq(head_span(head, head->method), SPAN("CONNECT"));
    bool proxied = connect || stream_is_proxied(c, head);
    bool authorised = !proxied || client_authorise(c, &head->headers);
    if (proxied)
        (void)headers_remove(&head->headers, SPAN("proxy-authorization"));
    if (!authorised) {
        stream_answer(s, 407, "proxy-authenticate", "Basic realm=\"ringtape\"",
                      "ringtape: this proxy wants the user and password given with --proxy-auth\n");
        return ERR_OK;
    }
    return connect ? stream_connect(s, head, end) : stream_ask(s, head, proxied, end);
}

/* The upgrade was granted: what its client said meanwhile goes first. */
static void stream_to_bytes(struct task *task)
{
    struct client_stream *s = container_of(task, struct client_stream, to_bytes);
    struct client *c = s->client;
    struct event bytes = {.part = PART_BODY, .at_ns = stream_now(s), .data = buf_span(&s->early)};
    struct event end = {.part = PART_END, .at_ns = stream_now(s)};
    enum err e = ERR_OK;
    c->busy++;
    c->feeding = s->switched = true;
    if (bytes.data.n > 0)
        e = stream_give(s, &bytes);
    if (!e && s->request_done)
        e = stream_give(s, &end);
    c->feeding = false;
    buf_free(&s->early);
    if (s->h2 && e)
        h2_reset(s->h2, H2_INTERNAL_ERROR);
    stream_window(s);
    stream_settle(s);
    client_h2_wake(c);
    client_leave(c);
}

static enum err client_h2_head(void *ctx, struct h2_stream *h2, const struct head *head, bool end)
{
    struct client *c = ctx;
    struct client_stream *s = c->state == CLIENT_HTTP2 ? mem_new(1, sizeof *s) : NULL;
    if (!s)
        return ERR_NOMEM;
    s->client = c;
    s->h2 = h2;
    s->request_done = end;
    task_init(&s->to_bytes, stream_to_bytes);
    list_init(&s->link);
    list_push(&c->streams, &s->link);
    h2_set_owner(h2, s);
    enum err e = head_copy(&c->head, head);
    return e ? e : stream_request(s, &c->head, end);
}

static enum err client_h2_informational(void *ctx, struct h2_stream *h2, const struct head *head)
{
    (void)ctx;
    (void)h2;
    (void)head;
    return ERR_PARSE; /* never called for requests */
}

static enum err client_h2_body(void *ctx, struct h2_stream *h2, struct span bytes)
{
    struct client_stream *s = h2_owner(h2);
    (void)ctx;
    struct event event = {.part = PART_BODY, .data = bytes};
    if (!s)
        return ERR_OK;
    if (s->upgrade && !s->switched)
        return buf_put(&s->early, bytes);
    event.at_ns = stream_now(s);
    return stream_give(s, &event);
}

static enum err client_h2_trailers(void *ctx, struct h2_stream *h2, const struct headers *trailers)
{
    struct client_stream *s = h2_owner(h2);
    (void)ctx;
    struct event event = {.part = PART_TRAILERS, .trailers = trailers};
    if (!s)
        return ERR_OK;
    event.at_ns = stream_now(s);
    return stream_give(s, &event);
}

static enum err client_h2_end_of_request(void *ctx, struct h2_stream *h2)
{
    struct client_stream *s = h2_owner(h2);
    (void)ctx;
    struct event event = {.part = PART_END};
    if (!s)
        return ERR_OK;
    event.at_ns = stream_now(s);
    s->request_done = true;
    return s->upgrade && !s->switched ? ERR_OK : stream_give(s, &event);
}

static void client_h2_drained(void *ctx, struct h2_stream *h2)
{
    struct client_stream *s = h2_owner(h2);
    (void)ctx;
    if (s && s->x)
        exchange_pause_response(s->x, false);
}

static void client_h2_closed(void *ctx, struct h2_stream *h2, uint32_t code, bool untouched)
{
    struct client_stream *s = h2_owner(h2);
    char reason[96];
    (void)ctx;
    (void)untouched;
    if (!s)
        return;
    if (s->x)
        s->x->request_wire_bytes = h2_wire_bytes(h2);
    s->h2 = NULL;
    (void)snprintf(reason, sizeof reason, "the client reset the stream (HTTP/2 error code %u)", code);
    stream_exchange_end(s, ERR_CLOSED, reason);
    stream_settle(s);
}

/* It is on the tape as an anomaly, and never passed on. */
static void client_h2_malformed(void *ctx, struct h2_stream *h2, const struct head *head, const char *why)
{
    struct client *c = ctx;
    struct client_stream *s = h2_owner(h2);
    if (s && s->x) {
        struct event event = {.part = PART_ERROR, .at_ns = stream_now(s), .error = ERR_AMBIGUOUS, .reason = why};
        exchange_request(s->x, &event);
        stream_exchange_end(s, ERR_AMBIGUOUS, why);
    } else if (!s) {
        client_record_anomaly(c, head, ERR_AMBIGUOUS, why);
    }
}

static const struct h2_events client_h2_events = {
    client_h2_head,           client_h2_informational, client_h2_body,   client_h2_trailers,
    client_h2_end_of_request, client_h2_drained,       client_h2_closed, client_h2_malformed,
};

/* ---- the connection ---- */

enum err client_h2_begin(struct client *c)
{
    enum err e = h2_create(&c->h2, H2_SERVER, &client_h2_events, c);
    if (e)
        return e;
    if (c->facts.upgrades)
        h2_allow_upgrade(c->h2);
    client_enter(c, CLIENT_HTTP2);
    client_h2_wake(c);
    client_start_timer(c);
    return ERR_OK;
}

void client_h2_upgrade(struct client *c, struct span settings, size_t wire_bytes)
{
    struct head head = c->head;
    struct buf held = c->held;
    c->head = HEAD_INIT;
    c->held = BUF_INIT;
    enum err e = client_h2_begin(c);
    if (!e)
        client_h2_flush(c); /* our preface: there is nothing else yet */
    c->awaits_preface = true;
    c->feeding = true;
    if (!e)
        e = h2_upgrade(c->h2, settings, &head, wire_bytes);
    c->feeding = c->upgrade = false;
    if (e)
        client_end(c, STREAM_ABORT, e, err_text(e));
    else if (held.n)
        client_h2_input(c, buf_span(&held));
    head_free(&head);
    buf_free(&held);
}

static void client_h2_failed(struct client *c, enum err why)
{
    char reason[300];
    const char *what = h2_error(c->h2);
    (void)snprintf(reason, sizeof reason, "HTTP/2 of the client: %s", what[0] ? what : err_text(why));
    buf_clear(&c->out);
    if (h2_output(c->h2, &c->out, OUTPUT_BYTES) == ERR_OK)
        conn_send(c->conn, buf_span(&c->out)); /* the GOAWAY that says so */
    client_end(c, STREAM_FLUSH, why, reason);
}

void client_h2_flush(struct client *c)
{
    /* curl 7 ends where more than 32 KB come with a 101; and a client without a preface has not changed over. */
    while (c->state == CLIENT_HTTP2 && !c->awaits_preface && !conn_full(c->conn)) {
        buf_clear(&c->out);
        enum err e = h2_output(c->h2, &c->out, OUTPUT_BYTES);
        if (e) {
            client_h2_failed(c, e);
            return;
        }
        if (c->out.n == 0)
            break;
        conn_send(c->conn, buf_span(&c->out));
    }
    if (c->state != CLIENT_HTTP2)
        return;
    c->stuck_ns = h2_stuck_since(c->h2, loop_now_ns(c->worker->env.loop));
    client_update_reading(c);
    if (h2_failure(c->h2))
        client_h2_failed(c, h2_failure(c->h2));
    else if (h2_done(c->h2) || (c->stopping && list_empty(&c->streams) && !conn_full(c->conn)))
        client_end(c, STREAM_FLUSH, ERR_OK, "");
}

void client_h2_input(struct client *c, struct span in)
{
    uint64_t now = loop_now_ns(c->worker->env.loop);
    if (now - c->h2_calm_ns >= LIMIT_H2_CALM_MS * NS_PER_MS) {
        c->h2_calm_ns = now;
        h2_calm(c->h2);
    }
    c->awaits_preface = false;
    c->feeding = true;
    enum err e = h2_feed(c->h2, in);
    c->feeding = false;
    if (e)
        client_h2_failed(c, e);
    else
        client_h2_flush(c);
}

void client_h2_stop(struct client *c)
{
    h2_shutdown(c->h2);
    client_h2_wake(c);
}

void client_h2_cut(struct client *c, enum err why, const char *reason)
{
    LIST_FOREACH (it, &c->streams) {
        struct client_stream *s = container_of(it, struct client_stream, link);
        if (s->h2)
            h2_set_owner(s->h2, NULL);
        stream_exchange_end(s, why, reason);
        stream_free(s);
    }
}
