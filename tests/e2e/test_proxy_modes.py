"""The ways in which a client can ask, and the ways in which ringtape can reach the origin."""

import base64
import json
import ssl
import threading

import pytest
from raw import OK, Client, answering, get, post, raw_origin  # noqa: F401 (a fixture)
from support import PATIENCE_S, clean_env, export_har, flows, rows, run

BACKENDS = pytest.mark.parametrize("backend", ["io_uring", "epoll"])


def echo(peer):
    """Answers each request with its request line."""
    while True:
        while b"\r\n\r\n" not in peer.waiting:
            if not peer.fill():
                return
        line = peer.request().head.split(b"\r\n")[0]
        peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(line), line))


def both(ringtape, tape, origin, ask, record=(), replay=()):
    """Asks in record and, with the origin switched off, in replay: the answers must be the same."""
    r = ringtape("record", "-o", tape, *record)
    first = ask(r.port)
    r.stop()
    origin.stop()
    r = ringtape("replay", tape, *replay)
    assert ask(r.port) == first
    r.stop()
    return first


# --- how a client asks --------------------------------------------------------------------------------------------------

@pytest.mark.quick
@pytest.mark.sanitize
@BACKENDS
def test_absolute_form_with_connection_close(ringtape, raw_origin, tmp_path, backend):  # noqa: F811
    origin = raw_origin(echo)

    def ask(port):
        with Client(port) as c:
            c.send(get(origin, "/a", "Connection: close\r\n"))
            return c.rest()

    out = both(ringtape, tmp_path / "t.tape", origin, ask, ("--backend", backend), ("--backend", backend))
    assert out == b"HTTP/1.1 200 OK\r\nContent-Length: 15\r\nConnection: close\r\n\r\nGET /a HTTP/1.1"


