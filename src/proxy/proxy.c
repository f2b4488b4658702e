/* proxy.c: binding, threads, stopping, and the small parsers of the proxy's options. */
#include "proxy/proxy.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "base/util.h"
#include "http/url.h"
#include "proxy/worker_run.h"

#include <assert.h>
#include <stdio.h>
#include <sys/resource.h>
#include <unistd.h>

struct proxy {
    struct proxy_options options;
    struct sockaddr_storage address;
    struct worker *workers;
    unsigned workers_n;                    /* that were created */
    unsigned started;                      /* threads */
    unsigned running;                      /* threads that have not ended; atomic */
    unsigned stops;                        /* calls of proxy_stop(); atomic */
    uint64_t exchange_ids, connection_ids; /* atomic */
    const char *backend;                   /* static */
    struct refusals *refusals;
};

uint64_t worker_next_exchange(struct worker *w)
{
    return __atomic_add_fetch(&w->proxy->exchange_ids, 1, __ATOMIC_RELAXED);
}

/* ---- options ---- */

/* "HOST=" before the URL, if there is one. False: it is no host. */
static bool reverse_host(const char **text, struct proxy_reverse *out)
{
    const char *eq = strchr(*text, '='), *scheme = strstr(*text, "://");
    struct span host;
    unsigned port;
    if (!eq || !scheme || eq > scheme)
        return true;
    /* Requests are told apart by their host alone: a port here would never match. */
    if (url_authority(span_of(*text, (size_t)(eq - *text)), &host, &port) != ERR_OK || port != 0 ||
        host.n >= sizeof out->host)
        return false;
    connection_set(out->host, sizeof out->host, host);
    *text = eq + 1;
    return true;
}

enum err proxy_reverse_parse(const char *text, struct proxy_reverse *out, struct buf *problem)
{
    const char *whole = text;
    struct url url;
    *out = (struct proxy_reverse){.to_port = 0};
    bool good = reverse_host(&text, out) && url_parse(span_str(text), &url) == ERR_OK &&
                url.host.n < sizeof out->to_host && !url.has_query && url.path.n < sizeof out->prefix;
    bool secure = good && span_eq_nocase(url.scheme, SPAN("https"));
    if (!good || (!secure && !span_eq_nocase(url.scheme, SPAN("http")))) {
        enum err e = buf_printf(problem, "--reverse wants [HOST=]http[s]://HOST[:PORT][/PATH], not \"%s\"", whole);
        return e ? e : ERR_USAGE;
    }
    connection_set(out->scheme, sizeof out->scheme, secure ? SPAN("https") : SPAN("http"));
    connection_set(out->to_host, sizeof out->to_host, url.host);
    out->to_port = url.port;
    while (url.path.n > 0 && url.path.p[url.path.n - 1] == '/')
        url.path.n--;
    connection_set(out->prefix, sizeof out->prefix, url.path);
    return ERR_OK;
}

/* A name or an address, with "*" at the beginning at most: any other glob would match nothing, and silently. */
static bool pass_host_valid(struct span host)
{
    for (size_t i = host.p[0] == '*'; i < host.n; i++) {
        uint8_t c = host.p[i], lower = c | 0x20;
        if (!(lower >= 'a' && lower <= 'z') && !(c >= '0' && c <= '9') && c < 0x80 && (!c || !strchr("-_.:", c)))
            return false;
    }
    return true;
}

enum err proxy_pass_read(struct span text, struct proxy_pass *out)
{
    struct span host;
    unsigned port;
    *out = (struct proxy_pass){.port = 0};
    if (url_authority(text, &host, &port) != ERR_OK || host.n >= sizeof out->host || !pass_host_valid(host))
        return ERR_PARSE;
    connection_set(out->host, sizeof out->host, host);
    out->port = port;
    return ERR_OK;
}

enum err proxy_pass_parse(const char *text, struct proxy_pass *out, struct buf *problem)
{
    if (proxy_pass_read(span_str(text), out) == ERR_OK)
        return ERR_OK;
    enum err e = buf_printf(problem, "--pass wants HOST[:PORT], where HOST may begin with \"*.\", not \"%s\"", text);
    return e ? e : ERR_USAGE;
}

