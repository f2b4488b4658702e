/* loop.h: the event loop of one thread. io_uring where the kernel allows it, epoll where not; the same behaviour.
 * Created on any thread; loop_run() and everything but loop_post(), loop_stop() and loop_wake() belong to the one thread that
 * runs it. Callbacks run from the loop only, never inside the caller's call. */
#ifndef RINGTAPE_RING_LOOP_H
#define RINGTAPE_RING_LOOP_H

#include "base/err.h"
#include "base/log.h"
#include "base/task.h"

#include <stdbool.h>
#include <stdint.h>

struct loop;

enum loop_backend { LOOP_AUTO, LOOP_IO_URING, LOOP_EPOLL };

struct loop_config {
    enum loop_backend backend;  /* LOOP_AUTO: io_uring, or epoll (logged once by the caller) where it is refused */
    unsigned recv_buffers;      /* power of two; 0: LIMIT_RECV_BUFFERS */
    unsigned recv_buffer_bytes; /* 0: LIMIT_RECV_BUFFER_BYTES */
    unsigned completions;       /* size of the completion queue; 0: 4 x recv_buffers. Tests use tiny ones */
    unsigned flush_ms;          /* 0: LIMIT_FLUSH_MS. Tests use a short one */
    bool no_connect;       /* replay: io_uring restrictions exclude IORING_OP_CONNECT; dials fail with ERR_PERMISSION */
    const struct log *log; /* borrowed, may be NULL */
};

/* Fails with ERR_UNSUPPORTED (that backend is refused by the kernel or the container), ERR_NO_FDS, ERR_NOMEM, ERR_IO. */
MUST_USE enum err loop_create(struct loop **out, const struct loop_config *config);

/* Nothing of the loop's may be open any more, but for closed streams that still flush: those are cut. Clears *closing. */
void loop_destroy(struct loop **closing);

/* "io_uring" or "epoll". Static. */
const char *loop_backend_name(const struct loop *loop);

/* Is io_uring usable here? One cheap try; used to choose for all threads at once, and by --version. */
bool loop_io_uring_usable(void);

/* Runs until loop_stop(). Fails with ERR_IO or ERR_NOMEM when the kernel refuses to go on. */
MUST_USE enum err loop_run(struct loop *loop);

/* Any thread, and signal-safe: loop_run() returns after this turn. */
void loop_stop(struct loop *loop);

/* Monotonic nanoseconds as of this turn. */
uint64_t loop_now_ns(const struct loop *loop);

/* The loop's timers, as base/task.h's interface. Borrowed; lives as long as the loop. */
struct scheduler *loop_scheduler(struct loop *loop);

/* Shorthands for the scheduler's functions. */
void loop_start(struct loop *loop, struct task *task, uint64_t delay_ns);
void loop_stop_task(struct loop *loop, struct task *task);

/* A message from another thread. Embedded in its owner; must stay alive until `run` is called on the loop's thread. A post that is
 * already queued must not be posted again. */
struct post {
    struct post *next; /* the loop's */
    void (*run)(struct post *post);
};
void loop_post(struct loop *loop, struct post *post);

/* liburing's: "2.3". Static. */
const char *loop_library_version(void);

struct loop_counters {
    uint64_t turns, submissions, accepts, connects, recv_bytes, send_bytes, sends, recvs, starved;
};
/* Exact on the loop's own thread; other threads may read it for display (relaxed). */
void loop_counters(const struct loop *loop, struct loop_counters *out);

#endif
