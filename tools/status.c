/* status.c: the line is drawn in place; log lines erase it (struct log's over_status) and it comes back with the next turn. */
#include "tools/status.h"

#include "base/clock.h"
#include "base/text.h"
#include "base/util.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>

void status_init(struct status *s, bool wanted)
{
    const char *term = getenv("TERM");
    *s = (struct status){.on = wanted && isatty(STDERR_FILENO) && term && *term && strcmp(term, "dumb") != 0};
}

static void put(struct span bytes)
{
    ssize_t n;
    do
        n = write(STDERR_FILENO, bytes.p, bytes.n);
    while (n < 0 && errno == EINTR);
}

enum err status_text(const struct serve_totals *totals, struct buf *out)
{
    enum err e = buf_printf(out, "%llu flow%s, ", (unsigned long long)totals->flows, totals->flows == 1 ? "" : "s");
    if (!e)
        e = buf_printf(out, "%llu error%s, ", (unsigned long long)totals->errors, totals->errors == 1 ? "" : "s");
    return e ? e : text_bytes(out, totals->bytes);
}

void status_draw(struct status *s, const struct serve_totals *totals, uint64_t now_ns)
{
    if (!s->on)
        return;
    uint64_t passed = now_ns - s->last_ns;
    if (s->last_ns > 0 && passed > 0)
        s->rate = (double)(totals->flows - s->last_flows) * (double)NS_PER_S / (double)passed;
    s->last_ns = now_ns;
    s->last_flows = totals->flows;
    struct winsize size = {.ws_col = 80};
    if (ioctl(STDERR_FILENO, TIOCGWINSZ, &size) < 0 || size.ws_col == 0)
        size.ws_col = 80;
    struct buf text = BUF_INIT, line = BUF_INIT;
    enum err e = status_text(totals, &text);
    if (!e)
        e = buf_printf(&text, ", %.1f/s", s->rate);
    struct span shown = span_first(buf_span(&text), (size_t)MAX(size.ws_col - 1, 1)); /* a full line would wrap */
    if (!e)
        e = buf_printf(&line, "\r\033[K%.*s", (int)shown.n, (const char *)shown.p);
    if (!e)
        put(buf_span(&line));
    buf_free(&text);
    buf_free(&line);
}

void status_clear(struct status *s)
{
    if (s->on)
        put(SPAN("\r\033[K"));
    s->on = false;
}
