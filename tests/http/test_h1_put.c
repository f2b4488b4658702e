/* test_h1_put.c: the HTTP/1 serialiser: what is forwarded byte for byte, what is dropped or made, that nothing can be injected, and that
 * what was serialised parses to the same message. */
#include "http/h1.h"

#include "base/limits.h"
#include "base/util.h"
#include "tests/http/transcript.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

/* Parses one head and leaves it in t->last. */
static void parse(struct transcript *t, enum h1_role role, const char *wire, const char *method)
{
    struct h1 *codec;
    size_t used;
    assert_int_equal(h1_create(&codec, role, &transcript_events, t), ERR_OK);
    if (role == H1_CLIENT)
        h1_expect(codec, span_str(method));
    if (h1_feed(codec, span_str(wire), &used) || t->heads != 1)
        fail_msg("%s: %s", wire, h1_error(codec));
    h1_destroy(&codec);
}

static const struct {
    const char *name, *wire;
    bool has_body, close, absolute;
    const char *want;
} requests[] = {
    {"browser",
     "GET /a?b HTTP/1.1\r\nhost: Ex.org\r\nUser-Agent: x\r\nACCEPT: */*\r\nconnection: keep-alive\r\nCookie: a=1\r\n\r\n",
     false, false, false, "GET /a?b HTTP/1.1\r\nhost: Ex.org\r\nUser-Agent: x\r\nACCEPT: */*\r\nCookie: a=1\r\n\r\n"},
    {"absolute form becomes origin form",
     "GET http://u:p@a:81/x HTTP/1.1\r\nHost: a:81\r\nProxy-Connection: keep-alive\r\nX: 1\r\n\r\n", false, false,
     false, "GET /x HTTP/1.1\r\nHost: a:81\r\nX: 1\r\n\r\n"},
    {"towards another proxy", "GET http://A/x HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Basic x\r\n\r\n", false,
     false, true, "GET http://a/x HTTP/1.1\r\nHost: a\r\nProxy-Authorization: Basic x\r\n\r\n"},
    {"asterisk towards another proxy", "OPTIONS http://[::1]:81 HTTP/1.1\r\nHost: [::1]:81\r\n\r\n", false, false, true,
     "OPTIONS http://[::1]:81 HTTP/1.1\r\nHost: [::1]:81\r\n\r\n"},
    {"asterisk", "OPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n", false, false, false,
     "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"},
    {"no Host", "GET http://a:8080/ HTTP/1.0\r\nX: 1\r\n\r\n", false, true, false,
     "GET / HTTP/1.1\r\nHost: a:8080\r\nX: 1\r\nConnection: close\r\n\r\n"},
    {"connection fields",
     "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\nX-End: 2\r\nTE: gzip\r\n"
     "Proxy-Authorization: secret\r\n\r\n",
     false, true, false, "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nX-End: 2\r\n\r\n"},
    {"Connection cannot name framing",
     "POST / HTTP/1.1\r\nHost: a\r\nConnection: Host, Content-Length\r\nContent-Length: 1\r\n\r\n", true, false, false,
     "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\n\r\n"},
    {"TE: trailers", "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers, deflate;q=0.5\r\nConnection: TE\r\n\r\n", false, false,
     false, "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n"},
    {"upgrade",
     "GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n",
     false, false, false,
     "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n"},
    {"Upgrade without Connection", "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: h2c\r\n\r\n", false, false, false,
     "GET / HTTP/1.1\r\nHost: a\r\n\r\n"},
    {"length in place", "PUT / HTTP/1.1\r\ncontent-length: 05\r\nHost: a\r\nExpect: 100-continue\r\n\r\n", true, false,
     false, "PUT / HTTP/1.1\r\ncontent-length: 05\r\nHost: a\r\nExpect: 100-continue\r\n\r\n"},
    {"length 0", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nX: 1\r\n\r\n", false, false, false,
     "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nX: 1\r\n\r\n"},
    {"chunked in place", "PUT / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: Chunked\r\nX: 1\r\n\r\n", true, false, false,
     "PUT / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: Chunked\r\nX: 1\r\n\r\n"},
    {"CONNECT", "CONNECT A:443 HTTP/1.1\r\nHost: a:443\r\nProxy-Authorization: p\r\n\r\n", false, false, false,
     "CONNECT a:443 HTTP/1.1\r\nHost: a:443\r\nProxy-Authorization: p\r\n\r\n"},
};

