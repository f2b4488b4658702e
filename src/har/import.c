/* import.c: walks the document to log.entries and hands over one entry after the other. Everything else is passed over without being kept. */
#include "har/import_internal.h"

#include "base/alloc.h"
#include "base/limits.h"

enum { UTF8_BOM_BYTES = 3 };

enum err har_importer_create(struct har_importer **out, struct tape_writer *writer, int spool_fd)
{
    struct har_importer *im = mem_new(1, sizeof *im);
    *out = im;
    if (!im)
        return ERR_NOMEM;
    im->writer = writer;
    im->spool = SPOOL_INIT(spool_fd);
    im->tree.spool = &im->spool;
    im->flows = tape_writer_flow_base(writer);
    im->connections = tape_writer_connection_base(writer);
    hash_key_random(&im->key);
    im->peers = mem_new(IMPORT_PEERS, sizeof *im->peers);
    if (im->peers)
        return ERR_OK;
    har_importer_destroy(out);
    return ERR_NOMEM;
}

void har_importer_destroy(struct har_importer **out)
{
    struct har_importer *im = *out;
    *out = NULL;
    if (!im)
        return;
    tree_free(&im->tree);
    spool_free(&im->spool);
    headers_free(&im->headers);
    struct buf *const all[] = {&im->url,    &im->host,  &im->method, &im->path, &im->track,
                               &im->reason, &im->error, &im->peer,   &im->json, &im->packed};
    for (size_t i = 0; i < sizeof all / sizeof all[0]; i++)
        buf_free(all[i]);
    mem_free(im->peers);
    mem_free(im);
}

/* Committed is what is out of the way: nobody sees the tape before it is whole. */
static enum err commit_some(struct har_importer *im)
{
    if (im->uncommitted_flows < LIMIT_COMMIT_FLOWS && im->uncommitted_bytes < LIMIT_COMMIT_BYTES)
        return ERR_OK;
    im->uncommitted_flows = im->uncommitted_bytes = 0;
    return tape_writer_commit(im->writer);
}

static enum err take_entry(struct har_importer *im, struct har_import_result *result, enum token token)
{
    bool kept = false;
    uint64_t halves = im->reader.halves;
    result->mends.entry = ++result->entries;
    result->mends.line = im->reader.token_line;
    if (token != TOKEN_OBJECT) {
        mend(im->mends, MEND_NO_ENTRY);
        return reader_skip(&im->reader, token);
    }
    enum err e = tree_read(&im->tree, &im->reader);
    if (e)
        return e;
    if (im->reader.halves != halves)
        mend(im->mends, MEND_HALVES);
    if (im->tree.huge_number)
        mend(im->mends, MEND_NUMBER);
    if (im->tree.root)
        e = import_entry(im, &kept);
    else
        mend(im->mends, MEND_HUGE_ENTRY);
    result->flows += kept;
    return e ? e : commit_some(im);
}

static enum err take_entries(struct har_importer *im, struct har_import_result *result)
{
    enum token token;
    enum err e;
    while ((e = reader_next(&im->reader, &token)) == ERR_OK && token != TOKEN_ARRAY_END && !e)
        if ((e = take_entry(im, result, token)) != ERR_OK)
            break;
    result->mends.entry = 0;
    return e;
}

static bool key_is(const struct reader *r, const char *name)
{
    return span_eq(buf_span(&r->text), span_str(name));
}

/* pages that hold something */
static enum err pass_pages(struct har_importer *im, enum token token)
{
    unsigned outside = im->reader.depth - 1;
    bool any = false;
    enum err e = ERR_OK;
    if (token != TOKEN_ARRAY)
        return reader_skip(&im->reader, token);
    while (!e && im->reader.depth > outside) {
        e = reader_next(&im->reader, &token);
        any |= !e && token == TOKEN_OBJECT;
    }
    if (any)
        mend(im->mends, MEND_PAGES);
    return e;
}

static enum err take_log(struct har_importer *im, struct har_import_result *result, bool *entries)
{
    struct reader *r = &im->reader;
    enum token token;
    enum err e;
    while ((e = reader_next(r, &token)) == ERR_OK && token == TOKEN_KEY) {
        bool is_entries = key_is(r, "entries"), is_pages = key_is(r, "pages");
        result->mends.line = r->token_line;
        e = reader_next(r, &token);
        if (!e && is_entries && token == TOKEN_ARRAY) {
            *entries = true;
            e = take_entries(im, result);
        } else if (!e) {
            e = is_pages ? pass_pages(im, token) : reader_skip(r, token);
        }
        if (e)
            break;
    }
    return e;
}

static enum err take_document(struct har_importer *im, struct har_import_result *result)
{
    struct reader *r = &im->reader;
    bool entries = false;
    enum token token;
    enum err e = reader_next(r, &token);
    if (!e && token != TOKEN_OBJECT)
        return reader_fail(r, "no HAR: not an object with a member `log`");
    while (!e && (e = reader_next(r, &token)) == ERR_OK && token == TOKEN_KEY) {
        bool is_log = key_is(r, "log");
        e = reader_next(r, &token);
        if (!e)
            e = is_log && token == TOKEN_OBJECT ? take_log(im, result, &entries) : reader_skip(r, token);
    }
    if (!e)
        e = reader_next(r, &token); /* nothing may follow */
    return !e && !entries ? reader_fail(r, "no HAR: the file ends without a list `log.entries`") : e;
}

/* The byte order mark that editors leave; those of other encodings are told. */
static enum err begin(struct har_importer *im, const struct har_source *source, struct buf *problem)
{
    struct reader *r = &im->reader;
    size_t got = 1;
    enum err e = ERR_OK;
    reader_init(r, source, problem);
    while (!e && r->n < UTF8_BOM_BYTES + 1 && got > 0) {
        e = source->read(source->ctx, r->block + r->n, sizeof r->block - r->n, &got);
        r->n += e ? 0 : got;
    }
    r->ended = got == 0;
    if (e)
        return e;
    struct span text = span_of(r->block, r->n);
    if (span_starts_with(text, SPAN("\xef\xbb\xbf"))) {
        r->at = UTF8_BOM_BYTES;
        r->line_begins = UTF8_BOM_BYTES;
    }
    bool utf16 = r->n >= 2 && ((text.p[0] == 0xfe && text.p[1] == 0xff) || (text.p[0] == 0xff && text.p[1] == 0xfe) ||
                               text.p[0] == 0 || text.p[1] == 0);
    if (!utf16)
        return ERR_OK;
    e = reader_fail(r, "the text is UTF-16 or UTF-32: a HAR is UTF-8 (`iconv -f UTF-16 -t UTF-8` converts it)");
    return e == ERR_PARSE ? ERR_UNSUPPORTED : e;
}

enum err har_import(struct har_importer *im, const struct har_source *source, struct har_import_result *result,
                    struct buf *problem)
{
    *result = (struct har_import_result){.entries = 0};
    im->mends = &result->mends;
    im->started_ns = 0;
    im->connections_base = im->connections;
    im->next = im->connections + UINT32_MAX;
    memset(im->peers, 0, IMPORT_PEERS * sizeof *im->peers);
    enum err e = begin(im, source, problem);
    if (!e)
        e = take_document(im, result);
    reader_free(&im->reader);
    tree_free(&im->tree);
    if (!e)
        e = tape_writer_commit(im->writer);
    return e;
}
