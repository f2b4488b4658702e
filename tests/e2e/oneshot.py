"""Runs of ringtape that end by themselves, and what a failing one owes its user."""

import hashlib
import http.server
import os
import pathlib
import re
import shutil
import ssl
import subprocess
import threading

import pytest
from support import PATIENCE_S, RINGTAPE, ROOT, clean_env, flows

NOBODY = 65534


def attempt(*argv, cwd, ca_dir=None, env=None, input=None, **how):
    """Runs ringtape to its end in a folder; gives the completed process. `ca_dir` goes into the environment."""
    more = {"RINGTAPE_CA_DIR": ca_dir} if ca_dir else {}
    return subprocess.run([RINGTAPE, *map(str, argv)], cwd=cwd, env=clean_env(**more, **(env or {})), input=input or b"",
                          capture_output=True, timeout=PATIENCE_S, **how)


def complains(done, code, *words):
    """The exit code, an empty standard output, and one sentence on standard error in which all words stand.

    Wrong usage may add where the help is."""
    text = done.stderr.decode()
    assert done.returncode == code, f"exit {done.returncode}, not {code}: {text}"
    assert done.stdout == b""
    lines = text.splitlines()
    assert text.endswith("\n") and all(re.fullmatch(r"ringtape: \S[^\x00-\x1f\x7f]*", line) for line in lines), text
    if code == 2 and len(lines) == 2:
        assert re.fullmatch(r"ringtape: try `ringtape \w+ --help`", lines.pop())
    assert len(lines) == 1, text
    for word in words:
        assert str(word) in lines[0], f"{word!r} is not in: {lines[0]}"
    return lines[0]


def contents(folder):
    """Every file below a folder with its mode and a digest: what must be as it was."""
    found = {}
    for path in sorted(pathlib.Path(folder).rglob("*")):
        digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else None
        found[str(path.relative_to(folder))] = (oct(path.stat().st_mode), digest)
    return found


class Unprivileged:
    """Runs ringtape as a user for whom permissions count: as root by giving the rights up, in a folder which that user may enter."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.root = os.geteuid() == 0
        self.binary = self.folder / "ringtape"
        shutil.copy(RINGTAPE, self.binary)  # the build may lie where others may not look
        self.work = self.folder / "work"
        self.work.mkdir()
        self.give(self.folder, self.work)

    def give(self, *paths):
        for path in paths if self.root else ():
            os.chown(path, NOBODY, NOBODY)

    def attempt(self, *argv, ca_dir=None, env=None):
        who = {"user": NOBODY, "group": NOBODY, "extra_groups": []} if self.root else {}
        return subprocess.run([self.binary, *map(str, argv)], cwd=self.work, capture_output=True, timeout=PATIENCE_S, stdin=subprocess.DEVNULL,
                              env=clean_env(HOME=self.work, RINGTAPE_CA_DIR=ca_dir or self.work / "ca", **(env or {})), **who)


def option_rows():
    """The rows of tools/option_table.h as (id, name, argument or None, commands)."""
    text = (ROOT / "tools/option_table.h").read_text()
    text = text[text.index("#define OPTION_TABLE"):].replace("\\\n", " ")
    row = re.compile(r"X\((OPT_\w+),\s*(?:0|'.'),\s*\"([\w-]+)\",\s*(NULL|\"[^\"]*\"),\s*([^,]+),")
    rows = []
    for name, option, argument, commands in row.findall(text):
        named = ["record", "replay"] if "SERVING" in commands else []
        named += [c.lower() for c in re.findall(r"IN\((\w+)\)", commands)]
        if "~0u" in commands:
            named = commands_listed()
        rows.append((name, option, None if argument == "NULL" else argument.strip('"'), named))
    assert len(rows) == len(re.findall(r"X\(OPT_", text)), "a row of the table was not understood"
    return rows


def commands_listed():
    """The subcommands of tools/option_table.h."""
    text = (ROOT / "tools/option_table.h").read_text()
    text = text[text.index("#define COMMAND_TABLE"):text.index("#define OPTION_TABLE")]
    return re.findall(r"X\([A-Z]+, (\w+),", text)


class Answer(http.server.BaseHTTPRequestHandler):
    """Answers GET with "secret", or with as many bytes as /N asks for."""

    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked.append(self.path)
        name = self.path.strip("/")
        body = os.urandom(int(name)) if name.isdigit() else b"secret"
        self.send_response(200)
        self.send_header("Content-Type", "application/octet-stream")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


class Origin(http.server.ThreadingHTTPServer):
    """An origin in this process, with TLS when it is given a certificate and key."""

    daemon_threads = True

    def __init__(self, pem=None, key=None, newest=None):
        super().__init__(("127.0.0.1", 0), Answer)
        self.port = self.server_address[1]
        self.asked = []  # the paths of the requests
        self.scheme = "https" if pem else "http"
        if pem:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(pem, key)
            if newest:
                context.maximum_version = newest
            self.socket = context.wrap_socket(self.socket, server_side=True)
        self.thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        self.thread.start()

    def handle_error(self, *args):
        pass

    def url(self, path="/x", host="localhost"):
        return f"{self.scheme}://{host}:{self.port}{path}"

    def close(self):
        self.shutdown()
        self.thread.join()
        self.server_close()


@pytest.fixture(scope="session")
def sample(tmp_path_factory, shared):
    """A small tape: two flows. Not to be changed."""
    tape = tmp_path_factory.mktemp("sample") / "sample.tape"
    origin = Origin()
    done = attempt("record", "-q", "-o", tape, "--", "curl", "-sS", origin.url("/a"), origin.url("/1000"), "-o", "/dev/null", "-o", "/dev/null",
                   cwd=tape.parent, ca_dir=shared.ca_dir)
    origin.close()
    assert done.returncode == 0 and len(flows(tape)) == 2, done.stderr
    return tape


@pytest.fixture
def here(tmp_path, shared, sample):
    """A folder with a tape and a file that is none, and ringtape run in it."""
    (tmp_path / "a.tape").write_bytes(sample.read_bytes())
    (tmp_path / "notes.txt").write_text("not a tape\n")

    class Here:
        folder = tmp_path
        ca_dir = shared.ca_dir
        env = clean_env(RINGTAPE_CA_DIR=shared.ca_dir)
        before = contents(tmp_path)

        def attempt(self, *argv, **more):
            return attempt(*argv, cwd=tmp_path, ca_dir=shared.ca_dir, **more)

        def refuses(self, code, *argv, words=()):
            """It fails as it should, and every file is as it was before."""
            sentence = complains(self.attempt(*argv), code, *words)
            assert contents(tmp_path) == self.before
            return sentence

    return Here()
