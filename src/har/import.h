/* import.h: HAR 1.2 into a tape, as it is written by browsers, proxies and clients, with their deviations (docs/har.md). Streams: memory does
 * not grow with the file, nor with a body; what else one entry holds is bounded by LIMIT_HAR_ENTRY_BYTES. A HAR is hostile input: what cannot stand
 * in an HTTP message does not reach the tape. */
#ifndef RINGTAPE_HAR_IMPORT_H
#define RINGTAPE_HAR_IMPORT_H

#include "base/buf.h"
#include "har/mend.h"
#include "tape/writer.h"

/* Where bytes come from. *got is 0 at the end. */
struct har_source {
    enum err (*read)(void *ctx, uint8_t *to, size_t n, size_t *got);
    void *ctx;
};

/* The same bytes; of gzip (RFC 1952, of several members too) what it holds, of a zip file its first member called *.har. *out is a source to read from;
 * free with har_inflate_destroy(). Its reads fail with ERR_PARSE (damaged), ERR_TRUNCATED, ERR_UNSUPPORTED (a zip file without a HAR, encrypted,
 * or of another method than deflate), or what the source returned. Fails with ERR_NOMEM. */
struct har_inflate;
MUST_USE enum err har_inflate_create(struct har_inflate **out, const struct har_source *source);
const struct har_source *har_inflate_source(struct har_inflate *z);
void har_inflate_destroy(struct har_inflate **z);

/* For one tape, file after file. */
struct har_importer;

/* `spool_fd`: an open file without contents, for reading and writing: what is too long for memory lies there meanwhile. Both are borrowed.
 * Fails with ERR_NOMEM. */
MUST_USE enum err har_importer_create(struct har_importer **out, struct tape_writer *writer, int spool_fd);
void har_importer_destroy(struct har_importer **out);

struct har_import_result {
    uint64_t entries, flows; /* in the file; of these, on the tape */
    struct mends mends;
};

/* All entries of one HAR. Fails with ERR_PARSE (not JSON, or not a HAR) and ERR_UNSUPPORTED (another encoding than UTF-8), *problem saying where
 * and why; with what the source returned; and with what is written as tape_writer_flow() does. */
MUST_USE enum err har_import(struct har_importer *im, const struct har_source *source, struct har_import_result *result,
                             struct buf *problem);

#endif
