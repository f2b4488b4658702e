/* page.c: our own web page, as a filter: exchanges for http://ringtape/, and those of clients that took us for a web server, are
 * answered here at the end of their request; all others pass. Nothing of it reaches a tap. */
#include "proxy/page.h"

#include "base/alloc.h"
#include "base/text.h"
#include "base/util.h"
#include "http/url.h"
#include "proxy/worker.h"

#include <stdio.h>

static const char page_html[] =
    "<!doctype html>\n<html lang=\"en\"><meta charset=\"utf-8\"><title>ringtape</title>\n"
    "<style>body{font:16px/1.5 sans-serif;max-width:42em;margin:2em auto;padding:0 1em}code{background:#eee;padding:0 .2em}</style>\n"
    "<h1>ringtape</h1>\n"
    "<p>This port is an HTTP proxy that records what passes through it. Set it as the proxy of a program "
    "(<code>https_proxy=http://HOST:PORT</code>), and trust its certificate authority to let it read HTTPS:</p>\n"
    "<ul>\n"
    "<li><a href=\"/ca.pem\">ca.pem</a>: Linux, curl, Python, Node, Go, Firefox. System-wide on Debian: copy it to "
    "<code>/usr/local/share/ca-certificates/ringtape.crt</code> and run <code>update-ca-certificates</code>.</li>\n"
    "<li><a href=\"/ca.der\">ca.der</a>: Android, iOS, macOS, Windows.</li>\n"
    "<li><a href=\"/ca.p12\">ca.p12</a>: Java (<code>-Djavax.net.ssl.trustStore=ca.p12 "
    "-Djavax.net.ssl.trustStorePassword=ringtape</code>).</li>\n"
    "</ul>\n"
    "<p><a href=\"/counters.json\">counters.json</a>: what has passed so far.</p>\n</html>\n";

/* A tunnel of bytes asks for no page. */
static bool page_is_for_us(const struct exchange *x, const struct head *head)
{
    return x->kind == FLOW_HTTP && span_eq(head_span(head, head->host), SPAN(PAGE_HOST));
}

static enum err page_counters(const struct page *page, struct buf *out)
{
    const struct proxy_options *o = page->worker->options;
    struct proxy_counters n;
    proxy_get_counters(page->worker->proxy, &n);
    enum err e =
        buf_printf(out,
                   "{\"clients\":%llu,\"clients_now\":%llu,\"exchanges\":%llu,\"exchanges_now\":%llu,"
                   "\"client_tls_refused\":%llu,\"bytes_in\":%llu,\"bytes_out\":%llu",
                   (unsigned long long)n.clients, (unsigned long long)n.clients_now, (unsigned long long)n.exchanges,
                   (unsigned long long)n.exchanges_now, (unsigned long long)n.client_tls_refused,
                   (unsigned long long)n.bytes_in, (unsigned long long)n.bytes_out);
    if (!e && o->counters) {
        e = buf_put_byte(out, ',');
        if (!e)
            e = o->counters(o->ctx, out);
    }
    return e ? e : buf_put_str(out, "}\n");
}

static enum err page_body(const struct page *page, struct span path, struct buf *body, const char **type,
                          unsigned *status)
{
    const struct ca *ca = page->worker->options->ca;
    *status = 200;
    if (span_eq(path, SPAN("/ca.pem"))) {
        *type = "application/x-pem-file";
        return buf_put(body, ca_certificate_pem(ca));
    }
    if (span_eq(path, SPAN("/ca.der"))) {
        *type = "application/x-x509-ca-cert";
        return buf_put(body, ca_certificate_der(ca));
    }
    if (span_eq(path, SPAN("/ca.p12"))) {
        *type = "application/x-pkcs12";
        return ca_trust_store(ca, SPAN_EMPTY, "ringtape", body);
    }
    if (span_eq(path, SPAN("/counters.json"))) {
        *type = "application/json";
        return page_counters(page, body);
    }
    *type = "text/html; charset=utf-8";
    *status = span_eq(path, SPAN("/")) ? 200 : 404;
    return buf_put_str(body, page_html);
}