bool proxy_pass_matches(const struct proxy_pass *pass, struct span host, unsigned port)
{
    struct span glob = span_str(pass->host), tail = span_from(glob, 1);
    if (pass->port && pass->port != port)
        return false;
    if (glob.n == 0 || glob.p[0] != '*')
        return span_eq_nocase(glob, host);
    return host.n >= tail.n && span_eq_nocase(span_from(host, host.n - tail.n), tail);
}

bool proxy_passes(const struct proxy_options *o, struct span host, unsigned port)
{
    for (size_t i = 0; i < o->pass_n; i++)
        if (proxy_pass_matches(&o->pass[i], host, port))
            return true;
    return false;
}

/* ---- life ---- */

/* Descriptors that the connections of one worker may take. Where there are few, half of them are kept back. */
static size_t proxy_descriptors_max(unsigned workers)
{
    struct rlimit limit;
    size_t fds = getrlimit(RLIMIT_NOFILE, &limit) == 0 ? (size_t)limit.rlim_cur : 1024;
    return (fds - MIN((size_t)LIMIT_FD_RESERVE, fds / 2)) / workers;
}

static enum err proxy_worker_create(struct proxy *p, struct worker *w, unsigned index, struct buf *problem)
{
    const struct proxy_options *o = &p->options;
    struct loop_config config = {.backend = o->backend, .no_connect = o->no_connect, .log = o->log};
    char host[NET_ADDRESS_TEXT];
    worker_init(w, p, o, index, proxy_descriptors_max(o->workers));
    w->refusals = p->refusals;
    if (index > 0)
        net_ip_text((const struct sockaddr *)&p->address, host);
    unsigned port = index > 0 ? net_port((const struct sockaddr *)&p->address) : o->port;
    enum err e = net_listen(&w->fd, index > 0 ? host : o->host, port, o->workers > 1, &p->address);
    if (e) {
        enum err f =
            buf_printf(problem, "cannot listen on %s:%u: %s%s", o->host, o->port, err_text(e),
                       e == ERR_ADDRESS_IN_USE ? "; choose another with -l [HOST:]PORT (port 0: any free one)" : "");
        return f ? f : e;
    }
    w->env.listening = p->address;
    w->env.connection_ids = &p->connection_ids;
    e = loop_create(&w->env.loop, &config);
    if (e) {
        enum err f =
            buf_printf(problem, "no event loop: %s%s", err_text(e),
                       e == ERR_UNSUPPORTED ? "; this kernel or container refuses io_uring, try --backend epoll" : "");
        return f ? f : e;
    }
    w->env.scheduler = loop_scheduler(w->env.loop);
    p->backend = loop_backend_name(w->env.loop);
    pipeline_add_filter(&w->pipeline, &w->page.filter);
    e = o->wire(o->ctx, &w->env, &w->pipeline);
    if (!e)
        e = worker_listen(w);
    if (e) {
        enum err f = buf_printf(problem, "cannot start: %s", err_text(e));
        return f ? f : e;
    }
    return ERR_OK;
}

/* Several listeners on one port are told apart by the kernel only with SO_REUSEPORT, which also lets a second ringtape of the same
 * user bind it: so the first one binds without it, as a question. */
static enum err proxy_port_is_free(const struct proxy_options *o, struct buf *problem)
{
    int fd = -1;
    struct sockaddr_storage bound;
    if (o->port == 0 || o->workers == 1)
        return ERR_OK;
    enum err e = net_listen(&fd, o->host, o->port, false, &bound);
    if (fd >= 0)
        close(fd);
    if (!e)
        return ERR_OK;
    enum err f =
        buf_printf(problem, "cannot listen on %s:%u: %s%s", o->host, o->port, err_text(e),
                   e == ERR_ADDRESS_IN_USE ? "; choose another with -l [HOST:]PORT (port 0: any free one)" : "");
    return f ? f : e;
}

