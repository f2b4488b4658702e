/* test_stream.c: what a stream promises: order, backpressure, half-close, resets, and an end that loses nothing. */
#include "tests/ring/support.h"

/* One end of a connection and what happened to it. */
struct side {
    struct rig *rig;
    struct stream *stream;
    uint64_t received, sent, to_send;
    unsigned eofs, drains, fails;
    enum err why;
    bool paused;
    size_t queue_peak;
    void (*on_data)(struct side *side, struct span in);
    void (*on_eof)(struct side *side);
    void (*on_drained)(struct side *side);
    void (*on_failed)(struct side *side);
};

static void side_data(void *ctx, struct span in)
{
    struct side *side = ctx;
    assert_true(in.n > 0);
    assert_false(side->paused);
    assert_int_equal(side->eofs + side->fails, 0);
    check_pattern(in, side->received);
    side->received += in.n;
    if (side->on_data)
        side->on_data(side, in);
}

static void side_eof(void *ctx)
{
    struct side *side = ctx;
    assert_false(side->paused);
    assert_int_equal(side->eofs++, 0);
    if (side->on_eof)
        side->on_eof(side);
}

static void side_drained(void *ctx)
{
    struct side *side = ctx;
    side->drains++;
    assert_false(stream_full(side->stream));
    assert_true(stream_queued(side->stream) <= LIMIT_SEND_LOW);
    if (side->on_drained)
        side->on_drained(side);
}

static void side_failed(void *ctx, enum err why)
{
    struct side *side = ctx;
    assert_int_equal(side->fails++, 0);
    side->why = why;
    if (side->on_failed)
        side->on_failed(side);
}

static const struct stream_events side_events = {side_data, side_eof, side_drained, side_failed};

static void side_open(struct side *side, struct rig *rig, int fd)
{
    side->rig = rig;
    assert_int_equal(stream_open(&side->stream, rig->loop, fd, &side_events, side), ERR_OK);
}

static void side_say(struct side *side, size_t n)
{
    static uint8_t bytes[32768];
    assert_true(n <= sizeof bytes);
    fill_pattern(bytes, n, side->sent);
    side->sent += n;
    assert_int_equal(stream_send(side->stream, span_of(bytes, n)), ERR_OK);
    side->queue_peak = MAX(side->queue_peak, stream_queued(side->stream));
}

static void side_stop(struct side *side)
{
    loop_stop(side->rig->loop);
}

static void side_close(struct side *side)
{
    stream_close(&side->stream, STREAM_FLUSH);
}

static void side_close_and_stop(struct side *side)
{
    side_close(side);
    side_stop(side);
}

/* ---- half-close ---- */

static void answer_after_eof(struct side *side)
{
    assert_int_equal(side->received, 100);
    side_say(side, 20000);
    stream_shutdown(side->stream);
}

static void test_half_close(void **state)
{
    struct rig rig;
    rig_open(&rig, state, (struct loop_config){0});
    int fds[2];
    tcp_pair(fds);
    struct side a = {.on_eof = side_stop}, b = {.on_eof = answer_after_eof};
    side_open(&a, &rig, fds[0]);
    side_open(&b, &rig, fds[1]);
    struct sockaddr_storage near, far;
    assert_true(stream_local(a.stream, &near) && stream_peer(b.stream, &far));
    assert_int_equal(net_port((struct sockaddr *)&near), net_port((struct sockaddr *)&far));
    side_say(&a, 100);
    stream_shutdown(a.stream);
    rig_run(&rig);
    assert_int_equal(a.received, 20000);
    assert_int_equal(a.eofs, 1);
    assert_int_equal(b.eofs, 1);
    stream_close(&a.stream, STREAM_FLUSH);
    stream_close(&b.stream, STREAM_ABORT);
    assert_null(a.stream);
    rig_close(&rig);
}

/* ---- backpressure ---- */

struct reader {
    int fd;
    uint64_t total;
    int error; /* what ended it; 0: the FIN */
    bool slow;
};

/* Reads all, then closes. */
static void *reader_thread(void *arg)
{
    struct reader *r = arg;
    enum { PIECE = 1 << 17 };
    uint8_t *bytes = malloc(PIECE);
    ssize_t n = 0;
    for (unsigned reads = 1; bytes && (n = recv(r->fd, bytes, PIECE, 0)) > 0; reads++) {
        check_pattern(span_of(bytes, (size_t)n), r->total);
        r->total += (uint64_t)n;
        if (r->slow && reads % 64 == 0)
            usleep(2000);
    }
    r->error = n < 0 ? errno : 0;
    free(bytes);
    close(r->fd);
    return NULL;
}

