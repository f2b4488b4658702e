/* import_body.c: contents, from what a HAR says of them to what the tape holds. A HAR has content decoded; re-encoding it would make up bytes that
 * were never sent, so the tape has it decoded too, and its Content-Encoding under the name TAPE_DECODED_FIELD: replay sends neither, and an
 * export gives the field its name back. */
#include "har/import_internal.h"

#include "base/limits.h"
#include "base/util.h"
#include "http/coding.h"
#include "http/mime.h"

/* --- into the tape ----------------------------------------------------------------------------------------------- */

struct store {
    struct har_importer *im;
    struct tape_writer_body body; /* begun once it is too large for one row */
    bool begun;
    int64_t at_ns;
    uint64_t n;
};

static enum err store_piece(struct store *s)
{
    struct buf *pending = &s->im->json;
    struct span piece = span_first(buf_span(pending), LIMIT_CHUNK_BYTES);
    enum err e = s->begun ? ERR_OK : tape_writer_body_begin(s->im->writer, &s->body);
    s->begun = s->begun || !e;
    if (!e)
        e = tape_writer_body_chunk(s->im->writer, &s->body, s->at_ns, piece);
    buf_consume(pending, piece.n);
    return e;
}

static enum err store_put(void *ctx, struct span bytes)
{
    struct store *s = ctx;
    struct buf *pending = &s->im->json;
    enum err e = ERR_OK;
    s->n += bytes.n;
    while (!e && bytes.n > 0) {
        if (pending->n == LIMIT_CHUNK_BYTES)
            e = store_piece(s);
        struct span piece = span_first(bytes, LIMIT_CHUNK_BYTES - pending->n);
        if (!e)
            e = buf_put(pending, piece);
        bytes = span_from(bytes, piece.n);
    }
    return e;
}

static enum err store_end(struct store *s, int64_t *id)
{
    struct buf *pending = &s->im->json;
    s->im->uncommitted_bytes += s->n;
    if (!s->begun && pending->n <= LIMIT_INLINE_BODY_BYTES)
        return tape_writer_content(s->im->writer, buf_span(pending), id);
    enum err e = pending->n > 0 ? store_piece(s) : ERR_OK;
    *id = s->body.id;
    return e ? e : tape_writer_body_end(s->im->writer, &s->body);
}

/* A text to the tape: *n bytes. */
static enum err store_text(struct import_entry *x, const struct tree_text *text, bool base64, double size,
                           int64_t at_ns, int64_t *id, uint64_t *n)
{
    struct har_importer *im = x->im;
    struct store s = {.im = im, .at_ns = at_ns};
    enum decode_form form;
    buf_clear(&im->json);
    enum err e = decode_form(&im->tree, text, base64, size, im->mends, &form);
    if (!e)
        e = decode_pass(&im->tree, text, form, store_put, &s);
    if (!e)
        e = store_end(&s, id);
    *n = s.n;
    return e;
}

/* --- requests ---------------------------------------------------------------------------------------------------- */

/* application/x-www-form-urlencoded, as the WHATWG URL standard writes it. */
static enum err put_form_text(struct buf *out, struct span s)
{
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < s.n; i++) {
        uint8_t c = s.p[i];
        bool plain = (c >= '0' && c <= '9') || ((c | 0x20) >= 'a' && (c | 0x20) <= 'z') || (c && strchr("*-._", c));
        e = plain ? buf_put_byte(out, c) : c == ' ' ? buf_put_byte(out, '+') : buf_printf(out, "%%%02X", c);
    }
    return e;
}

static enum err put_form(struct buf *out, const json_t *params)
{
    enum err e = ERR_OK;
    buf_clear(out);
    for (size_t i = 0; !e && i < json_array_size(params); i++) {
        const json_t *param = json_array_get(params, i);
        if (i > 0)
            e = buf_put_byte(out, '&');
        if (!e)
            e = put_form_text(out, tree_string(param, "name"));
        if (!e)
            e = buf_put_byte(out, '=');
        if (!e)
            e = put_form_text(out, tree_string(param, "value"));
    }
    return e;
}

/* A body that is told only as params. */
static enum err store_params(struct import_entry *x, const json_t *params, struct span type)
{
    struct har_importer *im = x->im;
    if (json_array_size(params) == 0)
        return ERR_OK;
    if (!mime_is_form(type)) {
        mend(im->mends, MEND_BAD_PARAMS);
        return ERR_OK;
    }
    mend(im->mends, MEND_FORM);
    enum err e = put_form(&im->json, params);
    x->row.request_bytes = im->json.n;
    return e ? e : tape_writer_content(im->writer, buf_span(&im->json), &x->row.request_body);
}

