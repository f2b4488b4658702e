/* output.h: results: to standard output, where a write error is an error, or to a file that appears whole or not at all. */
#ifndef RINGTAPE_TOOLS_OUTPUT_H
#define RINGTAPE_TOOLS_OUTPUT_H

#include "base/buf.h"

struct output;

/* `path` NULL or "-": standard output. Else a temporary file beside `path`, which output_commit() renames; a path that is there and is no
 * regular file (a pipe, /dev/null) is written directly. *problem gets a sentence. Fails with ERR_PERMISSION, ERR_NOT_FOUND, ERR_DISK_FULL, ERR_IO,
 * ERR_NOMEM. */
MUST_USE enum err output_open(struct output **out, const char *path, unsigned mode, struct buf *problem);

int output_fd(const struct output *o);

/* Buffered. An error is kept: output_commit() reports it. Fails with ERR_DISK_FULL, ERR_CLOSED (the reader of a pipe is gone), ERR_IO. */
MUST_USE enum err output_put(struct output *o, struct span bytes);

/* The same for bytes that are somebody else's: on a terminal, what could drive it is escaped. Newlines stay, with their CR. */
MUST_USE enum err output_put_foreign(struct output *o, struct span bytes);

/* Flushes and makes the file appear. Clears *o, like output_discard(). Fails as output_put(); the old file, if any, is then as it was. */
MUST_USE enum err output_commit(struct output **o, struct buf *problem);
void output_discard(struct output **o);

/* Could output_file() write there? Asked before hours of work whose result goes there. Leaves no file. Fails as output_open(). */
MUST_USE enum err output_probe(const char *path, struct buf *problem);

/* A whole file at once. */
MUST_USE enum err output_file(const char *path, unsigned mode, struct span bytes, struct buf *problem);

/* Standard output at once. A reader that is gone is no error. */
MUST_USE enum err output_stdout(struct span bytes, struct buf *problem);

/* A whole small file. Fails with ERR_NOT_FOUND, ERR_PERMISSION, ERR_LIMIT, ERR_IO, ERR_NOMEM. Appends. */
MUST_USE enum err input_file(const char *path, size_t max, struct buf *out);

/* Are colours wanted on this descriptor: a terminal, and no NO_COLOR? */
bool output_colours(int fd);

#endif
