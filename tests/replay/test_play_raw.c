/* test_play_raw.c: tunnels and upgraded connections, from a tape: the origin's bytes come after as many of the client's as they did then. */
#include "stage.h"

#define MS(n) ((n) * (int64_t)NS_PER_MS)

static const struct fixture_message talk[] = {
    {.from_client = false, .payload = "220 hello\r\n", .at_ns = MS(6)},
    {.from_client = true, .payload = "EHLO me\r\n", .at_ns = MS(10)},
    {.from_client = false, .payload = "250 ok\r\n", .at_ns = MS(20)},
    {.from_client = true, .payload = "QUIT\r\n", .at_ns = MS(30)},
    {.from_client = false, .payload = "221 bye\r\n", .at_ns = MS(31)},
};
static const struct fixture_flow tunnel = {.kind = "tunnel",
                                           .method = "CONNECT",
                                           .scheme = "",
                                           .path = "",
                                           .port = 25,
                                           .reason = "Connection established",
                                           .response_headers = (const char *const[]){NULL},
                                           .messages = talk,
                                           .messages_n = ARRAY_LEN(talk)};
static const struct ask connect_25 = {.tunnel = true, .scheme = "", .port = 25, .open = true};

static void check_missed(const struct stage *s, uint64_t n)
{
    struct matcher_counters c;
    matcher_get_counters(s->bench.matcher, &c);
    assert_int_equal(c.missed, n);
}

static void test_a_tunnel_at_every_chunk_size(void **state)
{
    struct stage s;
    const struct span said = SPAN("EHLO me\r\nQUIT\r\n");
    (void)state;
    for (size_t chunk = 1; chunk <= said.n; chunk++) {
        stage_open(&s, NULL);
        (void)fixture_add(&s.bench.tape, &tunnel);
        stage_load(&s);
        struct act *a = stage_ask(&s, &connect_25);
        stage_run(&s);
        check_text(a, "head 200 Connection established HTTP/1.1\n");
        assert_text(buf_span(&a->body), "220 hello\r\n");
        for (size_t at = 0; at < said.n; at += chunk) {
            act_request(a, PART_BODY, span_first(span_from(said, at), chunk));
            stage_run(&s);
            size_t so_far = MIN(at + chunk, said.n);
            assert_text(buf_span(&a->body), so_far < 9    ? "220 hello\r\n"
                                            : so_far < 15 ? "220 hello\r\n250 ok\r\n"
                                                          : "220 hello\r\n250 ok\r\n221 bye\r\n");
        }
        check_text(a, "head 200 Connection established HTTP/1.1\nend\n");
        check_missed(&s, 0);
        stage_close(&s);
    }
}

static void test_other_bytes_are_a_miss(void **state)
{
    struct stage s;
    struct matcher_miss miss;
    size_t at = 0;
    (void)state;
    stage_open(&s, NULL);
    (void)fixture_add(&s.bench.tape, &tunnel);
    stage_load(&s);
    struct act *a = stage_ask(&s, &connect_25);
    act_request(a, PART_BODY, SPAN("EHLO you\r\n"));
    stage_run(&s);
    check_text(a,
               "head 200 Connection established HTTP/1.1\nerror miss: the client's bytes differ from the recording\n");
    assert_text(buf_span(&a->body), "220 hello\r\n");
    check_missed(&s, 1);
    assert_true(matcher_next_miss(s.bench.matcher, &at, &miss));
    assert_has(miss.json, "{\"field\": \"bytes:5\", \"recorded\": \"me\\r\\n\", \"actual\": \"you\\r\\n\"}");
    assert_has(miss.line, "CONNECT example.test:25: the client's bytes differ from flow 1 at byte 5");
    stage_close(&s);
}

static void test_no_such_tunnel(void **state)
{
    struct stage s;
    (void)state;
    stage_open(&s, NULL);
    (void)fixture_add(&s.bench.tape, &tunnel);
    (void)fixture_add(&s.bench.tape, &(struct fixture_flow){.kind = "tunnel",
                                                            .method = "CONNECT",
                                                            .scheme = "",
                                                            .path = "",
                                                            .port = 26,
                                                            .no_response = true,
                                                            .error = "refused: no"});
    stage_load(&s);
    struct ask other = connect_25;
    other.port = 27;
    struct act *a = stage_ask(&s, &other);
    stage_run(&s);
    check_text(a, "error miss: no recording matches this tunnel\n");
    check_missed(&s, 1);
    other.port = 26;
    a = stage_ask(&s, &other);
    act_request(a, PART_BODY, SPAN("x"));
    stage_run(&s);
    check_text(a, "error refused: no\n");
    stage_close(&s);
}

