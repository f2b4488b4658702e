/* manual.h: everything that is written from the option table: --help, man pages, docs/commands, shell completion. */
#ifndef RINGTAPE_TOOLS_MANUAL_H
#define RINGTAPE_TOOLS_MANUAL_H

#include "tools/options.h"

/* All append, and fail with ERR_NOMEM. */
MUST_USE enum err manual_help(enum command_id command, struct buf *out);
MUST_USE enum err manual_overview(struct buf *out);
MUST_USE enum err manual_markdown(enum command_id command, struct buf *out);
MUST_USE enum err manual_man(enum command_id command, struct buf *out);
MUST_USE enum err manual_man_overview(struct buf *out);
MUST_USE enum err manual_completion_bash(struct buf *out);

/* Prints to standard output; the exit code. */
int manual_print_help(enum command_id command);
int manual_print_overview(void);

/* `ringtape --generate WHAT`: man, man-COMMAND, markdown-COMMAND, completion-bash. The exit code. */
int manual_generate(const char *what);

#endif
