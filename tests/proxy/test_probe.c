/* test_probe.c: what the network origin finds out of a TLS origin before the client's handshake, and that its connection is not wasted. The origin
 * lives in the same loop. */
#include "tests/ring/support.h"
#include "tests/tls/pair.h"

#include "proxy/conn.h"
#include "proxy/network.h"

struct served {
    struct set *set;
    struct conn *conn;
    struct buf got;
};

enum { SERVED_MAX = 8 };

struct set {
    struct rig rig;
    struct world *world;
    struct listener *listener;
    struct sockaddr_storage address;
    struct served served[SERVED_MAX];
    size_t served_n;
    const char *origin_alpn, *certificate_name;
    struct span offer; /* the last probe's */

    struct resolver *resolver;
    struct network *network;
    struct network_options options;
    struct proxy_worker_env env;
    struct pipeline pipeline;
    uint64_t connects, ids;

    struct probe probe;
    struct origin_facts facts;
    int done;
    struct connection *client;
    struct exchange *x;
    struct buf body;
    enum err error;
};

/* --- the origin --- */

static void served_end(struct served *s)
{
    conn_close(&s->conn, STREAM_FLUSH);
}

static void on_secured(void *ctx)
{
    (void)ctx;
}

static void on_data(void *ctx, struct span plain)
{
    struct served *s = ctx;
    assert_int_equal(buf_put(&s->got, plain), ERR_OK);
    if (span_search(buf_span(&s->got), SPAN("\r\n\r\n")) < s->got.n) {
        buf_clear(&s->got);
        conn_send(s->conn, SPAN("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nsecret"));
    }
}

static void on_eof(void *ctx, bool clean)
{
    (void)clean;
    served_end(ctx);
}

static void on_failed(void *ctx, enum err why, const char *reason)
{
    (void)why;
    (void)reason;
    served_end(ctx);
}

static const struct conn_events served_events = {on_secured, on_data, on_eof, on_secured, on_failed};

static void on_accepted(void *ctx, int fd, const struct sockaddr_storage *peer)
{
    struct set *set = ctx;
    struct leaf *leaf;
    (void)peer;
    assert_true(set->served_n < SERVED_MAX);
    struct served *s = &set->served[set->served_n++];
    s->set = set;
    assert_int_equal(conn_open(&s->conn, set->rig.loop, fd, &served_events, s), ERR_OK);
    assert_int_equal(leaf_get(set->world->leaves, span_str(set->certificate_name), SPAN_EMPTY, &leaf), ERR_OK);
    assert_int_equal(conn_accept_tls(s->conn, set->world->server, leaf, span_str(set->origin_alpn)), ERR_OK);
    leaf_unref(&leaf);
}

static const struct listener_events listener_events = {.accepted = on_accepted};

/* --- the client leg --- */

static void on_done(struct probe *probe)
{
    struct set *set = container_of(probe, struct set, probe);
    set->done++;
    loop_stop(set->rig.loop);
}

static void on_response(struct exchange *x, const struct event *event)
{
    struct set *set = x->client_ctx;
    if (event->part == PART_BODY)
        assert_int_equal(buf_put(&set->body, event->data), ERR_OK);
    if (event->part != PART_END && event->part != PART_ERROR)
        return;
    set->error = event->part == PART_ERROR ? event->error : ERR_OK;
    exchange_destroy(&set->x, ERR_OK, "");
    loop_stop(set->rig.loop);
}

static void on_pause(struct exchange *x, bool paused)
{
    (void)x;
    (void)paused;
}

static const struct exchange_client client_ops = {.response = on_response, .pause_request = on_pause};

static void set_open(struct set *set, void **state, const char *origin_alpn, const char *certificate_name)
{
    void *world;
    memset(set, 0, sizeof *set);
    rig_open(&set->rig, state, (struct loop_config){.no_connect = false});
    assert_int_equal(world_open(&world), 0);
    set->world = world;
    set->origin_alpn = origin_alpn;
    set->certificate_name = certificate_name;
    int fd = listen_loopback(&set->address);
    assert_int_equal(listener_open(&set->listener, set->rig.loop, fd, &listener_events, set), ERR_OK);
    assert_int_equal(resolver_create(&set->resolver, 1, NULL), ERR_OK);
    set->options =
        (struct network_options){.resolver = set->resolver, .tls = set->world->client, .connects = &set->connects};
    set->env = (struct proxy_worker_env){.loop = set->rig.loop,
                                         .scheduler = loop_scheduler(set->rig.loop),
                                         .connection_ids = &set->ids};
    assert_int_equal(network_create(&set->network, &set->options, &set->env, &set->pipeline), ERR_OK);
    set->pipeline.origin = network_origin(set->network);
    assert_int_equal(connection_create(&set->client, CONNECTION_CLIENT, 1000), ERR_OK);
}

static void set_close(struct set *set)
{
    void *world = set->world;
    exchange_destroy(&set->x, ERR_CLOSED, "");
    network_destroy(&set->network);
    resolver_destroy(&set->resolver);
    listener_close(&set->listener);
    for (size_t i = 0; i < set->served_n; i++) {
        conn_close(&set->served[i].conn, STREAM_ABORT);
        buf_free(&set->served[i].got);
    }
    connection_unref(&set->client);
    buf_free(&set->facts.names);
    buf_free(&set->body);
    rig_close(&set->rig);
    assert_int_equal(world_close(&world), 0);
}

