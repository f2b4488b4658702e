"""What is written from the option table: --help, docs/commands, man pages and completion say the same, all of it, and what they show works."""

import re
import shlex
import subprocess

import pytest
from conftest import ROOT
from support import RINGTAPE, clean_env, run

TABLE = re.sub(r"\s*\\\n\s*", " ", (ROOT / "tools/option_table.h").read_text())
LITERAL = r'"(?:[^"\\]|\\.)*"'


def text_of(literals):
    """The value of C string literals that stand next to each other."""
    return "".join(re.findall(r'"((?:[^"\\]|\\.)*)"', literals)).replace('\\"', '"').replace("\\n", "\n").replace("\\\\", "\\")


COMMANDS = {m[2]: m[1] for m in re.finditer(rf"X\(([A-Z]+), ([a-z]+), {LITERAL}\)", TABLE)}


def commands_of(expression):
    if expression.strip() == "~0u":
        return set(COMMANDS)
    names = {"SERVING": {"record", "replay"}}
    found = set()
    for word in re.split(r"\s*\|\s*", expression.strip()):
        found |= names.get(word) or {name for name, macro in COMMANDS.items() if word == f"IN({macro})"}
    return found


OPTIONS = [{"letter": m[1].strip("'"), "name": m[2], "argument": m[3].strip('"') if m[3] != "NULL" else None,
            "commands": commands_of(m[4]), "help": text_of(m[5])}
           for m in re.finditer(rf"X\(OPT_\w+, (0|'.'), \"([a-z0-9-]+)\", (NULL|{LITERAL}), ([^\",]+), ((?:{LITERAL} ?)+)\)", TABLE)]


def options_of(command):
    return [o for o in OPTIONS if command in o["commands"]]


def generate(what):
    return run(RINGTAPE, "--generate", what).stdout.decode()


def help_of(command):
    done = run(RINGTAPE, command, "--help")
    assert done.stderr == b""
    return done.stdout.decode()


def examples_of(command):
    return [line.strip() for line in help_of(command).partition("\nexamples:\n")[2].partition("\n\n")[0].splitlines()]


def words_of(example):
    """The words that ringtape itself is given: until a pipe, a redirection or `--`."""
    lexer = shlex.shlex(example, posix=True, punctuation_chars="|>")
    lexer.whitespace_split = True
    words = []
    for word in lexer:
        if set(word) <= set("|>") or word == "--":
            break
        words.append(word)
    return words


