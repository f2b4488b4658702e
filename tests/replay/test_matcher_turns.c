/* test_matcher_turns.c: gRPC requests under way: whose turn it is, and which recording is taken, by many threads at once. */
#include "calls.h"

#include "replay/matcher_internal.h"
#include "replay/turns.h"

#include <pthread.h>

enum { THREADS = 4, TAKES = 200 };

static void open_bench(struct bench *b, const char *const *options, const struct call *calls, size_t n)
{
    bench_open(b, options);
    for (size_t i = 0; i < n; i++)
        (void)add_call(&b->tape, &calls[i]);
    bench_load(b);
}

#define OPEN(b, options, ...)                                                                                          \
    open_bench(b, options, (const struct call[]){__VA_ARGS__},                                                         \
               sizeof((const struct call[]){__VA_ARGS__}) / sizeof(struct call))

static struct hash128 head_of(const struct matcher *m, const char *path)
{
    struct key_scratch scratch;
    struct key key;
    struct key_request r = {.method = SPAN("POST"),
                            .scheme = SPAN("http"),
                            .host = SPAN("example.test"),
                            .port = 80,
                            .path = span_str(path)};
    memset(&scratch, 0, sizeof scratch);
    assert_int_equal(key_compute(&key, matcher_rules(m), matcher_hash_key(m), &r, &scratch), ERR_OK);
    key_scratch_free(&scratch);
    return key.all;
}

/* A request of which these messages were said, each in two pieces when `pieces`. */
static struct turn_at said(const struct matcher *m, const char *letters, bool pieces)
{
    struct turns_said t;
    turns_said_begin(&t, matcher_hash_key(m));
    for (; *letters; letters++) {
        if (pieces)
            assert_false(turns_said_add(&t, &(struct grpc_message){.data = span_of(letters, 1)}));
        assert_true(turns_said_add(&t, &(struct grpc_message){.last = true,
                                                              .data = pieces ? SPAN_EMPTY : span_of(letters, 1)}));
    }
    return (struct turn_at){head_of(m, CALL), t.messages, t.sum};
}

static void check_turn(const struct matcher *m, const char *letters, enum turn wanted)
{
    for (int pieces = 0; pieces < 2; pieces++) {
        struct turn_at at = said(m, letters, pieces);
        enum turn got = matcher_turn(m, &at);
        if (got != wanted)
            fail_msg("after '%s': %d instead of %d", letters, (int)got, (int)wanted);
    }
}

static void test_whose_turn_it_is(void **state)
{
    struct bench b;
    (void)state;
    OPEN(&b, NULL, TALK("aAbB|"), TALK("abCcc|"), TALK("x|X"), TALK("a|A", .path = "/other"), TALK("aAbB|"));
    const struct matcher *m = b.matcher;
    assert_true(matcher_has_turns(m));
    assert_true(matcher_knows_turns(m, head_of(m, CALL)));
    assert_false(matcher_knows_turns(m, head_of(m, "/other")));
    assert_false(matcher_knows_turns(m, head_of(m, "/nowhere")));
    check_turn(m, "", TURN_CLIENT);
    check_turn(m, "a", TURN_EITHER);
    check_turn(m, "ab", TURN_EITHER);
    check_turn(m, "abc", TURN_ORIGIN);
    check_turn(m, "x", TURN_CLIENT);
    check_turn(m, "y", TURN_LOST);
    check_turn(m, "ba", TURN_LOST);
    check_turn(m, "abcd", TURN_LOST);
    bench_close(&b);
}

static void test_how_far_recordings_are_known(void **state)
{
    struct bench b;
    (void)state;
    OPEN(&b, NULL, TALK("aAbbbbbbbbbbbbbbbbbbbb|"), TALK("cccccccccccccccccccccA|"));
    check_turn(b.matcher, "abbbbbbbbbbbbbbb", TURN_ORIGIN); /* 16 */
    check_turn(b.matcher, "abbbbbbbbbbbbbbbb", TURN_EITHER);
    check_turn(b.matcher, "abbbbbbbbbbbbbbbbb", TURN_BEYOND);
    check_turn(b.matcher, "abbbbbbbbbbbbbbc", TURN_LOST);
    check_turn(b.matcher, "cccccccccccccccc", TURN_CLIENT);
    check_turn(b.matcher, "ccccccccccccccccc", TURN_BEYOND);
    check_turn(b.matcher, "ccccccccccccccccccccc", TURN_EITHER); /* where the answer came */
    bench_close(&b);
}

static void test_when_it_was_answered(void **state)
{
    static const struct {
        const char *talk;
        uint64_t messages; /* before the answer */
        bool turns;
    } cases[] = {
        {"aAbB|", 1, true}, {"abAc|", 2, true}, {"AabB|", 0, true},
        {"A|", 0, true},    {"ab=A|", 2, true}, /* together: it was not waited for */
        {"aA=b|", 1, true}, {"aA!", 1, true},   {"aAB", 1, true},
        {"ab|A", 0, false}, {"a|=A", 0, false},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct bench b;
        struct match match;
        size_t at = 0;
        uint64_t messages = 99;
        OPEN(&b, NULL, TALK(cases[i].talk));
        assert_true(matcher_next_flow(b.matcher, &at, &match));
        bool turns = matcher_turn_of(b.matcher, &match, &messages);
        if (turns != cases[i].turns || messages != cases[i].messages)
            fail_msg("%s: %d, after %d", cases[i].talk, turns, (int)messages);
        assert_int_equal(matcher_has_turns(b.matcher), turns);
        assert_int_equal(b.matcher->turns.rows_n > 0, turns); /* without such calls it costs nothing */
        bench_close(&b);
    }
}

