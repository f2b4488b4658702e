/* conn.h: a byte stream to a peer, plain or inside TLS: what a leg reads and writes. Plaintext written within one turn goes out as
 * one TLS record where it fits. Belongs to one loop. */
#ifndef RINGTAPE_PROXY_CONN_H
#define RINGTAPE_PROXY_CONN_H

#include "ring/stream.h"
#include "tls/tls.h"

struct conn;

/* All run from the loop, but for `secured` and `data`, which conn_inject() may call too. Any of them may call conn_close(). */
struct conn_events {
    void (*secured)(void *ctx);                 /* the TLS handshake is done */
    void (*data)(void *ctx, struct span plain); /* dies on return; never empty */
    void (*eof)(void *ctx, bool clean);         /* no more data; clean: close_notify came, or there is no TLS */
    void (*drained)(void *ctx);                 /* no longer conn_full() */
    void (*failed)(void *ctx, enum err why, const char *reason); /* only conn_close() is valid now */
};

/* Takes the connected descriptor (closed on failure too). Fails with ERR_NOMEM, ERR_IO. */
MUST_USE enum err conn_open(struct conn **out, struct loop *loop, int fd, const struct conn_events *events, void *ctx);

void conn_set_events(struct conn *c, const struct conn_events *events, void *ctx);

/* From now on TLS: `accept` as a server that presents `leaf`, `connect` as a client (the ClientHello goes out). Bytes that had come before are given by
 * conn_inject(). Fails as tls_accept() and tls_connect(). */
MUST_USE enum err conn_accept_tls(struct conn *c, struct tls_server_config *config, struct leaf *leaf,
                                  struct span alpn);
MUST_USE enum err conn_connect_tls(struct conn *c, struct tls_client_config *config, struct span host, unsigned port,
                                   struct span alpn);

/* As if these bytes had just been received. May call any event. */
void conn_inject(struct conn *c, struct span bytes);

/* Queues a copy; failures come as `failed`, from the loop. */
void conn_send(struct conn *c, struct span bytes);
bool conn_full(const struct conn *c);
void conn_pause(struct conn *c);
void conn_resume(struct conn *c);

/* No more will be sent: close_notify, then FIN. */
void conn_shutdown(struct conn *c);

/* Clears *c (may be NULL). No callback comes after it. STREAM_FLUSH sends what was queued, and close_notify. */
void conn_close(struct conn **c, enum stream_close_how how);

const struct tls *conn_tls(const struct conn *c); /* NULL: plain */
struct stream *conn_stream(const struct conn *c);
/* Bytes received and sent on the wire so far. */
uint64_t conn_bytes_in(const struct conn *c);
uint64_t conn_bytes_out(const struct conn *c);

#endif
