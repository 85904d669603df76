"""Reads notices with flufl.bounce. For each file one line, between tabs: name, reader, "temporary|permanent addresses"."""

import email
import pathlib
import sys

from flufl.bounce import all_failures

for name in sys.argv[1:]:
    file = pathlib.Path(name)
    temporary, permanent = all_failures(email.message_from_bytes(file.read_bytes()))
    found = [
        " ".join([kind, *sorted(address.decode() for address in addresses)])
        for kind, addresses in (("temporary", temporary), ("permanent", permanent))
        if addresses
    ]
    print(file.stem, "flufl", *(found or [""]), sep="\t")
