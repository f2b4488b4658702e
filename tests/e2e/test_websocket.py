"""WebSockets through record and replay, with programs that no one here wrote on both ends (RFC 6455, RFC 7692)."""

import asyncio
import os
import pathlib
import ssl
import struct
import threading

import pytest
import websockets
from raw import Client, raw_origin  # noqa: F401
from support import RINGTAPE, ROOT, clean_env, export_har, flows, rows, run

CLIENTS = pathlib.Path(__file__).parent / "clients"
PYTHON = "/usr/bin/python3"
UPGRADE = "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
ACCEPTED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"


class Capitals:
    """Python websockets as the origin: text comes back in capitals, bytes backwards; or what `talk` does."""

    def __init__(self, tls=None, talk=None):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.server = asyncio.run_coroutine_threadsafe(self._begin(tls, talk), self.loop).result(30)
        self.port = self.server.sockets[0].getsockname()[1]

    async def _begin(self, tls, talk):
        async def echo(ws):
            async for said in ws:
                await ws.send(said.upper() if isinstance(said, str) else said[::-1])
        # curl answers no close frame: the server need not wait for it.
        return await websockets.serve(talk or echo, "127.0.0.1", 0, ssl=tls, max_size=None, close_timeout=0.1 if talk else 10)

    def stop(self):
        if not self.loop.is_running():
            return

        async def end():
            self.server.close()
            await self.server.wait_closed()
        asyncio.run_coroutine_threadsafe(end(), self.loop).result(30)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(30)
        self.loop.close()


@pytest.fixture
def capitals(shared):
    started = []

    def start(tls=False):
        context = None
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*shared.authority.issue("good"))
        started.append(Capitals(context))
        return started[-1]

    yield start
    for s in started:
        s.stop()


def curl_with_ws():
    """The system's curl where it speaks WebSocket, else the one that scripts/deps.sh fetched."""
    own = pathlib.Path(os.environ.get("CURL_WS") or ROOT / "build/deps/curl/usr/bin/curl")
    return [own, {"LD_LIBRARY_PATH": own.parents[2] / "lib"}] if own.exists() else ["curl", {}]


@pytest.mark.parametrize("tls", [False, True])
def test_curl(session, shared, tmp_path, tls):
    """curl says nothing but what the protocol asks of it: it prints what the server says, a close frame's content too, and answers its ping."""
    printed = b"one \1\2\3\x03\xe8enough"
    curl, env = curl_with_ws()
    assert " ws" in run(curl, "--version", env=clean_env(**env)).stdout.decode(), "no curl that speaks WebSocket: run scripts/deps.sh test"

    async def greet(ws):
        await ws.send("one ")
        await (await ws.ping(b"there?"))
        await ws.send(b"\1\2\3")
        await ws.close(1000, "enough")

    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER) if tls else None
    if tls:
        context.load_cert_chain(*shared.authority.issue("good"))
    origin = Capitals(context, greet)
    try:
        command = ("sh", "-c", f'exec "{curl}" -sS -x "$RINGTAPE_PROXY" "$0"', f"{'wss' if tls else 'ws'}://localhost:{origin.port}/greet")
        assert session.record(*command, env=env) == printed
    finally:
        origin.stop()
    (flow,) = flows(session.tape)
    assert (flow["kind"], flow["status"], flow["complete"]) == ("websocket", 101, 1)
    said = conversation(session.tape, flow["id"])
    assert [m for m in said if m[0] == "response"] == [
        ("response", "text", None, "one "), ("response", "ping", None, "there?"), ("response", "binary", None, "\1\2\3"), ("response", "close", 1000, "enough")]
    assert ("request", "pong", None, "there?") in said
    assert session.replay(*command, env=env) == printed
    assert session.report["missed"] == 0 and session.report["served"] == 1


def conversation(tape, flow):
    found = rows(tape, "select direction, kind, code, payload from message where flow = ? order by seq", flow)
    return [(r["direction"], r["kind"], r["code"], r["payload"].decode(errors="backslashreplace")) for r in found]


SAID = ("one", "grün", "hex:010203", "ping", "long:200000", "fragments of one")
HEARD = "ONE\nGRÜN\n030201\npong\nXXX 200000\nFRAGMENTS OF ONE\n"


