/* test_tape.c: what the writer wrote, the reader and SQL give back; what is no tape is refused with a sentence. */
#include "fixture.h"

#include <fcntl.h>
#include <sqlite3.h>
#include <sys/stat.h>

static void say_contains(const struct buf *problem, const char *wanted)
{
    if (span_search(buf_span(problem), span_str(wanted)) == problem->n)
        fail_msg("'%.*s' does not say '%s'", (int)problem->n, (const char *)buf_span(problem).p, wanted);
}

static struct tape *open_tape(const char *path)
{
    struct buf problem = BUF_INIT;
    struct tape *tape = NULL;
    enum err e = tape_open(&tape, path, &problem);
    if (e)
        fail_msg("%s: %.*s", err_word(e), (int)problem.n, (const char *)buf_span(&problem).p);
    buf_free(&problem);
    return tape;
}

static void assert_text(struct span s, const char *wanted)
{
    if (!span_eq(s, span_str(wanted)))
        fail_msg("'%.*s' is not '%s'", (int)s.n, (const char *)s.p, wanted);
}

/* The first column of the first row, as text, as any program with SQLite sees it. */
static void assert_sql(const char *path, const char *sql, const char *wanted)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *s = NULL;
    assert_int_equal(sqlite3_open_v2(path, &db, SQLITE_OPEN_READONLY, NULL), SQLITE_OK);
    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    int rc = sqlite3_step(s);
    if (rc != SQLITE_ROW)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    const char *text = (const char *)sqlite3_column_text(s, 0);
    if (!wanted ? text != NULL : !text || strcmp(text, wanted) != 0)
        fail_msg("%s: '%s' is not '%s'", sql, text ? text : "null", wanted ? wanted : "null");
    (void)sqlite3_finalize(s);
    (void)sqlite3_close(db);
}

static void run_sql(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    if (sqlite3_exec(db, sql, NULL, NULL, NULL) != SQLITE_OK)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    (void)sqlite3_close(db);
}

static enum err flow_get(struct tape *tape, int64_t id, struct tape_flow *out, struct tape_cursor **cursor)
{
    assert_int_equal(tape_flows(tape, &(struct tape_query){.id = id}, cursor), ERR_OK);
    return tape_flow_next(*cursor, out);
}

static int64_t add_a_flow(struct fixture *f)
{
    static const char *const request[] = {"Host", "example.test", "X-A", "1", "x-a", "\"2\"\t\\", NULL};
    static const char *const response[] = {"Content-Type",
                                           "Text/HTML; charset=utf-8",
                                           "Content-Encoding",
                                           "GZIP",
                                           "Set-Cookie",
                                           "a",
                                           "Set-Cookie",
                                           "b",
                                           NULL};
    static const char *const trailers[] = {"X-Sum", "9", NULL};
    return fixture_add(f, &(struct fixture_flow){
                              .method = "POST",
                              .port = 443,
                              .path = "/a?b=c%20d",
                              .request_headers = request,
                              .request_body = "question",
                              .status = 404,
                              .reason = "Not Found",
                              .response_headers = response,
                              .response_trailers = trailers,
                              .response_body = "ans\0wer",
                              .response_body_n = 7,
                              .track = "t1",
                              .informational = "[[103,\"Early Hints\",[[\"Link\",\"</a>\"]],1000000]]",
                          });
}

