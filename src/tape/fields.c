/* fields.c: field lists as packed bytes and as JSON. What reads JSON here reads a tape, so anything may come: it accepts exactly the
 * shape that is written, bounds everything by `struct headers`' own limits, and lets no CR, LF or NUL through, which could never have been
 * in a field and would split a message when sent again. */
#include "tape/fields.h"

#include "base/text.h"
#include "tape/tape.h"

enum { PAIR_BYTES = 2 * sizeof(uint32_t) };

size_t fields_size(const struct headers *h)
{
    size_t n = (size_t)h->n * PAIR_BYTES;
    for (uint32_t i = 0; i < h->n; i++)
        n += (size_t)h->fields[i].name.n + h->fields[i].value.n;
    return n;
}

void fields_pack(const struct headers *h, uint8_t *out)
{
    uint8_t *to = out + (size_t)h->n * PAIR_BYTES;
    for (uint32_t i = 0; i < h->n; i++) {
        struct header field = headers_at(h, i);
        uint32_t pair[2] = {(uint32_t)field.name.n, (uint32_t)field.value.n};
        memcpy(out + (size_t)i * PAIR_BYTES, pair, PAIR_BYTES);
        if (field.name.n)
            memcpy(to, field.name.p, field.name.n);
        to += field.name.n;
        if (field.value.n)
            memcpy(to, field.value.p, field.value.n);
        to += field.value.n;
    }
}

bool fields_unpack(uint32_t n, struct span packed, struct fields_packed *out)
{
    size_t lengths = (size_t)n * PAIR_BYTES, bytes = 0;
    if (packed.n < lengths)
        return false;
    *out = (struct fields_packed){n, packed.p, span_from(packed, lengths)};
    for (uint32_t i = 0; i < n; i++) {
        uint32_t pair[2];
        memcpy(pair, out->lengths + (size_t)i * PAIR_BYTES, PAIR_BYTES);
        bytes += (size_t)pair[0] + pair[1];
    }
    return bytes == out->bytes.n;
}

bool fields_next(const struct fields_packed *f, uint32_t *at, size_t *offset, struct header *out)
{
    if (*at >= f->n)
        return false;
    uint32_t pair[2];
    memcpy(pair, f->lengths + (size_t)*at * PAIR_BYTES, PAIR_BYTES);
    const uint8_t *p = f->bytes.p ? f->bytes.p + *offset : NULL;
    *out = (struct header){{p, pair[0]}, {p ? p + pair[0] : NULL, pair[1]}};
    *offset += (size_t)pair[0] + pair[1];
    ++*at;
    return true;
}

enum err fields_json_value(struct span s, struct buf *out)
{
    if (text_is_utf8(s) && span_find(s, 0) == s.n)
        return text_json_string(out, s);
    enum err e = buf_put_str(out, "{\"base64\":\"");
    if (!e)
        e = text_base64(out, s);
    return e ? e : buf_put_str(out, "\"}");
}

static enum err field_json(struct header field, bool first, struct buf *out)
{
    enum err e = buf_put_str(out, first ? "[" : ",[");
    if (!e)
        e = fields_json_value(field.name, out);
    if (!e)
        e = buf_put_byte(out, ',');
    if (!e)
        e = fields_json_value(field.value, out);
    return e ? e : buf_put_byte(out, ']');
}

enum err fields_json(const struct fields_packed *f, struct buf *out)
{
    struct header field;
    uint32_t at = 0;
    size_t offset = 0;
    enum err e = buf_put_byte(out, '[');
    while (!e && fields_next(f, &at, &offset, &field))
        e = field_json(field, at == 1, out);
    return e ? e : buf_put_byte(out, ']');
}

enum err tape_headers_json(const struct headers *h, struct buf *out)
{
    enum err e = buf_put_byte(out, '[');
    for (uint32_t i = 0; !e && i < h->n; i++)
        e = field_json(headers_at(h, i), i == 0, out);
    return e ? e : buf_put_byte(out, ']');
}

/* --- reading ----------------------------------------------------------------------------------------------------- */

/* `at` never passes `end`; `scratch` holds one decoded string a slot. */
struct reader {
    const uint8_t *at, *end;
};

static void skip_space(struct reader *r)
{
    while (r->at < r->end && (*r->at == ' ' || *r->at == '\t' || *r->at == '\n' || *r->at == '\r'))
        r->at++;
}

static bool take(struct reader *r, uint8_t c)
{
    skip_space(r);
    if (r->at == r->end || *r->at != c)
        return false;
    r->at++;
    return true;
}

static int hex_digit(uint8_t c)
{
    return c >= '0' && c <= '9'   ? c - '0'
           : c >= 'a' && c <= 'f' ? c - 'a' + 10
           : c >= 'A' && c <= 'F' ? c - 'A' + 10
                                  : -1;
}

static bool take_hex4(struct reader *r, uint32_t *out)
{
    if (r->end - r->at < 4)
        return false;
    *out = 0;
    for (int i = 0; i < 4; i++) {
        int digit = hex_digit(*r->at++);
        if (digit < 0)
            return false;
        *out = *out << 4 | (uint32_t)digit;
    }
    return true;
}