def test_the_table_was_read_whole():
    rows = TABLE.count(" X(OPT_")
    assert len(OPTIONS) == rows > 30 and all(o["commands"] for o in OPTIONS)
    assert {"record", "replay", "export", "ls", "show", "ca"} <= set(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_describes_every_option_of_the_table_and_no_other(command):
    text = help_of(command)
    assert text.startswith(f"usage: ringtape {command} ")
    section = text.partition("\noptions:\n")[2].partition("\n\nexamples:")[0]
    assert re.findall(r"^ {2}(?:-.,| {3}) --([a-z0-9-]+)", section, re.M) == [o["name"] for o in options_of(command)]
    flat = " ".join(section.split())
    for option in options_of(command):
        head = f"--{option['name']}" + (f" {option['argument']}" if option["argument"] else "")
        letter = f"-{option['letter']}, " if option["letter"] != "0" else ""
        assert f"{letter}{head} {' '.join(option['help'].split())}" in flat
        assert len(option["help"]) > 8


@pytest.mark.parametrize("command", COMMANDS)
def test_help_fits_a_terminal(command):
    lines = help_of(command).splitlines()
    assert max(map(len, lines)) <= 100
    assert all(line == line.rstrip() and "\t" not in line for line in lines)
    assert max(map(len, run(RINGTAPE, "--help").stdout.decode().splitlines())) <= 100


@pytest.mark.parametrize("command", COMMANDS)
def test_two_or_three_examples_with_options_that_exist(command):
    examples = examples_of(command)
    assert 2 <= len(examples) <= 3
    known = {f"--{o['name']}": o for o in options_of(command)} | {f"-{o['letter']}": o for o in options_of(command) if o["letter"] != "0"}
    for example in examples:
        words = words_of(example)
        assert words[:2] == ["ringtape", command]
        for word, following in zip(words, [*words[1:], None]):
            if word.startswith("-"):
                assert word in known, example
                assert not known[word]["argument"] or (following and not following.startswith("-")), example


@pytest.mark.parametrize("command", ["export", "ls", "show", "ca"])
def test_examples_run(tape, tmp_path, command):
    (tmp_path / "login.tape").symlink_to(tape)
    env = clean_env(RINGTAPE_CA_DIR=tmp_path / "ca", HOME=tmp_path)
    for example in examples_of(command):
        done = run(RINGTAPE, *words_of(example)[1:], cwd=tmp_path, env=env)
        out = [tmp_path / w for w in words_of(example) if re.search(r"\.(har|sh|p12)$", w)]
        filtered = "-f" in words_of(example)  # by hosts that this tape does not have
        assert filtered or done.stdout or out[0].stat().st_size, example
        assert done.stderr == b"" or b"CA" in done.stderr, done.stderr


@pytest.mark.parametrize("command", COMMANDS)
def test_help_is_the_same_however_it_is_asked_for(command):
    text = run(RINGTAPE, "help", command).stdout.decode()
    assert text == help_of(command) == run(RINGTAPE, command, "-h").stdout.decode()
    assert re.search(rf"^  {command} +\S", run(RINGTAPE, "--help").stdout.decode(), re.M)


@pytest.mark.parametrize("command", COMMANDS)
def test_the_committed_page_is_current(command):
    """`make docs` writes them anew."""
    assert (ROOT / f"docs/commands/{command}.md").read_text() == generate(f"markdown-{command}")


def test_there_is_a_page_for_each_command_and_no_other():
    assert {p.stem for p in (ROOT / "docs/commands").iterdir()} == set(COMMANDS)


def man(page):
    """What man shows and what it complains of."""
    env = clean_env(LC_ALL="C.UTF-8", MANWIDTH="500", MAN_KEEP_FORMATTING="", MANPAGER="cat")
    done = run("man", "--warnings", "-P", "cat", "-l", page, env=env)
    return done.stdout.decode(), done.stderr.decode()


@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_man_pages_render_without_a_warning(tmp_path, command):
    page = tmp_path / "page.1"
    page.write_text(generate(f"man-{command}" if command else "man"))
    text, warnings = man(page)
    assert warnings == ""
    flat = " ".join(text.replace("\u2010", "-").split())
    assert text.upper().startswith(f"RINGTAPE{'-' if command else ''}{command.upper()}(1)") and "EXIT STATUS" in text
    for name in [] if command else COMMANDS:
        assert f"ringtape-{name}(1)" in flat
    for option in options_of(command) if command else []:
        assert f"--{option['name']}" + (f" {option['argument']}" if option["argument"] else "") in flat
        assert " ".join(option["help"].split()) in flat
    for example in examples_of(command) if command else []:
        assert example in flat


def test_a_broken_man_page_would_be_noticed(tmp_path):
    page = tmp_path / "page.1"
    page.write_text(generate("man").replace(".SH NAME", ".SH NAME\n.NOSUCHMACRO"))
    assert "NOSUCHMACRO" in man(page)[1]


@pytest.mark.parametrize("command", ["record", "replay"])
def test_the_environment_of_cmd_is_what_the_manual_says(tape, ca_dir, tmp_path, command):
    page = (ROOT / f"docs/commands/{command}.md").read_text()
    rows = re.findall(r"^\| ((?:`\w+` ?)+) \| (.+) \|$", page, re.M)
    table = {name: meaning for names, meaning in rows for name in re.findall(r"`(\w+)`", names)}
    before = clean_env(no_proxy="localhost", NO_PROXY="localhost", JAVA_TOOL_OPTIONS="-Xint")
    operand = ["-o", tmp_path / "new.tape"] if command == "record" else [tape]
    out = run(RINGTAPE, command, "-q", *operand, "--ca-dir", ca_dir, "--", "env", "-0", env=before).stdout.decode()
    after = dict(entry.split("=", 1) for entry in out.split("\0") if entry)
    changed = {name for name in {**before, **after} if before.get(name) != after.get(name)}
    assert changed == set(table) and len(table) > 20
    for name, meaning in table.items():
        value = after.get(name)
        expected = {"the proxy's URL": lambda v: v.startswith("http://127.0.0.1:"), "a file with": lambda v: v.endswith(".pem"),
                    "1": lambda v: v == "1", "what it was": lambda v: v.startswith("-Xint -D") and "PKCS12" in v,
                    "taken out": lambda v: v is None}
        assert next(check for words, check in expected.items() if meaning.startswith(words))(value), (name, value)
        assert name in generate(f"man-{command}")


def test_variables_that_ringtape_reads_are_documented():
    page = (ROOT / "docs/commands/record.md").read_text().replace("\\_", "_")
    sources = [path.read_text() for folder in ("tools", "src") for path in (ROOT / folder).glob("**/*.c")]
    read = {name for text in sources for name in re.findall(r'\bgetenv\("(\w+)"\)', text)}
    assert "SSLKEYLOGFILE" in read and all(re.search(rf"\b{name}\b", page) for name in read - {"PATH"})


def complete(tmp_path, line):
    """What bash offers at the end of the line, in an environment of its own."""
    script = tmp_path / "completion"
    script.write_text(generate("completion-bash"))
    words = re.findall(r"=|[^\s=]+", line) + ([""] if line.endswith(" ") else [])
    code = ('set -u; . "$1"; shift; complete -p ringtape >/dev/null; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); _ringtape; '
            'printf "%s\\n" "${COMPREPLY[@]}"')
    done = subprocess.run(["bash", "--norc", "-c", code, "bash", script, *words], capture_output=True, text=True, timeout=20,
                          cwd=tmp_path, env=clean_env())
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split()


def test_completion_of_commands(tmp_path):
    assert complete(tmp_path, "ringtape ") == [*COMMANDS, "help", "--help", "--version"]
    assert complete(tmp_path, "ringtape re") == ["record", "replay"]
    assert complete(tmp_path, "ringtape help ") == list(COMMANDS)


@pytest.mark.parametrize("command", COMMANDS)
def test_completion_of_options(tmp_path, command):
    assert complete(tmp_path, f"ringtape {command} -") == [f"--{o['name']}" for o in options_of(command)]
    for option in options_of(command):
        words = [w for w in (option["argument"] or "").split("|") if w.islower()] if "|" in (option["argument"] or "") else []
        if words:
            assert complete(tmp_path, f"ringtape {command} --{option['name']} ") == words
            assert complete(tmp_path, f"ringtape {command} --{option['name']}=") == words
            assert complete(tmp_path, f"ringtape {command} --{option['name']}={words[-1][:-1]}") == [words[-1]]


def test_completion_of_actions_and_of_what_is_a_command_of_the_user(tmp_path):
    assert complete(tmp_path, "ringtape ca ") == ["show", "export", "new", "trust"]
    assert complete(tmp_path, "ringtape ca export ") == []
    assert complete(tmp_path, "ringtape ls ") == []  # then bash offers files
    assert "bash" in complete(tmp_path, "ringtape record -- bas")
    assert complete(tmp_path, "ringtape record -- curl --") == []


def test_what_cannot_be_generated_is_refused():
    for what in ("nonesuch", "man-nonesuch", "markdown-", "completion-nonesuch"):
        done = run(RINGTAPE, "--generate", what, check=False)
        assert (done.returncode, done.stdout) == (2, b"") and done.stderr.startswith(b"ringtape: ")
