/* verify.h: whether an origin's certificate is accepted, and why not, in words; for src/tls only. */
#ifndef RINGTAPE_TLS_VERIFY_H
#define RINGTAPE_TLS_VERIFY_H

#include "tls/tls_internal.h"

/* wolfSSL's verify callback: called once a certificate, the issuers first and the leaf last. */
int verify_certificate(int accepted, WOLFSSL_X509_STORE_CTX *store);

#endif
