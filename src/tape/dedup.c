/* dedup.c: a set-associative cache. The hash is keyed with a random key, so its low bits choose the set as they are. */
#include "tape/dedup.h"

#include "base/alloc.h"

enum { DEDUP_WAYS = 4 };

enum err dedup_init(struct dedup *d, size_t n)
{
    d->sets = 1;
    while (d->sets * DEDUP_WAYS < n)
        d->sets *= 2;
    d->entries = mem_new(d->sets * DEDUP_WAYS, sizeof *d->entries);
    return d->entries ? ERR_OK : ERR_NOMEM;
}

void dedup_free(struct dedup *d)
{
    mem_free(d->entries);
    d->entries = NULL;
}

static struct dedup_entry *dedup_set(const struct dedup *d, const struct hash128 *hash)
{
    return d->entries + (hash->lo & (d->sets - 1)) * DEDUP_WAYS;
}

int64_t dedup_get(const struct dedup *d, const struct hash128 *hash, uint64_t bytes)
{
    const struct dedup_entry *set = dedup_set(d, hash);
    for (size_t i = 0; i < DEDUP_WAYS; i++)
        if (set[i].hash.lo == hash->lo && set[i].hash.hi == hash->hi && set[i].bytes == bytes && set[i].id)
            return set[i].id;
    return 0;
}

void dedup_put(struct dedup *d, const struct hash128 *hash, uint64_t bytes, int64_t id)
{
    struct dedup_entry *set = dedup_set(d, hash), *oldest = set;
    for (size_t i = 1; i < DEDUP_WAYS; i++)
        if (set[i].id < oldest->id)
            oldest = &set[i];
    *oldest = (struct dedup_entry){*hash, bytes, id};
}
