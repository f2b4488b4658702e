"""CMD: its exit code and ours, and the environment it gets."""

import json
import os
import pathlib
import re
import signal
import subprocess

import pytest
from oneshot import Origin, complains, contents, here, sample  # noqa: F401 (fixtures)
from support import PATIENCE_S, RINGTAPE, clean_env, flows, run

PROXIES = ["http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY", "RINGTAPE_PROXY"]
BUNDLES = ["SSL_CERT_FILE", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO", "CARGO_HTTP_CAINFO", "PIP_CERT",
           "AWS_CA_BUNDLE", "DENO_CERT", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH", "npm_config_cafile"]
OTHERS = ["NODE_USE_ENV_PROXY", "JAVA_TOOL_OPTIONS", "RINGTAPE_CA"]
BOTH = pytest.mark.parametrize("mode", ["record", "replay"])


def start(mode):
    return ["record", "-o", "new.tape"] if mode == "record" else ["replay", "a.tape"]


# --- exit codes


@pytest.mark.quick
@BOTH
@pytest.mark.parametrize("code", [0, 1, 2, 3, 7, 125, 126, 127, 128, 255])
def test_cmds_own_exit_code(here, mode, code):
    assert here.attempt(*start(mode), "--", "sh", "-c", f"exit {code}").returncode == code


@BOTH
@pytest.mark.parametrize("name", ["TERM", "KILL", "SEGV", "PIPE", "INT", "HUP", "USR1", "ABRT"])
def test_cmd_killed_by_a_signal(here, mode, name):
    # A core file is nobody's wish.
    done = here.attempt(*start(mode), "--", "sh", "-c", f"ulimit -c 0; kill -{name} $$")
    assert done.returncode == 128 + getattr(signal, f"SIG{name}")


@pytest.mark.sanitize
@BOTH
@pytest.mark.parametrize("cmd, code, word", [
    ("no-such-command-of-ringtape", 127, "command not found"),
    ("/no/such/command", 127, "No such file or directory"),
    ("./missing", 127, "No such file or directory"),
    ("notes.txt/x", 127, "No such file or directory"),
    ("", 127, "not"),
    ("./notes.txt", 126, "Permission denied"),
    (".", 126, ""),
    ("./folder", 126, "Permission denied"),
    ("./garbage", 126, "neither a program nor a script"),
    ("./no-interpreter", 127, "No such file or directory"),
])
def test_cmd_that_cannot_be_run(here, mode, cmd, code, word):
    (here.folder / "folder").mkdir()
    for name, text in (("garbage", b"\0\1\2\3"), ("no-interpreter", b"#!/no/such/interpreter\n")):
        (here.folder / name).write_bytes(text)
        (here.folder / name).chmod(0o755)
    before = contents(here.folder)
    done = here.attempt(*start(mode), "-q", "--", cmd, "argument")
    assert f"cannot run {cmd}" in complains(done, code, word)
    # What exec alone can find out is found out after the tape was made.
    late = mode == "record" and cmd in ("./garbage", "./no-interpreter")
    assert {k: v for k, v in contents(here.folder).items() if k != "new.tape" or not late} == before


def test_the_path_is_searched_as_execvp_does(here):
    for folder in ("first", "second", "third"):
        (here.folder / folder).mkdir()
    (here.folder / "first/tool").write_text("not executable")
    (here.folder / "third/tool").write_text("#!/bin/sh\necho third\n")
    path = ":".join(str(here.folder / f) for f in ("missing", "first", "second"))
    complains(here.attempt("replay", "-q", "a.tape", "--", "tool", env={"PATH": path}), 126, "tool", "Permission denied")
    (here.folder / "third/tool").chmod(0o755)
    done = here.attempt("replay", "-q", "a.tape", "--", "tool", env={"PATH": f"{path}:{here.folder / 'third'}:/bin"})
    assert (done.returncode, done.stdout) == (0, b"third\n")
    # An empty part is the folder one is in; a word with a slash is not searched for.
    (here.folder / "tool2").write_text("#!/bin/sh\necho here\n")
    (here.folder / "tool2").chmod(0o755)
    assert here.attempt("replay", "-q", "a.tape", "--", "tool2", env={"PATH": "/bin:"}).stdout == b"here\n"
    complains(here.attempt("replay", "-q", "a.tape", "--", "tool2", env={"PATH": "/bin"}), 127, "tool2", "command not found")


@BOTH
def test_ringtapes_own_failure_before_cmd(here, mode):
    here.refuses(125, *start(mode), "--ca-dir", "notes.txt", "--", "touch", "ran", words=["notes.txt"])
    before = contents(here.folder)
    command = ["record", "--force", "-o", "a.tape"] if mode == "record" else start(mode)
    done = here.attempt(*command, "--", "touch", "ran", env={"TMPDIR": "missing"})
    complains(done, 125, "missing/ringtape-", "temporary folder")
    assert contents(here.folder) == before


@pytest.mark.parametrize("options, code, expected", [
    ([], 0, 3), ([], 1, 1), ([], 7, 7), (["--fail-on", "never"], 0, 0), (["--fail-on", "unused"], 0, 3), (["--fail-on", "unused"], 5, 5),
    (["--fail-on", "repeat"], 0, 0), (["--fail-on", "miss,unused,repeat"], 0, 3)])
def test_a_condition_of_fail_on_counts_when_cmd_succeeded(here, options, code, expected):
    script = f'curl -s -o /dev/null http://localhost:1/no-recording; exit {code}'
    done = here.attempt("replay", "a.tape", *options, "--report", "report.json", "--", "sh", "-c", script)
    assert done.returncode == expected
    report = json.loads((here.folder / "report.json").read_text())
    assert (report["served"], report["missed"], report["unused"]) == (0, 1, 2)
    assert ("did not hold" in done.stderr.decode()) == (options != ["--fail-on", "never"] and options != ["--fail-on", "repeat"])


def test_fail_on_when_all_is_well(here):
    urls = [f["url"] for f in flows(here.folder / "a.tape")]
    command = ["--", "curl", "-sSf", "-o", "/dev/null", "-o", "/dev/null", *urls]
    assert here.attempt("replay", "a.tape", "--fail-on", "miss,unused,repeat", *command).returncode == 0
    assert here.attempt("replay", "a.tape", "--fail-on", "repeat", *command, "-o", "/dev/null", urls[0]).returncode == 3
    done = here.attempt("replay", "a.tape", "--fail-on", "miss", "--", "sh", "-c", "curl -s -o /dev/null http://localhost:1/no; kill -TERM $$")
    assert done.returncode == 128 + signal.SIGTERM


def test_cmds_standard_streams_are_its_own(here):
    done = here.attempt("record", "-q", "-o", "new.tape", "--", "sh", "-c", "cat; echo to-error >&2", input=b"from the outside\n")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"from the outside\n", b"to-error\n")


