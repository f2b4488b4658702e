/* player.c: the origin's face of replay: takes requests apart into plays (play.h) and answers what clients ask before their TLS. Invariant: an exchange's
 * origin_state is its play from open() until the play's last part or cancel(). */
#include "replay/player.h"

#include "base/alloc.h"
#include "base/util.h"
#include "replay/play.h"

#include <stdio.h>

struct question {
    struct list link;
    struct player *player;
    struct probe *probe;
    struct task task;
};

static struct player *player_of(struct origin *origin)
{
    return container_of(origin, struct player, origin);
}

static bool offers(struct span alpn, struct span protocol)
{
    while (alpn.n > 0) {
        size_t n = alpn.p[0];
        struct span name = span_first(span_from(alpn, 1), n);
        if (span_eq(name, protocol))
            return true;
        alpn = span_from(alpn, 1 + n);
    }
    return false;
}

/* As recorded, when the client offers it; HTTP/1.1 otherwise, when it offers that. An origin that chose nothing chooses nothing again. */
static struct span choose_alpn(const struct matcher_origin *known, bool is_known, struct span offer)
{
    if (is_known && known->alpn.n == 0)
        return SPAN_EMPTY;
    if (is_known && offers(offer, known->alpn))
        return known->alpn;
    return offers(offer, SPAN("http/1.1")) ? SPAN("http/1.1") : SPAN_EMPTY;
}

static void answer_question(struct task *task)
{
    struct question *q = container_of(task, struct question, task);
    struct probe *probe = q->probe;
    struct origin_facts *facts = probe->facts;
    struct matcher_origin known;
    bool is_known = matcher_origin(q->player->matcher, probe->host, probe->port, &known);
    connection_set(facts->alpn, sizeof facts->alpn, choose_alpn(&known, is_known, probe->alpn));
    facts->upgrades = known.upgrades;
    enum err e = buf_put(&facts->names, known.names);
    if (e) {
        facts->error = e;
        connection_set(facts->reason, sizeof facts->reason, span_str(err_text(e)));
    }
    list_remove(&q->link);
    mem_free(q);
    probe->state = NULL;
    probe->done(probe);
}

static void player_probe(struct origin *origin, struct probe *probe)
{
    struct player *player = player_of(origin);
    struct question *q = mem_new(1, sizeof *q);
    probe->state = q;
    if (!q) {
        probe->facts->error = ERR_NOMEM;
        return;
    }
    q->player = player;
    q->probe = probe;
    list_init(&q->link);
    list_push(&player->questions, &q->link);
    task_init(&q->task, answer_question);
    player->scheduler->start(player->scheduler, &q->task, 0);
}

static void question_drop(struct question *q)
{
    q->player->scheduler->stop(q->player->scheduler, &q->task);
    list_remove(&q->link);
    q->probe->state = NULL;
    mem_free(q);
}

static void player_probe_cancel(struct origin *origin, struct probe *probe)
{
    (void)origin;
    if (probe->state)
        question_drop(probe->state);
}

static void player_open(struct origin *origin, struct exchange *x)
{
    x->origin_state = play_begin(player_of(origin), x);
}

static void play_request_head(struct play *p, const struct event *event)
{
    const struct rules *rules = matcher_rules(p->player->matcher);
    enum err e = head_copy(&p->request, event->head);
    p->tunnel = p->x->kind != FLOW_HTTP;
    p->collect = rules_has(rules, RULE_BODY) && !p->tunnel;
    if (!e && p->collect)
        e = content_begin(&p->content, &p->request.headers, matcher_hash_key(p->player->matcher));
    if (!e && !p->tunnel)
        e = play_turns_begin(p);
    if (e) {
        play_fail(p, e, err_text(e));
        play_enter(p, PLAY_END);
        play_wake(p, 0);
        return;
    }
    if (!p->tunnel && headers_has_token(&p->request.headers, SPAN("Expect"), SPAN("100-continue"))) {
        p->expects = true;
        play_wake(p, 0);
    }
    if (!p->collect)
        play_match(p);
}

