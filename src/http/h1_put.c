/* h1_put.c: serialising HTTP/1. One reservation for the whole head, then plain copies. What concerns one connection is dropped and
 * written anew for the next one; fields that frame the body keep their place and spelling where they say what the framing is, so that a
 * forwarded head differs from the received one in nothing but the connection's own fields. Invariant: nothing that could end a line
 * or a field early gets out, whatever the head's source (another protocol, a tape, a HAR). */
#include "http/h1.h"

#include "base/limits.h"
#include "base/util.h"
#include "http/token.h"
#include "http/url.h"

#include <assert.h>

enum {
    PUT_FIXED_BYTES = 256,  /* versions, separators, and the fields that are made here */
    PUT_CONNECTION_MAX = 32 /* "Upgrade, close, keep-alive, TE" */
};

struct put {
    const struct head *head;
    const struct h1_out *how;
    bool request;
    bool bare;   /* 1xx: no framing, no Connection */
    bool listed; /* Connection names fields of its own choice */
    bool te;     /* TE: trailers goes out */
    bool want_length, want_coding;
    bool has_length, has_coding, has_host, has_connection;
    uint64_t length;
    struct span connection; /* the value that goes out, or empty */
    uint8_t text[PUT_CONNECTION_MAX];
    uint8_t *at;
};

static void put_span(struct put *p, struct span s)
{
    if (s.n)
        memcpy(p->at, s.p, s.n);
    p->at += s.n;
}

static void put_u64(struct put *p, uint64_t value)
{
    uint8_t digits[20];
    size_t i = sizeof digits;
    do {
        digits[--i] = (uint8_t)('0' + value % 10);
        value /= 10;
    } while (value);
    put_span(p, span_of(digits + i, sizeof digits - i));
}

static void put_field(struct put *p, struct span name, struct span value)
{
    put_span(p, name);
    put_span(p, SPAN(": "));
    put_span(p, value);
    put_span(p, SPAN("\r\n"));
}

static void put_length(struct put *p)
{
    put_span(p, SPAN("Content-Length: "));
    put_u64(p, p->length);
    put_span(p, SPAN("\r\n"));
    p->has_length = true;
}

/* ---- what goes out instead of the hop-by-hop fields ---- */

static void connection_add(struct put *p, struct span token)
{
    size_t n = p->connection.n;
    if (n) {
        memcpy(p->text + n, ", ", 2);
        n += 2;
    }
    assert(n + token.n <= sizeof p->text);
    memcpy(p->text + n, token.p, token.n);
    p->connection = span_of(p->text, n + token.n);
}

static void connection_look(struct put *p, struct span value)
{
    struct span token;
    while (token_list_next(&value, &token))
        if (!span_eq_nocase(token, SPAN("close")) && !span_eq_nocase(token, SPAN("keep-alive")) &&
            !span_eq_nocase(token, SPAN("upgrade")) && !span_eq_nocase(token, SPAN("te")))
            p->listed = true;
}

static void te_look(struct put *p, struct span value)
{
    struct span token;
    while (p->request && token_list_next(&value, &token))
        p->te |= span_eq_nocase(token, SPAN("trailers"));
}

/* Looks through the head once, sums it up, and settles what the connection's fields will say. Fails with ERR_PARSE. */
static enum err put_survey(struct put *p, size_t *bytes)
{
    const struct headers *h = &p->head->headers;
    for (uint32_t i = 0; i < h->n; i++) {
        struct header f = headers_at(h, i);
        if (!token_valid(f.name) || !token_line_safe(f.value))
            return ERR_PARSE;
        *bytes += f.name.n + f.value.n + 4;
        if (f.name.n == 10 && span_eq_nocase(f.name, SPAN("connection")))
            connection_look(p, f.value);
        else if (f.name.n == 2 && span_eq_nocase(f.name, SPAN("te")))
            te_look(p, f.value);
    }
    if (p->bare)
        return ERR_OK;
    if (p->how->upgrade)
        connection_add(p, SPAN("Upgrade"));
    if (p->how->framing != H1_TUNNEL && !p->how->keep_alive)
        connection_add(p, SPAN("close"));
    else if (p->how->framing != H1_TUNNEL && p->how->say_keep_alive)
        connection_add(p, SPAN("keep-alive"));
    if (p->te)
        connection_add(p, SPAN("TE"));
    return ERR_OK;
}

