"""What an HTTP/2 origin may do to a request short of answering it: refuse it, go away, allow few streams, want HTTP/1.1."""

import http2_client
import pytest
from http2_origin import origin
from support import flows, rows


@pytest.fixture
def reverse(ringtape, shared, tmp_path):
    """Asks the origin through `record --reverse`, some requests at once; gives the bodies and the tape."""
    def ask(o, requests):
        tape = tmp_path / "origin.tape"
        r = ringtape("record", "-o", tape, "--reverse", o.url(""), "--workers", "1")
        with http2_client.connect(r.port, shared.ca) as c:
            streams = [c.get(path) if body is None else c.post(path, body) for path, body in requests]
            ends = [c.ending(s) for s in streams]
            got = [c.got[s] for s in streams]
        r.stop()
        return got, ends, tape
    return ask


def refuse(times, code=7):
    """The first requests are refused, all others answered."""
    left = [times]

    def request(connection, stream):
        if left[0]:
            left[0] -= 1
            connection.h2.reset_stream(stream, code)
        else:
            connection.answer(stream)
    return request


@pytest.mark.parametrize("body", [None, b"", b"a" * 30_000])
def test_a_refused_stream_is_sent_again(reverse, shared, body):
    """REFUSED_STREAM says that nothing was done (RFC 9113 §8.7): so a POST goes again, too, with its body."""
    with origin(shared, refuse(2)) as o:
        got, _, tape = reverse(o, [("/a", body)])
        assert got == [b"fine"] and [r[1:] for r in o.requests] == [("/a", body or b"")] * 3
    flow, = flows(tape)
    assert flow["complete"] and flow["status"] == 200


def test_refusals_without_end_are_given_up(reverse, shared):
    with origin(shared, refuse(1000)) as o:
        got, _, tape = reverse(o, [("/a", b"abc")])
        assert got[0].startswith(b"ringtape: ") and len(o.requests) == 4
    flow, = flows(tape)
    assert not flow["complete"] and flow["error"].startswith("reset") and flow["status"] == 502


def test_a_broken_stream_is_not_sent_again(reverse, shared):
    """INTERNAL_ERROR: something may have been done."""
    with origin(shared, refuse(1, code=2)) as o:
        got, _, tape = reverse(o, [("/a", b"abc")])
        assert got[0].startswith(b"ringtape: ") and len(o.requests) == 1


def test_goaway_moves_what_was_not_processed(reverse, shared):
    """A new connection takes the streams beyond the last one that the origin names."""
    def request(connection, stream):
        if connection.number > 1:
            connection.answer(stream)
        elif len(connection.done) == 3:
            connection.answer(connection.done[0])
            connection.h2.close_connection(last_stream_id=connection.done[0])
    with origin(shared, request) as o:
        got, _, tape = reverse(o, [(f"/{i}", b"x" * i) for i in range(3)])
        assert got == [b"fine"] * 3 and o.connections == 2
        assert sorted(r[1:] for r in o.requests if r[0] == 2) == [("/1", b"x"), ("/2", b"xx")]
    assert all(f["complete"] for f in flows(tape))


def test_http11_required(reverse, shared):
    with origin(shared, refuse(1, code=13)) as o:
        got, _, tape = reverse(o, [("/a", None)])
        assert got == [b"1.1"] and o.requests[-1][2] == "1.1"
    flow, = flows(tape)
    assert flow["complete"]
    assert {r["response_version"] for r in rows(tape, "select * from flow")} == {"HTTP/1.1"}


def test_few_streams_allowed(reverse, shared):
    """MAX_CONCURRENT_STREAMS of 2: never more at once, whatever the client asks for, and all are answered."""
    most = []

    def request(connection, stream):
        most.append(len(connection.done) - len(answered.setdefault(connection.number, [])))
        if len(connection.done) >= 1:
            connection.answer(stream)
            answered[connection.number].append(stream)
    answered = {}
    with origin(shared, request, streams=2) as o:
        got, _, tape = reverse(o, [(f"/{i}", None) for i in range(20)])
        assert got == [b"fine"] * 20 and max(most) <= 2
    assert len(flows(tape, "complete")) == 20


def test_sizes_on_the_wire(reverse, shared):
    """Frames of the stream, their heads included: as they came from the client and from the origin."""
    with origin(shared, refuse(0)) as o:
        got, _, tape = reverse(o, [("/a", b"x" * 1000), ("/b", None)])
    a, b = rows(tape, "select * from flow order by path")
    assert 1000 + 2 * 9 + 10 < a["request_wire_bytes"] < 1000 + 2 * 9 + 200
    assert 9 < b["request_wire_bytes"] < 9 + 200
    for flow in a, b:
        assert 2 * 9 + 4 < flow["response_wire_bytes"] < 2 * 9 + 4 + 60
