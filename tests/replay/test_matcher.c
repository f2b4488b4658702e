/* test_matcher.c: which recording answers: orders, tracks, maps, reasons of misses, counters; and what an index costs. Promises 1, 3, 7, 9, 10, 11. */
#include "support.h"

#include "replay/matcher_internal.h"

#include <pthread.h>
#include <sqlite3.h>

#if defined __SANITIZE_ADDRESS__ || defined __SANITIZE_THREAD__
#define SANITIZED 1
#elif defined __has_feature
#if __has_feature(address_sanitizer) || __has_feature(thread_sanitizer)
#define SANITIZED 1
#endif
#endif
#ifndef SANITIZED
#define SANITIZED 0
#endif

/* A look-up as the player makes it, without a body. */
static struct key key_for(const struct matcher *m, const char *host, unsigned port, const char *path)
{
    struct key_scratch scratch;
    struct key key;
    struct key_request r = {
        .method = SPAN("GET"), .scheme = SPAN("http"), .host = span_str(host), .port = port, .path = span_str(path)};
    memset(&scratch, 0, sizeof scratch);
    rules_map_host(matcher_rules(m), &r.host, &r.port);
    assert_int_equal(key_compute(&key, matcher_rules(m), matcher_hash_key(m), &r, &scratch), ERR_OK);
    key_scratch_free(&scratch);
    return key;
}

/* The flow that answers, or minus the reason of the miss and one. */
static int64_t take_track(struct matcher *m, const char *path, const char *track)
{
    struct key key = key_for(m, "example.test", 80, path);
    struct match match;
    enum miss_reason reason;
    if (!matcher_take(m, &key, span_str(track), &match, &reason))
        return -1 - (int64_t)reason;
    return match.flow;
}

static int64_t take(struct matcher *m, const char *path)
{
    return take_track(m, path, "");
}

static int64_t missed(enum miss_reason reason)
{
    return -1 - (int64_t)reason;
}

static void add(struct bench *b, const char *path, const char *track)
{
    (void)fixture_add(&b->tape, &(struct fixture_flow){.path = path, .track = track});
}

static void check_counters(const struct matcher *m, uint64_t served, uint64_t misses, uint64_t repeated,
                           uint64_t unused)
{
    struct matcher_counters n;
    matcher_get_counters(m, &n);
    assert_int_equal(n.served, served);
    assert_int_equal(n.missed, misses);
    assert_int_equal(n.repeated, repeated);
    assert_int_equal(n.unused, unused);
}

static void test_orders(void **state)
{
    /* promise 3: three recordings of one request, asked for eight times */
    static const struct {
        const char *option;
        int64_t flows[8]; /* 0: exhausted */
        uint64_t repeated, unused;
    } cases[] = {
        {NULL, {1, 2, 4, 4, 4, 4, 4, 4}, 5, 1},
        {"--order sequence", {1, 2, 4, 4, 4, 4, 4, 4}, 5, 1},
        {"--order first", {1, 1, 1, 1, 1, 1, 1, 1}, 7, 3},
        {"--order last", {4, 4, 4, 4, 4, 4, 4, 4}, 7, 3},
        {"--order cycle", {1, 2, 4, 1, 2, 4, 1, 2}, 5, 1},
        {"--order once", {1, 2, 4, 0, 0, 0, 0, 0}, 0, 1},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bench b;
        uint64_t hits = 0;
        bench_open(&b, OPTIONS(cases[i].option));
        add(&b, "/a?t=1", "");
        add(&b, "/a?t=1", "");
        add(&b, "/b", "");
        add(&b, "/a?t=1", "");
        bench_load(&b);
        for (size_t k = 0; k < 8; k++) {
            int64_t want = cases[i].flows[k] ? cases[i].flows[k] : missed(MISS_EXHAUSTED);
            hits += cases[i].flows[k] != 0;
            assert_int_equal(take(b.matcher, "/a?t=1"), want);
        }
        check_counters(b.matcher, hits, 8 - hits, cases[i].repeated, cases[i].unused);
        bench_close(&b);
    }
}

