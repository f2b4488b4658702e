/* Connections joined in memory: handshakes and data at every chunk size, resumption, ALPN, closing, alerts. */
#include "pair.h"

#include <sys/stat.h>

static const int versions[] = {0, TLS1_2_VERSION};

static struct span pattern(struct buf *b, size_t n)
{
    buf_clear(b);
    for (size_t i = 0; i < n; i++)
        assert_int_equal(buf_put_byte(b, (uint8_t)(i * 7 + i / 251)), ERR_OK);
    return buf_span(b);
}

static void exchange(struct end *a, struct end *b, struct span text, size_t chunk)
{
    buf_clear(&b->plain);
    assert_int_equal(tls_write(a->tls, text), ERR_OK);
    pair_run(a, b, chunk);
    assert_int_equal(b->error, ERR_OK);
    assert_true(span_eq(buf_span(&b->plain), text));
}

static void test_every_chunk_size(void **state)
{
    struct world *w = *state;
    struct buf big = BUF_INIT;
    struct span text = pattern(&big, 40000);
    for (size_t v = 0; v < ARRAY_LEN(versions); v++)
        for (size_t chunk = 1; chunk < 2000; chunk += chunk < 40 ? 1 : 97) {
            struct end c, s;
            tls_client_config_destroy(&w->client);
            struct tls_client_options options = {.insecure = true};
            struct buf problem = BUF_INIT;
            assert_int_equal(tls_client_config_create(&w->client, &options, &problem), ERR_OK);
            pair_open(w, &c, &s, "chunk.example.com", SPAN_EMPTY, SPAN_EMPTY, versions[v]);
            assert_int_equal(tls_start(c.tls), ERR_OK);
            pair_run(&c, &s, chunk);
            assert_int_equal(c.established + s.established, 2);
            exchange(&c, &s, SPAN("x"), chunk);
            exchange(&s, &c, text, chunk);
            exchange(&c, &s, text, chunk);
            tls_close(c.tls);
            pair_run(&c, &s, chunk);
            assert_int_equal(s.closed, 1);
            pair_close(&c, &s);
            buf_free(&problem);
        }
    buf_free(&big);
    world_client(w, false);
}

/* Each write one byte: as many records. */
static void test_one_byte_writes(void **state)
{
    struct world *w = *state;
    for (size_t v = 0; v < ARRAY_LEN(versions); v++) {
        struct end c, s;
        pair_handshake(w, &c, &s, "bytes.example.com", versions[v]);
        for (int i = 0; i < 300; i++) {
            uint8_t byte = (uint8_t)i;
            assert_int_equal(tls_write(c.tls, span_of(&byte, 1)), ERR_OK);
            if (i % 7 == 0)
                pair_run(&c, &s, 1);
        }
        pair_run(&c, &s, 3);
        assert_int_equal(s.plain.n, 300);
        for (int i = 0; i < 300; i++)
            assert_int_equal(buf_span(&s.plain).p[i], (uint8_t)i);
        pair_close(&c, &s);
    }
}

static void test_info(void **state)
{
    struct world *w = *state;
    struct end c, s;
    struct tls_info info;
    pair_open(w, &c, &s, "info.example.com", SPAN("\2h2\10http/1.1"), SPAN("http/1.1"), 0);
    tls_get_info(c.tls, &info);
    assert_string_equal(info.version, "");
    assert_int_equal(info.alert, -1);
    assert_int_equal(tls_start(c.tls), ERR_OK);
    pair_run(&c, &s, SIZE_MAX);
    for (int i = 0; i < 2; i++) {
        tls_get_info(i ? c.tls : s.tls, &info);
        assert_string_equal(info.version, "TLSv1.3");
        assert_string_equal(info.cipher, "TLS_AES_128_GCM_SHA256");
        assert_string_equal(info.alpn, "http/1.1");
        assert_false(info.resumed);
    }
    struct span der;
    assert_true(tls_peer_certificate(c.tls, 0, &der));
    assert_true(span_eq(der, leaf_der(s.tls->leaf)));
    assert_false(tls_peer_certificate(c.tls, 1, &der));
    struct buf names = BUF_INIT;
    assert_int_equal(tls_peer_names(c.tls, &names), ERR_OK);
    assert_true(span_eq(buf_span(&names), SPAN("info.example.com\0")));
    buf_free(&names);
    pair_close(&c, &s);
    assert_string_equal(tls_library_version(), "5.7.2");

    pair_handshake(w, &c, &s, "info12.example.com", TLS1_2_VERSION);
    tls_get_info(s.tls, &info);
    assert_string_equal(info.version, "TLSv1.2");
    assert_string_equal(info.cipher, "TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256");
    assert_string_equal(info.alpn, "");
    pair_close(&c, &s);
}

