/* decode.h: what a text of a HAR stands for in bytes. Writers say base64 and mean text, say nothing and mean base64, encode twice, or write a byte as
 * a character; what they say of its size tells which. Internal to har/. */
#ifndef RINGTAPE_HAR_DECODE_H
#define RINGTAPE_HAR_DECODE_H

#include "har/tree.h"

struct decode_facts {
    uint64_t n;       /* bytes, as UTF-8 */
    uint64_t chars;   /* if all are U+0000 to U+00FF */
    bool latin1;      /* they are */
    bool base64;      /* it can be: alphabet and padding; white space is passed over */
    uint64_t digits;  /* of base64 */
    unsigned padding; /* '=' at its end */
    uint8_t lead;     /* of a character under way */
};

/* Bytes that a base64 text of these facts stands for. */
uint64_t decode_base64_size(const struct decode_facts *f);

enum decode_form { DECODE_TEXT, DECODE_BASE64, DECODE_BASE64_TWICE, DECODE_LATIN1 };

/* How to read it. said_base64: `encoding` says so. size: what `size` says; negative: nothing. Mends are told. Fails with ERR_IO, ERR_NOMEM. */
MUST_USE enum err decode_form(const struct tree *t, const struct tree_text *text, bool said_base64, double size,
                              struct mends *mends, enum decode_form *out);

/* Its bytes to `sink`, in pieces. Fails with ERR_IO, ERR_NOMEM, or what the sink returned. */
MUST_USE enum err decode_pass(const struct tree *t, const struct tree_text *text, enum decode_form form,
                              enum err (*sink)(void *ctx, struct span bytes), void *ctx);

#endif
