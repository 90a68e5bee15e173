"""Verifies DKIM with dkimpy: one JSON object a line in, one out, and no network.

In:  {"Message": base64, "Keys": {name: record}}
Out: {"Result": "pass" or "fail", "Problem": ...}
"""
import base64
import json
import sys

import dkim

for text in sys.stdin:
    request = json.loads(text)
    keys = {name + ".": record for name, record in request["Keys"].items()}
    try:
        valid = dkim.DKIM(base64.b64decode(request["Message"])).verify(
            dnsfunc=lambda name, timeout=5: keys.get(name.decode().lower(), "").encode())
        answer = {"Result": "pass" if valid else "fail", "Problem": ""}
    except Exception as e:  # a crash is an answer, too
        answer = {"Result": "fail", "Problem": repr(e)}
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()
