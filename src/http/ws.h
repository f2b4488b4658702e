/* ws.h: WebSocket (RFC 6455) with permessage-deflate (RFC 7692), read as a bystander: one direction of a connection, bytes in, messages out;
 * and the frames of a server. Performs no I/O. Memory is bounded whatever the length of a message: what is long comes in pieces of
 * LIMIT_MESSAGE_BYTES.
 * Spans given to the callback die when it returns. One thread. */
#ifndef RINGTAPE_HTTP_WS_H
#define RINGTAPE_HTTP_WS_H

#include "http/head.h"

struct ws;

enum ws_side { WS_CLIENT, WS_SERVER };

/* name, opcode (RFC 6455 §5.2), word on the tape */
#define WS_KINDS(X)                                                                                                    \
    X(WS_TEXT, 0x1, "text")                                                                                            \
    X(WS_BINARY, 0x2, "binary")                                                                                        \
    X(WS_CLOSE, 0x8, "close")                                                                                          \
    X(WS_PING, 0x9, "ping")                                                                                            \
    X(WS_PONG, 0xa, "pong")

enum ws_kind {
#define WS_KIND_ENUM(name, opcode, word) name = (opcode),
    WS_KINDS(WS_KIND_ENUM)
#undef WS_KIND_ENUM
};
const char *ws_kind_word(enum ws_kind kind);

/* A message (not a frame), or a piece of a long one. Unmasked and inflated. */
struct ws_message {
    enum ws_kind kind;
    bool last;           /* the message ends here; control frames always do */
    struct span data;    /* may be empty; WS_CLOSE: the reason, without the code */
    unsigned code;       /* WS_CLOSE: the status code (§7.4), 0: none was given */
    uint64_t wire_bytes; /* of its frames, their heads included, since the piece before */
    const char *
        flaw; /* with `last`: what is wrong with the content (text that is not UTF-8, a reserved close code), static; NULL: nothing */
};

/* What both sides agreed on in the opening handshake. Zeroed: no extension. */
struct ws_extensions {
    bool deflate; /* permessage-deflate, and nothing else */
    bool
        unknown; /* something that this reader does not know: the frames cannot be told apart from it, give up reading */
    bool no_takeover[2];     /* by enum ws_side: the one that sends */
    unsigned window_bits[2]; /* 8 to 15; 15 unless negotiated */
};
/* From the fields of the 101 response (Sec-WebSocket-Extensions). */
void ws_extensions_read(struct ws_extensions *out, const struct headers *response);
/* For a recorded response that is told to another client: changes its Sec-WebSocket-Extensions to what the request's offers allow (RFC 7692 §5.1), or takes the
 * field out. Fails with ERR_NOMEM, ERR_LIMIT. */
MUST_USE enum err ws_extensions_fit(struct headers *response, const struct headers *request);

/* A reader of what `from` sends. `message` fails with what is to end the reading. Fails with ERR_NOMEM, ERR_UNSUPPORTED (extensions->unknown). */
MUST_USE enum err ws_create(struct ws **out, enum ws_side from, const struct ws_extensions *extensions,
                            enum err (*message)(void *ctx, const struct ws_message *message), void *ctx);
/* Consumes all of `in`. Fails with ERR_PARSE (a violation of the protocol: ws_error(), and ws_ambiguous()), ERR_LIMIT (deflate bomb), ERR_NOMEM, or what the
 * callback returned. After a failure only ws_error(), ws_ambiguous() and ws_destroy(). */
MUST_USE enum err ws_feed(struct ws *ws, struct span in);
/* After ERR_PARSE: those bytes of that last `in` that no message told came of, from the violation on. */
struct span ws_unread(const struct ws *ws, struct span in);
/* What the violation was, for people; static. "" : none. */
const char *ws_error(const struct ws *ws);
/* Could two parsers read the frame's end differently (a length that is not minimal, or beyond 63 bits)? Then it must not be forwarded. */
bool ws_ambiguous(const struct ws *ws);
/* Is a message under way, of which `last` has not come? */
bool ws_in_message(const struct ws *ws);
void ws_destroy(struct ws **ws);

/* Appends one whole unmasked, uncompressed frame of a server, with FIN. WS_CLOSE: `code` 0 gives an empty body. Fails with ERR_NOMEM. */
MUST_USE enum err ws_put(struct buf *out, enum ws_kind kind, unsigned code, struct span payload);
/* The head alone of a frame of n payload bytes, which follow: for a message in pieces. first: with the opcode; last: with FIN. */
MUST_USE enum err ws_put_head(struct buf *out, enum ws_kind kind, bool first, bool last, uint64_t n);

#endif
