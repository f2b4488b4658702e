/* Leaves: byte by byte, through openssl's strict verifier, refused names, the cache and its threads. */
#include "pair.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "tls/pem.h"
#include "tls/x509.h"

#include <pthread.h>
#include <sys/wait.h>

/* The whole of a certificate for api.example.com, *.example.com, 10.0.0.1 and ::1 at 1795000000, but for serial, CA's number, keys and
 * signature, which are dots. */
static const char expected[] =
    "308201aaa0030201020210................................300a06082a8648ce3d0403023032"
    "3111300f060355040a0c0872696e6774617065311d301b06035504030c1472696e677461706520434120................"
    "301e170d3236313131363131303634305a170d3237303630333131303634305a"
    "301a3118301606035504030c0f6170692e6578616d706c652e636f6d"
    "3059301306072a8648ce3d020106082a8648ce3d03010703420004"
    "................................................................................................................................"
    "a381b93081b6300c0603551d130101ff04023000300e0603551d0f0101ff04040302078030130603551d25040c300a06082b06010505070301"
    "301d0603551d0e04160414........................................"
    "301f0603551d23041830168014........................................"
    "30410603551d11043a3038820f6170692e6578616d706c652e636f6d820d2a2e6578616d706c652e636f6d87040a000001"
    "871000000000000000000000000000000001300a06082a8648ce3d04030203";

static void test_bytes(void **state)
{
    struct world *w = *state;
    struct buf der = BUF_INIT;
    struct span more = SPAN("*.example.com\0"
                            "10.0.0.1\0"
                            "bad name\0"
                            "\0"
                            "::1\0"
                            "API.example.com\0"
                            "10.0.0.1");
    assert_int_equal(leaf_mint(w->leaves, SPAN("api.example.com"), more, 1795000000, &der), ERR_OK);
    const uint8_t *p = buf_span(&der).p;
    assert_true(p[0] == 0x30 && p[1] == 0x82 && (size_t)(p[2] << 8 | p[3]) == der.n - 4);
    for (size_t i = 0; i < (sizeof expected - 1) / 2; i++) {
        char hex[3];
        snprintf(hex, sizeof hex, "%02x", p[4 + i]);
        if (expected[2 * i] != '.' && memcmp(hex, expected + 2 * i, 2) != 0)
            fail_msg("byte %zu is %s, not %.2s", i, hex, expected + 2 * i);
    }
    assert_true(p[15] > 0 && p[15] < 0x80); /* the serial is positive */
    buf_free(&der);
}

static char long_host[254];

static const struct {
    const char *host, *more, *check;
} names[] = {
    {"example.com", "", "-verify_hostname example.com"},
    {"EXAMPLE.com.", "", "-verify_hostname example.com"},
    {"*.example.com", "", "-verify_hostname www.example.com"},
    {"example.com", "*.example.net", "-verify_hostname www.example.net"},
    {"127.0.0.1", "", "-verify_ip 127.0.0.1"},
    {"::1", "", "-verify_ip ::1"},
    {"[2001:DB8::1]", "", "-verify_ip 2001:db8::1"},
    {"xn--bcher-kva.example", "", "-verify_hostname xn--bcher-kva.example"},
    {"localhost", "", "-verify_hostname localhost"},
    {"a_b.example.com", "", "-verify_hostname a_b.example.com"},
    {long_host, "", NULL},
};

