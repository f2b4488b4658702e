/* serve.h: what record and replay share: the options, and one run of the proxy from binding the port to the exit code. What the two differ
 * in is a struct serve_mode. */
#ifndef RINGTAPE_TOOLS_SERVE_H
#define RINGTAPE_TOOLS_SERVE_H

#include "proxy/proxy.h"
#include "tools/options.h"

enum { SERVE_WORKERS_MAX = 64, SERVE_WORKERS_DEFAULT_MAX = 8 };

struct serve_options {
    char host[256];
    unsigned port;
    bool listen_given;
    const char *port_file, *ca_dir; /* NULL: none; the default */
    struct buf proxy_auth;          /* "user:password"; empty: none */
    bool listen_open, keep_no_proxy, quiet, verbose, log_json;
    bool auto_pass;   /* record's */
    bool no_http2;    /* record's */
    unsigned workers; /* 0: by the cores, until serve_settle() */
    enum loop_backend backend;
    struct proxy_pass *pass;
    struct proxy_reverse *reverse;
    size_t pass_n, reverse_n;
    char *const *command; /* NULL-terminated; NULL: none */
};

void serve_options_init(struct serve_options *o);
void serve_options_free(struct serve_options *o);

/* An option that both have. Fails with ERR_USAGE and a sentence, ERR_NOMEM. */
MUST_USE enum err serve_option(struct serve_options *o, enum option_id id, const char *value, struct buf *problem);

/* After all options: what stands after "--" is CMD; defaults that depend on it; is it safe to listen there? Fails with ERR_USAGE
 * and a sentence. */
MUST_USE enum err serve_settle(struct serve_options *o, int argc, char **argv, int rest, struct buf *problem);

struct serve_totals {
    uint64_t flows, errors, bytes;
};

/* All get `ctx`. Those that may fail leave a sentence in *problem, or nothing: then the error's own is used. */
struct serve_mode {
    void *ctx;
    bool offline; /* no way to connect: struct loop_config's no_connect, and the sandbox */
    /* Before a port is bound. */
    enum err (*prepare)(void *ctx, const struct log *log, struct buf *problem);
    /* See struct proxy_options. The first call comes when the port is bound. */
    enum err (*wire)(void *ctx, const struct proxy_worker_env *env, struct pipeline *pipeline, struct buf *problem);
    void (*unwire)(void *ctx, unsigned index);
    void (*flush)(void *ctx, unsigned index); /* may be NULL */
    enum err (*counters)(void *ctx, struct buf *out);
    /* "recording to login.tape" */
    enum err (*ready)(void *ctx, struct buf *out);
    /* Any time while it runs, on the main thread. */
    void (*totals)(void *ctx, struct serve_totals *out);
    /* The workers have ended: closes, says what came of it, and gives the exit code. */
    int (*finish)(void *ctx, const struct log *log, uint64_t elapsed_ns);
};

/* Runs until a signal or CMD's end. The exit code of the program. */
int serve(const struct serve_options *options, const struct serve_mode *mode);

/* Where the CA is: `given`, or the default of --ca-dir. Fails with ERR_CONFIG and a sentence when there is no home. */
MUST_USE enum err serve_ca_dir(const char *given, struct buf *out, struct buf *problem);

#endif
