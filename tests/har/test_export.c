/* test_export.c: HAR entries, value by value, for what exporters get wrong. */
#include "export_fixture.h"

#include <math.h>
#include <sqlite3.h>
#include <sys/resource.h>

#define TEXT_20(line)                                                                                                  \
    line line line line line line line line line line line line line line line line line line line line
/* What all the encoded bodies below decode to. */
#define DECODED      TEXT_20("h\xc3\xa9llo \"tape\"\n")
#define DECODED_JSON "\"" TEXT_20("h\xc3\xa9llo \\\"tape\\\"\\n") "\""

#define GZIP                                                                                                           \
    "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xcb\x38\xbc\x32\x27\x27\x5f\x41\xa9\x24\xb1\x20\x55\x89\x2b\x63\x94\x07\xe5\x01\x00\x98\xa4\x4d\xb7\x18\x01\x00\x00"
#define ZLIB                                                                                                           \
    "\x78\x9c\xcb\x38\xbc\x32\x27\x27\x5f\x41\xa9\x24\xb1\x20\x55\x89\x2b\x63\x94\x07\xe5\x01\x00\xa3\x73\x67\xfd"
#define RAW "\xcb\x38\xbc\x32\x27\x27\x5f\x41\xa9\x24\xb1\x20\x55\x89\x2b\x63\x94\x07\xe5\x01\x00"
#define BROTLI                                                                                                         \
    "\x1b\x17\x01\xf8\x9d\x09\xb6\xad\x82\xf5\x66\x3b\x38\x85\xe6\x4b\x36\xb4\xe1\x56\x08\xa3\x4b\x95\x22\x20\x70\x55\xf6\x16\x0b\xc6\x03\x10\x7b\x26\x07"
#define ZSTD                                                                                                           \
    "\x28\xb5\x2f\xfd\x64\x18\x00\xad\x00\x00\x70\x68\xc3\xa9\x6c\x6c\x6f\x20\x22\x74\x61\x70\x65\x22\x0a\x01\x00\x07\xa1\x4e\x25\x95\xa6\x1c\xf4"

static void an_entry_has_its_exact_form(void **state)
{
    char path[PATH_MAX];
    struct fixture f;
    struct buf out = BUF_INIT;
    (void)state;
    fixture_open(&f, fixture_path(path, "a.tape"));
    fixture_add(&f, &(struct fixture_flow){.path = "/a?b=c%20d+e", .response_body = "hello"});
    fixture_close(&f);
    assert_string_equal(
        export_text(path, (struct har_options){.format = HAR_FORMAT_HAR, .version = "1.0"}, &out),
        "{\"log\":{\"version\":\"1.2\",\"creator\":{\"name\":\"ringtape\",\"version\":\"1.0\"},\"entries\":[\n"
        "{\"startedDateTime\":\"2026-01-01T00:00:00.000Z\",\"time\":8,"
        "\"request\":{\"method\":\"GET\",\"url\":\"http://example.test/a?b=c%20d+e\",\"httpVersion\":\"HTTP/1.1\",\"cookies\":[],"
        "\"headers\":[{\"name\":\"Host\",\"value\":\"example.test\"}],\"queryString\":[{\"name\":\"b\",\"value\":\"c d e\"}],"
        "\"headersSize\":100,\"bodySize\":0},"
        "\"response\":{\"status\":200,\"statusText\":\"OK\",\"httpVersion\":\"HTTP/1.1\",\"cookies\":[],"
        "\"headers\":[{\"name\":\"Content-Type\",\"value\":\"text/plain\"}],"
        "\"content\":{\"size\":5,\"compression\":0,\"mimeType\":\"text/plain\",\"text\":\"hello\"},"
        "\"redirectURL\":\"\",\"headersSize\":-1,\"bodySize\":5,\"_transferSize\":105},"
        "\"cache\":{},\"timings\":{\"blocked\":2,\"dns\":-1,\"connect\":-1,\"ssl\":-1,\"send\":0,\"wait\":3,\"receive\":3},"
        "\"_ringtape\":{\"flow\":1,\"session\":1,\"kind\":\"http\",\"complete\":true}}\n"
        "]}}\n");
    buf_free(&out);
    fixture_cleanup(path);
}

static void an_empty_tape_is_a_document(void **state)
{
    char path[PATH_MAX];
    struct fixture f;
    struct buf out = BUF_INIT;
    (void)state;
    fixture_open(&f, fixture_path(path, "a.tape"));
    fixture_close(&f);
    json_t *root = export_json(path);
    assert_json(root, "log/entries", "[]");
    json_decref(root);
    assert_string_equal(export_text(path, (struct har_options){.format = HAR_FORMAT_JSONL}, &out), "");
    buf_free(&out);
    fixture_cleanup(path);
}

