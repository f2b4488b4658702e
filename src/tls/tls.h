/* tls.h: TLS 1.2 and 1.3 (RFC 5246, RFC 8446) as a filter: ciphertext in, plaintext out and the other way round; performs no
 * I/O. One struct tls is one end of one connection; it belongs to one thread. The contexts are shared by all threads.
 * Spans given to callbacks die when they return. A callback must not call tls_destroy() on its own connection; it may call
 * tls_write() and tls_close(). After an error only tls_error(), tls_info() and tls_destroy() are valid. */
#ifndef RINGTAPE_TLS_TLS_H
#define RINGTAPE_TLS_TLS_H

#include "base/buf.h"
#include "base/log.h"
#include "tls/leaf.h"

/* What is shared by all connections of one kind: trust, session caches, tickets, key log (SSLKEYLOGFILE, read once). */
struct tls_server_config;
struct tls_client_config;

struct tls_client_options {
    bool insecure;       /* do not verify the origin's certificate */
    const char *ca_file; /* PEM trusted besides the system's store; NULL: none */
    const char
        *certificate_file;    /* PEM: shown to origins that ask for one, with its chain and private key; NULL: none */
    const char *key_log_file; /* NULL: none */
    unsigned sessions_max;    /* kept for resumption; 0: none */
    const struct log *log;
};

/* Loads the system's store (7-23 ms): once a process. *problem gets one sentence on failure. Fails with ERR_CONFIG (a file is unusable), ERR_NOMEM, ERR_TLS. */
MUST_USE enum err tls_client_config_create(struct tls_client_config **out, const struct tls_client_options *options,
                                           struct buf *problem);
void tls_client_config_destroy(struct tls_client_config **config);

/* Server side: leaves come from the cache (borrowed); tickets are shared by all leaves and bound to the host. */
MUST_USE enum err tls_server_config_create(struct tls_server_config **out, struct leaf_cache *leaves,
                                           const char *key_log_file, const struct log *log);
void tls_server_config_destroy(struct tls_server_config **config);

struct tls;

struct tls_events {
    enum err (*send)(void *ctx, struct span cipher); /* must take all (copies) */
    enum err (*established)(void *ctx);              /* once; tls_info() is complete */
    enum err (*data)(void *ctx, struct span plain);  /* never empty */
    enum err (*closed)(void *ctx);                   /* the peer's close_notify: no more data */
};

/* Server end: presents `leaf` (a reference is taken). alpn: the one protocol to choose when the client offers it ("http/1.1"); empty:
 * none is negotiated. Fails with ERR_NOMEM, ERR_TLS. */
MUST_USE enum err tls_accept(struct tls **out, struct tls_server_config *config, struct leaf *leaf, struct span alpn,
                             const struct tls_events *events, void *ctx);

/* Client end: SNI unless host is an address; alpn is a name list as on the wire (length-prefixed), may be empty. The first flight is sent by
 * tls_start(). A session cached for the same (host, port, verify policy, ALPN) is resumed. Fails with ERR_NOMEM, ERR_TLS. */
MUST_USE enum err tls_connect(struct tls **out, struct tls_client_config *config, struct span host, unsigned port,
                              struct span alpn, const struct tls_events *events, void *ctx);

/* Client: sends the ClientHello. Not called inside tls_connect() so that `*out` is known to the callbacks. */
MUST_USE enum err tls_start(struct tls *tls);

/* Consumes all of `cipher`, calling events as it goes. Data that the caller does not want now is still delivered: it pauses its
 * stream for backpressure. Fails with ERR_TLS (protocol), ERR_TLS_ALERT (the peer sent a fatal alert), ERR_TLS_VERIFY (its
 * certificate), ERR_NOMEM, or what a callback returned. An alert of ours has been sent through `send`. */
MUST_USE enum err tls_feed(struct tls *tls, struct span cipher);

/* Encrypts and sends all of it. Only when established. Fails with ERR_TLS, ERR_NOMEM, or what `send` returned. */
MUST_USE enum err tls_write(struct tls *tls, struct span plain);

/* Sends close_notify. */
void tls_close(struct tls *tls);

void tls_destroy(struct tls **tls);

bool tls_is_established(const struct tls *tls);

struct tls_info {
    const char *version; /* "TLSv1.3"; "" before the handshake ended */
    const char *cipher;  /* "TLS_AES_128_GCM_SHA256" */
    char alpn[32];       /* "" : none */
    bool resumed;
    int alert;                /* the fatal alert's number (RFC 8446 §6) that was received, or -1 */
    bool certificate_refused; /* that alert says that the peer does not take our certificate */
    bool certificate_asked;   /* client: the origin asked for one, in this handshake */
    bool certificate_had;     /* client: and there was one for it */
};
void tls_get_info(const struct tls *tls, struct tls_info *out);

/* For people, after an error: "the peer's alert: unknown CA", "certificate has expired (notAfter 2020-01-01)". Borrowed. */
const char *tls_error(const struct tls *tls);

/* The peer's certificates, leaf first, as DER; for a resumed connection those of the original one where known. False at the end. */
bool tls_peer_certificate(const struct tls *tls, size_t i, struct span *der);

/* The DNS names and addresses of the peer's leaf, each followed by a 0 byte (leaf_get()'s more_names). Appends. */
MUST_USE enum err tls_peer_names(const struct tls *tls, struct buf *out);

/* Names out of any certificate: for what a tape holds. Fails with ERR_PARSE, ERR_NOMEM. */
MUST_USE enum err tls_certificate_names(struct span der, struct buf *out);

/* "5.7.2" */
const char *tls_library_version(void);

#endif
