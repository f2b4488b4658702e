"""Other protocols after CONNECT: each direction ends by itself, and real programs (SSH, MQTT) go through, land on the tape, and replay."""

import contextlib
import json
import os
import pathlib
import socket
import subprocess
import tempfile

import pytest
from raw import Client
from raw import raw_origin  # noqa: F401
from support import PATIENCE_S, clean_env, flows, rows, run, until


@pytest.mark.parametrize("backend", ["io_uring", "epoll"])
def test_the_client_goes_on_after_the_origins_end(ringtape, raw_origin, tmp_path, backend):  # noqa: F811
    tape = tmp_path / "t.tape"
    heard = []

    def script(peer):
        assert peer.exactly(6) == b"\x00hello"
        peer.send(b"welcome")
        peer.finish()
        heard.append(peer.rest())

    origin = raw_origin(script)

    def ask(port):
        with Client(port) as c:
            c.connect(origin.authority)
            c.send(b"\x00hello")
            said = c.rest()  # up to the origin's FIN
            c.send(b"one more")
            c.send(b" thing")
            c.finish()
            return said

    r = ringtape("record", "-o", tape, "--backend", backend)
    assert ask(r.port) == b"welcome"
    origin.stop()
    assert heard == [b"one more thing"]
    r.stop()
    (flow,) = flows(tape)
    assert (flow["kind"], flow["complete"], flow["error"], flow["request_bytes"], flow["response_bytes"]) == ("tunnel", 1, None, 20, 7)
    messages = rows(tape, "select direction, payload from message order by seq")
    assert b"".join(m["payload"] for m in messages if m["direction"] == "request") == b"\x00helloone more thing"
    r = ringtape("replay", tape, "--backend", backend)
    assert ask(r.port) == b"welcome"
    r.stop()


@pytest.mark.parametrize("how", ["origin resets", "client resets", "client leaves"])
def test_what_follows_a_half_closed_tunnel(ringtape, raw_origin, tmp_path, how):  # noqa: F811
    """Whatever the other side does then, what was said is complete, and both connections end."""
    tape = tmp_path / "t.tape"

    def script(peer):
        assert peer.exactly(6) == b"\x00hello"
        peer.send(b"welcome")
        peer.finish()
        if how == "origin resets":
            peer.reset()
        else:
            with contextlib.suppress(ConnectionResetError):
                peer.rest()

    origin = raw_origin(script)
    r = ringtape("record", "-o", tape)
    c = Client(r.port).connect(origin.authority)
    c.send(b"\x00hello")
    with contextlib.suppress(ConnectionResetError):
        assert c.rest() == b"welcome"
    if how == "client resets":
        c.reset()
    else:
        c.close()
    origin.stop()
    until(lambda: flows(tape, "complete"), "the row")
    r.stop()
    assert [(f["error"], f["response_bytes"]) for f in flows(tape)] == [(None, 7)]


