"""A client that refuses our certificate is let through to that host without interception from then on: which refusals count, for whom, and what
the log and the tape say of it."""

import base64
import contextlib
import hashlib
import re
import socket
import ssl

import pytest
from oneshot import Origin
from support import PATIENCE_S, clean_env, export_har, flows, rows, run, until
from test_bad_tls import CLIENTS, SILENT


@pytest.fixture
def origin(shared):
    origin = Origin(*shared.authority.issue("good"))
    yield origin
    origin.close()


def call(client, r, shared, origin):
    """One run of a program that trusts the origin's authority and not ours."""
    words = dict(ca=shared.authority.pem, proxy=r.proxy, url=origin.url(), address=f"127.0.0.1:{r.port}", host=f"localhost:{origin.port}")
    argv = [word if "{" not in word or "\n" in word else word.format(**words) for word in {**CLIENTS, **SILENT}[client]]
    request = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n" if client.startswith("openssl") else b""
    argv[2:2] = ["-ign_eof"] if client.startswith("openssl") else []
    return run(*argv, check=False, input=request, env=clean_env(https_proxy=r.proxy, SSL_CERT_FILE=shared.authority.pem))


def curl(r, origin, ca, *more, check=False):
    return run("curl", "-sS", "--cacert", ca, "--proxy", r.proxy, *more, origin.url(), check=check, env=clean_env())


PASSED = (r"ringtape: warning: a client {how} ringtape's certificate for localhost \(.+\); from now on it is tunnelled without being recorded in clear; "
          r"--no-auto-pass turns that off \(to record it, make the client trust the CA: "
          r"`ringtape ca export`, `ringtape ca trust`, and start ringtape anew\)")


@pytest.mark.parametrize("client", [name for name in CLIENTS if name != "Python"])
def test_after_a_refusal_the_host_is_passed(ringtape, tmp_path, shared, origin, client):
    tape = tmp_path / "t.tape"
    r = ringtape("record", "-q", "-o", tape, "--workers", "4")
    first = call(client, r, shared, origin)
    assert first.returncode != 0 and b"secret" not in first.stdout
    for _ in range(4):  # whichever worker takes it
        assert b"secret" in call(client, r, shared, origin).stdout
    r.stop()
    (line,) = [line for line in r.log().splitlines() if "certificate" in line]
    assert re.fullmatch(PASSED.format(how="refused"), line)
    refused, *passed = flows(tape)
    assert refused["kind"] == "tunnel" and refused["complete"] == 0 and refused["error"].startswith("tls-alert: ")
    assert len(passed) == 4
    for flow in passed:
        assert (flow["kind"], flow["method"], flow["host"], flow["port"], flow["complete"], flow["error"]) == (
            "tunnel", "CONNECT", "localhost", origin.port, 1, None)
        assert flow["request_bytes"] > 200 and flow["response_bytes"] > 500 and 0 <= flow["ttfb_ms"] <= flow["total_ms"]
        times = [m["at_ns"] for m in rows(tape, "select at_ns from message where flow = ? order by seq", flow["id"])]
        assert len(times) >= 4 and times == sorted(times)
    assert not rows(tape, "select 1 from message where instr(payload, 'secret')")
    export_har(tape, tmp_path)


@pytest.mark.parametrize("client", SILENT)
def test_a_client_that_leaves_in_silence_is_believed_the_third_time(ringtape, tmp_path, shared, origin, client):
    r = ringtape("record", "-q", "-o", tmp_path / "t.tape", "--workers", "4")
    for _ in range(3):
        assert call(client, r, shared, origin).returncode != 0
    if client.startswith("wget"):
        assert call(client, r, shared, origin).stdout == b"secret"
    r.stop()
    lines = [line for line in r.log().splitlines() if "certificate" in line]
    assert len(lines) == 2 and "seems to have refused our certificate for localhost" in lines[0] and "--pass localhost" in lines[0]
    assert re.fullmatch(PASSED.format(how="seems to have refused"), lines[1])


def test_a_client_that_pins_the_key_after_the_handshake(ringtape, tmp_path, shared, origin):
    """It trusts the CA, sees the wrong key when the handshake is over, and leaves without a word."""
    pin = "sha256//" + base64.b64encode(hashlib.sha256(origin_key(shared)).digest()).decode()
    r = ringtape("record", "-o", tmp_path / "t.tape")
    both = tmp_path / "both.pem"
    both.write_bytes(shared.ca.read_bytes() + shared.authority.pem.read_bytes())
    for _ in range(3):
        assert curl(r, origin, both, "--pinnedpubkey", pin).returncode == 90
    assert curl(r, origin, both, "--pinnedpubkey", pin, check=True).stdout == b"secret"
    r.stop()
    assert [(f["kind"], f["complete"]) for f in flows(tmp_path / "t.tape")] == [("tunnel", 0)] * 3 + [("tunnel", 1)]


def origin_key(shared):
    """The public key of the origin's certificate, as DER."""
    pem = run("openssl", "x509", "-in", shared.authority.issue("good")[0], "-noout", "-pubkey").stdout
    return run("openssl", "pkey", "-pubin", "-outform", "DER", input=pem).stdout


