/* wheel.h: the loop's timers, a hierarchical timing wheel with a tick of about a millisecond. A task never runs early. Moving
 * a waiting task to a later time, which every packet of every idle timeout does, is one store. */
#ifndef RINGTAPE_RING_WHEEL_H
#define RINGTAPE_RING_WHEEL_H

#include "base/task.h"

#include <stdbool.h>

enum {
    WHEEL_TICK_SHIFT = 20, /* a tick is 2^20 ns */
    WHEEL_BITS = 6,
    WHEEL_SLOTS = 1 << WHEEL_BITS,
    WHEEL_LEVELS = 8, /* 48 bits of ticks: more than 64 bits of nanoseconds can ask for */
};

#define WHEEL_NEVER UINT64_MAX

struct wheel {
    uint64_t tick;                   /* every slot up to this one has been emptied */
    uint64_t occupied[WHEEL_LEVELS]; /* a bit may be stale: its slot is empty then */
    struct list slots[WHEEL_LEVELS][WHEEL_SLOTS];
    struct list ready; /* due at once */
};

void wheel_init(struct wheel *w, uint64_t now_ns);
void wheel_start(struct wheel *w, struct task *task, uint64_t due_ns);
void wheel_stop(struct task *task);

/* When wheel_run() should be called next, at the latest: 0 for at once, WHEEL_NEVER when nothing waits. */
uint64_t wheel_next_ns(struct wheel *w);

/* Runs what is due. What a task starts with no delay runs in the next call. */
void wheel_run(struct wheel *w, uint64_t now_ns);

#endif
