"""gRPC (Python grpcio): every kind of call is recorded, and answered the same with the server switched off."""

import json

import pytest
from origins import PortFile
from programs import CLIENTS
from support import RINGTAPE, clean_env, flows, rows, run

PYTHON = "/usr/bin/python3"
PEER = CLIENTS / "grpc_peer.py"


@pytest.fixture
def server(tmp_path, shared):
    s = PortFile(tmp_path, "grpc", PYTHON, PEER, "server", *shared.authority.issue("good"), env=clean_env())
    yield s
    s.stop()


def legs(tape):
    return {(c["side"], c["alpn"]) for c in rows(tape, "select * from connection")}


def test_every_kind_of_call(session, server):
    out = session.both(server, PYTHON, PEER, "client", server.port, least=9).decode()
    assert "unary b'5:hellofor' StatusCode.OK" in out and "x-initial" in out and r"b'\x00\xff'" in out
    assert "large b'300000:xxxxxxxxxxfor' StatusCode.OK" in out
    assert f"client streaming {b'a++' + b'c' * 100} StatusCode.OK" in out
    assert out.count("server streaming ") == 21 and out.count("bidirectional ") == 11
    assert "trailers only StatusCode.NOT_FOUND 'no such thing: 100 % grün'" in out
    assert "no such method StatusCode.UNIMPLEMENTED" in out
    assert "error after messages 3 b'two'\nerror after messages StatusCode.DATA_LOSS 'after two'" in out
    assert legs(session.tape) == {("client", "h2"), ("server", "h2")}
    assert {f["http_version"] for f in session.flows} == {"HTTP/2"}
    statuses = dict((r["path"], r["value"]) for r in rows(session.tape, "select f.path, h.value from headers h join flow f on f.id = h.flow "
                                                          "where h.name = 'grpc-status' and h.side = 'response'"))
    assert statuses == {"/test.Peer/Sized": "0", "/test.Peer/Collected": "0", "/test.Peer/Counted": "0", "/test.Peer/Mirrored": "0",
                        "/test.Peer/Refused": "5", "/test.Peer/Nowhere": "12", "/test.Peer/Broken": "15"}


def test_calls_in_turns(session, server):
    """A client that waits for each answer before it says more gets them in replay as well, beside calls of the same path that do not wait."""
    out = session.both(server, PYTHON, PEER, "talk", server.port, "second", least=5).decode()
    assert out.count("talk StatusCode.OK") == 3 and out.count("talk 50 ") == 1, out
    assert "talk 1 b're:hello'\ntalk 2 b're:second'\n" in out and "talk 1 b're:hello'\ntalk 2 b're:another'\n" in out
    assert "all at once 6 b're:all'\n" in out and "single b're:hello' StatusCode.OK" in out
    assert session.report["served"] == 5 and session.report["repeated"] == session.report["unused"] == 0, session.report


def test_another_client_in_turns(session, server):
    """Node's HTTP/2 without a gRPC library, which cuts a call into other frames than grpcio does."""
    out = session.both(server, "node", CLIENTS / "client.js", "grpc", f"https://localhost:{server.port}/test.Peer/Mirrored", "20").decode()
    assert out == "200 application/grpc\n" + "".join(f"re:turn {i}\n" for i in range(1, 21)) + "grpc-status 0\n"


def test_another_message_in_turns_is_a_miss(session, server):
    """It ends its call, with both sides told; the other calls go on."""
    session.record(PYTHON, PEER, "talk", server.port, "second")
    server.stop()
    out = session.replay(PYTHON, PEER, "talk", server.port, "other", expect=3).decode()
    assert out.count("talk StatusCode.OK") == 1 and "single b're:hello' StatusCode.OK" in out, out
    told = [m["nearest"][0]["differences"] for m in session.report["misses"]]
    assert told == [[{"field": "message:2", "recorded": r, "actual": "\0\0\0\0\5other"[5:]}] for r in ("second", "second")], session.report


def test_deadline_and_cancellation(session, server):
    """The client leaves: the row says so, and the server is told (it would keep its handler otherwise, and ringtape its stream). A deadline is the server's,
    too (grpc-timeout): whoever's clock is first ends the call."""
    out = session.record(PYTHON, PEER, "leave", server.port).decode()
    assert "deadline 5 b'begun'\ndeadline StatusCode.DEADLINE_EXCEEDED" in out and out.endswith("b'begun'\nStatusCode.CANCELLED\n")
    two = flows(session.tape)
    assert [(f["status"], f["response_bytes"]) for f in two] == [(200, 10)] * 2, two
    left = two[1:] if two[0]["complete"] else two
    assert all(not f["complete"] and f["error"].startswith("closed: the client reset the stream") for f in left), two
    ended = rows(session.tape, "select h.value from headers h join flow f on f.id = h.flow where h.name = 'grpc-status' and f.complete")
    assert [r["value"] for r in ended] == ["4"] * (len(two) - len(left)), "DEADLINE_EXCEEDED"


def test_the_status_of_each_call_in_ls_and_show(session, server):
    """Beside the 200 that HTTP says: as a word in `ls`, with number and message in `show`, as members of --json; trailers-only as any other."""
    session.record(PYTHON, PEER, "client", server.port)
    words = {"Sized": "OK", "Collected": "OK", "Counted": "OK", "Mirrored": "OK", "Refused": "NOT_FOUND", "Nowhere": "UNIMPLEMENTED", "Broken": "DATA_LOSS"}
    lines = [line.split() for line in run(RINGTAPE, "ls", session.tape).stdout.decode().splitlines()]
    assert {(line[-1].rsplit("/", 1)[1], line[3]) for line in lines} == {(call, f"200/{word}") for call, word in words.items()}
    listed = [json.loads(line) for line in run(RINGTAPE, "ls", session.tape, "--json").stdout.splitlines()]
    told = {flow["path"].rsplit("/", 1)[1]: flow for flow in listed}
    want = {"Sized": (0, None), "Counted": (0, None), "Refused": (5, "no such thing: 100 % grün"), "Broken": (15, "after two")}
    assert {call: (told[call]["grpc_status"], told[call]["grpc_message"] or None) for call in want} == want

    def shown(call, *form):
        return run(RINGTAPE, "show", session.tape, told[call]["id"], *form).stdout.decode()

    assert "\ngrpc      5 NOT_FOUND  no such thing: 100 % grün\n" in shown("Refused")
    assert "\ngrpc      0 OK\n" in shown("Sized") and "\ngrpc      15 DATA_LOSS  after two\n" in shown("Broken")
    refused = json.loads(shown("Refused", "--json"))
    assert refused["response"]["body"]["bytes"] == 0 and (refused["grpc_status"], refused["grpc_message"]) == want["Refused"]
    messages = [json.loads(line) for line in shown("Broken", "--messages").splitlines()]
    assert [(m["direction"], m["kind"], m["text"]) for m in messages if m["direction"] == "response"] == [
        ("response", "grpc", "one"), ("response", "grpc", "two")]
    counted = [json.loads(line) for line in shown("Counted", "--messages").splitlines()]
    assert [m["text"][:1] for m in counted if m["direction"] == "response"] == [str(i)[:1] for i in range(sum(m["direction"] == "response" for m in counted))]
