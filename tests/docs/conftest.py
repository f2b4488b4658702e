"""Fixtures of the documents' tests: the origin of the end-to-end tests, and one recorded session that the examples are run on."""

import pathlib
import sys

import pytest

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "e2e"))

from support import RINGTAPE, Authority, Nginx, clean_env, run  # noqa: E402


@pytest.fixture(scope="session")
def authority(tmp_path_factory):
    """The CA of the origins."""
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture(scope="session")
def ca_dir(tmp_path_factory):
    """ringtape's own CA."""
    folder = tmp_path_factory.mktemp("ca") / "ringtape"
    run(RINGTAPE, "ca", "export", "--ca-dir", folder)
    return folder


# One of each thing that docs/tape.md asks about. $1: http origin, $2: https origin, $3: host:port that is passed, $4: a port nobody has.
SCRIPT = r"""
set -e
get() { curl -sS -o /dev/null "$@"; }
get $1/hello.txt $1/data.json $1/big.bin $1/missing
get $2/hello.txt $2/gzip/big.txt $2/big.txt $2/teapot
get -L $2/redirect
get $2/once; get $2/once # the origin closes after each: the second resumes the first one's TLS session
get -d name=value $2/post
get https://$3/hello.txt
get $4/refused || :
get -x "http://checkout:@${RINGTAPE_PROXY#http://}" $1/hello.txt
"""


@pytest.fixture(scope="session")
def tape(tmp_path_factory, authority, ca_dir):
    """A tape of two sessions against nginx, with curl as the client."""
    folder = tmp_path_factory.mktemp("tape")
    (folder / "origin").mkdir()
    origin = Nginx(folder / "origin", authority, extra='location = /once { keepalive_timeout 0; return 200 "once\\n"; }')
    try:
        path = folder / "session.tape"
        options = ["-q", "-o", path, "--ca-dir", ca_dir, "--upstream-ca", authority.pem, "--pass", f"localhost:{origin.tls12}"]
        unused = origin.ports.take()
        env = clean_env(CURL_HOME=folder)
        (folder / ".curlrc").write_text(f'cacert = "{folder}/both.pem"\n')
        (folder / "both.pem").write_text(authority.pem.read_text() + (ca_dir / "ca.pem").read_text())
        for more in ([], ["--append", "--max-body", "4k"]):
            run(RINGTAPE, "record", *options, *more, "--", "bash", "-c", SCRIPT, "session",
                origin.url(""), origin.url("", "https"), f"localhost:{origin.tls12}", f"http://127.0.0.1:{unused}", env=env, cwd=folder)
    finally:
        origin.stop()
    return path
