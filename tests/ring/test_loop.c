/* test_loop.c: timers, messages from other threads, stopping, and what happens where io_uring is refused. */
#include "tests/ring/support.h"

#include "ring/wheel.h"

#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>

/* ---- the wheel by itself ---- */

struct alarm {
    struct task task;
    uint64_t want_ns;
    uint64_t *now_ns;
    unsigned ran;
};

static void alarm_run(struct task *task)
{
    struct alarm *a = container_of(task, struct alarm, task);
    a->ran++;
    assert_true(*a->now_ns >= a->want_ns);
    assert_true(*a->now_ns - a->want_ns <= 2u << WHEEL_TICK_SHIFT);
    assert_false(task_waiting(task));
}

/* Random delays from microseconds to years, moved and stopped at random; the clock jumps to where the wheel says. */
static void test_wheel(void **state)
{
    (void)state;
    enum { ALARMS = 400 };
    static struct alarm alarms[ALARMS];
    struct wheel w;
    unsigned seed = 3;
    uint64_t now = 0xfffffffffULL << WHEEL_TICK_SHIFT; /* about to carry through all levels but two */
    wheel_init(&w, now);
    for (unsigned i = 0; i < ALARMS; i++) {
        task_init(&alarms[i].task, alarm_run);
        alarms[i].now_ns = &now;
        alarms[i].ran = 0;
    }
    for (unsigned step = 0; step < 3000; step++) {
        struct alarm *a = &alarms[(unsigned)rand_r(&seed) % ALARMS];
        if (rand_r(&seed) % 8 == 0) {
            wheel_stop(&a->task);
        } else {
            a->want_ns = now + ((uint64_t)rand_r(&seed) << (rand_r(&seed) % 26));
            wheel_start(&w, &a->task, a->want_ns);
            assert_true(task_waiting(&a->task));
        }
        uint64_t next = wheel_next_ns(&w);
        if (next == WHEEL_NEVER || rand_r(&seed) % 3)
            continue;
        now = MAX(now, next);
        wheel_run(&w, now);
    }
    for (uint64_t next; (next = wheel_next_ns(&w)) != WHEEL_NEVER;) {
        now = MAX(now, next);
        wheel_run(&w, now);
    }
    for (unsigned i = 0; i < ALARMS; i++)
        assert_false(task_waiting(&alarms[i].task));
}

/* ---- the loop's timers ---- */

struct ordered {
    struct task task;
    struct rig *rig;
    uint64_t due_ns;
    unsigned *order, want;
    bool last;
};

static void ordered_run(struct task *task)
{
    struct ordered *o = container_of(task, struct ordered, task);
    assert_true(loop_now_ns(o->rig->loop) >= o->due_ns);
    assert_int_equal((*o->order)++, o->want);
    if (o->last)
        loop_stop(o->rig->loop);
}

static void test_timers(void **state)
{
    struct rig rig;
    rig_open(&rig, state, (struct loop_config){0});
    static const uint64_t delay_ms[] = {0, 3, 7, 12, 90, 140};
    struct ordered tasks[ARRAY_LEN(delay_ms)];
    unsigned order = 0;
    uint64_t start = clock_mono_ns();
    for (unsigned i = ARRAY_LEN(tasks); i-- > 0;) {
        tasks[i] = (struct ordered){.rig = &rig, .order = &order, .want = i, .last = i + 1 == ARRAY_LEN(tasks)};
        tasks[i].due_ns = start + delay_ms[i] * NS_PER_MS;
        task_init(&tasks[i].task, ordered_run);
        loop_start(rig.loop, &tasks[i].task, 10 * NS_PER_S); /* moved to an earlier time, */
        loop_start(rig.loop, &tasks[i].task, 1);
        loop_start(rig.loop, &tasks[i].task, delay_ms[i] * NS_PER_MS); /* and to a later one */
    }
    struct ordered stopped = {.rig = &rig, .order = &order, .want = 1000};
    task_init(&stopped.task, ordered_run);
    loop_start(rig.loop, &stopped.task, NS_PER_MS);
    loop_stop_task(rig.loop, &stopped.task);
    loop_stop_task(rig.loop, &stopped.task);
    rig_run(&rig);
    assert_int_equal(order, ARRAY_LEN(tasks));
    struct scheduler *scheduler = loop_scheduler(rig.loop);
    assert_int_equal(scheduler->now_ns(scheduler), loop_now_ns(rig.loop));
    rig_close(&rig);
}

