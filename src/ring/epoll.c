/* epoll.c: the backend for where io_uring is refused. It plays io_uring: operations stay pending and complete from the loop.
 *
 * Edge-triggered, registered once for both directions: an io remembers that it may be readable or writable until a call says
 * EAGAIN (or gives less than was asked for), so a busy connection costs no epoll_ctl() at all. What is readable and wanted lies in
 * `ready`; a turn that leaves something there does not sleep. Invariant: an io in `ready` has its `in` pending. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/util.h"
#include "ring/backend.h"

#include <assert.h>
#include <limits.h>
#include <sys/epoll.h>
#include <unistd.h>

enum {
    EPOLL_EVENTS = 256,
    EPOLL_READS = 4,    /* of one stream in one turn */
    EPOLL_ACCEPTS = 64, /* of one listener in one turn */
    EPOLL_SCRATCH = 4,  /* receive buffers in one read */
};

struct poller {
    int fd;
    struct list ready;
    uint8_t *scratch;
    size_t scratch_bytes;
    struct epoll_event events[EPOLL_EVENTS];
};

static void epoll_close(struct loop *loop)
{
    struct poller *p = loop->state;
    if (p->fd >= 0)
        close(p->fd);
    mem_free(p->scratch);
    mem_free(p);
    loop->state = NULL;
}

static enum err epoll_open(struct loop *loop, const struct loop_config *config)
{
    struct poller *p = mem_new(1, sizeof *p);
    if (!p)
        return ERR_NOMEM;
    loop->state = p;
    list_init(&p->ready);
    p->scratch_bytes =
        (size_t)EPOLL_SCRATCH * (config->recv_buffer_bytes ? config->recv_buffer_bytes : LIMIT_RECV_BUFFER_BYTES);
    p->scratch = mem_new(p->scratch_bytes, 1);
    p->fd = epoll_create1(EPOLL_CLOEXEC);
    enum err e = !p->scratch ? ERR_NOMEM : p->fd < 0 ? err_from_errno(errno) : ERR_OK;
    /* Each write to an eventfd is an edge of its own, so it need not be read. */
    struct epoll_event wake = {.events = EPOLLIN | EPOLLET, .data.ptr = NULL};
    if (!e && epoll_ctl(p->fd, EPOLL_CTL_ADD, loop->wake_fd, &wake) < 0)
        e = err_from_errno(errno);
    if (e)
        epoll_close(loop);
    return e;
}

static enum err epoll_enter(struct loop *loop)
{
    (void)loop;
    return ERR_OK;
}

static void epoll_leave(struct loop *loop)
{
    (void)loop;
}

static bool epoll_room(struct loop *loop)
{
    (void)loop;
    return true;
}

static enum err epoll_attach(struct loop *loop, struct io *io)
{
    struct poller *p = loop->state;
    struct epoll_event e = {.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, .data.ptr = io};
    if (io->out.kind == OP_CONNECT) /* a socket that does not connect yet would report a hang-up */
        return ERR_OK;
    if (epoll_ctl(p->fd, EPOLL_CTL_ADD, io->fd, &e) < 0)
        return err_from_errno(errno);
    io->attached = true;
    return ERR_OK;
}

/* Not left to close(): while a child that was just forked still has the descriptor, the registration would live on. */
static void epoll_detach(struct loop *loop, struct io *io)
{
    struct poller *p = loop->state;
    if (io->attached)
        epoll_ctl(p->fd, EPOLL_CTL_DEL, io->fd, NULL);
    io->attached = false;
}

static void epoll_begin(struct loop *loop, struct op *op)
{
    assert(!op->pending);
    op->pending = true;
    loop->pending++;
}

static void epoll_end(struct loop *loop, struct op *op)
{
    op->pending = false;
    loop->pending--;
}

static void epoll_take(struct loop *loop, struct io *io)
{
    struct poller *p = loop->state;
    epoll_begin(loop, &io->in);
    if (io->readable && list_empty(&io->ready))
        list_push(&p->ready, &io->ready);
}

static int epoll_send(struct loop *loop, struct io *io)
{
    if (io->writable) {
        ssize_t n;
        do
            n = sendmsg(io->fd, &io->msg, MSG_NOSIGNAL | MSG_DONTWAIT);
        while (n < 0 && errno == EINTR);
        if (n >= 0)
            return (int)n;
        if (errno != EAGAIN)
            return -errno;
        io->writable = false;
    }
    epoll_begin(loop, &io->out);
    return IO_LATER;
}

static int epoll_connect(struct loop *loop, struct io *io, const struct sockaddr *address, socklen_t length)
{
    struct poller *p = loop->state;
    if (connect(io->fd, address, length) == 0)
        return 0;
    if (errno != EINPROGRESS && errno != EINTR)
        return -errno;
    struct epoll_event e = {.events = EPOLLOUT | EPOLLET, .data.ptr = io};
    if (epoll_ctl(p->fd, EPOLL_CTL_ADD, io->fd, &e) < 0)
        return -errno;
    io->attached = true;
    epoll_begin(loop, &io->out);
    return IO_LATER;
}

static bool epoll_cancel(struct loop *loop, struct op *op)
{
    if (op == &op->io->in)
        list_remove(&op->io->ready);
    epoll_end(loop, op);
    return true;
}

