"""What `ringtape import` makes of HAR files: ours (promise 22: HAR → tape → HAR is the identity on what HAR can say), those of other programs with what
each of them writes differently, and what is no HAR at all."""

import base64
import contextlib
import gzip
import http.client
import io
import json
import os
import signal
import socket
import subprocess
import zipfile

import pytest
from origins import Nghttpd
from support import PATIENCE_S, RINGTAPE, Ringtape, clean_env, export_har, flows, rows, run
from test_disk_full import FULL, small  # noqa: F401: a fixture
from test_har import PEAK, PNG, TEXT, origin, recorded  # noqa: F401: fixtures

REPLAY_RULES = ("--match", "method,scheme,host,port,path,query")


def write(path, har):
    path.write_bytes(har if isinstance(har, bytes) else json.dumps(har).encode())
    return path


def ringtape_import(*args, **more):
    return run(RINGTAPE, "import", *args, env=clean_env(), **more)


def imported(folder, har, name="in.har"):
    """The tape, and what was said while it was made."""
    tape = folder / f"{name}.tape"
    done = ringtape_import(write(folder / name, har), "-o", tape, "--force")
    assert done.returncode == 0 and done.stdout == b""
    return tape, done.stderr.decode()


def document(*entries, **log):
    return {"log": {"version": "1.2", "creator": {"name": "test", "version": "1"}, **log, "entries": list(entries)}}


def entry(url="http://example.test/", method="GET", content=None, headers=None, request=None, **more):
    """One that is as it should be; `more` goes over it."""
    content = content or {"size": 5, "mimeType": "text/plain", "text": "hello"}
    headers = [("Content-Type", content["mimeType"])] if headers is None else headers
    return {
        "startedDateTime": "2024-05-06T07:08:09.123Z", "time": 7,
        "request": {"method": method, "url": url, "httpVersion": "HTTP/1.1", "cookies": [], "headers": [], "queryString": [],
                    "headersSize": -1, "bodySize": 0, **(request or {})},
        "response": {"status": 200, "statusText": "OK", "httpVersion": "HTTP/1.1", "cookies": [],
                     "headers": [{"name": n, "value": v} for n, v in headers], "content": content, "redirectURL": "", "headersSize": -1,
                     "bodySize": content.get("size", -1)},
        "cache": {}, "timings": {"blocked": 0, "dns": -1, "connect": -1, "ssl": -1, "send": 1, "wait": 4, "receive": 2}, **more}


def comparable(e):
    """An entry without what names the recording that it is in."""
    e = json.loads(json.dumps(e))
    e.pop("pageref", None)
    for key in ("flow", "session"):
        e["_ringtape"].pop(key)
    return e


def body_of(tape, flow=1, side="response"):
    found = rows(tape, "select content from bodies where flow = ? and side = ?", flow, side)
    return found[0]["content"] if found else None


def ask(port, target, method="GET", body=None, **fields):
    """Through the proxy: the response with its content in .content."""
    client = http.client.HTTPConnection("127.0.0.1", port, timeout=PATIENCE_S)
    try:
        client.request(method, target, body=body, headers=fields)
        response = client.getresponse()
        response.content = response.read()
        return response
    finally:
        client.close()


@contextlib.contextmanager
def replaying(folder, shared, tape, *options):
    r = Ringtape(folder, "replay", "-q", tape, *options, ca_dir=shared.ca_dir)
    try:
        yield r
    finally:
        if r.process.poll() is None:
            r.stop()


# --- the identity ---


@pytest.mark.sanitize
def test_an_export_comes_back_as_it_was(recorded, tmp_path):  # noqa: F811
    """Promise 22: every entry of our own export, of every kind of response, is the same after a tape."""
    tape, said = imported(tmp_path, recorded.har)
    again = export_har(tape, tmp_path)["log"]["entries"]
    before = recorded.har["log"]["entries"]
    assert len(before) == len(again) > 30
    for old, new in zip(before, again):
        assert comparable(new) == comparable(old)
    assert "left out: pages" in said and said.count("left out") == 1


def test_an_export_of_an_import_is_imported_as_the_same_tape(recorded, tmp_path):  # noqa: F811
    """And so on: the second tape says of its flows what the first one does."""
    columns = "method, scheme, host, port, path, http_version, status, reason, request_bytes, response_bytes, complete, error, kind, started, total_ms"
    first, _ = imported(tmp_path, recorded.har)
    second, _ = imported(tmp_path, export_har(first, tmp_path), "again.har")
    for query in (f"select {columns} from flows order by id", "select side, trailer, seq, name, value from headers order by flow, side, trailer, seq",
                  "select flow, side, bytes, content from bodies order by flow, side"):
        assert rows(first, query) == rows(second, query)


def test_replay_serves_what_was_imported(recorded, tmp_path, shared, origin):  # noqa: F811
    """Decoded content is sent without the coding that it no longer has; fields and informational responses are as recorded."""
    tape, _ = imported(tmp_path, recorded.har)
    with replaying(tmp_path, shared, tape) as r:
        for path in ("/gzip", "/br", "/plain", "/zstd", "/twice", "/gzip-chunked"):
            got = ask(r.port, f"http://127.0.0.1:{origin.port}{path}")
            assert (got.status, got.content.decode()) == (200, TEXT), path
            assert not [n for n in got.headers if n.lower() == "content-encoding" or "ringtape" in n.lower()], path
        assert ask(r.port, f"http://127.0.0.1:{origin.port}/binary").content == PNG
        assert ask(r.port, f"http://127.0.0.1:{origin.port}/early").status == 103
        got = ask(r.port, f"http://127.0.0.1:{origin.port}/cookies")
        assert len(got.headers.get_all("Set-Cookie")) == 3


