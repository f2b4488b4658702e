"""Certificates and keys that are no good: the CA's own files, origins', and ours in the eyes of a client."""

import contextlib
import json
import os
import re
import shutil
import socket
import ssl
import subprocess
import tempfile

import pytest
from oneshot import Origin, Unprivileged, attempt, complains, contents, here, sample  # noqa: F401 (fixtures)
from support import PATIENCE_S, Authority, clean_env, export_har, flows, rows, run, until

CMD = ("--", "touch", "ran")


# --- the CA's files


@pytest.fixture
def ca(tmp_path, shared):
    """A copy of a good CA, to be spoilt."""
    folder = tmp_path / "own ca"
    shutil.copytree(shared.ca_dir, folder)
    return folder


def self_signed(folder, ca=True, start="20200101000000Z", end="20990101000000Z", key=("EC", "ec_paramgen_curve:P-256")):
    """Makes ca-key.pem and ca.pem with the openssl command."""
    shutil.rmtree(folder)
    folder.mkdir(0o700)
    conf = folder.parent / "openssl.conf"
    (folder.parent / "index.txt").write_text("")
    conf.write_text(f"[ca]\ndefault_ca=d\n[d]\ndatabase={folder.parent}/index.txt\nnew_certs_dir={folder.parent}\nrand_serial=yes\n"
                    f"default_md=sha256\npolicy=p\nx509_extensions=x\n[p]\ncommonName=supplied\n[x]\nbasicConstraints=critical,CA:{'TRUE' if ca else 'FALSE'}\n"
                    f"subjectKeyIdentifier=hash\n{'keyUsage=critical,keyCertSign,cRLSign' if ca else ''}\n")
    run("openssl", "genpkey", "-algorithm", key[0], "-pkeyopt", key[1], "-out", folder / "ca-key.pem")
    (folder / "ca-key.pem").chmod(0o600)
    csr = folder.parent / "own.csr"
    run("openssl", "req", "-new", "-key", folder / "ca-key.pem", "-subj", "/CN=own CA", "-out", csr)
    run("openssl", "ca", "-batch", "-selfsign", "-config", conf, "-keyfile", folder / "ca-key.pem", "-in", csr, "-out", folder / "ca.pem",
        "-startdate", start, "-enddate", end, "-notext")


def other_key(folder):
    run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", folder / "ca-key.pem")
    (folder / "ca-key.pem").chmod(0o600)


def encrypted_key(folder):
    run("openssl", "pkcs8", "-topk8", "-in", folder / "ca-key.pem", "-passout", "pass:secret", "-out", folder / "new.pem")
    os.replace(folder / "new.pem", folder / "ca-key.pem")
    (folder / "ca-key.pem").chmod(0o600)


def cut(path, n):
    path.write_bytes(path.read_bytes()[:n])


def a_folder(path):
    path.unlink()
    path.mkdir()


