/* exchange.h: one request and its response, as version-neutral events, on their way between a client leg and an origin:
 *
 *     client leg ──request──> filter 1 … filter n ──> taps ──> origin
 *                <─response── filter 1 … filter n <── taps <──
 *
 * The client leg creates the exchange, feeds the request, and receives the response through struct exchange_client. Filters may change, answer,
 * delay or refuse. Taps stand next to the origin: they see what was forwarded to it and what it said. After CONNECT or an
 * upgrade, PART_BODY carries raw bytes in both directions (kind is not FLOW_HTTP then).
 * All on one thread. Events, heads and spans are borrowed for the call. */
#ifndef RINGTAPE_FLOW_EXCHANGE_H
#define RINGTAPE_FLOW_EXCHANGE_H

#include "flow/connection.h"
#include "flow/event.h"

struct exchange;
struct messages;
struct origin;
struct origin_facts;

/* What the client leg is told. None of these may destroy the exchange but for response(PART_END or PART_ERROR). */
struct exchange_client {
    void (*response)(struct exchange *x, const struct event *event);
    /* The request body cannot be taken for now (true), or can again. Events fed while paused are still taken. */
    void (*pause_request)(struct exchange *x, bool paused);
    /* A tunnel's origin says nothing more: it still listens, or (gone) does not. Only with `gone` may the exchange be destroyed. NULL: the end of
     * the response is the end of all of it. */
    void (*finished)(struct exchange *x, bool gone);
};

enum { EXCHANGE_FILTERS_MAX = 8, EXCHANGE_TAPS_MAX = 4 };

/* Watches. Has no say. One per worker; `exchange->id` tells flows apart. */
struct tap {
    const struct tap_ops *ops;
};
struct tap_ops {
    void (*begin)(struct tap *tap, const struct exchange *x);
    void (*request)(struct tap *tap, const struct exchange *x, const struct event *event);
    void (*response)(struct tap *tap, const struct exchange *x, const struct event *event);
    /* Nothing more comes for this exchange. */
    void (*end)(struct tap *tap, const struct exchange *x);
    /* A connection came up or failed to (closed_ns is 0), or ended. */
    void (*connection)(struct tap *tap, const struct connection *connection);
    /* A message within the parts that were told: of a WebSocket (whose PART_BODY is told too), an event stream, gRPC. NULL: not asked for. */
    void (*message)(struct tap *tap, const struct exchange *x, bool response, const struct message *message);
};

/* Stands between. Each function passes an event on, changed or not, by exchange_pass_request()/_response(), at once or later. */
struct filter {
    const struct filter_ops *ops;
    size_t index; /* set by pipeline_add_filter() */
};
struct filter_ops {
    void (*request)(struct filter *filter, struct exchange *x, const struct event *event);
    void (*response)(struct filter *filter, struct exchange *x, const struct event *event); /* NULL: passed on */
    /* Free exchange->filter_state[filter->index]. NULL: nothing to free. */
    void (*end)(struct filter *filter, struct exchange *x);
};

/* What every exchange of one worker runs through. Embedded by the worker. */
struct pipeline {
    struct filter *filters[EXCHANGE_FILTERS_MAX];
    struct tap *taps[EXCHANGE_TAPS_MAX];
    size_t filters_n, taps_n;
    struct origin *origin;
};
void pipeline_add_filter(struct pipeline *p, struct filter *filter);
void pipeline_add_tap(struct pipeline *p, struct tap *tap);
/* Tells the taps. */
void pipeline_connection(const struct pipeline *p, const struct connection *connection);

