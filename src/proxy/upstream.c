/* upstream.c: the life of one connection to an origin.
 *
 *   DIALLING ──> PROXY ──> TLS ──> IDLE <──> BUSY ──> RAW
 *       └──────────┴────────┴───────┴──────────┴───────┴──> DEAD (freed when nothing of it is on the stack)
 *
 * PROXY: CONNECT was sent to the proxy beyond. States are left out where they do not apply (plain: no TLS).
 * Invariants: user is NULL exactly in IDLE and DEAD; the connection's record is told to the taps when the handshake is done or
 * has failed, and once more at the end. */
#include "proxy/upstream.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/util.h"

#include <assert.h>
#include <stdio.h>

#define UPSTREAM_STATES(X) X(UP_DIALLING) X(UP_PROXY) X(UP_TLS) X(UP_IDLE) X(UP_BUSY) X(UP_RAW) X(UP_DEAD)
enum upstream_state {
#define UP_ENUM(name) name,
    UPSTREAM_STATES(UP_ENUM)
#undef UP_ENUM
};

static const unsigned upstream_next[] = {
    [UP_DIALLING] = BIT(UP_PROXY) | BIT(UP_TLS) | BIT(UP_BUSY) | BIT(UP_DEAD),
    [UP_PROXY] = BIT(UP_TLS) | BIT(UP_BUSY) | BIT(UP_DEAD),
    [UP_TLS] = BIT(UP_BUSY) | BIT(UP_DEAD),
    [UP_IDLE] = BIT(UP_BUSY) | BIT(UP_DEAD),
    [UP_BUSY] = BIT(UP_IDLE) | BIT(UP_RAW) | BIT(UP_DEAD),
    [UP_RAW] = BIT(UP_DEAD),
    [UP_DEAD] = 0,
};

struct upstream {
    enum upstream_state state;
    struct list link; /* the pool's */
    const struct upstream_env *env;
    const struct upstream_user *user;
    void *ctx;
    struct upstream_key key;
    struct connection *info;
    struct dial *dial;
    struct conn *conn;
    struct h1 *h1;
    struct buf out;   /* a request head on its way; kept */
    struct buf raw;   /* bytes that came after the head that ended HTTP, until the loop tells them */
    struct task wake; /* handshake timeout; later: tells `raw` */
    unsigned busy;    /* frames of this upstream on the stack */
    bool used, heard, paused, reported, raw_eof;
    bool through; /* the proxy beyond has said yes: what follows comes from the origin */
    uint64_t idle_since_ns;
};

static void upstream_dead(struct upstream *u);

static void upstream_enter(struct upstream *u, enum upstream_state to)
{
    assert(upstream_next[u->state] & BIT(to));
    u->state = to;
}

bool upstream_key_equal(const struct upstream_key *a, const struct upstream_key *b)
{
    return a->port == b->port && a->tls == b->tls && a->raw == b->raw && a->h2c == b->h2c && a->alpn_n == b->alpn_n &&
           strcmp(a->host, b->host) == 0 && strcmp(a->sni, b->sni) == 0 && memcmp(a->alpn, b->alpn, a->alpn_n) == 0;
}

static void upstream_leave(struct upstream *u)
{
    assert(u->busy > 0);
    if (--u->busy > 0 || u->state != UP_DEAD)
        return;
    h1_destroy(&u->h1);
    buf_free(&u->out);
    buf_free(&u->raw);
    mem_free(u);
}

/* ---- ends ---- */

static void upstream_dead(struct upstream *u)
{
    enum upstream_state was = u->state;
    if (was == UP_DEAD)
        return;
    upstream_enter(u, UP_DEAD);
    --*u->env->open_n;
    u->user = NULL;
    if (was == UP_IDLE)
        u->env->gone(u->env->ctx, u);
    list_remove(&u->link);
    dial_cancel(&u->dial);
    loop_stop_task(u->env->worker->loop, &u->wake);
    conn_close(&u->conn, was == UP_RAW ? STREAM_FLUSH : STREAM_ABORT);
    u->info->closed_ns = clock_mono_ns();
    pipeline_connection(u->env->pipeline, u->info);
    connection_unref(&u->info);
}

