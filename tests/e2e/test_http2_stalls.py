"""An HTTP/2 peer that gives no window but goes on to PING holds its streams no longer than LIMIT_STALL_MS; one that has nothing to take may be silent.
The clock of ringtape is the test's."""

import mmap
import threading

import http2_client
import programs
import pytest
from http2_origin import origin
from origins import go_h2origin
from support import PATIENCE_S, clean_env, flows

HALF_S = 300  # of LIMIT_STALL_MS


@pytest.fixture
def clock(tmp_path):
    """With `env` a ringtape has this time; `forward()` moves it."""
    class Clock:
        path = tmp_path / "clock"
        env = clean_env(LD_PRELOAD=programs.clock(), TEST_CLOCK=path)

        def forward(self, seconds):
            self.map[:8] = (int.from_bytes(self.map[:8], "little") + seconds * 10**9).to_bytes(8, "little")

    Clock.path.write_bytes(bytes(8))
    with open(Clock.path, "r+b") as f, mmap.mmap(f.fileno(), 8) as Clock.map:
        yield Clock()


@pytest.fixture
def start(ringtape, clock, tmp_path):
    """`record --reverse` on that clock."""
    def reverse(url, backend):
        return ringtape("record", "-o", tmp_path / "t.tape", "--reverse", url, "--workers", "1", "--backend", backend, env=clock.env)
    return reverse


BACKENDS = pytest.mark.parametrize("backend", ["io_uring", "epoll"])


@pytest.fixture
def big(tmp_path, shared):
    o = go_h2origin(tmp_path, shared.authority)
    yield o
    o.stop()


@BACKENDS
def test_a_client_that_takes_nothing_is_cut_although_it_pings(start, clock, big, shared, tmp_path, backend):
    """32 MB, of which a window lets 64 KB through: what it takes in between gives it time anew, PINGs do not."""
    r = start(f"https://localhost:{big.port}", backend)
    with http2_client.connect(r.port, shared.ca) as c:
        stream = c.get("/big")
        c.read_some(stream, 65535)
        clock.forward(HALF_S)
        assert c.ping()
        c.h2.increment_flow_control_window(50_000, stream)
        c._send()
        c.read_some(stream, 115_535)
        clock.forward(HALF_S)
        assert c.ping(), "it has taken something half the time ago"
        clock.forward(HALF_S + 1)
        assert not c.ping(), "the connection is held for ever"
    r.stop()
    flow, = flows(tmp_path / "t.tape")
    assert not flow["complete"] and flow["error"].startswith("timeout"), flow


@BACKENDS
def test_a_client_that_waits_for_an_answer_may_wait_as_long_as_it_pings(start, clock, shared, tmp_path, backend):
    """A call without messages for now, which its client keeps by PINGs as gRPC does."""
    asked, go_on = threading.Event(), threading.Event()

    def request(connection, stream):
        asked.set()
        assert go_on.wait(PATIENCE_S)
        connection.answer(stream)

    with origin(shared, request) as o:
        r = start(o.url(""), backend)
        with http2_client.connect(r.port, shared.ca) as c:
            stream = c.get("/")
            assert asked.wait(PATIENCE_S)
            alive = []
            for _ in range(5):
                clock.forward(HALF_S)
                alive.append(c.ping())
            go_on.set()
            assert all(alive)
            assert c.finish(stream) == b"fine"
        r.stop()
    flow, = flows(tmp_path / "t.tape")
    assert flow["complete"], flow


@BACKENDS
def test_an_origin_that_takes_nothing_is_given_up_although_the_client_pings(start, clock, shared, tmp_path, backend):
    """Its window is 0 and stays so: the content of the request waits."""
    with origin(shared, lambda connection, stream: connection.answer(stream), window=0) as o:
        r = start(o.url(""), backend)
        with http2_client.connect(r.port, shared.ca) as c:
            assert c.finish(c.get("/first")) == b"fine"  # its SETTINGS are known now
            stream = c.post("/second", b"a" * 1000)
            assert c.ping()
            clock.forward(HALF_S)
            assert c.ping() and stream not in c.ended
            for _ in range(3):
                clock.forward(HALF_S - 10)
                assert c.ping()
            assert c.finish(stream).startswith(b"ringtape: the origin took nothing")
            assert c.finish(c.get("/third")) == b"fine", "over another connection"
            assert o.connections == 2
        r.stop()
    first, second, third = flows(tmp_path / "t.tape")
    assert first["complete"] and third["complete"]
    assert not second["complete"] and second["status"] == 504 and second["error"].startswith("timeout"), second
