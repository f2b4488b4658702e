/* test_h1.c: the HTTP/1 parser: what messages mean, at every chunk size; what is refused and why; that limits, pipelining, ends of
 * connections and failing allocations leave it sound, and that steady traffic allocates nothing. */
#include "http/h1.h"

#include "base/limits.h"
#include "base/util.h"
#include "tests/http/transcript.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

struct good {
    const char *name, *wire, *want;
    size_t left;         /* bytes that must not be taken */
    const char *methods; /* of the requests, for responses */
};

static const struct good requests[] = {
    {"simple", "GET /a?b=1 HTTP/1.1\r\nHost: Ex.Org:8080\r\nX-y:  v w \t\r\nEmpty:\r\n\r\n",
     "HEAD GET  ex.org /a?b=1 :8080 HTTP/1.1 none/0 K| Host=Ex.Org:8080; X-y=v w; Empty=; END\n", 0, NULL},
    {"no space after the colon", "GET / HTTP/1.1\r\nHost:a\r\n\r\n",
     "HEAD GET  a / :0 HTTP/1.1 none/0 K| Host=a; END\n", 0, NULL},
    {"empty host", "GET / HTTP/1.1\r\nHost:\r\n\r\n", "HEAD GET   / :0 HTTP/1.1 none/0 K| Host=; END\n", 0, NULL},
    {"HTTP/1.0", "GET / HTTP/1.0\r\n\r\n", "HEAD GET   / :0 HTTP/1.0 none/0 -| END\n", 0, NULL},
    {"HTTP/1.0 keep-alive", "GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n",
     "HEAD GET   / :0 HTTP/1.0 none/0 K| Connection=Keep-Alive; END\n", 0, NULL},
    {"HTTP/1.0 keep-alive to a proxy", "GET http://a/ HTTP/1.0\r\nProxy-Connection: Keep-Alive\r\n\r\n",
     "HEAD GET http a / :80 HTTP/1.0 none/0 KA| Proxy-Connection=Keep-Alive; END\n", 0, NULL},
    {"close to a proxy", "GET http://a/ HTTP/1.1\r\nHost: a\r\nProxy-Connection: close\r\n\r\n",
     "HEAD GET http a / :80 HTTP/1.1 none/0 -A| Host=a; Proxy-Connection=close; END\n", 0, NULL},
    {"Proxy-Connection says nothing to an origin", "GET / HTTP/1.1\r\nHost: a\r\nProxy-Connection: close\r\n\r\n",
     "HEAD GET  a / :0 HTTP/1.1 none/0 K| Host=a; Proxy-Connection=close; END\n", 0, NULL},
    {"close", "GET / HTTP/1.1\r\nHost: a\r\nConnection: foo, Close\r\n\r\n",
     "HEAD GET  a / :0 HTTP/1.1 none/0 -| Host=a; Connection=foo, Close; END\n", 0, NULL},
    {"CRLF before the request line", "\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
     "HEAD GET  a / :0 HTTP/1.1 none/0 K| Host=a; END\n", 0, NULL},
    {"methods of every kind",
     "QUERY / HTTP/1.1\r\nHost: a\r\n\r\nget / HTTP/1.1\r\nHost: a\r\n\r\nVERSION-CONTROL / HTTP/1.1\r\nHost: a\r\n\r\n",
     "HEAD QUERY  a / :0 HTTP/1.1 none/0 K| Host=a; END\nHEAD get  a / :0 HTTP/1.1 none/0 K| Host=a; END\n"
     "HEAD VERSION-CONTROL  a / :0 HTTP/1.1 none/0 K| Host=a; END\n",
     0, NULL},
    {"raw UTF-8 and odd characters in target and value",
     "GET /\xc3\xa4?q=\"<{|}>[\\^` HTTP/1.1\r\nHost: a\r\nX: \xff\xe4\r\n\r\n",
     "HEAD GET  a /\xc3\xa4?q=\"<{|}>[\\^` :0 HTTP/1.1 none/0 K| Host=a; X=\xff\xe4; END\n", 0, NULL},
    {"absolute form", "GET HTTPS://u:p@EX.org/p?q#f HTTP/1.1\r\nHost: ex.org\r\n\r\n",
     "HEAD GET https ex.org /p?q :443 HTTP/1.1 none/0 KA| Host=ex.org; END\n", 0, NULL},
    {"absolute form without a path",
     "GET http://a:81 HTTP/1.1\r\nHost: a:81\r\n\r\nOPTIONS http://a HTTP/1.1\r\nHost: a\r\n\r\n"
     "GET http://a?x HTTP/1.1\r\nHost: a\r\n\r\n",
     "HEAD GET http a / :81 HTTP/1.1 none/0 KA| Host=a:81; END\nHEAD OPTIONS http a * :80 HTTP/1.1 none/0 KA| Host=a; END\n"
     "HEAD GET http a /?x :80 HTTP/1.1 none/0 KA| Host=a; END\n",
     0, NULL},
    {"the target's authority wins over Host", "GET http://u@good:8/ HTTP/1.1\r\nA: 1\r\nHost: evil\r\nB: 2\r\n\r\n",
     "HEAD GET http good / :8 HTTP/1.1 none/0 KA| A=1; Host=good:8; B=2; END\n", 0, NULL},
    {"IPv6", "GET http://[::1]:80/ HTTP/1.1\r\nHost: [::2]\r\n\r\n",
     "HEAD GET http ::1 / :80 HTTP/1.1 none/0 KA| Host=[::1]:80; END\n", 0, NULL},
    {"no Host in absolute form", "GET http://a:81/x HTTP/1.1\r\n\r\n",
     "HEAD GET http a /x :81 HTTP/1.1 none/0 KA| END\n", 0, NULL},
    {"no Host in CONNECT", "CONNECT a:1 HTTP/1.1\r\n\r\n", "HEAD CONNECT  a  :1 HTTP/1.1 tunnel/0 K| END\n", 0, NULL},
    {"asterisk", "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", "HEAD OPTIONS  a * :0 HTTP/1.1 none/0 K| Host=a; END\n", 0,
     NULL},
    {"CONNECT leaves the tunnel alone",
     "CONNECT A.b:443 HTTP/1.1\r\nHost: a.b:443\r\nContent-Length: 0\r\n\r\n\x16\x03\x01GET / HTTP",
     "HEAD CONNECT  a.b  :443 HTTP/1.1 tunnel/0 K| Host=a.b:443; Content-Length=0; END\n", 13, NULL},
    {"length",
     "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\nhelloGET /2 HTTP/1.1\r\nHost: b\r\n\r\n",
     "HEAD POST  a / :0 HTTP/1.1 length/5 KE| Host=a; Content-Length=5; Expect=100-continue; BODY hello END\n"
     "HEAD GET  b /2 :0 HTTP/1.1 none/0 K| Host=b; END\n",
     0, NULL},
    {"length 0", "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n",
     "HEAD POST  a / :0 HTTP/1.1 length/0 K| Host=a; Content-Length=0; END\n", 0, NULL},
    {"chunked, with extensions and trailers",
     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n5;a=b;c=\"d\";e ; f\r\nhello\r\n0A  \r\n world 12!\r\n0;z\r\nT-1: x\r\nT-2:\r\n\r\n"
     "GET / HTTP/1.1\r\nHost: b\r\n\r\n",
     "HEAD POST  a / :0 HTTP/1.1 chunked/0 K| Host=a; Transfer-Encoding=Chunked; BODY hello world 12! TRAILERS T-1=x; T-2=; END\n"
     "HEAD GET  b / :0 HTTP/1.1 none/0 K| Host=b; END\n",
     0, NULL},
    {"chunked and empty", "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
     "HEAD POST  a / :0 HTTP/1.1 chunked/0 K| Host=a; Transfer-Encoding=chunked; END\n", 0, NULL},
    {"upgrade goes on as HTTP when it is refused",
     "GET /ws HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n",
     "HEAD GET  a /ws :0 HTTP/1.1 none/0 KU| Host=a; Connection=keep-alive, Upgrade; Upgrade=websocket; END\n"
     "HEAD GET  a / :0 HTTP/1.1 none/0 K| Host=a; END\n",
     0, NULL},
    {"upgrade with a body",
     "POST / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\nContent-Length: 2\r\n\r\nhi",
     "HEAD POST  a / :0 HTTP/1.1 length/2 KU| Host=a; Connection=upgrade; Upgrade=h2c; Content-Length=2; BODY hi END\n",
     0, NULL},
};

