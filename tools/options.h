/* options.h: the command line: tables of subcommands and options, and the parser over them. */
#ifndef RINGTAPE_TOOLS_OPTIONS_H
#define RINGTAPE_TOOLS_OPTIONS_H

#include "base/buf.h"
#include "tools/option_table.h"

enum command_id {
#define COMMAND_ENUM(id, name, summary) COMMAND_##id,
    COMMAND_TABLE(COMMAND_ENUM)
#undef COMMAND_ENUM
        COMMAND_COUNT
};

enum option_id {
#define OPTION_ENUM(id, letter, name, argument, commands, help) id,
    OPTION_TABLE(OPTION_ENUM)
#undef OPTION_ENUM
        OPTION_COUNT
};

struct command_row {
    const char *name, *usage, *summary, *text;
    const char *examples; /* one a line */
};

struct option_row {
    enum option_id id;
    char letter; /* 0: none */
    const char *name;
    const char *argument; /* NULL: none */
    unsigned commands;    /* bits: 1 << command_id */
    const char *help;
};

const struct command_row *command_row(enum command_id id);
bool command_find(const char *name, enum command_id *out);
const struct option_row *option_row(enum option_id id);
static inline bool option_of(enum option_id id, enum command_id command)
{
    return option_row(id)->commands >> command & 1;
}

/* What a subcommand does with its arguments. Both fail with ERR_USAGE and a sentence in *problem, or with another error. */
struct option_sink {
    enum err (*option)(void *ctx, enum option_id id, const char *value, struct buf *problem);
    enum err (*operand)(void *ctx, const char *text, struct buf *problem);
    void *ctx;
};

enum options_result { OPTIONS_GO_ON, OPTIONS_HELP, OPTIONS_WRONG };

/* argv[0] is the subcommand's name. *rest gets the index of the first word after "--" (argc: none); without `rest` those are
 * operands too. OPTIONS_WRONG: *problem says why. Uses getopt_long's state: one thread only. */
enum options_result options_parse(enum command_id command, int argc, char **argv, const struct option_sink *sink,
                                  int *rest, struct buf *problem);

/* The same, which prints the help or the complaint: -1 go on, else the exit code. */
int options_read(enum command_id command, int argc, char **argv, const struct option_sink *sink, int *rest);

/* Says on standard error that the subcommand does not exist; names the nearest one. */
void options_unknown_command(const char *name);

/* Values. All fail with ERR_USAGE and a sentence. */
MUST_USE enum err option_number(enum option_id id, const char *value, uint64_t min, uint64_t max, uint64_t *out,
                                struct buf *problem);
/* With a suffix k, M, G (decimal) or Ki, Mi, Gi. */
MUST_USE enum err option_bytes(enum option_id id, const char *value, uint64_t *out, struct buf *problem);
/* One of the words of the row's argument, "a|b|c": its index. */
MUST_USE enum err option_word(enum option_id id, const char *value, unsigned *out, struct buf *problem);
/* "[HOST:]PORT", "[::1]:80". host is left as it is when absent. */
MUST_USE enum err option_listen(const char *value, char host[256], unsigned *port, struct buf *problem);

#endif
