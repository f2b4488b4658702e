/* test_refusals.c: who is passed without interception, and who is not: by client, track, host, port and name; after how many silent leaves; within
 * bounds, and from several threads. */
#include "base/limits.h"
#include "base/util.h"
#include "proxy/refusals.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include <cmocka.h>

static struct refusal who(const char *client, const char *track, const char *host, unsigned port, const char *name)
{
    return (struct refusal){span_str(client), span_str(track), span_str(host), port, span_str(name)};
}

static int set_up(void **state)
{
    struct refusals *r;
    assert_int_equal(refusals_create(&r), ERR_OK);
    *state = r;
    return 0;
}

static int tear_down(void **state)
{
    struct refusals *r = *state;
    refusals_destroy(&r);
    assert_null(r);
    refusals_destroy(&r);
    return 0;
}

static void test_one_refusal_passes_that_client_and_host_alone(void **state)
{
    struct refusals *r = *state;
    struct refusal it = who("192.0.2.1", "login", "a.example", 443, "a.example");
    assert_false(refusals_passes(r, &it));
    assert_true(refusals_add(r, &it, true));
    assert_true(refusals_passes(r, &it));
    assert_true(refusals_add(r, &it, true)); /* a second worker's, at the same time */
    const struct refusal same = who("192.0.2.1", "login", "A.Example", 443, "A.EXAMPLE"),
                         others[] = {
                             who("192.0.2.2", "login", "a.example", 443, "a.example"),
                             who("192.0.2.1", "logout", "a.example", 443, "a.example"),
                             who("192.0.2.1", "login", "b.example", 443, "a.example"),
                             who("192.0.2.1", "login", "a.example", 444, "a.example"),
                             who("192.0.2.1", "login", "a.example", 443, ""),
                             who("192.0.2.1", "Login", "a.example", 443, "a.example"),
                             who("192.0.2.1login", "", "a.example", 443, "a.example"),
                             who("", "", "", 0, ""),
                         };
    assert_true(refusals_passes(r, &same));
    for (size_t i = 0; i < ARRAY_LEN(others); i++)
        if (refusals_passes(r, &others[i]))
            fail_msg("the one at %zu is passed, too", i);
}

static void test_leaving_in_silence_counts_when_it_is_repeated(void **state)
{
    struct refusals *r = *state;
    struct refusal it = who("::1", "", "a.example", 443, ""), other = who("::1", "", "b.example", 443, "");
    for (int i = 1; i < LIMIT_SILENT_REFUSALS; i++) {
        assert_false(refusals_add(r, &it, false));
        assert_false(refusals_passes(r, &it));
    }
    assert_false(refusals_add(r, &other, false));
    assert_true(refusals_add(r, &it, false));
    assert_true(refusals_passes(r, &it));
    assert_false(refusals_passes(r, &other));
}

static void test_hosts_that_are_trusted(void **state)
{
    struct refusals *r = *state;
    assert_false(refusals_is_trusted(r, SPAN("a.example")));
    refusals_trust(r, SPAN("a.example"));
    assert_true(refusals_is_trusted(r, SPAN("A.example")));
    assert_false(refusals_is_trusted(r, SPAN("b.example")));
    assert_false(refusals_is_trusted(r, SPAN_EMPTY));
}

static void test_a_line_is_written_once(void **state)
{
    struct refusals *r = *state;
    assert_true(refusals_first(r, SPAN("passed a.example")));
    assert_false(refusals_first(r, SPAN("passed a.example")));
    assert_true(refusals_first(r, SPAN("refused a.example")));
}

/* Any number of hosts, and the latest are known: as many as there are places, a few that share a bucket apart. */
static void test_what_is_remembered_is_bounded_and_the_latest(void **state)
{
    struct refusals *r = *state;
    char host[32];
    size_t known = 0, first = 0;
    enum { HOSTS = 20 * LIMIT_AUTO_PASS, LATEST = LIMIT_AUTO_PASS / 8 };
    for (int i = 0; i < HOSTS; i++) {
        snprintf(host, sizeof host, "h%d.example", i);
        struct refusal it = who("192.0.2.1", "", host, 443, host);
        assert_true(refusals_add(r, &it, true));
        assert_true(refusals_passes(r, &it));
    }
    for (int i = 0; i < HOSTS; i++) {
        snprintf(host, sizeof host, "h%d.example", i);
        struct refusal it = who("192.0.2.1", "", host, 443, host);
        known += refusals_passes(r, &it);
        first += i >= HOSTS - LATEST && refusals_passes(r, &it);
    }
    assert_true(known <= LIMIT_AUTO_PASS);
    assert_true(first > LATEST * 9 / 10);
}

struct thread {
    struct refusals *r;
    pthread_t id;
    int number, passes;
};

static void *run(void *arg)
{
    struct thread *t = arg;
    char host[32];
    for (int i = 0; i < 200; i++) {
        snprintf(host, sizeof host, "h%d.example", i % 20);
        struct refusal it = who("192.0.2.1", "", host, 443, host);
        (void)refusals_add(t->r, &it, (i + t->number) % 2 == 0);
        refusals_trust(t->r, span_str(host));
        t->passes += refusals_passes(t->r, &it) && refusals_is_trusted(t->r, span_str(host));
        (void)refusals_first(t->r, span_str(host));
    }
    return NULL;
}

static void test_several_threads(void **state)
{
    struct thread threads[4] = {{.r = *state}};
    for (int i = 0; i < 4; i++) {
        threads[i] = (struct thread){.r = *state, .number = i};
        assert_int_equal(pthread_create(&threads[i].id, NULL, run, &threads[i]), 0);
    }
    for (int i = 0; i < 4; i++) {
        assert_int_equal(pthread_join(threads[i].id, NULL), 0);
        assert_true(threads[i].passes > 100);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_one_refusal_passes_that_client_and_host_alone, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_leaving_in_silence_counts_when_it_is_repeated, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_hosts_that_are_trusted, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_a_line_is_written_once, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_what_is_remembered_is_bounded_and_the_latest, set_up, tear_down),
        cmocka_unit_test_setup_teardown(test_several_threads, set_up, tear_down),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
