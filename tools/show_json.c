/* show_json.c: one flow as a JSON object, and its messages as JSON Lines. */
#include "tools/show.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/text.h"
#include "tools/flow_grpc.h"
#include "tools/flow_text.h"

#define PUT(e, call)                                                                                                   \
    do {                                                                                                               \
        if (!(e))                                                                                                      \
            (e) = (call);                                                                                              \
    } while (0)

static enum err put_fields(struct buf *out, const char *name, const struct headers *fields)
{
    enum err e = buf_printf(out, "\"%s\":", name);
    return e ? e : fields->n > 0 ? tape_headers_json(fields, out) : buf_put_str(out, "[]");
}

/* Text as "text", anything else as "base64"; null where it cannot be decoded. */
static enum err put_content(struct show *s, enum tape_side side, const struct headers *fields, struct buf *out)
{
    struct buf content = BUF_INIT;
    enum err coding, e = show_content(s, side, fields, LIMIT_DECODE_BYTES, &content, &coding);
    struct span bytes = buf_span(&content);
    if (!e && coding)
        e = buf_printf(out, ",\"text\":null,\"problem\":\"%s\"", err_word(coding));
    else if (!e && text_is_utf8(bytes)) {
        e = buf_put_str(out, ",\"text\":");
        PUT(e, text_json_string(out, bytes));
    } else if (!e) {
        e = buf_put_str(out, ",\"base64\":\"");
        PUT(e, text_base64(out, bytes));
        PUT(e, buf_put_byte(out, '"'));
    }
    struct span type;
    if (!coding && headers_find(fields, SPAN("Content-Type"), &type))
        PUT(e, show_parts_json(type, bytes, out));
    buf_free(&content);
    return e;
}

static enum err put_side(struct show *s, enum tape_side side, struct buf *out)
{
    const struct tape_flow *f = s->flow;
    bool request = side == TAPE_REQUEST;
    const struct tape_body_ref *body = request ? &f->request_body : &f->response_body;
    struct headers fields = HEADERS_INIT;
    enum err e = show_fields(request ? f->request_headers : f->response_headers, &fields);
    PUT(e, put_fields(out, "headers", &fields));
    PUT(e, buf_printf(out, ",\"body\":{\"bytes\":%llu,\"kept\":%llu", (unsigned long long)body->wire_bytes,
                      (unsigned long long)body->bytes));
    PUT(e, put_content(s, side, &fields, out));
    PUT(e, buf_put_str(out, "},"));
    PUT(e, show_fields(request ? f->request_trailers : f->response_trailers, &fields));
    PUT(e, put_fields(out, "trailers", &fields));
    headers_free(&fields);
    return e;
}

static enum err put_times(const struct tape_flow *f, struct buf *out)
{
    const struct {
        const char *name;
        int64_t ns;
    } times[] = {{"request_end_ms", f->request_end_ns},
                 {"sent_ms", f->sent_ns},
                 {"response_begin_ms", f->response_begin_ns},
                 {"response_end_ms", f->response_end_ns}};
    enum err e = buf_put_str(out, "\"times\":{");
    for (size_t i = 0; i < sizeof times / sizeof *times; i++) {
        PUT(e, buf_printf(out, "%s\"%s\":", i > 0 ? "," : "", times[i].name));
        PUT(e, flow_ms(out, times[i].ns));
    }
    PUT(e, buf_put_byte(out, '}'));
    return e;
}

static enum err put_connection(struct show *s, const char *name, int64_t id, struct buf *out)
{
    struct tape_connection c;
    enum err e = id > 0 ? tape_connection(s->tape, id, &c) : ERR_NOT_FOUND;
    if (e == ERR_NOT_FOUND)
        return buf_printf(out, "\"%s\":null", name);
    PUT(e, buf_printf(out, "\"%s\":{\"id\":%lld,", name, (long long)c.id));
    PUT(e, flow_json_text(out, "peer", c.peer));
    PUT(e, buf_put_byte(out, ','));
    PUT(e, flow_json_text(out, "local", c.local));
    PUT(e, buf_put_byte(out, ','));
    PUT(e, flow_json_text_or_null(out, "host", c.host));
    PUT(e, buf_printf(out, ",\"port\":%u,", c.port));
    PUT(e, flow_json_text_or_null(out, "sni", c.sni));
    PUT(e, buf_put_byte(out, ','));
    PUT(e, flow_json_text_or_null(out, "alpn", c.alpn));
    PUT(e, buf_put_byte(out, ','));
    PUT(e, flow_json_text_or_null(out, "tls_version", c.tls_version));
    PUT(e, buf_put_byte(out, ','));
    PUT(e, flow_json_text_or_null(out, "tls_cipher", c.tls_cipher));
    PUT(e, buf_put_byte(out, ','));
    PUT(e, flow_json_text_or_null(out, "error", c.error));
    PUT(e, buf_put_byte(out, '}'));
    return e;
}

