/* stage.h: a player with a client leg and a clock that are not real: each part of an answer is written down as one line, and time passes only when
 * nothing else is left to do. Everything is deterministic.
 *
 *     struct stage s;
 *     stage_open(&s, OPTIONS("--tag"));
 *     fixture_add(&s.bench.tape, …);
 *     stage_load(&s);
 *     struct act *a = stage_ask(&s, &(struct ask){.path = "/a"});
 *     stage_run(&s);
 *     … a->text, a->body …
 *     stage_close(&s);                                             */
#ifndef RINGTAPE_TESTS_REPLAY_STAGE_H
#define RINGTAPE_TESTS_REPLAY_STAGE_H

#include "support.h"

#include "base/task.h"
#include "replay/player.h"

enum { STAGE_ACTS = 8, STAGE_TURNS = 100000, STAGE_TIMES = 256 };

/* One exchange as the client sees it. */
struct act {
    struct stage *stage;
    struct exchange *x; /* NULL: over */
    struct buf text;    /* "head 200 OK HTTP/1.1|Name: value\n", "body 5\n", "end\n" … */
    struct buf body;
    uint64_t at_ns[STAGE_TIMES]; /* of each part */
    size_t parts;
    bool request_paused;
    unsigned pauses;
    bool pause_each; /* after each part */
};

struct stage {
    struct scheduler scheduler;
    struct list tasks;
    uint64_t now_ns;
    struct bench bench;
    struct player *player;
    struct pipeline pipeline;
    struct connection *client;
    struct act acts[STAGE_ACTS];
    size_t acts_n;
    bool loaded;
};

/* --- the clock --------------------------------------------------------------------------------------------------- */

static inline void stage_stop_task(struct scheduler *scheduler, struct task *task)
{
    (void)scheduler;
    list_remove(&task->link);
    task->due_ns = 0;
}

static inline void stage_start_task(struct scheduler *scheduler, struct task *task, uint64_t delay_ns)
{
    struct stage *s = container_of(scheduler, struct stage, scheduler);
    stage_stop_task(scheduler, task);
    task->due_ns = s->now_ns + delay_ns;
    list_push(&s->tasks, &task->link);
}

static inline uint64_t stage_now(const struct scheduler *scheduler)
{
    return ((const struct stage *)(const void *)((const char *)scheduler - offsetof(struct stage, scheduler)))->now_ns;
}

/* One task; false: none is left. */
static inline bool stage_turn(struct stage *s)
{
    struct task *next = NULL;
    LIST_FOREACH (link, &s->tasks) {
        struct task *t = container_of(link, struct task, link);
        if (!next || t->due_ns < next->due_ns)
            next = t;
    }
    if (!next)
        return false;
    s->now_ns = MAX(s->now_ns, next->due_ns);
    stage_stop_task(&s->scheduler, next);
    next->run(next);
    return true;
}

static inline void stage_run(struct stage *s)
{
    int turns = 0;
    while (stage_turn(s))
        assert_true(++turns < STAGE_TURNS);
}

/* --- the client leg ---------------------------------------------------------------------------------------------- */

static inline void act_put(struct act *a, struct span bytes)
{
    assert_int_equal(buf_put(&a->text, bytes), ERR_OK);
}

static inline void act_head(struct act *a, const char *word, const struct event *event)
{
    const struct head *h = event->head;
    assert_int_equal(h->kind, HEAD_RESPONSE);
    assert_int_equal(buf_printf(&a->text, "%s %u ", word, h->status), ERR_OK);
    act_put(a, head_span(h, h->reason));
    act_put(a, SPAN(" "));
    act_put(a, head_span(h, h->version));
    for (size_t i = 0; i < h->headers.n; i++) {
        struct header f = headers_at(&h->headers, i);
        act_put(a, SPAN("|"));
        act_put(a, f.name);
        act_put(a, SPAN(": "));
        act_put(a, f.value);
    }
    act_put(a, event->no_body ? SPAN("|no body\n") : SPAN("\n"));
}

static inline void act_trailers(struct act *a, const struct headers *trailers)
{
    act_put(a, SPAN("trailers"));
    for (size_t i = 0; i < trailers->n; i++) {
        struct header f = headers_at(trailers, i);
        act_put(a, SPAN("|"));
        act_put(a, f.name);
        act_put(a, SPAN(": "));
        act_put(a, f.value);
    }
    act_put(a, SPAN("\n"));
}

static inline void act_response(struct exchange *x, const struct event *event)
{
    struct act *a = x->client_ctx;
    assert_ptr_equal(a->x, x);
    assert_true(event->at_ns == a->stage->now_ns);
    if (a->parts < STAGE_TIMES)
        a->at_ns[a->parts] = event->at_ns;
    a->parts++;
    switch (event->part) {
    case PART_INFORMATIONAL:
        act_head(a, "info", event);
        break;
    case PART_HEAD:
        act_head(a, "head", event);
        break;
    case PART_BODY:
        assert_in_range(event->data.n, 1, LIMIT_CHUNK_BYTES);
        assert_int_equal(buf_put(&a->body, event->data), ERR_OK);
        break;
    case PART_TRAILERS:
        act_trailers(a, event->trailers);
        break;
    case PART_END:
        act_put(a, SPAN("end\n"));
        break;
    case PART_ERROR:
        assert_non_null(event->reason);
        assert_int_equal(buf_printf(&a->text, "error %s: %s\n", err_word(event->error), event->reason), ERR_OK);
        break;
    }
    if (event->part == PART_END || event->part == PART_ERROR)
        exchange_destroy(&a->x, ERR_OK, "");
    else if (a->pause_each)
        exchange_pause_response(x, true);
}

