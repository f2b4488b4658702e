/* test_options.c: the texts of --reverse, --pass, --connect-to, --upstream and --client-cert, and what --pass matches. */
#include "base/alloc.h"
#include "base/util.h"
#include "proxy/network.h"
#include "proxy/worker.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

#define HOST_255                                                                                                       \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"             \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"             \
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"

static void check_problem(enum err e, struct buf *problem, const char *text, const char *sentence)
{
    if (e != ERR_USAGE)
        fail_msg("'%s': %s", text, err_word(e));
    if (!span_starts_with(buf_span(problem), span_str(sentence)))
        fail_msg("'%s': %s", text, buf_cstr(problem));
    buf_clear(problem);
}

static void test_reverse(void **state)
{
    static const struct {
        const char *text, *host, *scheme, *to_host, *prefix;
        unsigned port;
    } good[] = {
        {"http://a", "", "http", "a", "", 80},
        {"https://a", "", "https", "a", "", 443},
        {"https://a:8443/", "", "https", "a", "", 8443},
        {"http://a/v1/x//", "", "http", "a", "/v1/x", 80},
        {"http://[::1]:8080/p", "", "http", "::1", "/p", 8080},
        {"api.test=https://b", "api.test", "https", "b", "", 443},
        {"[::1]=http://b", "::1", "http", "b", "", 80},
        {"HTTPS://A.test", "", "https", "A.test", "", 443},
        {"http://a/x=y", "", "http", "a", "/x=y", 80},
        {HOST_255 "=http://" HOST_255, HOST_255, "http", HOST_255, "", 80},
    };
    static const char *const bad[] = {
        "",
        "a",
        "a:80",
        "//a",
        "http:/a",
        "ftp://a",
        "ws://a",
        "http://",
        "http://a b",
        "http://a/?q=1",
        "http://a:0",
        "http://a:65536",
        "http://a@b@c",
        "=http://a",
        "a b=http://c",
        "a:80=http://b",
        "a=b=http://c",
        "a/b=http://c",
        "x=",
        "x=ftp://a",
        "x=y",
        "[::1=http://a",
        HOST_255 "a=http://b",
        "http://" HOST_255 "a",
        "http://a/" HOST_255 "a",
    };
    struct proxy_reverse out;
    struct buf problem = BUF_INIT;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        if (proxy_reverse_parse(good[i].text, &out, &problem))
            fail_msg("%s", good[i].text);
        assert_string_equal(out.host, good[i].host);
        assert_string_equal(out.scheme, good[i].scheme);
        assert_string_equal(out.to_host, good[i].to_host);
        assert_string_equal(out.prefix, good[i].prefix);
        assert_int_equal(out.to_port, good[i].port);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        check_problem(proxy_reverse_parse(bad[i], &out, &problem), &problem, bad[i],
                      "--reverse wants [HOST=]http[s]://HOST[:PORT][/PATH], not \"");
    buf_free(&problem);
}

static void test_pass(void **state)
{
    static const struct {
        const char *pass, *host;
        unsigned port;
        bool yes;
    } cases[] = {
        {"example.com", "example.com", 443, true},
        {"example.com", "EXAMPLE.com", 1, true},
        {"Example.Com", "example.com", 443, true},
        {"example.com", "a.example.com", 443, false},
        {"example.com", "example.com.evil", 443, false},
        {"example.com:443", "example.com", 443, true},
        {"example.com:443", "example.com", 444, false},
        {"example.com:", "example.com", 9, true},
        {"*.example.com", "a.example.com", 443, true},
        {"*.example.com", "a.b.EXAMPLE.com", 443, true},
        {"*.example.com", "example.com", 443, false},
        {"*.example.com", "notexample.com", 443, false},
        {"*.example.com", ".example.com", 443, true},
        {"*example.com", "notexample.com", 443, true},
        {"*:22", "anything", 22, true},
        {"*:22", "anything", 23, false},
        {"*", "", 0, true},
        {"[::1]:443", "::1", 443, true},
        {"[::1]:443", "::2", 443, false},
        {"[2001:db8::1]", "2001:DB8::1", 1, true},
        {"127.0.0.1", "127.0.0.1", 80, true},
    };
    static const char *const bad[] = {"",    ":443", "a:b",   "a:0", "a:65536", "a b", "http://a", "a/b",
                                      "::1", "[::1", "[x]:1", "a*b", "*.a.*",   "**",  "a*",       HOST_255 "a"};
    struct buf problem = BUF_INIT;
    struct proxy_pass pass;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        if (proxy_pass_parse(cases[i].pass, &pass, &problem))
            fail_msg("%s", cases[i].pass);
        const struct proxy_options options = {.pass = &pass, .pass_n = 1};
        if (proxy_passes(&options, span_str(cases[i].host), cases[i].port) != cases[i].yes)
            fail_msg("%s, %s:%u", cases[i].pass, cases[i].host, cases[i].port);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        check_problem(proxy_pass_parse(bad[i], &pass, &problem), &problem, bad[i],
                      "--pass wants HOST[:PORT], where HOST may begin with \"*.\", not \"");
    const struct proxy_options none = {.pass_n = 0};
    assert_false(proxy_passes(&none, SPAN("a"), 1));
    struct proxy_pass two[2];
    assert_int_equal(proxy_pass_parse("a", &two[0], &problem), ERR_OK);
    assert_int_equal(proxy_pass_parse("b:2", &two[1], &problem), ERR_OK);
    const struct proxy_options both = {.pass = two, .pass_n = 2};
    assert_true(proxy_passes(&both, SPAN("a"), 1) && proxy_passes(&both, SPAN("b"), 2) &&
                !proxy_passes(&both, SPAN("b"), 1));
    buf_free(&problem);
}

