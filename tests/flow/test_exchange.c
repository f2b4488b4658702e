/* test_exchange.c: the order in which filters, taps, origin and client leg are told of an exchange, and that each is told of its end once. */
#include "flow/exchange.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/util.h"
#include "flow/origin.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* Everyone writes one word into one diary. */
struct diary {
    struct buf text;
};

static const char *part_word(enum part part)
{
    static const char *const words[] = {
        [PART_HEAD] = "head", [PART_INFORMATIONAL] = "info", [PART_BODY] = "body", [PART_TRAILERS] = "trailers",
        [PART_END] = "end",   [PART_ERROR] = "error",
    };
    return words[part];
}

static void note(struct diary *d, const char *who, const char *what)
{
    assert_int_equal(buf_printf(&d->text, "%s %s\n", who, what), ERR_OK);
}

static void check(struct diary *d, const char *wanted)
{
    if (!span_eq(buf_span(&d->text), span_str(wanted)))
        fail_msg("got:\n%.*s\ninstead of:\n%s", (int)d->text.n, (const char *)buf_span(&d->text).p, wanted);
    buf_clear(&d->text);
}

struct actor {
    union {
        struct tap tap;
        struct filter filter;
        struct origin origin;
    };
    struct diary *diary;
    const char *name;
    enum err last_error;
    bool last_pause;
};

/* --- taps --- */

static struct actor *tap_actor(struct tap *tap)
{
    return container_of(tap, struct actor, tap);
}

static void tap_note(struct tap *tap, const char *prefix, const char *word)
{
    char text[64];
    (void)snprintf(text, sizeof text, "%s %s", prefix, word);
    note(tap_actor(tap)->diary, tap_actor(tap)->name, text);
}

static void tap_begin(struct tap *tap, const struct exchange *x)
{
    assert_non_null(x->pipeline);
    tap_note(tap, "begin", "");
}

static void tap_request(struct tap *tap, const struct exchange *x, const struct event *event)
{
    (void)x;
    tap_note(tap, "request", part_word(event->part));
}

static void tap_response(struct tap *tap, const struct exchange *x, const struct event *event)
{
    (void)x;
    tap_actor(tap)->last_error = event->part == PART_ERROR ? event->error : ERR_OK;
    tap_note(tap, "response", part_word(event->part));
}

static void tap_end(struct tap *tap, const struct exchange *x)
{
    (void)x;
    tap_note(tap, "finished", "");
}

static void tap_connection(struct tap *tap, const struct connection *connection)
{
    assert_int_equal(connection->id, 7);
    tap_note(tap, "connection", "");
}

static const struct tap_ops tap_ops = {tap_begin, tap_request, tap_response, tap_end, tap_connection, NULL};

/* --- filters --- */

static void filter_request(struct filter *filter, struct exchange *x, const struct event *event)
{
    struct actor *a = container_of(filter, struct actor, filter);
    char text[64];
    (void)snprintf(text, sizeof text, "request %s", part_word(event->part));
    note(a->diary, a->name, text);
    exchange_pass_request(x, filter, event);
}

static void filter_response(struct filter *filter, struct exchange *x, const struct event *event)
{
    struct actor *a = container_of(filter, struct actor, filter);
    char text[64];
    (void)snprintf(text, sizeof text, "response %s", part_word(event->part));
    note(a->diary, a->name, text);
    exchange_pass_response(x, filter, event);
}

static void filter_end(struct filter *filter, struct exchange *x)
{
    struct actor *a = container_of(filter, struct actor, filter);
    note(a->diary, a->name, "finished");
    mem_free(x->filter_state[filter->index]);
    x->filter_state[filter->index] = NULL;
}

static const struct filter_ops both_ways = {filter_request, filter_response, filter_end};
static const struct filter_ops one_way = {filter_request, NULL, NULL};

