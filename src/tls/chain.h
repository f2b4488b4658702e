/* chain.h: the peer's certificates as they came, kept for the tape and shared with the session that resumes them. */
#ifndef RINGTAPE_TLS_CHAIN_H
#define RINGTAPE_TLS_CHAIN_H

#include "base/err.h"
#include "base/span.h"

enum { CHAIN_CERTIFICATES_MAX = 16 };

struct chain;

/* Copies them, leaf first. Thread-safe references. Fails with ERR_NOMEM, ERR_LIMIT. */
MUST_USE enum err chain_create(struct chain **out, const struct span *certificates, size_t n);

struct chain *chain_ref(struct chain *chain); /* NULL gives NULL */
void chain_unref(struct chain **chain);

/* The i-th certificate; false when there are fewer. */
bool chain_get(const struct chain *chain, size_t i, struct span *der);

#endif
