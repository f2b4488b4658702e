#!/usr/bin/python3
"""Holds a HAR file against HAR 1.2: schema/har-1.2.schema.json, and the rules that a schema cannot say.

usage: har_validate.py FILE...    exit 1 with a line for each problem
"""
import base64
import binascii
import datetime
import ipaddress
import json
import math
import pathlib
import re
import sys
import urllib.parse

SCHEMA = pathlib.Path(__file__).resolve().parent.parent.parent / "schema" / "har-1.2.schema.json"
PHASES = ("blocked", "dns", "connect", "send", "wait", "receive")  # without ssl, which lies within connect
VERSIONS = ("HTTP/1.0", "HTTP/1.1", "HTTP/2", "HTTP/3")
ROUNDING_MS = 0.0011  # of two numbers with three decimals
LOST = "\ufffd"  # stands for bytes that are not UTF-8: what was made of them cannot be compared


# --- the text of the file --------------------------------------------------------------------------------------------


def no_repeats(pairs):
    """Two members of one name: readers differ in which of them they see."""
    out = dict(pairs)
    if len(out) < len(pairs):
        names = [k for k, _ in pairs]
        raise ValueError("repeated member " + repr(next(k for k in names if names.count(k) > 1)))
    return out


def no_constant(word):
    raise ValueError(f"{word} is not JSON")


def load(data):
    """The HAR in these bytes. Raises ValueError where a strict reader would: not UTF-8, a byte order mark, half a surrogate pair, NaN, a
    repeated member."""
    har = json.loads(data.decode("utf-8"), object_pairs_hook=no_repeats, parse_constant=no_constant)
    json.dumps(har, ensure_ascii=False).encode("utf-8")
    return har


# --- parts of an entry; each yields sentences ------------------------------------------------------------------------


def fields(message, name):
    return [f["value"] for f in message["headers"] if f["name"].lower() == name]


def has_raw_bytes(message, name):
    """Is there such a field that is not UTF-8, so that what is made of it differs from what is shown?"""
    return any(f["name"].lower() == name and "_valueBase64" in f for f in message["headers"])


def is_text(data):
    """Does `text` hold these bytes as they are? A NUL ends a string for too many readers."""
    try:
        return "\0" not in data.decode("utf-8")
    except UnicodeDecodeError:
        return False


def decoded(text, encoding, where):
    """(bytes, problems) of a text member."""
    if encoding != "base64":
        return text.encode("utf-8"), []
    try:
        data = base64.b64decode(text, validate=True)
    except binascii.Error as e:
        return b"", [f"{where}.text is not base64: {e}"]
    return data, [f"{where}.text is base64, but the content is UTF-8"] if is_text(data) else []


def timing_problems(entry):
    timings = entry["timings"]
    numbers = [entry["time"], *(v for k, v in timings.items() if isinstance(v, (int, float)))]
    if not all(math.isfinite(n) for n in numbers):
        yield "a time is not finite"
        return
    total = sum(timings[k] for k in PHASES if timings.get(k, -1) >= 0)
    if abs(total - entry["time"]) > ROUNDING_MS * len(PHASES):
        yield f"time {entry['time']} is not the sum of its timings without ssl, {total}"
    ssl, connect = timings.get("ssl", -1), timings.get("connect", -1)
    if ssl > connect + ROUNDING_MS:
        yield f"ssl {ssl} is more than connect {connect}, within which it lies"
    secure = entry["request"]["url"].split(":", 1)[0].lower() in ("https", "wss")
    if ssl >= 0 and not secure:
        yield "ssl, but the URL is not https"


def url_problems(request):
    url = request["url"]
    if "#" in url:
        yield "the URL has a fragment"
    if not re.fullmatch(r"[!-~]+", url):
        yield "the URL has bytes that no URL may have"
    parts = urllib.parse.urlsplit(url)
    if not parts.hostname:
        yield "the URL has no host"
    want = urllib.parse.parse_qsl(parts.query, keep_blank_values=True, errors="replace")
    have = [(p["name"], p["value"]) for p in request["queryString"]]
    if not (LOST in str(want) or LOST in str(have)) and want != have:
        yield f"queryString {have[:3]} is not that of the URL, {want[:3]}"


def version_problems(entry):
    for side in ("request", "response"):
        version = entry[side]["httpVersion"]
        silent = version == "" and (side == "request" or entry["response"]["status"] == 0 or "_error" in entry)
        if version not in VERSIONS and not silent:
            yield f"{side}.httpVersion {version!r} is none of {', '.join(VERSIONS)}"


