/* manual.c: the option table as text for people: on a terminal, as man pages, as Markdown, and as shell completion. */
#include "tools/manual.h"

#include "tools/environment.h"
#include "tools/output.h"
#include "tools/say.h"

#include <ctype.h>
#include <stdio.h>

enum { HELP_WIDTH = 100, HELP_COLUMN = 30 };

static const char exit_codes[] =
    "0 done; 1 failed at run time; 2 wrong usage; 3 an input cannot be read, or (replay) a --fail-on condition was met; "
    "under CMD: 125 ringtape failed before CMD, 126 CMD is not executable, 127 CMD was not found, 128+N CMD died of "
    "signal N, else CMD's own.";

static const char signals[] =
    "SIGINT, SIGTERM and SIGHUP stop accepting, finish what is in flight (3 s at most; a second signal cuts it), close, "
    "and print a summary; under CMD they are passed on to CMD first. SIGUSR1 prints counters.";

static const char environment_read[] =
    "RINGTAPE_CA_DIR, XDG_DATA_HOME and HOME say where the CA is; TMPDIR, where the files for CMD are made; with "
    "SSLKEYLOGFILE, TLS keys are appended to that file, for Wireshark; NO_COLOR and TERM=dumb turn colours off.";

static bool command_serves(enum command_id command)
{
    return command == COMMAND_RECORD || command == COMMAND_REPLAY;
}

/* Appends words of `text`, broken so that no line is longer than HELP_WIDTH; the cursor stands in column `at`. */
static enum err put_wrapped(struct buf *out, const char *text, size_t at, size_t indent)
{
    enum err e = ERR_OK;
    bool first = true;
    while (!e && *text) {
        size_t n = strcspn(text, " ");
        if (!first && at + 1 + n > HELP_WIDTH) {
            e = buf_printf(out, "\n%*s", (int)indent, "");
            at = indent;
        } else if (!first) {
            e = buf_put_byte(out, ' ');
            at++;
        }
        if (!e)
            e = buf_put(out, span_of(text, n));
        at += n;
        text += n + (text[n] == ' ');
        first = false;
    }
    return e ? e : buf_put_byte(out, '\n');
}

static enum err put_option_help(struct buf *out, const struct option_row *row)
{
    char name[96];
    int n = row->letter ? snprintf(name, sizeof name, "  -%c, --%s", row->letter, row->name)
                        : snprintf(name, sizeof name, "      --%s", row->name);
    if (row->argument)
        n += snprintf(name + n, sizeof name - (size_t)n, " %s", row->argument);
    enum err e = buf_put_str(out, name);
    if (!e && n + 2 > HELP_COLUMN)
        e = buf_printf(out, "\n%*s", HELP_COLUMN, "");
    else if (!e)
        e = buf_printf(out, "%*s", HELP_COLUMN - n, "");
    return e ? e : put_wrapped(out, row->help, HELP_COLUMN, HELP_COLUMN);
}

/* Calls put(out, before, line, after) for each example. */
static enum err put_lines(struct buf *out, const char *before, const char *lines, const char *after)
{
    enum err e = ERR_OK;
    while (!e && *lines) {
        size_t n = strcspn(lines, "\n");
        e = buf_printf(out, "%s%.*s%s", before, (int)n, lines, after);
        lines += n + (lines[n] == '\n');
    }
    return e;
}

enum err manual_help(enum command_id command, struct buf *out)
{
    const struct command_row *row = command_row(command);
    enum err e = buf_printf(out, "usage: ringtape %s %s\n\n", row->name, row->usage);
    if (!e)
        e = put_wrapped(out, row->text, 0, 0);
    if (!e)
        e = buf_put_str(out, "\noptions:\n");
    for (unsigned i = 0; !e && i < OPTION_COUNT; i++)
        if (option_of((enum option_id)i, command))
            e = put_option_help(out, option_row((enum option_id)i));
    if (!e)
        e = buf_put_str(out, "\nexamples:\n");
    if (!e)
        e = put_lines(out, "  ", row->examples, "\n");
    if (!e)
        e = buf_put_str(out, "\nexit codes: ");
    return e ? e : put_wrapped(out, exit_codes, 12, 2);
}