static void test_alpn(void **state)
{
    static const struct {
        struct span client, server;
        const char *want;
    } cases[] = {
        {{(const uint8_t *)"\2h2\10http/1.1", 12}, {(const uint8_t *)"h2", 2}, "h2"},
        {{(const uint8_t *)"\2h2", 3}, {(const uint8_t *)"http/1.1", 8}, ""},
        {{(const uint8_t *)"\2h2", 3}, {NULL, 0}, ""},
        {{NULL, 0}, {(const uint8_t *)"http/1.1", 8}, ""},
        {{(const uint8_t *)"\2\x0a\x0a\3a,b\10http/1.1", 16}, {(const uint8_t *)"http/1.1", 8}, "http/1.1"},
        {{(const uint8_t *)"\1\0\2\xff\xfe", 5}, {(const uint8_t *)"\xff\xfe", 2}, "\xff\xfe"},
        {{(const uint8_t *)"\11h2", 3}, {(const uint8_t *)"h2", 2}, ""},
    };
    struct world *w = *state;
    for (size_t v = 0; v < ARRAY_LEN(versions); v++)
        for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
            struct end c, s;
            struct tls_info info;
            pair_open(w, &c, &s, "alpn.example.com", cases[i].client, cases[i].server, versions[v]);
            assert_int_equal(tls_start(c.tls), ERR_OK);
            pair_run(&c, &s, SIZE_MAX);
            assert_int_equal(c.established + s.established, 2);
            tls_get_info(c.tls, &info);
            assert_string_equal(info.alpn, cases[i].want);
            tls_get_info(s.tls, &info);
            assert_string_equal(info.alpn, cases[i].want);
            pair_close(&c, &s);
        }
}

static bool resumed(struct world *w, const char *host, int version)
{
    struct end c, s;
    struct tls_info a, b;
    struct span der;
    pair_handshake(w, &c, &s, host, version);
    exchange(&s, &c, SPAN("hello"), SIZE_MAX);
    tls_get_info(c.tls, &a);
    tls_get_info(s.tls, &b);
    assert_int_equal(a.resumed, b.resumed);
    assert_true(tls_peer_certificate(c.tls, 0, &der));
    pair_close(&c, &s);
    return a.resumed;
}

static void test_resumption(void **state)
{
    struct world *w = *state;
    for (size_t v = 0; v < ARRAY_LEN(versions); v++) {
        world_client(w, false);
        assert_false(resumed(w, "one.example.com", versions[v]));
        assert_true(resumed(w, "one.example.com", versions[v]));
        assert_true(resumed(w, "one.example.com", versions[v]));
        assert_false(resumed(w, "two.example.com", versions[v]));
        assert_true(resumed(w, "two.example.com", versions[v]));
        /* The cache is bounded. */
        char host[32];
        for (int i = 0; i < 10; i++) {
            snprintf(host, sizeof host, "h%d.example.com", i);
            assert_false(resumed(w, host, versions[v]));
        }
        assert_false(resumed(w, "one.example.com", versions[v]));
        assert_true(resumed(w, "one.example.com", versions[v]));
    }
    /* Another policy is another store. */
    assert_false(resumed(w, "one.example.com", 0));
    struct tls_client_config *strict = w->client;
    w->client = NULL;
    world_client(w, true);
    assert_false(resumed(w, "one.example.com", 0));
    assert_true(resumed(w, "one.example.com", 0));
    tls_client_config_destroy(&w->client);
    w->client = strict;
    assert_true(resumed(w, "one.example.com", 0));
}

