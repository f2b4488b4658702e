/* exchange.c: carries events along the pipeline, and knows when an exchange is over.
 *
 * Invariants: the taps are told begin before, and end after, everything else of one exchange, each once. The origin is opened by the
 * first event that reaches it and is let go of exactly once: by its own PART_END or PART_ERROR, or by cancel(). After the response has
 * ended, further parts of the request (an answer may come early) are dropped here. */
#include "flow/exchange.h"

#include "base/alloc.h"
#include "base/clock.h"
#include "flow/messages.h"
#include "flow/origin.h"

#include <assert.h>

void pipeline_add_filter(struct pipeline *p, struct filter *filter)
{
    assert(p->filters_n < EXCHANGE_FILTERS_MAX);
    filter->index = p->filters_n;
    p->filters[p->filters_n++] = filter;
}

void pipeline_add_tap(struct pipeline *p, struct tap *tap)
{
    assert(p->taps_n < EXCHANGE_TAPS_MAX);
    p->taps[p->taps_n++] = tap;
}

void pipeline_connection(const struct pipeline *p, const struct connection *connection)
{
    for (size_t i = 0; i < p->taps_n; i++)
        p->taps[i]->ops->connection(p->taps[i], connection);
}

enum err exchange_create(struct exchange **out, uint64_t id, enum flow_kind kind, const struct pipeline *pipeline,
                         struct connection *client, const struct exchange_client *ops, void *client_ctx)
{
    struct exchange *x = mem_new(1, sizeof *x);
    *out = x;
    if (!x)
        return ERR_NOMEM;
    x->id = id;
    x->kind = kind;
    x->started_wall_ns = clock_wall_ns();
    x->started_ns = clock_mono_ns();
    x->client = connection_ref(client);
    x->pipeline = pipeline;
    x->ops = ops;
    x->client_ctx = client_ctx;
    x->intercepted_sni = "";
    return ERR_OK;
}

static void exchange_tell_request(struct exchange *x, const struct event *event)
{
    const struct pipeline *p = x->pipeline;
    for (size_t i = 0; i < p->taps_n; i++) {
        if (!x->tapped)
            p->taps[i]->ops->begin(p->taps[i], x);
        p->taps[i]->ops->request(p->taps[i], x, event);
    }
    x->tapped = true;
    if (p->taps_n > 0)
        messages_part(x, false, event);
}

static void exchange_tell_response(struct exchange *x, const struct event *event)
{
    for (size_t i = 0; x->tapped && i < x->pipeline->taps_n; i++)
        x->pipeline->taps[i]->ops->response(x->pipeline->taps[i], x, event);
    if (x->tapped && x->pipeline->taps_n > 0)
        messages_part(x, true, event);
}

static uint64_t stated_length(const struct exchange *x, const struct head *head)
{
    struct span value;
    uint64_t length;
    if (x->asks_head || head->status == 204 || head->status == 304)
        return 0;
    if (!headers_find(&head->headers, SPAN("Content-Length"), &value) || !span_to_u64(value, UINT64_MAX - 1, &length))
        return UINT64_MAX;
    return length;
}

/* HTTP/2 says that a message ends apart from its content: a client that counts leaves when it has what the head stated, and misses nothing. */
static bool exchange_is_whole(const struct exchange *x)
{
    return x->kind == FLOW_HTTP && x->request_ended && x->response_begun && x->response_bytes == x->response_length;
}

void exchange_destroy(struct exchange **x, enum err why, const char *reason)
{
    struct exchange *it = *x;
    *x = NULL;
    if (!it)
        return;
    const struct pipeline *p = it->pipeline;
    if (it->origin_open) {
        it->origin_open = false;
        p->origin->ops->cancel(p->origin, it);
    }
    if (!it->response_ended && why) {
        struct event event = {.part = PART_ERROR, .at_ns = clock_mono_ns(), .error = why, .reason = reason};
        if (exchange_is_whole(it))
            event = (struct event){.part = PART_END, .at_ns = event.at_ns};
        exchange_tell_response(it, &event);
    }
    for (size_t i = 0; it->tapped && i < p->taps_n; i++)
        p->taps[i]->ops->end(p->taps[i], it);
    for (size_t i = 0; i < p->filters_n; i++)
        if (p->filters[i]->ops->end)
            p->filters[i]->ops->end(p->filters[i], it);
    messages_destroy(&it->messages);
    connection_unref(&it->client);
    connection_unref(&it->server);
    mem_free(it);
}