def test_a_host_that_some_client_trusts_us_for_is_not_passed(ringtape, tmp_path, shared, origin):
    """It is the client that lacks the CA: what the others say there must stay on the tape in clear."""
    tape = tmp_path / "t.tape"
    r = ringtape("record", "-q", "-o", tape)
    assert curl(r, origin, shared.ca, check=True).stdout == b"secret"
    for _ in range(3):
        assert curl(r, origin, shared.authority.pem).returncode == 60
    assert curl(r, origin, shared.ca, check=True).stdout == b"secret"
    r.stop()
    (line,) = [line for line in r.log().splitlines() if "certificate" in line]
    assert line.endswith("or leave that host alone with --pass localhost")
    assert [(f["kind"], f["complete"]) for f in flows(tape)] == [("http", 1)] + [("tunnel", 0)] * 3 + [("http", 1)]


def test_one_client_does_not_switch_interception_off_for_another(ringtape, tmp_path, shared, origin):
    """Another address, another track, another name in the tunnel, and another port are not concerned."""
    tape = tmp_path / "t.tape"
    other = Origin(*shared.authority.issue("good"))
    r = ringtape("record", "-q", "-o", tape)
    assert curl(r, origin, shared.authority.pem).returncode == 60
    assert curl(r, origin, shared.authority.pem, check=True).stdout == b"secret"
    # Those that do not trust us are refused their first time: it is not passed for them. The CA is never trusted here: that would end it.
    assert curl(r, origin, shared.authority.pem, "--interface", "127.0.0.2").returncode == 60
    assert curl(r, origin, shared.authority.pem, "--proxy-user", "login:").returncode == 60
    assert curl(r, origin, shared.authority.pem, "--connect-to", f"::127.0.0.1:{origin.port}").returncode == 60
    assert curl(r, other, shared.authority.pem).returncode == 60
    # And each of them is let through by itself.
    assert curl(r, origin, shared.authority.pem, "--interface", "127.0.0.2", check=True).stdout == b"secret"
    assert curl(r, origin, shared.authority.pem, "--proxy-user", "login:", check=True).stdout == b"secret"
    r.stop()
    other.close()
    assert [f["complete"] for f in flows(tape)] == [0, 1, 0, 0, 0, 0, 1, 1]
    assert len([line for line in r.log().splitlines() if "certificate" in line]) == 1, "one line a host"


def test_no_auto_pass_leaves_it_at_the_refusal(ringtape, tmp_path, shared, origin):
    r = ringtape("record", "-q", "-o", tmp_path / "t.tape", "--no-auto-pass")
    for _ in range(3):
        assert curl(r, origin, shared.authority.pem).returncode == 60
    r.stop()
    (line,) = [line for line in r.log().splitlines() if "certificate" in line]
    assert line.endswith("or leave that host alone with --pass localhost")
    assert [f["complete"] for f in flows(tmp_path / "t.tape")] == [0, 0, 0] and not origin.asked


def test_a_passed_host_is_forgotten_with_the_process(ringtape, tmp_path, shared, origin):
    for n in range(2):
        r = ringtape("record", "-q", "-o", tmp_path / f"{n}.tape")
        assert curl(r, origin, shared.authority.pem).returncode == 60
        assert curl(r, origin, shared.authority.pem, check=True).stdout == b"secret"
        r.stop()


def gone(s):
    """Reads until the proxy has hung up; what it had not read makes that a reset."""
    with contextlib.suppress(ConnectionResetError):
        while s.recv(65536):
            pass


def test_alerts_that_say_nothing_of_the_certificate_pass_nothing(ringtape, tmp_path, shared, origin):
    """A client that breaks off for another reason, and one that leaves in the middle, twice."""
    r = ringtape("record", "-o", tmp_path / "t.tape")

    def begin():
        s = socket.create_connection(("127.0.0.1", r.port), PATIENCE_S)
        s.sendall(f"CONNECT localhost:{origin.port} HTTP/1.1\r\nHost: localhost:{origin.port}\r\n\r\n".encode())
        assert s.recv(65536).startswith(b"HTTP/1.1 200")
        hello, out = ssl.MemoryBIO(), ssl.MemoryBIO()
        tls = ssl.create_default_context().wrap_bio(hello, out, server_hostname="localhost")
        with pytest.raises(ssl.SSLWantReadError):
            tls.do_handshake()
        s.sendall(out.read())
        assert s.recv(65536)[0] == 22  # our certificate is on its way
        return s

    for alert in (40, 80, 10, 51):  # handshake_failure, internal_error, unexpected_message, decrypt_error
        with begin() as s:
            s.sendall(bytes([21, 3, 3, 0, 2, 2, alert]))
            gone(s)
    for _ in range(2):
        begin().close()
    until(lambda: len(flows(tmp_path / "t.tape")) == 6, "six rows")
    with begin() as s:  # intercepted all the same
        s.sendall(bytes([21, 3, 3, 0, 2, 2, 48]))
        gone(s)
    r.stop()
    assert "from now on" in r.log() and r.log().count("from now on") == 1 and "unknown_ca" in r.log()
    assert [f["kind"] for f in flows(tmp_path / "t.tape")] == ["tunnel"] * 7 and not any(f["complete"] for f in flows(tmp_path / "t.tape"))


def test_replay_passes_nothing(ringtape, session, tmp_path, shared, origin):
    """There is nowhere to tunnel to."""
    session.record("curl", "-sS", origin.url())
    r = ringtape("replay", session.tape)
    for _ in range(3):
        assert curl(r, origin, shared.authority.pem).returncode == 60
    assert curl(r, origin, shared.ca, check=True).stdout == b"secret"
    r.stop()
    assert "from now on" not in r.log()