/* A ticket of one host shown to another's leaf is not taken: the client is made to believe that the key is the same. */
static void test_ticket_of_another_host(void **state)
{
    struct world *w = *state;
    for (size_t v = 0; v < ARRAY_LEN(versions); v++) {
        world_client(w, false);
        struct end c, s;
        struct tls_info info;
        assert_false(resumed(w, "mine.example.com", versions[v]));
        struct leaf *leaf;
        /* The names of both versions' hosts; see pair_open(). */
        assert_int_equal(leaf_get(w->leaves, SPAN("other.example.com"),
                                  SPAN("mine.example.com\0v303-mine.example.com\0"), &leaf),
                         ERR_OK);
        pair_open(w, &c, &s, "mine.example.com", SPAN_EMPTY, SPAN_EMPTY, versions[v]);
        tls_destroy(&s.tls);
        assert_int_equal(tls_accept(&s.tls, w->server, leaf, SPAN_EMPTY, &end_events, &s), ERR_OK);
        assert_int_equal(tls_start(c.tls), ERR_OK);
        pair_run(&c, &s, SIZE_MAX);
        assert_int_equal(c.established + s.established, 2);
        tls_get_info(s.tls, &info);
        assert_false(info.resumed);
        struct span der;
        assert_true(tls_peer_certificate(c.tls, 0, &der));
        assert_true(span_eq(der, leaf_der(leaf)));
        leaf_unref(&leaf);
        pair_close(&c, &s);
    }
}

/* An origin that spoke TLS 1.3 and now speaks 1.2 only: the session is of no use, the handshake goes on. */
static void test_origin_downgrade(void **state)
{
    struct world *w = *state;
    struct end c, s;
    world_client(w, false);
    assert_false(resumed(w, "down.example.com", 0));
    for (int i = 0; i < 2; i++) {
        pair_open(w, &c, &s, "down.example.com", SPAN_EMPTY, SPAN_EMPTY, 0);
        assert_int_equal(wolfSSL_set_max_proto_version(s.tls->ssl, TLS1_2_VERSION), WOLFSSL_SUCCESS);
        assert_int_equal(tls_start(c.tls), ERR_OK);
        pair_run(&c, &s, SIZE_MAX);
        assert_string_equal(c.error ? tls_error(c.tls) : "", "");
        assert_int_equal(c.established + s.established, 2);
        exchange(&s, &c, SPAN("hello"), SIZE_MAX);
        pair_close(&c, &s);
    }
    /* And up again. */
    pair_handshake(w, &c, &s, "down.example.com", 0);
    pair_close(&c, &s);
}

static void test_close_and_truncation(void **state)
{
    struct world *w = *state;
    for (size_t v = 0; v < ARRAY_LEN(versions); v++) {
        struct end c, s;
        pair_handshake(w, &c, &s, "close.example.com", versions[v]);
        assert_int_equal(tls_write(s.tls, SPAN("last words")), ERR_OK);
        tls_close(s.tls);
        tls_close(s.tls);
        pair_run(&c, &s, 5);
        assert_int_equal(c.closed, 1);
        assert_true(span_eq(buf_span(&c.plain), SPAN("last words")));
        /* The other direction stays open until it is closed. */
        if (versions[v] == 0) {
            assert_int_equal(tls_write(c.tls, SPAN("still here")), ERR_OK);
            pair_run(&c, &s, SIZE_MAX);
            assert_true(span_eq(buf_span(&s.plain), SPAN("still here")));
        }
        tls_close(c.tls);
        pair_run(&c, &s, SIZE_MAX);
        assert_int_equal(s.closed, 1);
        assert_int_equal(tls_feed(c.tls, SPAN("rubbish after the end")), ERR_OK);
        pair_close(&c, &s);

        pair_handshake(w, &c, &s, "cut.example.com", versions[v]);
        assert_int_equal(tls_write(s.tls, SPAN("half a record")), ERR_OK);
        s.out.n -= 3;
        end_deliver(&s, &c, SIZE_MAX);
        assert_int_equal(c.closed, 0);
        assert_int_equal(c.plain.n, 0);
        pair_close(&c, &s);
    }
}

