/* mend.h: what an import mended or left out, one table: how often, and where first. Bounded whatever the file holds. */
#ifndef RINGTAPE_HAR_MEND_H
#define RINGTAPE_HAR_MEND_H

#include <stdbool.h>
#include <stdint.h>

/* name, left out (else mended), sentence */
#define MEND_TABLE(X)                                                                                                  \
    X(MEND_NO_ENTRY, true, "an entry that is no object")                                                               \
    X(MEND_HUGE_ENTRY, true, "an entry of too many values, or of too much text outside its contents")                  \
    X(MEND_NO_REQUEST, true, "an entry without a request")                                                             \
    X(MEND_BAD_METHOD, true, "an entry whose method is no token")                                                      \
    X(MEND_BAD_URL, true, "an entry whose URL is not a valid http, https, ws or wss URL")                              \
    X(MEND_LOCAL_URL, true, "an entry of a data:, blob: or about: URL, or of another that is not asked of a server")   \
    X(MEND_CONNECT, true, "a CONNECT: what was said through it is not in a HAR")                                       \
    X(MEND_BAD_FIELD, true, "a header field whose name or value cannot stand in a message")                            \
    X(MEND_PSEUDO_FIELD, true, "a pseudo-header field of HTTP/2 (:method, :path, ...): the request line has it")       \
    X(MEND_MANY_FIELDS, true, "header fields beyond what one message head may hold")                                   \
    X(MEND_BAD_ADDRESS, true, "a server address that is none")                                                         \
    X(MEND_BAD_MESSAGE, true, "a WebSocket message or event without data, or of an unknown kind")                      \
    X(MEND_NEVER_SENT, true, "the content of a response that has none (304, 204, or to HEAD): it is a cache's")        \
    X(MEND_BAD_PARAMS, true, "the params of a body that has no text and is no form")                                   \
    X(MEND_PAGES, true, "pages: a tape has none")                                                                      \
    X(MEND_FRAGMENT, false, "a URL with a fragment, which is never sent: without it")                                  \
    X(MEND_URL, false, "a URL with spaces or control characters: percent-encoded")                                     \
    X(MEND_START, false, "no valid startedDateTime: taken as that of the entry before")                                \
    X(MEND_ZONE, false, "a startedDateTime without a zone: taken as UTC")                                              \
    X(MEND_VERSION, false, "no known httpVersion: taken as HTTP/1.1")                                                  \
    X(MEND_STATUS_TEXT, false, "a statusText that cannot stand in a message: empty")                                   \
    X(MEND_NO_RESPONSE, false, "no response, or status 0: an incomplete flow")                                         \
    X(MEND_TIMES, false, "times that are missing, negative or no numbers: 0")                                          \
    X(MEND_SSL, false, "ssl longer than connect: as long as it")                                                       \
    X(MEND_NUMBER, false, "a number that is too large: as if it were not there")                                       \
    X(MEND_HALVES, false, "half of a UTF-16 surrogate pair: U+FFFD")                                                   \
    X(MEND_FIELD_LINES, false, "a header value of several lines: a field each")                                        \
    X(MEND_FIELD_MAP, false, "headers as an object: a field for each member")                                          \
    X(MEND_CONTENT_TYPE, false, "content without a Content-Type field: its mimeType is one")                           \
    X(MEND_DECODED, false,                                                                                             \
      "content with its Content-Encoding undone: stored as it is, the field as Ringtape-Content-Encoding")             \
    X(MEND_NOT_BASE64, false, "content said to be base64 that is not: taken as text")                                  \
    X(MEND_BASE64, false, "base64 that is not said to be: decoded, as content.size tells")                             \
    X(MEND_BASE64_TWICE, false, "base64 of base64: decoded twice, as content.size tells")                              \
    X(MEND_LATIN1, false, "bytes written as characters (U+0000 to U+00FF): bytes again, as content.size tells")        \
    X(MEND_SIZE, false, "a content.size that is not that of the content: the content counts")                          \
    X(MEND_BODY_SIZE, false, "a bodySize that is not that of the content, without a coding: the content counts")       \
    X(MEND_NO_CONTENT, false, "content that is not in the HAR: the flow is marked as cut")                             \
    X(MEND_FORM, false, "a form without text: made from its params")

enum mend_kind {
#define MEND_ENUM(name, left_out, sentence) name,
    MEND_TABLE(MEND_ENUM)
#undef MEND_ENUM
        MEND_COUNT
};

struct mends {
    struct mend {
        uint64_t times, entry, line; /* entry: of the first, from 1; 0: in none */
    } at[MEND_COUNT];
    uint64_t entry, line; /* at hand */
};

static inline void mend(struct mends *m, enum mend_kind kind)
{
    if (m->at[kind].times++ == 0) {
        m->at[kind].entry = m->entry;
        m->at[kind].line = m->line;
    }
}

/* Static. */
const char *mend_sentence(enum mend_kind kind);
bool mend_is_left_out(enum mend_kind kind);

#endif
