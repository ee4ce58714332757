# SPDX-License-Identifier: ISC
"""The one UDP socket: port 5523 of every address we have, told apart by the address a datagram came to.

Node-client addresses are on lo, so a socket for each is not needed; of the mesh devices only the multicast group is
joined, and joined again when a device comes back.
"""

import contextlib
import ctypes
import errno
import socket
import struct
from collections.abc import Sequence

from l3roamd_py.core.events import Datagram
from l3roamd_py.core.wire import GROUP, PORT

NOBODY = bytes(16)
PACKET_INFO = struct.Struct("=16si")
DATAGRAM_BYTES = 2048  # longer ones are nobody's
READS_MAX = 256  # in one round
SO_RCVBUFFORCE = 33
RECEIVE_BYTES = 1 << 20
SPACE = socket.CMSG_SPACE(PACKET_INFO.size)
SO_ATTACH_FILTER = 26
# What can be no message of ours does not even wake us: (operation, jump if true, jump if false, value) of classic BPF,
# where offsets count from the UDP header: 8 bytes, then version, ttl, type
GARBAGE = (
    (0x80, 0, 0, 0),  # A = length
    (0x35, 0, 5, 8 + 24),  # shorter than a header?
    (0x30, 0, 0, 8),  # A = version
    (0x15, 0, 3, 0),
    (0x30, 0, 0, 10),  # A = type
    (0x25, 1, 0, 7),
    (0x06, 0, 0, 0xFFFFFFFF),  # take it
    (0x06, 0, 0, 0),  # drop it
)


def attach(to: socket.socket, program: Sequence[tuple[int, int, int, int]]) -> None:
    """Let the kernel drop what a program of classic BPF does not take."""
    code = ctypes.create_string_buffer(b"".join(struct.pack("=HBBI", *each) for each in program))
    described = struct.pack("@HP", len(program), ctypes.addressof(code))
    to.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, described)


class Udp:
    """OSError from the constructor: the port is taken, or there is no IPv6."""

    def __init__(self) -> None:
        kind = socket.SOCK_DGRAM | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
        self._socket = socket.socket(socket.AF_INET6, kind)
        try:
            self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVPKTINFO, 1)
            self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_LOOP, 0)
            with contextlib.suppress(OSError):
                self._socket.setsockopt(socket.SOL_SOCKET, SO_RCVBUFFORCE, RECEIVE_BYTES)
                attach(self._socket, GARBAGE)
            self._socket.bind(("::", PORT))
        except OSError:
            self._socket.close()
            raise
        self._joined: dict[str, int] = {}  # device -> its index
        self.counters = {"udp_too_long": 0, "udp_not_sent": 0}

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def follow(self, devices: dict[str, int]) -> None:
        """Join the group on these devices (name -> index, 0 if it is not there), leave it on all others."""
        for name, index in list(self._joined.items()):
            if devices.get(name) != index:
                with contextlib.suppress(OSError):  # gone with the device
                    self._membership(socket.IPV6_LEAVE_GROUP, index)
                del self._joined[name]
        for name, index in devices.items():
            if index and name not in self._joined:
                with contextlib.suppress(OSError):  # gone again: we are told
                    self._membership(socket.IPV6_JOIN_GROUP, index)
                    self._joined[name] = index

    def _membership(self, option: int, index: int) -> None:
        self._socket.setsockopt(socket.IPPROTO_IPV6, option, GROUP + struct.pack("=I", index))

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
        to = (socket.inet_ntop(socket.AF_INET6, destination), PORT, 0, index)
        own = (
            []
            if source is None
            else [(socket.IPPROTO_IPV6, socket.IPV6_PKTINFO, PACKET_INFO.pack(source, index))]
        )
        try:
            self._socket.sendmsg([payload], own, 0, to)
        except OSError as error:
            if error.errno != errno.EINVAL or source is None:
                self.counters["udp_not_sent"] += 1
            else:
                # the address is not ours (yet): the role is being set up
                self._send(destination, payload, None, index)

    def read(self) -> list[Datagram]:
        """Take what came since the last time."""
        datagrams = []
        for _ in range(READS_MAX):
            try:
                payload, about, flags, sender = self._socket.recvmsg(DATAGRAM_BYTES, SPACE)
            except BlockingIOError:
                break
            except OSError:
                continue  # an ICMP error for something we sent
            if flags & socket.MSG_TRUNC:
                self.counters["udp_too_long"] += 1
                continue
            destination = next(
                (value[:16] for _, kind, value in about if kind == socket.IPV6_PKTINFO), bytes(16)
            )
            source = socket.inet_pton(socket.AF_INET6, sender[0].partition("%")[0])
            datagrams.append(Datagram(source, destination, payload))
        return datagrams
