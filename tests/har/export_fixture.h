/* export_fixture.h: a tape with one or more flows goes in, an export comes out, as bytes and as JSON. */
#ifndef RINGTAPE_TESTS_HAR_EXPORT_FIXTURE_H
#define RINGTAPE_TESTS_HAR_EXPORT_FIXTURE_H

#include "tests/tape/fixture.h"

#include "base/util.h"
#include "base/alloc.h"
#include "base/text.h"
#include "har/export.h"

#include <jansson.h>

static inline enum err keep(void *ctx, struct span bytes)
{
    return buf_put(ctx, bytes);
}

static inline struct tape *open_tape(const char *path)
{
    struct buf problem = BUF_INIT;
    struct tape *tape = NULL;
    enum err e = tape_open(&tape, path, &problem);
    if (e)
        fail_msg("%s: %.*s", err_word(e), (int)problem.n, (const char *)buf_span(&problem).p);
    buf_free(&problem);
    return tape;
}

/* Terminated, in `out`. */
static inline const char *export_text(const char *path, struct har_options options, struct buf *out)
{
    struct tape *tape = open_tape(path);
    struct har_sink sink = {keep, out};
    struct har_result result;
    if (!options.version)
        options.version = "1.0";
    assert_int_equal(har_export(tape, &options, &sink, &result), ERR_OK);
    tape_close(&tape);
    return buf_cstr(out);
}

static inline json_t *export_json(const char *path)
{
    struct buf out = BUF_INIT;
    json_error_t why;
    (void)export_text(path, (struct har_options){.format = HAR_FORMAT_HAR}, &out);
    json_t *root = json_loadb((const char *)buf_span(&out).p, out.n, JSON_REJECT_DUPLICATES | JSON_ALLOW_NUL, &why);
    if (!root)
        fail_msg("%s at %d: %.*s", why.text, why.position, (int)out.n, (const char *)buf_span(&out).p);
    buf_free(&out);
    return root;
}

/* The tape with this one flow, exported; its entry is a new reference. */
static inline json_t *export_one(const struct fixture_flow *flow)
{
    char path[PATH_MAX];
    struct fixture f;
    fixture_open(&f, fixture_path(path, "one.tape"));
    (void)fixture_add(&f, flow);
    fixture_close(&f);
    json_t *root = export_json(path);
    fixture_cleanup(path);
    json_t *entries = json_object_get(json_object_get(root, "log"), "entries");
    assert_int_equal(json_array_size(entries), 1);
    json_t *entry = json_incref(json_array_get(entries, 0));
    json_decref(root);
    return entry;
}

/* "response/content/size" */
static inline json_t *json_path(json_t *at, const char *path)
{
    char name[64];
    while (at && *path) {
        size_t n = strcspn(path, "/");
        assert_true(n < sizeof name);
        memcpy(name, path, n);
        name[n] = '\0';
        at = json_is_array(at) ? json_array_get(at, strtoul(name, NULL, 10)) : json_object_get(at, name);
        path += n + (path[n] == '/');
    }
    return at;
}

/* The value at `path` is exactly this JSON; NULL: there is none. Keys are compared in any order. */
static inline void assert_json(json_t *root, const char *path, const char *wanted)
{
    json_t *found = json_path(root, path);
    json_t *other = wanted ? json_loads(wanted, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL) : NULL;
    if (wanted && !other)
        fail_msg("the test's own JSON is wrong: %s", wanted);
    if (!found != !other || (found && !json_equal(found, other))) {
        char *text = found ? json_dumps(found, JSON_ENCODE_ANY | JSON_COMPACT) : NULL;
        fail_msg("%s is %s, not %s", path, text ? text : "absent", wanted ? wanted : "absent");
    }
    json_decref(other);
}

#endif
