/* client_http.c: the exchanges of a client connection: requests from the codec into the pipeline, responses from the pipeline onto the
 * connection, one exchange at a time; and raw tunnels.
 *
 * Invariants: `x` exists from a request's head until both its end and the response's have been handled; pipelined bytes wait in `held`
 * meanwhile. The codec is not moved on from within its own callbacks: client_settle() does that after h1_feed(), and
 * responses that come from within a callback (a filter that answers at once) only leave their flags. */
#include "proxy/client_internal.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/text.h"
#include "base/util.h"
#include "http/mime.h"

#include <assert.h>
#include <stdio.h>

static const struct exchange_client client_exchange_ops;

static uint64_t client_now(const struct client *c)
{
    return loop_now_ns(c->worker->env.loop);
}

/* ---- answers of our own ---- */

void client_http_answer(struct client *c, unsigned status, const char *reason, const char *extra, const char *body,
                        bool close)
{
    bool head_only = span_eq(head_span(&c->head, c->head.method), SPAN("HEAD"));
    buf_clear(&c->out);
    enum err e =
        buf_printf(&c->out,
                   "HTTP/1.1 %u %s\r\nContent-Type: text/plain; charset=utf-8\r\nContent-Length: %zu\r\n%s%s\r\n%s",
                   status, reason, strlen(body), extra, close ? "Connection: close\r\n" : "", head_only ? "" : body);
    if (!e)
        conn_send(c->conn, buf_span(&c->out));
    c->response_begun = c->response_done = true;
    if (close)
        client_end(c, STREAM_FLUSH, ERR_OK, "");
}

static const char *status_reason(unsigned status)
{
    switch (status) {
    case 501:
        return "Not Implemented";
    case 504:
        return "Gateway Timeout";
    case 508:
        return "Loop Detected";
    default:
        return "Bad Gateway";
    }
}

/* ---- requests ---- */

/* The user name of Proxy-Authorization: Basic names the track. False: `--proxy-auth` asks for something else. */
bool client_authorise(struct client *c, const struct headers *fields)
{
    const char *wanted = c->worker->options->proxy_auth;
    struct span value;
    struct buf plain = BUF_INIT;
    bool ok = wanted == NULL || c->authorised;
    if (headers_find(fields, SPAN("Proxy-Authorization"), &value) && value.n > 6 &&
        span_eq_nocase(span_first(value, 6), SPAN("Basic ")) &&
        text_base64_decode(&plain, span_trim(span_from(value, 6))) == ERR_OK) {
        struct span given = buf_span(&plain);
        connection_set(c->track, sizeof c->track, span_first(given, span_find(given, ':')));
        if (wanted)
            ok = ok || span_eq(given, span_str(wanted));
    }
    buf_free(&plain);
    c->authorised = c->authorised || ok;
    return ok;
}

static void client_refuse(struct client *c, unsigned status, const char *reason, const char *extra, const char *body)
{
    c->refuse = true;
    c->keep_alive = c->keep_alive && status == 407;
    client_http_answer(c, status, reason, extra, body, false);
}

const struct proxy_reverse *client_reverse(const struct client *c, struct span host)
{
    const struct proxy_options *o = c->worker->options;
    for (size_t i = 0; i < o->reverse_n; i++)
        if (!o->reverse[i].host[0] || span_eq_nocase(span_str(o->reverse[i].host), host))
            return &o->reverse[i];
    return NULL;
}

static enum err client_set_host_field(struct head *h)
{
    struct buf host = BUF_INIT;
    struct span scheme = head_span(h, h->scheme), name = head_span(h, h->host);
    bool v6 = span_find(name, ':') < name.n;
    unsigned usual = span_eq(scheme, SPAN("https")) ? 443 : 80;
    enum err e = buf_printf(&host, v6 ? "[%.*s]" : "%.*s", (int)name.n, (const char *)name.p);
    if (!e && h->port != usual)
        e = buf_printf(&host, ":%u", h->port);
    if (!e)
        e = headers_set(&h->headers, SPAN("Host"), buf_span(&host));
    buf_free(&host);
    return e;
}