static const struct good responses[] = {
    {"simple", "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nSet-Cookie: a=1\r\nSet-Cookie: b=2\r\n\r\nhi",
     "HEAD 200 OK HTTP/1.1 length/2 K| Content-Length=2; Set-Cookie=a=1; Set-Cookie=b=2; BODY hi END\n", 0, "GET"},
    {"empty reasons", "HTTP/1.1 200\r\nContent-Length: 0\r\n\r\nHTTP/1.1 204 \r\n\r\n",
     "HEAD 200  HTTP/1.1 length/0 K| Content-Length=0; END\nHEAD 204  HTTP/1.1 none/0 K| END\n", 0, "GET GET"},
    {"unusual status and reason", "HTTP/1.1 999 Request \xe9 denied!\r\nContent-Length: 0\r\n\r\n",
     "HEAD 999 Request \xe9 denied! HTTP/1.1 length/0 K| Content-Length=0; END\n", 0, "GET"},
    {"HEAD, 204, 304 and a body, pipelined",
     "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nHTTP/1.1 204 No\r\nContent-Length: 5\r\n\r\nHTTP/1.1 304 NM\r\nContent-Length: 7\r\n\r\n"
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\nx",
     "HEAD 200 OK HTTP/1.1 none/0 K| Content-Length=9; END\nHEAD 204 No HTTP/1.1 none/0 K| Content-Length=5; END\n"
     "HEAD 304 NM HTTP/1.1 none/0 K| Content-Length=7; END\nHEAD 200 OK HTTP/1.1 none/0 K| Transfer-Encoding=chunked; END\n"
     "HEAD 200 OK HTTP/1.1 length/1 K| Content-Length=1; BODY x END\n",
     0, "HEAD GET GET HEAD GET"},
    {"informational ones first",
     "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nLink: </a>\r\n\r\nHTTP/1.1 102 P\r\nContent-Length: 3\r\n\r\n"
     "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
     "INFO 100|INFO 103| Link=</a>;INFO 102| Content-Length=3;HEAD 200 OK HTTP/1.1 length/0 K| Content-Length=0; END\n",
     0, "POST"},
    {"101", "HTTP/1.1 101 SP\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n\x81\x01HTTP/1.1 200",
     "HEAD 101 SP HTTP/1.1 tunnel/0 -U| Connection=Upgrade; Upgrade=websocket; END\n", 14, "GET"},
    {"CONNECT accepted", "HTTP/1.1 200 Connected\r\nContent-Length: 3\r\n\r\nabcdef",
     "HEAD 200 Connected HTTP/1.1 tunnel/0 -| Content-Length=3; END\n", 6, "CONNECT"},
    {"CONNECT refused", "HTTP/1.1 403 No\r\nContent-Length: 3\r\n\r\nabc",
     "HEAD 403 No HTTP/1.1 length/3 K| Content-Length=3; BODY abc END\n", 0, "CONNECT"},
    {"until close", "HTTP/1.1 200 OK\r\n\r\nabcHTTP/1.1 200 OK\r\n\r\n",
     "HEAD 200 OK HTTP/1.1 close/0 -| BODY abcHTTP/1.1 200 OK\r\n\r\n END\n", 0, "GET"},
    {"HTTP/1.0 keep-alive",
     "HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\nxHTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\ny",
     "HEAD 200 OK HTTP/1.0 length/1 K| Connection=keep-alive; Content-Length=1; BODY x END\n"
     "HEAD 200 OK HTTP/1.0 length/1 -| Content-Length=1; BODY y END\n",
     0, "GET GET"},
    {"chunked with trailers",
     "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n3\r\nabc\r\n0\r\nX: 1\r\n\r\n",
     "HEAD 200 OK HTTP/1.1 chunked/0 K| Transfer-Encoding=chunked; Trailer=X; BODY abc TRAILERS X=1; END\n", 0, "GET"},
};

