/* test_rules.c: the texts of --match, --ignore, --order, --pace, --fail-on, --map and --miss-status. Promise 6: --ignore query:, json:, header:. */
#include "support.h"

typedef enum err take_fn(struct rules *, const char *, struct buf *);

struct good {
    take_fn *take;
    const char *text;
};

static const struct {
    take_fn *take;
    const char *text, *sentence;
} bad_input[] = {
    {rules_match, "", "names no field to match"},
    {rules_match, ",, ,", "names no field to match"},
    {rules_match, "method,colour", "'colour' is not a field to match; there are method, scheme"},
    {rules_match, "METHOD", "'METHOD' is not a field to match"},
    {rules_match, "header:", "'header:' lacks a name after the colon"},
    {rules_match, "path,cookie:", "'cookie:' lacks a name after the colon"},
    {rules_match, "query:t", "'query:t' is not a field to match"},
    {rules_ignore, "", "'' is not a field to ignore; there are query:NAME"},
    {rules_ignore, "method", "'method' cannot be ignored; say with --match"},
    {rules_ignore, "path", "'path' cannot be ignored"},
    {rules_ignore, "query:", "'query:' lacks a name after the colon"},
    {rules_ignore, "form:", "'form:' lacks a name after the colon"},
    {rules_ignore, "cookies:a", "'cookies:a' is not a field to ignore"},
    {rules_ignore, "json:", "'json:' is not a JSON pointer: it starts with a slash, as in json:/user/id"},
    {rules_ignore, "json:user/id", "'json:user/id' is not a JSON pointer: it starts with a slash"},
    {rules_ignore, "json:/a~2b", "~ is written ~0, and a slash within a name ~1"},
    {rules_ignore, "json:/a~", "~ is written ~0"},
    {rules_ignore, "json:/a~/b", "~ is written ~0"},
    {rules_ignore, "\033[31mred", "'\\x1b[31mred' is not a field to ignore"},
    {rules_order, "", "'' is not an order; there are sequence, first, last, cycle and once"},
    {rules_order, "random", "'random' is not an order"},
    {rules_order, "First", "'First' is not an order"},
    {rules_pace, "", "'' is not a pace; there are instant, recorded and a factor from 0 to 1000"},
    {rules_pace, "fast", "'fast' is not a pace"},
    {rules_pace, "-1", "'-1' is not a pace"},
    {rules_pace, "1x", "'1x' is not a pace"},
    {rules_pace, "1001", "'1001' is not a pace"},
    {rules_pace, "1e999", "'1e999' is not a pace"},
    {rules_pace, "0x10", "'0x10' is not a pace"},
    {rules_pace, " 1", "' 1' is not a pace"},
    {rules_pace, "nan", "'nan' is not a pace"},
    {rules_pace, ".", "'.' is not a pace"},
    {rules_fail_on, "", "names nothing to fail on"},
    {rules_fail_on, ",", "names nothing to fail on"},
    {rules_fail_on, "miss,error", "'error' is not something to fail on; there are miss, unused, repeat and never"},
    {rules_fail_on, "never,miss", "says never and something else"},
    {rules_map, "", "'' is not a mapping; write HOST=HOST, as in localhost:3000=api.example:443"},
    {rules_map, "a", "'a' is not a mapping"},
    {rules_map, "=b", "'=b' is not a mapping"},
    {rules_map, "a=", "'a=' is not a mapping"},
    {rules_map, "a:0=b", "'a:0=b' is not a mapping"},
    {rules_map, "a=b:65536", "is not a mapping"},
    {rules_map, "a=b:x", "is not a mapping"},
    {rules_map, "http://a=b", "is not a mapping"},
    {rules_map, "a=b/c", "is not a mapping"},
    {rules_map, "::1=b", "is not a mapping"},
    {rules_map, "[::1=b", "is not a mapping"},
    {rules_miss_status, "", "is not a status for misses; it lies between 200 and 599"},
    {rules_miss_status, "199", "'199' is not a status"},
    {rules_miss_status, "600", "'600' is not a status"},
    {rules_miss_status, "+404", "'+404' is not a status"},
    {rules_miss_status, "4294967696", "is not a status"},
    {rules_miss_status, "404x", "is not a status"},
};

