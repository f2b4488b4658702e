/* play_ws.c: WebSockets. The server's messages are said again in recorded order, each after the client's message that it followed on the tape. What the client
 * says is read frame by frame and compared message by message, so that masks, fragments and compression do not count; pings are answered
 * at once, whatever the tape says.
 *
 * Invariants: `heard` holds what the client said and was not compared yet, as struct heard and its bytes; reading pauses while that is much. A row of the tape
 * stays borrowed until it is done with. Once a close frame was sent nothing follows. */
#include "replay/play.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "base/util.h"
#include "http/ws.h"
#include "replay/json.h"
#include "replay/miss.h"

struct heard {
    uint32_t kind; /* enum ws_kind */
    uint32_t last;
    uint32_t code;
    uint32_t n;
};

struct play_ws {
    struct ws *reader;
    struct play *play;
    struct buf heard, frame;
    struct tape_message row;
    bool sending;      /* a message of the server in pieces is under way */
    bool closed;       /* our close frame has gone out */
    uint64_t compared; /* client messages */
};

enum { CLOSE_PROTOCOL_ERROR = 1002, CLOSE_POLICY = 1008 };

static bool row_is(const struct play_ws *ws, enum ws_kind kind)
{
    return span_eq(ws->row.kind, span_str(ws_kind_word(kind)));
}

static bool row_is_data(const struct play_ws *ws)
{
    return row_is(ws, WS_TEXT) || row_is(ws, WS_BINARY);
}

/* ---- sending ---- */

static void give(struct play *p)
{
    struct event event = {.part = PART_BODY,
                          .at_ns = p->player->scheduler->now_ns(p->player->scheduler),
                          .data = buf_span(&p->ws->frame)};
    exchange_response(p->x, &event);
    buf_clear(&p->ws->frame);
}

static void out_of_memory(struct play *p)
{
    play_fail(p, ERR_NOMEM, err_text(ERR_NOMEM));
    play_enter(p, PLAY_END);
}

static void send_close(struct play *p, unsigned code, struct span reason)
{
    if (p->ws->closed)
        return;
    p->ws->closed = true;
    buf_clear(&p->ws->frame);
    if (ws_put(&p->ws->frame, WS_CLOSE, code, reason) == ERR_OK)
        give(p);
}

/* One row of the server's. */
static void send_row(struct play *p)
{
    struct play_ws *ws = p->ws;
    enum err e = ERR_OK;
    buf_clear(&ws->frame);
    if (row_is(ws, WS_CLOSE)) {
        send_close(p, ws->row.code, ws->row.payload);
        return;
    }
    if (row_is_data(ws)) {
        e = ws_put_head(&ws->frame, row_is(ws, WS_TEXT) ? WS_TEXT : WS_BINARY, !ws->sending, !ws->row.more,
                        ws->row.payload.n);
        if (!e)
            e = buf_put(&ws->frame, ws->row.payload);
        ws->sending = ws->row.more;
    } else if (row_is(ws, WS_PING)) {
        e = ws_put(&ws->frame, WS_PING, 0, span_first(ws->row.payload, 125));
    } else if (span_eq(ws->row.kind, SPAN("bytes"))) { /* behind a violation of its own */
        e = buf_put(&ws->frame, ws->row.payload);
    } else {
        return; /* pongs answer pings of now */
    }
    if (e)
        out_of_memory(p);
    else if (!ws->closed)
        give(p);
}

/* ---- hearing ---- */

static enum err on_message(void *ctx, const struct ws_message *m)
{
    struct play_ws *ws = ctx;
    struct heard heard = {m->kind, m->last, m->code, (uint32_t)m->data.n};
    if (m->kind == WS_PING && !ws->closed) {
        buf_clear(&ws->frame);
        enum err e = ws_put(&ws->frame, WS_PONG, 0, m->data);
        if (!e)
            give(ws->play);
        return e;
    }
    if (m->kind == WS_PING || m->kind == WS_PONG)
        return ERR_OK;
    enum err e = buf_put(&ws->heard, span_of(&heard, sizeof heard));
    return e ? e : buf_put(&ws->heard, m->data);
}

static bool front(const struct play_ws *ws, struct heard *heard, struct span *data)
{
    struct span all = buf_span(&ws->heard);
    if (all.n == 0)
        return false;
    memcpy(heard, all.p, sizeof *heard);
    *data = span_first(span_from(all, sizeof *heard), heard->n);
    return true;
}

static void forget_front(struct play *p, const struct heard *heard)
{
    buf_consume(&p->ws->heard, sizeof *heard + heard->n);
    play_pause_request(p, p->ws->heard.n >= LIMIT_SEND_LOW && p->request_paused);
}

/* False: the client's frames cannot be read. */
static bool listen(struct play *p)
{
    enum err e = p->said.n > 0 ? ws_feed(p->ws->reader, buf_span(&p->said)) : ERR_OK;
    buf_clear(&p->said);
    if (e == ERR_NOMEM) {
        out_of_memory(p);
    } else if (e) {
        const char *why = ws_error(p->ws->reader);
        send_close(p, CLOSE_PROTOCOL_ERROR, span_str(why));
        play_fail(p, ERR_PARSE, why[0] ? why : err_text(e));
        play_enter(p, PLAY_END);
    } else {
        play_pause_request(p, p->ws->heard.n >= LIMIT_SEND_HIGH);
    }
    return !e;
}