static void push(struct side *side)
{
    while (side->sent < side->to_send && !stream_full(side->stream))
        side_say(side, MIN(16384u, side->to_send - side->sent));
    if (side->sent == side->to_send)
        stream_shutdown(side->stream);
}

static void test_slow_reader(void **state)
{
    struct rig rig;
    rig_open(&rig, state, (struct loop_config){0});
    int fds[2];
    tcp_pair(fds);
    struct side a = {.to_send = 64 << 20, .on_drained = push, .on_eof = side_close_and_stop};
    side_open(&a, &rig, fds[0]);
    struct reader reader = {.fd = fds[1], .slow = true};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, reader_thread, &reader), 0);
    push(&a);
    assert_true(stream_full(a.stream));
    rig_run(&rig);
    pthread_join(thread, NULL);
    assert_int_equal(reader.error, 0);
    assert_int_equal(reader.total, a.to_send);
    assert_true(a.drains > 10);
    assert_true(a.queue_peak < LIMIT_SEND_HIGH + 16384);
    rig_close(&rig);
}

/* Writes all of the pattern, then reads until the peer closes. */
struct writer {
    int fd;
    uint64_t total;
};

static void *writer_thread(void *arg)
{
    struct writer *w = arg;
    enum { PIECE = 50000 };
    uint8_t *bytes = malloc(PIECE);
    uint64_t at = 0;
    while (bytes && at < w->total) {
        size_t n = (size_t)MIN((uint64_t)PIECE, w->total - at);
        fill_pattern(bytes, n, at);
        ssize_t sent = send(w->fd, bytes, n, MSG_NOSIGNAL);
        if (sent <= 0)
            break;
        at += (uint64_t)sent;
    }
    shutdown(w->fd, SHUT_WR);
    while (bytes && recv(w->fd, bytes, PIECE, 0) > 0)
        ;
    free(bytes);
    close(w->fd);
    return NULL;
}

/* The reader begins when the relay is full for the first time, so that it is full however the threads are scheduled. */
struct relay {
    struct side from, to;
    struct reader reader;
    pthread_t reading;
    bool begun;
};

static void relay_data(struct side *side, struct span in)
{
    struct relay *r = container_of(side, struct relay, from);
    assert_int_equal(stream_send(r->to.stream, in), ERR_OK);
    r->to.queue_peak = MAX(r->to.queue_peak, stream_queued(r->to.stream));
    if (stream_full(r->to.stream)) {
        side->paused = true;
        stream_pause(side->stream);
        if (!r->begun)
            assert_int_equal(pthread_create(&r->reading, NULL, reader_thread, &r->reader), 0);
        r->begun = true;
    }
}

static void relay_eof(struct side *side)
{
    struct relay *r = container_of(side, struct relay, from);
    stream_shutdown(r->to.stream);
}

static void relay_drained(struct side *side)
{
    struct relay *r = container_of(side, struct relay, to);
    r->from.paused = false;
    stream_resume(r->from.stream);
}

static void relay_over(struct side *side)
{
    struct relay *r = container_of(side, struct relay, to);
    stream_close(&r->from.stream, STREAM_FLUSH);
    side_close_and_stop(side);
}

static void test_relay_to_slow_reader(void **state)
{
    struct rig rig;
    rig_open(&rig, state, (struct loop_config){0});
    int in[2], out[2];
    tcp_pair(in);
    tcp_pair(out);
    struct relay r = {.from = {.on_data = relay_data, .on_eof = relay_eof},
                      .to = {.on_drained = relay_drained, .on_eof = relay_over},
                      .reader = {.fd = out[1], .slow = true}};
    side_open(&r.from, &rig, in[0]);
    side_open(&r.to, &rig, out[0]);
    struct writer writer = {in[1], 32 << 20};
    pthread_t writing;
    assert_int_equal(pthread_create(&writing, NULL, writer_thread, &writer), 0);
    rig_run(&rig);
    rig_close(&rig); /* closes what the writer waits for */
    pthread_join(writing, NULL);
    assert_true(r.begun);
    pthread_join(r.reading, NULL);
    assert_int_equal(r.reader.error, 0);
    assert_int_equal(r.reader.total, writer.total);
    assert_true(r.to.drains > 0);
    assert_true(r.to.queue_peak < LIMIT_SEND_HIGH + 65536);
}

