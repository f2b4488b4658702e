/* token.h: the character classes of RFC 9110 §5.6.2, and what may never go out on a wire. Nothing allocates. */
#ifndef RINGTAPE_HTTP_TOKEN_H
#define RINGTAPE_HTTP_TOKEN_H

#include "base/span.h"

/* A token character (tchar)? */
bool token_char(uint8_t c);

/* A token: not empty, token characters only. */
bool token_valid(struct span s);

/* Neither CR, LF nor NUL: the bytes that end a line for some parser. */
bool token_line_safe(struct span s);

/* Graphic bytes only (no control, no white space); 0x80 and above pass: what a request target may hold. */
bool token_graphic(struct span s);

/* Walks a comma-separated list (RFC 9110 §5.6.1): *rest starts as the value; empty elements are skipped. A comma within a quoted
 * string does not split. False at the end. */
bool token_list_next(struct span *rest, struct span *element);

#endif
