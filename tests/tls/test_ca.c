/* The CA's files: made once, opened again, misused in every way; DER and PEM; the trust store. */
#include "pair.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/log.h"
#include "tls/ca_internal.h"
#include "tls/der.h"
#include "tls/pem.h"
#include "tls/x509.h"

#include <pthread.h>
#include <sys/stat.h>
#include <sys/wait.h>

struct folder {
    char dir[64];
    char key[96], certificate[96];
};

static int folder_open(void **state)
{
    struct folder *f = calloc(1, sizeof *f);
    assert_non_null(f);
    make_folder(f->dir, sizeof f->dir);
    snprintf(f->key, sizeof f->key, "%s/ca-key.pem", f->dir);
    snprintf(f->certificate, sizeof f->certificate, "%s/ca.pem", f->dir);
    *state = f;
    return 0;
}

static int folder_close(void **state)
{
    struct folder *f = *state;
    remove_tree(f->dir);
    free(f);
    return 0;
}

static void write_file(const char *path, struct span content, mode_t mode)
{
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    assert_int_equal(fwrite(content.p ? content.p : (const uint8_t *)"", 1, content.n, out), content.n);
    fclose(out);
    assert_int_equal(chmod(path, mode), 0);
}

static void read_file(const char *path, struct buf *out)
{
    FILE *in = fopen(path, "r");
    assert_non_null(in);
    char block[4096];
    size_t n;
    while ((n = fread(block, 1, sizeof block, in)) > 0)
        assert_int_equal(buf_put(out, span_of(block, n)), ERR_OK);
    fclose(in);
}

static int run(const char *format, ...) __attribute__((format(printf, 1, 2)));

