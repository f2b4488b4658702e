/* test_miss.c: what a miss says: why, the nearest recordings, field by field in what they differ, what to type; and the three reports. Promises 8, 9, 10, 29. */
#include "explain.h"

#include "base/text.h"
#include "replay/difference.h"
#include "replay/matcher_internal.h"

#include <jansson.h>

static const char *text_of(const json_t *object, const char *name)
{
    return or_else(json_string_value(json_object_get(object, name)), "null");
}

/* "query:t 1 -> 2; path /a -> /b" of a nearest recording. */
static void differences_text(const json_t *nearest, struct buf *out)
{
    const json_t *list = json_object_get(nearest, "differences"), *d;
    size_t i;
    buf_clear(out);
    assert_true(json_is_array(list));
    json_array_foreach(list, i, d)
    {
        assert_int_equal(json_object_size(d), 3);
        assert_int_equal(buf_printf(out, "%s%s %s -> %s", i ? "; " : "", text_of(d, "field"), text_of(d, "recorded"),
                                    text_of(d, "actual")),
                         ERR_OK);
    }
}

#define JSON_TYPE OPTIONS("Content-Type", "application/json")
#define FORM_TYPE OPTIONS("Content-Type", "application/x-www-form-urlencoded")
#define PARTS(b)  OPTIONS("Content-Type", "multipart/form-data; boundary=" b)

struct field_case {
    const char *name;
    const char *const *options;
    struct fixture_flow recorded;
    struct asked asked;
    const char *differences, *hint;
};

static void check_case(const struct field_case *c)
{
    struct bench b;
    struct buf text = BUF_INIT;
    bench_open(&b, c->options);
    int64_t flow = fixture_add(&b.tape, &c->recorded);
    bench_load(&b);
    struct explained x = explain(&b, &c->asked);
    const json_t *nearest = json_array_get(json_object_get(x.json, "nearest"), 0);
    assert_int_equal(json_integer_value(json_object_get(nearest, "flow")), flow);
    differences_text(nearest, &text);
    if (!span_eq(buf_span(&text), span_str(c->differences)))
        fail_msg("%s: %s", c->name, buf_cstr(&text));
    if (strcmp(text_of(x.json, "hint"), c->hint) != 0)
        fail_msg("%s: the hint is %s", c->name, text_of(x.json, "hint"));
    buf_free(&text);
    explained_free(&x);
    bench_close(&b);
}

