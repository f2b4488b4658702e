/* test_recorder.c: what goes past the tap is on the tape, whatever happens to the flow, to the tape and to the program. */
#include "drive.h"

#include "base/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <sqlite3.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>

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

struct opened {
    struct tape *tape;
    struct tape_cursor *cursor;
    struct tape_flow flow;
};

static void open_flow(struct opened *o, const char *path, int64_t id)
{
    struct buf problem = BUF_INIT;
    enum err e = tape_open(&o->tape, path, &problem);
    if (e)
        fail_msg("%s: %.*s", err_word(e), (int)problem.n, (const char *)buf_span(&problem).p);
    buf_free(&problem);
    assert_int_equal(tape_flows(o->tape, &(struct tape_query){.id = id}, &o->cursor), ERR_OK);
    assert_int_equal(tape_flow_next(o->cursor, &o->flow), ERR_OK);
}

static void close_flow(struct opened *o)
{
    tape_cursor_close(&o->cursor);
    tape_close(&o->tape);
}

static void assert_text(struct span s, const char *wanted)
{
    if (!span_eq(s, span_str(wanted)))
        fail_msg("'%.*s' is not '%s'", (int)s.n, (const char *)s.p, wanted);
}

/* The first number that a query gives, as any program with SQLite sees it. */
static int64_t sql_int(const char *path, const char *sql)
{
    sqlite3 *db = NULL;
    sqlite3_stmt *s = NULL;
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    (void)sqlite3_busy_timeout(db, 5000);
    if (sqlite3_prepare_v2(db, sql, -1, &s, NULL) != SQLITE_OK || sqlite3_step(s) != SQLITE_ROW)
        fail_msg("%s: %s", sql, sqlite3_errmsg(db));
    int64_t n = sqlite3_column_int64(s, 0);
    (void)sqlite3_finalize(s);
    (void)sqlite3_close(db);
    return n;
}

static void assert_sound(const char *path)
{
    assert_int_equal(sql_int(path, "SELECT integrity_check = 'ok' FROM pragma_integrity_check"), 1);
}

static bool is_there(const char *path, const char *suffix)
{
    char name[PATH_MAX + 16];
    (void)snprintf(name, sizeof name, "%s%s", path, suffix);
    return access(name, F_OK) == 0;
}

static void sleep_ms(long ms)
{
    (void)nanosleep(&(struct timespec){ms / 1000, ms % 1000 * 1000000}, NULL);
}

/* --- flows ------------------------------------------------------------------------------------------------------- */

