/* conn.c: joins a stream and, once asked, a TLS filter.
 *
 *     stream ──cipher──> tls ──plain──> owner          owner ──plain──> pending ──> tls ──cipher──> stream
 *
 * Invariants: `busy` counts the frames of this conn that are on the stack; the TLS object and the conn itself are freed only
 * when it is 0, so that the owner may close from within any event. After conn_close() the owner is never called. Errors that
 * happen inside the owner's call (conn_send) are kept in `late` and told from the loop by the flush task. */
#include "proxy/conn.h"

#include "base/alloc.h"
#include "base/util.h"

#include <assert.h>
#include <unistd.h>

enum {
    CONN_RECORD = 16384, /* a TLS record's most plaintext */
    CONN_DIRECT = 4096,  /* from here on plaintext is encrypted at once instead of being gathered */
};

struct conn {
    struct loop *loop;
    struct stream *stream;
    struct tls *tls;
    const struct conn_events *events;
    void *ctx;
    struct buf pending; /* plaintext gathered in this turn */
    struct task flush;
    enum err late; /* failure to be told by the flush task */
    unsigned busy;
    bool closed; /* by the owner */
    bool ended;  /* eof was told */
    bool failed; /* failed was told, or will be */
    bool shut;   /* conn_shutdown() was called */
    uint64_t bytes_in, bytes_out;
};

static void conn_free(struct conn *c)
{
    loop_stop_task(c->loop, &c->flush);
    tls_destroy(&c->tls);
    buf_free(&c->pending);
    mem_free(c);
}

static void conn_leave(struct conn *c)
{
    assert(c->busy > 0);
    if (--c->busy == 0 && c->closed)
        conn_free(c);
}

/* From the loop only. */
static void conn_fail(struct conn *c, enum err why, const char *reason)
{
    if (c->closed || c->failed)
        return;
    c->failed = true;
    c->events->failed(c->ctx, why, reason);
}

static void conn_late(struct conn *c, enum err why)
{
    if (!why || c->late || c->failed || c->closed)
        return;
    c->late = why;
    loop_start(c->loop, &c->flush, 0);
}

/* ---- the TLS filter's events ---- */

static enum err conn_tls_send(void *ctx, struct span cipher)
{
    struct conn *c = ctx;
    if (!c->stream || c->shut)
        return ERR_OK; /* an alert or the answer to a KeyUpdate comes too late */
    c->bytes_out += cipher.n;
    return stream_send(c->stream, cipher);
}

static enum err conn_tls_established(void *ctx)
{
    struct conn *c = ctx;
    if (!c->closed)
        c->events->secured(c->ctx);
    return c->closed ? ERR_CANCELLED : ERR_OK;
}

static enum err conn_tls_data(void *ctx, struct span plain)
{
    struct conn *c = ctx;
    if (!c->closed && !c->ended)
        c->events->data(c->ctx, plain);
    return c->closed ? ERR_CANCELLED : ERR_OK;
}

static enum err conn_tls_closed(void *ctx)
{
    struct conn *c = ctx;
    if (!c->closed && !c->ended) {
        c->ended = true;
        c->events->eof(c->ctx, true);
    }
    return c->closed ? ERR_CANCELLED : ERR_OK;
}

static const struct tls_events conn_tls_events = {conn_tls_send, conn_tls_established, conn_tls_data, conn_tls_closed};

/* ---- receiving ---- */

static void conn_received(struct conn *c, struct span in)
{
    if (!c->tls) {
        c->events->data(c->ctx, in);
        return;
    }
    enum err e = tls_feed(c->tls, in);
    if (e && !c->closed)
        conn_fail(c, e, tls_error(c->tls));
}

static void conn_stream_data(void *ctx, struct span in)
{
    struct conn *c = ctx;
    c->bytes_in += in.n;
    if (c->failed)
        return;
    c->busy++;
    conn_received(c, in);
    conn_leave(c);
}

void conn_inject(struct conn *c, struct span bytes)
{
    c->busy++;
    if (bytes.n)
        conn_received(c, bytes);
    conn_leave(c);
}

static void conn_stream_eof(void *ctx)
{
    struct conn *c = ctx;
    if (c->ended || c->failed)
        return;
    c->busy++;
    if (c->tls && !tls_is_established(c->tls)) {
        conn_fail(c, ERR_CLOSED, "the peer closed the connection during the TLS handshake");
    } else {
        c->ended = true;
        c->events->eof(c->ctx, c->tls == NULL);
    }
    conn_leave(c);
}

static void conn_stream_drained(void *ctx)
{
    struct conn *c = ctx;
    if (c->failed)
        return;
    c->busy++;
    c->events->drained(c->ctx);
    conn_leave(c);
}

