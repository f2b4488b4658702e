"""Every (client version × origin version × shape) against real servers: what the origin saw and the client was told is the same with and without ringtape
in between, the tape has it, and the replay with the origin gone tells the client the same once more.

The lanes are in pairs.LANES. A client of HTTP/1.1 with an origin of HTTP/2 is not among them: towards an origin HTTP/2 is spoken only for clients that
speak or offer it (proxy/network.c), and those that offer it in TLS get what the origin chose; that pair occurs when a tape is replayed for another
client, which has a test of its own here. HTTP/2 in clear outside of a CONNECT goes to the origin as HTTP/1.1. CONNECT within HTTP/2 is a tunnel
(test_http2_connect.py). How an exchange breaks off is in test_pair_endings.py.
"""

import pairs
import pytest
from origins import PortFile
from pairs import H2, LANES, SERVERS
from programs import CLIENTS
from support import clean_env, flows, run

CELLS = [(server, lane, cell) for server, (_, shapes, lanes) in SERVERS.items() for lane in lanes for cell in shapes]


@pytest.fixture(scope="session")
def table(shared, tmp_path_factory):
    """The cells of a server and a lane; walked when first asked for."""
    known = {}

    def ask(server, lane):
        if (server, lane) not in known:
            known[server, lane] = pairs.once(tmp_path_factory.getbasetemp(), f"{server}-{lane}", lambda folder: pairs.walk(server, lane, shared, folder))
        return known[server, lane]
    return ask


# All that may differ with ringtape in between. Of one hop only (RFC 9110 §7.6.1), in both directions:
HOP = {"connection", "keep-alive", "proxy-connection", "upgrade"}


def told(answer, cell, lane):
    """What the client was told, less what may differ: fields of one hop; the time; how a body is framed that ended with the connection, or in a translation
    (Transfer-Encoding is HTTP/1.1's); in a translation names are lower case, and HTTP/2 has no reason phrase; a 100 to a client that does not wait for it."""
    blocks = []
    for block in answer["blocks"]:
        fields = [line.partition(": ")[::2] for line in block if line]
        drop = HOP | ({"transfer-encoding"} if not lane.mirrored or cell == "until close" else set())
        fields = [[name, "…" if name.lower() == "date" else value] for name, value in fields if name.lower() not in drop]
        if not lane.mirrored:
            fields = [[name.split()[1] if name.startswith("HTTP/") else name.lower(), value] for name, value in fields]
        if fields and not (lane.client == H2 and fields[0][0].split()[-1] == "100"):
            blocks.append(fields)
    return {**answer, "version": None, "blocks": blocks}


def saw(note, lane):
    """What the origin saw, less what may differ: fields of one hop; the order of pseudo-header fields, which means nothing. In a translation names are lower
    case, and the fields that are made for HTTP/1.1 have a place of their own."""
    fields = [[name, value] for name, value in note["fields"] if name.lower() not in HOP]
    if lane.mirrored:
        return {**note, "fields": sorted(f for f in fields if f[0][0] == ":") + [f for f in fields if f[0][0] != ":"]}
    lower = [[name.lower(), value] for name, value in note.get("trailers", [])]
    return {**note, "fields": sorted([name.lower(), value] for name, value in fields), "trailers": lower}


def again(answer, lane):
    """What a replay tells is what was recorded, to the byte; but a client of HTTP/2 does not wait for a 100, and is told it or not, as the time falls."""
    return {**answer, "blocks": [block for block in answer["blocks"] if not (lane.client == H2 and block[0].startswith("HTTP/2 100"))]}


@pytest.mark.parametrize("server, lane, cell", CELLS, ids=["-".join(c).replace(" ", "_") for c in CELLS])
def test_cell(table, server, lane, cell):
    way, found = LANES[lane], table(server, lane)[cell]
    straight, recorded, replayed = (found[k] for k in ("straight", "recorded", "replayed"))
    assert straight["exit"] == 0, straight
    (alone,), (through,) = found["saw straight"], found["saw"]
    assert saw(through, way) == saw(alone, way)
    assert through["version"].replace("2.0", "2") == way.origin
    assert told(recorded, cell, way) == told(straight, cell, way)
    assert "HTTP/" + recorded["version"] == way.client
    assert again(replayed, way) == again(recorded, way)
    (flow,) = found["flows"]
    assert (flow["complete"], flow["error"], flow["status"]) == (1, None, recorded["status"])
    assert flow["versions"] == [way.client, way.origin]
    assert flow["response"][:3] == [recorded["size"], recorded["size"], recorded["digest"]]
    if "digest" in through:
        assert flow["request"] == [through["size"], through["size"], through["digest"], flow["request"][3]]
        assert sorted([n.lower(), v] for n, v in flow["request"][3]) == sorted([n.lower(), v] for n, v in through["trailers"])
    informational = [int(block[0].split()[1]) for block in recorded["blocks"] if block[0].startswith("HTTP/") and block[0].split()[1][0] == "1"]
    assert flow["informational"] == informational


OTHERS = [(lane, other, cell) for lane, others in pairs.OTHERS.items() for other in others for cell in SERVERS["node"][1]]


@pytest.mark.parametrize("lane, other, cell", OTHERS, ids=["-for-".join(c[:2]).replace(" ", "_") + f"-{c[2]}".replace(" ", "_") for c in OTHERS])
def test_replay_for_a_client_of_the_other_version(table, lane, other, cell):
    way, found = pairs.OTHERS[lane][other], table("node", lane)[cell]
    assert "HTTP/" + found["others"][other]["version"] == way.client
    assert told(found["others"][other], cell, way) == told(found["recorded"], cell, way)


@pytest.mark.parametrize("calls", ["seen", "client"])
def test_grpc(session, shared, tmp_path, calls):
    """grpcio on both sides: what the server saw (it says so in its answers) and what its client was told, straight, recorded and replayed."""
    python, peer = "/usr/bin/python3", CLIENTS / "grpc_peer.py"
    server = PortFile(tmp_path, "grpc", python, peer, "server", *shared.authority.issue("good"), env=clean_env())
    try:
        straight = run(python, peer, calls, server.port, env=clean_env(GRPC_DEFAULT_SSL_ROOTS_FILE_PATH=shared.authority.pem)).stdout
        assert session.both(server, python, peer, calls, server.port, least=6) == straight
    finally:
        server.stop()
    assert straight.count(b"StatusCode.OK") >= 5
    assert {f["http_version"] for f in flows(session.tape)} == {H2}
