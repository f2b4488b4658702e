/* tls.c: one TLS connection as a filter. wolfSSL asks for ciphertext and gets it from the span being fed, until that is
 * empty; what it sends goes to events->send, which always takes all, so that a write never has to be repeated (wolfSSL
 * would send the old bytes then). So each call below runs to the end of its input, and the library waits for nothing but
 * more input.
 * Invariants: `in` is empty outside tls_feed(); only tls_enter() writes the state; a client is never OPEN unless its origin's
 * certificate was accepted, or a session that began with an accepted one was resumed. */
#include "tls/tls.h"

#include "base/alloc.h"
#include "base/util.h"
#include "tls/keylog.h"
#include "tls/tls_internal.h"
#include "tls/x509.h"

#include <assert.h>
#include <stdarg.h>
#include <stdio.h>

#include <wolfssl/error-ssl.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

enum { PLAIN_MAX = 16384, WRITE_MAX = 1 << 20, RECORD_ALERT = 21 };

static const unsigned tls_next[] = {
    [TLS_HANDSHAKE] = BIT(TLS_OPEN) | BIT(TLS_FAILED),
    [TLS_OPEN] = BIT(TLS_ENDED) | BIT(TLS_FAILED),
    [TLS_ENDED] = BIT(TLS_FAILED),
    [TLS_FAILED] = 0,
};

/* RFC 8446 §6 and RFC 5246 §7.2. */
#define ALERT_TABLE(X)                                                                                                 \
    X(0, "close_notify")                                                                                               \
    X(10, "unexpected_message")                                                                                        \
    X(20, "bad_record_mac")                                                                                            \
    X(22, "record_overflow")                                                                                           \
    X(40, "handshake_failure")                                                                                         \
    X(42, "bad_certificate")                                                                                           \
    X(43, "unsupported_certificate")                                                                                   \
    X(44, "certificate_revoked")                                                                                       \
    X(45, "certificate_expired")                                                                                       \
    X(46, "certificate_unknown")                                                                                       \
    X(47, "illegal_parameter")                                                                                         \
    X(48, "unknown_ca")                                                                                                \
    X(49, "access_denied")                                                                                             \
    X(50, "decode_error")                                                                                              \
    X(51, "decrypt_error")                                                                                             \
    X(70, "protocol_version")                                                                                          \
    X(71, "insufficient_security")                                                                                     \
    X(80, "internal_error")                                                                                            \
    X(86, "inappropriate_fallback")                                                                                    \
    X(90, "user_canceled")                                                                                             \
    X(100, "no_renegotiation")                                                                                         \
    X(109, "missing_extension")                                                                                        \
    X(110, "unsupported_extension")                                                                                    \
    X(112, "unrecognized_name")                                                                                        \
    X(113, "bad_certificate_status_response")                                                                          \
    X(115, "unknown_psk_identity")                                                                                     \
    X(116, "certificate_required")                                                                                     \
    X(120, "no_application_protocol")

static const char *alert_name(int number)
{
    switch (number) {
#define ALERT_CASE(n, name)                                                                                            \
    case n:                                                                                                            \
        return name;
        ALERT_TABLE(ALERT_CASE)
#undef ALERT_CASE
    default:
        return "unknown alert";
    }
}

static void tls_enter(struct tls *t, enum tls_state to)
{
    assert(tls_next[t->state] & BIT(to));
    t->state = to;
}

struct tls *tls_of(const WOLFSSL *ssl)
{
    /* The library's getter is not const, and changes nothing. */
    return wolfSSL_GetIOReadCtx((WOLFSSL *)(uintptr_t)ssl);
}

void tls_note(struct tls *t, const char *format, ...)
{
    if (t->error)
        return;
    t->error = mem_new(1, TLS_ERROR_BYTES);
    if (!t->error)
        return;
    va_list args;
    va_start(args, format);
    vsnprintf(t->error, TLS_ERROR_BYTES, format, args);
    va_end(args);
}

static void keep_last(struct tls *t, struct span taken)
{
    size_t n = MIN(taken.n, sizeof t->last);
    memmove(t->last, t->last + n, sizeof t->last - n);
    memcpy(t->last + sizeof t->last - n, taken.p + taken.n - n, n);
}

