/* event_stream.h: text/event-stream (WHATWG HTML, "Server-sent events", parsing an event stream): bytes in, events out. Performs no I/O.
 * Bounded: data of more than LIMIT_MESSAGE_BYTES comes in pieces, a type or an id of more than LIMIT_EVENT_FIELD_BYTES is cut. Nothing is checked
 * for being UTF-8. Spans given to the callback die when it returns. */
#ifndef RINGTAPE_HTTP_EVENT_STREAM_H
#define RINGTAPE_HTTP_EVENT_STREAM_H

#include "base/buf.h"

struct event_stream;

struct stream_event {
    bool last;        /* the event is complete; the fields below are final only then */
    struct span data; /* the data lines of this piece, joined by LF */
    struct span type; /* the event field; empty: "message" */
    struct span id;   /* the id field of this event */
    bool has_id;      /* it had one (an empty one resets the last event ID) */
    int64_t retry_ms; /* -1: none */
    /* Of its lines, the empty one that ends it included, since the piece before (without the LF of that one's CRLF, if it came in another feed). */
    uint64_t wire_bytes;
};

/* Every block of lines is told that has a field (data, event, id, retry), those without data too (they set the id or the retry time). Comments
 * and unknown fields alone are not events; neither is a block that the stream ended within, of which pieces may have been told.
 * Fails with ERR_NOMEM. */
MUST_USE enum err event_stream_create(struct event_stream **out,
                                      enum err (*event)(void *ctx, const struct stream_event *event), void *ctx);
/* Consumes all of `in`. LF, CRLF and CR end lines; a BOM at the start is skipped. Fails with ERR_NOMEM, or what the callback returned; then only
 * event_stream_destroy(). */
MUST_USE enum err event_stream_feed(struct event_stream *s, struct span in);
void event_stream_destroy(struct event_stream **s);

#endif
