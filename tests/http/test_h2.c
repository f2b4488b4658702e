/* test_h2.c: two HTTP/2 engines talk to each other in memory: what each is told, at several cuts of the bytes; backpressure of one stream,
 * resets, GOAWAY, limits; every failing allocation. Frames that a good engine never sends: test_h2_frames.c. */
#include "tests/http/h2_side.h"

static const size_t chunks[] = {1, 2, 9, 100, 30000};

static uint8_t content[2 << 20];

/* ---- messages ---- */

static void answer_simply(struct call *c)
{
    if (!c->s || c->closed)
        return;
    enum err e = answer(c, 200, "X-From: Origin\nContent-Length: 5\n", false);
    e = e ? e : h2_body(c->s, SPAN("hello"));
    e = e ? e : h2_end(c->s, NULL);
    if (!c->side->e)
        c->side->e = e;
}

static struct side *server_new(void)
{
    struct side *s = side_new(H2_SERVER);
    s->on_complete = answer_simply;
    return s;
}

struct exchange {
    const char *method, *path, *fields, *body, *trailers; /* body NULL: the head ends it */
    const char *want, *want_answer;
    size_t body_back;
};

#define ANSWER "HEAD 200 HTTP/2 x-from=Origin; content-length=5; END"

static const struct exchange exchanges[] = {
    {"GET", "/a?b=1", "Host: Ex.Org:8443\nX-Y: Z\n", NULL, NULL, "HEAD GET https ex.org /a?b=1 8443 HTTP/2 x-y=Z; END",
     ANSWER, 5},
    {"GET", "/", "Accept: a\n", NULL, NULL, "HEAD GET https ex.org / 0 HTTP/2 accept=a; END", ANSWER, 5},
    {"POST", "/p", "Content-Length: 3\n", "abc", NULL, "HEAD POST https ex.org /p 0 HTTP/2 content-length=3; END",
     ANSWER, 5},
    {"POST", "/e", "", "", NULL, "HEAD POST https ex.org /e 0 HTTP/2 END", ANSWER, 5},
    {"POST", "/t", "Trailer: X-T\n", "abcd", "X-T: 1\nConnection: x\n",
     "HEAD POST https ex.org /t 0 HTTP/2 trailer=X-T; TRAILERS x-t=1; END", ANSWER, 5},
    {"OPTIONS", "*", "", NULL, NULL, "HEAD OPTIONS https ex.org * 0 HTTP/2 END", ANSWER, 5},
    {"GET", "/h",
     "Connection: keep-alive, X-Named\nX-Named: 1\nKeep-Alive: 5\nProxy-Connection: a\nTransfer-Encoding: chunked\n"
     "Upgrade: h2c\nX-Kept: 2\nTE: gzip\n",
     NULL, NULL, "HEAD GET https ex.org /h 0 HTTP/2 x-kept=2; END", ANSWER, 5},
    {"GET", "/te", "TE: gzip, Trailers\n", NULL, NULL, "HEAD GET https ex.org /te 0 HTTP/2 te=trailers; END", ANSWER,
     5},
    {"GET", "/te2", "TE: trailers\nX: 1\nTE: gzip\nTE: trailers, deflate\n", NULL, NULL,
     "HEAD GET https ex.org /te2 0 HTTP/2 te=trailers; x=1; END", ANSWER, 5},
    {"GET", "/c", "Cookie: a=1\nX: 1\nCookie: b=2\n", NULL, NULL,
     "HEAD GET https ex.org /c 0 HTTP/2 cookie=a=1; b=2; x=1; END", ANSWER, 5},
};

