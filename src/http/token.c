/* token.c: the tables and word-wise scans behind token.h. The scans run over every field that is forwarded, so they look at eight
 * bytes at a time; a false alarm of the quick test is settled byte by byte. */
#include "http/token.h"

#define TOKEN_ONES  UINT64_C(0x0101010101010101)
#define TOKEN_HIGHS UINT64_C(0x8080808080808080)

static const uint8_t token_chars[256] = {
    ['!'] = 1, ['#'] = 1, ['$'] = 1, ['%'] = 1, ['&'] = 1, ['\''] = 1, ['*'] = 1, ['+'] = 1, ['-'] = 1, ['.'] = 1,
    ['^'] = 1, ['_'] = 1, ['`'] = 1, ['|'] = 1, ['~'] = 1, ['0'] = 1,  ['1'] = 1, ['2'] = 1, ['3'] = 1, ['4'] = 1,
    ['5'] = 1, ['6'] = 1, ['7'] = 1, ['8'] = 1, ['9'] = 1, ['A'] = 1,  ['B'] = 1, ['C'] = 1, ['D'] = 1, ['E'] = 1,
    ['F'] = 1, ['G'] = 1, ['H'] = 1, ['I'] = 1, ['J'] = 1, ['K'] = 1,  ['L'] = 1, ['M'] = 1, ['N'] = 1, ['O'] = 1,
    ['P'] = 1, ['Q'] = 1, ['R'] = 1, ['S'] = 1, ['T'] = 1, ['U'] = 1,  ['V'] = 1, ['W'] = 1, ['X'] = 1, ['Y'] = 1,
    ['Z'] = 1, ['a'] = 1, ['b'] = 1, ['c'] = 1, ['d'] = 1, ['e'] = 1,  ['f'] = 1, ['g'] = 1, ['h'] = 1, ['i'] = 1,
    ['j'] = 1, ['k'] = 1, ['l'] = 1, ['m'] = 1, ['n'] = 1, ['o'] = 1,  ['p'] = 1, ['q'] = 1, ['r'] = 1, ['s'] = 1,
    ['t'] = 1, ['u'] = 1, ['v'] = 1, ['w'] = 1, ['x'] = 1, ['y'] = 1,  ['z'] = 1,
};

bool token_char(uint8_t c)
{
    return token_chars[c] != 0;
}

bool token_valid(struct span s)
{
    for (size_t i = 0; i < s.n; i++)
        if (!token_chars[s.p[i]])
            return false;
    return s.n > 0;
}

static uint64_t word_at(const uint8_t *p)
{
    uint64_t w;
    memcpy(&w, p, sizeof w);
    return w;
}

/* Not zero when a byte of w is below n (n <= 128); bytes above 127 do not count. */
static uint64_t word_below(uint64_t w, uint8_t n)
{
    return (w - TOKEN_ONES * n) & ~w & TOKEN_HIGHS;
}

bool token_line_safe(struct span s)
{
    size_t i = 0;
    /* All three are below 14, which text never is, but for a tab: then the slow way decides. */
    while (s.n - i >= 8 && !word_below(word_at(s.p + i), 14))
        i += 8;
    for (; i < s.n; i++)
        if (s.p[i] == '\r' || s.p[i] == '\n' || s.p[i] == 0)
            return false;
    return true;
}

bool token_graphic(struct span s)
{
    size_t i = 0;
    while (s.n - i >= 8 && !word_below(word_at(s.p + i), 33) && !word_below(word_at(s.p + i) ^ (TOKEN_ONES * 0x7f), 1))
        i += 8;
    for (; i < s.n; i++)
        if (s.p[i] <= ' ' || s.p[i] == 0x7f)
            return false;
    return true;
}

bool token_list_next(struct span *rest, struct span *element)
{
    while (rest->n > 0) {
        size_t i = 0;
        bool quoted = false;
        while (i < rest->n && (quoted || rest->p[i] != ',')) {
            if (rest->p[i] == '"')
                quoted = !quoted;
            else if (quoted && rest->p[i] == '\\')
                i++;
            i++;
        }
        *element = span_trim(span_first(*rest, i));
        *rest = span_from(*rest, i + 1);
        if (element->n > 0)
            return true;
    }
    *element = SPAN_EMPTY;
    return false;
}
