/* test_formats.c: JSON lines, and the shell script: what a shell makes of it, with a curl that says what it was given. */
#include "export_fixture.h"

#include <sys/stat.h>
#include <sys/wait.h>

static void names_of_formats(void **state)
{
    enum har_format format;
    (void)state;
    assert_true(har_format_parse("har", &format) && format == HAR_FORMAT_HAR);
    assert_true(har_format_parse("jsonl", &format) && format == HAR_FORMAT_JSONL);
    assert_true(har_format_parse("curl", &format) && format == HAR_FORMAT_CURL);
    assert_false(har_format_parse("HAR", &format));
    assert_false(har_format_parse("", &format));
}

static void a_line_a_flow(void **state)
{
    static const char *const gzip[] = {"Content-Encoding", "gzip", "X-\xff", "1", NULL};
    char path[PATH_MAX];
    struct fixture f;
    struct buf out = BUF_INIT;
    (void)state;
    fixture_open(&f, fixture_path(path, "a.tape"));
    int64_t id = fixture_connection(&f, (struct tape_connection){.server = true,
                                                                 .peer = SPAN("192.0.2.1:80"),
                                                                 .dns_ns = -1,
                                                                 .connected_ns = 1000000,
                                                                 .tls_ns = -1,
                                                                 .closed_ns = -1});
    fixture_add(&f, &(struct fixture_flow){.path = "/\xff",
                                           .method = "POST",
                                           .request_body = "a\nb",
                                           .response_body = "\xff",
                                           .response_headers = gzip,
                                           .track = "t1",
                                           .server_connection = id});
    fixture_add(&f, &(struct fixture_flow){.no_response = true, .error = "reset: by peer", .response_end_ns = -1});
    fixture_close(&f);
    const char *text = export_text(path, (struct har_options){.format = HAR_FORMAT_JSONL}, &out);
    const char *second = strchr(text, '\n') + 1;
    assert_non_null(strchr(second, '\n'));
    assert_string_equal(strchr(second, '\n'), "\n");
    json_t *e = json_loads(text, JSON_DISABLE_EOF_CHECK, NULL);
    assert_non_null(e);
    assert_json(e, "id", "1");
    assert_json(e, "session", "1");
    assert_json(e, "track", "\"t1\"");
    assert_json(e, "started", "\"2026-01-01T00:00:00.000Z\"");
    assert_json(e, "url", "\"http://example.test/%FF\"");
    assert_json(e, "status", "200");
    assert_json(e, "request_headers", "[[\"Host\",\"example.test\"]]");
    assert_json(e, "request_body", "{\"bytes\":3,\"text\":\"a\\nb\"}");
    assert_json(e, "response_headers", "[[\"Content-Encoding\",\"gzip\"],[{\"base64\":\"WC3/\"},\"1\"]]");
    assert_json(e, "response_body",
                "{\"bytes\":1,\"comment\":\"as it came: Content-Encoding gzip could not be undone (it ends early)\","
                "\"base64\":\"/w==\"}");
    assert_json(e, "timings",
                "{\"blocked\":1,\"dns\":null,\"connect\":1,\"ssl\":null,\"send\":0,\"wait\":3,\"receive\":3}");
    assert_json(
        e, "server",
        "{\"connection\":1,\"reused\":false,\"address\":\"192.0.2.1:80\",\"tls\":null,\"cipher\":null,\"alpn\":null}");
    assert_json(e, "ttfb_ms", "5");
    assert_json(e, "total_ms", "8");
    assert_json(e, "complete", "true");
    assert_json(e, "error", "null");
    json_decref(e);
    e = json_loads(second, 0, NULL);
    assert_json(e, "status", "null");
    assert_json(e, "response_body", "null");
    assert_json(e, "response_headers", "[]");
    assert_json(e, "error", "\"reset: by peer\"");
    assert_json(e, "total_ms", "null");
    assert_json(e, "server", "null");
    json_decref(e);
    buf_free(&out);
    fixture_cleanup(path);
}

/* ---- the script ---- */

static void write_file(const char *path, const char *text, mode_t mode)
{
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_true(fputs(text, f) >= 0);
    assert_int_equal(fclose(f), 0);
    assert_int_equal(chmod(path, mode), 0);
}

/* Says each argument as <argument>, then its input in hexadecimal when an argument asks for it. */
static const char fake_curl[] = "#!/bin/sh\n"
                                "for a; do printf '<%s>' \"$a\"; done\n"
                                "case \"$*\" in *'--data-binary @-'*) od -An -v -tx1 | tr -d ' \\n' ;; esac\n"
                                "echo\n";

