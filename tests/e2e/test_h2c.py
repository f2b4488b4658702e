"""Upgrade: h2c (RFC 7540 §3.2): a client's first request comes over HTTP/1.1 and is answered on HTTP/2's stream 1. Nothing of it reaches the origin."""

import base64
import contextlib
import threading

import h2.config
import h2.connection
import h2.events
import http2_client
import pytest
from raw import OK, Client, get, raw_origin  # noqa: F401 (a fixture)
from support import PATIENCE_S, clean_env, export_har, flows, rows, run, until

BACKENDS = pytest.mark.parametrize("backend", ["io_uring", "epoll"])
CURL = ("curl", "-sS", "-w", "%{http_version} %{response_code}\n")
SETTINGS = "AAMAAABkAAQCAAAAAAIAAAAA"  # curl's
OFFER = f"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: {SETTINGS}\r\n"
GOAWAY = 7
SWITCH = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n"


class Upgraded(http2_client.Client):
    """python3-h2 on a bare socket: `begin` sends the request and the preface, which some clients do not keep back until they have the 101."""

    def __init__(self, peer):
        self.peer, self.sock = peer, peer.sock
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8"))
        self.offer = f"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: {self.h2.initiate_upgrade_connection().decode()}\r\n"
        self.got, self.ended, self.heads, self.trailers, self.informational, self.pongs = {1: b""}, {}, {}, {}, [], 0

    def begin(self, request, piece=None, early=False):
        head, end = request[:-2], request[-2:]
        wire = head + self.offer.encode() + end + (self.h2.data_to_send() if early else b"")
        for at in range(0, len(wire), piece or len(wire)):
            self.peer.send(wire[at:at + (piece or len(wire))])
        assert self.peer.until(b"\r\n\r\n") == SWITCH
        self._send()
        return self

    def get_of(self, authority, path):
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, [(":method", "GET"), (":scheme", "http"), (":authority", authority), (":path", path)], end_stream=True)
        self.got[stream] = b""
        self._send()
        return stream

    def _receive(self):
        if not self.peer.waiting:
            assert self.peer.fill(), "the connection was closed"
        for event in self.h2.receive_data(self.peer.take(len(self.peer.waiting))):
            if isinstance(event, h2.events.ResponseReceived):
                self.heads[event.stream_id] = dict(event.headers)
            elif isinstance(event, h2.events.InformationalResponseReceived):
                self.informational.append(dict(event.headers))
            elif isinstance(event, h2.events.TrailersReceived):
                self.trailers[event.stream_id] = dict(event.headers)
            elif isinstance(event, h2.events.DataReceived):
                self.got[event.stream_id] += event.data
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
                self.ended[event.stream_id] = event
            elif isinstance(event, h2.events.PingAckReceived):
                self.pongs += 1
            elif isinstance(event, h2.events.ConnectionTerminated):
                raise AssertionError(f"GOAWAY {event.error_code}")
        self._send()


def echo(peer):
    """Answers each request with its head and its content."""
    while True:
        while b"\r\n\r\n" not in peer.waiting:
            if not peer.fill():
                return
        request = peer.request()
        body = b"" if request.head.startswith(b"HEAD ") else request.head + request.body
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(request.head + request.body), body))


def versions(tape):
    return [(r["request_version"], r["response_version"]) for r in rows(tape, "select * from flow order by id")]


def untouched_by_the_offer(text):
    return not any(word in text.lower() for word in (b"upgrade", b"http2-settings", b"h2c", SETTINGS.lower().encode()))


def of_the_offer(tape):
    return rows(tape, "select * from headers where lower(name) in ('upgrade', 'http2-settings', 'connection') and side = 'request'")


# --- programs ------------------------------------------------------------------------------------------------------------

@pytest.mark.quick
@pytest.mark.sanitize
@pytest.mark.thread
def test_curl_through_the_proxy(session, origin):
    """Each URL asks anew: what curl 7.88 says to a proxy on a connection of HTTP/2 is refused as not begun, and comes again as an upgrade."""
    urls = [origin.url(path) for path in ("/hello.txt", "/data.json", "/gzip/big.txt")]
    out = session.both(origin, *CURL, "--http2", *urls, least=3)
    assert out.count(b"2 200\n") == 3 and out.startswith(b"hello, world\n2 200\n")
    assert versions(session.tape) == 3 * [("HTTP/1.1", "HTTP/1.1")], "the client's request did come over HTTP/1.1"
    assert not of_the_offer(session.tape)
    assert session.har["log"]["entries"][0]["request"]["httpVersion"] == "HTTP/1.1"


