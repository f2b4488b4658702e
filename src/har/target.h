/* target.h: where a request went, as a URL that any parser takes. Internal to har/. */
#ifndef RINGTAPE_HAR_TARGET_H
#define RINGTAPE_HAR_TARGET_H

#include "tape/tape.h"

/* scheme://host[:port]/path?query, appended; *path says where the path begins. Bytes that no URL holds are percent-encoded, '#' too: there is no
 * fragment. A CONNECT gives https://host:port/. Fails with ERR_NOMEM. */
MUST_USE enum err target_url(const struct tape_flow *flow, struct buf *out, size_t *path);

/* The query without '?'. */
struct span target_query(struct span path);

#endif