static void test_exchanges(void **state)
{
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(chunks); k++) {
        struct side *client = side_new(H2_CLIENT), *server = server_new();
        for (size_t i = 0; i < ARRAY_LEN(exchanges); i++) {
            const struct exchange *x = &exchanges[i];
            struct call *c;
            assert_int_equal(ask(client, x->method, x->path, x->fields, !x->body, &c), ERR_OK);
            pump(client, server, chunks[k]);
            if (x->body) {
                assert_int_equal(h2_body(c->s, span_str(x->body)), ERR_OK);
                pump(client, server, chunks[k]);
                assert_int_equal(finish(c, x->trailers), ERR_OK);
                pump(client, server, chunks[k]);
            }
            struct call *there = &server->calls[server->n - 1];
            assert_said(there, x->want);
            assert_said(c, x->want_answer);
            assert_int_equal(there->body, x->body ? strlen(x->body) : 0);
            assert_int_equal(c->body, x->body_back);
            assert_closed(c, 0);
            assert_closed(there, 0);
            assert_false(c->untouched || there->untouched);
            assert_int_equal(h2_streams(client->h2) + h2_streams(server->h2), 0);
        }
        assert_false(h2_done(client->h2) || h2_done(server->h2));
        assert_string_equal(h2_error(client->h2), "");
        side_free(client);
        side_free(server);
    }
}

static void answer_at_length(struct call *c)
{
    assert_int_equal(answer(c, 103, "Link: </a>\n", false), ERR_OK);
    assert_int_equal(answer(c, 100, "", false), ERR_OK);
    assert_int_equal(answer(c, 200, "Connection: close\nSet-Cookie: a=1\nSet-Cookie: b=2\n", false), ERR_OK);
    assert_int_equal(h2_body(c->s, SPAN("xy")), ERR_OK);
    assert_int_equal(finish(c, "X-Sum: 9\nX-Two: 2\n"), ERR_OK);
}

static void test_informational_and_trailers(void **state)
{
    (void)state;
    for (size_t k = 0; k < ARRAY_LEN(chunks); k++) {
        struct side *client = side_new(H2_CLIENT), *server = side_new(H2_SERVER);
        struct call *c;
        server->on_complete = answer_at_length;
        assert_int_equal(ask(client, "GET", "/", "", true, &c), ERR_OK);
        pump(client, server, chunks[k]);
        assert_said(c, "INFO 103 HTTP/2 link=</a>; INFO 100 HTTP/2 HEAD 200 HTTP/2 set-cookie=a=1; set-cookie=b=2;"
                       " TRAILERS x-sum=9; x-two=2; END");
        assert_int_equal(c->body, 2);
        assert_closed(c, 0);
        side_free(client);
        side_free(server);
    }
}

static void answer_head(struct call *c)
{
    assert_int_equal(answer(c, 200, "Content-Length: 100\n", true), ERR_OK);
}

static void test_head_has_no_body(void **state)
{
    (void)state;
    struct side *client = side_new(H2_CLIENT), *server = side_new(H2_SERVER);
    struct call *c;
    server->on_complete = answer_head;
    assert_int_equal(ask(client, "HEAD", "/", "", true, &c), ERR_OK);
    pump(client, server, 7);
    assert_said(c, "HEAD 200 HTTP/2 content-length=100; END");
    assert_closed(c, 0);
    side_free(client);
    side_free(server);
}

static void test_what_cannot_be_said(void **state)
{
    (void)state;
    struct side *client = side_new(H2_CLIENT), *server = server_new();
    struct call *c;
    assert_int_equal(ask(client, "GET", "/a b", "", true, &c), ERR_PARSE);
    assert_int_equal(ask(client, "GET", "", "", true, &c), ERR_PARSE);
    assert_int_equal(ask(client, "CONNECT", "", "", true, &c), ERR_PARSE);
    assert_int_equal(ask(client, "GET", "/", "X: a\rb\n", true, &c), ERR_PARSE);
    assert_int_equal(ask(client, "GET", "/", "X y: a\n", true, &c), ERR_PARSE);
    assert_int_equal(h2_streams(client->h2), 0);
    assert_int_equal(ask(client, "GET", "/", "", true, &c), ERR_OK);
    pump(client, server, 100);
    assert_said(c, ANSWER);
    side_free(client);
    side_free(server);
}

