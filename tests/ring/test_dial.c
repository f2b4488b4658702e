/* test_dial.c: Happy Eyeballs and the resolver, with a getaddrinfo() of our own for names below .test, so that what they resolve to and
 * how long that takes is ours to say. */
#include "tests/ring/support.h"

#include "ring/backend.h"
#include "ring/internal.h"

#include <arpa/inet.h>
#include <dlfcn.h>
#include <netdb.h>

/* ---- names below .test ---- */

/* What a name resolves to is in it: "4a-6-4b.test" is 127.0.0.1, ::1, 127.0.0.2. "slow" waits for the gate to open. */
static pthread_mutex_t gate_mutex = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_opens = PTHREAD_COND_INITIALIZER;
static bool gate_open;

static void gate_set(bool open)
{
    pthread_mutex_lock(&gate_mutex);
    gate_open = open;
    pthread_cond_broadcast(&gate_opens);
    pthread_mutex_unlock(&gate_mutex);
}

static struct addrinfo *fake_address(const char *piece, struct addrinfo *next)
{
    struct {
        struct addrinfo info;
        struct sockaddr_storage address;
    } *made = calloc(1, sizeof *made);
    assert_non_null(made);
    char text[32];
    if (piece[0] == '6')
        snprintf(text, sizeof text, "::1");
    else
        snprintf(text, sizeof text, "127.0.0.%c", '1' + (piece[1] - 'a'));
    assert_true(net_parse_literal(text, 0, &made->address));
    made->info.ai_family = made->address.ss_family;
    made->info.ai_addr = (struct sockaddr *)&made->address;
    made->info.ai_addrlen = net_address_length(made->info.ai_addr);
    made->info.ai_next = next;
    made->info.ai_protocol = -77; /* ours to free */
    return &made->info;
}

static struct addrinfo *fake_addresses(const char *name)
{
    const char *next = strchr(name, '-');
    return fake_address(name, next ? fake_addresses(next + 1) : NULL);
}

int getaddrinfo(const char *name, const char *service, const struct addrinfo *hints, struct addrinfo **out)
{
    const char *dot = name ? strrchr(name, '.') : NULL;
    if (!dot || strcmp(dot, ".test") != 0) {
        int (*real)(const char *, const char *, const struct addrinfo *, struct addrinfo **);
        *(void **)&real = dlsym(RTLD_NEXT, "getaddrinfo");
        return real(name, service, hints, out);
    }
    if (strncmp(name, "slow", 4) == 0) {
        pthread_mutex_lock(&gate_mutex);
        while (!gate_open)
            pthread_cond_wait(&gate_opens, &gate_mutex);
        pthread_mutex_unlock(&gate_mutex);
        name = "4a.test";
    }
    if (strncmp(name, "none", 4) == 0)
        return EAI_NONAME;
    *out = fake_addresses(name);
    return 0;
}

void freeaddrinfo(struct addrinfo *list)
{
    if (list && list->ai_protocol != -77) {
        void (*real)(struct addrinfo *);
        *(void **)&real = dlsym(RTLD_NEXT, "freeaddrinfo");
        real(list);
        return;
    }
    while (list) {
        struct addrinfo *next = list->ai_next;
        free(list);
        list = next;
    }
}

/* ---- calls ---- */

struct call {
    struct rig *rig;
    struct dial *dial;
    struct dial_result result;
    unsigned done, stop_at;
    char tried[256]; /* the addresses, in order */
    const char *forbidden;
};

static void call_done(void *ctx, const struct dial_result *result)
{
    struct call *c = ctx;
    c->dial = NULL;
    c->result = *result;
    if (result->fd >= 0)
        close(result->fd);
    if (++c->done >= c->stop_at)
        loop_stop(c->rig->loop);
}

static bool call_allowed(void *ctx, const struct sockaddr *address)
{
    struct call *c = ctx;
    char ip[NET_ADDRESS_TEXT];
    net_ip_text(address, ip);
    size_t n = strlen(c->tried);
    snprintf(c->tried + n, sizeof c->tried - n, "%s%s", n ? " " : "", ip);
    return !c->forbidden || strcmp(c->forbidden, ip) != 0;
}

static void call_start(struct call *c, struct resolver *r, const char *host, unsigned port, uint64_t timeout_ms)
{
    struct dial_config config = {
        .host = host, .port = port, .timeout_ms = timeout_ms, .allowed = call_allowed, .done = call_done, .ctx = c};
    c->tried[0] = 0;
    assert_int_equal(dial_start(&c->dial, c->rig->loop, r, &config), ERR_OK);
}

static void call(struct call *c, struct resolver *r, const char *host, unsigned port, uint64_t timeout_ms)
{
    call_start(c, r, host, port, timeout_ms);
    rig_run(c->rig);
}

struct place {
    struct rig rig;
    struct resolver *resolver;
    int listening;
    unsigned port;
};

