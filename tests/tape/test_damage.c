/* test_damage.c: tapes with bytes changed at random (from a fixed start) are refused or read, and never bring the reader down. The fuzz target of the
 * same kind goes further. */
#include "fixture.h"
#include "read_everything.h"

enum { ROUNDS = 400, BYTES_MAX = 1 << 20 };

static uint64_t next_random(uint64_t *x)
{
    *x ^= *x << 13;
    *x ^= *x >> 7;
    *x ^= *x << 17;
    return *x;
}

static void write_bytes(const char *path, const uint8_t *bytes, size_t n)
{
    FILE *file = fopen(path, "wb");
    assert_non_null(file);
    assert_int_equal(fwrite(bytes, 1, n, file), n);
    (void)fclose(file);
}

/* Small pages, so that a change is likely to hit something. */
static void make_tape(const char *path)
{
    struct tape_writer *w = NULL;
    struct fixture f = {.writer = NULL};
    static const struct fixture_message messages[] = {{.payload = "message"}};
    static char large[30000];
    assert_int_equal(
        tape_writer_open(&w, &(struct tape_writer_options){.path = path, .page_bytes = 1024, .version = "test"}, NULL),
        ERR_OK);
    f.writer = w;
    int64_t id = fixture_connection(
        &f, (struct tape_connection){.server = true, .host = SPAN("a.test"), .chain = SPAN("\0\0\0\1x")});
    for (int i = 0; i < 10; i++)
        fixture_add(&f, &(struct fixture_flow){.path = i % 2 ? "/\xff" : "/",
                                               .request_body = "hello",
                                               .response_body = large,
                                               .response_body_n = sizeof large,
                                               .response_chunk = i ? 2000 : 5000,
                                               .messages = messages,
                                               .messages_n = 1,
                                               .server_connection = id});
    fixture_close(&f);
}

static void changed_bytes(void **state)
{
    char path[PATH_MAX];
    static uint8_t sound[BYTES_MAX], changed[BYTES_MAX];
    uint64_t x = 88172645463325252u, opened = 0;
    (void)state;
    make_tape(fixture_path(path, "a.tape"));
    FILE *file = fopen(path, "rb");
    assert_non_null(file);
    size_t n = fread(sound, 1, sizeof sound, file);
    (void)fclose(file);
    assert_int_equal(read_everything(path), ERR_OK);
    for (int round = 0; round < ROUNDS; round++) {
        memcpy(changed, sound, n);
        uint64_t changes = 1 + next_random(&x) % 20;
        for (uint64_t i = 0; i < changes; i++) {
            /* Headers of pages more often than what is in them. */
            size_t at = next_random(&x) % n;
            if (i % 2)
                at = at / 1024 * 1024 + next_random(&x) % 40;
            changed[at % n] = (uint8_t)next_random(&x);
        }
        write_bytes(path, changed, round % 8 ? n : next_random(&x) % n);
        opened += read_everything(path) == ERR_OK;
    }
    assert_true(opened > ROUNDS / 20);
    fixture_cleanup(path);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(changed_bytes)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