BAD_CA = {  # what is wrong, and what must be said
    "key readable by all": (lambda d: (d / "ca-key.pem").chmod(0o644), ["ca-key.pem can be read by others (mode 0644)", "chmod 600 "]),
    "key readable by the group": (lambda d: (d / "ca-key.pem").chmod(0o640), ["(mode 0640)", "chmod 600 "]),
    "folder writable by all": (lambda d: d.chmod(0o777), ["can be written to by others", "chmod 700 "]),
    "another key": (other_key, ["ca-key.pem is not the key of the certificate in ca.pem", "ringtape ca new"]),
    "another certificate": (lambda d: (d / "ca.pem").write_bytes((d.parent / "authority.pem").read_bytes()), ["is not the key of the certificate"]),
    "key of garbage": (lambda d: (d / "ca-key.pem").write_bytes(os.urandom(600)),
                       ["ca-key.pem holds no usable private key in PEM", "ringtape ca new"]),
    "certificate of garbage": (lambda d: (d / "ca.pem").write_bytes(os.urandom(600)), ["ca.pem holds no certificate in PEM", "ringtape ca new"]),
    "key of garbage in PEM": (lambda d: (d / "ca-key.pem").write_text("-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n"),
                              ["ca-key.pem"]),
    "certificate of garbage in PEM": (lambda d: (d / "ca.pem").write_text("-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----\n"),
                                      ["ca.pem"]),
    "empty key": (lambda d: cut(d / "ca-key.pem", 0), ["ca-key.pem holds no usable private key"]),
    "key cut off": (lambda d: cut(d / "ca-key.pem", 100), ["ca-key.pem holds no usable private key"]),
    "certificate cut off": (lambda d: cut(d / "ca.pem", 300), ["ca.pem holds no certificate"]),
    "no key": (lambda d: (d / "ca-key.pem").unlink(), ["ca-key.pem is missing beside ca.pem", "ringtape ca new"]),
    "no certificate": (lambda d: (d / "ca.pem").unlink(), ["ca.pem is missing beside ca-key.pem", "ringtape ca new"]),
    "key is a folder": (lambda d: a_folder(d / "ca-key.pem"), ["ca-key.pem is not a file"]),
    "certificate is a folder": (lambda d: a_folder(d / "ca.pem"), ["ca.pem is not a file"]),
    "encrypted key": (encrypted_key, ["ca-key.pem is encrypted", "openssl pkey"]),
    "weak key": (lambda d: self_signed(d, key=("RSA", "rsa_keygen_bits:1024")), ["ca-key.pem", "not supported", "EC P-256"]),
    "expired": (lambda d: self_signed(d, end="20200201000000Z"), ["ca.pem expired on 2020-02-01", "ringtape ca new"]),
    "not valid yet": (lambda d: self_signed(d, start="20980101000000Z"), ["not valid before 2098-01-01", "clock"]),
    "not a CA": (lambda d: self_signed(d, ca=False), ["ca.pem is not that of a CA"]),
    "a file in the folder's place": (lambda d: (shutil.rmtree(d), d.write_text("")), ["cannot open", "Not a directory"]),
}


@pytest.mark.sanitize
@pytest.mark.parametrize("wrong", BAD_CA)
def test_ca_files_that_cannot_be_used(here, ca, shared, wrong):
    (here.folder / "authority.pem").write_bytes(shared.authority.pem.read_bytes())
    spoil, words = BAD_CA[wrong]
    spoil(ca)
    before = contents(here.folder)
    for command in (["show"], ["export"], ["trust"], ["export", "--format", "p12", "-o", "x.p12"]):
        complains(here.attempt("ca", *command, "--ca-dir", "own ca"), 1, "own ca", *words)
    for command in (["record", "-o", "new.tape"], ["record", "--force", "-o", "a.tape"], ["replay", "a.tape"]):
        complains(here.attempt(*command, "--ca-dir", "own ca", *CMD), 125, "own ca", *words)
        complains(here.attempt(*command, "--ca-dir", "own ca", "-l0"), 1, "own ca", *words)
    assert contents(here.folder) == before
    assert here.attempt("ls", "a.tape").returncode == 0, "what needs no CA does not mind"
    # The remedy that is named helps.
    if any("chmod" in word for word in words):
        run("chmod", "700" if "folder" in wrong else "600", ca if "folder" in wrong else ca / "ca-key.pem")
        assert here.attempt("ca", "show", "--ca-dir", "own ca").returncode == 0
    elif any("ringtape ca new" in word for word in words):
        assert here.attempt("ca", "new", "--ca-dir", "own ca").returncode == 0
        now = contents(ca)
        for name, value in before.items():
            if name.startswith("own ca/"):
                assert now[name.removeprefix("own ca/") + ".old"] == value, "the old files are kept"
        assert here.attempt("record", "--ca-dir", "own ca", "-o", "new.tape", "--", "true").returncode == 0


