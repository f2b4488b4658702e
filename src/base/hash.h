/* hash.h: SipHash (keyed, so that hostile input cannot choose collisions) and an open hash table of pointers. */
#ifndef RINGTAPE_BASE_HASH_H
#define RINGTAPE_BASE_HASH_H

#include "base/err.h"
#include "base/span.h"

struct hash_key {
    uint64_t k0, k1;
};

struct hash128 {
    uint64_t lo, hi;
};

/* A fresh random key (getrandom). */
void hash_key_random(struct hash_key *key);

/* SipHash-1-3, 64 bits: for tables in memory. */
uint64_t hash64(const struct hash_key *key, struct span s);

/* SipHash-2-4, 128 bits, incremental: for telling contents apart. */
struct hash128_state {
    uint64_t v[4];
    uint64_t tail;
    uint64_t total;
};
void hash128_begin(struct hash128_state *st, const struct hash_key *key);
void hash128_add(struct hash128_state *st, struct span s);
struct hash128 hash128_end(struct hash128_state *st);

/* A table from a 64-bit hash to borrowed pointers; the caller compares keys. Embedded by value; zeroed is valid and
 * empty. Not thread-safe. */
struct hash_slot {
    uint64_t hash;
    void *value;
};
struct hash_table {
    struct hash_slot *slots;
    size_t cap, used, dead;
};

typedef bool hash_match_fn(const void *value, const void *wanted);

/* The value whose hash is equal and for which `match` says yes, or NULL. */
void *hash_table_get(const struct hash_table *t, uint64_t hash, hash_match_fn *match, const void *wanted);

/* Adds without looking for an equal one. `value` must not be NULL. Fails with ERR_NOMEM. */
MUST_USE enum err hash_table_add(struct hash_table *t, uint64_t hash, void *value);

/* Removes this very pointer; harmless when it is not there. */
void hash_table_remove(struct hash_table *t, uint64_t hash, const void *value);

/* Walks: start with *at = 0; NULL at the end. Do not add meanwhile; removing what was just returned is fine. */
void *hash_table_next(const struct hash_table *t, size_t *at);

void hash_table_free(struct hash_table *t);

#endif