def cookie_problems(entry):
    request, response = entry["request"], entry["response"]
    if not has_raw_bytes(request, "cookie"):
        want = [tuple(x.strip() for x in part.partition("=")[::2]) for value in fields(request, "cookie") for part in value.split(";")
                if part.strip()]
        have = [(c["name"], c["value"]) for c in request["cookies"]]
        if want != have:
            yield f"request.cookies {have[:3]} are not those of the Cookie field, {want[:3]}"
    if not has_raw_bytes(response, "set-cookie"):
        pairs = [value.partition(";")[0].partition("=") for value in fields(response, "set-cookie")]
        want = [(name.strip(), value.strip()) for name, equals, value in pairs if equals and name.strip()]
        have = [(c["name"], c["value"]) for c in response["cookies"]]
        if want != have:
            yield f"response.cookies {have[:3]} are not those of the Set-Cookie fields, {want[:3]}"
    for cookie in request["cookies"] + response["cookies"]:
        if "expires" in cookie:
            datetime.datetime.fromisoformat(cookie["expires"])


def size_problems(entry):
    """What the wire says about sizes: framing fields, and statuses and methods without content."""
    request, response = entry["request"], entry["response"]
    has_none = request["method"] == "HEAD" or response["status"] in (204, 304)
    if has_none and response["bodySize"] > 0:
        yield f"a response to {request['method']} with status {response['status']} has no content, but bodySize {response['bodySize']}"
    if "_error" in entry or entry.get("_ringtape", {}).get("complete") is False:
        return
    for side, message in (("request", request), ("response", response)):
        lengths = set(fields(message, "content-length"))
        if len(lengths) != 1 or fields(message, "transfer-encoding") or (side == "response" and (has_none or response["status"] == 0)):
            continue
        length = lengths.pop()
        if message["bodySize"] >= 0 and str(message["bodySize"]) != length:
            yield f"{side}.bodySize {message['bodySize']} is not the Content-Length {length}"
    moved = response.get("_transferSize", -1)
    known = max(response["headersSize"], 0) + max(response["bodySize"], 0)
    if 0 <= moved < known:
        yield f"_transferSize {moved} is less than head and body, {known}"


def content_problems(entry):
    response = entry["response"]
    content = response["content"]
    size, text = content["size"], content.get("text")
    if text is None and size > 0:
        yield f"content.size {size} without a text"
    if text is not None:
        data, wrong = decoded(text, content.get("encoding"), "content")
        yield from wrong
        if not wrong and len(data) != size:
            yield f"content.size {size}, but the text has {len(data)} bytes"
    if "compression" in content:
        if response["bodySize"] < 0:
            yield "compression of a body whose size is not known"
        elif content["compression"] != size - response["bodySize"]:
            yield f"compression {content['compression']} is not size {size} - bodySize {response['bodySize']}"
    coded = [c for value in fields(response, "content-encoding") for c in re.split(r"[\s,]+", value.lower()) if c not in ("", "identity")]
    if not coded and "comment" not in content and response["bodySize"] >= 0 and size != response["bodySize"]:
        yield f"content.size {size} is not bodySize {response['bodySize']}, and there is no Content-Encoding"
    types = fields(response, "content-type")
    if types and types[0] and content["mimeType"] != types[0]:
        yield f"mimeType {content['mimeType']!r} is not the Content-Type {types[0]!r}"


def redirect_problems(entry):
    response = entry["response"]
    locations = fields(response, "location") if 300 <= response["status"] < 400 and response["status"] != 304 else []
    if response["redirectURL"] != (locations[0] if locations else ""):
        yield f"redirectURL {response['redirectURL']!r} is not the Location, {locations}"


def form_kind(mime):
    kind = mime.partition(";")[0].strip().lower()
    return "form" if kind == "application/x-www-form-urlencoded" else "multipart" if kind.startswith("multipart/") else None


def multipart_names(text, mime):
    """Names of the parts, as a look at the text tells them."""
    boundary = re.search(r'boundary=(?:"([^"]+)"|([^;\s]+))', mime, re.IGNORECASE)
    if not boundary:
        return []
    parts = ("\r\n" + text).split("\r\n--" + (boundary.group(1) or boundary.group(2)))[1:-1]
    names = [re.search(r'^content-disposition:[^\r\n]*;\s*name=(?:"([^"\r\n]*)"|([^;\s]+))', p, re.IGNORECASE | re.MULTILINE) for p in parts]
    return [(m.group(1) or m.group(2) or "") if m else "" for m in names]