static void test_interleaved(void **state)
{
    (void)state;
    struct side *client = side_new(H2_CLIENT), *server = server_new();
    struct call *c[20];
    for (size_t i = 0; i < ARRAY_LEN(c); i++)
        assert_int_equal(ask(client, "POST", "/", "", false, &c[i]), ERR_OK);
    for (size_t turn = 0; turn < 10; turn++) {
        for (size_t i = 0; i < ARRAY_LEN(c); i++)
            assert_int_equal(h2_body(c[i]->s, span_of(content + i, 1000 + i)), ERR_OK);
        pump(client, server, 500);
    }
    assert_int_equal(h2_streams(server->h2), ARRAY_LEN(c));
    for (size_t i = ARRAY_LEN(c); i-- > 0;)
        assert_int_equal(h2_end(c[i]->s, NULL), ERR_OK);
    pump(client, server, 500);
    for (size_t i = 0; i < ARRAY_LEN(c); i++) {
        uint32_t sum = 0;
        for (size_t turn = 0; turn < 10; turn++)
            sum = sum_of(sum, span_of(content + i, 1000 + i));
        assert_int_equal(server->calls[i].body, 10 * (1000 + i));
        assert_int_equal(server->calls[i].sum, sum);
        assert_said(c[i], ANSWER);
        assert_closed(c[i], 0);
    }
    side_free(client);
    side_free(server);
}

/* ---- backpressure ---- */

/* Sends what is left of `content` as long as the stream takes it. */
static void send_more(struct call *c)
{
    size_t *sent = c->side->test;
    while (!h2_full(c->s) && *sent < sizeof content) {
        size_t n = MIN((size_t)10000, sizeof content - *sent);
        assert_int_equal(h2_body(c->s, span_of(content + *sent, n)), ERR_OK);
        *sent += n;
        if (*sent == sizeof content)
            assert_int_equal(h2_end(c->s, NULL), ERR_OK);
    }
}

static void answer_much(struct call *c)
{
    assert_int_equal(answer(c, 200, "", false), ERR_OK);
    send_more(c);
}

static void test_much_content(void **state)
{
    (void)state;
    struct side *client = side_new(H2_CLIENT), *server = side_new(H2_SERVER);
    struct call *c;
    size_t sent = 0;
    server->on_complete = answer_much;
    server->on_drained = send_more;
    server->test = &sent;
    assert_int_equal(ask(client, "GET", "/", "", true, &c), ERR_OK);
    pump(client, server, 1000);
    assert_int_equal(c->body, sizeof content);
    assert_int_equal(c->sum, sum_of(0, span_of(content, sizeof content)));
    assert_true(server->calls[0].drained > 3);
    assert_closed(c, 0);
    side_free(client);
    side_free(server);
}

static void pause_first(struct call *c, const struct head *head)
{
    (void)head;
    if (c == &c->side->calls[0])
        h2_pause(c->s, true);
}

static void test_pause_stops_one_stream_only(void **state)
{
    (void)state;
    struct side *client = side_new(H2_CLIENT), *server = side_new(H2_SERVER);
    struct call *paused, *other;
    size_t sent = 0;
    server->on_complete = answer_much;
    server->on_drained = send_more;
    server->test = &sent;
    client->on_head = pause_first;
    assert_int_equal(ask(client, "GET", "/", "", true, &paused), ERR_OK);
    pump(client, server, 30000);
    assert_int_equal(paused->body, 262144); /* its window */
    assert_true(h2_full(server->calls[0].s));
    assert_true(sent <= 262144 + LIMIT_SEND_HIGH + 10000);
    server->on_complete = answer_simply;
    for (size_t i = 0; i < 30; i++) {
        assert_int_equal(ask(client, "GET", "/", "", true, &other), ERR_OK);
        pump(client, server, 30000);
        assert_said(other, ANSWER);
    }
    assert_int_equal(paused->body, 262144);
    h2_pause(paused->s, false);
    pump(client, server, 30000);
    assert_int_equal(paused->sum, sum_of(0, span_of(content, sizeof content)));
    assert_closed(paused, 0);
    side_free(client);
    side_free(server);
}

