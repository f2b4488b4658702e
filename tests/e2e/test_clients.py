"""Real clients: each records over HTTP and HTTPS, exports a valid HAR (promise 21), and replays with the origin switched off: each prints all
it was told (status, fields, the body or its digest), and the two prints must be equal."""

import re
import zipfile

import pytest
from programs import CLIENTS, go_client, java_client
from support import Nginx, clean_env, export_har, flows, rows, run

PYTHON = "/usr/bin/python3"
# Fields that something in between might join, sort, fold or lose.
ODD = b"""
    location = /odd { default_type text/plain; return 200 "odd\\n"; add_header Set-Cookie "a=1; Path=/"; add_header x-lower "1";
        add_header Set-Cookie "b=2; HttpOnly"; add_header X-Twice "one, two"; add_header X-LATIN "gr\xfcn"; add_header X-Twice "three";
        add_header X-Long "%s"; add_header Link "<a>; rel=b"; }
""" % (b"0123456789" * 300)
PATHS = ("/hello.txt", "/data.json", "/gzip/big.txt", "/big.bin", "/odd", "/teapot", "/missing", "/post")


@pytest.fixture
def origin(tmp_path, shared):
    folder = tmp_path / "origin"
    folder.mkdir()
    (folder / "odd.conf").write_bytes(ODD)
    nginx = Nginx(folder, shared.authority, extra=f"include {folder}/odd.conf;")
    yield nginx
    nginx.stop()


def urls(origin, *paths):
    return [origin.url(p, s) for p in paths or PATHS for s in ("http", "https")]


def check_har(tape, tmp_path):
    """The HAR is valid and has an entry for each flow, with its status and its size; 0 and -1 where no answer came (a browser's own calls)."""
    entries = export_har(tape, tmp_path)["log"]["entries"]
    told = [(e["_ringtape"]["flow"], e["response"]["status"], e["response"]["bodySize"]) for e in entries]
    assert sorted(told) == [(f["id"], f["status"] or 0, f["response_bytes"] if f["status"] else -1) for f in flows(tape)]
    return entries


@pytest.mark.quick
@pytest.mark.sanitize
@pytest.mark.thread
def test_curl(session, origin):
    paths = [*PATHS[:-1], "/chunked/big.txt", "/redirect", "/empty"]
    out = session.both(origin, "curl", "-sS", "-D", "-", *urls(origin, *paths), least=20)
    assert out.count("X-LATIN: gr\xfcn\r\n".encode("latin-1")) == 2 and out.count(b"Set-Cookie: ") == 4 and out.count(b"x-lower: 1\r\n") == 2
    check_har(session.tape, origin.folder)


@pytest.mark.sanitize
def test_curl_head_put_delete_post(session, origin):
    script = ("set -e; for u in {0} {1}; do curl -sSI $u/hello.txt; curl -sS -T {2}/hello.txt $u/dav/new.txt -D -; "
              "curl -sS -X DELETE $u/dav/new.txt -D -; curl -sS --data-binary @{2}/big.bin $u/post -D -; "
              "curl -sS -F name=value -F file=@{2}/data.json $u/post; curl -sS -H 'Transfer-Encoding: chunked' -d x=1 $u/post; "
              "curl -sS -H 'Expect: 100-continue' --data-binary @{2}/big.txt $u/post; done")
    script = script.format(origin.url(""), origin.url("", "https"), origin.www)
    session.both(origin, "sh", "-c", script, least=14)
    check_har(session.tape, origin.folder)


@pytest.mark.parametrize("version", ["tls12", "tls13"])
def test_tls_versions_of_the_origin(session, origin, version):
    url = f"https://localhost:{getattr(origin, version)}/hello.txt"
    session.both(origin, "curl", "-sS", url, url)
    (server,) = {(r["tls_version"]) for r in rows(session.tape, "select * from connection where side = 'server'")}
    assert server == {"tls12": "TLSv1.2", "tls13": "TLSv1.3"}[version]


@pytest.mark.parametrize("option", ["--tlsv1.2 --tls-max 1.2", "--tlsv1.3"])
def test_tls_versions_of_the_client(session, origin, option):
    session.both(origin, "curl", "-sS", *option.split(), origin.url("/hello.txt", "https"))


def test_wget(session, origin):
    # Debian's wget is built on GnuTLS, which takes no CA from the environment.
    script = 'wget -q -O - --save-headers --content-on-error --ca-certificate="$SSL_CERT_FILE" "$@" || [ $? = 8 ]'
    out = session.both(origin, "sh", "-c", script, "wget", *urls(origin, *PATHS[:-1]), least=14)
    assert out.count("X-LATIN: gr\xfcn\r\n".encode("latin-1")) == 2
    check_har(session.tape, origin.folder)


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
    (entry,) = check_har(tape, tmp_path)
    assert entry["request"]["url"] == origin.url() and entry["response"]["content"]["text"] == "hello, world\n"
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
    assert first.startswith(b"HTTP/1.1 200 OK\r\n") and first.endswith(b"\r\n\r\nhello, world\n")
    (entry,) = check_har(tape, tmp_path)
    assert entry["request"]["url"] == origin.url(scheme="https") and entry["response"]["content"]["text"] == "hello, world\n"
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
    check_har(session.tape, origin.folder)


