"""The scripts behind the build: embedding, dependencies, stamps, and the checks of the sources."""

import os
import pathlib
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
        "apt-get": f"touch {tmp_path}/apt-was-called",
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


def test_nothing_is_asked_of_apt_when_all_is_there(tools, tmp_path):
    (tools / "dpkg-query").write_text("#!/bin/sh\nprintf installed\n")
    made = call("scripts/deps.sh", "build", "demo", "test", PATH=str(tools), WOLFSSL_PREFIX="/x", LLHTTP_DIR="/x")
    assert (made.returncode, made.stdout, made.stderr) == (0, "", "")
    assert not (tmp_path / "apt-was-called").exists()


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