/* A PING and a window of another stream are no movement of a message. */
static void say_nothing(struct side *to)
{
    static const uint8_t frames[] = {0,   0,   8, 6, 0, 0, 0, 0, 0, 'r', 'i', 'n', 'g', 't', 'a',
                                     'p', 'e', 0, 0, 4, 8, 0, 0, 0, 0,   0,   0,   0,   0,   1};
    struct buf out = BUF_INIT;
    assert_int_equal(h2_feed(to->h2, span_of(frames, sizeof frames)), ERR_OK);
    assert_int_equal(h2_output(to->h2, &out, 30000), ERR_OK);
    assert_true(out.n > 0); /* the answer to the PING */
    buf_free(&out);
}

static void test_stuck_while_the_peer_takes_nothing(void **state)
{
    (void)state;
    struct side *client = side_new(H2_CLIENT), *server = side_new(H2_SERVER);
    struct call *paused, *other;
    size_t sent = 0;
    server->on_complete = answer_much;
    server->on_drained = send_more;
    server->test = &sent;
    client->on_head = pause_first;
    assert_int_equal(h2_stuck_since(server->h2, 50), 0);
    assert_int_equal(ask(client, "GET", "/", "", true, &paused), ERR_OK);
    pump(client, server, 30000);
    assert_int_equal(h2_stuck_since(server->h2, 100), 100);
    assert_int_equal(h2_stuck_since(server->h2, 200), 100);
    say_nothing(server);
    assert_int_equal(h2_stuck_since(server->h2, 300), 100);
    server->on_complete = answer_simply;
    assert_int_equal(ask(client, "GET", "/", "", true, &other), ERR_OK);
    pump(client, server, 30000);
    assert_int_equal(h2_stuck_since(server->h2, 400), 400);
    assert_int_equal(h2_stuck_since(server->h2, 500), 400);
    h2_pause(paused->s, false);
    pump(client, server, 30000);
    assert_int_equal(paused->body, sizeof content);
    assert_int_equal(h2_stuck_since(server->h2, 600), 0);
    assert_int_equal(h2_stuck_since(client->h2, 600), 0);
    side_free(client);
    side_free(server);
}

static void test_not_stuck_without_content(void **state)
{
    (void)state;
    struct side *client = side_new(H2_CLIENT), *server = side_new(H2_SERVER);
    struct call *c;
    assert_int_equal(ask(client, "POST", "/", "", false, &c), ERR_OK);
    pump(client, server, 30000);
    say_nothing(server); /* a call without messages for now */
    assert_int_equal(h2_stuck_since(client->h2, 100), 0);
    assert_int_equal(h2_stuck_since(server->h2, 100), 0);
    h2_pause(server->calls[0].s, true);
    assert_int_equal(h2_body(c->s, span_of(content, sizeof content)), ERR_OK);
    pump(client, server, 30000);
    assert_int_equal(h2_stuck_since(client->h2, 200), 200);
    h2_reset(c->s, H2_CANCEL); /* and with it what waited */
    pump(client, server, 30000);
    assert_int_equal(h2_stuck_since(client->h2, 300), 0);
    side_free(client);
    side_free(server);
}

/* ---- ends ---- */

static void test_reset_by_client(void **state)
{
    (void)state;
    struct side *client = side_new(H2_CLIENT), *server = side_new(H2_SERVER);
    struct call *c, *unsent;
    assert_int_equal(ask(client, "POST", "/", "", false, &c), ERR_OK);
    pump(client, server, 3);
    h2_reset(c->s, H2_CANCEL);
    h2_reset(c->s, H2_INTERNAL_ERROR);
    assert_int_equal(h2_body(c->s, SPAN("late")), ERR_OK);
    assert_int_equal(c->closed, 0);
    pump(client, server, 3);
    assert_closed(c, H2_CANCEL);
    assert_closed(&server->calls[0], H2_CANCEL);
    assert_false(server->calls[0].untouched);
    assert_int_equal(ask(client, "POST", "/", "", false, &unsent), ERR_OK);
    h2_reset(unsent->s, H2_CANCEL);
    pump(client, server, 3);
    assert_closed(unsent, H2_CANCEL);
    assert_int_equal(server->n, 1);
    assert_int_equal(h2_streams(client->h2) + h2_streams(server->h2), 0);
    side_free(client);
    side_free(server);
}

