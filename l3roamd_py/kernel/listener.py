# SPDX-License-Identifier: ISC
"""Sockets at which the kernel tells of things: netlink groups, and what may come and go."""

from runtime.netlink_socket import ADD_MEMBERSHIP, SOL_NETLINK, open_socket
from runtime.packets import attach_filter

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

    Program = tuple[
        tuple[int, int, int, int], ...
    ]  # classic BPF: operation, jump if true, jump if false, value

RECEIVE_BYTES = 1 << 20  # of messages that wait for us in the kernel
READS_MAX = 32  # of a socket in one round, so that a flood of messages leaves time for others


class Listener:
    """Has a socket while there is something to hear."""

    def __init__(self) -> None:
        self._socket: "socket.socket | None" = None

    def socket(self) -> "socket.socket | None":
        return self._socket

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None


def listen(protocol: int, groups: "tuple[int, ...]", only: "Program" = ()) -> "socket.socket":
    """Return a netlink socket that is told of what these groups are for. Raises OSError.

    only: what it is told of, as a kernel takes it that can; others tell of more.
    """
    made = open_socket(protocol, RECEIVE_BYTES)
    try:
        if only:
            attach_filter(made, only)
    except OSError:
        pass
    try:
        for group in groups:
            made.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, group)
    except OSError:
        made.close()
        raise
    return made
