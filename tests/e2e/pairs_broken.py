"""How an origin breaks off, step by step, and scripts that do so when the client has what came before."""

import contextlib

import h2.config
import h2.connection
import h2.events
from hyperframe.frame import GoAwayFrame, RstStreamFrame
from pairs import key
from raw import Origin
from support import until

FIN, RST = "closed", "reset"
CANCEL, INTERNAL_ERROR, NO_ERROR = 8, 2, 0
OK = b"HTTP/1.1 200 OK\r\nX-Case: Kept\r\n"
LENGTH, CHUNKED = OK + b"Content-Length: 100\r\n\r\n", OK + b"Transfer-Encoding: chunked\r\n\r\n"
PIECE = b"0123456789"
HALF = PIECE * 5


class Ending:
    """`steps` of the origin; the tape's word (None: the exchange is complete), status and content. 502: the client is told by ringtape. `forgiven`: curl
    by itself takes it for the whole."""

    def __init__(self, *steps, word, status=200, content=b"", lanes=None, forgiven=False):
        self.steps, self.word, self.status, self.content, self.lanes, self.forgiven = steps, word, status, content, lanes, forgiven

    @property
    def answered(self):
        return self.status == 502


def _http1(said, how, word, content=b"", **more):
    return Ending(said, how, word=word, status=200 if b"\r\n\r\n" in said and b" 200 " in said else 502, content=content, **more)


