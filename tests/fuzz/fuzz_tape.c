/* fuzz_tape.c: a small sound tape, changed by what the fuzzer says, is opened and read from end to end. The input is a list of changes (two
 * bytes of place, one of value: place 0xffff cuts the file to a quarter times value modulo 4), so that most of what is tried gets past the
 * first look. Built by `make fuzz`. */
#include "../tape/read_everything.h"

#include "tape/fields.h"
#include "tape/writer.h"

#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>

enum { SEED_BYTES_MAX = 1 << 20 };

static uint8_t seed[SEED_BYTES_MAX];
static size_t seed_n;
static char path[64];

static void must(enum err e)
{
    if (e)
        abort();
}

static void seed_flow(struct tape_writer *w, int64_t id)
{
    struct headers h = HEADERS_INIT;
    struct fields_packed fields;
    uint8_t packed[200];
    struct tape_writer_body body = {.id = 0};
    struct tape_flow_row row = {.id = id,
                                .kind = SPAN("http"),
                                .method = SPAN("GET"),
                                .scheme = SPAN("http"),
                                .host = SPAN("a.test"),
                                .path = SPAN("/\xff"),
                                .port = 80,
                                .request_version = SPAN("HTTP/1.1"),
                                .response_version = SPAN("HTTP/1.1"),
                                .status = 200,
                                .reason = SPAN("OK"),
                                .request_end_ns = 1,
                                .sent_ns = 1,
                                .response_begin_ns = 2,
                                .response_end_ns = 3,
                                .complete = true,
                                .request_bytes = 5,
                                .response_bytes = 9000};
    must(headers_add(&h, SPAN("Content-Type"), SPAN("text/plain")));
    must(headers_add(&h, SPAN("X-Latin"), SPAN("\xe9")));
    fields_pack(&h, packed);
    if (!fields_unpack(h.n, span_of(packed, fields_size(&h)), &fields))
        abort();
    must(tape_writer_fields(w, &fields, &row.request_headers));
    row.response_headers = row.request_headers;
    must(tape_writer_content(w, SPAN("hello"), &row.request_body));
    must(tape_writer_body_begin(w, &body));
    for (int i = 0; i < 3; i++)
        must(tape_writer_body_chunk(w, &body, i, span_of(seed, 3000)));
    must(tape_writer_body_end(w, &body));
    row.response_body = body.id;
    must(tape_writer_flow(w, &row));
    must(tape_writer_message(w, id, &(struct tape_message){.kind = SPAN("bytes"), .payload = SPAN("message")}));
    headers_free(&h);
}

static char folder[] = "/tmp/ringtape-fuzz-XXXXXX";

static void clean_up(void)
{
    (void)unlink(path);
    (void)rmdir(folder);
}

static void make_seed(void)
{
    struct tape_writer *w = NULL;
    if (!mkdtemp(folder) || atexit(clean_up))
        abort();
    (void)snprintf(path, sizeof path, "%s/a.tape", folder);
    must(
        tape_writer_open(&w, &(struct tape_writer_options){.path = path, .page_bytes = 1024, .version = "fuzz"}, NULL));
    must(tape_writer_connection(
        w, &(struct tape_connection){.id = 1, .server = true, .host = SPAN("a.test"), .chain = SPAN("\0\0\0\1x")}));
    for (int64_t id = 1; id <= 3; id++)
        seed_flow(w, id);
    must(tape_writer_close(&w, NULL));
    FILE *file = fopen(path, "rb");
    if (!file)
        abort();
    seed_n = fread(seed, 1, sizeof seed, file);
    (void)fclose(file);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static uint8_t changed[SEED_BYTES_MAX];
    if (seed_n == 0)
        make_seed();
    size_t n = seed_n;
    memcpy(changed, seed, n);
    for (size_t i = 0; i + 3 <= size; i += 3) {
        size_t at = (size_t)data[i] << 8 | data[i + 1];
        if (at == 0xffff)
            n = seed_n / 4 * (data[i + 2] % 4 + 1u);
        else
            changed[at % seed_n] = data[i + 2];
    }
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    if (fd < 0 || write(fd, changed, n) != (ssize_t)n)
        abort();
    (void)close(fd);
    (void)!read_everything(path);
    return 0;
}
