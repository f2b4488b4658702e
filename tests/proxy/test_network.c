/* test_network.c: the origin that is the network, against an origin on loopback that does what its script says, on both backends: reuse of connections,
 * retries, failures, and letting go in every state. */
#include "script.h"

#include "proxy/network.h"

/* --- the client leg ---------------------------------------------------------------------------------------------- */

struct net;

struct talk {
    struct net *net;
    struct exchange *x;
    struct buf text, body;
    bool over, pause_at_body;
    unsigned pauses;
    size_t stop_at; /* the loop stops when so much of the body is there */
    enum err error;
    unsigned status;
};

enum { TALKS_MAX = 4 };

struct net {
    struct rig rig;
    struct script script;
    struct resolver *resolver;
    struct tls_client_config *tls;
    struct network *network;
    struct network_map map;
    struct network_upstream beyond;
    struct network_options options;
    struct proxy_worker_env env;
    struct pipeline pipeline;
    struct tap tap;
    uint64_t connects, ids;
    unsigned came_up, failed, ended, wanted_ended;
    struct talk talks[TALKS_MAX];
    size_t talks_n;
    struct connection *client;
    struct task step;
};

static void tap_nothing(struct tap *tap, const struct exchange *x)
{
    (void)tap;
    (void)x;
}

static void tap_event(struct tap *tap, const struct exchange *x, const struct event *event)
{
    (void)tap;
    (void)x;
    (void)event;
}

static void tap_connection(struct tap *tap, const struct connection *c)
{
    struct net *n = container_of(tap, struct net, tap);
    assert_int_equal(c->side, CONNECTION_SERVER);
    if (!c->closed_ns) {
        n->came_up++;
        return;
    }
    n->ended++;
    n->failed += c->connected_ns == 0;
    if (n->wanted_ended && n->ended >= n->wanted_ended)
        loop_stop(n->rig.loop);
}

static const struct tap_ops tap_ops = {tap_nothing, tap_event, tap_event, tap_nothing, tap_connection, NULL};

static void on_response(struct exchange *x, const struct event *event)
{
    struct talk *t = x->client_ctx;
    assert_false(t->over);
    switch (event->part) {
    case PART_HEAD:
        t->status = event->head->status;
        break;
    case PART_BODY:
        assert_int_equal(buf_put(&t->body, event->data), ERR_OK);
        if (t->pause_at_body && t->pauses++ == 0)
            exchange_pause_response(x, true);
        if (t->stop_at && t->body.n >= t->stop_at)
            loop_stop(t->net->rig.loop);
        break;
    case PART_ERROR:
        t->error = event->error;
        assert_int_equal(buf_put_str(&t->text, event->reason), ERR_OK);
        break;
    case PART_INFORMATIONAL:
    case PART_TRAILERS:
    case PART_END:
        break;
    }
    if (event->part == PART_END || event->part == PART_ERROR) {
        t->over = true;
        exchange_destroy(&t->x, ERR_OK, "");
        loop_stop(t->net->rig.loop);
    }
}

static void on_pause(struct exchange *x, bool paused)
{
    (void)x;
    (void)paused;
}

static const struct exchange_client client_ops = {.response = on_response, .pause_request = on_pause};

static void one_turn(struct task *task)
{
    loop_stop(container_of(task, struct net, step)->rig.loop);
}

static void net_open(struct net *n, void **state, const struct step *steps, size_t steps_n)
{
    struct tls_client_options tls = {.insecure = true};
    struct buf problem = BUF_INIT;
    memset(n, 0, sizeof *n);
    rig_open(&n->rig, state, (struct loop_config){.no_connect = false});
    memcpy(n->script.steps, steps, steps_n * sizeof *steps);
    n->script.steps_n = steps_n;
    n->script.listening = listen_loopback(&n->script.address);
    assert_int_equal(pipe(n->script.quit), 0);
    assert_int_equal(pthread_create(&n->script.thread, NULL, play, &n->script), 0);
    assert_int_equal(resolver_create(&n->resolver, 1, NULL), ERR_OK);
    assert_int_equal(tls_client_config_create(&n->tls, &tls, &problem), ERR_OK);
    buf_free(&problem);
    n->options = (struct network_options){.resolver = n->resolver, .tls = n->tls, .connects = &n->connects};
    n->env = (struct proxy_worker_env){.loop = n->rig.loop,
                                       .scheduler = loop_scheduler(n->rig.loop),
                                       .connection_ids = &n->ids};
    n->tap.ops = &tap_ops;
    pipeline_add_tap(&n->pipeline, &n->tap);
    task_init(&n->step, one_turn);
    assert_int_equal(connection_create(&n->client, CONNECTION_CLIENT, 1000), ERR_OK);
}

