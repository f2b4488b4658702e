/* test_key.c: when are two requests the same? A table of pairs, each body fed at every chunk size. Promises 4, 5, 6, 7. */
#include "support.h"

#include "http/coding.h"
#include "replay/content.h"

struct side {
    const char *path;                   /* "/" */
    const char *const *headers;         /* none; name, value, … NULL */
    const char *body;                   /* none */
    size_t body_n;                      /* strlen */
    const char *method, *scheme, *host; /* "GET", "http", "example.test" */
    unsigned port;                      /* 80 */
    bool upgraded;
};

struct pair {
    const char *name;
    const char *const *options;
    struct side a, b;
    bool same;
};

#define JSON_TYPE  OPTIONS("Content-Type", "application/json")
#define FORM_TYPE  OPTIONS("Content-Type", "application/x-www-form-urlencoded; charset=utf-8")
#define PLAIN_TYPE OPTIONS("content-type", "text/plain")
#define BYTES_TYPE OPTIONS("Content-Type", "application/octet-stream")
#define PARTS_X    OPTIONS("Content-Type", "multipart/form-data; boundary=XX")
#define PARTS_Y    OPTIONS("Content-Type", "multipart/form-data; boundary=\"yy-YY\"")

static const char *or_else(const char *text, const char *otherwise)
{
    return text ? text : otherwise;
}

static struct span body_of(const struct side *s)
{
    return fixture_bytes(s->body, s->body_n);
}

static enum err key_try(struct key *out, const struct rules *rules, const struct hash_key *hash, const struct side *s,
                        size_t chunk)
{
    struct headers h = HEADERS_INIT;
    struct content content;
    struct key_scratch scratch;
    struct span body = body_of(s);
    memset(&content, 0, sizeof content);
    memset(&scratch, 0, sizeof scratch);
    struct key_request r = {.method = span_str(or_else(s->method, "GET")),
                            .scheme = span_str(or_else(s->scheme, "http")),
                            .host = span_str(or_else(s->host, "example.test")),
                            .port = s->port ? s->port : 80,
                            .path = span_str(or_else(s->path, "/")),
                            .headers = &h,
                            .upgraded = s->upgraded};
    enum err e = ERR_OK;
    for (const char *const *p = s->headers; !e && p && *p; p += 2)
        e = headers_add(&h, span_str(p[0]), span_str(p[1]));
    if (!e)
        e = content_begin(&content, &h, hash);
    for (size_t at = 0; !e && at < body.n; at += chunk)
        e = content_add(&content, span_first(span_from(body, at), chunk));
    if (!e)
        e = content_end(&content, rules, hash, &scratch, &r.body);
    if (!e)
        e = key_compute(out, rules, hash, &r, &scratch);
    assert_int_equal(scratch.n, 0); /* whatever happened, no pair is left on the stack */
    content_free(&content);
    key_scratch_free(&scratch);
    headers_free(&h);
    return e;
}

static struct hash128 key_of(const struct rules *rules, const struct hash_key *hash, const struct side *s, size_t chunk)
{
    struct key key;
    assert_int_equal(key_try(&key, rules, hash, s, chunk), ERR_OK);
    return key.all;
}

static bool hash128_eq(struct hash128 a, struct hash128 b)
{
    return a.lo == b.lo && a.hi == b.hi;
}

static void check_pair(const struct pair *p)
{
    struct rules rules;
    struct hash_key hash;
    rules_from(&rules, p->options);
    hash_key_random(&hash);
    struct hash128 a = key_of(&rules, &hash, &p->a, SIZE_MAX / 2), b = key_of(&rules, &hash, &p->b, SIZE_MAX / 2);
    if (hash128_eq(a, b) != p->same)
        fail_msg("%s: the keys %s", p->name, p->same ? "differ" : "are equal");
    for (size_t chunk = 1; chunk <= MIN(body_of(&p->a).n, (size_t)300); chunk++)
        if (!hash128_eq(a, key_of(&rules, &hash, &p->a, chunk)))
            fail_msg("%s: in pieces of %zu the key is another", p->name, chunk);
    rules_free(&rules);
}

static void check_pairs(const struct pair *pairs, size_t n)
{
    for (size_t i = 0; i < n; i++)
        check_pair(&pairs[i]);
}