/* ---- pausing ---- */

struct flicker {
    struct side from, to;
    struct task task;
    unsigned seed, turns;
};

static void flicker_set(struct flicker *f, bool pause)
{
    f->to.paused = pause;
    if (pause)
        stream_pause(f->to.stream);
    else
        stream_resume(f->to.stream);
}

static void flicker_step(struct task *task)
{
    struct flicker *f = container_of(task, struct flicker, task);
    if (!f->to.stream)
        return;
    f->turns++;
    unsigned changes = (unsigned)rand_r(&f->seed) % 4;
    for (unsigned i = 0; i < changes; i++)
        flicker_set(f, rand_r(&f->seed) & 1);
    loop_start(f->to.rig->loop, task, (uint64_t)(rand_r(&f->seed) % 3) * NS_PER_MS / 4);
}

static void flicker_data(struct side *side, struct span in)
{
    struct flicker *f = container_of(side, struct flicker, to);
    (void)in;
    if (rand_r(&f->seed) % 8 == 0)
        flicker_set(f, true);
    if (rand_r(&f->seed) % 16 == 0)
        flicker_set(f, false);
}

static void flicker_eof(struct side *side)
{
    struct flicker *f = container_of(side, struct flicker, to);
    stream_close(&f->from.stream, STREAM_FLUSH);
    side_close_and_stop(side);
}

static void flicker(void **state, struct loop_config config, unsigned seed)
{
    struct rig rig;
    rig_open(&rig, state, config);
    int fds[2];
    tcp_pair(fds);
    struct flicker f = {.from = {.to_send = 6 << 20, .on_drained = push},
                        .to = {.on_data = flicker_data, .on_eof = flicker_eof},
                        .seed = seed};
    side_open(&f.from, &rig, fds[0]);
    side_open(&f.to, &rig, fds[1]);
    task_init(&f.task, flicker_step);
    loop_start(rig.loop, &f.task, 0);
    push(&f.from);
    rig_run(&rig);
    loop_stop_task(rig.loop, &f.task);
    assert_int_equal(f.to.received, f.from.to_send);
    assert_int_equal(f.to.eofs, 1);
    assert_true(f.turns > 20);
    rig_close(&rig);
}

static void test_pause_at_random(void **state)
{
    for (unsigned seed = 1; seed <= 6; seed++)
        flicker(state, (struct loop_config){0}, seed);
}

static void test_pause_at_random_with_few_buffers(void **state)
{
    for (unsigned seed = 1; seed <= 3; seed++)
        flicker(state, (struct loop_config){.recv_buffers = 2, .recv_buffer_bytes = 4096, .completions = 8}, seed);
}

struct patience {
    struct side side;
    struct task task;
};

static void patience_resume(struct task *task)
{
    struct patience *p = container_of(task, struct patience, task);
    assert_int_equal(p->side.received, 0);
    p->side.paused = false;
    stream_resume(p->side.stream);
}

/* Bytes and FIN that came while paused are kept, in order; pausing in the first piece holds the second back. */
static void test_end_waits_for_resume(void **state)
{
    struct rig rig;
    rig_open(&rig, state, (struct loop_config){.recv_buffer_bytes = 1024});
    int fds[2];
    tcp_pair(fds);
    struct patience p = {.side = {.on_eof = side_close_and_stop, .paused = true}};
    side_open(&p.side, &rig, fds[0]);
    uint8_t bytes[5000];
    fill_pattern(bytes, sizeof bytes, 0);
    assert_int_equal(send(fds[1], bytes, sizeof bytes, 0), sizeof bytes);
    shutdown(fds[1], SHUT_WR);
    stream_pause(p.side.stream);
    task_init(&p.task, patience_resume);
    loop_start(rig.loop, &p.task, 20 * NS_PER_MS);
    rig_run(&rig);
    assert_int_equal(p.side.received, sizeof bytes);
    close(fds[1]);
    rig_close(&rig);
}

