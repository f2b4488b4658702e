/* connection.c: the reference-counted record of a connection. */
#include "flow/connection.h"

#include "base/alloc.h"

#include <assert.h>

enum err connection_create(struct connection **out, enum connection_side side, uint64_t id)
{
    struct connection *c = mem_new(1, sizeof *c);
    *out = c;
    if (!c)
        return ERR_NOMEM;
    c->id = id;
    c->refs = 1;
    c->side = side;
    return ERR_OK;
}

struct connection *connection_ref(struct connection *c)
{
    assert(c->refs > 0);
    c->refs++;
    return c;
}

void connection_unref(struct connection **c)
{
    struct connection *it = *c;
    *c = NULL;
    if (!it)
        return;
    assert(it->refs > 0);
    if (--it->refs > 0)
        return;
    buf_free(&it->chain);
    mem_free(it);
}

void connection_set(char *field, size_t size, struct span text)
{
    assert(size > 0);
    size_t n = text.n < size - 1 ? text.n : size - 1;
    if (n)
        memcpy(field, text.p, n);
    field[n] = '\0';
}
