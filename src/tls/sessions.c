/* sessions.c: a bounded table of serialized sessions. All under one lock, held for a look-up and a copy of about a kilobyte;
 * nothing of wolfSSL's is shared between threads. */
#include "tls/sessions.h"

#include "base/alloc.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/util.h"

#include <pthread.h>

struct entry {
    struct list lru;
    uint64_t hash;
    struct buf key, session;
    struct chain *chain;
};

struct sessions {
    pthread_mutex_t lock;
    struct hash_key hash_key;
    struct hash_table table;
    struct list lru; /* most recently used first */
    unsigned n, max;
};

static bool entry_matches(const void *value, const void *wanted)
{
    const struct entry *entry = value;
    return span_eq(buf_span(&entry->key), *(const struct span *)wanted);
}

static void entry_destroy(struct entry *entry)
{
    if (entry->session.p)
        explicit_bzero(entry->session.p, entry->session.cap); /* master secrets */
    buf_free(&entry->session);
    buf_free(&entry->key);
    chain_unref(&entry->chain);
    mem_free(entry);
}

static void entry_remove(struct sessions *s, struct entry *entry)
{
    hash_table_remove(&s->table, entry->hash, entry);
    list_remove(&entry->lru);
    s->n--;
    entry_destroy(entry);
}

enum err sessions_create(struct sessions **out, unsigned max)
{
    struct sessions *s = *out = mem_new(1, sizeof *s);
    if (!s)
        return ERR_NOMEM;
    pthread_mutex_init(&s->lock, NULL);
    hash_key_random(&s->hash_key);
    list_init(&s->lru);
    s->max = max;
    return ERR_OK;
}

void sessions_destroy(struct sessions **sessions)
{
    struct sessions *s = *sessions;
    *sessions = NULL;
    if (!s)
        return;
    while (!list_empty(&s->lru))
        entry_remove(s, container_of(s->lru.next, struct entry, lru));
    hash_table_free(&s->table);
    pthread_mutex_destroy(&s->lock);
    mem_free(s);
}

void sessions_put(struct sessions *s, struct span key, struct span session, struct chain *chain)
{
    uint64_t hash = hash64(&s->hash_key, key);
    struct entry *entry = mem_new(1, sizeof *entry);
    if (!entry)
        return;
    list_init(&entry->lru);
    entry->hash = hash;
    entry->chain = chain_ref(chain);
    enum err e = buf_put(&entry->key, key);
    if (!e)
        e = buf_put(&entry->session, session);
    pthread_mutex_lock(&s->lock);
    struct entry *old = hash_table_get(&s->table, hash, entry_matches, &key);
    if (old)
        entry_remove(s, old);
    if (!e)
        e = hash_table_add(&s->table, hash, entry);
    if (!e) {
        list_push_front(&s->lru, &entry->lru);
        if (++s->n > s->max)
            entry_remove(s, container_of(s->lru.prev, struct entry, lru));
    }
    pthread_mutex_unlock(&s->lock);
    if (e)
        entry_destroy(entry);
}

enum err sessions_get(struct sessions *s, struct span key, struct buf *out, struct chain **chain)
{
    uint64_t hash = hash64(&s->hash_key, key);
    buf_clear(out);
    *chain = NULL;
    enum err e = ERR_NOT_FOUND;
    pthread_mutex_lock(&s->lock);
    struct entry *entry = hash_table_get(&s->table, hash, entry_matches, &key);
    if (entry) {
        list_remove(&entry->lru);
        list_push_front(&s->lru, &entry->lru);
        e = buf_put(out, buf_span(&entry->session));
        if (!e)
            *chain = chain_ref(entry->chain);
    }
    pthread_mutex_unlock(&s->lock);
    return e;
}

void sessions_drop(struct sessions *s, struct span key)
{
    uint64_t hash = hash64(&s->hash_key, key);
    pthread_mutex_lock(&s->lock);
    struct entry *entry = hash_table_get(&s->table, hash, entry_matches, &key);
    if (entry)
        entry_remove(s, entry);
    pthread_mutex_unlock(&s->lock);
}
