"""CONNECT as a stream of HTTP/2 (RFC 9113 §8.5): a tunnel beside other streams, recorded and replayed as one over HTTP/1.1 is."""

import base64
import contextlib
import socket
import ssl
import threading

import h2.events
import http2_client
import pytest
from raw import raw_origin  # noqa: F401
from support import PATIENCE_S, RINGTAPE, export_har, flows, rows, run, until

CONNECT_ERROR = 10


class Client(http2_client.Client):
    """Over clear text, with prior knowledge; gives window back as it reads."""

    def __init__(self, sock):
        self.heads = {}
        super().__init__(sock)

    def open(self, fields, end=False):
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, fields, end_stream=end)
        self.got[stream] = b""
        self._send()
        return stream

    def connect(self, authority, *fields, end=False):
        return self.open([(":method", "CONNECT"), (":authority", authority), *fields], end)

    def get_of(self, url_authority, path):
        return self.open([(":method", "GET"), (":scheme", "http"), (":authority", url_authority), (":path", path)], True)

    def _receive(self):
        data = self.sock.recv(65536)
        assert data, "the connection was closed"
        for event in self.h2.receive_data(data):
            if isinstance(event, h2.events.ResponseReceived):
                self.heads[event.stream_id] = dict(event.headers)
            elif isinstance(event, h2.events.DataReceived):
                self.got[event.stream_id] += event.data
                if event.stream_id not in self.ended:
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
                self.ended.setdefault(event.stream_id, event)  # a reset may follow the end
            elif isinstance(event, h2.events.ConnectionTerminated):
                raise AssertionError(f"GOAWAY {event.error_code}")
        self._send()

    def status(self, stream):
        while stream not in self.heads:
            self._receive()
        return self.heads[stream][":status"]

    def say(self, stream, data=b"", end=False):
        while data:
            room = min(self.h2.local_flow_control_window(stream), 16384)
            if room:
                self.h2.send_data(stream, data[:room])
                data = data[room:]
                self._send()
            else:
                self._receive()
        if end:
            self.h2.end_stream(stream)
            self._send()

    def until(self, stream, mark):
        while not self.got[stream].endswith(mark):
            self._receive()
        return self.got[stream]

    def reset_code(self, stream):
        while stream not in self.ended:
            self._receive()
        return getattr(self.ended[stream], "error_code", None)


@contextlib.contextmanager
def client(port):
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as sock:
        yield Client(sock)


@pytest.mark.quick
@pytest.mark.sanitize
@pytest.mark.parametrize("backend", ["io_uring", "epoll"])
def test_a_tunnel_is_recorded_and_replayed(ringtape, raw_origin, origin, tmp_path, backend):  # noqa: F811
    """Both sides speak in turn, beside a request of the same connection; the client ends first."""
    tape = tmp_path / "t.tape"

    def script(peer):
        assert peer.exactly(6) == b"\x00hello"
        peer.send(b"welcome\n")
        assert peer.rest() == b"and goodbye"
        peer.send(b"bye\n")

    server = raw_origin(script)

    def ask(port):
        with client(port) as c:
            s = c.connect(server.authority, ("user-agent", "tunneller"))
            assert c.status(s) == "200" and not [name for name in c.heads[s] if name.startswith("content-")]
            c.say(s, b"\x00hello")
            c.until(s, b"welcome\n")
            assert c.finish(c.get_of(origin.url("").split("/")[2], "/hello.txt")) == b"hello, world\n"
            c.say(s, b"and goodbye", end=True)
            return c.finish(s)

    r = ringtape("record", "-o", tape, "--backend", backend)
    assert ask(r.port) == b"welcome\nbye\n"
    r.stop()
    server.stop()
    origin.stop()
    assert server.heard() == b"\x00helloand goodbye", "the origin hears the bytes and nothing else"
    (flow,) = flows(tape, "kind = 'tunnel'")
    assert (flow["method"], flow["host"], flow["port"], flow["status"], flow["complete"], flow["error"]) == \
        ("CONNECT", "localhost", server.port, 200, 1, None)
    assert (flow["request_bytes"], flow["response_bytes"]) == (17, 12)
    said = rows(tape, "select direction, kind, payload from message order by seq")
    assert [(m["direction"], m["kind"], m["payload"]) for m in said] == [
        ("request", "bytes", b"\x00hello"), ("response", "bytes", b"welcome\n"), ("request", "bytes", b"and goodbye"), ("response", "bytes", b"bye\n")]
    (row,) = rows(tape, "select request_version from flow where kind = 'tunnel'")
    assert row["request_version"] == "HTTP/2"
    export_har(tape, tmp_path)
    assert f"localhost:{server.port}" in run(RINGTAPE, "ls", tape).stdout.decode()
    r = ringtape("replay", tape, "--backend", backend)
    assert ask(r.port) == b"welcome\nbye\n"
    r.stop()


