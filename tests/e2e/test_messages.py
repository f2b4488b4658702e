"""gRPC and gRPC-Web as messages on the tape, and their status in `ls` and `show`."""

import base64
import gzip
import http.client
import http.server
import json
import struct
import threading

import pytest
from support import RINGTAPE, Ringtape, rows, run


def message(flags, payload):
    return bytes([flags]) + struct.pack(">I", len(payload)) + payload


TRAILERS = b"grpc-status: 5\r\ngrpc-message: no%20such%20%e2%9c%93%1b\r\n"
# path: (type, more fields, body)
ANSWERS = {
    "/web": ("application/grpc-web+proto", {}, message(0, b"one") + message(0, b"two") + message(0x80, TRAILERS)),
    "/text": ("application/grpc-web-text", {}, base64.b64encode(message(0, b"ab")) + base64.b64encode(message(0x80, TRAILERS))),
    "/zipped": ("application/grpc-web", {"grpc-encoding": "gzip"},
                message(1, gzip.compress(b"hello, hello")) + message(0x80, b"grpc-status:0\r\n")),
    "/only": ("application/grpc-web", {"grpc-status": "7", "grpc-message": "go%20away"}, b""),
    "/odd": ("application/grpc-web", {}, message(0x80, b"grpc-status: \x1b[31m9\r\n")),
    "/cut": ("application/grpc-web", {}, message(0, b"one") + b"\0\0\0\0\5tw"),
    "/wrong": ("application/grpc-web", {}, b"this is no message"),
    "/plain": ("text/plain", {"grpc-status": "5"}, b"grpc"),
}


class Origin(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers["content-length"]))
        kind, fields, body = ANSWERS[self.path]
        self.send_response(200)
        for name, value in {"Content-Type": kind, "Content-Length": str(len(body)), **fields}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def recorded(tmp_path_factory):
    """One tape of all answers: (path of the tape, its folder)."""
    folder = tmp_path_factory.mktemp("messages")
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Origin)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    tape = folder / "m.tape"
    ringtape = Ringtape(folder, "record", "-o", tape, ca_dir=folder / "ca")
    try:
        for path, (kind, _, _) in ANSWERS.items():
            client = http.client.HTTPConnection("127.0.0.1", ringtape.port, timeout=30)
            body = message(0, b"ask") if "grpc-web-text" not in kind else base64.b64encode(message(0, b"ask"))
            client.request("POST", f"http://127.0.0.1:{server.server_port}{path}", body, {"Content-Type": kind})
            assert client.getresponse().read() == ANSWERS[path][2]
            client.close()
    finally:
        ringtape.stop()
        server.shutdown()
        server.server_close()
    return tape


def listed(tape):
    lines = run(RINGTAPE, "ls", tape, "--json").stdout.decode().splitlines()
    return {flow["path"]: flow for flow in map(json.loads, lines)}


def test_messages_of_both_directions_are_rows(recorded):
    found = rows(recorded, "select f.path, m.direction, m.kind, m.more, m.wire_bytes, m.payload from message m "
                           "join flow f on f.id = m.flow where m.kind <> 'violation' order by m.flow, m.seq")
    got = {}
    for row in found:
        assert row["kind"] == "grpc" and row["more"] == 0
        got.setdefault((row["path"], row["direction"]), []).append((row["payload"], row["wire_bytes"]))
    ask = [(b"ask", 8)]
    assert all(got.get((path, "request")) == ask for path in ANSWERS if path != "/plain")
    assert got["/web", "response"] == [(b"one", 8), (b"two", 8)], "the trailers frame is no message"
    assert got["/text", "response"] == [(b"ab", 7)]
    assert got["/zipped", "response"] == [(b"hello, hello", 5 + len(gzip.compress(b"hello, hello")))]
    assert got["/cut", "response"] == [(b"one", 8)]
    assert ("/plain", "request") not in got and ("/plain", "response") not in got
    assert ("/wrong", "response") not in got


@pytest.mark.parametrize("path, status, text", [
    ("/web", 5, "no such ✓\x1b"), ("/text", 5, "no such ✓\x1b"), ("/zipped", 0, None), ("/only", 7, "go away"),
    ("/odd", "\x1b[31m9", None), ("/cut", None, None), ("/wrong", None, None)])
def test_the_status_is_a_member_of_json(recorded, path, status, text):
    flow = listed(recorded)[path]
    assert (flow["grpc_status"], flow["grpc_message"]) == (status, text)
    shown = json.loads(run(RINGTAPE, "show", recorded, flow["id"], "--json").stdout)
    assert (shown["grpc_status"], shown["grpc_message"]) == (status, text)


def test_other_flows_have_no_such_member(recorded):
    assert "grpc_status" not in listed(recorded)["/plain"]


def test_ls_shows_the_word_beside_the_status(recorded):
    lines = {line.split("/")[-1].split()[0]: line.split()[3] for line in run(RINGTAPE, "ls", recorded).stdout.decode().splitlines()}
    assert lines == {"web": "200/NOT_FOUND", "text": "200/NOT_FOUND", "zipped": "200/OK", "only": "200/PERMISSION_DENIED",
                     "odd": "200/\\x1b[31m9", "cut": "200", "wrong": "200", "plain": "200"}


def test_show_names_status_word_and_message(recorded):
    flow = listed(recorded)["/web"]
    assert "\ngrpc      5 NOT_FOUND  no such ✓\\x1b\n" in run(RINGTAPE, "show", recorded, flow["id"]).stdout.decode()
    flow = listed(recorded)["/plain"]
    assert "\ngrpc      " not in run(RINGTAPE, "show", recorded, flow["id"]).stdout.decode()
