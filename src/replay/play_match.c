/* play_match.c: from a request to its answer: the key, the recording's row, or a miss. All that is needed of the row is copied, so that no cursor
 * stays open while a slow client reads. */
#include "replay/play.h"

#include "base/text.h"
#include "base/util.h"
#include "http/mime.h"
#include "http/ws.h"
#include "replay/miss.h"
#include "replay/sha1.h"

#include <stdio.h>

/* "word: reason" of the tape, as an error. */
static enum err error_of(struct span text, struct span *reason)
{
    size_t n = span_find(text, ':');
    *reason = span_trim(span_from(text, n + 1));
    if (reason->n == 0)
        *reason = text;
    for (int e = ERR_OK + 1; e < ERR_COUNT; e++)
        if (span_eq(span_first(text, n), span_str(err_word((enum err)e))))
            return (enum err)e;
    return ERR_TRUNCATED;
}

static void put_reason(struct play *p, struct span reason)
{
    buf_clear(&p->reason);
    if (buf_put(&p->reason, span_first(reason, 400)) || !buf_cstr(&p->reason))
        buf_clear(&p->reason);
}

/* How the recording ended. decoded: what was sent and what is kept are different things. */
static void copy_ending(struct play *p, const struct tape_flow *f, bool decoded)
{
    struct span reason = SPAN_EMPTY;
    enum err failed = f->error.n > 0 && !f->complete ? error_of(f->error, &reason) : ERR_OK;
    bool early = span_eq(reason, SPAN(TAPE_ENDED_EARLY)); /* of the response, nothing is missing */
    p->error = ERR_OK;
    p->told_bytes = p->kind == FLOW_TUNNEL ? f->response_body.wire_bytes : 0;
    if (failed && !early) {
        p->error = failed;
        put_reason(p, reason);
    } else if (f->status == 0 || f->answered || (!f->complete && f->response_end_ns < 0)) {
        p->error = ERR_TRUNCATED;
        put_reason(p, SPAN("the recording breaks off here"));
    } else if (!p->raw && !p->no_body && !decoded && f->response_body.wire_bytes > f->response_body.bytes) {
        p->error = ERR_TRUNCATED;
        put_reason(p, SPAN("the tape does not hold all of this body (--max-body)"));
    }
}

/* An event stream that did not end but was left, by the client or by the recording: the tape does not say that the origin ended it. To end it now
 * would send the client into another connection, which nobody recorded. */
static bool was_left(const struct play *p, const struct tape_flow *f)
{
    struct span type;
    return (p->error == ERR_CLOSED || p->error == ERR_CANCELLED || p->error == ERR_SHUTDOWN) && !p->no_body &&
           f->response_body.wire_bytes == f->response_body.bytes &&
           headers_find(&p->head.headers, SPAN("Content-Type"), &type) &&
           span_eq_nocase(mime_essence(type), SPAN("text/event-stream"));
}

static bool has_no_body(struct span method, unsigned status)
{
    return span_eq(method, SPAN("HEAD")) || status == 204 || status == 304;
}

/* A length that cannot be kept is left out: the client's leg then frames by itself. A longer one stays when the recording broke off, so that the
 * client sees that. */
static void check_length(struct play *p)
{
    struct span value;
    uint64_t length;
    if (p->no_body || !headers_find(&p->head.headers, SPAN("Content-Length"), &value))
        return;
    bool good = span_to_u64(span_trim(value), UINT64_MAX, &length) &&
                (p->error ? length >= p->body_ref.bytes : length == p->body_ref.bytes);
    if (!good)
        (void)headers_remove(&p->head.headers, SPAN("Content-Length"));
}

static enum err copy_head(struct play *p, const struct tape_flow *f)
{
    head_clear(&p->head, HEAD_RESPONSE);
    enum err e = f->response_headers.n > 0 ? tape_headers(f->response_headers, &p->head.headers) : ERR_OK;
    p->head.status = f->status;
    if (!e)
        e = head_set(&p->head, &p->head.reason, f->reason);
    if (!e)
        e = head_set(&p->head, &p->head.version, f->response_version);
    if (!e && f->response_trailers.n > 0)
        e = tape_headers(f->response_trailers, &p->trailers);
    return e;
}

static enum err copy_informational(struct play *p, const struct tape_flow *f)
{
    buf_clear(&p->informational);
    enum err e = buf_put(&p->informational, f->informational);
    p->informational_rest = buf_span(&p->informational);
    return e;
}

static enum err put_tag(struct play *p)
{
    struct buf *room = &p->player->line;
    buf_clear(room);
    enum err e = buf_put_str(room, "hit; flow=");
    if (!e)
        e = matcher_put_flow(p->player->matcher, &p->match, room);
    if (!e)
        e = buf_printf(room, "; n=%llu", (unsigned long long)p->match.times);
    return e ? e : headers_add(&p->head.headers, SPAN("Ringtape"), buf_span(room));
}

