/* client.c: the side that faces origins: what is trusted, what is offered, and the sessions kept. A configuration is one
 * verification policy and one client certificate, or none: sessions never move to another, because each has its own store. */
#include "base/alloc.h"
#include "base/util.h"
#include "tls/keylog.h"
#include "tls/pem.h"
#include "tls/verify.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { CA_FILE_BYTES_MAX = 16 << 20 };

/* Authenticated key exchange and AEAD first; CBC suites with ECDHE for old origins. No anonymous, NULL, RC4, 3DES or export
 * suites, which the library's own default would offer. */
static const char client_ciphers[] =
    "TLS13-AES128-GCM-SHA256:TLS13-AES256-GCM-SHA384:TLS13-CHACHA20-POLY1305-SHA256:"
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-RSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-CHACHA20-POLY1305:ECDHE-RSA-CHACHA20-POLY1305:DHE-RSA-AES128-GCM-SHA256:DHE-RSA-AES256-GCM-SHA384:"
    "ECDHE-ECDSA-AES128-SHA256:ECDHE-RSA-AES128-SHA256:ECDHE-ECDSA-AES256-SHA384:ECDHE-RSA-AES256-SHA384:"
    "ECDHE-RSA-AES128-SHA:ECDHE-RSA-AES256-SHA";

struct tls_client_config {
    WOLFSSL_CTX *ctx;
    struct sessions *sessions; /* NULL: none are kept */
    const struct log *log;
    int keylog; /* -1: none */
    bool insecure, has_certificate;
};

/* A session came: before the handshake's end in TLS 1.2, after it in TLS 1.3. */
static int on_session(WOLFSSL *ssl, WOLFSSL_SESSION *session)
{
    struct tls *t = tls_of(ssl);
    struct sessions *sessions = tls_client_sessions(t->client_config);
    if (!sessions)
        return 0;
    int n = wolfSSL_i2d_SSL_SESSION(session, NULL);
    uint8_t *p;
    buf_clear(&t->session);
    if (n <= 0 || buf_reserve(&t->session, (size_t)n, &p))
        return 0;
    n = wolfSSL_i2d_SSL_SESSION(session, &p);
    if (n > 0)
        buf_commit(&t->session, (size_t)n);
    if (t->state == TLS_OPEN && n > 0) {
        sessions_put(sessions, buf_span(&t->session_key), buf_span(&t->session), t->chain);
        explicit_bzero(t->session.p, t->session.cap);
        buf_free(&t->session);
    }
    return 0; /* we keep no reference */
}

static void on_key(const WOLFSSL *ssl, const char *line)
{
    /* The library tells full handshakes of clients only in TLS 1.2; tls.c writes those lines, for both sides. */
    if (wolfSSL_version((WOLFSSL *)(uintptr_t)ssl) == TLS1_3_VERSION)
        keylog_line(tls_of(ssl)->client_config->keylog, line);
}

/* The library asks what to answer to a CertificateRequest: with what its context has. */
static int on_certificate_request(WOLFSSL *ssl, void *unused)
{
    (void)unused;
    tls_of(ssl)->certificate_asked = true;
    return 1;
}

/* The same where it has nothing: this one may say no, and the answer is an empty certificate. In TLS 1.3 the one above would end the handshake. */
static int on_certificate_wanted(WOLFSSL *ssl, WOLFSSL_X509 **certificate, WOLFSSL_EVP_PKEY **key)
{
    (void)certificate;
    (void)key;
    tls_of(ssl)->certificate_asked = true;
    return 0;
}

enum err tls_read_file(const char *path, struct buf *out, unsigned *mode)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOCTTY);
    struct stat st;
    if (fd < 0)
        return err_from_errno(errno);
    enum err e = fstat(fd, &st) == 0 ? ERR_OK : err_from_errno(errno);
    if (!e && S_ISDIR(st.st_mode))
        e = ERR_CONFIG;
    *mode = e ? 0 : (unsigned)st.st_mode & 07777;
    while (!e) {
        uint8_t *p;
        e = buf_reserve(out, 16384, &p);
        ssize_t n = e ? 0 : read(fd, p, 16384);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            e = err_from_errno(errno);
        if (n <= 0)
            break;
        buf_commit(out, (size_t)n);
        if (out->n > CA_FILE_BYTES_MAX)
            e = ERR_LIMIT;
    }
    close(fd);
    return e;
}

static enum err load_ca_file(WOLFSSL_CTX *ctx, const char *path, struct buf *problem)
{
    struct buf text = BUF_INIT, der = BUF_INIT;
    struct span rest, label;
    size_t loaded = 0;
    unsigned mode;
    enum err e = tls_read_file(path, &text, &mode);
    if (e && e != ERR_NOMEM) {
        enum err put = buf_printf(problem, "cannot read the CA file %s: %s", path, err_text(e));
        e = put ? put : ERR_CONFIG;
    }
    rest = buf_span(&text);
    while (!e && (e = pem_next(&rest, &label, &der)) != ERR_NOT_FOUND) {
        if (e == ERR_PARSE)
            e = ERR_OK; /* one damaged certificate among many: the others count */
        else if (!e && wolfSSL_CTX_load_verify_buffer(ctx, der.p + der.head, (long)der.n, WOLFSSL_FILETYPE_ASN1) ==
                           WOLFSSL_SUCCESS)
            loaded++;
    }
    if (e == ERR_NOT_FOUND)
        e = ERR_OK;
    if (!e && loaded == 0) {
        enum err put = buf_printf(problem, "%s holds no usable certificate in PEM", path);
        e = put ? put : ERR_CONFIG;
    }
    buf_free(&text);
    buf_free(&der);
    return e;
}

