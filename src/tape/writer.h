/* writer.h: writing a tape, row by row, on one thread and with no thread of its own: what runs it (the recorder's writer thread, an import)
 * decides when to commit. A transaction opens with the first row. Equal header blocks and equal contents are stored once, but for a
 * recording with a filter, in which each flow has its own to take along.
 * After a failure every further call fails in the same way, and only tape_writer_close() has an effect: what was committed is sound. */
#ifndef RINGTAPE_TAPE_WRITER_H
#define RINGTAPE_TAPE_WRITER_H

#include "base/hash.h"
#include "tape/fields.h"
#include "tape/filter.h"
#include "tape/tape.h"

struct tape_writer;

struct tape_writer_options {
    const char *path;
    bool append, force; /* as in recorder.h */
    bool whole;         /* with neither or with force: the file appears when it is closed; abandoned, there is none */
    const char *const *command; /* NULL-terminated; NULL: none */
    const char *version;
    struct tape_filter *filter; /* only flows that match stay; borrowed until the end; NULL: all */
    unsigned page_bytes;        /* of a new tape; 0: the default */
    const struct log *log;
};

/* Makes or opens the tape, locks it and begins a session. Fails as recorder_create() does. */
MUST_USE enum err tape_writer_open(struct tape_writer **out, const struct tape_writer_options *options,
                                   struct buf *problem);
/* Commits, ends the session, and leaves one file behind. Clears *w (may be NULL). Gives the first failure of the writer's life, with a
 * sentence: ERR_DISK_FULL, ERR_DB, ERR_IO, ERR_CORRUPT, ERR_NOMEM. */
MUST_USE enum err tape_writer_close(struct tape_writer **w, struct buf *problem);

/* Closes without ending the session, as a crash would, but with what was committed. Clears *w (may be NULL). */
void tape_writer_abandon(struct tape_writer **w);
/* For people: what its first failure was; `otherwise` when it had none. Borrowed. */
/* Has it? Then what else went wrong is a consequence. */
bool tape_writer_failed(const struct tape_writer *w);
const char *tape_writer_problem(const struct tape_writer *w, enum err otherwise);

/* What to add to the numbers of this process to get ids that the tape does not have yet. */
int64_t tape_writer_flow_base(const struct tape_writer *w);
int64_t tape_writer_connection_base(const struct tape_writer *w);
int64_t tape_writer_session(const struct tape_writer *w);

/* All below fail with ERR_DISK_FULL, ERR_DB, ERR_IO, ERR_CORRUPT, ERR_NOMEM. */
MUST_USE enum err tape_writer_commit(struct tape_writer *w);

/* The block that holds these fields; *id is 0 when there are none. */
MUST_USE enum err tape_writer_fields(struct tape_writer *w, const struct fields_packed *fields, int64_t *id);

/* Content that is there in one piece (LIMIT_INLINE_BODY_BYTES or so; certificate chains too); *id is 0 when it is empty. */
MUST_USE enum err tape_writer_content(struct tape_writer *w, struct span content, int64_t *id);

/* Content that comes in pieces. Embedded by the caller; zeroed is "not begun". */
struct tape_writer_body {
    int64_t id;
    uint64_t bytes;
    int64_t seq;
    struct hash128_state hash;
    bool dirty; /* the row does not tell the size yet */
};
MUST_USE enum err tape_writer_body_begin(struct tape_writer *w, struct tape_writer_body *body);
/* At most LIMIT_CHUNK_BYTES. at_ns: offset from the flow's start. */
MUST_USE enum err tape_writer_body_chunk(struct tape_writer *w, struct tape_writer_body *body, int64_t at_ns,
                                         struct span piece);
/* Before a commit: what is there so far. */
MUST_USE enum err tape_writer_body_sync(struct tape_writer *w, struct tape_writer_body *body);
/* It is whole. Gives up its copy when the tape holds the same content already. */
MUST_USE enum err tape_writer_body_end(struct tape_writer *w, struct tape_writer_body *body);

/* As struct tape_flow, with ids in place of what is stored elsewhere (0: none). */
struct tape_flow_row {
    int64_t id;
    struct span kind, track;
    uint64_t started_ns;
    struct span method, scheme, host, path;
    unsigned port;
    struct span request_version, response_version;
    unsigned status;
    struct span reason;
    int64_t request_headers, request_trailers, response_headers, response_trailers;
    int64_t request_body, response_body;
    uint64_t request_bytes, response_bytes;
    uint64_t request_wire_bytes, response_wire_bytes;
    struct span informational;
    int64_t request_end_ns, sent_ns, response_begin_ns, response_end_ns; /* -1: did not happen */
    bool complete;
    struct span error;
    int64_t client_connection, server_connection;
    bool server_reused, answered;
};
/* A row that is there already is replaced. */
MUST_USE enum err tape_writer_flow(struct tape_writer *w, const struct tape_flow_row *row);

/* Nothing more comes for this flow: with a filter that it does not match, it is taken off the tape again. */
MUST_USE enum err tape_writer_flow_ended(struct tape_writer *w, int64_t id, bool *kept);

/* As struct tape_connection; a connection that is there already is replaced. */
MUST_USE enum err tape_writer_connection(struct tape_writer *w, const struct tape_connection *connection);

/* id and the flow's number are in `message`; id is given by the writer. */
MUST_USE enum err tape_writer_message(struct tape_writer *w, int64_t flow, const struct tape_message *message);

#endif
