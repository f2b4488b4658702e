/* import_entry.c: an entry into rows. What cannot stand in an HTTP message is left out and counted, never written: of a field the field, of a
 * method or a URL the entry. */
#include "har/import_internal.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "base/text.h"
#include "base/util.h"
#include "har/view.h"
#include "http/mime.h"
#include "http/token.h"
#include "http/url.h"
#include "tape/fields.h"

/* --- fields ------------------------------------------------------------------------------------------------------ */

enum err import_bytes(const json_t *object, const char *key, struct buf *out, bool *there)
{
    json_t *value = tree_member(object, key);
    buf_clear(out);
    *there = json_is_string(value) || json_is_string(tree_member(value, "base64"));
    if (json_is_string(value))
        return buf_put(out, tree_string(object, key));
    enum err e = *there ? text_base64_decode(out, tree_string(value, "base64")) : ERR_OK;
    *there = *there && !e;
    return e == ERR_PARSE ? ERR_OK : e;
}

static enum err add_line(struct har_importer *im, struct span name, struct span value)
{
    value = span_trim(value);
    if (!token_line_safe(value)) {
        mend(im->mends, MEND_BAD_FIELD);
        return ERR_OK;
    }
    enum err e = headers_add(&im->headers, name, value);
    if (e == ERR_LIMIT)
        mend(im->mends, MEND_MANY_FIELDS);
    return e == ERR_LIMIT ? ERR_OK : e;
}

static enum err add_field(struct har_importer *im, struct span name, struct span value)
{
    if (name.n > 1 && name.p[0] == ':') {
        mend(im->mends, MEND_PSEUDO_FIELD);
        return ERR_OK;
    }
    if (!token_valid(name) || span_eq_nocase(name, SPAN(TAPE_DECODED_FIELD))) {
        mend(im->mends, MEND_BAD_FIELD);
        return ERR_OK;
    }
    if (span_find(value, '\n') < value.n && span_find(value, '\r') == value.n) /* Chrome joins equal names so */
        mend(im->mends, MEND_FIELD_LINES);
    else
        return add_line(im, name, value);
    enum err e = ERR_OK;
    while (!e && value.n > 0) {
        struct span line = span_first(value, span_find(value, '\n'));
        value = span_from(value, line.n + 1);
        if (line.n > 0)
            e = add_line(im, name, line);
    }
    return e;
}

/* A value as text; numbers as JSON writes them. False: it is none. */
static bool value_text(const json_t *value, char room[32], struct span *out)
{
    if (json_is_string(value))
        *out = span_of(json_string_value(value), json_string_length(value));
    else if (json_is_real(value))
        *out = span_of(room, (size_t)snprintf(room, 32, "%.15g", json_real_value(value)));
    else
        *out = SPAN_EMPTY;
    return json_is_string(value) || json_is_real(value) || json_is_null(value);
}

/* A name or value that was no UTF-8 stands beside, in base64. */
static enum err exact(const json_t *field, const char *key, struct buf *room, struct span *text)
{
    struct span base64 = tree_string(field, key);
    buf_clear(room);
    enum err e = base64.n > 0 ? text_base64_decode(room, base64) : ERR_PARSE;
    if (!e)
        *text = buf_span(room);
    return e == ERR_PARSE ? ERR_OK : e;
}

static enum err add_listed(struct har_importer *im, const json_t *field)
{
    char room[32];
    struct span name = tree_string(field, "name"), value;
    if (json_is_integer(tree_member(field, "value"))) { /* longer than a head may be */
        mend(im->mends, MEND_MANY_FIELDS);
        return ERR_OK;
    }
    if (!value_text(tree_member(field, "value"), room, &value)) {
        mend(im->mends, MEND_BAD_FIELD);
        return ERR_OK;
    }
    enum err e = exact(field, "_nameBase64", &im->json, &name);
    if (!e)
        e = exact(field, "_valueBase64", &im->packed, &value);
    return e ? e : add_field(im, name, value);
}

