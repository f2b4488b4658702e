/* pattern.h: regular expressions as Python's users write them (mitmproxy's filters are Python's), in POSIX's words. Internal to tape/. */
#ifndef RINGTAPE_TAPE_PATTERN_H
#define RINGTAPE_TAPE_PATTERN_H

#include "base/buf.h"

/* Appends the extended regular expression (with GNU's \w \s \b) that finds what `pattern` finds. It is for finding only: how much a match takes,
 * and groups, are not kept. Fails with ERR_UNSUPPORTED (look-around and other extensions "(?…"), ERR_NOMEM. */
MUST_USE enum err pattern_translate(struct span pattern, struct buf *out);

#endif
