"""Limits: what is too large, too many or too slow gives backpressure or an answer, never growth without bound.

Promises 14 (memory), 15 and 16 (nothing is buffered whole), 24 (descriptors).
"""

import contextlib
import hashlib
import json
import os
import resource
import select
import socket
import threading

import pytest
import support
from raw import OK, Client, answering, get, post, raw_origin  # noqa: F401 (a fixture)
from support import PATIENCE_S, flows, rows, run, until

BACKENDS = pytest.mark.parametrize("backend", ["io_uring", "epoll"])
MB = 1 << 20
MEMORY_MAX = 64 * MB  # what a recording may take, whatever passes through it


def memory(r, field="VmHWM"):
    """Of a running ringtape, in bytes."""
    with open(f"/proc/{r.process.pid}/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith(field + ":"))


def descriptors(r):
    return len(os.listdir(f"/proc/{r.process.pid}/fd"))


# --- too large ----------------------------------------------------------------------------------------------------------

TOO_LARGE = {
    "a header of 1 MB": b"GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\nX: " + b"a" * MB + b"\r\n\r\n",
    "ten thousand headers": b"GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n" + b"X: a\r\n" * 10000 + b"\r\n",
    "cookies of 4 MB": b"GET http://localhost/ HTTP/1.1\r\nHost: localhost\r\n" + b"Cookie: a=b; c=d\r\n" * 233000 + b"\r\n",
    "a target of 1 MB": b"GET http://localhost/" + b"a" * MB + b" HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "a method of 1 MB": b"A" * MB + b" http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "trailers of 1 MB": b"POST http://localhost:%d/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: " + b"a" * MB + b"\r\n\r\n",
    "a chunk extension of 1 MB": b"POST http://localhost:%d/ HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n1;" + b"a" * MB + b"\r\n",
}


@pytest.mark.parametrize("what", TOO_LARGE)
@BACKENDS
def test_what_is_too_large_is_answered_recorded_and_closed_without_a_reset(ringtape, raw_origin, tmp_path, what, backend):  # noqa: F811
    """The client can send all of it and then read why it was refused."""
    tape = tmp_path / "t.tape"

    def script(peer):
        try:
            peer.rest()
        except ConnectionResetError:
            pass

    origin = raw_origin(script)
    r = ringtape("record", "-o", tape, "--backend", backend)
    with Client(r.port) as c:
        c.send(TOO_LARGE[what].replace(b"%d", b"%d" % origin.port))
        answer = c.response()
        assert answer.status == 431 and answer.field(b"connection") == [b"close"], answer.head
        assert c.rest() == b""
    with Client(r.port) as c:
        assert c.ask(b"GET http://ringtape/ HTTP/1.1\r\nHost: ringtape\r\n\r\n").status == 200
    r.stop()
    origin.stop()
    assert not origin.heard().endswith(b"0\r\n\r\n")
    (flow,) = flows(tape)
    assert not flow["complete"] and flow["error"].startswith("limit: "), flow


@pytest.mark.quick
@pytest.mark.sanitize
@BACKENDS
def test_a_client_that_says_one_byte_at_a_time(ringtape, raw_origin, tmp_path, shared, backend):  # noqa: F811
    """Plain and inside TLS: what comes slowly is the same request."""
    tape = tmp_path / "t.tape"
    origin, secured = raw_origin(answering(OK)), raw_origin(answering(OK), tls=shared.authority.issue("good"))
    body = bytes(range(256))
    r = ringtape("record", "-o", tape, "--backend", backend)
    for at, inside in ((origin, False), (secured, True)):
        with Client(r.port) as c:
            request = post(at, body, extra="X-Slow: yes\r\n")
            if inside:
                for i in f"CONNECT {at.authority} HTTP/1.1\r\nHost: x\r\n\r\n".encode():
                    c.send(bytes([i]))
                assert c.until(b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
                c.secure(shared.ca)
                request = request.replace(at.url.encode(), b"", 1)
            for i in request:
                c.send(bytes([i]))
            assert c.response().body == b"ok"
    r.stop()
    assert [(f["complete"], f["request_bytes"]) for f in flows(tape)] == [(1, 256), (1, 256)]
    assert {row["content"] for row in rows(tape, "select content from bodies where side = 'request'")} == {body}


# --- too slow -----------------------------------------------------------------------------------------------------------

PIECE = os.urandom(MB)
PIECES = 150
LENGTH = len(PIECE) * PIECES
IN_FLIGHT_MAX = 40 * MB  # the kernel's own buffers on both legs (tcp_rmem, tcp_wmem grow to 6 + 4 MB each) and ours


def blocked(sock):
    """Has the socket taken nothing for half a second?"""
    return not select.select([], [sock], [], 0.5)[1]


class Flood:
    """Sends `piece` over and over, LENGTH bytes in all, as fast as they are taken; `sent` counts them, `stuck` is set when nothing is taken any
    more."""

    def __init__(self, piece=PIECE, length=LENGTH):
        self.piece, self.length = piece, length
        self.sent, self.stuck = 0, threading.Event()

    def run(self, peer):
        while self.sent < self.length:
            if blocked(peer.sock):
                self.stuck.set()
                assert select.select([], [peer.sock], [], PATIENCE_S)[1]
            self.sent += peer.sock.send(memoryview(self.piece)[self.sent % len(self.piece):])


def swallow(peer, hashed, left=LENGTH):
    while left:
        data = peer.waiting or peer.sock.recv(min(left, MB))
        peer.waiting = b""
        assert data
        hashed.update(data)
        left -= len(data)


@BACKENDS
def test_a_client_that_stops_reading_stops_the_origin(ringtape, raw_origin, tmp_path, backend):  # noqa: F811
    """Backpressure over both legs: neither the origin's bytes nor our memory run ahead of the reader; then all of it arrives."""
    tape = tmp_path / "t.tape"
    flood = Flood()

    def script(peer):
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % LENGTH)
        flood.run(peer)

    origin = raw_origin(script)
    r = ringtape("record", "-o", tape, "--backend", backend)
    with Client(r.port, receive_buffer=65536) as c:
        c.send(get(origin))
        c.until(b"\r\n\r\n")
        assert flood.stuck.wait(PATIENCE_S)
        assert flood.sent < IN_FLIGHT_MAX
        with Client(r.port) as other:
            assert other.ask(b"GET http://ringtape/ HTTP/1.1\r\nHost: ringtape\r\n\r\n").status == 200
        hashed = hashlib.sha256()
        swallow(c, hashed)
    high = memory(r)
    r.stop()
    tape_is_whole(tape, "response", hashed)
    assert high < MEMORY_MAX
    tape.unlink()


@BACKENDS
def test_an_origin_that_stops_reading_stops_the_client(ringtape, raw_origin, tmp_path, backend):  # noqa: F811
    tape = tmp_path / "t.tape"
    flood, go_on, hashed = Flood(), threading.Event(), hashlib.sha256()

    def script(peer):
        peer.until(b"\r\n\r\n")
        assert go_on.wait(PATIENCE_S)
        swallow(peer, hashed)
        peer.send(OK)

    origin = raw_origin(script)
    r = ringtape("record", "-o", tape, "--backend", backend)
    with Client(r.port) as c:
        c.send(f"PUT {origin.url}/ HTTP/1.1\r\nHost: {origin.authority}\r\nContent-Length: {LENGTH}\r\n\r\n".encode())
        sender = threading.Thread(target=flood.run, args=(c,), daemon=True)
        sender.start()
        assert flood.stuck.wait(PATIENCE_S)
        assert flood.sent < IN_FLIGHT_MAX
        go_on.set()
        sender.join(PATIENCE_S)
        assert c.response().body == b"ok"
    high = memory(r)
    r.stop()
    tape_is_whole(tape, "request", hashed)
    assert high < MEMORY_MAX
    tape.unlink()


def flood_until_the_end(flood, peer):
    with contextlib.suppress(OSError):
        flood.run(peer)


@pytest.mark.parametrize("answers", ["ours", "the origin's"])
@BACKENDS
def test_a_client_that_asks_and_asks_and_never_reads(ringtape, raw_origin, tmp_path, answers, backend):  # noqa: F811
    """Pipelined requests are taken no faster than their answers are."""
    tape = tmp_path / "t.tape"
    body = os.urandom(8192)

    def script(peer):
        while True:
            while b"\r\n\r\n" not in peer.waiting:
                if not peer.fill():
                    return
            peer.request()
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 8192\r\n\r\n" + body)

    origin = raw_origin(script)
    pad = "X-Pad: " + "a" * 4000 + "\r\n"  # so that the requests, too, are more than the kernel holds
    request = f"GET http://ringtape/ HTTP/1.1\r\nHost: ringtape\r\n{pad}\r\n".encode() if answers == "ours" else get(origin, extra=pad)
    count = 50000 if answers == "ours" else 10000  # 80 MB of answers
    flood = Flood(request * 100, len(request) * count)
    r = ringtape("record", "-o", tape, "--backend", backend)
    with Client(r.port, receive_buffer=65536) as c:
        sender = threading.Thread(target=flood_until_the_end, args=(flood, c), daemon=True)
        sender.start()
        assert flood.stuck.wait(PATIENCE_S)
        assert flood.sent < flood.length
        assert memory(r) < MEMORY_MAX
        assert len({c.response().body for _ in range(1000)}) == 1, "it goes on as soon as the client reads"
        assert memory(r) < MEMORY_MAX
        c.sock.shutdown(socket.SHUT_RDWR)
        sender.join(PATIENCE_S)
    r.stop()


def tape_is_whole(tape, side, hashed):
    (flow,) = flows(tape)
    assert (flow["complete"], flow[f"{side}_bytes"]) == (1, LENGTH), flow
    option = "--body" if side == "response" else "--request-body"
    shown = run(support.RINGTAPE, "show", tape, flow["id"], option).stdout
    assert hashlib.sha256(shown).hexdigest() == hashed.hexdigest()


@pytest.fixture
def big(tmp_path, shared):
    """nginx with a sparse file of 2 GB."""
    folder = tmp_path / "origin"
    folder.mkdir()
    nginx = support.Nginx(folder, shared.authority)
    with open(nginx.www / "sparse.bin", "wb") as f:
        f.truncate(2 << 30)
    yield nginx
    nginx.stop()


def test_2_gb_pass_through_a_recording_in_less_than_64_mb(ringtape, big, tmp_path):
    """Promise 14. The tape holds every byte of it."""
    tape = tmp_path / "t.tape"
    r = ringtape("record", "-o", tape)
    try:
        run("curl", "-sSf", "-x", r.proxy, "-o", "/dev/null", big.url("/sparse.bin"), env=support.clean_env(), timeout=240)
        high = memory(r)
        r.stop()
        (flow,) = flows(tape)
        assert (flow["complete"], flow["response_bytes"]) == (1, 2 << 30), flow
        assert rows(tape, "select sum(length(content)) n from chunk") == [{"n": 2 << 30}]
        assert high < MEMORY_MAX
    finally:
        tape.unlink()


def test_300_mb_up_pass_through_a_recording_in_less_than_64_mb(ringtape, raw_origin, tmp_path):  # noqa: F811
    tape, hashed = tmp_path / "t.tape", hashlib.sha256()

    def script(peer):
        peer.until(b"\r\n\r\n")
        swallow(peer, hashed, 300 * MB)
        peer.send(OK)

    origin = raw_origin(script)
    with open(tmp_path / "up.bin", "wb") as f:
        f.truncate(300 * MB)
    r = ringtape("record", "-o", tape)
    try:
        run("curl", "-sSf", "-x", r.proxy, "-T", tmp_path / "up.bin", "-H", "Expect:", f"{origin.url}/up", env=support.clean_env(), timeout=120)
        high = memory(r)
        r.stop()
        (flow,) = flows(tape)
        assert (flow["complete"], flow["request_bytes"]) == (1, 300 * MB), flow
        digest = run("sh", "-c", '"$1" show "$2" 1 --request-body | sha256sum', "sh", support.RINGTAPE, tape).stdout.split()[0]
        assert digest.decode() == hashed.hexdigest()
        assert high < MEMORY_MAX
    finally:
        tape.unlink()


# --- too many -----------------------------------------------------------------------------------------------------------

CROWD = 5000


@pytest.fixture
def many_files():
    """Descriptors enough for the crowd, here and (inherited) in ringtape, which needs two a connection by its own reckoning."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 2 * CROWD + 1000
    assert hard == resource.RLIM_INFINITY or hard >= wanted, "this machine allows too few descriptors (ulimit -Hn)"
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@BACKENDS
def test_five_thousand_idle_connections(ringtape, raw_origin, tmp_path, many_files, backend):  # noqa: F811
    origin = raw_origin(answering(OK, OK))
    r = ringtape("record", "-o", tmp_path / "t.tape", "--backend", backend)
    with Client(r.port) as c:
        c.ask(get(origin))  # what the first request needs, it needs once
    before = memory(r, "VmRSS")
    with contextlib.ExitStack() as stack:
        crowd = [stack.enter_context(Client(r.port)) for _ in range(CROWD)]
        with Client(r.port) as c:
            assert c.ask(get(origin)).body == b"ok"

            def accepted():  # by all workers: each has a queue of its own
                counters = json.loads(c.ask(b"GET http://ringtape/counters.json HTTP/1.1\r\nHost: ringtape\r\n\r\n").body)
                return counters["clients_now"] >= CROWD
            until(accepted, "all connections", r.process)
        each = (memory(r, "VmRSS") - before) / CROWD
        assert each < 8192, f"{each} bytes an idle connection"
        assert all(c.quiet() for c in crowd)
        for c in crowd[::500]:  # they are idle, not dead
            assert c.ask(b"GET http://ringtape/ HTTP/1.1\r\nHost: ringtape\r\n\r\n").status == 200
    r.stop()


@pytest.fixture
def few_files(tmp_path, monkeypatch):
    """Lets ringtape start with no more descriptors than this."""
    def limit(n):
        wrapper = tmp_path / "few-files"
        wrapper.write_text(f'#!/bin/sh\nexec prlimit --nofile={n}:{n} "{support.RINGTAPE}" "$@"\n')
        wrapper.chmod(0o755)
        monkeypatch.setattr(support, "RINGTAPE", str(wrapper))
    return limit


@pytest.mark.parametrize("limit", [64, 128])
@BACKENDS
def test_when_descriptors_are_few_accepting_pauses_and_nobody_is_refused(ringtape, raw_origin, tmp_path, few_files, limit, backend):  # noqa: F811
    """Promise 24. Each client asks an origin of its own, so each takes two descriptors; those that find no room wait in the backlog."""
    tape = tmp_path / "t.tape"
    few_files(limit)
    release = threading.Event()

    def script(peer):
        peer.request()
        assert release.wait(PATIENCE_S)
        peer.send(OK)

    origin = raw_origin(script)
    r = ringtape("record", "-o", tape, "--backend", backend)
    with contextlib.ExitStack() as stack:
        clients = [stack.enter_context(Client(r.port)) for _ in range(100)]
        for c in clients:
            c.send(get(origin, extra="Connection: close\r\n"))
        until(lambda: len(origin.peers) >= limit // 8, "the first ones reach the origin")
        assert len(origin.peers) < 100, "there cannot be room for all"
        assert descriptors(r) <= limit
        release.set()
        answers = []

        def finish(c):
            answers.append(c.response().body)
            c.close()

        readers = [threading.Thread(target=finish, args=(c,), daemon=True) for c in clients]
        for reader in readers:
            reader.start()
        for reader in readers:
            reader.join(PATIENCE_S)
        assert answers == 100 * [b"ok"]
    with Client(r.port) as c:
        assert c.ask(get(origin)).body == b"ok", "and afterwards all is well"
    r.stop()
    assert [(f["complete"], f["error"]) for f in flows(tape)] == 101 * [(1, None)]
    assert "accepting:" not in r.log(), "the budget holds before the kernel has to say so"


@pytest.mark.parametrize("limit", [64])
@BACKENDS
def test_idle_connections_to_origins_give_way_when_descriptors_are_few(ringtape, raw_origin, tmp_path, few_files, limit, backend):  # noqa: F811
    """Promise 24. One client that visits more origins than there are descriptors."""
    tape = tmp_path / "t.tape"
    few_files(limit)
    origins = [raw_origin(answering(OK, OK)) for _ in range(100)]
    r = ringtape("record", "-o", tape, "--backend", backend)
    with Client(r.port) as c:
        assert [c.ask(get(origin)).body for origin in origins] == 100 * [b"ok"]
        assert [c.ask(get(origin)).body for origin in origins[-3:]] == 3 * [b"ok"]
        assert descriptors(r) <= limit
    r.stop()
    assert all(f["complete"] for f in flows(tape))
    assert [len(origin.peers) for origin in origins[-3:]] == [1, 1, 1], "the latest ones were kept"


def test_memory_stays_where_it_is_while_flows_pass(ringtape, origin, tmp_path):
    """Promise 14: what is on the tape is no longer in memory."""
    tape = tmp_path / "t.tape"
    r = ringtape("record", "-o", tape)

    def load(n):
        out = run("ab", "-q", "-k", "-n", n, "-c", "16", "-X", f"127.0.0.1:{r.port}", f"http://127.0.0.1:{origin.http}/hello.txt").stdout.decode()
        assert f"Complete requests:      {n}" in out and "Failed requests:        0" in out, out

    load(10000)
    before = memory(r, "VmRSS")
    load(20000)
    after = memory(r, "VmRSS")
    r.stop()
    assert len(flows(tape, "complete")) == 30000
    assert after - before < 4 * MB and after < MEMORY_MAX
