"""Hostile and broken peers: what the other side gets to see, and what is on the tape of it.

Promise 25: strict where two parsers could differ, tolerant where it is safe, and either way on the tape. A flow that did not end as it
should has complete = 0 and a reason.
"""

import socket
import threading

import pytest
from raw import OK, Client, answering, get, post, raw_origin  # noqa: F401 (a fixture)
from support import PATIENCE_S, export_har, flows, rows, until

BACKENDS = pytest.mark.parametrize("backend", ["io_uring", "epoll"])


def recorded(r, tape):
    """Ends the recording; its flows."""
    r.stop()
    return flows(tape)


def only(found):
    assert len(found) == 1, found
    return found[0]


# --- requests that nobody may see ---------------------------------------------------------------------------------------

SMUGGLING = {
    "content-length and transfer-encoding": b"Content-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\nGET /smuggled HTTP/1.1\r\n\r\n",
    "transfer-encoding and content-length": b"Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n0\r\n\r\n",
    "two lengths": b"Content-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
    "two equal lengths": b"Content-Length: 3\r\nContent-Length: 3\r\n\r\nabc",
    "a list of lengths": b"Content-Length: 3, 4\r\n\r\nabcd",
    "a signed length": b"Content-Length: +3\r\n\r\nabc",
    "a hexadecimal length": b"Content-Length: 0x3\r\n\r\nabc",
    "an endless length": b"Content-Length: 99999999999999999999\r\n\r\nabc",
    "bare LF after a field": b"X: 1\nContent-Length: 3\r\n\r\nabc",
    "bare LF at the end of the head": b"X: 1\r\n\n",
    "bare CR in a value": b"X: 1\rContent-Length: 3\r\n\r\nabc",
    "a folded field": b"X: 1\r\n Content-Length: 3\r\n\r\nabc",
    "a folded length": b"Content-Length:\r\n 3\r\n\r\nabc",
    "white space before the colon": b"Content-Length : 3\r\n\r\nabc",
    "white space in a name": b"Content Length: 3\r\n\r\nabc",
    "a null in a value": b"X: a\x00b\r\n\r\n",
    "chunked is not the last coding": b"Transfer-Encoding: chunked, gzip\r\n\r\n0\r\n\r\n",
    "chunked twice": b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "chunked misspelt": b"Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
    "chunked behind a vertical tab": b"Transfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
    "a chunk size that is none": b"Transfer-Encoding: chunked\r\n\r\nzz\r\nabc\r\n0\r\n\r\n",
    "a signed chunk size": b"Transfer-Encoding: chunked\r\n\r\n-3\r\nabc\r\n0\r\n\r\n",
    "a chunk size with 0x": b"Transfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n",
    "a chunk size that overflows": b"Transfer-Encoding: chunked\r\n\r\n10000000000000003\r\nabc\r\n0\r\n\r\n",
    "bare LF after a chunk size": b"Transfer-Encoding: chunked\r\n\r\n3\nabc\r\n0\r\n\r\n",
    "a chunk longer than its size": b"Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n",
    "a framing field in the trailers": b"Transfer-Encoding: chunked\r\n\r\n0\r\nContent-Length: 5\r\n\r\n",
}


@pytest.mark.parametrize("vector", SMUGGLING)
@BACKENDS
def test_a_request_with_two_readings_is_refused_recorded_and_seen_by_nobody(ringtape, raw_origin, tmp_path, vector, backend):  # noqa: F811
    """Promise 25."""
    origin = raw_origin(answering(OK))
    r = ringtape("record", "-o", tmp_path / "t.tape", "--backend", backend)
    with Client(r.port) as c:
        c.send(f"POST {origin.url}/ HTTP/1.1\r\nHost: {origin.authority}\r\n".encode() + SMUGGLING[vector])
        answer = c.response()
        assert answer.status in (400, 501), answer.head
        assert answer.field(b"connection") == [b"close"]
        assert c.rest() == b"", "one answer, then the end, without a reset"
    flow = only(recorded(r, tmp_path / "t.tape"))
    assert not flow["complete"] and flow["error"].split(": ")[0] in ("ambiguous-framing", "parse", "unsupported"), flow
    assert origin.heard() == b""


