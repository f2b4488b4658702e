"""`replay --explain ID`: by what a recording is known."""

import pytest
from origins import go_h2origin
from support import RINGTAPE, run


@pytest.fixture
def tape(session, shared, tmp_path):
    origin = go_h2origin(tmp_path, shared.authority)
    url, own = origin.url("/sink"), ("-H", "X-Own: ä b", "-H", "Cookie: a=1; b=2")
    (tmp_path / "doc.json").write_text('{"a": [1, 2], "nonce": "x"}')
    session.record("sh", "-c", f'curl -s "{url}?t=1&q=%C3%A4"; curl -s "{url}?q=%C3%A4&t=1"; curl -s "$@" "{url}?q=%C3%A4&t=2"; '
                   f'curl -s -H "Content-Type: application/json" -d @doc.json {url}; curl -s -F "part=x" {url}; curl -s -d "form=1" {url}', "sh", *own)
    origin.stop()

    def explain(flow, *options, tapes=(session.tape,), code=0):
        done = run(RINGTAPE, "replay", *tapes, "--explain", flow, "--ca-dir", tmp_path / "none", *options, check=False)
        assert done.returncode == code, done.stderr
        assert not (tmp_path / "none").exists(), "nothing is served, so no CA is made"
        return (done.stdout if code == 0 else done.stderr).decode()

    explain.port = origin.port
    explain.tape = session.tape
    return explain


def test_each_field_and_who_shares_the_key(tape):
    assert tape(1) == (f"flow 1\n  method       GET\n  scheme       https\n  host         localhost\n  port         {tape.port}\n  path         /sink\n"
                       "  query:t      1\n  query:q      ä\n  body         none\nrecording 1 of 2 with this key: flows 1, 2\n")
    assert "recording 2 of 2 with this key: flows 1, 2\n" in tape(2)
    assert "recording 1 of 1 with this key\n" in tape(3)


def test_what_the_rules_leave_out(tape):
    said = tape(3, "--ignore", "query:t", "--ignore", "port", "--match", "host,port,path,query,header:x-own,cookie:b,header:x-two", "--ignore", "header:x-two")
    assert "  query:t      2  (ignored)\n" in said and f"  port         {tape.port}  (ignored)\n" in said
    assert "  method       GET  (not compared)\n" in said and "  body         none  (not compared)\n" in said
    assert "  header:x-own ä b\n" in said and "  cookie:b     2\n" in said and "cookie:a" not in said
    assert said.endswith("recording 1 of 1 with this key\n")
    assert tape(3, "--ignore", "query:t").endswith("recording 3 of 3 with this key: flows 1, 2, 3\n")


def test_bodies(tape):
    assert "  body         as JSON, 27 bytes\n" in tape(4)
    assert "  body         as JSON, 27 bytes, less 1 JSON pointer\n" in tape(4, "--ignore", "json:/nonce")
    assert "  body         part by part, " in tape(5) and "  body         as a form, 6 bytes\n" in tape(6)


def test_what_is_not_there(tape):
    assert tape(99, code=3).endswith("session.tape has no flow 99\n")
    assert "'x' is not a flow" in tape("x", code=2) and "'0' is not a flow" in tape("0", code=2)
    assert "there is only 1 tape" in tape("2:1", code=3)
    assert "flow 2:1\n" in tape("2:1", tapes=(tape.tape, tape.tape))
    assert tape(1, "-f", "~m POST").endswith("it is no recording to answer with: --filter leaves it out, or it holds no answer\n")
