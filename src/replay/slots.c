/* slots.c: linear probing, at most half full, nothing is ever removed. */
#include "replay/slots.h"

#include "base/alloc.h"

enum { SLOTS_FIRST_CAP = 64 };

uint32_t slots_get(const struct slots *s, uint64_t hash,
                   bool (*match)(const void *ctx, uint32_t index, const void *wanted), const void *ctx,
                   const void *wanted)
{
    if (s->cap == 0)
        return SLOT_NONE;
    for (size_t i = hash & (s->cap - 1); s->at[i]; i = (i + 1) & (s->cap - 1))
        if (match(ctx, s->at[i] - 1, wanted))
            return s->at[i] - 1;
    return SLOT_NONE;
}

static void place(uint32_t *at, size_t cap, uint64_t hash, uint32_t value)
{
    size_t i = hash & (cap - 1);
    while (at[i])
        i = (i + 1) & (cap - 1);
    at[i] = value;
}

enum err slots_add(struct slots *s, uint64_t hash, uint32_t index, uint64_t (*hash_of)(const void *ctx, uint32_t index),
                   const void *ctx)
{
    if ((s->used + 1) * 2 > s->cap) {
        size_t cap = s->cap ? s->cap * 2 : SLOTS_FIRST_CAP;
        uint32_t *at = mem_new(cap, sizeof *at);
        if (!at)
            return ERR_NOMEM;
        for (size_t i = 0; i < s->cap; i++)
            if (s->at[i])
                place(at, cap, hash_of(ctx, s->at[i] - 1), s->at[i]);
        mem_free(s->at);
        s->at = at;
        s->cap = cap;
    }
    place(s->at, s->cap, hash, index + 1);
    s->used++;
    return ERR_OK;
}

void slots_free(struct slots *s)
{
    mem_free(s->at);
    *s = (struct slots){NULL, 0, 0};
}