static void test_openssl_strict(void **state)
{
    struct world *w = *state;
    char path[96], command[1024], check[300];
    snprintf(path, sizeof path, "%s/leaf.pem", w->dir);
    for (size_t i = 0; i < sizeof long_host - 1; i++)
        long_host[i] = i % 60 == 59 ? '.' : (char)('a' + i % 26);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        struct buf der = BUF_INIT, pem = BUF_INIT;
        struct span more = span_of(names[i].more, strlen(names[i].more) ? strlen(names[i].more) + 1 : 0);
        assert_int_equal(leaf_mint(w->leaves, span_str(names[i].host), more, clock_wall_ns() / NS_PER_S, &der), ERR_OK);
        assert_int_equal(pem_put(&pem, "CERTIFICATE", buf_span(&der)), ERR_OK);
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        fwrite(buf_span(&pem).p, 1, pem.n, f);
        fclose(f);
        snprintf(check, sizeof check, "-verify_hostname %s", long_host);
        snprintf(command, sizeof command,
                 "openssl verify -x509_strict -purpose sslserver %s -CAfile %s/ca.pem %s >/dev/null",
                 names[i].check ? names[i].check : check, w->dir, path);
        int status = system(command);
        if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
            fail_msg("%s", command);
        struct x509 fields;
        assert_int_equal(x509_parse(buf_span(&der), &fields), ERR_OK);
        assert_int_equal(fields.not_after - fields.not_before, 199 * 86400);
        assert_true(x509_matches(&fields, span_str(names[i].host)) || names[i].host[0] == '*');
        buf_free(&der);
        buf_free(&pem);
    }
}

static void test_refused_names(void **state)
{
    static const char *const bad[] = {"",           ".",          "..",          "a..b",
                                      "-a.example", "a-.example", "a b",         "*",
                                      "*.",         "a.*.b",      "f*o.example", "1.2.3.4.5.",
                                      "[]",         "[::1",       "::g",         "exa\xc3\xa4mple.com",
                                      "a/b",        "a:443"};
    struct world *w = *state;
    struct leaf *leaf;
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        if (strcmp(bad[i], "1.2.3.4.5.") == 0)
            continue; /* a DNS name, strange as it is */
        if (leaf_get(w->leaves, span_str(bad[i]), SPAN_EMPTY, &leaf) != ERR_PARSE)
            fail_msg("%s was taken", bad[i]);
        assert_null(leaf);
    }
    assert_int_equal(leaf_get(w->leaves, span_of("a\0b", 3), SPAN_EMPTY, &leaf), ERR_PARSE);
    char host[300];
    memset(host, 'a', sizeof host);
    for (size_t i = 50; i < sizeof host; i += 50)
        host[i] = '.';
    assert_int_equal(leaf_get(w->leaves, span_of(host, 254), SPAN_EMPTY, &leaf), ERR_PARSE);
    assert_int_equal(leaf_get(w->leaves, span_of(host, 299), SPAN_EMPTY, &leaf), ERR_PARSE);
    assert_int_equal(leaf_get(w->leaves, span_of(host, 253), SPAN_EMPTY, &leaf), ERR_OK);
    leaf_unref(&leaf);
}

/* A hundred names at most; the origin's may be any number. */
static void test_many_names(void **state)
{
    struct world *w = *state;
    struct buf more = BUF_INIT, der = BUF_INIT, out = BUF_INIT;
    for (int i = 0; i < 300; i++)
        assert_int_equal(buf_printf(&more, "h%d.example.com%c", i, 0), ERR_OK);
    assert_int_equal(leaf_mint(w->leaves, SPAN("first.example.com"), buf_span(&more), 1795000000, &der), ERR_OK);
    assert_int_equal(tls_certificate_names(buf_span(&der), &out), ERR_OK);
    size_t n = 0;
    for (size_t i = 0; i < out.n; i++)
        n += buf_span(&out).p[i] == 0;
    assert_int_equal(n, 100);
    assert_true(span_starts_with(buf_span(&out), SPAN("first.example.com\0h0.example.com\0")));
    buf_free(&more);
    buf_free(&der);
    buf_free(&out);
}

