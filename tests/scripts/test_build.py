"""The build and the scripts behind it: what make promises, embedding, dependencies, stamps, and the checks of the sources."""

import os
import pathlib
import re
import shutil
import subprocess
import time

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]


def call(*command, cwd=ROOT, **environment):
    return subprocess.run(
        command, cwd=cwd, text=True, capture_output=True, timeout=120, env={**os.environ, **environment})


def test_embedded_bytes_are_the_file(tmp_path):
    content = bytes(range(256)) * 20 + b'"\\\n'
    (tmp_path / "gen").mkdir()
    (tmp_path / "file").write_bytes(content)
    made = call(ROOT / "scripts/embed.sh", "file", "some_file", "gen/f.c", "gen/f.h", cwd=tmp_path)
    assert made.returncode == 0, made.stderr
    (tmp_path / "main.c").write_text(
        '#include "gen/f.h"\n#include <stdio.h>\n'
        "int main(void) { fwrite(some_file, 1, some_file_len + 1, stdout); return 0; }\n")
    warnings = ["-std=c17", "-Wall", "-Wextra", "-Wpedantic", "-Wconversion", "-Werror"]
    built = call("gcc", *warnings, "-I.", "main.c", "gen/f.c", "-o", "main", cwd=tmp_path)
    assert built.returncode == 0, built.stderr
    assert subprocess.run([tmp_path / "main"], capture_output=True).stdout == content + b"\0"
    assert sorted(p.name for p in (tmp_path / "gen").iterdir()) == ["f.c", "f.h"]


def test_a_missing_library_is_one_sentence(tmp_path):
    made = call("scripts/check-deps.sh", WOLFSSL_PREFIX=str(tmp_path), LLHTTP_DIR=str(tmp_path))
    assert made.returncode == 1
    lines = made.stderr.splitlines()
    assert len(lines) == 2 and "wolfSSL" in lines[0] and "llhttp" in lines[1]
    assert all(line.startswith("ringtape: ") and line.endswith("run `make deps`") for line in lines)


def test_a_missing_compiler_is_one_sentence():
    made = call("scripts/check-deps.sh", CC="no-such-compiler")
    assert made.returncode == 1
    assert made.stderr.splitlines() == ["ringtape: the compiler no-such-compiler is missing: run `make deps`"]


def test_an_unknown_group_is_refused():
    made = call("scripts/deps.sh", "nonesuch")
    assert made.returncode == 2 and "nonesuch" in made.stderr


