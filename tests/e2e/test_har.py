"""What `ringtape export` makes of real traffic: promise 21 (valid HAR, by the rules that exporters break) and, as far as export goes, promise 22
(one spelling of each HTTP version). Every HAR here is checked against the schema and the rules by export_har()."""

import base64
import contextlib
import gzip
import hashlib
import json
import random
import signal
import socket
import socketserver
import stat
import subprocess
import threading
import zlib

import pytest
from support import PATIENCE_S, RINGTAPE, Ringtape, clean_env, export_har, flows, rows, run, until

TEXT = "grün und schön\n" * 400
PNG = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR" + bytes(range(256))
PARTS = (b'--XyZ\r\nContent-Disposition: form-data; name="name"\r\n\r\nv\xc3\xa4lue\r\n'
         b'--XyZ\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\nContent-Type: text/plain\r\n\r\nline\r\n\r\n--XyZ--\r\n')


def command(name, data):
    return run(name, "-c", input=data).stdout


def answer(body=b"", *fields, status="200 OK", kind="text/plain", version="HTTP/1.1"):
    head = [f"{version} {status}", f"Content-Type: {kind}", f"Content-Length: {len(body)}", *fields]
    return "\r\n".join(head).encode("latin-1") + b"\r\n\r\n" + body


def coded(coding, data):
    return answer(data, f"Content-Encoding: {coding}")


def chunked(data, *fields, trailers=b""):
    head = "\r\n".join(["HTTP/1.1 200 OK", "Content-Type: text/plain", "Transfer-Encoding: chunked", *fields]).encode()
    half = len(data) // 2
    return head + b"\r\n\r\n" + b"".join(b"%x\r\n%s\r\n" % (len(p), p) for p in (data[:half], data[half:])) + b"0\r\n" + trailers + b"\r\n"


def answers():
    plain = TEXT.encode()
    raw = zlib.compressobj(wbits=-15)
    return {
        "/gzip": coded("gzip", gzip.compress(plain)),
        "/deflate": coded("deflate", zlib.compress(plain)),
        "/raw-deflate": coded("deflate", raw.compress(plain) + raw.flush()),
        "/br": coded("br", command("brotli", plain)),
        "/zstd": coded("zstd", command("zstd", plain)),
        "/twice": coded("gzip, br", command("brotli", gzip.compress(plain))),
        "/gzip-chunked": chunked(gzip.compress(plain), "Content-Encoding: gzip"),
        "/not-gzip": coded("gzip", b"plain after all"),
        "/plain": answer(plain),
        "/binary": answer(PNG, kind="image/png"),
        "/latin1": answer("grün".encode("latin-1"), kind="text/html; charset=iso-8859-1"),
        "/nul": answer(b"a\0b"),
        "/fields": answer(b"x", "X-Latin: gr\xfcn", "X-Empty:", "x-lower: 1", "X-Twice: a", "X-Twice: b"),
        "/unchanged": b'HTTP/1.1 304 Not Modified\r\nETag: "v1"\r\nContent-Length: 4711\r\n\r\n',
        "/none": b"HTTP/1.1 204 No Content\r\n\r\n",
        "/head": b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 1000\r\n\r\n",
        "/moved": answer(b"", "Location: /there?a=1#part", status="302 Found"),
        "/moved-far": answer(b"there", "Location: http://other.test/x", status="308 Permanent Redirect"),
        "/created": answer(b"", "Location: /new", status="201 Created"),
        "/cookies": answer(b"", "Set-Cookie: s=1; Path=/p; Domain=a.test; Expires=Wed, 09 Jun 2027 10:18:14 GMT; HttpOnly; Secure",
                           "Set-Cookie: t=x=y; Max-Age=60", "Set-Cookie: u=; Expires=soon"),
        "/old": answer(b"old", version="HTTP/1.0"),
        "/trailers": chunked(b"body", "Trailer: X-Sum", trailers=b"X-Sum: 42\r\n"),
        "/early": b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\n\r\n" + answer(b"late"),
        "/broken": b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1000\r\n\r\nonly this",
        "/broken-chunked": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nfirst\r\n5\r\nsec",
    }


