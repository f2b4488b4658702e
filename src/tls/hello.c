/* hello.c: the ClientHello parser. A hello may be spread over several TLS records, each a few bytes long, so a cursor
 * walks the handshake bytes across record headers instead of copying them together; nothing is allocated.
 * Two passes: the first only walks records, to tell "not complete yet" from "malformed"; the second reads fields.
 * Invariants of the second pass: all bytes of the message are there; `left` is what remains of the innermost vector and
 * no read goes beyond it. */
#include "tls/hello.h"

#include "base/limits.h"
#include "base/util.h"

#include <assert.h>

enum {
    RECORD_HANDSHAKE = 22,
    RECORD_HEADER = 5,
    RECORD_MAX = 1 << 14,
    HANDSHAKE_CLIENT_HELLO = 1,
    HANDSHAKE_HEADER = 4,
    RANDOM_BYTES = 32,
    SESSION_ID_MAX = 32,
    EXT_SERVER_NAME = 0,
    EXT_ALPN = 16,
    EXT_SUPPORTED_VERSIONS = 43,
};

struct cursor {
    struct span in; /* from the next unread byte on */
    size_t record;  /* handshake bytes left in the current record */
    size_t left;    /* bytes left in the innermost vector */
};

static unsigned be16(const uint8_t *p)
{
    return (unsigned)p[0] << 8 | p[1];
}

/* The header of one record: its length, checked. */
static enum err record_begin(struct span in, size_t *length)
{
    if (in.n > 0 && in.p[0] != RECORD_HANDSHAKE)
        return ERR_PARSE;
    if (in.n > 1 && in.p[1] != 3)
        return ERR_PARSE;
    if (in.n < RECORD_HEADER)
        return ERR_AGAIN;
    *length = be16(in.p + 3);
    return *length == 0 || *length > RECORD_MAX ? ERR_PARSE : ERR_OK;
}

enum err hello_sniff(struct span in)
{
    size_t length;
    if (in.n > 2 && in.p[2] > 4)
        return ERR_PARSE;
    enum err e = record_begin(in, &length);
    if (e)
        return e;
    if (in.n == RECORD_HEADER)
        return ERR_AGAIN;
    return in.p[RECORD_HEADER] == HANDSHAKE_CLIENT_HELLO ? ERR_OK : ERR_PARSE;
}

/* Crosses into the next record where the current one is used up. */
static enum err cursor_settle(struct cursor *c)
{
    if (c->record > 0)
        return ERR_OK;
    enum err e = record_begin(c->in, &c->record);
    if (e == ERR_OK)
        c->in = span_from(c->in, RECORD_HEADER);
    return e;
}

/* Reads n handshake bytes; out may be NULL to skip them. */
static enum err cursor_read(struct cursor *c, size_t n, uint8_t *out)
{
    if (n > c->left)
        return ERR_PARSE;
    c->left -= n;
    while (n > 0) {
        enum err e = cursor_settle(c);
        if (e)
            return e;
        size_t step = MIN(MIN(n, c->record), c->in.n);
        if (step == 0)
            return ERR_AGAIN;
        if (out) {
            memcpy(out, c->in.p, step);
            out += step;
        }
        c->in = span_from(c->in, step);
        c->record -= step;
        n -= step;
    }
    return ERR_OK;
}

static enum err cursor_number(struct cursor *c, size_t bytes, size_t *out)
{
    uint8_t b[3];
    assert(bytes <= sizeof b);
    enum err e = cursor_read(c, bytes, b);
    if (e)
        return e;
    *out = 0;
    for (size_t i = 0; i < bytes; i++)
        *out = *out << 8 | b[i];
    return ERR_OK;
}

/* Enters a vector whose length takes `bytes`; *outer is what cursor_leave() needs. */
static enum err cursor_enter(struct cursor *c, size_t bytes, size_t *outer)
{
    size_t n;
    enum err e = cursor_number(c, bytes, &n);
    if (e)
        return e;
    if (n > c->left)
        return ERR_PARSE;
    *outer = c->left - n;
    c->left = n;
    return ERR_OK;
}

static void cursor_leave(struct cursor *c, size_t outer)
{
    assert(c->left == 0);
    c->left = outer;
}

static enum err skip_vector(struct cursor *c, size_t bytes)
{
    size_t outer;
    enum err e = cursor_enter(c, bytes, &outer);
    if (!e)
        e = cursor_read(c, c->left, NULL);
    if (!e)
        cursor_leave(c, outer);
    return e;
}

static bool is_grease(size_t v)
{
    return (v & 0x0f0f) == 0x0a0a && v >> 8 == (v & 0xff);
}

/* One host_name: printable ASCII, made lower case; the root's trailing dot is dropped. */
static enum err read_host_name(struct cursor *c, char *name)
{
    size_t n = c->left;
    if (n == 0 || n >= HELLO_NAME_MAX)
        return ERR_PARSE;
    enum err e = cursor_read(c, n, (uint8_t *)name);
    if (e)
        return e;
    for (size_t i = 0; i < n; i++) {
        if (name[i] <= ' ' || name[i] > '~')
            return ERR_PARSE;
        if (name[i] >= 'A' && name[i] <= 'Z')
            name[i] = (char)(name[i] + ('a' - 'A'));
    }
    name[n] = '\0';
    if (n > 1 && name[n - 1] == '.')
        name[n - 1] = '\0';
    return ERR_OK;
}

