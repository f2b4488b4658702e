"""An HTTP/2 origin of which the test has every frame in hand: python3-h2 over TLS, a thread for each connection. What it does with a request is
one method; a client that takes HTTP/1.1 gets "1.1" and the connection's end."""

import contextlib
import queue
import socket
import ssl
import threading

import h2.config
import h2.connection
import h2.events
import h2.settings
from support import PATIENCE_S


class Connection:
    def __init__(self, origin, sock, number):
        self.origin, self.sock, self.number = origin, sock, number
        self.h2 = h2.connection.H2Connection(h2.config.H2Configuration(client_side=False, header_encoding="utf-8"))
        self.heads, self.bodies, self.done = {}, {}, []
        if origin.settings:
            self.h2.local_settings = h2.settings.Settings(client=False, initial_values=origin.settings)
        self.h2.initiate_connection()
        self.flush()

    def flush(self):
        self.sock.sendall(self.h2.data_to_send())

    def answer(self, stream, body=b"fine"):
        self.h2.send_headers(stream, [(":status", "200"), ("x-connection", str(self.number))])
        self.h2.send_data(stream, body, end_stream=True)

    def serve(self):
        while data := self.sock.recv(65536):
            for event in self.h2.receive_data(data):
                if isinstance(event, h2.events.RequestReceived):
                    self.heads[event.stream_id] = dict(event.headers)
                    self.bodies[event.stream_id] = b""
                    self.origin.opened(self, event.stream_id)
                elif isinstance(event, h2.events.DataReceived):
                    self.bodies[event.stream_id] += event.data
                    self.h2.acknowledge_received_data(event.flow_controlled_length, event.stream_id)
                    self.origin.data(self, event.stream_id)
                elif isinstance(event, h2.events.StreamReset):
                    self.origin.resets.put((event.stream_id, int(event.error_code)))
                elif isinstance(event, h2.events.StreamEnded):
                    with self.origin.lock:
                        self.origin.requests.append((self.number, self.heads[event.stream_id][":path"], self.bodies[event.stream_id]))
                    self.done.append(event.stream_id)
                    self.origin.request(self, event.stream_id)
            self.flush()


class Origin:
    """`request(connection, stream)` is called when a request is complete, `opened` at its head, `data` after each piece of its content."""

    def __init__(self, shared, request, streams=None, window=None, upgrades=None, opened=None, data=None):
        codes = h2.settings.SettingCodes
        given = {codes.MAX_CONCURRENT_STREAMS: streams, codes.INITIAL_WINDOW_SIZE: window, codes.ENABLE_CONNECT_PROTOCOL: upgrades}
        self.request, self.settings = request, {k: v for k, v in given.items() if v is not None}
        self.opened, self.data = opened or (lambda *_: None), data or (lambda *_: None)
        self.resets = queue.Queue()  # (stream, error code)
        self.requests, self.connections, self.lock = [], 0, threading.Lock()
        pem, key = shared.authority.issue("good")
        self.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self.context.load_cert_chain(pem, key)
        self.context.set_alpn_protocols(["h2", "http/1.1"])
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.threads = [threading.Thread(target=self._accept)]
        self.threads[0].start()

    def url(self, path):
        return f"https://localhost:{self.port}{path}"

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                sock, _ = self.listener.accept()
                self.connections += 1
                thread = threading.Thread(target=self._serve, args=(sock, self.connections))
                self.threads.append(thread)
                thread.start()

    def _serve(self, plain, number):
        plain.settimeout(PATIENCE_S)
        with contextlib.suppress(OSError), self.context.wrap_socket(plain, server_side=True) as sock:
            if sock.selected_alpn_protocol() == "h2":
                Connection(self, sock, number).serve()
                return
            head = b""
            while b"\r\n\r\n" not in head:
                if not (data := sock.recv(65536)):
                    return
                head += data
            with self.lock:
                self.requests.append((number, head.split()[1].decode(), "1.1"))
            sock.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\nConnection: close\r\n\r\n1.1")

    def close(self):
        with contextlib.suppress(OSError):
            self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        for thread in self.threads:
            thread.join(PATIENCE_S)
            assert not thread.is_alive()


@contextlib.contextmanager
def origin(shared, request, **more):
    o = Origin(shared, request, **more)
    try:
        yield o
    finally:
        o.close()
