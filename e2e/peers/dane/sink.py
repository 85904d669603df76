"""Mail servers of the rig: `sink.py ADDRESS=CERTIFICATE...`, each at port 25, `-` for one without STARTTLS.

Writes a line for each recipient of a message that was taken, with `tls` or `clear`.
"""

import socket
import ssl
import sys
import threading

LOCK = threading.Lock()


def session(stream, context):
    secure = False
    reader = stream.makefile("rb")
    recipients = []
    stream.sendall(b"220 sink.rig ESMTP\r\n")
    while line := reader.readline():
        verb = line[:4].upper()
        reply = b"250 2.0.0 ok\r\n"
        if verb == b"EHLO":
            reply = b"250-sink.rig\r\n250 8BITMIME\r\n"
            if context and not secure:
                reply = b"250-sink.rig\r\n250-8BITMIME\r\n250 STARTTLS\r\n"
        elif verb == b"STAR" and context:
            stream.sendall(b"220 2.0.0 go on\r\n")
            stream = context.wrap_socket(stream, server_side=True)
            reader, secure = stream.makefile("rb"), True
            continue
        elif verb in (b"MAIL", b"RSET"):
            recipients = []
        elif verb == b"RCPT":
            recipients.append(line.decode().split("<")[1].split(">")[0])
        elif verb == b"DATA":
            stream.sendall(b"354 go on\r\n")
            while reader.readline() not in (b".\r\n", b""):
                pass
            with LOCK:
                for recipient in recipients:
                    print(recipient, "tls" if secure else "clear", flush=True)
        elif verb == b"QUIT":
            stream.sendall(b"221 2.0.0 bye\r\n")
            break
        stream.sendall(reply)
    stream.close()


def guarded(stream, context):
    try:
        session(stream, context)
    except (OSError, ssl.SSLError) as error:
        print(error, file=sys.stderr, flush=True)


def serve(listener, context):
    while True:
        stream, _ = listener.accept()
        threading.Thread(target=guarded, args=(stream, context), daemon=True).start()


def main():
    for word in sys.argv[1:]:
        address, name = word.split("=")
        context = None
        if name != "-":
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(f"{name}.crt", f"{name}.key")
        listener = socket.create_server((address, 25), backlog=64)
        threading.Thread(target=serve, args=(listener, context)).start()


main()
