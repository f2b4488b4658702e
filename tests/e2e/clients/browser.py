"""usage: browser.py URL PROFILE   Chromium loads the page; prints the text of #a once it begins with "done" (dump-dom would not wait for a WebSocket)."""
import asyncio
import json
import os
import pathlib
import subprocess
import sys
import time
import urllib.request

import websockets

PATIENCE_S = 60
ASK = "(document.getElementById('a') || {}).textContent || ''"


def start(url, profile):
    profile = pathlib.Path(profile)
    (profile / ".pki/nssdb").mkdir(parents=True)
    for more in (["-N", "--empty-password"], ["-A", "-t", "C,,", "-n", "ringtape", "-i", os.environ["RINGTAPE_CA"]]):
        subprocess.run(["certutil", "-d", f"sql:{profile}/.pki/nssdb", *more], check=True)
    return subprocess.Popen(
        ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
         "--disable-component-update", "--disable-sync", "--disable-extensions", "--disable-default-apps", "--disable-dev-shm-usage",
         f"--proxy-server={os.environ['RINGTAPE_PROXY']}", "--proxy-bypass-list=<-loopback>;*.google.com;*.googleapis.com;*.gstatic.com",
         f"--user-data-dir={profile}/profile", "--remote-debugging-port=0", url],
        env={**os.environ, "HOME": str(profile)}, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def page_of(profile, chromium):
    """The address of the page's debugger."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    port = pathlib.Path(profile) / "profile/DevToolsActivePort"
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline and chromium.poll() is None:
        if port.exists() and port.read_text().count("\n"):
            targets = json.load(direct.open(f"http://127.0.0.1:{port.read_text().split()[0]}/json/list"))
            pages = [t for t in targets if t["type"] == "page"]
            if pages:
                return pages[0]["webSocketDebuggerUrl"]
        time.sleep(0.05)
    raise SystemExit("chromium shows no page")


async def text_of(address):
    async with websockets.connect(address, max_size=None, ping_interval=None) as ws:
        deadline = time.monotonic() + PATIENCE_S
        for number in range(1 << 20):
            await ws.send(json.dumps({"id": number, "method": "Runtime.evaluate", "params": {"expression": ASK}}))
            answer = {}
            while answer.get("id") != number:
                answer = json.loads(await asyncio.wait_for(ws.recv(), PATIENCE_S))
            text = answer.get("result", {}).get("result", {}).get("value", "")  # none while a navigation is under way
            if text.startswith("done") or time.monotonic() > deadline:
                return text
            await asyncio.sleep(0.05)


def main():
    url, profile = sys.argv[1:]
    chromium = start(url, profile)
    try:
        print(asyncio.run(text_of(page_of(profile, chromium))))
    finally:
        chromium.terminate()
        chromium.wait(PATIENCE_S)


main()