def test_tls_and_http2_come_back(session, shared, tmp_path):
    """All but the certificate, which is not in a HAR; and the same command gets the same answers from it."""
    server = Nghttpd(tmp_path, shared.authority)
    try:
        (server.www / "a.txt").write_text(TEXT)
        (server.www / "b.png").write_bytes(PNG)
        curl = ["curl", "-sS", "--http2", server.url("/a.txt"), server.url("/b.png"), "-d", "x=1", server.url("/none")]
        first = session.record(*curl)
    finally:
        server.stop()
    before = export_har(session.tape, tmp_path)
    session.tape, said = imported(tmp_path, before)
    after = export_har(session.tape, tmp_path)["log"]["entries"]
    assert len(after) == 3 and after[0]["request"]["httpVersion"] == "HTTP/2" and after[0]["_securityDetails"]["alpn"] == "h2"
    for old, new in zip(before["log"]["entries"], after):
        for name in ("subjectName", "issuer", "validFrom", "validTo"):
            old["_securityDetails"].pop(name)
        assert comparable(new) == comparable(old)
    assert session.replay(*curl) == first and session.report["served"] == 3


def missing(old, new, at=""):
    """What of `old` is not the same in `new`, which may say more."""
    if isinstance(old, dict) and isinstance(new, dict):
        return [m for k in old for m in missing(old[k], new.get(k), f"{at}/{k}")]
    if isinstance(old, list) and isinstance(new, list) and len(old) == len(new):
        return [m for i, (a, b) in enumerate(zip(old, new)) for m in missing(a, b, f"{at}/{i}")]
    return [] if old == new else [(at, old, new)]


def test_a_har_of_another_program_comes_back(tmp_path):
    """Promise 22, for a HAR as the specification has it: whatever a field says, it says again."""
    def listed(**fields):
        return [{"name": n.replace("_", "-"), "value": v} for n, v in fields.items()]

    form, page, moved = "a=1&b=x+y&c=gr%C3%BCn", "<p>grün</p>", "https://shop.test:8443/there?q=1"
    first = entry(
        "https://shop.test:8443/search?q=a%20b&q=c", method="POST", startedDateTime="2024-05-06T07:08:09.250Z", time=66.5,
        serverIPAddress="192.0.2.44", connection="91", timings={"blocked": 1.5, "dns": 5, "connect": 30.25, "ssl": 20.125, "send": 0.25, "wait": 28, "receive": 1.5},
        request={"headers": listed(Host="shop.test:8443", Cookie="s=1; t=2", Content_Type="application/x-www-form-urlencoded", Content_Length=str(len(form))),
                 "cookies": listed(s="1", t="2"), "queryString": [{"name": "q", "value": "a b"}, {"name": "q", "value": "c"}], "headersSize": 180, "bodySize": len(form),
                 "postData": {"mimeType": "application/x-www-form-urlencoded", "text": form, "params": listed(a="1", b="x y", c="grün")}},
        response={"status": 302, "statusText": "Found", "httpVersion": "HTTP/1.1", "headers": listed(Location=moved, Set_Cookie="u=v; Path=/; HttpOnly", Content_Length="0"),
                  "cookies": [{"name": "u", "value": "v", "path": "/", "httpOnly": True, "secure": False}], "redirectURL": moved,
                  "content": {"size": 0, "mimeType": "x-unknown"}, "headersSize": 120, "bodySize": 0})
    second = entry(
        "https://shop.test:8443/there?q=1", startedDateTime="2024-05-06T07:08:10.000Z", time=3, serverIPAddress="192.0.2.44", connection="91",
        timings={"blocked": 0, "dns": -1, "connect": -1, "ssl": -1, "send": 0, "wait": 2, "receive": 1}, request={"queryString": listed(q="1")},
        response={"status": 200, "statusText": "OK", "httpVersion": "HTTP/1.1", "headers": listed(Content_Type="text/html", Content_Encoding="gzip", Content_Length="40"),
                  "cookies": [], "redirectURL": "", "content": {"size": len(page.encode()), "compression": len(page.encode()) - 40, "mimeType": "text/html", "text": page},
                  "headersSize": 100, "bodySize": 40})
    third = entry("http://img.test/x.png", startedDateTime="2024-05-06T07:08:11.999Z", request={"httpVersion": "HTTP/2"},
                  headers=[("content-type", "image/png"), ("x-empty", "")],
                  content={"size": len(PNG), "compression": 0, "mimeType": "image/png", "encoding": "base64", "text": base64.b64encode(PNG).decode()})
    tape, said = imported(tmp_path, document(first, second, third))
    phrases(mended(said), "content with its Content-Encoding undone")
    assert left_out(said) == set()
    again = export_har(tape, tmp_path)["log"]["entries"]
    assert missing([first, second, third], again) == []


