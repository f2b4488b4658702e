/* stream.c: a connected socket.
 *
 *   OPEN ──> FLUSHING ──> CLOSING ──> (freed when no operation is pending)
 *     └──────────────────────^
 *
 * Invariants: bytes that arrive while the owner has paused, or while earlier ones still wait, go to `held`, and the receive is not
 * armed again before `held` is empty: so nothing is lost or overtaken, and a paused stream keeps none of the loop's receive
 * buffers. The end (eof or a receive error) is told after the last held byte. What is being sent stays at the front of
 * `queue` until the kernel has taken it. A send error alone is not the end: what the peer said before it reset the connection is
 * still delivered, then `failed`. */
#include "ring/stream.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/util.h"
#include "ring/backend.h"
#include "ring/internal.h"

#include <assert.h>
#include <linux/sockios.h>
#include <linux/tcp.h> /* glibc's lacks tcpi_bytes_acked */
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <unistd.h>

enum stream_state { STREAM_OPEN, STREAM_FLUSHING, STREAM_CLOSING };

static const unsigned stream_next[] = {
    [STREAM_OPEN] = BIT(STREAM_FLUSHING) | BIT(STREAM_CLOSING),
    [STREAM_FLUSHING] = BIT(STREAM_CLOSING),
    [STREAM_CLOSING] = 0,
};

struct stream {
    struct io io;
    struct loop *loop;
    const struct stream_events *events;
    void *ctx;
    enum stream_state state;
    bool paused;
    bool eof, eof_told;
    bool failed; /* told */
    bool full;
    bool aborted;
    bool shutdown_wanted, shutdown_done;
    enum err recv_error, send_error;
    struct chain held, queue;
    struct list held_link; /* in loop->held: to be delivered */
    struct task linger;
    uint64_t acked; /* as of the linger timer's last look */
};

static void stream_enter(struct stream *s, enum stream_state to)
{
    assert(stream_next[s->state] & BIT(to));
    s->state = to;
    wheel_stop(&s->linger); /* its time may come in this very turn */
    list_remove(&s->held_link);
    io_touch(&s->io);
}

/* ---- ends ---- */

static void stream_fail(struct stream *s, enum err why)
{
    if (s->state == STREAM_FLUSHING) {
        stream_enter(s, STREAM_CLOSING);
    } else if (s->state == STREAM_OPEN && !s->failed) {
        s->failed = true;
        s->events->failed(s->ctx, why);
    }
}

/* The receiving side has ended and everything before that has been delivered. */
static void stream_tell_end(struct stream *s)
{
    if (s->recv_error) {
        stream_fail(s, s->recv_error);
    } else if (s->eof && s->send_error) {
        stream_fail(s, s->send_error);
    } else if (s->eof && !s->eof_told) {
        s->eof_told = true;
        if (s->state == STREAM_OPEN)
            s->events->eof(s->ctx);
    }
}

static bool stream_end_waits(const struct stream *s)
{
    return !s->failed && (s->recv_error || (s->eof && (s->send_error || !s->eof_told)));
}

/* ---- receiving ---- */

static bool stream_wants_bytes(const struct stream *s)
{
    if (s->state == STREAM_FLUSHING)
        return !s->eof && !s->recv_error;
    return !s->paused && !s->eof && !s->recv_error && !s->failed && s->held.n == 0;
}

static void stream_in_data(struct stream *s, struct span data)
{
    loop_count(&s->loop->count.recvs, 1);
    loop_count(&s->loop->count.recv_bytes, data.n);
    if (s->state != STREAM_OPEN || s->failed)
        return; /* only read so that closing does not reset the connection */
    if (!s->paused && s->held.n == 0) {
        s->events->data(s->ctx, data);
    } else if (!s->recv_error) {
        s->recv_error = chain_put(&s->held, &s->loop->blocks, data);
    }
}