static void test_targets(void **state)
{
    const struct pair pairs[] = {
        {"nothing differs", NULL, {.path = "/a"}, {.path = "/a"}, true},
        {"method", NULL, {.path = "/a"}, {.path = "/a", .method = "POST"}, false},
        {"method's case", NULL, {.path = "/a"}, {.path = "/a", .method = "get"}, false},
        {"scheme", NULL, {.path = "/a"}, {.path = "/a", .scheme = "https"}, false},
        {"host", NULL, {.path = "/a"}, {.path = "/a", .host = "example.org"}, false},
        {"host's case", NULL, {.path = "/a"}, {.path = "/a", .host = "Example.TEST"}, true},
        {"port", NULL, {.path = "/a"}, {.path = "/a", .port = 8080}, false},
        {"path", NULL, {.path = "/a"}, {.path = "/b"}, false},
        {"path's case", NULL, {.path = "/a"}, {.path = "/A"}, false},
        {"a slash more", NULL, {.path = "/a"}, {.path = "/a/"}, false},
        {"an empty query", NULL, {.path = "/a"}, {.path = "/a?"}, true},
        {"a query", NULL, {.path = "/a"}, {.path = "/a?b"}, false},
        {"ignored scheme, host and port",
         OPTIONS("--ignore scheme", "--ignore host", "--ignore port"),
         {.path = "/a"},
         {.path = "/a", .scheme = "https", .host = "b", .port = 443},
         true},
        {"only the path counts",
         OPTIONS("--match path"),
         {.path = "/a?x=1"},
         {.path = "/a?x=2", .method = "PUT", .host = "b"},
         true},
        {"only the path counts, and differs", OPTIONS("--match path"), {.path = "/a"}, {.path = "/b"}, false},
        {"CONNECT is never a GET", OPTIONS("--match host"), {.path = ""}, {.path = "", .method = "CONNECT"}, false},
        {"an upgrade is never a plain answer",
         OPTIONS("--match host"),
         {.path = ""},
         {.path = "", .upgraded = true},
         false},
    };
    (void)state;
    check_pairs(pairs, ARRAY_LEN(pairs));
}

static void test_queries(void **state)
{
    const struct pair pairs[] = {
        {"the order of names does not count", NULL, {.path = "/?a=1&b=2&c=3"}, {.path = "/?c=3&a=1&b=2"}, true},
        {"repeated names keep theirs", NULL, {.path = "/?a=1&a=2"}, {.path = "/?a=2&a=1"}, false},
        {"repeated names around others", NULL, {.path = "/?a=1&b=0&a=2"}, {.path = "/?b=0&a=1&a=2"}, true},
        {"how often counts", NULL, {.path = "/?a=1"}, {.path = "/?a=1&a=1"}, false},
        {"value", NULL, {.path = "/?a=1"}, {.path = "/?a=2"}, false},
        {"names and values are not exchanged", NULL, {.path = "/?a=b"}, {.path = "/?b=a"}, false},
        {"values are not exchanged", NULL, {.path = "/?a=1&b=2"}, {.path = "/?a=2&b=1"}, false},
        {"empty pairs", NULL, {.path = "/?a=1"}, {.path = "/?&&a=1&"}, true},
        {"no value is an empty value", NULL, {.path = "/?a"}, {.path = "/?a="}, true},
        {"percent-encoding", NULL, {.path = "/?na%6De=%41%2fb"}, {.path = "/?name=A%2Fb"}, true},
        {"percent-encoding in UTF-8", NULL, {.path = "/?q=gr%C3%BCn"}, {.path = "/?q=gr\xc3\xbcn"}, true},
        {"an encoded & is data", NULL, {.path = "/?a=1%26b=2"}, {.path = "/?a=1&b=2"}, false},
        {"an encoded = is data", NULL, {.path = "/?a%3D1"}, {.path = "/?a=1"}, false},
        {"a stray %", NULL, {.path = "/?a=%"}, {.path = "/?a=%25"}, true},
        {"+ is not a space here", NULL, {.path = "/?a=b+c"}, {.path = "/?a=b%20c"}, false},
        {"promise 6: a random parameter",
         OPTIONS("--ignore query:t"),
         {.path = "/?t=1&a=2"},
         {.path = "/?a=2&t=9371"},
         true},
        {"promise 6: it may be missing",
         OPTIONS("--ignore query:t"),
         {.path = "/?a=2"},
         {.path = "/?a=2&t=9371&t"},
         true},
        {"another does count", OPTIONS("--ignore query:t"), {.path = "/?t=1&a=2"}, {.path = "/?a=3&t=1"}, false},
        {"an ignored name, encoded", OPTIONS("--ignore query:to ken"), {.path = "/?to%20ken=1"}, {.path = "/"}, true},
        {"an ignored name's case counts", OPTIONS("--ignore query:t"), {.path = "/?T=1"}, {.path = "/?T=2"}, false},
        {"the whole query", OPTIONS("--ignore query"), {.path = "/?t=1"}, {.path = "/?a=2"}, true},
    };
    (void)state;
    check_pairs(pairs, ARRAY_LEN(pairs));
}