# --- what other programs write ---


def left_out(said):
    return {line.split(": left out: ")[1].split(" (")[0] for line in said.splitlines() if ": left out: " in line}


def mended(said):
    return {line.split(": mended: ")[1].split(" (")[0] for line in said.splitlines() if ": mended: " in line}


def phrases(found, *wanted):
    """Each of `wanted` begins exactly one of the sentences, and there is no other."""
    assert len(found) == len(wanted) and all(any(f.startswith(w) for f in found) for w in wanted), found


def test_chrome(tmp_path, shared):
    """Pseudo-header fields, decoded content with its Content-Encoding, fields of one name in one value, h3, blocked requests, local URLs."""
    har = document(
        entry("https://app.test/", content={"size": 11, "mimeType": "text/html", "text": "<p>hi</p>\n\n"}, connection="4711",
              serverIPAddress="[2001:db8::1]", headers=[(":status", "200"), ("content-encoding", "br"), ("content-length", "9"),
                                                        ("set-cookie", "a=1; Path=/\nb=2"), ("content-type", "text/html")],
              request={"httpVersion": "http/2.0", "headers": [{"name": ":authority", "value": "app.test"}, {"name": "accept", "value": "*/*"}]},
              timings={"blocked": 1.234, "dns": 2.5, "ssl": 4.25, "connect": 8.75, "send": 0.1, "wait": 30.004, "receive": 1.5, "_blocked_queueing": 0.9},
              _priority="High", _resourceType="document", pageref="page_1"),
        entry("https://app.test/logo.png", content={"size": 8, "mimeType": "image/png", "text": "iVBORw0KGgo=", "encoding": "base64"},
              connection="4711", serverIPAddress="[2001:db8::1]", request={"httpVersion": "h3"}),
        entry("https://ads.test/x", response={"status": 0, "statusText": "", "httpVersion": "", "headers": [], "cookies": [], "content":
              {"size": 0, "mimeType": "x-unknown"}, "redirectURL": "", "headersSize": -1, "bodySize": -1, "_transferSize": 0,
              "_error": "net::ERR_BLOCKED_BY_CLIENT"}),
        entry("data:image/png;base64,iVBORw0KGgo="), entry("blob:https://app.test/1-2-3"),
        pages=[{"startedDateTime": "2024-05-06T07:08:09.000Z", "id": "page_1", "title": "x", "pageTimings": {"onLoad": None}}])
    har["log"]["entries"][0]["response"]["bodySize"] = 9
    tape, said = imported(tmp_path, har)
    phrases(left_out(said), "pages", "a pseudo-header field", "an entry of a data:, blob:")
    phrases(mended(said), "a header value of several lines", "content with its Content-Encoding undone", "no response, or status 0")
    assert "(2 times, first in entry 4, line 1)" in said and said.endswith(f"imported 3 flows to {tape}\n")
    page, logo, ad = flows(tape)
    assert (page["http_version"], page["host"], page["response_bytes"], page["ttfb_ms"]) == ("HTTP/2", "app.test", 9, 42.588)
    assert [(h["name"], h["value"]) for h in rows(tape, "select name, value from headers where flow = 1 and side = 'response' order by seq")] == [
        ("Ringtape-Content-Encoding", "br"), ("content-length", "9"), ("set-cookie", "a=1; Path=/"), ("set-cookie", "b=2"), ("content-type", "text/html")]
    assert body_of(tape, 2) == PNG[:8] and logo["http_version"] == "HTTP/3"
    assert (ad["complete"], ad["status"], ad["error"]) == (0, None, "cancelled: net::ERR_BLOCKED_BY_CLIENT")
    (c,) = rows(tape, "select * from connection")
    assert (c["id"], c["peer"], c["dns_ns"], c["connected_ns"], c["tls_ns"]) == (4711, "[2001:db8::1]:443", 2500000, 7000000, 11250000)
    one, two, _ = export_har(tape, tmp_path)["log"]["entries"]
    assert one["timings"] == {"blocked": 1.234, "dns": 2.5, "ssl": 4.25, "connect": 8.75, "send": 0.1, "wait": 30.004, "receive": 1.5}
    assert (one["response"]["bodySize"], one["response"]["content"]["size"], one["response"]["content"]["compression"]) == (9, 11, 2)
    assert one["connection"] == two["connection"] == "4711" and two["timings"]["connect"] == -1 and one["serverIPAddress"] == "2001:db8::1"
    with replaying(tmp_path, shared, tape, "--map", "app.test=app.test", "--reverse", "https://app.test") as r:
        client = http.client.HTTPConnection("127.0.0.1", r.port, timeout=PATIENCE_S)
        client.request("GET", "/", headers={"Host": "app.test"})
        got = client.getresponse()
        assert got.status == 200 and got.read() == b"<p>hi</p>\n\n" and "content-encoding" not in got.headers
        client.close()


