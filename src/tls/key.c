/* key.c: private keys on wolfCrypt. Signing changes wolfCrypt's key and random generator, so both are used under the
 * key's lock only. */
#include "tls/key.h"

#include "base/alloc.h"
#include "base/util.h"

#include <pthread.h>
#include <string.h>

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/asn_public.h>
#include <wolfssl/wolfcrypt/ecc.h>
#include <wolfssl/wolfcrypt/error-crypt.h>
#include <wolfssl/wolfcrypt/random.h>
#include <wolfssl/wolfcrypt/rsa.h>
#include <wolfssl/wolfcrypt/sha256.h>
#include <wolfssl/wolfcrypt/sha512.h>
#include <wolfssl/wolfcrypt/signature.h>

enum key_kind { KEY_P256, KEY_P384, KEY_RSA };

enum {
    RSA_BYTES_MIN = 2048 / 8,
    RSA_BYTES_MAX = 4096 / 8,
    SPKI_BYTES_MAX = 1024,
    SIGNATURE_BYTES_MAX = 512,
    KEY_DER_BYTES_MAX = 65536
};

struct key {
    pthread_mutex_t lock;
    enum key_kind kind;
    WC_RNG rng;
    ecc_key ecc; /* valid unless kind is KEY_RSA */
    RsaKey rsa;  /* valid when kind is KEY_RSA */
    bool has_rng, has_ecc, has_rsa;
    uint8_t spki[SPKI_BYTES_MAX];
    size_t spki_n;
};

static enum err translate(int code)
{
    return code >= 0 ? ERR_OK : code == MEMORY_E ? ERR_NOMEM : ERR_TLS;
}

static enum err key_new(struct key **out)
{
    struct key *k = mem_new(1, sizeof *k);
    *out = k;
    if (!k)
        return ERR_NOMEM;
    pthread_mutex_init(&k->lock, NULL);
    enum err e = translate(wc_InitRng(&k->rng));
    k->has_rng = !e;
    return e;
}

void key_destroy(struct key **key)
{
    struct key *k = *key;
    *key = NULL;
    if (!k)
        return;
    if (k->has_ecc)
        wc_ecc_free(&k->ecc);
    if (k->has_rsa)
        wc_FreeRsaKey(&k->rsa);
    if (k->has_rng)
        wc_FreeRng(&k->rng);
    pthread_mutex_destroy(&k->lock);
    mem_free(k);
}

static enum err export_public(struct key *k)
{
    int n = k->kind == KEY_RSA ? wc_RsaKeyToPublicDer(&k->rsa, k->spki, sizeof k->spki)
                               : wc_EccPublicKeyToDer(&k->ecc, k->spki, sizeof k->spki, 1);
    if (n > 0)
        k->spki_n = (size_t)n;
    return translate(n);
}

static enum err ecc_begin(struct key *k)
{
    enum err e = translate(wc_ecc_init(&k->ecc));
    k->has_ecc = !e;
    /* Blinding of the private scalar takes random numbers. */
    return e ? e : translate(wc_ecc_set_rng(&k->ecc, &k->rng));
}

enum err key_create(struct key **out)
{
    struct key *k;
    enum err e = key_new(&k);
    if (!e)
        e = ecc_begin(k);
    if (!e)
        e = translate(wc_ecc_make_key_ex(&k->rng, 32, &k->ecc, ECC_SECP256R1));
    if (!e)
        e = export_public(k);
    if (e)
        key_destroy(&k);
    *out = k;
    return e;
}

static enum err load_ecc(struct key *k, struct span der)
{
    word32 at = 0;
    enum err e = ecc_begin(k);
    if (e)
        return e;
    if (wc_EccPrivateKeyDecode(der.p, &at, &k->ecc, (word32)der.n) != 0)
        return ERR_PARSE;
    int curve = wc_ecc_get_curve_id(k->ecc.idx);
    if (curve != ECC_SECP256R1 && curve != ECC_SECP384R1)
        return ERR_UNSUPPORTED;
    k->kind = curve == ECC_SECP256R1 ? KEY_P256 : KEY_P384;
    /* Also where the file holds a public key: a wrong one would make us sign for somebody else. */
    return translate(wc_ecc_make_pub_ex(&k->ecc, NULL, &k->rng));
}

