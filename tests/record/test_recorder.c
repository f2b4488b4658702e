/* test_recorder.c: what goes past the tap is on the tape, whatever happens to the flow. */
#include "look.h"

static void record_a_session(const char *path)
{
    struct drive d;
    static const char *const command[] = {"npm", "test\xff", NULL};
    struct recorder *r = drive_recorder((struct recorder_options){.path = path, .append = true, .command = command});
    drive_init(&d, recorder_tap(r, 0));
    connection_set(d.server->alpn, sizeof d.server->alpn, SPAN("http/1.1"));
    d.server->opened_ns = 100;
    d.server->connected_ns = 250;
    assert_int_equal(buf_put_str(&d.server->chain, "chain"), ERR_OK);
    d.tap->ops->connection(d.tap, d.client);
    d.tap->ops->connection(d.tap, d.server);
    drive_begin(&d, 1, FLOW_HTTP);
    drive_part(&d, false, (struct event){.part = PART_HEAD, .head = &d.request, .at_ns = d.x.started_ns + 1});
    drive_part(&d, false, (struct event){.part = PART_END, .at_ns = d.x.started_ns + 2});
    d.x.server = d.server;
    d.x.server_reused = true;
    d.x.sent_ns = d.x.started_ns + 3;
    struct head early = HEAD_INIT;
    head_clear(&early, HEAD_RESPONSE);
    early.status = 103;
    drive_set(&early, &early.reason, "Early Hints");
    drive_header(&early, "Link", "</a>");
    drive_part(&d, true, (struct event){.part = PART_INFORMATIONAL, .head = &early, .at_ns = d.x.started_ns + 4});
    drive_part(&d, true, (struct event){.part = PART_INFORMATIONAL, .head = &early, .at_ns = d.x.started_ns + 5});
    head_free(&early);
    drive_part(&d, true, (struct event){.part = PART_HEAD, .head = &d.response, .at_ns = d.x.started_ns + 6});
    drive_body(&d, true, "hel", 3);
    drive_body(&d, true, "lo", 2);
    struct headers trailers = HEADERS_INIT;
    assert_int_equal(headers_add(&trailers, SPAN("X-Sum"), SPAN("1")), ERR_OK);
    drive_part(&d, true, (struct event){.part = PART_TRAILERS, .trailers = &trailers});
    headers_free(&trailers);
    d.x.response_wire_bytes = 500;
    drive_part(&d, true, (struct event){.part = PART_END, .at_ns = d.x.started_ns + 9});
    drive_done(&d);
    d.server->closed_ns = 300;
    d.server->error = ERR_RESET;
    d.tap->ops->connection(d.tap, d.server);
    drive_close(&r);
    drive_free(&d);
}

static void check_a_session(const char *path, int64_t id)
{
    struct opened o;
    struct headers h = HEADERS_INIT;
    struct buf body = BUF_INIT;
    struct tape_connection c;
    open_flow(&o, path, id);
    assert_int_equal(o.flow.session, id);
    assert_true(o.flow.complete && o.flow.server_reused && !o.flow.answered);
    assert_text(o.flow.error, "");
    assert_text(o.flow.host, "origin.test");
    assert_text(o.flow.path, "/items/1?page=2");
    assert_text(o.flow.reason, "OK");
    assert_int_equal(o.flow.request_end_ns, 2);
    assert_int_equal(o.flow.sent_ns, 3);
    assert_int_equal(o.flow.response_begin_ns, 6);
    assert_int_equal(o.flow.response_end_ns, 9);
    assert_int_equal(o.flow.response_wire_bytes, 500);
    assert_text(o.flow.informational,
                "[[103,\"Early Hints\",[[\"Link\",\"</a>\"]],4],[103,\"Early Hints\",[[\"Link\",\"</a>\"]],5]]");
    assert_int_equal(tape_headers(o.flow.request_headers, &h), ERR_OK);
    assert_int_equal(h.n, 4);
    assert_int_equal(tape_headers(o.flow.response_trailers, &h), ERR_OK);
    assert_text(headers_at(&h, 0).name, "X-Sum");
    buf_clear(&body);
    assert_int_equal(tape_body_read(o.tape, &o.flow.response_body, 100, &body), ERR_OK);
    assert_text(buf_span(&body), "hello");
    assert_int_equal(o.flow.client_connection, 2 * id - 1);
    assert_int_equal(tape_connection(o.tape, o.flow.server_connection, &c), ERR_OK);
    assert_int_equal(c.id, 2 * id);
    assert_text(c.alpn, "http/1.1");
    assert_text(c.chain, "chain");
    assert_int_equal(c.connected_ns, 150);
    assert_int_equal(c.closed_ns, 200);
    assert_text(c.error, "reset: the peer reset the connection");
    close_flow(&o);
    headers_free(&h);
    buf_free(&body);
}

