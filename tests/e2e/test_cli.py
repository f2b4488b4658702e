"""The command line: help, unknown words, options and their values, results on standard output, colours."""

import fcntl
import json
import os
import pty
import re
import struct
import subprocess
import termios
import xml.etree.ElementTree as xml

import pytest
from oneshot import commands_listed, complains, contents, here, option_rows, sample  # noqa: F401 (fixtures)
from support import PATIENCE_S, RINGTAPE, ROOT, flows, rows, run

COMMANDS = commands_listed()


# --- words that are not understood


@pytest.mark.quick
@pytest.mark.parametrize("wrong, meant", [("recrod", "record"), ("recor", "record"), ("reply", "replay"), ("exprot", "export"), ("sl", "ls"),
                                          ("shwo", "show"), ("RECORD", None), ("frobnicate", None), ("", None)])
def test_an_unknown_command_names_the_nearest(here, wrong, meant):
    here.refuses(2, wrong, words=[f"'{wrong}'", f"'{meant}'" if meant else "`ringtape --help`"])


def test_no_command_and_options_before_it(here):
    here.refuses(2, words=["which command?", "`ringtape --help`"])
    here.refuses(2, "--output", "x", words=["'--output'", "ringtape COMMAND [options]"])
    here.refuses(2, "help", "recrod", words=["'record'"])


@pytest.mark.parametrize("argv, words", [
    (["record", "--ouput", "x.tape"], ["'--ouput'", "'--output'"]),
    (["record", "--listen-opne"], ["'--listen-opne'", "'--listen-open'"]),
    (["replay", "a.tape", "--upstream-ca", "x"], ["replay has no option '--upstream-ca'"]),
    (["replay", "a.tape", "--ingore", "host"], ["'--ignore'"]),
    (["export", "a.tape", "--formt=har"], ["'--format'"]),
    (["ls", "a.tape", "--jsno"], ["'--json'"]),
    (["show", "a.tape", "1", "--bdoy"], ["'--body'"]),
    (["ca", "--dir", "x"], ["ca has no option '--dir'"]),
    (["record", "--up", "x"], ["'--up' could mean several"]),
    (["record", "-Z"], ["'-Z'"]),
    (["record", "--append=yes"], ["'--append' takes no argument"]),
    (["record", "-o"], ["'--output' needs an argument: TAPE"]),
    (["record", "--listen"], ["'--listen' needs an argument: [HOST:]PORT"]),
    (["ca", "exprot"], ["'exprot'", "'export'"]),
    (["ca", "frobnicate"], ["'frobnicate'", "show, export, new and trust"]),
])
def test_an_unknown_option_names_the_nearest(here, argv, words):
    here.refuses(2, *argv, words=words)


@pytest.mark.parametrize("argv, words", [
    (["replay"], ["which tape?", "ringtape replay TAPE"]),
    (["replay", "--", "true"], ["which tape?"]),
    (["export"], ["which tape?", "ringtape export TAPE"]),
    (["ls"], ["which tape?", "ringtape ls TAPE"]),
    (["show"], ["which flow?", "ringtape show TAPE ID"]),
    (["show", "a.tape"], ["which flow?", "`ringtape ls TAPE`"]),
    (["show", "a.tape", "0"], ["'0' is not a flow's id"]),
    (["show", "a.tape", "-1"], ["'-1'"]),
    (["show", "a.tape", "1x"], ["'1x' is not a flow's id"]),
    (["show", "a.tape", "99999999999999999999"], ["is not a flow's id"]),
    (["show", "a.tape", "1", "2"], ["'2' is one word too many"]),
    (["show", "a.tape", "1", "--body", "--json"], ["--body and --json exclude each other"]),
    (["ls", "a.tape", "b.tape"], ["'b.tape' is one word too many"]),
    (["export", "a.tape", "b.tape"], ["'b.tape' is one word too many"]),
    (["ca", "export", "more"], ["'more' is one word too many"]),
    (["ca", "show", "--format", "der"], ["--format", "ringtape ca export"]),
    (["record", "x.tape"], ["'x.tape'", "-o"]),
    (["record", "--append", "--force", "-o", "a.tape", "--", "true"], ["--append and --force exclude each other"]),
    (["record", "-o", "-", "--", "true"], ["--output", "-o TAPE"]),
    (["record", "-o", "x.tape", "--"], ["no command stands after --"]),
    (["replay", "a.tape", "--"], ["no command stands after --"]),
])
def test_operands_that_are_missing_or_too_many(here, argv, words):
    if argv[:3] == ["show", "a.tape", "-1"]:
        complains(here.attempt(*argv), 2, "show has no option '-1'")
    else:
        here.refuses(2, *argv, words=words)


