/* listener.c: accepting. As long as the owner has room for a whole backlog, the kernel accepts all that come; below that, one after the
 * other, so that no more are accepted than there is room for. Invariants: what the kernel accepted before a pause took hold waits in `held` and is handed over on
 * resuming (or closed with the listener); a listener that ran out of descriptors, or of room, lies in the loop's `hungry` list
 * until some come back or a short while has passed. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/util.h"
#include "ring/backend.h"
#include "ring/internal.h"

#include <assert.h>
#include <unistd.h>

struct listener {
    struct io io;
    struct loop *loop;
    const struct listener_events *events;
    void *ctx;
    bool paused, closing, starved, told;
    bool many; /* the accept that is pending goes on by itself */
    int *held;
    size_t held_count, held_cap;
    struct list hungry;
    struct task deliver;
};

static void listener_hand_over(struct listener *l, int fd)
{
    struct sockaddr_storage peer;
    socklen_t length = sizeof peer;
    memset(&peer, 0, sizeof peer);
    /* Gone already: the callee finds that out from the descriptor. */
    if (getpeername(fd, (struct sockaddr *)&peer, &length) < 0)
        peer.ss_family = AF_UNSPEC;
    l->events->accepted(l->ctx, fd, &peer);
}

static void listener_hold(struct listener *l, int fd)
{
    if (l->held_count == l->held_cap) {
        size_t cap = MAX(16u, 2 * l->held_cap);
        int *grown = mem_resize(l->held, cap, sizeof *grown);
        if (!grown) {
            close(fd);
            return;
        }
        l->held = grown;
        l->held_cap = cap;
    }
    l->held[l->held_count++] = fd;
}

static void listener_deliver(struct task *task)
{
    struct listener *l = container_of(task, struct listener, deliver);
    while (l->held_count && !l->paused && !l->closing) {
        int fd = l->held[0];
        l->held_count--;
        memmove(l->held, l->held + 1, l->held_count * sizeof *l->held);
        listener_hand_over(l, fd);
    }
}

static size_t listener_room(const struct listener *l)
{
    if (l->paused)
        return 0;
    return l->events->room ? l->events->room(l->ctx) : SIZE_MAX;
}

static void listener_wait(struct listener *l)
{
    if (list_empty(&l->hungry))
        list_push(&l->loop->hungry, &l->hungry);
    if (!task_waiting(&l->loop->feed))
        loop_start(l->loop, &l->loop->feed, LIMIT_ACCEPT_RETRY_MS * NS_PER_MS);
}

static void listener_starve(struct listener *l, int error)
{
    if (!l->told)
        log_write(l->loop->log, LOG_WARN, "ring", "accepting: %s; trying again as descriptors come back",
                  strerror(error));
    l->told = true;
    l->starved = true;
    listener_wait(l);
}

void listener_feed(struct task *task)
{
    struct loop *loop = container_of(task, struct loop, feed);
    struct list *link;
    while ((link = list_pop(&loop->hungry))) {
        struct listener *l = container_of(link, struct listener, hungry);
        l->starved = false;
        io_touch(&l->io);
    }
}

static void listener_accepted(struct io *io, const struct completion *c)
{
    struct listener *l = container_of(io, struct listener, io);
    if (!c->more)
        io_touch(io);
    if (c->res >= 0) {
        loop_count(&l->loop->count.accepts, 1);
        if (l->closing)
            close(c->res);
        else if (l->paused || l->held_count)
            listener_hold(l, c->res);
        else
            listener_hand_over(l, c->res);
        if (!l->closing && l->events->room) {
            io->hold = listener_room(l) == 0;
            io_touch(io);
        }
        return;
    }
    switch (-c->res) {
    case ECANCELED:
    case EAGAIN:
    case EINTR:
    case ECONNABORTED:
    case EPROTO:
        break;
    default:
        if (!l->closing && !l->starved)
            listener_starve(l, -c->res);
    }
}

static void listener_sync(struct io *io)
{
    struct listener *l = container_of(io, struct listener, io);
    if (l->closing) {
        if (io_quiet(io))
            io_close(io);
        return;
    }
    size_t room = listener_room(l);
    io->hold = room == 0;
    io->single = room <= SOMAXCONN;
    if (room == 0 && !l->paused)
        listener_wait(l);
    if (!io->in.pending && room > 0 && !l->starved) {
        l->many = !io->single;
        l->loop->backend->take(l->loop, io);
    } else if (io->in.pending && !io->in.cancelling && (room == 0 || (io->single && l->many))) {
        if (l->loop->backend->cancel(l->loop, &io->in))
            io_touch(io); /* nobody else says that it has ended */
    }
}

static void listener_cut(struct io *io)
{
    (void)io;
    assert(container_of(io, struct listener, io)->closing);
}

static void listener_release(struct io *io)
{
    struct listener *l = container_of(io, struct listener, io);
    mem_free(l->held);
    mem_free(l);
}

static const struct io_class listener_class = {listener_sync, listener_cut, listener_release};

enum err listener_open(struct listener **out, struct loop *loop, int fd, const struct listener_events *events,
                       void *ctx)
{
    *out = NULL;
    struct listener *l = mem_new(1, sizeof *l);
    enum err e = l ? fd_set_blocking(fd, !loop->backend->nonblocking) : ERR_NOMEM;
    if (e) {
        mem_free(l);
        close(fd);
        return e;
    }
    l->loop = loop;
    l->events = events;
    l->ctx = ctx;
    list_init(&l->hungry);
    task_init(&l->deliver, listener_deliver);
    l->io.in.kind = OP_ACCEPT;
    l->io.in.done = listener_accepted;
    l->io.out.kind = OP_SEND; /* never used */
    e = io_open(&l->io, loop, fd, &listener_class);
    if (e) {
        mem_free(l);
        return e;
    }
    io_touch(&l->io);
    *out = l;
    return ERR_OK;
}

void listener_pause(struct listener *l)
{
    l->paused = l->io.hold = true;
    io_touch(&l->io);
}

void listener_resume(struct listener *l)
{
    if (!l->paused)
        return;
    l->paused = l->io.hold = false;
    if (l->held_count)
        loop_start(l->loop, &l->deliver, 0);
    io_touch(&l->io);
}

void listener_close(struct listener **closing)
{
    struct listener *l = *closing;
    *closing = NULL;
    if (!l)
        return;
    l->closing = true;
    /* From this moment on nobody is let in, although the descriptor itself lives until the kernel has let go of the accept: a loop that ends
     * before would leave others waiting in a backlog that nobody empties. */
    (void)shutdown(l->io.fd, SHUT_RDWR);
    loop_stop_task(l->loop, &l->deliver);
    list_remove(&l->hungry);
    for (size_t i = 0; i < l->held_count; i++)
        close(l->held[i]);
    l->held_count = 0;
    io_touch(&l->io);
}
