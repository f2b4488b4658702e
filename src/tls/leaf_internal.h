/* leaf_internal.h: what the server side of TLS needs of a leaf; for src/tls only. */
#ifndef RINGTAPE_TLS_LEAF_INTERNAL_H
#define RINGTAPE_TLS_LEAF_INTERNAL_H

#include "tls/leaf.h"

#include <wolfssl/options.h>
#include <wolfssl/ssl.h>

enum { LEAF_IDENTITY_BYTES = 32 };

/* The server context that presents it; borrowed. Contexts are read by all threads and never changed after their setup. */
WOLFSSL_CTX *leaf_context(const struct leaf *leaf);

/* A digest of the names that it was asked for: what a session ticket is bound to. LEAF_IDENTITY_BYTES; borrowed. */
const uint8_t *leaf_identity(const struct leaf *leaf);

void leaf_ref(struct leaf *leaf);

/* `setup` is called for each context made from now on; leaves made before are forgotten. */
void leaf_cache_on_context(struct leaf_cache *cache, void (*setup)(WOLFSSL_CTX *ctx));

#endif
