/* play_turns.c: gRPC calls whose client waits for answers before it says more. Such a request has no key before its end, and its end does not come before the
 * answers; so it is known by what it begins with. While it is collected, a sum over its messages is looked up (matcher_turn()). Where only one recording began so
 * and was answered by now, that is it; where several did, the client has to be quiet for a moment first, since it may say more by which to tell them apart.
 * From then on each of the server's messages is said after the client's that it followed on the tape, and what the client says is compared message by message.
 * A request that ends before that is known by its whole body, as any other.
 *
 * Invariants: `heard` holds what the client said and was not compared yet, as struct heard and its bytes; after the match reading pauses while that is much.
 * A row of the tape stays borrowed until it is done with. Rows tell when and how much: what is sent are the bytes of the recorded body. */
#include "replay/play.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "base/limits.h"
#include "base/util.h"
#include "replay/miss.h"
#include "replay/turns.h"

struct heard {
    uint32_t last;
    uint32_t n;
};

struct play_turns {
    struct grpc *reader;
    struct turns_said said;
    uint64_t said_ns;  /* when the last message, or the head, had come */
    struct turn_at at; /* what was said, as far as recordings are known */
    enum turn turn;    /* whose it was then */
    struct buf heard;  /* said since, while it was the origin's */

    /* after the match */
    uint64_t need;     /* messages before the answer begins */
    uint64_t verified; /* messages that were said and need no comparing any more */
    uint64_t done;     /* the client's rows, whole messages, that lie behind */
    struct tape_message row;
    uint64_t owed; /* bytes of the body that it is time for */
    int64_t request_end_ns;
    bool cut;       /* the tape does not hold all of the client's messages */
    bool left;      /* by the client, or by the recording: the tape does not say that the origin ended it */
    bool after_end; /* what is said now was said when the request had ended */
};

static void fail(struct play *p, enum err e, const char *reason)
{
    play_pause_request(p, false);
    play_fail(p, e, reason);
    play_enter(p, PLAY_END);
}

static uint64_t now_of(const struct play *p)
{
    return p->player->scheduler->now_ns(p->player->scheduler);
}

/* ---- before the match ---- */

static void look(struct play *p)
{
    struct play_turns *t = p->turns;
    struct turn_at at = {t->at.head, t->said.messages, t->said.sum};
    enum turn turn = matcher_turn(p->player->matcher, &at);
    if (turn == TURN_BEYOND || t->turn == TURN_LOST)
        return; /* what was due is, and what has come since can be compared */
    t->at = at;
    t->turn = turn;
    buf_clear(&t->heard);
}

void play_turns_watch(struct play *p)
{
    if (p->expects) /* the task is to say 100 (Continue) first */
        return;
    switch (p->turns->turn) {
    case TURN_ORIGIN:
        play_wake(p, 0); /* what has come along with it is heard first */
        break;
    case TURN_EITHER:
    case TURN_LOST:
        play_wake(p, LIMIT_REPLAY_TURN_MS * NS_PER_MS);
        break;
    case TURN_CLIENT:
    case TURN_BEYOND:
        p->player->scheduler->stop(p->player->scheduler, &p->task);
        break;
    }
}

void play_turns_quiet(struct play *p)
{
    struct play_turns *t = p->turns;
    if (p->matched || t->turn == TURN_CLIENT)
        return;
    enum turn_taken taken = TURN_FOREIGN;
    if (t->turn != TURN_LOST)
        taken = matcher_turn_take(p->player->matcher, &t->at, p->x->track, &p->match);
    if (taken == TURN_TAKEN)
        play_match_taken(p);
    else if (taken != TURN_NOT_YET)
        play_match_none(p, taken == TURN_EXHAUSTED ? MISS_EXHAUSTED : MISS_DIFFERENT);
}

static enum err on_message(void *ctx, const struct grpc_message *m)
{
    struct play *p = ctx;
    struct play_turns *t = p->turns;
    bool whole = turns_said_add(&t->said, m);
    enum err e = ERR_OK;
    if (whole)
        t->said_ns = now_of(p);
    if (!p->collect) { /* the rules compare no bodies */
        t->verified += whole;
        return ERR_OK;
    }
    if (p->matched || t->turn == TURN_ORIGIN || t->turn == TURN_EITHER) {
        struct heard heard = {m->last, (uint32_t)m->data.n};
        e = buf_put(&t->heard, span_of(&heard, sizeof heard));
        if (!e)
            e = buf_put(&t->heard, m->data);
    }
    if (!p->matched && whole)
        look(p);
    /* More than can be kept: it is the client's turn until it is known again. */
    if (!p->matched && t->heard.n >= LIMIT_SEND_HIGH) {
        t->turn = TURN_CLIENT;
        buf_clear(&t->heard);
    }
    return e;
}

