/* json.c: one recursive walk over the text serves hashing and flattening. It allocates no tree: hashes of members lie on the pair stack of
 * key_scratch while their object is open. `active` is the set of the rules' pointers whose segments matched all the way down to here. */
#include "replay/json.h"

#include "base/util.h"

struct walk {
    struct span text;
    size_t at;
    const struct rules *rules; /* NULL: nothing is ignored */
    const struct hash_key *hash;
    struct key_scratch *scratch; /* hashing */
    struct leaves *leaves;       /* flattening; NULL: hashing */
    struct buf pointer;          /* flattening: where we are */
    struct buf name;             /* a decoded member name or index */
    unsigned depth, muted;       /* muted: inside what is ignored */
};

static int peek(const struct walk *w)
{
    return w->at < w->text.n ? w->text.p[w->at] : -1;
}

static int peek_token(struct walk *w)
{
    int c = peek(w);
    while (c == ' ' || c == '\t' || c == '\n' || c == '\r') {
        w->at++;
        c = peek(w);
    }
    return c;
}

static bool take(struct walk *w, int c)
{
    if (peek(w) != c)
        return false;
    w->at++;
    return true;
}

static bool take_digits(struct walk *w)
{
    size_t before = w->at;
    while (peek(w) >= '0' && peek(w) <= '9')
        w->at++;
    return w->at > before;
}

static bool take_number(struct walk *w)
{
    (void)take(w, '-');
    if (!take(w, '0') && !take_digits(w))
        return false;
    if (take(w, '.') && !take_digits(w))
        return false;
    if (take(w, 'e') || take(w, 'E')) {
        if (!take(w, '+'))
            (void)take(w, '-');
        return take_digits(w);
    }
    return true;
}

/* Moves over a string; *out is what lies between the quotes. Escapes are checked when they are undone. */
static bool take_string(struct walk *w, struct span *out)
{
    if (!take(w, '"'))
        return false;
    size_t start = w->at;
    for (int c = peek(w); c >= 0x20; c = peek(w)) {
        if (c == '"') {
            *out = span_of(w->text.p + start, w->at - start);
            w->at++;
            return true;
        }
        w->at += c == '\\' ? 2 : 1;
    }
    return false;
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static bool hex4(struct span s, uint32_t *out)
{
    *out = 0;
    if (s.n < 4)
        return false;
    for (size_t i = 0; i < 4; i++) {
        int digit = hex_digit(s.p[i]);
        if (digit < 0)
            return false;
        *out = *out << 4 | (uint32_t)digit;
    }
    return true;
}

static enum err put_utf8(struct buf *out, uint32_t c)
{
    uint8_t bytes[4];
    size_t n = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t lead[] = {0, 0, 0xc0, 0xe0, 0xf0};
    for (size_t i = n - 1; i > 0; i--, c >>= 6)
        bytes[i] = (uint8_t)(0x80 | (c & 0x3f));
    bytes[0] = (uint8_t)(lead[n] | c);
    return buf_put(out, span_of(bytes, n));
}

/* \uXXXX at *at (behind the u); two halves of a surrogate pair make one character. */
static enum err unescape_u(struct span s, size_t *at, struct buf *out)
{
    uint32_t c, low;
    if (!hex4(span_from(s, *at), &c))
        return ERR_PARSE;
    *at += 4;
    struct span rest = span_from(s, *at);
    if (c >= 0xd800 && c < 0xdc00 && span_starts_with(rest, SPAN("\\u")) && hex4(span_from(rest, 2), &low) &&
        low >= 0xdc00 && low < 0xe000) {
        c = 0x10000 + ((c - 0xd800) << 10) + (low - 0xdc00);
        *at += 6;
    }
    return put_utf8(out, c);
}

static enum err unescape(struct span s, struct buf *out)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    enum err e = ERR_OK;
    for (size_t at = 0; !e && at < s.n;) {
        size_t plain = span_find(span_from(s, at), '\\');
        e = buf_put(out, span_of(s.p + at, plain));
        at += plain;
        if (e || at == s.n)
            break;
        uint8_t c = at + 1 < s.n ? s.p[at + 1] : 0;
        const char *known = c ? strchr(from, c) : NULL;
        at += 2;
        if (c == 'u')
            e = unescape_u(s, &at, out);
        else
            e = known ? buf_put_byte(out, (uint8_t)to[known - from]) : ERR_PARSE;
    }
    return e;
}

