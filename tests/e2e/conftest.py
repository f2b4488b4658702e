"""Fixtures of the end-to-end tests."""

import json

import pytest
from support import Authority, Nginx, Ringtape, clean_env, export_har, flows, RINGTAPE, run


@pytest.fixture(scope="session")
def shared(tmp_path_factory):
    """What is expensive to make and harmless to share: the origin's CA and ringtape's own."""
    class Shared:
        folder = tmp_path_factory.mktemp("shared")
        authority = Authority(folder)
        ca_dir = folder / "ca"
    run(RINGTAPE, "ca", "export", "--ca-dir", Shared.ca_dir)
    Shared.ca = Shared.ca_dir / "ca.pem"
    return Shared


@pytest.fixture
def origin(tmp_path, shared):
    folder = tmp_path / "origin"
    folder.mkdir()
    nginx = Nginx(folder, shared.authority)
    yield nginx
    nginx.stop()


@pytest.fixture
def ringtape(tmp_path, shared):
    """Starts ringtape; what a test forgets is ended."""
    started = []

    def start(*argv, **more):
        if argv[0] == "record" and "--upstream-ca" not in argv and "--insecure" not in argv:
            argv = (argv[0], "--upstream-ca", shared.authority.pem, *argv[1:])
        r = Ringtape(tmp_path, *argv, ca_dir=shared.ca_dir, **more)
        started.append(r)
        return r

    yield start
    for r in started:
        if r.process.poll() is None:
            r.kill()


@pytest.fixture
def session(tmp_path, shared):
    """Runs a command under `record`, exports and validates, then under `replay`; gives both outputs.

    `between` is called before the replay: to switch the origin off.
    """
    class Session:
        tape = tmp_path / "session.tape"

        def record(self, *command, env=None, expect=0, options=()):
            done = run(RINGTAPE, "record", "-q", "-o", self.tape, "--ca-dir", shared.ca_dir, "--upstream-ca", shared.authority.pem,
                       *options, "--", *command, check=False, env=clean_env(**(env or {})), cwd=tmp_path, timeout=180)
            assert done.returncode == expect, f"exit {done.returncode}\n{done.stderr.decode(errors='replace')}\n{done.stdout[-500:]}"
            return done.stdout

        def replay(self, *command, env=None, expect=0, options=()):
            report = tmp_path / "report.json"
            done = run(RINGTAPE, "replay", "-q", self.tape, "--ca-dir", shared.ca_dir, "--report", report, *options, "--", *command,
                       check=False, env=clean_env(**(env or {})), cwd=tmp_path, timeout=180)
            assert done.returncode == expect, f"exit {done.returncode}\n{done.stderr.decode(errors='replace')}\n{done.stdout[-500:]}"
            self.report = json.loads(report.read_text())
            assert self.report["network_connects"] == 0
            return done.stdout

        def both(self, origin, *command, env=None, least=1):
            """The whole path with one command: the outputs must be the same with the origin switched off."""
            first = self.record(*command, env=env)
            self.har = export_har(self.tape, tmp_path)
            self.flows = flows(self.tape)
            assert len(self.flows) >= least, self.flows
            assert all(f["complete"] and not f["error"] for f in self.flows), self.flows
            origin.stop()
            second = self.replay(*command, env=env)
            assert second == first
            assert self.report["missed"] == 0 and self.report["served"] >= least
            return first

    return Session()
