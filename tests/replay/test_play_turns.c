/* test_play_turns.c: gRPC calls whose client waits for answers before it says more: found by what they begin with, answered in turns. */
#include "calls.h"
#include "stage.h"

#define QUIET    (LIMIT_REPLAY_TURN_MS * NS_PER_MS)
#define HEAD     "head 200  HTTP/2|content-type: application/grpc\n"
#define TRAILERS "trailers|grpc-status: 0\n"
#define M1(a)    "\0\0\0\0\1" a /* a message of one byte */

static void open_calls(struct stage *s, const char *const *options, const struct call *calls, size_t n)
{
    stage_open(s, options);
    for (size_t i = 0; i < n; i++)
        (void)add_call(&s->bench.tape, &calls[i]);
    stage_load(s);
}

#define OPEN(s, options, ...)                                                                                          \
    open_calls(s, options, (const struct call[]){__VA_ARGS__},                                                         \
               sizeof((const struct call[]){__VA_ARGS__}) / sizeof(struct call))

static struct act *begin_track(struct stage *s, const char *track)
{
    struct act *a =
        stage_ask(s, &(struct ask){.method = "POST", .path = CALL, .headers = grpc, .open = true, .track = track});
    stage_run(s);
    return a;
}

static struct act *begin(struct stage *s)
{
    return begin_track(s, NULL);
}

/* Each letter a message, '|' the end of the request; together, as far as they go. */
static void say_together(struct act *a, const char *letters)
{
    struct buf bytes = BUF_INIT;
    for (; *letters && *letters != '|'; letters++) {
        assert_int_equal(buf_put(&bytes, SPAN("\0\0\0\0\1")), ERR_OK);
        assert_int_equal(buf_put(&bytes, span_of(letters, 1)), ERR_OK);
    }
    if (bytes.n > 0)
        act_request(a, PART_BODY, buf_span(&bytes));
    if (*letters == '|')
        act_request(a, PART_END, SPAN_EMPTY);
    buf_free(&bytes);
}

static void say(struct stage *s, struct act *a, const char *letters)
{
    say_together(a, letters);
    stage_run(s);
}

/* What the server has said so far, as letters. */
static void check_said(const struct act *a, const char *letters)
{
    struct span body = buf_span(&a->body);
    char got[64] = "";
    assert_int_equal(body.n % 6, 0);
    for (size_t i = 0; i < body.n / 6; i++) {
        assert_memory_equal(body.p + i * 6, "\0\0\0\0\1", 5);
        got[i] = (char)body.p[i * 6 + 5];
    }
    assert_string_equal(got, letters);
}

static void check_counters(const struct stage *s, uint64_t served, uint64_t missed, uint64_t unused)
{
    struct matcher_counters c;
    matcher_get_counters(s->bench.matcher, &c);
    assert_int_equal(c.served, served);
    assert_int_equal(c.missed, missed);
    assert_int_equal(c.unused, unused);
}

static void check_miss(const struct stage *s, const char *json, const char *line)
{
    struct matcher_miss miss;
    size_t at = 0;
    assert_true(matcher_next_miss(s->bench.matcher, &at, &miss));
    assert_has(miss.json, json);
    assert_has(miss.line, line);
}

/* Says a talk, the client's part of it each after all that the server has to say before. */
static void talk(struct stage *s, const char *letters, const char *answers)
{
    struct act *a = begin(s);
    size_t said = 0;
    for (; *letters; letters++) {
        char text[2] = {*letters, 0}, so_far[32] = "";
        if (*letters < 'A' || *letters > 'Z') {
            say(s, a, text);
            continue;
        }
        memcpy(so_far, answers, ++said);
        assert_true(a->body.n >= said * 6); /* before the client goes on */
    }
    check_said(a, answers);
    check_text(a, HEAD TRAILERS "end\n");
    assert_null(a->x);
}

/* ---- turns ---- */