int tls_io_recv(WOLFSSL *ssl, char *to, int n, void *ctx)
{
    (void)ssl;
    struct tls *t = ctx;
    if (t->in.n == 0)
        return WOLFSSL_CBIO_ERR_WANT_READ;
    size_t step = MIN((size_t)n, t->in.n);
    memcpy(to, t->in.p, step);
    if (t->state == TLS_HANDSHAKE)
        keep_last(t, span_of(to, step));
    t->in = span_from(t->in, step);
    return (int)step;
}

int tls_io_send(WOLFSSL *ssl, char *from, int n, void *ctx)
{
    (void)ssl;
    struct tls *t = ctx;
    if (!t->callback_error)
        t->callback_error = t->events->send(t->ctx, span_of(from, (size_t)n));
    return t->callback_error ? WOLFSSL_CBIO_ERR_GENERAL : n;
}

/* --- making */

static enum err tls_new(struct tls **out, const struct tls_events *events, void *ctx)
{
    struct tls *t = *out = mem_new(1, sizeof *t);
    if (!t)
        return ERR_NOMEM;
    t->events = events;
    t->ctx = ctx;
    t->alert = -1;
    return ERR_OK;
}

static int keylog_of(const struct tls *t)
{
    return t->server ? tls_server_keylog(t->server_config) : tls_client_keylog(t->client_config);
}

static enum err attach(struct tls *t, WOLFSSL *ssl)
{
    if (!ssl)
        return ERR_NOMEM;
    t->ssl = ssl;
    wolfSSL_SetIOReadCtx(ssl, t);
    wolfSSL_SetIOWriteCtx(ssl, t);
    /* Where the library was built to show secrets it would by default print them and write them to a file of its own in the
     * working directory; the key log callback does not depend on these. */
    wolfSSL_set_secret_cb(ssl, NULL, NULL);
    wolfSSL_set_tls13_secret_cb(ssl, NULL, NULL);
    if (keylog_of(t) >= 0)
        wolfSSL_KeepArrays(ssl); /* until log_keys() */
    return ERR_OK;
}

static void log_keys(struct tls *t)
{
    unsigned char *secret, *server_random, *client_random;
    unsigned secret_n, server_n, client_n;
    if (keylog_of(t) < 0)
        return;
    if (wolfSSL_version(t->ssl) == TLS1_2_VERSION &&
        wolfSSL_get_keys(t->ssl, &secret, &secret_n, &server_random, &server_n, &client_random, &client_n) ==
            WOLFSSL_SUCCESS &&
        secret_n == KEYLOG_SECRET_BYTES && client_n == KEYLOG_RANDOM_BYTES)
        keylog_tls12(keylog_of(t), client_random, secret);
    wolfSSL_FreeArrays(t->ssl);
}

enum err tls_accept(struct tls **out, struct tls_server_config *config, struct leaf *leaf, struct span alpn,
                    const struct tls_events *events, void *ctx)
{
    assert(alpn.n <= TLS_ALPN_MAX);
    struct tls *t;
    enum err e = tls_new(&t, events, ctx);
    if (!e) {
        t->server = true;
        t->server_config = config;
        leaf_ref(leaf);
        t->leaf = leaf;
        t->alpn_n = alpn.n;
        if (alpn.n > 0)
            memcpy(t->alpn, alpn.p, alpn.n);
        e = attach(t, tls_server_ssl(config, leaf));
    }
    if (e)
        tls_destroy(&t);
    *out = t;
    return e;
}