def test_firefox(tmp_path):
    """Times of the user's zone, cached responses without times, contents that were not kept."""
    har = document(
        entry(startedDateTime="2024-05-06T09:08:09.123+02:00", request={"httpVersion": "HTTP/2"}, connection="443", serverIPAddress="192.0.2.7"),
        entry(timings={}, time=0, serverIPAddress="", connection="", content={"size": 5, "mimeType": "text/css", "text": "a {}\n"}),
        entry(content={"size": 123456, "mimeType": "video/mp4"}))
    tape, said = imported(tmp_path, har)
    assert left_out(said) == set()
    phrases(mended(said), "times that are missing", "content that is not in the HAR")
    one, two, three = flows(tape)
    assert one["started"] == "2024-05-06T07:08:09.123Z" and two["total_ms"] == 0
    assert three["response_bytes"] == 123456 and body_of(tape, 3) is None


def test_mitmproxy(tmp_path):
    """Sizes of its own, contents that are base64 of base64, negative times."""
    har = document(
        entry("https://a.test/1", request={"httpVersion": "HTTP/2.0"}, serverIPAddress="192.0.2.1",
              timings={"connect": -1.0, "ssl": -1.0, "send": -3.25, "receive": 1.0, "wait": 2.0}),
        entry("https://a.test/2", content={"size": 4, "mimeType": "image/x", "encoding": "base64",
                                           "text": base64.b64encode(base64.b64encode(b"\x00\xff\x01\x02")).decode()}),
        entry("https://a.test/3", content={"size": 4, "mimeType": "image/x", "encoding": "base64", "text": "not base64!"}))
    tape, said = imported(tmp_path, har)
    phrases(mended(said), "times that are missing", "base64 of base64", "content said to be base64", "a content.size", "a bodySize that")
    assert [body_of(tape, i) for i in (1, 2, 3)] == [b"hello", b"\x00\xff\x01\x02", b"not base64!"]


def test_charles(tmp_path):
    """Its CONNECTs, null for what it does not know, ssl beside connect."""
    har = document(
        entry("https://shop.test:443", method="CONNECT"),
        entry("https://shop.test/", timings={"dns": 1, "connect": 3, "ssl": 9, "send": 0, "wait": 1, "receive": 1}, serverIPAddress=None, connection=None),
        entry("https://shop.test/gone", response={"status": None, "headers": None, "content": None}),
        entry("https://shop.test/binary", content={"size": 3, "mimeType": "application/octet-stream", "text": "AP8B"}))
    tape, said = imported(tmp_path, har)
    phrases(left_out(said), "a CONNECT")
    phrases(mended(said), "ssl longer than connect", "no response, or status 0", "base64 that is not said to be")
    assert body_of(tape, 3) == b"\0\xff\1"
    e = export_har(tape, tmp_path)["log"]["entries"][0]
    assert (e["timings"]["ssl"], e["timings"]["connect"]) == (3, 3)


def test_fiddler(tmp_path):
    """A byte order mark, seven digits of a second, a connection that is a sentence, addresses that are none."""
    har = document(entry(startedDateTime="2024-05-06T09:08:09.1234567+02:00", connection="ClientPort:52100;EgressPort:52101", serverIPAddress="192.0.2.9"),
                   entry(connection="ClientPort:52100;EgressPort:52101", serverIPAddress="192.0.2.9"), entry(serverIPAddress="remote host"),
                   comment="exported @ 5/6/2024")
    tape, said = imported(tmp_path, b"\xef\xbb\xbf" + json.dumps(har, indent=2).encode())
    phrases(left_out(said), "a server address that is none")
    assert mended(said) == set()
    assert rows(tape, "select started_ns from flow where id = 1")[0]["started_ns"] == 1714979289123456700
    assert len(rows(tape, "select * from connection")) == 1
    assert len({f["server_connection"] for f in rows(tape, "select server_connection from flow where id < 3")}) == 1


def test_insomnia_and_k6(tmp_path):
    """Fields as an object, null values, no response at all, no timings, numbers as text."""
    har = document(
        entry(timings=None, time=12.5, request={"headers": {"Accept": "*/*", "X-Number": 7, "X-Null": None}}),
        entry(request={"postData": {"mimeType": "application/json", "text": "{\"a\": 1}"}, "bodySize": 8}, method="POST"),
        {"startedDateTime": "2024-05-06T07:08:10Z", "request": {"method": "GET", "url": "http://k6.test/"}, "response": None},
        entry(response={"status": "201", "content": {"text": "made", "mimeType": "text/plain"}}))
    tape, said = imported(tmp_path, har)
    assert left_out(said) == set()
    phrases(mended(said), "times that are missing", "headers as an object", "content without a Content-Type", "no known httpVersion", "no response, or status 0")
    one, two, three, four = flows(tape)
    assert one["total_ms"] == 12.5 and three["complete"] == 0 and four["status"] == 201 and body_of(tape, 4) == b"made"
    assert {h["name"]: h["value"] for h in rows(tape, "select * from headers where flow = 1 and side = 'request'")} == {
        "Accept": "*/*", "X-Number": "7", "X-Null": ""}
    assert body_of(tape, 2, "request") == b'{"a": 1}'
    assert rows(tape, "select value from headers where flow = 2 and side = 'request'") == [{"value": "application/json"}]