struct again {
    struct task task;
    struct rig *rig;
    unsigned left;
};

static void again_run(struct task *task)
{
    struct again *a = container_of(task, struct again, task);
    if (a->left-- > 1)
        loop_start(a->rig->loop, task, 0);
    else
        loop_stop(a->rig->loop);
}

/* A task that starts itself with no delay does not keep the loop from its other work, and an idle loop sleeps. */
static void test_restart_and_sleep(void **state)
{
    struct rig rig;
    rig_open(&rig, state, (struct loop_config){0});
    struct again a = {.rig = &rig, .left = 50};
    task_init(&a.task, again_run);
    loop_start(rig.loop, &a.task, 0);
    rig_run(&rig);
    struct loop_counters before, after;
    loop_counters(rig.loop, &before);
    assert_true(before.turns >= 50);
    a.left = 1;
    loop_start(rig.loop, &a.task, 100 * NS_PER_MS);
    rig_run(&rig);
    loop_counters(rig.loop, &after);
    assert_true(after.turns - before.turns < 10);
    rig_close(&rig);
}

/* ---- posts ---- */

enum { POSTERS = 4, POSTS = 3000, POSTS_FLYING = 32 };

struct poster;

struct message {
    struct post post;
    struct poster *from;
    unsigned number;
    atomic_bool flying;
};

struct poster {
    struct rig *rig;
    pthread_t thread;
    unsigned expected;
    atomic_uint *arrived;
    struct message messages[POSTS_FLYING];
};

static void message_arrived(struct post *post)
{
    struct message *m = container_of(post, struct message, post);
    assert_int_equal(m->number, m->from->expected++); /* in order from each thread */
    if (atomic_fetch_add(m->from->arrived, 1) + 1 == POSTERS * POSTS)
        loop_stop(m->from->rig->loop);
    atomic_store(&m->flying, false);
}

static void *poster_thread(void *arg)
{
    struct poster *p = arg;
    for (unsigned i = 0; i < POSTS; i++) {
        struct message *m = &p->messages[i % POSTS_FLYING];
        while (atomic_load(&m->flying))
            usleep(50);
        m->post.run = message_arrived;
        m->from = p;
        m->number = i;
        atomic_store(&m->flying, true);
        loop_post(p->rig->loop, &m->post);
        if (i % 512 == 0)
            usleep(1000); /* lets the loop fall asleep */
    }
    return NULL;
}

static void test_posts(void **state)
{
    struct rig rig;
    rig_open(&rig, state, (struct loop_config){0});
    static struct poster posters[POSTERS];
    memset(posters, 0, sizeof posters);
    atomic_uint arrived = 0;
    for (unsigned i = 0; i < POSTERS; i++) {
        posters[i].rig = &rig;
        posters[i].arrived = &arrived;
        assert_int_equal(pthread_create(&posters[i].thread, NULL, poster_thread, &posters[i]), 0);
    }
    rig_run(&rig);
    for (unsigned i = 0; i < POSTERS; i++)
        pthread_join(posters[i].thread, NULL);
    assert_int_equal(arrived, POSTERS * POSTS);
    rig_close(&rig);
}

static void *stopper_thread(void *arg)
{
    usleep(20000);
    loop_stop(arg);
    return NULL;
}

static void test_stop(void **state)
{
    struct rig rig;
    rig_open(&rig, state, (struct loop_config){0});
    loop_stop(rig.loop); /* before it runs: not lost */
    rig_run(&rig);
    for (unsigned i = 0; i < 3; i++) {
        pthread_t thread;
        assert_int_equal(pthread_create(&thread, NULL, stopper_thread, rig.loop), 0);
        rig_run(&rig);
        pthread_join(thread, NULL);
    }
    rig_close(&rig);
}

/* ---- a worker: created here, run there, destroyed here with something left that flushes ---- */

