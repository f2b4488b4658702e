/* out.c: the one place that writes JSON in har/. Invariant: `pending` holds at most OUT_HIGH bytes and one piece. */
#include "har/out.h"

#include "base/text.h"

#include <assert.h>
#include <stdarg.h>

enum { OUT_HIGH = 65536 };

void out_init(struct out *o, const struct har_sink *sink)
{
    *o = (struct out){.pending = BUF_INIT, .sink = sink, .e = ERR_OK};
}

void out_free(struct out *o)
{
    buf_free(&o->pending);
}

enum err out_flush(struct out *o)
{
    if (!o->e && o->pending.n > 0)
        o->e = o->sink->write(o->sink->ctx, buf_span(&o->pending));
    buf_clear(&o->pending);
    return o->e;
}

static void out_check(struct out *o, enum err e)
{
    if (!o->e)
        o->e = e;
    if (o->pending.n >= OUT_HIGH)
        o->e = out_flush(o);
}

void out_raw(struct out *o, struct span s)
{
    if (!o->e)
        out_check(o, buf_put(&o->pending, s));
}

void out_str(struct out *o, const char *s)
{
    out_raw(o, span_str(s));
}

void out_printf(struct out *o, const char *format, ...)
{
    va_list args;
    if (o->e)
        return;
    va_start(args, format);
    out_check(o, buf_vprintf(&o->pending, format, args));
    va_end(args);
}

static void out_value(struct out *o)
{
    if (o->comma)
        out_raw(o, SPAN(","));
    o->comma = true;
}

void out_open(struct out *o, char bracket)
{
    out_value(o);
    out_raw(o, span_of(&bracket, 1));
    o->comma = false;
}

void out_close(struct out *o, char bracket)
{
    out_raw(o, span_of(&bracket, 1));
    o->comma = true;
}

void out_key(struct out *o, const char *key)
{
    out_value(o);
    out_raw(o, SPAN("\""));
    out_str(o, key); /* ours: nothing to escape */
    out_raw(o, SPAN("\":"));
    o->comma = false;
}

void out_string(struct out *o, struct span s)
{
    out_value(o);
    if (!o->e)
        out_check(o, text_json_string(&o->pending, s));
}

void out_u64(struct out *o, uint64_t v)
{
    out_value(o);
    if (!o->e)
        out_check(o, buf_put_u64(&o->pending, v));
}

void out_i64(struct out *o, int64_t v)
{
    out_value(o);
    out_printf(o, "%lld", (long long)v);
}

void out_bool(struct out *o, bool v)
{
    out_value(o);
    out_str(o, v ? "true" : "false");
}

void out_null(struct out *o)
{
    out_value(o);
    out_str(o, "null");
}

void out_ms(struct out *o, int64_t us)
{
    if (us < 0) {
        out_i64(o, -1);
        return;
    }
    out_value(o);
    long long whole = us / 1000, part = us % 1000;
    if (part == 0)
        out_printf(o, "%lld", whole);
    else
        out_printf(o, "%lld.%03lld", whole, part);
}

void out_json(struct out *o, struct span json)
{
    out_value(o);
    out_raw(o, json);
}

void out_member(struct out *o, const char *key, struct span value)
{
    out_key(o, key);
    out_string(o, value);
}

void out_member_str(struct out *o, const char *key, const char *value)
{
    out_member(o, key, span_str(value));
}

void out_member_u64(struct out *o, const char *key, uint64_t value)
{
    out_key(o, key);
    out_u64(o, value);
}

void out_member_i64(struct out *o, const char *key, int64_t value)
{
    out_key(o, key);
    out_i64(o, value);
}

void out_member_bool(struct out *o, const char *key, bool value)
{
    out_key(o, key);
    out_bool(o, value);
}

void out_member_ms(struct out *o, const char *key, int64_t us)
{
    out_key(o, key);
    out_ms(o, us);
}