/* ---- fields ---- */

static void put_connection(struct put *p, struct header f)
{
    if (p->has_connection || p->connection.n == 0)
        return;
    p->has_connection = true;
    put_field(p, f.name, span_eq_nocase(f.value, p->connection) ? f.value : p->connection);
}

static void put_content_length(struct put *p, struct header f)
{
    uint64_t value;
    if (p->has_length || p->bare)
        return;
    bool verbatim = p->how->framing == H1_NO_BODY && p->how->keep_framing_fields;
    bool agrees = span_to_u64(f.value, UINT64_MAX, &value) && value == p->length &&
                  (p->want_length || (p->request && p->how->framing == H1_NO_BODY));
    if (!verbatim && !agrees)
        return;
    p->has_length = true;
    put_field(p, f.name, f.value);
}

static void put_transfer_encoding(struct put *p, struct header f)
{
    bool verbatim = p->how->framing == H1_NO_BODY && p->how->keep_framing_fields && !p->has_length;
    if (p->has_coding || p->bare || !(verbatim || p->want_coding) || !span_eq_nocase(f.value, SPAN("chunked")))
        return;
    p->has_coding = true;
    put_field(p, f.name, f.value);
}

/* Fields that need a decision, told by the length of their names. False: none of those. */
static bool put_special(struct put *p, struct header f)
{
    switch (f.name.n) {
    case 2:
        if (!span_eq_nocase(f.name, SPAN("te")))
            return false;
        if (p->te)
            put_field(p, f.name, span_eq_nocase(f.value, SPAN("trailers")) ? f.value : SPAN("trailers"));
        p->te = false; /* one line says it all */
        return true;
    case 4:
        if (!p->request || !span_eq_nocase(f.name, SPAN("host")))
            return false;
        if (p->has_host)
            put_field(p, f.name, f.value);
        p->has_host = false; /* a second one would be ambiguous */
        return true;
    case 7:
        if (!span_eq_nocase(f.name, SPAN("upgrade")))
            return false;
        if (!p->bare && p->how->upgrade)
            put_field(p, f.name, f.value);
        return true;
    case 10:
        if (!span_eq_nocase(f.name, SPAN("connection")))
            return head_is_connection_field(f.name);
        put_connection(p, f);
        return true;
    case 14:
        if (!span_eq_nocase(f.name, SPAN("content-length")))
            return false;
        put_content_length(p, f);
        return true;
    case 17:
        if (!span_eq_nocase(f.name, SPAN("transfer-encoding")))
            return false;
        put_transfer_encoding(p, f);
        return true;
    case 18: /* our own challenge, or one passed on from the proxy beyond */
        if (!p->request && p->head->status == 407 && span_eq_nocase(f.name, SPAN("proxy-authenticate")))
            return false;
        return head_is_connection_field(f.name);
    case 19: /* meant for the next proxy */
        if (p->request && (p->how->absolute_form || p->how->framing == H1_TUNNEL) &&
            span_eq_nocase(f.name, SPAN("proxy-authorization")))
            return false;
        return head_is_connection_field(f.name);
    default:
        return head_is_connection_field(f.name);
    }
}

static void put_fields(struct put *p)
{
    const struct headers *h = &p->head->headers;
    for (uint32_t i = 0; i < h->n; i++) {
        struct header f = headers_at(h, i);
        if (put_special(p, f) || (p->listed && headers_has_token(h, SPAN("connection"), f.name)))
            continue;
        put_field(p, f.name, f.value);
    }
    if (p->want_length && !p->has_length)
        put_length(p);
    if (p->want_coding && !p->has_coding)
        put_field(p, SPAN("Transfer-Encoding"), SPAN("chunked"));
    if (!p->has_connection && p->connection.n > 0)
        put_field(p, SPAN("Connection"), p->connection);
    put_span(p, SPAN("\r\n"));
}

/* ---- requests ---- */

static void put_authority(struct put *p, bool always_port)
{
    const struct head *head = p->head;
    struct span host = head_span(head, head->host), scheme = head_span(head, head->scheme);
    bool v6 = span_find(host, ':') < host.n;
    if (v6)
        put_span(p, SPAN("["));
    put_span(p, host);
    if (v6)
        put_span(p, SPAN("]"));
    unsigned usual = scheme.n ? url_default_port(scheme) : 80;
    if (head->port != 0 && (always_port || head->port != usual)) {
        put_span(p, SPAN(":"));
        put_u64(p, head->port);
    }
}

