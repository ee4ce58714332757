# SPDX-License-Identifier: ISC
"""Finding clients: what the kernel tells of links, and of bridge and neighbour entries; for stations see stations.py.

Everything that is not of the client device, its ports or one of its neighbours is ignored. So is every MAC that is ours
or no single device's. Messages that the kernel could not keep for us are made up for by a new dump.

The client device need not be the bridge with the clients' ports. On Gluon it is a veth (local-node), whose other end is
one of the ports. Neighbours are the device's, bridge entries the bridge's.

An event of the neighbour table need not be a sign of the client: the kernel tells as well that it begins to doubt.
"""

import struct
import sys

from l3roamd_py.core.events import AddressGone, AddressSeen, ClientGone, ClientSeen, Event
from l3roamd_py.core.node import is_device
from l3roamd_py.kernel.links import Links
from l3roamd_py.kernel.listener import READS_MAX, listen
from l3roamd_py.kernel.netlink import (
    AF_BRIDGE,
    AF_INET6,
    DEL_ADDRESS,
    DEL_LINK,
    DEL_NEIGHBOUR,
    DELAY,
    FAILED,
    LINK_BYTES,
    LINK_FORM,
    NDA_DST,
    NDA_LLADDR,
    NDA_MASTER,
    NEIGHBOUR_BYTES,
    NEIGHBOUR_FORM,
    NEW_ADDRESS,
    NEW_LINK,
    NEW_NEIGHBOUR,
    PERMANENT,
    PROBE,
    REACHABLE,
    KernelError,
    Told,
    number_of,
)
from l3roamd_py.kernel.network import Network
from runtime.netlink import attributes, split
from runtime.netlink_socket import ROUTE, drain
from runtime.ordered import OldestFirst
from runtime.sockets import error_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket


def in_network_order(number: int) -> int:
    """Two bytes of ours as they are read in network order."""
    return number if sys.byteorder == "big" else (number & 0xFF) << 8 | number >> 8


LINKS, NEIGHBOURS, IPV4_ADDRESSES = 1, 3, 5  # RTNLGRP_
PORTS_MAX = 8192  # MACs whose port is known
FORGOTTEN = 512  # of these at a time, when there are more
# of a neighbour, only that it is reachable or that it has failed; of all others everything. Classic BPF, which takes a
# number of the kernel's for one in network order: (operation, jump if true, jump if false, value)
SIGNS_ONLY = (
    (0x28, 0, 0, 4),  # A = type
    (0x15, 3, 0, in_network_order(NEW_NEIGHBOUR)),
    (0x15, 0, 6, in_network_order(DEL_NEIGHBOUR)),
    (0x30, 0, 0, 16),  # A = family
    (0x15, 4, 5, AF_BRIDGE),
    (0x30, 0, 0, 16),
    (0x15, 2, 0, AF_BRIDGE),
    (0x28, 0, 0, 24),  # A = state
    (0x45, 0, 1, in_network_order(REACHABLE | FAILED)),
    (0x06, 0, 0, 0xFFFFFFFF),  # take it
    (0x06, 0, 0, 0),  # drop it
)


def is_ndp_s(kind: int, told: bytes) -> bool:
    """Return whether this is what ndp.py has heard itself: that the kernel notes, or forgets, a neighbour of IPv6.

    Whoever floods us with neighbours has it tell of nothing else.
    """
    if kind not in (NEW_NEIGHBOUR, DEL_NEIGHBOUR) or len(told) < NEIGHBOUR_BYTES or told[0] != AF_INET6:
        return False
    state: int = struct.unpack_from(NEIGHBOUR_FORM, told, 0)[4]
    return kind == DEL_NEIGHBOUR or not state & (REACHABLE | FAILED)