static void whole_flows(void **state)
{
    char path[PATH_MAX];
    struct drive d;
    struct opened o;
    struct headers h = HEADERS_INIT;
    struct buf body = BUF_INIT;
    struct tape_connection c;
    (void)state;
    fixture_path(path, "a.tape");
    for (int session = 1; session <= 2; session++) {
        static const char *const command[] = {"npm", "test\xff", NULL};
        struct recorder *r =
            drive_recorder((struct recorder_options){.path = path, .append = true, .command = command});
        drive_init(&d, recorder_tap(r, 0));
        connection_set(d.server->alpn, sizeof d.server->alpn, SPAN("http/1.1"));
        d.server->opened_ns = 100;
        d.server->connected_ns = 250;
        assert_int_equal(buf_put_str(&d.server->chain, "chain"), ERR_OK);
        d.tap->ops->connection(d.tap, d.client);
        d.tap->ops->connection(d.tap, d.server);
        drive_begin(&d, 1, FLOW_HTTP);
        drive_part(&d, false, (struct event){.part = PART_HEAD, .head = &d.request, .at_ns = d.x.started_ns + 1});
        drive_part(&d, false, (struct event){.part = PART_END, .at_ns = d.x.started_ns + 2});
        d.x.server = d.server;
        d.x.server_reused = true;
        d.x.sent_ns = d.x.started_ns + 3;
        struct head early = HEAD_INIT;
        head_clear(&early, HEAD_RESPONSE);
        early.status = 103;
        drive_set(&early, &early.reason, "Early Hints");
        drive_header(&early, "Link", "</a>");
        drive_part(&d, true, (struct event){.part = PART_INFORMATIONAL, .head = &early, .at_ns = d.x.started_ns + 4});
        drive_part(&d, true, (struct event){.part = PART_INFORMATIONAL, .head = &early, .at_ns = d.x.started_ns + 5});
        head_free(&early);
        drive_part(&d, true, (struct event){.part = PART_HEAD, .head = &d.response, .at_ns = d.x.started_ns + 6});
        drive_body(&d, true, "hel", 3);
        drive_body(&d, true, "lo", 2);
        struct headers trailers = HEADERS_INIT;
        assert_int_equal(headers_add(&trailers, SPAN("X-Sum"), SPAN("1")), ERR_OK);
        drive_part(&d, true, (struct event){.part = PART_TRAILERS, .trailers = &trailers});
        headers_free(&trailers);
        d.x.response_wire_bytes = 500;
        drive_part(&d, true, (struct event){.part = PART_END, .at_ns = d.x.started_ns + 9});
        drive_done(&d);
        d.server->closed_ns = 300;
        d.server->error = ERR_RESET;
        d.tap->ops->connection(d.tap, d.server);
        drive_close(&r);
        drive_free(&d);
    }
    assert_false(is_there(path, "-wal") || is_there(path, "-shm") || is_there(path, "-lock"));
    for (int64_t id = 1; id <= 2; id++) {
        open_flow(&o, path, id);
        assert_int_equal(o.flow.session, id);
        assert_true(o.flow.complete && o.flow.server_reused && !o.flow.answered);
        assert_text(o.flow.error, "");
        assert_text(o.flow.host, "origin.test");
        assert_text(o.flow.path, "/items/1?page=2");
        assert_text(o.flow.reason, "OK");
        assert_int_equal(o.flow.request_end_ns, 2);
        assert_int_equal(o.flow.sent_ns, 3);
        assert_int_equal(o.flow.response_begin_ns, 6);
        assert_int_equal(o.flow.response_end_ns, 9);
        assert_int_equal(o.flow.response_wire_bytes, 500);
        assert_text(o.flow.informational,
                    "[[103,\"Early Hints\",[[\"Link\",\"</a>\"]],4],[103,\"Early Hints\",[[\"Link\",\"</a>\"]],5]]");
        assert_int_equal(tape_headers(o.flow.request_headers, &h), ERR_OK);
        assert_int_equal(h.n, 4);
        assert_int_equal(tape_headers(o.flow.response_trailers, &h), ERR_OK);
        assert_text(headers_at(&h, 0).name, "X-Sum");
        buf_clear(&body);
        assert_int_equal(tape_body_read(o.tape, &o.flow.response_body, 100, &body), ERR_OK);
        assert_text(buf_span(&body), "hello");
        assert_int_equal(o.flow.client_connection, 2 * id - 1);
        assert_int_equal(tape_connection(o.tape, o.flow.server_connection, &c), ERR_OK);
        assert_int_equal(c.id, 2 * id);
        assert_text(c.alpn, "http/1.1");
        assert_text(c.chain, "chain");
        assert_int_equal(c.connected_ns, 150);
        assert_int_equal(c.closed_ns, 200);
        assert_text(c.error, "reset: the peer reset the connection");
        close_flow(&o);
    }
    assert_int_equal(
        sql_int(path, "SELECT count(*) FROM session WHERE command = '[\"npm\",{\"base64\":\"dGVzdP8=\"}]'"), 2);
    headers_free(&h);
    buf_free(&body);
    fixture_cleanup(path);
}

static void broken_flows(void **state)
{
    char path[PATH_MAX];
    struct drive d;
    struct opened o;
    (void)state;
    struct recorder *r = drive_recorder((struct recorder_options){.path = fixture_path(path, "a.tape")});
    drive_init(&d, recorder_tap(r, 0));
    drive_begin(&d, 1, FLOW_HTTP); /* the origin cannot be reached */
    drive_request_head(&d);
    drive_end(&d, false);
    drive_error(&d, true, false, ERR_REFUSED, "origin.test:443 refused");
    drive_done(&d);
    drive_begin(&d, 2, FLOW_HTTP); /* the client hangs up before the response */
    drive_request_head(&d);
    drive_end(&d, false);
    drive_error(&d, true, true, ERR_CLOSED, "the client hung up");
    drive_done(&d);
    drive_begin(&d, 3, FLOW_HTTP); /* the origin resets in the middle */
    drive_request_head(&d);
    drive_end(&d, false);
    drive_response_head(&d);
    drive_body(&d, true, "half", 4);
    drive_error(&d, true, false, ERR_RESET, "\xff gone");
    drive_done(&d);
    drive_begin(&d, 4, FLOW_HTTP); /* the client breaks off its upload */
    drive_request_head(&d);
    drive_body(&d, false, "up", 2);
    drive_error(&d, false, true, ERR_TRUNCATED, "cut");
    drive_error(&d, true, true, ERR_TRUNCATED, "cut");
    drive_done(&d);
    drive_begin(&d, 5, FLOW_HTTP); /* the answer comes early */
    drive_request_head(&d);
    drive_response_head(&d);
    drive_end(&d, true);
    drive_done(&d);
    drive_begin(&d, 6, FLOW_HTTP); /* given up without a word */
    drive_request_head(&d);
    drive_end(&d, false);
    drive_done(&d);
    drive_begin(&d, 7, FLOW_HTTP);
    drive_request_head(&d);
    drive_end(&d, false);
    drive_error(&d, true, false, ERR_TIMEOUT, "no answer in 2 minutes");
    drive_done(&d);
    drive_begin(&d, 8, FLOW_HTTP); /* under way at the end */
    drive_request_head(&d);
    struct recorder_counters counters;
    recorder_flush(r, 0);
    for (int i = 0; i < 500; i++) {
        recorder_get_counters(r, &counters);
        if (counters.flows == 7)
            break;
        sleep_ms(10);
    }
    assert_int_equal(counters.flows, 7);
    assert_int_equal(counters.errors, 7);
    assert_int_equal(counters.body_bytes, 6);
    drive_close(&r);
    drive_free(&d);

    static const struct {
        const char *error;
        unsigned status;
        bool answered;
        uint64_t request, response;
    } wanted[] = {
        {"refused: origin.test:443 refused", 502, true, 0, 0},
        {"closed: the client hung up", 0, false, 0, 0},
        {"reset: \xff gone", 200, false, 0, 4},
        {"truncated: cut", 0, false, 2, 0},
        {"truncated: the response ended before the request did", 200, false, 0, 0},
        {"cancelled: the flow was given up before the response ended", 0, false, 0, 0},
        {"timeout: no answer in 2 minutes", 504, true, 0, 0},
        {"shutdown: ringtape stopped before the flow ended", 0, false, 0, 0},
    };
    for (size_t i = 0; i < sizeof wanted / sizeof wanted[0]; i++) {
        open_flow(&o, path, (int64_t)i + 1);
        assert_false(o.flow.complete);
        assert_text(o.flow.error, wanted[i].error);
        assert_int_equal(o.flow.status, wanted[i].status);
        assert_int_equal(o.flow.answered, wanted[i].answered);
        assert_int_equal(o.flow.response_version.n > 0, wanted[i].status == 200);
        assert_int_equal(o.flow.request_body.bytes, wanted[i].request);
        assert_int_equal(o.flow.response_body.bytes, wanted[i].response);
        close_flow(&o);
    }
    fixture_cleanup(path);
}

