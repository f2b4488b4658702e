/* ca.c: the certificate authority's two files. Whoever reads or makes them holds a lock on the directory itself, and each
 * file appears by rename, complete and synced; the key appears last, so that a key without a certificate is never ours.
 * Invariant: a struct ca holds a key and a certificate that belong together, were valid when opened, and may sign. */
#include "tls/ca.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/text.h"
#include "tls/ca_internal.h"
#include "tls/key.h"
#include "tls/pem.h"
#include "tls/x509.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#define KEY_FILE         "ca-key.pem"
#define CERTIFICATE_FILE "ca.pem"

enum {
    DAY_S = 86400,
    CA_DAYS = 3650,
    CA_BACKDATED_DAYS = 3, /* a day before any leaf */
    CA_FILE_BYTES_MAX = 1 << 20,
};

struct ca {
    struct key *key;
    struct buf der, pem;
    struct x509 fields; /* points into der */
    uint8_t key_id[X509_KEY_ID_BYTES];
};

/* Where the work is done, and where its failures are told. */
struct place {
    const char *dir;
    int fd; /* the directory, locked; -1 before */
    struct buf *problem;
};

static enum err say(const struct place *p, enum err e, const char *format, ...) __attribute__((format(printf, 3, 4)));

static enum err say(const struct place *p, enum err e, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    buf_clear(p->problem);
    enum err put = buf_vprintf(p->problem, format, args);
    va_end(args);
    return put ? put : e;
}

static enum err say_errno(const struct place *p, const char *what, const char *file)
{
    int code = errno;
    enum err e = err_from_errno(code);
    if (e != ERR_PERMISSION && e != ERR_NOMEM)
        e = ERR_IO;
    return say(p, e, "%s %s%s%s: %s", what, p->dir, *file ? "/" : "", file, strerror(code));
}

void ca_close(struct ca **ca)
{
    struct ca *c = *ca;
    *ca = NULL;
    if (!c)
        return;
    key_destroy(&c->key);
    buf_free(&c->der);
    buf_free(&c->pem);
    mem_free(c);
}

/* --- files */

static enum err make_directories(const struct place *p)
{
    char *path = mem_strdup(p->dir, strlen(p->dir));
    if (!path)
        return ERR_NOMEM;
    enum err e = ERR_OK;
    for (char *at = path + 1; !e; at++) {
        char c = *at;
        if (c != '/' && c != '\0')
            continue;
        *at = '\0';
        if (mkdir(path, 0700) != 0 && errno != EEXIST)
            e = say(p, errno == EACCES || errno == EPERM ? ERR_PERMISSION : ERR_IO, "cannot make the directory %s: %s",
                    path, strerror(errno));
        *at = c;
        if (c == '\0')
            break;
    }
    mem_free(path);
    return e;
}