static enum err client_aim_reverse(struct head *h, const struct proxy_reverse *to)
{
    enum err e = head_set(h, &h->scheme, span_str(to->scheme));
    if (!e)
        e = head_set(h, &h->host, span_str(to->to_host));
    h->port = to->to_port;
    if (!e && to->prefix[0]) {
        struct buf path = BUF_INIT;
        e = buf_put_str(&path, to->prefix);
        if (!e)
            e = buf_put(&path, head_span(h, h->path));
        if (!e)
            e = head_set(h, &h->path, buf_span(&path));
        buf_free(&path);
    }
    return e ? e : client_set_host_field(h);
}

/* Fills in scheme, host and port. *page: the client took us for the web server. */
enum err client_aim(struct client *c, struct head *h, bool absolute, bool *page)
{
    *page = false;
    if (absolute) {
        struct span scheme = head_span(h, h->scheme), sent;
        if (!span_eq(scheme, SPAN("http")) && !span_eq(scheme, SPAN("https")))
            return ERR_UNSUPPORTED;
        bool named = headers_find(&h->headers, SPAN("Host"), &sent); /* the codec made it agree with the target */
        if (c->tunnel_host[0]) { /* the tunnel says how and where to, whatever the target claims */
            h->port = c->tunnel_port;
            enum err e = head_set(h, &h->scheme, c->tls ? SPAN("https") : SPAN("http"));
            if (e)
                return e;
        }
        return named ? ERR_OK : client_set_host_field(h);
    }
    const struct proxy_reverse *to = c->tunnel_host[0] ? NULL : client_reverse(c, head_span(h, h->host));
    if (to)
        return client_aim_reverse(h, to);
    enum err e = head_set(h, &h->scheme, c->tls ? SPAN("https") : SPAN("http"));
    if (!e && c->tunnel_host[0]) {
        h->port = c->tunnel_port;
        if (h->host.n == 0)
            e = head_set(h, &h->host, span_str(c->tunnel_host));
    } else if (!e) {
        *page = true;
        if (h->port == 0)
            h->port = c->tls ? 443 : 80;
    }
    return e;
}

enum err client_exchange_begin(struct client *c, enum flow_kind kind, const struct exchange_client *ops, void *ctx,
                               struct exchange **out)
{
    struct worker *w = c->worker;
    if (c->info->host[0] == '\0' && c->tunnel_host[0]) {
        connection_set(c->info->host, sizeof c->info->host, span_str(c->tunnel_host));
        c->info->port = c->tunnel_port;
    }
    if (!c->reported) {
        c->reported = true;
        pipeline_connection(&w->pipeline, c->info);
    }
    enum err e = exchange_create(out, worker_next_exchange(w), kind, &w->pipeline, c->info, ops, ctx);
    if (e)
        return e;
    WORKER_COUNT(w, exchanges, 1);
    WORKER_COUNT(w, exchanges_now, 1);
    struct exchange *x = *out;
    x->track = span_str(c->track);
    x->facts = c->facts.error ? &c->facts : NULL;
    x->intercepted_sni = c->hello.server_name;
    x->alpn_offer = c->hello.alpn;
    x->tunnel_host = span_str(c->tunnel_host);
    x->tunnel_port = c->tunnel_port;
    x->tunnel_tls = c->tls;
    client_start_timer(c);
    return ERR_OK;
}

void client_exchange_end(struct client *c, enum err why, const char *reason)
{
    if (!c->x)
        return;
    WORKER_COUNT(c->worker, exchanges_now, -1);
    exchange_destroy(&c->x, why, reason);
    c->facts.error = ERR_OK; /* told once; the next request tries anew */
}

