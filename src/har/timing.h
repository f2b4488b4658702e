/* timing.h: the phases of a flow as HAR has them. Internal to har/. */
#ifndef RINGTAPE_HAR_TIMING_H
#define RINGTAPE_HAR_TIMING_H

#include "tape/tape.h"

/* Microseconds; -1: does not apply. */
struct timing {
    int64_t blocked, dns, connect, ssl, send, wait, receive;
    int64_t total;  /* the sum without ssl, skipping -1 */
    int64_t before; /* how much of dns and connect lay before the flow began */
};

/* `server` may be NULL: the flow had no connection to an origin. */
void timing_of(const struct tape_flow *flow, const struct tape_connection *server, struct timing *out);

#endif
