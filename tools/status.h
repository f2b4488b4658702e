/* status.h: the live line on a terminal. */
#ifndef RINGTAPE_TOOLS_STATUS_H
#define RINGTAPE_TOOLS_STATUS_H

#include "tools/serve.h"

enum { STATUS_INTERVAL_MS = 500 };

struct status {
    bool on;
    uint64_t last_ns, last_flows; /* for the rate */
    double rate;
};

/* `wanted`: if standard error is a terminal that understands it, the line is on. */
void status_init(struct status *s, bool wanted);
void status_draw(struct status *s, const struct serve_totals *totals, uint64_t now_ns);
/* Takes the line away. */
void status_clear(struct status *s);

/* "12 flows, 3 errors, 1.2 MB". Appends; fails with ERR_NOMEM. */
MUST_USE enum err status_text(const struct serve_totals *totals, struct buf *out);

#endif
