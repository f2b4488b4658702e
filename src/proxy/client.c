/* client.c: a client connection from its first byte: what does it speak, and how is it intercepted.
 *
 *   SNIFF ──────────────────────> HTTP ──CONNECT──> TUNNELLED ──> HTTP | HTTP2 | RAW
 *     │                            └──Upgrade──> HTTP2 | RAW
 *     └─> PROBING ─> TLS ─> INSIDE ─> HTTP | HTTP2 | RAW   └─> PROBING ─> TLS ─> INSIDE ─> HTTP | HTTP2 | RAW
 *   any ──> CLOSING (freed when nothing of it is on the stack)
 *
 * Invariants: after client_end() conn and exchange are gone and only frames that are still on the stack keep the client alive;
 * `busy` counts those. A timer always runs. */
#include "proxy/client_internal.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/util.h"
#include "http/url.h"

#include <assert.h>
#include <stdio.h>
#include <unistd.h>

static const unsigned client_next[] = {
    [CLIENT_SNIFF] = BIT(CLIENT_HTTP) | BIT(CLIENT_HTTP2) | BIT(CLIENT_PROBING) | BIT(CLIENT_TLS) | BIT(CLIENT_CLOSING),
    [CLIENT_TUNNELLED] = BIT(CLIENT_PROBING) | BIT(CLIENT_TLS) | BIT(CLIENT_HTTP) | BIT(CLIENT_HTTP2) |
                         BIT(CLIENT_RAW) | BIT(CLIENT_CLOSING),
    [CLIENT_PROBING] = BIT(CLIENT_TLS) | BIT(CLIENT_CLOSING),
    [CLIENT_TLS] = BIT(CLIENT_INSIDE) | BIT(CLIENT_CLOSING),
    [CLIENT_INSIDE] = BIT(CLIENT_HTTP) | BIT(CLIENT_HTTP2) | BIT(CLIENT_RAW) | BIT(CLIENT_CLOSING),
    [CLIENT_HTTP] = BIT(CLIENT_TUNNELLED) | BIT(CLIENT_HTTP2) | BIT(CLIENT_RAW) | BIT(CLIENT_CLOSING),
    [CLIENT_HTTP2] = BIT(CLIENT_CLOSING),
    [CLIENT_RAW] = BIT(CLIENT_CLOSING),
    [CLIENT_CLOSING] = 0,
};

void client_enter(struct client *c, enum client_state to)
{
    assert(client_next[c->state] & BIT(to));
    c->state = to;
}

static void client_free(struct client *c)
{
    h1_destroy(&c->h1);
    h2_destroy(&c->h2);
    head_free(&c->head);
    buf_free(&c->held);
    buf_free(&c->out);
    buf_free(&c->facts.names);
    mem_free(c);
}

void client_leave(struct client *c)
{
    assert(c->busy > 0);
    if (--c->busy == 0 && c->state == CLIENT_CLOSING)
        client_free(c);
}

void client_end(struct client *c, enum stream_close_how how, enum err why, const char *reason)
{
    if (c->state == CLIENT_CLOSING)
        return;
    struct worker *w = c->worker;
    struct origin *origin = w->pipeline.origin;
    client_enter(c, CLIENT_CLOSING);
    c->busy++;
    if (c->probing)
        origin->ops->probe_cancel(origin, &c->probe);
    client_exchange_end(c, why, reason);
    client_h2_cut(c, why, reason);
    loop_stop_task(w->env.loop, &c->timer);
    loop_stop_task(w->env.loop, &c->resume);
    WORKER_COUNT(w, bytes_in, conn_bytes_in(c->conn));
    WORKER_COUNT(w, bytes_out, conn_bytes_out(c->conn));
    conn_close(&c->conn, how);
    c->info->closed_ns = clock_mono_ns();
    if (why != ERR_OK && why != ERR_CLOSED && why != ERR_SHUTDOWN) {
        c->info->error = why;
        connection_set(c->info->reason, sizeof c->info->reason, span_str(reason));
    }
    pipeline_connection(&w->pipeline, c->info);
    connection_unref(&c->info);
    list_remove(&c->link);
    worker_client_gone(w);
    client_leave(c);
}

struct client *client_of_link(struct list *link)
{
    return container_of(link, struct client, link);
}

