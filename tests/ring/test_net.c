/* test_net.c: addresses, listening, accepting, resolving and connecting. */
#include "tests/ring/support.h"

#include "ring/internal.h"

#include <arpa/inet.h>
#include <sys/resource.h>

/* ---- addresses ---- */

static void test_texts(void **state)
{
    (void)state;
    static const struct {
        const char *literal;
        unsigned port;
        const char *text, *ip;
        bool loopback;
    } cases[] = {
        {"127.0.0.1", 8080, "127.0.0.1:8080", "127.0.0.1", true},
        {"127.255.0.9", 1, "127.255.0.9:1", "127.255.0.9", true},
        {"10.1.2.3", 65535, "10.1.2.3:65535", "10.1.2.3", false},
        {"::1", 80, "[::1]:80", "::1", true},
        {"2001:db8::7", 443, "[2001:db8::7]:443", "2001:db8::7", false},
        {"::ffff:127.0.0.1", 9, "[::ffff:127.0.0.1]:9", "::ffff:127.0.0.1", true},
        {"ffff:ffff:ffff:ffff:ffff:ffff:255.255.255.255", 65535, "[ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]:65535",
         "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff", false},
    };
    char text[NET_ADDRESS_TEXT];
    struct sockaddr_storage a;
    for (unsigned i = 0; i < ARRAY_LEN(cases); i++) {
        assert_true(net_parse_literal(cases[i].literal, cases[i].port, &a));
        net_address_text((struct sockaddr *)&a, text);
        assert_string_equal(text, cases[i].text);
        net_ip_text((struct sockaddr *)&a, text);
        assert_string_equal(text, cases[i].ip);
        assert_int_equal(net_port((struct sockaddr *)&a), cases[i].port);
        assert_int_equal(net_is_loopback((struct sockaddr *)&a), cases[i].loopback);
    }
    memset(&a, 0, sizeof a);
    net_address_text((struct sockaddr *)&a, text);
    assert_string_equal(text, "unknown");
    static const char *const names[] = {"localhost", "127.0.0", "1", "", "::g", "[::1]", "127.0.0.1 ", "a:b"};
    for (unsigned i = 0; i < ARRAY_LEN(names); i++)
        assert_false(net_parse_literal(names[i], 1, &a));
}

static void test_listen(void **state)
{
    (void)state;
    struct sockaddr_storage bound, again;
    int first, second, other;
    assert_int_equal(net_listen(&first, "127.0.0.1", 0, true, &bound), ERR_OK);
    unsigned port = net_port((struct sockaddr *)&bound);
    assert_true(port > 0);
    assert_int_equal(net_listen(&second, "127.0.0.1", port, true, &again), ERR_OK);
    assert_int_equal(net_listen(&other, "127.0.0.1", port, false, &again), ERR_ADDRESS_IN_USE);
    assert_int_equal(other, -1);
    assert_int_equal(net_listen(&other, "no.such.name.invalid", 0, false, &again), ERR_RESOLVE);
    assert_int_equal(net_listen(&other, "127.0.0.1", 65536, false, &again), ERR_RESOLVE);
    assert_int_equal(net_listen(&other, "192.0.2.1", 0, false, &again), ERR_UNREACHABLE);
    close(first);
    close(second);
}

/* ---- accepting ---- */

struct gate {
    struct rig *rig;
    struct listener *listener;
    int fds[64];
    unsigned count, stop_at;
    bool paused;
    size_t room; /* of those with a budget */
};

static void gate_accepted(void *ctx, int fd, const struct sockaddr_storage *peer)
{
    struct gate *g = ctx;
    assert_false(g->paused);
    assert_int_equal(peer->ss_family, AF_INET);
    g->fds[g->count++] = fd;
    if (g->count % 5 == 0) {
        g->paused = true;
        listener_pause(g->listener);
        loop_stop(g->rig->loop);
    }
    if (g->count == g->stop_at)
        loop_stop(g->rig->loop);
}

static const struct listener_events gate_events = {.accepted = gate_accepted};

static void gate_open(struct gate *g, struct rig *rig, struct sockaddr_storage *bound)
{
    g->rig = rig;
    assert_int_equal(listener_open(&g->listener, rig->loop, listen_loopback(bound), &gate_events, g), ERR_OK);
}

static void gate_close(struct gate *g)
{
    listener_close(&g->listener);
    for (unsigned i = 0; i < g->count; i++)
        close(g->fds[i]);
}

static void stop_loop(struct task *task)
{
    struct rig *rig = container_of(task, struct rig, watchdog);
    loop_stop(rig->loop);
}