enum err import_fields(struct har_importer *im, const json_t *list)
{
    enum err e = ERR_OK;
    headers_clear(&im->headers);
    for (size_t i = 0; !e && i < json_array_size(list); i++)
        e = add_listed(im, json_array_get(list, i));
    if (!json_is_object(list))
        return e;
    mend(im->mends, MEND_FIELD_MAP);
    for (void *it = json_object_iter((json_t *)(uintptr_t)list); !e && it;
         it = json_object_iter_next((json_t *)(uintptr_t)list, it)) {
        char room[32];
        struct span value;
        if (value_text(json_object_iter_value(it), room, &value))
            e = add_field(im, span_str(json_object_iter_key(it)), value);
        else
            mend(im->mends, MEND_BAD_FIELD);
    }
    return e;
}

enum err import_put_fields(struct har_importer *im, int64_t *id)
{
    struct fields_packed fields;
    size_t n = fields_size(&im->headers);
    uint8_t *room;
    *id = 0;
    if (im->headers.n == 0)
        return ERR_OK;
    buf_clear(&im->packed);
    enum err e = buf_reserve(&im->packed, n, &room);
    if (e)
        return e;
    fields_pack(&im->headers, room);
    bool sound = fields_unpack(im->headers.n, span_of(room, n), &fields);
    return sound ? tape_writer_fields(im->writer, &fields, id) : ERR_NOMEM;
}

/* Content of a type that no field says. */
static enum err add_content_type(struct har_importer *im, struct span type)
{
    struct span said;
    if (type.n == 0 || span_eq(type, SPAN("x-unknown")) || headers_find(&im->headers, SPAN("Content-Type"), &said))
        return ERR_OK;
    mend(im->mends, MEND_CONTENT_TYPE);
    return add_line(im, SPAN("Content-Type"), type);
}

/* --- requests ---------------------------------------------------------------------------------------------------- */

/* Spaces and controls are what no URL has; they are encoded, but for those that end a line. */
static enum err clean_url(struct har_importer *im, struct span text)
{
    bool mended = false;
    enum err e = ERR_OK;
    text = span_trim(text);
    size_t path = span_search(text, SPAN("://")) + 3; /* a host with a space is none */
    while (path < text.n && text.p[path] != '/' && text.p[path] != '?')
        path++;
    buf_clear(&im->url);
    for (size_t i = 0; !e && i < text.n; i++) {
        uint8_t c = text.p[i];
        bool bad = i > path && (c <= ' ' || c == 0x7f) && c != '\r' && c != '\n' && c != 0;
        e = bad ? buf_printf(&im->url, "%%%02X", c) : buf_put_byte(&im->url, c);
        mended |= bad;
    }
    if (mended)
        mend(im->mends, MEND_URL);
    return e;
}

static bool is_local(struct span url)
{
    size_t colon = span_find(url, ':');
    return colon < url.n && url_default_port(span_first(url, colon)) == 0 &&
           !span_starts_with(span_from(url, colon), SPAN("://"));
}

/* `_ringtape.path` where the URL cannot say it, else the URL's. */
static enum err take_path(struct import_entry *x, const struct url *url)
{
    struct har_importer *im = x->im;
    bool there;
    enum err e = import_bytes(x->own, "path", &im->path, &there);
    struct span path = buf_span(&im->path);
    if (!e && there && path.n <= LIMIT_TARGET_BYTES && token_graphic(path) && span_find(path, '#') == path.n &&
        (path.n == 0 || path.p[0] == '/' || span_eq(path, SPAN("*")))) {
        x->row.path = path;
        return ERR_OK;
    }
    buf_clear(&im->path);
    if (!e && (url->path.n == 0 || url->path.p[0] != '/'))
        e = buf_put_byte(&im->path, '/');
    if (!e)
        e = buf_put(&im->path, url->path);
    x->row.path = buf_span(&im->path);
    return e;
}

