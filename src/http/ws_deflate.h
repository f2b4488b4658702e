/* ws_deflate.h: the receiving half of permessage-deflate (RFC 7692 §7.2.2): payloads of compressed messages in, content out. Performs no I/O.
 * Memory: zlib's state and window, made at the first compressed message, and one piece of output while a call runs. */
#ifndef RINGTAPE_HTTP_WS_DEFLATE_H
#define RINGTAPE_HTTP_WS_DEFLATE_H

#include "base/err.h"
#include "base/span.h"

struct ws_deflate;

/* no_takeover: as negotiated for the sender. `sink` gets content, in pieces of some KB, and fails with what is to end the reading.
 * Fails with ERR_NOMEM. */
MUST_USE enum err ws_deflate_create(struct ws_deflate **out, bool no_takeover,
                                    enum err (*sink)(void *ctx, struct span bytes), void *ctx);
/* Payload of a compressed message; it may be cut anywhere. Fails with ERR_PARSE, ERR_LIMIT (a bomb: more than LIMIT_DECODE_BYTES in one message, and more than
 * LIMIT_WS_RATIO times its size), ERR_NOMEM, or what the sink returned. */
MUST_USE enum err ws_deflate_feed(struct ws_deflate *d, struct span in);
/* The message ends here. As ws_deflate_feed(); ERR_TRUNCATED: within a block. */
MUST_USE enum err ws_deflate_end(struct ws_deflate *d);
void ws_deflate_destroy(struct ws_deflate **d);

#endif
