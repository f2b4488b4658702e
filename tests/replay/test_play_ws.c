/* test_play_ws.c: WebSockets that were recorded as messages: the server's are said again in their places, the client's are compared. */
#include "stage.h"

#define MS(n)           ((n) * (int64_t)NS_PER_MS)
#define FRAMES(literal) SPAN(literal)

static const char *const offer[] = {
    "Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ==", NULL};

static const struct fixture_message talk[] = {
    {.from_client = true, .kind = "text", .payload = "one", .at_ns = MS(10)},
    {.from_client = false, .kind = "text", .payload = "ONE", .at_ns = MS(20)},
    {.from_client = true, .kind = "ping", .payload = "p", .at_ns = MS(21)},
    {.from_client = false, .kind = "pong", .payload = "p", .at_ns = MS(22)},
    {.from_client = false, .kind = "ping", .payload = "q", .at_ns = MS(23)},
    {.from_client = true, .kind = "pong", .payload = "q", .at_ns = MS(24)},
    {.from_client = true, .kind = "binary", .payload = "\1\2", .at_ns = MS(30)},
    {.from_client = false, .kind = "binary", .payload = "\2", .at_ns = MS(31), .more = true},
    {.from_client = false, .kind = "binary", .payload = "\1", .at_ns = MS(31)},
    {.from_client = true, .kind = "close", .payload = "bye", .code = 1000, .at_ns = MS(40)},
    {.from_client = false, .kind = "close", .payload = "so", .code = 1001, .at_ns = MS(41)},
};

static struct act *open_talk(struct stage *s, const char *const *options, const struct fixture_message *messages,
                             size_t n, const char *error)
{
    stage_open(s, options);
    (void)fixture_add(&s->bench.tape, &(struct fixture_flow){.kind = "websocket",
                                                             .status = 101,
                                                             .reason = "Switching Protocols",
                                                             .response_headers = OPTIONS("Upgrade", "websocket"),
                                                             .error = error,
                                                             .messages = messages,
                                                             .messages_n = n});
    stage_load(s);
    struct act *a = stage_ask(s, &(struct ask){.headers = offer});
    stage_run(s);
    assert_int_equal(a->x->kind, FLOW_WEBSOCKET);
    return a;
}

/* The client says this; what has come by then since the beginning. */
static void say(struct stage *s, struct act *a, struct span bytes)
{
    act_request(a, PART_BODY, bytes);
    stage_run(s);
}

static void check_bytes(const struct act *a, struct span wanted)
{
    struct span got = buf_span(&a->body);
    assert_int_equal(got.n, wanted.n);
    assert_memory_equal(got.p, wanted.p, wanted.n);
}

static void check_missed(const struct stage *s, uint64_t n)
{
    struct matcher_counters c;
    matcher_get_counters(s->bench.matcher, &c);
    assert_int_equal(c.missed, n);
}

#define ONE    "\x81\x83\0\0\0\0one"
#define BINARY "\x02\x81\0\0\0\0\1\x80\x81\0\0\0\0\2"
#define CLOSE                                                                                                          \
    "\x88\x85\0\0\0\0\x03\xe8"                                                                                         \
    "bye"
#define ANSWERS "\x81\x03ONE\x89\x01q\x02\x01\2\x80\x01\1"
#define CLOSED  "\x88\x04\x03\xe9so"

static void test_a_talk_at_every_chunk_size(void **state)
{
    const struct span said = SPAN(ONE BINARY CLOSE);
    (void)state;
    for (size_t chunk = 1; chunk <= said.n; chunk++) {
        struct stage s;
        struct act *a = open_talk(&s, NULL, talk, ARRAY_LEN(talk), NULL);
        for (size_t at = 0; at < said.n; at += chunk)
            say(&s, a, span_first(span_from(said, at), chunk));
        check_bytes(a, SPAN(ANSWERS CLOSED));
        assert_null(a->x);
        check_missed(&s, 0);
        stage_close(&s);
    }
}

static void test_each_after_what_it_followed(void **state)
{
    struct stage s;
    (void)state;
    struct act *a = open_talk(&s, NULL, talk, ARRAY_LEN(talk), NULL);
    check_bytes(a, SPAN_EMPTY);
    say(&s, a, SPAN(ONE));
    check_bytes(a, SPAN("\x81\x03ONE\x89\x01q"));
    say(&s, a, SPAN(BINARY));
    check_bytes(a, SPAN(ANSWERS));
    stage_close(&s);
}

static void test_pings_are_answered_at_once(void **state)
{
    struct stage s;
    (void)state;
    struct act *a = open_talk(&s, NULL, talk, ARRAY_LEN(talk), NULL);
    say(&s, a, SPAN("\x89\x82\1\1\1\1\x60\x63"));
    check_bytes(a, SPAN("\x8a\x02"
                        "ab"));
    stage_close(&s);
}

static void check_miss(struct stage *s, struct act *a, const char *json, const char *line)
{
    struct matcher_miss miss;
    size_t at = 0;
    check_missed(s, 1);
    assert_true(matcher_next_miss(s->bench.matcher, &at, &miss));
    assert_has(miss.json, json);
    assert_has(miss.line, line);
    assert_null(a->x);
    assert_true(span_search(buf_span(&a->body), SPAN("\x03\xf0ringtape: no recording matches this message")) <
                a->body.n);
}

