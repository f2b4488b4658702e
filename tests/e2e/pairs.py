"""The table of pairs: lanes (which versions meet, and how), shapes (what is asked and answered), origins that note what they saw, and the clients.

A lane is walked three times with the same clients: straight to the origin, through `record`, and through `replay` with the origin gone.
"""

import fcntl
import gzip
import hashlib
import json
import os
import pathlib
import re
import traceback
from urllib.parse import parse_qs, urlsplit

import programs
import pairs_raw
from origins import Nghttpd, Started
from programs import CLIENTS
from support import Nginx, Ports, Ringtape, clean_env, rows, run, until

SMALL, BIG = b"a=1&text=hello%2C+shapes", bytes(i * 7 & 0xff for i in range(256)) * 4096


class Lane:
    """`url`: scheme and the port that the client names; `way`: how it comes to ringtape; `straight`: scheme, port and version of the client that goes
    by itself, where these are not the same. A translation is compared with a client that speaks the origin's version."""

    def __init__(self, client, origin, url, way, how, straight=None, options=()):
        self.client, self.origin, self.way, self.how, self.options = client, origin, way, how, options
        self.scheme, self.named = url
        self.straight = straight or (*url, how)
        self.mirrored = client == origin

    def reverse(self, ports):
        """The origin that `--reverse` is given, if it is."""
        if not self.way.startswith("reverse "):
            return ()
        scheme = self.way.split()[1]
        return ("--reverse", f"{scheme}://localhost:{ports[self.named]}")


H1, H2 = "HTTP/1.1", "HTTP/2"
LANES = {
    "h1-h1": Lane(H1, H1, ("http", "clear"), "forward", "--http1.1"),
    "h1-tls-h1": Lane(H1, H1, ("https", "tls"), "connect", "--http1.1"),
    "h2-tls-h2": Lane(H2, H2, ("https", "tls"), "connect", "--http2"),
    "h2-clear-h2": Lane(H2, H2, ("http", "h2c"), "connect", "--http2-prior-knowledge"),
    "h2-tls-h2-reverse": Lane(H2, H2, ("https", "tls"), "reverse https", "--http2"),
    "h1-tls-h1-reverse": Lane(H1, H1, ("https", "clear"), "reverse http", "--http1.1", ("http", "clear", "--http1.1")),
    "h2-tls-h1": Lane(H2, H1, ("https", "tls"), "reverse https", "--http2", ("https", "tls", "--http1.1"), ("--no-http2",)),
    "h2-tls-h1-clear": Lane(H2, H1, ("https", "clear"), "reverse http", "--http2", ("http", "clear", "--http1.1")),
    "h2-clear-h1-tls": Lane(H2, H1, ("http", "tls"), "reverse https", "--http2-prior-knowledge", ("https", "tls", "--http1.1")),
}

# A tape is replayed for clients of the other version, too: those of a lane, and what they are called.
OTHERS = {
    "h1-tls-h1": {"h2": Lane(H2, H1, ("https", "tls"), "reverse https", "--http2"),
                  "h2-clear": Lane(H2, H1, ("http", "tls"), "reverse https", "--http2-prior-knowledge")},
    "h2-tls-h2": {"h1": Lane(H1, H2, ("https", "tls"), "connect", "--http1.1"),
                  "h1-clear": Lane(H1, H2, ("http", "tls"), "reverse https", "--http1.1")},
}


class Shape:
    """A request by curl; with `trailers` by a client of ours, since curl sends none."""

    def __init__(self, path, *curl, stdin=None, trailers=None, body=b""):
        self.path, self.curl, self.stdin, self.trailers, self.body = path, curl, stdin, trailers, body


def _upload(path, data, *curl):
    """Read from a pipe: the client does not know its length."""
    return Shape(path, "-T", "-", *curl, stdin=data)


