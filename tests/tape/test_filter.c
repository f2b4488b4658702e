/* test_filter.c: the filter language: what parses, what it matches, what is said of what does not parse. */
#include "fixture.h"

#include "base/alloc.h"
#include "base/util.h"
#include "tape/filter.h"

/* The flows of the tape that a filter picks, as "1 3 4". */
static const char *picks(struct tape *tape, const char *text)
{
    static char said[256];
    struct buf problem = BUF_INIT;
    struct tape_filter *filter = NULL;
    struct tape_cursor *cursor = NULL;
    struct tape_flow flow;
    size_t at = 0;
    enum err e = tape_filter_parse(&filter, span_str(text), &problem);
    if (e) {
        (void)snprintf(said, sizeof said, "%.*s", (int)problem.n, (const char *)buf_span(&problem).p);
        buf_free(&problem);
        assert_null(filter);
        return said;
    }
    said[0] = '\0';
    assert_int_equal(tape_flows(tape, &(struct tape_query){.id = 0}, &cursor), ERR_OK);
    while ((e = tape_flow_next(cursor, &flow)) == ERR_OK) {
        bool yes;
        assert_int_equal(tape_filter_match(filter, tape, &flow, &yes), ERR_OK);
        if (yes)
            at += (size_t)snprintf(said + at, sizeof said - at, "%s%lld", at ? " " : "", (long long)flow.id);
    }
    assert_int_equal(e, ERR_NOT_FOUND);
    tape_cursor_close(&cursor);
    tape_filter_destroy(&filter);
    buf_free(&problem);
    return said;
}

static struct tape *open_tape(const char *path)
{
    struct tape *tape = NULL;
    assert_int_equal(tape_open(&tape, path, NULL), ERR_OK);
    return tape;
}

#define GZIP                                                                                                           \
    "\x1f\x8b\x08\x00\x00\x00\x00\x00\x02\x03\xcb\x38\xbc\x32\x27\x27\x5f\x41\xa9\x24\xb1\x20\x55\x89\x2b\x63\x94\x07\xe5\x01\x00\x98\xa4\x4d\xb7\x18\x01\x00\x00"

static void make_flows(struct fixture *f)
{
    static const char *const json[] = {"Host", "api.test", "Content-Type", "application/json", "X-Id", "42", NULL};
    static const char *const css[] = {"Content-Type", "text/css; charset=utf-8", "Content-Encoding", "gzip", NULL};
    static const char *const broken[] = {"Content-Encoding", "gzip", NULL};
    static const struct fixture_message messages[] = {
        {.from_client = true, .kind = "text", .payload = "from the client"},
        {.from_client = false, .kind = "text", .payload = "from the origin"},
    };
    int64_t client = fixture_connection(
        f, (struct tape_connection){
               .peer = SPAN("127.0.0.1:5555"), .dns_ns = -1, .connected_ns = -1, .tls_ns = -1, .closed_ns = -1});
    int64_t server = fixture_connection(f, (struct tape_connection){.server = true,
                                                                    .peer = SPAN("192.0.2.9:8443"),
                                                                    .dns_ns = -1,
                                                                    .connected_ns = -1,
                                                                    .tls_ns = -1,
                                                                    .closed_ns = -1});
    fixture_add(f, &(struct fixture_flow){.host = "api.test",
                                          .port = 443,
                                          .method = "POST",
                                          .path = "/v1/items?q=1",
                                          .status = 201,
                                          .request_headers = json,
                                          .request_body = "{\"name\":\"apple\"}",
                                          .track = "t-one",
                                          .client_connection = client,
                                          .server_connection = server});
    fixture_add(f, &(struct fixture_flow){.path = "/style.css",
                                          .response_headers = css,
                                          .response_body = GZIP,
                                          .response_body_n = sizeof GZIP - 1});
    fixture_add(f, &(struct fixture_flow){.path = "/gone", .no_response = true, .error = "reset: by peer"});
    fixture_add(f,
                &(struct fixture_flow){
                    .path = "/answered", .no_response = true, .answered = true, .status = 502, .error = "refused: no"});
    fixture_add(f, &(struct fixture_flow){
                       .kind = "websocket", .path = "/chat", .status = 101, .messages = messages, .messages_n = 2});
    fixture_add(
        f, &(struct fixture_flow){.kind = "tunnel", .method = "CONNECT", .host = "mail.test", .port = 993, .path = ""});
    fixture_add(
        f, &(struct fixture_flow){.path = "/not-gzip", .response_headers = broken, .response_body = "plain after all"});
}

