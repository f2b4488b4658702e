/* text.c: escaping and encodings. Everything here reads hostile bytes. */
#include "base/text.h"

/* The length of the well-formed sequence at s, or 0 (RFC 3629 §4's table). */
static size_t utf8_sequence(struct span s)
{
    uint8_t c = s.p[0];
    if (c < 0x80)
        return 1;
    size_t n = c >= 0xc2 && c <= 0xdf ? 2 : c >= 0xe0 && c <= 0xef ? 3 : c >= 0xf0 && c <= 0xf4 ? 4 : 0;
    if (n == 0 || s.n < n)
        return 0;
    uint8_t low = c == 0xe0 ? 0xa0 : c == 0xf0 ? 0x90 : 0x80;
    uint8_t high = c == 0xed ? 0x9f : c == 0xf4 ? 0x8f : 0xbf;
    if (s.p[1] < low || s.p[1] > high)
        return 0;
    for (size_t i = 2; i < n; i++)
        if ((s.p[i] & 0xc0) != 0x80)
            return 0;
    return n;
}

size_t text_utf8_prefix(struct span s)
{
    size_t at = 0;
    while (at < s.n) {
        uint64_t word;
        if (s.n - at >= 8) {
            memcpy(&word, s.p + at, 8);
            if ((word & UINT64_C(0x8080808080808080)) == 0) {
                at += 8;
                continue;
            }
        }
        size_t n = utf8_sequence(span_from(s, at));
        if (n == 0)
            break;
        at += n;
    }
    return at;
}

bool text_is_utf8(struct span s)
{
    return text_utf8_prefix(s) == s.n;
}

/* C1 controls (U+0080..U+009F), bidirectional controls (U+061C, U+200E/F, U+202A..E, U+2066..9). */
static bool is_tricky(struct span s, size_t n)
{
    if (n == 2)
        return (s.p[0] == 0xc2 && s.p[1] < 0xa0) || (s.p[0] == 0xd8 && s.p[1] == 0x9c);
    if (n != 3 || s.p[0] != 0xe2)
        return false;
    return (s.p[1] == 0x80 && (s.p[2] == 0x8e || s.p[2] == 0x8f || (s.p[2] >= 0xaa && s.p[2] <= 0xae))) ||
           (s.p[1] == 0x81 && s.p[2] >= 0xa6 && s.p[2] <= 0xa9);
}

static enum err json_byte(struct buf *out, uint8_t c)
{
    switch (c) {
    case '"':
        return buf_put_str(out, "\\\"");
    case '\\':
        return buf_put_str(out, "\\\\");
    case '\n':
        return buf_put_str(out, "\\n");
    case '\r':
        return buf_put_str(out, "\\r");
    case '\t':
        return buf_put_str(out, "\\t");
    default:
        return buf_printf(out, "\\u%04x", c);
    }
}

/* One character of well-formed UTF-8, n bytes long: as it is shown to a terminal, no less than to a program. */
static enum err json_escape(struct buf *out, const uint8_t *p, size_t n)
{
    if (n == 1)
        return json_byte(out, p[0]);
    unsigned c =
        n == 2 ? (p[0] & 0x1fu) << 6 | (p[1] & 0x3fu) : (p[0] & 0x0fu) << 12 | (p[1] & 0x3fu) << 6 | (p[2] & 0x3fu);
    return buf_printf(out, "\\u%04x", c);
}

enum err text_json_string(struct buf *out, struct span s)
{
    enum err e = buf_put_byte(out, '"');
    size_t at = 0, plain = 0; /* [plain, at) needs no escape */
    while (!e && at < s.n) {
        uint8_t c = s.p[at];
        size_t n = utf8_sequence(span_from(s, at));
        if (n > 0 && c >= 0x20 && c != '"' && c != '\\' && c != 0x7f && !is_tricky(span_from(s, at), n)) {
            at += n;
            continue;
        }
        e = buf_put(out, span_first(span_from(s, plain), at - plain));
        if (!e)
            e = n > 0 ? json_escape(out, s.p + at, n) : buf_put_str(out, "\xef\xbf\xbd");
        at += n > 0 ? n : 1;
        plain = at;
    }
    if (!e)
        e = buf_put(out, span_first(span_from(s, plain), at - plain));
    return e ? e : buf_put_byte(out, '"');
}

enum err text_escape_terminal(struct buf *out, struct span s)
{
    enum err e = ERR_OK;
    for (size_t at = 0; !e && at < s.n;) {
        struct span rest = span_from(s, at);
        size_t n = utf8_sequence(rest);
        bool bad =
            n == 0 || (n == 1 && (rest.p[0] < 0x20 || rest.p[0] == 0x7f) && rest.p[0] != '\t') || is_tricky(rest, n);
        if (n == 0)
            n = 1;
        if (!bad)
            e = buf_put(out, span_first(rest, n));
        for (size_t i = 0; bad && !e && i < n; i++)
            e = buf_printf(out, "\\x%02x", rest.p[i]);
        at += n;
    }
    return e;
}

