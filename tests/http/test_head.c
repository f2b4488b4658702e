/* test_head.c: fields and heads: order and case, finding, editing, copying, limits, failing allocations. */
#include "http/head.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "base/util.h"
#include "http/token.h"

#include <setjmp.h>
#include <stdarg.h>

#include <cmocka.h>

static void add(struct headers *h, const char *name, const char *value)
{
    assert_int_equal(headers_add(h, span_str(name), span_str(value)), ERR_OK);
}

static void check_list(const struct headers *h, const char *want)
{
    struct buf b = BUF_INIT;
    for (size_t i = 0; i < h->n; i++) {
        struct header f = headers_at(h, i);
        assert_int_equal(buf_printf(&b, "%.*s=%.*s;", (int)f.name.n, (const char *)f.name.p, (int)f.value.n,
                                    (const char *)f.value.p),
                         ERR_OK);
    }
    assert_string_equal(buf_cstr(&b), want);
    buf_free(&b);
}

static void test_list(void **state)
{
    (void)state;
    struct headers h = HEADERS_INIT, copy = HEADERS_INIT;
    struct span value;
    assert_false(headers_find(&h, SPAN("a"), &value));
    check_list(&h, "");
    add(&h, "Set-Cookie", "a=1");
    add(&h, "ACCEPT", "x, \"y, z\" ,W");
    add(&h, "set-cookie", "b=2");
    add(&h, "Empty", "");
    check_list(&h, "Set-Cookie=a=1;ACCEPT=x, \"y, z\" ,W;set-cookie=b=2;Empty=;");
    assert_true(headers_find(&h, SPAN("SET-COOKIE"), &value));
    assert_true(span_eq(value, SPAN("a=1")));
    assert_true(headers_has_token(&h, SPAN("accept"), SPAN("w")));
    assert_true(headers_has_token(&h, SPAN("accept"), SPAN("\"y, z\"")));
    assert_false(headers_has_token(&h, SPAN("accept"), SPAN("z\"")));
    assert_false(headers_has_token(&h, SPAN("empty"), SPAN("")));
    assert_int_equal(headers_copy(&copy, &h), ERR_OK);
    assert_int_equal(headers_remove(&h, SPAN("set-Cookie")), 2);
    check_list(&h, "ACCEPT=x, \"y, z\" ,W;Empty=;");
    assert_int_equal(headers_set(&h, SPAN("accept"), SPAN("q")), ERR_OK);
    assert_int_equal(headers_set(&h, SPAN("New"), SPAN("n")), ERR_OK);
    check_list(&h, "ACCEPT=q;Empty=;New=n;");
    check_list(&copy, "Set-Cookie=a=1;ACCEPT=x, \"y, z\" ,W;set-cookie=b=2;Empty=;");
    /* What lies in the list itself may be added to it. */
    for (size_t i = 0; i < 200; i++)
        assert_int_equal(headers_add(&copy, headers_at(&copy, i).name, headers_at(&copy, i / 2).value), ERR_OK);
    assert_true(span_eq(headers_at(&copy, 203).value, headers_at(&copy, 99).value));
    assert_int_equal(headers_set(&copy, headers_at(&copy, 0).name, headers_at(&copy, 0).value), ERR_OK);
    assert_int_equal(headers_set(&copy, SPAN("SET-COOKIE"), SPAN("c")), ERR_OK);
    assert_true(span_eq(headers_at(&copy, 0).name, SPAN("Set-Cookie")) &&
                span_eq(headers_at(&copy, 0).value, SPAN("c")));
    assert_true(span_eq(headers_at(&copy, 1).name, SPAN("ACCEPT")));
    assert_int_equal(headers_remove(&copy, SPAN("set-cookie")), 1);
    headers_clear(&h);
    check_list(&h, "");
    headers_free(&h);
    headers_free(&copy);
    headers_free(&copy);
}