static void test_each_after_what_it_followed(void **state)
{
    struct stage s;
    (void)state;
    OPEN(&s, NULL, TALK("aABbcC|D"));
    struct act *a = begin(&s);
    check_text(a, "");
    say(&s, a, "a");
    check_text(a, HEAD);
    check_said(a, "AB");
    say(&s, a, "b");
    check_said(a, "AB");
    say(&s, a, "c");
    check_said(a, "ABC");
    assert_non_null(a->x);
    say(&s, a, "|");
    check_said(a, "ABCD");
    check_text(a, HEAD TRAILERS "end\n");
    check_counters(&s, 1, 0, 0);
    stage_close(&s);
}

static void test_a_call_at_every_chunk_size(void **state)
{
    static const uint8_t said[] = M1("a") M1("b") M1("c") M1("d");
    (void)state;
    for (size_t chunk = 1; chunk < sizeof said; chunk++) {
        struct stage s;
        OPEN(&s, NULL, TALK("aAbcBdC|"), TALK("x|X"));
        struct act *a = begin(&s);
        for (size_t at = 0; at < sizeof said - 1; at += chunk) {
            act_request(a, PART_BODY, span_first(span_of(said + at, sizeof said - 1 - at), chunk));
            stage_run(&s);
            size_t whole = MIN(at + chunk, sizeof said - 1) / 6;
            check_said(a, (const char *const[]){"", "A", "A", "AB", "ABC"}[whole]);
        }
        say(&s, a, "|");
        check_text(a, HEAD TRAILERS "end\n");
        check_counters(&s, 1, 0, 1);
        stage_close(&s);
    }
}

static void test_one_that_does_not_wait(void **state)
{
    struct stage s;
    (void)state;
    OPEN(&s, NULL, TALK("aAbBcC|"), TALK("aAbBdC|"));
    struct act *a = begin(&s);
    say_together(a, "abd|"); /* known by its whole body */
    stage_run(&s);
    check_said(a, "ABC");
    check_counters(&s, 1, 0, 1);
    a = begin(&s);
    say_together(a, "ab"); /* beyond where the other had to begin */
    stage_run(&s);
    check_said(a, "AB");
    say_together(a, "c|");
    stage_run(&s);
    check_said(a, "ABC");
    check_counters(&s, 2, 0, 0);
    stage_close(&s);
}

static void test_one_that_says_much_at_once(void **state)
{
    static const struct call calls[] = {TALK("aAbbbbbbbbbbbbbbbbbbbbC|"), TALK("aBccccccccccccccccccccD|")};
    (void)state;
    for (size_t n = 1; n <= 2; n++) {
        struct stage s;
        open_calls(&s, NULL, calls, n);
        struct act *a = begin(&s);
        say(&s, a, "abbbbbbbbbbbbbbbbbbb"); /* further than recordings are known, and waits */
        check_said(a, "A");
        say(&s, a, "b|");
        check_said(a, "AC");
        check_text(a, HEAD TRAILERS "end\n");
        check_counters(&s, 1, 0, n - 1);
        a = begin(&s);
        say(&s, a, "abbbbbbbbbbbbbbbbbbx");
        check_miss(&s, "\"message:20\"", "differ from flow 1 at message 20: recorded \"b\", now \"x\"");
        stage_close(&s);
    }
}

static void test_the_server_speaks_first(void **state)
{
    struct stage s;
    (void)state;
    OPEN(&s, NULL, TALK("AaB|"), TALK("CaD|"));
    uint64_t began = s.now_ns;
    struct act *a = begin(&s);
    check_said(a, "A");
    assert_int_equal(a->at_ns[0], began + QUIET); /* a client that speaks is known better */
    say(&s, a, "a");
    check_said(a, "AB");
    say(&s, a, "|");
    check_text(a, HEAD TRAILERS "end\n");
    a = begin(&s);
    check_said(a, "C");
    check_counters(&s, 2, 0, 0);
    stage_close(&s);
}

static void test_the_server_ends_first(void **state)
{
    struct stage s;
    (void)state;
    OPEN(&s, NULL, TALK("aAB"));
    struct act *a = begin(&s);
    say(&s, a, "a");
    check_said(a, "AB");
    check_text(a, HEAD TRAILERS "end\n");
    assert_null(a->x);
    stage_close(&s);
}

/* ---- which ---- */