def test_ca_files_that_may_not_be_read_or_made(shared):
    with tempfile.TemporaryDirectory(prefix="ringtape-test-", dir="/tmp") as folder:
        user = Unprivileged(folder)
        assert user.attempt("ca", "show").returncode == 0
        ca = user.work / "ca"
        for name in ("ca-key.pem", "ca.pem"):
            mode = (ca / name).stat().st_mode
            (ca / name).chmod(0)
            complains(user.attempt("ca", "show"), 1, f"cannot read {ca}/{name}", "Permission denied")
            complains(user.attempt("record", "-o", "x.tape", *CMD), 125, f"cannot read {ca}/{name}", "Permission denied")
            (ca / name).chmod(mode)
        before = contents(ca)
        ca.chmod(0o500)
        assert user.attempt("ca", "show").returncode == 0, "reading needs no more"
        complains(user.attempt("ca", "new"), 1, str(ca), "Permission denied")
        ca.chmod(0)
        complains(user.attempt("ca", "show"), 1, str(ca), "Permission denied")
        ca.chmod(0o700)
        assert contents(ca) == before
        user.work.chmod(0o500)
        complains(user.attempt("ca", "show", "--ca-dir", "deep/er"), 1, "cannot make the directory deep", "Permission denied")
        user.work.chmod(0o700)
        made = user.attempt("ca", "show", "--ca-dir", "deep/er")
        assert made.returncode == 0 and (user.work / "deep/er").stat().st_mode & 0o777 == 0o700
        assert (user.work / "deep/er/ca-key.pem").stat().st_mode & 0o777 == 0o600
        assert not (user.work / "ran").exists() and not (user.work / "x.tape").exists()


def test_where_the_ca_is(here):
    """$RINGTAPE_CA_DIR, else $XDG_DATA_HOME/ringtape, else ~/.local/share/ringtape; --ca-dir before all; no home at all is said."""
    home = here.folder / "home"
    home.mkdir()
    for env, argv, folder in [
        ({"RINGTAPE_CA_DIR": "by-variable", "XDG_DATA_HOME": home / "xdg"}, ["--ca-dir", "by-option"], "by-option"),
        ({"RINGTAPE_CA_DIR": "by-variable", "XDG_DATA_HOME": home / "xdg"}, [], "by-variable"),
        ({"RINGTAPE_CA_DIR": "", "XDG_DATA_HOME": home / "xdg"}, [], "home/xdg/ringtape"),
        ({"RINGTAPE_CA_DIR": "", "XDG_DATA_HOME": "relative", "HOME": home}, [], "home/.local/share/ringtape"),
        ({"RINGTAPE_CA_DIR": "", "XDG_DATA_HOME": "", "HOME": home}, [], "home/.local/share/ringtape"),
    ]:
        done = attempt("ca", "show", *argv, cwd=here.folder, env=env)
        assert done.returncode == 0 and (here.folder / folder / "ca-key.pem").exists(), (env, done)


def test_a_key_log_that_cannot_be_written(here):
    for command in (["record", "-o", "new.tape"], ["replay", "a.tape"]):
        done = here.attempt(*command, *CMD, env={"SSLKEYLOGFILE": "missing/keys"})
        complains(done, 125, "cannot write the key log missing/keys", "SSLKEYLOGFILE")
    assert contents(here.folder) == here.before


# --- origins


def secret_is_safe(origin):
    assert origin.asked == [], "the request must not have reached an origin that was not accepted"


