/* wheel.c: the timing wheel. Level L has 64 slots of 64^L ticks each. A task lies at the level of the highest group of bits in which
 * its tick differs from the wheel's, so all that lies at a level comes before all that lies above it, and a slot of an upper
 * level is spread over the lower ones when the wheel reaches it.
 *
 * Invariants: no occupied slot is at or behind `tick`. A task's slot begins no later than its due time, but may begin earlier:
 * starting a waiting task for a later time only stores the time, and the task is put right when its old slot is reached. */
#include "ring/wheel.h"

#include "base/util.h"

#include <assert.h>

#define TICK_NS (UINT64_C(1) << WHEEL_TICK_SHIFT)

void wheel_init(struct wheel *w, uint64_t now_ns)
{
    w->tick = now_ns >> WHEEL_TICK_SHIFT;
    list_init(&w->ready);
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        w->occupied[level] = 0;
        for (unsigned slot = 0; slot < WHEEL_SLOTS; slot++)
            list_init(&w->slots[level][slot]);
    }
}

static void wheel_put(struct wheel *w, struct task *task)
{
    uint64_t tick = (task->due_ns >> WHEEL_TICK_SHIFT) + ((task->due_ns & (TICK_NS - 1)) != 0);
    if (tick <= w->tick) {
        list_push(&w->ready, &task->link);
        return;
    }
    unsigned level = (63u - (unsigned)__builtin_clzll(tick ^ w->tick)) / WHEEL_BITS;
    assert(level < WHEEL_LEVELS);
    unsigned slot = (unsigned)(tick >> (WHEEL_BITS * level)) & (WHEEL_SLOTS - 1);
    w->occupied[level] |= UINT64_C(1) << slot;
    list_push(&w->slots[level][slot], &task->link);
}

void wheel_start(struct wheel *w, struct task *task, uint64_t due_ns)
{
    due_ns = MAX(due_ns, 1u);
    if (task->due_ns && due_ns >= task->due_ns) {
        task->due_ns = due_ns;
        return;
    }
    list_remove(&task->link);
    task->due_ns = due_ns;
    wheel_put(w, task);
}

void wheel_stop(struct task *task)
{
    list_remove(&task->link);
    task->due_ns = 0;
}

/* The first tick at which an occupied slot begins, or WHEEL_NEVER. Clears stale bits on the way. */
static uint64_t wheel_next_tick(struct wheel *w)
{
    for (unsigned level = 0; level < WHEEL_LEVELS; level++) {
        while (w->occupied[level]) {
            unsigned slot = (unsigned)__builtin_ctzll(w->occupied[level]);
            if (list_empty(&w->slots[level][slot])) {
                w->occupied[level] &= ~(UINT64_C(1) << slot);
                continue;
            }
            unsigned shift = WHEEL_BITS * level;
            uint64_t above = w->tick >> (shift + WHEEL_BITS) << (shift + WHEEL_BITS);
            return above | (uint64_t)slot << shift;
        }
    }
    return WHEEL_NEVER;
}

uint64_t wheel_next_ns(struct wheel *w)
{
    if (!list_empty(&w->ready))
        return 0;
    uint64_t tick = wheel_next_tick(w);
    return tick == WHEEL_NEVER ? WHEEL_NEVER : tick << WHEEL_TICK_SHIFT;
}

/* Empties the slots that begin at w->tick: what is due becomes ready, the rest moves down. */
static void wheel_spread(struct wheel *w)
{
    for (unsigned level = WHEEL_LEVELS; level-- > 0;) {
        unsigned shift = WHEEL_BITS * level;
        if (w->tick & ((UINT64_C(1) << shift) - 1))
            continue;
        unsigned slot = (unsigned)(w->tick >> shift) & (WHEEL_SLOTS - 1);
        if (!(w->occupied[level] & UINT64_C(1) << slot))
            continue;
        w->occupied[level] &= ~(UINT64_C(1) << slot);
        struct list *link;
        while ((link = list_pop(&w->slots[level][slot])))
            wheel_put(w, container_of(link, struct task, link));
    }
}

void wheel_run(struct wheel *w, uint64_t now_ns)
{
    uint64_t now_tick = now_ns >> WHEEL_TICK_SHIFT;
    for (uint64_t next; (next = wheel_next_tick(w)) <= now_tick;) {
        w->tick = next;
        wheel_spread(w);
    }
    w->tick = MAX(w->tick, now_tick);

    struct list batch, *link;
    list_init(&batch);
    while ((link = list_pop(&w->ready)))
        list_push(&batch, link);
    while ((link = list_pop(&batch))) {
        struct task *task = container_of(link, struct task, link);
        if (task->due_ns > now_ns) {
            wheel_put(w, task);
            continue;
        }
        task->due_ns = 0;
        task->run(task);
    }
}
