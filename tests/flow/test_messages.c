/* test_messages.c: what the taps are told of WebSockets, event streams and gRPC within an exchange. */
#include "flow/exchange.h"
#include "flow/origin.h"

#include "base/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

struct rig {
    struct tap tap;
    struct origin origin;
    struct pipeline pipeline;
    struct connection *client;
    struct exchange *x;
    struct buf diary, forwarded;
};

static void put(struct buf *to, struct span s)
{
    assert_int_equal(buf_put(to, s), ERR_OK);
}

static void tap_begin(struct tap *tap, const struct exchange *x)
{
    (void)tap;
    (void)x;
}

static void tap_part(struct tap *tap, const struct exchange *x, const struct event *event)
{
    (void)tap;
    (void)x;
    (void)event;
}

static void tap_message(struct tap *tap, const struct exchange *x, bool response, const struct message *m)
{
    struct rig *r = container_of(tap, struct rig, tap);
    char text[128];
    (void)x;
    assert_int_equal(m->at_ns, 5);
    (void)snprintf(text, sizeof text, "%c%s%s", response ? '<' : '>', message_kind_word(m->kind), m->more ? "+" : "");
    put(&r->diary, span_str(text));
    if (m->code) {
        (void)snprintf(text, sizeof text, " %u", m->code);
        put(&r->diary, span_str(text));
    }
    if (m->event.n) {
        put(&r->diary, SPAN(" event="));
        put(&r->diary, m->event);
    }
    if (m->has_event_id) {
        put(&r->diary, SPAN(" id="));
        put(&r->diary, m->event_id);
    }
    put(&r->diary, SPAN(" "));
    put(&r->diary, span_first(m->data, 24));
    put(&r->diary, SPAN("\n"));
}

static const struct tap_ops tap_ops = {tap_begin, tap_part, tap_part, tap_begin, NULL, tap_message};

static void origin_open(struct origin *origin, struct exchange *x)
{
    (void)origin;
    (void)x;
}

static void origin_request(struct origin *origin, struct exchange *x, const struct event *event)
{
    (void)origin;
    (void)x;
    (void)event;
}

static void origin_cancel(struct origin *origin, struct exchange *x)
{
    (void)origin;
    (void)x;
}

static const struct origin_ops origin_ops = {.open = origin_open, .request = origin_request, .cancel = origin_cancel};

static void client_response(struct exchange *x, const struct event *event)
{
    struct rig *r = x->client_ctx;
    if (event->part == PART_BODY)
        put(&r->forwarded, event->data);
}

static const struct exchange_client client_ops = {.response = client_response, .pause_request = NULL};

static void rig_open(struct rig *r)
{
    *r = (struct rig){.tap.ops = &tap_ops, .origin.ops = &origin_ops};
    r->pipeline.origin = &r->origin;
    pipeline_add_tap(&r->pipeline, &r->tap);
    assert_int_equal(connection_create(&r->client, CONNECTION_CLIENT, 1), ERR_OK);
    assert_int_equal(exchange_create(&r->x, 1, FLOW_HTTP, &r->pipeline, r->client, &client_ops, r), ERR_OK);
}

static void rig_close(struct rig *r)
{
    exchange_destroy(&r->x, ERR_CLOSED, "");
    connection_unref(&r->client);
    buf_free(&r->diary);
    buf_free(&r->forwarded);
}

/* A head with fields "name: value", NULL-terminated. */
static void head(struct rig *r, bool response, unsigned status, const char *const *fields)
{
    struct head h = HEAD_INIT;
    head_clear(&h, response ? HEAD_RESPONSE : HEAD_REQUEST);
    h.status = status;
    for (size_t i = 0; fields[i]; i++) {
        struct span line = span_str(fields[i]);
        size_t colon = span_find(line, ':');
        assert_int_equal(headers_add(&h.headers, span_first(line, colon), span_from(line, colon + 2)), ERR_OK);
    }
    struct event event = {.part = PART_HEAD, .at_ns = 5, .head = &h};
    if (response)
        exchange_response(r->x, &event);
    else
        exchange_request(r->x, &event);
    head_free(&h);
}

static void bytes(struct rig *r, bool response, struct span data)
{
    struct event event = {.part = PART_BODY, .at_ns = 5, .data = data};
    if (response)
        exchange_response(r->x, &event);
    else
        exchange_request(r->x, &event);
}

static void check(struct rig *r, const char *wanted)
{
    const char *got = buf_cstr(&r->diary);
    assert_string_equal(got ? got : "", wanted);
    buf_clear(&r->diary);
}

static const char *const none[] = {NULL};

static void upgrade(struct rig *r, const char *const *fields)
{
    rig_open(r);
    head(r, false, 0, none);
    exchange_set_kind(r->x, FLOW_WEBSOCKET);
    head(r, true, 101, fields);
}

static void a_websocket_is_told_as_messages(void **state)
{
    struct rig r;
    (void)state;
    upgrade(&r, none);
    bytes(&r, false, SPAN("\x81\x82\0\0\0\0hi\x89\x80\0\0\0\0"));
    check(&r, ">text hi\n>ping \n");
    bytes(&r, true, SPAN("\x8a\0\x02\x01"));
    check(&r, "<pong \n");
    bytes(&r, true,
          SPAN("\x01\x80\x01\x02\x88\x05\x03\xe8"
               "bye"));
    check(&r, "<binary \x01\x02\n<close 1000 bye\n");
    assert_int_equal(r.forwarded.n, 15);
    rig_close(&r);
}

