"""Event streams (promises 12 and 16): each event is passed on the moment it comes, is a row of the tape, and is replayed at the pace asked for."""

import contextlib
import gzip
import http.client
import http.server
import pathlib
import shutil
import subprocess
import threading
import time
import zlib

import pytest
from support import PATIENCE_S, RINGTAPE, Ringtape, clean_env, rows, run, until

EVENTS = [b"data: first\n\n", b"event: add\nid: 7\ndata: a\ndata: b\n\n", b": alive\n\nid: 8\nretry: 250\n\n", b"data:last\r\n\r\n"]
ROWS = [(None, None, None, b"first"), ("add", "7", None, b"a\nb"), (None, "8", 250, b""), (None, None, None, b"last")]
GAP_S = 0.15


class Origin(http.server.ThreadingHTTPServer):
    """Sends an event only when `allow` lets it: a proxy that holds one back stops both ends."""
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.allow = threading.Semaphore(0)
        self.left = threading.Event()
        threading.Thread(target=self.serve_forever, daemon=True).start()

    def url(self, path):
        return f"http://127.0.0.1:{self.server_port}{path}"


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def chunk(self, data):
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Transfer-Encoding", "chunked")
        zipped = zlib.compressobj(wbits=31) if self.path == "/gzip" else None
        if zipped:
            self.send_header("Content-Encoding", "gzip")
        self.end_headers()
        for event in EVENTS:
            assert self.server.allow.acquire(timeout=PATIENCE_S)
            self.chunk(zipped.compress(event) + zipped.flush(zlib.Z_SYNC_FLUSH) if zipped else event)
        if self.path == "/endless":
            self.connection.settimeout(PATIENCE_S)
            try:
                gone = self.connection.recv(1) == b""
            except ConnectionResetError:
                gone = True
            if gone:
                self.server.left.set()
            self.close_connection = True
            return
        self.chunk(zipped.flush() if zipped else b"")
        if zipped:
            self.chunk(b"")

    def log_message(self, *_):
        pass


@pytest.fixture
def origin():
    server = Origin()
    yield server
    server.shutdown()
    server.server_close()


def ask(port, url):
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    client.request("GET", url)
    return client, client.getresponse()


def take(answer, n):
    got = b""
    while len(got) < n:
        piece = answer.read1(n - len(got))
        assert piece, got
        got += piece
    return got


def record(tmp_path, origin, path, gap_s=0.0):
    """Records one stream in lockstep: the next event is sent when the one before has come. Leaves an endless one."""
    tape = tmp_path / "s.tape"
    ringtape = Ringtape(tmp_path, "record", "-o", tape, ca_dir=tmp_path / "ca")
    try:
        client, answer = ask(ringtape.port, origin.url(path))
        zipped = zlib.decompressobj(wbits=31)
        for event in EVENTS:
            time.sleep(gap_s)  # the recorded distance, which the replay is to keep; nothing waits for it
            origin.allow.release()
            if path == "/gzip":
                got = b""
                while len(got) < len(event):
                    got += zipped.decompress(take(answer, 1))
                assert got == event
            else:
                assert take(answer, len(event)) == event
        if path == "/endless":
            answer.close()
            client.close()
            assert origin.left.wait(PATIENCE_S)
        else:
            answer.read()
            client.close()
        until(lambda: rows(tape, "select 1 from flow where response_end_ns is not null or error is not null"), "the end on the tape")
    finally:
        ringtape.stop()
    return tape


def events_of(tape):
    return rows(tape, "select direction, kind, more, event, event_id, retry_ms, payload, at_ns, wire_bytes from message order by flow, seq")


@pytest.mark.parametrize("path", ["/plain", "/gzip", "/endless"])
def test_each_event_is_passed_on_when_it_comes_and_is_a_row(tmp_path, origin, path):
    found = events_of(record(tmp_path, origin, path))
    assert [(r["event"], r["event_id"], r["retry_ms"], r["payload"]) for r in found] == ROWS
    assert {(r["direction"], r["kind"], r["more"]) for r in found} == {("response", "event", 0)}
    times = [r["at_ns"] for r in found]
    assert times == sorted(times) and times[0] > 0


def test_curl_sees_each_event_when_it_comes(tmp_path, origin):
    tape = tmp_path / "s.tape"
    ringtape = Ringtape(tmp_path, "record", "-o", tape, ca_dir=tmp_path / "ca")
    curl = subprocess.Popen(["curl", "-sN", "--max-time", str(PATIENCE_S), "-x", ringtape.proxy, origin.url("/plain")],
                            stdout=subprocess.PIPE, env=clean_env())
    try:
        for event in EVENTS:
            origin.allow.release()
            assert curl.stdout.read(len(event)) == event
        assert curl.stdout.read() == b"" and curl.wait(PATIENCE_S) == 0
    finally:
        curl.kill()
        curl.wait()
        curl.stdout.close()
        ringtape.stop()
    assert [r["payload"] for r in events_of(tape)] == [row[3] for row in ROWS]


