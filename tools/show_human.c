/* show_human.c: one flow for reading. Nothing from the tape reaches the terminal unescaped. */
#include "tools/show.h"

#include "base/clock.h"
#include "base/text.h"
#include "http/mime.h"
#include "tools/flow_grpc.h"
#include "tools/flow_text.h"

enum { SHOWN_BODY_BYTES = 65536 };

#define PUT(e, call)                                                                                                   \
    do {                                                                                                               \
        if (!(e))                                                                                                      \
            (e) = (call);                                                                                              \
    } while (0)

static enum err put_safe(struct buf *out, const char *before, struct span text, const char *after)
{
    enum err e = buf_put_str(out, before);
    PUT(e, text_escape_terminal(out, text));
    PUT(e, buf_put_str(out, after));
    return e;
}

static enum err put_ms(struct buf *out, const char *what, int64_t ns)
{
    return ns < 0 ? ERR_OK : buf_printf(out, "  %s %.1f ms", what, (double)ns / (double)NS_PER_MS);
}

static enum err put_connection(struct show *s, const char *name, int64_t id, struct buf *out)
{
    struct tape_connection c;
    enum err e = id > 0 ? tape_connection(s->tape, id, &c) : ERR_NOT_FOUND;
    if (e)
        return e == ERR_NOT_FOUND ? ERR_OK : e;
    e = buf_printf(out, "%-9s ", name);
    PUT(e, put_safe(out, "", c.peer, ""));
    if (c.tls_version.n > 0) {
        PUT(e, put_safe(out, "  ", c.tls_version, " "));
        PUT(e, put_safe(out, "", c.tls_cipher, ""));
    }
    if (c.alpn.n > 0)
        PUT(e, put_safe(out, "  ", c.alpn, ""));
    if (c.sni.n > 0)
        PUT(e, put_safe(out, "  SNI ", c.sni, ""));
    if (c.server && s->flow->server_reused)
        PUT(e, buf_put_str(out, "  reused"));
    if (c.error.n > 0)
        PUT(e, put_safe(out, "  ", c.error, ""));
    PUT(e, buf_put_byte(out, '\n'));
    return e;
}

static enum err put_grpc(struct show *s, struct buf *out)
{
    struct flow_grpc g = {.is = false};
    enum err e = flow_grpc_read(s->tape, s->flow, &g);
    if (!e && g.status.n > 0) {
        e = put_safe(out, "grpc      ", buf_span(&g.status), g.word ? " " : "");
        PUT(e, buf_put_str(out, g.word ? g.word : ""));
        PUT(e, put_safe(out, g.message.n > 0 ? "  " : "", buf_span(&g.message), "\n"));
    }
    flow_grpc_free(&g);
    return e;
}

static enum err put_summary(struct show *s, struct buf *out)
{
    const struct tape_flow *f = s->flow;
    struct buf url = BUF_INIT;
    char started[CLOCK_ISO_LEN];
    clock_iso8601(f->started_ns, started);
    enum err e = flow_url(f, &url);
    PUT(e,
        buf_printf(out, "%sflow %lld%s  ", s->colours ? "\033[1m" : "", (long long)f->id, s->colours ? "\033[0m" : ""));
    PUT(e, put_safe(out, "", buf_span(&url), "\n"));
    PUT(e, buf_printf(out, "%-9s %s  session %lld", "started", started, (long long)f->session));
    if (f->track.n > 0)
        PUT(e, put_safe(out, "  track ", f->track, ""));
    if (!span_eq(f->kind, SPAN("http")))
        PUT(e, put_safe(out, "  ", f->kind, ""));
    PUT(e, buf_printf(out, "\n%-9s", "times"));
    PUT(e, put_ms(out, "sent", f->sent_ns));
    PUT(e, put_ms(out, "first byte", f->response_begin_ns));
    PUT(e, put_ms(out, "done", f->response_end_ns));
    PUT(e, buf_put_byte(out, '\n'));
    PUT(e, put_connection(s, "client", f->client_connection, out));
    PUT(e, put_connection(s, "server", f->server_connection, out));
    PUT(e, put_grpc(s, out));
    if (f->error.n > 0)
        PUT(e, put_safe(out, "error     ", f->error, "\n"));
    else if (!f->complete)
        PUT(e, buf_put_str(out, "error     in progress, or cut off with the recording\n"));
    if (f->answered)
        PUT(e, buf_put_str(out, "          ringtape answered in the origin's place\n"));
    buf_free(&url);
    return e;
}

