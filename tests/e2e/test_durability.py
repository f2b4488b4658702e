"""What was answered is on the tape, whatever ends the recording.

Promise 19: the tape is written as it goes; kill -9 loses the last commit interval at most. To that interval the tests add SLACK for the way
of an event to the disk: 20 ms until a worker hands over what it gathered, the commit itself (75 ms in the worst measured case), and
being scheduled beside the load and the other tests on two processors.
"""

import hashlib
import os
import signal
import threading
import time

import pytest
from raw import OK, Client, answering, get, raw_origin  # noqa: F401 (a fixture)
from support import PATIENCE_S, RINGTAPE, export_har, flows, rows, run, until

SLACK_MS = 200
BACKENDS = pytest.mark.parametrize("backend", ["io_uring", "epoll"])


def now_ms():
    return time.monotonic() * 1000


class Load:
    """About 1,000 requests a second from four keep-alive clients, and when each was answered."""

    CLIENTS, RATE = 4, 1000

    def __init__(self, port, origin, label):
        self.port, self.origin, self.label = port, origin, label
        self.answered, self.problems = [], []
        self.killed = threading.Event()
        self.start_ms = now_ms()
        self.threads = [threading.Thread(target=self._run, args=(i,), daemon=True) for i in range(self.CLIENTS)]
        for thread in self.threads:
            thread.start()

    def _run(self, i):
        try:
            with Client(self.port) as c:
                for n in range(10 * self.RATE):
                    due_ms = self.start_ms + n * 1000 * self.CLIENTS / self.RATE
                    time.sleep(max(0, due_ms - now_ms()) / 1000)  # the load's pace
                    path = f"/hello.txt?{self.label}-{i}-{n}"
                    c.send(f"GET {self.origin.url(path)} HTTP/1.1\r\nHost: localhost:{self.origin.http}\r\n\r\n".encode())
                    assert c.response().body == b"hello, world\n"
                    self.answered.append((now_ms(), path))
        except Exception as problem:
            if not self.killed.is_set():
                self.problems.append(problem)

    def kill(self, r, after):
        """kill -9 once so many were answered; gives the moment."""
        until(lambda: len(self.answered) >= after or self.problems, "the load", r.process)
        assert not self.problems, self.problems
        self.killed.set()
        moment = now_ms()
        r.kill()
        for thread in self.threads:
            thread.join(PATIENCE_S)
        return moment


def sound(tape):
    """The tape opens, for SQLite's own program and for ours."""
    assert run("sqlite3", tape, "pragma integrity_check").stdout == b"ok\n"
    run(RINGTAPE, "ls", tape)


@pytest.mark.parametrize("interval,backend", [(250, "io_uring"), (250, "epoll"), (50, "io_uring")])
def test_kill_9_under_load_loses_no_more_than_the_commit_interval(ringtape, origin, tmp_path, interval, backend):
    """Promise 19, three times at three moments, each time into the tape that the one before has left."""
    tape = tmp_path / "t.tape"
    for round, after in enumerate((700, 1111, 1500)):
        options = ["--append"] if round else []
        options += ["--commit-interval", interval] if interval != 250 else []
        r = ringtape("record", "-o", tape, "--backend", backend, *options)
        load = Load(r.port, origin, round)
        killed = load.kill(r, after)
        sound(tape)
        found = {f["path"]: f["complete"] for f in flows(tape)}
        safe = [path for at, path in load.answered if at < killed - interval - SLACK_MS]
        assert len(safe) > 100, "the load has gone on for long enough to say something"
        lost = [path for path in safe if not found.get(path)]
        assert not lost, f"{len(lost)} of {len(safe)}: {lost[:5]}"
    har = export_har(tape, tmp_path)
    assert len(har["log"]["entries"]) == len(flows(tape))
    assert [s["ended"] for s in rows(tape, "select ended from sessions")] == [None] * 3


@pytest.mark.quick
@pytest.mark.sanitize
@BACKENDS
def test_flows_in_progress_are_on_the_tape_as_such_and_survive_kill_9(ringtape, raw_origin, tmp_path, backend):  # noqa: F811
    """complete = 0 and no reason: nobody knew one. What had passed is there, request and response, small and large."""
    tape = tmp_path / "t.tape"
    large = os.urandom(300000)

    def script(peer):
        if b"/asked" in peer.until(b"\r\n\r\n"):
            peer.rest()
            return
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\nX-Odd: Yes\r\n\r\n" + (large if b"/large" in peer.heard else b"so far"))
        peer.rest()

    origin = raw_origin(script)
    r = ringtape("record", "-o", tape, "--backend", backend)
    clients = {path: Client(r.port) for path in ("/asked", "/small", "/large")}
    for path, c in clients.items():
        c.send(get(origin, path))
    clients["/small"].until(b"so far")
    clients["/large"].until(large[-100:])
    until(lambda: len(flows(tape, "path = '/asked' or response_bytes in (6, 300000)")) == 3, "the flows in progress", r.process)
    r.kill()
    for c in clients.values():
        c.close()
    sound(tape)
    found = {f["path"]: f for f in flows(tape)}
    assert {(f["complete"], f["error"]) for f in found.values()} == {(0, None)}
    assert {path: (f["status"], f["response_bytes"]) for path, f in found.items()} == {
        "/asked": (None, 0), "/small": (200, 6), "/large": (200, 300000)}
    content = {row["path"]: row["content"] for row in rows(tape, "select path, content from bodies b join flow f on f.id = b.flow")}
    assert content == {"/small": b"so far", "/large": large}
    export_har(tape, tmp_path)


