"""Evaluates SPF with pyspf: one JSON object a line in, one out, and no network.

In:  {"zone": {name: ["A 192.0.2.1", ...]}, "wild": {...}, "ip": ..., "helo": ..., "from": ..., "receiver": ...}
Out: {"result": ..., "explanation": ..., "problem": ...}

A name below a key of "wild" that is not in the zone has the records of one of its sets, chosen by
the CRC-32 of the name.
"""
import json
import sys
import zlib

import spf

RDATA = {
    "TXT": lambda data: [data.encode()],
    "MX": lambda data: (int(data.split(" ")[0]), data.split(" ")[1]),
}
request = {}


def lines(name):
    if name in request["zone"]:
        return request["zone"][name] or []
    for suffix, sets in request["wild"].items():
        if name.endswith("." + suffix):
            return sets[zlib.crc32(name.encode()) % len(sets)]
    return []


def lookup(name, rrtype, strict=True, timeout=None):
    found = []
    for line in lines(name.lower()):
        kind, _, data = line.partition(" ")
        if kind == "FAIL" and data in ("", rrtype):
            raise spf.TempError("injected")
        if kind == rrtype:
            found.append(((name, rrtype), RDATA.get(rrtype, str)(data)))
    return found


spf.DNSLookup = lookup
for text in sys.stdin:
    request = json.loads(text)
    try:
        query = spf.query(i=request["ip"], s=request["from"], h=request["helo"], receiver=request["receiver"])
        result, _, explanation = query.check()
        answer = {"result": result, "explanation": explanation}
    except Exception as e:  # a crash of pyspf is an answer, too
        answer = {"result": "crash", "explanation": repr(e)}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
