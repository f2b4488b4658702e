/* The end of a stream whose peer is slow, or goes away just then. */
#include "tests/ring/support.h"

enum { PIECES = 1000, PIECE_BYTES = 16384, SETTLE_MS = 200 };

struct end {
    struct rig rig;
    struct stream *from, *to;
    int fd;
    struct task task;
    size_t received;
    unsigned fails;
};

static void nothing_in(void *ctx, struct span in)
{
    struct end *e = ctx;
    e->received += in.n;
}

static void nothing(void *ctx)
{
    (void)ctx;
}

static void got_eof(void *ctx)
{
    struct end *e = ctx;
    stream_close(&e->to, STREAM_FLUSH);
    loop_stop(e->rig.loop);
}

static void got_failure(void *ctx, enum err why)
{
    struct end *e = ctx;
    (void)why;
    e->fails++;
    stream_close(&e->to, STREAM_ABORT);
    loop_stop(e->rig.loop);
}

static const struct stream_events from_events = {nothing_in, nothing, nothing, got_failure};
static const struct stream_events to_events = {nothing_in, got_eof, nothing, got_failure};

/* More than the kernel takes is sent to a peer that does not read; then the stream is closed, and `next` runs. */
static void end_start(struct end *e, void **state, unsigned flush_ms, void (*next)(struct task *task))
{
    memset(e, 0, sizeof *e);
    rig_open(&e->rig, state, (struct loop_config){.flush_ms = flush_ms});
    static const uint8_t piece[PIECE_BYTES];
    int fds[2];
    tcp_pair(fds);
    e->fd = fds[1];
    assert_int_equal(stream_open(&e->from, e->rig.loop, fds[0], &from_events, e), ERR_OK);
    for (unsigned i = 0; i < PIECES; i++)
        assert_int_equal(stream_send(e->from, span_of(piece, sizeof piece)), ERR_OK);
    task_init(&e->task, next);
    loop_start(e->rig.loop, &e->task, SETTLE_MS * NS_PER_MS);
}

static void read_late(struct task *task)
{
    struct end *e = container_of(task, struct end, task);
    if (e->from) { /* what the kernel takes it has by now */
        stream_close(&e->from, STREAM_FLUSH);
        loop_start(e->rig.loop, task, (LIMIT_SHUTDOWN_MS + 500) * NS_PER_MS);
    } else {
        assert_int_equal(stream_open(&e->to, e->rig.loop, e->fd, &to_events, e), ERR_OK);
    }
}

/* A peer that stands still for longer than is waited for its FIN still gets all of it. */
static void test_a_late_reader_gets_all(void **state)
{
    struct end e;
    end_start(&e, state, 0, read_late);
    rig_run(&e.rig);
    assert_int_equal(e.fails, 0);
    assert_int_equal(e.received, PIECES * PIECE_BYTES);
    rig_close(&e.rig);
}

static void stop_soon(struct task *task)
{
    loop_stop(container_of(task, struct end, task)->rig.loop);
}

static void hang_up_and_sleep(struct task *task)
{
    struct end *e = container_of(task, struct end, task);
    if (e->from) {
        stream_close(&e->from, STREAM_FLUSH);
        loop_start(e->rig.loop, task, 100 * NS_PER_MS);
        return;
    }
    close(e->fd); /* with something unread: a reset */
    usleep(400 * 1000);
    task_init(&e->task, stop_soon);
    loop_start(e->rig.loop, &e->task, 50 * NS_PER_MS);
}

/* The peer's reset and the end of the patience come within one turn of the loop. */
static void test_a_reset_in_the_turn_of_the_timer(void **state)
{
    unsigned before = open_fds();
    struct end e;
    end_start(&e, state, 300, hang_up_and_sleep);
    rig_run(&e.rig);
    rig_close(&e.rig);
    assert_int_equal(open_fds(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(test_a_late_reader_gets_all),
        ON_BOTH(test_a_reset_in_the_turn_of_the_timer),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