static void test_requests(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        struct transcript t = {.heads = 0};
        struct buf b = BUF_INIT;
        parse(&t, H1_SERVER, requests[i].wire, NULL);
        struct h1_out how = h1_plan_request(&t.last, requests[i].has_body, !requests[i].close);
        how.absolute_form = requests[i].absolute;
        assert_int_equal(h1_put_request(&b, &t.last, &how), ERR_OK);
        if (strcmp(buf_cstr(&b), requests[i].want) != 0)
            fail_msg("%s:\n%s\ninstead of\n%s", requests[i].name, buf_cstr(&b), requests[i].want);
        buf_free(&b);
        transcript_free(&t);
    }
}

static const struct {
    const char *name, *method, *wire;
    bool http10, close;
    const char *want;
} responses[] = {
    {"as it came", "GET",
     "HTTP/1.1 200 Fine\r\nServer: x\r\nSet-Cookie: b\r\ncontent-LENGTH: 2\r\nSet-Cookie: a\r\nConnection: keep-alive\r\n"
     "Keep-Alive: timeout=5\r\nX: \xff\r\n\r\n",
     false, false,
     "HTTP/1.1 200 Fine\r\nServer: x\r\nSet-Cookie: b\r\ncontent-LENGTH: 2\r\nSet-Cookie: a\r\nX: \xff\r\n\r\n"},
    {"from HTTP/1.0, to be closed", "GET", "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n", false, true,
     "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\n"},
    {"close-delimited becomes chunked", "GET", "HTTP/1.0 200 OK\r\nX: 1\r\n\r\n", false, false,
     "HTTP/1.1 200 OK\r\nX: 1\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {"chunked in place", "GET", "HTTP/1.1 200 OK\r\nTRANSFER-encoding: chunked\r\nTrailer: x\r\n\r\n", false, false,
     "HTTP/1.1 200 OK\r\nTRANSFER-encoding: chunked\r\nTrailer: x\r\n\r\n"},
    {"chunked for HTTP/1.0", "GET", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true, false,
     "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n"},
    {"kept alive for HTTP/1.0", "GET", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", true, false,
     "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n"},
    {"HEAD verbatim", "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n", false, false,
     "HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n"},
    {"HEAD verbatim, chunked", "HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false, false,
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"},
    {"HEAD without framing", "HEAD", "HTTP/1.1 200 OK\r\n\r\n", false, false, "HTTP/1.1 200 OK\r\n\r\n"},
    {"304 verbatim", "GET", "HTTP/1.1 304 NM\r\nContent-Length: 9\r\nETag: x\r\n\r\n", false, false,
     "HTTP/1.1 304 NM\r\nContent-Length: 9\r\nETag: x\r\n\r\n"},
    {"204", "GET", "HTTP/1.1 204\r\n\r\n", false, false, "HTTP/1.1 204 \r\n\r\n"},
    {"101", "GET", "HTTP/1.1 101 SP\r\nconnection: upgrade\r\nUpgrade: websocket\r\n\r\n", false, true,
     "HTTP/1.1 101 SP\r\nconnection: upgrade\r\nUpgrade: websocket\r\n\r\n"},
    {"CONNECT accepted", "CONNECT", "HTTP/1.1 200 OK\r\nContent-Length: 3\r\nVia: x\r\n\r\n", false, true,
     "HTTP/1.1 200 OK\r\nVia: x\r\n\r\n"},
    {"407", "GET", "HTTP/1.1 407 P\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n", false, false,
     "HTTP/1.1 407 P\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n"},
    {"401 of a proxy", "GET", "HTTP/1.1 401 P\r\nProxy-Authenticate: Basic\r\nContent-Length: 0\r\n\r\n", false, false,
     "HTTP/1.1 401 P\r\nContent-Length: 0\r\n\r\n"},
};

static void test_responses(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(responses); i++) {
        struct transcript t = {.heads = 0};
        struct buf b = BUF_INIT;
        parse(&t, H1_CLIENT, responses[i].wire, responses[i].method);
        struct h1_out how =
            h1_plan_response(&t.last, span_str(responses[i].method), responses[i].http10, !responses[i].close);
        assert_int_equal(h1_put_response(&b, &t.last, &how), ERR_OK);
        if (strcmp(buf_cstr(&b), responses[i].want) != 0)
            fail_msg("%s:\n%s\ninstead of\n%s", responses[i].name, buf_cstr(&b), responses[i].want);
        buf_free(&b);
        transcript_free(&t);
    }
}

/* A head that no parser made: from a tape, a HAR, another protocol. */
static void make(struct head *h, const char *method, const char *host, const char *path)
{
    head_clear(h, HEAD_REQUEST);
    assert_int_equal(head_set(h, &h->method, span_str(method)), ERR_OK);
    assert_int_equal(head_set(h, &h->host, span_str(host)), ERR_OK);
    assert_int_equal(head_set(h, &h->path, span_str(path)), ERR_OK);
}