/* Gives one part to the exchange; an origin that could not even begin is a failure of this flow. */
static enum err client_give(struct client *c, const struct event *event)
{
    exchange_request(c->x, event);
    return c->x->origin_open && !c->x->origin_state ? ERR_NOMEM : ERR_OK;
}

static enum err client_h1_request(struct client *c, const struct h1_message *message)
{
    bool page;
    enum err e = client_aim(c, &c->head, message->absolute_form, &page);
    if (e == ERR_UNSUPPORTED) {
        client_refuse(c, 400, "Bad Request", "", "ringtape: only http and https URLs can be asked for\n");
        return ERR_OK;
    }
    if (!e)
        e = client_exchange_begin(c, FLOW_HTTP, &client_exchange_ops, c, &c->x);
    if (e)
        return e;
    if (page)
        c->x->filter_state[c->worker->page.filter.index] = PAGE_MISDIRECTED;
    struct event event = {
        .part = PART_HEAD, .at_ns = client_now(c), .head = &c->head, .no_body = message->framing == H1_NO_BODY};
    return client_give(c, &event);
}

/* ---- Upgrade: h2c (RFC 7540 §3.2) ---- */

/* The value of the only field of that name. */
static bool client_only_field(const struct headers *fields, struct span name, struct span *value)
{
    size_t n = 0;
    for (size_t i = 0; i < fields->n; i++)
        n += span_eq_nocase(headers_at(fields, i).name, name);
    return headers_find(fields, name, value) && n == 1;
}

/* Does the request in hand ask for HTTP/2, and may it have it? An offer may be passed over in silence (RFC 9110 §7.8): one that is made wrongly is, and
 * one of a client that has more to say before it can change, or means the origin at a tunnel's end and not us. */
static bool client_takes_h2c(const struct client *c, const struct h1_message *message)
{
    const struct headers *fields = &c->head.headers;
    struct span protocol, settings;
    bool content = message->framing != H1_NO_BODY && !(message->framing == H1_LENGTH && message->content_length == 0);
    if (c->tls || c->tunnel_host[0] || c->worker->options->no_http2 || content || !c->keep_alive || c->eof)
        return false;
    if (!client_only_field(fields, SPAN("Upgrade"), &protocol) || !span_eq_nocase(protocol, SPAN("h2c")) ||
        !client_only_field(fields, SPAN("HTTP2-Settings"), &settings) ||
        !headers_has_token(fields, SPAN("Connection"), SPAN("HTTP2-Settings")))
        return false;
    struct buf payload = BUF_INIT;
    bool valid = h2_settings_decode(&payload, settings) == ERR_OK;
    buf_free(&payload);
    return valid;
}

/* The offer was made to us. An origin that took it up would speak HTTP/2 past us. */
static void client_drop_h2c(struct headers *fields)
{
    struct span other;
    if (!headers_remove_token(fields, SPAN("Upgrade"), SPAN("h2c")))
        return;
    (void)headers_remove(fields, SPAN("HTTP2-Settings"));
    (void)headers_remove_token(fields, SPAN("Connection"), SPAN("HTTP2-Settings"));
    if (!headers_find(fields, SPAN("Upgrade"), &other))
        (void)headers_remove_token(fields, SPAN("Connection"), SPAN("Upgrade"));
}

static void client_judge_upgrade(struct client *c, const struct h1_message *message)
{
    struct headers *fields = &c->head.headers;
    c->upgrade = message->upgrade && client_takes_h2c(c, message);
    if ((message->upgrade && !c->upgrade) || c->http10)
        client_drop_h2c(fields);
    if (c->http10) { /* has no upgrades (RFC 9110 §7.8) */
        (void)headers_remove(fields, SPAN("Upgrade"));
        (void)headers_remove_token(fields, SPAN("Connection"), SPAN("Upgrade"));
    }
}

