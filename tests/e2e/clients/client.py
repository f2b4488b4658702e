"""Fetches each URL with one library and prints status, some headers and the body's digest. A URL that ends in /post is posted to."""
import asyncio
import hashlib
import sys

BODY = b'{"b": 2, "a": [1, 2, 3]}'


def show(url, status, headers, body):
    kept = {k.lower(): v for k, v in headers.items() if k.lower() in ("content-type", "date", "etag", "server", "last-modified")}
    print(url, status, sorted(kept.items()), hashlib.sha256(body).hexdigest(), body[:40])


def with_urllib(urls):
    import urllib.request
    for url in urls:
        data = BODY if url.endswith("/post") else None
        with urllib.request.urlopen(urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"})) as r:
            show(url, r.status, r.headers, r.read())


def with_requests(urls):
    import requests
    with requests.Session() as s:
        for url in urls:
            r = s.post(url, data=BODY) if url.endswith("/post") else s.get(url)
            show(url, r.status_code, r.headers, r.content)


def with_httpx(urls):
    import httpx
    with httpx.Client() as s:
        for url in urls:
            r = s.post(url, content=BODY) if url.endswith("/post") else s.get(url)
            show(url, r.status_code, r.headers, r.content)


def with_aiohttp(urls):
    import ssl

    import aiohttp

    async def main():
        context = ssl.create_default_context()
        connector = aiohttp.TCPConnector(ssl=context)
        async with aiohttp.ClientSession(trust_env=True, connector=connector) as s:
            for url in urls:
                async with (s.post(url, data=BODY) if url.endswith("/post") else s.get(url)) as r:
                    show(url, r.status, r.headers, await r.read())

    asyncio.run(main())


globals()["with_" + sys.argv[1]](sys.argv[2:])
