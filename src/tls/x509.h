/* x509.h: the fields of a certificate that we look at, and the encoding of the two kinds that we make (RFC 5280). Knows no
 * cryptography beyond asking a key to sign; what is parsed is hostile. */
#ifndef RINGTAPE_TLS_X509_H
#define RINGTAPE_TLS_X509_H

#include "base/buf.h"
#include "tls/key.h"

enum {
    X509_NAMES_MAX = 100, /* names taken into a leaf */
    X509_CN_MAX = 64,     /* ub-common-name */
    X509_KEY_ID_BYTES = 20,
    X509_SERIAL_BYTES = 16,
    X509_USAGE_CERT_SIGN = 0x04, /* keyCertSign, in the first octet of KeyUsage */
};

/* All spans point into the certificate. */
struct x509 {
    struct span issuer, subject; /* Name, encoded */
    struct span spki;            /* SubjectPublicKeyInfo, encoded */
    struct span alt_names;       /* content of the GeneralNames sequence; empty when absent */
    struct span key_id;          /* subjectKeyIdentifier; empty when absent */
    uint64_t not_before, not_after;
    bool is_ca;
    bool has_key_usage;
    unsigned key_usage;
};

/* Fails with ERR_PARSE. */
MUST_USE enum err x509_parse(struct span der, struct x509 *out);

/* Does the certificate speak for this host (RFC 6125: a name or an address; "*" only as the whole leftmost label)? The common name
 * counts only when there are no alternative names at all, and never for an address. */
bool x509_matches(const struct x509 *cert, struct span host);

/* Its DNS names and addresses as text, a 0 byte after each; the common name when there are no alternative names. Names that hold
 * anything but letters, digits and "-._*" are left out. Appends. Fails with ERR_NOMEM. */
MUST_USE enum err x509_names(const struct x509 *cert, struct buf *out);

/* The last common name of a Name, as in the certificate; empty when there is none. */
struct span x509_common_name(struct span name);

/* A name usable in a certificate: the text, lower case and without the trailing dot, or an address's octets. */
struct x509_name {
    uint8_t address[16];
    size_t address_n; /* 4 or 16; 0: a DNS name */
    char text[256];
    size_t text_n;
};

/* Reads a DNS name (A-labels, a leading "*." allowed) or an IP literal (brackets allowed). Fails with ERR_PARSE. */
MUST_USE enum err x509_name_read(struct span text, struct x509_name *out);

/* The key identifier that we give to a key (RFC 7093 §2, method 1: the first 160 bits of a SHA-256). */
void x509_key_id(const struct key *key, uint8_t out[X509_KEY_ID_BYTES]);

struct x509_validity {
    uint64_t not_before, not_after; /* Unix seconds */
};

/* A self-signed CA certificate with the names CN=common_name, O=ringtape. Appends. Fails with ERR_NOMEM, ERR_TLS. */
MUST_USE enum err x509_make_ca(struct buf *out, struct key *key, const char *common_name,
                               struct x509_validity validity);

struct x509_issuer {
    struct key *key;
    struct span subject; /* Name, encoded */
    struct span key_id;
};

/* A server certificate for names[0..n) (n >= 1) and the public key of `key`. Appends. Fails with ERR_NOMEM, ERR_TLS. */
MUST_USE enum err x509_make_leaf(struct buf *out, const struct x509_issuer *issuer, const struct key *key,
                                 const struct x509_name *names, size_t n, struct x509_validity validity);

#endif
