/* recorder.h: the tap that writes a tape. Workers hand events to it; one writer thread owns the database. The queue between is
 * bounded in bytes (LIMIT_QUEUE_BYTES): a worker that finds it full waits, so that reading from sockets slows down and nothing is dropped.
 * When the disk fails for good the recorder says so once, loudly, lets everything pass from then on (forwarding goes on) and
 * recorder_close() reports it. */
#ifndef RINGTAPE_RECORD_RECORDER_H
#define RINGTAPE_RECORD_RECORDER_H

#include "base/log.h"
#include "flow/exchange.h"

struct recorder;
struct tape_filter;

struct recorder_options {
    const char *path;
    bool append;                /* a new session in an existing tape (or a new tape) */
    bool force;                 /* an existing file is replaced, atomically as far as it goes */
    const char *const *command; /* what runs under record, NULL-terminated; NULL: none */
    const char *version;        /* of ringtape */
    struct tape_filter *filter; /* only flows that match stay on the tape; borrowed, for the writer thread; NULL: all */
    unsigned workers;
    unsigned commit_ms;       /* 0: LIMIT_COMMIT_MS */
    uint64_t body_bytes_max;  /* kept of one body; 0: all */
    uint64_t queue_bytes_max; /* 0: LIMIT_QUEUE_BYTES */
    const struct log *log;
};

/* Makes or opens the tape (mode 0600) and starts the writer. *problem gets one sentence on failure. Fails with ERR_EXISTS (neither append nor force),
 * ERR_PERMISSION, ERR_NOT_TAPE, ERR_TAPE_NEWER, ERR_DISK_FULL, ERR_DB, ERR_IO, ERR_NOMEM. Nothing existing is harmed by a failure. */
MUST_USE enum err recorder_create(struct recorder **out, const struct recorder_options *options, struct buf *problem);

/* The tap of worker i, used on that worker's thread only. Borrowed. */
struct tap *recorder_tap(struct recorder *r, unsigned worker);

/* Worker i, at the end of each loop turn with events, or on a timer: hands over what it has gathered. Also done by the tap by itself when
 * enough has gathered; call it at least every commit interval. */
void recorder_flush(struct recorder *r, unsigned worker);

struct recorder_counters {
    uint64_t flows, errors;   /* ended, and kept by the filter; of these, with an error */
    uint64_t body_bytes;      /* both directions */
    uint64_t queue_bytes;     /* waiting now */
    uint64_t commits, stalls; /* stalls: how often a worker had to wait */
    bool failed;              /* the tape could not be written any further */
};
/* Any thread. */
void recorder_get_counters(const struct recorder *r, struct recorder_counters *out);

/* After all workers have stopped using their taps: writes what is queued, marks what is unfinished, ends the session, checkpoints so that the tape is one
 * file, closes. Clears *r. *problem gets a sentence when it fails with ERR_DISK_FULL, ERR_DB, ERR_IO: what is on the tape is sound but not all. */
MUST_USE enum err recorder_close(struct recorder **r, struct buf *problem);

/* The same, with the last state of the counters: what recorder_get_counters() tells before may not have reached the writer yet. */
MUST_USE enum err recorder_finish(struct recorder **r, struct recorder_counters *last, struct buf *problem);

#endif