static void check_a_flow_in_sql(const char *path)
{
    assert_sql(path, "SELECT url FROM flows", "https://example.test/a?b=c%20d");
    assert_sql(path, "SELECT mime FROM flows", "text/html");
    assert_sql(path, "SELECT started FROM flows", "2026-01-01T00:00:00.000Z");
    assert_sql(path, "SELECT total_ms FROM flows", "8.0");
    assert_sql(path, "SELECT encoding FROM bodies WHERE side = 'response'", "gzip");
    assert_sql(path, "SELECT hex(content) FROM bodies WHERE side = 'response'", "616E7300776572");
    assert_sql(path, "SELECT group_concat(value) FROM headers WHERE side = 'response' AND name = 'Set-Cookie'", "a,b");
    assert_sql(path, "SELECT value FROM headers WHERE side = 'request' AND seq = 2", "\"2\"\t\\");
    assert_sql(path, "SELECT value FROM headers WHERE trailer = 1", "9");
    assert_sql(path, "PRAGMA integrity_check", "ok");
    assert_sql(path, "PRAGMA journal_mode", "delete");
    assert_sql(path, "PRAGMA application_id", "1381257265");
    assert_sql(path, "PRAGMA user_version", "2");
}

static void a_flow_comes_back(void **state)
{
    char path[PATH_MAX];
    struct fixture f;
    struct tape_flow flow;
    struct tape_cursor *cursor = NULL;
    struct headers h = HEADERS_INIT;
    struct buf body = BUF_INIT;
    (void)state;
    fixture_open(&f, fixture_path(path, "a.tape"));
    int64_t id = add_a_flow(&f);
    fixture_close(&f);

    struct tape *tape = open_tape(path);
    assert_int_equal(flow_get(tape, id, &flow, &cursor), ERR_OK);
    assert_text(flow.method, "POST");
    assert_text(flow.scheme, "https");
    assert_text(flow.host, "example.test");
    assert_text(flow.path, "/a?b=c%20d");
    assert_text(flow.track, "t1");
    assert_text(flow.kind, "http");
    assert_text(flow.reason, "Not Found");
    assert_text(flow.response_version, "HTTP/1.1");
    assert_text(flow.informational, "[[103,\"Early Hints\",[[\"Link\",\"</a>\"]],1000000]]");
    assert_int_equal(flow.port, 443);
    assert_int_equal(flow.status, 404);
    assert_true(flow.complete);
    assert_false(flow.answered);
    assert_int_equal(flow.response_begin_ns, 5000000);
    assert_int_equal(flow.request_body.bytes, 8);
    assert_int_equal(flow.response_body.wire_bytes, 7);
    assert_int_equal(tape_headers(flow.request_headers, &h), ERR_OK);
    assert_int_equal(h.n, 3);
    assert_text(headers_at(&h, 2).name, "x-a");
    assert_text(headers_at(&h, 2).value, "\"2\"\t\\");
    assert_int_equal(tape_headers(flow.response_headers, &h), ERR_OK);
    assert_int_equal(h.n, 4);
    assert_int_equal(tape_headers(flow.response_trailers, &h), ERR_OK);
    assert_text(headers_at(&h, 0).value, "9");
    assert_int_equal(tape_headers(flow.request_trailers, &h), ERR_OK);
    assert_int_equal(h.n, 0);
    assert_int_equal(tape_body_read(tape, &flow.response_body, 100, &body), ERR_OK);
    assert_memory_equal(buf_span(&body).p, "ans\0wer", 7);
    assert_int_equal(tape_body_read(tape, &flow.response_body, 6, &body), ERR_LIMIT);
    tape_cursor_close(&cursor);
    assert_int_equal(flow_get(tape, id + 1, &flow, &cursor), ERR_NOT_FOUND);
    tape_cursor_close(&cursor);
    tape_close(&tape);
    headers_free(&h);
    buf_free(&body);

    check_a_flow_in_sql(path);
    fixture_cleanup(path);
}

static void the_views_have_the_promised_columns(void **state)
{
    char path[PATH_MAX];
    struct fixture f;
    (void)state;
    fixture_open(&f, fixture_path(path, "a.tape"));
    fixture_close(&f);
    assert_sql(
        path, "SELECT group_concat(name, ' ') FROM pragma_table_info('flows')",
        "id session track started method scheme host port path url http_version status reason mime request_bytes response_bytes "
        "ttfb_ms total_ms complete error kind");
    assert_sql(path, "SELECT group_concat(name, ' ') FROM pragma_table_info('headers')",
               "flow side trailer seq name value");
    assert_sql(path, "SELECT group_concat(name, ' ') FROM pragma_table_info('bodies')",
               "flow side encoding bytes content");
    assert_sql(path, "SELECT ended IS NOT NULL FROM sessions", "1");
    fixture_cleanup(path);
}

