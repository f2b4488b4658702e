/* read_everything.h: reads all that a tape says, as export and replay would, whatever it says. For damaged tapes: nothing may crash. */
#ifndef RINGTAPE_TESTS_TAPE_READ_EVERYTHING_H
#define RINGTAPE_TESTS_TAPE_READ_EVERYTHING_H

#include "tape/tape.h"

#include <stdio.h>

/* Touches each byte, so that a sanitizer sees a span that is not there. */
static inline unsigned touch(struct span s)
{
    unsigned sum = 0;
    for (size_t i = 0; i < s.n; i++)
        sum += s.p[i];
    return sum;
}

static inline unsigned touch_body(struct tape *tape, const struct tape_body_ref *ref)
{
    struct tape_body *body = NULL;
    struct span piece;
    int64_t at_ns;
    unsigned sum = 0;
    if (tape_body_open(tape, ref, &body))
        return 0;
    for (int i = 0; i < 1000 && tape_body_next(body, &piece, &at_ns) == ERR_OK; i++)
        sum += touch(piece);
    tape_body_close(&body);
    return sum;
}

static inline unsigned touch_fields(struct span json)
{
    struct headers h = HEADERS_INIT;
    unsigned sum = 0;
    if (tape_headers(json, &h) == ERR_OK)
        for (size_t i = 0; i < h.n; i++)
            sum += touch(headers_at(&h, i).name) + touch(headers_at(&h, i).value);
    headers_free(&h);
    return sum;
}

static inline unsigned touch_flow(struct tape *tape, const struct tape_flow *f)
{
    const struct span texts[] = {
        f->track,  f->kind,          f->method, f->scheme, f->host, f->path, f->request_version, f->response_version,
        f->reason, f->informational, f->error};
    const struct span fields[] = {f->request_headers, f->request_trailers, f->response_headers, f->response_trailers};
    struct tape_message_cursor *cursor = NULL;
    struct tape_message message;
    unsigned sum = touch_body(tape, &f->request_body) + touch_body(tape, &f->response_body);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++)
        sum += touch(texts[i]);
    for (size_t i = 0; i < sizeof fields / sizeof fields[0]; i++)
        sum += touch_fields(fields[i]);
    if (tape_messages(tape, f->id, &cursor) == ERR_OK)
        for (int i = 0; i < 1000 && tape_message_next(cursor, &message) == ERR_OK; i++)
            sum += touch(message.kind) + touch(message.payload);
    tape_message_cursor_close(&cursor);
    return sum;
}

static inline enum err read_everything(const char *path)
{
    static const struct tape_query queries[] = {{.id = 0}, {.by_start = true}, {.session = 1}, {.id = 2}};
    struct tape *tape = NULL;
    struct buf problem = BUF_INIT;
    struct tape_connection connection;
    struct tape_session session;
    int64_t after = 0, count;
    volatile unsigned sum = 0; /* so that the reads are not left out */
    enum err e = tape_open(&tape, path, &problem);
    buf_free(&problem);
    if (e)
        return e;
    for (size_t i = 0; i < sizeof queries / sizeof queries[0]; i++) {
        struct tape_cursor *cursor = NULL;
        struct tape_flow flow;
        if (tape_flows(tape, &queries[i], &cursor))
            continue;
        for (int n = 0; n < 1000 && (e = tape_flow_next(cursor, &flow)) != ERR_NOT_FOUND; n++)
            if (!e)
                sum += touch_flow(tape, &flow);
        tape_cursor_close(&cursor);
    }
    for (int i = 0; i < 1000 && tape_connection_next(tape, &after, &connection) == ERR_OK; i++)
        sum += touch(connection.chain) + touch(connection.host);
    after = 0;
    for (int i = 0; i < 1000 && tape_session_next(tape, &after, &session) == ERR_OK; i++)
        sum += touch(session.command);
    (void)!tape_count_flows(tape, &count);
    sum += touch(span_str(tape_problem(tape)));
    tape_close(&tape);
    (void)sum;
    return ERR_OK;
}

#endif
