# SPDX-License-Identifier: ISC
"""What of the network is ours: addresses, neighbours and routes of clients; and where a route leads.

Whatever is made here bears OWNER as its protocol, so that the next daemon finds it, and making what is there or
removing what is not changes nothing.
"""

import errno
import socket
import struct
from collections.abc import Iterator

from l3roamd_py.kernel.netlink import (
    ADDRESS_FORM,
    AF_BRIDGE,
    DEL_ADDRESS,
    DEL_NEIGHBOUR,
    DEL_ROUTE,
    FIB_MATCH,
    GET_ADDRESS,
    GET_NEIGHBOUR,
    GET_ROUTE,
    MAIN_TABLE,
    NEIGHBOUR_FORM,
    NEW_ADDRESS,
    NEW_NEIGHBOUR,
    NEW_ROUTE,
    NO_DAD,
    NTF_MASTER,
    PERMANENT,
    PROBE,
    ROUTE_FORM,
    STALE,
    UNICAST,
    UNREACHABLE,
    KernelError,
    Netlink,
    Told,
    ifaddrmsg,
    make,
    ndmsg,
    nlmsg,
    rtmsg,
)
from runtime.netlink import CREATE, DUMP, REPLACE
from xlat464.node import NODE_LENGTH

OWNER = 158  # routing protocol number; the C l3roamd's, whose place we take
LEAVING = 159  # of a route that goes, for a moment
IFA_ADDRESS, IFA_PROTO = 1, 11
NDA_DST, NDA_LLADDR, NDA_PROTOCOL = 1, 2, 12
RTA_DST, RTA_OIF = 1, 4
NEIGHBOURS_MAX = 16384  # remembered for a client device that comes back


def _text(address: bytes) -> str:
    return socket.inet_ntop(socket.AF_INET if len(address) == 4 else socket.AF_INET6, address)


def _family(address: bytes) -> int:
    return socket.AF_INET if len(address) == 4 else socket.AF_INET6


def index_of(device: str) -> int:
    """The index of a device, 0 if there is none."""
    try:
        return socket.if_nametoindex(device)
    except OSError:
        return 0