static void test_two_of_one_path(void **state)
{
    struct stage s;
    (void)state;
    OPEN(&s, NULL, TALK("aAbB|"), TALK("cCdD|"));
    uint64_t began = s.now_ns;
    talk(&s, "cCdD|", "CD");
    talk(&s, "aAbB|", "AB");
    assert_int_equal(s.now_ns, began); /* nothing had to be waited for */
    check_counters(&s, 2, 0, 0);
    stage_close(&s);
}

static void test_two_that_begin_alike_come_in_order(void **state)
{
    struct stage s;
    (void)state;
    OPEN(&s, NULL, TALK("aAbB|"), TALK("aCdD|"));
    struct act *a = begin(&s);
    uint64_t said = s.now_ns;
    say(&s, a, "a");
    assert_int_equal(a->at_ns[0], said + QUIET);
    check_said(a, "A");
    say(&s, a, "b|");
    check_said(a, "AB");
    talk(&s, "aCdD|", "CD");
    talk(&s, "aCdD|", "CD"); /* the last one stays */
    check_counters(&s, 3, 0, 0);
    stage_close(&s);
}

static void test_unary_beside_it(void **state)
{
    struct stage s;
    (void)state;
    OPEN(&s, NULL, TALK("a|U"), TALK("aAbB|"), TALK("ab|V"), TALK("c|W"));
    struct act *a = begin(&s);
    say_together(a, "a|");
    stage_run(&s);
    check_said(a, "U");
    talk(&s, "aAbB|", "AB");
    a = begin(&s);
    say_together(a, "a"); /* one that goes on soon enough does not wait for an answer */
    say_together(a, "b");
    say_together(a, "|");
    stage_run(&s);
    check_said(a, "V");
    a = begin(&s);
    say(&s, a, "c");
    check_text(a, ""); /* however long it takes */
    say(&s, a, "|");
    check_said(a, "W");
    check_counters(&s, 4, 0, 0);
    stage_close(&s);
}

static void test_identical_calls_come_in_order(void **state)
{
    struct stage s;
    (void)state;
    OPEN(&s, NULL, TALK("aAbB|"), TALK("aCbD|"), TALK("ab|E"));
    talk(&s, "aAbB|", "AB");
    struct act *a = begin(&s);
    say_together(a, "ab|"); /* consumed alike, in turns or not */
    stage_run(&s);
    check_said(a, "CD");
    a = begin(&s);
    say(&s, a, "a");
    check_text(a, ""); /* the third was not answered here */
    say(&s, a, "b|");
    check_said(a, "E");
    check_counters(&s, 3, 0, 0);
    stage_close(&s);
}

static void check_order(const char *order, const char *const *answers)
{
    struct stage s;
    OPEN(&s, OPTIONS(order), TALK("aAb|"), TALK("aBb|"), TALK("aCc|"));
    for (; *answers; answers++) {
        struct act *a = begin(&s);
        say(&s, a, "a");
        check_said(a, *answers);
    }
    stage_close(&s);
}

static void test_orders(void **state)
{
    (void)state;
    check_order("--order sequence", OPTIONS("A", "B", "C", "C"));
    check_order("--order first", OPTIONS("A", "A", "A"));
    check_order("--order last", OPTIONS("C", "C", "C"));
    check_order("--order cycle", OPTIONS("A", "B", "C", "A", "B", "C"));
}

static void test_once(void **state)
{
    struct stage s;
    (void)state;
    OPEN(&s, OPTIONS("--order once"), TALK("aAb|"), TALK("a|U"));
    talk(&s, "aAb|", "A");
    struct act *a = begin(&s);
    say(&s, a, "a");
    check_text(a, ""); /* it may be the other one */
    say(&s, a, "|");
    check_said(a, "U");
    a = begin(&s);
    say(&s, a, "a");
    assert_has(buf_span(&a->text), "head 501 No Recording");
    assert_has(buf_span(&a->body), "\"reason\": \"exhausted\"");
    check_counters(&s, 2, 1, 0);
    stage_close(&s);
}