static void test_limits(void **state)
{
    (void)state;
    struct headers h = HEADERS_INIT;
    for (size_t i = 0; i < LIMIT_HEADERS; i++)
        add(&h, "a", "b");
    assert_int_equal(headers_add(&h, SPAN("a"), SPAN("b")), ERR_LIMIT);
    assert_int_equal(headers_set(&h, SPAN("new"), SPAN("b")), ERR_LIMIT);
    assert_int_equal(h.n, LIMIT_HEADERS);
    assert_int_equal(headers_set(&h, SPAN("a"), SPAN("c")), ERR_OK);
    check_list(&h, "a=c;");
    struct buf big = BUF_INIT;
    for (size_t i = 0; i < LIMIT_HEAD_BYTES; i++)
        assert_int_equal(buf_put_byte(&big, 'x'), ERR_OK);
    assert_int_equal(headers_add(&h, SPAN("b"), buf_span(&big)), ERR_LIMIT);
    headers_clear(&h);
    assert_int_equal(headers_add(&h, SPAN("b"), span_from(buf_span(&big), 1)), ERR_OK);
    assert_int_equal(headers_add(&h, SPAN("c"), SPAN("")), ERR_LIMIT);
    /* What was replaced does not count, until the waste is too much. */
    for (size_t i = 0; i < 3; i++)
        assert_int_equal(headers_set(&h, SPAN("b"), SPAN("y")), ERR_OK);
    add(&h, "c", "d");
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < 10; i++)
        e = headers_set(&h, SPAN("b"), span_from(buf_span(&big), 100));
    assert_int_equal(e, ERR_LIMIT);
    assert_int_equal(h.n, 2);
    buf_free(&big);
    headers_free(&h);
}

static void set(struct head *h, struct slice *slot, const char *text)
{
    assert_int_equal(head_set(h, slot, span_str(text)), ERR_OK);
}

static void test_head_copy(void **state)
{
    (void)state;
    struct head a = HEAD_INIT, b = HEAD_INIT;
    head_clear(&a, HEAD_RESPONSE);
    a.status = 404;
    set(&a, &a.reason, "Not Found");
    set(&a, &a.version, "HTTP/1.1");
    add(&a.headers, "X", "y");
    assert_int_equal(head_copy(&b, &a), ERR_OK);
    head_clear(&a, HEAD_REQUEST);
    assert_int_equal(a.status, 0);
    set(&a, &a.method, "overwrites the block");
    assert_int_equal(b.status, 404);
    assert_int_equal(b.kind, HEAD_RESPONSE);
    assert_true(span_eq(head_span(&b, b.reason), SPAN("Not Found")));
    check_list(&b.headers, "X=y;");
    assert_int_equal(head_copy(&b, &b), ERR_OK);
    for (long n = 0; n < 3; n++) {
        struct head c = HEAD_INIT;
        mem_fail_after(n);
        enum err e = head_copy(&c, &b);
        mem_fail_after(-1);
        assert_int_equal(e, n < 2 ? ERR_NOMEM : ERR_OK);
        head_free(&c);
    }
    head_free(&a);
    head_free(&b);
}

static void test_url_of_head(void **state)
{
    (void)state;
    static const struct {
        const char *method, *scheme, *host, *path;
        unsigned port;
        const char *want;
    } cases[] = {
        {"GET", "https", "a", "/x?y", 443, "https://a/x?y"},
        {"GET", "http", "a", "/", 443, "http://a:443/"},
        {"GET", "http", "a", "/", 0, "http://a/"},
        {"GET", "", "a", "/", 80, "http://a/"},
        {"GET", "https", "::1", "/", 8443, "https://[::1]:8443/"},
        {"OPTIONS", "http", "a", "*", 80, "http://a"},
        {"CONNECT", "", "a", "", 443, "a:443"},
        {"CONNECT", "https", "::1", "", 443, "[::1]:443"},
    };
    struct head h = HEAD_INIT;
    struct buf b = BUF_INIT;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        head_clear(&h, HEAD_REQUEST);
        buf_clear(&b);
        set(&h, &h.method, cases[i].method);
        set(&h, &h.scheme, cases[i].scheme);
        set(&h, &h.host, cases[i].host);
        set(&h, &h.path, cases[i].path);
        h.port = cases[i].port;
        assert_int_equal(head_url(&h, &b), ERR_OK);
        assert_string_equal(buf_cstr(&b), cases[i].want);
    }
    buf_free(&b);
    head_free(&h);
}