static enum err take_url(struct import_entry *x, bool *good)
{
    struct har_importer *im = x->im;
    struct span text = tree_string(x->request, "url");
    struct url url;
    *good = false;
    enum err e = text.n <= LIMIT_TARGET_BYTES ? clean_url(im, text) : ERR_OK;
    if (e)
        return e;
    if (text.n > LIMIT_TARGET_BYTES || url_parse(buf_span(&im->url), &url) != ERR_OK) {
        mend(im->mends, is_local(text) ? MEND_LOCAL_URL : MEND_BAD_URL);
        return ERR_OK;
    }
    if (span_find(text, '#') < text.n)
        mend(im->mends, MEND_FRAGMENT);
    *good = true;
    x->row.scheme = url_default_port(url.scheme) == 443 ? SPAN("https") : SPAN("http");
    x->row.port = url.port;
    buf_clear(&im->host);
    for (size_t i = 0; !e && i < url.host.n; i++) {
        uint8_t c = url.host.p[i];
        e = buf_put_byte(&im->host, (uint8_t)(c >= 'A' && c <= 'Z' ? c | 0x20 : c));
    }
    x->row.host = buf_span(&im->host);
    return e ? e : take_path(x, &url);
}

static struct span take_version(struct har_importer *im, const json_t *message)
{
    static const char *const known[] = {"HTTP/1.0", "HTTP/1.1", "HTTP/2", "HTTP/3"};
    struct span version = view_version(span_trim(tree_string(message, "httpVersion")));
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        if (span_eq(version, span_str(known[i])))
            return version;
    mend(im->mends, MEND_VERSION);
    return SPAN("HTTP/1.1");
}

/* *good: it can be a flow. */
static enum err take_request_line(struct import_entry *x, bool *good)
{
    struct har_importer *im = x->im;
    x->row.method = tree_string(x->request, "method");
    *good = false;
    if (!json_is_object(x->request)) {
        mend(im->mends, MEND_NO_REQUEST);
        return ERR_OK;
    }
    if (x->row.method.n > LIMIT_METHOD_BYTES || !token_valid(x->row.method)) {
        mend(im->mends, MEND_BAD_METHOD);
        return ERR_OK;
    }
    if (!x->own && span_eq(x->row.method, SPAN("CONNECT"))) {
        mend(im->mends, MEND_CONNECT);
        return ERR_OK;
    }
    enum err e = take_url(x, good);
    if (!e && *good)
        x->row.request_version = take_version(im, x->request);
    return e;
}

static enum err take_request(struct import_entry *x)
{
    struct har_importer *im = x->im;
    enum err e = import_request_body(x);
    if (!e)
        e = import_fields(im, tree_member(x->request, "headers"));
    if (!e && x->row.request_body && !x->own)
        e = add_content_type(im, tree_string(tree_member(x->request, "postData"), "mimeType"));
    return e ? e : import_put_fields(im, &x->row.request_headers);
}

/* --- responses --------------------------------------------------------------------------------------------------- */

static unsigned status_of(const struct import_entry *x)
{
    double status;
    return tree_number(x->response, "status", &status) && status >= 100 && status <= 999 ? (unsigned)status : 0;
}

static enum err take_reason(struct import_entry *x)
{
    struct har_importer *im = x->im;
    bool there;
    enum err e = import_bytes(x->own, "statusText", &im->reason, &there);
    if (!e && !there)
        e = buf_put(&im->reason, tree_string(x->response, "statusText"));
    if (!e && (!token_line_safe(buf_span(&im->reason)) || im->reason.n > 1024)) {
        mend(im->mends, MEND_STATUS_TEXT);
        buf_clear(&im->reason);
    }
    x->row.reason = buf_span(&im->reason);
    return e;
}

