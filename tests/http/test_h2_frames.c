/* test_h2_frames.c: what no good HTTP/2 engine sends, frame by frame: malformed messages and broken connections. A malformed message costs its
 * stream and nothing else, a broken connection ends with the right GOAWAY; at several cuts of the bytes,
 * and under every failing allocation. */
#include "tests/http/h2_frames.h"

static const size_t chunks[] = {1, 2, 7, 50, 100000};

static uint8_t zeros[70000];

#define S(literal) literal, sizeof literal - 1

/* ---- messages ---- */

struct message {
    const char *name;
    const char *fields; /* of the head */
    size_t fields_n;
    const char *body;     /* NULL: the head ends the stream */
    const char *trailers; /* NULL: none */
    const char *said;     /* what the owner is told; NULL: it was refused, and how does not matter */
};

static const struct message requests[] = {
    {"a plain one", S(GET), NULL, NULL, "HEAD GET https ex.org / 0 HTTP/2 END"},
    {"white space around a value", S(GET "|x= a "), NULL, NULL, "HEAD GET https ex.org / 0 HTTP/2 x= a ; END"},
    {"bytes beyond ASCII in a value", S(GET "|x=\xe4\xff"), NULL, NULL,
     "HEAD GET https ex.org / 0 HTTP/2 x=\xe4\xff; END"},
    {"te: trailers", S(GET "|te=trailers"), NULL, NULL, "HEAD GET https ex.org / 0 HTTP/2 te=trailers; END"},
    {"a body of its length", S(POST "|content-length=3"), "abc", NULL,
     "HEAD POST https ex.org / 0 HTTP/2 content-length=3; END"},
    {"Host alone", S(":method=GET|:scheme=https|:path=/|host=ex.org"), NULL, NULL,
     "HEAD GET https ex.org / 0 HTTP/2 host=ex.org; END"},
    {"Host that agrees", S(GET "|host=EX.org"), NULL, NULL, "HEAD GET https ex.org / 0 HTTP/2 host=EX.org; END"},
    {"trailers", S(POST), "abc", "x-t=1", "HEAD POST https ex.org / 0 HTTP/2 TRAILERS x-t=1; END"},
    {"CR in a value", S(GET "|x=a\rb"), NULL, NULL, NULL},
    {"LF in a value", S(GET "|x=a\nb"), NULL, NULL, NULL},
    {"CR LF in a value", S(GET "|x=a\r\nevil: 1"), NULL, NULL, NULL},
    {"NUL in a value", S(GET "|x=a\0b"), NULL, NULL, NULL},
    {"CR in a name", S(GET "|x\ry=a"), NULL, NULL, NULL},
    {"LF in a name", S(GET "|x\ny=a"), NULL, NULL, NULL},
    {"NUL in a name", S(GET "|x\0y=a"), NULL, NULL, NULL},
    {"a space in a name", S(GET "|x y=a"), NULL, NULL, NULL},
    {"a colon in a name", S(GET "|x:y=a"), NULL, NULL, NULL},
    {"an upper-case name", S(GET "|X-Y=a"), NULL, NULL, NULL},
    {"bytes beyond ASCII in a name", S(GET "|\xc3\xa4=a"), NULL, NULL, NULL},
    {"connection", S(GET "|connection=close"), NULL, NULL, NULL},
    {"keep-alive", S(GET "|keep-alive=5"), NULL, NULL, NULL},
    {"proxy-connection", S(GET "|proxy-connection=close"), NULL, NULL, NULL},
    {"transfer-encoding", S(POST "|transfer-encoding=chunked"), "abc", NULL, NULL},
    {"upgrade", S(GET "|upgrade=h2c"), NULL, NULL, NULL},
    {"te: gzip", S(GET "|te=gzip"), NULL, NULL, NULL},
    {"te: gzip, trailers", S(GET "|te=gzip, trailers"), NULL, NULL, NULL},
    {"two Hosts", S(":method=GET|:scheme=https|:path=/|host=ex.org|host=ex.org"), NULL, NULL, NULL},
    {"two Hosts that differ", S(":method=GET|:scheme=https|:path=/|host=ex.org|host=other"), NULL, NULL, NULL},
    {":authority against Host", S(GET "|host=other.org"), NULL, NULL, NULL},
    {":authority against Host's port", S(GET "|host=ex.org:8443"), NULL, NULL, NULL},
    {"user information", S(":method=GET|:scheme=https|:authority=me@ex.org|:path=/"), NULL, NULL, NULL},
    {"a path with a space", S(":method=GET|:scheme=https|:authority=ex.org|:path=/ HTTP/1.1"), NULL, NULL, NULL},
    {"a path with CR LF", S(":method=GET|:scheme=https|:authority=ex.org|:path=/\r\nevil: 1"), NULL, NULL, NULL},
    {"a path with a tab", S(":method=GET|:scheme=https|:authority=ex.org|:path=/\t"), NULL, NULL, NULL},
    {"a path without a slash", S(":method=GET|:scheme=https|:authority=ex.org|:path=a"), NULL, NULL, NULL},
    {"an empty path", S(":method=GET|:scheme=https|:authority=ex.org|:path="), NULL, NULL, NULL},
    {"an absolute path", S(":method=GET|:scheme=https|:authority=ex.org|:path=http://other/"), NULL, NULL, NULL},
    {"a method of two words", S(":method=GET /evil|:scheme=https|:authority=ex.org|:path=/"), NULL, NULL, NULL},
    {"an empty method", S(":method=|:scheme=https|:authority=ex.org|:path=/"), NULL, NULL, NULL},
    {"no method", S(":scheme=https|:authority=ex.org|:path=/"), NULL, NULL, NULL},
    {"no scheme", S(":method=GET|:authority=ex.org|:path=/"), NULL, NULL, NULL},
    {"no path", S(":method=GET|:scheme=https|:authority=ex.org"), NULL, NULL, NULL},
    {"two methods", S(":method=GET|" GET), NULL, NULL, NULL},
    {"two paths", S(":path=/|" GET), NULL, NULL, NULL},
    {"two authorities", S(":authority=ex.org|" GET), NULL, NULL, NULL},
    {"a pseudo-field behind a field", S(":method=GET|:scheme=https|:authority=ex.org|x=1|:path=/"), NULL, NULL, NULL},
    {"an unknown pseudo-field", S(GET "|:other=1"), NULL, NULL, NULL},
    {":status in a request", S(GET "|:status=200"), NULL, NULL, NULL},
    {":protocol that nobody offered", S(":method=CONNECT|:protocol=websocket|:scheme=https|:authority=ex.org|:path=/"),
     NULL, NULL, NULL},
    {"a pseudo-field among trailers", S(POST), "abc", ":path=/", NULL},
    {"CR LF among trailers", S(POST), "abc", "x=a\r\nb: c", NULL},
    {"less content than its length", S(POST "|content-length=4"), "abc", NULL, NULL},
    {"more content than its length", S(POST "|content-length=2"), "abc", NULL, NULL},
    {"a length without content", S(POST "|content-length=2"), NULL, NULL, NULL},
    {"two lengths", S(POST "|content-length=3|content-length=3"), "abc", NULL, NULL},
    {"a length that is no number", S(POST "|content-length=+3"), "abc", NULL, NULL},
    {"a length beyond all numbers", S(POST "|content-length=99999999999999999999"), "abc", NULL, NULL},
    {"CONNECT", S(":method=CONNECT|:authority=Ex.Org:25|x=1"), "abc", NULL, "HEAD CONNECT  ex.org  25 HTTP/2 x=1; END"},
    {"CONNECT without a body", S(":method=CONNECT|:authority=[::1]:25"), NULL, NULL,
     "HEAD CONNECT  ::1  25 HTTP/2 END"},
    {"CONNECT without a port", S(":method=CONNECT|:authority=ex.org"), "abc", NULL,
     "HEAD CONNECT  ex.org  0 HTTP/2 END"},
    {"CONNECT with trailers", S(":method=CONNECT|:authority=ex.org:25"), "abc", "x-t=1", NULL},
    {"CONNECT with user information", S(":method=CONNECT|:authority=me@ex.org:25"), "abc", NULL, NULL},
    {"CONNECT with a port that is none", S(":method=CONNECT|:authority=ex.org:99999"), "abc", NULL, NULL},
    {"CONNECT with a path", S(":method=CONNECT|:authority=ex.org:1|:path=/"), NULL, NULL, NULL},
    {"CONNECT with a scheme", S(":method=CONNECT|:scheme=https|:authority=ex.org:1"), NULL, NULL, NULL},
    {"CONNECT to nowhere", S(":method=CONNECT"), NULL, NULL, NULL},
};