EXPECT = ("-H", "Expect: 100-continue", "--expect100-timeout", "60")
SHAPES = {
    # responses
    "length": Shape("/length/5"),
    "0 bytes": Shape("/length/0"),
    "1 MB": Shape("/length/1048576"),
    "unknown length": Shape("/unknown/1000"),
    "unknown length of 0 bytes": Shape("/unknown/0"),
    "unknown length of 1 MB": Shape("/unknown/1048576"),
    "until close": Shape("/until-close/1000"),
    "trailers": Shape("/trailers/1000"),
    "trailers asked for": Shape("/trailers/1000", "-H", "TE: trailers"),
    "trailers after nothing": Shape("/trailers/0"),
    "gzip": Shape("/gzip/5000", "-H", "Accept-Encoding: gzip"),
    "HEAD": Shape("/length/1000", "-I"),
    "HEAD of unknown length": Shape("/unknown/1000", "-I"),
    "HEAD of 0 bytes": Shape("/length/0", "-I"),
    "HEAD 404": Shape("/status/404", "-I"),
    "204": Shape("/status/204"),
    "304": Shape("/status/304", "-H", 'If-None-Match: "v1"'),
    "HEAD 304": Shape("/status/304", "-I", "-H", 'If-None-Match: "v1"'),
    "404": Shape("/status/404"),
    "503": Shape("/status/503"),
    "103": Shape("/hints/1000"),
    "103 before 0 bytes": Shape("/hints/0"),
    "103 HEAD": Shape("/hints/1000", "-I"),
    "206": Shape("/range", "-r", "10-19"),
    "416": Shape("/range", "-r", "2000-2001"),
    "odd fields": Shape("/fields"),
    # requests
    "POST": Shape("/echo", "-d", SMALL.decode()),
    "POST of 0 bytes": Shape("/echo", "-d", ""),
    "POST of 1 MB": Shape("/echo", "--data-binary", "@big", "-H", "Expect:"),
    "PUT of 1 MB": Shape("/echo", "-T", "big", "-H", "Expect:"),
    "PUT of unknown length": _upload("/echo", SMALL, "-H", "Expect:"),
    "PUT of unknown length, 0 bytes": _upload("/echo", b"", "-H", "Expect:"),
    "PUT of unknown length, 1 MB": _upload("/echo", BIG, "-H", "Expect:"),
    "POST of unknown length, answered by trailers": _upload("/trailers/100", SMALL, "-X", "POST", "-H", "Expect:"),
    "expect": Shape("/echo", "-d", SMALL.decode(), *EXPECT),
    "expect, 1 MB": Shape("/echo", "--data-binary", "@big", *EXPECT),
    "expect, unknown length": _upload("/echo", SMALL, *EXPECT),
    "gzip POST": Shape("/echo", "--data-binary", "@packed", "-H", "Content-Encoding: gzip"),
    "POST of trailers": Shape("/echo", body=SMALL, trailers=[("X-Sum", "42"), ("X-Other", "a, b")]),
    "POST of trailers after nothing": Shape("/echo", trailers=[("X-Sum", "42")]),
    "POST answered 204": Shape("/status/204", "-d", SMALL.decode()),
    "GET with a body": Shape("/echo", "-X", "GET", "-d", SMALL.decode()),
    "DELETE": Shape("/length/5", "-X", "DELETE"),
    "DELETE with a body": Shape("/echo", "-X", "DELETE", "-d", SMALL.decode()),
    "OPTIONS": Shape("/length/0", "-X", "OPTIONS"),
    "PATCH": Shape("/echo", "-X", "PATCH", "-d", '{"a": [1, 2]}', "-H", "Content-Type: application/json"),
    "odd target": Shape("/length/3/a%2fb//%C3%BC;p=1/..%2e?q=%C3%BC&&x=a+b;c&y=%00&z='\"&"),
    "cookies": Shape("/length/3", "-b", "a=1; b=2; c=3", "-H", "X-After: 1"),
    "many fields": Shape("/length/3", *(x for i in range(60) for x in ("-H", f"X-Field-{i}: {'v' * i}")), "-H", "X-Twice: 1", "-H", "X-Twice: 2",
                         "-H", "X-Latin: caf\xe9", "-H", "X-Empty;", "-H", "X-Long: " + "0123456789" * 700),
}
NGINX_SHAPES = {
    "length": Shape("/hello.txt"),
    "0 bytes": Shape("/empty.txt"),
    "1 MB": Shape("/big.bin"),
    "unknown length": Shape("/gzip/big.txt", "-H", "Accept-Encoding: gzip"),
    "trailers": Shape("/trailers/big.bin"),
    "HEAD": Shape("/hello.txt", "-I"),
    "HEAD of unknown length": Shape("/gzip/big.txt", "-I", "-H", "Accept-Encoding: gzip"),
    "204": Shape("/204"),
    "304": Shape("/hello.txt", "-H", "If-Modified-Since: Sun, 13 Sep 2020 12:26:40 GMT"),
    "404": Shape("/missing"),
    "302": Shape("/302"),
    "206": Shape("/big.bin", "-r", "1000-100999"),
    "416": Shape("/hello.txt", "-r", "2000-2001"),
    "PUT": Shape("/dav/there", "-T", "big", "-H", "Expect:"),
    "PUT of unknown length": _upload("/dav/there", BIG, "-H", "Expect:"),
    "PUT of unknown length, 0 bytes": _upload("/dav/there", b"", "-H", "Expect:"),
    "expect": Shape("/dav/there", "-T", "big", *EXPECT),
    "PUT of 0 bytes": Shape("/dav/there", "-X", "PUT", "-d", ""),
}
NGHTTPD_SHAPES = {
    "length": Shape("/hello.txt"),
    "0 bytes": Shape("/empty.txt"),
    "1 MB": Shape("/big.bin"),
    "HEAD": Shape("/hello.txt", "-I"),
    "304": Shape("/hello.txt", "-H", "If-Modified-Since: Sun, 13 Sep 2020 12:26:40 GMT"),
    "404": Shape("/missing"),
    "POST": Shape("/echo", "-d", SMALL.decode()),
    "POST of 0 bytes": Shape("/echo", "-d", ""),
    "POST of 1 MB": Shape("/echo", "--data-binary", "@big"),
    "PUT of unknown length": _upload("/echo", SMALL),
    "PUT of unknown length, 0 bytes": _upload("/echo", b""),
    "PUT of unknown length, 1 MB": _upload("/echo", BIG),
    "POST of trailers": Shape("/echo", body=SMALL, trailers=[("x-sum", "42"), ("x-other", "a, b")]),
    "POST of trailers after nothing": Shape("/echo", trailers=[("x-sum", "42")]),
}


