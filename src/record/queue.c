/* queue.c: one mutex, two conditions, two lists. It is taken once in 64 KB or once a loop turn, so it is never contended for long.
 *
 * Invariants: made <= limit; every block is in `head`, in `spare` (SPARE_KEPT at most), in `cold`, or with one thread; `bytes` is what `head` and the writer hold. The
 * writer is woken when it sleeps with nothing to do and when enough has gathered, not for every turn of every worker: it wakes by itself
 * `gather_ns` after the first. */
#include "record/queue.h"

#include "base/alloc.h"
#include "base/clock.h"

#include <assert.h>
#include <pthread.h>
#include <sys/mman.h>
#include <unistd.h>

enum {
    ENOUGH_BYTES = 1 << 20,
    SPARE_KEPT = 8, /* blocks that keep their memory: what a burst took beyond them the system has back */
};

struct queue {
    pthread_mutex_t lock;
    pthread_cond_t filled, space;
    struct block *head, *tail, *spare, *cold;
    size_t made, limit, spare_n;
    uint64_t bytes, stalls;
    uint64_t since_ns,
        age_max_ns;   /* when the oldest note came that is not committed, 0: none; how old it may be, 0: no bound */
    unsigned waiting; /* workers */
    bool idle;        /* the writer sleeps and nothing waits */
    bool stopped;
};

static struct block *block_new(void)
{
    struct block *b = mem_new(1, sizeof *b);
    return b;
}

/* Its pages are the system's again, until it is filled. */
static void block_cool(struct block *b)
{
    uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE), from = ((uintptr_t)b->bytes + page - 1) & ~(page - 1);
    uintptr_t to = (uintptr_t)(b->bytes + sizeof b->bytes) & ~(page - 1);
    if (from < to)
        (void)madvise(b->bytes + (from - (uintptr_t)b->bytes), to - from, MADV_DONTNEED);
}

enum err queue_create(struct queue **out, unsigned workers, uint64_t bytes_max, uint64_t age_max_ns)
{
    struct queue *q = mem_new(1, sizeof *q);
    pthread_condattr_t attributes;
    *out = q;
    if (!q)
        return ERR_NOMEM;
    q->age_max_ns = age_max_ns;
    (void)pthread_mutex_init(&q->lock, NULL);
    (void)pthread_condattr_init(&attributes);
    (void)pthread_condattr_setclock(&attributes, CLOCK_MONOTONIC);
    (void)pthread_cond_init(&q->filled, &attributes);
    (void)pthread_cond_init(&q->space, &attributes);
    (void)pthread_condattr_destroy(&attributes);
    /* One for each worker, one in the queue, one with the writer: with fewer everybody could wait for everybody. */
    q->limit = (size_t)(bytes_max / sizeof(struct block));
    if (q->limit < workers + 2u)
        q->limit = workers + 2u;
    for (unsigned i = 0; i < workers + 2u; i++) {
        struct block *b = block_new();
        if (!b) {
            queue_destroy(out);
            return ERR_NOMEM;
        }
        b->next = q->spare;
        q->spare = b;
        q->spare_n++;
        q->made++;
    }
    return ERR_OK;
}

static void blocks_free(struct block *b)
{
    while (b) {
        struct block *next = b->next;
        mem_free(b);
        b = next;
    }
}

void queue_destroy(struct queue **q)
{
    struct queue *it = *q;
    *q = NULL;
    if (!it)
        return;
    blocks_free(it->head);
    blocks_free(it->spare);
    blocks_free(it->cold);
    (void)pthread_mutex_destroy(&it->lock);
    (void)pthread_cond_destroy(&it->filled);
    (void)pthread_cond_destroy(&it->space);
    mem_free(it);
}

/* Locked. Waits for one if it must. */
static struct block *queue_empty_block(struct queue *q)
{
    bool stalled = false;
    for (;;) {
        struct block *b = q->spare ? q->spare : q->cold;
        if (b && b == q->spare) {
            q->spare = b->next;
            q->spare_n--;
        } else if (b)
            q->cold = b->next;
        else if (q->made < q->limit && (b = block_new()) != NULL)
            q->made++;
        if (b) {
            b->next = NULL;
            b->n = 0;
            return b;
        }
        q->stalls += !stalled;
        stalled = true;
        q->waiting++;
        (void)pthread_cond_signal(&q->filled);
        (void)pthread_cond_wait(&q->space, &q->lock);
        q->waiting--;
    }
}

struct block *queue_first_block(struct queue *q)
{
    (void)pthread_mutex_lock(&q->lock);
    struct block *b = queue_empty_block(q);
    (void)pthread_mutex_unlock(&q->lock);
    return b;
}

/* Locked. */
static void queue_wake(struct queue *q)
{
    if (q->idle || q->bytes >= ENOUGH_BYTES) {
        q->idle = false;
        (void)pthread_cond_signal(&q->filled);
    }
}