enum err manual_overview(struct buf *out)
{
    enum err e =
        buf_put_str(out, "usage: ringtape COMMAND [options]\n\n"
                         "Records what programs say over HTTP and HTTPS on a tape (one SQLite file), exports it,\n"
                         "and plays it back offline.\n\ncommands:\n");
    for (unsigned i = 0; !e && i < COMMAND_COUNT; i++) {
        const struct command_row *row = command_row((enum command_id)i);
        e = buf_printf(out, "  %-10s%s\n", row->name, row->summary);
    }
    if (!e)
        e = buf_put_str(out, "\n  ringtape COMMAND --help    a command's options and examples\n"
                             "  ringtape --version         versions, and the event backend\n\nexamples:\n");
    return e ? e
             : put_lines(out, "  ",
                         "ringtape record -o login.tape -- npm test\n"
                         "ringtape export login.tape -o login.har\n"
                         "ringtape replay login.tape -- npm test",
                         "\n");
}

/* Text of a table's cell: what Markdown would take for markup is escaped, but not within `code`. */
static enum err put_markdown(struct buf *out, const char *text)
{
    enum err e = ERR_OK;
    bool code = false;
    for (; !e && *text; text++) {
        code ^= *text == '`';
        if (*text == '|' || (!code && strchr("*_~<[", *text)))
            e = buf_put_byte(out, '\\');
        if (!e)
            e = buf_put_byte(out, (uint8_t)*text);
    }
    return e;
}

/* The names of the next variables that are set to the same, and what that is. False at the end, and when *e tells a failure. */
static bool environment_group(size_t *at, struct buf *names, const char *between, const char **meaning, enum err *e)
{
    const char *name = environment_row(*at, meaning), *other = *meaning;
    buf_clear(names);
    if (!name)
        return false;
    for (; !*e && name && other == *meaning; name = environment_row(++*at, &other))
        *e = buf_printf(names, "%s%s", names->n ? between : "", name);
    return !*e;
}

static enum err put_markdown_environment(struct buf *out)
{
    struct buf names = BUF_INIT;
    const char *meaning = NULL;
    enum err e = buf_put_str(out, "\n## Environment of CMD\n\n| variable | value |\n|---|---|\n");
    for (size_t at = 0; !e && environment_group(&at, &names, "` `", &meaning, &e);) {
        e = buf_printf(out, "| `%.*s` | ", (int)names.n, (const char *)buf_span(&names).p);
        if (!e)
            e = put_markdown(out, meaning);
        if (!e)
            e = buf_put_str(out, " |\n");
    }
    if (!e)
        e = buf_put_str(out, "\nringtape's own: ");
    if (!e)
        e = put_markdown(out, environment_read);
    buf_free(&names);
    return e ? e : buf_put_byte(out, '\n');
}

enum err manual_markdown(enum command_id command, struct buf *out)
{
    const struct command_row *row = command_row(command);
    enum err e = buf_printf(
        out,
        "# ringtape %s\n\n<!-- Made by `make docs` from tools/option_table.h; a test keeps it in step. -->\n\n"
        "    ringtape %s %s\n\n%s\n\n## Options\n\n| option | meaning |\n|---|---|\n",
        row->name, row->name, row->usage, row->text);
    for (unsigned i = 0; !e && i < OPTION_COUNT; i++) {
        const struct option_row *o = option_row((enum option_id)i);
        if (!option_of(o->id, command))
            continue;
        e = o->letter ? buf_printf(out, "| `-%c, --%s", o->letter, o->name) : buf_printf(out, "| `--%s", o->name);
        if (!e && o->argument)
            e = buf_put_byte(out, ' ');
        for (const char *c = o->argument ? o->argument : ""; !e && *c; c++)
            e = *c == '|' ? buf_put_str(out, "\\|") : buf_put_byte(out, (uint8_t)*c);
        if (!e)
            e = buf_put_str(out, "` | ");
        if (!e)
            e = put_markdown(out, o->help);
        if (!e)
            e = buf_put_str(out, " |\n");
    }
    if (!e && command_serves(command))
        e = put_markdown_environment(out);
    if (!e && command_serves(command))
        e = buf_printf(out, "\n## Signals\n\n%s\n", signals);
    if (!e)
        e = buf_printf(out, "\n## Exit codes\n\n%s\n\n## Examples\n\n", exit_codes);
    return e ? e : put_lines(out, "    ", row->examples, "\n");
}