static void run_for(struct rig *rig, uint64_t ms)
{
    task_init(&rig->watchdog, stop_loop);
    loop_start(rig->loop, &rig->watchdog, ms * NS_PER_MS);
    assert_int_equal(loop_run(rig->loop), ERR_OK);
    loop_stop_task(rig->loop, &rig->watchdog);
    task_init(&rig->watchdog, rig_bark);
}

static size_t gate_room(void *ctx)
{
    const struct gate *g = ctx;
    return g->room - g->count;
}

static const struct listener_events budget_events = {gate_accepted, gate_room};

/* No more are accepted than there is room for, however many wait; more room is seen when a descriptor of the loop is closed. */
static void test_listener_room(void **state)
{
    unsigned before = open_fds();
    struct rig rig;
    rig_open(&rig, state, (struct loop_config){0});
    struct gate g = {.rig = &rig, .room = 3};
    struct sockaddr_storage bound;
    assert_int_equal(listener_open(&g.listener, rig.loop, listen_loopback(&bound), &budget_events, &g), ERR_OK);
    int clients[8];
    for (unsigned i = 0; i < ARRAY_LEN(clients); i++)
        clients[i] = connect_to(&bound);
    unsigned with_clients = open_fds();
    run_for(&rig, 20);
    assert_int_equal(g.count, 3);
    assert_int_equal(open_fds(), with_clients + 3); /* nor does the kernel hold any back for us */
    struct stream *stream;
    static const struct stream_events silent = {0};
    assert_int_equal(stream_open(&stream, rig.loop, g.fds[2], &silent, NULL), ERR_OK);
    g.count = 2;
    g.stop_at = 3;
    stream_close(&stream, STREAM_ABORT);
    rig_run(&rig);
    assert_int_equal(g.count, 3);
    g.room = 4;
    g.stop_at = 4;
    rig_run(&rig); /* and without that, after a short while */
    assert_int_equal(g.count, 4);
    gate_close(&g);
    for (unsigned i = 0; i < ARRAY_LEN(clients); i++)
        close(clients[i]);
    rig_close(&rig);
    assert_int_equal(open_fds(), before);
}

static void test_listener_pause(void **state)
{
    unsigned before = open_fds();
    struct rig rig;
    rig_open(&rig, state, (struct loop_config){0});
    struct gate g = {0};
    struct sockaddr_storage bound;
    gate_open(&g, &rig, &bound);
    int clients[22];
    for (unsigned i = 0; i < 20; i++)
        clients[i] = connect_to(&bound);
    for (unsigned want = 5; want <= 20; want += 5) {
        rig_run(&rig);
        assert_int_equal(g.count, want);
        run_for(&rig, 10); /* paused: nobody comes in */
        assert_int_equal(g.count, want);
        g.paused = false;
        listener_resume(g.listener);
    }
    g.stop_at = 21;
    clients[20] = connect_to(&bound);
    rig_run(&rig);
    assert_int_equal(g.count, 21);
    g.paused = true;
    listener_pause(g.listener);
    clients[21] = connect_to(&bound);
    run_for(&rig, 10);
    gate_close(&g);
    for (unsigned i = 0; i < ARRAY_LEN(clients); i++)
        close(clients[i]);
    rig_close(&rig);
    assert_int_equal(open_fds(), before);
}

/* A worker may end with its loop in the very turn that closes its listener: nobody may be left waiting in the backlog until the loop is
 * destroyed. */
static void test_listener_close_refuses_at_once(void **state)
{
    unsigned before = open_fds();
    struct rig rig;
    rig_open(&rig, state, (struct loop_config){0});
    struct gate g = {.stop_at = 1};
    struct sockaddr_storage bound;
    gate_open(&g, &rig, &bound);
    int client = connect_to(&bound);
    rig_run(&rig);
    assert_int_equal(g.count, 1);
    gate_close(&g);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (const struct sockaddr *)&bound, sizeof(struct sockaddr_in)), -1);
    assert_int_equal(errno, ECONNREFUSED);
    close(fd);
    close(client);
    rig_close(&rig);
    assert_int_equal(open_fds(), before);
}

