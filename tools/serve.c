/* serve.c: one run of the proxy, on the main thread, which otherwise only waits for signals:
 *
 *     SETTING UP ──> RUNNING ──signal, CMD's end, a worker's failure──> STOPPING ──all workers ended──> (finish)
 *
 * Order of setting up: what can refuse the command line comes first; the port before the tape, so that a port in use harms no
 * tape; CMD before the sandbox, which CMD would inherit; the sandbox before the workers. A CMD that is quicker than the
 * workers waits in the listener's backlog.
 * Invariant: whatever was made is undone by serve_close(), at every exit. */
#include "tools/serve.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/util.h"
#include "tools/output.h"
#include "tools/sandbox.h"
#include "tools/say.h"
#include "tools/signals.h"
#include "tools/status.h"
#include "tools/wrapper.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

enum { EXIT_BEFORE_CMD = 125, WAIT_IDLE_MS = 1000, WAIT_STOPPING_MS = 5 };

struct serve {
    const struct serve_options *options;
    const struct serve_mode *mode;
    struct log log;
    struct signals signals;
    struct rlimit files; /* as we were started */
    struct ca *ca;
    struct leaf_cache *leaves;
    struct tls_server_config *tls;
    struct proxy *proxy;
    struct wrapper *cmd;
    struct status status;
    struct buf problem, wire_problem;
    struct buf auth; /* "user:password" as text; the proxy and CMD's environment borrow it */
    uint64_t started_ns;
    bool stopping, cmd_ended;
    int cmd_code;
    int code; /* ours, when setting up failed */
};

/* ---- what the proxy asks of us ---- */

static enum err serve_wire(void *ctx, const struct proxy_worker_env *env, struct pipeline *pipeline)
{
    struct serve *s = ctx;
    return s->mode->wire(s->mode->ctx, env, pipeline, &s->wire_problem);
}

static void serve_unwire(void *ctx, unsigned index, struct pipeline *pipeline)
{
    struct serve *s = ctx;
    (void)pipeline;
    s->mode->unwire(s->mode->ctx, index);
}

static void serve_flush(void *ctx, unsigned index)
{
    struct serve *s = ctx;
    s->mode->flush(s->mode->ctx, index);
}

static enum err serve_counters(void *ctx, struct buf *out)
{
    struct serve *s = ctx;
    return s->mode->counters(s->mode->ctx, out);
}

/* ---- setting up ---- */

/* Many descriptors are needed: two a connection. */
static void raise_files(struct serve *s)
{
    if (getrlimit(RLIMIT_NOFILE, &s->files) < 0)
        s->files = (struct rlimit){1024, 1024};
    struct rlimit wanted = {s->files.rlim_max, s->files.rlim_max};
    (void)setrlimit(RLIMIT_NOFILE, &wanted);
}

static enum err open_tls(struct serve *s)
{
    struct buf dir = BUF_INIT;
    enum err e = serve_ca_dir(s->options->ca_dir, &dir, &s->problem);
    const char *path = e ? NULL : buf_cstr(&dir);
    if (!e)
        e = path ? ca_open(&s->ca, path, &s->problem) : ERR_NOMEM;
    if (!e)
        e = leaf_cache_create(&s->leaves, s->ca, LIMIT_LEAVES, &s->log);
    const char *key_log = getenv("SSLKEYLOGFILE");
    if (!e) {
        e = tls_server_config_create(&s->tls, s->leaves, key_log, &s->log);
        if (e == ERR_CONFIG &&
            buf_printf(&s->problem, "cannot write the key log %s, which SSLKEYLOGFILE names", key_log))
            buf_clear(&s->problem);
    }
    buf_free(&dir);
    return e;
}

static enum err open_proxy(struct serve *s)
{
    const struct serve_options *o = s->options;
    enum err e = buf_put(&s->auth, buf_span(&o->proxy_auth));
    const char *auth_text = e ? NULL : buf_cstr(&s->auth);
    struct proxy_options options = {
        .host = o->host,
        .port = o->port,
        .workers = o->workers,
        .backend = o->backend == LOOP_AUTO ? (loop_io_uring_usable() ? LOOP_IO_URING : LOOP_EPOLL) : o->backend,
        .no_connect = s->mode->offline,
        .leaves = s->leaves,
        .server_tls = s->tls,
        .ca = s->ca,
        .reverse = o->reverse,
        .reverse_n = o->reverse_n,
        .pass = o->pass,
        .pass_n = o->pass_n,
        .no_http2 = o->no_http2,
        .auto_pass = o->auto_pass,
        .proxy_auth = buf_span(&s->auth).n > 0 ? auth_text : NULL,
        .wire = serve_wire,
        .unwire = serve_unwire,
        .flush = s->mode->flush ? serve_flush : NULL,
        .counters = s->mode->counters ? serve_counters : NULL,
        .ctx = s,
        .log = &s->log,
    };
    if (!e)
        e = auth_text ? proxy_create(&s->proxy, &options, &s->problem) : ERR_NOMEM;
    if (e && buf_span(&s->wire_problem).n > 0) { /* says more than the proxy can know */
        buf_clear(&s->problem);
        if (buf_put(&s->problem, buf_span(&s->wire_problem)))
            buf_clear(&s->problem);
    }
    if (!e && o->backend == LOOP_AUTO && options.backend == LOOP_EPOLL)
        log_write(&s->log, LOG_INFO, "ring", "io_uring is refused here; epoll does its work");
    return e;
}