static void net_start(struct net *n)
{
    assert_int_equal(network_create(&n->network, &n->options, &n->env, &n->pipeline), ERR_OK);
    n->pipeline.origin = network_origin(n->network);
}

/* The script's thread has ended: what it saw may be read. */
static void net_stop(struct net *n)
{
    for (size_t i = 0; i < n->talks_n; i++)
        exchange_destroy(&n->talks[i].x, ERR_CLOSED, "over");
    network_destroy(&n->network);
    if (n->script.quit[1] < 0)
        return;
    close(n->script.quit[1]);
    n->script.quit[1] = -1;
    assert_int_equal(pthread_join(n->script.thread, NULL), 0);
}

static void net_close(struct net *n)
{
    net_stop(n);
    for (size_t i = 0; i < n->talks_n; i++) {
        buf_free(&n->talks[i].text);
        buf_free(&n->talks[i].body);
    }
    for (size_t i = 0; i < STEPS_MAX; i++)
        free(n->script.requests[i]);
    close(n->script.quit[0]);
    close(n->script.listening);
    connection_unref(&n->client);
    tls_client_config_destroy(&n->tls);
    resolver_destroy(&n->resolver);
    loop_stop_task(n->rig.loop, &n->step);
    rig_close(&n->rig);
}

struct request {
    const char *method, *host, *path; /* GET, the script's, "/" */
    unsigned port;
    const char *body; /* none; its length is in a field */
    size_t body_n;
    bool tunnel, open;
    struct origin_facts *facts;
};

static void give(struct talk *t, enum part part, struct span data)
{
    if (t->x)
        exchange_request(t->x, &(struct event){.part = part, .at_ns = clock_mono_ns(), .data = data});
}

static struct talk *ask(struct net *n, const struct request *r)
{
    struct head head = HEAD_INIT;
    assert_true(n->talks_n < TALKS_MAX);
    struct talk *t = &n->talks[n->talks_n++];
    unsigned port = r->port ? r->port : net_port((const struct sockaddr *)&n->script.address);
    size_t body_n = r->body_n ? r->body_n : r->body ? strlen(r->body) : 0;
    char length[32];
    t->net = n;
    head_clear(&head, HEAD_REQUEST);
    assert_int_equal(headers_add(&head.headers, SPAN("Host"), SPAN("origin")), ERR_OK);
    if (r->body) {
        (void)snprintf(length, sizeof length, "%zu", body_n);
        assert_int_equal(headers_add(&head.headers, SPAN("Content-Length"), span_str(length)), ERR_OK);
    }
    assert_int_equal(head_set(&head, &head.method,
                              span_str(r->method   ? r->method
                                       : r->tunnel ? "CONNECT"
                                                   : "GET")),
                     ERR_OK);
    assert_int_equal(head_set(&head, &head.scheme, SPAN("http")), ERR_OK);
    assert_int_equal(head_set(&head, &head.host, span_str(r->host ? r->host : "127.0.0.1")), ERR_OK);
    assert_int_equal(head_set(&head, &head.path, span_str(r->path ? r->path : r->tunnel ? "" : "/")), ERR_OK);
    assert_int_equal(head_set(&head, &head.version, SPAN("HTTP/1.1")), ERR_OK);
    head.port = port;
    assert_int_equal(exchange_create(&t->x, n->talks_n, r->tunnel ? FLOW_TUNNEL : FLOW_HTTP, &n->pipeline, n->client,
                                     &client_ops, t),
                     ERR_OK);
    t->x->facts = r->facts;
    struct event event = {
        .part = PART_HEAD, .at_ns = clock_mono_ns(), .head = &head, .no_body = !r->body && !r->tunnel};
    exchange_request(t->x, &event);
    for (size_t at = 0; at < body_n; at += 10000)
        give(t, PART_BODY, span_of(r->body + at, MIN((size_t)10000, body_n - at)));
    if (!r->open && !r->tunnel)
        give(t, PART_END, SPAN_EMPTY);
    assert_false(t->over); /* never inside of the client's call */
    head_free(&head);
    return t;
}