static const struct {
    const char *filter, *flows;
} picked[] = {
    {"~all", "1 2 3 4 5 6 7"},
    {"style", "2"},
    {"STYLE\\.css$", "2"},
    {"~u ^https://api.test/v1/items\\?q=\\d$", "1"},
    {"~u '^http://example.test/gone$'", "3"},
    {"^mail.test:993$", "6"},
    {"~m post", "1"},
    {"~m 'post|connect'", "1 6"},
    {"~c 201", "1"},
    {"~c 502", "4"},
    {"~c 0", ""},
    {"~d api", "1"},
    {"~dst 192.0.2.9:8443", "1"},
    {"~dst example.test:80$", "2 3 4 5 7"},
    {"~src ^127.0.0.1:5555$", "1"},
    {"~e", "3 4"},
    {"~q", "3 4"},
    {"~s", "1 2 5 6 7"},
    {"~http", "1 2 3 4 5 7"},
    {"~websocket", "5"},
    {"~tunnel", "6"},
    {"~track ^t-", "1"},
    {"~track .*", "1"},
    {"~id 2", "2"},
    {"~a", "2"},
    {"~t css", "2"},
    {"~t json", "1"},
    {"~tq json", "1"},
    {"~ts json", ""},
    {"~h '^x-id: 42$'", "1"},
    {"~hq x-id", "1"},
    {"~hs x-id", ""},
    {"~hs 'content-encoding: gzip'", "2 7"},
    {"~b apple", "1"},
    {"~bq apple", "1"},
    {"~bs apple", ""},
    {"~bs 'h\xc3\xa9llo \"tape\"\n'", "2"},
    {"~b 'plain after'", "7"},
    {"~b 'from the'", "5"},
    {"~bq 'the origin'", ""},
    {"~bs 'the origin'", "5"},
    {"~marked", ""},
    {"~comment x", ""},
    {"~meta x", ""},
    {"!~http", "6"},
    {"! ~http", "6"},
    {"!!~tunnel", "6"},
    {"~e & ~c 502", "4"},
    {"~e | ~tunnel", "3 4 6"},
    {"~e ~c 502", "4"},
    {"~c 201 | ~e & ~c 502", "1 4"},
    {"(~c 201 | ~e) & ~c 502", "4"},
    {"~http ~c 201 | ~tunnel", "1"},
    {"~e (~c 502 | ~c 201)", "4"},
    {"!(~e | ~tunnel) & ~s", "1 2 5 7"},
    {"gone|style", "2 3"},
    {"~m POST ~u 'items'", "1"},
    {"  ~all  ", "1 2 3 4 5 6 7"},
    {"\"it's\"", ""},
    {"'a\\'b'", ""},
    {"~u [[:digit:]]$", "1 6"},
    {"~u [\\d]$", "1 6"},
    {"~u 'mail[\\w.]+:[\\]\\d\\-^]*$'", "6"},
    {"~u '^(?:https|nothing)://.*?items'", "1"},
    {"~u 'sty+?le'", "2"},
    {"~u '\\Amail\\.test:993\\Z'", "6"},
    {"~bs '[\\n]$'", "2"},
    {"~bs 'plain\\safter\\b'", "7"},
};

static void what_is_picked(void **state)
{
    char path[PATH_MAX];
    struct fixture f;
    (void)state;
    fixture_open(&f, fixture_path(path, "a.tape"));
    make_flows(&f);
    fixture_close(&f);
    struct tape *tape = open_tape(path);
    for (size_t i = 0; i < ARRAY_LEN(picked); i++)
        if (strcmp(picks(tape, picked[i].filter), picked[i].flows) != 0)
            fail_msg("%s picks '%s', not '%s'", picked[i].filter, picks(tape, picked[i].filter), picked[i].flows);
    tape_close(&tape);
    fixture_cleanup(path);
}

static void what_does_not_parse(void **state)
{
    static const struct {
        const char *filter, *said;
    } cases[] = {
        {"", "filter, at character 1: something to match is missing here"},
        {"   ", "filter, at character 4: something to match is missing here"},
        {"~nope x", "filter, at character 1: no such operator: \"~nope\""},
        {"~", "filter, at character 1: no such operator: \"~\""},
        {"~all ~u", "filter, at character 8: a regular expression is missing after \"~u REGEX\""},
        {"~u ~all", "filter, at character 4: a regular expression is missing after \"~u REGEX\""},
        {"~c abc", "filter, at character 4: not a number: \"abc\""},
        {"~c", "filter, at character 3: a number is missing after \"~c N\""},
        {"~c 99999999999999999999", "filter, at character 4: not a number: \"99999999999999999999\""},
        {"(~all", "filter, at character 6: a parenthesis is not closed"},
        {"~all)", "filter, at character 5: a parenthesis was not opened"},
        {"()", "filter, at character 2: something to match is missing here"},
        {"~all &", "filter, at character 7: something to match is missing here"},
        {"~all | | ~e", "filter, at character 8: something to match is missing here"},
        {"& ~e", "filter, at character 1: something to match is missing here"},
        {"!", "filter, at character 2: something to match is missing here"},
        {"~u 'open", "filter, at character 4: a quote is not closed"},
        {"~u [a", NULL},
        {"~u '\x1b]0;x\x07['", NULL},
        {"~u '(?=x)'", "filter, at character 4: look-around and flags \"(?\" are not supported: \"(?=x)\""},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf problem = BUF_INIT;
        struct tape_filter *filter = NULL;
        assert_int_equal(tape_filter_parse(&filter, span_str(cases[i].filter), &problem), ERR_USAGE);
        assert_null(filter);
        const char *said = buf_cstr(&problem);
        if (cases[i].said)
            assert_string_equal(said, cases[i].said);
        else
            assert_non_null(strstr(said, "filter, at character 4: not a regular expression ("));
        assert_null(strchr(said, '\x1b'));
        assert_int_equal(tape_filter_parse(&filter, span_str(cases[i].filter), NULL), ERR_USAGE);
        buf_free(&problem);
    }
}