def test_the_recorded_pace_keeps_the_distances(tmp_path, origin):
    tape = record(tmp_path, origin, "/plain", gap_s=GAP_S)
    first, last = (events_of(tape)[i]["at_ns"] for i in (0, -1))
    assert last - first >= (len(EVENTS) - 1) * GAP_S * 0.9e9
    ringtape = Ringtape(tmp_path, "replay", tape, "--pace", "recorded", ca_dir=tmp_path / "ca")
    try:
        client, answer = ask(ringtape.port, origin.url("/plain"))
        came = []
        for event in EVENTS:
            assert take(answer, len(event)) == event
            came.append(time.monotonic())
        assert answer.read() == b""
        client.close()
    finally:
        ringtape.stop()
    # A late reader sees distances shrink, never the whole: only a replay that hurries ends too early.
    assert came[-1] - came[0] >= (len(EVENTS) - 2) * GAP_S


def test_at_once_takes_no_time_and_compressed_bytes_are_the_recorded_ones(tmp_path, origin):
    tape = record(tmp_path, origin, "/gzip", gap_s=GAP_S)
    ringtape = Ringtape(tmp_path, "replay", tape, "--pace", "instant", ca_dir=tmp_path / "ca")
    try:
        client, answer = ask(ringtape.port, origin.url("/gzip"))
        assert answer.headers["content-encoding"] == "gzip"
        assert gzip.decompress(answer.read()) == b"".join(EVENTS)
        client.close()
    finally:
        ringtape.stop()


def http_connections(ringtape):
    """Connections of clients that ringtape has open: its sockets with its port that are established or wait for its close."""
    with open(f"/proc/{ringtape.process.pid}/net/tcp") as table:
        lines = [line.split() for line in table.readlines()[1:]]
    inodes = set()
    for link in pathlib.Path(f"/proc/{ringtape.process.pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            inodes.add(link.readlink().name)
    return sum(line[1].endswith(f":{ringtape.port:04X}") and line[3] in ("01", "08") and f"socket:[{line[9]}]" in inodes for line in lines)


def test_a_stream_that_its_client_left_stays_open_in_replay(tmp_path, origin):
    tape = record(tmp_path, origin, "/endless")
    flow, = rows(tape, "select complete, error from flow")
    assert (flow["complete"], flow["error"]) == (0, "closed: the client left the event stream")
    ringtape = Ringtape(tmp_path, "replay", tape, "--report", tmp_path / "report.json", ca_dir=tmp_path / "ca")
    try:
        client, answer = ask(ringtape.port, origin.url("/endless"))
        whole = b"".join(EVENTS)
        assert take(answer, len(whole)) == whole
        client.sock.settimeout(0.3)
        with pytest.raises(TimeoutError):  # neither an end nor an error
            answer.read1(1)
        assert http_connections(ringtape) == 1
        answer.close()
        client.close()
        until(lambda: http_connections(ringtape) == 0, "the end of what its client has left", ringtape.process)
        client, answer = ask(ringtape.port, origin.url("/endless"))
        assert take(answer, len(whole)) == whole
        begun = time.monotonic()
        ringtape.stop()  # with a stream held: a shutdown does not wait for its client
        assert time.monotonic() - begun < PATIENCE_S / 2
        answer.close()
        client.close()
    finally:
        ringtape.stop(expect=None)
    assert '"missed":0' in (tmp_path / "report.json").read_text().replace(" ", "")


NODE = """
const http = require('http');
const [port, url] = process.argv.slice(1);
const request = http.get({host: '127.0.0.1', port, path: url}, answer => {
  answer.on('data', piece => process.stdout.write(piece));
});
"""


def test_node_sees_each_event_when_it_comes(tmp_path, origin):
    tape = tmp_path / "s.tape"
    ringtape = Ringtape(tmp_path, "record", "-o", tape, ca_dir=tmp_path / "ca")
    node = subprocess.Popen([shutil.which("node"), "-e", NODE, str(ringtape.port), origin.url("/plain")],
                            stdout=subprocess.PIPE, env=clean_env())
    try:
        for event in EVENTS:
            origin.allow.release()
            assert node.stdout.read(len(event)) == event
        assert node.stdout.read() == b"" and node.wait(PATIENCE_S) == 0
    finally:
        node.kill()
        node.wait()
        node.stdout.close()
        ringtape.stop()
    shown = run(RINGTAPE, "show", tape, "1", "--messages").stdout.decode()
    assert shown.count('"kind":"event"') == len(EVENTS)
