/* test_older.c: tapes of earlier versions are read as they are. */
#include "gen/tape_1_sql.h"

#include "fixture.h"

#include <sqlite3.h>

static void make_tape_1(const char *path)
{
    static const char rows[] =
        "PRAGMA application_id=1381257265; PRAGMA user_version=1;"
        "INSERT INTO session (id, started_ns, ringtape_version, hash_key) VALUES (1, 5, '0.1.0', zeroblob(16));"
        "INSERT INTO flow (id, session, kind, started_ns, method, scheme, host, port, path, request_version, "
        "request_bytes, request_wire_bytes, response_bytes, response_wire_bytes, complete, answered, server_reused) "
        "VALUES (1, 1, 'tunnel', 5, 'CONNECT', '', 'a.test', 443, '', 'HTTP/1.1', 3, 3, 0, 0, 1, 0, 0);"
        "INSERT INTO message (flow, seq, at_ns, direction, kind, payload) VALUES (1, 0, 7, 'request', 'bytes', x'616263');";
    sqlite3 *db = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, tape_schema_1_sql, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, rows, NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_close(db), SQLITE_OK);
}

static void a_tape_of_version_1_is_read(void **state)
{
    (void)state;
    char room[PATH_MAX];
    const char *path = fixture_path(room, "one.tape");
    struct buf problem = BUF_INIT;
    struct tape *tape = NULL;
    struct tape_cursor *cursor = NULL;
    struct tape_message_cursor *messages = NULL;
    struct tape_flow flow;
    struct tape_message message;
    make_tape_1(path);
    assert_int_equal(tape_open(&tape, path, &problem), ERR_OK);
    assert_int_equal(tape_flows(tape, &(struct tape_query){.id = 1}, &cursor), ERR_OK);
    assert_int_equal(tape_flow_next(cursor, &flow), ERR_OK);
    assert_true(span_eq(flow.host, SPAN("a.test")));
    tape_cursor_close(&cursor);
    assert_int_equal(tape_messages(tape, 1, &messages), ERR_OK);
    assert_int_equal(tape_message_next(messages, &message), ERR_OK);
    assert_true(message.from_client && !message.more && message.wire_bytes == 3 && message.retry_ms == -1);
    assert_true(span_eq(message.payload, SPAN("abc")));
    assert_int_equal(tape_message_next(messages, &message), ERR_NOT_FOUND);
    tape_message_cursor_close(&messages);
    tape_close(&tape);
    buf_free(&problem);
    fixture_cleanup(path);
}

static void a_tape_of_version_1_gets_no_session(void **state)
{
    (void)state;
    char room[PATH_MAX];
    const char *path = fixture_path(room, "one.tape");
    struct buf problem = BUF_INIT;
    struct tape_writer *writer = NULL;
    make_tape_1(path);
    struct tape_writer_options options = {.path = path, .append = true, .version = "test"};
    assert_int_equal(tape_writer_open(&writer, &options, &problem), ERR_UNSUPPORTED);
    assert_true(span_search(buf_span(&problem), SPAN("older ringtape")) < problem.n);
    buf_free(&problem);
    struct tape *tape = NULL;
    assert_int_equal(tape_open(&tape, path, &problem), ERR_OK); /* unharmed */
    tape_close(&tape);
    buf_free(&problem);
    fixture_cleanup(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_tape_of_version_1_is_read),
        cmocka_unit_test(a_tape_of_version_1_gets_no_session),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
