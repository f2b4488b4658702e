/* command.h: the subcommands' entries: argv[0] is the subcommand's name; the result is the exit code. */
#ifndef RINGTAPE_TOOLS_COMMAND_H
#define RINGTAPE_TOOLS_COMMAND_H

#include "tools/options.h"

#define COMMAND_MAIN(id, name, summary) int name##_main(int argc, char **argv);
COMMAND_TABLE(COMMAND_MAIN)
#undef COMMAND_MAIN

/* `ringtape --version` */
int version_main(void);

#endif
