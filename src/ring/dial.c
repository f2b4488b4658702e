/* dial.c: connecting by Happy Eyeballs (RFC 8305): the addresses of a name, families interleaved, one attempt every 250 ms or as soon
 * as the last one failed; the first that connects wins.
 *
 * Everything begins in a task, so that `done` is never called inside dial_start(). An `attempt` is one socket; it outlives the dial
 * when the kernel still has to let go of it, and then knows no dial any more. */
#include "base/alloc.h"
#include "base/clock.h"
#include "base/util.h"
#include "ring/backend.h"
#include "ring/internal.h"

#include <assert.h>
#include <netinet/in.h>
#include <stdio.h>
#include <unistd.h>

enum { DIAL_HOST_SHOWN = 60 };

struct attempt {
    struct io io;
    struct dial *dial; /* NULL: nobody waits for it */
    struct list link;  /* in its dial's `attempts` */
    bool begun;
    struct sockaddr_storage address;
};

struct dial {
    struct loop *loop;
    struct resolver *resolver;
    struct lookup *lookup;
    struct dial_config config;
    char *host;
    struct task next, timeout;
    struct list attempts;
    struct dial_result result;
    struct lookup_result found; /* in the order of trying */
    uint64_t started_ns;
    unsigned tried;
    bool resolved;
};

/* ---- results ---- */

/* Of several failures the one that says most: what is ours before what the network did, an answer before silence. */
static int dial_weight(enum err e)
{
    switch (e) {
    case ERR_OK:
        return 0;
    case ERR_LOOP:
    case ERR_NOMEM:
        return 7;
    case ERR_NO_FDS:
        return 6;
    case ERR_PERMISSION:
        return 5;
    case ERR_REFUSED:
        return 4;
    case ERR_TIMEOUT:
        return 3;
    case ERR_UNREACHABLE:
        return 2;
    default:
        return 1;
    }
}

static void dial_note(struct dial *d, enum err e, const struct sockaddr_storage *address, const char *why)
{
    if (dial_weight(e) <= dial_weight(d->result.error))
        return;
    char where[NET_ADDRESS_TEXT];
    net_address_text((const struct sockaddr *)address, where);
    d->result.error = e;
    d->result.address = *address;
    snprintf(d->result.reason, sizeof d->result.reason, "connect to %s: %.50s", where, why);
}

static void dial_free(struct dial *d)
{
    loop_stop_task(d->loop, &d->next);
    loop_stop_task(d->loop, &d->timeout);
    lookup_cancel(&d->lookup);
    struct list *link;
    while ((link = list_pop(&d->attempts))) {
        struct attempt *a = container_of(link, struct attempt, link);
        a->dial = NULL;
        io_touch(&a->io);
    }
    mem_free(d->host);
    mem_free(d);
}

static void dial_finish(struct dial *d)
{
    void (*done)(void *, const struct dial_result *) = d->config.done;
    void *ctx = d->config.ctx;
    struct dial_result result = d->result;
    dial_free(d);
    done(ctx, &result);
}

static void dial_fail(struct dial *d, enum err e, const char *why)
{
    d->result.error = e;
    d->result.fd = -1;
    snprintf(d->result.reason, sizeof d->result.reason, "%.*s: %.60s", DIAL_HOST_SHOWN, d->host, why);
    dial_finish(d);
}

/* ---- attempts ---- */

/* A connect to a free port of this machine can meet itself when the kernel picks that very port as the source. */
static bool attempt_met_itself(const struct attempt *a)
{
    const struct sockaddr *to = (const struct sockaddr *)&a->address;
    struct sockaddr_storage from;
    socklen_t length = sizeof from;
    return net_is_loopback(to) && getsockname(a->io.fd, (struct sockaddr *)&from, &length) == 0 &&
           net_port((struct sockaddr *)&from) == net_port(to) && net_is_loopback((struct sockaddr *)&from) &&
           memcmp(&from, to, net_address_length(to)) == 0;
}