/* Answers at once, without the origin. */
static void answering_request(struct filter *filter, struct exchange *x, const struct event *event)
{
    struct actor *a = container_of(filter, struct actor, filter);
    struct head head = HEAD_INIT;
    note(a->diary, a->name, part_word(event->part));
    if (event->part != PART_END)
        return;
    head_clear(&head, HEAD_RESPONSE);
    head.status = 404;
    exchange_pass_response(x, filter, &(struct event){.part = PART_HEAD, .head = &head});
    exchange_pass_response(x, filter, &(struct event){.part = PART_END});
    head_free(&head);
}
static const struct filter_ops answering = {answering_request, NULL, filter_end};

/* Holds the head back until it is told; what comes meanwhile is dropped. */
static void delaying_request(struct filter *filter, struct exchange *x, const struct event *event)
{
    struct actor *a = container_of(filter, struct actor, filter);
    note(a->diary, a->name, part_word(event->part));
    if (event->part == PART_HEAD) {
        struct head *kept = mem_new(1, sizeof *kept);
        assert_non_null(kept);
        assert_int_equal(head_copy(kept, event->head), ERR_OK);
        x->filter_state[filter->index] = kept;
    }
}
static void delaying_end(struct filter *filter, struct exchange *x)
{
    struct head *kept = x->filter_state[filter->index];
    if (kept)
        head_free(kept);
    filter_end(filter, x);
}
static const struct filter_ops delaying = {delaying_request, NULL, delaying_end};

/* --- origin --- */

static struct actor *origin_actor(struct origin *origin)
{
    return container_of(origin, struct actor, origin);
}

static void origin_open(struct origin *origin, struct exchange *x)
{
    assert_true(x->origin_open);
    x->origin_state = origin;
    note(origin_actor(origin)->diary, "origin", "open");
}

static void origin_request(struct origin *origin, struct exchange *x, const struct event *event)
{
    char text[64];
    assert_non_null(x->origin_state);
    (void)snprintf(text, sizeof text, "request %s", part_word(event->part));
    note(origin_actor(origin)->diary, "origin", text);
}

static void origin_pause(struct origin *origin, struct exchange *x, bool paused)
{
    (void)x;
    note(origin_actor(origin)->diary, "origin", paused ? "pause" : "go on");
}

static void origin_cancel(struct origin *origin, struct exchange *x)
{
    x->origin_state = NULL;
    note(origin_actor(origin)->diary, "origin", "cancel");
}

static void origin_probe(struct origin *origin, struct probe *probe)
{
    (void)origin;
    (void)probe;
    fail();
}

static const struct origin_ops origin_ops = {origin_probe,   origin_probe, origin_open,
                                             origin_request, origin_pause, origin_cancel};

/* --- client --- */

struct rig {
    struct diary diary;
    struct pipeline pipeline;
    struct actor origin, tap1, tap2, one, two, three;
    struct connection *client;
    struct exchange *x;
    struct head head;
    bool destroy_at_end;
};

static void client_response(struct exchange *x, const struct event *event)
{
    struct rig *r = x->client_ctx;
    char text[64];
    (void)snprintf(text, sizeof text, "response %s", part_word(event->part));
    note(&r->diary, "client", text);
    if (r->destroy_at_end && (event->part == PART_END || event->part == PART_ERROR))
        exchange_destroy(&r->x, ERR_OK, "");
}

static void client_pause(struct exchange *x, bool paused)
{
    struct rig *r = x->client_ctx;
    note(&r->diary, "client", paused ? "pause" : "go on");
}

static const struct exchange_client client_ops = {.response = client_response, .pause_request = client_pause};

static void rig_open(struct rig *r, const struct filter_ops *one, const struct filter_ops *two)
{
    *r = (struct rig){.destroy_at_end = false};
    r->tap1 = (struct actor){.tap.ops = &tap_ops, .diary = &r->diary, .name = "tap1"};
    r->tap2 = (struct actor){.tap.ops = &tap_ops, .diary = &r->diary, .name = "tap2"};
    r->one = (struct actor){.filter.ops = one, .diary = &r->diary, .name = "filter1"};
    r->two = (struct actor){.filter.ops = two, .diary = &r->diary, .name = "filter2"};
    r->origin = (struct actor){.origin.ops = &origin_ops, .diary = &r->diary};
    r->pipeline.origin = &r->origin.origin;
    pipeline_add_tap(&r->pipeline, &r->tap1.tap);
    pipeline_add_tap(&r->pipeline, &r->tap2.tap);
    if (one)
        pipeline_add_filter(&r->pipeline, &r->one.filter);
    if (two)
        pipeline_add_filter(&r->pipeline, &r->two.filter);
    head_clear(&r->head, HEAD_REQUEST);
    assert_int_equal(connection_create(&r->client, CONNECTION_CLIENT, 7), ERR_OK);
    assert_int_equal(exchange_create(&r->x, 1, FLOW_HTTP, &r->pipeline, r->client, &client_ops, r), ERR_OK);
    assert_int_equal(r->client->refs, 2);
}

