/* loop.c: what both backends share: timers, posts, the order of a turn, and the end of things.
 *
 * A turn: sync what was touched -> submit and wait -> completions -> posts -> timers -> held bytes -> free the dead.
 * Invariants: nothing is freed but at a turn's end, so a callback may close whatever it likes; only the loop's thread sees
 * anything but the posts, the stop flag, the wake descriptor and the counters. */
#include "ring/loop.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/util.h"
#include "ring/backend.h"
#include "ring/internal.h"

#include <assert.h>
#include <fcntl.h>
#include <sched.h>
#include <sys/eventfd.h>
#include <unistd.h>

/* ---- timers ---- */

static void scheduler_start(struct scheduler *scheduler, struct task *task, uint64_t delay_ns)
{
    struct loop *loop = container_of(scheduler, struct loop, scheduler);
    if (!loop->running)
        loop->now_ns = clock_mono_ns();
    uint64_t due = delay_ns > WHEEL_NEVER - loop->now_ns ? WHEEL_NEVER : loop->now_ns + delay_ns;
    wheel_start(&loop->wheel, task, MIN(due, WHEEL_NEVER >> 1));
}

static void scheduler_stop(struct scheduler *scheduler, struct task *task)
{
    (void)scheduler;
    wheel_stop(task);
}

static uint64_t scheduler_now_ns(const struct scheduler *scheduler)
{
    const struct loop *loop = (const struct loop *)scheduler;
    return loop->now_ns;
}
_Static_assert(offsetof(struct loop, scheduler) == 0, "scheduler_now_ns() takes one for the other");

void loop_start(struct loop *loop, struct task *task, uint64_t delay_ns)
{
    scheduler_start(&loop->scheduler, task, delay_ns);
}

void loop_stop_task(struct loop *loop, struct task *task)
{
    scheduler_stop(&loop->scheduler, task);
}

uint64_t loop_now_ns(const struct loop *loop)
{
    return loop->now_ns;
}

struct scheduler *loop_scheduler(struct loop *loop)
{
    return &loop->scheduler;
}

/* ---- other threads ---- */

static void loop_wake(struct loop *loop)
{
    static const uint64_t one = 1;
    ssize_t n;
    do
        n = write(loop->wake_fd, &one, sizeof one);
    while (n < 0 && errno == EINTR);
}

void loop_stop(struct loop *loop)
{
    int saved = errno; /* a signal handler may call this */
    atomic_fetch_add_explicit(&loop->wakers, 1, memory_order_acq_rel);
    atomic_store_explicit(&loop->stopping, true, memory_order_release);
    loop_wake(loop);
    atomic_fetch_sub_explicit(&loop->wakers, 1, memory_order_release);
    errno = saved;
}

/* Whoever finds the stack empty wakes the loop. It takes the whole stack after each wake-up was read, so a post that found
 * another one there is taken with it. */
void loop_post(struct loop *loop, struct post *post)
{
    atomic_fetch_add_explicit(&loop->wakers, 1, memory_order_acq_rel);
    struct post *head = atomic_load_explicit(&loop->posts, memory_order_relaxed);
    do
        post->next = head;
    while (
        !atomic_compare_exchange_weak_explicit(&loop->posts, &head, post, memory_order_acq_rel, memory_order_relaxed));
    if (!head)
        loop_wake(loop);
    atomic_fetch_sub_explicit(&loop->wakers, 1, memory_order_release);
}

/* A post can be taken, and with it the last reason for the loop to live, before its sender has written to wake_fd: that write
 * must not meet a descriptor that is something else by now. */
static void wakers_leave(struct loop *loop)
{
    while (atomic_load_explicit(&loop->wakers, memory_order_acquire))
        sched_yield();
}

