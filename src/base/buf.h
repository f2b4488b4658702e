/* buf.h: a growable byte buffer with a head offset, so that it serves as a queue too. Embedded by value:
 * `struct buf b = BUF_INIT;` is valid and empty; buf_free() returns it to that state. Not thread-safe. */
#ifndef RINGTAPE_BASE_BUF_H
#define RINGTAPE_BASE_BUF_H

#include "base/err.h"
#include "base/span.h"

#include <stdarg.h>

struct buf {
    uint8_t *p; /* the block; live bytes are p[head .. head + n) */
    size_t head;
    size_t n;
    size_t cap;
};

#define BUF_INIT ((struct buf){NULL, 0, 0, 0})

void buf_free(struct buf *b);

/* Empties it and keeps the block. */
void buf_clear(struct buf *b);

/* The live bytes. The span dies at the next call that grows or consumes. */
static inline struct span buf_span(const struct buf *b)
{
    return (struct span){b->p ? b->p + b->head : NULL, b->n};
}

/* Room for `n` more bytes; *out points at it. Commit what was written with buf_commit(). Fails with ERR_NOMEM. */
MUST_USE enum err buf_reserve(struct buf *b, size_t n, uint8_t **out);
void buf_commit(struct buf *b, size_t n);

/* Appends. Fails with ERR_NOMEM; the buffer is then unchanged. */
MUST_USE enum err buf_put(struct buf *b, struct span s);
MUST_USE enum err buf_put_byte(struct buf *b, uint8_t byte);
MUST_USE enum err buf_put_str(struct buf *b, const char *s);
MUST_USE enum err buf_printf(struct buf *b, const char *format, ...) __attribute__((format(printf, 2, 3)));
MUST_USE enum err buf_vprintf(struct buf *b, const char *format, va_list args) __attribute__((format(printf, 2, 0)));
MUST_USE enum err buf_put_u64(struct buf *b, uint64_t value); /* decimal text */

/* Drops n bytes (at most what is there) from the front. */
void buf_consume(struct buf *b, size_t n);

/* Terminates (the terminator is not counted) and returns the bytes as text that buf_free() owns.
 * NULL when out of memory. */
const char *buf_cstr(struct buf *b);

#endif