static void test_hop_by_hop(void **state)
{
    (void)state;
    struct headers h = HEADERS_INIT;
    static const char *const always[] = {"Connection",          "keep-alive",
                                         "PROXY-connection",    "Proxy-Authenticate",
                                         "proxy-authorization", "Proxy-Authentication-Info",
                                         "Transfer-Encoding",   "Upgrade"};
    for (size_t i = 0; i < ARRAY_LEN(always); i++)
        assert_true(head_is_hop_by_hop(&h, span_str(always[i])));
    assert_false(head_is_hop_by_hop(&h, SPAN("X-Foo")));
    assert_false(head_is_hop_by_hop(&h, SPAN("Trailer")));
    assert_false(head_is_hop_by_hop(&h, SPAN("")));
    add(&h, "Connection", "close, x-foo");
    add(&h, "TE", "trailers");
    assert_true(head_is_hop_by_hop(&h, SPAN("X-Foo")));
    assert_false(head_is_hop_by_hop(&h, SPAN("TE")));
    add(&h, "te", "gzip");
    assert_true(head_is_hop_by_hop(&h, SPAN("TE")));
    headers_free(&h);
}

/* One element goes, what is around it stays; the line with it when it was alone. */
static void test_remove_token(void **state)
{
    static const struct {
        const char *value, *left; /* NULL: the line goes */
        size_t removed;
    } cases[] = {
        {"h2c", NULL, 1},
        {" H2C ", NULL, 1},
        {"h2c, h2c", NULL, 2},
        {",h2c,", NULL, 1},
        {"websocket, h2c", "websocket", 1},
        {"h2c, websocket", "websocket", 1},
        {"a, h2c, b", "a,b", 1},
        {"a,h2c,b,c", "a,b,c", 1},
        {"a ,\t h2c , b", "a,b", 1},
        {"\"a, h2c\", h2c", "\"a, h2c\"", 1},
        {"websocket, h2", "websocket, h2", 0},
        {"h2c/1", "h2c/1", 0},
        {"\"h2c\"", "\"h2c\"", 0},
        {"", "", 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct headers h = HEADERS_INIT;
        struct buf wanted = BUF_INIT;
        add(&h, "First", "h2c");
        add(&h, "Upgrade", cases[i].value);
        add(&h, "upgrade", "other, h2c");
        add(&h, "Last", "x, h2c");
        assert_int_equal(headers_remove_token(&h, SPAN("UPGRADE"), SPAN("h2c")), cases[i].removed + 1);
        assert_int_equal(buf_printf(&wanted, "First=h2c;%s%s%supgrade=other;Last=x, h2c;",
                                    cases[i].left ? "Upgrade=" : "", cases[i].left ? cases[i].left : "",
                                    cases[i].left ? ";" : ""),
                         ERR_OK);
        check_list(&h, buf_cstr(&wanted));
        headers_free(&h);
        buf_free(&wanted);
    }
    struct headers none = HEADERS_INIT;
    assert_int_equal(headers_remove_token(&none, SPAN("Upgrade"), SPAN("h2c")), 0);
}

/* The word-wise scans must agree with the plain definition at every offset and for every byte. */
static void test_scans(void **state)
{
    (void)state;
    for (size_t n = 0; n <= 24; n++) {
        for (size_t at = 0; at < n; at++) {
            for (unsigned c = 0; c < 256; c++) {
                uint8_t text[24];
                memset(text, 'x', sizeof text);
                text[at] = (uint8_t)c;
                assert_int_equal(token_line_safe(span_of(text, n)), c != 0 && c != '\r' && c != '\n');
                assert_int_equal(token_graphic(span_of(text, n)), c > ' ' && c != 0x7f);
            }
        }
    }
    assert_true(token_line_safe(SPAN("\t\t\t\t\t\t\t\t\x80\xff\t\x0b")));
    assert_false(token_valid(SPAN("")));
    assert_true(token_valid(SPAN("!#$%&'*+-.^_`|~09AZaz")));
    for (unsigned c = 0; c < 256; c++)
        if (c <= ' ' || c >= 0x7f || strchr("\"(),/:;<=>?@[\\]{}", (int)c))
            assert_false(token_char((uint8_t)c));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_list),         cmocka_unit_test(test_limits),     cmocka_unit_test(test_head_copy),
        cmocka_unit_test(test_url_of_head),  cmocka_unit_test(test_hop_by_hop), cmocka_unit_test(test_scans),
        cmocka_unit_test(test_remove_token),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