/* A stream that is paused must not keep the buffers that others need. */
static void test_paused_keeps_no_buffers(void **state)
{
    struct rig rig;
    rig_open(&rig, state, (struct loop_config){.recv_buffers = 4, .recv_buffer_bytes = 1024});
    int idle[16][2], fds[2];
    struct side paused[16] = {0};
    for (unsigned i = 0; i < ARRAY_LEN(paused); i++) {
        tcp_pair(idle[i]);
        side_open(&paused[i], &rig, idle[i][0]);
        uint8_t bytes[16384];
        fill_pattern(bytes, sizeof bytes, 0);
        assert_int_equal(send(idle[i][1], bytes, sizeof bytes, 0), sizeof bytes);
        paused[i].paused = i % 2;
        if (i % 2)
            stream_pause(paused[i].stream);
    }
    tcp_pair(fds);
    struct side from = {.to_send = 1 << 20, .on_drained = push}, to = {.on_eof = side_close_and_stop};
    side_open(&from, &rig, fds[0]);
    side_open(&to, &rig, fds[1]);
    push(&from);
    rig_run(&rig);
    assert_int_equal(to.received, from.to_send);
    stream_close(&from.stream, STREAM_ABORT);
    for (unsigned i = 0; i < ARRAY_LEN(paused); i++) {
        stream_close(&paused[i].stream, STREAM_ABORT);
        close(idle[i][1]);
    }
    rig_close(&rig);
}

/* ---- resets ---- */

static void reset(int fd)
{
    struct linger hard = {1, 0};
    setsockopt(fd, SOL_SOCKET, SO_LINGER, &hard, sizeof hard);
    close(fd);
}

static void test_reset(void **state)
{
    struct rig rig;
    rig_open(&rig, state, (struct loop_config){0});
    int fds[2];
    tcp_pair(fds);
    struct side a = {.on_failed = side_stop};
    side_open(&a, &rig, fds[0]);
    uint8_t bytes[1000];
    fill_pattern(bytes, sizeof bytes, 0);
    assert_int_equal(send(fds[1], bytes, sizeof bytes, 0), sizeof bytes);
    reset(fds[1]);
    rig_run(&rig);
    assert_int_equal(a.received, sizeof bytes);
    assert_int_equal(a.why, ERR_RESET);
    assert_int_equal(a.eofs, 0);
    side_say(&a, 100); /* dropped */
    assert_int_equal(stream_queued(a.stream), 0);
    stream_close(&a.stream, STREAM_FLUSH);
    rig_close(&rig);
}

/* A peer that answers early and closes: its answer is delivered although sending fails. */
static void test_answer_before_reset(void **state)
{
    struct rig rig;
    rig_open(&rig, state, (struct loop_config){0});
    int fds[2];
    tcp_pair(fds);
    struct side a = {.to_send = 30 << 20, .on_drained = push, .on_failed = side_stop};
    uint8_t bytes[5000];
    fill_pattern(bytes, sizeof bytes, 0);
    assert_int_equal(send(fds[1], bytes, sizeof bytes, 0), sizeof bytes);
    assert_int_equal(send(fds[0], bytes, sizeof bytes, 0), sizeof bytes);
    close(fds[1]); /* with something unread: a reset */
    side_open(&a, &rig, fds[0]);
    side_say(&a, 16384);
    rig_run(&rig);
    assert_int_equal(a.received, sizeof bytes);
    assert_int_equal(a.fails, 1);
    assert_int_equal(a.eofs, 0);
    stream_close(&a.stream, STREAM_ABORT);
    rig_close(&rig);
}

/* ---- closing ---- */

/* All that was queued arrives, then FIN and no reset, although the peer's own bytes were never looked at. */
static void test_flush(void **state)
{
    struct rig rig;
    rig_open(&rig, state, (struct loop_config){0});
    int fds[2];
    tcp_pair(fds);
    uint8_t bytes[50000] = {0};
    assert_int_equal(send(fds[1], bytes, sizeof bytes, 0), sizeof bytes);
    struct side a = {.paused = true}, b = {.on_eof = side_close_and_stop};
    side_open(&a, &rig, fds[0]);
    stream_pause(a.stream);
    for (unsigned i = 0; i < 300; i++)
        side_say(&a, 16384);
    stream_close(&a.stream, STREAM_FLUSH);
    side_open(&b, &rig, fds[1]);
    rig_run(&rig);
    assert_int_equal(b.received, 300 * 16384);
    assert_int_equal(b.fails, 0);
    rig_close(&rig);
}