static void whole_flows(void **state)
{
    char path[PATH_MAX];
    (void)state;
    fixture_path(path, "a.tape");
    record_a_session(path);
    record_a_session(path);
    assert_false(is_there(path, "-wal") || is_there(path, "-shm") || is_there(path, "-lock"));
    check_a_session(path, 1);
    check_a_session(path, 2);
    assert_int_equal(
        sql_int(path, "SELECT count(*) FROM session WHERE command = '[\"npm\",{\"base64\":\"dGVzdP8=\"}]'"), 2);
    fixture_cleanup(path);
}

static void break_flows(struct drive *d)
{
    drive_begin(d, 1, FLOW_HTTP); /* the origin cannot be reached */
    drive_request_head(d);
    drive_end(d, false);
    drive_error(d, true, false, ERR_REFUSED, "origin.test:443 refused");
    drive_done(d);
    drive_begin(d, 2, FLOW_HTTP); /* the client hangs up before the response */
    drive_request_head(d);
    drive_end(d, false);
    drive_error(d, true, true, ERR_CLOSED, "the client hung up");
    drive_done(d);
    drive_begin(d, 3, FLOW_HTTP); /* the origin resets in the middle */
    drive_request_head(d);
    drive_end(d, false);
    drive_response_head(d);
    drive_body(d, true, "half", 4);
    drive_error(d, true, false, ERR_RESET, "\xff gone");
    drive_done(d);
    drive_begin(d, 4, FLOW_HTTP); /* the client breaks off its upload */
    drive_request_head(d);
    drive_body(d, false, "up", 2);
    drive_error(d, false, true, ERR_TRUNCATED, "cut");
    drive_error(d, true, true, ERR_TRUNCATED, "cut");
    drive_done(d);
    drive_begin(d, 5, FLOW_HTTP); /* the answer comes early */
    drive_request_head(d);
    drive_response_head(d);
    drive_end(d, true);
    drive_done(d);
    drive_begin(d, 6, FLOW_HTTP); /* given up without a word */
    drive_request_head(d);
    drive_end(d, false);
    drive_done(d);
    drive_begin(d, 7, FLOW_HTTP);
    drive_request_head(d);
    drive_end(d, false);
    drive_error(d, true, false, ERR_TIMEOUT, "no answer in 2 minutes");
    drive_done(d);
    drive_begin(d, 8, FLOW_HTTP); /* under way at the end */
    drive_request_head(d);
}

static void broken_flows(void **state)
{
    char path[PATH_MAX];
    struct drive d;
    struct opened o;
    (void)state;
    struct recorder *r = drive_recorder((struct recorder_options){.path = fixture_path(path, "a.tape")});
    drive_init(&d, recorder_tap(r, 0));
    break_flows(&d);
    struct recorder_counters counters;
    recorder_flush(r, 0);
    for (int i = 0; i < 500; i++) {
        recorder_get_counters(r, &counters);
        if (counters.flows == 7)
            break;
        sleep_ms(10);
    }
    assert_int_equal(counters.flows, 7);
    assert_int_equal(counters.errors, 7);
    assert_int_equal(counters.body_bytes, 6);
    drive_close(&r);
    drive_free(&d);

    static const struct {
        const char *error;
        unsigned status;
        bool answered;
        uint64_t request, response;
    } wanted[] = {
        {"refused: origin.test:443 refused", 502, true, 0, 0},
        {"closed: the client hung up", 0, false, 0, 0},
        {"reset: \xff gone", 200, false, 0, 4},
        {"truncated: cut", 0, false, 2, 0},
        {"truncated: the response ended before the request did", 200, false, 0, 0},
        {"cancelled: the flow was given up before the response ended", 0, false, 0, 0},
        {"timeout: no answer in 2 minutes", 504, true, 0, 0},
        {"shutdown: ringtape stopped before the flow ended", 0, false, 0, 0},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        open_flow(&o, path, (int64_t)i + 1);
        assert_false(o.flow.complete);
        assert_text(o.flow.error, wanted[i].error);
        assert_int_equal(o.flow.status, wanted[i].status);
        assert_int_equal(o.flow.answered, wanted[i].answered);
        assert_int_equal(o.flow.response_version.n > 0, wanted[i].status == 200);
        assert_int_equal(o.flow.request_body.bytes, wanted[i].request);
        assert_int_equal(o.flow.response_body.bytes, wanted[i].response);
        close_flow(&o);
    }
    fixture_cleanup(path);
}

