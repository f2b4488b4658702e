/* say.h: what a subcommand says on standard error before, or without, a log of its own. */
#ifndef RINGTAPE_TOOLS_SAY_H
#define RINGTAPE_TOOLS_SAY_H

#include "base/buf.h"

/* One line, "ringtape: ...", control bytes escaped. */
void say(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* The sentence in a buffer, or a stand-in when memory ran out. Never NULL; borrowed. */
const char *say_text(struct buf *b);

#endif
