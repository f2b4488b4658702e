"""1xx with real peers on both versions: early hints, several before the final head, and bodies that are sent only when they are asked for."""

import json

import pytest
from origins import go_h2origin
from programs import CLIENTS
from support import flows, rows

VERSIONS = pytest.mark.parametrize("version", ["--http1.1", "--http2"])
SPOKEN = {"--http1.1": "HTTP/1.1", "--http2": "HTTP/2"}
SIZE = 3_000_000  # curl expects a 100 from 1 MB on


@pytest.fixture
def origin(tmp_path, shared):
    o = go_h2origin(tmp_path, shared.authority)
    yield o
    o.stop()


def informational(tape, flow=1):
    row, = rows(tape, "select informational from flow where id = ?", flow)
    return [(status, {name.lower(): value for name, value in fields}) for status, _, fields, _ in json.loads(row["informational"] or "[]")]


@VERSIONS
def test_several_before_the_final_head(session, origin, version):
    """All of them, in their order and each with its own fields, reach the client and the tape, and come again in replay."""
    out = session.both(origin, "sh", "-c", f"curl -sS {version} --suppress-connect-headers -D - {origin.url('/many-hints')} | grep -v -i '^date'").decode()
    statuses = [int(line.split()[1]) for line in out.splitlines() if line.startswith("HTTP/")]
    assert statuses == [103, 102] * 3 + [200] and out.endswith("after many\n")
    assert [out.lower().count(f"link: </{i}.css>") for i in range(3)] == [2] * 3
    kept = informational(session.tape)
    assert [status for status, _ in kept] == [103, 102] * 3
    assert [fields["link"] for _, fields in kept] == [f"</{i // 2}.css>; rel=preload" for i in range(6)]
    flow, = session.flows
    assert (flow["status"], flow["http_version"]) == (200, SPOKEN[version])
    assert rows(session.tape, "select 1 from headers where side = 'response' and lower(name) = 'link'") == []


def test_curl_waits_for_a_100(session, origin, tmp_path):
    """A large upload over HTTP/1.1; without a 100 curl would wait until its own patience ends, which is set beyond the test's."""
    (tmp_path / "up").write_bytes(b"u" * SIZE)
    curl = ("curl", "-sS", "-D", "-", "--suppress-connect-headers", "--http1.1", "--expect100-timeout", "1000", "--data-binary", "@up",
            "-H", "Content-Type: text/plain")
    out = session.both(origin, *curl, origin.url("/sink"), least=1)
    assert out.startswith(b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 ") and out.endswith(b"%d of %d <nil>\n" % (SIZE, SIZE))
    assert [status for status, _ in informational(session.tape)] == [100]
    assert session.flows[0]["request_bytes"] == SIZE


def test_curl_is_refused_instead_of_a_100(session, origin, tmp_path):
    """The final answer comes without a 100; what was not asked for is not sent."""
    (tmp_path / "up").write_bytes(b"u" * SIZE)
    curl = ("curl", "-sS", "--http1.1", "--expect100-timeout", "1000", "--data-binary", "@up", "-w", "%{http_code} %{size_upload}\n")
    assert session.record(*curl, origin.url("/refused")) == b"too much\n413 0\n"
    flow, = flows(session.tape)
    assert (flow["status"], flow["request_bytes"], flow["response_bytes"]) == (413, 0, 9)
    assert informational(session.tape) == []


def test_node_waits_for_a_100_over_http2(session, origin):
    out = session.both(origin, "node", CLIENTS / "expect.js", origin.url("/sink"), SIZE)
    assert out == b"continue\nstatus 200\n%d of -1 <nil>\n" % SIZE
    assert [status for status, _ in informational(session.tape)] == [100]
    flow, = session.flows
    assert (flow["http_version"], flow["request_bytes"]) == ("HTTP/2", SIZE)


def test_node_is_refused_instead_of_a_100_over_http2(session, origin):
    out = session.record("node", CLIENTS / "expect.js", origin.url("/refused"), SIZE)
    assert out == b"status 413\ntoo much\n"
    flow, = flows(session.tape)
    assert (flow["http_version"], flow["status"], flow["request_bytes"], flow["response_bytes"]) == ("HTTP/2", 413, 0, 9)
