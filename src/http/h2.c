/* h2.c: an HTTP/2 connection on nghttp2, which keeps the frames, HPACK, flow control and the streams' states (RFC 9113); heads are h2_head.c's.
 *
 * Invariants: a stream is in `streams` from its first header block, or h2_request(), until nghttp2 says that it is closed. The connection's window
 * is given back at once, a stream's only while it is not paused: so one stalled reader stops nobody else. What waits to be sent of one stream
 * lies in its `out`; nghttp2 asks for it piece by piece. `failed` never goes back to ERR_OK. */
#include "http/h2_internal.h"

#include "base/alloc.h"
#include "base/limits.h"
#include "base/util.h"
#include "http/token.h"

#include <assert.h>
#include <stdio.h>

enum {
    FRAME_HEAD_BYTES = 9,
    TINY_BYTES = 4 /* a piece of content that is smaller than any message's own framing */
};

/* ---- memory ---- */

static void *h2_malloc(size_t size, void *ctx)
{
    (void)ctx;
    return mem_resize(NULL, size, 1);
}

static void h2_free(void *block, void *ctx)
{
    (void)ctx;
    mem_free(block);
}

static void *h2_calloc(size_t n, size_t size, void *ctx)
{
    (void)ctx;
    return mem_new(n, size);
}

static void *h2_realloc(void *block, size_t size, void *ctx)
{
    (void)ctx;
    return mem_resize(block, size, 1);
}

static nghttp2_mem h2_memory = {NULL, h2_malloc, h2_free, h2_calloc, h2_realloc};

/* ---- streams ---- */

static struct h2_stream *stream_new(struct h2 *h2, int32_t id)
{
    struct h2_stream *s = mem_new(1, sizeof *s);
    if (!s)
        return NULL;
    s->h2 = h2;
    s->id = id;
    list_init(&s->link);
    list_push(&h2->streams, &s->link);
    h2->streams_n++;
    return s;
}

static void stream_free(struct h2_stream *s)
{
    list_remove(&s->link);
    s->h2->streams_n--;
    s->h2->waiting -= s->out.n;
    s->h2->moved = true;
    buf_free(&s->out);
    headers_free(&s->trailers);
    mem_free(s);
}

static struct h2_stream *stream_of(const struct h2 *h2, int32_t id)
{
    return id > 0 ? nghttp2_session_get_stream_user_data(h2->session, id) : NULL;
}

void h2_set_owner(struct h2_stream *s, void *owner)
{
    s->owner = owner;
}

void *h2_owner(const struct h2_stream *s)
{
    return s->owner;
}

uint32_t h2_id(const struct h2_stream *s)
{
    return (uint32_t)s->id;
}

struct h2 *h2_of(const struct h2_stream *s)
{
    return s->h2;
}

uint64_t h2_wire_bytes(const struct h2_stream *s)
{
    return s->wire_bytes;
}

void h2_reset(struct h2_stream *s, uint32_t code)
{
    if (s->reset)
        return;
    s->reset = true;
    if (nghttp2_submit_rst_stream(s->h2->session, NGHTTP2_FLAG_NONE, s->id, code))
        s->h2->failed = ERR_NOMEM;
}

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
    struct h2_stream *s = stream_of(h2, frame->hd.stream_id);
    bool request = h2->role == H2_SERVER && frame->headers.cat == NGHTTP2_HCAT_REQUEST;
    if (frame->hd.type != NGHTTP2_HEADERS)
        return 0;
    if (request && !s) {
        s = stream_new(h2, frame->hd.stream_id);
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
    (void)frame;
    (void)flags;
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
    struct h2_stream *s = stream_of(h2, frame->hd.stream_id);
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
        s->head_done = s->begun = true;
        s->connect = h2->role == H2_SERVER && span_eq(head_span(&b->head, b->head.method), SPAN("CONNECT"));
        s->peer_ended = end;
        stream_check(s, h2->events->head(h2->ctx, s, &b->head, end));
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
    struct h2_stream *s = stream_of(h2, frame->hd.stream_id);
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
        struct h2_stream *s = stream_of(h2, header->stream_id);
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
    struct h2_stream *s = stream_of(h2, frame->hd.stream_id);
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
    struct h2_stream *s = stream_of(h2, id);
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
    struct h2_stream *s = stream_of(h2, id);
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
    stream_free(s);
    return 0;
}