static void stream_in_done(struct io *io, const struct completion *c)
{
    struct stream *s = container_of(io, struct stream, io);
    if (c->res > 0)
        stream_in_data(s, c->data);
    else if (c->res == 0)
        s->eof = true;
    else if (c->res != -ECANCELED && c->res != -EAGAIN && c->res != -EINTR && c->res != -ENOBUFS && !s->recv_error)
        s->recv_error = err_from_errno(-c->res);
    if (!c->more)
        io_touch(io);
    if (s->state != STREAM_CLOSING && !s->paused && s->held.n == 0 && stream_end_waits(s))
        stream_tell_end(s);
}

static void stream_sync_in(struct stream *s)
{
    struct op *in = &s->io.in;
    if (!in->pending && stream_wants_bytes(s))
        s->loop->backend->take(s->loop, &s->io);
    else if (in->pending && !in->cancelling && (s->paused || s->failed))
        s->loop->backend->cancel(s->loop, in);
}

/* Piece by piece, since the owner may pause or close at each. */
static void stream_deliver(struct stream *s)
{
    while (s->state == STREAM_OPEN && !s->paused && !s->failed && s->held.n) {
        struct span piece = chain_front(&s->held);
        s->events->data(s->ctx, piece);
        chain_consume(&s->held, &s->loop->blocks,
                      piece.n); /* after it: a closed stream keeps its blocks until it is freed */
    }
    if (s->state == STREAM_OPEN && !s->paused && s->held.n == 0 && stream_end_waits(s))
        stream_tell_end(s);
    if (s->state == STREAM_OPEN)
        io_touch(&s->io);
}

void stream_deliver_held(struct loop *loop)
{
    struct list batch, *link;
    list_init(&batch);
    list_move_all(&batch, &loop->held);
    while ((link = list_pop(&batch)))
        stream_deliver(container_of(link, struct stream, held_link));
}

void stream_pause(struct stream *s)
{
    assert(s->state == STREAM_OPEN);
    s->paused = s->io.hold = true;
    list_remove(&s->held_link);
    io_touch(&s->io);
}

void stream_resume(struct stream *s)
{
    assert(s->state == STREAM_OPEN);
    if (!s->paused)
        return;
    s->paused = s->io.hold = false;
    if (s->held.n || stream_end_waits(s))
        list_push(&s->loop->held, &s->held_link);
    io_touch(&s->io);
}

/* ---- sending ---- */

static void stream_check_drained(struct stream *s)
{
    if (!s->full || s->queue.n > LIMIT_SEND_LOW)
        return;
    s->full = false;
    if (s->state == STREAM_OPEN && !s->failed)
        s->events->drained(s->ctx);
}

/* The queue is dropped, so that whoever waits for it goes on; the receiving side brings the end, unless it has ended. */
static void stream_send_failed(struct stream *s, enum err why)
{
    s->send_error = why;
    chain_clear(&s->queue, &s->loop->blocks);
    if (s->state == STREAM_FLUSHING || s->eof_told) {
        stream_fail(s, why);
        return;
    }
    /* Whatever kind of error it was: what has arrived can still be read, then comes the end. */
    shutdown(s->io.fd, SHUT_RDWR);
    stream_check_drained(s);
}

static void stream_sent(struct stream *s, int res)
{
    if (res >= 0) {
        loop_count(&s->loop->count.sends, 1);
        loop_count(&s->loop->count.send_bytes, (uint64_t)res);
        chain_consume(&s->queue, &s->loop->blocks, (size_t)res);
        stream_check_drained(s);
    } else if (res != -EAGAIN && res != -EINTR && res != -ECANCELED) {
        stream_send_failed(s, err_from_errno(-res));
    }
}

static void stream_out_done(struct io *io, const struct completion *c)
{
    struct stream *s = container_of(io, struct stream, io);
    if (s->state != STREAM_CLOSING)
        stream_sent(s, c->res);
    if (s->queue.n || s->shutdown_wanted || s->state != STREAM_OPEN)
        io_touch(io);
}

