/* worker.c: a worker's callbacks: accepting within its budget, flushing the taps, stopping. The threads themselves are proxy.c's. */
#include "proxy/worker.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/util.h"
#include "proxy/client.h"
#include "proxy/worker_run.h"
#include "ring/stream.h"

#include <stdio.h>

enum { WORKER_FLUSH_MS = 20 };

void worker_touch(struct worker *w)
{
    if (!task_waiting(&w->flush))
        loop_start(w->env.loop, &w->flush, WORKER_FLUSH_MS * NS_PER_MS);
}

static void worker_flush(struct task *task)
{
    struct worker *w = container_of(task, struct worker, flush);
    if (w->options->flush)
        w->options->flush(w->options->ctx, w->env.index);
}

void worker_client_gone(struct worker *w)
{
    w->clients_n--;
    WORKER_COUNT(w, clients_now, -1);
    worker_touch(w);
    if (w->stopping && list_empty(&w->clients))
        loop_start(w->env.loop, &w->drained, 0);
}

void worker_client_refused(struct worker *w, const char *host, bool certain, bool passed, const char *reason)
{
    const char *name = host[0] ? host : "a host without a name", *how = certain ? "refused" : "seems to have refused";
    char once[300];
    (void)snprintf(once, sizeof once, "%s %s", passed ? "passed" : "refused", name);
    if (!refusals_first(w->refusals, span_str(once)))
        return;
    if (passed)
        log_write(
            w->options->log, LOG_WARN, "tls",
            "a client %s ringtape's certificate for %s (%s); from now on it is tunnelled without being recorded in "
            "clear; --no-auto-pass turns that off (to record it, make the client trust the CA: `ringtape ca export`, "
            "`ringtape ca trust`, and start ringtape anew)",
            how, name, reason);
    else
        log_write(w->options->log, LOG_WARN, "tls",
                  "a client %s our certificate for %s (%s): make it trust the CA (`ringtape ca export`, `ringtape ca "
                  "trust`), or leave that host alone with --pass %s",
                  how, name, reason, host[0] ? host : "HOST");
}

static void worker_accepted(void *ctx, int fd, const struct sockaddr_storage *peer)
{
    struct worker *w = ctx;
    w->clients_n++;
    WORKER_COUNT(w, clients, 1);
    WORKER_COUNT(w, clients_now, 1);
    client_accept(w, fd, peer);
}

/* The first client always finds room. */
static size_t worker_room(void *ctx)
{
    const struct worker *w = ctx;
    size_t used = 2 * (size_t)w->clients_n + stream_count_closing(w->env.loop);
    size_t spare = w->descriptors_max > used ? (w->descriptors_max - used) / 2 : 0;
    return w->clients_n == 0 ? MAX(spare, (size_t)1) : MIN(spare, (size_t)(w->clients_max - w->clients_n));
}

/* Half of all belongs to the clients, whether they are there already or not. */
size_t proxy_worker_origins(const struct proxy_worker_env *env)
{
    const struct worker *w = (const struct worker *)((const char *)env - offsetof(struct worker, env));
    size_t max = w->descriptors_max, used = w->clients_n + stream_count_closing(env->loop);
    return MAX(MIN(max / 2, max > used ? max - used : 0), (size_t)1);
}

static const struct listener_events worker_listener_events = {worker_accepted, worker_room};

static void worker_each_client(struct worker *w, bool now)
{
    LIST_FOREACH (it, &w->clients)
        client_stop(client_of_link(it), now);
}

/* All clients have gone; what was sent to them may still have to leave. */
static void worker_drained(struct task *task)
{
    struct worker *w = container_of(task, struct worker, drained);
    if (stream_count_flushing(w->env.loop) == 0)
        loop_stop(w->env.loop);
    else
        loop_start(w->env.loop, &w->drained, WORKER_FLUSH_MS / 4 * NS_PER_MS);
}

static void worker_deadline(struct task *task)
{
    struct worker *w = container_of(task, struct worker, deadline);
    worker_each_client(w, true);
    loop_stop(w->env.loop);
}

static void worker_stop(struct post *post)
{
    struct worker *w = container_of(post, struct worker, stop_post);
    if (w->stopping)
        return;
    w->stopping = true;
    listener_close(&w->listener);
    loop_start(w->env.loop, &w->deadline, LIMIT_SHUTDOWN_MS * NS_PER_MS);
    worker_each_client(w, false);
    if (list_empty(&w->clients))
        loop_start(w->env.loop, &w->drained, 0);
}

static void worker_cut(struct post *post)
{
    struct worker *w = container_of(post, struct worker, cut_post);
    w->stopping = true;
    listener_close(&w->listener);
    worker_deadline(&w->deadline);
}

void worker_init(struct worker *w, struct proxy *proxy, const struct proxy_options *options, unsigned index,
                 size_t descriptors_max)
{
    w->proxy = proxy;
    w->options = options;
    w->env.index = index;
    w->descriptors_max = descriptors_max;
    w->clients_max = MAX((unsigned)LIMIT_CONNECTIONS / options->workers, 1u);
    w->fd = -1;
    list_init(&w->clients);
    task_init(&w->flush, worker_flush);
    task_init(&w->deadline, worker_deadline);
    task_init(&w->drained, worker_drained);
    w->stop_post.run = worker_stop;
    w->cut_post.run = worker_cut;
    page_init(&w->page, w);
}

enum err worker_listen(struct worker *w)
{
    int fd = w->fd;
    w->fd = -1;
    return listener_open(&w->listener, w->env.loop, fd, &worker_listener_events, w);
}

void *worker_run(void *arg)
{
    struct worker *w = arg;
    w->result = loop_run(w->env.loop);
    worker_each_client(w, true);
    listener_close(&w->listener);
    loop_stop_task(w->env.loop, &w->flush);
    loop_stop_task(w->env.loop, &w->deadline);
    loop_stop_task(w->env.loop, &w->drained);
    if (w->options->flush)
        w->options->flush(w->options->ctx, w->env.index);
    if (w->options->unwire)
        w->options->unwire(w->options->ctx, w->env.index, &w->pipeline);
    w->unwired = true; /* the loop itself stays until proxy_destroy(): others may still post to it */
    return NULL;
}
