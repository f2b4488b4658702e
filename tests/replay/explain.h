/* explain.h: a request that no recording of a bench matches, and what is said of it. Failures are test failures. */
#ifndef RINGTAPE_TESTS_REPLAY_EXPLAIN_H
#define RINGTAPE_TESTS_REPLAY_EXPLAIN_H

#include "support.h"

#include "replay/miss.h"

#include <jansson.h>

struct asked {
    const char *path;           /* "/" */
    const char *const *headers; /* none */
    const char *body;           /* none */
    const char *method, *scheme, *host, *track;
    unsigned port;
};

struct explained {
    json_t *json;
    struct buf text, line;
};

static inline const char *or_else(const char *text, const char *otherwise)
{
    return text ? text : otherwise;
}

static inline void set(struct head *h, struct slice *slot, const char *text)
{
    assert_int_equal(head_set(h, slot, span_str(text)), ERR_OK);
}

static inline struct tape *open_tape(const struct bench *b)
{
    struct tape *tape;
    struct buf problem = BUF_INIT;
    assert_int_equal(tape_open(&tape, b->path, &problem), ERR_OK);
    buf_free(&problem);
    return tape;
}

/* Asks as the player does; it must be a miss. Fails as miss_explain(), with its allocations counted by mem_fail_after(). */
static inline enum err ask(struct bench *b, struct tape *tape, const struct asked *asked, long fail_after,
                           struct explained *out)
{
    const struct rules *rules = &b->rules;
    const struct hash_key *hash = matcher_hash_key(b->matcher);
    struct head head = HEAD_INIT;
    struct content content;
    struct key_scratch scratch;
    struct key key;
    struct match match;
    memset(&content, 0, sizeof content);
    memset(&scratch, 0, sizeof scratch);
    head_clear(&head, HEAD_REQUEST);
    for (const char *const *p = asked->headers; p && *p; p += 2)
        assert_int_equal(headers_add(&head.headers, span_str(p[0]), span_str(p[1])), ERR_OK);
    set(&head, &head.method, or_else(asked->method, "GET"));
    set(&head, &head.scheme, or_else(asked->scheme, "http"));
    set(&head, &head.host, or_else(asked->host, "example.test"));
    set(&head, &head.path, or_else(asked->path, "/"));
    head.port = asked->port ? asked->port : 80;
    struct miss miss = {.key = &key,
                        .head = &head,
                        .host = head_span(&head, head.host),
                        .port = head.port,
                        .track = span_str(asked->track)};
    struct key_request r = {.method = head_span(&head, head.method),
                            .scheme = head_span(&head, head.scheme),
                            .path = head_span(&head, head.path),
                            .headers = &head.headers};
    if (rules_has(rules, RULE_BODY)) {
        assert_int_equal(content_begin(&content, &head.headers, hash), ERR_OK);
        assert_int_equal(content_add(&content, span_str(asked->body)), ERR_OK);
        assert_int_equal(content_end(&content, rules, hash, &scratch, &r.body), ERR_OK);
        miss.content = &content;
    }
    rules_map_host(rules, &miss.host, &miss.port);
    r.host = miss.host;
    r.port = miss.port;
    assert_int_equal(key_compute(&key, rules, hash, &r, &scratch), ERR_OK);
    assert_false(matcher_take(b->matcher, &key, miss.track, &match, &miss.reason));
    mem_fail_after(fail_after);
    enum err e = miss_explain(b->matcher, &tape, &miss, &out->text, &out->line);
    mem_fail_after(-1);
    content_free(&content);
    key_scratch_free(&scratch);
    head_free(&head);
    return e;
}

static inline struct explained explain(struct bench *b, const struct asked *asked)
{
    struct explained x;
    struct tape *tape = open_tape(b);
    json_error_t error;
    memset(&x, 0, sizeof x);
    assert_int_equal(ask(b, tape, asked, -1, &x), ERR_OK);
    tape_close(&tape);
    x.json = json_loads(buf_cstr(&x.text), JSON_REJECT_DUPLICATES, &error);
    if (!x.json)
        fail_msg("%s: %s", error.text, buf_cstr(&x.text));
    matcher_keep_miss(b->matcher, buf_span(&x.text), buf_span(&x.line));
    return x;
}

static inline void explained_free(struct explained *x)
{
    json_decref(x->json);
    buf_free(&x->text);
    buf_free(&x->line);
}

#endif