def test_curl_asks_for_a_head(session, origin):
    out = session.both(origin, *CURL, "--http2", "-I", origin.url("/big.bin"))
    assert out.startswith(b"HTTP/1.1 101 Switching Protocols\r\n") and b"\r\n\r\nHTTP/2 200 \r\n" in out
    assert b"content-length: 1048576\r\n" in out and out.endswith(b"\r\n\r\n2 200\n")
    flow, = flows(session.tape)
    assert flow["method"] == "HEAD" and flow["response_bytes"] == 0 and flow["complete"]


def test_curl_in_reverse(ringtape, origin, tmp_path):
    """One connection: the first request is the upgrade, the others are streams."""
    tape = tmp_path / "t.tape"

    def ask(port):
        urls = [f"http://127.0.0.1:{port}/{name}" for name in ("hello.txt", "big.bin", "data.json")]
        return run(*CURL, "--http2", *urls, env=clean_env()).stdout, run(*CURL, "--http2", "-I", urls[0], env=clean_env()).stdout

    r = ringtape("record", "-o", tape, "--reverse", origin.url(""))
    first = ask(r.port)
    r.stop()
    assert first[0].count(b"2 200\n") == 3 and (origin.www / "big.bin").read_bytes() in first[0]
    assert b"HTTP/2 200" in first[1]
    assert [v for v, _ in versions(tape)] == ["HTTP/1.1", "HTTP/2", "HTTP/2", "HTTP/1.1"]
    assert all(f["complete"] for f in flows(tape)) and not of_the_offer(tape)
    assert len(rows(tape, "select * from connection where side = 'client'")) == 2
    har = export_har(tape, tmp_path)
    assert [e["request"]["httpVersion"] for e in har["log"]["entries"]] == ["HTTP/1.1", "HTTP/2", "HTTP/2", "HTTP/1.1"]
    origin.stop()
    r = ringtape("replay", tape, "--reverse", origin.url(""))
    assert ask(r.port) == first
    r.stop()


def test_nghttp(ringtape, origin, tmp_path):
    tape = tmp_path / "t.tape"

    bodies = [(origin.www / name).read_bytes() for name in ("big.bin", "hello.txt", "data.json")]

    def ask(port):
        """One alone, and two on one connection, of which either may come first."""
        url = f"http://127.0.0.1:{port}"
        one, two = (run("nghttp", "-u", *urls, env=clean_env()).stdout for urls in ([f"{url}/big.bin"], [f"{url}/hello.txt", f"{url}/data.json"]))
        assert one == bodies[0] and two in (bodies[1] + bodies[2], bodies[2] + bodies[1])

    r = ringtape("record", "-o", tape, "--reverse", origin.url(""))
    ask(r.port)
    r.stop()
    assert [(f["path"], f["http_version"]) for f in flows(tape)] == [("/big.bin", "HTTP/1.1"), ("/hello.txt", "HTTP/1.1"), ("/data.json", "HTTP/2")]
    origin.stop()
    r = ringtape("replay", tape, "--reverse", origin.url(""))
    ask(r.port)
    r.stop()


def test_a_request_with_content_stays_http_1_1(session, origin):
    """And so does its connection, until one without asks again."""
    out = session.both(origin, *CURL, "--http2", "-d", "a=1", origin.url("/post"), "--next", *CURL[1:], "--http2", origin.url("/hello.txt"),
                       "--next", *CURL[1:], "--http2", "-d", "a=2", origin.url("/post"), least=3)
    assert out == b"thanks\n1.1 200\nhello, world\n2 200\nthanks\n1.1 200\n"
    assert not of_the_offer(session.tape)


def test_a_post_without_content_is_upgraded(session, origin):
    out = session.both(origin, *CURL, "--http2", "-d", "", origin.url("/post"))
    assert out == b"thanks\n2 200\n"


def test_no_http2(session, origin):
    out = session.record(*CURL, "--http2", origin.url("/hello.txt"), options=("--no-http2",))
    assert out == b"hello, world\n1.1 200\n"
    assert not of_the_offer(session.tape)