/* What the script of this flow, run by sh, calls curl with. */
static const char *run_script(const struct fixture_flow *flow, struct buf *script, struct buf *said)
{
    char path[PATH_MAX], command[3 * PATH_MAX], file[PATH_MAX + 16], piece[4096];
    struct fixture f;
    fixture_open(&f, fixture_path(path, "a.tape"));
    fixture_add(&f, flow);
    fixture_close(&f);
    buf_clear(script);
    buf_clear(said);
    const char *text = export_text(path, (struct har_options){.format = HAR_FORMAT_CURL}, script);
    assert_true(strncmp(text, "#!/bin/sh\n", 10) == 0);
    char *slash = strrchr(path, '/');
    *slash = '\0';
    (void)snprintf(file, sizeof file, "%s/script", path);
    write_file(file, text, 0700);
    (void)snprintf(file, sizeof file, "%s/curl", path);
    write_file(file, fake_curl, 0700);
    (void)snprintf(command, sizeof command, "cd '%s' && PATH='%s':/usr/bin:/bin sh ./script 2>&1 </dev/null", path,
                   path);
    FILE *p = popen(command, "r");
    assert_non_null(p);
    for (size_t n; (n = fread(piece, 1, sizeof piece, p)) > 0;)
        assert_int_equal(buf_put(said, span_of(piece, n)), ERR_OK);
    assert_int_equal(pclose(p), 0);
    *slash = '/';
    fixture_cleanup(path);
    return buf_cstr(said);
}

#define CURL      "<--silent><--show-error><--globoff><--path-as-is>"
#define NO_AGENT  "<--header><User-Agent:>"
#define NO_ACCEPT "<--header><Accept:>"
#define NO_EXPECT "<--header><Expect:>"
#define NO_TYPE   "<--header><Content-Type:>"

static void commands_of_a_shell(void **state)
{
    static const char *const plain[] = {"Host",
                                        "example.test",
                                        "User-Agent",
                                        "x y",
                                        "Accept",
                                        "*/*",
                                        "Accept-Encoding",
                                        "gzip",
                                        "X-Empty",
                                        "",
                                        "Connection",
                                        "keep-alive, X-Hop",
                                        "X-Hop",
                                        "1",
                                        "Content-Length",
                                        "9",
                                        NULL};
    static const char *const nasty[] = {"Host",       "other.test",
                                        "X-A",        "'; touch pwned; echo '$(touch pwned)`touch pwned`",
                                        "@file",      "x",
                                        "User-Agent", "\xe9\"\\",
                                        "Accept",     "@/etc/passwd",
                                        NULL};
    static const struct {
        struct fixture_flow flow;
        const char *said;
    } cases[] = {
        {{.path = "/a?b=[1]&c={x}", .request_headers = plain},
         CURL "<--header><User-Agent: x y><--header><Accept: */*><--header><Accept-Encoding: gzip><--header><X-Empty;>"
              "<--url><http://example.test/a?b=[1]&c={x}>\n"},
        {{.path = "/'$(touch pwned)", .request_headers = nasty},
         CURL
         "<--header><Host: other.test><--header><X-A: '; touch pwned; echo '$(touch pwned)`touch pwned`>"
         "<--header><User-Agent: \xe9\"\\><--header><Accept: @/etc/passwd><--url><http://example.test/'$(touch%20pwned)>\n"},
        {{.method = "HEAD"}, CURL "<--head>" NO_AGENT NO_ACCEPT "<--url><http://example.test/>\n"},
        {{.method = "OPTIONS", .path = "*"},
         CURL "<--request><OPTIONS><--request-target><*>" NO_AGENT NO_ACCEPT "<--url><http://example.test/*>\n"},
        {{.method = "POST", .request_body = "@it's\n$HOME\n"},
         CURL NO_AGENT NO_ACCEPT NO_TYPE NO_EXPECT "<--data-raw><@it's\n$HOME\n><--url><http://example.test/>\n"},
        {{.method = "PUT", .request_body = "\0%s\\n'\xff\n", .request_body_n = 8},
         CURL "<--request><PUT>" NO_AGENT NO_ACCEPT NO_TYPE NO_EXPECT
              "<--data-binary><@-><--url><http://example.test/>0025735c6e27ff0a\n"},
        {{.method = "CONNECT", .path = "", .kind = "tunnel"}, ""},
        {{.method = "CONNECT", .path = ""}, ""},
        {{.method = "GET x"}, ""},
        {{.kind = "websocket", .status = 101}, ""},
        {{.request_body = "a", .incomplete = true, .request_end_ns = -1}, ""},
    };
    struct buf script = BUF_INIT, said = BUF_INIT;
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        assert_string_equal(run_script(&cases[i].flow, &script, &said), cases[i].said);
    buf_free(&script);
    buf_free(&said);
}

