/* play.c: gives the answer part by part, as fast as the client takes it and as slowly as the pace asks. Only the last part (PART_END, PART_ERROR) may
 * take the exchange away: the play is put back before it is given. */
#include "replay/play.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/util.h"
#include "replay/json.h"

#include <assert.h>

enum {
    PLAY_SPARES = 64,
    PLAY_TURN_BYTES = 262144, /* given before others have their turn */
};
#define PLAY_WAIT_MAX_NS (UINT64_C(86400) * NS_PER_S)

static const unsigned play_next[PLAY_STATES] = {
    [PLAY_COLLECT] = BIT(PLAY_INFORMATIONAL) | BIT(PLAY_END),
    [PLAY_INFORMATIONAL] = BIT(PLAY_HEAD) | BIT(PLAY_END),
    [PLAY_HEAD] = BIT(PLAY_TURNS) | BIT(PLAY_BODY) | BIT(PLAY_RAW) | BIT(PLAY_END),
    [PLAY_TURNS] = BIT(PLAY_BODY) | BIT(PLAY_END),
    [PLAY_BODY] = BIT(PLAY_TRAILERS) | BIT(PLAY_END),
    [PLAY_TRAILERS] = BIT(PLAY_END),
    [PLAY_RAW] = BIT(PLAY_END),
    [PLAY_END] = BIT(PLAY_END),
};

void play_enter(struct play *p, enum play_state to)
{
    assert(play_next[p->state] & BIT(to));
    p->state = to;
}

struct play *play_begin(struct player *player, struct exchange *x)
{
    struct list *spare = list_pop(&player->spare);
    struct play *p = spare ? container_of(spare, struct play, link) : mem_new(1, sizeof *p);
    if (!p)
        return NULL;
    if (spare)
        player->spares--;
    else
        list_init(&p->link);
    p->player = player;
    p->x = x;
    p->state = PLAY_COLLECT;
    task_init(&p->task, play_run);
    list_push(&player->live, &p->link);
    return p;
}

void play_free(struct play *p)
{
    head_free(&p->request);
    head_free(&p->head);
    headers_free(&p->trailers);
    content_free(&p->content);
    buf_free(&p->informational);
    buf_free(&p->canned);
    buf_free(&p->reason);
    buf_free(&p->said);
    mem_free(p);
}

/* What a spare keeps are blocks of memory. */
static void play_reset(struct play *p)
{
    struct play kept = {.link = p->link,
                        .request = p->request,
                        .head = p->head,
                        .trailers = p->trailers,
                        .content = p->content,
                        .informational = p->informational,
                        .canned = p->canned,
                        .reason = p->reason,
                        .said = p->said};
    *p = kept;
    list_init(&p->link);
    head_clear(&p->request, HEAD_REQUEST);
    head_clear(&p->head, HEAD_RESPONSE);
    headers_clear(&p->trailers);
    buf_clear(&p->informational);
    buf_clear(&p->canned);
    buf_clear(&p->reason);
    buf_clear(&p->said);
    content_free(&p->content);
    if (p->said.cap > LIMIT_SEND_LOW)
        buf_free(&p->said);
}

void play_end(struct play *p)
{
    struct player *player = p->player;
    player->scheduler->stop(player->scheduler, &p->task);
    p->x->origin_state = NULL;
    tape_body_close(&p->body);
    tape_message_cursor_close(&p->messages);
    play_ws_end(p);
    play_turns_end(p);
    list_remove(&p->link);
    if (player->spares >= PLAY_SPARES) {
        play_free(p);
        return;
    }
    play_reset(p);
    list_push_front(&player->spare, &p->link);
    player->spares++;
}

void play_wake(struct play *p, uint64_t delay_ns)
{
    p->player->scheduler->start(p->player->scheduler, &p->task, delay_ns);
}

static uint64_t play_now(const struct play *p)
{
    return p->player->scheduler->now_ns(p->player->scheduler);
}

