/* event_stream.c: text/event-stream, read byte by byte as the standard's grammar has it. What a line means is known from its name, so the data
 * lines go straight into the piece under way; the other fields are put aside until their line ends, because a line that is not whole changes
 * nothing (and an id with a NUL in it never does).
 *
 *   NAME ──:──> SPACE ──> VALUE      each of them: the end of the line ──> NAME
 *    └──(comment, unknown)──> SKIP   an empty line, in NAME: the event ends
 *
 * A CR ends its line at once, since an event must not wait for what may never come: the LF behind it, if there is one, is passed over then. */
#include "http/event_stream.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "base/util.h"

enum { NAME_MAX_BYTES = 5 }; /* of a known field */

static const uint8_t bom[] = {0xef, 0xbb, 0xbf};

enum line_state { LINE_NAME, LINE_SPACE, LINE_VALUE, LINE_SKIP };

enum field { FIELD_DATA, FIELD_EVENT, FIELD_ID, FIELD_RETRY, FIELDS };

struct event_stream {
    enum err (*event)(void *ctx, const struct stream_event *event);
    void *ctx;
    size_t bom_seen; /* bytes of the BOM at the start; sizeof bom: that is over */
    enum line_state state;
    enum field field; /* of the line, from LINE_SPACE on */
    bool after_cr;
    uint8_t name[NAME_MAX_BYTES];
    size_t name_n;
    struct buf value; /* of the line: event and id */
    bool value_has_nul;
    bool number_valid, number_any; /* of the line: retry */
    int64_t number;

    /* The event under way. */
    bool any; /* it has a field */
    bool has_data, has_id;
    struct buf data, type, id;
    int64_t retry_ms;
    uint64_t wire_bytes;
};

static void event_reset(struct event_stream *s)
{
    s->any = s->has_data = s->has_id = false;
    buf_clear(&s->data);
    buf_clear(&s->type);
    buf_clear(&s->id);
    s->retry_ms = -1;
    s->wire_bytes = 0;
}

static enum err event_tell(struct event_stream *s, bool last)
{
    struct stream_event event = {
        .last = last,
        .data = buf_span(&s->data),
        .type = buf_span(&s->type),
        .id = buf_span(&s->id),
        .has_id = s->has_id,
        .retry_ms = s->retry_ms,
        .wire_bytes = s->wire_bytes,
    };
    enum err e = s->event(s->ctx, &event);
    s->wire_bytes = 0;
    buf_clear(&s->data);
    return e;
}

/* A full piece is told when more comes, so that the last one is never told without need. */
static enum err data_make_room(struct event_stream *s)
{
    return s->data.n == LIMIT_MESSAGE_BYTES ? event_tell(s, false) : ERR_OK;
}

static enum err value_put(struct event_stream *s, struct span in)
{
    if (s->field == FIELD_DATA)
        return buf_put(&s->data, in);
    if (s->field != FIELD_RETRY) {
        for (size_t i = 0; i < in.n; i++)
            s->value_has_nul |= in.p[i] == 0;
        return buf_put(&s->value, span_first(in, LIMIT_EVENT_FIELD_BYTES - s->value.n));
    }
    for (size_t i = 0; i < in.n; i++) {
        uint8_t c = in.p[i];
        s->number_valid &= c >= '0' && c <= '9';
        if (s->number_valid)
            s->number = s->number <= (INT64_MAX - 9) / 10 ? s->number * 10 + (c - '0') : INT64_MAX;
        s->number_any = true;
    }
    return ERR_OK;
}

/* The name is whole: is it a field's? */
static enum err line_begin(struct event_stream *s)
{
    static const char *const names[FIELDS] = {
        [FIELD_DATA] = "data", [FIELD_EVENT] = "event", [FIELD_ID] = "id", [FIELD_RETRY] = "retry"};
    struct span name = span_of(s->name, s->name_n);
    size_t i = 0;
    while (i < FIELDS && !span_eq(name, span_str(names[i])))
        i++;
    s->state = i < FIELDS ? LINE_SPACE : LINE_SKIP;
    if (i == FIELDS)
        return ERR_OK;
    s->field = (enum field)i;
    s->any = true;
    buf_clear(&s->value);
    s->value_has_nul = s->number_any = false;
    s->number_valid = true;
    s->number = 0;
    if (s->field != FIELD_DATA)
        return ERR_OK;
    enum err e = ERR_OK;
    if (s->has_data) {
        e = data_make_room(s);
        if (!e)
            e = buf_put_byte(&s->data, '\n');
    }
    s->has_data = true;
    return e;
}