# --- origins ------------------------------------------------------------------------------------------------------------

class Noting(Started):
    """A program that writes its ports into one file and a line of JSON for each request into another."""

    names = ("tls", "clear", "h2c")

    def __init__(self, folder, authority, *argv):
        port_file, self.notes = folder / "ports", folder / "seen"
        super().__init__(folder, "origin", *argv, *authority.issue("good"), self.notes, port_file)
        found = until(lambda: port_file.exists() and port_file.read_text(), "the origin's ports", self.process)
        self.named = dict(zip(self.names, map(int, found.split())))

    def seen(self, asked):
        return [json.loads(line) for line in self.notes.read_text().splitlines()]


def go(folder, authority):
    return Noting(folder, authority, programs.go_shapes())


def node(folder, authority):
    return Noting(folder, authority, "node", CLIENTS / "shapes.js")


NGINX = """}}
log_format seen escape=json '{{"cell":"$arg_cell","method":"$request_method","target":"$request_uri","version":"$server_protocol","host":"$http_host",'
  '"fields":[["user-agent","$http_user_agent"],["accept","$http_accept"],["accept-encoding","$http_accept_encoding"],["range","$http_range"],'
  '["if-modified-since","$http_if_modified_since"],["content-length","$http_content_length"],["content-type","$http_content_type"],'
  '["transfer-encoding","$http_transfer_encoding"],["expect","$http_expect"],["connection","$http_connection"]]}}';
server {{
  listen 127.0.0.1:{tls} ssl http2 reuseport; listen 127.0.0.1:{clear} reuseport; listen 127.0.0.1:{h2c} http2 reuseport; server_name localhost;
  access_log {folder}/seen seen; root {folder}/www;
  location /gzip/ {{ alias {folder}/www/; gzip on; }}
  location /trailers/ {{ alias {folder}/www/; add_trailer X-Sum 42; add_trailer X-Other "a, b"; }}
  location = /204 {{ return 204; }}
  location = /302 {{ return 302 /hello.txt; }}
  location /dav/ {{ alias {folder}/www/dav/; dav_methods PUT; }}
"""


class NotingNginx(Nginx):
    """Its log has the fields that are asked for by name; what was uploaded is a file."""

    def __init__(self, folder, authority):
        self.more = Ports()
        self.named = {name: self.more.take() for name in ("tls", "clear", "h2c")}
        super().__init__(folder, authority, extra=NGINX.format(folder=folder, **self.named))
        (self.www / "empty.txt").write_bytes(b"")
        (self.www / "dav" / "there").write_bytes(b"before")
        os.utime(self.www / "hello.txt", (1_600_000_000, 1_600_000_000))

    def seen(self, asked):
        """A line is written when the response has been sent, so a client may be ahead of it."""
        notes = self.folder / "seen"
        until(lambda: len(notes.read_text().splitlines()) >= asked, "nginx's log", self.process)
        return [json.loads(line) for line in notes.read_text().splitlines()]

    def stop(self):
        super().stop()
        self.more.close()


