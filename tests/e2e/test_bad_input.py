"""Ports, tapes and outputs that cannot be used: the exit code, the sentence, and that nothing existing is lost."""

import contextlib
import json
import os
import pathlib
import shutil
import socket
import sqlite3
import subprocess
import tempfile

import pytest
from oneshot import Origin, Unprivileged, complains, contents, here, sample  # noqa: F401 (fixtures)
from support import PATIENCE_S, flows, rows

CMD = ("--", "touch", "ran")


def has_ipv6():
    try:
        with socket.socket(socket.AF_INET6) as s:
            s.bind(("::1", 0))
        return True
    except OSError:
        return False


IPV6 = has_ipv6()


def sound(tape):
    """Is it one file that SQLite has nothing to say against?"""
    assert not list(pathlib.Path(tape).parent.glob(pathlib.Path(tape).name + "-*")), "a tape that is closed is one file"
    return rows(tape, "pragma integrity_check") == [{"integrity_check": "ok"}]


@contextlib.contextmanager
def unprivileged():
    with tempfile.TemporaryDirectory(prefix="ringtape-test-", dir="/tmp") as folder:
        yield Unprivileged(folder)


# --- where to listen


@pytest.mark.quick
@pytest.mark.parametrize("host", ["127.0.0.1", "localhost", *(["[::1]"] if IPV6 else [])])
@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_port_in_use(here, host, workers):
    # A name is in use when each of its addresses is: localhost may be 127.0.0.1, ::1 or both.
    addresses = dict.fromkeys((a[0], a[4][0]) for a in socket.getaddrinfo(host.strip("[]"), None, type=socket.SOCK_STREAM))
    with contextlib.ExitStack() as others:
        port = 0
        for family, address in addresses:
            other = others.enter_context(socket.socket(family))
            if family == socket.AF_INET6:
                other.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            other.bind((address, port))
            other.listen()
            port = other.getsockname()[1]
        for command in (["record", "--force", "-o", "a.tape"], ["record", "--append", "-o", "a.tape"], ["record", "-o", "new.tape"],
                        ["replay", "a.tape"]):
            words = [f"{host.strip('[]')}:{port}", "in use", "-l [HOST:]PORT"]
            here.refuses(1, *command, "-l", f"{host}:{port}", "--workers", workers, words=words)
            here.refuses(125, *command, "-l", f"{host}:{port}", "--workers", workers, *CMD, words=words)


def test_two_ringtapes_on_one_port(here, ringtape):
    """Their workers' listeners share ports; two processes must not."""
    first = ringtape("record", "-o", "first.tape", "--workers", "2")
    before = contents(here.folder)
    complains(here.attempt("record", "-o", "second.tape", "-l", first.port, "--workers", "2"), 1, f"127.0.0.1:{first.port}", "in use")
    assert not (here.folder / "second.tape").exists()
    assert set(before) == set(contents(here.folder))
    first.stop()


@pytest.mark.parametrize("address", ["0.0.0.0:0", *(["[::]:0"] if IPV6 else [])])
def test_beyond_loopback_only_on_purpose(here, address):
    host = address[:-2].strip("[]")
    for command in (["record", "-o", "new.tape"], ["replay", "a.tape"]):
        for more in ((), CMD):
            here.refuses(2, *command, "-l", address, *more, words=[host, "--proxy-auth USER:PASSWORD", "--listen-open"])
    for purpose in (["--proxy-auth", "me:secret"], ["--listen-open"]):
        done = here.attempt("replay", "a.tape", "-l", address, *purpose, "--", "sh", "-c", 'echo "$RINGTAPE_PROXY"')
        assert done.returncode == 0, done.stderr
        # CMD is on this machine.
        assert done.stdout.decode().split("@")[-1].removeprefix("http://").startswith("[::1]:" if ":" in host else "127.0.0.1:")


@pytest.mark.sanitize
def test_a_password_file(here):
    (here.folder / "password").write_text("me:from a file\nsecond line\n")
    ask = "curl -sS -o /dev/null -w '%{http_code}' http://localhost:1/"
    done = here.attempt("replay", "a.tape", "--proxy-auth", "@password", "--", "sh", "-c",
                        f'echo "$http_proxy"; {ask}; {ask} --proxy "${{http_proxy##*@}}"')
    lines = done.stdout.decode().split("\n")
    assert lines[0].startswith("http://me:from%20a%20file@127.0.0.1:")
    assert lines[1] == "501407", "the password lets through to the miss; without it the proxy asks for one"


