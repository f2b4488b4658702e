/* client_certificate.c: the certificate that is shown to origins that ask for one, with its chain and private key, out of one PEM file. All that
 * can be wrong with it is said when ringtape starts. The key is copied into the library's context; our own copies are wiped. */
#include "base/util.h"
#include "tls/key.h"
#include "tls/pem.h"
#include "tls/tls_internal.h"

#include <sys/stat.h>

static enum err say(struct buf *problem, const char *path, const char *what)
{
    enum err e = buf_printf(problem, "the client certificate %s %s", path, what);
    return e ? e : ERR_CONFIG;
}

static bool is_key(struct span label)
{
    return span_eq(label, SPAN("PRIVATE KEY")) || span_eq(label, SPAN("RSA PRIVATE KEY")) ||
           span_eq(label, SPAN("EC PRIVATE KEY"));
}

/* Both as RFC 7468 has it, and as RFC 1421 had it. */
static bool is_encrypted(struct span text)
{
    static const char *const marks[] = {"-----BEGIN ENCRYPTED PRIVATE KEY-----", "Proc-Type: 4,ENCRYPTED"};
    for (size_t i = 0; i < ARRAY_LEN(marks); i++)
        if (span_search(text, span_str(marks[i])) < text.n)
            return true;
    return false;
}

struct parts {
    struct buf chain; /* PEM, as the library takes it */
    struct buf key;   /* DER */
    size_t certificates, keys;
};

/* In whatever order they stand; certificates among themselves in the file's. */
static enum err take_apart(struct span text, const char *path, struct parts *out, struct buf *problem)
{
    struct buf der = BUF_INIT;
    struct span label;
    enum err e;
    while ((e = pem_next(&text, &label, &der)) != ERR_NOT_FOUND) {
        if (e == ERR_PARSE)
            e = say(problem, path, "holds a damaged PEM block");
        else if (!e && span_eq(label, SPAN("CERTIFICATE")) && ++out->certificates)
            e = pem_put(&out->chain, "CERTIFICATE", buf_span(&der));
        else if (!e && is_key(label) && out->keys++ == 0)
            e = buf_put(&out->key, buf_span(&der));
        if (e)
            break;
    }
    key_wipe(&der);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

static enum err use(WOLFSSL_CTX *ctx, const struct parts *parts, const char *path, struct buf *problem)
{
    struct span chain = buf_span(&parts->chain), key = buf_span(&parts->key);
    if (parts->certificates == 0)
        return say(problem, path, "holds no certificate in PEM");
    if (parts->keys == 0)
        return say(problem, path, "holds no private key: it belongs into the same file");
    if (parts->keys > 1)
        return say(problem, path, "holds more than one private key");
    if (wolfSSL_CTX_use_certificate_chain_buffer(ctx, chain.p, (long)chain.n) != WOLFSSL_SUCCESS)
        return say(problem, path, "holds a certificate that cannot be read");
    if (wolfSSL_CTX_use_PrivateKey_buffer(ctx, key.p, (long)key.n, WOLFSSL_FILETYPE_ASN1) != WOLFSSL_SUCCESS)
        return say(problem, path, "holds a private key that cannot be used (RSA, EC and Ed25519 keys can)");
    if (wolfSSL_CTX_check_private_key(ctx) != WOLFSSL_SUCCESS)
        return say(problem, path, "holds a private key that does not belong to its first certificate");
    return ERR_OK;
}

enum err tls_use_client_certificate(WOLFSSL_CTX *ctx, const char *path, struct buf *problem)
{
    struct buf text = BUF_INIT;
    struct parts parts = {.chain = BUF_INIT, .key = BUF_INIT};
    unsigned mode = 0;
    enum err e = tls_read_file(path, &text, &mode);
    if (e && e != ERR_NOMEM) {
        enum err put = buf_printf(problem, "cannot read the client certificate %s: %s", path,
                                  e == ERR_CONFIG ? "it is a directory" : err_text(e));
        e = put ? put : ERR_CONFIG;
    }
    if (!e && (mode & 077) != 0) {
        enum err put =
            buf_printf(problem, "the client certificate %s can be read by others (mode %04o); run: chmod 600 %s", path,
                       mode, path);
        e = put ? put : ERR_CONFIG;
    }
    if (!e && is_encrypted(buf_span(&text)))
        e = say(problem, path, "holds an encrypted private key: decrypt it first (openssl pkey)");
    if (!e)
        e = take_apart(buf_span(&text), path, &parts, problem);
    if (!e)
        e = use(ctx, &parts, path, problem);
    key_wipe(&text);
    key_wipe(&parts.key);
    buf_free(&parts.chain);
    return e;
}