class NotingNghttpd:
    """Two of them, over TLS and in clear; what they saw is in the frames that `-v` prints."""

    def __init__(self, folder, authority):
        self.each = {}
        for name, options in (("tls", ()), ("h2c", ("--no-tls",))):
            (folder / name).mkdir()
            self.each[name] = Nghttpd(folder / name, authority, "-v", "--echo-upload", *options)
            www = self.each[name].www
            for file, data in (("hello.txt", b"hello, world\n"), ("empty.txt", b""), ("big.bin", BIG)):
                (www / file).write_bytes(data)
                os.utime(www / file, (1_600_000_000, 1_600_000_000))
        self.named = {name: one.port for name, one in self.each.items()}

    def _requests(self):
        streams = {}
        for one in self.each.values():
            text = re.sub(r"\x1b\[[0-9;]*m", "", (one.folder / "nghttpd.log").read_text(errors="replace"))
            for connection, stream, name, value in re.findall(r"^\[id=(\d+)\] .*? recv \(stream_id=(\d+)[^)]*\) (:?[^:\n]+): (.*)$", text, re.MULTILINE):
                streams.setdefault((one.port, int(connection), int(stream)), []).append([name, value])
        return streams

    def seen(self, asked):
        until(lambda: len(self._requests()) >= asked, "nghttpd's log")
        found = []
        for fields in self._requests().values():
            head = dict(fields)
            query = parse_qs(urlsplit(head[":path"]).query)
            found.append({"cell": query["cell"][0], "method": head[":method"], "target": head[":path"], "version": "HTTP/2.0", "host": head[":authority"],
                          "fields": fields})
        return found

    def stop(self):
        for one in self.each.values():
            one.stop()


SERVERS = {
    "go": (go, SHAPES, [name for name in LANES if name != "h2-clear-h2"]),
    "node": (node, SHAPES, list(LANES)),
    "nginx": (NotingNginx, NGINX_SHAPES, ["h1-h1", "h1-tls-h1", "h2-tls-h2", "h2-clear-h2", "h2-tls-h1-clear", "h2-clear-h1-tls"]),
    "nghttpd": (NotingNghttpd, NGHTTPD_SHAPES, ["h2-tls-h2", "h2-clear-h2", "h2-tls-h2-reverse"]),
}


# --- clients ------------------------------------------------------------------------------------------------------------

def key(cell):
    """The cell's name where it stands in a URL."""
    return re.sub("[,']", "", cell).replace(" ", "-")


class Walk:
    """One client after another, all the same way: `port` of ringtape, or None: straight."""

    def __init__(self, lane, ports, folder, ca, port):
        self.lane, self.ports, self.folder, self.ca, self.port = lane, ports, folder, ca, port
        self.scheme, self.reached, self.how = lane.straight if port is None else (lane.scheme, lane.named, lane.how)
        self.authority = f"localhost:{ports[lane.named]}"
        self.told = folder / f"told-{port or 'straight'}"
        self.told.mkdir(exist_ok=True)

    def target(self, cell, path):
        return f"{path}{'&' if '?' in path else '?'}cell={key(cell)}"

    def _route(self):
        if self.port is None or self.lane.way.startswith("reverse"):
            return ["--connect-to", f"{self.authority}:127.0.0.1:{self.port or self.ports[self.reached]}"]
        return ["-x", f"http://127.0.0.1:{self.port}", *(["-p"] if self.lane.way == "connect" else []), "--suppress-connect-headers"]

    def curl(self, cell, shape):
        head, body = (self.told / f"{key(cell)}.{part}" for part in ("head", "body"))
        head.write_bytes(b"")
        body.write_bytes(b"")
        done = run("curl", "-sSN", "-m", "60", self.how, "--path-as-is", "--cacert", self.ca, "-o", body, "-D", head, "-w", "%{http_version} %{response_code}",
                   *self._route(), *shape.curl, f"{self.scheme}://{self.authority}{self.target(cell, shape.path)}", check=False, input=shape.stdin or b"",
                   env=clean_env(), cwd=self.folder)
        version, status = done.stdout.decode().split()
        blocks = [block.split("\r\n") for block in head.read_bytes().decode("latin-1").split("\r\n\r\n") if block]
        return answer(done.returncode, version, int(status), blocks, b"" if "-I" in shape.curl else body.read_bytes(), done.stderr.decode())

    def ask(self, cell, shape):
        if shape.trailers is None:
            return self.curl(cell, shape)
        return answer(0, *pairs_raw.ask_with_trailers(self, self.target(cell, shape.path), shape))

    def broken(self, cell, whole):
        """An answer that breaks off, or does not (whole). Not by curl in HTTP/2: it forgets what came together with a reset."""
        if self.version == H2 and not whole:
            return answer(*pairs_raw.get(self, key(cell), self.target(cell, "/break")))
        return self.curl(cell, Shape("/break"))

    @property
    def version(self):
        return H1 if self.how == "--http1.1" else H2


