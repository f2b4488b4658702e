/* resolver.c: names to addresses. getaddrinfo() (so that /etc/hosts, nsswitch and the system's resolver hold) on a few threads,
 * with a short cache.
 *
 * Who owns what: a `query` is one name that is being asked for; equal names share it. A `lookup` is one who waits for it, and is embedded
 * in nothing: it belongs to the query until it is answered, then to the post on its way to the loop, and is freed there. Cancelling
 * only marks it when that post is under way already. All of this, but for the running of the post, is under `mutex`. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/util.h"
#include "ring/backend.h"
#include "ring/internal.h"

#include <assert.h>
#include <netdb.h>
#include <pthread.h>
#include <stdlib.h>

struct lookup {
    struct post post;
    struct resolver *resolver;
    struct loop *loop;
    struct list link; /* in its query's `waiting`, until answered */
    bool answered;
    bool cancelled; /* the loop's thread only */
    void (*done)(void *ctx, const struct lookup_result *result);
    void *ctx;
    struct lookup_result result;
};

struct query {
    struct list link; /* in `queued` until a thread takes it, then in `asked` */
    struct list waiting;
    char *host;
};

struct cached {
    struct list link; /* oldest first */
    char *host;
    uint64_t hash, until_ns;
    struct lookup_result result;
};

struct resolver {
    pthread_mutex_t mutex;
    pthread_cond_t work;
    bool stopping;
    struct list queued, asked, ages;
    struct hash_key key;
    struct hash_table cache;
    unsigned cache_count;
    _Atomic uint64_t lookups;
    const struct log *log;
    unsigned thread_count;
    pthread_t threads[];
};

/* ---- the cache ---- */

static bool cached_matches(const void *value, const void *wanted)
{
    const struct cached *c = value;
    return strcmp(c->host, wanted) == 0;
}

static void cache_drop(struct resolver *r, struct cached *c)
{
    hash_table_remove(&r->cache, c->hash, c);
    list_remove(&c->link);
    r->cache_count--;
    mem_free(c->host);
    mem_free(c);
}

/* Out of memory: then it is not remembered. */
static void cache_put(struct resolver *r, const char *host, const struct lookup_result *result)
{
    uint64_t hash = hash64(&r->key, span_str(host));
    struct cached *c = hash_table_get(&r->cache, hash, cached_matches, host);
    if (c)
        cache_drop(r, c);
    if (r->cache_count >= LIMIT_RESOLVER_CACHE)
        cache_drop(r, container_of(r->ages.next, struct cached, link));
    c = mem_new(1, sizeof *c);
    if (!c)
        return;
    c->host = mem_strdup(host, strlen(host));
    c->hash = hash;
    c->until_ns = clock_mono_ns() + LIMIT_RESOLVER_CACHE_MS * NS_PER_MS;
    c->result = *result;
    if (!c->host || hash_table_add(&r->cache, hash, c)) {
        mem_free(c->host);
        mem_free(c);
        return;
    }
    list_push(&r->ages, &c->link);
    r->cache_count++;
}

bool resolver_cached(struct resolver *r, const char *host, struct lookup_result *out)
{
    pthread_mutex_lock(&r->mutex);
    struct cached *c = hash_table_get(&r->cache, hash64(&r->key, span_str(host)), cached_matches, host);
    bool fresh = c && c->until_ns > clock_mono_ns();
    if (fresh)
        *out = c->result;
    else if (c)
        cache_drop(r, c);
    pthread_mutex_unlock(&r->mutex);
    return fresh;
}

/* ---- asking ---- */

static void ask_system(const char *host, struct lookup_result *out)
{
    /* No AI_ADDRCONFIG: a machine with nothing but loopback would find nothing. */
    struct addrinfo hints = {.ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM}, *found = NULL;
    memset(out, 0, sizeof *out);
    int res = getaddrinfo(host, NULL, &hints, &found);
    int error = errno;
    if (res) {
        out->error = res == EAI_MEMORY ? ERR_NOMEM : ERR_RESOLVE;
        out->reason = gai_strerror(res);
        if (res == EAI_SYSTEM && (error == EMFILE || error == ENFILE)) {
            out->error = ERR_NO_FDS;
            out->reason = err_text(ERR_NO_FDS);
        }
        return;
    }
    for (const struct addrinfo *a = found; a && out->count < LIMIT_DIAL_ADDRESSES; a = a->ai_next)
        if ((a->ai_family == AF_INET || a->ai_family == AF_INET6) && a->ai_addrlen <= sizeof out->addresses[0])
            memcpy(&out->addresses[out->count++], a->ai_addr, a->ai_addrlen);
    freeaddrinfo(found);
    if (out->count == 0) {
        out->error = ERR_RESOLVE;
        out->reason = "no usable address";
    }
}

static void query_answer(struct query *q, const struct lookup_result *result)
{
    struct list *link;
    while ((link = list_pop(&q->waiting))) {
        struct lookup *l = container_of(link, struct lookup, link);
        l->result = *result;
        l->answered = true;
        loop_post(l->loop, &l->post);
    }
}

static void query_free(struct query *q)
{
    list_remove(&q->link);
    mem_free(q->host);
    mem_free(q);
}