/* --- long strings ------------------------------------------------------------------------------------------------ */

/* How many bytes the character that begins with `lead` has; 0: none does. */
static size_t utf8_length(uint8_t lead)
{
    return lead < 0x80                    ? 1
           : lead >= 0xc2 && lead <= 0xdf ? 2
           : lead >= 0xe0 && lead <= 0xef ? 3
           : lead >= 0xf0 && lead <= 0xf4 ? 4
                                          : 0;
}

/* The length of the unfinished character at the end of s: 0 to 3. */
static size_t utf8_unfinished(struct span s)
{
    for (size_t back = 1; back <= 3 && back <= s.n; back++) {
        uint8_t c = s.p[s.n - back];
        if ((c & 0xc0) != 0x80)
            return utf8_length(c) > back ? back : 0;
    }
    return 0;
}

void carry_utf8(struct carry *c, struct span in, uint8_t scratch[8], struct span *first, struct span *rest)
{
    *first = *rest = SPAN_EMPTY;
    if (c->n > 0) {
        size_t take = utf8_length(c->bytes[0]) - c->n;
        take = take < in.n ? take : in.n;
        if (take > 0)
            memcpy(c->bytes + c->n, in.p, take);
        c->n += take;
        in = span_from(in, take);
        if (c->n < utf8_length(c->bytes[0]))
            return;
        memcpy(scratch, c->bytes, c->n);
        *first = span_of(scratch, c->n);
        c->n = 0;
    }
    c->n = utf8_unfinished(in);
    *rest = span_first(in, in.n - c->n);
    if (c->n > 0)
        memcpy(c->bytes, in.p + rest->n, c->n);
}

/* As carry_utf8(), for triples. */
static void carry_base64(struct carry *c, struct span in, uint8_t scratch[8], struct span *first, struct span *rest)
{
    *first = *rest = SPAN_EMPTY;
    while (c->n > 0 && c->n < 3 && in.n > 0) {
        c->bytes[c->n++] = in.p[0];
        in = span_from(in, 1);
    }
    if (c->n == 3) {
        memcpy(scratch, c->bytes, 3);
        *first = span_of(scratch, 3);
        c->n = 0;
    }
    if (c->n > 0)
        return;
    *rest = span_first(in, in.n - in.n % 3);
    c->n = in.n - rest->n;
    if (c->n > 0)
        memcpy(c->bytes, in.p + rest->n, c->n);
}

/* Escaped, without the quotes that text_json_string() puts around. */
static void out_escaped(struct out *o, struct span s)
{
    if (o->e || s.n == 0)
        return;
    size_t before = o->pending.n;
    enum err e = text_json_string(&o->pending, s);
    if (!e) {
        uint8_t *start = o->pending.p + o->pending.head + before;
        o->pending.n -= 2;
        memmove(start, start + 1, o->pending.n - before);
    }
    out_check(o, e);
}

static void out_long_part(struct out *o, struct span s)
{
    if (o->form == OUT_TEXT)
        out_escaped(o, s);
    else if (!o->e)
        out_check(o, text_base64(&o->pending, s));
}

void out_long_begin(struct out *o, enum out_form form)
{
    out_value(o);
    out_raw(o, SPAN("\""));
    o->form = form;
    o->carry.n = 0;
}

void out_long_piece(struct out *o, struct span s)
{
    uint8_t scratch[8];
    struct span first, rest;
    if (o->form == OUT_TEXT)
        carry_utf8(&o->carry, s, scratch, &first, &rest);
    else
        carry_base64(&o->carry, s, scratch, &first, &rest);
    out_long_part(o, first);
    out_long_part(o, rest);
}

void out_long_end(struct out *o)
{
    assert(o->carry.n < 4);
    out_long_part(o, span_of(o->carry.bytes, o->carry.n));
    o->carry.n = 0;
    out_raw(o, SPAN("\""));
}
