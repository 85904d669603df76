"""Reads the suites of SPF and ARC out of a folder: `cases.py SUITES OUT`. What every verifier is asked, in one form.

spf: id, helo, host, mailfrom, want (a list), zone (an index into zones).  arc: id, message, want (a list), keys (name to record).
A zone has for each name its records by type; `silent`: what it has no records of gets no answer.
"""

import json
import pathlib
import sys

import yaml


class Words(yaml.SafeLoader):
    """Without guesses: a bare `no` or `1.2` is a word."""


Words.yaml_implicit_resolvers = {
    first: [pair for pair in pairs if pair[0] == "tag:yaml.org,2002:null"]
    for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
}


def joined(value):
    return "".join(value) if isinstance(value, list) else value


def records(entries):
    found = {}
    for entry in entries:
        if not isinstance(entry, dict):
            found["silent"] = True
            continue
        for kind, value in entry.items():
            data = [int(value[0]), value[1]] if kind == "MX" else joined(value)
            found.setdefault(kind, []).append(data)
    # The suite's rule: SPF entries stand for TXT records unless TXT is given.
    texts = found.get("TXT", found.pop("SPF", []))
    found.pop("SPF", None)
    found["TXT"] = [text for text in texts if text != "NONE"]
    return found


def spf(text, out):
    for scenario in yaml.load_all(text, Words):
        if not scenario:
            continue
        zone = {}
        for name, entries in scenario.get("zonedata", {}).items():
            zone[name.rstrip(".").lower()] = records(entries or [])
        out["zones"].append(zone)
        for name, case in scenario["tests"].items():
            want = case["result"]
            out["spf"].append({
                "id": f"{scenario['description']}/{name}",
                "helo": case["helo"] or "",
                "host": case["host"],
                "mailfrom": case["mailfrom"] or "",
                "want": want if isinstance(want, list) else [want],
                "zone": len(out["zones"]) - 1,
            })


def states(cv):
    """Where the chain had failed before the suite names no state: any but a pass will do."""
    cv = (cv or "").strip().lower()
    return [cv] if cv else ["fail", "none"]


def arc(text, out):
    for scenario in yaml.load_all(text, Words):
        if not scenario:
            continue
        keys = {name.rstrip("."): " ".join(record.split()) for name, record in scenario["txt-records"].items()}
        for name, case in scenario["tests"].items():
            message = case["message"] or ""
            out["arc"].append({
                "id": f"{scenario['description'].strip()}/{name}",
                "message": "\r\n".join(message.splitlines()) + "\r\n",
                "want": states(case.get("cv")),
                "keys": keys,
            })


def main():
    suites, target = (pathlib.Path(word) for word in sys.argv[1:])
    out = {"zones": [], "spf": [], "arc": []}
    spf((suites / "spf/rfc7208-tests.yml").read_text(), out)
    arc((suites / "arc/arc-draft-validation-tests.yml").read_text(), out)
    target.write_text(json.dumps(out))
    print(len(out["spf"]), len(out["arc"]))


main()