@pytest.mark.parametrize("tls, deflate", [(False, True), (True, True), (True, False)])
def test_python_websockets(session, capitals, tmp_path, tls, deflate):
    """Promise 12: messages on the tape with direction and kind, and replayed."""
    origin = capitals(tls)
    env = {} if deflate else {"NO_DEFLATE": "1"}
    url = f"{'wss' if tls else 'ws'}://localhost:{origin.port}/talk?x=1"
    command = ("sh", "-c", f'exec {PYTHON} {CLIENTS}/websocket.py "${{RINGTAPE_PROXY##*:}}" "$0" {"$RINGTAPE_CA" if tls else "-"} "$@"', url, *SAID)
    out = session.record(*command, env=env).decode()
    assert out == HEARD
    (flow,) = flows(session.tape, "kind = 'websocket'")
    assert flow["complete"] and not flow["error"] and flow["status"] == 101 and flow["path"] == "/talk?x=1"
    said = conversation(session.tape, flow["id"])
    text = [m for m in said if m[1] in ("text", "binary") and not (m[3] or "").lower().startswith("xxx")]
    assert text == [("request", "text", None, "one"), ("response", "text", None, "ONE"), ("request", "text", None, "grün"),
                    ("response", "text", None, "GRÜN"), ("request", "binary", None, "\1\2\3"), ("response", "binary", None, "\3\2\1"),
                    ("request", "text", None, "fragments of one"), ("response", "text", None, "FRAGMENTS OF ONE")]
    assert [m[:3] for m in said if m[1] in ("ping", "pong")] == [("request", "ping", None), ("response", "pong", None)]
    assert said[-2:] == [("request", "close", 1000, "enough"), ("response", "close", 1000, "enough")]
    (pieces,) = rows(session.tape, "select sum(length(payload)) as bytes, max(length(payload)) as most, sum(wire_bytes) as wire "
                     "from message where flow = ? and direction = 'request' and cast(payload as text) like 'xxx%'", flow["id"])
    assert pieces["bytes"] == 200000 and pieces["most"] == 65536
    assert pieces["wire"] < 1000 if deflate else pieces["wire"] > 200000
    har = export_har(session.tape, tmp_path)
    (entry,) = [e for e in har["log"]["entries"] if e["_resourceType"] == "websocket"]
    assert [(m["type"], m["opcode"], len(m["data"])) for m in entry["_webSocketMessages"]] == [
        (side, opcode, n) for opcode, n in ((1, 3), (1, 4), (2, 4), (1, 200000), (1, 16)) for side in ("send", "receive")]
    origin.stop()
    assert session.replay(*command, env=env).decode() == HEARD
    assert session.report["missed"] == 0 and session.report["served"] == 1
    # A client that speaks without compression is understood, and answered so that it understands.
    assert session.replay(*command, env={"NO_DEFLATE": "1"}).decode() == HEARD


def test_node_ws(session, capitals):
    origin = capitals()
    command = ("sh", "-c", f'exec node {CLIENTS}/websocket.js "${{RINGTAPE_PROXY##*:}}" "$@"', "-", f"ws://localhost:{origin.port}/", "one", "two", "three")
    out = session.record(*command, env={"NODE_PATH": "/usr/share/nodejs"})
    assert out == b"ONE\nTWO\nTHREE\n1000 enough\n"
    (flow,) = flows(session.tape, "kind = 'websocket'")
    assert flow["complete"]
    assert [m[3] for m in conversation(session.tape, flow["id"])] == ["one", "ONE", "two", "TWO", "three", "THREE", "enough", "enough"]
    origin.stop()
    assert session.replay(*command, env={"NODE_PATH": "/usr/share/nodejs"}) == out
    assert session.report["missed"] == 0


def test_a_message_that_differs_is_a_miss(session, capitals):
    origin = capitals()
    command = ("sh", "-c", f'{PYTHON} {CLIENTS}/websocket.py "${{RINGTAPE_PROXY##*:}}" "$0" - "$@" 2>/dev/null; true', f"ws://localhost:{origin.port}/talk")
    session.record(*command, "one", "two")
    origin.stop()
    session.replay(*command, "one", "zwei", expect=3)
    (miss,) = session.report["misses"]
    assert miss["reason"] == "different"
    assert miss["nearest"][0]["differences"] == [{"field": "message:2", "recorded": "two", "actual": "zwei"}]
    session.replay(*command, "one", "two", "three", expect=3)
    (miss,) = session.report["misses"]
    assert miss["nearest"][0]["differences"][0]["actual"] == "three"


