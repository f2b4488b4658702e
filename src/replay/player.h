/* player.h: the origin that answers from tapes. One per worker, on that worker's thread; all share a matcher. It has no way to a socket.
 * Each player opens the tapes for itself, since a tape belongs to one thread. */
#ifndef RINGTAPE_REPLAY_PLAYER_H
#define RINGTAPE_REPLAY_PLAYER_H

#include "base/log.h"
#include "base/task.h"
#include "flow/origin.h"
#include "replay/matcher.h"

struct player;

struct player_options {
    struct matcher *matcher;     /* shared; outlives the player */
    struct scheduler *scheduler; /* this worker's */
    const struct log *log;       /* may be NULL */
};

/* *problem gets one sentence on failure. Fails as tape_open() does. */
MUST_USE enum err player_create(struct player **out, const struct player_options *options, struct buf *problem);

/* Borrowed. */
struct origin *player_origin(struct player *p);

/* Every exchange that it had must be over. Clears *p, which may be NULL. */
void player_destroy(struct player **p);

#endif
