# SPDX-License-Identifier: ISC
"""Finding clients: what the kernel tells of links, and of bridge and neighbour entries; for stations see stations.py.

Everything that is not of the client device, its ports or one of its neighbours is ignored. So is every MAC that is ours
or no single device's. Messages that the kernel could not keep for us are made up for by a new listing.

The client device need not be the bridge with the clients' ports. On Gluon it is a veth (local-node), whose other end is
one of the ports. Neighbours are the device's, bridge entries the bridge's.

An event of the neighbour table need not be a sign of the client: the kernel tells as well that it begins to doubt. And
it believes whoever advertised an address last, in whatever packet: that an entry of ours has another MAC is told on.
"""

import struct
import sys

from l3roamd_py.core.events import AddressGone, AddressSeen, ClientGone, ClientSeen, Event, NeighbourTaken
from l3roamd_py.core.node import is_device
from l3roamd_py.core.options import Options
from l3roamd_py.kernel.links import Links
from l3roamd_py.kernel.listener import READS_MAX, listen
from l3roamd_py.kernel.listing import Listing
from l3roamd_py.kernel.netlink import (
    AF_BRIDGE,
    AF_INET6,
    DEL_ADDRESS,
    DEL_LINK,
    DEL_NEIGHBOUR,
    FAILED,
    LINK_BYTES,
    LINK_FORM,
    NDA_DST,
    NDA_LLADDR,
    NDA_MASTER,
    NDA_PROTOCOL,
    NEIGHBOUR_BYTES,
    NEW_ADDRESS,
    NEW_LINK,
    NEW_NEIGHBOUR,
    OWNER,
    PERMANENT,
    REACHABLE,
    STALE,
    KernelError,
    Told,
)
from l3roamd_py.kernel.network import Network
from runtime.netlink import find, split
from runtime.netlink_socket import ROUTE
from runtime.ordered import OldestFirst
from runtime.sockets import error_number

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Iterator


def in_network_order(number: int) -> int:
    """Two bytes of ours as they are read in network order."""
    return number if sys.byteorder == "big" else (number & 0xFF) << 8 | number >> 8


LINKS, NEIGHBOURS, IPV4_ADDRESSES = 1, 3, 5  # RTNLGRP_
FIRST_STEPS = 1024  # of the listing that we begin with
PAUSE: "tuple[list[Event], ...]" = ([],) * 7  # steps
INDEX_AT, STATE_AT = (
    4,
    8 if sys.byteorder == "little" else 9,
)  # in struct ndmsg; of its state the byte that is used
FORGOTTEN = 64  # MACs at a time, when there are more than we remember the port of
NLATTR = 0xFFFFF00C  # the place of the attribute X behind A, 0 if there is none: SKF_AD_OFF + SKF_AD_NLATTR
# states of a neighbour that say something; that the kernel asks for it is no answer
SIGNS = REACHABLE | FAILED | STALE
# of a neighbour, only that it is reachable, that it has failed, or what no program has told the kernel of one of ours;
# of all others everything. Classic BPF, which takes a number of the kernel's for one in network order: (operation, jump
# if true, jump if false, value)
SIGNS_ONLY = (
    (0x28, 0, 0, 4),  # A = type
    (0x15, 3, 0, in_network_order(NEW_NEIGHBOUR)),
    (0x15, 0, 13, in_network_order(DEL_NEIGHBOUR)),
    (0x30, 0, 0, 16),  # A = family
    (0x15, 11, 12, AF_BRIDGE),
    (0x30, 0, 0, 16),
    (0x15, 9, 0, AF_BRIDGE),
    (0x28, 0, 0, 24),  # A = state
    (0x45, 7, 0, in_network_order(REACHABLE | FAILED)),
    (0x45, 0, 7, in_network_order(STALE)),
    (0x20, 0, 0, 12),  # A = who asked for it
    (0x15, 0, 5, 0),
    (0x00, 0, 0, 16 + NEIGHBOUR_BYTES),  # A = where attributes begin
    (0x01, 0, 0, NDA_PROTOCOL),  # X
    (0x20, 0, 0, NLATTR),
    (0x15, 1, 0, 0),
    (0x06, 0, 0, 0xFFFFFFFF),  # take it
    (0x06, 0, 0, 0),  # drop it
)


def number_of(kind: int, told: bytes) -> int:
    """An attribute of a neighbour as a number, 0 if there is none."""
    return int.from_bytes(find(kind, told, NEIGHBOUR_BYTES), sys.byteorder)


def index_of(told: bytes) -> int:
    """Whose neighbour it is: the index of a device."""
    index: int = struct.unpack_from("i", told, INDEX_AT)[0]
    return index


