"""While it runs: the line that says it is ready, signals, the forms of the log, the status line."""

import fcntl
import json
import os
import pty
import re
import signal
import socket
import subprocess
import termios
import threading
import time

import pytest
from oneshot import Origin, here, sample  # noqa: F401 (fixtures)
from support import PATIENCE_S, RINGTAPE, clean_env, flows, rows, run, until

SHUTDOWN_S = 3  # how long what is in flight may take, says the contract


class Held:
    """An origin that answers when it is told to, if at all."""

    def __init__(self):
        self.socket = socket.create_server(("127.0.0.1", 0))
        self.port = self.socket.getsockname()[1]
        self.asked, self.go = threading.Event(), threading.Event()
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        connection, _ = self.socket.accept()
        with connection:
            connection.recv(65536)
            self.asked.set()
            if self.go.wait(PATIENCE_S):
                connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndone")

    def close(self):
        self.go.set()
        self.thread.join(PATIENCE_S)
        self.socket.close()


@pytest.fixture
def held():
    origin = Held()
    yield origin
    origin.close()


def get(r, url):
    """A request through the proxy that is not answered yet: the socket."""
    s = socket.create_connection(("127.0.0.1", r.port), PATIENCE_S)
    s.sendall(f"GET {url} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
    return s


def everything(s):
    """What comes until the other side closes."""
    data = b""
    with s:
        try:
            while piece := s.recv(65536):
                data += piece
        except ConnectionResetError:
            pass
    return data


def refuses(port):
    try:
        socket.create_connection(("127.0.0.1", port), PATIENCE_S).close()
        return False
    except OSError:
        return True


def one_file(folder, name):
    assert not [p.name for p in folder.iterdir() if p.name.startswith(name) and p.name != name], "a closed tape is one file"
    assert rows(folder / name, "pragma integrity_check") == [{"integrity_check": "ok"}]


# --- ready


@pytest.mark.quick
def test_ready(ringtape, tmp_path, sample):
    r = ringtape("record", "-o", tmp_path / "a.tape")
    assert r.log() == f"ringtape: recording to {tmp_path}/a.tape, proxy on http://127.0.0.1:{r.port}\n"
    assert r.port_file.read_text() == f"{r.port}\n" and r.port_file.stat().st_mode & 0o777 == 0o666 & ~umask() & 0o644
    r.stop()
    r = ringtape("replay", sample)
    assert r.log() == f"ringtape: replaying 2 flows from {sample}, proxy on http://127.0.0.1:{r.port}\n"
    r.stop()


def umask():
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_the_default_name_of_a_tape(here):
    before = time.time()
    done = here.attempt("record", "--", "true")
    (name,) = re.findall(r"recording to (session-\d{8}-\d{6}\.tape),", done.stderr.decode())
    assert before - 1 <= time.mktime(time.strptime(name, "session-%Y%m%d-%H%M%S.tape")) <= time.time()
    assert flows(here.folder / name) == []


def test_replay_names_all_its_tapes(here):
    done = here.attempt("replay", "a.tape", "a.tape", "--", "true")
    assert re.match(r"ringtape: replaying 4 flows from a\.tape and a\.tape, proxy on http://127\.0\.0\.1:\d+\n", done.stderr.decode())


# --- ending


@pytest.mark.sanitize
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_ends_it_in_order(ringtape, tmp_path, number):
    origin = Origin()
    for argv, summary in ((["record", "-o", tmp_path / "s.tape"], r"ringtape: recorded 1 flow, 0 errors, 6 B in \d+\.\d s; .*/s\.tape, \d+\.\d kB\n"),
                          (["replay", tmp_path / "s.tape", "--report", tmp_path / "report"],
                           "ringtape: 1 served, 0 missed, 0 repeated, 0 of 1 recordings unused, 0 connects to the network\n")):
        r = ringtape(*argv)
        assert run("curl", "-sS", "--proxy", r.proxy, origin.url(), env=clean_env()).stdout == b"secret"
        r.stop(expect=0, sig=number)
        assert re.fullmatch(r"ringtape: re[^\n]*\n" + summary, r.log()), r.log()
        one_file(tmp_path, "s.tape")
    assert json.loads((tmp_path / "report").read_text())["served"] == 1
    (flow,) = flows(tmp_path / "s.tape")
    assert flow["complete"] == 1
    origin.close()


def test_what_is_in_flight_is_finished(ringtape, tmp_path, held):
    r = ringtape("record", "-o", tmp_path / "s.tape", "--workers", "1")
    s = get(r, f"http://localhost:{held.port}/")
    assert held.asked.wait(PATIENCE_S)
    r.process.send_signal(signal.SIGTERM)
    until(lambda: refuses(r.port), "the listener to close")
    held.go.set()
    assert everything(s).endswith(b"\r\n\r\ndone")
    r.stop(expect=0)
    (flow,) = flows(tmp_path / "s.tape")
    assert (flow["status"], flow["complete"], flow["error"]) == (200, 1, None)
    one_file(tmp_path, "s.tape")


def test_what_does_not_finish_is_cut_after_a_while(ringtape, tmp_path, held):
    r = ringtape("record", "-o", tmp_path / "s.tape")
    s = get(r, f"http://localhost:{held.port}/")
    assert held.asked.wait(PATIENCE_S)
    begin = time.monotonic()
    r.stop(expect=0)
    assert SHUTDOWN_S - 0.2 <= time.monotonic() - begin < SHUTDOWN_S + 5
    assert b"200" not in everything(s)
    (flow,) = flows(tmp_path / "s.tape")
    assert flow["complete"] == 0 and flow["error"].startswith("shutdown: ")
    one_file(tmp_path, "s.tape")


@pytest.mark.sanitize
@pytest.mark.thread
def test_a_second_signal_cuts(ringtape, tmp_path, held):
    r = ringtape("record", "-o", tmp_path / "s.tape")
    s = get(r, f"http://localhost:{held.port}/")
    assert held.asked.wait(PATIENCE_S)
    begin = time.monotonic()
    r.process.send_signal(signal.SIGINT)
    until(lambda: refuses(r.port), "the listener to close")
    assert r.process.poll() is None
    r.stop(expect=0, sig=signal.SIGTERM)
    assert time.monotonic() - begin < SHUTDOWN_S
    everything(s)
    (flow,) = flows(tmp_path / "s.tape")
    assert flow["complete"] == 0 and flow["error"].startswith("shutdown: ")
    one_file(tmp_path, "s.tape")


def test_cmd_gets_the_signal_and_has_the_last_word(here):
    for code, body in ((9, "trap 'exit 9' TERM"), (128 + signal.SIGTERM, ":")):
        script = f"{body}; echo up; while :; do sleep 0.02; done"
        with subprocess.Popen([RINGTAPE, "record", "--force", "-q", "-o", "s.tape", "--", "sh", "-c", script], cwd=here.folder, env=here.env,
                              stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
            assert process.stdout.readline() == b"up\n"
            process.send_signal(signal.SIGTERM)
            assert process.wait(PATIENCE_S) == code
            assert process.stderr.read() == b""
        one_file(here.folder, "s.tape")


def test_a_terminals_interrupt_reaches_cmd_once(here):
    """^C goes to the whole foreground group: we pass nothing on, and wait for CMD."""
    master, slave = pty.openpty()
    script = "n=0; trap 'n=$((n+1)); sleep 0.2; exit $((40+n))' INT; echo up; while :; do sleep 0.02; done"
    argv = [RINGTAPE, "record", "-q", "-o", "s.tape", "--", "sh", "-c", script]
    process = subprocess.Popen(argv, cwd=here.folder, env=here.env, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                               preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0))
    os.close(slave)
    text = b""
    while b"up" not in text:
        text += os.read(master, 1000)
    os.write(master, b"\x03")
    assert process.wait(PATIENCE_S) == 41
    os.close(master)
    one_file(here.folder, "s.tape")


# --- other signals


@pytest.mark.parametrize("options", [[], ["-q"], ["-v"]], ids=["plain", "quiet", "verbose"])
def test_sigusr1_prints_counters(ringtape, tmp_path, options):
    origin = Origin()
    r = ringtape("record", *options, "-o", tmp_path / "s.tape")
    run("curl", "-sS", "--proxy", r.proxy, origin.url(), origin.url("/b"), env=clean_env())
    until(lambda: len(flows(tmp_path / "s.tape")) == 2, "the flows")
    pattern = r"^ringtape: (\d+) flows?, 0 errors, 12 B; 1 clients \(\d now\), 2 exchanges \(0 now\), 0 refused our certificate$"
    for times in (1, 2):
        r.process.send_signal(signal.SIGUSR1)
        until(lambda: len(re.findall(pattern, r.log(), re.MULTILINE)) == times, "the counters", r.process)
    assert run("curl", "-sS", "--proxy", r.proxy, origin.url(), env=clean_env()).stdout == b"secret", "it goes on"
    r.stop()
    origin.close()


def test_sigpipe_is_ignored(ringtape, tmp_path):
    """Sent, and earned: standard error is a pipe that nobody reads any more."""
    origin = Origin()
    r = ringtape("record", "-o", tmp_path / "s.tape")
    for _ in range(3):
        r.process.send_signal(signal.SIGPIPE)
        assert run("curl", "-sS", "--proxy", r.proxy, origin.url(), env=clean_env()).stdout == b"secret"
    r.stop()
    with subprocess.Popen([RINGTAPE, "record", "-v", "-o", "t.tape", "--", "sh", "-c", "read go; curl -s " + origin.url()], cwd=tmp_path,
                          env=clean_env(RINGTAPE_CA_DIR=r.process.args[r.process.args.index("--ca-dir") + 1]), stdin=subprocess.PIPE,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stderr.readline()
        process.stderr.close()
        process.stdin.write(b"go\n")
        process.stdin.flush()
        assert process.stdout.read() == b"secret"
        assert process.wait(PATIENCE_S) == 0
    assert len(flows(tmp_path / "t.tape")) == 1
    origin.close()


def test_a_server_that_nohup_started_outlives_its_terminal(ringtape, here):
    """SIGHUP that was ignored when we were started stays ignored; SIGTERM ends it."""
    with subprocess.Popen(["nohup", RINGTAPE, "record", "-o", "s.tape", "-l0"], cwd=here.folder, env=here.env, stdin=subprocess.DEVNULL,
                          stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        while "proxy on" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGHUP)
        process.send_signal(signal.SIGUSR1)
        assert "0 flows" in process.stderr.readline()
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE_S) == 0
    one_file(here.folder, "s.tape")


# --- the log


def session(here, *options):
    """A recording with one request that works and one that does not: what stands on standard error."""
    origin = Origin()
    with socket.create_server(("127.0.0.1", 0)) as taken:
        nobody = taken.getsockname()[1]
    script = f"curl -s -o /dev/null {origin.url()}; curl -s -o /dev/null http://localhost:{nobody}/; exit 0"
    done = here.attempt("record", "--force", "-o", "s.tape", *options, "--", "sh", "-c", script)
    assert done.returncode == 0
    origin.close()
    return done.stderr.decode()


def test_the_log_plain_and_quiet(here):
    text = session(here)
    assert re.fullmatch(r"ringtape: recording to s\.tape, proxy on http://127\.0\.0\.1:\d+\n"
                        r"ringtape: recorded 2 flows, 1 error, 6 B in \d+\.\d s; s\.tape, \d+\.\d kB\n", text), text
    assert session(here, "-q") == ""
    assert set(re.sub(r"\d+", "N", text).splitlines()) <= set(re.sub(r"\d+", "N", session(here, "-v")).splitlines()), "-v says more, not other things"


@pytest.mark.quick
def test_the_log_as_json(here):
    lines = [json.loads(line) for line in session(here, "--log-json").splitlines()]
    assert [line["tag"] for line in lines] == ["ready", "summary"]
    for line in lines:
        assert list(line) == ["time", "level", "tag", "message"] and line["level"] == "info"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])
    assert lines[0]["message"].startswith("recording to s.tape, proxy on http://")
    assert lines[1]["message"].startswith("recorded 2 flows, 1 error")
    assert session(here, "--log-json", "-q") == ""
    done = here.attempt("record", "--log-json", "-o", "a.tape", "--", "true")
    (line,) = [json.loads(line) for line in done.stderr.decode().splitlines()]
    assert done.returncode == 125 and line["level"] == "error" and line["message"].startswith("a.tape exists")


