# SPDX-License-Identifier: ISC
"""ARP with the clients (RFC 826): probes to one MAC alone, and what clients say. In IPv6 it is ndp.py.

An answer to a probe of ours is ArpAnswered, anything else a client says is ClientSeen. The client device may go and
come back: `follow` opens the socket on what is there now.
"""

import socket
import struct

from l3roamd_py.core.events import ArpAnswered, ClientSeen
from l3roamd_py.kernel.finding import Finder
from l3roamd_py.kernel.netlink import KernelError
from runtime.packets import AF_PACKET, packet_address, packet_source
from runtime.sockets import EAGAIN, error_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from l3roamd_py.core.events import Event

ETHERNET, IPV4, REQUEST, REPLY = 1, 0x0800, 1, 2
ETH_P_ARP = 0x0806
PACKET, PACKET_BYTES = "!HHBBH6s4s6s4s", 28
SOL_PACKET, IGNORE_OUTGOING = 263, 23
READS_MAX = 64  # in one round
PROBES_MAX = 4096  # that wait for an answer
ANSWER_S = 10.0  # within which a reply is one to a probe: the time that we had no processor included
NOBODY = bytes(4)


def encode_probe(own_mac: bytes, own_ipv4: bytes, mac: bytes, ipv4: bytes) -> bytes:
    """The ARP request that asks for ipv4; own_ipv4 may be 0.0.0.0 (RFC 5227)."""
    return struct.pack(PACKET, ETHERNET, IPV4, 6, 4, REQUEST, own_mac, own_ipv4, mac, ipv4)


def decode(frame: bytes) -> tuple[int, bytes, bytes] | None:
    """Return operation, sender's MAC and sender's IPv4 address of an ARP packet, None if it is none."""
    if len(frame) < PACKET_BYTES:
        return None
    hardware, protocol, hardware_size, protocol_size, operation, mac, ipv4, _, _ = struct.unpack_from(
        PACKET, frame, 0
    )
    if (hardware, protocol, hardware_size, protocol_size) != (ETHERNET, IPV4, 6, 4):
        return None
    return (operation, mac, ipv4) if operation in (REQUEST, REPLY) else None


class Arp:
    """ARP on the client device. finder: who can be a client, and what the device's own addresses are."""

    def __init__(self, device: str, finder: Finder) -> None:
        self._device, self._finder = device, finder
        self._index = 0
        self._socket: socket.socket | None = None
        self._asked: dict[tuple[bytes, bytes], float] = {}  # (MAC, IPv4 address) -> until when

    def follow(self, index: int) -> bool:
        """The client device has this index now, 0 if it is gone; return whether the socket is another one."""
        if index == self._index and (self._socket is not None or not index):
            return False
        self.close()
        self._index = index
        if index:
            self._open(index)
        return True

    def _open(self, index: int) -> None:
        try:
            made = socket.socket(AF_PACKET, socket.SOCK_DGRAM, 0)
        except OSError:
            return
        made.setblocking(False)
        try:
            made.setsockopt(SOL_PACKET, IGNORE_OUTGOING, 1)
        except OSError:
            pass  # kernels before 4.20; own MACs are no clients' anyway
        try:
            made.bind(packet_address(self._device, index, ETH_P_ARP))
        except OSError:
            made.close()  # the device is gone again: we are told of that too
            return
        self._socket = made

    def socket(self) -> "socket.socket | None":
        return self._socket

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
            self._socket = None

    def own_ipv4(self) -> bytes:
        return self._own()[1]

    def _own(self) -> tuple[bytes, bytes]:
        try:
            return self._finder.own_addresses()
        except KernelError:
            return bytes(6), NOBODY

    def probe(self, mac: bytes, ipv4: bytes, now_s: float) -> None:
        """Ask a MAC for its IPv4 address. OSError when it cannot be asked."""
        if len(self._asked) >= PROBES_MAX:
            self._asked = {key: end_s for key, end_s in self._asked.items() if end_s > now_s}
            if len(self._asked) >= PROBES_MAX:
                self._asked.clear()
        self._asked[mac, ipv4] = now_s + ANSWER_S
        if self._socket is not None:
            own_mac, own_ipv4 = self._own()
            packet = encode_probe(own_mac, own_ipv4, mac, ipv4)
            self._socket.sendto(packet, packet_address(self._device, self._index, ETH_P_ARP, mac))

    def read(self, now_s: float) -> "list[Event]":
        """Take what clients said since the last time."""
        events: "list[Event]" = []
        own_ipv4 = self.own_ipv4()
        try:
            for _ in range(READS_MAX):
                if self._socket is None:
                    break
                frame, source = self._socket.recvfrom(64)
                said, sender = decode(frame), packet_source(source)
                if said is not None and said[1] == sender and self._finder.is_client(sender):
                    events.append(self._understand(said, own_ipv4, now_s))
        except OSError as error:
            if error_number(error) != EAGAIN:
                self.close()  # the device went down or away; follow() is called when it is back
        return events

    def _understand(self, said: tuple[int, bytes, bytes], own_ipv4: bytes, now_s: float) -> "Event":
        operation, mac, ipv4 = said
        until_s = self._asked.pop((mac, ipv4), 0.0) if operation == REPLY else 0.0
        if until_s > now_s:
            return ArpAnswered(mac, ipv4)
        has_address = ipv4 not in (NOBODY, own_ipv4)
        return ClientSeen(mac, ipv4 if has_address else None)
