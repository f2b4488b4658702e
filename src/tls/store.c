/* store.c: the trust store for Java: PKCS#12 (RFC 7292) with certificates only. They are public, so nothing is encrypted;
 * the MAC is what makes the JVM ask for, and accept, the password. A certificate is a trust anchor to the JVM only when
 * its bag has Oracle's trustedKeyUsage attribute. */
#include "base/hash.h"
#include "tls/ca.h"
#include "tls/der.h"
#include "tls/key.h"
#include "tls/pem.h"
#include "tls/x509.h"

#include <stdio.h>
#include <string.h>

#include <wolfssl/options.h>
#include <wolfssl/wolfcrypt/hmac.h>
#include <wolfssl/wolfcrypt/pwdbased.h>

enum { MAC_ITERATIONS = 10000, MAC_KEY_ID = 3, SALT_BYTES = 16, EXTRA_MAX = 2000, PASSWORD_MAX = 128 };

static const uint8_t oid_data[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 7, 1};
static const uint8_t oid_cert_bag[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 12, 10, 1, 3};
static const uint8_t oid_x509_certificate[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 22, 1};
static const uint8_t oid_friendly_name[] = {0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 9, 20};
static const uint8_t oid_trusted_key_usage[] = {0x60, 0x86, 0x48, 1, 0x86, 0xf9, 0x66, 0xad, 0xca, 0x7b, 1, 1};
static const uint8_t oid_any_purpose[] = {0x55, 0x1d, 0x25, 0};
static const uint8_t oid_sha256[] = {0x60, 0x86, 0x48, 1, 0x65, 3, 4, 2, 1};
#define OID_SPAN(name) span_of(name, sizeof(name))

/* ASCII as BMPString. */
static void put_bmp(struct der *d, const char *text)
{
    size_t mark = der_begin(d, DER_BMP_STRING);
    for (; *text; text++) {
        der_byte(d, 0);
        der_byte(d, (uint8_t)*text);
    }
    der_end(d, mark);
}

static void put_attributes(struct der *d, const char *alias)
{
    size_t set = der_begin(d, DER_SET);
    size_t attribute = der_begin(d, DER_SEQUENCE);
    der_item(d, DER_OID, OID_SPAN(oid_friendly_name));
    size_t values = der_begin(d, DER_SET);
    put_bmp(d, alias);
    der_end(d, values);
    der_end(d, attribute);
    attribute = der_begin(d, DER_SEQUENCE);
    der_item(d, DER_OID, OID_SPAN(oid_trusted_key_usage));
    values = der_begin(d, DER_SET);
    der_item(d, DER_OID, OID_SPAN(oid_any_purpose));
    der_end(d, values);
    der_end(d, attribute);
    der_end(d, set);
}

static void put_certificate(struct der *d, struct span certificate, const char *alias)
{
    size_t bag = der_begin(d, DER_SEQUENCE);
    der_item(d, DER_OID, OID_SPAN(oid_cert_bag));
    size_t value = der_begin(d, DER_CONTEXT_CONSTRUCTED | 0), cert = der_begin(d, DER_SEQUENCE);
    der_item(d, DER_OID, OID_SPAN(oid_x509_certificate));
    size_t content = der_begin(d, DER_CONTEXT_CONSTRUCTED | 0);
    der_item(d, DER_OCTET_STRING, certificate);
    der_end(d, content);
    der_end(d, cert);
    der_end(d, value);
    put_attributes(d, alias);
    der_end(d, bag);
}

/* A ContentInfo of type data around what is put between these two. */
struct data {
    size_t info, content, octets;
};

static struct data data_begin(struct der *d)
{
    struct data at;
    at.info = der_begin(d, DER_SEQUENCE);
    der_item(d, DER_OID, OID_SPAN(oid_data));
    at.content = der_begin(d, DER_CONTEXT_CONSTRUCTED | 0);
    at.octets = der_begin(d, DER_OCTET_STRING);
    return at;
}

static void data_end(struct der *d, struct data at)
{
    der_end(d, at.octets);
    der_end(d, at.content);
    der_end(d, at.info);
}

