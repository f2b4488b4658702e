/* difference.h: in what a request differs from a recording, field by field, as far as the rules compare them. Only on a miss. */
#ifndef RINGTAPE_REPLAY_DIFFERENCE_H
#define RINGTAPE_REPLAY_DIFFERENCE_H

#include "base/limits.h"
#include "replay/content.h"
#include "replay/matcher.h"

struct difference {
    struct slice field;            /* "query:t", "json:/nonce", "path"; in differences.text, as all of these */
    struct slice recorded, actual; /* shortened for people */
    bool has_recorded, has_actual;
    bool ignorable; /* --ignore `field` makes it go away */
    bool in_body;   /* --ignore body does, too */
};

struct differences {
    struct buf text;
    struct difference at[LIMIT_REPLAY_DIFFERENCES];
    size_t n;
    size_t total;      /* there may be more than `at` holds */
    unsigned distance; /* 0: none */
};

/* One side of the comparison. `body` is after content_end(), or NULL without one. The host is mapped already. */
struct difference_side {
    struct span method, scheme, host, path;
    unsigned port;
    const struct headers *headers;
    const struct content *body;
};

void differences_free(struct differences *d);
/* Zeroed `out` is valid; it is cleared first. Fails with ERR_NOMEM. */
MUST_USE enum err differences_find(struct differences *out, const struct rules *rules,
                                   const struct difference_side *recorded, const struct difference_side *actual);
/* One more difference, which no option takes away. Fails with ERR_NOMEM. */
MUST_USE enum err differences_add_track(struct differences *d, struct span recorded, struct span actual);
struct span difference_text(const struct differences *d, struct slice s);

#endif
