/* flow_text.c: columns of the view `flows`, made from a row of the reader. */
#include "tools/flow_text.h"

#include "base/clock.h"
#include "base/text.h"
#include "http/mime.h"
#include "http/url.h"

enum err flow_url(const struct tape_flow *flow, struct buf *out)
{
    bool connect = span_eq(flow->method, SPAN("CONNECT"));
    bool brackets = span_find(flow->host, ':') < flow->host.n;
    enum err e = ERR_OK;
    if (!connect) {
        e = buf_put(out, flow->scheme);
        if (!e)
            e = buf_put_str(out, "://");
    }
    if (!e)
        e = buf_put_str(out, brackets ? "[" : "");
    if (!e)
        e = buf_put(out, flow->host);
    if (!e)
        e = buf_put_str(out, brackets ? "]" : "");
    if (!e && (connect || flow->port != url_default_port(flow->scheme)))
        e = buf_printf(out, ":%u", flow->port);
    return e ? e : buf_put(out, flow->path);
}

enum err flow_mime(const struct tape_flow *flow, struct buf *out)
{
    struct headers fields = HEADERS_INIT;
    struct span type = SPAN_EMPTY;
    enum err e = flow->response_headers.n > 0 ? tape_headers(flow->response_headers, &fields) : ERR_OK;
    if (!e && headers_find(&fields, SPAN("Content-Type"), &type))
        type = mime_essence(type);
    for (size_t i = 0; !e && i < type.n; i++)
        e = buf_put_byte(out, type.p[i] >= 'A' && type.p[i] <= 'Z' ? type.p[i] | 0x20 : type.p[i]);
    headers_free(&fields);
    return e;
}

enum err flow_json_text(struct buf *out, const char *name, struct span value)
{
    enum err e = buf_printf(out, "\"%s\":", name);
    return e ? e : text_json_string(out, value);
}

enum err flow_json_text_or_null(struct buf *out, const char *name, struct span value)
{
    return value.n > 0 ? flow_json_text(out, name, value) : buf_printf(out, "\"%s\":null", name);
}

enum err flow_ms(struct buf *out, int64_t ns)
{
    return ns < 0 ? buf_put_str(out, "null") : buf_printf(out, "%.3f", (double)ns / (double)NS_PER_MS);
}

static enum err put_request_columns(const struct tape_flow *flow, struct buf *out)
{
    char started[CLOCK_ISO_LEN];
    struct buf url = BUF_INIT;
    clock_iso8601(flow->started_ns, started);
    enum err e = flow_url(flow, &url);
    if (!e)
        e = buf_printf(out, "\"id\":%lld,\"session\":%lld,", (long long)flow->id, (long long)flow->session);
    if (!e)
        e = flow_json_text_or_null(out, "track", flow->track);
    if (!e)
        e = buf_printf(out, ",\"started\":\"%s\",", started);
    const struct {
        const char *name;
        struct span value;
    } columns[] = {{"method", flow->method}, {"scheme", flow->scheme}, {"host", flow->host}};
    for (size_t i = 0; !e && i < sizeof columns / sizeof *columns; i++) {
        e = flow_json_text(out, columns[i].name, columns[i].value);
        if (!e)
            e = buf_put_byte(out, ',');
    }
    if (!e)
        e = buf_printf(out, "\"port\":%u,", flow->port);
    if (!e)
        e = flow_json_text(out, "path", flow->path);
    if (!e)
        e = buf_put_byte(out, ',');
    if (!e)
        e = flow_json_text(out, "url", buf_span(&url));
    if (!e)
        e = buf_put_byte(out, ',');
    if (!e)
        e = flow_json_text(out, "http_version", flow->request_version);
    buf_free(&url);
    return e;
}

enum err flow_json_members(const struct tape_flow *flow, struct buf *out)
{
    struct buf mime = BUF_INIT;
    enum err e = put_request_columns(flow, out);
    if (!e)
        e = flow->status > 0 ? buf_printf(out, ",\"status\":%u,", flow->status) : buf_put_str(out, ",\"status\":null,");
    if (!e)
        e = flow->response_version.n > 0 ? flow_json_text(out, "reason", flow->reason)
                                         : buf_put_str(out, "\"reason\":null");
    if (!e)
        e = flow_mime(flow, &mime);
    if (!e)
        e = buf_put_byte(out, ',');
    if (!e)
        e = flow_json_text_or_null(out, "mime", buf_span(&mime));
    if (!e)
        e = buf_printf(out, ",\"request_bytes\":%llu,\"response_bytes\":%llu,\"ttfb_ms\":",
                       (unsigned long long)flow->request_body.wire_bytes,
                       (unsigned long long)flow->response_body.wire_bytes);
    if (!e)
        e = flow_ms(out, flow->response_begin_ns);
    if (!e)
        e = buf_put_str(out, ",\"total_ms\":");
    if (!e)
        e = flow_ms(out, flow->response_end_ns);
    if (!e)
        e = buf_printf(out, ",\"complete\":%d,", flow->complete);
    if (!e)
        e = flow_json_text_or_null(out, "error", flow->error);
    if (!e)
        e = buf_put_byte(out, ',');
    if (!e)
        e = flow_json_text(out, "kind", flow->kind);
    buf_free(&mime);
    return e;
}