static void client_do_upgrade(struct client *c)
{
    struct buf settings = BUF_INIT;
    struct span field;
    size_t wire_bytes = h1_message(c->h1)->head_bytes;
    (void)headers_find(&c->head.headers, SPAN("HTTP2-Settings"), &field);
    enum err e = h2_settings_decode(&settings, field);
    client_drop_h2c(&c->head.headers);
    h1_destroy(&c->h1);
    if (e) {
        client_end(c, STREAM_ABORT, e, err_text(e));
    } else {
        conn_send(c->conn, SPAN("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"));
        client_h2_upgrade(c, buf_span(&settings), wire_bytes);
    }
    buf_free(&settings);
}

static enum err client_h1_head(void *ctx, const struct head *head, const struct h1_message *message)
{
    struct client *c = ctx;
    enum err e = head_copy(&c->head, head);
    if (e)
        return e;
    c->http10 = span_eq(head_span(head, head->version), SPAN("HTTP/1.0"));
    c->keep_alive = message->keep_alive && !c->stopping;
    c->absolute = message->absolute_form;
    c->connect = span_eq(head_span(head, head->method), SPAN("CONNECT"));
    bool to_proxy = c->connect || (message->absolute_form && !c->tunnel_host[0]);
    bool authorised = !to_proxy || client_authorise(c, &head->headers);
    if (to_proxy)
        (void)headers_remove(&c->head.headers, SPAN("Proxy-Authorization"));
    if (!authorised) {
        client_refuse(c, 407, "Proxy Authentication Required", "Proxy-Authenticate: Basic realm=\"ringtape\"\r\n",
                      "ringtape: this proxy wants the user and password given with --proxy-auth\n");
        return ERR_OK;
    }
    if (c->connect && (c->tls || c->tunnel_host[0])) {
        client_refuse(c, 501, "Not Implemented", "", "ringtape: CONNECT inside a tunnel is not supported\n");
        return ERR_OK;
    }
    client_judge_upgrade(c, message);
    return c->connect || c->upgrade ? ERR_OK : client_h1_request(c, message);
}

static enum err client_h1_informational(void *ctx, const struct head *head)
{
    (void)ctx;
    (void)head;
    return ERR_PARSE; /* never called for requests */
}

static enum err client_h1_body(void *ctx, struct span bytes)
{
    struct client *c = ctx;
    struct event event = {.part = PART_BODY, .at_ns = client_now(c), .data = bytes};
    return c->x ? client_give(c, &event) : ERR_OK;
}

static enum err client_h1_trailers(void *ctx, const struct headers *trailers)
{
    struct client *c = ctx;
    struct event event = {.part = PART_TRAILERS, .at_ns = client_now(c), .trailers = trailers};
    return c->x ? client_give(c, &event) : ERR_OK;
}

static enum err client_h1_end(void *ctx)
{
    struct client *c = ctx;
    struct event event = {.part = PART_END, .at_ns = client_now(c)};
    c->request_done = true;
    if (!c->x)
        return ERR_OK;
    const struct h1_message *m = h1_message(c->h1);
    c->x->request_wire_bytes = m->head_bytes + m->body_wire_bytes;
    return client_give(c, &event);
}

static const struct h1_events client_h1_events = {client_h1_head, client_h1_informational, client_h1_body,
                                                  client_h1_trailers, client_h1_end};

enum err client_http_begin(struct client *c)
{
    return h1_create(&c->h1, H1_SERVER, &client_h1_events, c);
}

/* ---- between requests ---- */

static void client_next_request(struct client *c)
{
    client_exchange_end(c, ERR_OK, "");
    if (!c->keep_alive || c->stopping || (c->eof && c->held.n == 0)) {
        client_end(c, STREAM_FLUSH, ERR_OK, "");
        return;
    }
    h1_next(c->h1);
    c->request_done = c->response_begun = c->response_done = c->refuse = c->connect = c->upgrade = false;
    c->request_paused = false;
    if (c->held.n && !client_clogged(c))
        loop_start(c->worker->env.loop, &c->resume, 0);
    client_update_reading(c);
    client_start_timer(c);
}

