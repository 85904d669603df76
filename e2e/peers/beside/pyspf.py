"""What pyspf says of each case of SPF: `pyspf.py CASES`, lines of id and verdict between a tab."""

import json
import pathlib
import sys

import spf

cases = json.loads(pathlib.Path(sys.argv[1]).read_text())
zone = {}


def look_up(name, kind, strict=True, timeout=None):
    entries = zone.get(name.rstrip(".").lower(), {})
    # It follows aliases by itself.
    found = [((name, "CNAME"), target) for target in entries.get("CNAME", [])]
    for value in entries.get(kind, []):
        shapes = {"TXT": lambda text: (text.encode(),), "MX": tuple}
        found.append(((name, kind), shapes.get(kind, str)(value)))
    if not found and entries.get("silent"):
        raise spf.TempError("DNS timeout")
    return found


spf.DNSLookup = look_up

for case in cases["spf"]:
    zone = cases["zones"][case["zone"]]
    query = spf.query(i=case["host"], s=case["mailfrom"], h=case["helo"], strict=True)
    try:
        verdict = query.check()[0]
    except Exception as error:
        verdict = f"error: {error!r}"
    print(case["id"], verdict, sep="\t")
