"""Tapes and replays under what origins, links to files and second sessions do to them."""

import contextlib
import json
import os
import pty
import socket
import sqlite3
import struct
import subprocess
import threading
import tty

import pytest
from support import PATIENCE_S, RINGTAPE, clean_env, flows, rows, run


class RawOrigin:
    """An origin of our own words: `talk` is called with each connection, and may end it at any time."""

    def __init__(self, talk):
        self.talk = talk
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.thread = threading.Thread(target=self._run)
        self.thread.start()

    def _run(self):
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self.listener.accept()
                with connection, contextlib.suppress(OSError):
                    connection.settimeout(PATIENCE_S)
                    self.talk(connection)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(PATIENCE_S)


def take_head(connection):
    got = b""
    while b"\r\n\r\n" not in got and (piece := connection.recv(65536)):
        got += piece


def drain(connection):
    while connection.recv(65536):
        pass


def say(port, request):
    """Everything that comes back until the other side closes."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as s:
        s.sendall(request)
        got = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := s.recv(65536):
                got += piece
        return got


def request(origin, method="GET", fields="", body=b""):
    host = f"localhost:{origin.port}"
    return f"{method} http://{host}/x HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n{fields}\r\n".encode() + body


def test_a_filter_takes_nothing_from_the_sessions_before(ringtape, tmp_path, origin):
    tape = tmp_path / "t.tape"
    first = ringtape("record", "-o", tape)
    for path in ("/hello.txt", "/big.bin"):
        run("curl", "-sf", "-x", first.proxy, origin.url(path))
    first.stop()
    second = ringtape("record", "-o", tape, "--append", "-f", "~d elsewhere")
    for path in ("/hello.txt", "/big.bin"):
        run("curl", "-sf", "-x", second.proxy, origin.url(path))
    second.stop()
    assert [f["session"] for f in flows(tape)] == [1, 1]
    assert run(RINGTAPE, "show", tape, "1", "--body").stdout == b"hello, world\n"
    assert run(RINGTAPE, "show", tape, "2", "--body").stdout == (origin.www / "big.bin").read_bytes()


def test_a_filter_keeps_one_copy_of_a_certificate(ringtape, tmp_path, origin, shared):
    """Connections stay on the tape, and there are many in a long session of which one host is wanted."""
    tape = tmp_path / "t.tape"
    r = ringtape("record", "-o", tape, "-f", "~d elsewhere", "--workers", "1")
    for port in (origin.https, origin.tls12, origin.tls13):
        run("curl", "-s", "-x", r.proxy, "--cacert", shared.ca, f"https://localhost:{port}/")
    r.stop()
    [found] = rows(tape, "select count(*) as n, count(distinct chain) as chains, (select count(*) from body) as bodies from connection where chain > 0")
    assert found == {"n": 3, "chains": 1, "bodies": 1}
    assert flows(tape) == []


def test_informational_responses_come_to_an_end(ringtape, tmp_path):
    """Else one flow's row grows for ever, and is written anew at each commit."""
    def talk(connection):
        take_head(connection)
        for _ in range(1000):
            connection.sendall(b"HTTP/1.1 103 Early Hints\r\nLink: </" + b"x" * 8000 + b">\r\n\r\n")
        connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")
    tape = tmp_path / "t.tape"
    with RawOrigin(talk) as o:
        r = ringtape("record", "-o", tape)
        got = say(r.port, request(o))
        r.stop()
    assert b"HTTP/1.1 502 " in got and b"HTTP/1.1 200 " not in got
    [flow] = rows(tape, "select complete, error, length(informational) as kept from flow")
    assert not flow["complete"] and flow["error"].startswith("limit: ")
    assert 40000 < flow["kept"] < 100000