static void put_target(struct put *p, bool connect)
{
    const struct head *head = p->head;
    struct span path = head_span(head, head->path), scheme = head_span(head, head->scheme);
    if (connect) {
        put_authority(p, true);
        return;
    }
    if (p->how->absolute_form) {
        put_span(p, scheme.n ? scheme : SPAN("http"));
        put_span(p, SPAN("://"));
        put_authority(p, false);
        if (span_eq(path, SPAN("*")))
            return; /* the last proxy makes it "*" again (RFC 9112 §3.2.4) */
    }
    put_span(p, path.n ? path : SPAN("/"));
}

enum err h1_put_request(struct buf *out, const struct head *head, const struct h1_out *how)
{
    assert(how->framing != H1_UNTIL_CLOSE);
    struct put p = {
        .head = head, .how = how, .request = true, .length = how->framing == H1_LENGTH ? how->content_length : 0};
    struct span method = head_span(head, head->method), path = head_span(head, head->path),
                host = head_span(head, head->host);
    struct span scheme = head_span(head, head->scheme), host_field;
    bool connect = span_eq(method, SPAN("CONNECT"));
    if (!token_valid(method) || !token_graphic(path) || !token_graphic(host) || (scheme.n && !token_valid(scheme)))
        return ERR_PARSE;
    size_t bytes = PUT_FIXED_BYTES + method.n + path.n + 2 * host.n + scheme.n;
    p.want_length = how->framing == H1_LENGTH;
    p.want_coding = how->framing == H1_CHUNKED;
    enum err e = put_survey(&p, &bytes);
    if (!e)
        e = buf_reserve(out, bytes, &p.at);
    if (e)
        return e;
    const uint8_t *from = p.at;
    put_span(&p, method);
    put_span(&p, SPAN(" "));
    put_target(&p, connect);
    put_span(&p, SPAN(" HTTP/1.1\r\n"));
    p.has_host = headers_find(&head->headers, SPAN("host"), &host_field);
    if (!p.has_host) {
        put_span(&p, SPAN("Host: "));
        put_authority(&p, connect);
        put_span(&p, SPAN("\r\n"));
    }
    put_fields(&p);
    assert((size_t)(p.at - from) <= bytes);
    buf_commit(out, (size_t)(p.at - from));
    return ERR_OK;
}

/* ---- responses ---- */

static bool status_has_no_content(unsigned status)
{
    return status / 100 == 1 || status == 204 || status == 304;
}

static enum err put_response(struct buf *out, struct put *p)
{
    const struct head *head = p->head;
    struct span reason = head_span(head, head->reason);
    if (head->status < 100 || head->status > 999 || !token_line_safe(reason))
        return ERR_PARSE;
    size_t bytes = PUT_FIXED_BYTES + reason.n;
    enum err e = put_survey(p, &bytes);
    if (!e)
        e = buf_reserve(out, bytes, &p->at);
    if (e)
        return e;
    const uint8_t *from = p->at;
    put_span(p, SPAN("HTTP/1.1 "));
    put_u64(p, head->status);
    put_span(p, SPAN(" "));
    put_span(p, reason);
    put_span(p, SPAN("\r\n"));
    put_fields(p);
    assert((size_t)(p->at - from) <= bytes);
    buf_commit(out, (size_t)(p->at - from));
    return ERR_OK;
}

enum err h1_put_response(struct buf *out, const struct head *head, const struct h1_out *how)
{
    struct put p = {.head = head, .how = how, .length = how->framing == H1_LENGTH ? how->content_length : 0};
    bool empty = how->framing == H1_NO_BODY && !how->keep_framing_fields && !status_has_no_content(head->status);
    p.want_length = how->framing == H1_LENGTH || empty;
    p.want_coding = how->framing == H1_CHUNKED;
    return put_response(out, &p);
}

enum err h1_put_informational(struct buf *out, const struct head *head)
{
    static const struct h1_out how = {.framing = H1_NO_BODY, .keep_alive = true};
    struct put p = {.head = head, .how = &how, .bare = true};
    return put_response(out, &p);
}

