/* matcher_turns.h: gRPC requests by what they begin with; what matcher.h asks of it is there. Internal to replay/. */
#ifndef RINGTAPE_REPLAY_MATCHER_TURNS_H
#define RINGTAPE_REPLAY_MATCHER_TURNS_H

#include "base/hash.h"
#include "replay/slots.h"

struct matcher;

/* gRPC requests that begin with the same messages: the keys of their recordings, a chain of links. Messages are counted from the first, up to
 * LIMIT_REPLAY_TURN_MESSAGES, and from where a call in turns was answered as far again. */
struct turn_row {
    struct hash128 key; /* of the head, how many messages, and their sum */
    uint32_t first, last, n;
    bool answered; /* one of them was answered before its client said more */
    bool turns;    /* one of them is a call in turns */
};
struct turn_link {
    struct hash128 key; /* a group's */
    uint32_t row, next; /* SLOT_NONE at the end */
};
struct turn_index {
    struct turn_row *rows;
    size_t rows_n, rows_cap;
    struct slots row_slots;
    struct turn_link *links;
    size_t links_n, links_cap;
    struct slots link_slots;
    bool any; /* calls in turns */
};

/* How much of a gRPC request, and what it amounts to (turns.h). */
struct turn_sum {
    uint64_t messages, sum;
};
/* A recorded request: what it began with; `turn` as the entry's. Fails with ERR_NOMEM. */
MUST_USE enum err matcher_turns_add(struct matcher *m, struct hash128 head, struct hash128 key,
                                    const struct turn_sum *sums, size_t n, uint32_t turn);
void matcher_turns_free(struct turn_index *turns);

#endif
