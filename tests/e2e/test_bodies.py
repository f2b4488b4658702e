"""Large and odd bodies, on both versions: 1 GB either way in bounded memory, nothing at all, no Content-Length, parts of a whole, forms with files."""

import base64
import json

import pytest
from origins import go_h2origin
from support import RINGTAPE, clean_env, export_har, flows, rows, run
from test_limits import MB, MEMORY_MAX, memory

GB = 1 << 30
KEPT = MB
VERSIONS = pytest.mark.parametrize("version", ["--http1.1", "--http2"])
SPOKEN = {"--http1.1": "HTTP/1.1", "--http2": "HTTP/2"}


@pytest.fixture
def origin(tmp_path, shared):
    o = go_h2origin(tmp_path, shared.authority)
    yield o
    o.stop()


def curl(r, shared, *argv, check=True):
    return run("curl", "-sS", "--cacert", shared.ca, "-x", r.proxy, *argv, env=clean_env(), check=check, timeout=120)


def test_1_gb_each_way_over_http2_of_which_little_is_kept(ringtape, origin, shared, tmp_path):
    """Promise 14, with --max-body: all of it is forwarded, the tape and the memory stay small; the replay says what it lacks."""
    tape, down, up = tmp_path / "t.tape", origin.url(f"/zeros?n={GB}"), origin.url("/sink")
    zeros = tmp_path / "zeros"
    with open(zeros, "wb") as f:
        f.truncate(GB)
    r = ringtape("record", "-o", tape, "--max-body", KEPT)
    assert curl(r, shared, "--http2", "-o", "/dev/null", "-w", "%{http_version} %{size_download}", down).stdout == b"2 %d" % GB
    assert curl(r, shared, "--http2", "-T", zeros, up).stdout == b"%d of %d <nil>\n" % (GB, GB)
    high = memory(r)
    r.stop()
    assert high < MEMORY_MAX
    assert tape.stat().st_size < 4 * KEPT
    got, sent = flows(tape)
    assert [(f["http_version"], f["complete"], f["error"]) for f in (got, sent)] == [("HTTP/2", 1, None)] * 2
    assert (got["response_bytes"], sent["request_bytes"]) == (GB, GB)
    kept = rows(tape, "select b.bytes from flow f join body b on b.id in (f.response_body, f.request_body) where b.bytes > 1000")
    assert kept == [{"bytes": KEPT}] * 2
    origin.stop()
    r = ringtape("replay", tape)
    done = curl(r, shared, "--http2", "-o", "/dev/null", "-w", "%{size_download}", down, check=False)
    assert (done.returncode, done.stdout) == (92, b"%d" % KEPT), done  # 92: the stream was reset
    r.stop()


@VERSIONS
@pytest.mark.parametrize("size", [0, 100_000])
def test_no_content_length(session, origin, version, size):
    """The close, or END_STREAM, is the end of the answer; a chunked request, or one of DATA alone, that of what is sent."""
    (session.tape.parent / "up").write_bytes(b"u" * size)
    script = f"""curl -sS {version} -D head '{origin.url(f"/unframed?n={size}")}' | sha256sum && grep -ic '^content-length' head
                 curl -sS {version} -H 'Expect:' -T - {origin.url('/sink')} <up"""
    out = session.both(origin, "sh", "-c", script, least=2).decode().splitlines()
    assert out[1:] == ["0", f"{size} of -1 <nil>"]
    down, up = session.flows
    assert (down["response_bytes"], up["request_bytes"]) == (size, size)
    assert {f["http_version"] for f in session.flows} == {SPOKEN[version]}
    fields = rows(session.tape, "select 1 from headers where lower(name) = 'content-length' and (flow, side) in (values (1, 'response'), (2, 'request'))")
    assert fields == []


RANGES = {"0-9": b"206 0-9/100 0123456789", "95-": b"206 95-99/100 56789", "-3": b"206 97-99/100 789", "200-300": b"416 */100 "}