static const struct message responses[] = {
    {"a plain one", S(":status=204"), NULL, NULL, "HEAD 204 HTTP/2 END"},
    {"a body of its length", S(":status=200|content-length=3"), "abc", NULL, "HEAD 200 HTTP/2 content-length=3; END"},
    {"trailers", S(":status=200"), "abc", "x-t=1", "HEAD 200 HTTP/2 TRAILERS x-t=1; END"},
    {"no status", S("x=1"), NULL, NULL, NULL},
    {"two statuses", S(":status=200|:status=200"), NULL, NULL, NULL},
    {"a status behind a field", S("x=1|:status=200"), NULL, NULL, NULL},
    {"a status of two digits", S(":status=99"), NULL, NULL, NULL},
    {"a status that is no number", S(":status=2x0"), NULL, NULL, NULL},
    {"switching protocols", S(":status=101"), NULL, NULL, NULL},
    {"an informational response that ends the stream", S(":status=103"), NULL, NULL, NULL},
    {"a pseudo-field of requests", S(":status=200|:path=/"), NULL, NULL, NULL},
    {"CR in a value", S(":status=200|x=a\rb"), "abc", NULL, NULL},
    {"LF in a value", S(":status=200|x=a\nb: c"), "abc", NULL, NULL},
    {"NUL in a value", S(":status=200|x=a\0b"), "abc", NULL, NULL},
    {"LF in a name", S(":status=200|x\ny=a"), "abc", NULL, NULL},
    {"an upper-case name", S(":status=200|X-Y=a"), "abc", NULL, NULL},
    {"connection", S(":status=200|connection=close"), "abc", NULL, NULL},
    {"transfer-encoding", S(":status=200|transfer-encoding=chunked"), "abc", NULL, NULL},
    {"less content than its length", S(":status=200|content-length=4"), "abc", NULL, NULL},
    {"more content than its length", S(":status=200|content-length=2"), "abc", NULL, NULL},
    {"two lengths", S(":status=200|content-length=3|content-length=4"), "abc", NULL, NULL},
    {"CR LF among trailers", S(":status=200"), "abc", "x=a\r\nb: c", NULL},
};

