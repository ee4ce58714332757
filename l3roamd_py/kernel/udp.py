# SPDX-License-Identifier: ISC
"""UDP port 5523. One socket hears what comes to any address of ours, another is bound to our own and sends.

To which address a datagram came nobody asks: node-client addresses are on lo, and what is said is the same. Of the mesh
devices only the multicast group is joined, and joined again when a device comes back.
"""

import socket
import struct

from l3roamd_py.core.events import Datagram
from l3roamd_py.core.wire import GROUP, NEWEST, PORT
from runtime.packets import SO_RCVBUFFORCE, attach_filter
from runtime.sockets import CLOEXEC, EADDRINUSE, EAGAIN, error_number, ip6_address, peek, source_of

NOBODY = bytes(16)
DATAGRAM_BYTES = 2048  # longer ones are nobody's
READS_MAX = 256  # in one round
RECEIVE_BYTES = 1 << 20
IPPROTO_IPV6, V6ONLY, MULTICAST_LOOP, JOIN, LEAVE = 41, 26, 19, 20, 21  # linux/in6.h
# The kernel drops what can be no message of ours: (operation, jump if true, jump if false, value) of classic BPF.
# Offsets count from the UDP header: 8 bytes, then version, ttl, type
GARBAGE = (
    (0x80, 0, 0, 0),  # A = length
    (0x35, 0, 5, 8 + 24),  # shorter than a header?
    (0x30, 0, 0, 8),  # A = version
    (0x15, 0, 3, 0),
    (0x30, 0, 0, 10),  # A = type
    (0x25, 1, 0, NEWEST),  # of a later version?
    (0x06, 0, 0, 0xFFFFFFFF),  # take it
    (0x06, 0, 0, 0),  # drop it
)


class PortInUse(Exception):
    """Somebody else has the port."""


def _open() -> socket.socket:
    made = socket.socket(socket.AF_INET6, socket.SOCK_DGRAM | CLOEXEC)
    made.setblocking(False)
    made.setsockopt(IPPROTO_IPV6, V6ONLY, 1)
    made.setsockopt(IPPROTO_IPV6, MULTICAST_LOOP, 0)
    try:
        made.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BYTES)
        attach_filter(made, GARBAGE)
    except OSError:
        pass
    return made


class Udp:
    """own: our address, None for none. Raises PortInUse, or OSError where there is no IPv6."""

    def __init__(self, own: bytes | None = None) -> None:
        self._own_address = own
        self._own: socket.socket | None = None  # bound to our address, once that is there
        self._socket = _open()
        try:
            self._socket.bind(ip6_address(NOBODY, PORT))
        except OSError as error:
            self._socket.close()
            if error_number(error) == EADDRINUSE:
                raise PortInUse from None
            raise
        # from now on another socket of ours may have the port at one address
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self._joined: dict[str, int] = {}  # device -> its index
        self.is_changed = False  # there is another socket than before
        self.counters = {"udp_too_long": 0, "udp_not_sent": 0}

    def sockets(self) -> list[socket.socket]:
        return [self._socket] if self._own is None else [self._socket, self._own]

    def close(self) -> None:
        for each in self.sockets():
            each.close()

    def follow(self, devices: dict[str, int]) -> None:
        """Join the group on these devices (name -> index, 0 if it is not there), leave it on all others."""
        for name, index in list(self._joined.items()):
            if devices.get(name) != index:
                self._membership(LEAVE, index)  # which fails when the device is gone
                del self._joined[name]
        for name, index in devices.items():
            if index and name not in self._joined and self._membership(JOIN, index):
                self._joined[name] = index  # otherwise it is gone again: we are told

    def _membership(self, option: int, index: int) -> bool:
        try:
            self._socket.setsockopt(IPPROTO_IPV6, option, GROUP + struct.pack("I", index))
        except OSError:
            return False
        return True

    def send(self, destination: bytes, payload: bytes, source: bytes | None) -> None:
        """Send a datagram; what cannot leave is counted, for everything that matters is repeated."""
        if destination == NOBODY:
            self.counters["udp_not_sent"] += 1  # the kernel would take it for ourselves
        elif destination == GROUP:
            for index in self._joined.values():
                self._send(destination, payload, source, index)
        else:
            self._send(destination, payload, source, 0)

    def _send(self, destination: bytes, payload: bytes, source: bytes | None, index: int) -> None:
        try:
            self._socket_of(source).sendto(payload, ip6_address(destination, PORT, index))
        except OSError:
            self.counters["udp_not_sent"] += 1

    def _socket_of(self, source: bytes | None) -> socket.socket:
        """The socket with this source; the kernel's choice while that is not ours yet, as the role is being set up."""
        if source is None or source != self._own_address:
            return self._socket
        if self._own is None:
            made = _open()
            try:
                made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                made.bind(ip6_address(source, PORT))
            except OSError:
                made.close()
                return self._socket
            self._own, self.is_changed = made, True
        return self._own

    def read(self, only: "socket.socket | None" = None) -> list[Datagram]:
        """Take what came since the last time, to one of our sockets or to all."""
        datagrams: list[Datagram] = []
        for each in self.sockets() if only is None else (only,):
            for _ in range(READS_MAX):
                try:
                    peek(each)
                    payload, sender = each.recvfrom(DATAGRAM_BYTES + 1)
                except OSError as error:
                    if error_number(error) == EAGAIN:
                        break
                    continue  # an ICMP error for something we sent
                if len(payload) > DATAGRAM_BYTES:
                    self.counters["udp_too_long"] += 1
                    continue
                datagrams.append(Datagram(source_of(sender), NOBODY, payload))
        return datagrams