static void test_reset_by_server(void **state)
{
    (void)state;
    struct side *client = side_new(H2_CLIENT), *server = side_new(H2_SERVER);
    struct call *c;
    assert_int_equal(ask(client, "POST", "/", "", false, &c), ERR_OK);
    pump(client, server, 3);
    h2_reset(server->calls[0].s, H2_REFUSED_STREAM);
    assert_int_equal(answer(&server->calls[0], 200, "", true), ERR_OK);
    pump(server, client, 3);
    assert_closed(c, H2_REFUSED_STREAM);
    assert_true(c->untouched);
    assert_said(c, "");
    server->refuse = ERR_CANCELLED;
    assert_int_equal(ask(client, "GET", "/", "", true, &c), ERR_OK);
    pump(client, server, 3);
    assert_closed(c, H2_INTERNAL_ERROR);
    assert_false(c->untouched);
    side_free(client);
    side_free(server);
}

static void answer_and_break(struct call *c)
{
    assert_int_equal(answer(c, 200, "", false), ERR_OK);
    assert_int_equal(h2_body(c->s, span_of(content, 50000)), ERR_OK);
    h2_abort(c->s, H2_CONNECT_ERROR);
}

static void test_abort_sends_what_was_queued(void **state)
{
    (void)state;
    struct side *client = side_new(H2_CLIENT), *server = side_new(H2_SERVER);
    struct call *c;
    server->on_complete = answer_and_break;
    assert_int_equal(ask(client, "GET", "/", "", true, &c), ERR_OK);
    pump(client, server, 1000);
    assert_int_equal(c->body, 50000);
    assert_false(c->complete);
    assert_closed(c, H2_CONNECT_ERROR);
    assert_closed(&server->calls[0], H2_CONNECT_ERROR);
    server->on_complete = NULL;
    assert_int_equal(ask(client, "GET", "/", "", true, &c), ERR_OK);
    pump(client, server, 1000);
    h2_abort(server->calls[1].s, H2_INTERNAL_ERROR); /* nothing was answered */
    pump(client, server, 1000);
    assert_closed(c, H2_INTERNAL_ERROR);
    side_free(client);
    side_free(server);
}

static void answer_end_and_break(struct call *c)
{
    assert_int_equal(answer(c, 200, "", false), ERR_OK);
    assert_int_equal(h2_body(c->s, span_of(content, 50000)), ERR_OK);
    assert_int_equal(h2_end(c->s, NULL), ERR_OK);
    h2_abort(c->s, H2_INTERNAL_ERROR);
}

/* What was said to be whole before it broke is sent, and is not whole. */
static void test_abort_after_the_end(void **state)
{
    (void)state;
    struct side *client = side_new(H2_CLIENT), *server = side_new(H2_SERVER);
    struct call *c;
    server->on_complete = answer_end_and_break;
    assert_int_equal(ask(client, "GET", "/", "", true, &c), ERR_OK);
    pump(client, server, 1000);
    assert_int_equal(c->body, 50000);
    assert_false(c->complete);
    assert_closed(c, H2_INTERNAL_ERROR);
    side_free(client);
    side_free(server);
}

static void answer_early(struct call *c, const struct head *head)
{
    (void)head;
    assert_int_equal(answer(c, 413, "", false), ERR_OK);
    assert_int_equal(h2_body(c->s, span_of(content, 40000)), ERR_OK);
    assert_int_equal(h2_end(c->s, NULL), ERR_OK);
    h2_enough(c->s, H2_NO_ERROR);
}

/* An answer before the request's end is whole before the rest of the request is declined. */
static void test_early_answer(void **state)
{
    (void)state;
    struct side *client = side_new(H2_CLIENT), *server = side_new(H2_SERVER);
    struct call *c;
    server->on_head = answer_early;
    assert_int_equal(ask(client, "POST", "/", "", false, &c), ERR_OK);
    pump(client, server, 1000);
    assert_true(c->complete);
    assert_int_equal(c->body, 40000);
    assert_closed(c, 0);
    assert_closed(&server->calls[0], 0);
    side_free(client);
    side_free(server);
}

