/* support.h: what the ring's tests share: each on both backends, a loop with a watchdog, connected pairs of sockets. */
#ifndef RINGTAPE_TESTS_RING_SUPPORT_H
#define RINGTAPE_TESTS_RING_SUPPORT_H

#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/util.h"
#include "ring/loop.h"
#include "ring/net.h"
#include "ring/stream.h"

#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

struct rig {
    enum loop_backend backend;
    struct loop_config config;
    struct loop *loop;
    struct task watchdog;
};

/* The backend is the test's initial state. */
#define ON_BOTH(test)                                                                                                  \
    {#test ", io_uring", test, NULL, NULL, (void *)&on_io_uring},                                                      \
    {                                                                                                                  \
#test ", epoll", test, NULL, NULL, (void *)&on_epoll                                                           \
    }
static enum loop_backend on_io_uring __attribute__((unused)) = LOOP_IO_URING;
static enum loop_backend on_epoll __attribute__((unused)) = LOOP_EPOLL;

static inline void rig_bark(struct task *task)
{
    (void)task;
    fail_msg("%s", "the test hangs");
}

/* False: this backend is refused here. */
static inline void rig_open(struct rig *rig, void **state, struct loop_config config)
{
    memset(rig, 0, sizeof *rig);
    rig->backend = *(enum loop_backend *)*state;
    rig->config = config;
    rig->config.backend = rig->backend;
    if (rig->backend == LOOP_IO_URING && !loop_io_uring_usable())
        skip();
    assert_int_equal(loop_create(&rig->loop, &rig->config), ERR_OK);
    assert_string_equal(loop_backend_name(rig->loop), rig->backend == LOOP_EPOLL ? "epoll" : "io_uring");
    task_init(&rig->watchdog, rig_bark);
}

static inline void rig_run(struct rig *rig)
{
    loop_start(rig->loop, &rig->watchdog, 100 * NS_PER_S);
    assert_int_equal(loop_run(rig->loop), ERR_OK);
    loop_stop_task(rig->loop, &rig->watchdog);
}

static inline void rig_close(struct rig *rig)
{
    loop_destroy(&rig->loop);
    assert_null(rig->loop);
}

static inline int listen_loopback(struct sockaddr_storage *bound)
{
    int fd;
    assert_int_equal(net_listen(&fd, "127.0.0.1", 0, false, bound), ERR_OK);
    return fd;
}

static inline int connect_to(const struct sockaddr_storage *address)
{
    int fd = socket(address->ss_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)address, sizeof(struct sockaddr_in)), 0);
    return fd;
}

/* A TCP connection over loopback; both ends block. */
static inline void tcp_pair(int fds[2])
{
    struct sockaddr_storage bound;
    int listening = listen_loopback(&bound);
    fds[0] = connect_to(&bound);
    fds[1] = accept4(listening, NULL, NULL, SOCK_CLOEXEC);
    assert_true(fds[1] >= 0);
    close(listening);
}

static inline void fill_pattern(uint8_t *p, size_t n, uint64_t at)
{
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(((at + i) * UINT64_C(0x9E3779B97F4A7C15)) >> 56);
}

static inline void check_pattern(struct span s, uint64_t at)
{
    for (size_t i = 0; i < s.n; i++)
        if (s.p[i] != (uint8_t)(((at + i) * UINT64_C(0x9E3779B97F4A7C15)) >> 56))
            fail_msg("byte %llu is wrong", (unsigned long long)(at + i));
}

static inline unsigned open_fds(void)
{
    unsigned n = 0;
    for (int fd = 0; fd < 4096; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

#endif
