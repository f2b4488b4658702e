/* h2.h: HTTP/2 engine (RFC 9113), one connection, either side. Bytes in, events out, bytes out; performs no I/O.
 * Heads are the version-neutral ones of head.h: pseudo-header fields become its control data ("HTTP/2" is its version), Cookie lines are
 * joined (§8.2.3), names and values stay as they came. Messages that §8.1.1 calls malformed, and those that would mean something else
 * in HTTP/1.1 (CR, LF, NUL, a space in :path, :authority against Host, Content-Length against the data), are reset with
 * PROTOCOL_ERROR and told through `malformed`.
 * Spans and heads given to a callback die when it returns. A callback may call any function here but h2_feed(), h2_output() and h2_destroy().
 * After an error only h2_error(), h2_output() (it holds the GOAWAY) and h2_destroy() are valid. One thread. */
#ifndef RINGTAPE_HTTP_H2_H
#define RINGTAPE_HTTP_H2_H

#include "http/head.h"

struct h2;
struct h2_stream; /* lives from its first event, or from h2_request(), until `closed` returns */

enum h2_role { H2_SERVER, H2_CLIENT };

struct h2_events {
    /* Request (server) or final response (client). end: neither body nor trailers follow. Server: an error resets the stream; scheme, host and
     * port are filled from :scheme and :authority (or Host), port 0 when none was given; CONNECT has host and port only, and no trailers. Extended
     * CONNECT (RFC 8441) is told as the upgrade that HTTP/1.1 has for it: GET with Connection and Upgrade, 101; what follows is bytes. */
    enum err (*head)(void *ctx, struct h2_stream *s, const struct head *head, bool end);
    enum err (*informational)(void *ctx, struct h2_stream *s, const struct head *head); /* client */
    enum err (*body)(void *ctx, struct h2_stream *s, struct span bytes);                /* never empty */
    enum err (*trailers)(void *ctx, struct h2_stream *s, const struct headers *trailers);
    enum err (*end)(void *ctx, struct h2_stream *s); /* the peer's side is complete; not called when head said so */
    void (*drained)(void *ctx, struct h2_stream *s); /* no longer h2_full() */
    /* Gone; forget it. `code` (§7) is 0 when both sides ended. untouched: the peer has not begun to process it, it may be sent again
     * (REFUSED_STREAM, or beyond GOAWAY's last stream, §8.7). */
    void (*closed)(void *ctx, struct h2_stream *s, uint32_t code, bool untouched);
    /* A message was refused; `closed` follows. `head` is what could be read of it (may lack anything). */
    void (*malformed)(void *ctx, struct h2_stream *s, const struct head *head, const char *why);
};

/* Creates it; the preface (client) and SETTINGS are what it has to say first. Fails with ERR_NOMEM. */
MUST_USE enum err h2_create(struct h2 **out, enum h2_role role, const struct h2_events *events, void *ctx);
void h2_destroy(struct h2 **h2); /* no event comes of it; streams go with it */

/* Consumes all of `in`. Fails with ERR_PARSE (connection error; a GOAWAY is ready), ERR_LIMIT (a flood: ENHANCE_YOUR_CALM is ready), ERR_NOMEM. Some
 * connection errors are known only when their GOAWAY goes out: h2_failure() tells after h2_output(). */
MUST_USE enum err h2_feed(struct h2 *h2, struct span in);

/* Appends what is to be sent now, at most about `max` bytes; call it after each feed and after sending functions until it adds nothing.
 * Fails with ERR_NOMEM, ERR_PARSE. */
MUST_USE enum err h2_output(struct h2 *h2, struct buf *out, size_t max);

/* What ended the connection; ERR_OK while it stands, and when it ended well. */
enum err h2_failure(const struct h2 *h2);
/* After an error, and after the peer's GOAWAY with one: what was wrong, for people; lives as long as `h2`. "" otherwise. */
const char *h2_error(const struct h2 *h2);

/* Since when content has waited for a peer that takes none of it, while nothing else of any message moved; 0: it does not. A peer that has nothing
 * to take may be silent for as long as it likes, and PING, SETTINGS and windows that stay shut are no movement. Ask after each h2_output(). */
uint64_t h2_stuck_since(struct h2 *h2, uint64_t now_ns);

/* LIMIT_H2_CALM_MS have passed since the last call: what may become a flood is counted anew. */
void h2_calm(struct h2 *h2);

/* ---- streams ---- */

