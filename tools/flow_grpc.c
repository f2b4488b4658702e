/* flow_grpc.c: grpc-status and grpc-message, wherever the call's kind has them. */
#include "tools/flow_grpc.h"

#include "base/limits.h"
#include "base/text.h"
#include "http/grpc.h"
#include "http/url.h"
#include "tape/content.h"
#include "tools/flow_text.h"
#include "http/coding.h"

/* Without reading the JSON of each flow's fields: can "grpc" be the type of this one? */
static bool may_be_grpc(struct span fields)
{
    static const char lower[] = "grpc", upper[] = "GRPC";
    for (size_t i = 0, k = 0; i < fields.n; i++) {
        if (fields.p[i] == (uint8_t)lower[k] || fields.p[i] == (uint8_t)upper[k])
            k++;
        else
            k = fields.p[i] == 'g' || fields.p[i] == 'G';
        if (k == sizeof lower - 1)
            return true;
    }
    return false;
}

static enum err take(struct flow_grpc *g, struct span status, struct span message)
{
    buf_clear(&g->status);
    buf_clear(&g->message);
    g->word = grpc_status_word(status);
    enum err e = buf_put(&g->status, status);
    return e ? e : url_decode(&g->message, message, false);
}

/* True: there is a status among the fields. */
static bool take_fields(struct flow_grpc *g, const struct headers *fields, enum err *e)
{
    struct span status, message;
    if (!headers_find(fields, SPAN("grpc-status"), &status))
        return false;
    headers_find(fields, SPAN("grpc-message"), &message);
    *e = take(g, status, message);
    return true;
}

/* ---- gRPC-Web ---- */

struct web {
    struct grpc *grpc;
    struct buf trailers;
    enum err failed; /* of the messages, not of reading them */
};

static enum err web_message(void *ctx, const struct grpc_message *message)
{
    struct web *web = ctx;
    if (!message->trailers || web->trailers.n >= LIMIT_HEAD_BYTES)
        return ERR_OK;
    return buf_put(&web->trailers, span_first(message->data, LIMIT_HEAD_BYTES - web->trailers.n));
}

static enum err web_bytes(void *ctx, struct span bytes)
{
    struct web *web = ctx;
    if (web->failed)
        return ERR_OK;
    web->failed = grpc_feed(web->grpc, bytes);
    return web->failed == ERR_NOMEM ? ERR_NOMEM : ERR_OK;
}

/* "name: value" CRLF, as in HTTP/1.1. */
static enum err take_text(struct flow_grpc *g, struct span text)
{
    struct span status = SPAN_EMPTY, message = SPAN_EMPTY;
    while (text.n > 0) {
        struct span line = span_first(text, span_find(text, '\n'));
        text = span_from(text, line.n + 1);
        if (line.n > 0 && line.p[line.n - 1] == '\r')
            line.n--;
        size_t colon = span_find(line, ':');
        struct span name = span_trim(span_first(line, colon)), value = span_trim(span_from(line, colon + 1));
        if (span_eq_nocase(name, SPAN("grpc-status")))
            status = value;
        else if (span_eq_nocase(name, SPAN("grpc-message")))
            message = value;
    }
    return status.n > 0 ? take(g, status, message) : ERR_OK;
}

static enum err read_web(struct tape *tape, const struct tape_flow *flow, const struct headers *fields,
                         struct flow_grpc *g)
{
    struct web web = {.trailers = BUF_INIT};
    struct buf encoding = BUF_INIT;
    enum err coding, e = grpc_create(&web.grpc, fields, web_message, &web);
    if (!e)
        e = coding_field(fields, &encoding);
    if (!e)
        e = tape_content(tape, &flow->response_body, buf_span(&encoding), web_bytes, &web, &coding);
    if (!e)
        e = take_text(g, buf_span(&web.trailers));
    grpc_destroy(&web.grpc);
    buf_free(&web.trailers);
    buf_free(&encoding);
    return e;
}

/* ---- both ---- */

static bool is_web(struct span type)
{
    static const size_t prefix = sizeof "application/grpc" - 1;
    return span_eq_nocase(span_first(span_from(type, prefix), 4), SPAN("-web"));
}

enum err flow_grpc_read(struct tape *tape, const struct tape_flow *flow, struct flow_grpc *out)
{
    struct headers head = HEADERS_INIT, trailers = HEADERS_INIT;
    struct span type;
    enum err e = ERR_OK;
    out->is = false;
    out->word = NULL;
    buf_clear(&out->status);
    buf_clear(&out->message);
    if (!may_be_grpc(flow->response_headers))
        return ERR_OK;
    e = tape_headers(flow->response_headers, &head);
    if (!e && headers_find(&head, SPAN("content-type"), &type) && grpc_is(type)) {
        out->is = true;
        if (flow->response_trailers.n > 0)
            e = tape_headers(flow->response_trailers, &trailers);
        if (!e && !take_fields(out, &trailers, &e) && !take_fields(out, &head, &e) && is_web(span_trim(type)))
            e = read_web(tape, flow, &head, out);
    }
    headers_free(&head);
    headers_free(&trailers);
    return e;
}

void flow_grpc_free(struct flow_grpc *g)
{
    buf_free(&g->status);
    buf_free(&g->message);
}

enum err flow_grpc_members(struct tape *tape, const struct tape_flow *flow, struct buf *out)
{
    struct flow_grpc g = {.is = false};
    enum err e = flow_grpc_read(tape, flow, &g);
    uint64_t number;
    if (!e && g.is) {
        if (span_to_u64(buf_span(&g.status), UINT32_MAX, &number))
            e = buf_printf(out, ",\"grpc_status\":%llu,", (unsigned long long)number);
        else {
            e = buf_put_byte(out, ',');
            if (!e)
                e = flow_json_text_or_null(out, "grpc_status", buf_span(&g.status));
            if (!e)
                e = buf_put_byte(out, ',');
        }
        if (!e)
            e = flow_json_text_or_null(out, "grpc_message", buf_span(&g.message));
    }
    flow_grpc_free(&g);
    return e;
}
