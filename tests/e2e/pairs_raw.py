"""Clients of the table of pairs that send trailers: over a bare socket in HTTP/1.1, with python3-h2 in HTTP/2."""

import contextlib
import ssl

import h2.events
import h2.exceptions
import http2_client
from raw import Client


class Http2(http2_client.Client):
    """Keeps heads and trailers, too."""

    def __init__(self, sock):
        self.heads = {}
        super().__init__(sock)

    def open(self, fields, end=True):
        stream = self.h2.get_next_available_stream_id()
        self.got[stream], self.heads[stream] = b"", []
        self.h2.send_headers(stream, fields, end_stream=end)
        self._send()
        return stream

    def post(self, fields, body, trailers):
        stream = self.h2.get_next_available_stream_id()
        self.got[stream], self.heads[stream] = b"", []
        self.h2.send_headers(stream, fields)
        if body:
            self.h2.send_data(stream, body)
        self.h2.send_headers(stream, [(name.lower(), value) for name, value in trailers], end_stream=True)
        self._send()
        return stream

    def _receive(self):
        data = self.sock.recv(65536)
        assert data, "the connection was closed"
        for event in self.h2.receive_data(data):
            if isinstance(event, (h2.events.InformationalResponseReceived, h2.events.ResponseReceived, h2.events.TrailersReceived)):
                self.heads[event.stream_id].append([f"HTTP/2 {value}" if name == ":status" else f"{name}: {value}" for name, value in event.headers])
            elif isinstance(event, h2.events.DataReceived):
                self.got[event.stream_id] += event.data
                self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
            elif isinstance(event, (h2.events.StreamEnded, h2.events.StreamReset)):
                self.ended.setdefault(event.stream_id, event)
        self._send()


@contextlib.contextmanager
def connected(walk):
    """A connection that goes where this walk goes, TLS included."""
    port = walk.port or walk.ports[walk.reached]
    with Client(port) as c:
        if walk.port and walk.lane.way == "connect":
            c.connect(walk.authority)
        if walk.scheme == "https":
            context = ssl.create_default_context(cafile=str(walk.ca))
            context.set_alpn_protocols(["http/1.1" if walk.version == "HTTP/1.1" else "h2"])
            c.sock = context.wrap_socket(c.sock, server_hostname="localhost", suppress_ragged_eofs=False)
        yield c


def _in_http1(walk, c, target, shape):
    absolute = f"http://{walk.authority}" if walk.port and walk.lane.way == "forward" else ""
    said = f"POST {absolute}{target} HTTP/1.1\r\nHost: {walk.authority}\r\nX-Case: Kept\r\nTrailer: {', '.join(n for n, _ in shape.trailers)}\r\n"
    said += "Transfer-Encoding: chunked\r\n\r\n"
    chunk = b"%x\r\n%s\r\n" % (len(shape.body), shape.body) if shape.body else b""
    last = "0\r\n" + "".join(f"{name}: {value}\r\n" for name, value in shape.trailers) + "\r\n"
    m = c.ask(said.encode() + chunk + last.encode(), "POST")
    blocks = [[line.decode("latin-1") for line in (m.head[:-4].split(b"\r\n"))]]
    return "1.1", m.status, blocks, m.body


def ask_with_trailers(walk, target, shape):
    """(version, status, blocks of fields, body)"""
    with connected(walk) as c:
        if walk.version == "HTTP/1.1":
            return _in_http1(walk, c, target, shape)
        client = Http2(c.sock)
        stream = client.post([(":method", "POST"), (":scheme", walk.scheme), (":authority", walk.authority), (":path", target), ("x-case", "Kept"),
                              ("trailer", ", ".join(n for n, _ in shape.trailers))], shape.body, shape.trailers)
        body = client.finish(stream)
        return "2", int(client.heads[stream][0][0].split()[1]), client.heads[stream], body


def get(walk, name, target):
    """A request whose answer may break off: (exit code as curl's, version, status, blocks, body). What comes is put into the files where curl puts it."""
    head, body = (walk.told / f"{name}.{part}" for part in ("head", "body"))
    head.write_bytes(b"")
    body.write_bytes(b"")
    with connected(walk) as c:
        client = Http2(c.sock)
        stream = client.open([(":method", "GET"), (":scheme", walk.scheme), (":authority", walk.authority), (":path", target)])
        code = 0
        while stream not in client.ended:
            try:
                client._receive()
            except (AssertionError, OSError, h2.exceptions.ProtocolError):  # the end of the connection, its reset, what may not be
                code = 56
                break
            head.write_bytes(b"\r\n\r\n".join("\r\n".join(block).encode() for block in [*client.heads[stream], []]))
            body.write_bytes(client.got[stream])
        if not code and type(client.ended[stream]).__name__ == "StreamReset":
            code = 92
        blocks = client.heads[stream]
        return code, "2", int(blocks[-1][0].split()[1]) if blocks else 0, blocks, client.got[stream]
