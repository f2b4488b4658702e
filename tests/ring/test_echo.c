/* test_echo.c: many connections through a listener and back, with plenty of buffers and with hardly any. */
#include "tests/ring/support.h"

enum { CLIENTS_MAX = 200, CHUNK = 3000, ROUNDS = 20 };

struct echo_server;

struct echoed {
    struct echo_server *server;
    struct stream *stream;
};

struct client {
    struct echo_server *server;
    struct stream *stream;
    uint64_t sent, received;
    unsigned rounds;
};

struct echo_server {
    struct rig rig;
    struct listener *listener;
    struct echoed echoed[CLIENTS_MAX];
    struct client clients[CLIENTS_MAX];
    unsigned accepted, wanted, finished, ended;
};

static void echoed_data(void *ctx, struct span in)
{
    struct echoed *e = ctx;
    assert_int_equal(stream_send(e->stream, in), ERR_OK);
}

static void server_maybe_done(struct echo_server *s)
{
    if (s->finished == s->wanted && s->ended == s->wanted) {
        listener_close(&s->listener);
        loop_stop(s->rig.loop);
    }
}

static void echoed_eof(void *ctx)
{
    struct echoed *e = ctx;
    stream_close(&e->stream, STREAM_FLUSH);
    e->server->ended++;
    server_maybe_done(e->server);
}

static void never_drained(void *ctx)
{
    (void)ctx;
}

static void never_failed(void *ctx, enum err why)
{
    (void)ctx;
    fail_msg("failed: %s", err_text(why));
}

static const struct stream_events echoed_events = {echoed_data, echoed_eof, never_drained, never_failed};

static void server_accepted(void *ctx, int fd, const struct sockaddr_storage *peer)
{
    struct echo_server *s = ctx;
    assert_true(net_is_loopback((const struct sockaddr *)peer));
    struct echoed *e = &s->echoed[s->accepted++];
    e->server = s;
    assert_int_equal(stream_open(&e->stream, s->rig.loop, fd, &echoed_events, e), ERR_OK);
}

static void client_say(struct client *c)
{
    uint8_t bytes[CHUNK];
    fill_pattern(bytes, sizeof bytes, c->sent);
    c->sent += sizeof bytes;
    assert_int_equal(stream_send(c->stream, span_of(bytes, sizeof bytes)), ERR_OK);
}

static void client_data(void *ctx, struct span in)
{
    struct client *c = ctx;
    check_pattern(in, c->received);
    c->received += in.n;
    if (c->received < c->sent)
        return;
    if (++c->rounds < ROUNDS)
        client_say(c);
    else
        stream_shutdown(c->stream);
}

static void client_eof(void *ctx)
{
    struct client *c = ctx;
    assert_int_equal(c->received, (uint64_t)ROUNDS * CHUNK);
    stream_close(&c->stream, STREAM_FLUSH);
    c->server->finished++;
    server_maybe_done(c->server);
}

static const struct stream_events client_events = {client_data, client_eof, never_drained, never_failed};
static const struct listener_events server_events = {.accepted = server_accepted};

static void echo(void **state, struct loop_config config, unsigned clients, struct loop_counters *counters)
{
    unsigned before = open_fds();
    struct echo_server *s = mem_new(1, sizeof *s);
    rig_open(&s->rig, state, config);
    s->wanted = clients;
    struct sockaddr_storage bound;
    int fd = listen_loopback(&bound);
    assert_int_equal(listener_open(&s->listener, s->rig.loop, fd, &server_events, s), ERR_OK);
    for (unsigned i = 0; i < clients; i++) {
        struct client *c = &s->clients[i];
        c->server = s;
        assert_int_equal(stream_open(&c->stream, s->rig.loop, connect_to(&bound), &client_events, c), ERR_OK);
        client_say(c);
    }
    rig_run(&s->rig);
    loop_counters(s->rig.loop, counters);
    assert_int_equal(counters->accepts, clients);
    assert_int_equal(counters->recv_bytes, 2ull * clients * ROUNDS * CHUNK);
    assert_int_equal(counters->send_bytes, 2ull * clients * ROUNDS * CHUNK);
    rig_close(&s->rig);
    mem_free(s);
    assert_int_equal(open_fds(), before);
}

static void test_few(void **state)
{
    struct loop_counters counters;
    echo(state, (struct loop_config){0}, 5, &counters);
}

static void test_many(void **state)
{
    struct loop_counters counters;
    echo(state, (struct loop_config){0}, CLIENTS_MAX, &counters);
}

/* Taking "no buffer" for the end of the stream would cut these off. */
static void test_four_buffers(void **state)
{
    struct loop_counters counters;
    echo(state, (struct loop_config){.recv_buffers = 4, .recv_buffer_bytes = 512}, CLIENTS_MAX, &counters);
    if (*(enum loop_backend *)*state == LOOP_IO_URING)
        assert_true(counters.starved > 0);
}

/* A full completion queue ends multishot operations in the middle. */
static void test_tiny_completion_queue(void **state)
{
    struct loop_counters counters;
    echo(state, (struct loop_config){.recv_buffer_bytes = 1024, .completions = 8}, CLIENTS_MAX, &counters);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(test_few),
        ON_BOTH(test_many),
        ON_BOTH(test_four_buffers),
        ON_BOTH(test_tiny_completion_queue),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
