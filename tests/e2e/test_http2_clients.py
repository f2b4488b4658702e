"""Real clients that speak HTTP/2: each records, exports a valid HAR, and replays with the origin switched off, byte for byte the same.
HTTP/2 was spoken on both legs, by what the tape says of both."""

import re

import pytest
from origins import Nghttpd
from programs import CLIENTS, go_client, java_client
from support import Nginx, Ports, clean_env, flows, rows, run
from test_clients import DOT, ODD, PAGE, PATHS, check_har

PYTHON = "/usr/bin/python3"


@pytest.fixture
def origin(tmp_path, shared):
    """nginx whose `h2` port speaks HTTP/2, too."""
    folder = tmp_path / "origin"
    folder.mkdir()
    (folder / "odd.conf").write_bytes(ODD)
    ports = Ports()
    h2 = ports.take()
    nginx = Nginx(folder, shared.authority, extra=f"include {folder}/odd.conf; listen 127.0.0.1:{h2} ssl http2 reuseport;")
    nginx.h2 = h2
    yield nginx
    nginx.stop()
    ports.close()


def urls(origin):
    return [f"https://localhost:{origin.h2}{path}" for path in PATHS]


def spoke_http2(tape):
    """Both sides of every flow, and every connection that carried one."""
    assert {(r["request_version"], r["response_version"]) for r in rows(tape, "select * from flow")} == {("HTTP/2", "HTTP/2")}
    assert {f["http_version"] for f in flows(tape)} == {"HTTP/2"}
    carried(tape, "h2", "h2")


def carried(tape, client, server):
    alpn = "select distinct c.alpn from connection c join flow f on f.{}_connection = c.id"
    assert {r["alpn"] for r in rows(tape, alpn.format("client"))} == {client}
    assert {r["alpn"] for r in rows(tape, alpn.format("server"))} == {server}


COMMANDS = {
    "curl": lambda: ("curl", "-sS", "-D", "-", "--http2"),
    "go": lambda: (go_client(),),
    "httpx": lambda: (PYTHON, CLIENTS / "client.py", "httpx2"),
    "node": lambda: ("node", CLIENTS / "client.js", "http2"),
    "java": lambda: ("java", *java_client("Client")),
}


@pytest.mark.parametrize("client", COMMANDS)
def test_through_connect(session, origin, client):
    out = session.both(origin, *COMMANDS[client](), *urls(origin), least=len(PATHS))
    assert out.count(b"hello, world") == 1 and out.lower().count(b"x-twice") >= 1
    spoke_http2(session.tape)
    check_har(session.tape, origin.folder)


def by_reverse(ringtape, origin, tmp_path, ask, holds=spoke_http2):
    """Asks ringtape in the place of an origin; the same again from the tape."""
    tape, url = tmp_path / "reverse.tape", f"https://localhost:{origin.h2}"
    r = ringtape("record", "-o", tape, "--reverse", url)
    first = ask(r.port)
    r.stop()
    holds(tape)
    assert all(f["complete"] for f in flows(tape))
    check_har(tape, tmp_path)
    origin.stop()
    r = ringtape("replay", tape, "--reverse", url)
    assert ask(r.port) == first
    r.stop()
    return first


def test_curl_with_prior_knowledge(ringtape, origin, tmp_path):
    """HTTP/2 without TLS on the client's leg, HTTP/1.1 on the other; one curl a URL, since 7.88 cannot go on with such a connection."""
    def ask(port):
        return [run("curl", "-sS", "-D", "-", "--http2-prior-knowledge", f"http://127.0.0.1:{port}{path}", env=clean_env()).stdout for path in PATHS]

    def translated(tape):  # without ALPN there is no offer to pass on: HTTP/1.1 is asked for
        assert {(r["request_version"], r["response_version"]) for r in rows(tape, "select * from flow")} == {("HTTP/2", "HTTP/1.1")}
        carried(tape, "", "http/1.1")

    first = by_reverse(ringtape, origin, tmp_path, ask, translated)
    assert all(x.startswith(b"HTTP/2 ") for x in first) and first[0].endswith(b"hello, world\n")