/* The extra roots: each certificate once that can be read, in order. */
static enum err put_extra(struct der *d, struct span pem)
{
    struct buf der = BUF_INIT;
    struct span label;
    unsigned n = 0;
    enum err e = ERR_OK;
    while (n < EXTRA_MAX && (e = pem_next(&pem, &label, &der)) != ERR_NOT_FOUND) {
        struct x509 fields;
        if (e == ERR_PARSE)
            continue;
        if (e)
            break;
        if (!span_eq(label, SPAN("CERTIFICATE")) || x509_parse(buf_span(&der), &fields))
            continue;
        char alias[32];
        snprintf(alias, sizeof alias, "system-%u", ++n);
        put_certificate(d, buf_span(&der), alias);
    }
    buf_free(&der);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

/* The AuthenticatedSafe: one unencrypted SafeContents. */
static enum err put_safe(struct buf *out, const struct ca *ca, struct span extra_pem)
{
    struct der d = {.out = out, .err = ERR_OK};
    size_t safes = der_begin(&d, DER_SEQUENCE);
    struct data data = data_begin(&d);
    size_t contents = der_begin(&d, DER_SEQUENCE);
    put_certificate(&d, ca_certificate_der(ca), "ringtape-ca");
    enum err e = put_extra(&d, extra_pem);
    der_end(&d, contents);
    data_end(&d, data);
    der_end(&d, safes);
    return e ? e : d.err;
}

/* HMAC-SHA256 of the safe, its key derived from the password as RFC 7292 appendix B says (big-endian UTF-16, with a terminator). */
static enum err make_mac(struct span safe, const char *password, const uint8_t salt[SALT_BYTES],
                         uint8_t mac[KEY_DIGEST_BYTES])
{
    uint8_t wide[2 * (PASSWORD_MAX + 1)] = {0}, key[KEY_DIGEST_BYTES];
    size_t n = strlen(password);
    if (n > PASSWORD_MAX)
        return ERR_LIMIT;
    for (size_t i = 0; i < n; i++)
        wide[2 * i + 1] = (uint8_t)password[i];
    int code = wc_PKCS12_PBKDF(key, wide, (int)(2 * (n + 1)), salt, SALT_BYTES, MAC_ITERATIONS, sizeof key, WC_SHA256,
                               MAC_KEY_ID);
    Hmac hmac;
    if (code == 0)
        code = wc_HmacInit(&hmac, NULL, INVALID_DEVID);
    if (code != 0)
        return ERR_TLS;
    code = wc_HmacSetKey(&hmac, WC_SHA256, key, sizeof key);
    if (code == 0)
        code = wc_HmacUpdate(&hmac, safe.p, (word32)safe.n);
    if (code == 0)
        code = wc_HmacFinal(&hmac, mac);
    wc_HmacFree(&hmac);
    return code == 0 ? ERR_OK : ERR_TLS;
}

static void put_mac(struct der *d, const uint8_t salt[SALT_BYTES], const uint8_t mac[KEY_DIGEST_BYTES])
{
    size_t data = der_begin(d, DER_SEQUENCE), info = der_begin(d, DER_SEQUENCE), algorithm = der_begin(d, DER_SEQUENCE);
    der_item(d, DER_OID, OID_SPAN(oid_sha256));
    der_item(d, DER_NULL, SPAN_EMPTY);
    der_end(d, algorithm);
    der_item(d, DER_OCTET_STRING, span_of(mac, KEY_DIGEST_BYTES));
    der_end(d, info);
    der_item(d, DER_OCTET_STRING, span_of(salt, SALT_BYTES));
    der_number(d, MAC_ITERATIONS);
    der_end(d, data);
}

enum err ca_trust_store(const struct ca *ca, struct span extra_pem, const char *password, struct buf *out)
{
    struct buf safe = BUF_INIT;
    uint8_t mac[KEY_DIGEST_BYTES];
    struct hash_key random;
    hash_key_random(&random);
    uint8_t salt[SALT_BYTES];
    memcpy(salt, &random, sizeof salt);
    enum err e = put_safe(&safe, ca, extra_pem);
    if (!e)
        e = make_mac(buf_span(&safe), password, salt, mac);
    size_t before = out->n;
    if (!e) {
        struct der d = {.out = out, .err = ERR_OK};
        size_t pfx = der_begin(&d, DER_SEQUENCE);
        der_number(&d, 3);
        struct data data = data_begin(&d);
        der_raw(&d, buf_span(&safe));
        data_end(&d, data);
        put_mac(&d, salt, mac);
        der_end(&d, pfx);
        e = d.err;
    }
    if (e)
        out->n = before;
    buf_free(&safe);
    return e;
}
