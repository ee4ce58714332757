# SPDX-License-Identifier: ISC
"""Finding clients: what the kernel tells of links, and of bridge and neighbour entries; for stations see stations.py.

Everything that is not of the client device, its ports or one of its neighbours is passed over, and so is every MAC
that is ours or no single device's. Messages that the kernel could not keep for us are made up for by a new dump.

The client device need not be the bridge with the clients' ports: on Gluon it is a veth (local-node), whose other end is
one of the ports. Neighbours are the device's, bridge entries the bridge's.

An event of the neighbour table need not be a sign of the client: the kernel tells as well that it begins to doubt.
"""

import errno
import socket
import struct
import sys
from collections import Counter
from itertools import islice

from l3roamd_py.core.events import AddressGone, AddressSeen, ClientGone, ClientSeen, Event
from l3roamd_py.core.node import is_device
from l3roamd_py.kernel.netlink import (
    AF_BRIDGE,
    DEL_LINK,
    DEL_NEIGHBOUR,
    DELAY,
    FAILED,
    GET_LINK,
    GET_NEIGHBOUR,
    LINK_FORM,
    NEW_LINK,
    NEW_NEIGHBOUR,
    PERMANENT,
    PROBE,
    REACHABLE,
    KernelError,
    Told,
    ifinfmsg,
    ndmsg,
)
from l3roamd_py.kernel.network import Network
from runtime.netlink import attributes, split
from runtime.netlink_socket import ADD_MEMBERSHIP, ROUTE, SOL_NETLINK, drain, open_socket

LINKS, NEIGHBOURS = 1, 3  # RTNLGRP_
RECEIVE_BYTES = 1 << 20  # of messages that wait for us in the kernel
READS_MAX = 32  # of the socket in one round, so that a flood of messages leaves time for others
PORTS_MAX = 8192  # MACs whose port is known
FORGOTTEN = 512  # of these at a time, when there are more
NEIGHBOUR = struct.Struct("=BxxxiHxx")  # struct ndmsg: family, ifindex, state; attributes follow
ADDRESS, MAC, BRIDGE = 1, 2, 9  # NDA_DST, NDA_LLADDR, NDA_MASTER
LINK_MAC, LINK_NAME, LINK_OTHER_END, LINK_MASTER, LINK_NAMESPACE = 1, 3, 5, 10, 37  # IFLA_


def listen(protocol: int) -> socket.socket:
    """A netlink socket that is there to be told."""
    return open_socket(protocol, RECEIVE_BYTES)


class Links:
    """The devices there are: their names, MACs and whose ports they are."""

    def __init__(self) -> None:
        self._links: dict[int, tuple[str, bytes, int]] = {}  # index -> name, MAC, index of the bridge
        self._other_ends: dict[int, int] = {}  # index -> a veth's other end, or what a macvlan is on
        self.own_macs: set[bytes] = set()

    def take(self, told: Told, is_new: bool) -> None:
        index = told.fields[2]
        if not is_new:
            self._links.pop(index, None)
            self._other_ends.pop(index, None)
        else:
            name = told.attributes.get(LINK_NAME, b"").rstrip(b"\0").decode("utf-8", "replace")
            self._links[index] = (name, told.attributes.get(LINK_MAC, b""), told.number(LINK_MASTER))
            is_here = LINK_NAMESPACE not in told.attributes
            self._other_ends[index] = told.number(LINK_OTHER_END) if is_here else 0
        self.own_macs = {mac for _, mac, _ in self._links.values()}

    def index_of(self, name: str) -> int:
        return next((index for index, link in self._links.items() if link[0] == name), 0)

    def is_port_of(self, port: int, bridge: int) -> bool:
        return bool(bridge) and port in self._links and self._links[port][2] == bridge

    def ports_of(self, bridge: int) -> list[int]:
        return [index for index, (_, _, master) in self._links.items() if bridge and master == bridge]

    def bridge_of(self, index: int) -> int:
        """The bridge behind a device: the device itself, unless its other end is a bridge, or a port of one."""
        end = self._other_ends.get(index, 0)
        if end and any(bridge == end for _, _, bridge in self._links.values()):
            return end
        return (self._links[end][2] if end in self._links else 0) or index

    def name_of(self, index: int) -> str:
        return self._links[index][0] if index in self._links else ""

    def clear(self) -> None:
        self._links.clear()
        self._other_ends.clear()