static void check_answer(const struct talk *t, const char *body)
{
    if (t->error)
        fail_msg("%s: %.*s", err_word(t->error), (int)t->text.n, (const char *)buf_span(&t->text).p);
    assert_true(t->over);
    assert_int_equal(t->status, 200);
    assert_true(span_eq(buf_span(&t->body), span_str(body)));
}

#define OK_ONE     "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\none"
#define OK_TWO     "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\ntwo"
#define OK_CLOSE   "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\none"
#define STEPS(...) (const struct step[]){__VA_ARGS__}, sizeof((const struct step[]){__VA_ARGS__}) / sizeof(struct step)

/* --- reuse ------------------------------------------------------------------------------------------------------- */

static void test_a_connection_is_used_again(void **state)
{
    struct net n;
    net_open(&n, state, STEPS({OK_ONE, THEN_KEEP, 0}, {OK_TWO, THEN_KEEP, 0}));
    net_start(&n);
    struct talk *a = ask(&n, &(struct request){.path = "/a"});
    rig_run(&n.rig);
    check_answer(a, "one");
    struct talk *b = ask(&n, &(struct request){.path = "/b"});
    assert_true(b->x->server_reused && b->x->server->id == 1 && b->x->sent_ns > 0);
    rig_run(&n.rig);
    check_answer(b, "two");
    net_stop(&n);
    assert_int_equal(n.script.connections, 1);
    assert_int_equal(n.connects, 1);
    assert_int_equal(n.came_up, 1);
    assert_int_equal(n.ended, 1);
    assert_true(strncmp(n.script.requests[1], "GET /b HTTP/1.1\r\nHost: origin\r\n", 31) == 0);
    net_close(&n);
}

static void test_two_at_once_have_two_connections(void **state)
{
    struct net n;
    net_open(&n, state, STEPS({OK_CLOSE, THEN_CLOSE, 0}, {OK_CLOSE, THEN_CLOSE, 0}));
    net_start(&n);
    struct talk *a = ask(&n, &(struct request){.path = "/a"}), *b = ask(&n, &(struct request){.path = "/b"});
    while (!a->over || !b->over)
        rig_run(&n.rig);
    check_answer(a, "one");
    check_answer(b, "one");
    assert_int_equal(n.connects, 2);
    net_close(&n);
}

static void test_what_may_not_be_used_again_is_closed(void **state)
{
    static const char *const last[] = {
        OK_CLOSE, "HTTP/1.0 200 OK\r\nContent-Length: 3\r\n\r\none", "HTTP/1.1 200 OK\r\n\r\none", /* until it closes */
    };
    for (size_t i = 0; i < ARRAY_LEN(last); i++) {
        struct net n;
        net_open(&n, state, STEPS({last[i], THEN_CLOSE, 0}, {OK_TWO, THEN_KEEP, 0}));
        net_start(&n);
        struct talk *a = ask(&n, &(struct request){.path = "/a"});
        rig_run(&n.rig);
        check_answer(a, "one");
        struct talk *b = ask(&n, &(struct request){.path = "/b"});
        rig_run(&n.rig);
        check_answer(b, "two");
        assert_int_equal(n.connects, 2);
        net_close(&n);
    }
}

/* An idle connection that its origin ends, or says something on, leaves the pool by itself. */
static void test_idle_connections_that_end(void **state)
{
    static const char *const more[] = {OK_ONE, OK_ONE "HTTP/1.1 408 Request Timeout\r\n\r\n"};
    for (size_t i = 0; i < ARRAY_LEN(more); i++) {
        struct net n;
        net_open(&n, state, STEPS({more[i], THEN_CLOSE, 0}, {OK_TWO, THEN_KEEP, 0}));
        net_start(&n);
        n.wanted_ended = 1;
        struct talk *a = ask(&n, &(struct request){.path = "/a"});
        while (!a->over || n.ended < 1)
            rig_run(&n.rig);
        n.wanted_ended = 0;
        if (i == 0)
            check_answer(a, "one");
        struct talk *b = ask(&n, &(struct request){.path = "/b"});
        rig_run(&n.rig);
        check_answer(b, "two");
        assert_false(n.talks[1].error);
        assert_int_equal(n.connects, 2);
        net_close(&n);
    }
}