static void urls_are_written_as_people_do(void **state)
{
    char path[PATH_MAX];
    struct fixture f;
    (void)state;
    fixture_open(&f, fixture_path(path, "a.tape"));
    fixture_add(&f, &(struct fixture_flow){.host = "::1", .port = 8080});
    fixture_add(&f,
                &(struct fixture_flow){.method = "CONNECT", .scheme = "", .path = "", .port = 443, .kind = "tunnel"});
    fixture_add(&f, &(struct fixture_flow){.scheme = "http", .port = 443, .path = "/x"});
    fixture_add(&f, &(struct fixture_flow){.method = "OPTIONS", .path = "*"});
    fixture_close(&f);
    assert_sql(path, "SELECT url FROM flows WHERE id = 1", "http://[::1]:8080/");
    assert_sql(path, "SELECT url FROM flows WHERE id = 2", "example.test:443");
    assert_sql(path, "SELECT url FROM flows WHERE id = 3", "http://example.test:443/x");
    fixture_cleanup(path);
}

static void bytes_that_are_not_utf8_come_back(void **state)
{
    char path[PATH_MAX];
    struct fixture f;
    struct tape_flow flow;
    struct tape_cursor *cursor = NULL;
    struct headers h = HEADERS_INIT;
    (void)state;
    static const char *const headers[] = {"X-Latin", "caf\xe9", "X-\xff", "\xc3\xa9", NULL};
    fixture_open(&f, fixture_path(path, "a.tape"));
    fixture_add(&f,
                &(struct fixture_flow){
                    .path = "/\xff\xfe?\xc3\xa9", .reason = "\xe9t\xe9", .request_headers = headers, .track = "\x80"});
    fixture_close(&f);
    struct tape *tape = open_tape(path);
    assert_int_equal(flow_get(tape, 1, &flow, &cursor), ERR_OK);
    assert_text(flow.path, "/\xff\xfe?\xc3\xa9");
    assert_text(flow.reason, "\xe9t\xe9");
    assert_text(flow.track, "\x80");
    assert_int_equal(tape_headers(flow.request_headers, &h), ERR_OK);
    assert_text(headers_at(&h, 0).value, "caf\xe9");
    assert_text(headers_at(&h, 1).name, "X-\xff");
    assert_text(headers_at(&h, 1).value, "\xc3\xa9");
    tape_cursor_close(&cursor);
    tape_close(&tape);
    headers_free(&h);
    assert_sql(path, "SELECT url FROM flows", "http://example.test/\\xff\\xfe?\xc3\xa9");
    assert_sql(path, "SELECT value FROM headers WHERE seq = 0", "{\"base64\":\"Y2Fm6Q==\"}");
    fixture_cleanup(path);
}