def answer(code, version, status, blocks, body, said=""):
    """What a client was told. The first lines of `body` help to read a failure."""
    return {"exit": code, "version": version, "status": status, "blocks": blocks, "size": len(body), "digest": hashlib.sha256(body).hexdigest(),
            "begins": body[:60].decode("latin-1"), "said": said}


# --- a lane, walked ------------------------------------------------------------------------------------------------------

def on_tape(tape):
    """What the tape has of each cell."""
    found = {}
    contents = {(b["flow"], b["side"]): b["content"] for b in rows(tape, "select * from bodies")}
    trailers = {}
    for h in rows(tape, "select * from headers where trailer = 1 order by flow, seq"):
        trailers.setdefault((h["flow"], h["side"]), []).append([h["name"], h["value"]])
    for f in rows(tape, "select * from flow where kind = 'http' order by id"):
        cell = parse_qs(urlsplit(f["path"]).query)["cell"][0]
        row = {name: f[name] for name in ("complete", "error", "answered", "status")}
        row |= {"versions": [f["request_version"], f["response_version"]],
                "informational": [i[0] for i in json.loads(f["informational"] or "[]")]}
        for side in ("request", "response"):
            data = contents.get((f["id"], side)) or b""
            row[side] = [f[f"{side}_bytes"], len(data), hashlib.sha256(data).hexdigest(), trailers.get((f["id"], side), [])]
        found.setdefault(cell, []).append(row)
    return found


def walk(server, lane_name, shared, folder):
    """All cells of a server and a lane: {cell: what was seen and told each time}."""
    start, shapes, _ = SERVERS[server]
    lane = LANES[lane_name]
    (folder / "big").write_bytes(BIG)
    (folder / "packed").write_bytes(gzip.compress(SMALL, mtime=0))
    (folder / "origin").mkdir()
    origin = start(folder / "origin", shared.authority)
    tape = folder / "pairs.tape"
    running = []

    def through(lane, command, *argv):
        running.append(Ringtape(folder, command, *argv, *lane.reverse(ports), ca_dir=shared.ca_dir))
        w = Walk(lane, ports, folder, shared.ca, running[-1].port)
        return {cell: w.ask(cell, shape) for cell, shape in shapes.items()}

    try:
        ports = origin.named
        w = Walk(lane, ports, folder, shared.authority.pem, None)
        straight = {cell: w.ask(cell, shape) for cell, shape in shapes.items()}
        saw_straight = origin.seen(len(shapes))
        recorded = through(lane, "record", "--workers", "1", "-o", tape, "--upstream-ca", shared.authority.pem, *lane.options)
        saw = origin.seen(2 * len(shapes))[len(saw_straight):]
        running[-1].stop()
        origin.stop()
        replayed = through(lane, "replay", tape)
        running[-1].stop()
        others = {}
        for name, other in OTHERS.get(lane_name, {}).items():
            others[name] = through(other, "replay", tape)
            running[-1].stop()
    finally:
        origin.stop()
        for r in running:
            if r.process.poll() is None:
                r.kill()
    rows_of = on_tape(tape)
    out = {}
    for cell in shapes:
        at = key(cell)
        out[cell] = {"straight": straight[cell], "recorded": recorded[cell], "replayed": replayed[cell], "flows": rows_of.get(at, []),
                     "others": {name: told[cell] for name, told in others.items()},
                     "saw straight": [s for s in saw_straight if s["cell"] == at], "saw": [s for s in saw if s["cell"] == at]}
    return out


def once(folder, name, compute):
    """The JSON that compute() gives, by whichever test worker comes first; a failure is everybody's."""
    folder = pathlib.Path(folder)
    if os.environ.get("PYTEST_XDIST_WORKER"):
        folder = folder.parent
    folder /= "pairs"
    folder.mkdir(exist_ok=True)
    with open(folder / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        kept = folder / f"{name}.json"
        if not kept.exists():
            work = folder / name
            work.mkdir()
            try:
                found = {"cells": compute(work)}
            except Exception:
                found = {"problem": traceback.format_exc()}
            kept.write_text(json.dumps(found))
    found = json.loads(kept.read_text())
    assert "problem" not in found, found["problem"]
    return found["cells"]