/* The handshake answers the key of this client, not of the one that was recorded (RFC 6455, section 4.2.2); over HTTP/2 there is none (RFC 8441, section 5). */
static enum err accept_key(struct play *p)
{
    static const char guid[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
    struct span key;
    uint8_t digest[SHA1_BYTES];
    struct buf *room = &p->player->line;
    if (p->kind != FLOW_WEBSOCKET || !headers_find(&p->request.headers, SPAN("Sec-WebSocket-Key"), &key))
        return ERR_OK;
    buf_clear(room);
    enum err e = buf_put(room, span_trim(key));
    if (!e)
        e = buf_put_str(room, guid);
    if (e)
        return e;
    sha1(buf_span(room), digest);
    buf_clear(room);
    e = text_base64(room, span_of(digest, sizeof digest));
    return e ? e : headers_set(&p->head.headers, SPAN("Sec-WebSocket-Accept"), buf_span(room));
}

static enum flow_kind kind_of(struct span word)
{
    for (int kind = FLOW_HTTP; kind <= FLOW_TUNNEL; kind++)
        if (span_eq(word, span_str(flow_kind_word((enum flow_kind)kind))))
            return (enum flow_kind)kind;
    return FLOW_HTTP;
}

static enum err copy_flow(struct play *p, const struct tape_flow *f)
{
    bool answered = f->status != 0 && !f->answered;
    p->kind = kind_of(f->kind);
    p->raw = answered && p->kind != FLOW_HTTP;
    p->no_body = has_no_body(head_span(&p->request, p->request.method), f->status);
    p->body_ref = f->response_body;
    p->begin_at_ns = answered ? f->response_begin_ns : f->response_end_ns;
    p->anchor_at_ns =
        f->request_end_ns >= 0 && f->request_end_ns <= p->begin_at_ns ? f->request_end_ns : MAX(f->sent_ns, 0);
    p->early = f->response_begin_ns >= 0 && (f->request_end_ns < 0 || f->response_begin_ns < f->request_end_ns);
    p->end_at_ns = f->response_end_ns;
    enum err e = copy_informational(p, f);
    if (!answered)
        copy_ending(p, f, false);
    if (e || !answered)
        return e;
    if (f->status < 101 || (f->status < 200 && (f->status != 101 || !p->raw)) || f->status > 999 ||
        (p->tunnel && !p->raw))
        return ERR_CORRUPT;
    e = copy_head(p, f);
    if (!e) {
        copy_ending(p, f, headers_remove(&p->head.headers, SPAN(TAPE_DECODED_FIELD)) > 0);
        check_length(p);
        p->hold = !p->raw && was_left(p, f);
    }
    if (!e && p->raw)
        e = accept_key(p);
    if (!e && p->kind == FLOW_WEBSOCKET)
        e = ws_extensions_fit(&p->head.headers, &p->request.headers);
    if (!e && matcher_rules(p->player->matcher)->tag)
        e = put_tag(p);
    return e;
}

static enum err load_flow(struct play *p)
{
    struct tape_query query = {.id = p->match.flow};
    struct tape_cursor *cursor = NULL;
    struct tape_flow flow;
    p->tape = p->player->tapes[p->match.tape];
    enum err e = tape_flows(p->tape, &query, &cursor);
    if (!e)
        e = tape_flow_next(cursor, &flow);
    if (!e)
        e = copy_flow(p, &flow);
    if (!e && p->turns)
        e = play_turns_flow(p, &flow);
    tape_cursor_close(&cursor);
    return e;
}

static void begin_answer(struct play *p)
{
    p->anchor_ns = p->player->scheduler->now_ns(p->player->scheduler);
    bool said = p->head.status != 0 || p->informational_rest.n > 0;
    play_enter(p, said ? PLAY_INFORMATIONAL : PLAY_END);
    if (p->turns)
        play_turns_start(p);
    play_wake(p, 0);
}

/* The answer to a miss; or, in a tunnel, its end. */
static enum err make_miss(struct play *p, const struct miss *miss)
{
    struct player *player = p->player;
    const struct rules *rules = matcher_rules(player->matcher);
    buf_clear(&player->json);
    buf_clear(&player->line);
    enum err e = miss_explain(player->matcher, player->tapes, miss, &player->json, &player->line);
    if (e)
        return e;
    matcher_keep_miss(player->matcher, buf_span(&player->json), buf_span(&player->line));
    const char *line = buf_cstr(&player->line);
    log_write(player->log, LOG_WARN, "miss", "%s", line ? line : "");
    if (p->tunnel) {
        play_fail(p, ERR_MISS, "no recording matches this tunnel");
        return ERR_OK;
    }
    head_clear(&p->head, HEAD_RESPONSE);
    p->head.status = rules->miss_status;
    p->no_body = has_no_body(head_span(&p->request, p->request.method), rules->miss_status);
    char length[24];
    (void)snprintf(length, sizeof length, "%zu", player->json.n);
    e = headers_add(&p->head.headers, SPAN("Content-Type"), SPAN("application/json"));
    if (!e && rules->miss_status != 204) /* RFC 9110, section 8.6 */
        e = headers_add(&p->head.headers, SPAN("Content-Length"), span_str(length));
    if (!e)
        e = headers_add(&p->head.headers, SPAN("Ringtape"), SPAN("miss"));
    if (!e)
        e = head_set(&p->head, &p->head.reason, SPAN("No Recording"));
    if (!e)
        e = head_set(&p->head, &p->head.version, SPAN("HTTP/1.1"));
    if (!e)
        e = buf_put(&p->canned, buf_span(&player->json));
    return e;
}

/* The key under which the matcher knows this request: as it is; or without its offer of an upgrade, when that was not taken up; or by the length of
 * its body, when the tape holds no more of that. When none is known, that of the first. */
static enum err find_key(struct play *p, struct key_request *r, struct key *out)
{
    struct player *player = p->player;
    struct matcher *m = player->matcher;
    const struct rules *rules = matcher_rules(m);
    const struct hash_key *hash = matcher_hash_key(m);
    enum err e = key_compute(out, rules, hash, r, &player->scratch);
    if (!e && r->upgraded && !matcher_knows(m, out)) {
        r->upgraded = false;
        e = key_compute(out, rules, hash, r, &player->scratch);
    }
    if (!e && r->body != 0 && matcher_has_cut_bodies(m) && !matcher_knows(m, out)) {
        struct key_request by_length = *r;
        struct key key;
        by_length.body = content_cut_key(p->content.bytes, hash);
        e = key_compute(&key, rules, hash, &by_length, &player->scratch);
        if (!e && matcher_knows(m, &key))
            *out = key;
    }
    return e;
}

void play_key_request(const struct play *p, struct key_request *r)
{
    const struct head *h = &p->request;
    *r = (struct key_request){.method = head_span(h, h->method),
                              .scheme = head_span(h, h->scheme),
                              .host = head_span(h, h->host),
                              .port = h->port,
                              .path = head_span(h, h->path),
                              .headers = &h->headers};
    rules_map_host(matcher_rules(p->player->matcher), &r->host, &r->port);
}

/* `none`: a miss for sure, for that reason. */
static enum err find(struct play *p, bool none, enum miss_reason reason)
{
    struct player *player = p->player;
    struct matcher *m = player->matcher;
    const struct head *h = &p->request;
    struct key key;
    struct key_request r;
    struct miss miss = {
        .reason = reason, .key = &key, .head = h, .track = p->x->track, .content = p->collect ? &p->content : NULL};
    enum err e = ERR_OK;
    play_key_request(p, &r);
    if (p->collect)
        e = content_end(&p->content, matcher_rules(m), matcher_hash_key(m), &player->scratch, &r.body);
    r.upgraded = headers_has_token(&h->headers, SPAN("Connection"), SPAN("upgrade"));
    if (!e)
        e = find_key(p, &r, &key);
    if (e)
        return e;
    miss.host = r.host;
    miss.port = r.port;
    if (!none && matcher_take(m, &key, p->x->track, &p->match, &miss.reason))
        return load_flow(p);
    if (none)
        matcher_count_miss(m, p->x->track);
    play_turns_end(p);
    return make_miss(p, &miss);
}

/* What was found is all that is needed of the request. */
static void found(struct play *p, enum err e)
{
    p->matched = true;
    content_free(&p->content);
    if (e) {
        play_turns_end(p);
        p->head.status = 0;
        play_fail(p, e, e == ERR_CORRUPT ? "the recording of this request is damaged" : err_text(e));
    }
}

void play_match(struct play *p)
{
    if (!p->matched)
        found(p, find(p, false, MISS_DIFFERENT));
    if (p->request_ended || (p->early && play_turns_may_begin(p)) || p->tunnel)
        begin_answer(p);
}

void play_match_taken(struct play *p)
{
    found(p, load_flow(p));
    begin_answer(p);
}

void play_match_none(struct play *p, enum miss_reason reason)
{
    found(p, find(p, true, reason));
    begin_answer(p);
}

void play_miss_message(struct play *p, const struct miss_message *miss)
{
    struct player *player = p->player;
    buf_clear(&player->json);
    buf_clear(&player->line);
    enum err e = miss_explain_message(player->matcher, &p->request, &p->match, miss, &player->json, &player->line);
    matcher_count_miss(player->matcher, p->x->track);
    if (!e) {
        matcher_keep_miss(player->matcher, buf_span(&player->json), buf_span(&player->line));
        const char *line = buf_cstr(&player->line);
        log_write(player->log, LOG_WARN, "miss", "%s", line ? line : "");
    }
}