static void codings_are_undone(void **state)
{
    static const struct {
        const char *encoding, *wire;
        size_t n;
    } cases[] = {
        {"gzip", GZIP, sizeof GZIP - 1},  {"x-gzip", GZIP, sizeof GZIP - 1},         {"deflate", ZLIB, sizeof ZLIB - 1},
        {"deflate", RAW, sizeof RAW - 1}, {"br", BROTLI, sizeof BROTLI - 1},         {"zstd", ZSTD, sizeof ZSTD - 1},
        {"GZIP", GZIP, sizeof GZIP - 1},  {"identity, gzip", GZIP, sizeof GZIP - 1},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (size_t chunk = 0; chunk <= cases[i].n; chunk += 1 + chunk / 3) {
            const char *const headers[] = {"Content-Type", "text/plain", "Content-Encoding", cases[i].encoding, NULL};
            json_t *e = export_one(&(struct fixture_flow){.response_headers = headers,
                                                          .response_body = cases[i].wire,
                                                          .response_body_n = cases[i].n,
                                                          .response_chunk = chunk});
            assert_json(e, "response/content/text", DECODED_JSON);
            assert_json(e, "response/content/encoding", NULL);
            assert_json(e, "response/content/comment", NULL);
            assert_json(e, "response/content/size", "280");
            assert_int_equal(json_integer_value(json_path(e, "response/bodySize")), cases[i].n);
            assert_int_equal(json_integer_value(json_path(e, "response/content/compression")), 280 - (int)cases[i].n);
            json_decref(e);
        }
}

static void what_cannot_be_decoded_is_kept_as_it_came(void **state)
{
    static const char *const gzip[] = {"Content-Type", "text/plain", "Content-Encoding", "gzip", NULL};
    static const char *const unknown[] = {"Content-Encoding", "utf-8", NULL};
    (void)state;
    json_t *e = export_one(&(struct fixture_flow){.response_headers = gzip, .response_body = "not gzip at all"});
    assert_json(e, "response/content/text", "\"not gzip at all\"");
    assert_json(e, "response/content/size", "15");
    assert_json(e, "response/content/compression", "0");
    assert_json(e, "response/content/comment",
                "\"as it came: Content-Encoding gzip could not be undone (malformed input)\"");
    json_decref(e);
    e = export_one(&(struct fixture_flow){.response_headers = unknown, .response_body = "plain"});
    assert_json(e, "response/content/text", "\"plain\"");
    assert_json(e, "response/content/mimeType", "\"x-unknown\"");
    assert_json(e, "response/content/comment",
                "\"as it came: Content-Encoding utf-8 could not be undone (not supported)\"");
    json_decref(e);
    e = export_one(
        &(struct fixture_flow){.response_headers = gzip, .response_body = GZIP, .response_body_n = sizeof GZIP - 5});
    assert_json(e, "response/content/text", DECODED_JSON);
    assert_json(e, "response/content/compression", NULL);
    assert_json(e, "response/content/comment", "\"the encoded content ends early: this is what could be decoded\"");
    json_decref(e);
}

static void text_is_utf8_and_all_else_base64(void **state)
{
    static const struct {
        const char *body;
        size_t n;
        const char *text, *encoding;
    } cases[] = {
        {"\x01\x1f \"\\/\x7f", 7, "\"\\u0001\\u001f \\\"\\\\/\\u007f\"", NULL},
        {"a\xff", 2, "\"Yf8=\"", "\"base64\""},
        {"a\0b", 3, "\"YQBi\"", "\"base64\""},
        {"\xe2\x82", 2, "\"4oI=\"", "\"base64\""},
        {"\xe2\x82\xac\xf0\x9f\x98\x80", 7, "\"\xe2\x82\xac\xf0\x9f\x98\x80\"", NULL},
        {"\xed\xa0\x80", 3, "\"7aCA\"", "\"base64\""},
        {"\xc0\x80", 2, "\"wIA=\"", "\"base64\""},
        {"\xef\xbb\xbf{}", 5, "\"\xef\xbb\xbf{}\"", NULL},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (size_t chunk = 0; chunk <= cases[i].n; chunk++) {
            json_t *e = export_one(&(struct fixture_flow){
                .response_body = cases[i].body, .response_body_n = cases[i].n, .response_chunk = chunk});
            assert_json(e, "response/content/text", cases[i].text);
            assert_json(e, "response/content/encoding", cases[i].encoding);
            assert_int_equal(json_integer_value(json_path(e, "response/content/size")), cases[i].n);
            json_decref(e);
        }
}

static void responses_without_content(void **state)
{
    static const char *const head[] = {"Content-Length", "1000", "Content-Encoding", "gzip", NULL};
    static const char *const none[] = {"ETag", "\"x\"", NULL};
    (void)state;
    json_t *e = export_one(&(struct fixture_flow){.method = "HEAD", .response_headers = head});
    assert_json(e, "response/content", "{\"size\":0,\"compression\":0,\"mimeType\":\"x-unknown\"}");
    assert_json(e, "response/bodySize", "0");
    assert_json(e, "response/headersSize", "100");
    assert_json(e, "response/headers/0/value", "\"1000\"");
    json_decref(e);
    for (unsigned status = 204; status <= 304; status += 100) {
        e = export_one(&(struct fixture_flow){.status = status, .response_headers = none});
        assert_json(e, "response/content", "{\"size\":0,\"compression\":0,\"mimeType\":\"x-unknown\"}");
        assert_json(e, "response/bodySize", "0");
        json_decref(e);
    }
}

static void cookies_and_repeated_fields(void **state)
{
    static const char *const request[] = {"Cookie", "a=1; b=\"2\"; c", "cookie", "a=3", NULL};
    static const char *const response[] = {
        "Set-Cookie",
        "s=1; Path=/; Domain=x.test; Expires=Wed, 09 Jun 2027 10:18:14 GMT; HttpOnly; Secure; SameSite=Lax",
        "X-Twice",
        "1",
        "set-cookie",
        "m=2; Max-Age=60; Expires=Wed, 09 Jun 2027 10:18:14 GMT",
        "Set-Cookie",
        "gone=; Max-Age=0",
        "Set-Cookie",
        "bad=4; Expires=whenever",
        "Set-Cookie",
        "far=5; Max-Age=99999999999999999999",
        "X-Twice",
        "2",
        "Set-Cookie",
        "last=6; Expires=Fri, 31 Dec 9999 23:59:59 GMT",
        NULL};
    (void)state;
    json_t *e = export_one(&(struct fixture_flow){.request_headers = request, .response_headers = response});
    assert_json(e, "request/cookies",
                "[{\"name\":\"a\",\"value\":\"1\"},{\"name\":\"b\",\"value\":\"\\\"2\\\"\"},"
                "{\"name\":\"c\",\"value\":\"\"},{\"name\":\"a\",\"value\":\"3\"}]");
    assert_json(
        e, "response/cookies/0",
        "{\"name\":\"s\",\"value\":\"1\",\"path\":\"/\",\"domain\":\"x.test\",\"expires\":\"2027-06-09T10:18:14.000Z\","
        "\"httpOnly\":true,\"secure\":true,\"_sameSite\":\"Lax\"}");
    assert_json(e, "response/cookies/1/expires", "\"2026-01-01T00:01:00.000Z\"");
    assert_json(e, "response/cookies/2/expires", "\"1970-01-01T00:00:00.000Z\"");
    assert_json(e, "response/cookies/3/expires", NULL);
    assert_json(e, "response/cookies/4/expires", NULL);
    assert_json(e, "response/cookies/5/expires", "\"9999-12-31T23:59:59.000Z\"");
    assert_json(e, "response/headers/1", "{\"name\":\"X-Twice\",\"value\":\"1\"}");
    assert_json(e, "response/headers/6", "{\"name\":\"X-Twice\",\"value\":\"2\"}");
    assert_json(e, "response/headers/2/name", "\"set-cookie\"");
    json_decref(e);
}

static void posted_data(void **state)
{
    static const char *const form[] = {"Content-Type", "application/x-www-form-urlencoded", "Content-Length", "15",
                                       NULL};
    static const char *const multipart[] = {"Content-Type", "multipart/form-data; boundary=\"B\"", NULL};
    static const char *const json[] = {"Content-Type", "application/json", NULL};
    static const char parts[] =
        "--B\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\none\r\n--B\r\nContent-Disposition: "
        "form-data; name=\"f\"; filename=\"x.txt\"\r\nContent-Type: text/x\r\n\r\ntwo\r\n--B--\r\n";
    (void)state;
    json_t *e = export_one(
        &(struct fixture_flow){.method = "POST", .request_headers = form, .request_body = "a=1&b=%C3%A9+&a="});
    assert_json(e, "request/postData",
                "{\"mimeType\":\"application/x-www-form-urlencoded\",\"params\":[{\"name\":\"a\",\"value\":\"1\"},"
                "{\"name\":\"b\",\"value\":\"\xc3\xa9 \"},{\"name\":\"a\",\"value\":\"\"}],"
                "\"text\":\"a=1&b=%C3%A9+&a=\"}");
    json_decref(e);
    e = export_one(&(struct fixture_flow){.method = "POST", .request_headers = multipart, .request_body = parts});
    assert_json(e, "request/postData/params",
                "[{\"name\":\"a\",\"value\":\"one\"},"
                "{\"name\":\"f\",\"value\":\"two\",\"fileName\":\"x.txt\",\"contentType\":\"text/x\"}]");
    assert_int_equal(json_string_length(json_path(e, "request/postData/text")), sizeof parts - 1);
    json_decref(e);
    e = export_one(&(struct fixture_flow){
        .method = "POST", .request_headers = multipart, .request_body = parts, .request_body_n = sizeof parts - 9});
    assert_json(e, "request/postData/params", NULL); /* broken off: nothing may stand beside the text */
    json_decref(e);
    e = export_one(&(struct fixture_flow){.method = "DELETE", .request_headers = json, .request_body = "\xff{}"});
    assert_json(e, "request/postData",
                "{\"mimeType\":\"application/json\",\"text\":\"/3t9\",\"_encoding\":\"base64\"}");
    assert_json(e, "request/bodySize", "3");
    json_decref(e);
    e = export_one(&(struct fixture_flow){.method = "POST"});
    assert_json(e, "request/postData", NULL);
    json_decref(e);
    /* What went through a tunnel is no content: a size without it would be a body that is lost. */
    e = export_one(&(struct fixture_flow){
        .method = "CONNECT", .path = "", .kind = "tunnel", .request_body = "abc", .response_body = "defg"});
    assert_json(e, "request/postData", NULL);
    assert_json(e, "request/bodySize", "0");
    assert_json(e, "response/bodySize", "0");
    assert_json(e, "response/content/size", "0");
    json_decref(e);
}

static void urls_are_urls(void **state)
{
    static const struct {
        struct fixture_flow flow;
        const char *url, *path;
    } cases[] = {
        {{.port = 8080, .path = "/a"}, "\"http://example.test:8080/a\"", NULL},
        {{.port = 443, .path = "/?a[]=1|2&b=%zz"}, "\"https://example.test/?a[]=1|2&b=%zz\"", NULL},
        {{.scheme = "https", .port = 80, .path = "/"}, "\"https://example.test:80/\"", NULL},
        {{.host = "::1", .port = 81, .path = "/"}, "\"http://[::1]:81/\"", NULL},
        {{.path = "*", .method = "OPTIONS"}, "\"http://example.test/*\"", "\"*\""},
        {{.path = "/\xc3\xa9 #x"}, "\"http://example.test/%C3%A9%20%23x\"", "\"/\xc3\xa9 #x\""},
        {{.path = "/\xff"}, "\"http://example.test/%FF\"", "{\"base64\":\"L/8=\"}"},
        {{.host = "a/b@c:1", .path = "/"}, "\"http://a%2Fb%40c%3A1/\"", NULL},
        {{.host = "o.test", .port = 443, .path = "", .method = "CONNECT", .kind = "tunnel"},
         "\"https://o.test:443/\"",
         "\"\""},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        json_t *e = export_one(&cases[i].flow);
        assert_json(e, "request/url", cases[i].url);
        assert_json(e, "_ringtape/path", cases[i].path);
        json_decref(e);
    }
}

static void redirects_and_versions(void **state)
{
    static const char *const to[] = {"Location", "/there#x", NULL};
    (void)state;
    json_t *e = export_one(&(struct fixture_flow){.status = 302, .response_headers = to, .version = "h2"});
    assert_json(e, "response/redirectURL", "\"/there#x\"");
    assert_json(e, "request/httpVersion", "\"HTTP/2\"");
    assert_json(e, "response/httpVersion", "\"HTTP/2\"");
    assert_json(e, "request/headersSize", "-1");
    json_decref(e);
    e = export_one(&(struct fixture_flow){.status = 201, .response_headers = to, .version = "HTTP/2.0"});
    assert_json(e, "response/redirectURL", "\"\"");
    assert_json(e, "response/httpVersion", "\"HTTP/2\"");
    json_decref(e);
}

static void failures(void **state)
{
    (void)state;
    json_t *e = export_one(&(struct fixture_flow){
        .no_response = true, .error = "reset: the peer reset the connection", .response_end_ns = 4000000});
    assert_json(
        e, "response",
        "{\"status\":0,\"statusText\":\"\",\"httpVersion\":\"\",\"cookies\":[],\"headers\":[],"
        "\"content\":{\"size\":0,\"mimeType\":\"x-unknown\"},\"redirectURL\":\"\",\"headersSize\":-1,\"bodySize\":-1,"
        "\"_error\":\"reset: the peer reset the connection\"}");
    assert_json(e, "_error", "\"reset: the peer reset the connection\"");
    assert_json(e, "_ringtape/complete", "false");
    assert_json(e, "time", "4");
    json_decref(e);
    e = export_one(&(struct fixture_flow){.no_response = true,
                                          .answered = true,
                                          .status = 502,
                                          .error = "refused: no",
                                          .sent_ns = -1,
                                          .request_end_ns = -1,
                                          .response_end_ns = 3500500});
    assert_json(e, "response/status", "502");
    assert_json(e, "response/_error", "\"refused: no\"");
    assert_json(e, "_ringtape/answered", "true");
    assert_json(e, "timings",
                "{\"blocked\":3.5,\"dns\":-1,\"connect\":-1,\"ssl\":-1,\"send\":0,\"wait\":0,\"receive\":0}");
    json_decref(e);
    e = export_one(&(struct fixture_flow){
        .no_response = true, .incomplete = true, .sent_ns = -1, .request_end_ns = -1, .response_end_ns = -1});
    assert_json(e, "time", "0");
    json_decref(e);
}

static void bytes_that_json_cannot_say_stay(void **state)
{
    static const char *const headers[] = {"X-\xff", "v", "X-Name", "caf\xe9", NULL};
    static const char *const trailers[] = {"X-Sum", "9", NULL};
    (void)state;
    json_t *e =
        export_one(&(struct fixture_flow){.response_headers = headers,
                                          .request_trailers = trailers,
                                          .response_trailers = trailers,
                                          .reason = "No\xe9l",
                                          .track = "t\xff",
                                          .informational = "[[103,\"Early Hints\",[[\"Link\",\"</a>\"]],1000000]]"});
    assert_json(e, "response/headers/0", "{\"name\":\"X-\xef\xbf\xbd\",\"value\":\"v\",\"_nameBase64\":\"WC3/\"}");
    assert_json(e, "response/headers/1",
                "{\"name\":\"X-Name\",\"value\":\"caf\xef\xbf\xbd\",\"_valueBase64\":\"Y2Fm6Q==\"}");
    assert_json(e, "response/statusText", "\"No\xef\xbf\xbdl\"");
    assert_json(e, "_ringtape/statusText", "{\"base64\":\"Tm/pbA==\"}");
    assert_json(e, "_ringtape/track", "{\"base64\":\"dP8=\"}");
    assert_json(e, "_ringtape/requestTrailers", "[{\"name\":\"X-Sum\",\"value\":\"9\"}]");
    assert_json(e, "_ringtape/responseTrailers", "[{\"name\":\"X-Sum\",\"value\":\"9\"}]");
    assert_json(e, "_ringtape/informational", "[[103,\"Early Hints\",[[\"Link\",\"</a>\"]],1000000]]");
    assert_json(e, "response/headersSize", "-1");
    json_decref(e);
}

static double number(json_t *e, const char *path)
{
    json_t *n = json_path(e, path);
    assert_true(json_is_number(n));
    return json_number_value(n);
}

static void connections_and_timings(void **state)
{
    char path[PATH_MAX];
    struct fixture f;
    (void)state;
    fixture_open(&f, fixture_path(path, "a.tape"));
    /* 1 ms to look up, 1.5 to connect, 2 for TLS; it is dialled 0.5 ms after the flow began. */
    struct tape_connection c = {.server = true,
                                .peer = SPAN("[2001:db8::1%eth0]:8443"),
                                .host = SPAN("example.test"),
                                .port = 443,
                                .sni = SPAN("example.test"),
                                .alpn = SPAN("http/1.1"),
                                .tls_version = SPAN("TLSv1.3"),
                                .tls_cipher = SPAN("TLS_AES_128_GCM_SHA256"),
                                .opened_ns = FIXTURE_STARTED_NS + 500000,
                                .dns_ns = 1000000,
                                .connected_ns = 2500000,
                                .tls_ns = 4500000,
                                .closed_ns = -1};
    int64_t id = fixture_connection(&f, c);
    c.opened_ns = FIXTURE_STARTED_NS + 2 * NS_PER_S - 100 * NS_PER_MS; /* ahead of flow 3, at CONNECT */
    int64_t early = fixture_connection(&f, c);
    struct fixture_flow flow = {.port = 443,
                                .server_connection = id,
                                .request_end_ns = 100,
                                .sent_ns = 6000000,
                                .response_begin_ns = 7000000,
                                .response_end_ns = 9000000};
    fixture_add(&f, &flow);
    flow.server_reused = true;
    fixture_add(&f, &flow);
    flow.server_reused = false;
    flow.server_connection = early;
    fixture_add(&f, &flow);
    fixture_close(&f);
    json_t *root = export_json(path), *e = json_path(root, "log/entries/0");
    assert_json(e, "timings",
                "{\"blocked\":1.5,\"dns\":1,\"connect\":3.5,\"ssl\":2,\"send\":0,\"wait\":1,\"receive\":2}");
    assert_json(e, "time", "9");
    assert_json(e, "serverIPAddress", "\"2001:db8::1\"");
    assert_json(e, "connection", "\"1\"");
    assert_json(e, "_serverPort", "8443");
    assert_json(e, "_securityDetails",
                "{\"protocol\":\"TLS 1.3\",\"cipher\":\"TLS_AES_128_GCM_SHA256\",\"sni\":\"example.test\","
                "\"alpn\":\"http/1.1\",\"resumed\":false}");
    e = json_path(root, "log/entries/1");
    assert_json(e, "timings",
                "{\"blocked\":6,\"dns\":-1,\"connect\":-1,\"ssl\":-1,\"send\":0,\"wait\":1,\"receive\":2}");
    assert_json(e, "time", "9");
    assert_json(e, "_ringtape/connectedBefore", NULL);
    e = json_path(root, "log/entries/2");
    assert_json(e, "timings",
                "{\"blocked\":6,\"dns\":1,\"connect\":3.5,\"ssl\":2,\"send\":0,\"wait\":1,\"receive\":2}");
    assert_json(e, "time", "13.5");
    assert_json(e, "_ringtape/connectedBefore", "4.5");
    json_decref(root);
    fixture_cleanup(path);
}

/* Whatever the numbers of a tape are, phases are not negative and add up. */
static void hostile_times_add_up(void **state)
{
    static const int64_t values[] = {-1, 1, 5000000, 123456789, INT64_MAX};
    static const char *const phases[] = {"timings/blocked", "timings/dns",  "timings/connect",
                                         "timings/send",    "timings/wait", "timings/receive"};
    char path[PATH_MAX];
    struct fixture f;
    uint32_t random = 1;
    (void)state;
    fixture_open(&f, fixture_path(path, "a.tape"));
    for (int i = 0; i < 400; i++) {
        int64_t v[8];
        for (size_t k = 0; k < ARRAY_LEN(v); k++) {
            random = random * 1664525u + 1013904223u;
            v[k] = values[(random >> 16) % ARRAY_LEN(values)];
        }
        int64_t id = fixture_connection(&f, (struct tape_connection){.server = true,
                                                                     .peer = SPAN("nonsense"),
                                                                     .opened_ns = i % 2 ? 1 : INT64_MAX,
                                                                     .dns_ns = v[0],
                                                                     .connected_ns = v[1],
                                                                     .tls_ns = v[2],
                                                                     .closed_ns = -1});
        fixture_add(&f, &(struct fixture_flow){.request_end_ns = v[3],
                                               .sent_ns = v[4],
                                               .response_begin_ns = v[5],
                                               .response_end_ns = v[6],
                                               .server_connection = id});
    }
    fixture_close(&f);
    json_t *root = export_json(path), *e;
    size_t i;
    json_array_foreach(json_path(root, "log/entries"), i, e)
    {
        double sum = 0;
        for (size_t k = 0; k < ARRAY_LEN(phases); k++) {
            double n = number(e, phases[k]);
            assert_true(n >= 0 || (n == -1 && (k == 1 || k == 2)));
            sum += fmax(n, 0);
        }
        assert_true(fabs(sum - number(e, "time")) <= 1e-9 * (1 + sum));
        assert_true(number(e, "timings/ssl") <= number(e, "timings/connect"));
        assert_null(json_path(e, "serverIPAddress"));
    }
    json_decref(root);
    fixture_cleanup(path);
}

static void entries_are_sorted_and_have_pages(void **state)
{
    char path[PATH_MAX];
    struct fixture f;
    struct buf out = BUF_INIT;
    (void)state;
    fixture_open(&f, fixture_path(path, "a.tape"));
    fixture_add(&f, &(struct fixture_flow){.path = "/later", .started_ns = FIXTURE_STARTED_NS + 9});
    fixture_add(&f, &(struct fixture_flow){.path = "/earlier", .started_ns = FIXTURE_STARTED_NS});
    fixture_close(&f);
    fixture_open(&f, path);
    fixture_add(&f, &(struct fixture_flow){.path = "/second"});
    fixture_close(&f);
    const char *text = export_text(path, (struct har_options){.format = HAR_FORMAT_HAR, .pages = true}, &out);
    json_t *root = json_loads(text, 0, NULL);
    assert_json(root, "log/entries/0/request/url", "\"http://example.test/earlier\"");
    assert_json(root, "log/entries/1/request/url", "\"http://example.test/later\"");
    assert_json(root, "log/entries/0/pageref", "\"session_1\"");
    assert_json(root, "log/entries/2/pageref", "\"session_2\"");
    assert_json(root, "log/pages/1/id", "\"session_2\"");
    assert_json(root, "log/pages/1/pageTimings", "{\"onContentLoad\":-1,\"onLoad\":-1}");
    assert_int_equal(json_array_size(json_path(root, "log/pages")), 2);
    json_decref(root);
    buf_clear(&out);
    text = export_text(path, (struct har_options){.format = HAR_FORMAT_HAR, .session = 2, .pages = true}, &out);
    root = json_loads(text, 0, NULL);
    assert_int_equal(json_array_size(json_path(root, "log/entries")), 1);
    assert_int_equal(json_array_size(json_path(root, "log/pages")), 1);
    json_decref(root);
    buf_free(&out);
    fixture_cleanup(path);
}

static void certificates_are_named(void **state)
{
    static const char *const der[] = {
        "MIIBljCCATugAwIBAgIUR43q8DzqabbGucfLfEhn0EBI360wCgYIKoZIzj0EAwIwIDEKMAgGA1UECgwBWDESMBAGA1UEAwwJbGVhZi50ZXN0MB4XDTI2MTEyNDA2Mz"
        "YxOFoXDTM2MTEyMTA2MzYxOFowIDEKMAgGA1UECgwBWDESMBAGA1UEAwwJbGVhZi50ZXN0MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEBkjHLrkvig8GhLxxHz5l"
        "J7/7EvhA1+CNnYecmVdHsV232OI+RjvCBaj61lcNbaBIEPbcNyjGud2P+/qHV5ZbeqNTMFEwHQYDVR0OBBYEFHTRRI29WjSMeOPAsmumD4NqKFv4MB8GA1UdIwQYMB"
        "aAFHTRRI29WjSMeOPAsmumD4NqKFv4MA8GA1UdEwEB/wQFMAMBAf8wCgYIKoZIzj0EAwIDSQAwRgIhAOXN/sFP2CbYVe4gPnwObFT66g7RjIye/SVNQAIbs8u6AiEA"
        "wFTZ22GVMo3pzhHVFLG1jT6RSpAhzpsEh7thBQ4gGOg="};
    struct buf chain = BUF_INIT;
    (void)state;
    assert_int_equal(buf_put(&chain, span_of("\0\0\1\x9a", 4)), ERR_OK);
    assert_int_equal(text_base64_decode(&chain, span_str(der[0])), ERR_OK);
    assert_int_equal(chain.n, 4 + 0x19a);
    for (int whole = 1; whole >= 0; whole--) {
        char path[PATH_MAX];
        struct fixture f;
        fixture_open(&f, fixture_path(path, "a.tape"));
        /* Cut at every length: nothing is read beyond what is there. */
        for (size_t n = whole ? chain.n : 0; n <= (whole ? chain.n : 250); n++) {
            int64_t id = fixture_connection(&f, (struct tape_connection){.server = true,
                                                                         .peer = SPAN("192.0.2.1:443"),
                                                                         .tls_version = SPAN("TLSv1.2"),
                                                                         .chain = span_first(buf_span(&chain), n),
                                                                         .dns_ns = -1,
                                                                         .connected_ns = 1,
                                                                         .tls_ns = 2,
                                                                         .closed_ns = -1});
            fixture_add(&f, &(struct fixture_flow){.server_connection = id});
        }
        fixture_close(&f);
        json_t *root = export_json(path);
        json_t *security = json_path(root, "log/entries/0/_securityDetails");
        assert_json(security, "subjectName", whole ? "\"leaf.test\"" : NULL);
        assert_json(security, "issuer", whole ? "\"leaf.test\"" : NULL);
        assert_json(security, "validFrom", whole ? "1795502178" : NULL);
        assert_json(security, "validTo", whole ? "2110862178" : NULL);
        json_decref(root);
        fixture_cleanup(path);
    }
    buf_free(&chain);
}

static void what_the_tape_lacks_is_said(void **state)
{
    char path[PATH_MAX];
    struct fixture f;
    struct har_result result;
    struct buf out = BUF_INIT;
    sqlite3 *db = NULL;
    (void)state;
    fixture_open(&f, fixture_path(path, "a.tape"));
    fixture_add(&f, &(struct fixture_flow){.response_body = "kept"});
    fixture_add(&f, &(struct fixture_flow){.response_body = "damaged"});
    fixture_add(&f, &(struct fixture_flow){.response_body = "sound"});
    fixture_close(&f);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_exec(db,
                     "UPDATE flow SET response_bytes = 1000 WHERE id = 1; UPDATE body SET content = x'41' WHERE "
                     "id = 2; UPDATE flow SET request_headers = (SELECT max(id) + 1 FROM header_block) WHERE id = 2;"
                     "INSERT INTO header_block (id, fields) SELECT max(id) + 1, '[[1]]' FROM header_block",
                     NULL, NULL, NULL),
        SQLITE_OK);
    (void)sqlite3_close(db);
    struct tape *tape = open_tape(path);
    assert_int_equal(har_export(tape, &(struct har_options){.version = "1"}, &(struct har_sink){keep, &out}, &result),
                     ERR_OK);
    tape_close(&tape);
    assert_int_equal(result.flows, 3);
    assert_int_equal(result.damaged, 1);
    json_t *root = json_loadb((const char *)buf_span(&out).p, out.n, 0, NULL);
    assert_json(root, "log/entries/0/response/content/comment", "\"4 of 1000 bytes were kept on the tape\"");
    assert_json(root, "log/entries/0/response/content/compression", NULL);
    assert_json(root, "log/entries/0/response/bodySize", "1000");
    assert_json(root, "log/entries/1/response/content/size", "0");
    assert_json(root, "log/entries/1/request/headers", "[]");
    assert_json(root, "log/entries/1/comment", "\"the tape is damaged: part of this flow could not be read\"");
    assert_json(root, "log/entries/2/response/content/text", "\"sound\"");
    json_decref(root);
    buf_free(&out);
    fixture_cleanup(path);
}

static enum err full(void *ctx, struct span bytes)
{
    size_t *left = ctx;
    if (bytes.n > *left)
        return ERR_DISK_FULL;
    *left -= bytes.n;
    return ERR_OK;
}

static enum err only_even(void *ctx, struct tape *tape, const struct tape_flow *flow, bool *yes)
{
    (void)ctx;
    (void)tape;
    *yes = flow->id % 2 == 0;
    return ERR_OK;
}

static void sinks_and_predicates(void **state)
{
    char path[PATH_MAX];
    struct fixture f;
    struct har_result result;
    struct buf out = BUF_INIT;
    size_t left = 100000;
    (void)state;
    fixture_open(&f, fixture_path(path, "a.tape"));
    for (int i = 0; i < 300; i++)
        fixture_add(&f, &(struct fixture_flow){.response_body = "hello"});
    fixture_close(&f);
    struct tape *tape = open_tape(path);
    struct har_options options = {.version = "1"};
    assert_int_equal(har_export(tape, &options, &(struct har_sink){full, &left}, &result), ERR_DISK_FULL);
    options.include = only_even;
    assert_int_equal(har_export(tape, &options, &(struct har_sink){keep, &out}, &result), ERR_OK);
    assert_int_equal(result.flows, 150);
    tape_close(&tape);
    json_t *root = json_loadb((const char *)buf_span(&out).p, out.n, 0, NULL);
    assert_int_equal(json_array_size(json_path(root, "log/entries")), 150);
    assert_json(root, "log/entries/0/_ringtape/flow", "2");
    json_decref(root);
    buf_free(&out);
    fixture_cleanup(path);
}

static enum err count(void *ctx, struct span bytes)
{
    *(uint64_t *)ctx += bytes.n;
    return ERR_OK;
}

/* Text and base64, each 100 MB: memory must not follow. */
static void a_large_body_streams(void **state)
{
    enum { PIECE = 50000, PIECES = 2000 };
    char path[PATH_MAX];
    struct fixture f;
    struct har_result result;
    struct rusage before, after;
    uint8_t *piece = malloc(PIECE);
    assert_non_null(piece);
    (void)state;
    for (int binary = 0; binary < 2; binary++) {
        fixture_open(&f, fixture_path(path, "a.tape"));
        memset(piece, binary ? 0xff : 'x', PIECE);
        int64_t flow = fixture_add(&f, &(struct fixture_flow){.response_body = "y"});
        struct tape_writer_body body = {.id = 0};
        assert_int_equal(tape_writer_body_begin(f.writer, &body), ERR_OK);
        for (int i = 0; i < PIECES; i++)
            assert_int_equal(tape_writer_body_chunk(f.writer, &body, i, span_of(piece, PIECE)), ERR_OK);
        assert_int_equal(tape_writer_body_end(f.writer, &body), ERR_OK);
        fixture_close(&f);
        char sql[200];
        sqlite3 *db = NULL;
        (void)snprintf(sql, sizeof sql, "UPDATE flow SET response_body = %lld, response_bytes = %lld WHERE id = %lld",
                       (long long)body.id, (long long)PIECE * PIECES, (long long)flow);
        assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
        assert_int_equal(sqlite3_exec(db, sql, NULL, NULL, NULL), SQLITE_OK);
        (void)sqlite3_close(db);
        struct tape *tape = open_tape(path);
        uint64_t bytes = 0;
        (void)getrusage(RUSAGE_SELF, &before);
        assert_int_equal(har_export(tape, &(struct har_options){.version = "1"}, &(struct har_sink){count, &bytes},
                                    &result),
                         ERR_OK);
        (void)getrusage(RUSAGE_SELF, &after);
        tape_close(&tape);
        assert_true(bytes > (binary ? 133000000u : 100000000u));
        assert_true(after.ru_maxrss - before.ru_maxrss < 24 * 1024);
        fixture_cleanup(path);
    }
    free(piece);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_entry_has_its_exact_form),
        cmocka_unit_test(an_empty_tape_is_a_document),
        cmocka_unit_test(codings_are_undone),
        cmocka_unit_test(what_cannot_be_decoded_is_kept_as_it_came),
        cmocka_unit_test(text_is_utf8_and_all_else_base64),
        cmocka_unit_test(responses_without_content),
        cmocka_unit_test(cookies_and_repeated_fields),
        cmocka_unit_test(posted_data),
        cmocka_unit_test(urls_are_urls),
        cmocka_unit_test(redirects_and_versions),
        cmocka_unit_test(failures),
        cmocka_unit_test(bytes_that_json_cannot_say_stay),
        cmocka_unit_test(connections_and_timings),
        cmocka_unit_test(hostile_times_add_up),
        cmocka_unit_test(entries_are_sorted_and_have_pages),
        cmocka_unit_test(certificates_are_named),
        cmocka_unit_test(what_the_tape_lacks_is_said),
        cmocka_unit_test(sinks_and_predicates),
        cmocka_unit_test(a_large_body_streams),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