@pytest.mark.quick
@pytest.mark.parametrize("backend", ["io_uring", "epoll"])
def test_frames_go_on_as_they_come(ringtape, raw_origin, tmp_path, backend):  # noqa: F811
    """Promise 16. An absolute-form GET; half a frame is passed on when it comes; a violation is passed on, and told."""
    tape = tmp_path / "t.tape"
    half = threading.Event()

    def script(peer):
        peer.request()
        peer.send(ACCEPTED)
        assert peer.exactly(4) == b"\x81\x82\0\0"
        half.set()
        assert peer.exactly(4) == b"\0\0hi"
        peer.send(b"\x81\x02ho\xf1\x01!")  # reserved bits
        assert peer.exactly(8) == b"\x88\x82\0\0\0\0\x03\xea"
        peer.send(b"\x88\x02\x03\xea")
    origin = raw_origin(script)
    r = ringtape("record", "-o", tape, "--backend", backend)
    with Client(r.port) as c:
        c.send(f"GET http://127.0.0.1:{origin.port}/ HTTP/1.1\r\nHost: 127.0.0.1:{origin.port}\r\n{UPGRADE}\r\n".encode())
        assert c.until(b"\r\n\r\n").startswith(b"HTTP/1.1 101 ")
        c.send(b"\x81\x82\0\0")
        assert half.wait(30)
        c.send(b"\0\0hi")
        assert c.exactly(7) == b"\x81\x02ho\xf1\x01!"
        c.send(b"\x88\x82\0\0\0\0\x03\xea")
        assert c.exactly(4) == b"\x88\x02\x03\xea"
    r.stop()
    (flow,) = flows(tape)
    assert [(m[0], m[1]) for m in conversation(tape, flow["id"])] == [
        ("request", "text"), ("response", "text"), ("response", "violation"), ("response", "bytes"), ("request", "close"), ("response", "bytes")]


def test_a_frame_with_two_readings_ends_the_flow(ringtape, raw_origin, tmp_path):  # noqa: F811
    tape = tmp_path / "t.tape"

    def script(peer):
        peer.request()
        peer.send(ACCEPTED + b"\x82\x7e\0\x01z")  # one byte, its length in two
        peer.rest()
    origin = raw_origin(script)
    r = ringtape("record", "-o", tape)
    with Client(r.port) as c:
        c.send(f"GET http://127.0.0.1:{origin.port}/ HTTP/1.1\r\nHost: x\r\n{UPGRADE}\r\n".replace("Host: x", f"Host: 127.0.0.1:{origin.port}").encode())
        c.until(b"\r\n\r\n")
        assert c.rest() == b""
    r.stop()
    (flow,) = flows(tape)
    assert flow["error"].startswith("ambiguous-framing: ") and not flow["complete"]


def test_a_message_of_1_gb_does_not_grow_memory(ringtape, raw_origin, tmp_path):  # noqa: F811
    tape, size, piece = tmp_path / "t.tape", 1 << 30, bytes(1 << 20)

    def script(peer):
        peer.request()
        peer.send(ACCEPTED + b"\x82\x7f" + struct.pack(">Q", size))
        for _ in range(size >> 20):
            peer.send(piece)
        peer.send(b"\x88\x02\x03\xe8")
        peer.rest()
    origin = raw_origin(script)
    r = ringtape("record", "-o", tape, "--max-body", 1 << 20)
    with Client(r.port) as c:
        c.send(f"GET http://127.0.0.1:{origin.port}/ HTTP/1.1\r\nHost: 127.0.0.1:{origin.port}\r\n{UPGRADE}\r\n".encode())
        c.until(b"\r\n\r\n")
        c.exactly(10)
        left = size - len(c.take(size))
        while left > 0:
            assert c.fill()
            left -= len(c.take(left))
            c.heard.clear()
        assert c.exactly(4) == b"\x88\x02\x03\xe8"
        with open(f"/proc/{r.process.pid}/status") as f:
            peak = next(int(line.split()[1]) for line in f if line.startswith("VmHWM:"))
    r.stop()
    assert peak < 64 * 1024, f"{peak} KB"
    (flow,) = flows(tape)
    (sums,) = rows(tape, "select sum(wire_bytes) as wire, sum(length(payload)) as kept from message where flow = ? and kind = 'binary'", flow["id"])
    assert sums == {"wire": size + 10, "kept": 1 << 20}
