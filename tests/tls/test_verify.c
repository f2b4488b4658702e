/* Which origins are accepted, and what is said of the others: certificates of every fault in memory, and openssl's server over
 * loopback (RSA, no certificate at all, NULL ciphers, resumption). */
#include "pair.h"

#include "base/clock.h"
#include "tls/ca_internal.h"
#include "tls/x509.h"

#include <arpa/inet.h>
#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>

enum { DAY_S = 86400 };

static uint64_t now_s(void)
{
    return clock_wall_ns() / NS_PER_S;
}

/* The server shows this certificate in the place of its leaf. */
static void show(struct end *server, struct span der, struct key *key)
{
    struct buf pkcs8 = BUF_INIT;
    assert_int_equal(key_pkcs8(key, &pkcs8), ERR_OK);
    assert_int_equal(wolfSSL_use_certificate_buffer(server->tls->ssl, der.p, (long)der.n, WOLFSSL_FILETYPE_ASN1),
                     WOLFSSL_SUCCESS);
    assert_int_equal(wolfSSL_use_PrivateKey_buffer(server->tls->ssl, buf_span(&pkcs8).p, (long)pkcs8.n,
                                                   WOLFSSL_FILETYPE_ASN1),
                     WOLFSSL_SUCCESS);
    key_wipe(&pkcs8);
}

struct fault {
    const char *what, *host, *name;
    int from_days, to_days; /* of its validity */
    enum { BY_US, BY_ITSELF, BY_STRANGER } signer;
    const char *want; /* in tls_error(); NULL: accepted */
};

static const struct fault faults[] = {
    {"good", "good.example.com", "good.example.com", -1, 1, BY_US, NULL},
    {"good address", "127.0.0.1", "127.0.0.1", -1, 1, BY_US, NULL},
    {"good IPv6 address, spelled otherwise", "2001:db8:0::1", "2001:db8::1", -1, 1, BY_US, NULL},
    {"wildcard", "www.wild.example", "*.wild.example", -1, 1, BY_US, NULL},
    {"wildcard, two labels", "a.b.wild.example", "*.wild.example", -1, 1, BY_US,
     "is for *.wild.example, not for a.b.wild.example"},
    {"wildcard, none", "wild.example", "*.wild.example", -1, 1, BY_US, "is for *.wild.example, not for wild.example"},
    {"too wide a wildcard", "foo.com", "*.com", -1, 1, BY_US, "is for *.com"},
    {"wrong name", "a.example.com", "b.example.com", -1, 1, BY_US,
     "the certificate is for b.example.com, not for a.example.com"},
    {"wrong address", "127.0.0.1", "127.0.0.2", -1, 1, BY_US, "is for 127.0.0.2, not for 127.0.0.1"},
    {"a name for an address", "127.0.0.1", "localhost", -1, 1, BY_US, "is for localhost, not for 127.0.0.1"},
    {"expired", "old.example.com", "old.example.com", -3, -1, BY_US, "has expired (notAfter "},
    {"not yet", "new.example.com", "new.example.com", 2, 5, BY_US, "is not valid yet (notBefore "},
    {"self-signed", "self.example.com", "self.example.com", -1, 1, BY_ITSELF, "self-signed"},
    {"unknown issuer", "who.example.com", "who.example.com", -1, 1, BY_STRANGER, "issuer \"Stranger\" is not trusted"},
};

