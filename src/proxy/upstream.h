/* upstream.h: one connection to an origin: dialled, perhaps through a proxy beyond this one, perhaps inside TLS, then HTTP/1.1 or raw
 * bytes. Internal to proxy/. Its user is told of everything through struct upstream_user, from the loop only; an upstream without
 * a user is idle and belongs to the pool. */
#ifndef RINGTAPE_PROXY_UPSTREAM_H
#define RINGTAPE_PROXY_UPSTREAM_H

#include "flow/connection.h"
#include "http/h1.h"
#include "proxy/conn.h"
#include "proxy/network.h"

struct upstream;

/* What makes two connections interchangeable. */
struct upstream_key {
    char host[256]; /* to connect to */
    unsigned port;
    bool tls;
    bool raw;      /* plain bytes, no HTTP: a proxy beyond is asked to CONNECT */
    char sni[256]; /* the name inside TLS; what is verified */
    char alpn[64]; /* offer, as on the wire */
    size_t alpn_n;
    bool h2c; /* HTTP/2 without TLS, by prior knowledge (RFC 9113 §3.3) */
};
bool upstream_key_equal(const struct upstream_key *a, const struct upstream_key *b);

struct upstream_user {
    void (*ready)(void *ctx);                        /* once; may be used now */
    struct h1_events http;                           /* what the origin says; never in raw mode */
    enum err (*bytes)(void *ctx, struct span bytes); /* raw mode */
    void (*eof)(void *ctx);                          /* raw mode: the origin sent FIN */
    void (*drained)(void *ctx);
    void (*failed)(void *ctx, enum err why, const char *reason); /* it is gone: forget the pointer */
};

struct upstream_env {
    const struct network_options *options;
    const struct proxy_worker_env *worker;
    const struct pipeline *pipeline;
    /* Idle and usable: add it to the pool. Or: it left the pool by itself. */
    void (*idle)(void *ctx, struct upstream *u);
    void (*gone)(void *ctx, struct upstream *u);
    size_t *open_n; /* all that are not dead are counted here */
    void *ctx;
};

/* Starts to connect; user->ready or user->failed follows. `env` is borrowed. Fails with ERR_NOMEM, ERR_PERMISSION. */
MUST_USE enum err upstream_open(struct upstream **out, const struct upstream_env *env, const struct upstream_key *key,
                                const struct upstream_user *user, void *ctx);
/* Takes an idle one: ready at once. */
void upstream_take(struct upstream *u, const struct upstream_user *user, void *ctx);
/* Somebody else uses it from now on. */
void upstream_set_user(struct upstream *u, const struct upstream_user *user, void *ctx);
/* The user is done: into the pool when the connection can carry another request, else closed. Nothing is called any more. */
void upstream_release(struct upstream *u, bool reusable);

const struct upstream_key *upstream_key(const struct upstream *u);
struct connection *upstream_connection(const struct upstream *u);
struct list *upstream_pool_link(struct upstream *u);
struct upstream *upstream_of_pool_link(struct list *link);
uint64_t upstream_idle_since_ns(const struct upstream *u);
bool upstream_used_before(const struct upstream *u); /* it has carried an exchange */
bool upstream_heard(const struct upstream *u);       /* a byte came since it was taken */
const struct h1_message *upstream_message(const struct upstream *u);

/* Once ready: is it HTTP/2 that it speaks? Then it is for shared_create(). */
bool upstream_is_h2(const struct upstream *u);

/* Sending, once ready. Failures come as `failed`, from the loop. */
MUST_USE enum err upstream_send_head(struct upstream *u, const struct head *head, const struct h1_out *how);
void upstream_send(struct upstream *u, struct span bytes);
void upstream_send_end(struct upstream *u); /* raw mode: FIN */
bool upstream_full(const struct upstream *u);
void upstream_pause(struct upstream *u, bool paused);
/* From now on raw bytes both ways; what had come after the head is told from the loop. */
void upstream_go_raw(struct upstream *u);

#endif