static void rig_close(struct rig *r)
{
    exchange_destroy(&r->x, ERR_CLOSED, "the client is gone");
    assert_null(r->x);
    assert_int_equal(r->client->refs, 1);
    connection_unref(&r->client);
    head_free(&r->head);
    buf_free(&r->diary.text);
}

static void ask(struct rig *r, enum part part)
{
    exchange_request(
        r->x,
        &(struct event){.part = part, .head = &r->head, .data = SPAN("12345"), .error = ERR_PARSE, .reason = "bad"});
}

static void answer(struct rig *r, enum part part)
{
    exchange_response(
        r->x,
        &(struct event){.part = part, .head = &r->head, .data = SPAN("123"), .error = ERR_RESET, .reason = "gone"});
}

/* --- the tests --- */

static void test_order(void **state)
{
    struct rig r;
    (void)state;
    rig_open(&r, &both_ways, &both_ways);
    check(&r.diary, ""); /* nobody is told before the head */
    ask(&r, PART_HEAD);
    check(&r.diary,
          "filter1 request head\nfilter2 request head\ntap1 begin \ntap1 request head\ntap2 begin \ntap2 request head\n"
          "origin open\norigin request head\n");
    ask(&r, PART_BODY);
    check(&r.diary,
          "filter1 request body\nfilter2 request body\ntap1 request body\ntap2 request body\norigin request body\n");
    ask(&r, PART_END);
    check(&r.diary,
          "filter1 request end\nfilter2 request end\ntap1 request end\ntap2 request end\norigin request end\n");
    assert_int_equal(r.x->request_bytes, 5);
    assert_false(r.x->response_begun);
    answer(&r, PART_INFORMATIONAL);
    assert_false(r.x->response_begun);
    check(
        &r.diary,
        "tap1 response info\ntap2 response info\nfilter2 response info\nfilter1 response info\nclient response info\n");
    answer(&r, PART_HEAD);
    assert_true(r.x->response_begun);
    answer(&r, PART_BODY);
    answer(&r, PART_BODY);
    assert_int_equal(r.x->response_bytes, 6);
    buf_clear(&r.diary.text);
    answer(&r, PART_TRAILERS);
    r.destroy_at_end = true;
    answer(&r, PART_END);
    assert_null(r.x);
    check(
        &r.diary,
        "tap1 response trailers\ntap2 response trailers\nfilter2 response trailers\nfilter1 response trailers\nclient response trailers\n"
        "tap1 response end\ntap2 response end\nfilter2 response end\nfilter1 response end\nclient response end\n"
        "tap1 finished \ntap2 finished \nfilter1 finished\nfilter2 finished\n");
    rig_close(&r);
}

static void test_a_filter_that_takes_no_responses_is_passed_by(void **state)
{
    struct rig r;
    (void)state;
    rig_open(&r, &both_ways, &one_way);
    ask(&r, PART_HEAD);
    buf_clear(&r.diary.text);
    answer(&r, PART_HEAD);
    check(&r.diary, "tap1 response head\ntap2 response head\nfilter1 response head\nclient response head\n");
    rig_close(&r);
}