static void test_damage(void **state)
{
    struct world *w = *state;
    for (size_t v = 0; v < ARRAY_LEN(versions); v++) {
        struct end c, s;
        pair_handshake(w, &c, &s, "damage.example.com", versions[v]);
        assert_int_equal(tls_write(s.tls, SPAN("some bytes")), ERR_OK);
        s.out.p[s.out.head + s.out.n - 2] ^= 1;
        end_deliver(&s, &c, 11);
        assert_int_equal(c.error, ERR_TLS);
        assert_true(c.out.n > 0); /* our alert */
        end_deliver(&c, &s, SIZE_MAX);
        assert_int_equal(s.error, ERR_TLS_ALERT);
        struct tls_info info;
        tls_get_info(s.tls, &info);
        assert_int_equal(info.alert, 20);
        assert_string_equal(tls_error(s.tls), "the peer's alert: bad_record_mac (20)");
        pair_close(&c, &s);
    }
    struct end c, s;
    pair_open(w, &c, &s, "damage.example.com", SPAN_EMPTY, SPAN_EMPTY, 0);
    assert_int_equal(tls_feed(s.tls, SPAN("GET / HTTP/1.1\r\nHost: a\r\n\r\n")), ERR_TLS);
    assert_non_null(strstr(tls_error(s.tls), "TLS handshake failed"));
    pair_close(&c, &s);
}

/* A client that does not trust us: the server must say so, whichever version. */
static void test_client_refuses_us(void **state)
{
    struct world *w = *state;
    struct buf problem = BUF_INIT;
    struct tls_client_options options = {.insecure = false};
    tls_client_config_destroy(&w->client);
    assert_int_equal(tls_client_config_create(&w->client, &options, &problem), ERR_OK);
    for (size_t v = 0; v < ARRAY_LEN(versions); v++) {
        struct end c, s;
        struct tls_info info;
        pair_open(w, &c, &s, "refused.example.com", SPAN_EMPTY, SPAN_EMPTY, versions[v]);
        assert_int_equal(tls_start(c.tls), ERR_OK);
        pair_run(&c, &s, SIZE_MAX);
        assert_int_equal(c.error, ERR_TLS_VERIFY);
        assert_non_null(strstr(tls_error(c.tls), "is not trusted"));
        assert_int_equal(s.error, ERR_TLS_ALERT);
        tls_get_info(s.tls, &info);
        assert_true(info.alert == 42 || info.alert == 48 || info.alert == 46);
        assert_non_null(strstr(tls_error(s.tls), "the peer's alert: "));
        pair_close(&c, &s);
    }
    world_client(w, false);
    buf_free(&problem);
}

/* As OpenSSL's clients do it in TLS 1.3: an alert without encryption, after the server's flight. In one piece with what may stand before it,
 * or alone. */
static void test_client_refuses_us_in_the_clear(void **state)
{
    static const uint8_t change_cipher_spec[] = {20, 3, 3, 0, 1, 1}, unknown_ca[] = {21, 3, 3, 0, 2, 2, 48};
    static const uint8_t no_alert[] = {21, 3, 3, 0, 3, 2, 48, 0};
    struct world *w = *state;
    for (int i = 0; i < 4; i++) {
        struct end c, s;
        struct tls_info info;
        struct buf wire = BUF_INIT;
        pair_open(w, &c, &s, "refused.example.com", SPAN_EMPTY, SPAN_EMPTY, 0);
        assert_int_equal(tls_start(c.tls), ERR_OK);
        end_deliver(&c, &s, SIZE_MAX);
        assert_int_equal(s.error, ERR_OK);
        if (i & 1)
            assert_int_equal(buf_put(&wire, span_of(change_cipher_spec, sizeof change_cipher_spec)), ERR_OK);
        struct span record = i & 2 ? span_of(no_alert, sizeof no_alert) : span_of(unknown_ca, sizeof unknown_ca);
        assert_int_equal(buf_put(&wire, record), ERR_OK);
        enum err e = tls_feed(s.tls, buf_span(&wire));
        tls_get_info(s.tls, &info);
        assert_int_equal(e, i & 2 ? ERR_TLS : ERR_TLS_ALERT);
        assert_int_equal(info.alert, i & 2 ? -1 : 48);
        assert_non_null(strstr(tls_error(s.tls), i & 2 ? "TLS handshake failed" : "the peer's alert: unknown_ca (48)"));
        buf_free(&wire);
        pair_close(&c, &s);
    }
}