@pytest.fixture
def tools(tmp_path):
    """A PATH on which dpkg-query knows no package and nothing can install one; apt-get leaves a mark."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ["bash", "sh", "env", "cat", "sort", "tr", "dirname", "mkdir", "basename", "rm", "mv", "mktemp", "flock"]:
        (folder / name).symlink_to(shutil.which(name))
    for name, script in {
        "dpkg-query": "exit 1",
        "id": "echo 1000",
        "apt-get": f": >{tmp_path}/apt-was-called",
    }.items():
        (folder / name).write_text(f"#!/bin/sh\n{script}\n")
        (folder / name).chmod(0o755)
    return folder


def test_without_root_the_line_to_run_is_printed(tools, tmp_path):
    made = call("scripts/deps.sh", "demo", PATH=str(tools))
    assert made.returncode == 1
    line = made.stderr.splitlines()[-1]
    assert line.startswith("apt-get update && apt-get install -y") and " nginx" in line and " git" in line
    assert not (tmp_path / "apt-was-called").exists()


@pytest.mark.parametrize("status", ["installed", "triggers-pending", "triggers-awaited"])
def test_nothing_is_asked_of_apt_when_all_is_there(tools, tmp_path, status):
    (tools / "dpkg-query").write_text(f"#!/bin/sh\nprintf {status}\n")
    made = call("scripts/deps.sh", "build", "demo", "test", PATH=str(tools), WOLFSSL_PREFIX="/x", LLHTTP_DIR="/x", H2SPEC="/x", CURL_WS="/x")
    assert (made.returncode, made.stdout, made.stderr) == (0, "", "")
    assert not (tmp_path / "apt-was-called").exists()


def test_a_sudo_that_would_ask_is_not_asked(tools, tmp_path):
    (tools / "sudo").write_text(f'#!/bin/sh\n: >{tmp_path}/sudo$1\n[ "$1" != -n ] || exit 1\n')
    (tools / "sudo").chmod(0o755)
    made = subprocess.run([ROOT / "scripts/deps.sh", "bench"], stdin=subprocess.DEVNULL, env={"PATH": str(tools)}, text=True, capture_output=True)
    assert made.returncode == 1
    lines = made.stderr.splitlines()
    assert len(lines) == 2 and lines[1].startswith("apt-get update && apt-get install -y --no-install-recommends ")
    assert {"haproxy", "nginx", "wrk"} <= set(lines[1].split())
    assert [p.name for p in tmp_path.glob("sudo*")] == ["sudo-n"] and not (tmp_path / "apt-was-called").exists()


def test_a_machine_that_has_everything_is_not_connected_anywhere(tmp_path):
    """The real script, with all its groups, on this machine: `make check` has installed what they name."""
    stubs = tmp_path / "bin"
    stubs.mkdir()
    for name in ("apt-get", "apt", "wget", "curl", "git", "sudo"):
        (stubs / name).write_text(f'#!/bin/sh\necho "$0 $*" >>{tmp_path}/called\nexit 1\n')
        (stubs / name).chmod(0o755)
    trace = tmp_path / "trace"
    # Where its modules cannot be fetched it is not here, and would be tried for again.
    more = {} if (ROOT / "build/deps/h2spec/h2spec").exists() else {"H2SPEC": "/x"}
    made = call("strace", "-f", "-qq", "-e", "trace=connect", "-o", trace, "scripts/deps.sh", "build", "demo", "test", "bench",
                PATH=f"{stubs}:{os.environ['PATH']}", **more)
    called = (tmp_path / "called").read_text() if (tmp_path / "called").exists() else ""
    assert (made.returncode, made.stdout, made.stderr, called) == (0, "", "", "")
    assert "AF_INET" not in trace.read_text()


@pytest.fixture(scope="module")
def tree(tmp_path_factory):
    """The sources without what was built of them, and this tree's libraries."""
    folder = tmp_path_factory.mktemp("tree")
    names = subprocess.run(["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=ROOT, capture_output=True, text=True)
    for name in names.stdout.split("\0"):
        if (ROOT / name).is_file():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(ROOT / name, folder / name)
    (folder / "build").mkdir()
    (folder / "build/deps").symlink_to(ROOT / "build/deps")
    return folder


def make(folder, *arguments, **environment):
    # This tree was built with what the caller gave to make; elsewhere that would only be in the way.
    clean = {"MAKEFLAGS": ""} if folder != ROOT else {}
    return call("make", "--no-print-directory", *arguments, cwd=folder, MAKELEVEL="", **clean, **environment)


def compiled(made):
    """The sources that `make` or `make -n` compiles."""
    assert made.returncode == 0, made.stderr
    return set(re.findall(r"^(?:  CC   |.* -c -o \S+ )(\S+\.c)$", made.stdout, re.M))


def compiled_anything(folder):
    return list(folder.glob("**/*.o"))


def sentences(made):
    """What is said besides make's own last words."""
    assert made.returncode != 0
    return [line for line in made.stderr.splitlines() if not line.startswith("make: ")]


def test_a_clone_without_libraries_says_so_before_it_compiles(tree, tmp_path):
    made = make(tree, f"OUT={tmp_path}/out", f"WOLFSSL_PREFIX={tmp_path}/none", f"LLHTTP_DIR={tmp_path}/none")
    lines = sentences(made)
    assert len(lines) == 2 and f"{tmp_path}/none/include" in lines[0] and all("run `make deps`" in line for line in lines)
    assert not compiled_anything(tmp_path / "out")


def test_a_missing_compiler_is_a_sentence_of_make(tree, tmp_path):
    lines = sentences(make(tree, "CC=no-such-compiler", f"OUT={tmp_path}/out"))
    assert lines == ["ringtape: the compiler no-such-compiler is missing: run `make deps`"]


@pytest.mark.parametrize("variable, files, missing", [
    ("WOLFSSL_PREFIX", ["include/wolfssl/options.h"], "lib/libwolfssl.a"),
    ("LLHTTP_DIR", ["include/llhttp.h"], "libllhttp.a"),
])
def test_headers_without_their_library_are_a_sentence(tree, tmp_path, variable, files, missing):
    for name in files:
        (tmp_path / "half" / name).parent.mkdir(parents=True)
        (tmp_path / "half" / name).touch()
    (line,) = sentences(make(tree, f"OUT={tmp_path}/out", f"{variable}={tmp_path}/half"))
    assert f"{tmp_path}/half/{missing}" in line and not compiled_anything(tmp_path / "out")


def test_other_libraries_are_compiled_and_linked_with(tree, tmp_path):
    made = make(tree, "-n", "V=1", f"OUT={tmp_path}/out", "WOLFSSL_PREFIX=/other/wolfssl", "LLHTTP_DIR=/other/llhttp")
    assert made.returncode == 0, made.stderr
    commands = [line for line in made.stdout.splitlines() if line.startswith("gcc")]
    assert len(compiled(made)) > 50 and all("-isystem /other/wolfssl/include -isystem /other/llhttp/include" in line for line in commands[:-1])
    assert "/other/wolfssl/lib/libwolfssl.a -L/other/llhttp -lllhttp" in commands[-1] and "build/deps" not in made.stdout


def test_only_what_includes_a_changed_header_is_compiled_again(tree):
    objects = [f"build/obj/src/base/{name}.o" for name in ("err", "clock", "span")]
    assert len(compiled(make(tree, *objects))) == 3
    assert compiled(make(tree, *objects)) == set()
    header = tree / "src/base/clock.h"
    includes = {name for name in ("err", "clock", "span") if "src/base/clock.h" in (tree / f"build/obj/src/base/{name}.d").read_text()}
    assert includes == {"clock"}
    later = time.time() + 5
    os.utime(header, (later, later))
    assert compiled(make(tree, "-n", *objects)) == {"src/base/clock.c"}
    os.utime(header)
    assert compiled(make(tree, *objects)) == {"src/base/clock.c"}


def test_another_flag_or_compiler_makes_objects_anew_and_the_same_does_not(tree, tmp_path):
    out = [f"OUT={tmp_path}/out", f"{tmp_path}/out/obj/src/base/err.o"]
    assert compiled(make(tree, *out)) == {"src/base/err.c"}
    assert compiled(make(tree, *out, "CFLAGS=-O1")) == {"src/base/err.c"}
    assert compiled(make(tree, *out, "CFLAGS=-O1")) == set()
    assert compiled(make(tree, *out, "CFLAGS=-O1", "CC=clang")) == {"src/base/err.c"}
    assert compiled(make(tree, *out, "CFLAGS=-O1", "CC=clang", "WERROR=1")) == set()  # it changes no object


@pytest.mark.parametrize("sanitizers, folder", [("address,undefined", "build/san-address-undefined"), ("thread", "build/san-thread")])
def test_sanitizer_builds_have_a_folder_of_their_own(tree, sanitizers, folder):
    made = make(tree, "-n", "V=1", f"SANITIZE={sanitizers}")
    outputs = re.findall(r" -o (\S+)", made.stdout)
    assert len(outputs) > 50 and all(name.startswith(f"{folder}/") for name in outputs) and f"{folder}/ringtape" in outputs
    assert f"-fsanitize={sanitizers}" in made.stdout
    before = sorted((tree / "build").glob("obj/**/*"))
    assert compiled(make(tree, f"SANITIZE={sanitizers}", f"{folder}/obj/src/base/err.o")) == {"src/base/err.c"}
    assert (tree / folder / "obj/src/base/err.o").exists() and sorted((tree / "build").glob("obj/**/*")) == before


def test_a_changed_schema_is_embedded_again_once(tree):
    """The statements, not only their number: what is in build/gen is what the program is made of."""
    target = "build/gen/tape_sql.c"
    assert make(tree, target).returncode == 0
    assert make(tree, "-q", target).returncode == 0 and make(tree, "-q", "build/gen/tape_sql.h").returncode == 0
    schema = tree / "schema/tape.sql"
    before, text = (tree / target).read_text(), schema.read_text()
    try:
        schema.write_text(text + "-- more\n")
        later = time.time() + 5
        os.utime(schema, (later, later))
        assert make(tree, target).returncode == 0
        assert (tree / target).read_text() != before
    finally:
        schema.write_text(text)


def test_after_a_build_there_is_nothing_to_do():
    """This tree itself: the tests run after `make`."""
    assert make(ROOT, "-q", "all").returncode == 0
    assert make(ROOT, "manual").returncode == 0 and make(ROOT, "-q", "manual").returncode == 0
    assert make(ROOT, "-n").stdout == make(ROOT).stdout == "make: Nothing to be done for 'all'.\n"


@pytest.mark.parametrize("prefix", [None, "/opt/a folder"])
def test_install_puts_program_manual_and_completion_in_place(tmp_path, prefix):
    to = tmp_path / "a root"
    arguments = [f"DESTDIR={to}", *([f"PREFIX={prefix}"] if prefix else [])]
    for _ in range(2):  # over an earlier one, too
        made = make(ROOT, "install", *arguments)
        assert made.returncode == 0, made.stderr
    base = to / (prefix or "/usr/local").lstrip("/")
    commands = re.findall(r"^    X\([A-Z]+, ([a-z]+), \"", (ROOT / "tools/option_table.h").read_text(), re.M)
    header = {"include/ringtape.h"} if (ROOT / "include/ringtape.h").exists() else set()
    expected = {"bin/ringtape", "share/bash-completion/completions/ringtape", "share/man/man1/ringtape.1",
                *(f"share/man/man1/ringtape-{name}.1" for name in commands), *header}
    assert len(commands) >= 6 and {str(p.relative_to(base)) for p in base.glob("**/*") if p.is_file()} == expected
    assert {str(p.relative_to(to)) for p in to.glob("**/*") if p.is_file()} == {str((base / name).relative_to(to)) for name in expected}
    assert all(((base / name).stat().st_mode & 0o777) == (0o755 if name.startswith("bin/") else 0o644) for name in expected)
    assert call(base / "bin/ringtape", "--version", cwd=tmp_path).stdout.startswith("ringtape " + (ROOT / "VERSION").read_text().strip())
    assert all((base / f"share/man/man1/ringtape-{name}.1").read_text().startswith(".TH RINGTAPE") for name in commands)
    assert call("bash", "-c", '. "$1" && complete -p ringtape', "bash", base / "share/bash-completion/completions/ringtape").returncode == 0


def test_clean_keeps_the_libraries(tmp_path):
    for name in ("build/deps/x/lib", "build/obj/a.o", "build/ringtape"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).touch()
    for name in ("Makefile", "VERSION"):
        shutil.copy(ROOT / name, tmp_path)
    for name in ("tools", "scripts"):
        (tmp_path / name).symlink_to(ROOT / name)
    assert make(tmp_path, "clean").returncode == 0
    assert [str(p.relative_to(tmp_path)) for p in (tmp_path / "build").glob("**/*") if p.is_file()] == ["build/deps/x/lib"]
    assert make(tmp_path, "distclean").returncode == 0 and not (tmp_path / "build").exists()


def test_help_lists_targets_that_exist():
    listed = re.findall(r"^make (\w+)", make(ROOT, "help").stdout, re.M)
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(), re.M))
    assert {"demo", "check", "test", "deps", "bench", "install", "clean", "docs"} <= set(listed) <= targets