static void ask_probe(struct set *set, const char *sni, struct span offer)
{
    set->offer = offer;
    buf_free(&set->facts.names);
    memset(&set->facts, 0, sizeof set->facts);
    set->done = 0;
    set->probe = (struct probe){.host = SPAN("127.0.0.1"),
                                .port = net_port((const struct sockaddr *)&set->address),
                                .sni = span_str(sni),
                                .alpn = offer,
                                .facts = &set->facts,
                                .done = on_done};
    set->pipeline.origin->ops->probe(set->pipeline.origin, &set->probe);
    assert_int_equal(set->done, 0);
    rig_run(&set->rig);
    assert_int_equal(set->done, 1);
}

/* As the client leg asks inside its tunnel to 127.0.0.1, with the SNI that the client sent. */
static void ask_for_a_page(struct set *set, const char *sni)
{
    struct head head = HEAD_INIT;
    unsigned port = net_port((const struct sockaddr *)&set->address);
    head_clear(&head, HEAD_REQUEST);
    assert_int_equal(headers_add(&head.headers, SPAN("Host"), SPAN("x")), ERR_OK);
    assert_int_equal(head_set(&head, &head.method, SPAN("GET")), ERR_OK);
    assert_int_equal(head_set(&head, &head.scheme, SPAN("https")), ERR_OK);
    assert_int_equal(head_set(&head, &head.host, SPAN("127.0.0.1")), ERR_OK);
    assert_int_equal(head_set(&head, &head.path, SPAN("/")), ERR_OK);
    head.port = port;
    assert_int_equal(exchange_create(&set->x, 1, FLOW_HTTP, &set->pipeline, set->client, &client_ops, set), ERR_OK);
    set->x->tunnel_host = SPAN("127.0.0.1");
    set->x->alpn_offer = set->offer;
    set->x->tunnel_port = port;
    set->x->intercepted_sni = sni;
    exchange_request(set->x, &(struct event){.part = PART_HEAD, .head = &head, .no_body = true});
    exchange_request(set->x, &(struct event){.part = PART_END});
    head_free(&head);
    rig_run(&set->rig);
}

static void test_the_probed_connection_serves_the_first_request(void **state)
{
    struct set set;
    set_open(&set, state, "http/1.1", "localhost");
    ask_probe(&set, "localhost", SPAN("\x02h2\x08http/1.1"));
    assert_int_equal(set.facts.error, ERR_OK);
    assert_string_equal(set.facts.alpn, "http/1.1");
    assert_true(span_eq(buf_span(&set.facts.names), span_of("localhost", 10)));
    ask_for_a_page(&set, "localhost");
    assert_int_equal(set.error, ERR_OK);
    assert_true(span_eq(buf_span(&set.body), SPAN("secret")));
    assert_int_equal(set.connects, 1);
    /* Asked again, the idle connection knows the answer; it comes from the loop all the same. */
    ask_probe(&set, "localhost", SPAN("\x02h2\x08http/1.1"));
    assert_string_equal(set.facts.alpn, "http/1.1");
    assert_int_equal(set.connects, 1);
    /* Another name inside TLS is another connection. */
    set.certificate_name = "other.test";
    ask_probe(&set, "other.test", SPAN("\x08http/1.1"));
    assert_int_equal(set.facts.error, ERR_OK);
    assert_int_equal(set.connects, 2);
    /* And so is another offer. */
    ask_probe(&set, "other.test", SPAN("\x02h2"));
    assert_string_equal(set.facts.alpn, "");
    assert_int_equal(set.connects, 3);
    set_close(&set);
}

static void test_an_origin_that_chooses_no_protocol(void **state)
{
    struct set set;
    set_open(&set, state, "", "localhost");
    ask_probe(&set, "localhost", SPAN("\x08http/1.1"));
    assert_int_equal(set.facts.error, ERR_OK);
    assert_string_equal(set.facts.alpn, "");
    set_close(&set);
}

/* Verification fails: the probe says why, and nothing is kept. */
static void test_origins_that_are_not_who_they_say(void **state)
{
    struct set set;
    set_open(&set, state, "http/1.1", "somebody.else");
    ask_probe(&set, "localhost", SPAN("\x08http/1.1"));
    assert_int_equal(set.facts.error, ERR_TLS_VERIFY);
    assert_true(span_starts_with(span_str(set.facts.reason), SPAN("TLS with 127.0.0.1:")));
    assert_int_equal(set.facts.names.n, 0);
    ask_for_a_page(&set, "localhost");
    assert_int_equal(set.error, ERR_TLS_VERIFY);
    assert_int_equal(set.connects, 2);
    set_close(&set);
}

/* The client leaves while the origin is asked, at any turn of the loop. */
static void test_dropping_a_probe_at_any_moment(void **state)
{
    for (int turns = 0; turns < 10; turns++) {
        struct set set;
        set_open(&set, state, "http/1.1", "localhost");
        set.probe = (struct probe){.host = SPAN("127.0.0.1"),
                                   .port = net_port((const struct sockaddr *)&set.address),
                                   .alpn = SPAN("\x08http/1.1"),
                                   .facts = &set.facts,
                                   .done = on_done};
        set.pipeline.origin->ops->probe(set.pipeline.origin, &set.probe);
        for (int i = 0; i < turns && !set.done; i++) {
            loop_stop(set.rig.loop);
            rig_run(&set.rig);
        }
        set.pipeline.origin->ops->probe_cancel(set.pipeline.origin, &set.probe);
        int before = set.done;
        for (int i = 0; i < 3; i++) {
            loop_stop(set.rig.loop);
            rig_run(&set.rig);
        }
        assert_int_equal(set.done, before);
        set_close(&set);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        ON_BOTH(test_the_probed_connection_serves_the_first_request),
        ON_BOTH(test_an_origin_that_chooses_no_protocol),
        ON_BOTH(test_origins_that_are_not_who_they_say),
        ON_BOTH(test_dropping_a_probe_at_any_moment),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
