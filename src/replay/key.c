/* key.c: keys. Names in what is hashed are preceded by their kind, and values are hashed before they are combined, so that no two different
 * requests spell the same bytes. A pair list is a stack region of key_scratch: nested lists (JSON objects) lie on top of each other. */
#include "replay/key.h"

#include "base/alloc.h"
#include "base/util.h"
#include "http/mime.h"
#include "http/url.h"

#include <stdlib.h>

void key_scratch_free(struct key_scratch *s)
{
    mem_free(s->pairs);
    buf_free(&s->text);
    *s = (struct key_scratch){.n = 0};
}

size_t key_pairs_begin(const struct key_scratch *s)
{
    return s->n;
}

enum err key_pairs_add(struct key_scratch *s, uint64_t name, uint64_t value)
{
    if (s->n == s->cap) {
        size_t cap = s->cap ? s->cap * 2 : 64;
        struct key_pair *grown = cap <= UINT32_MAX ? mem_resize(s->pairs, cap, sizeof *grown) : NULL;
        if (!grown)
            return ERR_NOMEM;
        s->pairs = grown;
        s->cap = cap;
    }
    s->pairs[s->n] = (struct key_pair){name, value, (uint32_t)s->n};
    s->n++;
    return ERR_OK;
}

static int pair_cmp(const void *a, const void *b)
{
    const struct key_pair *x = a, *y = b;
    if (x->name != y->name)
        return x->name < y->name ? -1 : 1;
    return x->seq < y->seq ? -1 : x->seq > y->seq;
}

uint64_t key_pairs_end(struct key_scratch *s, size_t begin, const struct hash_key *hash)
{
    struct hash128_state st;
    size_t n = s->n - begin;
    if (n > 1)
        qsort(s->pairs + begin, n, sizeof *s->pairs, pair_cmp);
    hash128_begin(&st, hash);
    for (size_t i = begin; i < s->n; i++) {
        uint64_t both[2] = {s->pairs[i].name, s->pairs[i].value};
        hash128_add(&st, span_of(both, sizeof both));
    }
    s->n = begin;
    return hash128_end(&st).lo;
}

void key_split_path(struct span path, struct span *bare, struct span *query)
{
    size_t at = span_find(path, '?');
    *bare = span_first(path, at);
    *query = span_from(path, at + 1);
}

bool key_needs_headers(const struct rules *rules)
{
    return rules->match_headers.n > 0 || rules->match_cookies.n > 0;
}

/* Percent-encoding is undone, so that two spellings of one value are equal. */
static enum err hash_decoded(struct key_scratch *s, const struct hash_key *hash, struct span text, uint64_t *out)
{
    if (span_find(text, '%') == text.n) {
        *out = hash64(hash, text);
        return ERR_OK;
    }
    buf_clear(&s->text);
    enum err e = url_decode(&s->text, text, false);
    *out = hash64(hash, buf_span(&s->text));
    return e;
}

static enum err query_name_ignored(const struct rule_names *ignored, struct span name, struct key_scratch *s, bool *yes)
{
    *yes = rule_names_has(ignored, name, false);
    if (*yes || ignored->n == 0 || span_find(name, '%') == name.n)
        return ERR_OK;
    buf_clear(&s->text);
    enum err e = url_decode(&s->text, name, false);
    *yes = rule_names_has(ignored, buf_span(&s->text), false);
    return e;
}

static enum err hash_query(uint64_t *out, struct span query, const struct rules *rules, const struct hash_key *hash,
                           struct key_scratch *s)
{
    struct span name, value;
    size_t begin = key_pairs_begin(s);
    enum err e = ERR_OK;
    while (!e && url_query_next(&query, &name, &value)) {
        uint64_t n = 0, v = 0;
        bool ignored = false;
        if (name.n == 0 && value.n == 0)
            continue;
        e = query_name_ignored(&rules->ignore_query, name, s, &ignored);
        if (e || ignored)
            continue;
        e = hash_decoded(s, hash, name, &n);
        if (!e)
            e = hash_decoded(s, hash, value, &v);
        if (!e)
            e = key_pairs_add(s, n, v);
    }
    *out = key_pairs_end(s, begin, hash);
    return e;
}