/* Records `total` bytes in pieces of `piece`, a flow each, and compares what comes back. */
static void body_of_size(struct recorder *r, struct drive *d, const char *path, uint64_t id, size_t total, size_t piece,
                         uint64_t max)
{
    struct opened o;
    struct buf out = BUF_INIT;
    uint8_t *bytes = malloc(total + 1);
    assert_non_null(bytes);
    for (size_t i = 0; i < total; i++)
        bytes[i] = (uint8_t)(i * 7 + i / 251 + total + piece);
    drive_begin(d, id, FLOW_HTTP);
    drive_request_head(d);
    drive_end(d, false);
    drive_response_head(d);
    for (size_t at = 0; at < total; at += piece)
        drive_body(d, true, bytes + at, total - at < piece ? total - at : piece);
    drive_end(d, true);
    drive_done(d);
    recorder_flush(r, 0);
    for (int i = 0; i < 500 && sql_int(path, "SELECT coalesce(max(id), 0) FROM flow WHERE complete") < (int64_t)id; i++)
        sleep_ms(5);
    open_flow(&o, path, (int64_t)id); /* while it is being recorded */
    size_t kept = max && max < total ? (size_t)max : total;
    assert_int_equal(o.flow.response_body.bytes, kept);
    assert_int_equal(o.flow.response_body.wire_bytes, total);
    assert_int_equal(tape_body_read(o.tape, &o.flow.response_body, kept, &out), ERR_OK);
    assert_int_equal(out.n, kept);
    if (kept)
        assert_memory_equal(buf_span(&out).p, bytes, kept);
    close_flow(&o);
    buf_free(&out);
    free(bytes);
}

static void bodies_of_every_size(void **state)
{
    static const size_t sizes[] = {0, 1, 16383, 16384, 16385, 65535, 65536, 65537, 200000};
    static const size_t pieces[] = {1460, 16384, 65536, 200000};
    static const uint64_t maxima[] = {0, 20000};
    (void)state;
    for (size_t m = 0; m < 2; m++) {
        char path[PATH_MAX];
        struct drive d;
        uint64_t id = 0;
        struct recorder *r = drive_recorder((struct recorder_options){
            .path = fixture_path(path, "a.tape"), .commit_ms = 5, .body_bytes_max = maxima[m]});
        drive_init(&d, recorder_tap(r, 0));
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++)
            for (size_t k = 0; k < sizeof pieces / sizeof pieces[0]; k++)
                body_of_size(r, &d, path, ++id, sizes[i], pieces[k], maxima[m]);
        drive_close(&r);
        drive_free(&d);
        assert_sound(path);
        fixture_cleanup(path);
    }
}