def test_the_client_goes_on_after_the_origins_end(ringtape, raw_origin, tmp_path):  # noqa: F811
    tape = tmp_path / "t.tape"

    def script(peer):
        assert peer.exactly(6) == b"\x00hello"
        peer.send(b"welcome")
        peer.finish()
        assert peer.rest() == b"one more thing"

    server = raw_origin(script)

    def ask(port):
        with client(port) as c:
            s = c.connect(server.authority)
            c.say(s, b"\x00hello")
            assert c.finish(s) == b"welcome"
            c.say(s, b"one more")
            c.say(s, b" thing", end=True)

    r = ringtape("record", "-o", tape)
    ask(r.port)
    server.stop()
    r.stop()
    (flow,) = flows(tape)
    assert (flow["kind"], flow["complete"], flow["error"], flow["request_bytes"], flow["response_bytes"]) == ("tunnel", 1, None, 20, 7)
    r = ringtape("replay", tape)
    ask(r.port)
    r.stop()


def test_the_client_ends_first(ringtape, raw_origin, tmp_path):  # noqa: F811
    """Nothing but an end, with the head itself: the origin hears it, and says what it has to say."""
    tape = tmp_path / "t.tape"

    def script(peer):
        assert peer.rest() == b""
        peer.send(b"220 ready\r\n")

    server = raw_origin(script)
    r = ringtape("record", "-o", tape)
    with client(r.port) as c:
        assert c.finish(c.connect(server.authority, end=True)) == b"220 ready\r\n"
    r.stop()
    (flow,) = flows(tape)
    assert (flow["kind"], flow["complete"], flow["error"], flow["request_bytes"], flow["response_bytes"]) == ("tunnel", 1, None, 0, 11)


def test_much_in_both_directions(ringtape, raw_origin, tmp_path):  # noqa: F811
    """Flow control of many tunnels on one connection: 3 MB each way in each, said at once."""
    data = bytes(i * 7 & 0xff for i in range(1000)) * 3000

    def script(peer):
        sender = threading.Thread(target=peer.send, args=(data,))
        sender.start()
        assert peer.rest() == data
        sender.join()

    server = raw_origin(script)
    tape = tmp_path / "t.tape"
    r = ringtape("record", "-o", tape)
    with client(r.port) as c:
        streams = [c.connect(server.authority) for _ in range(4)]
        for at in range(0, len(data), 100_000):
            for s in streams:
                c.say(s, data[at:at + 100_000])
        for s in streams:
            c.say(s, end=True)
        assert all(c.finish(s) == data for s in streams)
    r.stop()
    assert [(f["complete"], f["request_bytes"], f["response_bytes"]) for f in flows(tape)] == [(1, len(data), len(data))] * 4


