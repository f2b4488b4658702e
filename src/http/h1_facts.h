/* h1_facts.h: what a head's fields say about its connection and its framing (RFC 9112 §6, §9). For h1.c only. */
#ifndef RINGTAPE_HTTP_H1_FACTS_H
#define RINGTAPE_HTTP_H1_FACTS_H

#include "http/h1.h"

/* Spans borrow from the headers. */
struct h1_facts {
    unsigned hosts, lengths, codings, connections; /* how many lines there are of each */
    unsigned options;                              /* in Connection */
    size_t host_index;
    struct span host, length, coding;      /* the last one */
    bool close, keep_alive, upgrade_token; /* in Connection */
    bool upgrade, expect_continue;
    bool proxy_close, proxy_keep_alive; /* in Proxy-Connection */
};

void h1_facts_gather(struct h1_facts *facts, const struct headers *headers);

/* Sets framing and content_length where the fields frame a body; leaves framing alone where they say nothing. Fails with ERR_AMBIGUOUS or
 * ERR_UNSUPPORTED, and *why. */
MUST_USE enum err h1_facts_framing(const struct h1_facts *facts, bool http10, struct h1_message *message,
                                   const char **why);

/* May the connection carry another message (RFC 9112 §9.3)? */
bool h1_facts_persist(const struct h1_facts *facts, bool http10, bool to_proxy);

#endif
