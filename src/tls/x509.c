/* x509.c: certificates read and written. Reading takes what it needs and passes over the rest; whether a chain is to be
 * trusted is wolfSSL's to say. Writing knows two shapes only, so that strict verifiers have nothing to object to. */
#include "tls/x509.h"

#include "base/hash.h"
#include "base/util.h"
#include "tls/der.h"

#include <arpa/inet.h>
#include <string.h>

enum { NAME_DNS = DER_CONTEXT | 2, NAME_ADDRESS = DER_CONTEXT | 7, EXTENSIONS_MAX = 100 };

/* Content of the OIDs that we write or look for: name, bytes. */
#define OID_TABLE(X)                                                                                                   \
    X(oid_common_name, 0x55, 4, 3)                                                                                     \
    X(oid_organization, 0x55, 4, 10)                                                                                   \
    X(oid_subject_key_id, 0x55, 0x1d, 14)                                                                              \
    X(oid_key_usage, 0x55, 0x1d, 15)                                                                                   \
    X(oid_alt_name, 0x55, 0x1d, 17)                                                                                    \
    X(oid_basic_constraints, 0x55, 0x1d, 19)                                                                           \
    X(oid_authority_key_id, 0x55, 0x1d, 35)                                                                            \
    X(oid_ext_key_usage, 0x55, 0x1d, 37)                                                                               \
    X(oid_server_auth, 0x2b, 6, 1, 5, 5, 7, 3, 1)

#define OID_DEFINE(name, ...) static const uint8_t name[] = {__VA_ARGS__};
OID_TABLE(OID_DEFINE)
#undef OID_DEFINE
#define OID_SPAN(name) span_of(name, sizeof(name))

/* --- reading */

static bool parse_validity(struct span *tbs, struct x509 *out)
{
    struct der_value v, time;
    if (!der_take_tag(tbs, DER_SEQUENCE, &v))
        return false;
    return der_take(&v.content, &time) && der_read_time(&time, &out->not_before) && der_take(&v.content, &time) &&
           der_read_time(&time, &out->not_after);
}

static bool parse_basic_constraints(struct span in, struct x509 *out)
{
    struct der_value v, ca;
    if (!der_take_tag(&in, DER_SEQUENCE, &v))
        return false;
    if (der_take_tag(&v.content, DER_BOOLEAN, &ca))
        out->is_ca = ca.content.n == 1 && ca.content.p[0] != 0;
    return true;
}

static bool parse_key_usage(struct span in, struct x509 *out)
{
    struct der_value v;
    if (!der_take_tag(&in, DER_BIT_STRING, &v) || v.content.n < 1)
        return false;
    out->has_key_usage = true;
    out->key_usage = v.content.n > 1 ? v.content.p[1] : 0;
    return true;
}

static bool parse_extension(struct span in, struct x509 *out)
{
    struct der_value oid, critical, value, v;
    if (!der_take_tag(&in, DER_OID, &oid))
        return false;
    (void)der_take_tag(&in, DER_BOOLEAN, &critical);
    if (!der_take_tag(&in, DER_OCTET_STRING, &value))
        return false;
    struct span content = value.content;
    if (span_eq(oid.content, OID_SPAN(oid_basic_constraints)))
        return parse_basic_constraints(content, out);
    if (span_eq(oid.content, OID_SPAN(oid_key_usage)))
        return parse_key_usage(content, out);
    if (span_eq(oid.content, OID_SPAN(oid_alt_name))) {
        if (!der_take_tag(&content, DER_SEQUENCE, &v))
            return false;
        out->alt_names = v.content;
    } else if (span_eq(oid.content, OID_SPAN(oid_subject_key_id))) {
        if (!der_take_tag(&content, DER_OCTET_STRING, &v))
            return false;
        out->key_id = v.content;
    }
    return true;
}