static enum err place_open(struct place *p)
{
    if (p->dir[0] == '\0')
        return say(p, ERR_CONFIG, "the CA's directory has an empty name");
    enum err e = make_directories(p);
    if (e)
        return e;
    p->fd = open(p->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (p->fd < 0)
        return say_errno(p, "cannot open", "");
    struct stat st;
    if (fstat(p->fd, &st) == 0 && (st.st_mode & 022) != 0 && !(st.st_mode & S_ISVTX))
        return say(p, ERR_PERMISSION,
                   "%s can be written to by others, who could replace the CA's key; run: chmod 700 %s", p->dir, p->dir);
    int rc;
    do
        rc = flock(p->fd, LOCK_EX);
    while (rc != 0 && errno == EINTR);
    return rc == 0 ? ERR_OK : say_errno(p, "cannot lock", "");
}

static void place_close(struct place *p)
{
    if (p->fd >= 0)
        close(p->fd); /* the lock goes with it */
    p->fd = -1;
}

static enum err write_all(int fd, struct span s)
{
    while (s.n > 0) {
        ssize_t n = write(fd, s.p, s.n);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return ERR_IO;
        s = span_from(s, (size_t)n);
    }
    return ERR_OK;
}

/* Writes NAME.new, synced; place_publish() makes it NAME. */
static enum err place_write(const struct place *p, const char *name, mode_t mode, struct span content)
{
    char fresh[64];
    snprintf(fresh, sizeof fresh, "%s.new", name);
    if (unlinkat(p->fd, fresh, 0) != 0 && errno != ENOENT)
        return say_errno(p, "cannot remove", fresh);
    int fd = openat(p->fd, fresh, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, mode);
    if (fd < 0)
        return say_errno(p, "cannot write", fresh);
    enum err e = ERR_OK;
    if (fchmod(fd, mode) != 0 || write_all(fd, content) || fsync(fd) != 0)
        e = say_errno(p, "cannot write", fresh);
    close(fd);
    return e;
}

static enum err place_rename(const struct place *p, const char *name, const char *from_suffix, const char *to_suffix)
{
    char from[64], to[64];
    snprintf(from, sizeof from, "%s%s", name, from_suffix);
    snprintf(to, sizeof to, "%s%s", name, to_suffix);
    return renameat(p->fd, from, p->fd, to) == 0 ? ERR_OK : say_errno(p, "cannot write", to);
}

/* Reads a whole file. ERR_NOT_FOUND when there is none. */
static enum err place_read(const struct place *p, const char *name, bool secret, struct buf *out)
{
    int fd = openat(p->fd, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0)
        return errno == ENOENT ? ERR_NOT_FOUND : say_errno(p, "cannot read", name);
    struct stat st;
    enum err e = ERR_OK;
    if (fstat(fd, &st) != 0)
        e = say_errno(p, "cannot read", name);
    else if (!S_ISREG(st.st_mode) || st.st_size > CA_FILE_BYTES_MAX)
        e = say(p, ERR_CONFIG, "%s/%s is not a file that holds a key or certificate", p->dir, name);
    else if (secret && (st.st_mode & 077) != 0)
        e = say(p, ERR_PERMISSION, "%s/%s can be read by others (mode %04o); run: chmod 600 %s/%s", p->dir, name,
                (unsigned)st.st_mode & 07777, p->dir, name);
    while (!e) {
        uint8_t *at;
        e = buf_reserve(out, 4096, &at);
        ssize_t n = e ? 0 : read(fd, at, 4096);
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            e = say_errno(p, "cannot read", name);
        if (n <= 0)
            break;
        buf_commit(out, (size_t)n);
        if (out->n > CA_FILE_BYTES_MAX)
            e = say(p, ERR_CONFIG, "%s/%s is too large", p->dir, name);
    }
    close(fd);
    return e;
}

/* --- loading */

static enum err load_key(const struct place *p, struct span pem, struct ca *ca)
{
    struct buf der = BUF_INIT;
    struct span label;
    enum err e;
    do
        e = pem_next(&pem, &label, &der);
    while (e == ERR_OK && span_eq(label, SPAN("EC PARAMETERS")));
    if (e == ERR_OK && span_eq(label, SPAN("ENCRYPTED PRIVATE KEY")))
        e = say(p, ERR_CONFIG,
                "%s/" KEY_FILE " is encrypted; store it without a passphrase: openssl pkey -in OLD -out NEW", p->dir);
    else if (e == ERR_OK)
        e = key_from_der(&ca->key, buf_span(&der));
    key_wipe(&der);
    if (e == ERR_NOT_FOUND || e == ERR_PARSE)
        return say(
            p, ERR_CONFIG,
            "%s/" KEY_FILE
            " holds no usable private key in PEM (damaged or cut off?); put back a copy, or make a new CA: ringtape ca new",
            p->dir);
    if (e == ERR_UNSUPPORTED)
        return say(p, ERR_CONFIG,
                   "the key in %s/" KEY_FILE
                   " is of a kind that is not supported; use EC P-256, EC P-384 or RSA 2048 to 4096",
                   p->dir);
    return e;
}

static enum err load_certificate(const struct place *p, struct span pem, struct ca *ca)
{
    struct span label;
    enum err e = pem_next(&pem, &label, &ca->der);
    if (!e)
        e = x509_parse(buf_span(&ca->der), &ca->fields);
    if (e == ERR_NOT_FOUND || e == ERR_PARSE)
        return say(
            p, ERR_CONFIG,
            "%s/" CERTIFICATE_FILE
            " holds no certificate in PEM (damaged or cut off?); put back a copy, or make a new CA: ringtape ca new",
            p->dir);
    return e ? e : pem_put(&ca->pem, "CERTIFICATE", buf_span(&ca->der));
}

static enum err check(const struct place *p, struct ca *ca)
{
    const struct x509 *f = &ca->fields;
    uint64_t now_s = clock_wall_ns() / NS_PER_S;
    char when[CLOCK_ISO_LEN];
    if (!f->is_ca || (f->has_key_usage && !(f->key_usage & X509_USAGE_CERT_SIGN)))
        return say(p, ERR_CONFIG,
                   "the certificate in %s/" CERTIFICATE_FILE
                   " is not that of a CA (basicConstraints CA:TRUE and keyCertSign)",
                   p->dir);
    if (now_s > f->not_after) {
        clock_iso8601(f->not_after * NS_PER_S, when);
        return say(p, ERR_CONFIG, "the CA in %s/" CERTIFICATE_FILE " expired on %.10s; make a new one: ringtape ca new",
                   p->dir, when);
    }
    if (now_s < f->not_before) {
        clock_iso8601(f->not_before * NS_PER_S, when);
        return say(p, ERR_CONFIG,
                   "the CA in %s/" CERTIFICATE_FILE " is not valid before %.10s; is this machine's clock right?",
                   p->dir, when);
    }
    if (!span_eq(key_spki(ca->key), f->spki))
        return say(p, ERR_CONFIG,
                   "%s/" KEY_FILE " is not the key of the certificate in " CERTIFICATE_FILE
                   "; put back the matching file, or make a new CA: ringtape ca new",
                   p->dir);
    x509_key_id(ca->key, ca->key_id);
    return ERR_OK;
}

static enum err load(const struct place *p, struct ca *ca)
{
    struct buf key = BUF_INIT, certificate = BUF_INIT;
    enum err have_key = place_read(p, KEY_FILE, true, &key);
    enum err have_certificate =
        have_key && have_key != ERR_NOT_FOUND ? have_key : place_read(p, CERTIFICATE_FILE, false, &certificate);
    enum err e = ERR_OK;
    if (have_key && have_key != ERR_NOT_FOUND)
        e = have_key;
    else if (have_certificate && have_certificate != ERR_NOT_FOUND)
        e = have_certificate;
    else if (have_key && have_certificate)
        e = ERR_NOT_FOUND;
    else if (have_key || have_certificate)
        e = say(p, ERR_CONFIG, "%s/%s is missing beside %s; put it back, or make a new CA: ringtape ca new", p->dir,
                have_key ? KEY_FILE : CERTIFICATE_FILE, have_key ? CERTIFICATE_FILE : KEY_FILE);
    if (!e)
        e = load_key(p, buf_span(&key), ca);
    if (!e)
        e = load_certificate(p, buf_span(&certificate), ca);
    if (!e)
        e = check(p, ca);
    key_wipe(&key);
    buf_free(&certificate);
    return e;
}

/* --- making */

static enum err generate(struct ca *ca)
{
    struct hash_key random;
    hash_key_random(&random);
    char name[32];
    snprintf(name, sizeof name, "ringtape CA %08" PRIx32, (uint32_t)random.k0);
    uint64_t now_s = clock_wall_ns() / NS_PER_S, from = now_s - (uint64_t)CA_BACKDATED_DAYS * DAY_S;
    struct x509_validity validity = {from, from + (uint64_t)CA_DAYS * DAY_S};
    enum err e = key_create(&ca->key);
    if (!e)
        e = x509_make_ca(&ca->der, ca->key, name, validity);
    if (!e)
        e = x509_parse(buf_span(&ca->der), &ca->fields);
    if (!e)
        e = pem_put(&ca->pem, "CERTIFICATE", buf_span(&ca->der));
    if (!e)
        x509_key_id(ca->key, ca->key_id);
    return e;
}

static enum err keep_old(const struct place *p)
{
    static const char *const names[] = {KEY_FILE, CERTIFICATE_FILE};
    for (size_t i = 0; i < 2; i++) {
        enum err e =
            faccessat(p->fd, names[i], F_OK, AT_SYMLINK_NOFOLLOW) == 0 ? place_rename(p, names[i], "", ".old") : ERR_OK;
        if (e)
            return e;
    }
    return ERR_OK;
}

/* The old files, if any, stay until the new ones are written: a full disk must not cost anyone their CA. */
static enum err store(const struct place *p, struct ca *ca, bool anew)
{
    struct buf der = BUF_INIT, pem = BUF_INIT;
    enum err e = key_pkcs8(ca->key, &der);
    if (!e)
        e = pem_put(&pem, "PRIVATE KEY", buf_span(&der));
    if (!e)
        e = place_write(p, KEY_FILE, 0600, buf_span(&pem));
    if (!e)
        e = place_write(p, CERTIFICATE_FILE, 0644, buf_span(&ca->pem));
    if (!e && anew)
        e = keep_old(p);
    if (!e)
        e = place_rename(p, CERTIFICATE_FILE, ".new", "");
    if (!e)
        e = place_rename(p, KEY_FILE, ".new", "");
    if (!e && fsync(p->fd) != 0)
        e = say_errno(p, "cannot write", "");
    key_wipe(&der);
    key_wipe(&pem);
    return e;
}

static enum err make(const struct place *p, struct ca *ca, bool anew)
{
    enum err e = generate(ca);
    return e ? e : store(p, ca, anew);
}

static enum err open_or_make(struct ca **out, const char *dir, struct buf *problem, bool anew)
{
    struct place p = {.dir = dir, .fd = -1, .problem = problem};
    struct ca *ca = mem_new(1, sizeof *ca);
    *out = NULL;
    buf_clear(problem);
    enum err e = ca ? place_open(&p) : ERR_NOMEM;
    if (!e)
        e = anew ? ERR_NOT_FOUND : load(&p, ca);
    if (e == ERR_NOT_FOUND)
        e = make(&p, ca, anew);
    place_close(&p);
    if (e)
        ca_close(&ca);
    if (e && problem->n == 0) {
        enum err put = buf_printf(problem, "the CA in %s: %s", dir, err_text(e));
        (void)put; /* without memory there is no sentence either */
    }
    *out = ca;
    return e;
}

enum err ca_open(struct ca **out, const char *dir, struct buf *problem)
{
    return open_or_make(out, dir, problem, false);
}

enum err ca_renew(struct ca **out, const char *dir, struct buf *problem)
{
    return open_or_make(out, dir, problem, true);
}

/* --- asking */

struct span ca_certificate_der(const struct ca *ca)
{
    return buf_span(&ca->der);
}

struct span ca_certificate_pem(const struct ca *ca)
{
    return buf_span(&ca->pem);
}

struct x509_issuer ca_issuer(const struct ca *ca)
{
    struct span id = ca->fields.key_id.n > 0 ? ca->fields.key_id : span_of(ca->key_id, sizeof ca->key_id);
    return (struct x509_issuer){.key = ca->key, .subject = ca->fields.subject, .key_id = id};
}

uint64_t ca_not_after(const struct ca *ca)
{
    return ca->fields.not_after;
}

enum err ca_describe(const struct ca *ca, struct buf *out)
{
    char from[CLOCK_ISO_LEN], to[CLOCK_ISO_LEN];
    clock_iso8601(ca->fields.not_before * NS_PER_S, from);
    clock_iso8601(ca->fields.not_after * NS_PER_S, to);
    uint8_t digest[KEY_DIGEST_BYTES];
    key_digest(buf_span(&ca->der), digest);
    struct buf text = BUF_INIT;
    struct span name = x509_common_name(ca->fields.subject);
    enum err e = text_escape_terminal(&text, name.n > 0 ? name : SPAN("(no name)"));
    if (!e)
        e = buf_printf(&text, "\nvalid from %.10s to %.10s\nSHA-256 fingerprint ", from, to);
    for (size_t i = 0; !e && i < sizeof digest; i++)
        e = buf_printf(&text, "%s%02X", i ? ":" : "", digest[i]);
    if (!e)
        e = buf_put_byte(&text, '\n');
    if (!e)
        e = buf_put(out, buf_span(&text));
    buf_free(&text);
    return e;
}