static int run(const char *format, ...)
{
    char command[1024];
    va_list args;
    va_start(args, format);
    vsnprintf(command, sizeof command, format, args);
    va_end(args);
    int status = system(command);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void expect_open(const struct folder *f, enum err want, const char *word)
{
    struct ca *ca;
    struct buf problem = BUF_INIT;
    enum err e = ca_open(&ca, f->dir, &problem);
    const char *text = buf_cstr(&problem);
    if (e != want || (want && (!text || !strstr(text, word))))
        fail_msg("%s: %s", err_word(e), text ? text : "");
    assert_true((ca == NULL) == (want != ERR_OK));
    ca_close(&ca);
    buf_free(&problem);
}

static void test_made_once(void **state)
{
    struct folder *f = *state;
    struct folder deep = *f;
    snprintf(deep.dir, sizeof deep.dir, "%.40s/a/b", f->dir);
    struct ca *one, *two;
    struct buf problem = BUF_INIT, text = BUF_INIT;
    assert_int_equal(ca_open(&one, deep.dir, &problem), ERR_OK);
    assert_int_equal(ca_open(&two, deep.dir, &problem), ERR_OK);
    assert_true(span_eq(ca_certificate_der(one), ca_certificate_der(two)));
    assert_true(span_starts_with(ca_certificate_pem(one), SPAN("-----BEGIN CERTIFICATE-----\n")));
    assert_int_equal(ca_describe(one, &text), ERR_OK);
    assert_non_null(strstr(buf_cstr(&text), "ringtape CA "));
    assert_non_null(strstr(buf_cstr(&text), "SHA-256 fingerprint "));
    struct stat st;
    char path[128];
    snprintf(path, sizeof path, "%s/ca-key.pem", deep.dir);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(stat(deep.dir, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
    ca_close(&two);
    assert_int_equal(ca_renew(&two, deep.dir, &problem), ERR_OK);
    assert_false(span_eq(ca_certificate_der(one), ca_certificate_der(two)));
    snprintf(path, sizeof path, "%s/ca.pem.old", deep.dir);
    buf_clear(&text);
    read_file(path, &text);
    assert_true(span_eq(buf_span(&text), ca_certificate_pem(one)));
    ca_close(&one);
    assert_int_equal(ca_open(&one, deep.dir, &problem), ERR_OK);
    assert_true(span_eq(ca_certificate_der(one), ca_certificate_der(two)));
    ca_close(&one);
    ca_close(&two);
    buf_free(&problem);
    buf_free(&text);
}

static void *open_thread(void *arg)
{
    struct ca *ca;
    struct buf problem = BUF_INIT, *out = mem_new(1, sizeof *out);
    if (out && ca_open(&ca, arg, &problem) == ERR_OK) {
        enum err e = buf_put(out, ca_certificate_der(ca));
        (void)e;
        ca_close(&ca);
    }
    buf_free(&problem);
    return out;
}

/* Several that start at once make one CA. */
static void test_race(void **state)
{
    struct folder *f = *state;
    pthread_t threads[6];
    struct buf *got[6];
    for (size_t i = 0; i < ARRAY_LEN(threads); i++)
        assert_int_equal(pthread_create(&threads[i], NULL, open_thread, f->dir), 0);
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        void *result;
        pthread_join(threads[i], &result);
        got[i] = result;
        assert_non_null(result);
        assert_true(got[i]->n > 0);
        assert_true(span_eq(buf_span(got[0]), buf_span(got[i])));
    }
    for (size_t i = 0; i < ARRAY_LEN(threads); i++) {
        buf_free(got[i]);
        mem_free(got[i]);
    }
}

static void test_misuse(void **state)
{
    struct folder *f = *state;
    struct buf key = BUF_INIT, certificate = BUF_INIT;
    expect_open(f, ERR_OK, "");
    read_file(f->key, &key);
    read_file(f->certificate, &certificate);

    assert_int_equal(chmod(f->key, 0640), 0);
    expect_open(f, ERR_PERMISSION, "chmod 600 ");
    assert_int_equal(chmod(f->key, 0604), 0);
    expect_open(f, ERR_PERMISSION, "ca-key.pem");
    assert_int_equal(chmod(f->key, 0600), 0);
    assert_int_equal(chmod(f->dir, 0777), 0);
    expect_open(f, ERR_PERMISSION, "chmod 700 ");
    assert_int_equal(chmod(f->dir, 0700), 0);
    if (geteuid() != 0) {
        assert_int_equal(chmod(f->key, 0), 0);
        expect_open(f, ERR_PERMISSION, "ca-key.pem");
        assert_int_equal(chmod(f->key, 0600), 0);
    }
    for (size_t n = 0; n < key.n - 1; n += 13) {
        write_file(f->key, span_first(buf_span(&key), n), 0600);
        expect_open(f, ERR_CONFIG, "ca-key.pem");
    }
    write_file(f->key, buf_span(&key), 0600);
    for (size_t n = 0; n < certificate.n - 1; n += 29) {
        write_file(f->certificate, span_first(buf_span(&certificate), n), 0644);
        expect_open(f, ERR_CONFIG, "ca.pem");
    }
    write_file(f->certificate, buf_span(&key), 0644);
    expect_open(f, ERR_CONFIG, "ca.pem");
    write_file(f->certificate, SPAN("-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"), 0644);
    expect_open(f, ERR_CONFIG, "ca.pem");
    unlink(f->certificate);
    expect_open(f, ERR_CONFIG, "ca.pem is missing");
    write_file(f->certificate, buf_span(&certificate), 0644);
    unlink(f->key);
    expect_open(f, ERR_CONFIG, "ca-key.pem is missing");
    assert_int_equal(mkdir(f->key, 0700), 0);
    expect_open(f, ERR_CONFIG, "is not a file");
    assert_int_equal(rmdir(f->key), 0);
    write_file(f->key, buf_span(&key), 0600);
    expect_open(f, ERR_OK, "");
    struct folder other = *f;
    snprintf(other.dir, sizeof other.dir, "%.40s/ca.pem/x", f->dir);
    expect_open(&other, ERR_IO, "ca.pem");
    buf_free(&key);
    buf_free(&certificate);
}

/* Keys and certificates that the user brings, made with openssl. */
static void test_brought(void **state)
{
    static const struct {
        const char *key, *request;
        enum err want;
        const char *word;
    } cases[] = {
        {"-algorithm EC -pkeyopt ec_paramgen_curve:P-256", "-addext keyUsage=critical,keyCertSign,cRLSign -days 30",
         ERR_OK, ""},
        {"-algorithm EC -pkeyopt ec_paramgen_curve:P-384", "-addext keyUsage=critical,keyCertSign,cRLSign -days 30",
         ERR_OK, ""},
        {"-algorithm RSA -pkeyopt rsa_keygen_bits:2048", "-addext keyUsage=critical,keyCertSign,cRLSign -days 30",
         ERR_OK, ""},
        {"-algorithm RSA -pkeyopt rsa_keygen_bits:1024", "-days 30", ERR_CONFIG, "of a kind that is not supported"},
        {"-algorithm EC -pkeyopt ec_paramgen_curve:P-521", "-days 30", ERR_CONFIG, "of a kind that is not supported"},
        {"-algorithm ED25519", "-days 30", ERR_CONFIG, "ca-key.pem"},
        {"-algorithm EC -pkeyopt ec_paramgen_curve:P-256", "-addext basicConstraints=critical,CA:FALSE -days 30",
         ERR_CONFIG, "not that of a CA"},
        {"-algorithm EC -pkeyopt ec_paramgen_curve:P-256", "-addext keyUsage=digitalSignature -days 30", ERR_CONFIG,
         "not that of a CA"},
        {"-algorithm EC -pkeyopt ec_paramgen_curve:P-256 -aes256 -pass pass:abcd", "-passin pass:abcd -days 30",
         ERR_CONFIG, "encrypted"},
    };
    struct folder *f = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        assert_int_equal(run("openssl genpkey %s -out %s 2>/dev/null && chmod 600 %s", cases[i].key, f->key, f->key),
                         0);
        assert_int_equal(run("openssl req -x509 -new -key %s -subj '/CN=Own Root %zu' %s -out %s 2>/dev/null", f->key,
                             i, cases[i].request, f->certificate),
                         0);
        expect_open(f, cases[i].want, cases[i].word);
        if (cases[i].want)
            continue;
        /* And it signs what openssl accepts. */
        struct ca *ca;
        struct leaf_cache *leaves;
        struct buf problem = BUF_INIT, der = BUF_INIT, pem = BUF_INIT;
        assert_int_equal(ca_open(&ca, f->dir, &problem), ERR_OK);
        assert_int_equal(leaf_cache_create(&leaves, ca, 4, NULL), ERR_OK);
        assert_int_equal(leaf_mint(leaves, SPAN("own.example.com"), SPAN_EMPTY, clock_wall_ns() / NS_PER_S, &der),
                         ERR_OK);
        assert_int_equal(pem_put(&pem, "CERTIFICATE", buf_span(&der)), ERR_OK);
        char path[96];
        snprintf(path, sizeof path, "%s/leaf.pem", f->dir);
        write_file(path, buf_span(&pem), 0600);
        assert_int_equal(run("openssl verify -x509_strict -verify_hostname own.example.com -CAfile %s %s >/dev/null",
                             f->certificate, path),
                         0);
        leaf_cache_destroy(&leaves);
        ca_close(&ca);
        buf_free(&problem);
        buf_free(&der);
        buf_free(&pem);
    }
    /* Keys that do not belong to the certificate. */
    assert_int_equal(run("openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out %s 2>/dev/null", f->key),
                     0);
    assert_int_equal(
        run("openssl req -x509 -new -key %s -subj /CN=x -days 30 -out %s 2>/dev/null", f->key, f->certificate), 0);
    assert_int_equal(
        run("openssl ecparam -name prime256v1 -genkey -out %s 2>/dev/null && chmod 600 %s", f->key, f->key), 0);
    expect_open(f, ERR_CONFIG, "is not the key of the certificate");
    /* SEC 1 with its parameters before it, as ecparam writes it. */
    assert_int_equal(
        run("openssl req -x509 -new -key %s -subj /CN=x -days 30 -out %s 2>/dev/null", f->key, f->certificate), 0);
    expect_open(f, ERR_OK, "");
}

/* Signed by ourselves, so that the times can be chosen. */
static void test_times(void **state)
{
    struct folder *f = *state;
    uint64_t now_s = clock_wall_ns() / NS_PER_S;
    static const struct {
        int from, to;
        enum err want;
        const char *word;
    } cases[] = {{-200, -1, ERR_CONFIG, "expired on"},
                 {3600 * 24, 3600 * 48, ERR_CONFIG, "not valid before"},
                 {-100, 100, ERR_OK, ""}};
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct key *key;
        struct buf der = BUF_INIT, pem = BUF_INIT, pkcs8 = BUF_INIT;
        assert_int_equal(key_create(&key), ERR_OK);
        struct x509_validity validity = {now_s + (uint64_t)(int64_t)cases[i].from,
                                         now_s + (uint64_t)(int64_t)cases[i].to};
        assert_int_equal(x509_make_ca(&der, key, "Test CA", validity), ERR_OK);
        assert_int_equal(pem_put(&pem, "CERTIFICATE", buf_span(&der)), ERR_OK);
        write_file(f->certificate, buf_span(&pem), 0644);
        buf_clear(&pem);
        assert_int_equal(key_pkcs8(key, &pkcs8), ERR_OK);
        assert_int_equal(pem_put(&pem, "PRIVATE KEY", buf_span(&pkcs8)), ERR_OK);
        write_file(f->key, buf_span(&pem), 0600);
        expect_open(f, cases[i].want, cases[i].word);
        key_destroy(&key);
        buf_free(&der);
        buf_free(&pem);
        buf_free(&pkcs8);
    }
}