def test_nghttp(ringtape, origin, tmp_path):
    """All paths as streams of one connection, some at once."""
    def ask(port):
        at = f"https://127.0.0.1:{port}"
        out = run("nghttp", "-n", "-s", *(at + path for path in PATHS[:-1]), env=clean_env()).stdout.decode()
        table = sorted((m[2], m[0], m[1]) for m in re.findall(r" (\d{3}) +(\S+) (/\S+)$", out, re.MULTILINE))
        assert len(table) == len(PATHS) - 1, out
        return table, [run("nghttp", at + path, env=clean_env()).stdout for path in PATHS[:-1]]

    _, bodies = by_reverse(ringtape, origin, tmp_path, ask)
    assert bodies[0] == b"hello, world\n" and bodies[3] == bytes(range(256)) * 4096


def test_h2load(ringtape, origin, tmp_path):
    def ask(port):
        out = run("h2load", "-n", "1000", "-c", "4", "-m", "32", f"https://127.0.0.1:{port}/data.json", env=clean_env()).stdout.decode()
        assert "1000 succeeded, 0 failed, 0 errored" in out and "status codes: 1000 2xx" in out, out
        return re.findall(r"\((\d+)\) data", out)

    by_reverse(ringtape, origin, tmp_path, ask)


def test_nghttpd_as_origin(session, shared, tmp_path):
    """Trailers and fields in nghttp2's own way."""
    origin = Nghttpd(tmp_path, shared.authority, "--trailer=x-end: 1", "--echo-upload")
    try:
        (origin.www / "page").write_bytes(bytes(range(256)) * 1000)
        out = session.both(origin, "curl", "-sS", "-D", "-", "--http2", origin.url("/page"), "-d", "a=1", origin.url("/echo"), least=2)
        assert out.endswith(b"a=1") and out.count(b"HTTP/2 200") == 2
        spoke_http2(session.tape)
        assert {h["value"] for h in rows(session.tape, "select * from headers where trailer and name = 'x-end'")} == {"1"}
        check_har(session.tape, tmp_path)
    finally:
        origin.stop()


def test_chromium(session, origin, tmp_path):
    """A page of several parts, all on one connection of the browser's."""
    for name, data in (("index.html", PAGE), ("style.css", "p { color: green }"), ("app.js", "window.fromScript = 'script';")):
        (origin.www / name).write_text(data)
    (origin.www / "dot.png").write_bytes(DOT)
    script, url = CLIENTS / "chromium.sh", f"https://localhost:{origin.h2}/index.html"
    out = session.record("sh", script, url, tmp_path / "profile1")
    assert "loaded grün script200 [[" in out.decode()
    check_har(session.tape, tmp_path)
    here = flows(session.tape, f"complete and port = {origin.h2}")
    assert {"/index.html", "/style.css", "/app.js", "/data.json", "/dot.png", "/odd"} <= {f["path"] for f in here}
    assert {f["http_version"] for f in here} == {"HTTP/2"}
    # Chromium may open a second connection and not use it; the origin's that was dialled for that one serves as well as the first.
    used = rows(session.tape, "select distinct client_connection from flow where complete and port = ?", origin.h2)
    assert len(used) == 1, used
    origin.stop()
    again = session.replay("sh", script, url, tmp_path / "profile2")
    assert again == out
    assert session.report["missed"] == 0, session.report["misses"]


def test_prior_knowledge_within_connect(session, shared, tmp_path):
    """An origin that speaks HTTP/2 in clear and nothing else: what the client speaks within its CONNECT is what the origin gets."""
    origin = Nghttpd(tmp_path, shared.authority, "--no-tls")
    (origin.www / "index.html").write_text("hello\n")
    command = ("sh", "-c", 'exec curl -sS -p -x "$RINGTAPE_PROXY" --http2-prior-knowledge "$0"', f"http://localhost:{origin.port}/index.html")
    try:
        assert session.record(*command) == b"hello\n"
    finally:
        origin.stop()
    (flow,) = flows(session.tape, "kind = 'http'")
    assert (flow["http_version"], flow["status"], flow["complete"]) == ("HTTP/2", 200, 1)
    assert session.replay(*command) == b"hello\n"
    assert session.report["missed"] == 0