static void client_do_connect(struct client *c)
{
    struct span host = head_span(&c->head, c->head.host);
    if (host.n == 0 || host.n >= sizeof c->tunnel_host || c->head.port == 0) {
        client_http_answer(c, 400, "Bad Request", "", "ringtape: CONNECT needs HOST:PORT\n", true);
        return;
    }
    connection_set(c->tunnel_host, sizeof c->tunnel_host, host);
    c->tunnel_port = c->head.port;
    conn_send(c->conn, SPAN("HTTP/1.1 200 Connection established\r\n\r\n"));
    h1_destroy(&c->h1);
    c->request_done = c->connect = false;
    client_connected(c);
    client_update_reading(c);
}

/* After the codec has returned, and after the end of a response: what follows from the flags? */
static void client_settle(struct client *c)
{
    if (c->state != CLIENT_HTTP || c->feeding)
        return;
    if (c->response_done && !c->request_done) {
        /* An early answer: the rest of the request is not waited for. */
        client_exchange_end(c, ERR_OK, "");
        client_end(c, STREAM_FLUSH, ERR_OK, "");
    } else if (c->response_done) {
        client_next_request(c);
    } else if (c->request_done && c->connect) {
        client_do_connect(c);
    } else if (c->request_done && c->upgrade) {
        client_do_upgrade(c);
    } else {
        client_update_reading(c);
    }
}

void client_record_anomaly(struct client *c, const struct head *seen, enum err why, const char *reason)
{
    struct head head = HEAD_INIT;
    struct exchange *x = NULL;
    head_clear(&head, HEAD_REQUEST);
    enum err e = seen ? head_copy(&head, seen) : ERR_OK;
    if (!e && !head.host.n) {
        head.port = c->tunnel_port;
        e = head_set(&head, &head.host, span_str(c->tunnel_host));
    }
    if (!e)
        e = exchange_create(&x, worker_next_exchange(c->worker), FLOW_HTTP, &c->worker->pipeline, c->info, NULL, c);
    if (!e)
        exchange_record_failure(x, &head, why, reason);
    exchange_destroy(&x, ERR_OK, "");
    head_free(&head);
}

/* A request that cannot be understood: it is answered, put on the tape as an anomaly, and never passed on. */
static void client_bad_request(struct client *c, enum err why)
{
    char body[256], text[200];
    const char *what = h1_error(c->h1);
    connection_set(text, sizeof text, span_str(what[0] ? what : err_text(why)));
    (void)snprintf(body, sizeof body, "ringtape: bad request: %s\n", text);
    bool answered = c->response_begun;
    if (c->x) {
        struct event event = {.part = PART_ERROR, .at_ns = client_now(c), .error = why, .reason = text};
        exchange_request(c->x, &event);
        client_exchange_end(c, why, text);
    } else {
        client_record_anomaly(c, NULL, why, text);
    }
    if (answered)
        client_end(c, STREAM_ABORT, why, text);
    else if (why == ERR_LIMIT)
        client_http_answer(c, 431, "Request Header Fields Too Large", "", body, true);
    else
        client_http_answer(c, 400, "Bad Request", "", body, true);
}

void client_http_input(struct client *c, struct span in)
{
    bool waits = c->held.n > 0 || c->request_done || task_waiting(&c->resume) || client_clogged(c);
    enum err e = ERR_OK;
    bool began = !c->x && !h1_in_message(c->h1);
    c->feeding = true;
    while (!e && in.n > 0 && !waits && c->state == CLIENT_HTTP) {
        size_t used = 0;
        e = h1_feed(c->h1, in, &used);
        in = span_from(in, used);
        waits = c->request_done || used == 0;
    }
    c->feeding = false;
    if (c->state != CLIENT_HTTP)
        return;
    if (!e && in.n > 0)
        e = buf_put(&c->held, in);
    if (e) {
        client_bad_request(c, e);
        return;
    }
    if (began && !c->x && h1_in_message(c->h1))
        client_start_timer(c); /* the head's time runs from its first byte */
    client_settle(c);
}

