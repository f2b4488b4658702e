/* h2_in.c: what nghttp2 says of the peer's frames, told to the engine's owner; what serves nothing is counted, and ends the connection (RFC 9113 §10.5).
 * Its callbacks end with NGHTTP2_ERR_CALLBACK_FAILURE only after `failed` was set. */
#include "http/h2_internal.h"

#include "base/limits.h"
#include "base/util.h"
#include "http/token.h"

#include <stdio.h>

enum {
    FRAME_HEAD_BYTES = 9,
    TINY_BYTES = 4 /* a piece of content that is smaller than any message's own framing */
};

/* A stream that ends by the peer's doing counts like one that it resets: either way it costs more than it may. */
static void count_reset(struct h2 *h2)
{
    if (h2->role == H2_SERVER)
        h2->resets++;
}

/* What serves nothing, by the thousand: the connection ends. */
static int flood(struct h2 *h2, const char *why)
{
    h2->failed = ERR_LIMIT;
    h2->why = why;
    (void)nghttp2_session_terminate_session(h2->session, NGHTTP2_ENHANCE_YOUR_CALM);
    return NGHTTP2_ERR_CALLBACK_FAILURE;
}

static void stream_refuse(struct h2_stream *s, const char *why)
{
    struct h2 *h2 = s->h2;
    if (s->reset)
        return;
    count_reset(h2);
    h2->events->malformed(h2->ctx, s, &h2->block.head, why);
    h2_reset(s, H2_PROTOCOL_ERROR);
}

/* ---- in ---- */

