/* hash.c: SipHash (Aumasson and Bernstein, "SipHash: a fast short-input PRF", 2012; 128-bit output as in their
 * reference) and a linear-probing table. Invariant of the table: used + dead <= 3/4 cap; a dead slot has the
 * address of `hash_dead` as its value, so that probes go on over it. */
#include "base/hash.h"

#include "base/alloc.h"

#include <assert.h>
#include <stdlib.h>
#include <sys/random.h>

void hash_key_random(struct hash_key *key)
{
    uint8_t *at = (uint8_t *)key;
    size_t left = sizeof *key;
    while (left > 0) {
        ssize_t n = getrandom(at, left, 0);
        if (n <= 0)
            abort(); /* a kernel without getrandom is not one that we run on */
        at += n;
        left -= (size_t)n;
    }
}

static inline uint64_t rotl(uint64_t x, int b)
{
    return (x << b) | (x >> (64 - b));
}

static inline uint64_t load64(const uint8_t *p)
{
    uint64_t x;
    memcpy(&x, p, sizeof x);
    return x; /* little-endian hosts only matter for stored hashes; x86-64 and arm64 are both */
}

static inline void sip_round(uint64_t v[4])
{
    v[0] += v[1];
    v[1] = rotl(v[1], 13) ^ v[0];
    v[0] = rotl(v[0], 32);
    v[2] += v[3];
    v[3] = rotl(v[3], 16) ^ v[2];
    v[0] += v[3];
    v[3] = rotl(v[3], 21) ^ v[0];
    v[2] += v[1];
    v[1] = rotl(v[1], 17) ^ v[2];
    v[2] = rotl(v[2], 32);
}

static void sip_init(uint64_t v[4], const struct hash_key *key)
{
    v[0] = 0x736f6d6570736575u ^ key->k0;
    v[1] = 0x646f72616e646f6du ^ key->k1;
    v[2] = 0x6c7967656e657261u ^ key->k0;
    v[3] = 0x7465646279746573u ^ key->k1;
}

uint64_t hash64(const struct hash_key *key, struct span s)
{
    uint64_t v[4];
    sip_init(v, key);
    size_t whole = s.n & ~(size_t)7;
    for (size_t i = 0; i < whole; i += 8) {
        uint64_t m = load64(s.p + i);
        v[3] ^= m;
        sip_round(v);
        v[0] ^= m;
    }
    uint64_t last = (uint64_t)s.n << 56;
    for (size_t i = whole; i < s.n; i++)
        last |= (uint64_t)s.p[i] << (8 * (i - whole));
    v[3] ^= last;
    sip_round(v);
    v[0] ^= last;
    v[2] ^= 0xff;
    sip_round(v);
    sip_round(v);
    sip_round(v);
    return v[0] ^ v[1] ^ v[2] ^ v[3];
}

void hash128_begin(struct hash128_state *st, const struct hash_key *key)
{
    sip_init(st->v, key);
    st->v[1] ^= 0xee;
    st->tail = 0;
    st->total = 0;
}

static inline void hash128_word(struct hash128_state *st, uint64_t m)
{
    st->v[3] ^= m;
    sip_round(st->v);
    sip_round(st->v);
    st->v[0] ^= m;
}

void hash128_add(struct hash128_state *st, struct span s)
{
    size_t i = 0;
    while (i < s.n && (st->total & 7) != 0) {
        st->tail |= (uint64_t)s.p[i++] << (8 * (st->total & 7));
        if ((++st->total & 7) == 0) {
            hash128_word(st, st->tail);
            st->tail = 0;
        }
    }
    for (; i + 8 <= s.n; i += 8, st->total += 8)
        hash128_word(st, load64(s.p + i));
    for (; i < s.n; i++)
        st->tail |= (uint64_t)s.p[i] << (8 * (st->total++ & 7));
}

struct hash128 hash128_end(struct hash128_state *st)
{
    struct hash128 out;
    hash128_word(st, st->tail | (st->total << 56));
    st->v[2] ^= 0xee;
    for (int i = 0; i < 4; i++)
        sip_round(st->v);
    out.lo = st->v[0] ^ st->v[1] ^ st->v[2] ^ st->v[3];
    st->v[1] ^= 0xdd;
    for (int i = 0; i < 4; i++)
        sip_round(st->v);
    out.hi = st->v[0] ^ st->v[1] ^ st->v[2] ^ st->v[3];
    return out;
}

enum { HASH_FIRST_CAP = 16 };
static char hash_dead; /* only its address matters */

void *hash_table_get(const struct hash_table *t, uint64_t hash, hash_match_fn *match, const void *wanted)
{
    if (t->cap == 0)
        return NULL;
    for (size_t i = hash & (t->cap - 1);; i = (i + 1) & (t->cap - 1)) {
        const struct hash_slot *slot = &t->slots[i];
        if (!slot->value)
            return NULL;
        if (slot->hash == hash && slot->value != &hash_dead && match(slot->value, wanted))
            return slot->value;
    }
}

static void hash_table_place(struct hash_slot *slots, size_t cap, uint64_t hash, void *value)
{
    size_t i = hash & (cap - 1);
    while (slots[i].value)
        i = (i + 1) & (cap - 1);
    slots[i] = (struct hash_slot){hash, value};
}

static enum err hash_table_grow(struct hash_table *t)
{
    size_t cap = t->cap ? t->cap : HASH_FIRST_CAP;
    while ((t->used + 1) * 2 > cap)
        cap *= 2;
    struct hash_slot *slots = mem_new(cap, sizeof *slots);
    if (!slots)
        return ERR_NOMEM;
    for (size_t i = 0; i < t->cap; i++)
        if (t->slots[i].value && t->slots[i].value != &hash_dead)
            hash_table_place(slots, cap, t->slots[i].hash, t->slots[i].value);
    mem_free(t->slots);
    t->slots = slots;
    t->cap = cap;
    t->dead = 0;
    return ERR_OK;
}

enum err hash_table_add(struct hash_table *t, uint64_t hash, void *value)
{
    assert(value);
    if ((t->used + t->dead + 1) * 4 > t->cap * 3) {
        enum err e = hash_table_grow(t);
        if (e)
            return e;
    }
    hash_table_place(t->slots, t->cap, hash, value);
    t->used++;
    return ERR_OK;
}

void hash_table_remove(struct hash_table *t, uint64_t hash, const void *value)
{
    if (t->cap == 0)
        return;
    for (size_t i = hash & (t->cap - 1); t->slots[i].value; i = (i + 1) & (t->cap - 1)) {
        if (t->slots[i].value == value) {
            t->slots[i].value = &hash_dead;
            t->used--;
            t->dead++;
            return;
        }
    }
}

void *hash_table_next(const struct hash_table *t, size_t *at)
{
    while (*at < t->cap) {
        void *value = t->slots[(*at)++].value;
        if (value && value != &hash_dead)
            return value;
    }
    return NULL;
}

void hash_table_free(struct hash_table *t)
{
    mem_free(t->slots);
    *t = (struct hash_table){NULL, 0, 0, 0};
}