static void test_made_heads(void **state)
{
    (void)state;
    struct head h = HEAD_INIT;
    struct buf b = BUF_INIT;
    make(&h, "POST", "::1", "");
    h.port = 81;
    assert_int_equal(headers_add(&h.headers, SPAN("content-length"), SPAN("3")), ERR_OK);
    assert_int_equal(headers_add(&h.headers, SPAN("content-length"), SPAN("3")), ERR_OK);
    assert_int_equal(headers_add(&h.headers, SPAN("transfer-encoding"), SPAN("chunked")), ERR_OK);
    assert_int_equal(headers_add(&h.headers, SPAN("host"), SPAN("a")), ERR_OK);
    assert_int_equal(headers_add(&h.headers, SPAN("host"), SPAN("b")), ERR_OK);
    struct h1_out how = {.framing = H1_LENGTH, .content_length = 3, .keep_alive = true};
    assert_int_equal(h1_put_request(&b, &h, &how), ERR_OK);
    assert_string_equal(buf_cstr(&b), "POST / HTTP/1.1\r\ncontent-length: 3\r\nhost: a\r\n\r\n");
    buf_clear(&b);
    how.content_length = 4;
    assert_int_equal(headers_remove(&h.headers, SPAN("host")), 2);
    assert_int_equal(h1_put_request(&b, &h, &how), ERR_OK);
    assert_string_equal(buf_cstr(&b), "POST / HTTP/1.1\r\nHost: [::1]:81\r\nContent-Length: 4\r\n\r\n");
    buf_clear(&b);
    how.framing = H1_CHUNKED;
    assert_int_equal(h1_put_request(&b, &h, &how), ERR_OK);
    assert_string_equal(buf_cstr(&b), "POST / HTTP/1.1\r\nHost: [::1]:81\r\ntransfer-encoding: chunked\r\n\r\n");
    buf_clear(&b);
    head_clear(&h, HEAD_RESPONSE);
    h.status = 200;
    how = (struct h1_out){.framing = H1_NO_BODY, .keep_alive = true};
    assert_int_equal(h1_put_response(&b, &h, &how), ERR_OK);
    assert_string_equal(buf_cstr(&b), "HTTP/1.1 200 \r\nContent-Length: 0\r\n\r\n");
    buf_clear(&b);
    h.status = 103;
    assert_int_equal(headers_add(&h.headers, SPAN("Link"), SPAN("</a>")), ERR_OK);
    assert_int_equal(headers_add(&h.headers, SPAN("Connection"), SPAN("close")), ERR_OK);
    assert_int_equal(headers_add(&h.headers, SPAN("Content-Length"), SPAN("3")), ERR_OK);
    assert_int_equal(h1_put_informational(&b, &h), ERR_OK);
    assert_string_equal(buf_cstr(&b), "HTTP/1.1 103 \r\nLink: </a>\r\n\r\n");
    buf_free(&b);
    head_free(&h);
}

static void test_injection(void **state)
{
    (void)state;
    static const struct {
        const char *method, *host, *path, *name, *value;
        size_t value_n;
    } cases[] = {
        {"GET / HTTP/1.1\r\nX:", "a", "/", "n", "v", 0},
        {"G T", "a", "/", "n", "v", 0},
        {"", "a", "/", "n", "v", 0},
        {"GET", "a\r\nX: y", "/", "n", "v", 0},
        {"GET", "a b", "/", "n", "v", 0},
        {"GET", "a", "/ HTTP/1.1\r\nX: y", "n", "v", 0},
        {"GET", "a", "/a b", "n", "v", 0},
        {"GET", "a", "/\n", "n", "v", 0},
        {"GET", "a", "/", "n\r\nX", "v", 0},
        {"GET", "a", "/", "n:", "v", 0},
        {"GET", "a", "/", ":authority", "v", 0},
        {"GET", "a", "/", "n ", "v", 0},
        {"GET", "a", "/", "", "v", 0},
        {"GET", "a", "/", "n", "v\r\nX: y", 0},
        {"GET", "a", "/", "n", "long enough a value\n for words", 0},
        {"GET", "a", "/", "n", "v\r", 0},
        {"GET", "a", "/", "n", "v\0w", 3},
    };
    struct head h = HEAD_INIT;
    struct buf b = BUF_INIT;
    struct headers trailers = HEADERS_INIT;
    const struct h1_out how = {.framing = H1_NO_BODY, .keep_alive = true};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct span value = cases[i].value_n ? span_of(cases[i].value, cases[i].value_n) : span_str(cases[i].value);
        make(&h, cases[i].method, cases[i].host, cases[i].path);
        assert_int_equal(headers_add(&h.headers, span_str(cases[i].name), value), ERR_OK);
        assert_int_equal(h1_put_request(&b, &h, &how), ERR_PARSE);
        if (i >= 8) {
            h.status = 200;
            assert_int_equal(h1_put_response(&b, &h, &how), ERR_PARSE);
            assert_int_equal(h1_put_informational(&b, &h), ERR_PARSE);
            headers_clear(&trailers);
            assert_int_equal(headers_add(&trailers, span_str(cases[i].name), value), ERR_OK);
            assert_int_equal(h1_put_last_chunk(&b, &trailers), ERR_PARSE);
        }
        assert_int_equal(b.n, 0);
    }
    head_clear(&h, HEAD_RESPONSE);
    h.status = 200;
    assert_int_equal(head_set(&h, &h.reason, SPAN("OK\r\nX: y")), ERR_OK);
    assert_int_equal(h1_put_response(&b, &h, &how), ERR_PARSE);
    head_clear(&h, HEAD_RESPONSE);
    h.status = 99;
    assert_int_equal(h1_put_response(&b, &h, &how), ERR_PARSE);
    h.status = 1000;
    assert_int_equal(h1_put_response(&b, &h, &how), ERR_PARSE);
    headers_free(&trailers);
    head_free(&h);
    buf_free(&b);
}