static void put_message(struct buf *to, uint32_t stream, const struct message *m)
{
    put_headers(to, stream, m->body ? 0 : END_STREAM, span_of(m->fields, m->fields_n));
    if (m->body)
        put_frame(to, DATA, m->trailers ? 0 : END_STREAM, stream, span_str(m->body));
    if (m->trailers)
        put_headers(to, stream, END_STREAM, span_str(m->trailers));
}

static void say_no_more(struct call *c)
{
    if (c->s && !c->closed)
        c->side->e = answer(c, 204, "", true);
}

/* The message in stream 1, and one beside it in stream 3 that suffers nothing. */
static enum err converse(struct side *side, struct seen *seen, enum h2_role role, const struct message *m, size_t chunk)
{
    struct buf wire = BUF_INIT;
    struct call *c;
    enum err e = ERR_OK;
    if (role == H2_CLIENT) {
        e = ask(side, "GET", "/", "", true, &c);
        e = e ? e : ask(side, "GET", "/", "", true, &c);
        e = e ? e : drain(side, seen);
    }
    put_preface(&wire, role == H2_SERVER ? H2_CLIENT : H2_SERVER);
    if (role == H2_CLIENT) { /* more than one request goes out once the origin has spoken */
        e = e ? e : feed(side, seen, buf_span(&wire), chunk);
        buf_clear(&wire);
    }
    put_message(&wire, 1, m);
    put_headers(&wire, 3, END_STREAM, role == H2_SERVER ? span_str(GET) : span_str(":status=204"));
    e = e ? e : feed(side, seen, buf_span(&wire), chunk);
    buf_free(&wire);
    return e ? e : side->e;
}

static void check_message(enum h2_role role, const struct message *m, size_t chunk)
{
    struct side *side = side_new(role);
    struct seen seen = {.frames = 0};
    side->on_complete = role == H2_SERVER ? say_no_more : NULL;
    enum err e = converse(side, &seen, role, m, chunk);
    if (e || seen.goaway)
        fail_msg("%s: the connection ended: %s", m->name, h2_error(side->h2));
    struct call *first = &side->calls[0], *second = &side->calls[1];
    if (side->n != 2)
        fail_msg("%s: %zu streams were told of", m->name, side->n);
    if (m->said) {
        assert_said(first, m->said);
        assert_int_equal(first->body, m->body ? strlen(m->body) : 0);
        assert_false(seen.reset[1]);
        assert_closed(first, 0);
    } else {
        if (first->malformed != 1 || first->closed != 1 || first->complete)
            fail_msg("%s: malformed %u, closed %u, complete %d: %s", m->name, first->malformed, first->closed,
                     first->complete, first->text.n ? buf_cstr(&first->text) : "");
        assert_true(seen.reset[1]);
        assert_int_equal(seen.code[1], H2_PROTOCOL_ERROR);
        assert_false(first->untouched);
    }
    assert_closed(second, 0);
    assert_true(second->complete);
    assert_int_equal(h2_streams(side->h2), 0);
    side_free(side);
    buf_free(&seen.rest);
}

