/* leaf.c: minted certificates and the contexts that present them, least recently used out first. One lock covers the table,
 * the list and the minting itself: a leaf takes some 50 µs, and two connections to a new host should share one.
 * Invariants: a leaf in the table holds one reference of the cache's; the table and the list hold the same leaves, at most
 * leaves_max; all that a leaf holds but its count is never changed once it is in the table. */
#include "tls/leaf.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/list.h"
#include "base/util.h"
#include "tls/ca_internal.h"
#include "tls/key.h"
#include "tls/leaf_internal.h"
#include "tls/x509.h"

#include <assert.h>
#include <pthread.h>
#include <stdatomic.h>

enum {
    DAY_S = 86400,
    LEAF_BACKDATED_DAYS = 2,
    LEAF_DAYS = 199,
    LEAF_FRESH_DAYS = 90, /* a leaf older than this is minted anew: a process may run for a year */
};

/* ECDSA only, as our key is; AES-128 first, which costs least. */
static const char server_ciphers[] =
    "TLS13-AES128-GCM-SHA256:TLS13-AES256-GCM-SHA384:TLS13-CHACHA20-POLY1305-SHA256:"
    "ECDHE-ECDSA-AES128-GCM-SHA256:ECDHE-ECDSA-AES256-GCM-SHA384:ECDHE-ECDSA-CHACHA20-POLY1305";

struct leaf {
    struct list lru;
    atomic_uint refs;
    uint64_t hash;
    uint64_t minted_s;
    struct buf asked; /* host, 0, more names: as they were given */
    size_t host_n;
    struct buf der;
    WOLFSSL_CTX *ctx;
    uint8_t identity[LEAF_IDENTITY_BYTES];
};

struct leaf_cache {
    const struct ca *ca;
    const struct log *log;
    struct key *key;    /* of all leaves */
    struct buf key_der; /* PKCS#8 */
    unsigned leaves_max;
    struct hash_key hash_key;
    pthread_mutex_t lock;
    struct hash_table table; /* under the lock, as is what follows */
    struct list lru;         /* most recently used first */
    unsigned n;
    void (*setup)(WOLFSSL_CTX *ctx);
};

struct wanted {
    struct span host, more;
};

static bool leaf_matches(const void *value, const void *wanted)
{
    const struct leaf *leaf = value;
    const struct wanted *w = wanted;
    struct span asked = buf_span(&leaf->asked);
    return span_eq(span_first(asked, leaf->host_n), w->host) && span_eq(span_from(asked, leaf->host_n + 1), w->more);
}

void leaf_ref(struct leaf *leaf)
{
    atomic_fetch_add_explicit(&leaf->refs, 1, memory_order_relaxed);
}

void leaf_unref(struct leaf **leaf)
{
    struct leaf *l = *leaf;
    *leaf = NULL;
    if (!l || atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) != 1)
        return;
    wolfSSL_CTX_free(l->ctx);
    buf_free(&l->asked);
    buf_free(&l->der);
    mem_free(l);
}

enum err leaf_cache_create(struct leaf_cache **out, const struct ca *ca, unsigned leaves_max, const struct log *log)
{
    assert(leaves_max > 0);
    *out = NULL;
    struct leaf_cache *c = mem_new(1, sizeof *c);
    if (!c)
        return ERR_NOMEM;
    c->ca = ca;
    c->log = log;
    c->leaves_max = leaves_max;
    list_init(&c->lru);
    pthread_mutex_init(&c->lock, NULL);
    hash_key_random(&c->hash_key);
    wolfSSL_Init();
    enum err e = key_create(&c->key);
    if (!e)
        e = key_pkcs8(c->key, &c->key_der);
    if (e)
        leaf_cache_destroy(&c);
    *out = c;
    return e;
}

/* Under the lock. */
static void forget(struct leaf_cache *c, struct leaf *leaf)
{
    hash_table_remove(&c->table, leaf->hash, leaf);
    list_remove(&leaf->lru);
    c->n--;
    leaf_unref(&leaf);
}