static size_t utf8_encode(uint32_t c, uint8_t out[4])
{
    if (c < 0x80) {
        out[0] = (uint8_t)c;
        return 1;
    }
    if (c < 0x800) {
        out[0] = (uint8_t)(0xc0 | c >> 6);
        out[1] = (uint8_t)(0x80 | (c & 0x3f));
        return 2;
    }
    if (c < 0x10000) {
        out[0] = (uint8_t)(0xe0 | c >> 12);
        out[1] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
        out[2] = (uint8_t)(0x80 | (c & 0x3f));
        return 3;
    }
    out[0] = (uint8_t)(0xf0 | c >> 18);
    out[1] = (uint8_t)(0x80 | (c >> 12 & 0x3f));
    out[2] = (uint8_t)(0x80 | (c >> 6 & 0x3f));
    out[3] = (uint8_t)(0x80 | (c & 0x3f));
    return 4;
}

/* After "\u". A pair of surrogates is one character; a lone one is refused. */
static enum err take_unicode(struct reader *r, struct buf *out)
{
    uint32_t c, low;
    uint8_t bytes[4];
    if (!take_hex4(r, &c))
        return ERR_CORRUPT;
    if (c >= 0xd800 && c < 0xdc00) {
        if (r->end - r->at < 6 || r->at[0] != '\\' || r->at[1] != 'u')
            return ERR_CORRUPT;
        r->at += 2;
        if (!take_hex4(r, &low) || low < 0xdc00 || low > 0xdfff)
            return ERR_CORRUPT;
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
    } else if (c >= 0xdc00 && c <= 0xdfff)
        return ERR_CORRUPT;
    return buf_put(out, span_of(bytes, utf8_encode(c, bytes)));
}

static enum err take_escape(struct reader *r, struct buf *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    if (r->at == r->end)
        return ERR_CORRUPT;
    uint8_t c = *r->at++;
    if (c == 'u')
        return take_unicode(r, out);
    const char *found = c ? strchr(from, c) : NULL;
    return found ? buf_put_byte(out, (uint8_t)to[found - from]) : ERR_CORRUPT;
}

/* A string. Without escapes it is a view of the JSON; else it is in `scratch`, which is cleared first. */
static enum err take_string(struct reader *r, struct buf *scratch, struct span *out)
{
    if (!take(r, '"'))
        return ERR_CORRUPT;
    const uint8_t *plain = r->at;
    bool escaped = false;
    buf_clear(scratch);
    for (;;) {
        while (r->at < r->end && *r->at != '"' && *r->at != '\\' && *r->at >= 0x20)
            r->at++;
        if (r->at == r->end || *r->at < 0x20)
            return ERR_CORRUPT;
        struct span piece = span_of(plain, (size_t)(r->at - plain));
        if (*r->at++ == '"' && !escaped) {
            *out = piece;
            return ERR_OK;
        }
        enum err e = buf_put(scratch, piece);
        if (e)
            return e;
        if (r->at[-1] == '"') {
            *out = buf_span(scratch);
            return ERR_OK;
        }
        escaped = true;
        e = take_escape(r, scratch);
        if (e)
            return e;
        plain = r->at;
    }
}

/* A string, or {"base64": string}. */
static enum err take_value(struct reader *r, struct buf *scratch, struct buf *decoded, struct span *out)
{
    if (!take(r, '{'))
        return take_string(r, scratch, out);
    struct span name, text;
    enum err e = take_string(r, scratch, &name);
    if (!e && (!span_eq(name, SPAN("base64")) || !take(r, ':')))
        e = ERR_CORRUPT;
    if (!e)
        e = take_string(r, scratch, &text);
    if (!e && !take(r, '}'))
        e = ERR_CORRUPT;
    if (e)
        return e;
    buf_clear(decoded);
    e = text_base64_decode(decoded, text);
    *out = buf_span(decoded);
    return e == ERR_PARSE ? ERR_CORRUPT : e;
}

static bool is_one_line(struct span s)
{
    return s.n == 0 || (!memchr(s.p, '\r', s.n) && !memchr(s.p, '\n', s.n) && !memchr(s.p, 0, s.n));
}

/* Four buffers: text and base64, of name and of value. */
static enum err take_field(struct reader *r, struct buf scratch[4], struct headers *out)
{
    struct span name, value;
    if (!take(r, '['))
        return ERR_CORRUPT;
    enum err e = take_value(r, &scratch[0], &scratch[1], &name);
    if (!e && !take(r, ','))
        e = ERR_CORRUPT;
    if (!e)
        e = take_value(r, &scratch[2], &scratch[3], &value);
    if (!e && (!take(r, ']') || !is_one_line(name) || !is_one_line(value)))
        e = ERR_CORRUPT;
    return e ? e : headers_add(out, name, value);
}

enum err tape_headers(struct span json, struct headers *out)
{
    struct reader r = {json.p, json.p ? json.p + json.n : NULL};
    struct buf scratch[4] = {BUF_INIT, BUF_INIT, BUF_INIT, BUF_INIT};
    headers_clear(out);
    if (json.n == 0)
        return ERR_OK;
    enum err e = take(&r, '[') ? ERR_OK : ERR_CORRUPT;
    if (!e && !take(&r, ']')) {
        do
            e = take_field(&r, scratch, out);
        while (!e && take(&r, ','));
        if (!e && !take(&r, ']'))
            e = ERR_CORRUPT;
    }
    skip_space(&r);
    if (!e && r.at != r.end)
        e = ERR_CORRUPT;
    for (size_t i = 0; i < 4; i++)
        buf_free(&scratch[i]);
    return e;
}