static void test_requests(void **state)
{
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(chunks); k++)
        for (size_t i = 0; i < ARRAY_LEN(requests); i++)
            check_message(H2_SERVER, &requests[i], chunks[k]);
}

static void test_responses(void **state)
{
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(chunks); k++)
        for (size_t i = 0; i < ARRAY_LEN(responses); i++)
            check_message(H2_CLIENT, &responses[i], chunks[k]);
}

static void starve(enum h2_role role, const struct message *m)
{
    bool done = false;
    for (long n = 0; !done && n < 2000; n++) {
        struct side *side = calloc(1, sizeof *side);
        struct seen seen = {.frames = 0};
        assert_non_null(side);
        side->on_complete = role == H2_SERVER ? say_no_more : NULL;
        /* What the test itself needs is there before. */
        struct buf wire = BUF_INIT;
        put_preface(&wire, role == H2_SERVER ? H2_CLIENT : H2_SERVER);
        put_message(&wire, 1, m);
        assert_int_equal(buf_put(&seen.rest, span_of(zeros, 4000)), ERR_OK);
        buf_clear(&seen.rest);
        mem_fail_after(n);
        enum err e = h2_create(&side->h2, role, &side_events, side);
        struct call *c;
        if (!e && role == H2_CLIENT)
            e = ask(side, "GET", "/", "", true, &c);
        e = e ? e : drain(side, &seen);
        e = e ? e : feed(side, &seen, buf_span(&wire), 40);
        mem_fail_after(-1);
        assert_true(e == ERR_OK || e == ERR_NOMEM);
        done = e == ERR_OK && side->n > 0 && side->calls[0].closed == 1 &&
               (m->said ? side->calls[0].complete && side->calls[0].code == 0 : seen.code[1] == H2_PROTOCOL_ERROR);
        /* What was refused is never let through for want of memory. */
        assert_false(!m->said && side->n > 0 && side->calls[0].complete);
        side_free(side);
        buf_free(&seen.rest);
        buf_free(&wire);
    }
    if (!done)
        fail_msg("%s: never came to its end", m->name);
}

static void test_allocation_failure(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(requests); i++)
        starve(H2_SERVER, &requests[i]);
    for (size_t i = 0; i < ARRAY_LEN(responses); i++)
        starve(H2_CLIENT, &responses[i]);
}

/* ---- heads that are too large ---- */

static void check_large(size_t fields, size_t value, bool fits)
{
    struct side *side = side_new(H2_SERVER);
    struct seen seen = {.frames = 0};
    struct buf block = BUF_INIT, wire = BUF_INIT;
    put_block(&block, span_str(GET));
    for (size_t i = 0; i < fields; i++)
        put_literal(&block, SPAN("x"), SPAN_EMPTY);
    memset(zeros, 'a', sizeof zeros);
    if (value)
        put_literal(&block, SPAN("y"), span_of(zeros, value));
    memset(zeros, 0, sizeof zeros);
    put_preface(&wire, H2_CLIENT);
    put_long_block(&wire, 1, buf_span(&block));
    put_headers(&wire, 3, END_STREAM, span_str(GET));
    assert_int_equal(feed(side, &seen, buf_span(&wire), 1000), ERR_OK);
    assert_int_equal(side->n, 2);
    assert_int_equal(side->calls[0].malformed, !fits);
    assert_int_equal(side->calls[0].complete, fits);
    assert_int_equal(seen.reset[1], !fits);
    assert_true(side->calls[1].complete);
    side_free(side);
    buf_free(&seen.rest);
    buf_free(&block);
    buf_free(&wire);
}

static void test_large_heads(void **state)
{
    (void)state;
    check_large(200, 0, true);
    check_large(LIMIT_HEADERS + 1, 0, false);
    check_large(0, 60000, true);
    check_large(0, 65400, false);
}

