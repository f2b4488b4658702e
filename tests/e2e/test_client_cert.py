"""--client-cert: origins that ask for a certificate get the one of their name, and no others; what is wrong with a file is said at once."""

import contextlib
import os
import re
import socket
import ssl
import subprocess

import pytest
from oneshot import attempt, complains
from support import Nginx, PATIENCE_S, Ports, clean_env, flows, run, until


@pytest.fixture(scope="module")
def identity(shared, tmp_path_factory):
    """A client's certificate with its key in one file, signed by the origins' CA."""
    folder = tmp_path_factory.mktemp("identity")
    key, csr, pem, both = (folder / n for n in ("key", "csr", "pem", "both.pem"))
    run("openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-subj", "/CN=alice", "-out", csr)
    ext = folder / "ext"
    ext.write_text("extendedKeyUsage=clientAuth\nbasicConstraints=critical,CA:FALSE\n")
    run("openssl", "x509", "-req", "-in", csr, "-CA", shared.authority.pem, "-CAkey", shared.authority.key, "-set_serial", "77", "-days", "5", "-out", pem,
        "-extfile", ext)
    both.write_bytes(key.read_bytes() + pem.read_bytes())
    both.chmod(0o600)
    return both


@pytest.fixture
def nginx(tmp_path, shared):
    folder = tmp_path / "origin"
    folder.mkdir()
    ports = Ports()
    mutual = {version: ports.take() for version in ("TLSv1.2", "TLSv1.3")}
    pem, key = shared.authority.issue("good")
    servers = "".join(f"}} server {{ listen 127.0.0.1:{port} ssl http2 reuseport; server_name localhost; ssl_protocols {version}; "
                      f"ssl_certificate {pem}; ssl_certificate_key {key}; ssl_client_certificate {shared.authority.pem}; ssl_verify_client on; "
                      "location / { return 200 \"$ssl_client_s_dn $server_protocol $ssl_protocol\\n\"; } " for version, port in mutual.items())
    origin = Nginx(folder, shared.authority, extra=servers)
    origin.mutual = mutual
    yield origin
    origin.stop()
    ports.close()