void client_http_eof(struct client *c)
{
    if (c->x && !c->request_done)
        client_end(c, STREAM_ABORT, ERR_TRUNCATED, "the client hung up in the middle of its request");
    else if (!c->x && c->held.n == 0)
        client_end(c, STREAM_FLUSH, ERR_CLOSED, err_text(ERR_CLOSED));
    else if (c->x && c->event_stream)
        client_end(c, STREAM_ABORT, ERR_CLOSED, "the client left the event stream");
    /* else: it has asked, and waits for its answers on a half-closed connection */
}

/* ---- responses ---- */

static void client_send_head(struct client *c, const struct event *event)
{
    struct span method = head_span(&c->head, c->head.method), type;
    c->event_stream = headers_find(&event->head->headers, SPAN("Content-Type"), &type) &&
                      span_eq_nocase(mime_essence(type), SPAN("text/event-stream"));
    bool early = !c->request_done;
    c->plan = h1_plan_response(event->head, method, c->http10, c->keep_alive && !c->stopping && !early);
    c->keep_alive = c->plan.keep_alive;
    c->response_begun = true;
    buf_clear(&c->out);
    if (event->head->status == 101)
        c->plan = (struct h1_out){.framing = H1_TUNNEL, .keep_alive = true, .upgrade = true};
    enum err e = h1_put_response(&c->out, event->head, &c->plan);
    if (e) {
        log_write(c->worker->options->log, LOG_WARN, "http", "a response could not be passed on: %s", err_text(e));
        c->keep_alive = false;
        c->plan.framing = H1_NO_BODY;
        conn_send(c->conn, SPAN("HTTP/1.1 502 Bad Gateway\r\nContent-Length: 0\r\nConnection: close\r\n\r\n"));
        return;
    }
    conn_send(c->conn, buf_span(&c->out));
    if (event->head->status == 101 && !e) {
        client_enter(c, CLIENT_RAW);
        if (c->held.n || c->eof)
            loop_start(c->worker->env.loop, &c->resume, 0);
        client_start_timer(c);
    }
}

static void client_send_body(struct client *c, struct span data)
{
    if (c->state == CLIENT_RAW || c->plan.framing == H1_LENGTH || c->plan.framing == H1_UNTIL_CLOSE) {
        conn_send(c->conn, data);
    } else if (c->plan.framing == H1_CHUNKED) {
        buf_clear(&c->out);
        if (h1_put_chunk_begin(&c->out, data.n))
            return;
        conn_send(c->conn, buf_span(&c->out));
        conn_send(c->conn, data);
        conn_send(c->conn, SPAN("\r\n"));
    }
    if (conn_full(c->conn))
        exchange_pause_response(c->x, true);
}

static void client_send_last_chunk(struct client *c, const struct headers *trailers)
{
    if (c->state == CLIENT_RAW || c->plan.framing != H1_CHUNKED || c->last_chunk)
        return;
    c->last_chunk = true;
    buf_clear(&c->out);
    if (h1_put_last_chunk(&c->out, trailers) == ERR_OK)
        conn_send(c->conn, buf_span(&c->out));
}

static void client_send_error(struct client *c, const struct event *event)
{
    char body[600], extra[96];
    if (c->state == CLIENT_RAW) {
        client_exchange_end(c, ERR_OK, "");
        client_end(c, STREAM_FLUSH, event->error, event->reason);
        return;
    }
    if (c->response_begun) {
        /* The client must not take what it has for the whole: only a reset says so to one that reads until the end. */
        client_exchange_end(c, ERR_OK, "");
        client_end(c, c->plan.framing == H1_UNTIL_CLOSE ? STREAM_ABORT : STREAM_FLUSH, event->error, event->reason);
        return;
    }
    unsigned status = exchange_error_status(event->error);
    (void)snprintf(body, sizeof body, "ringtape: %s\n", event->reason);
    c->keep_alive = c->keep_alive && c->request_done && !c->http10;
    (void)snprintf(extra, sizeof extra, "Ringtape: error; %s\r\n%s", err_word(event->error),
                   c->keep_alive ? "" : "Connection: close\r\n");
    client_http_answer(c, status, status_reason(status), extra, body, false);
}

