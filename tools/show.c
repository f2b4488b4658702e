/* show.c: `ringtape show`: one flow, as its bytes or as it was sent. The forms for reading are in show_human.c and show_json.c. */
#include "tools/show.h"

#include "tape/content.h"
#include "tools/command.h"
#include "tools/say.h"
#include "tools/tape_input.h"
#include "http/coding.h"

#include <unistd.h>

enum err show_fields(struct span json, struct headers *fields)
{
    headers_clear(fields);
    return json.n > 0 ? tape_headers(json, fields) : ERR_OK;
}

static enum err put_output(void *ctx, struct span bytes)
{
    return output_put_foreign(ctx, bytes);
}

static const struct tape_body_ref *body_of(const struct show *s, enum tape_side side)
{
    return side == TAPE_REQUEST ? &s->flow->request_body : &s->flow->response_body;
}

static struct span fields_of(const struct show *s, enum tape_side side)
{
    return side == TAPE_REQUEST ? s->flow->request_headers : s->flow->response_headers;
}

/* Collects up to a limit. */
struct collect {
    struct buf *out;
    size_t max;
};

static enum err put_collect(void *ctx, struct span bytes)
{
    struct collect *c = ctx;
    size_t room = c->max - buf_span(c->out).n;
    enum err e = buf_put(c->out, span_first(bytes, room));
    return e ? e : bytes.n > room ? ERR_LIMIT : ERR_OK;
}

enum err show_content(struct show *s, enum tape_side side, const struct headers *fields, size_t max, struct buf *out,
                      enum err *coding)
{
    struct collect collect = {out, max};
    struct buf encoding = BUF_INIT;
    enum err e = coding_field(fields, &encoding);
    *coding = ERR_OK;
    if (!e)
        e = tape_content(s->tape, body_of(s, side), buf_span(&encoding), put_collect, &collect, coding);
    buf_free(&encoding);
    return e;
}

/* ---- bytes ---- */

static enum err write_content(struct show *s, enum tape_side side)
{
    struct headers fields = HEADERS_INIT;
    struct buf encoding = BUF_INIT;
    enum err coding = ERR_OK, e = show_fields(fields_of(s, side), &fields);
    if (!e)
        e = coding_field(&fields, &encoding);
    if (!e)
        e = tape_content(s->tape, body_of(s, side), buf_span(&encoding), put_output, s->out, &coding);
    if (!e && coding) {
        e = buf_printf(s->problem,
                       "the content cannot be decoded (Content-Encoding: %.*s): %s; --raw writes it as it was sent",
                       (int)buf_span(&encoding).n, (const char *)buf_span(&encoding).p, err_text(coding));
        e = e ? e : coding;
    }
    buf_free(&encoding);
    headers_free(&fields);
    return e;
}

enum err show_body(struct show *s)
{
    return write_content(s, TAPE_RESPONSE);
}

enum err show_request_body(struct show *s)
{
    return write_content(s, TAPE_REQUEST);
}

/* ---- as it was sent ---- */

static enum err put_fields(struct buf *text, struct span json)
{
    struct headers fields = HEADERS_INIT;
    enum err e = show_fields(json, &fields);
    for (size_t i = 0; !e && i < fields.n; i++) {
        struct header h = headers_at(&fields, i);
        e = buf_put(text, h.name);
        if (!e)
            e = buf_put_str(text, ": ");
        if (!e)
            e = buf_put(text, h.value);
        if (!e)
            e = buf_put_str(text, "\r\n");
    }
    headers_free(&fields);
    return e ? e : buf_put_str(text, "\r\n");
}

static enum err put_request_line(const struct tape_flow *f, struct buf *text)
{
    bool connect = span_eq(f->method, SPAN("CONNECT"));
    bool brackets = span_find(f->host, ':') < f->host.n;
    enum err e = buf_put(text, f->method);
    if (!e)
        e = buf_put_byte(text, ' ');
    if (!e && connect)
        e = buf_printf(text, brackets ? "[%.*s]:%u" : "%.*s:%u", (int)f->host.n, (const char *)f->host.p, f->port);
    else if (!e)
        e = buf_put(text, f->path);
    if (!e)
        e = buf_put_byte(text, ' ');
    if (!e)
        e = buf_put(text, f->request_version);
    return e ? e : buf_put_str(text, "\r\n");
}

static enum err put_status_line(const struct tape_flow *f, struct buf *text)
{
    enum err e = buf_put(text, f->response_version);
    if (!e)
        e = buf_printf(text, " %u ", f->status);
    if (!e)
        e = buf_put(text, f->reason);
    return e ? e : buf_put_str(text, "\r\n");
}

