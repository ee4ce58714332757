# SPDX-License-Identifier: ISC
"""A packet socket for one protocol on a device that may go and come back; and a table of what is waited for."""

import socket

from l3roamd_py.kernel.listener import Listener
from runtime.ordered import OldestFirst, oldest
from runtime.packets import AF_PACKET, packet_address, packet_source
from runtime.sockets import CLOEXEC, EAGAIN, error_number, peek

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

SOL_PACKET, IGNORE_OUTGOING = 263, 23
READS_MAX = 64  # in one round
ENTRIES_MAX = 4096  # entries of a table


class DeviceSocket(Listener):
    """protocol: EtherType. frame_bytes: so much of a frame is read."""

    def __init__(self, protocol: int, frame_bytes: int) -> None:
        Listener.__init__(self)
        self._protocol, self._frame_bytes = protocol, frame_bytes
        self._index = 0

    def follow(self, device: str, index: int) -> bool:
        """The device has this index now, 0 if it is gone; return whether the socket is another one."""
        if index == self._index and (self._socket is not None or not index):
            return False
        self.close()
        self._index = index
        if index:
            self._open(device, index)
        return True

    def _open(self, device: str, index: int) -> None:
        try:
            made = socket.socket(AF_PACKET, socket.SOCK_DGRAM | CLOEXEC, 0)
        except OSError:
            return
        made.setblocking(False)
        try:
            made.setsockopt(SOL_PACKET, IGNORE_OUTGOING, 1)
        except OSError:
            pass  # kernels before 4.20; own MACs are no clients' anyway
        try:
            self.prepare(made, index)
            made.bind(packet_address(device, index, self._protocol))
        except OSError:
            made.close()  # the device is gone again: we are told of that too
            return
        self._socket = made

    def prepare(self, made: socket.socket, index: int) -> None:
        """Set what a socket needs before it hears anything. Raises OSError."""

    def send(self, packet: bytes, device: str, index: int, mac: bytes) -> None:
        """Send a packet to a MAC, if there is a socket. Raises OSError."""
        if self._socket is not None:
            self._socket.sendto(packet, packet_address(device, index, self._protocol, mac))

    def frames(self) -> "Iterator[tuple[bytes, bytes]]":
        """Yield what came since the last time, some of it if there is much: a packet, and the MAC of who sent it."""
        try:
            for _ in range(READS_MAX):
                if self._socket is None:
                    break
                peek(self._socket)
                frame, source = self._socket.recvfrom(self._frame_bytes)
                yield frame, packet_source(source)
        except OSError as error:
            if error_number(error) != EAGAIN:
                self.close()  # the device went down or away; follow() is called when it is back


def note(table: "OldestFirst[bytes, float]", key: bytes, until_s: float) -> None:
    """Put into a table that does not grow above ENTRIES_MAX: the oldest goes."""
    table.pop(key, None)
    if len(table) >= ENTRIES_MAX:
        del table[oldest(table)]
    table[key] = until_s
