/* chain.c: one block: the header, then the certificates' bytes. Never changed after it was made, but for the count. */
#include "tls/chain.h"

#include "base/alloc.h"

#include <stdatomic.h>

struct chain {
    atomic_uint refs;
    size_t n;
    size_t end[CHAIN_CERTIFICATES_MAX]; /* of each certificate, in bytes */
    uint8_t bytes[];
};

enum err chain_create(struct chain **out, const struct span *certificates, size_t n)
{
    *out = NULL;
    size_t total = 0;
    if (n > CHAIN_CERTIFICATES_MAX)
        return ERR_LIMIT;
    for (size_t i = 0; i < n; i++)
        total += certificates[i].n;
    struct chain *c = mem_new(1, sizeof *c + total);
    if (!c)
        return ERR_NOMEM;
    atomic_init(&c->refs, 1);
    c->n = n;
    total = 0;
    for (size_t i = 0; i < n; i++) {
        if (certificates[i].n > 0)
            memcpy(c->bytes + total, certificates[i].p, certificates[i].n);
        c->end[i] = total += certificates[i].n;
    }
    *out = c;
    return ERR_OK;
}

struct chain *chain_ref(struct chain *chain)
{
    if (chain)
        atomic_fetch_add_explicit(&chain->refs, 1, memory_order_relaxed);
    return chain;
}

void chain_unref(struct chain **chain)
{
    struct chain *c = *chain;
    *chain = NULL;
    if (c && atomic_fetch_sub_explicit(&c->refs, 1, memory_order_acq_rel) == 1)
        mem_free(c);
}

bool chain_get(const struct chain *chain, size_t i, struct span *der)
{
    if (!chain || i >= chain->n)
        return false;
    size_t from = i ? chain->end[i - 1] : 0;
    *der = span_of(chain->bytes + from, chain->end[i] - from);
    return true;
}
