/* buf.c: the growable buffer. Invariant: head + n <= cap; p is NULL exactly when cap is 0. Consumed space at the
 * front is reused before the block grows. */
#include "base/buf.h"

#include "base/alloc.h"

#include <assert.h>
#include <stdio.h>

enum { BUF_FIRST_CAP = 256 };

void buf_free(struct buf *b)
{
    mem_free(b->p);
    *b = BUF_INIT;
}

void buf_clear(struct buf *b)
{
    b->head = 0;
    b->n = 0;
}

enum err buf_reserve(struct buf *b, size_t n, uint8_t **out)
{
    assert(b->head + b->n <= b->cap);
    if (n > SIZE_MAX / 4 || b->n > SIZE_MAX / 4)
        return ERR_NOMEM;
    if (b->cap - b->head - b->n < n) {
        if (b->cap - b->n >= n && b->head >= b->n) {
            if (b->n)
                memcpy(b->p, b->p + b->head, b->n);
            b->head = 0;
        } else {
            size_t need = b->head + b->n + n;
            size_t cap = b->cap ? b->cap : BUF_FIRST_CAP;
            while (cap < need)
                cap *= 2;
            uint8_t *grown = mem_resize(b->p, cap, 1);
            if (!grown)
                return ERR_NOMEM;
            b->p = grown;
            b->cap = cap;
        }
    }
    *out = b->p + b->head + b->n;
    return ERR_OK;
}

void buf_commit(struct buf *b, size_t n)
{
    assert(n <= b->cap - b->head - b->n);
    b->n += n;
}

enum err buf_put(struct buf *b, struct span s)
{
    if (s.n == 0)
        return ERR_OK;
    uint8_t *at;
    enum err e = buf_reserve(b, s.n, &at);
    if (e)
        return e;
    memcpy(at, s.p, s.n);
    b->n += s.n;
    return ERR_OK;
}

enum err buf_put_byte(struct buf *b, uint8_t byte)
{
    return buf_put(b, span_of(&byte, 1));
}

enum err buf_put_str(struct buf *b, const char *s)
{
    return buf_put(b, span_str(s));
}

enum err buf_vprintf(struct buf *b, const char *format, va_list args)
{
    va_list again;
    va_copy(again, args);
    int n = vsnprintf(NULL, 0, format, args);
    enum err e = ERR_PARSE;
    if (n >= 0) {
        uint8_t *at;
        e = buf_reserve(b, (size_t)n + 1, &at);
        if (!e) {
            (void)vsnprintf((char *)at, (size_t)n + 1, format, again);
            b->n += (size_t)n;
        }
    }
    va_end(again);
    return e;
}

enum err buf_printf(struct buf *b, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    enum err e = buf_vprintf(b, format, args);
    va_end(args);
    return e;
}

enum err buf_put_u64(struct buf *b, uint64_t value)
{
    uint8_t digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (uint8_t)('0' + value % 10);
        value /= 10;
    } while (value);
    return buf_put(b, span_of(digits + at, sizeof digits - at));
}

void buf_consume(struct buf *b, size_t n)
{
    if (n >= b->n) {
        buf_clear(b);
        return;
    }
    b->head += n;
    b->n -= n;
}

const char *buf_cstr(struct buf *b)
{
    uint8_t *at;
    if (buf_reserve(b, 1, &at))
        return NULL;
    *at = 0;
    return (const char *)buf_span(b).p;
}