/* From the loop: ends it and tells the user. */
static void upstream_fail(struct upstream *u, enum err why, const char *reason)
{
    if (u->state == UP_DEAD)
        return;
    const struct upstream_user *user = u->user;
    void *ctx = u->ctx;
    char text[256];
    connection_set(text, sizeof text, span_str(reason));
    u->info->error = why;
    connection_set(u->info->reason, sizeof u->info->reason, span_str(reason));
    upstream_dead(u);
    if (user)
        user->failed(ctx, why, text);
}

/* ---- what the origin sends ---- */

/* An origin that speaks first may do so right behind the proxy's answer. */
static bool upstream_soon_raw(const struct upstream *u)
{
    return u->state == UP_PROXY && u->through && u->key.raw;
}

static enum err upstream_input_http(struct upstream *u, struct span in)
{
    u->heard = true;
    while (in.n > 0 && (u->state == UP_BUSY || u->state == UP_PROXY)) {
        size_t used = 0;
        enum err e = h1_feed(u->h1, in, &used);
        if (e)
            return e;
        in = span_from(in, used);
        if (used == 0)
            break;
    }
    if (in.n == 0 || u->state == UP_DEAD)
        return ERR_OK;
    if (u->state == UP_RAW || upstream_soon_raw(u))
        return buf_put(&u->raw, in);
    return ERR_PARSE; /* bytes that nobody asked for */
}

static void upstream_tell_raw(struct upstream *u)
{
    while (u->raw.n > 0 && u->state == UP_RAW && !u->paused) {
        struct buf bytes = u->raw;
        u->raw = BUF_INIT;
        if (u->user->bytes(u->ctx, buf_span(&bytes)))
            upstream_fail(u, ERR_NOMEM, err_text(ERR_NOMEM));
        buf_free(&bytes);
    }
    if (u->raw_eof && u->raw.n == 0 && u->state == UP_RAW && !u->paused) {
        u->raw_eof = false;
        u->user->eof(u->ctx);
    }
}

static void upstream_data(void *ctx, struct span in)
{
    struct upstream *u = ctx;
    enum err e = ERR_OK;
    u->busy++;
    if (u->state == UP_RAW && u->raw.n == 0) {
        e = u->user->bytes(u->ctx, in);
    } else if (u->state == UP_RAW) {
        e = buf_put(&u->raw, in);
    } else if (u->state == UP_BUSY || u->state == UP_PROXY) {
        e = upstream_input_http(u, in);
    } else {
        e = ERR_PARSE; /* an idle origin that speaks */
    }
    if (e && u->state != UP_DEAD) {
        const char *what = u->h1 ? h1_error(u->h1) : "";
        char reason[256];
        (void)snprintf(reason, sizeof reason, "the origin's response is not acceptable: %s",
                       what[0] ? what : err_text(e));
        upstream_fail(u, e, reason);
    }
    upstream_leave(u);
}

static void upstream_eof(void *ctx, bool clean)
{
    struct upstream *u = ctx;
    u->busy++;
    if (u->state == UP_RAW || upstream_soon_raw(u)) {
        if (u->raw.n || u->paused || u->state != UP_RAW)
            u->raw_eof = true;
        else
            u->user->eof(u->ctx);
    } else if (u->state == UP_BUSY && h1_in_message(u->h1)) {
        bool until_close = h1_message(u->h1)->framing == H1_UNTIL_CLOSE;
        enum err e = until_close && !clean ? ERR_TRUNCATED : h1_eof(u->h1);
        if (u->state == UP_BUSY)
            upstream_fail(u, e ? e : ERR_CLOSED, err_text(e ? e : ERR_CLOSED));
    } else {
        upstream_fail(u, ERR_CLOSED, "the origin closed the connection without an answer");
    }
    upstream_leave(u);
}

