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

struct h2_stream *h2_stream_new(struct h2 *h2, int32_t id)
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

void h2_stream_free(struct h2_stream *s)
{
    list_remove(&s->link);
    s->h2->streams_n--;
    s->h2->waiting -= s->out.n;
    s->h2->moved = true;
    buf_free(&s->out);
    headers_free(&s->trailers);
    buf_free(&s->protocol);
    mem_free(s);
}

struct h2_stream *h2_stream_of(const struct h2 *h2, int32_t id)
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

/* ---- life ---- */

static int session_make(struct h2 *h2)
{
    nghttp2_session_callbacks *callbacks = NULL;
    nghttp2_option *option = NULL;
    int rc = h2_callbacks_make(&callbacks);
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
    int rc = session_make(h2);
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
        h2_stream_free(container_of(link, struct h2_stream, link));
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

/* Our SETTINGS: all of it in the first frame, for some peers look at no other. */
static enum err h2_begin(struct h2 *h2)
{
    const nghttp2_settings_entry settings[] = {
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, LIMIT_H2_STREAM_WINDOW},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, LIMIT_HEAD_BYTES},
        h2->role == H2_SERVER ? (nghttp2_settings_entry){NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, LIMIT_H2_STREAMS}
                              : (nghttp2_settings_entry){NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
        {NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1},
    };
    if (h2->begun)
        return ERR_OK;
    h2->begun = true;
    size_t n = ARRAY_LEN(settings) - !h2->upgrades;
    if (nghttp2_submit_settings(h2->session, NGHTTP2_FLAG_NONE, settings, n))
        h2->failed = ERR_NOMEM;
    return h2->failed;
}

enum err h2_feed(struct h2 *h2, struct span in)
{
    if (h2->failed || h2_begin(h2))
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
    if (h2_begin(h2))
        return h2->failed;
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

bool h2_settled(const struct h2 *h2)
{
    return h2->settled;
}

bool h2_can_upgrade(const struct h2 *h2)
{
    return h2->settled &&
           nghttp2_session_get_remote_settings(h2->session, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1;
}

static enum err request_begin(struct h2 *h2, const struct head *head, struct span protocol, bool end,
                              struct h2_stream **out)
{
    size_t n = 0;
    *out = NULL;
    if (!h2_can_request(h2))
        return ERR_REFUSED;
    enum err e = h2_put_request(h2, head, protocol, &n);
    if (e)
        return e;
    struct h2_stream *s = h2_stream_new(h2, 0);
    if (!s)
        return ERR_NOMEM;
    if (buf_put(&s->protocol, protocol)) {
        h2_stream_free(s);
        return ERR_NOMEM;
    }
    nghttp2_data_provider body = {.source = {.ptr = s}, .read_callback = on_read};
    s->id = nghttp2_submit_request(h2->session, NULL, h2->nva, n, end ? NULL : &body, s);
    if (s->id < 0) {
        e = s->id == NGHTTP2_ERR_NOMEM                     ? ERR_NOMEM
            : s->id == NGHTTP2_ERR_STREAM_ID_NOT_AVAILABLE ? ERR_REFUSED
                                                           : ERR_PARSE;
        h2_stream_free(s);
        return e;
    }
    s->out_end = end;
    s->sending = !end;
    *out = s;
    return ERR_OK;
}

enum err h2_request(struct h2 *h2, const struct head *head, bool end, struct h2_stream **out)
{
    return request_begin(h2, head, SPAN_EMPTY, end, out);
}

enum err h2_request_upgrade(struct h2 *h2, const struct head *head, struct h2_stream **out)
{
    struct span protocol = SPAN_EMPTY;
    *out = NULL;
    if (!h2_can_upgrade(h2))
        return ERR_REFUSED;
    if (!headers_find(&head->headers, SPAN("upgrade"), &protocol) || !token_valid(protocol))
        return ERR_PARSE;
    return request_begin(h2, head, protocol, false, out);
}

void h2_allow_upgrade(struct h2 *h2)
{
    assert(h2->role == H2_SERVER && !h2->begun);
    h2->upgrades = true;
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