static void test_strict(void **state)
{
    struct folder *f = *state;
    expect_open(f, ERR_OK, "");
    assert_int_equal(
        run("openssl verify -x509_strict -check_ss_sig -CAfile %s %s >/dev/null", f->certificate, f->certificate), 0);
    assert_int_equal(run("openssl x509 -in %s -noout -text | grep -A1 'Basic Constraints: critical' | grep -q CA:TRUE",
                         f->certificate),
                     0);
    assert_int_equal(run("openssl x509 -in %s -noout -text | grep -q 'Key Usage: critical'", f->certificate), 0);
    assert_int_equal(run("openssl pkey -in %s -noout -check >/dev/null", f->key), 0);
}

static void test_trust_store(void **state)
{
    struct folder *f = *state;
    struct ca *ca;
    struct buf problem = BUF_INIT, store = BUF_INIT, extra = BUF_INIT;
    assert_int_equal(ca_open(&ca, f->dir, &problem), ERR_OK);
    for (int i = 0; i < 150; i++) {
        assert_int_equal(buf_put(&extra, ca_certificate_pem(ca)), ERR_OK);
        if (i == 7)
            assert_int_equal(buf_put_str(&extra,
                                         "-----BEGIN CERTIFICATE-----\n!!\n-----END CERTIFICATE-----\n"
                                         "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\nnoise\n"),
                             ERR_OK);
    }
    assert_int_equal(ca_trust_store(ca, buf_span(&extra), "changeit", &store), ERR_OK);
    char path[96];
    snprintf(path, sizeof path, "%s/trust.p12", f->dir);
    write_file(path, buf_span(&store), 0600);
    assert_int_equal(
        run("test $(openssl pkcs12 -in %s -passin pass:changeit -nokeys 2>/dev/null | grep -c BEGIN) = 151", path), 0);
    assert_int_not_equal(run("openssl pkcs12 -in %s -passin pass:wrong -nokeys >/dev/null 2>&1", path), 0);
    if (run("command -v keytool >/dev/null") == 0)
        assert_int_equal(
            run("test $(keytool -list -storetype PKCS12 -keystore %s -storepass changeit 2>/dev/null | grep -c trustedCertEntry) = 151",
                path),
            0);
    /* Out of memory at any point: the buffer is as before. */
    buf_clear(&store);
    for (long n = 0;; n++) {
        mem_fail_after(n);
        enum err e = ca_trust_store(ca, ca_certificate_pem(ca), "x", &store);
        mem_fail_after(-1);
        if (!e)
            break;
        assert_int_equal(e, ERR_NOMEM);
        assert_int_equal(store.n, 0);
        buf_free(&store);
    }
    ca_close(&ca);
    buf_free(&problem);
    buf_free(&store);
    buf_free(&extra);
}

