/* messages.c: rows of `message` into HAR. A long message lies in several rows, with those of the other direction in between: it is written where it
 * begins, by a cursor of its own, and its other rows are passed over; so nothing is gathered in memory. */
#include "har/messages.h"

#include "base/text.h"
#include "base/util.h"
#include "har/out.h"
#include "http/mime.h"

struct walk {
    struct out *o;
    struct view *v;
    bool under_way[2]; /* by direction: the rest of a long message is still to be passed over */
};

/* The pieces of the message that begins at `seq`, one by one. */
struct pieces {
    struct tape_message_cursor *cursor;
    bool from_client, done;
};

static enum err pieces_open(struct pieces *p, const struct view *v, const struct tape_message *first)
{
    *p = (struct pieces){.from_client = first->from_client};
    return tape_messages_from(v->tape, v->flow->id, first->seq, &p->cursor);
}

/* ERR_NOT_FOUND at the end. */
static enum err pieces_next(struct pieces *p, struct tape_message *out)
{
    enum err e = p->done ? ERR_NOT_FOUND : ERR_OK;
    while (!e) {
        e = tape_message_next(p->cursor, out);
        if (!e && out->from_client == p->from_client && tape_message_is_content(out)) {
            p->done = !out->more;
            return ERR_OK;
        }
    }
    return e;
}

static enum err is_text(const struct view *v, const struct tape_message *first, bool *yes)
{
    struct pieces p;
    struct tape_message m;
    struct carry carry = {.n = 0};
    enum err e = pieces_open(&p, v, first);
    *yes = true;
    while (!e && *yes) {
        uint8_t scratch[8];
        struct span begin, rest;
        e = pieces_next(&p, &m);
        if (e)
            break;
        carry_utf8(&carry, m.payload, scratch, &begin, &rest);
        *yes = text_is_utf8(begin) && text_is_utf8(rest);
    }
    *yes = *yes && carry.n == 0;
    tape_message_cursor_close(&p.cursor);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

/* "data", and of an event what only its last row tells. */
static enum err put_data(struct walk *w, const struct tape_message *first, bool text)
{
    struct pieces p;
    struct tape_message m;
    enum err e = pieces_open(&p, w->v, first);
    out_key(w->o, "data");
    out_long_begin(w->o, text ? OUT_TEXT : OUT_BASE64);
    while (!e && !w->o->e) {
        e = pieces_next(&p, &m);
        if (!e)
            out_long_piece(w->o, m.payload);
    }
    out_long_end(w->o);
    tape_message_cursor_close(&p.cursor);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

static enum err last_piece(const struct walk *w, const struct tape_message *first, struct pieces *p,
                           struct tape_message *out)
{
    enum err e = pieces_open(p, w->v, first);
    while (!e)
        e = pieces_next(p, out);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

/* Seconds since 1970. */
static void put_time(struct walk *w, int64_t at_ns)
{
    uint64_t us = (w->v->flow->started_ns + (uint64_t)at_ns) / 1000;
    out_key(w->o, "time");
    out_printf(w->o, "%llu.%06llu", (unsigned long long)(us / 1000000), (unsigned long long)(us % 1000000));
    w->o->comma = true;
}

static enum err put_websocket(struct walk *w, const struct tape_message *m)
{
    bool text = span_eq(m->kind, SPAN("text")), as_text = false;
    enum err e = text ? is_text(w->v, m, &as_text) : ERR_OK;
    if (e)
        return e;
    out_open(w->o, '{');
    out_member_str(w->o, "type", m->from_client ? "send" : "receive");
    put_time(w, m->at_ns);
    out_member_u64(w->o, "opcode", text ? 1 : 2);
    e = put_data(w, m, as_text);
    if (text && !as_text)
        out_member_str(w->o, "_encoding", "base64"); /* not UTF-8: a violation of the protocol */
    out_close(w->o, '}');
    return e;
}

static enum err put_event(struct walk *w, const struct tape_message *m)
{
    bool as_text = false;
    struct pieces p = {.cursor = NULL};
    struct tape_message last = *m;
    enum err e = is_text(w->v, m, &as_text);
    if (!e)
        e = last_piece(w, m, &p, &last);
    if (!e) {
        out_open(w->o, '{');
        put_time(w, last.at_ns);
        out_member(w->o, "eventName", last.event.n > 0 ? last.event : SPAN("message"));
        out_member(w->o, "eventId", last.event_id);
        e = put_data(w, m, as_text);
        if (!as_text)
            out_member_str(w->o, "_encoding", "base64");
        out_close(w->o, '}');
    }
    tape_message_cursor_close(&p.cursor);
    return e;
}

static enum err put_one(struct walk *w, const struct tape_message *m, bool websocket)
{
    bool begins = !w->under_way[m->from_client];
    w->under_way[m->from_client] = m->more;
    if (!begins)
        return ERR_OK;
    return websocket ? put_websocket(w, m) : put_event(w, m);
}

static bool is_event_stream(const struct view *v)
{
    struct span type;
    return view_is_http(v) && headers_find(&v->response, SPAN("Content-Type"), &type) &&
           span_eq_nocase(mime_essence(type), SPAN("text/event-stream"));
}

void messages_har(struct out *o, struct view *v)
{
    struct walk w = {.o = o, .v = v};
    struct tape_message_cursor *cursor = NULL;
    struct tape_message m;
    bool websocket = span_eq(v->flow->kind, SPAN("websocket"));
    if (!websocket && !is_event_stream(v))
        return;
    out_key(o, websocket ? "_webSocketMessages" : "_eventSourceMessages");
    out_open(o, '[');
    enum err e = tape_messages(v->tape, v->flow->id, &cursor);
    while (!e && !o->e) {
        e = tape_message_next(cursor, &m);
        if (!e && tape_message_is_content(&m))
            e = put_one(&w, &m, websocket);
    }
    tape_message_cursor_close(&cursor);
    out_close(o, ']');
    if (e == ERR_CORRUPT)
        v->damaged = true;
    else if (e != ERR_NOT_FOUND && !o->e)
        o->e = e;
}