def test_names_cannot_write_to_the_terminal(here):
    """Control characters and bytes that are no text, in the names of files: on the log, as JSON and as complaints."""
    name = "a\x1b]0;title\x07\n\u202eb.tape"
    done = here.attempt("record", "-o", name, "--", "true")
    assert done.returncode == 0 and not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", done.stderr.decode()) and done.stderr.count(b"\n") == 2
    done = here.attempt("record", "--force", "--log-json", "-o", name, "--", "true")
    assert all(name in json.loads(line)["message"] for line in done.stderr.decode().splitlines())
    for argv in (["ls", "\x1b[31mmissing"], ["\x1b[31mfrobnicate"], ["record", "--\x1b[31m"], ["replay", "a.tape", "--match", "\x1b[31m"],
                 ["export", "a.tape", "-f", "~\x1b[31m"], ["record", "--pass", "\x1b[31m"], ["export", "a.tape", "-o", "\x1b[31m/x"],
                 ["record", "-q", "--", "\x1b[31mcmd"], ["ca", "show", "--ca-dir", "a.tape/\x1b[31m"], ["show", "a.tape", "\x1b[31m"]):
        done = here.attempt(*argv)
        assert done.returncode != 0 and b"\x1b" not in done.stderr and done.stderr.count(b"\n") <= 2, argv