static bool parse_extensions(struct span tbs, struct x509 *out)
{
    struct der_value v, list, extension;
    while (tbs.n > 0) {
        if (!der_take(&tbs, &v))
            return false;
        if (v.tag != (DER_CONTEXT_CONSTRUCTED | 3))
            continue;
        if (!der_take_tag(&v.content, DER_SEQUENCE, &list))
            return false;
        for (int i = 0; i < EXTENSIONS_MAX && list.content.n > 0; i++)
            if (!der_take_tag(&list.content, DER_SEQUENCE, &extension) || !parse_extension(extension.content, out))
                return false;
        if (list.content.n > 0)
            return false;
    }
    return true;
}

enum err x509_parse(struct span der, struct x509 *out)
{
    memset(out, 0, sizeof *out);
    struct der_value v;
    struct span in = der, tbs;
    if (!der_take_tag(&in, DER_SEQUENCE, &v) || in.n > 0 || !der_take_tag(&v.content, DER_SEQUENCE, &v))
        return ERR_PARSE;
    tbs = v.content;
    (void)der_take_tag(&tbs, DER_CONTEXT_CONSTRUCTED, &v);                            /* version */
    if (!der_take_tag(&tbs, DER_INTEGER, &v) || !der_take_tag(&tbs, DER_SEQUENCE, &v) /* serial, signature */
        || !der_take_tag(&tbs, DER_SEQUENCE, &v))
        return ERR_PARSE;
    out->issuer = v.whole;
    if (!parse_validity(&tbs, out) || !der_take_tag(&tbs, DER_SEQUENCE, &v))
        return ERR_PARSE;
    out->subject = v.whole;
    if (!der_take_tag(&tbs, DER_SEQUENCE, &v))
        return ERR_PARSE;
    out->spki = v.whole;
    return parse_extensions(tbs, out) ? ERR_OK : ERR_PARSE;
}

struct span x509_common_name(struct span name)
{
    struct span found = SPAN_EMPTY;
    struct der_value list, set, pair, oid, value;
    if (!der_take_tag(&name, DER_SEQUENCE, &list))
        return found;
    while (der_take_tag(&list.content, DER_SET, &set))
        while (der_take_tag(&set.content, DER_SEQUENCE, &pair))
            if (der_take_tag(&pair.content, DER_OID, &oid) && span_eq(oid.content, OID_SPAN(oid_common_name)) &&
                der_take(&pair.content, &value))
                found = value.content;
    return found;
}

static bool plain_name(struct span s)
{
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = s.p[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9');
        if (!alnum && c != '-' && c != '.' && c != '_' && c != '*')
            return false;
    }
    return s.n > 0 && s.n < 256;
}

static enum err put_name(struct buf *out, struct span text)
{
    size_t before = out->n;
    enum err e = buf_put(out, text);
    if (!e)
        e = buf_put_byte(out, 0);
    if (e)
        out->n = before;
    return e;
}

enum err x509_names(const struct x509 *cert, struct buf *out)
{
    struct span list = cert->alt_names;
    struct der_value v;
    enum err e = ERR_OK;
    char text[INET6_ADDRSTRLEN];
    while (!e && der_take(&list, &v)) {
        if (v.tag == NAME_DNS && plain_name(v.content))
            e = put_name(out, v.content);
        else if (v.tag == NAME_ADDRESS && (v.content.n == 4 || v.content.n == 16) &&
                 inet_ntop(v.content.n == 4 ? AF_INET : AF_INET6, v.content.p, text, sizeof text))
            e = put_name(out, span_str(text));
    }
    struct span cn = x509_common_name(cert->subject);
    if (!e && cert->alt_names.n == 0 && plain_name(cn))
        e = put_name(out, cn);
    return e;
}

/* RFC 6125 §6.4.3, as browsers do it: "*" is the whole leftmost label, stands for one label, and two more labels follow. */
static bool dns_matches(struct span pattern, struct span host)
{
    if (pattern.n > 0 && pattern.p[pattern.n - 1] == '.')
        pattern.n--;
    if (pattern.n < 3 || pattern.p[0] != '*' || pattern.p[1] != '.')
        return pattern.n > 0 && span_eq_nocase(pattern, host);
    struct span suffix = span_from(pattern, 1);
    if (span_find(span_from(suffix, 1), '.') == suffix.n - 1)
        return false;
    size_t dot = span_find(host, '.');
    return dot > 0 && span_eq_nocase(span_from(host, dot), suffix);
}

