/* import_time.c: from phases back to offsets, and to the server connection; the inverse of timing.c. */
#include "har/import_internal.h"

#include "base/clock.h"
#include "base/util.h"
#include "har/view.h"
#include "http/url.h"

#include <time.h>

#define PHASE_MAX_US INT64_C(100000000000000) /* three years: sums of a few stay far within 64 bits, in ns too */

/* --- when -------------------------------------------------------------------------------------------------------- */

static bool digits(struct span *rest, size_t n, int *out)
{
    uint64_t v;
    if (rest->n < n || !span_to_u64(span_first(*rest, n), 9999, &v))
        return false;
    *out = (int)v;
    *rest = span_from(*rest, n);
    return true;
}

static bool skip(struct span *rest, const char *any)
{
    if (rest->n == 0 || rest->p[0] == 0 || !strchr(any, rest->p[0]))
        return false;
    *rest = span_from(*rest, 1);
    return true;
}

static int64_t fraction_ns(struct span *rest)
{
    int64_t ns = 0, unit = 100000000;
    while (rest->n > 0 && rest->p[0] >= '0' && rest->p[0] <= '9') {
        ns += (rest->p[0] - '0') * unit;
        unit /= 10;
        *rest = span_from(*rest, 1);
    }
    return ns;
}

/* +hh:mm, +hhmm, +hh, Z */
static bool zone_s(struct span *rest, int64_t *out)
{
    int hours, minutes = 0;
    *out = 0;
    if (skip(rest, "Zz"))
        return true;
    bool minus = rest->n > 0 && rest->p[0] == '-';
    if (!skip(rest, "+-") || !digits(rest, 2, &hours))
        return false;
    (void)skip(rest, ":");
    if (rest->n > 0 && !digits(rest, 2, &minutes))
        return false;
    *out = (hours * 60 + minutes) * (minus ? -60 : 60);
    return hours < 24 && minutes < 60;
}

/* ISO 8601, from 1970 to 2199. *zoned: it said where. */
static bool read_time(struct span text, uint64_t *out, bool *zoned)
{
    struct tm tm = {.tm_isdst = 0};
    struct span rest = span_trim(text);
    int64_t zone = 0, ns = 0;
    bool good = digits(&rest, 4, &tm.tm_year) && skip(&rest, "-") && digits(&rest, 2, &tm.tm_mon) && skip(&rest, "-") &&
                digits(&rest, 2, &tm.tm_mday) && skip(&rest, "Tt ") && digits(&rest, 2, &tm.tm_hour) &&
                skip(&rest, ":") && digits(&rest, 2, &tm.tm_min);
    if (good && skip(&rest, ":"))
        good = digits(&rest, 2, &tm.tm_sec);
    if (good && skip(&rest, ".,"))
        ns = fraction_ns(&rest);
    if (!good || tm.tm_mon < 1 || tm.tm_mon > 12 || tm.tm_mday < 1 || tm.tm_mday > 31 || tm.tm_hour > 24 ||
        tm.tm_min > 59 || tm.tm_sec > 60 || tm.tm_year < 1970 || tm.tm_year > 2199)
        return false;
    tm.tm_year -= 1900;
    tm.tm_mon--;
    *zoned = rest.n > 0;
    if (*zoned && (!zone_s(&rest, &zone) || rest.n > 0))
        return false;
    int64_t s = (int64_t)timegm(&tm) - zone;
    *out = s < 0 ? 0 : (uint64_t)s * NS_PER_S + (uint64_t)ns;
    return s >= 0;
}

void import_start(struct import_entry *x)
{
    struct har_importer *im = x->im;
    bool zoned = true;
    double ms;
    if (json_is_real(tree_member(x->root, "startedDateTime")) && tree_number(x->root, "startedDateTime", &ms) &&
        ms >= 0 && ms < 7e12) /* since 1970, as some scripts have it */
        im->started_ns = (uint64_t)ms * NS_PER_MS;
    else if (!read_time(tree_string(x->root, "startedDateTime"), &im->started_ns, &zoned))
        mend(im->mends, MEND_START);
    if (!zoned)
        mend(im->mends, MEND_ZONE);
    x->row.started_ns = im->started_ns;
}

/* --- phases ------------------------------------------------------------------------------------------------------ */

/* Microseconds; -1: it does not apply, or is not said. */
static int64_t phase(const json_t *timings, const char *key)
{
    double ms;
    if (!tree_number(timings, key, &ms) || ms < 0)
        return -1;
    double us = ms * 1000 + 0.5;
    return us < (double)PHASE_MAX_US ? (int64_t)us : PHASE_MAX_US;
}

struct phases {
    int64_t blocked, dns, connect, ssl, send, wait, receive, before;
};

static void read_phases(struct import_entry *x, struct phases *p)
{
    const json_t *t = tree_member(x->root, "timings");
    *p = (struct phases){.blocked = phase(t, "blocked"),
                         .dns = phase(t, "dns"),
                         .connect = phase(t, "connect"),
                         .ssl = phase(t, "ssl"),
                         .send = phase(t, "send"),
                         .wait = phase(t, "wait"),
                         .receive = phase(t, "receive"),
                         .before = MAX(phase(x->own, "connectedBefore"), 0)};
    bool told = p->send >= 0 || p->wait >= 0 || p->receive >= 0;
    if (p->send < 0 || p->wait < 0 || p->receive < 0)
        mend(x->im->mends, MEND_TIMES);
    if (!told) /* the whole is better than nothing */
        p->wait = phase(x->root, "time");
    p->blocked = MAX(p->blocked, 0);
    p->send = MAX(p->send, 0);
    p->wait = MAX(p->wait, 0);
    p->receive = MAX(p->receive, 0);
    if (p->ssl > p->connect) {
        if (p->ssl > 0)
            mend(x->im->mends, MEND_SSL);
        p->ssl = p->connect;
    }
}