/* Records `total` bytes in pieces of `piece`, a flow each, and compares what comes back. */
static void body_of_size(struct recorder *r, struct drive *d, const char *path, uint64_t id, size_t total, size_t piece,
                         uint64_t max)
{
    struct opened o;
    struct buf out = BUF_INIT;
    uint8_t *bytes = malloc(total + 1);
    assert_non_null(bytes);
    for (size_t i = 0; i < total; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 251 + total + piece);
    drive_begin(d, id, FLOW_HTTP);
    drive_request_head(d);
    drive_end(d, false);
    drive_response_head(d);
    for (size_t at = 0; at < total; at += piece)
        drive_body(d, true, bytes + at, total - at < piece ? total - at : piece);
    drive_end(d, true);
    drive_done(d);
    recorder_flush(r, 0);
    for (int i = 0; i < 500 && sql_int(path, "SELECT coalesce(max(id), 0) FROM flow WHERE complete") < (int64_t)id; i++)
        sleep_ms(5);
    open_flow(&o, path, (int64_t)id); /* while it is being recorded */
    size_t kept = max && max < total ? (size_t)max : total;
    assert_int_equal(o.flow.response_body.bytes, kept);
    assert_int_equal(o.flow.response_body.wire_bytes, total);
    assert_int_equal(tape_body_read(o.tape, &o.flow.response_body, kept, &out), ERR_OK);
    assert_int_equal(out.n, kept);
    if (kept)
        assert_memory_equal(buf_span(&out).p, bytes, kept);
    close_flow(&o);
    buf_free(&out);
    free(bytes);
}

static void bodies_of_every_size(void **state)
{
    static const size_t sizes[] = {0, 1, 16383, 16384, 16385, 65535, 65536, 65537, 200000};
    static const size_t pieces[] = {1460, 16384, 65536, 200000};
    static const uint64_t maxima[] = {0, 20000};
    (void)state;
    for (size_t m = 0; m < 2; m++) {
        char path[PATH_MAX];
        struct drive d;
        uint64_t id = 0;
        struct recorder *r = drive_recorder((struct recorder_options){
            .path = fixture_path(path, "a.tape"), .commit_ms = 5, .body_bytes_max = maxima[m]});
        drive_init(&d, recorder_tap(r, 0));
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
            for (size_t k = 0; k < sizeof pieces / sizeof pieces[0]; k++)
                body_of_size(r, &d, path, ++id, sizes[i], pieces[k], maxima[m]);
        drive_close(&r);
        drive_free(&d);
        assert_sound(path);
        fixture_cleanup(path);
    }
}

static void flows_under_way_are_on_the_tape(void **state)
{
    char path[PATH_MAX];
    struct drive d;
    struct opened o;
    struct buf out = BUF_INIT;
    struct tape_body *body = NULL;
    struct span piece;
    int64_t at_ns = 0, last_ns = -1;
    int pieces = 0;
    (void)state;
    struct recorder *r =
        drive_recorder((struct recorder_options){.path = fixture_path(path, "a.tape"), .commit_ms = 20});
    drive_init(&d, recorder_tap(r, 0));
    drive_begin(&d, 1, FLOW_HTTP);
    drive_request_head(&d);
    drive_end(&d, false);
    drive_response_head(&d);
    for (int i = 1; i <= 4; i++) { /* an event stream */
        drive_body(&d, true, "data: x\n\n", 9);
        recorder_flush(r, 0);
        for (int k = 0; k < 500 && sql_int(path, "SELECT coalesce(sum(bytes), 0) FROM body") < 9 * i; k++)
            sleep_ms(5);
        open_flow(&o, path, 1);
        assert_false(o.flow.complete);
        assert_text(o.flow.error, "");
        assert_int_equal(o.flow.status, 200);
        assert_int_equal(o.flow.response_body.bytes, 9 * i);
        buf_clear(&out);
        assert_int_equal(tape_body_read(o.tape, &o.flow.response_body, 100, &out), ERR_OK);
        assert_int_equal(out.n, 9 * i);
        close_flow(&o);
    }
    drive_end(&d, true);
    drive_done(&d);
    drive_close(&r);
    open_flow(&o, path, 1);
    assert_true(o.flow.complete);
    assert_int_equal(tape_body_open(o.tape, &o.flow.response_body, &body), ERR_OK);
    while (tape_body_next(body, &piece, &at_ns) == ERR_OK) {
        assert_true(at_ns > last_ns);
        last_ns = at_ns;
        pieces++;
    }
    assert_int_equal(pieces, 4);
    tape_body_close(&body);
    close_flow(&o);
    assert_int_equal(sql_int(path, "SELECT count(*) FROM flow"), 1);
    drive_free(&d);
    buf_free(&out);
    fixture_cleanup(path);
}