def test_words_after_two_dashes_are_cmds_alone(here):
    done = here.attempt("record", "-q", "-o", "new.tape", "--", "printf", "%s|", "--", "-o", "--help", "-q", "", "a b")
    assert done.stdout == b"--|-o|--help|-q||a b|"


# --- environment


def environment(here, *options, mode="record", env=None, script="env -0"):
    done = here.attempt(*start(mode), "-q", *options, "--", "sh", "-c", script, env=env)
    assert done.returncode == 0, done.stderr
    return dict(entry.split("=", 1) for entry in done.stdout.decode().rstrip("\0").split("\0"))


@pytest.mark.sanitize
@BOTH
def test_every_variable_of_the_contract(here, mode):
    own = {"HOME": "/somewhere", "LANG": "C", "EMPTY": "", "no_proxy": "localhost", "NO_PROXY": "*",
           "http_proxy": "http://old:1", "HTTPS_PROXY": "http://old:2", "JAVA_TOOL_OPTIONS": "-Xmx1g", "SSL_CERT_FILE": str(here.ca_dir / "ca.pem"), "npm_config_cafile": "/old"}
    env = environment(here, mode=mode, env=own)
    proxy = env["RINGTAPE_PROXY"]
    assert re.fullmatch(r"http://127\.0\.0\.1:\d+", proxy)
    assert {name: env[name] for name in PROXIES} == dict.fromkeys(PROXIES, proxy)
    (bundle,) = {env[name] for name in BUNDLES}
    assert bundle.startswith("/") and env["RINGTAPE_CA"].startswith("/")
    assert env["NODE_USE_ENV_PROXY"] == "1"
    assert "no_proxy" not in env and "NO_PROXY" not in env
    assert (env["HOME"], env["LANG"], env["EMPTY"]) == ("/somewhere", "C", "")
    host, port = proxy.removeprefix("http://").split(":")
    java = env["JAVA_TOOL_OPTIONS"].split(" ")
    assert java[:6] == ["-Xmx1g", f"-Dhttp.proxyHost={host}", f"-Dhttp.proxyPort={port}", f"-Dhttps.proxyHost={host}", f"-Dhttps.proxyPort={port}",
                        "-Dhttp.nonProxyHosts="] and java[7] == "-Djavax.net.ssl.trustStoreType=PKCS12" and len(java) == 9
    assert java[6].startswith("-Djavax.net.ssl.trustStore=/") and java[8] == "-Djavax.net.ssl.trustStorePassword=ringtape"
    changed = {*PROXIES, *BUNDLES, *OTHERS, "no_proxy", "NO_PROXY"}
    ignored = {"PWD", "OLDPWD", "_", "SHLVL"}  # the shell's
    given = {**clean_env(RINGTAPE_CA_DIR=here.ca_dir), **own}
    assert {k: v for k, v in env.items() if k not in changed | ignored} == {k: v for k, v in given.items() if k not in changed | ignored}
    assert len(env) == len({k.encode() for k in env}), "no variable stands there twice"


