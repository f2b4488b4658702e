/* tape.h: reading a tape (docs/tape.md). A tape is hostile input: it is opened read-only, with DEFENSIVE, trusted_schema off and limits set,
 * its schema is checked first, and nothing in it is executed, used as a path, or printed raw. A tape belongs to one thread;
 * several may read the same file. Rows and spans are borrowed until the next call on the same cursor. */
#ifndef RINGTAPE_TAPE_TAPE_H
#define RINGTAPE_TAPE_TAPE_H

#include "base/buf.h"
#include "base/log.h"
#include "http/head.h"

enum { TAPE_APPLICATION_ID = 0x52545031, TAPE_VERSION = 2 };

struct tape;

/* *problem (a buffer) gets one sentence for people on failure. Fails with ERR_NOT_FOUND, ERR_PERMISSION, ERR_NOT_TAPE, ERR_TAPE_NEWER,
 * ERR_CORRUPT (damaged or truncated: says how to save what is sound), ERR_DB, ERR_NOMEM. A tape that is still being recorded can be read.
 * `fd_free`: nothing. */
MUST_USE enum err tape_open(struct tape **out, const char *path, struct buf *problem);
void tape_close(struct tape **tape);
const char *tape_path(const struct tape *tape);
/* For people, after ERR_DB or ERR_CORRUPT from any call on this tape. Borrowed. */
const char *tape_problem(const struct tape *tape);

enum tape_side { TAPE_REQUEST, TAPE_RESPONSE };

/* Where content lies: inline in the flow's row, in `body`, or in chunks. Copyable; valid as long as the tape is open. */
struct tape_body_ref {
    int64_t id;          /* 0: no content */
    uint64_t bytes;      /* kept on the tape */
    uint64_t wire_bytes; /* after transfer-decoding, as it was forwarded: more than `bytes` when --max-body cut it */
};

/* One flow. Times are monotonic offsets in ns from started_ns, or -1: did not happen. */
struct tape_flow {
    int64_t id, session;
    struct span track, kind;                /* kind: "http", "websocket", "tunnel" */
    uint64_t started_ns;                    /* wall clock, since 1970 */
    struct span method, scheme, host, path; /* path with its query */
    unsigned port;
    struct span request_version, response_version; /* "HTTP/1.1"; "" no response */
    unsigned status;                               /* 0: none */
    struct span reason;
    struct span request_headers, request_trailers; /* JSON; read with tape_headers(); empty: none */
    struct span response_headers, response_trailers;
    struct span informational; /* JSON: [[status, reason, headers, offset_ns]…]; empty: none */
    struct tape_body_ref request_body, response_body;
    uint64_t request_wire_bytes, response_wire_bytes; /* heads and framing included */
    int64_t request_end_ns, sent_ns, response_begin_ns, response_end_ns;
    bool complete;
    struct span error;                            /* "word: reason"; empty: none */
    int64_t client_connection, server_connection; /* ids; 0: none */
    bool server_reused;
    bool answered; /* ringtape answered in the origin's place (502, 504, 508): there is a status, no response */
};

/* The reason in `error` of a flow whose response ended, complete, while its request was still coming (413, say). */
#define TAPE_ENDED_EARLY "the response ended before the request did"

/* A response field that only imported flows have, in place of Content-Encoding (its value): their source had the content
 * decoded, and so has the tape; response_body.wire_bytes is then what was sent, and says nothing about what is missing. */
#define TAPE_DECODED_FIELD "Ringtape-Content-Encoding"

struct tape_cursor;

struct tape_query {
    int64_t id;      /* one flow; 0: all */
    int64_t session; /* 0: all */
    bool by_start;   /* sorted by start, else by id */
};
MUST_USE enum err tape_flows(struct tape *tape, const struct tape_query *query, struct tape_cursor **out);
/* ERR_OK with *out filled, or ERR_NOT_FOUND at the end, ERR_DB, ERR_CORRUPT. */
MUST_USE enum err tape_flow_next(struct tape_cursor *cursor, struct tape_flow *out);
void tape_cursor_close(struct tape_cursor **cursor);

