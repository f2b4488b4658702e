"""Conformance, as h2spec (built by scripts/deps.sh) judges it: ringtape in front of nghttpd does no worse than nghttpd itself."""

import os
import pathlib
import re
import subprocess

import pytest
from origins import Nghttpd
from support import PATIENCE_S, ROOT, clean_env, run

H2SPEC = pathlib.Path(os.environ.get("H2SPEC") or ROOT / "build/deps/h2spec/h2spec")
UNREACHABLE = ROOT / "build" / "deps" / "h2spec.unreachable"


def asked(port):
    """h2spec at work, strict cases too. Only a case in which nothing may come waits for its limit of time."""
    return subprocess.Popen([H2SPEC, "-t", "-k", "-S", "-o", "6", "-h", "127.0.0.1", "-p", str(port)], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, env=clean_env(TERM="dumb"))


def verdict(process):
    """(passed, the cases that failed)"""
    out = process.communicate(timeout=PATIENCE_S)[0].decode()
    tests, passed, skipped, failed = map(int, re.findall(r"^(\d+) tests, (\d+) passed, (\d+) skipped, (\d+) failed", out, re.MULTILINE)[0])
    assert (tests, skipped) == (146, 0), out
    wrong = set(re.findall(r"^ *× (.*)$", out[out.rindex("Failures:"):] if failed else "", re.MULTILINE))
    assert passed + len(wrong) == tests, out
    return passed, wrong


def test_h2spec_finds_no_more_than_in_nghttpd(ringtape, shared, tmp_path):
    """146 cases of RFC 7540 and RFC 7541 over TLS; nghttpd 1.52 passes 145. The proxy serves on afterwards."""
    if not H2SPEC.exists():
        assert UNREACHABLE.exists(), "h2spec is not built: run scripts/deps.sh test"
        pytest.skip("h2spec's Go modules could not be fetched (scripts/deps.sh test)")
    origin = Nghttpd(tmp_path, shared.authority)
    try:
        (origin.www / "index.html").write_text("hello\n")
        r = ringtape("record", "-o", tmp_path / "h2spec.tape", "--reverse", origin.url())
        ours, theirs = asked(r.port), asked(origin.port)
        (passed, wrong), (passed_theirs, wrong_theirs) = verdict(ours), verdict(theirs)
        assert passed_theirs >= 145
        assert passed >= passed_theirs and wrong <= wrong_theirs, wrong - wrong_theirs
        out = run("curl", "-sS", "--http2", "--cacert", shared.ca, f"https://127.0.0.1:{r.port}/", env=clean_env()).stdout
        assert out == b"hello\n"
        r.stop()
    finally:
        origin.stop()
