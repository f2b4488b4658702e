/* network_internal.h: what network.c (exchanges), network_pool.c (connections) and network_probe.c (probes) share: the pool of one worker. */
#ifndef RINGTAPE_PROXY_NETWORK_INTERNAL_H
#define RINGTAPE_PROXY_NETWORK_INTERNAL_H

#include "base/util.h"
#include "proxy/network.h"
#include "proxy/shared.h"
#include "proxy/upstream.h"

struct network {
    struct origin origin;
    struct network_options options;
    struct upstream_env env;
    struct list pool;               /* idle upstreams, the latest first */
    size_t pool_n, open_n;          /* idle ones; all */
    struct list shared;             /* HTTP/2 connections, idle or not, the latest first */
    struct list dialling, waiting;  /* calls: those that connect, and those that may share what comes of it */
    struct upstream_key without_h2; /* the last origin that chose HTTP/1.1: there nobody waits */
    struct task reap;
    struct buf scratch; /* chunk framing on its way; kept, so that no piece of a body allocates */
};

static inline struct network *network_of(struct origin *origin)
{
    return container_of(origin, struct network, origin);
}

/* upstream_env's. */
void network_idle(void *ctx, struct upstream *u);
void network_gone(void *ctx, struct upstream *u);
void network_reap(struct task *task);
struct upstream *network_find_idle(struct network *n, const struct upstream_key *key);
/* Before a new connection: idle ones give way when descriptors are few. */
void network_make_room(struct network *n);
/* One that takes another request. */
struct shared *network_find_shared(struct network *n, const struct upstream_key *key);
/* A connection that speaks HTTP/2 becomes everybody's. Released on failure. Fails with ERR_NOMEM. */
MUST_USE enum err network_share(struct network *n, struct upstream *u, struct shared **out);
/* Of the client's offer, what we speak, in its order. */
void network_offer(const struct network *n, struct upstream_key *key, struct span offer);

void network_probe(struct origin *origin, struct probe *probe);
void network_probe_cancel(struct origin *origin, struct probe *probe);

#endif