static enum err put_fields(struct show *s, const struct headers *fields, struct buf *out)
{
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < fields->n; i++) {
        struct header h = headers_at(fields, i);
        e = put_safe(out, s->colours ? "\033[36m" : "", h.name, s->colours ? "\033[0m: " : ": ");
        PUT(e, put_safe(out, "", h.value, "\n"));
    }
    return e;
}

enum err show_lines(struct span text, struct buf *out)
{
    enum err e = ERR_OK;
    while (!e && text.n > 0) {
        size_t n = span_find(text, '\n');
        size_t shown = n > 0 && text.p[n - 1] == '\r' ? n - 1 : n;
        e = put_safe(out, "", span_first(text, shown), "\n");
        text = span_from(text, n + 1);
    }
    return e;
}

static enum err put_content(struct show *s, enum tape_side side, const struct headers *fields, struct buf *out)
{
    const struct tape_body_ref *body = side == TAPE_REQUEST ? &s->flow->request_body : &s->flow->response_body;
    struct span type = SPAN_EMPTY;
    struct buf content = BUF_INIT;
    enum err coding = ERR_OK;
    if (body->wire_bytes == 0 || !span_eq(s->flow->kind, SPAN("http")))
        return ERR_OK; /* what is no content is told by show_conversation() */
    enum err e = show_content(s, side, fields, SHOWN_BODY_BYTES, &content, &coding);
    bool cut = e == ERR_LIMIT;
    e = cut ? ERR_OK : e;
    headers_find(fields, SPAN("Content-Type"), &type);
    struct span text = span_first(buf_span(&content), text_utf8_prefix(buf_span(&content)));
    /* A cut may lie within a character. */
    bool is_text = text.n + (cut ? 3 : 0) >= buf_span(&content).n && (mime_is_text(type) || type.n == 0);
    bool parts = false;
    PUT(e, buf_put_byte(out, '\n'));
    if (!e && !coding)
        e = show_parts(type, buf_span(&content), &parts, out);
    if (!e && !coding && (is_text || parts)) {
        if (!parts)
            e = show_lines(text, out);
        if (cut)
            PUT(e, buf_printf(out, "... (the first %d bytes; --body writes all)\n", SHOWN_BODY_BYTES));
    } else if (!e) {
        e = buf_put_byte(out, '(');
        PUT(e, text_bytes(out, body->wire_bytes));
        PUT(e, put_safe(out, type.n > 0 ? " of " : "", mime_essence(type), coding ? ", cannot be decoded: " : ")\n"));
        if (coding)
            PUT(e, buf_printf(out, "%s)\n", err_text(coding)));
    }
    if (body->bytes < body->wire_bytes)
        PUT(e, buf_printf(out, "(%llu of %llu bytes were kept)\n", (unsigned long long)body->bytes,
                          (unsigned long long)body->wire_bytes));
    buf_free(&content);
    return e;
}

static enum err put_message(struct show *s, enum tape_side side, struct buf *out)
{
    const struct tape_flow *f = s->flow;
    bool request = side == TAPE_REQUEST;
    struct headers fields = HEADERS_INIT;
    enum err e = show_fields(request ? f->request_headers : f->response_headers, &fields);
    PUT(e, put_fields(s, &fields, out));
    PUT(e, put_content(s, side, &fields, out));
    PUT(e, show_fields(request ? f->request_trailers : f->response_trailers, &fields));
    if (!e && fields.n > 0) {
        e = buf_put_byte(out, '\n');
        PUT(e, put_fields(s, &fields, out));
    }
    headers_free(&fields);
    return e;
}

enum err show_human(struct show *s)
{
    const struct tape_flow *f = s->flow;
    struct buf text = BUF_INIT;
    const char *bold = s->colours ? "\033[1m" : "", *plain = s->colours ? "\033[0m" : "";
    enum err e = put_summary(s, &text);
    PUT(e, buf_printf(&text, "\n%s", bold));
    PUT(e, put_safe(&text, "", f->method, " "));
    PUT(e, put_safe(&text, "", f->path, " "));
    PUT(e, put_safe(&text, "", f->request_version, plain));
    PUT(e, buf_put_byte(&text, '\n'));
    PUT(e, put_message(s, TAPE_REQUEST, &text));
    if (f->response_version.n > 0) {
        PUT(e, buf_printf(&text, "\n%s", bold));
        PUT(e, put_safe(&text, "", f->response_version, ""));
        PUT(e, buf_printf(&text, " %u ", f->status));
        PUT(e, put_safe(&text, "", f->reason, plain));
        PUT(e, buf_put_byte(&text, '\n'));
        PUT(e, put_message(s, TAPE_RESPONSE, &text));
    }
    PUT(e, show_conversation(s, &text));
    PUT(e, output_put(s->out, buf_span(&text)));
    buf_free(&text);
    return e;
}
