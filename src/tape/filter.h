/* filter.h: mitmproxy's filter language over the flows of a tape (docs/filters.md). A filter belongs to one thread. */
#ifndef RINGTAPE_TAPE_FILTER_H
#define RINGTAPE_TAPE_FILTER_H

#include "tape/tape.h"

struct tape_filter;

/* *problem gets one sentence for people on failure: what was not understood, and where. Fails with ERR_USAGE (the expression), ERR_NOMEM. */
MUST_USE enum err tape_filter_parse(struct tape_filter **out, struct span text, struct buf *problem);

/* Looks at bodies, connections and messages only where the expression asks for them; what is damaged there matches nothing. `flow` stays
 * valid. Fails with ERR_DB, ERR_NOMEM. */
MUST_USE enum err tape_filter_match(struct tape_filter *filter, struct tape *tape, const struct tape_flow *flow,
                                    bool *yes);

/* Frees *filter and clears it; *filter may be NULL. */
void tape_filter_destroy(struct tape_filter **filter);

/* The operators, for --help: "~u REGEX", "URL"; false beyond the last. */
bool tape_filter_operator(size_t i, const char **usage, const char **what);

#endif
