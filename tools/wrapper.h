/* wrapper.h: the program that runs under record and replay: its environment, its start, the signals that it is sent and its exit code.
 * Used by the main thread only, which blocks SIGCHLD and reads it from a descriptor. */
#ifndef RINGTAPE_TOOLS_WRAPPER_H
#define RINGTAPE_TOOLS_WRAPPER_H

#include "base/log.h"
#include "tls/ca.h"

#include <signal.h>
#include <sys/resource.h>

struct wrapper;

struct wrapper_options {
    char *const *command; /* NULL-terminated */
    const char *host;     /* where the proxy listens */
    unsigned port;
    const char *credentials; /* "user:password"; NULL: none */
    bool keep_no_proxy;
    const sigset_t *mask;       /* CMD starts with it */
    const sigset_t *defaults;   /* signals that are set back to their default in CMD */
    const struct rlimit *files; /* RLIMIT_NOFILE for CMD: many programs cannot deal with more than they are used to */
};

/* Is there such a program? Asked before anything is made. Fails and sets *exit_code as wrapper_start() does. */
MUST_USE enum err wrapper_find(const char *name, int *exit_code, struct buf *problem);

/* Writes the trust files into a private folder. Fails with ERR_PERMISSION, ERR_DISK_FULL, ERR_IO, ERR_NOMEM and others, and a sentence. */
MUST_USE enum err wrapper_create(struct wrapper **out, const struct ca *ca, struct buf *problem);

/* Starts CMD. *exit_code (126 not executable, 127 not found, 125 anything else) is set on failure,
 * and *problem gets a sentence. Fails with ERR_NOT_FOUND, ERR_PERMISSION, ERR_IO, ERR_NOMEM and others. */
MUST_USE enum err wrapper_start(struct wrapper *w, const struct wrapper_options *options, int *exit_code,
                                struct buf *problem);

/* Passes a signal on, if CMD still runs. */
void wrapper_signal(struct wrapper *w, int number);

/* After SIGCHLD: reaps what has ended. True once CMD has, *exit_code is then what we exit with. */
bool wrapper_ended(struct wrapper *w, int *exit_code);

/* Removes the folder. CMD is left alone. Clears *w (may be NULL). */
void wrapper_destroy(struct wrapper **w);

#endif