/* Text for roff: backslashes and hyphens escaped, no control line by accident. */
static enum err put_roff(struct buf *out, const char *text)
{
    enum err e = ERR_OK;
    if (*text == '.' || *text == '\'')
        e = buf_put_str(out, "\\&");
    for (; !e && *text; text++)
        switch (*text) {
        case '\\':
            e = buf_put_str(out, "\\e");
            break;
        case '-':
            e = buf_put_str(out, "\\-");
            break;
        case '~':
            e = buf_put_str(out, "\\(ti");
            break;
        case '`':
            e = buf_put_str(out, "\\(ga");
            break;
        case '\'':
            e = buf_put_str(out, "\\(aq");
            break;
        default:
            e = buf_put_byte(out, (uint8_t)*text);
        }
    return e;
}

static enum err put_roff_line(struct buf *out, const char *before, const char *text, const char *after)
{
    enum err e = buf_put_str(out, before);
    if (!e)
        e = put_roff(out, text);
    return e ? e : buf_put_str(out, after);
}

static enum err put_roff_examples(struct buf *out, const char *lines)
{
    enum err e = buf_put_str(out, ".SH EXAMPLES\n.nf\n");
    while (!e && *lines) {
        char line[256];
        size_t n = strcspn(lines, "\n");
        snprintf(line, sizeof line, "%.*s", (int)n, lines);
        e = put_roff_line(out, "", line, "\n");
        lines += n + (lines[n] == '\n');
    }
    return e ? e : buf_put_str(out, ".fi\n");
}

static enum err put_roff_option(struct buf *out, const struct option_row *row)
{
    enum err e = buf_put_str(out, ".TP\n\\fB");
    if (!e && row->letter)
        e = buf_printf(out, "\\-%c\\fR, \\fB", row->letter);
    if (!e)
        e = put_roff_line(out, "\\-\\-", row->name, "\\fR");
    if (!e && row->argument)
        e = put_roff_line(out, " \\fI", row->argument, "\\fR");
    return e ? e : put_roff_line(out, "\n", row->help, "\n");
}

static enum err put_roff_environment(struct buf *out)
{
    struct buf names = BUF_INIT;
    const char *meaning = NULL;
    enum err e = buf_put_str(out, ".SH ENVIRONMENT\nCMD is given:\n");
    for (size_t at = 0; !e && environment_group(&at, &names, ", ", &meaning, &e);) {
        const char *text = buf_cstr(&names);
        e = text ? put_roff_line(out, ".TP\n", text, "\n") : ERR_NOMEM;
        if (!e)
            e = put_roff_line(out, "", meaning, "\n");
    }
    buf_free(&names);
    return e ? e : put_roff_line(out, ".PP\n", environment_read, "\n");
}