enum err play_turns_begin(struct play *p)
{
    const struct matcher *m = p->player->matcher;
    struct key_request r;
    struct key head;
    if (!matcher_has_turns(m) || !turns_spoken(&p->request.headers))
        return ERR_OK;
    play_key_request(p, &r);
    enum err e = key_compute(&head, matcher_rules(m), matcher_hash_key(m), &r, &p->player->scratch);
    if (e || (p->collect && !matcher_knows_turns(m, head.all)))
        return e;
    struct play_turns *t = mem_new(1, sizeof *t);
    if (!t)
        return ERR_NOMEM;
    p->turns = t;
    t->at.head = head.all;
    t->turn = TURN_CLIENT;
    t->said_ns = now_of(p);
    turns_said_begin(&t->said, matcher_hash_key(m));
    e = grpc_create(&t->reader, &p->request.headers, on_message, p);
    if (e || !p->collect)
        return e;
    look(p);
    play_turns_watch(p);
    return ERR_OK;
}

void play_turns_end(struct play *p)
{
    struct play_turns *t = p->turns;
    if (!t)
        return;
    grpc_destroy(&t->reader);
    buf_free(&t->heard);
    mem_free(t);
    p->turns = NULL;
}

void play_turns_said(struct play *p, struct span bytes)
{
    struct play_turns *t = p->turns;
    if (p->state > PLAY_TURNS)
        return;
    enum err e = grpc_feed(t->reader, bytes);
    if (e && e != ERR_NOMEM && !p->matched) {
        p->player->scheduler->stop(p->player->scheduler, &p->task);
        play_turns_end(p); /* its end will tell */
        if (p->expects)
            play_wake(p, 0);
    } else if (e) {
        fail(p, e, e == ERR_NOMEM ? err_text(e) : "the client's gRPC messages cannot be read");
        play_wake(p, 0);
    } else if (!p->matched) {
        play_turns_watch(p);
    } else if (p->state == PLAY_COLLECT) {
        play_match(p);
    } else {
        play_pause_request(p, t->heard.n >= LIMIT_SEND_HIGH);
        play_wake(p, 0);
    }
}

/* ---- the match ---- */

/* The row says how it ended. */
enum err play_turns_flow(struct play *p, const struct tape_flow *f)
{
    struct play_turns *t = p->turns;
    if (!matcher_turn_of(p->player->matcher, &p->match, &t->need) || p->raw) {
        play_turns_end(p);
        return ERR_OK;
    }
    t->verified = t->at.messages;
    t->request_end_ns = f->request_end_ns;
    t->cut = f->request_body.wire_bytes > f->request_body.bytes;
    t->left = (p->error == ERR_CLOSED || p->error == ERR_CANCELLED || p->error == ERR_SHUTDOWN) &&
              f->response_body.wire_bytes == f->response_body.bytes;
    return tape_messages(p->tape, p->match.flow, &p->messages);
}

bool play_turns_may_begin(const struct play *p)
{
    return !p->turns || p->turns->verified >= p->turns->need;
}

static bool next_row(struct play *p)
{
    enum err e = ERR_OK;
    if (!p->has_message)
        e = tape_message_next(p->messages, &p->turns->row);
    p->has_message = !e;
    if (e && e != ERR_NOT_FOUND)
        fail(p, e, err_text(e));
    return !e;
}

/* The client's, and said. What follows came so much later than this. */
static void row_done(struct play *p, uint64_t at_ns)
{
    struct play_turns *t = p->turns;
    p->has_message = false;
    p->anchor_ns = at_ns;
    p->anchor_at_ns = t->row.at_ns;
    t->done += !t->row.more;
}

/* The answer came so much later than the messages before it, which were said a moment ago. */
void play_turns_start(struct play *p)
{
    struct play_turns *t = p->turns;
    p->anchor_ns = t->said_ns;
    while (t->done < t->need && next_row(p) && t->row.from_client) {
        t->verified -= !t->row.more && t->verified > 0;
        row_done(p, t->said_ns);
    }
}

/* ---- comparing ---- */

static bool front(const struct play_turns *t, struct heard *heard, struct span *data)
{
    struct span all = buf_span(&t->heard);
    if (all.n == 0)
        return false;
    memcpy(heard, all.p, sizeof *heard);
    *data = span_first(span_from(all, sizeof *heard), heard->n);
    return true;
}