static void forget_all(struct leaf_cache *c)
{
    while (!list_empty(&c->lru))
        forget(c, container_of(c->lru.next, struct leaf, lru));
}

void leaf_cache_destroy(struct leaf_cache **cache)
{
    struct leaf_cache *c = *cache;
    *cache = NULL;
    if (!c)
        return;
    forget_all(c);
    hash_table_free(&c->table);
    key_destroy(&c->key);
    key_wipe(&c->key_der);
    pthread_mutex_destroy(&c->lock);
    mem_free(c);
    wolfSSL_Cleanup();
}

void leaf_cache_on_context(struct leaf_cache *cache, void (*setup)(WOLFSSL_CTX *ctx))
{
    pthread_mutex_lock(&cache->lock);
    cache->setup = setup;
    forget_all(cache);
    pthread_mutex_unlock(&cache->lock);
}

/* --- minting */

static bool known_name(const struct x509_name *names, size_t n, const struct x509_name *name)
{
    for (size_t i = 0; i < n; i++)
        if (names[i].address_n == name->address_n && names[i].text_n == name->text_n &&
            memcmp(names[i].text, name->text, name->text_n) == 0)
            return true;
    return false;
}

static enum err read_names(struct span host, struct span more, struct x509_name *names, size_t *n)
{
    enum err e = x509_name_read(host, &names[0]);
    if (e)
        return e;
    *n = 1;
    while (more.n > 0 && *n < X509_NAMES_MAX) {
        size_t end = span_find(more, 0);
        /* The origin's malformed names are its own affair; the leaf must stay valid. */
        if (!x509_name_read(span_first(more, end), &names[*n]) && !known_name(names, *n, &names[*n]))
            (*n)++;
        more = span_from(more, end + 1);
    }
    return ERR_OK;
}

enum err leaf_mint(struct leaf_cache *cache, struct span host, struct span more_names, uint64_t now_s, struct buf *out)
{
    struct x509_name *names = mem_new(X509_NAMES_MAX, sizeof *names);
    if (!names)
        return ERR_NOMEM;
    size_t n = 0;
    enum err e = read_names(host, more_names, names, &n);
    if (!e) {
        struct x509_issuer issuer = ca_issuer(cache->ca);
        uint64_t from = now_s - (uint64_t)LEAF_BACKDATED_DAYS * DAY_S, to = from + (uint64_t)LEAF_DAYS * DAY_S;
        struct x509_validity validity = {from, MIN(to, ca_not_after(cache->ca))};
        e = x509_make_leaf(out, &issuer, cache->key, names, n, validity);
    }
    mem_free(names);
    return e;
}

static enum err context_create(const struct leaf_cache *c, struct span der, WOLFSSL_CTX **out)
{
    static const int groups[] = {WOLFSSL_ECC_X25519, WOLFSSL_ECC_SECP256R1, WOLFSSL_ECC_SECP384R1};
    int wanted[ARRAY_LEN(groups)];
    memcpy(wanted, groups, sizeof groups); /* the library's parameter is not const */
    WOLFSSL_CTX *ctx = *out = wolfSSL_CTX_new(wolfTLS_server_method());
    if (!ctx)
        return ERR_NOMEM;
    struct span key = buf_span(&c->key_der);
    bool ok = wolfSSL_CTX_SetMinVersion(ctx, WOLFSSL_TLSV1_2) == WOLFSSL_SUCCESS &&
              wolfSSL_CTX_set_cipher_list(ctx, server_ciphers) == WOLFSSL_SUCCESS &&
              wolfSSL_CTX_set_groups(ctx, wanted, ARRAY_LEN(wanted)) == WOLFSSL_SUCCESS &&
              wolfSSL_CTX_use_certificate_buffer(ctx, der.p, (long)der.n, WOLFSSL_FILETYPE_ASN1) == WOLFSSL_SUCCESS &&
              wolfSSL_CTX_use_PrivateKey_buffer(ctx, key.p, (long)key.n, WOLFSSL_FILETYPE_ASN1) == WOLFSSL_SUCCESS;
    if (!ok)
        return ERR_TLS;
    wolfSSL_CTX_set_verify(ctx, WOLFSSL_VERIFY_NONE, NULL);
    wolfSSL_CTX_set_group_messages(ctx);
    /* The library's own cache is one for all contexts, and knows nothing of hosts: tickets only. */
    wolfSSL_CTX_set_session_cache_mode(ctx, WOLFSSL_SESS_CACHE_NO_INTERNAL);
    if (c->setup)
        c->setup(ctx);
    return ERR_OK;
}

