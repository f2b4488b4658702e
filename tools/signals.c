/* signals.c: signalfd over one table. */
#include "tools/signals.h"

#include "base/util.h"

#include <errno.h>
#include <sys/signalfd.h>
#include <unistd.h>

/* number, meaning, only with a child */
#define SIGNAL_TABLE(X)                                                                                                \
    X(SIGINT, SIGNAL_STOP, false)                                                                                      \
    X(SIGTERM, SIGNAL_STOP, false)                                                                                     \
    X(SIGHUP, SIGNAL_STOP, false)                                                                                      \
    X(SIGUSR1, SIGNAL_COUNTERS, false)                                                                                 \
    X(SIGQUIT, SIGNAL_STOP, true)                                                                                      \
    X(SIGCHLD, SIGNAL_CHILD, true)

static const struct {
    int number;
    enum signal_meaning meaning;
    bool with_child;
} table[] = {
#define SIGNAL_ROW(number, meaning, with_child) {number, meaning, with_child},
    SIGNAL_TABLE(SIGNAL_ROW)
#undef SIGNAL_ROW
};

static bool is_ignored(int number)
{
    struct sigaction action;
    return sigaction(number, NULL, &action) == 0 && action.sa_handler == SIG_IGN;
}

enum err signals_open(struct signals *s, bool with_child)
{
    sigset_t ours;
    sigemptyset(&ours);
    sigemptyset(&s->before);
    sigemptyset(&s->defaults);
    sigemptyset(&s->ignored);
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (table[i].with_child && !with_child)
            continue;
        sigaddset(&ours, table[i].number);
        if (is_ignored(table[i].number))
            sigaddset(&s->ignored, table[i].number);
    }
    if (!is_ignored(SIGPIPE)) {
        signal(SIGPIPE, SIG_IGN);
        sigaddset(&s->defaults, SIGPIPE);
    }
    if (with_child) /* ignored, it would take CMD's status with it */
        signal(SIGCHLD, SIG_DFL);
    s->fd = signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK);
    if (s->fd < 0)
        return err_from_errno(errno);
    return sigprocmask(SIG_BLOCK, &ours, &s->before) < 0 ? ERR_IO : ERR_OK;
}

/* A shell starts background jobs with SIGINT ignored so that ^C leaves them alone, and nohup does so with SIGHUP; but `kill -INT`
 * is meant for us. */
static bool unwanted(const struct signals *s, int number, bool from_terminal)
{
    return sigismember(&s->ignored, number) == 1 && number != SIGCHLD && (from_terminal || number == SIGHUP);
}

bool signals_next(struct signals *s, struct signal_event *out)
{
    struct signalfd_siginfo info;
    while (read(s->fd, &info, sizeof info) == (ssize_t)sizeof info) {
        *out = (struct signal_event){.number = (int)info.ssi_signo, .from_terminal = info.ssi_code == SI_KERNEL};
        for (size_t i = 0; i < ARRAY_LEN(table); i++)
            if (table[i].number == out->number)
                out->meaning = table[i].meaning;
        if (!unwanted(s, out->number, out->from_terminal))
            return true;
    }
    return false;
}

/* What is blocked stays blocked: a signal that comes while the program is ending anyway (a third ^C) must not turn its exit code into a death
 * by that signal. */
void signals_close(struct signals *s)
{
    if (s->fd >= 0)
        close(s->fd);
    s->fd = -1;
}
