/* spool.h: long strings of the entry at hand, on disk, so that memory does not grow with them. The file is the caller's, has no name and is
 * cut to nothing from entry to entry. Internal to har/. */
#ifndef RINGTAPE_HAR_SPOOL_H
#define RINGTAPE_HAR_SPOOL_H

#include "base/buf.h"

struct spool {
    int fd;        /* borrowed */
    uint64_t n;    /* bytes that were put */
    uint64_t flat; /* of these, in the file */
    struct buf pending;
};

#define SPOOL_INIT(descriptor) ((struct spool){.fd = (descriptor), .pending = BUF_INIT})

void spool_free(struct spool *s);
/* Empties it. Fails with ERR_IO. */
MUST_USE enum err spool_reset(struct spool *s);
/* Fails with ERR_DISK_FULL, ERR_IO, ERR_NOMEM. */
MUST_USE enum err spool_put(struct spool *s, struct span bytes);
/* All of [at, at + n) to `sink`, in pieces of at most 64 KB. Fails with ERR_IO, ERR_DISK_FULL, ERR_NOMEM, or what the sink returned. */
MUST_USE enum err spool_pass(struct spool *s, uint64_t at, uint64_t n, enum err (*sink)(void *ctx, struct span bytes),
                             void *ctx);

#endif
