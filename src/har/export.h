/* export.h: a tape as HAR 1.2, as JSON lines, or as a shell script of curl commands (docs/har.md). Streams: memory does not grow with
 * the tape or with a body. */
#ifndef RINGTAPE_HAR_EXPORT_H
#define RINGTAPE_HAR_EXPORT_H

#include "tape/tape.h"

/* word of --format */
#define HAR_FORMATS(X)                                                                                                 \
    X(HAR_FORMAT_HAR, "har")                                                                                           \
    X(HAR_FORMAT_JSONL, "jsonl")                                                                                       \
    X(HAR_FORMAT_CURL, "curl")

enum har_format {
#define HAR_FORMAT_ENUM(name, word) name,
    HAR_FORMATS(HAR_FORMAT_ENUM)
#undef HAR_FORMAT_ENUM
};

/* False: no format of that name. */
bool har_format_parse(const char *word, enum har_format *out);

/* Where the bytes go, in pieces of some 64 KB. An error (ERR_DISK_FULL, ERR_CLOSED, …) ends the export, which then returns it. */
struct har_sink {
    enum err (*write)(void *ctx, struct span bytes);
    void *ctx;
};

struct har_options {
    enum har_format format;
    bool pages;          /* HAR: one page a session; else no pages */
    const char *version; /* of ringtape */
    int64_t session;     /* 0: all */
    /* Which flows. NULL: all. Its errors end the export. */
    enum err (*include)(void *ctx, struct tape *tape, const struct tape_flow *flow, bool *yes);
    void *include_ctx;
};

struct har_result {
    uint64_t flows;   /* written */
    uint64_t damaged; /* flows of which something could not be read from the tape; each says so in its `comment` */
};

/* Flows in the order in which they began. Fails with ERR_NOMEM, ERR_DB, ERR_CORRUPT (tape_problem() says more; what was written up to there
 * is closed, so that it parses), or what the sink or `include` returned. */
MUST_USE enum err har_export(struct tape *tape, const struct har_options *options, const struct har_sink *sink,
                             struct har_result *result);

#endif
