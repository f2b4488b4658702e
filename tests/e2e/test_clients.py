"""Real clients: each records over HTTP and HTTPS, exports a valid HAR, and replays with the origin switched off, to the same bytes."""

import os
import pathlib
import shutil

import pytest
from support import PATIENCE_S, clean_env, flows, run

HERE = pathlib.Path(__file__).resolve().parent
CLIENTS = HERE / "clients"
PYTHON = "/usr/bin/python3"


def urls(origin, *paths):
    return [origin.url(p, s) for p in paths for s in ("http", "https")]


@pytest.mark.quick
@pytest.mark.sanitize
@pytest.mark.thread
def test_curl(session, origin):
    paths = ["/hello.txt", "/data.json", "/gzip/big.txt", "/chunked/big.txt", "/big.bin", "/redirect", "/empty", "/teapot", "/missing"]
    session.both(origin, "curl", "-sS", "-D", "-", *urls(origin, *paths), least=18)


@pytest.mark.sanitize
def test_curl_head_put_delete_post(session, origin):
    script = ("set -e; for u in {0} {1}; do curl -sSI $u/hello.txt; curl -sS -T {2}/hello.txt $u/dav/new.txt -D -; "
              "curl -sS -X DELETE $u/dav/new.txt -D -; curl -sS --data-binary @{2}/big.bin $u/post -D -; "
              "curl -sS -F name=value -F file=@{2}/data.json $u/post; curl -sS -H 'Transfer-Encoding: chunked' -d x=1 $u/post; "
              "curl -sS -H 'Expect: 100-continue' --data-binary @{2}/big.txt $u/post; done")
    script = script.format(origin.url(""), origin.url("", "https"), origin.www)
    session.both(origin, "sh", "-c", script, least=14)


@pytest.mark.parametrize("version", ["tls12", "tls13"])
def test_tls_versions_of_the_origin(session, origin, version):
    url = f"https://localhost:{getattr(origin, version)}/hello.txt"
    session.both(origin, "curl", "-sS", url, url)
    (server,) = {(r["tls_version"]) for r in session_connections(session.tape)}
    assert server == {"tls12": "TLSv1.2", "tls13": "TLSv1.3"}[version]


def session_connections(tape):
    from support import rows
    return rows(tape, "select * from connection where side = 'server'")


@pytest.mark.parametrize("option", ["--tlsv1.2 --tls-max 1.2", "--tlsv1.3"])
def test_tls_versions_of_the_client(session, origin, option):
    session.both(origin, "curl", "-sS", *option.split(), origin.url("/hello.txt", "https"))


def test_wget(session, origin):
    # Debian's wget is built on GnuTLS, which takes no CA from the environment.
    script = 'exec wget -q -O - --ca-certificate="$SSL_CERT_FILE" "$@"'
    session.both(origin, "sh", "-c", script, "wget", *urls(origin, "/hello.txt", "/big.bin"), least=4)


@pytest.mark.quick
def test_nc_absolute_form(ringtape, origin, tmp_path):
    tape = tmp_path / "nc.tape"
    request = f"GET {origin.url()} HTTP/1.1\r\nHost: localhost:{origin.http}\r\nConnection: close\r\n\r\n".encode()

    def ask(port):
        return run("nc", "-N", "127.0.0.1", port, input=request).stdout

    r = ringtape("record", "-o", tape)
    first = ask(r.port)
    r.stop()
    assert first.startswith(b"HTTP/1.1 200 OK\r\n") and first.endswith(b"\r\n\r\nhello, world\n")
    origin.stop()
    r = ringtape("replay", tape)
    assert ask(r.port) == first
    r.stop()


def test_ncat_ssl_through_connect(ringtape, origin, tmp_path, shared):
    tape = tmp_path / "ncat.tape"
    request = b"GET /hello.txt HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"

    def ask(port):
        return run("ncat", "--ssl", "--ssl-verify", "--ssl-trustfile", shared.ca, "--proxy", f"127.0.0.1:{port}", "--proxy-type", "http",
                   "localhost", origin.https, input=request, env=clean_env()).stdout

    r = ringtape("record", "-o", tape)
    first = ask(r.port)
    r.stop()
    assert first.endswith(b"hello, world\n")
    origin.stop()
    r = ringtape("replay", tape)
    assert ask(r.port) == first
    r.stop()


def make_repository(origin, tmp_path):
    """A git repository served by nginx over the dumb protocol."""
    work, bare = tmp_path / "work", origin.www / "repo.git"
    env = clean_env(GIT_CONFIG_GLOBAL="/dev/null", GIT_CONFIG_SYSTEM="/dev/null", GIT_AUTHOR_NAME="t", GIT_AUTHOR_EMAIL="t@t",
                    GIT_COMMITTER_NAME="t", GIT_COMMITTER_EMAIL="t@t")
    run("git", "init", "-q", "-b", "main", work, env=env)
    for i in range(20):
        (work / f"file{i}.txt").write_text(f"content {i}\n" * 50)
        run("git", "-C", work, "add", ".", env=env)
        run("git", "-C", work, "commit", "-q", "-m", f"commit {i}", env=env)
    run("git", "clone", "-q", "--bare", work, bare, env=env)
    run("git", "-C", bare, "update-server-info", env=env)
    return env


def test_git_clone(session, origin, tmp_path):
    env = make_repository(origin, tmp_path)
    script = f"rm -rf clone && git clone -q {origin.url('/repo.git', 'https')} clone && git -C clone rev-parse HEAD && cat clone/file19.txt"
    out = session.both(origin, "sh", "-c", script, env={k: env[k] for k in ("GIT_CONFIG_GLOBAL", "GIT_CONFIG_SYSTEM")}, least=10)
    assert b"content 19\n" in out


