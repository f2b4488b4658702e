/* test_filter.c: a recording with a filter keeps the flows that match, whole, and nothing of the others. */
#include "look.h"

#include "tape/filter.h"

#include <time.h>

static bool file_holds(const char *path, const char *text)
{
    FILE *f = fopen(path, "rb");
    struct buf all = BUF_INIT;
    static char piece[65536];
    assert_non_null(f);
    for (size_t n; (n = fread(piece, 1, sizeof piece, f)) > 0;)
        assert_int_equal(buf_put(&all, span_of(piece, n)), ERR_OK);
    (void)fclose(f);
    bool yes = span_search(buf_span(&all), span_str(text)) < all.n;
    buf_free(&all);
    return yes;
}

struct filtered {
    char path[PATH_MAX];
    struct tape_filter *filter;
    struct recorder *recorder;
    struct drive drive;
};

static void begin(struct filtered *f, const char *expression, unsigned commit_ms)
{
    struct buf problem = BUF_INIT;
    fixture_path(f->path, "a.tape");
    assert_int_equal(tape_filter_parse(&f->filter, span_str(expression), &problem), ERR_OK);
    buf_free(&problem);
    f->recorder =
        drive_recorder((struct recorder_options){.path = f->path, .filter = f->filter, .commit_ms = commit_ms});
    drive_init(&f->drive, recorder_tap(f->recorder, 0));
}

static void finish(struct filtered *f)
{
    struct buf problem = BUF_INIT;
    struct recorder_counters last;
    assert_int_equal(recorder_finish(&f->recorder, &last, &problem), ERR_OK);
    assert_int_equal(last.flows, sql_int(f->path, "SELECT count(*) FROM flow"));
    assert_int_equal(last.errors, sql_int(f->path, "SELECT count(*) FROM flow WHERE error IS NOT NULL"));
    assert_int_equal(sql_int(f->path, "SELECT integrity_check = 'ok' FROM pragma_integrity_check"), 1);
    buf_free(&problem);
    drive_free(&f->drive);
    tape_filter_destroy(&f->filter);
}

static void flow(struct filtered *f, uint64_t id, unsigned status, const char *body)
{
    f->drive.response.status = status;
    drive_flow(&f->drive, id, body, strlen(body));
}

static void assert_no_orphans(const char *path)
{
    static const char *const none[] = {
        ("SELECT count(*) FROM body WHERE id NOT IN (SELECT request_body FROM flow WHERE request_body NOT NULL UNION SELECT response_body "
         "FROM flow WHERE response_body NOT NULL UNION SELECT chain FROM connection WHERE chain NOT NULL)"),
        "SELECT count(*) FROM chunk WHERE body NOT IN (SELECT id FROM body)",
        "SELECT count(*) FROM message WHERE flow NOT IN (SELECT id FROM flow)",
        "SELECT count(*) FROM header_block WHERE id NOT IN (SELECT request_headers FROM flow UNION SELECT response_headers FROM flow)",
    };
    for (size_t i = 0; i < sizeof none / sizeof none[0]; i++)
        assert_int_equal(sql_int(path, none[i]), 0);
}

static void only_what_matches_stays(void **state)
{
    struct filtered f = {.filter = NULL};
    (void)state;
    begin(&f, "~c 500 & ~bs wanted", 0);
    flow(&f, 1, 200, "wanted, but in vain");
    flow(&f, 2, 500, "wanted");
    flow(&f, 3, 500, "not-this-one");
    flow(&f, 4, 500, "wanted"); /* the same content as another flow's */
    flow(&f, 5, 200, "wanted");
    finish(&f);
    assert_int_equal(sql_int(f.path, "SELECT count(*) FROM flow"), 2);
    assert_int_equal(sql_int(f.path, "SELECT count(*) FROM flows WHERE status = 500 AND id IN (2, 4)"), 2);
    assert_int_equal(sql_int(f.path, "SELECT count(*) FROM bodies WHERE CAST(content AS TEXT) = 'wanted'"), 2);
    assert_int_equal(sql_int(f.path, "SELECT count(*) FROM headers WHERE flow = 4 AND name = 'ETag'"), 1);
    assert_no_orphans(f.path);
    assert_false(file_holds(f.path, "not-this-one"));
    fixture_cleanup(f.path);
}

/* Commits come in between, so that it was on the disk before it was known not to match. */
static void what_was_committed_goes_too(void **state)
{
    struct filtered f = {.filter = NULL};
    static char body[3 * 65536];
    (void)state;
    memset(body, 'x', sizeof body);
    memcpy(body + 100000, "SECRET-IN-A-CHUNK", 17);
    begin(&f, "~c 500", 1);
    struct drive *d = &f.drive;
    d->response.status = 200;
    drive_begin(d, 1, FLOW_HTTP);
    drive_request_head(d);
    drive_end(d, false);
    drive_response_head(d);
    drive_body(d, true, body, sizeof body);
    recorder_flush(f.recorder, 0);
    struct recorder_counters now = {.commits = 0};
    for (int i = 0; i < 2000 && sql_int(f.path, "SELECT count(*) FROM flow") == 0; i++)
        (void)nanosleep(&(struct timespec){0, 5000000}, NULL);
    recorder_get_counters(f.recorder, &now);
    assert_true(now.commits > 0);
    assert_int_equal(sql_int(f.path, "SELECT count(*) FROM flow WHERE complete = 0"), 1);
    drive_end(d, true);
    drive_done(d);
    flow(&f, 2, 500, "kept");
    finish(&f);
    assert_int_equal(sql_int(f.path, "SELECT count(*) FROM flow"), 1);
    assert_int_equal(sql_int(f.path, "SELECT id FROM flow"), 2);
    assert_no_orphans(f.path);
    assert_false(file_holds(f.path, "SECRET-IN-A-CHUNK"));
    fixture_cleanup(f.path);
}

static void tunnel(struct filtered *f, uint64_t id, const char *host)
{
    struct drive *d = &f->drive;
    drive_begin(d, id, FLOW_TUNNEL);
    drive_set(&d->request, &d->request.host, host);
    drive_request_head(d);
    drive_response_head(d);
    drive_body(d, false, host, strlen(host));
    drive_end(d, true);
    drive_done(d);
}

static void tunnels_and_flows_cut_off(void **state)
{
    struct filtered f = {.filter = NULL};
    (void)state;
    begin(&f, "~d kept", 0);
    tunnel(&f, 1, "kept.test");
    tunnel(&f, 2, "gone.test");
    drive_begin(&f.drive, 3, FLOW_HTTP); /* never ends; its host is the last tunnel's */
    drive_request_head(&f.drive);
    finish(&f);
    assert_int_equal(sql_int(f.path, "SELECT count(*) FROM flow"), 1);
    assert_int_equal(sql_int(f.path, "SELECT count(*) FROM message WHERE payload = CAST('kept.test' AS BLOB)"), 1);
    assert_no_orphans(f.path);
    fixture_cleanup(f.path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_what_matches_stays),
        cmocka_unit_test(what_was_committed_goes_too),
        cmocka_unit_test(tunnels_and_flows_cut_off),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