static void test_tracks(void **state)
{
    struct stage s;
    (void)state;
    OPEN(&s, NULL, TALK("aAb|", .track = "one"), TALK("aBb|", .track = "two"), TALK("aCb|", .track = "two"));
    const struct {
        const char *track, *answer;
    } asked[] = {{"two", "B"}, {"one", "A"}, {"two", "C"}, {"one", "A"}, {"three", "A"}, {"three", "B"}};
    for (size_t i = 0; i < ARRAY_LEN(asked); i++) {
        struct act *a = begin_track(&s, asked[i].track);
        say(&s, a, "a");
        check_said(a, asked[i].answer);
    }
    check_counters(&s, 6, 0, 0);
    stage_close(&s);
    OPEN(&s, NULL, TALK("aAb|", .track = "one"), TALK("cCd|", .track = "two"));
    struct act *a = begin_track(&s, "one");
    say(&s, a, "c"); /* the other track's */
    assert_has(buf_span(&a->text), "head 501 No Recording");
    check_counters(&s, 0, 1, 2);
    stage_close(&s);
}

/* ---- misses ---- */

static void test_another_message_is_a_miss(void **state)
{
    struct stage s;
    (void)state;
    OPEN(&s, NULL, TALK("aAbB|"));
    struct act *a = begin(&s);
    say(&s, a, "a");
    say(&s, a, "x");
    check_text(a, HEAD "error miss: the client's message differs from the recording\n");
    check_said(a, "A");
    check_miss(&s, "\"differences\": [{\"field\": \"message:2\", \"recorded\": \"b\", \"actual\": \"x\"}]",
               "the client's messages differ from flow 1 at message 2: recorded \"b\", now \"x\"");
    check_counters(&s, 1, 1, 0);
    stage_close(&s);
}

static void test_one_message_too_many_is_a_miss(void **state)
{
    struct stage s;
    (void)state;
    OPEN(&s, NULL, TALK("aAbB|C"));
    struct act *a = begin(&s);
    say(&s, a, "a");
    say(&s, a, "bc");
    check_said(a, "AB");
    check_text(a, HEAD "error miss: the recording holds no such message\n");
    check_miss(&s, "{\"field\": \"message:3\", \"recorded\": null, \"actual\": \"c\"}",
               "the client says more than flow 1 at message 3: \"c\"");
    stage_close(&s);
}

static void test_one_message_too_few_is_a_miss(void **state)
{
    struct stage s;
    (void)state;
    OPEN(&s, NULL, TALK("aAbB|"));
    struct act *a = begin(&s);
    say(&s, a, "a");
    say(&s, a, "|");
    check_text(a, HEAD "error miss: the client ended its request before the recording does\n");
    check_miss(&s, "{\"field\": \"message:2\", \"recorded\": \"b\", \"actual\": null}",
               "the client says less than flow 1 at message 2: recorded \"b\"");
    stage_close(&s);
}

static void test_another_first_message_is_a_miss_at_once(void **state)
{
    struct stage s;
    (void)state;
    OPEN(&s, NULL, TALK("aAbB|"), TALK("c|C"));
    struct act *a = begin(&s);
    uint64_t said = s.now_ns;
    say(&s, a, "x"); /* and it would wait for ever */
    assert_has(buf_span(&a->text), "head 501 No Recording HTTP/1.1|Content-Type: application/json");
    assert_has(buf_span(&a->body), "\"reason\": \"different\"");
    assert_int_equal(a->at_ns[0], said + QUIET);
    assert_null(a->x);
    check_counters(&s, 0, 1, 2);
    a = begin(&s);
    say_together(a, "x|"); /* one that ends is told of its body, as ever */
    stage_run(&s);
    assert_has(buf_span(&a->text), "head 501 No Recording");
    assert_has(buf_span(&a->body), "\"field\": \"body\"");
    stage_close(&s);
}

static void test_what_is_no_message_ends_it(void **state)
{
    struct stage s;
    (void)state;
    OPEN(&s, NULL, TALK("aAbB|"));
    struct act *a = begin(&s);
    say(&s, a, "a");
    act_request(a, PART_BODY, SPAN("no message"));
    stage_run(&s);
    check_text(a, HEAD "error parse: the client's gRPC messages cannot be read\n");
    a = begin(&s);
    act_request(a, PART_BODY, SPAN("no message")); /* before the match its end tells */
    stage_run(&s);
    check_text(a, "");
    say(&s, a, "|");
    assert_has(buf_span(&a->text), "head 501 No Recording");
    stage_close(&s);
}

