/* test_import.c: tapes out to HAR, in again, and out once more: the two documents are the same to the byte. And the same HAR in pieces of any size, with
 * memory that runs out anywhere. */
#include "export_fixture.h"

#include "har/import.h"

struct text_source {
    struct span text;
    size_t piece; /* bytes a read gives; 0: as many as are asked for */
};

static enum err read_text(void *ctx, uint8_t *to, size_t n, size_t *got)
{
    struct text_source *s = ctx;
    struct span piece = span_first(s->text, s->piece && s->piece < n ? s->piece : n);
    *got = piece.n;
    if (piece.n)
        memcpy(to, piece.p, piece.n);
    s->text = span_from(s->text, piece.n);
    return ERR_OK;
}

/* A tape at `path` (an existing one is replaced) from this text. */
static enum err import_text(const char *path, struct span text, size_t piece, struct har_import_result *result,
                            struct buf *problem)
{
    struct tape_writer_options options = {.path = path, .force = true, .whole = true, .version = "test"};
    struct text_source from = {text, piece};
    struct har_source source = {read_text, &from};
    struct tape_writer *writer = NULL;
    struct har_importer *importer = NULL;
    struct har_inflate *inflate = NULL;
    FILE *spool = tmpfile();
    assert_non_null(spool);
    enum err e = tape_writer_open(&writer, &options, problem);
    if (!e)
        e = har_importer_create(&importer, writer, fileno(spool));
    if (!e)
        e = har_inflate_create(&inflate, &source);
    if (!e)
        e = har_import(importer, har_inflate_source(inflate), result, problem);
    har_inflate_destroy(&inflate);
    har_importer_destroy(&importer);
    if (!e)
        e = tape_writer_close(&writer, problem);
    tape_writer_abandon(&writer);
    (void)fclose(spool);
    return e;
}

/* The tape at `path`, exported, imported in its place, and exported again. */
static void assert_comes_back(const char *path)
{
    struct har_import_result *result = calloc(1, sizeof *result);
    struct buf before = BUF_INIT, problem = BUF_INIT;
    assert_non_null(result);
    (void)export_text(path, (struct har_options){.format = HAR_FORMAT_HAR}, &before);
    const size_t pieces[] = {0, 1, 7};
    for (size_t i = 0; i < ARRAY_LEN(pieces); i++) {
        struct buf after = BUF_INIT;
        enum err e = import_text(path, buf_span(&before), pieces[i], result, &problem);
        if (e)
            fail_msg("%s: %s", err_word(e), buf_cstr(&problem));
        (void)export_text(path, (struct har_options){.format = HAR_FORMAT_HAR}, &after);
        assert_string_equal(buf_cstr(&after), buf_cstr(&before));
        for (int kind = 0; kind < MEND_COUNT; kind++)
            if (result->mends.at[kind].times > 0 && kind != MEND_DECODED)
                fail_msg("%s", mend_sentence((enum mend_kind)kind));
        buf_free(&after);
    }
    buf_free(&before);
    buf_free(&problem);
    free(result);
}

#define GZIP                                                                                                           \
    "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xcb\x38\xbc\x32\x27\x27\x5f\x41\xa9\x24\xb1\x20\x55\x89\x2b\x63\x94\x07\xe5\x01\x00\x98\xa4\x4d\xb7\x18\x01\x00\x00"

