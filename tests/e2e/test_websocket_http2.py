"""WebSockets over HTTP/2 (RFC 8441): Node's http2 and ws on both ends, Chromium, and python3-h2 where each frame counts."""

import pathlib
import re
import socket
import ssl
import threading

import http2_client
import http2_origin
import pytest
from origins import PortFile, go_h2origin
from support import PATIENCE_S, RINGTAPE, clean_env, export_har, flows, rows, run

CLIENTS = pathlib.Path(__file__).parent / "clients"
NODE = {"NODE_PATH": "/usr/share/nodejs"}
BACKENDS = pytest.mark.parametrize("backend", ["io_uring", "epoll"])
HEARD = "offered\n200 - -\nONE\n030201\n" + "X" * 200000 + "\n1000 enough\n"


@pytest.fixture
def node(tmp_path, shared):
    o = PortFile(tmp_path, "websocket_h2", "node", CLIENTS / "websocket_h2.js", "serve", *shared.authority.issue("good"), env=clean_env(**NODE))
    yield o
    o.stop()


@pytest.fixture
def go(tmp_path, shared):
    """Speaks HTTP/2 and offers no WebSocket in it."""
    o = go_h2origin(tmp_path, shared.authority)
    yield o
    o.stop()


def talking(url, *says):
    return ["env", "NODE_PATH=/usr/share/nodejs", "sh", "-c", 'exec node "$0" talk "${https_proxy##*:}" "$RINGTAPE_CA" "$@"', CLIENTS / "websocket_h2.js", url, *says]


def conversation(tape, flow):
    found = rows(tape, "select direction, kind, code, payload from message where flow = ? order by seq", flow)
    return [(r["direction"], r["kind"], r["code"], r["payload"]) for r in found]


@BACKENDS
def test_node_talks_over_http2(session, node, tmp_path, backend):
    """Promise 18: WebSocket over HTTP/2, as messages on the tape, and replayed."""
    talk = talking(node.url("/talk"), "one", "hex:010203", "long:200000")
    assert session.record(*talk, options=("--backend", backend)).decode() == HEARD
    export_har(session.tape, tmp_path)
    flow, = flows(session.tape)
    assert flow["complete"] and (flow["kind"], flow["http_version"], flow["method"], flow["status"], flow["path"]) == ("websocket", "HTTP/2", "GET", 101, "/talk")
    assert conversation(session.tape, flow["id"]) == [
        ("request", "text", None, b"one"), ("response", "text", None, b"ONE"), ("request", "binary", None, b"\1\2\3"), ("response", "binary", None, b"\3\2\1"),
        ("request", "text", None, b"x" * 65536)] + [("request", "text", None, b"x" * 65536)] * 2 + [("request", "text", None, b"x" * 3392)] + [
        ("response", "text", None, b"X" * 65536)] * 3 + [("response", "text", None, b"X" * 3392), ("request", "close", 1000, b"enough"), ("response", "close", 1000, b"enough")]
    listing = run(RINGTAPE, "ls", session.tape).stdout.decode()
    assert re.search(r"101\s+GET .*/talk$", listing, re.M)
    node.stop()
    assert session.replay(*talk, options=("--backend", backend)).decode() == HEARD
    assert session.report["missed"] == 0


def test_a_refusal_is_an_answer(session, node):
    both = "; ".join(f'node "$0" talk "${{https_proxy##*:}}" "$RINGTAPE_CA" {node.url(path)} one' for path in ("/talk", "/elsewhere"))
    heard = session.both(node, "env", "NODE_PATH=/usr/share/nodejs", "sh", "-c", both, CLIENTS / "websocket_h2.js").decode()
    assert heard == "offered\n200 - -\nONE\n1000 enough\noffered\n403 - -\nnot here\n"
    assert [(f["kind"], f["status"]) for f in session.flows] == [("websocket", 101), ("http", 403)]


def test_it_is_offered_where_the_origin_offers_it(session, go):
    assert session.record(*talking(go.url("/talk"), "one")).decode() == "not offered\n"


def test_chromium_talks_over_http2(session, node, tmp_path):
    script = CLIENTS / "browser.py"
    done = "done: ONE, MORE 1, MORE 2 1000enough"
    out = session.record("/usr/bin/python3", script, node.url("/index.html"), tmp_path / "profile1").decode()
    assert done in out, out
    of = {f["path"]: f for f in flows(session.tape, f"port = {node.port}")}
    assert (of["/talk"]["kind"], of["/talk"]["http_version"], of["/talk"]["status"], of["/talk"]["complete"]) == ("websocket", "HTTP/2", 101, 1)
    export_har(session.tape, tmp_path)
    node.stop()
    out = session.replay("/usr/bin/python3", script, node.url("/index.html"), tmp_path / "profile2").decode()
    assert done in out, out
    assert session.report["missed"] == 0, session.report["misses"]