@BACKENDS
def test_a_request_that_breaks_later_never_becomes_whole(ringtape, raw_origin, tmp_path, backend):  # noqa: F811
    """Promise 25. The head has been passed on by then: what the origin has stays a fragment."""
    begun = threading.Event()

    def script(peer):
        peer.until(b"3\r\nabc\r\n")
        begun.set()
        with pytest.raises((AssertionError, ConnectionResetError)):
            peer.until(b"0\r\n\r\n")

    origin = raw_origin(script)
    r = ringtape("record", "-o", tmp_path / "t.tape", "--backend", backend)
    with Client(r.port) as c:
        c.send(f"POST {origin.url}/ HTTP/1.1\r\nHost: {origin.authority}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n".encode())
        assert begun.wait(PATIENCE_S)
        c.send(b"zz\r\nGET /smuggled HTTP/1.1\r\n\r\n")
        assert c.response().status == 400
        assert c.rest() == b""
    origin.stop()
    assert b"smuggled" not in origin.heard() and b"zz" not in origin.heard()
    flow = only(recorded(r, tmp_path / "t.tape"))
    assert (flow["complete"], flow["request_bytes"]) == (0, 3) and flow["error"].startswith("ambiguous-framing: "), flow


GARBAGE = {
    "no protocol": b"\x00\x01\x02\x03\r\n\r\n",
    "a line of text": b"hello there, proxy\r\n\r\n",
    "another protocol": b"SSH-2.0-OpenSSH_9.2p1\r\n",
    "a method that is no token": b"G(T http://localhost/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "no version": b"GET http://localhost/\r\nHost: localhost\r\n\r\n",
    "a version to come": b"GET http://localhost/ HTTP/9.9\r\nHost: localhost\r\n\r\n",
    "no host": b"GET / HTTP/1.1\r\n\r\n",
    "two hosts": b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    "a port that is none": b"GET http://localhost:99999/ HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "CONNECT to nothing": b"CONNECT / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "CONNECT without a port": b"CONNECT localhost HTTP/1.1\r\nHost: localhost\r\n\r\n",
}


@pytest.mark.quick
@pytest.mark.sanitize
@BACKENDS
def test_garbage_is_answered_with_400_and_recorded(ringtape, tmp_path, backend):
    tape = tmp_path / "t.tape"
    r = ringtape("record", "-o", tape, "--backend", backend)
    for name, sent in GARBAGE.items():
        with Client(r.port) as c:
            c.send(sent)
            c.finish()
            answer = c.response()
            assert answer.status == 400 and answer.field(b"connection") == [b"close"], (name, answer.head)
            assert c.rest() == b"", name
    found = recorded(r, tape)
    assert len(found) == len(GARBAGE)
    assert all(not f["complete"] and ": " in f["error"] for f in found), found
    export_har(tape, tmp_path)


# --- origins that fail --------------------------------------------------------------------------------------------------

def after_request(act):
    """A script: reads one request, then does this."""
    def script(peer):
        peer.request()
        act(peer)
    return script


def says(data, then="close"):
    return after_request(lambda peer: (peer.send(data), getattr(peer, then)()))


