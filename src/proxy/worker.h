/* worker.h: one thread of the proxy, with its loop, listener, clients and pipeline. Internal to proxy/. */
#ifndef RINGTAPE_PROXY_WORKER_H
#define RINGTAPE_PROXY_WORKER_H

#include "base/list.h"
#include "proxy/page.h"
#include "proxy/proxy.h"
#include "proxy/refusals.h"

#include <pthread.h>

struct worker {
    struct proxy *proxy;
    const struct proxy_options *options;
    struct proxy_worker_env env;
    struct pipeline pipeline;
    struct page page;
    struct refusals *refusals; /* all workers' */
    struct listener *listener;
    struct list clients;
    unsigned clients_n, clients_max;
    size_t descriptors_max; /* of connections: two a client, for one of its may lead to an origin */
    struct task flush, deadline, drained;
    struct post stop_post, cut_post;
    bool stopping, unwired;
    pthread_t thread;
    enum err result;
    int fd;                         /* the listening descriptor, until the listener takes it */
    struct proxy_counters counters; /* written by this thread, read by any: relaxed atomics */
};

/* Counts up a member of worker->counters. */
#define WORKER_COUNT(w, member, by) __atomic_fetch_add(&(w)->counters.member, (uint64_t)(by), __ATOMIC_RELAXED)

uint64_t worker_next_exchange(struct worker *w);

/* Something was given to the taps: they are flushed soon. */
void worker_touch(struct worker *w);

/* A client has gone. */
void worker_client_gone(struct worker *w);

/* Logs, once a host, that a client refused our certificate, and what follows from it, or what to do about it. */
void worker_client_refused(struct worker *w, const char *host, bool certain, bool passed, const char *reason);

/* Is this host:port on the pass list? */
bool proxy_passes(const struct proxy_options *o, struct span host, unsigned port);

#endif
