"""Reads fields Authentication-Results with authres. For each file one line, between tabs: name, "authres", "same" or what it reads otherwise.

authres 1.2.0 leaves backslashes in what was quoted, which are taken out here (RFC 5322 section 3.2.4).
"""

import json
import pathlib
import re
import sys

import authres

reader = authres.all_features()


def plain(text):
    return None if text is None else re.sub(r"\\(.)", r"\1", text)


def statement(result):
    properties = [[one.type, one.name, plain(one.value)] for one in result.properties]
    return [result.method, result.result, plain(result.reason), properties]


for name in sys.argv[1:]:
    file = pathlib.Path(name)
    wanted = json.loads(file.with_suffix(".json").read_text())
    try:
        found = reader.parse(file.read_bytes().decode().rstrip("\r\n"))
        said = {"name": found.authserv_id, "statements": [statement(one) for one in found.results]}
        words = "same" if said == wanted else json.dumps(said)
    except Exception as error:  # what it does not read is told, not raised
        words = f"{type(error).__name__}: {error}"
    print(file.stem, "authres", " ".join(words.split()), sep="\t")
