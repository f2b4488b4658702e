/* rules.c: the texts of replay's options. Every parser works on a copy or appends last, so that bad input changes nothing. */
#include "replay/rules.h"

#include "base/alloc.h"
#include "base/text.h"
#include "base/util.h"
#include "http/url.h"

#include <errno.h>
#include <math.h>
#include <stdlib.h>

enum { RULE_MISS_STATUS = 501 };
static const double rule_pace_max = 1000.0;

static const struct {
    const char *word;
    bool ignorable;
} rule_fields[] = {
#define RULE_FIELD_ROW(name, word, ignorable) [name] = {word, ignorable},
    RULE_FIELDS(RULE_FIELD_ROW)
#undef RULE_FIELD_ROW
};

static const char *const replay_orders[] = {
#define REPLAY_ORDER_ROW(name, word) [name] = word,
    REPLAY_ORDERS(REPLAY_ORDER_ROW)
#undef REPLAY_ORDER_ROW
};

static const char *const fail_on_words[] = {
#define FAIL_ON_ROW(name, word) [name] = word,
    FAIL_ON_CONDITIONS(FAIL_ON_ROW)
#undef FAIL_ON_ROW
};

void rules_init(struct rules *rules)
{
    *rules =
        (struct rules){.match = BIT(RULE_FIELD_COUNT) - 1, .order = ORDER_SEQUENCE, .miss_status = RULE_MISS_STATUS};
}

static void names_free(struct rule_names *names)
{
    for (size_t i = 0; i < names->n; i++)
        mem_free(names->at[i]);
    mem_free(names->at);
    *names = (struct rule_names){NULL, 0};
}

void rules_free(struct rules *rules)
{
    names_free(&rules->match_headers);
    names_free(&rules->match_cookies);
    names_free(&rules->ignore_query);
    names_free(&rules->ignore_headers);
    names_free(&rules->ignore_forms);
    names_free(&rules->ignore_cookies);
    for (size_t i = 0; i < rules->pointers_n; i++) {
        mem_free(rules->pointers[i].text);
        mem_free(rules->pointers[i].segments);
    }
    mem_free(rules->pointers);
    for (size_t i = 0; i < rules->maps_n; i++) {
        mem_free(rules->maps[i].from);
        mem_free(rules->maps[i].to);
    }
    mem_free(rules->maps);
    rules_init(rules);
}

/* The sentence, and ERR_USAGE: `before` 'text' `after`. What the user typed is shown safely. */
static enum err usage(struct buf *problem, const char *before, struct span text, const char *after)
{
    enum err e = buf_put_str(problem, before);
    if (!e)
        e = buf_put_byte(problem, '\'');
    if (!e)
        e = text_escape_terminal(problem, text);
    if (!e)
        e = buf_put_str(problem, "' ");
    if (!e)
        e = buf_put_str(problem, after);
    return e ? e : ERR_USAGE;
}

static bool strip_prefix(struct span *text, struct span prefix)
{
    if (!span_starts_with(*text, prefix))
        return false;
    *text = span_from(*text, prefix.n);
    return true;
}

bool rule_names_has(const struct rule_names *names, struct span name, bool fold)
{
    for (size_t i = 0; i < names->n; i++) {
        struct span one = span_str(names->at[i]);
        if (fold ? span_eq_nocase(one, name) : span_eq(one, name))
            return true;
    }
    return false;
}

/* `item` is what the user typed, of which `name` is the end. */
static enum err names_add(struct rule_names *names, struct span item, struct span name, struct buf *problem)
{
    if (name.n == 0)
        return usage(problem, "", item, "lacks a name after the colon");
    if (names->n >= RULE_NAMES_MAX)
        return usage(problem, "too many names before ", name, "(at most 256 of a kind)");
    char **grown = mem_resize(names->at, names->n + 1, sizeof *grown);
    if (!grown)
        return ERR_NOMEM;
    names->at = grown;
    grown[names->n] = mem_strdup(name.p, name.n);
    if (!grown[names->n])
        return ERR_NOMEM;
    names->n++;
    return ERR_OK;
}

static bool field_of(struct span word, enum rule_field *out)
{
    for (size_t i = 0; i < ARRAY_LEN(rule_fields); i++) {
        if (span_eq(word, span_str(rule_fields[i].word))) {
            *out = (enum rule_field)i;
            return true;
        }
    }
    return false;
}

/* The next item of a comma-separated list. */
static bool list_next(struct span *rest, struct span *item)
{
    while (rest->n > 0) {
        size_t n = span_find(*rest, ',');
        *item = span_trim(span_first(*rest, n));
        *rest = span_from(*rest, n + 1);
        if (item->n > 0)
            return true;
    }
    return false;
}