static void test_how_often_each_was_served(void **state)
{
    struct bench b;
    struct match match;
    enum miss_reason reason;
    (void)state;
    bench_open(&b, NULL);
    add(&b, "/a", "");
    add(&b, "/a", "");
    add(&b, "/b", "");
    bench_load(&b);
    struct key key = key_for(b.matcher, "example.test", 80, "/a");
    for (uint64_t i = 1; i <= 4; i++) {
        assert_true(matcher_take(b.matcher, &key, SPAN_EMPTY, &match, &reason));
        assert_int_equal(match.times, i <= 2 ? 1 : i - 1);
    }
    static const uint64_t times[] = {1, 3, 0};
    size_t at = 0, n = 0;
    while (matcher_next_flow(b.matcher, &at, &match)) {
        assert_int_equal(match.flow, n + 1);
        assert_int_equal(match.times, times[n++]);
    }
    assert_int_equal(n, 3);
    assert_true(matcher_knows(b.matcher, &key));
    key = key_for(b.matcher, "example.test", 80, "/c");
    assert_false(matcher_knows(b.matcher, &key));
    check_counters(b.matcher, 4, 0, 2, 1);
    bench_close(&b);
}

/* The order is that of the starts, whatever the order in which flows ended and were written. */
static void test_recordings_play_in_the_order_of_their_starts(void **state)
{
    struct bench b;
    (void)state;
    bench_open(&b, NULL);
    (void)fixture_add(&b.tape, &(struct fixture_flow){.started_ns = FIXTURE_STARTED_NS + 500});
    (void)fixture_add(&b.tape, &(struct fixture_flow){.started_ns = FIXTURE_STARTED_NS + 100});
    (void)fixture_add(&b.tape, &(struct fixture_flow){.started_ns = FIXTURE_STARTED_NS + 300});
    bench_load(&b);
    assert_int_equal(take(b.matcher, "/"), 2);
    assert_int_equal(take(b.matcher, "/"), 3);
    assert_int_equal(take(b.matcher, "/"), 1);
    bench_close(&b);
}

static void test_reasons(void **state)
{
    struct bench b;
    struct match match;
    enum miss_reason reason;
    (void)state;
    bench_open(&b, NULL);
    bench_load(&b);
    assert_int_equal(take(b.matcher, "/a"), missed(MISS_EMPTY_TAPE));
    bench_close(&b);
    bench_open(&b, OPTIONS("--order once"));
    add(&b, "/a", "");
    bench_load(&b);
    assert_int_equal(take(b.matcher, "/b"), missed(MISS_DIFFERENT));
    assert_int_equal(take(b.matcher, "/a"), 1);
    assert_int_equal(take(b.matcher, "/a"), missed(MISS_EXHAUSTED));
    struct key key = key_for(b.matcher, "elsewhere.test", 80, "/a");
    assert_false(matcher_take(b.matcher, &key, SPAN_EMPTY, &match, &reason));
    assert_int_equal(reason, MISS_UNKNOWN_HOST);
    key = key_for(b.matcher, "EXAMPLE.test", 81, "/a");
    assert_false(matcher_take(b.matcher, &key, SPAN_EMPTY, &match, &reason));
    assert_int_equal(reason, MISS_DIFFERENT);
    check_counters(b.matcher, 1, 4, 0, 0);
    bench_close(&b);
    /* Where the host does not count, no host is unknown. */
    bench_open(&b, OPTIONS("--ignore host"));
    add(&b, "/a", "");
    bench_load(&b);
    key = key_for(b.matcher, "elsewhere.test", 80, "/b");
    assert_false(matcher_take(b.matcher, &key, SPAN_EMPTY, &match, &reason));
    assert_int_equal(reason, MISS_DIFFERENT);
    bench_close(&b);
}

