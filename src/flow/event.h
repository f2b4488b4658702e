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

const char *flow_kind_word(enum flow_kind kind);

#endif
