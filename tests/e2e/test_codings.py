"""Odd codings of content, on both versions: each is kept and sent on as it came, HAR shows it decoded or says why not, and replay sends the same
bytes."""

import base64
import gzip
import hashlib
import zlib

import pytest
from support import Nginx, Ports, clean_env, rows, run

TEXT = b"the quick brown fox jumps over the lazy dog\n" * 200


def tool(*argv):
    return lambda data: run(*argv, input=data, env=clean_env()).stdout


brotli, zstd = tool("brotli", "-c"), tool("zstd", "-q", "-c")


def raw_deflate(data):
    c = zlib.compressobj(wbits=-15)
    return c.compress(data) + c.flush()


# name: (Content-Encoding, bytes on the wire, can it be decoded)
CODINGS = {
    "identity": ("identity", TEXT, True),
    "gzip": ("gzip", gzip.compress(TEXT), True),
    "x-gzip": ("x-gzip", gzip.compress(TEXT), True),
    "deflate": ("deflate", zlib.compress(TEXT), True),
    "raw": ("deflate", raw_deflate(TEXT), True),
    "br": ("br", brotli(TEXT), True),
    "zstd": ("zstd", zstd(TEXT), True),
    "stacked": ("gzip, br", brotli(gzip.compress(TEXT)), True),
    "twice": ("gzip, gzip", gzip.compress(gzip.compress(TEXT)), True),
    "members": ("gzip", gzip.compress(TEXT[:100]) + gzip.compress(TEXT[100:]), True),
    "nothing": ("gzip", b"", True),
    "wrong": ("gzip", TEXT, False),
    "cut": ("gzip", gzip.compress(TEXT)[:-20], False),
    "wrongbr": ("br", b"\xff" * 100, False),
    "unknown": ("x-nonesuch", TEXT, False),
}


@pytest.fixture
def origin(tmp_path, shared):
    folder = tmp_path / "origin"
    folder.mkdir()
    ports = Ports()
    h2 = ports.take()
    places = "".join(f'location = /{name} {{ default_type text/plain; add_header Content-Encoding "{coding}"; }}\n'
                     for name, (coding, _, _) in CODINGS.items())
    nginx = Nginx(folder, shared.authority, extra=f"{places} listen 127.0.0.1:{h2} ssl http2 reuseport;")
    nginx.h2 = h2
    for name, (_, data, _) in CODINGS.items():
        (nginx.www / name).write_bytes(data)
    yield nginx
    nginx.stop()
    ports.close()


@pytest.mark.parametrize("version", ["--http1.1", "--http2"])
def test_every_coding_is_kept_as_it_came(session, origin, tmp_path, version):
    files = [word for name in CODINGS for word in ("-o", f"{name}.got", f"https://localhost:{origin.h2}/{name}")]
    command = ("sh", "-c", '"$@" && sha256sum *.got && rm *.got', "sh", "curl", "-sS", version, "-H", "Accept-Encoding: gzip, br, zstd", *files)
    out = session.both(origin, *command, least=len(CODINGS)).decode()
    sent = {name: hashlib.sha256(data).hexdigest() for name, (_, data, _) in CODINGS.items()}
    assert {line.split()[1][:-4]: line.split()[0] for line in out.splitlines()} == sent
    kept = {r["path"][1:]: r["content"] for r in rows(session.tape, "select f.path, b.content from bodies b join flow f on f.id = b.flow")}
    assert {**kept, "nothing": kept.get("nothing") or b""} == {name: data for name, (_, data, _) in CODINGS.items()}
    for entry in session.har["log"]["entries"]:
        _, data, decodes = CODINGS[entry["request"]["url"].rsplit("/", 1)[1]]
        content = entry["response"]["content"]
        text = content.get("text", "").encode()
        got = base64.b64decode(text) if content.get("encoding") == "base64" else text
        assert entry["response"]["bodySize"] == len(data)
        if entry["request"]["url"].endswith("/cut"):  # what could be had, and the comment says that it is not all
            assert got and TEXT.startswith(got) and got != TEXT and content.get("comment")
        elif decodes:
            assert got == (TEXT if data else b"") and "comment" not in content, entry["request"]["url"]
        else:
            assert got == data and content.get("comment"), entry["request"]["url"]
