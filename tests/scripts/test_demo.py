"""What `make demo` runs: it records, exports and replays, fails when something does not hold, and leaves nothing behind."""

import functools
import http.server
import os
import pathlib
import re
import subprocess
import threading

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def demo(tmp_path, *arguments, **env):
    environment = {**os.environ, "TMPDIR": str(tmp_path), "XDG_DATA_HOME": str(tmp_path / "data"), **env}
    done = subprocess.run([ROOT / "scripts/demo.sh", *arguments], env=environment, stdin=subprocess.DEVNULL, text=True, capture_output=True,
                          timeout=120)
    assert [p.name for p in tmp_path.glob("ringtape-demo.*")] == []
    return done


def test_a_clone_and_a_page_are_recorded_and_replayed(tmp_path):
    done = demo(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert [line[:2] for line in done.stdout.splitlines() if re.match(r"\d\. ", line)] == ["1.", "2.", "3.", "4.", "5."]
    assert "\033" not in done.stdout and "commit 5" in done.stdout and "The replay printed the same bytes" in done.stdout
    recorded = re.search(r"recorded (\d+) flows, 0 errors", done.stderr)
    assert int(recorded[1]) > 10 and f"{recorded[1]} served, 0 missed, 0 repeated" in done.stderr and " 0 connects to the network" in done.stderr


def test_the_users_own_url(tmp_path):
    (tmp_path / "www").mkdir()
    (tmp_path / "www/index.html").write_text("hello\n")

    class Quiet(http.server.SimpleHTTPRequestHandler):
        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Quiet, directory=tmp_path / "www"))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        done = demo(tmp_path, f"http://127.0.0.1:{server.server_port}/")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()
    assert done.returncode == 0, done.stdout + done.stderr
    assert "\n6\n" in done.stdout and "1 served, 0 missed" in done.stderr


@pytest.mark.parametrize("command", ["record", "export", "replay"])
def test_a_step_that_fails_fails_the_demo(tmp_path, command):
    wrapper = tmp_path / "ringtape"
    wrapper.write_text(f'#!/bin/sh\n[ "$1" != {command} ] || exit 1\nexec {ROOT}/build/ringtape "$@"\n')
    wrapper.chmod(0o755)
    done = demo(tmp_path, RINGTAPE=str(wrapper))
    assert done.returncode != 0 and "the same bytes" not in done.stdout


def test_a_replay_that_answers_otherwise_fails_the_demo(tmp_path):
    wrapper = tmp_path / "ringtape"
    wrapper.write_text(f'#!/bin/sh\n[ "$1" != replay ] || echo more\nexec {ROOT}/build/ringtape "$@"\n')
    wrapper.chmod(0o755)
    done = demo(tmp_path, RINGTAPE=str(wrapper))
    assert done.returncode != 0 and "the same bytes" not in done.stdout
