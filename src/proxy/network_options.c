/* network_options.c: the parsers of --connect-to, --upstream and --client-cert. */
#include "base/text.h"
#include "base/util.h"
#include "flow/connection.h"
#include "http/url.h"
#include "proxy/network.h"

static enum err map_problem(const char *text, struct buf *problem)
{
    enum err e = buf_printf(problem, "--connect-to wants HOST:PORT:ADDR:PORT (parts may be empty), not \"%s\"", text);
    return e ? e : ERR_USAGE;
}

/* One "HOST:" or "[V6]:" (even indices) or "PORT:" from *rest. */
static bool map_part(struct span *rest, size_t index, struct span *out)
{
    size_t end;
    if (index % 2 == 0 && rest->n && rest->p[0] == '[') {
        end = span_find(*rest, ']');
        if (end == rest->n)
            return false;
        *out = span_of(rest->p + 1, end - 1);
        *rest = span_from(*rest, end + 1);
        end = 0;
    } else {
        end = span_find(*rest, ':');
        *out = span_first(*rest, end);
    }
    *rest = span_from(*rest, end);
    if (index == 3)
        return rest->n == 0;
    if (rest->n == 0 || rest->p[0] != ':')
        return false;
    *rest = span_from(*rest, 1);
    return true;
}

static bool map_port(struct span text, unsigned *out)
{
    uint64_t port = 0;
    if (text.n && (!span_to_u64(text, 65535, &port) || port == 0))
        return false;
    *out = (unsigned)port;
    return true;
}

enum err network_map_parse(const char *text, struct network_map *out, struct buf *problem)
{
    struct span rest = span_str(text), part[4];
    *out = (struct network_map){.port = 0};
    for (size_t i = 0; i < 4; i++)
        if (!map_part(&rest, i, &part[i]))
            return map_problem(text, problem);
    if (!map_port(part[1], &out->port) || !map_port(part[3], &out->to_port) || part[0].n >= sizeof out->host ||
        part[2].n >= sizeof out->to_host)
        return map_problem(text, problem);
    connection_set(out->host, sizeof out->host, part[0]);
    connection_set(out->to_host, sizeof out->to_host, part[2]);
    return ERR_OK;
}

enum err network_upstream_parse(const char *text, struct network_upstream *out, struct buf *problem)
{
    struct url url;
    struct span all = span_str(text), user = SPAN_EMPTY;
    *out = (struct network_upstream){.port = 0};
    bool good = url_parse(all, &url) == ERR_OK && span_eq_nocase(url.scheme, SPAN("http")) &&
                url.host.n < sizeof out->host && !url.has_query && (url.path.n == 0 || span_eq(url.path, SPAN("/")));
    if (!good) {
        enum err e = buf_put_str(problem, "--upstream wants http://[USER:PASSWORD@]HOST:PORT");
        return e ? e : ERR_USAGE;
    }
    connection_set(out->host, sizeof out->host, url.host);
    out->port = url.port;
    struct span authority = span_from(all, 7);
    authority = span_first(authority, span_find(authority, '/'));
    for (size_t i = 0; i < authority.n; i++)
        if (authority.p[i] == '@')
            user = span_first(authority, i);
    if (user.n == 0)
        return ERR_OK;
    struct buf plain = BUF_INIT, coded = BUF_INIT;
    enum err e = url_decode(&plain, user, false);
    if (!e)
        e = text_base64(&coded, buf_span(&plain));
    if (!e && coded.n >= sizeof out->credentials) {
        e = buf_put_str(problem, "--upstream: the user name and password are too long");
        e = e ? e : ERR_USAGE;
    }
    if (!e)
        connection_set(out->credentials, sizeof out->credentials, buf_span(&coded));
    buf_free(&plain);
    buf_free(&coded);
    return e;
}

enum err network_certificate_parse(const char *text, struct network_certificate *out, struct buf *problem)
{
    struct span all = span_str(text);
    size_t at = span_find(all, '=');
    *out = (struct network_certificate){.file = text + MIN(at + 1, all.n)};
    if (at < all.n && *out->file && proxy_pass_read(span_first(all, at), &out->where) == ERR_OK)
        return ERR_OK;
    enum err e =
        buf_printf(problem, "--client-cert wants HOST[:PORT]=FILE, where HOST may begin with \"*.\", not \"%s\"", text);
    return e ? e : ERR_USAGE;
}