def test_postman(tmp_path):
    """Forms as params alone, URLs with spaces and fragments, bytes as characters."""
    har = document(
        entry("http://api.test/form", method="POST", request={"postData": {"mimeType": "application/x-www-form-urlencoded", "params": [
            {"name": "a b", "value": "1&2"}, {"name": "grün", "value": ""}]}}),
        entry("http://api.test/two words?q=a b#part", startedDateTime="2024-05-06T07:08:09"),
        entry("http://api.test/latin", content={"size": 4, "mimeType": "text/plain; charset=iso-8859-1", "text": "grün"}),
        entry("{{base}}/x"), entry("http://api.test/upload", method="POST", request={"postData": {"mimeType": "multipart/form-data", "params": [
            {"name": "f", "fileName": "a.bin"}]}}))
    tape, said = imported(tmp_path, har)
    phrases(left_out(said), "an entry whose URL is not", "the params of a body")
    phrases(mended(said), "a form without text", "a URL with spaces", "a URL with a fragment", "a startedDateTime without a zone", "bytes written as characters",
            "content without a Content-Type")
    assert body_of(tape, 1, "request") == b"a+b=1%262&gr%C3%BCn=" and body_of(tape, 3) == b"gr\xfcn"
    assert flows(tape)[1]["path"] == "/two%20words?q=a%20b"


def test_sizes_that_are_not_those_of_the_content(tmp_path, shared):
    """A bodySize that counts framing or is a cache's, without a coding, is mended; the coded content of a few bytes that grew by its coding is whole; what
    a cache had is not what was sent."""
    har = document(entry("http://framing.test/"), entry("http://cache.test/"), entry("http://grown.test/", headers=[("Content-Encoding", "gzip")]),
                   entry("http://unchanged.test/"))
    for e, size in zip(har["log"]["entries"], (16, 0, 25, 0)):
        e["response"]["bodySize"] = size
    har["log"]["entries"][3]["response"]["status"] = 304
    tape, said = imported(tmp_path, har)
    phrases(mended(said), "a bodySize that is not", "content with its Content-Encoding undone")
    phrases(left_out(said), "the content of a response that has none")
    responses = [e["response"] for e in export_har(tape, tmp_path)["log"]["entries"]]
    assert [(r["bodySize"], r["content"]["size"]) for r in responses] == [(5, 5), (5, 5), (25, 5), (0, 0)]
    assert responses[2]["headers"] == [{"name": "Content-Encoding", "value": "gzip"}] and "comment" not in responses[2]["content"]
    with replaying(tmp_path, shared, tape) as r:
        for host in ("framing", "cache", "grown"):
            got = ask(r.port, f"http://{host}.test/")
            assert got.content == b"hello" and not [n for n in got.headers if "ringtape" in n.lower() or n.lower() == "content-encoding"]
        assert ask(r.port, "http://unchanged.test/").status == 304


# --- hostile ---


def test_nothing_reaches_the_tape_that_cannot_stand_in_a_message(tmp_path):
    names = ["a\r\nX-Injected", "a b", "", "a:b", "a\0", "Ringtape-Content-Encoding"]
    values = ["1\r\nX-Injected: 1", "a\0b", "\r"]
    har = document(
        *(entry(headers=[(n, "v")]) for n in names), *(entry(headers=[("X", v)], request={"headers": [{"name": "X", "value": v}]}) for v in values),
        *(entry(method=m) for m in ("G T", "GET\r\n", "", "G\0", "x" * 100)),
        *(entry(u) for u in ("http://a\r\nb/", "http:///x", "http://a b/", "http://[::1/", "http://a@b@c/", "//a/", "http://a\\b/", "ftp://a/", "http://a/\0")),
        7, None, {"request": []}, entry(headers=[("X-Many", "v")] * 300),
        entry(headers=[("X-Long", "v" * 70000)], request={"url": "http://a/" + "x" * 70000}),
        entry(response={"status": 200, "statusText": "OK\r\nX: 1", "httpVersion": "HTTP/1.1\r\nX: 1", "headers": "none", "content": []}))
    tape, said = imported(tmp_path, har)
    assert len(flows(tape)) == len(names) + len(values) + 2
    for row in rows(tape, "select name, value from headers"):
        assert not set("\r\n\0 ") & set(row["name"]) and not set("\r\n\0") & set(row["value"]) and row["name"] in ("X", "X-Many", "Content-Type")
    assert rows(tape, "select count(*) n from headers where name = 'X-Many'")[0]["n"] == 256
    assert {f["method"] for f in flows(tape)} == {"GET"} and {f["reason"] for f in flows(tape)} == {"OK", ""}
    phrases(left_out(said), "a header field whose", "an entry whose method", "an entry whose URL", "an entry that is no object", "an entry without a request",
            "header fields beyond")
    assert "(10 times, first in entry 15" in said
    assert "\r" not in said and "Injected" not in said


