/* play.h: one exchange that is answered from a tape. Internal to replay/.
 *
 *   COLLECT ──> INFORMATIONAL ──> HEAD ──> BODY ──> TRAILERS ──> END ──> (let go)
 *      │                           ├─> TURNS ^                   ^ ^
 *      │                           └─────> RAW ──────────────────┘ │
 *      └───────────────────────────────────────────────────────────┘   (PART_ERROR at once)
 *
 * COLLECT takes the request; the rest is driven by `task` alone, so that nothing is ever answered inside open() or request(). */
#ifndef RINGTAPE_REPLAY_PLAY_H
#define RINGTAPE_REPLAY_PLAY_H

#include "replay/content.h"
#include "replay/player.h"

enum play_state {
    PLAY_COLLECT,
    PLAY_INFORMATIONAL,
    PLAY_HEAD,
    PLAY_TURNS,
    PLAY_BODY,
    PLAY_TRAILERS,
    PLAY_RAW,
    PLAY_END,
    PLAY_STATES
};

struct player {
    struct origin origin;
    struct matcher *matcher;
    struct scheduler *scheduler;
    const struct log *log;
    struct tape **tapes;
    size_t tapes_n;
    struct key_scratch scratch;
    struct buf json, line;   /* room */
    struct list live, spare; /* plays */
    size_t spares;
    struct list questions; /* probes */
};

struct miss_message;

struct play {
    struct list link;
    struct player *player;
    struct exchange *x;
    struct task task;
    enum play_state state;
    bool paused;         /* the client takes nothing more for now */
    bool request_paused; /* we asked for that */

    /* the request */
    struct head request;
    struct content content;
    bool tunnel;  /* it began as one */
    bool collect; /* the body is part of the key */
    bool request_ended;
    bool expects; /* 100 (Continue) is still to be said */
    bool matched;

    /* the answer */
    struct match match;
    struct tape *tape;
    struct head head;
    struct headers trailers;
    struct buf informational, canned, reason;
    struct span informational_rest;
    struct tape_body_ref body_ref;
    struct tape_body *body;
    struct span piece; /* read and not yet given */
    int64_t piece_at_ns;
    bool no_body;   /* HEAD, 204, 304 */
    bool early;     /* the recorded answer began before its request had ended */
    bool hold;      /* does not end by itself: the client is waited for, which ended the recorded one */
    enum err error; /* how it ends; ERR_OK: with PART_END */

    /* time: what was recorded at anchor_at_ns happened now at anchor_ns */
    uint64_t anchor_ns;
    int64_t anchor_at_ns, begin_at_ns, end_at_ns;

    /* tunnels and upgrades */
    enum flow_kind kind;
    bool raw, client_ended;
    bool half_closed; /* the origin had finished before its client had */
    struct tape_message_cursor *messages;
    bool has_message, from_client;
    struct span payload; /* what is left of the message in hand */
    int64_t message_at_ns;
    struct buf said;     /* by the client, not yet compared */
    uint64_t said_bytes; /* compared so far */
    uint64_t told_bytes; /* of a tunnel: how many the origin said when it was recorded */
    struct play_ws *ws;  /* a WebSocket that was recorded as messages; NULL: bytes */

    struct play_turns *turns; /* a gRPC call that may be, or is, one in turns; NULL: none */
};

/* Takes one from the player's spares or makes one; NULL: out of memory. */
struct play *play_begin(struct player *player, struct exchange *x);
/* Lets go of the exchange; calls nothing. */
void play_end(struct play *p);
/* Has really gone: for player_destroy(). */
void play_free(struct play *p);

void play_enter(struct play *p, enum play_state to);
/* Runs the play from the loop. */
void play_wake(struct play *p, uint64_t delay_ns);
void play_run(struct task *task);
/* Is it too early for what was recorded at that offset? Then the play is woken in time. */
bool play_must_wait(struct play *p, int64_t at_ns);
/* It ends with an error from here on. */
void play_fail(struct play *p, enum err e, const char *reason);

/* The next piece of the recorded body, into p->piece; ERR_NOT_FOUND at its end. */
MUST_USE enum err play_read_piece(struct play *p);

/* play_match.c: the request is known well enough: finds what answers it, a recording or a miss. */
void play_match(struct play *p);
/* One of the client's messages is none that was recorded: counted, kept for the report, and said. How the play ends is the caller's. */
void play_miss_message(struct play *p, const struct miss_message *miss);
/* The same before the request's end: p->match was taken; or nothing can match, whatever the client goes on to say. */
void play_match_taken(struct play *p);
void play_match_none(struct play *p, enum miss_reason reason);
/* The request without its body. *r is borrowed from the play and the rules. */
struct key_request;
void play_key_request(const struct play *p, struct key_request *r);

/* play_raw.c: client bytes of a tunnel or an upgraded connection, and one step of it; false: nothing more for now. */
void play_raw_said(struct play *p, struct span bytes);
bool play_raw_step(struct play *p);
void play_pause_request(struct play *p, bool pause);

/* play_ws.c: the same of a WebSocket whose messages are on the tape; play_raw.c takes it up with the first row. Ended with the play. Begin fails with
 * ERR_NOMEM, ERR_UNSUPPORTED (an extension that is not known); the play can only end then. */
MUST_USE enum err play_ws_begin(struct play *p);
void play_ws_row(struct play *p, const struct tape_message *row);
bool play_ws_step(struct play *p);
void play_ws_end(struct play *p);

/* play_turns.c: gRPC calls in turns. Begin looks at the request's head, and does nothing when it cannot be of one. Until the match, watch decides from what was said
 * when the task is to run, which is quiet. Flow: the match's row. Start: the answer begins. Ended with the play, or when the request ends before the
 * match. Begin and flow fail with ERR_NOMEM, flow as tape_messages() does. */
MUST_USE enum err play_turns_begin(struct play *p);
void play_turns_said(struct play *p, struct span bytes);
void play_turns_watch(struct play *p);
void play_turns_quiet(struct play *p);
MUST_USE enum err play_turns_flow(struct play *p, const struct tape_flow *f);
bool play_turns_may_begin(const struct play *p);
void play_turns_start(struct play *p);
bool play_turns_step(struct play *p);
void play_turns_end(struct play *p);

#endif
