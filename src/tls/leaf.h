/* leaf.h: leaf certificates minted for the hosts that we intercept, and their cache. Shared by all workers: thread-safe.
 * Shape (design.md, "Interception"): one P-256 key per process; random positive serial of at most 20 octets; CN (left out when longer than 64
 * octets) and SANs; critical basicConstraints CA:FALSE; critical keyUsage digitalSignature; extKeyUsage serverAuth; SKI; AKI equal to the CA's
 * SKI; notBefore = now - 2 days, 199 days in all; UTCTime up to 2049 (RFC 5280 §4.1.2.5). No must-staple, CRL or AIA. */
#ifndef RINGTAPE_TLS_LEAF_H
#define RINGTAPE_TLS_LEAF_H

#include "base/buf.h"
#include "tls/ca.h"

struct leaf_cache;
struct leaf; /* a certificate with the TLS server context that presents it; reference-counted */

/* `ca` is borrowed and must outlive the cache. Fails with ERR_NOMEM, ERR_TLS. */
MUST_USE enum err leaf_cache_create(struct leaf_cache **out, const struct ca *ca, unsigned leaves_max,
                                    const struct log *log);
void leaf_cache_destroy(struct leaf_cache **cache);

/* Names are DNS names (A-labels; a leading "*." is allowed) or IP literals. host comes first (it becomes the CN); more names
 * (mirrored from the origin) follow, concatenated with a 0 byte after each; at most 100 are taken, malformed ones left out.
 * The result is referenced for the caller. Fails with ERR_NOMEM, ERR_PARSE (host unusable as a name), ERR_TLS. */
MUST_USE enum err leaf_get(struct leaf_cache *cache, struct span host, struct span more_names, struct leaf **out);
void leaf_unref(struct leaf **leaf);

/* The certificate. Borrowed from the leaf. */
struct span leaf_der(const struct leaf *leaf);

/* The one shape, for tests: certificate DER signed by the CA. `now_s`: Unix seconds. Appends to out. */
MUST_USE enum err leaf_mint(struct leaf_cache *cache, struct span host, struct span more_names, uint64_t now_s,
                            struct buf *out);

#endif
