"""The HAR validator itself: a good HAR passes, and each way to break one is found, so that it is no rubber stamp for the end-to-end tests."""

import base64
import copy
import json
import pathlib
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
TOOL = ROOT / "tests" / "tools" / "har_validate.py"
sys.path.insert(0, str(TOOL.parent))
import har_validate  # noqa: E402

GONE = object()  # as a value: the member is removed
FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data; boundary=XYZ"
PARTS = ('--XYZ\r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n'
         '--XYZ\r\nContent-Disposition: form-data; name="f"; filename="x.txt"\r\nContent-Type: text/plain\r\n\r\nfile\r\n--XYZ--\r\n')


def message(fields, **more):
    return {"cookies": [], "headers": [{"name": n, "value": v} for n, v in fields], "headersSize": -1, "bodySize": 0, "httpVersion": "HTTP/1.1", **more}


def entry(second, connection="1", fresh=False, request=None, response=None, **more):
    setup = {"dns": 0.5, "connect": 3, "ssl": 2} if fresh else {"dns": -1, "connect": -1, "ssl": -1}
    out = {
        "pageref": "session_1", "startedDateTime": f"2026-01-01T00:00:0{second}.000Z", "time": 10.5 if fresh else 7,
        "request": message([("Host", "a.test")], method="GET", url="https://a.test/x?b=c%20d", queryString=[{"name": "b", "value": "c d"}]),
        "response": message([("Content-Type", "text/plain")], status=200, statusText="OK", redirectURL="",
                            content={"size": 0, "mimeType": "text/plain"}),
        "cache": {}, "timings": {"blocked": 1, **setup, "send": 0, "wait": 4, "receive": 2},
        "connection": connection, "serverIPAddress": "127.0.0.1", "_serverPort": 443}
    out["request"].update(request or {})
    out["response"].update(response or {})
    out.update(more)
    return out


def content(body, wire=None, mime="text/plain", coding=None, fields=(), **more):
    """The members of a response that carries these bytes."""
    coded = [("Content-Encoding", coding)] if coding else []
    wire = len(body) if wire is None else wire
    text = {"text": body.decode()} if har_validate.is_text(body) else {"text": base64.b64encode(body).decode(), "encoding": "base64"}
    return message([("Content-Type", mime), ("Content-Length", str(wire)), *coded, *fields], bodySize=wire, _transferSize=wire + 100,
                   content={"size": len(body), "compression": len(body) - wire, "mimeType": mime, **text}, **more)


def post(body, mime, params=None):
    return message([("Host", "a.test"), ("Content-Type", mime), ("Content-Length", str(len(body)))], method="POST", bodySize=len(body),
                   postData={"mimeType": mime, "text": body, **({"params": params} if params else {})})


def good():
    entries = [
        entry(0, fresh=True, response=content("grün\n".encode(), fields=[("Set-Cookie", "s=1; Path=/"), ("Set-Cookie", "t=2")], cookies=[
            {"name": "s", "value": "1", "path": "/", "expires": "2027-06-09T10:18:14.000Z", "httpOnly": True}, {"name": "t", "value": "2"}])),
        entry(1, request=message([("Cookie", "s=1; t=2")], cookies=[{"name": "s", "value": "1"}, {"name": "t", "value": "2"}]),
              response=content(b"x" * 1000, wire=30, coding="gzip")),
        entry(2, response=content(b"\x89PNG\r\n\x1a\n", mime="image/png")),
        entry(3, request=post("a=1&b=2+3", FORM, [{"name": "a", "value": "1"}, {"name": "b", "value": "2 3"}])),
        entry(4, request=post(PARTS, MULTIPART, [{"name": "a", "value": "1"},
                                                 {"name": "f", "value": "file", "fileName": "x.txt", "contentType": "text/plain"}])),
        entry(5, response=message([("Location", "/there")], status=302, redirectURL="/there", content={"size": 0, "mimeType": "x-unknown"})),
        entry(6, response=message([("ETag", '"x"')], status=304, statusText="Not Modified", content={"size": 0, "mimeType": "x-unknown"})),
        entry(7, connection="2", fresh=True, request={"method": "HEAD"}, response=message([("Content-Length", "1000")])),
        entry(8, connection="3", serverIPAddress="::1", _error="connect: refused",
              response=message([], status=0, statusText="", httpVersion="", bodySize=-1, content={"size": 0, "mimeType": "x-unknown"})),
    ]
    entries[7]["response"]["content"] = {"size": 0, "mimeType": "x-unknown"}
    return {"log": {"version": "1.2", "creator": {"name": "n", "version": "1"}, "entries": entries, "pages": [
        {"startedDateTime": "2026-01-01T00:00:00.000+01:00", "id": "session_1", "title": "t", "pageTimings": {"onLoad": -1}}]}}