bool play_must_wait(struct play *p, int64_t at_ns)
{
    double pace = matcher_rules(p->player->matcher)->pace;
    if (pace <= 0 || at_ns <= p->anchor_at_ns)
        return false;
    double later = (double)(at_ns - p->anchor_at_ns) * pace;
    uint64_t due = p->anchor_ns + (later < (double)PLAY_WAIT_MAX_NS ? (uint64_t)later : PLAY_WAIT_MAX_NS);
    uint64_t now = play_now(p);
    if (due <= now)
        return false;
    play_wake(p, due - now);
    return true;
}

void play_fail(struct play *p, enum err e, const char *reason)
{
    p->error = e;
    p->hold = false;
    buf_clear(&p->reason);
    if (buf_put_str(&p->reason, reason) || !buf_cstr(&p->reason))
        buf_clear(&p->reason);
}

static void play_continue(struct play *p)
{
    struct head head = HEAD_INIT;
    struct event event = {.part = PART_INFORMATIONAL, .at_ns = play_now(p), .head = &head};
    p->expects = false;
    head_clear(&head, HEAD_RESPONSE);
    head.status = 100;
    if (head_set(&head, &head.reason, SPAN("Continue")) == ERR_OK &&
        head_set(&head, &head.version, SPAN("HTTP/1.1")) == ERR_OK)
        exchange_response(p->x, &event);
    head_free(&head);
}

/* [status, reason, fields, offset_ns] into a head. False: it is none that can be told again (100 was ours to say). */
static bool read_informational(struct play *p, struct span element, struct head *head, int64_t *at_ns)
{
    struct span parts[4], rest = element;
    uint64_t status, at;
    struct buf reason = BUF_INIT;
    for (size_t i = 0; i < ARRAY_LEN(parts); i++)
        if (!json_element_next(&rest, &parts[i]))
            return false;
    if (!span_to_u64(parts[0], 199, &status) || status < 102)
        return false;
    head_clear(head, HEAD_RESPONSE);
    head->status = (unsigned)status;
    enum err e = tape_headers(parts[2], &head->headers);
    if (!e)
        e = json_unquote(parts[1], &reason);
    if (!e)
        e = head_set(head, &head->reason, buf_span(&reason));
    if (!e)
        e = head_set(head, &head->version, head_span(&p->head, p->head.version));
    *at_ns = span_to_u64(parts[3], INT64_MAX, &at) ? (int64_t)at : -1;
    buf_free(&reason);
    return !e;
}

static bool step_informational(struct play *p)
{
    struct span before = p->informational_rest, element;
    struct head head = HEAD_INIT;
    int64_t at_ns;
    if (!json_element_next(&p->informational_rest, &element)) {
        play_enter(p, p->head.status != 0 ? PLAY_HEAD : PLAY_END);
        return true;
    }
    bool go_on = true;
    if (read_informational(p, element, &head, &at_ns)) {
        if (play_must_wait(p, at_ns)) {
            p->informational_rest = before;
            go_on = false;
        } else {
            struct event event = {.part = PART_INFORMATIONAL, .at_ns = play_now(p), .head = &head};
            exchange_response(p->x, &event);
        }
    }
    head_free(&head);
    return go_on;
}

static bool step_head(struct play *p)
{
    if (play_must_wait(p, p->begin_at_ns))
        return false;
    bool empty = p->no_body || (p->body_ref.bytes == 0 && p->canned.n == 0 && !p->error);
    struct event event = {
        .part = PART_HEAD, .at_ns = play_now(p), .head = &p->head, .no_body = !p->raw && empty && p->trailers.n == 0};
    if (p->raw && p->x->kind == FLOW_HTTP && p->head.status == 101)
        exchange_set_kind(p->x, p->kind);
    play_enter(p, p->raw ? PLAY_RAW : p->turns && !event.no_body ? PLAY_TURNS : PLAY_BODY);
    exchange_response(p->x, &event);
    return true;
}

