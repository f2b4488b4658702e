/* test_base.c: spans, buffers, lists, the hash table and SipHash, memory, errors, the clock, the table of limits. */
#include "base/alloc.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/limits.h"
#include "base/list.h"
#include "base/util.h"

#include <errno.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

/* --- spans ------------------------------------------------------------------------------------------------------- */

static void test_spans(void **state)
{
    const struct span s = SPAN("abcabc"), none = SPAN_EMPTY;
    (void)state;
    assert_int_equal(span_str(NULL).n, 0);
    assert_true(span_eq(none, SPAN("")));
    assert_true(span_eq(span_from(s, 3), SPAN("abc")));
    assert_int_equal(span_from(s, 6).n, 0);
    assert_null(span_from(s, 7).p);
    assert_int_equal(span_from(s, SIZE_MAX).n, 0);
    assert_int_equal(span_first(s, 2).n, 2);
    assert_int_equal(span_first(s, 99).n, 6);
    assert_int_equal(span_first(none, 1).n, 0);
    assert_true(span_starts_with(s, SPAN("abca")));
    assert_true(span_starts_with(none, none));
    assert_false(span_starts_with(SPAN("ab"), SPAN("abc")));
    assert_int_equal(span_find(s, 'c'), 2);
    assert_int_equal(span_find(s, 'x'), 6);
    assert_int_equal(span_find(none, 'x'), 0);
    assert_int_equal(span_search(s, SPAN("ca")), 2);
    assert_int_equal(span_search(s, SPAN("cc")), 6);
    assert_int_equal(span_search(s, none), 0);
    assert_int_equal(span_search(none, SPAN("a")), 0);
    assert_int_equal(span_search(SPAN("a"), SPAN("abc")), 1);
    assert_true(span_eq(span_trim(SPAN(" \t a b\t ")), SPAN("a b")));
    assert_int_equal(span_trim(SPAN(" \t ")).n, 0);
    assert_true(span_eq(span_trim(SPAN("\na\r")), SPAN("\na\r"))); /* OWS is space and tab */
    assert_true(span_eq_nocase(SPAN("Content-LENGTH"), SPAN("content-length")));
    assert_false(span_eq_nocase(SPAN("a"), SPAN("ab")));
    assert_false(span_eq_nocase(SPAN("["), SPAN("{")));       /* letters alone */
    assert_false(span_eq_nocase(SPAN("\xc4"), SPAN("\xe4"))); /* ASCII alone */
    assert_true(span_cmp(SPAN("a"), SPAN("b")) < 0 && span_cmp(SPAN("b"), SPAN("a")) > 0);
    assert_true(span_cmp(SPAN("a"), SPAN("aa")) < 0 && span_cmp(SPAN("aa"), SPAN("a")) > 0);
    assert_true(span_cmp(SPAN("\xff"), SPAN("a")) > 0 && span_cmp(none, none) == 0 && span_cmp(none, SPAN("a")) < 0);
}