static inline void act_pause_request(struct exchange *x, bool paused)
{
    struct act *a = x->client_ctx;
    assert_int_not_equal(a->request_paused, paused);
    a->request_paused = paused;
    a->pauses++;
}

static const struct exchange_client stage_client = {.response = act_response, .pause_request = act_pause_request};

/* --- life -------------------------------------------------------------------------------------------------------- */

static inline void stage_open(struct stage *s, const char *const *options)
{
    memset(s, 0, sizeof *s);
    s->scheduler = (struct scheduler){stage_start_task, stage_stop_task, stage_now};
    s->now_ns = 1000;
    list_init(&s->tasks);
    bench_open(&s->bench, options);
    assert_int_equal(connection_create(&s->client, CONNECTION_CLIENT, 1), ERR_OK);
}

static inline void stage_load(struct stage *s)
{
    struct buf problem = BUF_INIT;
    if (!s->bench.matcher)
        bench_load(&s->bench);
    struct player_options options = {.matcher = s->bench.matcher, .scheduler = &s->scheduler};
    enum err e = player_create(&s->player, &options, &problem);
    if (e)
        fail_msg("%s: %s", err_word(e), buf_cstr(&problem));
    buf_free(&problem);
    s->pipeline.origin = player_origin(s->player);
    s->loaded = true;
}

static inline void stage_forget_acts(struct stage *s)
{
    for (size_t i = 0; i < s->acts_n; i++) {
        exchange_destroy(&s->acts[i].x, ERR_CLOSED, "the client is gone");
        buf_free(&s->acts[i].text);
        buf_free(&s->acts[i].body);
    }
    s->acts_n = 0;
}

static inline void stage_close(struct stage *s)
{
    stage_forget_acts(s);
    if (s->player)
        player_destroy(&s->player);
    assert_true(list_empty(&s->tasks)); /* nothing is left behind that would run */
    connection_unref(&s->client);
    bench_close(&s->bench);
}

/* --- requests ---------------------------------------------------------------------------------------------------- */

struct ask {
    const char *path;           /* "/" */
    const char *const *headers; /* none */
    const char *body;           /* none */
    const char *method, *scheme, *host, *track;
    unsigned port;
    bool tunnel, open; /* open: the request does not end yet */
    bool pause_each;
};

static inline void act_request(struct act *a, enum part part, struct span data)
{
    struct event event = {.part = part,
                          .at_ns = a->stage->now_ns,
                          .data = data,
                          .error = ERR_TRUNCATED,
                          .reason = "the client's body broke off"};
    if (a->x)
        exchange_request(a->x, &event);
}

static inline struct act *stage_ask(struct stage *s, const struct ask *ask)
{
    struct head head = HEAD_INIT;
    assert_true(s->acts_n < STAGE_ACTS);
    struct act *a = &s->acts[s->acts_n++];
    memset(a, 0, sizeof *a);
    a->stage = s;
    a->pause_each = ask->pause_each;
    /* Room for what is written down while the player's allocations fail. */
    uint8_t *room;
    assert_int_equal(buf_reserve(&a->text, 8192, &room), ERR_OK);
    assert_int_equal(buf_reserve(&a->body, 8192, &room), ERR_OK);
    head_clear(&head, HEAD_REQUEST);
    for (const char *const *p = ask->headers; p && *p; p += 2)
        assert_int_equal(headers_add(&head.headers, span_str(p[0]), span_str(p[1])), ERR_OK);
    assert_int_equal(head_set(&head, &head.method,
                              span_str(ask->method   ? ask->method
                                       : ask->tunnel ? "CONNECT"
                                                     : "GET")),
                     ERR_OK);
    assert_int_equal(head_set(&head, &head.scheme, span_str(ask->scheme ? ask->scheme : "http")), ERR_OK);
    assert_int_equal(head_set(&head, &head.host, span_str(ask->host ? ask->host : "example.test")), ERR_OK);
    assert_int_equal(head_set(&head, &head.path, span_str(ask->path ? ask->path : ask->tunnel ? "" : "/")), ERR_OK);
    head.port = ask->port ? ask->port : 80;
    assert_int_equal(exchange_create(&a->x, s->acts_n, ask->tunnel ? FLOW_TUNNEL : FLOW_HTTP, &s->pipeline, s->client,
                                     &stage_client, a),
                     ERR_OK);
    a->x->track = span_str(ask->track);
    struct event event = {.part = PART_HEAD, .at_ns = s->now_ns, .head = &head, .no_body = !ask->body && !ask->open};
    exchange_request(a->x, &event);
    assert_int_equal(a->parts, 0); /* never inside of open() or request() */
    if (ask->body)
        act_request(a, PART_BODY, span_str(ask->body));
    if (!ask->open)
        act_request(a, PART_END, SPAN_EMPTY);
    assert_int_equal(a->parts, 0);
    head_free(&head);
    return a;
}

static inline void check_text(const struct act *a, const char *text)
{
    if (!span_eq(buf_span(&a->text), span_str(text)))
        fail_msg("got:\n%.*s\ninstead of:\n%s", (int)a->text.n, (const char *)buf_span(&a->text).p, text);
}

#endif
