"""Peers that say exactly these bytes at exactly this moment: a scripted origin, and a client on a bare socket.

A script runs in a thread of its own for each connection and goes on when the bytes it waits for have come, or when the test sets an event.
Every wait is bounded by PATIENCE_S; nothing sleeps.
"""

import contextlib
import re
import select
import socket
import ssl
import struct
import threading
import time

import pytest
from support import PATIENCE_S


class Message:
    """One message off the wire: `head` with its empty line, `wire` what followed it, `body` that after transfer-decoding."""

    def __init__(self, head, wire=b"", body=b"", trailers=b"", informational=()):
        self.head, self.wire, self.body, self.trailers, self.informational = head, wire, body, trailers, list(informational)

    @property
    def status(self):
        return int(self.head.split(b" ", 2)[1])

    def lines(self):
        return self.head[:-4].split(b"\r\n")[1:]

    def field(self, name):
        """The values of all fields of that name."""
        return [line.split(b":", 1)[1].strip() for line in self.lines() if line.split(b":", 1)[0].lower() == name.lower()]


class Peer:
    """A socket whose reads are bounded in time, and which remembers what came."""

    def __init__(self, sock):
        self.sock = sock
        self.sock.settimeout(PATIENCE_S)
        self.waiting = b""  # came, and was not asked for yet
        self.heard = bytearray()  # all that came
        self.ended = False

    def send(self, data):
        self.sock.sendall(data)

    def fill(self):
        """More bytes; False: the other end has finished. A reset is an exception."""
        data = self.sock.recv(1 << 16)
        self.ended = not data
        self.waiting += data
        self.heard += data
        return bool(data)

    def take(self, n):
        data, self.waiting = self.waiting[:n], self.waiting[n:]
        return data

    def until(self, mark):
        while mark not in self.waiting:
            if not self.fill():
                raise AssertionError(f"the connection ended before {mark!r}: {self.waiting[:500]!r}")
        return self.take(self.waiting.index(mark) + len(mark))

    def exactly(self, n):
        while len(self.waiting) < n:
            if not self.fill():
                raise AssertionError(f"the connection ended after {len(self.waiting)} of {n} bytes")
        return self.take(n)

    def rest(self):
        """Everything up to the end that the other side makes."""
        while self.fill():
            pass
        return self.take(len(self.waiting))

    def quiet(self):
        """Has nothing come, and no end either?"""
        poll = select.poll()
        poll.register(self.sock, select.POLLIN)
        return not self.waiting and not poll.poll(0)

    def chunked(self, message):
        while True:
            line = self.until(b"\r\n")
            message.wire += line
            n = int(line.split(b";")[0], 16)
            if n == 0:
                break
            piece = self.exactly(n + 2)
            message.wire += piece
            message.body += piece[:-2]
        while True:
            line = self.until(b"\r\n")
            message.wire += line
            if line == b"\r\n":
                return message
            message.trailers += line

    def request(self):
        """One request: its head and its body."""
        message = Message(self.until(b"\r\n\r\n"))
        if message.field(b"transfer-encoding"):
            return self.chunked(message)
        message.wire = message.body = self.exactly(int((message.field(b"content-length") or [b"0"])[0]))
        return message

    def response(self, method="GET"):
        """One final response and the informational ones before it."""
        before = []
        head = self.until(b"\r\n\r\n")
        while re.match(rb"HTTP/1\.1 1(?!01)", head):
            before.append(head)
            head = self.until(b"\r\n\r\n")
        message = Message(head, informational=before)
        if method == "HEAD" or message.status in (101, 204, 304):
            return message
        if message.field(b"transfer-encoding"):
            return self.chunked(message)
        length = message.field(b"content-length")
        message.wire = message.body = self.exactly(int(length[0])) if length else self.rest()
        return message

    def finish(self):
        """FIN: nothing more is said, but the answer is still read."""
        self.sock.shutdown(socket.SHUT_WR)

    def reset(self):
        """RST."""
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.sock.close()

    def close(self):
        self.sock.close()


