/* test_fields.c: header fields as JSON: everything that was a field comes back, and nothing else is let in. */
#include "fixture.h"

#include "base/alloc.h"
#include "tape/fields.h"

static const struct {
    const char *json;
    enum err want;
    const char *fields; /* name=value; … */
} cases[] = {
    {"", ERR_OK, ""},
    {"[]", ERR_OK, ""},
    {" [ ] ", ERR_OK, ""},
    {"[[\"A\",\"b\"]]", ERR_OK, "A=b;"},
    {"[[\"A\",\"b\"],[\"a\",\"\"]]", ERR_OK, "A=b;a=;"},
    {" [ [ \"A\" , \"b\" ] ]\n", ERR_OK, "A=b;"},
    {"[[\"\\\"\\\\\\/\",\"\\t\\u0041\\u00e9\\u20ac\\ud83d\\ude00\"]]", ERR_OK,
     "\"\\/=\tA\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80;"},
    {"[[\"A\",{\"base64\":\"/w==\"}],[{\"base64\":\"QQ==\"},\"\\u0062\"]]", ERR_OK, "A=\xff;A=b;"},
    {"[[\"\\u0041\",\"\\u0042\"],[\"\\u0043\",\"\\u0044\"]]", ERR_OK, "A=B;C=D;"},
    {"x", ERR_CORRUPT, NULL},
    {"[", ERR_CORRUPT, NULL},
    {"[[", ERR_CORRUPT, NULL},
    {"[[\"A", ERR_CORRUPT, NULL},
    {"[[\"A\"]]", ERR_CORRUPT, NULL},
    {"[[\"A\",\"b\"", ERR_CORRUPT, NULL},
    {"[[\"A\",\"b\"]", ERR_CORRUPT, NULL},
    {"[[\"A\",\"b\"],]", ERR_CORRUPT, NULL},
    {"[[\"A\",\"b\",\"c\"]]", ERR_CORRUPT, NULL},
    {"[[\"A\",\"b\"]]x", ERR_CORRUPT, NULL},
    {"[[\"A\",1]]", ERR_CORRUPT, NULL},
    {"[[\"A\",null]]", ERR_CORRUPT, NULL},
    {"{\"A\":\"b\"}", ERR_CORRUPT, NULL},
    {"[[\"A\",\"b\nc\"]]", ERR_CORRUPT, NULL},
    {"[[\"A\",\"b\\nc\"]]", ERR_CORRUPT, NULL},
    {"[[\"A\",\"b\\rc\"]]", ERR_CORRUPT, NULL},
    {"[[\"A\\r\\nB\",\"c\"]]", ERR_CORRUPT, NULL},
    {"[[\"A\",\"\\u0000\"]]", ERR_CORRUPT, NULL},
    {"[[\"A\",{\"base64\":\"DQo=\"}]]", ERR_CORRUPT, NULL},
    {"[[\"A\",\"\\x\"]]", ERR_CORRUPT, NULL},
    {"[[\"A\",\"\\u12\"]]", ERR_CORRUPT, NULL},
    {"[[\"A\",\"\\ud83d\"]]", ERR_CORRUPT, NULL},
    {"[[\"A\",\"\\ude00\"]]", ERR_CORRUPT, NULL},
    {"[[\"A\",\"\\ud83d\\u0041\"]]", ERR_CORRUPT, NULL},
    {"[[\"A\",{\"base64\":\"/w=\"}]]", ERR_CORRUPT, NULL},
    {"[[\"A\",{\"base64\":1}]]", ERR_CORRUPT, NULL},
    {"[[\"A\",{\"other\":\"\"}]]", ERR_CORRUPT, NULL},
    {"[[\"A\",{\"base64\":\"\",\"b\":\"\"}]]", ERR_CORRUPT, NULL},
};

