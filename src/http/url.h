/* url.h: URLs (RFC 3986), authorities and query strings, over borrowed spans. Nothing here allocates unless it says so. */
#ifndef RINGTAPE_HTTP_URL_H
#define RINGTAPE_HTTP_URL_H

#include "base/buf.h"

struct url {
    struct span scheme; /* as given */
    struct span host;   /* as given, IPv6 without brackets */
    unsigned port;      /* effective: given, or the scheme's default; 0 unknown */
    bool port_given;
    struct span path;  /* with the query, starting with '/', or empty */
    struct span query; /* without '?', may be empty */
    bool has_query;
};

/* Absolute http/https (ws/wss) URLs; user information is skipped; a fragment is left out. Fails with ERR_PARSE. */
MUST_USE enum err url_parse(struct span text, struct url *out);

/* host[:port], [v6]:port. *port is 0 when absent. Fails with ERR_PARSE (empty host, bad port, stray bytes). */
MUST_USE enum err url_authority(struct span text, struct span *host, unsigned *port);

unsigned url_default_port(struct span scheme); /* 80, 443, or 0 */

/* Walks "a=1&b=2": *rest starts as the query; name and value are raw (still percent-encoded). False at the end. */
bool url_query_next(struct span *rest, struct span *name, struct span *value);

/* Percent-decodes (RFC 3986 §2.1); `plus` turns '+' into a space as forms do. A stray '%' stays as it is. Appends. Fails with ERR_NOMEM. */
MUST_USE enum err url_decode(struct buf *out, struct span text, bool plus);

/* Is it an IPv4 or IPv6 literal (no brackets)? */
bool url_is_address(struct span host);

#endif
