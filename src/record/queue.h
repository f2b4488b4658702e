/* queue.h: blocks of notes on their way from the workers to the writer thread. Bounded by memory, not by what is in it: there are never
 * more blocks than the bound allows, and a worker that finds none waits until the writer has emptied one. Internal to record/. */
#ifndef RINGTAPE_RECORD_QUEUE_H
#define RINGTAPE_RECORD_QUEUE_H

#include "record/note.h"

struct block {
    struct block *next;
    uint64_t at_ns; /* when it was given */
    size_t n;       /* bytes of notes */
    _Alignas(16) uint8_t bytes[BLOCK_BYTES];
};

struct queue;

/* Allocates what every worker needs to begin with. age_max_ns: a worker that gives something waits while older notes than this are not
 * committed, so that a kill costs no more than that even when the writer cannot keep up; 0: it never does. Fails with ERR_NOMEM. */
MUST_USE enum err queue_create(struct queue **out, unsigned workers, uint64_t bytes_max, uint64_t age_max_ns);
/* Nobody may be using it. Blocks that are elsewhere are the holder's. */
void queue_destroy(struct queue **q);

/* Before the first hand-over of a worker. Never NULL; see `workers`. */
struct block *queue_first_block(struct queue *q);
/* Worker: gives its block, gets an empty one. May wait. */
struct block *queue_hand_over(struct queue *q, struct block *full);
/* Worker: gives the bytes of its block, keeps or changes the block. For small amounts: cheap, and packs them. */
struct block *queue_flush(struct queue *q, struct block *b);

/* Writer: everything that waits, in order, once there is some and either enough has gathered or gather_ns have passed since the first; at latest at deadline_ns
 * (0: none), or when a worker waits for what is written by then to be committed; then perhaps nothing. *awaited: some worker waits. *stopped: queue_stop() was called and this is the last. */
struct block *queue_take(struct queue *q, uint64_t gather_ns, uint64_t deadline_ns, bool *awaited, bool *stopped);
/* Writer: one block back. */
void queue_recycle(struct queue *q, struct block *b);
/* Writer: what it had taken is committed but for the blocks that it still has to write, of which the oldest was given at oldest_ns (0: there are none). */
void queue_committed(struct queue *q, uint64_t oldest_ns);
/* Writer: nothing will be committed any more, and nobody shall wait for it. */
void queue_give_up(struct queue *q);
/* No more will be given: queue_take() gives what is left. */
void queue_stop(struct queue *q);

struct queue_counters {
    uint64_t bytes, stalls;
};
void queue_counters(struct queue *q, struct queue_counters *out);

#endif