BEFORE_AN_ANSWER = {
    "closes without a word": (after_request(lambda peer: peer.close()), "closed"),
    "resets without a word": (after_request(lambda peer: peer.reset()), "reset"),
    "closes in the head": (says(b"HTTP/1.1 200 OK\r\nContent-Le"), "truncated"),
    "closes after 100": (says(b"HTTP/1.1 100 Continue\r\n\r\n"), "truncated"),
    "says garbage": (says(b"\x16\x03\x01 this is no HTTP\r\n\r\n"), "parse"),
    "answers in HTTP/0.9": (says(b"<html>hello</html>"), "parse"),
    "says a status that is none": (says(b"HTTP/1.1 20 OK\r\n\r\n"), "parse"),
    "length and coding": (says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"), "ambiguous-framing"),
    "two lengths": (says(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc"), "ambiguous-framing"),
    "bare LF": (says(b"HTTP/1.1 200 OK\nContent-Length: 2\n\nok"), "ambiguous-framing"),
    "a folded field": (says(b"HTTP/1.1 200 OK\r\nX: a\r\n Content-Length: 2\r\n\r\nok"), "ambiguous-framing"),
    "informational responses without end": (says(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n" * 5000), "limit"),
    "a head without end": (says(b"HTTP/1.1 200 OK\r\n" + b"X: " + b"a" * 70000), "limit"),
    "ten thousand fields": (says(b"HTTP/1.1 200 OK\r\n" + b"X: a\r\n" * 10000 + b"\r\n"), "limit"),
}


@pytest.mark.parametrize("fault", BEFORE_AN_ANSWER)
@BACKENDS
def test_an_origin_that_fails_before_its_answer_is_a_502_and_a_row(ringtape, raw_origin, tmp_path, fault, backend):  # noqa: F811
    script, word = BEFORE_AN_ANSWER[fault]
    tape = tmp_path / "t.tape"
    origin = raw_origin(script)
    r = ringtape("record", "-o", tape, "--backend", backend)
    with Client(r.port) as c:
        answer = c.ask(get(origin))
        assert answer.status == 502
        assert answer.field(b"ringtape") == [b"error; " + word.encode()], answer.head
        assert answer.body.startswith(b"ringtape: ")
        # The client's connection is none the worse for it.
        assert c.ask(get(origin)).status == 502
    first, second = recorded(r, tape)
    for flow in (first, second):
        assert not flow["complete"] and flow["error"].startswith(word + ": ") and flow["status"] == 502, flow
    assert all(row["answered"] for row in rows(tape, "select answered from flow"))
    export_har(tape, tmp_path)


HEAD = b"HTTP/1.1 200 OK\r\n"
PIECE = b"0123456789" * 100
WITHIN_AN_ANSWER = {
    "closes within a length": (HEAD + b"Content-Length: 5000\r\n\r\n" + PIECE, "close", "truncated"),
    "resets within a length": (HEAD + b"Content-Length: 5000\r\n\r\n" + PIECE, "reset", "reset"),
    "closes within a chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n" + PIECE + b"\r\n3e8\r\n0123", "close", "truncated"),
    "closes between chunks": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n" + PIECE + b"\r\n", "close", "truncated"),
    "resets within a chunk": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n" + PIECE + b"\r\n3e8\r\n0123", "reset", "reset"),
    "closes within the trailers": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n" + PIECE + b"\r\n0\r\nX: y\r\n", "close", "truncated"),
    "resets before the end that is the close": (HEAD + b"\r\n" + PIECE, "reset", "reset"),
    "a bad chunk size": (HEAD + b"Transfer-Encoding: chunked\r\n\r\n3e8\r\n" + PIECE + b"\r\nzz\r\n", "rest", "ambiguous-framing"),
}


@pytest.mark.parametrize("fault", WITHIN_AN_ANSWER)
@BACKENDS
def test_an_answer_that_breaks_off_is_cut_for_the_client_and_incomplete_on_the_tape(ringtape, raw_origin, tmp_path, fault,  # noqa: F811
                                                                                    backend):
    sent, then, word = WITHIN_AN_ANSWER[fault]
    tape = tmp_path / "t.tape"
    seen = threading.Event()

    def script(peer):
        peer.request()
        peer.send(sent)
        assert seen.wait(PATIENCE_S)
        getattr(peer, then)()

    origin = raw_origin(script)
    r = ringtape("record", "-o", tape, "--backend", backend)
    with Client(r.port) as c:
        c.send(get(origin))
        head = c.until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 OK\r\n")
        c.until(PIECE)  # promise 16: it is there before the end comes
        seen.set()
        try:
            left = c.rest()
        except ConnectionResetError:
            left = b""
        assert b"0\r\n\r\n" not in left, "the client must not take it for the whole"
    flow = only(recorded(r, tape))
    assert (flow["status"], flow["complete"]) == (200, 0) and flow["error"].startswith(word + ": "), flow
    assert flow["response_bytes"] >= len(PIECE)
    (body,) = rows(tape, "select content from bodies where side = 'response'")
    assert body["content"].startswith(PIECE)
    export_har(tape, tmp_path)


@BACKENDS
def test_tls_that_ends_without_its_farewell_is_no_complete_answer(ringtape, raw_origin, tmp_path, shared, backend):  # noqa: F811
    """A body that ends with the connection, and a connection that anybody on the way may have cut."""
    tape = tmp_path / "t.tape"

    def script(peer):
        if not peer.fill():
            return  # only asked for its certificate
        peer.request()
        peer.send(HEAD + b"\r\n" + PIECE)
        if b"/whole" in peer.heard:
            peer.sock.unwrap()
        peer.close()

    origin = raw_origin(script, tls=shared.authority.issue("good"))
    r = ringtape("record", "-o", tape, "--backend", backend)
    for path, whole in (("/cut", False), ("/whole", True)):
        with Client(r.port) as c:
            c.connect(origin.authority).secure(shared.ca)
            c.send(f"GET {path} HTTP/1.1\r\nHost: {origin.authority}\r\n\r\n".encode())
            head = c.until(b"\r\n\r\n")
            assert b"chunked" in head.lower()
            c.until(PIECE + b"\r\n")
            if whole:
                assert c.until(b"0\r\n\r\n") == b"0\r\n\r\n"
            else:
                try:
                    assert c.rest() == b""
                except OSError:
                    pass
    cut, complete = recorded(r, tape)
    assert (cut["path"], cut["complete"]) == ("/cut", 0) and cut["error"].startswith("truncated: "), cut
    assert (complete["path"], complete["complete"], complete["error"]) == ("/whole", 1, None)


@pytest.mark.quick
@pytest.mark.sanitize
@BACKENDS
def test_origins_that_cannot_be_had_are_502_and_loops_508(ringtape, tmp_path, backend):
    tape = tmp_path / "t.tape"
    r = ringtape("record", "-o", tape, "--backend", backend)
    with socket.socket() as closed:  # bound, and listening to nobody
        closed.bind(("127.0.0.1", 0))
        nobody = closed.getsockname()[1]
        asked = [
            (f"127.0.0.1:{nobody}", 502, "refused"),
            ("nothing.invalid", 502, "resolve"),
            (f"127.0.0.1:{r.port}", 508, "loop"),
            (f"localhost:{r.port}", 508, "loop"),
        ]
        for authority, status, word in asked:
            with Client(r.port) as c:
                answer = c.ask(f"GET http://{authority}/ HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
                assert answer.status == status and answer.field(b"ringtape") == [b"error; " + word.encode()], (authority, answer.head, answer.body)
    found = recorded(r, tape)
    assert [(f["status"], f["complete"], f["error"].split(": ")[0]) for f in found] == [(s, 0, w) for _, s, w in asked]
    export_har(tape, tmp_path)


@BACKENDS
def test_bytes_that_nobody_asked_for_reach_nobody(ringtape, raw_origin, tmp_path, backend):  # noqa: F811
    """An origin that says more than its answer: the next request gets a connection of its own."""
    tape = tmp_path / "t.tape"
    planted = b"HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\nplanted"
    origin = raw_origin(answering(OK + planted))
    r = ringtape("record", "-o", tape, "--workers", 1, "--backend", backend)
    with Client(r.port) as c:
        assert c.ask(get(origin, "/1")).body == b"ok"
        assert c.ask(get(origin, "/2")).body == b"ok"
    assert len(origin.peers) == 2
    assert [f["complete"] for f in recorded(r, tape)] == [1, 1]
    assert {row["error"] for row in rows(tape, "select error from connection where side = 'server'")} != {None}


# --- clients that go ----------------------------------------------------------------------------------------------------

def gone(r, tape, path):
    """Waits until the tape says why the flow ended."""
    return only(until(lambda: flows(tape, f"path = '{path}' and error is not null"), "the row's reason", r.process))


@pytest.mark.parametrize("how", ["reset", "close"])
@BACKENDS
def test_a_client_that_hangs_up_within_the_answer(ringtape, raw_origin, tmp_path, how, backend):  # noqa: F811
    tape = tmp_path / "t.tape"

    def script(peer):
        peer.request()
        peer.send(HEAD + b"Content-Length: 1000000000\r\n\r\n")
        with pytest.raises(OSError):
            while True:
                peer.send(PIECE * 50)

    origin = raw_origin(script)
    r = ringtape("record", "-o", tape, "--backend", backend)
    c = Client(r.port)
    c.send(get(origin, "/going"))
    c.until(PIECE)
    getattr(c, how)()
    flow = gone(r, tape, "/going")
    origin.stop()  # the origin was told: its script has ended
    assert (flow["status"], flow["complete"]) == (200, 0) and flow["error"].startswith("closed: "), flow
    assert len(recorded(r, tape)) == 1


@pytest.mark.parametrize("how", ["reset", "close"])
@BACKENDS
def test_a_client_that_hangs_up_within_its_request(ringtape, raw_origin, tmp_path, how, backend):  # noqa: F811
    tape = tmp_path / "t.tape"
    begun = threading.Event()

    def script(peer):
        peer.until(b"half of it")
        begun.set()
        try:
            assert peer.rest() == b""
        except ConnectionResetError:
            pass

    origin = raw_origin(script)
    r = ringtape("record", "-o", tape, "--backend", backend)
    c = Client(r.port)
    c.send(f"POST {origin.url}/going HTTP/1.1\r\nHost: {origin.authority}\r\nContent-Length: 20\r\n\r\nhalf of it".encode())
    assert begun.wait(PATIENCE_S)
    getattr(c, how)()
    flow = gone(r, tape, "/going")
    origin.stop()
    assert (flow["complete"], flow["request_bytes"]) == (0, 10) and flow["error"].split(": ")[0] in ("closed", "truncated"), flow
    assert len(recorded(r, tape)) == 1


@BACKENDS
def test_a_silent_origin_is_waited_for_and_a_client_that_gives_up_is_recorded(ringtape, raw_origin, tmp_path, backend):  # noqa: F811
    tape = tmp_path / "t.tape"
    asked = threading.Event()

    def script(peer):
        peer.request()
        if b"/other" in peer.heard:
            peer.send(OK)
            return
        asked.set()
        try:
            assert peer.rest() == b""
        except ConnectionResetError:
            pass

    origin = raw_origin(script)
    r = ringtape("record", "-o", tape, "--backend", backend)
    c = Client(r.port)
    c.send(get(origin, "/silent"))
    assert asked.wait(PATIENCE_S)
    with Client(r.port) as other:
        assert other.ask(get(origin, "/other")).body == b"ok"
    flow = only(until(lambda: flows(tape, "path = '/silent'"), "the flow in progress"))
    assert (flow["complete"], flow["error"], flow["status"]) == (0, None, None), "in progress is on the tape as just that"
    assert c.quiet()
    c.reset()
    flow = gone(r, tape, "/silent")
    origin.stop()
    assert (flow["complete"], flow["status"]) == (0, None) and flow["error"].startswith("closed: "), flow
    recorded(r, tape)


@BACKENDS
def test_an_exchange_that_is_cut_by_the_end_of_ringtape_says_so(ringtape, raw_origin, tmp_path, backend):  # noqa: F811
    tape = tmp_path / "t.tape"
    asked = threading.Event()

    def script(peer):
        peer.request()
        asked.set()
        try:
            peer.rest()
        except ConnectionResetError:
            pass

    origin = raw_origin(script)
    r = ringtape("record", "-o", tape, "--backend", backend)
    with Client(r.port) as c:
        c.send(get(origin))
        assert asked.wait(PATIENCE_S)
        r.process.terminate()
        until(lambda: not_accepting(r.port), "the listener's end")
        r.process.terminate()  # the second signal does not wait for what is in flight
        r.stop()
    flow = only(flows(tape))
    assert not flow["complete"] and flow["error"].startswith("shutdown: "), flow


def not_accepting(port):
    with socket.socket() as s:
        return s.connect_ex(("127.0.0.1", port)) != 0
