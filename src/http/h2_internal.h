/* h2_internal.h: what h2.c (the connection, and what it sends), h2_in.c (what comes) and h2_head.c (heads) share. */
#ifndef RINGTAPE_HTTP_H2_INTERNAL_H
#define RINGTAPE_HTTP_H2_INTERNAL_H

#include "base/list.h"
#include "http/h2.h"

#include <nghttp2/nghttp2.h>

/* A header block on its way in: one at a time on a connection (RFC 9113 §4.3). */
struct h2_block {
    struct head head;        /* control data and fields, but for what is below */
    struct headers trailers; /* when it is a trailer section */
    struct buf authority, cookie, protocol;
    size_t bytes; /* as §6.5.2 counts them: names, values and 32 each */
    size_t fields;
    bool is_trailers;
    const char *why; /* not NULL: it is refused */
};

struct h2_stream {
    struct list link; /* h2->streams */
    struct h2 *h2;
    void *owner;
    int32_t id;
    struct buf out;          /* body bytes that wait */
    struct headers trailers; /* of ours */
    struct buf protocol;     /* of extended CONNECT; empty: it is none */
    bool sending;            /* nghttp2 asks for the body */
    bool out_end, deferred, full, paused, reset, aborted;
    bool head_done; /* the final head has come (client), or the request's (server) */
    bool begun;     /* the owner was told of it */
    bool peer_ended;
    bool peer_reset;
    bool connect;          /* a tunnel: DATA and nothing else follows (RFC 9113 §8.5, RFC 8441) */
    bool sent_end, enough; /* our side has gone out; the rest of the peer's is not wanted */
    uint32_t code;         /* of the RST_STREAM that ends what is aborted, or enough */
    size_t unconsumed;     /* of its window, while paused */
    size_t informational_bytes;
    uint64_t wire_bytes; /* of its frames that came */
};

struct h2 {
    nghttp2_session *session;
    enum h2_role role;
    const struct h2_events *events;
    void *ctx;
    struct list streams;
    size_t streams_n;
    struct h2_block block;
    nghttp2_nv *nva; /* of a head on its way out; kept */
    size_t nva_cap;
    struct buf names; /* lower-case names and other text of it */
    enum err failed;
    const char *why;
    char why_text[128];
    bool upgrades;     /* extended CONNECT is taken */
    bool begun;        /* our SETTINGS are queued, or out */
    bool settled;      /* the peer's SETTINGS have come */
    bool going;        /* GOAWAY was sent or received */
    bool upgraded;     /* from HTTP/1.1 */
    size_t waiting;    /* bytes in the streams' `out` */
    bool moved;        /* since h2_stuck_since() was asked: a message's beginning, content or end */
    uint64_t stuck_ns; /* what it answered */
    uint32_t idle;     /* frames in a row that moved nothing */
    uint32_t tiny;     /* DATA frames of next to nothing */
    uint32_t resets;   /* of the peer's, less the streams that it let end */
    size_t head_bytes; /* of a HEADERS frame whose stream does not exist yet */
};

/* Fails with ERR_NOMEM: NULL. */
struct h2_stream *h2_stream_new(struct h2 *h2, int32_t id);
void h2_stream_free(struct h2_stream *s);
struct h2_stream *h2_stream_of(const struct h2 *h2, int32_t id);
/* The callbacks of a session whose user data is a struct h2. An nghttp2 error code. */
int h2_callbacks_make(nghttp2_session_callbacks **out);
/* Upgraded: a request's field, before it is judged. `s` may be NULL. */
void h2_upgraded_field(struct h2 *h2, struct h2_stream *s, struct span name, struct span value);

void h2_block_free(struct h2_block *b);
/* A new block. Fails never. */
void h2_block_begin(struct h2_block *b, enum head_kind kind, bool is_trailers);
/* One field. What is wrong with it is kept in b->why. Fails with ERR_NOMEM. */
MUST_USE enum err h2_block_field(struct h2_block *b, struct span name, struct span value);
/* All of it is there: fills in what follows from it. Sets b->why, too. Fails with ERR_NOMEM. */
MUST_USE enum err h2_block_end(struct h2_block *b);

/* The fields of a head as nghttp2 wants them, in h2->nva. protocol: not empty for extended CONNECT. Fails with ERR_NOMEM, ERR_PARSE. */
MUST_USE enum err h2_put_request(struct h2 *h2, const struct head *head, struct span protocol, size_t *n);
/* own: Proxy-Authenticate, too, which nobody passes on. */
MUST_USE enum err h2_put_response(struct h2 *h2, const struct head *head, bool own, size_t *n);
/* What an upgrade is answered with: 101, where the peer of an extended CONNECT said 2xx. Fails with ERR_NOMEM. */
MUST_USE enum err h2_switch_protocols(struct head *head, struct span protocol);
MUST_USE enum err h2_put_trailers(struct h2 *h2, const struct headers *trailers, size_t *n);

#endif
