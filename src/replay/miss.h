/* miss.h: what a client, a log and a report are told when no recording matches: why, the nearest recordings, in what they differ, and what to
 * type. Bounded: LIMIT_NEAREST_SEARCH entries are looked at, LIMIT_REPLAY_CANDIDATES flows are read (of large bodies
 * LIMIT_REPLAY_COMPARE_BYTES), LIMIT_NEAREST are named. */
#ifndef RINGTAPE_REPLAY_MISS_H
#define RINGTAPE_REPLAY_MISS_H

#include "replay/content.h"
#include "replay/matcher.h"

struct miss {
    enum miss_reason reason;
    const struct key *key;
    const struct head *head; /* of the request */
    struct span host;        /* as --map has it */
    unsigned port;
    struct span track;             /* the client's; empty: none */
    const struct content *content; /* after content_end(); NULL: the rules do not compare bodies */
};

/* Appends the JSON object of docs/replay.md to `json` and one line for people, not yet fit for a terminal, to `line`. `tapes` are this thread's, as many as the
 * matcher's. A recording that cannot be read is left out. Fails with ERR_NOMEM. */
MUST_USE enum err miss_explain(const struct matcher *m, struct tape *const *tapes, const struct miss *miss,
                               struct buf *json, struct buf *line);

/* For a tunnel: the client's bytes differ from the recorded ones, `offset` bytes into what it says; both from there on. Fails with ERR_NOMEM. */
MUST_USE enum err miss_explain_bytes(const struct matcher *m, const struct head *head, const struct match *match,
                                     uint64_t offset, struct span recorded, struct span actual, struct buf *json,
                                     struct buf *line);

/* For a WebSocket or a gRPC call in turns: one of the client's messages, the n-th, differs from the recorded one, or (MISS_EXHAUSTED) none was recorded, or (ended)
 * it does not come. Fails with ERR_NOMEM. */
struct miss_message {
    uint64_t n; /* from 1 */
    struct span recorded, actual;
    bool ended;
    enum miss_reason reason;
};
MUST_USE enum err miss_explain_message(const struct matcher *m, const struct head *head, const struct match *match,
                                       const struct miss_message *miss, struct buf *json, struct buf *line);

#endif
