/* record.c: `ringtape record`: the network as the origin, the recorder as a tap. */
#include "tools/command.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/text.h"
#include "base/util.h"
#include "proxy/network.h"
#include "record/recorder.h"
#include "tape/filter.h"
#include "tools/say.h"
#include "tools/serve.h"
#include "tools/status.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <time.h>

enum { COMMIT_MS_MAX = 60000 };

struct record {
    struct serve_options serve;
    const char *output; /* NULL: the default name */
    char default_name[64];
    bool append, force, insecure, has_upstream;
    const char *upstream_ca;
    uint64_t max_body, commit_ms; /* 0: all of it; the default */
    struct tape_filter *filter;   /* NULL: all flows */
    struct network_map *maps;
    size_t maps_n;
    struct network_certificate *certificates;
    size_t certificates_n;
    struct network_upstream upstream;

    /* while it runs */
    const struct log *log;
    struct recorder *recorder;
    struct resolver *resolver;
    struct tls_client_config *tls;
    struct network_options network; /* all workers refer to it */
    struct network *networks[SERVE_WORKERS_MAX];
    uint64_t connects; /* atomic */
};

/* ---- options ---- */

static enum err usage(struct buf *problem, const char *sentence)
{
    enum err e = buf_put_str(problem, sentence);
    return e ? e : ERR_USAGE;
}

static enum err take_map(struct record *r, const char *value, struct buf *problem)
{
    struct network_map *more = mem_resize(r->maps, r->maps_n + 1, sizeof *more);
    if (!more)
        return ERR_NOMEM;
    r->maps = more;
    enum err e = network_map_parse(value, &more[r->maps_n], problem);
    r->maps_n += !e;
    return e;
}

static enum err take_certificate(struct record *r, const char *value, struct buf *problem)
{
    struct network_certificate *more = mem_resize(r->certificates, r->certificates_n + 1, sizeof *more);
    if (!more)
        return ERR_NOMEM;
    r->certificates = more;
    enum err e = network_certificate_parse(value, &more[r->certificates_n], problem);
    r->certificates_n += !e;
    return e;
}

static enum err take_output(struct record *r, const char *value, struct buf *problem)
{
    if (strcmp(value, "-") == 0 || !*value)
        return usage(
            problem,
            "a tape is a database and needs a file: -o TAPE (to write HAR to standard output, export the tape)");
    r->output = value;
    return ERR_OK;
}

static enum err take_max_body(struct record *r, const char *value, struct buf *problem)
{
    enum err e = option_bytes(OPT_MAX_BODY, value, &r->max_body, problem);
    return !e && r->max_body == 0 ? usage(problem, "--max-body: at least 1 byte") : e;
}

static enum err record_option(void *ctx, enum option_id id, const char *value, struct buf *problem)
{
    struct record *r = ctx;
    switch ((int)id) {
    case OPT_OUTPUT_TAPE:
        return take_output(r, value, problem);
    case OPT_FILTER:
        tape_filter_destroy(&r->filter); /* the last one counts */
        return tape_filter_parse(&r->filter, span_str(value), problem);
    case OPT_APPEND:
        r->append = true;
        return ERR_OK;
    case OPT_FORCE:
        r->force = true;
        return ERR_OK;
    case OPT_UPSTREAM_CA:
        r->upstream_ca = value;
        return ERR_OK;
    case OPT_INSECURE:
        r->insecure = true;
        return ERR_OK;
    case OPT_CLIENT_CERT:
        return take_certificate(r, value, problem);
    case OPT_NO_HTTP2:
        r->serve.no_http2 = true;
        return ERR_OK;
    case OPT_NO_AUTO_PASS:
        r->serve.auto_pass = false;
        return ERR_OK;
    case OPT_CONNECT_TO:
        return take_map(r, value, problem);
    case OPT_UPSTREAM:
        r->has_upstream = true;
        return network_upstream_parse(value, &r->upstream, problem);
    case OPT_MAX_BODY:
        return take_max_body(r, value, problem);
    case OPT_COMMIT_INTERVAL:
        return option_number(OPT_COMMIT_INTERVAL, value, 1, COMMIT_MS_MAX, &r->commit_ms, problem);
    default:
        return serve_option(&r->serve, id, value, problem);
    }
}

static enum err record_operand(void *ctx, const char *text, struct buf *problem)
{
    (void)ctx;
    enum err e =
        buf_printf(problem, "'%s' is not understood: the tape is named with -o, a command stands after --", text);
    return e ? e : ERR_USAGE;
}