struct worker {
    struct rig rig;
    struct stream *stream;
    int fd;
};

static void worker_data(void *ctx, struct span in)
{
    (void)ctx;
    (void)in;
}

static void worker_end(void *ctx)
{
    (void)ctx;
}

static void worker_failed(void *ctx, enum err why)
{
    (void)ctx;
    (void)why;
}

static void *worker_thread(void *arg)
{
    static const struct stream_events events = {worker_data, worker_end, worker_end, worker_failed};
    struct worker *w = arg;
    static uint8_t bytes[8 << 20];
    assert_int_equal(stream_open(&w->stream, w->rig.loop, w->fd, &events, w), ERR_OK);
    assert_int_equal(stream_send(w->stream, span_of(bytes, sizeof bytes)), ERR_OK);
    assert_int_equal(loop_run(w->rig.loop), ERR_OK);
    stream_close(&w->stream, STREAM_FLUSH);
    return NULL;
}

static void test_worker(void **state)
{
    unsigned before = open_fds();
    struct worker w;
    rig_open(&w.rig, state, (struct loop_config){0});
    int fds[2];
    tcp_pair(fds);
    w.fd = fds[0];
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, worker_thread, &w), 0);
    usleep(30000);
    loop_stop(w.rig.loop);
    pthread_join(thread, NULL);
    rig_close(&w.rig);
    close(fds[1]);
    assert_int_equal(open_fds(), before);
}

static void test_out_of_memory(void **state)
{
    unsigned before = open_fds();
    enum loop_backend backend = *(enum loop_backend *)*state;
    if (backend == LOOP_IO_URING && !loop_io_uring_usable())
        skip();
    for (long n = 0; n < 10; n++) {
        struct loop *loop;
        mem_fail_after(n);
        enum err e = loop_create(&loop, &(struct loop_config){.backend = backend});
        mem_fail_after(-1);
        assert_true(e == ERR_OK ? loop != NULL : e == ERR_NOMEM && !loop);
        loop_destroy(&loop);
        assert_int_equal(open_fds(), before);
    }
}

/* ---- refused ---- */

static int refuse_io_uring(int error)
{
    struct sock_filter rules[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (unsigned)error),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {ARRAY_LEN(rules), rules};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) || prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program);
}

/* 0 when all is as it should be. */
static int try_refused(int error, enum err explicit_error, const char *backend)
{
    struct loop *loop = NULL;
    if (refuse_io_uring(error))
        return 10;
    if (loop_io_uring_usable())
        return 1;
    if (loop_create(&loop, &(struct loop_config){.backend = LOOP_IO_URING}) != explicit_error || loop)
        return 2;
    enum err e = loop_create(&loop, &(struct loop_config){.backend = LOOP_AUTO});
    if (!backend)
        return e == explicit_error ? 0 : 3;
    if (e || strcmp(loop_backend_name(loop), backend) != 0)
        return 4;
    loop_stop(loop);
    if (loop_run(loop))
        return 5;
    loop_destroy(&loop);
    return 0;
}

static void test_refused(void **state)
{
    (void)state;
    static const struct {
        int error;
        enum err want;
        const char *backend;
    } cases[] = {
        {EPERM, ERR_UNSUPPORTED, "epoll"},
        {ENOSYS, ERR_UNSUPPORTED, "epoll"},
        {ENOMEM, ERR_NOMEM, NULL},
        {EMFILE, ERR_NO_FDS, NULL},
    };
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        pid_t child = fork();
        assert_true(child >= 0);
        if (child == 0)
            _exit(try_refused(cases[i].error, cases[i].want, cases[i].backend));
        int status;
        assert_int_equal(waitpid(child, &status, 0), child);
        assert_true(WIFEXITED(status));
        assert_int_equal(WEXITSTATUS(status), 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_wheel),
        ON_BOTH(test_timers),
        ON_BOTH(test_restart_and_sleep),
        ON_BOTH(test_posts),
        ON_BOTH(test_stop),
        ON_BOTH(test_worker),
        ON_BOTH(test_out_of_memory),
        cmocka_unit_test(test_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
