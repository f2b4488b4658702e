"""HTTP/2 on both legs: mirrored, translated, recorded and replayed."""

import hashlib
import signal
import subprocess

import programs
import pytest
from support import PATIENCE_S, clean_env, export_har, flows, rows, run, until


@pytest.fixture
def h2(tmp_path, shared):
    """A Go server with HTTP/2 and HTTP/1.1 over TLS."""
    class Origin:
        def url(self, path):
            return f"https://localhost:{self.port}{path}"

        def stop(self):
            if self.process.poll() is None:
                self.process.send_signal(signal.SIGKILL)
                self.process.wait(PATIENCE_S)

    o = Origin()
    pem, key = shared.authority.issue("good")
    port_file = tmp_path / "h2origin.port"
    with open(tmp_path / "h2origin.log", "wb") as log:
        o.process = subprocess.Popen([programs.go_h2origin(), pem, key, port_file], stdout=log, stderr=log, env=clean_env())
    o.port = int(until(lambda: port_file.exists() and port_file.read_text(), "the origin's port", o.process))
    yield o
    o.stop()


CURL = ("curl", "-sS", "-w", "%{http_version} %{response_code}\n")


def versions(tape):
    return {(r["request_version"], r["response_version"]) for r in rows(tape, "select * from flow")}


def alpn(tape, side):
    return {r["alpn"] for r in rows(tape, "select * from connection where side = ?", side)}


@pytest.mark.quick
@pytest.mark.sanitize
@pytest.mark.thread
def test_both_legs(session, h2):
    """The client gets what the origin chose of its offer; the replay offers the same."""
    urls = [h2.url(p) for p in ("/seen?a=1", "/seen?a=2", "/trailers", "/hints")]
    out = session.both(h2, *CURL, "--http2", "-H", "X-Case: Kept", "-b", "a=1; b=2", *urls, least=4)
    assert out.count(b"2 200\n") == 4
    assert b"GET /seen?a=1 HTTP/2.0 host=localhost:%d" % h2.port in out and b'Cookie: ["a=1; b=2"]' in out and b'X-Case: ["Kept"]' in out
    assert versions(session.tape) == {("HTTP/2", "HTTP/2")}
    assert alpn(session.tape, "client") == alpn(session.tape, "server") == {"h2"}
    assert len(rows(session.tape, "select * from connection where side = 'server'")) == 1, "one connection carries them all"
    entry = session.har["log"]["entries"][0]
    assert entry["request"]["httpVersion"] == entry["response"]["httpVersion"] == "HTTP/2"


def test_trailers_and_hints(session, h2):
    """promise 17: trailers; 1xx."""
    session.record("curl", "-sS", "--http2", h2.url("/trailers"), h2.url("/hints"))
    trailer, = rows(session.tape, "select * from headers where trailer = 1")
    assert (trailer["side"], trailer["name"].lower(), trailer["value"]) == ("response", "x-sum", "42")
    hints, = rows(session.tape, "select * from flow where path = '/hints'")
    assert hints["informational"].startswith("[[103,") and "preload" in hints["informational"]


@pytest.mark.parametrize("options, want", [((), {"h2"}), (("--no-http2",), {"http/1.1"})])
def test_no_http2(session, h2, options, want):
    out = session.record(*CURL, "--http2", h2.url("/seen"), options=options)
    assert out.endswith(b"2 200\n" if want == {"h2"} else b"1.1 200\n")
    assert alpn(session.tape, "server") == want == alpn(session.tape, "client")


def test_origin_of_http11(session, origin):
    out = session.both(origin, *CURL, "--http2", origin.url("/hello.txt", "https"))
    assert out.endswith(b"1.1 200\n")


def test_client_of_http11(session, h2):
    out = session.both(h2, *CURL, "--http1.1", h2.url("/seen"))
    assert out.endswith(b"1.1 200\n") and b"HTTP/1.1" in out