static enum err load_rsa(struct key *k, struct span der)
{
    word32 at = 0;
    enum err e = translate(wc_InitRsaKey(&k->rsa, NULL));
    if (e)
        return e;
    k->has_rsa = true;
    k->kind = KEY_RSA;
    if (wc_RsaPrivateKeyDecode(der.p, &at, &k->rsa, (word32)der.n) != 0)
        return ERR_PARSE;
    int n = wc_RsaEncryptSize(&k->rsa);
    if (n < RSA_BYTES_MIN || n > RSA_BYTES_MAX)
        return ERR_UNSUPPORTED;
    return translate(wc_RsaSetRNG(&k->rsa, &k->rng));
}

enum err key_from_der(struct key **out, struct span der)
{
    struct key *k = NULL;
    enum err e = ERR_PARSE;
    if (der.n > 0 && der.n <= KEY_DER_BYTES_MAX)
        e = key_new(&k);
    if (!e) {
        e = load_ecc(k, der);
        if (e == ERR_PARSE)
            e = load_rsa(k, der);
    }
    if (!e)
        e = export_public(k);
    if (e)
        key_destroy(&k);
    *out = k;
    return e;
}

struct span key_spki(const struct key *key)
{
    return span_of(key->spki, key->spki_n);
}

enum err key_pkcs8(struct key *key, struct buf *out)
{
    if (key->kind == KEY_RSA)
        return ERR_UNSUPPORTED;
    uint8_t *p;
    word32 n = 512;
    enum err e = buf_reserve(out, n, &p);
    if (e)
        return e;
    pthread_mutex_lock(&key->lock);
    int code = wc_EccKeyToPKCS8(&key->ecc, p, &n);
    pthread_mutex_unlock(&key->lock);
    if (code < 0)
        return translate(code);
    buf_commit(out, n);
    return ERR_OK;
}

struct span key_signature_algorithm(const struct key *key)
{
    static const uint8_t ecdsa_sha256[] = {0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 2};
    static const uint8_t ecdsa_sha384[] = {0x30, 10, 6, 8, 0x2a, 0x86, 0x48, 0xce, 0x3d, 4, 3, 3};
    static const uint8_t rsa_sha256[] = {0x30, 13, 6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 11, 5, 0};
    switch (key->kind) {
    case KEY_P256:
        return span_of(ecdsa_sha256, sizeof ecdsa_sha256);
    case KEY_P384:
        return span_of(ecdsa_sha384, sizeof ecdsa_sha384);
    case KEY_RSA:
        break;
    }
    return span_of(rsa_sha256, sizeof rsa_sha256);
}

static int sign_ecc(struct key *key, struct span message, uint8_t *out, word32 *out_n)
{
    uint8_t digest[WC_SHA384_DIGEST_SIZE];
    bool wide = key->kind == KEY_P384;
    int code = wide ? wc_Sha384Hash(message.p, (word32)message.n, digest)
                    : wc_Sha256Hash(message.p, (word32)message.n, digest);
    word32 digest_n = wide ? WC_SHA384_DIGEST_SIZE : WC_SHA256_DIGEST_SIZE;
    return code ? code : wc_ecc_sign_hash(digest, digest_n, out, out_n, &key->rng, &key->ecc);
}

enum err key_sign(struct key *key, struct span message, struct buf *out)
{
    uint8_t *p;
    word32 n = key->kind == KEY_RSA ? (word32)wc_RsaEncryptSize(&key->rsa) : SIGNATURE_BYTES_MAX;
    enum err e = buf_reserve(out, n, &p);
    if (e)
        return e;
    pthread_mutex_lock(&key->lock);
    int code = key->kind == KEY_RSA
                   ? wc_SignatureGenerate(WC_HASH_TYPE_SHA256, WC_SIGNATURE_TYPE_RSA_W_ENC, message.p,
                                          (word32)message.n, p, &n, &key->rsa, sizeof key->rsa, &key->rng)
                   : sign_ecc(key, message, p, &n);
    pthread_mutex_unlock(&key->lock);
    if (code == 0)
        buf_commit(out, n);
    return translate(code);
}

void key_digest(struct span bytes, uint8_t out[KEY_DIGEST_BYTES])
{
    if (wc_Sha256Hash(bytes.p, (word32)bytes.n, out) != 0)
        memset(out, 0, KEY_DIGEST_BYTES);
}

void key_wipe(struct buf *secret)
{
    if (secret->p)
        explicit_bzero(secret->p, secret->cap);
    buf_free(secret);
}