static void test_another_message_is_a_miss(void **state)
{
    struct stage s;
    (void)state;
    struct act *a = open_talk(&s, NULL, talk, ARRAY_LEN(talk), NULL);
    say(&s, a, SPAN(ONE "\x81\x83\0\0\0\0two"));
    check_miss(&s, a, "{\"field\": \"message:2\", \"recorded\": \"hex 0102\", \"actual\": \"two\"}",
               "the client's messages differ from flow 1 at message 2");
    stage_close(&s);
}

static void test_one_message_too_many_is_a_miss(void **state)
{
    struct stage s;
    (void)state;
    struct act *a = open_talk(&s, NULL, talk, 2, NULL);
    say(&s, a, SPAN(ONE "\x81\x83\0\0\0\0two"));
    check_miss(&s, a, "{\"field\": \"message:2\", \"recorded\": null, \"actual\": \"two\"}",
               "the client says more than flow 1 at message 2");
    stage_close(&s);
}

static void test_json_is_compared_as_json(void **state)
{
    static const struct fixture_message messages[] = {
        {.from_client = true, .kind = "text", .payload = "{\"a\": 1, \"b\": 2}", .at_ns = MS(1)},
        {.from_client = false, .kind = "text", .payload = "ok", .at_ns = MS(2)},
    };
    struct stage s;
    (void)state;
    struct act *a = open_talk(&s, NULL, messages, ARRAY_LEN(messages), NULL);
    say(&s, a, SPAN("\x81\x8d\0\0\0\0{\"b\":2,\"a\":1}"));
    check_bytes(a, SPAN("\x81\x02ok"));
    check_missed(&s, 0);
    stage_close(&s);
}

static void test_one_that_the_client_left_is_held(void **state)
{
    struct stage s;
    (void)state;
    struct act *a = open_talk(&s, NULL, talk, 2, "closed: the client hung up");
    say(&s, a, SPAN(ONE));
    check_bytes(a, SPAN("\x81\x03ONE"));
    assert_non_null(a->x); /* the tape does not say that the origin ended it */
    say(&s, a, SPAN(CLOSE));
    check_bytes(a, SPAN("\x81\x03ONE\x88\x05\x03\xe8"
                        "bye"));
    assert_null(a->x);
    check_missed(&s, 0);
    stage_close(&s);
}

static void test_one_that_is_held_does_not_begin_anew(void **state)
{
    struct stage s;
    (void)state;
    struct act *a = open_talk(&s, NULL, talk, 2, "closed: the client hung up");
    say(&s, a, SPAN(ONE));
    say(&s, a, SPAN(ONE));
    check_miss(&s, a, "{\"field\": \"message:2\", \"recorded\": null, \"actual\": \"one\"}",
               "the client says more than flow 1 at message 2");
    stage_close(&s);
}

static void test_a_client_that_leaves_early(void **state)
{
    struct stage s;
    (void)state;
    struct act *a = open_talk(&s, NULL, talk, ARRAY_LEN(talk), NULL);
    say(&s, a, SPAN(CLOSE));
    check_bytes(a, SPAN("\x88\x05\x03\xe8"
                        "bye"));
    assert_null(a->x);
    check_missed(&s, 0);
    stage_close(&s);
}

static void test_frames_that_are_none_end_it(void **state)
{
    struct stage s;
    (void)state;
    struct act *a = open_talk(&s, NULL, talk, ARRAY_LEN(talk), NULL);
    say(&s, a, SPAN("\x81\x03one")); /* no mask */
    assert_true(a->body.n > 4 && memcmp(buf_span(&a->body).p, "\x88", 1) == 0);
    assert_int_equal(buf_span(&a->body).p[2] << 8 | buf_span(&a->body).p[3], 1002);
    assert_null(a->x);
    stage_close(&s);
}

static void test_pace(void **state)
{
    struct stage s;
    (void)state;
    struct act *a = open_talk(&s, OPTIONS("--pace recorded"), talk, ARRAY_LEN(talk), NULL);
    s.now_ns += 500 * NS_PER_MS;
    uint64_t said = s.now_ns;
    say(&s, a, SPAN(ONE));
    assert_int_equal(a->at_ns[1], said + 10 * NS_PER_MS);
    stage_close(&s);
}

static void test_running_out_of_memory(void **state)
{
    (void)state;
    for (long n = 0; n < 40; n++) {
        struct stage s;
        struct act *a = open_talk(&s, NULL, talk, ARRAY_LEN(talk), NULL);
        mem_fail_after(n);
        act_request(a, PART_BODY, SPAN(ONE BINARY CLOSE));
        mem_fail_after(-1);
        stage_run(&s);
        stage_close(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_talk_at_every_chunk_size),
        cmocka_unit_test(test_each_after_what_it_followed),
        cmocka_unit_test(test_pings_are_answered_at_once),
        cmocka_unit_test(test_another_message_is_a_miss),
        cmocka_unit_test(test_one_message_too_many_is_a_miss),
        cmocka_unit_test(test_json_is_compared_as_json),
        cmocka_unit_test(test_one_that_the_client_left_is_held),
        cmocka_unit_test(test_one_that_is_held_does_not_begin_anew),
        cmocka_unit_test(test_a_client_that_leaves_early),
        cmocka_unit_test(test_frames_that_are_none_end_it),
        cmocka_unit_test(test_pace),
        cmocka_unit_test(test_running_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