static void flows_under_way_are_on_the_tape(void **state)
{
    char path[PATH_MAX];
    struct drive d;
    struct opened o;
    struct buf out = BUF_INIT;
    struct tape_body *body = NULL;
    struct span piece;
    int64_t at_ns = 0, last_ns = -1;
    int pieces = 0;
    (void)state;
    struct recorder *r =
        drive_recorder((struct recorder_options){.path = fixture_path(path, "a.tape"), .commit_ms = 20});
    drive_init(&d, recorder_tap(r, 0));
    drive_begin(&d, 1, FLOW_HTTP);
    drive_request_head(&d);
    drive_end(&d, false);
    drive_response_head(&d);
    for (int i = 1; i <= 4; i++) { /* an event stream */
        drive_body(&d, true, "data: x\n\n", 9);
        recorder_flush(r, 0);
        for (int k = 0; k < 500 && sql_int(path, "SELECT coalesce(sum(bytes), 0) FROM body") < 9 * i; k++)
            sleep_ms(5);
        open_flow(&o, path, 1);
        assert_false(o.flow.complete);
        assert_text(o.flow.error, "");
        assert_int_equal(o.flow.status, 200);
        assert_int_equal(o.flow.response_body.bytes, 9 * i);
        buf_clear(&out);
        assert_int_equal(tape_body_read(o.tape, &o.flow.response_body, 100, &out), ERR_OK);
        assert_int_equal(out.n, 9 * i);
        close_flow(&o);
    }
    drive_end(&d, true);
    drive_done(&d);
    drive_close(&r);
    open_flow(&o, path, 1);
    assert_true(o.flow.complete);
    assert_int_equal(tape_body_open(o.tape, &o.flow.response_body, &body), ERR_OK);
    while (tape_body_next(body, &piece, &at_ns) == ERR_OK) {
        assert_true(at_ns > last_ns);
        last_ns = at_ns;
        pieces++;
    }
    assert_int_equal(pieces, 4);
    tape_body_close(&body);
    close_flow(&o);
    assert_int_equal(sql_int(path, "SELECT count(*) FROM flow"), 1);
    drive_free(&d);
    buf_free(&out);
    fixture_cleanup(path);
}

static void tunnels_and_upgrades(void **state)
{
    char path[PATH_MAX];
    struct drive d;
    struct opened o;
    (void)state;
    struct recorder *r = drive_recorder((struct recorder_options){.path = fixture_path(path, "a.tape")});
    drive_init(&d, recorder_tap(r, 0));
    drive_begin(&d, 1, FLOW_TUNNEL);
    drive_request_head(&d);
    drive_response_head(&d);
    drive_body(&d, false, "he", 2);
    drive_body(&d, false, "llo", 3);
    drive_body(&d, true, "world", 5);
    drive_body(&d, false, "!", 1);
    drive_end(&d, false);
    drive_end(&d, true);
    drive_done(&d);
    drive_begin(&d, 2, FLOW_HTTP);
    drive_request_head(&d);
    drive_end(&d, false);
    d.response.status = 101;
    drive_response_head(&d);
    d.x.kind = FLOW_WEBSOCKET;
    char large[100000] = "";
    drive_body(&d, false, large, sizeof large); /* told as messages, too: */
    drive_message(&d, false, (struct message){.kind = MESSAGE_BINARY, .more = true, .data = span_of(large, 65536)});
    drive_message(&d, true, (struct message){.kind = MESSAGE_PING, .wire_bytes = 3, .data = SPAN("x")});
    drive_message(&d, false, (struct message){.kind = MESSAGE_BINARY, .data = span_of(large, sizeof large - 65536)});
    drive_message(&d, true, (struct message){.kind = MESSAGE_CLOSE, .code = 1001, .data = SPAN("bye")});
    drive_message(&d, true, (struct message){.kind = MESSAGE_BYTES, .data = SPAN("rest")});
    drive_end(&d, true);
    drive_done(&d);
    drive_begin(&d, 3, FLOW_TUNNEL);
    d.response.status = 200;
    drive_request_head(&d);
    drive_response_head(&d);
    drive_body(&d, true, "bye", 3);
    drive_end(&d, true); /* the origin closes first */
    drive_done(&d);
    drive_close(&r);
    assert_int_equal(sql_int(path, "SELECT group_concat(direction || ' ' || CAST(payload AS TEXT)) = "
                                   "'request hello,response world,request !' FROM message WHERE flow = 1"),
                     1);
    assert_int_equal(sql_int(path, "SELECT sum(length(payload)) FROM message WHERE flow = 2 AND direction = 'request'"),
                     sizeof large);
    assert_int_equal(sql_int(path, "SELECT max(length(payload)) FROM message"), 65536);
    assert_int_equal(sql_int(path,
                             "SELECT group_concat(direction || ' ' || kind || more || coalesce(code, ''), ',') = "
                             "'request binary1,response ping0,request binary0,response close01001,response bytes0' "
                             "FROM message WHERE flow = 2"),
                     1);
    assert_int_equal(sql_int(path, "SELECT sum(wire_bytes) FROM message WHERE flow = 2"), 7);
    open_flow(&o, path, 1);
    assert_text(o.flow.kind, "tunnel");
    assert_true(o.flow.complete);
    assert_int_equal(o.flow.request_body.wire_bytes, 6);
    assert_int_equal(o.flow.request_body.id, 0);
    close_flow(&o);
    open_flow(&o, path, 2);
    assert_text(o.flow.kind, "websocket");
    assert_int_equal(o.flow.status, 101);
    assert_true(o.flow.complete);
    close_flow(&o);
    open_flow(&o, path, 3);
    assert_true(o.flow.complete);
    assert_text(o.flow.error, "");
    close_flow(&o);
    drive_free(&d);
    fixture_cleanup(path);
}

