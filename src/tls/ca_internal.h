/* ca_internal.h: what the leaf cache needs of a CA; for src/tls only. */
#ifndef RINGTAPE_TLS_CA_INTERNAL_H
#define RINGTAPE_TLS_CA_INTERNAL_H

#include "tls/ca.h"
#include "tls/x509.h"

/* Who signs, borrowed from the CA. Signing is thread-safe. */
struct x509_issuer ca_issuer(const struct ca *ca);

/* When the certificate ends, Unix seconds. */
uint64_t ca_not_after(const struct ca *ca);

#endif