static void *resolver_thread(void *arg)
{
    struct resolver *r = arg;
    struct lookup_result result;
    pthread_mutex_lock(&r->mutex);
    for (;;) {
        while (list_empty(&r->queued) && !r->stopping)
            pthread_cond_wait(&r->work, &r->mutex);
        if (r->stopping)
            break;
        struct query *q = container_of(list_pop(&r->queued), struct query, link);
        if (list_empty(&q->waiting)) { /* all who wanted it are gone */
            query_free(q);
            continue;
        }
        list_push(&r->asked, &q->link);
        pthread_mutex_unlock(&r->mutex);
        atomic_fetch_add_explicit(&r->lookups, 1, memory_order_relaxed);
        ask_system(q->host, &result);
        pthread_mutex_lock(&r->mutex);
        if (!result.error)
            cache_put(r, q->host, &result);
        query_answer(q, &result);
        query_free(q);
    }
    pthread_mutex_unlock(&r->mutex);
    return NULL;
}

static struct query *query_find(struct list *in, const char *host)
{
    LIST_FOREACH (link, in) {
        struct query *q = container_of(link, struct query, link);
        if (strcmp(q->host, host) == 0)
            return q;
    }
    return NULL;
}

static struct query *query_create(struct resolver *r, const char *host)
{
    struct query *q = mem_new(1, sizeof *q);
    if (!q)
        return NULL;
    list_init(&q->link);
    list_init(&q->waiting);
    q->host = mem_strdup(host, strlen(host));
    if (!q->host) {
        mem_free(q);
        return NULL;
    }
    list_push(&r->queued, &q->link);
    pthread_cond_signal(&r->work);
    return q;
}

enum err lookup_start(struct lookup **out, struct resolver *r, struct loop *loop, const char *host,
                      void (*done)(void *ctx, const struct lookup_result *result), void *ctx)
{
    *out = NULL;
    struct lookup *l = mem_new(1, sizeof *l);
    if (!l)
        return ERR_NOMEM;
    l->post.run = lookup_answered;
    l->resolver = r;
    l->loop = loop;
    l->done = done;
    l->ctx = ctx;
    list_init(&l->link);
    pthread_mutex_lock(&r->mutex);
    struct query *q = query_find(&r->asked, host);
    if (!q)
        q = query_find(&r->queued, host);
    if (!q)
        q = query_create(r, host);
    if (q)
        list_push(&q->waiting, &l->link);
    pthread_mutex_unlock(&r->mutex);
    if (!q) {
        mem_free(l);
        return ERR_NOMEM;
    }
    *out = l;
    return ERR_OK;
}

void lookup_answered(struct post *post)
{
    struct lookup *l = container_of(post, struct lookup, post);
    if (!l->cancelled)
        l->done(l->ctx, &l->result);
    mem_free(l);
}

void lookup_cancel(struct lookup **closing)
{
    struct lookup *l = *closing;
    *closing = NULL;
    if (!l)
        return;
    struct resolver *r = l->resolver;
    pthread_mutex_lock(&r->mutex);
    bool answered = l->answered;
    list_remove(&l->link);
    pthread_mutex_unlock(&r->mutex);
    if (answered)
        l->cancelled = true;
    else
        mem_free(l);
}

/* ---- life ---- */

enum err resolver_create(struct resolver **out, unsigned threads, const struct log *log)
{
    *out = NULL;
    struct resolver *r = mem_new(1, sizeof *r + threads * sizeof r->threads[0]);
    if (!r)
        return ERR_NOMEM;
    list_init(&r->queued);
    list_init(&r->asked);
    list_init(&r->ages);
    r->log = log;
    hash_key_random(&r->key);
    pthread_mutex_init(&r->mutex, NULL);
    pthread_cond_init(&r->work, NULL);
    for (; r->thread_count < threads; r->thread_count++) {
        int res = pthread_create(&r->threads[r->thread_count], NULL, resolver_thread, r);
        if (res == 0)
            continue;
        if (r->thread_count)
            break; /* slower, but it works */
        resolver_destroy(&r);
        return res == EAGAIN ? ERR_LIMIT : err_from_errno(res);
    }
    *out = r;
    return ERR_OK;
}

/* Waits for the look-ups that the system is at; getaddrinfo() cannot be interrupted. */
void resolver_destroy(struct resolver **closing)
{
    struct resolver *r = *closing;
    *closing = NULL;
    if (!r)
        return;
    pthread_mutex_lock(&r->mutex);
    r->stopping = true;
    pthread_cond_broadcast(&r->work);
    pthread_mutex_unlock(&r->mutex);
    for (unsigned i = 0; i < r->thread_count; i++)
        pthread_join(r->threads[i], NULL);
    assert(list_empty(&r->asked));
    while (!list_empty(&r->queued)) {
        struct query *q = container_of(r->queued.next, struct query, link);
        assert(list_empty(&q->waiting));
        query_free(q);
    }
    while (!list_empty(&r->ages))
        cache_drop(r, container_of(r->ages.next, struct cached, link));
    hash_table_free(&r->cache);
    pthread_mutex_destroy(&r->mutex);
    pthread_cond_destroy(&r->work);
    mem_free(r);
}

uint64_t resolver_lookups(const struct resolver *r)
{
    return atomic_load_explicit(&r->lookups, memory_order_relaxed);
}