static void check_good(enum h1_role role, const struct good *g)
{
    size_t n = strlen(g->wire);
    for (size_t chunk = 1; chunk <= n; chunk++) {
        struct transcript t = {.heads = 0};
        struct h1 *codec;
        size_t used;
        assert_int_equal(h1_create(&codec, role, &transcript_events, &t), ERR_OK);
        enum err e = transcript_run(&t, codec, span_of(g->wire, n), chunk, g->methods, &used);
        if (e)
            fail_msg("%s, chunks of %zu: %s (%s)", g->name, chunk, err_word(e), h1_error(codec));
        assert_int_equal(h1_eof(codec), ERR_OK);
        if (strcmp(buf_cstr(&t.text), g->want) != 0)
            fail_msg("%s, chunks of %zu:\n%s\ninstead of\n%s", g->name, chunk, buf_cstr(&t.text), g->want);
        if (n - used != g->left)
            fail_msg("%s, chunks of %zu: %zu bytes left, not %zu", g->name, chunk, n - used, g->left);
        assert_string_equal(h1_error(codec), "");
        h1_destroy(&codec);
        assert_null(codec);
        transcript_free(&t);
    }
}

static void test_requests(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(requests); i++)
        check_good(H1_SERVER, &requests[i]);
}

static void test_responses(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(responses); i++)
        check_good(H1_CLIENT, &responses[i]);
}

#define POST    "POST / HTTP/1.1\r\nHost: a\r\n"
#define CHUNKED POST "Transfer-Encoding: chunked\r\n\r\n"
#define OK      "HTTP/1.1 200 OK\r\n"