static void upstream_drained(void *ctx)
{
    struct upstream *u = ctx;
    u->busy++;
    if (u->user && u->state >= UP_BUSY)
        u->user->drained(u->ctx);
    upstream_leave(u);
}

/* An origin that wants a certificate says so in many ways, and in TLS 1.3 only when the handshake is over. */
static void upstream_explain(const struct upstream *u, const char *reason, char *text, size_t size)
{
    struct tls_info info = {.alert = -1};
    char hint[400] = "";
    if (conn_tls(u->conn))
        tls_get_info(conn_tls(u->conn), &info);
    if (info.certificate_asked && !u->heard && !info.certificate_had)
        (void)snprintf(hint, sizeof hint, "the origin asks for a client certificate, see --client-cert HOST=FILE: ");
    else if (info.certificate_asked && !u->heard && info.alert >= 0)
        (void)snprintf(hint, sizeof hint, "the origin did not take the client certificate: ");
    (void)snprintf(text, size, "%s%s:%u: %s%s", u->state == UP_TLS ? "TLS with " : "", u->key.host, u->key.port, hint,
                   reason);
}

static void upstream_failed(void *ctx, enum err why, const char *reason)
{
    struct upstream *u = ctx;
    char text[640];
    u->busy++;
    upstream_explain(u, reason, text, sizeof text);
    upstream_fail(u, why, text);
    upstream_leave(u);
}

/* ---- coming up ---- */

static void upstream_report(struct upstream *u)
{
    struct tls_info info;
    struct span der;
    const struct tls *tls = conn_tls(u->conn);
    if (tls) {
        tls_get_info(tls, &info);
        connection_set(u->info->alpn, sizeof u->info->alpn, span_str(info.alpn));
        connection_set(u->info->tls_version, sizeof u->info->tls_version, span_str(info.version));
        connection_set(u->info->tls_cipher, sizeof u->info->tls_cipher, span_str(info.cipher));
        u->info->tls_resumed = info.resumed;
        for (size_t i = 0; tls_peer_certificate(tls, i, &der); i++) {
            uint8_t n[4] = {(uint8_t)(der.n >> 24), (uint8_t)(der.n >> 16), (uint8_t)(der.n >> 8), (uint8_t)der.n};
            if (buf_put(&u->info->chain, span_of(n, sizeof n)) || buf_put(&u->info->chain, der))
                break;
        }
    }
    u->reported = true;
    pipeline_connection(u->env->pipeline, u->info);
}

static void upstream_ready(struct upstream *u)
{
    upstream_enter(u, UP_BUSY);
    loop_stop_task(u->env->worker->loop, &u->wake);
    upstream_report(u);
    u->user->ready(u->ctx);
}

static void upstream_secured(void *ctx)
{
    struct upstream *u = ctx;
    u->info->tls_ns = loop_now_ns(u->env->worker->loop);
    upstream_ready(u);
}

static const struct conn_events upstream_conn_events = {upstream_secured, upstream_data, upstream_eof, upstream_drained,
                                                        upstream_failed};

/* The name that the origin has to prove says which certificate of ours it gets to see. It is in the key, so that connections with
 * different ones stay apart. */
static struct tls_client_config *upstream_tls(const struct upstream *u)
{
    const struct network_options *o = u->env->options;
    for (size_t i = 0; i < o->certificates_n; i++)
        if (proxy_pass_matches(&o->certificates[i].where, span_str(u->key.sni), u->key.port))
            return o->certificates[i].tls;
    return o->tls;
}

