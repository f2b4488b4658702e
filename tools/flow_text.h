/* flow_text.h: a flow of a tape as text for people and programs; shared by ls and show. Everything in a flow is hostile: what comes out
 * of here is JSON, or safe for a terminal. All append, and fail with ERR_NOMEM, ERR_CORRUPT or ERR_LIMIT (fields that cannot be read). */
#ifndef RINGTAPE_TOOLS_FLOW_TEXT_H
#define RINGTAPE_TOOLS_FLOW_TEXT_H

#include "tape/tape.h"

/* As the view `flows` writes it. Raw bytes: neither JSON nor terminal-safe. */
MUST_USE enum err flow_url(const struct tape_flow *flow, struct buf *out);

/* The response's media type, "" none. */
MUST_USE enum err flow_mime(const struct tape_flow *flow, struct buf *out);

/* `"name":` and a JSON string; nothing before, nothing after. */
MUST_USE enum err flow_json_text(struct buf *out, const char *name, struct span value);
/* The same, but null when the value is empty. */
MUST_USE enum err flow_json_text_or_null(struct buf *out, const char *name, struct span value);

/* The members of a JSON object with the columns of the view `flows`, without braces. */
MUST_USE enum err flow_json_members(const struct tape_flow *flow, struct buf *out);

/* Nanoseconds as milliseconds; "null" for -1. */
MUST_USE enum err flow_ms(struct buf *out, int64_t ns);

#endif
