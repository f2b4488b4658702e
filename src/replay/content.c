/* content.c: canonical hashes of bodies. Invariant: whatever the parsers make of the bytes, equal bytes of equal type and coding have equal
 * hashes, since every failure falls back to the bytes as they came. */
#include "replay/content.h"

#include "base/limits.h"
#include "http/coding.h"
#include "http/mime.h"
#include "http/url.h"
#include "replay/json.h"

enum { CONTENT_PREVIEW_BYTES = 4096 };

enum err content_begin(struct content *c, const struct headers *h, const struct hash_key *hash)
{
    struct span type = SPAN_EMPTY, encoding = SPAN_EMPTY;
    if (h) {
        (void)headers_find(h, SPAN("content-type"), &type);
        (void)headers_find(h, SPAN("content-encoding"), &encoding);
    }
    hash128_begin(&c->raw, hash);
    c->bytes = 0;
    buf_clear(&c->kept);
    buf_clear(&c->type);
    buf_clear(&c->encoding);
    c->keep_all = true;
    c->decided = c->cut = false;
    enum err e = buf_put(&c->type, type);
    return e ? e : buf_put(&c->encoding, encoding);
}

void content_free(struct content *c)
{
    buf_free(&c->kept);
    buf_free(&c->type);
    buf_free(&c->encoding);
    c->bytes = 0;
}

uint64_t content_cut_key(uint64_t bytes, const struct hash_key *hash)
{
    static const uint64_t no_kind = UINT64_MAX; /* of enum content_kind */
    uint64_t both[2] = {no_kind, bytes};
    return hash64(hash, span_of(both, sizeof both)) | 1;
}

static struct span skip_space(struct span bytes)
{
    while (bytes.n > 0 && memchr(" \t\r\n", bytes.p[0], 4))
        bytes = span_from(bytes, 1);
    return bytes;
}

/* May it be JSON under a type that does not say so: text/plain, or none? */
static bool looks_like_json(struct span type, struct span bytes)
{
    bytes = skip_space(bytes);
    return bytes.n > 0 && (bytes.p[0] == '{' || bytes.p[0] == '[') && (type.n == 0 || mime_is_text(type));
}

/* Does comparing take more than the hash of the bytes? */
static bool is_structured(const struct content *c, struct span first)
{
    struct span type = buf_span(&c->type);
    return mime_is_json(type) || mime_is_form(type) || mime_is_multipart(type) ||
           !coding_is_identity(buf_span(&c->encoding)) || looks_like_json(type, first);
}

/* What was kept to be compared is let go of, but for what a report shows. */
static enum err keep_preview(struct content *c)
{
    struct buf preview = BUF_INIT;
    enum err e = buf_put(&preview, span_first(buf_span(&c->kept), CONTENT_PREVIEW_BYTES));
    buf_free(&c->kept);
    c->kept = preview;
    return e;
}

enum err content_add(struct content *c, struct span piece)
{
    hash128_add(&c->raw, piece);
    if (!c->decided && skip_space(piece).n > 0) {
        c->keep_all = is_structured(c, piece);
        c->decided = true;
        if (!c->keep_all && c->kept.n > CONTENT_PREVIEW_BYTES)
            c->kept.n = CONTENT_PREVIEW_BYTES;
    }
    c->bytes += piece.n;
    if (c->keep_all && c->bytes > LIMIT_REPLAY_KEY_BODY_BYTES) {
        c->keep_all = false;
        if (c->kept.n > CONTENT_PREVIEW_BYTES)
            return keep_preview(c);
    }
    if (c->keep_all)
        return buf_put(&c->kept, piece);
    bool whole_so_far = c->kept.n == c->bytes - piece.n;
    if (!whole_so_far || c->kept.n >= CONTENT_PREVIEW_BYTES)
        return ERR_OK;
    return buf_put(&c->kept, span_first(piece, CONTENT_PREVIEW_BYTES - c->kept.n));
}

bool content_is_ignored(const struct rules *rules, struct span name)
{
    return rule_names_has(&rules->ignore_forms, name, false);
}

static enum err decoded_hash(struct key_scratch *s, const struct hash_key *hash, struct span text, struct span *decoded,
                             uint64_t *out)
{
    buf_clear(&s->text);
    enum err e = url_decode(&s->text, text, true);
    *decoded = buf_span(&s->text);
    *out = hash64(hash, *decoded);
    return e;
}

