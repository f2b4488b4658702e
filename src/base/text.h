/* text.h: making bytes safe to show or to embed. All of these append to `out` and fail with ERR_NOMEM only,
 * unless they say otherwise. */
#ifndef RINGTAPE_BASE_TEXT_H
#define RINGTAPE_BASE_TEXT_H

#include "base/buf.h"

/* Well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms)? */
bool text_is_utf8(struct span s);

/* The length of the longest prefix that is well-formed UTF-8. */
size_t text_utf8_prefix(struct span s);

/* A JSON string with its quotes (RFC 8259 §7), fit for a terminal: controls (C1 too) and bidirectional overrides are escaped. A byte that is
 * not part of well-formed UTF-8 becomes U+FFFD. */
MUST_USE enum err text_json_string(struct buf *out, struct span s);

/* For a terminal: control characters (C0, C1, DEL), bidirectional overrides and invalid bytes as \xNN; tab and
 * the rest of UTF-8 as they are. */
MUST_USE enum err text_escape_terminal(struct buf *out, struct span s);

/* RFC 4648 §4, with padding. */
MUST_USE enum err text_base64(struct buf *out, struct span s);

/* Of one digit; -1: not of the alphabet (RFC 4648 §4). */
int text_base64_value(uint8_t c);
/* Strict inverse (padding required, no white space). Fails with ERR_PARSE too; out is then unchanged. */
MUST_USE enum err text_base64_decode(struct buf *out, struct span s);
/* The same of RFC 4648 §5 (base64url), whose padding must be left out; bits that belong to no byte must be 0. */
MUST_USE enum err text_base64url_decode(struct buf *out, struct span s);

/* One word of a POSIX shell, single-quoted where needed. */
MUST_USE enum err text_shell_word(struct buf *out, struct span s);

/* "1.2 MB": for people, decimal units. */
MUST_USE enum err text_bytes(struct buf *out, uint64_t n);

#endif