static void texts(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct headers h = HEADERS_INIT;
        struct buf got = BUF_INIT;
        /* A copy of its own, so that a sanitizer sees one byte too many. */
        size_t n = strlen(cases[i].json);
        char *copy = malloc(n ? n : 1);
        assert_non_null(copy);
        memcpy(copy, cases[i].json, n);
        enum err e = tape_headers(span_of(copy, n), &h);
        if (e != cases[i].want)
            fail_msg("%s: %s", cases[i].json, err_word(e));
        for (uint32_t k = 0; !e && k < h.n; k++) {
            assert_int_equal(buf_put(&got, headers_at(&h, k).name), ERR_OK);
            assert_int_equal(buf_put_byte(&got, '='), ERR_OK);
            assert_int_equal(buf_put(&got, headers_at(&h, k).value), ERR_OK);
            assert_int_equal(buf_put_byte(&got, ';'), ERR_OK);
        }
        if (!e && !span_eq(buf_span(&got), span_str(cases[i].fields)))
            fail_msg("%s: %.*s", cases[i].json, (int)got.n, (const char *)buf_span(&got).p);
        for (size_t cut = 1; cut < n; cut++) /* every prefix is an error or a list, never a read beyond its end */
            (void)!tape_headers(span_of(copy, cut), &h);
        free(copy);
        headers_free(&h);
        buf_free(&got);
    }
}

static void limits_hold(void **state)
{
    struct headers h = HEADERS_INIT;
    struct buf json = BUF_INIT;
    (void)state;
    assert_int_equal(buf_put_str(&json, "["), ERR_OK);
    for (int i = 0; i <= LIMIT_HEADERS; i++)
        assert_int_equal(buf_printf(&json, "%s[\"a\",\"b\"]", i ? "," : ""), ERR_OK);
    assert_int_equal(buf_put_str(&json, "]"), ERR_OK);
    assert_int_equal(tape_headers(buf_span(&json), &h), ERR_LIMIT);
    headers_free(&h);
    buf_free(&json);
}

static void every_byte_comes_back(void **state)
{
    struct headers h = HEADERS_INIT, again = HEADERS_INIT;
    (void)state;
    for (unsigned a = 1; a < 256; a++) {
        uint8_t value[3] = {(uint8_t)a, 'x', (uint8_t)(a ^ 0x80)};
        struct buf json = BUF_INIT;
        if (memchr(value, '\r', 3) || memchr(value, '\n', 3) || memchr(value, 0, 3))
            continue;
        headers_clear(&h);
        assert_int_equal(headers_add(&h, SPAN("X"), span_of(value, 3)), ERR_OK);
        assert_int_equal(tape_headers_json(&h, &json), ERR_OK);
        assert_int_equal(tape_headers(buf_span(&json), &again), ERR_OK);
        assert_memory_equal(headers_at(&again, 0).value.p, value, 3);
        buf_free(&json);
    }
    headers_free(&h);
    headers_free(&again);
}

static void memory_may_run_out(void **state)
{
    enum err e = ERR_NOMEM;
    (void)state;
    for (long n = 0; e == ERR_NOMEM; n++) {
        struct headers h = HEADERS_INIT;
        assert_true(n < 50);
        mem_fail_after(n);
        e = tape_headers(SPAN("[[\"a\\u0041\",{\"base64\":\"QQ==\"}],[\"b\",\"c\"]]"), &h);
        mem_fail_after(-1);
        headers_free(&h);
    }
    assert_int_equal(e, ERR_OK);
}

static void packing_and_its_inverse(void **state)
{
    struct headers h = HEADERS_INIT;
    struct fields_packed packed;
    struct header field;
    uint8_t bytes[100];
    uint32_t at = 0;
    size_t offset = 0, n;
    (void)state;
    assert_int_equal(headers_add(&h, SPAN("A"), SPAN("")), ERR_OK);
    assert_int_equal(headers_add(&h, SPAN("Bc"), SPAN("def")), ERR_OK);
    n = fields_size(&h);
    fields_pack(&h, bytes);
    assert_true(fields_unpack(2, span_of(bytes, n), &packed));
    assert_false(fields_unpack(2, span_of(bytes, n - 1), &packed) || fields_unpack(2, span_of(bytes, n + 1), &packed));
    assert_false(fields_unpack(100, span_of(bytes, n), &packed));
    assert_true(fields_unpack(2, span_of(bytes, n), &packed));
    assert_true(fields_next(&packed, &at, &offset, &field) && fields_next(&packed, &at, &offset, &field));
    assert_true(span_eq(field.value, SPAN("def")));
    assert_false(fields_next(&packed, &at, &offset, &field));
    headers_free(&h);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(texts),
        cmocka_unit_test(limits_hold),
        cmocka_unit_test(every_byte_comes_back),
        cmocka_unit_test(memory_may_run_out),
        cmocka_unit_test(packing_and_its_inverse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
