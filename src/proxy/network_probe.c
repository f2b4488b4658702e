/* network_probe.c: probes: what would a client see that connected to an origin by itself? An `inquiry` is a probe at work. The connection that was made
 * for it goes into the pool, where the client's first request finds it. Of an origin that chose HTTP/2 its SETTINGS are waited for: they say whether it takes
 * upgrades, and the client is told the same. */
#include "proxy/network_internal.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"
#include "tls/hello.h"

struct inquiry {
    struct network *net;
    struct probe *probe;
    struct upstream *up; /* NULL: the answer was in the pool */
    struct shared_wait wait;
    struct task done; /* answers from the pool come later all the same; and no origin is waited for for ever */
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
    list_remove(&q->wait.link);
    mem_free(q);
    probe->done(probe);
}

static void inquiry_settled(struct shared_wait *wait, struct shared *s)
{
    struct inquiry *q = container_of(wait, struct inquiry, wait);
    q->probe->facts->upgrades = s && shared_can_upgrade(s);
    inquiry_end(q);
}

static void inquiry_ready(void *ctx)
{
    struct inquiry *q = ctx;
    struct upstream *up = q->up;
    struct shared *shared;
    q->up = NULL;
    inquiry_facts(q, upstream_connection(up));
    if (!upstream_is_h2(up))
        upstream_release(up, true);
    else if (network_share(q->net, up, &shared))
        q->probe->facts->alpn[0] = '\0'; /* no memory: the client does without */
    else if (shared_await_settings(shared, &q->wait)) {
        loop_start(q->net->env.worker->loop, &q->done, LIMIT_SETTINGS_MS * NS_PER_MS);
        return;
    }
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
        bool waits = shared && shared_await_settings(shared, &q->wait);
        q->probe->facts->upgrades = shared && shared_can_upgrade(shared);
        loop_start(n->env.worker->loop, &q->done, waits ? LIMIT_SETTINGS_MS * NS_PER_MS : 0);
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
    q->wait.done = inquiry_settled;
    list_init(&q->wait.link);
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
    loop_stop_task(q->net->env.worker->loop, &q->done);
    list_remove(&q->wait.link);
    if (q->up)
        upstream_release(q->up, false);
    mem_free(q);
}
