# SPDX-License-Identifier: ISC
"""What of the network is ours: addresses, neighbours and routes of clients.

Whatever is made here bears OWNER as its protocol, so that the next daemon finds it. Making what is there, or removing
what is not, changes nothing.
"""

import socket
from errno import ENODEV

from l3roamd_py.kernel.bridge_entries import BridgeEntries
from l3roamd_py.kernel.netlink import (
    ADDRESS_BYTES,
    ADDRESS_FORM,
    AF_INET,
    AF_INET6,
    DEL_ADDRESS,
    DEL_NEIGHBOUR,
    DEL_ROUTE,
    GET_ADDRESS,
    GET_LINK,
    GET_NEIGHBOUR,
    GET_ROUTE,
    IFA_ADDRESS,
    IFA_FLAGS,
    IFA_LOCAL,
    IFA_PROTO,
    IFLA_IFNAME,
    LINK_BYTES,
    LINK_FORM,
    MAIN_TABLE,
    NDA_DST,
    NDA_LLADDR,
    NDA_PROTOCOL,
    NEIGHBOUR_BYTES,
    NEIGHBOUR_FORM,
    NEW_ADDRESS,
    NEW_NEIGHBOUR,
    NEW_ROUTE,
    NO_DAD,
    NTF_USE,
    OWNER,
    PERMANENT,
    PROBE,
    ROUTE_BYTES,
    ROUTE_FORM,
    RTA_DST,
    RTA_EXPIRES,
    RTA_OIF,
    RTA_TABLE,
    STALE,
    UNICAST,
    KernelError,
    Netlink,
    Told,
    address_header,
    link_header,
    neighbour_header,
    route_header,
    stream_apart,
    u8,
    u32,
)
from l3roamd_py.kernel.other_routes import OtherRoutes
from l3roamd_py.kernel.ways import Ways
from runtime.netlink import CREATE, DUMP, REPLACE, attribute, message, text

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any


LEAVING = 159  # of a route that goes
NEIGHBOURS_MAX = 16384  # remembered for a client device that comes back


def _family(address: bytes) -> int:
    return AF_INET if len(address) == 4 else AF_INET6


