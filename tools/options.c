/* options.c: getopt_long over the option table, with complaints that name what was probably meant.
 * Operands come in order ("-" mode), so that what stands before "--" can be told from what stands after it. */
#include "tools/options.h"

#include "base/util.h"
#include "tools/manual.h"
#include "tools/say.h"
#include "tools/suggest.h"

#include <ctype.h>
#include <getopt.h>
#include <stdio.h>

#define IN(command) (1u << COMMAND_##command)
#define SERVING     (IN(RECORD) | IN(REPLAY))

static const struct command_row command_rows[] = {
#define COMMAND_ROW(id, name, summary) [COMMAND_##id] = {#name, USAGE_##id, summary, TEXT_##id, EXAMPLES_##id},
    COMMAND_TABLE(COMMAND_ROW)
#undef COMMAND_ROW
};

static const struct option_row option_rows[] = {
#define OPTION_ROW(id, letter, name, argument, commands, help) [id] = {id, letter, name, argument, commands, help},
    OPTION_TABLE(OPTION_ROW)
#undef OPTION_ROW
};

/* getopt_long's value of an option without a letter. */
enum { LONG_BASE = 256 };

const struct command_row *command_row(enum command_id id)
{
    return &command_rows[id];
}

const struct option_row *option_row(enum option_id id)
{
    return &option_rows[id];
}

bool command_find(const char *name, enum command_id *out)
{
    for (unsigned i = 0; i < COMMAND_COUNT; i++)
        if (strcmp(command_rows[i].name, name) == 0) {
            *out = (enum command_id)i;
            return true;
        }
    return false;
}

void options_unknown_command(const char *name)
{
    const char *names[COMMAND_COUNT];
    for (unsigned i = 0; i < COMMAND_COUNT; i++)
        names[i] = command_rows[i].name;
    const char *nearest = suggest_nearest(name, names, COMMAND_COUNT);
    if (nearest)
        say("there is no command '%s'; did you mean '%s'?", name, nearest);
    else
        say("there is no command '%s'; `ringtape --help` lists them", name);
}

/* What getopt_long wants, for one command. */
struct getopt_arrays {
    char letters[3 + 2 * OPTION_COUNT];
    struct option longs[OPTION_COUNT + 1];
};

static void getopt_fill(struct getopt_arrays *g, enum command_id command)
{
    char *letter = g->letters;
    struct option *l = g->longs;
    *letter++ = '-'; /* operands in order */
    *letter++ = ':'; /* a missing argument is told from an unknown option */
    for (unsigned i = 0; i < OPTION_COUNT; i++) {
        const struct option_row *row = &option_rows[i];
        if (!option_of(row->id, command))
            continue;
        *l++ = (struct option){row->name, row->argument ? required_argument : no_argument, NULL, LONG_BASE + (int)i};
        if (row->letter) {
            *letter++ = row->letter;
            if (row->argument)
                *letter++ = ':';
        }
    }
    *letter = '\0';
    *l = (struct option){NULL, 0, NULL, 0};
}

/* The row that getopt_long means by `value`, or NULL. */
static const struct option_row *option_by_value(enum command_id command, int value)
{
    if (value >= LONG_BASE && value < LONG_BASE + OPTION_COUNT)
        return &option_rows[value - LONG_BASE];
    for (unsigned i = 0; i < OPTION_COUNT; i++)
        if (value > 0 && option_rows[i].letter == value && option_of((enum option_id)i, command))
            return &option_rows[i];
    return NULL;
}

static enum err complain_unknown(enum command_id command, const char *word, struct buf *problem)
{
    const char *names[OPTION_COUNT];
    char name[65];
    size_t n = 0, matches = 0, length = strcspn(word + 2, "=");
    snprintf(name, sizeof name, "%.*s", (int)MIN(length, sizeof name - 1), word + 2);
    for (unsigned i = 0; i < OPTION_COUNT; i++)
        if (option_of((enum option_id)i, command)) {
            names[n++] = option_rows[i].name;
            matches += strncmp(option_rows[i].name, name, length) == 0;
        }
    if (matches > 1)
        return buf_printf(problem, "option '--%s' could mean several; write it out", name);
    const char *nearest = suggest_nearest(name, names, n);
    enum err e = buf_printf(problem, "%s has no option '--%s'", command_rows[command].name, name);
    if (!e && nearest)
        e = buf_printf(problem, "; did you mean '--%s'?", nearest);
    return e;
}

/* getopt_long said '?' or ':'. */
static enum err complain(enum command_id command, int what, char **argv, struct buf *problem)
{
    const char *word = argv[optind - 1];
    const struct option_row *row = option_by_value(command, optopt);
    if (what == ':')
        return row ? buf_printf(problem, "option '--%s' needs an argument: %s", row->name, row->argument)
                   : buf_printf(problem, "option '%s' needs an argument", word);
    if (row && !row->argument)
        return buf_printf(problem, "option '--%s' takes no argument", row->name);
    if (optopt == 0)
        return complain_unknown(command, word, problem);
    return buf_printf(problem, "%s has no option '-%c'", command_rows[command].name, optopt);
}

/* An empty value is never meant: it is a variable of a script that was not set. What the layers below say of a value does not name
 * the option, which they do not know. */
static enum err take_option(const struct option_sink *sink, const struct option_row *row, const char *value,
                            struct buf *problem)
{
    enum err e;
    if (value && !*value) {
        e = buf_printf(problem, "--%s: the value is empty; what is wanted is %s", row->name, row->argument);
        return e ? e : ERR_USAGE;
    }
    struct buf what = BUF_INIT;
    e = sink->option(sink->ctx, row->id, value, &what);
    bool named = strncmp(say_text(&what), "--", 2) == 0;
    if (e && buf_span(&what).n > 0 &&
        (named ? buf_put(problem, buf_span(&what)) : buf_printf(problem, "--%s: %s", row->name, say_text(&what))))
        buf_clear(problem);
    buf_free(&what);
    return e;
}

