"""What passes through unchanged, byte for byte, in record and again in replay; and when a request is sent a second time."""

import threading

import pytest
from raw import OK, Client, answering, get, post, raw_origin  # noqa: F401 (a fixture)
from support import PATIENCE_S, export_har, flows, rows

BACKENDS = pytest.mark.parametrize("backend", ["io_uring", "epoll"])

# Fields in an order, case and number that no library would choose; bytes that are not UTF-8; a reason phrase of its own.
FIELDS = (b"Set-Cookie: a=1; Path=/\r\nsErVeR: odd\r\nset-cookie: b=2\r\nX-Empty: \r\nX-Latin: caf\xe9\r\nSET-COOKIE: a=3\r\n"
          b"x-b: 2\r\nX-A: 1\r\nX-B: 3\r\nVary: Accept,Accept-Language\r\n")
BODY = b"The answer.\n" * 3
CHUNKED = b"5;name=value;flag\r\nThe a\r\n0b ; q=\"a;b\"\r\nnswer.\nThe \r\n" + b"14\r\n" + BODY[16:36] + b"\r\n"

# path, method, what the origin says, what the client must be told (None: the same)
ANSWERS = [
    ("/length", "GET", b"HTTP/1.1 200 Fine by me\r\n" + FIELDS + b"Content-Length: 36\r\n\r\n" + BODY),
    ("/length-first", "GET", b"HTTP/1.1 200 \r\ncontent-LENGTH: 36\r\n" + FIELDS + b"\r\n" + BODY),
    ("/chunked", "GET", b"HTTP/1.1 200 OK\r\n" + FIELDS + b"transfer-encoding: Chunked\r\nX-Last: 1\r\n\r\n" + CHUNKED + b"0\r\n\r\n"),
    ("/trailers", "GET", b"HTTP/1.1 200 OK\r\nTrailer: X-Sum, x-other\r\n" + FIELDS + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNKED
     + b"0;last\r\nX-Sum: 1\r\nx-other: caf\xe9\r\nX-Sum: 2\r\n\r\n"),
    ("/hints", "GET", b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nlink: </b.css>\r\n\r\n"
     b"HTTP/1.1 103 Early Hints\r\nLink: </c.css>\r\n\r\nHTTP/1.1 200 OK\r\n" + FIELDS + b"Content-Length: 0\r\n\r\n"),
    ("/head", "HEAD", b"HTTP/1.1 200 OK\r\nContent-Length: 123456\r\n" + FIELDS + b"\r\n"),
    ("/head-chunked", "HEAD", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n" + FIELDS + b"\r\n"),
    ("/204", "GET", b"HTTP/1.1 204 No Content\r\n" + FIELDS + b"\r\n"),
    ("/304", "GET", b"HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 99\r\n" + FIELDS + b"\r\n"),
    ("/empty", "GET", b"HTTP/1.1 404 Not there\r\n" + FIELDS + b"Content-Length: 0\r\n\r\n"),
    ("/odd-status", "GET", b"HTTP/1.1 799 Whatever\r\nContent-Length: 2\r\n\r\nok"),
    ("/lower", "propfind", b"HTTP/1.1 207 Multi-Status\r\nContent-Length: 2\r\n\r\nok"),
]
HEADS = {path: said.split(b"\r\n\r\n", said.count(b"HTTP/1.1") - 1)[-1].split(b"\r\n\r\n")[0] + b"\r\n\r\n" for path, _, said in ANSWERS}


def seen_by_client(port, origin):
    """Each answer as (informational heads, head, body, trailers): what framing may change is not in it."""
    out = {}
    with Client(port) as c:
        for path, method, _ in ANSWERS:
            m = c.ask(f"{method} {origin.url}{path} HTTP/1.1\r\nHost: {origin.authority}\r\nTE: trailers\r\nConnection: TE\r\n\r\n".encode(), method)
            out[path] = (m.informational, m.head, m.body, m.trailers)
    return out


@pytest.mark.quick
@pytest.mark.sanitize
@BACKENDS
def test_answers_reach_the_client_byte_for_byte_in_record_and_in_replay(ringtape, raw_origin, tmp_path, backend):  # noqa: F811
    """Promises 17 and 27."""
    tape = tmp_path / "t.tape"
    origin = raw_origin(answering(*(said for _, _, said in ANSWERS)))
    r = ringtape("record", "-o", tape, "--backend", backend)
    first = seen_by_client(r.port, origin)
    r.stop()
    origin.stop()
    for path, _, said in ANSWERS:
        informational, head, body, trailers = first[path]
        assert head == HEADS[path], path
        assert b"".join(informational) == said[:said.index(HEADS[path])], path
        assert body == (BODY if path in ("/length", "/length-first", "/chunked", "/trailers") else said[-2:] if said.endswith(b"ok") else b""), path
    assert first["/trailers"][3] == b"X-Sum: 1\r\nx-other: caf\xe9\r\nX-Sum: 2\r\n"
    assert all(f["complete"] for f in flows(tape)) and len(flows(tape)) == len(ANSWERS)
    export_har(tape, tmp_path)
    r = ringtape("replay", tape, "--backend", backend)
    assert seen_by_client(r.port, origin) == first
    r.stop()


@BACKENDS
def test_requests_reach_the_origin_byte_for_byte(ringtape, raw_origin, tmp_path, backend):  # noqa: F811
    """Promises 17 and 25: order, case and number of fields are the client's; only what belongs to its connection is left out."""
    tape = tmp_path / "t.tape"
    origin = raw_origin(answering(OK, OK))
    fields = b"uSeR-aGeNt: odd\r\nCookie: a=1\r\ncookie: b=2\r\nX-Empty: \r\nX-Latin: caf\xe9\r\naccept: */*\r\nX-A: 2\r\nX-A: 1\r\n"
    r = ringtape("record", "-o", tape, "--workers", 1, "--backend", backend)
    with Client(r.port) as c:
        head = f"GET {origin.url}/a%2fb/../c?q=%C3%BC&&r#x HTTP/1.1\r\nhOsT: {origin.authority}\r\n".encode()
        head = head.replace(b"#x", b"")
        assert c.ask(head + fields + b"Proxy-Connection: keep-alive\r\nConnection: keep-alive, X-Hop\r\nX-Hop: 1\r\nKeep-Alive: 5\r\n\r\n").body == b"ok"
        chunked = b"5;ext=1\r\nhello\r\n7\r\n, world\r\n0;end\r\nX-Sum: 1\r\nx-sum: 2\r\n\r\n"
        head = f"POST {origin.url}/post HTTP/1.1\r\nHost: {origin.authority}\r\nTrailer: X-Sum\r\n".encode()
        assert c.ask(head + fields + b"Transfer-Encoding: chunked\r\n\r\n" + chunked).body == b"ok"
    r.stop()
    origin.stop()
    heard = origin.heard()
    expected = b"GET /a%2fb/../c?q=%C3%BC&&r HTTP/1.1\r\nhOsT: " + origin.authority.encode() + b"\r\n" + fields + b"\r\n"
    assert heard.startswith(expected), heard
    rest = heard[len(expected):]
    head, _, body = rest.partition(b"\r\n\r\n")
    assert head == (b"POST /post HTTP/1.1\r\nHost: " + origin.authority.encode() + b"\r\nTrailer: X-Sum\r\n" + fields
                    + b"Transfer-Encoding: chunked")
    assert body.endswith(b"0\r\nX-Sum: 1\r\nx-sum: 2\r\n\r\n")
    trailers = rows(tape, "select name, value from headers where side = 'request' and trailer = 1 order by seq")
    assert [(t["name"], t["value"]) for t in trailers] == [("X-Sum", "1"), ("x-sum", "2")]
    (content,) = rows(tape, "select content from bodies where side = 'request'")
    assert content["content"] == b"hello, world"


@BACKENDS
def test_expect_100_continue(ringtape, raw_origin, tmp_path, backend):  # noqa: F811
    """The client waits for a 100 that the origin says; in replay nobody else is there to say it."""
    tape = tmp_path / "t.tape"

    def script(peer):
        peer.until(b"\r\n\r\n")
        assert not peer.waiting, "the body has not been asked for"
        peer.send(b"HTTP/1.1 100 Continue\r\nX-Odd: yes\r\n\r\n")
        assert peer.exactly(5) == b"12345"
        peer.send(OK)
        peer.until(b"\r\n\r\n")
        peer.send(b"HTTP/1.1 417 No\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")

    origin = raw_origin(script)
    head = f"POST {origin.url}/%s HTTP/1.1\r\nHost: {origin.authority}\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n"

    def asked(port):
        with Client(port) as c:
            c.send((head % "willing").encode())
            assert c.until(b"\r\n\r\n").startswith(b"HTTP/1.1 100 Continue\r\n")
            c.send(b"12345")
            return c.response().head

    r = ringtape("record", "-o", tape, "--workers", 1, "--backend", backend)
    first = asked(r.port)
    with Client(r.port) as c:
        c.send((head % "unwilling").encode())
        refusal = c.response()
        assert (refusal.status, refusal.informational) == (417, [])
        assert c.rest() == b"", "the body that never came would otherwise be taken for a request"
    r.stop()
    origin.stop()
    r = ringtape("replay", tape, "--backend", backend)
    assert asked(r.port) == first
    r.stop()
    (row,) = rows(tape, "select informational from flow where path = '/willing'")
    assert row["informational"].startswith('[[100,"Continue",[["X-Odd","yes"]]'), row


@BACKENDS
def test_each_piece_is_passed_on_when_it_comes(ringtape, raw_origin, tmp_path, backend):  # noqa: F811
    """Promises 15 and 16: the origin goes on only when the client has what came before, in both directions."""
    tape = tmp_path / "t.tape"
    arrived = threading.Semaphore(0)
    pieces = [b"data: %d\n\n" % i for i in range(20)]

    def script(peer):
        peer.until(b"\r\n\r\n")
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
        for piece in pieces:
            assert peer.until(b"\r\n" + piece + b"\r\n")
            peer.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            assert arrived.acquire(timeout=PATIENCE_S)
        peer.send(b"0\r\n\r\n")
        peer.until(b"0\r\n\r\n")

    origin = raw_origin(script)
    r = ringtape("record", "-o", tape, "--backend", backend)
    with Client(r.port) as c:
        c.send(f"POST {origin.url}/ HTTP/1.1\r\nHost: {origin.authority}\r\nTransfer-Encoding: chunked\r\n\r\n".encode())
        c.until(b"\r\n\r\n")
        for piece in pieces:
            c.send(b"%x\r\n%s\r\n" % (len(piece), piece))
            c.until(piece + b"\r\n")
            arrived.release()
        c.send(b"0\r\n\r\n")
        c.until(b"0\r\n\r\n")
    origin.stop()
    r.stop()
    (flow,) = flows(tape)
    assert flow["complete"]
    for row in rows(tape, "select content from bodies"):
        assert row["content"] == b"".join(pieces)


def test_what_was_cut_is_cut_again_in_replay(ringtape, raw_origin, tmp_path):  # noqa: F811
    tape = tmp_path / "t.tape"

    def script(peer):
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nonly this")
        peer.close()

    origin = raw_origin(script)

    def asked(port):
        with Client(port) as c:
            c.send(get(origin))
            try:
                return c.rest()
            except ConnectionResetError:
                return c.waiting

    r = ringtape("record", "-o", tape)
    first = asked(r.port)
    r.stop()
    assert first.endswith(b"\r\n\r\nonly this")
    r = ringtape("replay", tape)
    assert asked(r.port) == first
    r.stop()


# --- sending it again ---------------------------------------------------------------------------------------------------

def dying(peer, dead):
    """Answers once; closes at the second request without a word."""
    peer.request()
    peer.send(OK)
    peer.request()
    dead.append(peer)
    peer.close()


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE", "OPTIONS"])
@BACKENDS
def test_a_pooled_connection_that_dies_costs_an_idempotent_request_nothing(ringtape, raw_origin, tmp_path, method, backend):  # noqa: F811
    tape = tmp_path / "t.tape"
    dead, again = [], []

    def script(peer):
        if not dead:
            return dying(peer, dead)
        again.append(peer.request())
        peer.send(OK if method != "HEAD" else OK[:-2])

    origin = raw_origin(script)
    r = ringtape("record", "-o", tape, "--workers", 1, "--backend", backend)
    with Client(r.port) as c:
        assert c.ask(get(origin)).body == b"ok"
        assert c.ask(post(origin, b"twice").replace(b"POST", method.encode()), method).status == 200
    r.stop()
    origin.stop()
    assert len(dead) == 1 and [m.body for m in again] == [b"twice"]
    assert [(f["status"], f["complete"], f["request_bytes"]) for f in flows(tape)] == [(200, 1, 0), (200, 1, 5)]


@BACKENDS
def test_a_post_is_never_sent_twice(ringtape, raw_origin, tmp_path, backend):  # noqa: F811
    tape = tmp_path / "t.tape"
    dead = []
    origin = raw_origin(lambda peer: dying(peer, dead))
    r = ringtape("record", "-o", tape, "--workers", 1, "--backend", backend)
    with Client(r.port) as c:
        assert c.ask(get(origin)).body == b"ok"
        assert c.ask(post(origin, b"once")).status == 502
    r.stop()
    origin.stop()
    assert len(origin.peers) == 1
    assert [(f["status"], f["complete"]) for f in flows(tape)] == [(200, 1), (502, 0)]
    assert flows(tape)[1]["error"].startswith("closed: ")


@BACKENDS
def test_a_get_is_sent_again_once_and_not_after_a_byte_of_its_answer(ringtape, raw_origin, tmp_path, backend):  # noqa: F811
    tape = tmp_path / "t.tape"
    dead = []

    def script(peer):
        if b"/half" in peer.request().head:
            peer.send(OK)
            peer.request()
            peer.send(b"HTTP/1.1 200 OK\r\n")
        elif not dead:
            peer.send(OK)
            peer.request()
            dead.append(peer)
        else:
            dead.append(peer)
        peer.close()

    origin = raw_origin(script)
    r = ringtape("record", "-o", tape, "--workers", 1, "--backend", backend)
    with Client(r.port) as c:
        assert c.ask(get(origin, "/")).body == b"ok"
        assert c.ask(get(origin, "/")).status == 502
        assert len(dead) == 2, "on the pooled one, and once more on a fresh one"
        assert c.ask(get(origin, "/half")).body == b"ok"
        assert c.ask(get(origin, "/half")).status == 502
    r.stop()
    origin.stop()
    assert len(origin.peers) == 3, "no second attempt after the first byte"
    assert [f["complete"] for f in flows(tape)] == [1, 0, 1, 0]


@BACKENDS
def test_a_connection_that_the_origin_has_closed_is_not_used_again(ringtape, raw_origin, tmp_path, backend):  # noqa: F811
    """Then a POST, too, gets a fresh one."""
    tape = tmp_path / "t.tape"
    seen = threading.Semaphore(0)

    def script(peer):
        peer.request()
        peer.send(OK)
        peer.finish()
        assert peer.rest() == b""  # the proxy has closed its side, so it knows
        seen.release()

    origin = raw_origin(script)
    r = ringtape("record", "-o", tape, "--workers", 1, "--backend", backend)
    with Client(r.port) as c:
        for _ in range(3):
            assert c.ask(post(origin, b"x")).body == b"ok"
            assert seen.acquire(timeout=PATIENCE_S)
    r.stop()
    assert len(origin.peers) == 3
    assert all(f["complete"] for f in flows(tape))