static void test_json(void **state)
{
    const struct pair pairs[] = {
        {"promise 5: key order",
         NULL,
         {.headers = JSON_TYPE, .body = "{\"a\":1,\"b\":[1,2]}"},
         {.headers = JSON_TYPE, .body = "{\"b\":[1,2],\"a\":1}"},
         true},
        {"white space",
         NULL,
         {.headers = JSON_TYPE, .body = "{\"a\":[1,{}]}"},
         {.headers = JSON_TYPE, .body = " {\n\t\"a\" : [ 1 , { } ] }\r\n"},
         true},
        {"nested key order",
         NULL,
         {.headers = JSON_TYPE, .body = "[{\"x\":{\"p\":1,\"q\":2}}]"},
         {.headers = JSON_TYPE, .body = "[{\"x\":{\"q\":2,\"p\":1}}]"},
         true},
        {"array order", NULL, {.headers = JSON_TYPE, .body = "[1,2]"}, {.headers = JSON_TYPE, .body = "[2,1]"}, false},
        {"array length", NULL, {.headers = JSON_TYPE, .body = "[1]"}, {.headers = JSON_TYPE, .body = "[1,1]"}, false},
        {"value",
         NULL,
         {.headers = JSON_TYPE, .body = "{\"a\":1}"},
         {.headers = JSON_TYPE, .body = "{\"a\":2}"},
         false},
        {"number and string",
         NULL,
         {.headers = JSON_TYPE, .body = "{\"a\":1}"},
         {.headers = JSON_TYPE, .body = "{\"a\":\"1\"}"},
         false},
        {"null and absent",
         NULL,
         {.headers = JSON_TYPE, .body = "{\"a\":null}"},
         {.headers = JSON_TYPE, .body = "{}"},
         false},
        {"null and false",
         NULL,
         {.headers = JSON_TYPE, .body = "null"},
         {.headers = JSON_TYPE, .body = "false"},
         false},
        {"object and array", NULL, {.headers = JSON_TYPE, .body = "{}"}, {.headers = JSON_TYPE, .body = "[]"}, false},
        {"numbers as written", NULL, {.headers = JSON_TYPE, .body = "1"}, {.headers = JSON_TYPE, .body = "1.0"}, false},
        {"big numbers as written",
         NULL,
         {.headers = JSON_TYPE, .body = "9007199254740993"},
         {.headers = JSON_TYPE, .body = "9007199254740992"},
         false},
        {"escapes",
         NULL,
         {.headers = JSON_TYPE, .body = "{\"\\u0061\":\"\\u00fc\\/\\n\"}"},
         {.headers = JSON_TYPE, .body = "{\"a\":\"\xc3\xbc/\\u000A\"}"},
         true},
        {"surrogate pairs",
         NULL,
         {.headers = JSON_TYPE, .body = "\"\\ud83d\\ude00\""},
         {.headers = JSON_TYPE, .body = "\"\xf0\x9f\x98\x80\""},
         true},
    };
    (void)state;
    check_pairs(pairs, ARRAY_LEN(pairs));
}