static void flows_come_back(void **state)
{
    static const char *const gzip[] = {"Content-Encoding", "gzip", "Content-Length", "39", "X-Latin", "gr\xfcn", NULL};
    static const char *const cookies[] = {"Set-Cookie", "a=1; Path=/", "Set-Cookie", "b", "X-Empty", "", NULL};
    static const char *const trailers[] = {"X-Sum", "1", "X-Bytes", "\xff\xfe", NULL};
    static const char *const upgrade[] = {"Upgrade", "websocket", NULL};
    static const char *const stream[] = {"Content-Type", "text/event-stream", NULL};
    static const struct fixture_message messages[] = {
        {.from_client = true, .kind = "text", .payload = "h\xc3\xa9llo", .at_ns = 9000},
        {.kind = "binary", .payload = "\0\xff", .n = 2, .at_ns = 10000},
        {.kind = "text", .payload = "not utf-8: \xff", .at_ns = 20000},
    };
    static const struct fixture_message events[] = {{.kind = "event", .payload = "one\ntwo", .at_ns = 9000}};
    const struct fixture_flow flows[] = {
        {.path = "/a?b=c%20d+e", .response_body = "hello"},
        {.response_headers = gzip, .response_body = GZIP, .response_body_n = sizeof GZIP - 1},
        {.response_headers = gzip, .response_body = "not gzip at all"},
        {.response_headers = cookies,
         .response_trailers = trailers,
         .request_trailers = trailers,
         .response_chunk = 3,
         .response_body = "in pieces"},
        {.method = "POST",
         .path = "/p%zz?\"<>{}|\xc3\xbc\xff",
         .request_body = "\0\1\2",
         .request_body_n = 3,
         .status = 404,
         .reason = "n\xf6 idea"},
        {.track = "tr\xc3\xa4"
                  "ck",
         .method = "HEAD",
         .status = 304,
         .reason = ""},
        {.informational = "[[103,\"Early Hints\",[[\"Link\",\"</a>\"]],1000000],[102,\"\",[],2000000]]"},
        {.version = "HTTP/2", .port = 443, .host = "::1", .response_body = "a\0b", .response_body_n = 3},
        {.no_response = true, .answered = true, .status = 502, .error = "refused: nobody listens there"},
        {.error = "truncated: the peer closed the connection", .response_body = "so far"},
        {.kind = "tunnel", .method = "CONNECT", .path = "", .port = 8443},
        {.incomplete = true, .response_body = "cut off"},
        {.method = "OPTIONS", .path = "*"},
        {.kind = "websocket",
         .status = 101,
         .reason = "Switching Protocols",
         .response_headers = upgrade,
         .messages = messages,
         .messages_n = ARRAY_LEN(messages)},
        {.response_headers = stream, .response_body = "data: one\ndata: two\n\n", .messages = events, .messages_n = 1},
    };
    char path[PATH_MAX];
    struct fixture f;
    (void)state;
    fixture_open(&f, fixture_path(path, "a.tape"));
    for (size_t i = 0; i < ARRAY_LEN(flows); i++)
        (void)fixture_add(&f, &flows[i]);
    fixture_close(&f);
    assert_comes_back(path);
    fixture_cleanup(path);
}

static void connections_and_times_come_back(void **state)
{
    char path[PATH_MAX];
    struct fixture f;
    (void)state;
    fixture_open(&f, fixture_path(path, "a.tape"));
    int64_t plain = fixture_connection(&f, (struct tape_connection){.server = true,
                                                                    .peer = SPAN("192.0.2.1:8080"),
                                                                    .host = SPAN("example.test"),
                                                                    .port = 8080,
                                                                    .opened_ns = FIXTURE_STARTED_NS - 5 * NS_PER_MS,
                                                                    .dns_ns = 500999,
                                                                    .connected_ns = 1001998,
                                                                    .tls_ns = -1,
                                                                    .closed_ns = -1});
    int64_t tls =
        fixture_connection(&f, (struct tape_connection){.server = true,
                                                        .peer = SPAN("[2001:db8::1]:443"),
                                                        .host = SPAN("example.test"),
                                                        .port = 443,
                                                        .sni = SPAN("example.test"),
                                                        .alpn = SPAN("h2"),
                                                        .tls_version = SPAN("TLSv1.3"),
                                                        .tls_resumed = true,
                                                        .tls_cipher = SPAN("TLS_AES_128_GCM_SHA256"),
                                                        .opened_ns = FIXTURE_STARTED_NS + 3 * NS_PER_S - 2 * NS_PER_MS,
                                                        .dns_ns = -1,
                                                        .connected_ns = 1000000,
                                                        .tls_ns = 3000000,
                                                        .closed_ns = 9000000});
    (void)fixture_add(&f, &(struct fixture_flow){.port = 8080, .server_connection = plain});
    (void)fixture_add(&f, &(struct fixture_flow){.port = 8080, .server_connection = plain, .server_reused = true});
    (void)fixture_add(&f, &(struct fixture_flow){.port = 443, .server_connection = 0, .sent_ns = -1});
    (void)fixture_add(&f, &(struct fixture_flow){.port = 443,
                                                 .server_connection = tls,
                                                 .sent_ns = 7000000,
                                                 .response_begin_ns = 7001000,
                                                 .response_end_ns = 123456789000});
    (void)fixture_add(
        &f, &(struct fixture_flow){.port = 443, .server_connection = tls, .server_reused = true, .request_end_ns = -1});
    fixture_close(&f);
    assert_comes_back(path);
    fixture_cleanup(path);
}

/* Texts of more than READER_TEXT_BYTES go through the spool; messages through several rows. */
static void long_texts_come_back(void **state)
{
    enum { LONG = 300001 };
    char path[PATH_MAX];
    struct fixture f;
    char *text = malloc(LONG + 1);
    assert_non_null(text);
    (void)state;
    for (size_t i = 0; i < LONG; i++)
        text[i] = "abc\n\"\\\xc3\xa9\x01"[i % 9];
    text[LONG] = '\0';
    const size_t whole = LONG - LONG % 9; /* ends with a character */
    fixture_open(&f, fixture_path(path, "a.tape"));
    (void)fixture_add(&f,
                      &(struct fixture_flow){.response_body = text, .response_body_n = whole, .response_chunk = 50000});
    (void)fixture_add(
        &f, &(struct fixture_flow){.response_body = text + 7, .response_body_n = whole - 7, .response_chunk = 65536});
    (void)fixture_add(&f, &(struct fixture_flow){.method = "PUT", .request_body = text, .request_body_n = whole});
    const struct fixture_message messages[] = {
        {.kind = "text", .payload = text, .n = 63000, .more = true, .at_ns = 1000},
        {.kind = "text", .payload = text, .n = 45000, .at_ns = 1000},
    };
    (void)fixture_add(&f, &(struct fixture_flow){
                              .kind = "websocket", .status = 101, .reason = "", .messages = messages, .messages_n = 2});
    fixture_close(&f);
    assert_comes_back(path);
    fixture_cleanup(path);
    free(text);
}