enum err json_unquote(struct span written, struct buf *out)
{
    struct walk w = {.text = written};
    struct span inner;
    return take_string(&w, &inner) && w.at == written.n ? unescape(inner, out) : ERR_PARSE;
}

/* The hash of a value of one kind, told apart from those of other kinds. */
static uint64_t tagged(const struct walk *w, char kind, uint64_t h)
{
    uint64_t both[2] = {(uint64_t)kind, h};
    return hash64(w->hash, span_of(both, sizeof both));
}

static enum err add_leaf(struct walk *w, struct span value)
{
    return w->leaves && w->muted == 0 ? leaves_add(w->leaves, buf_span(&w->pointer), value) : ERR_OK;
}

/* Which pointers go on matching through `w->name`; *ignored: one of them ends here. */
static uint64_t step(const struct walk *w, uint64_t active, bool *ignored)
{
    uint64_t next = 0;
    *ignored = false;
    for (size_t i = 0; active && i < w->rules->pointers_n; i++) {
        const struct rule_pointer *p = &w->rules->pointers[i];
        if (!(active >> i & 1) || p->n < w->depth)
            continue;
        struct span segment = p->segments[w->depth - 1];
        if (!span_eq(segment, buf_span(&w->name)) && !span_eq(segment, SPAN("*")))
            continue;
        if (p->n == w->depth)
            *ignored = true;
        else
            next |= UINT64_C(1) << i;
    }
    return next;
}

static enum err put_segment(struct walk *w)
{
    struct span name = buf_span(&w->name);
    enum err e = buf_put_byte(&w->pointer, '/');
    for (size_t i = 0; !e && i < name.n; i++) {
        if (name.p[i] == '~' || name.p[i] == '/')
            e = buf_put_str(&w->pointer, name.p[i] == '~' ? "~0" : "~1");
        else
            e = buf_put_byte(&w->pointer, name.p[i]);
    }
    return e;
}

static enum err walk_value(struct walk *w, uint64_t active, uint64_t *out);

/* One member or element, whose name is in w->name. */
static enum err walk_child(struct walk *w, uint64_t active, bool named)
{
    bool ignored;
    uint64_t next = step(w, active, &ignored), value = 0;
    uint64_t name = named && !w->leaves ? hash64(w->hash, buf_span(&w->name)) : 0;
    size_t pointer = w->pointer.n;
    enum err e = w->leaves ? put_segment(w) : ERR_OK;
    w->muted += ignored;
    if (!e)
        e = walk_value(w, next, &value);
    w->muted -= ignored;
    w->pointer.n = pointer;
    if (!e && !ignored && !w->leaves)
        e = key_pairs_add(w->scratch, name, value);
    return e;
}

static enum err walk_name(struct walk *w, bool object, uint64_t index)
{
    struct span raw;
    buf_clear(&w->name);
    if (!object)
        return buf_put_u64(&w->name, index);
    if (peek_token(w) != '"' || !take_string(w, &raw))
        return ERR_PARSE;
    enum err e = unescape(raw, &w->name);
    if (!e && (peek_token(w) != ':' || !take(w, ':')))
        e = ERR_PARSE;
    return e;
}

