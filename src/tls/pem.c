/* pem.c: PEM blocks in and out. Text between blocks is skipped, as everybody does; within a block only base64 and white
 * space are taken (no RFC 1421 headers, which encrypted keys of old have: they are refused as damaged). */
#include "tls/pem.h"

#include "base/text.h"
#include "base/util.h"

enum { PEM_LINE = 64 };

enum err pem_put(struct buf *out, const char *label, struct span der)
{
    struct buf text = BUF_INIT;
    enum err e = text_base64(&text, der);
    if (!e)
        e = buf_printf(out, "-----BEGIN %s-----\n", label);
    struct span rest = buf_span(&text);
    while (!e && rest.n > 0) {
        e = buf_put(out, span_first(rest, PEM_LINE));
        if (!e)
            e = buf_put_byte(out, '\n');
        rest = span_from(rest, PEM_LINE);
    }
    if (!e)
        e = buf_printf(out, "-----END %s-----\n", label);
    buf_free(&text);
    return e;
}

static enum err decode(struct span text, struct buf *der)
{
    struct buf packed = BUF_INIT;
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < text.n; i++) {
        uint8_t c = text.p[i];
        if (c != '\n' && c != '\r' && c != ' ' && c != '\t')
            e = buf_put_byte(&packed, c);
    }
    buf_clear(der);
    if (!e)
        e = text_base64_decode(der, buf_span(&packed));
    buf_free(&packed);
    return e;
}

enum err pem_next(struct span *in, struct span *label, struct buf *der)
{
    static const struct span begin = {(const uint8_t *)"-----BEGIN ", 11}, dashes = {(const uint8_t *)"-----", 5},
                             end = {(const uint8_t *)"-----END ", 9};
    size_t at = span_search(*in, begin);
    if (at == in->n) {
        *in = SPAN_EMPTY;
        return ERR_NOT_FOUND;
    }
    struct span rest = span_from(*in, at + begin.n);
    size_t label_n = span_search(rest, dashes);
    *label = span_first(rest, label_n);
    rest = span_from(rest, label_n + dashes.n);
    size_t body_n = span_search(rest, end);
    struct span body = span_first(rest, body_n);
    *in = span_from(rest, body_n);
    /* A block that never ends must not swallow the next one; and one whose last line is cut off was cut off. */
    struct span tail = span_from(*in, end.n);
    bool whole = span_starts_with(tail, *label) && span_starts_with(span_from(tail, label_n), dashes);
    if (!whole || span_search(body, dashes) < body.n) {
        *in = rest;
        return ERR_PARSE;
    }
    return decode(body, der);
}
