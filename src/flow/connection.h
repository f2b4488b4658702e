/* connection.h: what is known of one TCP connection, to the client or to an origin: the facts that the tape keeps. It belongs to one
 * thread, is filled in as the connection comes up, and is reference-counted: the leg and each exchange on it hold one. */
#ifndef RINGTAPE_FLOW_CONNECTION_H
#define RINGTAPE_FLOW_CONNECTION_H

#include "base/buf.h"

enum connection_side { CONNECTION_CLIENT, CONNECTION_SERVER };

struct connection {
    uint64_t id; /* unique in this process, from 1, in order of creation */
    unsigned refs;
    enum connection_side side;
    char peer[64], local[64]; /* "192.0.2.1:443"; "" unknown */
    char host[256];           /* server: the name that was asked for; client: the CONNECT target, "" otherwise */
    unsigned port;
    char sni[256];        /* client: what it sent; server: what we sent */
    char alpn[32];        /* negotiated; "" none */
    char tls_version[16]; /* "TLSv1.3"; "" plain */
    char tls_cipher[64];
    bool tls_resumed;
    struct buf chain;        /* server: the peer's certificates as DER, each after its length (4 bytes, big-endian) */
    uint64_t opened_wall_ns; /* start: dialling or accepted */
    uint64_t opened_ns;      /* the same, monotonic; those below are monotonic too, 0: did not happen */
    uint64_t dns_ns;         /* addresses known */
    uint64_t connected_ns;
    uint64_t tls_ns; /* handshake done */
    uint64_t closed_ns;
    enum err error;   /* why it failed or ended early */
    char reason[256]; /* for people; "" none */
};

/* One reference, the caller's. `id` comes from the process-wide counter that the caller owns. Fails with ERR_NOMEM. */
MUST_USE enum err connection_create(struct connection **out, enum connection_side side, uint64_t id);
struct connection *connection_ref(struct connection *c);
/* Clears *c (may be NULL). */
void connection_unref(struct connection **c);

/* Copies text, cut to the field's size; never unterminated. */
void connection_set(char *field, size_t size, struct span text);

#endif