/* Descriptors run out, come back, and accepting goes on by itself. */
static void test_no_descriptors(void **state)
{
    unsigned before = open_fds();
    struct rig rig;
    int log_pipe[2];
    assert_int_equal(pipe2(log_pipe, O_CLOEXEC | O_NONBLOCK), 0);
    struct log log = {.fd = log_pipe[1], .level = LOG_WARN};
    rig_open(&rig, state, (struct loop_config){.log = &log});
    struct gate g = {.stop_at = 4};
    struct sockaddr_storage bound;
    gate_open(&g, &rig, &bound);
    int clients[4];
    for (unsigned i = 0; i < 4; i++)
        clients[i] = connect_to(&bound);
    struct rlimit limit;
    assert_int_equal(getrlimit(RLIMIT_NOFILE, &limit), 0);
    int lowest = dup(0);
    close(lowest);
    struct rlimit low = {(rlim_t)lowest, limit.rlim_max};
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &low), 0);
    run_for(&rig, 250); /* tries several times */
    assert_int_equal(g.count, 0);
    assert_int_equal(setrlimit(RLIMIT_NOFILE, &limit), 0);
    rig_run(&rig);
    assert_int_equal(g.count, 4);
    gate_close(&g);
    for (unsigned i = 0; i < 4; i++)
        close(clients[i]);
    rig_close(&rig);
    char line[4096];
    ssize_t n = read(log_pipe[0], line, sizeof line);
    assert_true(n > 0);
    assert_ptr_equal(memchr(line, '\n', (size_t)n), line + n - 1); /* said once */
    close(log_pipe[0]);
    close(log_pipe[1]);
    assert_int_equal(open_fds(), before);
}

/* ---- connecting ---- */

struct call {
    struct rig *rig;
    struct dial *dial;
    struct dial_result result;
    unsigned done, asked;
    bool refuse, inside;
};

static void call_done(void *ctx, const struct dial_result *result)
{
    struct call *c = ctx;
    assert_false(c->inside);
    c->dial = NULL;
    c->result = *result;
    c->done++;
    if (result->fd >= 0)
        close(result->fd);
    loop_stop(c->rig->loop);
}

static bool call_allowed(void *ctx, const struct sockaddr *address)
{
    struct call *c = ctx;
    (void)address;
    c->asked++;
    return !c->refuse;
}

static void call_begin(struct call *c, struct resolver *r, const char *host, unsigned port, uint64_t timeout_ms)
{
    struct dial_config config = {
        .host = host, .port = port, .timeout_ms = timeout_ms, .allowed = call_allowed, .done = call_done, .ctx = c};
    c->inside = true;
    assert_int_equal(dial_start(&c->dial, c->rig->loop, r, &config), ERR_OK);
    c->inside = false;
}

static unsigned free_port(void)
{
    struct sockaddr_storage bound;
    close(listen_loopback(&bound));
    return net_port((struct sockaddr *)&bound);
}

static void test_dial_literal(void **state)
{
    unsigned before = open_fds();
    struct rig rig;
    rig_open(&rig, state, (struct loop_config){0});
    struct sockaddr_storage bound;
    int listening = listen_loopback(&bound);
    struct call c = {.rig = &rig};
    call_begin(&c, NULL, "127.0.0.1", net_port((struct sockaddr *)&bound), 0);
    rig_run(&rig);
    assert_int_equal(c.result.error, ERR_OK);
    assert_string_equal(c.result.reason, "");
    assert_true(c.result.resolved_ns && c.result.connected_ns >= c.result.resolved_ns);
    assert_false(c.result.resolved_fresh);
    assert_memory_equal(&c.result.address, &bound, sizeof(struct sockaddr_in));
    assert_int_equal(c.asked, 1);

    c.refuse = true;
    call_begin(&c, NULL, "127.0.0.1", net_port((struct sockaddr *)&bound), 0);
    rig_run(&rig);
    assert_int_equal(c.result.error, ERR_LOOP);
    c.refuse = false;

    call_begin(&c, NULL, "127.0.0.1", free_port(), 0);
    rig_run(&rig);
    assert_int_equal(c.result.error, ERR_REFUSED);
    assert_non_null(strstr(c.result.reason, "connect to 127.0.0.1:"));
    assert_non_null(strstr(c.result.reason, "refused"));
    assert_int_equal(c.result.fd, -1);

    call_begin(&c, NULL, "name.example", 80, 0);
    rig_run(&rig);
    assert_int_equal(c.result.error, ERR_RESOLVE);
    close(listening);
    rig_close(&rig);
    assert_int_equal(open_fds(), before);
}

static void test_dial_may_not(void **state)
{
    struct rig rig;
    rig_open(&rig, state, (struct loop_config){.no_connect = true});
    struct call c = {.rig = &rig};
    struct dial_config config = {.host = "127.0.0.1", .port = 80, .done = call_done, .ctx = &c};
    assert_int_equal(dial_start(&c.dial, rig.loop, NULL, &config), ERR_PERMISSION);
    assert_null(c.dial);
    /* All else works under the restrictions. */
    struct gate g = {.stop_at = 1};
    struct sockaddr_storage bound;
    gate_open(&g, &rig, &bound);
    int fd = connect_to(&bound);
    rig_run(&rig);
    gate_close(&g);
    close(fd);
    rig_close(&rig);
}