enum err manual_man(enum command_id command, struct buf *out)
{
    const struct command_row *row = command_row(command);
    enum err e = buf_put_str(out, ".TH RINGTAPE\\-");
    for (const char *c = row->name; !e && *c; c++)
        e = buf_put_byte(out, (uint8_t)toupper((unsigned char)*c));
    if (!e)
        e = buf_printf(out, " 1 \"\" \"ringtape %s\"\n.SH NAME\nringtape\\-%s", RINGTAPE_VERSION, row->name);
    if (!e)
        e = put_roff_line(out, " \\- ", row->summary, "\n.SH SYNOPSIS\n");
    if (!e)
        e = buf_printf(out, "\\fBringtape %s\\fR", row->name);
    if (!e)
        e = put_roff_line(out, " ", row->usage, "\n.SH DESCRIPTION\n");
    if (!e)
        e = put_roff_line(out, "", row->text, "\n.SH OPTIONS\n");
    for (unsigned i = 0; !e && i < OPTION_COUNT; i++)
        if (option_of((enum option_id)i, command))
            e = put_roff_option(out, option_row((enum option_id)i));
    if (!e && command_serves(command))
        e = put_roff_environment(out);
    if (!e && command_serves(command))
        e = put_roff_line(out, ".SH SIGNALS\n", signals, "\n");
    if (!e)
        e = put_roff_line(out, ".SH EXIT STATUS\n", exit_codes, "\n");
    if (!e)
        e = put_roff_examples(out, row->examples);
    return e ? e : buf_put_str(out, ".SH SEE ALSO\n.BR ringtape (1)\n");
}

enum err manual_man_overview(struct buf *out)
{
    enum err e = buf_printf(
        out,
        ".TH RINGTAPE 1 \"\" \"ringtape %s\"\n.SH NAME\nringtape \\- record, inspect and replay HTTP sessions\n"
        ".SH SYNOPSIS\n\\fBringtape\\fR \\fICOMMAND\\fR [options]\n.SH DESCRIPTION\n"
        "Records what programs say over HTTP and HTTPS on a tape (one SQLite file), exports it, and plays it\n"
        "back offline.\n.SH COMMANDS\n",
        RINGTAPE_VERSION);
    for (unsigned i = 0; !e && i < COMMAND_COUNT; i++) {
        const struct command_row *row = command_row((enum command_id)i);
        e = buf_printf(out, ".TP\n.BR ringtape\\-%s (1)\n", row->name);
        if (!e)
            e = put_roff_line(out, "", row->summary, "\n");
    }
    return e ? e : put_roff_line(out, ".SH EXIT STATUS\n", exit_codes, "\n");
}

/* The words of "a|b|c" without what stands for something else (in capitals). */
static enum err put_words(struct buf *out, const char *alternatives)
{
    enum err e = ERR_OK;
    while (!e && *alternatives) {
        size_t n = strcspn(alternatives, "|");
        if (islower((unsigned char)*alternatives))
            e = buf_printf(out, "%.*s ", (int)n, alternatives);
        alternatives += n + (alternatives[n] == '|');
    }
    return e;
}

/* One branch for each command that has the option, when its values are words. */
static enum err put_completion_values(struct buf *out, const struct option_row *row)
{
    enum err e = ERR_OK;
    for (unsigned i = 0; !e && i < COMMAND_COUNT; i++) {
        if (!row->argument || !strchr(row->argument, '|') || !option_of(row->id, (enum command_id)i))
            continue;
        e = buf_printf(out, "        %s:--%s) words=\"", command_row((enum command_id)i)->name, row->name);
        if (!e)
            e = put_words(out, row->argument);
        if (!e)
            e = buf_put_str(out, "\" ;;\n");
    }
    return e;
}

/* The options of a command; before any other word, also what its usage begins with: "[show|export] ...". */
static enum err put_completion_command(struct buf *out, enum command_id command)
{
    const struct command_row *row = command_row(command);
    size_t n = row->usage[0] == '[' && islower((unsigned char)row->usage[1]) ? strcspn(row->usage + 1, "]") : 0;
    char actions[128];
    snprintf(actions, sizeof actions, "%.*s", (int)n, row->usage + 1);
    enum err e = buf_printf(out, "        %s:-*) words=\"", row->name);
    for (unsigned i = 0; !e && i < OPTION_COUNT; i++)
        if (option_of((enum option_id)i, command))
            e = buf_printf(out, "--%s ", option_row((enum option_id)i)->name);
    if (!e && n)
        e = buf_printf(out, "\" ;;\n        %s:*) ((COMP_CWORD > 2)) || words=\"", row->name);
    if (!e && n)
        e = put_words(out, actions);
    return e ? e : buf_put_str(out, "\" ;;\n");
}