enum err import_request_body(struct import_entry *x)
{
    const json_t *data = tree_member(x->request, "postData");
    struct tree_text text = tree_text(&x->im->tree, data, "text");
    struct span encoding = tree_string(data, x->own ? "_encoding" : "encoding");
    double size = -1;
    uint64_t n = 0;
    (void)tree_number(x->request, "bodySize", &size);
    if (text.n == 0) {
        enum err e = store_params(x, tree_member(data, "params"), tree_string(data, "mimeType"));
        n = x->row.request_bytes;
        if (e || !x->own)
            return e;
    } else {
        enum err e = store_text(x, &text, span_eq_nocase(encoding, SPAN("base64")), size, x->row.sent_ns,
                                &x->row.request_body, &n);
        if (e)
            return e;
    }
    /* Of another program, a size that is not that of the text is an oversight; of ours, --max-body cut what is kept. */
    x->row.request_bytes = x->own && size > (double)n && size < 9e15 ? (uint64_t)size : n;
    return ERR_OK;
}

/* --- responses --------------------------------------------------------------------------------------------------- */

static bool has_no_content(const struct import_entry *x)
{
    return span_eq(x->row.method, SPAN("HEAD")) || x->row.status == 204 || x->row.status == 304 || x->row.status < 200;
}

/* Our own export says so where it could not undo a coding: then the text is what was sent. */
static bool is_as_it_came(const struct import_entry *x, const json_t *content)
{
    struct span comment = tree_string(content, "comment");
    return x->own && span_search(comment, SPAN("as it came: Content-Encoding")) < comment.n;
}

/* Content-Encoding fields get the other name, in their place. */
static enum err rename_coding(struct headers *h)
{
    struct headers renamed = HEADERS_INIT;
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < h->n; i++) {
        struct header field = headers_at(h, i);
        bool coding = span_eq_nocase(field.name, SPAN("Content-Encoding"));
        e = headers_add(&renamed, coding ? SPAN(TAPE_DECODED_FIELD) : field.name, field.value);
    }
    if (!e)
        e = headers_copy(h, &renamed);
    headers_free(&renamed);
    return e == ERR_LIMIT ? ERR_OK
                          : e; /* no room for the longer name: then the flow keeps the field, and is not decodable */
}

static enum err was_decoded(const struct import_entry *x, const json_t *content, uint64_t n, bool *yes)
{
    struct buf coding = BUF_INIT;
    enum err e = coding_field(&x->im->headers, &coding);
    *yes = !e && n > 0 && !coding_is_identity(buf_span(&coding)) && !is_as_it_came(x, content);
    buf_free(&coding);
    return e;
}

/* What was on the wire, from what is said (negative: nothing) and n bytes of content. */
static enum err response_size(struct import_entry *x, const json_t *content, double said, double size, uint64_t n)
{
    struct har_importer *im = x->im;
    bool decoded;
    double missing = said > 0 ? said : size;
    enum err e = was_decoded(x, content, n, &decoded);
    x->row.response_bytes = n;
    if (!e && decoded) {
        mend(im->mends, MEND_DECODED);
        x->row.response_bytes = said > 0 && said < 9e15 ? (uint64_t)said : n;
        return rename_coding(&im->headers);
    }
    if (!e && n == 0 && missing > 0 && missing < 9e15) {
        x->row.response_bytes = (uint64_t)missing;
        mend(im->mends, MEND_NO_CONTENT);
    } else if (!e && x->own && said > (double)n && said < 9e15) {
        x->row.response_bytes = (uint64_t)said; /* --max-body cut what is kept */
    } else if (!e && said >= 0 && said != (double)n) {
        mend(im->mends, MEND_BODY_SIZE);
    }
    return e;
}

enum err import_response_body(struct import_entry *x)
{
    const json_t *content = tree_member(x->response, "content");
    struct tree_text text = tree_text(&x->im->tree, content, "text");
    bool base64 = span_eq_nocase(span_trim(tree_string(content, "encoding")), SPAN("base64"));
    double size = -1, said = -1;
    uint64_t n = 0;
    (void)tree_number(content, "size", &size);
    (void)tree_number(x->response, "bodySize", &said);
    if (has_no_content(x)) {
        if (text.n > 0)
            mend(x->im->mends, MEND_NEVER_SENT);
        return ERR_OK;
    }
    enum err e = store_text(x, &text, base64, size, x->row.response_begin_ns, &x->row.response_body, &n);
    if (!e && n > 0 && size >= 0 && size != (double)n)
        mend(x->im->mends, MEND_SIZE);
    return e ? e : response_size(x, content, said, size, n);
}
