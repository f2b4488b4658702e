/* test_h1_options.c: how much a Connection field may say: every option is compared with every field of a head that is passed on. */
#include "base/limits.h"
#include "http/h1.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

static enum err any_head(void *ctx, const struct head *head, const struct h1_message *message)
{
    (void)head;
    *(bool *)ctx = message->keep_alive;
    return ERR_OK;
}

static enum err any_body(void *ctx, struct span bytes)
{
    (void)ctx;
    (void)bytes;
    return ERR_OK;
}

static enum err any_end(void *ctx)
{
    (void)ctx;
    return ERR_OK;
}

/* Two lines with `n` options in all, among empty elements, which do not count. */
static enum err feed(enum h1_role role, unsigned n, const char **why)
{
    static const struct h1_events events = {.head = any_head, .body = any_body, .end = any_end};
    struct buf wire = BUF_INIT;
    struct h1 *codec;
    bool keep_alive = true;
    assert_int_equal(buf_put_str(&wire, role == H1_SERVER
                                            ? "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nConnection: "
                                            : "HTTP/1.1 204 No Content\r\nConnection: close\r\nConnection: "),
                     ERR_OK);
    for (unsigned i = 1; i < n; i++)
        assert_int_equal(buf_put_str(&wire, "a,, ,"), ERR_OK);
    assert_int_equal(buf_put_str(&wire, "\r\n\r\n"), ERR_OK);
    assert_int_equal(h1_create(&codec, role, &events, &keep_alive), ERR_OK);
    size_t used;
    enum err e = h1_feed(codec, buf_span(&wire), &used);
    *why = h1_error(codec);
    assert_true(e || !keep_alive);
    h1_destroy(&codec);
    buf_free(&wire);
    return e;
}

static void test_options_are_counted(void **state)
{
    (void)state;
    const char *why;
    for (enum h1_role role = H1_SERVER; role <= H1_CLIENT; role++) {
        assert_int_equal(feed(role, LIMIT_HEADERS, &why), ERR_OK);
        assert_int_equal(feed(role, LIMIT_HEADERS + 1, &why), ERR_LIMIT);
        assert_string_equal(why, "too many options in Connection");
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_options_are_counted)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