def test_odd_values_of_json(tmp_path):
    """Halves of surrogate pairs, NUL, bytes that are no UTF-8, numbers beyond any double, the same member twice."""
    text = json.dumps(document(entry(content={"size": 9, "mimeType": "text/plain", "text": "TEXT"}, timings="TIMES"), entry("http://later.test/")))
    text = text.replace('"TEXT"', '"\\ud83da\\u0000\\ud83d\\ude00\\udc00"').replace('"TIMES"', '{"wait": 1e999, "send": ' + "9" * 1000 + ', "receive": 1}')
    text = text.replace('"later.test/"', '"later.test/"').encode().replace(b'"hello"', b'"h\xffllo"').replace(b'"log": {', b'"log": {"log": {"entries": [1]}, ', 1)
    tape, said = imported(tmp_path, text)
    phrases(mended(said), "half of a UTF-16", "a number that is too large", "times that are missing", "a content.size", "a bodySize that")
    assert body_of(tape, 1) == "\ufffda\0\U0001f600\ufffd".encode() and body_of(tape, 2) == b"h\xffllo"
    assert flows(tape)[0]["total_ms"] == 1


def test_an_entry_of_too_many_values_is_left_out(tmp_path):
    """The others are there, and memory stays what it is."""
    har = document(entry("http://first.test/"), entry("http://large.test/", _more=[{"a": i} for i in range(200000)]), entry("http://last.test/"))
    tape, said = imported(tmp_path, har)
    phrases(left_out(said), "an entry of too many values")
    assert [f["host"] for f in flows(tape)] == ["first.test", "last.test"] and "(1 time, first in entry 2, line 1)" in said


def zipped(files, stored=False, stream=False):
    """stream: written without seeking, so that sizes follow what they are of."""
    out = io.BytesIO()
    with zipfile.ZipFile(Pipe(out) if stream else out, "w", zipfile.ZIP_STORED if stored else zipfile.ZIP_DEFLATED) as z:
        for name, data in files.items():
            z.writestr(name, data)
    return out.getvalue()


class Pipe:
    """Takes bytes, and cannot go back."""

    def __init__(self, out):
        self.write, self.flush = out.write, out.flush


HAR = json.dumps(document(*[entry(f"http://a.test/{i}") for i in range(100)])).encode()
BAD = {
    "empty": (b"", "line 1, column 1: the file ends where a value should stand"),
    "text": (b"\n\nGET / HTTP/1.1", "line 3, column 1: 'G' where a value should stand"),
    "list": (b"[]", "no HAR"),
    "object": (b'{"entries": []}', "no HAR: the file ends without a list `log.entries`"),
    "log is a list": (b'{"log": [{"entries": []}]}', "no HAR"),
    "entries is an object": (b'{"log": {"entries": {}}}', "no HAR"),
    "truncated": (json.dumps(document(entry(), entry())).encode()[:-30], "the file ends where"),
    "trailing comma": (b'{"log": {"entries": [\n  1,\n  ]}}', "line 3, column 3: ']' where a value should stand"),
    "two documents": (b'{"log": {"entries": []}} {"log": {"entries": []}}', "line 1, column 26: '{' where the end of the file should stand"),
    "deep": (b'{"log": {"entries": [' + b"[" * 100000, "line 1, column 531: values lie within each other too deeply"),
    "deep object": (b'{"a":' * 100000, "too deeply"),
    "bad escape": (b'{"log": "\\x"}', "line 1, column 11: 'x' where an escaped character should stand"),
    "bad number": (b'{"log": 01}', "line 1, column 10: '1' where a comma or '}' should stand"),
    "line in a string": (b'{"log": "a\nb"}', "line 1, column 11: byte 0x0a"),
    "UTF-16": (json.dumps(document()).encode("utf-16"), "UTF-16"),
    "UTF-16, no mark": (json.dumps(document()).encode("utf-16-le"), "UTF-16"),
    "zip without a HAR": (zipped({"a.txt": b"x"}), "a zip file in which no HAR can be read"),
    "zip, no header": (b"PK\x03\x04" + bytes(100), "a zip file in which no HAR can be read"),
    "zip, cut": (zipped({"a.har": HAR})[:200], "compressed data ends early"),
    "zip, damaged": (zipped({"a.har": HAR}, stored=True).replace(b"hello", b"jello"), "compressed data is damaged"),
    "zip, encrypted": (zipped({"a.har": HAR}).replace(b"PK\3\4\x14\0\0", b"PK\3\4\x14\0\1"), "a zip file in which no HAR can be read"),
    "gzip, damaged": (gzip.compress(b"")[:10] + b"\xff" * 60, "compressed data is damaged"),
    "gzip, cut": (gzip.compress(json.dumps(document(*[entry() for _ in range(50)])).encode())[:-12], "compressed data ends early"),
    "a tape": (b"SQLite format 3\0" + bytes(100), "line 1, column 1: 'S' where a value should stand"),
}


@pytest.mark.sanitize
@pytest.mark.parametrize("case", BAD)
def test_what_is_no_har_makes_no_tape(tmp_path, case):
    """Exit code 3 and one sentence with the place; nothing is left behind, and what stood there stands."""
    data, sentence = BAD[case]
    (tmp_path / "bad.har").write_bytes(data)
    (tmp_path / "old.tape").write_bytes(b"precious")
    before = sorted(os.listdir(tmp_path))
    for output, force in (("new.tape", []), ("old.tape", ["--force"])):
        done = ringtape_import(tmp_path / "bad.har", "-o", tmp_path / output, *force, check=False)
        assert (done.returncode, done.stdout) == (3, b"") and sentence in done.stderr.decode() and done.stderr.count(b"\n") == 1, done.stderr
    assert sorted(os.listdir(tmp_path)) == before and (tmp_path / "old.tape").read_bytes() == b"precious"


