/* export.c: walks the flows of a tape in order of their start and writes each. The tape, one flow's heads and one piece of a body are in
 * memory, never more. When the tape gives out in the middle, the document is closed, so that it parses, and the error is returned. */
#include "har/export.h"

#include "base/clock.h"
#include "base/text.h"
#include "base/util.h"
#include "har/entry.h"

#include <stdio.h>

bool har_format_parse(const char *word, enum har_format *out)
{
    static const char *const words[] = {
#define HAR_FORMAT_WORD(name, text) [name] = (text),
        HAR_FORMATS(HAR_FORMAT_WORD)
#undef HAR_FORMAT_WORD
    };
    for (size_t i = 0; i < ARRAY_LEN(words); i++)
        if (strcmp(word, words[i]) == 0) {
            *out = (enum har_format)i;
            return true;
        }
    return false;
}

static void put_page(struct out *o, const struct tape_session *s)
{
    char started[CLOCK_ISO_LEN], id[32];
    clock_iso8601(s->started_ns, started);
    (void)snprintf(id, sizeof id, "session_%lld", (long long)s->id);
    out_open(o, '{');
    out_member_str(o, "startedDateTime", started);
    out_member_str(o, "id", id);
    out_member(o, "title", s->command.n && text_is_utf8(s->command) ? s->command : span_str(id));
    out_key(o, "pageTimings");
    out_open(o, '{');
    out_member_i64(o, "onContentLoad", -1);
    out_member_i64(o, "onLoad", -1);
    out_close(o, '}');
    out_close(o, '}');
}

static enum err put_pages(struct out *o, struct tape *tape, int64_t only)
{
    int64_t after = 0;
    struct tape_session session;
    enum err e = ERR_OK;
    out_key(o, "pages");
    out_open(o, '[');
    while (!o->e && (e = tape_session_next(tape, &after, &session)) == ERR_OK)
        if (only == 0 || session.id == only)
            put_page(o, &session);
    out_close(o, ']');
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

static enum err put_before(struct out *o, struct tape *tape, const struct har_options *options)
{
    enum err e = ERR_OK;
    if (options->format == HAR_FORMAT_CURL) {
        out_printf(o, "#!/bin/sh\n# Made by ringtape %s. The answers' contents go to standard output.\n",
                   options->version);
        return ERR_OK;
    }
    if (options->format != HAR_FORMAT_HAR)
        return ERR_OK;
    out_open(o, '{');
    out_key(o, "log");
    out_open(o, '{');
    out_member_str(o, "version", "1.2");
    out_key(o, "creator");
    out_open(o, '{');
    out_member_str(o, "name", "ringtape");
    out_member_str(o, "version", options->version);
    out_close(o, '}');
    if (options->pages)
        e = put_pages(o, tape, options->session);
    out_key(o, "entries");
    out_open(o, '[');
    return e;
}

static void put_after(struct out *o, const struct har_options *options)
{
    if (options->format != HAR_FORMAT_HAR)
        return;
    out_str(o, "\n");
    out_close(o, ']');
    out_close(o, '}');
    out_close(o, '}');
    out_str(o, "\n");
}

static void put_flow(struct out *o, struct view *v, const struct har_options *options)
{
    switch (options->format) {
    case HAR_FORMAT_HAR:
        if (o->comma)
            out_str(o, ",");
        o->comma = false;
        out_str(o, "\n");
        entry_har(o, v, options->pages);
        break;
    case HAR_FORMAT_JSONL:
        entry_jsonl(o, v);
        break;
    case HAR_FORMAT_CURL:
        entry_curl(o, v);
        break;
    }
}

static enum err export_flows(struct out *o, struct view *v, const struct har_options *options,
                             struct har_result *result)
{
    const struct tape_query query = {.session = options->session, .by_start = true};
    struct tape_cursor *cursor = NULL;
    struct tape_flow flow;
    enum err e = tape_flows(v->tape, &query, &cursor);
    while (!e && !o->e && (e = tape_flow_next(cursor, &flow)) == ERR_OK) {
        bool yes = true;
        if (options->include)
            e = options->include(options->include_ctx, v->tape, &flow, &yes);
        if (e || !yes)
            continue;
        e = view_load(v, &flow);
        if (e)
            break;
        put_flow(o, v, options);
        result->flows++;
        result->damaged += v->damaged;
    }
    tape_cursor_close(&cursor);
    return e == ERR_NOT_FOUND ? ERR_OK : e;
}

enum err har_export(struct tape *tape, const struct har_options *options, const struct har_sink *sink,
                    struct har_result *result)
{
    struct out o;
    struct view v;
    *result = (struct har_result){.flows = 0};
    out_init(&o, sink);
    view_init(&v, tape);
    enum err e = put_before(&o, tape, options);
    if (!e)
        e = export_flows(&o, &v, options, result);
    put_after(&o, options);
    enum err written = out_flush(&o);
    view_free(&v);
    out_free(&o);
    return written ? written : e;
}