static void a_violation_is_told_and_the_bytes_go_on(void **state)
{
    struct rig r;
    (void)state;
    upgrade(&r, none);
    bytes(&r, true, SPAN("\x81\x01y\xf1\x01z")); /* reserved bits */
    const char *got = buf_cstr(&r.diary);
    assert_memory_equal(got, "<text y\n<violation ", 19);
    assert_non_null(strstr(got, "<bytes \xf1\x01z\n"));
    buf_clear(&r.diary);
    bytes(&r, true, SPAN("\x81\x01y"));
    check(&r, "<bytes \x81\x01y\n");
    bytes(&r, false, SPAN("\x81\x82\0\0\0\0hi")); /* the other direction is as it was */
    check(&r, ">text hi\n");
    assert_int_equal(r.forwarded.n, 9);
    assert_false(r.x->ambiguous);
    rig_close(&r);
}

static void a_frame_of_two_readings_is_not_forwarded(void **state)
{
    struct rig r;
    (void)state;
    upgrade(&r, none);
    bytes(&r, true, SPAN("\x82\x7e\0\x01z")); /* one byte, its length in two */
    assert_true(r.x->ambiguous);
    assert_int_equal(r.forwarded.n, 0);
    rig_close(&r);
}

static void unknown_extensions_leave_bytes(void **state)
{
    static const char *const fields[] = {"Sec-WebSocket-Extensions: x-secret", NULL};
    struct rig r;
    (void)state;
    upgrade(&r, fields);
    bytes(&r, true, SPAN("\x81\x01y"));
    check(&r, "<bytes \x81\x01y\n");
    rig_close(&r);
}

static void events_are_told(void **state)
{
    static const char *const fields[] = {"content-type: Text/Event-Stream;charset=utf-8", NULL};
    struct rig r;
    (void)state;
    rig_open(&r);
    head(&r, false, 0, none);
    head(&r, true, 200, fields);
    bytes(&r, true, SPAN("data: a\n\nevent: tick\nid: 7\nda"));
    check(&r, "<event a\n");
    bytes(&r, true, SPAN("ta: b\r\n\r\n"));
    check(&r, "<event event=tick id=7 b\n");
    assert_int_equal(r.forwarded.n, 38);
    rig_close(&r);
}

static void compressed_events_are_told(void **state)
{
    static const char *const fields[] = {"Content-Type: text/event-stream", "Content-Encoding: gzip", NULL};
    /* printf 'data: a\n\n' | gzip -n */
    static const uint8_t packed[] = {0x1f, 0x8b, 0x08, 0,    0,    0,    0,    0,    0,    0x03,
                                     0x4b, 0x49, 0x2c, 0x49, 0xb4, 0x52, 0x48, 0xe4, 0xe2, 0x02,
                                     0,    0x7e, 0xe3, 0xc4, 0x38, 0x09, 0,    0,    0};
    struct rig r;
    (void)state;
    rig_open(&r);
    head(&r, false, 0, none);
    head(&r, true, 200, fields);
    bytes(&r, true, span_of(packed, sizeof packed));
    check(&r, "<event a\n");
    assert_int_equal(r.forwarded.n, sizeof packed);
    rig_close(&r);
}

static void grpc_is_told_both_ways(void **state)
{
    static const char *const fields[] = {"content-type: application/grpc+proto", NULL};
    struct rig r;
    (void)state;
    rig_open(&r);
    head(&r, false, 0, fields);
    bytes(&r, false,
          SPAN("\0\0\0\0\x03"
               "abc\0\0\0\0\0"));
    check(&r, ">grpc abc\n>grpc \n");
    head(&r, true, 200, fields);
    bytes(&r, true, SPAN("\0\0\0\0\x01"));
    bytes(&r, true, SPAN("x"));
    check(&r, "<grpc x\n");
    rig_close(&r);
}

static void what_is_not_grpc_after_all_is_forwarded(void **state)
{
    static const char *const fields[] = {"content-type: application/grpc", NULL};
    struct rig r;
    (void)state;
    rig_open(&r);
    head(&r, false, 0, none);
    head(&r, true, 200, fields);
    bytes(&r, true, SPAN("<html>502</html>"));
    check(&r, "");
    bytes(&r, true, SPAN("<html>502</html>"));
    assert_int_equal(r.forwarded.n, 32);
    rig_close(&r);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_websocket_is_told_as_messages),
        cmocka_unit_test(a_violation_is_told_and_the_bytes_go_on),
        cmocka_unit_test(a_frame_of_two_readings_is_not_forwarded),
        cmocka_unit_test(unknown_extensions_leave_bytes),
        cmocka_unit_test(events_are_told),
        cmocka_unit_test(compressed_events_are_told),
        cmocka_unit_test(grpc_is_told_both_ways),
        cmocka_unit_test(what_is_not_grpc_after_all_is_forwarded),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