static void test_cache(void **state)
{
    struct world *w = *state;
    struct leaf *a, *b;
    assert_int_equal(leaf_get(w->leaves, SPAN("one.example.com"), SPAN_EMPTY, &a), ERR_OK);
    assert_int_equal(leaf_get(w->leaves, SPAN("one.example.com"), SPAN_EMPTY, &b), ERR_OK);
    assert_ptr_equal(a, b);
    leaf_unref(&b);
    assert_int_equal(leaf_get(w->leaves, SPAN("one.example.com"), SPAN("two.example.com\0"), &b), ERR_OK);
    assert_ptr_not_equal(a, b);
    leaf_unref(&b);
    char host[40];
    for (int i = 0; i < 40; i++) {
        snprintf(host, sizeof host, "h%d.example.com", i);
        assert_int_equal(leaf_get(w->leaves, span_str(host), SPAN_EMPTY, &b), ERR_OK);
        leaf_unref(&b);
    }
    /* Out of the cache, and alive as long as it is held. */
    assert_true(leaf_der(a).n > 300);
    assert_int_equal(leaf_get(w->leaves, SPAN("one.example.com"), SPAN_EMPTY, &b), ERR_OK);
    assert_ptr_not_equal(a, b);
    leaf_unref(&a);
    leaf_unref(&b);
}

struct work {
    struct world *w;
    unsigned seed;
    int failures;
};

/* Handshakes of its own over leaves, tickets and sessions that all threads share. */
static void *worker(void *arg)
{
    struct work *work = arg;
    for (int i = 0; i < 60; i++) {
        char host[40];
        snprintf(host, sizeof host, "t%d.example.com", (int)((work->seed + (unsigned)i * 7) % 24));
        struct end c = {0}, s = {0};
        struct leaf *leaf;
        if (leaf_get(work->w->leaves, span_str(host), SPAN_EMPTY, &leaf) ||
            tls_accept(&s.tls, work->w->server, leaf, SPAN("h2"), &end_events, &s) ||
            tls_connect(&c.tls, work->w->client, span_str(host), 443, SPAN("\2h2"), &end_events, &c) ||
            tls_start(c.tls)) {
            work->failures++;
            return NULL;
        }
        leaf_unref(&leaf);
        pair_run(&c, &s, SIZE_MAX);
        work->failures += c.established + s.established != 2;
        end_free(&c);
        end_free(&s);
    }
    return NULL;
}

static void test_threads(void **state)
{
    struct world *w = *state;
    pthread_t threads[4];
    struct work work[4];
    for (unsigned i = 0; i < ARRAY_LEN(threads); i++) {
        work[i] = (struct work){.w = w, .seed = i * 5};
        assert_int_equal(pthread_create(&threads[i], NULL, worker, &work[i]), 0);
    }
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        pthread_join(threads[i], NULL);
        assert_int_equal(work[i].failures, 0);
    }
}

static void test_no_memory(void **state)
{
    struct world *w = *state;
    for (long n = 0;; n++) {
        struct leaf *leaf = NULL;
        struct end c = {0}, s = {0};
        struct leaf_cache *leaves;
        mem_fail_after(n);
        enum err e = leaf_cache_create(&leaves, w->ca, 2, NULL);
        if (!e)
            e = leaf_get(leaves, SPAN("memory.example.com"), SPAN("x.example.com\0"), &leaf);
        if (!e)
            e = tls_accept(&s.tls, w->server, leaf, SPAN("h2"), &end_events, &s);
        if (!e)
            e = tls_connect(&c.tls, w->client, SPAN("memory.example.com"), 1, SPAN("\2h2"), &end_events, &c);
        mem_fail_after(-1);
        leaf_unref(&leaf);
        end_free(&c);
        end_free(&s);
        leaf_cache_destroy(&leaves);
        if (!e)
            break;
        assert_int_equal(e, ERR_NOMEM);
        assert_true(n < 1000);
    }
    /* During the handshake too: an error or success, nothing lost. */
    for (long n = 0; n < 60; n++) {
        struct end c, s;
        pair_open(w, &c, &s, "memory.example.com", SPAN_EMPTY, SPAN_EMPTY, 0);
        mem_fail_after(n);
        enum err e = tls_start(c.tls);
        c.error = e;
        if (!e)
            pair_run(&c, &s, SIZE_MAX);
        mem_fail_after(-1);
        pair_close(&c, &s);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bytes),      cmocka_unit_test(test_openssl_strict), cmocka_unit_test(test_refused_names),
        cmocka_unit_test(test_many_names), cmocka_unit_test(test_cache),          cmocka_unit_test(test_threads),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, world_open, world_close);
}
