/* flow_grpc.h: how a gRPC call of a tape ended, for ls and show. */
#ifndef RINGTAPE_TOOLS_FLOW_GRPC_H
#define RINGTAPE_TOOLS_FLOW_GRPC_H

#include "tape/tape.h"

/* `struct flow_grpc g = {.is = false};` is valid and empty. */
struct flow_grpc {
    bool is;            /* the response is gRPC or gRPC-Web */
    struct buf status;  /* grpc-status as it came; empty: none (cut off) */
    struct buf message; /* grpc-message, percent-decoded; hostile bytes */
    const char *word;   /* "NOT_FOUND"; NULL: no known status */
};

/* From the trailers, the head (a trailers-only answer), or the trailers frame in a gRPC-Web body, which alone is a reason to read the body: other flows
 * cost a look at their fields. Content that cannot be read as such has no status. Fails with ERR_NOMEM, ERR_DB, ERR_CORRUPT. */
MUST_USE enum err flow_grpc_read(struct tape *tape, const struct tape_flow *flow, struct flow_grpc *out);
void flow_grpc_free(struct flow_grpc *g);

/* `,"grpc_status":5,"grpc_message":"no such thing"`, for a gRPC flow only; null: none. A status that is no number is a string. */
MUST_USE enum err flow_grpc_members(struct tape *tape, const struct tape_flow *flow, struct buf *out);

#endif
