/* messages.c: one reader for each direction that has messages.
 *
 * Invariants: of a WebSocket every byte is told, as part of a message or, once its frames cannot be read (a violation, an extension that is not
 * known, no memory), as bytes; event streams and gRPC are content as well, so that a reader that fails is only given up. Nothing here may
 * hold up or end an exchange but `ambiguous`. */
#include "flow/messages.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "http/coding.h"
#include "http/event_stream.h"
#include "http/grpc.h"
#include "http/mime.h"
#include "http/ws.h"

#include <assert.h>

/* One direction. At most one of the readers is there. */
struct reader {
    struct exchange *x;
    bool response;
    uint64_t at_ns; /* of the part that is being read */
    uint64_t told;  /* bytes of messages */
    bool websocket; /* all bytes are told, as messages or as they are */
    struct ws *ws;
    struct event_stream *events;
    struct coding *coding; /* Content-Encoding of the event stream, undone first */
    struct grpc *grpc;
};

struct messages {
    struct reader readers[2]; /* request, response */
};

/* ---- telling ---- */

static void tell(struct reader *r, struct message message)
{
    const struct pipeline *p = r->x->pipeline;
    message.at_ns = r->at_ns;
    message.before = r->told;
    r->told += message.data.n;
    for (size_t i = 0; i < p->taps_n; i++)
        if (p->taps[i]->ops->message)
            p->taps[i]->ops->message(p->taps[i], r->x, r->response, &message);
}

static void tell_bytes(struct reader *r, struct span bytes)
{
    for (; bytes.n > 0; bytes = span_from(bytes, LIMIT_MESSAGE_BYTES)) {
        struct span piece = span_first(bytes, LIMIT_MESSAGE_BYTES);
        tell(r, (struct message){.kind = MESSAGE_BYTES, .data = piece, .wire_bytes = piece.n, .retry_ms = -1});
    }
}

static void tell_violation(struct reader *r, const char *why)
{
    tell(r, (struct message){.kind = MESSAGE_VIOLATION, .data = span_str(why), .retry_ms = -1});
}

static enum err on_ws_message(void *ctx, const struct ws_message *m)
{
    static const struct {
        enum ws_kind from;
        enum message_kind to;
    } kinds[] = {{WS_TEXT, MESSAGE_TEXT},
                 {WS_BINARY, MESSAGE_BINARY},
                 {WS_CLOSE, MESSAGE_CLOSE},
                 {WS_PING, MESSAGE_PING},
                 {WS_PONG, MESSAGE_PONG}};
    struct reader *r = ctx;
    size_t i = 0;
    while (kinds[i].from != m->kind)
        i++;
    tell(r, (struct message){.kind = kinds[i].to,
                             .more = !m->last,
                             .data = m->data,
                             .code = m->code,
                             .wire_bytes = m->wire_bytes,
                             .retry_ms = -1});
    if (m->flaw)
        tell_violation(r, m->flaw);
    return ERR_OK;
}

static enum err on_event(void *ctx, const struct stream_event *event)
{
    tell(ctx, (struct message){.kind = MESSAGE_EVENT,
                               .more = !event->last,
                               .data = event->data,
                               .event = event->type,
                               .event_id = event->id,
                               .has_event_id = event->has_id,
                               .retry_ms = event->retry_ms,
                               .wire_bytes = event->wire_bytes});
    return ERR_OK;
}

static enum err on_decoded(void *ctx, struct span bytes)
{
    struct reader *r = ctx;
    return event_stream_feed(r->events, bytes);
}

static enum err on_grpc_message(void *ctx, const struct grpc_message *m)
{
    if (!m->trailers)
        tell(ctx,
             (struct message){
                 .kind = MESSAGE_GRPC, .more = !m->last, .data = m->data, .wire_bytes = m->wire_bytes, .retry_ms = -1});
    return ERR_OK;
}

/* ---- which reader ---- */

