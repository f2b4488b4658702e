/* calls.h: recorded gRPC calls of messages of one byte, from one line of text each. */
#ifndef RINGTAPE_TESTS_REPLAY_CALLS_H
#define RINGTAPE_TESTS_REPLAY_CALLS_H

#include "support.h"

#define MS(n) ((n) * (int64_t)NS_PER_MS)
#define CALL  "/pkg.Svc/Call"

static const char *const grpc[] = {"content-type", "application/grpc", NULL};
static const char *const ok[] = {"grpc-status", "0", NULL};

/* A recorded call: 'a'…'z' a message of the client, 'A'…'Z' of the server, one a millisecond, '=' that the next comes with the last, '|' the end of the request,
 * '!' that the client leaves. */
struct call {
    const char *talk;
    const char *path, *track;
    size_t kept;  /* of the request's body: --max-body; 0: all */
    size_t told;  /* of the response's */
    bool no_rows; /* of messages */
};

#define TALK(...)                                                                                                      \
    {                                                                                                                  \
        .talk = __VA_ARGS__                                                                                            \
    }

struct recorded {
    struct fixture_message messages[40];
    struct buf request, response;
};

static inline void add_message(struct recorded *r, struct fixture_flow *flow, const char *letter, int64_t at_ns,
                               size_t kept)
{
    bool from_client = *letter >= 'a';
    struct buf *body = from_client ? &r->request : &r->response;
    assert_true(flow->messages_n < ARRAY_LEN(r->messages));
    r->messages[flow->messages_n++] = (struct fixture_message){
        .from_client = from_client, .kind = "grpc", .payload = letter, .n = 1, .at_ns = at_ns, .wire_bytes = 6};
    assert_int_equal(buf_put(body, SPAN("\0\0\0\0\1")), ERR_OK);
    assert_int_equal(buf_put(body, span_of(letter, 1)), ERR_OK);
    if (from_client && kept > 0 && r->request.n > kept)
        r->messages[flow->messages_n - 1].payload = NULL;
    if (!from_client && flow->response_begin_ns < 0)
        flow->response_begin_ns = at_ns;
}

static inline int64_t add_call(struct fixture *f, const struct call *call)
{
    struct recorded r = {.request = BUF_INIT, .response = BUF_INIT};
    struct fixture_flow flow = {.method = "POST",
                                .version = "HTTP/2",
                                .path = call->path ? call->path : CALL,
                                .track = call->track,
                                .request_headers = grpc,
                                .reason = "",
                                .response_headers = grpc,
                                .response_trailers = ok,
                                .request_end_ns = -1,
                                .response_begin_ns = -1,
                                .messages = r.messages};
    int64_t at_ns = MS(10);
    for (const char *c = call->talk; *c; c++, at_ns += MS(1)) {
        if (*c == '|')
            flow.request_end_ns = at_ns;
        else if (*c == '!')
            flow.error = "closed: the client reset the stream";
        else if (*c == '=')
            at_ns -= MS(2);
        else
            add_message(&r, &flow, c, at_ns, call->kept);
    }
    flow.response_end_ns = flow.error ? -1 : at_ns;
    if (flow.response_begin_ns < 0)
        flow.response_begin_ns = at_ns;
    flow.request_body = buf_span(&r.request).p;
    flow.request_body_n = call->kept ? call->kept : r.request.n;
    flow.request_bytes = r.request.n;
    flow.messages_n = call->no_rows ? 0 : flow.messages_n;
    flow.response_body = buf_span(&r.response).p;
    flow.response_body_n = call->told ? call->told : r.response.n;
    flow.response_bytes = r.response.n;
    if (flow.error)
        flow.response_trailers = NULL;
    int64_t id = fixture_add(f, &flow);
    buf_free(&r.request);
    buf_free(&r.response);
    return id;
}

#endif