/* Oldest first. */
static struct post *posts_take(struct loop *loop)
{
    struct post *newest = atomic_exchange_explicit(&loop->posts, NULL, memory_order_acq_rel), *oldest = NULL;
    while (newest) {
        struct post *next = newest->next;
        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

static void posts_run(struct loop *loop)
{
    if (!atomic_load_explicit(&loop->posts, memory_order_relaxed))
        return;
    for (struct post *p = posts_take(loop); p;) {
        struct post *next = p->next;
        p->run(p);
        p = next;
    }
}

/* ---- descriptors ---- */

enum err fd_set_blocking(int fd, bool blocking)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0)
        return err_from_errno(errno);
    int wanted = blocking ? flags & ~O_NONBLOCK : flags | O_NONBLOCK;
    if (wanted != flags && fcntl(fd, F_SETFL, wanted) < 0)
        return err_from_errno(errno);
    return ERR_OK;
}

enum err io_open(struct io *io, struct loop *loop, int fd, const struct io_class *class)
{
    io->loop = loop;
    io->class = class;
    io->fd = fd;
    io->in.io = io->out.io = io;
    list_init(&io->touched);
    list_init(&io->ready);
    list_init(&io->link);
    io->writable = true;
    enum err e = loop->backend->attach(loop, io);
    if (e) {
        close(fd);
        return e;
    }
    list_push(&loop->ios, &io->link);
    return ERR_OK;
}

bool io_quiet(struct io *io)
{
    if (io->in.pending && !io->in.cancelling)
        io->loop->backend->cancel(io->loop, &io->in);
    if (io->out.pending && !io->out.cancelling)
        io->loop->backend->cancel(io->loop, &io->out);
    return !io_pending(io);
}

void io_close(struct io *io)
{
    assert(!io_pending(io));
    struct loop *loop = io->loop;
    loop->backend->detach(loop, io);
    if (io->fd >= 0) {
        close(io->fd);
        io->fd = -1;
        if (!list_empty(&loop->hungry))
            loop_start(loop, &loop->feed, 0);
    }
    list_remove(&io->link);
    list_remove(&io->ready);
    list_remove(&io->touched);
    list_push(&loop->dead, &io->touched);
}

static void loop_bury(struct loop *loop)
{
    struct list *link;
    while ((link = list_pop(&loop->dead))) {
        struct io *io = container_of(link, struct io, touched);
        io->class->release(io);
    }
}

/* ---- life ---- */

static enum err loop_open_backend(struct loop *loop, const struct loop_config *config)
{
    enum err e = ERR_UNSUPPORTED;
    if (config->backend != LOOP_EPOLL) {
        loop->backend = &backend_uring;
        e = loop->backend->open(loop, config);
    }
    if (config->backend == LOOP_EPOLL || (config->backend == LOOP_AUTO && e == ERR_UNSUPPORTED)) {
        loop->backend = &backend_epoll;
        e = loop->backend->open(loop, config);
    }
    return e;
}

enum err loop_create(struct loop **out, const struct loop_config *config)
{
    *out = NULL;
    struct loop *loop = mem_new(1, sizeof *loop);
    if (!loop)
        return ERR_NOMEM;
    loop->scheduler = (struct scheduler){scheduler_start, scheduler_stop, scheduler_now_ns};
    loop->log = config->log;
    loop->no_connect = config->no_connect;
    loop->flush_ms = config->flush_ms ? config->flush_ms : LIMIT_FLUSH_MS;
    loop->now_ns = clock_mono_ns();
    wheel_init(&loop->wheel, loop->now_ns);
    list_init(&loop->ios);
    list_init(&loop->touched);
    list_init(&loop->held);
    list_init(&loop->dead);
    list_init(&loop->hungry);
    task_init(&loop->feed, listener_feed);
    atomic_init(&loop->stopping, false);
    atomic_init(&loop->wakers, 0);
    atomic_init(&loop->posts, NULL);
    /* Blocking: io_uring reads it when there is something; epoll never reads it at all. */
    loop->wake_fd = eventfd(0, EFD_CLOEXEC);
    enum err e = loop->wake_fd < 0 ? err_from_errno(errno) : loop_open_backend(loop, config);
    if (e) {
        if (loop->wake_fd >= 0)
            close(loop->wake_fd);
        mem_free(loop);
        return e;
    }
    *out = loop;
    return ERR_OK;
}

const char *loop_backend_name(const struct loop *loop)
{
    return loop->backend->name;
}

