/* test_h2_upgrade.c: extended CONNECT (RFC 8441) between two engines: an upgrade goes in at one end and comes out at the other, at several cuts of
 * the bytes and under every failing allocation; and what peers say who keep to none of it. */
#include "tests/http/h2_frames.h"

static const size_t chunks[] = {1, 2, 9, 100, 30000};

#define UPGRADE   "Host: ex.org\nConnection: keep-alive, Upgrade\nUpgrade: websocket\nSec-WebSocket-Version: 13\n"
#define ASKED     "HEAD GET https ex.org /chat 0 HTTP/2 sec-websocket-version=13; connection=Upgrade; upgrade=websocket;"
#define ACCEPTING "Connection: Upgrade\nUpgrade: websocket\nSec-WebSocket-Accept: s3pP\nSec-WebSocket-Protocol: a\n"

static enum err upgrade(struct side *side, const char *fields, struct call **out)
{
    struct head h = HEAD_INIT;
    struct h2_stream *s = NULL;
    head_clear(&h, HEAD_REQUEST);
    h.port = 443;
    enum err e = head_set(&h, &h.method, SPAN("GET"));
    e = e ? e : head_set(&h, &h.scheme, SPAN("https"));
    e = e ? e : head_set(&h, &h.host, SPAN("ex.org"));
    e = e ? e : head_set(&h, &h.path, SPAN("/chat"));
    e = e ? e : fields_add(&h.headers, fields);
    e = e ? e : h2_request_upgrade(side->h2, &h, &s);
    head_free(&h);
    *out = e ? NULL : call_new(side, s);
    return e;
}

static enum err switch_protocols(struct call *c)
{
    struct head h = HEAD_INIT;
    head_clear(&h, HEAD_RESPONSE);
    h.status = 101;
    enum err e = fields_add(&h.headers, ACCEPTING);
    e = e ? e : h2_respond(c->s, &h, false);
    return head_free(&h), e;
}

static enum err converse(struct side *client, struct side *server, size_t chunk)
{
    struct call *c = NULL;
    h2_allow_upgrade(server->h2);
    enum err e = pump_all(client, server, chunk);
    e = e ? e : upgrade(client, UPGRADE, &c);
    e = e ? e : pump_all(client, server, chunk);
    if (e || server->n == 0)
        return e;
    struct call *there = &server->calls[0];
    e = switch_protocols(there);
    e = e ? e : h2_body(there->s, SPAN("hello"));
    e = e ? e : pump_all(client, server, chunk);
    if (e || !c->s || !there->s)
        return e;
    e = h2_body(c->s, SPAN("well met"));
    e = e ? e : h2_end(c->s, NULL);
    e = e ? e : pump_all(client, server, chunk);
    e = e || !there->s ? e : h2_end(there->s, NULL);
    return e ? e : pump_all(client, server, chunk);
}

static void test_bytes_both_ways(void **state)
{
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(chunks); k++) {
        struct side *client = side_new(H2_CLIENT), *server = side_new(H2_SERVER);
        assert_int_equal(converse(client, server, chunks[k]), ERR_OK);
        assert_int_equal(client->n, 1);
        assert_int_equal(server->n, 1);
        assert_said(&server->calls[0], ASKED " END");
        assert_int_equal(server->calls[0].body, 8);
        assert_said(&client->calls[0],
                    "HEAD 101 HTTP/2 sec-websocket-protocol=a; connection=Upgrade; upgrade=websocket; END");
        assert_int_equal(client->calls[0].body, 5);
        assert_closed(&client->calls[0], 0);
        assert_closed(&server->calls[0], 0);
        side_free(client);
        side_free(server);
    }
}

static void test_only_where_it_is_allowed(void **state)
{
    struct call *c;
    (void)state;
    struct side *client = side_new(H2_CLIENT), *server = side_new(H2_SERVER);
    assert_false(h2_settled(client->h2));
    assert_int_equal(upgrade(client, UPGRADE, &c), ERR_REFUSED); /* not known yet */
    pump(client, server, 9);
    assert_true(h2_settled(client->h2));
    assert_false(h2_can_upgrade(client->h2));
    assert_int_equal(upgrade(client, UPGRADE, &c), ERR_REFUSED);
    side_free(client);
    side_free(server);

    client = side_new(H2_CLIENT);
    server = side_new(H2_SERVER);
    h2_allow_upgrade(server->h2);
    pump(client, server, 9);
    assert_true(h2_can_upgrade(client->h2));
    assert_int_equal(upgrade(client, "Connection: Upgrade\n", &c), ERR_PARSE);
    assert_int_equal(upgrade(client, "Connection: Upgrade\nUpgrade: websocket, h2c\n", &c), ERR_PARSE);
    assert_int_equal(h2_streams(client->h2), 0);
    side_free(client);
    side_free(server);
}