static enum err take_response(struct import_entry *x)
{
    struct har_importer *im = x->im;
    struct tape_flow_row *row = &x->row;
    enum err e = take_reason(x);
    row->response_version = take_version(im, x->response);
    if (!e)
        e = import_fields(im, tree_member(x->response, "headers"));
    if (!e && im->headers.n == 0 && !x->own)
        e = add_content_type(im, tree_string(tree_member(x->response, "content"), "mimeType"));
    if (!e && !x->websocket)
        e = import_response_body(x);
    return e ? e : import_put_fields(im, &row->response_headers);
}

static enum err take_trailers(struct import_entry *x, const char *key, int64_t *id)
{
    enum err e = import_fields(x->im, tree_member(x->own, key));
    return e ? e : import_put_fields(x->im, id);
}

/* [status, reason, fields, offset_ns] of a tape, each read and written anew. */
static enum err put_informational(struct har_importer *im, const json_t *one, struct buf *out)
{
    const json_t *reason = json_array_get(one, 1), *fields = json_array_get(one, 2);
    double status = json_number_value(json_array_get(one, 0)), at = json_number_value(json_array_get(one, 3));
    enum err e = ERR_OK;
    if (!(status >= 100 && status <= 199) || !(at >= -1 && at < 9e15) || !json_is_string(reason))
        return ERR_OK;
    struct span text = span_of(json_string_value(reason), json_string_length(reason));
    headers_clear(&im->headers);
    for (size_t i = 0; !e && i < json_array_size(fields); i++) {
        json_t *pair = json_array_get(fields, i), *name = json_array_get(pair, 0), *value = json_array_get(pair, 1);
        if (json_is_string(name) && json_is_string(value))
            e = add_field(im, span_str(json_string_value(name)),
                          span_of(json_string_value(value), json_string_length(value)));
        else
            mend(im->mends, MEND_BAD_FIELD);
    }
    if (!e)
        e = buf_printf(out, "%s[%u,", out->n ? "," : "[", (unsigned)status);
    if (!e)
        e = fields_json_value(token_line_safe(text) ? text : SPAN_EMPTY, out);
    if (!e)
        e = buf_put_byte(out, ',');
    if (!e)
        e = tape_headers_json(&im->headers, out);
    return e ? e : buf_printf(out, ",%lld]", (long long)at);
}

static enum err take_informational(struct import_entry *x)
{
    struct har_importer *im = x->im;
    const json_t *list = tree_member(x->own, "informational");
    enum err e = ERR_OK;
    buf_clear(&im->json);
    for (size_t i = 0; !e && i < json_array_size(list); i++)
        e = put_informational(im, json_array_get(list, i), &im->json);
    if (!e && im->json.n > 0)
        e = buf_put_byte(&im->json, ']');
    x->row.informational = buf_span(&im->json);
    return e;
}

/* --- endings ----------------------------------------------------------------------------------------------------- */

/* What browsers say, in the tape's words. */
static const char *error_word(struct span said)
{
    static const struct {
        const char *part, *word;
    } words[] = {
        {"ABORTED", "cancelled"},
        {"BLOCKED", "cancelled"},
        {"CONNECTION_REFUSED", "refused"},
        {"NAME_NOT_RESOLVED", "resolve"},
        {"TIMED_OUT", "timeout"},
        {"CONNECTION_RESET", "reset"},
        {"CERT", "tls-verify"},
        {"SSL", "tls"},
        {"UNREACHABLE", "unreachable"},
        {"EMPTY_RESPONSE", "closed"},
        {"TRUNCATED", "truncated"},
        {"CONTENT_LENGTH_MISMATCH", "truncated"},
    };
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (span_search(said, span_str(words[i].part)) < said.n)
            return words[i].word;
    return "truncated";
}

static bool has_word(struct span said)
{
    size_t colon = span_find(said, ':');
    for (int e = ERR_OK + 1; colon < said.n && e < ERR_COUNT; e++)
        if (span_eq(span_first(said, colon), span_str(err_word((enum err)e))))
            return true;
    return false;
}