static void name_by_time(struct record *r)
{
    time_t now = time(NULL);
    struct tm local;
    if (!localtime_r(&now, &local) ||
        strftime(r->default_name, sizeof r->default_name, "session-%Y%m%d-%H%M%S.tape", &local) == 0)
        snprintf(r->default_name, sizeof r->default_name, "session-%lld.tape", (long long)now);
    r->output = r->default_name;
}

static enum err settle(struct record *r, int argc, char **argv, int rest, struct buf *problem)
{
    if (r->append && r->force)
        return usage(problem, "--append and --force exclude each other");
    if (!r->output)
        name_by_time(r);
    return serve_settle(&r->serve, argc, argv, rest, problem);
}

/* ---- the mode ---- */

static enum err open_recorder(struct record *r, struct buf *problem)
{
    struct recorder_options options = {
        .path = r->output,
        .append = r->append,
        .force = r->force,
        .command = (const char *const *)r->serve.command,
        .version = RINGTAPE_VERSION,
        .filter = r->filter,
        .workers = r->serve.workers,
        .commit_ms = (unsigned)r->commit_ms,
        .body_bytes_max = r->max_body,
        .log = r->log,
    };
    return recorder_create(&r->recorder, &options, problem);
}

static enum err record_prepare(void *ctx, const struct log *log, struct buf *problem)
{
    struct record *r = ctx;
    struct tls_client_options options = {
        .insecure = r->insecure,
        .ca_file = r->upstream_ca,
        .key_log_file = getenv("SSLKEYLOGFILE"),
        .sessions_max = LIMIT_TLS_SESSIONS,
        .log = log,
    };
    struct stat st;
    r->log = log;
    if (!r->append && !r->force && lstat(r->output, &st) == 0) { /* asked early; recorder_create() decides */
        enum err e = buf_printf(problem, "%s exists: record into another file, or give --append or --force", r->output);
        return e ? e : ERR_EXISTS;
    }
    enum err e = tls_client_config_create(&r->tls, &options, problem);
    for (size_t i = 0; !e && i < r->certificates_n; i++) {
        options.certificate_file = r->certificates[i].file;
        e = tls_client_config_create(&r->certificates[i].tls, &options, problem);
    }
    if (!e)
        e = resolver_create(&r->resolver, LIMIT_RESOLVER_THREADS, log);
    r->network = (struct network_options){
        .resolver = r->resolver,
        .tls = r->tls,
        .certificates = r->certificates,
        .certificates_n = r->certificates_n,
        .maps = r->maps,
        .maps_n = r->maps_n,
        .upstream = r->has_upstream ? &r->upstream : NULL,
        .no_http2 = r->serve.no_http2,
        .log = log,
        .connects = &r->connects,
    };
    return e;
}

static enum err record_wire(void *ctx, const struct proxy_worker_env *env, struct pipeline *pipeline,
                            struct buf *problem)
{
    struct record *r = ctx;
    enum err e = r->recorder ? ERR_OK : open_recorder(r, problem);
    if (!e)
        e = network_create(&r->networks[env->index], &r->network, env, pipeline);
    if (e)
        return e;
    pipeline->origin = network_origin(r->networks[env->index]);
    pipeline_add_tap(pipeline, recorder_tap(r->recorder, env->index));
    return ERR_OK;
}

static void record_unwire(void *ctx, unsigned index)
{
    struct record *r = ctx;
    network_destroy(&r->networks[index]);
}

static void record_flush(void *ctx, unsigned index)
{
    struct record *r = ctx;
    recorder_flush(r->recorder, index);
}

static enum err record_counters(void *ctx, struct buf *out)
{
    struct record *r = ctx;
    struct recorder_counters n;
    recorder_get_counters(r->recorder, &n);
    return buf_printf(out,
                      "\"flows\":%llu,\"errors\":%llu,\"body_bytes\":%llu,\"queue_bytes\":%llu,\"commits\":%llu,"
                      "\"stalls\":%llu,\"failed\":%s,\"connects\":%llu",
                      (unsigned long long)n.flows, (unsigned long long)n.errors, (unsigned long long)n.body_bytes,
                      (unsigned long long)n.queue_bytes, (unsigned long long)n.commits, (unsigned long long)n.stalls,
                      n.failed ? "true" : "false", (unsigned long long)__atomic_load_n(&r->connects, __ATOMIC_RELAXED));
}

