/* report.c: the matcher's counters and kept misses, in three notations. */
#include "replay/report.h"

#include "base/text.h"
#include "base/util.h"

enum { REPORT_FLOWS_NAMED = 20 }; /* in texts for people */

static unsigned conditions(const struct matcher *m)
{
    struct matcher_counters n;
    matcher_get_counters(m, &n);
    return (n.missed > 0 ? BIT(FAIL_ON_MISS) : 0) | (n.unused > 0 ? BIT(FAIL_ON_UNUSED) : 0) |
           (n.repeated > 0 ? BIT(FAIL_ON_REPEAT) : 0);
}

unsigned report_failed(const struct matcher *m)
{
    return conditions(m) & matcher_rules(m)->fail_on;
}

enum err report_text(const struct matcher *m, uint64_t network_connects, struct buf *out)
{
    struct matcher_counters n;
    struct matcher_miss miss;
    size_t at = 0, shown = 0;
    matcher_get_counters(m, &n);
    enum err e = buf_printf(
        out, "%llu served, %llu missed, %llu repeated, %llu of %llu recordings unused, %llu connects to the network\n",
        (unsigned long long)n.served, (unsigned long long)n.missed, (unsigned long long)n.repeated,
        (unsigned long long)n.unused, (unsigned long long)n.flows, (unsigned long long)network_connects);
    for (; !e && shown < REPORT_TEXT_MISSES && matcher_next_miss(m, &at, &miss); shown++) {
        e = buf_put_str(out, "miss: ");
        if (!e)
            e = text_escape_terminal(out, miss.line);
        if (!e)
            e = buf_put_byte(out, '\n');
    }
    if (!e && n.missed > shown)
        e = buf_printf(out, "miss: and %llu more\n", (unsigned long long)(n.missed - shown));
    return e;
}

static enum err put_count(struct buf *out, const char *name, uint64_t value)
{
    return buf_printf(out, "\"%s\": %llu, ", name, (unsigned long long)value);
}

static enum err put_unused(const struct matcher *m, struct buf *out)
{
    const char *quote = matcher_tapes(m) > 1 ? "\"" : "", *comma = "";
    struct match flow;
    size_t at = 0;
    enum err e = ERR_OK;
    while (!e && matcher_next_flow(m, &at, &flow)) {
        if (flow.times > 0)
            continue;
        e = buf_printf(out, "%s%s", comma, quote);
        if (!e)
            e = matcher_put_flow(m, &flow, out);
        if (!e)
            e = buf_put_str(out, quote);
        comma = ", ";
    }
    return e;
}

static enum err put_served(const struct matcher *m, struct buf *out)
{
    const char *comma = "";
    struct match flow;
    size_t at = 0;
    enum err e = ERR_OK;
    while (!e && matcher_next_flow(m, &at, &flow)) {
        if (flow.times == 0)
            continue;
        e = buf_printf(out, "%s\"", comma);
        if (!e)
            e = matcher_put_flow(m, &flow, out);
        if (!e)
            e = buf_printf(out, "\": %llu", (unsigned long long)flow.times);
        comma = ", ";
    }
    return e;
}

static enum err put_tracks(const struct matcher *m, struct buf *out)
{
    struct matcher_track track;
    size_t at = 0, n = 0;
    enum err e = ERR_OK;
    for (; !e && matcher_next_track(m, &at, &track); n++) {
        e = buf_put_str(out, n ? ", " : ", \"tracks\": {");
        if (!e)
            e = text_json_string(out, track.name);
        if (!e)
            e = buf_put_str(out, ": {");
        if (!e)
            e = put_count(out, "served", track.served);
        if (!e)
            e = put_count(out, "missed", track.missed);
        if (!e)
            e = buf_printf(out, "\"repeated\": %llu}", (unsigned long long)track.repeated);
    }
    return !e && n ? buf_put_byte(out, '}') : e;
}

static enum err put_tapes(const struct matcher *m, struct buf *out)
{
    enum err e = ERR_OK;
    if (matcher_tapes(m) < 2)
        return ERR_OK;
    for (size_t i = 0; !e && i < matcher_tapes(m); i++) {
        e = buf_put_str(out, i ? ", " : ", \"tapes\": [");
        if (!e)
            e = text_json_string(out, span_str(matcher_tape_path(m, i)));
    }
    return e ? e : buf_put_byte(out, ']');
}

enum err report_json(const struct matcher *m, uint64_t network_connects, struct buf *out)
{
    struct matcher_counters n;
    struct matcher_miss miss;
    size_t at = 0;
    matcher_get_counters(m, &n);
    enum err e = buf_put_byte(out, '{');
    if (!e)
        e = put_count(out, "served", n.served);
    if (!e)
        e = put_count(out, "missed", n.missed);
    if (!e)
        e = put_count(out, "repeated", n.repeated);
    if (!e)
        e = put_count(out, "unused", n.unused);
    if (!e)
        e = put_count(out, "network_connects", network_connects);
    if (!e)
        e = buf_put_str(out, "\"misses\": [");
    for (size_t i = 0; !e && matcher_next_miss(m, &at, &miss); i++) {
        e = buf_put_str(out, i ? ", " : "");
        if (!e)
            e = buf_put(out, miss.json);
    }
    if (!e)
        e = buf_put_str(out, "], \"unused_flows\": [");
    if (!e)
        e = put_unused(m, out);
    if (!e)
        e = buf_put_str(out, "], \"flows\": {");
    if (!e)
        e = put_served(m, out);
    if (!e)
        e = buf_put_byte(out, '}');
    if (!e)
        e = put_tracks(m, out);
    if (!e)
        e = put_tapes(m, out);
    return e ? e : buf_put_str(out, "}\n");
}

