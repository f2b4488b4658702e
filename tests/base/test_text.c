/* test_text.c: text that is safe to show, to embed and to type; and log lines. */
#include "base/alloc.h"
#include "base/log.h"
#include "base/text.h"
#include "base/util.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

typedef enum err put_fn(struct buf *out, struct span s);

static void check(put_fn *put, struct span in, const char *wanted)
{
    struct buf out = BUF_INIT;
    assert_int_equal(put(&out, in), ERR_OK);
    if (!span_eq(buf_span(&out), span_str(wanted)))
        fail_msg("'%.*s' is not '%s'", (int)out.n, (const char *)buf_span(&out).p, wanted);
    buf_free(&out);
}

static void test_utf8(void **state)
{
    static const struct {
        const char *text;
        size_t n, good; /* n 0: strlen */
    } cases[] = {
        {"", 0, 0},
        {"plain text of more than eight", 0, 29},
        {"\0", 1, 1},
        {"gr\xc3\xbcn", 0, 5},
        {"\xe2\x82\xac", 0, 3},
        {"\xf0\x9f\x98\x80", 0, 4},
        {"\xf4\x8f\xbf\xbf", 0, 4}, /* U+10FFFF */
        {"\xf4\x90\x80\x80", 0, 0}, /* beyond */
        {"\xed\x9f\xbf", 0, 3},     /* U+D7FF */
        {"\xed\xa0\x80", 0, 0},     /* a surrogate */
        {"\xc0\x80", 0, 0},         /* overlong */
        {"\xc1\xbf", 0, 0},
        {"\xe0\x9f\xbf", 0, 0},
        {"\xf0\x8f\xbf\xbf", 0, 0},
        {"\xf5\x80\x80\x80", 0, 0},
        {"\x80", 0, 0},
        {"abc\xff", 0, 3},
        {"eight by\xff", 0, 8},
        {"abcdefg\xc3\xbcrest", 0, 13},
        {"cut \xe2\x82", 0, 4},
        {"cut \xf0\x9f\x98", 0, 4},
        {"\xc3(", 0, 0},
        {"\xe2\x82(", 0, 0},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct span s = span_of(cases[i].text, cases[i].n ? cases[i].n : strlen(cases[i].text));
        assert_int_equal(text_utf8_prefix(s), cases[i].good);
        assert_int_equal(text_is_utf8(s), cases[i].good == s.n);
    }
}