/* ---- broken connections ---- */

struct broken {
    const char *name;
    enum h2_role role;
    bool no_preface;
    unsigned type, flags;
    uint32_t stream;
    const char *payload;
    size_t n;
    uint32_t code; /* of GOAWAY */
};

static const struct broken broken[] = {
    {"DATA of stream 0", H2_SERVER, false, DATA, 0, 0, S("abc"), H2_PROTOCOL_ERROR},
    {"HEADERS of stream 0", H2_SERVER, false, HEADERS, 4, 0, S("\x82"), H2_PROTOCOL_ERROR},
    {"HEADERS of an even stream", H2_SERVER, false, HEADERS, 4, 2, S("\x82\x87\x84"), H2_PROTOCOL_ERROR},
    {"DATA of a stream that never was", H2_SERVER, false, DATA, 0, 5, S("abc"), H2_PROTOCOL_ERROR},
    {"RST_STREAM of a stream that never was", H2_SERVER, false, RST_STREAM, 0, 5, S("\0\0\0\0"), H2_PROTOCOL_ERROR},
    {"WINDOW_UPDATE of a stream that never was", H2_SERVER, false, WINDOW_UPDATE, 0, 5, S("\0\0\0\1"),
     H2_PROTOCOL_ERROR},
    {"CONTINUATION of nothing", H2_SERVER, false, CONTINUATION, 4, 1, S("\x82"), H2_PROTOCOL_ERROR},
    {"SETTINGS of a stream", H2_SERVER, false, SETTINGS, 0, 1, S(""), H2_PROTOCOL_ERROR},
    {"SETTINGS of 5 bytes", H2_SERVER, false, SETTINGS, 0, 0, S("\0\3\0\0\0"), FRAME_SIZE_ERROR},
    {"SETTINGS ACK with content", H2_SERVER, false, SETTINGS, 1, 0, S("\0\3\0\0\0\1"), FRAME_SIZE_ERROR},
    {"a window beyond all windows", H2_SERVER, false, SETTINGS, 0, 0, S("\0\4\x80\0\0\0"), FLOW_CONTROL_ERROR},
    {"a frame size too small", H2_SERVER, false, SETTINGS, 0, 0, S("\0\5\0\0\0\1"), H2_PROTOCOL_ERROR},
    {"ENABLE_PUSH of 2", H2_SERVER, false, SETTINGS, 0, 0, S("\0\2\0\0\0\2"), H2_PROTOCOL_ERROR},
    {"PING of 7 bytes", H2_SERVER, false, PING, 0, 0, S("1234567"), FRAME_SIZE_ERROR},
    {"PING of a stream", H2_SERVER, false, PING, 0, 1, S("12345678"), H2_PROTOCOL_ERROR},
    {"GOAWAY of 7 bytes", H2_SERVER, false, GOAWAY, 0, 0, S("1234567"), FRAME_SIZE_ERROR},
    {"GOAWAY of a stream", H2_SERVER, false, GOAWAY, 0, 1, S("\0\0\0\0\0\0\0\0"), H2_PROTOCOL_ERROR},
    {"WINDOW_UPDATE of 3 bytes", H2_SERVER, false, WINDOW_UPDATE, 0, 0, S("\0\0\1"), FRAME_SIZE_ERROR},
    {"WINDOW_UPDATE of 0", H2_SERVER, false, WINDOW_UPDATE, 0, 0, S("\0\0\0\0"), H2_PROTOCOL_ERROR},
    {"WINDOW_UPDATE beyond all windows", H2_SERVER, false, WINDOW_UPDATE, 0, 0, S("\x7f\xff\xff\xff"),
     FLOW_CONTROL_ERROR},
    {"RST_STREAM of 3 bytes", H2_SERVER, false, RST_STREAM, 0, 1, S("\0\0\1"), FRAME_SIZE_ERROR},
    {"PUSH_PROMISE of a client", H2_SERVER, false, PUSH_PROMISE, 4, 1, S("\0\0\0\2\x82"), H2_PROTOCOL_ERROR},
    {"an index that HPACK has not", H2_SERVER, false, HEADERS, 5, 1, S("\xff\xff\xff\x7f"), COMPRESSION_ERROR},
    {"a table larger than was allowed", H2_SERVER, false, HEADERS, 5, 1, S("\x3f\xff\xff\x7f"), COMPRESSION_ERROR},
    {"a padding longer than the frame", H2_SERVER, false, HEADERS, 13, 1, S("\x09\x82"), H2_PROTOCOL_ERROR},
    {"a frame instead of the preface", H2_SERVER, true, SETTINGS, 0, 0, S(""), H2_PROTOCOL_ERROR},
    {"HEADERS before SETTINGS", H2_CLIENT, true, HEADERS, 5, 1, S("\x88"), H2_PROTOCOL_ERROR},
    {"a stream that the origin begins", H2_CLIENT, false, HEADERS, 5, 2, S("\x88"), H2_PROTOCOL_ERROR},
    {"a push that was refused", H2_CLIENT, false, PUSH_PROMISE, 4, 1, S("\0\0\0\2\x82\x87\x84"), H2_PROTOCOL_ERROR},
    {"SETTINGS that allow a push", H2_CLIENT, false, SETTINGS, 0, 0, S("\0\2\0\0\0\1"), H2_PROTOCOL_ERROR},
    {"DATA of a stream that never was", H2_CLIENT, false, DATA, 0, 7, S("abc"), H2_PROTOCOL_ERROR},
};