class Finder:
    """Turns what rtnetlink tells into events about clients. `changed`: the devices are not as they were.

    ports_max: MACs whose port is remembered. pending: see Listing.
    """

    def __init__(
        self,
        kernel: Network,
        ports_max: int = Options.max_ports,
        pending: "list[Listing] | None" = None,
    ) -> None:
        self._kernel, self._ports_max = kernel, ports_max
        self._socket = listen(ROUTE, (LINKS, NEIGHBOURS, IPV4_ADDRESSES), SIGNS_ONLY)
        self.links = Links()
        self.client_index = self.bridge_index = 0
        self.own_ipv4: bytes | None = None  # of the client device; None: to be asked for
        self.network_bits = 32  # length of the network that it is in
        self.ports: OldestFirst[bytes, int] = OldestFirst()  # MAC of a client -> index of the bridge's port
        self._count: dict[int, int] = {}  # port -> how many of these
        self.changed = True
        self.listing = Listing(self._list, [] if pending is None else pending)
        # what of `ports` a listing has not come to; and who left meanwhile, whom it may have yet. No sets: MicroPython
        # takes very long for one with thousands of MACs
        self._unlisted: OldestFirst[bytes, int] = OldestFirst()
        self._left: OldestFirst[bytes, None] | None = None

    def socket(self) -> "socket.socket":
        return self._socket

    def forget_port(self, mac: bytes) -> int:
        """Forget the port that a MAC is at, and return its index, 0 if the bridge does not know it either."""
        return self._drop_port(mac) or self._kernel.bridge_entries.port_of(self.bridge_index, mac)

    def place_of(self, mac: bytes) -> int:
        """Return the index of the port that a MAC is at, 0 if it is not known."""
        return self.ports.get(mac, 0) or self._unlisted.get(mac, 0)

    def _drop_port(self, mac: bytes) -> int:
        port = self.ports.pop(mac, 0) or self._unlisted.pop(mac, 0)
        if port:
            self._count[port] -= 1
        return port

    def _forget_ports(self) -> None:
        self.ports, self._unlisted, self._count = OldestFirst(), OldestFirst(), {}

    def _note_port(self, mac: bytes, port: int) -> None:
        if self._drop_port(mac) == 0 and len(self.ports) + len(self._unlisted) >= self._ports_max:
            self._make_room()
        self.ports[mac] = port
        self._count[port] = self._count.get(port, 0) + 1

    def close(self) -> None:
        self._socket.close()

    def is_client(self, mac: bytes) -> bool:
        """Return whether this MAC can be a client's."""
        return is_device(mac) and mac not in self.links.own_macs

    def has_seen(self, mac: bytes) -> bool:
        """Return whether the bridge knows a MAC: it may not have told us yet, or we may have forgotten."""
        return self.place_of(mac) != 0 or self._kernel.bridge_entries.port_of(self.bridge_index, mac) != 0

    def dump(self, now_s: float = 0.0) -> list[Event]:
        """List what there is, when we begin; what is more than most bridges have comes in slices."""
        return self.listing.all(now_s, FIRST_STEPS)

    def _list(self) -> "Iterator[list[Event]]":
        """List devices, entries of the bridge and neighbours. Of the bridge only what is not as it was is told."""
        links = Links()
        for told in self._kernel.links():
            links.note(Told(LINK_FORM, LINK_BYTES, told), True)
        self.links, self.changed = links, True
        self._follow()
        if self._unlisted:  # the last one failed
            for mac in self.ports:
                self._unlisted[mac] = self.ports[mac]
        else:
            self._unlisted = self.ports
        self.ports, self._left = OldestFirst(), OldestFirst()
        for told in self._kernel.neighbours(AF_BRIDGE):
            yield self._understand(NEW_NEIGHBOUR, told, is_listed=True)
        self._left = None
        # a listing leaves out some if others go meanwhile: it counts where it was (br_fdb_dump)
        for mac in list(self._unlisted):
            yield self._check_port(mac)
            yield from PAUSE  # a question takes longer than to read an entry
        for told in self._kernel.neighbours(AF_INET6):
            yield self._understand(NEW_NEIGHBOUR, told, is_listed=True)

    def _check_port(self, mac: bytes) -> list[Event]:
        """Ask the bridge for a MAC that was not in its list."""
        before = self._unlisted.get(mac, 0)
        if not before:
            return []  # it has been heard of meanwhile
        port = self._kernel.bridge_entries.port_of(self.bridge_index, mac)
        if not port:
            self._drop_port(mac)
            return [ClientGone(mac)]
        self._note_port(mac, port)
        return [] if port == before else [ClientSeen(mac)]

    def own_addresses(self) -> tuple[bytes, bytes]:
        """Return MAC and IPv4 address of the client device, zeros if it has none. Raises KernelError."""
        if self.own_ipv4 is None:
            self.own_ipv4, self.network_bits = self._kernel.own_ipv4(self.client_index)
        return self.links.mac_of(self.client_index), self.own_ipv4

    def _follow(self) -> None:
        before = self.bridge_index
        self.client_index = self._kernel.client_index = self.links.index_of(self._kernel.client_device)
        self.bridge_index = self.links.bridge_of(self.client_index)
        self.own_ipv4 = None
        if self.bridge_index != before:
            self._forget_ports()

    def read(self, packs: int = READS_MAX) -> list[Event]:
        """Take what the kernel told since the last time, or so many packs of it. Raises KernelError."""
        events: list[Event] = []
        try:
            for received in self.listing.told(self._socket, packs):
                for kind, _, _, begin, end in split(received):
                    events += self._understand(kind, received[begin:end])
        except OSError as error:
            raise KernelError("what the kernel tells", error_number(error)) from None
        return events

    def _understand(self, kind: int, told: bytes, is_listed: bool = False) -> list[Event]:
        # an entry that the kernel has no use for any more says nothing of the client, and what makes the kernel note or
        # forget a neighbour ndp.py hears itself: whoever floods us with neighbours has it tell of nothing else
        if kind == NEW_NEIGHBOUR and len(told) >= NEIGHBOUR_BYTES and told[0] != AF_BRIDGE:
            index = index_of(told)
            return self._neighbour(told, is_listed) if index == self.client_index else []
        if kind in (NEW_NEIGHBOUR, DEL_NEIGHBOUR):
            return self._entry(told, kind == NEW_NEIGHBOUR, is_listed)
        if kind in (NEW_LINK, DEL_LINK):
            return self._link(told, kind == NEW_LINK)
        if kind in (NEW_ADDRESS, DEL_ADDRESS):
            self.own_ipv4, self.changed = None, True
        return []

    def _link(self, body: bytes, is_new: bool) -> list[Event]:
        told = Told(LINK_FORM, LINK_BYTES, body)
        if told.fields[0] == AF_BRIDGE:
            return []  # a port's state; the link itself is told of too
        before = self.bridge_index
        self.links.note(told, is_new)
        self.changed = True
        self._follow()
        if self.bridge_index not in (0, before):
            self.listing.want()  # it may have had entries long before it was ours
        return []

    def _entry(self, told: bytes, is_new: bool, is_listed: bool) -> list[Event]:
        """An entry of a bridge."""
        if len(told) < NEIGHBOUR_BYTES or told[0] != AF_BRIDGE or told[STATE_AT] & PERMANENT:
            return []
        mac, port = find(NDA_LLADDR, told, NEIGHBOUR_BYTES), index_of(told)
        if not self.bridge_index or not self.is_client(mac):
            return []
        if number_of(NDA_MASTER, told) != self.bridge_index and not self.links.is_port_of(
            port, self.bridge_index
        ):
            return []
        if not is_new:
            return self._entry_gone(mac, port)
        if is_listed and self._left is not None and mac in self._left:
            return []
        before = self.ports.get(mac, 0)
        if before != port:
            before = before or self._unlisted.get(mac, 0)
            self._note_port(mac, port)
        return [] if is_listed and before == port else [ClientSeen(mac)]

    def _entry_gone(self, mac: bytes, port: int) -> list[Event]:
        if self._left is not None:
            if len(self._left) < self._ports_max:
                self._left[mac] = None
            else:
                self.listing.want()  # what it has may be old
        if self.place_of(mac) != port:
            return []  # it is at another port by now, or we had the bridge forget it
        self._drop_port(mac)
        return [ClientGone(mac)]

    def _make_room(self) -> None:
        """Forget the oldest MACs of the port with the most: who floods one must not hide who is at another."""
        most = max(self._count, key=lambda port: self._count[port])
        forgotten: list[bytes] = []
        for table in (self._unlisted, self.ports):
            for mac in table:
                if len(forgotten) == FORGOTTEN:
                    break
                if table[mac] == most:
                    forgotten.append(mac)
        for mac in forgotten:
            self._drop_port(mac)

    def port_of(self, mac: bytes) -> str:
        """Return the name of the port behind which a MAC is, "" if that is not known."""
        return self.links.name_of(self.place_of(mac))

    def _neighbour(self, told: bytes, is_listed: bool) -> list[Event]:
        """An entry of the client device."""
        state, address = told[STATE_AT], find(NDA_DST, told, NEIGHBOUR_BYTES)
        if not address or not state & SIGNS:
            return []
        mac = find(NDA_LLADDR, told, NEIGHBOUR_BYTES)
        if not mac and state & FAILED:
            mac = self._kernel.owner_of(address)  # of an entry that was made anew, and never had an answer
        is_taken = bool(mac) and self._kernel.is_of_other(mac, address)
        events: list[Event] = []
        # whose an entry is comes last in a message, and most need not be asked
        if (is_taken or (state & STALE and not is_listed)) and number_of(NDA_PROTOCOL, told) == OWNER:
            if not is_taken:
                return []  # the kernel has not heard of it for a while
            events.append(NeighbourTaken(address))
        if not self.is_client(mac):
            return events
        if len(address) == 16:
            is_gone = state & FAILED
            seen = (
                AddressGone(mac, address, True) if is_gone else AddressSeen(mac, address, state == REACHABLE)
            )
            return events + [seen] if events else [seen]
        return events + [ClientSeen(mac, address, True)] if state & REACHABLE else events
