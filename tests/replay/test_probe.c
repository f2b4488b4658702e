/* test_probe.c: what clients are told before their TLS: the protocol and the names that the origin had. */
#include "stage.h"

struct asked_probe {
    struct probe probe;
    struct origin_facts facts;
    int done;
};

static void probe_done(struct probe *probe)
{
    container_of(probe, struct asked_probe, probe)->done++;
}

static enum err der_names(struct span der, struct buf *out)
{
    enum err e = buf_put(out, der);
    return e ? e : buf_put_byte(out, 0);
}

/* promise 2: the protocol as recorded */
static const struct probe_case {
    const char *host, *offer, *alpn;
    size_t names_n;
} cases[] = {
    {"h1.test", "\x02h2\x08http/1.1", "http/1.1", 8},
    {"h1.test", "\x02h2", "", 8},
    {"none.test", "\x02h2\x08http/1.1", "", 10},
    {"h1.test", "", "", 8},
    {"unknown.test", "\x02h2\x08http/1.1", "http/1.1", 0},
    {"unknown.test", "\x02h2", "", 0},
    {"odd.test", "\x08http/1.1\x08http/1.0", "http/1.0", 0},
    {"h1.test", "\xff", "", 8},
};

static void check_probe(struct stage *s, const struct probe_case *c)
{
    const struct origin_ops *ops = s->pipeline.origin->ops;
    struct asked_probe p;
    memset(&p, 0, sizeof p);
    p.probe = (struct probe){
        .host = span_str(c->host), .port = 443, .alpn = span_str(c->offer), .facts = &p.facts, .done = probe_done};
    ops->probe(s->pipeline.origin, &p.probe);
    assert_int_equal(p.done, 0);
    stage_run(s);
    assert_int_equal(p.done, 1);
    assert_int_equal(p.facts.error, ERR_OK);
    assert_string_equal(p.facts.alpn, c->alpn);
    assert_int_equal(p.facts.names.n, c->names_n);
    buf_free(&p.facts.names);
    /* Dropped before its answer: it is never given. */
    p.done = 0;
    ops->probe(s->pipeline.origin, &p.probe);
    ops->probe_cancel(s->pipeline.origin, &p.probe);
    assert_null(p.probe.state);
    stage_run(s);
    assert_int_equal(p.done, 0);
    ops->probe_cancel(s->pipeline.origin, &p.probe);
    /* Without memory: an error at once, or in the answer. */
    for (long n = 0; n < 2; n++) {
        mem_fail_after(n);
        ops->probe(s->pipeline.origin, &p.probe);
        if (p.probe.state)
            stage_run(s);
        mem_fail_after(-1);
        assert_true(p.facts.error == ERR_NOMEM || (n == 1 && p.facts.names.n == c->names_n));
        p.facts.error = ERR_OK;
        buf_free(&p.facts.names);
    }
}

static void test_probes(void **state)
{
    struct stage s;
    const char chain[] = "\0\0\0\7h1.test", none[] = "\0\0\0\x09none.test";
    (void)state;
    stage_open(&s, NULL);
    (void)fixture_connection(&s.bench.tape, (struct tape_connection){.server = true,
                                                                     .host = SPAN("h1.test"),
                                                                     .port = 443,
                                                                     .alpn = SPAN("http/1.1"),
                                                                     .chain = span_of(chain, sizeof chain - 1)});
    (void)fixture_connection(&s.bench.tape, (struct tape_connection){.server = true,
                                                                     .host = SPAN("none.test"),
                                                                     .port = 443,
                                                                     .chain = span_of(none, sizeof none - 1)});
    (void)fixture_connection(
        &s.bench.tape,
        (struct tape_connection){.server = true, .host = SPAN("odd.test"), .port = 443, .alpn = SPAN("http/1.0")});
    fixture_close(&s.bench.tape);
    const char *const paths[] = {s.bench.path};
    struct matcher_options options = {
        .paths = paths, .paths_n = 1, .rules = &s.bench.rules, .names_from_certificate = der_names};
    struct buf problem = BUF_INIT;
    assert_int_equal(matcher_create(&s.bench.matcher, &options, &problem), ERR_OK);
    buf_free(&problem);
    stage_load(&s);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++)
        check_probe(&s, &cases[i]);
    stage_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_probes),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