static void test_what_is_json(void **state)
{
    const struct pair pairs[] = {
        {"one name twice keeps its order",
         NULL,
         {.headers = JSON_TYPE, .body = "{\"a\":1,\"a\":2}"},
         {.headers = JSON_TYPE, .body = "{\"a\":2,\"a\":1}"},
         false},
        {"one name twice is not once",
         NULL,
         {.headers = JSON_TYPE, .body = "{\"a\":1,\"a\":1}"},
         {.headers = JSON_TYPE, .body = "{\"a\":1}"},
         false},
        {"a byte order mark",
         NULL,
         {.headers = JSON_TYPE, .body = "\xef\xbb\xbf{\"a\":1}"},
         {.headers = JSON_TYPE, .body = "{\"a\":1}"},
         true},
        {"+json is JSON",
         NULL,
         {.headers = OPTIONS("Content-Type", "application/vnd.api+json"), .body = "{\"a\":1,\"b\":2}"},
         {.headers = JSON_TYPE, .body = "{\"b\":2,\"a\":1}"},
         true},
        {"JSON that is called text",
         NULL,
         {.headers = PLAIN_TYPE, .body = " {\"a\":1,\"b\":2}"},
         {.headers = PLAIN_TYPE, .body = "{\"b\":2,\"a\":1}"},
         true},
        {"JSON without a type", NULL, {.body = "[{\"a\":1,\"b\":2}]"}, {.body = "[{\"b\":2,\"a\":1}]"}, true},
        {"JSON called bytes is bytes",
         NULL,
         {.headers = BYTES_TYPE, .body = "{\"a\":1,\"b\":2}"},
         {.headers = BYTES_TYPE, .body = "{\"b\":2,\"a\":1}"},
         false},
        {"what is no JSON is bytes",
         NULL,
         {.headers = JSON_TYPE, .body = "{\"a\":1,\"b\":}"},
         {.headers = JSON_TYPE, .body = "{\"a\":1, \"b\":}"},
         false},
        {"what is no JSON equals itself",
         NULL,
         {.headers = JSON_TYPE, .body = "{\"a\":1,\"b\":}"},
         {.headers = JSON_TYPE, .body = "{\"a\":1,\"b\":}"},
         true},
    };
    (void)state;
    check_pairs(pairs, ARRAY_LEN(pairs));
}

static void test_json_pointers(void **state)
{
    const struct pair pairs[] = {
        {"promise 6: a member",
         OPTIONS("--ignore json:/nonce"),
         {.headers = JSON_TYPE, .body = "{\"nonce\":\"x\",\"a\":1}"},
         {.headers = JSON_TYPE, .body = "{\"a\":1,\"nonce\":{\"y\":[]}}"},
         true},
        {"a member that may be missing",
         OPTIONS("--ignore json:/nonce"),
         {.headers = JSON_TYPE, .body = "{\"a\":1}"},
         {.headers = JSON_TYPE, .body = "{\"a\":1,\"nonce\":2}"},
         true},
        {"the name elsewhere counts",
         OPTIONS("--ignore json:/nonce"),
         {.headers = JSON_TYPE, .body = "{\"b\":{\"nonce\":1}}"},
         {.headers = JSON_TYPE, .body = "{\"b\":{\"nonce\":2}}"},
         false},
        {"any element",
         OPTIONS("--ignore json:/items/*/id"),
         {.headers = JSON_TYPE, .body = "{\"items\":[{\"id\":1},{\"id\":2}]}"},
         {.headers = JSON_TYPE, .body = "{\"items\":[{\"id\":8},{\"id\":9}]}"},
         true},
        {"one element",
         OPTIONS("--ignore json:/1"),
         {.headers = JSON_TYPE, .body = "[1,2,3]"},
         {.headers = JSON_TYPE, .body = "[1,5,3]"},
         true},
        {"another element",
         OPTIONS("--ignore json:/1"),
         {.headers = JSON_TYPE, .body = "[1,2,3]"},
         {.headers = JSON_TYPE, .body = "[1,2,4]"},
         false},
        {"a pointer with a slash in a name",
         OPTIONS("--ignore json:/a~1b"),
         {.headers = JSON_TYPE, .body = "{\"a/b\":1}"},
         {.headers = JSON_TYPE, .body = "{\"a\\/b\":2}"},
         true},
        {"the whole body",
         OPTIONS("--ignore body"),
         {.headers = JSON_TYPE, .body = "1"},
         {.headers = FORM_TYPE, .body = "2"},
         true},
    };
    (void)state;
    check_pairs(pairs, ARRAY_LEN(pairs));
}