def test_files_and_options(tmp_path):
    """What exists is kept without --force; the second of two files being bad leaves nothing; standard input is a file, too."""
    good, bad = write(tmp_path / "good.har", document(entry())), write(tmp_path / "bad.har", b"{")
    tape = tmp_path / "out.tape"
    ringtape_import(good, good, "-o", tape)
    assert len(flows(tape)) == 2 and oct(tape.stat().st_mode & 0o777) == "0o600"
    before = tape.read_bytes()
    done = ringtape_import(good, "-o", tape, check=False)
    assert done.returncode == 1 and b"--force" in done.stderr and tape.read_bytes() == before
    assert ringtape_import(good, bad, "-o", tape, "--force", check=False).returncode == 3 and tape.read_bytes() == before
    assert ringtape_import(tmp_path / "none.har", "-o", tmp_path / "x.tape", check=False).returncode == 3
    assert ringtape_import(tmp_path, "-o", tmp_path / "x.tape", check=False).returncode == 3
    assert ringtape_import(good, check=False).returncode == ringtape_import("-o", tape, check=False).returncode == 2
    assert ringtape_import(good, "-o", "-", check=False).returncode == 2
    ringtape_import("-", "-o", tape, "--force", input=good.read_bytes())
    assert len(flows(tape)) == 1 and sorted(os.listdir(tmp_path)) == ["bad.har", "good.har", "out.tape"]


def test_a_signal_leaves_nothing_behind(tmp_path):
    """While it waits for more of a pipe."""
    tape = tmp_path / "out.tape"
    p = subprocess.Popen([RINGTAPE, "import", "-", "-o", tape], stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=clean_env())
    try:
        p.stdin.write(json.dumps(document(*[entry() for _ in range(2000)]))[:-10].encode())
        p.stdin.flush()
        p.send_signal(signal.SIGTERM)
        _, said = p.communicate(timeout=PATIENCE_S)
    finally:
        if p.poll() is None:
            p.kill()
            p.wait()
    assert p.returncode == 128 + signal.SIGTERM and b"no tape was made" in said and os.listdir(tmp_path) == []


@pytest.mark.parametrize("large", [True, False], ids=["text", "rows"])
def test_a_full_disk_leaves_no_tape(small, tmp_path, large):  # noqa: F811
    """Whether it is the tape or a long text on its way there that finds no room; an old tape stays."""
    text = "".join(f"{i * 7919 % 104729:x}" for i in range(400000 if large else 1000))
    har = write(tmp_path / "in.har", document(*[entry(content={"size": -1, "mimeType": "text/plain", "text": f"{i}{text}"}) for i in range(1 if large else 500)]))
    (tmp_path / "old.tape").write_bytes(b"precious")
    kib = har.stat().st_size // 1024 + 1200
    done = small.run('"$0" import in.har -o old.tape --force', kib=kib, before=[har, tmp_path / "old.tape"])
    assert done.returncode == 1 and FULL in done.stderr.decode() and done.stderr.count(b"\n") == 1, done.stderr
    assert sorted(os.listdir(small.out)) == ["in.har", "old.tape"] and (small.out / "old.tape").read_bytes() == b"precious"


# --- messages ---


def test_websocket_messages(tmp_path, shared):
    """Chrome's list, there and back: times, directions, text and bytes, a message that takes several rows."""
    messages = [{"type": "send", "time": 1714979289.2, "opcode": 1, "data": "hällo"},
                {"type": "receive", "time": 1714979289.3, "opcode": 2, "data": base64.b64encode(bytes(range(256)) * 1000).decode()},
                {"type": "receive", "time": 1714979289.4, "opcode": 1, "data": ""}]
    e = entry("wss://chat.test/ws", _webSocketMessages=[*messages, {"type": "error", "time": 1, "opcode": -1, "data": "x"}], _resourceType="websocket")
    e["response"].update(status=101, statusText="Switching Protocols", content={"size": 0, "mimeType": "x-unknown"}, bodySize=0, headers=[
        {"name": "Upgrade", "value": "websocket"}, {"name": "Connection", "value": "Upgrade"}])
    e["request"]["headers"] = [{"name": n, "value": v} for n, v in {
        "Upgrade": "websocket", "Connection": "Upgrade", "Sec-WebSocket-Version": "13", "Sec-WebSocket-Key": "dGhlIHNhbXBsZSBub25jZQ=="}.items()]
    tape, said = imported(tmp_path, document(e))
    phrases(left_out(said), "a WebSocket message or event")
    (flow,) = flows(tape)
    assert (flow["kind"], flow["url"], flow["complete"]) == ("websocket", "https://chat.test/ws", 1)
    assert [(m["direction"], m["kind"], m["more"], len(m["payload"])) for m in rows(tape, "select * from message order by seq")] == [
        ("request", "text", 0, 6), *[("response", "binary", 1, 65536)] * 3, ("response", "binary", 0, 59392), ("response", "text", 0, 0)]
    (again,) = export_har(tape, tmp_path)["log"]["entries"]
    assert again["_webSocketMessages"] == messages and again["_resourceType"] == "websocket"
    plain = document({**e, "request": {**e["request"], "url": "ws://chat.test/ws"}})
    tape, _ = imported(tmp_path, plain, "plain.har")
    with replaying(tmp_path, shared, tape) as r, socket.create_connection(("127.0.0.1", r.port), PATIENCE_S) as s:
        s.sendall(b"GET http://chat.test/ws HTTP/1.1\r\nHost: chat.test\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                  b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n")
        head = b""
        while not head.endswith(b"\r\n\r\n"):
            head += s.recv(1)
        assert b" 101 " in head and b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo=" in head
        s.sendall(b"\x81\x86\0\0\0\0" + "hällo".encode())
        got = b""
        while len(got) < 256000 + 10:
            got += s.recv(1 << 16)
    assert bytes(range(256)) * 1000 in got or got.count(bytes(range(256))) >= 990


