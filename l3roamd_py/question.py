# SPDX-License-Identifier: ISC
"""A question to the daemon, by its control socket. No import that takes its time: dnsmasq waits for it."""

import socket

from runtime.sockets import error_text, unix_address

SOCKET = "/var/run/l3roamd.sock"
ANSWER_S = 10.0


class Failure(Exception):
    """One sentence for the user; exit code 1."""


def ask(path: str, line: str, timeout_s: float = ANSWER_S) -> str:
    """Send a line to the daemon and return its whole answer. Raises Failure."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        connection.settimeout(timeout_s)
        connection.connect(unix_address(path))
        send_all(connection, line.encode() + b"\n")
        pieces = []
        piece = connection.recv(1 << 14)
        while piece:
            pieces.append(piece)
            piece = connection.recv(1 << 14)
    except OSError as error:
        why = error_text(error)
        raise Failure(f"no daemon answers at {path} ({why}): start `l3roamd_py daemon` first") from None
    finally:
        connection.close()
    answer = b"".join(pieces).decode()
    if answer.startswith("error: "):
        raise Failure(answer[7:].strip())
    return answer


def send_all(connection: socket.socket, data: bytes) -> None:
    while data:
        data = data[connection.send(data) :]
