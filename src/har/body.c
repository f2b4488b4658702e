/* body.c: two looks at a body, so that its form is known before its first byte is written. Memory is bounded by what is kept of small
 * ones. A body that holds a NUL is not text: many readers of JSON end a string there. */
#include "har/body.h"

#include "base/limits.h"
#include "base/text.h"
#include "http/coding.h"
#include "tape/content.h"

void body_free(struct body *b)
{
    buf_free(&b->encoding);
    buf_free(&b->kept);
}

static bool is_text(struct span s)
{
    return s.n == 0 || (!memchr(s.p, 0, s.n) && text_is_utf8(s));
}

static enum err body_seen(void *ctx, struct span bytes)
{
    struct body *b = ctx;
    b->size += bytes.n;
    if (b->form == OUT_TEXT) {
        uint8_t scratch[8];
        struct span first, rest;
        carry_utf8(&b->carry, bytes, scratch, &first, &rest);
        if (!is_text(first) || !is_text(rest))
            b->form = OUT_BASE64;
    }
    if (!b->whole)
        return ERR_OK;
    b->whole = b->size <= LIMIT_EXPORT_KEEP_BYTES;
    return b->whole ? buf_put(&b->kept, bytes) : ERR_OK;
}

static enum err body_scan(struct body *b, struct tape *tape)
{
    buf_clear(&b->kept);
    b->size = 0;
    b->form = OUT_TEXT;
    b->carry.n = 0;
    b->whole = true;
    enum err coding, e = tape_content(tape, &b->ref, buf_span(&b->encoding), body_seen, b, &coding);
    if (b->carry.n > 0)
        b->form = OUT_BASE64;
    b->coding = coding;
    return e;
}

enum err body_look(struct body *b, struct tape *tape, const struct tape_body_ref *ref, struct span encoding)
{
    b->ref = *ref;
    b->cut = ref->bytes < ref->wire_bytes;
    b->damaged = b->decoded = false;
    buf_clear(&b->encoding);
    bool coded = ref->bytes > 0 && !coding_is_identity(encoding);
    enum err e = coded ? buf_put(&b->encoding, encoding) : ERR_OK;
    if (!e)
        e = body_scan(b, tape);
    b->decoded = coded && !e && (!b->coding || (b->coding == ERR_TRUNCATED && b->size > 0));
    if (!e && coded && !b->decoded) {
        enum err why = b->coding;
        buf_clear(&b->encoding);
        e = body_scan(b, tape);
        b->coding = why;
    }
    if (e == ERR_CORRUPT) {
        b->damaged = b->whole = true;
        b->decoded = false;
        b->size = 0;
        b->form = OUT_TEXT;
        buf_clear(&b->kept);
        e = ERR_OK;
    }
    return e;
}

enum err body_pass(struct body *b, struct tape *tape, enum err (*sink)(void *ctx, struct span bytes), void *ctx)
{
    enum err coding;
    if (!b->whole)
        return tape_content(tape, &b->ref, buf_span(&b->encoding), sink, ctx, &coding);
    return b->kept.n > 0 ? sink(ctx, buf_span(&b->kept)) : ERR_OK;
}

static enum err body_piece(void *ctx, struct span bytes)
{
    struct out *o = ctx;
    out_long_piece(o, bytes);
    return o->e;
}

void body_write(struct body *b, struct tape *tape, struct out *o)
{
    out_long_begin(o, b->form);
    enum err e = o->e ? o->e : body_pass(b, tape, body_piece, o);
    if (!o->e)
        o->e = e;
    out_long_end(o);
}

enum err body_comment(const struct body *b, struct span encoding, struct buf *out)
{
    enum err e = ERR_OK;
    buf_clear(out);
    if (b->damaged)
        return buf_put_str(out, "the tape is damaged here: the content cannot be read");
    if (b->cut)
        e = buf_printf(out, "%llu of %llu bytes were kept on the tape", (unsigned long long)b->ref.bytes,
                       (unsigned long long)b->ref.wire_bytes);
    if (!e && b->coding && out->n > 0)
        e = buf_put_str(out, "; ");
    if (e || !b->coding)
        return e;
    if (b->decoded)
        return buf_put_str(out, "the encoded content ends early: this is what could be decoded");
    e = buf_put_str(out, "as it came: Content-Encoding ");
    if (!e)
        e = buf_put(out, span_first(encoding, 100));
    return e ? e
             : buf_printf(out, " could not be undone (%s)",
                          b->coding == ERR_TRUNCATED ? "it ends early" : err_text(b->coding));
}