/* A second opinion on every character: what is well-formed, and nothing else, round-trips through a JSON reader. */
static void test_json_strings(void **state)
{
    (void)state;
    check(text_json_string, SPAN(""), "\"\"");
    check(text_json_string, SPAN("a\"b\\c/d\n\r\t\b\f\x01\x1f\x7f"),
          "\"a\\\"b\\\\c/d\\n\\r\\t\\u0008\\u000c\\u0001\\u001f\\u007f\"");
    check(text_json_string, SPAN("\0"), "\"\\u0000\"");
    check(text_json_string, SPAN("gr\xc3\xbcn \xf0\x9f\x98\x80"), "\"gr\xc3\xbcn \xf0\x9f\x98\x80\"");
    check(text_json_string, SPAN("a\xff\xfe-\xc3"), "\"a\xef\xbf\xbd\xef\xbf\xbd-\xef\xbf\xbd\"");
    check(text_json_string, SPAN("\xed\xa0\x80"), "\"\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\"");
    for (unsigned a = 0; a < 256; a++)
        for (unsigned b = 0; b < 256; b++) {
            uint8_t bytes[4] = {(uint8_t)a, (uint8_t)b, 0x80, 'x'};
            struct buf out = BUF_INIT;
            assert_int_equal(text_json_string(&out, span_of(bytes, 4)), ERR_OK);
            json_t *parsed = json_loadb((const char *)buf_span(&out).p, out.n, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
            if (!parsed)
                fail_msg("%02x %02x is not JSON", a, b);
            if (text_is_utf8(span_of(bytes, 4)))
                assert_true(span_eq(span_of(json_string_value(parsed), json_string_length(parsed)), span_of(bytes, 4)));
            json_decref(parsed);
            buf_free(&out);
        }
}

static void test_terminals(void **state)
{
    (void)state;
    check(text_escape_terminal, SPAN("plain, gr\xc3\xbcn\tand \xf0\x9f\x98\x80"),
          "plain, gr\xc3\xbcn\tand \xf0\x9f\x98\x80");
    check(text_escape_terminal, SPAN("\033[31mred\033]0;title\a"), "\\x1b[31mred\\x1b]0;title\\x07");
    check(text_escape_terminal, SPAN("a\nb\rc\0d\x7f"), "a\\x0ab\\x0dc\\x00d\\x7f");
    check(text_escape_terminal,
          SPAN("\xc2\x9b"
               "31m\xc2\x85"),
          "\\xc2\\x9b31m\\xc2\\x85"); /* C1: CSI, NEL */
    check(text_escape_terminal,
          SPAN("\x9b"
               "31m"),
          "\\x9b31m");
    check(text_escape_terminal, SPAN("\xff\xc3"), "\\xff\\xc3");
    /* bidirectional controls: U+061C, U+200E, U+200F, U+202A, U+202E, U+2066, U+2069 */
    check(text_escape_terminal, SPAN("\xd8\x9c"), "\\xd8\\x9c");
    check(text_escape_terminal, SPAN("\xe2\x80\x8e\xe2\x80\x8f"), "\\xe2\\x80\\x8e\\xe2\\x80\\x8f");
    check(text_escape_terminal, SPAN("\xe2\x80\xaa\xe2\x80\xae"), "\\xe2\\x80\\xaa\\xe2\\x80\\xae");
    check(text_escape_terminal, SPAN("\xe2\x81\xa6\xe2\x81\xa9"), "\\xe2\\x81\\xa6\\xe2\\x81\\xa9");
    check(text_escape_terminal, SPAN("\xe2\x80\xa6\xe2\x80\x93\xc2\xa0"),
          "\xe2\x80\xa6\xe2\x80\x93\xc2\xa0"); /* …, –, a hard space */
    /* Whatever comes in, no control and nothing but UTF-8 comes out. */
    for (unsigned a = 0; a < 256; a++)
        for (unsigned b = 0; b < 256; b++) {
            uint8_t bytes[3] = {(uint8_t)a, (uint8_t)b, 0x9b};
            struct buf out = BUF_INIT;
            assert_int_equal(text_escape_terminal(&out, span_of(bytes, 3)), ERR_OK);
            assert_true(text_is_utf8(buf_span(&out)));
            for (size_t i = 0; i < out.n; i++) {
                uint8_t c = buf_span(&out).p[i];
                assert_true((c >= 0x20 && c != 0x7f) || c == '\t');
                assert_false(c == 0xc2 && buf_span(&out).p[i + 1] < 0xa0);
            }
            buf_free(&out);
        }
}

static void test_base64(void **state)
{
    static const char *const pairs[][2] = {{"", ""},
                                           {"f", "Zg=="},
                                           {"fo", "Zm8="},
                                           {"foo", "Zm9v"},
                                           {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="},
                                           {"foobar", "Zm9vYmFy"},
                                           {"\xff\xfe\xfb", "//77"}};
    static const char *const bad[] = {"Z",    "Zg",       "Zg=",   "Zg==\n", "Z===",    "====",
                                      "=g==", "Zg==Zg==", "Zm 8=", "Zm-_",   "Zm8=Zm8="};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++) {
        check(text_base64, span_str(pairs[i][0]), pairs[i][1]);
        check(text_base64_decode, span_str(pairs[i][1]), pairs[i][0]);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct buf out = BUF_INIT;
        assert_int_equal(buf_put_str(&out, "before"), ERR_OK);
        if (text_base64_decode(&out, span_str(bad[i])) != ERR_PARSE)
            fail_msg("'%s' was taken", bad[i]);
        assert_true(span_eq(buf_span(&out), SPAN("before")));
        buf_free(&out);
    }
    for (size_t n = 0; n < 100; n++) {
        uint8_t bytes[100];
        struct buf coded = BUF_INIT, plain = BUF_INIT;
        for (size_t i = 0; i < n; i++)
            bytes[i] = (uint8_t)(i * 37 + n);
        assert_int_equal(text_base64(&coded, span_of(bytes, n)), ERR_OK);
        assert_int_equal(text_base64_decode(&plain, buf_span(&coded)), ERR_OK);
        assert_true(span_eq(buf_span(&plain), span_of(bytes, n)));
        buf_free(&coded);
        buf_free(&plain);
    }
}

static void test_base64url(void **state)
{
    static const char *const pairs[][2] = {
        {"", ""},           {"f", "Zg"},          {"fo", "Zm8"},          {"foo", "Zm9v"},
        {"foob", "Zm9vYg"}, {"fooba", "Zm9vYmE"}, {"foobar", "Zm9vYmFy"}, {"\xff\xfe\xfb", "__77"},
        {"\xfb", "-w"}};
    static const char *const bad[] = {"Z",    "Zm9vY", "Zg==",  "Zm8=",  "=",     "Zh",    "Zm9",
                                      "Zm9/", "Zm9+",  "Zm 9v", "Zm9v ", "Zm9v,", "Zm9v\n"};
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(pairs); i++)
        check(text_base64url_decode, span_str(pairs[i][1]), pairs[i][0]);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct buf out = BUF_INIT;
        assert_int_equal(buf_put_str(&out, "before"), ERR_OK);
        if (text_base64url_decode(&out, span_str(bad[i])) != ERR_PARSE)
            fail_msg("'%s' was taken", bad[i]);
        assert_true(span_eq(buf_span(&out), SPAN("before")));
        buf_free(&out);
    }
    /* Where the alphabets agree and nothing is padded, so do the decoders. */
    for (size_t n = 0; n < 99; n += 3) {
        uint8_t bytes[99];
        struct buf coded = BUF_INIT, plain = BUF_INIT;
        for (size_t i = 0; i < n; i++)
            bytes[i] = (uint8_t)(i * 37 + n);
        assert_int_equal(text_base64(&coded, span_of(bytes, n)), ERR_OK);
        for (size_t i = 0; i < coded.n; i++)
            coded.p[coded.head + i] = coded.p[coded.head + i] == '+'   ? '-'
                                      : coded.p[coded.head + i] == '/' ? '_'
                                                                       : coded.p[coded.head + i];
        assert_int_equal(text_base64url_decode(&plain, buf_span(&coded)), ERR_OK);
        assert_true(span_eq(buf_span(&plain), span_of(bytes, n)));
        buf_free(&coded);
        buf_free(&plain);
    }
}

