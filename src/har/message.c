/* message.c: requests and responses as HAR 1.2 says them. What is derived (cookies, query, params) comes from the same bytes as the fields
 * and the text beside it, so the two cannot contradict each other. */
#include "har/message.h"

#include "base/text.h"
#include "har/target.h"
#include "http/mime.h"
#include "http/url.h"

#include <time.h>

static void put_base64(struct out *o, const char *key, struct span s)
{
    out_key(o, key);
    out_long_begin(o, OUT_BASE64);
    out_long_piece(o, s);
    out_long_end(o);
}

void message_fields(struct out *o, const struct headers *h)
{
    out_open(o, '[');
    for (size_t i = 0; i < h->n; i++) {
        struct header field = headers_at(h, i);
        out_open(o, '{');
        out_member(o, "name", field.name);
        out_member(o, "value", field.value);
        if (!text_is_utf8(field.name))
            put_base64(o, "_nameBase64", field.name);
        if (!text_is_utf8(field.value))
            put_base64(o, "_valueBase64", field.value);
        out_close(o, '}');
    }
    out_close(o, ']');
}

static void put_request_cookies(struct out *o, const struct headers *h)
{
    out_key(o, "cookies");
    out_open(o, '[');
    for (size_t i = 0; i < h->n; i++) {
        struct header field = headers_at(h, i);
        struct span rest = field.value, name, value;
        if (!span_eq_nocase(field.name, SPAN("Cookie")))
            continue;
        while (cookie_next(&rest, &name, &value)) {
            out_open(o, '{');
            out_member(o, "name", name);
            out_member(o, "value", value);
            out_close(o, '}');
        }
    }
    out_close(o, ']');
}

/* When it expires, in Unix seconds: Max-Age before Expires (RFC 6265 §5.3). False: with the session, or at a time that has no date-time. */
static bool cookie_expiry(const struct cookie *c, uint64_t now_s, int64_t *out)
{
    const int64_t year_10000 = INT64_C(253402300800);
    uint64_t age;
    bool known = false;
    if (c->max_age.n > 0 && c->max_age.p[0] == '-') {
        *out = 0; /* at once: the earliest time there is */
        known = span_to_u64(span_from(c->max_age, 1), UINT64_MAX, &age);
    } else if (span_to_u64(c->max_age, (uint64_t)year_10000, &age)) {
        *out = age == 0 ? 0 : (int64_t)(now_s + age);
        known = true;
    }
    if (!known)
        known = c->expires.n > 0 && cookie_date(c->expires, out);
    return known && *out < year_10000;
}

static void put_cookie(struct out *o, const struct cookie *c, uint64_t now_s)
{
    int64_t expires;
    struct tm tm;
    char text[40];
    out_open(o, '{');
    out_member(o, "name", c->name);
    out_member(o, "value", c->value);
    if (c->path.n > 0)
        out_member(o, "path", c->path);
    if (c->domain.n > 0)
        out_member(o, "domain", c->domain);
    if (cookie_expiry(c, now_s, &expires)) {
        time_t t = (time_t)expires;
        if (gmtime_r(&t, &tm) && strftime(text, sizeof text, "%Y-%m-%dT%H:%M:%S.000Z", &tm) == 24)
            out_member_str(o, "expires", text);
    }
    out_member_bool(o, "httpOnly", c->http_only);
    out_member_bool(o, "secure", c->secure);
    if (c->same_site.n > 0)
        out_member(o, "_sameSite", c->same_site);
    out_close(o, '}');
}

static void put_response_cookies(struct out *o, const struct view *v)
{
    const struct tape_flow *f = v->flow;
    uint64_t now_s =
        (f->started_ns + (f->response_begin_ns > 0 ? (uint64_t)f->response_begin_ns : 0)) / UINT64_C(1000000000);
    struct cookie cookie;
    out_key(o, "cookies");
    out_open(o, '[');
    for (size_t i = 0; i < v->response.n; i++) {
        struct header field = headers_at(&v->response, i);
        if (span_eq_nocase(field.name, SPAN("Set-Cookie")) && cookie_parse_set(field.value, &cookie))
            put_cookie(o, &cookie, now_s);
    }
    out_close(o, ']');
}