/* RFC 6066 §3: a list of (type, name); only host_name (0) exists, and at most once. */
static enum err read_server_name(struct cursor *c, struct hello *out)
{
    size_t outer, type, name_outer;
    enum err e = cursor_enter(c, 2, &outer);
    while (!e && c->left > 0) {
        e = cursor_number(c, 1, &type);
        if (!e)
            e = cursor_enter(c, 2, &name_outer);
        if (e)
            break;
        if (type == 0 && out->server_name[0] != '\0')
            return ERR_PARSE;
        e = type == 0 ? read_host_name(c, out->server_name) : cursor_read(c, c->left, NULL);
        if (!e)
            cursor_leave(c, name_outer);
    }
    if (!e)
        cursor_leave(c, outer);
    return e;
}

/* RFC 7301 §3.1. The list goes to scratch as it is; names beyond our bounds are left out (they are still checked). */
static enum err read_alpn(struct cursor *c, struct hello *out)
{
    size_t outer, n, used = 0, names = 0;
    enum err e = cursor_enter(c, 2, &outer);
    if (!e && c->left < 2)
        return ERR_PARSE;
    while (!e && c->left > 0) {
        e = cursor_number(c, 1, &n);
        if (e)
            break;
        if (n == 0 || n > c->left)
            return ERR_PARSE;
        if (names == HELLO_ALPN_MAX || used + 1 + n > sizeof out->scratch) {
            e = cursor_read(c, n, NULL);
            continue;
        }
        out->scratch[used] = (uint8_t)n;
        e = cursor_read(c, n, out->scratch + used + 1);
        used += 1 + n;
        names++;
    }
    if (e)
        return e;
    cursor_leave(c, outer);
    out->alpn = span_of(out->scratch, used);
    return ERR_OK;
}

static enum err read_versions(struct cursor *c, struct hello *out)
{
    size_t outer, v;
    unsigned max = 0;
    enum err e = cursor_enter(c, 1, &outer);
    while (!e && c->left > 0) {
        e = cursor_number(c, 2, &v);
        if (!e && !is_grease(v) && v > max)
            max = (unsigned)v;
    }
    if (e)
        return e;
    cursor_leave(c, outer);
    if (max != 0)
        out->max_version = max;
    return ERR_OK;
}

static enum err read_extension(struct cursor *c, struct hello *out, unsigned *seen)
{
    static const struct {
        size_t type;
        enum err (*read)(struct cursor *c, struct hello *out);
    } readers[] = {
        {EXT_SERVER_NAME, read_server_name},
        {EXT_ALPN, read_alpn},
        {EXT_SUPPORTED_VERSIONS, read_versions},
    };
    size_t type, outer;
    enum err e = cursor_number(c, 2, &type);
    if (!e)
        e = cursor_enter(c, 2, &outer);
    if (e)
        return e;
    for (size_t i = 0; i < ARRAY_LEN(readers); i++) {
        if (readers[i].type != type)
            continue;
        if (*seen & BIT(i))
            return ERR_PARSE; /* RFC 8446 §4.2: not more than one extension of a type */
        *seen |= BIT(i);
        e = readers[i].read(c, out);
        if (e)
            return e;
        if (c->left > 0)
            return ERR_PARSE;
    }
    e = cursor_read(c, c->left, NULL);
    if (!e)
        cursor_leave(c, outer);
    return e;
}

static enum err read_body(struct cursor *c, struct hello *out)
{
    size_t v, outer;
    unsigned seen = 0;
    enum err e = cursor_number(c, 2, &v);
    if (e)
        return e;
    if (v >> 8 != 3)
        return ERR_PARSE;
    out->legacy_version = out->max_version = (unsigned)v;
    if (!e)
        e = cursor_read(c, RANDOM_BYTES, NULL);
    if (!e)
        e = cursor_enter(c, 1, &outer); /* legacy_session_id */
    if (e)
        return e;
    if (c->left > SESSION_ID_MAX)
        return ERR_PARSE;
    e = cursor_read(c, c->left, NULL);
    if (!e)
        cursor_leave(c, outer);
    if (!e)
        e = skip_vector(c, 2); /* cipher_suites */
    if (!e)
        e = skip_vector(c, 1); /* legacy_compression_methods */
    if (e || c->left == 0)
        return e; /* TLS 1.2 allows a hello without extensions */
    e = cursor_enter(c, 2, &outer);
    if (!e && outer != 0)
        return ERR_PARSE;
    while (!e && c->left > 0)
        e = read_extension(c, out, &seen);
    return e;
}

enum err hello_parse(struct span in, struct hello *out)
{
    memset(out, 0, sizeof *out);
    struct cursor c = {.in = in, .record = 0, .left = HANDSHAKE_HEADER};
    size_t type, length;
    enum err e = cursor_number(&c, 1, &type);
    if (!e && type != HANDSHAKE_CLIENT_HELLO)
        return ERR_PARSE;
    if (!e)
        e = cursor_number(&c, 3, &length);
    if (e)
        return e;
    if (length > LIMIT_CLIENT_HELLO_BYTES)
        return ERR_LIMIT;
    c.left = length;
    struct cursor ahead = c;
    e = cursor_read(&ahead, length, NULL);
    if (e == ERR_AGAIN && in.n > 2 * (size_t)LIMIT_CLIENT_HELLO_BYTES)
        return ERR_LIMIT; /* tiny records: their headers outweigh what they carry */
    return e ? e : read_body(&c, out);
}

bool hello_offers(struct span alpn, struct span protocol)
{
    for (size_t at = 0; at < alpn.n;) {
        size_t n = alpn.p[at];
        if (n > alpn.n - at - 1)
            return false;
        if (span_eq(span_of(alpn.p + at + 1, n), protocol))
            return true;
        at += 1 + n;
    }
    return false;
}