def test_a_flow_that_is_not_there(here):
    here.refuses(1, "show", "a.tape", "99", words=["a.tape", "99", "`ringtape ls`"])


# --- values, of every option that takes one

# Option: what it must refuse, and what its sentence says beside the option's name. Options whose value names a file take nearly any text;
# they are given a path through something that is no folder, and fail with the exit code of a failure at run time.
GARBAGE = {
    "OPT_EXPLAIN": [("x", "not a flow"), ("0", "not a flow"), ("1:", "not a flow"), (":1", "not a flow"), ("0:1", "not a flow"), ("-1", "not a flow")],
    "OPT_EXPORT_FORMAT": [("xml", "har|jsonl|curl"), ("HAR", "har|jsonl|curl")],
    "OPT_CA_FORMAT": [("jks", "pem|der|p12")],
    "OPT_FILTER": [("~(x", "character 1"), ("~d", "regular expression"), ("(a", ""), ("~c x", ""), ("~b *", "")],
    "OPT_LISTEN": [("x", "8080"), ("65536", "8080"), ("localhost", "8080"), (":80", "8080"), ("::1:80", "[::1]:8080"), ("[::1]", ""),
                   ("1.2.3.4:x", ""), ("-1", ""), (" 80", "")],
    "OPT_PROXY_AUTH": [("user", "USER:PASSWORD"), (":secret", "USER:PASSWORD"), ("@missing", "missing"), ("@notes.txt", "USER:PASSWORD")],
    "OPT_REVERSE": [("example.com", "http[s]://"), ("ftp://a/", "http[s]://"), ("a=b", "http[s]://"), ("https://", ""), ("https://a/?q", "")],
    "OPT_PASS": [("a b", "HOST[:PORT]"), ("http://a/", "HOST[:PORT]"), ("a*.example", '"*."'), ("~(", ""), ("a:0", ""), ("a:99999", "")],
    "OPT_CLIENT_CERT": [("a", "HOST[:PORT]=FILE"), ("a=", "HOST[:PORT]=FILE"), ("=a.pem", "HOST[:PORT]=FILE"), ("a b=x", ""), ("a*.b=x", '"*."'),
                        ("a:0=x", ""), ("http://a=x", "")],
    "OPT_WORKERS": [("0", "1 to 64"), ("65", "1 to 64"), ("two", "1 to 64"), ("-1", "1 to 64"), ("1.5", "1 to 64")],
    "OPT_BACKEND": [("kqueue", "auto|io_uring|epoll")],
    "OPT_CONNECT_TO": [("a", "HOST:PORT:ADDR:PORT"), ("a:1:b", "HOST:PORT:ADDR:PORT"), ("a:x:b:2", ""), ("a:1:b:70000", "")],
    "OPT_UPSTREAM": [("ftp://a:1", "http://"), ("a b", "http://"), ("socks5://a:1", "http://")],
    "OPT_MAX_BODY": [("0", "at least 1"), ("lots", "65536"), ("-1", "65536"), ("1kk", ""), ("99999999999G", "")],
    "OPT_COMMIT_INTERVAL": [("0", "1 to 60000"), ("60001", "1 to 60000"), ("1s", "1 to 60000")],
    "OPT_MATCH": [("url", "'url'"), ("query:x", ""), ("header:", "")],
    "OPT_IGNORE": [("path:x", "'path:x'"), ("json:x", "slash"), ("method", ""), ("query:", "")],
    "OPT_ORDER": [("random", "sequence, first, last, cycle")],
    "OPT_PACE": [("slow", "factor"), ("-1", "factor"), ("nan", "factor"), ("1001", "factor")],
    "OPT_MAP": [("a", "HOST=HOST"), ("a=", "HOST=HOST"), ("=b", "HOST=HOST")],
    "OPT_FAIL_ON": [("hits", "miss, unused, repeat"), ("miss,hits", "'hits'")],
    "OPT_MISS_STATUS": [("99", "between 200 and 599"), ("600", "between 200 and 599"), ("ok", "between 200 and 599")],
}
FILES = {"OPT_OUTPUT_TAPE", "OPT_OUTPUT_FILE", "OPT_PORT_FILE", "OPT_CA_DIR", "OPT_UPSTREAM_CA", "OPT_REPORT", "OPT_JUNIT", "OPT_RULES"}
WITH_VALUE = [(row[0], row[1], command) for row in option_rows() if row[2] for command in row[3]]


