/* entry.c: a flow as an entry of HAR 1.2. What HAR has no word for stands under `_ringtape`, so that nothing is lost on the way back into
 * a tape; fields that other programs know by a name (_error, _resourceType, …) have that name. */
#include "har/entry.h"

#include "base/clock.h"
#include "base/text.h"
#include "base/util.h"
#include "har/certificate.h"
#include "har/message.h"
#include "har/messages.h"

#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>

static void put_timings(struct out *o, const struct timing *t)
{
    out_key(o, "timings");
    out_open(o, '{');
    out_member_ms(o, "blocked", t->blocked);
    out_member_ms(o, "dns", t->dns);
    out_member_ms(o, "connect", t->connect);
    out_member_ms(o, "ssl", t->ssl);
    out_member_ms(o, "send", t->send);
    out_member_ms(o, "wait", t->wait);
    out_member_ms(o, "receive", t->receive);
    out_close(o, '}');
}

/* Chrome's words, from what the browser said that it wants (Fetch metadata). */
static void put_resource_type(struct out *o, const struct view *v)
{
    static const struct {
        const char *destination, *type;
    } types[] = {
        {"document", "document"}, {"iframe", "document"},     {"frame", "document"},      {"script", "script"},
        {"style", "stylesheet"},  {"image", "image"},         {"font", "font"},           {"audio", "media"},
        {"video", "media"},       {"track", "texttrack"},     {"empty", "fetch"},         {"worker", "script"},
        {"manifest", "manifest"}, {"websocket", "websocket"}, {"sharedworker", "script"},
    };
    struct span destination;
    if (span_eq(v->flow->kind, SPAN("websocket"))) {
        out_member_str(o, "_resourceType", "websocket");
        return;
    }
    if (!headers_find(&v->request, SPAN("Sec-Fetch-Dest"), &destination))
        return;
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (span_eq_nocase(destination, span_str(types[i].destination)))
            out_member_str(o, "_resourceType", types[i].type);
}

static void put_security(struct out *o, const struct tape_connection *c)
{
    struct certificate cert;
    if (c->tls_version.n == 0)
        return;
    struct span version = c->tls_version;
    out_key(o, "_securityDetails");
    out_open(o, '{');
    if (span_starts_with(version, SPAN("TLSv"))) { /* "TLSv1.3": viewers know it as "TLS 1.3" */
        struct buf text = BUF_INIT;
        enum err e = buf_put_str(&text, "TLS ");
        if (!e)
            e = buf_put(&text, span_from(version, 4));
        if (!o->e)
            o->e = e;
        out_member(o, "protocol", buf_span(&text));
        buf_free(&text);
    } else
        out_member(o, "protocol", version);
    if (c->tls_cipher.n > 0)
        out_member(o, "cipher", c->tls_cipher);
    if (c->sni.n > 0)
        out_member(o, "sni", c->sni);
    if (c->alpn.n > 0)
        out_member(o, "alpn", c->alpn);
    out_member_bool(o, "resumed", c->tls_resumed);
    if (certificate_first(c->chain, &cert)) {
        out_member(o, "subjectName", cert.subject);
        out_member(o, "issuer", cert.issuer);
        out_member_i64(o, "validFrom", cert.valid_from_s);
        out_member_i64(o, "validTo", cert.valid_to_s);
    }
    out_close(o, '}');
}

static void put_server(struct out *o, const struct view *v)
{
    struct span address = view_server_address(v);
    if (address.n > 0)
        out_member(o, "serverIPAddress", address);
    if (!v->has_server)
        return;
    char id[24];
    (void)snprintf(id, sizeof id, "%lld", (long long)v->server.id);
    out_member_str(o, "connection", id);
    if (view_server_port(v) != 0)
        out_member_u64(o, "_serverPort", view_server_port(v));
    put_security(o, &v->server);
}

/* Bytes that are UTF-8 as a string, others as {"base64": …}, as on the tape. */
static void put_bytes(struct out *o, const char *key, struct span s)
{
    out_key(o, key);
    if (text_is_utf8(s)) {
        out_string(o, s);
        return;
    }
    out_open(o, '{');
    out_key(o, "base64");
    out_long_begin(o, OUT_BASE64);
    out_long_piece(o, s);
    out_long_end(o);
    out_close(o, '}');
}

/* [[status, reason, fields, offset_ns], …] of the tape, parsed and written anew: what is on a tape may be anything. */
static void put_informational(struct out *o, struct span json)
{
    json_error_t why = {.line = 0};
    if (json.n == 0)
        return;
    json_t *list = json_loadb((const char *)json.p, json.n, 0, &why);
    char *text = json_is_array(list) ? json_dumps(list, JSON_COMPACT) : NULL;
    if (text) {
        out_key(o, "informational");
        out_json(o, span_str(text));
    } else if (!o->e && (json_is_array(list) || (!list && json_error_code(&why) == json_error_out_of_memory)))
        o->e = ERR_NOMEM;
    free(text);
    json_decref(list);
}

/* What of the flow cannot be read back from the rest of the entry. */
static void put_ringtape(struct out *o, const struct view *v)
{
    const struct tape_flow *f = v->flow;
    out_key(o, "_ringtape");
    out_open(o, '{');
    out_member_i64(o, "flow", f->id);
    out_member_i64(o, "session", f->session);
    out_member(o, "kind", f->kind);
    out_member_bool(o, "complete", f->complete);
    if (f->answered)
        out_member_bool(o, "answered", true);
    if (f->track.n > 0)
        put_bytes(o, "track", f->track);
    if (!text_is_utf8(f->method))
        put_bytes(o, "method", f->method);
    if (!text_is_utf8(f->reason))
        put_bytes(o, "statusText", f->reason);
    if (!span_eq(span_from(buf_span(&v->url), v->url_path), f->path))
        put_bytes(o, "path", f->path);
    if (v->request_trailers.n > 0) {
        out_key(o, "requestTrailers");
        message_fields(o, &v->request_trailers);
    }
    if (v->response_trailers.n > 0) {
        out_key(o, "responseTrailers");
        message_fields(o, &v->response_trailers);
    }
    put_informational(o, f->informational);
    if (v->timing.before > 0)
        out_member_ms(o, "connectedBefore", v->timing.before);
    out_close(o, '}');
}

void entry_har(struct out *o, struct view *v, bool pages)
{
    const struct tape_flow *f = v->flow;
    char started[CLOCK_ISO_LEN];
    clock_iso8601(f->started_ns, started);
    out_open(o, '{');
    if (pages) {
        char page[32];
        (void)snprintf(page, sizeof page, "session_%lld", (long long)f->session);
        out_member_str(o, "pageref", page);
    }
    out_member_str(o, "startedDateTime", started);
    out_member_ms(o, "time", v->timing.total);
    out_key(o, "request");
    message_request(o, v);
    out_key(o, "response");
    message_response(o, v);
    out_key(o, "cache");
    out_open(o, '{');
    out_close(o, '}');
    put_timings(o, &v->timing);
    put_server(o, v);
    messages_har(o, v);
    if (v->damaged)
        out_member_str(o, "comment", "the tape is damaged: part of this flow could not be read");
    if (f->error.n > 0)
        out_member(o, "_error", f->error);
    put_resource_type(o, v);
    put_ringtape(o, v);
    out_close(o, '}');
}