static void test_map(void **state)
{
    struct bench b;
    struct match match;
    enum miss_reason reason;
    struct matcher_origin origin;
    (void)state;
    bench_open(&b, OPTIONS("--map localhost:3000=example.test:80", "--map other.test=example.test"));
    add(&b, "/a", "");
    (void)fixture_connection(
        &b.tape,
        (struct tape_connection){.server = true, .host = SPAN("example.test"), .port = 443, .alpn = SPAN("http/1.1")});
    bench_load(&b);
    struct key key = key_for(b.matcher, "localhost", 3000, "/a");
    assert_true(matcher_take(b.matcher, &key, SPAN_EMPTY, &match, &reason));
    key = key_for(b.matcher, "localhost", 3001, "/a");
    assert_false(matcher_take(b.matcher, &key, SPAN_EMPTY, &match, &reason));
    assert_int_equal(reason, MISS_UNKNOWN_HOST);
    key = key_for(b.matcher, "OTHER.test", 80, "/a");
    assert_true(matcher_take(b.matcher, &key, SPAN_EMPTY, &match, &reason));
    assert_true(matcher_origin(b.matcher, SPAN("Other.test"), 443, &origin));
    assert_text(origin.alpn, "http/1.1");
    assert_false(matcher_origin(b.matcher, SPAN("other.test"), 444, &origin));
    bench_close(&b);
}

static void test_tracks_do_not_steal_from_each_other(void **state)
{
    struct bench b;
    (void)state;
    /* promise 11 */
    bench_open(&b, NULL);
    add(&b, "/a", "one");
    add(&b, "/a", "two");
    add(&b, "/a", "one");
    add(&b, "/shared", "");
    add(&b, "/shared", "");
    add(&b, "/only", "two");
    bench_load(&b);
    assert_int_equal(take_track(b.matcher, "/a", "two"), 2);
    assert_int_equal(take_track(b.matcher, "/a", "one"), 1);
    assert_int_equal(take_track(b.matcher, "/a", "two"), 2);
    assert_int_equal(take_track(b.matcher, "/a", "one"), 3);
    /* What was recorded without a track is for all, each in its own place. */
    assert_int_equal(take_track(b.matcher, "/shared", "one"), 4);
    assert_int_equal(take_track(b.matcher, "/shared", "two"), 4);
    assert_int_equal(take_track(b.matcher, "/shared", "one"), 5);
    assert_int_equal(take(b.matcher, "/shared"), 4);
    assert_int_equal(take_track(b.matcher, "/shared", "two"), 5);
    /* What belongs to another track is not served to this one. */
    assert_int_equal(take_track(b.matcher, "/only", "one"), missed(MISS_DIFFERENT));
    /* A track that the tape does not know, and none, have all of it. */
    assert_int_equal(take_track(b.matcher, "/a", "new"), 1);
    assert_int_equal(take_track(b.matcher, "/a", "new"), 2);
    assert_int_equal(take_track(b.matcher, "/a", "newer"), 1);
    assert_int_equal(take_track(b.matcher, "/only", "new"), 6);
    assert_int_equal(take(b.matcher, "/a"), 1);
    assert_int_equal(take(b.matcher, "/a"), 2);
    static const struct {
        const char *name;
        uint64_t served, missed, repeated;
    } tracks[] = {{"", 3, 0, 0}, {"one", 4, 1, 0}, {"two", 4, 0, 1}, {"new", 3, 0, 0}, {"newer", 1, 0, 0}};
    struct matcher_track track;
    size_t at = 0, n = 0;
    for (; matcher_next_track(b.matcher, &at, &track); n++) {
        assert_text(track.name, tracks[n].name);
        assert_int_equal(track.served, tracks[n].served);
        assert_int_equal(track.missed, tracks[n].missed);
        assert_int_equal(track.repeated, tracks[n].repeated);
    }
    assert_int_equal(n, ARRAY_LEN(tracks));
    check_counters(b.matcher, 15, 1, 1, 0);
    bench_close(&b);
}

/* Any number of names may be given by clients: what is beyond the limit is like having none. */
static void test_tracks_are_bounded(void **state)
{
    struct bench b;
    struct matcher_track track;
    char name[32];
    size_t at = 0, n = 0;
    (void)state;
    bench_open(&b, NULL);
    add(&b, "/a", "");
    bench_load(&b);
    for (int i = 0; i < LIMIT_REPLAY_TRACKS + 100; i++) {
        (void)snprintf(name, sizeof name, "t%d", i);
        assert_int_equal(take_track(b.matcher, "/a", name), 1);
    }
    while (matcher_next_track(b.matcher, &at, &track))
        n++;
    assert_int_equal(n, LIMIT_REPLAY_TRACKS + 1);
    check_counters(b.matcher, LIMIT_REPLAY_TRACKS + 100, 0, 99, 0);
    bench_close(&b);
}