static void attempt_won(struct attempt *a)
{
    struct dial *d = a->dial;
    loop_count(&d->loop->count.connects, 1);
    d->result.error = ERR_OK;
    d->result.reason[0] = 0;
    d->result.address = a->address;
    d->result.connected_ns = clock_mono_ns();
    d->loop->backend->detach(d->loop, &a->io);
    d->result.fd = a->io.fd;
    a->io.fd = -1;
    dial_finish(d);
}

static void attempt_failed(struct attempt *a, int error)
{
    struct dial *d = a->dial;
    a->dial = NULL;
    list_remove(&a->link);
    io_touch(&a->io);
    dial_note(d, err_from_errno(error), &a->address, strerror(error));
    if (d->tried < d->found.count)
        loop_start(d->loop, &d->next, 0);
    else if (list_empty(&d->attempts))
        dial_finish(d);
}

static void attempt_ended(struct attempt *a, int res)
{
    if (!a->dial)
        return;
    if (res == 0 && attempt_met_itself(a))
        res = -ECONNREFUSED;
    if (res == 0)
        attempt_won(a);
    else
        attempt_failed(a, -res);
}

static void attempt_done(struct io *io, const struct completion *c)
{
    io_touch(io);
    attempt_ended(container_of(io, struct attempt, io), c->res);
}

static void attempt_sync(struct io *io)
{
    struct attempt *a = container_of(io, struct attempt, io);
    if (!a->dial) {
        if (io_quiet(io))
            io_close(io);
        return;
    }
    if (a->begun)
        return;
    a->begun = true;
    const struct sockaddr *to = (const struct sockaddr *)&a->address;
    int res = io->loop->backend->connect(io->loop, io, to, net_address_length(to));
    if (res != IO_LATER)
        attempt_ended(a, res);
    if (!a->dial)
        io_touch(io);
}

static void attempt_cut(struct io *io)
{
    (void)io;
    assert(!container_of(io, struct attempt, io)->dial);
}

static void attempt_release(struct io *io)
{
    mem_free(container_of(io, struct attempt, io));
}

static const struct io_class attempt_class = {attempt_sync, attempt_cut, attempt_release};

/* False: it could not even begin, and has been noted. */
static bool attempt_start(struct dial *d, const struct sockaddr_storage *address)
{
    int kind = SOCK_STREAM | SOCK_CLOEXEC | (d->loop->backend->nonblocking ? SOCK_NONBLOCK : 0);
    int fd = socket(address->ss_family, kind, 0);
    if (fd < 0) {
        dial_note(d, err_from_errno(errno), address, strerror(errno));
        return false;
    }
    struct attempt *a = mem_new(1, sizeof *a);
    if (!a) {
        close(fd);
        dial_note(d, ERR_NOMEM, address, err_text(ERR_NOMEM));
        return false;
    }
    a->dial = d;
    a->address = *address;
    a->io.in.kind = OP_RECV; /* never used */
    a->io.out.kind = OP_CONNECT;
    a->io.out.done = attempt_done;
    enum err e = io_open(&a->io, d->loop, fd, &attempt_class);
    if (e) {
        mem_free(a);
        dial_note(d, e, address, err_text(e));
        return false;
    }
    list_push(&d->attempts, &a->link);
    io_touch(&a->io);
    return true;
}

/* The next address, or the end when there is none and nothing under way. */
static void dial_next(struct dial *d)
{
    while (d->tried < d->found.count) {
        const struct sockaddr_storage *address = &d->found.addresses[d->tried++];
        d->result.address = *address;
        if (d->config.allowed && !d->config.allowed(d->config.ctx, (const struct sockaddr *)address)) {
            d->result.error = ERR_OK;
            dial_note(d, ERR_LOOP, address, err_text(ERR_LOOP));
            dial_finish(d);
            return;
        }
        if (attempt_start(d, address)) {
            if (d->tried < d->found.count)
                loop_start(d->loop, &d->next, LIMIT_CONNECT_STAGGER_MS * NS_PER_MS);
            return;
        }
    }
    if (list_empty(&d->attempts))
        dial_finish(d);
}

/* ---- addresses ---- */