class Network:
    """What of the kernel is ours: addresses on lo, and neighbours and host routes on the client device.

    The client device may go and come back: what was put on it is remembered, and put on it again by `renew`.
    client_index: the device's, 0 while it is not there, None: nobody follows it, so the kernel is asked each time.
    """

    def __init__(self, client_device: str, node_client_prefix: bytes | None, table: int = MAIN_TABLE) -> None:
        """table: of the host routes to clients."""
        self.client_device = client_device
        self.client_index: int | None = None
        self._prefix, self.table = node_client_prefix, table
        self._netlink = Netlink()
        self._lo = self.index_of("lo")
        self.ways, self.bridge_entries = Ways(self._netlink, self._lo), BridgeEntries(self._netlink)
        self.other_routes = OtherRoutes(self._netlink, self._lo, self.index_of)
        self._pinned: dict[bytes, bytes] = {}  # IPv4 address -> MAC
        self._routes: dict[bytes, bytes] = {}  # IPv6 address -> MAC

    def close(self) -> None:
        self._netlink.close()

    def index_of(self, device: str) -> int:
        """The index of a device, 0 if there is none."""
        if hasattr(socket, "if_nametoindex"):
            try:
                return socket.if_nametoindex(device)
            except OSError:
                return 0
        try:
            request = message(GET_LINK, 0, link_header() + text(IFLA_IFNAME, device))
            for answer in list(self._netlink.stream("for " + device, request)):
                index: int = Told(LINK_FORM, LINK_BYTES, answer).fields[3]
                return index
        except KernelError:
            pass
        return 0

    def _index(self) -> int:
        return self.index_of(self.client_device) if self.client_index is None else self.client_index

    def _need_index(self, what: "tuple[Any, ...]") -> int:
        index = self._index()
        if not index:
            asked: "tuple[Any, ...]" = (what[0] + " on " + self.client_device,)
            raise KernelError(asked + what[1:], ENODEV)
        return index

    # Node-client addresses

    def _address(self, kind: int, flags: int, address: bytes) -> bytes:
        body = address_header(AF_INET6, 128, self._lo)
        body += attribute(IFA_LOCAL, address) + attribute(IFA_ADDRESS, address)
        return message(kind, flags, body + u32(IFA_FLAGS, NO_DAD) + u8(IFA_PROTO, OWNER))

    def add_address(self, address: bytes) -> None:
        """Take an IPv6 address, on lo."""
        self._netlink.ask(("to take %s", address), self._address(NEW_ADDRESS, CREATE | REPLACE, address))

    def remove_address(self, address: bytes) -> None:
        self._netlink.drop(("to give up %s", address), self._address(DEL_ADDRESS, 0, address))

    def addresses(self) -> set[bytes]:
        """The node-client addresses that we have: by their prefix, or by the mark that newer kernels keep."""
        found = set()
        for told in self._addresses(AF_INET6, self._lo):
            address = told.bytes_of(IFA_ADDRESS, 16)
            if address is None or told.fields[1] != 128:
                continue
            if told.number(IFA_PROTO) == OWNER or address[:8] == (self._prefix or b"?")[:8]:
                found.add(address)
        return found

    def _addresses(self, family: int, index: int) -> "Iterator[Told]":
        request = message(GET_ADDRESS, DUMP, address_header(family, 0, index))
        for told in self._netlink.listed("to list addresses", request, ADDRESS_FORM, ADDRESS_BYTES):
            if told.fields[4] == index:
                yield told

    def own_ipv4(self, index: int) -> tuple[bytes, int]:
        """The first IPv4 address of a device and its network's length, 0.0.0.0 if it has none."""
        for told in list(self._addresses(AF_INET, index)):
            found = told.bytes_of(IFA_LOCAL, 4)
            if found is not None:
                length: int = told.fields[1]
                return found, length
        return bytes(4), 32

    # Neighbours and routes of clients

    def pin(self, mac: bytes, ipv4: bytes) -> None:
        """Tie an IPv4 address to a MAC on the client device, whatever ARP says."""
        if len(self._pinned) < NEIGHBOURS_MAX:
            self._pinned[ipv4] = mac
        self._set_neighbour(mac, ipv4, PERMANENT)

    def _set_neighbour(self, mac: bytes, address: bytes, state: int) -> None:
        what = "to tie %s to %s", address, mac
        self._netlink.ask(what, self._neighbour(self._need_index(what), mac, address, state))

    def _neighbour(self, index: int, mac: bytes, address: bytes, state: int) -> bytes:
        body = neighbour_header(_family(address), index, state)
        body += attribute(NDA_DST, address) + attribute(NDA_LLADDR, mac) + u8(NDA_PROTOCOL, OWNER)
        return message(NEW_NEIGHBOUR, CREATE | REPLACE, body)

    def unpin(self, mac: bytes, address: bytes) -> None:
        """Untie them, unless the address is tied to another MAC by now."""
        if self._pinned.get(address, mac) == mac:
            self._pinned.pop(address, None)
            self._drop_neighbour(address)

    def owner_of(self, address: bytes) -> bytes:
        """Return the MAC to which an IPv6 address is routed, b"" for none."""
        return self._routes.get(address, b"")

    def is_of_other(self, mac: bytes, address: bytes) -> bool:
        """Return whether an IPv6 address is routed to another MAC."""
        return self._routes.get(address, mac) != mac

    def pin_route(self, mac: bytes, address: bytes, is_pinned: bool) -> None:
        """Tie an IPv6 address that is routed to its MAC whatever anybody advertises, or no longer."""
        if self._routes.get(address) == mac:
            self._set_neighbour(mac, address, PERMANENT if is_pinned else STALE)

    def _drop_neighbour(self, address: bytes) -> None:
        index = self._index()
        if index:
            body = neighbour_header(_family(address), index) + attribute(NDA_DST, address)
            self._netlink.drop(("to untie %s", address), message(DEL_NEIGHBOUR, 0, body))

    def probe(self, mac: bytes, address: bytes) -> None:
        """Let the kernel ask a neighbour whether it is there; the neighbour events tell."""
        self._set_neighbour(mac, address, PROBE)

    def seek(self, address: bytes) -> None:
        """Let the kernel ask who has an IPv6 address, as for a packet to it; the neighbour events tell."""
        if address not in self._routes:
            self._drop_neighbour(address)  # of an entry that it has from before it would only begin to doubt
        index = self._index()
        if index:
            body = neighbour_header(AF_INET6, index, 0, NTF_USE) + attribute(NDA_DST, address)
            self._netlink.ask(("to ask for %s", address), message(NEW_NEIGHBOUR, CREATE, body))

    def pinned(self) -> set[tuple[bytes, bytes]]:
        """What we tied, as (MAC, address); the MAC is empty if the kernel has lost it."""
        index, found = self._index(), set()
        request = message(GET_NEIGHBOUR, DUMP, neighbour_header(0))
        for told in self._netlink.listed("to list neighbours", request, NEIGHBOUR_FORM, NEIGHBOUR_BYTES):
            address = told.bytes_of(NDA_DST, 4)
            if address is None and told.fields[4] & PERMANENT:
                address = told.bytes_of(NDA_DST, 16)
            if address is not None and told.fields[3] == index and told.number(NDA_PROTOCOL) == OWNER:
                found.add((told.bytes_of(NDA_LLADDR, 6) or b"", address))
        return found

    def _route(
        self,
        kind: int,
        flags: int,
        address: bytes,
        index: int,
        table: int,
        protocol: int = OWNER,
        for_s: int = 0,
    ) -> bytes:
        is_byte = table < 256  # the header has room for no more
        body = route_header(128, table if is_byte else 0, protocol, UNICAST) + attribute(RTA_DST, address)
        body += u32(RTA_OIF, index) + (b"" if is_byte else u32(RTA_TABLE, table))
        return message(kind, flags, body + (u32(RTA_EXPIRES, for_s) if for_s else b""))

    def add_route(self, mac: bytes, address: bytes) -> None:
        """Send what is for an IPv6 address of a client to the client device, and there to its MAC."""
        if len(self._routes) < NEIGHBOURS_MAX:
            self._routes[address] = mac
        what = "to route %s", address
        index = self._need_index(what)
        # to say more than STALE would be a sign of the client that it did not give
        neighbour = self._neighbour(index, mac, address, STALE)
        self._netlink.ask(
            what, self._route(NEW_ROUTE, CREATE | REPLACE, address, index, self.table), neighbour
        )

    def demote_route(self, address: bytes, for_s: int) -> None:
        """Let babel tell of a client's route with a high metric, see docs/babeld.md.

        After so many seconds, or half a minute later, the kernel removes it, if nobody else does.
        """
        index = self._index()
        if index:
            request = self._route(NEW_ROUTE, REPLACE, address, index, self.table, LEAVING, for_s)
            self._netlink.drop(("to demote the route to %s", address), request)

    def remove_route(self, mac: bytes, address: bytes) -> None:
        """Take a client's route back, unless another client has the address by now."""
        if self._routes.get(address, mac) == mac:
            self._routes.pop(address, None)
            self.drop_route(address, self.table)

    def drop_route(self, address: bytes, table: int) -> None:
        """Remove a route of ours, so that also a babeld of 1.13 to 1.14 tells of it: docs/babeld.md.

        That one withdraws another prefix than the one that goes. But it tells of a route that changes, too, and when it
        does so it finds that there is none any more. What it may redistribute it can know by OWNER only, so that is
        what a route is again before it goes.
        """
        index = self._index()
        if index:
            what = "to unroute %s", address
            for protocol in (LEAVING, OWNER):
                self._netlink.drop(what, self._route(NEW_ROUTE, REPLACE, address, index, table, protocol))
            self._netlink.drop(what, self._route(DEL_ROUTE, 0, address, index, table))
            if address not in self._routes:
                self._drop_neighbour(address)

    def routes(self) -> set[tuple[bytes, int]]:
        """The IPv6 addresses that we route to the client device, each with its table."""
        index, found = self._index(), set()
        request = message(GET_ROUTE, DUMP, route_header())
        for told in self._netlink.listed("to list routes", request, ROUTE_FORM, ROUTE_BYTES):
            address = told.bytes_of(RTA_DST, 16)
            is_ours = told.fields[5] in (OWNER, LEAVING) and told.number(RTA_OIF) == index
            if address is not None and told.fields[1] == 128 and is_ours:
                found.add((address, told.number(RTA_TABLE) or told.fields[4]))
        return found

    def renew(self) -> list[KernelError]:
        """Put on the client device again what was on it; return what went wrong."""
        failures = []
        for put, wanted in ((self.pin, self._pinned), (self.add_route, self._routes)):
            for address, mac in list(wanted.items()):
                try:
                    put(mac, address)
                except KernelError as error:
                    failures.append(error)
        return failures

    # Listing

    def links(self) -> "Iterator[bytes]":
        """What the kernel tells of each device."""
        return self._netlink.stream("to list devices", message(GET_LINK, DUMP, link_header()))

    def neighbours(self, family: int) -> "Iterator[bytes]":
        """What the kernel tells of each neighbour of a family, AF_BRIDGE for the entries of bridges."""
        return stream_apart("to list neighbours", message(GET_NEIGHBOUR, DUMP, neighbour_header(family)))
