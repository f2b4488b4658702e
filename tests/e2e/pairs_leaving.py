"""A client that leaves in the middle, and an origin that says what it heard until it was told."""

import contextlib
import socket
import struct
import threading

import h2.config
import h2.connection
import h2.events
import pairs_raw
from support import PATIENCE_S

TARGET = "/leave?cell=left"


class Heard:
    """Scripts of an origin that answers, if `told_of` is not None, with a head that promises 100 bytes and so many of them."""

    def __init__(self, told_of):
        self.told_of, self.body, self.asked, self.gone, self.changed = told_of, b"", False, False, threading.Condition()

    def _note(self, body=b"", asked=False, gone=False):
        with self.changed:
            self.body += body
            self.asked |= asked
            self.gone |= gone
            self.changed.notify_all()

    def _wait(self, condition, what):
        with self.changed:
            assert self.changed.wait_for(condition, PATIENCE_S), f"the origin does not hear {what}: {self.body!r}"

    def wait_request(self, body):
        self._wait(lambda: self.asked and self.body == body, "the request")

    def wait_gone(self):
        self._wait(lambda: self.gone, "that the client has left")

    def http1(self, peer):
        head = peer.until(b"\r\n\r\n")
        self._note(asked=True)
        if self.told_of is not None:
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + (b"0123456789" * 10)[:self.told_of])
        with contextlib.suppress(ConnectionResetError):
            self._note(peer.take(len(peer.waiting)))
            while peer.fill():
                self._note(peer.take(len(peer.waiting)))
        assert head
        self._note(gone=True)

    def http2(self, peer):
        """The stream is cancelled; the connection stays for others."""
        conn = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        conn.initiate_connection()
        peer.send(conn.data_to_send())
        with contextlib.suppress(OSError):
            while peer.fill():
                for event in conn.receive_data(peer.take(len(peer.waiting))):
                    if isinstance(event, h2.events.RequestReceived):
                        self._note(asked=True)
                        if self.told_of is not None:
                            conn.send_headers(event.stream_id, [(":status", "200"), ("content-length", "100")])
                            if self.told_of:
                                conn.send_data(event.stream_id, (b"0123456789" * 10)[:self.told_of])
                    elif isinstance(event, h2.events.DataReceived):
                        self._note(event.data)
                    elif isinstance(event, h2.events.StreamReset):
                        self._note(gone=event.error_code == 8)
                peer.send(conn.data_to_send())


class Leaving:
    """A client of HTTP/1.1 or HTTP/2 on a connection that stands."""

    def __init__(self, walk, client):
        self.walk, self.c = walk, client
        self.http2 = pairs_raw.Http2(client.sock) if walk.version == "HTTP/2" else None

    def ask(self, body, n):
        """A GET, or a PUT of a body of which n bytes are sent."""
        walk = self.walk
        if self.http2:
            method = "GET" if body is None else "PUT"
            fields = [(":method", method), (":scheme", walk.scheme), (":authority", walk.authority), (":path", TARGET)]
            self.stream = self.http2.open(fields + ([] if body is None else [("content-length", str(len(body)))]), end=body is None)
            if n:
                self.http2.h2.send_data(self.stream, body[:n])
                self.http2._send()
            return
        absolute = f"http://{walk.authority}" if walk.lane.way == "forward" else ""
        head = f"{'GET' if body is None else 'PUT'} {absolute}{TARGET} HTTP/1.1\r\nHost: {walk.authority}\r\n"
        head += "\r\n" if body is None else f"Content-Length: {len(body)}\r\n\r\n"
        self.c.send(head.encode() + (body or b"")[:n or 0])

    def wait_answer(self, n):
        if self.http2:
            while not self.http2.heads[self.stream] or len(self.http2.got[self.stream]) < n:
                self.http2._receive()
        else:
            self.c.until(b"\r\n\r\n")
            self.c.exactly(n)

    def leave(self, how):
        if how == "cancels":
            self.http2.reset(self.stream)
        elif how == "closes":
            with contextlib.suppress(OSError):
                self.c.sock.shutdown(socket.SHUT_WR)
            self.c.sock.close()
        else:
            self.c.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self.c.sock.close()
