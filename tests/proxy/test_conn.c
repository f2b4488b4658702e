/* test_conn.c: two ends of a connection, plain and inside TLS, in one loop, on both backends: bytes, ends, pauses, and closing from within any event. */
#include "tests/ring/support.h"
#include "tests/tls/pair.h"

#include "proxy/conn.h"

enum what { WHAT_SECURED, WHAT_DATA, WHAT_EOF, WHAT_FAILED, WHAT_NOTHING };

struct side {
    struct meeting *meeting;
    const char *name;
    struct conn *conn;
    struct buf got;
    unsigned secured, eofs, drains, fails;
    bool clean;
    enum err why;
    enum what close_at; /* closes itself from within this event */
};

struct meeting {
    struct rig rig;
    struct world *world;
    struct side a, b; /* a client, b server */
    size_t wanted;    /* the loop stops when both have ended, or b has so many bytes */
    struct task step;
    int fds[2];
};

static void maybe_over(struct meeting *m)
{
    bool a_over = !m->a.conn || m->a.eofs || m->a.fails, b_over = !m->b.conn || m->b.eofs || m->b.fails;
    if ((a_over && b_over) || (m->wanted && m->b.got.n >= m->wanted))
        loop_stop(m->rig.loop);
}

/* Nothing may be called for what is closed. */
static void happened(struct side *s, enum what what)
{
    assert_non_null(s->conn);
    if (s->close_at == what)
        conn_close(&s->conn, STREAM_FLUSH);
    maybe_over(s->meeting);
}

static void on_secured(void *ctx)
{
    struct side *s = ctx;
    s->secured++;
    happened(s, WHAT_SECURED);
}

static void on_data(void *ctx, struct span plain)
{
    struct side *s = ctx;
    assert_true(plain.n > 0);
    assert_int_equal(buf_put(&s->got, plain), ERR_OK);
    happened(s, WHAT_DATA);
}

static void on_eof(void *ctx, bool clean)
{
    struct side *s = ctx;
    s->eofs++;
    s->clean = clean;
    happened(s, WHAT_EOF);
}

static void on_drained(void *ctx)
{
    struct side *s = ctx;
    s->drains++;
}

static void on_failed(void *ctx, enum err why, const char *reason)
{
    struct side *s = ctx;
    s->fails++;
    s->why = why;
    assert_true(strlen(reason) > 0);
    happened(s, WHAT_FAILED);
}

static const struct conn_events events = {on_secured, on_data, on_eof, on_drained, on_failed};

static void tls_start_both(struct meeting *m)
{
    struct leaf *leaf;
    assert_int_equal(leaf_get(m->world->leaves, SPAN("localhost"), SPAN_EMPTY, &leaf), ERR_OK);
    assert_int_equal(conn_accept_tls(m->b.conn, m->world->server, leaf, SPAN("http/1.1")), ERR_OK);
    leaf_unref(&leaf);
    assert_int_equal(conn_connect_tls(m->a.conn, m->world->client, SPAN("localhost"), 443, SPAN("\x08http/1.1")),
                     ERR_OK);
}

static void meet(struct meeting *m, void **state, bool tls)
{
    memset(m, 0, sizeof *m);
    rig_open(&m->rig, state, (struct loop_config){.no_connect = false});
    m->a = (struct side){.meeting = m, .name = "a", .close_at = WHAT_NOTHING};
    m->b = (struct side){.meeting = m, .name = "b", .close_at = WHAT_NOTHING};
    tcp_pair(m->fds);
    assert_int_equal(conn_open(&m->a.conn, m->rig.loop, m->fds[0], &events, &m->a), ERR_OK);
    assert_int_equal(conn_open(&m->b.conn, m->rig.loop, m->fds[1], &events, &m->b), ERR_OK);
    if (!tls)
        return;
    void *world;
    assert_int_equal(world_open(&world), 0);
    m->world = world;
    tls_start_both(m);
}