static void test_abort_resets(void **state)
{
    struct rig rig;
    rig_open(&rig, state, (struct loop_config){0});
    int fds[2];
    tcp_pair(fds);
    struct side a = {0}, b = {.on_failed = side_stop};
    side_open(&a, &rig, fds[0]);
    side_open(&b, &rig, fds[1]);
    for (unsigned i = 0; i < 1000; i++)
        side_say(&a, 16384);
    stream_close(&a.stream, STREAM_ABORT);
    rig_run(&rig);
    assert_int_equal(b.why, ERR_RESET);
    stream_close(&b.stream, STREAM_ABORT);
    rig_close(&rig);
}

static void stop_soon(struct task *task)
{
    struct rig *rig = container_of(task, struct rig, watchdog);
    loop_stop(rig->loop);
}

/* A peer that reads nothing: the loop does not wait for it when it is destroyed. */
static void test_destroy_cuts_flushing(void **state)
{
    unsigned before = open_fds();
    struct rig rig;
    rig_open(&rig, state, (struct loop_config){0});
    int fds[2];
    tcp_pair(fds);
    struct side a = {0};
    side_open(&a, &rig, fds[0]);
    for (unsigned i = 0; i < 2000; i++)
        side_say(&a, 16384);
    stream_close(&a.stream, STREAM_FLUSH);
    task_init(&rig.watchdog, stop_soon);
    loop_start(rig.loop, &rig.watchdog, 20 * NS_PER_MS);
    assert_int_equal(loop_run(rig.loop), ERR_OK);
    rig_close(&rig);
    close(fds[1]);
    assert_int_equal(open_fds(), before);
}

struct gone {
    struct rig *rig;
    struct task task;
    unsigned before;
};

static void gone_look(struct task *task)
{
    struct gone *g = container_of(task, struct gone, task);
    if (open_fds() == g->before)
        loop_stop(g->rig->loop);
    else
        loop_start(g->rig->loop, task, 100 * NS_PER_MS);
}

/* Neither a peer that reads nothing nor one that never says FIN is waited for for ever. */
static void test_flush_is_bounded(void **state)
{
    struct rig rig;
    rig_open(&rig, state, (struct loop_config){.flush_ms = 500});
    int stalled[2], silent[2];
    tcp_pair(stalled);
    tcp_pair(silent);
    struct side a = {0}, b = {0};
    struct gone g = {.rig = &rig, .before = open_fds() - 2};
    side_open(&a, &rig, stalled[0]);
    side_open(&b, &rig, silent[0]);
    for (unsigned i = 0; i < 2000; i++)
        side_say(&a, 16384);
    side_say(&b, 10);
    stream_close(&a.stream, STREAM_FLUSH);
    stream_close(&b.stream, STREAM_FLUSH);
    task_init(&g.task, gone_look);
    loop_start(rig.loop, &g.task, 0);
    rig_run(&rig);
    close(stalled[1]);
    close(silent[1]);
    rig_close(&rig);
}

/* ---- churn ---- */

enum { CHURN_AT_ONCE = 40, CHURN_ROUNDS = 60 };

struct churn {
    struct rig rig;
    struct task task;
    struct side sides[CHURN_AT_ONCE][2];
    unsigned rounds, seed;
};

static void churn_data(struct side *side, struct span in)
{
    (void)in;
    struct churn *c = container_of(side->rig, struct churn, rig);
    switch (rand_r(&c->seed) % 6) {
    case 0:
        stream_close(&side->stream, STREAM_ABORT);
        break;
    case 1:
        stream_close(&side->stream, STREAM_FLUSH);
        break;
    case 2:
        side_say(side, 300);
        break;
    case 3:
        stream_pause(side->stream);
        stream_resume(side->stream);
        break;
    default:
        break;
    }
}

static void churn_step(struct task *task)
{
    struct churn *c = container_of(task, struct churn, task);
    for (unsigned i = 0; i < CHURN_AT_ONCE; i++) {
        for (unsigned k = 0; k < 2; k++)
            stream_close(&c->sides[i][k].stream, rand_r(&c->seed) % 2 ? STREAM_ABORT : STREAM_FLUSH);
        if (c->rounds == CHURN_ROUNDS)
            continue;
        int fds[2];
        tcp_pair(fds);
        for (unsigned k = 0; k < 2; k++) {
            struct side *side = &c->sides[i][k];
            *side = (struct side){.on_data = churn_data, .on_eof = side_close, .on_failed = side_close};
            side_open(side, &c->rig, fds[k]);
            if (rand_r(&c->seed) % 4)
                side_say(side, 1 + (size_t)rand_r(&c->seed) % 30000);
        }
    }
    if (c->rounds++ == CHURN_ROUNDS)
        loop_stop(c->rig.loop);
    else
        loop_start(c->rig.loop, task, (uint64_t)(rand_r(&c->seed) % 3) * NS_PER_MS);
}

