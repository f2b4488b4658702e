/* server.c: the side that faces clients. Tickets are sealed with AES-256-GCM under keys of this process, which change as
 * they age; the names that the leaf was asked for are authenticated with them, so that a ticket of one host is worth nothing
 * at another. Any worker can open a ticket of any other. */
#include "base/alloc.h"
#include "base/clock.h"
#include "tls/keylog.h"
#include "tls/tls_internal.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include <wolfssl/wolfcrypt/aes.h>

enum {
    TICKET_KEY_BYTES = 32,
    TICKET_IV_BYTES = 12,
    TICKET_TAG_BYTES = 16,
    TICKET_KEY_LIFE_S = 3600, /* seals for this long, opens for as long again */
    TICKET_LIFETIME_HINT_S = 3600,
};

struct ticket_key {
    uint8_t name[WOLFSSL_TICKET_NAME_SZ];
    uint8_t secret[TICKET_KEY_BYTES];
    uint64_t born_ns;
};

struct tls_server_config {
    struct leaf_cache *leaves;
    const struct log *log;
    int keylog; /* -1: none */
    pthread_mutex_t lock;
    struct ticket_key current, previous; /* under the lock */
};

static void random_bytes(void *to, size_t n)
{
    uint8_t *at = to;
    while (n > 0) {
        ssize_t got = getrandom(at, n, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            abort(); /* never seal with what is not random */
        at += got;
        n -= (size_t)got;
    }
}

static void ticket_key_fresh(struct ticket_key *key, uint64_t now_ns)
{
    random_bytes(key->name, sizeof key->name);
    random_bytes(key->secret, sizeof key->secret);
    key->born_ns = now_ns;
}

/* The key that seals now. */
static struct ticket_key sealing_key(struct tls_server_config *config)
{
    uint64_t now_ns = clock_mono_ns();
    pthread_mutex_lock(&config->lock);
    if (now_ns - config->current.born_ns > TICKET_KEY_LIFE_S * NS_PER_S) {
        config->previous = config->current;
        ticket_key_fresh(&config->current, now_ns);
    }
    struct ticket_key key = config->current;
    pthread_mutex_unlock(&config->lock);
    return key;
}

static bool opening_key(struct tls_server_config *config, const uint8_t *name, struct ticket_key *out)
{
    uint64_t now_ns = clock_mono_ns();
    pthread_mutex_lock(&config->lock);
    *out = config->current;
    if (memcmp(out->name, name, sizeof out->name) != 0)
        *out = config->previous;
    pthread_mutex_unlock(&config->lock);
    return memcmp(out->name, name, sizeof out->name) == 0 && now_ns - out->born_ns <= 2 * TICKET_KEY_LIFE_S * NS_PER_S;
}

struct ticket_seal {
    uint8_t *iv, *tag, *text;
    word32 n;
};

/* Seals or opens in place; false when the tag does not fit. */
static bool ticket_crypt(const struct ticket_key *key, const struct leaf *leaf, struct ticket_seal seal, bool enc)
{
    uint8_t bound[WOLFSSL_TICKET_NAME_SZ + LEAF_IDENTITY_BYTES];
    memcpy(bound, key->name, WOLFSSL_TICKET_NAME_SZ);
    memcpy(bound + WOLFSSL_TICKET_NAME_SZ, leaf_identity(leaf), LEAF_IDENTITY_BYTES);
    Aes aes;
    if (wc_AesInit(&aes, NULL, INVALID_DEVID) != 0)
        return false;
    int code = wc_AesGcmSetKey(&aes, key->secret, TICKET_KEY_BYTES);
    if (code == 0 && enc)
        code = wc_AesGcmEncrypt(&aes, seal.text, seal.text, seal.n, seal.iv, TICKET_IV_BYTES, seal.tag,
                                TICKET_TAG_BYTES, bound, sizeof bound);
    else if (code == 0)
        code = wc_AesGcmDecrypt(&aes, seal.text, seal.text, seal.n, seal.iv, TICKET_IV_BYTES, seal.tag,
                                TICKET_TAG_BYTES, bound, sizeof bound);
    wc_AesFree(&aes);
    return code == 0;
}

static int on_ticket(WOLFSSL *ssl, unsigned char name[WOLFSSL_TICKET_NAME_SZ], unsigned char iv[WOLFSSL_TICKET_IV_SZ],
                     unsigned char mac[WOLFSSL_TICKET_MAC_SZ], int enc, unsigned char *ticket, int in_n, int *out_n,
                     void *unused)
{
    (void)unused;
    struct tls *t = tls_of(ssl);
    struct ticket_seal seal = {.iv = iv, .tag = mac, .text = ticket, .n = (word32)in_n};
    struct ticket_key key;
    *out_n = in_n;
    int result = WOLFSSL_TICKET_RET_REJECT;
    if (enc) {
        key = sealing_key(t->server_config);
        memcpy(name, key.name, sizeof key.name);
        memset(iv, 0, WOLFSSL_TICKET_IV_SZ);
        memset(mac, 0, WOLFSSL_TICKET_MAC_SZ);
        random_bytes(iv, TICKET_IV_BYTES);
        if (ticket_crypt(&key, t->leaf, seal, true))
            result = WOLFSSL_TICKET_RET_OK;
    } else if (opening_key(t->server_config, name, &key) && ticket_crypt(&key, t->leaf, seal, false)) {
        result = WOLFSSL_TICKET_RET_OK;
    }
    explicit_bzero(&key, sizeof key);
    return result;
}

static int on_alpn(WOLFSSL *ssl, const unsigned char **out, unsigned char *out_n, const unsigned char *in,
                   unsigned in_n, void *unused)
{
    (void)unused;
    struct tls *t = tls_of(ssl);
    for (unsigned at = 0; at < in_n && t->alpn_n > 0;) {
        unsigned n = in[at++];
        if (n > in_n - at)
            break;
        if (n == t->alpn_n && memcmp(in + at, t->alpn, n) == 0) {
            *out = (const unsigned char *)t->alpn;
            *out_n = (unsigned char)n;
            t->alpn_chosen = true;
            return SSL_TLSEXT_ERR_OK;
        }
        at += n;
    }
    return SSL_TLSEXT_ERR_NOACK; /* no extension in the answer: the client says what it makes of that */
}

static void on_key(const WOLFSSL *ssl, const char *line)
{
    /* The library tells full handshakes of clients only in TLS 1.2; tls.c writes those lines, for both sides. */
    if (wolfSSL_version((WOLFSSL *)(uintptr_t)ssl) == TLS1_3_VERSION)
        keylog_line(tls_of(ssl)->server_config->keylog, line);
}

static void setup(WOLFSSL_CTX *ctx)
{
    wolfSSL_CTX_SetIORecv(ctx, tls_io_recv);
    wolfSSL_CTX_SetIOSend(ctx, tls_io_send);
    wolfSSL_CTX_set_TicketEncCb(ctx, on_ticket);
    wolfSSL_CTX_set_TicketHint(ctx, TICKET_LIFETIME_HINT_S);
    wolfSSL_CTX_set_alpn_select_cb(ctx, on_alpn, NULL);
}

static void setup_logging(WOLFSSL_CTX *ctx)
{
    setup(ctx);
    wolfSSL_CTX_set_keylog_callback(ctx, on_key);
}

enum err tls_server_config_create(struct tls_server_config **out, struct leaf_cache *leaves, const char *key_log_file,
                                  const struct log *log)
{
    *out = NULL;
    struct tls_server_config *c = mem_new(1, sizeof *c);
    if (!c)
        return ERR_NOMEM;
    wolfSSL_Init();
    pthread_mutex_init(&c->lock, NULL);
    c->leaves = leaves;
    c->log = log;
    c->keylog = -1;
    ticket_key_fresh(&c->current, clock_mono_ns());
    ticket_key_fresh(&c->previous, 0);
    if (key_log_file && keylog_open(key_log_file, &c->keylog)) {
        tls_server_config_destroy(&c);
        return ERR_CONFIG;
    }
    leaf_cache_on_context(leaves, c->keylog >= 0 ? setup_logging : setup);
    *out = c;
    return ERR_OK;
}

void tls_server_config_destroy(struct tls_server_config **config)
{
    struct tls_server_config *c = *config;
    *config = NULL;
    if (!c)
        return;
    keylog_close(&c->keylog);
    pthread_mutex_destroy(&c->lock);
    explicit_bzero(&c->current, sizeof c->current);
    explicit_bzero(&c->previous, sizeof c->previous);
    mem_free(c);
    wolfSSL_Cleanup();
}

WOLFSSL *tls_server_ssl(struct tls_server_config *config, struct leaf *leaf)
{
    (void)config;
    return wolfSSL_new(leaf_context(leaf));
}

int tls_server_keylog(const struct tls_server_config *config)
{
    return config->keylog;
}