/* The bytes now go to the origin itself. */
static void upstream_connected(struct upstream *u)
{
    if (!u->key.tls) {
        upstream_ready(u);
        return;
    }
    upstream_enter(u, UP_TLS);
    loop_start(u->env->worker->loop, &u->wake, LIMIT_TLS_HANDSHAKE_MS * NS_PER_MS);
    connection_set(u->info->sni, sizeof u->info->sni, span_str(u->key.sni));
    enum err e = conn_connect_tls(u->conn, upstream_tls(u), span_str(u->key.sni), u->key.port,
                                  span_of(u->key.alpn, u->key.alpn_n));
    if (e)
        upstream_fail(u, e, err_text(e));
}

/* ---- through the proxy beyond ---- */

static void upstream_proxy_connect(struct upstream *u)
{
    const struct network_upstream *beyond = u->env->options->upstream;
    const char *v6 = strchr(u->key.host, ':') ? "[" : "";
    struct buf out = BUF_INIT;
    upstream_enter(u, UP_PROXY);
    loop_start(u->env->worker->loop, &u->wake, LIMIT_TLS_HANDSHAKE_MS * NS_PER_MS);
    enum err e = buf_printf(&out, "CONNECT %s%s%s:%u HTTP/1.1\r\nHost: %s%s%s:%u\r\n", v6, u->key.host,
                            v6[0] ? "]" : "", u->key.port, v6, u->key.host, v6[0] ? "]" : "", u->key.port);
    if (!e && beyond->credentials[0])
        e = buf_printf(&out, "Proxy-Authorization: Basic %s\r\n", beyond->credentials);
    if (!e)
        e = buf_put_str(&out, "\r\n");
    if (!e) {
        h1_expect(u->h1, SPAN("CONNECT"));
        conn_send(u->conn, buf_span(&out));
    }
    buf_free(&out);
    if (e)
        upstream_fail(u, e, err_text(e));
}

static enum err upstream_proxy_head(struct upstream *u, const struct head *head)
{
    if (head->status / 100 == 2)
        return ERR_OK;
    char reason[128];
    (void)snprintf(reason, sizeof reason, "the proxy beyond answered CONNECT with %u", head->status);
    upstream_fail(u, ERR_REFUSED, reason);
    return ERR_CANCELLED;
}

/* ---- the codec's events: to the user, or to the exchange with the proxy beyond ---- */

static enum err upstream_h1_head(void *ctx, const struct head *head, const struct h1_message *message)
{
    struct upstream *u = ctx;
    if (u->state == UP_PROXY)
        return upstream_proxy_head(u, head);
    return u->user->http.head(u->ctx, head, message);
}

static enum err upstream_h1_informational(void *ctx, const struct head *head)
{
    struct upstream *u = ctx;
    return u->state == UP_BUSY ? u->user->http.informational(u->ctx, head) : ERR_OK;
}

static enum err upstream_h1_body(void *ctx, struct span bytes)
{
    struct upstream *u = ctx;
    return u->state == UP_BUSY ? u->user->http.body(u->ctx, bytes) : ERR_OK;
}

static enum err upstream_h1_trailers(void *ctx, const struct headers *trailers)
{
    struct upstream *u = ctx;
    return u->state == UP_BUSY ? u->user->http.trailers(u->ctx, trailers) : ERR_OK;
}

static enum err upstream_h1_end(void *ctx)
{
    struct upstream *u = ctx;
    if (u->state == UP_PROXY) {
        u->through = true;
        loop_start(u->env->worker->loop, &u->wake, 0); /* goes on outside of the codec */
        return ERR_OK;
    }
    return u->state == UP_BUSY ? u->user->http.end(u->ctx) : ERR_OK;
}

static const struct h1_events upstream_h1_events = {upstream_h1_head, upstream_h1_informational, upstream_h1_body,
                                                    upstream_h1_trailers, upstream_h1_end};

/* ---- dialling ---- */