# --- the status line


def on_terminal(here, *argv, env=None, url=None):
    """Records a request on a terminal, until SIGINT: what was written to it."""
    master, slave = pty.openpty()
    process = subprocess.Popen([RINGTAPE, *argv, "--port-file", "port"], stdin=slave, stdout=slave, stderr=slave, cwd=here.folder,
                               env={**here.env, "TERM": "xterm", **(env or {})})
    os.close(slave)
    text = b""

    def read():
        nonlocal text
        try:
            while piece := os.read(master, 65536):
                text += piece
        except OSError:  # EIO: the last writer has gone
            pass

    reader = threading.Thread(target=read)
    reader.start()
    until((here.folder / "port").exists, "the port file", process)
    port = int((here.folder / "port").read_text())
    run("curl", "-sS", "--proxy", f"http://127.0.0.1:{port}", url, env=clean_env())
    until(lambda: len(flows(here.folder / "s.tape")) == 1, "the flow")
    if b"\033[K" in text:
        until(lambda: b"1 flow, 0 errors, 6 B" in text, "the status line", process)
    process.send_signal(signal.SIGINT)
    assert process.wait(PATIENCE_S) == 0
    reader.join(PATIENCE_S)
    os.close(master)
    (here.folder / "port").unlink()
    return text.decode()


def test_the_status_line_on_a_terminal(here):
    origin = Origin()
    argv = ["record", "--force", "-o", "s.tape", "-l0"]
    text = on_terminal(here, *argv, url=origin.url())
    assert re.search(r"\r\033\[K1 flow, 0 errors, 6 B, \d+\.\d/s", text), text
    # Lines of the log erase it, and it is gone at the end.
    assert re.search(r"\r\033\[Kringtape: recorded 1 flow, 0 errors, 6 B in \d+\.\d s; s\.tape, \d+\.\d kB\r\n$", text), text
    for options, env in (([], {"TERM": "dumb"}), ([], {"TERM": ""}), (["-q"], {}), (["--log-json"], {})):
        assert "\033" not in on_terminal(here, *argv, *options, env=env, url=origin.url()), (options, env)
    assert "\033" not in session(here), "none where there is no terminal"
    origin.close()
