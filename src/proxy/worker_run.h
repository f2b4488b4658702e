/* worker_run.h: a worker's life, for proxy.c. */
#ifndef RINGTAPE_PROXY_WORKER_RUN_H
#define RINGTAPE_PROXY_WORKER_RUN_H

#include "proxy/worker.h"

void worker_init(struct worker *w, struct proxy *proxy, const struct proxy_options *options, unsigned index,
                 size_t descriptors_max);

/* Gives the worker's descriptor to its loop. */
MUST_USE enum err worker_listen(struct worker *w);

/* The thread: runs the loop, then ends everything of the worker but its loop. */
void *worker_run(void *arg);

#endif