static void tunnels_and_upgrades(void **state)
{
    char path[PATH_MAX];
    struct drive d;
    struct opened o;
    (void)state;
    struct recorder *r = drive_recorder((struct recorder_options){.path = fixture_path(path, "a.tape")});
    drive_init(&d, recorder_tap(r, 0));
    drive_begin(&d, 1, FLOW_TUNNEL);
    drive_request_head(&d);
    drive_response_head(&d);
    drive_body(&d, false, "he", 2);
    drive_body(&d, false, "llo", 3);
    drive_body(&d, true, "world", 5);
    drive_body(&d, false, "!", 1);
    drive_end(&d, false);
    drive_end(&d, true);
    drive_done(&d);
    drive_begin(&d, 2, FLOW_HTTP);
    drive_request_head(&d);
    drive_end(&d, false);
    d.response.status = 101;
    drive_response_head(&d);
    d.x.kind = FLOW_WEBSOCKET;
    char large[100000] = "";
    drive_body(&d, false, large, sizeof large); /* told as messages, too: */
    drive_message(&d, false, (struct message){.kind = MESSAGE_BINARY, .more = true, .data = span_of(large, 65536)});
    drive_message(&d, true, (struct message){.kind = MESSAGE_PING, .wire_bytes = 3, .data = SPAN("x")});
    drive_message(&d, false, (struct message){.kind = MESSAGE_BINARY, .data = span_of(large, sizeof large - 65536)});
    drive_message(&d, true, (struct message){.kind = MESSAGE_CLOSE, .code = 1001, .data = SPAN("bye")});
    drive_message(&d, true, (struct message){.kind = MESSAGE_BYTES, .data = SPAN("rest")});
    drive_end(&d, true);
    drive_done(&d);
    drive_begin(&d, 3, FLOW_TUNNEL);
    d.response.status = 200;
    drive_request_head(&d);
    drive_response_head(&d);
    drive_body(&d, true, "bye", 3);
    drive_end(&d, true); /* the origin closes first */
    drive_done(&d);
    drive_close(&r);
    assert_int_equal(sql_int(path, "SELECT group_concat(direction || ' ' || CAST(payload AS TEXT)) = "
                                   "'request hello,response world,request !' FROM message WHERE flow = 1"),
                     1);
    assert_int_equal(sql_int(path, "SELECT sum(length(payload)) FROM message WHERE flow = 2 AND direction = 'request'"),
                     sizeof large);
    assert_int_equal(sql_int(path, "SELECT max(length(payload)) FROM message"), 65536);
    assert_int_equal(sql_int(path,
                             "SELECT group_concat(direction || ' ' || kind || more || coalesce(code, ''), ',') = "
                             "'request binary1,response ping0,request binary0,response close01001,response bytes0' "
                             "FROM message WHERE flow = 2"),
                     1);
    assert_int_equal(sql_int(path, "SELECT sum(wire_bytes) FROM message WHERE flow = 2"), 7);
    open_flow(&o, path, 1);
    assert_text(o.flow.kind, "tunnel");
    assert_true(o.flow.complete);
    assert_int_equal(o.flow.request_body.wire_bytes, 6);
    assert_int_equal(o.flow.request_body.id, 0);
    close_flow(&o);
    open_flow(&o, path, 2);
    assert_text(o.flow.kind, "websocket");
    assert_int_equal(o.flow.status, 101);
    assert_true(o.flow.complete);
    close_flow(&o);
    open_flow(&o, path, 3);
    assert_true(o.flow.complete);
    assert_text(o.flow.error, "");
    close_flow(&o);
    drive_free(&d);
    fixture_cleanup(path);
}

static void large_heads(void **state)
{
    char path[PATH_MAX];
    struct drive d;
    struct opened o;
    struct headers h = HEADERS_INIT;
    char value[30000];
    (void)state;
    struct recorder *r = drive_recorder((struct recorder_options){.path = fixture_path(path, "a.tape")});
    memset(value, 'v', sizeof value);
    value[sizeof value - 1] = '\0';
    for (uint64_t id = 1; id <= 20; id++) {
        drive_init(&d, recorder_tap(r, 0));
        value[0] = (char)('a' + id);
        drive_header(&d.request, "X-Large", value);
        drive_flow(&d, id, value, sizeof value);
        drive_free(&d);
    }
    drive_close(&r);
    for (int64_t id = 1; id <= 20; id++) {
        struct span got = SPAN_EMPTY;
        open_flow(&o, path, id);
        assert_int_equal(tape_headers(o.flow.request_headers, &h), ERR_OK);
        assert_true(headers_find(&h, SPAN("x-large"), &got));
        assert_int_equal(got.n, sizeof value - 1);
        assert_int_equal(got.p[0], 'a' + id);
        close_flow(&o);
    }
    headers_free(&h);
    fixture_cleanup(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_flows),          cmocka_unit_test(broken_flows),
        cmocka_unit_test(bodies_of_every_size), cmocka_unit_test(flows_under_way_are_on_the_tape),
        cmocka_unit_test(tunnels_and_upgrades), cmocka_unit_test(large_heads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
