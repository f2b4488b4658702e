/* ringtape.c: the program: finds the subcommand and runs it. */
#include "tools/command.h"

#include "tools/manual.h"
#include "tools/say.h"

#include <fcntl.h>
#include <stdio.h>
#include <unistd.h>

/* A descriptor 0, 1 or 2 that our parent closed would be given to the next file we open, a tape for example. */
static void hold_standard_descriptors(void)
{
    int fd;
    do
        fd = open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO);
    if (fd > STDERR_FILENO)
        close(fd);
}

static int run_command(enum command_id command, int argc, char **argv)
{
    switch (command) {
#define COMMAND_RUN(id, name, summary)                                                                                 \
    case COMMAND_##id:                                                                                                 \
        return name##_main(argc, argv);
        COMMAND_TABLE(COMMAND_RUN)
#undef COMMAND_RUN
    case COMMAND_COUNT:
        break;
    }
    return 2;
}

/* `ringtape help [COMMAND]` and `ringtape --help`. */
static int help(const char *topic)
{
    enum command_id command;
    if (!topic)
        return manual_print_overview();
    if (command_find(topic, &command))
        return manual_print_help(command);
    options_unknown_command(topic);
    return 2;
}

int main(int argc, char **argv)
{
    enum command_id command;
    hold_standard_descriptors();
    const char *word = argc > 1 ? argv[1] : NULL;
    if (!word) {
        say("which command? `ringtape --help` lists them");
        return 2;
    }
    if (strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0 || strcmp(word, "help") == 0)
        return help(argc > 2 ? argv[2] : NULL);
    if (strcmp(word, "--version") == 0 || strcmp(word, "-V") == 0)
        return version_main();
    if (strcmp(word, "--generate") == 0 && argc == 3)
        return manual_generate(argv[2]);
    if (word[0] == '-') {
        say("'%s' stands before a command; the usage is `ringtape COMMAND [options]`, and `ringtape --help` lists the commands",
            word);
        return 2;
    }
    if (!command_find(word, &command)) {
        options_unknown_command(word);
        return 2;
    }
    return run_command(command, argc - 1, argv + 1);
}