static void part(struct meeting *m)
{
    conn_close(&m->a.conn, STREAM_ABORT);
    conn_close(&m->b.conn, STREAM_ABORT);
    buf_free(&m->a.got);
    buf_free(&m->b.got);
    void *world = m->world;
    if (world)
        world_close(&world);
    rig_close(&m->rig);
}

/* --- bytes and ends --- */

static void say_and_end(struct meeting *m, bool tls)
{
    for (int i = 0; i < 100; i++) /* many small pieces, one turn */
        conn_send(m->a.conn, SPAN("0123456789"));
    conn_send(m->a.conn, SPAN_EMPTY);
    conn_shutdown(m->a.conn);
    conn_send(m->a.conn, SPAN("too late"));
    conn_send(m->b.conn, SPAN("answer"));
    conn_shutdown(m->b.conn);
    rig_run(&m->rig);
    assert_int_equal(m->b.got.n, 1000);
    assert_memory_equal(buf_span(&m->b.got).p + 990, "0123456789", 10);
    assert_int_equal(m->a.got.n, 6);
    assert_int_equal(m->a.eofs + m->b.eofs, 2);
    assert_true(m->a.clean && m->b.clean);
    assert_int_equal(m->a.fails + m->b.fails, 0);
    if (!tls) {
        assert_null(conn_tls(m->a.conn));
        assert_int_equal(conn_bytes_in(m->b.conn), 1000);
        assert_int_equal(conn_bytes_out(m->a.conn), 1000);
    } else {
        assert_true(tls_is_established(conn_tls(m->a.conn)));
        assert_int_equal(conn_bytes_in(m->b.conn), conn_bytes_out(m->a.conn));
    }
}

static void test_plain(void **state)
{
    struct meeting m;
    meet(&m, state, false);
    say_and_end(&m, false);
    part(&m);
}

static void run_until_secured(struct meeting *m)
{
    m->a.close_at = WHAT_NOTHING;
    loop_start(m->rig.loop, &m->rig.watchdog, 100 * NS_PER_S);
    while (!m->a.secured || !m->b.secured) {
        loop_start(m->rig.loop, &m->step, 0);
        assert_int_equal(loop_run(m->rig.loop), ERR_OK);
    }
    loop_stop_task(m->rig.loop, &m->rig.watchdog);
}

static void one_turn(struct task *task)
{
    loop_stop(container_of(task, struct meeting, step)->rig.loop);
}

static void test_tls(void **state)
{
    struct meeting m;
    struct tls_info info;
    meet(&m, state, true);
    task_init(&m.step, one_turn);
    run_until_secured(&m);
    tls_get_info(conn_tls(m.a.conn), &info);
    assert_string_equal(info.alpn, "http/1.1");
    assert_string_equal(info.version, "TLSv1.3");
    size_t before = (size_t)conn_bytes_out(m.a.conn);
    say_and_end(&m, true);
    /* A hundred small pieces in one turn are one record, not a hundred. */
    assert_in_range((size_t)conn_bytes_out(m.a.conn) - before, 1000, 1200);
    part(&m);
}

/* FIN without close_notify is no clean end: what was read may have been cut by anyone. */
static void test_tls_that_is_cut(void **state)
{
    struct meeting m;
    meet(&m, state, true);
    task_init(&m.step, one_turn);
    run_until_secured(&m);
    m.a.close_at = WHAT_EOF;
    stream_shutdown(conn_stream(m.b.conn));
    conn_close(&m.b.conn, STREAM_ABORT);
    rig_run(&m.rig);
    assert_int_equal(m.a.eofs + m.a.fails, 1);
    assert_false(m.a.clean);
    part(&m);
}

static void test_tls_that_ends_in_its_handshake(void **state)
{
    struct meeting m;
    meet(&m, state, false);
    void *world;
    assert_int_equal(world_open(&world), 0);
    m.world = world;
    assert_int_equal(conn_connect_tls(m.a.conn, m.world->client, SPAN("localhost"), 443, SPAN_EMPTY), ERR_OK);
    conn_shutdown(m.b.conn); /* the server says nothing */
    m.b.close_at = WHAT_DATA;
    rig_run(&m.rig);
    assert_int_equal(m.a.fails, 1);
    assert_int_equal(m.a.why, ERR_CLOSED);
    assert_int_equal(m.a.eofs, 0);
    conn_send(m.a.conn, SPAN("x")); /* after failed: nothing */
    conn_shutdown(m.a.conn);
    part(&m);
}