/* Syncs what is touched now; what that touches again waits for the next turn, so a fast sink cannot hold up the rest. */
static void loop_sync(struct loop *loop)
{
    struct list batch, *link;
    list_init(&batch);
    list_move_all(&batch, &loop->touched);
    while (!list_empty(&batch) && loop->backend->room(loop)) {
        link = list_pop(&batch);
        struct io *io = container_of(link, struct io, touched);
        io->class->sync(io);
    }
    list_move_all(&batch, &loop->touched);
    list_move_all(&loop->touched, &batch);
}

static uint64_t loop_until_ns(struct loop *loop)
{
    if (!list_empty(&loop->touched) || !list_empty(&loop->held))
        return 0;
    return wheel_next_ns(&loop->wheel);
}

static enum err loop_turn(struct loop *loop, uint64_t at_most_ns)
{
    loop_sync(loop);
    loop_bury(loop);
    uint64_t until = loop_until_ns(loop);
    enum err e = loop->backend->turn(loop, MIN(until, at_most_ns));
    loop_count(&loop->count.turns, 1);
    posts_run(loop);
    wheel_run(&loop->wheel, loop->now_ns);
    stream_deliver_held(loop);
    loop_bury(loop);
    return e;
}

enum err loop_run(struct loop *loop)
{
    assert(!loop->running);
    enum err e = loop->backend->enter(loop);
    if (e)
        return e;
    loop->running = true;
    loop->now_ns = clock_mono_ns();
    while (!e && !atomic_load_explicit(&loop->stopping, memory_order_acquire))
        e = loop_turn(loop, WHEEL_NEVER);
    atomic_store_explicit(&loop->stopping, false, memory_order_relaxed);
    loop->running = false;
    loop->backend->leave(loop);
    return e;
}

/* Everything has been told to give up; waits until the kernel has let go of it. That takes the thread which submitted it: from
 * another one (its thread has ended then, and with it the kernel ended its operations) the backend is closed first. */
static void loop_drain(struct loop *loop)
{
    LIST_FOREACH (link, &loop->ios) {
        struct io *io = container_of(link, struct io, link);
        io->class->cut(io);
    }
    enum { DRAIN_TURNS = 1000 };
    if (loop->backend->enter(loop) == ERR_OK) {
        loop->running = true;
        for (unsigned i = 0; i < DRAIN_TURNS && !list_empty(&loop->ios); i++) {
            loop_sync(loop);
            loop_bury(loop);
            uint64_t until = list_empty(&loop->touched) ? clock_mono_ns() + 100 * NS_PER_MS : 0;
            if (list_empty(&loop->ios) || loop->backend->turn(loop, until))
                break;
        }
        loop->running = false;
        loop->backend->leave(loop);
    }
    loop_bury(loop);
}

void loop_destroy(struct loop **closing)
{
    struct loop *loop = *closing;
    *closing = NULL;
    if (!loop)
        return;
    assert(!loop->running);
    loop_drain(loop);
    wakers_leave(loop);
    loop->backend->close(loop);
    while (!list_empty(&loop->ios)) {
        struct io *io = container_of(loop->ios.next, struct io, link);
        io->in.pending = io->out.pending = false;
        io->fd = io->fd >= 0 ? (close(io->fd), -1) : -1;
        list_remove(&io->link);
        io->class->release(io);
    }
    /* Other owners' posts were theirs to wait for; an answer for a dial that was cancelled belongs to nobody else. */
    for (struct post *p = posts_take(loop), *next; p; p = next) {
        next = p->next;
        if (p->run == lookup_answered)
            p->run(p);
    }
    chain_pool_free(&loop->blocks);
    close(loop->wake_fd);
    mem_free(loop);
}

void loop_counters(const struct loop *loop, struct loop_counters *out)
{
#define LOOP_COUNTER(name) .name = atomic_load_explicit(&loop->count.name, memory_order_relaxed)
    *out = (struct loop_counters){
        LOOP_COUNTER(turns),    LOOP_COUNTER(submissions), LOOP_COUNTER(accepts),
        LOOP_COUNTER(connects), LOOP_COUNTER(recv_bytes),  LOOP_COUNTER(send_bytes),
        LOOP_COUNTER(sends),    LOOP_COUNTER(recvs),       LOOP_COUNTER(starved),
    };
#undef LOOP_COUNTER
}
