/* fixture.h: makes tapes for tests, flow by flow, through the writer that the recorder uses. Everything has a default, so that a test
 * says only what it is about:
 *
 *     struct fixture f;
 *     fixture_open(&f, path);
 *     fixture_add(&f, &(struct fixture_flow){.path = "/a?b=1", .response_body = "hello"});
 *     fixture_close(&f);
 *
 * Failures are test failures. fixture_path() gives a path in a fresh folder, which fixture_cleanup() removes. */
#ifndef RINGTAPE_TESTS_TAPE_FIXTURE_H
#define RINGTAPE_TESTS_TAPE_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/limits.h"
#include "tape/tape.h"
#include "tape/writer.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define FIXTURE_STARTED_NS                                                                                             \
    UINT64_C(1767225600000000000) /* 2026-01-01T00:00:00Z, of flow 1; each further one a second later */

struct fixture {
    struct tape_writer *writer;
    int64_t flows, connections;
};

struct fixture_message {
    bool from_client;
    const char *kind; /* NULL: "bytes" */
    const void *payload;
    size_t n; /* 0: strlen */
    int64_t at_ns;
    bool more;
    unsigned code;
    uint64_t wire_bytes; /* 0 */
};

/* Zeroed members take the default in the comment. Header lists are name, value, name, value, …, NULL. */
struct fixture_flow {
    const char *kind;                     /* "http" */
    const char *track;                    /* none */
    uint64_t started_ns;                  /* FIXTURE_STARTED_NS + (id - 1) seconds */
    const char *method;                   /* "GET" */
    const char *scheme;                   /* "http"; "https" with a .port of 443 */
    const char *host;                     /* "example.test" */
    unsigned port;                        /* of the scheme */
    const char *path;                     /* "/" */
    const char *version;                  /* "HTTP/1.1", both ways */
    const char *const *request_headers;   /* Host: example.test */
    const char *const *request_trailers;  /* none */
    const void *request_body;             /* none */
    size_t request_body_n;                /* strlen */
    uint64_t request_bytes;               /* as many; more: --max-body cut it */
    unsigned status;                      /* 200; with .no_response 0 */
    const char *reason;                   /* "OK" for 200, else "" */
    const char *const *response_headers;  /* Content-Type: text/plain */
    const char *const *response_trailers; /* none */
    const void *response_body;            /* none */
    size_t response_body_n;               /* strlen */
    uint64_t response_bytes;              /* as many; more: --max-body cut it */
    size_t response_chunk;                /* > 0: the body arrives in pieces of this size, 1 ms apart, as chunks */
    const char *informational;            /* JSON: [[103,"Early Hints",[["Link","</a>"]],1000000]] */
    bool no_response;                     /* no response head came */
    bool answered;                        /* … and ringtape answered with .status */
    const char *error;                    /* "word: reason"; then not complete */
    bool incomplete;                      /* no error, not complete: cut off by a crash */
    int64_t request_end_ns, sent_ns, response_begin_ns, response_end_ns; /* 1, 2, 5, 8 ms; -1: did not happen */
    int64_t client_connection, server_connection;                        /* none */
    bool server_reused;
    const struct fixture_message *messages;
    size_t messages_n;
};

static inline const char *fixture_path(char path[PATH_MAX], const char *name)
{
    const char *base = getenv("TMPDIR");
    char folder[PATH_MAX - 64];
    (void)snprintf(folder, sizeof folder, "%s/ringtape-test-XXXXXX", base && *base ? base : "/tmp");
    assert_non_null(mkdtemp(folder));
    (void)snprintf(path, PATH_MAX, "%s/%s", folder, name);
    return path;
}

/* Removes the folder of a fixture_path() and the files in it. */
static inline void fixture_cleanup(const char *path)
{
    char folder[PATH_MAX], file[PATH_MAX + 300];
    (void)snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    assert_non_null(slash);
    *slash = '\0';
    assert_non_null(strstr(folder, "ringtape-test-"));
    DIR *d = opendir(folder);
    for (struct dirent *entry; d && (entry = readdir(d)) != NULL;) {
        if (strcmp(entry->d_name, ".") == 0 || strcmp(entry->d_name, "..") == 0)
            continue;
        (void)snprintf(file, sizeof file, "%s/%s", folder, entry->d_name);
        (void)unlink(file);
    }
    if (d)
        (void)closedir(d);
    (void)rmdir(folder);
}

static inline void fixture_open(struct fixture *f, const char *path)
{
    struct buf problem = BUF_INIT;
    struct tape_writer_options options = {.path = path, .append = true, .version = "test"};
    *f = (struct fixture){.writer = NULL};
    enum err e = tape_writer_open(&f->writer, &options, &problem);
    if (e)
        fail_msg("%s: %.*s", err_word(e), (int)problem.n, (const char *)buf_span(&problem).p);
    f->flows = tape_writer_flow_base(f->writer);
    f->connections = tape_writer_connection_base(f->writer);
    buf_free(&problem);
}

static inline void fixture_close(struct fixture *f)
{
    assert_int_equal(tape_writer_close(&f->writer, NULL), ERR_OK);
}

static inline int64_t fixture_fields(struct fixture *f, const char *const *list)
{
    struct headers h = HEADERS_INIT;
    struct fields_packed packed;
    int64_t id = 0;
    for (; list && *list; list += 2)
        assert_int_equal(headers_add(&h, span_str(list[0]), span_str(list[1])), ERR_OK);
    size_t n = fields_size(&h);
    uint8_t *bytes = malloc(n + 1);
    assert_non_null(bytes);
    fields_pack(&h, bytes);
    assert_true(fields_unpack(h.n, span_of(bytes, n), &packed));
    assert_int_equal(tape_writer_fields(f->writer, &packed, &id), ERR_OK);
    free(bytes);
    headers_free(&h);
    return id;
}

