/* fuzz_har.c: bytes that pretend to be a HAR (or gzip, or a zip file), imported, exported, and imported again: what was taken once is taken again, and
 * the export is JSON. The first byte says how many bytes a read gives. Built by `make fuzz`. */
#include "har/export.h"
#include "har/import.h"

#include <dirent.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

struct text_source {
    struct span text;
    size_t piece;
};

static char folder[40] = "/dev/shm/ringtape-fuzz-XXXXXX"; /* a disk would be most of the time */
static char path[64];
static FILE *spool;

static void clean_up(void)
{
    DIR *d = opendir(folder); /* what a stop in the middle leaves, too */
    for (struct dirent *it; d && (it = readdir(d)) != NULL;)
        (void)unlinkat(dirfd(d), it->d_name, 0);
    if (d)
        (void)closedir(d);
    (void)rmdir(folder);
}

static enum err read_text(void *ctx, uint8_t *to, size_t n, size_t *got)
{
    struct text_source *s = ctx;
    struct span piece = span_first(s->text, s->piece < n ? s->piece : n);
    *got = piece.n;
    if (piece.n)
        memcpy(to, piece.p, piece.n);
    s->text = span_from(s->text, piece.n);
    return ERR_OK;
}

static enum err keep(void *ctx, struct span bytes)
{
    return buf_put(ctx, bytes);
}

/* Opening is what costs: a tape to which a refused input has written nothing serves the next one. */
static enum err import_text(struct span text, size_t piece, uint64_t *flows)
{
    static struct tape_writer *writer;
    static struct har_import_result result;
    const struct tape_writer_options options = {
        .path = path, .force = true, .whole = true, .version = "fuzz", .page_bytes = 4096};
    struct text_source from = {text, piece};
    const struct har_source source = {read_text, &from};
    struct har_importer *importer = NULL;
    struct har_inflate *inflate = NULL;
    struct buf problem = BUF_INIT;
    if ((!writer && tape_writer_open(&writer, &options, &problem)) ||
        har_importer_create(&importer, writer, fileno(spool)) || har_inflate_create(&inflate, &source))
        abort();
    enum err e = har_import(importer, har_inflate_source(inflate), &result, &problem);
    *flows = result.flows;
    har_inflate_destroy(&inflate);
    har_importer_destroy(&importer);
    if (tape_writer_failed(writer))
        abort();
    if (!e && tape_writer_close(&writer, &problem))
        abort();
    if (e && result.entries > 0)
        tape_writer_abandon(&writer);
    buf_free(&problem);
    return e;
}

static void export_text(struct buf *out, uint64_t *flows)
{
    struct tape *tape = NULL;
    struct buf problem = BUF_INIT;
    struct har_result result;
    const struct har_options options = {.format = HAR_FORMAT_HAR, .version = "fuzz"};
    if (tape_open(&tape, path, &problem) || har_export(tape, &options, &(struct har_sink){keep, out}, &result) ||
        result.damaged)
        abort();
    *flows = result.flows;
    tape_close(&tape);
    buf_free(&problem);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t n)
{
    uint64_t in, out, again;
    if (!spool) {
        spool = tmpfile();
        if (!mkdtemp(folder)) {
            memcpy(folder, "/tmp/ringtape-fuzz-XXXXXX", sizeof "/tmp/ringtape-fuzz-XXXXXX");
            if (!mkdtemp(folder))
                abort();
        }
        if (!spool || atexit(clean_up))
            abort();
        (void)snprintf(path, sizeof path, "%s/a.tape", folder);
    }
    if (n == 0 || import_text(span_of(data + 1, n - 1), data[0] ? data[0] : 65536, &in))
        return 0;
    struct buf text = BUF_INIT;
    export_text(&text, &out);
    json_t *root = json_loadb((const char *)buf_span(&text).p, text.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, NULL);
    if (!root || in != out)
        abort();
    json_decref(root);
    if (import_text(buf_span(&text), 65536, &again) || again != out)
        abort();
    buf_free(&text);
    return 0;
}
