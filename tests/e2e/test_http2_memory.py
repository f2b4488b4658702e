"""Memory of HTTP/2: a connection that has carried many requests takes no more of it than one that has carried few."""

import json
import os
import signal
import subprocess

import pytest
from origins import Nghttpd
from raw import Client
from support import PATIENCE_S, clean_env, rows, until
from test_limits import MB, memory

FEW = 10_000
MANY = int(os.environ.get("RINGTAPE_H2_REQUESTS", 70_000))  # docs/performance.md has the figures of a million
# What may differ between two readings without anything being kept per request: the recorder's spare blocks (8 of 64 KB) and SQLite's page cache (1 MB), which
# the first requests do not fill, and the allocator's free lists. 60,000 requests that each left as little as 40 bytes behind are more.
GROWTH_MAX = 2 * MB


@pytest.fixture
def nghttpd(tmp_path, shared):
    origin = Nghttpd(tmp_path, shared.authority)
    (origin.www / "page").write_bytes(bytes(range(256)) * 4)
    yield origin
    origin.stop()


class Load:
    """h2load: one connection, 32 streams at once, until it is ended. `rest_at` makes it pause."""

    def __init__(self, folder, port):
        with open(folder / "h2load.log", "wb") as log:
            self.process = subprocess.Popen(["h2load", "-n", str(2 * MANY), "-c", "1", "-m", "32", f"https://127.0.0.1:{port}/page"],
                                            stdout=log, stderr=log, env=clean_env())

    def rest_at(self, r, client, requests):
        """Stops when that many have been answered: then, with nothing under way and all of it on the tape, our RSS in bytes."""
        def counted():
            return json.loads(client.ask(b"GET http://ringtape/counters.json HTTP/1.1\r\nHost: ringtape\r\n\r\n").body)

        def at_rest():
            n = counted()
            return n["exchanges_now"] <= 1 and n["queue_bytes"] == 0  # this question is one

        end = requests  # `until` bounds standing still, not the load as a whole
        while (so_far := counted()["flows"]) < end:
            until(lambda: counted()["flows"] >= min(end, so_far + 1000), f"{so_far} requests, and more", self.process)
        self.process.send_signal(signal.SIGSTOP)
        until(at_rest, "what was under way ends", self.process)
        rss = memory(r, "VmRSS")
        self.process.send_signal(signal.SIGCONT)
        return rss

    def stop(self):
        self.process.kill()
        self.process.wait(PATIENCE_S)


def test_many_requests_on_one_connection_take_no_more_memory_than_few(ringtape, nghttpd, tmp_path):
    tape = tmp_path / "t.tape"
    r = ringtape("record", "-o", tape, "--reverse", nghttpd.url(""))
    load = Load(tmp_path, r.port)
    try:
        with Client(r.port) as c:
            few = load.rest_at(r, c, FEW)
            many = load.rest_at(r, c, MANY)
    finally:
        load.stop()
    r.stop()
    used = rows(tape, "select client_connection, server_connection, count(*) n from flow where path = '/page' and complete group by 1, 2")
    assert len(used) == 1 and used[0]["n"] >= MANY, used
    print(f"RSS: {few} bytes after {FEW} requests, {many} after {MANY}")
    assert many - few < GROWTH_MAX, (few, many)
    tape.unlink()
