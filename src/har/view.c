/* view.c: reads one flow. Damage of one part (fields, a body, a connection) leaves that part empty and is noted: an export of what is sound
 * is worth more than none. */
#include "har/view.h"

#include "base/util.h"
#include "har/target.h"
#include "http/url.h"
#include "tape/content.h"
#include "http/coding.h"

void view_init(struct view *v, struct tape *tape)
{
    *v = (struct view){.tape = tape,
                       .request = HEADERS_INIT,
                       .request_trailers = HEADERS_INIT,
                       .response = HEADERS_INIT,
                       .response_trailers = HEADERS_INIT,
                       .url = BUF_INIT};
}

void view_free(struct view *v)
{
    headers_free(&v->request);
    headers_free(&v->request_trailers);
    headers_free(&v->response);
    headers_free(&v->response_trailers);
    buf_free(&v->url);
    body_free(&v->request_body);
    body_free(&v->response_body);
}

static enum err view_headers(struct view *v, struct span json, struct headers *out)
{
    enum err e = tape_headers(json, out);
    if (e != ERR_CORRUPT && e != ERR_LIMIT)
        return e;
    headers_clear(out);
    v->damaged = true;
    return ERR_OK;
}

/* An imported flow whose content is decoded: its Content-Encoding has its own name again. */
static enum err view_coding(struct view *v)
{
    struct headers named = HEADERS_INIT;
    struct span value;
    v->decoded = headers_find(&v->response, SPAN(TAPE_DECODED_FIELD), &value);
    enum err e = ERR_OK;
    for (size_t i = 0; !e && v->decoded && i < v->response.n; i++) {
        struct header field = headers_at(&v->response, i);
        bool ours = span_eq_nocase(field.name, SPAN(TAPE_DECODED_FIELD));
        e = headers_add(&named, ours ? SPAN("Content-Encoding") : field.name, field.value);
    }
    if (!e && v->decoded)
        e = headers_copy(&v->response, &named);
    headers_free(&named);
    return e;
}

static enum err view_server(struct view *v)
{
    v->has_server = false;
    if (v->flow->server_connection == 0)
        return ERR_OK;
    enum err e = tape_connection(v->tape, v->flow->server_connection, &v->server);
    v->has_server = !e;
    if (e == ERR_CORRUPT)
        v->damaged = true;
    return e == ERR_CORRUPT || e == ERR_NOT_FOUND ? ERR_OK : e;
}

static enum err view_bodies(struct view *v)
{
    struct buf encoding = BUF_INIT;
    const struct tape_body_ref none = {.id = 0};
    bool http = view_is_http(v);
    /* A request's body stays as it was sent: postData has no word for what a decoded one would be. */
    enum err e = body_look(&v->request_body, v->tape, http ? &v->flow->request_body : &none, SPAN_EMPTY);
    if (!e && !v->decoded)
        e = coding_field(&v->response, &encoding);
    if (!e)
        e = body_look(&v->response_body, v->tape, http ? &v->flow->response_body : &none, buf_span(&encoding));
    v->response_body.cut = v->response_body.cut && !v->decoded;
    v->damaged |= v->request_body.damaged || v->response_body.damaged;
    buf_free(&encoding);
    return e;
}

enum err view_load(struct view *v, const struct tape_flow *flow)
{
    v->flow = flow;
    v->damaged = false;
    buf_clear(&v->url);
    enum err e = view_headers(v, flow->request_headers, &v->request);
    if (!e)
        e = view_headers(v, flow->request_trailers, &v->request_trailers);
    if (!e)
        e = view_headers(v, flow->response_headers, &v->response);
    if (!e)
        e = view_headers(v, flow->response_trailers, &v->response_trailers);
    if (!e)
        e = view_coding(v);
    if (!e)
        e = target_url(flow, &v->url, &v->url_path);
    if (!e)
        e = view_bodies(v);
    if (!e)
        e = view_server(v);
    if (!e)
        timing_of(flow, v->has_server ? &v->server : NULL, &v->timing);
    return e;
}

bool view_is_http(const struct view *v)
{
    return span_eq(v->flow->kind, SPAN("http"));
}

bool view_has_response(const struct view *v)
{
    return v->flow->status != 0 && !v->flow->answered;
}

struct span view_version(struct span version)
{
    static const struct {
        const char *is, *say;
    } spellings[] = {
        {"HTTP/2.0", "HTTP/2"}, {"h2", "HTTP/2"},         {"h2c", "HTTP/2"},
        {"HTTP/2", "HTTP/2"},   {"HTTP/3.0", "HTTP/3"},   {"h3", "HTTP/3"},
        {"HTTP/3", "HTTP/3"},   {"HTTP/1.1", "HTTP/1.1"}, {"HTTP/1.0", "HTTP/1.0"},
    };
    for (size_t i = 0; i < ARRAY_LEN(spellings); i++)
        if (span_eq_nocase(version, span_str(spellings[i].is)))
            return span_str(spellings[i].say);
    return version;
}

static bool view_peer(const struct view *v, struct span *host, unsigned *port)
{
    return v->has_server && url_authority(v->server.peer, host, port) == ERR_OK;
}

struct span view_server_address(const struct view *v)
{
    struct span host;
    unsigned port;
    if (!view_peer(v, &host, &port))
        return SPAN_EMPTY;
    host = span_first(host, span_find(host, '%'));
    return url_is_address(host) ? host : SPAN_EMPTY;
}

unsigned view_server_port(const struct view *v)
{
    struct span host;
    unsigned port;
    return view_peer(v, &host, &port) ? port : 0;
}