static void test_connect_to(void **state)
{
    static const struct {
        const char *text, *host, *to_host;
        unsigned port, to_port;
    } good[] = {
        {"a:80:b:8080", "a", "b", 80, 8080},
        {"a::b:", "a", "b", 0, 0},
        {":80::8080", "", "", 80, 8080},
        {":::", "", "", 0, 0},
        {"[::1]:443:[2001:db8::1]:8443", "::1", "2001:db8::1", 443, 8443},
        {"a:443:127.0.0.1:1", "a", "127.0.0.1", 443, 1},
        {HOST_255 ":1:" HOST_255 ":65535", HOST_255, HOST_255, 1, 65535},
    };
    static const char *const bad[] = {
        "",
        "a",
        "a:80",
        "a:80:b",
        "a:80:b:80:",
        "a:80:b:80:c",
        "::",
        "a:x:b:1",
        "a:0:b:1",
        "a:1:b:65536",
        "a:-1:b:1",
        "[::1:1:b:1",
        "[::1]x:1:b:1",
        "::1:80:b:80",
        "a:[80]:b:80",
        "a:80:b:[80]",
        "http://a:80:b:80",
        HOST_255 "a:1:b:1",
        "a:1:" HOST_255 "b:1",
    };
    struct network_map map;
    struct buf problem = BUF_INIT;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        if (network_map_parse(good[i].text, &map, &problem))
            fail_msg("%s", good[i].text);
        assert_string_equal(map.host, good[i].host);
        assert_string_equal(map.to_host, good[i].to_host);
        assert_int_equal(map.port, good[i].port);
        assert_int_equal(map.to_port, good[i].to_port);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        check_problem(network_map_parse(bad[i], &map, &problem), &problem, bad[i],
                      "--connect-to wants HOST:PORT:ADDR:PORT (parts may be empty), not \"");
    buf_free(&problem);
}

static void test_upstream(void **state)
{
    static const struct {
        const char *text, *host, *credentials;
        unsigned port;
    } good[] = {
        {"http://proxy:3128", "proxy", "", 3128},
        {"http://proxy", "proxy", "", 80},
        {"HTTP://proxy/", "proxy", "", 80},
        {"http://[::1]:8080", "::1", "", 8080},
        {"http://user:pass@proxy:1", "proxy", "dXNlcjpwYXNz", 1},
        {"http://us%65r:p%40ss@proxy:1/", "proxy", "dXNlcjpwQHNz", 1},
        {"http://user@proxy:1", "proxy", "dXNlcg==", 1},
        {"http://@proxy:1", "proxy", "", 1},
    };
    static const char *const bad[] = {"",           "proxy:3128",        "https://proxy",  "socks5://proxy",
                                      "http://",    "http://proxy/path", "http://proxy?x", "http://proxy/?x",
                                      "http://a b", "http://a@b@c",      "http://proxy:0", "http://" HOST_255 "a"};
    struct network_upstream up;
    struct buf problem = BUF_INIT;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        if (network_upstream_parse(good[i].text, &up, &problem))
            fail_msg("%s", good[i].text);
        assert_string_equal(up.host, good[i].host);
        assert_string_equal(up.credentials, good[i].credentials);
        assert_int_equal(up.port, good[i].port);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        check_problem(network_upstream_parse(bad[i], &up, &problem), &problem, bad[i],
                      "--upstream wants http://[USER:PASSWORD@]HOST:PORT");
    /* A secret is not repeated in the sentence. */
    const char *long_one = "http://" HOST_255 ":" HOST_255 "@proxy:1";
    check_problem(network_upstream_parse(long_one, &up, &problem), &problem, "long",
                  "--upstream: the user name and password are too long");
    assert_int_equal(network_upstream_parse("ftp://user:secret@proxy", &up, &problem), ERR_USAGE);
    assert_int_equal(span_search(buf_span(&problem), SPAN("secret")), problem.n);
    buf_clear(&problem);
    for (long n = 0; n < 2; n++) {
        mem_fail_after(n);
        assert_int_equal(network_upstream_parse("http://user:pass@proxy:1", &up, &problem), ERR_NOMEM);
        mem_fail_after(-1);
    }
    buf_free(&problem);
}

static void test_client_certificates(void **state)
{
    static const struct {
        const char *text, *host, *file;
        unsigned port;
    } good[] = {
        {"a=b.pem", "a", "b.pem", 0},
        {"*.a.example:8443=/x/y=z.pem", "*.a.example", "/x/y=z.pem", 8443},
        {"[::1]:443==", "::1", "=", 443},
        {"*=x", "*", "x", 0},
    };
    static const char *const bad[] = {"",      "a",      "=",     "a=",         "=b.pem",
                                      "a b=c", "a*.b=c", "a:0=b", "http://a=b", HOST_255 "a=b"};
    struct network_certificate out;
    struct buf problem = BUF_INIT;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(good); i++) {
        if (network_certificate_parse(good[i].text, &out, &problem))
            fail_msg("%s", good[i].text);
        assert_string_equal(out.where.host, good[i].host);
        assert_string_equal(out.file, good[i].file);
        assert_int_equal(out.where.port, good[i].port);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++)
        check_problem(network_certificate_parse(bad[i], &out, &problem), &problem, bad[i], "--client-cert wants ");
    buf_free(&problem);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_client_certificates), cmocka_unit_test(test_reverse),  cmocka_unit_test(test_pass),
        cmocka_unit_test(test_connect_to),          cmocka_unit_test(test_upstream),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
