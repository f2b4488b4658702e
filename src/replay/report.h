/* report.h: what a replay came to: served, missed, repeated and unused. For after the workers have stopped. All append to `out` and fail with
 * ERR_NOMEM. */
#ifndef RINGTAPE_REPLAY_REPORT_H
#define RINGTAPE_REPLAY_REPORT_H

#include "replay/matcher.h"

/* One line, and one for each miss (at most REPORT_TEXT_MISSES); each ends in a newline and is safe for a terminal. */
enum { REPORT_TEXT_MISSES = 10 };
MUST_USE enum err report_text(const struct matcher *m, uint64_t network_connects, struct buf *out);

/* The object of docs/replay.md. */
MUST_USE enum err report_json(const struct matcher *m, uint64_t network_connects, struct buf *out);

/* JUnit XML: a test case for each miss, one for the recordings that were not used, one for repeats. Those in the rules' fail_on are failures. */
MUST_USE enum err report_junit(const struct matcher *m, struct buf *out);

/* The conditions of rules->fail_on that were met: a set of BIT(enum fail_on); 0: the replay held. */
unsigned report_failed(const struct matcher *m);

#endif