static void large_heads(void **state)
{
    char path[PATH_MAX];
    struct drive d;
    struct opened o;
    struct headers h = HEADERS_INIT;
    char value[30000];
    (void)state;
    struct recorder *r = drive_recorder((struct recorder_options){.path = fixture_path(path, "a.tape")});
    memset(value, 'v', sizeof value);
    value[sizeof value - 1] = '\0';
    for (uint64_t id = 1; id <= 20; id++) {
        drive_init(&d, recorder_tap(r, 0));
        value[0] = (char)('a' + id);
        drive_header(&d.request, "X-Large", value);
        drive_flow(&d, id, value, sizeof value);
        drive_free(&d);
    }
    drive_close(&r);
    for (int64_t id = 1; id <= 20; id++) {
        struct span got = SPAN_EMPTY;
        open_flow(&o, path, id);
        assert_int_equal(tape_headers(o.flow.request_headers, &h), ERR_OK);
        assert_true(headers_find(&h, SPAN("x-large"), &got));
        assert_int_equal(got.n, sizeof value - 1);
        assert_int_equal(got.p[0], 'a' + id);
        close_flow(&o);
    }
    headers_free(&h);
    fixture_cleanup(path);
}

/* --- making a tape ----------------------------------------------------------------------------------------------- */

static void refuse(struct recorder_options options, enum err wanted, const char *words)
{
    struct recorder *r = NULL;
    struct buf problem = BUF_INIT;
    options.workers = 1;
    enum err e = recorder_create(&r, &options, &problem);
    assert_null(r);
    if (e != wanted || span_search(buf_span(&problem), span_str(words)) == problem.n)
        fail_msg("%s: %.*s", err_word(e), (int)problem.n, (const char *)buf_span(&problem).p);
    buf_free(&problem);
}

static void put_text(const char *path, const char *text)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_true(fputs(text, file) >= 0);
    (void)fclose(file);
}

static unsigned files_in_folder_of(const char *path)
{
    char folder[PATH_MAX];
    unsigned n = 0;
    (void)snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = '\0';
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (struct dirent *entry; (entry = readdir(dir)) != NULL;)
        n += entry->d_name[0] != '.';
    (void)closedir(dir);
    return n;
}