/* Head, content and trailers; content is not framed anew: what was chunked is in one piece. */
static enum err write_message(struct show *s, enum tape_side side, struct buf *text)
{
    const struct tape_flow *f = s->flow;
    struct span trailers = side == TAPE_REQUEST ? f->request_trailers : f->response_trailers;
    enum err coding, e = put_fields(text, fields_of(s, side));
    if (!e)
        e = output_put_foreign(s->out, buf_span(text));
    if (!e)
        e = tape_content(s->tape, body_of(s, side), SPAN_EMPTY, put_output, s->out, &coding);
    buf_clear(text);
    if (!e && trailers.n > 0)
        e = put_fields(text, trailers);
    return e ? e : output_put_foreign(s->out, buf_span(text));
}

enum err show_raw(struct show *s)
{
    struct buf text = BUF_INIT;
    enum err e = put_request_line(s->flow, &text);
    if (!e)
        e = write_message(s, TAPE_REQUEST, &text);
    buf_clear(&text);
    if (!e && s->flow->response_version.n > 0) {
        e = put_status_line(s->flow, &text);
        if (!e)
            e = write_message(s, TAPE_RESPONSE, &text);
    }
    buf_free(&text);
    return e;
}

/* ---- the command ---- */

/* option, form; none of them: show_human */
#define SHOW_FORMS(X)                                                                                                  \
    X(OPT_BODY, show_body)                                                                                             \
    X(OPT_REQUEST_BODY, show_request_body)                                                                             \
    X(OPT_RAW, show_raw)                                                                                               \
    X(OPT_MESSAGES, show_messages)                                                                                     \
    X(OPT_JSON, show_json)

struct show_command {
    const char *words[2]; /* tape, id */
    size_t words_n;
    enum option_id chosen;
    enum err (*form)(struct show *s);
};

static enum err show_option(void *ctx, enum option_id id, const char *value, struct buf *problem)
{
    struct show_command *c = ctx;
    (void)value;
    if (c->form && c->chosen != id) {
        enum err e =
            buf_printf(problem, "--%s and --%s exclude each other", option_row(c->chosen)->name, option_row(id)->name);
        return e ? e : ERR_USAGE;
    }
    c->chosen = id;
#define SHOW_CHOOSE(option, function)                                                                                  \
    if (id == option)                                                                                                  \
        c->form = function;
    SHOW_FORMS(SHOW_CHOOSE)
#undef SHOW_CHOOSE
    return ERR_OK;
}

static enum err show_operand(void *ctx, const char *text, struct buf *problem)
{
    struct show_command *c = ctx;
    return tape_input_operand(c->words, &c->words_n, 2, text, problem);
}

static enum err write_flow(const struct show_command *c, struct show *s, int64_t id)
{
    struct tape_query query = {.id = id};
    struct tape_cursor *cursor = NULL;
    struct tape_flow flow;
    enum err e = tape_flows(s->tape, &query, &cursor);
    if (!e)
        e = tape_flow_next(cursor, &flow);
    s->flow = &flow;
    if (e == ERR_NOT_FOUND) {
        e = buf_printf(s->problem, "%s has no flow %lld; `ringtape ls` lists them", c->words[0], (long long)id);
        e = e ? e : ERR_NOT_FOUND;
    } else if (!e) {
        e = c->form ? c->form(s) : show_human(s);
    }
    s->flow = NULL;
    tape_cursor_close(&cursor);
    return e;
}

static int run(const struct show_command *c, int64_t id)
{
    struct buf problem = BUF_INIT;
    struct show s = {.problem = &problem, .colours = output_colours(STDOUT_FILENO)};
    int code = 0;
    if (!tape_input_open(&s.tape, c->words[0], &code))
        return code;
    enum err e = output_open(&s.out, NULL, 0600, &problem);
    if (!e)
        e = write_flow(c, &s, id);
    if (s.out) {
        struct buf other = BUF_INIT;
        enum err f = output_commit(&s.out, e ? &other : &problem);
        e = e ? e : f;
        buf_free(&other);
    }
    if (e)
        code = tape_input_failed(s.tape, e, &problem);
    buf_free(&problem);
    tape_close(&s.tape);
    return code;
}

int show_main(int argc, char **argv)
{
    struct show_command c = {.words_n = 0};
    struct option_sink sink = {show_option, show_operand, &c};
    uint64_t id = 0;
    int code = options_read(COMMAND_SHOW, argc, argv, &sink, NULL);
    if (code >= 0)
        return code;
    if (c.words_n < 2) {
        say("which flow? ringtape show TAPE ID; `ringtape ls TAPE` lists them");
        return 2;
    }
    if (!span_to_u64(span_str(c.words[1]), INT64_MAX, &id) || id == 0) {
        say("'%s' is not a flow's id, which is a number from 1 on", c.words[1]);
        return 2;
    }
    return run(&c, (int64_t)id);
}