static void test_shell_words(void **state)
{
    static const char *const words[] = {"",   "plain", "a b", "it's", "$(rm -rf x)", "`x`", "a;b|c&d",     "*?[]",
                                        "~",  "a\nb",  "\"",  "\\",   "-n",          "#x",  "gr\xc3\xbcn", "a=b",
                                        "!x", "{a,b}", "''"};
    (void)state;
    check(text_shell_word, SPAN("plain-_./:@%+,=1"), "plain-_./:@%+,=1");
    check(text_shell_word, SPAN(""), "''");
    check(text_shell_word, SPAN("it's"), "'it'\\''s'");
    check(text_shell_word, SPAN("json:/a~0"), "'json:/a~0'");
    /* The shell itself is asked. */
    struct buf command = BUF_INIT, wanted = BUF_INIT;
    assert_int_equal(buf_put_str(&command, "printf '<%s>' "), ERR_OK);
    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        assert_int_equal(text_shell_word(&command, span_str(words[i])), ERR_OK);
        assert_int_equal(buf_put_byte(&command, ' '), ERR_OK);
        assert_int_equal(buf_printf(&wanted, "<%s>", words[i]), ERR_OK);
    }
    char got[512];
    FILE *shell = popen(buf_cstr(&command), "r");
    assert_non_null(shell);
    size_t n = fread(got, 1, sizeof got, shell);
    assert_int_equal(pclose(shell), 0);
    assert_true(span_eq(span_of(got, n), buf_span(&wanted)));
    buf_free(&command);
    buf_free(&wanted);
}

static void test_amounts(void **state)
{
    static const struct {
        uint64_t n;
        const char *text;
    } cases[] = {
        {0, "0 B"},
        {1, "1 B"},
        {999, "999 B"},
        {1000, "1.0 kB"},
        {1449, "1.4 kB"},
        {999499, "999.5 kB"},
        {999500, "1.0 MB"},
        {1200000, "1.2 MB"},
        {UINT64_C(2147483648), "2.1 GB"},
        {UINT64_MAX, "18.4 EB"},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf out = BUF_INIT;
        assert_int_equal(text_bytes(&out, cases[i].n), ERR_OK);
        if (!span_eq(buf_span(&out), span_str(cases[i].text)))
            fail_msg("%s instead of %s", buf_cstr(&out), cases[i].text);
        buf_free(&out);
    }
}

/* So that its memory fails, too. */
static enum err decode_digits(struct buf *out, struct span s)
{
    (void)s;
    return text_base64url_decode(out, SPAN("Zm9v"));
}

