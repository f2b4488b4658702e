#!/usr/bin/python3
"""Holds a HAR file against HAR 1.2's rules. usage: har_validate.py FILE    exit 1 with a line for each problem."""
import base64
import datetime
import ipaddress
import json
import pathlib
import sys

SCHEMA = pathlib.Path(__file__).resolve().parent.parent.parent / "schema" / "har-1.2.schema.json"
TIMINGS = ("blocked", "dns", "connect", "send", "wait", "receive")


def entry_problems(entry):
    request, response, timings = entry["request"], entry["response"], entry["timings"]
    total = sum(timings[k] for k in TIMINGS if timings.get(k, -1) >= 0)
    if abs(total - entry["time"]) > 0.01:
        yield f"time {entry['time']} is not the sum of its timings, {total}"
    for k in ("send", "wait", "receive"):
        if timings[k] < 0:
            yield f"{k} is negative"
    if timings.get("ssl", -1) > timings.get("connect", -1) + 0.001:
        yield "ssl is more than connect"
    if "#" in request["url"]:
        yield "the URL has a fragment"
    content = response["content"]
    if "text" in content:
        coded = content.get("encoding") == "base64"
        size = len(base64.b64decode(content["text"]) if coded else content["text"].encode())
        if size != content["size"]:
            yield f"content.size {content['size']}, but the text has {size} bytes"
    if "compression" in content and response["bodySize"] >= 0 and content["compression"] != content["size"] - response["bodySize"]:
        yield "compression is not size - bodySize"
    post = request.get("postData")
    if post and post.get("params") and not post["mimeType"].lower().startswith(("application/x-www-form-urlencoded", "multipart/")):
        yield "postData has params, but it is no form"
    if "serverIPAddress" in entry:
        ipaddress.ip_address(entry["serverIPAddress"])
    for cookie in request["cookies"] + response["cookies"]:
        if cookie.get("expires"):
            datetime.datetime.fromisoformat(cookie["expires"].replace("Z", "+00:00"))


def problems(har):
    """A list of sentences; empty: the HAR is valid."""
    import jsonschema
    found = []
    if SCHEMA.exists():
        validator = jsonschema.Draft7Validator(json.loads(SCHEMA.read_text()), format_checker=jsonschema.FormatChecker())
        found += [f"{'/'.join(map(str, e.absolute_path))}: {e.message[:200]}" for e in validator.iter_errors(har)]
    if found:
        return found
    entries = har["log"]["entries"]
    starts = [datetime.datetime.fromisoformat(e["startedDateTime"].replace("Z", "+00:00")) for e in entries]
    if starts != sorted(starts):
        found.append("entries are not sorted by start")
    for i, entry in enumerate(entries):
        try:
            found += [f"entry {i}: {p}" for p in entry_problems(entry)]
        except (ValueError, KeyError) as e:
            found.append(f"entry {i}: {e!r}")
    return found


if __name__ == "__main__":
    lines = problems(json.loads(pathlib.Path(sys.argv[1]).read_text()))
    print("\n".join(lines))
    sys.exit(1 if lines else 0)