@contextlib.contextmanager
def mosquitto(folder):
    with socket.create_server(("127.0.0.1", 0)) as chosen:
        port = chosen.getsockname()[1]
    conf = folder / "mosquitto.conf"
    conf.write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n" + ("user root\n" if os.geteuid() == 0 else ""))
    p = subprocess.Popen(["/usr/sbin/mosquitto", "-c", conf], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    def answers():
        with contextlib.suppress(OSError):
            socket.create_connection(("127.0.0.1", port), 1).close()
            return True
    try:
        until(answers, "mosquitto", p)
        yield port
    finally:
        p.terminate()
        p.wait(PATIENCE_S)


@contextlib.contextmanager
def door(proxy, port):
    """A local port that leads through the proxy's CONNECT to `port`, by ncat."""
    with socket.create_server(("127.0.0.1", 0)) as chosen:
        local = chosen.getsockname()[1]
    command = f"ncat --proxy 127.0.0.1:{proxy.port} --proxy-type http localhost {port}"
    p = subprocess.Popen(["ncat", "-l", "-k", "127.0.0.1", str(local), "--sh-exec", command], start_new_session=True, env=clean_env())
    try:
        until(lambda: f"{local:04X}" in pathlib.Path("/proc/net/tcp").read_text(), "ncat", p)
        yield local
    finally:
        p.terminate()
        p.wait(PATIENCE_S)


def tunnels_now(r):
    with Client(r.port) as c:
        counters = json.loads(c.ask(b"GET http://ringtape/counters.json HTTP/1.1\r\nHost: ringtape\r\n\r\n").body)
    return counters["exchanges_now"] - 1  # this question is one


def test_mqtt(ringtape, tmp_path):
    """A message that is kept by the broker and fetched by another client, each through a tunnel. MQTT's bytes are the same each time, so that they
    can be replayed; a client that says others is told apart at the first of them."""
    tape = tmp_path / "t.tape"

    def publish(local, what="hello, world"):
        run("mosquitto_pub", "-h", "127.0.0.1", "-p", local, "-i", "writer", "-t", "news", "-m", what, "-r")

    def fetch(local, topic="news", check=True):
        return run("mosquitto_sub", "-h", "127.0.0.1", "-p", local, "-i", "reader", "-t", topic, "-C", "1", "-W", "30", check=check).stdout

    with mosquitto(tmp_path) as port:
        r = ringtape("record", "-o", tape)
        with door(r, port) as local:
            publish(local)
            assert fetch(local) == b"hello, world\n"
        r.stop()
    found = flows(tape)
    assert [(f["kind"], f["port"], f["complete"], f["error"]) for f in found] == [("tunnel", port, 1, None)] * 2
    assert all(f["request_bytes"] > 20 and f["response_bytes"] >= 4 for f in found)
    assert rows(tape, "select 1 from message where direction = 'response' and instr(payload, 'hello, world')")
    report = tmp_path / "report.json"
    r = ringtape("replay", tape, "--report", report)
    with door(r, port) as local:
        publish(local)
        assert fetch(local) == b"hello, world\n"
    r.stop()
    told = json.loads(report.read_text())
    assert (told["served"], told["missed"], told["unused"], told["network_connects"]) == (2, 0, 0, 0)
    r = ringtape("replay", tape, "--report", report)
    with door(r, port) as local:
        run("mosquitto_pub", "-h", "127.0.0.1", "-p", local, "-i", "writer", "-t", "news", "-m", "hello, earth", "-r", check=False)
        until(lambda: tunnels_now(r) == 0, "the end of the tunnel", r.process)
    r.stop(expect=None)
    (miss,) = json.loads(report.read_text())["misses"]
    (difference,) = miss["nearest"][0]["differences"]
    assert difference["field"].startswith("bytes:"), miss
    said = [difference[which] for which in ("recorded", "actual")]  # in hex where it came in one piece with the DISCONNECT, which is no text
    assert [bytes.fromhex(text[4:])[:5] if text.startswith("hex ") else text.encode() for text in said] == [b"world", b"earth"], miss


@contextlib.contextmanager
def s_server(shared):
    """Says each line back to front, to clients with a certificate of the origins' CA."""
    pem, key = shared.authority.issue("good")
    with socket.create_server(("127.0.0.1", 0)) as chosen:
        port = chosen.getsockname()[1]
    p = subprocess.Popen(["openssl", "s_server", "-accept", f"127.0.0.1:{port}", "-cert", pem, "-key", key, "-CAfile", shared.authority.pem, "-Verify", "1",
                          "-verify_return_error", "-rev", "-quiet"], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        until(lambda: f"0100007F:{port:04X} 00000000:0000 0A" in pathlib.Path("/proc/net/tcp").read_text(), "s_server", p)
        yield port
    finally:
        p.kill()
        p.wait(PATIENCE_S)


def s_client(r, shared, port, *more):
    """What comes back for one line, and the exit code."""
    client = subprocess.Popen(["openssl", "s_client", "-proxy", f"127.0.0.1:{r.port}", "-connect", f"localhost:{port}", "-CAfile", shared.authority.pem,
                               "-verify_return_error", "-quiet", "-no_ign_eof", *more], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=clean_env())
    try:
        with contextlib.suppress(BrokenPipeError):
            client.stdin.write(b"hello\n")
            client.stdin.flush()
        said = client.stdout.readline()
        with contextlib.suppress(BrokenPipeError):
            client.stdin.close()
        return said, client.stdout.read(), client.wait(PATIENCE_S)
    finally:
        client.kill()
        client.wait()
        client.stdout.close()


@pytest.mark.parametrize("version", ["-tls1_2", "-tls1_3"])
def test_tls_with_a_client_certificate(ringtape, shared, tmp_path, version):
    """--pass: the two ends see each other's certificates; the tape has bytes and times and nothing in clear. Its replay ends at the first byte
    that differs, since no handshake is like another, and says so."""
    tape, report = tmp_path / "t.tape", tmp_path / "report.json"
    with s_server(shared) as port:
        r = ringtape("record", "-o", tape, "--pass", f"localhost:{port}")
        pem, key = shared.authority.issue("client", usage="clientAuth")
        assert s_client(r, shared, port, version, "-cert", pem, "-key", key)[:2] == (b"olleh\n", b"")
        assert s_client(r, shared, port, version)[0] == b"", "without one the server says nothing"
        r.stop()
    found = flows(tape)
    assert [(f["kind"], f["host"], f["port"], f["complete"]) for f in found] == [("tunnel", "localhost", port, 1)] * 2
    first, second = found
    messages = rows(tape, "select direction, kind, at_ns, payload from message where flow = ? order by seq", first["id"])
    assert {m["kind"] for m in messages} == {"bytes"} and [m["at_ns"] for m in messages] == sorted(m["at_ns"] for m in messages)
    whole = {side: b"".join(m["payload"] for m in messages if m["direction"] == side) for side in ("request", "response")}
    assert (len(whole["request"]), len(whole["response"])) == (first["request_bytes"], first["response_bytes"])
    assert whole["request"][:2] == whole["response"][:2] == b"\x16\x03" and b"hello" not in whole["request"] and b"olleh" not in whole["response"]
    assert second["request_bytes"] < first["request_bytes"]
    r = ringtape("replay", tape, "--report", report, "--pass", f"localhost:{port}")
    assert s_client(r, shared, port, version, "-cert", pem, "-key", key)[0] == b""
    r.stop(expect=None)
    told = json.loads(report.read_text())
    (miss,) = told["misses"]
    assert miss["reason"] == "different" and miss["nearest"][0]["differences"][0]["field"].startswith("bytes:"), miss
    assert told["network_connects"] == 0


@pytest.fixture
def open_folder():
    """One that another user may enter: pytest's own may not be."""
    with tempfile.TemporaryDirectory(prefix="ringtape-ssh-") as name:
        os.chmod(name, 0o755)
        yield pathlib.Path(name)


def test_ssh(ringtape, tmp_path, open_folder):
    """sftp through the tunnel: both sides speak at once. sshd serves one connection, without rights."""
    tape = tmp_path / "t.tape"
    for name in ("host", "user"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", open_folder / name)
    root = os.geteuid() == 0
    (open_folder / "sshd.conf").write_text(
        f"HostKey {open_folder}/host\nAuthorizedKeysFile {open_folder}/user.pub\nStrictModes no\nPidFile none\n"
        f"UsePAM {'yes' if root else 'no'}\nSubsystem sftp internal-sftp\nForceCommand internal-sftp\n")
    for path in (open_folder / "host", open_folder / "user.pub"):
        os.chown(path, 65534, 65534) if root else None
    (open_folder / "file").write_bytes(bytes(range(256)) * 1000)
    who = {"user": 65534, "group": 65534, "extra_groups": []} if root else {}
    sshd_log = open(tmp_path / "sshd.log", "wb")
    listener = socket.create_server(("127.0.0.1", 0))
    port = listener.getsockname()[1]
    r = ringtape("record", "-o", tape)
    user = "nobody" if root else run("id", "-un").stdout.decode().strip()
    client = subprocess.Popen(
        ["sftp", "-q", "-b", "-", "-i", open_folder / "user", "-o", "StrictHostKeyChecking=no", "-o", f"UserKnownHostsFile={open_folder}/known",
         "-o", "GlobalKnownHostsFile=none", "-o", f"ProxyCommand=ncat --proxy 127.0.0.1:{r.port} --proxy-type http %h %p", "-F", "none", "-P", str(port), f"{user}@localhost"],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, env=clean_env())
    listener.settimeout(PATIENCE_S)
    client.stdin.write(f"get {open_folder}/file {open_folder}/copy\n".encode())
    client.stdin.close()
    connection, _ = listener.accept()
    server = subprocess.Popen(["/usr/sbin/sshd", "-i", "-e", "-f", open_folder / "sshd.conf"], stdin=connection, stdout=connection, stderr=sshd_log, **who)
    connection.close()
    listener.close()
    said = client.stdout.read()
    assert client.wait(PATIENCE_S) == 0, (said, (tmp_path / "sshd.log").read_bytes())
    server.wait(PATIENCE_S)
    sshd_log.close()
    r.stop()
    assert (open_folder / "copy").read_bytes() == (open_folder / "file").read_bytes()
    (flow,) = flows(tape)
    assert (flow["kind"], flow["port"], flow["complete"], flow["error"]) == ("tunnel", port, 1, None) and flow["response_bytes"] > 256000
    first = {m["direction"]: m["payload"] for m in rows(tape, "select direction, payload from message order by seq desc")}
    assert first["request"].startswith(b"SSH-2.0-") and first["response"].startswith(b"SSH-2.0-")