/* ---- bodies ---- */

enum err h1_put_chunk_begin(struct buf *out, size_t n)
{
    static const char digits[] = "0123456789abcdef";
    assert(n > 0); /* an empty chunk would end the body */
    uint8_t text[2 * sizeof n + 2];
    size_t i = sizeof text - 2;
    memcpy(text + i, "\r\n", 2);
    do {
        text[--i] = (uint8_t)digits[n & 15];
        n >>= 4;
    } while (n);
    return buf_put(out, span_of(text + i, sizeof text - i));
}

enum err h1_put_chunk_end(struct buf *out)
{
    return buf_put(out, SPAN("\r\n"));
}

enum err h1_put_last_chunk(struct buf *out, const struct headers *trailers)
{
    struct put p = {.at = NULL};
    size_t n = trailers ? trailers->n : 0, bytes = 5;
    for (size_t i = 0; i < n; i++) {
        struct header f = headers_at(trailers, i);
        if (!token_valid(f.name) || !token_line_safe(f.value))
            return ERR_PARSE;
        bytes += f.name.n + f.value.n + 4;
    }
    enum err e = buf_reserve(out, bytes, &p.at);
    if (e)
        return e;
    const uint8_t *from = p.at;
    put_span(&p, SPAN("0\r\n"));
    for (size_t i = 0; i < n; i++) {
        struct header f = headers_at(trailers, i);
        if (!head_is_connection_field(f.name) && !span_eq_nocase(f.name, SPAN("content-length")))
            put_field(&p, f.name, f.value);
    }
    put_span(&p, SPAN("\r\n"));
    buf_commit(out, (size_t)(p.at - from));
    return ERR_OK;
}

/* ---- choosing the framing ---- */

/* The length that a head states, when it states one only and nothing beside it. */
static bool stated_length(const struct headers *h, uint64_t *length)
{
    unsigned lengths = 0;
    bool valid = true;
    for (uint32_t i = 0; i < h->n; i++) {
        struct header f = headers_at(h, i);
        if (f.name.n == 14 && span_eq_nocase(f.name, SPAN("content-length"))) {
            lengths++;
            valid = span_to_u64(f.value, UINT64_MAX, length);
        } else if (f.name.n == 17 && span_eq_nocase(f.name, SPAN("transfer-encoding"))) {
            return false;
        }
    }
    return lengths == 1 && valid;
}

static bool asks_upgrade(const struct headers *h)
{
    struct span value;
    return headers_find(h, SPAN("upgrade"), &value) && headers_has_token(h, SPAN("connection"), SPAN("upgrade"));
}

struct h1_out h1_plan_response(const struct head *head, struct span method, bool peer_is_http10, bool keep_alive)
{
    struct h1_out how = {.keep_alive = keep_alive, .say_keep_alive = keep_alive && peer_is_http10};
    if (head->status == 101 || (span_eq(method, SPAN("CONNECT")) && head->status / 100 == 2)) {
        how.framing = H1_TUNNEL;
        how.upgrade = head->status == 101;
    } else if (span_eq(method, SPAN("HEAD")) || status_has_no_content(head->status)) {
        how.framing = H1_NO_BODY;
        how.keep_framing_fields = true;
    } else if (stated_length(&head->headers, &how.content_length)) {
        how.framing = H1_LENGTH;
    } else if (!peer_is_http10) {
        how.framing = H1_CHUNKED;
    } else {
        how.framing = H1_UNTIL_CLOSE;
        how.keep_alive = how.say_keep_alive = false;
    }
    return how;
}

struct h1_out h1_plan_request(const struct head *head, bool has_body, bool keep_alive)
{
    struct h1_out how = {.keep_alive = keep_alive, .upgrade = asks_upgrade(&head->headers)};
    uint64_t length = 0;
    bool stated = stated_length(&head->headers, &length);
    if (span_eq(head_span(head, head->method), SPAN("CONNECT"))) {
        how.framing = H1_TUNNEL;
        how.upgrade = false;
    } else if (stated && (has_body || length == 0)) {
        how.framing = H1_LENGTH;
        how.content_length = length;
    } else {
        how.framing = has_body ? H1_CHUNKED : H1_NO_BODY;
    }
    return how;
}
