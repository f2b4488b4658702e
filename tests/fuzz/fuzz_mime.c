/* fuzz_mime.c: media types, multipart bodies, cookies and dates. Input: a line (a field's value, and a boundary), LF, a body. */
#include "http/mime.h"

#include <stdlib.h>

static void must(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct span part, struct span whole)
{
    must(part.n == 0 || (part.p >= whole.p && part.p + part.n <= whole.p + whole.n));
}

static void parts(struct span body, struct span boundary)
{
    size_t at = 0, before = 0;
    struct mime_part part;
    bool malformed = false;
    while (mime_part_next(body, boundary, &at, &part, &malformed)) {
        must(!malformed && at > before && at < body.n);
        before = at;
        inside(part.head, body);
        inside(part.body, body);
        inside(part.name, part.head);
        inside(part.filename, part.head);
        inside(part.content_type, part.head);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span all = span_of(data, size), value, name;
    struct span line = span_first(all, span_find(all, '\n')), body = span_from(all, line.n + 1), rest = all;
    int64_t date;
    inside(mime_essence(line), line);
    if (mime_param(line, SPAN("boundary"), &value)) {
        inside(value, line);
        parts(body, value);
    }
    parts(body, line);
    (void)mime_is_json(line);
    (void)mime_is_form(line);
    (void)mime_is_multipart(line);
    (void)mime_is_text(line);
    for (size_t n = 0; cookie_next(&rest, &name, &value); n++) {
        must(n <= size);
        inside(name, all);
        inside(value, all);
    }
    struct cookie c;
    if (cookie_parse_set(all, &c)) {
        must(c.name.n > 0);
        inside(c.name, all);
        inside(c.value, all);
        inside(c.expires, all);
    }
    if (cookie_date(all, &date))
        must(date >= -11644473600 && date < 253402300800);
    return 0;
}