def command_line(command, option):
    """A command line that would work, up to the option in question."""
    base = {"record": ["record", *(["-o", "x.tape"] if option != "output" else [])], "ca": ["ca", "export"], "show": ["show", "a.tape", "1"]}
    return base.get(command, [command, "a.tape"])


@pytest.mark.parametrize("identifier, option, command", WITH_VALUE, ids=lambda v: v)
def test_values_that_an_option_cannot_take(here, identifier, option, command):
    start, serving = command_line(command, option), command in ("record", "replay")
    end = ["--", "touch", "ran"] if serving else []
    here.refuses(2, *start, f"--{option}=", *end, words=[f"--{option}:", "empty"])
    if identifier in FILES:
        alone = 3 if identifier == "OPT_RULES" else 1  # an input
        for code, more in ((125, end), (alone, ["-l0"])) if serving else ((1, []),):
            sentence = here.refuses(code, *start, f"--{option}=notes.txt/x", *more, words=["notes.txt/x"])
            assert re.search("not a directory|not found", sentence, re.IGNORECASE), sentence
        return
    for value, word in GARBAGE[identifier]:
        sentence = here.refuses(2, *start, f"--{option}", value, *end, words=[word])
        assert sentence.startswith(f"ringtape: --{option}"), sentence


def test_short_options_are_as_strict(here):
    here.refuses(2, "record", "-l", "x", words=["--listen", "'x'"])
    here.refuses(2, "record", "-o", "", words=["--output", "empty"])
    here.refuses(2, "ls", "a.tape", "-f", "~(", words=["--filter"])


# --- help


@pytest.mark.quick
@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_names_its_options_and_examples(here, command):
    done = here.attempt(command, "--help")
    text = done.stdout.decode()
    assert done.returncode == 0 and done.stderr == b""
    assert text.startswith(f"usage: ringtape {command} ")
    for _, option, argument, commands in option_rows():
        shown = re.search(rf"--{re.escape(option)}{' ' + re.escape(argument) if argument else ''}(?![\w-])", text)
        assert bool(shown) == (command in commands), option
    examples = text[text.index("examples:"):]
    assert len(re.findall(rf"^ +ringtape {command}\b", examples, re.MULTILINE)) >= 2
    assert max(map(len, text.splitlines())) <= 110 and "\033" not in text
    assert here.attempt("help", command).stdout == done.stdout and here.attempt(command, "-h").stdout == done.stdout


def test_help_wins_over_what_else_is_wrong_later(here):
    assert here.attempt("record", "--help", "--nonsense").returncode == 0
    assert b"usage: ringtape COMMAND" in here.attempt("--help").stdout


def test_version_names_the_libraries(here):
    done = here.attempt("--version")
    text = done.stdout.decode()
    assert done.returncode == 0 and done.stderr == b""
    assert text.splitlines()[0] == "ringtape " + (ROOT / "VERSION").read_text().strip()
    for word in ("wolfSSL", "SQLite", "nghttp2", "llhttp", "liburing"):
        assert re.search(rf"^{word} \d+\.\d+", text, re.MULTILINE), word
    assert re.search(r"^event backend: (io_uring|epoll)$", text, re.MULTILINE)


# --- results on standard output


def test_a_dash_is_standard_output(here):
    har = here.attempt("export", "a.tape")
    assert har.returncode == 0 and json.loads(har.stdout)["log"]["entries"]
    assert here.attempt("export", "a.tape", "-o", "-").stdout == har.stdout
    pem = here.attempt("ca", "export")
    assert pem.returncode == 0 and pem.stdout.startswith(b"-----BEGIN CERTIFICATE-----\n")
    assert here.attempt("ca", "export", "-o", "-").stdout == pem.stdout
    assert contents(here.folder) == here.before