static int on_begin_headers(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct h2 *h2 = ctx;
    struct h2_stream *s = h2_stream_of(h2, frame->hd.stream_id);
    bool request = h2->role == H2_SERVER && frame->headers.cat == NGHTTP2_HCAT_REQUEST;
    if (frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    if (request && !s) {
        s = h2_stream_new(h2, frame->hd.stream_id);
        if (!s || nghttp2_session_set_stream_user_data(session, frame->hd.stream_id, s)) {
            h2->failed = ERR_NOMEM;
            return NGHTTP2_ERR_CALLBACK_FAILURE;
        }
    }
    if (s)
        s->wire_bytes += h2->head_bytes;
    h2->head_bytes = 0;
    bool trailers = !request && (h2->role == H2_SERVER || (s && s->head_done));
    h2_block_begin(&h2->block, h2->role == H2_SERVER ? HEAD_REQUEST : HEAD_RESPONSE, trailers);
    return 0;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n,
                     const uint8_t *value, size_t value_n, uint8_t flags, void *ctx)
{
    struct h2 *h2 = ctx;
    (void)session;
    (void)flags;
    if (h2->upgraded && frame->hd.type == NGHTTP2_HEADERS)
        h2_upgraded_field(h2, h2_stream_of(h2, frame->hd.stream_id), span_of(name, name_n), span_of(value, value_n));
    enum err e = h2_block_field(&h2->block, span_of(name, name_n), span_of(value, value_n));
    if (h2->block.bytes > LIMIT_H2_BLOCK_BYTES)
        return flood(h2, "a header block that unpacks to more than any head may have");
    if (e == ERR_LIMIT) {
        h2->block.why = "the head is too large";
    } else if (e) {
        h2->failed = e;
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    return 0;
}

/* A field that nghttp2 would leave out in silence (§8.2.1): a message that lost one says something else. */
static int on_invalid_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name, size_t name_n,
                             const uint8_t *value, size_t value_n, uint8_t flags, void *ctx)
{
    struct h2 *h2 = ctx;
    (void)session;
    (void)frame;
    (void)name;
    (void)name_n;
    (void)value;
    (void)value_n;
    (void)flags;
    if (!h2->block.why)
        h2->block.why = "an invalid field";
    return 0;
}

/* nghttp2 has found it malformed; the reset is its own. */
static int on_invalid_frame(nghttp2_session *session, const nghttp2_frame *frame, int error, void *ctx)
{
    struct h2 *h2 = ctx;
    struct h2_stream *s = h2_stream_of(h2, frame->hd.stream_id);
    (void)session;
    if (!s || s->reset)
        return 0;
    s->reset = true;
    count_reset(h2);
    h2->events->malformed(h2->ctx, s, &h2->block.head, nghttp2_strerror(error));
    return 0;
}

static void stream_check(struct h2_stream *s, enum err e)
{
    if (e == ERR_NOMEM)
        s->h2->failed = e;
    if (e)
        h2_reset(s, H2_INTERNAL_ERROR);
}

static void stream_end_in(struct h2_stream *s)
{
    struct h2 *h2 = s->h2;
    s->peer_ended = h2->moved = true;
    if (!s->reset && s->begun)
        stream_check(s, h2->events->end(h2->ctx, s));
}

static void stream_headers(struct h2_stream *s, bool end)
{
    struct h2 *h2 = s->h2;
    struct h2_block *b = &h2->block;
    enum err e = h2_block_end(b);
    if (e) {
        stream_check(s, e);
    } else if (b->why) {
        stream_refuse(s, b->why);
    } else if (b->is_trailers && s->connect) {
        stream_refuse(s, "trailers in a tunnel");
    } else if (b->is_trailers) {
        if (b->trailers.n)
            stream_check(s, h2->events->trailers(h2->ctx, s, &b->trailers));
        if (end)
            stream_end_in(s);
    } else if (h2->role == H2_CLIENT && b->head.status / 100 == 1) {
        s->informational_bytes += b->bytes;
        if (s->informational_bytes > LIMIT_INFORMATIONAL_BYTES)
            stream_refuse(s, "too many informational responses");
        else
            stream_check(s, h2->events->informational(h2->ctx, s, &b->head));
    } else {
        bool upgrade = h2->role == H2_SERVER ? b->protocol.n > 0 : s->protocol.n > 0 && b->head.status / 100 == 2;
        s->head_done = s->begun = true;
        s->connect =
            upgrade || (h2->role == H2_SERVER && span_eq(head_span(&b->head, b->head.method), SPAN("CONNECT")));
        s->peer_ended = end;
        if (upgrade && h2->role == H2_CLIENT)
            e = h2_switch_protocols(&b->head, buf_span(&s->protocol));
        stream_check(s, e ? e : h2->events->head(h2->ctx, s, &b->head, end));
    }
}

/* What a GOAWAY says, the peer's or ours. */
static void set_why(struct h2 *h2, const nghttp2_frame *frame)
{
    const nghttp2_goaway *g = &frame->goaway;
    struct span text = span_of(g->opaque_data, g->opaque_data_len);
    (void)snprintf(h2->why_text, sizeof h2->why_text, "error code %u", g->error_code);
    size_t at = strlen(h2->why_text);
    if (text.n && token_line_safe(text))
        (void)snprintf(h2->why_text + at, sizeof h2->why_text - at, ", %.*s", (int)MIN(text.n, (size_t)200),
                       (const char *)text.p);
    h2->why = h2->why_text;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct h2 *h2 = ctx;
    struct h2_stream *s = h2_stream_of(h2, frame->hd.stream_id);
    bool end = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    (void)session;
    if (frame->hd.type == NGHTTP2_GOAWAY) {
        h2->going = true;
        if (frame->goaway.error_code != NGHTTP2_NO_ERROR && !h2->why)
            set_why(h2, frame);
    }
    if (frame->hd.type == NGHTTP2_SETTINGS && !(frame->hd.flags & NGHTTP2_FLAG_ACK))
        h2->settled = true;
    if (frame->hd.type == NGHTTP2_RST_STREAM)
        count_reset(h2);
    if (frame->hd.type == NGHTTP2_RST_STREAM && s)
        s->reset = s->peer_reset = true; /* nothing more goes to it */
    if (!s || s->reset)
        return 0;
    if (frame->hd.type == NGHTTP2_HEADERS) {
        h2->idle = 0;
        h2->moved = true;
        stream_headers(s, end);
    } else if (frame->hd.type == NGHTTP2_DATA && end) {
        stream_end_in(s);
    }
    return h2->failed ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

/* Every frame counts until something moves; one that begins or ends a message does, and content does. */
static int on_begin_frame(nghttp2_session *session, const nghttp2_frame_hd *header, void *ctx)
{
    struct h2 *h2 = ctx;
    (void)session;
    if (++h2->idle > LIMIT_H2_IDLE_FRAMES || h2->resets > LIMIT_H2_RESETS || h2->tiny > LIMIT_H2_TINY_FRAMES)
        return flood(h2, "a flood of frames that serve nothing");
    if (header->type == NGHTTP2_HEADERS || header->type == NGHTTP2_CONTINUATION || header->type == NGHTTP2_DATA) {
        struct h2_stream *s = h2_stream_of(h2, header->stream_id);
        if (s)
            s->wire_bytes += FRAME_HEAD_BYTES + header->length;
        else
            h2->head_bytes = FRAME_HEAD_BYTES + header->length; /* on_begin_headers() makes the stream */
    }
    return 0;
}

/* A GOAWAY with an error, of nghttp2's own making, is all that it says of a peer that broke the protocol. */
static int on_sent(nghttp2_session *session, const nghttp2_frame *frame, void *ctx)
{
    struct h2 *h2 = ctx;
    struct h2_stream *s = h2_stream_of(h2, frame->hd.stream_id);
    bool message = frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS;
    (void)session;
    if (s && message && frame->hd.flags & NGHTTP2_FLAG_END_STREAM) {
        s->sent_end = true;
        if (s->enough)
            h2_enough(s, s->code);
    }
    if (frame->hd.type != NGHTTP2_GOAWAY || frame->goaway.error_code == NGHTTP2_NO_ERROR || h2->failed)
        return 0;
    h2->failed = frame->goaway.error_code == NGHTTP2_ENHANCE_YOUR_CALM ? ERR_LIMIT : ERR_PARSE;
    if (!h2->why)
        set_why(h2, frame);
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t id, const uint8_t *data, size_t n, void *ctx)
{
    struct h2 *h2 = ctx;
    struct h2_stream *s = h2_stream_of(h2, id);
    (void)flags;
    if (nghttp2_session_consume_connection(session, n)) {
        h2->failed = ERR_NOMEM;
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    if (!s || s->reset)
        return 0;
    if (n > 0) {
        h2->idle = 0;
        h2->moved = true;
    }
    if (n > 0 && n < TINY_BYTES)
        h2->tiny++;
    s->unconsumed += n;
    if (n > 0 && s->begun)
        stream_check(s, h2->events->body(h2->ctx, s, span_of(data, n)));
    if (!s->paused)
        h2_pause(s, false);
    return h2->failed ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_close(nghttp2_session *session, int32_t id, uint32_t code, void *ctx)
{
    struct h2 *h2 = ctx;
    struct h2_stream *s = h2_stream_of(h2, id);
    (void)session;
    if (!s)
        return 0;
    bool ours = s->reset && !s->peer_reset;
    if (code == NGHTTP2_NO_ERROR && h2->resets > 0)
        h2->resets--;
    /* nghttp2 has reset it by itself, without a word: Content-Length (§8.1.1) is the only such reason. */
    if (code == NGHTTP2_PROTOCOL_ERROR && !s->reset) {
        count_reset(h2);
        h2_block_begin(&h2->block, h2->role == H2_SERVER ? HEAD_REQUEST : HEAD_RESPONSE, false);
        h2->events->malformed(h2->ctx, s, &h2->block.head, "Content-Length disagrees with the content");
    }
    s->reset = true; /* `closed` may still call what sends */
    h2->events->closed(h2->ctx, s, code, code == NGHTTP2_REFUSED_STREAM && !ours && !s->begun);
    h2_stream_free(s);
    return 0;
}

int h2_callbacks_make(nghttp2_session_callbacks **out)
{
    int rc = nghttp2_session_callbacks_new(out);
    if (rc)
        return rc;
    nghttp2_session_callbacks_set_on_begin_headers_callback(*out, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(*out, on_header);
    nghttp2_session_callbacks_set_on_invalid_header_callback(*out, on_invalid_header);
    nghttp2_session_callbacks_set_on_frame_recv_callback(*out, on_frame);
    nghttp2_session_callbacks_set_on_begin_frame_callback(*out, on_begin_frame);
    nghttp2_session_callbacks_set_on_frame_send_callback(*out, on_sent);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(*out, on_invalid_frame);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(*out, on_data);
    nghttp2_session_callbacks_set_on_stream_close_callback(*out, on_close);
    return 0;
}
