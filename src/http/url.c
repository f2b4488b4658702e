/* url.c: what a URL says, for routing and for showing. Strict where two readers could disagree about the host (stray '@', '\\', spaces,
 * brackets), tolerant elsewhere: raw UTF-8 and odd characters in paths are what browsers and scripts send. */
#include "http/url.h"

#include "http/token.h"

#include <arpa/inet.h>

enum { ADDRESS_TEXT_MAX = 64 };

unsigned url_default_port(struct span scheme)
{
    if (span_eq_nocase(scheme, SPAN("http")) || span_eq_nocase(scheme, SPAN("ws")))
        return 80;
    if (span_eq_nocase(scheme, SPAN("https")) || span_eq_nocase(scheme, SPAN("wss")))
        return 443;
    return 0;
}

static bool is_address(struct span host, int family)
{
    char text[ADDRESS_TEXT_MAX];
    uint8_t address[16];
    if (host.n == 0 || host.n >= sizeof text || span_find(host, 0) < host.n)
        return false;
    memcpy(text, host.p, host.n);
    text[host.n] = 0;
    return inet_pton(family, text, address) == 1;
}

/* A zone ("fe80::1%eth0", RFC 6874) is part of the literal. */
static bool is_v6(struct span host)
{
    size_t zone = span_find(host, '%');
    return (zone == host.n || zone + 1 < host.n) && is_address(span_first(host, zone), AF_INET6);
}

bool url_is_address(struct span host)
{
    return is_address(host, AF_INET) || is_v6(host);
}

/* No delimiter of any URL component, no white space or control: what is left is what resolvers are asked about. */
static bool host_valid(struct span host)
{
    static const bool bad[128] = {
        ['/'] = true, ['?'] = true, ['#'] = true, ['@'] = true, ['\\'] = true, ['<'] = true,
        ['>'] = true, ['"'] = true, ['^'] = true, ['`'] = true, ['{'] = true,  ['|'] = true,
        ['}'] = true, ['['] = true, [']'] = true, [':'] = true, [','] = true,
    };
    if (host.n == 0 || !token_graphic(host))
        return false;
    for (size_t i = 0; i < host.n; i++)
        if (host.p[i] < 128 && bad[host.p[i]])
            return false;
    return true;
}

enum err url_authority(struct span text, struct span *host, unsigned *port)
{
    struct span rest;
    *port = 0;
    if (text.n > 0 && text.p[0] == '[') {
        size_t close = span_find(text, ']');
        if (close == text.n)
            return ERR_PARSE;
        *host = span_of(text.p + 1, close - 1);
        rest = span_from(text, close + 1);
        if (!is_v6(*host) || !token_graphic(*host))
            return ERR_PARSE;
    } else {
        size_t colon = span_find(text, ':');
        *host = span_first(text, colon);
        rest = span_from(text, colon);
        if (!host_valid(*host))
            return ERR_PARSE;
    }
    if (rest.n == 0)
        return ERR_OK;
    uint64_t number = 0;
    if (rest.p[0] != ':' || (rest.n > 1 && (!span_to_u64(span_from(rest, 1), 65535, &number) || number == 0)))
        return ERR_PARSE;
    *port = (unsigned)number; /* "host:" has an empty port, which is the default (RFC 3986 §3.2.3) */
    return ERR_OK;
}

enum err url_parse(struct span text, struct url *out)
{
    *out = (struct url){.port = 0};
    size_t colon = span_find(text, ':');
    struct span scheme = span_first(text, colon);
    unsigned usual = url_default_port(scheme);
    struct span rest = span_from(text, colon);
    if (usual == 0 || !span_starts_with(rest, SPAN("://")) || !token_graphic(text))
        return ERR_PARSE;
    rest = span_from(rest, 3);
    size_t end = 0;
    while (end < rest.n && rest.p[end] != '/' && rest.p[end] != '?' && rest.p[end] != '#')
        end++;
    struct span authority = span_first(rest, end);
    if (span_find(authority, '\\') < authority.n) /* a slash to browsers */
        return ERR_PARSE;
    size_t at = span_find(authority, '@');
    if (at < authority.n)
        authority = span_from(authority, at + 1); /* a second '@' is then refused: readers disagree on it */
    unsigned port;
    enum err e = url_authority(authority, &out->host, &port);
    if (e)
        return e;
    out->scheme = scheme;
    out->port = port ? port : usual;
    out->port_given = port != 0;
    struct span path = span_from(rest, end);
    path = span_first(path, span_find(path, '#'));
    size_t question = span_find(path, '?');
    out->has_query = question < path.n;
    out->query = span_from(path, question + 1);
    out->path = question > 0 ? path : SPAN_EMPTY;
    return ERR_OK;
}

bool url_query_next(struct span *rest, struct span *name, struct span *value)
{
    while (rest->n > 0) {
        struct span pair = span_first(*rest, span_find(*rest, '&'));
        *rest = span_from(*rest, pair.n + 1);
        if (pair.n == 0)
            continue;
        size_t equals = span_find(pair, '=');
        *name = span_first(pair, equals);
        *value = span_from(pair, equals + 1);
        return true;
    }
    *name = *value = SPAN_EMPTY;
    return false;
}

static int hex_digit(uint8_t c)
{
    if (c >= '0' && c <= '9')
        return c - '0';
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

enum err url_decode(struct buf *out, struct span text, bool plus)
{
    uint8_t *at;
    if (text.n == 0)
        return ERR_OK;
    enum err e = buf_reserve(out, text.n, &at);
    if (e)
        return e;
    size_t n = 0;
    for (size_t i = 0; i < text.n; i++) {
        uint8_t c = text.p[i];
        int high = c == '%' && i + 2 < text.n ? hex_digit(text.p[i + 1]) : -1;
        int low = high >= 0 ? hex_digit(text.p[i + 2]) : -1;
        if (low >= 0) {
            c = (uint8_t)(high << 4 | low);
            i += 2;
        } else if (plus && c == '+') {
            c = ' ';
        }
        at[n++] = c;
    }
    buf_commit(out, n);
    return ERR_OK;
}
