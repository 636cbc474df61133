"""Joins standard input and output to a port of this host: QEMU runs one for each connection of a guest.

It is run by itself, as a script, and imports nothing of ours: each import would delay a guest's connection.
"""

import os
import socket
import sys
import threading

STDIN, STDOUT = 0, 1


def main() -> None:
    """Relays until either side has ended; a port where nobody listens ends it at once."""
    try:
        host = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
        threading.Thread(target=_from_guest, args=(host,), daemon=True).start()
        while data := host.recv(65536):
            while data:
                data = data[os.write(STDOUT, data) :]
    except OSError:
        # Standard error is the guest's connection, too: what would be said there would reach the guest.
        sys.exit(1)


def _from_guest(host: socket.socket) -> None:
    while data := os.read(STDIN, 65536):
        host.sendall(data)
    host.shutdown(socket.SHUT_WR)


if __name__ == "__main__":
    main()