/* Percent-decoded pairs of a query or a form, as [{"name", "value"}, …]. */
static void put_pairs(struct out *o, const char *key, struct span text)
{
    struct buf decoded = BUF_INIT;
    struct span name, value;
    out_key(o, key);
    out_open(o, '[');
    while (!o->e && url_query_next(&text, &name, &value)) {
        buf_clear(&decoded);
        enum err e = url_decode(&decoded, name, true);
        size_t n = decoded.n;
        if (!e)
            e = url_decode(&decoded, value, true);
        if (e) {
            o->e = e;
            break;
        }
        out_open(o, '{');
        out_member(o, "name", span_first(buf_span(&decoded), n));
        out_member(o, "value", span_from(buf_span(&decoded), n));
        out_close(o, '}');
    }
    out_close(o, ']');
    buf_free(&decoded);
}

static void put_part(struct out *o, const struct mime_part *part)
{
    out_open(o, '{');
    out_member(o, "name", part->name);
    if (text_is_utf8(part->body)) /* JSON has no other: `text` has it in base64 */
        out_member(o, "value", part->body);
    if (part->has_filename)
        out_member(o, "fileName", part->filename);
    if (part->content_type.n > 0)
        out_member(o, "contentType", part->content_type);
    out_close(o, '}');
}

/* Is it multipart from end to end? Only then may params stand for it. */
static bool is_multipart(struct span body, struct span boundary)
{
    struct mime_part part;
    bool malformed = false;
    size_t at = 0, n = 0;
    while (mime_part_next(body, boundary, &at, &part, &malformed))
        n++;
    return n > 0 && !malformed;
}

static void put_params(struct out *o, const struct view *v, struct span type)
{
    const struct body *b = &v->request_body;
    struct span body = buf_span(&b->kept), boundary;
    struct mime_part part;
    bool malformed = false;
    size_t at = 0;
    if (!b->whole || b->cut)
        return;
    if (mime_is_form(type) && b->form == OUT_TEXT)
        put_pairs(o, "params", body);
    else if (mime_is_multipart(type) && mime_param(type, SPAN("boundary"), &boundary) && is_multipart(body, boundary)) {
        out_key(o, "params");
        out_open(o, '[');
        while (mime_part_next(body, boundary, &at, &part, &malformed))
            put_part(o, &part);
        out_close(o, ']');
    }
}

static void put_comment(struct out *o, const struct body *b, const struct headers *h)
{
    struct buf text = BUF_INIT;
    struct span encoding;
    (void)headers_find(h, SPAN("Content-Encoding"), &encoding);
    enum err e = body_comment(b, encoding, &text);
    if (!o->e)
        o->e = e;
    if (text.n > 0)
        out_member(o, "comment", buf_span(&text));
    buf_free(&text);
}

static void put_post_data(struct out *o, struct view *v)
{
    struct span type;
    struct body *b = &v->request_body;
    if (b->ref.wire_bytes == 0 && b->size == 0)
        return;
    bool typed = headers_find(&v->request, SPAN("Content-Type"), &type);
    out_key(o, "postData");
    out_open(o, '{');
    out_member(o, "mimeType", typed ? type : SPAN("application/octet-stream"));
    put_params(o, v, type);
    out_key(o, "text");
    body_write(b, v->tape, o);
    if (b->form == OUT_BASE64)
        out_member_str(o, "_encoding", "base64");
    put_comment(o, b, &v->request);
    out_close(o, '}');
}

/* Size of a head where the wire told it: it is what is left of the bytes on the wire when no chunk framing, trailers or informational
 * responses were among them. -1: not known. */
static int64_t head_size(const struct headers *h, uint64_t wire, uint64_t body, bool plain)
{
    struct span length;
    uint64_t n;
    bool sized = headers_find(h, SPAN("Content-Length"), &length) && span_to_u64(length, UINT64_MAX, &n) && n == body;
    if (!plain || (!sized && body > 0) || headers_find(h, SPAN("Transfer-Encoding"), &length) || wire <= body ||
        wire > INT64_MAX)
        return -1;
    return (int64_t)(wire - body);
}