static void test_bad_input_has_a_sentence_and_changes_nothing(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad_input); i++) {
        struct rules rules, before;
        struct buf problem = BUF_INIT;
        rules_from(&rules, OPTIONS("--match path,header:a", "--ignore json:/x", "--ignore query:q", "--map h=i",
                                   "--order last", "--pace 2", "--fail-on unused", "--miss-status 404"));
        before = rules;
        if (bad_input[i].take(&rules, bad_input[i].text, &problem) != ERR_USAGE)
            fail_msg("'%s' was taken", bad_input[i].text);
        assert_has(buf_span(&problem), bad_input[i].sentence);
        for (size_t k = 0; k < problem.n; k++)
            assert_true(buf_span(&problem).p[k] >= 0x20);
        /* What was counted and set is what it was; the arrays may have moved, since they may have grown. */
        assert_int_equal(rules.match, before.match);
        assert_int_equal(rules.ignore, before.ignore);
        assert_int_equal(rules.match_headers.n, 1);
        assert_int_equal(rules.match_cookies.n, 0);
        assert_int_equal(rules.ignore_query.n, 1);
        assert_int_equal(rules.ignore_forms.n + rules.ignore_cookies.n + rules.ignore_headers.n, 0);
        assert_int_equal(rules.pointers_n, 1);
        assert_int_equal(rules.maps_n, 1);
        assert_int_equal(rules.order, ORDER_LAST);
        assert_true(rules.pace > 1.9 && rules.pace < 2.1);
        assert_int_equal(rules.fail_on, BIT(FAIL_ON_UNUSED));
        assert_int_equal(rules.miss_status, 404);
        buf_free(&problem);
        rules_free(&rules);
    }
}

static void test_defaults(void **state)
{
    struct rules rules;
    (void)state;
    rules_init(&rules);
    for (int i = 0; i < RULE_FIELD_COUNT; i++)
        assert_true(rules_has(&rules, (enum rule_field)i));
    assert_int_equal(rules.order, ORDER_SEQUENCE);
    assert_int_equal(rules.miss_status, 501);
    assert_true(rules.pace <= 0 && !rules.tag);
    rules_free(&rules);
}

static void test_match_replaces_and_ignore_adds(void **state)
{
    struct rules rules;
    (void)state;
    rules_from(&rules, OPTIONS("--match host,header:X-One,cookie:a", "--match  method , path,,header:Accept ",
                               "--ignore query", "--ignore cookie:sid", "--ignore cookie:b"));
    assert_int_equal(rules.match, BIT(RULE_METHOD) | BIT(RULE_PATH));
    assert_int_equal(rules.match_headers.n, 1);
    assert_int_equal(rules.match_cookies.n, 0);
    assert_true(rule_names_has(&rules.match_headers, SPAN("accept"), true));
    assert_false(rule_names_has(&rules.match_headers, SPAN("accept"), false));
    assert_int_equal(rules.ignore_cookies.n, 2);
    assert_true(rules_has(&rules, RULE_PATH));
    assert_false(rules_has(&rules, RULE_QUERY));
    assert_false(rules_has(&rules, RULE_HOST));
    rules_free(&rules);
    rules_from(&rules, OPTIONS("--ignore host", "--ignore scheme", "--ignore port", "--ignore body", "--ignore query"));
    assert_true(rules_has(&rules, RULE_METHOD) && rules_has(&rules, RULE_PATH));
    for (int i = RULE_SCHEME; i <= RULE_BODY; i++)
        if (i != RULE_PATH)
            assert_false(rules_has(&rules, (enum rule_field)i));
    rules_free(&rules);
}

static void test_pointers(void **state)
{
    struct rules rules;
    (void)state;
    rules_from(&rules, OPTIONS("--ignore json:/", "--ignore json:/a~1b/~0c~01", "--ignore json:/x//y",
                               "--ignore json:/items/*/id"));
    assert_int_equal(rules.pointers_n, 4);
    assert_int_equal(rules.pointers[0].n, 1);
    assert_text(rules.pointers[0].segments[0], "");
    assert_int_equal(rules.pointers[1].n, 2);
    assert_text(rules.pointers[1].segments[0], "a/b");
    assert_text(rules.pointers[1].segments[1], "~c~1");
    assert_int_equal(rules.pointers[2].n, 3);
    assert_text(rules.pointers[2].segments[1], "");
    assert_text(rules.pointers[2].segments[2], "y");
    assert_text(rules.pointers[3].segments[1], "*");
    rules_free(&rules);
}