static void conn_stream_failed(void *ctx, enum err why)
{
    struct conn *c = ctx;
    c->busy++;
    conn_fail(c, why, err_text(why));
    conn_leave(c);
}

static const struct stream_events conn_stream_events = {conn_stream_data, conn_stream_eof, conn_stream_drained,
                                                        conn_stream_failed};

/* ---- sending ---- */

static enum err conn_encrypt_pending(struct conn *c)
{
    enum err e = c->pending.n ? tls_write(c->tls, buf_span(&c->pending)) : ERR_OK;
    buf_clear(&c->pending);
    return e;
}

static void conn_flush_run(struct task *task)
{
    struct conn *c = container_of(task, struct conn, flush);
    c->busy++;
    enum err e = c->late;
    if (!e && c->tls && !c->failed)
        e = conn_encrypt_pending(c);
    if (e)
        conn_fail(c, e, c->tls && e == ERR_TLS ? tls_error(c->tls) : err_text(e));
    conn_leave(c);
}

static enum err conn_send_tls(struct conn *c, struct span bytes)
{
    if (bytes.n >= CONN_DIRECT || c->pending.n + bytes.n > CONN_RECORD) {
        enum err e = conn_encrypt_pending(c);
        return e ? e : tls_write(c->tls, bytes);
    }
    if (c->pending.n == 0)
        loop_start(c->loop, &c->flush, 0);
    return buf_put(&c->pending, bytes);
}

void conn_send(struct conn *c, struct span bytes)
{
    if (c->failed || c->late || c->shut || bytes.n == 0)
        return;
    if (!c->tls) {
        c->bytes_out += bytes.n;
        conn_late(c, stream_send(c->stream, bytes));
    } else {
        conn_late(c, conn_send_tls(c, bytes));
    }
}

bool conn_full(const struct conn *c)
{
    return !c->failed && stream_full(c->stream);
}

void conn_pause(struct conn *c)
{
    stream_pause(c->stream);
}

void conn_resume(struct conn *c)
{
    if (!c->failed)
        stream_resume(c->stream);
}

void conn_shutdown(struct conn *c)
{
    if (c->failed || c->shut)
        return;
    if (c->tls && tls_is_established(c->tls)) {
        conn_late(c, conn_encrypt_pending(c));
        tls_close(c->tls);
    }
    c->shut = true;
    stream_shutdown(c->stream);
}

/* ---- life ---- */

enum err conn_open(struct conn **out, struct loop *loop, int fd, const struct conn_events *events, void *ctx)
{
    struct conn *c = mem_new(1, sizeof *c);
    *out = NULL;
    if (!c) {
        close(fd);
        return ERR_NOMEM;
    }
    c->loop = loop;
    c->events = events;
    c->ctx = ctx;
    task_init(&c->flush, conn_flush_run);
    enum err e = stream_open(&c->stream, loop, fd, &conn_stream_events, c);
    if (e) {
        mem_free(c);
        return e;
    }
    *out = c;
    return ERR_OK;
}

void conn_set_events(struct conn *c, const struct conn_events *events, void *ctx)
{
    c->events = events;
    c->ctx = ctx;
}

enum err conn_accept_tls(struct conn *c, struct tls_server_config *config, struct leaf *leaf, struct span alpn)
{
    assert(!c->tls);
    return tls_accept(&c->tls, config, leaf, alpn, &conn_tls_events, c);
}

enum err conn_connect_tls(struct conn *c, struct tls_client_config *config, struct span host, unsigned port,
                          struct span alpn)
{
    assert(!c->tls);
    enum err e = tls_connect(&c->tls, config, host, port, alpn, &conn_tls_events, c);
    return e ? e : tls_start(c->tls);
}

void conn_close(struct conn **c, enum stream_close_how how)
{
    struct conn *it = *c;
    *c = NULL;
    if (!it)
        return;
    if (how == STREAM_FLUSH && it->tls && tls_is_established(it->tls) && !it->failed && !it->shut) {
        if (conn_encrypt_pending(it) == ERR_OK)
            tls_close(it->tls);
    }
    it->closed = true;
    stream_close(&it->stream, how);
    if (it->busy == 0)
        conn_free(it);
}

const struct tls *conn_tls(const struct conn *c)
{
    return c->tls;
}

struct stream *conn_stream(const struct conn *c)
{
    return c->stream;
}

uint64_t conn_bytes_in(const struct conn *c)
{
    return c->bytes_in;
}

uint64_t conn_bytes_out(const struct conn *c)
{
    return c->bytes_out;
}
