/* fuzz_event_stream.c: an event stream. Input: a byte (the size of the pieces), then the stream. What is told must not hang on how it came. */
#include "http/event_stream.h"

#include "base/limits.h"

#include <stdlib.h>

struct told {
    struct buf text;
    uint64_t wire_bytes;
};

static void must(bool holds)
{
    if (!holds)
        abort();
}

static void put(struct buf *out, struct span s)
{
    must(buf_printf(out, "%zu:", s.n) == ERR_OK && buf_put(out, s) == ERR_OK);
}

static enum err tell(void *ctx, const struct stream_event *event)
{
    struct told *told = ctx;
    must(event->last || event->data.n == LIMIT_MESSAGE_BYTES);
    must(event->data.n <= LIMIT_MESSAGE_BYTES && event->type.n <= LIMIT_EVENT_FIELD_BYTES);
    must(event->id.n <= LIMIT_EVENT_FIELD_BYTES && (event->has_id || event->id.n == 0) && event->retry_ms >= -1);
    must(span_find(event->id, 0) == event->id.n && span_find(event->id, '\r') == event->id.n);
    must(span_find(event->data, '\r') == event->data.n && span_find(event->type, '\n') == event->type.n);
    must(event->wire_bytes >= event->data.n);
    told->wire_bytes += event->wire_bytes;
    must(buf_printf(&told->text, "%d%d%lld", event->last, event->has_id, (long long)event->retry_ms) == ERR_OK);
    put(&told->text, event->data);
    put(&told->text, event->type);
    put(&told->text, event->id);
    return ERR_OK;
}

static void read_stream(struct told *told, struct span wire, size_t chunk)
{
    struct event_stream *s;
    must(event_stream_create(&s, tell, told) == ERR_OK);
    for (size_t at = 0; at < wire.n; at += chunk)
        must(event_stream_feed(s, span_first(span_from(wire, at), chunk)) == ERR_OK);
    event_stream_destroy(&s);
    must(told->wire_bytes <= wire.n);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct told whole = {.text = BUF_INIT}, parts = {.text = BUF_INIT};
    if (size == 0)
        return 0;
    struct span wire = span_of(data + 1, size - 1);
    read_stream(&whole, wire, size);
    read_stream(&parts, wire, (size_t)data[0] + 1);
    must(span_eq(buf_span(&whole.text), buf_span(&parts.text)));
    buf_free(&whole.text);
    buf_free(&parts.text);
    return 0;
}
