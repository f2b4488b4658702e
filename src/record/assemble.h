/* assemble.h: puts notes together again to flows and writes those: a flow that began and ended since the last commit is one INSERT; one that is under way at a
 * commit gets its row early, and again later. On the writer thread only. Internal to record/. */
#ifndef RINGTAPE_RECORD_ASSEMBLE_H
#define RINGTAPE_RECORD_ASSEMBLE_H

#include "record/note.h"
#include "tape/writer.h"

struct assembler;

/* `writer` is borrowed. Fails with ERR_NOMEM. */
MUST_USE enum err assembler_create(struct assembler **out, struct tape_writer *writer);
void assembler_destroy(struct assembler **a);

/* Takes a block of notes. Fails as the writer does, and with ERR_NOMEM. */
MUST_USE enum err assembler_notes(struct assembler *a, struct span notes);

/* What there is since the last commit. */
struct assembler_pending {
    uint64_t flows, bytes;
};
struct assembler_pending assembler_pending(const struct assembler *a);

/* Everything taken so far is on the tape. */
MUST_USE enum err assembler_commit(struct assembler *a);

/* At the end: flows under way are marked as cut off. Then assembler_commit(). */
MUST_USE enum err assembler_finish(struct assembler *a);

struct assembler_counters {
    uint64_t flows, errors;
};
struct assembler_counters assembler_counters(const struct assembler *a);

#endif
