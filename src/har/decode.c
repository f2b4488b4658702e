/* decode.c: a first pass gathers facts, a second one decodes; both in pieces. */
#include "har/decode.h"

#include "base/text.h"

/* --- facts ------------------------------------------------------------------------------------------------------- */

static bool is_space(uint8_t c)
{
    return c == ' ' || c == '\t' || c == '\r' || c == '\n';
}

/* The URL-safe alphabet (RFC 4648 §5) too. */
static int base64_digit(uint8_t c)
{
    return c == '-' ? 62 : c == '_' ? 63 : text_base64_value(c);
}

static void see_base64(struct decode_facts *f, uint8_t c)
{
    if (is_space(c))
        return;
    if (c == '=')
        f->base64 = ++f->padding <= 2;
    else if (f->padding > 0 || base64_digit(c) < 0)
        f->base64 = false;
    else
        f->digits++;
}

/* Of characters up to U+00FF only those of two bytes begin with C2 or C3. */
static void see_latin1(struct decode_facts *f, uint8_t c)
{
    if (f->lead) {
        f->latin1 = c >= 0x80 && c < 0xc0;
        f->lead = 0;
        return;
    }
    f->chars++;
    if (c == 0xc2 || c == 0xc3)
        f->lead = c;
    else
        f->latin1 = c < 0x80;
}

static enum err see(void *ctx, struct span bytes)
{
    struct decode_facts *f = ctx;
    f->n += bytes.n;
    for (size_t i = 0; i < bytes.n && (f->base64 || f->latin1); i++) {
        if (f->base64)
            see_base64(f, bytes.p[i]);
        if (f->latin1)
            see_latin1(f, bytes.p[i]);
    }
    return ERR_OK;
}

static void facts_end(struct decode_facts *f)
{
    f->latin1 = f->latin1 && f->lead == 0;
    f->base64 = f->base64 && f->digits % 4 != 1 && (f->padding == 0 || (f->digits + f->padding) % 4 == 0);
}

uint64_t decode_base64_size(const struct decode_facts *f)
{
    return f->digits / 4 * 3 + (f->digits % 4 ? f->digits % 4 - 1 : 0);
}

/* --- passes ------------------------------------------------------------------------------------------------------ */

struct pass {
    enum err (*sink)(void *ctx, struct span bytes);
    void *ctx;
    uint32_t bits;
    unsigned have; /* bits */
    uint8_t lead;
};

static enum err pass_base64(void *ctx, struct span in)
{
    struct pass *p = ctx;
    uint8_t out[4096];
    size_t n = 0;
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < in.n; i++) {
        int v = base64_digit(in.p[i]);
        if (v < 0)
            continue; /* white space and padding: the facts were looked at before */
        p->bits = (p->bits << 6 | (uint32_t)v) & 0xffff;
        p->have += 6;
        if (p->have < 8)
            continue;
        p->have -= 8;
        out[n++] = (uint8_t)(p->bits >> p->have);
        if (n == sizeof out) {
            e = p->sink(p->ctx, span_of(out, n));
            n = 0;
        }
    }
    return !e && n > 0 ? p->sink(p->ctx, span_of(out, n)) : e;
}

static enum err pass_latin1(void *ctx, struct span in)
{
    struct pass *p = ctx;
    uint8_t out[4096];
    size_t n = 0;
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < in.n; i++) {
        uint8_t c = in.p[i];
        if (!p->lead && c >= 0x80) {
            p->lead = c;
            continue;
        }
        out[n++] = p->lead ? (uint8_t)((p->lead & 3) << 6 | (c & 0x3f)) : c;
        p->lead = 0;
        if (n == sizeof out) {
            e = p->sink(p->ctx, span_of(out, n));
            n = 0;
        }
    }
    return !e && n > 0 ? p->sink(p->ctx, span_of(out, n)) : e;
}

enum err decode_pass(const struct tree *t, const struct tree_text *text, enum decode_form form,
                     enum err (*sink)(void *ctx, struct span bytes), void *ctx)
{
    struct pass last = {.sink = sink, .ctx = ctx};
    struct pass first = {.sink = pass_base64, .ctx = &last};
    switch (form) {
    case DECODE_BASE64:
        return tree_text_pass(t, text, pass_base64, &last);
    case DECODE_BASE64_TWICE:
        return tree_text_pass(t, text, pass_base64, &first);
    case DECODE_LATIN1:
        return tree_text_pass(t, text, pass_latin1, &last);
    case DECODE_TEXT:
        break;
    }
    return tree_text_pass(t, text, sink, ctx);
}

/* --- which ------------------------------------------------------------------------------------------------------- */

static bool size_is(double said, uint64_t n)
{
    return said >= 0 && said == (double)n;
}

static enum err look(const struct tree *t, const struct tree_text *text, enum decode_form form, struct decode_facts *f)
{
    *f = (struct decode_facts){.latin1 = true, .base64 = true};
    enum err e = decode_pass(t, text, form, see, f);
    facts_end(f);
    return e;
}

/* It is said to be base64, and is. */
static enum err form_of_base64(const struct tree *t, const struct tree_text *text, uint64_t n, double size,
                               struct mends *mends, enum decode_form *out)
{
    struct decode_facts inner = {.n = 0};
    *out = DECODE_BASE64;
    if (size < 0 || size_is(size, n))
        return ERR_OK;
    enum err e = look(t, text, DECODE_BASE64, &inner);
    if (!e && inner.base64 && size_is(size, decode_base64_size(&inner))) {
        *out = DECODE_BASE64_TWICE;
        mend(mends, MEND_BASE64_TWICE);
    }
    return e;
}

enum err decode_form(const struct tree *t, const struct tree_text *text, bool said_base64, double size,
                     struct mends *mends, enum decode_form *out)
{
    struct decode_facts f;
    *out = DECODE_TEXT;
    enum err e = look(t, text, DECODE_TEXT, &f);
    if (e || f.n == 0)
        return e;
    if (said_base64 && f.base64)
        return form_of_base64(t, text, decode_base64_size(&f), size, mends, out);
    if (said_base64)
        mend(mends, MEND_NOT_BASE64);
    if (size <= 0 || size_is(size, f.n))
        return ERR_OK;
    if (f.base64 && !said_base64 && size_is(size, decode_base64_size(&f))) {
        *out = DECODE_BASE64;
        mend(mends, MEND_BASE64);
    } else if (f.latin1 && size_is(size, f.chars)) {
        *out = DECODE_LATIN1;
        mend(mends, MEND_LATIN1);
    }
    return ERR_OK;
}