/* Locked. */
static void queue_append(struct queue *q, struct block *b)
{
    if (q->head)
        q->tail->next = b;
    else
        q->head = b;
    q->tail = b;
    b->next = NULL;
    b->at_ns = clock_mono_ns();
    if (!q->since_ns)
        q->since_ns = b->at_ns;
    q->bytes += b->n;
    queue_wake(q);
}

/* Locked. The writer has a deadline of its own, before this one: it is late only when the disk or the processor is. */
static void queue_wait_for_commit(struct queue *q)
{
    bool stalled = false;
    while (q->age_max_ns && q->since_ns && !q->stopped && clock_mono_ns() > q->since_ns + q->age_max_ns) {
        q->stalls += !stalled;
        stalled = true;
        q->waiting++;
        (void)pthread_cond_signal(&q->filled);
        (void)pthread_cond_wait(&q->space, &q->lock);
        q->waiting--;
    }
}

struct block *queue_hand_over(struct queue *q, struct block *full)
{
    (void)pthread_mutex_lock(&q->lock);
    queue_append(q, full);
    queue_wait_for_commit(q);
    struct block *b = queue_empty_block(q);
    (void)pthread_mutex_unlock(&q->lock);
    return b;
}

struct block *queue_flush(struct queue *q, struct block *b)
{
    if (b->n == 0)
        return b;
    (void)pthread_mutex_lock(&q->lock);
    if (q->head && BLOCK_BYTES - q->tail->n >= b->n) {
        memcpy(q->tail->bytes + q->tail->n, b->bytes, b->n);
        q->tail->n += b->n;
        q->bytes += b->n;
        b->n = 0;
        queue_wake(q);
    } else {
        queue_append(q, b);
        b = queue_empty_block(q);
    }
    queue_wait_for_commit(q);
    (void)pthread_mutex_unlock(&q->lock);
    return b;
}

struct block *queue_take(struct queue *q, uint64_t gather_ns, uint64_t deadline_ns, bool *awaited, bool *stopped)
{
    (void)pthread_mutex_lock(&q->lock);
    for (;;) {
        uint64_t now = clock_mono_ns(), until = deadline_ns;
        uint64_t gathered = q->head ? q->head->at_ns + gather_ns : 0;
        bool enough = q->bytes >= ENOUGH_BYTES || q->waiting > 0 || now >= gathered;
        *awaited = q->waiting > 0;
        if (q->stopped || (q->head && enough) || (deadline_ns && (now >= deadline_ns || *awaited)))
            break;
        if (q->head && (until == 0 || until > gathered))
            until = gathered;
        q->idle = !q->head;
        if (until) {
            struct timespec when = {(time_t)(until / NS_PER_S), (long)(until % NS_PER_S)};
            (void)pthread_cond_timedwait(&q->filled, &q->lock, &when);
        } else
            (void)pthread_cond_wait(&q->filled, &q->lock);
        q->idle = false;
    }
    struct block *list = q->head;
    q->head = q->tail = NULL;
    *stopped = q->stopped;
    (void)pthread_mutex_unlock(&q->lock);
    return list;
}

void queue_recycle(struct queue *q, struct block *b)
{
    (void)pthread_mutex_lock(&q->lock);
    assert(q->bytes >= b->n);
    q->bytes -= b->n;
    bool cold = q->spare_n >= SPARE_KEPT;
    struct block **list = cold ? &q->cold : &q->spare;
    q->spare_n += !cold;
    if (cold)
        block_cool(b);
    b->next = *list;
    *list = b;
    if (q->waiting)
        (void)pthread_cond_signal(&q->space);
    (void)pthread_mutex_unlock(&q->lock);
}

void queue_committed(struct queue *q, uint64_t oldest_ns)
{
    (void)pthread_mutex_lock(&q->lock);
    q->since_ns = oldest_ns ? oldest_ns : q->head ? q->head->at_ns : 0;
    (void)pthread_cond_broadcast(&q->space);
    (void)pthread_mutex_unlock(&q->lock);
}

void queue_give_up(struct queue *q)
{
    (void)pthread_mutex_lock(&q->lock);
    q->age_max_ns = 0;
    (void)pthread_cond_broadcast(&q->space);
    (void)pthread_mutex_unlock(&q->lock);
}

void queue_stop(struct queue *q)
{
    (void)pthread_mutex_lock(&q->lock);
    q->stopped = true;
    (void)pthread_cond_signal(&q->filled);
    (void)pthread_mutex_unlock(&q->lock);
}

void queue_counters(struct queue *q, struct queue_counters *out)
{
    (void)pthread_mutex_lock(&q->lock);
    *out = (struct queue_counters){q->bytes, q->stalls};
    (void)pthread_mutex_unlock(&q->lock);
}