def test_keep_no_proxy(here):
    own = {"no_proxy": "localhost,.internal", "NO_PROXY": "127.0.0.1"}
    env = environment(here, "--keep-no-proxy", env=own)
    assert {k: env[k] for k in own} == own
    assert "nonProxyHosts" not in env["JAVA_TOOL_OPTIONS"]
    (here.folder / "new.tape").unlink()
    assert "no_proxy" not in environment(here, "--keep-no-proxy")


def test_credentials_are_part_of_the_proxys_url(here):
    env = environment(here, "--proxy-auth", "me@home:p:ss/w%rd", mode="replay")
    assert re.fullmatch(r"http://me%40home:p%3Ass%2Fw%25rd@127\.0\.0\.1:\d+", env["http_proxy"])
    assert {env[name] for name in PROXIES} == {env["http_proxy"]}
    assert re.search(r"-Dhttp\.proxyHost=127\.0\.0\.1 ", env["JAVA_TOOL_OPTIONS"])


def certificates(text):
    return re.findall("-----BEGIN CERTIFICATE-----.*?-----END CERTIFICATE-----", text, re.DOTALL)


@pytest.mark.parametrize("folder", ["plain", "with a space"])
def test_the_files_of_trust(here, folder):
    """A bundle of the system's roots and ours, our certificate alone, and a trust store for Java: private, and gone afterwards."""
    temporary = here.folder / folder
    temporary.mkdir()
    script = ('f=$(dirname "$RINGTAPE_CA"); stat -c %a "$f" "$f"/* >modes; cp "$SSL_CERT_FILE" bundle.pem; cp "$RINGTAPE_CA" own.pem; '
              'cp "$f"/*.p12 store.p12; '
              'printf %s "$JAVA_TOOL_OPTIONS" >java; openssl pkcs12 -in store.p12 -passin pass:ringtape -nokeys -out store.pem; echo "$f"')
    done = here.attempt("replay", "-q", "a.tape", "--", "sh", "-c", script, env={"TMPDIR": temporary})
    assert done.returncode == 0, done.stderr
    place = pathlib.Path(done.stdout.decode().strip())
    assert place.parent == temporary and list(temporary.iterdir()) == [], "nothing stays behind"
    assert set((here.folder / "modes").read_text().split()) == {"700", "600"} and (here.folder / "modes").read_text().split()[0] == "700"
    ours = certificates((here.ca_dir / "ca.pem").read_text())
    system = certificates(pathlib.Path("/etc/ssl/certs/ca-certificates.crt").read_text())
    assert certificates((here.folder / "own.pem").read_text()) == ours
    assert certificates((here.folder / "bundle.pem").read_text()) == system + ours and len(system) > 50
    stored = certificates((here.folder / "store.pem").read_text())
    assert set(ours) < set(stored) and len(set(stored) & set(system)) >= len(set(system)) - 3
    java = (here.folder / "java").read_text()
    path = f"{place}/trust.p12"
    assert (f'"-Djavax.net.ssl.trustStore={path}"' if " " in folder else f"-Djavax.net.ssl.trustStore={path} ") in java
    # What OpenSSL and Java make of them.
    run("openssl", "verify", "-CAfile", here.folder / "bundle.pem", here.folder / "own.pem")
    listed = run("keytool", "-list", "-keystore", here.folder / "store.p12", "-storepass", "ringtape").stdout.decode()
    assert f"contains {len(stored)} entries" in listed