static void check_broken(const struct broken *b, size_t chunk)
{
    struct side *side = side_new(b->role);
    struct seen seen = {.frames = 0};
    struct buf wire = BUF_INIT;
    struct call *c;
    if (b->role == H2_CLIENT) {
        assert_int_equal(ask(side, "POST", "/", "", false, &c), ERR_OK);
        assert_int_equal(drain(side, &seen), ERR_OK);
    }
    if (!b->no_preface)
        put_preface(&wire, b->role == H2_SERVER ? H2_CLIENT : H2_SERVER);
    put_frame(&wire, b->type, b->flags, b->stream, span_of(b->payload, b->n));
    enum err e = feed(side, &seen, buf_span(&wire), chunk);
    if (!seen.goaway || seen.goaway_code != b->code)
        fail_msg("%s, %zu: error %d, GOAWAY %d with %u: %s", b->name, chunk, e, seen.goaway, seen.goaway_code,
                 h2_error(side->h2));
    assert_int_equal(e, ERR_PARSE);
    assert_int_equal(h2_failure(side->h2), ERR_PARSE);
    assert_true(h2_error(side->h2)[0]);
    assert_true(h2_done(side->h2));
    assert_int_equal(h2_feed(side->h2, SPAN("more")), ERR_PARSE);
    side_free(side);
    buf_free(&seen.rest);
    buf_free(&wire);
}

static void test_broken_connections(void **state)
{
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(chunks); k++)
        for (size_t i = 0; i < ARRAY_LEN(broken); i++)
            check_broken(&broken[i], chunks[k]);
}

static void test_frame_that_is_too_large(void **state)
{
    (void)state;
    struct side *side = side_new(H2_SERVER);
    struct seen seen = {.frames = 0};
    struct buf wire = BUF_INIT;
    put_preface(&wire, H2_CLIENT);
    put_headers(&wire, 1, 0, span_str(POST));
    put_frame(&wire, DATA, 0, 1, span_of(zeros, 16385));
    assert_int_equal(feed(side, &seen, buf_span(&wire), 5000), ERR_PARSE);
    assert_true(seen.goaway);
    assert_int_equal(seen.goaway_code, FRAME_SIZE_ERROR);
    side_free(side);
    buf_free(&seen.rest);
    buf_free(&wire);
}

/* More than the window allows: the stream's costs the stream or the connection, never memory. */
static void test_window_overrun(void **state)
{
    (void)state;
    struct side *side = side_new(H2_SERVER);
    struct seen seen = {.frames = 0};
    struct buf wire = BUF_INIT;
    put_preface(&wire, H2_CLIENT);
    put_headers(&wire, 1, 0, span_str(POST));
    assert_int_equal(feed(side, &seen, buf_span(&wire), 5000), ERR_OK);
    h2_pause(side->calls[0].s, true);
    buf_clear(&wire);
    enum err e = ERR_OK;
    put_frame(&wire, DATA, 0, 1, span_of(zeros, 16384));
    for (size_t i = 0; !e && i < 100; i++)
        e = feed(side, &seen, buf_span(&wire), 5000);
    assert_in_range(side->calls[0].body, LIMIT_H2_STREAM_WINDOW,
                    LIMIT_H2_STREAM_WINDOW + 5000); /* the piece that was one too many */
    assert_true(seen.reset[1] ? seen.code[1] == FLOW_CONTROL_ERROR : seen.goaway_code == FLOW_CONTROL_ERROR);
    side_free(side);
    buf_free(&seen.rest);
    buf_free(&wire);
}