static enum err put_completion_commands(struct buf *out, const char *before, const char *after)
{
    enum err e = buf_put_str(out, before);
    for (unsigned i = 0; !e && i < COMMAND_COUNT; i++)
        e = buf_printf(out, "%s ", command_row((enum command_id)i)->name);
    return e ? e : buf_put_str(out, after);
}

/* Where it has no word to offer, bash goes on with file names. bash breaks words at "=". */
enum err manual_completion_bash(struct buf *out)
{
    enum err e = buf_put_str(out, "# bash completion for ringtape; made by `ringtape --generate completion-bash`\n"
                                  "_ringtape() {\n"
                                  "    local cur=${COMP_WORDS[COMP_CWORD]} prev=${COMP_WORDS[COMP_CWORD-1]} words= i\n"
                                  "    COMPREPLY=()\n"
                                  "    for ((i = 1; i < COMP_CWORD; i++)); do\n"
                                  "        [[ ${COMP_WORDS[i]} == -- ]] || continue\n"
                                  "        ((i + 1 < COMP_CWORD)) || COMPREPLY=($(compgen -c -- \"$cur\"))\n"
                                  "        return\n"
                                  "    done\n"
                                  "    if [[ $cur == = ]]; then\n        cur=\n"
                                  "    elif [[ $prev == = ]]; then\n        prev=${COMP_WORDS[COMP_CWORD-2]}\n    fi\n"
                                  "    if ((COMP_CWORD == 1)); then\n");
    if (!e)
        e = put_completion_commands(out, "        words=\"", "help --help --version\"\n");
    if (!e)
        e = buf_put_str(out, "    else\n        case ${COMP_WORDS[1]}:$prev in\n");
    if (!e)
        e = put_completion_commands(out, "        help:*) words=\"", "\" ;;\n");
    for (unsigned i = 0; !e && i < OPTION_COUNT; i++)
        e = put_completion_values(out, option_row((enum option_id)i));
    if (!e)
        e = buf_put_str(out, "        esac\n        [[ -n $words ]] || case ${COMP_WORDS[1]}:$cur in\n");
    for (unsigned i = 0; !e && i < COMMAND_COUNT; i++)
        e = put_completion_command(out, (enum command_id)i);
    return e ? e
             : buf_put_str(out, "        esac\n    fi\n"
                                "    [[ -z $words ]] || COMPREPLY=($(compgen -W \"$words\" -- \"$cur\"))\n}\n"
                                "complete -o bashdefault -o default -F _ringtape ringtape\n");
}

/* Prints what was made and frees it. */
static int print_made(struct buf *text, enum err e)
{
    struct buf problem = BUF_INIT;
    if (!e)
        e = output_stdout(buf_span(text), &problem);
    if (e)
        say("%s", buf_span(&problem).n > 0 ? say_text(&problem) : err_text(e));
    buf_free(&problem);
    buf_free(text);
    return e ? 1 : 0;
}

int manual_print_help(enum command_id command)
{
    struct buf text = BUF_INIT;
    enum err e = manual_help(command, &text);
    return print_made(&text, e);
}

int manual_print_overview(void)
{
    struct buf text = BUF_INIT;
    enum err e = manual_overview(&text);
    return print_made(&text, e);
}

int manual_generate(const char *what)
{
    struct buf text = BUF_INIT;
    enum command_id command;
    if (strcmp(what, "man") == 0)
        return print_made(&text, manual_man_overview(&text));
    if (strcmp(what, "completion-bash") == 0)
        return print_made(&text, manual_completion_bash(&text));
    if (strncmp(what, "man-", 4) == 0 && command_find(what + 4, &command))
        return print_made(&text, manual_man(command, &text));
    if (strncmp(what, "markdown-", 9) == 0 && command_find(what + 9, &command))
        return print_made(&text, manual_markdown(command, &text));
    say("nothing is generated under the name '%s'", what);
    return 2;
}
