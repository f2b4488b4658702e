"""Peers that are slow, early, or hostile, with raw sockets on both sides of the proxy: timers, tunnels, upgrades, what a bad origin may do."""

import contextlib
import os
import socket
import ssl
import threading
import time

import pytest
import support
from support import PATIENCE_S, flows


class Origin:
    """A listener on loopback; `serve(socket)` runs once a connection, each in its own thread. Its failures fail the test."""

    def __init__(self, serve, context=None):
        self.serve, self.context, self.problems, self.threads = serve, context, [], []
        self.listener = socket.create_server(("127.0.0.1", 0), backlog=256)
        self.port = self.listener.getsockname()[1]
        self.accepting = threading.Thread(target=self._accept)
        self.accepting.start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                connection = self.listener.accept()[0]
                connection.settimeout(PATIENCE_S)
                self.threads.append(threading.Thread(target=self._one, args=(connection,)))
                self.threads[-1].start()

    def _one(self, connection):
        try:
            with connection:
                self.serve(connection)
        except (ConnectionError, ssl.SSLError):
            pass  # the proxy is free to hang up
        except Exception as e:  # told by the test's own thread
            self.problems.append(e)

    def __enter__(self):
        return self

    def __exit__(self, kind, *_):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.accepting.join(PATIENCE_S)
        for t in self.threads:
            t.join(PATIENCE_S)
        assert kind or not self.problems, self.problems


def take(sock, until):
    """Reads up to and with some bytes."""
    got = b""
    while until not in got:
        more = sock.recv(65536)
        assert more, f"the connection ended after {got!r}"
        got += more
    return got


def client(proxy, target=None):
    """A connection to the proxy; with `target` inside a tunnel."""
    s = socket.create_connection(("127.0.0.1", proxy.port), PATIENCE_S)
    if target:
        s.sendall(f"CONNECT {target} HTTP/1.1\r\nHost: {target}\r\n\r\n".encode())
        assert take(s, b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
    return s


@pytest.fixture
def server_context(shared):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*shared.authority.issue("good"))
    return context


@pytest.fixture
def client_context(shared):
    return ssl.create_default_context(cafile=str(shared.ca))


def answer_one(connection):
    head = take(connection, b"\r\n\r\n")
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
    return head


SLOW_S = 2.5  # longer than a silent client after CONNECT is waited for (LIMIT_SNIFF_MS)


@pytest.mark.parametrize("slow", ["origin", "client"])
def test_a_tunnel_outlives_the_time_for_sniffing(ringtape, tmp_path, server_context, client_context, slow):
    """A slow handshake of the origin, and a client that opens its connection before it needs it, as browsers do."""
    def serve(connection):
        if slow == "origin":
            time.sleep(SLOW_S)
        with server_context.wrap_socket(connection, server_side=True) as tls:
            answer_one(tls)

    tape = tmp_path / "t.tape"
    with Origin(serve) as origin:
        proxy = ringtape("record", "-o", tape)
        with client_context.wrap_socket(client(proxy, f"localhost:{origin.port}"), server_hostname="localhost") as s:
            if slow == "client":
                time.sleep(SLOW_S)
            s.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert take(s, b"ok").startswith(b"HTTP/1.1 200 ")
        proxy.stop()
    assert [(f["status"], f["complete"]) for f in flows(tape)] == [(200, 1)]
    assert len(origin.threads) == 1  # what the probe opened carries the request, though this client offered no ALPN


def test_a_first_byte_that_tells_nothing_is_tunnelled_in_time(ringtape, tmp_path):
    def serve(connection):
        assert connection.recv(1) == b"A"
        connection.sendall(b"hello")

    with Origin(serve) as origin:
        proxy = ringtape("record", "-o", tmp_path / "t.tape")
        with client(proxy, f"127.0.0.1:{origin.port}") as s:
            s.sendall(b"A")
            assert take(s, b"hello") == b"hello"
        proxy.stop()


@pytest.mark.parametrize("backend", ["io_uring", "epoll"])
def test_bytes_that_follow_an_upgrade_request_at_once_do_not_stall_it(ringtape, tmp_path, backend):
    def serve(connection):
        rest = take(connection, b"\r\n\r\n").split(b"\r\n\r\n", 1)[1]
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\n" + rest)
        while data := connection.recv(65536):
            connection.sendall(data)

    with Origin(serve) as origin:
        proxy = ringtape("record", "-o", tmp_path / "t.tape", "--backend", backend)
        with client(proxy) as s:
            s.sendall(f"GET http://127.0.0.1:{origin.port}/ HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: echo\r\n\r\nearly".encode())
            assert take(s, b"early").startswith(b"HTTP/1.1 101 ")
            s.sendall(b"later")
            assert take(s, b"later") == b"later"
        proxy.stop()


