/* drive.h: plays exchanges to a recorder's tap as the pipeline does, without a pipeline. One struct drive a thread. */
#ifndef RINGTAPE_TESTS_RECORD_DRIVE_H
#define RINGTAPE_TESTS_RECORD_DRIVE_H

#include "../tape/fixture.h"

#include "flow/exchange.h"
#include "record/recorder.h"

struct drive {
    struct tap *tap;
    struct connection *client, *server;
    struct head request, response;
    struct exchange x;
};

static inline void drive_set(struct head *h, struct slice *slot, const char *text)
{
    assert_int_equal(head_set(h, slot, span_str(text)), ERR_OK);
}

static inline void drive_header(struct head *h, const char *name, const char *value)
{
    assert_int_equal(headers_add(&h->headers, span_str(name), span_str(value)), ERR_OK);
}

/* Heads of some 200 bytes each, as a test client and nginx would make them. */
static inline void drive_init(struct drive *d, struct tap *tap)
{
    *d = (struct drive){.tap = tap, .request = HEAD_INIT, .response = HEAD_INIT};
    assert_int_equal(connection_create(&d->client, CONNECTION_CLIENT, 1), ERR_OK);
    assert_int_equal(connection_create(&d->server, CONNECTION_SERVER, 2), ERR_OK);
    head_clear(&d->request, HEAD_REQUEST);
    drive_set(&d->request, &d->request.method, "GET");
    drive_set(&d->request, &d->request.scheme, "https");
    drive_set(&d->request, &d->request.host, "origin.test");
    drive_set(&d->request, &d->request.path, "/items/1?page=2");
    drive_set(&d->request, &d->request.version, "HTTP/1.1");
    d->request.port = 443;
    drive_header(&d->request, "Host", "origin.test");
    drive_header(&d->request, "User-Agent", "Mozilla/5.0 (X11; Linux x86_64; rv:128.0) Gecko/20100101 Firefox/128.0");
    drive_header(&d->request, "Accept", "*/*");
    drive_header(&d->request, "Accept-Encoding", "gzip, deflate, br, zstd");
    head_clear(&d->response, HEAD_RESPONSE);
    d->response.status = 200;
    drive_set(&d->response, &d->response.reason, "OK");
    drive_set(&d->response, &d->response.version, "HTTP/1.1");
    drive_header(&d->response, "Server", "nginx/1.22.1");
    drive_header(&d->response, "Date", "Thu, 01 Jan 2026 00:00:00 GMT");
    drive_header(&d->response, "Content-Type", "application/octet-stream");
    drive_header(&d->response, "Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT");
    drive_header(&d->response, "ETag", "\"67748580-400\"");
    drive_header(&d->response, "Connection", "keep-alive");
}

static inline void drive_free(struct drive *d)
{
    head_free(&d->request);
    head_free(&d->response);
    connection_unref(&d->client);
    connection_unref(&d->server);
}

static inline void drive_begin(struct drive *d, uint64_t id, enum flow_kind kind)
{
    d->x = (struct exchange){
        .id = id, .kind = kind, .started_wall_ns = FIXTURE_STARTED_NS + id, .client = d->client, .intercepted_sni = ""};
    d->x.started_ns = clock_mono_ns();
    d->tap->ops->begin(d->tap, &d->x);
}

static inline void drive_part(struct drive *d, bool response, struct event event)
{
    struct exchange *x = &d->x;
    if (!event.at_ns)
        event.at_ns = clock_mono_ns();
    if (event.part == PART_BODY)
        *(response ? &x->response_bytes : &x->request_bytes) += event.data.n;
    if (event.part == PART_END && !response)
        x->request_ended = true;
    if (event.part == PART_END && response)
        x->response_ended = true;
    (response ? d->tap->ops->response : d->tap->ops->request)(d->tap, x, &event);
}

static inline void drive_request_head(struct drive *d)
{
    drive_part(d, false, (struct event){.part = PART_HEAD, .head = &d->request});
}

static inline void drive_response_head(struct drive *d)
{
    d->x.server = d->server;
    d->x.sent_ns = clock_mono_ns();
    drive_part(d, true, (struct event){.part = PART_HEAD, .head = &d->response});
}

static inline void drive_body(struct drive *d, bool response, const void *p, size_t n)
{
    drive_part(d, response, (struct event){.part = PART_BODY, .data = span_of(p, n)});
}

static inline void drive_message(struct drive *d, bool response, struct message message)
{
    message.at_ns = clock_mono_ns();
    message.retry_ms = -1;
    d->tap->ops->message(d->tap, &d->x, response, &message);
}

static inline void drive_end(struct drive *d, bool response)
{
    drive_part(d, response, (struct event){.part = PART_END});
}

/* From the origin (the client is told) or, with `client`, because the client is gone. */
static inline void drive_error(struct drive *d, bool response, bool client, enum err e, const char *reason)
{
    d->x.response_ended = response && !client;
    drive_part(d, response, (struct event){.part = PART_ERROR, .error = e, .reason = reason});
}

static inline void drive_done(struct drive *d)
{
    d->tap->ops->end(d->tap, &d->x);
}

/* A whole flow: GET, one piece of response. */
static inline void drive_flow(struct drive *d, uint64_t id, const void *body, size_t n)
{
    drive_begin(d, id, FLOW_HTTP);
    drive_request_head(d);
    drive_end(d, false);
    drive_response_head(d);
    if (n)
        drive_body(d, true, body, n);
    drive_end(d, true);
    drive_done(d);
}

static inline struct recorder *drive_recorder(struct recorder_options options)
{
    struct recorder *r = NULL;
    struct buf problem = BUF_INIT;
    options.version = "test";
    options.workers = options.workers ? options.workers : 1;
    enum err e = recorder_create(&r, &options, &problem);
    if (e)
        fail_msg("%s: %.*s", err_word(e), (int)problem.n, (const char *)buf_span(&problem).p);
    buf_free(&problem);
    return r;
}

static inline void drive_close(struct recorder **r)
{
    struct buf problem = BUF_INIT;
    enum err e = recorder_close(r, &problem);
    if (e)
        fail_msg("%s: %.*s", err_word(e), (int)problem.n, (const char *)buf_span(&problem).p);
    buf_free(&problem);
}

#endif
