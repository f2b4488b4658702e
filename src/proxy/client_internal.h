/* client_internal.h: what client.c (connection, interception) and client_http.c (exchanges) share. */
#ifndef RINGTAPE_PROXY_CLIENT_INTERNAL_H
#define RINGTAPE_PROXY_CLIENT_INTERNAL_H

#include "http/h1.h"
#include "http/h2.h"
#include "proxy/client.h"
#include "proxy/conn.h"
#include "tls/hello.h"

#define CLIENT_STATES(X)                                                                                               \
    X(CLIENT_SNIFF)     /* new: HTTP or TLS? */                                                                        \
    X(CLIENT_TUNNELLED) /* after CONNECT: TLS, HTTP or anything else? */                                               \
    X(CLIENT_PROBING)   /* TLS: the origin is asked first */                                                           \
    X(CLIENT_TLS)       /* our handshake with the client */                                                            \
    X(CLIENT_INSIDE)    /* inside TLS: HTTP or anything else? */                                                       \
    X(CLIENT_HTTP)                                                                                                     \
    X(CLIENT_HTTP2)                                                                                                    \
    X(CLIENT_RAW) /* bytes */                                                                                          \
    X(CLIENT_CLOSING)

enum client_state {
#define CLIENT_ENUM(name) name,
    CLIENT_STATES(CLIENT_ENUM)
#undef CLIENT_ENUM
};

struct client {
    struct list link;
    struct worker *worker;
    struct conn *conn;
    struct connection *info;
    struct sockaddr_storage peer;
    enum client_state state;
    unsigned busy; /* frames of this client on the stack */
    struct task timer;
    uint64_t active_ns; /* the last time that something moved */

    /* interception */
    struct buf held;       /* bytes that wait: a ClientHello, or pipelined requests */
    char tunnel_host[256]; /* CONNECT's target; "" none */
    unsigned tunnel_port;
    bool tls; /* the client's TLS ends here */
    struct hello hello;
    struct probe probe;
    struct origin_facts facts;
    bool probing;
    bool spoke; /* inside TLS: it has sent something, so it took our certificate */
    char track[128];
    bool authorised; /* within a CONNECT that was */

    /* HTTP/1.1 */
    struct h1 *h1;
    struct task resume; /* goes on with `held`; HTTP/2: sends what there is */
    struct exchange *x;
    struct head head; /* the request as it is passed on */
    struct buf out;
    struct h1_out plan; /* of the response */
    bool http10, keep_alive;
    bool connect;      /* the message in hand is a CONNECT */
    bool absolute;     /* its target was in absolute form */
    bool upgrade;      /* it becomes HTTP/2's first stream */
    bool refuse;       /* the request is answered by ourselves: its body is dropped */
    bool request_done; /* all of the request has come */
    bool response_begun, response_done;
    bool paused;         /* reading is off */
    bool request_paused; /* by the origin */
    bool eof;            /* the client has sent FIN */
    bool event_stream;   /* so is the response under way: it has no end but the client's FIN */
    bool stopping;
    bool feeding;    /* the codec is on the stack */
    bool last_chunk; /* of the response, has gone out */
    bool reported;   /* the taps know the connection */

    /* HTTP/2 */
    struct h2 *h2;
    struct list streams; /* struct client_stream */
    bool awaits_preface; /* upgraded; it has said nothing since the 101 */
    uint64_t stuck_ns;   /* h2_stuck_since() */
    uint64_t h2_calm_ns; /* when h2_calm() was called */
};

void client_enter(struct client *c, enum client_state to);

/* Ends the connection and what hangs on it. The client is freed when nothing of it is on the stack. */
void client_end(struct client *c, enum stream_close_how how, enum err why, const char *reason);
void client_leave(struct client *c); /* pairs with c->busy++ */
/* It asks for more while it does not read its answers: no request is begun before it does. */
bool client_clogged(const struct client *c);
void client_update_reading(struct client *c);
/* Lets the exchange go; `why` as for exchange_destroy(). Harmless without one. */
void client_exchange_end(struct client *c, enum err why, const char *reason);
void client_start_timer(struct client *c);

/* client_h2.c */
MUST_USE enum err client_h2_begin(struct client *c); /* creates the engine */
/* The connection was HTTP/1.1's: c->head, which took so many bytes, becomes the first stream, the bytes in `held` are HTTP/2. Ends the connection if
 * that cannot be. */
void client_h2_upgrade(struct client *c, struct span settings, size_t wire_bytes);
void client_h2_input(struct client *c, struct span in);
void client_h2_flush(struct client *c);
void client_h2_stop(struct client *c);                                  /* no new streams; ends when the last is done */
void client_h2_cut(struct client *c, enum err why, const char *reason); /* lets all exchanges go */

/* client_http.c */
struct exchange_client;
MUST_USE enum err client_exchange_begin(struct client *c, enum flow_kind kind, const struct exchange_client *ops,
                                        void *ctx, struct exchange **x);
/* Does the user name and password of Proxy-Authorization suffice? It names the track, too. */
bool client_authorise(struct client *c, const struct headers *fields);
const struct proxy_reverse *client_reverse(const struct client *c, struct span host);
/* Fills in scheme, host and port. *page: the client took us for the web server. Fails with ERR_UNSUPPORTED (scheme), ERR_NOMEM. */
MUST_USE enum err client_aim(struct client *c, struct head *h, bool absolute, bool *page);
/* A request that was refused, never passed on: a row on the tape all the same. */
void client_record_anomaly(struct client *c, const struct head *seen, enum err why, const char *reason);
MUST_USE enum err client_http_begin(struct client *c); /* creates the codec */
void client_http_input(struct client *c, struct span in);
void client_http_eof(struct client *c);
/* A response of our own, without an exchange. `extra`: header lines with CRLF, or "". */
void client_http_answer(struct client *c, unsigned status, const char *reason, const char *extra, const char *body,
                        bool close);
/* Opens a raw tunnel to the CONNECT target; held bytes go first. */
void client_raw_begin(struct client *c);
void client_raw_input(struct client *c, struct span in);
void client_raw_eof(struct client *c);
/* client.c: the CONNECT was accepted. */
void client_connected(struct client *c);
/* The head of a CONNECT to the tunnel's target. */
MUST_USE enum err client_tunnel_head(const struct client *c, struct head *out);

#endif