/* Bytes that are no TLS: told once, with a reason. */
static void test_garbage_instead_of_tls(void **state)
{
    struct meeting m;
    meet(&m, state, false);
    void *world;
    struct leaf *leaf;
    assert_int_equal(world_open(&world), 0);
    m.world = world;
    assert_int_equal(leaf_get(m.world->leaves, SPAN("localhost"), SPAN_EMPTY, &leaf), ERR_OK);
    assert_int_equal(conn_accept_tls(m.b.conn, m.world->server, leaf, SPAN_EMPTY), ERR_OK);
    leaf_unref(&leaf);
    m.b.close_at = WHAT_FAILED;
    conn_send(m.a.conn, SPAN("GET / HTTP/1.1\r\nHost: this is no TLS at all\r\n\r\n"));
    rig_run(&m.rig);
    assert_int_equal(m.b.fails, 1);
    assert_int_equal(m.b.why, ERR_TLS);
    part(&m);
}

/* --- injected bytes --- */

static void test_bytes_that_had_come_before(void **state)
{
    struct meeting m;
    meet(&m, state, false);
    conn_inject(m.b.conn, SPAN_EMPTY);
    assert_int_equal(m.b.got.n, 0);
    conn_inject(m.b.conn, SPAN("before "));
    conn_send(m.a.conn, SPAN("after"));
    conn_shutdown(m.a.conn);
    conn_shutdown(m.b.conn);
    rig_run(&m.rig);
    assert_true(span_eq(buf_span(&m.b.got), SPAN("before after")));
    /* Closing from within. */
    m.b.close_at = WHAT_DATA;
    conn_inject(m.b.conn, SPAN("x"));
    assert_null(m.b.conn);
    part(&m);
}

/* --- backpressure --- */

static void much(struct meeting *m)
{
    enum { N = LIMIT_SEND_HIGH * 8 };
    uint8_t *bytes = malloc(N);
    assert_non_null(bytes);
    fill_pattern(bytes, N, 0);
    int small = 65536; /* so that the kernel does not take all of it */
    assert_int_equal(setsockopt(m->fds[0], SOL_SOCKET, SO_SNDBUF, &small, sizeof small), 0);
    assert_int_equal(setsockopt(m->fds[1], SOL_SOCKET, SO_RCVBUF, &small, sizeof small), 0);
    conn_pause(m->b.conn);
    for (size_t at = 0; at < N; at += 10000)
        conn_send(m->a.conn, span_of(bytes + at, MIN((size_t)10000, N - at)));
    assert_true(conn_full(m->a.conn));
    free(bytes);
    m->wanted = N;
    loop_start(m->rig.loop, &m->step, 20 * NS_PER_MS);
    rig_run(&m->rig);
    assert_int_equal(m->b.got.n, 0); /* paused */
    assert_int_equal(m->a.drains, 0);
    conn_resume(m->b.conn);
    rig_run(&m->rig);
    assert_int_equal(m->b.got.n, N);
    check_pattern(buf_span(&m->b.got), 0);
    assert_int_equal(m->a.drains, 1);
    assert_false(conn_full(m->a.conn));
}

static void test_much_plain(void **state)
{
    struct meeting m;
    meet(&m, state, false);
    task_init(&m.step, one_turn);
    much(&m);
    part(&m);
}

static void test_much_inside_tls(void **state)
{
    struct meeting m;
    meet(&m, state, true);
    task_init(&m.step, one_turn);
    run_until_secured(&m);
    much(&m);
    part(&m);
}

/* --- closing from within --- */

