"""`ringtape replay` as its users see it: answers, misses, orders, rules, reports, exit codes. The origin is a small server of our own, so that
each answer can be told from the others; it is gone before anything is replayed."""

import contextlib
import hashlib
import json
import os
import socket
import ssl
import subprocess
import threading
import time
import xml.etree.ElementTree as xml

import pytest
from support import PATIENCE_S, RINGTAPE, Ringtape, clean_env, flows, rows, run

PIECES = [b"first,", b"second,", b"third"]
PIECE_PAUSE_S = 0.06


class Origin:
    """Answers from a table: path -> function(origin, n, body) that gives bytes or a list of bytes with pauses between them."""

    def __init__(self, context=None):
        self.context = context
        self.asked = {}
        self.arrived = threading.Semaphore(0)  # pieces of /chunks
        self.listening = socket.create_server(("127.0.0.1", 0))
        self.port = self.listening.getsockname()[1]
        self.host = f"127.0.0.1:{self.port}"
        self.open = []
        self.thread = threading.Thread(target=self.accept, daemon=True)
        self.thread.start()

    def url(self, path, scheme="http"):
        return f"{scheme}://{self.host}{path}"

    def accept(self):
        while True:
            try:
                client, _ = self.listening.accept()
            except OSError:
                return
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.open.append(client)
            threading.Thread(target=self.serve, args=(client,), daemon=True).start()

    def serve(self, client):
        with contextlib.suppress(OSError), client:
            if self.context:
                client = self.context.wrap_socket(client, server_side=True)
            stream = client.makefile("rb")
            while line := stream.readline():
                method, target, _ = line.split()
                length = 0
                while (field := stream.readline()) not in (b"\r\n", b""):
                    if field.lower().startswith(b"content-length:"):
                        length = int(field.split(b":")[1])
                stream.read(length)
                self.answer(client, method.decode(), target.decode())

    def answer(self, client, method, target):
        n = self.asked[target] = self.asked.get(target, 0) + 1
        if target == "/chunks":
            client.sendall(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nTransfer-Encoding: chunked\r\n\r\n")
            for piece in PIECES:
                client.sendall(b"%x\r\n%s\r\n" % (len(piece), piece))
                # Once it has gone all the way, so that the next one is recorded at least a pause later.
                assert self.arrived.acquire(timeout=PATIENCE_S)
                time.sleep(PIECE_PAUSE_S)
            client.sendall(b"0\r\nX-Sum: abc\r\n\r\n")
            return
        if target == "/empty":
            client.sendall(b"HTTP/1.1 204 No Content\r\nX-Kind: empty\r\n\r\n")
            return
        body = f"{target} {n}\n".encode()
        head = f"HTTP/1.1 200 Fine\r\nContent-Type: text/plain\r\nx-odd-CASE: kept\r\nContent-Length: {len(body)}\r\n\r\n".encode()
        client.sendall(head + (b"" if method == "HEAD" else body))

    def close(self):
        self.listening.shutdown(socket.SHUT_RDWR)
        self.listening.close()
        for client in self.open:
            with contextlib.suppress(OSError):
                client.close()
        self.thread.join(PATIENCE_S)


JSON = ("-H", "Content-Type: application/json", "-d")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, shared):
    """One tape for most tests: what was asked, in this order, is flow 1, 2, …"""
    folder = tmp_path_factory.mktemp("recorded")
    origin = Origin()
    r = Ringtape(folder, "record", "-q", "-o", folder / "a.tape", ca_dir=shared.ca_dir)
    for args in (["/seq"], ["/seq"], ["/seq"], ["/q?t=1&a=1"], ["/json", *JSON, '{"nonce": 1, "a": {"b": 2}}'], ["-H", "X-Test: one", "/h"],
                 ["-I", "/head"], ["/empty"], ["-d", "a=1&b=2", "/form"]):
        run("curl", "-sS", "-x", r.proxy, *(origin.url(a) if a.startswith("/") else a for a in args), env=clean_env())
    request = f"GET {origin.url('/chunks')} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode()
    raw(r.port, request, lambda piece: [origin.arrived.release() for p in PIECES if p in piece])
    r.stop()
    origin.close()

    class Recorded:
        tape = folder / "a.tape"
        host, port, url = origin.host, origin.port, staticmethod(origin.url)
        flows_n = 10
    assert len(flows(Recorded.tape, "complete")) == Recorded.flows_n
    return Recorded