static void play_request_body(struct play *p, struct span data)
{
    if (p->tunnel || (p->raw && p->request_ended)) {
        play_raw_said(p, data);
        return;
    }
    if (p->state == PLAY_COLLECT && p->collect && content_add(&p->content, data)) {
        play_fail(p, ERR_NOMEM, err_text(ERR_NOMEM));
        play_enter(p, PLAY_END);
        play_wake(p, 0);
    } else if (p->turns) {
        play_turns_said(p, data);
    }
}

/* The end of a request; or, in a tunnel and after an upgrade, of all that the client says. */
static void play_request_end(struct play *p)
{
    if (p->tunnel || p->request_ended) {
        p->client_ended = true;
        if (p->state == PLAY_RAW)
            play_wake(p, 0);
        return;
    }
    p->request_ended = true;
    if (p->state == PLAY_COLLECT) {
        play_turns_end(p); /* all is said, and known by its key */
        play_match(p);
    } else if (p->turns) {
        play_wake(p, 0);
    }
}

static void player_request(struct origin *origin, struct exchange *x, const struct event *event)
{
    struct play *p = x->origin_state;
    (void)origin;
    if (!p)
        return;
    switch (event->part) {
    case PART_HEAD:
        play_request_head(p, event);
        break;
    case PART_BODY:
        play_request_body(p, event->data);
        break;
    case PART_END:
        play_request_end(p);
        break;
    case PART_ERROR:
        if (p->state == PLAY_COLLECT) {
            play_fail(p, event->error, event->reason);
            play_enter(p, PLAY_END);
            play_wake(p, 0);
        }
        break;
    case PART_INFORMATIONAL:
    case PART_TRAILERS:
        break;
    }
}

static void player_pause_response(struct origin *origin, struct exchange *x, bool paused)
{
    struct play *p = x->origin_state;
    (void)origin;
    if (!p)
        return;
    p->paused = paused;
    if (!paused && p->state != PLAY_COLLECT)
        play_wake(p, 0);
}

static void player_cancel(struct origin *origin, struct exchange *x)
{
    (void)origin;
    if (x->origin_state)
        play_end(x->origin_state);
}

static const struct origin_ops player_ops = {player_probe,   player_probe_cancel,   player_open,
                                             player_request, player_pause_response, player_cancel};

enum err player_create(struct player **out, const struct player_options *options, struct buf *problem)
{
    struct player *p = mem_new(1, sizeof *p);
    *out = NULL;
    if (!p)
        return ERR_NOMEM;
    p->origin.ops = &player_ops;
    p->matcher = options->matcher;
    p->scheduler = options->scheduler;
    p->log = options->log;
    list_init(&p->live);
    list_init(&p->spare);
    list_init(&p->questions);
    size_t n = matcher_tapes(p->matcher);
    p->tapes = mem_new(n, sizeof *p->tapes);
    enum err e = p->tapes ? ERR_OK : ERR_NOMEM;
    for (; !e && p->tapes_n < n; p->tapes_n += !e)
        e = tape_open(&p->tapes[p->tapes_n], matcher_tape_path(p->matcher, p->tapes_n), problem);
    if (e)
        player_destroy(&p);
    *out = p;
    return e;
}

struct origin *player_origin(struct player *p)
{
    return &p->origin;
}

void player_destroy(struct player **p)
{
    struct player *it = *p;
    *p = NULL;
    if (!it)
        return;
    LIST_FOREACH (link, &it->live) {
        play_end(container_of(link, struct play, link));
    }
    LIST_FOREACH (link, &it->questions) {
        question_drop(container_of(link, struct question, link));
    }
    LIST_FOREACH (link, &it->spare) {
        list_remove(link);
        play_free(container_of(link, struct play, link));
    }
    for (size_t i = 0; i < it->tapes_n; i++)
        tape_close(&it->tapes[i]);
    mem_free(it->tapes);
    key_scratch_free(&it->scratch);
    buf_free(&it->json);
    buf_free(&it->line);
    mem_free(it);
}