static void test_stream_window_update_of_0(void **state)
{
    (void)state;
    struct side *side = side_new(H2_SERVER);
    struct seen seen = {.frames = 0};
    struct buf wire = BUF_INIT;
    put_preface(&wire, H2_CLIENT);
    put_headers(&wire, 1, 0, span_str(POST));
    put_number(&wire, WINDOW_UPDATE, 1, 0);
    enum err e = feed(side, &seen, buf_span(&wire), 5000);
    assert_true(e == ERR_OK || e == ERR_PARSE); /* RFC 9113 §6.9 lets it be either */
    assert_true(seen.reset[1] ? seen.code[1] == H2_PROTOCOL_ERROR : seen.goaway_code == H2_PROTOCOL_ERROR);
    side_free(side);
    buf_free(&seen.rest);
    buf_free(&wire);
}

/* ---- GOAWAY ---- */

static void test_goaway_of_the_origin(void **state)
{
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(chunks); k++) {
        struct side *side = side_new(H2_CLIENT);
        struct seen seen = {.frames = 0};
        struct buf wire = BUF_INIT;
        struct call *a, *b, *late;
        assert_int_equal(ask(side, "GET", "/", "", true, &a), ERR_OK);
        assert_int_equal(ask(side, "POST", "/", "", false, &b), ERR_OK);
        assert_int_equal(drain(side, &seen), ERR_OK);
        put_preface(&wire, H2_SERVER);
        put_frame(&wire, GOAWAY, 0, 0, SPAN("\0\0\0\1\0\0\0\x0btoo_many_pings"));
        assert_int_equal(feed(side, &seen, buf_span(&wire), chunks[k]), ERR_OK);
        assert_closed(b, H2_REFUSED_STREAM);
        assert_true(b->untouched);
        assert_int_equal(a->closed, 0);
        assert_false(h2_can_request(side->h2) || h2_done(side->h2));
        assert_int_equal(ask(side, "GET", "/", "", true, &late), ERR_REFUSED);
        assert_string_equal(h2_error(side->h2), "error code 11, too_many_pings");
        assert_int_equal(h2_failure(side->h2), ERR_OK);
        buf_clear(&wire);
        put_headers(&wire, 1, END_STREAM, SPAN(":status=204"));
        assert_int_equal(feed(side, &seen, buf_span(&wire), chunks[k]), ERR_OK);
        assert_closed(a, 0);
        assert_true(a->complete && h2_done(side->h2));
        side_free(side);
        buf_free(&seen.rest);
        buf_free(&wire);
    }
}

static void test_goaway_of_the_client(void **state)
{
    (void)state;
    struct side *side = side_new(H2_SERVER);
    struct seen seen = {.frames = 0};
    struct buf wire = BUF_INIT;
    put_preface(&wire, H2_CLIENT);
    put_headers(&wire, 1, END_STREAM, span_str(GET));
    put_frame(&wire, GOAWAY, 0, 0, SPAN("\0\0\0\0\0\0\0\0"));
    assert_int_equal(feed(side, &seen, buf_span(&wire), 9), ERR_OK);
    assert_false(h2_done(side->h2));
    assert_int_equal(answer(&side->calls[0], 204, "", true), ERR_OK);
    assert_int_equal(drain(side, &seen), ERR_OK);
    assert_true(seen.ended[1] && h2_done(side->h2));
    assert_int_equal(h2_failure(side->h2), ERR_OK);
    assert_string_equal(h2_error(side->h2), "");
    side_free(side);
    buf_free(&seen.rest);
    buf_free(&wire);
}

/* A broken connection is told even after a GOAWAY. */
static void test_broken_after_goaway(void **state)
{
    (void)state;
    struct side *side = side_new(H2_SERVER);
    struct seen seen = {.frames = 0};
    struct buf wire = BUF_INIT;
    put_preface(&wire, H2_CLIENT);
    put_headers(&wire, 1, 0, span_str(POST));
    put_frame(&wire, GOAWAY, 0, 0, SPAN("\0\0\0\0\0\0\0\0"));
    put_frame(&wire, DATA, 0, 0, SPAN("abc"));
    assert_int_equal(feed(side, &seen, buf_span(&wire), 9), ERR_PARSE);
    assert_int_equal(seen.goaway_code, H2_PROTOCOL_ERROR);
    side_free(side);
    buf_free(&seen.rest);
    buf_free(&wire);
}