def test_a_tunnel_that_is_not_read_stops_no_other(ringtape, raw_origin, tmp_path):  # noqa: F811
    """An origin that does not read its tunnel stops that stream only."""
    go = threading.Event()

    def script(peer):
        if peer.exactly(1) == b"!":
            assert go.wait(PATIENCE_S)
            assert len(peer.rest()) == 16_000_000
        else:
            peer.send(peer.rest())

    server = raw_origin(script)
    r = ringtape("record", "-o", tmp_path / "t.tape")
    with client(r.port) as c:
        stuck = c.connect(server.authority)
        c.say(stuck, b"!")
        assert c.status(stuck) == "200"
        sent = 0
        for _ in range(80):  # other tunnels go on, whatever that one has in its pipe
            if room := min(c.h2.local_flow_control_window(stuck), 16_000_000 - sent):
                c.say(stuck, bytes(room))
                sent += room
            s = c.connect(server.authority)
            c.say(s, b"?echo", end=True)
            assert c.finish(s) == b"echo"
        assert sent < 16_000_000, "what the origin does not take is not taken from the client"
        go.set()
        c.say(stuck, bytes(16_000_000 - sent), end=True)
        assert c.finish(stuck) == b""
    server.stop()
    r.stop()


@pytest.mark.sanitize
def test_an_origin_that_resets(ringtape, raw_origin, tmp_path):  # noqa: F811
    """CONNECT_ERROR, and the neighbours live; on the tape it is incomplete."""
    tape = tmp_path / "t.tape"

    def script(peer):
        if peer.exactly(5) == b"reset":
            peer.send(b"partly")
            assert peer.exactly(3) == b"now"
            peer.reset()
        else:
            peer.send(peer.rest())

    server = raw_origin(script)
    r = ringtape("record", "-o", tape)
    with client(r.port) as c:
        s, other = c.connect(server.authority), c.connect(server.authority)
        c.say(s, b"reset")
        c.until(s, b"partly")
        c.say(s, b"now")
        assert c.reset_code(s) == CONNECT_ERROR and c.got[s] == b"partly"
        c.say(other, b"fine?yes", end=True)
        assert c.finish(other) == b"yes"
    r.stop()
    bad, good = flows(tape)
    assert not bad["complete"] and bad["error"].startswith("reset") and bad["response_bytes"] == 6
    assert good["complete"] and not good["error"]


def test_an_origin_that_resets_after_its_end(ringtape, raw_origin, tmp_path):  # noqa: F811
    """It said all it had to say, but does not listen any more."""
    tape = tmp_path / "t.tape"
    reset = threading.Event()

    def script(peer):
        assert peer.exactly(5) == b"hello"
        peer.send(b"all")
        peer.finish()
        assert reset.wait(PATIENCE_S)
        peer.reset()

    server = raw_origin(script)
    r = ringtape("record", "-o", tape)
    with client(r.port) as c:
        s = c.connect(server.authority)
        c.say(s, b"hello")
        assert c.finish(s) == b"all"
        del c.ended[s]
        reset.set()
        server.stop()
        c.say(s, b"anybody?")
        assert c.reset_code(s) == CONNECT_ERROR
    r.stop()
    (flow,) = flows(tape)
    assert (flow["complete"], flow["error"], flow["response_bytes"]) == (1, None, 3)


@pytest.mark.parametrize("how", ["resets the stream", "leaves"])
def test_a_client_that(ringtape, raw_origin, tmp_path, how):  # noqa: F811
    tape = tmp_path / "t.tape"

    def script(peer):
        peer.send(b"220 ready\r\n")
        with contextlib.suppress(ConnectionResetError):
            peer.rest()

    server = raw_origin(script)
    r = ringtape("record", "-o", tape)
    with client(r.port) as c:
        s = c.connect(server.authority)
        c.until(s, b"ready\r\n")
        if how == "resets the stream":
            c.reset(s)
            server.stop()  # which means that the origin's connection has ended
    server.stop()
    until(lambda: flows(tape), "the row")
    r.stop()
    (flow,) = flows(tape)
    assert not flow["complete"] and flow["error"].startswith("closed: ") and flow["response_bytes"] == 11