/* Each is not JSON: it is compared byte by byte, so that white space in front makes it another. */
static void test_json_is_strict(void **state)
{
    static const char *const bad[] = {
        "{",     "[",   "[1,]",  "[,1]",    "{\"a\"}",   "{\"a\":1,}",  "{a:1}",  "{\"a\":1 \"b\":2}",
        "[1 2]", "01",  "-",     "1.",      ".5",        "1e",          "+1",     "nul",
        "truee", "tru", "\"",    "\"\\x\"", "\"\\u12\"", "\"\\u12g4\"", "\"\n\"", "[1]]",
        "{}{}",  "1 2", "\"a\\", "'a'",     "[\"a]",
    };
    static const char *const good[] = {
        "[]",   "{}",   "0",     "-0",   "1e5",       "1E+5",     "1.5e-3",   "-12.25",
        "\"\"", "true", "false", "null", "[[],[[]]]", "\"\\\"\"", "{\"\":0}",
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad) + ARRAY_LEN(good); i++) {
        bool is_good = i >= ARRAY_LEN(bad);
        const char *text = is_good ? good[i - ARRAY_LEN(bad)] : bad[i];
        char spaced[64];
        (void)snprintf(spaced, sizeof spaced, "\n %s", text);
        const struct pair p = {
            text, NULL, {.headers = JSON_TYPE, .body = text}, {.headers = JSON_TYPE, .body = spaced}, is_good};
        check_pair(&p);
    }
}

static void test_json_depth_is_bounded(void **state)
{
    enum { MUCH = 1 << 20 };
    char *deep = malloc(MUCH + MUCH + 2);
    (void)state;
    assert_non_null(deep);
    for (int good = 0; good < 2; good++) {
        size_t n = good ? 200 : 201;
        memset(deep + 1, '[', n);
        memset(deep + 1 + n, ']', n);
        deep[0] = ' ';
        const struct pair p = {good ? "200 deep" : "201 deep",
                               NULL,
                               {.headers = JSON_TYPE, .body = deep, .body_n = 2 * n + 1},
                               {.headers = JSON_TYPE, .body = deep + 1, .body_n = 2 * n},
                               good};
        check_pair(&p);
    }
    memset(deep, '[', 2 * MUCH); /* hostile: no stack is used up */
    struct rules rules;
    struct hash_key hash;
    rules_from(&rules, NULL);
    hash_key_random(&hash);
    (void)key_of(&rules, &hash, &(struct side){.headers = JSON_TYPE, .body = deep, .body_n = 2 * MUCH}, 65536);
    rules_free(&rules);
    free(deep);
}

static void test_forms(void **state)
{
    const struct pair pairs[] = {
        {"order of names",
         NULL,
         {.headers = FORM_TYPE, .body = "a=1&b=2"},
         {.headers = FORM_TYPE, .body = "b=2&a=1"},
         true},
        {"repeated names",
         NULL,
         {.headers = FORM_TYPE, .body = "a=1&a=2"},
         {.headers = FORM_TYPE, .body = "a=2&a=1"},
         false},
        {"plus and percent",
         NULL,
         {.headers = FORM_TYPE, .body = "a=b+c%26"},
         {.headers = FORM_TYPE, .body = "%61=b%20c%26"},
         true},
        {"value", NULL, {.headers = FORM_TYPE, .body = "a=1"}, {.headers = FORM_TYPE, .body = "a=2"}, false},
        {"ignored",
         OPTIONS("--ignore form:csrf token"),
         {.headers = FORM_TYPE, .body = "csrf+token=1&a=2"},
         {.headers = FORM_TYPE, .body = "a=2&csrf%20token=x"},
         true},
        {"a form is not its bytes",
         NULL,
         {.headers = FORM_TYPE, .body = "a=1&b=2"},
         {.headers = PLAIN_TYPE, .body = "a=1&b=2"},
         false},
        {"an empty pair", NULL, {.headers = FORM_TYPE, .body = "a=1"}, {.headers = FORM_TYPE, .body = "&a=1&&="}, true},
    };
    (void)state;
    check_pairs(pairs, ARRAY_LEN(pairs));
}

#define PART(boundary, disposition, more, content)                                                                     \
    "--" boundary "\r\nContent-Disposition: form-data; " disposition "\r\n" more "\r\n" content "\r\n"