/* ---- the rest ---- */

/* Frames that concern nobody do no harm. */
static void test_harmless_frames(void **state)
{
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(chunks); k++) {
        struct side *side = side_new(H2_SERVER);
        struct seen seen = {.frames = 0};
        struct buf wire = BUF_INIT;
        side->on_complete = say_no_more;
        assert_int_equal(buf_put_str(&wire, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), ERR_OK);
        put_frame(&wire, SETTINGS, 0, 0, SPAN("\0\x09\0\0\0\1\0\x77\0\0\0\1")); /* NO_RFC7540_PRIORITIES; unknown */
        put_frame(&wire, 0x10, 0, 0, SPAN("\0\0\0\1u=1, i"));                   /* PRIORITY_UPDATE */
        put_frame(&wire, PRIORITY, 0, 5, SPAN("\0\0\0\3\x10"));                 /* of RFC 7540 */
        put_frame(&wire, 0x0c, 0, 0, SPAN("\0\x0dhttps://ex.org"));             /* ORIGIN, of a client */
        for (size_t i = 0; i < 5000; i++)
            put_frame(&wire, 0xba, 0xff, 1, SPAN("grease")); /* unknown: costs nothing */
        put_headers(&wire, 1, END_STREAM, SPAN(GET "|priority=u=1, i"));
        put_frame(&wire, 0x10, 0, 0, SPAN("\0\0\0\1u=7"));
        put_frame(&wire, PRIORITY, 0, 1, SPAN("\0\0\0\0\x10"));
        put_number(&wire, WINDOW_UPDATE, 1, 10); /* of a closed stream */
        put_number(&wire, RST_STREAM, 1, 0);     /* of a closed stream */
        put_headers(&wire, 3, END_STREAM, SPAN(GET));
        assert_int_equal(feed(side, &seen, buf_span(&wire), chunks[k]), ERR_OK);
        assert_int_equal(side->n, 2);
        assert_said(&side->calls[0], "HEAD GET https ex.org / 0 HTTP/2 priority=u=1, i; END");
        assert_closed(&side->calls[0], 0);
        assert_closed(&side->calls[1], 0);
        side_free(side);
        buf_free(&seen.rest);
        buf_free(&wire);
    }
}

/* Frames as they came, heads and CONTINUATION included; not those of the connection. */
static void test_wire_bytes(void **state)
{
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(chunks); k++) {
        struct side *side = side_new(H2_SERVER);
        struct seen seen = {.frames = 0};
        struct buf wire = BUF_INIT, block = BUF_INIT;
        put_preface(&wire, H2_CLIENT);
        size_t before = wire.n;
        put_block(&block, SPAN(POST "|x=1"));
        put_frame(&wire, HEADERS, 0, 1, span_first(buf_span(&block), 20));
        put_frame(&wire, CONTINUATION, END_HEADERS, 1, span_from(buf_span(&block), 20));
        put_frame(&wire, DATA, 0, 1, SPAN("abc"));
        put_frame(&wire, DATA, PADDED, 1, SPAN("\2de\0\0"));
        size_t of_stream = wire.n - before;
        put_frame(&wire, PING, 0, 0, SPAN("12345678"));
        put_headers(&wire, 3, 0, SPAN(POST));
        assert_int_equal(feed(side, &seen, buf_span(&wire), chunks[k]), ERR_OK);
        assert_int_equal(h2_wire_bytes(side->calls[0].s), of_stream);
        assert_int_equal(h2_wire_bytes(side->calls[1].s), wire.n - before - of_stream - 17);
        assert_int_equal(side->calls[0].body, 5);
        side_free(side);
        buf_free(&seen.rest);
        buf_free(&wire);
        buf_free(&block);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_responses),
        cmocka_unit_test(test_allocation_failure),
        cmocka_unit_test(test_large_heads),
        cmocka_unit_test(test_broken_connections),
        cmocka_unit_test(test_frame_that_is_too_large),
        cmocka_unit_test(test_window_overrun),
        cmocka_unit_test(test_stream_window_update_of_0),
        cmocka_unit_test(test_goaway_of_the_origin),
        cmocka_unit_test(test_goaway_of_the_client),
        cmocka_unit_test(test_broken_after_goaway),
        cmocka_unit_test(test_harmless_frames),
        cmocka_unit_test(test_wire_bytes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