class Handler(socketserver.StreamRequestHandler):
    """Answers with the bytes for the path. /echo says what it was sent; /stall/ stops in the middle until the client leaves."""

    def handle(self):
        with contextlib.suppress(ConnectionError):
            while self.one():
                pass

    def one(self):
        line = self.rfile.readline()
        if not line.endswith(b"\r\n"):
            return False
        method, target, _ = line.split(b" ", 2)
        path, fields = target.split(b"?")[0].decode("latin-1"), {}
        while (field := self.rfile.readline()) not in (b"\r\n", b""):
            name, _, value = field.partition(b":")
            fields[name.lower()] = value.strip()
        body = self.rfile.read(int(fields.get(b"content-length", 0)))
        if fields.get(b"transfer-encoding") == b"chunked":
            while size := int(self.rfile.readline(), 16):
                body += self.rfile.read(size)
                self.rfile.readline()
            self.rfile.readline()
        if path.startswith("/echo"):
            said = b"%s %s %s\n" % (method, target, fields.get(b"content-type", b"-"))
            self.wfile.write(answer(b"" if method == b"HEAD" else said + body))
        elif path.startswith("/big/"):
            self.wfile.write(self.server.big(path))
        elif path == "/stall":
            self.wfile.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/plain\r\nContent-Length: 1000\r\n\r\nso far")
            self.rfile.read()
        else:
            self.wfile.write(self.server.answers.get(path) or answer(b"", status="404 Not Found"))
        return not path.startswith("/broken")


class Origin(socketserver.ThreadingTCPServer):
    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers, self.port = answers(), self.server_address[1]
        self.thread = threading.Thread(target=self.serve_forever, args=(0.05,))
        self.thread.start()

    def big(self, path):
        """20 MB of text, of text as gzip, or of bytes; each different."""
        kind, n = path.split("/")[2], int(path.rsplit("/", 1)[1])
        if kind == "bytes":
            return answer(random.Random(n).randbytes(20 << 20), kind="application/octet-stream")
        text = "".join(f"line {n} {i} grün {i * 7919 % 104729}\n" for i in range(2000)).encode() * 400
        return coded("gzip", gzip.compress(text, 1)) if kind == "gzip" else answer(text)

    def stop(self):
        self.shutdown()
        self.thread.join()
        self.server_close()


@pytest.fixture(scope="module")
def origin():
    server = Origin()
    yield server
    server.stop()


def ask(proxy_port, origin_port, path, method="GET", fields=(), body=None, chunks=None):
    """One request in absolute form, its bytes as they are."""
    lines = [f"{method} http://127.0.0.1:{origin_port}{path} HTTP/1.1", f"Host: 127.0.0.1:{origin_port}", *fields]
    if body is not None:
        lines.append(f"Content-Length: {len(body)}")
    with socket.create_connection(("127.0.0.1", proxy_port), PATIENCE_S) as s:
        s.sendall("\r\n".join([*lines, "Connection: close"]).encode("latin-1") + b"\r\n\r\n" + (body or b"") + (chunks or b""))
        return b"".join(iter(lambda: s.recv(1 << 20), b""))


class Recorded:
    def __init__(self, tape, har):
        self.tape, self.har = tape, har

    def entry(self, path):
        (e,) = [e for e in self.har["log"]["entries"] if e["request"]["url"].split("/", 3)[3] == path.lstrip("/")]
        return e

    def response(self, path):
        return self.entry(path)["response"]

    def request(self, path):
        return self.entry(path)["request"]


FORM = "Content-Type: application/x-www-form-urlencoded"
REQUESTS = {  # path -> how it is asked for
    "/unchanged": {"fields": ['If-None-Match: "v1"']},
    "/head": {"method": "HEAD"},
    "/cookies": {"fields": ['Cookie: a=1; b="2"; c', "Cookie: a=3"]},
    "/echo/form": {"method": "POST", "fields": [FORM], "body": b"a=1&b=2+3&c=gr%C3%BCn&d&a=2"},
    "/echo/multipart": {"method": "POST", "fields": ["Content-Type: multipart/form-data; boundary=XyZ"], "body": PARTS},
    "/echo/json": {"method": "PUT", "fields": ["Content-Type: application/json"], "body": '{"ü": 1}'.encode()},
    "/echo/bytes": {"method": "PATCH", "body": PNG},
    "/echo/delete": {"method": "DELETE", "fields": ["Content-Type: text/plain"], "body": b"why"},
    "/echo/chunked": {"method": "POST", "fields": [FORM, "Transfer-Encoding: chunked"], "chunks": b"3\r\na=b\r\n0\r\n\r\n"},
    "/echo/empty": {"method": "POST", "body": b""},
    "/echo?a=b%20c&a=%C3%BC&=x&y&&q=1+2": {},
    "/echo/path;x=1/%7e/%zz/'\"|{}": {},
    "/echo/gr\xc3\xbcn": {},
    "/echo/latin-\xfc?x=\xfc": {},
}