/* A client that took the proxy for the web server it was looking for. */
static enum err page_misdirected(struct span host, struct buf *body, const char **type)
{
    struct buf shown = BUF_INIT;
    *type = "text/plain; charset=utf-8";
    enum err e = text_escape_terminal(&shown, host);
    if (!e)
        e = buf_printf(
            body,
            "ringtape: this port is an HTTP proxy, not the web server of %.*s.\n"
            "Set it as the proxy of the client (curl -x http://HOST:PORT URL), or start ringtape with --reverse URL.\n",
            (int)shown.n, (const char *)(shown.n ? buf_span(&shown).p : (const uint8_t *)""));
    buf_free(&shown);
    return e;
}

static void page_answer(struct page *page, struct exchange *x, const struct buf *body, const char *type,
                        unsigned status)
{
    struct head head = HEAD_INIT;
    char length[24];
    struct event event = {.part = PART_HEAD, .at_ns = x->started_ns, .head = &head};
    (void)snprintf(length, sizeof length, "%zu", body->n);
    head_clear(&head, HEAD_RESPONSE);
    head.status = status;
    enum err e = head_set(&head, &head.reason,
                          status == 200   ? SPAN("OK")
                          : status == 404 ? SPAN("Not Found")
                                          : SPAN("Misdirected Request"));
    if (!e)
        e = headers_add(&head.headers, SPAN("Content-Type"), span_str(type));
    if (!e)
        e = headers_add(&head.headers, SPAN("Content-Length"), span_str(length));
    if (!e)
        e = headers_add(&head.headers, SPAN("Cache-Control"), SPAN("no-store"));
    if (!e) {
        exchange_pass_response(x, &page->filter, &event);
        event = (struct event){.part = PART_BODY, .at_ns = x->started_ns, .data = buf_span(body)};
        if (body->n)
            exchange_pass_response(x, &page->filter, &event);
        event = (struct event){.part = PART_END, .at_ns = x->started_ns};
    } else {
        event = (struct event){.part = PART_ERROR, .at_ns = x->started_ns, .error = e, .reason = err_text(e)};
    }
    exchange_pass_response(x, &page->filter, &event);
    head_free(&head);
}

struct page_state {
    unsigned status;
    const char *type;
    struct buf body;
};

static void page_state_free(struct page_state *state)
{
    buf_free(&state->body);
    mem_free(state);
}

/* The answer is made at the request's head and kept until its end. */
static struct page_state *page_prepare(const struct page *page, const struct head *head, bool misdirected)
{
    struct page_state *state = mem_new(1, sizeof *state);
    if (!state)
        return NULL;
    struct span host = head_span(head, head->host), path = head_span(head, head->path);
    bool named = misdirected && host.n > 0 && !url_is_address(host) && !span_eq(host, SPAN("localhost")) &&
                 !span_eq(host, SPAN(PAGE_HOST));
    enum err e;
    if (named) {
        state->status = 421;
        e = page_misdirected(host, &state->body, &state->type);
    } else {
        e = page_body(page, path, &state->body, &state->type, &state->status);
    }
    if (e) {
        page_state_free(state);
        return NULL;
    }
    return state;
}

static void page_request(struct filter *filter, struct exchange *x, const struct event *event)
{
    struct page *page = container_of(filter, struct page, filter);
    void **slot = &x->filter_state[filter->index];
    if (event->part == PART_HEAD) {
        bool misdirected = *slot == PAGE_MISDIRECTED;
        bool ours = misdirected || page_is_for_us(x, event->head);
        *slot = ours ? page_prepare(page, event->head, misdirected) : NULL;
        if (!*slot && ours) {
            struct event error = {
                .part = PART_ERROR, .at_ns = event->at_ns, .error = ERR_NOMEM, .reason = err_text(ERR_NOMEM)};
            exchange_pass_response(x, filter, &error);
            return;
        }
    }
    struct page_state *state = *slot;
    if (!state) {
        exchange_pass_request(x, filter, event);
    } else if (event->part == PART_END) {
        page_answer(page, x, &state->body, state->type, state->status);
    }
}

static void page_end(struct filter *filter, struct exchange *x)
{
    void **slot = &x->filter_state[filter->index];
    if (*slot && *slot != PAGE_MISDIRECTED)
        page_state_free(*slot);
    *slot = NULL;
}

static const struct filter_ops page_ops = {page_request, NULL, page_end};

void page_init(struct page *page, const struct worker *worker)
{
    page->filter.ops = &page_ops;
    page->worker = worker;
}
