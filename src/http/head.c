/* head.c: fields and control data in one block. Slices are offsets, so the block may move when it grows; what is removed stays in the
 * block as waste until headers_clear(), bounded by HEAD_BLOCK_MAX. Invariants: block.head is 0; every slice lies within block.n;
 * n <= cap, n <= LIMIT_HEADERS. */
#include "http/head.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "base/util.h"
#include "http/token.h"

#include <assert.h>

enum {
    HEADERS_FIRST_CAP = 32,
    HEAD_BLOCK_MAX = 4 * LIMIT_HEAD_BYTES, /* live bytes and waste together */
};

void headers_free(struct headers *h)
{
    buf_free(&h->block);
    mem_free(h->fields);
    *h = HEADERS_INIT;
}

void headers_clear(struct headers *h)
{
    buf_clear(&h->block);
    h->n = 0;
}

static struct span headers_span(const struct headers *h, struct slice s)
{
    assert(h->block.head == 0 && (size_t)s.at + s.n <= h->block.n);
    return (struct span){h->block.p ? h->block.p + s.at : NULL, s.n};
}

static enum err headers_grow(struct headers *h)
{
    if (h->n >= LIMIT_HEADERS)
        return ERR_LIMIT;
    if (h->n < h->cap)
        return ERR_OK;
    uint32_t cap = h->cap ? h->cap * 2 : HEADERS_FIRST_CAP;
    struct header_slice *grown = mem_resize(h->fields, cap, sizeof *grown);
    if (!grown)
        return ERR_NOMEM;
    h->fields = grown;
    h->cap = cap;
    return ERR_OK;
}

/* May `more` bytes join the block, once the fields called `gone` (or none, if that is empty) have left? Waste counts only against the
 * outer bound. */
static bool headers_may_hold(const struct headers *h, size_t more, struct span gone)
{
    if (more > LIMIT_HEAD_BYTES || h->block.n + more > HEAD_BLOCK_MAX)
        return false;
    if (h->block.n + more <= LIMIT_HEAD_BYTES)
        return true;
    size_t live = more;
    for (uint32_t i = 0; i < h->n; i++) {
        struct header f = headers_at(h, i);
        if (gone.n == 0 || !span_eq_nocase(f.name, gone))
            live += f.name.n + f.value.n;
    }
    return live <= LIMIT_HEAD_BYTES;
}

/* Appends bytes, which may lie in the block itself (then it must not move under them). */
static enum err block_put(struct buf *block, struct span bytes, struct slice *out)
{
    bool inside = bytes.n > 0 && block->p && bytes.p >= block->p && bytes.p < block->p + block->cap;
    size_t offset = inside ? (size_t)(bytes.p - block->p) : 0;
    uint8_t *at;
    *out = (struct slice){(uint32_t)block->n, (uint32_t)bytes.n};
    if (bytes.n == 0)
        return ERR_OK;
    enum err e = buf_reserve(block, bytes.n, &at);
    if (e)
        return e;
    memcpy(at, inside ? block->p + offset : bytes.p, bytes.n);
    buf_commit(block, bytes.n);
    return ERR_OK;
}

/* Copies a field into the block; the list does not hold it yet. */
static enum err field_put(struct headers *h, struct span name, struct span value, struct span gone,
                          struct header_slice *out)
{
    if (name.n > LIMIT_HEAD_BYTES || value.n > LIMIT_HEAD_BYTES || !headers_may_hold(h, name.n + value.n, gone))
        return ERR_LIMIT;
    /* The value may lie in the block, which copying the name may move. */
    bool inside = h->block.p && value.n && value.p >= h->block.p && value.p < h->block.p + h->block.cap;
    size_t offset = inside ? (size_t)(value.p - h->block.p) : 0;
    enum err e = block_put(&h->block, name, &out->name);
    if (e)
        return e;
    return block_put(&h->block, inside ? span_of(h->block.p + offset, value.n) : value, &out->value);
}

enum err headers_add(struct headers *h, struct span name, struct span value)
{
    struct header_slice field;
    enum err e = headers_grow(h);
    if (!e)
        e = field_put(h, name, value, SPAN_EMPTY, &field);
    if (!e)
        h->fields[h->n++] = field;
    return e;
}

