/* test_queue.c: the queue between a worker and the writer: a worker does not get ahead of what is committed by more than the time that a kill may cost. */
#include "record/queue.h"

#include "base/clock.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>

#include <cmocka.h>

struct worker {
    struct queue *queue;
    struct block *block;
    pthread_t thread;
    atomic_bool returned;
};

static void *hand_over(void *ctx)
{
    struct worker *w = ctx;
    w->block->n = 8;
    w->block = queue_hand_over(w->queue, w->block);
    atomic_store(&w->returned, true);
    return NULL;
}

/* A worker whose note is too old as soon as it is given, and the writer with that note in its hands. */
static struct block *begin(struct worker *w, uint64_t age_max_ns)
{
    bool awaited, stopped;
    *w = (struct worker){.queue = NULL};
    assert_int_equal(queue_create(&w->queue, 1, 64 << 20, age_max_ns), ERR_OK);
    w->block = queue_first_block(w->queue);
    assert_int_equal(pthread_create(&w->thread, NULL, hand_over, w), 0);
    struct block *taken = queue_take(w->queue, 0, 0, &awaited, &stopped);
    assert_non_null(taken);
    assert_false(stopped);
    return taken;
}

static void end(struct worker *w)
{
    struct queue_counters counters;
    assert_int_equal(pthread_join(w->thread, NULL), 0);
    queue_recycle(w->queue, w->block);
    queue_counters(w->queue, &counters);
    assert_int_equal(counters.bytes, 0);
    queue_destroy(&w->queue);
}

static void a_worker_waits_for_the_commit(void **state)
{
    struct worker w;
    (void)state;
    struct block *taken = begin(&w, 1);
    queue_recycle(w.queue, taken); /* written, and not committed: it gives room, no more */
    struct queue_counters counters = {.stalls = 0};
    while (counters.stalls == 0) /* until it has begun to wait */
        queue_counters(w.queue, &counters);
    assert_false(atomic_load(&w.returned));
    queue_committed(w.queue, 0);
    end(&w);
}

/* A commit in the middle of what was taken leaves the rest as old as it is: else nobody would wait for a slow writer that commits often. */
static void a_commit_does_not_make_the_rest_younger(void **state)
{
    struct worker w = {.queue = NULL};
    struct queue_counters counters = {.stalls = 0};
    bool awaited, stopped;
    (void)state;
    assert_int_equal(queue_create(&w.queue, 1, 64 << 20, NS_PER_S), ERR_OK);
    w.block = queue_first_block(w.queue);
    queue_committed(w.queue, 1); /* what is left was given when the clock began: far longer ago than a second */
    assert_int_equal(pthread_create(&w.thread, NULL, hand_over, &w), 0);
    while (counters.stalls == 0 && !atomic_load(&w.returned))
        queue_counters(w.queue, &counters);
    assert_int_equal(counters.stalls, 1);
    struct block *taken = queue_take(w.queue, 0, 0, &awaited, &stopped);
    queue_recycle(w.queue, taken);
    queue_committed(w.queue, 0);
    end(&w);
}

/* It is told, and before its deadline: what it has written and not committed is waited for. */
static void the_writer_does_not_sleep_while_a_worker_waits(void **state)
{
    struct worker w;
    bool awaited = false, stopped;
    (void)state;
    struct block *taken = begin(&w, 1);
    queue_recycle(w.queue, taken);
    assert_null(queue_take(w.queue, 0, UINT64_MAX / 2, &awaited, &stopped));
    assert_true(awaited);
    queue_committed(w.queue, 0);
    end(&w);
}

static void nobody_waits_for_a_writer_that_gave_up(void **state)
{
    struct worker w;
    (void)state;
    struct block *taken = begin(&w, 1);
    queue_recycle(w.queue, taken);
    queue_give_up(w.queue);
    end(&w);
}

static void without_a_bound_nobody_waits(void **state)
{
    struct worker w;
    (void)state;
    struct block *taken = begin(&w, 0);
    queue_recycle(w.queue, taken);
    end(&w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_worker_waits_for_the_commit),
        cmocka_unit_test(a_commit_does_not_make_the_rest_younger),
        cmocka_unit_test(the_writer_does_not_sleep_while_a_worker_waits),
        cmocka_unit_test(nobody_waits_for_a_writer_that_gave_up),
        cmocka_unit_test(without_a_bound_nobody_waits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
