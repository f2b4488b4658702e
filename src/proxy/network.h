/* network.h: the origin that is the network: resolves, connects, does TLS, pools connections by (host, port, TLS policy) and retries an
 * idempotent request once when a pooled connection turns out dead. One per worker, on its thread. */
#ifndef RINGTAPE_PROXY_NETWORK_H
#define RINGTAPE_PROXY_NETWORK_H

#include "proxy/proxy.h"

struct network;

/* `--connect-to HOST:PORT:ADDR:PORT`: curl's meaning; empty parts match or keep anything. */
struct network_map {
    char host[256];
    unsigned port;
    char to_host[256];
    unsigned to_port;
};
MUST_USE enum err network_map_parse(const char *text, struct network_map *out, struct buf *problem);

/* `--upstream http://[USER:PASSWORD@]HOST:PORT`: a proxy beyond this one. */
struct network_upstream {
    char host[256];
    unsigned port;
    char credentials[512]; /* base64 for Proxy-Authorization: Basic; "" none. Never logged */
};
MUST_USE enum err network_upstream_parse(const char *text, struct network_upstream *out, struct buf *problem);

/* `--client-cert HOST[:PORT]=FILE`: HOST as in --pass. It counts for the name inside TLS, which is the one that the origin must prove. */
struct network_certificate {
    struct proxy_pass where;
    const char *file;              /* borrowed from the text */
    struct tls_client_config *tls; /* that shows it; the caller's to fill in and destroy */
};
MUST_USE enum err network_certificate_parse(const char *text, struct network_certificate *out, struct buf *problem);

/* Copied; what it points to is borrowed, shared by all workers, and must outlive them. */
struct network_options {
    struct resolver *resolver;
    struct tls_client_config *tls;
    const struct network_certificate *certificates; /* the first that matches is used, instead of `tls` */
    size_t certificates_n;
    const struct network_map *maps;
    size_t maps_n;
    const struct network_upstream *upstream; /* NULL: none */
    bool no_http2;                           /* offer HTTP/1.1 only */
    const struct log *log;
    uint64_t *connects; /* counted up for each connection attempt, atomically */
};

/* `pipeline` is where connections are reported to the taps. Fails with ERR_NOMEM. */
MUST_USE enum err network_create(struct network **out, const struct network_options *options,
                                 const struct proxy_worker_env *env, const struct pipeline *pipeline);
struct origin *network_origin(struct network *n);
/* Closes all pooled connections. No exchange may be open. */
void network_destroy(struct network **n);

#endif
