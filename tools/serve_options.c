/* serve_options.c: the options that record and replay share, and what they mean together. */
#include "tools/serve.h"

#include "base/alloc.h"
#include "base/util.h"
#include "tools/output.h"

#include <netdb.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

enum { AUTH_BYTES_MAX = 512, DEFAULT_PORT = 8080 };

void serve_options_init(struct serve_options *o)
{
    *o = (struct serve_options){.host = "127.0.0.1", .backend = LOOP_AUTO, .proxy_auth = BUF_INIT};
}

void serve_options_free(struct serve_options *o)
{
    mem_free(o->pass);
    mem_free(o->reverse);
    buf_free(&o->proxy_auth);
}

static enum err usage(struct buf *problem, const char *format, ...) __attribute__((format(printf, 2, 3)));

static enum err usage(struct buf *problem, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    enum err e = buf_vprintf(problem, format, args);
    va_end(args);
    return e ? e : ERR_USAGE;
}

/* "USER:PASSWORD", or "@FILE": what stands on a command line can be seen by every user of the machine. */
static enum err take_auth(struct serve_options *o, const char *value, struct buf *problem)
{
    struct buf file = BUF_INIT;
    struct span text = span_str(value);
    enum err e = ERR_OK;
    if (value[0] == '@') {
        e = input_file(value + 1, 65536, &file);
        if (e)
            e = usage(problem, "--proxy-auth: cannot read %s: %s", value + 1, err_text(e));
        text = buf_span(&file);
        text = span_first(text, span_find(text, '\n'));
        if (text.n > 0 && text.p[text.n - 1] == '\r')
            text.n--;
    }
    if (!e && (span_find(text, ':') == 0 || span_find(text, ':') == text.n || text.n > AUTH_BYTES_MAX ||
               span_find(text, '\0') < text.n))
        e = usage(problem, "--proxy-auth takes USER:PASSWORD, or @FILE with that in its first line");
    buf_clear(&o->proxy_auth);
    if (!e)
        e = buf_put(&o->proxy_auth, text);
    buf_free(&file);
    return e;
}

static enum err take_pass(struct serve_options *o, const char *value, struct buf *problem)
{
    struct proxy_pass *more = mem_resize(o->pass, o->pass_n + 1, sizeof *more);
    if (!more)
        return ERR_NOMEM;
    o->pass = more;
    enum err e = proxy_pass_parse(value, &more[o->pass_n], problem);
    o->pass_n += !e;
    return e;
}

static enum err take_reverse(struct serve_options *o, const char *value, struct buf *problem)
{
    struct proxy_reverse *more = mem_resize(o->reverse, o->reverse_n + 1, sizeof *more);
    if (!more)
        return ERR_NOMEM;
    o->reverse = more;
    enum err e = proxy_reverse_parse(value, &more[o->reverse_n], problem);
    o->reverse_n += !e;
    return e;
}

static enum err take_workers(struct serve_options *o, const char *value, struct buf *problem)
{
    uint64_t n;
    enum err e = option_number(OPT_WORKERS, value, 1, SERVE_WORKERS_MAX, &n, problem);
    if (!e)
        o->workers = (unsigned)n;
    return e;
}

static enum err take_backend(struct serve_options *o, const char *value, struct buf *problem)
{
    static const enum loop_backend backends[] = {LOOP_AUTO, LOOP_IO_URING,
                                                 LOOP_EPOLL}; /* as the row's argument has them */
    unsigned word = 0;
    enum err e = option_word(OPT_BACKEND, value, &word, problem);
    if (!e)
        o->backend = backends[word];
    return e;
}

enum err serve_option(struct serve_options *o, enum option_id id, const char *value, struct buf *problem)
{
    switch ((int)id) {
    case OPT_LISTEN:
        o->listen_given = true;
        return option_listen(value, o->host, &o->port, problem);
    case OPT_PORT_FILE:
        o->port_file = value;
        return ERR_OK;
    case OPT_CA_DIR:
        o->ca_dir = value;
        return ERR_OK;
    case OPT_PROXY_AUTH:
        return take_auth(o, value, problem);
    case OPT_LISTEN_OPEN:
        o->listen_open = true;
        return ERR_OK;
    case OPT_REVERSE:
        return take_reverse(o, value, problem);
    case OPT_PASS:
        return take_pass(o, value, problem);
    case OPT_WORKERS:
        return take_workers(o, value, problem);
    case OPT_BACKEND:
        return take_backend(o, value, problem);
    case OPT_KEEP_NO_PROXY:
        o->keep_no_proxy = true;
        return ERR_OK;
    case OPT_QUIET:
        o->quiet = true;
        return ERR_OK;
    case OPT_VERBOSE:
        o->verbose = true;
        return ERR_OK;
    case OPT_LOG_JSON:
        o->log_json = true;
        return ERR_OK;
    default:
        return usage(problem, "--%s has no meaning here", option_row(id)->name);
    }
}

static unsigned default_workers(void)
{
    cpu_set_t set;
    long n = sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set) : sysconf(_SC_NPROCESSORS_ONLN);
    return (unsigned)MIN(MAX(n, 1), SERVE_WORKERS_DEFAULT_MAX);
}

/* All addresses of the name are loopback ones. A name that is not known says so when it is bound. */
static bool is_loopback(const char *host)
{
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM, .ai_flags = AI_PASSIVE}, *found = NULL;
    bool all = true;
    if (getaddrinfo(host, NULL, &hints, &found) != 0)
        return true;
    for (const struct addrinfo *at = found; at; at = at->ai_next)
        all = all && net_is_loopback(at->ai_addr);
    freeaddrinfo(found);
    return all;
}

enum err serve_settle(struct serve_options *o, int argc, char **argv, int rest, struct buf *problem)
{
    bool parted = rest > 0 && strcmp(argv[rest - 1], "--") == 0;
    if (parted && rest == argc)
        return usage(problem, "no command stands after --");
    if (parted)
        o->command = argv + rest;
    if (!o->listen_given)
        o->port = o->command ? 0 : DEFAULT_PORT;
    if (o->workers == 0)
        o->workers = default_workers();
    if (!o->listen_open && buf_span(&o->proxy_auth).n == 0 && !is_loopback(o->host))
        return usage(problem,
                     "%s can be reached from other machines: give --proxy-auth USER:PASSWORD, or --listen-open if "
                     "anyone may use the proxy",
                     o->host);
    return ERR_OK;
}

enum err serve_ca_dir(const char *given, struct buf *out, struct buf *problem)
{
    const char *own = getenv("RINGTAPE_CA_DIR"), *data = getenv("XDG_DATA_HOME"), *home = getenv("HOME");
    if (given)
        return *given ? buf_put_str(out, given) : usage(problem, "--ca-dir needs a folder");
    if (own && *own)
        return buf_put_str(out, own);
    if (data && data[0] == '/') /* the specification: relative paths are ignored */
        return buf_printf(out, "%s/ringtape", data);
    if (!home || !*home) {
        const struct passwd *user = getpwuid(getuid());
        home = user ? user->pw_dir : NULL;
    }
    if (home && *home)
        return buf_printf(out, "%s/.local/share/ringtape", home);
    enum err e =
        buf_put_str(problem, "there is no home folder to keep the CA in: give --ca-dir or set RINGTAPE_CA_DIR");
    return e ? e : ERR_CONFIG;
}