static void test_numbers(void **state)
{
    static const struct {
        const char *text;
        uint64_t max;
        bool good;
        uint64_t value;
    } cases[] = {
        {"0", 10, true, 0},
        {"007", 10, true, 7},
        {"10", 10, true, 10},
        {"11", 10, false, 0},
        {"", 10, false, 0},
        {"+1", 10, false, 0},
        {"-1", 10, false, 0},
        {" 1", 10, false, 0},
        {"1 ", 10, false, 0},
        {"1a", 10, false, 0},
        {"0x1", 100, false, 0},
        {"18446744073709551615", UINT64_MAX, true, UINT64_MAX},
        {"18446744073709551616", UINT64_MAX, false, 0},
        {"184467440737095516150", UINT64_MAX, false, 0},
        {"99999999999999999999", UINT64_MAX, false, 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        uint64_t value = 77;
        if (span_to_u64(span_str(cases[i].text), cases[i].max, &value) != cases[i].good)
            fail_msg("%s", cases[i].text);
        assert_true(value == (cases[i].good ? cases[i].value : 77));
    }
}

/* --- buffers ----------------------------------------------------------------------------------------------------- */

/* A queue of bytes against a model, through all the ways in which the block is reused. */
static void test_buffer_as_a_queue(void **state)
{
    struct buf b = BUF_INIT;
    uint64_t put = 0, taken = 0, seed = 1;
    (void)state;
    for (int i = 0; i < 20000; i++) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
        size_t n = (size_t)(seed >> 33) % 700;
        if (seed >> 62 != 0) {
            uint8_t bytes[700];
            for (size_t k = 0; k < n; k++)
                bytes[k] = (uint8_t)((put + k) * 31);
            assert_int_equal(buf_put(&b, span_of(bytes, n)), ERR_OK);
            put += n;
        } else {
            n = n * 3;
            taken += MIN(n, b.n);
            buf_consume(&b, n);
        }
        assert_int_equal(b.n, put - taken);
        assert_true(b.head + b.n <= b.cap);
        for (size_t k = 0; k < b.n; k += 97)
            assert_int_equal(buf_span(&b).p[k], (uint8_t)((taken + k) * 31));
        if (b.n > 100000) {
            taken = put;
            buf_clear(&b);
        }
    }
    assert_true(b.cap < 1 << 20); /* consumed space was used again */
    buf_free(&b);
    assert_null(b.p);
    assert_int_equal(b.cap + b.n + b.head, 0);
}

static void test_buffer_text(void **state)
{
    struct buf b = BUF_INIT;
    (void)state;
    assert_null(buf_span(&b).p);
    assert_int_equal(buf_put(&b, SPAN_EMPTY), ERR_OK);
    assert_null(b.p);
    assert_int_equal(buf_put_u64(&b, 0), ERR_OK);
    assert_int_equal(buf_put_byte(&b, ','), ERR_OK);
    assert_int_equal(buf_put_u64(&b, UINT64_MAX), ERR_OK);
    assert_int_equal(buf_printf(&b, "|%s|%d", "text", -5), ERR_OK);
    assert_string_equal(buf_cstr(&b), "0,18446744073709551615|text|-5");
    assert_int_equal(b.n, 30); /* the terminator does not count */
    assert_int_equal(buf_put_str(&b, "!"), ERR_OK);
    assert_string_equal(buf_cstr(&b), "0,18446744073709551615|text|-5!");
    buf_clear(&b);
    for (int i = 0; i < 1000; i++)
        assert_int_equal(buf_printf(&b, "%d", i % 10), ERR_OK);
    assert_int_equal(b.n, 1000);
    buf_free(&b);
    assert_string_equal(buf_cstr(&b), "");
    buf_free(&b);
}

static void test_buffer_failures_change_nothing(void **state)
{
    struct buf b = BUF_INIT;
    uint8_t *at;
    (void)state;
    assert_int_equal(buf_put_str(&b, "kept"), ERR_OK);
    assert_int_equal(buf_reserve(&b, SIZE_MAX, &at), ERR_NOMEM);
    assert_int_equal(buf_reserve(&b, SIZE_MAX / 2, &at), ERR_NOMEM);
    assert_int_equal(buf_reserve(&b, SIZE_MAX / 4 + 1, &at), ERR_NOMEM);
    char big[1000];
    memset(big, 'x', sizeof big);
    mem_fail_after(0);
    assert_int_equal(buf_put(&b, span_of(big, sizeof big)), ERR_NOMEM);
    assert_int_equal(buf_printf(&b, "%1000d", 1), ERR_NOMEM);
    struct buf empty = BUF_INIT;
    assert_null(buf_cstr(&empty));
    assert_int_equal(buf_put_byte(&empty, 1), ERR_NOMEM);
    mem_fail_after(-1);
    assert_string_equal(buf_cstr(&b), "kept");
    assert_int_equal(b.n, 4);
    buf_free(&b);
}