static void make_certificate(const struct world *w, const struct fault *f, struct key *key, struct buf *der)
{
    struct x509_validity validity = {now_s() + (uint64_t)(int64_t)(f->from_days * DAY_S),
                                     now_s() + (uint64_t)(int64_t)(f->to_days * DAY_S)};
    struct x509_name name;
    struct x509_issuer issuer = ca_issuer(w->ca);
    struct buf stranger = BUF_INIT;
    struct x509 fields;
    struct key *other = NULL;
    assert_int_equal(x509_name_read(span_str(f->name), &name), ERR_OK);
    if (f->signer == BY_ITSELF) {
        /* Made twice: the second one names the first one's subject as its issuer. */
        assert_int_equal(x509_make_leaf(&stranger, &issuer, key, &name, 1, validity), ERR_OK);
        assert_int_equal(x509_parse(buf_span(&stranger), &fields), ERR_OK);
        issuer = (struct x509_issuer){key, fields.subject, fields.key_id};
    }
    if (f->signer == BY_STRANGER) {
        assert_int_equal(key_create(&other), ERR_OK);
        assert_int_equal(x509_make_ca(&stranger, other, "Stranger", validity), ERR_OK);
        assert_int_equal(x509_parse(buf_span(&stranger), &fields), ERR_OK);
        issuer = (struct x509_issuer){other, fields.subject, fields.key_id};
    }
    assert_int_equal(x509_make_leaf(der, &issuer, key, &name, 1, validity), ERR_OK);
    key_destroy(&other);
    buf_free(&stranger);
}

static void test_faults(void **state)
{
    struct world *w = *state;
    struct key *key;
    assert_int_equal(key_create(&key), ERR_OK);
    for (size_t i = 0; i < ARRAY_LEN(faults); i++)
        for (int round = 0; round < 4; round++) {
            bool insecure = round / 2 == 1;
            world_client(w, insecure);
            struct end c, s;
            struct buf der = BUF_INIT;
            make_certificate(w, &faults[i], key, &der);
            pair_open(w, &c, &s, faults[i].host, SPAN_EMPTY, SPAN_EMPTY, 0);
            if (round % 2 == 1)
                assert_int_equal(wolfSSL_set_max_proto_version(s.tls->ssl, TLS1_2_VERSION), WOLFSSL_SUCCESS);
            show(&s, buf_span(&der), key);
            assert_int_equal(tls_start(c.tls), ERR_OK);
            pair_run(&c, &s, 700);
            const char *want = insecure ? NULL : faults[i].want;
            if (!want && c.established != 1)
                fail_msg("%s: %s", faults[i].what, tls_error(c.tls));
            if (want && (c.error != ERR_TLS_VERIFY || c.established || !strstr(tls_error(c.tls), want)))
                fail_msg("%s: %s: %s", faults[i].what, err_word(c.error), tls_error(c.tls));
            if (want)
                assert_int_equal(s.error, ERR_TLS_ALERT); /* an alert of ours went out */
            struct span shown;
            assert_true(tls_peer_certificate(c.tls, 0, &shown));
            assert_true(span_eq(shown, buf_span(&der)));
            /* A refused certificate leaves no session. */
            struct buf session = BUF_INIT;
            struct chain *chain;
            if (want)
                assert_int_equal(sessions_get(tls_client_sessions(w->client), buf_span(&c.tls->session_key), &session,
                                              &chain),
                                 ERR_NOT_FOUND);
            pair_close(&c, &s);
            buf_free(&der);
        }
    world_client(w, false);
    key_destroy(&key);
}

static void test_options(void **state)
{
    struct world *w = *state;
    struct tls_client_config *config;
    struct buf problem = BUF_INIT;
    char path[96];
    struct tls_client_options options = {.ca_file = "/nonexistent/ca.pem"};
    assert_int_equal(tls_client_config_create(&config, &options, &problem), ERR_CONFIG);
    assert_non_null(strstr(buf_cstr(&problem), "/nonexistent/ca.pem"));
    assert_null(config);
    snprintf(path, sizeof path, "%s/ca-key.pem", w->dir);
    options.ca_file = path;
    assert_int_equal(tls_client_config_create(&config, &options, &problem), ERR_CONFIG);
    assert_non_null(strstr(buf_cstr(&problem), "holds no usable certificate"));
    options = (struct tls_client_options){.key_log_file = "/nonexistent/keys"};
    assert_int_equal(tls_client_config_create(&config, &options, &problem), ERR_CONFIG);
    assert_non_null(strstr(buf_cstr(&problem), "/nonexistent/keys"));
    buf_free(&problem);
}