static void test_no_memory(void **state)
{
    struct folder *f = *state;
    for (int pass = 0; pass < 2; pass++) /* making it, then opening it */
        for (long n = 0;; n++) {
            struct ca *ca;
            struct buf problem = BUF_INIT;
            mem_fail_after(n);
            enum err e = pass ? ca_open(&ca, f->dir, &problem) : ca_renew(&ca, f->dir, &problem);
            mem_fail_after(-1);
            assert_true((ca == NULL) == (e != ERR_OK));
            ca_close(&ca);
            buf_free(&problem);
            if (!e)
                break;
            assert_int_equal(e, ERR_NOMEM);
            assert_true(n < 1000);
        }
}

static void test_der(void **state)
{
    static const struct {
        size_t n;
        const char *head;
        size_t head_n;
    } cases[] = {
        {0, "\x30\x00", 2},       {127, "\x30\x7f", 2},         {128, "\x30\x81\x80", 3},
        {255, "\x30\x81\xff", 3}, {256, "\x30\x82\x01\x00", 4}, {65536, "\x30\x83\x01\x00\x00", 5},
    };
    (void)state;
    struct buf out = BUF_INIT;
    struct der_value v;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        buf_clear(&out);
        struct der d = {.out = &out, .err = ERR_OK};
        size_t mark = der_begin(&d, DER_SEQUENCE);
        for (size_t k = 0; k < cases[i].n; k++)
            der_byte(&d, (uint8_t)k);
        der_end(&d, mark);
        assert_int_equal(d.err, ERR_OK);
        assert_true(span_eq(span_first(buf_span(&out), cases[i].head_n), span_of(cases[i].head, cases[i].head_n)));
        struct span in = buf_span(&out);
        assert_true(der_take_tag(&in, DER_SEQUENCE, &v));
        assert_int_equal(v.content.n, cases[i].n);
        assert_int_equal(in.n, 0);
    }
    buf_free(&out);
}