def test_the_same_tape_answers_a_client_of_http_1_1(session, origin):
    """Which version carried it is not part of what was asked."""
    session.record(*CURL, "--http2", origin.url("/hello.txt"))
    origin.stop()
    assert session.replay(*CURL, "--http1.1", origin.url("/hello.txt")) == b"hello, world\n1.1 200\n"
    assert session.report["missed"] == 0


@pytest.mark.parametrize("mode", ["record", "replay"])
def test_the_page(ringtape, session, origin, tmp_path, mode):
    """Through the proxy, and asked directly."""
    session.record("curl", "-sS", origin.url("/hello.txt"))
    r = ringtape(*(("record", "-o", tmp_path / "page.tape") if mode == "record" else ("replay", session.tape)))
    for url, options in (("http://ringtape/", ("-x", r.proxy)), (f"http://127.0.0.1:{r.port}/", ())):
        out = run(*CURL, "--http2", *options, url, env=clean_env()).stdout
        assert b"<title>ringtape</title>" in out and out.endswith(b"2 200\n")
    r.stop()


def test_whom_the_first_request_meant_is_what_its_form_said(ringtape, raw_origin, tmp_path):  # noqa: F811
    """As over HTTP/1.1, where HTTP/2 has to guess by the name."""
    origin = raw_origin(echo)
    r = ringtape("record", "-o", tmp_path / "t.tape", "--proxy-auth", "me:secret")
    with Client(r.port) as peer:
        c = Upgraded(peer).begin(f"GET / HTTP/1.1\r\nHost: {origin.authority}\r\n\r\n".encode())
        assert b"<title>ringtape</title>" in c.finish(1) and c.heads[1][":status"] != "407", "origin-form: it took us for the web server"
        c.finish(stream := c.get_of(origin.authority, "/"))
        assert c.heads[stream][":status"] == "407"
    with Client(r.port) as peer:
        basic = f"Proxy-Authorization: Basic {base64.b64encode(b'me:secret').decode()}\r\n"
        c = Upgraded(peer).begin(f"GET http://127.0.0.1:{r.port}/ HTTP/1.1\r\nHost: 127.0.0.1:{r.port}\r\n{basic}\r\n".encode())
        c.finish(1)
        assert c.heads[1][":status"] == "508", "absolute form: it asks the proxy for the proxy"
    r.stop()
    assert origin.heard() == b""


# --- bytes ---------------------------------------------------------------------------------------------------------------

@pytest.mark.quick
@pytest.mark.sanitize
@BACKENDS
@pytest.mark.parametrize("early", [False, True])
@pytest.mark.parametrize("piece", [1, 50, None])
def test_in_pieces(ringtape, raw_origin, tmp_path, piece, early, backend):  # noqa: F811
    """After a request that stays HTTP/1.1; and two streams follow."""
    origin = raw_origin(echo)
    tape = tmp_path / "t.tape"

    def ask(port):
        with Client(port) as peer:
            plain = peer.ask(get(origin, "/0")).body
            c = Upgraded(peer).begin(get(origin, "/1", "X-Case: Kept\r\nConnection: X-Gone\r\nX-Gone: 1\r\n"), piece, early)
            streams = [1, c.get_of(origin.authority, "/3"), c.get_of(origin.authority, "/5")]
            answers = [c.finish(s) for s in streams]
            assert [c.heads[s][":status"] for s in streams] == 3 * ["200"] and c.ping()
            return plain, answers

    r = ringtape("record", "-o", tape, "--backend", backend)
    plain, answers = first = ask(r.port)
    r.stop()
    host = origin.authority.encode()
    assert plain.startswith(b"GET /0 HTTP/1.1\r\n") and [a.split()[1] for a in answers] == [b"/1", b"/3", b"/5"]
    assert answers[0] == b"GET /1 HTTP/1.1\r\nHost: %s\r\nX-Case: Kept\r\n\r\n" % host, "this is all that the origin sees of it"
    assert untouched_by_the_offer(origin.heard())
    assert [v for v, _ in versions(tape)] == ["HTTP/1.1", "HTTP/1.1", "HTTP/2", "HTTP/2"]
    flow = flows(tape)[1]
    assert flow["url"] == origin.url + "/1" and flow["complete"] and not flow["error"]
    assert len(rows(tape, "select * from connection where side = 'client'")) == 1
    origin.stop()
    r = ringtape("replay", tape, "--backend", backend)
    assert ask(r.port) == first
    r.stop()


