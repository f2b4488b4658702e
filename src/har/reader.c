/* reader.c: a state machine over blocks of the text. Nothing recurses: how deep values lie within each other is a number. */
#include "har/reader.h"

#include "base/util.h"

#include <assert.h>

void reader_init(struct reader *r, const struct har_source *source, struct buf *problem)
{
    *r = (struct reader){.source = source, .problem = problem, .line = 1, .state = READER_VALUE, .text = BUF_INIT};
}

void reader_free(struct reader *r)
{
    buf_free(&r->text);
}

enum err reader_fail(struct reader *r, const char *what)
{
    unsigned long long line = r->line, column = r->before + r->at - r->line_begins + 1;
    buf_clear(r->problem);
    enum err e = buf_printf(r->problem, "line %llu, column %llu: %s", line, column, what);
    return e ? e : ERR_PARSE;
}

/* More of the text into the empty block; at its end r->n stays 0. */
static enum err fill(struct reader *r)
{
    r->before += r->n;
    r->at = r->n = 0;
    if (r->ended)
        return ERR_OK;
    enum err e = r->source->read(r->source->ctx, r->block, sizeof r->block, &r->n);
    r->ended = r->n == 0;
    return e;
}

/* The byte at hand; -1: the end. */
static enum err peek(struct reader *r, int *c)
{
    enum err e = r->at == r->n ? fill(r) : ERR_OK;
    *c = e || r->n == 0 ? -1 : r->block[r->at];
    return e;
}

static enum err unexpected(struct reader *r, int c, const char *wanted)
{
    struct buf what = BUF_INIT;
    enum err e = c < 0                  ? buf_printf(&what, "the file ends where %s should stand", wanted)
                 : c > 0x20 && c < 0x7f ? buf_printf(&what, "'%c' where %s should stand", c, wanted)
                                        : buf_printf(&what, "byte 0x%02x where %s should stand", (unsigned)c, wanted);
    const char *text = e ? NULL : buf_cstr(&what);
    e = text ? reader_fail(r, text) : ERR_NOMEM;
    buf_free(&what);
    return e;
}

static enum err skip_space(struct reader *r, int *c)
{
    enum err e;
    while ((e = peek(r, c)) == ERR_OK && (*c == ' ' || *c == '\t' || *c == '\n' || *c == '\r')) {
        r->at++;
        if (*c == '\n') {
            r->line++;
            r->line_begins = r->before + r->at;
        }
    }
    return e;
}

/* --- strings ----------------------------------------------------------------------------------------------------- */

static enum err put(struct reader *r, struct span bytes)
{
    enum err e = ERR_OK;
    if (r->too_long)
        return ERR_OK;
    if (!r->spooled && r->text.n + bytes.n <= READER_TEXT_BYTES)
        return buf_put(&r->text, bytes);
    if (!r->spool) {
        r->too_long = true;
        return ERR_OK;
    }
    if (!r->spooled) {
        r->spooled = true;
        r->spooled_at = r->spool->n;
        e = spool_put(r->spool, buf_span(&r->text));
        buf_clear(&r->text);
    }
    if (!e)
        e = spool_put(r->spool, bytes);
    r->spooled_n = r->spool->n - r->spooled_at;
    return e;
}

static enum err put_scalar(struct reader *r, uint32_t c)
{
    uint8_t utf8[4];
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t leads[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n; i-- > 1; c >>= 6)
        utf8[i] = (uint8_t)(0x80 | (c & 0x3f));
    utf8[0] = (uint8_t)(leads[n] | c);
    return put(r, span_of(utf8, n));
}

