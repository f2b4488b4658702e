/* test_url.c: URLs, authorities, queries, percent-decoding. */
#include "http/url.h"

#include "base/util.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void check_span(const char *text, struct span got, const char *want)
{
    if (!span_eq(got, span_str(want)))
        fail_msg("%s: \"%.*s\" instead of \"%s\"", text, (int)got.n, (const char *)got.p, want);
}

static void test_parse(void **state)
{
    (void)state;
    static const struct {
        const char *text, *scheme, *host, *path, *query;
        unsigned port;
        bool port_given, has_query;
    } cases[] = {
        {"http://a", "http", "a", "", "", 80, false, false},
        {"HTTPS://A.b/", "HTTPS", "A.b", "/", "", 443, false, false},
        {"http://a:8080/x?y=1#z", "http", "a", "/x?y=1", "y=1", 8080, true, true},
        {"http://a:/x", "http", "a", "/x", "", 80, false, false},
        {"http://a?x", "http", "a", "", "x", 80, false, true},
        {"http://a/?", "http", "a", "/?", "", 80, false, true},
        {"http://a#f?x", "http", "a", "", "", 80, false, false},
        {"http://a/p?a?b", "http", "a", "/p?a?b", "a?b", 80, false, true},
        {"http://u:p@a:1/", "http", "a", "/", "", 1, true, false},
        {"ws://[::1]:9/s", "ws", "::1", "/s", "", 9, true, false},
        {"wss://[fe80::1%25eth0]", "wss", "fe80::1%25eth0", "", "", 443, false, false},
        {"http://xn--bcher-kva.example/b\xc3\xbc"
         "cher",
         "http", "xn--bcher-kva.example",
         "/b\xc3\xbc"
         "cher",
         "", 80, false, false},
        {"http://127.0.0.1/@:", "http", "127.0.0.1", "/@:", "", 80, false, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct url u;
        if (url_parse(span_str(cases[i].text), &u))
            fail_msg("%s", cases[i].text);
        check_span(cases[i].text, u.scheme, cases[i].scheme);
        check_span(cases[i].text, u.host, cases[i].host);
        check_span(cases[i].text, u.path, cases[i].path);
        check_span(cases[i].text, u.query, cases[i].query);
        assert_int_equal(u.port, cases[i].port);
        assert_int_equal(u.port_given, cases[i].port_given);
        assert_int_equal(u.has_query, cases[i].has_query);
    }
}

static void test_parse_refuses(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "http",
        "http:",
        "http:/a",
        "http://",
        "http:///p",
        "http://:80",
        "ftp://a",
        "a:80",
        "//a",
        "http://a:b",
        "http://a:0",
        "http://a:65536",
        "http://a:80:80",
        "http://a@b@c/",
        "http://a\\b/",
        "http://a b/",
        "http://a\tb",
        "http://[::1",
        "http://::1/",
        "http://[a]/",
        "http://[]/",
        "http://[::1]x/",
        "http://[::1%]/",
        "http://a,b/",
        "http://a/\n",
        "http://a/ b",
        "http://a<b/",
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct url u;
        if (url_parse(span_str(bad[i]), &u) != ERR_PARSE)
            fail_msg("%s", bad[i]);
    }
}

static void test_authority(void **state)
{
    (void)state;
    struct span host;
    unsigned port;
    assert_int_equal(url_authority(SPAN("a.b:443"), &host, &port), ERR_OK);
    check_span("authority", host, "a.b");
    assert_int_equal(port, 443);
    assert_int_equal(url_authority(SPAN("[2001:db8::1]"), &host, &port), ERR_OK);
    check_span("authority", host, "2001:db8::1");
    assert_int_equal(port, 0);
    static const char *const bad[] = {"",    ":1",  "a:",     "a:+1",     "a:1 ", " a",
                                      "a/b", "u@a", "[::1]1", "a:123456", "a::1", "[1.2.3.4]"};
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        bool empty_port = i == 2; /* RFC 3986 §3.2.3 allows it */
        if ((url_authority(span_str(bad[i]), &host, &port) == ERR_OK) != empty_port)
            fail_msg("%s", bad[i]);
    }
    assert_int_equal(url_default_port(SPAN("HTTP")), 80);
    assert_int_equal(url_default_port(SPAN("wss")), 443);
    assert_int_equal(url_default_port(SPAN("gopher")), 0);
    assert_true(url_is_address(SPAN("1.2.3.4")));
    assert_true(url_is_address(SPAN("::1")));
    assert_false(url_is_address(SPAN("1.2.3")));
    assert_false(url_is_address(SPAN("[::1]")));
    assert_false(url_is_address(SPAN("a")));
    assert_false(url_is_address(SPAN("")));
    assert_false(url_is_address(SPAN("1.2.3.4\0")));
}

static void test_query(void **state)
{
    (void)state;
    static const char *const want[] = {"a", "1", "b", "", "", "c", "d", "x=y", "e%20+", "2"};
    struct span rest = SPAN("a=1&b&=c&&d=x=y&e%20+=2&"), name, value;
    for (size_t i = 0; i < ARRAY_LEN(want); i += 2) {
        assert_true(url_query_next(&rest, &name, &value));
        check_span("name", name, want[i]);
        check_span("value", value, want[i + 1]);
    }
    assert_false(url_query_next(&rest, &name, &value));
    rest = SPAN_EMPTY;
    assert_false(url_query_next(&rest, &name, &value));
}

static void test_decode(void **state)
{
    (void)state;
    static const struct {
        const char *text, *want;
        bool plus;
    } cases[] = {
        {"a%20b+c", "a b+c", false}, {"a%20b+c", "a b c", true}, {"%e4%C3", "\xe4\xc3", false}, {"%", "%", false},
        {"%4", "%4", false},         {"%zz%41", "%zzA", false},  {"%%41", "%A", false},         {"", "", true},
        {"%2b+", "+ ", true},
    };
    struct buf b = BUF_INIT;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        buf_clear(&b);
        assert_int_equal(url_decode(&b, span_str(cases[i].text), cases[i].plus), ERR_OK);
        check_span(cases[i].text, buf_span(&b), cases[i].want);
    }
    buf_free(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_parse), cmocka_unit_test(test_parse_refuses), cmocka_unit_test(test_authority),
        cmocka_unit_test(test_query), cmocka_unit_test(test_decode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
