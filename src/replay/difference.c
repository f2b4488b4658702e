/* difference.c: both sides are taken apart into sorted leaves and merged. Values are cut to what a person reads, around the first byte that
 * differs. */
#include "replay/difference.h"

#include "base/text.h"
#include "base/util.h"
#include "http/mime.h"
#include "http/url.h"
#include "replay/json.h"

#include <stdio.h>

enum {
    DIFFERENCE_CONTEXT = 40, /* bytes shown before the first one that differs */
    DISTANCE_HOST = 1000,
    DISTANCE_METHOD = 400,
    DISTANCE_PATH = 100, /* and one for each byte that is not common, at most as many again */
    DISTANCE_ORIGIN = 50,
};

/* What both sides become for a merge; `values` holds decoded values and is reserved beforehand, so that spans of it stay. */
struct apart {
    struct leaves leaves;
    struct buf values, room, text;
};
struct compare {
    struct differences *out;
    const struct rules *rules;
    struct apart recorded, actual;
};

static void apart_free(struct apart *a)
{
    leaves_free(&a->leaves);
    buf_free(&a->values);
    buf_free(&a->room);
    buf_free(&a->text);
}

void differences_free(struct differences *d)
{
    buf_free(&d->text);
    d->n = d->total = 0;
}

struct span difference_text(const struct differences *d, struct slice s)
{
    return span_of(d->text.p + s.at, s.n);
}

/* The bytes of a value that are shown, from `from` on. */
static enum err put_shown(struct buf *out, struct span value, size_t from, struct slice *at)
{
    at->at = (uint32_t)out->n;
    struct span shown = span_first(span_from(value, from), LIMIT_REPLAY_VALUE_BYTES);
    for (size_t i = 0; from > 0 && i < 3 && shown.n > 0 && (shown.p[0] & 0xc0) == 0x80; i++)
        shown = span_from(shown, 1);
    size_t good = text_utf8_prefix(shown);
    enum err e = ERR_OK;
    if (shown.n - good > 3 || memchr(shown.n ? shown.p : (const uint8_t *)"x", 0, shown.n)) {
        e = buf_printf(out, "(%zu bytes)", value.n);
    } else {
        bool cut = value.n > from + LIMIT_REPLAY_VALUE_BYTES;
        e = from > 0 ? buf_put_str(out, "\xe2\x80\xa6") : ERR_OK;
        if (!e)
            e = buf_put(out, cut ? span_first(shown, good) : shown);
        if (!e && cut)
            e = buf_put_str(out, "\xe2\x80\xa6");
    }
    at->n = (uint32_t)out->n - at->at;
    return e;
}

/* Where to begin to show: at the start, unless the difference would lie beyond what is shown. */
static size_t shown_from(struct span a, struct span b)
{
    size_t common = 0, n = MIN(a.n, b.n);
    while (common < n && a.p[common] == b.p[common])
        common++;
    return common + DIFFERENCE_CONTEXT > LIMIT_REPLAY_VALUE_BYTES ? common - DIFFERENCE_CONTEXT : 0;
}

struct pair {
    const struct span *recorded, *actual; /* NULL: absent */
};

static enum err add(struct differences *d, const char *prefix, struct span name, struct pair values, bool ignorable,
                    bool in_body)
{
    static const struct span none = {NULL, 0};
    d->total++;
    if (d->n == LIMIT_REPLAY_DIFFERENCES)
        return ERR_OK;
    struct difference *it = &d->at[d->n];
    *it = (struct difference){
        .has_recorded = values.recorded, .has_actual = values.actual, .ignorable = ignorable, .in_body = in_body};
    size_t from = values.recorded && values.actual ? shown_from(*values.recorded, *values.actual) : 0;
    it->field.at = (uint32_t)d->text.n;
    enum err e = buf_put_str(&d->text, prefix);
    if (!e)
        e = buf_put(&d->text, name);
    it->field.n = (uint32_t)d->text.n - it->field.at;
    if (!e)
        e = put_shown(&d->text, values.recorded ? *values.recorded : none, from, &it->recorded);
    if (!e)
        e = put_shown(&d->text, values.actual ? *values.actual : none, from, &it->actual);
    d->n += !e;
    return e;
}

static enum err add_plain(struct differences *d, const char *field, struct span recorded, struct span actual,
                          bool ignorable)
{
    if (span_eq(recorded, actual))
        return ERR_OK;
    return add(d, field, SPAN_EMPTY, (struct pair){&recorded, &actual}, ignorable, false);
}

