/* fuzz_replay.c: what makes two requests the same, over hostile bodies and targets. Input: a byte that chooses the type and the size of the pieces, a path
 * with its query, LF, a body. */
#include "base/util.h"
#include "replay/content.h"
#include "replay/difference.h"
#include "replay/json.h"

#include <stdlib.h>

static void must(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const struct hash_key hash = {1, 2};

static void json(struct span text, const struct rules *rules, struct key_scratch *scratch)
{
    struct leaves leaves;
    struct buf bytes = BUF_INIT;
    struct span rest = text, element;
    uint64_t a = 0, b = 0;
    memset(&leaves, 0, sizeof leaves);
    enum err e = json_hash(text, rules, &hash, scratch, &a), again = json_hash(text, rules, &hash, scratch, &b);
    must((e == ERR_OK || e == ERR_PARSE) && again == e && (e || a == b));
    /* Both walks take the same texts. */
    must(json_flatten(text, rules, &leaves) == e);
    for (size_t i = 0; i < leaves.n; i++) {
        must(leaves.at[i].value.p >= text.p && leaves.at[i].value.p + leaves.at[i].value.n <= text.p + text.n);
        must(i == 0 || span_cmp(leaves_name(&leaves, i - 1), leaves_name(&leaves, i)) <= 0);
    }
    must(json_unquote(text, &bytes) != ERR_NOMEM);
    for (size_t n = 0; json_element_next(&rest, &element); n++)
        must(n <= text.n && element.p >= text.p && element.p + element.n <= text.p + text.n);
    leaves_free(&leaves);
    buf_free(&bytes);
}

static uint64_t content(struct content *c, struct span body, const struct headers *h, const struct rules *rules,
                        struct key_scratch *scratch, size_t chunk)
{
    uint64_t out = 0;
    must(content_begin(c, h, &hash) == ERR_OK);
    for (size_t at = 0; at < body.n; at += chunk)
        must(content_add(c, span_first(span_from(body, at), chunk)) == ERR_OK);
    must(content_end(c, rules, &hash, scratch, &out) == ERR_OK);
    must((out == 0) == (body.n == 0));
    return out;
}

static void targets(struct span path, const struct headers *h, const struct rules *rules, const struct content *body,
                    uint64_t body_hash, struct key_scratch *scratch)
{
    struct key_request r = {.method = SPAN("GET"),
                            .scheme = SPAN("http"),
                            .host = SPAN("a"),
                            .port = 80,
                            .path = path,
                            .headers = h,
                            .body = body_hash};
    struct difference_side same = {
        .method = r.method, .scheme = r.scheme, .host = r.host, .path = path, .port = 80, .headers = h, .body = body};
    struct difference_side other = same;
    static struct differences d;
    struct key a, b;
    must(key_compute(&a, rules, &hash, &r, scratch) == ERR_OK);
    must(key_compute(&b, rules, &hash, &r, scratch) == ERR_OK);
    must(a.all.lo == b.all.lo && a.all.hi == b.all.hi);
    /* Nothing differs from itself; a method does. */
    must(differences_find(&d, rules, &same, &same) == ERR_OK);
    must(d.total == 0 && d.distance == 0);
    other.method = SPAN("PUT");
    other.body = NULL;
    must(differences_find(&d, rules, &same, &other) == ERR_OK);
    must(d.total >= 1 && d.n <= LIMIT_REPLAY_DIFFERENCES);
    differences_free(&d);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const types[] = {"application/json", "application/x-www-form-urlencoded",
                                        "multipart/form-data; boundary=x", "text/plain", ""};
    static const char *const codings[] = {"", "gzip", "br, deflate"};
    struct buf problem = BUF_INIT;
    struct headers h = HEADERS_INIT;
    struct key_scratch scratch;
    struct content whole, pieces;
    struct rules rules;
    if (size == 0)
        return 0;
    memset(&scratch, 0, sizeof scratch);
    memset(&whole, 0, sizeof whole);
    memset(&pieces, 0, sizeof pieces);
    struct span all = span_of(data + 1, size - 1), path = span_first(all, span_find(all, '\n')),
                body = span_from(all, path.n + 1);
    rules_init(&rules);
    must(rules_ignore(&rules, "json:/a/*/b", &problem) == ERR_OK &&
         rules_ignore(&rules, "form:t", &problem) == ERR_OK && rules_ignore(&rules, "query:t", &problem) == ERR_OK);
    must(headers_add(&h, SPAN("Content-Type"), span_str(types[data[0] % ARRAY_LEN(types)])) == ERR_OK);
    must(headers_add(&h, SPAN("Content-Encoding"),
                     span_str(codings[data[0] / ARRAY_LEN(types) % ARRAY_LEN(codings)])) == ERR_OK);
    json(body, &rules, &scratch);
    uint64_t once = content(&whole, body, &h, &rules, &scratch, SIZE_MAX / 2);
    must(content(&pieces, body, &h, &rules, &scratch, 1 + data[0] / 32) == once);
    targets(path, &h, &rules, &whole, once, &scratch);
    must(scratch.n == 0);
    content_free(&whole);
    content_free(&pieces);
    key_scratch_free(&scratch);
    headers_free(&h);
    rules_free(&rules);
    buf_free(&problem);
    return 0;
}
