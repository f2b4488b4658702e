"""README is true: its tour is typed into a shell and says what it says there, its commands and links are those that exist."""

import os
import re
import shlex
import subprocess

import pytest
from conftest import ROOT
from support import PATIENCE_S, RINGTAPE, Nginx, clean_env

README = (ROOT / "README.md").read_text()
DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("**/*.md"))]
PAGE = "<!doctype html>\n<title>Example Domain</title>\n<p>This domain is for use in illustrative examples.\n"


def tour():
    """[(command, what README shows below it)]"""
    section = README.partition("\n## A tour\n")[2].partition("\n## ")[0]
    steps = []
    for line in (line[4:] for line in section.splitlines() if line.startswith("    ")):
        if line.startswith("$ "):
            steps.append((line[2:], []))
        else:
            steps[-1][1].append(line)
    return steps


def shape(lines):
    """Without what differs from run to run: numbers, and how wide they make a column."""
    return [" ".join(re.sub(r"─+", "─", re.sub(r"\d+(\.\d+)?", "N", line)).split()) for line in lines]


def assert_same_shape(shown, printed):
    """`…` alone on a line stands for any lines."""
    pattern = "".join(r"(?:.*\n)*" if line == "…" else re.escape(line) + "\n" for line in shape(shown))
    assert re.fullmatch(pattern, "".join(line + "\n" for line in shape(printed))), "\n".join([*shown, "--- is not ---", *printed])


# The differences to what a person types: example.com is the nginx here (--connect-to, --upstream-ca), port 8080 is one that the kernel chose, and the
# next command waits until it accepts (--port-file).
WRAPPER = """#!/bin/bash
[ "$1" = record ] || exec {ringtape} "$@"
shift
[ "$3" != -l ] || set -- --port-file port "$@"
exec {ringtape} record --connect-to example.com:443:127.0.0.1:{port} --upstream-ca {ca} "$@"
"""


@pytest.fixture
def typed(tmp_path, authority):
    """What each command of the tour printed, typed one after the other into one bash."""
    (tmp_path / "origin").mkdir()
    (tmp_path / "bin").mkdir()
    (tmp_path / "home").mkdir()
    origin = Nginx(tmp_path / "origin", authority, *authority.issue("example", san="DNS:example.com"))
    try:
        (origin.www / "index.html").write_text(PAGE)
        wrapper = tmp_path / "bin/ringtape"
        wrapper.write_text(WRAPPER.format(ringtape=shlex.quote(RINGTAPE), port=origin.https, ca=authority.pem))
        wrapper.chmod(0o755)
        script = "last=0\n"
        for n, (command, _) in enumerate(tour()):
            # A command that follows sees the exit code of the one before, as at a prompt.
            script += f"{{ (exit $last); {command.replace(':8080 &', ':0 &').replace('8080', '$(<port)')}\n}} >../out{n} 2>&1; last=$?\n"
            if command.endswith("&"):
                script += f"for i in {{1..{PATIENCE_S * 100}}}; do {{ [ -s port ] || ! kill -0 %1; }} && break; sleep 0.01; done\n"
            if command.startswith("kill"):
                script += "wait\n"
        env = clean_env(PATH=f"{tmp_path}/bin:{os.environ['PATH']}", HOME=tmp_path / "home", XDG_DATA_HOME=tmp_path / "data")
        done = subprocess.run(["bash", "--norc"], input=script, cwd=tmp_path / "home", env=env, text=True, timeout=2 * PATIENCE_S,
                              capture_output=True)
        assert (done.stdout, done.stderr) == ("", "")
    finally:
        origin.stop()
    port = (tmp_path / "home/port").read_text().strip()
    return [(tmp_path / f"out{n}").read_text().replace(port, "8080").splitlines() for n in range(len(tour()))], tmp_path / "home"


def test_the_tour_says_what_it_says_here(typed):
    printed, folder = typed
    steps = tour()
    background = next(n for n, (command, _) in enumerate(steps) if command.endswith("&"))
    end = next(n for n, (command, _) in enumerate(steps) if command.startswith("kill"))
    assert len(steps) >= 10
    for n, (command, shown) in enumerate(steps):
        if n == background:  # on a terminal its last lines come after the kill
            shown = [*shown, *steps[end][1]]
        if n != end:
            assert_same_shape(shown, printed[n])
    status = next(n for n, (command, _) in enumerate(steps) if command == "echo $?")
    assert steps[status][1] == printed[status] == ["3"]
    assert (folder / "login.har").stat().st_size > 500 and "no recording matches" in (folder / "miss.json").read_text()
    assert sum(printed[n] != [] and printed[n][-1].endswith(" 0 connects to the network") for n in range(len(steps))) == 2


