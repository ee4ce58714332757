# SPDX-License-Identifier: ISC
"""A connection that a client keeps through all that a test does to the mesh."""

import select
import subprocess
import time

from sdk.lab.plan import ECHO
from sdk.timeouts import TIMEOUT_SCALE

STALL_S = 13.0 * TIMEOUT_SCALE  # so long TCP sends a segment again, six times, before it is taken for lost
# says each line to the echo service over one connection of TCP, and what came back
PROGRAM = f"""
import socket, sys
connection = socket.create_connection(({ECHO!r}, 7), float(sys.argv[1]))
connection.settimeout(None)
lines = connection.makefile("r")
print("ready", flush=True)
for line in sys.stdin:
    connection.sendall(line.encode())
    print(lines.readline(), end="", flush=True)
"""


def diagnosis(lab):
    """Status and log of the roaming daemons of all nodes, for the message of a failure."""
    return "\n".join(
        f"{node.name}: {lab.roaming_status(node.name)}\n{lab.running.log(node.name, 'l3roamd')}"
        for node in lab.topology.nodes
    )


class Talk:
    """One TCP connection through the whole path, as long as the context. A failure prints diagnostics(lab)."""

    def __init__(self, lab, client, diagnostics=diagnosis, patience_s=60 * TIMEOUT_SCALE):
        self.lab, self.diagnostics, self.patience_s, self.count = lab, diagnostics, patience_s, 0
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True, "bufsize": 1}
        self.process = lab.popen(client, ["python", "-c", PROGRAM, str(patience_s)], **pipes)

    def __enter__(self):
        assert self._line(self.patience_s) == "ready"
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.communicate()

    def _line(self, timeout_s):
        is_told = select.select([self.process.stdout], [], [], timeout_s)[0]
        assert is_told, f"silence for {timeout_s} s\n{self.diagnostics(self.lab)}"
        return self.process.stdout.readline().strip()

    def echo(self, timeout_s=STALL_S):
        """Send a line and have it back; return how long that took."""
        self.count += 1
        begun_s = time.monotonic()
        self.process.stdin.write(f"{self.count}\n")
        assert self._line(timeout_s) == str(self.count), self.diagnostics(self.lab)
        return time.monotonic() - begun_s