@VERSIONS
def test_parts_of_a_whole(session, origin, version):
    """206 and 416, in the order of the tape and, when the key has the Range, in any other; several parts at once; what a download goes on with."""
    def asked(ranges):
        ask = f"curl -sS {version} {origin.url('/ranges')} --suppress-connect-headers -D head -o body"
        show = r"""sed -n 's/^HTTP[^ ]* \([0-9]*\).*/\1/p; s/^content-range: bytes //Ip' head | tr -d '\r' | tr '\n' ' '; tr -d '\n' <body; echo"""
        return ("sh", "-c", "".join(f"{ask} -r {which} && {show};" for which in ranges))

    out = session.both(origin, *asked(RANGES), least=len(RANGES))
    assert {f["status"] for f in session.flows} == {206, 416} and {f["http_version"] for f in session.flows} == {SPOKEN[version]}
    lines = out.splitlines()
    assert lines[:3] == list(RANGES.values())[:3] and lines[3].startswith(RANGES["200-300"])
    match = ("--match", "method,scheme,host,port,path,query,body,header:range")
    assert session.replay(*asked(reversed(RANGES)), options=match).splitlines() == out.splitlines()[::-1]
    assert session.report["missed"] == session.report["repeated"] == 0


@VERSIONS
def test_several_parts_at_once_and_a_download_that_goes_on(session, origin, version):
    url = origin.url("/ranges")
    script = f"""curl -sS {version} -i -r 0-3,50-53 -H 'If-Range: "one"' {url}; printf 0123456789 >part
                 curl -sS {version} -C - -o part {url}; cat part; curl -sS {version} -r 0-3 -H 'If-Range: "two"' {url}"""
    out = session.both(origin, "sh", "-c", script, least=3)
    assert b"Content-Range: bytes 0-3/100\r\nContent-Type: text/plain\r\n\r\n0123\r\n" in out and out.endswith(b"0123456789" * 20)
    assert [f["status"] for f in session.flows] == [206, 206, 200]


BINARY = bytes(range(256)) * 10


@VERSIONS
def test_a_form_with_files(session, origin, tmp_path, version):
    """What curl makes of -F, one file of it binary: part by part in `show` and in HAR; the boundary differs in replay and does not count."""
    (tmp_path / "a.bin").write_bytes(BINARY)
    (tmp_path / "b.txt").write_text("one\ntwo\n")
    session.both(origin, "curl", "-sS", version, "-F", "name=grün", "-F", 'up=@a.bin;filename="ä \x1b[1m.bin"', "-F", "notes=@b.txt;type=text/plain", origin.url("/sink"))
    shown = run(RINGTAPE, "show", session.tape, "1").stdout.decode()
    assert "\n[part 1]  name  5 B\ngrün\n[part 2]  up  \"ä \\x1b[1m.bin\"  application/octet-stream  2.6 kB\n" in shown, shown
    assert '\n[part 3]  notes  "b.txt"  text/plain  8 B\none\ntwo\n' in shown
    parts = json.loads(run(RINGTAPE, "show", session.tape, "1", "--json").stdout)["request"]["body"]["parts"]
    assert [(p["name"], p["filename"], p["content_type"], p["bytes"]) for p in parts] == [
        ("name", None, None, 5), ("up", "ä \x1b[1m.bin", "application/octet-stream", len(BINARY)), ("notes", "b.txt", "text/plain", 8)]
    assert (parts[0]["text"], base64.b64decode(parts[1]["base64"]), parts[2]["text"]) == ("grün", BINARY, "one\ntwo\n")
    entry, = export_har(session.tape, tmp_path)["log"]["entries"]
    params = entry["request"]["postData"]["params"]
    assert [(p["name"], p.get("value"), p.get("fileName"), p.get("contentType")) for p in params] == [
        ("name", "grün", None, None), ("up", None, "ä \x1b[1m.bin", "application/octet-stream"), ("notes", "one\ntwo\n", "b.txt", "text/plain")]


def test_ranges_are_parts_too(session, origin):
    """multipart/byteranges, which names nothing."""
    session.record("curl", "-sS", "-r", "0-3,10-12", origin.url("/ranges"))
    assert run(RINGTAPE, "show", session.tape, "1").stdout.decode().count("\n[part ") == 2
