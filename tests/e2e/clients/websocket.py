"""usage: websocket.py PROXY_PORT URL CA|- MESSAGE...   Says the messages one by one through CONNECT, prints each answer.

A message is text; "hex:0102" is binary; "ping" waits for its pong; "long:N" is N times "x"."""
import asyncio
import os
import socket
import ssl
import sys
import urllib.parse

import websockets


def tunnel(proxy, host, port):
    s = socket.create_connection(("127.0.0.1", proxy), 30)
    s.sendall(f"CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n\r\n".encode())
    head = b""
    while b"\r\n\r\n" not in head:
        head += s.recv(1)
    assert b" 200 " in head.split(b"\r\n")[0], head
    s.settimeout(None)
    s.setblocking(False)
    return s


async def main(proxy, url, ca, *messages):
    where = urllib.parse.urlsplit(url)
    more = {} if ca == "-" else {"ssl": ssl.create_default_context(cafile=ca), "server_hostname": where.hostname}
    if os.environ.get("NO_DEFLATE"):
        more["compression"] = None
    async with websockets.connect(url, sock=tunnel(int(proxy), where.hostname, where.port), max_size=None, **more) as ws:
        for message in messages:
            if message == "ping":
                await (await ws.ping())
                print("pong")
                continue
            said = bytes.fromhex(message[4:]) if message.startswith("hex:") else "x" * int(message[5:]) if message.startswith("long:") else message
            await ws.send([said[:1], said[1:]] if message.startswith("fragments") else said)
            heard = await ws.recv()
            print(heard.hex() if isinstance(heard, bytes) else heard if len(heard) < 100 else f"{heard[:3]} {len(heard)}")
        await ws.close(1000, "enough")


asyncio.run(main(*sys.argv[1:]))