/* A kernel that takes all at once may be asked again, but not for ever. */
static void stream_sync_out(struct stream *s)
{
    enum { SENDS = 4 };
    for (unsigned i = 0; i < SENDS && s->queue.n && !s->io.out.pending && s->state != STREAM_CLOSING; i++) {
        s->io.msg.msg_iov = s->io.pieces;
        s->io.msg.msg_iovlen = chain_pieces(&s->queue, s->io.pieces, IO_PIECES);
        int res = s->loop->backend->send(s->loop, &s->io);
        if (res != IO_LATER)
            stream_sent(s, res);
    }
    if (s->queue.n && !s->io.out.pending)
        io_touch(&s->io);
    if (s->queue.n == 0 && s->shutdown_wanted && !s->shutdown_done && !s->send_error && s->state != STREAM_CLOSING) {
        s->shutdown_done = true;
        if (s->state == STREAM_FLUSHING) /* the kernel sees to the rest; the peer's FIN is not waited for as long */
            loop_start(s->loop, &s->linger, LIMIT_SHUTDOWN_MS * NS_PER_MS);
        if (shutdown(s->io.fd, SHUT_WR) < 0)
            stream_send_failed(s, err_from_errno(errno));
    }
}

enum err stream_send(struct stream *s, struct span bytes)
{
    assert(s->state == STREAM_OPEN && !s->shutdown_wanted);
    if (s->failed || s->send_error || bytes.n == 0)
        return ERR_OK;
    enum err e = chain_put(&s->queue, &s->loop->blocks, bytes);
    if (e)
        return e;
    if (s->queue.n >= LIMIT_SEND_HIGH)
        s->full = true;
    if (!s->io.out.pending)
        io_touch(&s->io);
    return ERR_OK;
}

size_t stream_queued(const struct stream *s)
{
    return s->queue.n;
}

bool stream_full(const struct stream *s)
{
    return s->full;
}

void stream_shutdown(struct stream *s)
{
    assert(s->state == STREAM_OPEN);
    s->shutdown_wanted = true;
    io_touch(&s->io);
}

/* ---- closing ---- */

/* Has the peer taken anything since the last look? */
static bool stream_progresses(struct stream *s)
{
    struct tcp_info info;
    socklen_t length = sizeof info;
    memset(&info, 0, sizeof info);
    if (getsockopt(s->io.fd, IPPROTO_TCP, TCP_INFO, &info, &length) < 0)
        return false;
    bool moved = info.tcpi_bytes_acked != s->acked;
    s->acked = info.tcpi_bytes_acked;
    return moved;
}

static bool stream_unacknowledged(const struct stream *s)
{
    int bytes = 0;
    return ioctl(s->io.fd, SIOCOUTQ, &bytes) == 0 && bytes > 0;
}

/* A peer may pause for a while (a program that works on what it has); what it has not been sent would be lost. */
static void stream_linger(struct stream *s)
{
    loop_start(s->loop, &s->linger, (s->queue.n ? s->loop->flush_ms : LIMIT_SHUTDOWN_MS) * NS_PER_MS);
}

static void stream_linger_over(struct task *task)
{
    struct stream *s = container_of(task, struct stream, linger);
    if (stream_progresses(s) && stream_unacknowledged(s))
        stream_linger(s);
    else
        stream_enter(s, STREAM_CLOSING);
}