def test_event_stream_messages(tmp_path):
    messages = [{"time": 1714979289.5, "eventName": "message", "eventId": "", "data": "one\ntwo"},
                {"time": 1714979290.25, "eventName": "tick", "eventId": "7", "data": "grün"}]
    stream = "data: one\ndata: two\n\nevent: tick\nid: 7\ndata: grün\n\n"
    har = document(entry("https://feed.test/", headers=[("Content-Type", "text/event-stream")], _eventSourceMessages=messages,
                         content={"size": len(stream.encode()), "mimeType": "text/event-stream", "text": stream}))
    tape, said = imported(tmp_path, har)
    assert left_out(said) == mended(said) == set()
    assert [(m["kind"], m["event"], m["event_id"], m["payload"].decode()) for m in rows(tape, "select * from message order by seq")] == [
        ("event", None, None, "one\ntwo"), ("event", "tick", "7", "grün")]
    (again,) = export_har(tape, tmp_path)["log"]["entries"]
    assert again["_eventSourceMessages"] == messages and again["response"]["content"]["text"] == stream


# --- size ---


def big(path, entries=12, mib=25):
    """Some 300 MB: text, base64, escapes, on one line; no entry of it is ever whole in memory here either."""
    shell = json.dumps(entry("http://big.test/N", content={"size": 1, "mimeType": "text/plain", "text": "TEXT"})).encode()
    plain, escaped = (b"0123456789abcdef" * 65536), (b"\\n\\u00fc\\\\plain" * 50000)
    sizes = []
    with open(path, "wb") as f:
        f.write(b'{"log": {"version": "1.2", "creator": {"name": "x", "version": "1"}, "entries": [')
        for i in range(entries):
            before, after = shell.replace(b"big.test/N", b"big.test/%d" % i).split(b"TEXT")
            f.write((b"," if i else b"") + before)
            block, decoded = (escaped, 9) if i % 3 == 2 else (plain, 16)
            times = mib * (1 << 20) // len(block)
            for _ in range(times):
                f.write(block)
            sizes.append(times * (50000 * decoded if i % 3 == 2 else len(block)))
            f.write(after.replace(b'"', b'"', 1) if i % 3 != 1 else after.replace(b'"', b'", "encoding": "base64"', 1))
            if i % 3 == 1:
                sizes[-1] = sizes[-1] // 4 * 3
        f.write(b"]}}")
    return sizes


def test_memory_does_not_grow_with_the_har(tmp_path):
    """300 MB in under 100 MB of memory, contents of 25 MB each; gzipped as well."""
    har, tape = tmp_path / "big.har", tmp_path / "big.tape"
    try:
        sizes = big(har)
        assert har.stat().st_size > 290e6
        peak_kb = int(run("/usr/bin/python3", "-c", PEAK, RINGTAPE, "import", har, "-o", tape, env=clean_env()).stdout)
        assert 1024 < peak_kb < 100 * 1024
        assert [f["bytes"] for f in rows(tape, "select b.bytes from flow f join body b on b.id = f.response_body order by f.id")] == sizes
        (same,) = rows(tape, "select count(distinct coalesce(same_as, id)) n from body")
        assert same["n"] == 3
    finally:
        for path in (har, tape):
            path.unlink(missing_ok=True)


@pytest.mark.parametrize("members", [1, 3])
def test_gzip(tmp_path, members):
    """Told by its bytes, of several members too, with zeros after it."""
    text = json.dumps(document(*[entry(f"http://a.test/{i}") for i in range(3000)])).encode()
    parts = [text[len(text) * i // members:len(text) * (i + 1) // members] for i in range(members)]
    tape, said = imported(tmp_path, b"".join(map(gzip.compress, parts)) + bytes(512), "har.gz")
    assert len(flows(tape)) == 3000 and left_out(said) == mended(said) == set()


@pytest.mark.parametrize("how", [{}, {"stored": True}, {"stream": True}], ids=["deflated", "stored", "streamed"])
def test_zip(tmp_path, how):
    """As Playwright writes it: among other files, with sizes after the data; from a pipe, too."""
    data = zipped({"1.bin": bytes(range(256)) * 1000, "2.txt": b"", "trace.HAR": HAR, "z.har": b"{"}, **how)
    tape, said = imported(tmp_path, data, "in.har.zip")
    assert len(flows(tape)) == 100 and left_out(said) == mended(said) == set()
    ringtape_import("-", "-o", tape, "--force", input=data)
    assert len(flows(tape)) == 100
