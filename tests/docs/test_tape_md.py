"""docs/tape.md is true: its queries run on a recorded session and give what they promise, its lists are those of the schema and the sources."""

import json
import re

import pytest
from conftest import ROOT
from support import RINGTAPE, Nginx, clean_env, export_har, run

TEXT = (ROOT / "docs/tape.md").read_text()
QUERY = re.compile(r"^### (?P<title>.+)\n(?:(?!```|#).*\n)*```sql\n(?P<sql>(?:(?!```).*\n)+)```\n\nColumns: (?P<columns>.+)\.$", re.M)
QUERIES = {m["title"]: m for m in QUERY.finditer(TEXT)}


def sqlite(tape, sql, *options, cwd):
    """The sqlite3 command, as a person uses it, without that person's settings."""
    return run("sqlite3", "-readonly", *options, tape, input=sql.encode(), env=clean_env(HOME=cwd), cwd=cwd).stdout


def ask(tape, title, cwd):
    return json.loads(sqlite(tape, QUERIES[title]["sql"], "-json", cwd=cwd) or "[]")


def test_there_are_ten_queries_and_each_was_found():
    assert len(QUERIES) >= 10
    assert len(QUERIES) == TEXT.count("```sql")
    assert len({m["sql"] for m in QUERIES.values()}) == len(QUERIES)


@pytest.mark.parametrize("title", QUERIES)
def test_each_query_gives_rows_with_the_columns_it_promises(tape, tmp_path, title):
    rows = ask(tape, title, tmp_path)
    assert rows
    promised = re.findall(r"`([^`]+)`", QUERIES[title]["columns"])
    assert list(rows[0]) == promised


def test_slowest_first(tape, tmp_path):
    times = [r["total_ms"] for r in ask(tape, "The slowest flows", tmp_path)]
    assert len(times) == 10 and times == sorted(times, reverse=True)


def test_what_went_wrong_has_answers_and_failures(tape, tmp_path):
    rows = ask(tape, "What went wrong", tmp_path)
    assert {r["status"] for r in rows} == {404, 418, 502}
    assert all(r["error"].startswith("refused: ") == (r["status"] == 502) for r in rows if r["error"])
    assert sum(bool(r["error"]) for r in rows) == 2


