/* test_report.c: the reports of a replay: JSON, text and JUnit. */
#include "explain.h"

#include "base/text.h"
#include "replay/report.h"

#include <jansson.h>

static void check_take(struct bench *b, const char *path, bool hit)
{
    struct key_scratch scratch;
    struct key key;
    struct match match;
    enum miss_reason reason;
    memset(&scratch, 0, sizeof scratch);
    struct key_request r = {.method = SPAN("GET"),
                            .scheme = SPAN("http"),
                            .host = SPAN("example.test"),
                            .port = 80,
                            .path = span_str(path)};
    assert_int_equal(key_compute(&key, &b->rules, matcher_hash_key(b->matcher), &r, &scratch), ERR_OK);
    assert_int_equal(matcher_take(b->matcher, &key, SPAN_EMPTY, &match, &reason), hit);
    key_scratch_free(&scratch);
}

static void test_json_report(void **state)
{
    static const char *const names[] = {"served",           "missed", "repeated",     "unused",
                                        "network_connects", "misses", "unused_flows", "flows"};
    struct bench b;
    struct buf out = BUF_INIT;
    (void)state;
    bench_open(&b, OPTIONS("--fail-on miss,repeat"));
    for (int i = 1; i <= 4; i++) {
        char path[8];
        (void)snprintf(path, sizeof path, "/%d", i);
        (void)fixture_add(&b.tape, &(struct fixture_flow){.path = path});
    }
    bench_load(&b);
    assert_int_equal(report_failed(b.matcher), 0);
    check_take(&b, "/2", true);
    check_take(&b, "/2", true);
    check_take(&b, "/4", true);
    struct explained x = explain(&b, &(struct asked){.path = "/\"\xff\""});
    assert_int_equal(report_json(b.matcher, 0, &out), ERR_OK);
    json_error_t error;
    json_t *report = json_loads(buf_cstr(&out), JSON_REJECT_DUPLICATES, &error);
    if (!report)
        fail_msg("%s: %s", error.text, buf_cstr(&out));
    assert_int_equal(json_object_size(report), ARRAY_LEN(names));
    json_t *wanted =
        json_pack("{s:i, s:i, s:i, s:i, s:i, s:[O], s:[i,i], s:{s:i, s:i}}", "served", 3, "missed", 1, "repeated", 1,
                  "unused", 2, "network_connects", 0, "misses", x.json, "unused_flows", 1, 3, "flows", "2", 2, "4", 1);
    assert_non_null(wanted);
    assert_true(json_equal(report, wanted)); /* a miss in the report is what the client saw */
    assert_int_equal(report_failed(b.matcher),
                     BIT(FAIL_ON_MISS) | BIT(FAIL_ON_REPEAT)); /* not unused: that was not asked for */
    json_decref(report);
    json_decref(wanted);
    explained_free(&x);
    buf_free(&out);
    bench_close(&b);
}

static void test_text_report(void **state)
{
    struct bench b;
    struct buf out = BUF_INIT;
    (void)state;
    bench_open(&b, NULL);
    (void)fixture_add(&b.tape, &(struct fixture_flow){.path = "/a"});
    bench_load(&b);
    for (int i = 0; i < REPORT_TEXT_MISSES + 2; i++) {
        struct explained x = explain(&b, &(struct asked){.path = "/\033[2Jx"});
        explained_free(&x);
    }
    assert_int_equal(report_text(b.matcher, 0, &out), ERR_OK);
    size_t lines = 0;
    for (size_t i = 0; i < out.n; i++) {
        uint8_t c = buf_span(&out).p[i];
        lines += c == '\n';
        assert_true(c == '\n' || c >= 0x20);
    }
    assert_int_equal(lines, 1 + REPORT_TEXT_MISSES + 1);
    assert_has(buf_span(&out),
               "0 served, 12 missed, 0 repeated, 1 of 1 recordings unused, 0 connects to the network\n");
    assert_has(buf_span(&out), "miss: GET http://example.test/\\x1b[2Jx: no recording is the same");
    assert_has(buf_span(&out), "miss: and 2 more\n");
    buf_free(&out);
    bench_close(&b);
}

