/* test_cost.c: what a flow costs, on the worker's side and on the writer's. As a test it only sees to it that everything arrives;
 * RINGTAPE_BENCH_FLOWS=300000 makes figures of it (docs/performance.md). */
#include "drive.h"

#include <sys/stat.h>
#include <time.h>

static double cpu_us(clockid_t clock)
{
    struct timespec t;
    (void)clock_gettime(clock, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

static uint64_t bench_flows(void)
{
    const char *text = getenv("RINGTAPE_BENCH_FLOWS");
    uint64_t n = text ? strtoull(text, NULL, 10) : 0;
    return n ? n : 5000;
}

static void flows_cost(const char *name, size_t bytes, bool distinct, bool turns)
{
    char path[PATH_MAX], body[65536];
    struct drive d;
    struct stat st;
    uint64_t flows = bench_flows();
    struct recorder *r = drive_recorder((struct recorder_options){.path = fixture_path(path, "a.tape")});
    drive_init(&d, recorder_tap(r, 0));
    memset(body, 'b', sizeof body);
    double wall = (double)clock_mono_ns() / 1e3, mine = cpu_us(CLOCK_THREAD_CPUTIME_ID),
           all = cpu_us(CLOCK_PROCESS_CPUTIME_ID);
    for (uint64_t id = 1; id <= flows; id++) {
        if (distinct)
            memcpy(body, &id, sizeof id);
        drive_flow(&d, id, body, bytes);
        if (turns && id % 8 == 0)
            recorder_flush(r, 0);
    }
    mine = cpu_us(CLOCK_THREAD_CPUTIME_ID) - mine;
    double others = cpu_us(CLOCK_THREAD_CPUTIME_ID);
    struct recorder_counters counters;
    recorder_get_counters(r, &counters);
    drive_close(&r);
    others = cpu_us(CLOCK_THREAD_CPUTIME_ID) - others;
    wall = (double)clock_mono_ns() / 1e3 - wall;
    all = cpu_us(CLOCK_PROCESS_CPUTIME_ID) - all;
    assert_int_equal(stat(path, &st), 0);
    double n = (double)flows;
    print_message("%-32s tap %.2f us, writer %.2f us a flow; %.0f flows/s; %.0f bytes a flow on the tape; %u stalls\n",
                  name, mine / n, (all - mine - others) / n, n / wall * 1e6, (double)st.st_size / n,
                  (unsigned)counters.stalls);
    struct tape *tape = NULL;
    int64_t count = 0;
    assert_int_equal(tape_open(&tape, path, NULL), ERR_OK);
    assert_int_equal(tape_count_flows(tape, &count), ERR_OK);
    assert_int_equal(count, flows);
    tape_close(&tape);
    drive_free(&d);
    fixture_cleanup(path);
}

static void small_flows(void **state)
{
    (void)state;
    flows_cost("no body", 0, false, false);
    flows_cost("1 KB, equal", 1024, false, false);
    flows_cost("1 KB, equal, flushed every 8", 1024, false, true);
    flows_cost("1 KB, distinct", 1024, true, false);
    flows_cost("10 KB, distinct", 10240, true, false);
}

static void a_large_body(void **state)
{
    char path[PATH_MAX];
    static uint8_t piece[16384];
    struct drive d;
    uint64_t pieces = bench_flows() / 10;
    (void)state;
    struct recorder *r = drive_recorder((struct recorder_options){.path = fixture_path(path, "a.tape")});
    drive_init(&d, recorder_tap(r, 0));
    double wall = (double)clock_mono_ns() / 1e3, all = cpu_us(CLOCK_PROCESS_CPUTIME_ID);
    drive_begin(&d, 1, FLOW_HTTP);
    drive_request_head(&d);
    drive_end(&d, false);
    drive_response_head(&d);
    for (uint64_t i = 0; i < pieces; i++) {
        memcpy(piece, &i, sizeof i);
        drive_body(&d, true, piece, sizeof piece);
    }
    drive_end(&d, true);
    drive_done(&d);
    drive_close(&r);
    wall = (double)clock_mono_ns() / 1e3 - wall;
    all = cpu_us(CLOCK_PROCESS_CPUTIME_ID) - all;
    double mb = (double)(pieces * sizeof piece) / 1e6;
    print_message("%-32s %.0f MB: %.0f MB/s, CPU %.0f us a MB\n", "one body in pieces of 16 KB", mb, mb / wall * 1e6,
                  all / mb);
    drive_free(&d);
    fixture_cleanup(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_flows),
        cmocka_unit_test(a_large_body),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
