"""RFC 9218: the Priority field is end to end, in requests and in responses, whichever version carries it."""

import pytest
from http2_origin import origin as http2_origin
from raw import raw_origin  # noqa: F401 (a fixture)
from support import clean_env, rows, run

ASKED, SAID = "u=1, i, x=?0", "u=5"  # with a parameter that nobody knows


@pytest.fixture
def origins(raw_origin, shared):  # noqa: F811
    """One of each version over TLS, with the Priority fields that it saw."""
    def of_h2(connection, stream):
        origins["h2"].seen.append(connection.heads[stream].get("priority"))
        connection.h2.send_headers(stream, [(":status", "200"), ("priority", SAID)])
        connection.h2.send_data(stream, b"fine", end_stream=True)

    def of_h1(peer):
        while b"\r\n\r\n" in peer.waiting or peer.fill():
            origins["h1"].seen += [value.decode() for value in peer.request().field(b"priority")]
            peer.send(f"HTTP/1.1 200 OK\r\nPriority: {SAID}\r\nContent-Length: 4\r\n\r\nfine".encode())

    with http2_origin(shared, of_h2) as h2:
        h1 = raw_origin(of_h1, tls=shared.authority.issue("good"))
        origins = {"h1": h1, "h2": h2}
        h1.seen, h2.seen = [], []
        yield origins


@pytest.mark.parametrize("client, upper, version", [("--http2", "h2", b"HTTP/2"), ("--http1.1", "h1", b"HTTP/1.1"), ("--http2", "h1", b"HTTP/2")])
def test_the_field_passes_both_ways(ringtape, origins, shared, tmp_path, client, upper, version):
    """And is what the tape's origin says."""
    o, tape = origins[upper], tmp_path / "t.tape"
    reverse = f"https://localhost:{o.port}"

    def ask(port):
        out = run("curl", "-sS", "-D", "-", client, "-H", f"Priority: {ASKED}", "--cacert", shared.ca, f"https://127.0.0.1:{port}/", env=clean_env()).stdout
        assert out.startswith(version + b" 200")
        return [line.split(b": ", 1)[1] for line in out.split(b"\r\n") if line.lower().startswith(b"priority: ")]

    r = ringtape("record", "-o", tape, "--reverse", reverse)
    assert ask(r.port) == [SAID.encode()]
    r.stop()
    assert o.seen == [ASKED]
    assert [(h["side"], h["value"]) for h in rows(tape, "select * from headers where lower(name) = 'priority' order by side")] == [
        ("request", ASKED), ("response", SAID)]
    assert [f["response_version"] for f in rows(tape, "select * from flow")] == ["HTTP/2" if upper == "h2" else "HTTP/1.1"]
    r = ringtape("replay", tape, "--reverse", reverse)
    assert ask(r.port) == [SAID.encode()]
    r.stop()
    assert o.seen == [ASKED]