static enum err load_trust(struct tls_client_config *c, const struct tls_client_options *o, struct buf *problem)
{
    if (o->insecure)
        return ERR_OK;
    enum err e = o->ca_file ? load_ca_file(c->ctx, o->ca_file, problem) : ERR_OK;
    if (!e && wolfSSL_CTX_load_system_CA_certs(c->ctx) != WOLFSSL_SUCCESS)
        log_write(o->log, LOG_WARN, "tls",
                  "the system has no CA certificates (package ca-certificates); only %s is trusted",
                  o->ca_file ? o->ca_file : "nothing");
    return e;
}

static enum err setup(struct tls_client_config *c)
{
    static const int groups[] = {WOLFSSL_ECC_X25519, WOLFSSL_ECC_SECP256R1, WOLFSSL_ECC_SECP384R1,
                                 WOLFSSL_ECC_SECP521R1};
    int wanted[ARRAY_LEN(groups)];
    memcpy(wanted, groups, sizeof groups); /* the library's parameter is not const */
    if (wolfSSL_CTX_SetMinVersion(c->ctx, WOLFSSL_TLSV1_2) != WOLFSSL_SUCCESS ||
        wolfSSL_CTX_set_cipher_list(c->ctx, client_ciphers) != WOLFSSL_SUCCESS ||
        wolfSSL_CTX_set_groups(c->ctx, wanted, ARRAY_LEN(wanted)) != WOLFSSL_SUCCESS ||
        wolfSSL_CTX_UseSessionTicket(c->ctx) != WOLFSSL_SUCCESS)
        return ERR_TLS;
    wolfSSL_CTX_set_verify(c->ctx, WOLFSSL_VERIFY_PEER, verify_certificate);
    wolfSSL_CTX_set_group_messages(c->ctx);
    wolfSSL_CTX_set_session_cache_mode(c->ctx, WOLFSSL_SESS_CACHE_CLIENT | WOLFSSL_SESS_CACHE_NO_INTERNAL);
    wolfSSL_CTX_sess_set_new_cb(c->ctx, on_session);
    if (c->has_certificate)
        wolfSSL_CTX_set_cert_cb(c->ctx, on_certificate_request, NULL);
    else
        wolfSSL_CTX_set_client_cert_cb(c->ctx, on_certificate_wanted);
    wolfSSL_CTX_SetIORecv(c->ctx, tls_io_recv);
    wolfSSL_CTX_SetIOSend(c->ctx, tls_io_send);
    if (c->keylog >= 0)
        wolfSSL_CTX_set_keylog_callback(c->ctx, on_key);
    return ERR_OK;
}

enum err tls_client_config_create(struct tls_client_config **out, const struct tls_client_options *options,
                                  struct buf *problem)
{
    *out = NULL;
    buf_clear(problem);
    struct tls_client_config *c = mem_new(1, sizeof *c);
    if (!c)
        return ERR_NOMEM;
    wolfSSL_Init();
    c->keylog = -1;
    c->log = options->log;
    c->insecure = options->insecure;
    c->has_certificate = options->certificate_file != NULL;
    enum err e = ERR_OK;
    if (options->key_log_file && keylog_open(options->key_log_file, &c->keylog)) {
        enum err put = buf_printf(problem, "cannot write the key log %s: %s", options->key_log_file, strerror(errno));
        e = put ? put : ERR_CONFIG;
    }
    if (!e && !(c->ctx = wolfSSL_CTX_new(wolfTLS_client_method())))
        e = ERR_NOMEM;
    if (!e)
        e = setup(c);
    if (!e)
        e = load_trust(c, options, problem);
    if (!e && options->certificate_file)
        e = tls_use_client_certificate(c->ctx, options->certificate_file, problem);
    if (!e && options->sessions_max > 0)
        e = sessions_create(&c->sessions, options->sessions_max);
    if (e)
        tls_client_config_destroy(&c);
    if (e && problem->n == 0) {
        enum err put = buf_printf(problem, "TLS cannot be set up: %s", err_text(e));
        (void)put; /* without memory there is no sentence either */
    }
    *out = c;
    return e;
}

void tls_client_config_destroy(struct tls_client_config **config)
{
    struct tls_client_config *c = *config;
    *config = NULL;
    if (!c)
        return;
    if (c->ctx)
        wolfSSL_CTX_free(c->ctx);
    sessions_destroy(&c->sessions);
    keylog_close(&c->keylog);
    mem_free(c);
    wolfSSL_Cleanup();
}

WOLFSSL *tls_client_ssl(struct tls_client_config *config)
{
    return wolfSSL_new(config->ctx);
}

bool tls_client_insecure(const struct tls_client_config *config)
{
    return config->insecure;
}

struct sessions *tls_client_sessions(const struct tls_client_config *config)
{
    return config->sessions;
}

bool tls_client_has_certificate(const struct tls_client_config *config)
{
    return config->has_certificate;
}

int tls_client_keylog(const struct tls_client_config *config)
{
    return config->keylog;
}