/* What a filter answers by itself was not forwarded: neither origin nor taps know of it, and no end is told of what never began. */
static void test_a_filter_that_answers(void **state)
{
    struct rig r;
    (void)state;
    rig_open(&r, &both_ways, &answering);
    ask(&r, PART_HEAD);
    ask(&r, PART_BODY);
    ask(&r, PART_END);
    check(&r.diary,
          "filter1 request head\nfilter2 head\nfilter1 request body\nfilter2 body\nfilter1 request end\nfilter2 end\n"
          "filter1 response head\nclient response head\nfilter1 response end\nclient response end\n");
    assert_false(r.x->origin_open);
    exchange_pause_response(r.x, true);
    exchange_destroy(&r.x, ERR_OK, "");
    check(&r.diary, "filter1 finished\nfilter2 finished\n");
    rig_close(&r);
}

static void test_a_filter_that_delays(void **state)
{
    struct rig r;
    (void)state;
    rig_open(&r, &delaying, &both_ways);
    ask(&r, PART_HEAD);
    check(&r.diary, "filter1 head\n");
    exchange_pass_request(r.x, &r.one.filter, &(struct event){.part = PART_HEAD, .head = r.x->filter_state[0]});
    check(
        &r.diary,
        "filter2 request head\ntap1 begin \ntap1 request head\ntap2 begin \ntap2 request head\norigin open\norigin request head\n");
    rig_close(&r);
    /* The client goes while it is held back: there is nothing to cancel, and what is held is freed. */
    rig_open(&r, &delaying, NULL);
    ask(&r, PART_HEAD);
    buf_clear(&r.diary.text);
    exchange_destroy(&r.x, ERR_CLOSED, "gone");
    check(&r.diary, "filter1 finished\n");
    rig_close(&r);
}

/* The client goes at any moment: the origin is let go of exactly once, and the taps know why. */
static void test_cancelling(void **state)
{
    static const enum part asked[] = {PART_HEAD, PART_BODY, PART_END}, answered[] = {PART_HEAD, PART_BODY, PART_END};
    (void)state;
    for (size_t i = 0; i <= ARRAY_LEN(asked) + ARRAY_LEN(answered); i++) {
        struct rig r;
        rig_open(&r, &both_ways, NULL);
        for (size_t k = 0; k < i; k++) {
            if (k < ARRAY_LEN(asked))
                ask(&r, asked[k]);
            else
                answer(&r, answered[k - ARRAY_LEN(asked)]);
        }
        buf_clear(&r.diary.text);
        exchange_destroy(&r.x, ERR_CLOSED, "the client is gone");
        bool over = i == ARRAY_LEN(asked) + ARRAY_LEN(answered);
        check(
            &r.diary,
            i == 0 ? "filter1 finished\n"
            : over
                ? "tap1 finished \ntap2 finished \nfilter1 finished\n"
                : "origin cancel\ntap1 response error\ntap2 response error\ntap1 finished \ntap2 finished \nfilter1 finished\n");
        assert_int_equal(r.tap1.last_error, i == 0 || over ? ERR_OK : ERR_CLOSED);
        rig_close(&r);
    }
}

/* HTTP/2 may say the end of a message after all of its content, and a client that counts has gone by then. */
static void test_a_client_that_has_all_of_it_leaves(void **state)
{
    static const struct {
        const char *method, *length;
        unsigned status;
        bool asked_all, body;
        enum err want;
    } cases[] = {
        {"GET", "3", 200, true, true, ERR_OK},      {"GET", "4", 200, true, true, ERR_CLOSED},
        {"GET", NULL, 200, true, true, ERR_CLOSED}, {"GET", "3", 200, false, true, ERR_CLOSED},
        {"GET", "x", 200, true, true, ERR_CLOSED},  {"GET", "0", 200, true, false, ERR_OK},
        {"HEAD", "3", 200, true, false, ERR_OK},    {"GET", "3", 304, true, false, ERR_OK},
        {"GET", NULL, 204, true, false, ERR_OK},    {"GET", NULL, 200, true, false, ERR_CLOSED},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct rig r;
        rig_open(&r, NULL, NULL);
        assert_int_equal(head_set(&r.head, &r.head.method, span_str(cases[i].method)), ERR_OK);
        ask(&r, PART_HEAD);
        if (cases[i].asked_all)
            ask(&r, PART_END);
        head_clear(&r.head, HEAD_RESPONSE);
        r.head.status = cases[i].status;
        if (cases[i].length)
            assert_int_equal(headers_add(&r.head.headers, SPAN("content-length"), span_str(cases[i].length)), ERR_OK);
        answer(&r, PART_HEAD);
        if (cases[i].body)
            answer(&r, PART_BODY);
        buf_clear(&r.diary.text);
        exchange_destroy(&r.x, ERR_CLOSED, "the client is gone");
        const char *end = cases[i].want ? "error" : "end";
        char wanted[200];
        (void)snprintf(wanted, sizeof wanted,
                       "origin cancel\ntap1 response %s\ntap2 response %s\ntap1 finished \ntap2 finished \n", end, end);
        check(&r.diary, wanted);
        assert_int_equal(r.tap1.last_error, cases[i].want);
        rig_close(&r);
    }
}