void client_stop(struct client *c, bool now)
{
    c->busy++;
    c->stopping = true;
    c->keep_alive = false;
    if (!now && c->state == CLIENT_HTTP2)
        client_h2_stop(c);
    else if (now || (!c->x && !c->probing && c->held.n == 0))
        client_end(c, STREAM_FLUSH, ERR_SHUTDOWN, "ringtape was stopped before the flow ended");
    client_leave(c);
}

/* ---- reading ---- */

bool client_clogged(const struct client *c)
{
    return c->state == CLIENT_HTTP && !c->x && conn_full(c->conn);
}

void client_update_reading(struct client *c)
{
    if (c->state == CLIENT_CLOSING)
        return;
    bool pause = c->request_paused || c->held.n >= LIMIT_CLIENT_HELLO_BYTES || client_clogged(c) ||
                 (c->state == CLIENT_HTTP2 && conn_full(c->conn)) ||
                 (c->state == CLIENT_HTTP && c->request_done && c->held.n > 0);
    if (pause == c->paused)
        return;
    c->paused = pause;
    if (pause)
        conn_pause(c->conn);
    else
        conn_resume(c->conn);
}

static void client_hold(struct client *c, struct span in)
{
    if (buf_put(&c->held, in))
        client_end(c, STREAM_ABORT, ERR_NOMEM, err_text(ERR_NOMEM));
    client_update_reading(c);
}

/* An upper-case method and a space? ERR_AGAIN: too few bytes to tell. */
static enum err sniff_http(struct span in)
{
    size_t i = 0;
    while (i < in.n && i < 24 && ((in.p[i] >= 'A' && in.p[i] <= 'Z') || in.p[i] == '-' || in.p[i] == '_'))
        i++;
    if (i == in.n && i < 24)
        return ERR_AGAIN;
    return i > 0 && i < in.n && in.p[i] == ' ' ? ERR_OK : ERR_PARSE;
}

/* `held` speaks HTTP. */
static void client_to_http(struct client *c)
{
    struct buf held = c->held;
    c->held = BUF_INIT;
    client_enter(c, CLIENT_HTTP);
    enum err e = c->h1 ? ERR_OK : client_http_begin(c);
    if (e)
        client_end(c, STREAM_ABORT, e, err_text(e));
    else
        client_http_input(c, buf_span(&held));
    buf_free(&held);
}

/* ---- TLS ---- */

/* What the origin chose of the client's offer, nothing included; what we speak where none was asked or it could not be had. */
static struct span client_alpn(const struct client *c)
{
    bool asked = c->state == CLIENT_PROBING && c->facts.error == ERR_OK;
    struct span best = hello_offers(c->hello.alpn, SPAN("h2")) ? SPAN("h2") : SPAN("http/1.1");
    struct span alpn = asked ? span_str(c->facts.alpn) : best;
    return hello_offers(c->hello.alpn, alpn) ? alpn : SPAN_EMPTY;
}

static void client_handshake(struct client *c)
{
    struct worker *w = c->worker;
    struct leaf *leaf = NULL;
    char local[NET_ADDRESS_TEXT];
    struct span host = c->hello.server_name[0] ? span_str(c->hello.server_name) : span_str(c->tunnel_host);
    if (host.n == 0) {
        net_ip_text((const struct sockaddr *)&w->env.listening, local);
        host = span_str(local);
    }
    struct buf names = c->facts.names;
    c->facts.names = BUF_INIT;
    enum err e = ERR_OK;
    if (c->tunnel_host[0])
        e = buf_put(&names, span_of(c->tunnel_host, strlen(c->tunnel_host) + 1));
    if (!e)
        e = leaf_get(w->options->leaves, host, buf_span(&names), &leaf);
    buf_free(&names);
    if (!e)
        e = conn_accept_tls(c->conn, w->options->server_tls, leaf, client_alpn(c));
    leaf_unref(&leaf);
    if (e) {
        log_write(w->options->log, LOG_WARN, "tls", "no certificate can be made for %.*s: %s", (int)host.n,
                  (const char *)host.p, err_text(e));
        client_end(c, STREAM_ABORT, e, "no certificate can be made for this name");
        return;
    }
    c->tls = true;
    client_enter(c, CLIENT_TLS);
    client_start_timer(c);
    struct buf held = c->held;
    c->held = BUF_INIT;
    client_update_reading(c);
    conn_inject(c->conn, buf_span(&held));
    buf_free(&held);
}