def test_pip_download(session, origin, tmp_path):
    """`pip download` from a local index."""
    source = tmp_path / "pkg"
    source.mkdir()
    (source / "tiny_thing.py").write_text("x = 1\n")
    wheel = origin.www / "simple" / "tiny-thing" / "tiny_thing-1.0-py3-none-any.whl"
    wheel.parent.mkdir(parents=True)
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
    check_har(session.tape, origin.folder)


@pytest.mark.parametrize("library", ["urllib", "requests", "httpx", "aiohttp"])
def test_python(session, origin, library):
    out = session.both(origin, PYTHON, CLIENTS / "client.py", library, *urls(origin), least=16)
    assert out.count(b"hello, world") == 2
    assert out.count(b"b'gr\\xfcn'") + out.count("'gr\xfcn'".encode()) == 2  # libraries give bytes, or text decoded as Latin-1
    check_har(session.tape, origin.folder)


@pytest.mark.parametrize("library", ["fetch", "https"])
def test_node(session, origin, library):
    out = session.both(origin, "node", CLIENTS / "client.js", library, *urls(origin), least=16, env={"NODE_PATH": "/usr/share/nodejs"})
    assert out.count(b"hello, world") == 2 and out.lower().count(b'"x-twice"') == {"fetch": 2, "https": 4}[library]
    check_har(session.tape, origin.folder)


def test_go(session, origin):
    out = session.both(origin, go_client(), *urls(origin), least=16)
    assert out.count(b"hello, world") == 2 and out.count(b'"X-Twice" ["one, two" "three"]') == 2
    check_har(session.tape, origin.folder)


def test_java(session, origin):
    out = session.both(origin, "java", *java_client("Client"), *urls(origin), least=16)
    assert out.count(b"hello, world") == 2 and out.count(b"x-twice [one, two, three]") == 2
    check_har(session.tape, origin.folder)


@pytest.mark.thread
def test_apachebench(ringtape, origin, tmp_path):
    """ab speaks HTTP/1.0 with keep-alive, 16 connections at once; with -v 4 it prints what it was told."""
    tape = tmp_path / "ab.tape"

    def ab(port, *options):
        return run("ab", "-q", "-X", f"127.0.0.1:{port}", *options, f"http://127.0.0.1:{origin.http}/hello.txt").stdout.decode()

    def answers(port):
        out = ab(port, "-v", "4", "-n", "3")
        heads = re.findall(r"^LOG: header received:\n(HTTP/1\..*?\n\n.*?)\n?(?=^LOG|^\.\.\.|^Concurrency|^WARN|\Z)", out, re.DOTALL | re.MULTILINE)
        assert len(heads) == 3 and all("hello, world" in head and "ETag" in head for head in heads), out
        many = ab(port, "-k", "-n", "1000", "-c", "16")
        assert "Complete requests:      1000" in many and "Failed requests:        0" in many and "Non-2xx" not in many, many
        return heads

    r = ringtape("record", "-o", tape)
    first = answers(r.port)
    r.stop()
    assert len(flows(tape, "complete and status = 200 and response_bytes = 13")) == 1003
    check_har(tape, tmp_path)
    origin.stop()
    r = ringtape("replay", tape)
    assert answers(r.port) == first
    r.stop()


PAGE = """<!doctype html><html><head><title>t</title><link rel=stylesheet href=style.css><script src=app.js></script></head>
<body><p id=out>waiting</p><img src=dot.png><script>
const told = r => r.status + ' ' + JSON.stringify([...r.headers]);
fetch('data.json').then(r => r.json().then(d => fetch('/odd').then(odd => {
    document.getElementById('out').textContent = 'loaded ' + d.text + ' ' + window.fromScript + told(r) + told(odd); })));
</script></body></html>
"""
DOT = bytes.fromhex("89504e470d0a1a0a0000000d4948445200000001000000010806000000" "1f15c4890000000d49444154789c6360000002000001e221bc330000000049454e44ae426082")


def test_chromium(session, origin, tmp_path):
    for name, data in (("index.html", PAGE), ("style.css", "p { color: green }"), ("app.js", "window.fromScript = 'script';")):
        (origin.www / name).write_text(data)
    (origin.www / "dot.png").write_bytes(DOT)
    script = CLIENTS / "chromium.sh"
    out = session.record("sh", script, origin.url("/index.html", "https"), tmp_path / "profile1")
    assert "loaded grün script200 [[" in out.decode() and '["x-twice","one, two, three"]' in out.decode()
    check_har(session.tape, tmp_path)
    paths = {f["path"] for f in flows(session.tape, f"complete and port = {origin.https}")}
    assert {"/index.html", "/style.css", "/app.js", "/data.json", "/dot.png", "/odd"} <= paths
    origin.stop()
    again = session.replay("sh", script, origin.url("/index.html", "https"), tmp_path / "profile2")
    assert again == out
    assert session.report["missed"] == 0, session.report["misses"]