static void test_what_can_be_served(void **state)
{
    struct bench b;
    struct matcher_counters n;
    (void)state;
    bench_open(&b, NULL);
    (void)fixture_add(&b.tape, &(struct fixture_flow){.path = "/complete"});
    (void)fixture_add(&b.tape, &(struct fixture_flow){.path = "/cut", .error = "truncated: the origin closed"});
    (void)fixture_add(&b.tape, &(struct fixture_flow){
                                   .path = "/failed", .no_response = true, .error = "refused: connection refused"});
    (void)fixture_add(&b.tape, &(struct fixture_flow){
                                   .path = "/client-gone", .no_response = true, .error = "closed: the client hung up"});
    (void)fixture_add(&b.tape, &(struct fixture_flow){.path = "/stopped", .no_response = true, .error = "shutdown: x"});
    (void)fixture_add(&b.tape, &(struct fixture_flow){.path = "/cancelled", .no_response = true, .error = "cancelled"});
    (void)fixture_add(
        &b.tape, &(struct fixture_flow){.method = "CONNECT",
                                        .no_response = true,
                                        .error = "tls-alert: the client ended the TLS handshake with us: unknown_ca"});
    (void)fixture_add(&b.tape, &(struct fixture_flow){.path = "/crashed", .no_response = true, .incomplete = true});
    bench_load(&b);
    matcher_get_counters(b.matcher, &n);
    assert_int_equal(n.flows, 3);
    assert_int_equal(take(b.matcher, "/complete"), 1);
    assert_int_equal(take(b.matcher, "/cut"), 2);
    assert_int_equal(take(b.matcher, "/failed"), 3);
    assert_int_equal(take(b.matcher, "/client-gone"), missed(MISS_DIFFERENT));
    bench_close(&b);
}

static bool keep_even(void *ctx, const struct tape_flow *flow)
{
    (void)ctx;
    return flow->id % 2 == 0;
}

static enum err include_slash_b(void *ctx, struct tape *tape, const struct tape_flow *flow, bool *yes)
{
    ++*(int *)ctx;
    assert_non_null(tape);
    *yes = span_eq(flow->path, SPAN("/b"));
    return ERR_OK;
}

static enum err include_fails(void *ctx, struct tape *tape, const struct tape_flow *flow, bool *yes)
{
    (void)ctx;
    (void)tape;
    (void)flow;
    (void)yes;
    return ERR_LIMIT;
}

static void test_several_tapes_and_choosing_flows(void **state)
{
    char one[PATH_MAX], two[PATH_MAX];
    const char *const paths[] = {fixture_path(one, "1.tape"), fixture_path(two, "2.tape")};
    struct fixture f;
    struct rules rules;
    struct matcher *m;
    struct buf text = BUF_INIT;
    struct match match;
    enum miss_reason reason;
    int asked = 0;
    (void)state;
    rules_from(&rules, NULL);
    for (int i = 0; i < 2; i++) {
        fixture_open(&f, paths[i]);
        (void)fixture_add(&f, &(struct fixture_flow){.path = "/a"});
        (void)fixture_add(&f, &(struct fixture_flow){.path = "/b"});
        fixture_close(&f);
    }
    struct matcher_options options = {.paths = paths, .paths_n = 2, .rules = &rules};
    assert_int_equal(matcher_create(&m, &options, &text), ERR_OK);
    assert_int_equal(matcher_tapes(m), 2);
    assert_string_equal(matcher_tape_path(m, 1), two);
    struct key key = key_for(m, "example.test", 80, "/b");
    for (uint32_t i = 0; i < 2; i++) {
        assert_true(matcher_take(m, &key, SPAN_EMPTY, &match, &reason));
        assert_int_equal(match.tape, i);
        assert_int_equal(match.flow, 2);
        buf_clear(&text);
        assert_int_equal(matcher_put_flow(m, &match, &text), ERR_OK);
        assert_text(buf_span(&text), i ? "2:2" : "1:2");
    }
    matcher_destroy(&m);
    options = (struct matcher_options){.paths = paths,
                                       .paths_n = 1,
                                       .rules = &rules,
                                       .keep = keep_even,
                                       .include = include_slash_b,
                                       .include_ctx = &asked};
    assert_int_equal(matcher_create(&m, &options, &text), ERR_OK);
    assert_int_equal(asked, 1); /* only about what the cheap question left */
    assert_int_equal(take(m, "/b"), 2);
    assert_int_equal(take(m, "/a"), missed(MISS_DIFFERENT));
    matcher_destroy(&m);
    options.include = include_fails;
    buf_clear(&text);
    assert_int_equal(matcher_create(&m, &options, &text), ERR_LIMIT);
    assert_null(m);
    assert_has(buf_span(&text), " cannot be replayed: ");
    buf_free(&text);
    rules_free(&rules);
    fixture_cleanup(one);
    fixture_cleanup(two);
}