WRONG = {
    "two Settings": f"{OFFER}HTTP2-Settings: {SETTINGS}\r\n",
    "no Settings": "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n",
    "Settings that Connection does not list": f"Connection: Upgrade\r\nUpgrade: h2c\r\nHTTP2-Settings: {SETTINGS}\r\n",
    "Settings of the other alphabet": OFFER.replace(SETTINGS, "AAQAAP//"),
    "Settings with padding": OFFER.replace(SETTINGS, "AAQ="),
    "Settings that are none": OFFER.replace(SETTINGS, "*"),
    "empty Settings": OFFER.replace(SETTINGS, ""),
    "Settings cut short": OFFER.replace(SETTINGS, SETTINGS[:-1]),
    "a window that is too large": OFFER.replace(SETTINGS, "AASAAAAA"),
    "another protocol too": OFFER.replace("h2c", "foo, h2c"),
    "another protocol after it": OFFER.replace("h2c", "h2c, foo"),
    "two Upgrades": f"{OFFER}Upgrade: h2c\r\n",
    "two Upgrades that differ": f"{OFFER}Upgrade: foo\r\n",
    "the connection's end": OFFER.replace("Connection: ", "Connection: close, "),
    "content": OFFER + "Content-Length: 2\r\n",
    "chunks": OFFER + "Transfer-Encoding: chunked\r\n",
}
CONTENT = {"content": b"hi", "chunks": b"2\r\nhi\r\n0\r\n\r\n"}


@pytest.mark.parametrize("wrong", WRONG)
def test_an_offer_that_is_not_taken_is_passed_over_in_silence(ringtape, raw_origin, tmp_path, wrong):  # noqa: F811
    origin = raw_origin(echo)
    r = ringtape("record", "-o", tmp_path / "t.tape")
    with Client(r.port) as c:
        answer = c.ask(get(origin, "/a", WRONG[wrong]) + CONTENT.get(wrong, b""))
        assert answer.status == 200 and answer.head.startswith(b"HTTP/1.1 200 ")
        if "end" in wrong:
            assert c.rest() == b""
        else:
            assert c.ask(get(origin, "/b")).status == 200, "the connection goes on"
    r.stop()
    seen = origin.heard().lower()
    assert b"h2c" not in seen and b"http2-settings" not in seen
    assert (b"upgrade" in seen) == ("foo" in WRONG[wrong]), "the other protocol may still be asked for"
    assert versions(tmp_path / "t.tape")[0] == ("HTTP/1.1", "HTTP/1.1")


def test_within_a_tunnel_and_within_tls_the_offer_ends_here(ringtape, raw_origin, tmp_path, shared):  # noqa: F811
    """It was made to the origin, to which its connection is not ours to give; h2c is not for TLS (RFC 7540 §3.2)."""
    origin, secured = raw_origin(echo), raw_origin(echo, tls=shared.authority.issue("good"))
    request = f"GET /in HTTP/1.1\r\nHost: localhost\r\n{OFFER}\r\n".encode()
    r = ringtape("record", "-o", tmp_path / "t.tape", "--reverse", origin.url)
    with Client(r.port) as c:
        assert c.connect(origin.authority).ask(request).body.startswith(b"GET /in HTTP/1.1\r\n")
    with Client(r.port) as c:
        assert c.connect(secured.authority).secure(shared.ca).ask(request).body.startswith(b"GET /in HTTP/1.1\r\n")
    with Client(r.port) as c:
        assert c.secure(shared.ca, "127.0.0.1").ask(request).body.startswith(b"GET /in HTTP/1.1\r\n")
    r.stop()
    assert untouched_by_the_offer(origin.heard()) and untouched_by_the_offer(secured.heard())


@pytest.mark.parametrize("offer", [OFFER, OFFER.replace("h2c", "foo"), OFFER.replace("h2c", "h2c, foo")])
def test_http_1_0_has_no_upgrade(ringtape, raw_origin, tmp_path, offer):  # noqa: F811
    """Of any kind (RFC 9110 §7.8)."""
    origin = raw_origin(echo)
    r = ringtape("record", "-o", tmp_path / "t.tape")
    with Client(r.port) as c:
        c.send(get(origin, "/a", offer, "HTTP/1.0"))
        assert c.rest().startswith(b"HTTP/1.1 200 OK\r\n")
    r.stop()
    assert untouched_by_the_offer(origin.heard())