static void test_der_values(void **state)
{
    (void)state;
    struct buf out = BUF_INIT;
    struct der_value v;
    static const struct {
        uint64_t s;
        const char *want;
    } times[] = {
        {0, "\x17\x0d"
            "700101000000Z"},
        {2524607999, "\x17\x0d"
                     "491231235959Z"},
        {2524608000, "\x18\x0f"
                     "20500101000000Z"},
    };
    for (size_t i = 0; i < ARRAY_LEN(times); i++) {
        buf_clear(&out);
        struct der d = {.out = &out, .err = ERR_OK};
        der_time(&d, times[i].s);
        assert_true(span_eq(buf_span(&out), span_str(times[i].want)));
        struct span in = buf_span(&out);
        uint64_t back = 0;
        assert_true(der_take(&in, &v) && der_read_time(&v, &back));
        assert_int_equal(back, times[i].s);
    }
    static const struct {
        struct span in, want;
    } numbers[] = {
        {{(const uint8_t *)"\0\0", 2}, {(const uint8_t *)"\2\1\0", 3}},
        {{(const uint8_t *)"\x7f", 1}, {(const uint8_t *)"\2\1\x7f", 3}},
        {{(const uint8_t *)"\0\x80", 2}, {(const uint8_t *)"\2\2\0\x80", 4}},
    };
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        buf_clear(&out);
        struct der d = {.out = &out, .err = ERR_OK};
        der_unsigned(&d, numbers[i].in);
        assert_true(span_eq(buf_span(&out), numbers[i].want));
    }
    buf_free(&out);
}

static void test_what_is_not_der(void **state)
{
    (void)state;
    struct der_value v;
    /* Not DER: indefinite, overlong and short lengths, multi-byte tags. */
    static const struct span bad[] = {
        {(const uint8_t *)"\x30", 1},
        {(const uint8_t *)"\x30\x80\0\0", 4},
        {(const uint8_t *)"\x30\x81\x05"
                          "12345",
         8},
        {(const uint8_t *)"\x30\x82\0\x80", 4},
        {(const uint8_t *)"\x30\x02"
                          "1",
         3},
        {(const uint8_t *)"\x1f\x81\x01\x00", 4},
        {(const uint8_t *)"\x30\x85\1\1\1\1\1", 7},
    };
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct span in = bad[i];
        assert_false(der_take(&in, &v));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_der),
        cmocka_unit_test(test_der_values),
        cmocka_unit_test(test_what_is_not_der),
        cmocka_unit_test_setup_teardown(test_made_once, folder_open, folder_close),
        cmocka_unit_test_setup_teardown(test_race, folder_open, folder_close),
        cmocka_unit_test_setup_teardown(test_misuse, folder_open, folder_close),
        cmocka_unit_test_setup_teardown(test_brought, folder_open, folder_close),
        cmocka_unit_test_setup_teardown(test_times, folder_open, folder_close),
        cmocka_unit_test_setup_teardown(test_strict, folder_open, folder_close),
        cmocka_unit_test_setup_teardown(test_trust_store, folder_open, folder_close),
        cmocka_unit_test_setup_teardown(test_no_memory, folder_open, folder_close),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
