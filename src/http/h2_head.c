/* h2_head.c: heads between HTTP/2's fields (RFC 9113 §8.2, §8.3) and the version-neutral form.
 *
 * What nghttp2 checks by itself (order and number of pseudo-header fields, upper case, connection-specific fields, Content-Length) is not
 * checked again; what it leaves, and what HTTP/1.1 would read otherwise, is. */
#include "http/h2_internal.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "http/token.h"
#include "http/url.h"

#include <stdio.h>

void h2_block_free(struct h2_block *b)
{
    head_free(&b->head);
    headers_free(&b->trailers);
    buf_free(&b->authority);
    buf_free(&b->cookie);
    buf_free(&b->protocol);
}

void h2_block_begin(struct h2_block *b, enum head_kind kind, bool is_trailers)
{
    head_clear(&b->head, kind);
    headers_clear(&b->trailers);
    buf_clear(&b->authority);
    buf_clear(&b->cookie);
    buf_clear(&b->protocol);
    b->bytes = b->fields = 0;
    b->is_trailers = is_trailers;
    b->why = NULL;
}

/* ---- in ---- */

static enum err block_status(struct h2_block *b, struct span value)
{
    uint64_t status = 0;
    if (value.n != 3 || !span_to_u64(value, 999, &status) || status < 100)
        b->why = "invalid :status";
    b->head.status = (unsigned)status;
    return ERR_OK;
}

static enum err block_pseudo(struct h2_block *b, struct span name, struct span value)
{
    struct head *h = &b->head;
    if (b->is_trailers) {
        b->why = "a pseudo-header field among trailers";
        return ERR_OK;
    }
    if (span_eq(name, SPAN(":status")))
        return block_status(b, value);
    if (span_eq(name, SPAN(":method")))
        return head_set(h, &h->method, value);
    if (span_eq(name, SPAN(":scheme")))
        return head_set(h, &h->scheme, value);
    if (span_eq(name, SPAN(":path")))
        return head_set(h, &h->path, value);
    if (span_eq(name, SPAN(":authority")))
        return buf_put(&b->authority, value);
    if (span_eq(name, SPAN(":protocol")))
        return buf_put(&b->protocol, value);
    b->why = "an unknown pseudo-header field";
    return ERR_OK;
}

enum err h2_block_field(struct h2_block *b, struct span name, struct span value)
{
    b->bytes += name.n + value.n + 32;
    b->fields++;
    if (b->bytes > LIMIT_HEAD_BYTES || b->fields > LIMIT_HEADERS)
        b->why = "the head is too large";
    else if (!token_line_safe(value))
        b->why = "CR, LF or NUL in a field value";
    if (b->why)
        return ERR_OK;
    if (name.n > 0 && name.p[0] == ':')
        return block_pseudo(b, name, value);
    if (b->is_trailers)
        return headers_add(&b->trailers, name, value);
    if (!span_eq(name, SPAN("cookie")))
        return headers_add(&b->head.headers, name, value);
    struct span first; /* holds the place for all of them (RFC 9113 §8.2.3) */
    bool more = headers_find(&b->head.headers, name, &first);
    enum err e = more ? buf_put_str(&b->cookie, "; ") : headers_add(&b->head.headers, name, value);
    return e ? e : buf_put(&b->cookie, value);
}

static enum err block_host(struct h2_block *b)
{
    struct head *h = &b->head;
    struct span host = SPAN_EMPTY, field = SPAN_EMPTY, authority = buf_span(&b->authority);
    bool has_field = headers_find(&h->headers, SPAN("host"), &field);
    if (authority.n == 0)
        authority = field;
    else if (has_field && !span_eq_nocase(field, authority))
        b->why = ":authority and Host disagree";
    if (authority.n > 0 && url_authority(authority, &host, &h->port))
        b->why = "invalid :authority";
    uint8_t lower[256];
    if (host.n > sizeof lower)
        b->why = "invalid :authority";
    if (b->why)
        return ERR_OK;
    for (size_t i = 0; i < host.n; i++)
        lower[i] = host.p[i] >= 'A' && host.p[i] <= 'Z' ? (uint8_t)(host.p[i] | 0x20) : host.p[i];
    return head_set(h, &h->host, span_of(lower, host.n));
}

