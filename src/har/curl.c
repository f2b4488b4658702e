/* curl.c: a flow as a command of a POSIX shell script. Everything that comes from the tape is one quoted word, or octal in a printf, or escaped in
 * a comment: nothing of it can become a command, an option, or a file name ("@" has a meaning to curl). */
#include "har/entry.h"

#include "base/text.h"
#include "http/token.h"
#include "http/url.h"

enum {
    CURL_WORD_BYTES = 8192,  /* a longer body goes through a pipe */
    CURL_PRINTF_BYTES = 512, /* of a body in one printf */
};

static void put_word(struct out *o, struct span s)
{
    struct buf word = BUF_INIT;
    enum err e = text_shell_word(&word, s);
    if (!o->e)
        o->e = e;
    out_raw(o, buf_span(&word));
    buf_free(&word);
}

static void put_safe(struct out *o, struct span s)
{
    struct buf safe = BUF_INIT;
    enum err e = text_escape_terminal(&safe, s);
    if (!o->e)
        o->e = e;
    out_raw(o, buf_span(&safe));
    buf_free(&safe);
}

static void put_option(struct out *o, const char *option, struct span value)
{
    out_str(o, " \\\n    ");
    out_str(o, option);
    out_str(o, " ");
    put_word(o, value);
}

static void put_note(struct out *o, const char *note, struct span what)
{
    out_str(o, "# ");
    out_str(o, note);
    put_safe(o, what);
    out_str(o, "\n");
}

/* "Name: value", or as curl wants them: "Name;" for an empty value, "Name:" to leave out what curl sends by itself. */
static void put_header(struct out *o, struct span name, const char *between, struct span value)
{
    struct buf line = BUF_INIT;
    enum err e = buf_put(&line, name);
    if (!e)
        e = buf_put_str(&line, between);
    if (!e)
        e = buf_put(&line, value);
    if (!o->e)
        o->e = e;
    put_option(o, "--header", buf_span(&line));
    buf_free(&line);
}

/* Does the Host field say what curl makes of the URL? */
static bool is_default_host(const struct view *v, struct span value)
{
    struct url url;
    struct span host;
    unsigned port;
    return url_parse(buf_span(&v->url), &url) == ERR_OK && url_authority(value, &host, &port) == ERR_OK &&
           span_eq_nocase(host, url.host) && (port ? port : url_default_port(url.scheme)) == url.port;
}

static bool is_curls_own(const struct view *v, struct header field, bool has_body)
{
    if (span_eq_nocase(field.name, SPAN("Host")))
        return is_default_host(v, field.value);
    if (span_eq_nocase(field.name, SPAN("Content-Length")))
        return has_body || !span_eq(field.value, SPAN("0"));
    return span_eq_nocase(field.name, SPAN("Expect")) || head_is_hop_by_hop(&v->request, field.name);
}

static void put_headers(struct out *o, const struct view *v, bool has_body)
{
    static const char *const defaults[] = {"User-Agent", "Accept", "Content-Type", "Expect"};
    const struct headers *h = &v->request;
    struct span value;
    for (size_t i = 0; i < h->n; i++) {
        struct header field = headers_at(h, i);
        if (is_curls_own(v, field, has_body) || !token_valid(field.name))
            continue;
        put_header(o, field.name, field.value.n ? ": " : ";", field.value);
    }
    for (size_t i = 0; i < (has_body ? 4u : 2u); i++)
        if (i == 3 || !headers_find(h, span_str(defaults[i]), &value))
            put_header(o, span_str(defaults[i]), ":", SPAN_EMPTY);
}

static void put_octal(struct out *o, struct span s)
{
    out_str(o, "printf '");
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = s.p[i];
        if (c == '\\' || c == '\'' || c == '%' || c < 0x20 || c >= 0x7f)
            out_printf(o, "\\%03o", c);
        else
            out_raw(o, span_of(&c, 1));
    }
    out_str(o, "'\n");
}

static enum err curl_piece(void *ctx, struct span bytes)
{
    struct out *o = ctx;
    for (; bytes.n > 0 && !o->e; bytes = span_from(bytes, CURL_PRINTF_BYTES))
        put_octal(o, span_first(bytes, CURL_PRINTF_BYTES));
    return o->e;
}

/* As a word: readable, and to be edited. */
static bool is_word_body(const struct body *b)
{
    return b->form == OUT_TEXT && b->whole && b->size <= CURL_WORD_BYTES;
}

static void put_piped_body(struct out *o, struct view *v)
{
    out_str(o, "{\n");
    enum err e = body_pass(&v->request_body, v->tape, curl_piece, o);
    if (!o->e)
        o->e = e;
    out_str(o, "} | ");
}

static void put_command(struct out *o, struct view *v)
{
    const struct tape_flow *f = v->flow;
    struct body *b = &v->request_body;
    bool has_body = b->size > 0, head = span_eq(f->method, SPAN("HEAD")) && !has_body;
    if (has_body && !is_word_body(b))
        put_piped_body(o, v);
    out_str(o, "curl --silent --show-error --globoff --path-as-is");
    if (head)
        out_str(o, " \\\n    --head");
    else if (!span_eq(f->method, has_body ? SPAN("POST") : SPAN("GET")))
        put_option(o, "--request", f->method);
    if (f->path.n > 0 && !span_eq(f->path, span_from(buf_span(&v->url), v->url_path)) && token_graphic(f->path))
        put_option(o, "--request-target", f->path); /* what the URL could not say as it was */
    put_headers(o, v, has_body);
    if (has_body && is_word_body(b))
        put_option(o, "--data-raw", buf_span(&b->kept));
    else if (has_body)
        put_option(o, "--data-binary", SPAN("@-"));
    put_option(o, "--url", buf_span(&v->url));
    out_str(o, "\n");
}

/* Why there is no command for this flow, or NULL. */
static const char *why_not(const struct view *v)
{
    const struct tape_flow *f = v->flow;
    if (!view_is_http(v))
        return "left out: curl cannot repeat a flow of kind ";
    if (span_eq(f->method, SPAN("CONNECT")))
        return "left out: curl makes its own tunnels";
    if (!token_valid(f->method))
        return "left out: not a request that could be sent";
    if (v->request_body.cut || v->request_body.damaged || v->damaged)
        return "left out: the tape does not hold all of the request";
    if (f->request_end_ns < 0 && v->request_body.size > 0)
        return "left out: the request never came to its end";
    return NULL;
}

void entry_curl(struct out *o, struct view *v)
{
    const struct tape_flow *f = v->flow;
    const char *why = why_not(v);
    out_printf(o, "\n# flow %lld: ", (long long)f->id);
    put_safe(o, f->method);
    out_str(o, " ");
    put_safe(o, buf_span(&v->url));
    if (f->status)
        out_printf(o, " -> %u", f->status);
    out_str(o, "\n");
    if (f->error.n > 0)
        put_note(o, "it failed then: ", f->error);
    if (why) {
        put_note(o, why, view_is_http(v) ? SPAN_EMPTY : f->kind);
        return;
    }
    if (v->request_trailers.n > 0)
        put_note(o, "its trailers are left out: curl cannot send any", SPAN_EMPTY);
    put_command(o, v);
}