@pytest.mark.sanitize
@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
@pytest.mark.parametrize("size", [0, 1, 100_000, 5_000_000])
def test_bodies_up_and_down(session, h2, tmp_path, version, size):
    (tmp_path / "body").write_bytes(bytes(i * 7 & 0xff for i in range(1000)) * (size // 1000) + b"x" * (size % 1000))
    data = (tmp_path / "body").read_bytes()
    out = session.both(h2, "sh", "-c", f"curl -sS {version} --data-binary @body -H 'Expect:' {h2.url('/echo')} | sha256sum")
    assert out.split()[0].decode() == hashlib.sha256(data).hexdigest()
    flow, = flows(session.tape)
    assert flow["request_bytes"] == flow["response_bytes"] == len(data)


def test_reverse_translates(ringtape, origin, shared, tmp_path):
    """HTTP/2 to an origin that has only HTTP/1.1, by TLS and by prior knowledge; then the same from the tape."""
    tape = tmp_path / "reverse.tape"

    def ask(port):
        got = []
        for scheme, how in (("https", "--http2"), ("http", "--http2-prior-knowledge"), ("https", "--http1.1")):
            for path in ("hello.txt", "big.bin"):  # each its own curl: 7.88 cannot go on with a connection of prior knowledge
                got.append(run(*CURL, how, "--cacert", shared.ca, f"{scheme}://127.0.0.1:{port}/{path}", env=clean_env()).stdout)
        got.append(run("curl", "-sSI", "--http2", "--cacert", shared.ca, f"https://127.0.0.1:{port}/hello.txt", env=clean_env()).stdout)
        return got

    r = ringtape("record", "-o", tape, "--reverse", origin.url(""))
    first = ask(r.port)
    r.stop()
    assert [x[-6:] for x in first[:4]] == [b"2 200\n"] * 4 and [x[-8:] for x in first[4:6]] == [b"1.1 200\n"] * 2
    big = (origin.www / "big.bin").read_bytes()
    assert all(x.startswith(big) for x in (first[1], first[3], first[5]))
    assert first[6].startswith(b"HTTP/2 200") and b"content-length: 13" in first[6].lower()
    assert all(f["complete"] for f in flows(tape)) and len(flows(tape)) == 7
    origin.stop()
    r = ringtape("replay", tape, "--reverse", origin.url(""))
    assert ask(r.port) == first
    r.stop()


def test_streams_side_by_side(ringtape, h2, shared, tmp_path):
    """h2load: 100 streams at once on each of 4 connections."""
    tape = tmp_path / "load.tape"
    r = ringtape("record", "-o", tape, "--reverse", h2.url(""))
    out = run("h2load", "-n", "4000", "-c", "4", "-m", "100", f"https://127.0.0.1:{r.port}/seen", env=clean_env()).stdout.decode()
    assert "4000 succeeded, 0 failed, 0 errored" in out and "status codes: 4000 2xx" in out, out
    r.stop()
    assert len(flows(tape, "complete and status = 200 and http_version = 'HTTP/2'")) == 4000


def test_a_client_of_small_windows_is_no_flood(ringtape, h2, tmp_path):
    """A window of 4 KB over 32 MB: thousands of WINDOW_UPDATE frames in a row, which all serve something."""
    tape = tmp_path / "windows.tape"
    r = ringtape("record", "-o", tape, "--reverse", h2.url(""))
    run("nghttp", "-n", "-w", "12", "-W", "12", f"https://127.0.0.1:{r.port}/big", env=clean_env())
    r.stop()
    flow, = flows(tape)
    assert flow["complete"] and flow["response_bytes"] == 32 << 20


def test_floods_end_the_connection(ringtape, h2, shared, tmp_path):
    """Rapid resets (CVE-2023-44487) and endless PINGs: the connection ends with ENHANCE_YOUR_CALM, the proxy serves on."""
    import http2_client
    r = ringtape("record", "-o", tmp_path / "flood.tape", "--reverse", h2.url(""))
    for flood in ("rapid", "pings"):
        with http2_client.connect(r.port, shared.ca) as c:
            assert getattr(c, flood)(10_000) == 11
    with http2_client.connect(r.port, shared.ca) as c:
        assert c.finish(c.get("/seen")).startswith(b"GET /seen")
    r.stop()


def test_a_stalled_stream_stops_no_other(ringtape, h2, shared, tmp_path):
    """One response is not read; others on the same connection go on, and memory stays bounded."""
    import http2_client
    tape = tmp_path / "stall.tape"
    r = ringtape("record", "-o", tape, "--reverse", h2.url(""))
    with http2_client.connect(r.port, shared.ca) as c:
        stalled = c.get("/big")
        c.read_some(stalled, 65536)  # and never gives window back
        for _ in range(20):
            assert c.finish(c.get("/seen")).startswith(b"GET /seen")
        c.reset(stalled)
        assert c.finish(c.get("/seen")).startswith(b"GET /seen")
    r.stop()
    big, = flows(tape, "path = '/big'")
    assert not big["complete"] and big["error"].startswith("closed") and big["response_bytes"] < 20_000_000


def test_origin_that_resets(ringtape, h2, shared, tmp_path):
    """What came before the reset is forwarded before ours."""
    import http2_client
    tape = tmp_path / "reset.tape"
    r = ringtape("record", "-o", tape, "--reverse", h2.url(""))
    with http2_client.connect(r.port, shared.ca) as c:
        stream = c.get("/abort")
        assert c.ending(stream) == "StreamReset" and c.got[stream] == b"half"
        assert c.finish(c.get("/seen")).startswith(b"GET /seen")
    r.stop()
    flow, = flows(tape, "path = '/abort'")
    assert not flow["complete"] and flow["error"].startswith("reset") and flow["response_bytes"] == 4


def test_a_client_that_resets(ringtape, h2, shared, tmp_path):
    import http2_client
    tape = tmp_path / "cancel.tape"
    r = ringtape("record", "-o", tape, "--reverse", h2.url(""))
    with http2_client.connect(r.port, shared.ca) as c:
        stream = c.get("/big")
        c.read_some(stream, 1000)
        c.reset(stream)
        assert c.finish(c.get("/seen")).startswith(b"GET /seen")
    r.stop()
    flow, = flows(tape, "path = '/big'")
    assert not flow["complete"] and flow["error"].startswith("closed: the client reset the stream")


# What a translation to HTTP/1.1 could be led astray by: RFC 9113 §8.1.1, §8.2.1, §8.3.1.
SMUGGLED = {
    "authority against host": [(":authority", "localhost"), ("host", "other")],
    "two hosts": [("host", "localhost"), ("host", "localhost")],
    "user information": [(":authority", "user@localhost")],
    "CR LF in a value": [(":authority", "localhost"), ("x", "1\r\nevil: 2")],
    "NUL in a value": [(":authority", "localhost"), ("x", "1\0")],
    "a space in the path": [(":authority", "localhost"), (":path", "/seen HTTP/1.1")],
    "CR LF in the path": [(":authority", "localhost"), (":path", "/seen\r\nevil: 1")],
    "a path without a slash": [(":authority", "localhost"), (":path", "seen")],
    "a method that is two words": [(":authority", "localhost"), (":method", "GET /evil")],
    "transfer-encoding": [(":authority", "localhost"), ("transfer-encoding", "chunked")],
    "connection": [(":authority", "localhost"), ("connection", "close")],
    "upper case": [(":authority", "localhost"), ("X-Case", "1")],
    "a length without content": [(":authority", "localhost"), ("content-length", "5")],
}


@pytest.mark.sanitize
@pytest.mark.parametrize("case", SMUGGLED)
def test_what_could_be_smuggled_is_refused(ringtape, h2, shared, tmp_path, case):
    import http2_client
    tape = tmp_path / "smuggled.tape"
    r = ringtape("record", "-o", tape, "--reverse", h2.url(""))
    with http2_client.connect(r.port, shared.ca) as c:
        assert c.ending(c.raw(SMUGGLED[case])) == "StreamReset"
        assert c.finish(c.get("/seen")).startswith(b"GET /seen"), "the connection goes on"
    r.stop()
    bad, good = flows(tape)
    assert not bad["complete"] and bad["error"].startswith("ambiguous") and good["complete"]


def test_har(session, h2, tmp_path):
    session.record("curl", "-sS", "--http2", "-d", "a=1", h2.url("/seen"), h2.url("/trailers"))
    har = export_har(session.tape, tmp_path)
    assert [e["response"]["httpVersion"] for e in har["log"]["entries"]] == ["HTTP/2", "HTTP/2"]
