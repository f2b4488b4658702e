/* certificate.h: what a viewer shows of a certificate, read out of its DER (RFC 5280 §4.1). Nothing is verified. Internal to har/. */
#ifndef RINGTAPE_HAR_CERTIFICATE_H
#define RINGTAPE_HAR_CERTIFICATE_H

#include "base/span.h"

struct certificate {
    struct span subject, issuer;      /* common names; may be empty; bytes as they are */
    int64_t valid_from_s, valid_to_s; /* Unix time */
};

/* The first of a chain, each after its length (4 bytes, big-endian). False: none, or not well-formed. */
bool certificate_first(struct span chain, struct certificate *out);

#endif
