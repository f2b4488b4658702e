/* show_parts.c: multipart content (RFC 2046 §5.1, RFC 7578), part by part, for people and as JSON. */
#include "tools/show.h"

#include "base/text.h"
#include "http/mime.h"
#include "tools/flow_text.h"

#define PUT(e, call)                                                                                                   \
    do {                                                                                                               \
        if (!(e))                                                                                                      \
            (e) = (call);                                                                                              \
    } while (0)

/* The next part, where the content is multipart as far as that. `type` is its Content-Type. */
static bool next_part(struct span type, struct span content, size_t *at, struct mime_part *part)
{
    struct span boundary;
    bool malformed = false;
    return mime_is_multipart(type) && mime_param(type, SPAN("boundary"), &boundary) &&
           mime_part_next(content, boundary, at, part, &malformed);
}

static bool is_text(const struct mime_part *part)
{
    return text_is_utf8(part->body) && !(part->body.n > 0 && memchr(part->body.p, 0, part->body.n));
}

static enum err put_part(const struct mime_part *part, unsigned number, struct buf *out)
{
    enum err e = buf_printf(out, "[part %u]", number);
    PUT(e, buf_put_str(out, part->name.n > 0 ? "  " : ""));
    PUT(e, text_escape_terminal(out, part->name));
    if (part->has_filename) {
        PUT(e, buf_put_str(out, "  \""));
        PUT(e, text_escape_terminal(out, part->filename));
        PUT(e, buf_put_byte(out, '"'));
    }
    PUT(e, buf_put_str(out, part->content_type.n > 0 ? "  " : ""));
    PUT(e, text_escape_terminal(out, part->content_type));
    PUT(e, buf_put_str(out, "  "));
    PUT(e, text_bytes(out, part->body.n));
    PUT(e, buf_put_byte(out, '\n'));
    if (is_text(part))
        PUT(e, show_lines(part->body, out));
    return e;
}

enum err show_parts(struct span type, struct span content, bool *any, struct buf *out)
{
    struct mime_part part;
    size_t at = 0;
    enum err e = ERR_OK;
    unsigned n = 0;
    while (!e && next_part(type, content, &at, &part))
        e = put_part(&part, ++n, out);
    *any = n > 0;
    return e;
}

static enum err put_part_json(const struct mime_part *part, struct buf *out)
{
    enum err e = buf_put_byte(out, '{');
    PUT(e, flow_json_text_or_null(out, "name", part->name));
    PUT(e, buf_put_byte(out, ','));
    PUT(e,
        part->has_filename ? flow_json_text(out, "filename", part->filename) : buf_put_str(out, "\"filename\":null"));
    PUT(e, buf_put_byte(out, ','));
    PUT(e, flow_json_text_or_null(out, "content_type", part->content_type));
    PUT(e, buf_printf(out, ",\"bytes\":%zu", part->body.n));
    if (is_text(part)) {
        PUT(e, buf_put_byte(out, ','));
        PUT(e, flow_json_text(out, "text", part->body));
    } else {
        PUT(e, buf_put_str(out, ",\"base64\":\""));
        PUT(e, text_base64(out, part->body));
        PUT(e, buf_put_byte(out, '"'));
    }
    PUT(e, buf_put_byte(out, '}'));
    return e;
}

enum err show_parts_json(struct span type, struct span content, struct buf *out)
{
    struct mime_part part;
    size_t at = 0;
    enum err e = ERR_OK;
    bool any = false;
    while (!e && next_part(type, content, &at, &part)) {
        e = buf_put_str(out, any ? "," : ",\"parts\":[");
        PUT(e, put_part_json(&part, out));
        any = true;
    }
    if (any)
        PUT(e, buf_put_byte(out, ']'));
    return e;
}