/* --- retries ----------------------------------------------------------------------------------------------------- */

struct retry_case {
    const char *name, *method;
    size_t body_n;
    struct step second; /* what happens to the second request on the connection that was used before */
    bool retried;
    enum err error; /* when not */
};

static void check_retry(void **state, const struct retry_case *c)
{
    struct net n;
    char *body = malloc(c->body_n + 1);
    assert_non_null(body);
    memset(body, 'b', c->body_n);
    net_open(&n, state, STEPS({OK_ONE, THEN_KEEP, 0}, c->second, {OK_TWO, THEN_KEEP, 0}));
    net_start(&n);
    struct talk *a = ask(&n, &(struct request){.path = "/a"});
    rig_run(&n.rig);
    check_answer(a, "one");
    struct talk *b =
        ask(&n,
            &(struct request){.path = "/b", .method = c->method, .body = c->body_n ? body : NULL, .body_n = c->body_n});
    rig_run(&n.rig);
    if (c->retried) {
        check_answer(b, "two");
    } else if (b->error != c->error) {
        fail_msg("%s: %s", c->name, err_word(b->error));
    }
    net_stop(&n);
    if (n.connects != (c->retried ? 2 : 1))
        fail_msg("%s: %u connects", c->name, (unsigned)n.connects);
    if (c->retried) {
        /* The same request, all of it. */
        assert_int_equal(n.script.requests_n, 3);
        assert_int_equal(n.script.lengths[1], n.script.lengths[2]);
        assert_memory_equal(n.script.requests[1], n.script.requests[2], n.script.lengths[1]);
    }
    net_close(&n);
    free(body);
}

static void test_retries(void **state)
{
    static const struct retry_case cases[] = {
        {"GET", "GET", 0, {NULL, THEN_CLOSE, 0}, true, ERR_OK},
        {"GET, reset", "GET", 0, {NULL, THEN_RESET, 0}, true, ERR_OK},
        {"HEAD is idempotent", "OPTIONS", 0, {NULL, THEN_CLOSE, 0}, true, ERR_OK},
        {"PUT with a body", "PUT", 30000, {NULL, THEN_CLOSE, 0}, true, ERR_OK},
        {"PUT with a body too large to keep", "PUT", 200000, {NULL, THEN_CLOSE, 0}, false, ERR_CLOSED},
        {"POST", "POST", 3, {NULL, THEN_CLOSE, 0}, false, ERR_CLOSED},
        {"a method that nobody knows", "BREW", 0, {NULL, THEN_CLOSE, 0}, false, ERR_CLOSED},
        {"some of an answer came", "GET", 0, {"HTTP/1.1 2", THEN_CLOSE, 0}, false, ERR_TRUNCATED},
        {"half of a body came",
         "GET",
         0,
         {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", THEN_CLOSE, 0},
         false,
         ERR_TRUNCATED},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check_retry(state, &cases[i]);
}

/* A connection that was made for this request is not tried again; nor is one retried twice. */
static void test_no_retry_where_it_would_not_help(void **state)
{
    struct net n;
    net_open(&n, state, STEPS({NULL, THEN_CLOSE, 0}));
    net_start(&n);
    struct talk *a = ask(&n, &(struct request){.path = "/a"});
    rig_run(&n.rig);
    assert_int_equal(a->error, ERR_CLOSED);
    assert_int_equal(n.connects, 1);
    net_close(&n);
    net_open(&n, state, STEPS({OK_ONE, THEN_KEEP, 0}, {NULL, THEN_CLOSE, 0}, {NULL, THEN_CLOSE, 0}));
    net_start(&n);
    a = ask(&n, &(struct request){.path = "/a"});
    rig_run(&n.rig);
    check_answer(a, "one");
    struct talk *b = ask(&n, &(struct request){.path = "/b"});
    rig_run(&n.rig);
    assert_int_equal(b->error, ERR_CLOSED);
    assert_int_equal(n.connects, 2);
    net_close(&n);
}

/* --- failures ---------------------------------------------------------------------------------------------------- */

/* A port that is ours and refuses. */
static int refusing(unsigned *port)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof address;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&address, &n), 0);
    *port = ntohs(address.sin_port);
    return fd;
}

