/* network_pool.c: the connections of one worker to origins: idle ones of HTTP/1.1, the most recently used first, and those of HTTP/2, which carry
 * many requests at once, idle or not. */
#include "proxy/network_internal.h"

#include "base/clock.h"
#include "base/limits.h"

void network_idle(void *ctx, struct upstream *u)
{
    struct network *n = ctx;
    list_push_front(&n->pool, upstream_pool_link(u));
    n->pool_n++;
    if (n->pool_n > LIMIT_POOL_TOTAL)
        upstream_release(upstream_of_pool_link(n->pool.prev), false);
    if (!task_waiting(&n->reap))
        loop_start(n->env.worker->loop, &n->reap, LIMIT_POOL_IDLE_MS * NS_PER_MS / 2);
}

void network_gone(void *ctx, struct upstream *u)
{
    struct network *n = ctx;
    (void)u;
    n->pool_n--;
}

struct upstream *network_find_idle(struct network *n, const struct upstream_key *key)
{
    LIST_FOREACH (it, &n->pool) {
        struct upstream *u = upstream_of_pool_link(it);
        if (upstream_key_equal(upstream_key(u), key))
            return u;
    }
    return NULL;
}

/* A new connection is wanted: idle ones give way when descriptors are few. */
void network_make_room(struct network *n)
{
    size_t max = proxy_worker_origins(n->env.worker);
    while (!list_empty(&n->pool) && n->open_n + 1 > max)
        upstream_release(upstream_of_pool_link(n->pool.prev), false);
    LIST_FOREACH (it, &n->shared) {
        struct shared *s = shared_of_link(it);
        if (n->open_n + 1 > max && shared_idle_since_ns(s))
            shared_close(&s);
    }
}

struct shared *network_find_shared(struct network *n, const struct upstream_key *key)
{
    LIST_FOREACH (it, &n->shared) {
        struct shared *s = shared_of_link(it);
        if (shared_can_take(s) && upstream_key_equal(shared_key(s), key))
            return s;
    }
    return NULL;
}

enum err network_share(struct network *n, struct upstream *u, struct shared **out)
{
    enum err e = shared_create(out, u, n->env.worker->loop);
    if (e)
        return e;
    list_push_front(&n->shared, shared_link(*out));
    if (!task_waiting(&n->reap))
        loop_start(n->env.worker->loop, &n->reap, LIMIT_POOL_IDLE_MS * NS_PER_MS / 2);
    return ERR_OK;
}

static void network_reap_shared(struct network *n, uint64_t now)
{
    LIST_FOREACH (it, &n->shared) {
        struct shared *s = shared_of_link(it);
        uint64_t since = shared_idle_since_ns(s);
        if (since && now - since >= LIMIT_POOL_IDLE_MS * NS_PER_MS)
            shared_close(&s);
        else
            shared_check(s, now);
    }
}

void network_reap(struct task *task)
{
    struct network *n = container_of(task, struct network, reap);
    uint64_t now = loop_now_ns(n->env.worker->loop);
    while (!list_empty(&n->pool)) {
        struct upstream *oldest = upstream_of_pool_link(n->pool.prev);
        if (now - upstream_idle_since_ns(oldest) < LIMIT_POOL_IDLE_MS * NS_PER_MS)
            break;
        upstream_release(oldest, false);
    }
    network_reap_shared(n, now);
    if (!list_empty(&n->pool) || !list_empty(&n->shared))
        loop_start(n->env.worker->loop, &n->reap, LIMIT_POOL_IDLE_MS * NS_PER_MS / 2);
}

/* ---- keys ---- */

static bool key_add_alpn(struct upstream_key *key, struct span protocol)
{
    if (key->alpn_n + 1 + protocol.n > sizeof key->alpn)
        return false;
    key->alpn[key->alpn_n++] = (char)protocol.n;
    memcpy(key->alpn + key->alpn_n, protocol.p, protocol.n);
    key->alpn_n += protocol.n;
    return true;
}

void network_offer(const struct network *n, struct upstream_key *key, struct span offer)
{
    for (size_t at = 0; at < offer.n;) {
        struct span name = span_first(span_from(offer, at + 1), offer.p[at]);
        at += 1 + (size_t)offer.p[at];
        bool h2 = span_eq(name, SPAN("h2")) && !n->options.no_http2;
        if ((h2 || span_eq(name, SPAN("http/1.1"))) && !key_add_alpn(key, name))
            return;
    }
}