/* --- openssl s_server */

struct openssl {
    pid_t pid;
    int port;
    FILE *out;
};

static void openssl_start(struct openssl *o, const char *arguments)
{
    char command[1024], line[256];
    int out[2];
    /* `exec`, so that the process is openssl itself; -www, so that it does not end with its standard input. */
    snprintf(command, sizeof command, "exec openssl s_server -accept 127.0.0.1:0 -www -naccept 8 %s 2>/dev/null",
             arguments);
    assert_int_equal(pipe(out), 0);
    o->pid = fork();
    assert_true(o->pid >= 0);
    if (o->pid == 0) {
        dup2(out[1], 1);
        close(out[0]);
        close(out[1]);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    close(out[1]);
    o->out = fdopen(out[0], "r");
    assert_non_null(o->out);
    o->port = 0;
    while (o->port == 0 && fgets(line, sizeof line, o->out)) {
        const char *colon = strrchr(line, ':');
        if (strncmp(line, "ACCEPT", 6) == 0 && colon)
            o->port = (int)strtol(colon + 1, NULL, 10);
    }
    assert_int_not_equal(o->port, 0);
}

static void openssl_stop(struct openssl *o)
{
    kill(o->pid, SIGTERM);
    waitpid(o->pid, NULL, 0);
    fclose(o->out);
}

static int dial(int port)
{
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    struct sockaddr_in to = {.sin_family = AF_INET,
                             .sin_port = htons((uint16_t)port),
                             .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    assert_true(fd >= 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&to, sizeof to), 0);
    return fd;
}

/* One connection: until it is established and 100 ms were quiet (tickets come late), or failed. */
static void talk(struct world *w, const struct openssl *o, struct end *c, const char *host)
{
    int fd = dial(o->port);
    uint8_t block[4096];
    *c = (struct end){0};
    assert_int_equal(tls_connect(&c->tls, w->client, span_str(host), (unsigned)o->port, SPAN_EMPTY, &end_events, c),
                     ERR_OK);
    c->error = tls_start(c->tls);
    for (int i = 0; i < 200 && !c->error && !c->closed; i++) {
        struct span out = buf_span(&c->out);
        assert_int_equal(send(fd, out.p, out.n, MSG_NOSIGNAL), out.n);
        buf_clear(&c->out);
        struct pollfd p = {.fd = fd, .events = POLLIN};
        if (poll(&p, 1, c->established ? 100 : 5000) <= 0)
            break;
        ssize_t n = recv(fd, block, sizeof block, 0);
        if (n <= 0)
            break;
        c->error = tls_feed(c->tls, span_of(block, (size_t)n));
    }
    /* Without a close_notify openssl forgets the session. */
    tls_close(c->tls);
    struct span out = buf_span(&c->out);
    assert_int_equal(send(fd, out.p, out.n, MSG_NOSIGNAL), out.n);
    buf_clear(&c->out);
    shutdown(fd, SHUT_WR);
    struct pollfd p = {.fd = fd, .events = POLLIN};
    while (poll(&p, 1, 200) > 0 && recv(fd, block, sizeof block, 0) > 0)
        continue;
    close(fd);
}

static void test_no_certificate(void **state)
{
    static const char *const servers[] = {
        "-nocert -tls1_2 -cipher aNULL:@SECLEVEL=0",
        "-nocert -tls1_2 -cipher ADH-AES128-SHA256:AECDH-AES128-SHA:@SECLEVEL=0",
        "-cert server.pem -tls1_2 -cipher eNULL:@SECLEVEL=0",
        "-cert server.pem -tls1_1 -cipher ALL:@SECLEVEL=0",
    };
    struct world *w = *state;
    char arguments[512];
    for (size_t i = 0; i < ARRAY_LEN(servers); i++)
        for (int insecure = 0; insecure < 2; insecure++) {
            struct openssl o;
            struct end c;
            if (strstr(servers[i], "server.pem"))
                snprintf(arguments, sizeof arguments, "-cert %s/server.pem -key %s/server.key%s", w->dir, w->dir,
                         strstr(servers[i], " -tls"));
            else
                snprintf(arguments, sizeof arguments, "%s", servers[i]);
            world_client(w, insecure);
            openssl_start(&o, arguments);
            talk(w, &o, &c, "127.0.0.1");
            assert_int_equal(c.established, 0);
            assert_true(c.error == ERR_TLS_ALERT || c.error == ERR_TLS);
            end_free(&c);
            openssl_stop(&o);
        }
    world_client(w, false);
}

/* Handshakes with somebody else's server: both versions, and its tickets. */
static void test_openssl_origin(void **state)
{
    static const struct {
        const char *arguments, *version;
        bool resumes;
    } cases[] = {
        {"-tls1_3", "TLSv1.3", true},
        {"-tls1_2", "TLSv1.2", true},
        {"-tls1_2 -no_ticket", "TLSv1.2", true},
        {"-tls1_2 -no_ticket -no_cache", "TLSv1.2", false},
        {"-tls1_2 -cipher ECDHE-RSA-AES128-SHA:@SECLEVEL=0", "TLSv1.2", true},
        {"-tls1_3 -groups P-256", "TLSv1.3", true},
    };
    struct world *w = *state;
    char arguments[512];
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct openssl o;
        struct end c;
        struct tls_info info;
        snprintf(arguments, sizeof arguments, "-cert %s/server.pem -key %s/server.key %s", w->dir, w->dir,
                 cases[i].arguments);
        openssl_start(&o, arguments);
        /* Not trusted, then trusted. */
        talk(w, &o, &c, "localhost");
        assert_int_equal(c.error, ERR_TLS_VERIFY);
        end_free(&c);
        struct tls_client_config *kept = w->client;
        struct buf problem = BUF_INIT;
        char path[96];
        snprintf(path, sizeof path, "%s/server.pem", w->dir);
        struct tls_client_options options = {.ca_file = path, .sessions_max = 4};
        assert_int_equal(tls_client_config_create(&w->client, &options, &problem), ERR_OK);
        for (int round = 0; round < 3; round++) {
            talk(w, &o, &c, "localhost");
            if (c.error)
                print_error("%s, round %d: %s\n", cases[i].arguments, round, tls_error(c.tls));
            assert_int_equal(c.established, 1);
            tls_get_info(c.tls, &info);
            assert_string_equal(info.version, cases[i].version);
            if (info.resumed != (cases[i].resumes && round > 0))
                fail_msg("%s, round %d: resumed is %d", cases[i].arguments, round, info.resumed);
            end_free(&c);
        }
        /* A session for one name is none for another. */
        talk(w, &o, &c, "127.0.0.1");
        assert_int_equal(c.error, ERR_TLS_VERIFY);
        assert_non_null(strstr(tls_error(c.tls), "is for localhost, not for 127.0.0.1"));
        end_free(&c);
        tls_client_config_destroy(&w->client);
        w->client = kept;
        buf_free(&problem);
        openssl_stop(&o);
    }
}

static int open_with_server(void **state)
{
    char command[512];
    if (world_open(state))
        return -1;
    struct world *w = *state;
    snprintf(command, sizeof command,
             "openssl req -x509 -newkey rsa:2048 -nodes -keyout %s/server.key -out %s/server.pem -days 2 "
             "-subj /CN=server -addext subjectAltName=DNS:localhost 2>/dev/null",
             w->dir, w->dir);
    return system(command) == 0 ? 0 : -1;
}

int main(void)
{
    signal(SIGPIPE, SIG_IGN);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_faults),
        cmocka_unit_test(test_options),
        cmocka_unit_test(test_no_certificate),
        cmocka_unit_test(test_openssl_origin),
    };
    return cmocka_run_group_tests(tests, open_with_server, world_close);
}