def test_a_host_that_cannot_be_listened_on(here):
    nowhere = "a" * 64 + ".invalid"  # no such label can be asked for, so nobody is asked
    for command in (["record", "-o", "new.tape"], ["replay", "a.tape"]):
        here.refuses(1, *command, "-l", f"{nowhere}:0", words=[f"{nowhere}:0", "not found"])
        here.refuses(125, *command, "-l", f"{nowhere}:0", *CMD, words=[f"{nowhere}:0"])
        # TEST-NET-1: no machine has this address
        here.refuses(1, *command, "--listen-open", "-l", "192.0.2.1:0", words=["cannot listen on 192.0.2.1:0"])


# --- tapes


def text_file(path):
    path.write_text("GET / HTTP/1.1\n" * 400)


def database(path, *statements):
    with contextlib.closing(sqlite3.connect(path)) as db:
        for statement in statements:
            db.execute(statement)
        db.commit()


def change(path, how):
    data = bytearray(path.read_bytes())
    path.write_bytes(bytes(how(data)))


def zeros(at, n):
    def how(data):
        data[at:at + n] = bytes(n)
        return data
    return how


UNUSABLE = {  # how a copy of a good tape is spoilt, and what must be said beside its name
    "text": (text_file, "not a tape (not an SQLite database)"),
    "empty": (lambda path: path.write_bytes(b""), "not a tape"),
    "a few bytes": (lambda path: path.write_bytes(b"SQLite format 3\0"), "not a tape"),
    "another database": (lambda path: (path.unlink(), database(path, "create table people(name)")), "another kind"),
    "another application": (lambda path: database(path, "pragma application_id=1"), "another kind"),
    "newer": (lambda path: database(path, "pragma user_version=3"), "newer ringtape"),
    "much newer": (lambda path: database(path, "pragma user_version=2147483647"), "newer ringtape"),
    "older than any": (lambda path: database(path, "pragma user_version=0"), "not a tape"),
    "cut in half": (lambda path: change(path, lambda d: d[:len(d) // 2]), "truncated"),
    "cut by a byte": (lambda path: change(path, lambda d: d[:-1]), "truncated"),
    "cut by a page": (lambda path: change(path, lambda d: d[:-32768]), "truncated"),
    "only a page": (lambda path: change(path, lambda d: d[:32768]), "truncated"),
    "a page of zeros": (lambda path: change(path, zeros(108, 32660)), "damaged"),
    "a trigger": (lambda path: database(path, "create trigger t after insert on flow begin select 1; end"), "not a tape of ours"),
    "a view more": (lambda path: database(path, "create view spy as select 1"), "not a tape of ours"),
    "another view": (lambda path: database(path, "drop view flows", "create view flows as select load_extension('x') as id"),
                     "not as they should be"),
    "a table less": (lambda path: database(path, "drop table message"), "not as they should be"),
    "a column more": (lambda path: database(path, "alter table flow add column more text"), "not as they should be"),
}


def refuses_tape(here, name, word, missing=False):
    """Every command that opens a tape."""
    before = contents(here.folder)
    for command in (["ls", name], ["ls", name, "--json"], ["show", name, "1"], ["export", name], ["export", name, "-o", "out.har"]):
        complains(here.attempt(*command), 3, name, word)
    complains(here.attempt("replay", name, "-l0"), 1, name, word)
    complains(here.attempt("replay", name, *CMD), 125, name, word)
    complains(here.attempt("replay", "a.tape", name, *CMD), 125, name, word)
    if not missing:
        complains(here.attempt("record", "-o", name, *CMD), 125, name, "exists", "--append", "--force")
        complains(here.attempt("record", "-o", name, "-l0"), 1, name, "exists", "--append", "--force")
        complains(here.attempt("record", "--append", "-o", name, *CMD), 125, name)
    assert contents(here.folder) == before


@pytest.mark.sanitize
@pytest.mark.parametrize("kind", UNUSABLE)
def test_a_file_that_cannot_be_used_as_a_tape(here, kind):
    spoil, word = UNUSABLE[kind]
    path = here.folder / "bad.tape"
    shutil.copy(here.folder / "a.tape", path)
    spoil(path)
    refuses_tape(here, "bad.tape", word)


def test_what_is_no_file(here):
    (here.folder / "bad.tape").mkdir()
    refuses_tape(here, "bad.tape", "not a")
    complains(here.attempt("record", "--force", "-o", "bad.tape", *CMD), 125, "bad.tape", "not a regular file")
    os.mkfifo(here.folder / "pipe.tape")
    for command in (["ls", "pipe.tape"], ["export", "pipe.tape"]):
        complains(here.attempt(*command), 3, "pipe.tape", "not a regular file")
    refuses_tape(here, "missing.tape", "not found", missing=True)


def test_a_tape_that_may_not_be_read_or_written(sample):
    with unprivileged() as user:
        tape = user.work / "a.tape"
        shutil.copy(sample, tape)
        tape.chmod(0)
        user.give(tape)
        before = tape.stat()
        for command in (["ls", "a.tape"], ["show", "a.tape", "1"], ["export", "a.tape"]):
            complains(user.attempt(*command), 3, "a.tape", "permission denied")
        complains(user.attempt("replay", "a.tape", *CMD), 125, "a.tape", "permission denied")
        complains(user.attempt("record", "--append", "-o", "a.tape", *CMD), 125, "a.tape")
        tape.chmod(0o400)  # read-only: as good as any for reading
        assert user.attempt("ls", "a.tape").returncode == 0
        assert user.attempt("replay", "a.tape", "--", "true").returncode == 0
        complains(user.attempt("record", "--append", "-o", "a.tape", *CMD), 125, "a.tape")
        assert tape.read_bytes() == sample.read_bytes() and tape.stat().st_ino == before.st_ino
        assert sorted(p.name for p in user.work.iterdir()) == ["a.tape", "ca"]


def test_an_existing_tape_is_kept_until_it_is_said_what_to_do(here):
    for more in (CMD, ["-l0"]):
        here.refuses(125 if more == CMD else 1, "record", "-o", "a.tape", *more, words=["a.tape", "--append", "--force"])
    first = flows(here.folder / "a.tape")
    origin = Origin()
    get = ("--", "curl", "-sS", "-o", "/dev/null", origin.url("/again"))
    assert here.attempt("record", "--append", "-o", "a.tape", *get).returncode == 0
    both = flows(here.folder / "a.tape")
    assert both[:len(first)] == first and [f["session"] for f in both[len(first):]] == [2]
    assert sound(here.folder / "a.tape")
    assert here.attempt("record", "--force", "-o", "a.tape", *get).returncode == 0
    assert [(f["session"], f["path"]) for f in flows(here.folder / "a.tape")] == [(1, "/again")]
    assert here.attempt("record", "--append", "-o", "new.tape", *get).returncode == 0, "--append makes a tape where there is none"
    assert here.attempt("record", "--force", "-o", "newer.tape", *get).returncode == 0
    assert len(flows(here.folder / "new.tape")) == len(flows(here.folder / "newer.tape")) == 1
    assert oct((here.folder / "new.tape").stat().st_mode)[-3:] == "600"
    origin.close()


def test_force_replaces_what_is_no_tape_too(here):
    (here.folder / "notes.txt-wal").write_text("a log that is nobody's\n")
    assert here.attempt("record", "--force", "-o", "notes.txt", "--", "true").returncode == 0
    assert flows(here.folder / "notes.txt") == [] and sound(here.folder / "notes.txt")


def test_a_tape_that_is_being_recorded(here, ringtape):
    first = ringtape("record", "-o", "busy.tape")
    for how in ("--append", "--force"):
        complains(here.attempt("record", how, "-o", "busy.tape", *CMD), 125, "busy.tape", "another ringtape is recording")
    assert here.attempt("ls", "busy.tape").returncode == 0
    first.stop()
    assert flows(here.folder / "busy.tape") == [] and sound(here.folder / "busy.tape")


def test_what_fails_early_replaces_no_tape(here):
    """--force is carried out only when all the rest is known to work."""
    force = ["record", "--force", "-o", "a.tape"]
    here.refuses(127, *force, "--", "no-such-command-of-ringtape", words=["no-such-command-of-ringtape"])
    here.refuses(126, *force, "--", "./notes.txt", words=["./notes.txt"])
    here.refuses(125, *force, "--ca-dir", "notes.txt", *CMD, words=["notes.txt"])
    here.refuses(125, *force, "--upstream-ca", "notes.txt", *CMD, words=["notes.txt", "no usable certificate"])
    here.refuses(125, *force, "--upstream-ca", "missing.pem", *CMD, words=["missing.pem", "not found"])
    here.refuses(125, *force, "--port-file", "missing/port", *CMD, words=["missing/port"])
    here.refuses(125, *force, "--port-file", ".", *CMD, words=["directory"])


# --- where results go


def test_a_folder_that_is_missing(here):
    here.refuses(125, "record", "-o", "missing/x.tape", *CMD, words=["missing/x.tape", "not found"])
    here.refuses(1, "export", "a.tape", "-o", "missing/x.har", words=["missing/x.har", "No such file or directory"])
    here.refuses(1, "ca", "export", "-o", "missing/x.pem", words=["missing/x.pem"])
    for option in ("--report", "--junit", "--port-file"):
        here.refuses(125, "replay", "a.tape", option, "missing/x", *CMD, words=["missing/x", "No such file or directory"])
        here.refuses(1, "replay", "a.tape", option, "missing/x", "-l0", words=["missing/x"])
        here.refuses(1, "replay", "a.tape", option, ".", "-l0", words=["directory"])
    here.refuses(1, "export", "a.tape", "-o", ".", words=["directory"])


def test_a_folder_that_may_not_be_written(sample):
    with unprivileged() as user:
        shutil.copy(sample, user.work / "a.tape")
        assert user.attempt("ca", "show").returncode == 0
        (user.work / "kept.har").write_text("kept")
        user.give(user.work / "kept.har", user.work / "a.tape")
        user.work.chmod(0o500)
        before = contents(user.work)
        complains(user.attempt("record", "-o", "x.tape", *CMD), 125, "x.tape", "permission denied")
        complains(user.attempt("record", "--force", "-o", "a.tape", *CMD), 125, "a.tape", "permission denied")
        complains(user.attempt("record", *CMD), 125, "session-", "permission denied")
        for out in ("x.har", "kept.har"):
            complains(user.attempt("export", "a.tape", "-o", out), 1, out, "Permission denied")
        complains(user.attempt("ca", "export", "-o", "x.pem"), 1, "x.pem", "Permission denied")
        for option in ("--report", "--junit", "--port-file"):
            complains(user.attempt("replay", "a.tape", option, "x.json", *CMD), 125, "x.json", "Permission denied")
        complains(user.attempt("record", "-o", "/tmp/x.tape", "--port-file", "x", *CMD), 125, "x", "Permission denied")
        complains(user.attempt("ca", "show", "--ca-dir", "newca"), 1, "newca", "Permission denied")
        # What reads only goes on, and results that go elsewhere too.
        assert user.attempt("ls", "a.tape").returncode == 0
        assert user.attempt("export", "a.tape").returncode == 0
        assert user.attempt("replay", "a.tape", "--", "true").returncode == 0
        assert contents(user.work) == before
        user.work.chmod(0o700)


@pytest.mark.sanitize
def test_an_export_that_fails_leaves_the_old_file(here):
    """A page of the tape is lost: page after page."""
    good = (here.folder / "a.tape").read_bytes()
    codes = []
    for at in range(32768, len(good), 32768):
        (here.folder / "bad.tape").write_bytes(zeros(at, 32768)(bytearray(good)))
        (here.folder / "old.har").write_text("old")
        before = contents(here.folder)
        done = here.attempt("export", "bad.tape", "-o", "old.har")
        codes.append(done.returncode)
        after = contents(here.folder)
        assert set(after) == set(before), "no temporary file stays behind"
        if done.returncode == 0:  # the page was of no use to an export
            json.loads((here.folder / "old.har").read_text())
        else:
            complains(done, 3, "bad.tape", "damaged")
            assert after == before
    assert set(codes) == {0, 3}, codes


def test_results_into_a_pipe_and_a_device(here):
    assert here.attempt("export", "a.tape", "-o", "/dev/null").returncode == 0
    os.mkfifo(here.folder / "pipe")
    with subprocess.Popen(["cat", "pipe"], cwd=here.folder, stdout=subprocess.PIPE) as cat:
        assert here.attempt("export", "a.tape", "-o", "pipe").returncode == 0
        assert cat.communicate(timeout=PATIENCE_S)[0] == here.attempt("export", "a.tape").stdout
    assert (here.folder / "pipe").is_fifo()
    complains(here.attempt("export", "a.tape", "-o", "/dev/full"), 1, "/dev/full", "no space left")
    done = here.attempt("replay", "a.tape", "--report", "/dev/full", "--", "true")
    assert done.returncode == 1 and b"cannot write /dev/full: no space left on the device" in done.stderr