/* The library takes names as a comma-separated list: a name with a comma or a 0 byte in it cannot be offered, and is left out. */
static enum err offer_alpn(struct tls *t, struct span alpn)
{
    struct buf list = BUF_INIT;
    enum err e = ERR_OK;
    while (!e && alpn.n > 0) {
        size_t n = alpn.p[0];
        struct span name = span_first(span_from(alpn, 1), n);
        alpn = span_from(alpn, 1 + n);
        if (name.n != n || n == 0 || memchr(name.p, ',', n) || memchr(name.p, 0, n))
            continue;
        if (list.n > 0)
            e = buf_put_byte(&list, ',');
        if (!e)
            e = buf_put(&list, name);
    }
    const char *text = e || list.n == 0 ? NULL : buf_cstr(&list);
    if (!e && list.n > 0 && !text)
        e = ERR_NOMEM;
    if (text) {
        /* The list is not changed by the library, though its type says so. */
        int code =
            wolfSSL_UseALPN(t->ssl, (char *)(uintptr_t)text, (unsigned)list.n, WOLFSSL_ALPN_CONTINUE_ON_MISMATCH);
        if (code != WOLFSSL_SUCCESS)
            e = code == MEMORY_E ? ERR_NOMEM : ERR_TLS;
    }
    buf_free(&list);
    return e;
}

static void resume(struct tls *t)
{
    struct sessions *sessions = tls_client_sessions(t->client_config);
    struct buf bytes = BUF_INIT;
    if (sessions && sessions_get(sessions, buf_span(&t->session_key), &bytes, &t->chain) == ERR_OK) {
        const unsigned char *p = bytes.p + bytes.head;
        WOLFSSL_SESSION *session = wolfSSL_d2i_SSL_SESSION(NULL, &p, (long)bytes.n);
        if (session) {
            /* A hello with a session ID beside the ticket makes the library take any TLS 1.2 answer for a resumption, and fail when
             * the origin has forgotten its ticket key; without one it falls back to a full handshake (RFC 5077 §3.4). */
            if (wolfSSL_SESSION_has_ticket(session))
                (void)wolfSSL_SESSION_set1_id(session, (const unsigned char *)"", 0);
            wolfSSL_set_session(t->ssl, session);
            wolfSSL_SESSION_free(session);
        }
        explicit_bzero(bytes.p, bytes.cap);
    }
    buf_free(&bytes);
}

static enum err client_setup(struct tls *t, struct span host, unsigned port, struct span alpn)
{
    struct x509_name name;
    t->host = mem_strdup(host.p, host.n);
    if (!t->host)
        return ERR_NOMEM;
    enum err e = attach(t, tls_client_ssl(t->client_config));
    if (e)
        return e;
    wolfSSL_SetCertCbCtx(t->ssl, t);
    if (!x509_name_read(host, &name) && name.address_n == 0 &&
        wolfSSL_UseSNI(t->ssl, WOLFSSL_SNI_HOST_NAME, name.text, (unsigned short)name.text_n) != WOLFSSL_SUCCESS)
        return ERR_NOMEM;
    e = offer_alpn(t, alpn);
    /* The policy is the store's own; see client.c. */
    if (!e)
        e = buf_printf(&t->session_key, "%s %u ", t->host, port);
    if (!e)
        e = buf_put(&t->session_key, alpn);
    if (!e)
        resume(t);
    return e;
}

enum err tls_connect(struct tls **out, struct tls_client_config *config, struct span host, unsigned port,
                     struct span alpn, const struct tls_events *events, void *ctx)
{
    struct tls *t;
    enum err e = tls_new(&t, events, ctx);
    if (!e) {
        t->client_config = config;
        e = client_setup(t, host, port, alpn);
    }
    if (e)
        tls_destroy(&t);
    *out = t;
    return e;
}

void tls_destroy(struct tls **tls)
{
    struct tls *t = *tls;
    *tls = NULL;
    if (!t)
        return;
    if (t->ssl)
        wolfSSL_free(t->ssl);
    leaf_unref(&t->leaf);
    chain_unref(&t->chain);
    if (t->session.p)
        explicit_bzero(t->session.p, t->session.cap);
    buf_free(&t->session);
    buf_free(&t->session_key);
    mem_free(t->host);
    mem_free(t->error);
    mem_free(t);
}

/* --- running */

/* Did the peer send a fatal alert? Every alert but two is fatal in TLS 1.3, whatever its level says. */
static bool peer_alerted(struct tls *t)
{
    WOLFSSL_ALERT_HISTORY history;
    if (wolfSSL_get_alert_history(t->ssl, &history) != WOLFSSL_SUCCESS)
        return false;
    int code = history.last_rx.code;
    if (code <= 0 || code == 90 || (history.last_rx.level != alert_fatal && wolfSSL_version(t->ssl) != TLS1_3_VERSION))
        return false;
    t->alert = code;
    return true;
}