static enum err walk_container(struct walk *w, uint64_t active, uint64_t *out)
{
    const bool object = peek(w) == '{';
    const int close = object ? '}' : ']';
    const size_t start = w->at++;
    size_t begin = w->leaves ? 0 : key_pairs_begin(w->scratch);
    enum err e = ++w->depth > JSON_DEPTH_MAX ? ERR_PARSE : ERR_OK;
    uint64_t n = 0;
    bool more = !e && peek_token(w) != close;
    while (!e && more) {
        e = walk_name(w, object, n++);
        if (!e)
            e = walk_child(w, active, object);
        if (!e && peek_token(w) != close && !take(w, ','))
            e = ERR_PARSE;
        more = !e && peek(w) != close;
        if (!e && !more && w->text.p[w->at - 1] == ',')
            e = ERR_PARSE;
    }
    w->depth--;
    if (e)
        return e;
    w->at++;
    if (!w->leaves)
        *out = tagged(w, object ? '{' : '[', key_pairs_end(w->scratch, begin, w->hash));
    return n == 0 ? add_leaf(w, span_of(w->text.p + start, w->at - start)) : ERR_OK;
}

static enum err walk_string(struct walk *w, uint64_t *out)
{
    struct span raw;
    size_t start = w->at;
    if (!take_string(w, &raw))
        return ERR_PARSE;
    enum err e = ERR_OK;
    buf_clear(&w->name);
    if (span_find(raw, '\\') != raw.n) {
        e = unescape(raw, &w->name);
        raw = buf_span(&w->name);
    }
    if (!e && !w->leaves)
        *out = tagged(w, '"', hash64(w->hash, raw));
    return e ? e : add_leaf(w, span_of(w->text.p + start, w->at - start));
}

static enum err walk_value(struct walk *w, uint64_t active, uint64_t *out)
{
    const struct span words[] = {SPAN("true"), SPAN("false"), SPAN("null")};
    int c = peek_token(w);
    if (c == '{' || c == '[')
        return walk_container(w, active, out);
    if (c == '"')
        return walk_string(w, out);
    size_t start = w->at;
    bool number = c == '-' || (c >= '0' && c <= '9');
    for (size_t i = 0; !number && w->at == start && i < ARRAY_LEN(words); i++)
        if (span_starts_with(span_from(w->text, start), words[i]))
            w->at += words[i].n;
    if (number ? !take_number(w) : w->at == start)
        return ERR_PARSE;
    struct span written = span_of(w->text.p + start, w->at - start);
    if (!w->leaves)
        *out = tagged(w, '0', hash64(w->hash, written));
    return add_leaf(w, written);
}

static enum err walk_text(struct walk *w, uint64_t *out)
{
    size_t n = w->rules ? w->rules->pointers_n : 0;
    uint64_t all = n == 0 ? 0 : n >= 64 ? UINT64_MAX : (UINT64_C(1) << n) - 1;
    if (span_starts_with(w->text, SPAN("\xef\xbb\xbf")))
        w->at = 3;
    enum err e = walk_value(w, all, out);
    if (!e && peek_token(w) >= 0)
        e = ERR_PARSE;
    buf_free(&w->pointer);
    buf_free(&w->name);
    return e;
}

enum err json_hash(struct span text, const struct rules *rules, const struct hash_key *hash,
                   struct key_scratch *scratch, uint64_t *out)
{
    struct walk w = {.text = text, .rules = rules, .hash = hash, .scratch = scratch};
    size_t pairs = scratch->n;
    enum err e = walk_text(&w, out);
    scratch->n = pairs;
    return e;
}

enum err json_flatten(struct span text, const struct rules *rules, struct leaves *out)
{
    struct walk w = {.text = text, .rules = rules, .leaves = out};
    uint64_t unused;
    leaves_clear(out);
    enum err e = walk_text(&w, &unused);
    leaves_sort(out);
    return e;
}

bool json_element_next(struct span *rest, struct span *element)
{
    struct leaves none = {.n = 0};
    struct walk w = {.text = *rest, .leaves = &none, .muted = 1};
    uint64_t unused;
    int c = peek_token(&w);
    if (c != '[' && c != ',')
        return false;
    w.at++;
    if (peek_token(&w) == ']')
        return false;
    size_t start = w.at;
    enum err e = walk_value(&w, 0, &unused);
    buf_free(&w.pointer);
    buf_free(&w.name);
    if (e)
        return false;
    *element = span_of(rest->p + start, w.at - start);
    *rest = span_from(*rest, w.at);
    return true;
}
