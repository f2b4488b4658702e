/* matcher.h: the index of one or more tapes in memory: keys and where their flows lie, never bodies. Keys are computed when a tape is loaded and
 * are stored nowhere. A look-up costs the same for any number of recordings. One matcher serves all workers: after matcher_create()
 * everything here may be called from any thread. */
#ifndef RINGTAPE_REPLAY_MATCHER_H
#define RINGTAPE_REPLAY_MATCHER_H

#include "replay/key.h"
#include "replay/rules.h"
#include "tape/tape.h"

struct matcher;

struct matcher_options {
    const char *const *paths; /* of tapes, in the order in which they play */
    size_t paths_n;
    const struct rules *rules; /* borrowed as long as the matcher lives */
    /* Is this flow to be served? NULL: all are. */
    bool (*keep)(void *ctx, const struct tape_flow *flow);
    void *keep_ctx;
    /* The same question for who must look into the tape (a filter over bodies). NULL: all. Its errors end the loading. */
    enum err (*include)(void *ctx, struct tape *tape, const struct tape_flow *flow, bool *yes);
    void *include_ctx;
    /* Appends a certificate's names, a 0 byte after each (replay/ does not know TLS). NULL: origins have no names. */
    enum err (*names_from_certificate)(struct span der, struct buf *out);
};

/* *problem gets one sentence on failure. Fails as tape_open() does, and with ERR_LIMIT (too many flows). The paths are copied. */
MUST_USE enum err matcher_create(struct matcher **out, const struct matcher_options *options, struct buf *problem);
void matcher_destroy(struct matcher **m);

/* name, word in reports */
#define MISS_REASONS(X)                                                                                                \
    X(MISS_DIFFERENT, "different")                                                                                     \
    X(MISS_EXHAUSTED, "exhausted")                                                                                     \
    X(MISS_UNKNOWN_HOST, "unknown-host")                                                                               \
    X(MISS_EMPTY_TAPE, "empty-tape")

enum miss_reason {
#define MISS_REASON_ENUM(name, word) name,
    MISS_REASONS(MISS_REASON_ENUM)
#undef MISS_REASON_ENUM
};
const char *miss_reason_word(enum miss_reason reason);

struct match {
    uint32_t entry; /* the matcher's */
    uint32_t tape;  /* index into the paths */
    int64_t flow;
    uint64_t times; /* how often it has now been served, this time included */
};

/* Takes the next recording of that key for a request of that track (empty: none), and counts. False: a miss, counted, *reason says why. */
bool matcher_take(struct matcher *m, const struct key *key, struct span track, struct match *out,
                  enum miss_reason *reason);

/* Is there any recording of that key? Counts nothing. */
bool matcher_knows(const struct matcher *m, const struct key *key);

/* ---- gRPC calls in turns: their client waits for answers before its request ends, so that its key is never whole ---- */

/* What is known of a request under way. */
struct turn_at {
    struct hash128 head; /* its key without a body */
    uint64_t messages;   /* said so far */
    uint64_t sum;        /* of these (turns.h) */
};

enum turn {
    TURN_CLIENT, /* the client's: no recording that began so was answered by now */
    TURN_ORIGIN, /* the only recording that began so was answered here */
    TURN_EITHER, /* one of several that began so was answered here, others perhaps not */
    TURN_LOST,   /* no recording began so */
    TURN_BEYOND, /* recordings are not known that far */
};

bool matcher_has_turns(const struct matcher *m);
/* Are there calls in turns among the recordings of that head? */
bool matcher_knows_turns(const struct matcher *m, struct hash128 head);
/* Whose turn it is, whatever was served before. Costs the same for any number of recordings. */
enum turn matcher_turn(const struct matcher *m, const struct turn_at *at);
enum turn_taken {
    TURN_TAKEN,
    TURN_NOT_YET,   /* those that are next were not answered by now */
    TURN_EXHAUSTED, /* each was already given (ORDER_ONCE) */
    TURN_FOREIGN,   /* all are another track's */
};
/* Takes, of the recordings that began so and are next of their key, one that was answered by now: one that was not served yet before one that was, then the
 * first in recorded order (the last, where the order says so). Counts as matcher_take() does what is taken, and nothing else. Looks at every key
 * that began so. */
enum turn_taken matcher_turn_take(struct matcher *m, const struct turn_at *at, struct span track, struct match *out);
/* How many messages the client of that recording said before it was answered. False: it is no call in turns. */
bool matcher_turn_of(const struct matcher *m, const struct match *match, uint64_t *messages);

/* The recordings most like `key`, best first: at most `max`. Looks at no more than LIMIT_NEAREST_SEARCH. For a key that was exhausted: that key's own. */
size_t matcher_nearest(const struct matcher *m, const struct key *key, struct match *out, size_t max);

/* Keeps a miss for the report: `json` as the client saw it, `line` for people, without a newline. Beyond LIMIT_REPLAY_MISSES or
 * LIMIT_REPLAY_MISS_BYTES only the count goes on. Out of memory: not kept. */
void matcher_keep_miss(struct matcher *m, struct span json, struct span line);

/* A tunnel whose client said something else than on the tape: a miss after a hit. */
void matcher_count_miss(struct matcher *m, struct span track);

struct matcher_counters {
    uint64_t flows; /* that can be served */
    uint64_t served, missed, repeated, unused;
};
void matcher_get_counters(const struct matcher *m, struct matcher_counters *out);

/* Walks the flows in recorded order, *at starts as 0; `times` may be 0. False at the end. */
bool matcher_next_flow(const struct matcher *m, size_t *at, struct match *out);

struct matcher_miss {
    struct span json, line;
};
/* The kept misses, in order. Not while workers are still running. */
bool matcher_next_miss(const struct matcher *m, size_t *at, struct matcher_miss *out);

struct matcher_track {
    struct span name; /* empty: requests without one */
    uint64_t served, missed, repeated;
};
/* Tracks that were on the tape or asked for. Not while workers are still running. */
bool matcher_next_track(const struct matcher *m, size_t *at, struct matcher_track *out);

/* Are there recordings whose request body is known by its length only (content_cut_key())? */
bool matcher_has_cut_bodies(const struct matcher *m);

/* What the tape knows of an origin (--map is applied). False: nothing. Spans live as long as the matcher. */
struct matcher_origin {
    struct span alpn;
    struct span names; /* a 0 byte after each */
    bool upgrades;     /* as origin_facts' */
};
bool matcher_origin(const struct matcher *m, struct span host, unsigned port, struct matcher_origin *out);

size_t matcher_tapes(const struct matcher *m);
const char *matcher_tape_path(const struct matcher *m, size_t tape);
const struct rules *matcher_rules(const struct matcher *m);
const struct hash_key *matcher_hash_key(const struct matcher *m);

/* "17", or "2:17" (the second tape's flow 17) when there are several tapes. Fails with ERR_NOMEM. */
MUST_USE enum err matcher_put_flow(const struct matcher *m, const struct match *match, struct buf *out);

#endif
