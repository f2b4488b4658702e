/* replay.c: `ringtape replay`: a tape as the origin; nothing watches, nothing connects. */
#include "tools/command.h"

#include "base/alloc.h"
#include "base/text.h"
#include "base/util.h"
#include "replay/explain.h"
#include "replay/player.h"
#include "replay/report.h"
#include "tape/filter.h"
#include "tools/output.h"
#include "tools/rules_file.h"
#include "tools/say.h"
#include "tools/serve.h"

#include <stdio.h>
#include <unistd.h>

struct given {
    enum option_id id;
    const char *value;
};

struct replay {
    struct serve_options serve;
    struct rules rules;
    bool fail_on_given;
    struct given *given; /* what the command line says: it comes on top of the file's rules */
    size_t given_n;
    const char *rules_path; /* --rules; NULL: looked for */
    struct match explain;   /* --explain; flow 0: not asked for */
    struct buf rules_found, rules_refused;
    const char **paths;
    size_t paths_n;
    const char *filter_text, *report, *junit; /* NULL: none */
    struct tape_filter *filter;

    /* while it runs */
    const struct log *log;
    struct matcher *matcher;
    struct player *players[SERVE_WORKERS_MAX];
    struct loop *loops[SERVE_WORKERS_MAX];
    uint64_t connects; /* what the loops counted; atomic */
};

/* ---- options ---- */

static enum err take_filter(struct replay *r, const char *value, struct buf *problem)
{
    tape_filter_destroy(&r->filter);
    r->filter_text = value;
    return tape_filter_parse(&r->filter, span_str(value), problem);
}

/* ID, or TAPE:ID. */
static enum err take_explain(struct replay *r, const char *value, struct buf *problem)
{
    struct span s = span_str(value);
    size_t colon = span_find(s, ':');
    uint64_t tape = 1, flow = 0;
    bool valid = colon == s.n ? span_to_u64(s, INT64_MAX, &flow)
                              : span_to_u64(span_first(s, colon), UINT32_MAX, &tape) &&
                                    span_to_u64(span_from(s, colon + 1), INT64_MAX, &flow);
    if (!valid || tape == 0 || flow == 0) {
        enum err e = buf_put_byte(problem, '\'');
        if (!e)
            e = text_escape_terminal(problem, s);
        if (!e)
            e = buf_put_str(problem, "' is not a flow; `ringtape ls TAPE` lists them (of the second tape: 2:ID)");
        return e ? e : ERR_USAGE;
    }
    r->explain = (struct match){.tape = (uint32_t)tape - 1, .flow = (int64_t)flow};
    return ERR_OK;
}

/* ERR_NOT_FOUND: it is no rule. */
static enum err take_rule(struct replay *r, enum option_id id, const char *value, struct buf *problem)
{
    switch ((int)id) {
    case OPT_MATCH:
        return rules_match(&r->rules, value, problem);
    case OPT_IGNORE:
        return rules_ignore(&r->rules, value, problem);
    case OPT_ORDER:
        return rules_order(&r->rules, value, problem);
    case OPT_PACE:
        return rules_pace(&r->rules, value, problem);
    case OPT_MAP:
        return rules_map(&r->rules, value, problem);
    case OPT_FAIL_ON:
        return rules_fail_on(&r->rules, value, problem);
    case OPT_MISS_STATUS:
        return rules_miss_status(&r->rules, value, problem);
    default:
        return ERR_NOT_FOUND;
    }
}

static enum err replay_option(void *ctx, enum option_id id, const char *value, struct buf *problem)
{
    struct replay *r = ctx;
    enum err e = take_rule(r, id, value, problem);
    if (!e) {
        struct given *more = mem_resize(r->given, r->given_n + 1, sizeof *more);
        if (!more)
            return ERR_NOMEM;
        r->given = more;
        more[r->given_n++] = (struct given){id, value};
        r->fail_on_given |= id == OPT_FAIL_ON;
    }
    if (e != ERR_NOT_FOUND)
        return e;
    switch ((int)id) {
    case OPT_RULES:
        r->rules_path = value;
        return ERR_OK;
    case OPT_EXPLAIN:
        return take_explain(r, value, problem);
    case OPT_TAG:
        r->rules.tag = true;
        return ERR_OK;
    case OPT_REPORT:
        r->report = value;
        return ERR_OK;
    case OPT_JUNIT:
        r->junit = value;
        return ERR_OK;
    case OPT_FILTER:
        return take_filter(r, value, problem);
    default:
        return serve_option(&r->serve, id, value, problem);
    }
}

static enum err replay_operand(void *ctx, const char *text, struct buf *problem)
{
    struct replay *r = ctx;
    (void)problem;
    const char **more = mem_resize(r->paths, r->paths_n + 1, sizeof *more);
    if (!more)
        return ERR_NOMEM;
    r->paths = more;
    more[r->paths_n++] = text;
    return ERR_OK;
}

