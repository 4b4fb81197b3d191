"""Holds TLS connections: hold.py ADDRESS PORT COUNT

Each asks for /128 once. Says `COUNT served` then, and `COUNT ended` when the other side has ended them all.
"""

import socket
import ssl
import sys

address, port, count = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
context = ssl.create_default_context()
context.check_hostname = False
context.verify_mode = ssl.CERT_NONE

held = []
for _ in range(count):
    secured = context.wrap_socket(socket.create_connection((address, port), 60))
    secured.settimeout(120)
    secured.sendall(b"GET /128 HTTP/1.1\r\nHost: a\r\n\r\n")
    answer = b""
    while b"\r\n\r\n" not in answer or len(answer.split(b"\r\n\r\n", 1)[1]) < 128:
        read = secured.recv(4096)
        assert read, answer
        answer += read
    assert answer.startswith(b"HTTP/1.1 200"), answer
    held.append(secured)
print(f"{count} served", flush=True)

for secured in held:
    secured.settimeout(3700)
    try:
        assert secured.recv(1) == b""
    except (ConnectionResetError, ssl.SSLEOFError):
        pass
print(f"{count} ended", flush=True)
