"""What the end-to-end tests share: certificates, origins (nginx), and ringtape itself as a process.

Everything binds to loopback, on ports that the kernel chose, and ends with the test that started it.
"""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
RINGTAPE = os.environ.get("RINGTAPE") or str(ROOT / "build" / "ringtape")
PATIENCE_S = 60  # how long anything may take before a test calls it hung

sys.path.insert(0, str(ROOT / "tests" / "tools"))


def until(condition, what, process=None):
    """Waits for a condition that another process brings about."""
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end:
        value = condition()
        if value:
            return value
        if process is not None and process.poll() is not None:
            value = condition()
            if value:
                return value
            raise AssertionError(f"{what}: the process ended with {process.returncode} before")
        time.sleep(0.005)
    raise AssertionError(f"{what}: not within {PATIENCE_S} s")


def run(*argv, check=True, input=None, env=None, cwd=None, timeout=PATIENCE_S):
    """Runs a program; gives the completed process with bytes in stdout and stderr."""
    done = subprocess.run([str(a) for a in argv], input=input, env=env, cwd=cwd, timeout=timeout,
                          stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    if check and done.returncode != 0:
        raise AssertionError(f"{argv}: exit {done.returncode}\n{done.stderr.decode(errors='replace')}"
                             f"{done.stdout[-2000:].decode(errors='replace')}")
    return done


def clean_env(**more):
    """The environment without proxies and CA settings of the machine that the tests run on."""
    env = {k: v for k, v in os.environ.items()
           if "proxy" not in k.lower() and k not in {
               "SSL_CERT_FILE", "SSL_CERT_DIR", "CURL_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "NODE_EXTRA_CA_CERTS", "GIT_SSL_CAINFO",
               "CARGO_HTTP_CAINFO", "PIP_CERT", "AWS_CA_BUNDLE", "DENO_CERT", "GRPC_DEFAULT_SSL_ROOTS_FILE_PATH",
               "NIX_SSL_CERT_FILE", "JAVA_TOOL_OPTIONS", "SSLKEYLOGFILE", "npm_config_cafile", "HTTPLIB2_CA_CERTS"}}
    env.update({k: str(v) for k, v in more.items()})
    return env


class Authority:
    """A CA for origins, made with the openssl command, and the certificates it signs."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.pem = self.folder / "origin-ca.pem"
        self.key = self.folder / "origin-ca.key"
        self._key(self.key)
        run("openssl", "req", "-x509", "-new", "-key", self.key, "-subj", "/CN=test origin CA", "-days", "30", "-out", self.pem,
            "-addext", "basicConstraints=critical,CA:TRUE", "-addext", "keyUsage=critical,keyCertSign,cRLSign")

    def _key(self, path):
        run("openssl", "genpkey", "-algorithm", "EC", "-pkeyopt", "ec_paramgen_curve:P-256", "-out", path)

    def issue(self, name, san="DNS:localhost,IP:127.0.0.1", days=20, self_signed=False, expired=False, usage="serverAuth"):
        """A certificate and its key as (pem, key)."""
        pem, key, csr, ext = (self.folder / f"{name}.{s}" for s in ("pem", "key", "csr", "ext"))
        if pem.exists():
            return pem, key
        self._key(key)
        ext.write_text(f"subjectAltName={san}\nbasicConstraints=critical,CA:FALSE\nextendedKeyUsage={usage}\n"
                       "authorityKeyIdentifier=keyid\nsubjectKeyIdentifier=hash\n")
        run("openssl", "req", "-new", "-key", key, "-subj", "/CN=localhost", "-out", csr)
        if self_signed:
            run("openssl", "req", "-x509", "-key", key, "-subj", "/CN=localhost", "-days", days, "-out", pem,
                "-addext", f"subjectAltName={san}")
        elif expired:
            conf = self.folder / "ca.conf"
            (self.folder / "index.txt").write_text("")
            conf.write_text(f"[ca]\ndefault_ca=d\n[d]\ndatabase={self.folder}/index.txt\nnew_certs_dir={self.folder}\nrand_serial=yes\n"
                            f"default_md=sha256\npolicy=p\n[p]\ncommonName=supplied\n")
            run("openssl", "ca", "-batch", "-config", conf, "-cert", self.pem, "-keyfile", self.key, "-in", csr, "-out", pem,
                "-startdate", "20200101000000Z", "-enddate", "20200201000000Z", "-extfile", ext, "-notext")
        else:
            run("openssl", "x509", "-req", "-in", csr, "-CA", self.pem, "-CAkey", self.key, "-CAcreateserial", "-days", days,
                "-out", pem, "-extfile", ext)
        return pem, key


class Ports:
    """Ports that stay ours: bound with SO_REUSEPORT and never listening, so that only a server told to may share them."""

    def __init__(self):
        self.held = []

    def take(self):
        s = socket.socket()
        s.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        s.bind(("127.0.0.1", 0))
        self.held.append(s)
        return s.getsockname()[1]

    def close(self):
        for s in self.held:
            s.close()
        self.held = []


NGINX = """
worker_processes 1; daemon off; pid {f}/nginx.pid; error_log {f}/error.log warn;
events {{ worker_connections 4096; }}
http {{
  access_log {f}/access.log; root {f}/www; default_type application/octet-stream;
  types {{ text/html html; text/css css; text/javascript js; application/json json; text/plain txt; image/png png; }}
  client_body_temp_path {f}/t1; proxy_temp_path {f}/t2; fastcgi_temp_path {f}/t3; uwsgi_temp_path {f}/t4; scgi_temp_path {f}/t5;
  client_max_body_size 4g; keepalive_requests 1000000; gzip_types *; gzip_min_length 1;
  ssl_certificate {pem}; ssl_certificate_key {key}; ssl_session_cache shared:S:1m;
  server {{
    listen 127.0.0.1:{http} reuseport; listen 127.0.0.1:{https} ssl reuseport; server_name localhost;
    location /gzip/ {{ alias {f}/www/; gzip on; }}
    location /chunked/ {{ alias {f}/www/; gzip on; gzip_comp_level 1; ssi on; ssi_types *; }}
    location /slow/ {{ alias {f}/www/; limit_rate 200k; }}
    location = /redirect {{ return 302 /hello.txt; }}
    location = /empty {{ return 204; }}
    location = /teapot {{ return 418 "short and stout\\n"; }}
    location = /post {{ proxy_pass http://127.0.0.1:{http}/post-sink; }}
    location = /post-sink {{ return 200 "thanks\\n"; }}
    location /dav/ {{ alias {f}/www/dav/; dav_methods PUT DELETE; create_full_put_path on; }}
    {extra}
  }}
  server {{ listen 127.0.0.1:{tls12} ssl reuseport; server_name localhost; ssl_protocols TLSv1.2; }}
  server {{ listen 127.0.0.1:{tls13} ssl reuseport; server_name localhost; ssl_protocols TLSv1.3; }}
}}
"""


class Nginx:
    """An origin. `stop()` switches it off for the replay; the ports then refuse connections."""

    def __init__(self, folder, authority, pem=None, key=None, extra=""):
        self.folder = pathlib.Path(folder)
        self.www = self.folder / "www"
        (self.www / "dav").mkdir(parents=True)
        if pem is None:
            pem, key = authority.issue("good")
        self.ports = Ports()
        self.http, self.https, self.tls12, self.tls13 = (self.ports.take() for _ in range(4))
        (self.www / "hello.txt").write_text("hello, world\n")
        (self.www / "data.json").write_text(json.dumps({"a": [1, 2, 3], "text": "grün"}))
        (self.www / "big.bin").write_bytes(bytes(range(256)) * 4096)
        (self.www / "big.txt").write_text("the quick brown fox\n" * 20000)
        (self.folder / "nginx.conf").write_text(NGINX.format(
            f=self.folder, http=self.http, https=self.https, tls12=self.tls12, tls13=self.tls13, pem=pem, key=key, extra=extra))
        os.chmod(self.folder, 0o755)
        user = ["-g", "user root;"] if os.geteuid() == 0 else []
        with open(self.folder / "nginx.out", "wb") as out:
            self.process = subprocess.Popen(["nginx", "-p", str(self.folder), "-c", str(self.folder / "nginx.conf"), *user],
                                            stdout=out, stderr=out, env=clean_env(PATH=os.environ["PATH"] + ":/usr/sbin"))
        until(lambda: self._answers(), "nginx", self.process)

    def _answers(self):
        try:
            socket.create_connection(("127.0.0.1", self.http), 1).close()
            return True
        except OSError:
            return False

    def url(self, path="/hello.txt", scheme="http", host="localhost"):
        return f"{scheme}://{host}:{self.http if scheme == 'http' else self.https}{path}"

    def requests(self):
        return (self.folder / "access.log").read_text().splitlines()

    def stop(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.wait(PATIENCE_S)
        self.ports.close()


class Ringtape:
    """A running `ringtape record` or `ringtape replay`."""

    def __init__(self, folder, *argv, ca_dir, env=None, stdout=subprocess.DEVNULL):
        self.port_file = pathlib.Path(folder) / f"port-{time.monotonic_ns()}"
        self.log_path = pathlib.Path(folder) / f"log-{time.monotonic_ns()}"
        self.log_file = open(self.log_path, "wb")
        command = [RINGTAPE, argv[0], "--ca-dir", ca_dir, "-l", "127.0.0.1:0", "--port-file", self.port_file, *argv[1:]]
        self.process = subprocess.Popen([str(a) for a in command], stderr=self.log_file, stdout=stdout, cwd=str(folder),
                                        env=env or clean_env())
        self.port = int(until(lambda: self.port_file.exists() and self.port_file.read_text(), "the port file", self.process))
        self.proxy = f"http://127.0.0.1:{self.port}"

    def log(self):
        return self.log_path.read_text(errors="replace")

    def env(self, ca, **more):
        return clean_env(http_proxy=self.proxy, https_proxy=self.proxy, SSL_CERT_FILE=ca, CURL_CA_BUNDLE=ca, **more)

    def stop(self, expect=0, sig=signal.SIGTERM):
        if self.process.poll() is None:
            self.process.send_signal(sig)
        code = self.process.wait(PATIENCE_S)
        self.log_file.close()
        if expect is not None:
            assert code == expect, f"exit {code}, not {expect}\n{self.log()}"
        return code

    def kill(self):
        self.process.kill()
        self.process.wait(PATIENCE_S)
        self.log_file.close()


def rows(tape, sql, *args):
    """The rows of a query on a tape, as dictionaries."""
    with contextlib.closing(sqlite3.connect(f"file:{tape}?mode=ro", uri=True)) as db:
        db.row_factory = sqlite3.Row
        return [dict(r) for r in db.execute(sql, args)]


def flows(tape, where="1"):
    return rows(tape, f"select * from flows where {where} order by id")


def export_har(tape, folder):
    """Exports, checks the file against the schema and the rules, gives the HAR as Python data."""
    import har_validate
    out = pathlib.Path(folder) / (pathlib.Path(tape).stem + ".har")
    run(RINGTAPE, "export", tape, "-o", out)
    har = har_validate.load(out.read_bytes())
    problems = har_validate.problems(har)
    assert not problems, problems[:10]
    return har


def needs(*programs):
    """The first program that is missing, or None. `make check` installs them all, so a test may rely on them."""
    return next((p for p in programs if shutil.which(p) is None), None)