/* ---- life ---- */

static int callbacks_make(nghttp2_session_callbacks **out)
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

static int session_make(struct h2 *h2)
{
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;
    int rc = callbacks_make(&callbacks);
    if (!rc)
        rc = nghttp2_option_new(&option);
    if (!rc) {
        nghttp2_option_set_no_auto_window_update(option, 1);
        /* A server remembers closed streams, to tell a late frame from a wrong one (§5.1): with LIMIT_H2_STREAMS, at most so many. */
        nghttp2_option_set_no_closed_streams(option, h2->role == H2_CLIENT);
        /* Until it has said how many streams it takes, one; the others wait in here. */
        nghttp2_option_set_peer_max_concurrent_streams(option, 1);
        nghttp2_option_set_max_outbound_ack(option, LIMIT_H2_ACKS);
        /* It counts a frame whose head comes in pieces once a piece: the default of 8 would end good connections. */
        nghttp2_option_set_max_continuations(option, LIMIT_H2_CONTINUATIONS);
        /* White space around a value leads nobody astray, and real origins send it. */
        nghttp2_option_set_no_rfc9113_leading_and_trailing_ws_validation(option, 1);
        rc = h2->role == H2_SERVER ? nghttp2_session_server_new3(&h2->session, callbacks, h2, option, &h2_memory)
                                   : nghttp2_session_client_new3(&h2->session, callbacks, h2, option, &h2_memory);
    }
    nghttp2_option_del(option);
    nghttp2_session_callbacks_del(callbacks);
    return rc;
}

enum err h2_create(struct h2 **out, enum h2_role role, const struct h2_events *events, void *ctx)
{
    struct h2 *h2 = mem_new(1, sizeof *h2);
    *out = NULL;
    if (!h2)
        return ERR_NOMEM;
    h2->role = role;
    h2->events = events;
    h2->ctx = ctx;
    list_init(&h2->streams);
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, LIMIT_H2_STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, LIMIT_HEAD_BYTES},
        role == H2_SERVER ? (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, LIMIT_H2_STREAMS}
                          : (nghttp2_settings_entry){NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
    };
    int rc = session_make(h2);
    if (!rc)
        rc = nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, settings, ARRAY_LEN(settings));
    if (!rc)
        rc = nghttp2_session_set_local_window_size(h2->session, NGHTTP2_FLAG_NONE, 0, LIMIT_H2_WINDOW);
    if (rc) {
        h2_destroy(&h2);
        return ERR_NOMEM;
    }
    *out = h2;
    return ERR_OK;
}

void h2_destroy(struct h2 **h2)
{
    struct h2 *it = *h2;
    struct list *link;
    *h2 = NULL;
    if (!it)
        return;
    while ((link = list_pop(&it->streams)))
        stream_free(container_of(link, struct h2_stream, link));
    nghttp2_session_del(it->session);
    h2_block_free(&it->block);
    buf_free(&it->names);
    mem_free(it->nva);
    mem_free(it);
}

const char *h2_error(const struct h2 *h2)
{
    return h2->why ? h2->why : "";
}

enum err h2_failure(const struct h2 *h2)
{
    return h2->failed;
}

void h2_calm(struct h2 *h2)
{
    h2->idle = h2->tiny = h2->resets = 0;
}

uint64_t h2_stuck_since(struct h2 *h2, uint64_t now_ns)
{
    if (h2->waiting == 0)
        h2->stuck_ns = 0;
    else if (h2->moved || h2->stuck_ns == 0)
        h2->stuck_ns = now_ns;
    h2->moved = false;
    return h2->stuck_ns;
}

static enum err h2_fail(struct h2 *h2, int rc)
{
    if (!h2->failed)
        h2->failed = rc == NGHTTP2_ERR_NOMEM                                                 ? ERR_NOMEM
                     : rc == NGHTTP2_ERR_FLOODED || rc == NGHTTP2_ERR_TOO_MANY_CONTINUATIONS ? ERR_LIMIT
                                                                                             : ERR_PARSE;
    if (!h2->why)
        h2->why = nghttp2_strerror(rc);
    return h2->failed;
}