static void test_failures_to_connect(void **state)
{
    struct net n;
    struct origin_facts facts = {.error = ERR_TLS_VERIFY, .reason = "the certificate has expired"};
    unsigned port;
    int fd = refusing(&port);
    net_open(&n, state, STEPS({OK_ONE, THEN_KEEP, 0}));
    memcpy(&n.env.listening, &n.script.address, sizeof n.env.listening);
    net_start(&n);
    struct talk *refused = ask(&n, &(struct request){.port = port, .method = "POST", .body = "held back meanwhile"});
    rig_run(&n.rig);
    assert_int_equal(refused->error, ERR_REFUSED);
    assert_true(span_search(buf_span(&refused->text), SPAN("refused")) < refused->text.n);
    assert_int_equal(n.failed, 1);
    struct talk *loop = ask(&n, &(struct request){.path = "/"}); /* to our own listener */
    rig_run(&n.rig);
    assert_int_equal(loop->error, ERR_LOOP);
    uint64_t before = n.connects;
    struct talk *known = ask(&n, &(struct request){.path = "/", .facts = &facts});
    rig_run(&n.rig);
    assert_int_equal(known->error, ERR_TLS_VERIFY);
    assert_true(span_eq(buf_span(&known->text), span_str(facts.reason)));
    struct talk *nowhere = ask(&n, &(struct request){.host = "", .port = 80});
    rig_run(&n.rig);
    assert_int_equal(nowhere->error, ERR_PARSE);
    assert_int_equal(n.connects, before); /* those two asked nobody */
    net_stop(&n);
    assert_int_equal(n.script.connections, 0);
    net_close(&n);
    close(fd);
}

