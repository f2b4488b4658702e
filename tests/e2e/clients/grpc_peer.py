"""gRPC without generated code: a server of every kind of call, and a client that says what it was told.

usage: grpc_peer.py server CERT KEY PORT-FILE | grpc_peer.py client PORT | grpc_peer.py leave PORT | grpc_peer.py talk PORT [WORD] | grpc_peer.py seen PORT
"""
import hashlib
import os
import queue
import sys
import threading
from concurrent import futures

import grpc

PATIENCE_S = 60
TALK_S = 20  # of one call; one that hangs ends so


def sized(request, context):
    context.send_initial_metadata((("x-initial", "first"),))
    context.set_trailing_metadata((("x-trailing", "last"), ("x-bin", b"\0\xff")))
    return b"%d:" % len(request) + request[:10] + dict(context.invocation_metadata()).get("x-asked", "").encode()


def collected(requests, _):
    return b"+".join(requests)


def counted(request, _):
    for i in range(int(request)):
        yield b"%d" % i * 1000


def mirrored(requests, _):
    for request in requests:
        yield b"re:" + request


def refused(_, context):
    context.abort(grpc.StatusCode.NOT_FOUND, "no such thing: 100 % grün")


def broken(_, context):
    yield b"one"
    yield b"two"
    context.abort(grpc.StatusCode.DATA_LOSS, "after two")


def never(_, context):
    yield b"begun"
    gone = threading.Event()
    context.add_callback(gone.set)
    gone.wait(PATIENCE_S)


def seen(requests, context):
    """What came, as a text: metadata in its order, and each message."""
    context.set_trailing_metadata((("x-trailing", "last"),))
    yield repr([tuple(m) for m in context.invocation_metadata()]).encode()
    for request in requests:
        yield b"%d %s" % (len(request), hashlib.sha256(request).hexdigest().encode())


HANDLERS = {
    "Sized": grpc.unary_unary_rpc_method_handler(sized),
    "Collected": grpc.stream_unary_rpc_method_handler(collected),
    "Counted": grpc.unary_stream_rpc_method_handler(counted),
    "Mirrored": grpc.stream_stream_rpc_method_handler(mirrored),
    "Refused": grpc.unary_unary_rpc_method_handler(refused),
    "Broken": grpc.unary_stream_rpc_method_handler(broken),
    "Seen": grpc.stream_stream_rpc_method_handler(seen),
    "Never": grpc.unary_stream_rpc_method_handler(never),
}


def serve(cert, key, port_file):
    server = grpc.server(futures.ThreadPoolExecutor(8))
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test.Peer", HANDLERS),))
    with open(key, "rb") as k, open(cert, "rb") as c:
        credentials = grpc.ssl_server_credentials([(k.read(), c.read())])
    port = server.add_secure_port("127.0.0.1:0", credentials)
    server.start()
    with open(port_file + ".new", "w") as f:
        f.write(str(port))
    os.rename(port_file + ".new", port_file)
    server.wait_for_termination()


def told(name, call):
    """Prints every message, then the status and the metadata of a stream of responses."""
    try:
        for message in call:
            print(name, len(message), message[:40])
    except grpc.RpcError:
        pass
    print(name, call.code(), repr(call.details()), [m for m in call.trailing_metadata() if m.key.startswith("x-")])


def told_one(name, method, request):
    try:
        response, call = method.with_call(request, metadata=(("x-asked", "for"),), timeout=PATIENCE_S)
        print(name, response, call.code(), [m for m in (*call.initial_metadata(), *call.trailing_metadata()) if m.key.startswith("x-")])
    except grpc.RpcError as e:
        print(name, e.code(), repr(e.details()))


def ask(channel):
    told_one("unary", channel.unary_unary("/test.Peer/Sized"), b"hello")
    told_one("empty", channel.unary_unary("/test.Peer/Sized"), b"")
    told_one("large", channel.unary_unary("/test.Peer/Sized"), b"x" * 300_000)
    told_one("client streaming", channel.stream_unary("/test.Peer/Collected"), iter([b"a", b"", b"c" * 100]))
    told("server streaming", channel.unary_stream("/test.Peer/Counted")(b"20", timeout=PATIENCE_S))
    told("bidirectional", channel.stream_stream("/test.Peer/Mirrored")(iter([b"%d" % i for i in range(10)]), timeout=PATIENCE_S))
    told_one("trailers only", channel.unary_unary("/test.Peer/Refused"), b"")
    told_one("no such method", channel.unary_unary("/test.Peer/Nowhere"), b"")
    told("error after messages", channel.unary_stream("/test.Peer/Broken")(b"", timeout=PATIENCE_S))


def ask_seen(channel):
    """Calls of every shape, told as the server saw them."""
    shapes = {
        "nothing": ([], (), None), "one empty": ([b""], (), None), "small": ([b"hello"], (("x-text", "a, b"), ("x-text", "c"), ("x-bin", b"\0\xff")), None),
        "several": ([b"a", b"", b"c" * 100_000], (("cookie", "a=1; b=2"), ("te-x", "1")), None), "large": ([b"x" * 1_000_000] * 2, (), None),
        "gzip": ([b"x" * 100_000], (), grpc.Compression.Gzip),
    }
    method = channel.stream_stream("/test.Peer/Seen")
    for name, (requests, metadata, compression) in shapes.items():
        call = method(iter(requests), metadata=metadata, compression=compression, timeout=PATIENCE_S)
        for message in call:
            print(name, message.decode())
        print(name, call.code(), [m for m in call.trailing_metadata() if m.key.startswith("x-")])


def leave(channel):
    """A call whose time runs out, and one that is cancelled after its first message."""
    told("deadline", channel.unary_stream("/test.Peer/Never")(b"deadline", timeout=1))
    call = channel.unary_stream("/test.Peer/Never")(b"cancel", timeout=PATIENCE_S)
    print(next(call))
    call.cancel()
    print(call.code())


def talk(channel, first, second, turns):
    """A call that says its next message only when the answer to the last has come."""
    to_say = queue.Queue()
    call = channel.stream_stream("/test.Peer/Mirrored")(iter(to_say.get, None), timeout=TALK_S)
    to_say.put(first)
    try:
        for turn, answer in enumerate(call, 1):
            print("talk", turn, answer)
            to_say.put(None if turn == turns else second if turn == 1 else b"%d after " % turn + answer[:12] * turn * turn)
    except grpc.RpcError:
        to_say.put(None)
    print("talk", call.code(), repr(call.details()))


def talk_all(channel, second):
    """Calls of one path: two that begin alike, one of a single message that begins so too, one that does not wait, and a long one."""
    second = second.encode()
    talk(channel, b"hello", second, 3)
    talk(channel, b"hello", b"another", 2)
    told("all at once", channel.stream_stream("/test.Peer/Mirrored")(iter([b"all", b"at", b"once"]), timeout=TALK_S))
    told_one("single", channel.unary_unary("/test.Peer/Mirrored"), b"hello")
    talk(channel, b"long", second, 50)


def main():
    if sys.argv[1] == "server":
        return serve(*sys.argv[2:])
    with open(os.environ["GRPC_DEFAULT_SSL_ROOTS_FILE_PATH"], "rb") as f:
        credentials = grpc.ssl_channel_credentials(f.read())
    with grpc.secure_channel(f"localhost:{sys.argv[2]}", credentials) as channel:
        grpc.channel_ready_future(channel).result(PATIENCE_S)
        {"client": ask, "leave": leave, "talk": talk_all, "seen": ask_seen}[sys.argv[1]](channel, *sys.argv[3:])


main()