/* The file's rules first, then what the command line said: of maps the first that fits is taken, so there the order is the other way round. */
static enum err settle_rules(struct replay *r, struct buf *problem)
{
    bool tag = r->rules.tag;
    enum err e = r->rules_path ? buf_put_str(&r->rules_found, r->rules_path)
                               : rules_file_find(r->paths[0], &r->rules_found, &r->rules_refused);
    if (e || r->rules_found.n == 0)
        return e;
    const char *path = buf_cstr(&r->rules_found);
    if (!path)
        return ERR_NOMEM;
    rules_free(&r->rules);
    r->rules.tag = tag;
    for (size_t i = 0; !e && i < r->given_n; i++)
        if (r->given[i].id == OPT_MAP)
            e = take_rule(r, r->given[i].id, r->given[i].value, problem);
    if (!e)
        e = rules_file_read(&r->rules, path, &r->fail_on_given, problem);
    for (size_t i = 0; !e && i < r->given_n; i++)
        if (r->given[i].id != OPT_MAP)
            e = take_rule(r, r->given[i].id, r->given[i].value, problem);
    return e;
}

static enum err settle(struct replay *r, int argc, char **argv, int rest, struct buf *problem)
{
    if (r->paths_n == 0) {
        enum err e = buf_put_str(problem, "which tape? ringtape replay TAPE... [-- CMD ARG...]");
        return e ? e : ERR_USAGE;
    }
    enum err e = serve_settle(&r->serve, argc, argv, rest, problem);
    if (!e)
        e = settle_rules(r, problem);
    if (!r->fail_on_given)
        r->rules.fail_on = r->serve.command ? BIT(FAIL_ON_MISS) : 0;
    return e;
}

/* ---- the mode ---- */

static enum err include_flow(void *ctx, struct tape *tape, const struct tape_flow *flow, bool *yes)
{
    struct replay *r = ctx;
    return tape_filter_match(r->filter, tape, flow, yes);
}

static enum err replay_prepare(void *ctx, const struct log *log, struct buf *problem)
{
    struct replay *r = ctx;
    struct matcher_options options = {
        .paths = r->paths,
        .paths_n = r->paths_n,
        .rules = &r->rules,
        .include = r->filter ? include_flow : NULL,
        .include_ctx = r,
        .names_from_certificate = tls_certificate_names,
    };
    r->log = log;
    if (r->rules_refused.n > 0)
        log_write(log, LOG_WARN, "rules",
                  "%s is not read, for others may have written it; if you trust it, say --rules %s",
                  say_text(&r->rules_refused), say_text(&r->rules_refused));
    if (r->rules_found.n > 0)
        log_write(log, LOG_INFO, "rules", "rules from %s", say_text(&r->rules_found));
    enum err e = r->report ? output_probe(r->report, problem) : ERR_OK;
    if (!e && r->junit)
        e = output_probe(r->junit, problem);
    return e ? e : matcher_create(&r->matcher, &options, problem);
}

static enum err replay_wire(void *ctx, const struct proxy_worker_env *env, struct pipeline *pipeline,
                            struct buf *problem)
{
    struct replay *r = ctx;
    struct player_options options = {.matcher = r->matcher, .scheduler = env->scheduler, .log = r->log};
    enum err e = player_create(&r->players[env->index], &options, problem);
    if (e)
        return e;
    r->loops[env->index] = env->loop;
    pipeline->origin = player_origin(r->players[env->index]);
    return ERR_OK;
}

static void replay_unwire(void *ctx, unsigned index)
{
    struct replay *r = ctx;
    if (r->loops[index]) { /* what the report says of connections is counted where they would be made */
        struct loop_counters n;
        loop_counters(r->loops[index], &n);
        __atomic_add_fetch(&r->connects, n.connects, __ATOMIC_RELAXED);
    }
    r->loops[index] = NULL;
    player_destroy(&r->players[index]);
}

static enum err replay_counters(void *ctx, struct buf *out)
{
    struct replay *r = ctx;
    struct matcher_counters n;
    matcher_get_counters(r->matcher, &n);
    return buf_printf(out, "\"flows\":%llu,\"served\":%llu,\"missed\":%llu,\"repeated\":%llu,\"unused\":%llu",
                      (unsigned long long)n.flows, (unsigned long long)n.served, (unsigned long long)n.missed,
                      (unsigned long long)n.repeated, (unsigned long long)n.unused);
}

static enum err replay_ready(void *ctx, struct buf *out)
{
    struct replay *r = ctx;
    struct matcher_counters n;
    matcher_get_counters(r->matcher, &n);
    enum err e = buf_printf(out, "replaying %llu flow%s from ", (unsigned long long)n.flows, n.flows == 1 ? "" : "s");
    for (size_t i = 0; !e && i < r->paths_n; i++)
        e = buf_printf(out, "%s%s", i > 0 ? " and " : "", r->paths[i]);
    return e;
}

static void replay_totals(void *ctx, struct serve_totals *out)
{
    struct replay *r = ctx;
    struct matcher_counters n;
    matcher_get_counters(r->matcher, &n);
    *out = (struct serve_totals){.flows = n.served + n.missed, .errors = n.missed};
}