static void test_the_origin_fails(void **state)
{
    struct rig r;
    (void)state;
    rig_open(&r, &both_ways, NULL);
    ask(&r, PART_HEAD);
    answer(&r, PART_HEAD);
    buf_clear(&r.diary.text);
    answer(&r, PART_ERROR);
    check(&r.diary, "tap1 response error\ntap2 response error\nfilter1 response error\nclient response error\n");
    assert_int_equal(r.tap2.last_error, ERR_RESET);
    assert_false(r.x->origin_open);
    exchange_destroy(&r.x, ERR_CLOSED, "later"); /* no cancel, no second error */
    check(&r.diary, "tap1 finished \ntap2 finished \nfilter1 finished\n");
    rig_close(&r);
}

/* The client's request breaks off. */
static void test_the_client_fails(void **state)
{
    struct rig r;
    (void)state;
    rig_open(&r, NULL, NULL);
    ask(&r, PART_HEAD);
    buf_clear(&r.diary.text);
    ask(&r, PART_ERROR);
    check(&r.diary, "tap1 request error\ntap2 request error\norigin request error\n");
    assert_true(r.x->request_ended);
    rig_close(&r);
}

/* An answer that comes early: the rest of the request reaches nobody. */
static void test_what_comes_after_the_answer_is_dropped(void **state)
{
    struct rig r;
    (void)state;
    rig_open(&r, NULL, NULL);
    ask(&r, PART_HEAD);
    answer(&r, PART_HEAD);
    answer(&r, PART_END);
    buf_clear(&r.diary.text);
    ask(&r, PART_BODY);
    ask(&r, PART_END);
    exchange_pause_response(r.x, true);
    check(&r.diary, "");
    assert_int_equal(r.x->request_bytes, 0);
    rig_close(&r);
}

/* After an upgrade the client's bytes go on, and its FIN is a second end, which is the origin's alone. */
static void test_upgrades(void **state)
{
    struct rig r;
    (void)state;
    rig_open(&r, NULL, NULL);
    ask(&r, PART_HEAD);
    ask(&r, PART_END);
    exchange_set_kind(r.x, FLOW_WEBSOCKET);
    assert_int_equal(r.x->kind, FLOW_WEBSOCKET);
    answer(&r, PART_HEAD);
    buf_clear(&r.diary.text);
    ask(&r, PART_BODY);
    ask(&r, PART_END);
    check(&r.diary, "tap1 request body\ntap2 request body\norigin request body\norigin request end\n");
    rig_close(&r);
}

static void test_pauses_reach_the_other_side(void **state)
{
    struct rig r;
    (void)state;
    rig_open(&r, &both_ways, NULL);
    exchange_pause_response(r.x, true); /* there is no origin yet */
    check(&r.diary, "");
    ask(&r, PART_HEAD);
    buf_clear(&r.diary.text);
    exchange_pause_response(r.x, true);
    exchange_pause_response(r.x, false);
    exchange_pause_request(r.x, true);
    exchange_pause_request(r.x, false);
    check(&r.diary, "origin pause\norigin go on\nclient pause\nclient go on\n");
    rig_close(&r);
}