static void existing_files(void **state)
{
    char path[PATH_MAX];
    struct drive d;
    struct stat st;
    (void)state;
    fixture_path(path, "a.tape");
    mode_t mask = umask(0);
    struct recorder *r = drive_recorder((struct recorder_options){.path = path});
    (void)umask(mask);
    drive_init(&d, recorder_tap(r, 0));
    drive_flow(&d, 1, "x", 1);
    refuse((struct recorder_options){.path = path}, ERR_EXISTS, "another ringtape");
    refuse((struct recorder_options){.path = path, .append = true}, ERR_EXISTS, "another ringtape");
    refuse((struct recorder_options){.path = path, .force = true}, ERR_EXISTS, "another ringtape");
    drive_close(&r);
    assert_int_equal(stat(path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(sql_int(path, "SELECT count(*) FROM flow"), 1);

    refuse((struct recorder_options){.path = path}, ERR_EXISTS, "--append");
    assert_int_equal(sql_int(path, "SELECT count(*) FROM session"), 1);
    r = drive_recorder((struct recorder_options){.path = path, .force = true});
    drive_close(&r);
    assert_int_equal(sql_int(path, "SELECT count(*) FROM flow"), 0);
    assert_int_equal(files_in_folder_of(path), 1);

    put_text(
        path,
        "not a tape at all, but long enough to be looked at in earnest, which takes a hundred bytes or more: so there it is\n");
    refuse((struct recorder_options){.path = path, .append = true}, ERR_NOT_TAPE, "not a tape");
    r = drive_recorder((struct recorder_options){.path = path, .force = true});
    d.tap = recorder_tap(r, 0);
    drive_flow(&d, 1, "x", 1);
    drive_close(&r);
    assert_int_equal(sql_int(path, "SELECT count(*) FROM flow"), 1);
    drive_free(&d);
    assert_int_equal(files_in_folder_of(path), 1);
    fixture_cleanup(path);
}

static void places_that_cannot_be_written(void **state)
{
    char path[PATH_MAX], other[PATH_MAX + 16];
    (void)state;
    fixture_path(path, "a.tape");
    (void)snprintf(other, sizeof other, "%s/b.tape", path);
    refuse((struct recorder_options){.path = other}, ERR_NOT_FOUND, "cannot write in this folder");
    assert_int_equal(mkdir(path, 0700), 0);
    refuse((struct recorder_options){.path = path, .force = true}, ERR_NOT_TAPE, "not a regular file");
    refuse((struct recorder_options){.path = path}, ERR_EXISTS, "not a regular file");
    assert_int_equal(chmod(path, 0500), 0);
    if (geteuid() != 0)
        refuse((struct recorder_options){.path = other}, ERR_PERMISSION, "cannot write in this folder");
    assert_int_equal(rmdir(path), 0);
    assert_int_equal(files_in_folder_of(path), 0);
    fixture_cleanup(path);
}

static void memory_runs_out_at_the_start(void **state)
{
    char path[PATH_MAX];
    bool made = false;
    (void)state;
    fixture_path(path, "a.tape");
    for (long n = 0; !made; n++) {
        struct recorder *r = NULL;
        struct recorder_options options = {.path = path, .append = true, .workers = 2, .version = "test"};
        assert_true(n < 200);
        mem_fail_after(n);
        enum err e = recorder_create(&r, &options, NULL);
        mem_fail_after(-1);
        if (e)
            assert_int_equal(e, ERR_NOMEM);
        else
            made = true;
        drive_close(&r);
    }
    assert_sound(path);
    assert_int_equal(files_in_folder_of(path), 1);
    fixture_cleanup(path);
}

/* --- trouble while recording ------------------------------------------------------------------------------------- */

struct worker {
    pthread_t thread;
    struct recorder *recorder;
    unsigned number, flows;
};

static void *worker_run(void *ctx)
{
    struct worker *w = ctx;
    struct drive d;
    char body[5000];
    drive_init(&d, recorder_tap(w->recorder, w->number));
    memset(body, 'a' + (int)w->number, sizeof body);
    for (unsigned i = 0; i < w->flows; i++) {
        uint64_t id = (uint64_t)i * 4 + w->number + 1;
        memcpy(body, &id, sizeof id);
        drive_flow(&d, id, body, i % sizeof body);
        if (i % 16 == 0)
            recorder_flush(w->recorder, w->number);
    }
    drive_free(&d);
    return NULL;
}

static void many_workers_and_a_short_queue(void **state)
{
    char path[PATH_MAX];
    struct worker workers[4];
    struct recorder_counters counters = {.flows = 0};
    (void)state;
    struct recorder *r = drive_recorder(
        (struct recorder_options){.path = fixture_path(path, "a.tape"), .workers = 4, .queue_bytes_max = 1});
    for (unsigned i = 0; i < 4; i++) {
        workers[i] = (struct worker){.recorder = r, .number = i, .flows = 1500};
        assert_int_equal(pthread_create(&workers[i].thread, NULL, worker_run, &workers[i]), 0);
    }
    for (int i = 0; i < 20; i++) {
        recorder_get_counters(r, &counters);
        sleep_ms(1);
    }
    for (unsigned i = 0; i < 4; i++)
        assert_int_equal(pthread_join(workers[i].thread, NULL), 0);
    recorder_get_counters(r, &counters);
    assert_true(counters.stalls > 0);
    drive_close(&r);
    assert_int_equal(sql_int(path, "SELECT count(*) FROM flow WHERE complete"), 6000);
    assert_int_equal(
        sql_int(path,
                "SELECT sum(response_bytes) = (SELECT sum(b.bytes) FROM flow f JOIN body b ON b.id = f.response_body) "
                "FROM flow"),
        1);
    assert_sound(path);
    fixture_cleanup(path);
}

static void readers_and_other_writers(void **state)
{
    char path[PATH_MAX];
    struct drive d;
    sqlite3 *reader = NULL, *other = NULL;
    (void)state;
    struct recorder *r =
        drive_recorder((struct recorder_options){.path = fixture_path(path, "a.tape"), .commit_ms = 5});
    drive_init(&d, recorder_tap(r, 0));
    assert_int_equal(sqlite3_open(path, &reader), SQLITE_OK);
    assert_int_equal(sqlite3_exec(reader, "BEGIN; SELECT count(*) FROM flow", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    (void)sqlite3_busy_timeout(other, 5000);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE; CREATE TABLE notes(a)", NULL, NULL, NULL), SQLITE_OK);
    for (uint64_t id = 1; id <= 500; id++) {
        drive_flow(&d, id, "x", 1);
        recorder_flush(r, 0);
    }
    sleep_ms(50);
    assert_int_equal(sqlite3_exec(other, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    (void)sqlite3_close(other);
    drive_close(&r); /* the reader is still at it: the log stays, and all is there */
    assert_int_equal(sqlite3_exec(reader, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    (void)sqlite3_close(reader);
    assert_int_equal(sql_int(path, "SELECT count(*) FROM flow WHERE complete"), 500);
    assert_int_equal(sql_int(path, "SELECT count(*) FROM session WHERE ended_ns IS NOT NULL"), 1);
    assert_sound(path);
    drive_free(&d);
    fixture_cleanup(path);
}

/* Runs in a child: records until the tape cannot be written, and sees to it that everything else goes on. Exit code 0: as it should be. */
static int record_until_it_fails(const char *path, enum err wanted)
{
    struct drive d;
    struct recorder *r = NULL;
    struct recorder_counters counters = {.failed = false};
    struct buf problem = BUF_INIT;
    int pipes[2];
    char body[10000], said[4000] = "";
    if (pipe(pipes) != 0)
        return 10;
    struct log log = {.fd = pipes[1], .level = LOG_ERROR};
    struct recorder_options options = {.path = path, .workers = 1, .commit_ms = 5, .version = "test", .log = &log};
    if (recorder_create(&r, &options, &problem))
        return 11;
    drive_init(&d, recorder_tap(r, 0));
    memset(body, 'x', sizeof body);
    for (uint64_t id = 1; id < 20000 && !counters.failed; id++) {
        memcpy(body, &id, sizeof id);
        drive_flow(&d, id, body, sizeof body);
        recorder_flush(r, 0);
        recorder_get_counters(r, &counters);
    }
    if (!counters.failed)
        return 12;
    for (uint64_t id = 20000; id < 30000; id++) /* nothing waits for the disk any more */
        drive_flow(&d, id, body, sizeof body);
    enum err e = recorder_close(&r, &problem);
    drive_free(&d);
    if (e != wanted)
        return 100 + (int)e;
    if (problem.n == 0)
        return 13;
    buf_free(&problem);
    (void)close(pipes[1]);
    if (read(pipes[0], said, sizeof said - 1) <= 0 || !strstr(said, "recording has stopped"))
        return 14;
    return strstr(strchr(said, '\n'), "recording") ? 15 : 0; /* once */
}

static int exit_code_of(pid_t child)
{
    int status = 0;
    assert_true(child > 0);
    assert_int_equal(waitpid(child, &status, 0), child);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 1000 + status;
}

static void files_may_not_grow(void **state)
{
    char path[PATH_MAX];
    (void)state;
    fixture_path(path, "a.tape");
    pid_t child = fork();
    if (child == 0) {
        (void)signal(SIGXFSZ, SIG_IGN);
        (void)setrlimit(RLIMIT_FSIZE, &(struct rlimit){3 << 20, 3 << 20});
        _exit(record_until_it_fails(path, ERR_IO));
    }
    assert_int_equal(exit_code_of(child), 0);
    assert_sound(path);
    assert_int_equal(sql_int(path, "SELECT count(*) FROM session WHERE ended_ns IS NULL"), 1);
    assert_true(sql_int(path, "SELECT count(*) FROM flow WHERE complete") > 0);
    fixture_cleanup(path);
}

/* A file system of its own, of 4 MB; what is on it is copied out before it goes. */
static int fill_a_disk(const char *path)
{
    char folder[PATH_MAX], file[PATH_MAX + 16], command[3 * PATH_MAX];
    (void)snprintf(folder, sizeof folder, "%s", path);
    *strrchr(folder, '/') = '\0';
    bool root = geteuid() == 0;
    if (unshare(root ? CLONE_NEWNS : CLONE_NEWUSER | CLONE_NEWNS) != 0 ||
        mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL) != 0)
        return 77;
    (void)snprintf(file, sizeof file, "%s/disk", folder);
    if (mkdir(file, 0700) != 0 || mount("tmpfs", file, "tmpfs", 0, "size=4m") != 0)
        return 77;
    (void)snprintf(file, sizeof file, "%s/disk/a.tape", folder);
    int code = record_until_it_fails(file, ERR_DISK_FULL);
    if (code == 11 && !root)
        return 77; /* a user without a name there may mount, but not write */
    (void)snprintf(command, sizeof command, "cp '%s'* '%s'", file, folder);
    if (system(command) != 0)
        return 20;
    return code;
}

static void a_full_disk(void **state)
{
    char path[PATH_MAX], disk[PATH_MAX + 16];
    (void)state;
    fixture_path(path, "a.tape");
    pid_t child = fork();
    if (child == 0)
        _exit(fill_a_disk(path));
    int code = exit_code_of(child);
    (void)snprintf(disk, sizeof disk, "%.*s/disk", (int)(strrchr(path, '/') - path), path);
    (void)rmdir(disk);
    if (code != 77) {
        assert_int_equal(code, 0);
        assert_sound(path);
        assert_true(sql_int(path, "SELECT count(*) FROM flow WHERE complete") > 0);
    }
    fixture_cleanup(path);
    if (code == 77)
        skip(); /* no mount for us here */
}

enum { KILL_COMMIT_MS = 50 };

/* Records 1,000 flows a second and says through the pipe which one has been handed over, and when. */
static void record_until_killed(const char *path, int fd)
{
    struct drive d;
    struct recorder *r = NULL;
    struct recorder_options options = {.path = path, .workers = 1, .commit_ms = KILL_COMMIT_MS, .version = "test"};
    if (recorder_create(&r, &options, NULL))
        _exit(1);
    drive_init(&d, recorder_tap(r, 0));
    for (uint64_t id = 1;; id++) {
        char body[2000];
        (void)memset(body, (int)id, sizeof body);
        drive_flow(&d, id, body, id % sizeof body);
        recorder_flush(r, 0);
        uint64_t told[2] = {id, clock_mono_ns()};
        if (write(fd, told, sizeof told) != sizeof told)
            _exit(2);
        sleep_ms(1);
    }
}

static void killed(void **state)
{
    (void)state;
    for (int round = 0; round < 5; round++) {
        char path[PATH_MAX];
        int pipes[2], status;
        uint64_t told[2] = {0, 0}, safe = 0, count = 0;
        static uint64_t history[4096][2];
        fixture_path(path, "a.tape");
        assert_int_equal(pipe(pipes), 0);
        pid_t child = fork();
        if (child == 0)
            record_until_killed(path, pipes[1]);
        assert_true(child > 0);
        (void)close(pipes[1]);
        uint64_t end = clock_mono_ns() + (150 + (uint64_t)round * 37) * NS_PER_MS;
        while ((count <= 10 || clock_mono_ns() < end) && count < 4096 &&
               read(pipes[0], told, sizeof told) == sizeof told)
            memcpy(history[count++], told, sizeof told);
        assert_int_equal(kill(child, SIGKILL), 0);
        uint64_t killed_ns = clock_mono_ns();
        assert_int_equal(waitpid(child, &status, 0), child);
        (void)close(pipes[0]);
        /* Half again for a machine that is busy with other tests. */
        for (uint64_t i = 0; i < count; i++)
            if (history[i][1] + (SANITIZED ? 20 : 3) * KILL_COMMIT_MS * NS_PER_MS / 2 < killed_ns)
                safe = history[i][0];
        assert_true(count > 10);
        int64_t found = sql_int(path, "SELECT count(*) FROM flow WHERE complete");
        if (found < (int64_t)safe)
            fail_msg("%d of %d flows are there", (int)found, (int)safe);
        assert_int_equal(sql_int(path, "SELECT count(*) FROM session WHERE ended_ns IS NULL"), 1);
        assert_sound(path);
        struct recorder *r =
            drive_recorder((struct recorder_options){.path = path, .append = true}); /* the lock is not in the way */
        drive_close(&r);
        assert_int_equal(files_in_folder_of(path), 1);
        fixture_cleanup(path);
    }
}

static void memory_stays_small(void **state)
{
    char path[PATH_MAX];
    (void)state;
    if (SANITIZED)
        skip();
    fixture_path(path, "a.tape");
    pid_t child = fork();
    if (child == 0) {
        struct drive d;
        struct rusage before, after;
        static uint8_t piece[16384];
        struct recorder *r = NULL;
        struct recorder_options options = {.path = path, .workers = 1, .version = "test"};
        (void)getrusage(RUSAGE_SELF, &before);
        if (recorder_create(&r, &options, NULL))
            _exit(10);
        drive_init(&d, recorder_tap(r, 0));
        drive_begin(&d, 1, FLOW_HTTP);
        drive_request_head(&d);
        drive_end(&d, false);
        drive_response_head(&d);
        for (size_t i = 0; i < (160u << 20) / sizeof piece; i++)
            drive_body(&d, true, piece, sizeof piece);
        drive_end(&d, true);
        drive_done(&d);
        if (recorder_close(&r, NULL))
            _exit(11);
        (void)getrusage(RUSAGE_SELF, &after);
        _exit(after.ru_maxrss - before.ru_maxrss < 44 << 10 ? 0 : 12);
    }
    assert_int_equal(exit_code_of(child), 0);
    assert_int_equal(sql_int(path, "SELECT bytes FROM body"), 160 << 20);
    fixture_cleanup(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whole_flows),
        cmocka_unit_test(broken_flows),
        cmocka_unit_test(bodies_of_every_size),
        cmocka_unit_test(flows_under_way_are_on_the_tape),
        cmocka_unit_test(tunnels_and_upgrades),
        cmocka_unit_test(large_heads),
        cmocka_unit_test(existing_files),
        cmocka_unit_test(places_that_cannot_be_written),
        cmocka_unit_test(memory_runs_out_at_the_start),
        cmocka_unit_test(many_workers_and_a_short_queue),
        cmocka_unit_test(readers_and_other_writers),
        cmocka_unit_test(files_may_not_grow),
        cmocka_unit_test(a_full_disk),
        cmocka_unit_test(killed),
        cmocka_unit_test(memory_stays_small),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