static inline int64_t fixture_content(struct fixture *f, struct span content, size_t chunk)
{
    int64_t id = 0;
    if (chunk == 0 || content.n == 0) {
        assert_int_equal(tape_writer_content(f->writer, content, &id), ERR_OK);
        return id;
    }
    struct tape_writer_body body = {.id = 0};
    assert_int_equal(tape_writer_body_begin(f->writer, &body), ERR_OK);
    for (size_t at = 0; at < content.n; at += chunk)
        assert_int_equal(tape_writer_body_chunk(f->writer, &body, (int64_t)(5 * NS_PER_MS + at / chunk * NS_PER_MS),
                                                span_first(span_from(content, at), chunk)),
                         ERR_OK);
    assert_int_equal(tape_writer_body_end(f->writer, &body), ERR_OK);
    return body.id;
}

static inline struct span fixture_bytes(const void *p, size_t n)
{
    return p ? span_of(p, n ? n : strlen((const char *)p)) : SPAN_EMPTY;
}

static inline struct span fixture_text(const char *text, const char *otherwise)
{
    return span_str(text ? text : otherwise);
}

static inline int64_t fixture_ns(int64_t ns, int64_t otherwise)
{
    return ns ? ns : otherwise;
}

static inline void fixture_response(struct fixture *f, const struct fixture_flow *in, struct tape_flow_row *row)
{
    static const char *const headers[] = {"Content-Type", "text/plain", NULL};
    row->status = in->status || in->no_response ? in->status : 200;
    row->answered = in->answered;
    if (in->no_response)
        return;
    struct span body = fixture_bytes(in->response_body, in->response_body_n);
    row->response_version = fixture_text(in->version, "HTTP/1.1");
    row->reason = fixture_text(in->reason, row->status == 200 ? "OK" : "");
    row->response_headers = fixture_fields(f, in->response_headers ? in->response_headers : headers);
    row->response_trailers = fixture_fields(f, in->response_trailers);
    row->response_body = fixture_content(f, body, in->response_chunk);
    row->response_bytes = in->response_bytes ? in->response_bytes : body.n;
    row->response_wire_bytes = body.n + 100;
    row->response_begin_ns = fixture_ns(in->response_begin_ns, 5 * (int64_t)NS_PER_MS);
}

/* Adds a flow and gives its id. */
static inline int64_t fixture_add(struct fixture *f, const struct fixture_flow *in)
{
    static const char *const headers[] = {"Host", "example.test", NULL};
    bool secure = (in->scheme && strcmp(in->scheme, "https") == 0) || (!in->scheme && in->port == 443);
    struct span body = fixture_bytes(in->request_body, in->request_body_n);
    struct tape_flow_row row = {
        .id = ++f->flows,
        .kind = fixture_text(in->kind, "http"),
        .track = fixture_text(in->track, ""),
        .method = fixture_text(in->method, "GET"),
        .scheme = fixture_text(in->scheme, secure ? "https" : "http"),
        .host = fixture_text(in->host, "example.test"),
        .path = fixture_text(in->path, "/"),
        .port = in->port ? in->port
                : secure ? 443
                         : 80,
        .request_version = fixture_text(in->version, "HTTP/1.1"),
        .request_headers = fixture_fields(f, in->request_headers ? in->request_headers : headers),
        .request_trailers = fixture_fields(f, in->request_trailers),
        .request_body = fixture_content(f, body, 0),
        .request_bytes = in->request_bytes ? in->request_bytes : body.n,
        .request_wire_bytes = body.n + 100,
        .informational = fixture_text(in->informational, ""),
        .request_end_ns = fixture_ns(in->request_end_ns, 1 * (int64_t)NS_PER_MS),
        .sent_ns = fixture_ns(in->sent_ns, 2 * (int64_t)NS_PER_MS),
        .response_begin_ns = -1,
        .response_end_ns = fixture_ns(in->response_end_ns, 8 * (int64_t)NS_PER_MS),
        .complete = !in->error && !in->incomplete && !in->no_response,
        .error = fixture_text(in->error, ""),
        .client_connection = in->client_connection,
        .server_connection = in->server_connection,
        .server_reused = in->server_reused,
    };
    row.started_ns = in->started_ns ? in->started_ns : FIXTURE_STARTED_NS + (uint64_t)(row.id - 1) * NS_PER_S;
    fixture_response(f, in, &row);
    assert_int_equal(tape_writer_flow(f->writer, &row), ERR_OK);
    for (size_t i = 0; i < in->messages_n; i++) {
        const struct fixture_message *m = &in->messages[i];
        struct tape_message message = {
            .seq = (int64_t)i,
            .at_ns = m->at_ns,
            .from_client = m->from_client,
            .kind = fixture_text(m->kind, "bytes"),
            .more = m->more,
            .code = m->code,
            .wire_bytes = m->wire_bytes,
            .retry_ms = -1,
            .payload = fixture_bytes(m->payload, m->n),
        };
        assert_int_equal(tape_writer_message(f->writer, row.id, &message), ERR_OK);
    }
    return row.id;
}

/* Adds a connection (its id is set) and gives its id. opened_ns 0: FIXTURE_STARTED_NS. Offsets are taken as they are: -1 is "did not happen". */
static inline int64_t fixture_connection(struct fixture *f, struct tape_connection connection)
{
    connection.id = ++f->connections;
    if (!connection.opened_ns)
        connection.opened_ns = FIXTURE_STARTED_NS;
    assert_int_equal(tape_writer_connection(f->writer, &connection), ERR_OK);
    return connection.id;
}

#endif
