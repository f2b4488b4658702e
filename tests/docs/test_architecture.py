"""docs/architecture.md and docs/licences.md against the sources and the built program."""

import re

import pytest
from conftest import ROOT
from support import RINGTAPE, run

TEXT = (ROOT / "docs/architecture.md").read_text()
LICENCES = (ROOT / "docs/licences.md").read_text()


def check_layers():
    """The tables of the check that the tests run."""
    names = {"__file__": str(ROOT / "scripts/check-layers"), "__name__": "check_layers"}
    exec(compile((ROOT / "scripts/check-layers").read_text(), "check-layers", "exec"), names)
    return names


def test_the_arrows_are_those_of_the_check():
    may = {}
    for lower, upper in re.findall(r"^    ([a-z, ]+?) +<- ([a-z, ]+)$", TEXT, re.M):
        for layer in upper.split(", "):
            may.setdefault(layer, set()).update(lower.split(", "))
    assert may.pop("tools") == {"everything"}
    table = {k: v for k, v in check_layers()["MAY_INCLUDE"].items() if k not in ("tools", "lib", "base")}
    assert may == table


def test_each_layer_has_a_row_that_names_its_libraries():
    rows = dict(re.findall(r"^\| `(\w+)/` \| ([^|]+) \|", TEXT, re.M))
    folders = {p.name for p in (ROOT / "src").iterdir() if p.is_dir()} | {"tools"}
    assert set(rows) == folders
    spelt = {"liburing": "liburing", "wolfssl": "wolfSSL", "llhttp": "llhttp", "zlib.h": "zlib", "brotli": "brotli", "zstd": "zstd",
             "nghttp2": "nghttp2", "wslay": "wslay", "sqlite3": "SQLite", "jansson": "Jansson"}
    for header, name in spelt.items():
        for folder in check_layers()["LIBRARIES"][header] & folders:
            used = run("grep", "-rlE", rf"#include <{header}", ROOT / ("tools" if folder == "tools" else f"src/{folder}"), check=False).stdout
            assert (name in rows[folder]) == bool(used), (folder, name)


def test_limits_that_are_named_have_the_value_that_is_told():
    limits = dict(re.findall(r"X\((LIMIT_\w+), (\d+),", (ROOT / "src/base/limits.h").read_text()))
    told = re.findall(r"`(LIMIT_\w+)` \((\d+)\)", TEXT)
    assert len(told) >= 8
    for name, value in told:
        assert limits[name] == value, name
    assert set(re.findall(r"LIMIT_\w+", TEXT)) <= set(limits)


def test_page_and_log_sizes_are_those_of_new_tapes():
    source = (ROOT / "src/tape/create.c").read_text()
    assert re.search(r"PAGE_BYTES = 32768\b", source) and "Pages are 32 KiB" in TEXT
    assert re.search(r"WAL_BYTES = 4 << 20\b", source) and "at 4 MiB" in TEXT and "synchronous=NORMAL" in source


def test_what_the_sandbox_refuses():
    refused = set(re.findall(r"REFUSE_CALL\(SYS_(\w+)\)", (ROOT / "tools/sandbox.c").read_text()))
    sentence = re.search(r"before the workers start: (.+?)\s+fail with EPERM", TEXT, re.S)[1]
    assert set(re.findall(r"`(\w+)`", sentence)) == refused


def test_what_a_ring_of_a_replay_may_do():
    source = (ROOT / "src/ring/uring.c").read_text()
    operations = re.search(r"operations\[\] = \{(.+?)\}", source, re.S)[1]
    words = {"ACCEPT": "accept", "RECV": "receive", "SEND": "send", "SENDMSG": "send", "READ": "read", "ASYNC_CANCEL": "cancel"}
    sentence = re.search(r"\(`ring/uring\.c`\): (.+?) are all", TEXT, re.S)[1]
    assert {words[o] for o in re.findall(r"IORING_OP_(\w+)", operations)} == set(re.findall(r"accept|receive|send|read|cancel|connect", sentence))


def test_the_libraries_are_those_the_program_needs():
    needed = {re.sub(r"\.so.*", ".so", name) for name in re.findall(r"\(NEEDED\).*\[(.+?)\]", run("readelf", "-d", RINGTAPE).stdout.decode())}
    rows = re.findall(r"^\| (.+?) \| (.+?) \| (.+?) \|$", LICENCES, re.M)
    told = {name: row for row in rows for name in re.findall(r"`(lib\w+\.so)`", row[1])}
    first = {re.findall(r"`(lib\w+\.so)`", row[1])[0] for row in rows if ".so" in row[1]} | {"libm.so"}
    sanitizers = {"libasan.so", "libubsan.so", "libtsan.so", "libgcc_s.so", "libstdc++.so"}
    assert first <= needed <= set(told) | sanitizers
    loaded = {re.sub(r"\.so.*", ".so", name) for name in re.findall(r"^\s+(lib\S+) =>", run("ldd", RINGTAPE).stdout.decode(), re.M)}
    assert loaded - sanitizers - {"libpthread.so", "libdl.so", "librt.so"} <= set(told)


@pytest.mark.parametrize("library, symbol", [("wolfSSL", "wolfSSL_Init"), ("llhttp", "llhttp_execute")])
def test_what_is_said_to_be_static_is_inside(library, symbol):
    assert re.search(rf"^\| {library} [^|]+ \| static \|", LICENCES, re.M)
    symbols = run("nm", RINGTAPE).stdout.decode()
    assert re.search(rf" [Tt] {symbol}$", symbols, re.M)
