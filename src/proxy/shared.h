/* shared.h: one HTTP/2 connection to an origin, used by many requests at once. Internal to proxy/. Users are told of everything from the
 * loop only, never inside a call of theirs. */
#ifndef RINGTAPE_PROXY_SHARED_H
#define RINGTAPE_PROXY_SHARED_H

#include "proxy/upstream.h"

struct shared;
struct shared_request; /* until end, failed or release */

struct shared_user {
    enum err (*head)(void *ctx, const struct head *head, bool end); /* the final one; end: nothing follows but `done` */
    enum err (*informational)(void *ctx, const struct head *head);
    enum err (*body)(void *ctx, struct span bytes);
    enum err (*trailers)(void *ctx, const struct headers *trailers);
    enum err (*done)(void *ctx); /* the response is complete; release it */
    void (*drained)(void *ctx);
    /* It is gone: forget the pointer. untouched: the origin has not begun with it, it may be sent again (RFC 9113 §8.7). ERR_UNSUPPORTED: over
     * HTTP/1.1 only (HTTP_1_1_REQUIRED). */
    void (*failed)(void *ctx, enum err why, bool untouched, const char *reason);
};

/* Takes over a connection that is ready and speaks HTTP/2; its user is forgotten. It owns itself: when it is gone it leaves the list it is in. On
 * failure the connection is released. Fails with ERR_NOMEM. */
MUST_USE enum err shared_create(struct shared **out, struct upstream *u, struct loop *loop);

/* Closes it: GOAWAY; requests on it fail. Clears *s. */
void shared_close(struct shared **s);

struct list *shared_link(struct shared *s); /* the pool's */
struct shared *shared_of_link(struct list *link);
const struct upstream_key *shared_key(const struct shared *s);
struct connection *shared_connection(const struct shared *s);
bool shared_used_before(const struct shared *s); /* it has carried a request */
bool shared_can_take(const struct shared *s);    /* another request */
bool shared_can_upgrade(
    const struct shared *s); /* an upgrade as extended CONNECT (RFC 8441), once its SETTINGS have come */

/* Somebody who waits for the origin's SETTINGS. Embedded; taken out of the list, it is called no more. */
struct shared_wait {
    struct list link;
    void (*done)(struct shared_wait *wait, struct shared *s); /* from the loop; NULL: the connection is gone */
};
/* False: they have come already, and nothing is called. */
bool shared_await_settings(struct shared *s, struct shared_wait *wait);
/* Since when without a request; 0: it has some. */
uint64_t shared_idle_since_ns(const struct shared *s);

/* From the loop, now and then: an origin that has taken nothing of what waits for it for LIMIT_STALL_MS loses the connection, whatever else it
 * says. `s` may be gone then. */
void shared_check(struct shared *s, uint64_t now_ns);

enum shared_body { SHARED_NO_BODY, SHARED_BODY, SHARED_UPGRADE };
/* Begins a request. Fails with ERR_NOMEM, ERR_REFUSED, ERR_PARSE. */
MUST_USE enum err shared_begin(struct shared *s, const struct head *head, enum shared_body body,
                               const struct shared_user *user, void *ctx, struct shared_request **out);
/* Failures come as `failed`. */
void shared_send(struct shared_request *r, struct span bytes);
void shared_send_end(struct shared_request *r, const struct headers *trailers); /* NULL: none */
bool shared_full(const struct shared_request *r);
uint64_t shared_wire_bytes(const struct shared_request *r); /* of the response, so far (h2_wire_bytes()) */
void shared_pause(struct shared_request *r, bool paused);
/* The user is done with it: reset when it was not complete. Nothing is called any more. */
void shared_release(struct shared_request *r);

#endif