@contextlib.contextmanager
def anonymous():
    """A server that offers suites without certificates only."""
    with subprocess.Popen(["openssl", "s_server", "-accept", "127.0.0.1:0", "-nocert", "-cipher", "aNULL:@SECLEVEL=0", "-tls1_2", "-www"],
                          stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as server:
        line = next(l for l in server.stdout if l.startswith("ACCEPT"))
        yield int(line.rsplit(":", 1)[1])
        server.terminate()


def ask(here, tape, url, *options, tls=()):
    """Records a curl; gives its output and status."""
    done = here.attempt("record", "-q", "-o", tape, *options, "--", "curl", "-sS", "-w", "\n%{http_code} %{content_type}", *tls, url)
    assert done.returncode == 0 and done.stderr == b"", done.stderr
    body, _, last = done.stdout.decode().rpartition("\n")
    return body, *last.split(" ", 1)


def stands_on_the_tape(here, tape, reason):
    """One flow with the reason, in the row, in `ls` and in the HAR."""
    (flow,) = flows(here.folder / tape)
    assert (flow["method"], flow["status"], flow["complete"], flow["response_bytes"]) == ("GET", 502, 0, 0)
    assert reason in flow["error"] and flow["error"].startswith("tls")
    errors = [r["error"] for r in rows(here.folder / tape, "select error from connection where side = 'server'")]
    assert errors and all(reason in error for error in errors)
    listed = here.attempt("ls", tape).stdout.decode()
    assert "502!" in listed and reason in listed
    (entry,) = export_har(here.folder / tape, here.folder)["log"]["entries"]
    assert reason in json.dumps(entry, ensure_ascii=False).replace('\\"', '"')


BAD_ORIGIN = {  # the arguments of Authority.issue, and what must be said
    "expired": (dict(expired=True), "localhost", "the certificate has expired (notAfter 2020-02-01)"),
    "another name": (dict(san="DNS:other.example"), "localhost", "the certificate is for other.example, not for localhost"),
    "a name, not the address": (dict(san="DNS:localhost"), "127.0.0.1", "the certificate is for localhost, not for 127.0.0.1"),
    "a wildcard too high": (dict(san="DNS:*.example,DNS:*"), "localhost", "not for localhost"),
    "self-signed": (dict(self_signed=True), "localhost", "the certificate is self-signed"),
}


@pytest.mark.sanitize
@pytest.mark.parametrize("newest", [None, ssl.TLSVersion.TLSv1_2], ids=["TLS 1.3", "TLS 1.2"])
@pytest.mark.parametrize("wrong", BAD_ORIGIN)
def test_a_certificate_that_is_not_accepted(here, tmp_path, wrong, newest):
    (tmp_path / "authority").mkdir()
    authority = Authority(tmp_path / "authority")
    more, host, reason = BAD_ORIGIN[wrong]
    origin = Origin(*authority.issue("bad", **more), newest=newest)
    body, status, kind = ask(here, "bad.tape", origin.url(host=host), "--upstream-ca", authority.pem)
    assert status == "502" and kind.startswith("text/plain")
    assert body == f"ringtape: TLS with {host}:{origin.port}: {reason}\n" if "not for localhost" != reason else reason in body
    secret_is_safe(origin)
    stands_on_the_tape(here, "bad.tape", reason)
    body, status, _ = ask(here, "insecure.tape", origin.url(host=host), "--upstream-ca", authority.pem, "--insecure")
    assert (body, status) == ("secret", "200")
    (flow,) = flows(here.folder / "insecure.tape")
    assert flow["complete"] == 1 and flow["error"] is None
    origin.close()


@pytest.mark.quick
def test_a_certificate_of_an_unknown_authority(here, tmp_path, shared):
    (tmp_path / "authority").mkdir()
    authority = Authority(tmp_path / "authority")
    origin = Origin(*authority.issue("unknown"))
    for options in ((), ("--upstream-ca", shared.authority.pem)):
        tape = f"unknown{len(options)}.tape"
        body, status, _ = ask(here, tape, origin.url(), *options)
        reason = "the certificate's issuer \"test origin CA\" is not trusted"
        assert status == "502" and reason in body and f"localhost:{origin.port}" in body
        stands_on_the_tape(here, tape, reason)
    secret_is_safe(origin)
    assert ask(here, "insecure.tape", origin.url(), "--insecure")[:2] == ("secret", "200")
    assert ask(here, "trusted.tape", origin.url(), "--upstream-ca", authority.pem)[:2] == ("secret", "200")
    origin.close()


def test_a_server_without_a_certificate_is_refused_even_insecurely(here):
    with anonymous() as port:
        for options in ((), ("--insecure",)):
            tape = f"anonymous{len(options)}.tape"
            body, status, _ = ask(here, tape, f"https://localhost:{port}/", *options)
            assert status == "502" and body.startswith(f"ringtape: TLS with localhost:{port}: ") and "handshake_failure" in body
            stands_on_the_tape(here, tape, "handshake_failure")


def test_an_origin_that_does_not_speak_tls(here):
    origin = Origin()
    body, status, _ = ask(here, "plain.tape", f"https://localhost:{origin.port}/", "--insecure")
    assert status == "502" and body.startswith(f"ringtape: TLS with localhost:{origin.port}: ")
    stands_on_the_tape(here, "plain.tape", "TLS handshake failed")
    secret_is_safe(origin)
    origin.close()


# --- clients that do not trust us

CLIENTS = {
    "curl, TLS 1.3": ["curl", "-sS", "--cacert", "{ca}", "--proxy", "{proxy}", "{url}"],
    "curl, TLS 1.2": ["curl", "-sS", "--tls-max", "1.2", "--cacert", "{ca}", "--proxy", "{proxy}", "{url}"],
    "curl, no CA at all": ["curl", "-sS", "--cacert", "{ca}", "--capath", "/nonexistent", "--proxy", "{proxy}", "{url}"],
    "openssl s_client": ["openssl", "s_client", "-verify_return_error", "-CAfile", "{ca}", "-proxy", "{address}", "-connect", "{host}",
                         "-servername", "localhost"],
    "Python": ["/usr/bin/python3", "-c", "import os,sys,urllib.request; urllib.request.urlopen(sys.argv[1])", "{url}"],
}


# Those that leave without a word, in the handshake's middle or when it is over.
SILENT = {
    "wget (GnuTLS)": ["wget", "-q", "-O", "-", "--tries=1", "--ca-certificate={ca}", "-e", "https_proxy={proxy}", "{url}"],
    "Node": ["node", "-e", """
        const http = require('http'), tls = require('tls'); const [proxy, host] = process.argv.slice(1);
        const connect = {host: '127.0.0.1', port: proxy.split(':')[1], method: 'CONNECT', path: host, headers: {Host: host}};
        http.request(connect).on('connect', (r, socket) => {
            tls.connect({socket, servername: 'localhost'}).on('error', e => { console.error(e.message); process.exit(1); });
        }).end();""", "{address}", "{host}"],
}


@pytest.mark.sanitize
@pytest.mark.parametrize("client", [*CLIENTS, *SILENT])
def test_a_client_that_refuses_our_certificate(ringtape, tmp_path, shared, client):
    origin = Origin(*shared.authority.issue("good"))
    tape = tmp_path / "refused.tape"
    r = ringtape("record", "-q", "-o", tape, "--workers", "2", "--no-auto-pass")
    words = dict(ca=shared.authority.pem, proxy=r.proxy, url=origin.url(), address=f"127.0.0.1:{r.port}", host=f"localhost:{origin.port}")
    argv = [word if "{" not in word or "\n" in word else word.format(**words) for word in {**CLIENTS, **SILENT}[client]]
    for _ in range(4):  # whichever worker takes it
        done = run(*argv, check=False, input=b"", env=clean_env(https_proxy=r.proxy, SSL_CERT_FILE=shared.authority.pem))
        assert done.returncode != 0 and b"secret" not in done.stdout
    r.stop()
    lines = [line for line in r.log().splitlines() if "certificate" in line]
    assert len(lines) == 1, r.log()
    how = (r"seems to have refused", "it left right after the handshake, without a request|the peer closed the connection during the TLS handshake|"
           "the peer reset the connection") if client in SILENT else (
        "refused", r"the peer's alert: [a-z_]+ \(\d+\)")
    assert re.fullmatch(rf"ringtape: warning: a client {how[0]} our certificate for localhost \((?:{how[1]})\): make it trust the CA "
                        r"\(`ringtape ca export`, `ringtape ca trust`\), or leave that host alone with --pass localhost", lines[0])
    found = flows(tape)
    assert len(found) == 4
    for flow in found:
        assert (flow["method"], flow["kind"], flow["complete"], flow["host"], flow["port"]) == ("CONNECT", "tunnel", 0, "localhost", origin.port)
        assert re.match("(closed|reset): the client ended the TLS (connection|handshake) with us: " if client in SILENT else
                        "tls-alert: the client ended the TLS handshake with us: the peer's alert: ", flow["error"])
    secret_is_safe(origin)
    # The remedy that is named helps.
    r = ringtape("record", "-o", tmp_path / "passed.tape", "--pass", "localhost")
    done = run("curl", "-sS", "--cacert", shared.authority.pem, "--proxy", r.proxy, origin.url())
    assert done.stdout == b"secret"
    r.stop()
    assert "refused" not in r.log()
    origin.close()


@pytest.mark.thread
def test_each_host_gets_its_line_once(ringtape, tmp_path, shared):
    origin = Origin(*shared.authority.issue("good"))
    r = ringtape("record", "-o", tmp_path / "refused.tape", "--insecure", "--connect-to", f"::localhost:{origin.port}", "--no-auto-pass")
    names = [f"host{i}.example" for i in range(5)]
    for name in names + names:
        run("curl", "-sS", "--cacert", shared.authority.pem, "--proxy", r.proxy, f"https://{name}/", check=False)
    until(lambda: len(flows(tmp_path / "refused.tape")) == 10, "what the last client's alert said", r.process)
    r.stop()
    lines = [line for line in r.log().splitlines() if "refused our certificate" in line]
    assert sorted(line.rsplit(" ", 1)[1] for line in lines) == names
    assert "10 errors" in r.log()
    origin.close()


def test_a_connection_that_is_not_used_is_no_refusal_where_others_are(ringtape, tmp_path, shared):
    """Browsers open connections to have them at hand."""
    origin = Origin(*shared.authority.issue("good"))
    tape = tmp_path / "spare.tape"
    r = ringtape("record", "-o", tape, "--workers", "2")
    context = ssl.create_default_context(cafile=shared.ca)
    for use in (True, False, False, True, False):
        s = socket.create_connection(("127.0.0.1", r.port), PATIENCE_S)
        s.sendall(f"CONNECT localhost:{origin.port} HTTP/1.1\r\nHost: localhost:{origin.port}\r\n\r\n".encode())
        assert s.recv(65536).startswith(b"HTTP/1.1 200")
        with context.wrap_socket(s, server_hostname="localhost") as tls:
            if use:
                tls.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
                assert tls.recv(65536).startswith(b"HTTP/1.1 200")
    r.stop()
    assert "refused" not in r.log()
    assert [(f["method"], f["complete"]) for f in flows(tape)] == [("GET", 1)] * 2
    origin.close()


@pytest.mark.parametrize("how, word", [("fin", "closed: "), ("rst", "reset: ")])
def test_a_client_that_hangs_up_in_the_handshake_leaves_a_row(ringtape, tmp_path, shared, how, word):
    """It may have refused the certificate without a word, or not."""
    origin = Origin(*shared.authority.issue("good"))
    tape = tmp_path / "silent.tape"
    r = ringtape("record", "-o", tape)
    hello, out = ssl.MemoryBIO(), ssl.MemoryBIO()
    tls = ssl.create_default_context().wrap_bio(hello, out, server_hostname="localhost")
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    with socket.create_connection(("127.0.0.1", r.port), PATIENCE_S) as s:
        s.sendall(f"CONNECT localhost:{origin.port} HTTP/1.1\r\nHost: localhost:{origin.port}\r\n\r\n".encode())
        assert s.recv(65536).startswith(b"HTTP/1.1 200")
        s.sendall(out.read())
        assert s.recv(65536)[0] == 22  # our certificate is on its way
        if how == "rst":
            s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    until(lambda: flows(tape), "a row on the tape")
    r.stop()
    (flow,) = flows(tape)
    assert flow["kind"] == "tunnel" and flow["complete"] == 0 and flow["error"].startswith(word + "the client ended the TLS handshake with us")
    assert r.log().count("a client seems to have refused our certificate for localhost (the peer ") == 1
    origin.close()
