"""What a client says in turns with clients/signs.go: every event is answered by a sign before the next may come; a long poll is open while what it
waits for is said.

usage: signs.py requests|httpx|httpx2 events|poll BASE
"""
import asyncio
import sys
import threading


def session_of(library):
    if library == "requests":
        import requests
        s = requests.Session()
        return s, lambda url: s.get(url, stream=True, timeout=60), lambda r: r.iter_content(chunk_size=None)
    import httpx
    s = httpx.Client(http2=library == "httpx2", timeout=60)
    return s, lambda url: s.send(s.build_request("GET", url), stream=True), lambda r: r.iter_bytes()


def events(pieces):
    """Each event as it was sent, its empty line included."""
    waiting = b""
    for piece in pieces:
        waiting += piece
        while True:
            ends = [waiting.index(mark) + len(mark) for mark in (b"\n\n", b"\r\n\r\n") if mark in waiting]
            if not ends:
                break
            event, waiting = waiting[:min(ends)], waiting[min(ends):]
            yield event
    print("rest", waiting)


def with_events(library, base):
    s, get, pieces = session_of(library)
    stream = get(f"{base}/events?run={library}")
    print(stream.status_code, stream.headers["content-type"])
    n = 0
    for event in events(pieces(stream)):
        print(len(event), event[:60])
        if b"data" in event:
            print("sign", s.get(f"{base}/sign?run={library}&n={n}").status_code)
            n += 1
    stream.close()
    s.close()


def with_poll(library, base):
    s, get, _ = session_of(library)
    s.get(base).raise_for_status()  # its connection is up before two requests at once could bring up one each
    for n in range(3):  # one client goes on asking
        got = []
        poll = threading.Thread(target=lambda: got.append(s.get(f"{base}/poll?run={library}&n={n}")))
        poll.start()
        print(s.post(f"{base}/tell?run={library}&n={n}", data=b"this").text, end="")
        poll.join()
        print(got[0].status_code, got[0].text, end="")
    s.close()


async def with_poll_at_once(base):
    """httpx over one connection of HTTP/2, by one thread: Python 3.11's TLS sockets are not to be read and written by two."""
    import httpx
    async with httpx.AsyncClient(http2=True, timeout=60) as s:
        (await s.get(base)).raise_for_status()
        for n in range(3):
            poll = asyncio.create_task(s.get(f"{base}/poll?run=httpx2&n={n}"))
            print((await s.post(f"{base}/tell?run=httpx2&n={n}", content=b"this")).text, end="")
            got = await poll
            print(got.status_code, got.text, end="")


def poll(library, base):
    if library == "httpx2":
        asyncio.run(with_poll_at_once(base))
    else:
        with_poll(library, base)


{"events": with_events, "poll": poll}[sys.argv[2]](sys.argv[1], sys.argv[3])