/* The request has passed all filters. */
static void exchange_to_origin(struct exchange *x, const struct event *event)
{
    struct origin *origin = x->pipeline->origin;
    if (x->response_ended && !x->half_closed)
        return;
    if (event->part == PART_BODY)
        x->request_bytes += event->data.n;
    /* Once upgraded, the client's FIN is a second end: for the origin only. */
    if (!(event->part == PART_END && x->request_ended))
        exchange_tell_request(x, event);
    if (event->part == PART_END || event->part == PART_ERROR)
        x->request_ended = true;
    if (event->part == PART_HEAD) {
        x->origin_open = true;
        x->asks_head = span_eq(head_span(event->head, event->head->method), SPAN("HEAD"));
        origin->ops->open(origin, x);
    }
    if (x->origin_open)
        origin->ops->request(origin, x, event);
}

static void exchange_request_at(struct exchange *x, size_t at, const struct event *event)
{
    if (at < x->pipeline->filters_n)
        x->pipeline->filters[at]->ops->request(x->pipeline->filters[at], x, event);
    else
        exchange_to_origin(x, event);
}

/* `at` filters stand between here and the client. */
static void exchange_response_at(struct exchange *x, size_t at, const struct event *event)
{
    while (at > 0) {
        struct filter *filter = x->pipeline->filters[--at];
        if (filter->ops->response) {
            filter->ops->response(filter, x, event);
            return;
        }
    }
    x->ops->response(x, event);
}

void exchange_request(struct exchange *x, const struct event *event)
{
    exchange_request_at(x, 0, event);
}

void exchange_pass_request(struct exchange *x, const struct filter *from, const struct event *event)
{
    exchange_request_at(x, from->index + 1, event);
}

void exchange_response(struct exchange *x, const struct event *event)
{
    assert(!x->response_ended);
    if (event->part == PART_HEAD) {
        x->response_begun = true;
        x->response_length = stated_length(x, event->head);
    }
    if (event->part == PART_BODY)
        x->response_bytes += event->data.n;
    if (event->part == PART_END || event->part == PART_ERROR) {
        x->response_ended = true;
        x->origin_open = false;
    }
    exchange_tell_response(x, event);
    if (!x->ambiguous || event->part != PART_BODY)
        exchange_response_at(x, x->pipeline->filters_n, event);
}

bool exchange_half_close(struct exchange *x)
{
    struct event event = {.part = PART_END, .at_ns = clock_mono_ns()};
    assert(x->kind == FLOW_TUNNEL && x->origin_open && !x->response_ended);
    if (!x->ops->finished)
        return false;
    x->response_ended = x->half_closed = true;
    exchange_tell_response(x, &event);
    x->ops->finished(x, false);
    return true;
}

void exchange_let_go(struct exchange *x)
{
    assert(x->half_closed && x->origin_open);
    x->origin_open = x->half_closed = false;
    x->ops->finished(x, true);
}

void exchange_pass_response(struct exchange *x, const struct filter *from, const struct event *event)
{
    exchange_response_at(x, from->index, event);
}

void exchange_pause_response(struct exchange *x, bool paused)
{
    if (x->origin_open)
        x->pipeline->origin->ops->pause_response(x->pipeline->origin, x, paused);
}

void exchange_pause_request(struct exchange *x, bool paused)
{
    x->ops->pause_request(x, paused);
}

void exchange_set_server(struct exchange *x, struct connection *server, bool reused)
{
    connection_unref(&x->server);
    x->server = connection_ref(server);
    x->server_reused = reused;
}

void exchange_set_kind(struct exchange *x, enum flow_kind kind)
{
    x->kind = kind;
}

void exchange_record_failure(const struct exchange *x, const struct head *request, enum err why, const char *reason)
{
    const struct pipeline *p = x->pipeline;
    struct event head = {.part = PART_HEAD, .at_ns = x->started_ns, .head = request, .no_body = true};
    struct event error = {.part = PART_ERROR, .at_ns = clock_mono_ns(), .error = why, .reason = reason};
    assert(!x->tapped && !x->origin_open);
    for (size_t i = 0; i < p->taps_n; i++) {
        p->taps[i]->ops->begin(p->taps[i], x);
        p->taps[i]->ops->request(p->taps[i], x, &head);
        p->taps[i]->ops->response(p->taps[i], x, &error);
        p->taps[i]->ops->end(p->taps[i], x);
    }
}

const char *flow_kind_word(enum flow_kind kind)
{
    static const char *const words[] = {
#define FLOW_KIND_WORD(name, word) [name] = word,
        FLOW_KINDS(FLOW_KIND_WORD)
#undef FLOW_KIND_WORD
    };
    assert((size_t)kind < sizeof words / sizeof words[0]);
    return words[kind];
}

unsigned exchange_error_status(enum err e)
{
    switch (e) {
    case ERR_TIMEOUT:
        return 504;
    case ERR_LOOP:
        return 508;
    case ERR_MISS:
        return 501;
    default:
        return 502;
    }
}