static enum err take_ending(struct import_entry *x)
{
    struct har_importer *im = x->im;
    struct tape_flow_row *row = &x->row;
    struct span said = tree_string(x->root, "_error");
    enum err e = ERR_OK;
    if (said.n == 0)
        said = tree_string(x->response, "_error");
    said = span_first(said, 1024);
    buf_clear(&im->error);
    if (said.n > 0 && !has_word(said))
        e = buf_printf(&im->error, "%s: ", error_word(said));
    if (!e)
        e = buf_put(&im->error, said);
    if (!e && said.n == 0 && row->status == 0 && !x->own)
        e = buf_put_str(&im->error, "cancelled: the HAR has no response");
    row->error = buf_span(&im->error);
    row->complete = row->error.n == 0 && (!x->own || tree_true(x->own, "complete"));
    return e;
}

static uint64_t wire_bytes(const json_t *message, uint64_t body)
{
    double head;
    return tree_number(message, "headersSize", &head) && head > 0 && head < 1e9 ? (uint64_t)head + body : 0;
}

static void take_wire_bytes(struct import_entry *x)
{
    double transfer;
    x->row.request_wire_bytes = wire_bytes(x->request, x->row.request_bytes);
    x->row.response_wire_bytes = wire_bytes(x->response, x->row.response_bytes);
    if (tree_number(x->response, "_transferSize", &transfer) && transfer > 0 && transfer < 9e15)
        x->row.response_wire_bytes = (uint64_t)transfer;
}

static struct span kind_of(const struct import_entry *x)
{
    struct span own = tree_string(x->own, "kind");
    if (span_eq(own, SPAN("tunnel")) || span_eq(own, SPAN("websocket")) || span_eq(own, SPAN("http")))
        return span_eq(own, SPAN("tunnel"))      ? SPAN("tunnel")
               : span_eq(own, SPAN("websocket")) ? SPAN("websocket")
                                                 : SPAN("http");
    return x->websocket ? SPAN("websocket") : SPAN("http");
}

static enum err put_entry(struct import_entry *x)
{
    struct har_importer *im = x->im;
    bool answered = tree_true(x->own, "answered"), there;
    enum err e = import_bytes(x->own, "track", &im->track, &there);
    x->row.track = there ? span_first(buf_span(&im->track), 255) : SPAN_EMPTY;
    if (!e)
        e = import_timing(x);
    if (!e)
        e = take_request(x);
    x->row.answered = answered && x->row.status != 0;
    bool has = x->row.status != 0 && !answered;
    if (!has) {
        x->row.response_begin_ns = -1;
        if (!x->own)
            mend(im->mends, MEND_NO_RESPONSE);
    }
    if (!e && has)
        e = take_response(x);
    if (!e)
        e = take_trailers(x, "requestTrailers", &x->row.request_trailers);
    if (!e && has)
        e = take_trailers(x, "responseTrailers", &x->row.response_trailers);
    if (!e)
        e = take_ending(x);
    if (!e)
        e = take_informational(x);
    take_wire_bytes(x);
    x->row.id = im->flows + 1;
    return e ? e : tape_writer_flow(im->writer, &x->row);
}

enum err import_entry(struct har_importer *im, bool *kept)
{
    struct import_entry x = {.im = im, .root = im->tree.root};
    x.request = tree_member(x.root, "request");
    x.response = tree_member(x.root, "response");
    x.own = tree_member(x.root, "_ringtape");
    x.own = json_is_object(x.own) ? x.own : NULL;
    *kept = false;
    enum err e = take_request_line(&x, kept);
    if (e || !*kept)
        return e;
    import_start(&x);
    x.row.status = status_of(&x);
    /* Of other programs each 101 is one: nothing else that browsers ask for is an upgrade. */
    x.websocket = x.row.status == 101 && (!x.own || span_eq(tree_string(x.own, "kind"), SPAN("websocket")));
    x.row.kind = kind_of(&x);
    e = put_entry(&x);
    if (e)
        return e;
    im->flows++;
    im->uncommitted_flows++;
    return import_messages(&x);
}