def test_the_good_one_is_good():
    assert har_validate.problems(good()) == []


def test_an_empty_log_is_good():
    assert har_validate.problems({"log": {"version": "1.2", "creator": {"name": "n", "version": "1"}, "entries": []}}) == []


E = "log/entries/"
# what is put where -> a word of the sentence that must be said
BROKEN = [
    # the schema: what must be there, and of which type
    *[(f"{E}0/{member}", GONE, "required") for member in (
        "startedDateTime", "time", "request", "response", "cache", "timings", "timings/send", "timings/wait", "timings/receive", "request/method",
        "request/url", "request/httpVersion", "request/cookies", "request/headers", "request/queryString", "request/headersSize",
        "request/bodySize", "response/status", "response/statusText", "response/httpVersion", "response/cookies", "response/headers",
        "response/content", "response/redirectURL", "response/headersSize", "response/bodySize", "response/content/size",
        "response/content/mimeType", "response/cookies/0/name", "response/cookies/0/value", "response/headers/0/name",
        "response/headers/0/value", "request/queryString/0/name", "request/queryString/0/value")],
    *[(member, GONE, "required") for member in (
        "log", "log/version", "log/creator", "log/entries", "log/creator/name", "log/creator/version", "log/pages/0/id", "log/pages/0/title",
        "log/pages/0/startedDateTime", "log/pages/0/pageTimings", f"{E}3/request/postData", f"{E}3/request/postData/mimeType",
        f"{E}3/request/postData/params/0/name")],
    *[(f"{where}/own", 1, "own") for where in (
        "log", "log/creator", "log/pages/0", "log/pages/0/pageTimings", f"{E}0", f"{E}0/request", f"{E}0/response", f"{E}0/response/content",
        f"{E}0/timings", f"{E}0/cache", f"{E}0/response/cookies/0", f"{E}0/request/headers/0", f"{E}0/request/queryString/0",
        f"{E}3/request/postData", f"{E}3/request/postData/params/0")],
    ("log/version", "1.1", "1.2"),
    (f"{E}0/startedDateTime", "2026-01-01T00:00:00.000", "does not match"),
    (f"{E}0/startedDateTime", "2026-01-01 00:00:00Z", "does not match"),
    (f"{E}0/startedDateTime", "2026-02-31T00:00:00Z", "day"),
    (f"{E}0/startedDateTime", 1767225600, "string"),
    ("log/pages/0/startedDateTime", "yesterday", "does not match"),
    ("log/pages/0/pageTimings/onLoad", -2, "not valid"),
    (f"{E}0/time", "10.5", "number"),
    (f"{E}0/time", -1, "minimum"),
    (f"{E}0/timings/dns", None, "not valid"),
    (f"{E}0/timings/dns", -0.5, "not valid"),
    (f"{E}0/timings/wait", -1, "minimum"),
    (f"{E}0/timings/send", "0", "number"),
    (f"{E}0/response/status", "200", "integer"),
    (f"{E}0/response/status", 20, "not valid"),
    (f"{E}0/response/bodySize", None, "integer"),
    (f"{E}0/response/bodySize", 1.5, "integer"),
    (f"{E}0/response/headersSize", -2, "minimum"),
    (f"{E}0/response/content/size", -1, "minimum"),
    (f"{E}0/response/content/mimeType", "", "short"),
    (f"{E}0/response/content/encoding", "gzip", "base64"),
    (f"{E}2/response/content/text", GONE, "dependency"),
    (f"{E}0/response/redirectURL", None, "string"),
    (f"{E}0/response/cookies/0/expires", "Wed, 09 Jun 2027 10:18:14 GMT", "does not match"),
    (f"{E}0/response/cookies/0/expires", "", "does not match"),
    (f"{E}0/response/cookies/0/httpOnly", "yes", "boolean"),
    (f"{E}0/request/url", "/x?b=c%20d", "does not match"),
    (f"{E}0/request/url", "https://a.test/x?b=c d", "does not match"),
    (f"{E}0/request/url", "https://a.test/x?b=<c>", "does not match"),
    (f"{E}0/request/url", "https://a.test/x?b=ü", "does not match"),
    (f"{E}0/request/url", "https://a.test/x?b=c%20d#part", "does not match"),
    (f"{E}0/serverIPAddress", "localhost", "not valid"),
    (f"{E}0/serverIPAddress", "", "not valid"),
    (f"{E}0/serverIPAddress", "127.0.0.256", "not valid"),
    (f"{E}0/serverIPAddress", "fe80::1%eth0", "not valid"),
    (f"{E}0/serverIPAddress", "[::1]", "not valid"),
    (f"{E}0/connection", 1, "string"),
    (f"{E}0/connection", "", "short"),
    (f"{E}0/cache/beforeRequest", {}, "not valid"),
    (f"{E}0/_serverPort", "443", "integer"),
    (f"{E}0/_webSocketMessages", [{"type": "sent", "time": 1.5, "opcode": 1, "data": ""}], "sent"),
    (f"{E}0/_webSocketMessages", [{"type": "send", "time": "now", "opcode": 1, "data": ""}], "number"),
    (f"{E}3/request/postData", {"mimeType": FORM}, "not valid"),  # neither text nor params
    (f"{E}6/response/bodySize", 5, "maximum"),
    (f"{E}1/timings/ssl", 0, "was expected"),
    # times
    (f"{E}0/time", 12.5, "sum"),  # as it would be with ssl counted twice
    (f"{E}0/time", 10.52, "sum"),
    (f"{E}0/time", float("nan"), "finite"),
    (f"{E}0/timings/ssl", 3.5, "ssl"),
    (f"{E}0/request/url", "http://a.test/x?b=c%20d", "https"),
    (f"{E}1/timings", {"blocked": 1, "dns": -1, "connect": 0, "ssl": 0, "send": 0, "wait": 4, "receive": 2}, "set up"),
    (f"{E}1/timings", {"blocked": 0.5, "dns": 0.5, "connect": -1, "ssl": -1, "send": 0, "wait": 4, "receive": 2}, "set up"),
    (f"{E}1/serverIPAddress", "127.0.0.2", "leads to"),
    (f"{E}1/_serverPort", 444, "leads to"),
    (f"{E}0/startedDateTime", "2026-01-01T00:00:01.500Z", "sorted"),
    (f"{E}0/startedDateTime", "2026-01-01T00:00:00.000-01:00", "sorted"),
    (f"{E}0/pageref", "session_2", "no page"),
    ("log/pages", GONE, "no page"),
    ("log/pages", [{"startedDateTime": "2026-01-01T00:00:00Z", "id": "session_1", "title": "t", "pageTimings": {}}] * 2, "one id"),
    # contents
    (f"{E}0/response/content/size", 5, "bytes"),  # characters, not bytes
    (f"{E}0/response/content/text", GONE, "without a text"),
    (f"{E}0/response/content/text", "", "bytes"),
    (f"{E}0/response/content", {"size": 0, "mimeType": "text/plain"}, "no Content-Encoding"),  # the content is lost
    (f"{E}1/response/content/compression", 30, "compression"),
    (f"{E}1/response/content/compression", -970, "compression"),
    (f"{E}1/response/bodySize", -1, "not known"),
    (f"{E}1/response/content/size", 30, "bytes"),  # the size on the wire
    (f"{E}0/response/bodySize", 7, "Content-Length"),
    (f"{E}0/response/_transferSize", 5, "_transferSize"),
    (f"{E}0/response/content/mimeType", "text/html", "Content-Type"),
    (f"{E}2/response/content/encoding", GONE, "bytes"),
    (f"{E}2/response/content/text", "iVBORw0KGgo", "base64"),
    (f"{E}2/response/content/text", "iVBORw0K Ggo=", "base64"),
    (f"{E}0/response/content", {"size": 6, "compression": 0, "mimeType": "text/plain", "encoding": "base64", "text": "Z3LDvG4K"}, "UTF-8"),
    (f"{E}0/response/content/text", "gr\ud800\n", "surrogates"),
    (f"{E}7/response/bodySize", 1000, "no content"),
    # requests
    (f"{E}0/request/queryString", [], "queryString"),
    (f"{E}0/request/queryString/0/value", "c%20d", "queryString"),
    (f"{E}0/request/httpVersion", "h2", "httpVersion"),
    (f"{E}0/response/httpVersion", "HTTP/2.0", "httpVersion"),
    (f"{E}0/response/httpVersion", "", "httpVersion"),
    (f"{E}1/request/cookies", [], "Cookie"),
    (f"{E}1/request/cookies/1/value", "3", "Cookie"),
    (f"{E}0/response/cookies", [], "Set-Cookie"),
    (f"{E}0/response/cookies/0/expires", "2027-02-30T10:18:14.000Z", "day"),
    (f"{E}3/request/bodySize", 8, "Content-Length"),
    (f"{E}3/request/postData/text", "a=1&b=2", "bytes"),
    (f"{E}3/request/postData/mimeType", "text/plain", "Content-Type"),
    (f"{E}3/request/postData/params/1/value", "2+3", "contradict"),
    (f"{E}3/request/postData/params", [{"name": "a", "value": "1"}], "contradict"),
    (f"{E}3/request/postData/_encoding", "base64", "base64"),
    (f"{E}4/request/postData/params/1/name", "g", "contradict"),
    (f"{E}4/request/postData/params", [{"name": "a", "value": "1"}], "contradict"),
    # redirects
    (f"{E}5/response/redirectURL", "", "redirectURL"),
    (f"{E}5/response/redirectURL", "/elsewhere", "redirectURL"),
    (f"{E}0/response/redirectURL", "/there", "redirectURL"),
]


