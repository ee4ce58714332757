# SPDX-License-Identifier: ISC
"""What babel takes each link to cost: of every node's babeld, which tells of changes by itself."""

import contextlib
import re
import socket

from sdk.lab.radio import in_namespace

PORT = 33123  # babeld's local socket
LINE = re.compile(r"(add|change|flush) neighbour \S+ address \S+ if (\S+) .*cost (\d+)$")
LINE_BYTES = 4096
PIECES = 64  # read at a time, of 64 KiB


class NodeCosts:
    """One babeld's neighbours; none while it does not answer."""

    def __init__(self) -> None:
        self.by_device: dict[str, int] = {}
        self.socket: socket.socket | None = None
        self.rest = b""

    def close(self) -> None:
        if self.socket:
            self.socket.close()
        self.socket, self.rest, self.by_device = None, b"", {}

    def follow(self, pid: int | None) -> dict[str, int]:
        """Read what babeld on the machine of that first process has said; return its cost by device."""
        try:
            if self.socket is None and pid:
                self.socket = in_namespace(pid, connect)
            for _ in range(PIECES if self.socket else 0):
                assert self.socket
                data = self.socket.recv(1 << 16)
                if not data:
                    raise ConnectionResetError
                self.hear(data)
        except BlockingIOError:
            pass
        except OSError:
            self.close()
        return self.by_device

    def hear(self, data: bytes) -> None:
        *lines, self.rest = (self.rest + data).split(b"\n")
        self.rest = self.rest[-LINE_BYTES:]
        for line in lines:
            if found := LINE.match(line.decode(errors="replace")):
                verb, device, cost = found.groups()
                self.by_device[device] = int(cost)
                if verb == "flush":
                    del self.by_device[device]


def connect() -> socket.socket:
    made = socket.socket(socket.AF_INET6, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    with contextlib.ExitStack() as stack:
        stack.callback(made.close)
        made.settimeout(1)
        made.connect(("::1", PORT))
        made.send(b"monitor\n")
        made.setblocking(False)
        stack.pop_all()
    return made