static void stream_sync_closing(struct stream *s)
{
    if (!io_quiet(&s->io))
        return;
    wheel_stop(&s->linger);
    if (s->queue.n || (s->aborted && s->held.n)) {
        struct linger hard = {.l_onoff = 1, .l_linger = 0};
        setsockopt(s->io.fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    }
    io_close(&s->io);
}

static void stream_sync(struct io *io)
{
    struct stream *s = container_of(io, struct stream, io);
    if (s->state != STREAM_CLOSING)
        stream_sync_out(s);
    if (s->state == STREAM_FLUSHING && ((s->shutdown_done && s->eof) || s->send_error || s->recv_error))
        stream_enter(s, STREAM_CLOSING);
    if (s->state == STREAM_CLOSING) {
        list_remove(&io->touched);
        stream_sync_closing(s);
    } else {
        stream_sync_in(s);
    }
}

static void stream_flush(struct stream *s)
{
    bool slow = s->queue.n > 0;
    s->paused = s->io.hold = false;
    if (slow)
        (void)stream_progresses(s);
    stream_enter(s, STREAM_FLUSHING);
    s->shutdown_wanted = true;
    stream_linger(s);
}

void stream_close(struct stream **closing, enum stream_close_how how)
{
    struct stream *s = *closing;
    *closing = NULL;
    if (!s)
        return;
    assert(s->state == STREAM_OPEN);
    s->loop->closing++;
    s->aborted = how == STREAM_ABORT;
    bool dead = s->failed || s->send_error || s->recv_error;
    bool done = s->queue.n == 0 && s->eof;
    if (how == STREAM_FLUSH && !dead && !done)
        stream_flush(s);
    else
        stream_enter(s, STREAM_CLOSING);
}

static void stream_cut(struct io *io)
{
    struct stream *s = container_of(io, struct stream, io);
    assert(s->state != STREAM_OPEN);
    if (s->state == STREAM_FLUSHING)
        stream_enter(s, STREAM_CLOSING);
}

static void stream_release(struct io *io)
{
    struct stream *s = container_of(io, struct stream, io);
    wheel_stop(&s->linger);
    s->loop->closing -= s->state != STREAM_OPEN;
    list_remove(&s->held_link);
    chain_clear(&s->held, &s->loop->blocks);
    chain_clear(&s->queue, &s->loop->blocks);
    mem_free(s);
}

/* ---- opening ---- */

static const struct io_class stream_class = {stream_sync, stream_cut, stream_release};

enum err stream_open(struct stream **out, struct loop *loop, int fd, const struct stream_events *events, void *ctx)
{
    *out = NULL;
    struct stream *s = mem_new(1, sizeof *s);
    if (!s) {
        close(fd);
        return ERR_NOMEM;
    }
    s->loop = loop;
    s->events = events;
    s->ctx = ctx;
    list_init(&s->held_link);
    task_init(&s->linger, stream_linger_over);
    s->io.in.kind = OP_RECV;
    s->io.in.done = stream_in_done;
    s->io.out.kind = OP_SEND;
    s->io.out.done = stream_out_done;
    enum err e = io_open(&s->io, loop, fd, &stream_class);
    if (e) {
        mem_free(s);
        return e;
    }
    static const int on = 1;
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on); /* not TCP (a test's pair): nothing to switch off */
    io_touch(&s->io);
    *out = s;
    return ERR_OK;
}

void stream_set_events(struct stream *s, const struct stream_events *events, void *ctx)
{
    s->events = events;
    s->ctx = ctx;
}

bool stream_peer(const struct stream *s, struct sockaddr_storage *out)
{
    socklen_t length = sizeof *out;
    memset(out, 0, sizeof *out);
    return getpeername(s->io.fd, (struct sockaddr *)out, &length) == 0;
}

bool stream_local(const struct stream *s, struct sockaddr_storage *out)
{
    socklen_t length = sizeof *out;
    memset(out, 0, sizeof *out);
    return getsockname(s->io.fd, (struct sockaddr *)out, &length) == 0;
}

size_t stream_count_flushing(const struct loop *loop)
{
    size_t n = 0;
    for (struct list *it = loop->ios.next; it != &loop->ios; it = it->next) {
        struct io *io = container_of(it, struct io, link);
        if (io->class == &stream_class) {
            const struct stream *s = container_of(io, struct stream, io);
            n += s->state == STREAM_FLUSHING && s->queue.n > 0;
        }
    }
    return n;
}

size_t stream_count_closing(const struct loop *loop)
{
    return loop->closing;
}