/* ---- leaving ---- */

static void test_the_client_resets_in_the_middle(void **state)
{
    (void)state;
    for (int when = 0; when < 4; when++) {
        struct stage s;
        OPEN(&s, NULL, TALK("aAbB|"), TALK("aAbC|"));
        struct act *a = begin(&s);
        if (when > 0)
            say_together(a, "a");
        if (when > 1)
            stage_run(&s);
        if (when > 2)
            say_together(a, "b");
        exchange_destroy(&a->x, ERR_CLOSED, "the client is gone");
        stage_run(&s);
        check_said(a, when > 1 ? "A" : "");
        check_counters(&s, when > 1, 0, when > 1 ? 1 : 2);
        stage_close(&s);
    }
}

static void test_one_that_the_client_left_is_held(void **state)
{
    struct stage s;
    (void)state;
    OPEN(&s, NULL, TALK("aAbB!"));
    struct act *a = begin(&s);
    say(&s, a, "a");
    say(&s, a, "b");
    check_said(a, "AB");
    check_text(a, HEAD);
    assert_non_null(a->x); /* the tape does not say that the origin ended it */
    say(&s, a, "c");
    check_text(a, HEAD "error miss: the recording holds no such message\n");
    a = begin(&s);
    say(&s, a, "a");
    say(&s, a, "b|"); /* nor how it would have answered the end */
    check_text(a, HEAD "error closed: the client reset the stream\n");
    stage_close(&s);
}

/* ---- rules ---- */

static void test_pace(void **state)
{
    struct stage s;
    (void)state;
    OPEN(&s, OPTIONS("--pace recorded"), TALK("aABbbbC|D"));
    struct act *a = begin(&s);
    s.now_ns += 500 * NS_PER_MS;
    uint64_t said = s.now_ns;
    say(&s, a, "a");
    assert_int_equal(a->at_ns[0], said + NS_PER_MS); /* head and first message */
    assert_int_equal(a->at_ns[1], said + NS_PER_MS);
    assert_int_equal(a->at_ns[2], said + 2 * NS_PER_MS);
    s.now_ns += 500 * NS_PER_MS;
    say(&s, a, "bb");
    said = s.now_ns;
    say(&s, a, "b");
    assert_int_equal(a->at_ns[3], said + NS_PER_MS);
    s.now_ns += 500 * NS_PER_MS;
    said = s.now_ns;
    say(&s, a, "|");
    assert_int_equal(a->at_ns[4], said + NS_PER_MS);
    check_said(a, "ABCD");
    stage_close(&s);
}

static void test_bodies_that_are_not_compared(void **state)
{
    struct stage s;
    (void)state;
    OPEN(&s, OPTIONS("--ignore body"), TALK("abAcB|C"));
    struct act *a = begin(&s);
    check_text(a, "");
    say(&s, a, "x");
    check_text(a, "");
    say(&s, a, "y");
    check_said(a, "A");
    say(&s, a, "z");
    check_said(a, "AB");
    say(&s, a, "|");
    check_said(a, "ABC");
    check_text(a, HEAD TRAILERS "end\n");
    a = begin(&s);
    say(&s, a, "x|"); /* the end is enough */
    check_said(a, "ABC");
    check_counters(&s, 2, 0, 0);
    stage_close(&s);
}