@pytest.mark.parametrize("interval", [250, 50])
def test_kill_9_within_a_large_body_loses_no_more_than_the_commit_interval(ringtape, raw_origin, tmp_path, interval):  # noqa: F811
    tape = tmp_path / "t.tape"
    piece = os.urandom(65536)
    got, killed = [], threading.Event()

    def script(peer):
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        try:
            for _ in range(20000):
                peer.send(b"10000\r\n" + piece + b"\r\n")
        except OSError:
            assert killed.is_set()

    def read(c):
        total = 0
        try:
            while True:
                n = int(c.until(b"\r\n"), 16)
                c.exactly(n + 2)
                total += n
                got.append((now_ms(), total))
        except (OSError, AssertionError):
            assert killed.is_set()

    origin = raw_origin(script)
    r = ringtape("record", "-o", tape, "--commit-interval", interval)
    with Client(r.port) as c:
        c.send(get(origin))
        c.until(b"\r\n\r\n")
        reader = threading.Thread(target=read, args=(c,), daemon=True)
        reader.start()
        begun = until(lambda: got and got[0][0], "the first piece", r.process)
        until(lambda: got[-1][0] > begun + 2 * (interval + SLACK_MS), "a while", r.process)
        killed.set()
        moment = now_ms()
        r.kill()
        reader.join(PATIENCE_S)
    sound(tape)
    (flow,) = flows(tape)
    safe = max(total for at, total in got if at < moment - interval - SLACK_MS)
    assert safe > 0 and not flow["complete"]
    assert flow["response_bytes"] >= safe
    pieces = rows(tape, "select content from chunk order by seq")
    assert sum(len(p["content"]) for p in pieces) == flow["response_bytes"], "row and content were committed together"
    hashed, expected = hashlib.sha256(), hashlib.sha256()
    for p in pieces:
        hashed.update(p["content"])
    for _ in range(flow["response_bytes"] // len(piece)):
        expected.update(piece)
    expected.update(piece[:flow["response_bytes"] % len(piece)])
    assert hashed.digest() == expected.digest()
    tape.unlink()


@pytest.mark.parametrize("interval", [250, 50, 2000])
def test_a_flow_reaches_the_tape_within_the_commit_interval(ringtape, raw_origin, tmp_path, interval):  # noqa: F811
    """On an idle proxy too; and not at once, for then there would be no batches."""
    tape = tmp_path / "t.tape"
    origin = raw_origin(answering(OK))
    r = ringtape("record", "-o", tape, "--commit-interval", interval)
    with Client(r.port) as c:
        assert c.ask(get(origin)).body == b"ok"
        answered = now_ms()
        until(lambda: flows(tape, "complete"), "the row", r.process)
        took = now_ms() - answered
    r.stop()
    assert took < interval + SLACK_MS
    if interval == 2000:
        assert took > 1000


@pytest.mark.quick
@pytest.mark.parametrize("sig", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP])
def test_an_orderly_end_leaves_one_file_with_everything(ringtape, raw_origin, tmp_path, sig):  # noqa: F811
    """Promise 19. What is in flight is let finish; the session says when it ended."""
    folder = tmp_path / "tapes"
    folder.mkdir()
    tape = folder / "t.tape"
    asked, go_on = threading.Event(), threading.Event()

    def script(peer):
        peer.request()
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf ")
        asked.set()
        assert go_on.wait(PATIENCE_S)
        peer.send(b"whole")

    origin = raw_origin(script)
    r = ringtape("record", "-o", tape)
    with Client(r.port) as c:
        c.send(get(origin))
        c.until(b"half ")
        assert asked.wait(PATIENCE_S)
        r.process.send_signal(sig)
        until(lambda: not accepts(r.port), "the listener's end", r.process)
        go_on.set()
        assert c.rest() == b"whole"
    assert r.process.wait(PATIENCE_S) == 0, r.log()
    assert os.listdir(folder) == ["t.tape"]
    sound(tape)
    (flow,) = flows(tape)
    assert (flow["complete"], flow["response_bytes"]) == (1, 10)
    assert rows(tape, "select ended from sessions")[0]["ended"]


def accepts(port):
    try:
        Client(port).close()
        return True
    except OSError:  # refused, or reset in the very moment
        return False


def test_a_tape_that_was_cut_off_replays(ringtape, raw_origin, tmp_path):  # noqa: F811
    """The log beside the tape is part of it until somebody writes to it again."""
    tape = tmp_path / "t.tape"
    origin = raw_origin(answering(OK))
    r = ringtape("record", "-o", tape)
    with Client(r.port) as c:
        first = c.ask(get(origin))
    until(lambda: flows(tape, "complete"), "the row", r.process)
    r.kill()
    origin.stop()
    r = ringtape("replay", tape)
    with Client(r.port) as c:
        again = c.ask(get(origin))
    r.stop()
    assert (again.head, again.body) == (first.head, first.body)