static enum err names_of(struct span der, struct buf *out)
{
    if (span_eq(der, SPAN("bad")))
        return ERR_PARSE;
    enum err e = buf_put(out, der);
    return e ? e : buf_put_byte(out, 0);
}

static void test_what_the_tape_knows_of_origins(void **state)
{
    static const char chain[] = "\0\0\0\6a.test\0\0\0\2ca", bad[] = "\0\0\0\3bad", lies[] = "\xff\xff\xff\xff!";
    const struct tape_connection connections[] = {
        {.server = true,
         .host = SPAN("a.test"),
         .port = 443,
         .alpn = SPAN("h2"),
         .chain = span_of(chain, sizeof chain - 1)},
        {.server = true, .host = SPAN("A.test"), .port = 443, .alpn = SPAN("http/1.1")},
        {.server = true, .host = SPAN("b.test"), .port = 443, .chain = span_of(bad, sizeof bad - 1)},
        {.server = true, .host = SPAN("b.test"), .port = 8443, .chain = span_of(lies, sizeof lies - 1)},
        {.server = true, .host = SPAN("plain.test"), .port = 80},
        {.server = false, .host = SPAN("client.test"), .port = 443, .alpn = SPAN("h2")},
    };
    struct bench b;
    struct matcher_origin origin;
    (void)state;
    bench_open(&b, NULL);
    for (size_t i = 0; i < ARRAY_LEN(connections); i++)
        (void)fixture_connection(&b.tape, connections[i]);
    fixture_close(&b.tape);
    const char *const paths[] = {b.path};
    struct matcher_options options = {
        .paths = paths, .paths_n = 1, .rules = &b.rules, .names_from_certificate = names_of};
    struct buf problem = BUF_INIT;
    assert_int_equal(matcher_create(&b.matcher, &options, &problem), ERR_OK);
    assert_true(matcher_origin(b.matcher, SPAN("A.TEST"), 443, &origin));
    assert_text(origin.alpn, "h2");
    assert_int_equal(origin.names.n, 7);
    assert_memory_equal(origin.names.p, "a.test", 7);
    assert_true(matcher_origin(b.matcher, SPAN("b.test"), 443, &origin));
    assert_int_equal(origin.names.n + origin.alpn.n, 0);
    assert_true(matcher_origin(b.matcher, SPAN("b.test"), 8443, &origin));
    assert_false(matcher_origin(b.matcher, SPAN("plain.test"), 80, &origin));
    assert_false(matcher_origin(b.matcher, SPAN("client.test"), 443, &origin));
    buf_free(&problem);
    bench_close(&b);
}

static void test_bad_tapes(void **state)
{
    char path[PATH_MAX];
    const char *const paths[] = {fixture_path(path, "x.tape")};
    struct rules rules;
    struct matcher *m;
    struct buf problem = BUF_INIT;
    struct matcher_options options = {.paths = paths, .paths_n = 1, .rules = &rules};
    (void)state;
    rules_from(&rules, NULL);
    assert_int_equal(matcher_create(&m, &options, &problem), ERR_NOT_FOUND);
    assert_null(m);
    assert_true(problem.n > 0);
    FILE *out = fopen(path, "w");
    assert_non_null(out);
    assert_true(
        fputs("this is not a tape, but it is longer than a header of SQLite, which has one hundred bytes and some more",
              out) > 0);
    assert_int_equal(fclose(out), 0);
    buf_clear(&problem);
    assert_int_equal(matcher_create(&m, &options, &problem), ERR_NOT_TAPE);
    assert_true(problem.n > 0);
    buf_free(&problem);
    rules_free(&rules);
    fixture_cleanup(path);
}

