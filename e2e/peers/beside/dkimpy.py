"""What dkimpy says of each ARC chain: `dkimpy.py CASES`, lines of id and verdict between a tab."""

import json
import pathlib
import sys

import dkim

for case in json.loads(pathlib.Path(sys.argv[1]).read_text())["arc"]:
    def look_up(name, timeout=5, keys=case["keys"]):
        return keys.get(name.decode().rstrip("."), "").encode()

    try:
        state = dkim.arc_verify(case["message"].encode(), dnsfunc=look_up)[0]
        verdict = state.decode() if isinstance(state, bytes) else str(state)
    except Exception as error:
        verdict = f"error: {error!r}"
    print(case["id"], verdict.lower(), sep="\t")