static void client_probed(struct probe *probe)
{
    struct client *c = container_of(probe, struct client, probe);
    c->probing = false;
    c->busy++;
    client_handshake(c);
    client_leave(c);
}

/* The origin is asked first, unless the name is our own or there is no tunnel. */
static void client_probe(struct client *c)
{
    struct origin *origin = c->worker->pipeline.origin;
    connection_set(c->info->sni, sizeof c->info->sni, span_str(c->hello.server_name));
    if (!c->tunnel_host[0] || strcmp(c->tunnel_host, PAGE_HOST) == 0) {
        client_handshake(c);
        return;
    }
    client_enter(c, CLIENT_PROBING);
    client_start_timer(c);
    c->probing = true;
    c->probe = (struct probe){.host = span_str(c->tunnel_host),
                              .port = c->tunnel_port,
                              .sni = span_str(c->hello.server_name),
                              .alpn = c->hello.alpn,
                              .facts = &c->facts,
                              .done = client_probed};
    origin->ops->probe(origin, &c->probe);
    if (!c->probe.state && c->facts.error) {
        c->probing = false;
        client_end(c, STREAM_ABORT, c->facts.error, err_text(c->facts.error));
    }
}

static void client_to_h2(struct client *c);

static void client_secured(void *ctx)
{
    struct client *c = ctx;
    struct tls_info info;
    tls_get_info(conn_tls(c->conn), &info);
    c->info->tls_ns = loop_now_ns(c->worker->env.loop);
    connection_set(c->info->alpn, sizeof c->info->alpn, span_str(info.alpn));
    connection_set(c->info->tls_version, sizeof c->info->tls_version, span_str(info.version));
    connection_set(c->info->tls_cipher, sizeof c->info->tls_cipher, span_str(info.cipher));
    c->info->tls_resumed = info.resumed;
    client_enter(c, CLIENT_INSIDE);
    if (strcmp(info.alpn, "h2") == 0)
        client_to_h2(c);
    else
        client_start_timer(c);
}

/* ---- what does it speak? ---- */

static const char *client_host(const struct client *c)
{
    return c->hello.server_name[0] ? c->hello.server_name : c->tunnel_host;
}

/* Who wants what, as the memory of refusals has it. `client` is room for NET_ADDRESS_TEXT. */
static struct refusal client_refusal(const struct client *c, char *client)
{
    net_ip_text((const struct sockaddr *)&c->peer, client);
    return (struct refusal){.client = span_str(client),
                            .track = span_str(c->track),
                            .host = span_str(c->tunnel_host),
                            .port = c->tunnel_port,
                            .name = span_str(c->hello.server_name)};
}

static bool client_is_passed(const struct client *c)
{
    char text[NET_ADDRESS_TEXT];
    if (!c->worker->options->auto_pass || !c->tunnel_host[0])
        return false;
    struct refusal who = client_refusal(c, text);
    return refusals_passes(c->worker->refusals, &who);
}

/* ERR_AGAIN: wait for more. ERR_OK: it is TLS and was taken up. ERR_PARSE: not TLS. */
static enum err client_try_tls(struct client *c)
{
    enum err e = hello_sniff(buf_span(&c->held));
    if (!e)
        e = hello_parse(buf_span(&c->held), &c->hello);
    if (e == ERR_AGAIN && c->held.n >= LIMIT_CLIENT_HELLO_BYTES)
        e = ERR_LIMIT;
    if (!e && client_is_passed(c))
        client_raw_begin(c);
    else if (!e)
        client_probe(c);
    return e;
}

/* `held` begins with HTTP/2's preface. */
static void client_to_h2(struct client *c)
{
    struct buf held = c->held;
    c->held = BUF_INIT;
    enum err e = client_h2_begin(c);
    if (e)
        client_end(c, STREAM_ABORT, e, err_text(e));
    else if (held.n)
        client_h2_input(c, buf_span(&held));
    buf_free(&held);
}

static void client_told_apart(struct client *c)
{
    bool inside = c->state == CLIENT_INSIDE, fresh = c->state == CLIENT_SNIFF;
    enum err e = inside ? ERR_PARSE : client_try_tls(c);
    if (e == ERR_OK || e == ERR_AGAIN)
        return;
    e = h2_sniff(buf_span(&c->held));
    if (e == ERR_OK)
        client_to_h2(c);
    if (e == ERR_OK || e == ERR_AGAIN)
        return;
    enum err http = sniff_http(buf_span(&c->held));
    if (http == ERR_OK || (http == ERR_PARSE && fresh)) /* garbage gets HTTP's 400 */
        client_to_http(c);
    else if (http == ERR_PARSE)
        client_raw_begin(c);
}