static void test_out_of_memory(void **state)
{
    static put_fn *const all[] = {text_json_string, text_escape_terminal, text_base64, text_shell_word, decode_digits};
    uint8_t bytes[2000];
    (void)state;
    for (size_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (uint8_t)i;
    for (size_t i = 0; i < ARRAY_LEN(all); i++) {
        enum err e = ERR_NOMEM;
        for (long n = 0; e == ERR_NOMEM; n++) {
            struct buf out = BUF_INIT;
            assert_true(n < 100);
            mem_fail_after(n);
            e = all[i](&out, span_of(bytes, sizeof bytes));
            mem_fail_after(-1);
            buf_free(&out);
        }
        assert_int_equal(e, ERR_OK);
    }
}

/* --- log --------------------------------------------------------------------------------------------------------- */

/* What one log_write() wrote. */
static size_t logged(struct log log, enum log_level level, const char *message, char *out, size_t size)
{
    int fds[2];
    assert_int_equal(pipe(fds), 0);
    log.fd = fds[1];
    log_write(&log, level, "tag", "%s", message);
    close(fds[1]);
    ssize_t n = read(fds[0], out, size - 1);
    assert_true(n >= 0);
    close(fds[0]);
    out[n] = 0;
    return (size_t)n;
}

static void test_log_lines(void **state)
{
    char line[4096];
    (void)state;
    const struct log all = {.level = LOG_DEBUG}, few = {.level = LOG_WARN};
    (void)logged(all, LOG_INFO, "hello", line, sizeof line);
    assert_string_equal(line, "ringtape: hello\n");
    (void)logged(all, LOG_ERROR, "bad", line, sizeof line);
    assert_string_equal(line, "ringtape: error: bad\n");
    (void)logged(all, LOG_WARN, "hm", line, sizeof line);
    assert_string_equal(line, "ringtape: warning: hm\n");
    assert_int_equal(logged(few, LOG_INFO, "hello", line, sizeof line), 0);
    assert_true(logged(few, LOG_WARN, "hello", line, sizeof line) > 0);
    (void)logged((struct log){.level = LOG_INFO, .over_status = true}, LOG_INFO, "x", line, sizeof line);
    assert_string_equal(line, "\r\033[Kringtape: x\n");
    log_write(NULL, LOG_ERROR, "tag", "nobody hears this");
}

/* Text from the wire: one line, no control byte, valid JSON. */
static void test_log_lines_are_harmless(void **state)
{
    static const char *const texts[] = {"a\nringtape: error: forged",
                                        "\033[2J\033]0;x\a",
                                        "\xff\xfe\x9b",
                                        "quote\" back\\slash",
                                        "%s%n",
                                        "\xe2\x80\xae"};
    char line[4096];
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        size_t n = logged((struct log){.level = LOG_INFO}, LOG_INFO, texts[i], line, sizeof line);
        assert_true(n > 0 && line[n - 1] == '\n');
        for (size_t k = 0; k + 1 < n; k++)
            assert_true((uint8_t)line[k] >= 0x20 && line[k] != 0x7f);
        assert_true(text_is_utf8(span_of(line, n)));
        n = logged((struct log){.level = LOG_INFO, .json = true}, LOG_WARN, texts[i], line, sizeof line);
        assert_int_equal(span_find(span_of(line, n), '\n'), n - 1);
        json_t *parsed = json_loadb(line, n, JSON_REJECT_DUPLICATES, NULL);
        assert_non_null(parsed);
        assert_int_equal(json_object_size(parsed), 4);
        assert_string_equal(json_string_value(json_object_get(parsed, "level")), "warning");
        assert_string_equal(json_string_value(json_object_get(parsed, "tag")), "tag");
        assert_int_equal(json_string_length(json_object_get(parsed, "time")), 24);
        if (text_is_utf8(span_str(texts[i])))
            assert_string_equal(json_string_value(json_object_get(parsed, "message")), texts[i]);
        json_decref(parsed);
    }
}

/* A long line is one write; without memory, or to a closed pipe, nothing happens. */
static void test_log_lines_that_fail(void **state)
{
    char message[3001], line[4096];
    (void)state;
    memset(message, 'm', 3000);
    message[3000] = 0;
    assert_int_equal(logged((struct log){.level = LOG_INFO}, LOG_INFO, message, line, sizeof line), 3011);
    for (long n = 0; n < 3; n++) {
        mem_fail_after(n);
        size_t written = logged((struct log){.level = LOG_INFO}, LOG_INFO, message, line, sizeof line);
        mem_fail_after(-1);
        assert_true(written == 0 || written == 3011);
    }
    log_write(&(struct log){.fd = -1, .level = LOG_INFO}, LOG_INFO, "tag", "x");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_utf8),
        cmocka_unit_test(test_json_strings),
        cmocka_unit_test(test_terminals),
        cmocka_unit_test(test_base64),
        cmocka_unit_test(test_base64url),
        cmocka_unit_test(test_shell_words),
        cmocka_unit_test(test_amounts),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_log_lines),
        cmocka_unit_test(test_log_lines_are_harmless),
        cmocka_unit_test(test_log_lines_that_fail),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