/* Text for XML 1.0: what it cannot say becomes U+FFFD. */
static enum err put_xml(struct buf *out, struct span s)
{
    enum err e = ERR_OK;
    for (size_t i = 0; !e && i < s.n;) {
        struct span rest = span_from(s, i);
        uint8_t c = rest.p[0];
        size_t n = 1;
        while (n < rest.n && n < 4 && c >= 0xc0 && (rest.p[n] & 0xc0) == 0x80)
            n++;
        bool utf8 = text_is_utf8(span_first(rest, n));
        bool bad = !utf8 || (c < 0x20 && c != '\n' && c != '\t') ||
                   (n == 3 && c == 0xef && rest.p[1] == 0xbf && rest.p[2] >= 0xbe);
        i += utf8 ? n : 1;
        if (bad)
            e = buf_put_str(out, "\xef\xbf\xbd");
        else if (c == '<' || c == '>' || c == '&' || c == '"')
            e = buf_put_str(out, c == '<' ? "&lt;" : c == '>' ? "&gt;" : c == '&' ? "&amp;" : "&quot;");
        else
            e = buf_put(out, span_first(rest, n));
    }
    return e;
}

static enum err put_case(struct buf *out, struct span name, bool failed, struct span text)
{
    enum err e = buf_put_str(out, "  <testcase classname=\"ringtape.replay\" name=\"");
    if (!e)
        e = put_xml(out, name);
    if (e || text.n == 0)
        return e ? e : buf_put_str(out, "\"/>\n");
    e = buf_put_str(out, failed ? "\"><failure message=\"" : "\"><system-out>");
    if (!e)
        e = put_xml(out, text);
    return e ? e : buf_put_str(out, failed ? "\"/></testcase>\n" : "</system-out></testcase>\n");
}

/* "3 recordings: flow 4, 5, 9" */
static enum err put_flows(const struct matcher *m, uint64_t n, bool unused, struct buf *out)
{
    struct match flow;
    size_t at = 0, named = 0;
    enum err e = buf_printf(out, "%llu %s: flow ", (unsigned long long)n, unused ? "not used" : "repeats");
    while (!e && named < REPORT_FLOWS_NAMED && matcher_next_flow(m, &at, &flow)) {
        if (unused ? flow.times > 0 : flow.times < 2)
            continue;
        e = buf_put_str(out, named++ ? ", " : "");
        if (!e)
            e = matcher_put_flow(m, &flow, out);
    }
    return !e && named == REPORT_FLOWS_NAMED ? buf_put_str(out, ", \xe2\x80\xa6") : e;
}

static enum err junit_misses(const struct matcher *m, uint64_t missed, bool failed, struct buf *out)
{
    struct matcher_miss miss;
    size_t at = 0, n = 0;
    enum err e = ERR_OK;
    for (; !e && matcher_next_miss(m, &at, &miss); n++)
        e = put_case(out, span_first(miss.line, span_search(miss.line, SPAN(": "))), failed, miss.line);
    if (!e && missed > n) {
        struct buf text = BUF_INIT;
        e = buf_printf(&text, "%llu more misses", (unsigned long long)(missed - n));
        if (!e)
            e = put_case(out, SPAN("further requests"), failed, buf_span(&text));
        buf_free(&text);
    }
    return e;
}

static enum err junit_flows(const struct matcher *m, uint64_t n, bool unused, bool failed, struct buf *out)
{
    struct buf text = BUF_INIT;
    enum err e = n ? put_flows(m, n, unused, &text) : ERR_OK;
    if (!e)
        e = put_case(out, unused ? SPAN("every recording was used") : SPAN("no recording was repeated"), failed,
                     buf_span(&text));
    buf_free(&text);
    return e;
}

enum err report_junit(const struct matcher *m, struct buf *out)
{
    struct matcher_counters n;
    struct matcher_miss miss;
    size_t at = 0;
    uint64_t cases = 3;
    unsigned failed = report_failed(m);
    matcher_get_counters(m, &n);
    while (matcher_next_miss(m, &at, &miss))
        cases++;
    cases += n.missed > cases - 3;
    uint64_t misses = cases - 3;
    uint64_t failures =
        (failed & BIT(FAIL_ON_MISS) ? misses : 0) + !!(failed & BIT(FAIL_ON_UNUSED)) + !!(failed & BIT(FAIL_ON_REPEAT));
    enum err e = buf_printf(
        out,
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuite name=\"ringtape replay\" tests=\"%llu\" failures=\"%llu\">\n"
        "  <testcase classname=\"ringtape.replay\" name=\"%llu requests were answered\"/>\n",
        (unsigned long long)cases, (unsigned long long)failures, (unsigned long long)n.served);
    if (!e)
        e = junit_misses(m, n.missed, failed & BIT(FAIL_ON_MISS), out);
    if (!e)
        e = junit_flows(m, n.unused, true, failed & BIT(FAIL_ON_UNUSED), out);
    if (!e)
        e = junit_flows(m, n.repeated, false, failed & BIT(FAIL_ON_REPEAT), out);
    return e ? e : buf_put_str(out, "</testsuite>\n");
}