class Finder:
    """Turns what rtnetlink tells into events about clients. `changed`: the devices are not as they were."""

    def __init__(self, kernel: Network) -> None:
        self._kernel = kernel
        self._socket = listen(ROUTE)
        for group in (LINKS, NEIGHBOURS):
            self._socket.setsockopt(SOL_NETLINK, ADD_MEMBERSHIP, group)
        self.links = Links()
        self.client_index = self.bridge_index = 0
        self.ports: dict[bytes, int] = {}  # MAC of a client -> index of the bridge's port
        self.changed = True
        self.overruns = 0
        self._has_missed = False  # something, until the next dump

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def is_client(self, mac: bytes) -> bool:
        """Return whether this MAC can be a client's."""
        return is_device(mac) and mac not in self.links.own_macs

    def dump(self) -> list[Event]:
        """Ask for everything anew: at start, and after messages were lost. Of the bridge tell what is not as it was."""
        before = dict(self.ports)
        self.links.clear()
        self.changed = True
        for told in self._kernel.dump(ifinfmsg, GET_LINK, socket.AF_UNSPEC):
            self._link(told, True)
        self.ports.clear()
        for told in self._kernel.dump(ndmsg, GET_NEIGHBOUR, AF_BRIDGE):
            self._understand(NEW_NEIGHBOUR, told)
        events: list[Event] = [ClientSeen(mac) for mac, port in self.ports.items() if before.get(mac) != port]
        events += [ClientGone(mac) for mac in before if mac not in self.ports]
        for told in self._kernel.dump(ndmsg, GET_NEIGHBOUR, socket.AF_INET6):
            events += self._understand(NEW_NEIGHBOUR, told)
        self._has_missed = False
        return events

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
                    events += self._understand(kind, received[begin:end])
        except OSError as error:
            raise KernelError("what the kernel tells", error.errno or errno.EIO) from None
        if self._has_missed:
            events += self.dump()
        return events

    def _understand(self, kind: int, told: bytes) -> list[Event]:
        if kind in (NEW_LINK, DEL_LINK):
            return self._link(told, kind == NEW_LINK)
        if kind not in (NEW_NEIGHBOUR, DEL_NEIGHBOUR) or len(told) < NEIGHBOUR.size:
            return []
        family, index, state = NEIGHBOUR.unpack_from(told)
        is_bridge = family == AF_BRIDGE
        if state & (PERMANENT | DELAY | PROBE) or (not is_bridge and index != self.client_index):
            return []  # that the kernel asks for a neighbour is no answer
        parts = attributes(told, NEIGHBOUR.size)
        if not self.is_client(mac := parts.get(MAC, b"")):
            return []
        if is_bridge:
            return self._bridge_entry(mac, index, parts, kind == NEW_NEIGHBOUR)
        address = parts.get(ADDRESS)
        # an entry that the kernel has no use for any more says nothing of the client
        return self._neighbour(mac, address, state) if address and kind == NEW_NEIGHBOUR else []

    def _link(self, body: bytes, is_new: bool) -> list[Event]:
        told = Told(LINK_FORM, body)
        if told.fields[0] == AF_BRIDGE:
            return []  # a port's state; the link itself is told of too
        before = self.bridge_index
        self.links.take(told, is_new)
        self.changed = True
        self._follow()
        if self.bridge_index != before:
            self.ports.clear()
        return []

    def _bridge_entry(self, mac: bytes, port: int, parts: dict[int, bytes], is_new: bool) -> list[Event]:
        is_ours = int.from_bytes(parts.get(BRIDGE, b""), sys.byteorder) == self.bridge_index
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
        (most, _), *_rest = Counter(self.ports.values()).most_common(1)
        for mac in list(islice((mac for mac, port in self.ports.items() if port == most), FORGOTTEN)):
            del self.ports[mac]

    def port_of(self, mac: bytes) -> str:
        """Return the name of the port behind which a MAC is, "" if that is not known."""
        return self.links.name_of(self.ports.get(mac, 0))

    def _neighbour(self, mac: bytes, address: bytes, state: int) -> list[Event]:
        if len(address) == 4:
            return [ClientSeen(mac, address, is_proof=True)] if state & REACHABLE else []
        if state & FAILED:
            return [AddressGone(mac, address)]
        return [AddressSeen(mac, address, is_sign=bool(state & REACHABLE))]