static void test_compressed_messages(void **state)
{
    /* gzip of "b", by two compressors */
    static const char one[] = "\1\0\0\0\x15"
                              "\x1f\x8b\x08\0\0\0\0\0\0\x03\x4b\x02\0\xf9\xef\xbe\x71\1\0\0\0";
    static const char other[] = "\1\0\0\0\x18"
                                "\x1f\x8b\x08\0\0\0\0\0\0\x03\1\1\0\xfe\xff\x62\xf9\xef\xbe\x71\1\0\0\0";
    static const char *const zipped[] = {"content-type", "application/grpc+proto", "grpc-encoding", "gzip", NULL};
    static const struct fixture_message messages[] = {
        {.from_client = true, .kind = "grpc", .payload = "b", .at_ns = MS(1), .wire_bytes = sizeof one - 1},
        {.from_client = false, .kind = "grpc", .payload = "b", .at_ns = MS(2), .wire_bytes = sizeof one - 1},
        {.from_client = true, .kind = "grpc", .payload = "b", .at_ns = MS(3), .wire_bytes = sizeof one - 1},
    };
    struct stage s;
    struct buf both = BUF_INIT;
    (void)state;
    stage_open(&s, NULL);
    assert_int_equal(buf_put(&both, span_of(one, sizeof one - 1)), ERR_OK);
    assert_int_equal(buf_put(&both, span_of(one, sizeof one - 1)), ERR_OK);
    (void)fixture_add(&s.bench.tape, &(struct fixture_flow){.method = "POST",
                                                            .path = CALL,
                                                            .request_headers = zipped,
                                                            .request_body = buf_span(&both).p,
                                                            .request_body_n = both.n,
                                                            .response_headers = zipped,
                                                            .response_body = one,
                                                            .response_body_n = sizeof one - 1,
                                                            .request_end_ns = MS(4),
                                                            .response_begin_ns = MS(2),
                                                            .messages = messages,
                                                            .messages_n = ARRAY_LEN(messages)});
    buf_free(&both);
    stage_load(&s);
    struct act *a = stage_ask(&s, &(struct ask){.method = "POST", .path = CALL, .headers = zipped, .open = true});
    act_request(a, PART_BODY, span_of(other, sizeof other - 1));
    stage_run(&s);
    assert_int_equal(a->body.n, sizeof one - 1); /* as it was recorded */
    assert_memory_equal(buf_span(&a->body).p, one, sizeof one - 1);
    act_request(a, PART_BODY, span_of(other, sizeof other - 1));
    say(&s, a, "|");
    assert_has(buf_span(&a->text), "end\n");
    check_counters(&s, 1, 0, 0);
    stage_close(&s);
}

static void test_messages_that_the_tape_does_not_hold(void **state)
{
    struct stage s;
    (void)state;
    OPEN(&s, NULL, TALK("aAbBcC|", .kept = 9), TALK("d|D"));
    struct act *a = begin(&s);
    say(&s, a, "a");
    check_said(a, "A");
    say(&s, a, "xy|"); /* nothing is known of them but that they came */
    check_said(a, "ABC");
    check_text(a, HEAD TRAILERS "end\n");
    a = begin(&s);
    say(&s, a, "x"); /* may be one that was cut */
    check_text(a, "");
    say(&s, a, "yz|");
    check_said(a, "ABC"); /* by its length */
    check_counters(&s, 2, 0, 1);
    stage_close(&s);
    OPEN(&s, NULL, TALK("aAbB|", .kept = 3));
    a = begin(&s);
    check_text(a, HEAD); /* known by nothing */
    check_said(a, "");
    say(&s, a, "x");
    check_said(a, "A");
    say(&s, a, "y|");
    check_said(a, "AB");
    stage_close(&s);
}

static void test_answers_that_the_tape_does_not_hold(void **state)
{
    struct stage s;
    (void)state;
    OPEN(&s, NULL, TALK("aAbBcC|", .told = 8));
    struct act *a = begin(&s);
    say(&s, a, "a");
    check_said(a, "A");
    say(&s, a, "b"); /* and it would wait for ever */
    assert_int_equal(a->body.n, 8);
    check_text(a, HEAD "error truncated: the tape does not hold all of this body (--max-body)\n");
    stage_close(&s);
}

static void test_grpc_web_is_not_in_turns(void **state)
{
    static const char *const web[] = {"content-type", "application/grpc-web+proto", NULL};
    struct stage s;
    (void)state;
    OPEN(&s, NULL, TALK("aAbB|"));
    struct act *a = stage_ask(&s, &(struct ask){.method = "POST", .path = CALL, .headers = web, .open = true});
    say(&s, a, "a");
    check_text(a, "");
    say(&s, a, "b|");
    check_said(a, "AB");
    stage_close(&s);
}