static void equal_things_are_stored_once(void **state)
{
    char path[PATH_MAX];
    struct fixture f;
    (void)state;
    size_t n = 300000;
    char *large = malloc(n);
    assert_non_null(large);
    memset(large, 'x', n);
    fixture_path(path, "a.tape");
    for (int session = 0; session < 2; session++) {
        fixture_open(&f, path);
        for (int i = 0; i < 10; i++) {
            fixture_add(&f, &(struct fixture_flow){.response_body = "equal"});
            fixture_add(&f, &(struct fixture_flow){
                                .response_body = large, .response_body_n = n, .response_chunk = i ? 30000 : 65536});
        }
        fixture_close(&f);
    }
    assert_sql(path, "SELECT count(*) FROM body WHERE content = CAST('equal' AS BLOB)", "1");
    assert_sql(path, "SELECT count(*) FROM header_block", "4"); /* two in each session */
    assert_sql(
        path,
        "SELECT sum(length(content)) FROM chunk WHERE body IN (SELECT id FROM body WHERE bytes = 300000 AND id < 12)",
        "300000");
    assert_sql(path, "SELECT count(DISTINCT content) FROM bodies", "2");

    struct tape *tape = open_tape(path);
    struct tape_flow flow;
    struct tape_cursor *cursor = NULL;
    struct tape_body *body = NULL;
    struct span piece;
    int64_t at_ns;
    assert_int_equal(flow_get(tape, 4, &flow, &cursor), ERR_OK);
    assert_int_equal(tape_body_open(tape, &flow.response_body, &body), ERR_OK);
    size_t got = 0, pieces = 0;
    enum err e;
    while ((e = tape_body_next(body, &piece, &at_ns)) == ERR_OK) {
        /* Its own times, though the bytes are another's. */
        assert_int_equal(at_ns, 5000000 + (int64_t)(got / 30000) * 1000000);
        assert_memory_equal(piece.p, large, piece.n);
        got += piece.n;
        pieces++;
    }
    assert_int_equal(e, ERR_NOT_FOUND);
    assert_int_equal(got, n);
    assert_true(pieces >= 10);
    tape_body_close(&body);
    tape_cursor_close(&cursor);
    tape_close(&tape);
    free(large);
    fixture_cleanup(path);
}