def test_the_users_own_roots_are_kept(here, shared):
    """A bundle named by SSL_CERT_FILE stands for the system's, and NODE_EXTRA_CA_CERTS are added to it."""
    own = shared.authority.pem
    (here.folder / "extra.pem").write_text(own.read_text())
    env = {"SSL_CERT_FILE": own, "NODE_EXTRA_CA_CERTS": here.folder / "extra.pem"}
    done = here.attempt("replay", "-q", "a.tape", "--", "cat", "/proc/self/environ", env=env)
    assert done.returncode == 0
    done = here.attempt("replay", "-q", "a.tape", "--", "sh", "-c", 'cat "$SSL_CERT_FILE"', env=env)
    theirs = certificates(own.read_text())
    assert certificates(done.stdout.decode()) == theirs + theirs + certificates((here.ca_dir / "ca.pem").read_text())
    for gone in ({"SSL_CERT_FILE": "/missing"}, {"NODE_EXTRA_CA_CERTS": "/missing"}, {"SSL_CERT_FILE": "/etc"}):
        done = here.attempt("replay", "-q", "a.tape", "--", "sh", "-c", 'cat "$SSL_CERT_FILE"', env=gone)
        found = certificates(done.stdout.decode())
        assert len(found) > 50 and found[-1:] == certificates((here.ca_dir / "ca.pem").read_text())


def test_cmd_starts_with_the_signals_and_limits_that_we_had(here):
    # Signals 32 and 33 are the C library's own: its posix_spawn() may ignore them.
    script = ("grep -E '^Sig(Blk|Ign):' /proc/self/status | sed -E 's/^(SigIgn:\\s*.{7})../\\100/'; ulimit -Sn; ulimit -Hn; "
              "ls /proc/self/fd | wc -l")
    plain = subprocess.run(["sh", "-c", script], cwd=here.folder, stdin=subprocess.DEVNULL, capture_output=True, env=here.env, timeout=PATIENCE_S)
    for mode in ("record", "replay"):
        done = here.attempt(*start(mode), "-q", "--", "sh", "-c", script)
        assert done.stdout == plain.stdout
    limited = subprocess.run(["sh", "-c", 'ulimit -Sn 300; exec "$0" "$@"', RINGTAPE, "replay", "-q", "a.tape", "--", "sh", "-c", "ulimit -Sn"],
                             cwd=here.folder, capture_output=True, env=here.env, timeout=PATIENCE_S)
    assert limited.stdout == b"300\n"
    # `nohup ringtape …` and a shell's background job: what they ignore stays ignored.
    ignoring = subprocess.run(["sh", "-c", 'trap "" HUP INT PIPE; exec "$0" "$@"', RINGTAPE, "replay", "-q", "a.tape", "--", "sh", "-c", script],
                              cwd=here.folder, capture_output=True, env=here.env, timeout=PATIENCE_S)
    mask = int(re.search(rb"SigIgn:\s*(\w+)", ignoring.stdout)[1], 16)
    assert all(mask >> (n - 1) & 1 for n in (signal.SIGHUP, signal.SIGINT, signal.SIGPIPE))


def test_cmd_that_leaves_before_the_workers_are_up(here):
    for _ in range(20):
        assert here.attempt("replay", "-q", "a.tape", "--workers", "8", "--", "true").returncode == 0


def test_a_child_that_outlives_cmd_does_not_hold_us_up(here):
    done = here.attempt("record", "-q", "-o", "new.tape", "--", "sh", "-c", "sleep 100 >/dev/null 2>&1 & echo $!")
    child = int(done.stdout)
    try:
        assert done.returncode == 0
        os.kill(child, 0)  # it is CMD's business, and left alone
    finally:
        os.kill(child, signal.SIGKILL)


def test_what_cmd_does_is_recorded_on_localhost_too(here):
    origin = Origin()
    done = here.attempt("record", "-q", "-o", "new.tape", "--", "curl", "-sS", origin.url("/a"), origin.url("/b", host="127.0.0.1"),
                        env={"no_proxy": "localhost,127.0.0.1", "NO_PROXY": "*"})
    assert done.stdout == b"secretsecret"
    assert [(f["host"], f["path"]) for f in flows(here.folder / "new.tape")] == [("localhost", "/a"), ("127.0.0.1", "/b")]
    origin.close()