static void client_data(void *ctx, struct span in)
{
    struct client *c = ctx;
    enum client_state was;
    bool waited;
    c->busy++;
    c->active_ns = loop_now_ns(c->worker->env.loop);
    worker_touch(c->worker);
    if (!c->spoke && (c->state == CLIENT_INSIDE || (c->state == CLIENT_HTTP2 && c->tls))) {
        c->spoke = true;
        refusals_trust(c->worker->refusals, span_str(client_host(c)));
    }
    switch (c->state) {
    case CLIENT_SNIFF:
    case CLIENT_TUNNELLED:
    case CLIENT_INSIDE:
        waited = c->held.n == 0;
        was = c->state;
        client_hold(c, in);
        if (c->state != CLIENT_CLOSING)
            client_told_apart(c);
        if (waited && c->state == was)
            client_start_timer(c); /* the rest of what began has its own time */
        break;
    case CLIENT_PROBING:
    case CLIENT_TLS:
        client_hold(c, in);
        break;
    case CLIENT_HTTP:
        client_http_input(c, in);
        break;
    case CLIENT_HTTP2:
        client_h2_input(c, in);
        break;
    case CLIENT_RAW:
        client_raw_input(c, in);
        break;
    case CLIENT_CLOSING:
        break;
    }
    client_leave(c);
}

void client_connected(struct client *c)
{
    client_enter(c, CLIENT_TUNNELLED);
    if (proxy_passes(c->worker->options, span_str(c->tunnel_host), c->tunnel_port))
        client_raw_begin(c);
    else if (c->held.n)
        client_told_apart(c);
    if (c->state == CLIENT_TUNNELLED)
        client_start_timer(c);
}

enum err client_tunnel_head(const struct client *c, struct head *out)
{
    head_clear(out, HEAD_REQUEST);
    out->port = c->tunnel_port;
    enum err e = head_set(out, &out->method, SPAN("CONNECT"));
    if (!e)
        e = head_set(out, &out->scheme, c->tls ? SPAN("https") : SPAN("http"));
    if (!e)
        e = head_set(out, &out->host, span_str(c->tunnel_host));
    return e ? e : head_set(out, &out->version, SPAN("HTTP/1.1"));
}

/* ---- ends ---- */

/* Inside TLS, without having said a word. */
static bool client_is_unused(const struct client *c)
{
    return c->tls && !c->spoke && (c->state == CLIENT_INSIDE || c->state == CLIENT_HTTP2);
}

/* Many clients refuse a certificate without a word: Node's may leave in the middle of the handshake, GnuTLS's look at it only when that is
 * over. So does a browser that opened a connection to have it at hand, but that one waits longer, or has others to the same host that
 * it uses. */
static bool client_left_silently(const struct client *c, enum err why)
{
    if ((why != ERR_CLOSED && why != ERR_RESET) || refusals_is_trusted(c->worker->refusals, span_str(client_host(c))))
        return false;
    return c->state == CLIENT_TLS || (client_is_unused(c) && loop_now_ns(c->worker->env.loop) - c->info->tls_ns <
                                                                 LIMIT_SILENT_REFUSAL_MS * NS_PER_MS);
}

static const char left_silently[] = "it left right after the handshake, without a request";

/* Does this client get that host without interception from now on? Not where another client took our certificate: then it is not
 * the host that is pinned, and what is recorded in clear must not stop to be. */
static bool client_pass_from_now_on(const struct client *c, bool silent)
{
    char text[NET_ADDRESS_TEXT];
    struct tls_info info;
    tls_get_info(conn_tls(c->conn), &info);
    if (!c->worker->options->auto_pass || !c->tunnel_host[0] || !(silent || info.certificate_refused) ||
        refusals_is_trusted(c->worker->refusals, span_str(client_host(c))))
        return false;
    struct refusal who = client_refusal(c, text);
    return refusals_add(c->worker->refusals, &who, !silent);
}

