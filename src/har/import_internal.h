/* import_internal.h: what the files of the import share. Internal to har/. */
#ifndef RINGTAPE_HAR_IMPORT_INTERNAL_H
#define RINGTAPE_HAR_IMPORT_INTERNAL_H

#include "har/decode.h"

enum { IMPORT_PEERS = 65536 };

/* A server connection that entries refer to, by a number or by the hash of a name. */
struct import_peer {
    uint64_t name, address; /* hashes, or the number; 0: free */
    int64_t id;
};

struct har_importer {
    struct tape_writer *writer; /* borrowed */
    struct spool spool;
    struct tree tree;
    struct reader reader;
    struct mends *mends; /* of the file at hand */
    struct hash_key key;
    int64_t flows; /* the last id */
    int64_t connections, connections_base,
        next;                  /* the last id; those of this file begin after; the next one without a number */
    struct import_peer *peers; /* IMPORT_PEERS; a place is taken over by a later one */
    struct headers headers;
    struct buf url, host, method, path, track, reason, error, peer, json, packed;
    uint64_t started_ns; /* of the last entry */
    uint64_t uncommitted_flows, uncommitted_bytes;
};

/* The entry at hand. */
struct import_entry {
    struct har_importer *im;
    const json_t *root, *request, *response;
    const json_t *own; /* _ringtape; NULL: another program wrote it */
    struct tape_flow_row row;
    bool websocket;
};

/* One entry, of im->tree, to the tape; *kept: it is there. */
MUST_USE enum err import_entry(struct har_importer *im, bool *kept);

/* [{name, value}, …] or {name: value} into im->headers (cleared first). */
MUST_USE enum err import_fields(struct har_importer *im, const json_t *list);
/* im->headers to the tape. */
MUST_USE enum err import_put_fields(struct har_importer *im, int64_t *id);
/* A text that may be {"base64": …}, as tapes have it for what is no UTF-8. False: neither. */
MUST_USE enum err import_bytes(const json_t *object, const char *key, struct buf *out, bool *there);

/* import_time.c: startedDateTime, timings, and the connection that they tell of. */
void import_start(struct import_entry *x);
MUST_USE enum err import_timing(struct import_entry *x);

/* import_body.c */
MUST_USE enum err import_request_body(struct import_entry *x);
/* Changes im->headers, those of the response, where the content is decoded. */
MUST_USE enum err import_response_body(struct import_entry *x);

/* import_messages.c: _webSocketMessages and _eventSourceMessages. */
MUST_USE enum err import_messages(struct import_entry *x);

#endif