static void test_closing_from_within_any_event(void **state)
{
    for (int tls = 0; tls < 2; tls++)
        for (int at = tls ? WHAT_SECURED : WHAT_DATA; at <= WHAT_EOF; at++)
            for (int both = 0; both < 2; both++) {
                struct meeting m;
                meet(&m, state, tls);
                m.b.close_at = (enum what)at;
                m.a.close_at = both ? (enum what)at : WHAT_NOTHING;
                if (tls) {
                    task_init(&m.step, one_turn);
                    /* Data, too, before anyone is gone. */
                    if (at != WHAT_SECURED)
                        run_until_secured(&m);
                    m.a.close_at = both ? (enum what)at : WHAT_NOTHING;
                }
                if (!tls || at != WHAT_SECURED) {
                    conn_send(m.a.conn, SPAN("one"));
                    conn_send(m.b.conn, SPAN("two"));
                    conn_shutdown(m.a.conn);
                }
                rig_run(&m.rig);
                assert_null(m.b.conn);
                part(&m);
            }
}

/* What was queued, and close_notify, still arrive. */
static void test_closing_sends_what_was_queued(void **state)
{
    for (int tls = 0; tls < 2; tls++) {
        struct meeting m;
        meet(&m, state, tls);
        if (tls) {
            task_init(&m.step, one_turn);
            run_until_secured(&m);
        }
        conn_send(m.a.conn, SPAN("last words"));
        conn_close(&m.a.conn, STREAM_FLUSH);
        rig_run(&m.rig);
        assert_true(span_eq(buf_span(&m.b.got), SPAN("last words")));
        assert_int_equal(m.b.eofs, 1);
        assert_true(m.b.clean);
        part(&m);
    }
}

static void test_a_reset(void **state)
{
    struct meeting m;
    meet(&m, state, false);
    conn_send(m.b.conn, SPAN("unread"));
    m.wanted = 1;
    conn_send(m.a.conn, SPAN("x"));
    rig_run(&m.rig); /* b has read */
    m.wanted = 0;
    struct linger linger = {.l_onoff = 1};
    assert_int_equal(setsockopt(m.fds[0], SOL_SOCKET, SO_LINGER, &linger, sizeof linger), 0);
    conn_close(&m.a.conn, STREAM_ABORT);
    rig_run(&m.rig);
    assert_int_equal(m.b.fails, 1);
    assert_int_equal(m.b.why, ERR_RESET);
    part(&m);
}

static void test_out_of_memory(void **state)
{
    struct meeting m;
    meet(&m, state, false);
    int fds[2];
    struct conn *c;
    for (long n = 0; n < 2; n++) {
        unsigned before = open_fds();
        tcp_pair(fds);
        mem_fail_after(n);
        enum err e = conn_open(&c, m.rig.loop, fds[0], &events, &m.a);
        mem_fail_after(-1);
        assert_int_equal(e, ERR_NOMEM);
        assert_null(c);
        close(fds[1]);
        assert_int_equal(open_fds(), before); /* the descriptor was taken all the same */
    }
    /* A send that fails is told from the loop. */
    mem_fail_after(0);
    static uint8_t big[1 << 20];
    conn_send(m.a.conn, span_of(big, sizeof big));
    mem_fail_after(-1);
    assert_int_equal(m.a.fails, 0);
    m.b.close_at = WHAT_DATA;
    m.a.close_at = WHAT_FAILED;
    rig_run(&m.rig);
    assert_int_equal(m.a.fails, 1);
    assert_int_equal(m.a.why, ERR_NOMEM);
    part(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(test_plain),
        ON_BOTH(test_tls),
        ON_BOTH(test_tls_that_is_cut),
        ON_BOTH(test_tls_that_ends_in_its_handshake),
        ON_BOTH(test_garbage_instead_of_tls),
        ON_BOTH(test_bytes_that_had_come_before),
        ON_BOTH(test_much_plain),
        ON_BOTH(test_much_inside_tls),
        ON_BOTH(test_closing_from_within_any_event),
        ON_BOTH(test_closing_sends_what_was_queued),
        ON_BOTH(test_a_reset),
        ON_BOTH(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