static void test_answers_that_are_none(void **state)
{
    static const struct {
        const char *say;
        enum then then;
        enum err error;
    } cases[] = {
        {"SSH-2.0-OpenSSH\r\n", THEN_CLOSE, ERR_PARSE},
        {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\n", THEN_CLOSE, ERR_AMBIGUOUS},
        {"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", THEN_CLOSE, ERR_TRUNCATED},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel", THEN_CLOSE, ERR_TRUNCATED},
        {NULL, THEN_RESET, ERR_RESET},
        {NULL, THEN_CLOSE, ERR_CLOSED},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct net n;
        net_open(&n, state, STEPS({cases[i].say, cases[i].then, 0}));
        net_start(&n);
        struct talk *t = ask(&n, &(struct request){.path = "/"});
        rig_run(&n.rig);
        if (t->error != cases[i].error)
            fail_msg("%s: %s, %.*s", cases[i].say ? cases[i].say : "nothing", err_word(t->error), (int)t->text.n,
                     (const char *)buf_span(&t->text).p);
        assert_int_equal(n.ended, 1);
        net_close(&n);
    }
}

/* --- where it goes ----------------------------------------------------------------------------------------------- */

static void test_connect_to(void **state)
{
    struct net n;
    struct buf problem = BUF_INIT;
    char text[64];
    net_open(&n, state, STEPS({OK_ONE, THEN_KEEP, 0}));
    (void)snprintf(text, sizeof text, "Origin.Invalid:81:127.0.0.1:%u",
                   net_port((const struct sockaddr *)&n.script.address));
    assert_int_equal(network_map_parse(text, &n.map, &problem), ERR_OK);
    n.options.maps = &n.map;
    n.options.maps_n = 1;
    net_start(&n);
    struct talk *t = ask(&n, &(struct request){.host = "origin.invalid", .port = 81});
    rig_run(&n.rig);
    check_answer(t, "one");
    net_close(&n);
    buf_free(&problem);
}

/* A proxy beyond: the whole URL and its password for plain requests, CONNECT for tunnels. */
static void test_upstream(void **state)
{
    struct net n;
    struct buf problem = BUF_INIT;
    char text[64];
    net_open(&n, state,
             STEPS({OK_CLOSE, THEN_CLOSE, 0}, {"HTTP/1.1 200 Connected\r\n\r\nearly ", THEN_KEEP, 0},
                   {"answer", THEN_CLOSE, 0}, {"HTTP/1.1 407 No\r\nContent-Length: 0\r\n\r\n", THEN_CLOSE, 0}));
    (void)snprintf(text, sizeof text, "http://user:pass@127.0.0.1:%u",
                   net_port((const struct sockaddr *)&n.script.address));
    assert_int_equal(network_upstream_parse(text, &n.beyond, &problem), ERR_OK);
    n.options.upstream = &n.beyond;
    net_start(&n);
    struct talk *plain = ask(&n, &(struct request){.host = "a.invalid", .port = 81, .path = "/x"});
    rig_run(&n.rig);
    check_answer(plain, "one");
    struct talk *tunnel = ask(&n, &(struct request){.host = "b.invalid", .port = 22, .tunnel = true});
    give(tunnel, PART_BODY, SPAN("raw hello\n"));
    rig_run(&n.rig);
    check_answer(tunnel, "early answer");
    struct talk *refused = ask(&n, &(struct request){.host = "::1", .port = 22, .tunnel = true});
    rig_run(&n.rig);
    assert_int_equal(refused->error, ERR_REFUSED);
    assert_true(span_search(buf_span(&refused->text), SPAN("the proxy beyond answered CONNECT with 407")) <
                refused->text.n);
    net_stop(&n);
    assert_non_null(strstr(n.script.requests[0], "GET http://a.invalid:81/x HTTP/1.1\r\n"));
    assert_non_null(strstr(n.script.requests[0], "Proxy-Authorization: Basic dXNlcjpwYXNz\r\n"));
    assert_non_null(strstr(n.script.requests[1], "CONNECT b.invalid:22 HTTP/1.1\r\n"));
    assert_non_null(strstr(n.script.requests[1], "Proxy-Authorization: Basic dXNlcjpwYXNz\r\n"));
    assert_string_equal(n.script.requests[2], "raw hello\n");
    assert_non_null(strstr(n.script.requests[3], "CONNECT [::1]:22 HTTP/1.1\r\n"));
    net_close(&n);
    buf_free(&problem);
}

static void test_a_tunnel(void **state)
{
    struct net n;
    net_open(&n, state, STEPS({"hello back\n", THEN_KEEP, 0}, {"bye\n", THEN_WAIT_EOF, 0}));
    net_start(&n);
    struct talk *t = ask(&n, &(struct request){.tunnel = true});
    give(t, PART_BODY, SPAN("raw one\n")); /* before it stands */
    t->stop_at = 11;
    rig_run(&n.rig);
    assert_int_equal(t->status, 200);
    give(t, PART_BODY, SPAN("raw two\n"));
    t->stop_at = 15;
    rig_run(&n.rig);
    give(t, PART_END, SPAN_EMPTY); /* FIN goes through, and comes back */
    rig_run(&n.rig);
    check_answer(t, "hello back\nbye\n");
    net_stop(&n);
    assert_string_equal(n.script.requests[1], "raw two\n");
    net_close(&n);
}

/* --- pauses and letting go --------------------------------------------------------------------------------------- */

static void test_a_client_that_takes_nothing(void **state)
{
    struct net n;
    net_open(&n, state,
             STEPS({"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n0123456789abcdef0123456789abcdef0123456789abcdef",
                    THEN_CLOSE, 0}));
    net_start(&n);
    struct talk *t = ask(&n, &(struct request){.path = "/"});
    t->pause_at_body = true;
    t->stop_at = 1;
    rig_run(&n.rig);
    t->stop_at = 0;
    /* Time for all of it to come: it is held back. */
    loop_start(n.rig.loop, &n.step, 20 * NS_PER_MS);
    rig_run(&n.rig);
    assert_false(t->over);
    assert_in_range(t->body.n, 1, 48);
    exchange_pause_response(t->x, false);
    rig_run(&n.rig);
    assert_int_equal(t->body.n, 48);
    assert_false(t->error);
    net_close(&n);
}

/* The client goes: while dialling, while the answer is awaited, in the middle of it, at any turn; the origin sees the end of the connection. */
static void test_letting_go_in_every_state(void **state)
{
    for (int turns = 0; turns < 12; turns++) {
        struct net n;
        net_open(&n, state, STEPS({"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nsome", THEN_WAIT_EOF, 0}));
        net_start(&n);
        struct talk *t = ask(&n, &(struct request){.path = "/", .method = "PUT", .body = "abc", .open = turns % 2});
        for (int i = 0; i < turns; i++) {
            loop_start(n.rig.loop, &n.step, i > 6 ? NS_PER_MS : 0);
            rig_run(&n.rig);
        }
        assert_non_null(t->x);
        exchange_destroy(&t->x, ERR_CLOSED, "the client is gone");
        for (int i = 0; i < 3; i++) {
            loop_start(n.rig.loop, &n.step, 0);
            rig_run(&n.rig);
        }
        assert_false(t->over); /* nothing is called any more */
        assert_int_equal(n.ended, 1);
        net_close(&n); /* joins the script: it saw an end */
    }
}

static void test_out_of_memory(void **state)
{
    bool untouched = false;
    for (long k = 0; !untouched; k++) {
        struct net n;
        assert_true(k < 200);
        net_open(&n, state, STEPS({OK_ONE, THEN_KEEP, 0}));
        net_start(&n);
        struct talk *t = ask(&n, &(struct request){.path = "/", .method = "PUT", .body = "abc", .open = true});
        uint8_t *room;
        assert_int_equal(buf_reserve(&t->text, 1000, &room), ERR_OK);
        assert_int_equal(buf_reserve(&t->body, 1000, &room), ERR_OK);
        mem_fail_after(k);
        give(t, PART_END, SPAN_EMPTY);
        rig_run(&n.rig);
        mem_fail_after(-1);
        assert_true(t->over);
        untouched = !t->error && k > 20;
        if (!t->error)
            check_answer(t, "one");
        net_close(&n);
    }
}

/* --- probes ------------------------------------------------------------------------------------------------------ */

struct question {
    struct probe probe;
    struct origin_facts facts;
    struct net *net;
    int done;
};

static void on_done(struct probe *probe)
{
    struct question *q = container_of(probe, struct question, probe);
    q->done++;
    loop_stop(q->net->rig.loop);
}

static void probe(struct net *n, struct question *q, unsigned port)
{
    memset(q, 0, sizeof *q);
    q->net = n;
    q->probe = (struct probe){
        .host = SPAN("127.0.0.1"), .port = port, .alpn = SPAN("\x08http/1.1"), .facts = &q->facts, .done = on_done};
    n->pipeline.origin->ops->probe(n->pipeline.origin, &q->probe);
    assert_int_equal(q->done, 0);
}

static void test_probes(void **state)
{
    struct net n;
    struct question q;
    unsigned port;
    int fd = refusing(&port);
    net_open(&n, state, STEPS({"HTTP/1.1 400 Bad Request\r\n\r\n", THEN_CLOSE, 0}));
    net_start(&n);
    const struct origin_ops *ops = n.pipeline.origin->ops;
    probe(&n, &q, port);
    rig_run(&n.rig);
    assert_int_equal(q.done, 1);
    assert_int_equal(q.facts.error, ERR_REFUSED);
    assert_true(strlen(q.facts.reason) > 0);
    /* Dropped while dialling. */
    probe(&n, &q, net_port((const struct sockaddr *)&n.script.address));
    ops->probe_cancel(n.pipeline.origin, &q.probe);
    assert_null(q.probe.state);
    loop_start(n.rig.loop, &n.step, 0);
    rig_run(&n.rig);
    assert_int_equal(q.done, 0);
    ops->probe_cancel(n.pipeline.origin, &q.probe);
    /* Out of memory: an error at once, or in the answer. */
    for (long k = 0; k < 5; k++) {
        mem_fail_after(k);
        probe(&n, &q, port);
        mem_fail_after(-1);
        if (!q.probe.state) {
            assert_int_equal(q.facts.error, ERR_NOMEM);
            continue;
        }
        rig_run(&n.rig);
        assert_int_equal(q.done, 1);
        assert_true(q.facts.error == ERR_NOMEM || q.facts.error == ERR_REFUSED);
    }
    net_close(&n);
    close(fd);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(test_a_connection_is_used_again),
        ON_BOTH(test_two_at_once_have_two_connections),
        ON_BOTH(test_what_may_not_be_used_again_is_closed),
        ON_BOTH(test_idle_connections_that_end),
        ON_BOTH(test_retries),
        ON_BOTH(test_no_retry_where_it_would_not_help),
        ON_BOTH(test_failures_to_connect),
        ON_BOTH(test_answers_that_are_none),
        ON_BOTH(test_connect_to),
        ON_BOTH(test_upstream),
        ON_BOTH(test_a_tunnel),
        ON_BOTH(test_a_client_that_takes_nothing),
        ON_BOTH(test_letting_go_in_every_state),
        ON_BOTH(test_out_of_memory),
        ON_BOTH(test_probes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