@pytest.mark.parametrize("status", ["unpacked", "half-configured", "config-files", "not-installed"])
def test_a_package_that_is_not_all_there_is_missing(tools, status):
    (tools / "dpkg-query").write_text(f"#!/bin/sh\nprintf {status}\n")
    made = call("scripts/deps.sh", "demo", PATH=str(tools))
    assert made.returncode == 1 and " nginx" in made.stderr.splitlines()[-1]


def stamped(folder, recipe, body):
    script = f"set -euo pipefail\n. {ROOT}/scripts/stamped-build.sh\nbuild_into() {{\n{body}\n}}\n"
    return ["bash", "-c", f"{script}\nstamped_build deps/thing '{recipe}'"], folder


def test_a_recipe_is_made_once_and_anew_when_it_changes(tmp_path):
    body = 'echo x >>"$OLDPWD/count"; echo made >"$1/file"'
    for recipe, count in (("one", 1), ("one", 1), ("two", 2), ("two", 2)):
        command, folder = stamped(tmp_path, recipe, body)
        assert call(*command, cwd=folder).returncode == 0
        assert len((tmp_path / "count").read_text().split()) == count
    assert (tmp_path / "deps/thing/file").read_text() == "made\n"


def test_a_failed_build_leaves_nothing_and_shows_its_log(tmp_path):
    command, folder = stamped(tmp_path, "one", 'touch "$1/half"; echo the reason; false; echo not reached')
    made = call(*command, cwd=folder)
    assert made.returncode == 1
    assert "the reason" in made.stderr and "not reached" not in made.stderr
    assert not (tmp_path / "deps/thing").exists()
    assert not list((tmp_path / "deps").glob(".making*"))


