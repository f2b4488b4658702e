/* leaves.h: names and values, sorted by name: a JSON document, a query, a form or a list of fields taken apart for a comparison. Values are
 * borrowed. Bounded by LEAVES_MAX and LEAVES_NAME_BYTES; what is beyond is not compared. Zeroed is valid and empty. */
#ifndef RINGTAPE_REPLAY_LEAVES_H
#define RINGTAPE_REPLAY_LEAVES_H

#include "base/buf.h"
#include "http/head.h"

enum { LEAVES_MAX = 4096, LEAVES_NAME_BYTES = 1 << 20 };

struct leaf {
    struct slice name; /* in leaves.text */
    struct span value;
};
struct leaves {
    struct buf text;
    struct leaf *at;
    size_t n, cap;
};

void leaves_clear(struct leaves *l);
/* Fails with ERR_NOMEM. */
MUST_USE enum err leaves_add(struct leaves *l, struct span name, struct span value);
/* By name; equal names stay in the order in which they were added. */
void leaves_sort(struct leaves *l);
struct span leaves_name(const struct leaves *l, size_t i);
void leaves_free(struct leaves *l);

#endif
