"""An HTTP/2 client of which the test has every frame in hand: python3-h2 over TLS, one connection, no window given back unless asked."""

import contextlib
import socket
import ssl

import h2.config
import h2.connection
import h2.events
import h2.exceptions


class Client:
    def __init__(self, sock):
        self.sock = sock
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=True, header_encoding="utf-8", validate_outbound_headers=False,
                                                                             normalize_outbound_headers=False))
        self.h2.initiate_connection()
        self.h2.increment_flow_control_window(1 << 24)  # the connection's; each stream keeps its 64 KB
        self.got, self.ended, self.pongs = {}, {}, 0
        self._send()

    def _send(self):
        self.sock.sendall(self.h2.data_to_send())

    def get(self, path):
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", path)], end_stream=True)
        self.got[stream] = b""
        self._send()
        return stream

    def post(self, path, body):
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, [(":method", "POST"), (":scheme", "https"), (":authority", "localhost"), (":path", path)])
        for at in range(0, len(body), 16384):
            self.h2.send_data(stream, body[at:at + 16384])
        self.h2.end_stream(stream)
        self.got[stream] = b""
        self._send()
        return stream

    def raw(self, fields):
        """A request whose fields are sent as they are; those of the pseudo-header that are not among them are as in get()."""
        stream = self.h2.get_next_available_stream_id()
        given = dict(fields)
        pseudo = [(":method", "GET"), (":scheme", "https"), (":path", "/seen")]
        first = [(k, given.get(k, v)) for k, v in pseudo] + [(k, v) for k, v in fields if k == ":authority"]
        block = first + [(k, v) for k, v in fields if not k.startswith(":")]
        self.h2.send_headers(stream, block, end_stream=True)
        self.got[stream] = b""
        self._send()
        return stream

    def upgrade(self, path, early=b"", end=False):
        """Extended CONNECT (RFC 8441), once it is allowed; with what is said before the answer."""
        while not self.h2.remote_settings.enable_connect_protocol:
            self._receive()
        stream = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream, [(":method", "CONNECT"), (":protocol", "websocket"), (":scheme", "https"), (":authority", "localhost"), (":path", path),
                                      ("sec-websocket-version", "13")])
        if early or end:
            self.h2.send_data(stream, early, end_stream=end)
        self.got[stream] = b""
        self._send()
        return stream

    def say(self, stream, data, end=False):
        self.h2.send_data(stream, data, end_stream=end)
        self._send()

    def _until_goaway(self, frames):
        """Sends, reading what comes in between; the error code of the GOAWAY that ends it."""
        self.sock.settimeout(0.001)
        for send in frames:
            try:
                send()
            except (OSError, h2.exceptions.ProtocolError):
                break
        self.sock.settimeout(30)
        received = b""
        with contextlib.suppress(OSError):
            while data := self.sock.recv(65536):
                received += data
        at = received.rfind(b"\0\0\x08\x07\0\0\0\0\0")  # the head of a GOAWAY without debug data
        return int.from_bytes(received[at + 13:at + 17], "big") if at >= 0 else None

    def rapid(self, times):
        def once():
            stream = self.h2.get_next_available_stream_id()
            self.h2.send_headers(stream, [(":method", "GET"), (":scheme", "https"), (":authority", "localhost"), (":path", "/seen")], end_stream=True)
            self.h2.reset_stream(stream, 8)
            self._send()
        return self._until_goaway(once for _ in range(times))

    def pings(self, times):
        def once():
            self.h2.ping(b"12345678")
            self._send()
        return self._until_goaway(once for _ in range(times))

    def ping(self):
        """Is the other end there?"""
        before = self.pongs
        with contextlib.suppress(OSError, AssertionError):
            self.h2.ping(b"12345678")
            self._send()
            while self.pongs == before:
                self._receive()
        return self.pongs > before

    def reset(self, stream):
        self.h2.reset_stream(stream, 8)
        self._send()

    def _receive(self):
        data = self.sock.recv(65536)
        assert data, "the connection was closed"
        for event in self.h2.receive_data(data):
            if isinstance(event, h2.events.DataReceived):
                self.got[event.stream_id] += event.data
            elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
                self.ended[event.stream_id] = event
            elif isinstance(event, h2.events.PingAckReceived):
                self.pongs += 1
            elif isinstance(event, h2.events.ConnectionTerminated):
                raise AssertionError(f"GOAWAY {event.error_code}")
        self._send()

    def read_some(self, stream, least):
        while len(self.got[stream]) < least - 1:
            self._receive()

    def ending(self, stream):
        """How the stream ends: "StreamEnded" or "StreamReset"."""
        while stream not in self.ended:
            self._receive()
        return type(self.ended[stream]).__name__

    def finish(self, stream):
        assert self.ending(stream) == "StreamEnded", (self.ended[stream], self.got[stream])
        return self.got[stream]


@contextlib.contextmanager
def connect(port, ca, tunnel=None):
    """tunnel: "HOST:PORT" to ask a proxy at `port` for."""
    context = ssl.create_default_context(cafile=str(ca))
    context.set_alpn_protocols(["h2"])
    with socket.create_connection(("127.0.0.1", port), 60) as plain:
        if tunnel:
            plain.sendall(f"CONNECT {tunnel} HTTP/1.1\r\nHost: {tunnel}\r\n\r\n".encode())
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                head += plain.recv(1)
            assert b" 200 " in head
        with context.wrap_socket(plain, server_hostname=tunnel.split(":")[0] if tunnel else "127.0.0.1") as sock:
            assert sock.selected_alpn_protocol() == "h2"
            yield Client(sock)