static int hex_value(int c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static enum err read_hex4(struct reader *r, uint32_t *out)
{
    *out = 0;
    for (int i = 0; i < 4; i++) {
        int c;
        enum err e = peek(r, &c);
        if (e)
            return e;
        int v = c < 0 ? -1 : hex_value(c);
        if (v < 0)
            return unexpected(r, c, "a hexadecimal digit of \\u");
        *out = *out << 4 | (uint32_t)v;
        r->at++;
    }
    return ERR_OK;
}

/* What half of a pair waits for its other one, and what comes instead: neither is a character. */
static enum err flush_half(struct reader *r, uint32_t *half)
{
    if (*half == 0)
        return ERR_OK;
    *half = 0;
    r->halves++;
    return put_scalar(r, 0xfffd);
}

static enum err read_unicode(struct reader *r, uint32_t *half)
{
    uint32_t c;
    enum err e = read_hex4(r, &c);
    if (e)
        return e;
    if (c >= 0xdc00 && c < 0xe000 && *half) {
        c = 0x10000 + ((*half - 0xd800) << 10) + (c - 0xdc00);
        *half = 0;
        return put_scalar(r, c);
    }
    e = flush_half(r, half);
    if (!e && c >= 0xd800 && c < 0xdc00) {
        *half = c;
        return ERR_OK;
    }
    if (c >= 0xdc00 && c < 0xe000) {
        r->halves++;
        c = 0xfffd;
    }
    return e ? e : put_scalar(r, c);
}

/* After the backslash. */
static enum err read_escape(struct reader *r, uint32_t *half)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    int c;
    enum err e = peek(r, &c);
    if (e)
        return e;
    const char *known = c > 0 ? strchr(from, c) : NULL;
    if (!known && c != 'u')
        return unexpected(r, c, "an escaped character");
    r->at++;
    if (c == 'u')
        return read_unicode(r, half);
    e = flush_half(r, half);
    return e ? e : put_scalar(r, (uint8_t)to[known - from]);
}

static enum err read_string(struct reader *r)
{
    uint32_t half = 0;
    int c;
    enum err e = ERR_OK;
    buf_clear(&r->text);
    r->spooled = r->too_long = false;
    r->at++;
    while (!e && (e = peek(r, &c)) == ERR_OK) {
        size_t from = r->at;
        while (r->at < r->n && r->block[r->at] != '"' && r->block[r->at] != '\\' && r->block[r->at] >= 0x20)
            r->at++;
        if (r->at > from) {
            e = flush_half(r, &half);
            if (!e)
                e = put(r, span_of(r->block + from, r->at - from));
            continue;
        }
        if (c < 0x20)
            return unexpected(r, c, "more of a string, or its closing quote,");
        r->at++;
        if (c == '"')
            return flush_half(r, &half);
        e = read_escape(r, &half);
    }
    return e;
}

/* --- numbers and words ------------------------------------------------------------------------------------------- */

static enum err number_byte(struct reader *r, int c)
{
    r->at++;
    if (r->text.n >= READER_NUMBER_BYTES) {
        r->too_long = true;
        return ERR_OK;
    }
    return buf_put_byte(&r->text, (uint8_t)c);
}

/* One digit or more. */
static enum err read_digits(struct reader *r)
{
    int c;
    enum err e = peek(r, &c);
    if (!e && (c < '0' || c > '9'))
        return unexpected(r, c, "a digit");
    while (!e && c >= '0' && c <= '9') {
        e = number_byte(r, c);
        if (!e)
            e = peek(r, &c);
    }
    return e;
}

static enum err read_number(struct reader *r)
{
    int c;
    buf_clear(&r->text);
    r->spooled = r->too_long = false;
    enum err e = peek(r, &c);
    if (!e && c == '-')
        e = number_byte(r, c);
    if (!e)
        e = peek(r, &c);
    if (!e && c == '0') /* no further digit may follow */
        e = number_byte(r, c);
    else if (!e)
        e = read_digits(r);
    if (!e && (e = peek(r, &c)) == ERR_OK && c == '.') {
        e = number_byte(r, c);
        if (!e)
            e = read_digits(r);
    }
    if (!e && (e = peek(r, &c)) == ERR_OK && (c == 'e' || c == 'E')) {
        e = number_byte(r, c);
        if (!e)
            e = peek(r, &c);
        if (!e && (c == '+' || c == '-'))
            e = number_byte(r, c);
        if (!e)
            e = read_digits(r);
    }
    return e;
}

