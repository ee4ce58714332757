# SPDX-License-Identifier: ISC
"""ARP with the clients (RFC 826): probes to one MAC alone, and what clients say. In IPv6 it is ndp.py.

An answer to a probe of ours is ArpAnswered, anything else a client says is ClientSeen. The client device may go and
come back: `follow` opens the socket on what is there now.
"""

import struct

from l3roamd_py.core.events import ArpAnswered, ClientSeen, Wanted
from l3roamd_py.kernel.device_socket import DeviceSocket, note
from l3roamd_py.kernel.finder import Finder
from l3roamd_py.kernel.netlink import KernelError
from runtime.ordered import OldestFirst
from xlat464.address import mask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from l3roamd_py.core.events import Event
    from l3roamd_py.core.node import Node

ETHERNET, IPV4, REQUEST, REPLY = 1, 0x0800, 1, 2
ETH_P_ARP = 0x0806
PACKET, PACKET_BYTES = "!HHBBH6s4s6s4s", 28
TARGET = 24  # where the address is that is asked for
FRAME_BYTES = 64  # of an Ethernet frame, the shortest
ANSWER_S = 10.0  # within which a reply is one to a probe: the time that we had no processor included
NOBODY = bytes(4)


def encode_probe(own_mac: bytes, own_ipv4: bytes, mac: bytes, ipv4: bytes) -> bytes:
    """The ARP request that asks for ipv4; own_ipv4 may be 0.0.0.0 (RFC 5227)."""
    return struct.pack(PACKET, ETHERNET, IPV4, 6, 4, REQUEST, own_mac, own_ipv4, mac, ipv4)


def encode_answer(own_mac: bytes, ipv4: bytes, mac: bytes, asker: bytes) -> bytes:
    """The ARP reply that says that ipv4 is at own_mac, to whom has the address `asker`."""
    return struct.pack(PACKET, ETHERNET, IPV4, 6, 4, REPLY, own_mac, ipv4, mac, asker)


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


class Arp(DeviceSocket):
    """ARP on the client device. finder: who can be a client, and what the device's own addresses are."""

    def __init__(self, device: str, finder: Finder) -> None:
        DeviceSocket.__init__(self, ETH_P_ARP, FRAME_BYTES)
        self._device, self._finder = device, finder
        self._node: "Node | None" = None
        self._asked: "OldestFirst[bytes, float]" = OldestFirst()  # MAC and IPv4 address -> until when

    def attend(self, node: "Node") -> None:
        """Tell of questions for addresses that no client of this node has."""
        self._node = node

    def own_ipv4(self) -> bytes:
        return self._own()[1]

    def _own(self) -> tuple[bytes, bytes]:
        try:
            return self._finder.own_addresses()
        except KernelError:
            return bytes(6), NOBODY

    def probe(self, mac: bytes, ipv4: bytes, now_s: float) -> None:
        """Ask a MAC for its IPv4 address. OSError when it cannot be asked."""
        note(self._asked, mac + ipv4, now_s + ANSWER_S)
        if self.socket() is not None:
            own_mac, own_ipv4 = self._own()
            self.send(encode_probe(own_mac, own_ipv4, mac, ipv4), self._device, self._index, mac)

    def answer(self, mac: bytes, asker: bytes, ipv4: bytes) -> None:
        """Tell a client that an address is at our MAC. OSError when it cannot be told."""
        own_mac, _ = self._own()
        self.send(encode_answer(own_mac, ipv4, mac, asker), self._device, self._index, mac)

    def read(self, now_s: float) -> "list[Event]":
        """Take what clients said since the last time."""
        events: "list[Event]" = []
        own_ipv4 = self.own_ipv4()
        for frame, sender in self.frames():
            said = decode(frame)
            if said is not None and said[1] == sender and self._finder.is_client(sender):
                events.append(self._understand(said, own_ipv4, now_s))
                if said[0] == REQUEST and self._is_wanted(frame[TARGET:PACKET_BYTES], said[2], own_ipv4):
                    events.append(Wanted(sender, said[2], frame[TARGET:PACKET_BYTES], True))
        return events

    def _is_wanted(self, wanted: bytes, asker: bytes, own_ipv4: bytes) -> bool:
        """Whether a client asks for an address of its network that is nobody's here. One that tries it has none."""
        if (
            self._node is None
            or self._node.options.clat is None
            or wanted in (asker, own_ipv4)
            or asker == NOBODY
        ):
            return False
        bits = self._finder.network_bits
        return wanted not in self._node.owner_of and mask(wanted, bits) == mask(own_ipv4, bits)

    def _understand(self, said: tuple[int, bytes, bytes], own_ipv4: bytes, now_s: float) -> "Event":
        operation, mac, ipv4 = said
        until_s = self._asked.pop(mac + ipv4, 0.0) if operation == REPLY else 0.0
        if until_s > now_s:
            return ArpAnswered(mac, ipv4)
        has_address = ipv4 not in (NOBODY, own_ipv4)
        return ClientSeen(mac, ipv4 if has_address else None)
