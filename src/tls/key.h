/* key.h: a private key that signs. Thread-safe: one lock a key. */
#ifndef RINGTAPE_TLS_KEY_H
#define RINGTAPE_TLS_KEY_H

#include "base/buf.h"

struct key;

/* A fresh P-256 key. Fails with ERR_NOMEM, ERR_TLS. */
MUST_USE enum err key_create(struct key **out);

/* From PKCS#8, SEC 1 or PKCS#1 (not encrypted): EC P-256 and P-384, and RSA of at least 2048 bits. Fails with ERR_PARSE, ERR_UNSUPPORTED
 * (another kind or size), ERR_NOMEM, ERR_TLS. */
MUST_USE enum err key_from_der(struct key **out, struct span der);

void key_destroy(struct key **key);

/* SubjectPublicKeyInfo, encoded; borrowed from the key. */
struct span key_spki(const struct key *key);

/* PKCS#8, for EC keys. Appends; the caller wipes it. Fails with ERR_UNSUPPORTED, ERR_NOMEM, ERR_TLS. */
MUST_USE enum err key_pkcs8(struct key *key, struct buf *out);

/* The AlgorithmIdentifier of its signatures, encoded. Static. */
struct span key_signature_algorithm(const struct key *key);

/* Hashes and signs; appends the signature (for EC: ECDSA-Sig-Value). Fails with ERR_NOMEM, ERR_TLS. */
MUST_USE enum err key_sign(struct key *key, struct span message, struct buf *out);

/* SHA-256. */
enum { KEY_DIGEST_BYTES = 32 };
void key_digest(struct span bytes, uint8_t out[KEY_DIGEST_BYTES]);

/* Overwrites a buffer that held secrets, and frees it. */
void key_wipe(struct buf *secret);

#endif