enum err headers_add_slices(struct headers *h, struct slice name, struct slice value)
{
    enum err e = headers_grow(h);
    if (!e)
        h->fields[h->n++] = (struct header_slice){name, value};
    return e;
}

struct header headers_at(const struct headers *h, size_t i)
{
    assert(i < h->n);
    return (struct header){headers_span(h, h->fields[i].name), headers_span(h, h->fields[i].value)};
}

bool headers_find(const struct headers *h, struct span name, struct span *value)
{
    for (uint32_t i = 0; i < h->n; i++) {
        if (h->fields[i].name.n == name.n && span_eq_nocase(headers_span(h, h->fields[i].name), name)) {
            *value = headers_span(h, h->fields[i].value);
            return true;
        }
    }
    *value = SPAN_EMPTY;
    return false;
}

bool headers_has_token(const struct headers *h, struct span name, struct span token)
{
    for (uint32_t i = 0; i < h->n; i++) {
        struct header f = headers_at(h, i);
        if (!span_eq_nocase(f.name, name))
            continue;
        struct span element;
        while (token_list_next(&f.value, &element))
            if (span_eq_nocase(element, token))
                return true;
    }
    return false;
}

size_t headers_remove(struct headers *h, struct span name)
{
    uint32_t kept = 0;
    for (uint32_t i = 0; i < h->n; i++)
        if (!span_eq_nocase(headers_span(h, h->fields[i].name), name))
            h->fields[kept++] = h->fields[i];
    size_t removed = h->n - kept;
    h->n = kept;
    return removed;
}

/* Within its own bytes: what is left is never longer. Returns how many elements went. */
static size_t field_remove_token(struct headers *h, struct header_slice *field, struct span token)
{
    struct span rest = headers_span(h, field->value), element;
    uint8_t *start = h->block.p + field->value.at, *to = start;
    size_t removed = 0;
    while (token_list_next(&rest, &element)) {
        if (span_eq_nocase(element, token)) {
            removed++;
            continue;
        }
        if (to > start)
            *to++ = ',';
        memmove(to, element.p, element.n);
        to += element.n;
    }
    field->value.n = (uint32_t)(to - start);
    return removed;
}

size_t headers_remove_token(struct headers *h, struct span name, struct span token)
{
    size_t removed = 0;
    uint32_t kept = 0;
    for (uint32_t i = 0; i < h->n; i++) {
        struct header_slice field = h->fields[i];
        struct span rest = headers_span(h, field.value), element;
        bool has = false;
        if (span_eq_nocase(headers_span(h, field.name), name))
            while (!has && token_list_next(&rest, &element))
                has = span_eq_nocase(element, token);
        if (has)
            removed += field_remove_token(h, &field, token);
        if (!has || field.value.n > 0)
            h->fields[kept++] = field;
    }
    h->n = kept;
    return removed;
}

enum err headers_set(struct headers *h, struct span name, struct span value)
{
    /* The old values go last, so that a failure leaves the list as it was. */
    struct header_slice field;
    struct span old;
    enum err e = headers_find(h, name, &old) ? ERR_OK : headers_grow(h);
    if (!e)
        e = field_put(h, name, value, name, &field);
    if (e)
        return e;
    uint32_t kept = 0;
    bool placed = false;
    for (uint32_t i = 0; i < h->n; i++) {
        bool same = span_eq_nocase(headers_span(h, h->fields[i].name), headers_span(h, field.name));
        if (same && !placed)
            h->fields[i].value = field.value;
        if (!same || !placed)
            h->fields[kept++] = h->fields[i];
        placed |= same;
    }
    h->n = kept;
    if (!placed)
        h->fields[h->n++] = field;
    return ERR_OK;
}

enum err headers_copy(struct headers *to, const struct headers *from)
{
    if (to == from)
        return ERR_OK;
    uint8_t *at = NULL;
    size_t had = to->block.n;
    enum err e = from->block.n > had ? buf_reserve(&to->block, from->block.n - had, &at) : ERR_OK;
    if (e)
        return e;
    if (to->cap < from->n) {
        struct header_slice *grown = mem_resize(to->fields, from->n, sizeof *grown);
        if (!grown)
            return ERR_NOMEM;
        to->fields = grown;
        to->cap = from->n;
    }
    headers_clear(to);
    e = buf_put(&to->block, buf_span(&from->block));
    if (e)
        return e;
    if (from->n)
        memcpy(to->fields, from->fields, from->n * sizeof *to->fields);
    to->n = from->n;
    return ERR_OK;
}

