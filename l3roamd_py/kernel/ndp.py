# SPDX-License-Identifier: ISC
"""Neighbour Discovery with the clients (RFC 4861, 4862): solicitations to one MAC alone, and what clients say.

An answer to a solicitation of ours is ArpAnswered, what a client says of an address of its is AddressSeen. What says
nothing new ends here: the kernel gives us solicitations and advertisements alone, and repetitions are heard once in
QUIET_S.

We listen at the bridge, promiscuously: a client that tries an address (DAD) does so with a group of which the bridge
knows, by snooping, that nobody else is in it, so not even the device with our own addresses hears of it.
"""

import socket
import struct

from l3roamd_py.core.events import AddressSeen, ArpAnswered
from l3roamd_py.kernel.finding import Finder
from runtime.packets import AF_PACKET, attach_filter, packet_address, packet_source
from runtime.sockets import EAGAIN, error_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    from l3roamd_py.core.events import Event
    from l3roamd_py.core.node import Node

ETH_P_IPV6 = 0x86DD
ICMPV6, HOP_LIMIT, SOLICITATION, ADVERTISEMENT = 58, 255, 135, 136
SOURCE_LINK_LAYER = bytes((1, 1))  # option 1, one unit of 8 bytes
HEADER, MESSAGE, LEAST_BYTES = "!IHBB16s16s", "!BBHI16s", 64
SOL_PACKET, ADD_MEMBERSHIP, IGNORE_OUTGOING, PROMISCUOUS = 263, 1, 23, 1
ONLY_DISCOVERY = (  # load a byte, compare; the jumps count from the next line
    (0x30, 0, 0, 6), (0x15, 0, 5, ICMPV6),
    (0x30, 0, 0, 7), (0x15, 0, 3, HOP_LIMIT),
    (0x30, 0, 0, 40), (0x35, 0, 1, SOLICITATION), (0x25, 0, 1, ADVERTISEMENT),
    (0x06, 0, 0, 0),
    (0x06, 0, 0, LEAST_BYTES),
)  # fmt: skip
READS_MAX = 64  # in one round
KEPT_MAX = 4096  # questions that wait for an answer, addresses that were heard
ANSWER_S = 10.0  # within which an advertisement answers: the time that we had no processor included
QUIET_S = 5.0
NOBODY = bytes(16)
ADDRESSES, LINK_SCOPE = "/proc/net/if_inet6", "20"


def encode_solicitation(own_mac: bytes, own_address: bytes, address: bytes) -> bytes:
    """The IPv6 packet that asks the owner of an address, whose MAC we know, whether it is there."""
    body = struct.pack(MESSAGE, SOLICITATION, 0, 0, 0, address) + SOURCE_LINK_LAYER + own_mac
    pseudo = own_address + address + struct.pack("!II", len(body), ICMPV6)
    checked = body[:2] + struct.pack("!H", checksum(pseudo + body)) + body[4:]
    return struct.pack(HEADER, 6 << 28, len(body), ICMPV6, HOP_LIMIT, own_address, address) + checked


def checksum(data: bytes) -> int:
    """The internet checksum (RFC 1071) of an even number of bytes."""
    total = sum([data[at] << 8 | data[at + 1] for at in range(0, len(data), 2)])
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def decode(packet: bytes) -> tuple[int, bytes] | None:
    """Return a message's type and the address that its sender has, or tries to have; None: it is none of these."""
    if len(packet) < LEAST_BYTES or packet[6] != ICMPV6 or packet[7] != HOP_LIMIT:
        return None
    kind, source, target = packet[40], packet[8:24], packet[48:64]
    if kind == SOLICITATION:
        return kind, target if source == NOBODY else source
    return (kind, target) if kind == ADVERTISEMENT else None


class Ndp:
    """Neighbour Discovery on the bridge, and the client device's questions.

    finder: who can be a client.
    """

    def __init__(self, device: str, finder: Finder) -> None:
        self._device, self._finder = device, finder
        self._node: "Node | None" = None
        self._bridge = 0
        self._socket: socket.socket | None = None
        self._asked: dict[bytes, float] = {}  # MAC and address -> until when
        self._heard: dict[bytes, float] = {}  # of nobody that is served: the same

    def attend(self, node: "Node") -> None:
        """Tell of what this node does not know yet."""
        self._node = node

    def follow(self) -> bool:
        """Listen at the bridge that there is now; return whether the socket is another one."""
        bridge = self._finder.bridge_index
        if bridge == self._bridge and (self._socket is not None or not bridge):
            return False
        self.close()
        self._bridge = bridge
        if bridge:
            self._open(bridge)
        return True

    def _open(self, bridge: int) -> None:
        name = self._finder.links.name_of(bridge)
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
            attach_filter(made, ONLY_DISCOVERY)
            made.setsockopt(SOL_PACKET, ADD_MEMBERSHIP, struct.pack("iHH8s", bridge, PROMISCUOUS, 0, b""))
            made.bind(packet_address(name, bridge, ETH_P_IPV6))
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

    def solicit(self, mac: bytes, address: bytes, now_s: float) -> None:
        """Ask a MAC for its IPv6 address. OSError: it cannot be asked."""
        _note(self._asked, mac + address, now_s + ANSWER_S, now_s)
        own_address, index = self._link_local(), self._finder.client_index
        if own_address is not None and self._socket is not None:
            packet = encode_solicitation(self._finder.links.mac_of(index), own_address, address)
            self._socket.sendto(packet, packet_address(self._device, index, ETH_P_IPV6, mac))

    def _link_local(self) -> bytes | None:
        try:
            with open(ADDRESSES) as file:
                for line in file:
                    address, _, _, scope, _, device = line.split()
                    if scope == LINK_SCOPE and device == self._device:
                        return bytes.fromhex(address)
        except OSError:
            pass
        return None

    def read(self, now_s: float) -> "list[Event]":
        """Take what clients said since the last time."""
        events: "list[Event]" = []
        try:
            for _ in range(READS_MAX):
                if self._socket is None:
                    break
                packet, source = self._socket.recvfrom(LEAST_BYTES)
                said, mac = decode(packet), packet_source(source)
                if said is not None and self._node is not None and self._node.is_client_ipv6(said[1]):
                    is_known = self._node.owner_of.get(said[1]) == mac
                    events += self._understand(mac, said[0], said[1], is_known, now_s)
        except OSError as error:
            if error_number(error) != EAGAIN:
                self.close()  # the device went down or away; follow() is called when it is back
        return events

    def _understand(
        self, mac: bytes, kind: int, address: bytes, is_known: bool, now_s: float
    ) -> "list[Event]":
        key = mac + address
        if kind == ADVERTISEMENT and self._asked and self._asked.pop(key, 0.0) > now_s:
            return [ArpAnswered(mac, address)]
        if is_known or self._heard.get(key, 0.0) > now_s:
            return []
        if not self._finder.is_client(mac):
            return []
        _note(self._heard, key, now_s + QUIET_S, now_s)
        return [AddressSeen(mac, address, is_sign=False)]


def _note(table: dict[bytes, float], key: bytes, until_s: float, now_s: float) -> None:
    """Put into a table that does not grow above KEPT_MAX; what is over goes first."""
    if len(table) >= KEPT_MAX and key not in table:
        over = [each for each in table if table[each] <= now_s]
        for each in over or list(table)[: KEPT_MAX // 2]:
            del table[each]
    table[key] = until_s