def test_pip_download(session, origin, tmp_path):
    """`pip download` from a local index."""
    source = tmp_path / "pkg"
    source.mkdir()
    (source / "tiny_thing.py").write_text("x = 1\n")
    wheel = origin.www / "simple" / "tiny-thing" / "tiny_thing-1.0-py3-none-any.whl"
    wheel.parent.mkdir(parents=True)
    import zipfile
    with zipfile.ZipFile(wheel, "w") as z:
        z.writestr("tiny_thing.py", "x = 1\n")
        z.writestr("tiny_thing-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: tiny-thing\nVersion: 1.0\n")
        z.writestr("tiny_thing-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        z.writestr("tiny_thing-1.0.dist-info/RECORD", "")
    (wheel.parent / "index.html").write_text(f'<!DOCTYPE html><html><body><a href="{wheel.name}">{wheel.name}</a></body></html>')
    script = (f"rm -rf out && {PYTHON} -m pip download -q --no-cache-dir --disable-pip-version-check --no-deps -d out "
              f"--index-url {origin.url('/simple/', 'https')} tiny-thing && sha256sum out/*")
    # nginx serves index.html for the folder: that is the index page.
    out = session.both(origin, "sh", "-c", script, env={"PIP_CONFIG_FILE": "/dev/null", "HOME": tmp_path}, least=2)
    assert b"tiny_thing-1.0" in out


@pytest.mark.parametrize("library", ["urllib", "requests", "httpx", "aiohttp"])
def test_python(session, origin, library):
    out = session.both(origin, PYTHON, CLIENTS / "client.py", library, *urls(origin, "/hello.txt", "/data.json", "/gzip/big.txt", "/post"), least=8)
    assert b"hello, world" in out


@pytest.mark.parametrize("library", ["fetch", "https"])
def test_node(session, origin, library):
    out = session.both(origin, "node", CLIENTS / "client.js", library, *urls(origin, "/hello.txt", "/data.json", "/gzip/big.txt", "/post"), least=8,
                       env={"NODE_PATH": "/usr/share/nodejs"})
    assert b"hello, world" in out


@pytest.fixture(scope="session")
def go_client(tmp_path_factory):
    out = tmp_path_factory.mktemp("go")
    env = clean_env(GOCACHE=out / "cache", GOPATH=out / "path", GOFLAGS="-mod=mod", GO111MODULE="off", CGO_ENABLED="0", HOME=out)
    run("go", "build", "-o", out / "client", CLIENTS / "client.go", env=env, timeout=300)
    return out / "client"


def test_go(session, origin, go_client):
    out = session.both(origin, go_client, *urls(origin, "/hello.txt", "/data.json", "/gzip/big.txt", "/post"), least=8)
    assert b"hello, world" in out


@pytest.fixture(scope="session")
def java_classes(tmp_path_factory):
    out = tmp_path_factory.mktemp("java")
    run("javac", "-d", out, CLIENTS / "Client.java", env=clean_env(), timeout=180)
    return out


def test_java(session, origin, java_classes):
    out = session.both(origin, "java", "-Xshare:auto", "-cp", java_classes, "Client",
                       *urls(origin, "/hello.txt", "/data.json", "/gzip/big.txt", "/post"), least=8)
    assert b"hello, world" in out


@pytest.mark.thread
def test_apachebench(ringtape, origin, tmp_path):
    """ab speaks HTTP/1.0 with keep-alive, 16 connections at once."""
    tape = tmp_path / "ab.tape"

    def ab(port):
        out = run("ab", "-q", "-k", "-n", "2000", "-c", "16", "-X", f"127.0.0.1:{port}", f"http://127.0.0.1:{origin.http}/hello.txt").stdout.decode()
        assert "Complete requests:      2000" in out and "Failed requests:        0" in out and "Non-2xx" not in out, out

    r = ringtape("record", "-o", tape)
    ab(r.port)
    r.stop()
    assert len(flows(tape, "complete and status = 200 and response_bytes = 13")) == 2000
    origin.stop()
    r = ringtape("replay", tape)
    ab(r.port)
    r.stop()


PAGE = """<!doctype html><html><head><title>t</title><link rel=stylesheet href=style.css><script src=app.js></script></head>
<body><p id=out>waiting</p><img src=dot.png><script>
fetch('data.json').then(r => r.json()).then(d => { document.getElementById('out').textContent = 'loaded ' + d.text + ' ' + window.fromScript; });
</script></body></html>
"""
DOT = bytes.fromhex("89504e470d0a1a0a0000000d4948445200000001000000010806000000" "1f15c4890000000d49444154789c6360000002000001e221bc330000000049454e44ae426082")


def test_chromium(session, origin, tmp_path):
    for name, data in (("index.html", PAGE), ("style.css", "p { color: green }"), ("app.js", "window.fromScript = 'script';")):
        (origin.www / name).write_text(data)
    (origin.www / "dot.png").write_bytes(DOT)
    script = CLIENTS / "chromium.sh"
    out = session.record("sh", script, origin.url("/index.html", "https"), tmp_path / "profile1")
    assert "loaded grün script" in out.decode()
    from support import export_har
    export_har(session.tape, tmp_path)
    paths = {f["path"] for f in flows(session.tape, f"complete and port = {origin.https}")}
    assert {"/index.html", "/style.css", "/app.js", "/data.json", "/dot.png"} <= paths
    origin.stop()
    again = session.replay("sh", script, origin.url("/index.html", "https"), tmp_path / "profile2")
    assert again == out
    assert session.report["missed"] == 0, session.report["misses"]