static void upstream_wake(struct task *task)
{
    struct upstream *u = container_of(task, struct upstream, wake);
    u->busy++;
    if (u->state == UP_RAW) {
        upstream_tell_raw(u);
    } else if (u->state == UP_PROXY && u->through) {
        h1_next(u->h1);
        u->heard = false;
        upstream_connected(u);
    } else if (u->state == UP_PROXY || u->state == UP_TLS) {
        char reason[320];
        (void)snprintf(reason, sizeof reason, "TLS with %s:%u: no answer within %d s", u->key.host, u->key.port,
                       LIMIT_TLS_HANDSHAKE_MS / 1000);
        upstream_fail(u, ERR_TIMEOUT, reason);
    }
    upstream_leave(u);
}

static void upstream_dialled(void *ctx, const struct dial_result *result)
{
    struct upstream *u = ctx;
    struct connection *info = u->info;
    char peer[NET_ADDRESS_TEXT] = "";
    struct sockaddr_storage local;
    u->dial = NULL;
    u->busy++;
    info->dns_ns = result->resolved_fresh ? result->resolved_ns : 0;
    info->connected_ns = result->connected_ns;
    if (result->address.ss_family != AF_UNSPEC)
        net_address_text((const struct sockaddr *)&result->address, peer);
    connection_set(info->peer, sizeof info->peer, span_str(peer));
    enum err e = result->error;
    if (!e)
        e = conn_open(&u->conn, u->env->worker->loop, result->fd, &upstream_conn_events, u);
    if (e) {
        upstream_fail(u, e, result->error ? result->reason : err_text(e));
    } else {
        if (stream_local(conn_stream(u->conn), &local))
            net_address_text((const struct sockaddr *)&local, info->local);
        if (u->env->options->upstream && (u->key.tls || u->key.raw))
            upstream_proxy_connect(u);
        else
            upstream_connected(u);
    }
    upstream_leave(u);
}

/* Would this address lead back to our own listener? */
static bool upstream_allowed(void *ctx, const struct sockaddr *address)
{
    const struct upstream *u = ctx;
    const struct sockaddr *own = (const struct sockaddr *)&u->env->worker->listening;
    char a[NET_ADDRESS_TEXT], b[NET_ADDRESS_TEXT];
    if (net_port(address) != net_port(own))
        return true;
    net_ip_text(address, a);
    net_ip_text(own, b);
    bool any = strcmp(b, "0.0.0.0") == 0 || strcmp(b, "::") == 0;
    return strcmp(a, b) != 0 && !(any && net_is_loopback(address));
}

static void upstream_target(const struct upstream *u, const char **host, unsigned *port)
{
    const struct network_options *o = u->env->options;
    *host = u->key.host;
    *port = u->key.port;
    for (size_t i = 0; i < o->maps_n; i++) {
        const struct network_map *m = &o->maps[i];
        if ((m->host[0] && !span_eq_nocase(span_str(m->host), span_str(u->key.host))) ||
            (m->port && m->port != u->key.port))
            continue;
        *host = m->to_host[0] ? m->to_host : u->key.host;
        *port = m->to_port ? m->to_port : u->key.port;
        break;
    }
    if (o->upstream) {
        *host = o->upstream->host;
        *port = o->upstream->port;
    }
}

enum err upstream_open(struct upstream **out, const struct upstream_env *env, const struct upstream_key *key,
                       const struct upstream_user *user, void *ctx)
{
    struct upstream *u = mem_new(1, sizeof *u);
    *out = NULL;
    if (!u)
        return ERR_NOMEM;
    u->env = env;
    u->key = *key;
    u->user = user;
    u->ctx = ctx;
    list_init(&u->link);
    task_init(&u->wake, upstream_wake);
    enum err e = h1_create(&u->h1, H1_CLIENT, &upstream_h1_events, u);
    if (!e)
        e = connection_create(&u->info, CONNECTION_SERVER,
                              __atomic_add_fetch(env->worker->connection_ids, 1, __ATOMIC_RELAXED));
    if (!e) {
        connection_set(u->info->host, sizeof u->info->host, span_str(key->host));
        u->info->port = key->port;
        u->info->opened_wall_ns = clock_wall_ns();
        u->info->opened_ns = clock_mono_ns();
        struct dial_config config = {.allowed = upstream_allowed, .done = upstream_dialled, .ctx = u};
        upstream_target(u, &config.host, &config.port);
        __atomic_add_fetch(env->options->connects, 1, __ATOMIC_RELAXED);
        e = dial_start(&u->dial, env->worker->loop, env->options->resolver, &config);
    }
    if (e) {
        connection_unref(&u->info);
        h1_destroy(&u->h1);
        mem_free(u);
        return e;
    }
    ++*env->open_n;
    *out = u;
    return ERR_OK;
}

