/* ls.c: `ringtape ls`: one line a flow. */
#include "tools/command.h"

#include "base/clock.h"
#include "base/text.h"
#include "tape/filter.h"
#include "tools/flow_grpc.h"
#include "tools/flow_text.h"
#include "tools/output.h"
#include "tools/say.h"
#include "tools/tape_input.h"

#include <stdio.h>
#include <unistd.h>

struct ls {
    const char *path;
    size_t paths_n;
    bool json, colours;
    struct tape_filter *filter;
};

static enum err ls_option(void *ctx, enum option_id id, const char *value, struct buf *problem)
{
    struct ls *ls = ctx;
    if (id == OPT_JSON) {
        ls->json = true;
        return ERR_OK;
    }
    tape_filter_destroy(&ls->filter); /* OPT_FILTER: the last one counts */
    return tape_filter_parse(&ls->filter, span_str(value), problem);
}

static enum err ls_operand(void *ctx, const char *text, struct buf *problem)
{
    struct ls *ls = ctx;
    return tape_input_operand(&ls->path, &ls->paths_n, 1, text, problem);
}

static const char *status_colour(const struct tape_flow *flow, const struct flow_grpc *grpc)
{
    if (!flow->complete || flow->status >= 500 || flow->status == 0)
        return "\033[31m";
    if (grpc->status.n > 0 && !span_eq(buf_span(&grpc->status), SPAN("0")))
        return "\033[33m";
    return flow->status >= 400 ? "\033[33m" : flow->status >= 300 ? "\033[36m" : "\033[32m";
}

/* "200"; of a gRPC call "200/NOT_FOUND". */
static enum err put_status(const struct tape_flow *flow, const struct flow_grpc *grpc, struct buf *out)
{
    enum err e = flow->status > 0 ? buf_printf(out, "%u", flow->status) : buf_put_byte(out, '-');
    if (e || grpc->status.n == 0)
        return e;
    e = buf_put_byte(out, '/');
    if (!e)
        e = grpc->word ? buf_put_str(out, grpc->word) : text_escape_terminal(out, buf_span(&grpc->status));
    return e;
}

static enum err put_columns(const struct ls *ls, const struct tape_flow *flow, const struct flow_grpc *grpc,
                            struct buf *out)
{
    char started[CLOCK_ISO_LEN], ms[32] = "-";
    struct buf size = BUF_INIT, method = BUF_INIT, status = BUF_INIT;
    clock_iso8601(flow->started_ns, started);
    if (flow->response_end_ns >= 0)
        snprintf(ms, sizeof ms, "%.1f", (double)flow->response_end_ns / (double)NS_PER_MS);
    enum err e = put_status(flow, grpc, &status);
    if (!e)
        e = text_bytes(&size, flow->response_body.wire_bytes);
    if (!e)
        e = text_escape_terminal(&method, flow->method.n > 0 ? flow->method : SPAN("-"));
    if (!e) /* the clock's time of the ISO text: HH:MM:SS.mmm */
        e = buf_printf(out, "%6lld  %.10s %.12s  %s%3s%s%c %-7s %9s %9s ms  ", (long long)flow->id, started,
                       started + 11, ls->colours ? status_colour(flow, grpc) : "", say_text(&status),
                       ls->colours ? "\033[0m" : "", flow->complete ? ' ' : '!', say_text(&method), say_text(&size),
                       ms);
    buf_free(&size);
    buf_free(&method);
    buf_free(&status);
    return e;
}

static enum err put_line(const struct ls *ls, struct tape *tape, const struct tape_flow *flow, struct buf *out)
{
    if (ls->json) {
        enum err e = buf_put_byte(out, '{');
        if (!e)
            e = flow_json_members(flow, out);
        if (!e)
            e = flow_grpc_members(tape, flow, out);
        return e ? e : buf_put_str(out, "}\n");
    }
    struct buf url = BUF_INIT;
    struct flow_grpc grpc = {.is = false};
    enum err e = flow_grpc_read(tape, flow, &grpc);
    if (!e)
        e = put_columns(ls, flow, &grpc, out);
    flow_grpc_free(&grpc);
    if (!e)
        e = flow_url(flow, &url);
    if (!e)
        e = text_escape_terminal(out, buf_span(&url));
    if (!e && flow->error.n > 0) {
        e = buf_put_str(out, "  ");
        if (!e)
            e = text_escape_terminal(out, flow->error);
    } else if (!e && !flow->complete) {
        e = buf_put_str(out, "  in progress, or cut off with the recording");
    }
    buf_free(&url);
    return e ? e : buf_put_byte(out, '\n');
}

static enum err list(const struct ls *ls, struct tape *tape, struct output *out)
{
    struct tape_query query = {.by_start = false};
    struct tape_cursor *cursor = NULL;
    struct tape_flow flow;
    struct buf line = BUF_INIT;
    enum err e = tape_flows(tape, &query, &cursor);
    while (!e) {
        bool yes = true;
        e = tape_flow_next(cursor, &flow);
        if (!e && ls->filter)
            e = tape_filter_match(ls->filter, tape, &flow, &yes);
        if (e || !yes)
            continue;
        buf_clear(&line);
        e = put_line(ls, tape, &flow, &line);
        if (!e)
            e = output_put(out, buf_span(&line));
    }
    tape_cursor_close(&cursor);
    buf_free(&line);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

static int run(struct ls *ls)
{
    struct tape *tape = NULL;
    struct output *out = NULL;
    struct buf problem = BUF_INIT;
    int code = 0;
    if (!tape_input_open(&tape, ls->path, &code))
        return code;
    ls->colours = output_colours(STDOUT_FILENO);
    enum err e = output_open(&out, NULL, 0600, &problem);
    if (!e)
        e = list(ls, tape, out);
    if (out) { /* after a failure too: what could be read is shown */
        enum err f = output_commit(&out, &problem);
        e = e ? e : f;
    }
    if (e)
        code = tape_input_failed(tape, e, &problem);
    buf_free(&problem);
    tape_close(&tape);
    return code;
}

int ls_main(int argc, char **argv)
{
    struct ls ls = {.path = NULL};
    struct option_sink sink = {ls_option, ls_operand, &ls};
    int code = options_read(COMMAND_LS, argc, argv, &sink, NULL);
    if (code < 0 && !ls.path) {
        say("which tape? ringtape ls TAPE");
        code = 2;
    }
    if (code < 0)
        code = run(&ls);
    tape_filter_destroy(&ls.filter);
    return code;
}