struct exchange {
    uint64_t id; /* unique in this process, from 1, in order of begin */
    enum flow_kind kind;
    uint64_t started_wall_ns, started_ns;
    struct span track;                /* proxy username; borrowed from the client leg; empty: none */
    struct connection *client;        /* referenced */
    struct connection *server;        /* referenced; NULL until the origin has one; set by exchange_set_server() */
    bool server_reused;               /* an earlier exchange used the same connection */
    uint64_t sent_ns;                 /* when the request head was handed to the server connection; 0: not yet */
    const struct origin_facts *facts; /* what the probe of this tunnel said; borrowed from the client leg; NULL: none */
    const char *intercepted_sni;      /* the name in the client's TLS, "" plain; borrowed from the client leg */
    struct span alpn_offer;  /* of the client's TLS, as on the wire; borrowed from the client leg; empty: none */
    struct span tunnel_host; /* CONNECT's target, when inside one; borrowed from the client leg; empty: the URL says */
    unsigned tunnel_port;
    bool tunnel_tls; /* FLOW_TUNNEL: the client's TLS was taken off; towards the origin it is put on again */
    uint64_t request_bytes, response_bytes;           /* body bytes after transfer-decoding, so far */
    uint64_t request_wire_bytes, response_wire_bytes; /* heads and framing included, where known; kept by the legs */
    uint64_t response_length; /* body bytes that the response's head lets expect; UINT64_MAX: it does not say */

    /* wiring */
    const struct pipeline *pipeline;   /* borrowed */
    const struct exchange_client *ops; /* borrowed */
    void *client_ctx;                  /* the client leg's */
    void *origin_state;                /* the origin's; NULL when the origin is not, or no longer, involved */
    void *filter_state[EXCHANGE_FILTERS_MAX];
    bool origin_open; /* origin->open() was called and neither end, error nor cancel since */
    bool tapped;      /* the taps were told of it */
    bool asks_head;   /* a HEAD request */
    bool request_ended, response_begun, response_ended;
    bool half_closed;          /* the response has ended, and the origin goes on listening */
    struct messages *messages; /* what reads them; NULL: there are none */
    bool ambiguous;            /* a frame has two readings: what set it is not forwarded, the origin fails it */
};

/* Begins; takes references. Nothing is told to anyone before the request head. Fails with ERR_NOMEM. */
MUST_USE enum err exchange_create(struct exchange **out, uint64_t id, enum flow_kind kind,
                                  const struct pipeline *pipeline, struct connection *client,
                                  const struct exchange_client *ops, void *client_ctx);

/* Ends it: an origin still at work is cancelled, `why` (for the taps: ERR_CLOSED when the client hung up) is recorded unless the response had
 * ended, or all that its head stated had come. Clears *x (may be NULL). No callback comes after it. */
void exchange_destroy(struct exchange **x, enum err why, const char *reason);

/* Client leg: one part of the request. After PART_END or PART_ERROR nothing more, but for the raw bytes of an upgrade. */
void exchange_request(struct exchange *x, const struct event *event);

/* Origin (or filter that answers: use exchange_pass_response): one part of the response. After PART_END or PART_ERROR the origin
 * has let go of the exchange. Not from within the origin's own request(). */
void exchange_response(struct exchange *x, const struct event *event);

/* Origin, tunnels only: half-closed, the response is over and the client's bytes are still taken, until exchange_let_go(). False: this client
 * leg cannot; then PART_END it is. */
MUST_USE bool exchange_half_close(struct exchange *x);
void exchange_let_go(struct exchange *x);

void exchange_pass_request(struct exchange *x, const struct filter *from, const struct event *event);
void exchange_pass_response(struct exchange *x, const struct filter *from, const struct event *event);

/* Stop or go on delivering: the client leg the response, the origin the request body. */
void exchange_pause_response(struct exchange *x, bool paused);
void exchange_pause_request(struct exchange *x, bool paused);

/* Origin: the connection that carries it. Takes a reference. */
void exchange_set_server(struct exchange *x, struct connection *server, bool reused);

/* An upgrade was accepted: bytes from now on. */
void exchange_set_kind(struct exchange *x, enum flow_kind kind);

/* Tells the taps of an exchange that failed before any origin was asked (a client that refused our certificate). */
void exchange_record_failure(const struct exchange *x, const struct head *request, enum err why, const char *reason);

/* What the client is told when no answer could be had: 502, 504, 508, or 501 for a miss. */
unsigned exchange_error_status(enum err e);

#endif
