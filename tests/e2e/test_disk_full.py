"""A disk that is full: a small file system in a mount namespace of its own."""

import json
import pathlib
import shutil
import subprocess

import pytest
from oneshot import Origin, attempt, complains, contents, here, sample  # noqa: F401 (fixtures)
from support import PATIENCE_S, RINGTAPE, clean_env, flows, rows

FULL = "no space left on the device"


def namespace():
    """The command that gives a program mounts of its own: as root, or as root of a user namespace."""
    for command in (["unshare", "--mount"], ["unshare", "--map-root-user", "--mount"]):
        if subprocess.run([*command, "sh", "-c", "mount -t tmpfs none /mnt"], capture_output=True).returncode == 0:
            return command
    pytest.skip("nothing can be mounted here")


@pytest.fixture
def small(tmp_path, shared):
    """Runs commands in a folder on a file system of a given size that is filled with the files of `before`, and brings back what is there
    at the end. The commands' last one gives the exit code."""

    class Small:
        out = tmp_path / "after"

        def run(self, script, *argv, kib, before=(), env=None, fill=False):
            disk, saved = tmp_path / "disk", tmp_path / "before"
            for folder in (disk, saved, self.out):
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir()
            for path in before:
                (shutil.copytree if path.is_dir() else shutil.copy)(path, saved / path.name)
            fill_up = "cat /dev/zero >filling 2>/dev/null;" if fill else ""  # until it fails
            outer = (f'mount -t tmpfs -o size={kib}k none "{disk}" && cd "{disk}" && cp -r "{saved}/." . && {{ {fill_up} {script}\n}}; code=$?; '
                     f'rm -f filling; cp -r . "{self.out}"; exit $code')
            return subprocess.run([*namespace(), "sh", "-c", outer, RINGTAPE, *map(str, argv)], capture_output=True, timeout=PATIENCE_S,
                                  env=clean_env(RINGTAPE_CA_DIR=shared.ca_dir, **(env or {})), stdin=subprocess.DEVNULL)

    return Small()


CLIENT = """
import json, os, sqlite3, sys, time, urllib.request
base, tape, n = sys.argv[1:]
get = lambda path: len(urllib.request.urlopen(base + path).read())
sizes = [get("/first")]
end = time.monotonic() + 30
while time.monotonic() < end:  # until it is on the tape
    if sqlite3.connect(f"file:{tape}?mode=ro", uri=True).execute("select count(*) from flows where path = '/first' and complete").fetchone()[0]:
        break
sizes += [get("/3000000") for _ in range(int(n))] + [get("/last")]
print(json.dumps(sizes))
"""


@pytest.mark.sanitize
@pytest.mark.parametrize("how", ["--force", "--append"])
def test_the_disk_fills_up_while_recording(small, here, tmp_path, how):
    origin = Origin()
    client = tmp_path / "client.py"
    client.write_text(CLIENT)
    done = small.run('"$0" record -o a.tape "$@"', how, "--commit-interval", "20", "--", "/usr/bin/python3", client, origin.url(""), "a.tape", "3",
                     kib=2048, before=[here.folder / "a.tape"])
    text = done.stderr.decode()
    assert done.returncode == 1, text
    assert json.loads(done.stdout) == [6, 3000000, 3000000, 3000000, 6], "it goes on forwarding"
    errors = [line for line in text.splitlines() if "error" in line]
    assert len(errors) == 2 and text.count(FULL) == 1, text
    assert "recording has stopped" in errors[0] and "a.tape" in errors[0] and FULL in errors[0] and "still forwarded" in errors[0]
    assert "not complete" in errors[1] and "a.tape" in errors[1] and text.splitlines()[-1] == errors[1]
    # Where there is no room, the log may have had to stay beside the tape; then it is said.
    names = {p.name for p in small.out.iterdir()}
    assert names in ({"a.tape"}, {"a.tape", "a.tape-wal", "a.tape-shm"})
    assert ("a.tape-wal" in errors[1]) == ("a.tape-wal" in names)
    expected = (flows(here.folder / "a.tape") if how == "--append" else [])
    for again in range(2):
        assert rows(small.out / "a.tape", "pragma integrity_check") == [{"integrity_check": "ok"}]
        found = flows(small.out / "a.tape")
        assert found[:len(expected)] == expected
        assert [f["path"] for f in found[len(expected):] if f["complete"]][:1] == ["/first"]
        # With room it goes on, and becomes one file.
        assert attempt("record", "--append", "-o", "a.tape", "--", "true", cwd=small.out, ca_dir=here.ca_dir).returncode == 0
        assert [p.name for p in small.out.iterdir()] == ["a.tape"]
    origin.close()


def test_a_failed_recording_is_told_to_cmds_caller_only_when_cmd_succeeded(small, here):
    origin = Origin()
    done = small.run('"$0" record -q -o new.tape -- sh -c "curl -s -o /dev/null $1; exit 7"', origin.url("/3000000"), kib=1024)
    assert done.returncode == 7 and done.stderr.count(FULL.encode()) == 1, done.stderr
    origin.close()


@pytest.mark.parametrize("argv", [["-o", "new.tape"], ["--append", "-o", "a.tape"], ["--force", "-o", "a.tape"],
                                  ["--port-file", "port", "-o", "a.tape", "--force"]], ids=" ".join)
def test_recording_does_not_begin_on_a_full_disk(small, here, argv):
    done = small.run('"$0" record "$@" -- touch ran', *argv, kib=1024, before=[here.folder / "a.tape"], fill=True)
    sentence = complains(done, 125)
    assert argv[argv.index("-o") + 1] in sentence and ("full" in sentence or FULL in sentence), sentence
    assert contents(small.out) == contents_of(here, "a.tape")


def contents_of(here, *names):
    return {name: value for name, value in contents(here.folder).items() if name in names}


@pytest.mark.sanitize
@pytest.mark.parametrize("form", ["har", "jsonl", "curl"])
def test_an_export_to_a_full_disk_leaves_the_old_file(small, here, form):
    (here.folder / "old").write_text("kept")
    for out in ("old", "new"):
        done = small.run('"$0" export "$@"', "a.tape", "--format", form, "-o", out, kib=1024, fill=True,
                         before=[here.folder / "a.tape", here.folder / "old"])
        complains(done, 1, f"cannot write {out}", FULL)
        assert contents(small.out) == contents_of(here, "a.tape", "old")


def test_a_report_that_does_not_fit(small, here):
    for option in ("--report", "--junit"):
        done = small.run('"$0" replay -q a.tape "$@" -- true', option, "report", kib=1024, before=[here.folder / "a.tape"], fill=True)
        assert done.returncode == 1 and done.stdout == b""
        assert done.stderr.decode() == f"ringtape: error: cannot write report: {FULL}\n"
        assert contents(small.out) == contents_of(here, "a.tape")


def test_a_new_ca_on_a_full_disk_costs_nobody_the_old_one(small, here, shared, tmp_path):
    ca = pathlib.Path(shared.ca_dir)
    for action in ("new", "show"):
        done = small.run('"$0" ca "$@"', action, "--ca-dir", "ca" if action == "new" else "other", kib=1024, before=[ca], fill=True)
        complains(done, 1, "cannot write", "No space left on device")
        kept = {name: value for name, value in contents(small.out / "ca").items() if not name.endswith(".new")}
        assert kept == contents(ca)
        shutil.copytree(small.out / "ca", tmp_path / action)
        assert here.attempt("ca", "export", "--ca-dir", action).stdout == (ca / "ca.pem").read_bytes()