enum err differences_add_track(struct differences *d, struct span recorded, struct span actual)
{
    return add_plain(d, "track", recorded, actual, false);
}

/* Strings are shown, and compared, without their quotes; unless the other side is something else. */
static bool json_values(struct apart *r, struct apart *a, struct span *recorded, struct span *actual)
{
    bool strings = recorded->n > 0 && actual->n > 0 && recorded->p[0] == '"' && actual->p[0] == '"';
    buf_clear(&r->text);
    buf_clear(&a->text);
    if (strings && json_unquote(*recorded, &r->text) == ERR_OK && json_unquote(*actual, &a->text) == ERR_OK) {
        *recorded = buf_span(&r->text);
        *actual = buf_span(&a->text);
    }
    return span_eq(*recorded, *actual);
}

static struct span json_alone(struct apart *a, struct span value)
{
    buf_clear(&a->text);
    return value.n > 0 && value.p[0] == '"' && json_unquote(value, &a->text) == ERR_OK ? buf_span(&a->text) : value;
}

/* Walks both lists of leaves at once. */
static enum err merge(struct compare *c, const char *prefix, bool json, bool in_body)
{
    const struct leaves *r = &c->recorded.leaves, *a = &c->actual.leaves;
    size_t i = 0, k = 0;
    enum err e = ERR_OK;
    while (!e && (i < r->n || k < a->n)) {
        int order = i == r->n ? 1 : k == a->n ? -1 : span_cmp(leaves_name(r, i), leaves_name(a, k));
        struct span name = order <= 0 ? leaves_name(r, i) : leaves_name(a, k);
        struct span recorded = order <= 0 ? r->at[i++].value : SPAN_EMPTY;
        struct span actual = order >= 0 ? a->at[k++].value : SPAN_EMPTY;
        if (order == 0 &&
            (json ? json_values(&c->recorded, &c->actual, &recorded, &actual) : span_eq(recorded, actual)))
            continue;
        if (json && order != 0)
            *(order < 0 ? &recorded : &actual) =
                json_alone(order < 0 ? &c->recorded : &c->actual, order < 0 ? recorded : actual);
        /* "" is the whole document: no pointer that --ignore takes. */
        bool whole = json && name.n == 0;
        e = add(c->out, whole ? "body" : prefix, name,
                (struct pair){order <= 0 ? &recorded : NULL, order >= 0 ? &actual : NULL}, name.n > 0 || whole,
                in_body);
    }
    return e;
}

/* Room for all decoded values, so that nothing moves. */
static enum err apart_begin(struct apart *a, size_t bytes)
{
    uint8_t *unused;
    leaves_clear(&a->leaves);
    buf_clear(&a->values);
    return buf_reserve(&a->values, bytes + 1, &unused);
}

static enum err apart_pairs(struct apart *a, struct span text, bool plus, const struct rule_names *ignored)
{
    struct span name, value;
    enum err e = apart_begin(a, text.n);
    while (!e && url_query_next(&text, &name, &value)) {
        size_t before = a->values.n;
        buf_clear(&a->text);
        e = url_decode(&a->text, name, plus);
        if (e || rule_names_has(ignored, buf_span(&a->text), false) || (name.n == 0 && value.n == 0))
            continue;
        e = url_decode(&a->values, value, plus);
        if (!e)
            e = leaves_add(&a->leaves, buf_span(&a->text), span_from(buf_span(&a->values), before));
    }
    leaves_sort(&a->leaves);
    return e;
}

/* Each part is two leaves of one name: what kind of part it is, and its content. */
static enum err apart_multipart(struct apart *a, const struct content *body, struct span bytes,
                                const struct rules *rules)
{
    struct span boundary = SPAN_EMPTY;
    struct mime_part part;
    size_t at = 0;
    bool malformed = false;
    enum err e = apart_begin(a, bytes.n + 64);
    (void)mime_param(buf_span(&body->type), SPAN("boundary"), &boundary);
    while (!e && mime_part_next(bytes, boundary, &at, &part, &malformed)) {
        size_t before = a->values.n;
        if (content_is_ignored(rules, part.name))
            continue;
        e = buf_put(&a->values, part.filename);
        if (!e && part.content_type.n > 0)
            e = buf_put_byte(&a->values, ' ');
        if (!e)
            e = buf_put(&a->values, part.content_type);
        if (!e)
            e = leaves_add(&a->leaves, part.name, span_from(buf_span(&a->values), before));
        if (!e)
            e = leaves_add(&a->leaves, part.name, part.body);
    }
    leaves_sort(&a->leaves);
    return e;
}