/* promise 7: nothing of a key is stored, so that other rules apply to an old tape, and the key of a run is its own. */
static void test_keys_are_made_at_load(void **state)
{
    struct bench b;
    struct rules other;
    struct matcher *m;
    struct buf problem = BUF_INIT;
    (void)state;
    bench_open(&b, NULL);
    add(&b, "/a?t=1", "");
    bench_load(&b);
    assert_int_equal(take(b.matcher, "/a?t=2"), missed(MISS_DIFFERENT));
    rules_from(&other, OPTIONS("--ignore query:t"));
    const char *const paths[] = {b.path};
    struct matcher_options options = {.paths = paths, .paths_n = 1, .rules = &other};
    assert_int_equal(matcher_create(&m, &options, &problem), ERR_OK);
    assert_int_equal(take(m, "/a?t=2"), 1);
    assert_memory_not_equal(matcher_hash_key(m), matcher_hash_key(b.matcher), sizeof(struct hash_key));
    matcher_destroy(&m);
    rules_free(&other);
    buf_free(&problem);
    bench_close(&b);
}

static void test_kept_misses_are_bounded(void **state)
{
    struct bench b;
    struct matcher_miss miss;
    size_t at = 0, n = 0;
    (void)state;
    bench_open(&b, NULL);
    bench_load(&b);
    for (int i = 0; i < LIMIT_REPLAY_MISSES + 10; i++)
        matcher_keep_miss(b.matcher, SPAN("{}"), SPAN("line"));
    while (matcher_next_miss(b.matcher, &at, &miss)) {
        assert_text(miss.json, "{}");
        assert_text(miss.line, "line");
        n++;
    }
    assert_int_equal(n, LIMIT_REPLAY_MISSES);
    bench_close(&b);
    bench_open(&b, NULL);
    bench_load(&b);
    char *big = calloc(1, LIMIT_REPLAY_MISS_BYTES / 4 + 1);
    assert_non_null(big);
    for (int i = 0; i < 10; i++)
        matcher_keep_miss(b.matcher, span_of(big, LIMIT_REPLAY_MISS_BYTES / 4 + 1), SPAN_EMPTY);
    free(big);
    for (at = n = 0; matcher_next_miss(b.matcher, &at, &miss);)
        n++;
    assert_int_equal(n, 3);
    mem_fail_after(0); /* out of memory: it is not kept */
    matcher_keep_miss(b.matcher, SPAN("x"), SPAN("y"));
    mem_fail_after(-1);
    for (at = n = 0; matcher_next_miss(b.matcher, &at, &miss);)
        n++;
    assert_int_equal(n, 3);
    bench_close(&b);
}

/* Every allocation of a load in turn fails: a clean ERR_NOMEM. */
static void test_loading_out_of_memory(void **state)
{
    struct bench b;
    struct matcher *m;
    struct buf problem = BUF_INIT;
    enum err e = ERR_NOMEM;
    (void)state;
    bench_open(&b, OPTIONS("--match method,host,path,query,body,header:Host", "--ignore json:/x"));
    for (int i = 0; i < 70; i++) {
        char path[32];
        (void)snprintf(path, sizeof path, "/%d?a=%%41", i);
        add(&b, path, i % 2 ? "odd" : "");
    }
    (void)fixture_add(&b.tape, &(struct fixture_flow){.method = "POST",
                                                      .request_body = "{\"a\":[1]}",
                                                      .request_headers = OPTIONS("Content-Type", "application/json")});
    (void)fixture_connection(
        &b.tape, (struct tape_connection){.server = true, .host = SPAN("a.test"), .port = 443, .alpn = SPAN("h2")});
    fixture_close(&b.tape);
    const char *const paths[] = {b.path};
    struct matcher_options options = {.paths = paths, .paths_n = 1, .rules = &b.rules};
    /* Some thousand allocations, most of them alike: each of the first ones, then some. */
    for (long n = 0; e == ERR_NOMEM; n += n < 400 ? 1 : 37) {
        assert_true(n < 100000);
        buf_clear(&problem);
        mem_fail_after(n);
        e = matcher_create(&m, &options, &problem);
        mem_fail_after(-1);
        if (e)
            assert_null(m);
    }
    assert_int_equal(e, ERR_OK);
    /* Looking up without memory: a new track has no place of its own then; nothing breaks. */
    mem_fail_after(0);
    struct key key;
    struct match match;
    enum miss_reason reason;
    memset(&key, 0, sizeof key);
    assert_false(matcher_take(m, &key, SPAN("new"), &match, &reason));
    mem_fail_after(-1);
    matcher_destroy(&m);
    buf_free(&problem);
    bench_close(&b);
}