static void test_multipart(void **state)
{
    static const char one[] = PART("XX", "name=\"a\"", "", "1")
        PART("XX", "name=\"f\"; filename=\"f.txt\"", "Content-Type: text/plain\r\n", "data") "--XX--\r\n";
    static const char other_boundary[] = PART("yy-YY", "name=\"a\"", "", "1")
        PART("yy-YY", "name=\"f\"; filename=\"f.txt\"", "Content-Type: text/plain\r\n", "data") "--yy-YY--\r\n";
    static const char other_order[] = PART("yy-YY", "name=\"f\"; filename=\"f.txt\"", "Content-Type: text/plain\r\n",
                                           "data") PART("yy-YY", "name=\"a\"", "", "1") "--yy-YY--\r\n";
    static const char other_value[] = PART("XX", "name=\"a\"", "", "2")
        PART("XX", "name=\"f\"; filename=\"f.txt\"", "Content-Type: text/plain\r\n", "data") "--XX--\r\n";
    static const char other_file[] = PART("XX", "name=\"a\"", "", "1")
        PART("XX", "name=\"f\"; filename=\"g.txt\"", "Content-Type: text/plain\r\n", "data") "--XX--\r\n";
    static const char other_type[] = PART("XX", "name=\"a\"", "", "1")
        PART("XX", "name=\"f\"; filename=\"f.txt\"", "Content-Type: text/html\r\n", "data") "--XX--\r\n";
    const struct pair pairs[] = {
        {"promise 4: boundaries",
         NULL,
         {.headers = PARTS_X, .body = one},
         {.headers = PARTS_Y, .body = other_boundary},
         true},
        {"order of names", NULL, {.headers = PARTS_X, .body = one}, {.headers = PARTS_Y, .body = other_order}, true},
        {"a part's content", NULL, {.headers = PARTS_X, .body = one}, {.headers = PARTS_X, .body = other_value}, false},
        {"a part's file name",
         NULL,
         {.headers = PARTS_X, .body = one},
         {.headers = PARTS_X, .body = other_file},
         false},
        {"a part's type", NULL, {.headers = PARTS_X, .body = one}, {.headers = PARTS_X, .body = other_type}, false},
        {"an ignored part",
         OPTIONS("--ignore form:a"),
         {.headers = PARTS_X, .body = one},
         {.headers = PARTS_X, .body = other_value},
         true},
        {"another boundary than it says",
         NULL,
         {.headers = PARTS_Y, .body = one},
         {.headers = PARTS_Y, .body = other_boundary},
         false},
        {"the field as well",
         OPTIONS("--match path,body,header:Content-Type"),
         {.headers = PARTS_X, .body = one},
         {.headers = PARTS_Y, .body = other_boundary},
         true},
    };
    (void)state;
    check_pairs(pairs, ARRAY_LEN(pairs));
}

static void test_header_fields_and_cookies(void **state)
{
    const struct pair pairs[] = {
        {"not compared unless asked for",
         NULL,
         {.headers = OPTIONS("Accept", "a")},
         {.headers = OPTIONS("Accept", "b")},
         true},
        {"asked for",
         OPTIONS("--match path,header:accept"),
         {.headers = OPTIONS("Accept", "a")},
         {.headers = OPTIONS("Accept", "b")},
         false},
        {"a name's case and space around the value",
         OPTIONS("--match path,header:accept"),
         {.headers = OPTIONS("Accept", " a\t")},
         {.headers = OPTIONS("ACCEPT", "a")},
         true},
        {"absent and empty",
         OPTIONS("--match path,header:accept"),
         {.headers = OPTIONS("Accept", "")},
         {.headers = NULL},
         false},
        {"order among names",
         OPTIONS("--match header:a,header:b"),
         {.headers = OPTIONS("A", "1", "B", "2")},
         {.headers = OPTIONS("B", "2", "A", "1")},
         true},
        {"order of one name",
         OPTIONS("--match header:a"),
         {.headers = OPTIONS("A", "1", "A", "2")},
         {.headers = OPTIONS("A", "2", "A", "1")},
         false},
        {"promise 6: asked for and ignored",
         OPTIONS("--match path,header:x", "--ignore header:X"),
         {.headers = OPTIONS("x", "1")},
         {.headers = NULL},
         true},
        {"a cookie",
         OPTIONS("--match cookie:sid"),
         {.headers = OPTIONS("Cookie", "a=1; sid=2")},
         {.headers = OPTIONS("cookie", "sid=2; b=3")},
         true},
        {"a cookie's value",
         OPTIONS("--match cookie:sid"),
         {.headers = OPTIONS("Cookie", "sid=1")},
         {.headers = OPTIONS("Cookie", "sid=2")},
         false},
        {"a cookie in another field",
         OPTIONS("--match cookie:sid"),
         {.headers = OPTIONS("Cookie", "a=1", "Cookie", "sid=2")},
         {.headers = OPTIONS("Cookie", "sid=2")},
         true},
        {"all cookies but one",
         OPTIONS("--match header:cookie", "--ignore cookie:t"),
         {.headers = OPTIONS("Cookie", "a=1; t=2")},
         {.headers = OPTIONS("Cookie", "t=3; a=1")},
         true},
        {"all cookies",
         OPTIONS("--match header:cookie", "--ignore cookie:t"),
         {.headers = OPTIONS("Cookie", "a=1")},
         {.headers = OPTIONS("Cookie", "a=2")},
         false},
    };
    (void)state;
    check_pairs(pairs, ARRAY_LEN(pairs));
}