static enum err take_operands(const struct option_sink *sink, int from, int argc, char **argv, struct buf *problem)
{
    enum err e = ERR_OK;
    for (int i = from; !e && i < argc; i++)
        e = sink->operand(sink->ctx, argv[i], problem);
    return e;
}

enum options_result options_parse(enum command_id command, int argc, char **argv, const struct option_sink *sink,
                                  int *rest, struct buf *problem)
{
    struct getopt_arrays g;
    getopt_fill(&g, command);
    optind = 0; /* glibc: start anew */
    opterr = 0;
    enum err e = ERR_OK;
    while (!e) {
        int value = getopt_long(argc, argv, g.letters, g.longs, NULL);
        if (value == -1)
            break;
        if (value == '?' || value == ':') {
            if (complain(command, value, argv, problem))
                buf_clear(problem); /* no memory even for the sentence */
            return OPTIONS_WRONG;
        }
        const struct option_row *row = value == 1 ? NULL : option_by_value(command, value);
        if (row && row->id == OPT_HELP)
            return OPTIONS_HELP;
        e = row ? take_option(sink, row, optarg, problem) : sink->operand(sink->ctx, optarg, problem);
    }
    if (!e && rest)
        *rest = optind;
    else if (!e)
        e = take_operands(sink, optind, argc, argv, problem);
    if (e && buf_span(problem).n == 0)
        e = buf_printf(problem, "%s", err_text(e));
    return e || buf_span(problem).n > 0 ? OPTIONS_WRONG : OPTIONS_GO_ON;
}

int options_read(enum command_id command, int argc, char **argv, const struct option_sink *sink, int *rest)
{
    struct buf problem = BUF_INIT;
    int code = -1;
    switch (options_parse(command, argc, argv, sink, rest, &problem)) {
    case OPTIONS_GO_ON:
        break;
    case OPTIONS_HELP:
        code = manual_print_help(command);
        break;
    case OPTIONS_WRONG:
        say("%s", say_text(&problem));
        say("try `ringtape %s --help`", command_rows[command].name);
        code = 2;
    }
    buf_free(&problem);
    return code;
}

/* ---- values ---- */

static enum err wrong_value(struct buf *problem, enum option_id id, const char *value, const char *what)
{
    enum err e = buf_printf(problem, "--%s: '%s' is not %s", option_rows[id].name, value, what);
    return e ? e : ERR_USAGE;
}

enum err option_number(enum option_id id, const char *value, uint64_t min, uint64_t max, uint64_t *out,
                       struct buf *problem)
{
    char what[80];
    if (span_to_u64(span_str(value), max, out) && *out >= min)
        return ERR_OK;
    snprintf(what, sizeof what, "a number from %llu to %llu", (unsigned long long)min, (unsigned long long)max);
    return wrong_value(problem, id, value, what);
}

enum err option_bytes(enum option_id id, const char *value, uint64_t *out, struct buf *problem)
{
    static const struct {
        const char *suffix;
        uint64_t factor;
    } units[] = {
        {"", 1},
        {"k", 1000},
        {"K", 1000},
        {"M", 1000000},
        {"G", 1000000000},
        {"Ki", UINT64_C(1) << 10},
        {"Mi", UINT64_C(1) << 20},
        {"Gi", UINT64_C(1) << 30},
    };
    size_t digits = strspn(value, "0123456789");
    for (size_t i = 0; i < ARRAY_LEN(units); i++) {
        uint64_t max = INT64_MAX / units[i].factor;
        if (strcmp(value + digits, units[i].suffix) == 0 && span_to_u64(span_of(value, digits), max, out)) {
            *out *= units[i].factor;
            return ERR_OK;
        }
    }
    return wrong_value(problem, id, value, "a number of bytes, such as 65536, 64k or 10M");
}

enum err option_word(enum option_id id, const char *value, unsigned *out, struct buf *problem)
{
    unsigned index = 0;
    char what[96];
    for (const char *at = option_rows[id].argument; *at; index++) {
        size_t n = strcspn(at, "|");
        if (strlen(value) == n && memcmp(at, value, n) == 0) {
            *out = index;
            return ERR_OK;
        }
        at += n + (at[n] == '|');
    }
    snprintf(what, sizeof what, "one of %s", option_rows[id].argument);
    return wrong_value(problem, id, value, what);
}

enum err option_listen(const char *value, char host[256], unsigned *port, struct buf *problem)
{
    const char *colon = strrchr(value, ':');
    const char *digits = colon ? colon + 1 : value;
    uint64_t number;
    bool ok = span_to_u64(span_str(digits), 65535, &number);
    if (ok && colon) {
        struct span name = span_of(value, (size_t)(colon - value));
        bool brackets = name.n > 2 && name.p[0] == '[' && name.p[name.n - 1] == ']';
        if (brackets)
            name = span_of(name.p + 1, name.n - 2);
        ok = name.n > 0 && name.n < 256 && (brackets || span_find(name, ':') == name.n);
        if (ok)
            snprintf(host, 256, "%.*s", (int)name.n, (const char *)name.p);
    }
    if (!ok)
        return wrong_value(problem, OPT_LISTEN, value, "a port or HOST:PORT, such as 8080, 127.0.0.1:0 or [::1]:8080");
    *port = (unsigned)number;
    return ERR_OK;
}
