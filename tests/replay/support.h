/* support.h: what the tests of replay share: rules from their options' texts, a matcher over a tape made flow by flow, and a fake client leg
 * with a clock of its own that writes down what a player answers. */
#ifndef RINGTAPE_TESTS_REPLAY_SUPPORT_H
#define RINGTAPE_TESTS_REPLAY_SUPPORT_H

#include "../tape/fixture.h"

#include "base/alloc.h"
#include "base/util.h"
#include "replay/matcher.h"
#include "replay/rules.h"

/* --- rules ------------------------------------------------------------------------------------------------------- */

/* "--match X", "--ignore Y", "--order Z" …: one option an argument, the last one is NULL. */
static inline void rules_from(struct rules *rules, const char *const *options)
{
    static const struct {
        const char *word;
        enum err (*take)(struct rules *, const char *, struct buf *);
    } known[] = {
        {"--match ", rules_match},
        {"--ignore ", rules_ignore},
        {"--order ", rules_order},
        {"--pace ", rules_pace},
        {"--fail-on ", rules_fail_on},
        {"--map ", rules_map},
        {"--miss-status ", rules_miss_status},
    };
    rules_init(rules);
    for (; options && *options; options++) {
        struct buf problem = BUF_INIT;
        bool taken = false;
        for (size_t i = 0; i < ARRAY_LEN(known); i++) {
            size_t n = strlen(known[i].word);
            if (strncmp(*options, known[i].word, n) != 0)
                continue;
            taken = true;
            if (known[i].take(rules, *options + n, &problem))
                fail_msg("%s: %s", *options, buf_cstr(&problem));
        }
        if (!taken && strcmp(*options, "--tag") == 0)
            taken = rules->tag = true;
        if (!taken)
            fail_msg("no option: %s", *options);
        buf_free(&problem);
    }
}

#define OPTIONS(...) ((const char *const[]){__VA_ARGS__, NULL})

/* --- a tape and its matcher -------------------------------------------------------------------------------------- */

struct bench {
    char path[PATH_MAX];
    struct fixture tape; /* until bench_load() */
    struct rules rules;
    struct matcher *matcher;
};

static inline void bench_open(struct bench *b, const char *const *options)
{
    memset(b, 0, sizeof *b);
    fixture_path(b->path, "a.tape");
    rules_from(&b->rules, options);
    fixture_open(&b->tape, b->path);
}

/* The tape is complete: the index is built. */
static inline void bench_load(struct bench *b)
{
    const char *const paths[] = {b->path};
    struct matcher_options options = {.paths = paths, .paths_n = 1, .rules = &b->rules};
    struct buf problem = BUF_INIT;
    fixture_close(&b->tape);
    enum err e = matcher_create(&b->matcher, &options, &problem);
    if (e)
        fail_msg("%s: %s", err_word(e), buf_cstr(&problem));
    buf_free(&problem);
}

static inline void bench_close(struct bench *b)
{
    matcher_destroy(&b->matcher);
    assert_null(b->matcher);
    rules_free(&b->rules);
    fixture_cleanup(b->path);
}

static inline bool has_text(struct span s, const char *part)
{
    return span_search(s, span_str(part)) < s.n;
}

static inline void assert_has(struct span s, const char *part)
{
    if (!has_text(s, part))
        fail_msg("'%s' is not in: %.*s", part, (int)s.n, (const char *)s.p);
}

static inline void assert_text(struct span s, const char *wanted)
{
    if (!span_eq(s, span_str(wanted)))
        fail_msg("'%.*s' is not '%s'", (int)s.n, (const char *)s.p, wanted);
}

#endif