bool x509_matches(const struct x509 *cert, struct span host)
{
    struct x509_name name;
    if (x509_name_read(host, &name))
        return false;
    struct span list = cert->alt_names, wanted = span_of(name.text, name.text_n),
                address = span_of(name.address, name.address_n);
    struct der_value v;
    while (der_take(&list, &v)) {
        if (address.n > 0 ? v.tag == NAME_ADDRESS && span_eq(v.content, address)
                          : v.tag == NAME_DNS && dns_matches(v.content, wanted))
            return true;
    }
    return cert->alt_names.n == 0 && address.n == 0 && dns_matches(x509_common_name(cert->subject), wanted);
}

/* --- names */

static bool label_ok(const char *s, size_t n)
{
    if (n == 0 || n > 63)
        return false;
    for (size_t i = 0; i < n; i++) {
        char c = s[i];
        /* The underscore is not a host name's, but is in use, and verifiers take it. */
        if (!((c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || c == '-' || c == '_'))
            return false;
    }
    return s[0] != '-' && s[n - 1] != '-';
}

static bool dns_ok(const struct x509_name *name)
{
    const char *s = name->text, *end = s + name->text_n;
    if (name->text_n == 0 || name->text_n > 253)
        return false;
    if (s[0] == '*' && s[1] == '.')
        s += 2;
    for (;;) {
        const char *dot = memchr(s, '.', (size_t)(end - s));
        const char *stop = dot ? dot : end;
        if (!label_ok(s, (size_t)(stop - s)))
            return false;
        if (!dot)
            return true;
        s = dot + 1;
    }
}

enum err x509_name_read(struct span text, struct x509_name *out)
{
    memset(out, 0, sizeof *out);
    if (text.n >= 2 && text.p[0] == '[' && text.p[text.n - 1] == ']')
        text = span_of(text.p + 1, text.n - 2);
    else if (text.n > 1 && text.p[text.n - 1] == '.')
        text.n--;
    if (text.n == 0 || text.n >= sizeof out->text || memchr(text.p, 0, text.n))
        return ERR_PARSE;
    for (size_t i = 0; i < text.n; i++) {
        uint8_t c = text.p[i];
        out->text[i] = (char)(c >= 'A' && c <= 'Z' ? c + ('a' - 'A') : c);
    }
    out->text_n = text.n;
    if (inet_pton(AF_INET, out->text, out->address) == 1)
        out->address_n = 4;
    else if (inet_pton(AF_INET6, out->text, out->address) == 1)
        out->address_n = 16;
    else if (!dns_ok(out))
        return ERR_PARSE;
    return ERR_OK;
}

/* --- writing */

void x509_key_id(const struct key *key, uint8_t out[X509_KEY_ID_BYTES])
{
    struct span in = key_spki(key);
    struct der_value v, bits;
    uint8_t digest[KEY_DIGEST_BYTES];
    /* The bit string's content without the count of unused bits. */
    if (der_take_tag(&in, DER_SEQUENCE, &v) && der_take(&v.content, &bits) &&
        der_take_tag(&v.content, DER_BIT_STRING, &bits))
        in = span_from(bits.content, 1);
    key_digest(in, digest);
    memcpy(out, digest, X509_KEY_ID_BYTES);
}

static void put_serial(struct der *d)
{
    struct hash_key random; /* 16 bytes from the kernel */
    hash_key_random(&random);
    uint8_t serial[X509_SERIAL_BYTES];
    memcpy(serial, &random, sizeof serial);
    serial[0] = (uint8_t)((serial[0] & 0x3f) | 0x40); /* positive, not zero, always of the same length */
    der_unsigned(d, span_of(serial, sizeof serial));
}

static void put_attribute(struct der *d, struct span oid, struct span text)
{
    size_t set = der_begin(d, DER_SET), pair = der_begin(d, DER_SEQUENCE);
    der_item(d, DER_OID, oid);
    der_item(d, DER_UTF8_STRING, text);
    der_end(d, pair);
    der_end(d, set);
}

static void put_validity(struct der *d, struct x509_validity validity)
{
    size_t mark = der_begin(d, DER_SEQUENCE);
    der_time(d, validity.not_before);
    der_time(d, validity.not_after);
    der_end(d, mark);
}

/* An extension whose value is encoded already. */
static void put_extension(struct der *d, struct span oid, bool critical, struct span value)
{
    static const uint8_t yes = 0xff;
    size_t mark = der_begin(d, DER_SEQUENCE);
    der_item(d, DER_OID, oid);
    if (critical)
        der_item(d, DER_BOOLEAN, span_of(&yes, 1));
    der_item(d, DER_OCTET_STRING, value);
    der_end(d, mark);
}

static void put_key_id(struct der *d, const struct key *key)
{
    uint8_t value[2 + X509_KEY_ID_BYTES] = {DER_OCTET_STRING, X509_KEY_ID_BYTES};
    x509_key_id(key, value + 2);
    put_extension(d, OID_SPAN(oid_subject_key_id), false, span_of(value, sizeof value));
}

static void put_authority_key_id(struct der *d, struct span key_id)
{
    size_t mark = der_begin(d, DER_SEQUENCE);
    der_item(d, DER_OID, OID_SPAN(oid_authority_key_id));
    size_t octets = der_begin(d, DER_OCTET_STRING), sequence = der_begin(d, DER_SEQUENCE);
    der_item(d, DER_CONTEXT | 0, key_id);
    der_end(d, sequence);
    der_end(d, octets);
    der_end(d, mark);
}

static void put_alt_names(struct der *d, const struct x509_name *names, size_t n, bool critical)
{
    static const uint8_t yes = 0xff;
    size_t mark = der_begin(d, DER_SEQUENCE);
    der_item(d, DER_OID, OID_SPAN(oid_alt_name));
    if (critical)
        der_item(d, DER_BOOLEAN, span_of(&yes, 1));
    size_t octets = der_begin(d, DER_OCTET_STRING), sequence = der_begin(d, DER_SEQUENCE);
    for (size_t i = 0; i < n; i++) {
        if (names[i].address_n > 0)
            der_item(d, NAME_ADDRESS, span_of(names[i].address, names[i].address_n));
        else
            der_item(d, NAME_DNS, span_of(names[i].text, names[i].text_n));
    }
    der_end(d, sequence);
    der_end(d, octets);
    der_end(d, mark);
}

/* What precedes the issuer in every TBSCertificate of ours. */
static void put_version_serial_algorithm(struct der *d, const struct key *signer)
{
    size_t version = der_begin(d, DER_CONTEXT_CONSTRUCTED | 0);
    der_number(d, 2); /* v3 */
    der_end(d, version);
    put_serial(d);
    der_raw(d, key_signature_algorithm(signer));
}

static void put_ca_extensions(struct der *d, const struct key *key)
{
    static const uint8_t constraints[] = {0x30, 6, 1, 1, 0xff, 2, 1, 0}; /* CA:TRUE, pathlen 0 */
    static const uint8_t usage[] = {3, 2, 1, 0x06};                      /* keyCertSign, cRLSign */
    size_t outer = der_begin(d, DER_CONTEXT_CONSTRUCTED | 3), list = der_begin(d, DER_SEQUENCE);
    put_extension(d, OID_SPAN(oid_basic_constraints), true, span_of(constraints, sizeof constraints));
    put_extension(d, OID_SPAN(oid_key_usage), true, span_of(usage, sizeof usage));
    put_key_id(d, key);
    der_end(d, list);
    der_end(d, outer);
}

static void put_leaf_extensions(struct der *d, const struct x509_issuer *issuer, const struct key *key,
                                const struct x509_name *names, size_t n, bool subject_empty)
{
    static const uint8_t constraints[] = {0x30, 0}; /* CA:FALSE is the default, which DER leaves out */
    static const uint8_t usage[] = {3, 2, 7, 0x80}; /* digitalSignature */
    uint8_t purpose[4 + sizeof oid_server_auth] = {0x30, 2 + sizeof oid_server_auth, DER_OID, sizeof oid_server_auth};
    memcpy(purpose + 4, oid_server_auth, sizeof oid_server_auth);
    size_t outer = der_begin(d, DER_CONTEXT_CONSTRUCTED | 3), list = der_begin(d, DER_SEQUENCE);
    put_extension(d, OID_SPAN(oid_basic_constraints), true, span_of(constraints, sizeof constraints));
    put_extension(d, OID_SPAN(oid_key_usage), true, span_of(usage, sizeof usage));
    put_extension(d, OID_SPAN(oid_ext_key_usage), false, span_of(purpose, sizeof purpose));
    put_key_id(d, key);
    put_authority_key_id(d, issuer->key_id);
    put_alt_names(d, names, n, subject_empty);
    der_end(d, list);
    der_end(d, outer);
}

/* Signs the TBSCertificate that `tbs` holds, and appends the certificate. */
static enum err finish(struct buf *out, struct der *tbs, struct key *signer)
{
    struct buf signature = BUF_INIT;
    enum err e = tbs->err ? tbs->err : key_sign(signer, buf_span(tbs->out), &signature);
    if (!e) {
        struct der d = {.out = out, .err = ERR_OK};
        size_t mark = der_begin(&d, DER_SEQUENCE);
        der_raw(&d, buf_span(tbs->out));
        der_raw(&d, key_signature_algorithm(signer));
        der_bits(&d, buf_span(&signature));
        der_end(&d, mark);
        e = d.err;
    }
    buf_free(&signature);
    return e;
}

enum err x509_make_ca(struct buf *out, struct key *key, const char *common_name, struct x509_validity validity)
{
    struct buf tbs = BUF_INIT, name = BUF_INIT;
    struct der n = {.out = &name, .err = ERR_OK}, d = {.out = &tbs, .err = ERR_OK};
    size_t mark = der_begin(&n, DER_SEQUENCE);
    put_attribute(&n, OID_SPAN(oid_organization), SPAN("ringtape"));
    put_attribute(&n, OID_SPAN(oid_common_name), span_str(common_name));
    der_end(&n, mark);

    mark = der_begin(&d, DER_SEQUENCE);
    put_version_serial_algorithm(&d, key);
    der_raw(&d, buf_span(&name));
    put_validity(&d, validity);
    der_raw(&d, buf_span(&name));
    der_raw(&d, key_spki(key));
    put_ca_extensions(&d, key);
    der_end(&d, mark);
    enum err e = n.err ? n.err : finish(out, &d, key);
    buf_free(&name);
    buf_free(&tbs);
    return e;
}

enum err x509_make_leaf(struct buf *out, const struct x509_issuer *issuer, const struct key *key,
                        const struct x509_name *names, size_t n, struct x509_validity validity)
{
    struct buf tbs = BUF_INIT;
    struct der d = {.out = &tbs, .err = ERR_OK};
    bool subject_empty = names[0].text_n > X509_CN_MAX;
    size_t mark = der_begin(&d, DER_SEQUENCE);
    put_version_serial_algorithm(&d, issuer->key);
    der_raw(&d, issuer->subject);
    put_validity(&d, validity);
    size_t subject = der_begin(&d, DER_SEQUENCE);
    if (!subject_empty)
        put_attribute(&d, OID_SPAN(oid_common_name), span_of(names[0].text, names[0].text_n));
    der_end(&d, subject);
    der_raw(&d, key_spki(key));
    put_leaf_extensions(&d, issuer, key, names, n, subject_empty);
    der_end(&d, mark);
    enum err e = finish(out, &d, issuer->key);
    buf_free(&tbs);
    return e;
}