static struct reader *reader_of(struct exchange *x, bool response)
{
    if (!x->messages) {
        x->messages = mem_new(1, sizeof *x->messages);
        if (!x->messages)
            return NULL;
        for (size_t i = 0; i < 2; i++)
            x->messages->readers[i] = (struct reader){.x = x, .response = i == 1};
    }
    return &x->messages->readers[response];
}

static void begin_websocket(struct exchange *x, const struct headers *fields)
{
    struct ws_extensions extensions;
    ws_extensions_read(&extensions, fields);
    for (int i = 0; i < 2; i++) {
        struct reader *r = reader_of(x, i == 1);
        if (!r)
            return;
        r->websocket = true;
        if (ws_create(&r->ws, i == 0 ? WS_CLIENT : WS_SERVER, &extensions, on_ws_message, r))
            r->ws = NULL; /* bytes, then */
    }
}

static void begin_content(struct exchange *x, bool response, const struct headers *fields)
{
    struct span type;
    struct buf encoding = BUF_INIT;
    if (!headers_find(fields, SPAN("Content-Type"), &type))
        return;
    bool events = response && span_eq_nocase(mime_essence(type), SPAN("text/event-stream"));
    if (!events && !grpc_is(type))
        return;
    struct reader *r = reader_of(x, response);
    if (!r)
        return;
    enum err e = ERR_OK;
    if (!events)
        e = grpc_create(&r->grpc, fields, on_grpc_message, r);
    else
        e = event_stream_create(&r->events, on_event, r);
    if (!e && events)
        e = coding_field(fields, &encoding);
    if (!e && events && !coding_is_identity(buf_span(&encoding)))
        e = coding_create(&r->coding, buf_span(&encoding), on_decoded, r);
    if (e)
        event_stream_destroy(&r->events);
    buf_free(&encoding);
}

static void reader_end(struct reader *r)
{
    ws_destroy(&r->ws);
    event_stream_destroy(&r->events);
    coding_destroy(&r->coding);
    grpc_destroy(&r->grpc);
}

/* ---- reading ---- */

static void read_websocket(struct reader *r, struct span bytes)
{
    if (!r->ws) {
        tell_bytes(r, bytes);
        return;
    }
    enum err e = ws_feed(r->ws, bytes);
    if (!e)
        return;
    const char *why = ws_error(r->ws);
    tell_violation(r, why[0] ? why : err_text(e));
    r->x->ambiguous = ws_ambiguous(r->ws);
    tell_bytes(r, ws_unread(r->ws, bytes));
    ws_destroy(&r->ws);
}

static void read_content(struct reader *r, struct span bytes)
{
    enum err e = r->grpc     ? grpc_feed(r->grpc, bytes)
                 : r->coding ? coding_feed(r->coding, bytes)
                 : r->events ? event_stream_feed(r->events, bytes)
                             : ERR_OK;
    if (e)
        reader_end(r);
}

void messages_part(struct exchange *x, bool response, const struct event *event)
{
    if (event->part == PART_HEAD && response && x->kind == FLOW_WEBSOCKET)
        begin_websocket(x, &event->head->headers);
    else if (event->part == PART_HEAD && x->kind == FLOW_HTTP)
        begin_content(x, response, &event->head->headers);
    if (!x->messages || event->part != PART_BODY)
        return;
    struct reader *r = &x->messages->readers[response];
    r->at_ns = event->at_ns;
    if (r->websocket)
        read_websocket(r, event->data);
    else
        read_content(r, event->data);
}

void messages_destroy(struct messages **m)
{
    struct messages *it = *m;
    *m = NULL;
    if (!it)
        return;
    reader_end(&it->readers[0]);
    reader_end(&it->readers[1]);
    mem_free(it);
}

const char *message_kind_word(enum message_kind kind)
{
    static const char *const words[] = {
#define MESSAGE_KIND_WORD(name, word) [name] = word,
        MESSAGE_KINDS(MESSAGE_KIND_WORD)
#undef MESSAGE_KIND_WORD
    };
    assert((size_t)kind < sizeof words / sizeof words[0]);
    return words[kind];
}