/* Of a row that --max-body cut, what is there counts. */
static bool same(const struct play_turns *t, const struct heard *heard, struct span data)
{
    struct span row = t->row.payload;
    if ((heard->last != 0) == t->row.more)
        return false;
    return span_eq(row, data) || (t->cut && row.n < t->row.wire_bytes && row.n < data.n && span_starts_with(data, row));
}

/* `row` NULL: the tape has nothing more of the client; `data` NULL: the client ended its request. */
static void differ(struct play *p, const struct tape_message *row, const struct span *data)
{
    struct miss_message miss = {.n = p->turns->done + 1,
                                .recorded = row ? row->payload : SPAN_EMPTY,
                                .actual = data ? *data : SPAN_EMPTY,
                                .ended = !data,
                                .reason = row ? MISS_DIFFERENT : MISS_EXHAUSTED};
    play_miss_message(p, &miss);
    fail(p, ERR_MISS,
         !data ? "the client ended its request before the recording does"
         : row ? "the client's message differs from the recording"
               : "the recording holds no such message");
}

/* The row is the client's. */
static bool expect(struct play *p)
{
    struct play_turns *t = p->turns;
    struct heard heard;
    struct span data;
    bool heard_any = front(t, &heard, &data), counted = t->verified > 0;
    if (!counted && !heard_any && !p->request_ended)
        return false;
    if (!counted && p->collect && !heard_any) {
        differ(p, &t->row, NULL);
        return true;
    }
    if (!counted && p->collect && !same(t, &heard, data)) {
        differ(p, &t->row, &data);
        return true;
    }
    if (counted) {
        t->verified -= !t->row.more;
    } else if (p->collect) {
        buf_consume(&t->heard, sizeof heard + heard.n);
        play_pause_request(p, t->heard.n >= LIMIT_SEND_LOW && p->request_paused);
    }
    row_done(p, now_of(p));
    return true;
}

/* Was that said when the request had ended, and has it not now? */
static bool must_end(struct play *p, int64_t at_ns)
{
    struct play_turns *t = p->turns;
    if (t->request_end_ns < 0 || at_ns <= t->request_end_ns)
        return false;
    if (p->request_ended && !t->after_end) {
        t->after_end = true;
        p->anchor_ns = now_of(p);
        p->anchor_at_ns = MAX(p->anchor_at_ns, t->request_end_ns);
    }
    return !t->after_end || t->heard.n > 0;
}

/* The request has to end, but the client may say one message too many. */
static bool expect_end(struct play *p)
{
    struct heard heard;
    struct span data;
    if (!front(p->turns, &heard, &data))
        return false;
    differ(p, NULL, &data);
    return true;
}

/* ---- saying ---- */

static bool give(struct play *p)
{
    struct play_turns *t = p->turns;
    if (p->piece.n == 0) {
        enum err e = play_read_piece(p);
        if (e == ERR_NOT_FOUND && !t->left) {
            play_pause_request(p, false);
            play_enter(p, PLAY_BODY); /* --max-body cut it: the client would wait for ever */
        } else if (e) {
            fail(p, e, "the recorded body cannot be read");
        }
        return true;
    }
    struct event event = {.part = PART_BODY,
                          .at_ns = now_of(p),
                          .data = span_first(p->piece, (size_t)MIN(t->owed, (uint64_t)p->piece.n))};
    p->piece = span_from(p->piece, event.data.n);
    t->owed -= event.data.n;
    exchange_response(p->x, &event);
    return true;
}

/* No row is left. What is left of the body belongs to no message; an origin that ended before the client listened to nothing more. */
static bool over(struct play *p)
{
    struct play_turns *t = p->turns;
    bool waits = t->left && (!p->request_ended || t->request_end_ns >= 0);
    if (must_end(p, p->end_at_ns) || (waits && t->heard.n > 0))
        return expect_end(p);
    if (waits)
        return false;
    play_pause_request(p, false);
    play_enter(p, PLAY_BODY);
    return true;
}

bool play_turns_step(struct play *p)
{
    struct play_turns *t = p->turns;
    if (t->owed > 0)
        return give(p);
    if (!next_row(p))
        return p->state == PLAY_END || over(p);
    if (!span_eq(t->row.kind, SPAN("grpc"))) {
        p->has_message = false;
        return true;
    }
    if (t->row.from_client)
        return expect(p);
    if (must_end(p, t->row.at_ns))
        return expect_end(p);
    if (play_must_wait(p, t->row.at_ns))
        return false;
    t->owed = t->row.wire_bytes;
    p->has_message = false;
    return true;
}