enum err h2_feed(struct h2 *h2, struct span in)
{
    if (h2->failed)
        return h2->failed;
    ssize_t n = nghttp2_session_mem_recv(h2->session, in.p, in.n);
    if (n < 0) {
        enum err e = h2_fail(h2, (int)n);
        uint32_t code = e == ERR_LIMIT   ? NGHTTP2_ENHANCE_YOUR_CALM
                        : e == ERR_NOMEM ? NGHTTP2_INTERNAL_ERROR
                                         : NGHTTP2_PROTOCOL_ERROR;
        (void)nghttp2_session_terminate_session(h2->session, code); /* unless one is ready */
        return e;
    }
    return h2->failed;
}

enum err h2_output(struct h2 *h2, struct buf *out, size_t max)
{
    size_t before = out->n;
    while (out->n - before < max) {
        const uint8_t *data;
        ssize_t n = nghttp2_session_mem_send(h2->session, &data);
        if (n < 0)
            return h2_fail(h2, (int)n);
        if (n == 0)
            break;
        enum err e = buf_put(out, span_of(data, (size_t)n));
        if (e) {
            h2->failed = e; /* nghttp2 holds these bytes no more */
            return e;
        }
    }
    return h2->failed == ERR_NOMEM ? ERR_NOMEM : ERR_OK;
}

/* ---- out ---- */

static void stream_taken(struct h2_stream *s, size_t n)
{
    buf_consume(&s->out, n);
    s->h2->waiting -= n;
    if (n > 0)
        s->h2->moved = true;
    if (s->full && s->out.n <= LIMIT_SEND_LOW) {
        s->full = false;
        s->h2->events->drained(s->h2->ctx, s);
    }
}

/* The last DATA frame, or the trailers behind it, end our side. */
static ssize_t stream_finish(struct h2_stream *s, uint32_t *flags)
{
    size_t n = 0;
    *flags |= NGHTTP2_DATA_FLAG_EOF;
    if (s->trailers.n == 0)
        return 0;
    *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
    enum err e = h2_put_trailers(s->h2, &s->trailers, &n);
    if (e || nghttp2_submit_trailer(s->h2->session, s->id, s->h2->nva, n))
        return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    return 0;
}

static ssize_t on_read(nghttp2_session *session, int32_t id, uint8_t *to, size_t room, uint32_t *flags,
                       nghttp2_data_source *source, void *ctx)
{
    struct h2_stream *s = source->ptr;
    (void)session;
    (void)id;
    (void)ctx;
    size_t n = MIN(room, s->out.n);
    if (n > 0)
        s->h2->idle = 0; /* WINDOW_UPDATE frames that let content out serve something */
    if (n == 0 && s->aborted)
        h2_reset(s, s->code);
    if (n == 0 && (s->aborted || !s->out_end)) {
        s->deferred = true;
        return NGHTTP2_ERR_DEFERRED;
    }
    if (n)
        memcpy(to, buf_span(&s->out).p, n);
    stream_taken(s, n);
    if (s->out.n == 0 && s->out_end && !s->aborted) {
        s->sending = false;
        if (stream_finish(s, flags))
            return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
    }
    return (ssize_t)n;
}

static void stream_resume(struct h2_stream *s)
{
    if (!s->deferred)
        return;
    s->deferred = false;
    (void)nghttp2_session_resume_data(s->h2->session, s->id);
}