static enum err form_hash(struct span bytes, const struct rules *rules, const struct hash_key *hash,
                          struct key_scratch *s, uint64_t *out)
{
    struct span name, value, decoded;
    size_t begin = key_pairs_begin(s);
    enum err e = ERR_OK;
    while (!e && url_query_next(&bytes, &name, &value)) {
        uint64_t n = 0, v = 0;
        if (name.n == 0 && value.n == 0)
            continue;
        e = decoded_hash(s, hash, name, &decoded, &n);
        if (e || content_is_ignored(rules, decoded))
            continue;
        e = decoded_hash(s, hash, value, &decoded, &v);
        if (!e)
            e = key_pairs_add(s, n, v);
    }
    *out = key_pairs_end(s, begin, hash);
    return e;
}

static uint64_t part_hash(const struct mime_part *part, const struct hash_key *hash)
{
    uint64_t all[3] = {hash64(hash, part->filename), hash64(hash, part->content_type), hash64(hash, part->body)};
    return hash64(hash, span_of(all, sizeof all));
}

static enum err multipart_hash(struct span bytes, struct span type, const struct rules *rules,
                               const struct hash_key *hash, struct key_scratch *s, uint64_t *out)
{
    struct span boundary;
    struct mime_part part;
    size_t at = 0, begin = key_pairs_begin(s), parts = 0;
    bool malformed = false;
    enum err e = mime_param(type, SPAN("boundary"), &boundary) ? ERR_OK : ERR_PARSE;
    for (; !e && mime_part_next(bytes, boundary, &at, &part, &malformed); parts++)
        if (!content_is_ignored(rules, part.name))
            e = key_pairs_add(s, hash64(hash, part.name), part_hash(&part, hash));
    *out = key_pairs_end(s, begin, hash);
    return !e && (malformed || parts == 0) ? ERR_PARSE : e;
}

enum content_kind content_view(const struct content *c, struct buf *room, struct span *bytes)
{
    struct span type = buf_span(&c->type), encoding = buf_span(&c->encoding);
    *bytes = buf_span(&c->kept);
    if (c->bytes == 0)
        return CONTENT_EMPTY;
    if (!c->keep_all)
        return CONTENT_RAW;
    if (!coding_is_identity(encoding)) {
        buf_clear(room);
        if (coding_decode(encoding, *bytes, LIMIT_REPLAY_KEY_BODY_BYTES, room) != ERR_OK)
            return CONTENT_RAW;
        *bytes = buf_span(room);
    }
    if (mime_is_form(type))
        return CONTENT_FORM;
    if (mime_is_multipart(type))
        return CONTENT_MULTIPART;
    return mime_is_json(type) || looks_like_json(type, *bytes) ? CONTENT_JSON : CONTENT_RAW;
}

enum err content_end(struct content *c, const struct rules *rules, const struct hash_key *hash,
                     struct key_scratch *scratch, uint64_t *out)
{
    struct buf room = BUF_INIT;
    struct span bytes;
    struct hash128_state st;
    uint64_t h = 0;
    enum err e = ERR_PARSE;
    enum content_kind kind = content_view(c, &room, &bytes);
    *out = 0;
    if (kind == CONTENT_JSON)
        e = json_hash(bytes, rules, hash, scratch, &h);
    else if (kind == CONTENT_FORM)
        e = form_hash(bytes, rules, hash, scratch, &h);
    else if (kind == CONTENT_MULTIPART)
        e = multipart_hash(bytes, buf_span(&c->type), rules, hash, scratch, &h);
    if (e == ERR_PARSE && kind != CONTENT_EMPTY) {
        /* Decoded bytes, or those that came: the same bytes in two codings are equal. */
        if (bytes.n > 0 && bytes.p != buf_span(&c->kept).p) {
            hash128_begin(&st, hash);
            hash128_add(&st, bytes);
        } else {
            st = c->raw;
        }
        h = hash128_end(&st).lo;
        kind = CONTENT_RAW;
        e = ERR_OK;
    }
    buf_free(&room);
    if (kind == CONTENT_EMPTY || e)
        return kind == CONTENT_EMPTY ? ERR_OK : e;
    uint64_t both[2] = {kind, h};
    *out = hash64(hash, span_of(both, sizeof both)) | 1; /* never 0 */
    return ERR_OK;
}
