"""Client programs that need a compiler: built once below build/e2e, whichever worker comes first, and again only when their source changes."""

import fcntl
import hashlib

from support import ROOT, clean_env, run

CLIENTS = ROOT / "tests" / "e2e" / "clients"
BUILT = ROOT / "build" / "e2e"


def _build(name, source, command, env):
    """The folder `name` with what the command made of the source in it."""
    folder = BUILT / name
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        stamp, digest = folder / "stamp", hashlib.sha256(source.read_bytes()).hexdigest()
        if not stamp.exists() or stamp.read_text() != digest:
            run(*command, env=env, timeout=300)
            stamp.write_text(digest)
    return folder


def _go(name, source):
    program = BUILT / name / name
    cache = BUILT / "go-cache"
    env = clean_env(GOCACHE=cache, GOPATH=BUILT / "go-path", GO111MODULE="off", CGO_ENABLED="0", GOFLAGS="", HOME=BUILT)
    _build(name, source, ("go", "build", "-ldflags=-s -w", "-o", program, source), env)
    return program


def go_client():
    """The path of clients/client.go as a program."""
    return _go("go-client", CLIENTS / "client.go")


def go_h2origin():
    """The path of clients/h2origin.go as a program."""
    return _go("h2origin", CLIENTS / "h2origin.go")


def go_shapes():
    """The path of clients/shapes.go as a program."""
    return _go("shapes", CLIENTS / "shapes.go")


def go_signs():
    """The path of clients/signs.go as a program."""
    return _go("signs", CLIENTS / "signs.go")


def java_client(name):
    """What follows `java` on a command line that runs clients/NAME.java."""
    folder = _build(f"java-{name}", CLIENTS / f"{name}.java", ("javac", "-d", BUILT / f"java-{name}", CLIENTS / f"{name}.java"), clean_env())
    return ["-Xshare:auto", "-XX:TieredStopAtLevel=1", "-cp", folder, name]


def clock():
    """The path of clients/clock.c as a library to preload."""
    source, library = CLIENTS / "clock.c", BUILT / "clock" / "clock.so"
    _build("clock", source, ("gcc", "-O1", "-shared", "-fPIC", "-o", library, source, "-ldl"), clean_env())
    return library
