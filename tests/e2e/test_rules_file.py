"""ringtape.json: the rules of a replay that a project commits."""

import json
import os

import pytest
from support import RINGTAPE, clean_env, run


@pytest.fixture
def tape(session, origin, shared, tmp_path):
    """One request with ?t=1, recorded; its origin is gone."""
    session.record("curl", "-sS", origin.url("/hello.txt?t=1"))
    origin.stop()
    url = origin.url("/hello.txt?t=2")

    def replay(*options, cwd, command=("curl", "-s", "-o", "/dev/null", "-w", "%{http_code}", url)):
        return run(RINGTAPE, "replay", session.tape, "--ca-dir", shared.ca_dir, *options, "--", *command, check=False, env=clean_env(), cwd=cwd)

    session.replay_in = replay
    return session


def folders(tmp_path):
    project = tmp_path / "work" / "project"
    (project / "deep" / "down").mkdir(parents=True)
    return project


def test_found_from_the_working_directory_upwards(tape, tmp_path):
    project = folders(tmp_path)
    assert tape.replay_in(cwd=project).returncode == 3
    (project / "ringtape.json").write_text('{"ignore": ["query:t"]}')
    for cwd in (project, project / "deep" / "down"):
        done = tape.replay_in(cwd=cwd)
        assert (done.returncode, done.stdout) == (0, b"200"), done.stderr
        assert f"rules from {project}/ringtape.json" in done.stderr.decode()
    (project / "deep" / "ringtape.json").write_text('{"order": "once"}')  # the nearer one
    assert tape.replay_in(cwd=project / "deep" / "down").returncode == 3


def test_beside_the_tape_first(tape, tmp_path):
    project = folders(tmp_path)
    (project / "ringtape.json").write_text('{"ignore": "body"}')
    (tape.tape.parent / "ringtape.json").write_text('{"ignore": "query"}')
    done = tape.replay_in(cwd=project)
    assert (done.returncode, done.stdout) == (0, b"200"), done.stderr


def test_what_the_command_line_says_comes_on_top(tape, tmp_path):
    project = folders(tmp_path)
    rules = project / "strict.json"
    rules.write_text('{"ignore": ["query:t"], "fail-on": "never", "miss-status": 404, "pace": 0.5, "match": ["method", "path", "query"], "map": ["a.test=b.test"]}')
    assert tape.replay_in("--rules", rules, cwd=project).stdout == b"200"
    assert tape.replay_in("--rules", rules, "--match", "method,host,path,query,header:X-None", cwd=project).stdout == b"200"
    done = tape.replay_in("--rules", rules, "--match", "port,header:User-Agent", "--map", "localhost=nowhere.test", cwd=project)
    assert (done.returncode, done.stdout) == (0, b"200")  # the host is not compared
    done = tape.replay_in("--rules", rules, "--match", "host", "--map", "localhost=nowhere.test", cwd=project)
    assert (done.returncode, done.stdout) == (0, b"404"), "fail-on is never, miss-status 404"
    assert tape.replay_in("--rules", rules, "--match", "host", "--map", "localhost=nowhere.test", "--fail-on", "miss", "--miss-status", "500", cwd=project).stdout == b"500"
    done = tape.replay_in("--rules", rules, "--match", "host", "--map", "localhost=nowhere.test", "--fail-on", "miss", cwd=project)
    assert done.returncode == 3


@pytest.mark.parametrize("text, said", [
    ('{"ignore": ["query:t"]', ":1:22: the rules are no JSON: "),
    ('{\n"ignore": nothing}', ":2:"),
    ("", ":1:0: the rules are no JSON: "),
    ('["query:t"]', ": the rules are no JSON object"),
    ('{"ignored": []}', ": ignored is no rule; there are match, ignore, map, order, pace, fail-on, miss-status"),
    ('{"ignore": ["colour"]}', ": ignore: 'colour' is not a field to ignore"),
    ('{"ignore": [1]}', ": ignore: wants text, or a list of it"),
    ('{"ignore": "a\\u0000b"}', ":1:21: the rules are no JSON: "),
    ('{"pace": "soon"}', ": pace: 'soon' is not a pace"),
    ('{"pace": -1}', ": pace: '-1' is not a pace"),
    ('{"miss-status": 99}', ": miss-status: '99' is not a status"),
    ('{"order": {}}', ": order: wants text"),
    ('{"order": "once", "order": "first"}', "duplicate"),
    ('{"\\u001b[31m": 1}', "is no rule"),
])
def test_bad_rules(tape, tmp_path, text, said):
    rules = tmp_path / "bad.json"
    rules.write_text(text)
    done = tape.replay_in("--rules", rules, cwd=tmp_path)
    assert done.returncode == 125 and done.stdout == b""
    line = done.stderr.decode()
    assert line.count("\n") == 1 and str(rules) in line and said in line and "\x1b" not in line, line


def test_a_file_that_is_not_there(tape, tmp_path):
    done = tape.replay_in("--rules", tmp_path / "none.json", cwd=tmp_path)
    assert done.returncode == 125 and b"none.json: the rules cannot be read: " in done.stderr


def test_one_that_everybody_may_write_is_not_taken(tape, tmp_path):
    project = folders(tmp_path)
    rules = project / "ringtape.json"
    rules.write_text(json.dumps({"ignore": ["query:t"]}))
    rules.chmod(0o666)
    done = tape.replay_in(cwd=project)
    assert done.returncode == 3 and f"--rules {rules}" in done.stderr.decode()
    assert tape.replay_in("--rules", rules, cwd=project).returncode == 0
    os.chmod(rules, 0o644)
    assert tape.replay_in(cwd=project).returncode == 0
