/* hello.h: reads a TLS ClientHello (RFC 8446 §4.1.2) without consuming it: over several records and fragments. No I/O. */
#ifndef RINGTAPE_TLS_HELLO_H
#define RINGTAPE_TLS_HELLO_H

#include "base/err.h"
#include "base/span.h"

enum { HELLO_ALPN_MAX = 16, HELLO_NAME_MAX = 256 };

struct hello {
    char server_name[HELLO_NAME_MAX]; /* SNI, lower case; "" when absent */
    struct span
        alpn; /* the protocol name list's content as on the wire (length-prefixed names); points into `scratch` */
    unsigned legacy_version; /* 0x0303 */
    unsigned max_version;    /* of supported_versions, else the legacy one; GREASE skipped */
    uint8_t scratch[512];
};

/* Do these first bytes look like a TLS record that holds a ClientHello? ERR_AGAIN: too few to tell (1 to 5). ERR_OK: yes. ERR_PARSE: no. */
MUST_USE enum err hello_sniff(struct span in);

/* Parses. ERR_AGAIN: not complete yet. Fails with ERR_PARSE, ERR_LIMIT. */
MUST_USE enum err hello_parse(struct span in, struct hello *out);

/* Is this protocol in an ALPN list as on the wire? */
bool hello_offers(struct span alpn, struct span protocol);

#endif