/* --- threads ----------------------------------------------------------------------------------------------------- */

enum { THREADS = 4, TAKES = 3000 };

struct asker {
    struct matcher *m;
    const char *track;
    uint64_t sum, hits;
};

static void *ask(void *arg)
{
    struct asker *a = arg;
    struct key same = key_for(a->m, "example.test", 80, "/same"), none = key_for(a->m, "example.test", 80, "/none");
    for (int i = 0; i < TAKES; i++) {
        struct match match;
        enum miss_reason reason;
        if (matcher_take(a->m, &same, span_str(a->track), &match, &reason)) {
            a->hits++;
            a->sum += (uint64_t)match.flow;
        }
        if (i % 100 == 0 && !matcher_take(a->m, &none, span_str(a->track), &match, &reason))
            matcher_keep_miss(a->m, SPAN("{}"), SPAN("x"));
    }
    return NULL;
}

/* Each recording is served to exactly one of the threads; nothing is lost in the counters. */
static void test_threads_share_one_index(void **state)
{
    struct bench b;
    pthread_t threads[THREADS];
    struct asker askers[THREADS];
    (void)state;
    bench_open(&b, OPTIONS("--order once"));
    for (int i = 0; i < THREADS * TAKES / 2; i++)
        add(&b, "/same", "");
    bench_load(&b);
    for (size_t i = 0; i < THREADS; i++) {
        askers[i] = (struct asker){.m = b.matcher, .track = ""};
        assert_int_equal(pthread_create(&threads[i], NULL, ask, &askers[i]), 0);
    }
    uint64_t sum = 0, hits = 0, all = THREADS * TAKES / 2;
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        sum += askers[i].sum;
        hits += askers[i].hits;
    }
    assert_int_equal(hits, all);
    assert_int_equal(sum, all * (all + 1) / 2);
    check_counters(b.matcher, all, all + THREADS * TAKES / 100, 0, 0);
    bench_close(&b);
    /* With tracks: each has the whole sequence for itself. */
    bench_open(&b, OPTIONS("--order once"));
    for (int i = 0; i < TAKES; i++)
        add(&b, "/same", "");
    bench_load(&b);
    static const char *const names[THREADS] = {"a", "b", "c", "d"};
    for (size_t i = 0; i < THREADS; i++) {
        askers[i] = (struct asker){.m = b.matcher, .track = names[i]};
        assert_int_equal(pthread_create(&threads[i], NULL, ask, &askers[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(askers[i].hits, TAKES);
        assert_int_equal(askers[i].sum, (uint64_t)TAKES * (TAKES + 1) / 2);
    }
    bench_close(&b);
}

/* --- cost -------------------------------------------------------------------------------------------------------- */

/* How many slots a look-up of each group visits: at most, and on average. */
static void probes(const struct matcher *m, size_t *most, double *mean)
{
    const struct slots *s = &m->group_slots;
    size_t sum = 0;
    *most = 0;
    for (size_t g = 0; g < m->groups_n; g++) {
        const struct group *group = &m->groups[g];
        size_t i = (group->key.lo ^ (uint64_t)group->track * UINT64_C(0x9e3779b97f4a7c15)) & (s->cap - 1), n = 1;
        for (; s->at[i] != g + 1; i = (i + 1) & (s->cap - 1), n++)
            assert_int_not_equal(s->at[i], 0);
        *most = MAX(*most, n);
        sum += n;
    }
    *mean = (double)sum / (double)m->groups_n;
}

/* Adds flows with plain SQL, as many as a fixture would take too long for: n requests of different paths, like flow 1. */
static void multiply(const char *path, int n)
{
    sqlite3 *db;
    char *sql, *error = NULL;
    sqlite3_stmt *s;
    struct buf columns = BUF_INIT;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(
        sqlite3_prepare_v2(db,
                           "SELECT group_concat(name) FROM pragma_table_info('flow') WHERE name NOT IN ('id', 'path')",
                           -1, &s, NULL),
        SQLITE_OK);
    assert_int_equal(sqlite3_step(s), SQLITE_ROW);
    assert_int_equal(buf_put_str(&columns, (const char *)sqlite3_column_text(s, 0)), ERR_OK);
    (void)sqlite3_finalize(s);
    const char *list = buf_cstr(&columns);
    sql = sqlite3_mprintf("WITH RECURSIVE c(i) AS (SELECT 2 UNION ALL SELECT i + 1 FROM c WHERE i < %d) "
                          "INSERT INTO flow (id, path, %s) SELECT i, '/p/' || i, %s FROM c, flow WHERE flow.id = 1",
                          n, list, list);
    if (sqlite3_exec(db, sql, NULL, NULL, &error) != SQLITE_OK)
        fail_msg("%s", error);
    sqlite3_free(sql);
    buf_free(&columns);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static size_t resident_kb(void)
{
    size_t kb = 0;
    char line[256];
    FILE *in = fopen("/proc/self/status", "r");
    assert_non_null(in);
    while (fgets(line, sizeof line, in))
        if (sscanf(line, "VmRSS: %zu kB", &kb) == 1)
            break;
    (void)fclose(in);
    return kb;
}

static size_t index_bytes(const struct matcher *m)
{
    return m->entries_cap * sizeof *m->entries + m->groups_cap * sizeof *m->groups + m->entries_n * sizeof *m->order +
           m->by_path.cap * sizeof *m->by_path.at + m->by_host.cap * sizeof *m->by_host.at +
           sizeof(uint32_t) * (m->group_slots.cap + m->by_path.slots.cap + m->by_host.slots.cap);
}

/* promise 10: look-ups visit as many slots at 100,000 recordings as at 100; an entry costs some 250 bytes, and bodies are not in memory. */
static void test_cost_of_100000_recordings(void **state)
{
    enum { BODY = 8192 };
    char body[BODY + 1];
    double mean[2];
    size_t most[2];
    (void)state;
    memset(body, 'b', BODY);
    body[BODY] = 0;
    for (int big = 0; big < 2; big++) {
        struct bench b;
        int n = big ? 100000 : 100;
        bench_open(&b, NULL);
        (void)fixture_add(&b.tape,
                          &(struct fixture_flow){.method = "POST", .request_body = body, .response_body = body});
        fixture_close(&b.tape);
        multiply(b.path, n);
        fixture_open(&b.tape, b.path);
        size_t before = resident_kb();
        bench_load(&b);
        size_t after = resident_kb();
        assert_int_equal(b.matcher->entries_n, n);
        assert_int_equal(b.matcher->groups_n, n);
        probes(b.matcher, &most[big], &mean[big]);
        if (big) {
            assert_in_range(index_bytes(b.matcher) / (size_t)n, 50, 300);
            /* 200,000 bodies of 8 KB would be 1.6 GB; SQLite's cache is in this too. A sanitizer keeps what was freed. */
            if (!SANITIZED)
                assert_in_range(after - MIN(before, after), 0, 64 * 1024);
        }
        bench_close(&b);
    }
    assert_true(mean[0] < 2 && mean[1] < 2); /* at most half full: 1.5 on average */
    assert_in_range(most[1], 1, 64);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_orders),
        cmocka_unit_test(test_how_often_each_was_served),
        cmocka_unit_test(test_recordings_play_in_the_order_of_their_starts),
        cmocka_unit_test(test_reasons),
        cmocka_unit_test(test_map),
        cmocka_unit_test(test_tracks_do_not_steal_from_each_other),
        cmocka_unit_test(test_tracks_are_bounded),
        cmocka_unit_test(test_what_can_be_served),
        cmocka_unit_test(test_several_tapes_and_choosing_flows),
        cmocka_unit_test(test_what_the_tape_knows_of_origins),
        cmocka_unit_test(test_bad_tapes),
        cmocka_unit_test(test_keys_are_made_at_load),
        cmocka_unit_test(test_kept_misses_are_bounded),
        cmocka_unit_test(test_loading_out_of_memory),
        cmocka_unit_test(test_threads_share_one_index),
        cmocka_unit_test(test_cost_of_100000_recordings),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
