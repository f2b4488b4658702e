/* net.h: getting sockets. Listening (SO_REUSEPORT, one listener a worker), resolving off the loop, connecting by Happy Eyeballs
 * (RFC 8305). */
#ifndef RINGTAPE_RING_NET_H
#define RINGTAPE_RING_NET_H

#include "base/span.h"
#include "ring/loop.h"

#include <sys/socket.h>

enum { NET_ADDRESS_TEXT = 64 };

/* "127.0.0.1:8080", "[::1]:80", "unknown". Always terminated. */
void net_address_text(const struct sockaddr *address, char out[NET_ADDRESS_TEXT]);

/* The address alone ("127.0.0.1", "::1"), for serverIPAddress. */
void net_ip_text(const struct sockaddr *address, char out[NET_ADDRESS_TEXT]);

unsigned net_port(const struct sockaddr *address);
bool net_is_loopback(const struct sockaddr *address);

/* ---- listening ---- */

struct listener;

struct listener_events {
    /* A connected descriptor that is the callee's. */
    void (*accepted)(void *ctx, int fd, const struct sockaddr_storage *peer);
    /* How many more the callee has room for now; asked before each accept, and again whenever a descriptor of the loop was closed.
     * NULL: for any number. */
    size_t (*room)(void *ctx);
};

/* A bound, listening descriptor for host:port (numeric address or name; port 0: any). `reuse_port` lets several workers bind the same
 * one. Fails with ERR_ADDRESS_IN_USE, ERR_PERMISSION, ERR_RESOLVE, ERR_NO_FDS, ERR_IO. *bound gets the real address. */
MUST_USE enum err net_listen(int *fd, const char *host, unsigned port, bool reuse_port, struct sockaddr_storage *bound);

/* Takes a listening descriptor and accepts on it. When descriptors run out (EMFILE, ENFILE) accepting pauses and is tried again as
 * descriptors come back; it is logged once. Fails with ERR_NOMEM, ERR_IO. */
MUST_USE enum err listener_open(struct listener **out, struct loop *loop, int fd, const struct listener_events *events,
                                void *ctx);

/* Holds back further accepts, and goes on. */
void listener_pause(struct listener *l);
void listener_resume(struct listener *l);

/* Closes the descriptor: no callback after this. Clears *closing. */
void listener_close(struct listener **closing);

/* ---- resolving ---- */

/* A pool of threads with a short cache, shared by all loops. */
struct resolver;
MUST_USE enum err resolver_create(struct resolver **out, unsigned threads, const struct log *log);
void resolver_destroy(struct resolver **closing);

/* Look-ups that have gone to getaddrinfo so far (replay shows that it made none). */
uint64_t resolver_lookups(const struct resolver *r);

/* ---- connecting ---- */

struct dial;

struct dial_result {
    enum err error; /* ERR_OK: fd is connected and the callee's */
    int fd;
    struct sockaddr_storage address; /* of the peer that answered, or of the last that was tried */
    uint64_t
        resolved_ns; /* monotonic; when the addresses were known (0: never). A literal or a cache hit: equal to the start */
    uint64_t connected_ns; /* monotonic (0: never) */
    bool resolved_fresh;   /* getaddrinfo was asked */
    char reason[128];      /* for people, when error: "connect to 127.0.0.1:9: connection refused" */
};

struct dial_config {
    const char *host; /* name or literal address, without brackets; copied */
    unsigned port;
    uint64_t timeout_ms; /* all of it; 0: LIMIT_CONNECT_MS */
    /* May this address be connected to? False ends the dial with ERR_LOOP. NULL: any. */
    bool (*allowed)(void *ctx, const struct sockaddr *address);
    void (*done)(void *ctx, const struct dial_result *result); /* once, from the loop; the dial is gone afterwards */
    void *ctx;
};

/* Fails with ERR_NOMEM, or ERR_PERMISSION on a loop that may not connect. */
MUST_USE enum err dial_start(struct dial **out, struct loop *loop, struct resolver *resolver,
                             const struct dial_config *config);

/* `done` is not called after this. Clears *d (may be NULL). */
void dial_cancel(struct dial **d);

#endif