def test_a_tape_of_one_version_serves_the_other(session, node, tmp_path):
    """Recorded over HTTP/2, replayed to a client of HTTP/1.1: its key is answered."""
    session.record(*talking(node.url("/talk"), "one"))
    node.stop()
    heard = session.replay("sh", "-c", 'exec /usr/bin/python3 "$0" "${https_proxy##*:}" "$1" "$RINGTAPE_CA" one', CLIENTS / "websocket.py",
                           node.url("/talk").replace("https", "wss")).decode()
    assert heard == "ONE\n"
    assert session.report["missed"] == 0


# ---- every frame in hand ----

def frame(text):
    """Of a client, with a mask of zeros."""
    return bytes([0x81, 0x80 | len(text)]) + bytes(4) + text


def answer(connection, stream):
    connection.h2.send_headers(stream, [(":status", "200")])


def end(connection, stream):
    connection.h2.end_stream(stream)


@pytest.mark.parametrize("last", [False, True])
def test_what_a_client_says_too_early_waits_for_the_answer(ringtape, shared, tmp_path, last):
    """In order, the end included; a client may not know yet whether it is heard (RFC 9298 lets one try)."""
    tape, said = tmp_path / "t.tape", frame(b"early") + frame(b"bird")
    may_answer, answered = threading.Event(), []

    def opened(connection, stream):
        assert may_answer.wait(PATIENCE_S)
        answer(connection, stream)

    def data(connection, stream):
        if connection.bodies[stream] == said and not last and not answered:
            answered.append(stream)
            connection.h2.send_data(stream, b"\x81\x02ok")

    with http2_origin.origin(shared, end, upgrades=1, opened=opened, data=data) as o:
        r = ringtape("record", "-o", tape)
        with http2_client.connect(r.port, shared.ca, f"localhost:{o.port}") as c:
            stream = c.upgrade("/chat", early=said, end=last)
            assert c.ping()
            may_answer.set()
            if not last:
                c.read_some(stream, 4)
                c.say(stream, b"", end=True)
            assert c.finish(stream) == (b"" if last else b"\x81\x02ok")
        r.stop()
    flow, = flows(tape)
    assert (flow["kind"], flow["complete"], flow["request_bytes"]) == ("websocket", 1, len(said))
    assert [m[:2] + m[3:] for m in conversation(tape, flow["id"])][:2] == [("request", "text", b"early"), ("request", "text", b"bird")]


def test_a_reset_travels_both_ways_and_costs_its_stream_alone(ringtape, shared, tmp_path):
    tape = tmp_path / "t.tape"

    def data(connection, stream):
        if connection.bodies[stream] == frame(b"break"):
            connection.h2.reset_stream(stream, 8)

    with http2_origin.origin(shared, lambda connection, stream: connection.answer(stream), upgrades=1, opened=answer, data=data) as o:
        o.opened = lambda connection, stream: answer(connection, stream) if ":protocol" in connection.heads[stream] else None
        r = ringtape("record", "-o", tape)
        with http2_client.connect(r.port, shared.ca, f"localhost:{o.port}") as c:
            one, two = c.upgrade("/one"), c.upgrade("/two")
            c.say(one, frame(b"break"))
            assert c.ending(one) == "StreamReset" and c.ended[one].error_code == 8
            c.say(two, frame(b"hello"))
            assert c.finish(c.get("/plain")) == b"fine"
            c.reset(two)
            assert o.resets.get(timeout=PATIENCE_S)[1] == 8
            assert c.finish(c.get("/after")) == b"fine"
        r.stop()
        assert o.connections == 1
    of = {f["path"]: f for f in flows(tape)}
    assert not of["/one"]["complete"] and of["/one"]["error"].startswith("reset"), of["/one"]
    assert not of["/two"]["complete"] and of["/two"]["error"].startswith("closed"), of["/two"]
    assert of["/plain"]["complete"] and of["/after"]["complete"]


def test_an_origin_whose_settings_never_come_is_not_waited_for_for_ever(ringtape, shared, tmp_path):
    """The client goes on after LIMIT_SETTINGS_MS, and is offered nothing."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*shared.authority.issue("good"))
    context.set_alpn_protocols(["h2"])
    with socket.create_server(("127.0.0.1", 0)) as listener:
        r = ringtape("record", "-o", tmp_path / "t.tape")
        silent = []
        thread = threading.Thread(target=lambda: silent.append(context.wrap_socket(listener.accept()[0], server_side=True)))
        thread.start()
        with http2_client.connect(r.port, shared.ca, f"localhost:{listener.getsockname()[1]}") as c:
            assert c.ping()
            assert not c.h2.remote_settings.enable_connect_protocol
        thread.join(PATIENCE_S)
        silent[0].close()
        r.stop()