static void test_content_codings(void **state)
{
    /* {"a":1,"b":2} by gzip -n; "hello" by gzip -n */
    static const char json[] =
        "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xab\x56\x4a\x54\xb2\x32\xd4\x51\x4a\x52\xb2\x32\xaa\x05\x00\x83\xce\x41\xcf\x0d\x00\x00\x00";
    static const char hello[] =
        "\x1f\x8b\x08\x00\x00\x00\x00\x00\x00\x03\xcb\x48\xcd\xc9\xc9\x07\x00\x86\xa6\x10\x36\x05\x00\x00\x00";
    const char *const *gzip_json = OPTIONS("Content-Type", "application/json", "Content-Encoding", "gzip");
    const char *const *gzip_text = OPTIONS("Content-Type", "text/plain", "Content-Encoding", "gzip");
    const struct pair pairs[] = {
        {"coded and not",
         NULL,
         {.headers = gzip_text, .body = hello, .body_n = sizeof hello - 1},
         {.headers = PLAIN_TYPE, .body = "hello"},
         true},
        {"coded, another",
         NULL,
         {.headers = gzip_text, .body = hello, .body_n = sizeof hello - 1},
         {.headers = PLAIN_TYPE, .body = "hallo"},
         false},
        {"coded JSON",
         NULL,
         {.headers = gzip_json, .body = json, .body_n = sizeof json - 1},
         {.headers = JSON_TYPE, .body = "{\"b\":2, \"a\":1}"},
         true},
        {"broken",
         NULL,
         {.headers = gzip_text, .body = hello, .body_n = sizeof hello - 3},
         {.headers = PLAIN_TYPE, .body = "hello"},
         false},
        {"broken equals itself",
         NULL,
         {.headers = gzip_text, .body = hello, .body_n = 12},
         {.headers = gzip_text, .body = hello, .body_n = 12},
         true},
        {"an unknown coding equals itself",
         NULL,
         {.headers = OPTIONS("Content-Encoding", "what"), .body = "x"},
         {.headers = OPTIONS("Content-Encoding", "what"), .body = "x"},
         true},
    };
    (void)state;
    check_pairs(pairs, ARRAY_LEN(pairs));
}

static void test_bodies_that_are_only_bytes(void **state)
{
    const struct pair pairs[] = {
        {"none and none", NULL, {.path = "/", .body = ""}, {.path = "/"}, true},
        {"none and some", NULL, {.path = "/", .body = "x", .headers = PLAIN_TYPE}, {.path = "/"}, false},
        {"a 0 byte",
         NULL,
         {.path = "/", .body = "a\0b", .body_n = 3},
         {.path = "/", .body = "a\0c", .body_n = 3},
         false},
        {"type does not count for bytes",
         NULL,
         {.path = "/", .body = "xyz", .headers = PLAIN_TYPE},
         {.path = "/", .body = "xyz", .headers = BYTES_TYPE},
         true},
    };
    (void)state;
    check_pairs(pairs, ARRAY_LEN(pairs));
    /* Above the bound a body is compared byte by byte as it came, and not kept. */
    size_t n = (size_t)LIMIT_REPLAY_KEY_BODY_BYTES + 2;
    char *big = malloc(n), *spaced = malloc(n);
    struct rules rules;
    struct hash_key hash;
    assert_true(big && spaced);
    memset(big, ' ', n);
    big[0] = '[';
    big[n - 1] = ']';
    memcpy(spaced, big, n);
    rules_from(&rules, NULL);
    hash_key_random(&hash);
    const struct side a = {.headers = JSON_TYPE, .body = big, .body_n = n},
                      b = {.headers = JSON_TYPE, .body = spaced, .body_n = n};
    assert_true(hash128_eq(key_of(&rules, &hash, &a, 65536), key_of(&rules, &hash, &b, 100000)));
    spaced[n - 1] = ' ';
    spaced[n - 2] = ']';
    assert_false(hash128_eq(key_of(&rules, &hash, &a, 65536), key_of(&rules, &hash, &b, 100000)));
    rules_free(&rules);
    free(big);
    free(spaced);
}