@contextlib.contextmanager
def s_server(shared, version):
    """`openssl s_server -Verify`: the handshake fails without a certificate."""
    pem, key = shared.authority.issue("good")
    with socket.create_server(("127.0.0.1", 0)) as chosen:
        port = chosen.getsockname()[1]
    p = subprocess.Popen(["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", pem, "-key", key, "-CAfile", shared.authority.pem, "-Verify", "1",
                          "-verify_return_error", version, "-www", "-quiet"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def answers():
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
    try:
        until(answers, "s_server", p)
        yield port
    finally:
        p.kill()
        p.wait(PATIENCE_S)


def curl(r, shared, url, *more):
    done = run("curl", "-sS", "--cacert", shared.ca, "--proxy", r.proxy, "-w", "\n%{http_code}", *more, url, env=clean_env())
    body, _, status = done.stdout.decode().rpartition("\n")
    return int(status), body


@pytest.mark.parametrize("http", ["--http1.1", "--http2"])
@pytest.mark.parametrize("version", ["TLSv1.2", "TLSv1.3"])
def test_nginx_sees_the_certificate(ringtape, tmp_path, shared, nginx, identity, version, http):
    r = ringtape("record", "-o", tmp_path / "t.tape", "--client-cert", f"localhost={identity}")
    url = f"https://localhost:{nginx.mutual[version]}/"
    protocol = {"--http1.1": "HTTP/1.1", "--http2": "HTTP/2.0"}[http]
    for _ in range(2):
        assert curl(r, shared, url, http) == (200, f"CN=alice {protocol} {version}\n")
    r.stop()
    assert [(f["status"], f["complete"]) for f in flows(tmp_path / "t.tape")] == [(200, 1)] * 2


def test_only_origins_of_that_name_see_it(ringtape, tmp_path, shared, nginx, identity):
    """By name and by port; 127.0.0.1 is another name of the same origin. nginx answers by itself when there is none."""
    port = nginx.mutual["TLSv1.3"]
    r = ringtape("record", "-o", tmp_path / "t.tape", "--client-cert", f"localhost:{port}={identity}")
    for host, port, status in (("localhost", port, 200), ("127.0.0.1", port, 400), ("localhost", nginx.mutual["TLSv1.2"], 400), ("localhost", port, 200)):
        got = curl(r, shared, f"https://{host}:{port}/")
        assert got[0] == status, (host, port, got)
    # The name inside TLS decides, not where the client lets the connection go to: it is what the origin has to prove.
    assert curl(r, shared, f"https://localhost:{port}/", "--connect-to", f"::127.0.0.1:{port}")[0] == 200
    r.stop()


@pytest.mark.parametrize("http", ["--http1.1", "--http2"])
@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_an_origin_that_requires_one(ringtape, tmp_path, shared, identity, version, http):
    with s_server(shared, version) as port:
        r = ringtape("record", "-o", tmp_path / "with.tape", "--client-cert", f"*={identity}")
        status, body = curl(r, shared, f"https://localhost:{port}/", http)
        assert status == 200 and "s_server" in body
        r.stop()
        r = ringtape("record", "-o", tmp_path / "without.tape", "--client-cert", f"other.example={identity}")
        status, body = curl(r, shared, f"https://localhost:{port}/", http)
        assert status == 502 and "asks for a client certificate" in body and "--client-cert" in body
        r.stop()
    (flow,) = flows(tmp_path / "without.tape")
    assert flow["status"] == 502 and flow["complete"] == 0 and "asks for a client certificate, see --client-cert" in flow["error"]


def test_a_certificate_that_the_origin_does_not_take(ringtape, tmp_path, shared):
    key, pem, both = (tmp_path / n for n in ("key", "pem", "both"))
    run("openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-subj", "/CN=mallory", "-days", "3", "-out", pem)
    both.write_bytes(pem.read_bytes() + key.read_bytes())
    both.chmod(0o600)
    with s_server(shared, "-tls1_2") as port:
        r = ringtape("record", "-o", tmp_path / "t.tape", "--client-cert", f"localhost={both}")
        status, body = curl(r, shared, f"https://localhost:{port}/")
        assert status == 502 and "did not take the client certificate" in body
        r.stop()


def wrong_files(folder, identity):
    """What is in the file, and what must be said."""
    text = identity.read_bytes()
    key, pem = re.findall(rb"-----BEGIN [A-Z ]+-----.*?-----END [A-Z ]+-----\n", text, re.DOTALL)
    (folder / "plain.key").write_bytes(key)
    encrypted = run("openssl", "pkey", "-in", folder / "plain.key", "-aes256", "-passout", "pass:x").stdout
    old = run("openssl", "rsa", "-in", folder / "plain.key", "-aes256", "-passout", "pass:x", "-traditional").stdout
    other = run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256").stdout
    return {
        "empty": (b"", "holds no certificate"), "text": (b"hello\n", "holds no certificate"), "no key": (pem, "holds no private key"),
        "no certificate": (key, "holds no certificate"), "encrypted": (encrypted + pem, "encrypted private key"),
        "encrypted, the old way": (pem + old, "encrypted private key"), "another's key": (pem + other, "does not belong"),
        "two keys": (pem + key + other, "more than one private key"), "damaged": (pem[:400] + key, "damaged"),
        "a certificate of nothing": (b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n" + key, "cannot be read"),
        "a key of nothing": (pem + b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n", "cannot be used"),
    }


def test_what_is_wrong_with_a_file_is_said_at_the_start(tmp_path, shared, identity):
    for name, (content, words) in wrong_files(tmp_path, identity).items():
        path = tmp_path / "it.pem"
        path.write_bytes(content)
        path.chmod(0o600)
        done = attempt("record", "-o", "t.tape", "--client-cert", f"a.example={path}", "-l0", cwd=tmp_path, ca_dir=shared.ca_dir)
        assert "PRIVATE KEY-" not in complains(done, 1, path, words), name
        assert not (tmp_path / "t.tape").exists()


def test_files_that_others_can_read_or_that_are_none(tmp_path, shared, identity):
    open_to_all = tmp_path / "open.pem"
    open_to_all.write_bytes(identity.read_bytes())
    os.chmod(open_to_all, 0o644)
    for path, words in ((open_to_all, "chmod 600"), (tmp_path / "missing", "not found"), (tmp_path, "irectory")):
        complains(attempt("record", "-o", "t.tape", "--client-cert", f"a={path}", "-l0", cwd=tmp_path, ca_dir=shared.ca_dir), 1, path, words)


def test_sessions_are_resumed_with_the_certificate_that_they_began_with(ringtape, tmp_path, shared, nginx, identity):
    """Many connections, one after the other: each is known as alice, resumed or not."""
    r = ringtape("record", "-o", tmp_path / "t.tape", "--client-cert", f"localhost={identity}", "--workers", "2")
    for version, port in nginx.mutual.items():
        for _ in range(4):
            assert curl(r, shared, f"https://localhost:{port}/", "--http1.1", "-H", "Connection: close") == (200, f"CN=alice HTTP/1.1 {version}\n")
    r.stop()


def test_replay_needs_no_certificate(session, tmp_path, shared, nginx, identity):
    command = ("curl", "-sS", f"https://localhost:{nginx.mutual['TLSv1.3']}/")
    first = session.record(*command, options=("--client-cert", f"localhost={identity}"))
    assert first.startswith(b"CN=alice ")
    nginx.stop()
    assert session.replay(*command) == first
    assert ssl.PEM_HEADER.encode() not in session.tape.read_bytes()