class Network:
    """What of the kernel is ours: addresses on lo, and neighbours and host routes on the client device.

    The client device may go and come back: what was put on it is remembered, and put on it again by `renew`.
    """

    def __init__(self, client_device: str, node_client_prefix: bytes | None) -> None:
        self.client_device = client_device
        self._prefix = node_client_prefix
        self._netlink = Netlink()
        self._lo = index_of("lo")
        self._pinned: dict[bytes, bytes] = {}  # IPv4 address -> MAC
        self._routes: dict[bytes, bytes] = {}  # IPv6 address -> MAC

    def close(self) -> None:
        self._netlink.close()

    def _client_index(self, what: str) -> int:
        index = index_of(self.client_device)
        if not index:
            raise KernelError(f"{what} on {self.client_device}", errno.ENODEV)
        return index

    def _drop(self, what: str, message: nlmsg, kind: int, flags: int = 0) -> None:
        try:
            self._netlink.ask(what, message, kind, flags)
        except KernelError as error:
            if error.number not in (errno.ENOENT, errno.ESRCH, errno.EADDRNOTAVAIL, errno.ENODEV):
                raise

    # Node-client addresses

    def _address(self, address: bytes) -> nlmsg:
        attributes = [
            ("IFA_LOCAL", _text(address)),
            ("IFA_ADDRESS", _text(address)),
            ("IFA_FLAGS", NO_DAD),
            ("IFA_PROTO", OWNER),
        ]
        return make(ifaddrmsg, attributes, family=socket.AF_INET6, prefixlen=128, index=self._lo)

    def add_address(self, address: bytes) -> None:
        """Take an IPv6 address, on lo."""
        self._netlink.ask(f"to take {_text(address)}", self._address(address), NEW_ADDRESS, CREATE | REPLACE)

    def remove_address(self, address: bytes) -> None:
        self._drop(f"to give up {_text(address)}", self._address(address), DEL_ADDRESS)

    def addresses(self) -> set[bytes]:
        """The node-client addresses that we have: by their prefix, or by the mark that newer kernels keep."""
        request = make(ifaddrmsg, [], family=socket.AF_INET6)
        request["index"] = self._lo
        found = set()
        for told in self._list("to list addresses", request, GET_ADDRESS, ADDRESS_FORM):
            _, length, _, _, index = told.fields
            address = told.bytes_of(IFA_ADDRESS, 16)
            if address is None or index != self._lo or length != 128:
                continue
            if told.number(IFA_PROTO) == OWNER or address[:8] == (self._prefix or b"?")[:8]:
                found.add(address)
        return found

    # Neighbours and routes of clients

    def _neighbour(self, index: int, address: bytes, mac: bytes | None = None, state: int = 0) -> nlmsg:
        attributes: list[tuple[str, object]] = [("NDA_DST", _text(address))]
        if mac is not None:
            attributes += [("NDA_LLADDR", mac.hex(":")), ("NDA_PROTOCOL", OWNER)]
        return make(ndmsg, attributes, family=_family(address), ifindex=index, state=state)

    def pin(self, mac: bytes, ipv4: bytes) -> None:
        """Tie an IPv4 address to a MAC on the client device, whatever ARP says."""
        if len(self._pinned) < NEIGHBOURS_MAX:
            self._pinned[ipv4] = mac
        self._set_neighbour(mac, ipv4, PERMANENT)

    def _set_neighbour(self, mac: bytes, address: bytes, state: int) -> None:
        what = f"to tie {_text(address)} to {mac.hex(':')}"
        message = self._neighbour(self._client_index(what), address, mac, state)
        self._netlink.ask(what, message, NEW_NEIGHBOUR, CREATE | REPLACE)

    def unpin(self, mac: bytes, ipv4: bytes) -> None:
        """Untie them, unless the address is tied to another MAC by now."""
        if self._pinned.get(ipv4, mac) == mac:
            self._pinned.pop(ipv4, None)
            self._drop_neighbour(ipv4)

    def _drop_neighbour(self, address: bytes) -> None:
        if index := index_of(self.client_device):
            self._drop(f"to untie {_text(address)}", self._neighbour(index, address), DEL_NEIGHBOUR)

    def probe(self, mac: bytes, address: bytes) -> None:
        """Let the kernel ask a neighbour whether it is there; the neighbour events tell."""
        self._set_neighbour(mac, address, PROBE)

    def pinned(self) -> set[tuple[bytes, bytes]]:
        """What we tied, as (MAC, IPv4 address); the MAC is empty if the kernel has lost it."""
        request = make(ndmsg, [], family=socket.AF_INET)
        index, found = index_of(self.client_device), set()
        for told in self._list("to list neighbours", request, GET_NEIGHBOUR, NEIGHBOUR_FORM):
            ipv4 = told.bytes_of(NDA_DST, 4)
            if ipv4 is not None and told.fields[1] == index and told.number(NDA_PROTOCOL) == OWNER:
                found.add((told.bytes_of(NDA_LLADDR, 6) or b"", ipv4))
        return found

    def _route(self, address: bytes, index: int, protocol: int = OWNER) -> nlmsg:
        attributes = [("RTA_DST", _text(address)), ("RTA_OIF", index)]
        fields = {"family": socket.AF_INET6, "dst_len": 128, "table": MAIN_TABLE, "proto": protocol}
        return make(rtmsg, attributes, type=UNICAST, **fields)

    def add_route(self, mac: bytes, address: bytes) -> None:
        """Send what is for an IPv6 address of a client to the client device, and there to its MAC."""
        if len(self._routes) < NEIGHBOURS_MAX:
            self._routes[address] = mac
        what = f"to route {_text(address)}"
        self._netlink.ask(what, self._route(address, self._client_index(what)), NEW_ROUTE, CREATE | REPLACE)
        # to say more than STALE would be a sign of the client that it did not give
        self._set_neighbour(mac, address, STALE)

    def remove_route(self, mac: bytes, address: bytes) -> None:
        """Take a client's route back, so that also a babeld of 1.13 to 1.14 tells of it: docs/babeld.md.

        That one withdraws another prefix than the one that goes. But it tells of a route that changes, too, and when it
        does so it finds that there is none any more. What it may redistribute it can know by OWNER only, so that is
        what a route is again before it goes.
        """
        if self._routes.get(address, mac) != mac:
            return
        self._routes.pop(address, None)
        if index := index_of(self.client_device):
            what = f"to unroute {_text(address)}"
            for protocol in (LEAVING, OWNER):
                self._drop(what, self._route(address, index, protocol), NEW_ROUTE, REPLACE)
            self._drop(what, self._route(address, index), DEL_ROUTE)
            self._drop_neighbour(address)

    def routes(self) -> set[bytes]:
        """The IPv6 addresses that we route to the client device."""
        request = make(rtmsg, [], family=socket.AF_INET6)
        index, found = index_of(self.client_device), set()
        for told in self._list("to list routes", request, GET_ROUTE, ROUTE_FORM):
            address = told.bytes_of(RTA_DST, 16)
            _, length, _, _, _, protocol, *_ = told.fields
            is_ours = length == 128 and protocol in (OWNER, LEAVING) and told.number(RTA_OIF) == index
            if address is not None and is_ours:
                found.add(address)
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

    # Asking

    def leads_elsewhere(self, address: bytes) -> bool:
        """Return whether a host route leads to an IPv6 address, and that is not our own."""
        return any(told.number(RTA_OIF) != self._lo for told in self._routes_to(address, 128))

    def leads_to_node(self, address: bytes) -> bool:
        """Return whether a route leads to the node whose /96 an IPv6 address lies in."""
        return any(True for _ in self._routes_to(address, NODE_LENGTH))

    def _routes_to(self, address: bytes, length: int) -> Iterator[Told]:
        """Yield the route of this very length, if that is what leads to an IPv6 address."""
        request = make(rtmsg, [("RTA_DST", _text(address))], family=socket.AF_INET6, dst_len=128)
        request["flags"] = FIB_MATCH
        try:
            answers = list(self._netlink.stream(f"where {_text(address)} is", request, GET_ROUTE))
        except KernelError:
            return  # how the kernel says that no route leads there
        for answer in answers:
            told = Told(ROUTE_FORM, answer)
            if told.fields[1] == length and told.fields[7] == UNICAST:
                yield told

    def is_retracted(self, address: bytes) -> bool:
        """Return whether a routing daemon says of an IPv6 address that its way is lost just now, not that it has none.

        babeld keeps such a route for a while after a neighbour was not heard: RFC 8966 section 2.8.
        """
        request = make(rtmsg, [], family=socket.AF_INET6, table=MAIN_TABLE, type=UNREACHABLE)
        return any(
            told.fields[7] == UNREACHABLE and told.fields[1] == 128 and told.bytes_of(RTA_DST, 16) == address
            for told in self._list("to list lost routes", request, GET_ROUTE, ROUTE_FORM)
        )

    def prefixes(self) -> Iterator[bytes]:
        """The /96 that routes lead to, through devices."""
        request = make(rtmsg, [], family=socket.AF_INET6, type=UNICAST)
        for told in self._list("to list nodes", request, GET_ROUTE, ROUTE_FORM):
            prefix = told.bytes_of(RTA_DST, 16)
            if prefix is not None and told.fields[1] == NODE_LENGTH and told.fields[7] == UNICAST:
                yield prefix

    def forget_bridge_entry(self, mac: bytes, port: int) -> None:
        """Have the bridge forget where a MAC is, so that it tells us when the client is here again."""
        message = make(ndmsg, [("NDA_LLADDR", mac.hex(":"))], family=AF_BRIDGE, ifindex=port)
        message["flags"] = NTF_MASTER
        self._drop(f"to forget {mac.hex(':')}", message, DEL_NEIGHBOUR)

    def _list(self, what: str, request: nlmsg, kind: int, form: struct.Struct) -> Iterator[Told]:
        for answer in self._netlink.stream(what, request, kind, DUMP):
            yield Told(form, answer)

    def dump(self, form: type[nlmsg], kind: int, family: int) -> Iterator[bytes]:
        return self._netlink.stream("to list what there is", make(form, [], family=family), kind, DUMP)
