/* play_raw.c: tunnels and upgraded connections. What the origin said is said again, each piece after as many client bytes as it came after on the
 * tape. In a tunnel the client must say the same bytes. The frames of a WebSocket that was recorded as bytes (its extension was not known, or the tape is of version 1)
 * are masked anew in every run: there only their number counts. */
#include "replay/play.h"

#include "base/limits.h"
#include "base/util.h"
#include "replay/miss.h"

void play_pause_request(struct play *p, bool pause)
{
    if (p->request_paused == pause)
        return;
    p->request_paused = pause;
    exchange_pause_request(p->x, pause);
}

void play_raw_said(struct play *p, struct span bytes)
{
    if (p->state == PLAY_END)
        return;
    if (buf_put(&p->said, bytes)) {
        play_fail(p, ERR_NOMEM, err_text(ERR_NOMEM));
        play_enter(p, PLAY_END);
        play_wake(p, 0);
    } else if (p->said.n >= LIMIT_SEND_HIGH)
        play_pause_request(p, true);
    if (p->state == PLAY_RAW)
        play_wake(p, 0);
}

static void differ(struct play *p, size_t at)
{
    struct player *player = p->player;
    struct span said = buf_span(&p->said);
    buf_clear(&player->json);
    buf_clear(&player->line);
    enum err e = miss_explain_bytes(player->matcher, &p->request, &p->match, p->said_bytes + at,
                                    span_from(p->payload, at), span_from(said, at), &player->json, &player->line);
    matcher_count_miss(player->matcher, p->x->track);
    if (!e) {
        matcher_keep_miss(player->matcher, buf_span(&player->json), buf_span(&player->line));
        const char *line = buf_cstr(&player->line);
        log_write(player->log, LOG_WARN, "miss", "%s", line ? line : "");
    }
    play_fail(p, ERR_MISS, "the client's bytes differ from the recording");
    play_enter(p, PLAY_END);
}

/* True: some were compared. */
static bool take_said(struct play *p)
{
    struct span said = buf_span(&p->said);
    size_t n = MIN(said.n, p->payload.n);
    if (p->kind != FLOW_WEBSOCKET && memcmp(said.p, p->payload.p, n) != 0) {
        size_t at = 0;
        while (said.p[at] == p->payload.p[at])
            at++;
        differ(p, at);
        return true;
    }
    p->payload = span_from(p->payload, n);
    p->said_bytes += n;
    buf_consume(&p->said, n);
    if (p->said.n < LIMIT_SEND_LOW)
        play_pause_request(p, false);
    if (p->payload.n == 0) { /* what follows came so much later than this */
        p->anchor_ns = p->player->scheduler->now_ns(p->player->scheduler);
        p->anchor_at_ns = MAX(p->message_at_ns, 0);
    }
    return true;
}

static enum err next_message(struct play *p)
{
    struct tape_message m;
    enum err e = p->messages ? ERR_OK : tape_messages(p->tape, p->match.flow, &p->messages);
    if (!e)
        e = tape_message_next(p->messages, &m);
    if (e)
        return e;
    if (!span_eq(m.kind, SPAN("bytes"))) {
        if (p->kind != FLOW_WEBSOCKET || p->said_bytes > 0)
            return ERR_UNSUPPORTED;
        e = play_ws_begin(p);
        if (!e)
            play_ws_row(p, &m);
        return e;
    }
    p->has_message = true;
    p->from_client = m.from_client;
    p->payload = m.payload;
    p->message_at_ns = m.at_ns;
    return ERR_OK;
}

bool play_raw_step(struct play *p)
{
    if (p->ws)
        return play_ws_step(p);
    if (!p->has_message) {
        enum err e = next_message(p);
        if (e) {
            if (e == ERR_NOT_FOUND && !p->error && p->x->response_bytes < p->told_bytes)
                play_fail(p, ERR_TRUNCATED, "the tape does not hold all bytes of this tunnel (--max-body)");
            else if (e != ERR_NOT_FOUND)
                play_fail(p, e, e == ERR_UNSUPPORTED ? "the recording holds frames, not bytes" : err_text(e));
            play_enter(p, PLAY_END);
            return true;
        }
        if (p->ws)
            return true;
    }
    if (p->payload.n == 0) {
        p->has_message = false;
        return true;
    }
    if (p->from_client) {
        /* Said after the origin's FIN: the client may be waiting for that. */
        if (p->tunnel && !p->half_closed && p->end_at_ns >= 0 && p->message_at_ns > p->end_at_ns)
            p->half_closed = exchange_half_close(p->x);
        if (p->said.n > 0)
            return take_said(p);
        if (!p->client_ended)
            return false;
        play_enter(p, PLAY_END);
        return true;
    }
    if (play_must_wait(p, p->message_at_ns))
        return false;
    struct event event = {.part = PART_BODY,
                          .at_ns = p->player->scheduler->now_ns(p->player->scheduler),
                          .data = span_first(p->payload, LIMIT_CHUNK_BYTES)};
    p->payload = span_from(p->payload, event.data.n);
    exchange_response(p->x, &event);
    return true;
}