/* A handshake that failed has no exchange: it is put on the tape as a tunnel that ended with this error. */
static void client_record_refusal(struct client *c, enum err why, const char *reason)
{
    struct worker *w = c->worker;
    struct exchange *x = NULL;
    struct head head = HEAD_INIT;
    char text[320];
    bool silent = client_left_silently(c, why);
    if (why == ERR_TLS_ALERT || silent) {
        WORKER_COUNT(w, client_tls_refused, 1);
        worker_client_refused(w, client_host(c), !silent, client_pass_from_now_on(c, silent), reason);
    }
    if (!c->tunnel_host[0])
        return;
    enum err e = client_tunnel_head(c, &head);
    if (!e)
        e = exchange_create(&x, worker_next_exchange(w), FLOW_TUNNEL, &w->pipeline, c->info, NULL, c);
    if (!e) {
        x->track = span_str(c->track);
        (void)snprintf(text, sizeof text, "the client ended the TLS %s with us: %s",
                       c->state == CLIENT_TLS ? "handshake" : "connection", reason);
        exchange_record_failure(x, &head, why, text);
        exchange_destroy(&x, ERR_OK, "");
    }
    head_free(&head);
}

static void client_eof(void *ctx, bool clean)
{
    struct client *c = ctx;
    (void)clean;
    c->busy++;
    c->eof = true;
    switch (c->state) {
    case CLIENT_HTTP:
        client_http_eof(c);
        break;
    case CLIENT_RAW:
        client_raw_eof(c);
        break;
    case CLIENT_TUNNELLED:
        if (c->held.n) {
            client_raw_begin(c);
            break;
        }
        client_end(c, STREAM_FLUSH, ERR_CLOSED, err_text(ERR_CLOSED));
        break;
    default:
        if (client_left_silently(c, ERR_CLOSED))
            client_record_refusal(c, ERR_CLOSED, left_silently);
        client_end(c, STREAM_FLUSH, ERR_CLOSED, err_text(ERR_CLOSED));
    }
    client_leave(c);
}

static void client_drained(void *ctx)
{
    struct client *c = ctx;
    c->busy++;
    c->active_ns = loop_now_ns(c->worker->env.loop);
    if (c->state == CLIENT_HTTP2)
        client_h2_flush(c);
    else if (c->x)
        exchange_pause_response(c->x, false);
    else if (c->state == CLIENT_HTTP && c->held.n)
        loop_start(c->worker->env.loop, &c->resume, 0);
    client_update_reading(c);
    client_leave(c);
}

static void client_failed(void *ctx, enum err why, const char *reason)
{
    struct client *c = ctx;
    c->busy++;
    if ((c->state == CLIENT_TLS || client_is_unused(c)) && (c->state == CLIENT_TLS || why == ERR_TLS_ALERT)) {
        client_record_refusal(c, why, reason);
        client_end(c, STREAM_ABORT, why, reason);
    } else if (client_left_silently(c, why)) {
        client_record_refusal(c, ERR_CLOSED, left_silently);
    }
    client_end(c, STREAM_ABORT, why == ERR_RESET ? ERR_CLOSED : why, "the client hung up");
    client_leave(c);
}

static const struct conn_events client_conn_events = {client_secured, client_data, client_eof, client_drained,
                                                      client_failed};

/* ---- timers ---- */

static bool client_in_exchange(const struct client *c)
{
    return c->x || !list_empty(&c->streams);
}

/* After CONNECT: has the client begun with anything but a ClientHello, or with nothing? */
static bool client_may_be_raw(const struct client *c)
{
    return c->held.n == 0 || hello_sniff(buf_span(&c->held)) == ERR_PARSE;
}

/* Since when nothing has moved. Bytes are movement, but for HTTP/2's while there is content that its client does not take: PINGs and empty
 * promises would keep its streams, and what waits on them, for ever. */
static uint64_t client_still_since(const struct client *c)
{
    return c->stuck_ns ? MIN(c->stuck_ns, c->active_ns) : c->active_ns;
}

