/* mime.h: media types (RFC 9110 §8.3.1), forms and multipart (RFC 7578, RFC 2046 §5.1), cookies (RFC 6265). Borrowed spans; nothing
 * allocates unless it says so. */
#ifndef RINGTAPE_HTTP_MIME_H
#define RINGTAPE_HTTP_MIME_H

#include "base/buf.h"

/* "text/html; charset=utf-8" -> "text/html" (as sent, trimmed). */
struct span mime_essence(struct span content_type);
/* A parameter's value, unquoted span (backslashes are left in). False: absent. */
bool mime_param(struct span value, struct span name, struct span *out);
bool mime_is_json(struct span content_type);      /* application/json, +json */
bool mime_is_form(struct span content_type);      /* application/x-www-form-urlencoded */
bool mime_is_multipart(struct span content_type); /* multipart/form-data and others with a boundary */
/* Usually text: text/..., JSON, XML, JavaScript, forms, SVG. */
bool mime_is_text(struct span content_type);

struct mime_part {
    struct span head;                         /* the part's header block, raw */
    struct span name, filename, content_type; /* from Content-Disposition and Content-Type; may be empty */
    bool has_filename;
    struct span body;
};
/* Walks a multipart body: *at starts at 0. False at the end or when it is malformed (*malformed says which). */
bool mime_part_next(struct span body, struct span boundary, size_t *at, struct mime_part *out, bool *malformed);

struct cookie {
    struct span name, value, path, domain, expires, max_age, same_site;
    bool http_only, secure;
};
/* Walks a Cookie field: *rest starts as its value. */
bool cookie_next(struct span *rest, struct span *name, struct span *value);
/* Parses one Set-Cookie field. False when it has no name=value pair. */
bool cookie_parse_set(struct span value, struct cookie *out);
/* An RFC 6265 §5.1.1 date as Unix seconds. False when it is none. */
bool cookie_date(struct span text, int64_t *unix_s);

#endif