/* ---- users ---- */

void upstream_take(struct upstream *u, const struct upstream_user *user, void *ctx)
{
    assert(u->state == UP_IDLE);
    list_remove(&u->link);
    u->env->gone(u->env->ctx, u);
    u->user = user;
    u->ctx = ctx;
    u->heard = false;
    upstream_enter(u, UP_BUSY);
}

void upstream_set_user(struct upstream *u, const struct upstream_user *user, void *ctx)
{
    assert(u->state >= UP_BUSY);
    u->user = user;
    u->ctx = ctx;
}

void upstream_release(struct upstream *u, bool reusable)
{
    u->busy++;
    u->user = NULL;
    if (u->state == UP_BUSY && reusable && !u->paused) {
        upstream_enter(u, UP_IDLE);
        u->idle_since_ns = loop_now_ns(u->env->worker->loop);
        u->env->idle(u->env->ctx, u);
    } else {
        upstream_dead(u);
    }
    upstream_leave(u);
}

const struct upstream_key *upstream_key(const struct upstream *u)
{
    return &u->key;
}

struct connection *upstream_connection(const struct upstream *u)
{
    return u->info;
}

struct list *upstream_pool_link(struct upstream *u)
{
    return &u->link;
}

struct upstream *upstream_of_pool_link(struct list *link)
{
    return container_of(link, struct upstream, link);
}

uint64_t upstream_idle_since_ns(const struct upstream *u)
{
    return u->idle_since_ns;
}

bool upstream_used_before(const struct upstream *u)
{
    return u->used;
}

bool upstream_is_h2(const struct upstream *u)
{
    return u->key.h2c || strcmp(u->info->alpn, "h2") == 0;
}

bool upstream_heard(const struct upstream *u)
{
    return u->heard;
}

const struct h1_message *upstream_message(const struct upstream *u)
{
    return h1_message(u->h1);
}

enum err upstream_send_head(struct upstream *u, const struct head *head, const struct h1_out *how)
{
    assert(u->state == UP_BUSY);
    buf_clear(&u->out);
    if (u->used)
        h1_next(u->h1);
    h1_expect(u->h1, head_span(head, head->method));
    enum err e = h1_put_request(&u->out, head, how);
    if (!e)
        conn_send(u->conn, buf_span(&u->out));
    u->used = true;
    return e;
}

void upstream_send(struct upstream *u, struct span bytes)
{
    conn_send(u->conn, bytes);
}

void upstream_send_end(struct upstream *u)
{
    conn_shutdown(u->conn);
}

bool upstream_full(const struct upstream *u)
{
    return conn_full(u->conn);
}

void upstream_pause(struct upstream *u, bool paused)
{
    if (u->state < UP_BUSY || u->state == UP_DEAD || u->paused == paused)
        return;
    u->paused = paused;
    if (paused)
        conn_pause(u->conn);
    else
        conn_resume(u->conn);
    if (!paused && u->state == UP_RAW && (u->raw.n || u->raw_eof))
        loop_start(u->env->worker->loop, &u->wake, 0);
}

void upstream_go_raw(struct upstream *u)
{
    upstream_enter(u, UP_RAW);
    loop_start(u->env->worker->loop, &u->wake, 0);
}