static void flows_come_in_the_order_asked_for(void **state)
{
    char path[PATH_MAX];
    struct fixture f;
    (void)state;
    fixture_path(path, "a.tape");
    fixture_open(&f, path);
    for (uint64_t i = 0; i < 5; i++)
        fixture_add(&f, &(struct fixture_flow){.started_ns = FIXTURE_STARTED_NS - i});
    fixture_close(&f);
    fixture_open(&f, path);
    fixture_add(&f, &(struct fixture_flow){.path = "/second"});
    fixture_close(&f);
    struct tape *tape = open_tape(path);
    static const struct {
        struct tape_query query;
        const char *wanted;
    } cases[] = {
        {{.id = 0}, "123456"},
        {{.by_start = true}, "543216"},
        {{.session = 1}, "12345"},
        {{.session = 2}, "6"},
        {{.session = 1, .by_start = true}, "54321"},
        {{.id = 3, .by_start = true}, "3"},
        {{.session = 9}, ""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char got[16] = "";
        struct tape_cursor *cursor = NULL;
        struct tape_flow flow;
        assert_int_equal(tape_flows(tape, &cases[i].query, &cursor), ERR_OK);
        while (tape_flow_next(cursor, &flow) == ERR_OK)
            got[strlen(got)] = (char)('0' + flow.id);
        tape_cursor_close(&cursor);
        assert_string_equal(got, cases[i].wanted);
    }
    int64_t count = 0, after = 0;
    struct tape_session session;
    assert_int_equal(tape_count_flows(tape, &count), ERR_OK);
    assert_int_equal(count, 6);
    assert_int_equal(tape_session_next(tape, &after, &session), ERR_OK);
    assert_int_equal(session.flows, 5);
    assert_true(session.ended_ns >= session.started_ns && session.started_ns > 0);
    assert_text(session.ringtape_version, "test");
    assert_int_equal(tape_session_next(tape, &after, &session), ERR_OK);
    assert_int_equal(tape_session_next(tape, &after, &session), ERR_NOT_FOUND);
    tape_close(&tape);
    fixture_cleanup(path);
}

static void connections_and_messages_come_back(void **state)
{
    char path[PATH_MAX];
    struct fixture f;
    struct tape_connection c;
    (void)state;
    fixture_open(&f, fixture_path(path, "a.tape"));
    fixture_connection(
        &f, (struct tape_connection){
                .peer = SPAN("127.0.0.1:4"), .dns_ns = -1, .connected_ns = -1, .tls_ns = -1, .closed_ns = -1});
    int64_t id = fixture_connection(&f, (struct tape_connection){
                                            .server = true,
                                            .peer = SPAN("192.0.2.1:443"),
                                            .host = SPAN("a.test"),
                                            .port = 443,
                                            .sni = SPAN("a.test"),
                                            .alpn = SPAN("http/1.1"),
                                            .tls_version = SPAN("TLSv1.3"),
                                            .tls_cipher = SPAN("TLS_AES_128_GCM_SHA256"),
                                            .tls_resumed = true,
                                            .chain = SPAN("\0\0\0\1x"),
                                            .dns_ns = 1,
                                            .connected_ns = 2,
                                            .tls_ns = 3,
                                            .closed_ns = -1,
                                            .error = SPAN("reset: gone"),
                                        });
    static const struct fixture_message messages[] = {{.from_client = true, .payload = "hi", .at_ns = 1},
                                                      {.payload = "a\0b", .n = 3, .at_ns = 2}};
    fixture_add(
        &f, &(struct fixture_flow){.kind = "tunnel", .messages = messages, .messages_n = 2, .server_connection = id});
    fixture_close(&f);
    struct tape *tape = open_tape(path);
    assert_int_equal(tape_connection(tape, id, &c), ERR_OK);
    assert_true(c.server && c.tls_resumed);
    assert_text(c.alpn, "http/1.1");
    assert_text(c.error, "reset: gone");
    assert_int_equal(c.chain.n, 5);
    assert_int_equal(c.tls_ns, 3);
    assert_int_equal(c.closed_ns, -1);
    assert_int_equal(tape_connection(tape, 99, &c), ERR_NOT_FOUND);
    int64_t after = 0;
    assert_int_equal(tape_connection_next(tape, &after, &c), ERR_OK);
    assert_int_equal(c.id, id);
    assert_int_equal(tape_connection_next(tape, &after, &c), ERR_NOT_FOUND);
    struct tape_message_cursor *cursor = NULL;
    struct tape_message message;
    assert_int_equal(tape_messages(tape, 1, &cursor), ERR_OK);
    assert_int_equal(tape_message_next(cursor, &message), ERR_OK);
    assert_true(message.from_client);
    assert_int_equal(tape_message_next(cursor, &message), ERR_OK);
    assert_int_equal(message.payload.n, 3);
    assert_int_equal(tape_message_next(cursor, &message), ERR_NOT_FOUND);
    tape_message_cursor_close(&cursor);
    tape_close(&tape);
    fixture_cleanup(path);
}

/* --- what is no tape --------------------------------------------------------------------------------------------- */

static void refuse(const char *path, enum err wanted, const char *words)
{
    struct buf problem = BUF_INIT;
    struct tape *tape = NULL;
    enum err e = tape_open(&tape, path, &problem);
    if (e != wanted)
        fail_msg("%s instead of %s: %.*s", err_word(e), err_word(wanted), (int)problem.n,
                 (const char *)buf_span(&problem).p);
    assert_null(tape);
    say_contains(&problem, words);
    buf_free(&problem);
}

static void write_file(const char *path, const void *bytes, size_t n)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    (void)fclose(file);
}

static void other_files_are_refused(void **state)
{
    char path[PATH_MAX];
    (void)state;
    fixture_path(path, "a.tape");
    refuse(path, ERR_NOT_FOUND, "not found");
    write_file(path, "", 0);
    refuse(path, ERR_NOT_TAPE, "empty");
    write_file(path, "hello\n", 6);
    refuse(path, ERR_NOT_TAPE, "not a tape");
    char text[5000];
    memset(text, 'a', sizeof text);
    write_file(path, text, sizeof text);
    refuse(path, ERR_NOT_TAPE, "not a tape");
    (void)unlink(path);
    run_sql(path, "CREATE TABLE t(a)");
    refuse(path, ERR_NOT_TAPE, "another kind");
    *strrchr(path, '/') = '\0';
    refuse(path, ERR_NOT_TAPE, "folder");
    path[strlen(path)] = '/';
    fixture_cleanup(path);
}

