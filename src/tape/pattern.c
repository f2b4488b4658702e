/* pattern.c: one pass, outside and inside of brackets. Lazy quantifiers lose their mark: whether there is a match does not depend on it. */
#include "tape/pattern.h"

struct translator {
    struct span in;
    size_t at;
    struct buf *out;
};

static uint8_t peek(const struct translator *t, size_t ahead)
{
    return t->at + ahead < t->in.n ? t->in.p[t->at + ahead] : 0;
}

static enum err copy(struct translator *t, size_t n)
{
    struct span piece = span_first(span_from(t->in, t->at), n);
    t->at += piece.n;
    return buf_put(t->out, piece);
}

/* The control character that a letter stands for after a backslash, or 0. */
static uint8_t control(uint8_t c)
{
    return c == 'n' ? '\n' : c == 't' ? '\t' : c == 'r' ? '\r' : c == 'f' ? '\f' : c == 'v' ? '\v' : 0;
}

static bool is_word(uint8_t c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_';
}

/* A backslash within brackets, where POSIX has none: a class, or the character itself, kept from meaning something by [.x.]. */
static enum err escape_in_brackets(struct translator *t)
{
    uint8_t c = peek(t, 1);
    t->at += 2;
    if (c == 'd')
        return buf_put_str(t->out, "0-9");
    if (c == 'w')
        return buf_put_str(t->out, "[:alnum:]_");
    if (c == 's')
        return buf_put_str(t->out, "[:space:]");
    if (control(c))
        return buf_put_byte(t->out, control(c));
    return buf_printf(t->out, is_word(c) ? "\\%c" : "[.%c.]", c);
}

/* From '[' to its ']'. */
static enum err brackets(struct translator *t)
{
    enum err e = copy(t, peek(t, 1) == '^' ? 2 : 1);
    if (!e && peek(t, 0) == ']')
        e = copy(t, 1);
    while (!e && t->at < t->in.n && peek(t, 0) != ']') {
        uint8_t c = peek(t, 0), after = peek(t, 1);
        if (c == '\\' && after)
            e = escape_in_brackets(t);
        else if (c == '[' && (after == ':' || after == '.' || after == '=')) {
            const uint8_t close[] = {after, ']'};
            struct span rest = span_from(t->in, t->at + 2);
            e = copy(t, 2 + span_search(rest, span_of(close, 2)) + 2);
        } else
            e = copy(t, 1);
    }
    return e ? e : copy(t, 1);
}

static enum err escape(struct translator *t)
{
    uint8_t c = peek(t, 1);
    size_t start = t->at;
    t->at += 2;
    switch (c) {
    case 'd':
        return buf_put_str(t->out, "[0-9]");
    case 'D':
        return buf_put_str(t->out, "[^0-9]");
    case 'A':
        return buf_put_str(t->out, "\\`");
    case 'Z':
        return buf_put_str(t->out, "\\'");
    case '<':
    case '>':
    case '`':
    case '\'': /* anchors to GNU, themselves to Python */
        return buf_put_byte(t->out, c);
    default:
        break;
    }
    if (control(c))
        return buf_put_byte(t->out, control(c));
    t->at = start;
    return copy(t, 2);
}

enum err pattern_translate(struct span pattern, struct buf *out)
{
    struct translator t = {pattern, 0, out};
    bool quantified = false; /* what was written last is a quantifier */
    enum err e = ERR_OK;
    while (!e && t.at < pattern.n) {
        uint8_t c = peek(&t, 0), after = peek(&t, 1);
        bool quantifier = c == '*' || c == '+' || c == '?' || c == '}';
        if (c == '?' && quantified) {
            t.at++;
            quantifier = false;
        } else if (c == '\\' && after)
            e = escape(&t);
        else if (c == '[')
            e = brackets(&t);
        else if (c == '(' && after == '?') {
            if (peek(&t, 2) != ':')
                return ERR_UNSUPPORTED;
            t.at += 3;
            e = buf_put_byte(out, '(');
        } else
            e = copy(&t, 1);
        quantified = quantifier;
    }
    return e;
}
