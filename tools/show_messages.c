/* show_messages.c: the messages of a flow as a conversation: when, which way, what kind, how long, and how it begins. */
#include "tools/show.h"

#include "base/clock.h"
#include "base/text.h"

enum { SHOWN_MESSAGES = 200, SHOWN_TEXT_BYTES = 160, SHOWN_HEX_BYTES = 24 };

#define PUT(e, call)                                                                                                   \
    do {                                                                                                               \
        if (!(e))                                                                                                      \
            (e) = (call);                                                                                              \
    } while (0)

static enum err put_hex(struct buf *out, struct span bytes)
{
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < bytes.n && i < SHOWN_HEX_BYTES; i++)
        e = buf_printf(out, "%02x", bytes.p[i]);
    return e ? e : buf_put_str(out, bytes.n > SHOWN_HEX_BYTES ? "..." : "");
}

static enum err put_payload(struct buf *out, const struct tape_message *m)
{
    struct span begin = span_first(m->payload, SHOWN_TEXT_BYTES);
    struct span text = span_first(begin, text_utf8_prefix(begin));
    bool cut = begin.n < m->payload.n || m->more;
    if (m->payload.n == 0)
        return ERR_OK;
    enum err e = buf_put_str(out, "  ");
    if (text.n + (cut ? 3 : 0) < begin.n || span_eq(m->kind, SPAN("binary")))
        return e ? e : put_hex(out, m->payload);
    PUT(e, text_escape_terminal(out, text));
    PUT(e, buf_put_str(out, cut ? "..." : ""));
    return e;
}

/* All pieces of the message that begins with `first`. */
static enum err message_bytes(const struct show *s, const struct tape_message *first, uint64_t *bytes)
{
    struct tape_message_cursor *cursor = NULL;
    struct tape_message m;
    bool more = first->more, from_client = first->from_client;
    enum err e = more ? tape_messages_from(s->tape, s->flow->id, first->seq + 1, &cursor) : ERR_OK;
    *bytes = first->payload.n;
    while (!e && more) {
        e = tape_message_next(cursor, &m);
        if (!e && m.from_client == from_client && tape_message_is_content(&m)) {
            *bytes += m.payload.n;
            more = m.more;
        }
    }
    tape_message_cursor_close(&cursor);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

static enum err put_message(const struct show *s, const struct tape_message *m, struct buf *out)
{
    uint64_t bytes = 0;
    const char *bold = s->colours ? "\033[1m" : "", *plain = s->colours ? "\033[0m" : "";
    enum err e = buf_printf(out, "%10.3f ms  %s%s%s  ", (double)m->at_ns / (double)NS_PER_MS, bold,
                            m->from_client ? "->" : "<-", plain);
    PUT(e, text_escape_terminal(out, m->kind));
    PUT(e, buf_put_byte(out, ' '));
    if (m->code > 0)
        PUT(e, buf_printf(out, "%u ", m->code));
    if (m->event.n > 0)
        PUT(e, text_escape_terminal(out, m->event));
    if (m->has_event_id) {
        PUT(e, buf_put_str(out, " #"));
        PUT(e, text_escape_terminal(out, m->event_id));
    }
    if (m->retry_ms >= 0)
        PUT(e, buf_printf(out, " retry %lld ms", (long long)m->retry_ms));
    PUT(e, buf_put_byte(out, ' '));
    PUT(e, message_bytes(s, m, &bytes));
    PUT(e, text_bytes(out, bytes));
    PUT(e, put_payload(out, m));
    PUT(e, buf_put_byte(out, '\n'));
    return e;
}

enum err show_conversation(struct show *s, struct buf *out)
{
    struct tape_message_cursor *cursor = NULL;
    struct tape_message m;
    unsigned n = 0;
    bool under_way[2] = {false, false}; /* by direction: the rest of a long one follows */
    enum err e = tape_messages(s->tape, s->flow->id, &cursor);
    while (!e && n <= SHOWN_MESSAGES) {
        e = tape_message_next(cursor, &m);
        if (!e && tape_message_is_content(&m)) {
            bool rest = under_way[m.from_client];
            under_way[m.from_client] = m.more;
            if (rest)
                continue;
        }
        if (!e && n == 0)
            e = buf_put_byte(out, '\n');
        if (!e && n == SHOWN_MESSAGES)
            e = buf_printf(out, "... (the first %d messages; --messages writes all)\n", SHOWN_MESSAGES);
        else
            PUT(e, put_message(s, &m, out));
        n++;
    }
    tape_message_cursor_close(&cursor);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}