void h2_set_owner(struct h2_stream *s, void *owner); /* NULL at first */
void *h2_owner(const struct h2_stream *s);
uint32_t h2_id(const struct h2_stream *s);
/* What came of it so far: its HEADERS, CONTINUATION and DATA frames, frame heads included. */
uint64_t h2_wire_bytes(const struct h2_stream *s);
struct h2 *h2_of(const struct h2_stream *s);

/* Client: may another request begin (no GOAWAY, fewer than the peer's MAX_CONCURRENT_STREAMS, ids left)? */
bool h2_can_request(const struct h2 *h2);
/* Client: have the peer's SETTINGS come? Do they allow h2_request_upgrade()? */
bool h2_settled(const struct h2 *h2);
bool h2_can_upgrade(const struct h2 *h2);
/* Client: begins one. Connection fields are dropped, names sent in lower case, Host becomes :authority. Fails with ERR_NOMEM, ERR_REFUSED
 * (h2_can_request() is false), ERR_PARSE (head cannot be said in HTTP/2). */
MUST_USE enum err h2_request(struct h2 *h2, const struct head *head, bool end, struct h2_stream **out);
/* Client: an upgrade (its head has Connection: Upgrade and Upgrade) as extended CONNECT (RFC 8441); an answer of 2xx is told as 101. Same errors. */
MUST_USE enum err h2_request_upgrade(struct h2 *h2, const struct head *head, struct h2_stream **out);
/* Server: extended CONNECT is taken. Before the first h2_feed() or h2_output(). */
void h2_allow_upgrade(struct h2 *h2);
/* Server: 1xx, and the final head (101 included), once. Same errors. */
MUST_USE enum err h2_informational(struct h2_stream *s, const struct head *head);
MUST_USE enum err h2_respond(struct h2_stream *s, const struct head *head, bool end);
/* The same with a head that we do not pass on but made: its Proxy-Authenticate is ours to say. */
MUST_USE enum err h2_respond_own(struct h2_stream *s, const struct head *head, bool end);

/* Queues a copy of body bytes. Fails with ERR_NOMEM. */
MUST_USE enum err h2_body(struct h2_stream *s, struct span bytes);
/* Are more than LIMIT_SEND_HIGH bytes queued on this stream? Then wait for `drained`. */
bool h2_full(const struct h2_stream *s);
/* Our side is complete, with trailers (NULL or empty: none). Fails with ERR_NOMEM. */
MUST_USE enum err h2_end(struct h2_stream *s, const struct headers *trailers);
/* RST_STREAM with a code of §7; `closed` comes from a later h2_output(). Harmless twice. */
void h2_reset(struct h2_stream *s, uint32_t code);
/* As h2_reset(), once the body bytes that are queued have gone out. */
void h2_abort(struct h2_stream *s, uint32_t code);
/* The rest of the peer's side is not wanted (with NO_ERROR: §8.1), or cannot be had: RST_STREAM once our own side, up to its end, has gone out. */
void h2_enough(struct h2_stream *s, uint32_t code);
/* Stops or goes on opening this stream's window: bytes already on their way are still delivered (at most the window). Others go on. */
void h2_pause(struct h2_stream *s, bool paused);

/* ---- the connection ---- */

size_t h2_streams(const struct h2 *h2); /* open ones */
/* GOAWAY without error: the peer may finish what it began, nothing new is taken. */
void h2_shutdown(struct h2 *h2);
/* Nothing more will come or go: both GOAWAY and all streams done. */
bool h2_done(const struct h2 *h2);

/* The payload of HTTP2-Settings (RFC 7540 §3.2.1), appended. Fails with ERR_NOMEM, ERR_PARSE (no SETTINGS that a client may send). */
MUST_USE enum err h2_settings_decode(struct buf *out, struct span field);
/* Server, before anything is fed, after "101 Switching Protocols": `request`, which came over HTTP/1.1 and is no more than its head, is stream 1 and told
 * by `head` as it is; wire_bytes: what it took. The client's preface follows. Fails with ERR_NOMEM, ERR_PARSE. */
MUST_USE enum err h2_upgrade(struct h2 *h2, struct span settings, const struct head *request, size_t wire_bytes);

/* The 24 bytes that a client of prior knowledge begins with (§3.4). ERR_AGAIN: too few bytes to tell. ERR_PARSE: not it. */
MUST_USE enum err h2_sniff(struct span in);

enum {
    H2_NO_ERROR = 0,
    H2_PROTOCOL_ERROR = 1,
    H2_INTERNAL_ERROR = 2,
    H2_REFUSED_STREAM = 7,
    H2_CANCEL = 8,
    H2_CONNECT_ERROR = 10,
    H2_HTTP_1_1_REQUIRED = 13
};

#endif