static void damaged_and_foreign_tapes_are_refused(void **state)
{
    static const struct {
        const char *sql;
        enum err wanted;
        const char *words;
    } cases[] = {
        {"PRAGMA user_version=3", ERR_TAPE_NEWER, "newer ringtape"},
        {"PRAGMA user_version=1", ERR_CORRUPT, "not as they should be"},
        {"PRAGMA user_version=0", ERR_NOT_TAPE, "not a tape"},
        {"CREATE TRIGGER t AFTER INSERT ON flow BEGIN SELECT 1; END", ERR_NOT_TAPE, "triggers"},
        {"CREATE VIEW v AS SELECT 1", ERR_NOT_TAPE, "views"},
        {"CREATE VIRTUAL TABLE v USING fts5(a)", ERR_NOT_TAPE, "other objects"},
        {"DROP TABLE message", ERR_CORRUPT, ".dump"},
        {"DROP VIEW flows; CREATE VIEW flows AS SELECT 1 AS id", ERR_CORRUPT, ".dump"},
        {"ALTER TABLE flow ADD COLUMN more TEXT", ERR_CORRUPT, ".dump"},
        {"CREATE INDEX by_host ON flow(host); CREATE TABLE notes(a); ANALYZE", ERR_OK, ""},
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char path[PATH_MAX];
        struct fixture f;
        fixture_open(&f, fixture_path(path, "a.tape"));
        fixture_add(&f, &(struct fixture_flow){.path = "/"});
        fixture_close(&f);
        run_sql(path, cases[i].sql);
        if (cases[i].wanted)
            refuse(path, cases[i].wanted, cases[i].words);
        else {
            struct tape *tape = open_tape(path);
            tape_close(&tape);
        }
        fixture_cleanup(path);
    }
}

static void truncated_tapes_are_refused(void **state)
{
    char path[PATH_MAX];
    struct fixture f;
    struct stat st;
    (void)state;
    fixture_open(&f, fixture_path(path, "a.tape"));
    fixture_add(&f, &(struct fixture_flow){.path = "/"});
    fixture_close(&f);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(truncate(path, st.st_size - 1), 0);
    refuse(path, ERR_CORRUPT, ".dump");
    assert_int_equal(truncate(path, st.st_size / 2), 0);
    refuse(path, ERR_CORRUPT, ".dump");
    fixture_cleanup(path);
}

static void rows_that_make_no_sense_are_corrupt(void **state)
{
    static const char *const cases[] = {
        "UPDATE flow SET port = 99999",        "UPDATE flow SET status = -1",
        "UPDATE flow SET response_bytes = -5", "UPDATE flow SET reason = 'a' || char(13, 10) || 'X: y'",
        "UPDATE flow SET raw = '[[\"path\"'",  "UPDATE flow SET path = CAST(x'2f00' AS TEXT)",
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char path[PATH_MAX];
        struct fixture f;
        struct tape_flow flow;
        struct tape_cursor *cursor = NULL;
        fixture_open(&f, fixture_path(path, "a.tape"));
        fixture_add(&f, &(struct fixture_flow){.path = "/"});
        fixture_close(&f);
        run_sql(path, cases[i]);
        struct tape *tape = open_tape(path);
        assert_int_equal(flow_get(tape, 1, &flow, &cursor), ERR_CORRUPT);
        assert_non_null(strstr(tape_problem(tape), ".dump"));
        tape_cursor_close(&cursor);
        tape_close(&tape);
        fixture_cleanup(path);
    }
}