def test_a_dash_is_standard_output_of_what_serves_too(here):
    (here.folder / "-").mkdir()  # no path is meant
    done = here.attempt("replay", "-q", "a.tape", "--report", "-", "--", "true")
    assert (done.returncode, done.stderr) == (0, b"") and json.loads(done.stdout)["unused"] == 2
    done = here.attempt("replay", "-q", "a.tape", "--junit", "-", "--", "true")
    assert done.returncode == 0 and xml.fromstring(done.stdout).tag == "testsuite"
    for command in (["replay", "a.tape"], ["record", "-o", "new.tape"]):
        done = here.attempt(*command, "-q", "--port-file", "-", "--", "sh", "-c", 'echo "$RINGTAPE_PROXY"')
        port, proxy = done.stdout.decode().split()
        assert proxy == f"http://127.0.0.1:{port}"
    assert list((here.folder / "-").iterdir()) == []


EVERY_OUTPUT = [["export", "a.tape"], ["export", "a.tape", "--format", "jsonl"], ["export", "a.tape", "--format", "curl"], ["ls", "a.tape"],
                ["ls", "a.tape", "--json"], ["show", "a.tape", "1"], ["show", "a.tape", "1", "--json"], ["show", "a.tape", "1", "--raw"],
                ["show", "a.tape", "1", "--body"], ["ca", "export"], ["ca", "show"], ["ca", "trust"], ["--help"], ["--version"], ["record", "--help"]]


@pytest.mark.parametrize("argv", EVERY_OUTPUT, ids=" ".join)
def test_standard_output_that_is_full(here, argv):
    with open("/dev/full", "wb") as full:
        done = subprocess.run([RINGTAPE, *argv], stdout=full, stderr=subprocess.PIPE, cwd=here.folder, env=here.env, timeout=PATIENCE_S)
    assert done.returncode == 1
    assert re.fullmatch(r"ringtape: cannot write standard output: no space left [^\n]*\n", done.stderr.decode()), done.stderr


@pytest.mark.parametrize("argv", EVERY_OUTPUT, ids=" ".join)
def test_a_reader_that_has_had_enough_is_no_error(here, argv):
    reading, writing = os.pipe()
    os.close(reading)
    with os.fdopen(writing, "wb") as pipe:
        done = subprocess.run([RINGTAPE, *argv], stdout=pipe, stderr=subprocess.PIPE, cwd=here.folder, env=here.env, timeout=PATIENCE_S)
    assert done.returncode == 0 and done.stderr == b""


def test_standard_descriptors_that_are_closed(here):
    """A tape must not get the number of standard output or standard error, and be written over with messages."""
    done = run("sh", "-c", 'exec "$0" record -o b.tape -- true <&- >&- 2>&-', RINGTAPE, check=False, cwd=here.folder, env=here.env)
    assert done.returncode == 0
    assert flows(here.folder / "b.tape") == []
    (check,) = rows(here.folder / "b.tape", "pragma integrity_check")
    assert check == {"integrity_check": "ok"}


# --- terminals


def on_terminal(*argv, cwd, env):
    """The exit code, and what a program writes to a terminal of 100 columns."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 25, 100, 0, 0))
    process = subprocess.Popen([RINGTAPE, *map(str, argv)], stdin=slave, stdout=slave, stderr=slave, cwd=cwd, env=env)
    os.close(slave)
    text = b""
    try:
        while piece := os.read(master, 65536):
            text += piece
    except OSError:  # EIO: the last writer has gone
        pass
    os.close(master)
    return process.wait(PATIENCE_S), text.decode()


@pytest.mark.parametrize("argv", [["ls", "a.tape"], ["show", "a.tape", "1"]], ids=" ".join)
def test_colours_on_a_terminal_only(here, argv):
    env = {**here.env, "TERM": "xterm"}
    env.pop("NO_COLOR", None)
    assert b"\033" not in here.attempt(*argv, env={"TERM": "xterm"}).stdout
    code, text = on_terminal(*argv, cwd=here.folder, env=env)
    assert code == 0 and "\033[" in text
    for off in ({"NO_COLOR": "1"}, {"TERM": "dumb"}):
        code, text = on_terminal(*argv, cwd=here.folder, env={**env, **off})
        assert code == 0 and "\033" not in text, off
    code, text = on_terminal(*argv, cwd=here.folder, env={**env, "NO_COLOR": ""})  # empty: not set, says no-color.org
    assert "\033[" in text
