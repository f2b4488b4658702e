"""Promise 23: the certificates that ringtape mints are accepted by strict verifiers that no one here wrote, for every kind of name.

Each kind of name has an origin with a certificate of its own, all in one nginx; --connect-to leads every name to its port, so that nothing is
looked up. So that no verifier passes by accepting everything, each is shown two more: a certificate of our CA for another name, and the right ones
without our CA.
"""

import contextlib
import re
import socket
import threading
import types

import pytest
from programs import CLIENTS, go_client, java_client
from support import PATIENCE_S, Nginx, Ports, Ringtape, clean_env, flows, run

LONG = ".".join(("a" * 63, "b" * 63, "c" * 63, "d" * 48 + ".example.test"))
assert len(LONG) == 253  # the longest that DNS allows; X.520's common name ends at 64
NAMES = {
    "plain": ("plain.example.test", "DNS:plain.example.test"),
    "wildcard": ("any.wild.example.test", "DNS:*.wild.example.test"),
    "ipv4": ("127.0.0.1", "IP:127.0.0.1"),
    "ipv6": ("::1", "IP:::1"),
    "long": (LONG, f"DNS:{LONG}"),
    "idn": ("xn--bcher-kva.example.test", "DNS:xn--bcher-kva.example.test"),
}
HOSTS = [host for host, _ in NAMES.values()]
OTHER = "other.example.test"  # tunnelled to a certificate that our CA signed, for a name that is not this one

SERVER = "server {{ listen 127.0.0.1:{port} ssl reuseport; ssl_certificate {pem}; ssl_certificate_key {key};\n"
PAGE = """<!doctype html><meta charset=utf-8><pre id=out></pre><script>
Promise.all([%s].map(host => fetch('https://' + host + '/hello.txt', {mode: 'no-cors'}).then(() => 'accepted ' + host, e => 'refused ' + host)))
  .then(lines => { document.getElementById('out').textContent = lines.join('\\n') + '\\nend'; });
</script>
"""


def bracketed(host):
    return f"[{host}]" if ":" in host else host


class OurAuthority:
    """Certificates signed by ringtape's own CA, made by the openssl command."""

    def __init__(self, ca_dir, folder):
        self.ca, self.key, self.folder = ca_dir / "ca.pem", ca_dir / "ca-key.pem", folder

    def issue(self, name):
        pem, key, csr, ext = (self.folder / f"ours.{s}" for s in ("pem", "key", "csr", "ext"))
        ext.write_text(f"subjectAltName=DNS:{name}\nbasicConstraints=critical,CA:FALSE\nextendedKeyUsage=serverAuth\n"
                       "authorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n")
        run("openssl", "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-subj", f"/CN={name}",
            "-out", csr)
        run("openssl", "x509", "-req", "-in", csr, "-CA", self.ca, "-CAkey", self.key, "-set_serial", 77, "-days", 20, "-out", pem, "-extfile", ext)
        return pem, key


class Matrix:
    """The origins and one ringtape before them."""

    def __init__(self, folder, shared):
        self.folder, self.ca, self.wrong_ca = folder, shared.ca, shared.authority.pem
        origin = folder / "origin"
        origin.mkdir()
        self.ports = Ports()
        servers, self.connect_to = [], []
        for kind, (host, san) in {**NAMES, "other": (OTHER, None)}.items():
            # Each has one name more, by which a leaf shows that it mirrors its origin's certificate.
            pem, key = (shared.authority.issue(f"matrix-{kind}", san=f"{san},DNS:mirror-{kind}.example.test") if san
                        else OurAuthority(shared.ca_dir, folder).issue("not-this-one.example.test"))
            port = self.ports.take()
            servers.append(SERVER.format(port=port, pem=pem, key=key))
            self.connect_to += ["--connect-to", f"{bracketed(host)}:443:127.0.0.1:{port}"]
        # The block of the configuration is closed, others follow, and the last is left to be closed.
        self.nginx = Nginx(origin, shared.authority, extra="}\n" + "}\n".join(servers))
        (self.nginx.www / "page.html").write_text(PAGE % ", ".join(repr(bracketed(host)) for host in [*HOSTS, OTHER]))
        self.ringtape = Ringtape(folder, "record", "--no-auto-pass", "-o", folder / "verifiers.tape", "--upstream-ca", shared.authority.pem, "--pass", OTHER,
                                 *self.connect_to, ca_dir=shared.ca_dir)

    def stop(self):
        if self.ringtape.process.poll() is None:
            self.ringtape.stop()
        self.nginx.stop()
        self.ports.close()