static void test_allocations(void **state)
{
    (void)state;
    assert_null(mem_new(SIZE_MAX / 2, 3));
    assert_null(mem_resize(NULL, SIZE_MAX / 2, 3));
    assert_null(mem_strdup("x", SIZE_MAX));
    uint8_t *zero = mem_new(0, 0), *p = mem_new(100, 1);
    assert_non_null(zero);
    assert_non_null(p);
    for (size_t i = 0; i < 100; i++)
        assert_int_equal(p[i], 0);
    uint8_t *failed = NULL;
    p[99] = 7;
    mem_fail_after(1);
    void *last = mem_new(1, 1);
    failed = mem_resize(p, 1000, 1);
    char *text = mem_strdup("x", 1);
    mem_fail_after(-1);
    assert_non_null(last);
    assert_null(failed);
    assert_null(text);
    assert_int_equal(p[99], 7); /* the old block stays */
    char *copy = mem_strdup("a\0b", 3);
    assert_memory_equal(copy, "a\0b", 4);
    mem_free(copy);
    mem_free(last);
    mem_free(p);
    mem_free(zero);
    mem_free(NULL);
}

static void *allocate_elsewhere(void *arg)
{
    void *block = mem_new(1, 1);
    *(bool *)arg = block != NULL;
    mem_free(block);
    return NULL;
}

/* The hook is a thread's own: a test's other threads go on. */
static void test_failing_allocations_are_a_threads_own(void **state)
{
    pthread_t thread;
    bool worked = false;
    (void)state;
    mem_fail_after(0);
    assert_null(mem_new(1, 1));
    assert_int_equal(pthread_create(&thread, NULL, allocate_elsewhere, &worked), 0);
    assert_int_equal(pthread_join(thread, NULL), 0);
    mem_fail_after(-1);
    assert_true(worked);
}

/* --- lists ------------------------------------------------------------------------------------------------------- */

struct item {
    int n;
    struct list link;
};

static void test_lists(void **state)
{
    struct list head;
    struct item items[5];
    int n = 0;
    (void)state;
    list_init(&head);
    assert_true(list_empty(&head));
    assert_null(list_pop(&head));
    for (int i = 0; i < 5; i++) {
        items[i].n = i;
        list_init(&items[i].link);
        list_push(&head, &items[i].link);
    }
    LIST_FOREACH (link, &head) {
        assert_int_equal(container_of(link, struct item, link)->n, n++);
        if (n == 3)
            list_remove(link);
    }
    assert_int_equal(n, 5);
    list_remove(&items[2].link); /* it is in none */
    list_push_front(&head, &items[2].link);
    static const int order[] = {2, 0, 1, 3, 4};
    for (size_t i = 0; i < 5; i++)
        assert_int_equal(container_of(list_pop(&head), struct item, link)->n, order[i]);
    assert_true(list_empty(&head));
}

/* --- hashing ----------------------------------------------------------------------------------------------------- */

/* The key 00 01 … 0f and the inputs 00 01 … of the authors' reference vectors (vectors.h, SipHash-2-4-128). */
static void test_siphash_vectors(void **state)
{
    static const struct {
        size_t n;
        uint8_t out[16];
    } vectors[] = {
        {0, {0xa3, 0x81, 0x7f, 0x04, 0xba, 0x25, 0xa8, 0xe6, 0x6d, 0xf6, 0x72, 0x14, 0xc7, 0x55, 0x02, 0x93}},
        {1, {0xda, 0x87, 0xc1, 0xd8, 0x6b, 0x99, 0xaf, 0x44, 0x34, 0x76, 0x59, 0x11, 0x9b, 0x22, 0xfc, 0x45}},
        {2, {0x81, 0x77, 0x22, 0x8d, 0xa4, 0xa4, 0x5d, 0xc7, 0xfc, 0xa3, 0x8b, 0xde, 0xf6, 0x0a, 0xff, 0xe4}},
    };
    const struct hash_key key = {UINT64_C(0x0706050403020100), UINT64_C(0x0f0e0d0c0b0a0908)};
    uint8_t in[64];
    (void)state;
    for (size_t i = 0; i < sizeof in; i++)
        in[i] = (uint8_t)i;
    for (size_t i = 0; i < ARRAY_LEN(vectors); i++) {
        struct hash128_state st;
        hash128_begin(&st, &key);
        hash128_add(&st, span_of(in, vectors[i].n));
        struct hash128 h = hash128_end(&st);
        assert_memory_equal(&h.lo, vectors[i].out, 8);
        assert_memory_equal(&h.hi, vectors[i].out + 8, 8);
    }
}

