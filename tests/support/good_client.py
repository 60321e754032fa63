"""`python good_client.py PORT`: a well-behaved client in its own process.

It sends up to 50 requests a second, each on a new connection, as an SDK does. It prints one line
a request: the status, or 0 if there was no response, and the duration in seconds. It is a separate
process because an attacker in the same interpreter would make the server look slow.
"""

import socket
import sys
import time

INTERVAL_S = 0.02
PATIENCE_S = 4.0
REQUEST = b"GET /v1/route HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 128.100.1.1\r\n\r\n"


def ask(port: int) -> int:
    """The status of one request, or 0 if there was no response."""
    try:
        with socket.create_connection(("127.0.0.1", port), PATIENCE_S) as one:
            one.sendall(REQUEST)
            return int(one.recv(65_536).split()[1])
    except (OSError, IndexError, ValueError):
        return 0


def main() -> None:
    """Send requests until killed."""
    while True:
        started = time.monotonic()
        code = ask(int(sys.argv[1]))
        print(code, time.monotonic() - started, flush=True)
        time.sleep(INTERVAL_S)


if __name__ == "__main__":
    main()
