/* tree.h: one entry of a HAR in memory, as Jansson's values, but for its long strings, which lie in the spool. Numbers are reals, so an
 * integer can stand for a string that is elsewhere. Internal to har/. */
#ifndef RINGTAPE_HAR_TREE_H
#define RINGTAPE_HAR_TREE_H

#include "har/reader.h"

#include <jansson.h>

struct tree {
    struct spool *spool; /* borrowed */
    json_t *root;        /* NULL: it held more than LIMIT_HAR_ENTRY_BYTES */
    struct tree_long {
        uint64_t at, n;
    } * longs;
    size_t longs_n, longs_cap;
    size_t held; /* about how much memory it takes */
    bool huge_number;
};

/* A string, wherever it lies. */
struct tree_text {
    bool there;
    bool spooled;
    struct span text; /* not spooled */
    uint64_t at, n;   /* n: in any case */
};

void tree_free(struct tree *t);
/* The object that begins with the token just read; what was there before is freed, the spool emptied. Fails as reader_next(). */
MUST_USE enum err tree_read(struct tree *t, struct reader *r);

/* Members. `object` may be NULL or no object; then there are none. */
json_t *tree_member(const json_t *object, const char *key);
/* A string in memory; SPAN_EMPTY: there is none, or it is a long one. */
struct span tree_string(const json_t *object, const char *key);
struct tree_text tree_text(const struct tree *t, const json_t *object, const char *key);
/* A number, or a string that is one. False: neither. */
bool tree_number(const json_t *object, const char *key, double *out);
bool tree_true(const json_t *object, const char *key);

/* All of a string to `sink`, in pieces. Fails with ERR_IO, ERR_NOMEM, or what the sink returned. */
MUST_USE enum err tree_text_pass(const struct tree *t, const struct tree_text *text,
                                 enum err (*sink)(void *ctx, struct span bytes), void *ctx);

#endif