@BACKENDS
def test_http_1_0(ringtape, raw_origin, tmp_path, backend):  # noqa: F811
    """Without keep-alive the connection ends; with it, it stays; and a body in chunks goes out without them."""
    def script(peer):
        while True:
            while b"\r\n\r\n" not in peer.waiting:
                if not peer.fill():
                    return
            chunked = b"/chunked" in peer.request().head
            peer.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nok\r\n0\r\nX: y\r\n\r\n" if chunked else OK)

    origin = raw_origin(script)

    def ask(port):
        with Client(port) as closing, Client(port) as staying, Client(port) as chunked:
            closing.send(get(origin, "/1", version="HTTP/1.0"))
            one = closing.rest()
            keep = get(origin, "/2", "Connection: keep-alive\r\n", version="HTTP/1.0")
            two = [staying.ask(keep), staying.ask(keep)]
            chunked.send(get(origin, "/chunked", "Connection: keep-alive\r\n", version="HTTP/1.0"))
            return one, [(m.head, m.body) for m in two], chunked.rest()

    one, two, three = both(ringtape, tmp_path / "t.tape", origin, ask, ("--backend", backend), ("--backend", backend))
    assert one == b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok"
    assert two == 2 * [(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: keep-alive\r\n\r\n", b"ok")]
    assert three == b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nok"
    assert {f["http_version"] for f in flows(tmp_path / "t.tape")} == {"HTTP/1.0"}


@BACKENDS
def test_pipelined_requests_are_answered_in_order(ringtape, raw_origin, tmp_path, backend):  # noqa: F811
    origin = raw_origin(echo)
    asked = [get(origin, f"/{i}") if i % 3 else post(origin, b"x" * i * 1000, f"/{i}") for i in range(40)]

    def ask(port):
        with Client(port) as c:
            c.send(b"".join(asked[:-1]) + asked[-1].replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
            answers = [c.response().body for _ in asked]
            assert c.rest() == b""
            return answers

    out = both(ringtape, tmp_path / "t.tape", origin, ask, ("--backend", backend), ("--backend", backend))
    assert out == [b"%s /%d HTTP/1.1" % (b"GET" if i % 3 else b"POST", i) for i in range(40)]
    assert [f["request_bytes"] for f in flows(tmp_path / "t.tape")] == [0 if i % 3 else i * 1000 for i in range(40)]


@BACKENDS
def test_connect_with_plain_http_inside(ringtape, raw_origin, tmp_path, backend):  # noqa: F811
    origin = raw_origin(echo)

    def ask(port):
        with Client(port) as c:
            c.connect(origin.authority)
            return [c.ask(f"GET /{i} HTTP/1.1\r\nHost: {origin.authority}\r\n\r\n".encode()).body for i in range(3)]

    out = both(ringtape, tmp_path / "t.tape", origin, ask, ("--backend", backend), ("--backend", backend))
    assert out == [b"GET /%d HTTP/1.1" % i for i in range(3)]
    assert [(f["kind"], f["url"], f["complete"]) for f in flows(tmp_path / "t.tape")] == [("http", f"{origin.url}/{i}", 1) for i in range(3)]


@BACKENDS
def test_connect_with_tls_and_http_inside(ringtape, raw_origin, tmp_path, shared, backend):  # noqa: F811
    origin = raw_origin(echo, tls=shared.authority.issue("good"))

    def ask(port):
        with Client(port) as c:
            c.connect(origin.authority).secure(shared.ca, alpn=["http/1.1"])
            return c.sock.selected_alpn_protocol(), [c.ask(f"GET /{i} HTTP/1.1\r\nHost: {origin.authority}\r\n\r\n".encode()).body for i in range(3)]

    alpn, out = both(ringtape, tmp_path / "t.tape", origin, ask, ("--backend", backend), ("--backend", backend))
    assert out == [b"GET /%d HTTP/1.1" % i for i in range(3)]
    assert [f["url"] for f in flows(tmp_path / "t.tape")] == [f"https://{origin.authority}/{i}" for i in range(3)]


@BACKENDS
def test_connect_with_an_unknown_protocol_inside_is_tunnelled_recorded_and_replayed(ringtape, raw_origin, tmp_path, backend):  # noqa: F811
    tape = tmp_path / "t.tape"

    def script(peer):
        assert peer.exactly(6) == b"\x00hello"
        peer.send(b"\xffwelcome")
        assert peer.exactly(4) == b"more"
        peer.send(b"\x00\x01\x02\x03bye")
        assert peer.rest() == b""

    origin = raw_origin(script)

    def ask(port):
        with Client(port) as c:
            c.connect(origin.authority)
            c.send(b"\x00hello")
            one = c.exactly(8)
            c.send(b"more")
            two = c.exactly(7)
            c.finish()
            return one, two, c.rest()

    assert both(ringtape, tape, origin, ask, ("--backend", backend), ("--backend", backend)) == (b"\xffwelcome", b"\x00\x01\x02\x03bye", b"")
    (flow,) = flows(tape)
    assert (flow["kind"], flow["method"], flow["url"], flow["complete"], flow["error"]) == ("tunnel", "CONNECT", origin.authority, 1, None)
    assert [(m["direction"], m["kind"], m["payload"]) for m in rows(tape, "select * from message order by seq")] == [
        ("request", "bytes", b"\x00hello"), ("response", "bytes", b"\xffwelcome"), ("request", "bytes", b"more"),
        ("response", "bytes", b"\x00\x01\x02\x03bye")]
    export_har(tape, tmp_path)


@BACKENDS
def test_connect_to_a_server_that_speaks_first(ringtape, raw_origin, tmp_path, backend):  # noqa: F811
    """As mail servers do: a client that waits is tunnelled after LIMIT_SNIFF_MS."""
    tape = tmp_path / "t.tape"

    def script(peer):
        peer.send(b"220 ready\r\n")
        assert peer.until(b"\r\n") == b"QUIT\r\n"
        peer.send(b"221 bye\r\n")

    origin = raw_origin(script)

    def ask(port):
        with Client(port) as c:
            c.connect(origin.authority)
            assert c.until(b"\r\n") == b"220 ready\r\n"
            c.send(b"QUIT\r\n")
            return c.rest()

    assert both(ringtape, tape, origin, ask, ("--backend", backend), ("--backend", backend)) == b"221 bye\r\n"
    (flow,) = flows(tape)
    assert (flow["kind"], flow["complete"]) == ("tunnel", 1), flow
    assert [m["direction"] for m in rows(tape, "select direction from message order by seq")] == ["response", "request", "response"]


def test_connect_to_nobody_is_a_502_inside_and_a_row(ringtape, tmp_path, shared):
    """CONNECT itself is answered before the origin is known; the failure comes as the answer to the first request."""
    tape = tmp_path / "t.tape"
    r = ringtape("record", "-o", tape)
    with Client(r.port) as c:
        c.connect("nothing.invalid:443").secure(shared.ca, name="nothing.invalid")
        answer = c.ask(b"GET /x HTTP/1.1\r\nHost: nothing.invalid\r\n\r\n")
        assert answer.status == 502 and answer.field(b"ringtape") == [b"error; resolve"]
    r.stop()
    (flow,) = flows(tape)
    assert (flow["url"], flow["status"], flow["complete"]) == ("https://nothing.invalid/x", 502, 0) and flow["error"].startswith("resolve: ")


# --- how the origin is reached ------------------------------------------------------------------------------------------

@BACKENDS
def test_pass_leaves_tls_alone(ringtape, raw_origin, tmp_path, shared, backend):  # noqa: F811
    """The client sees the origin's own certificate; the tape has the bytes as a tunnel."""
    tape = tmp_path / "t.tape"
    origin = raw_origin(echo, tls=shared.authority.issue("good"))
    r = ringtape("record", "-o", tape, "--backend", backend, "--pass", "localhost:%d" % origin.port)
    with Client(r.port) as c:
        c.connect(origin.authority).secure(shared.authority.pem)
        assert c.ask(b"GET /secret HTTP/1.1\r\nHost: x\r\n\r\n").body == b"GET /secret HTTP/1.1"
        c.sock.unwrap()
    r.stop()
    (flow,) = flows(tape)
    assert flow["kind"] == "tunnel" and flow["request_bytes"] > 0 and flow["response_bytes"] > 0
    assert not rows(tape, "select 1 from message where instr(payload, 'secret')")


def test_pass_globs_and_what_is_not_meant(ringtape, raw_origin, tmp_path, shared):  # noqa: F811
    tape = tmp_path / "t.tape"
    origin = raw_origin(echo, tls=shared.authority.issue("names", san="DNS:a.pass.test,DNS:pass.test,IP:127.0.0.1"))
    r = ringtape("record", "-o", tape, "--pass", "*.pass.test", "--connect-to", f"::127.0.0.1:{origin.port}")
    for name, ca in (("a.pass.test", shared.authority.pem), ("pass.test", shared.ca)):
        with Client(r.port) as c:
            c.connect(f"{name}:443").secure(ca, name=name)
            assert c.ask(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n").status == 200
    r.stop()
    assert [(f["kind"], f["port"]) for f in flows(tape)] == [("tunnel", 443), ("http", 443)]


@pytest.mark.quick
@BACKENDS
def test_reverse_plain_and_tls_on_one_port(ringtape, raw_origin, tmp_path, shared, backend):  # noqa: F811
    tape = tmp_path / "t.tape"
    origin = raw_origin(echo)

    def ask(port):
        def one(c):
            return [c.ask(f"GET /{i}?q HTTP/1.1\r\nHost: localhost:{port}\r\n\r\n".encode()).body for i in range(2)]
        with Client(port) as plain, Client(port) as secured:
            return one(plain), one(secured.secure(shared.ca))

    reverse = ("--reverse", f"{origin.url}/base/", "--backend", backend)
    plain, secured = both(ringtape, tape, origin, ask, reverse, reverse)
    assert plain == secured == [b"GET /base/0?q HTTP/1.1", b"GET /base/1?q HTTP/1.1"]
    assert {f["url"] for f in flows(tape)} == {f"{origin.url}/base/{i}?q" for i in range(2)}
    assert {v["value"] for v in rows(tape, "select value from headers where name = 'Host'")} == {origin.authority}


def test_reverse_by_host(ringtape, raw_origin, tmp_path, shared):  # noqa: F811
    """HOST=URL: each name has its origin; a name that has none gets told what this port is."""
    tape = tmp_path / "t.tape"
    a, b = raw_origin(echo), raw_origin(echo, tls=shared.authority.issue("good"))
    r = ringtape("record", "-o", tape, "--reverse", f"a.test={a.url}", "--reverse", f"b.test=https://{b.authority}")
    for host, status in (("a.test", 200), ("B.test:80", 200), ("c.test", 421)):
        with Client(r.port) as c:
            assert c.ask(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode()).status == status
    r.stop()
    assert [f["url"] for f in flows(tape)] == [f"{a.url}/", f"https://{b.authority}/"]


def test_connect_to(ringtape, raw_origin, tmp_path, shared):  # noqa: F811
    """curl's meaning: the name stays, for Host, SNI and the certificate; only the address is another."""
    tape = tmp_path / "t.tape"
    plain, secured = raw_origin(echo), raw_origin(echo, tls=shared.authority.issue("shop", san="DNS:shop.test"))
    r = ringtape("record", "-o", tape, "--connect-to", f"shop.test:80:127.0.0.1:{plain.port}", "--connect-to", f"shop.test:443::{secured.port}",
                 "--connect-to", "::127.0.0.1:")
    with Client(r.port) as c:
        assert c.ask(b"GET http://shop.test/ HTTP/1.1\r\nHost: shop.test\r\n\r\n").status == 200
    with Client(r.port) as c:
        c.connect("shop.test:443").secure(shared.ca, name="shop.test")
        assert c.ask(b"GET / HTTP/1.1\r\nHost: shop.test\r\n\r\n").status in (200, 502)
    r.stop()
    assert b"Host: shop.test\r\n" in plain.heard()
    assert [f["url"] for f in flows(tape)] == ["http://shop.test/", "https://shop.test/"]


def beyond(ringtape, tmp_path, options=()):
    return ringtape("record", "-o", tmp_path / "beyond.tape", *options)


@BACKENDS
def test_upstream_another_ringtape_beyond(ringtape, raw_origin, tmp_path, shared, backend):  # noqa: F811
    """Plain, TLS and unknown protocols through two proxies; the one beyond is asked for a password."""
    origin, secured = raw_origin(echo), raw_origin(echo, tls=shared.authority.issue("good"))

    def greet(peer):
        assert peer.exactly(3) == b"\x01\x02\x03"
        peer.send(b"\x04")
        peer.rest()

    other = raw_origin(greet)
    far = beyond(ringtape, tmp_path, ("--proxy-auth", "user:pass%"))
    both_cas = tmp_path / "cas.pem"
    both_cas.write_bytes(shared.ca.read_bytes() + shared.authority.pem.read_bytes())
    near = ringtape("record", "-o", tmp_path / "near.tape", "--backend", backend, "--upstream", f"http://user:pass%25@127.0.0.1:{far.port}",
                    "--upstream-ca", both_cas)
    with Client(near.port) as c:
        assert [c.ask(get(origin, f"/{i}")).body for i in range(2)] == [b"GET /0 HTTP/1.1", b"GET /1 HTTP/1.1"]
    with Client(near.port) as c:
        c.connect(secured.authority).secure(shared.ca)
        assert c.ask(f"GET /tls HTTP/1.1\r\nHost: {secured.authority}\r\n\r\n".encode()).body == b"GET /tls HTTP/1.1"
    with Client(near.port) as c:
        c.connect(other.authority)
        c.send(b"\x01\x02\x03")
        assert c.exactly(1) == b"\x04"
        c.finish()
        assert c.rest() == b""
    near.stop()
    far.stop()
    urls = [f"{origin.url}/0", f"{origin.url}/1", f"https://{secured.authority}/tls", other.authority]
    for tape in ("near.tape", "beyond.tape"):
        assert [(f["url"], f["complete"]) for f in flows(tmp_path / tape)] == [(u, 1) for u in urls], tape
    assert {f["track"] for f in flows(tmp_path / "beyond.tape")} == {"user"}


def test_upstream_that_refuses_is_a_502_with_its_status(ringtape, raw_origin, tmp_path, shared):  # noqa: F811
    origin = raw_origin(echo)
    far = beyond(ringtape, tmp_path, ("--proxy-auth", "user:pass"))
    near = ringtape("record", "-o", tmp_path / "near.tape", "--upstream", f"http://127.0.0.1:{far.port}")
    with Client(near.port) as c:
        assert c.ask(get(origin)).status == 407, "passed on as it came"
    with Client(near.port) as c:
        c.connect("localhost:443").secure(shared.ca)
        answer = c.ask(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n")
        assert answer.status == 502 and b"407" in answer.body
    near.stop()
    far.stop()
    assert origin.heard() == b""
    assert [f["status"] for f in flows(tmp_path / "near.tape")] == [407, 502]


# --- who may, and who it was --------------------------------------------------------------------------------------------

def basic(user, password=""):
    return f"Proxy-Authorization: Basic {base64.b64encode(f'{user}:{password}'.encode()).decode()}\r\n"


@pytest.mark.quick
@BACKENDS
def test_proxy_auth(ringtape, raw_origin, tmp_path, shared, backend):  # noqa: F811
    tape = tmp_path / "t.tape"
    origin, secured = raw_origin(echo), raw_origin(echo, tls=shared.authority.issue("good"))
    r = ringtape("record", "-o", tape, "--proxy-auth", "me:secret", "--backend", backend)
    for extra in ("", basic("me", "wrong"), basic("other", "secret"), "Proxy-Authorization: Basic ???\r\n", "Proxy-Authorization: Digest x\r\n"):
        with Client(r.port) as c:
            answer = c.ask(get(origin, extra=extra))
            assert answer.status == 407 and answer.field(b"proxy-authenticate") == [b'Basic realm="ringtape"']
            assert c.ask(get(origin, "/in", extra=basic("me", "secret"))).status == 200, "on the same connection, as browsers do"
        with Client(r.port) as c:
            c.send(f"CONNECT {secured.authority} HTTP/1.1\r\nHost: x\r\n{extra}\r\n".encode())
            assert c.response().status == 407
    with Client(r.port) as c:
        c.send(f"CONNECT {secured.authority} HTTP/1.1\r\nHost: x\r\n{basic('me', 'secret')}\r\n".encode())
        assert c.until(b"\r\n\r\n").startswith(b"HTTP/1.1 200 ")
        c.secure(shared.ca)
        assert c.ask(b"GET /tls HTTP/1.1\r\nHost: x\r\n\r\n").status == 200, "asked once a tunnel"
    r.stop()
    assert b"authorization" not in origin.heard().lower() + secured.heard().lower(), "the password is between client and proxy"
    assert [f["path"] for f in flows(tape)] == 5 * ["/in"] + ["/tls"]
    assert not rows(tape, "select 1 from headers where lower(name) = 'proxy-authorization'")


@BACKENDS
def test_the_user_name_is_the_track(ringtape, raw_origin, tmp_path, shared, backend):  # noqa: F811
    """Promise 11: parallel tests have each their own place in the sequence."""
    tape = tmp_path / "t.tape"
    count = iter(range(100))

    def script(peer):
        while True:
            while b"\r\n\r\n" not in peer.waiting:
                if not peer.fill():
                    return
            who = peer.request().field(b"x-who")[0]
            body = b"%s %d" % (who, next(count))
            peer.send(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    origin = raw_origin(script)

    def ask(port, order):
        out = {"a": [], "b": [], "": []}
        clients = {who: Client(port) for who in out}
        for who in order:
            out[who].append(clients[who].ask(get(origin, extra=f"X-Who: {who or 'nobody'}\r\n" + (basic(who) if who else ""))).body)
        for c in clients.values():
            c.close()
        return out

    r = ringtape("record", "-o", tape, "--backend", backend)
    first = ask(r.port, ["a", "b", "", "a", "b", ""])
    r.stop()
    assert [f["track"] for f in flows(tape)] == ["a", "b", None, "a", "b", None]
    r = ringtape("replay", tape, "--backend", backend)
    assert ask(r.port, ["b", "b", "", "", "a", "a"]) == first
    r.stop()


# --- the page -----------------------------------------------------------------------------------------------------------

@pytest.mark.quick
@pytest.mark.sanitize
@BACKENDS
@pytest.mark.parametrize("mode", ["record", "replay"])
def test_the_page(ringtape, raw_origin, tmp_path, shared, mode, backend):  # noqa: F811
    """http://ringtape/: the CA in three forms that openssl reads as one certificate, and the counters."""
    tape = tmp_path / "t.tape"
    origin = raw_origin(echo)
    r = ringtape("record", "-o", tape, "--backend", backend)
    with Client(r.port) as c:
        c.ask(get(origin))
    if mode == "replay":
        r.stop()
        r = ringtape("replay", tape, "--backend", backend)
    got = {}
    with Client(r.port) as c:
        for path in ("/", "/ca.pem", "/ca.der", "/ca.p12", "/counters.json", "/nothing"):
            got[path] = c.ask(f"GET http://ringtape{path} HTTP/1.1\r\nHost: ringtape\r\n\r\n".encode())
    with Client(r.port) as c:  # and the same over TLS
        c.connect("ringtape:443").secure(shared.ca, name="ringtape")
        assert c.ask(b"GET /ca.der HTTP/1.1\r\nHost: ringtape\r\n\r\n").body == got["/ca.der"].body
    for host, status in (("unknown.test", 421), ("localhost", 200), (f"127.0.0.1:{r.port}", 200)):
        with Client(r.port) as c:
            answer = c.ask(f"GET / HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
            assert answer.status == status and b"HTTP proxy" in answer.body, host
    r.stop()
    assert [m.status for m in got.values()] == [200, 200, 200, 200, 200, 404]
    assert b"ca.pem" in got["/"].body and got["/"].field(b"content-type") == [b"text/html; charset=utf-8"]
    der = ssl.PEM_cert_to_DER_cert(shared.ca.read_text())
    assert ssl.PEM_cert_to_DER_cert(got["/ca.pem"].body.decode()) == der == got["/ca.der"].body
    p12 = tmp_path / "ca.p12"
    p12.write_bytes(got["/ca.p12"].body)
    pem = run("openssl", "pkcs12", "-in", p12, "-nokeys", "-passin", "pass:ringtape", env=clean_env()).stdout.decode()
    pem = pem[pem.index("-----BEGIN"):]
    assert ssl.PEM_cert_to_DER_cert(pem) == der
    counters = json.loads(got["/counters.json"].body)
    assert counters["clients_now"] >= 1 and counters["clients"] >= 1
    assert len(flows(tape)) == 1, "the page is nobody's traffic"
