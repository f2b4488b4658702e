/* client.h: one client connection: told apart (HTTP, TLS, anything else), CONNECT, TLS interception, HTTP/1.1 and tunnels. It owns itself:
 * it goes when its connection is over. Internal to proxy/. */
#ifndef RINGTAPE_PROXY_CLIENT_H
#define RINGTAPE_PROXY_CLIENT_H

#include "proxy/worker.h"

struct client;

/* Takes the accepted descriptor. Failures close it. */
void client_accept(struct worker *w, int fd, const struct sockaddr_storage *peer);

/* Graceful: ends now if idle, else after the exchange in flight. `now`: cuts it. */
void client_stop(struct client *c, bool now);

struct client *client_of_link(struct list *link);

#endif