def post_problems(request):
    post = request.get("postData")
    if not post:
        return
    text, params = post.get("text"), post.get("params")
    types = fields(request, "content-type")
    if types and post["mimeType"] != types[0]:
        yield f"postData.mimeType {post['mimeType']!r} is not the Content-Type {types[0]!r}"
    if text is not None:
        data, wrong = decoded(text, post.get("_encoding"), "postData")
        yield from wrong
        if not wrong and "comment" not in post and request["bodySize"] >= 0 and len(data) != request["bodySize"]:
            yield f"bodySize {request['bodySize']}, but postData.text has {len(data)} bytes"
    if not params:
        return
    kind = form_kind(post["mimeType"])
    if not kind:
        yield f"params of {post['mimeType']!r}, which is no form"
    elif text is not None and "_encoding" not in post:
        if kind == "form":
            want = urllib.parse.parse_qsl(text, keep_blank_values=True, errors="replace")
            have = [(p["name"], p.get("value", "")) for p in params]
        else:
            want, have = multipart_names(text, post["mimeType"]), [p["name"] for p in params]
        if not (LOST in str(want) or LOST in str(have)) and want != have:
            yield f"params {have[:3]} contradict the text, {want[:3]}"


def address_problems(entry):
    address = entry.get("serverIPAddress")
    if address is None:
        return
    if "%" in address:
        yield f"serverIPAddress {address} has a zone"
    ipaddress.ip_address(address)


def entry_problems(entry):
    yield from timing_problems(entry)
    yield from url_problems(entry["request"])
    yield from version_problems(entry)
    yield from cookie_problems(entry)
    yield from size_problems(entry)
    yield from content_problems(entry)
    yield from redirect_problems(entry)
    yield from post_problems(entry["request"])
    yield from address_problems(entry)


# --- the log as a whole ----------------------------------------------------------------------------------------------


def connection_problems(entries):
    """A connection is set up once: of the entries that share one, a single one may have dns, connect and ssl. What one connection leads to
    does not change."""
    setup, peer = {}, {}
    for i, entry in enumerate(entries):
        connection = entry.get("connection")
        if connection is None:
            continue
        if any(entry["timings"].get(k, -1) >= 0 for k in ("dns", "connect", "ssl")):
            if connection in setup:
                yield f"entry {i}: dns, connect or ssl on connection {connection}, which entry {setup[connection]} had set up"
            setup.setdefault(connection, i)
        address = entry.get("serverIPAddress"), entry.get("_serverPort")
        first, where = peer.setdefault(connection, (address, i))
        if first != address:
            yield f"entry {i}: connection {connection} leads to {address}, in entry {where} to {first}"


def log_problems(log):
    entries, pages = log["entries"], log.get("pages", [])
    starts = [datetime.datetime.fromisoformat(e["startedDateTime"]) for e in entries]
    if starts != sorted(starts):
        yield "entries are not sorted by start"
    ids = [p["id"] for p in pages]
    if len(set(ids)) < len(ids):
        yield "two pages have one id"
    for i, entry in enumerate(entries):
        if "pageref" in entry and entry["pageref"] not in ids:
            yield f"entry {i}: pageref {entry['pageref']!r} is no page"
    yield from connection_problems(entries)


def problems(har):
    """A list of sentences; empty: the HAR is valid."""
    import jsonschema
    validator = jsonschema.Draft7Validator(json.loads(SCHEMA.read_text()), format_checker=jsonschema.FormatChecker())
    found = [f"{'/'.join(map(str, e.absolute_path))}: {e.message[:200]}" for e in validator.iter_errors(har)]
    if found:
        return found
    try:
        found += log_problems(har["log"])
    except ValueError as e:
        found.append(str(e))
    for i, entry in enumerate(har["log"]["entries"]):
        try:
            found += [f"entry {i}: {p}" for p in entry_problems(entry)]
        except ValueError as e:
            found.append(f"entry {i}: {e}")
    return found


def main(paths):
    worst = 0
    for path in paths:
        try:
            lines = problems(load(pathlib.Path(path).read_bytes()))
        except (OSError, ValueError) as e:
            lines = [str(e)]
        for line in lines:
            print(f"{path}: {line}")
        worst |= bool(lines)
    return worst


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__.strip())
    sys.exit(main(sys.argv[1:]))
