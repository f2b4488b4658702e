/* tree.c: built without recursion, from the reader's tokens. Jansson's values take many times their text: each is charged with about what it takes,
 * and an entry that would take too much is read to its end without being kept. */
#include "har/tree.h"

#include "base/alloc.h"
#include "base/limits.h"

#include <assert.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>

enum { OBJECT_COST = 400, ARRAY_COST = 200, VALUE_COST = 64, KEY_COST = 96 };

struct builder {
    struct tree *t;
    struct reader *r;
    json_t *within[READER_DEPTH + 1]; /* borrowed: each holds the next, the root is held by the tree */
    unsigned depth;
    struct buf key;
    bool dropped; /* the member at hand is left out: its name holds a NUL, or is long */
};

void tree_free(struct tree *t)
{
    json_decref(t->root);
    t->root = NULL;
    mem_free(t->longs);
    t->longs = NULL;
    t->longs_n = t->longs_cap = t->held = 0;
}

static json_t *long_text(struct builder *b)
{
    struct tree *t = b->t;
    if (t->longs_n == t->longs_cap) {
        size_t cap = t->longs_cap ? t->longs_cap * 2 : 16;
        struct tree_long *more = mem_resize(t->longs, cap, sizeof *more);
        if (!more)
            return NULL;
        t->longs = more;
        t->longs_cap = cap;
    }
    t->longs[t->longs_n] = (struct tree_long){b->r->spooled_at, b->r->spooled_n};
    return json_integer((json_int_t)t->longs_n++);
}

static json_t *number(struct builder *b)
{
    const char *text = buf_cstr(&b->r->text);
    double value = text && !b->r->too_long ? strtod(text, NULL) : (double)INFINITY;
    if (isfinite(value))
        return json_real(value);
    b->t->huge_number = true;
    return json_null();
}

static json_t *value_of(struct builder *b, enum token token)
{
    struct span text = buf_span(&b->r->text);
    switch (token) {
    case TOKEN_OBJECT:
        b->t->held += OBJECT_COST;
        return json_object();
    case TOKEN_ARRAY:
        b->t->held += ARRAY_COST;
        return json_array();
    case TOKEN_STRING:
        b->t->held += VALUE_COST + text.n;
        return b->r->spooled ? long_text(b) : json_stringn_nocheck(text.n ? (const char *)text.p : "", text.n);
    case TOKEN_NUMBER:
        b->t->held += VALUE_COST;
        return number(b);
    case TOKEN_TRUE:
        return json_true();
    case TOKEN_FALSE:
        return json_false();
    default:
        return json_null();
    }
}

/* Takes the reference. */
static enum err add(struct builder *b, json_t *value)
{
    json_t *parent = b->depth ? b->within[b->depth - 1] : NULL;
    if (!value)
        return ERR_NOMEM;
    if (!parent) {
        b->t->root = value;
        return ERR_OK;
    }
    int rc = json_is_array(parent) ? json_array_append_new(parent, value)
                                   : json_object_set_new_nocheck(parent, buf_cstr(&b->key), value);
    return rc == 0 ? ERR_OK : ERR_NOMEM;
}

/* The name of the next member. */
static enum err take_key(struct builder *b)
{
    struct span name = buf_span(&b->r->text);
    b->dropped = b->r->spooled || b->r->too_long || (name.n && memchr(name.p, 0, name.n));
    if (b->dropped)
        return ERR_OK;
    buf_clear(&b->key);
    b->t->held += KEY_COST + name.n;
    enum err e = buf_put(&b->key, name);
    return !e && !buf_cstr(&b->key) ? ERR_NOMEM : e;
}

static enum err take(struct builder *b, enum token token)
{
    if (token == TOKEN_KEY)
        return take_key(b);
    if (token == TOKEN_OBJECT_END || token == TOKEN_ARRAY_END) {
        b->depth--;
        return ERR_OK;
    }
    if (b->dropped) {
        b->dropped = false;
        return reader_skip(b->r, token);
    }
    json_t *value = value_of(b, token);
    enum err e = add(b, value);
    if (!e && (token == TOKEN_OBJECT || token == TOKEN_ARRAY))
        b->within[b->depth++] = value;
    return e;
}

/* Reads on to the end of what is `levels` deep, keeping nothing. */
static enum err pass_over(struct reader *r, unsigned levels)
{
    struct spool *spool = r->spool;
    unsigned outside = r->depth - levels;
    enum err e = ERR_OK;
    r->spool = NULL;
    while (!e && r->depth > outside) {
        enum token token;
        e = reader_next(r, &token);
    }
    r->spool = spool;
    return e;
}

enum err tree_read(struct tree *t, struct reader *r)
{
    struct builder b = {.t = t, .r = r, .key = BUF_INIT};
    tree_free(t);
    t->huge_number = false;
    enum err e = spool_reset(t->spool);
    enum token token = TOKEN_OBJECT;
    r->spool = t->spool;
    if (!e)
        e = take(&b, token);
    while (!e && b.depth > 0 && t->held <= LIMIT_HAR_ENTRY_BYTES) {
        e = reader_next(r, &token);
        if (!e)
            e = take(&b, token);
    }
    if (!e && b.depth > 0) {
        e = pass_over(r, b.depth);
        json_decref(t->root);
        t->root = NULL;
    }
    r->spool = NULL;
    buf_free(&b.key);
    return e;
}

json_t *tree_member(const json_t *object, const char *key)
{
    return json_object_get(object, key);
}

struct span tree_string(const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    return json_is_string(value) ? span_of(json_string_value(value), json_string_length(value)) : SPAN_EMPTY;
}

struct tree_text tree_text(const struct tree *t, const json_t *object, const char *key)
{
    json_t *value = json_object_get(object, key);
    struct tree_text out = {.there = false};
    if (json_is_string(value)) {
        out = (struct tree_text){.there = true, .text = span_of(json_string_value(value), json_string_length(value))};
        out.n = out.text.n;
    } else if (json_is_integer(value)) {
        const struct tree_long *l = &t->longs[json_integer_value(value)];
        out = (struct tree_text){.there = true, .spooled = true, .at = l->at, .n = l->n};
    }
    return out;
}

bool tree_number(const json_t *object, const char *key, double *out)
{
    json_t *value = json_object_get(object, key);
    if (json_is_real(value)) {
        *out = json_real_value(value);
        return true;
    }
    if (!json_is_string(value) || json_string_length(value) == 0 || json_string_length(value) > READER_NUMBER_BYTES)
        return false;
    char *end;
    *out = strtod(json_string_value(value), &end);
    return *end == '\0' && isfinite(*out);
}

bool tree_true(const json_t *object, const char *key)
{
    return json_is_true(json_object_get(object, key));
}

enum err tree_text_pass(const struct tree *t, const struct tree_text *text,
                        enum err (*sink)(void *ctx, struct span bytes), void *ctx)
{
    if (text->spooled)
        return spool_pass(t->spool, text->at, text->n, sink, ctx);
    return text->text.n > 0 ? sink(ctx, text->text) : ERR_OK;
}