static void test_chunks(void **state)
{
    (void)state;
    struct buf b = BUF_INIT;
    struct headers trailers = HEADERS_INIT;
    static const size_t sizes[] = {1, 15, 16, 65535, 0xabcdef01};
    for (size_t i = 0; i < ARRAY_LEN(sizes); i++)
        assert_int_equal(h1_put_chunk_begin(&b, sizes[i]), ERR_OK);
    assert_int_equal(h1_put_chunk_end(&b), ERR_OK);
    assert_int_equal(h1_put_last_chunk(&b, NULL), ERR_OK);
    assert_int_equal(h1_put_last_chunk(&b, &trailers), ERR_OK);
    assert_int_equal(headers_add(&trailers, SPAN("X-Sum"), SPAN("1")), ERR_OK);
    assert_int_equal(headers_add(&trailers, SPAN("Content-Length"), SPAN("1")), ERR_OK);
    assert_int_equal(headers_add(&trailers, SPAN("transfer-encoding"), SPAN("x")), ERR_OK);
    assert_int_equal(h1_put_last_chunk(&b, &trailers), ERR_OK);
    assert_string_equal(buf_cstr(&b),
                        "1\r\nf\r\n10\r\nffff\r\nabcdef01\r\n\r\n0\r\n\r\n0\r\n\r\n0\r\nX-Sum: 1\r\n\r\n");
    headers_free(&trailers);
    buf_free(&b);
}

/* What is put out must be read as the same message, and put out again as the same bytes. */
static void test_identity(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(requests); i++) {
        if (requests[i].absolute)
            continue;
        struct transcript t = {.heads = 0};
        struct buf b = BUF_INIT;
        parse(&t, H1_SERVER, requests[i].want, NULL);
        struct h1_out how = h1_plan_request(&t.last, requests[i].has_body, t.message.keep_alive);
        assert_int_equal(h1_put_request(&b, &t.last, &how), ERR_OK);
        assert_string_equal(buf_cstr(&b), requests[i].want);
        buf_free(&b);
        transcript_free(&t);
    }
    for (size_t i = 0; i < ARRAY_LEN(responses); i++) {
        struct transcript t = {.heads = 0};
        struct buf b = BUF_INIT;
        parse(&t, H1_CLIENT, responses[i].want, responses[i].method);
        struct h1_out how =
            h1_plan_response(&t.last, span_str(responses[i].method), responses[i].http10, t.message.keep_alive);
        assert_int_equal(h1_put_response(&b, &t.last, &how), ERR_OK);
        assert_string_equal(buf_cstr(&b), responses[i].want);
        buf_free(&b);
        transcript_free(&t);
    }
}

static void test_out_of_memory(void **state)
{
    (void)state;
    struct transcript t = {.heads = 0};
    struct buf b = BUF_INIT;
    parse(&t, H1_SERVER, requests[0].wire, NULL);
    struct h1_out how = h1_plan_request(&t.last, false, true);
    mem_fail_after(0);
    enum err e = h1_put_request(&b, &t.last, &how);
    mem_fail_after(-1);
    assert_int_equal(e, ERR_NOMEM);
    assert_int_equal(b.n, 0);
    transcript_free(&t);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),      cmocka_unit_test(test_responses), cmocka_unit_test(test_made_heads),
        cmocka_unit_test(test_injection),     cmocka_unit_test(test_chunks),    cmocka_unit_test(test_identity),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
