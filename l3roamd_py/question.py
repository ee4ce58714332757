# SPDX-License-Identifier: ISC
"""A question to the daemon, by its control socket. No import that takes its time: dnsmasq waits for it."""

from runtime import sockets
from runtime.sockets import error_text

SOCKET = "/var/run/l3roamd.sock"
ANSWER_S = 10.0


class Failure(Exception):
    """One sentence for the user; exit code 1."""


def ask(path: str, line: str, timeout_s: float = ANSWER_S) -> str:
    """Send a line to the daemon and return its whole answer. Raises Failure."""
    try:
        answer = sockets.ask(path, line.encode(), timeout_s).decode()
    except OSError as error:
        why = error_text(error)
        raise Failure(f"no daemon answers at {path} ({why}): start `l3roamd_py daemon` first") from None
    if answer.startswith("error: "):
        raise Failure(answer[7:].strip())
    return answer