class Client(Peer):
    """A client of the proxy, with nothing in between. Closed at the end of `with`."""

    def __init__(self, port, receive_buffer=None):
        sock = socket.socket()
        if receive_buffer:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        sock.settimeout(PATIENCE_S)
        sock.connect(("127.0.0.1", port))
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        super().__init__(sock)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()

    def ask(self, data, method="GET"):
        self.send(data)
        return self.response(method)

    def connect(self, authority):
        """CONNECT; what follows is inside the tunnel."""
        self.send(f"CONNECT {authority} HTTP/1.1\r\nHost: {authority}\r\n\r\n".encode())
        head = self.until(b"\r\n\r\n")
        assert head.startswith(b"HTTP/1.1 200 "), head
        return self

    def secure(self, ca, name="localhost", alpn=None):
        context = ssl.create_default_context(cafile=str(ca))
        if alpn:
            context.set_alpn_protocols(alpn)
        self.sock = context.wrap_socket(self.sock, server_hostname=name, suppress_ragged_eofs=False)
        return self


class Origin:
    """Runs `script(peer)` for each connection, in a thread of its own; what a script raises fails the test."""

    def __init__(self, script, tls=None):
        self.script = script
        self.context = None
        if tls:
            self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self.context.load_cert_chain(*(str(part) for part in tls))
        self.listener = socket.socket()
        self.listener.bind(("127.0.0.1", 0))
        self.listener.listen(64)
        self.port = self.listener.getsockname()[1]
        self.authority = f"localhost:{self.port}"
        self.url = f"http://{self.authority}"
        self.peers, self.threads, self.problems = [], [], []
        self.stopping = False
        self.thread = threading.Thread(target=self._accept, daemon=True)
        self.thread.start()

    def _accept(self):
        while True:
            sock, _ = self.listener.accept()
            if self.stopping:
                sock.close()
                return
            thread = threading.Thread(target=self._serve, args=(sock,), daemon=True)
            self.threads.append(thread)
            thread.start()

    def _serve(self, sock):
        peer = None
        try:
            if self.context:
                sock = self.context.wrap_socket(sock, server_side=True)
            peer = Peer(sock)
            self.peers.append(peer)
            self.script(peer)
        except Exception as problem:
            self.problems.append(problem)
        finally:
            sock.close()

    def stop(self, grace=PATIENCE_S):
        """No more connections; the scripts must have come to their end."""
        if self.stopping:
            return
        self.stopping = True
        socket.create_connection(("127.0.0.1", self.port)).close()
        end = time.monotonic() + grace
        self.thread.join(PATIENCE_S)
        self.listener.close()
        for thread in self.threads:
            thread.join(max(0.0, end - time.monotonic()))
        hanging = [thread for thread in self.threads if thread.is_alive()]
        for peer in self.peers if hanging else []:
            with contextlib.suppress(OSError):
                peer.sock.shutdown(socket.SHUT_RDWR)  # a test that failed leaves them waiting
        for thread in hanging:
            thread.join(PATIENCE_S)
        assert not hanging and not any(thread.is_alive() for thread in self.threads), "a script of the origin hangs"
        if self.problems:
            raise self.problems[0]

    def heard(self):
        """All that any connection said."""
        return b"".join(peer.heard for peer in list(self.peers))


@pytest.fixture
def raw_origin():
    """Makes scripted origins; their scripts' failures are the test's."""
    made = []

    def make(script, tls=None):
        made.append(Origin(script, tls))
        return made[-1]

    yield make
    end = time.monotonic() + 5  # ringtape has ended, or the test has failed
    for origin in made:
        origin.stop(grace=max(0.5, end - time.monotonic()))


def get(origin, path="/", extra="", version="HTTP/1.1"):
    """A request in absolute form."""
    return f"GET {origin.url}{path} {version}\r\nHost: {origin.authority}\r\n{extra}\r\n".encode()


def post(origin, body, path="/", extra=""):
    return f"POST {origin.url}{path} HTTP/1.1\r\nHost: {origin.authority}\r\nContent-Length: {len(body)}\r\n{extra}\r\n".encode() + body


OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


def answering(*answers):
    """A script: one answer after another, each to a request, until the client has gone."""
    def script(peer):
        for answer in answers:
            while b"\r\n\r\n" not in peer.waiting:
                if not peer.fill():
                    return
            peer.request()
            peer.send(answer)
        try:
            peer.rest()
        except ConnectionResetError:
            pass
    return script