@BACKENDS
def test_proxy_auth(ringtape, raw_origin, tmp_path, backend):  # noqa: F811
    """The password is asked for over HTTP/1.1, and once."""
    origin, tape = raw_origin(echo), tmp_path / "t.tape"
    basic = f"Proxy-Authorization: Basic {base64.b64encode(b'me:secret').decode()}\r\n"
    r = ringtape("record", "-o", tape, "--proxy-auth", "me:secret", "--backend", backend)
    with Client(r.port) as peer:
        for extra in ("", basic.replace("Basic b", "Basic c")):
            assert peer.ask(get(origin, "/no", OFFER + extra)).status == 407
        c = Upgraded(peer).begin(get(origin, "/1", basic))
        assert c.finish(1).startswith(b"GET /1 ") and c.finish(c.get_of(origin.authority, "/3")).startswith(b"GET /3 ")
    out = run(*CURL, "--http2", "-x", f"http://me:secret@127.0.0.1:{r.port}", origin.url + "/curl", env=clean_env()).stdout
    assert out.startswith(b"GET /curl ") and out.endswith(b"2 200\n")
    r.stop()
    assert b"authorization" not in origin.heard().lower()
    assert [(f["path"], f["track"]) for f in flows(tape)] == [("/1", "me"), ("/3", "me"), ("/curl", "me")]


def test_trailers_and_hints_on_stream_1(ringtape, raw_origin, tmp_path):  # noqa: F811
    tape = tmp_path / "t.tape"

    def script(peer):
        peer.request()
        peer.send(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
                  b"3\r\nabc\r\n0\r\nX-Sum: 6\r\n\r\n")
        peer.rest()

    origin = raw_origin(script)

    def ask(port):
        with Client(port) as peer:
            c = Upgraded(peer).begin(get(origin))
            assert c.finish(1) == b"abc" and c.trailers[1] == {"x-sum": "6"}
            assert [(h[":status"], h["link"]) for h in c.informational] == [("103", "</a>")]

    r = ringtape("record", "-o", tape)
    ask(r.port)
    r.stop()
    origin.stop()
    r = ringtape("replay", tape)
    ask(r.port)
    r.stop()


@pytest.mark.sanitize
@BACKENDS
@pytest.mark.parametrize("how", ["reset", "fin", "rst"])
def test_a_client_that_leaves_stream_1(ringtape, raw_origin, tmp_path, how, backend):  # noqa: F811
    """The origin is told at once, and the tape says what there was and why it is not whole."""
    tape = tmp_path / "t.tape"

    def script(peer):
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nbegun")
        with contextlib.suppress(ConnectionResetError):
            assert peer.rest() == b""

    origin = raw_origin(script)
    r = ringtape("record", "-o", tape, "--backend", backend)
    with Client(r.port) as peer:
        c = Upgraded(peer).begin(get(origin))
        while c.got[1] != b"begun":
            c._receive()
        if how == "reset":
            c.reset(1)
            assert c.ping(), "the connection goes on"
        elif how == "fin":
            peer.finish()
            peer.rest()
        else:
            peer.reset()
        origin.stop()
    r.stop()
    flow, = flows(tape)
    assert not flow["complete"] and flow["response_bytes"] == 5 and flow["error"].startswith("closed: ")
    assert flow["error"].startswith("closed: the client reset the stream") == (how == "reset"), flow["error"]


@BACKENDS
def test_what_follows_the_request_is_not_http_1_1(ringtape, raw_origin, tmp_path, backend):  # noqa: F811
    """A request that was pipelined behind the offer has no meaning any more: it is not guessed at."""
    origin = raw_origin(echo)
    r = ringtape("record", "-o", tmp_path / "t.tape", "--backend", backend)
    with Client(r.port) as c:
        c.send(get(origin, "/a", OFFER) + get(origin, "/b"))
        assert c.until(b"\r\n\r\n") == SWITCH
        frames, last = c.rest(), None
        while frames:
            n = 9 + int.from_bytes(frames[:3], "big")
            last, frames = frames[:n], frames[n:]
        assert last[3] == GOAWAY and last[9:17] == b"\0\0\0\1\0\0\0\1", "PROTOCOL_ERROR, and stream 1 was taken"
    r.stop()
    assert b"/b" not in origin.heard()


