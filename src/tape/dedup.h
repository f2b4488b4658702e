/* dedup.h: remembers the contents that a tape holds already, by their keyed hash: a cache of fixed size, so that a long session costs no
 * more memory than a short one; what has been forgotten is stored once more. Internal to tape/. */
#ifndef RINGTAPE_TAPE_DEDUP_H
#define RINGTAPE_TAPE_DEDUP_H

#include "base/hash.h"

struct dedup_entry {
    struct hash128 hash;
    uint64_t bytes;
    int64_t id; /* 0: empty */
};

struct dedup {
    struct dedup_entry *entries; /* sets of DEDUP_WAYS */
    size_t sets;                 /* a power of two */
};

/* Room for about n contents. Fails with ERR_NOMEM. */
MUST_USE enum err dedup_init(struct dedup *d, size_t n);
void dedup_free(struct dedup *d);
/* The row that holds it, or 0. */
int64_t dedup_get(const struct dedup *d, const struct hash128 *hash, uint64_t bytes);
/* Remembers it in place of the oldest of its set. */
void dedup_put(struct dedup *d, const struct hash128 *hash, uint64_t bytes, int64_t id);

#endif