static void test_each_field_is_named_and_the_hint_says_what_to_type(void **state)
{
    const struct field_case cases[] = {
        {"query",
         NULL,
         {.path = "/a?t=1&b=2"},
         {.path = "/a?b=2&t=2"},
         "query:t 1 -> 2",
         "ringtape replay --ignore query:t \xe2\x80\xa6"},
        {"query, absent",
         NULL,
         {.path = "/a"},
         {.path = "/a?x=%20y"},
         "query:x null ->  y",
         "ringtape replay --ignore query:x \xe2\x80\xa6"},
        {"query, quoted",
         NULL,
         {.path = "/a?it%27s=1"},
         {.path = "/a"},
         "query:it's 1 -> null",
         "ringtape replay --ignore 'query:it'\\''s' \xe2\x80\xa6"},
        {"path", NULL, {.path = "/a"}, {.path = "/b"}, "path /a -> /b", "null"},
        {"method", NULL, {.path = "/a"}, {.path = "/a", .method = "PUT"}, "method GET -> PUT", "null"},
        {"scheme and port",
         NULL,
         {.path = "/a"},
         {.path = "/a", .scheme = "https", .port = 443},
         "scheme http -> https; port 80 -> 443",
         "ringtape replay --ignore scheme --ignore port \xe2\x80\xa6"},
        {"host",
         NULL,
         {.path = "/a"},
         {.path = "/a", .host = "other.test"},
         "host example.test -> other.test",
         "ringtape replay --map other.test=example.test \xe2\x80\xa6"},
        {"host and port",
         NULL,
         {.path = "/a"},
         {.path = "/a", .host = "::1", .port = 81},
         "host example.test -> ::1; port 80 -> 81",
         "ringtape replay --map '[::1]:81=example.test:80' \xe2\x80\xa6"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check_case(&cases[i]);
}

static void test_each_part_of_a_body_is_named(void **state)
{
    const struct field_case cases[] = {
        {"JSON",
         NULL,
         {.method = "POST", .request_headers = JSON_TYPE, .request_body = "{\"a\":{\"b/c\":\"x\"},\"n\":1}"},
         {.method = "POST", .headers = JSON_TYPE, .body = "{\"n\":1,\"a\":{\"b/c\":\"y\"}}"},
         "json:/a/b~1c x -> y",
         "ringtape replay --ignore 'json:/a/b~1c' \xe2\x80\xa6"},
        {"JSON, kinds",
         NULL,
         {.method = "POST", .request_headers = JSON_TYPE, .request_body = "[1]"},
         {.method = "POST", .headers = JSON_TYPE, .body = "[\"1\",{}]"},
         "json:/0 1 -> \"1\"; json:/1 null -> {}",
         "ringtape replay --ignore json:/0 --ignore json:/1 \xe2\x80\xa6"},
        {"JSON, whole",
         NULL,
         {.method = "POST", .request_headers = JSON_TYPE, .request_body = "1"},
         {.method = "POST", .headers = JSON_TYPE, .body = "2"},
         "body 1 -> 2",
         "ringtape replay --ignore body \xe2\x80\xa6"},
        {"form",
         NULL,
         {.method = "POST", .request_headers = FORM_TYPE, .request_body = "a=1&b=x+y"},
         {.method = "POST", .headers = FORM_TYPE, .body = "b=z&a=1"},
         "form:b x y -> z",
         "ringtape replay --ignore form:b \xe2\x80\xa6"},
        {"multipart",
         NULL,
         {.method = "POST",
          .request_headers = PARTS("X"),
          .request_body = "--X\r\nContent-Disposition: form-data; name=\"f\"\r\n\r\none\r\n--X--\r\n"},
         {.method = "POST",
          .headers = PARTS("Y"),
          .body = "--Y\r\nContent-Disposition: form-data; name=\"f\"\r\n\r\ntwo\r\n--Y--\r\n"},
         "form:f one -> two",
         "ringtape replay --ignore form:f \xe2\x80\xa6"},
        {"bytes",
         NULL,
         {.method = "POST", .request_body = "one"},
         {.method = "POST", .body = "two"},
         "body one -> two",
         "ringtape replay --ignore body \xe2\x80\xa6"},
        {"bytes, absent",
         NULL,
         {.method = "POST"},
         {.method = "POST", .body = "two"},
         "body null -> two",
         "ringtape replay --ignore body \xe2\x80\xa6"},
        {"bytes that are no text",
         NULL,
         {.method = "POST", .request_body = "\xff\xfe\xfd\xfc\xfb\xfa"},
         {.method = "POST", .body = "a"},
         "body (6 bytes) -> a",
         "ringtape replay --ignore body \xe2\x80\xa6"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check_case(&cases[i]);
}

static void test_only_what_is_compared_is_named(void **state)
{
    const struct field_case cases[] = {
        {"header",
         OPTIONS("--match path,header:accept"),
         {.request_headers = OPTIONS("Accept", "a")},
         {.headers = OPTIONS("ACCEPT", "b")},
         "header:accept a -> b",
         "ringtape replay --ignore header:accept \xe2\x80\xa6"},
        {"cookie",
         OPTIONS("--match path,cookie:sid"),
         {.request_headers = OPTIONS("Cookie", "a=1; sid=2")},
         {.headers = OPTIONS("Cookie", "sid=3; a=9")},
         "cookie:sid 2 -> 3",
         "ringtape replay --ignore cookie:sid \xe2\x80\xa6"},
        {"what is not compared is not named",
         OPTIONS("--match path,query"),
         {.path = "/a?x=1"},
         {.path = "/a?x=2", .method = "PUT", .host = "b.test"},
         "query:x 1 -> 2",
         "ringtape replay --ignore query:x \xe2\x80\xa6"},
        {"what is ignored is not named",
         OPTIONS("--ignore query:t", "--ignore json:/n"),
         {.path = "/a?t=1&x=1", .method = "POST", .request_headers = JSON_TYPE, .request_body = "{\"n\":1}"},
         {.path = "/a?t=2&x=2", .method = "POST", .headers = JSON_TYPE, .body = "{\"n\":2}"},
         "query:x 1 -> 2",
         "ringtape replay --ignore query:x \xe2\x80\xa6"},
        {"one that cannot be ignored takes the hint away",
         NULL,
         {.path = "/a?t=1"},
         {.path = "/b?t=2"},
         "path /a -> /b; query:t 1 -> 2",
         "null"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check_case(&cases[i]);
}

/* promise 6 and 29: what the hint says makes the request match. */
static void test_the_hint_works(void **state)
{
    struct bench b;
    struct match match;
    enum miss_reason reason;
    (void)state;
    const struct fixture_flow recorded = {.path = "/a?t=1",
                                          .method = "POST",
                                          .request_headers = JSON_TYPE,
                                          .request_body = "{\"a b\":1,\"c\":[{\"~\":1}]}"};
    bench_open(&b, NULL);
    (void)fixture_add(&b.tape, &recorded);
    bench_load(&b);
    const struct asked asked = {
        .path = "/a?t=2", .method = "POST", .headers = JSON_TYPE, .body = "{\"a b\":2,\"c\":[{\"~\":3}]}"};
    struct explained x = explain(&b, &asked);
    assert_string_equal(text_of(x.json, "hint"),
                        "ringtape replay --ignore query:t --ignore 'json:/a b' --ignore 'json:/c/0/~0' \xe2\x80\xa6");
    explained_free(&x);
    bench_close(&b);
    bench_open(&b, OPTIONS("--ignore query:t", "--ignore json:/a b", "--ignore json:/c/0/~0"));
    (void)fixture_add(&b.tape, &recorded);
    bench_load(&b);
    struct content content;
    struct key_scratch scratch;
    struct headers h = HEADERS_INIT;
    struct key key;
    memset(&content, 0, sizeof content);
    memset(&scratch, 0, sizeof scratch);
    struct key_request r = {.method = SPAN("POST"),
                            .scheme = SPAN("http"),
                            .host = SPAN("example.test"),
                            .port = 80,
                            .path = span_str(asked.path),
                            .headers = &h};
    assert_int_equal(headers_add(&h, SPAN("Content-Type"), SPAN("application/json")), ERR_OK);
    assert_int_equal(content_begin(&content, &h, matcher_hash_key(b.matcher)), ERR_OK);
    assert_int_equal(content_add(&content, span_str(asked.body)), ERR_OK);
    assert_int_equal(content_end(&content, &b.rules, matcher_hash_key(b.matcher), &scratch, &r.body), ERR_OK);
    assert_int_equal(key_compute(&key, &b.rules, matcher_hash_key(b.matcher), &r, &scratch), ERR_OK);
    assert_true(matcher_take(b.matcher, &key, SPAN_EMPTY, &match, &reason));
    content_free(&content);
    key_scratch_free(&scratch);
    headers_free(&h);
    bench_close(&b);
}

static void test_shape_and_reasons(void **state)
{
    static const char *const names[] = {"error", "request", "reason", "nearest", "hint"};
    struct bench b;
    struct explained x;
    (void)state;
    bench_open(&b, NULL);
    bench_load(&b);
    x = explain(&b, &(struct asked){.path = "/a?x=\"1\"", .scheme = "https", .port = 443});
    assert_int_equal(json_object_size(x.json), ARRAY_LEN(names));
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        assert_non_null(json_object_get(x.json, names[i]));
    assert_string_equal(text_of(x.json, "error"), "no recording matches this request");
    assert_string_equal(text_of(x.json, "reason"), "empty-tape");
    assert_string_equal(text_of(json_object_get(x.json, "request"), "method"), "GET");
    assert_string_equal(text_of(json_object_get(x.json, "request"), "url"), "https://example.test/a?x=\"1\"");
    assert_int_equal(json_object_size(json_object_get(x.json, "request")), 2);
    assert_int_equal(json_array_size(json_object_get(x.json, "nearest")), 0);
    assert_true(json_is_null(json_object_get(x.json, "hint")));
    assert_text(buf_span(&x.line), "GET https://example.test/a?x=\"1\": the tape has no recordings");
    explained_free(&x);
    bench_close(&b);

    bench_open(&b, OPTIONS("--order once"));
    (void)fixture_add(&b.tape, &(struct fixture_flow){.path = "/a", .port = 8080});
    bench_load(&b);
    x = explain(&b, &(struct asked){.path = "/a", .host = "nowhere.test"});
    assert_string_equal(text_of(x.json, "reason"), "unknown-host");
    const json_t *nearest = json_array_get(json_object_get(x.json, "nearest"), 0);
    assert_int_equal(json_object_size(nearest), 3);
    assert_string_equal(text_of(nearest, "url"), "http://example.test:8080/a");
    assert_text(
        buf_span(&x.line),
        "GET http://nowhere.test/a: nothing was recorded from this host; nearest is flow 1, which differs in host (recorded "
        "example.test, actual nowhere.test), port (recorded 8080, actual 80); try: ringtape replay --map "
        "nowhere.test:80=example.test:8080 \xe2\x80\xa6");
    explained_free(&x);
    x = explain(&b, &(struct asked){.path = "/b", .port = 8080});
    assert_string_equal(text_of(x.json, "reason"), "different");
    explained_free(&x);
    bench_close(&b);
}

/* promise 29: "already consumed" is said, and how to go on. */
static void test_exhausted(void **state)
{
    struct bench b;
    struct match match;
    enum miss_reason reason;
    struct key_scratch scratch;
    struct key key;
    (void)state;
    memset(&scratch, 0, sizeof scratch);
    bench_open(&b, OPTIONS("--order once"));
    (void)fixture_add(&b.tape, &(struct fixture_flow){.path = "/a"});
    bench_load(&b);
    struct key_request r = {
        .method = SPAN("GET"), .scheme = SPAN("http"), .host = SPAN("example.test"), .port = 80, .path = SPAN("/a")};
    assert_int_equal(key_compute(&key, &b.rules, matcher_hash_key(b.matcher), &r, &scratch), ERR_OK);
    assert_true(matcher_take(b.matcher, &key, SPAN_EMPTY, &match, &reason));
    struct explained x = explain(&b, &(struct asked){.path = "/a"});
    assert_string_equal(text_of(x.json, "reason"), "exhausted");
    const json_t *nearest = json_array_get(json_object_get(x.json, "nearest"), 0);
    assert_int_equal(json_integer_value(json_object_get(nearest, "flow")), 1);
    assert_int_equal(json_array_size(json_object_get(nearest, "differences")), 0);
    assert_string_equal(text_of(x.json, "hint"), "ringtape replay --order sequence \xe2\x80\xa6");
    assert_has(buf_span(&x.line), "every recording of it was already consumed");
    explained_free(&x);
    key_scratch_free(&scratch);
    bench_close(&b);
}

/* promise 29: a recording that is the same, but another track's, is told apart by that. */
static void test_another_track(void **state)
{
    struct bench b;
    struct buf text = BUF_INIT;
    (void)state;
    bench_open(&b, NULL);
    (void)fixture_add(&b.tape, &(struct fixture_flow){.path = "/a", .track = "one"});
    (void)fixture_add(&b.tape, &(struct fixture_flow){.path = "/b", .track = "two"});
    bench_load(&b);
    struct explained x = explain(&b, &(struct asked){.path = "/b", .track = "one"});
    const json_t *nearest = json_array_get(json_object_get(x.json, "nearest"), 0);
    assert_int_equal(json_integer_value(json_object_get(nearest, "flow")), 2);
    differences_text(nearest, &text);
    assert_text(buf_span(&text), "track two -> one");
    assert_true(json_is_null(json_object_get(x.json, "hint")));
    assert_has(buf_span(&x.line), "which differs in track (recorded two, actual one)");
    buf_free(&text);
    explained_free(&x);
    bench_close(&b);
}

static void test_the_nearest_come_first_and_are_few(void **state)
{
    struct bench b;
    struct buf text = BUF_INIT;
    (void)state;
    bench_open(&b, NULL);
    for (int i = 0; i < 50; i++)
        (void)fixture_add(&b.tape, &(struct fixture_flow){.path = "/quite/different", .host = "far.test"});
    (void)fixture_add(&b.tape, &(struct fixture_flow){.path = "/items/1", .method = "DELETE"});    /* 51 */
    (void)fixture_add(&b.tape, &(struct fixture_flow){.path = "/items/1?t=1"});                    /* 52 */
    (void)fixture_add(&b.tape, &(struct fixture_flow){.path = "/items/1", .host = "mirror.test"}); /* 53 */
    (void)fixture_add(&b.tape, &(struct fixture_flow){.path = "/items/22"});                       /* 54 */
    (void)fixture_add(&b.tape, &(struct fixture_flow){.path = "/items/1?t=1&u=1"});                /* 55 */
    bench_load(&b);
    struct explained x = explain(&b, &(struct asked){.path = "/items/1"});
    static const json_int_t wanted[] = {52, 55, 54};
    const json_t *list = json_object_get(x.json, "nearest"), *one;
    size_t i;
    assert_int_equal(json_array_size(list), LIMIT_NEAREST);
    json_array_foreach(list, i, one)
    {
        assert_int_equal(json_integer_value(json_object_get(one, "flow")), wanted[i]);
    }
    differences_text(json_array_get(list, 1), &text);
    assert_text(buf_span(&text), "query:t 1 -> null; query:u 1 -> null");
    buf_free(&text);
    explained_free(&x);
    bench_close(&b);
}

/* promise 10: however many recordings there are, a bounded number is looked at and fewer are read. */
static void test_the_search_is_bounded(void **state)
{
    struct bench b;
    char path[32];
    struct match found[LIMIT_REPLAY_CANDIDATES + 10];
    (void)state;
    bench_open(&b, NULL);
    for (int i = 0; i < LIMIT_NEAREST_SEARCH + 500; i++) {
        (void)snprintf(path, sizeof path, "/p?i=%d", i);
        (void)fixture_add(&b.tape, &(struct fixture_flow){.path = path});
    }
    (void)fixture_add(&b.tape, &(struct fixture_flow){.path = "/p?i=x&y=1", .host = "other.test"});
    bench_load(&b);
    struct explained x = explain(&b, &(struct asked){.path = "/p?i=none"});
    assert_int_equal(json_array_size(json_object_get(x.json, "nearest")), LIMIT_NEAREST);
    struct key key;
    memset(&key, 0, sizeof key);
    /* All candidates come from the first LIMIT_NEAREST_SEARCH entries of the chains. */
    key.part[KEY_PATH] = b.matcher->entries[0].part[KEY_PATH];
    key.part[KEY_HOST] = b.matcher->entries[0].part[KEY_HOST];
    size_t n = matcher_nearest(b.matcher, &key, found, ARRAY_LEN(found));
    assert_int_equal(n, LIMIT_REPLAY_CANDIDATES);
    for (size_t i = 0; i < n; i++)
        assert_in_range(found[i].entry, 0, LIMIT_NEAREST_SEARCH - 1);
    assert_int_equal(matcher_nearest(b.matcher, &key, found, 0), 0);
    assert_int_equal(matcher_nearest(b.matcher, &key, found, 2), 2);
    memset(&key, 0, sizeof key); /* nothing alike: some recordings all the same */
    assert_int_equal(matcher_nearest(b.matcher, &key, found, 3), 3);
    explained_free(&x);
    bench_close(&b);
}

static void test_long_and_many_values_are_cut(void **state)
{
    struct bench b;
    struct buf one = BUF_INIT, two = BUF_INIT;
    (void)state;
    /* 40 members differ: LIMIT_REPLAY_DIFFERENCES are shown, the hint is short. */
    for (int i = 0; i < 40; i++) {
        assert_int_equal(buf_printf(&one, "%c\"m%d\":%d", i ? ',' : '{', i, i), ERR_OK);
        assert_int_equal(buf_printf(&two, "%c\"m%d\":%d", i ? ',' : '{', i, i + 1000), ERR_OK);
    }
    assert_int_equal(buf_put_byte(&one, '}'), ERR_OK);
    assert_int_equal(buf_put_byte(&two, '}'), ERR_OK);
    bench_open(&b, NULL);
    (void)fixture_add(&b.tape, &(struct fixture_flow){
                                   .method = "POST", .request_headers = JSON_TYPE, .request_body = buf_cstr(&one)});
    bench_load(&b);
    struct explained x = explain(&b, &(struct asked){.method = "POST", .headers = JSON_TYPE, .body = buf_cstr(&two)});
    const json_t *nearest = json_array_get(json_object_get(x.json, "nearest"), 0);
    assert_int_equal(json_array_size(json_object_get(nearest, "differences")), LIMIT_REPLAY_DIFFERENCES);
    assert_string_equal(text_of(x.json, "hint"), "ringtape replay --ignore body \xe2\x80\xa6");
    explained_free(&x);
    bench_close(&b);
    /* A long value is shown around its first difference. */
    buf_clear(&one);
    buf_clear(&two);
    for (int i = 0; i < 1000; i++) {
        assert_int_equal(buf_put_str(&one, "\xc3\xbc"), ERR_OK);
        assert_int_equal(buf_put_str(&two, i == 900 ? "x" : "\xc3\xbc"), ERR_OK);
    }
    bench_open(&b, NULL);
    (void)fixture_add(&b.tape, &(struct fixture_flow){.method = "POST", .request_body = buf_cstr(&one)});
    bench_load(&b);
    x = explain(&b, &(struct asked){.method = "POST", .body = buf_cstr(&two)});
    nearest = json_array_get(json_object_get(x.json, "nearest"), 0);
    const json_t *d = json_array_get(json_object_get(nearest, "differences"), 0);
    assert_in_range(strlen(text_of(d, "actual")), 50, LIMIT_REPLAY_VALUE_BYTES + 8);
    assert_has(span_str(text_of(d, "actual")), "\xbcx\xc3");
    assert_true(text_is_utf8(span_str(text_of(d, "recorded"))));
    assert_true(strncmp(text_of(d, "recorded"), "\xe2\x80\xa6", 3) == 0);
    explained_free(&x);
    bench_close(&b);
    buf_free(&one);
    buf_free(&two);
}

static void test_bytes_of_a_tunnel(void **state)
{
    struct bench b;
    struct head head = HEAD_INIT;
    struct buf json = BUF_INIT, line = BUF_INIT;
    (void)state;
    bench_open(&b, NULL);
    bench_load(&b);
    head_clear(&head, HEAD_REQUEST);
    set(&head, &head.method, "CONNECT");
    set(&head, &head.host, "example.test");
    head.port = 22;
    const struct match match = {.flow = 7};
    assert_int_equal(miss_explain_bytes(b.matcher, &head, &match, 12, SPAN("SSH-2.0\r\n"), SPAN("\x16\x03\x01"), &json,
                                        &line),
                     ERR_OK);
    json_t *parsed = json_loads(buf_cstr(&json), 0, NULL);
    assert_non_null(parsed);
    const json_t *nearest = json_array_get(json_object_get(parsed, "nearest"), 0);
    const json_t *d = json_array_get(json_object_get(nearest, "differences"), 0);
    assert_string_equal(text_of(d, "field"), "bytes:12");
    assert_string_equal(text_of(d, "recorded"), "SSH-2.0\r\n");
    assert_string_equal(text_of(d, "actual"), "hex 160301");
    assert_text(buf_span(&line), "CONNECT example.test:22: the client's bytes differ from flow 7 at byte 12");
    json_decref(parsed);
    buf_free(&json);
    buf_free(&line);
    head_free(&head);
    bench_close(&b);
}

static void test_explaining_out_of_memory(void **state)
{
    struct bench b;
    (void)state;
    bench_open(&b, OPTIONS("--match method,host,path,query,body,header:accept,cookie:a"));
    (void)fixture_add(&b.tape, &(struct fixture_flow){.path = "/a?x=1",
                                                      .method = "POST",
                                                      .request_headers = OPTIONS("Content-Type", "application/json",
                                                                                 "Accept", "b", "Cookie", "a=1"),
                                                      .request_body = "{\"a\":\"\\n\"}"});
    (void)fixture_add(&b.tape,
                      &(struct fixture_flow){
                          .path = "/a?x=1", .method = "POST", .request_headers = FORM_TYPE, .request_body = "a=%41"});
    bench_load(&b);
    struct tape *tape = open_tape(&b);
    for (int form = 0; form < 2; form++) {
        enum err e = ERR_NOMEM;
        const struct asked asked = {.path = "/a?x=2",
                                    .method = "POST",
                                    .headers = form ? FORM_TYPE : JSON_TYPE,
                                    .body = form ? "a=2" : "{\"a\":\"2\"}"};
        for (long n = 0; e == ERR_NOMEM; n++) {
            struct explained x;
            memset(&x, 0, sizeof x);
            assert_true(n < 2000);
            e = ask(&b, tape, &asked, n, &x);
            buf_free(&x.text);
            buf_free(&x.line);
        }
        assert_int_equal(e, ERR_OK);
    }
    tape_close(&tape);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_field_is_named_and_the_hint_says_what_to_type),
        cmocka_unit_test(test_each_part_of_a_body_is_named),
        cmocka_unit_test(test_only_what_is_compared_is_named),
        cmocka_unit_test(test_the_hint_works),
        cmocka_unit_test(test_shape_and_reasons),
        cmocka_unit_test(test_exhausted),
        cmocka_unit_test(test_another_track),
        cmocka_unit_test(test_the_nearest_come_first_and_are_few),
        cmocka_unit_test(test_the_search_is_bounded),
        cmocka_unit_test(test_long_and_many_values_are_cut),
        cmocka_unit_test(test_bytes_of_a_tunnel),
        cmocka_unit_test(test_explaining_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