/* A refusal is a response as any other. */
static void test_refused(void **state)
{
    struct call *c;
    (void)state;
    struct side *client = side_new(H2_CLIENT), *server = side_new(H2_SERVER);
    h2_allow_upgrade(server->h2);
    pump(client, server, 9);
    assert_int_equal(upgrade(client, UPGRADE, &c), ERR_OK);
    pump(client, server, 9);
    assert_int_equal(answer(&server->calls[0], 403, "X: 1\n", false), ERR_OK);
    assert_int_equal(h2_body(server->calls[0].s, SPAN("no")), ERR_OK);
    assert_int_equal(h2_end(server->calls[0].s, NULL), ERR_OK);
    pump(client, server, 9);
    assert_said(c, "HEAD 403 HTTP/2 x=1; END");
    assert_int_equal(c->body, 2);
    side_free(client);
    side_free(server);
}

#define CHAT ":method=CONNECT|:protocol=websocket|:scheme=https|:authority=ex.org|:path=/chat"

static const struct {
    const char *name, *fields, *trailers;
    const char *said; /* NULL: refused */
} heads[] = {
    {"a plain one", CHAT "|sec-websocket-version=13", NULL, ASKED},
    {"another protocol", ":method=CONNECT|:protocol=connect-udp|:scheme=https|:authority=ex.org|:path=/", NULL,
     "HEAD GET https ex.org / 0 HTTP/2 connection=Upgrade; upgrade=connect-udp;"},
    {"no path", ":method=CONNECT|:protocol=websocket|:scheme=https|:authority=ex.org", NULL, NULL},
    {"no scheme", ":method=CONNECT|:protocol=websocket|:authority=ex.org|:path=/", NULL, NULL},
    {"no authority", ":method=CONNECT|:protocol=websocket|:scheme=https|:path=/", NULL, NULL},
    {"GET", ":method=GET|:protocol=websocket|:scheme=https|:authority=ex.org|:path=/", NULL, NULL},
    {"two protocols", ":method=CONNECT|:protocol=a|:protocol=b|:scheme=https|:authority=ex.org|:path=/", NULL, NULL},
    {"an empty protocol", ":method=CONNECT|:protocol=|:scheme=https|:authority=ex.org|:path=/", NULL, NULL},
    {"a protocol that is no token", ":method=CONNECT|:protocol=a, b|:scheme=https|:authority=ex.org|:path=/", NULL,
     NULL},
    {"upgrade as a field", CHAT "|upgrade=websocket", NULL, NULL},
    {"trailers", CHAT "|sec-websocket-version=13", "x-t=1", NULL},
};

static void test_heads(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(heads); i++)
        for (size_t k = 0; k < ARRAY_LEN(chunks); k++) {
            struct side *side = side_new(H2_SERVER);
            struct seen seen = {.frames = 0};
            struct buf wire = BUF_INIT;
            h2_allow_upgrade(side->h2);
            put_preface(&wire, H2_CLIENT);
            put_headers(&wire, 1, 0, span_str(heads[i].fields));
            if (heads[i].trailers)
                put_headers(&wire, 1, END_STREAM, span_str(heads[i].trailers));
            assert_int_equal(feed(side, &seen, buf_span(&wire), chunks[k]), ERR_OK);
            assert_int_equal(side->n, 1);
            if (heads[i].said ? side->calls[0].malformed : side->calls[0].malformed != 1 || !seen.reset[1])
                fail_msg("%s: %s", heads[i].name, side->calls[0].text.n ? buf_cstr(&side->calls[0].text) : "");
            if (heads[i].said)
                assert_said(&side->calls[0], heads[i].said);
            assert_false(seen.goaway);
            buf_free(&wire);
            buf_free(&seen.rest);
            side_free(side);
        }
}

static void test_allocation_failure(void **state)
{
    bool done = false;
    long n = 0;
    (void)state;
    for (; !done && n < 3000; n++) {
        struct side *client = calloc(1, sizeof *client), *server = calloc(1, sizeof *server);
        assert_true(client && server);
        mem_fail_after(n);
        enum err e = h2_create(&client->h2, H2_CLIENT, &side_events, client);
        e = e ? e : h2_create(&server->h2, H2_SERVER, &side_events, server);
        e = e ? e : converse(client, server, 30000);
        mem_fail_after(-1);
        assert_true(e == ERR_OK || e == ERR_NOMEM);
        done = e == ERR_OK && client->n == 1 && client->calls[0].complete && server->calls[0].complete;
        side_free(client);
        side_free(server);
    }
    assert_true(done && n > 50);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes_both_ways),
        cmocka_unit_test(test_only_where_it_is_allowed),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_heads),
        cmocka_unit_test(test_allocation_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