static enum err read_word(struct reader *r, const char *word)
{
    enum err e = ERR_OK;
    for (; !e && *word; word++) {
        int c;
        e = peek(r, &c);
        if (!e && c != *word)
            return unexpected(r, c, "true, false or null");
        r->at++;
    }
    return e;
}

/* --- structure --------------------------------------------------------------------------------------------------- */

static void value_ended(struct reader *r)
{
    r->state = r->depth == 0 ? READER_DONE : READER_NEXT;
}

static enum err open_value(struct reader *r, bool array, enum token *out)
{
    if (r->depth == READER_DEPTH)
        return reader_fail(r, "values lie within each other too deeply");
    r->at++;
    r->in_array[++r->depth] = array;
    r->state = READER_FIRST;
    *out = array ? TOKEN_ARRAY : TOKEN_OBJECT;
    return ERR_OK;
}

static enum err read_value(struct reader *r, int c, enum token *out)
{
    enum err e;
    switch (c) {
    case '{':
        return open_value(r, false, out);
    case '[':
        return open_value(r, true, out);
    case '"':
        *out = TOKEN_STRING;
        e = read_string(r);
        break;
    case 't':
        *out = TOKEN_TRUE;
        e = read_word(r, "true");
        break;
    case 'f':
        *out = TOKEN_FALSE;
        e = read_word(r, "false");
        break;
    case 'n':
        *out = TOKEN_NULL;
        e = read_word(r, "null");
        break;
    default:
        if (c != '-' && (c < '0' || c > '9'))
            return unexpected(r, c, "a value");
        *out = TOKEN_NUMBER;
        e = read_number(r);
        break;
    }
    if (!e)
        value_ended(r);
    return e;
}

static enum err read_key(struct reader *r, int c, enum token *out)
{
    if (c != '"')
        return unexpected(r, c, "a name in quotes");
    enum err e = read_string(r);
    *out = TOKEN_KEY;
    r->state = READER_COLON;
    return e;
}

static enum err close_value(struct reader *r, enum token *out)
{
    r->at++;
    *out = r->in_array[r->depth--] ? TOKEN_ARRAY_END : TOKEN_OBJECT_END;
    value_ended(r);
    return ERR_OK;
}

enum err reader_next(struct reader *r, enum token *out)
{
    int c;
    enum err e = skip_space(r, &c);
    r->token_line = r->line;
    if (!e && r->state == READER_COLON) {
        if (c != ':')
            return unexpected(r, c, "a colon");
        r->at++;
        r->state = READER_VALUE;
        e = skip_space(r, &c);
    }
    if (e)
        return e;
    if (r->state == READER_DONE) {
        *out = TOKEN_END;
        return c < 0 ? ERR_OK : unexpected(r, c, "the end of the file");
    }
    if (r->state == READER_VALUE)
        return read_value(r, c, out);
    bool array = r->in_array[r->depth];
    if (c == (array ? ']' : '}'))
        return close_value(r, out);
    if (r->state == READER_NEXT) {
        if (c != ',')
            return unexpected(r, c, array ? "a comma or ']'" : "a comma or '}'");
        r->at++;
        e = skip_space(r, &c);
        if (e)
            return e;
    }
    return array ? read_value(r, c, out) : read_key(r, c, out);
}

enum err reader_skip(struct reader *r, enum token begun)
{
    if (begun != TOKEN_OBJECT && begun != TOKEN_ARRAY)
        return ERR_OK;
    struct spool *spool = r->spool;
    unsigned outside = r->depth - 1;
    enum err e = ERR_OK;
    r->spool = NULL;
    while (!e && r->depth > outside) {
        enum token token;
        e = reader_next(r, &token);
    }
    r->spool = spool;
    return e;
}