def test_nobody_listens(ringtape, tmp_path):
    tape = tmp_path / "t.tape"
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))  # and does not listen
        target = f"127.0.0.1:{held.getsockname()[1]}"
        r = ringtape("record", "-o", tape)
        with client(r.port) as c:
            s = c.connect(target)
            assert c.status(s) == "502" and c.heads[s]["ringtape"] == "error; refused"
            assert c.reset_code(s) in (None, 0)
            s = c.connect("ringtape:443")  # our page is asked for otherwise
            assert c.status(s) == "502"
        r.stop()
    refused, page = flows(tape)
    assert (refused["kind"], refused["complete"]) == ("tunnel", 0) and refused["error"].startswith("refused")
    assert page["kind"] == "tunnel" and page["error"].startswith("resolve")


# What is answered without a tunnel: the target, and the status.
WRONG = {"no port": ("localhost", "400"), "ourselves": (None, "508")}


@pytest.mark.parametrize("what", WRONG)
def test_a_target_that_is_none(ringtape, tmp_path, what):
    target, status = WRONG[what]
    r = ringtape("record", "-o", tmp_path / "t.tape")
    with client(r.port) as c:
        s = c.connect(target or f"127.0.0.1:{r.port}")
        assert c.status(s) == status
        assert c.reset_code(s) in (None, 0), "the stream does not wait for what is not wanted"
    r.stop()


def test_trailers_have_no_place_in_a_tunnel(ringtape, raw_origin, tmp_path):  # noqa: F811
    tape = tmp_path / "t.tape"

    def script(peer):
        with contextlib.suppress(ConnectionResetError):
            peer.send(peer.exactly(4))
            peer.rest()

    server = raw_origin(script)
    r = ringtape("record", "-o", tape)
    with client(r.port) as c:
        s = c.connect(server.authority)
        c.say(s, b"ping")
        c.until(s, b"ping")
        c.h2.send_headers(s, [("x-sum", "1")], end_stream=True)
        c._send()
        assert c.reset_code(s) == 1
    server.stop()
    r.stop()
    (flow,) = flows(tape)
    assert not flow["complete"] and flow["error"].startswith("ambiguous-framing: trailers in a tunnel")


def test_proxy_auth(ringtape, raw_origin, tmp_path):  # noqa: F811
    """As for any request to the proxy; the name is the track."""
    tape = tmp_path / "t.tape"
    server = raw_origin(lambda peer: peer.send(peer.rest()))
    r = ringtape("record", "-o", tape, "--proxy-auth", "me:secret")
    word = base64.b64encode(b"me:secret").decode()
    with client(r.port) as c:
        s = c.connect(server.authority)
        assert c.status(s) == "407" and c.heads[s]["proxy-authenticate"] == 'Basic realm="ringtape"'
        assert c.reset_code(s) in (None, 0)
        s = c.connect(server.authority, ("proxy-authorization", f"Basic {word}"))
        c.say(s, b"hello", end=True)
        assert c.finish(s) == b"hello"
    r.stop()
    (flow,) = flows(tape)
    assert flow["complete"] and flow["track"] == "me"
    assert word.encode() not in tape.read_bytes() and b"secret" not in tape.read_bytes()


def test_tls_within_is_bytes(ringtape, origin, shared, tmp_path):
    """It is the origin's own certificate that the client sees."""
    tape = tmp_path / "t.tape"
    r = ringtape("record", "-o", tape)
    incoming, outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
    context = ssl.create_default_context(cafile=str(shared.authority.pem))
    tls = context.wrap_bio(incoming, outgoing, server_hostname="localhost")
    with client(r.port) as c:
        s = c.connect(f"localhost:{origin.https}")
        fed = 0

        def step(what):
            nonlocal fed
            while True:
                try:
                    return what()
                except ssl.SSLWantReadError:
                    c.say(s, outgoing.read())
                    if len(c.got[s]) == fed:
                        c._receive()
                    incoming.write(c.got[s][fed:])
                    fed = len(c.got[s])

        step(tls.do_handshake)
        tls.write(b"GET /hello.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        c.say(s, outgoing.read())
        answer = b""
        while b"\r\n\r\nhello, world\n" not in answer:
            answer += step(lambda: tls.read(65536))
        c.reset(s)
    r.stop()
    (flow,) = flows(tape)
    assert flow["kind"] == "tunnel" and flow["port"] == origin.https and flow["request_bytes"] > 100
