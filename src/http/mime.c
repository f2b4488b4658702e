/* mime.c: media types and multipart bodies, read where they lie. Parameters are found without a full parse: what comes before the
 * first semicolon does not matter to them. */
#include "http/mime.h"

#include "base/util.h"

static bool starts_nocase(struct span s, struct span prefix)
{
    return s.n >= prefix.n && span_eq_nocase(span_first(s, prefix.n), prefix);
}

static bool ends_nocase(struct span s, struct span suffix)
{
    return s.n >= suffix.n && span_eq_nocase(span_from(s, s.n - suffix.n), suffix);
}

struct span mime_essence(struct span content_type)
{
    return span_trim(span_first(content_type, span_find(content_type, ';')));
}

/* The index of the first `c` outside quoted strings, or s.n. */
static size_t find_unquoted(struct span s, uint8_t c)
{
    bool quoted = false;
    size_t i = 0;
    for (; i < s.n && (quoted || s.p[i] != c); i++) {
        if (s.p[i] == '"')
            quoted = !quoted;
        else if (quoted && s.p[i] == '\\')
            i++;
    }
    return MIN(i, s.n);
}

/* What lies between the quotes of a quoted string; a value without quotes is what it is. */
static struct span unquote(struct span s)
{
    if (s.n == 0 || s.p[0] != '"')
        return s;
    s = span_from(s, 1);
    size_t end = 0;
    while (end < s.n && s.p[end] != '"')
        end += s.p[end] == '\\' ? 2 : 1;
    return span_first(s, end);
}

bool mime_param(struct span value, struct span name, struct span *out)
{
    struct span rest = span_from(value, find_unquoted(value, ';') + 1);
    while (rest.n > 0) {
        size_t end = find_unquoted(rest, ';');
        struct span param = span_first(rest, end);
        rest = span_from(rest, end + 1);
        size_t equals = span_find(param, '=');
        if (equals < param.n && span_eq_nocase(span_trim(span_first(param, equals)), name)) {
            *out = unquote(span_trim(span_from(param, equals + 1)));
            return true;
        }
    }
    *out = SPAN_EMPTY;
    return false;
}

bool mime_is_json(struct span content_type)
{
    struct span type = mime_essence(content_type);
    return span_eq_nocase(type, SPAN("application/json")) || span_eq_nocase(type, SPAN("text/json")) ||
           ends_nocase(type, SPAN("+json"));
}

bool mime_is_form(struct span content_type)
{
    return span_eq_nocase(mime_essence(content_type), SPAN("application/x-www-form-urlencoded"));
}

bool mime_is_multipart(struct span content_type)
{
    struct span boundary;
    return starts_nocase(content_type, SPAN("multipart/")) && mime_param(content_type, SPAN("boundary"), &boundary) &&
           boundary.n > 0;
}

bool mime_is_text(struct span content_type)
{
    static const char *const types[] = {
        "application/javascript", "application/x-javascript", "application/ecmascript", "application/xml",
        "application/x-ndjson",   "application/graphql",      "application/yaml",       "application/x-yaml",
        "application/toml",       "application/sql",          "application/x-sh",       "application/x-httpd-php",
        "application/xml-dtd",    "application/jsonl",        "application/x-pem-file",
    };
    struct span type = mime_essence(content_type);
    if (starts_nocase(type, SPAN("text/")) || mime_is_json(type) || mime_is_form(type) ||
        ends_nocase(type, SPAN("+xml")) || ends_nocase(type, SPAN("+yaml")))
        return true;
    for (size_t i = 0; i < ARRAY_LEN(types); i++)
        if (span_eq_nocase(type, span_str(types[i])))
            return true;
    return false;
}

/* ---- multipart ---- */

/* A delimiter line at `at`: "--boundary", then "--" (the close), or white space and CRLF. Its length, or 0. */
static size_t delimiter_length(struct span body, size_t at, struct span boundary, bool *close)
{
    struct span rest = span_from(body, at);
    if (!span_starts_with(rest, SPAN("--")) || !span_starts_with(span_from(rest, 2), boundary))
        return 0;
    size_t n = 2 + boundary.n;
    rest = span_from(rest, n);
    *close = span_starts_with(rest, SPAN("--"));
    if (*close)
        return n + 2;
    while (rest.n > 0 && (rest.p[0] == ' ' || rest.p[0] == '\t')) {
        rest = span_from(rest, 1);
        n++;
    }
    return span_starts_with(rest, SPAN("\r\n")) ? n + 2 : 0;
}

/* The next delimiter that begins a line, from `at` on: where it is and where the CRLF before it is (the same at the very start). */
static bool delimiter_find(struct span body, size_t at, struct span boundary, size_t *line, size_t *data_end)
{
    bool close;
    if (at == 0 && delimiter_length(body, 0, boundary, &close)) {
        *line = *data_end = 0;
        return true;
    }
    for (;;) {
        struct span rest = span_from(body, at);
        size_t crlf = span_search(rest, SPAN("\r\n--"));
        if (crlf >= rest.n)
            return false;
        if (delimiter_length(body, at + crlf + 2, boundary, &close)) {
            *data_end = at + crlf;
            *line = at + crlf + 2;
            return true;
        }
        at += crlf + 2;
    }
}

static void part_read_head(struct mime_part *part)
{
    struct span rest = part->head, ignored;
    while (rest.n > 0) {
        struct span line = span_first(rest, span_search(rest, SPAN("\r\n")));
        rest = span_from(rest, line.n + 2);
        size_t colon = span_find(line, ':');
        struct span name = span_first(line, colon), value = span_trim(span_from(line, colon + 1));
        if (span_eq_nocase(name, SPAN("content-type"))) {
            part->content_type = value;
        } else if (span_eq_nocase(name, SPAN("content-disposition"))) {
            (void)mime_param(value, SPAN("name"), &part->name);
            part->has_filename =
                mime_param(value, SPAN("filename"), &part->filename) || mime_param(value, SPAN("filename*"), &ignored);
            if (part->has_filename && part->filename.n == 0)
                (void)mime_param(value, SPAN("filename*"), &part->filename);
        }
    }
}

bool mime_part_next(struct span body, struct span boundary, size_t *at, struct mime_part *out, bool *malformed)
{
    size_t line = *at, data_end;
    bool close = false;
    *out = (struct mime_part){.has_filename = false};
    *malformed = true;
    if (boundary.n == 0 || (line == 0 && !delimiter_find(body, 0, boundary, &line, &data_end)))
        return false;
    size_t n = delimiter_length(body, line, boundary, &close);
    if (n == 0)
        return false;
    *malformed = !close;
    if (close)
        return false;
    size_t start = line + n;
    struct span rest = span_from(body, start);
    size_t head_end = span_starts_with(rest, SPAN("\r\n")) ? 0 : span_search(rest, SPAN("\r\n\r\n"));
    if (head_end == rest.n)
        return false;
    /* A part without fields begins with its empty line; its data may be empty too, and then that CRLF is the delimiter's. */
    size_t data = start + (head_end == 0 ? 2 : head_end + 4);
    if (!delimiter_find(body, data - 2, boundary, &line, &data_end))
        return false;
    out->head = span_first(rest, head_end);
    out->body = data_end > data ? span_of(body.p + data, data_end - data) : SPAN_EMPTY;
    part_read_head(out);
    *at = line;
    *malformed = false;
    return true;
}