/* A Content-Type counts without its parameters: a multipart boundary is random. A Cookie field counts without the cookies that are ignored. */
static enum err hash_header_value(struct span name, struct span value, const struct rules *rules,
                                  const struct hash_key *hash, struct key_scratch *s, uint64_t *out)
{
    if (span_eq_nocase(name, SPAN("content-type")) && mime_is_multipart(value))
        value = mime_essence(value);
    if (!span_eq_nocase(name, SPAN("cookie")) || rules->ignore_cookies.n == 0) {
        *out = hash64(hash, span_trim(value));
        return ERR_OK;
    }
    struct span cookie, content;
    size_t begin = key_pairs_begin(s);
    enum err e = ERR_OK;
    while (!e && cookie_next(&value, &cookie, &content))
        if (!rule_names_has(&rules->ignore_cookies, cookie, false))
            e = key_pairs_add(s, hash64(hash, cookie), hash64(hash, content));
    *out = key_pairs_end(s, begin, hash);
    return e;
}

static enum err add_cookies(struct span value, const struct rules *rules, const struct hash_key *hash,
                            struct key_scratch *s)
{
    struct span cookie, content;
    enum err e = ERR_OK;
    while (!e && cookie_next(&value, &cookie, &content))
        if (rule_names_has(&rules->match_cookies, cookie, false) &&
            !rule_names_has(&rules->ignore_cookies, cookie, false))
            e = key_pairs_add(s, hash64(hash, cookie), hash64(hash, content));
    return e;
}

/* The index of the name in the rules stands for the name: case does not count. */
static enum err hash_headers(uint64_t *out, const struct headers *h, const struct rules *rules,
                             const struct hash_key *hash, struct key_scratch *s)
{
    size_t begin = key_pairs_begin(s);
    enum err e = ERR_OK;
    for (size_t i = 0; !e && h && i < h->n; i++) {
        struct header field = headers_at(h, i);
        for (size_t k = 0; !e && k < rules->match_headers.n; k++) {
            struct span name = span_str(rules->match_headers.at[k]);
            uint64_t v = 0;
            if (!span_eq_nocase(name, field.name) || rule_names_has(&rules->ignore_headers, name, true))
                continue;
            e = hash_header_value(field.name, field.value, rules, hash, s, &v);
            if (!e)
                e = key_pairs_add(s, k, v);
        }
        if (!e && rules->match_cookies.n > 0 && span_eq_nocase(field.name, SPAN("cookie")))
            e = add_cookies(field.value, rules, hash, s);
    }
    *out = key_pairs_end(s, begin, hash);
    return e;
}

static struct span folder_of(struct span path)
{
    while (path.n > 0 && path.p[path.n - 1] != '/')
        path.n--;
    return path;
}

enum err key_compute(struct key *out, const struct rules *rules, const struct hash_key *hash,
                     const struct key_request *r, struct key_scratch *scratch)
{
    static const struct {
        enum rule_field field;
        enum key_part part;
    } compared[] = {
        {RULE_METHOD, KEY_METHOD}, {RULE_SCHEME, KEY_SCHEME}, {RULE_HOST, KEY_HOST}, {RULE_PORT, KEY_PORT},
        {RULE_PATH, KEY_PATH},     {RULE_QUERY, KEY_QUERY},   {RULE_BODY, KEY_BODY},
    };
    struct span bare, query;
    struct hash128_state st;
    struct buf *host = &scratch->text;
    key_split_path(r->path, &bare, &query);
    buf_clear(host);
    enum err e = buf_put(host, r->host);
    if (e)
        return e;
    for (size_t i = 0; i < host->n; i++)
        if (host->p[i] >= 'A' && host->p[i] <= 'Z')
            host->p[i] |= 0x20;
    *out = (struct key){.part = {[KEY_METHOD] = hash64(hash, r->method),
                                 [KEY_SCHEME] = hash64(hash, r->scheme),
                                 [KEY_HOST] = hash64(hash, buf_span(host)),
                                 [KEY_PORT] = r->port,
                                 [KEY_PATH] = hash64(hash, bare),
                                 [KEY_FOLDER] = hash64(hash, folder_of(bare)),
                                 [KEY_BODY] = r->body}};
    e = hash_query(&out->part[KEY_QUERY], query, rules, hash, scratch);
    if (!e && key_needs_headers(rules))
        e = hash_headers(&out->part[KEY_HEADERS], r->headers, rules, hash, scratch);
    hash128_begin(&st, hash);
    for (size_t i = 0; i < ARRAY_LEN(compared); i++)
        if (rules_has(rules, compared[i].field))
            hash128_add(&st, span_of(&out->part[compared[i].part], sizeof(uint64_t)));
    hash128_add(&st, span_of(&out->part[KEY_HEADERS], sizeof(uint64_t)));
    /* What cannot stand for each other, whatever the rules leave out. */
    const uint8_t kind[2] = {span_eq(r->method, SPAN("CONNECT")), r->upgraded};
    hash128_add(&st, span_of(kind, sizeof kind));
    out->all = hash128_end(&st);
    return e;
}
