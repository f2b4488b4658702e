/* messages.h: finds the messages within an exchange: those of a WebSocket, of an event stream, and of gRPC. A bystander: it reads copies of what goes by
 * and tells the taps. Internal to flow/. */
#ifndef RINGTAPE_FLOW_MESSAGES_H
#define RINGTAPE_FLOW_MESSAGES_H

#include "flow/exchange.h"

/* Looks at one part that has been told to the taps. x->messages is made when the heads ask for it. */
void messages_part(struct exchange *x, bool response, const struct event *event);

/* Clears *m (may be NULL). */
void messages_destroy(struct messages **m);

#endif