@pytest.fixture
def replay(ringtape, tmp_path):
    """Starts a replay; `.report()` ends it and gives its report."""
    def start(*argv, **more):
        r = ringtape("replay", *argv, "--report", tmp_path / "report.json", **more)

        def report(expect=0):
            r.stop(expect=expect)
            return json.loads((tmp_path / "report.json").read_text())
        r.report = report
        return r
    return start


class Answer:
    def __init__(self, raw):
        head, _, self.body = raw.partition(b"\r\n\r\n")
        self.line, *fields = head.decode("latin-1").split("\r\n")
        self.status = int(self.line.split()[1])
        self.fields = [tuple(f.split(": ", 1)) for f in fields]

    def field(self, name):
        return [v for n, v in self.fields if n.lower() == name.lower()]


def curl(proxy, *args):
    return Answer(run("curl", "-sS", "-i", "--raw", "-x", proxy, *args, env=clean_env()).stdout)


def raw(port, request, on_piece=lambda piece: None):
    """What the proxy answers, until it closes the connection, with the time at which each piece came."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as s:
        s.sendall(request)
        s.shutdown(socket.SHUT_WR)
        pieces = []
        while piece := s.recv(65536):
            pieces.append((time.monotonic(), piece))
            on_piece(piece)
        return pieces


def ask(port, url, version="1.1", more=""):
    pieces = raw(port, f"GET {url} HTTP/{version}\r\nHost: x\r\nConnection: close\r\n{more}\r\n".encode())
    return Answer(b"".join(p for _, p in pieces))


# --- hits ------------------------------------------------------------------------------------------------------------


@pytest.mark.quick
@pytest.mark.sanitize
def test_promise_27_28_a_hit_is_the_recorded_head_and_body(recorded, replay):
    r = replay(recorded.tape)
    a = curl(r.proxy, recorded.url("/seq"))
    assert a.line == "HTTP/1.1 200 Fine"
    assert a.fields == [("Content-Type", "text/plain"), ("x-odd-CASE", "kept"), ("Content-Length", "7")]
    assert a.body == b"/seq 1\n"
    a = curl(r.proxy, "-I", recorded.url("/head"))
    assert (a.field("content-length"), a.body) == (["8"], b"")
    a = curl(r.proxy, recorded.url("/empty"))
    assert (a.status, a.fields, a.body) == (204, [("X-Kind", "empty")], b"")
    a = curl(r.proxy, recorded.url("/chunks"))
    assert a.field("transfer-encoding") == ["chunked"] and not a.field("content-length")
    # promise 17: trailers are there, too; the pieces may be other ones
    assert a.body.endswith(b"0\r\nX-Sum: abc\r\n\r\n")
    a = curl(r.proxy, "-d", "b=2&a=1", recorded.url("/form"))
    assert a.body == b"/form 1\n"
    report = r.report()
    assert (report["served"], report["missed"], report["network_connects"]) == (5, 0, 0)


def test_http_1_0_client_and_a_chunked_recording(recorded, replay):
    r = replay(recorded.tape)
    a = ask(r.port, recorded.url("/chunks"), "1.0")
    assert not a.field("transfer-encoding") and not a.field("content-length")
    assert a.body == b"".join(PIECES)
    a = ask(r.port, recorded.url("/seq"), "1.0")
    assert (a.field("content-length"), a.body) == (["7"], b"/seq 1\n")
    r.stop()


ORDERS = {
    "sequence": ([1, 2, 3, 3, 3], 2),
    "first": ([1, 1, 1, 1, 1], 4),
    "last": ([3, 3, 3, 3, 3], 4),
    "cycle": ([1, 2, 3, 1, 2], 2),
    "once": ([1, 2, 3, None, None], 0),
}


@pytest.mark.parametrize("order", ORDERS)
def test_promise_3_orders(recorded, replay, order):
    wanted, repeated = ORDERS[order]
    r = replay(recorded.tape, "--order", order)
    for n in wanted:
        a = curl(r.proxy, recorded.url("/seq"))
        assert a.body == f"/seq {n}\n".encode() if n else (a.status, a.field("ringtape")) == (501, ["miss"])
    report = r.report()
    assert report["repeated"] == repeated
    assert report["served"] == sum(n is not None for n in wanted)
    assert report["flows"] == {str(n): wanted.count(n) for n in (1, 2, 3) if n in wanted}


def test_tag(recorded, replay):
    r = replay(recorded.tape, "--tag", "--order", "first")
    curl(r.proxy, recorded.url("/seq"))
    a = curl(r.proxy, recorded.url("/seq"))
    assert a.field("ringtape") == ["hit; flow=1; n=2"]
    assert curl(r.proxy, recorded.url("/nothing")).field("ringtape") == ["miss"]
    r.stop()


def test_rules_make_requests_match(recorded, replay):
    cases = [
        ((), "/q?a=1&t=1", (), True),  # the order of names does not count
        ((), "/q?a=1&t=2", (), False),
        (("--ignore", "query:t"), "/q?a=1&t=2", (), True),  # promise 6
        (("--ignore", "query"), "/q", (), True),
        ((), "/json", (*JSON, '{"a":{"b":2},"nonce":1}'), True),  # promise 5
        ((), "/json", (*JSON, '{"a":{"b":2},"nonce":2}'), False),
        (("--ignore", "json:/nonce"), "/json", (*JSON, '{"a":{"b":2},"nonce":2}'), True),
        (("--ignore", "json:/nonce"), "/json", (*JSON, '{"a":{"b":3},"nonce":2}'), False),
        (("--ignore", "body"), "/json", (*JSON, "5"), True),
        ((), "/h", ("-H", "X-Test: two"), True),
        (("--match", "path,header:x-test"), "/h", ("-H", "X-Test: two"), False),
        (("--match", "path,header:x-test"), "/h", ("-H", "X-Test: one"), True),
        (("--match", "path,header:x-test", "--ignore", "header:X-Test"), "/h", ("-H", "X-Test: two"), True),
        (("--match", "path"), "/form?new", ("-X", "DELETE"), True),
    ]
    options = sorted({c[0] for c in cases})
    for chosen in options:
        r = replay(recorded.tape, *chosen)
        for _, path, args, hit in (c for c in cases if c[0] == chosen):
            a = curl(r.proxy, *args, recorded.url(path))
            assert (a.status == 200) == hit, (chosen, path, args, a.body)
        r.stop()


def test_map(recorded, replay):
    r = replay(recorded.tape, "--map", f"elsewhere.test:81={recorded.host}")
    assert curl(r.proxy, "http://elsewhere.test:81/seq").body == b"/seq 1\n"
    a = curl(r.proxy, "http://elsewhere.test/seq")
    assert json.loads(a.body)["reason"] == "unknown-host"
    r.stop()


def test_several_tapes_and_a_filter(recorded, replay, ringtape, tmp_path):
    origin = Origin()
    r = ringtape("record", "-q", "-o", tmp_path / "b.tape")
    curl(r.proxy, origin.url("/second-tape"))
    r.stop()
    origin.close()
    r = replay(recorded.tape, tmp_path / "b.tape", "-f", "! ~u /seq", "--tag")
    assert curl(r.proxy, origin.url("/second-tape")).field("ringtape") == ["hit; flow=2:1; n=1"]
    assert curl(r.proxy, recorded.url("/form"), "-d", "a=1&b=2").field("ringtape") == ["hit; flow=1:9; n=1"]
    assert json.loads(curl(r.proxy, recorded.url("/seq")).body)["reason"] == "different"  # filtered out
    report = r.report()
    assert report["flows"] == {"1:9": 1, "2:1": 1}
    assert report["tapes"] == [str(recorded.tape), str(tmp_path / "b.tape")]
    assert report["unused_flows"] == [f"1:{n}" for n in (4, 5, 6, 7, 8, 10)]


def test_promise_11_tracks(ringtape, replay, tmp_path):
    """The user name given to the proxy is the track: parallel tests do not steal each other's answers."""
    origin = Origin()
    r = ringtape("record", "-q", "-o", tmp_path / "t.tape")

    def get(port, track):
        return run("curl", "-sS", "-x", f"http://{track}:@127.0.0.1:{port}", origin.url("/a"), env=clean_env()).stdout

    first = [get(r.port, t) for t in ("one", "two", "one")]
    r.stop()
    assert first == [b"/a 1\n", b"/a 2\n", b"/a 3\n"]
    origin.close()
    r = replay(tmp_path / "t.tape")
    assert [get(r.port, t) for t in ("two", "one", "two", "one")] == [b"/a 2\n", b"/a 1\n", b"/a 2\n", b"/a 3\n"]
    report = r.report()
    assert report["tracks"]["one"] == {"served": 2, "missed": 0, "repeated": 0}
    assert report["tracks"]["two"] == {"served": 2, "missed": 0, "repeated": 1}