/* Not a validator, but enough for what is written here: tags are closed in order, attributes quoted, no raw '<' or '&', only XML 1.0's characters. */
static void check_xml(struct span s)
{
    const char *open[16];
    size_t depth = 0, lengths[16];
    assert_true(text_is_utf8(s));
    assert_true(span_starts_with(s, SPAN("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n")));
    for (size_t i = span_find(s, '\n'); i < s.n; i++) {
        uint8_t c = s.p[i];
        assert_true(c >= 0x20 || c == '\n' || c == '\t');
        if (c == '&') {
            struct span rest = span_from(s, i);
            assert_true(span_starts_with(rest, SPAN("&lt;")) || span_starts_with(rest, SPAN("&gt;")) ||
                        span_starts_with(rest, SPAN("&amp;")) || span_starts_with(rest, SPAN("&quot;")));
        }
        if (c != '<')
            continue;
        struct span tag = span_from(s, i + 1);
        tag = span_first(tag, span_find(tag, '>'));
        i += tag.n + 1;
        size_t quotes = 0;
        for (size_t k = 0; k < tag.n; k++) {
            quotes += tag.p[k] == '"';
            assert_int_not_equal(tag.p[k], '<');
        }
        assert_int_equal(quotes % 2, 0);
        if (tag.n > 0 && tag.p[0] == '/') {
            assert_true(depth > 0);
            depth--;
            assert_true(span_eq(span_from(tag, 1), span_of(open[depth], lengths[depth])));
        } else if (tag.n > 0 && tag.p[tag.n - 1] != '/') {
            assert_true(depth < ARRAY_LEN(open));
            open[depth] = (const char *)tag.p;
            lengths[depth++] = span_find(tag, ' ');
        }
    }
    assert_int_equal(depth, 0);
}

static size_t count(struct span s, const char *part)
{
    size_t n = 0;
    for (;; n++) {
        size_t at = span_search(s, span_str(part));
        if (at == s.n)
            return n;
        s = span_from(s, at + 1);
    }
}

static void test_junit_report(void **state)
{
    struct bench b;
    struct buf out = BUF_INIT;
    (void)state;
    bench_open(&b, OPTIONS("--fail-on miss,unused"));
    for (int i = 0; i < 25; i++)
        (void)fixture_add(&b.tape, &(struct fixture_flow){.path = i ? "/b" : "/a"});
    bench_load(&b);
    assert_int_equal(report_junit(b.matcher, &out), ERR_OK);
    check_xml(buf_span(&out));
    assert_has(buf_span(&out), "tests=\"3\" failures=\"1\"");
    check_take(&b, "/a", true);
    check_take(&b, "/a", true);
    struct explained x = explain(&b, &(struct asked){.path = "/<\"&'>\xff\x01\xef\xbf\xbe\xf0\x9f\x98\x80?a=1"});
    explained_free(&x);
    for (int i = 0; i < LIMIT_REPLAY_MISSES + 4; i++)
        matcher_keep_miss(b.matcher, SPAN("{}"), SPAN("GET http://x/: y"));
    for (int i = 0; i < LIMIT_REPLAY_MISSES + 4; i++)
        matcher_count_miss(b.matcher, SPAN_EMPTY);
    buf_clear(&out);
    assert_int_equal(report_junit(b.matcher, &out), ERR_OK);
    check_xml(buf_span(&out));
    /* the served, each miss that was kept, those that were not, unused, repeated */
    assert_has(buf_span(&out), "tests=\"1004\" failures=\"1002\"");
    assert_int_equal(count(buf_span(&out), "<testcase "), 1004);
    assert_int_equal(count(buf_span(&out), "<failure "), 1002);
    assert_has(
        buf_span(&out),
        "name=\"GET http://example.test/&lt;&quot;&amp;'&gt;\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xf0\x9f\x98\x80?a=1\"");
    assert_has(buf_span(&out), "5 more misses");
    assert_has(buf_span(&out), "24 not used: flow 2, 3, 4");
    assert_has(buf_span(&out), "20, 21, \xe2\x80\xa6\"/>");
    assert_has(buf_span(&out), "<system-out>1 repeats: flow 1</system-out>"); /* not asked to fail on it */
    for (long n = 0, e = ERR_NOMEM; e == ERR_NOMEM; n++) {
        struct buf text = BUF_INIT;
        mem_fail_after(n);
        e = report_junit(b.matcher, &text);
        mem_fail_after(-1);
        buf_free(&text);
    }
    buf_free(&out);
    bench_close(&b);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_json_report),
        cmocka_unit_test(test_text_report),
        cmocka_unit_test(test_junit_report),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