/* A body that has only a few bytes to show keeps only those, however big it is. */
static void test_only_what_is_compared_is_kept(void **state)
{
    struct headers h = HEADERS_INIT;
    struct hash_key hash;
    struct content c;
    char piece[65536];
    (void)state;
    memset(&c, 0, sizeof c);
    memset(piece, 'x', sizeof piece);
    hash_key_random(&hash);
    assert_int_equal(headers_add(&h, SPAN("Content-Type"), SPAN("text/plain")), ERR_OK);
    assert_int_equal(content_begin(&c, &h, &hash), ERR_OK);
    for (int i = 0; i < 2048; i++) /* 128 MB */
        assert_int_equal(content_add(&c, span_of(piece, sizeof piece)), ERR_OK);
    assert_int_equal(c.bytes, UINT64_C(128) << 20);
    assert_in_range(c.kept.n, 1, 8192);
    assert_in_range(c.kept.cap, 1, 65536);
    content_free(&c);
    /* The same for what would be JSON, once it is too big for that. */
    memset(piece, ' ', sizeof piece);
    assert_int_equal(headers_set(&h, SPAN("Content-Type"), SPAN("application/json")), ERR_OK);
    assert_int_equal(content_begin(&c, &h, &hash), ERR_OK);
    assert_int_equal(content_add(&c, SPAN("{\"begin\":1,")), ERR_OK);
    for (int i = 0; i < 512; i++)
        assert_int_equal(content_add(&c, span_of(piece, sizeof piece)), ERR_OK);
    struct buf room = BUF_INIT;
    struct span shown;
    assert_int_equal(content_view(&c, &room, &shown), CONTENT_RAW);
    assert_in_range(c.kept.cap, 1, 65536);
    assert_has(shown, "{\"begin\":1,");
    buf_free(&room);
    content_free(&c);
    headers_free(&h);
}

static void test_out_of_memory(void **state)
{
    static const char form[] = "a=%41&b=2&c=3";
    const struct side sides[] = {
        {.path = "/?a=%41&b=2",
         .headers = OPTIONS("Content-Type", "application/json", "Cookie", "a=1; b=2"),
         .body = "{\"a\":[1,\"\\n\"],\"b\":{\"c\":2}}"},
        {.path = "/?a=%41&b=2", .headers = FORM_TYPE, .body = form},
        {.path = "/?a=%41&b=2", .headers = PARTS_X, .body = PART("XX", "name=\"a\"", "", "1") "--XX--\r\n"},
    };
    struct rules rules;
    struct hash_key hash;
    (void)state;
    rules_from(&rules, OPTIONS("--ignore json:/b/c", "--match path,query,body,header:content-type,cookie:a",
                               "--ignore cookie:b"));
    hash_key_random(&hash);
    for (size_t i = 0; i < ARRAY_LEN(sides); i++) {
        struct hash128 whole = key_of(&rules, &hash, &sides[i], 3);
        struct key key;
        enum err e = ERR_NOMEM;
        for (long n = 0; e == ERR_NOMEM; n++) {
            assert_true(n < 1000);
            mem_fail_after(n);
            e = key_try(&key, &rules, &hash, &sides[i], 3);
            mem_fail_after(-1);
        }
        assert_int_equal(e, ERR_OK);
        assert_true(hash128_eq(key.all, whole));
    }
    rules_free(&rules);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_targets),
        cmocka_unit_test(test_queries),
        cmocka_unit_test(test_json),
        cmocka_unit_test(test_what_is_json),
        cmocka_unit_test(test_json_pointers),
        cmocka_unit_test(test_json_is_strict),
        cmocka_unit_test(test_json_depth_is_bounded),
        cmocka_unit_test(test_forms),
        cmocka_unit_test(test_multipart),
        cmocka_unit_test(test_header_fields_and_cookies),
        cmocka_unit_test(test_content_codings),
        cmocka_unit_test(test_bodies_that_are_only_bytes),
        cmocka_unit_test(test_only_what_is_compared_is_kept),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
