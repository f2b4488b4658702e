/* verify.c: wolfSSL builds and checks the chain; here its verdict is put into words, the host's name is compared (with the
 * strictness of RFC 6125, and addresses as bytes, whatever their spelling) and the chain is kept. Without a call of this for
 * the leaf a connection does not count as verified: a server that shows no certificate is refused. */
#include "tls/verify.h"

#include "base/clock.h"
#include "base/text.h"
#include "tls/x509.h"

#include <wolfssl/error-ssl.h>
#include <wolfssl/wolfcrypt/error-crypt.h>

enum { NAMES_SHOWN = 160 };

static void keep_chain(struct tls *t, const WOLFSSL_X509_STORE_CTX *store)
{
    struct span certificates[CHAIN_CERTIFICATES_MAX];
    size_t n = 0;
    for (int i = 0; i < store->totalCerts && n < CHAIN_CERTIFICATES_MAX; i++)
        certificates[n++] = span_of(store->certs[i].buffer, store->certs[i].length);
    chain_unref(&t->chain); /* of a session that was offered and not taken */
    enum err e = chain_create(&t->chain, certificates, n);
    (void)e; /* the tape then says nothing of the chain; tls_peer_names() has nothing to mirror */
}

/* The names in one line: "a.example, b.example". */
static void list_names(const struct x509 *fields, struct buf *out)
{
    struct buf names = BUF_INIT;
    enum err e = x509_names(fields, &names);
    struct span rest = buf_span(&names);
    while (!e && rest.n > 0) {
        size_t end = span_find(rest, 0);
        if (out->n > NAMES_SHOWN) {
            e = buf_put_str(out, ", …");
            break;
        }
        if (out->n > 0)
            e = buf_put_str(out, ", ");
        if (!e)
            e = buf_put(out, span_first(rest, end));
        rest = span_from(rest, end + 1);
    }
    if (!e && out->n == 0)
        e = buf_put_str(out, "no host at all");
    (void)e; /* shorter, at worst */
    buf_free(&names);
}

static void note_wrong_name(struct tls *t, const struct x509 *fields)
{
    struct buf names = BUF_INIT;
    list_names(fields, &names);
    tls_note(t, "the certificate is for %.*s, not for %s", (int)names.n, (const char *)buf_span(&names).p, t->host);
    buf_free(&names);
}

/* The common name of an issuer, safe to show. */
static void note_unknown_issuer(struct tls *t, const struct x509 *fields)
{
    struct buf text = BUF_INIT;
    struct span name = span_first(x509_common_name(fields->issuer), 100);
    enum err e = text_escape_terminal(&text, name);
    if (e || text.n == 0)
        tls_note(t, "the certificate's issuer is not trusted");
    else
        tls_note(
            t,
            "the certificate's issuer \"%.*s\" is not trusted (unknown, or an intermediate certificate was not sent)",
            (int)text.n, (const char *)buf_span(&text).p);
    buf_free(&text);
}

static void note_time(struct tls *t, bool expired, const struct x509 *fields)
{
    char when[CLOCK_ISO_LEN];
    uint64_t at = expired ? fields->not_after : fields->not_before;
    clock_iso8601(at < UINT64_MAX / NS_PER_S ? at * NS_PER_S : 0, when);
    if (expired)
        tls_note(t, "the certificate has expired (notAfter %.10s)", when);
    else
        tls_note(t, "the certificate is not valid yet (notBefore %.10s)", when);
}

static void note_refusal(struct tls *t, const WOLFSSL_X509_STORE_CTX *store)
{
    struct x509 fields;
    int at = store->error_depth;
    bool known = at >= 0 && at < store->totalCerts &&
                 x509_parse(span_of(store->certs[at].buffer, store->certs[at].length), &fields) == ERR_OK;
    if (!known) {
        tls_note(t, "the certificate cannot be read (%s)",
                 wolfSSL_ERR_reason_error_string((unsigned long)-(long)store->error));
        return;
    }
    switch (store->error) {
    case ASN_AFTER_DATE_E:
    case WOLFSSL_X509_V_ERR_CERT_HAS_EXPIRED:
        note_time(t, true, &fields);
        break;
    case ASN_BEFORE_DATE_E:
    case WOLFSSL_X509_V_ERR_CERT_NOT_YET_VALID:
        note_time(t, false, &fields);
        break;
    case ASN_SELF_SIGNED_E:
    case ASN_NO_SIGNER_E:
        if (span_eq(fields.issuer, fields.subject))
            tls_note(t, at == 0 ? "the certificate is self-signed"
                                : "the chain ends in a self-signed certificate that is not trusted");
        else
            note_unknown_issuer(t, &fields);
        break;
    case ASN_SIG_CONFIRM_E:
    case ASN_SIG_OID_E:
    case ASN_SIG_HASH_E:
        tls_note(t, "the certificate's signature is wrong");
        break;
    case EXTKEYUSE_AUTH_E:
        tls_note(t, "the certificate is not for servers (extended key usage)");
        break;
    default:
        tls_note(t, "the certificate was not accepted: %s (%d)",
                 wolfSSL_ERR_reason_error_string((unsigned long)-(long)store->error), store->error);
    }
}

int verify_certificate(int accepted, WOLFSSL_X509_STORE_CTX *store)
{
    struct tls *t = store->userCtx;
    if (!t->chain_seen)
        keep_chain(t, store);
    t->chain_seen = true;
    bool insecure = tls_client_insecure(t->client_config), leaf = store->error_depth == 0;
    if (insecure) {
        t->verified |= leaf;
        return 1;
    }
    if (!accepted) {
        note_refusal(t, store);
        return 0;
    }
    if (!leaf)
        return 1;
    struct x509 fields;
    if (store->totalCerts < 1 || x509_parse(span_of(store->certs[0].buffer, store->certs[0].length), &fields)) {
        tls_note(t, "the certificate cannot be read");
        return 0;
    }
    if (!x509_matches(&fields, span_str(t->host))) {
        note_wrong_name(t, &fields);
        return 0;
    }
    t->verified = true;
    return 1;
}