static void test_hashing_in_pieces(void **state)
{
    struct hash_key key, other;
    uint8_t in[100];
    (void)state;
    hash_key_random(&key);
    hash_key_random(&other);
    assert_true(key.k0 != other.k0 || key.k1 != other.k1);
    for (size_t i = 0; i < sizeof in; i++)
        in[i] = (uint8_t)(i * 7);
    for (size_t n = 0; n <= sizeof in; n++) {
        struct hash128_state whole;
        hash128_begin(&whole, &key);
        hash128_add(&whole, span_of(in, n));
        struct hash128 wanted = hash128_end(&whole);
        for (size_t chunk = 1; chunk <= n; chunk++) {
            struct hash128_state st;
            hash128_begin(&st, &key);
            for (size_t at = 0; at < n; at += chunk)
                hash128_add(&st, span_first(span_of(in + at, n - at), chunk));
            struct hash128 h = hash128_end(&st);
            assert_true(h.lo == wanted.lo && h.hi == wanted.hi);
        }
        assert_true(hash64(&key, span_of(in, n)) == hash64(&key, span_of(in, n)));
        if (n > 0) {
            assert_true(hash64(&key, span_of(in, n)) != hash64(&key, span_of(in, n - 1)));
            assert_true(hash64(&key, span_of(in, n)) != hash64(&other, span_of(in, n)));
        }
    }
}

static bool is_same(const void *value, const void *wanted)
{
    return *(const int *)value == *(const int *)wanted;
}

/* Against a model, with few different hashes so that probes are long and cross what was removed. */
static void test_hash_table(void **state)
{
    enum { N = 400 };
    static int values[N];
    bool in[N] = {false};
    struct hash_table t = {.cap = 0};
    uint64_t seed = 3;
    size_t used = 0;
    (void)state;
    assert_null(hash_table_get(&t, 1, is_same, &values[0]));
    hash_table_remove(&t, 1, &values[0]);
    for (int i = 0; i < N; i++)
        values[i] = i;
    for (int turn = 0; turn < 30000; turn++) {
        seed = seed * UINT64_C(6364136223846793005) + 1442695040888963407;
        size_t i = (size_t)(seed >> 40) % N;
        uint64_t hash = i % 13;
        if (in[i])
            hash_table_remove(&t, hash, &values[i]);
        else
            assert_int_equal(hash_table_add(&t, hash, &values[i]), ERR_OK);
        in[i] = !in[i];
        used = in[i] ? used + 1 : used - 1;
        assert_int_equal(t.used, used);
        size_t k = (size_t)(seed >> 20) % N;
        assert_ptr_equal(hash_table_get(&t, k % 13, is_same, &values[k]), in[k] ? &values[k] : NULL);
    }
    assert_true(t.cap <= 4096); /* what was removed does not make it grow */
    size_t at = 0, seen = 0;
    for (int *value; (value = hash_table_next(&t, &at)) != NULL; seen++)
        hash_table_remove(&t, (uint64_t)*value % 13, value);
    assert_int_equal(seen, used);
    assert_int_equal(t.used, 0);
    hash_table_free(&t);
    /* Growing fails: what is in stays. */
    long added = 0;
    mem_fail_after(1);
    while (added < N && hash_table_add(&t, (uint64_t)added, &values[added]) == ERR_OK)
        added++;
    mem_fail_after(-1);
    assert_in_range(added, 1, N - 1);
    for (long i = 0; i < added; i++)
        assert_ptr_equal(hash_table_get(&t, (uint64_t)i, is_same, &values[i]), &values[i]);
    hash_table_free(&t);
}

/* --- tables ------------------------------------------------------------------------------------------------------ */

