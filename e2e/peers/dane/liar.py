"""A resolver that lies: `liar.py ADDRESS UPSTREAM`. What it does not lie about it passes on, by UDP.

Each lie is about one domain. It has no signature, as its teller has no key.
"""

import socket
import struct
import sys
import threading

A, SOA, MX, TLSA = 1, 6, 15, 52


def wire(name):
    labels = [label.encode() for label in name.split(".") if label]
    return b"".join(bytes([len(label)]) + label for label in labels) + b"\0"


def record(owner, kind, data):
    return wire(owner) + struct.pack("!HHIH", kind, 1, 60, len(data)) + data


# "There is none", on the word of a zone without DNSSEC that the name is not in.
ELSEWHERE = record("insecure", SOA, wire("ns") + wire("rig") + struct.pack("!5I", 1, 3600, 600, 86400, 300))


def lie(name, kind):
    """Answers and authorities, or None."""
    if name == "_25._tcp.mx.denied.secure" and kind == TLSA:
        return [], [ELSEWHERE]
    if name == "moved.secure" and kind == MX:
        return [record(name, MX, struct.pack("!H", 10) + wire("mx.far.insecure"))], []
    if name == "taken.secure" and kind == MX:
        return [], [ELSEWHERE]
    if name == "mx.left.secure" and kind == A:
        return [record(name, A, bytes([127, 0, 1, 7]))], []
    return None


def question(query):
    labels, at = [], 12
    while query[at]:
        labels.append(query[at + 1:at + 1 + query[at]].decode())
        at += query[at] + 1
    return ".".join(labels).lower(), struct.unpack("!H", query[at + 1:at + 3])[0], query[12:at + 5]


def answer(server, upstream, query, peer):
    name, kind, asked = question(query)
    told = lie(name, kind)
    if told is None:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as way:
            way.settimeout(10)
            way.sendto(query, (upstream, 53))
            reply = way.recv(65535)
    else:
        answers, authorities = told
        counts = struct.pack("!4H", 1, len(answers), len(authorities), 0)
        reply = query[:2] + b"\x81\x80" + counts + asked + b"".join(answers + authorities)
    server.sendto(reply, peer)


def refuse(ready):
    while True:
        ready.accept()[0].close()


def main():
    address, upstream = sys.argv[1:]
    server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    server.bind((address, 53))
    # That it is ready is seen by a connection.
    ready = socket.create_server((address, 53))
    threading.Thread(target=refuse, args=(ready,), daemon=True).start()
    while True:
        query, peer = server.recvfrom(65535)
        threading.Thread(target=answer, args=(server, upstream, query, peer), daemon=True).start()


main()