static enum err match_item(struct rules *to, struct span item, struct buf *problem)
{
    enum rule_field field;
    struct span name = item;
    if (field_of(item, &field)) {
        to->match |= BIT(field);
        return ERR_OK;
    }
    if (strip_prefix(&name, SPAN("header:")))
        return names_add(&to->match_headers, item, name, problem);
    if (strip_prefix(&name, SPAN("cookie:")))
        return names_add(&to->match_cookies, item, name, problem);
    return usage(
        problem, "", item,
        "is not a field to match; there are method, scheme, host, port, path, query, body, header:NAME and cookie:NAME");
}

enum err rules_match(struct rules *rules, const char *text, struct buf *problem)
{
    struct rules fresh = {.match = 0};
    struct span rest = span_str(text), item;
    enum err e = ERR_OK;
    while (!e && list_next(&rest, &item))
        e = match_item(&fresh, item, problem);
    if (!e && fresh.match == 0 && fresh.match_headers.n == 0 && fresh.match_cookies.n == 0)
        e = usage(problem, "", span_str(text), "names no field to match");
    if (e) {
        names_free(&fresh.match_headers);
        names_free(&fresh.match_cookies);
        return e;
    }
    names_free(&rules->match_headers);
    names_free(&rules->match_cookies);
    rules->match = fresh.match;
    rules->match_headers = fresh.match_headers;
    rules->match_cookies = fresh.match_cookies;
    return ERR_OK;
}

/* Splits at '/' and undoes ~1 and ~0, in place: the text only gets shorter. */
static bool pointer_split(struct rule_pointer *p, size_t length)
{
    size_t to = 0, start = 0, segment = 0;
    for (size_t at = 1; at <= length; at++) {
        char c = p->text[at];
        if (at == length || c == '/') {
            p->segments[segment++] = span_of(p->text + start, to - start);
            start = to;
        } else if (c == '~') {
            char next = at + 1 < length ? p->text[at + 1] : 'x';
            if (next != '0' && next != '1')
                return false;
            p->text[to++] = next == '0' ? '~' : '/';
            at++;
        } else {
            p->text[to++] = c;
        }
    }
    return true;
}

static enum err pointer_add(struct rules *rules, struct span item, struct span text, struct buf *problem)
{
    struct rule_pointer p = {.n = 0};
    if (text.n == 0 || text.p[0] != '/')
        return usage(problem, "", item, "is not a JSON pointer: it starts with a slash, as in json:/user/id");
    if (rules->pointers_n >= RULE_POINTERS_MAX)
        return usage(problem, "", item, "is one JSON pointer too many (at most 64)");
    for (size_t i = 0; i < text.n; i++)
        p.n += text.p[i] == '/';
    struct rule_pointer *grown = mem_resize(rules->pointers, rules->pointers_n + 1, sizeof *grown);
    if (!grown)
        return ERR_NOMEM;
    rules->pointers = grown;
    p.text = mem_strdup(text.p, text.n);
    p.segments = mem_new(p.n, sizeof *p.segments);
    enum err e = p.text && p.segments ? ERR_OK : ERR_NOMEM;
    if (!e && !pointer_split(&p, text.n))
        e = usage(problem, "", item, "is not a JSON pointer: ~ is written ~0, and a slash within a name ~1");
    if (e) {
        mem_free(p.text);
        mem_free(p.segments);
        return e;
    }
    rules->pointers[rules->pointers_n++] = p;
    return ERR_OK;
}

enum err rules_ignore(struct rules *rules, const char *text, struct buf *problem)
{
    const struct span item = span_trim(span_str(text));
    struct span name = item;
    enum rule_field field;
    if (field_of(item, &field)) {
        if (!rule_fields[field].ignorable)
            return usage(problem, "", item, "cannot be ignored; say with --match which fields to compare");
        rules->ignore |= BIT(field);
        return ERR_OK;
    }
    if (strip_prefix(&name, SPAN("query:")))
        return names_add(&rules->ignore_query, item, name, problem);
    if (strip_prefix(&name, SPAN("header:")))
        return names_add(&rules->ignore_headers, item, name, problem);
    if (strip_prefix(&name, SPAN("form:")))
        return names_add(&rules->ignore_forms, item, name, problem);
    if (strip_prefix(&name, SPAN("cookie:")))
        return names_add(&rules->ignore_cookies, item, name, problem);
    if (strip_prefix(&name, SPAN("json:")))
        return pointer_add(rules, item, name, problem);
    return usage(
        problem, "", item,
        "is not a field to ignore; there are query:NAME, header:NAME, json:/POINTER, form:NAME, cookie:NAME, host, scheme, port, "
        "query and body");
}