static enum err put_upgrade(struct headers *fields, struct span protocol)
{
    enum err e = headers_add(fields, SPAN("connection"), SPAN("Upgrade"));
    return e ? e : headers_add(fields, SPAN("upgrade"), protocol);
}

enum err h2_switch_protocols(struct head *head, struct span protocol)
{
    head->status = 101;
    return put_upgrade(&head->headers, protocol);
}

/* RFC 8441 §4: CONNECT with :protocol stands where HTTP/1.1 says GET with Upgrade. nghttp2 has seen to it that the one does not come without the other. */
static enum err block_upgrade(struct h2_block *b)
{
    struct head *h = &b->head;
    struct span protocol = buf_span(&b->protocol);
    if (!token_valid(protocol)) {
        b->why = "invalid :protocol";
        return ERR_OK;
    }
    enum err e = head_set(h, &h->method, SPAN("GET"));
    return e ? e : put_upgrade(&h->headers, protocol);
}

static enum err block_request(struct h2_block *b)
{
    struct head *h = &b->head;
    enum err e = b->protocol.n ? block_upgrade(b) : ERR_OK;
    struct span method = head_span(h, h->method), path = head_span(h, h->path);
    size_t hosts = 0;
    if (e || b->why)
        return e;
    for (size_t i = 0; i < h->headers.n; i++)
        hosts += span_eq(headers_at(&h->headers, i).name, SPAN("host"));
    bool connect = span_eq(method, SPAN("CONNECT"));
    if (hosts > 1)
        b->why = "more than one Host";
    else if (!token_valid(method) || method.n > LIMIT_METHOD_BYTES)
        b->why = "invalid :method";
    else if (!connect && !(path.n > 0 && path.p[0] == '/') && !span_eq(path, SPAN("*")))
        b->why = "invalid :path";
    else if (!token_graphic(path) || path.n > LIMIT_TARGET_BYTES)
        b->why = "invalid :path";
    return b->why ? ERR_OK : block_host(b);
}

enum err h2_block_end(struct h2_block *b)
{
    struct head *h = &b->head;
    if (b->why || b->is_trailers)
        return ERR_OK;
    enum err e = head_set(h, &h->version, SPAN("HTTP/2"));
    struct span first;
    if (!e && headers_find(&h->headers, SPAN("cookie"), &first) && first.n < b->cookie.n)
        e = headers_set(&h->headers, SPAN("cookie"), buf_span(&b->cookie));
    return e || h->kind == HEAD_RESPONSE ? e : block_request(b);
}

/* ---- out ---- */

/* Names refer to h2->names by offset until all are there: it may move. */
static enum err put_field(struct h2 *h2, size_t *n, struct span name, struct span value)
{
    if (*n == h2->nva_cap) {
        size_t cap = h2->nva_cap ? h2->nva_cap * 2 : 32;
        nghttp2_nv *more = mem_resize(h2->nva, cap, sizeof *more);
        if (!more)
            return ERR_NOMEM;
        h2->nva = more;
        h2->nva_cap = cap;
    }
    if (!token_line_safe(value) || name.n == 0)
        return ERR_PARSE;
    size_t at = h2->names.n;
    uint8_t *to;
    enum err e = buf_reserve(&h2->names, name.n + value.n, &to);
    if (e)
        return e;
    for (size_t i = 0; i < name.n; i++)
        to[i] = name.p[i] >= 'A' && name.p[i] <= 'Z' ? (uint8_t)(name.p[i] | 0x20) : name.p[i];
    if (value.n)
        memcpy(to + name.n, value.p, value.n);
    buf_commit(&h2->names, name.n + value.n);
    h2->nva[(*n)++] = (nghttp2_nv){.name = (uint8_t *)(uintptr_t)at, .namelen = name.n, .valuelen = value.n};
    return ERR_OK;
}