static void client_response(struct exchange *x, const struct event *event)
{
    struct client *c = x->client_ctx;
    c->busy++;
    c->active_ns = event->at_ns;
    worker_touch(c->worker);
    switch (event->part) {
    case PART_INFORMATIONAL:
        buf_clear(&c->out);
        if (!c->http10 && !c->response_begun && h1_put_informational(&c->out, event->head) == ERR_OK)
            conn_send(c->conn, buf_span(&c->out));
        if (conn_full(c->conn))
            exchange_pause_response(c->x, true);
        break;
    case PART_HEAD:
        c->last_chunk = false;
        if (c->state == CLIENT_HTTP)
            client_send_head(c, event);
        break;
    case PART_BODY:
        client_send_body(c, event->data);
        break;
    case PART_TRAILERS:
        client_send_last_chunk(c, event->trailers);
        break;
    case PART_END:
        client_send_last_chunk(c, NULL);
        c->response_done = true;
        break;
    case PART_ERROR:
        client_send_error(c, event);
        break;
    }
    if (event->part == PART_END && c->state == CLIENT_RAW) {
        client_exchange_end(c, ERR_OK, "");
        client_end(c, STREAM_FLUSH, ERR_OK, "");
    }
    if (event->part == PART_END || event->part == PART_ERROR)
        client_settle(c);
    client_leave(c);
}

static void client_pause_request(struct exchange *x, bool paused)
{
    struct client *c = x->client_ctx;
    c->request_paused = paused;
    client_update_reading(c);
}

/* A tunnel's origin sent FIN: so do we, and the client may go on. */
static void client_finished(struct exchange *x, bool gone)
{
    struct client *c = x->client_ctx;
    c->busy++;
    worker_touch(c->worker);
    if (gone) {
        client_exchange_end(c, ERR_OK, "");
        client_end(c, STREAM_FLUSH, ERR_OK, "");
    } else {
        conn_shutdown(c->conn);
    }
    client_leave(c);
}

static const struct exchange_client client_exchange_ops = {.response = client_response,
                                                           .pause_request = client_pause_request,
                                                           .finished = client_finished};

/* ---- raw ---- */

void client_raw_begin(struct client *c)
{
    struct head head = HEAD_INIT;
    client_enter(c, CLIENT_RAW);
    enum err e = client_tunnel_head(c, &head);
    if (!e)
        e = client_exchange_begin(c, FLOW_TUNNEL, &client_exchange_ops, c, &c->x);
    if (!e) {
        struct event event = {.part = PART_HEAD, .at_ns = client_now(c), .head = &head};
        e = client_give(c, &event);
    }
    head_free(&head);
    struct buf held = c->held;
    c->held = BUF_INIT;
    if (e)
        client_end(c, STREAM_ABORT, e, err_text(e));
    else if (held.n)
        client_raw_input(c, buf_span(&held));
    buf_free(&held);
    if (c->eof && c->state == CLIENT_RAW)
        client_raw_eof(c);
    client_update_reading(c);
}

void client_raw_input(struct client *c, struct span in)
{
    struct event event = {.part = PART_BODY, .at_ns = client_now(c), .data = in};
    if (!c->x)
        return;
    if (client_give(c, &event))
        client_end(c, STREAM_ABORT, ERR_NOMEM, err_text(ERR_NOMEM));
}

void client_raw_eof(struct client *c)
{
    struct event event = {.part = PART_END, .at_ns = client_now(c)};
    if (c->x && !c->response_done)
        exchange_request(c->x, &event);
}