/* The line's value is whole. */
static enum err line_take(struct event_stream *s)
{
    switch (s->field) {
    case FIELD_EVENT:
        buf_clear(&s->type);
        return buf_put(&s->type, buf_span(&s->value));
    case FIELD_ID:
        if (s->value_has_nul)
            return ERR_OK;
        s->has_id = true;
        buf_clear(&s->id);
        return buf_put(&s->id, buf_span(&s->value));
    case FIELD_RETRY:
        if (s->number_valid && s->number_any)
            s->retry_ms = s->number;
        return ERR_OK;
    case FIELD_DATA:
    case FIELDS:
        break;
    }
    return ERR_OK;
}

static enum err line_end(struct event_stream *s)
{
    enum err e = ERR_OK;
    if (s->state == LINE_NAME && s->name_n == 0) {
        e = s->any ? event_tell(s, true) : ERR_OK;
        event_reset(s);
        return e;
    }
    if (s->state == LINE_NAME)
        e = line_begin(s);
    if (!e && s->state != LINE_SKIP)
        e = line_take(s);
    s->state = LINE_NAME;
    s->name_n = 0;
    return e;
}

static enum err name_byte(struct event_stream *s, uint8_t c)
{
    if (c == ':' && s->name_n > 0)
        return line_begin(s);
    if (c == ':' || s->name_n == NAME_MAX_BYTES)
        s->state = LINE_SKIP;
    else
        s->name[s->name_n++] = c;
    return ERR_OK;
}

static size_t line_rest(struct span in)
{
    size_t n = 0;
    while (n < in.n && in.p[n] != '\r' && in.p[n] != '\n')
        n++;
    return n;
}

/* What lies before the end of the line: at least one byte is consumed. */
static enum err line_bytes(struct event_stream *s, struct span *in)
{
    size_t n = 1;
    enum err e = ERR_OK;
    if (s->state == LINE_NAME) {
        s->wire_bytes++;
        e = name_byte(s, in->p[0]);
    } else if (s->state == LINE_SPACE && in->p[0] == ' ') {
        s->wire_bytes++;
        s->state = LINE_VALUE;
    } else {
        bool data = s->state != LINE_SKIP && s->field == FIELD_DATA;
        n = line_rest(*in);
        if (data) { /* room first: what is counted belongs to the piece that it goes to */
            e = data_make_room(s);
            n = MIN(n, LIMIT_MESSAGE_BYTES - s->data.n);
        }
        s->wire_bytes += n;
        if (!e && s->state != LINE_SKIP) {
            s->state = LINE_VALUE;
            e = value_put(s, span_first(*in, n));
        }
    }
    *in = span_from(*in, n);
    return e;
}

static enum err lines_feed(struct event_stream *s, struct span in)
{
    enum err e = ERR_OK;
    while (!e && in.n > 0) {
        uint8_t c = in.p[0];
        bool passed_over = s->after_cr && c == '\n';
        s->after_cr = false;
        if (passed_over) {
            in = span_from(in, 1);
        } else if (c == '\r' || c == '\n') {
            /* The LF of a CRLF counts with its line when it is here already. */
            size_t n = c == '\r' && in.n > 1 && in.p[1] == '\n' ? 2 : 1;
            s->wire_bytes += n;
            s->after_cr = c == '\r' && n == 1;
            in = span_from(in, n);
            e = line_end(s);
        } else {
            e = line_bytes(s, &in);
        }
    }
    return e;
}

enum err event_stream_feed(struct event_stream *s, struct span in)
{
    while (s->bom_seen < sizeof bom && in.n > 0) {
        if (in.p[0] == bom[s->bom_seen]) {
            s->bom_seen++;
            in = span_from(in, 1);
            continue;
        }
        /* It was none: what looked like it begins a line. */
        for (size_t i = 0; i < s->bom_seen; i++) {
            s->wire_bytes++;
            enum err e = name_byte(s, bom[i]);
            if (e)
                return e;
        }
        s->bom_seen = sizeof bom;
    }
    return lines_feed(s, in);
}

enum err event_stream_create(struct event_stream **out, enum err (*event)(void *ctx, const struct stream_event *event),
                             void *ctx)
{
    struct event_stream *s = *out = mem_new(1, sizeof *s);
    if (!s)
        return ERR_NOMEM;
    s->event = event;
    s->ctx = ctx;
    event_reset(s);
    return ERR_OK;
}

void event_stream_destroy(struct event_stream **s)
{
    if (!*s)
        return;
    buf_free(&(*s)->value);
    buf_free(&(*s)->data);
    buf_free(&(*s)->type);
    buf_free(&(*s)->id);
    mem_free(*s);
    *s = NULL;
}
