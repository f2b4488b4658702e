/* origin.h: what answers. In record it is the network, in replay a tape. One per worker, on that worker's thread. */
#ifndef RINGTAPE_FLOW_ORIGIN_H
#define RINGTAPE_FLOW_ORIGIN_H

#include "flow/exchange.h"

/* What a client that wants TLS to host:port should see. */
struct origin_facts {
    enum err error;   /* the origin could not be had; the client is told in the answer to its first request */
    char reason[256]; /* for people */
    char alpn[32];    /* what the origin chose of the offer; "" : none */
    bool upgrades;    /* in HTTP/2 it takes upgrades, as extended CONNECT (RFC 8441) */
    struct buf names; /* the certificate's names, a 0 byte after each; may be empty */
};

/* A question for those facts; embedded in the client leg, which may drop it by origin->ops->probe_cancel(). */
struct probe {
    struct span host; /* borrowed until done */
    unsigned port;
    struct span sni;                   /* the name in the client's hello; empty: none */
    struct span alpn;                  /* the client's offer, a name list as on the wire; may be empty */
    struct origin_facts *facts;        /* filled in; the client leg's */
    void (*done)(struct probe *probe); /* once, from the loop, never inside probe() */
    void *state;                       /* the origin's */
};

struct origin {
    const struct origin_ops *ops;
};

struct origin_ops {
    void (*probe)(struct origin *origin, struct probe *probe);
    void (*probe_cancel)(struct origin *origin, struct probe *probe);
    /* An exchange begins: its request follows. For FLOW_TUNNEL the request head is the CONNECT, and PART_BODY are the client's bytes; the
     * response head (200) says that the tunnel stands. Answers, failures too, come later through exchange_response(), never inside
     * open() or request(). */
    void (*open)(struct origin *origin, struct exchange *x);
    void (*request)(struct origin *origin, struct exchange *x, const struct event *event);
    void (*pause_response)(struct origin *origin, struct exchange *x, bool paused);
    /* The client is gone: let go now, call nothing. */
    void (*cancel)(struct origin *origin, struct exchange *x);
};

#endif