@pytest.fixture(scope="module")
def matrix(tmp_path_factory, shared):
    m = Matrix(tmp_path_factory.mktemp("matrix"), shared)
    yield m
    m.stop()


def read(lines):
    """{host: None, or why it was refused} of a client's lines."""
    told = {}
    for line in lines.decode().splitlines():
        word, _, rest = line.partition(" ")
        if word in ("accepted", "refused"):
            host, _, why = rest.partition(" ")
            told[host.strip("[]")] = None if word == "accepted" else why or "refused"
    return told


def splice(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the other direction ended


@contextlib.contextmanager
def tunnel(m, host):
    """The port of a listener whose one connection leads through the proxy, for clients that know of none."""
    with socket.create_server(("127.0.0.1", 0)) as listener, socket.create_connection(("127.0.0.1", m.ringtape.port), PATIENCE_S) as proxy:
        target = f"{bracketed(host)}:443"
        proxy.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        answer = b""
        while not answer.endswith(b"\r\n\r\n"):
            answer += proxy.recv(1)
        assert answer.startswith(b"HTTP/1.1 200 "), answer

        listener.settimeout(PATIENCE_S)

        def serve():
            client, _ = listener.accept()
            client.settimeout(PATIENCE_S)
            with client:
                back = threading.Thread(target=splice, args=(proxy, client))
                back.start()
                splice(client, proxy)
                back.join()

        thread = threading.Thread(target=serve)
        thread.start()
        yield listener.getsockname()[1]
        thread.join()


# --- the verifiers: {host: None, or why it was refused} for a CA and hosts --------------------------------------------


def with_openssl(m, ca, hosts, *options):
    """`openssl s_client -x509_strict`; the leaf it was shown stays as a file, for `openssl verify`."""
    told = {}
    for host in hosts:
        address = re.fullmatch(r"[0-9.]+|.*:.*", host)
        names = ["-noservername", "-verify_ip", host] if address else ["-servername", host, "-verify_hostname", host]
        with tunnel(m, host) as port:  # s_client's own -proxy leaves the brackets of an address out
            done = run("openssl", "s_client", "-connect", f"127.0.0.1:{port}", "-CAfile", ca, "-x509_strict", "-verify_return_error",
                       *names, *options, input=b"", env=clean_env(), check=False)
        why = re.search(rb"^Verification error: (.*)$", done.stdout, re.MULTILINE)
        told[host] = why.group(1).decode() if why else None if done.returncode == 0 and b"Verification: OK\n" in done.stdout else done.stderr.decode()
        if told[host] is None:
            leaf = re.search(rb"-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----\n", done.stdout, re.DOTALL).group()
            (m.folder / f"{HOSTS.index(host)}.pem").write_bytes(leaf)
    return told


def with_python(m, ca, hosts):
    return read(run("/usr/bin/python3", CLIENTS / "tls.py", m.ringtape.port, ca, *hosts, env=clean_env()).stdout)


def with_node(m, ca, hosts):
    return read(run("node", CLIENTS / "tls.js", m.ringtape.port, ca, *hosts, env=clean_env()).stdout)


def with_go(m, ca, hosts):
    return read(run(go_client(), "tls", ca, *hosts, env=m.ringtape.env(ca)).stdout)


def with_java(m, ca, hosts):
    return read(run("java", *java_client("TlsClient"), m.ringtape.port, ca, *hosts, env=clean_env()).stdout)


def with_gnutls(m, ca, hosts):
    told = {}
    for host in hosts:
        named = [] if re.fullmatch(r"[0-9.]+|.*:.*", host) else ["--sni-hostname", host]
        with tunnel(m, host) as port:
            done = run("gnutls-cli", "--x509cafile", ca, "--verify-hostname", host, *named, "-p", port, "127.0.0.1", input=b"", env=clean_env(),
                       check=False)
        why = re.search(rb"^- Status: (The certificate is NOT trusted.*)$", done.stdout, re.MULTILINE)
        told[host] = why.group(1).decode() if why else None if done.returncode == 0 else done.stderr.decode()
    return told


def with_chromium(m, ca, hosts):
    """One start that asks for all of them."""
    profile = m.folder / f"chromium-{ca.stem}"
    page = run("sh", CLIENTS / "chromium.sh", m.nginx.url("/page.html"), profile, env=clean_env(RINGTAPE_PROXY=m.ringtape.proxy, RINGTAPE_CA=ca)).stdout
    assert b"\nend</pre>" in page, page
    told = read(page.replace(b"<pre id=\"out\">", b"\n"))
    return {host: told[host] for host in hosts}


VERIFIERS = [with_openssl, with_python, with_node, with_go, with_java, with_gnutls, with_chromium]
ACCEPTED = {host: None for host in HOSTS}
# What they say of a certificate for another name, and of one whose issuer they do not know. Chromium's page is told nothing.
WRONG_NAME = re.compile(r"host ?name mismatch|altnames|is valid for|alternative DNS name|does not match|^refused$", re.IGNORECASE)
UNKNOWN_CA = re.compile(r"issuer|unknown authority|unable to find valid certification path|unable to verify|self.signed|^refused$", re.IGNORECASE)


@pytest.mark.parametrize("verifier", VERIFIERS, ids=lambda v: v.__name__[5:])
def test_leaves_are_accepted_and_nothing_else(matrix, verifier):
    """Promise 23: our leaf for each kind of name, but not a certificate for another name, and nothing without our CA."""
    told = verifier(matrix, matrix.ca, [*HOSTS, OTHER])
    other = told.pop(OTHER)
    assert told == ACCEPTED, matrix.ringtape.log()
    assert other and WRONG_NAME.search(other), other
    told = verifier(matrix, matrix.wrong_ca, HOSTS)
    assert list(told) == HOSTS and all(why and UNKNOWN_CA.search(why) for why in told.values()), told


def test_tls12_clients_accept_them_too(matrix):
    assert with_openssl(matrix, matrix.ca, HOSTS, "-tls1_2") == ACCEPTED


def names_of(pem):
    return set(re.findall(r"DNS:([^\s,]+)", run("openssl", "x509", "-in", pem, "-noout", "-ext", "subjectAltName").stdout.decode()))


def test_leaves_of_a_replay(matrix, shared, ringtape, tmp_path):
    """Promise 2: a replay shows the names that the origin had, from the tape, and the same verifier accepts them."""
    tape = tmp_path / "names.tape"
    r = ringtape("record", "--no-auto-pass", "-o", tape, *matrix.connect_to)
    for host in HOSTS:
        got = run("curl", "-sS", "--cacert", shared.ca, "-x", r.proxy, f"https://{bracketed(host)}/hello.txt", env=clean_env()).stdout
        assert got == b"hello, world\n"
    r.stop()
    replay = types.SimpleNamespace(ringtape=ringtape("replay", tape, "--fail-on", "never"), folder=tmp_path)
    assert with_openssl(replay, shared.ca, HOSTS) == ACCEPTED
    for i, kind in enumerate(NAMES):
        assert f"mirror-{kind}.example.test" in names_of(tmp_path / f"{i}.pem")
    replay.ringtape.stop()


@pytest.mark.parametrize("version", ["1.2", "1.3"])
def test_a_refusal_is_named_with_its_remedy(matrix, ringtape, tmp_path, version):
    """A client that does not know our CA: one line that names the host and what to do, and a flow that says why."""
    tape = tmp_path / "refused.tape"
    r = ringtape("record", "--no-auto-pass", "-o", tape, *matrix.connect_to)
    done = run("curl", "-sS", "--tlsv" + version, "--tls-max", version, "-x", r.proxy, "https://plain.example.test/", env=clean_env(), check=False)
    assert done.returncode == 60, done
    r.stop()
    (line,) = [line for line in r.log().splitlines() if "refused our certificate" in line]
    assert "for plain.example.test (" in line and "unknown_ca" in line and "ringtape ca" in line and "--pass plain.example.test" in line
    (flow,) = flows(tape)
    assert flow["error"].startswith("tls-alert: ") and not flow["complete"]


def test_openssl_verify_strict(matrix):
    """Promise 23: the leaves as files; that of a name too long for a common name has an empty subject and a critical subjectAltName
    (RFC 5280 4.1.2.6)."""
    assert with_openssl(matrix, matrix.ca, HOSTS) == ACCEPTED
    for i, host in enumerate(HOSTS):
        pem = matrix.folder / f"{i}.pem"
        address = re.fullmatch(r"[0-9.]+|.*:.*", host)
        run("openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-CAfile", matrix.ca, "-verify_ip" if address else "-verify_hostname",
            host, pem)
        text = run("openssl", "x509", "-in", pem, "-noout", "-subject", "-ext", "subjectAltName").stdout.decode()
        if host == LONG:
            assert text.startswith("subject=\n") and "X509v3 Subject Alternative Name: critical" in text, text
        else:
            assert text.startswith(f"subject=CN = {host}\n") and "X509v3 Subject Alternative Name: \n" in text, text
        assert f"mirror-{list(NAMES)[i]}.example.test" in names_of(pem), text  # as the origin's, which was reached and verified
