/* h1.h: HTTP/1.1 codec (RFC 9112). Bytes in, events out; performs no I/O. One codec parses one direction of one
 * connection; the h1_put_*() functions serialise.
 * Spans and heads given to a callback die when it returns. `ctx` is borrowed. After an error only h1_error(), h1_message() and
 * h1_destroy() are valid. A callback may return an error, which h1_feed() then returns; it must not feed or destroy the codec. */
#ifndef RINGTAPE_HTTP_H1_H
#define RINGTAPE_HTTP_H1_H

#include "http/head.h"

struct h1;

enum h1_role {
    H1_SERVER, /* parses requests */
    H1_CLIENT, /* parses responses */
};

enum h1_framing { H1_NO_BODY, H1_LENGTH, H1_CHUNKED, H1_UNTIL_CLOSE, H1_TUNNEL };

/* What the connection needs to know about the message in hand, beyond its head. Valid from `head` on. */
struct h1_message {
    enum h1_framing framing;
    uint64_t content_length;  /* H1_LENGTH */
    bool keep_alive;          /* the connection may carry another message after this one */
    bool expect_continue;     /* request: Expect: 100-continue */
    bool upgrade;             /* request: Connection: upgrade with an Upgrade field; response: 101 */
    bool absolute_form;       /* request: the target was absolute (a forward-proxy request) */
    bool has_host;            /* request: a Host field was there */
    uint64_t head_bytes;      /* of the head on the wire */
    uint64_t body_wire_bytes; /* so far, with chunk framing and trailers */
};

struct h1_events {
    /* Request: origin-form leaves scheme empty and host/port from Host (port 0 when not given); absolute-form fills all; CONNECT
     * fills host and port. Response: final heads (101 too). */
    enum err (*head)(void *ctx, const struct head *head, const struct h1_message *message);
    /* Response: 1xx other than 101. Never called for requests. */
    enum err (*informational)(void *ctx, const struct head *head);
    enum err (*body)(void *ctx, struct span bytes);                  /* transfer-decoded; never empty */
    enum err (*trailers)(void *ctx, const struct headers *trailers); /* only when there are some */
    enum err (*end)(void *ctx);
};

/* Creates a codec. On failure *out is NULL. Fails with ERR_NOMEM. */
MUST_USE enum err h1_create(struct h1 **out, enum h1_role role, const struct h1_events *events, void *ctx);

/* Frees *codec and clears it; *codec may be NULL. */
void h1_destroy(struct h1 **codec);

/* H1_CLIENT: what the next response answers; needed before its first byte, since HEAD, CONNECT and 204/304 change its framing
 * (RFC 9112 §6.3). Valid once per response. */
void h1_expect(struct h1 *codec, struct span method);

/* Parses. *used says how many bytes were taken: all of them, unless a message ended: then parsing stops right after it (so that
 * pipelined messages wait, RFC 9112 §9.3.2) until h1_next(). Bytes after a CONNECT, an upgrade request or a 101/2xx-to-CONNECT response
 * are never taken.
 * Methods: any token, in any case; targets: any graphic bytes, raw UTF-8 too. A Host that disagrees with an absolute target is replaced by the
 * target's authority in the head (RFC 9112 §3.2.2).
 * Fails with ERR_PARSE, ERR_AMBIGUOUS (framing that two parsers could read differently), ERR_UNSUPPORTED (a transfer coding around which the
 * framing is clear: "gzip, chunked"; answer 501), ERR_LIMIT, ERR_NOMEM, or what a callback returned. */
MUST_USE enum err h1_feed(struct h1 *codec, struct span in, size_t *used);

/* Makes ready for the next message on the connection, after `end`. An upgrade request that was refused goes on as HTTP. */
void h1_next(struct h1 *codec);

/* The connection ended. ERR_OK: between messages, or it ended a close-delimited body (`end` was called). Fails with ERR_TRUNCATED, or what a
 * callback returned. */
MUST_USE enum err h1_eof(struct h1 *codec);

/* Has a byte of the message in hand been seen? */
bool h1_in_message(const struct h1 *codec);

const struct h1_message *h1_message(const struct h1 *codec);

/* After an error: what was wrong, for people, static ("Content-Length and Transfer-Encoding"). "" otherwise. */
const char *h1_error(const struct h1 *codec);

/* ---- serialising; all append to out and fail with ERR_NOMEM ---- */

/* How the message goes out on this connection. */
struct h1_out {
    enum h1_framing framing;
    uint64_t content_length; /* H1_LENGTH */
    bool keep_alive;
    bool absolute_form; /* request towards another proxy */
    bool
        keep_framing_fields; /* H1_NO_BODY answers to HEAD, 204, 304: Content-Length and Transfer-Encoding go out as they came */
    bool upgrade;            /* request or 101: Connection and Upgrade go out */
    bool say_keep_alive; /* "Connection: keep-alive" goes out: an HTTP/1.0 peer asked for it */
};

/* Drops hop-by-hop fields, then writes what the framing needs (Content-Length kept in place where it agrees). A request's Host is kept, or
 * written first from host and port. "TE: trailers" is kept; Proxy-Authorization only with absolute_form or CONNECT, Proxy-Authenticate only in
 * a 407: whoever sends those on must have put them there. A response of H1_NO_BODY that is none by its status gets Content-Length 0.
 * Also fails with ERR_PARSE when a name or value would break the framing (CR, LF, NUL). */
MUST_USE enum err h1_put_request(struct buf *out, const struct head *head, const struct h1_out *how);
MUST_USE enum err h1_put_response(struct buf *out, const struct head *head, const struct h1_out *how);

/* A 1xx response head. */
MUST_USE enum err h1_put_informational(struct buf *out, const struct head *head);

/* One chunk: size line before, CRLF after its data; and the last one with its trailers (NULL or empty: none). */
MUST_USE enum err h1_put_chunk_begin(struct buf *out, size_t n);
MUST_USE enum err h1_put_chunk_end(struct buf *out);
MUST_USE enum err h1_put_last_chunk(struct buf *out, const struct headers *trailers);

/* How a message with this head is framed when h1 has to choose: Content-Length where the head has a single valid one, else chunked
 * (for an HTTP/1.0 peer: until close). `method` is the request's. */
struct h1_out h1_plan_response(const struct head *head, struct span method, bool peer_is_http10, bool keep_alive);
struct h1_out h1_plan_request(const struct head *head, bool has_body, bool keep_alive);

#endif