/* RFC 8305, section 4: the system's order, but families take turns, beginning with that of the first. */
static void dial_interleave(struct dial *d, const struct lookup_result *found)
{
    unsigned at[2] = {0, 0}, turn = 0;
    sa_family_t first = found->addresses[0].ss_family;
    d->found = *found;
    for (unsigned n = 0; n < found->count;) {
        while (at[turn] < found->count && (found->addresses[at[turn]].ss_family == first) != (turn == 0))
            at[turn]++;
        if (at[turn] < found->count)
            d->found.addresses[n++] = found->addresses[at[turn]++];
        turn ^= 1u;
    }
    for (unsigned i = 0; i < d->found.count; i++) {
        struct sockaddr_storage *a = &d->found.addresses[i];
        if (a->ss_family == AF_INET)
            ((struct sockaddr_in *)a)->sin_port = htons((uint16_t)d->config.port);
        else
            ((struct sockaddr_in6 *)a)->sin6_port = htons((uint16_t)d->config.port);
    }
}

static void dial_resolved(struct dial *d, const struct lookup_result *found)
{
    d->resolved = true;
    if (found->error) {
        dial_fail(d, found->error, found->reason);
        return;
    }
    d->result.resolved_ns = d->result.resolved_fresh ? clock_mono_ns() : d->started_ns;
    dial_interleave(d, found);
    dial_next(d);
}

static void dial_looked_up(void *ctx, const struct lookup_result *found)
{
    struct dial *d = ctx;
    d->lookup = NULL;
    d->result.resolved_fresh = true;
    dial_resolved(d, found);
}

static void dial_resolve(struct dial *d)
{
    struct lookup_result found;
    memset(&found, 0, sizeof found);
    if (net_parse_literal(d->host, d->config.port, &found.addresses[0])) {
        found.count = 1;
        dial_resolved(d, &found);
    } else if (!d->resolver) {
        dial_fail(d, ERR_RESOLVE, "names are not looked up here");
    } else if (resolver_cached(d->resolver, d->host, &found)) {
        dial_resolved(d, &found);
    } else if (lookup_start(&d->lookup, d->resolver, d->loop, d->host, dial_looked_up, d)) {
        dial_fail(d, ERR_NOMEM, err_text(ERR_NOMEM));
    }
}

static void dial_step(struct task *task)
{
    struct dial *d = container_of(task, struct dial, next);
    if (d->resolved)
        dial_next(d);
    else
        dial_resolve(d);
}

static void dial_timed_out(struct task *task)
{
    struct dial *d = container_of(task, struct dial, timeout);
    if (!d->resolved) {
        dial_fail(d, ERR_TIMEOUT, "looking up the name timed out");
        return;
    }
    /* Those still under way say more than those that failed before. */
    d->result.error = ERR_OK;
    dial_note(d, ERR_TIMEOUT, &d->result.address, "timed out");
    dial_finish(d);
}

/* ---- life ---- */

enum err dial_start(struct dial **out, struct loop *loop, struct resolver *resolver, const struct dial_config *config)
{
    *out = NULL;
    if (loop->no_connect)
        return ERR_PERMISSION;
    struct dial *d = mem_new(1, sizeof *d);
    if (!d)
        return ERR_NOMEM;
    d->loop = loop;
    d->resolver = resolver;
    d->config = *config;
    d->result.fd = -1;
    d->started_ns = clock_mono_ns();
    list_init(&d->attempts);
    task_init(&d->next, dial_step);
    task_init(&d->timeout, dial_timed_out);
    d->host = mem_strdup(config->host, strlen(config->host));
    d->config.host = d->host;
    if (!d->host) {
        mem_free(d);
        return ERR_NOMEM;
    }
    loop_start(loop, &d->next, 0);
    loop_start(loop, &d->timeout, (config->timeout_ms ? config->timeout_ms : LIMIT_CONNECT_MS) * NS_PER_MS);
    *out = d;
    return ERR_OK;
}

void dial_cancel(struct dial **d)
{
    struct dial *it = *d;
    *d = NULL;
    if (it)
        dial_free(it);
}