/* OpenSSL's clients refuse a certificate of TLS 1.3 before they have keys to write with: their alert comes in the clear, which the library
 * takes for a malformed record, once it has read the header or all of it. Here it is known for what it is; the handshake has failed anyway. */
static bool peer_alerted_in_the_clear(struct tls *t, int code)
{
    uint8_t seen[sizeof t->last + 2];
    size_t more = MIN(t->in.n, 2);
    if (!t->server || t->state != TLS_HANDSHAKE || code != PARSE_ERROR || wolfSSL_version(t->ssl) != TLS1_3_VERSION)
        return false;
    memcpy(seen, t->last, sizeof t->last);
    if (more > 0)
        memcpy(seen + sizeof t->last, t->in.p, more);
    for (size_t at = 0; at <= more; at += 2)
        if (seen[at] == RECORD_ALERT && seen[at + 1] == 3 && seen[at + 3] == 0 && seen[at + 4] == 2 &&
            seen[at + 5] <= alert_fatal) {
            t->alert = seen[at + 6];
            return true;
        }
    return false;
}

static enum err tls_fail(struct tls *t, int code)
{
    bool handshake = t->state == TLS_HANDSHAKE, in_the_clear = peer_alerted_in_the_clear(t, code);
    tls_enter(t, TLS_FAILED);
    t->in = SPAN_EMPTY;
    /* A session that the origin no longer likes must not spoil the next attempt. */
    if (!t->server && handshake && tls_client_sessions(t->client_config))
        sessions_drop(tls_client_sessions(t->client_config), buf_span(&t->session_key));
    if (t->callback_error)
        return t->callback_error;
    if (!t->server && handshake && t->error)
        return ERR_TLS_VERIFY; /* only verification has left a note by now */
    if (code == MEMORY_E || code == MEMORY_ERROR)
        return ERR_NOMEM;
    if (in_the_clear || peer_alerted(t)) {
        tls_note(t, "the peer's alert: %s (%d)", alert_name(t->alert), t->alert);
        return ERR_TLS_ALERT;
    }
    tls_note(t, "%s: %s (%d)", handshake ? "TLS handshake failed" : "TLS failed",
             wolfSSL_ERR_reason_error_string((unsigned long)-(long)code), code);
    return ERR_TLS;
}

static enum err establish(struct tls *t)
{
    bool resumed = wolfSSL_session_reused(t->ssl) == 1;
    if (!t->server && !t->verified && !resumed) {
        tls_note(t, "the server showed no certificate");
        return tls_fail(t, 0);
    }
    tls_enter(t, TLS_OPEN);
    log_keys(t);
    if (!t->server && t->session.n > 0) {
        sessions_put(tls_client_sessions(t->client_config), buf_span(&t->session_key), buf_span(&t->session), t->chain);
        explicit_bzero(t->session.p, t->session.cap);
        buf_free(&t->session);
    }
    return t->events->established(t->ctx);
}

/* One step of the handshake. ERR_AGAIN: it waits for input. */
static enum err step_handshake(struct tls *t)
{
    int rc = t->server ? wolfSSL_accept(t->ssl) : wolfSSL_connect(t->ssl);
    if (rc == WOLFSSL_SUCCESS)
        return establish(t);
    int code = wolfSSL_get_error(t->ssl, rc);
    return code == WOLFSSL_ERROR_WANT_READ ? ERR_AGAIN : tls_fail(t, code);
}

static enum err step_read(struct tls *t, uint8_t *scratch)
{
    int n = wolfSSL_read(t->ssl, scratch, PLAIN_MAX);
    if (n > 0)
        return t->events->data(t->ctx, span_of(scratch, (size_t)n));
    int code = wolfSSL_get_error(t->ssl, n);
    if (code == WOLFSSL_ERROR_WANT_READ)
        return t->callback_error ? tls_fail(t, code) : ERR_AGAIN;
    if (code != WOLFSSL_ERROR_ZERO_RETURN)
        return tls_fail(t, code);
    tls_enter(t, TLS_ENDED);
    return t->events->closed(t->ctx);
}