static void test_the_client_ends_first(void **state)
{
    struct stage s;
    (void)state;
    stage_open(&s, NULL);
    (void)fixture_add(&s.bench.tape, &tunnel);
    stage_load(&s);
    struct act *a = stage_ask(&s, &connect_25);
    act_request(a, PART_BODY, SPAN("EHLO me\r\n"));
    act_request(a, PART_END, SPAN_EMPTY);
    stage_run(&s);
    check_text(a, "head 200 Connection established HTTP/1.1\nend\n");
    assert_text(buf_span(&a->body), "220 hello\r\n250 ok\r\n");
    stage_close(&s);
    /* What it had said all at once is not lost when its end comes early. */
    stage_open(&s, NULL);
    (void)fixture_add(&s.bench.tape, &tunnel);
    stage_load(&s);
    a = stage_ask(&s, &connect_25);
    act_request(a, PART_BODY, SPAN("EHLO me\r\nQUIT\r\n"));
    act_request(a, PART_END, SPAN_EMPTY);
    stage_run(&s);
    assert_text(buf_span(&a->body), "220 hello\r\n250 ok\r\n221 bye\r\n");
    check_text(a, "head 200 Connection established HTTP/1.1\nend\n");
    stage_close(&s);
}

/* What the tape does not hold is a recording that broke off; frames are not bytes. */
static void test_endings_of_tunnels(void **state)
{
    static const struct fixture_message one[] = {{.payload = "half", .at_ns = MS(6)}},
                                        frame[] = {{.payload = "{}", .kind = "text", .at_ns = MS(6)}};
    struct stage s;
    (void)state;
    struct fixture_flow f = tunnel;
    f.messages = one;
    f.messages_n = 1;
    f.error = "reset: the origin reset";
    stage_open(&s, NULL);
    (void)fixture_add(&s.bench.tape, &f);
    f.error = NULL;
    f.messages = frame;
    f.port = 26;
    (void)fixture_add(&s.bench.tape, &f);
    f.messages_n = 0;
    f.port = 27;
    (void)fixture_add(&s.bench.tape, &f);
    stage_load(&s);
    static const struct {
        unsigned port;
        const char *text, *body;
    } cases[] = {
        {25, "head 200 Connection established HTTP/1.1\nerror reset: the origin reset\n", "half"},
        {26, "head 200 Connection established HTTP/1.1\nerror unsupported: the recording holds frames, not bytes\n",
         ""},
        {27, "head 200 Connection established HTTP/1.1\nend\n", ""},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct ask ask = connect_25;
        ask.port = cases[i].port;
        struct act *a = stage_ask(&s, &ask);
        stage_run(&s);
        check_text(a, cases[i].text);
        assert_text(buf_span(&a->body), cases[i].body);
    }
    stage_close(&s);
}

/* A client that says much, early: it is told to wait, and let go on when its bytes were needed. */
static void test_a_client_that_runs_ahead(void **state)
{
    enum { N = LIMIT_SEND_HIGH * 2 };
    struct stage s;
    char *much = malloc(N + 1);
    (void)state;
    assert_non_null(much);
    memset(much, 'm', N);
    much[N] = 0;
    const struct fixture_message messages[] = {{.from_client = false, .payload = "go", .at_ns = MS(6)},
                                               {.from_client = true, .payload = much, .at_ns = MS(7)},
                                               {.from_client = false, .payload = "done", .at_ns = MS(8)}};
    struct fixture_flow f = tunnel;
    f.messages = messages;
    f.messages_n = ARRAY_LEN(messages);
    stage_open(&s, NULL);
    (void)fixture_add(&s.bench.tape, &f);
    stage_load(&s);
    struct act *a = stage_ask(&s, &connect_25);
    size_t at = 0;
    for (; at < N && !a->request_paused; at += 4096)
        act_request(a, PART_BODY, span_of(much + at, 4096));
    assert_in_range(at, LIMIT_SEND_HIGH, LIMIT_SEND_HIGH + 4096);
    stage_run(&s);
    assert_false(a->request_paused);
    for (; at < N; at += 4096)
        act_request(a, PART_BODY, span_of(much + at, 4096));
    stage_run(&s);
    assert_text(buf_span(&a->body), "godone");
    check_text(a, "head 200 Connection established HTTP/1.1\nend\n");
    stage_close(&s);
    free(much);
}

static void test_pace_of_a_tunnel(void **state)
{
    struct stage s;
    (void)state;
    stage_open(&s, OPTIONS("--pace recorded"));
    (void)fixture_add(&s.bench.tape, &tunnel);
    stage_load(&s);
    struct act *a = stage_ask(&s, &connect_25);
    stage_run(&s);
    assert_text(buf_span(&a->body), "220 hello\r\n");
    s.now_ns += 500 * NS_PER_MS; /* the client takes its time */
    uint64_t said = s.now_ns;
    act_request(a, PART_BODY, SPAN("EHLO me\r\nQUIT\r\n"));
    stage_run(&s);
    assert_int_equal(a->parts, 5);
    assert_int_equal(a->at_ns[2], said + 10 * NS_PER_MS); /* the answer took so long then */
    assert_int_equal(a->at_ns[3], said + 11 * NS_PER_MS); /* QUIT was already said */
    stage_close(&s);
}

/* --- upgrades ---------------------------------------------------------------------------------------------------- */

