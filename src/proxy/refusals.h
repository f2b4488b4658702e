/* refusals.h: what this process has learnt of who takes our certificates: hosts that some client accepted us for, clients that refused, and
 * what is therefore passed without interception. Shared by all workers; internal to proxy/.
 *
 * What is passed is told apart by (client address, track, host, port, name): one client's refusal says nothing of what another one pins, and must not
 * hide the other's traffic from the tape. Asking is lock-free; only a refusal takes the lock. Everything is bounded (LIMIT_AUTO_PASS):
 * what is forgotten is intercepted, and refused, once more. */
#ifndef RINGTAPE_PROXY_REFUSALS_H
#define RINGTAPE_PROXY_REFUSALS_H

#include "base/err.h"
#include "base/span.h"

struct refusals;

/* Fails with ERR_NOMEM. */
MUST_USE enum err refusals_create(struct refusals **out);
void refusals_destroy(struct refusals **r);

/* A client has sent something to `host` over our TLS: it took the certificate. Remembered for a while. */
void refusals_trust(struct refusals *r, struct span host);
bool refusals_is_trusted(const struct refusals *r, struct span host);

struct refusal {
    struct span client; /* its address, without the port */
    struct span track;
    struct span host; /* the tunnel's; case does not count */
    unsigned port;
    struct span name; /* in the client's TLS; empty: none. Case does not count */
};

/* Is that client's traffic with that host passed from now on? A silent leave counts only after LIMIT_SILENT_REFUSALS of them. */
bool refusals_add(struct refusals *r, const struct refusal *who, bool certain);

/* Was it passed by refusals_add()? */
bool refusals_passes(const struct refusals *r, const struct refusal *who);

/* True when it is asked for the first time about this text, as far as it is remembered: a line of the log is written once. */
bool refusals_first(struct refusals *r, struct span text);

#endif