def put(har, path, value):
    at, steps = har, path.split("/")
    for step in steps[:-1]:
        at = at[int(step)] if isinstance(at, list) else at[step]
    last = int(steps[-1]) if isinstance(at, list) else steps[-1]
    if value is GONE:
        del at[last]
    else:
        assert isinstance(at, list) or last not in at or at[last] != value, "this changes nothing"
        at[last] = copy.deepcopy(value)


@pytest.mark.parametrize("path, value, said", BROKEN, ids=[f"{p}={'gone' if v is GONE else repr(v)[:30]}" for p, v, _ in BROKEN])
def test_what_is_broken_is_found(path, value, said):
    har = good()
    put(har, path, value)
    found = har_validate.problems(har)
    assert any(said in sentence for sentence in found), found


def test_params_of_what_is_no_form_are_found():
    har = good()
    post_data = har["log"]["entries"][3]["request"]
    post_data["headers"][1]["value"] = post_data["postData"]["mimeType"] = "application/json"
    assert any("no form" in sentence for sentence in har_validate.problems(har))


def test_own_fields_are_free_below_an_underscore():
    har = good()
    har["_own"] = har["log"]["_own"] = har["log"]["entries"][0]["_own"] = {"any": ["thing"]}
    assert har_validate.problems(har) == []