static enum err whole_bodies(struct compare *c, struct span recorded, struct span actual, const struct content *r,
                             const struct content *a)
{
    bool no_r = !r || r->bytes == 0, no_a = !a || a->bytes == 0;
    bool cut = (r && r->kept.n < r->bytes) || (a && a->kept.n < a->bytes);
    if ((no_r && no_a) || (!cut && !no_r && !no_a && span_eq(recorded, actual)))
        return ERR_OK;
    if (cut && span_eq(recorded, actual)) { /* they differ behind what was kept */
        struct hash128_state rs = r->raw, as = a->raw;
        struct hash128 rh = hash128_end(&rs), ah = hash128_end(&as);
        if (rh.lo == ah.lo && rh.hi == ah.hi)
            return ERR_OK;
    }
    return add(c->out, "body", SPAN_EMPTY, (struct pair){no_r ? NULL : &recorded, no_a ? NULL : &actual}, true, true);
}

static enum err bodies(struct compare *c, const struct content *r, const struct content *a)
{
    struct span recorded = SPAN_EMPTY, actual = SPAN_EMPTY;
    enum content_kind kind = r ? content_view(r, &c->recorded.room, &recorded) : CONTENT_EMPTY;
    enum content_kind other = a ? content_view(a, &c->actual.room, &actual) : CONTENT_EMPTY;
    if (r && r->cut) /* no more of it is known than its length */
        return a && a->bytes == r->bytes ? ERR_OK : whole_bodies(c, recorded, actual, r, a);
    enum err e = ERR_PARSE;
    const char *prefix = kind == CONTENT_JSON ? "json:" : "form:";
    if (kind == other && kind == CONTENT_JSON) {
        e = json_flatten(recorded, c->rules, &c->recorded.leaves);
        if (!e)
            e = json_flatten(actual, c->rules, &c->actual.leaves);
    } else if (kind == other && kind == CONTENT_FORM) {
        e = apart_pairs(&c->recorded, recorded, true, &c->rules->ignore_forms);
        if (!e)
            e = apart_pairs(&c->actual, actual, true, &c->rules->ignore_forms);
    } else if (kind == other && kind == CONTENT_MULTIPART) {
        e = apart_multipart(&c->recorded, r, recorded, c->rules);
        if (!e)
            e = apart_multipart(&c->actual, a, actual, c->rules);
    }
    if (e == ERR_PARSE)
        return whole_bodies(c, recorded, actual, r, a);
    return e ? e : merge(c, prefix, kind == CONTENT_JSON, true);
}

static enum err apart_cookies(struct apart *a, struct span value, const struct rules *rules, bool all)
{
    struct span name, content;
    enum err e = ERR_OK;
    while (!e && cookie_next(&value, &name, &content))
        if ((all || rule_names_has(&rules->match_cookies, name, false)) &&
            !rule_names_has(&rules->ignore_cookies, name, false))
            e = leaves_add(&a->leaves, name, content);
    return e;
}

/* Fields that are compared: without Cookie, or the cookies alone. */
static enum err apart_fields(struct apart *a, const struct headers *h, const struct rules *rules, bool cookies)
{
    enum err e = apart_begin(a, 0);
    bool all = rule_names_has(&rules->match_headers, SPAN("cookie"), true) &&
               !rule_names_has(&rules->ignore_headers, SPAN("cookie"), true);
    for (size_t i = 0; !e && h && i < h->n; i++) {
        struct header field = headers_at(h, i);
        bool is_cookie = span_eq_nocase(field.name, SPAN("cookie"));
        if (cookies && is_cookie)
            e = apart_cookies(a, field.value, rules, all);
        for (size_t k = 0; !e && !cookies && !is_cookie && k < rules->match_headers.n; k++) {
            struct span name = span_str(rules->match_headers.at[k]), value = field.value;
            if (!span_eq_nocase(name, field.name) || rule_names_has(&rules->ignore_headers, name, true))
                continue;
            if (span_eq_nocase(name, SPAN("content-type")) && mime_is_multipart(value))
                value = mime_essence(value);
            e = leaves_add(&a->leaves, name, span_trim(value));
        }
    }
    leaves_sort(&a->leaves);
    return e;
}

