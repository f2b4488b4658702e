"""Every (client version × origin version × ending): where an exchange breaks off, at which step and how, is on the tape with the right word and with what
had come before; the client is told the same break, and once more by the replay. An ending of the origin is walked as a cell of test_pairs.py is."""

import hashlib

import pairs
import pairs_broken
import pairs_leaving
import pairs_raw
import pytest
from pairs import H2, LANES, Walk
from pairs_broken import HTTP1, HTTP2
from raw import raw_origin  # noqa: F401 (a fixture)
from support import Ringtape
from test_pairs import told

BROKEN_LANES = ("h1-h1", "h1-tls-h1", "h2-tls-h1-clear", "h2-tls-h2", "h2-clear-h2", "h2-tls-h2-reverse")
CELLS = [(lane, name) for lane in BROKEN_LANES for name, ending in (HTTP2 if LANES[lane].origin == H2 else HTTP1).items()
         if ending.lanes is None or lane in ending.lanes]
BROKEN = {18, 56, 92}  # as curl says it: a part of the file, failure to receive, a stream of HTTP/2 that was reset


def ending_of(lane, name):
    return (HTTP2 if LANES[lane].origin == H2 else HTTP1)[name]


def walk(lane_name, shared, folder):
    lane, progress, tape = LANES[lane_name], pairs_broken.Progress(), folder / "broken.tape"
    origin = pairs_broken.origin(lane, progress, shared.authority)
    ports, running = {name: origin.port for name in ("tls", "clear", "h2c")}, []

    def walked(port, ca):
        w = Walk(lane, ports, folder, ca, port)
        progress.told = w.told
        return {name: w.broken(name, ending_of(at, name).word is None) for at, name in CELLS if at == lane_name}

    def through(command, *argv):
        running.append(Ringtape(folder, command, *argv, *lane.reverse(ports), ca_dir=shared.ca_dir))
        found = walked(running[-1].port, shared.ca)
        running[-1].stop()
        return found

    try:
        straight = walked(None, shared.authority.pem)
        recorded = through("record", "--workers", "1", "-o", tape, "--upstream-ca", shared.authority.pem)
        origin.stop()
        replayed = through("replay", tape)
    finally:
        for r in running:
            if r.process.poll() is None:
                r.kill()
        origin.stop()
    rows = pairs.on_tape(tape)
    return {name: {"straight": straight[name], "recorded": recorded[name], "replayed": replayed[name], "flows": rows.get(pairs.key(name), [])}
            for name in straight}


@pytest.fixture(scope="session")
def endings(shared, tmp_path_factory):
    known = {}

    def ask(lane):
        if lane not in known:
            known[lane] = pairs.once(tmp_path_factory.getbasetemp(), f"broken-{lane}", lambda folder: walk(lane, shared, folder))
        return known[lane]
    return ask


@pytest.mark.parametrize("lane, name", CELLS, ids=["-".join(c).replace(" ", "_") for c in CELLS])
def test_origin_breaks_off(endings, lane, name):
    way, ending, found = LANES[lane], ending_of(lane, name), endings(lane)[name]
    straight, recorded, replayed = (found[k] for k in ("straight", "recorded", "replayed"))
    (flow,) = found["flows"]
    assert (flow["status"], flow["answered"]) == (ending.status, int(ending.answered))
    assert flow["response"][:2] == [len(ending.content)] * 2
    if ending.word is None:
        assert straight["exit"] == 0 and (flow["complete"], flow["error"]) == (1, None)
    else:
        assert (straight["exit"] == 0) == ending.forgiven and flow["complete"] == 0 and flow["error"].startswith(ending.word + ": ")
    if ending.answered:
        assert (recorded["exit"], recorded["status"]) == (0, 502)
        assert f"ringtape: error; {ending.word}" in [line.lower() for line in recorded["blocks"][-1]]
    else:
        assert recorded["exit"] == 0 if ending.word is None else {recorded["exit"], straight["exit"] or 18} <= BROKEN
        same = {"said": "", "exit": 0}
        assert told({**recorded, **same}, "until close", way) == told({**straight, **same}, "until close", way)
        assert flow["response"][2] == recorded["digest"]
    assert {**replayed, "said": ""} == {**recorded, "said": ""}


# --- the client leaves ---------------------------------------------------------------------------------------------------

BODY = b"0123456789" * 10
# step: (what the client has sent of BODY; None: a GET; what it has been told of the answer when it leaves)
STEPS = {"after the head": (0, None), "in the body": (50, None), "waiting": (None, None), "after the answer's head": (None, 0), "in the answer": (None, 50)}
LEAVING = {
    "h1-h1": {"closes": "truncated", "resets": "closed"},
    "h1-tls-h1": {"closes": "truncated", "resets": "closed"},
    "h2-tls-h1-clear": {"cancels": "closed", "closes": "closed", "resets": "closed"},
    "h2-tls-h2": {"cancels": "closed", "closes": "closed", "resets": "closed"},
    "h2-clear-h2": {"cancels": "closed", "closes": "closed", "resets": "closed"},
}
# A reset is "closed" as well: it comes of closing with something unread, too.
# A client of HTTP/1.1 that closes after its request may only have finished speaking: it is no break.
LEAVES = [(lane, step, how) for lane, hows in LEAVING.items() for step in STEPS for how in hows
          if not (how == "closes" and lane.startswith("h1") and STEPS[step][0] is None)]


@pytest.mark.parametrize("lane, step, how", LEAVES, ids=["-".join(c).replace(" ", "_") for c in LEAVES])
def test_client_leaves(ringtape, raw_origin, shared, tmp_path, lane, step, how):  # noqa: F811
    """The origin is told at once, and the tape has what went before, either way."""
    way, tape, (sent, told_of) = LANES[lane], tmp_path / "left.tape", STEPS[step]
    heard = pairs_leaving.Heard(told_of)
    origin = raw_origin(heard.http2 if way.origin == H2 else heard.http1, shared.authority.issue("good") if way.straight[1] == "tls" else None)
    if origin.context:
        origin.context.set_alpn_protocols(["h2" if way.origin == H2 else "http/1.1"])
    ports = {name: origin.port for name in ("tls", "clear", "h2c")}
    r = ringtape("record", "--workers", "1", "-o", tape, *way.reverse(ports))
    with pairs_raw.connected(Walk(way, ports, tmp_path, shared.ca, r.port)) as c:
        leaving = pairs_leaving.Leaving(Walk(way, ports, tmp_path, shared.ca, r.port), c)
        leaving.ask(None if sent is None else BODY, sent)
        heard.wait_request(b"" if sent is None else BODY[:sent])
        if told_of is not None:
            leaving.wait_answer(told_of)
        leaving.leave(how)
        heard.wait_gone()
    r.stop()
    origin.stop()
    (flow,) = pairs.on_tape(tape)["left"]
    assert flow["complete"] == 0 and flow["error"].startswith(LEAVING[lane][how] + ": "), flow["error"]
    assert flow["status"] == (None if told_of is None else 200) and not flow["answered"]
    assert flow["request"][:3] == [sent or 0, sent or 0, hashlib.sha256(BODY[:sent or 0]).hexdigest()]
    assert flow["response"][:3] == [told_of or 0, told_of or 0, hashlib.sha256(BODY[:told_of or 0]).hexdigest()]