static enum err leaf_create(struct leaf_cache *c, const struct wanted *w, uint64_t hash, uint64_t now_s,
                            struct leaf **out)
{
    struct leaf *leaf = *out = mem_new(1, sizeof *leaf);
    if (!leaf)
        return ERR_NOMEM;
    list_init(&leaf->lru);
    atomic_init(&leaf->refs, 1);
    leaf->hash = hash;
    leaf->minted_s = now_s;
    leaf->host_n = w->host.n;
    enum err e = leaf_mint(c, w->host, w->more, now_s, &leaf->der);
    if (!e)
        e = buf_put(&leaf->asked, w->host);
    if (!e)
        e = buf_put_byte(&leaf->asked, 0);
    if (!e)
        e = buf_put(&leaf->asked, w->more);
    if (!e)
        e = context_create(c, buf_span(&leaf->der), &leaf->ctx);
    if (!e)
        key_digest(buf_span(&leaf->asked), leaf->identity);
    if (e)
        leaf_unref(out);
    return e;
}

/* Under the lock: the leaf from the table, or a new one put there. */
static enum err find_or_create(struct leaf_cache *c, const struct wanted *w, uint64_t hash, struct leaf **out)
{
    uint64_t now_s = clock_wall_ns() / NS_PER_S;
    struct leaf *leaf = hash_table_get(&c->table, hash, leaf_matches, w);
    if (leaf && now_s - leaf->minted_s > (uint64_t)LEAF_FRESH_DAYS * DAY_S) {
        forget(c, leaf);
        leaf = NULL;
    }
    if (leaf) {
        list_remove(&leaf->lru);
    } else {
        enum err e = leaf_create(c, w, hash, now_s, &leaf);
        if (!e)
            e = hash_table_add(&c->table, hash, leaf);
        if (e) {
            leaf_unref(&leaf);
            return e;
        }
        if (++c->n > c->leaves_max)
            forget(c, container_of(c->lru.prev, struct leaf, lru));
    }
    list_push_front(&c->lru, &leaf->lru);
    leaf_ref(leaf);
    *out = leaf;
    return ERR_OK;
}

enum err leaf_get(struct leaf_cache *cache, struct span host, struct span more_names, struct leaf **out)
{
    *out = NULL;
    if (host.n == 0)
        return ERR_PARSE;
    struct wanted w = {.host = host, .more = more_names};
    uint64_t hash = hash64(&cache->hash_key, host) ^ (more_names.n ? hash64(&cache->hash_key, more_names) * 3 : 0);
    pthread_mutex_lock(&cache->lock);
    enum err e = find_or_create(cache, &w, hash, out);
    pthread_mutex_unlock(&cache->lock);
    if (e == ERR_TLS)
        log_write(cache->log, LOG_ERROR, "tls", "no certificate could be made for %.*s", (int)MIN(host.n, 256),
                  (const char *)host.p);
    return e;
}

struct span leaf_der(const struct leaf *leaf)
{
    return buf_span(&leaf->der);
}

WOLFSSL_CTX *leaf_context(const struct leaf *leaf)
{
    return leaf->ctx;
}

const uint8_t *leaf_identity(const struct leaf *leaf)
{
    return leaf->identity;
}
