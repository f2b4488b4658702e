/* script.h: an origin on loopback that does what its script says, step by step, in a thread of its own. Failures are test failures. */
#ifndef RINGTAPE_TESTS_PROXY_SCRIPT_H
#define RINGTAPE_TESTS_PROXY_SCRIPT_H

#include "tests/ring/support.h"

#include <poll.h>

enum then { THEN_KEEP, THEN_CLOSE, THEN_RESET, THEN_WAIT_EOF };

/* What is done with one request: read it, say this, then that. */
struct step {
    const char *say; /* NULL: nothing */
    enum then then;
    size_t repeat; /* 0: once; `say` is said so often */
};

enum { STEPS_MAX = 8, REQUEST_MAX = 400000 };

struct script {
    struct step steps[STEPS_MAX];
    size_t steps_n;
    /* what it saw; read after the thread has ended */
    char *requests[STEPS_MAX];
    size_t lengths[STEPS_MAX];
    unsigned connections, requests_n;
    int listening, quit[2];
    struct sockaddr_storage address;
    pthread_t thread;
};

/* False: the test is over. */
static inline bool readable(const struct script *s, int fd)
{
    struct pollfd fds[2] = {{.fd = fd, .events = POLLIN}, {.fd = s->quit[0], .events = POLLIN}};
    return poll(fds, 2, 100000) > 0 && fds[0].revents != 0;
}

static inline size_t content_length(const char *head)
{
    const char *field = strstr(head, "Content-Length: ");
    return field ? strtoul(field + 16, NULL, 10) : 0;
}

/* One request with its body, or raw bytes up to a newline. False: the connection or the test has ended. */
static inline bool read_request(const struct script *s, int fd, char *out, size_t *n)
{
    for (*n = 0; *n + 1 < REQUEST_MAX;) {
        if (!readable(s, fd))
            return false;
        ssize_t got = read(fd, out + *n, REQUEST_MAX - 1 - *n);
        if (got <= 0)
            return false;
        *n += (size_t)got;
        out[*n] = 0;
        const char *end = strstr(out, "\r\n\r\n");
        if (end && *n >= (size_t)(end - out) + 4 + content_length(out))
            return true;
        if (strncmp(out, "raw ", 4) == 0 && out[*n - 1] == '\n')
            return true;
    }
    return false;
}

static inline void say(int fd, const struct step *step)
{
    for (size_t i = 0; step->say && i < MAX(step->repeat, (size_t)1); i++)
        for (size_t at = 0, n = strlen(step->say); at < n;) {
            ssize_t sent = send(fd, step->say + at, n - at, MSG_NOSIGNAL);
            if (sent <= 0)
                return;
            at += (size_t)sent;
        }
}

/* False: the connection is over. */
static inline bool follow(struct script *s, int fd, const struct step *step)
{
    char byte;
    struct linger reset = {.l_onoff = 1};
    say(fd, step);
    if (step->then == THEN_WAIT_EOF)
        while (readable(s, fd) && read(fd, &byte, 1) > 0)
            continue;
    if (step->then == THEN_RESET)
        (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
    return step->then == THEN_KEEP;
}

static inline void *play(void *arg)
{
    struct script *s = arg;
    char *request = malloc(REQUEST_MAX);
    while (request && readable(s, s->listening)) {
        int fd = accept4(s->listening, NULL, NULL, SOCK_CLOEXEC);
        size_t n;
        s->connections++;
        for (bool more = fd >= 0; more && read_request(s, fd, request, &n);) {
            if (s->requests_n == s->steps_n)
                break;
            s->requests[s->requests_n] = strndup(request, n);
            s->lengths[s->requests_n] = n;
            more = follow(s, fd, &s->steps[s->requests_n++]);
        }
        close(fd);
    }
    free(request);
    return NULL;
}

#endif
