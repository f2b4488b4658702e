/* internal.h: what the files of ring/ know of each other, beyond the backends. */
#ifndef RINGTAPE_RING_INTERNAL_H
#define RINGTAPE_RING_INTERNAL_H

#include "base/limits.h"
#include "ring/net.h"

/* Hands held bytes and ends to the streams that were resumed. */
void stream_deliver_held(struct loop *loop);

/* The loop's `feed` task: listeners that ran out of descriptors try again. */
void listener_feed(struct task *task);

socklen_t net_address_length(const struct sockaddr *address);

/* A literal address? False: it is a name. */
bool net_parse_literal(const char *host, unsigned port, struct sockaddr_storage *out);

/* ---- looking up a name; one of these for each dial that waits ---- */

struct lookup_result {
    enum err error;
    unsigned count;                                          /* at least 1 when there is no error */
    const char *reason;                                      /* why not; static */
    struct sockaddr_storage addresses[LIMIT_DIAL_ADDRESSES]; /* port 0; in getaddrinfo's order */
};

struct lookup;

/* From the cache. */
bool resolver_cached(struct resolver *r, const char *host, struct lookup_result *out);

/* Asks the pool; `done` is called from the loop unless the look-up is cancelled first. Fails with ERR_NOMEM. */
MUST_USE enum err lookup_start(struct lookup **out, struct resolver *r, struct loop *loop, const char *host,
                               void (*done)(void *ctx, const struct lookup_result *result), void *ctx);
void lookup_cancel(struct lookup **closing);

/* The post by which an answer reaches the loop. */
void lookup_answered(struct post *post);

#endif
