/* test_mime.c: media types, multipart bodies, cookies and their dates. */
#include "http/mime.h"

#include "base/util.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void check_span(const char *text, struct span got, const char *want)
{
    if (!span_eq(got, span_str(want)))
        fail_msg("%s: \"%.*s\" instead of \"%s\"", text, (int)got.n, (const char *)got.p, want);
}

static void test_types(void **state)
{
    (void)state;
    check_span("essence", mime_essence(SPAN(" Text/HTML ; charset=utf-8")), "Text/HTML");
    static const struct {
        const char *type;
        bool json, form, multipart, text;
    } cases[] = {
        {"application/json", true, false, false, true},
        {"application/problem+JSON; charset=utf-8", true, false, false, true},
        {"application/x-www-form-urlencoded;charset=x", false, true, false, true},
        {"multipart/form-data; boundary=x", false, false, true, false},
        {"multipart/mixed; boundary=\"a b\"", false, false, true, false},
        {"multipart/form-data", false, false, false, false},
        {"multipart/form-data; boundary=", false, false, false, false},
        {"text/plain", false, false, false, true},
        {"text/event-stream", false, false, false, true},
        {"image/svg+xml", false, false, false, true},
        {"image/png", false, false, false, false},
        {"application/javascript", false, false, false, true},
        {"application/octet-stream", false, false, false, false},
        {"", false, false, false, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct span type = span_str(cases[i].type);
        if (mime_is_json(type) != cases[i].json || mime_is_form(type) != cases[i].form ||
            mime_is_multipart(type) != cases[i].multipart || mime_is_text(type) != cases[i].text)
            fail_msg("%s", cases[i].type);
    }
}

static void test_param(void **state)
{
    (void)state;
    static const struct {
        const char *value, *name, *want; /* NULL: absent */
    } cases[] = {
        {"text/html; charset=utf-8", "charset", "utf-8"},
        {"text/html;CHARSET = \"utf-8\" ;x=y", "charset", "utf-8"},
        {"a; b=\"x;y=z\"; y=1", "y", "1"},
        {"a; b=\"x\\\"; y=2\"; y=1", "y", "1"},
        {"a; b=\"x\\\"y\"", "b", "x\\\"y"},
        {"a; b=\"unfinished", "b", "unfinished"},
        {"a; b=\"unfinished\\", "b", "unfinished\\"},
        {"a; b=", "b", ""},
        {"a; b", "b", NULL},
        {"charset=x", "charset", NULL},
        {"a;;; c=d", "c", "d"},
        {"", "c", NULL},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct span got;
        bool found = mime_param(span_str(cases[i].value), span_str(cases[i].name), &got);
        if (found != (cases[i].want != NULL))
            fail_msg("%s", cases[i].value);
        check_span(cases[i].value, got, cases[i].want ? cases[i].want : "");
    }
}

static void test_parts(void **state)
{
    (void)state;
    struct span body =
        SPAN("preamble\r\n--xy\r\nContent-Disposition: form-data; name=\"a\"\r\n\r\none\r\n--xyz is data\r\n--xy \t\r\n"
             "content-disposition: form-data; name=\"f\"; filename=\"p;q.txt\"\r\nContent-Type: text/plain\r\n\r\n"
             "two\r\n\r\n--xy\r\n\r\nno head\r\n--xy\r\nX: y\r\n\r\n\r\n--xy\r\n\r\n\r\n--xy--\r\nepilogue");
    static const struct {
        const char *name, *filename, *type, *body;
        bool has_filename;
    } want[] = {
        {"a", "", "", "one\r\n--xyz is data", false},
        {"f", "p;q.txt", "text/plain", "two\r\n", true},
        {"", "", "", "no head", false},
        {"", "", "", "", false},
        {"", "", "", "", false},
    };
    size_t at = 0;
    struct mime_part part;
    bool malformed;
    for (size_t i = 0; i < ARRAY_LEN(want); i++) {
        assert_true(mime_part_next(body, SPAN("xy"), &at, &part, &malformed));
        check_span("name", part.name, want[i].name);
        check_span("filename", part.filename, want[i].filename);
        check_span("type", part.content_type, want[i].type);
        check_span("body", part.body, want[i].body);
        assert_int_equal(part.has_filename, want[i].has_filename);
    }
    assert_false(mime_part_next(body, SPAN("xy"), &at, &part, &malformed));
    assert_false(malformed);

    /* Cut anywhere before its close, it is malformed, and nothing beyond it is read. */
    size_t end = span_search(body, SPAN("--xy--"));
    for (size_t n = 0; n < end + 6; n++) {
        at = 0;
        uint8_t copy[400];
        memcpy(copy, body.p, n);
        while (mime_part_next(span_of(copy, n), SPAN("xy"), &at, &part, &malformed))
            ;
        assert_true(malformed);
    }
    at = 0;
    assert_false(mime_part_next(SPAN("--\r\n\r\n----"), SPAN_EMPTY, &at, &part, &malformed));
    assert_true(malformed);
    at = 0;
    assert_false(mime_part_next(SPAN("--b--"), SPAN("b"), &at, &part, &malformed));
    assert_false(malformed);
}

static void test_cookies(void **state)
{
    (void)state;
    struct span rest = SPAN("a=1; b=\"2\";; c = x=y ;flag; =v"), name, value;
    static const char *const want[] = {"a", "1", "b", "\"2\"", "c", "x=y", "flag", "", "", "v"};
    for (size_t i = 0; i < ARRAY_LEN(want); i += 2) {
        assert_true(cookie_next(&rest, &name, &value));
        check_span("name", name, want[i]);
        check_span("value", value, want[i + 1]);
    }
    assert_false(cookie_next(&rest, &name, &value));

    struct cookie c;
    assert_true(cookie_parse_set(
        SPAN(
            " id = a=b ; Path=/x; DOMAIN=.ex.org; Expires=Wed, 21 Oct 2015 07:28:00 GMT; Max-Age=60; HttpOnly; secure; SameSite=Lax"),
        &c));
    check_span("name", c.name, "id");
    check_span("value", c.value, "a=b");
    check_span("path", c.path, "/x");
    check_span("domain", c.domain, ".ex.org");
    check_span("expires", c.expires, "Wed, 21 Oct 2015 07:28:00 GMT");
    check_span("max-age", c.max_age, "60");
    check_span("samesite", c.same_site, "Lax");
    assert_true(c.http_only && c.secure);
    assert_true(cookie_parse_set(SPAN("a="), &c));
    assert_false(c.http_only || c.secure);
    assert_false(cookie_parse_set(SPAN("a; b=c"), &c));
    assert_false(cookie_parse_set(SPAN("=b"), &c));
    assert_false(cookie_parse_set(SPAN(""), &c));
}

static void test_dates(void **state)
{
    (void)state;
    static const struct {
        const char *text;
        int64_t want; /* -1: none */
    } cases[] = {
        {"Thu, 01 Jan 1970 00:00:00 GMT", 0},
        {"Wed, 21 Oct 2015 07:28:00 GMT", 1445412480},
        {"Wednesday, 21-Oct-15 07:28:00 GMT", 1445412480},
        {"Wed Oct 21 07:28:00 2015", 1445412480},
        {"21 oct 2015 7:28:0", 1445412480},
        {"2015 october 21 07:28:00", 1445412480},
        {"Tue, 29 Feb 2000 12:00:00 GMT", 951825600},
        {"Fri, 31 Dec 9999 23:59:59 GMT", 253402300799},
        {"Mon, 01 Jan 1601 00:00:00 GMT", -11644473600},
        {"Thu, 01-Jan-69 00:00:01 GMT", 3124224001},
        {"29 Feb 2015 00:00:00", -1},
        {"32 Jan 2015 00:00:00", -1},
        {"0 Jan 2015 00:00:00", -1},
        {"1 Jan 1600 00:00:00", -1},
        {"1 Jan 2015 24:00:00", -1},
        {"1 Jan 2015 00:60:00", -1},
        {"1 Jan 2015", -1},
        {"0", -1},
        {"", -1},
        {"Session", -1},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        int64_t got = -1;
        bool valid = cookie_date(span_str(cases[i].text), &got);
        if (valid != (cases[i].want != -1) || (valid && got != cases[i].want))
            fail_msg("%s: %lld", cases[i].text, (long long)got);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_types),   cmocka_unit_test(test_param), cmocka_unit_test(test_parts),
        cmocka_unit_test(test_cookies), cmocka_unit_test(test_dates),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