static enum err record_ready(void *ctx, struct buf *out)
{
    struct record *r = ctx;
    return buf_printf(out, "recording to %s", r->output);
}

static void record_totals(void *ctx, struct serve_totals *out)
{
    struct record *r = ctx;
    struct recorder_counters n;
    recorder_get_counters(r->recorder, &n);
    *out = (struct serve_totals){.flows = n.flows, .errors = n.errors, .bytes = n.body_bytes};
}

static void say_summary(struct record *r, const struct log *log, const struct serve_totals *totals, uint64_t elapsed_ns)
{
    struct stat st;
    struct buf text = BUF_INIT;
    enum err e = status_text(totals, &text);
    if (!e)
        e = buf_printf(&text, " in %.1f s; %s", (double)elapsed_ns / (double)NS_PER_S, r->output);
    if (!e && stat(r->output, &st) == 0 && (e = buf_put_str(&text, ", ")) == ERR_OK)
        e = text_bytes(&text, (uint64_t)st.st_size);
    if (!e)
        log_write(log, LOG_INFO, "summary", "recorded %s", say_text(&text));
    buf_free(&text);
}

/* In place of the summary: the counters say what was seen, not what is on the tape. */
static void say_incomplete(const struct record *r, const struct log *log)
{
    struct stat st;
    struct buf text = BUF_INIT;
    enum err e =
        buf_printf(&text, "the recording is not complete: %s has what was committed before the error", r->output);
    struct buf wal = BUF_INIT;
    if (!e && (e = buf_printf(&wal, "%s-wal", r->output)) == ERR_OK && buf_cstr(&wal) && stat(buf_cstr(&wal), &st) == 0)
        e = buf_printf(&text, "; keep %s beside it, there was no room to write it back", buf_cstr(&wal));
    if (!e)
        log_write(log, LOG_ERROR, "summary", "%s", say_text(&text));
    buf_free(&wal);
    buf_free(&text);
}

static int record_finish(void *ctx, const struct log *log, uint64_t elapsed_ns)
{
    struct record *r = ctx;
    struct recorder_counters last;
    struct buf problem = BUF_INIT;
    enum err e = recorder_finish(&r->recorder, &last, &problem);
    struct serve_totals totals = {.flows = last.flows, .errors = last.errors, .bytes = last.body_bytes};
    if (e && !last.failed) /* what failed before was told when it did */
        log_write(log, LOG_ERROR, "tape", "%s", buf_span(&problem).n > 0 ? say_text(&problem) : err_text(e));
    buf_free(&problem);
    if (e)
        say_incomplete(r, log);
    else
        say_summary(r, log, &totals, elapsed_ns);
    return e ? 1 : 0;
}

static void record_free(struct record *r)
{
    if (r->recorder) { /* setting up failed later on */
        struct buf problem = BUF_INIT;
        if (recorder_close(&r->recorder, &problem))
            say("%s", say_text(&problem));
        buf_free(&problem);
    }
    tls_client_config_destroy(&r->tls);
    for (size_t i = 0; i < r->certificates_n; i++)
        tls_client_config_destroy(&r->certificates[i].tls);
    mem_free(r->certificates);
    if (r->resolver)
        resolver_destroy(&r->resolver);
    mem_free(r->maps);
    tape_filter_destroy(&r->filter);
    serve_options_free(&r->serve);
}

int record_main(int argc, char **argv)
{
    struct record r = {.output = NULL};
    struct option_sink sink = {record_option, record_operand, &r};
    struct serve_mode mode = {
        .ctx = &r,
        .prepare = record_prepare,
        .wire = record_wire,
        .unwire = record_unwire,
        .flush = record_flush,
        .counters = record_counters,
        .ready = record_ready,
        .totals = record_totals,
        .finish = record_finish,
    };
    int rest = argc;
    serve_options_init(&r.serve);
    r.serve.auto_pass = true;
    int code = options_read(COMMAND_RECORD, argc, argv, &sink, &rest);
    struct buf problem = BUF_INIT;
    if (code < 0 && settle(&r, argc, argv, rest, &problem)) {
        say("%s", say_text(&problem));
        code = 2;
    }
    buf_free(&problem);
    if (code < 0)
        code = serve(&r.serve, &mode);
    record_free(&r);
    return code;
}
