/* h2_upgrade.c: HTTP/2 that begins as HTTP/1.1 (RFC 7540 §3.2, which RFC 9113 no longer has and clients still speak): the request that asked for it is
 * stream 1, and its HTTP2-Settings are the client's first SETTINGS.
 *
 * The settings are judged before anything is promised: whoever sends wrong ones can still be served over HTTP/1.1. */
#include "http/h2_internal.h"

#include "base/text.h"

enum { SETTING_BYTES = 6 };

/* RFC 9113 §6.5.2, RFC 8441 §3, RFC 9218 §2.1: may a peer say this? */
static bool setting_valid(unsigned id, uint32_t value)
{
    switch (id) {
    case NGHTTP2_SETTINGS_ENABLE_PUSH:
    case NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL:
    case NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES:
        return value <= 1;
    case NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE:
        return value <= INT32_MAX;
    case NGHTTP2_SETTINGS_MAX_FRAME_SIZE:
        return value >= 1 << 14 && value < 1 << 24;
    default:
        return true;
    }
}

static bool settings_valid(struct span payload)
{
    if (payload.n == 0 || payload.n % SETTING_BYTES != 0 || payload.n / SETTING_BYTES > NGHTTP2_DEFAULT_MAX_SETTINGS)
        return false;
    for (const uint8_t *p = payload.p; p < payload.p + payload.n; p += SETTING_BYTES) {
        uint32_t value = (uint32_t)p[2] << 24 | (uint32_t)p[3] << 16 | (uint32_t)p[4] << 8 | p[5];
        if (!setting_valid((unsigned)p[0] << 8 | p[1], value))
            return false;
    }
    return true;
}

enum err h2_settings_decode(struct buf *out, struct span field)
{
    struct buf payload = BUF_INIT;
    enum err e = text_base64url_decode(&payload, field);
    if (!e && !settings_valid(buf_span(&payload)))
        e = ERR_PARSE;
    if (!e)
        e = buf_put(out, buf_span(&payload));
    buf_free(&payload);
    return e;
}

enum err h2_upgrade(struct h2 *h2, struct span settings, const struct head *request, size_t wire_bytes)
{
    bool head_only = span_eq(head_span(request, request->method), SPAN("HEAD"));
    int rc = nghttp2_session_upgrade2(h2->session, settings.p, settings.n, head_only, NULL);
    if (rc)
        return rc == NGHTTP2_ERR_NOMEM ? ERR_NOMEM : ERR_PARSE;
    struct h2_stream *s = h2_stream_new(h2, 1);
    if (!s || nghttp2_session_set_stream_user_data(h2->session, 1, s))
        return ERR_NOMEM;
    s->wire_bytes = wire_bytes;
    h2->upgraded = true;
    s->head_done = s->begun = s->peer_ended = true;
    enum err e = h2->events->head(h2->ctx, s, request, true);
    if (e)
        h2_reset(s, H2_INTERNAL_ERROR);
    return e == ERR_NOMEM ? e : h2->failed;
}

/* curl 7's second request to a proxy says ":path: http://host/" where HTTP/1.1 would have the absolute form, which is malformed (RFC 9113 §8.3.1).
 * REFUSED_STREAM, and not PROTOCOL_ERROR, lets it ask again on another connection, whose first request says it well. */
void h2_upgraded_field(struct h2 *h2, struct h2_stream *s, struct span name, struct span value)
{
    if (!s || s->reset || !span_eq(name, SPAN(":path")) || !span_eq_nocase(span_first(value, 7), SPAN("http://")))
        return;
    h2->resets++;
    h2_reset(s, H2_REFUSED_STREAM);
}