def test_promise_13_recorded_pace(recorded, replay):
    """Pieces come no sooner than they came; nothing is said about how much later."""
    at = [r["at_ns"] for r in rows(recorded.tape, "select c.at_ns from flow f join chunk c on c.body = f.response_body "
                                                  "where f.path = '/chunks' order by c.seq")]
    assert len(at) == len(PIECES)
    assert all(b - a >= PIECE_PAUSE_S * 1e9 for a, b in zip(at, at[1:]))
    for pace, factor in (("recorded", 1), ("2", 2)):
        r = replay(recorded.tape, "--pace", pace)
        begin = time.monotonic()
        pieces = raw(r.port, f"GET {recorded.url('/chunks')} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        r.stop()
        came = [next(t for t, piece in pieces if wanted in piece) for wanted in PIECES]
        (sent,) = (row["sent_ns"] for row in rows(recorded.tape, "select sent_ns from flow where path = '/chunks'"))
        (end,) = (row["request_end_ns"] for row in rows(recorded.tape, "select request_end_ns from flow where path = '/chunks'"))
        for recorded_ns, when in zip(at, came):
            # The answer's time runs from the end of the request.
            assert when - begin >= factor * (recorded_ns - max(sent, end)) / 1e9
        assert came[-1] - begin >= factor * 2 * PIECE_PAUSE_S


def test_promise_2_alpn_as_recorded(ringtape, replay, tmp_path, shared):
    pem, key = shared.authority.issue("good")
    origins = []
    for protocols in (["http/1.1"], None):
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(pem, key)
        if protocols:
            context.set_alpn_protocols(protocols)
        origins.append(Origin(context))

    def get(port, origin, offer):
        """The protocol that was chosen, the names in the certificate, and the answer."""
        with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as s:
            s.sendall(f"CONNECT localhost:{origin.port} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert b" 200 " in s.recv(4096)
            context = ssl.create_default_context(cafile=shared.ca)
            if offer:
                context.set_alpn_protocols(offer)
            with context.wrap_socket(s, server_hostname="localhost") as t:
                t.sendall(b"GET /tls HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
                answer = b""
                while piece := t.recv(65536):
                    answer += piece
                return t.selected_alpn_protocol(), sorted(v for _, v in t.getpeercert()["subjectAltName"]), answer.split(b"\r\n\r\n")[1]

    def all_of(port):
        return [get(port, origin, offer)[:2] for origin in origins for offer in (["h2", "http/1.1"], ["http/1.1"], None)]

    r = ringtape("record", "-q", "-o", tmp_path / "tls.tape")
    first = all_of(r.port)
    r.stop()
    assert [alpn for alpn, _ in first] == ["http/1.1", "http/1.1", None, None, None, None]
    assert all("localhost" in names and "127.0.0.1" in names for _, names in first)
    for origin in origins:
        origin.close()
    r = replay(tmp_path / "tls.tape")
    assert all_of(r.port) == first
    report = r.report()
    assert (report["served"], report["missed"], report["network_connects"]) == (6, 0, 0)


# --- misses ----------------------------------------------------------------------------------------------------------


def miss(a):
    assert a.field("ringtape") == ["miss"] and a.field("content-type") == ["application/json"]
    assert a.field("content-length") == [str(len(a.body))]
    return json.loads(a.body)


@pytest.mark.quick
def test_promise_8_29_a_miss_says_why_and_what_to_do(recorded, replay):
    r = replay(recorded.tape, "--order", "once", "--match", "method,host,path,query,body")
    host = recorded.host
    got = miss(curl(r.proxy, recorded.url("/q?a=1&t=2")))
    nearest = got["nearest"].pop(0)
    assert len(got.pop("nearest")) == 2  # the next best
    assert nearest == {"flow": 4, "url": recorded.url("/q?t=1&a=1"), "differences": [{"field": "query:t", "recorded": "1", "actual": "2"}]}
    assert got == {"error": "no recording matches this request", "request": {"method": "GET", "url": recorded.url("/q?a=1&t=2")},
                   "reason": "different", "hint": "ringtape replay --ignore query:t …"}
    got = miss(curl(r.proxy, recorded.url("/json"), *JSON, '{"nonce": 7, "a": {"b": 2}}'))
    assert got["nearest"][0]["differences"] == [{"field": "json:/nonce", "recorded": "1", "actual": "7"}]
    assert got["hint"] == "ringtape replay --ignore json:/nonce …"
    got = miss(curl(r.proxy, "http://elsewhere.test/empty"))
    assert (got["reason"], got["nearest"][0]["flow"]) == ("unknown-host", 8)
    assert got["nearest"][0]["differences"] == [{"field": "host", "recorded": "127.0.0.1", "actual": "elsewhere.test"}]
    assert got["hint"] == "ringtape replay --map elsewhere.test=127.0.0.1 …"
    assert curl(r.proxy, recorded.url("/empty")).status == 204
    got = miss(curl(r.proxy, recorded.url("/empty")))
    assert got["reason"] == "exhausted"
    assert got["nearest"][0] == {"flow": 8, "url": f"http://{host}/empty", "differences": []}
    assert got["hint"] == "ringtape replay --order sequence …"
    report = r.report()
    assert report["missed"] == 4 and [m["reason"] for m in report["misses"]] == ["different", "different", "unknown-host", "exhausted"]
    assert "miss: GET http://elsewhere.test/empty: nothing was recorded from this host; nearest is flow 8" in r.log()
    assert "every recording of it was already consumed" in r.log()


def test_the_hint_can_be_typed(recorded, replay):
    """promise 29: what the hint says, given to replay, makes the request match."""
    url = recorded.url("/q?t=2&a=1&it's=x")
    r = replay(recorded.tape)
    hint = miss(curl(r.proxy, url))["hint"]
    r.stop()
    assert hint == "ringtape replay --ignore 'query:it'\\''s' --ignore query:t …"
    words = subprocess.run(["sh", "-c", f"printf '%s\\n' {hint}"], capture_output=True, check=True).stdout.decode().splitlines()
    r = replay(recorded.tape, *words[2:-1])
    assert curl(r.proxy, url).body == b"/q?t=1&a=1 1\n"
    r.stop()


def test_an_empty_tape(replay, tmp_path, shared):
    run(RINGTAPE, "record", "-q", "-o", tmp_path / "empty.tape", "--ca-dir", shared.ca_dir, "--", "true", env=clean_env())
    r = replay(tmp_path / "empty.tape")
    got = miss(curl(r.proxy, "http://a.test/b?c"))
    assert got == {"error": "no recording matches this request", "request": {"method": "GET", "url": "http://a.test/b?c"},
                   "reason": "empty-tape", "nearest": [], "hint": None}
    assert r.report() == {"served": 0, "missed": 1, "repeated": 0, "unused": 0, "network_connects": 0, "misses": [got],
                          "unused_flows": [], "flows": {}}


@pytest.mark.parametrize("status", [200, 404, 599])
def test_miss_status(recorded, replay, status):
    r = replay(recorded.tape, "--miss-status", status)
    a = curl(r.proxy, recorded.url("/nothing"))
    assert a.status == status
    assert miss(a)["reason"] == "different"
    r.stop()


def test_miss_status_without_a_body(recorded, replay):
    r = replay(recorded.tape, "--miss-status", 204)
    a = curl(r.proxy, recorded.url("/nothing"))
    assert (a.status, a.field("ringtape"), a.field("content-length"), a.body) == (204, ["miss"], [], b"")
    # The connection is still good for the next request.
    both = run("curl", "-sS", "-w", "%{num_connects}", "-x", r.proxy, recorded.url("/nothing"), recorded.url("/seq"), env=clean_env()).stdout
    assert both == b"1/seq 1\n0"
    r.stop()


def test_a_miss_over_tls(recorded, replay, shared):
    """The TLS is ours, whatever host is asked for."""
    r = replay(recorded.tape)
    done = run("curl", "-sS", "-i", "--cacert", shared.ca, "-x", r.proxy, "https://elsewhere.test/x?y=1", env=clean_env())
    a = Answer(done.stdout.split(b"\r\n\r\n", 1)[1])
    assert miss(a)["request"]["url"] == "https://elsewhere.test/x?y=1"
    assert r.report()["network_connects"] == 0


# --- exit codes and reports ------------------------------------------------------------------------------------------

FAIL_ON = [
    # options, paths asked for, code without CMD, code under a CMD that succeeds
    ((), ["/nothing"], 0, 3),
    ((), ["/seq"], 0, 0),
    (("--fail-on", "miss"), ["/nothing"], 3, 3),
    (("--fail-on", "miss"), ["/seq"], 0, 0),
    (("--fail-on", "unused"), ["/seq"], 3, 3),
    (("--fail-on", "unused", "-f", "~u /seq"), ["/seq"] * 3, 0, 0),
    (("--fail-on", "repeat"), ["/empty"], 0, 0),
    (("--fail-on", "repeat"), ["/empty"] * 2, 3, 3),
    (("--fail-on", "miss,repeat"), ["/empty"], 0, 0),
    (("--fail-on", "never"), ["/nothing", "/empty", "/empty"], 0, 0),
]


@pytest.mark.parametrize("options, paths, alone, under", FAIL_ON, ids=[f"{' '.join(c[0]) or 'default'} {' '.join(c[1])}" for c in FAIL_ON])
def test_promise_9_fail_on(recorded, replay, tmp_path, shared, options, paths, alone, under):
    r = replay(recorded.tape, *options)
    for path in paths:
        curl(r.proxy, recorded.url(path))
    report = r.report(expect=alone)
    assert report["served"] + report["missed"] == len(paths)
    if alone == 3:
        assert "the replay did not hold: " in r.log()
    done = run(RINGTAPE, "replay", "-q", recorded.tape, "--ca-dir", shared.ca_dir, *options, "--", "curl", "-sS", *(recorded.url(p) for p in paths),
               check=False, env=clean_env())
    assert done.returncode == under, done.stderr


def test_a_client_that_refused_our_certificate_leaves_nothing_unused(ringtape, replay, tmp_path, shared):
    pem, key = shared.authority.issue("good")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(pem, key)
    origin = Origin(context)
    r = ringtape("record", "-q", "--no-auto-pass", "-o", tmp_path / "r.tape")
    for version in ("1.2", "1.3"):
        done = run("curl", "-sS", "--tls-max", version, "-x", r.proxy, origin.url("/x", "https"), check=False, env=clean_env())
        assert done.returncode == 60, done.stderr
    curl(r.proxy, "--cacert", shared.ca, origin.url("/x", "https"))
    r.stop()
    origin.close()
    assert len(flows(tmp_path / "r.tape")) == 3
    r = replay(tmp_path / "r.tape", "--fail-on", "unused,miss")
    curl(r.proxy, "--cacert", shared.ca, origin.url("/x", "https"))
    assert r.report()["flows"] == {"3": 1}


def test_a_request_body_that_the_tape_holds_a_part_of(ringtape, replay, tmp_path):
    """--max-body: what is not on the tape cannot be compared, but its length can."""
    origin = Origin()
    r = ringtape("record", "-q", "-o", tmp_path / "m.tape", "--max-body", "10")
    first = curl(r.proxy, "-d", "x" * 100, origin.url("/m")).body
    r.stop()
    origin.close()
    r = replay(tmp_path / "m.tape")
    assert curl(r.proxy, "-d", "y" * 101, origin.url("/m")).status == 501
    assert curl(r.proxy, "-d", "y" * 100, origin.url("/m")).body == first == b"/m 1\n"
    r.stop()


def test_exit_codes_under_a_command(recorded, shared):
    def code(*command, options=("-q",)):
        return run(RINGTAPE, "replay", *options, recorded.tape, "--ca-dir", shared.ca_dir, "--", *command, check=False, env=clean_env()).returncode

    url, missing = recorded.url("/seq"), recorded.url("/nothing")
    assert code("curl", "-sSf", "-o", "/dev/null", url) == 0
    assert code("curl", "-sS", "-o", "/dev/null", missing) == 3
    assert code("curl", "-sSf", "-o", "/dev/null", missing) == 22  # CMD's own wins
    assert code("sh", "-c", f"curl -sS -o /dev/null {missing}; exit 7") == 7
    assert code("sh", "-c", "kill -KILL $$") == 137
    assert code("/no/such/command") == 127
    assert code("/etc/passwd") == 126


def test_tapes_that_cannot_be_read(tmp_path, shared):
    for name, content in (("missing.tape", None), ("text.tape", b"no tape" * 100), ("empty.tape", b"")):
        if content is not None:
            (tmp_path / name).write_bytes(content)
        for command, wanted in ((), 1), (("--", "true"), 125):
            done = run(RINGTAPE, "replay", tmp_path / name, "-l", "0", "--ca-dir", shared.ca_dir, *command, check=False, env=clean_env())
            assert done.returncode == wanted, (name, done.stderr)
            assert name.encode() in done.stderr and done.stderr.count(b"\n") == 1


def test_wrong_usage_has_one_sentence(recorded, shared):
    for options, sentence in (
            ((), b"which tape?"), (("--order", "random", recorded.tape), b"'random' is not an order"),
            (("--match", "colour", recorded.tape), b"'colour' is not a field to match"),
            (("--ignore", "json:x", recorded.tape), b"'json:x' is not a JSON pointer"),
            (("--fail-on", "sometimes", recorded.tape), b"'sometimes' is not something to fail on"),
            (("--miss-status", "99", recorded.tape), b"'99' is not a status for misses"),
            (("--map", "a", recorded.tape), b"'a' is not a mapping"), (("--pace", "fast", recorded.tape), b"'fast' is not a pace"),
            (("-f", "~u (", recorded.tape), b"~u")):
        done = run(RINGTAPE, "replay", *options, check=False, env=clean_env())
        assert done.returncode == 2
        assert sentence in done.stderr, done.stderr


def test_reports(recorded, ringtape, tmp_path):
    report, junit = tmp_path / "r.json", tmp_path / "j.xml"
    r = ringtape("replay", recorded.tape, "--report", report, "--junit", junit, "--fail-on", "miss,unused")
    bodies = [curl(r.proxy, recorded.url(p)) for p in ("/seq", "/empty", "/empty", "/<&\"'>")]
    r.stop(expect=3)
    got = json.loads(report.read_text())
    assert got == {"served": 3, "missed": 1, "repeated": 1, "unused": 8, "network_connects": 0, "misses": [json.loads(bodies[3].body)],
                   "unused_flows": [2, 3, 4, 5, 6, 7, 9, 10], "flows": {"1": 1, "8": 2}}
    suite = xml.parse(junit).getroot()
    assert (suite.tag, suite.get("tests"), suite.get("failures")) == ("testsuite", "4", "2")
    cases = {c.get("name"): c for c in suite.iter("testcase")}
    assert cases["3 requests were answered"].find("failure") is None
    assert cases[f"GET {recorded.url('/<&')}\"'>"].find("failure").get("message").startswith(f"GET {recorded.url('/<&')}\"'>: no recording is the same")
    assert cases["every recording was used"].find("failure").get("message") == "8 not used: flow 2, 3, 4, 5, 6, 7, 9, 10"
    assert cases["no recording was repeated"].find("failure") is None  # it is not in --fail-on
    assert cases["no recording was repeated"].find("system-out").text == "1 repeats: flow 8"


def test_a_report_that_cannot_be_written(recorded, ringtape, tmp_path):
    folder = tmp_path / "gone"
    folder.mkdir()
    r = ringtape("replay", recorded.tape, "--report", folder / "folder.json")  # one that cannot be written now is told at once
    folder.rmdir()
    r.stop(expect=1)
    assert "folder.json" in r.log()


# --- the tape --------------------------------------------------------------------------------------------------------


def snapshot(folder):
    return {p.name: (hashlib.sha256(p.read_bytes()).hexdigest(), p.stat().st_mtime_ns) for p in folder.iterdir()}


def test_promise_30_replay_never_writes_to_the_tape(recorded, replay, tmp_path):
    folder = tmp_path / "tapes"
    folder.mkdir()
    (folder / "a.tape").write_bytes(recorded.tape.read_bytes())
    before = snapshot(folder)
    r = replay(folder / "a.tape")
    curl(r.proxy, recorded.url("/seq"))
    curl(r.proxy, recorded.url("/nothing"))
    assert snapshot(folder) == before  # while it runs, too
    r.stop()
    assert snapshot(folder) == before


def test_a_tape_in_a_folder_that_cannot_be_written(recorded, tmp_path, shared):
    folder = tmp_path / "tapes"
    folder.mkdir()
    (folder / "a.tape").write_bytes(recorded.tape.read_bytes())
    (folder / "a.tape").chmod(0o400)
    folder.chmod(0o500)
    # root writes anywhere, unless it lacks the capability to
    without = ["setpriv", "--bounding-set", "-dac_override", "--inh-caps", "-dac_override"] if os.geteuid() == 0 else []
    try:
        assert run(*without, "touch", folder / "x", check=False).returncode != 0
        done = run(*without, RINGTAPE, "replay", "-q", folder / "a.tape", "--ca-dir", shared.ca_dir, "--", "curl", "-sSf", recorded.url("/seq"), env=clean_env())
        assert done.stdout == b"/seq 1\n"
    finally:
        folder.chmod(0o700)


def test_promise_1_after_the_last_recording_nothing_reaches_the_origin(ringtape, replay, tmp_path):
    """The origin stays up: it is not asked, whatever is missing."""
    origin = Origin()
    r = ringtape("record", "-q", "-o", tmp_path / "o.tape")
    curl(r.proxy, origin.url("/once"))
    r.stop()
    asked = dict(origin.asked)
    r = replay(tmp_path / "o.tape", "--order", "once")
    assert [curl(r.proxy, origin.url("/once")).status for _ in range(3)] == [200, 501, 501]
    assert curl(r.proxy, origin.url("/other")).status == 501
    done = run("curl", "-sS", "-p", "-x", r.proxy, origin.url("/once"), check=False, env=clean_env())  # a tunnel
    assert b"no recording matches" in done.stdout
    report = r.report()
    origin.close()
    assert origin.asked == asked
    assert report["network_connects"] == 0
