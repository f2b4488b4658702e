/* tls_internal.h: one connection, and what it shares with its configuration; for src/tls only. */
#ifndef RINGTAPE_TLS_TLS_INTERNAL_H
#define RINGTAPE_TLS_TLS_INTERNAL_H

#include "tls/chain.h"
#include "tls/leaf_internal.h"
#include "tls/sessions.h"
#include "tls/tls.h"

enum { TLS_ERROR_BYTES = 320, TLS_ALPN_MAX = 255 };

/*   HANDSHAKE ──> OPEN ──> ENDED (the peer's close_notify)
 *       └──────────┴─────────┴──> FAILED                     */
enum tls_state { TLS_HANDSHAKE, TLS_OPEN, TLS_ENDED, TLS_FAILED };

/* Only the side that it is on uses the members of that side. */
struct tls {
    WOLFSSL *ssl;
    const struct tls_events *events;
    void *ctx;
    enum tls_state state;
    bool server;
    bool close_sent;
    bool alpn_chosen;        /* server */
    bool verified;           /* client: the certificate was looked at and accepted (or verification is off) */
    bool chain_seen;         /* client: `chain` is what this handshake showed */
    bool certificate_asked;  /* client: the origin wants a certificate of ours */
    struct span in;          /* what is being fed; consumed by the receive callback */
    uint8_t last[7];         /* bytes of the handshake that the library took: a record with an alert */
    enum err callback_error; /* of events->send: carried through the library */
    int alert;               /* fatal, received; or -1 */
    struct tls_server_config *server_config;
    struct leaf *leaf;
    struct tls_client_config *client_config;
    char *host;             /* client */
    struct buf session_key; /* client */
    struct buf session;     /* client: came before the handshake ended */
    struct chain *chain;    /* client: the peer's certificates, or NULL */
    char *error;            /* TLS_ERROR_BYTES, made when needed; NULL: none */
    size_t alpn_n;
    char alpn[TLS_ALPN_MAX + 1]; /* server: what to choose */
};

/* The library's callbacks; their context is the struct tls. */
int tls_io_recv(WOLFSSL *ssl, char *to, int n, void *ctx);
int tls_io_send(WOLFSSL *ssl, char *from, int n, void *ctx);

struct tls *tls_of(const WOLFSSL *ssl);

/* Notes what went wrong, for tls_error(). The first note stays. */
void tls_note(struct tls *t, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* server.c */
WOLFSSL *tls_server_ssl(struct tls_server_config *config, struct leaf *leaf);
int tls_server_keylog(const struct tls_server_config *config); /* a descriptor, or -1 */

/* client.c */
WOLFSSL *tls_client_ssl(struct tls_client_config *config);
int tls_client_keylog(const struct tls_client_config *config);
bool tls_client_insecure(const struct tls_client_config *config);
struct sessions *tls_client_sessions(const struct tls_client_config *config); /* NULL: none are kept */
bool tls_client_has_certificate(const struct tls_client_config *config);
/* A whole file, and its permission bits. Fails with ERR_LIMIT, ERR_NOMEM, and as open(2) and read(2). */
MUST_USE enum err tls_read_file(const char *path, struct buf *out, unsigned *mode);

/* client_certificate.c. *problem gets one sentence on failure. Fails with ERR_CONFIG, ERR_NOMEM. */
MUST_USE enum err tls_use_client_certificate(WOLFSSL_CTX *ctx, const char *path, struct buf *problem);

#endif