bool h2_can_request(const struct h2 *h2)
{
    uint32_t most = nghttp2_session_get_remote_settings(h2->session, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
    return !h2->failed && !h2->going && nghttp2_session_check_request_allowed(h2->session) &&
           h2->streams_n < (h2->settled ? most : LIMIT_H2_STREAMS);
}

enum err h2_request(struct h2 *h2, const struct head *head, bool end, struct h2_stream **out)
{
    size_t n = 0;
    *out = NULL;
    if (!h2_can_request(h2))
        return ERR_REFUSED;
    enum err e = h2_put_request(h2, head, &n);
    if (e)
        return e;
    struct h2_stream *s = stream_new(h2, 0);
    if (!s)
        return ERR_NOMEM;
    nghttp2_data_provider body = {.source = {.ptr = s}, .read_callback = on_read};
    s->id = nghttp2_submit_request(h2->session, NULL, h2->nva, n, end ? NULL : &body, s);
    if (s->id < 0) {
        e = s->id == NGHTTP2_ERR_NOMEM                     ? ERR_NOMEM
            : s->id == NGHTTP2_ERR_STREAM_ID_NOT_AVAILABLE ? ERR_REFUSED
                                                           : ERR_PARSE;
        stream_free(s);
        return e;
    }
    s->out_end = end;
    s->sending = !end;
    *out = s;
    return ERR_OK;
}

enum err h2_informational(struct h2_stream *s, const struct head *head)
{
    size_t n = 0;
    enum err e = h2_put_response(s->h2, head, false, &n);
    if (e || s->reset)
        return e;
    int rc = nghttp2_submit_headers(s->h2->session, NGHTTP2_FLAG_NONE, s->id, NULL, s->h2->nva, n, NULL);
    return rc == NGHTTP2_ERR_NOMEM ? ERR_NOMEM : rc ? ERR_PARSE : ERR_OK;
}

static enum err stream_respond(struct h2_stream *s, const struct head *head, bool own, bool end)
{
    size_t n = 0;
    enum err e = h2_put_response(s->h2, head, own, &n);
    if (e || s->reset)
        return e;
    nghttp2_data_provider body = {.source = {.ptr = s}, .read_callback = on_read};
    int rc = nghttp2_submit_response(s->h2->session, s->id, s->h2->nva, n, end ? NULL : &body);
    s->out_end = end;
    s->sending = !end && !rc;
    return rc == NGHTTP2_ERR_NOMEM ? ERR_NOMEM : rc ? ERR_PARSE : ERR_OK;
}

enum err h2_respond(struct h2_stream *s, const struct head *head, bool end)
{
    return stream_respond(s, head, false, end);
}

enum err h2_respond_own(struct h2_stream *s, const struct head *head, bool end)
{
    return stream_respond(s, head, true, end);
}

enum err h2_body(struct h2_stream *s, struct span bytes)
{
    if (s->reset)
        return ERR_OK;
    enum err e = buf_put(&s->out, bytes);
    if (e)
        return e;
    s->h2->waiting += bytes.n;
    if (s->out.n >= LIMIT_SEND_HIGH)
        s->full = true;
    stream_resume(s);
    return ERR_OK;
}

bool h2_full(const struct h2_stream *s)
{
    return s->full;
}

enum err h2_end(struct h2_stream *s, const struct headers *trailers)
{
    if (s->out_end || s->reset)
        return ERR_OK;
    if (trailers && headers_copy(&s->trailers, trailers))
        return ERR_NOMEM;
    s->out_end = true;
    stream_resume(s);
    return ERR_OK;
}

void h2_abort(struct h2_stream *s, uint32_t code)
{
    if (s->reset || !s->sending) {
        h2_reset(s, code);
        return;
    }
    s->code = code;
    s->aborted = true;
    stream_resume(s);
}

void h2_enough(struct h2_stream *s, uint32_t code)
{
    s->code = code;
    s->enough = true;
    if (s->sent_end && !s->peer_ended)
        h2_reset(s, code);
}

void h2_pause(struct h2_stream *s, bool paused)
{
    s->paused = paused;
    if (paused || s->unconsumed == 0 || s->reset)
        return;
    if (nghttp2_session_consume_stream(s->h2->session, s->id, s->unconsumed) == NGHTTP2_ERR_NOMEM)
        s->h2->failed = ERR_NOMEM;
    s->unconsumed = 0;
}

/* ---- the connection ---- */

size_t h2_streams(const struct h2 *h2)
{
    return h2->streams_n;
}

void h2_shutdown(struct h2 *h2)
{
    h2->going = true;
    if (nghttp2_submit_goaway(h2->session, NGHTTP2_FLAG_NONE, nghttp2_session_get_last_proc_stream_id(h2->session),
                              NGHTTP2_NO_ERROR, NULL, 0))
        h2->failed = ERR_NOMEM;
}

bool h2_done(const struct h2 *h2)
{
    return !nghttp2_session_want_read(h2->session) && !nghttp2_session_want_write(h2->session);
}

enum err h2_sniff(struct span in)
{
    struct span preface = span_of(NGHTTP2_CLIENT_MAGIC, NGHTTP2_CLIENT_MAGIC_LEN);
    size_t n = MIN(in.n, preface.n);
    if (!span_eq(span_first(in, n), span_first(preface, n)))
        return ERR_PARSE;
    return n < preface.n ? ERR_AGAIN : ERR_OK;
}
