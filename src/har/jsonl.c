/* jsonl.c: a flow as one line of JSON, for jq and scripts. Names are those of the view `flows` of a tape; every key is always there. */
#include "har/entry.h"

#include "base/clock.h"

static void put_text(struct out *o, const char *key, struct span s)
{
    out_key(o, key);
    if (s.n > 0)
        out_string(o, s);
    else
        out_null(o);
}

static void put_ms(struct out *o, const char *key, int64_t ns)
{
    out_key(o, key);
    if (ns >= 0)
        out_ms(o, ns / 1000);
    else
        out_null(o);
}

static void put_fields(struct out *o, const char *key, const struct headers *h)
{
    struct buf json = BUF_INIT;
    enum err e = tape_headers_json(h, &json);
    if (!o->e)
        o->e = e;
    out_key(o, key);
    out_json(o, buf_span(&json));
    buf_free(&json);
}

/* null, or {"bytes": on the wire, "text" or "base64": content}. */
static void put_body(struct out *o, const char *key, struct view *v, struct body *b, const struct headers *h)
{
    struct buf comment = BUF_INIT;
    struct span encoding;
    out_key(o, key);
    if (b->ref.wire_bytes == 0 && b->size == 0) {
        out_null(o);
        return;
    }
    (void)headers_find(h, SPAN("Content-Encoding"), &encoding);
    enum err e = body_comment(b, encoding, &comment);
    if (!o->e)
        o->e = e;
    out_open(o, '{');
    out_member_u64(o, "bytes", b->ref.wire_bytes);
    if (b->decoded)
        out_member(o, "decoded", buf_span(&b->encoding));
    if (comment.n > 0)
        out_member(o, "comment", buf_span(&comment));
    out_key(o, b->form == OUT_TEXT ? "text" : "base64");
    body_write(b, v->tape, o);
    out_close(o, '}');
    buf_free(&comment);
}

static void put_phases(struct out *o, const struct timing *t)
{
    const struct {
        const char *name;
        int64_t us;
    } phases[] = {{"blocked", t->blocked}, {"dns", t->dns},   {"connect", t->connect}, {"ssl", t->ssl},
                  {"send", t->send},       {"wait", t->wait}, {"receive", t->receive}};
    out_key(o, "timings");
    out_open(o, '{');
    for (size_t i = 0; i < sizeof phases / sizeof phases[0]; i++) {
        out_key(o, phases[i].name);
        if (phases[i].us >= 0)
            out_ms(o, phases[i].us);
        else
            out_null(o);
    }
    out_close(o, '}');
}

static void put_server(struct out *o, const struct view *v)
{
    out_key(o, "server");
    if (!v->has_server) {
        out_null(o);
        return;
    }
    out_open(o, '{');
    out_member_i64(o, "connection", v->server.id);
    out_member_bool(o, "reused", v->flow->server_reused);
    put_text(o, "address", v->server.peer);
    put_text(o, "tls", v->server.tls_version);
    put_text(o, "cipher", v->server.tls_cipher);
    put_text(o, "alpn", v->server.alpn);
    out_close(o, '}');
}

static void put_start(struct out *o, const struct view *v)
{
    const struct tape_flow *f = v->flow;
    char started[CLOCK_ISO_LEN];
    clock_iso8601(f->started_ns, started);
    out_member_i64(o, "id", f->id);
    out_member_i64(o, "session", f->session);
    put_text(o, "track", f->track);
    out_member(o, "kind", f->kind);
    out_member_str(o, "started", started);
    out_member(o, "method", f->method);
    out_member(o, "scheme", f->scheme);
    out_member(o, "host", f->host);
    out_member_u64(o, "port", f->port);
    out_member(o, "path", f->path);
    out_member(o, "url", buf_span(&v->url));
    out_member(o, "http_version", view_version(f->request_version));
    out_key(o, "status");
    if (f->status)
        out_u64(o, f->status);
    else
        out_null(o);
    put_text(o, "reason", f->reason);
}

void entry_jsonl(struct out *o, struct view *v)
{
    const struct tape_flow *f = v->flow;
    o->comma = false; /* each line is a document */
    out_open(o, '{');
    put_start(o, v);
    put_fields(o, "request_headers", &v->request);
    put_body(o, "request_body", v, &v->request_body, &v->request);
    put_fields(o, "request_trailers", &v->request_trailers);
    put_fields(o, "response_headers", &v->response);
    put_body(o, "response_body", v, &v->response_body, &v->response);
    put_fields(o, "response_trailers", &v->response_trailers);
    out_member_u64(o, "request_bytes", f->request_body.wire_bytes);
    out_member_u64(o, "response_bytes", f->response_body.wire_bytes);
    put_ms(o, "ttfb_ms", f->response_begin_ns);
    put_ms(o, "total_ms", f->response_end_ns);
    put_phases(o, &v->timing);
    put_server(o, v);
    out_member_bool(o, "complete", f->complete);
    out_member_bool(o, "answered", f->answered);
    put_text(o, "error", f->error);
    out_close(o, '}');
    out_str(o, "\n");
}