/* n is set where the wire holds a NUL. */
static const struct bad {
    const char *name, *wire;
    enum err want;
    size_t n;
} bad_requests[] =
    {
        {"CL and TE", POST "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"TE and CL", POST "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"two CLs", POST "Content-Length: 5\r\nContent-Length: 6\r\n\r\nhello!", ERR_AMBIGUOUS, 0},
        {"two equal CLs", POST "Content-Length: 5\r\nContent-Length: 5\r\n\r\nhello", ERR_AMBIGUOUS, 0},
        {"list of CLs", POST "Content-Length: 5, 5\r\n\r\nhello", ERR_AMBIGUOUS, 0},
        {"signed CL", POST "Content-Length: +5\r\n\r\nhello", ERR_AMBIGUOUS, 0},
        {"negative CL", POST "Content-Length: -1\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"hexadecimal CL", POST "Content-Length: 0x5\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"empty CL", POST "Content-Length:\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"CL of 2^64", POST "Content-Length: 18446744073709551616\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"folded CL", POST "Content-Length:\r\n 5\r\n\r\nhello", ERR_AMBIGUOUS, 0},
        {"CL with a folded rest", POST "Content-Length: 5\r\n 6\r\n\r\nhello", ERR_AMBIGUOUS, 0},
        {"folded field", POST "X: a\r\n\tb\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"folded blank", POST "X: a\r\n \r\nContent-Length: 1\r\n\r\nx", ERR_AMBIGUOUS, 0},
        {"folded first field", "GET / HTTP/1.1\r\n Host: a\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"TE in HTTP/1.0", "POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"TE twice", POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ERR_AMBIGUOUS,
         0},
        {"chunked twice", POST "Transfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"identity", POST "Transfer-Encoding: identity\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"identity after chunked", POST "Transfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"identity line after chunked",
         POST "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"gzip, then chunked", POST "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", ERR_UNSUPPORTED, 0},
        {"xchunked", POST "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"chunkedx", POST "Transfer-Encoding: chunkedx\r\n\r\n0\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"quoted chunked", POST "Transfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"chunked with a parameter", POST "Transfer-Encoding: chunked;a=b\r\n\r\n0\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"chunked after a vertical tab", POST "Transfer-Encoding: \vchunked\r\n\r\n0\r\n\r\n", ERR_PARSE, 0},
        {"empty TE", POST "Transfer-Encoding:\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"space before the colon", POST "Transfer-Encoding : chunked\r\n\r\n0\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"tab before the colon", POST "Content-Length\t: 5\r\n\r\nhello", ERR_AMBIGUOUS, 0},
        {"space in a name", POST "X Y: 5\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"no colon", POST "X\r\n\r\n", ERR_PARSE, 0},
        {"no name", POST ": x\r\n\r\n", ERR_PARSE, 0},
        {"control character in a name", POST "X\x01: x\r\n\r\n", ERR_PARSE, 0},
        {"control character in a value", POST "X: a\x01z\r\n\r\n", ERR_PARSE, 0},
        {"NUL in a value", POST "X: a\0z\r\n\r\n", ERR_PARSE, sizeof(POST "X: a\0z\r\n\r\n") - 1},
        {"NUL in a name", POST "X\0: z\r\n\r\n", ERR_PARSE, sizeof(POST "X\0: z\r\n\r\n") - 1},
        {"bare LF after the request line", "GET / HTTP/1.1\nHost: a\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"bare LF after a field", "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"bare LF at the end", "GET / HTTP/1.1\r\nHost: a\r\n\n", ERR_AMBIGUOUS, 0},
        {"bare LF before the request", "\nGET / HTTP/1.1\r\nHost: a\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"bare CR before the request", "\rGET / HTTP/1.1\r\nHost: a\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"bare CR in a value", POST "X: a\rContent-Length: 5\r\n\r\nhello", ERR_AMBIGUOUS, 0},
        {"bare CR as a value", POST "X:\rTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"bare CR in the request line", "GET /\rx HTTP/1.1\r\nHost: a\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"two CRs", "GET / HTTP/1.1\r\r\nHost: a\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"no Host", "GET / HTTP/1.1\r\n\r\n", ERR_PARSE, 0},
        {"no Host for *", "OPTIONS * HTTP/1.1\r\n\r\n", ERR_PARSE, 0},
        {"two Hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"list of hosts", "GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", ERR_PARSE, 0},
        {"Host with a path", "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", ERR_PARSE, 0},
        {"Host with user information", "GET / HTTP/1.1\r\nHost: a@b\r\n\r\n", ERR_PARSE, 0},
        {"Host with a bad port", "GET / HTTP/1.1\r\nHost: a:99999\r\n\r\n", ERR_PARSE, 0},
        {"content in CONNECT", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nContent-Length: 5\r\n\r\nhello", ERR_AMBIGUOUS, 0},
        {"chunked CONNECT", "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
         ERR_AMBIGUOUS, 0},
        {"CONNECT without a port", "CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", ERR_PARSE, 0},
        {"CONNECT to a path", "CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", ERR_PARSE, 0},
        {"CONNECT to a URL", "CONNECT http://a:1/ HTTP/1.1\r\nHost: a\r\n\r\n", ERR_PARSE, 0},
        {"authority form for GET", "GET a:1 HTTP/1.1\r\nHost: a\r\n\r\n", ERR_PARSE, 0},
        {"ftp", "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", ERR_PARSE, 0},
        {"two user informations", "GET http://a@b@c/ HTTP/1.1\r\nHost: a\r\n\r\n", ERR_PARSE, 0},
        {"backslash in the authority", "GET http://a\\@b/ HTTP/1.1\r\nHost: a\r\n\r\n", ERR_PARSE, 0},
        {"space in the target", "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n", ERR_PARSE, 0},
        {"two spaces", "GET  / HTTP/1.1\r\nHost: a\r\n\r\n", ERR_PARSE, 0},
        {"tab for space", "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n", ERR_PARSE, 0},
        {"space after the version", "GET / HTTP/1.1 \r\nHost: a\r\n\r\n", ERR_PARSE, 0},
        {"HTTP/0.9", "GET /\r\n", ERR_OK, 0},
        {"HTTP/0.9 and a field", "GET /\r\nHost: a\r\n\r\n", ERR_PARSE, 0},
        {"HTTP/1.2", "GET / HTTP/1.2\r\nHost: a\r\n\r\n", ERR_PARSE, 0},
        {"HTTP/2 preface", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", ERR_PARSE, 0},
        {"lower-case version", "GET / http/1.1\r\nHost: a\r\n\r\n", ERR_PARSE, 0},
        {"TLS", "\x16\x03\x01\x02", ERR_PARSE, 0},
        {"empty method", " / HTTP/1.1\r\nHost: a\r\n\r\n", ERR_PARSE, 0},
        {"NUL in the target", "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n", ERR_PARSE,
         sizeof("GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n") - 1},
        {"a response", OK "\r\n", ERR_PARSE, 0},
        {"chunk size of no digits", CHUNKED "\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"chunk size of no hexadecimal", CHUNKED "g\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"chunk size with a sign", CHUNKED "+1\r\nx\r\n0\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"chunk size with a prefix", CHUNKED "0x1\r\nx\r\n0\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"chunk size of 17 digits", CHUNKED "10000000000000001\r\nx\r\n0\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"two chunk sizes", CHUNKED "1 2\r\nx\r\n0\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"chunk size of 32 digits", CHUNKED "00000000000000000000000000000001\r\nx\r\n0\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"NUL in an extension", CHUNKED "1;\0\r\nx\r\n0\r\n\r\n", ERR_AMBIGUOUS,
         sizeof(CHUNKED "1;\0\r\nx\r\n0\r\n\r\n") - 1},
        {"space before a chunk size", CHUNKED " 1\r\nx\r\n0\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"chunk longer than its size", CHUNKED "1\r\nxy\r\n0\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"bare LF after a chunk size", CHUNKED "1\nx\r\n0\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"bare LF after a chunk", CHUNKED "1\r\nx\n0\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"bare LF in an extension", CHUNKED "1;a\nx\r\n0\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"bare CR in an extension", CHUNKED "1;a\rb\r\nx\r\n0\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"bare LF in the trailers", CHUNKED "0\r\nX: y\n\r\n", ERR_AMBIGUOUS, 0},
        {"folded trailer", CHUNKED "0\r\nX: y\r\n z\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"fold as first trailer", CHUNKED "0\r\n X: y\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"CL in the trailers", CHUNKED "0\r\nContent-Length: 3\r\n\r\nabc", ERR_AMBIGUOUS, 0},
        {"TE in the trailers", CHUNKED "0\r\ntransfer-encoding: chunked\r\n\r\n", ERR_AMBIGUOUS, 0},
        {"space in a trailer's name", CHUNKED "0\r\nX : 3\r\n\r\n", ERR_AMBIGUOUS, 0},
},
  bad_responses[] = {
      {"CL and TE", OK "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n", ERR_AMBIGUOUS, 0},
      {"two CLs", OK "Content-Length: 5\r\nContent-Length: 6\r\n\r\n", ERR_AMBIGUOUS, 0},
      {"TE in HTTP/1.0", "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", ERR_AMBIGUOUS, 0},
      {"gzip, then chunked", OK "Transfer-Encoding: gzip, chunked\r\n\r\n", ERR_UNSUPPORTED, 0},
      {"chunked, then gzip", OK "Transfer-Encoding: chunked, gzip\r\n\r\n", ERR_AMBIGUOUS, 0},
      {"identity", OK "Transfer-Encoding: identity\r\n\r\nabc", ERR_AMBIGUOUS, 0},
      {"folded CL", OK "Content-Length:\r\n 5\r\n\r\nhello", ERR_AMBIGUOUS, 0},
      {"bare LF", "HTTP/1.1 200 OK\nContent-Length: 0\n\n", ERR_AMBIGUOUS, 0},
      {"bare CR in the reason", "HTTP/1.1 200 O\rK\r\n\r\n", ERR_AMBIGUOUS, 0},
      {"status 99", "HTTP/1.1 099 OK\r\n\r\n", ERR_PARSE, 0},
      {"status of two digits", "HTTP/1.1 99 OK\r\n\r\n", ERR_PARSE, 0},
      {"status of four digits", "HTTP/1.1 2000 OK\r\n\r\n", ERR_PARSE, 0},
      {"status and reason in one", "HTTP/1.1 200OK\r\n\r\n", ERR_PARSE, 0},
      {"no status", "HTTP/1.1\r\n\r\n", ERR_PARSE, 0},
      {"two spaces", "HTTP/1.1  200 OK\r\n\r\n", ERR_PARSE, 0},
      {"HTTP/2.0", "HTTP/2.0 200 OK\r\n\r\n", ERR_PARSE, 0},
      {"HTTP/1.9", "HTTP/1.9 200 OK\r\n\r\n", ERR_PARSE, 0},
      {"no HTTP", "SSH-2.0-x\r\n", ERR_PARSE, 0},
      {"a request", "GET / HTTP/1.1\r\n\r\n", ERR_PARSE, 0},
      {"empty line first", "\r\n" OK "\r\n", ERR_PARSE, 0},
      {"NUL in the reason", "HTTP/1.1 200 O\0K\r\n\r\n", ERR_PARSE, sizeof("HTTP/1.1 200 O\0K\r\n\r\n") - 1},
      {"bad chunk", OK "Transfer-Encoding: chunked\r\n\r\nzz\r\n", ERR_AMBIGUOUS, 0},
};

static void check_bad(enum h1_role role, const struct bad *b)
{
    size_t n = b->n ? b->n : strlen(b->wire);
    for (size_t chunk = 1; chunk <= n; chunk++) {
        struct transcript t = {.heads = 0};
        struct h1 *codec;
        size_t used;
        assert_int_equal(h1_create(&codec, role, &transcript_events, &t), ERR_OK);
        enum err e = transcript_run(&t, codec, span_of(b->wire, n), chunk, role == H1_CLIENT ? "GET" : NULL, &used);
        if (e != b->want)
            fail_msg("%s, chunks of %zu: %s (%s)\n%s", b->name, chunk, err_word(e), h1_error(codec), buf_cstr(&t.text));
        if (e) {
            assert_true(h1_error(codec)[0] != 0);
            assert_int_equal(h1_feed(codec, SPAN("GET / HTTP/1.1\r\n"), &used), b->want);
            assert_int_equal(h1_eof(codec), b->want);
        }
        assert_int_equal(t.ends, 0);
        h1_destroy(&codec);
        transcript_free(&t);
    }
}

static void test_refused_requests(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad_requests); i++)
        check_bad(H1_SERVER, &bad_requests[i]);
}

static void test_refused_responses(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(bad_responses); i++)
        check_bad(H1_CLIENT, &bad_responses[i]);
}

/* A codec over a wire that the test builds, in one feed and in small ones. */
static enum err outcome(enum h1_role role, const struct buf *wire, size_t chunk)
{
    struct transcript t = {.heads = 0};
    struct h1 *codec;
    size_t used;
    assert_int_equal(h1_create(&codec, role, &transcript_events, &t), ERR_OK);
    enum err e = transcript_run(&t, codec, buf_span(wire), chunk, NULL, &used);
    h1_destroy(&codec);
    transcript_free(&t);
    return e;
}

static void check_outcome(enum h1_role role, const struct buf *wire, enum err want)
{
    assert_int_equal(outcome(role, wire, wire->n), want);
    assert_int_equal(outcome(role, wire, 1000), want);
    assert_int_equal(outcome(role, wire, 7), want);
}

static void put_many(struct buf *b, const char *text, size_t times)
{
    for (size_t i = 0; i < times; i++)
        assert_int_equal(buf_put_str(b, text), ERR_OK);
}

static void test_limits(void **state)
{
    (void)state;
    const char *start = "GET / HTTP/1.1\r\nHost: a\r\n";
    struct buf b = BUF_INIT;
    for (size_t over = 0; over <= 1; over++) {
        enum err want = over ? ERR_LIMIT : ERR_OK;

        put_many(&b, start, 1);
        put_many(&b, "X: ", 1);
        put_many(&b, "x", LIMIT_HEAD_BYTES - b.n - 4 + over);
        put_many(&b, "\r\n\r\n", 1);
        check_outcome(H1_SERVER, &b, want);
        buf_clear(&b);

        put_many(&b, start, 1);
        put_many(&b, "X: y\r\n", LIMIT_HEADERS - 1 + over);
        put_many(&b, "\r\n", 1);
        check_outcome(H1_SERVER, &b, want);
        buf_clear(&b);

        put_many(&b, "GET /", 1);
        put_many(&b, "x", LIMIT_TARGET_BYTES - 1 + over);
        put_many(&b, " HTTP/1.1\r\nHost: a\r\n\r\n", 1);
        check_outcome(H1_SERVER, &b, want);
        buf_clear(&b);

        put_many(&b, "M", LIMIT_METHOD_BYTES + over);
        put_many(&b, " / HTTP/1.1\r\nHost: a\r\n\r\n", 1);
        check_outcome(H1_SERVER, &b, want);
        buf_clear(&b);

        put_many(&b, CHUNKED "0\r\nX: ", 1);
        put_many(&b, "x", LIMIT_HEAD_BYTES - 7 + over);
        put_many(&b, "\r\n\r\n", 1);
        check_outcome(H1_SERVER, &b, want);
        buf_clear(&b);

        put_many(&b, CHUNKED "0\r\n", 1);
        put_many(&b, "X: y\r\n", LIMIT_HEADERS + over);
        put_many(&b, "\r\n", 1);
        check_outcome(H1_SERVER, &b, want);
        buf_clear(&b);

        put_many(&b, CHUNKED "1;", 1);
        put_many(&b, "x", LIMIT_CHUNK_EXTENSION_BYTES + over);
        put_many(&b, "\r\nx\r\n0\r\n\r\n", 1);
        check_outcome(H1_SERVER, &b, want);
        buf_clear(&b);
    }
    put_many(&b, "\r\n", 1000);
    check_outcome(H1_SERVER, &b, ERR_LIMIT);
    buf_free(&b);
}

static void test_ends(void **state)
{
    (void)state;
    static const struct {
        const char *wire;
        enum h1_role role;
        enum err want;
        bool in_message;
    } cases[] = {
        {"", H1_SERVER, ERR_OK, false},
        {"\r\n", H1_SERVER, ERR_OK, false},
        {"G", H1_SERVER, ERR_TRUNCATED, true},
        {"GET / HTTP/1.1\r\nHost: a\r\n", H1_SERVER, ERR_TRUNCATED, true},
        {"GET / HTTP/1.1\r\nHost: a\r\n\r\n", H1_SERVER, ERR_OK, false},
        {POST "Content-Length: 5\r\n\r\nhell", H1_SERVER, ERR_TRUNCATED, true},
        {CHUNKED "1\r\nx\r\n", H1_SERVER, ERR_TRUNCATED, true},
        {CHUNKED "0\r\n", H1_SERVER, ERR_TRUNCATED, true},
        {CHUNKED "0\r\nX: y\r\n", H1_SERVER, ERR_TRUNCATED, true},
        {"", H1_CLIENT, ERR_OK, false},
        {"HTTP/1.1 100 C\r\n\r\n", H1_CLIENT, ERR_TRUNCATED, true},
        {"HTTP/1.1 200 OK\r\n\r\n", H1_CLIENT, ERR_OK, true},
        {"HTTP/1.1 200 OK\r\n\r\nabc", H1_CLIENT, ERR_OK, true},
        {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nab", H1_CLIENT, ERR_TRUNCATED, true},
        {"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", H1_CLIENT, ERR_OK, false},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct transcript t = {.heads = 0};
        struct h1 *codec;
        size_t used;
        assert_int_equal(h1_create(&codec, cases[i].role, &transcript_events, &t), ERR_OK);
        assert_int_equal(h1_feed(codec, span_str(cases[i].wire), &used), ERR_OK);
        assert_int_equal(used, strlen(cases[i].wire));
        assert_int_equal(h1_in_message(codec), cases[i].in_message);
        if (h1_eof(codec) != cases[i].want)
            fail_msg("%s", cases[i].wire);
        assert_int_equal(t.ends, cases[i].want == ERR_OK && t.heads > 0);
        h1_destroy(&codec);
        transcript_free(&t);
    }
}

static void test_counts(void **state)
{
    (void)state;
    struct transcript t = {.heads = 0};
    struct h1 *codec;
    size_t used;
    assert_int_equal(h1_create(&codec, H1_SERVER, &transcript_events, &t), ERR_OK);
    assert_int_equal(h1_feed(codec, SPAN("\r\n" CHUNKED "3;a\r\nabc\r\n0\r\nX: y\r\n\r\nrest"), &used), ERR_OK);
    assert_int_equal(used, 2 + strlen(CHUNKED) + 21);
    assert_int_equal(h1_message(codec)->head_bytes, strlen(CHUNKED));
    assert_int_equal(h1_message(codec)->body_wire_bytes, 21);
    assert_int_equal(h1_feed(codec, SPAN("rest"), &used), ERR_OK); /* nothing more before h1_next() */
    assert_int_equal(used, 0);
    h1_destroy(&codec);
    transcript_free(&t);
}

struct end_counts {
    struct h1 *codec;
    uint64_t head, body;
    size_t ends;
};

static enum err counts_head(void *ctx, const struct head *head, const struct h1_message *message)
{
    (void)ctx, (void)head, (void)message;
    return ERR_OK;
}

static enum err counts_body(void *ctx, struct span bytes)
{
    (void)ctx, (void)bytes;
    return ERR_OK;
}

static enum err counts_trailers(void *ctx, const struct headers *trailers)
{
    (void)ctx, (void)trailers;
    return ERR_OK;
}

static enum err counts_end(void *ctx)
{
    struct end_counts *c = ctx;
    c->head = h1_message(c->codec)->head_bytes;
    c->body = h1_message(c->codec)->body_wire_bytes;
    c->ends++;
    return ERR_OK;
}

/* Whoever is told of the end reads how much was on the wire: all of it by then, however it came. */
static void test_counts_at_the_end(void **state)
{
    static const struct h1_events events = {counts_head, NULL, counts_body, counts_trailers, counts_end};
    static const struct {
        const char *head, *body;
    } cases[] = {
        {"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", "hello"},
        {"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", "5;a=b\r\nhello\r\n0\r\nX: y\r\n\r\n"},
        {"HTTP/1.1 200 OK\r\n\r\n", "until the connection closes"},
        {"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", ""},
        {"HTTP/1.1 204 No Content\r\n\r\n", ""},
    };
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct buf wire = BUF_INIT;
        assert_int_equal(buf_printf(&wire, "%s%s", cases[i].head, cases[i].body), ERR_OK);
        for (size_t chunk = 1; chunk <= wire.n; chunk++) {
            struct end_counts c = {.ends = 0};
            size_t used;
            assert_int_equal(h1_create(&c.codec, H1_CLIENT, &events, &c), ERR_OK);
            h1_expect(c.codec, SPAN("GET"));
            for (size_t at = 0; at < wire.n; at += used)
                assert_int_equal(h1_feed(c.codec, span_first(span_from(buf_span(&wire), at), chunk), &used), ERR_OK);
            assert_int_equal(h1_eof(c.codec), ERR_OK);
            assert_int_equal(c.ends, 1);
            assert_int_equal(c.head, strlen(cases[i].head));
            assert_int_equal(c.body, strlen(cases[i].body));
            h1_destroy(&c.codec);
        }
        buf_free(&wire);
    }
}

static void test_callback_error(void **state)
{
    (void)state;
    struct transcript t = {.refuse = ERR_CANCELLED};
    struct h1 *codec;
    size_t used;
    assert_int_equal(h1_create(&codec, H1_SERVER, &transcript_events, &t), ERR_OK);
    assert_int_equal(h1_feed(codec, SPAN("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), &used), ERR_CANCELLED);
    assert_int_equal(h1_feed(codec, SPAN("GET"), &used), ERR_CANCELLED);
    h1_destroy(&codec);
    h1_destroy(&codec);
    transcript_free(&t);
}

/* Every allocation fails once: the codec says so and can be destroyed. */
static void test_allocation_failure(void **state)
{
    (void)state;
    struct span wire = SPAN("GET http://A.b?q HTTP/1.1\r\nHost: x\r\n\r\n" CHUNKED "3\r\nabc\r\n0\r\nX: y\r\n\r\n");
    for (size_t chunk = 1; chunk <= wire.n; chunk += 6) {
        bool done = false;
        for (long n = 0; !done && n < 100; n++) {
            struct transcript t = {.heads = 0};
            struct h1 *codec = NULL;
            size_t used;
            mem_fail_after(n);
            enum err e = h1_create(&codec, H1_SERVER, &transcript_events, &t);
            if (!e)
                e = transcript_run(&t, codec, wire, chunk, NULL, &used);
            mem_fail_after(-1);
            assert_true(e == ERR_OK || e == ERR_NOMEM);
            done = e == ERR_OK;
            h1_destroy(&codec);
            transcript_free(&t);
        }
        assert_true(done);
    }
}

static enum err quiet_head(void *ctx, const struct head *h, const struct h1_message *m)
{
    (void)h;
    (void)m;
    ++*(size_t *)ctx;
    return ERR_OK;
}

static enum err quiet_body(void *ctx, struct span bytes)
{
    (void)ctx;
    (void)bytes;
    return ERR_OK;
}

static enum err quiet_end(void *ctx)
{
    (void)ctx;
    return ERR_OK;
}

/* After the first messages no allocation happens any more. */
static void test_steady_state_allocates_nothing(void **state)
{
    (void)state;
    static const struct h1_events events = {.head = quiet_head, .body = quiet_body, .end = quiet_end};
    static const char wire[] = "GET http://A.example/?a HTTP/1.1\r\nHost: other\r\nAccept: */*\r\n\r\n" CHUNKED
                               "3\r\nabc\r\n0\r\nX: y\r\n\r\n";
    struct h1 *codec;
    size_t heads = 0;
    assert_int_equal(h1_create(&codec, H1_SERVER, &events, &heads), ERR_OK);
    for (size_t round = 0; round < 100; round++) {
        if (round == 2)
            mem_fail_after(0);
        size_t chunk = round < 2 ? sizeof wire : round % 40 + 1;
        for (size_t at = 0; at < sizeof wire - 1;) {
            size_t used = 0;
            assert_int_equal(h1_feed(codec, span_of(wire + at, MIN(chunk, sizeof wire - 1 - at)), &used), ERR_OK);
            at += used;
            if (!h1_in_message(codec))
                h1_next(codec);
        }
    }
    mem_fail_after(-1);
    assert_int_equal(heads, 200);
    h1_destroy(&codec);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_requests),
        cmocka_unit_test(test_responses),
        cmocka_unit_test(test_refused_requests),
        cmocka_unit_test(test_refused_responses),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_ends),
        cmocka_unit_test(test_counts),
        cmocka_unit_test(test_counts_at_the_end),
        cmocka_unit_test(test_callback_error),
        cmocka_unit_test(test_allocation_failure),
        cmocka_unit_test(test_steady_state_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