static void put_done(struct h2 *h2, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        nghttp2_nv *nv = &h2->nva[i];
        size_t at = (size_t)(uintptr_t)nv->name;
        nv->name = h2->names.p + h2->names.head + at;
        nv->value = nv->name + nv->namelen;
        nv->flags = NGHTTP2_NV_FLAG_NONE;
    }
}

/* `without`: one that is not sent, "" none. */
static enum err put_fields(struct h2 *h2, const struct headers *fields, struct span without, size_t *n)
{
    enum err e = ERR_OK;
    bool trailers = headers_has_token(fields, SPAN("te"), SPAN("trailers"));
    for (size_t i = 0; !e && i < fields->n; i++) {
        struct header f = headers_at(fields, i);
        if (!token_valid(f.name))
            return ERR_PARSE;
        bool te = span_eq_nocase(f.name, SPAN("te"));
        if (te && trailers) {
            e = put_field(h2, n, f.name, SPAN("trailers"));
            trailers = false; /* however many lines said so */
        } else if (!te && !head_is_hop_by_hop(fields, f.name) && !span_eq_nocase(f.name, without)) {
            e = put_field(h2, n, f.name, f.value);
        }
    }
    put_done(h2, *n);
    return e;
}

static enum err put_authority(struct h2 *h2, const struct head *head, size_t *n)
{
    struct span field, host = head_span(head, head->host);
    if (headers_find(&head->headers, SPAN("host"), &field) && field.n > 0)
        return put_field(h2, n, SPAN(":authority"), field);
    char text[300];
    bool v6 = span_find(host, ':') < host.n;
    unsigned usual = url_default_port(head_span(head, head->scheme));
    int m = head->port == usual ? snprintf(text, sizeof text, v6 ? "[%.*s]" : "%.*s", (int)host.n, (const char *)host.p)
                                : snprintf(text, sizeof text, v6 ? "[%.*s]:%u" : "%.*s:%u", (int)host.n,
                                           (const char *)host.p, head->port);
    return m < 0 || (size_t)m >= sizeof text ? ERR_PARSE
                                             : put_field(h2, n, SPAN(":authority"), span_of(text, (size_t)m));
}

enum err h2_put_request(struct h2 *h2, const struct head *head, struct span protocol, size_t *n)
{
    struct span path = head_span(head, head->path);
    *n = 0;
    buf_clear(&h2->names);
    if (path.n == 0) /* CONNECT has none */
        return ERR_PARSE;
    enum err e = put_field(h2, n, SPAN(":method"), protocol.n ? SPAN("CONNECT") : head_span(head, head->method));
    if (!e && protocol.n)
        e = put_field(h2, n, SPAN(":protocol"), protocol);
    if (!e)
        e = put_field(h2, n, SPAN(":scheme"), head_span(head, head->scheme));
    if (!e)
        e = put_authority(h2, head, n);
    if (!e)
        e = token_graphic(path) ? put_field(h2, n, SPAN(":path"), path) : ERR_PARSE;
    return e ? e : put_fields(h2, &head->headers, SPAN("host"), n);
}

enum err h2_put_response(struct h2 *h2, const struct head *head, bool own, size_t *n)
{
    char status[16];
    bool switched = head->status == 101; /* RFC 8441 §5 */
    (void)snprintf(status, sizeof status, "%03u", switched ? 200 : head->status);
    *n = 0;
    buf_clear(&h2->names);
    enum err e = put_field(h2, n, SPAN(":status"), span_str(status));
    struct span challenge;
    if (!e && own && headers_find(&head->headers, SPAN("proxy-authenticate"), &challenge))
        e = put_field(h2, n, SPAN("proxy-authenticate"), challenge);
    return e ? e : put_fields(h2, &head->headers, switched ? SPAN("sec-websocket-accept") : SPAN_EMPTY, n);
}

enum err h2_put_trailers(struct h2 *h2, const struct headers *trailers, size_t *n)
{
    *n = 0;
    buf_clear(&h2->names);
    return put_fields(h2, trailers, SPAN_EMPTY, n);
}