/* Whoever refused it itself is not told that it may be sent again. */
static void test_own_refusal_is_not_untouched(void **state)
{
    (void)state;
    struct side *client = side_new(H2_CLIENT), *server = side_new(H2_SERVER);
    struct call *c;
    assert_int_equal(ask(client, "POST", "/", "", false, &c), ERR_OK);
    pump(client, server, 1000);
    h2_reset(c->s, H2_REFUSED_STREAM);
    pump(client, server, 1000);
    assert_closed(c, H2_REFUSED_STREAM);
    assert_false(c->untouched);
    side_free(client);
    side_free(server);
}

static void test_shutdown_lets_streams_finish(void **state)
{
    (void)state;
    struct side *client = side_new(H2_CLIENT), *server = side_new(H2_SERVER);
    struct call *begun, *late;
    enum err e;
    assert_int_equal(ask(client, "GET", "/", "", true, &begun), ERR_OK);
    pump(client, server, 100);
    h2_shutdown(server->h2);
    assert_int_equal(ask(client, "GET", "/late", "", true, &late), ERR_OK);
    assert_true(carry(client, server, 100, &e) && e == ERR_OK);
    pump(server, client, 100);
    assert_closed(late, H2_REFUSED_STREAM);
    assert_true(late->untouched);
    assert_false(h2_can_request(client->h2));
    assert_int_equal(ask(client, "GET", "/", "", true, &late), ERR_REFUSED);
    assert_false(h2_done(server->h2) || h2_done(client->h2));
    answer_simply(&server->calls[0]);
    pump(server, client, 100);
    assert_said(begun, ANSWER);
    assert_closed(begun, 0);
    assert_true(h2_done(server->h2) && h2_done(client->h2));
    assert_int_equal(h2_feed(client->h2, SPAN_EMPTY), ERR_OK);
    side_free(client);
    side_free(server);
}

static void test_concurrent_streams(void **state)
{
    (void)state;
    struct side *client = side_new(H2_CLIENT), *server = side_new(H2_SERVER);
    struct call *c;
    pump(client, server, 100); /* SETTINGS */
    for (size_t i = 0; i < 100; i++) {
        assert_true(h2_can_request(client->h2));
        assert_int_equal(ask(client, "GET", "/", "", true, &c), ERR_OK);
    }
    assert_false(h2_can_request(client->h2));
    assert_int_equal(ask(client, "GET", "/", "", true, &c), ERR_REFUSED);
    pump(client, server, 1000);
    assert_int_equal(h2_streams(server->h2), 100);
    answer_simply(&server->calls[50]);
    pump(client, server, 1000);
    assert_true(h2_can_request(client->h2));
    side_free(client);
    side_free(server);
}

static void use_everything(struct call *c)
{
    struct call *next;
    h2_reset(c->s, H2_CANCEL);
    h2_abort(c->s, H2_INTERNAL_ERROR);
    h2_pause(c->s, true);
    h2_pause(c->s, false);
    assert_int_equal(h2_body(c->s, SPAN("x")), ERR_OK);
    assert_int_equal(h2_end(c->s, NULL), ERR_OK);
    if (h2_can_request(c->side->h2)) {
        assert_int_equal(ask(c->side, "GET", "/", "", true, &next), ERR_OK);
        c->side->on_closed = NULL;
    } else if (c->side->n == 2) {
        assert_int_equal(answer(c, 200, "", false), ERR_OK);
        h2_reset(c->side->calls[0].s ? c->side->calls[0].s : c->s, H2_CANCEL);
    }
}

/* A callback may do anything to any stream, the one that goes included. */
static void test_closed_may_use_streams(void **state)
{
    (void)state;
    struct side *client = side_new(H2_CLIENT), *server = side_new(H2_SERVER);
    struct call *a, *b;
    client->on_closed = server->on_closed = use_everything;
    assert_int_equal(ask(client, "POST", "/", "", false, &a), ERR_OK);
    assert_int_equal(ask(client, "POST", "/", "", false, &b), ERR_OK);
    pump(client, server, 100);
    h2_reset(b->s, H2_CANCEL);
    pump(client, server, 100);
    assert_closed(b, H2_CANCEL);
    assert_closed(&server->calls[1], H2_CANCEL);
    assert_closed(a, H2_CANCEL);
    assert_int_equal(client->n, 3);
    assert_int_equal(server->n, 3);
    assert_int_equal(client->calls[2].closed, 0);
    side_free(client);
    side_free(server);
}