enum err play_read_piece(struct play *p)
{
    if (p->no_body)
        return ERR_NOT_FOUND;
    if (p->canned.n > 0) {
        p->piece = buf_span(&p->canned);
        p->piece_at_ns = -1;
        buf_clear(&p->canned); /* the block stays */
        return ERR_OK;
    }
    if (p->body_ref.id == 0)
        return ERR_NOT_FOUND;
    enum err e = p->body ? ERR_OK : tape_body_open(p->tape, &p->body_ref, &p->body);
    return e ? e : tape_body_next(p->body, &p->piece, &p->piece_at_ns);
}

static bool step_body(struct play *p)
{
    if (p->piece.n == 0) {
        enum err e = play_read_piece(p);
        if (e) {
            tape_body_close(&p->body);
            if (e != ERR_NOT_FOUND)
                play_fail(p, e, "the recorded body cannot be read");
            play_enter(p, e == ERR_NOT_FOUND ? PLAY_TRAILERS : PLAY_END);
            return true;
        }
        if (p->piece.n == 0)
            return true;
    }
    if (play_must_wait(p, p->piece_at_ns))
        return false;
    struct event event = {.part = PART_BODY, .at_ns = play_now(p), .data = p->piece};
    p->piece = SPAN_EMPTY;
    exchange_response(p->x, &event);
    return true;
}

static bool step_trailers(struct play *p)
{
    if (play_must_wait(p, p->end_at_ns))
        return false;
    play_enter(p, PLAY_END);
    if (p->trailers.n > 0 && !p->no_body && !p->error) {
        struct event event = {.part = PART_TRAILERS, .at_ns = play_now(p), .trailers = &p->trailers};
        exchange_response(p->x, &event);
    }
    return true;
}

/* The last part. The play is gone afterwards. */
static void finish(struct play *p)
{
    struct exchange *x = p->x;
    struct event event = {
        .part = p->error ? PART_ERROR : PART_END, .at_ns = play_now(p), .error = p->error, .reason = ""};
    struct buf reason = p->reason;
    const char *text = p->error && reason.n > 0 ? buf_cstr(&reason) : NULL;
    p->reason = BUF_INIT;
    if (p->error)
        event.reason = text ? text : err_text(p->error);
    bool half_closed = p->half_closed;
    play_end(p);
    if (half_closed)
        exchange_let_go(x);
    else
        exchange_response(x, &event);
    buf_free(&reason);
}

void play_run(struct task *task)
{
    struct play *p = container_of(task, struct play, task);
    if (p->state == PLAY_COLLECT) {
        bool expects = p->expects && !p->request_ended;
        if (expects)
            play_continue(p);
        if (p->turns && expects)
            play_turns_watch(p);
        else if (p->turns)
            play_turns_quiet(p);
        return;
    }
    uint64_t before = p->x->response_bytes;
    bool go_on = true;
    while (go_on && !p->paused) {
        if (p->x->response_bytes - before > PLAY_TURN_BYTES) {
            play_wake(p, 0);
            return;
        }
        switch (p->state) {
        case PLAY_INFORMATIONAL:
            go_on = step_informational(p);
            break;
        case PLAY_HEAD:
            go_on = step_head(p);
            break;
        case PLAY_TURNS:
            go_on = play_turns_step(p);
            break;
        case PLAY_BODY:
            go_on = step_body(p);
            break;
        case PLAY_TRAILERS:
            go_on = step_trailers(p);
            break;
        case PLAY_RAW:
            go_on = play_raw_step(p);
            break;
        case PLAY_END:
            if (p->hold)
                return; /* until cancel() */
            /* A failed connection took its time, too. */
            if (p->error && p->head.status == 0 && play_must_wait(p, p->begin_at_ns))
                return;
            finish(p);
            return;
        case PLAY_COLLECT:
        case PLAY_STATES:
            return;
        }
    }
}