static void test_key_update(void **state)
{
    struct world *w = *state;
    struct end c, s;
    pair_handshake(w, &c, &s, "update.example.com", 0);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(wolfSSL_update_keys(c.tls->ssl), WOLFSSL_SUCCESS);
        pair_run(&c, &s, 4);
        exchange(&c, &s, SPAN("after the update"), 9);
        exchange(&s, &c, SPAN("and back"), 9);
    }
    pair_close(&c, &s);
}

static enum err refuse(void *ctx, struct span bytes)
{
    (void)ctx, (void)bytes;
    return ERR_LIMIT;
}

static enum err refuse_established(void *ctx)
{
    (void)ctx;
    return ERR_CANCELLED;
}

/* What a callback returns comes out unchanged. */
static void test_callback_errors(void **state)
{
    static const struct {
        struct tls_events events;
        enum err want;
    } cases[] = {
        {{refuse, end_established, end_data, end_closed}, ERR_LIMIT},
        {{end_send, refuse_established, end_data, end_closed}, ERR_CANCELLED},
        {{end_send, end_established, refuse, end_closed}, ERR_LIMIT},
        {{end_send, end_established, end_data, refuse_established}, ERR_CANCELLED},
    };
    struct world *w = *state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct end c, s;
        pair_open(w, &c, &s, "callback.example.com", SPAN_EMPTY, SPAN_EMPTY, 0);
        s.tls->events = &cases[i].events;
        assert_int_equal(tls_start(c.tls), ERR_OK);
        pair_run(&c, &s, SIZE_MAX);
        if (!s.error) {
            assert_int_equal(tls_write(c.tls, SPAN("data")), ERR_OK);
            tls_close(c.tls);
            pair_run(&c, &s, SIZE_MAX);
        }
        assert_int_equal(s.error, cases[i].want);
        pair_close(&c, &s);
    }
}

static void test_key_log(void **state)
{
    struct world *w = *state;
    char path[96];
    snprintf(path, sizeof path, "%s/keys.log", w->dir);
    struct tls_server_config *quiet = w->server;
    w->server = NULL;
    assert_int_equal(tls_server_config_create(&w->server, w->leaves, path, NULL), ERR_OK);
    for (size_t v = 0; v < ARRAY_LEN(versions); v++) {
        struct end c, s;
        pair_handshake(w, &c, &s, "keys.example.com", versions[v]);
        exchange(&c, &s, SPAN("hello"), SIZE_MAX);
        pair_close(&c, &s);
    }
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    char line[512];
    int old = 0, fresh = 0;
    while (fgets(line, sizeof line, f)) {
        if (strncmp(line, "CLIENT_RANDOM ", 14) == 0) {
            old++;
            assert_int_equal(strlen(line), 14 + 64 + 1 + 96 + 1);
        }
        if (strncmp(line, "CLIENT_TRAFFIC_SECRET_0 ", 24) == 0) {
            fresh++;
            assert_int_equal(strlen(line), 24 + 64 + 1 + 64 + 1);
        }
    }
    fclose(f);
    assert_int_equal(old, 1);
    assert_int_equal(fresh, 1);
    tls_server_config_destroy(&quiet);
    leaf_cache_destroy(&w->leaves);
    tls_server_config_destroy(&w->server);
    assert_int_equal(leaf_cache_create(&w->leaves, w->ca, 16, NULL), ERR_OK);
    assert_int_equal(tls_server_config_create(&w->server, w->leaves, NULL, NULL), ERR_OK);
    assert_int_not_equal(tls_server_config_create(&quiet, w->leaves, "/nonexistent/keys.log", NULL), ERR_OK);
    assert_int_not_equal(access("sslkeylog.log", F_OK), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_every_chunk_size),
        cmocka_unit_test(test_one_byte_writes),
        cmocka_unit_test(test_info),
        cmocka_unit_test(test_alpn),
        cmocka_unit_test(test_resumption),
        cmocka_unit_test(test_ticket_of_another_host),
        cmocka_unit_test(test_origin_downgrade),
        cmocka_unit_test(test_close_and_truncation),
        cmocka_unit_test(test_damage),
        cmocka_unit_test(test_client_refuses_us),
        cmocka_unit_test(test_client_refuses_us_in_the_clear),
        cmocka_unit_test(test_key_update),
        cmocka_unit_test(test_callback_errors),
        cmocka_unit_test(test_key_log),
    };
    return cmocka_run_group_tests(tests, world_open, world_close);
}