/* ---- completing ---- */

/* One operation that goes on by itself unless it failed or ended. */
static void epoll_took(struct loop *loop, struct io *io, int res, struct span data)
{
    bool more = res > 0 || (res == 0 && io->in.kind == OP_ACCEPT);
    struct completion c = {.res = res, .more = more, .data = data};
    if (!more)
        epoll_end(loop, &io->in);
    io->in.done(io, &c);
}

static void epoll_receive(struct loop *loop, struct io *io)
{
    struct poller *p = loop->state;
    for (unsigned i = 0; i < EPOLL_READS && io->in.pending && io->readable && !io->hold; i++) {
        ssize_t n = recv(io->fd, p->scratch, p->scratch_bytes, MSG_DONTWAIT);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0 && errno == EAGAIN) {
            io->readable = false;
            return;
        }
        /* Less than asked for: nothing is left, and what comes now is a new edge. An end that was reported already is not. */
        if (n > 0 && (size_t)n < p->scratch_bytes && !io->hung_up)
            io->readable = false;
        epoll_took(loop, io, n < 0 ? -errno : (int)n, n > 0 ? span_of(p->scratch, (size_t)n) : SPAN_EMPTY);
    }
}

static void epoll_accept(struct loop *loop, struct io *io)
{
    for (unsigned i = 0; i < EPOLL_ACCEPTS && io->in.pending && io->readable && !io->hold; i++) {
        int fd = accept4(io->fd, NULL, NULL, SOCK_CLOEXEC);
        if (fd < 0 && errno == EINTR)
            continue;
        if (fd < 0 && errno == EAGAIN) {
            io->readable = false;
            return;
        }
        epoll_took(loop, io, fd < 0 ? -errno : fd, SPAN_EMPTY);
    }
}

static void epoll_put_out(struct loop *loop, struct io *io)
{
    int res = 0;
    if (io->out.kind == OP_CONNECT) {
        socklen_t length = sizeof res;
        if (getsockopt(io->fd, SOL_SOCKET, SO_ERROR, &res, &length) < 0)
            res = errno;
        res = -res;
    } else {
        epoll_end(loop, &io->out);
        res = epoll_send(loop, io);
        if (res == IO_LATER)
            return;
        epoll_begin(loop, &io->out);
    }
    epoll_end(loop, &io->out);
    io->out.done(io, &(struct completion){.res = res});
}

static void epoll_event(struct loop *loop, const struct epoll_event *e)
{
    struct poller *p = loop->state;
    struct io *io = e->data.ptr;
    if (!io || io->fd < 0)
        return;
    if (e->events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR)) {
        io->readable = true;
        io->hung_up |= (e->events & (EPOLLRDHUP | EPOLLHUP | EPOLLERR)) != 0;
        if (io->in.pending && list_empty(&io->ready))
            list_push(&p->ready, &io->ready);
    }
    if (e->events & (EPOLLOUT | EPOLLHUP | EPOLLERR)) {
        io->writable = true;
        if (io->out.pending)
            epoll_put_out(loop, io);
    }
}

static void epoll_complete_ready(struct loop *loop)
{
    struct poller *p = loop->state;
    struct list batch, *link;
    list_init(&batch);
    list_move_all(&batch, &p->ready);
    while ((link = list_pop(&batch))) {
        struct io *io = container_of(link, struct io, ready);
        if (io->in.kind == OP_RECV)
            epoll_receive(loop, io);
        else
            epoll_accept(loop, io);
        if (io->in.pending && io->readable && list_empty(&io->ready))
            list_push(&p->ready, &io->ready);
    }
}

static int epoll_timeout_ms(const struct poller *p, uint64_t until_ns)
{
    if (until_ns == 0 || !list_empty(&p->ready))
        return 0;
    if (until_ns == WHEEL_NEVER)
        return -1;
    uint64_t now = clock_mono_ns();
    uint64_t ms = until_ns > now ? (until_ns - now + NS_PER_MS - 1) / NS_PER_MS : 0;
    return (int)MIN(ms, (uint64_t)INT_MAX);
}

static enum err epoll_turn(struct loop *loop, uint64_t until_ns)
{
    struct poller *p = loop->state;
    int n = epoll_wait(p->fd, p->events, EPOLL_EVENTS, epoll_timeout_ms(p, until_ns));
    int error = errno;
    loop->now_ns = clock_mono_ns();
    for (int i = 0; i < n; i++)
        epoll_event(loop, &p->events[i]);
    epoll_complete_ready(loop);
    if (n < 0 && error != EINTR) {
        log_write(loop->log, LOG_ERROR, "ring", "epoll_wait: %s", strerror(error));
        return ERR_IO;
    }
    return ERR_OK;
}

const struct backend backend_epoll = {
    .name = "epoll",
    .nonblocking = true,
    .open = epoll_open,
    .close = epoll_close,
    .enter = epoll_enter,
    .leave = epoll_leave,
    .turn = epoll_turn,
    .room = epoll_room,
    .attach = epoll_attach,
    .detach = epoll_detach,
    .take = epoll_take,
    .send = epoll_send,
    .connect = epoll_connect,
    .cancel = epoll_cancel,
};