/* Reads a JSON field list into `out` (cleared first); bytes that were not UTF-8 come back as they were. Fails with ERR_CORRUPT, ERR_NOMEM, ERR_LIMIT. */
MUST_USE enum err tape_headers(struct span json, struct headers *out);
/* Its inverse, appended. Fails with ERR_NOMEM. */
MUST_USE enum err tape_headers_json(const struct headers *h, struct buf *out);

/* Content in pieces of at most LIMIT_CHUNK_BYTES, in order. Several may be open at once. */
struct tape_body;
MUST_USE enum err tape_body_open(struct tape *tape, const struct tape_body_ref *ref, struct tape_body **out);
/* ERR_NOT_FOUND at the end. at_ns: when this piece was received, offset from the flow's start, or -1 when not kept. */
MUST_USE enum err tape_body_next(struct tape_body *body, struct span *piece, int64_t *at_ns);
void tape_body_close(struct tape_body **body);
/* All of it, at most `max` bytes (ERR_LIMIT beyond). Appends. */
MUST_USE enum err tape_body_read(struct tape *tape, const struct tape_body_ref *ref, size_t max, struct buf *out);

struct tape_connection {
    int64_t id;
    bool server;
    struct span peer, local, host, sni, alpn, tls_version, tls_cipher;
    unsigned port;
    bool tls_resumed;
    struct span chain;                               /* DER certificates, each after its 4-byte big-endian length */
    uint64_t opened_ns;                              /* wall clock */
    int64_t dns_ns, connected_ns, tls_ns, closed_ns; /* offsets from opened_ns, -1: did not happen */
    struct span error;
};
/* Borrowed until the next call of this function. Fails with ERR_NOT_FOUND, ERR_DB, ERR_CORRUPT. */
MUST_USE enum err tape_connection(struct tape *tape, int64_t id, struct tape_connection *out);
/* Server connections, one after the other (*after starts as 0): for what ALPN and names each origin had. ERR_NOT_FOUND at the end. */
MUST_USE enum err tape_connection_next(struct tape *tape, int64_t *after, struct tape_connection *out);

/* Frames, events and tunnel bytes of one flow, in order. */
struct tape_message {
    int64_t id, seq;
    int64_t at_ns; /* offset from the flow's start */
    bool from_client;
    struct span kind;    /* "bytes", "text", "binary", "ping", "pong", "close", "event", "grpc", "violation" */
    bool more;           /* a piece: the next one of this direction and kind goes on with it */
    uint64_t wire_bytes; /* of this piece, frames included */
    unsigned code;       /* "close": the status code; 0: none */
    bool has_event_id;
    struct span event, event_id; /* "event": type and id; empty: none */
    int64_t retry_ms;            /* "event": -1: none */
    struct span payload;
};
/* Is it of a kind that may come in pieces? Control frames and violations lie between those of a long message. */
bool tape_message_is_content(const struct tape_message *message);

struct tape_message_cursor;
MUST_USE enum err tape_messages(struct tape *tape, int64_t flow, struct tape_message_cursor **out);
/* From that seq on. */
MUST_USE enum err tape_messages_from(struct tape *tape, int64_t flow, int64_t seq, struct tape_message_cursor **out);
MUST_USE enum err tape_message_next(struct tape_message_cursor *cursor, struct tape_message *out);
void tape_message_cursor_close(struct tape_message_cursor **cursor);

struct tape_session {
    int64_t id;
    uint64_t started_ns, ended_ns; /* wall clock; ended 0: still going, or it was cut off */
    struct span command;           /* JSON array, or empty */
    struct span ringtape_version;
    int64_t flows;
};
/* *after starts as 0. ERR_NOT_FOUND at the end. */
MUST_USE enum err tape_session_next(struct tape *tape, int64_t *after, struct tape_session *out);

MUST_USE enum err tape_count_flows(struct tape *tape, int64_t *out);

/* SQLite's: "3.40.1". Static. */
const char *tape_library_version(void);

#endif
