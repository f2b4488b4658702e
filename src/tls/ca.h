/* ca.h: the certificate authority that signs our leaves: a P-256 key and a self-signed certificate in a directory of mode
 * 0700, the key 0600 (`ca-key.pem`, `ca.pem`), made at first use under a lock so that two processes make one. */
#ifndef RINGTAPE_TLS_CA_H
#define RINGTAPE_TLS_CA_H

#include "base/buf.h"
#include "base/log.h"

struct ca;

/* Opens the CA in `dir`, making directory and CA where there is none. *problem (a buffer) gets one sentence for people on
 * failure, which names the file and what to do. Fails with ERR_PERMISSION (unreadable; the key open to others), ERR_CONFIG
 * (key and certificate do not belong together, not a CA, expired, not a certificate), ERR_IO, ERR_NOMEM. */
MUST_USE enum err ca_open(struct ca **out, const char *dir, struct buf *problem);

/* Makes a new one; the old files, if any, are kept beside it as *.old. Fails as ca_open(). */
MUST_USE enum err ca_renew(struct ca **out, const char *dir, struct buf *problem);

void ca_close(struct ca **ca);

/* The certificate; borrowed, as long as the CA. */
struct span ca_certificate_der(const struct ca *ca);
struct span ca_certificate_pem(const struct ca *ca);

/* For people: "ringtape CA 3f2a…", validity, SHA-256 fingerprint. Appends. */
MUST_USE enum err ca_describe(const struct ca *ca, struct buf *out);

/* The certificate alone as PKCS#12 trust store (RFC 7292; a certBag with Java's trustedKeyUsage attribute, so that the JVM takes it as a
 * trust anchor; MAC with `password`). `extra` may hold more certificates as concatenated PEM (the system's roots). Appends to out. Fails
 * with ERR_NOMEM, ERR_PARSE (a damaged extra certificate is skipped, not an error). */
MUST_USE enum err ca_trust_store(const struct ca *ca, struct span extra_pem, const char *password, struct buf *out);

#endif
