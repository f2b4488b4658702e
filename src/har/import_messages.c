/* import_messages.c: messages of WebSockets (Chrome's _webSocketMessages) and of event streams into rows of `message`. */
#include "har/import_internal.h"

#include "base/clock.h"
#include "base/limits.h"
#include "base/util.h"
#include "http/mime.h"

/* One message on its way, in pieces. */
struct telling {
    struct har_importer *im;
    int64_t flow;
    struct tape_message m;
    struct buf *pending; /* less than a full row */
    uint64_t frame;      /* bytes of its frame's head, told with the first piece */
};

static enum err put_row(struct telling *t, bool more)
{
    t->m.payload = span_first(buf_span(t->pending), LIMIT_MESSAGE_BYTES);
    t->m.more = more;
    t->m.wire_bytes = t->m.payload.n + t->frame;
    t->frame = 0;
    enum err e = tape_writer_message(t->im->writer, t->flow, &t->m);
    t->im->uncommitted_bytes += t->m.payload.n;
    t->m.seq++;
    buf_consume(t->pending, t->m.payload.n);
    return e;
}

static enum err told(void *ctx, struct span bytes)
{
    struct telling *t = ctx;
    enum err e = ERR_OK;
    while (!e && bytes.n > 0) {
        if (t->pending->n == LIMIT_MESSAGE_BYTES)
            e = put_row(t, true);
        struct span piece = span_first(bytes, LIMIT_MESSAGE_BYTES - t->pending->n);
        if (!e)
            e = buf_put(t->pending, piece);
        bytes = span_from(bytes, piece.n);
    }
    return e;
}

static enum err tell(struct telling *t, const json_t *message, bool base64)
{
    struct tree_text text = tree_text(&t->im->tree, message, "data");
    enum decode_form form;
    buf_clear(t->pending);
    enum err e = decode_form(&t->im->tree, &text, base64, -1, t->im->mends, &form);
    if (!e)
        e = decode_pass(&t->im->tree, &text, form, told, t);
    return e ? e : put_row(t, false);
}

/* Seconds since 1970 to an offset; what is before the flow, or no time, is where the message before was. */
static int64_t offset_of(const struct import_entry *x, const json_t *message, int64_t last)
{
    double s;
    if (!tree_number(message, "time", &s) || !(s >= 0 && s < 7e9))
        return last;
    uint64_t at = (uint64_t)(s * 1e6 + 0.5) * 1000;
    return at < x->row.started_ns ? last : MAX((int64_t)(at - x->row.started_ns), last);
}

/* Of a frame's head (RFC 6455 §5.2); what a client sends is masked. */
static uint64_t frame_head(uint64_t n, bool masked)
{
    return UINT64_C(2) + (n > 65535 ? 8u : n > 125 ? 2u : 0u) + (masked ? 4u : 0u);
}

static enum err put_websocket(struct import_entry *x, struct telling *t, const json_t *message)
{
    static const struct {
        unsigned opcode;
        const char *kind;
    } kinds[] = {{1, "text"}, {2, "binary"}, {9, "ping"}, {10, "pong"}};
    struct span type = tree_string(message, "type");
    double opcode = 1;
    const char *kind = NULL;
    (void)tree_number(message, "opcode", &opcode);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++)
        if (opcode == kinds[i].opcode)
            kind = kinds[i].kind;
    bool send = span_eq_nocase(type, SPAN("send"));
    struct tree_text text = tree_text(&t->im->tree, message, "data");
    bool control = opcode > 2;
    if (!kind || !text.there || (!send && !span_eq_nocase(type, SPAN("receive"))) || (control && text.n > 125)) {
        mend(t->im->mends, MEND_BAD_MESSAGE);
        return ERR_OK;
    }
    bool base64 = opcode == 2 || span_eq(tree_string(message, "_encoding"), SPAN("base64"));
    t->m = (struct tape_message){.seq = t->m.seq,
                                 .at_ns = offset_of(x, message, t->m.at_ns),
                                 .from_client = send,
                                 .kind = span_str(kind),
                                 .retry_ms = -1};
    t->frame = frame_head(text.n, send);
    return tell(t, message, base64);
}

static enum err put_event(struct import_entry *x, struct telling *t, const json_t *message)
{
    struct span name = tree_string(message, "eventName"), id = tree_string(message, "eventId");
    struct tree_text text = tree_text(&t->im->tree, message, "data");
    if (!text.there || !json_is_object(message)) {
        mend(t->im->mends, MEND_BAD_MESSAGE);
        return ERR_OK;
    }
    t->m = (struct tape_message){.seq = t->m.seq,
                                 .at_ns = offset_of(x, message, t->m.at_ns),
                                 .kind = SPAN("event"),
                                 .event = span_eq(name, SPAN("message")) ? SPAN_EMPTY
                                                                         : span_first(name, LIMIT_EVENT_FIELD_BYTES),
                                 .event_id = span_first(id, LIMIT_EVENT_FIELD_BYTES),
                                 .has_event_id = id.n > 0,
                                 .retry_ms = -1};
    t->frame = 0;
    return tell(t, message, span_eq(tree_string(message, "_encoding"), SPAN("base64")));
}

static const json_t *messages_of(const struct import_entry *x)
{
    return tree_member(x->root, x->websocket ? "_webSocketMessages" : "_eventSourceMessages");
}

enum err import_messages(struct import_entry *x)
{
    const json_t *list = messages_of(x);
    struct telling t = {.im = x->im, .flow = x->row.id, .pending = &x->im->json};
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < json_array_size(list); i++)
        e = x->websocket ? put_websocket(x, &t, json_array_get(list, i)) : put_event(x, &t, json_array_get(list, i));
    return e;
}