static void test_lists_are_bounded(void **state)
{
    struct rules rules;
    struct buf problem = BUF_INIT;
    char text[32];
    (void)state;
    rules_init(&rules);
    for (int i = 0; i < RULE_POINTERS_MAX; i++) {
        (void)snprintf(text, sizeof text, "json:/p%d", i);
        assert_int_equal(rules_ignore(&rules, text, &problem), ERR_OK);
    }
    assert_int_equal(rules_ignore(&rules, "json:/more", &problem), ERR_USAGE);
    assert_has(buf_span(&problem), "at most 64");
    buf_clear(&problem);
    for (int i = 0; i < RULE_NAMES_MAX; i++) {
        (void)snprintf(text, sizeof text, "query:q%d", i);
        assert_int_equal(rules_ignore(&rules, text, &problem), ERR_OK);
    }
    assert_int_equal(rules_ignore(&rules, "query:more", &problem), ERR_USAGE);
    assert_has(buf_span(&problem), "at most 256");
    buf_free(&problem);
    rules_free(&rules);
}

static void test_pace_fail_on_and_status(void **state)
{
    struct rules rules;
    (void)state;
    rules_from(&rules, OPTIONS("--pace 0.25", "--fail-on miss, unused,repeat", "--miss-status 200"));
    assert_true(rules.pace > 0.249 && rules.pace < 0.251);
    assert_int_equal(rules.fail_on, BIT(FAIL_ON_MISS) | BIT(FAIL_ON_UNUSED) | BIT(FAIL_ON_REPEAT));
    assert_int_equal(rules.miss_status, 200);
    rules_free(&rules);
    rules_from(&rules, OPTIONS("--pace recorded", "--fail-on miss", "--fail-on never", "--miss-status 599"));
    assert_true(rules.pace > 0.99 && rules.pace < 1.01);
    assert_int_equal(rules.fail_on, 0);
    rules_free(&rules);
    rules_from(&rules, OPTIONS("--pace 5", "--pace instant"));
    assert_true(rules.pace <= 0);
    rules_free(&rules);
    rules_from(&rules, OPTIONS("--pace 1e2"));
    assert_true(rules.pace > 99 && rules.pace < 101);
    rules_free(&rules);
    rules_from(&rules, OPTIONS("--pace .5"));
    assert_true(rules.pace > 0.4 && rules.pace < 0.6);
    rules_free(&rules);
}

static void test_map(void **state)
{
    static const struct {
        const char *host;
        unsigned port;
        const char *to;
        unsigned to_port;
    } cases[] = {
        {"LOCALHOST", 3000, "api.example", 443},
        {"localhost", 3001, "localhost", 3001},
        {"other", 80, "again", 80},
        {"::1", 9, "2001:db8::2", 9},
        {"again", 80, "again", 80},
        {"nobody", 1, "nobody", 1},
    };
    struct rules rules;
    (void)state;
    rules_from(&rules, OPTIONS("--map localhost:3000=API.example:443", "--map Other=again", "--map [::1]=[2001:db8::2]",
                               "--map other=never"));
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct span host = span_str(cases[i].host);
        unsigned port = cases[i].port;
        rules_map_host(&rules, &host, &port);
        assert_text(host, cases[i].to);
        assert_int_equal(port, cases[i].to_port);
    }
    rules_free(&rules);
}

/* Every allocation in turn fails: no leak, no change, ERR_NOMEM. */
static void test_out_of_memory(void **state)
{
    static const struct good all[] = {
        {rules_match, "path,header:a,header:b,cookie:c"},
        {rules_ignore, "json:/a/b"},
        {rules_ignore, "query:q"},
        {rules_map, "a:1=b:2"},
        {rules_match, "nonsense"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        enum err e = ERR_NOMEM;
        for (long n = 0; e == ERR_NOMEM; n++) {
            struct rules rules;
            struct buf problem = BUF_INIT;
            assert_true(n < 1000);
            rules_init(&rules);
            mem_fail_after(n);
            e = all[i].take(&rules, all[i].text, &problem);
            mem_fail_after(-1);
            if (e == ERR_NOMEM)
                assert_int_equal(rules.maps_n + rules.pointers_n + rules.ignore_query.n + rules.match_headers.n, 0);
            buf_free(&problem);
            rules_free(&rules);
        }
        assert_int_equal(e, i == ARRAY_LEN(all) - 1 ? ERR_USAGE : ERR_OK);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_input_has_a_sentence_and_changes_nothing),
        cmocka_unit_test(test_defaults),
        cmocka_unit_test(test_match_replaces_and_ignore_adds),
        cmocka_unit_test(test_pointers),
        cmocka_unit_test(test_lists_are_bounded),
        cmocka_unit_test(test_pace_fail_on_and_status),
        cmocka_unit_test(test_map),
        cmocka_unit_test(test_out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