/* --- the connection ---------------------------------------------------------------------------------------------- */

/* "192.0.2.1:443" into im->peer; empty when the address is not known. */
static enum err read_peer(struct import_entry *x)
{
    struct har_importer *im = x->im;
    struct span ip = span_trim(tree_string(x->root, "serverIPAddress"));
    double port;
    buf_clear(&im->peer);
    if (ip.n > 2 && ip.p[0] == '[' && ip.p[ip.n - 1] == ']')
        ip = span_of(ip.p + 1, ip.n - 2);
    if (ip.n == 0)
        return ERR_OK;
    if (!url_is_address(ip)) {
        mend(im->mends, MEND_BAD_ADDRESS);
        return ERR_OK;
    }
    if (!tree_number(x->root, "_serverPort", &port) || !(port >= 1 && port <= 65535))
        port = x->row.port;
    bool v6 = span_find(ip, ':') < ip.n;
    enum err e = v6 ? buf_put_byte(&im->peer, '[') : ERR_OK;
    if (!e)
        e = buf_put(&im->peer, ip);
    return e ? e : buf_printf(&im->peer, "%s:%u", v6 ? "]" : "", (unsigned)port);
}

/* Its id; *fresh: the tape does not have it yet. A number that is free stays the id, so that an export has it again. */
static int64_t connection_id(struct import_entry *x, bool set_up, bool *fresh)
{
    struct har_importer *im = x->im;
    struct span name = tree_string(x->root, "connection");
    uint64_t number = 0;
    struct import_peer *place = NULL;
    *fresh = true;
    if (name.n > 0) {
        bool numbered = span_to_u64(name, UINT32_MAX, &number) && number > 0;
        struct import_peer wanted = {.address = hash64(&im->key, buf_span(&im->peer)) ^ hash64(&im->key, x->row.host)};
        wanted.name = numbered ? number : hash64(&im->key, name) | UINT64_C(1) << 63;
        place = &im->peers[wanted.name % IMPORT_PEERS];
        bool free_place = place->name == 0;
        if (!set_up && place->name == wanted.name && place->address == wanted.address) {
            *fresh = false;
            return place->id;
        }
        wanted.id = numbered && free_place ? im->connections_base + (int64_t)number : ++im->next;
        *place = wanted;
    }
    int64_t id = place ? place->id : ++im->next;
    im->connections = MAX(im->connections, id);
    return id;
}

static enum err put_connection(struct import_entry *x, int64_t id, const struct phases *p)
{
    struct har_importer *im = x->im;
    const json_t *security = tree_member(x->root, "_securityDetails");
    struct span protocol = tree_string(security, "protocol");
    struct tape_connection c = {
        .id = id,
        .server = true,
        .peer = buf_span(&im->peer),
        .host = x->row.host,
        .port = x->row.port,
        .sni = span_first(tree_string(security, "sni"), 255),
        .alpn = span_first(tree_string(security, "alpn"), 31),
        .tls_cipher = span_first(tree_string(security, "cipher"), 63),
        .tls_resumed = tree_true(security, "resumed"),
        .opened_ns = x->row.started_ns - MIN((uint64_t)p->before * 1000, x->row.started_ns),
        .dns_ns = p->dns < 0 ? -1 : p->dns * 1000,
        .connected_ns = -1,
        .tls_ns = -1,
        .closed_ns = -1,
    };
    buf_clear(&im->json);
    enum err e = ERR_OK;
    if (span_starts_with(protocol, SPAN("TLS "))) {
        e = buf_put_str(&im->json, "TLSv");
        protocol = span_from(protocol, 4);
    }
    if (!e)
        e = buf_put(&im->json, span_first(protocol, 15));
    c.tls_version = buf_span(&im->json);
    if (p->connect >= 0) {
        int64_t up = MAX(p->dns, 0) + p->connect;
        c.connected_ns = (up - MAX(p->ssl, 0)) * 1000;
        c.tls_ns = p->ssl < 0 ? -1 : up * 1000;
    }
    return e ? e : tape_writer_connection(im->writer, &c);
}

enum err import_timing(struct import_entry *x)
{
    struct phases p;
    struct tape_flow_row *row = &x->row;
    read_phases(x, &p);
    int64_t setup = MAX(p.dns, 0) + MAX(p.connect, 0);
    p.before = MIN(p.before, setup);
    row->sent_ns = (p.blocked + setup - p.before) * 1000;
    row->request_end_ns = row->sent_ns + p.send * 1000;
    row->response_begin_ns = row->request_end_ns + p.wait * 1000;
    row->response_end_ns = row->response_begin_ns + p.receive * 1000;
    enum err e = read_peer(x);
    bool set_up = p.dns >= 0 || p.connect >= 0, fresh;
    if (e || (!set_up && buf_span(&x->im->peer).n == 0 && tree_string(x->root, "connection").n == 0))
        return e;
    row->server_reused = !set_up;
    row->server_connection = connection_id(x, set_up, &fresh);
    return fresh ? put_connection(x, row->server_connection, &p) : ERR_OK;
}