/* A listener whose queue is full answers no more: the next connection hangs as an unreachable host would. */
static int full_listener(struct sockaddr_storage *bound, int fillers[8])
{
    int fd = listen_loopback(bound);
    assert_int_equal(listen(fd, 0), 0);
    for (unsigned i = 0; i < 8; i++) {
        fillers[i] = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(fillers[i], (struct sockaddr *)bound, sizeof(struct sockaddr_in));
    }
    return fd;
}

static void test_dial_timeout_and_cancel(void **state)
{
    unsigned before = open_fds();
    struct rig rig;
    rig_open(&rig, state, (struct loop_config){0});
    struct sockaddr_storage bound;
    int fillers[8], listening = full_listener(&bound, fillers);
    unsigned port = net_port((struct sockaddr *)&bound);
    struct call c = {.rig = &rig};
    uint64_t start = clock_mono_ns();
    call_begin(&c, NULL, "127.0.0.1", port, 60);
    rig_run(&rig);
    assert_int_equal(c.result.error, ERR_TIMEOUT);
    assert_non_null(strstr(c.result.reason, "timed out"));
    assert_true(clock_mono_ns() - start >= 60 * NS_PER_MS);

    call_begin(&c, NULL, "127.0.0.1", port, 0);
    dial_cancel(&c.dial); /* before anything happened */
    assert_null(c.dial);
    dial_cancel(&c.dial);
    call_begin(&c, NULL, "127.0.0.1", port, 0);
    run_for(&rig, 20);
    dial_cancel(&c.dial); /* while connecting */
    run_for(&rig, 20);
    call_begin(&c, NULL, "127.0.0.1", port, 0);
    run_for(&rig, 5);
    dial_cancel(&c.dial); /* and the loop ends at once */
    assert_int_equal(c.done, 1);
    rig_close(&rig);
    close(listening);
    for (unsigned i = 0; i < ARRAY_LEN(fillers); i++)
        close(fillers[i]);
    assert_int_equal(open_fds(), before);
}

static void test_dial_name(void **state)
{
    unsigned before = open_fds();
    struct rig rig;
    rig_open(&rig, state, (struct loop_config){0});
    struct resolver *r;
    assert_int_equal(resolver_create(&r, 2, NULL), ERR_OK);
    struct sockaddr_storage bound;
    int listening = listen_loopback(&bound);
    unsigned port = net_port((struct sockaddr *)&bound);
    struct call c = {.rig = &rig};
    call_begin(&c, r, "localhost", port, 0);
    rig_run(&rig);
    assert_int_equal(c.result.error, ERR_OK);
    assert_true(c.result.resolved_fresh);
    assert_int_equal(resolver_lookups(r), 1);
    call_begin(&c, r, "localhost", port, 0);
    rig_run(&rig);
    assert_int_equal(c.result.error, ERR_OK);
    assert_false(c.result.resolved_fresh);
    assert_int_equal(resolver_lookups(r), 1);
    for (unsigned i = 1; i <= 2; i++) { /* failures are not remembered */
        call_begin(&c, r, "no.such.name.invalid", port, 0);
        rig_run(&rig);
        assert_int_equal(c.result.error, ERR_RESOLVE);
        assert_non_null(strstr(c.result.reason, "no.such.name.invalid: "));
        assert_int_equal(c.result.resolved_ns, 0);
        assert_int_equal(resolver_lookups(r), 1 + i);
    }
    for (unsigned i = 0; i < 30; i++) { /* cancelled at any moment of the look-up, some when the loop is gone */
        char name[32];
        snprintf(name, sizeof name, "n%u.invalid", i / 2);
        call_begin(&c, r, name, port, 0);
        if (i % 3)
            run_for(&rig, i % 2);
        dial_cancel(&c.dial);
    }
    close(listening);
    rig_close(&rig);
    resolver_destroy(&r);
    assert_null(r);
    assert_int_equal(open_fds(), before);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_texts),
        cmocka_unit_test(test_listen),
        ON_BOTH(test_listener_pause),
        ON_BOTH(test_listener_close_refuses_at_once),
        ON_BOTH(test_listener_room),
        ON_BOTH(test_no_descriptors),
        ON_BOTH(test_dial_literal),
        ON_BOTH(test_dial_may_not),
        ON_BOTH(test_dial_timeout_and_cancel),
        ON_BOTH(test_dial_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
