"""Event streams and long polls with real clients, over HTTP/1.1 in clear and in TLS and over HTTP/2 in TLS. The origin goes on only when the client has
said by another request that it has what was sent: a proxy that held back anything would stop both ends, so no clock is needed to see it."""

import programs
import pytest
from origins import Started
from programs import CLIENTS
from support import PATIENCE_S, rows, until

PYTHON = "/usr/bin/python3"
NODE = {"NODE_PATH": "/usr/share/nodejs"}
LONG = b"4\n" + b"x" * 100000
# (event, event_id, retry_ms, payload) of what clients/signs.go sends
EVENTS = [(None, None, None, b"0"), ("add", "7", None, b'1\n{"a": [1, 2]}'), (None, None, 250, b"2"), (None, "grün", None, b"3"),
          (None, None, None, LONG), (None, None, None, b"5")]


class Signs(Started):
    """clients/signs.go. `base(how)` is what its URLs begin with."""

    def __init__(self, folder, authority):
        port_file = folder / "signs.port"
        super().__init__(folder, "signs", programs.go_signs(), *authority.issue("good"), port_file)
        self.clear, self.tls = map(int, until(lambda: port_file.exists() and port_file.read_text(), "the ports", self.process).split())

    def base(self, how):
        return f"http://localhost:{self.clear}" if how == "clear" else f"https://localhost:{self.tls}"


@pytest.fixture
def signs(tmp_path, shared):
    o = Signs(tmp_path, shared.authority)
    yield o
    o.stop()


def curl(version):
    """A shell that gives a sign, by another curl, for every event that `curl -N` has written."""
    ask = f"curl -sS {version} --max-time {PATIENCE_S}"
    return ("sh", "-c", f"""
        {ask} -N "$1/events?run=curl" | {{ n=0
        while IFS= read -r line; do
          printf '%.60s\\n' "$line"
          case $line in
          data*[0-9]*) waiting=yes ;;
          ''|"$(printf '\\r')") test -z "$waiting" || {ask} -w 'sign %{{http_code}}\\n' "$1/sign?run=curl&n=$n" || exit 1
            test -z "$waiting" || n=$((n + 1)); waiting= ;;
          esac
        done; }}
        """, "sh")


# name: (command without the base, "clear" or "tls", version)
STREAMS = {
    "requests clear": ((PYTHON, CLIENTS / "signs.py", "requests", "events"), "clear", "HTTP/1.1"),
    "requests TLS": ((PYTHON, CLIENTS / "signs.py", "requests", "events"), "tls", "HTTP/1.1"),
    "httpx clear": ((PYTHON, CLIENTS / "signs.py", "httpx", "events"), "clear", "HTTP/1.1"),
    "httpx TLS": ((PYTHON, CLIENTS / "signs.py", "httpx", "events"), "tls", "HTTP/1.1"),
    "httpx HTTP/2": ((PYTHON, CLIENTS / "signs.py", "httpx2", "events"), "tls", "HTTP/2"),
    "fetch clear": (("node", CLIENTS / "signs.js", "fetch", "events"), "clear", "HTTP/1.1"),
    "fetch TLS": (("node", CLIENTS / "signs.js", "fetch", "events"), "tls", "HTTP/1.1"),
    "node HTTP/2": (("node", CLIENTS / "signs.js", "http2", "events"), "tls", "HTTP/2"),
    "curl clear": (curl("--http1.1"), "clear", "HTTP/1.1"),
    "curl TLS": (curl("--http1.1"), "tls", "HTTP/1.1"),
    "curl HTTP/2": (curl("--http2"), "tls", "HTTP/2"),
}


@pytest.mark.parametrize("name", STREAMS)
def test_the_next_event_waits_for_the_sign_of_the_one_before(session, signs, name):
    command, how, version = STREAMS[name]
    out = session.both(signs, *command, signs.base(how), env=NODE, least=1 + len(EVENTS))
    assert out.count(b"sign 204") == len(EVENTS)
    flow, = rows(session.tape, "select id, scheme, request_version, response_version, complete, error from flow where path like '/events%'")
    assert (flow["scheme"], flow["request_version"], flow["response_version"]) == ("http" if how == "clear" else "https", version, version)
    assert (flow["complete"], flow["error"]) == (1, None)
    got, text = [], b""
    for m in rows(session.tape, "select * from message where flow = ? order by seq", flow["id"]):
        assert (m["direction"], m["kind"]) == ("response", "event")
        text += m["payload"]
        if not m["more"]:
            got.append((m["event"], m["event_id"], m["retry_ms"], text))
            text = b""
    assert got == EVENTS


# name: (command without the base, "clear" or "tls", version)
POLLS = {
    "requests clear": ((PYTHON, CLIENTS / "signs.py", "requests", "poll"), "clear", "HTTP/1.1"),
    "httpx TLS": ((PYTHON, CLIENTS / "signs.py", "httpx", "poll"), "tls", "HTTP/1.1"),
    "httpx HTTP/2": ((PYTHON, CLIENTS / "signs.py", "httpx2", "poll"), "tls", "HTTP/2"),
    "fetch clear": (("node", CLIENTS / "signs.js", "fetch", "poll"), "clear", "HTTP/1.1"),
    "node HTTP/2": (("node", CLIENTS / "signs.js", "http2", "poll"), "tls", "HTTP/2"),
}


@pytest.mark.parametrize("name", POLLS)
def test_a_long_poll_is_open_while_what_it_waits_for_is_asked(session, signs, name):
    """The origin answers neither before both have come. In HTTP/2 they share both connections."""
    command, how, version = POLLS[name]
    out = session.both(signs, *command, signs.base(how), env=NODE, least=6)
    assert out.count(b"told this") == 3 and out.count(b"passed on") == 3
    found = rows(session.tape, "select path, request_version, client_connection, server_connection from flow")
    assert {f["request_version"] for f in found} == {version}
    for n in range(3):
        pair = [f for f in found if f["path"].endswith(f"n={n}")]
        for side in ("client_connection", "server_connection"):
            assert len({f[side] for f in pair}) == (1 if version == "HTTP/2" else 2), (side, pair)
