/* test_trouble.c: making a tape where that goes wrong, and what becomes of a recording when the disk, memory, a neighbour or the program fails. */
#include "look.h"

#include "base/alloc.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
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

static void *commit_later(void *db)
{
    sleep_ms(50);
    return sqlite3_exec(db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK ? db : NULL;
}

/* The other writer ends its transaction from a thread of its own: a worker may wait for a commit that has to wait for that. */
static void readers_and_other_writers(void **state)
{
    char path[PATH_MAX];
    struct drive d;
    sqlite3 *reader = NULL, *other = NULL;
    pthread_t thread;
    void *committed = NULL;
    (void)state;
    struct recorder *r =
        drive_recorder((struct recorder_options){.path = fixture_path(path, "a.tape"), .commit_ms = 5});
    drive_init(&d, recorder_tap(r, 0));
    assert_int_equal(sqlite3_open(path, &reader), SQLITE_OK);
    assert_int_equal(sqlite3_exec(reader, "BEGIN; SELECT count(*) FROM flow", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(sqlite3_open(path, &other), SQLITE_OK);
    (void)sqlite3_busy_timeout(other, 5000);
    assert_int_equal(sqlite3_exec(other, "BEGIN IMMEDIATE; CREATE TABLE notes(a)", NULL, NULL, NULL), SQLITE_OK);
    assert_int_equal(pthread_create(&thread, NULL, commit_later, other), 0);
    for (uint64_t id = 1; id <= 500; id++) {
        drive_flow(&d, id, "x", 1);
        recorder_flush(r, 0);
    }
    assert_int_equal(pthread_join(thread, &committed), 0);
    assert_non_null(committed);
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