static void depth_and_length_are_bounded(void **state)
{
    static char text[LIMIT_FILTER_BYTES + 2];
    struct tape_filter *filter = NULL;
    (void)state;
    for (size_t n = 1; n < 4000; n *= 3) { /* within each other */
        memset(text, '(', n);
        memset(text + n, 'x', 1);
        memset(text + n + 1, ')', n);
        enum err e = tape_filter_parse(&filter, span_of(text, 2 * n + 1), NULL);
        assert_int_equal(e, n <= LIMIT_FILTER_DEPTH ? ERR_OK : ERR_USAGE);
        tape_filter_destroy(&filter);
        memset(text, '!', n);
        e = tape_filter_parse(&filter, span_of(text, n + 1), NULL);
        assert_int_equal(e, n <= LIMIT_FILTER_DEPTH ? ERR_OK : ERR_USAGE);
        tape_filter_destroy(&filter);
    }
    for (size_t i = 0; i < LIMIT_FILTER_BYTES; i += 4) /* side by side */
        memcpy(text + i, "~e &", 4);
    assert_int_equal(tape_filter_parse(&filter, span_of(text, LIMIT_FILTER_BYTES - 1), NULL), ERR_OK);
    tape_filter_destroy(&filter);
    memset(text, 'x', sizeof text);
    assert_int_equal(tape_filter_parse(&filter, span_of(text, LIMIT_FILTER_BYTES + 1), NULL), ERR_USAGE);
}

/* A match that lies across two windows of a large body, and anchors only at its real ends. */
static void large_bodies_are_searched_in_windows(void **state)
{
    enum { BYTES = 3 * LIMIT_FILTER_WINDOW_BYTES };
    char path[PATH_MAX];
    struct fixture f;
    char *body = malloc(BYTES);
    assert_non_null(body);
    (void)state;
    fixture_open(&f, fixture_path(path, "a.tape"));
    memset(body, '.', BYTES);
    memcpy(body, "first", 5);
    memcpy(body + LIMIT_FILTER_WINDOW_BYTES - 3, "across", 6);
    memcpy(body + BYTES - 4, "last", 4);
    body[LIMIT_FILTER_WINDOW_BYTES + 100] = '\0';
    fixture_add(&f, &(struct fixture_flow){
                        .response_body = body, .response_body_n = BYTES, .response_chunk = LIMIT_CHUNK_BYTES});
    fixture_close(&f);
    free(body);
    struct tape *tape = open_tape(path);
    assert_string_equal(picks(tape, "~bs across"), "1");
    assert_string_equal(picks(tape, "~bs last$"), "1");
    assert_string_equal(picks(tape, "~bs ^first"), "1");
    assert_string_equal(picks(tape, "~bs ^across"), "");
    assert_string_equal(picks(tape, "~bs across$"), "");
    assert_string_equal(picks(tape, "~bs nowhere"), "");
    tape_close(&tape);
    fixture_cleanup(path);
}

static void out_of_memory(void **state)
{
    (void)state;
    enum err e = ERR_NOMEM;
    for (long n = 0; e == ERR_NOMEM && n < 200; n++) {
        struct tape_filter *filter = NULL;
        mem_fail_after(n);
        e = tape_filter_parse(&filter, SPAN("(~u a | !~c 3) & 'b' ~e"), NULL);
        mem_fail_after(-1);
        assert_int_equal(filter != NULL, e == ERR_OK);
        tape_filter_destroy(&filter);
    }
    assert_int_equal(e, ERR_OK);
}

static void operators_are_listed(void **state)
{
    const char *usage, *what;
    size_t n = 0;
    (void)state;
    while (tape_filter_operator(n, &usage, &what)) {
        assert_int_equal(usage[0], '~');
        assert_true(strlen(what) > 0);
        n++;
    }
    assert_int_equal(n, 28);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_is_picked),
        cmocka_unit_test(what_does_not_parse),
        cmocka_unit_test(depth_and_length_are_bounded),
        cmocka_unit_test(large_bodies_are_searched_in_windows),
        cmocka_unit_test(out_of_memory),
        cmocka_unit_test(operators_are_listed),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
