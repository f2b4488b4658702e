"""A page as browsers load them: HTTP/2, a WebSocket and an event stream, recorded, and replayed without its origin."""

import asyncio
import pathlib
import re
import threading

import pytest
import websockets
from support import Nginx, Ports, RINGTAPE, export_har, flows, rows, run

CLIENTS = pathlib.Path(__file__).parent / "clients"

PAGE = '<!doctype html><title>x</title><link rel="stylesheet" href="style.css"><p id="a">waiting</p><script src="app.js"></script>'
SCRIPT = """
const said = [];
function talk() {
  return new Promise(done => {
    const ws = new WebSocket('wss://' + location.host + '/talk');
    ws.binaryType = 'arraybuffer';
    ws.onopen = () => ws.send('one');
    ws.onerror = () => { said.push('ws-error'); done(); };
    ws.onmessage = e => {
      if (typeof e.data === 'string') { said.push(e.data); ws.send(new Uint8Array([1, 2, 3])); }
      else { said.push(new Uint8Array(e.data).join('+')); ws.close(1000, 'enough'); }
    };
    ws.onclose = e => { said.push(e.code + e.reason); done(); };
  });
}
function listen() {
  return new Promise(done => {
    const es = new EventSource('/events');
    es.addEventListener('tick', e => { said.push(e.lastEventId + '=' + e.data); if (e.data === 'c') { es.close(); done(); } });
    es.onerror = () => { said.push('es-error'); es.close(); done(); };
  });
}
(async () => {
  said.push((await fetch('/data.json')).status);
  await talk();
  await listen();
  document.getElementById('a').textContent = 'done: ' + said.join(' ');
})();
"""
DONE = "done: 200 ONE 3+2+1 1000enough 1=a 2=b 3=c"


class Behind:
    """What nginx passes on: a WebSocket that answers in capitals and backwards, and an event stream that never ends by itself."""

    def __init__(self):
        self.loop = asyncio.new_event_loop()
        self.thread = threading.Thread(target=self.loop.run_forever)
        self.thread.start()
        self.servers = asyncio.run_coroutine_threadsafe(self._begin(), self.loop).result(30)
        self.talk, self.events = (s.sockets[0].getsockname()[1] for s in self.servers)

    async def _begin(self):
        async def talk(ws):
            async for said in ws:
                await ws.send(said.upper() if isinstance(said, str) else said[::-1])

        async def events(reader, writer):
            await reader.readuntil(b"\r\n\r\n")
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\nretry: 60000\n\n")
            for i, data in enumerate("abc"):
                writer.write(b"event: tick\nid: %d\ndata: %s\n\n" % (i + 1, data.encode()))
                await writer.drain()
            await reader.read()
            writer.close()

        server = await asyncio.start_server(events, "127.0.0.1", 0)
        return await websockets.serve(talk, "127.0.0.1", 0), server

    def close(self):
        async def end():
            for s in self.servers:
                s.close()
            rest = [t for t in asyncio.all_tasks() if t is not asyncio.current_task()]
            for t in rest:
                t.cancel()
            await asyncio.gather(*rest, return_exceptions=True)
        asyncio.run_coroutine_threadsafe(end(), self.loop).result(30)
        self.loop.call_soon_threadsafe(self.loop.stop)
        self.thread.join(30)
        self.loop.close()


@pytest.fixture
def site(tmp_path, shared):
    behind, ports = Behind(), Ports()
    h2 = ports.take()
    folder = tmp_path / "site"
    folder.mkdir()
    nginx = Nginx(folder, shared.authority, extra=f"""}}
      server {{
        listen 127.0.0.1:{h2} ssl http2 reuseport; server_name localhost;
        location = /talk {{ proxy_pass http://127.0.0.1:{behind.talk}; proxy_http_version 1.1; proxy_set_header Host $host;
                           proxy_set_header Upgrade $http_upgrade; proxy_set_header Connection upgrade; }}
        location = /events {{ proxy_pass http://127.0.0.1:{behind.events}; proxy_buffering off; }}""")
    for name, data in (("index.html", PAGE), ("app.js", SCRIPT), ("style.css", "p { color: green }")):
        (nginx.www / name).write_text(data)
    nginx.page = f"https://localhost:{h2}/index.html"
    nginx.h2 = h2

    def stop():
        nginx.stop()
        behind.close()
        ports.close()
        behind.servers = []

    nginx.off = stop
    yield nginx
    if behind.servers:
        stop()


def test_a_page_with_http2_a_websocket_and_an_event_stream(session, site, tmp_path):
    script = CLIENTS / "browser.py"
    out = session.record("/usr/bin/python3", script, site.page, tmp_path / "profile1").decode()
    assert DONE in out, out
    har = export_har(session.tape, tmp_path)
    of = {f["path"]: f for f in flows(session.tape, f"port = {site.h2}")}
    assert {"/index.html", "/app.js", "/style.css", "/data.json", "/talk", "/events"} <= set(of)
    assert {of[p]["http_version"] for p in ("/index.html", "/app.js", "/data.json", "/events")} == {"HTTP/2"}
    assert of["/talk"]["kind"] == "websocket" and of["/talk"]["status"] == 101 and of["/talk"]["complete"]

    said = rows(session.tape, "select direction, kind, code, cast(payload as text) as text from message where flow = ? and kind <> 'ping' order by seq", of["/talk"]["id"])
    assert [tuple(r.values()) for r in said] == [
        ("request", "text", None, "one"), ("response", "text", None, "ONE"), ("request", "binary", None, "\1\2\3"),
        ("response", "binary", None, "\3\2\1"), ("request", "close", 1000, "enough"), ("response", "close", 1000, "enough")]
    events = rows(session.tape, "select event, event_id, retry_ms, cast(payload as text) as text from message where flow = ? order by seq", of["/events"]["id"])
    assert [tuple(r.values()) for r in events] == [
        (None, None, 60000, ""), ("tick", "1", None, "a"), ("tick", "2", None, "b"), ("tick", "3", None, "c")]

    entries = {e["request"]["url"].split("/", 3)[3]: e for e in har["log"]["entries"] if f":{site.h2}/" in e["request"]["url"]}
    assert [(m["type"], m["opcode"], m["data"]) for m in entries["talk"]["_webSocketMessages"]] == [
        ("send", 1, "one"), ("receive", 1, "ONE"), ("send", 2, "AQID"), ("receive", 2, "AwIB")]
    assert [(m["eventName"], m["eventId"], m["data"]) for m in entries["events"]["_eventSourceMessages"]][1:] == [
        ("tick", "1", "a"), ("tick", "2", "b"), ("tick", "3", "c")]

    listing = run(RINGTAPE, "ls", session.tape).stdout.decode()
    assert re.search(r"101\s+GET .*/talk$", listing, re.M) and re.search(r"200\S* .*GET .*/events\b", listing, re.M)

    site.off()
    again = session.replay("/usr/bin/python3", script, site.page, tmp_path / "profile2").decode()
    assert DONE in again, again
    assert session.report["missed"] == 0, session.report["misses"]