def test_a_changed_output_would_be_noticed():
    shown = ["ringtape: recorded 1 flow, 0 errors, 98 B in 0.3 s; login.tape, 327.7 kB"]
    assert_same_shape(shown, ["ringtape: recorded 2 flow, 7 errors, 1 B in 10 s; login.tape, 9.1 kB"])
    assert_same_shape(["…", *shown], ["more", *shown])
    for other in (["ringtape: recorded 1 flow, 0 errors"], [*shown, "more"], []):
        with pytest.raises(AssertionError):
            assert_same_shape(shown, other)


def test_three_sentences_say_what_it_is():
    introduction = README.partition("\n\n")[2].partition("\n\n")[0]
    assert len(re.findall(r"[.](?:\s|$)", introduction)) == 3


def test_the_two_commands_and_what_ci_runs():
    section = README.partition("\n## Two commands\n")[2].partition("\n## ")[0]
    first, second = [line.strip() for line in section.splitlines() if line.startswith("    ")]
    assert first == "apt-get update && apt-get install -y make && make demo"
    assert second == "apt-get update && apt-get install -y make && make check"
    rules = (ROOT / "Makefile").read_text()
    assert re.search(r"^demo:\n(\t.*\n)*\tscripts/demo\.sh ", rules, re.M) and re.search(r"^check:\n(\t.*\n)*\ttests/run all\n", rules, re.M)
    ci = [line for line in (ROOT / ".ci/run").read_text().splitlines() if re.match(r"(exec )?make\b", line)]
    assert [re.sub(r" --no-print-directory|(?= 2>&1).*", "", line) for line in ci] == ["make check"]
    assert os.access(ROOT / ".ci/run", os.X_OK) and os.access(ROOT / "scripts/demo.sh", os.X_OK)


def anchors(text):
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in re.findall(r"^#+ (.+)$", text, re.M)}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_somewhere(document):
    text = document.read_text()
    for target in re.findall(r"\]\(([^)\s]+)\)", text):
        if re.match(r"[a-z]+://", target):
            continue
        path, _, anchor = target.partition("#")
        there = (document.parent / path).resolve() if path else document
        assert there.exists() and ROOT in there.parents, target
        assert not anchor or anchor in anchors(there.read_text()), target


NAMED = re.compile(r"(?<![\w./-])((?:src|tools|tests|scripts|docs|schema|bench|include|\.ci)/[\w./-]*[\w/])")
LAYER_FILE = re.compile(r"`((?:base|ring|tls|http|flow|proxy|tape|record|replay|har|diff)/[\w.]+\.[ch])`")
PLACEHOLDER = re.compile(r"[A-Z]{2,}")


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_files_that_are_named_exist(document):
    text = document.read_text()
    for name in NAMED.findall(text):
        if not PLACEHOLDER.search(name):
            assert (ROOT / name).exists(), name
    for name in LAYER_FILE.findall(text):
        assert (ROOT / "src" / name).exists(), name


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_targets_of_make_that_are_named_exist(document):
    rules = (ROOT / "Makefile").read_text()
    for target in re.findall(r"`make ([a-z][a-z-]*)", document.read_text()):
        layer = target.removeprefix("tests-") if target.startswith("tests-") else None  # a target for each folder of unit tests
        assert (ROOT / "tests" / layer).is_dir() if layer else re.search(rf"^{re.escape(target)}:", rules, re.M), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda p: str(p.relative_to(ROOT)))
def test_options_that_are_named_exist(document):
    """Options of ringtape itself, in a line that calls it; words after `--` are somebody else's."""
    table = (ROOT / "tools/option_table.h").read_text()
    known = set(re.findall(r"X\(OPT_\w+, [^,]+, \"([a-z0-9-]+)\"", table)) | {"version", "generate"}
    for line in re.findall(r"ringtape (?:record|replay|export|ls|show|ca)\b[^`\n]*", document.read_text()):
        for option in re.findall(r"(?<=\s)--([a-z][a-z0-9-]*)", re.split(r" -- |<\(|\|", line)[0]):
            assert option in known, line
