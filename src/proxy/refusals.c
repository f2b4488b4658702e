/* refusals.c: bounded sets of hashes. A name is known by its keyed 64-bit hash alone, so that a client cannot make names that are taken for
 * another's, and nothing is ever allocated for what a client says. */
#include "proxy/refusals.h"

#include "base/alloc.h"
#include "base/buf.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/util.h"

#include <pthread.h>

enum { WAYS = 4 };
_Static_assert(LIMIT_AUTO_PASS % WAYS == 0, "buckets are full ones");

/* Buckets of WAYS places each; the place that is taken next goes round. Places are read without a lock. 0: empty. */
struct sieve {
    uint64_t places[LIMIT_AUTO_PASS]; /* atomic */
    uint8_t next[LIMIT_AUTO_PASS / WAYS];
};

struct refusals {
    struct hash_key key;
    pthread_mutex_t lock;              /* of all that is written, `trusted` apart */
    uint64_t trusted[LIMIT_AUTO_PASS]; /* each in its own place until another takes it; atomic */
    struct sieve passed, told, silent[LIMIT_SILENT_REFUSALS - 1];
    unsigned passed_n; /* ever; atomic */
};

enum err refusals_create(struct refusals **out)
{
    struct refusals *r = *out = mem_new(1, sizeof *r);
    if (!r)
        return ERR_NOMEM;
    hash_key_random(&r->key);
    (void)pthread_mutex_init(&r->lock, NULL);
    return ERR_OK;
}

void refusals_destroy(struct refusals **r)
{
    struct refusals *it = *r;
    *r = NULL;
    if (!it)
        return;
    (void)pthread_mutex_destroy(&it->lock);
    mem_free(it);
}

static bool sieve_has(const struct sieve *s, uint64_t hash)
{
    const uint64_t *bucket = s->places + (hash >> 1) % (LIMIT_AUTO_PASS / WAYS) * WAYS;
    for (size_t i = 0; i < WAYS; i++)
        if (__atomic_load_n(&bucket[i], __ATOMIC_RELAXED) == hash)
            return true;
    return false;
}

/* Under the lock. False: it was there. */
static bool sieve_add(struct sieve *s, uint64_t hash)
{
    size_t at = (hash >> 1) % (LIMIT_AUTO_PASS / WAYS);
    if (sieve_has(s, hash))
        return false;
    __atomic_store_n(&s->places[at * WAYS + s->next[at]], hash, __ATOMIC_RELAXED);
    s->next[at] = (uint8_t)((s->next[at] + 1) % WAYS);
    return true;
}

/* Never 0, which is an empty place. Case is folded: host names have none. */
static uint64_t hash_of(const struct hash_key *key, struct span text)
{
    uint8_t folded[256];
    size_t n = MIN(text.n, sizeof folded);
    for (size_t i = 0; i < n; i++)
        folded[i] = text.p[i] >= 'A' && text.p[i] <= 'Z' ? text.p[i] | 0x20 : text.p[i];
    return hash64(key, span_of(folded, n)) | 1;
}

/* Each part is hashed by itself, so that no two lists of parts read the same. */
static uint64_t hash_refusal(const struct refusals *r, const struct refusal *who)
{
    const uint64_t parts[] = {hash_of(&r->key, who->client), hash64(&r->key, who->track), hash_of(&r->key, who->host),
                              hash_of(&r->key, who->name), who->port};
    return hash64(&r->key, span_of(parts, sizeof parts)) | 1;
}

void refusals_trust(struct refusals *r, struct span host)
{
    uint64_t hash = hash_of(&r->key, host), *place = &r->trusted[(hash >> 1) % LIMIT_AUTO_PASS];
    if (__atomic_load_n(place, __ATOMIC_RELAXED) != hash) /* mostly it is there: the cache line stays shared */
        __atomic_store_n(place, hash, __ATOMIC_RELAXED);
}

bool refusals_is_trusted(const struct refusals *r, struct span host)
{
    uint64_t hash = hash_of(&r->key, host);
    return __atomic_load_n(&r->trusted[(hash >> 1) % LIMIT_AUTO_PASS], __ATOMIC_RELAXED) == hash;
}

bool refusals_add(struct refusals *r, const struct refusal *who, bool certain)
{
    uint64_t hash = hash_refusal(r, who);
    (void)pthread_mutex_lock(&r->lock);
    bool pass = certain;
    if (!certain) {
        size_t before = 0;
        while (before < ARRAY_LEN(r->silent) && !sieve_add(&r->silent[before], hash))
            before++;
        pass = before == ARRAY_LEN(r->silent);
    }
    if (pass && sieve_add(&r->passed, hash))
        __atomic_store_n(&r->passed_n, 1, __ATOMIC_RELAXED);
    (void)pthread_mutex_unlock(&r->lock);
    return pass;
}

bool refusals_passes(const struct refusals *r, const struct refusal *who)
{
    /* Mostly nobody has refused anything. */
    return __atomic_load_n(&r->passed_n, __ATOMIC_RELAXED) > 0 && sieve_has(&r->passed, hash_refusal(r, who));
}

bool refusals_first(struct refusals *r, struct span text)
{
    uint64_t hash = hash_of(&r->key, text);
    (void)pthread_mutex_lock(&r->lock);
    bool first = sieve_add(&r->told, hash);
    (void)pthread_mutex_unlock(&r->lock);
    return first;
}