enum err rules_order(struct rules *rules, const char *text, struct buf *problem)
{
    for (size_t i = 0; i < ARRAY_LEN(replay_orders); i++) {
        if (span_eq(span_str(text), span_str(replay_orders[i]))) {
            rules->order = (enum replay_order)i;
            return ERR_OK;
        }
    }
    return usage(problem, "", span_str(text), "is not an order; there are sequence, first, last, cycle and once");
}

enum err rules_pace(struct rules *rules, const char *text, struct buf *problem)
{
    struct span s = span_str(text);
    if (span_eq(s, SPAN("instant"))) {
        rules->pace = 0;
        return ERR_OK;
    }
    if (span_eq(s, SPAN("recorded"))) {
        rules->pace = 1;
        return ERR_OK;
    }
    char *end = NULL;
    /* strtod() would take hexadecimal numbers, signs and leading space too. */
    bool digits =
        s.n > 0 && (s.p[0] == '.' || (s.p[0] >= '0' && s.p[0] <= '9')) && strspn(text, "0123456789.eE+-") == s.n;
    double value = digits ? strtod(text, &end) : -1;
    if (!digits || *end != '\0' || !isfinite(value) || value < 0 || value > rule_pace_max)
        return usage(problem, "", s,
                     "is not a pace; there are instant, recorded and a factor from 0 to 1000 (0.5: half the delays)");
    rules->pace = value;
    return ERR_OK;
}

enum err rules_fail_on(struct rules *rules, const char *text, struct buf *problem)
{
    struct span rest = span_str(text), item;
    unsigned set = 0, items = 0;
    bool never = false;
    for (; list_next(&rest, &item); items++) {
        unsigned bit = 0;
        for (size_t i = 0; i < ARRAY_LEN(fail_on_words); i++)
            if (span_eq(item, span_str(fail_on_words[i])))
                bit = BIT(i);
        if (span_eq(item, SPAN("never")))
            never = true;
        else if (bit == 0)
            return usage(problem, "", item, "is not something to fail on; there are miss, unused, repeat and never");
        set |= bit;
    }
    if (items == 0 || (never && set != 0))
        return usage(problem, "", span_str(text),
                     items == 0 ? "names nothing to fail on" : "says never and something else");
    rules->fail_on = set;
    return ERR_OK;
}

static char *lower_copy(struct span text)
{
    char *copy = mem_strdup(text.p, text.n);
    for (size_t i = 0; copy && i < text.n; i++)
        if (copy[i] >= 'A' && copy[i] <= 'Z')
            copy[i] = (char)(copy[i] | 0x20);
    return copy;
}

enum err rules_map(struct rules *rules, const char *text, struct buf *problem)
{
    struct span s = span_str(text), from, to;
    struct rule_map map = {.from_port = 0};
    size_t equals = span_find(s, '=');
    if (equals == s.n || url_authority(span_first(s, equals), &from, &map.from_port) != ERR_OK ||
        url_authority(span_from(s, equals + 1), &to, &map.to_port) != ERR_OK)
        return usage(problem, "", s, "is not a mapping; write HOST=HOST, as in localhost:3000=api.example:443");
    struct rule_map *grown = mem_resize(rules->maps, rules->maps_n + 1, sizeof *grown);
    if (!grown)
        return ERR_NOMEM;
    rules->maps = grown;
    map.from = lower_copy(from);
    map.to = lower_copy(to);
    if (!map.from || !map.to) {
        mem_free(map.from);
        mem_free(map.to);
        return ERR_NOMEM;
    }
    rules->maps[rules->maps_n++] = map;
    return ERR_OK;
}

enum err rules_miss_status(struct rules *rules, const char *text, struct buf *problem)
{
    uint64_t status;
    if (!span_to_u64(span_str(text), 599, &status) || status < 200)
        return usage(problem, "", span_str(text), "is not a status for misses; it lies between 200 and 599");
    rules->miss_status = (unsigned)status;
    return ERR_OK;
}

bool rules_has(const struct rules *rules, enum rule_field field)
{
    return (rules->match & ~rules->ignore & BIT(field)) != 0;
}

void rules_map_host(const struct rules *rules, struct span *host, unsigned *port)
{
    for (size_t i = 0; i < rules->maps_n; i++) {
        const struct rule_map *map = &rules->maps[i];
        if (!span_eq_nocase(*host, span_str(map->from)) || (map->from_port != 0 && map->from_port != *port))
            continue;
        *host = span_str(map->to);
        if (map->to_port != 0)
            *port = map->to_port;
        return;
    }
}

const char *replay_order_word(enum replay_order order)
{
    return replay_orders[order];
}

const char *fail_on_word(enum fail_on condition)
{
    return fail_on_words[condition];
}
