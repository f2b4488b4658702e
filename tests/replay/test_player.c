/* test_player.c: the origin that answers from a tape, HTTP: what a client sees of a recording, whatever it was and whatever the client does meanwhile.
 * Promises 1, 8, 13, 17, 27, 28, 30. */
#include "stage.h"

#include <jansson.h>
#include <sqlite3.h>

#define OK_HEAD "head 200 OK HTTP/1.1|Content-Type: text/plain"

static void sql(const struct stage *s, const char *text)
{
    sqlite3 *db;
    char *error = NULL;
    assert_int_equal(sqlite3_open(s->bench.path, &db), SQLITE_OK);
    if (sqlite3_exec(db, text, NULL, NULL, &error) != SQLITE_OK)
        fail_msg("%s: %s", text, error);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

/* One recording, one request of the same method and path: what the client sees. */
static void check_play(const char *const *options, const struct fixture_flow *flow, const struct ask *ask,
                       const char *text, const char *body)
{
    struct stage s;
    stage_open(&s, options);
    (void)fixture_add(&s.bench.tape, flow);
    stage_load(&s);
    struct act *a = stage_ask(&s, ask);
    stage_run(&s);
    check_text(a, text);
    assert_text(buf_span(&a->body), body);
    assert_null(a->x);
    stage_close(&s);
}

static void test_a_hit_is_the_recorded_head_and_body(void **state)
{
    (void)state;
    static const char *const fields[] = {
        "server", "Nginx",          "X-Twice", "1", "Content-Type", "text/html; charset=UTF-8", "x-twice",
        "2",      "Content-Length", "5",       NULL};
    check_play(
        NULL, &(struct fixture_flow){.response_headers = fields, .response_body = "hello"}, &(struct ask){0},
        "head 200 OK HTTP/1.1|server: Nginx|X-Twice: 1|Content-Type: text/html; charset=UTF-8|x-twice: 2|Content-Length: 5\nend\n",
        "hello");
    check_play(NULL, &(struct fixture_flow){.status = 404, .reason = "Nope", .version = "HTTP/1.0"}, &(struct ask){0},
               "head 404 Nope HTTP/1.0|Content-Type: text/plain|no body\nend\n", "");
    check_play(NULL, &(struct fixture_flow){.method = "POST", .request_body = "a=1", .response_body = "x"},
               &(struct ask){.method = "POST", .body = "a=1"}, OK_HEAD "\nend\n", "x");
    /* promise 28: coded bytes and the field that says so stay together */
    check_play(NULL,
               &(struct fixture_flow){.response_headers = OPTIONS("Content-Encoding", "gzip", "Content-Length", "6"),
                                      .response_body = "\x1f\x8b zip"},
               &(struct ask){0}, "head 200 OK HTTP/1.1|Content-Encoding: gzip|Content-Length: 6\nend\n",
               "\x1f\x8b zip");
}

static void test_tag(void **state)
{
    struct stage s;
    (void)state;
    stage_open(&s, OPTIONS("--tag"));
    (void)fixture_add(&s.bench.tape, &(struct fixture_flow){.path = "/other"});
    (void)fixture_add(&s.bench.tape, &(struct fixture_flow){.response_body = "x"});
    stage_load(&s);
    for (int i = 1; i <= 2; i++) {
        struct act *a = stage_ask(&s, &(struct ask){0});
        stage_run(&s);
        check_text(a, i == 1 ? OK_HEAD "|Ringtape: hit; flow=2; n=1\nend\n"
                             : OK_HEAD "|Ringtape: hit; flow=2; n=2\nend\n");
    }
    stage_close(&s);
}

static void test_messages_without_a_body_keep_their_fields(void **state)
{
    (void)state;
    /* promise 27 */
    static const char *const length[] = {"Content-Length", "1000", NULL};
    check_play(NULL, &(struct fixture_flow){.method = "HEAD", .response_headers = length},
               &(struct ask){.method = "HEAD"}, "head 200 OK HTTP/1.1|Content-Length: 1000|no body\nend\n", "");
    check_play(NULL, &(struct fixture_flow){.status = 304, .reason = "Not Modified", .response_headers = length},
               &(struct ask){0}, "head 304 Not Modified HTTP/1.1|Content-Length: 1000|no body\nend\n", "");
    check_play(NULL,
               &(struct fixture_flow){.status = 204, .reason = "No Content", .response_headers = OPTIONS("X", "y")},
               &(struct ask){0}, "head 204 No Content HTTP/1.1|X: y|no body\nend\n", "");
}

static void test_a_length_is_kept_when_it_is_true(void **state)
{
    static const struct {
        const char *length, *body, *error, *text;
    } cases[] = {
        {"5", "hello", NULL, "head 200 OK HTTP/1.1|Content-Length: 5\nend\n"},
        {"4", "hello", NULL, "head 200 OK HTTP/1.1\nend\n"},
        {"6", "hello", NULL, "head 200 OK HTTP/1.1\nend\n"},
        {"five", "hello", NULL, "head 200 OK HTTP/1.1\nend\n"},
        {"0", NULL, NULL, "head 200 OK HTTP/1.1|Content-Length: 0|no body\nend\n"},
        /* The recording broke off: the client sees that. */
        {"9", "hello", "reset: the origin reset",
         "head 200 OK HTTP/1.1|Content-Length: 9\nerror reset: the origin reset\n"},
        {"4", "hello", "reset: the origin reset", "head 200 OK HTTP/1.1\nerror reset: the origin reset\n"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check_play(NULL,
                   &(struct fixture_flow){.response_headers = OPTIONS("Content-Length", cases[i].length),
                                          .response_body = cases[i].body,
                                          .error = cases[i].error},
                   &(struct ask){0}, cases[i].text, cases[i].body ? cases[i].body : "");
}

static void test_trailers(void **state)
{
    static const char *const trailers[] = {"X-Sum", "abc", "x-more", "1", NULL};
    (void)state;
    /* promise 17 */
    check_play(NULL, &(struct fixture_flow){.response_body = "x", .response_trailers = trailers}, &(struct ask){0},
               OK_HEAD "\ntrailers|X-Sum: abc|x-more: 1\nend\n", "x");
    check_play(NULL, &(struct fixture_flow){.response_trailers = trailers}, &(struct ask){0},
               OK_HEAD "\ntrailers|X-Sum: abc|x-more: 1\nend\n", "");
    check_play(NULL,
               &(struct fixture_flow){.response_body = "x", .response_trailers = trailers, .error = "reset: gone"},
               &(struct ask){0}, OK_HEAD "\nerror reset: gone\n", "x");
}

static void test_informational_answers(void **state)
{
    (void)state;
    check_play(
        NULL,
        &(struct fixture_flow){
            .informational =
                "[[100,\"Continue\",[],100],[103,\"Early \\\"Hints\\\"\",[[\"Link\",\"</a>\"],[\"Link\",\"</b>\"]],200],"
                "[102,\"\",[],300]]"},
        &(struct ask){0},
        "info 103 Early \"Hints\" HTTP/1.1|Link: </a>|Link: </b>\ninfo 102  HTTP/1.1\n" OK_HEAD "|no body\nend\n", "");
    /* What a hostile tape may hold there is left out. */
    static const char *const odd[] = {"[]",
                                      "[[]]",
                                      "[[103]]",
                                      "[[103,\"\",[]]]",
                                      "[[200,\"\",[],1]]",
                                      "[[\"103\",\"\",[],1]]",
                                      "[[103,\"\",{},1]]",
                                      "[[103,1,[],1]]",
                                      "[103]",
                                      "{}",
                                      "[[101,\"\",[],1]]"};
    for (size_t i = 0; i < ARRAY_LEN(odd); i++)
        check_play(NULL, &(struct fixture_flow){.informational = odd[i]}, &(struct ask){0}, OK_HEAD "|no body\nend\n",
                   "");
    check_play(NULL, &(struct fixture_flow){.informational = "[[103,\"a\",[],1],7,[103,\"b\",[],-5]]"},
               &(struct ask){0}, "info 103 a HTTP/1.1\ninfo 103 b HTTP/1.1\n" OK_HEAD "|no body\nend\n", "");
}

static void test_expect_continue(void **state)
{
    struct stage s;
    static const char *const expect[] = {"Expect", "100-Continue", NULL};
    (void)state;
    stage_open(&s, NULL);
    (void)fixture_add(&s.bench.tape, &(struct fixture_flow){.method = "POST",
                                                            .request_body = "abc",
                                                            .response_body = "x",
                                                            .informational = "[[100,\"Continue\",[],1]]"});
    stage_load(&s);
    struct act *a = stage_ask(&s, &(struct ask){.method = "POST", .headers = expect, .open = true});
    stage_run(&s);
    check_text(a, "info 100 Continue HTTP/1.1\n");
    act_request(a, PART_BODY, SPAN("abc"));
    act_request(a, PART_END, SPAN_EMPTY);
    stage_run(&s);
    check_text(a, "info 100 Continue HTTP/1.1\n" OK_HEAD "\nend\n");
    /* One that does not wait is not told. */
    a = stage_ask(&s, &(struct ask){.method = "POST", .headers = expect, .body = "abc"});
    stage_run(&s);
    check_text(a, OK_HEAD "\nend\n");
    stage_close(&s);
}

static void test_recordings_that_broke_off(void **state)
{
    (void)state;
    check_play(NULL, &(struct fixture_flow){.response_body = "half", .error = "truncated: the origin closed early"},
               &(struct ask){0}, OK_HEAD "\nerror truncated: the origin closed early\n", "half");
    check_play(NULL, &(struct fixture_flow){.response_body = "half", .error = "no such word"}, &(struct ask){0},
               OK_HEAD "\nerror truncated: no such word\n", "half");
    check_play(NULL, &(struct fixture_flow){.response_body = "half", .incomplete = true, .response_end_ns = -1},
               &(struct ask){0}, OK_HEAD "\nerror truncated: the recording breaks off here\n", "half");
    /* Before there was a head: the client's leg answers, as it did then. */
    check_play(NULL,
               &(struct fixture_flow){
                   .no_response = true, .answered = true, .status = 502, .error = "refused: connection refused"},
               &(struct ask){0}, "error refused: connection refused\n", "");
    check_play(
        NULL,
        &(struct fixture_flow){.no_response = true, .answered = true, .status = 504, .error = "timeout: no answer"},
        &(struct ask){0}, "error timeout: no answer\n", "");
    check_play(NULL, &(struct fixture_flow){.no_response = true, .error = "tls-verify"}, &(struct ask){0},
               "error tls-verify: tls-verify\n", "");
}

/* --max-body cut what is kept: what there is, then an end that is no good one. */
/* The client ended the recorded stream, or the recording did: the origin would have gone on. */
static void test_event_streams_that_were_left_stay_open(void **state)
{
    static const struct {
        const char *type, *error, *end;
    } cases[] = {
        {"text/event-stream", "closed: the client closed the connection", ""},
        {"Text/Event-Stream; charset=utf-8", "cancelled: the client cancelled", ""},
        {"text/event-stream", "shutdown: ringtape is stopping", ""},
        {"text/event-stream", "truncated: the origin closed early", "error truncated: the origin closed early\n"},
        {"text/event-stream", "reset: gone", "error reset: gone\n"},
        {"text/event-stream", NULL, "end\n"},
        {"text/plain", "closed: gone", "error closed: gone\n"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct stage s;
        struct buf want = BUF_INIT;
        stage_open(&s, NULL);
        (void)fixture_add(&s.bench.tape,
                          &(struct fixture_flow){.response_headers = OPTIONS("Content-Type", cases[i].type),
                                                 .response_body = "data: a\n\n",
                                                 .error = cases[i].error});
        stage_load(&s);
        struct act *a = stage_ask(&s, &(struct ask){0});
        stage_run(&s);
        assert_int_equal(buf_printf(&want, "head 200 OK HTTP/1.1|Content-Type: %s\n%s", cases[i].type, cases[i].end),
                         ERR_OK);
        check_text(a, buf_cstr(&want));
        assert_text(buf_span(&a->body), "data: a\n\n");
        assert_true((a->x != NULL) == (cases[i].end[0] == '\0'));
        if (a->x)
            exchange_destroy(&a->x, ERR_CLOSED, "the client closed the connection");
        stage_close(&s);
        buf_free(&want);
    }
}

static void test_bodies_that_the_tape_does_not_hold(void **state)
{
    struct stage s;
    (void)state;
    stage_open(&s, NULL);
    (void)fixture_add(&s.bench.tape, &(struct fixture_flow){.response_headers = OPTIONS("Content-Length", "1000"),
                                                            .response_body = "half"});
    bench_load(&s.bench);
    sql(&s, "UPDATE flow SET response_bytes = 1000");
    stage_load(&s);
    struct act *a = stage_ask(&s, &(struct ask){0});
    stage_run(&s);
    check_text(
        a,
        "head 200 OK HTTP/1.1|Content-Length: 1000\nerror truncated: the tape does not hold all of this body (--max-body)\n");
    assert_text(buf_span(&a->body), "half");
    stage_close(&s);
}

/* The bytes of a tunnel lie in rows, not in a body: it ends well when the rows hold as many as were said. */
static void test_tunnels_that_the_tape_does_not_hold(void **state)
{
    static const struct fixture_message greeting = {.payload = "220 hi\r\n", .at_ns = 6000000};
    static const char *const sizes[] = {"8", "1000"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++) {
        struct stage s;
        char text[64];
        stage_open(&s, NULL);
        (void)fixture_add(&s.bench.tape, &(struct fixture_flow){.kind = "tunnel",
                                                                .method = "CONNECT",
                                                                .scheme = "",
                                                                .path = "",
                                                                .port = 25,
                                                                .response_headers = OPTIONS(NULL),
                                                                .messages = &greeting,
                                                                .messages_n = 1});
        bench_load(&s.bench);
        (void)snprintf(text, sizeof text, "UPDATE flow SET response_bytes = %s", sizes[i]);
        sql(&s, text);
        stage_load(&s);
        struct act *a = stage_ask(&s, &(struct ask){.tunnel = true, .scheme = "", .port = 25, .open = true});
        stage_run(&s);
        check_text(a, i == 0 ? "head 200 OK HTTP/1.1\nend\n"
                             : "head 200 OK HTTP/1.1\n"
                               "error truncated: the tape does not hold all bytes of this tunnel (--max-body)\n");
        assert_text(buf_span(&a->body), "220 hi\r\n");
        stage_close(&s);
    }
}

/* The same for requests: they are told apart by the length of what was sent. */
static void test_request_bodies_that_the_tape_does_not_hold(void **state)
{
    static const char *const json[] = {"Content-Type", "application/json", NULL};
    struct stage s;
    (void)state;
    stage_open(&s, NULL);
    (void)fixture_add(&s.bench.tape,
                      &(struct fixture_flow){
                          .method = "PUT", .request_headers = json, .request_body = "{\"a", .response_body = "cut"});
    (void)fixture_add(&s.bench.tape, &(struct fixture_flow){.method = "PUT",
                                                            .request_headers = json,
                                                            .request_body = "{\"a\":1}",
                                                            .response_body = "whole"});
    bench_load(&s.bench);
    matcher_destroy(&s.bench.matcher);
    sql(&s, "UPDATE flow SET request_bytes = 10 WHERE id = 1");
    fixture_open(&s.bench.tape, s.bench.path);
    stage_load(&s);
    static const struct {
        const char *body, *answer;
    } cases[] = {
        {"{\"a\":1}", "whole"}, {"{ \"a\": 1}", "whole"}, {"{\"a\":1234}", "cut"}, /* ten bytes, whatever they are */
        {"{\"a\":123}", NULL},  {"{\"a\":12345}", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct act *a = stage_ask(&s, &(struct ask){.method = "PUT", .headers = json, .body = cases[i].body});
        stage_run(&s);
        if (cases[i].answer)
            assert_text(buf_span(&a->body), cases[i].answer);
        else
            assert_has(buf_span(&a->text), "Ringtape: miss");
    }
    /* What differs, when something else does: not the body. */
    struct act *a =
        stage_ask(&s, &(struct ask){.method = "PUT", .path = "/?x=1", .headers = json, .body = "{\"b\":1234}"});
    stage_run(&s);
    assert_has(
        buf_span(&a->body),
        "{\"flow\": 1, \"url\": \"http://example.test/\", \"differences\": [{\"field\": \"query:x\", \"recorded\": null, \"actual\": \"1\"}]}");
    stage_close(&s);
}

static void test_a_miss(void **state)
{
    static const struct {
        const char *option, *method, *begin;
        bool body;
    } cases[] = {
        {NULL, "GET", "head 501 No Recording HTTP/1.1|Content-Type: application/json|Content-Length: ", true},
        {"--miss-status 404", "POST",
         "head 404 No Recording HTTP/1.1|Content-Type: application/json|Content-Length: ", true},
        {NULL, "HEAD", "head 501 No Recording HTTP/1.1|Content-Type: application/json|Content-Length: ", false},
        {"--miss-status 304", "GET",
         "head 304 No Recording HTTP/1.1|Content-Type: application/json|Content-Length: ", false},
        /* RFC 9110, section 8.6: no length in a 204 */
        {"--miss-status 204", "GET",
         "head 204 No Recording HTTP/1.1|Content-Type: application/json|Ringtape: miss|no body\nend\n", false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct stage s;
        struct matcher_miss miss;
        struct matcher_counters n;
        size_t at = 0;
        stage_open(&s, OPTIONS(cases[i].option));
        (void)fixture_add(&s.bench.tape, &(struct fixture_flow){.path = "/a?t=1", .method = cases[i].method});
        stage_load(&s);
        struct act *a = stage_ask(&s, &(struct ask){.path = "/a?t=2", .method = cases[i].method});
        stage_run(&s);
        assert_true(span_starts_with(buf_span(&a->text), span_str(cases[i].begin)));
        assert_has(buf_span(&a->text), cases[i].body ? "|Ringtape: miss\nend\n" : "|Ringtape: miss|no body\nend\n");
        /* promise 8: a reason, and it is what the report keeps */
        assert_true(matcher_next_miss(s.bench.matcher, &at, &miss));
        assert_has(miss.json, "\"field\": \"query:t\"");
        if (cases[i].body) {
            char length[64];
            assert_true(span_eq(buf_span(&a->body), miss.json));
            (void)snprintf(length, sizeof length, "|Content-Length: %zu|", a->body.n);
            assert_has(buf_span(&a->text), length);
        } else {
            assert_int_equal(a->body.n, 0);
        }
        json_t *parsed = json_loadb((const char *)miss.json.p, miss.json.n, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(parsed);
        json_decref(parsed);
        matcher_get_counters(s.bench.matcher, &n);
        assert_int_equal(n.missed, 1);
        assert_int_equal(n.served, 0);
        stage_close(&s);
    }
}

/* --- time -------------------------------------------------------------------------------------------------------- */

static const struct fixture_flow paced = {
    .response_body = "abcdef",
    .response_chunk = 2, /* at 5, 6, 7 ms */
    .informational = "[[103,\"\",[],3000000]]",
    .response_trailers = (const char *const[]){"T", "1", NULL},
};

static void check_times(const char *option, const uint64_t *half_ms_after, size_t n)
{
    struct stage s;
    stage_open(&s, OPTIONS(option));
    (void)fixture_add(&s.bench.tape, &paced);
    stage_load(&s);
    s.now_ns += 77;
    uint64_t begin = s.now_ns;
    struct act *a = stage_ask(&s, &(struct ask){0});
    stage_run(&s);
    check_text(a, "info 103  HTTP/1.1\n" OK_HEAD "\ntrailers|T: 1\nend\n");
    assert_text(buf_span(&a->body), "abcdef");
    assert_int_equal(a->parts, n);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(a->at_ns[i], begin + half_ms_after[i] * NS_PER_MS / 2);
    stage_close(&s);
}

static void test_pace(void **state)
{
    (void)state;
    /* promise 13: the request ended 1 ms after its start; then 103 at 3, the head at 5, pieces at 5, 6, 7, the end at 8 */
    check_times("--pace recorded", (const uint64_t[]){4, 8, 8, 10, 12, 14, 14}, 7);
    check_times("--pace 2", (const uint64_t[]){8, 16, 16, 20, 24, 28, 28}, 7);
    check_times("--pace 0.5", (const uint64_t[]){2, 4, 4, 5, 6, 7, 7}, 7);
}

static void test_instant_takes_no_time(void **state)
{
    struct stage s;
    (void)state;
    stage_open(&s, NULL);
    (void)fixture_add(&s.bench.tape, &paced);
    (void)fixture_add(&s.bench.tape, &(struct fixture_flow){.path = "/failed",
                                                            .no_response = true,
                                                            .error = "timeout: x",
                                                            .response_end_ns = 60 * (int64_t)NS_PER_S});
    stage_load(&s);
    uint64_t begin = s.now_ns;
    struct act *a = stage_ask(&s, &(struct ask){0}), *b = stage_ask(&s, &(struct ask){.path = "/failed"});
    stage_run(&s);
    assert_true(!a->x && !b->x);
    assert_int_equal(s.now_ns, begin);
    stage_close(&s);
    /* A failure takes its time when time is asked for. */
    stage_open(&s, OPTIONS("--pace recorded"));
    (void)fixture_add(&s.bench.tape, &(struct fixture_flow){.no_response = true,
                                                            .error = "timeout: x",
                                                            .response_end_ns = 60 * (int64_t)NS_PER_S});
    stage_load(&s);
    a = stage_ask(&s, &(struct ask){0});
    begin = s.now_ns;
    stage_run(&s);
    check_text(a, "error timeout: x\n");
    assert_int_equal(s.now_ns - begin, 60 * NS_PER_S - NS_PER_MS);
    stage_close(&s);
}

/* An answer that began before its request had ended does so again, where the body is not compared. */
static void test_early_answers(void **state)
{
    struct stage s;
    (void)state;
    stage_open(&s, OPTIONS("--ignore body"));
    (void)fixture_add(&s.bench.tape, &(struct fixture_flow){.method = "POST",
                                                            .request_end_ns = 9 * (int64_t)NS_PER_MS,
                                                            .response_body = "early"});
    (void)fixture_add(&s.bench.tape,
                      &(struct fixture_flow){.method = "POST", .path = "/late", .response_body = "late"});
    stage_load(&s);
    struct act *a = stage_ask(&s, &(struct ask){.method = "POST", .open = true});
    stage_run(&s);
    check_text(a, OK_HEAD "\nend\n");
    a = stage_ask(&s, &(struct ask){.method = "POST", .path = "/late", .open = true});
    stage_run(&s);
    check_text(a, "");
    act_request(a, PART_BODY, SPAN("x"));
    stage_run(&s);
    check_text(a, "");
    act_request(a, PART_END, SPAN_EMPTY);
    stage_run(&s);
    check_text(a, OK_HEAD "\nend\n");
    stage_close(&s);
}

static void test_a_request_that_breaks_off(void **state)
{
    struct stage s;
    struct matcher_counters n;
    (void)state;
    stage_open(&s, NULL);
    (void)fixture_add(&s.bench.tape, &(struct fixture_flow){.method = "POST", .request_body = "abc"});
    stage_load(&s);
    struct act *a = stage_ask(&s, &(struct ask){.method = "POST", .open = true});
    act_request(a, PART_BODY, SPAN("ab"));
    act_request(a, PART_ERROR, SPAN_EMPTY);
    stage_run(&s);
    check_text(a, "error truncated: the client's body broke off\n");
    matcher_get_counters(s.bench.matcher, &n);
    assert_int_equal(n.served + n.missed, 0); /* it asked for nothing yet */
    stage_close(&s);
}

/* --- what goes wrong --------------------------------------------------------------------------------------------- */

static void test_damaged_recordings(void **state)
{
    static const char *const damage[] = {
        "UPDATE header_block SET fields = CASE WHEN id = (SELECT response_headers FROM flow) THEN 'x' ELSE fields END",
        "DELETE FROM flow",
        "UPDATE flow SET status = 99",
        "UPDATE flow SET status = 101",
        "UPDATE flow SET status = 1000",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(damage); i++) {
        struct stage s;
        struct matcher_counters n;
        stage_open(&s, NULL);
        (void)fixture_add(&s.bench.tape, &(struct fixture_flow){.response_body = "x"});
        bench_load(&s.bench);
        sql(&s, "PRAGMA ignore_check_constraints = 1");
        sql(&s, damage[i]);
        stage_load(&s);
        struct act *a = stage_ask(&s, &(struct ask){0});
        stage_run(&s);
        assert_null(a->x);
        assert_true(span_starts_with(buf_span(&a->text), SPAN("error ")));
        matcher_get_counters(s.bench.matcher, &n);
        assert_int_equal(n.served, 1);
        stage_close(&s);
    }
}

static void test_several_at_once_and_large_bodies(void **state)
{
    enum { BIG = 3 << 20 };
    struct stage s;
    uint8_t *big = malloc(BIG);
    (void)state;
    assert_non_null(big);
    for (size_t i = 0; i < BIG; i++)
        big[i] = (uint8_t)(i * 31 >> 3);
    stage_open(&s, NULL);
    (void)fixture_add(
        &s.bench.tape,
        &(struct fixture_flow){.path = "/big", .response_body = big, .response_body_n = BIG, .response_chunk = 50000});
    (void)fixture_add(&s.bench.tape, &(struct fixture_flow){.path = "/small", .response_body = "x"});
    stage_load(&s);
    struct act *a = stage_ask(&s, &(struct ask){.path = "/big"}), *b = stage_ask(&s, &(struct ask){.path = "/big"});
    struct act *c = stage_ask(&s, &(struct ask){.path = "/small"});
    for (int i = 0; i < 3; i++)
        assert_true(stage_turn(&s));
    assert_null(c->x); /* the small one does not wait for the big ones */
    assert_in_range(a->body.n, 1, 1 << 19);
    assert_in_range(b->body.n, 1, 1 << 19);
    stage_run(&s);
    assert_int_equal(a->body.n, BIG);
    assert_memory_equal(buf_span(&a->body).p, big, BIG);
    assert_memory_equal(buf_span(&b->body).p, big, BIG);
    stage_close(&s);
    free(big);
}

/* Every kind of answer, for what must hold at any moment. */
static const struct {
    struct fixture_flow flow;
    struct ask ask;
} kinds[] = {
    {{.path = "/a",
      .response_body = "abcdef",
      .response_chunk = 1,
      .informational = "[[103,\"\",[[\"a\",\"b\"]],3000000],[103,\"\",[],4000000]]",
      .response_trailers = (const char *const[]){"T", "1", NULL}},
     {.path = "/a"}},
    {{.path = "/b", .method = "POST", .request_body = "abc", .response_body = "x", .error = "reset: y"},
     {.path = "/b", .method = "POST", .body = "abc", .headers = (const char *const[]){"Expect", "100-continue", NULL}}},
    {{.path = "/c", .no_response = true, .error = "refused: z"}, {.path = "/c"}},
    {{.path = "/d"}, {.path = "/missed", .method = "POST", .body = "{}"}},
    {{.path = "/e", .method = "HEAD"}, {.path = "/e", .method = "HEAD"}},
};

static void kinds_open(struct stage *s)
{
    stage_open(s, OPTIONS("--pace recorded", "--order first"));
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        (void)fixture_add(&s->bench.tape, &kinds[i].flow);
    stage_load(s);
}

/* Paused after each part and let go on later: the same answer; while paused, nothing. */
static void test_pausing_at_any_moment(void **state)
{
    struct stage s;
    (void)state;
    kinds_open(&s);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        struct ask slow = kinds[i].ask;
        slow.pause_each = true;
        struct act *free_run = stage_ask(&s, &kinds[i].ask);
        stage_run(&s);
        struct act *a = stage_ask(&s, &slow);
        int turns = 0;
        for (stage_run(&s); a->x; stage_run(&s)) {
            size_t parts = a->parts;
            s.now_ns += NS_PER_S;
            stage_run(&s);
            assert_int_equal(a->parts, parts);
            assert_true(++turns < 100);
            exchange_pause_response(a->x, false);
        }
        assert_int_equal(a->parts, free_run->parts);
        assert_true(span_eq(buf_span(&a->text), buf_span(&free_run->text)));
        assert_true(span_eq(buf_span(&a->body), buf_span(&free_run->body)));
        stage_forget_acts(&s);
    }
    stage_close(&s);
}

/* The client hangs up after any number of turns: nothing is called any more, nothing leaks, the next one is served. */
static void test_cancelling_at_any_moment(void **state)
{
    struct stage s;
    (void)state;
    kinds_open(&s);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        bool over = false;
        for (int turns = 0; !over; turns++) {
            struct act *a = stage_ask(&s, &kinds[i].ask);
            assert_true(turns < 100);
            for (int k = 0; k < turns; k++)
                (void)stage_turn(&s);
            over = a->x == NULL;
            size_t parts = a->parts;
            exchange_destroy(&a->x, ERR_CLOSED, "the client is gone");
            stage_run(&s);
            assert_int_equal(a->parts, parts);
            stage_forget_acts(&s);
        }
    }
    /* With the request still under way. */
    struct act *a = stage_ask(&s, &(struct ask){.path = "/b", .method = "POST", .open = true, .body = "ab"});
    stage_run(&s);
    exchange_destroy(&a->x, ERR_CLOSED, "");
    /* The player goes while plays are at work: they have been let go of before. */
    (void)stage_ask(&s, &kinds[0].ask);
    (void)stage_turn(&s);
    stage_close(&s);
}

/* Memory runs out at any allocation: an answer, an error or both in part; never a hang, a leak or a wrong body. */
static void test_out_of_memory(void **state)
{
    struct stage s;
    (void)state;
    kinds_open(&s);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        bool untouched = false;
        for (long n = 0; !untouched; n++) {
            struct act *a =
                stage_ask(&s, &(struct ask){.path = kinds[i].ask.path, .method = kinds[i].ask.method, .open = true});
            assert_true(n < 500);
            mem_fail_after(n);
            if (kinds[i].ask.body)
                act_request(a, PART_BODY, span_str(kinds[i].ask.body));
            act_request(a, PART_END, SPAN_EMPTY);
            for (int turns = 0; turns < 100 && a->x; turns++)
                (void)stage_turn(&s);
            mem_fail_after(-1);
            assert_null(a->x);
            assert_true(has_text(buf_span(&a->text), "end\n") || has_text(buf_span(&a->text), "error "));
            untouched = !has_text(buf_span(&a->text), "no-memory") && n > 40;
            if (kinds[i].flow.response_body && i != 3)
                assert_true(span_starts_with(span_str(kinds[i].flow.response_body), buf_span(&a->body)));
            stage_forget_acts(&s);
        }
    }
    /* Not even a play: the client's leg tells its client. */
    struct head head = HEAD_INIT;
    struct exchange *x;
    head_clear(&head, HEAD_REQUEST);
    struct stage fresh;
    stage_open(&fresh, NULL);
    stage_load(&fresh);
    assert_int_equal(exchange_create(&x, 1, FLOW_HTTP, &fresh.pipeline, fresh.client, &stage_client, NULL), ERR_OK);
    mem_fail_after(0);
    exchange_request(x, &(struct event){.part = PART_HEAD, .head = &head});
    mem_fail_after(-1);
    assert_true(x->origin_open && !x->origin_state);
    exchange_request(x, &(struct event){.part = PART_END});
    exchange_pause_response(x, true);
    exchange_destroy(&x, ERR_NOMEM, "");
    head_free(&head);
    stage_close(&fresh);
    stage_close(&s);
}

static void test_creating_out_of_memory(void **state)
{
    struct stage s;
    struct player *player;
    enum err e = ERR_NOMEM;
    (void)state;
    stage_open(&s, NULL);
    bench_load(&s.bench);
    struct player_options options = {.matcher = s.bench.matcher, .scheduler = &s.scheduler};
    for (long n = 0; e == ERR_NOMEM; n++) {
        struct buf problem = BUF_INIT;
        assert_true(n < 100);
        mem_fail_after(n);
        e = player_create(&player, &options, &problem);
        mem_fail_after(-1);
        buf_free(&problem);
    }
    assert_int_equal(e, ERR_OK);
    player_destroy(&player);
    stage_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_hit_is_the_recorded_head_and_body),
        cmocka_unit_test(test_tag),
        cmocka_unit_test(test_messages_without_a_body_keep_their_fields),
        cmocka_unit_test(test_a_length_is_kept_when_it_is_true),
        cmocka_unit_test(test_trailers),
        cmocka_unit_test(test_informational_answers),
        cmocka_unit_test(test_expect_continue),
        cmocka_unit_test(test_recordings_that_broke_off),
        cmocka_unit_test(test_event_streams_that_were_left_stay_open),
        cmocka_unit_test(test_bodies_that_the_tape_does_not_hold),
        cmocka_unit_test(test_tunnels_that_the_tape_does_not_hold),
        cmocka_unit_test(test_request_bodies_that_the_tape_does_not_hold),
        cmocka_unit_test(test_a_miss),
        cmocka_unit_test(test_pace),
        cmocka_unit_test(test_instant_takes_no_time),
        cmocka_unit_test(test_early_answers),
        cmocka_unit_test(test_a_request_that_breaks_off),
        cmocka_unit_test(test_damaged_recordings),
        cmocka_unit_test(test_several_at_once_and_large_bodies),
        cmocka_unit_test(test_pausing_at_any_moment),
        cmocka_unit_test(test_cancelling_at_any_moment),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_creating_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
