/* backend.h: inside ring/ only. The loop's body, and the vtable behind which io_uring and epoll are alike.
 *
 * An `io` is one descriptor: embedded in its owner (a stream, a listener, one connection attempt), with at most one operation that takes in
 * (receive, accept) and one that puts out (send, connect). An operation that is pending belongs to the backend until `done` says
 * that there is no more of it, or cancel() says that it ended at once; only then may the owner go away. Owners change what they
 * want at any time and call io_touch(); their sync() asks the backend for it at the end of the turn, so that all of a turn's
 * operations are one submission. */
#ifndef RINGTAPE_RING_BACKEND_H
#define RINGTAPE_RING_BACKEND_H

#include "ring/chain.h"
#include "ring/loop.h"
#include "ring/wheel.h"

#include <errno.h>
#include <stdatomic.h>
#include <sys/socket.h>

enum { IO_PIECES = 16, IO_LATER = -EINPROGRESS };

struct io;

enum op_kind { OP_RECV, OP_ACCEPT, OP_SEND, OP_CONNECT, OP_WAKE };

struct completion {
    int res;          /* as of the system call: negative errno values */
    bool more;        /* the operation goes on by itself */
    struct span data; /* OP_RECV: dies when `done` returns */
};

struct op {
    struct io *io;
    void (*done)(struct io *io, const struct completion *c);
    enum op_kind kind;
    bool pending;    /* the backend has it */
    bool cancelling; /* asked to end; its last completion is still to come */
};

struct io_class {
    void (*sync)(struct io *io);    /* asks for what the owner wants now */
    void (*cut)(struct io *io);     /* the loop is being destroyed: give up */
    void (*release)(struct io *io); /* frees the owner; no operation is pending */
};

struct io {
    struct loop *loop;
    const struct io_class *class;
    int fd;
    struct op in, out;
    struct msghdr msg; /* what OP_SEND sends */
    struct iovec pieces[IO_PIECES];
    struct list link;    /* all of the loop's */
    struct list touched; /* to be synced; or dead */
    struct list ready;   /* the backend's */
    bool hold;           /* the owner wants no more now; a cancellation follows at the turn's end */
    bool single;         /* OP_ACCEPT: one, not as many as come */
    bool attached, readable, writable, hung_up; /* the backend's */
};

struct backend {
    const char *name;
    bool nonblocking; /* descriptors it works on must be O_NONBLOCK; otherwise they must not be */
    enum err (*open)(struct loop *loop, const struct loop_config *config);
    void (*close)(struct loop *loop);
    /* Entering and leaving loop_run(), on the loop's thread. */
    enum err (*enter)(struct loop *loop);
    void (*leave)(struct loop *loop);
    /* Submits, waits until `until_ns` (0: not at all) at most, sets loop->now_ns, completes. */
    enum err (*turn)(struct loop *loop, uint64_t until_ns);
    /* May one more io be synced before the next turn? */
    bool (*room)(struct loop *loop);
    enum err (*attach)(struct loop *loop, struct io *io);
    void (*detach)(struct loop *loop, struct io *io);
    /* Receives or accepts, over and over (unless io->single says once), until it ends or is cancelled. */
    void (*take)(struct loop *loop, struct io *io);
    /* These two give the result, or IO_LATER: then done() gets it. */
    int (*send)(struct loop *loop, struct io *io);
    int (*connect)(struct loop *loop, struct io *io, const struct sockaddr *address, socklen_t length);
    /* True: it has ended and `done` is not called. False: its last completion comes later. */
    bool (*cancel)(struct loop *loop, struct op *op);
};

extern const struct backend backend_uring, backend_epoll;

struct loop {
    struct scheduler scheduler;
    const struct backend *backend;
    void *state; /* the backend's */
    const struct log *log;
    bool no_connect, running;
    unsigned flush_ms;
    unsigned pending; /* operations that the backend has, but for its own */
    size_t closing;   /* streams that their owners have closed and that still have a descriptor */
    uint64_t now_ns;
    struct wheel wheel;
    struct chain_pool blocks;
    struct list ios, touched, held, dead;
    struct list hungry; /* listeners that wait for descriptors */
    struct task feed;   /* tries those again */
    int wake_fd;
    atomic_bool stopping;
    atomic_uint wakers;           /* other threads that are inside loop_post() or loop_stop() */
    _Atomic(struct post *) posts; /* a stack, newest first */
    struct {
        _Atomic uint64_t turns, submissions, accepts, connects, recv_bytes, send_bytes, sends, recvs, starved;
    } count;
};

/* Only the loop's thread writes a counter, so this needs no locked instruction. */
static inline void loop_count(_Atomic uint64_t *counter, uint64_t n)
{
    atomic_store_explicit(counter, atomic_load_explicit(counter, memory_order_relaxed) + n, memory_order_relaxed);
}

/* Moves all of `from` to the end of `to`. */
static inline void list_move_all(struct list *to, struct list *from)
{
    if (list_empty(from))
        return;
    from->next->prev = to->prev;
    to->prev->next = from->next;
    from->prev->next = to;
    to->prev = from->prev;
    list_init(from);
}

/* Takes fd (closed on failure). Fails with what attach() gives. */
MUST_USE enum err io_open(struct io *io, struct loop *loop, int fd, const struct io_class *class);

/* Syncs it at the end of this turn. */
static inline void io_touch(struct io *io)
{
    if (list_empty(&io->touched))
        list_push(&io->loop->touched, &io->touched);
}

static inline bool io_pending(const struct io *io)
{
    return io->in.pending || io->out.pending;
}

/* Cancels what is pending; true when nothing is (any more). */
bool io_quiet(struct io *io);

/* Nothing is pending: detaches, closes the descriptor unless it is -1 (taken), and releases the owner at the end of the turn. */
void io_close(struct io *io);

/* For sockets that came from elsewhere. */
enum err fd_set_blocking(int fd, bool blocking);

#endif
