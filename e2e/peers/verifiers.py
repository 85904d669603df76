"""Verifies signed messages with dkimpy. For each file one line, between tabs: name, "dkimpy", what each signature came to."""

import pathlib
import sys

import dkim

zone = dict(line.split(" ", 1) for line in pathlib.Path("/samples/zone").read_text().splitlines())


def look_up(name, timeout=5):
    return zone.get(name.decode().rstrip("."), "").encode()


for name in sys.argv[1:]:
    file = pathlib.Path(name)
    message = file.read_bytes()
    if file.stem.startswith("arc-"):
        state, _, reason = dkim.arc_verify(message, dnsfunc=look_up)
        found = [state.decode() if state == dkim.CV_Pass else reason]
    else:
        count = message.count(b"DKIM-Signature:")
        verifier = dkim.DKIM(message)
        found = ["pass" if verifier.verify(idx=at, dnsfunc=look_up) else "fail" for at in range(count)]
    print(file.stem, "dkimpy", " ".join(found), sep="\t")
