"""Replay reaches no network: by its own counters, by what strace sees, and by what the kernel was told to refuse.

Promises 1 and 2. And the other refusal: where io_uring is forbidden, epoll does its work.
"""

import json
import os
import re

import pytest
import support
from raw import OK, Client, answering, get, post, raw_origin  # noqa: F401 (a fixture)
from support import flows, run, until

BACKENDS = pytest.mark.parametrize("backend", ["io_uring", "epoll"])
TRACED = "trace=network,io_uring_setup,io_uring_register,seccomp"


@pytest.fixture
def traced(tmp_path, monkeypatch):
    """Ringtape under strace, which stays in the background (-D): the process is ringtape itself. Gives the trace's lines at the end."""
    trace, wrapper = tmp_path / "trace", tmp_path / "traced"
    wrapper.write_text(f'#!/bin/sh\nexec strace -D -f -q -o "{trace}" -e {TRACED} "{support.RINGTAPE}" "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setattr(support, "RINGTAPE", str(wrapper))

    def lines(r):
        mark = f"{r.process.pid} +++ exited with"
        until(lambda: any(re.sub(" +", " ", line).startswith(mark) for line in trace.read_text().splitlines()), "the end of the trace")
        return trace.read_text().splitlines()

    return lines


def calls(lines, name):
    return [line for line in lines if re.search(rf"\b{name}\(", line)]


def is_held(r):
    """Does each thread of the process have a seccomp filter and no way to gain privileges?"""
    held = []
    for task in os.listdir(f"/proc/{r.process.pid}/task"):
        with open(f"/proc/{r.process.pid}/task/{task}/status") as f:
            status = {k: v.strip() for k, v in (line.split(":", 1) for line in f)}
        held.append((status["Seccomp"], status["NoNewPrivs"]))
    return held and all(state == ("2", "1") for state in held)


def tunnel(peer):
    assert peer.exactly(6) == b"\x00hello"
    peer.send(b"\xffwelcome")
    peer.rest()


@pytest.fixture
def world(ringtape, raw_origin, tmp_path, shared):  # noqa: F811
    """A tape with plain HTTP, HTTPS and a tunnel, and the origins, which are gone."""
    class World:
        tape = tmp_path / "t.tape"
        plain, other = raw_origin(answering(OK)), raw_origin(tunnel)
        secured = raw_origin(answering(OK), tls=shared.authority.issue("good"))

    r = ringtape("record", "-o", World.tape)
    visit(r.port, World, shared)
    r.stop()
    for origin in (World.plain, World.other, World.secured):
        origin.stop()
    return World


def visit(port, world, shared):
    """What is on the tape."""
    with Client(port) as c:
        assert c.ask(get(world.plain)).body == b"ok"
    with Client(port) as c:
        c.connect(world.secured.authority).secure(shared.ca)
        assert c.ask(f"GET / HTTP/1.1\r\nHost: {world.secured.authority}\r\n\r\n".encode()).body == b"ok"
    with Client(port) as c:
        c.connect(world.other.authority)
        c.send(b"\x00hello")
        assert c.exactly(8) == b"\xffwelcome"


def stray(port, world, shared):
    """What is not: other paths, hosts that would have to be looked up, addresses that would have to be connected to. The number of misses."""
    with Client(port) as c:
        asked = [get(world.plain, "/other"), post(world.plain, b"x"),
                 b"GET http://unheard-of.test/ HTTP/1.1\r\nHost: unheard-of.test\r\n\r\n",
                 b"GET http://203.0.113.1/ HTTP/1.1\r\nHost: 203.0.113.1\r\n\r\n",
                 b"GET http://[2001:db8::1]:81/ HTTP/1.1\r\nHost: [2001:db8::1]:81\r\n\r\n"]
        for request in asked:
            answer = c.ask(request)
            assert answer.status == 501 and answer.field(b"ringtape") == [b"miss"]
    for authority in (world.secured.authority, "unheard-of.test:443"):
        with Client(port) as c:
            name = authority.split(":")[0]
            c.connect(authority).secure(shared.ca, name=name)
            assert c.ask(f"GET /other HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode()).status == 501
    with Client(port) as c:
        c.connect("unheard-of.test:25")
        c.send(b"\x00hello")
        assert c.rest() == b"", "a tunnel that nobody recorded ends"
    return len(asked) + 3


@pytest.mark.quick
@BACKENDS
def test_a_replay_makes_no_connection_and_no_look_up(ringtape, world, traced, tmp_path, shared, backend):
    """Hits and misses. io_uring's connects would be hidden from strace: there the rings' own restrictions must be in place."""
    report = tmp_path / "report.json"
    r = ringtape("replay", world.tape, "--backend", backend, "--report", report, "--workers", 2)
    until(lambda: is_held(r), "the sandbox", r.process)
    visit(r.port, world, shared)
    misses = stray(r.port, world, shared)
    assert is_held(r), "threads that were made since"
    r.stop()
    lines = traced(r)
    said = json.loads(report.read_text())
    assert (said["network_connects"], said["served"], said["missed"]) == (0, 3, misses), said
    assert calls(lines, "listen"), "strace has seen something"
    assert not calls(lines, "connect")
    for name in ("sendto", "sendmsg", "sendmmsg"):
        assert not [line for line in calls(lines, name) if "sin_port" in line or "sin6_port" in line or "sun_path" in line]
    sockets = calls(lines, "socket")
    assert sockets and not [line for line in sockets if "SOCK_DGRAM" in line or "SOCK_STREAM" not in line], sockets
    begin = next(i for i, line in enumerate(lines) if "SECCOMP_SET_MODE_FILTER" in line)
    assert not calls(lines[begin:], "socket") and not calls(lines[begin:], "io_uring_setup")
    rings, restricted = calls(lines, "io_uring_setup"), calls(lines, "io_uring_register")
    restricted = [line for line in restricted if "IORING_REGISTER_RESTRICTIONS" in line and line.endswith("= 0")]
    assert len(restricted) == (2 if backend == "io_uring" else 0), restricted
    assert bool(rings) == (backend == "io_uring")


def test_strace_would_have_seen_a_connection(ringtape, world, traced, shared, raw_origin):  # noqa: F811
    """The same trace of a recording with epoll shows what the test above must not find."""
    origin = raw_origin(answering(OK))
    r = ringtape("record", "-o", world.tape, "--force", "--backend", "epoll")
    with Client(r.port) as c:
        assert c.ask(get(origin)).body == b"ok"
    r.stop()
    lines = traced(r)
    assert any(f"htons({origin.port})" in line for line in calls(lines, "connect"))


@BACKENDS
def test_a_recording_is_not_held(ringtape, tmp_path, backend):
    r = ringtape("record", "-o", tmp_path / "t.tape", "--backend", backend)
    assert not is_held(r)
    r.stop()


def test_a_command_under_replay_keeps_its_own_network(world, tmp_path, shared):
    """Only ringtape is held: CMD was started before, and is nobody's prisoner."""
    script = 'grep -E "^(Seccomp|NoNewPrivs):" /proc/self/status; curl -sS "$1"'
    done = run(support.RINGTAPE, "replay", "-q", world.tape, "--ca-dir", shared.ca_dir, "--", "sh", "-c", script, "sh", f"{world.plain.url}/",
               env=support.clean_env(), cwd=tmp_path)
    with open("/proc/self/status") as f:
        ours = [line for line in f if line.startswith(("Seccomp:", "NoNewPrivs:"))]
    assert done.stdout.decode() == "".join(sorted(ours, key=lambda line: line.startswith("Seccomp"))) + "ok"


# --- io_uring is forbidden ----------------------------------------------------------------------------------------------

FORBID = """#!/usr/bin/python3
import ctypes, os, platform, struct, sys
# Instructions of a seccomp filter: load the call's number; io_uring_setup (425 everywhere) gets EPERM, all else passes.
rules = [(0x20, 0, 0, 0), (0x15, 0, 1, 425), (0x06, 0, 0, 0x00050000 | 1), (0x06, 0, 0, 0x7fff0000)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *rule) for rule in rules))
class Program(ctypes.Structure):
    _fields_ = [("n", ctypes.c_ushort), ("rules", ctypes.c_void_p)]
program = Program(len(rules), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
for call in ((38, 1, 0, 0, 0), (22, 2, ctypes.byref(program), 0, 0)):
    if libc.prctl(*call):
        sys.exit(f"prctl: {os.strerror(ctypes.get_errno())}")
os.execv(sys.argv[1], sys.argv[1:])
"""


@pytest.fixture
def forbidden(tmp_path, monkeypatch):
    """Ringtape where io_uring_setup is answered with EPERM, as in a container."""
    forbid, wrapper = tmp_path / "forbid", tmp_path / "forbidden"
    forbid.write_text(FORBID)
    forbid.chmod(0o755)
    wrapper.write_text(f'#!/bin/sh\nexec "{forbid}" "{support.RINGTAPE}" "$@"\n')
    wrapper.chmod(0o755)
    monkeypatch.setattr(support, "RINGTAPE", str(wrapper))


@pytest.mark.quick
def test_where_io_uring_is_refused_epoll_does_its_work_and_says_so_once(ringtape, world, forbidden, tmp_path, shared, raw_origin):  # noqa: F811
    origin = raw_origin(answering(OK))
    r = ringtape("record", "-o", tmp_path / "u.tape", "--workers", 4)
    with Client(r.port) as c:
        assert c.ask(get(origin)).body == b"ok"
    r.stop()
    assert r.log().count("io_uring is refused here; epoll") == 1, r.log()
    assert [f["complete"] for f in flows(tmp_path / "u.tape")] == [1]
    r = ringtape("replay", world.tape, "--workers", 4)
    visit(r.port, world, shared)
    assert is_held(r)
    r.stop()
    assert r.log().count("io_uring is refused here; epoll") == 1
    assert b"epoll" in run(support.RINGTAPE, "--version").stdout


def test_where_io_uring_is_refused_and_asked_for_it_is_an_error(forbidden, tmp_path, shared):
    done = run(support.RINGTAPE, "record", "-o", tmp_path / "u.tape", "-l", "127.0.0.1:0", "--ca-dir", shared.ca_dir, "--backend", "io_uring", check=False,
               env=support.clean_env(), cwd=tmp_path)
    assert done.returncode == 1
    assert b"try --backend epoll" in done.stderr and done.stderr.count(b"\n") == 1, done.stderr
    assert not (tmp_path / "u.tape").exists()


def test_auto_is_io_uring_where_the_kernel_has_it(ringtape, tmp_path):
    r = ringtape("record", "-o", tmp_path / "t.tape")
    links = [os.readlink(f"/proc/{r.process.pid}/fd/{fd}") for fd in os.listdir(f"/proc/{r.process.pid}/fd")]
    r.stop()
    wanted = "io_uring" in run(support.RINGTAPE, "--version").stdout.decode()
    assert ("anon_inode:[io_uring]" in links) == wanted
    assert ("epoll does its work" in r.log()) != wanted
