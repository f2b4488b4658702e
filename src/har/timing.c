/* timing.c: phases that add up, whatever a tape says.
 *
 *     flow begins ──blocked──> sent ──send──> request out ──wait──> response begins ──receive──> end
 *        dns, connect (tcp and ssl) of a fresh connection lie within blocked, or before the flow:
 *        an intercepted origin is dialled at CONNECT, ahead of the first request that it carries.
 *
 * Setup counts for the flow that first used the connection, wherever it lay; blocked is what of the time before `sent` was not setup. */
#include "har/timing.h"

#include "base/util.h"

/* Far beyond any flow, and sums of a few stay within 64 bits. */
#define OFFSET_MAX (INT64_MAX / 16)

static int64_t bounded(int64_t offset)
{
    return offset < 0 ? -1 : MIN(offset, OFFSET_MAX);
}

static int64_t flow_end(const struct tape_flow *f)
{
    int64_t end = bounded(f->response_end_ns);
    if (end >= 0)
        return end;
    end = MAX(bounded(f->request_end_ns), bounded(f->sent_ns));
    end = MAX(end, bounded(f->response_begin_ns));
    return MAX(end, 0);
}

static int64_t span_us(int64_t from, int64_t to)
{
    return (MAX(to - from, 0)) / 1000;
}

/* dns, connect, ssl of a fresh connection; *setup_ns: how long they took together. */
static void timing_setup(const struct tape_connection *c, struct timing *t, int64_t *setup_ns)
{
    int64_t dns = bounded(c->dns_ns), tcp = bounded(c->connected_ns), tls = bounded(c->tls_ns);
    int64_t at = 0;
    if (dns >= 0) {
        t->dns = dns / 1000;
        at = dns;
    }
    if (tcp >= 0) {
        tcp = MAX(tcp, at);
        int64_t up = tls >= 0 ? MAX(tls, tcp) : tcp;
        t->connect = span_us(at, up);
        if (tls >= 0)
            t->ssl = span_us(tcp, up);
        at = up;
    }
    *setup_ns = at;
}

void timing_of(const struct tape_flow *flow, const struct tape_connection *server, struct timing *t)
{
    *t = (struct timing){.dns = -1, .connect = -1, .ssl = -1};
    int64_t end = flow_end(flow);
    int64_t sent = bounded(flow->sent_ns), begin = bounded(flow->response_begin_ns),
            out = bounded(flow->request_end_ns);
    sent = sent < 0 ? end : MIN(sent, end);
    begin = begin < 0 ? end : MAX(MIN(begin, end), sent);
    out = out < 0 ? begin : MAX(MIN(out, begin), sent);

    int64_t within = 0; /* setup that lies in [0, sent] */
    if (server && !flow->server_reused) {
        int64_t setup, opened = (int64_t)(server->opened_ns - flow->started_ns);
        timing_setup(server, t, &setup);
        opened = MAX(MIN(opened, OFFSET_MAX), -OFFSET_MAX);
        within = MAX(MIN(opened + setup, sent) - MAX(opened, 0), 0);
        if (opened < 0) /* of what is told, cut to microseconds one by one */
            t->before = MIN(MIN(setup, -opened) / 1000, MAX(t->dns, 0) + MAX(t->connect, 0));
    }
    t->blocked = span_us(within, sent);
    t->send = span_us(sent, out);
    t->wait = span_us(out, begin);
    t->receive = span_us(begin, end);
    t->total = t->blocked + MAX(t->dns, 0) + MAX(t->connect, 0) + t->send + t->wait + t->receive;
}