/* ---- comparing ---- */

static bool same_json(struct play *p, struct span a, struct span b)
{
    const struct matcher *m = p->player->matcher;
    uint64_t hash_a, hash_b;
    return json_hash(a, matcher_rules(m), matcher_hash_key(m), &p->player->scratch, &hash_a) == ERR_OK &&
           json_hash(b, matcher_rules(m), matcher_hash_key(m), &p->player->scratch, &hash_b) == ERR_OK &&
           hash_a == hash_b;
}

static bool same(struct play *p, const struct heard *heard, struct span data)
{
    const struct tape_message *row = &p->ws->row;
    bool last = heard->last != 0;
    if (!span_eq(row->kind, span_str(ws_kind_word((enum ws_kind)heard->kind))))
        return false;
    if (last == !row->more && span_eq(row->payload, data))
        return true;
    return last && !row->more && heard->kind == WS_TEXT && same_json(p, row->payload, data);
}

/* `row` NULL: the tape has nothing more of the client. */
static void differ(struct play *p, const struct tape_message *row, struct span data)
{
    struct miss_message miss = {.n = p->ws->compared + 1,
                                .recorded = row ? row->payload : SPAN_EMPTY,
                                .actual = data,
                                .reason = row ? MISS_DIFFERENT : MISS_EXHAUSTED};
    play_miss_message(p, &miss);
    send_close(p, CLOSE_POLICY, SPAN("ringtape: no recording matches this message"));
    play_fail(p, ERR_MISS,
              row ? "the client's message differs from the recording" : "the recording holds no such message");
    play_enter(p, PLAY_END);
}

static void row_done(struct play *p)
{
    p->has_message = false;
    /* What follows came so much later than this. */
    p->anchor_ns = p->player->scheduler->now_ns(p->player->scheduler);
    p->anchor_at_ns = MAX(p->ws->row.at_ns, 0);
}

/* The row is the client's: a message, or its close. */
static bool expect(struct play *p)
{
    struct play_ws *ws = p->ws;
    struct heard heard;
    struct span data;
    if (!front(ws, &heard, &data)) {
        if (!p->client_ended)
            return false;
        play_enter(p, PLAY_END);
        return true;
    }
    if (heard.kind == WS_CLOSE && !row_is(ws, WS_CLOSE)) { /* it leaves early, as it may leave a tunnel */
        send_close(p, heard.code, data);
        play_enter(p, PLAY_END);
        return true;
    }
    if (heard.kind != WS_CLOSE && !same(p, &heard, data)) {
        differ(p, row_is(ws, WS_CLOSE) ? NULL : &ws->row, data);
        return true;
    }
    ws->compared += heard.last && heard.kind != WS_CLOSE;
    forget_front(p, &heard);
    row_done(p);
    return true;
}

/* No row is left. */
static bool over(struct play *p)
{
    struct play_ws *ws = p->ws;
    struct heard heard;
    struct span data;
    bool heard_any = front(ws, &heard, &data);
    bool left = p->error == ERR_CLOSED || p->error == ERR_CANCELLED || p->error == ERR_SHUTDOWN;
    if (heard_any && heard.kind != WS_CLOSE && !ws->closed) {
        differ(p, NULL, data);
        return true;
    }
    if (heard_any && heard.kind == WS_CLOSE)
        send_close(p, heard.code, data);
    /* One that the client left, or the recording: the tape does not say that the origin ended it. */
    if (left && !ws->closed && !p->client_ended)
        return false;
    if (left)
        p->error = ERR_OK;
    play_enter(p, PLAY_END);
    return true;
}

/* ---- the play ---- */

enum err play_ws_begin(struct play *p)
{
    struct ws_extensions extensions;
    struct play_ws *ws = mem_new(1, sizeof *ws);
    if (!ws)
        return ERR_NOMEM;
    p->ws = ws;
    ws->play = p;
    ws_extensions_read(&extensions, &p->head.headers);
    return ws_create(&ws->reader, WS_CLIENT, &extensions, on_message, ws);
}

void play_ws_end(struct play *p)
{
    if (!p->ws)
        return;
    ws_destroy(&p->ws->reader);
    buf_free(&p->ws->heard);
    buf_free(&p->ws->frame);
    mem_free(p->ws);
    p->ws = NULL;
}

void play_ws_row(struct play *p, const struct tape_message *row)
{
    p->ws->row = *row;
    p->has_message = true;
}

static bool next_row(struct play *p, enum err *e)
{
    *e = tape_message_next(p->messages, &p->ws->row);
    p->has_message = *e == ERR_OK;
    return p->has_message;
}

bool play_ws_step(struct play *p)
{
    struct play_ws *ws = p->ws;
    enum err e = ERR_OK;
    if (!listen(p))
        return true;
    if (!p->has_message && !next_row(p, &e)) {
        if (e == ERR_NOT_FOUND)
            return over(p);
        play_fail(p, e, err_text(e));
        play_enter(p, PLAY_END);
        return true;
    }
    if (ws->row.from_client) {
        if (row_is_data(ws) || row_is(ws, WS_CLOSE))
            return expect(p);
        p->has_message = false;
        return true;
    }
    if (play_must_wait(p, ws->row.at_ns))
        return false;
    send_row(p);
    p->has_message = false;
    return true;
}
