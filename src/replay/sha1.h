/* sha1.h: SHA-1 (RFC 3174) of short texts, for Sec-WebSocket-Accept (RFC 6455, section 4.2.2) alone: it protects nothing there. */
#ifndef RINGTAPE_REPLAY_SHA1_H
#define RINGTAPE_REPLAY_SHA1_H

#include "base/span.h"

enum { SHA1_BYTES = 20 };
void sha1(struct span text, uint8_t out[SHA1_BYTES]);

#endif