/* Where CMD finds the proxy: a wildcard address stands for loopback. */
static void proxy_host(const struct serve *s, char host[NET_ADDRESS_TEXT], unsigned *port)
{
    struct sockaddr_storage address;
    proxy_address(s->proxy, &address);
    net_ip_text((const struct sockaddr *)&address, host);
    *port = net_port((const struct sockaddr *)&address);
    if (strcmp(host, "0.0.0.0") == 0)
        snprintf(host, NET_ADDRESS_TEXT, "127.0.0.1");
    else if (strcmp(host, "::") == 0)
        snprintf(host, NET_ADDRESS_TEXT, "::1");
}

static enum err announce(struct serve *s)
{
    struct sockaddr_storage address;
    char where[NET_ADDRESS_TEXT], digits[16];
    struct buf what = BUF_INIT;
    proxy_address(s->proxy, &address);
    net_address_text((const struct sockaddr *)&address, where);
    snprintf(digits, sizeof digits, "%u\n", net_port((const struct sockaddr *)&address));
    enum err e = ERR_OK;
    if (s->options->port_file)
        e = output_file(s->options->port_file, 0644, span_str(digits), &s->problem);
    if (!e)
        e = s->mode->ready(s->mode->ctx, &what);
    if (!e)
        log_write(&s->log, LOG_INFO, "ready", "%s, proxy on http://%s", say_text(&what), where);
    buf_free(&what);
    return e;
}

static enum err start_command(struct serve *s)
{
    char host[NET_ADDRESS_TEXT];
    unsigned port;
    proxy_host(s, host, &port);
    struct wrapper_options options = {
        .command = s->options->command,
        .host = host,
        .port = port,
        .credentials = buf_span(&s->auth).n > 0 ? buf_cstr(&s->auth) : NULL,
        .keep_no_proxy = s->options->keep_no_proxy,
        .mask = &s->signals.before,
        .defaults = &s->signals.defaults,
        .files = &s->files,
    };
    return wrapper_start(s->cmd, &options, &s->code, &s->problem);
}

static void go_offline(struct serve *s)
{
    enum err e = sandbox_enter();
    if (e)
        log_write(&s->log, LOG_WARN, "sandbox",
                  "the kernel will not hold this replay to being offline (%s); nothing in it connects all the same",
                  err_text(e));
}

static enum err set_up(struct serve *s)
{
    bool has_cmd = s->options->command != NULL;
    enum err e = signals_open(&s->signals, has_cmd);
    if (e)
        return e;
    raise_files(s);
    if (has_cmd)
        e = wrapper_find(s->options->command[0], &s->code, &s->problem);
    if (!e && s->options->port_file) /* before a tape is made, or replaced, for nothing */
        e = output_probe(s->options->port_file, &s->problem);
    if (!e)
        e = open_tls(s);
    if (!e)
        e = s->mode->prepare(s->mode->ctx, &s->log, &s->problem);
    if (!e && has_cmd) /* its files, too, before a tape is replaced */
        e = wrapper_create(&s->cmd, s->ca, &s->problem);
    if (!e)
        e = open_proxy(s);
    if (!e)
        e = announce(s);
    if (!e && has_cmd)
        e = start_command(s);
    if (!e && s->mode->offline)
        go_offline(s);
    return e ? e : proxy_start(s->proxy);
}

/* ---- running ---- */

static void say_counters(struct serve *s)
{
    struct serve_totals totals;
    struct proxy_counters n;
    struct buf text = BUF_INIT;
    s->mode->totals(s->mode->ctx, &totals);
    proxy_get_counters(s->proxy, &n);
    enum err e = status_text(&totals, &text);
    if (!e)
        e = buf_printf(&text, "; %llu clients (%llu now), %llu exchanges (%llu now), %llu refused our certificate",
                       (unsigned long long)n.clients, (unsigned long long)n.clients_now,
                       (unsigned long long)n.exchanges, (unsigned long long)n.exchanges_now,
                       (unsigned long long)n.client_tls_refused);
    struct log always = s->log; /* it was asked for: -q does not hold it back */
    always.level = MAX(always.level, LOG_INFO);
    if (!e)
        log_write(&always, LOG_INFO, "counters", "%s", say_text(&text));
    buf_free(&text);
}