#define ENTRY                                                                                                                              \
    "{\"startedDateTime\":\"2026-01-01T00:00:00Z\",\"request\":{\"method\":\"POST\",\"url\":\"http://a.test/x y\",\"headers\":"            \
    "[{\"name\":\"A\",\"value\":\"b\"}],\"postData\":{\"params\":[{\"name\":\"a\",\"value\":\"b\"}],\"mimeType\":"                         \
    "\"application/x-www-form-urlencoded\"}},\"response\":{\"status\":200,\"headers\":[{\"name\":\"Content-Encoding\",\"value\":\"br\"}]," \
    "\"content\":{\"size\":5,\"text\":\"aGVsbG8=\",\"encoding\":\"base64\"}},\"timings\":{\"dns\":1,\"connect\":2,\"ssl\":1,\"send\":1,"   \
    "\"wait\":1,\"receive\":1},\"serverIPAddress\":\"::1\",\"connection\":\"c\",\"_eventSourceMessages\":[{\"data\":\"x\",\"time\":1}]}"

static void memory_may_run_out_anywhere(void **state)
{
    char path[PATH_MAX];
    struct buf problem = BUF_INIT;
    struct har_import_result *result = calloc(1, sizeof *result);
    assert_non_null(result);
    (void)state;
    (void)fixture_path(path, "a.tape");
    bool done = false;
    for (long n = 0; !done; n++) {
        assert_true(n < 5000);
        mem_fail_after(n);
        enum err e = import_text(path, SPAN("{\"log\":{\"entries\":[" ENTRY "," ENTRY "]}}"), 0, result, &problem);
        mem_fail_after(-1);
        done = e == ERR_OK;
        if (!done) {
            assert_int_equal(e, ERR_NOMEM);
            assert_int_equal(access(path, F_OK), -1);
        }
        buf_clear(&problem);
    }
    assert_int_equal(result->flows, 2);
    buf_free(&problem);
    free(result);
    fixture_cleanup(path);
}

/* A place is told to the byte, whatever the pieces. */
static void errors_have_their_place(void **state)
{
    static const struct {
        const char *text, *problem;
    } cases[] = {
        {"", "line 1, column 1: the file ends where a value should stand"},
        {"{\"log\":\n {\"entries\":\r\n  [tru]}}", "line 3, column 7: ']' where true, false or null should stand"},
        {"{\"log\":{\"entries\":[\"\\u12g4\"]}}",
         "line 1, column 25: 'g' where a hexadecimal digit of \\u should stand"},
        {"{\"log\":{\"entries\":[]}", "line 1, column 22: the file ends where a comma or '}' should stand"},
        {"{\"log\":{\"entries\":[-]}}", "line 1, column 21: ']' where a digit should stand"},
        {"{\"log\":{\"entries\":[1.e5]}}", "line 1, column 22: 'e' where a digit should stand"},
        {"{\"log\" {}}", "line 1, column 8: '{' where a colon should stand"},
        {"{log:{}}", "line 1, column 2: 'l' where a name in quotes should stand"},
        {"\xef\xbb\xbf"
         "7",
         "line 1, column 2: no HAR: not an object with a member `log`"},
        {"{\"log\":{}}", "line 1, column 11: no HAR: the file ends without a list `log.entries`"},
    };
    char path[PATH_MAX];
    struct har_import_result *result = calloc(1, sizeof *result);
    assert_non_null(result);
    (void)state;
    (void)fixture_path(path, "a.tape");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        for (size_t piece = 0; piece < 4; piece++) {
            struct buf problem = BUF_INIT;
            assert_int_equal(import_text(path, span_str(cases[i].text), piece, result, &problem), ERR_PARSE);
            assert_string_equal(buf_cstr(&problem), cases[i].problem);
            assert_int_equal(access(path, F_OK), -1);
            buf_free(&problem);
        }
    free(result);
    fixture_cleanup(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(flows_come_back),         cmocka_unit_test(connections_and_times_come_back),
        cmocka_unit_test(long_texts_come_back),    cmocka_unit_test(memory_may_run_out_anywhere),
        cmocka_unit_test(errors_have_their_place),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
