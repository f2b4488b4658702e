/* leaves.c: an array and one block of names. A name's offset in the block grows with the order of adding, which makes the sort stable. */
#include "replay/leaves.h"

#include "base/alloc.h"

#include <stdlib.h>

void leaves_clear(struct leaves *l)
{
    buf_clear(&l->text);
    l->n = 0;
}

void leaves_free(struct leaves *l)
{
    buf_free(&l->text);
    mem_free(l->at);
    *l = (struct leaves){.n = 0};
}

struct span leaves_name(const struct leaves *l, size_t i)
{
    return span_of(l->text.p + l->at[i].name.at, l->at[i].name.n);
}

enum err leaves_add(struct leaves *l, struct span name, struct span value)
{
    if (l->n >= LEAVES_MAX || l->text.n + name.n > LEAVES_NAME_BYTES)
        return ERR_OK;
    if (l->n == l->cap) {
        size_t cap = l->cap ? l->cap * 2 : 64;
        struct leaf *grown = mem_resize(l->at, cap, sizeof *grown);
        if (!grown)
            return ERR_NOMEM;
        l->at = grown;
        l->cap = cap;
    }
    struct slice at = {(uint32_t)l->text.n, (uint32_t)name.n};
    enum err e = buf_put(&l->text, name);
    /* One byte more, so that empty names have offsets of their own too. */
    if (!e)
        e = buf_put_byte(&l->text, 0);
    if (!e)
        l->at[l->n++] = (struct leaf){at, value};
    return e;
}

static int leaf_cmp(const void *a, const void *b, void *ctx)
{
    const struct leaves *l = ctx;
    const struct leaf *x = a, *y = b;
    int c = span_cmp(span_of(l->text.p + x->name.at, x->name.n), span_of(l->text.p + y->name.at, y->name.n));
    return c != 0 ? c : x->name.at < y->name.at ? -1 : x->name.at > y->name.at;
}

void leaves_sort(struct leaves *l)
{
    if (l->n > 1)
        qsort_r(l->at, l->n, sizeof *l->at, leaf_cmp, l);
}