static enum err run(struct tls *t)
{
    uint8_t scratch[PLAIN_MAX];
    enum err e = ERR_OK;
    while (!e && t->state == TLS_HANDSHAKE)
        e = step_handshake(t);
    while (!e && t->state == TLS_OPEN)
        e = step_read(t, scratch);
    return e == ERR_AGAIN ? ERR_OK : e;
}

enum err tls_start(struct tls *tls)
{
    assert(!tls->server && tls->state == TLS_HANDSHAKE);
    return run(tls);
}

enum err tls_feed(struct tls *tls, struct span cipher)
{
    assert(tls->state != TLS_FAILED);
    tls->in = cipher;
    enum err e = run(tls);
    tls->in = SPAN_EMPTY; /* after the peer's close_notify nothing counts */
    return e;
}

enum err tls_write(struct tls *tls, struct span plain)
{
    assert(tls->state == TLS_OPEN || tls->state == TLS_ENDED);
    while (plain.n > 0) {
        int n = wolfSSL_write(tls->ssl, plain.p, (int)MIN(plain.n, (size_t)WRITE_MAX));
        if (n <= 0)
            return tls_fail(tls, wolfSSL_get_error(tls->ssl, n));
        plain = span_from(plain, (size_t)n);
    }
    return ERR_OK;
}

void tls_close(struct tls *tls)
{
    if (tls->close_sent || (tls->state != TLS_OPEN && tls->state != TLS_ENDED))
        return;
    tls->close_sent = true;
    (void)wolfSSL_shutdown(tls->ssl);
}

/* --- asking */

bool tls_is_established(const struct tls *tls)
{
    return tls->state == TLS_OPEN || tls->state == TLS_ENDED;
}

void tls_get_info(const struct tls *tls, struct tls_info *out)
{
    memset(out, 0, sizeof *out);
    out->version = out->cipher = "";
    out->alert = tls->alert;
    /* bad, unsupported, revoked, expired, unknown; unknown_ca. handshake_failure may mean anything. */
    out->certificate_refused = (tls->alert >= 42 && tls->alert <= 46) || tls->alert == 48;
    out->certificate_asked = tls->certificate_asked;
    out->certificate_had = !tls->server && tls_client_has_certificate(tls->client_config);
    if (!tls_is_established(tls))
        return;
    out->version = wolfSSL_get_version(tls->ssl);
    unsigned long id = wolfSSL_CIPHER_get_id(wolfSSL_get_current_cipher(tls->ssl));
    const char *name = wolfSSL_get_cipher_name_iana_from_suite((unsigned char)(id >> 8), (unsigned char)id);
    out->cipher = name ? name : "";
    out->resumed = wolfSSL_session_reused(tls->ssl) == 1;
    if (tls->server) {
        if (tls->alpn_chosen)
            memcpy(out->alpn, tls->alpn, MIN(tls->alpn_n, sizeof out->alpn - 1));
        return;
    }
    char *alpn = NULL;
    unsigned short n = 0;
    if (wolfSSL_ALPN_GetProtocol(tls->ssl, &alpn, &n) == WOLFSSL_SUCCESS && alpn)
        memcpy(out->alpn, alpn, MIN(n, sizeof out->alpn - 1));
}

const char *tls_error(const struct tls *tls)
{
    return tls->error ? tls->error : "TLS failure";
}

bool tls_peer_certificate(const struct tls *tls, size_t i, struct span *der)
{
    return chain_get(tls->chain, i, der);
}

enum err tls_certificate_names(struct span der, struct buf *out)
{
    struct x509 fields;
    enum err e = x509_parse(der, &fields);
    return e ? e : x509_names(&fields, out);
}

enum err tls_peer_names(const struct tls *tls, struct buf *out)
{
    struct span leaf;
    if (!chain_get(tls->chain, 0, &leaf))
        return ERR_OK;
    enum err e = tls_certificate_names(leaf, out);
    return e == ERR_PARSE ? ERR_OK : e;
}

const char *tls_library_version(void)
{
    return wolfSSL_lib_version();
}