static const char base64_digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

enum err text_base64(struct buf *out, struct span s)
{
    uint8_t *at;
    if (s.n > SIZE_MAX / 8)
        return ERR_NOMEM;
    size_t n = (s.n + 2) / 3 * 4;
    enum err e = buf_reserve(out, n, &at);
    if (e)
        return e;
    for (size_t i = 0; i < s.n; i += 3) {
        size_t left = s.n - i;
        uint32_t v = (uint32_t)s.p[i] << 16;
        v |= left > 1 ? (uint32_t)s.p[i + 1] << 8 : 0;
        v |= left > 2 ? (uint32_t)s.p[i + 2] : 0;
        *at++ = (uint8_t)base64_digits[v >> 18];
        *at++ = (uint8_t)base64_digits[v >> 12 & 63];
        *at++ = left > 1 ? (uint8_t)base64_digits[v >> 6 & 63] : '=';
        *at++ = left > 2 ? (uint8_t)base64_digits[v & 63] : '=';
    }
    buf_commit(out, n);
    return ERR_OK;
}

int text_base64_value(uint8_t c)
{
    if (c >= 'A' && c <= 'Z')
        return c - 'A';
    if (c >= 'a' && c <= 'z')
        return c - 'a' + 26;
    if (c >= '0' && c <= '9')
        return c - '0' + 52;
    return c == '+' ? 62 : c == '/' ? 63 : -1;
}

enum err text_base64_decode(struct buf *out, struct span s)
{
    uint8_t *start, *at;
    if (s.n % 4 != 0)
        return ERR_PARSE;
    enum err e = buf_reserve(out, s.n / 4 * 3, &start);
    if (e)
        return e;
    at = start;
    for (size_t i = 0; i < s.n; i += 4) {
        bool last = i + 4 == s.n;
        size_t pad = last && s.p[i + 3] == '=' ? (s.p[i + 2] == '=' ? 2 : 1) : 0;
        uint32_t v = 0;
        for (size_t k = 0; k < 4; k++) {
            int digit = k >= 4 - pad ? 0 : text_base64_value(s.p[i + k]);
            if (digit < 0)
                return ERR_PARSE;
            v = v << 6 | (uint32_t)digit;
        }
        *at++ = (uint8_t)(v >> 16);
        if (pad < 2)
            *at++ = (uint8_t)(v >> 8);
        if (pad < 1)
            *at++ = (uint8_t)v;
    }
    buf_commit(out, (size_t)(at - start));
    return ERR_OK;
}

enum err text_base64url_decode(struct buf *out, struct span s)
{
    uint8_t *at;
    uint32_t bits = 0;
    unsigned have = 0; /* of them are of no byte yet */
    size_t n = 0;
    if (s.n % 4 == 1)
        return ERR_PARSE;
    enum err e = buf_reserve(out, s.n / 4 * 3 + 2, &at);
    if (e)
        return e;
    for (size_t i = 0; i < s.n; i++) {
        uint8_t c = s.p[i];
        int digit = c == '-' ? 62 : c == '_' ? 63 : c == '+' || c == '/' ? -1 : text_base64_value(c);
        if (digit < 0)
            return ERR_PARSE;
        bits = bits << 6 | (uint32_t)digit;
        have += 6;
        if (have >= 8) {
            have -= 8;
            at[n++] = (uint8_t)(bits >> have);
        }
    }
    if (bits & ((1u << have) - 1))
        return ERR_PARSE;
    buf_commit(out, n);
    return ERR_OK;
}

static bool is_shell_plain(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           (c != 0 && strchr("_-./:@%+,=", c) != NULL);
}

enum err text_shell_word(struct buf *out, struct span s)
{
    bool plain = s.n > 0;
    for (size_t i = 0; plain && i < s.n; i++)
        plain = is_shell_plain(s.p[i]);
    if (plain)
        return buf_put(out, s);
    enum err e = buf_put_byte(out, '\'');
    for (size_t i = 0; !e && i < s.n; i++)
        e = s.p[i] == '\'' ? buf_put_str(out, "'\\''") : buf_put_byte(out, s.p[i]);
    return e ? e : buf_put_byte(out, '\'');
}

enum err text_bytes(struct buf *out, uint64_t n)
{
    static const char *const units[] = {"B", "kB", "MB", "GB", "TB", "PB", "EB"};
    double value = (double)n;
    size_t unit = 0;
    while (value >= 999.5 && unit < 6) {
        value /= 1000;
        unit++;
    }
    return unit == 0 ? buf_printf(out, "%u B", (unsigned)n) : buf_printf(out, "%.1f %s", value, units[unit]);
}