def test_a_killed_build_leaves_no_half_result(tmp_path):
    command, folder = stamped(tmp_path, "one", f'touch "$1/half"; touch {tmp_path}/begun; sleep 30')
    process = subprocess.Popen(command, cwd=folder, start_new_session=True, stderr=subprocess.DEVNULL)
    for _ in range(200):
        if (tmp_path / "begun").exists():
            break
        time.sleep(0.05)
    os.killpg(process.pid, 9)
    process.wait()
    assert not (tmp_path / "deps/thing").exists()
    command, folder = stamped(tmp_path, "one", 'echo whole >"$1/file"')
    assert call(*command, cwd=folder).returncode == 0
    assert not list((tmp_path / "deps").glob(".making*"))
    assert [p.name for p in (tmp_path / "deps/thing").glob("[!.]*")] == ["file"]


def test_two_runs_at_once_build_once(tmp_path):
    body = 'echo x >>"$OLDPWD/count"; sleep 1; echo whole >"$1/file"'
    command, folder = stamped(tmp_path, "one", body)
    both = [subprocess.Popen(command, cwd=folder, stderr=subprocess.DEVNULL) for _ in range(2)]
    assert [process.wait(60) for process in both] == [0, 0]
    assert (tmp_path / "count").read_text() == "x\n"


@pytest.mark.parametrize(
    "source, why",
    [
        ("/* a */\nint f(void) { return atoi(s); }\n", "atoi"),
        ("/* a */\nchar *p = malloc(n * sizeof *p);\n", "overflow"),
        ("/* a: TODO */\n", "TODO"),
        ("int x;\n", "opens without a comment"),
        ("/* a */\n" + "int x;\n" * 900, "of at most 800"),
    ],
    ids=["function", "product", "word", "no comment", "length"],
)
def test_sources_are_refused(tmp_path, source, why):
    (tmp_path / "src/base").mkdir(parents=True)
    (tmp_path / "src/base/a.c").write_text(source)
    made = call("scripts/check-sources", str(tmp_path))
    assert made.returncode == 1 and why in made.stdout, made.stdout


def test_words_in_comments_and_strings_are_no_calls(tmp_path):
    (tmp_path / "src/base").mkdir(parents=True)
    (tmp_path / "src/base/a.c").write_text('/* unlike strcpy(a, b) */\nconst char *s = "sprintf(x)";\nint my_atoi(void);\n')
    made = call("scripts/check-sources", str(tmp_path))
    assert made.returncode == 0, made.stdout