@pytest.mark.parametrize("before, after, said", [
    ('"time": 7', '"time": NaN', "NaN"),
    ('"time": 7', '"time": -Infinity', "Infinity"),
    ('"time": 7', '"time": 7, "time": 7', "repeated member 'time'"),
    ('"title": "t"', '"title": "\\ud83d"', "surrogates"),
    ("}", "", "delimiter"),
], ids=["NaN", "infinite", "repeated member", "half a surrogate pair", "cut short"])
def test_the_file_is_read_strictly(tmp_path, before, after, said):
    text = json.dumps(good())
    head, tail = text.rsplit(before, 1)
    path = tmp_path / "a.har"
    path.write_text(head + after + tail)
    done = subprocess.run(["/usr/bin/python3", TOOL, path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert done.returncode == 1 and said in done.stdout, done.stdout


@pytest.mark.parametrize("data, said", [(b"\xef\xbb\xbf{}", "BOM"), (b'{"log": "\xff"}', "utf-8"), (b"", "Expecting")], ids=["BOM", "not UTF-8", "empty"])
def test_the_file_is_json_in_utf8(data, said):
    with pytest.raises(ValueError, match=said):
        har_validate.load(data)


def test_the_command_takes_a_good_file(tmp_path):
    path = tmp_path / "a.har"
    path.write_text(json.dumps(good(), ensure_ascii=False))
    done = subprocess.run(["/usr/bin/python3", TOOL, path], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    assert (done.returncode, done.stdout) == (0, "")