@pytest.fixture(scope="module")
def recorded(tmp_path_factory, shared, origin):
    """One recording of everything; the tests look at its HAR."""
    folder = tmp_path_factory.mktemp("har")
    tape = folder / "har.tape"
    r = Ringtape(folder, "record", "-q", "-o", tape, "--workers", 1, ca_dir=shared.ca_dir)
    try:
        for path in [*origin.answers, *REQUESTS]:
            if path not in REQUESTS or path not in origin.answers:
                ask(r.port, origin.port, path, **REQUESTS.get(path, {}))
        for path in REQUESTS:
            if path in origin.answers:
                ask(r.port, origin.port, path, **REQUESTS[path])
        with contextlib.closing(socket.socket()) as closed:
            closed.bind(("127.0.0.1", 0))
            ask(r.port, closed.getsockname()[1], "/refused")
        with socket.create_connection(("127.0.0.1", r.port), PATIENCE_S) as s, socket.create_server(("127.0.0.1", 0)) as other:
            s.sendall(f"CONNECT 127.0.0.1:{other.getsockname()[1]} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            assert s.recv(1000).startswith(b"HTTP/1.1 200 ")
            s.sendall(b"\0neither TLS nor HTTP\n")
            far, _ = other.accept()
            with far:
                assert far.recv(1000).startswith(b"\0neither")
                far.sendall(b"bytes\xff")
                assert s.recv(1000) == b"bytes\xff"
    finally:
        if r.process.poll() is None:
            r.stop()
    return Recorded(tape, export_har(tape, folder))


@pytest.mark.sanitize
def test_every_flow_is_an_entry(recorded):
    """Promise 21: none is left out, in the order of their start, each on the page of its session."""
    entries = recorded.har["log"]["entries"]
    assert [e["_ringtape"]["flow"] for e in entries] == [f["id"] for f in flows(recorded.tape)]
    assert {e["pageref"] for e in entries} == {p["id"] for p in recorded.har["log"]["pages"]} == {"session_1"}


@pytest.mark.sanitize
@pytest.mark.parametrize("path", ["/gzip", "/deflate", "/raw-deflate", "/br", "/zstd", "/twice", "/gzip-chunked", "/plain"])
def test_content_codings_are_undone(recorded, origin, path):
    """Promise 21: size and text are the decoded content, bodySize what was on the wire, compression the difference."""
    response = recorded.response(path)
    (wire,) = rows(recorded.tape, "select response_bytes n from flows where path = ?", path)
    assert response["content"]["text"] == TEXT and "encoding" not in response["content"]
    assert response["content"]["size"] == len(TEXT.encode())
    assert response["bodySize"] == wire["n"] and (wire["n"] < 1000 or path == "/plain")
    assert response["content"]["compression"] == len(TEXT.encode()) - wire["n"]


def test_what_is_not_what_it_says_stays_as_it_came(recorded):
    content = recorded.response("/not-gzip")["content"]
    assert content["text"] == "plain after all" and "could not be undone" in content["comment"] and content["size"] == 15


@pytest.mark.parametrize("path, body", [("/binary", PNG), ("/latin1", "grün".encode("latin-1")), ("/nul", b"a\0b")])
def test_what_is_no_utf8_is_base64(recorded, path, body):
    content = recorded.response(path)["content"]
    assert content["encoding"] == "base64" and base64.b64decode(content["text"], validate=True) == body and content["size"] == len(body)


def test_fields_keep_order_case_and_bytes(recorded):
    """A value that is not UTF-8 is shown as well as may be; its bytes stand beside it."""
    headers = recorded.response("/fields")["headers"]
    assert [(h["name"], h["value"]) for h in headers if h["name"] != "X-Latin"] == [
        ("Content-Type", "text/plain"), ("Content-Length", "1"), ("X-Empty", ""), ("x-lower", "1"), ("X-Twice", "a"), ("X-Twice", "b")]
    (latin,) = [h for h in headers if h["name"] == "X-Latin"]
    assert base64.b64decode(latin["_valueBase64"]) == b"gr\xfcn" and latin["value"] == "gr\ufffdn"


@pytest.mark.parametrize("path, status", [("/unchanged", 304), ("/none", 204), ("/head", 200)])
def test_responses_without_content(recorded, path, status):
    """Promise 21: 304, 204 and responses to HEAD have bodySize 0, whatever their Content-Length says."""
    response = recorded.response(path)
    assert (response["status"], response["bodySize"], response["content"]["size"]) == (status, 0, 0) and "text" not in response["content"]
    assert response["content"]["mimeType"] and response["_transferSize"] == response["headersSize"] > 0


def test_sizes_of_heads_are_those_of_the_wire(recorded, origin):
    """Where no framing hides it, headersSize is the length of the head to the byte."""
    for path in ("/plain", "/gzip", "/moved-far", "/cookies"):
        response, wire = recorded.response(path), origin.answers[path]
        assert (response["headersSize"], response["_transferSize"]) == (wire.index(b"\r\n\r\n") + 4, len(wire)), path
    assert recorded.response("/gzip-chunked")["headersSize"] == -1
    assert recorded.response("/gzip-chunked")["_transferSize"] == len(origin.answers["/gzip-chunked"])


@pytest.mark.parametrize("path, url", [("/moved", "/there?a=1#part"), ("/moved-far", "http://other.test/x"), ("/created", ""), ("/plain", "")])
def test_redirects(recorded, path, url):
    assert recorded.response(path)["redirectURL"] == url


def test_cookies(recorded):
    """Promise 21: expires is a date-time or absent."""
    e = recorded.entry("/cookies")
    assert [(c["name"], c["value"]) for c in e["request"]["cookies"]] == [("a", "1"), ("b", '"2"'), ("c", ""), ("a", "3")]
    s, t, u = e["response"]["cookies"]
    assert s == {"name": "s", "value": "1", "path": "/p", "domain": "a.test", "expires": "2027-06-09T10:18:14.000Z", "httpOnly": True, "secure": True}
    assert t["value"] == "x=y" and t["expires"][:16] >= e["startedDateTime"][:16] and "expires" not in u


def test_forms(recorded):
    """Promise 21: params only for forms, and never beside a text that says otherwise."""
    form = recorded.request("/echo/form")["postData"]
    assert [(p["name"], p["value"]) for p in form["params"]] == [("a", "1"), ("b", "2 3"), ("c", "grün"), ("d", ""), ("a", "2")]
    assert form["text"] == "a=1&b=2+3&c=gr%C3%BCn&d&a=2"
    multipart = recorded.request("/echo/multipart")["postData"]
    assert multipart["text"] == PARTS.decode()
    assert multipart["params"] == [{"name": "name", "value": "välue"},
                                   {"name": "file", "value": "line\r\n", "fileName": "a.txt", "contentType": "text/plain"}]
    chunked_form = recorded.request("/echo/chunked")
    assert chunked_form["postData"]["params"] == [{"name": "a", "value": "b"}] and chunked_form["bodySize"] == 3


def test_post_data_of_any_method(recorded):
    """Promise 21: postData for every method that has a body; without one, none."""
    put, patch, delete = (recorded.request(p) for p in ("/echo/json", "/echo/bytes", "/echo/delete"))
    assert put["method"] == "PUT" and put["postData"] == {"mimeType": "application/json", "text": '{"ü": 1}'}
    assert patch["postData"]["_encoding"] == "base64" and base64.b64decode(patch["postData"]["text"]) == PNG
    assert delete["method"] == "DELETE" and delete["postData"]["text"] == "why"
    assert "postData" not in recorded.request("/echo/empty") and recorded.request("/echo/empty")["bodySize"] == 0
    assert "postData" not in recorded.request("/plain")


def test_urls_are_valid_and_lose_nothing(recorded):
    """A target that no URL may have is encoded; the bytes that were sent stand beside it."""
    urls = {e["request"]["url"].split("/echo", 1)[1]: e for e in recorded.har["log"]["entries"] if "/echo" in e["request"]["url"]}
    query = urls["?a=b%20c&a=%C3%BC&=x&y&&q=1+2"]["request"]["queryString"]
    assert [(p["name"], p["value"]) for p in query] == [("a", "b c"), ("a", "ü"), ("", "x"), ("y", ""), ("q", "1 2")]
    assert "/gr%C3%BCn" in urls and urls["/gr%C3%BCn"]["_ringtape"]["path"] == "/echo/grün"
    latin = urls["/latin-%FC?x=%FC"]["_ringtape"]["path"]
    assert base64.b64decode(latin["base64"]) == b"/echo/latin-\xfc?x=\xfc"
    (odd,) = [u for u in urls if u.startswith("/path;x=1")]
    assert odd == "/path;x=1/%7e/%zz/'%22|{}"  # brackets, braces and a stray % stand as browsers leave them


def test_versions_have_one_spelling(recorded):
    """Promise 22, as far as export goes."""
    assert recorded.response("/old")["httpVersion"] == "HTTP/1.0"
    assert {e["request"]["httpVersion"] for e in recorded.har["log"]["entries"]} == {"HTTP/1.1"}


def test_trailers_and_early_hints(recorded):
    trailers, early = recorded.entry("/trailers"), recorded.entry("/early")
    assert trailers["_ringtape"]["responseTrailers"] == [{"name": "X-Sum", "value": "42"}] and trailers["response"]["content"]["text"] == "body"
    ((status, _, fields, _),) = early["_ringtape"]["informational"]
    assert (status, fields) == (103, [["Link", "</a.css>; rel=preload"]]) and early["response"]["status"] == 200


@pytest.mark.parametrize("path, text", [("/broken", "only this"), ("/broken-chunked", "firstsec")])
def test_a_response_that_broke_off(recorded, path, text):
    """Promise 21: what came is there, and why there is no more."""
    e = recorded.entry(path)
    assert e["_error"].split(":")[0] in ("truncated", "closed") and e["_ringtape"]["complete"] is False
    assert e["response"]["status"] == 200 and e["response"]["content"]["text"] == text and e["response"]["bodySize"] == len(text)


def test_an_origin_that_refused(recorded):
    e = recorded.entry("/refused")
    assert e["_error"].startswith("refused") and e["_ringtape"]["answered"] is True and e["response"]["status"] == 502
    assert e["response"]["bodySize"] == -1 and e["response"]["headers"] == [] and e["response"]["content"]["size"] == 0
    assert e["timings"]["receive"] >= 0 and e["time"] >= 0


def test_a_tunnel_is_an_entry_without_content(recorded):
    """HAR has no word for raw bytes: the entry says that there was a tunnel, the tape has what went through it."""
    (e,) = [e for e in recorded.har["log"]["entries"] if e["_ringtape"]["kind"] == "tunnel"]
    assert e["request"]["method"] == "CONNECT" and e["request"]["url"].startswith("https://127.0.0.1:")
    assert e["response"]["content"]["size"] == e["request"]["bodySize"] == e["response"]["bodySize"] == 0 and "postData" not in e["request"]
    assert {m["direction"]: m["payload"] for m in rows(recorded.tape, "select * from message where flow = ?", e["_ringtape"]["flow"])} == {
        "request": b"\0neither TLS nor HTTP\n", "response": b"bytes\xff"}


def test_connections_and_addresses(recorded, origin):
    """Promise 21: dns, connect and ssl of a connection stand with the first flow that used it and are -1 after; addresses are addresses."""
    entries = [e for e in recorded.har["log"]["entries"] if e.get("_serverPort") == origin.port]
    first = {}
    for e in entries:
        fresh = e["connection"] not in first
        first.setdefault(e["connection"], e)
        assert (e["timings"]["connect"] >= 0) == fresh and e["timings"]["ssl"] == -1, e
        assert e["serverIPAddress"] == "127.0.0.1" and isinstance(e["connection"], str)
    assert 1 < len(first) < len(entries)  # kept alive, but not after those that broke off


@pytest.mark.sanitize
def test_an_unfinished_flow(tmp_path, shared, origin):
    """Promise 21: a recorder that was killed leaves flows in progress; they are entries of valid HAR."""
    tape = tmp_path / "killed.tape"
    r = Ringtape(tmp_path, "record", "-q", "-o", tape, "--commit-interval", 20, ca_dir=shared.ca_dir)
    try:
        with socket.create_connection(("127.0.0.1", r.port), PATIENCE_S) as s:
            s.sendall(f"GET http://127.0.0.1:{origin.port}/stall HTTP/1.1\r\nHost: 127.0.0.1:{origin.port}\r\n\r\n".encode())
            got = b""
            while not got.endswith(b"so far"):
                got += s.recv(1000)
            until(lambda: tape.exists() and rows(tape, "select 1 from sqlite_schema where name = 'flows'")
                  and flows(tape, "status = 200 and response_bytes = 6"), "the flow on the tape", r.process)
    finally:
        r.kill()
    (e,) = export_har(tape, tmp_path)["log"]["entries"]
    assert e["_ringtape"]["complete"] is False and e["response"]["status"] == 200 and e["response"]["content"]["text"] == "so far"


PEAK = """import os, sys
_, status, usage = os.wait4(os.posix_spawn(sys.argv[1], sys.argv[1:], os.environ), 0)
print(usage.ru_maxrss)
sys.exit(os.waitstatus_to_exitcode(status))"""


def test_memory_does_not_grow_with_the_tape(tmp_path, shared, origin):
    """Some 150 MB of bodies, as text, as gzip and as bytes: export streams them (promise 14's bound, for the exporter)."""
    tape, out = tmp_path / "big.tape", tmp_path / "big.har"
    r = Ringtape(tmp_path, "record", "-q", "-o", tape, ca_dir=shared.ca_dir)
    try:
        paths = [f"/big/{kind}/{n}" for n, kind in enumerate(("text", "bytes", "gzip", "text", "bytes", "gzip", "bytes"))]
        got = [ask(r.port, origin.port, p).split(b"\r\n\r\n", 1)[1] for p in paths]
        upload = random.Random(99).randbytes(20 << 20)
        ask(r.port, origin.port, "/plain", method="POST", body=upload)
    finally:
        if r.process.poll() is None:
            r.stop()
    whole = [gzip.decompress(g) if g[:2] == b"\x1f\x8b" else g for g in got]
    assert sum(map(len, whole)) + len(upload) > 150e6
    try:
        for form, output in (("har", out), ("jsonl", "/dev/null"), ("curl", "/dev/null")):
            # From a process of its own: a child's peak begins with what its parent had.
            peak_kb = int(run("/usr/bin/python3", "-c", PEAK, RINGTAPE, "export", tape, "-o", output, "--format", form, env=clean_env()).stdout)
            assert 1024 < peak_kb < 64 * 1024, form
            if form == "har":
                entries = json.loads(out.read_bytes())["log"]["entries"]
                for e, body in zip(entries, whole):
                    content = e["response"]["content"]
                    data = base64.b64decode(content["text"]) if "encoding" in content else content["text"].encode()
                    assert hashlib.sha256(data).digest() == hashlib.sha256(body).digest(), e["request"]["url"]
                assert base64.b64decode(entries[-1]["request"]["postData"]["text"]) == upload
    finally:  # pytest would keep them
        tape.unlink()
        out.unlink(missing_ok=True)


def export(tape, *options, check=True):
    return run(RINGTAPE, "export", tape, *options, env=clean_env(), check=check)


@pytest.mark.sanitize
def test_jsonl(recorded):
    """Each line is an object with the names and values of the view `flows`."""
    lines = [json.loads(line) for line in export(recorded.tape, "--format", "jsonl").stdout.decode().splitlines()]
    view = flows(recorded.tape)
    assert len(lines) == len(view)
    for line, flow in zip(lines, view):
        for name in ("id", "session", "kind", "started", "method", "scheme", "host", "port", "status", "request_bytes", "response_bytes", "error"):
            assert line[name] == flow[name], (name, line)
        assert line["complete"] == bool(flow["complete"])
    by_path = {line["path"]: line for line in lines}
    assert by_path["/br"]["response_body"]["text"] == TEXT and base64.b64decode(by_path["/binary"]["response_body"]["base64"]) == PNG
    assert by_path["/echo/json"]["request_body"]["text"] == '{"ü": 1}'
    assert all(set(line) == set(lines[0]) for line in lines)


@pytest.mark.sanitize
def test_curl_script_says_the_same_again(recorded, tmp_path):
    """The script, run with sh against the same origin, prints the bodies that are on the tape."""
    script = tmp_path / "again.sh"
    export(recorded.tape, "--format", "curl", "-f", "! (~u /broken | ~u /refused | ~m HEAD | ~m CONNECT)", "-o", script)
    assert stat.S_IMODE(script.stat().st_mode) == 0o700
    done = run("sh", script, env=clean_env(HOME=tmp_path), cwd=tmp_path)
    want = b"".join(r["content"] for r in rows(recorded.tape, "select content from bodies join flows on id = flow where side = 'response' and "
                                               "path not like '/broken%' and kind = 'http' and method <> 'HEAD' and status <> 502 order by flow"))
    assert done.stdout == want and done.stderr == b""
    assert want.count(b"PATCH /echo/bytes") == 1 and PNG in want
    assert sorted(p.name for p in tmp_path.iterdir()) == ["again.sh"]


def test_curl_script_of_everything_is_a_script(recorded, tmp_path):
    """What curl cannot repeat is a comment that says so."""
    script = tmp_path / "all.sh"
    export(recorded.tape, "--format", "curl", "-o", script)
    text = script.read_text(errors="replace")
    run("sh", "-n", script)
    assert text.count("\n# flow ") == len(flows(recorded.tape)) and text.count("left out: curl cannot repeat a flow of kind tunnel") == 1
    assert text.count("# it failed then: ") == len(flows(recorded.tape, "error is not null"))


def test_filter(recorded):
    har = json.loads(export(recorded.tape, "-f", "~m POST & ~u multipart").stdout)
    assert [e["request"]["url"].rsplit("/", 1)[1] for e in har["log"]["entries"]] == ["multipart"]
    assert json.loads(export(recorded.tape, "-f", "~u nothing-like-it").stdout)["log"]["entries"] == []
    wrong = export(recorded.tape, "-f", "~nonesuch", check=False)
    assert wrong.returncode == 2 and b"nonesuch" in wrong.stderr and wrong.stdout == b""


@pytest.mark.parametrize("form", ["har", "jsonl", "curl"])
def test_standard_output_is_the_file(recorded, tmp_path, form):
    """No -o, `-o -` and `-o FILE` give the same bytes; nothing else is said on standard output; the file is the owner's alone."""
    out = tmp_path / "out"
    plain, dash = export(recorded.tape, "--format", form), export(recorded.tape, "--format", form, "-o", "-")
    named = export(recorded.tape, "--format", form, "-o", out)
    assert plain.stdout == dash.stdout == out.read_bytes() and len(plain.stdout) > 1000
    assert plain.stderr == dash.stderr == named.stderr == named.stdout == b""
    assert stat.S_IMODE(out.stat().st_mode) & 0o077 == 0


def test_a_reader_that_leaves_early(recorded):
    """`ringtape export … | head`: no complaint."""
    process = subprocess.Popen([RINGTAPE, "export", recorded.tape], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_env())
    process.stdout.read(10)
    process.stdout.close()
    said = process.stderr.read()
    process.stderr.close()
    assert process.wait(PATIENCE_S) in (0, 1, -signal.SIGPIPE) and said == b""


def test_an_output_that_cannot_be_written(recorded, tmp_path):
    done = export(recorded.tape, "-o", tmp_path / "no" / "such" / "folder.har", check=False)
    assert done.returncode == 1 and b"folder.har" in done.stderr
    with open("/dev/full", "wb") as full:
        done = subprocess.run([RINGTAPE, "export", recorded.tape], stdout=full, stderr=subprocess.PIPE, env=clean_env(), timeout=PATIENCE_S)
    assert done.returncode == 1 and b"standard output" in done.stderr