/* What the client is waited for in its present state. */
static uint64_t client_patience_ms(const struct client *c)
{
    if (client_in_exchange(c))
        return LIMIT_STALL_MS;
    switch (c->state) {
    case CLIENT_SNIFF:
    case CLIENT_INSIDE:
        return c->held.n == 0 ? LIMIT_CLIENT_IDLE_MS : LIMIT_HEAD_MS;
    case CLIENT_TUNNELLED:
        return client_may_be_raw(c) ? LIMIT_SNIFF_MS : LIMIT_HEAD_MS;
    case CLIENT_HTTP:
        return h1_in_message(c->h1) ? LIMIT_HEAD_MS : LIMIT_CLIENT_IDLE_MS;
    case CLIENT_HTTP2:
        return LIMIT_CLIENT_IDLE_MS;
    case CLIENT_PROBING: /* the probe has its own limits */
    case CLIENT_RAW:
        return LIMIT_STALL_MS;
    case CLIENT_TLS:
    case CLIENT_CLOSING:
        break;
    }
    return LIMIT_HEAD_MS;
}

void client_start_timer(struct client *c)
{
    loop_start(c->worker->env.loop, &c->timer, client_patience_ms(c) * NS_PER_MS);
}

static void client_timer(struct task *task)
{
    struct client *c = container_of(task, struct client, timer);
    uint64_t still_ns = loop_now_ns(c->worker->env.loop) - client_still_since(c);
    c->busy++;
    if (c->state == CLIENT_TUNNELLED && client_may_be_raw(c)) {
        client_raw_begin(c); /* the server speaks first, or is to speak now */
    } else if (client_in_exchange(c) && still_ns < LIMIT_STALL_MS * NS_PER_MS) {
        loop_start(c->worker->env.loop, &c->timer, LIMIT_STALL_MS * NS_PER_MS - still_ns);
    } else if (c->state == CLIENT_HTTP && !c->x && h1_in_message(c->h1)) {
        client_http_answer(c, 408, "Request Timeout", "", "ringtape: the request head did not come in time\n", true);
    } else {
        bool stalled = client_in_exchange(c);
        client_end(c, stalled ? STREAM_ABORT : STREAM_FLUSH, stalled ? ERR_TIMEOUT : ERR_CLOSED,
                   "nothing moved for too long");
    }
    client_leave(c);
}

static void client_resume(struct task *task)
{
    struct client *c = container_of(task, struct client, resume);
    struct buf held = c->held;
    c->held = BUF_INIT;
    c->busy++;
    if (c->state == CLIENT_HTTP2)
        client_h2_flush(c);
    else if (c->state == CLIENT_HTTP)
        client_http_input(c, buf_span(&held));
    else if (c->state == CLIENT_RAW && held.n)
        client_raw_input(c, buf_span(&held));
    buf_free(&held);
    if (c->eof && c->state == CLIENT_HTTP && !c->x)
        client_http_eof(c);
    else if (c->eof && c->state == CLIENT_RAW)
        client_raw_eof(c);
    client_update_reading(c); /* an upgrade takes the bytes that had to wait for it */
    client_leave(c);
}

/* ---- life ---- */

static struct client *client_create(struct worker *w, const struct sockaddr_storage *peer)
{
    struct client *c = mem_new(1, sizeof *c);
    if (!c)
        return NULL;
    if (connection_create(&c->info, CONNECTION_CLIENT,
                          __atomic_add_fetch(w->env.connection_ids, 1, __ATOMIC_RELAXED))) {
        mem_free(c);
        return NULL;
    }
    c->worker = w;
    c->peer = *peer;
    c->keep_alive = true;
    list_init(&c->link);
    list_init(&c->streams);
    task_init(&c->timer, client_timer);
    task_init(&c->resume, client_resume);
    net_address_text((const struct sockaddr *)peer, c->info->peer);
    net_address_text((const struct sockaddr *)&w->env.listening, c->info->local);
    c->info->opened_wall_ns = clock_wall_ns();
    c->info->opened_ns = loop_now_ns(w->env.loop);
    c->info->connected_ns = c->info->opened_ns;
    return c;
}

void client_accept(struct worker *w, int fd, const struct sockaddr_storage *peer)
{
    struct client *c = client_create(w, peer);
    if (!c) {
        close(fd);
        worker_client_gone(w);
        return;
    }
    c->active_ns = loop_now_ns(w->env.loop);
    if (conn_open(&c->conn, w->env.loop, fd, &client_conn_events, c)) {
        connection_unref(&c->info);
        client_free(c);
        worker_client_gone(w);
        return;
    }
    list_push(&w->clients, &c->link);
    loop_start(w->env.loop, &c->timer, LIMIT_CLIENT_IDLE_MS * NS_PER_MS);
}
