/* tape_input.h: what the commands that read a tape share. */
#ifndef RINGTAPE_TOOLS_TAPE_INPUT_H
#define RINGTAPE_TOOLS_TAPE_INPUT_H

#include "tape/tape.h"

enum { EXIT_UNREADABLE = 3 };

/* Opens, or says why not and sets *code. */
bool tape_input_open(struct tape **out, const char *path, int *code);

/* After an error while reading or writing: says what happened and gives the exit code. ERR_CLOSED, the reader of a pipe that went away, is
 * success. `problem` may be NULL. */
int tape_input_failed(const struct tape *tape, enum err e, struct buf *problem);

/* For options_parse(): keeps the first `max` operands in `words`; a further one is wrong usage. */
MUST_USE enum err tape_input_operand(const char **words, size_t *n, size_t max, const char *text, struct buf *problem);

#endif
