/* network_probe.c: probes: what would a client see that connected to an origin by itself? An `inquiry` is a probe at work. The connection that was made
 * for it goes into the pool, where the client's first request finds it. */
#include "proxy/network_internal.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "tls/hello.h"

struct inquiry {
    struct network *net;
    struct probe *probe;
    struct upstream *up; /* NULL: the answer was in the pool */
    struct task done;    /* answers from the pool come later all the same */
};

static void inquiry_facts(const struct inquiry *q, const struct connection *connection)
{
    struct origin_facts *facts = q->probe->facts;
    facts->error = ERR_OK;
    connection_set(facts->alpn, sizeof facts->alpn, span_str(connection->alpn));
    const struct buf *chain = &connection->chain;
    struct span all = buf_span(chain);
    if (all.n < 4)
        return;
    size_t n = (size_t)all.p[0] << 24 | (size_t)all.p[1] << 16 | (size_t)all.p[2] << 8 | all.p[3];
    if (tls_certificate_names(span_first(span_from(all, 4), n), &facts->names))
        buf_clear(&facts->names); /* a leaf without the origin's names serves as well */
}

static void inquiry_end(struct inquiry *q)
{
    struct probe *probe = q->probe;
    probe->state = NULL;
    loop_stop_task(q->net->env.worker->loop, &q->done);
    mem_free(q);
    probe->done(probe);
}

static void inquiry_ready(void *ctx)
{
    struct inquiry *q = ctx;
    struct shared *shared;
    inquiry_facts(q, upstream_connection(q->up));
    if (!upstream_is_h2(q->up))
        upstream_release(q->up, true);
    else if (network_share(q->net, q->up, &shared))
        q->probe->facts->alpn[0] = '\0'; /* no memory: the client does without */
    inquiry_end(q);
}

static void inquiry_failed(void *ctx, enum err why, const char *reason)
{
    struct inquiry *q = ctx;
    q->probe->facts->error = why;
    connection_set(q->probe->facts->reason, sizeof q->probe->facts->reason, span_str(reason));
    inquiry_end(q);
}

static void inquiry_done_run(struct task *task)
{
    inquiry_end(container_of(task, struct inquiry, done));
}

static enum err inquiry_nothing(void *ctx, struct span bytes)
{
    (void)ctx;
    (void)bytes;
    return ERR_PARSE;
}

static void inquiry_silent(void *ctx)
{
    (void)ctx;
}

static const struct upstream_user inquiry_user = {.ready = inquiry_ready,
                                                  .bytes = inquiry_nothing,
                                                  .eof = inquiry_silent,
                                                  .drained = inquiry_silent,
                                                  .failed = inquiry_failed};

static void inquiry_start(struct inquiry *q)
{
    struct network *n = q->net;
    struct upstream_key key = {.port = q->probe->port, .tls = true};
    connection_set(key.host, sizeof key.host, q->probe->host);
    connection_set(key.sni, sizeof key.sni, q->probe->sni.n ? q->probe->sni : q->probe->host);
    network_offer(n, &key, q->probe->alpn);
    struct shared *shared = network_find_shared(n, &key);
    struct upstream *idle = shared ? NULL : network_find_idle(n, &key);
    if (shared || idle) {
        inquiry_facts(q, shared ? shared_connection(shared) : upstream_connection(idle));
        loop_start(n->env.worker->loop, &q->done, 0);
        return;
    }
    network_make_room(n);
    enum err e = upstream_open(&q->up, &n->env, &key, &inquiry_user, q);
    if (e) {
        q->probe->facts->error = e;
        connection_set(q->probe->facts->reason, sizeof q->probe->facts->reason, span_str(err_text(e)));
        loop_start(n->env.worker->loop, &q->done, 0);
    }
}

void network_probe(struct origin *origin, struct probe *probe)
{
    struct inquiry *q = mem_new(1, sizeof *q);
    probe->state = q;
    if (!q) {
        probe->facts->error = ERR_NOMEM;
        return;
    }
    q->net = network_of(origin);
    q->probe = probe;
    task_init(&q->done, inquiry_done_run);
    inquiry_start(q);
}

void network_probe_cancel(struct origin *origin, struct probe *probe)
{
    struct inquiry *q = probe->state;
    (void)origin;
    if (!q)
        return;
    probe->state = NULL;
    if (task_waiting(&q->done))
        loop_stop_task(q->net->env.worker->loop, &q->done);
    else
        upstream_release(q->up, false);
    mem_free(q);
}