/* A listener on `host` alone; the same port of other loopback addresses refuses. */
static void place_open(struct place *p, void **state, const char *host)
{
    rig_open(&p->rig, state, (struct loop_config){0});
    assert_int_equal(resolver_create(&p->resolver, 2, NULL), ERR_OK);
    struct sockaddr_storage bound;
    assert_int_equal(net_listen(&p->listening, host, 0, false, &bound), ERR_OK);
    p->port = net_port((struct sockaddr *)&bound);
}

static void place_close(struct place *p)
{
    rig_close(&p->rig);
    resolver_destroy(&p->resolver);
    close(p->listening);
}

/* A listener whose queue is full: connecting hangs. */
static void place_fill(const struct place *p, int fillers[8])
{
    struct sockaddr_storage bound;
    socklen_t length = sizeof bound;
    assert_int_equal(getsockname(p->listening, (struct sockaddr *)&bound, &length), 0);
    assert_int_equal(listen(p->listening, 0), 0);
    for (unsigned i = 0; i < 8; i++) {
        fillers[i] = socket(bound.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
        (void)connect(fillers[i], (struct sockaddr *)&bound, length);
    }
}

/* ---- tests ---- */

static void test_next_address_after_refusal(void **state)
{
    struct place p;
    place_open(&p, state, "127.0.0.1");
    struct call c = {.rig = &p.rig};
    call(&c, p.resolver, "6-4a.test", p.port, 0);
    assert_int_equal(c.result.error, ERR_OK);
    assert_string_equal(c.tried, "::1 127.0.0.1");
    assert_true(c.result.resolved_fresh);
    assert_int_equal(((struct sockaddr *)&c.result.address)->sa_family, AF_INET);
    /* Families take turns, beginning with the first one's; the last address is the one that answers. */
    call(&c, p.resolver, "4c-4b-6-4d-4a.test", p.port, 0);
    assert_int_equal(c.result.error, ERR_OK);
    assert_string_equal(c.tried, "127.0.0.3 ::1 127.0.0.2 127.0.0.4 127.0.0.1");
    place_close(&p);
}

static void test_stagger(void **state)
{
    struct place p;
    place_open(&p, state, "127.0.0.2");
    int fillers[8];
    place_fill(&p, fillers);
    int good = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_storage address;
    assert_true(net_parse_literal("127.0.0.1", p.port, &address));
    static const int on = 1;
    setsockopt(good, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    assert_int_equal(bind(good, (struct sockaddr *)&address, sizeof(struct sockaddr_in)), 0);
    assert_int_equal(listen(good, 10), 0);
    struct call c = {.rig = &p.rig};
    uint64_t start = clock_mono_ns();
    call(&c, p.resolver, "4b-4a.test", p.port, 0);
    assert_int_equal(c.result.error, ERR_OK);
    assert_true(clock_mono_ns() - start >= LIMIT_CONNECT_STAGGER_MS * NS_PER_MS);
    assert_memory_equal(&c.result.address, &address, sizeof(struct sockaddr_in));
    /* The first one hangs, the second is refused: time decides, and says so. */
    close(good);
    call(&c, p.resolver, "4b-4a.test", p.port, 400);
    assert_int_equal(c.result.error, ERR_TIMEOUT);
    for (unsigned i = 0; i < ARRAY_LEN(fillers); i++)
        close(fillers[i]);
    place_close(&p);
}

static void test_failures(void **state)
{
    struct place p;
    place_open(&p, state, "127.0.0.1");
    struct call c = {.rig = &p.rig};
    call(&c, p.resolver, "6-4b-4c.test", p.port, 0);
    assert_int_equal(c.result.error, ERR_REFUSED);
    assert_int_equal(c.result.fd, -1);
    c.forbidden = "127.0.0.1";
    call(&c, p.resolver, "6-4a.test", p.port, 0);
    assert_int_equal(c.result.error, ERR_LOOP);
    assert_string_equal(c.tried, "::1 127.0.0.1");
    call(&c, p.resolver, "none.test", p.port, 0);
    assert_int_equal(c.result.error, ERR_RESOLVE);
    assert_non_null(strstr(c.result.reason, "none.test: "));
    /* A long name is cut, not overrun. */
    char name[301];
    memset(name, 'x', sizeof name);
    memcpy(name + sizeof name - 6, ".test", 6);
    memcpy(name, "none", 4);
    call(&c, p.resolver, name, p.port, 0);
    assert_int_equal(c.result.error, ERR_RESOLVE);
    assert_true(strlen(c.result.reason) < sizeof c.result.reason);
    place_close(&p);
}

static void test_slow_look_up(void **state)
{
    struct place p;
    place_open(&p, state, "127.0.0.1");
    gate_set(false);
    struct call c = {.rig = &p.rig};
    call(&c, p.resolver, "slow.test", p.port, 30);
    assert_int_equal(c.result.error, ERR_TIMEOUT);
    assert_int_equal(c.result.resolved_ns, 0);
    /* Equal names are asked for once. Two of these give up before there is an answer. */
    struct call calls[6];
    for (unsigned i = 0; i < ARRAY_LEN(calls); i++) {
        calls[i] = (struct call){.rig = &p.rig, .stop_at = 1};
        call_start(&calls[i], p.resolver, "slow.test", p.port, 0);
    }
    struct call other = {.rig = &p.rig};
    call(&other, p.resolver, "4a.test", p.port, 0); /* the second thread is free for it */
    assert_int_equal(other.result.error, ERR_OK);
    dial_cancel(&calls[0].dial);
    dial_cancel(&calls[3].dial);
    gate_set(true);
    for (unsigned tries = 0; tries < 8; tries++) {
        unsigned done = 0;
        for (unsigned i = 0; i < ARRAY_LEN(calls); i++)
            done += calls[i].done;
        if (done == 4)
            break;
        rig_run(&p.rig);
    }
    for (unsigned i = 0; i < ARRAY_LEN(calls); i++) {
        assert_int_equal(calls[i].done, i != 0 && i != 3);
        assert_int_equal(calls[i].result.error, ERR_OK);
    }
    assert_int_equal(resolver_lookups(p.resolver), 2);
    place_close(&p);
}

/* The answer is on its way to a loop that is destroyed without running again. */
static void test_answer_to_nobody(void **state)
{
    struct place p;
    place_open(&p, state, "127.0.0.1");
    gate_set(false);
    struct call c = {.rig = &p.rig}, other = {.rig = &p.rig};
    call_start(&c, p.resolver, "slow.test", p.port, 0);
    call(&other, p.resolver, "4a.test", p.port, 0);
    gate_set(true);
    struct lookup_result found;
    for (unsigned i = 0; i < 1000 && !resolver_cached(p.resolver, "slow.test", &found); i++)
        usleep(1000);
    usleep(5000);
    dial_cancel(&c.dial);
    assert_int_equal(c.done, 0);
    place_close(&p);
}

/* The cache is bounded, and forgets the oldest. */
static void test_cache_is_bounded(void **state)
{
    struct place p;
    place_open(&p, state, "127.0.0.1");
    struct call c = {.rig = &p.rig};
    c.forbidden = "127.0.0.1";
    char name[32];
    for (unsigned i = 0; i < LIMIT_RESOLVER_CACHE + 10; i++) {
        snprintf(name, sizeof name, "4a.%u.test", 4000 + i);
        call(&c, p.resolver, name, p.port, 0);
    }
    struct lookup_result found;
    assert_false(resolver_cached(p.resolver, "4a.4000.test", &found));
    assert_true(resolver_cached(p.resolver, name, &found));
    assert_int_equal(resolver_lookups(p.resolver), LIMIT_RESOLVER_CACHE + 10);
    place_close(&p);
}

static void test_out_of_memory(void **state)
{
    struct place p;
    place_open(&p, state, "127.0.0.1");
    struct call c = {.rig = &p.rig};
    struct dial_config config = {.host = "127.0.0.1", .port = p.port, .done = call_done, .ctx = &c};
    for (long n = 0; n < 2; n++) {
        mem_fail_after(n);
        assert_int_equal(dial_start(&c.dial, p.rig.loop, p.resolver, &config), ERR_NOMEM);
        mem_fail_after(-1);
    }
    assert_int_equal(dial_start(&c.dial, p.rig.loop, p.resolver, &config), ERR_OK);
    mem_fail_after(0);
    assert_int_equal(loop_run(p.rig.loop), ERR_OK);
    mem_fail_after(-1);
    assert_int_equal(c.result.error, ERR_NOMEM);
    place_close(&p);
}

/* The kernel itself refuses, should the program ever try. */
static void test_kernel_refuses(void **state)
{
    struct rig rig;
    rig_open(&rig, state, (struct loop_config){.no_connect = true});
    if (rig.backend != LOOP_IO_URING) {
        rig_close(&rig);
        skip();
    }
    rig.loop->no_connect = false;
    struct sockaddr_storage bound;
    int listening = listen_loopback(&bound);
    struct call c = {.rig = &rig};
    call(&c, NULL, "127.0.0.1", net_port((struct sockaddr *)&bound), 0);
    assert_int_equal(c.result.error, ERR_PERMISSION);
    close(listening);
    rig_close(&rig);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(test_next_address_after_refusal),
        ON_BOTH(test_stagger),
        ON_BOTH(test_failures),
        ON_BOTH(test_slow_look_up),
        ON_BOTH(test_answer_to_nobody),
        ON_BOTH(test_cache_is_bounded),
        ON_BOTH(test_out_of_memory),
        {"test_kernel_refuses, io_uring", test_kernel_refuses, NULL, NULL, (void *)&on_io_uring},
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