static void contents_that_make_no_sense_are_corrupt(void **state)
{
    static const char *const cases[] = {
        "UPDATE body SET bytes = 4",        "UPDATE body SET bytes = 400",    "DELETE FROM body",
        "UPDATE body SET same_as = id + 7", "UPDATE body SET content = NULL", "UPDATE body SET bytes = -1",
    };
    (void)state;
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char path[PATH_MAX];
        struct fixture f;
        struct buf out = BUF_INIT;
        fixture_open(&f, fixture_path(path, "a.tape"));
        fixture_add(&f, &(struct fixture_flow){.response_body = "hello"});
        fixture_close(&f);
        run_sql(path, cases[i]);
        struct tape *tape = open_tape(path);
        assert_int_equal(tape_body_read(tape, &(struct tape_body_ref){.id = 1}, 1000, &out), ERR_CORRUPT);
        tape_close(&tape);
        buf_free(&out);
        fixture_cleanup(path);
    }
}

/* As after kill -9: the log is still there and nobody has it open. */
static void a_log_that_was_left_is_read(void **state)
{
    char path[PATH_MAX], copy[PATH_MAX], from[PATH_MAX + 8], to[PATH_MAX + 8];
    struct fixture f;
    int64_t count = 0;
    (void)state;
    fixture_path(path, "a.tape");
    fixture_path(copy, "b.tape");
    fixture_open(&f, path);
    fixture_add(&f, &(struct fixture_flow){.path = "/"});
    assert_int_equal(tape_writer_commit(f.writer), ERR_OK);
    char *first = malloc(1 << 20);
    assert_non_null(first);
    size_t first_n = 0;
    for (int i = 0; i < 2; i++) {
        char bytes[1 << 20];
        (void)snprintf(from, sizeof from, "%s%s", path, i ? "-wal" : "");
        (void)snprintf(to, sizeof to, "%s%s", copy, i ? "-wal" : "");
        FILE *file = fopen(from, "rb");
        assert_non_null(file);
        size_t n = fread(bytes, 1, sizeof bytes, file);
        (void)fclose(file);
        write_file(to, bytes, n);
        if (i == 0) {
            memcpy(first, bytes, n);
            first_n = n;
        }
    }
    fixture_close(&f);
    (void)snprintf(from, sizeof from, "%s", copy);
    *strrchr(from, '/') = '\0';
    /* The first time (unless this runs as root) the folder cannot be written, the last time somebody has lost the log. */
    for (int i = 0; i < 3; i++) {
        assert_int_equal(chmod(from, i == 1 ? 0700 : 0500), 0);
        struct tape *tape = open_tape(copy);
        assert_int_equal(tape_count_flows(tape, &count), ERR_OK);
        assert_int_equal(count, i < 2);
        tape_close(&tape);
        assert_int_equal(chmod(from, 0700), 0);
        (void)unlink(i == 1 ? to : "");
        if (i == 1)
            write_file(copy, first, first_n);
    }
    free(first);
    fixture_cleanup(copy);
    fixture_cleanup(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_flow_comes_back),
        cmocka_unit_test(the_views_have_the_promised_columns),
        cmocka_unit_test(urls_are_written_as_people_do),
        cmocka_unit_test(bytes_that_are_not_utf8_come_back),
        cmocka_unit_test(equal_things_are_stored_once),
        cmocka_unit_test(flows_come_in_the_order_asked_for),
        cmocka_unit_test(connections_and_messages_come_back),
        cmocka_unit_test(other_files_are_refused),
        cmocka_unit_test(damaged_and_foreign_tapes_are_refused),
        cmocka_unit_test(truncated_tapes_are_refused),
        cmocka_unit_test(rows_that_make_no_sense_are_corrupt),
        cmocka_unit_test(contents_that_make_no_sense_are_corrupt),
        cmocka_unit_test(a_log_that_was_left_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