static bool is_h1(struct span version)
{
    return span_starts_with(view_version(version), SPAN("HTTP/1."));
}

/* Can it have no content, so that there is no framing either? */
static bool has_no_content(const struct view *v)
{
    const struct tape_flow *f = v->flow;
    return span_eq(f->method, SPAN("HEAD")) || f->status == 204 || f->status == 304;
}

/* What went through a tunnel is no message's content. */
static int64_t content_size(const struct view *v, const struct tape_body_ref *body)
{
    return view_is_http(v) ? (int64_t)body->wire_bytes : 0;
}

void message_request(struct out *o, struct view *v)
{
    const struct tape_flow *f = v->flow;
    bool plain = f->complete && view_is_http(v) && is_h1(f->request_version) && f->request_trailers.n == 0;
    struct span length;
    /* An empty body may still have been chunked, but not where none is expected. */
    if (f->request_body.wire_bytes == 0 && !headers_find(&v->request, SPAN("Content-Length"), &length))
        plain = plain && (span_eq(f->method, SPAN("GET")) || span_eq(f->method, SPAN("HEAD")));
    out_open(o, '{');
    out_member(o, "method", f->method);
    out_member(o, "url", buf_span(&v->url));
    out_member(o, "httpVersion", view_version(f->request_version));
    put_request_cookies(o, &v->request);
    out_key(o, "headers");
    message_fields(o, &v->request);
    put_pairs(o, "queryString", target_query(f->path));
    put_post_data(o, v);
    out_member_i64(o, "headersSize", head_size(&v->request, f->request_wire_bytes, f->request_body.wire_bytes, plain));
    out_member_i64(o, "bodySize", content_size(v, &f->request_body));
    out_close(o, '}');
}

static void put_content(struct out *o, struct view *v)
{
    struct span type;
    struct body *b = &v->response_body;
    bool typed = headers_find(&v->response, SPAN("Content-Type"), &type);
    out_key(o, "content");
    out_open(o, '{');
    out_member_u64(o, "size", b->size);
    if (!b->cut && !b->damaged && view_has_response(v) && view_is_http(v) && (!b->coding || !b->decoded))
        out_member_i64(o, "compression", (int64_t)b->size - (int64_t)b->ref.wire_bytes);
    out_member(o, "mimeType", typed && type.n > 0 ? type : SPAN("x-unknown"));
    if (b->size > 0) {
        out_key(o, "text");
        body_write(b, v->tape, o);
        if (b->form == OUT_BASE64)
            out_member_str(o, "encoding", "base64");
    }
    put_comment(o, b, &v->response);
    out_close(o, '}');
}

static struct span redirect_url(const struct view *v)
{
    unsigned status = v->flow->status;
    struct span location = SPAN_EMPTY;
    if (view_has_response(v) && status >= 300 && status < 400 && status != 304)
        (void)headers_find(&v->response, SPAN("Location"), &location);
    return location;
}

void message_response(struct out *o, struct view *v)
{
    const struct tape_flow *f = v->flow;
    bool has = view_has_response(v);
    bool plain = has && f->complete && view_is_http(v) && is_h1(f->response_version) && f->response_trailers.n == 0 &&
                 f->informational.n == 0;
    struct span length;
    if (f->response_body.wire_bytes == 0 && !has_no_content(v) &&
        !headers_find(&v->response, SPAN("Content-Length"), &length))
        plain = false;
    out_open(o, '{');
    out_member_u64(o, "status", f->status);
    out_member(o, "statusText", f->reason);
    out_member(o, "httpVersion", view_version(f->response_version));
    put_response_cookies(o, v);
    out_key(o, "headers");
    message_fields(o, &v->response);
    put_content(o, v);
    out_member(o, "redirectURL", redirect_url(v));
    out_member_i64(o, "headersSize",
                   head_size(&v->response, f->response_wire_bytes, f->response_body.wire_bytes, plain));
    out_member_i64(o, "bodySize", has ? content_size(v, &f->response_body) : -1);
    if (f->response_wire_bytes > 0)
        out_member_u64(o, "_transferSize", f->response_wire_bytes);
    if (f->error.n > 0)
        out_member(o, "_error", f->error);
    out_close(o, '}');
}