static void test_a_client_that_reads_slowly(void **state)
{
    struct stage s;
    (void)state;
    OPEN(&s, NULL, TALK("aABbC|"));
    struct act *a =
        stage_ask(&s, &(struct ask){.method = "POST", .path = CALL, .headers = grpc, .open = true, .pause_each = true});
    say(&s, a, "a");
    say(&s, a, "b|");
    check_said(a, "");
    for (int i = 0; a->x && i < 20; i++) {
        exchange_pause_response(a->x, false);
        stage_run(&s);
    }
    check_said(a, "ABC");
    check_text(a, HEAD TRAILERS "end\n");
    stage_close(&s);
}

static void test_much_that_is_not_compared_yet(void **state)
{
    struct stage s;
    (void)state;
    OPEN(&s, NULL, TALK("aAbB|"));
    struct act *a =
        stage_ask(&s, &(struct ask){.method = "POST", .path = CALL, .headers = grpc, .open = true, .pause_each = true});
    say(&s, a, "a");
    static uint8_t much[5 + LIMIT_SEND_HIGH] = {0, LIMIT_SEND_HIGH >> 24 & 0xff, LIMIT_SEND_HIGH >> 16 & 0xff,
                                                LIMIT_SEND_HIGH >> 8 & 0xff, LIMIT_SEND_HIGH & 0xff};
    act_request(a, PART_BODY, span_of(much, sizeof much));
    stage_run(&s);
    assert_true(a->request_paused);
    for (int i = 0; a->x && i < 20; i++) {
        exchange_pause_response(a->x, false);
        stage_run(&s);
    }
    check_miss(&s, "\"message:2\"", "differ from flow 1 at message 2");
    assert_null(a->x);
    stage_close(&s);
}

static void test_running_out_of_memory(void **state)
{
    (void)state;
    for (long n = 0; n < 60; n++) {
        struct stage s;
        OPEN(&s, NULL, TALK("aAbB|"), TALK("aAbC|"));
        struct act *a = begin(&s);
        mem_fail_after(n);
        act_request(a, PART_BODY, SPAN(M1("a") M1("b")));
        stage_run(&s);
        act_request(a, PART_END, SPAN_EMPTY);
        mem_fail_after(-1);
        stage_run(&s);
        assert_null(a->x);
        stage_close(&s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_after_what_it_followed),
        cmocka_unit_test(test_a_call_at_every_chunk_size),
        cmocka_unit_test(test_one_that_does_not_wait),
        cmocka_unit_test(test_one_that_says_much_at_once),
        cmocka_unit_test(test_the_server_speaks_first),
        cmocka_unit_test(test_the_server_ends_first),
        cmocka_unit_test(test_two_of_one_path),
        cmocka_unit_test(test_two_that_begin_alike_come_in_order),
        cmocka_unit_test(test_unary_beside_it),
        cmocka_unit_test(test_identical_calls_come_in_order),
        cmocka_unit_test(test_orders),
        cmocka_unit_test(test_once),
        cmocka_unit_test(test_tracks),
        cmocka_unit_test(test_another_message_is_a_miss),
        cmocka_unit_test(test_one_message_too_many_is_a_miss),
        cmocka_unit_test(test_one_message_too_few_is_a_miss),
        cmocka_unit_test(test_another_first_message_is_a_miss_at_once),
        cmocka_unit_test(test_what_is_no_message_ends_it),
        cmocka_unit_test(test_the_client_resets_in_the_middle),
        cmocka_unit_test(test_one_that_the_client_left_is_held),
        cmocka_unit_test(test_pace),
        cmocka_unit_test(test_bodies_that_are_not_compared),
        cmocka_unit_test(test_compressed_messages),
        cmocka_unit_test(test_messages_that_the_tape_does_not_hold),
        cmocka_unit_test(test_answers_that_the_tape_does_not_hold),
        cmocka_unit_test(test_grpc_web_is_not_in_turns),
        cmocka_unit_test(test_a_client_that_reads_slowly),
        cmocka_unit_test(test_much_that_is_not_compared_yet),
        cmocka_unit_test(test_running_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