HTTP1 = {
    "closed before an answer": _http1(b"", FIN, "closed"),
    "reset before an answer": _http1(b"", RST, "reset"),
    "closed in the status line": _http1(b"HTTP/1.1 20", FIN, "truncated"),
    "reset in the status line": _http1(b"HTTP/1.1 20", RST, "reset"),
    "closed in the head": _http1(b"HTTP/1.1 200 OK\r\nContent-Le", FIN, "truncated", forgiven=True),
    "reset in the head": _http1(b"HTTP/1.1 200 OK\r\nContent-Le", RST, "reset"),
    "closed before the end of the head": _http1(LENGTH[:-2], FIN, "truncated"),
    "no HTTP at all": _http1(b"SSH-2.0-OpenSSH\r\n", FIN, "parse"),
    "closed after 103": _http1(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", FIN, "truncated"),
    "reset after 103": _http1(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n", RST, "reset"),
    "closed after the head": _http1(LENGTH, FIN, "truncated"),
    "reset after the head": _http1(LENGTH, RST, "reset"),
    "closed in the body": _http1(LENGTH + HALF, FIN, "truncated", HALF),
    "reset in the body": _http1(LENGTH + HALF, RST, "reset", HALF),
    "closed before the last byte": _http1(LENGTH + (PIECE * 10)[:-1], FIN, "truncated", (PIECE * 10)[:-1]),
    "closed before the first chunk": _http1(CHUNKED, FIN, "truncated"),
    "closed in a chunk's size": _http1(CHUNKED + b"a\r\n" + PIECE + b"\r\n5", FIN, "truncated", PIECE),
    "closed in a chunk": _http1(CHUNKED + b"a\r\n" + PIECE + b"\r\na\r\n01234", FIN, "truncated", PIECE + b"01234"),
    "reset in a chunk": _http1(CHUNKED + b"a\r\n" + PIECE + b"\r\na\r\n01234", RST, "reset", PIECE + b"01234"),
    "closed after a chunk": _http1(CHUNKED + b"a\r\n" + PIECE + b"\r\n", FIN, "truncated", PIECE),
    "reset after a chunk": _http1(CHUNKED + b"a\r\n" + PIECE + b"\r\n", RST, "reset", PIECE),
    "closed before the trailers": _http1(CHUNKED + b"a\r\n" + PIECE + b"\r\n0\r\n", FIN, "truncated", PIECE),
    "closed in the trailers": _http1(CHUNKED + b"a\r\n" + PIECE + b"\r\n0\r\nX-Sum: 4", FIN, "truncated", PIECE),
    "a chunk's size is none": _http1(CHUNKED + b"a\r\n" + PIECE + b"\r\nzz\r\n", FIN, "ambiguous-framing", PIECE),
    "reset in a body until close": _http1(OK + b"\r\n" + PIECE, RST, "reset", PIECE),
    "closed within TLS in a body until close": _http1(OK + b"\r\n" + PIECE, FIN, "truncated", PIECE, lanes=["h1-tls-h1"], forgiven=True),
    "closed in clear after a body until close": _http1(OK + b"\r\n" + PIECE, FIN, None, PIECE, lanes=["h1-h1", "h2-tls-h1-clear"]),
}

HEAD = ("head", [(":status", "200"), ("x-case", "Kept")])
SIZED = ("head", [(":status", "200"), ("x-case", "Kept"), ("content-length", "100")])
HINTS = ("head", [(":status", "103"), ("link", "</a>")])
BODY = ("data", HALF)
HTTP2 = {
    "reset before an answer": Ending(("reset", INTERNAL_ERROR), word="reset", status=502),
    "cancelled before an answer": Ending(("reset", CANCEL), word="reset", status=502),
    "connection closed before an answer": Ending(FIN, word="closed", status=502),
    "connection reset before an answer": Ending(RST, word="reset", status=502),
    "going away with an error before an answer": Ending(("goaway", INTERNAL_ERROR), FIN, word="closed", status=502),
    "reset after 103": Ending(HINTS, ("reset", INTERNAL_ERROR), word="reset", status=502),
    "connection closed after 103": Ending(HINTS, FIN, word="truncated", status=502),
    "reset after the head": Ending(HEAD, ("reset", INTERNAL_ERROR), word="reset"),
    "connection closed after the head": Ending(HEAD, FIN, word="truncated"),
    "connection reset after the head": Ending(HEAD, RST, word="reset"),
    "reset in the body": Ending(SIZED, BODY, ("reset", INTERNAL_ERROR), word="reset", content=HALF),
    "cancelled in the body": Ending(SIZED, BODY, ("reset", CANCEL), word="reset", content=HALF),
    "reset without an error in the body": Ending(SIZED, BODY, ("reset", NO_ERROR), word="reset", content=HALF),
    "connection closed in the body": Ending(SIZED, BODY, FIN, word="truncated", content=HALF),
    "connection reset in the body": Ending(SIZED, BODY, RST, word="reset", content=HALF),
    "going away in the body, then closed": Ending(SIZED, BODY, ("goaway", NO_ERROR), FIN, word="truncated", content=HALF),
    "going away with an error in the body": Ending(SIZED, BODY, ("goaway", INTERNAL_ERROR), FIN, word="truncated", content=HALF),
    "going away in the body, then all of it": Ending(SIZED, BODY, ("goaway", NO_ERROR), BODY, ("end",), FIN, word=None, content=2 * HALF),
    "reset before the end of a body of unknown length": Ending(HEAD, BODY, ("reset", INTERNAL_ERROR), word="reset", content=HALF),
    "reset before the trailers": Ending(HEAD, BODY, BODY, ("reset", INTERNAL_ERROR), word="reset", content=2 * HALF),
    "less than Content-Length": Ending(SIZED, BODY, ("end",), word="parse", content=HALF),
    "more than Content-Length": Ending(SIZED, BODY, ("data", 2 * HALF), word="parse", content=HALF),
    "reset without an error after the end": Ending(SIZED, BODY, BODY, ("end",), ("late reset", NO_ERROR), word=None, content=2 * HALF),
}
HTTP1_BY_KEY, HTTP2_BY_KEY = ({key(name): ending for name, ending in endings.items()} for endings in (HTTP1, HTTP2))


class Progress:
    """Where the clients that are at work put what they are told: an origin goes on when the client has what came before."""

    def __init__(self):
        self.told = None

    def until(self, name, content):
        """The client has a head and this much."""
        head, body = (self.told / f"{name}.{part}" for part in ("head", "body"))
        until(lambda: head.read_bytes().count(b"\r\n\r\n") >= 1 and body.stat().st_size >= len(content), "the client to have what came")


def http1_script(progress):
    def script(peer):
        try:
            head = peer.request().head
        except AssertionError:
            return  # a connection that was not used
        name = head.split(b"cell=")[1].split()[0].decode()
        ending = HTTP1_BY_KEY[name]
        said, how = ending.steps
        if said:
            peer.send(said)
        if b"\r\n\r\n" in said:
            progress.until(name, ending.content)
        leave(peer, how)
    return script


def leave(peer, how):
    if how == RST:
        peer.reset()
        return
    peer.finish()
    with contextlib.suppress(OSError):
        peer.rest()  # to close with something unread would be a reset


class Http2Peer:
    def __init__(self, peer, progress):
        self.peer, self.progress = peer, progress
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.h2.initiate_connection()
        self.flush()

    def flush(self):
        self.peer.send(self.h2.data_to_send())

    def play(self, stream, name):
        """True: the connection is over."""
        ending, came = HTTP2_BY_KEY[name], b""
        for step in ending.steps:
            if step in (FIN, RST):
                leave(self.peer, step)
                return True
            verb, *what = step
            if verb == "head":
                self.h2.send_headers(stream, what[0])
            elif verb == "data":
                self.h2.send_data(stream, what[0])
                came += what[0]
            elif verb == "end":
                self.h2.end_stream(stream)
            elif verb == "reset":
                self.h2.reset_stream(stream, what[0])
            elif verb == "late reset":
                self.flush()
                self.peer.send(RstStreamFrame(stream, error_code=what[0]).serialize())
            elif verb == "goaway":
                self.flush()
                self.peer.send(GoAwayFrame(0, last_stream_id=stream, error_code=what[0]).serialize())
            self.flush()
            if verb in ("head", "data"):
                self.progress.until(name, came[:len(ending.content)])
        return False

    def serve(self):
        paths = {}
        while self.peer.fill():
            for event in self.h2.receive_data(self.peer.take(len(self.peer.waiting))):
                if isinstance(event, h2.events.RequestReceived):
                    paths[event.stream_id] = dict(event.headers)[":path"]
                elif isinstance(event, h2.events.StreamEnded):
                    if self.play(event.stream_id, paths[event.stream_id].split("cell=")[1]):
                        return
            self.flush()


def http2_script(progress):
    def script(peer):
        with contextlib.suppress(OSError):  # a client that goes as soon as it has all
            Http2Peer(peer, progress).serve()
    return script


def origin(lane, progress, authority):
    """An origin of all endings of the lane's version."""
    tls = authority.issue("good") if lane.straight[1] == "tls" else None
    version2 = lane.origin == "HTTP/2"
    o = Origin((http2_script if version2 else http1_script)(progress), tls)
    if tls:
        o.context.set_alpn_protocols(["h2" if version2 else "http/1.1"])
    return o