static void test_churn(void **state)
{
    unsigned before = open_fds();
    struct churn *c = mem_new(1, sizeof *c);
    rig_open(&c->rig, state, (struct loop_config){.recv_buffers = 8});
    c->seed = 7;
    task_init(&c->task, churn_step);
    loop_start(c->rig.loop, &c->task, 0);
    rig_run(&c->rig);
    rig_close(&c->rig);
    mem_free(c);
    assert_int_equal(open_fds(), before);
}

/* ---- odds and ends ---- */

static void second_data(void *ctx, struct span in)
{
    struct side *side = ctx;
    side_data(ctx, in);
    if (side->received == 2000)
        side_close_and_stop(side);
}

static void hand_over(struct side *side, struct span in)
{
    (void)in;
    static const struct stream_events second_events = {second_data, side_eof, side_drained, side_failed};
    stream_set_events(side->stream, &second_events, side);
}

/* Another owner, and a descriptor that was non-blocking. */
static void test_hand_over(void **state)
{
    struct rig rig;
    rig_open(&rig, state, (struct loop_config){.recv_buffer_bytes = 256});
    int fds[2];
    tcp_pair(fds);
    assert_int_equal(fcntl(fds[0], F_SETFL, O_NONBLOCK), 0);
    struct side a = {.on_data = hand_over};
    side_open(&a, &rig, fds[0]);
    uint8_t bytes[2000];
    fill_pattern(bytes, sizeof bytes, 0);
    assert_int_equal(send(fds[1], bytes, sizeof bytes, 0), sizeof bytes);
    rig_run(&rig);
    assert_int_equal(a.received, 2000);
    close(fds[1]);
    rig_close(&rig);
}

static void test_out_of_memory(void **state)
{
    unsigned before = open_fds();
    struct rig rig;
    rig_open(&rig, state, (struct loop_config){0});
    int fds[2];
    tcp_pair(fds);
    struct side a = {.on_eof = side_close_and_stop};
    mem_fail_after(0);
    assert_int_equal(stream_open(&a.stream, rig.loop, fds[0], &side_events, &a), ERR_NOMEM);
    mem_fail_after(-1);
    assert_null(a.stream);
    close(fds[1]);
    tcp_pair(fds);
    side_open(&a, &rig, fds[0]);
    static uint8_t bytes[5 << 20];
    fill_pattern(bytes, sizeof bytes, 0);
    for (long n = 0; n < 20; n++) {
        mem_fail_after(n);
        assert_int_equal(stream_send(a.stream, span_of(bytes, sizeof bytes)), ERR_NOMEM);
        mem_fail_after(-1);
        assert_int_equal(stream_queued(a.stream), 0);
    }
    assert_int_equal(stream_send(a.stream, span_of(bytes, 1000)), ERR_OK);
    assert_int_equal(stream_send(a.stream, span_of(bytes + 1000, sizeof bytes - 1000)), ERR_OK);
    stream_shutdown(a.stream);
    struct reader reader = {.fd = fds[1]};
    pthread_t thread;
    assert_int_equal(pthread_create(&thread, NULL, reader_thread, &reader), 0);
    rig_run(&rig);
    pthread_join(thread, NULL);
    assert_int_equal(reader.total, sizeof bytes);
    rig_close(&rig);
    assert_int_equal(open_fds(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(test_half_close),
        ON_BOTH(test_slow_reader),
        ON_BOTH(test_relay_to_slow_reader),
        ON_BOTH(test_pause_at_random),
        ON_BOTH(test_pause_at_random_with_few_buffers),
        ON_BOTH(test_end_waits_for_resume),
        ON_BOTH(test_paused_keeps_no_buffers),
        ON_BOTH(test_reset),
        ON_BOTH(test_answer_before_reset),
        ON_BOTH(test_flush),
        ON_BOTH(test_abort_resets),
        ON_BOTH(test_destroy_cuts_flushing),
        ON_BOTH(test_flush_is_bounded),
        ON_BOTH(test_churn),
        ON_BOTH(test_hand_over),
        ON_BOTH(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