static void test_one_without_rows_is_none(void **state)
{
    struct bench b;
    (void)state;
    OPEN(&b, NULL, TALK("aAbB|", .no_rows = true));
    assert_false(matcher_has_turns(b.matcher));
    bench_close(&b);
    OPEN(&b, OPTIONS("--ignore body"), TALK("aAbB|"));
    assert_true(matcher_has_turns(b.matcher));
    assert_int_equal(b.matcher->turns.rows_n, 0); /* the head is the key */
    bench_close(&b);
}

/* Threads: each takes calls that begin alike, half of them of one key. */

struct taker {
    struct matcher *m;
    const char *track;
    uint64_t sum, hits, exhausted;
};

static void *take_all(void *ctx)
{
    struct taker *t = ctx;
    struct turn_at at = said(t->m, "a", false);
    for (int i = 0; i < TAKES; i++) {
        struct match match;
        enum turn_taken taken = matcher_turn_take(t->m, &at, span_str(t->track), &match);
        if (taken == TURN_TAKEN) {
            t->hits++;
            t->sum += (uint64_t)match.flow;
        }
        t->exhausted += taken == TURN_EXHAUSTED;
    }
    return NULL;
}

static void take_side_by_side(struct matcher *m, const char *const *tracks, struct taker *takers)
{
    pthread_t threads[THREADS];
    for (size_t i = 0; i < THREADS; i++) {
        takers[i] = (struct taker){.m = m, .track = tracks ? tracks[i] : ""};
        assert_int_equal(pthread_create(&threads[i], NULL, take_all, &takers[i]), 0);
    }
    for (size_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
}

static void open_many(struct bench *b, int n)
{
    bench_open(b, OPTIONS("--order once"));
    for (int i = 0; i < n; i++) {
        char talk[] = "aAb|";
        talk[2] = i % 2 ? 'b' : (char)('c' + i % 20);
        (void)add_call(&b->tape, &(struct call)TALK(talk));
    }
    bench_load(b);
}

static void test_threads_take_each_once(void **state)
{
    struct bench b;
    struct taker takers[THREADS];
    struct matcher_counters c;
    uint64_t sum = 0, hits = 0, exhausted = 0, all = THREADS * TAKES / 2;
    (void)state;
    open_many(&b, (int)all);
    take_side_by_side(b.matcher, NULL, takers);
    for (size_t i = 0; i < THREADS; i++) {
        sum += takers[i].sum;
        hits += takers[i].hits;
        exhausted += takers[i].exhausted;
    }
    assert_int_equal(hits, all);
    assert_int_equal(sum, all * (all + 1) / 2);
    assert_int_equal(exhausted, THREADS * TAKES - all);
    matcher_get_counters(b.matcher, &c);
    assert_int_equal(c.served, all);
    assert_int_equal(c.missed, 0); /* nothing is counted that was not taken */
    assert_int_equal(c.unused, 0);
    bench_close(&b);
    /* With tracks: each has all of it. */
    open_many(&b, TAKES);
    take_side_by_side(b.matcher, (const char *const[THREADS]){"one", "two", "three", "four"}, takers);
    for (size_t i = 0; i < THREADS; i++) {
        assert_int_equal(takers[i].hits, TAKES);
        assert_int_equal(takers[i].sum, (uint64_t)TAKES * (TAKES + 1) / 2);
    }
    bench_close(&b);
}

static void test_loading_out_of_memory(void **state)
{
    struct bench b;
    (void)state;
    bench_open(&b, NULL);
    (void)add_call(&b.tape, &(struct call)TALK("aAbB|"));
    (void)add_call(&b.tape, &(struct call)TALK("aAcC|"));
    fixture_close(&b.tape);
    const char *const paths[] = {b.path};
    struct matcher_options options = {.paths = paths, .paths_n = 1, .rules = &b.rules};
    enum err e = ERR_NOMEM;
    for (long n = 0; e && n < 2000; n++) {
        struct buf problem = BUF_INIT;
        mem_fail_after(n);
        e = matcher_create(&b.matcher, &options, &problem);
        mem_fail_after(-1);
        buf_free(&problem);
    }
    assert_int_equal(e, ERR_OK);
    check_turn(b.matcher, "a", TURN_EITHER);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_whose_turn_it_is),       cmocka_unit_test(test_how_far_recordings_are_known),
        cmocka_unit_test(test_when_it_was_answered),   cmocka_unit_test(test_one_without_rows_is_none),
        cmocka_unit_test(test_threads_take_each_once), cmocka_unit_test(test_loading_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