/* Every byte, in an order that breaks up what belongs together, through a pipe of more than one printf. */
static void bytes_through_a_pipe(void **state)
{
    enum { BYTES = 20000 };
    struct buf script = BUF_INIT, said = BUF_INIT, hex = BUF_INIT;
    uint8_t *body = malloc(BYTES);
    assert_non_null(body);
    (void)state;
    for (size_t i = 0; i < BYTES; i++) {
        body[i] = (uint8_t)(i * 7 + i / 256);
        assert_int_equal(buf_printf(&hex, "%02x", body[i]), ERR_OK);
    }
    assert_int_equal(buf_put_byte(&hex, '\n'), ERR_OK);
    const char *text =
        run_script(&(struct fixture_flow){.method = "POST", .request_body = body, .request_body_n = BYTES}, &script,
                   &said);
    const char *found = strstr(text, "<http://example.test/>");
    assert_non_null(found);
    assert_string_equal(found + strlen("<http://example.test/>"), buf_cstr(&hex));
    free(body);
    buf_free(&script);
    buf_free(&said);
    buf_free(&hex);
}

static void comments_stay_comments(void **state)
{
    static const char *const trailers[] = {"X-Sum", "1", NULL};
    struct buf script = BUF_INIT, said = BUF_INIT;
    (void)state;
    assert_string_equal(run_script(&(struct fixture_flow){.kind = "x\ntouch pwned",
                                                          .error = "a\r\necho pwned\x1b[2J",
                                                          .request_trailers = trailers},
                                   &script, &said),
                        "");
    const char *text = buf_cstr(&script);
    assert_non_null(strstr(text, "# flow 1: GET http://example.test/ -> 200\n"));
    assert_non_null(strstr(text, "# it failed then: a\\x0d\\x0aecho pwned\\x1b[2J\n"));
    assert_non_null(strstr(text, "# left out: curl cannot repeat a flow of kind x\\x0atouch pwned\n"));
    buf_free(&script);
    buf_free(&said);
}

/* Allocation failure is an error, not a crash, and leaks nothing. */
static void out_of_memory(void **state)
{
    static const char *const request[] = {"Content-Type", "application/x-www-form-urlencoded", "Cookie", "a=b", NULL};
    static const char *const response[] = {"Content-Type", "text/html", "Content-Encoding", "gzip", "X", "\xff", NULL};
    char path[PATH_MAX];
    struct fixture f;
    (void)state;
    fixture_open(&f, fixture_path(path, "a.tape"));
    fixture_add(&f, &(struct fixture_flow){.method = "POST",
                                           .path = "/?a=%20",
                                           .request_headers = request,
                                           .request_body = "a=b",
                                           .response_headers = response,
                                           .response_body = "zzz",
                                           .error = "x: y"});
    fixture_close(&f);
    struct tape *tape = open_tape(path);
    for (int format = HAR_FORMAT_HAR; format <= HAR_FORMAT_CURL; format++) {
        enum err e = ERR_NOMEM;
        for (long n = 0; e == ERR_NOMEM && n < 1000; n++) {
            struct har_result result;
            struct buf out = BUF_INIT;
            uint8_t *room;
            assert_int_equal(buf_reserve(&out, 65536, &room), ERR_OK);
            mem_fail_after(n);
            e = har_export(tape,
                           &(struct har_options){.format = (enum har_format)format, .version = "1", .pages = true},
                           &(struct har_sink){keep, &out}, &result);
            mem_fail_after(-1);
            buf_free(&out);
        }
        assert_int_equal(e, ERR_OK);
    }
    tape_close(&tape);
    fixture_cleanup(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_of_formats),       cmocka_unit_test(a_line_a_flow),
        cmocka_unit_test(commands_of_a_shell),    cmocka_unit_test(bytes_through_a_pipe),
        cmocka_unit_test(comments_stay_comments), cmocka_unit_test(out_of_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
