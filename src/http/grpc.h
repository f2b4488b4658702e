/* grpc.h: the length-prefixed messages in the body of a gRPC or gRPC-Web request or response (gRPC over HTTP/2, "Length-Prefixed-Message";
 * PROTOCOL-WEB.md). Bytes in, messages out. Performs no I/O. Bounded: a long message comes in pieces of LIMIT_MESSAGE_BYTES. */
#ifndef RINGTAPE_HTTP_GRPC_H
#define RINGTAPE_HTTP_GRPC_H

#include "http/head.h"

struct grpc;

struct grpc_message {
    bool last; /* the message ends here */
    bool
        compressed; /* its flag; `data` is decoded if grpc-encoding is one that this program knows, else as it came (`raw`) */
    bool raw;
    bool trailers;       /* gRPC-Web: not a message but the trailer fields, as text */
    struct span data;    /* without the prefix; may be empty */
    uint64_t wire_bytes; /* prefix included, since the piece before; gRPC-Web text: after base64 */
};

/* Is it gRPC (application/grpc, application/grpc+proto …) or gRPC-Web, text (base64) too? */
bool grpc_is(struct span content_type);

/* For a message with these fields (Content-Type, grpc-encoding). Fails with ERR_NOMEM, ERR_UNSUPPORTED (grpc_is() is false). */
MUST_USE enum err grpc_create(struct grpc **out, const struct headers *fields,
                              enum err (*message)(void *ctx, const struct grpc_message *message), void *ctx);
/* Consumes all of `in`. Fails with ERR_PARSE (not such messages), ERR_LIMIT (a bomb), ERR_NOMEM, or what the callback returned. */
MUST_USE enum err grpc_feed(struct grpc *g, struct span in);
void grpc_destroy(struct grpc **g);

/* The word for a grpc-status value ("5" -> "NOT_FOUND"); NULL: not a known one. Static. */
const char *grpc_status_word(struct span status);

#endif