static void test_errors(void **state)
{
    (void)state;
    for (int e = 0; e < ERR_COUNT; e++) {
        const char *word = err_word((enum err)e);
        assert_true(strlen(word) > 0 && strlen(err_text((enum err)e)) > 0);
        assert_int_equal(strspn(word, "abcdefghijklmnopqrstuvwxyz-"), strlen(word)); /* "word: reason" on tapes */
        for (int k = 0; k < e; k++)
            assert_string_not_equal(word, err_word((enum err)k));
    }
    assert_int_equal(err_from_errno(0), ERR_OK);
    assert_int_equal(err_from_errno(ENOSPC), ERR_DISK_FULL);
    assert_int_equal(err_from_errno(ECONNREFUSED), ERR_REFUSED);
    assert_int_equal(err_from_errno(EPIPE), ERR_RESET);
    assert_int_equal(err_from_errno(12345), ERR_IO);
}

static void test_limits(void **state)
{
    static const struct {
        const char *name, *what;
        long long value;
    } limits[] = {
#define LIMIT_ROW(name, value, what) {#name, what, value},
        LIMIT_TABLE(LIMIT_ROW)
#undef LIMIT_ROW
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(limits); i++) {
        if (limits[i].value <= 0 || strlen(limits[i].what) < 10)
            fail_msg("%s", limits[i].name);
        for (size_t k = 0; k < i; k++)
            assert_string_not_equal(limits[i].what, limits[k].what);
    }
    /* Those that lean on each other. */
    assert_true(LIMIT_SEND_LOW < LIMIT_SEND_HIGH);
    assert_true(LIMIT_SEND_BLOCK_BYTES >= LIMIT_RECV_BUFFER_BYTES + 1024);
    assert_true(LIMIT_TARGET_BYTES + LIMIT_METHOD_BYTES < LIMIT_HEAD_BYTES);
    assert_true(LIMIT_CHUNK_BYTES < LIMIT_QUEUE_BYTES && LIMIT_HEAD_BYTES < LIMIT_QUEUE_BYTES);
    assert_true(LIMIT_INLINE_BODY_BYTES <= LIMIT_CHUNK_BYTES);
    assert_true(LIMIT_NEAREST <= LIMIT_REPLAY_CANDIDATES && LIMIT_REPLAY_CANDIDATES <= LIMIT_NEAREST_SEARCH);
    assert_true(LIMIT_FILTER_OVERLAP_BYTES < LIMIT_FILTER_WINDOW_BYTES);
    assert_true(LIMIT_CONNECT_STAGGER_MS < LIMIT_CONNECT_MS);
}

static void test_clock(void **state)
{
    char text[CLOCK_ISO_LEN];
    (void)state;
    clock_iso8601(0, text);
    assert_string_equal(text, "1970-01-01T00:00:00.000Z");
    clock_iso8601(UINT64_C(1767225599999999999), text);
    assert_string_equal(text, "2025-12-31T23:59:59.999Z");
    clock_iso8601(UINT64_C(1709164800123000000), text);
    assert_string_equal(text, "2024-02-29T00:00:00.123Z");
    clock_iso8601(UINT64_MAX, text);
    assert_int_equal(strlen(text), CLOCK_ISO_LEN - 1);
    uint64_t a = clock_mono_ns(), b = clock_mono_ns();
    assert_true(b >= a);
    assert_true(clock_wall_ns() > UINT64_C(1600000000) * NS_PER_S);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_spans),
        cmocka_unit_test(test_numbers),
        cmocka_unit_test(test_buffer_as_a_queue),
        cmocka_unit_test(test_buffer_text),
        cmocka_unit_test(test_buffer_failures_change_nothing),
        cmocka_unit_test(test_allocations),
        cmocka_unit_test(test_failing_allocations_are_a_threads_own),
        cmocka_unit_test(test_lists),
        cmocka_unit_test(test_siphash_vectors),
        cmocka_unit_test(test_hashing_in_pieces),
        cmocka_unit_test(test_hash_table),
        cmocka_unit_test(test_errors),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_clock),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