def test_percentiles_by_host(tape, tmp_path):
    rows = {r["host"]: r for r in ask(tape, "Hosts, with their 95th percentile", tmp_path)}
    assert rows["127.0.0.1"]["errors"] == rows["127.0.0.1"]["flows"] == 2
    here = rows["localhost"]
    times = sorted(float(x) for x in sqlite(tape, "select total_ms from flows where host = 'localhost' and kind = 'http'", cwd=tmp_path).split())
    assert here["flows"] == len(times)
    assert here["p50_ms"] == times[-(-len(times) // 2) - 1] and here["p95_ms"] == times[-(-len(times) * 95 // 100) - 1]


def test_header_values(tape, tmp_path):
    values = {r["value"]: r["flows"] for r in ask(tape, "Who sent which value of a field", tmp_path)}
    assert values["application/json"] == 2 and values["text/plain"] >= 8


def test_duplicates_are_those_that_were_fetched_again(tape, tmp_path):
    rows = ask(tape, "The same content, fetched again and again", tmp_path)
    hello = next(r for r in rows if r["bytes"] == len("hello, world\n"))
    assert hello["times"] == 8 and hello["bytes_again"] == 7 * 13  # twice a session over TLS, twice not


def test_tls_versions(tape, tmp_path):
    rows = ask(tape, "TLS of each origin", tmp_path)
    assert {(r["host"], r["alpn"]) for r in rows} == {("localhost", "http/1.1")}
    assert sum(r["resumed"] for r in rows) >= 1 and all(r["tls_version"].startswith("TLSv1.") and r["handshake_ms"] > 0 for r in rows)


def test_a_body_becomes_a_file(tape, tmp_path):
    assert ask(tape, "A body as a file", tmp_path) == [{"flow": 1, "encoding": None, "bytes": 13}]
    assert (tmp_path / "body-of-1").read_text() == "hello, world\n"


def test_a_word_is_found_where_it_stands(tape, tmp_path):
    rows = ask(tape, "Bodies that contain a word", tmp_path)
    assert rows and all(r["side"] == "response" and r["url"].endswith("/big.txt") for r in rows)
    assert {r["at_byte"] for r in rows} == {"the quick brown fox".index("fox") + 1}


def test_redirects(tape, tmp_path):
    rows = ask(tape, "Redirects, and where they lead", tmp_path)
    assert [r["status"] for r in rows] == [302, 302]
    assert all(r["url"].endswith("/redirect") and r["location"].endswith("/hello.txt") for r in rows)


def test_sizes_by_type(tape, tmp_path):
    rows = {r["type"]: r for r in ask(tape, "Bytes by content type", tmp_path)}
    assert rows["application/octet-stream"]["largest"] == 1 << 20 and rows["(none)"]["bytes"] == 0


def test_sessions_and_tracks(tape, tmp_path):
    rows = ask(tape, "Sessions and tracks", tmp_path)
    assert [(r["session"], r["track"], r["incomplete"]) for r in rows] == [(1, "", 1), (1, "checkout", 0), (2, "", 1), (2, "checkout", 0)]


def test_a_tunnel_begins_with_a_client_hello(tape, tmp_path):
    rows = ask(tape, "What went through a tunnel", tmp_path)
    assert rows[0]["begins"].startswith("1603") and rows[0]["direction"] == "request" and rows[1]["begins"].startswith("1603")
    assert {r["kind"] for r in rows} == {"bytes"} and {r["direction"] for r in rows} == {"request", "response"}


def test_the_phases_of_a_first_request(tape, tmp_path):
    rows = ask(tape, "Where the time of a first request went", tmp_path)
    assert all(r[k] >= 0 for r in rows for k in ("connect_ms", "wait_ms", "receive_ms"))
    assert any(r["dns_ms"] is not None for r in rows)  # null: the name was still known
    assert all((r["tls_ms"] is not None) == r["url"].startswith("https") for r in rows if not r["url"].startswith("localhost"))


def test_what_was_cut_is_what_the_second_session_cut(tape, tmp_path):
    rows = ask(tape, "What `--max-body` cut", tmp_path)
    assert [r["kept"] for r in rows] == [4000] * 3 and all(r["forwarded"] >= 400000 for r in rows)
    assert all(int(sqlite(tape, f"select session from flow where id = {r['id']}", cwd=tmp_path)) == 2 for r in rows)


def test_the_views_have_the_columns_of_the_table(tape, tmp_path):
    listed = dict(re.findall(r"^\| `(\w+)` \| [^|]+ \| `([\w ]+)` \|$", TEXT, re.M))
    views = sqlite(tape, "select name from sqlite_schema where type = 'view'", cwd=tmp_path).decode().split()
    assert set(listed) == set(views)
    for view in views:
        assert sqlite(tape, f"select name from pragma_table_info('{view}')", cwd=tmp_path).decode().split() == listed[view].split()


def test_every_table_is_explained(tape, tmp_path):
    tables = sqlite(tape, "select name from sqlite_schema where type = 'table'", cwd=tmp_path).decode().split()
    section = TEXT.partition("## The tables")[2].partition("\n## ")[0]
    assert set(tables) == {name for line in re.findall(r"^- (\*\*.+?):", section, re.M) for name in re.findall(r"`(\w+)`", line)}


def test_columns_that_are_named_exist(tape, tmp_path):
    sql = "select t.name || '.' || c.name from sqlite_schema t join pragma_table_info(t.name) c where t.type in ('table', 'view')"
    columns = set(sqlite(tape, sql, cwd=tmp_path).decode().split())
    tables = {c.partition(".")[0] for c in columns}
    named = {word for word in re.findall(r"`(\w+\.\w+)`", TEXT) if word.partition(".")[0] in tables}
    named_ns = set(re.findall(r"`(\w+_ns)`", TEXT))
    assert named and named <= columns, named - columns
    assert named_ns and named_ns <= {c.partition(".")[2] for c in columns}


def test_the_words_of_errors_are_those_of_the_sources():
    words = re.findall(r'^    X\(ERR_\w+, "([a-z-]+)"', (ROOT / "src/base/err.h").read_text(), re.M)
    section = TEXT.partition("| word | what happened |")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| (`.+?`) \|", section, re.M)
    documented = [w for row in rows for w in re.findall(r"`([a-z-]+)`", row)]
    elsewhere = re.findall(r"`([a-z-]+)`", section.partition("not on tapes:")[2])
    assert sorted(documented + elsewhere) == sorted(words)


def test_version_and_application_id(tape, tmp_path):
    line = next(s for s in TEXT.splitlines() if "pragma_application_id" in s).strip()
    done = run("sh", "-c", line.replace("TAPE", '"$0"'), tape, env=clean_env(HOME=tmp_path), cwd=tmp_path)
    assert done.stdout.split() == [f"{0x52545031}|2".encode()]
    assert "0x52545031" in TEXT and "schema, 2." in TEXT


def test_safe_mode_reads_the_views_and_writes_no_file(tape, tmp_path):
    assert "sqlite3 -readonly -safe TAPE" in TEXT
    count = run("sqlite3", "-readonly", "-safe", tape, "select count(*) > 0 from flows", env=clean_env(HOME=tmp_path)).stdout
    assert count.split() == [b"1"]
    writing = QUERIES["A body as a file"]["sql"]
    done = run("sqlite3", "-readonly", "-safe", tape, writing, check=False, env=clean_env(HOME=tmp_path), cwd=tmp_path)
    assert done.returncode != 0 and not (tmp_path / "body-of-1").exists()


def test_the_session_is_a_valid_har(tape, tmp_path):
    """The tape of these tests has one of each thing, a tunnel and failures too."""
    assert len(export_har(tape, tmp_path)["log"]["entries"]) >= 26


def test_a_copy_made_as_told_is_a_tape(tape, tmp_path):
    command = re.search(r"`sqlite3 TAPE (\"vacuum into 'copy.tape'\")`", TEXT)[1].strip('"')
    run("sqlite3", tape, command, env=clean_env(HOME=tmp_path), cwd=tmp_path)
    assert run(RINGTAPE, "ls", tmp_path / "copy.tape").stdout == run(RINGTAPE, "ls", tape).stdout


READER = r"""
curl -sS -o /dev/null "$1" || exit 1
for i in $(seq 3000); do
    [ "$(sqlite3 -readonly growing.tape 'select count(*) from flows where complete')" != 1 ] || break
    sleep 0.02
done
sqlite3 growing.tape "vacuum into 'copy.tape'"
"""


def test_a_tape_is_read_and_copied_while_it_is_recorded(tmp_path, authority, ca_dir):
    (tmp_path / "origin").mkdir()
    origin = Nginx(tmp_path / "origin", authority)
    try:
        run(RINGTAPE, "record", "-q", "-o", "growing.tape", "--ca-dir", ca_dir, "--", "sh", "-c", READER, "reader", origin.url(),
            cwd=tmp_path, env=clean_env(HOME=tmp_path))
    finally:
        origin.stop()
    copy, whole = (sqlite(tmp_path / name, "select id, url, status, complete from flows", cwd=tmp_path) for name in ("copy.tape", "growing.tape"))
    assert copy == whole and copy.endswith(b"|200|1\n")
    ended = [sqlite(tmp_path / name, "select ended is null from sessions", cwd=tmp_path).split() for name in ("copy.tape", "growing.tape")]
    assert ended == [[b"1"], [b"0"]]


def test_a_tape_with_a_trigger_is_refused_as_told(tape, tmp_path):
    copy = tmp_path / "hostile.tape"
    copy.write_bytes(tape.read_bytes())
    run("sqlite3", copy, "create trigger t after insert on flow begin select 1; end", env=clean_env(HOME=tmp_path))
    done = run(RINGTAPE, "ls", copy, check=False)
    assert done.returncode == 3 and b"trigger" in done.stderr