/* The first call lets what is in flight end, the second cuts it. */
static void stop(struct serve *s)
{
    s->stopping = true;
    proxy_stop(s->proxy);
}

static void stop_signal(struct serve *s, const struct signal_event *event)
{
    if (!s->cmd || s->cmd_ended) {
        stop(s);
        return;
    }
    log_write(&s->log, LOG_DEBUG, "signal", "%s; waiting for the command to end", strsignal(event->number));
    if (!event->from_terminal)
        wrapper_signal(s->cmd, event->number);
}

static void handle_signals(struct serve *s)
{
    struct signal_event event;
    while (signals_next(&s->signals, &event))
        switch (event.meaning) {
        case SIGNAL_STOP:
            stop_signal(s, &event);
            break;
        case SIGNAL_COUNTERS:
            say_counters(s);
            break;
        case SIGNAL_CHILD:
            if (!s->cmd_ended && wrapper_ended(s->cmd, &s->cmd_code)) {
                s->cmd_ended = true;
                stop(s);
            }
            break;
        case SIGNAL_NOTHING:
            break;
        }
}

/* Returns when the workers have ended, and CMD too. */
static void run(struct serve *s)
{
    struct pollfd waiting = {.fd = s->signals.fd, .events = POLLIN};
    status_init(&s->status, s->log.over_status);
    for (;;) {
        bool stopped = proxy_stopped(s->proxy);
        if (stopped && (!s->cmd || s->cmd_ended))
            break;
        struct serve_totals totals;
        s->mode->totals(s->mode->ctx, &totals);
        status_draw(&s->status, &totals, clock_mono_ns());
        int wait_ms = s->stopping && !stopped ? WAIT_STOPPING_MS : s->status.on ? STATUS_INTERVAL_MS : WAIT_IDLE_MS;
        if (poll(&waiting, 1, wait_ms) > 0)
            handle_signals(s);
    }
    status_clear(&s->status);
}

/* ---- the end ---- */

static void serve_close(struct serve *s)
{
    wrapper_destroy(&s->cmd);
    proxy_destroy(&s->proxy);
    tls_server_config_destroy(&s->tls);
    leaf_cache_destroy(&s->leaves);
    ca_close(&s->ca);
    signals_close(&s->signals);
    buf_free(&s->problem);
    buf_free(&s->wire_problem);
    buf_free(&s->auth);
}

/* A thread could not be started: those that were, and CMD, are ended. */
static void give_up(struct serve *s)
{
    if (s->cmd)
        wrapper_signal(s->cmd, SIGTERM);
    if (s->proxy) {
        proxy_stop(s->proxy);
        if (proxy_wait(s->proxy))
            log_write(&s->log, LOG_DEBUG, "serve", "a worker failed");
    }
}

static int finish(struct serve *s)
{
    enum err e = proxy_wait(s->proxy);
    if (e)
        log_write(&s->log, LOG_ERROR, "serve", "a worker failed: %s", err_text(e));
    proxy_destroy(&s->proxy);
    int code = s->mode->finish(s->mode->ctx, &s->log, clock_mono_ns() - s->started_ns);
    if (e)
        code = 1;
    return s->cmd && s->cmd_code != 0 ? s->cmd_code : code;
}

int serve(const struct serve_options *options, const struct serve_mode *mode)
{
    struct serve s = {
        .options = options,
        .mode = mode,
        .log = {.fd = STDERR_FILENO,
                .level = options->verbose ? LOG_DEBUG
                         : options->quiet ? LOG_WARN
                                          : LOG_INFO,
                .json = options->log_json},
        .signals = {.fd = -1},
        .code = options->command ? EXIT_BEFORE_CMD : 1,
        .started_ns = clock_mono_ns(),
    };
    struct status probe;
    status_init(&probe,
                !options->quiet && !options->log_json && !options->command); /* CMD's output owns the terminal */
    s.log.over_status = probe.on;
    enum err e = set_up(&s);
    int code = s.code;
    if (e) {
        log_write(&s.log, LOG_ERROR, "serve", "%s", buf_span(&s.problem).n > 0 ? say_text(&s.problem) : err_text(e));
        give_up(&s);
    } else {
        run(&s);
        code = finish(&s);
    }
    serve_close(&s);
    return code;
}