static const char *const offer[] = {"Connection",        "keep-alive, Upgrade",        "Upgrade", "websocket",
                                    "Sec-WebSocket-Key", " dGhlIHNhbXBsZSBub25jZQ== ", NULL};

/* The example of RFC 6455, section 1.3; masks are other ones in each run: only how many bytes came counts. */
static void test_an_upgrade(void **state)
{
    static const struct fixture_message frames[] = {
        {.from_client = true, .payload = "\x81\x82mask12", .at_ns = MS(10)},
        {.from_client = false, .payload = "\x81\x02hi", .at_ns = MS(11)},
    };
    struct stage s;
    (void)state;
    stage_open(&s, NULL);
    (void)fixture_add(&s.bench.tape, &(struct fixture_flow){.kind = "websocket",
                                                            .status = 101,
                                                            .reason = "Switching Protocols",
                                                            .response_headers =
                                                                OPTIONS("Upgrade", "websocket", "Connection", "Upgrade",
                                                                        "Sec-WebSocket-Accept", "of another key"),
                                                            .messages = frames,
                                                            .messages_n = ARRAY_LEN(frames)});
    (void)fixture_add(&s.bench.tape, &(struct fixture_flow){.response_body = "plain"});
    stage_load(&s);
    struct act *a = stage_ask(&s, &(struct ask){.headers = offer});
    stage_run(&s);
    check_text(
        a,
        "head 101 Switching Protocols HTTP/1.1|Upgrade: websocket|Connection: Upgrade|Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\n");
    assert_int_equal(a->x->kind, FLOW_WEBSOCKET);
    act_request(a, PART_BODY, SPAN("\x81\x82MASK"));
    stage_run(&s);
    assert_int_equal(a->body.n, 0);
    act_request(a, PART_BODY, SPAN("34"));
    stage_run(&s);
    assert_text(buf_span(&a->body), "\x81\x02hi");
    assert_null(a->x);
    check_missed(&s, 0);
    /* The same target without the offer is the plain recording. */
    a = stage_ask(&s, &(struct ask){0});
    stage_run(&s);
    assert_text(buf_span(&a->body), "plain");
    stage_close(&s);
}

/* An offer that was not taken up when it was recorded (h2c, for instance) has the plain answer again. */
static void test_an_offer_that_was_not_taken_up(void **state)
{
    struct stage s;
    (void)state;
    stage_open(&s, NULL);
    (void)fixture_add(&s.bench.tape, &(struct fixture_flow){.response_body = "plain"});
    stage_load(&s);
    struct act *a =
        stage_ask(&s, &(struct ask){.headers = OPTIONS("Connection", "Upgrade, HTTP2-Settings", "Upgrade", "h2c")});
    stage_run(&s);
    assert_text(buf_span(&a->body), "plain");
    check_missed(&s, 0);
    stage_close(&s);
}

static void test_pausing_cancelling_and_running_out_of_memory(void **state)
{
    const struct span said = SPAN("EHLO me\r\nQUIT\r\n");
    (void)state;
    for (int turns = 0; turns < 12; turns++) {
        struct stage s;
        stage_open(&s, NULL);
        (void)fixture_add(&s.bench.tape, &tunnel);
        stage_load(&s);
        struct ask ask = connect_25;
        ask.pause_each = true;
        struct act *a = stage_ask(&s, &ask);
        act_request(a, PART_BODY, said);
        for (int i = 0; i < turns && a->x; i++) {
            stage_run(&s);
            if (a->x)
                exchange_pause_response(a->x, false);
        }
        if (turns >= 5) {
            assert_null(a->x);
            assert_text(buf_span(&a->body), "220 hello\r\n250 ok\r\n221 bye\r\n");
        }
        stage_close(&s); /* cancels */
    }
    bool untouched = false;
    for (long n = 0; !untouched; n++) {
        struct stage s;
        assert_true(n < 300);
        stage_open(&s, NULL);
        (void)fixture_add(&s.bench.tape, &tunnel);
        stage_load(&s);
        struct act *a = stage_ask(&s, &connect_25);
        mem_fail_after(n);
        act_request(a, PART_BODY, said);
        act_request(a, PART_END, SPAN_EMPTY);
        for (int turns = 0; turns < 100 && a->x; turns++)
            (void)stage_turn(&s);
        mem_fail_after(-1);
        assert_null(a->x);
        untouched = n > 40 && !has_text(buf_span(&a->text), "no-memory");
        stage_close(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_tunnel_at_every_chunk_size),
        cmocka_unit_test(test_other_bytes_are_a_miss),
        cmocka_unit_test(test_no_such_tunnel),
        cmocka_unit_test(test_the_client_ends_first),
        cmocka_unit_test(test_endings_of_tunnels),
        cmocka_unit_test(test_a_client_that_runs_ahead),
        cmocka_unit_test(test_pace_of_a_tunnel),
        cmocka_unit_test(test_an_upgrade),
        cmocka_unit_test(test_an_offer_that_was_not_taken_up),
        cmocka_unit_test(test_pausing_cancelling_and_running_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
