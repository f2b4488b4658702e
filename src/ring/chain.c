/* chain.c: byte queues of pooled blocks. Invariants: no block of a chain is empty; n is the sum of their live bytes; `last` is NULL
 * exactly when `first` is. A long queue costs no copy when it grows, and an idle one costs nothing at all. */
#include "ring/chain.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "base/util.h"

#include <assert.h>

enum { BLOCK_BYTES = LIMIT_SEND_BLOCK_BYTES - (int)sizeof(struct chain_block) };

static struct chain_block *block_get(struct chain_pool *pool)
{
    struct chain_block *b = pool->spare;
    if (b) {
        pool->spare = b->next;
        pool->count--;
    } else {
        /* Not mem_new(): clearing 17 KB that are overwritten at once would cost more than the allocation. */
        b = mem_resize(NULL, LIMIT_SEND_BLOCK_BYTES, 1);
        if (!b)
            return NULL;
    }
    b->next = NULL;
    b->begin = b->end = 0;
    return b;
}

static void block_put(struct chain_pool *pool, struct chain_block *b)
{
    if (pool->count >= LIMIT_SEND_BLOCKS_SPARE) {
        mem_free(b);
        return;
    }
    b->next = pool->spare;
    pool->spare = b;
    pool->count++;
}

enum err chain_put(struct chain *c, struct chain_pool *pool, struct span bytes)
{
    size_t room = c->last ? BLOCK_BYTES - c->last->end : 0;
    struct chain extra = {NULL, NULL, 0};
    for (size_t have = room; have < bytes.n; have += BLOCK_BYTES) {
        struct chain_block *b = block_get(pool);
        if (!b) {
            chain_clear(&extra, pool);
            return ERR_NOMEM;
        }
        if (extra.last)
            extra.last->next = b;
        else
            extra.first = b;
        extra.last = b;
    }
    struct chain_block *at = room ? c->last : extra.first;
    if (extra.first) {
        if (c->last)
            c->last->next = extra.first;
        else
            c->first = extra.first;
        c->last = extra.last;
    }
    c->n += bytes.n;
    while (bytes.n) {
        size_t n = MIN(bytes.n, (size_t)(BLOCK_BYTES - at->end));
        memcpy(at->bytes + at->end, bytes.p, n);
        at->end += (uint32_t)n;
        bytes = span_from(bytes, n);
        at = at->next;
    }
    return ERR_OK;
}

struct span chain_front(const struct chain *c)
{
    return c->first ? span_of(c->first->bytes + c->first->begin, c->first->end - c->first->begin) : SPAN_EMPTY;
}

unsigned chain_pieces(const struct chain *c, struct iovec *out, unsigned max)
{
    unsigned n = 0;
    for (struct chain_block *b = c->first; b && n < max; b = b->next)
        out[n++] = (struct iovec){b->bytes + b->begin, b->end - b->begin};
    return n;
}

void chain_consume(struct chain *c, struct chain_pool *pool, size_t n)
{
    assert(n <= c->n);
    c->n -= n;
    while (n) {
        struct chain_block *b = c->first;
        size_t live = b->end - b->begin;
        if (n < live) {
            b->begin += (uint32_t)n;
            return;
        }
        n -= live;
        c->first = b->next;
        block_put(pool, b);
    }
    if (!c->first)
        c->last = NULL;
}

void chain_clear(struct chain *c, struct chain_pool *pool)
{
    while (c->first) {
        struct chain_block *b = c->first;
        c->first = b->next;
        block_put(pool, b);
    }
    *c = (struct chain){NULL, NULL, 0};
}

void chain_pool_free(struct chain_pool *pool)
{
    while (pool->spare) {
        struct chain_block *b = pool->spare;
        pool->spare = b->next;
        mem_free(b);
    }
    pool->count = 0;
}
