/* fuzz_url.c: URLs, authorities, queries, percent-decoding. What a URL's parts say must lie within it, and putting scheme, host, port and
 * path together again must give a URL that reads the same. */
#include "http/url.h"

#include <stdlib.h>

static void must(bool holds)
{
    if (!holds)
        abort();
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void inside(struct span part, const uint8_t *data, size_t size)
{
    must(part.n == 0 || (part.p >= data && part.p + part.n <= data + size));
}

static void round_trip(const struct url *u)
{
    struct buf b = BUF_INIT;
    struct url again;
    bool v6 = span_find(u->host, ':') < u->host.n;
    must(buf_printf(&b, "%.*s://%s%.*s%s:%u", (int)u->scheme.n, (const char *)u->scheme.p, v6 ? "[" : "",
                    (int)u->host.n, (const char *)u->host.p, v6 ? "]" : "", u->port) == ERR_OK);
    if (u->path.n) {
        must(u->path.p[0] == '/');
        must(buf_put(&b, u->path) == ERR_OK);
    } else if (u->has_query) {
        must(buf_put_byte(&b, '?') == ERR_OK && buf_put(&b, u->query) == ERR_OK);
    }
    must(url_parse(buf_span(&b), &again) == ERR_OK);
    must(span_eq(again.host, u->host) && span_eq(again.path, u->path) && span_eq(again.query, u->query) &&
         again.port == u->port);
    buf_free(&b);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span text = span_of(data, size), host, name, value;
    struct url u;
    unsigned port;
    if (url_parse(text, &u) == ERR_OK) {
        must(u.host.n > 0 && u.port > 0 && u.port <= 65535);
        inside(u.host, data, size);
        inside(u.path, data, size);
        inside(u.query, data, size);
        round_trip(&u);
    }
    if (url_authority(text, &host, &port) == ERR_OK) {
        must(host.n > 0 && port <= 65535);
        inside(host, data, size);
    }
    (void)url_is_address(text);
    struct span rest = text;
    for (size_t n = 0; url_query_next(&rest, &name, &value); n++) {
        must(n < size);
        inside(name, data, size);
        inside(value, data, size);
    }
    struct buf b = BUF_INIT;
    must(url_decode(&b, text, size % 2) == ERR_OK && b.n <= size);
    buf_free(&b);
    return 0;
}
