/* event.h: the version-neutral parts of a message (RFC 9110, section 6), as they travel between a client leg and an origin. What an event
 * points to is borrowed for the call. */
#ifndef RINGTAPE_FLOW_EVENT_H
#define RINGTAPE_FLOW_EVENT_H

#include "http/head.h"

/* name, word on the tape */
#define FLOW_KINDS(X)                                                                                                  \
    X(FLOW_HTTP, "http")                                                                                               \
    X(FLOW_WEBSOCKET, "websocket")                                                                                     \
    X(FLOW_TUNNEL, "tunnel")

enum flow_kind {
#define FLOW_KIND_ENUM(name, word) name,
    FLOW_KINDS(FLOW_KIND_ENUM)
#undef FLOW_KIND_ENUM
};

enum part {
    PART_HEAD,          /* request head; final response head */
    PART_INFORMATIONAL, /* response: 1xx */
    PART_BODY,
    PART_TRAILERS,
    PART_END,   /* the message is complete */
    PART_ERROR, /* it never will be; nothing follows in this direction */
};

struct event {
    enum part part;
    uint64_t at_ns;                 /* monotonic */
    const struct head *head;        /* PART_HEAD, PART_INFORMATIONAL */
    bool no_body;                   /* PART_HEAD: neither body nor trailers follow */
    struct span data;               /* PART_BODY */
    const struct headers *trailers; /* PART_TRAILERS */
    enum err error;                 /* PART_ERROR */
    const char *reason;             /* PART_ERROR: for people; not NULL */
};

/* What an exchange carries within its content or its raw bytes (schema/tape.sql, table message).
 * name, word on the tape */
#define MESSAGE_KINDS(X)                                                                                               \
    X(MESSAGE_BYTES, "bytes") /* of a WebSocket whose frames cannot be read */                                         \
    X(MESSAGE_VIOLATION, "violation")                                                                                  \
    X(MESSAGE_TEXT, "text")                                                                                            \
    X(MESSAGE_BINARY, "binary")                                                                                        \
    X(MESSAGE_PING, "ping")                                                                                            \
    X(MESSAGE_PONG, "pong")                                                                                            \
    X(MESSAGE_CLOSE, "close")                                                                                          \
    X(MESSAGE_EVENT, "event")                                                                                          \
    X(MESSAGE_GRPC, "grpc")

enum message_kind {
#define MESSAGE_KIND_ENUM(name, word) name,
    MESSAGE_KINDS(MESSAGE_KIND_ENUM)
#undef MESSAGE_KIND_ENUM
};

struct message {
    enum message_kind kind;
    uint64_t at_ns;      /* monotonic: its last byte came */
    bool more;           /* a piece, at most LIMIT_MESSAGE_BYTES; the next of this direction and kind goes on with it */
    uint64_t wire_bytes; /* of this piece, frames included, as compressed as it came */
    uint64_t before;     /* bytes of `data` that were told before in this direction */
    struct span data;    /* unmasked, decompressed; MESSAGE_CLOSE: the reason; MESSAGE_VIOLATION: what was wrong */
    unsigned code;       /* MESSAGE_CLOSE: status code, 0: none */
    struct span event, event_id; /* MESSAGE_EVENT */
    bool has_event_id;
    int64_t retry_ms; /* MESSAGE_EVENT; -1: none */
};

const char *message_kind_word(enum message_kind kind);
const char *flow_kind_word(enum flow_kind kind);

#endif