void head_free(struct head *h)
{
    headers_free(&h->headers);
    *h = HEAD_INIT;
}

void head_clear(struct head *h, enum head_kind kind)
{
    struct headers kept = h->headers;
    headers_clear(&kept);
    *h = (struct head){.kind = kind, .headers = kept};
}

enum err head_set(struct head *h, struct slice *slot, struct span bytes)
{
    assert((const char *)slot >= (const char *)h && (const char *)slot < (const char *)(h + 1));
    if (!headers_may_hold(&h->headers, bytes.n, SPAN_EMPTY))
        return ERR_LIMIT;
    return block_put(&h->headers.block, bytes, slot);
}

enum err head_copy(struct head *to, const struct head *from)
{
    if (to == from)
        return ERR_OK;
    enum err e = headers_copy(&to->headers, &from->headers);
    if (e)
        return e;
    struct headers kept = to->headers;
    *to = *from;
    to->headers = kept;
    return ERR_OK;
}

static enum err head_put_host(const struct head *h, struct buf *out)
{
    struct span host = head_span(h, h->host);
    bool v6 = span_find(host, ':') < host.n;
    enum err e = v6 ? buf_put_byte(out, '[') : ERR_OK;
    if (!e)
        e = buf_put(out, host);
    if (!e && v6)
        e = buf_put_byte(out, ']');
    return e;
}

enum err head_url(const struct head *h, struct buf *out)
{
    struct span scheme = head_span(h, h->scheme);
    struct span path = head_span(h, h->path);
    bool connect = span_eq(head_span(h, h->method), SPAN("CONNECT")) && path.n == 0;
    if (scheme.n == 0)
        scheme = SPAN("http");
    enum err e = ERR_OK;
    if (!connect) {
        e = buf_put(out, scheme);
        if (!e)
            e = buf_put(out, SPAN("://"));
    }
    if (!e)
        e = head_put_host(h, out);
    unsigned usual = span_eq_nocase(scheme, SPAN("http")) ? 80 : span_eq_nocase(scheme, SPAN("https")) ? 443 : 0;
    if (!e && h->port != 0 && (connect || h->port != usual)) {
        e = buf_put_byte(out, ':');
        if (!e)
            e = buf_put_u64(out, h->port);
    }
    /* "OPTIONS *" asks about the server: its URI has no path (RFC 9112 §3.2.4). */
    if (!e && !span_eq(path, SPAN("*")))
        e = buf_put(out, path);
    return e;
}

bool head_is_connection_field(struct span name)
{
    static const struct span fields[] = {
        {(const uint8_t *)"te", 2},
        {(const uint8_t *)"upgrade", 7},
        {(const uint8_t *)"connection", 10},
        {(const uint8_t *)"keep-alive", 10},
        {(const uint8_t *)"proxy-connection", 16},
        {(const uint8_t *)"transfer-encoding", 17},
        {(const uint8_t *)"proxy-authenticate", 18},
        {(const uint8_t *)"proxy-authorization", 19},
        {(const uint8_t *)"proxy-authentication-info", 25},
    };
    const unsigned lengths = BIT(2) | BIT(7) | BIT(10) | BIT(16) | BIT(17) | BIT(18) | BIT(19) | BIT(25);
    if (name.n > 25 || !(lengths & BIT(name.n)))
        return false;
    for (size_t i = 0; i < ARRAY_LEN(fields); i++)
        if (fields[i].n == name.n && span_eq_nocase(fields[i], name))
            return true;
    return false;
}

/* Does every TE line say "trailers" and nothing else? */
static bool te_is_trailers(const struct headers *h)
{
    for (uint32_t i = 0; i < h->n; i++) {
        struct header f = headers_at(h, i);
        struct span element;
        if (!span_eq_nocase(f.name, SPAN("te")))
            continue;
        while (token_list_next(&f.value, &element))
            if (!span_eq_nocase(element, SPAN("trailers")))
                return false;
    }
    return true;
}

bool head_is_hop_by_hop(const struct headers *h, struct span name)
{
    if (span_eq_nocase(name, SPAN("te")))
        return !te_is_trailers(h);
    return head_is_connection_field(name) || headers_has_token(h, SPAN("connection"), name);
}
