/* task.h: something to run later on the thread that owns it, and the interface of what runs it. The event loop is the
 * one that runs tasks in production; layers that may not know the loop (replay) see only this. */
#ifndef RINGTAPE_BASE_TASK_H
#define RINGTAPE_BASE_TASK_H

#include "base/list.h"

#include <stdint.h>

/* Embedded in its owner, who fills `run` and calls task_init() once. Not running twice for one start. The owner must
 * stop it before it goes away; `run` may start it again or free the owner. */
struct task {
    struct list link; /* the scheduler's */
    uint64_t due_ns;  /* monotonic; the scheduler's; 0 while idle */
    void (*run)(struct task *task);
};

/* One per thread; its functions are called on that thread only. */
struct scheduler {
    /* Runs the task once, at least delay_ns from now, from the loop and never inside this call; 0: later in this
     * turn or in the next one. Starting a task that is waiting moves it. */
    void (*start)(struct scheduler *scheduler, struct task *task, uint64_t delay_ns);
    /* Harmless when idle. */
    void (*stop)(struct scheduler *scheduler, struct task *task);
    /* Monotonic time as of this turn. */
    uint64_t (*now_ns)(const struct scheduler *scheduler);
};

static inline void task_init(struct task *task, void (*run)(struct task *))
{
    list_init(&task->link);
    task->due_ns = 0;
    task->run = run;
}

static inline int task_waiting(const struct task *task)
{
    return task->due_ns != 0;
}

#endif
