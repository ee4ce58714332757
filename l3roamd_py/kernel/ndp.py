# SPDX-License-Identifier: ISC
"""Neighbour Discovery with the clients (RFC 4861, 4862): solicitations to one MAC alone, and what clients say.

An answer to a solicitation of ours is ArpAnswered, what a client says of an address of its is AddressSeen. What says
nothing new ends here: the kernel gives us solicitations and advertisements alone, and repetitions are heard once in
QUIET_S.

A client that tries an address (DAD) does so with a group of which a bridge that snoops knows that nobody else is in it.
So we have the bridge believe that a multicast router is where the client device is. That costs unicast packets nothing.
"""

import os
import struct

from l3roamd_py.core.events import AddressSeen, ArpAnswered
from l3roamd_py.kernel.device_socket import DeviceSocket, note
from l3roamd_py.kernel.finder import Finder
from runtime.ordered import OldestFirst
from runtime.packets import ICMPV6, attach_filter, icmpv6_checksum

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket

    from l3roamd_py.core.events import Event
    from l3roamd_py.core.node import Node

ETH_P_IPV6 = 0x86DD
HOP_LIMIT, SOLICITATION, ADVERTISEMENT = 255, 135, 136
SOURCE_LINK_LAYER = bytes((1, 1))  # option 1, one unit of 8 bytes
HEADER, MESSAGE, LEAST_BYTES = "!IHBB16s16s", "!BBHI16s", 64
DEVICES, LEARNT, ALWAYS = "/sys/class/net/", "1", "2"  # values of a bridge's multicast_router
ONLY_DISCOVERY = (  # load a byte, compare; the jumps count from the next line
    (0x30, 0, 0, 6), (0x15, 0, 5, ICMPV6),
    (0x30, 0, 0, 7), (0x15, 0, 3, HOP_LIMIT),
    (0x30, 0, 0, 40), (0x35, 0, 1, SOLICITATION), (0x25, 0, 1, ADVERTISEMENT),
    (0x06, 0, 0, 0),
    (0x06, 0, 0, LEAST_BYTES),
)  # fmt: skip
ANSWER_S = 10.0  # within which an advertisement answers: the time that we had no processor included
QUIET_S = 20.0
NOBODY = bytes(16)
ADDRESSES, LINK_SCOPE = "/proc/net/if_inet6", b"20"  # as bytes: MicroPython takes long to make a text


def encode_solicitation(own_mac: bytes, own_address: bytes, address: bytes) -> bytes:
    """The IPv6 packet that asks the owner of an address, whose MAC we know, whether it is there."""
    body = struct.pack(MESSAGE, SOLICITATION, 0, 0, 0, address) + SOURCE_LINK_LAYER + own_mac
    checked = body[:2] + struct.pack("!H", icmpv6_checksum(own_address + address, body)) + body[4:]
    return struct.pack(HEADER, 6 << 28, len(body), ICMPV6, HOP_LIMIT, own_address, address) + checked


def decode(packet: bytes) -> tuple[int, bytes] | None:
    """Return a message's type and the address that its sender has, or tries to have; None: it is none of these."""
    if len(packet) < LEAST_BYTES or packet[6] != ICMPV6 or packet[7] != HOP_LIMIT:
        return None
    kind, source, target = packet[40], packet[8:24], packet[48:64]
    if kind == SOLICITATION:
        return kind, target if source == NOBODY else source
    return (kind, target) if kind == ADVERTISEMENT else None


def hear_groups(device: str, router: str = ALWAYS) -> None:
    """Have the bridge that a client device is, or is behind, send us what is for any group; LEARNT undoes it."""
    try:
        end = device if _is_there(device + "/bridge") else _other_end(device)
        kind = "bridge" if _is_there(end + "/bridge") else "brport"
        path = DEVICES + end + "/" + kind + "/multicast_router"
        with open(path) as file:
            before = file.read().strip()
        if before != router:  # each write is told to all who follow devices, us too
            with open(path, "w") as file:
                file.write(router)
    except OSError:
        pass  # it is no bridge, or does not snoop


def _is_there(path: str) -> bool:
    try:
        os.stat(DEVICES + path)
    except OSError:
        return False
    return True


def _other_end(device: str) -> str:
    """The other end of a veth, or what a macvlan is on; "" if there is none here."""
    with open(DEVICES + device + "/iflink") as file:
        index = file.read()
    for name in os.listdir(DEVICES):
        with open(DEVICES + name + "/ifindex") as file:
            if name != device and file.read() == index:
                return name
    return ""


class Ndp(DeviceSocket):
    """Neighbour Discovery on the client device.

    finder: who can be a client. is_learning: tell of what is no answer to us, too.
    """

    def __init__(self, device: str, finder: Finder, is_learning: bool = True) -> None:
        DeviceSocket.__init__(self, ETH_P_IPV6, LEAST_BYTES)
        self._device, self._finder, self._is_learning = device, finder, is_learning
        self._node: "Node | None" = None
        self._own: bytes | None = None  # the device's link-local address, once it was asked for
        self._asked: "OldestFirst[bytes, float]" = OldestFirst()  # MAC and address -> until when
        self._heard: "OldestFirst[bytes, float]" = OldestFirst()  # of nobody that is served: the same

    def attend(self, node: "Node") -> None:
        """Tell of what this node does not know yet."""
        self._node = node

    def prepare(self, made: "socket.socket", index: int) -> None:
        self._own = None
        attach_filter(made, ONLY_DISCOVERY)

    def solicit(self, mac: bytes, address: bytes, now_s: float) -> None:
        """Ask a MAC for its IPv6 address. OSError: it cannot be asked."""
        note(self._asked, mac + address, now_s + ANSWER_S)
        self._own, index = self._own or self._link_local(), self._index
        if self._own is not None:
            packet = encode_solicitation(self._finder.links.mac_of(index), self._own, address)
            self.send(packet, self._device, index, mac)

    def _link_local(self) -> bytes | None:
        own = self._device.encode()
        try:
            with open(ADDRESSES, "rb") as file:
                for line in file:
                    address, _, _, scope, _, device = line.split()
                    if scope == LINK_SCOPE and device == own:
                        return bytes.fromhex(address.decode())
        except OSError:
            pass
        return None

    def read(self, now_s: float) -> "list[Event]":
        """Take what clients said since the last time."""
        events: "list[Event]" = []
        for packet, mac in self.frames():
            said = decode(packet)
            if said is not None and self._node is not None and self._node.is_client_ipv6(said[1]):
                is_known = self._node.owner_of.get(said[1]) == mac
                events += self._understand(mac, said[0], said[1], is_known, now_s)
        return events

    def _understand(
        self, mac: bytes, kind: int, address: bytes, is_known: bool, now_s: float
    ) -> "list[Event]":
        key = mac + address
        if kind == ADVERTISEMENT and self._asked and self._asked.pop(key, 0.0) > now_s:
            return [ArpAnswered(mac, address)]
        if is_known or not self._is_learning or self._heard.get(key, 0.0) > now_s:
            return []
        if not self._finder.is_client(mac):
            return []
        note(self._heard, key, now_s + QUIET_S)
        return [AddressSeen(mac, address, is_sign=False)]
