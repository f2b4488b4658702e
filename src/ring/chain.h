/* chain.h: a queue of bytes in blocks of one size, taken from and given back to the loop's pool. Bytes do not move once they are in:
 * the kernel may read the front while more are appended. */
#ifndef RINGTAPE_RING_CHAIN_H
#define RINGTAPE_RING_CHAIN_H

#include "base/span.h"
#include "base/err.h"

#include <sys/uio.h>

struct chain_block {
    struct chain_block *next;
    uint32_t begin, end;
    uint8_t bytes[];
};

/* Spare blocks, last used first, so that what is written next is warm in the cache. Zeroed is valid and empty. */
struct chain_pool {
    struct chain_block *spare;
    unsigned count;
};

struct chain {
    struct chain_block *first, *last;
    size_t n;
};

/* Appends a copy. Fails with ERR_NOMEM; the chain is then unchanged. */
MUST_USE enum err chain_put(struct chain *c, struct chain_pool *pool, struct span bytes);

/* The bytes at the front that lie together; empty when there are none. */
struct span chain_front(const struct chain *c);

/* Fills in up to `max` pieces from the front; returns how many. */
unsigned chain_pieces(const struct chain *c, struct iovec *out, unsigned max);

/* Drops n bytes, no more than there are. */
void chain_consume(struct chain *c, struct chain_pool *pool, size_t n);
void chain_clear(struct chain *c, struct chain_pool *pool);

void chain_pool_free(struct chain_pool *pool);

#endif