static void test_connections_are_counted(void **state)
{
    struct rig r;
    struct connection *server, *other;
    (void)state;
    rig_open(&r, NULL, NULL);
    assert_int_equal(connection_create(&server, CONNECTION_SERVER, 8), ERR_OK);
    assert_int_equal(connection_create(&other, CONNECTION_SERVER, 9), ERR_OK);
    exchange_set_server(r.x, server, true);
    assert_true(r.x->server_reused);
    assert_int_equal(server->refs, 2);
    exchange_set_server(r.x, other, false); /* a retry */
    assert_false(r.x->server_reused);
    assert_int_equal(server->refs, 1);
    assert_int_equal(other->refs, 2);
    struct connection *mine = other;
    connection_unref(&other); /* the exchange holds it alone now */
    assert_null(other);
    assert_ptr_equal(r.x->server, mine);
    connection_unref(&server);
    pipeline_connection(&r.pipeline, r.client);
    check(&r.diary, "tap1 connection \ntap2 connection \n");
    rig_close(&r); /* frees the last reference: a sanitizer would tell */
    connection_unref(&other);
}

static void test_failures_before_any_origin(void **state)
{
    struct rig r;
    (void)state;
    rig_open(&r, &both_ways, NULL);
    exchange_record_failure(r.x, &r.head, ERR_TLS_ALERT, "the client refused our certificate");
    check(
        &r.diary,
        "tap1 begin \ntap1 request head\ntap1 response error\ntap1 finished \ntap2 begin \ntap2 request head\ntap2 response error\ntap2 finished \n");
    assert_int_equal(r.tap1.last_error, ERR_TLS_ALERT);
    exchange_destroy(&r.x, ERR_OK, "");
    check(&r.diary, "filter1 finished\n"); /* the taps have had theirs */
    rig_close(&r);
}

static void test_out_of_memory(void **state)
{
    struct rig r;
    struct exchange *x;
    struct connection *c;
    (void)state;
    rig_open(&r, NULL, NULL);
    mem_fail_after(0);
    assert_int_equal(exchange_create(&x, 2, FLOW_HTTP, &r.pipeline, r.client, &client_ops, &r), ERR_NOMEM);
    assert_int_equal(connection_create(&c, CONNECTION_SERVER, 2), ERR_NOMEM);
    mem_fail_after(-1);
    assert_null(x);
    assert_null(c);
    assert_int_equal(r.client->refs, 2);
    exchange_destroy(&x, ERR_OK, "");
    connection_unref(&c);
    rig_close(&r);
}

static void test_words_and_numbers(void **state)
{
    char field[8] = "xxxxxxx";
    (void)state;
    assert_string_equal(flow_kind_word(FLOW_HTTP), "http");
    assert_string_equal(flow_kind_word(FLOW_WEBSOCKET), "websocket");
    assert_string_equal(flow_kind_word(FLOW_TUNNEL), "tunnel");
    for (int e = ERR_OK + 1; e < ERR_COUNT; e++) {
        unsigned wanted = e == ERR_TIMEOUT ? 504 : e == ERR_LOOP ? 508 : e == ERR_MISS ? 501 : 502;
        assert_int_equal(exchange_error_status((enum err)e), wanted);
    }
    connection_set(field, sizeof field, SPAN("12345678"));
    assert_string_equal(field, "1234567");
    connection_set(field, sizeof field, SPAN_EMPTY);
    assert_string_equal(field, "");
    connection_set(field, 1, SPAN("1"));
    assert_string_equal(field, "");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_order),
        cmocka_unit_test(test_a_filter_that_takes_no_responses_is_passed_by),
        cmocka_unit_test(test_a_filter_that_answers),
        cmocka_unit_test(test_a_filter_that_delays),
        cmocka_unit_test(test_cancelling),
        cmocka_unit_test(test_a_client_that_has_all_of_it_leaves),
        cmocka_unit_test(test_the_origin_fails),
        cmocka_unit_test(test_the_client_fails),
        cmocka_unit_test(test_what_comes_after_the_answer_is_dropped),
        cmocka_unit_test(test_upgrades),
        cmocka_unit_test(test_pauses_reach_the_other_side),
        cmocka_unit_test(test_connections_are_counted),
        cmocka_unit_test(test_failures_before_any_origin),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_words_and_numbers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