enum err proxy_create(struct proxy **out, const struct proxy_options *options, struct buf *problem)
{
    *out = NULL;
    enum err e = proxy_port_is_free(options, problem);
    if (e)
        return e;
    struct proxy *p = mem_new(1, sizeof *p);
    if (!p)
        return ERR_NOMEM;
    p->options = *options;
    assert(options->workers > 0);
    p->workers = mem_new(options->workers, sizeof *p->workers);
    e = p->workers ? refusals_create(&p->refusals) : ERR_NOMEM;
    while (!e && p->workers_n < options->workers) {
        unsigned i = p->workers_n++;
        e = proxy_worker_create(p, &p->workers[i], i, problem);
    }
    if (e)
        proxy_destroy(&p);
    *out = p;
    return e;
}

void proxy_address(const struct proxy *p, struct sockaddr_storage *out)
{
    *out = p->address;
}

const char *proxy_backend(const struct proxy *p)
{
    return p->backend;
}

static void *proxy_thread(void *arg)
{
    struct worker *w = arg;
    (void)worker_run(w);
    __atomic_sub_fetch(&w->proxy->running, 1, __ATOMIC_ACQ_REL);
    return NULL;
}

enum err proxy_start(struct proxy *p)
{
    for (; p->started < p->workers_n; p->started++) {
        struct worker *w = &p->workers[p->started];
        __atomic_add_fetch(&p->running, 1, __ATOMIC_ACQ_REL);
        if (pthread_create(&w->thread, NULL, proxy_thread, w)) {
            __atomic_sub_fetch(&p->running, 1, __ATOMIC_ACQ_REL);
            return ERR_NOMEM;
        }
    }
    return ERR_OK;
}

void proxy_stop(struct proxy *p)
{
    unsigned stops = __atomic_fetch_add(&p->stops, 1, __ATOMIC_ACQ_REL);
    if (stops > 1)
        return;
    for (unsigned i = 0; i < p->started; i++) {
        struct worker *w = &p->workers[i];
        loop_post(w->env.loop, stops == 0 ? &w->stop_post : &w->cut_post);
    }
}

bool proxy_stopped(const struct proxy *p)
{
    return __atomic_load_n(&p->running, __ATOMIC_ACQUIRE) == 0;
}

enum err proxy_wait(struct proxy *p)
{
    enum err e = ERR_OK;
    for (unsigned i = 0; i < p->started; i++) {
        (void)pthread_join(p->workers[i].thread, NULL);
        if (!e)
            e = p->workers[i].result;
    }
    p->started = 0;
    return e;
}

void proxy_destroy(struct proxy **p)
{
    struct proxy *it = *p;
    *p = NULL;
    if (!it)
        return;
    assert(it->started == 0);
    for (unsigned i = 0; i < it->workers_n; i++) {
        struct worker *w = &it->workers[i];
        if (w->env.loop && !w->unwired) { /* it never ran */
            listener_close(&w->listener);
            if (it->options.unwire)
                it->options.unwire(it->options.ctx, i, &w->pipeline);
        }
        if (w->env.loop)
            loop_destroy(&w->env.loop);
        if (w->fd >= 0)
            close(w->fd);
    }
    refusals_destroy(&it->refusals);
    mem_free(it->workers);
    mem_free(it);
}

void proxy_get_counters(const struct proxy *p, struct proxy_counters *out)
{
    *out = (struct proxy_counters){.clients = 0};
    for (unsigned i = 0; i < p->workers_n; i++) {
        const struct proxy_counters *from = &p->workers[i].counters;
        out->clients += __atomic_load_n(&from->clients, __ATOMIC_RELAXED);
        out->clients_now += __atomic_load_n(&from->clients_now, __ATOMIC_RELAXED);
        out->exchanges += __atomic_load_n(&from->exchanges, __ATOMIC_RELAXED);
        out->exchanges_now += __atomic_load_n(&from->exchanges_now, __ATOMIC_RELAXED);
        out->client_tls_refused += __atomic_load_n(&from->client_tls_refused, __ATOMIC_RELAXED);
        out->bytes_in += __atomic_load_n(&from->bytes_in, __ATOMIC_RELAXED);
        out->bytes_out += __atomic_load_n(&from->bytes_out, __ATOMIC_RELAXED);
    }
}
