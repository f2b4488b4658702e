/* slots.h: an open hash table from hashes to indices into an array that its owner keeps: four bytes a slot, so that an index of a million
 * recordings stays small. Zeroed is valid and empty. */
#ifndef RINGTAPE_REPLAY_SLOTS_H
#define RINGTAPE_REPLAY_SLOTS_H

#include "base/err.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define SLOT_NONE UINT32_MAX

struct slots {
    uint32_t *at; /* index + 1; 0: free */
    size_t cap, used;
};

/* The index for which `match` says yes, or SLOT_NONE. */
uint32_t slots_get(const struct slots *s, uint64_t hash,
                   bool (*match)(const void *ctx, uint32_t index, const void *wanted), const void *ctx,
                   const void *wanted);
/* Adds without looking. `hash_of` gives the hash of an index that is in the table. Fails with ERR_NOMEM. */
MUST_USE enum err slots_add(struct slots *s, uint64_t hash, uint32_t index,
                            uint64_t (*hash_of)(const void *ctx, uint32_t index), const void *ctx);
void slots_free(struct slots *s);

#endif
