/* export.c: `ringtape export`: a tape in another form. */
#include "tools/command.h"

#include "har/export.h"
#include "tape/filter.h"
#include "tools/output.h"
#include "tools/say.h"
#include "tools/tape_input.h"

struct export
{
    const char *path, *output;
    size_t paths_n;
    enum har_format format;
    struct tape_filter *filter;
};

static enum err export_option(void *ctx, enum option_id id, const char *value, struct buf *problem)
{
    struct export *x = ctx;
    unsigned word;
    switch ((int)id) {
    case OPT_OUTPUT_FILE:
        x->output = value;
        return ERR_OK;
    case OPT_EXPORT_FORMAT:
        if (har_format_parse(value, &x->format))
            return ERR_OK;
        return option_word(OPT_EXPORT_FORMAT, value, &word, problem); /* which says so */
    default:                                                          /* OPT_FILTER: the last one counts */
        tape_filter_destroy(&x->filter);
        return tape_filter_parse(&x->filter, span_str(value), problem);
    }
}

static enum err export_operand(void *ctx, const char *text, struct buf *problem)
{
    struct export *x = ctx;
    return tape_input_operand(&x->path, &x->paths_n, 1, text, problem);
}

static enum err include(void *ctx, struct tape *tape, const struct tape_flow *flow, bool *yes)
{
    struct export *x = ctx;
    return tape_filter_match(x->filter, tape, flow, yes);
}

static enum err write_piece(void *ctx, struct span bytes)
{
    return output_put_foreign(ctx, bytes);
}

/* A script is there to be run. */
static unsigned file_mode(const struct export *x)
{
    return x->format == HAR_FORMAT_CURL ? 0700 : 0600; /* like the tape, it holds secrets */
}

static int run(struct export *x)
{
    struct tape *tape = NULL;
    struct output *out = NULL;
    struct buf problem = BUF_INIT;
    struct har_result result = {.flows = 0};
    int code = 0;
    if (!tape_input_open(&tape, x->path, &code))
        return code;
    struct har_options options = {
        .format = x->format,
        .pages = true,
        .version = RINGTAPE_VERSION,
        .include = x->filter ? include : NULL,
        .include_ctx = x,
    };
    enum err e = output_open(&out, x->output, file_mode(x), &problem);
    struct har_sink sink = {write_piece, out};
    if (!e)
        e = har_export(tape, &options, &sink, &result);
    bool to_file = x->output && strcmp(x->output, "-") != 0;
    if (out && e && to_file) {
        output_discard(&out);
    } else if (out) {
        enum err f = output_commit(&out, &problem);
        e = e ? e : f;
    }
    if (e && e != ERR_DB && e != ERR_CORRUPT && buf_span(&problem).n == 0 && e != ERR_CLOSED)
        e = buf_printf(&problem, "cannot write %s: %s", to_file ? x->output : "standard output", err_text(e))
                ? ERR_NOMEM
                : e;
    if (e)
        code = tape_input_failed(tape, e, &problem);
    else if (result.damaged > 0)
        say("of %llu flows %llu are damaged on the tape; each says so in its comment", (unsigned long long)result.flows,
            (unsigned long long)result.damaged);
    buf_free(&problem);
    tape_close(&tape);
    return code;
}

int export_main(int argc, char **argv)
{
    struct export x = {.format = HAR_FORMAT_HAR};
    struct option_sink sink = {export_option, export_operand, &x};
    int code = options_read(COMMAND_EXPORT, argc, argv, &sink, NULL);
    if (code < 0 && !x.path) {
        say("which tape? ringtape export TAPE [-o FILE]");
        code = 2;
    }
    if (code < 0)
        code = run(&x);
    tape_filter_destroy(&x.filter);
    return code;
}