class Finder:
    """Turns what rtnetlink tells into events about clients. `changed`: the devices are not as they were."""

    def __init__(self, kernel: Network) -> None:
        self._kernel = kernel
        self._socket = listen(ROUTE, (LINKS, NEIGHBOURS, IPV4_ADDRESSES), SIGNS_ONLY)
        self.links = Links()
        self.client_index = self.bridge_index = 0
        self.own_ipv4: bytes | None = None  # of the client device; None: to be asked for
        self.network_bits = 32  # length of the network that it is in
        self.ports: OldestFirst[bytes, int] = OldestFirst()  # MAC of a client -> index of the bridge's port
        self.changed = True
        self.overruns = 0
        self._has_missed = False  # something, until the next dump

    def socket(self) -> "socket.socket":
        return self._socket

    def forget_port(self, mac: bytes) -> int:
        """Forget the port that a MAC is at, and return its index, 0 if none is known."""
        return self.ports.pop(mac, 0)

    def close(self) -> None:
        self._socket.close()

    def is_client(self, mac: bytes) -> bool:
        """Return whether this MAC can be a client's."""
        return is_device(mac) and mac not in self.links.own_macs

    def dump(self) -> list[Event]:
        """Ask for everything anew: at start, and after messages were lost. Of the bridge tell what is not as it was."""
        before = {mac: self.ports[mac] for mac in self.ports}
        self.links.clear()
        self.changed = True
        for told in self._kernel.links():
            self._link(told, True)
        self.ports = OldestFirst()
        for told in self._kernel.neighbours(AF_BRIDGE):
            self._understand(NEW_NEIGHBOUR, told)
        events: list[Event] = [ClientSeen(mac) for mac in self.ports if before.get(mac) != self.ports[mac]]
        events += [ClientGone(mac) for mac in before if mac not in self.ports]
        for told in self._kernel.neighbours(AF_INET6):
            events += self._understand(NEW_NEIGHBOUR, told)
        self._has_missed = False
        return events

    def own_addresses(self) -> tuple[bytes, bytes]:
        """Return MAC and IPv4 address of the client device, zeros if it has none. Raises KernelError."""
        if self.own_ipv4 is None:
            self.own_ipv4, self.network_bits = self._kernel.own_ipv4(self.client_index)
        return self.links.mac_of(self.client_index), self.own_ipv4

    def _follow(self) -> None:
        self.client_index = self.links.index_of(self._kernel.client_device)
        self.bridge_index = self.links.bridge_of(self.client_index)

    def read(self) -> list[Event]:
        """Take what the kernel told since the last time. Raises KernelError."""
        events: list[Event] = []
        try:
            for received in drain(self._socket, READS_MAX):
                if received is None:
                    self.overruns += 1
                    self._has_missed = True
                    continue
                for kind, _, _, begin, end in split(received):
                    told = received[begin:end]
                    if not is_ndp_s(kind, told):
                        events += self._understand(kind, told)
        except OSError as error:
            raise KernelError("what the kernel tells", error_number(error)) from None
        if self._has_missed:
            events += self.dump()
        return events

    def _understand(self, kind: int, told: bytes) -> list[Event]:
        if kind in (NEW_LINK, DEL_LINK):
            return self._link(told, kind == NEW_LINK)
        if kind in (NEW_ADDRESS, DEL_ADDRESS):
            self.own_ipv4, self.changed = None, True
        if kind not in (NEW_NEIGHBOUR, DEL_NEIGHBOUR) or len(told) < NEIGHBOUR_BYTES:
            return []
        family, _, _, index, state, _, _ = struct.unpack_from(NEIGHBOUR_FORM, told, 0)
        is_bridge = family == AF_BRIDGE
        if state & (PERMANENT | DELAY | PROBE) or (not is_bridge and index != self.client_index):
            return []  # that the kernel asks for a neighbour is no answer
        parts = attributes(told, NEIGHBOUR_BYTES)
        mac = parts.get(NDA_LLADDR, b"")
        if not self.is_client(mac):
            return []
        if is_bridge:
            return self._bridge_entry(mac, index, parts, kind == NEW_NEIGHBOUR)
        address = parts.get(NDA_DST)
        # an entry that the kernel has no use for any more says nothing of the client
        return self._neighbour(mac, address, state) if address and kind == NEW_NEIGHBOUR else []

    def _link(self, body: bytes, is_new: bool) -> list[Event]:
        told = Told(LINK_FORM, LINK_BYTES, body)
        if told.fields[0] == AF_BRIDGE:
            return []  # a port's state; the link itself is told of too
        before = self.bridge_index
        self.links.note(told, is_new)
        self.changed = True
        self._follow()
        self.own_ipv4 = None
        if self.bridge_index != before:
            self.ports = OldestFirst()
        return []

    def _bridge_entry(self, mac: bytes, port: int, parts: dict[int, bytes], is_new: bool) -> list[Event]:
        is_ours = number_of(parts, NDA_MASTER) == self.bridge_index
        if not self.bridge_index or not (is_ours or self.links.is_port_of(port, self.bridge_index)):
            return []
        if is_new:
            if mac not in self.ports and len(self.ports) >= PORTS_MAX:
                self._make_room()
            self.ports[mac] = port
            return [ClientSeen(mac)]
        if self.ports.get(mac) != port:
            return []  # it is at another port by now, or we had the bridge forget it
        del self.ports[mac]
        return [ClientGone(mac)]

    def _make_room(self) -> None:
        """Forget the oldest MACs of the port with the most: who floods one must not hide who is at another."""
        count: dict[int, int] = {}
        for mac in self.ports:
            count[self.ports[mac]] = count.get(self.ports[mac], 0) + 1
        most = max(count, key=lambda port: count[port])
        for mac in [mac for mac in self.ports if self.ports[mac] == most][:FORGOTTEN]:
            del self.ports[mac]

    def port_of(self, mac: bytes) -> str:
        """Return the name of the port behind which a MAC is, "" if that is not known."""
        return self.links.name_of(self.ports.get(mac, 0))

    def _neighbour(self, mac: bytes, address: bytes, state: int) -> list[Event]:
        if len(address) == 4:
            return [ClientSeen(mac, address, is_proof=True)] if state & REACHABLE else []
        if state & FAILED:
            return [AddressGone(mac, address, is_silent=True)]
        return [AddressSeen(mac, address, is_sign=bool(state & REACHABLE))]