static enum err fields(struct compare *c, const struct headers *r, const struct headers *a)
{
    enum err e = ERR_OK;
    for (int cookies = 0; !e && cookies < 2; cookies++) {
        e = apart_fields(&c->recorded, r, c->rules, cookies);
        if (!e)
            e = apart_fields(&c->actual, a, c->rules, cookies);
        if (!e)
            e = merge(c, cookies ? "cookie:" : "header:", false, false);
    }
    return e;
}

static unsigned path_distance(struct span a, struct span b)
{
    size_t n = MIN(a.n, b.n), front = 0, back = 0;
    while (front < n && a.p[front] == b.p[front])
        front++;
    while (back < n - front && a.p[a.n - 1 - back] == b.p[b.n - 1 - back])
        back++;
    size_t other = MAX(a.n, b.n) - front - back;
    return other == 0 ? 0 : DISTANCE_PATH + (unsigned)MIN(other, (size_t)DISTANCE_PATH);
}

static enum err ports(struct differences *d, unsigned recorded, unsigned actual)
{
    char r[12], a[12];
    (void)snprintf(r, sizeof r, "%u", recorded);
    (void)snprintf(a, sizeof a, "%u", actual);
    return add_plain(d, "port", span_str(r), span_str(a), true);
}

static enum err target(struct compare *c, const struct difference_side *r, const struct difference_side *a)
{
    const struct rules *rules = c->rules;
    struct span paths[2], queries[2];
    key_split_path(r->path, &paths[0], &queries[0]);
    key_split_path(a->path, &paths[1], &queries[1]);
    enum err e = ERR_OK;
    if (rules_has(rules, RULE_METHOD))
        e = add_plain(c->out, "method", r->method, a->method, false);
    if (!e && rules_has(rules, RULE_SCHEME))
        e = add_plain(c->out, "scheme", r->scheme, a->scheme, true);
    if (!e && rules_has(rules, RULE_HOST) && !span_eq_nocase(r->host, a->host))
        e = add_plain(c->out, "host", r->host, a->host, true);
    if (!e && rules_has(rules, RULE_PORT))
        e = ports(c->out, r->port, a->port);
    if (!e && rules_has(rules, RULE_PATH))
        e = add_plain(c->out, "path", paths[0], paths[1], false);
    if (!e && rules_has(rules, RULE_QUERY)) {
        e = apart_pairs(&c->recorded, queries[0], false, &rules->ignore_query);
        if (!e)
            e = apart_pairs(&c->actual, queries[1], false, &rules->ignore_query);
        if (!e)
            e = merge(c, "query:", false, false);
    }
    if (rules_has(rules, RULE_PATH))
        c->out->distance += path_distance(paths[0], paths[1]);
    return e;
}

static unsigned origin_distance(const struct rules *rules, const struct difference_side *r,
                                const struct difference_side *a)
{
    unsigned sum = 0;
    if (rules_has(rules, RULE_HOST) && !span_eq_nocase(r->host, a->host))
        sum += DISTANCE_HOST;
    if (rules_has(rules, RULE_METHOD) && !span_eq(r->method, a->method))
        sum += DISTANCE_METHOD;
    if (rules_has(rules, RULE_SCHEME) && !span_eq(r->scheme, a->scheme))
        sum += DISTANCE_ORIGIN;
    if (rules_has(rules, RULE_PORT) && r->port != a->port)
        sum += DISTANCE_ORIGIN;
    return sum;
}

enum err differences_find(struct differences *out, const struct rules *rules, const struct difference_side *recorded,
                          const struct difference_side *actual)
{
    struct compare c = {.out = out, .rules = rules};
    buf_clear(&out->text);
    out->n = out->total = 0;
    out->distance = 0;
    enum err e = target(&c, recorded, actual);
    if (!e && key_needs_headers(rules))
        e = fields(&c, recorded->headers, actual->headers);
    if (!e && rules_has(rules, RULE_BODY))
        e = bodies(&c, recorded->body, actual->body);
    out->distance += origin_distance(rules, recorded, actual) + (unsigned)MIN(out->total, (size_t)DISTANCE_ORIGIN - 1);
    apart_free(&c.recorded);
    apart_free(&c.actual);
    return e;
}