enum err show_json(struct show *s)
{
    const struct tape_flow *f = s->flow;
    struct buf text = BUF_INIT;
    enum err e = buf_put_byte(&text, '{');
    PUT(e, flow_json_members(f, &text));
    PUT(e, flow_grpc_members(s->tape, f, &text));
    PUT(e, buf_put_str(&text, ",\"request\":{"));
    PUT(e, flow_json_text(&text, "method", f->method));
    PUT(e, buf_put_byte(&text, ','));
    PUT(e, flow_json_text(&text, "http_version", f->request_version));
    PUT(e, buf_put_byte(&text, ','));
    PUT(e, put_side(s, TAPE_REQUEST, &text));
    PUT(e, buf_put_str(&text, "},\"response\":"));
    if (f->response_version.n > 0) {
        PUT(e, buf_printf(&text, "{\"status\":%u,", f->status));
        PUT(e, flow_json_text(&text, "reason", f->reason));
        PUT(e, buf_put_byte(&text, ','));
        PUT(e, flow_json_text(&text, "http_version", f->response_version));
        PUT(e, buf_put_byte(&text, ','));
        PUT(e, put_side(s, TAPE_RESPONSE, &text));
        PUT(e, buf_put_str(&text, "},"));
    } else {
        PUT(e, buf_put_str(&text, "null,"));
    }
    PUT(e, put_times(f, &text));
    PUT(e, buf_put_byte(&text, ','));
    PUT(e, put_connection(s, "client", f->client_connection, &text));
    PUT(e, buf_put_byte(&text, ','));
    PUT(e, put_connection(s, "server", f->server_connection, &text));
    PUT(e, buf_printf(&text, ",\"server_reused\":%s}\n", f->server_reused ? "true" : "false"));
    PUT(e, output_put(s->out, buf_span(&text)));
    buf_free(&text);
    return e;
}

static enum err put_message(const struct tape_message *m, struct buf *line)
{
    enum err e = buf_printf(line, "{\"seq\":%lld,\"at_ms\":", (long long)m->seq);
    PUT(e, flow_ms(line, m->at_ns));
    PUT(e, buf_printf(line, ",\"direction\":\"%s\",", m->from_client ? "request" : "response"));
    PUT(e, flow_json_text(line, "kind", m->kind));
    PUT(e, buf_printf(line, ",\"bytes\":%zu,\"wire_bytes\":%llu,", m->payload.n, (unsigned long long)m->wire_bytes));
    if (m->more)
        PUT(e, buf_put_str(line, "\"more\":true,"));
    if (m->code > 0)
        PUT(e, buf_printf(line, "\"code\":%u,", m->code));
    if (m->event.n > 0) {
        PUT(e, flow_json_text(line, "event", m->event));
        PUT(e, buf_put_byte(line, ','));
    }
    if (m->has_event_id) {
        PUT(e, flow_json_text(line, "event_id", m->event_id));
        PUT(e, buf_put_byte(line, ','));
    }
    if (m->retry_ms >= 0)
        PUT(e, buf_printf(line, "\"retry_ms\":%lld,", (long long)m->retry_ms));
    if (text_is_utf8(m->payload)) {
        PUT(e, flow_json_text(line, "text", m->payload));
    } else {
        PUT(e, buf_put_str(line, "\"base64\":\""));
        PUT(e, text_base64(line, m->payload));
        PUT(e, buf_put_byte(line, '"'));
    }
    PUT(e, buf_put_str(line, "}\n"));
    return e;
}

enum err show_messages(struct show *s)
{
    struct tape_message_cursor *cursor = NULL;
    struct tape_message message;
    struct buf line = BUF_INIT;
    enum err e = tape_messages(s->tape, s->flow->id, &cursor);
    while (!e) {
        e = tape_message_next(cursor, &message);
        buf_clear(&line);
        PUT(e, put_message(&message, &line));
        PUT(e, output_put(s->out, buf_span(&line)));
    }
    tape_message_cursor_close(&cursor);
    buf_free(&line);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}
