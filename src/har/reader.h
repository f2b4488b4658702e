/* reader.h: JSON (RFC 8259) as a stream of tokens: memory does not grow with the text, and an error has its line and column. Internal to har/.
 *
 * A string of up to READER_TEXT_BYTES is in `text`; a longer one goes to the spool, and `spooled` says where. What the grammar allows and
 * text cannot hold is mended and counted: half of a surrogate pair becomes U+FFFD. Bytes that are not UTF-8 are passed as they are. */
#ifndef RINGTAPE_HAR_READER_H
#define RINGTAPE_HAR_READER_H

#include "har/import.h"
#include "har/spool.h"

enum {
    READER_BLOCK_BYTES = 65536,
    READER_TEXT_BYTES = 65536,
    READER_NUMBER_BYTES = 400, /* more digits than that say nothing that a double can hold */
    READER_DEPTH = 512,
};

enum token {
    TOKEN_OBJECT,
    TOKEN_OBJECT_END,
    TOKEN_ARRAY,
    TOKEN_ARRAY_END,
    TOKEN_KEY,
    TOKEN_STRING,
    TOKEN_NUMBER,
    TOKEN_TRUE,
    TOKEN_FALSE,
    TOKEN_NULL,
    TOKEN_END, /* of the text */
};

struct reader {
    const struct har_source *source; /* borrowed */
    struct spool *spool;             /* borrowed; NULL: long strings are cut, which is for what is passed over */
    struct buf *problem;             /* borrowed: gets a sentence with line and column */
    uint64_t line, line_begins;      /* line: from 1; where it begins in the text */
    uint64_t before;                 /* bytes of the text before the block */
    size_t at, n;                    /* in the block */
    bool ended;                      /* of the source */
    unsigned depth;
    bool in_array[READER_DEPTH + 1];
    enum { READER_VALUE, READER_FIRST, READER_NEXT, READER_COLON, READER_DONE } state;
    struct buf text; /* of a key, a string, a number */
    bool spooled, too_long;
    uint64_t spooled_at, spooled_n;
    uint64_t halves; /* of surrogate pairs, so far */
    uint64_t token_line;
    uint8_t block[READER_BLOCK_BYTES];
};

/* The reader is large: not for the stack. Source and problem are borrowed. */
void reader_init(struct reader *r, const struct har_source *source, struct buf *problem);
void reader_free(struct reader *r);

/* Fails with ERR_PARSE and a sentence, with ERR_NOMEM, or what the source or the spool returned. */
MUST_USE enum err reader_next(struct reader *r, enum token *out);
/* Passes over the value that begins with this token, which was just read. */
MUST_USE enum err reader_skip(struct reader *r, enum token begun);
/* Says `what` of the place at hand and gives ERR_PARSE (ERR_NOMEM). */
MUST_USE enum err reader_fail(struct reader *r, const char *what);

#endif