@BACKENDS
def test_a_client_that_has_finished_is_answered_over_http_1_1(ringtape, raw_origin, tmp_path, backend):  # noqa: F811
    """It can send no preface any more. What comes before an offer is answered first, as ever."""
    release = threading.Event()

    def script(peer):
        peer.request()
        assert release.wait(PATIENCE_S)
        peer.send(OK)
        assert b"GET /b HTTP/1.1" in peer.until(b"\r\n\r\n")
        peer.send(OK)

    origin = raw_origin(script)
    r = ringtape("record", "-o", tmp_path / "t.tape", "--backend", backend)
    with Client(r.port) as c:
        c.send(get(origin, "/a") + get(origin, "/b", OFFER))
        c.finish()
        until(lambda: origin.heard(), "the first request")
        release.set()
        assert [c.response().body, c.response().body] == [b"ok", b"ok"] and c.rest() == b""
    origin.stop()
    r.stop()
    assert untouched_by_the_offer(origin.heard())


def test_an_offer_behind_a_request_under_way_is_taken_when_its_turn_comes(ringtape, raw_origin, tmp_path):  # noqa: F811
    release = threading.Event()

    def script(peer):
        peer.request()
        assert release.wait(PATIENCE_S)
        peer.send(OK)
        echo(peer)

    origin = raw_origin(script)
    r = ringtape("record", "-o", tmp_path / "t.tape")
    with Client(r.port) as peer:
        c = Upgraded(peer)
        peer.send(get(origin, "/a") + get(origin, "/b", c.offer) + c.h2.data_to_send())
        until(lambda: origin.heard(), "the first request")
        release.set()
        assert peer.response().body == b"ok" and peer.until(b"\r\n\r\n") == SWITCH
        assert c.finish(1).startswith(b"GET /b ") and c.finish(c.get_of(origin.authority, "/c")).startswith(b"GET /c ")
    r.stop()


@BACKENDS
def test_the_answer_waits_for_the_clients_preface(ringtape, raw_origin, tmp_path, backend):  # noqa: F811
    """curl 7.88 ends where more than 32 KB come with the 101 (error 16). The server's preface may come: it is first (RFC 7540 §3.5)."""
    sent = threading.Event()

    def script(peer):
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 60000\r\n\r\n" + bytes(60000))
        sent.set()
        with contextlib.suppress(ConnectionResetError):
            peer.rest()

    origin, beside = raw_origin(script), raw_origin(echo)
    r = ringtape("record", "-o", tmp_path / "t.tape", "--workers", "1", "--backend", backend)
    with Client(r.port) as peer, Client(r.port) as other:
        c = Upgraded(peer)
        peer.send(get(origin, "/", c.offer))
        assert peer.until(b"\r\n\r\n") == SWITCH
        settings = peer.exactly(9)
        peer.exactly(int.from_bytes(settings[:3], "big") + 13)  # and a WINDOW_UPDATE
        assert settings[3:] == bytes([4, 0, 0, 0, 0, 0]) and sent.wait(PATIENCE_S)
        assert other.ask(get(beside)).status == 200, "the worker has been there since"
        assert peer.quiet()
        c._send()
        assert c.finish(1) == bytes(60000)
    r.stop()


def test_a_slow_reader_of_stream_1_stops_its_origin_and_no_other_stream(ringtape, raw_origin, tmp_path):  # noqa: F811
    """The window that HTTP2-Settings gave is stream 1's."""
    size = 24 << 20  # more than the kernel's buffers take

    def script(peer):
        if b"GET /small" in peer.request().head:
            peer.send(OK)
            peer.rest()
            return
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % size)
        try:
            peer.send(bytes(size))
        finally:
            sent.set()

    sent = threading.Event()
    origin = raw_origin(script)
    tape = tmp_path / "t.tape"
    r = ringtape("record", "-o", tape)
    with Client(r.port) as peer:
        c = Upgraded(peer)
        c.h2.acknowledge_received_data = lambda *_: None  # no window is given back
        c.begin(get(origin, "/big"))
        c.h2.increment_flow_control_window(1 << 25)  # the connection's
        c._send()
        while len(c.got[1]) < 65535:
            c._receive()
        assert c.finish(c.get_of(origin.authority, "/small")) == b"ok"
        assert len(c.got[1]) == 65535 and not sent.is_set()
        del c.h2.acknowledge_received_data
        c.h2.increment_flow_control_window(size, 1)
        c._send()
        assert c.finish(1) == bytes(size)
    r.stop()
    assert all(f["complete"] for f in flows(tape))
