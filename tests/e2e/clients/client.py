"""Fetches each URL with one library and prints all it says of the response: status, every header field, the body's digest.

usage: client.py LIBRARY URL...    a URL that ends in /post is posted to
"""
import asyncio
import hashlib
import sys

BODY = b'{"b": 2, "a": [1, 2, 3]}'


def show(url, status, reason, fields, body):
    print(url, status, reason)
    for name, value in fields:
        print("   ", repr(name), repr(value))
    print("   ", len(body), hashlib.sha256(body).hexdigest(), body[:40])


def with_urllib(urls):
    import urllib.error
    import urllib.request
    for url in urls:
        data = BODY if url.endswith("/post") else None
        request = urllib.request.Request(url, data=data, headers={"Content-Type": "application/json"} if data else {})
        try:
            r = urllib.request.urlopen(request)
        except urllib.error.HTTPError as e:
            r = e
        with r:
            show(url, r.status, r.reason, r.headers.items(), r.read())


def with_requests(urls):
    import requests
    with requests.Session() as s:
        for url in urls:
            r = s.post(url, data=BODY) if url.endswith("/post") else s.get(url)
            # As http.client read them: requests' own table joins fields of one name.
            show(url, r.status_code, r.reason, r.raw._original_response.msg.items(), r.content)


def with_httpx(urls, **more):
    import httpx
    with httpx.Client(**more) as s:
        for url in urls:
            r = s.post(url, content=BODY) if url.endswith("/post") else s.get(url)
            show(url, r.status_code, r.reason_phrase, r.headers.raw, r.content)


def with_httpx2(urls):
    with_httpx(urls, http2=True)


def with_aiohttp(urls):
    import ssl

    import aiohttp

    async def main():
        context = ssl.create_default_context()
        connector = aiohttp.TCPConnector(ssl=context)
        async with aiohttp.ClientSession(trust_env=True, connector=connector) as s:
            for url in urls:
                async with (s.post(url, data=BODY) if url.endswith("/post") else s.get(url)) as r:
                    show(url, r.status, r.reason, r.raw_headers, await r.read())

    asyncio.run(main())


globals()["with_" + sys.argv[1]](sys.argv[2:])
