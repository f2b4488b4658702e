/* target.c: URLs. What browsers leave as it is in a URL (brackets, braces, bars, a stray '%') is left here too: other programs compare
 * these URLs with what a browser asks for. A host is what a program connects to, so nothing in it can pass for a delimiter. */
#include "har/target.h"

#include "http/token.h"
#include "http/url.h"

static bool is_plain(uint8_t c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || (c != 0 && strchr("-._~", c));
}

static bool host_char(uint8_t c)
{
    return is_plain(c) || (c != 0 && strchr("!$&'()*+,;=", c));
}

static bool path_char(uint8_t c)
{
    return c > 0x20 && c < 0x7f && !strchr("\"<>#", c);
}

static enum err put_encoded(struct buf *out, struct span s, bool (*plain)(uint8_t c))
{
    enum err e = ERR_OK;
    size_t from = 0; /* [from, i) goes out as it is */
    for (size_t i = 0; !e && i < s.n; i++) {
        if (plain(s.p[i]))
            continue;
        e = buf_put(out, span_of(s.p + from, i - from));
        if (!e)
            e = buf_printf(out, "%%%02X", s.p[i]);
        from = i + 1;
    }
    return e ? e : buf_put(out, span_from(s, from));
}

static enum err put_host(struct buf *out, struct span host)
{
    if (host.n == 0)
        return buf_put_str(out, "unknown.invalid"); /* RFC 2606: never a name */
    if (!url_is_address(host) || span_find(host, ':') == host.n)
        return put_encoded(out, host, host_char);
    enum err e = buf_put_byte(out, '[');
    size_t zone = span_find(host, '%');
    if (!e)
        e = buf_put(out, span_first(host, zone));
    if (!e && zone < host.n)
        e = buf_put_str(out, "%25");
    if (!e)
        e = put_encoded(out, span_from(host, zone + 1), is_plain);
    return e ? e : buf_put_byte(out, ']');
}

static bool is_scheme(struct span s)
{
    bool good = s.n > 0 && ((s.p[0] >= 'a' && s.p[0] <= 'z') || (s.p[0] >= 'A' && s.p[0] <= 'Z'));
    for (size_t i = 0; good && i < s.n; i++)
        good = (is_plain(s.p[i]) && s.p[i] != '_' && s.p[i] != '~') || s.p[i] == '+';
    return good;
}

enum err target_url(const struct tape_flow *flow, struct buf *out, size_t *path)
{
    bool connect = span_eq(flow->method, SPAN("CONNECT"));
    struct span scheme = connect ? SPAN("https") : is_scheme(flow->scheme) ? flow->scheme : SPAN("http");
    size_t start = out->n;
    enum err e = buf_put(out, scheme);
    if (!e)
        e = buf_put_str(out, "://");
    if (!e)
        e = put_host(out, flow->host);
    if (!e && flow->port && (connect || flow->port != url_default_port(scheme)))
        e = buf_printf(out, ":%u", flow->port);
    *path = out->n - start;
    if (!e && (flow->path.n == 0 || flow->path.p[0] != '/'))
        e = buf_put_byte(out, '/');
    return e ? e : put_encoded(out, flow->path, path_char);
}

struct span target_query(struct span path)
{
    return span_from(path, span_find(path, '?') + 1);
}