def test_an_upgrade_that_nobody_asked_for_is_no_answer(ringtape, tmp_path):
    """What the client sends next is its next request, and must not go to that origin as bytes of a tunnel."""
    seen = []

    def serve(connection):
        take(connection, b"\r\n\r\n")
        connection.sendall(b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n")
        with contextlib.suppress(ConnectionError):
            seen.append(connection.recv(65536))

    tape = tmp_path / "t.tape"
    with Origin(serve) as origin:
        proxy = ringtape("record", "-o", tape)
        with client(proxy) as s:
            s.sendall(f"GET http://127.0.0.1:{origin.port}/ HTTP/1.1\r\nHost: x\r\n\r\nGET http://ringtape/ HTTP/1.1\r\nHost: ringtape\r\n\r\n".encode())
            got = take(s, b"</html>")
            assert got.startswith(b"HTTP/1.1 502 ") and b"\r\n\r\n" in got and b"HTTP/1.1 200 " in got
        proxy.stop()
    assert b"".join(seen) == b""
    assert [(f["kind"], f["complete"]) for f in flows(tape)] == [("http", 0)]


def test_garbage_of_an_origin_after_our_close_notify_harms_nobody_else(ringtape, tmp_path, server_context, client_context):
    """The alert that would answer it has nowhere to go any more: the sending side has been shut down."""
    def serve(connection):
        raw = socket.socket(fileno=os.dup(connection.fileno()))
        with raw, server_context.wrap_socket(connection, server_side=True, suppress_ragged_eofs=True) as tls:
            first = tls.recv(100)
            if not first:
                return  # the probe's connection: a tunnel gets its own
            if first.startswith(b"GET"):
                tls.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok")
                return
            assert first == b"\x00raw"
            assert tls.recv(100) == b""
            raw.sendall(b"\x17\x03\x03\x00\x40" + bytes(64))
            with contextlib.suppress(OSError):
                raw.recv(100)

    with Origin(serve) as origin:
        proxy = ringtape("record", "-o", tmp_path / "t.tape")
        target = f"localhost:{origin.port}"
        with client_context.wrap_socket(client(proxy, target), server_hostname="localhost") as s:
            s.sendall(b"\x00raw")
            s.shutdown(socket.SHUT_WR)
            with contextlib.suppress(OSError):
                while s.recv(100):
                    pass
        with client_context.wrap_socket(client(proxy, target), server_hostname="localhost") as s:
            s.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert take(s, b"ok").startswith(b"HTTP/1.1 200 ")
        proxy.stop()


def test_interim_answers_without_end_are_held_back_at_the_origin(ringtape, tmp_path):
    """A client that does not read bounds what the proxy takes from the origin, whatever part of the answer that is."""
    flood = (b"HTTP/1.1 103 Early Hints\r\nLink: </" + b"a" * 8000 + b">; rel=preload\r\n\r\n") * 8
    most = 96 << 20
    taken = []

    def serve(connection):
        take(connection, b"\r\n\r\n")
        connection.settimeout(2)
        n = 0
        with contextlib.suppress(OSError):
            while n < most:
                n += connection.send(flood)
        taken.append(n)

    with Origin(serve) as origin:
        proxy = ringtape("record", "-o", tmp_path / "t.tape")
        with client(proxy) as s:
            s.sendall(f"GET http://127.0.0.1:{origin.port}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
            support.until(lambda: taken, "the origin's end")
        proxy.stop()
    assert taken[0] < most / 3  # what the kernel's own buffers hold on both sides, and the proxy's


def test_an_absolute_target_inside_tls_stays_inside_tls(ringtape, tmp_path, server_context, client_context):
    def serve(connection):
        with server_context.wrap_socket(connection, server_side=True) as tls:
            assert answer_one(tls).startswith(b"GET /x HTTP/1.1\r\n")

    tape = tmp_path / "t.tape"
    with Origin(serve) as origin:
        proxy = ringtape("record", "-o", tape)
        with client_context.wrap_socket(client(proxy, f"localhost:{origin.port}"), server_hostname="localhost") as s:
            s.sendall(f"GET http://localhost:{origin.port}/x HTTP/1.1\r\nHost: localhost:{origin.port}\r\nConnection: close\r\n\r\n".encode())
            assert take(s, b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
        proxy.stop()
    assert [f["url"] for f in flows(tape)] == [f"https://localhost:{origin.port}/x"]


def test_a_connection_of_the_probe_that_went_stale_is_replaced(ringtape, tmp_path, server_context, client_context):
    """Opened by the probe and never used: to the request it is as stale as one that has carried others."""
    first = []

    def serve(connection):
        mine = not first
        first.append(1)
        with server_context.wrap_socket(connection, server_side=True) as tls:
            if mine:
                take(tls, b"\r\n\r\n")
            else:
                answer_one(tls)

    with Origin(serve) as origin:
        proxy = ringtape("record", "-o", tmp_path / "t.tape")
        with client_context.wrap_socket(client(proxy, f"localhost:{origin.port}"), server_hostname="localhost") as s:
            s.sendall(b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
            assert take(s, b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
        proxy.stop()
