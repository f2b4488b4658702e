"""Origins that no test needs a framework for: nghttpd, and programs of clients/ that write their port into a file."""

import os
import pathlib
import signal
import socket
import subprocess

import programs
from support import PATIENCE_S, clean_env, until


class Started:
    """A server process. `stop()` switches it off for the replay; nobody listens on its port then."""

    def __init__(self, folder, name, *argv, env=None):
        self.folder = pathlib.Path(folder)
        with open(self.folder / f"{name}.log", "wb") as log:
            self.process = subprocess.Popen([str(a) for a in argv], stdout=log, stderr=log, stdin=subprocess.DEVNULL, env=env or clean_env())

    def url(self, path="", scheme="https"):
        return f"{scheme}://localhost:{self.port}{path}"

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait(PATIENCE_S)


class PortFile(Started):
    """A program whose last argument is the file that it writes its port to."""

    def __init__(self, folder, name, *argv, env=None):
        port_file = pathlib.Path(folder) / f"{name}.port"
        super().__init__(folder, name, *argv, port_file, env=env)
        self.port = int(until(lambda: port_file.exists() and port_file.read_text(), f"the port of {name}", self.process))


class Nghttpd(Started):
    """nghttpd over TLS; files below `www`. Its port is held by a socket that never listens, so that it stays ours."""

    def __init__(self, folder, authority, *options):
        pem, key = authority.issue("good")
        self.www = pathlib.Path(folder) / "nghttpd"
        self.www.mkdir()
        self.held = socket.socket()
        self.held.bind(("127.0.0.1", 0))
        self.held.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as nghttpd sets it: it may then bind beside us
        self.port = self.held.getsockname()[1]
        env = clean_env(PATH=os.environ["PATH"] + ":/usr/sbin")
        super().__init__(folder, "nghttpd", "nghttpd", "--address=127.0.0.1", "-d", self.www, *options, self.port, key, pem, env=env)
        until(self._answers, "nghttpd", self.process)

    def _answers(self):
        try:
            socket.create_connection(("127.0.0.1", self.port), 1).close()
            return True
        except OSError:
            return False

    def stop(self):
        super().stop()
        self.held.close()


def go_h2origin(folder, authority, name="h2origin", env=None):
    """clients/h2origin.go: HTTP/2 and HTTP/1.1 over TLS."""
    return PortFile(folder, name, programs.go_h2origin(), *authority.issue("good"), env=env)