static void test_sniff(void **state)
{
    (void)state;
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\nmore";
    for (size_t n = 0; n < sizeof preface; n++)
        assert_int_equal(h2_sniff(span_of(preface, n)), n < 24 ? ERR_AGAIN : ERR_OK);
    for (size_t i = 0; i < 24; i++) {
        char other[sizeof preface];
        memcpy(other, preface, sizeof preface);
        other[i] ^= 1;
        for (size_t n = i + 1; n < sizeof preface; n++)
            assert_int_equal(h2_sniff(span_of(other, n)), ERR_PARSE);
    }
}

/* ---- allocation failure ---- */

static enum err whole_conversation(struct side *client, struct side *server)
{
    struct call *c, *d;
    enum err e = ask(client, "POST", "/a", "Cookie: a=1\nHost: ex.org\n", false, &c);
    e = e ? e : ask(client, "GET", "/b", "", true, &d);
    e = e ? e : h2_body(c->s, span_of(content, 40000));
    e = e ? e : finish(c, "X-T: 1\n");
    e = e ? e : pump_all(client, server, 900);
    if (!e && c->s)
        h2_reset(c->s, H2_CANCEL);
    if (!e)
        h2_shutdown(server->h2);
    e = e ? e : pump_all(client, server, 900);
    e = e ? e : client->e;
    return e ? e : server->e;
}

static bool was_reset(const struct side *side)
{
    for (size_t i = 0; i < side->n; i++)
        if (side->calls[i].code)
            return true;
    return false;
}

static void test_allocation_failure(void **state)
{
    (void)state;
    bool done = false;
    long n = 0;
    for (; !done && n < 3000; n++) {
        struct side *client = calloc(1, sizeof *client), *server = calloc(1, sizeof *server);
        assert_true(client && server);
        server->on_complete = answer_simply;
        mem_fail_after(n);
        enum err e = h2_create(&client->h2, H2_CLIENT, &side_events, client);
        e = e ? e : h2_create(&server->h2, H2_SERVER, &side_events, server);
        e = e ? e : whole_conversation(client, server);
        mem_fail_after(-1);
        assert_true(e == ERR_OK || e == ERR_NOMEM);
        bool whole = client->n == 2 && client->calls[0].complete && client->calls[1].complete && server->n == 2 &&
                     server->calls[0].complete && server->calls[1].complete;
        done = e == ERR_OK && whole;
        assert_true(e || whole || was_reset(client) || was_reset(server));
        side_free(client);
        side_free(server);
    }
    assert_true(done && n > 50);
}

int main(void)
{
    for (size_t i = 0; i < sizeof content; i++)
        content[i] = (uint8_t)(i * 7 + i / 251);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_exchanges),
        cmocka_unit_test(test_informational_and_trailers),
        cmocka_unit_test(test_head_has_no_body),
        cmocka_unit_test(test_what_cannot_be_said),
        cmocka_unit_test(test_interleaved),
        cmocka_unit_test(test_much_content),
        cmocka_unit_test(test_pause_stops_one_stream_only),
        cmocka_unit_test(test_stuck_while_the_peer_takes_nothing),
        cmocka_unit_test(test_not_stuck_without_content),
        cmocka_unit_test(test_reset_by_client),
        cmocka_unit_test(test_reset_by_server),
        cmocka_unit_test(test_abort_sends_what_was_queued),
        cmocka_unit_test(test_abort_after_the_end),
        cmocka_unit_test(test_early_answer),
        cmocka_unit_test(test_own_refusal_is_not_untouched),
        cmocka_unit_test(test_shutdown_lets_streams_finish),
        cmocka_unit_test(test_concurrent_streams),
        cmocka_unit_test(test_closed_may_use_streams),
        cmocka_unit_test(test_sniff),
        cmocka_unit_test(test_allocation_failure),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
