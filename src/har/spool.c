/* spool.c: appended through a buffer, read back by pread(). */
#include "har/spool.h"

#include "base/util.h"

#include <errno.h>
#include <unistd.h>

enum { SPOOL_PIECE = 65536 };

void spool_free(struct spool *s)
{
    buf_free(&s->pending);
}

enum err spool_reset(struct spool *s)
{
    bool used = s->flat > 0;
    s->n = s->flat = 0;
    buf_clear(&s->pending);
    return used && ftruncate(s->fd, 0) != 0 ? err_from_errno(errno) : ERR_OK;
}

static enum err spool_flush(struct spool *s)
{
    while (s->pending.n > 0) {
        struct span rest = buf_span(&s->pending);
        ssize_t n = pwrite(s->fd, rest.p, rest.n, (off_t)s->flat);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return n == 0 ? ERR_IO : err_from_errno(errno);
        s->flat += (uint64_t)n;
        buf_consume(&s->pending, (size_t)n);
    }
    return ERR_OK;
}

enum err spool_put(struct spool *s, struct span bytes)
{
    enum err e = buf_put(&s->pending, bytes);
    s->n += e ? 0 : bytes.n;
    return !e && s->pending.n >= SPOOL_PIECE ? spool_flush(s) : e;
}

enum err spool_pass(struct spool *s, uint64_t at, uint64_t n, enum err (*sink)(void *ctx, struct span bytes), void *ctx)
{
    uint8_t piece[SPOOL_PIECE];
    enum err e = spool_flush(s);
    while (!e && n > 0) {
        ssize_t got = pread(s->fd, piece, (size_t)MIN(n, (uint64_t)sizeof piece), (off_t)at);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got == 0 ? ERR_IO : err_from_errno(errno);
        at += (uint64_t)got;
        n -= (uint64_t)got;
        e = sink(ctx, span_of(piece, (size_t)got));
    }
    return e;
}