/* One log line for each line of the text. */
static void log_lines(const struct log *log, struct span text)
{
    while (text.n > 0) {
        size_t n = span_find(text, '\n');
        log_write(log, LOG_INFO, "summary", "%.*s", (int)n, (const char *)text.p);
        text = span_from(text, n + 1);
    }
}

static bool write_report(const struct log *log, const char *path, struct buf *text, enum err e)
{
    struct buf problem = BUF_INIT;
    if (!e)
        e = output_file(path, 0644, buf_span(text), &problem);
    if (e)
        log_write(log, LOG_ERROR, "report", "%s", buf_span(&problem).n > 0 ? say_text(&problem) : err_text(e));
    buf_free(&problem);
    buf_clear(text);
    return !e;
}

static void say_failed(const struct log *log, unsigned failed)
{
    struct buf text = BUF_INIT;
    enum err e = ERR_OK;
    for (unsigned i = 0; !e && i < FAIL_ON_COUNT; i++)
        if (failed & BIT(i))
            e = buf_printf(&text, "%s%s", buf_span(&text).n > 0 ? ", " : "", fail_on_word((enum fail_on)i));
    if (!e)
        log_write(log, LOG_ERROR, "summary", "the replay did not hold: %s (--fail-on)", say_text(&text));
    buf_free(&text);
}

static int replay_finish(void *ctx, const struct log *log, uint64_t elapsed_ns)
{
    struct replay *r = ctx;
    struct buf text = BUF_INIT;
    uint64_t connects = __atomic_load_n(&r->connects, __ATOMIC_RELAXED);
    bool written = true;
    (void)elapsed_ns;
    if (r->report)
        written = write_report(log, r->report, &text, report_json(r->matcher, connects, &text));
    if (r->junit)
        written = write_report(log, r->junit, &text, report_junit(r->matcher, &text)) && written;
    if (report_text(r->matcher, connects, &text) == ERR_OK)
        log_lines(log, buf_span(&text));
    buf_free(&text);
    unsigned failed = report_failed(r->matcher);
    if (failed)
        say_failed(log, failed);
    return !written ? 1 : failed ? 3 : 0;
}

/* --explain: nothing is served. */
static int explain(struct replay *r)
{
    struct buf text = BUF_INIT, problem = BUF_INIT;
    struct tape *tape = NULL;
    struct log log = {.fd = STDERR_FILENO, .level = LOG_WARN};
    enum err e = ERR_OK;
    if (r->explain.tape >= r->paths_n)
        e = buf_printf(&problem, "--explain: there %s only %zu tape%s", r->paths_n == 1 ? "is" : "are", r->paths_n,
                       r->paths_n == 1 ? "" : "s")
                ? ERR_NOMEM
                : ERR_NOT_FOUND;
    if (!e)
        e = replay_prepare(r, &log, &problem);
    if (!e)
        e = tape_open(&tape, r->paths[r->explain.tape], &problem);
    if (!e)
        e = explain_flow(r->matcher, tape, &r->explain, &text);
    if (e == ERR_NOT_FOUND && problem.n == 0 &&
        buf_printf(&problem, "%s has no flow %lld", r->paths[r->explain.tape], (long long)r->explain.flow))
        e = ERR_NOMEM;
    if (!e)
        e = output_stdout(buf_span(&text), &problem);
    if (e)
        say("%s", problem.n > 0 ? say_text(&problem) : err_text(e));
    tape_close(&tape);
    buf_free(&text);
    buf_free(&problem);
    r->log = NULL;
    return !e ? 0 : e == ERR_NOMEM || e == ERR_IO || e == ERR_DISK_FULL ? 1 : 3;
}

static void replay_free(struct replay *r)
{
    matcher_destroy(&r->matcher);
    tape_filter_destroy(&r->filter);
    rules_free(&r->rules);
    mem_free(r->paths);
    mem_free(r->given);
    buf_free(&r->rules_found);
    buf_free(&r->rules_refused);
    serve_options_free(&r->serve);
}

int replay_main(int argc, char **argv)
{
    struct replay r = {.paths = NULL};
    struct option_sink sink = {replay_option, replay_operand, &r};
    struct serve_mode mode = {
        .ctx = &r,
        .offline = true,
        .prepare = replay_prepare,
        .wire = replay_wire,
        .unwire = replay_unwire,
        .counters = replay_counters,
        .ready = replay_ready,
        .totals = replay_totals,
        .finish = replay_finish,
    };
    int rest = argc;
    serve_options_init(&r.serve);
    rules_init(&r.rules);
    int code = options_read(COMMAND_REPLAY, argc, argv, &sink, &rest);
    struct buf problem = BUF_INIT;
    enum err e = code < 0 ? settle(&r, argc, argv, rest, &problem) : ERR_OK;
    if (e) {
        say("%s", say_text(&problem));
        code = e == ERR_USAGE ? 2 : r.serve.command ? 125 : e == ERR_NOMEM ? 1 : 3;
    }
    buf_free(&problem);
    if (code < 0)
        code = r.explain.flow ? explain(&r) : serve(&r.serve, &mode);
    replay_free(&r);
    return code;
}
