/* proxy.h: the intercepting proxy: workers with a loop, a listener and client connections each. What answers (origin) and what
 * watches (taps) is wired in by the caller, once a worker. */
#ifndef RINGTAPE_PROXY_PROXY_H
#define RINGTAPE_PROXY_PROXY_H

#include "base/log.h"
#include "flow/origin.h"
#include "ring/loop.h"
#include "ring/net.h"
#include "tls/tls.h"

struct proxy;

/* `--reverse [HOST=]URL`: requests in origin-form (for HOST, or any) go to URL. */
struct proxy_reverse {
    char host[256]; /* "" : any */
    char scheme[8]; /* "http" or "https" */
    char to_host[256];
    unsigned to_port;
    char prefix[256]; /* path of the URL without its last '/', "" : none */
};
/* Fails with ERR_USAGE; *problem gets a sentence. */
MUST_USE enum err proxy_reverse_parse(const char *text, struct proxy_reverse *out, struct buf *problem);

/* `--pass HOST[:PORT]`: "example.com", "*.example.com", "*:22", "[::1]:443". */
struct proxy_pass {
    char host[256]; /* glob: a leading "*." or "*" */
    unsigned port;  /* 0: any */
};
MUST_USE enum err proxy_pass_parse(const char *text, struct proxy_pass *out, struct buf *problem);
/* The same without a sentence. Fails with ERR_PARSE. */
MUST_USE enum err proxy_pass_read(struct span text, struct proxy_pass *out);
bool proxy_pass_matches(const struct proxy_pass *pass, struct span host, unsigned port);

/* What the caller's wire() gets to work with; lives as long as the worker. */
struct proxy_worker_env {
    unsigned index;
    struct loop *loop;
    struct scheduler *scheduler;
    uint64_t *connection_ids;          /* the process-wide counter, used atomically */
    struct sockaddr_storage listening; /* so that an origin can refuse to connect to ourselves (508) */
};

/* How many connections to origins, idle ones too, the worker's descriptors allow now; at least 1. On the worker's thread. */
size_t proxy_worker_origins(const struct proxy_worker_env *env);

struct proxy_options {
    const char *host; /* to listen on */
    unsigned port;    /* 0: any free one */
    unsigned workers;
    enum loop_backend backend;
    bool no_connect;                      /* replay: see struct loop_config */
    struct leaf_cache *leaves;            /* borrowed */
    struct tls_server_config *server_tls; /* borrowed */
    const struct ca *ca;                  /* borrowed; for http://ringtape/ */
    const struct proxy_reverse *reverse;  /* borrowed */
    size_t reverse_n;
    const struct proxy_pass *pass; /* borrowed */
    size_t pass_n;
    bool no_http2;          /* a client that offers HTTP/2 besides HTTP/1.1 (Upgrade: h2c) gets the latter */
    bool auto_pass;         /* a client that refuses our certificate gets that host without interception from then on */
    const char *proxy_auth; /* "user:password" that clients must give; NULL: none */
    /* Fills in the worker's origin and taps; on the creating thread, before any worker runs. */
    enum err (*wire)(void *ctx, const struct proxy_worker_env *env, struct pipeline *pipeline);
    /* The worker has ended; its loop still exists. On the worker's thread. */
    void (*unwire)(void *ctx, unsigned index, struct pipeline *pipeline);
    /* Some tens of milliseconds after something happened: hand over what was gathered (recorder_flush). On the worker's thread. */
    void (*flush)(void *ctx, unsigned index);
    /* Appends a JSON object's members ("\"flows\":3,…") to http://ringtape/counters.json; any worker's thread. May be NULL. */
    enum err (*counters)(void *ctx, struct buf *out);
    void *ctx;
    const struct log *log;
};

/* Binds and prepares; nothing runs yet. *problem gets one sentence on failure. Fails with ERR_ADDRESS_IN_USE, ERR_PERMISSION, ERR_RESOLVE, ERR_NO_FDS, ERR_NOMEM,
 * ERR_UNSUPPORTED (that backend), ERR_IO. */
MUST_USE enum err proxy_create(struct proxy **out, const struct proxy_options *options, struct buf *problem);

/* The address that was bound. */
void proxy_address(const struct proxy *p, struct sockaddr_storage *out);
const char *proxy_backend(const struct proxy *p);

/* Starts the workers' threads. The listener accepts already. Fails with ERR_NOMEM, ERR_IO. */
MUST_USE enum err proxy_start(struct proxy *p);

/* Any thread. First call: stop accepting, close idle connections, let exchanges in flight end, at most LIMIT_SHUTDOWN_MS.
 * Second call: cut them. */
void proxy_stop(struct proxy *p);

/* Have all workers ended? */
bool proxy_stopped(const struct proxy *p);

/* Waits for the workers' end (only after proxy_stop(), or when one failed: then the error it failed with). */
MUST_USE enum err proxy_wait(struct proxy *p);

void proxy_destroy(struct proxy **p);

struct proxy_counters {
    uint64_t clients, clients_now; /* connections accepted; open now */
    uint64_t exchanges, exchanges_now;
    uint64_t client_tls_refused;  /* clients that refused our certificate */
    uint64_t bytes_in, bytes_out; /* on client sockets */
};
/* Any thread. */
void proxy_get_counters(const struct proxy *p, struct proxy_counters *out);

#endif
