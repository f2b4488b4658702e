/* signals.h: signals as data: blocked in every thread and read from a descriptor by the main thread, so that no handler runs anywhere. To be
 * opened before any thread is made. */
#ifndef RINGTAPE_TOOLS_SIGNALS_H
#define RINGTAPE_TOOLS_SIGNALS_H

#include "base/err.h"

#include <signal.h>
#include <stdbool.h>

struct signals {
    int fd;            /* readable when a signal waits; -1: closed */
    sigset_t before;   /* the mask that we were started with */
    sigset_t defaults; /* what has to be set back to the default in a child: what we ignore and our parent did not */
    sigset_t ignored;  /* by our parent's wish */
};

enum signal_meaning { SIGNAL_NOTHING, SIGNAL_STOP, SIGNAL_CHILD, SIGNAL_COUNTERS };

struct signal_event {
    enum signal_meaning meaning;
    int number;
    bool from_terminal; /* then CMD, in the same process group, was sent it too */
};

/* with_child: SIGCHLD and SIGQUIT too. SIGPIPE is ignored from here on. Fails with ERR_NO_FDS, ERR_IO. */
MUST_USE enum err signals_open(struct signals *s, bool with_child);

/* The next signal; false: none waits. */
bool signals_next(struct signals *s, struct signal_event *out);

/* The mask stays: another SIGTERM that comes while the process ends, with its tape closed, must not turn exit code 0 into 143. */
void signals_close(struct signals *s);

#endif
