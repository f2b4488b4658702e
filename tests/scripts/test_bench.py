"""bench/run measures what it says, fails when something is wrong, and leaves nothing behind."""

import os
import pathlib
import re
import subprocess

ROOT = pathlib.Path(__file__).resolve().parents[2]


def bench(tmp_path, *loads, **env):
    environment = {**os.environ, "SECS": "1", "WARM_SECS": "0", "CONNECTIONS": "8", "TMPDIR": str(tmp_path), **env}
    return subprocess.run([ROOT / "bench/run", *loads], env=environment, text=True, capture_output=True, timeout=120)


def test_one_table_with_a_row_for_each_proxy(tmp_path):
    done = bench(tmp_path, "tls")
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    head, *rows = done.stdout.partition("\n\n")[0].splitlines()
    assert head.split() == ["load", "requests/s", "CPU", "µs", "each", "p50", "ms", "p99", "ms"]
    assert [row.split()[:2] for row in rows] == [["tls", "nginx"], ["tls", "haproxy"], ["tls", "ringtape"]]
    assert all(float(number) > 0 for row in rows for number in row.split()[2:6])
    recorded = re.search(r"^(\d+) flows recorded", done.stdout, re.M)
    rate = float(rows[2].split()[2])
    assert int(recorded[1]) >= rate * 0.9 and re.search(r"to HAProxy's: tls \d+\.\d\d$", done.stdout, re.M)
    assert list(tmp_path.iterdir()) == []


def test_what_is_added_to_an_event(tmp_path):
    environment = {**os.environ, "EVENTS": "50", "TMPDIR": str(tmp_path)}
    done = subprocess.run([ROOT / "bench/events"], env=environment, text=True, capture_output=True, timeout=120)
    assert (done.returncode, done.stderr) == (0, ""), done.stderr
    rows = done.stdout.splitlines()
    assert [row.split()[:2] for row in rows[:2]] == [["events", "straight"], ["events", "recorded"]]
    assert re.fullmatch(r"added to an event at the median: -?\d+\.\d{3} ms", rows[2])
    assert list(tmp_path.iterdir()) == []


def test_a_proxy_that_does_not_work_fails_the_run(tmp_path):
    done = bench(tmp_path, "forward", RINGTAPE="/bin/false")
    assert done.returncode == 1 and "ringtape" in done.stderr and "Traceback" not in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_unknown_load_is_refused(tmp_path):
    done = bench(tmp_path, "nonesuch")
    assert done.returncode == 2 and "nonesuch" in done.stderr and done.stdout == ""