def test_many_small_informational_responses_pass(ringtape, tmp_path):
    """As a server sends 102 every few seconds through a long task."""
    def talk(connection):
        for _ in range(2):  # on one connection: each request has its own measure
            take_head(connection)
            connection.sendall(b"HTTP/1.1 102 Processing\r\n\r\n" * 1500 + b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    tape = tmp_path / "t.tape"
    with RawOrigin(talk) as o:
        r = ringtape("record", "-o", tape, "--workers", "1")
        for _ in range(2):
            got = say(r.port, request(o))
            assert got.count(b"HTTP/1.1 102 ") == 1500 and got.endswith(b"\r\n\r\nok")
        r.stop()
    found = rows(tape, "select complete, json_array_length(informational) as n, server_reused from flow order by id")
    assert found == [{"complete": 1, "n": 1500, "server_reused": 0}, {"complete": 1, "n": 1500, "server_reused": 1}]


def test_an_answer_before_the_request_has_ended_is_replayed_whole(ringtape, tmp_path):
    """413 in chunks: the last chunk must come in the replay, too."""
    def talk(connection):
        take_head(connection)
        connection.sendall(b"HTTP/1.1 413 Too Large\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nsorry\r\n0\r\n\r\n")
        connection.shutdown(socket.SHUT_WR)
        drain(connection)
    tape = tmp_path / "t.tape"
    with RawOrigin(talk) as o:
        upload = request(o, "POST", "Content-Length: 1000000\r\n", b"abc")
        r = ringtape("record", "-o", tape)
        first = say(r.port, upload)
        r.stop()
    assert first.endswith(b"\r\n\r\n5\r\nsorry\r\n0\r\n\r\n")
    assert [f["error"] for f in flows(tape)] == ["truncated: the response ended before the request did"]
    r = ringtape("replay", tape, "--ignore", "body")
    assert say(r.port, upload) == first
    r.stop()


@pytest.mark.parametrize("name", ["file:x.tape", ":memory:", "file:x?mode=memory", "a b%20#?.tape"])
def test_a_tape_has_the_name_it_is_given(ringtape, tmp_path, origin, name):
    """SQLite takes some names for something else."""
    for option in ("--append", "--append", "--force"):
        r = ringtape("record", "-o", name, option)
        run("curl", "-sf", "-x", r.proxy, origin.url())
        r.stop()
        lines = run(RINGTAPE, "ls", name, cwd=tmp_path).stdout.splitlines()
    assert len(lines) == 1 and (tmp_path / name).stat().st_size > 0


def test_a_journal_that_came_with_a_tape_removes_no_file(ringtape, tmp_path, shared):
    """SQLite plays a journal back, and then removes the file that the journal names as the one it was part of."""
    tape, other = tmp_path / "t.tape", tmp_path / "precious"
    ringtape("record", "-o", tape).stop()
    before = tape.read_bytes()
    other.write_text("precious")
    magic, name, page = bytes.fromhex("d9d505f920a163d7"), str(other).encode(), struct.unpack(">H", before[16:18])[0]
    head = magic + struct.pack(">5I", 0, 0, len(before) // page, 512, page)
    end = struct.pack(">I", 0x40000000 // page + 1) + name + struct.pack(">2I", len(name), sum(name)) + magic
    (tmp_path / "t.tape-journal").write_bytes(head.ljust(512, b"\0") + end)
    done = run(RINGTAPE, "record", "-o", tape, "--append", "--ca-dir", shared.ca_dir, "-l", "127.0.0.1:0", check=False)
    assert done.returncode == 1 and b"journal" in done.stderr
    assert run(RINGTAPE, "ls", tape).returncode == 0
    assert other.read_text() == "precious" and tape.read_bytes() == before


def multiply(tape, levels=6):
    """The root of table `flow` becomes the top of pages that lead to its one leaf over a hundred times each: more rows than could ever be read."""
    with contextlib.closing(sqlite3.connect(tape)) as db:
        (root,) = db.execute("select rootpage from sqlite_schema where name = 'flow'").fetchone()
    raw = bytearray(tape.read_bytes())
    page = struct.unpack(">H", raw[16:18])[0]
    leaf = raw[(root - 1) * page:root * page]
    assert leaf[0] == 13

    def above(child):
        cells = [struct.pack(">IB", child, key) for key in range(1, 128)]
        interior, at, places = bytearray(page), page, b""
        for cell in cells:
            at -= len(cell)
            interior[at:at + len(cell)] = cell
            places += struct.pack(">H", at)
        interior[:12 + len(places)] = struct.pack(">BHHHBI", 5, 0, len(cells), at, 0, child) + places
        return interior

    raw += leaf
    for _ in range(levels - 1):
        raw += above(len(raw) // page)
    raw[(root - 1) * page:root * page] = above(len(raw) // page)
    raw[28:32] = struct.pack(">I", len(raw) // page)
    tape.write_bytes(raw)


def test_a_tape_of_endless_rows_ends(ringtape, tmp_path, origin, shared):
    tape = tmp_path / "t.tape"
    r = ringtape("record", "-o", tape)
    for _ in range(3):
        run("curl", "-sf", "-x", r.proxy, origin.url())
    r.stop()
    multiply(tape)
    listed = run(RINGTAPE, "ls", tape, check=False)
    assert listed.returncode == 3 and len(listed.stdout.splitlines()) == 3 and b"damaged" in listed.stderr
    exported = run(RINGTAPE, "export", tape, check=False)
    assert exported.returncode == 3 and b"damaged" in exported.stderr
    replayed = run(RINGTAPE, "replay", tape, "--ca-dir", shared.ca_dir, "-l", "127.0.0.1:0", check=False)
    assert replayed.returncode == 1 and b"damaged" in replayed.stderr


def test_a_link_to_a_tape_is_that_tape(ringtape, tmp_path, origin, shared):
    """Under another name it is locked all the same: two recorders would give their rows the same numbers."""
    tape, link = tmp_path / "t.tape", tmp_path / "link.tape"
    link.symlink_to(tape.name)
    r = ringtape("record", "-o", tape)
    run("curl", "-sf", "-x", r.proxy, origin.url())
    other = run(RINGTAPE, "record", "-o", link, "--append", "--ca-dir", shared.ca_dir, "-l", "127.0.0.1:0", check=False)
    assert other.returncode == 1 and b"another ringtape is recording" in other.stderr
    r.stop()
    r = ringtape("record", "-o", link, "--append")
    run("curl", "-sf", "-x", r.proxy, origin.url())
    r.stop()
    assert [f["session"] for f in flows(tape)] == [1, 2]
    r = ringtape("record", "-o", link, "--force")
    r.stop()
    assert link.is_symlink() and not tape.is_symlink() and flows(tape) == []


def test_output_through_a_link_leaves_the_link(ringtape, tmp_path, origin):
    """-o /dev/stdout, run as root with output into a file, must not replace the machine's /dev/stdout."""
    tape, har, link = tmp_path / "t.tape", tmp_path / "real.har", tmp_path / "link.har"
    r = ringtape("record", "-o", tape)
    run("curl", "-sf", "-x", r.proxy, origin.url())
    r.stop()
    har.write_text("old")
    link.symlink_to(har.name)
    run(RINGTAPE, "export", tape, "-o", link)
    assert link.is_symlink() and har.read_bytes() == run(RINGTAPE, "export", tape).stdout
    assert sorted(p.name for p in tmp_path.iterdir() if "har" in p.name) == ["link.har", "real.har"]


def test_a_flow_without_a_method_is_listed(ringtape, tmp_path, origin):
    """As a recording that was killed at the wrong moment may hold one."""
    tape = tmp_path / "t.tape"
    r = ringtape("record", "-o", tape)
    run("curl", "-sf", "-x", r.proxy, origin.url())
    r.stop()
    with contextlib.closing(sqlite3.connect(tape)) as db:
        db.execute("update flow set method = ''")
        db.commit()
    line = run(RINGTAPE, "ls", tape).stdout
    assert b"memory" not in line and line.split()[3:5] == [b"200", b"-"]


def test_a_relative_tmpdir_serves_a_command_that_goes_elsewhere(tmp_path, origin, shared):
    (tmp_path / "tmp").mkdir()
    done = run(RINGTAPE, "record", "-q", "-o", "t.tape", "--ca-dir", shared.ca_dir, "--upstream-ca", shared.authority.pem, "--",
               "sh", "-c", f"cd / && exec curl -sf {origin.url(scheme='https')}", cwd=tmp_path, env=clean_env(TMPDIR="tmp"))
    assert done.stdout == b"hello, world\n"
    assert list((tmp_path / "tmp").iterdir()) == []


def test_json_is_fit_for_a_terminal(ringtape, tmp_path):
    """U+009B begins an escape sequence as ESC [ does, and U+202E turns what follows around."""
    odd = "a\u009b31m\u202eb\u0085\u2066 gr\u00fcn \u2030"
    def talk(connection):
        take_head(connection)
        body = odd.encode()
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nX-Odd: " + body + b"\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    tape = tmp_path / "t.tape"
    with RawOrigin(talk) as o:
        r = ringtape("record", "-o", tape)
        say(r.port, request(o))
        r.stop()
    for argv in (("show", tape, "1", "--json"), ("export", tape), ("export", tape, "--format", "jsonl")):
        out = run(RINGTAPE, *argv).stdout.decode()
        assert not set(out) & set("\u009b\u202e\u0085\u2066"), argv
        assert odd in str(json.loads(out)) or repr(odd)[1:-1] in str(json.loads(out)), argv
        assert "gr\u00fcn \u2030" in out


def on_a_terminal(*argv):
    """What a program writes to a terminal that leaves everything as it is."""
    here, there = pty.openpty()
    try:
        tty.setraw(there)
        process = subprocess.Popen([str(a) for a in argv], stdout=there, env=clean_env(TERM="xterm"))
        os.close(there)
        got = b""
        with contextlib.suppress(OSError):  # EIO: the other end is closed
            while piece := os.read(here, 65536):
                got += piece
        assert process.wait(PATIENCE_S) == 0
        return got
    finally:
        os.close(here)


def test_foreign_bytes_do_not_drive_a_terminal(ringtape, tmp_path):
    body = b"one\r\ntwo\x1b]0;title\x07\xff gr\xc3\xbcn\n\tend\n"
    def talk(connection):
        take_head(connection)
        connection.sendall(b"HTTP/1.1 200 OK\r\nConnection: close\r\nX-Odd: \xc2\x9b31m\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
    tape = tmp_path / "t.tape"
    with RawOrigin(talk) as o:
        r = ringtape("record", "-o", tape)
        upload = body.replace(b"\xff", b"")
        say(r.port, request(o, "POST", f"Content-Length: {len(upload)}\r\nX-Odd: \u009b31m\r\n", upload))
        r.stop()
    assert run(RINGTAPE, "show", tape, "1", "--body").stdout == body
    shown = on_a_terminal(RINGTAPE, "show", tape, "1", "--body")
    assert shown == b"one\r\ntwo\\x1b]0;title\\x07\\xff gr\xc3\xbcn\n\tend\n"
    raw = on_a_terminal(RINGTAPE, "show", tape, "1", "--raw")
    assert raw.endswith(shown) and b"\r\nX-Odd: \\xc2\\x9b31m\r\n" in raw
    for format in ("har", "jsonl", "curl"):
        text = on_a_terminal(RINGTAPE, "export", tape, "--format", format).decode().replace("\r\n", "\n")
        assert "grün" in text
        assert not any(c < " " and c not in "\n\t" or "\x7f" <= c < "\xa0" for c in text), format


def test_a_miss_of_large_bodies_is_compared_with_few(ringtape, tmp_path, origin):
    """Field by field with the likeliest recording only: meanwhile nobody else on that thread is served."""
    def post(proxy, first):
        upload = tmp_path / "upload.json"
        upload.write_text(json.dumps({"first": first, "rest": [{f"k{i}": i} for i in range(120000)]}))
        return run("curl", "-s", "-x", proxy, "-H", "Content-Type: application/json", "--data-binary", f"@{upload}", origin.url("/post")).stdout
    tape = tmp_path / "t.tape"
    r = ringtape("record", "-o", tape)
    for i in range(4):
        assert post(r.proxy, i) == b"thanks\n"
    r.stop()
    r = ringtape("replay", tape)
    assert post(r.proxy, 3) == b"thanks\n"
    miss = json.loads(post(r.proxy, -1))
    r.stop()
    assert miss["nearest"][0]["differences"] == [{"field": "json:/first", "recorded": "0", "actual": "-1"}]
    assert [n["flow"] for n in miss["nearest"]] == [1]  # two of these exceed LIMIT_REPLAY_COMPARE_BYTES
