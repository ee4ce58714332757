# SPDX-License-Identifier: ISC
"""Routes for clients that are not here: of other nodes, and of none. They are ours by OWNER, as network.py's."""

from l3roamd_py.kernel.netlink import (
    AF_INET,
    DEL_ROUTE,
    GET_ROUTE,
    MAIN_TABLE,
    NEW_ROUTE,
    OWNER,
    ROUTE_BYTES,
    ROUTE_FORM,
    RTA_DST,
    RTA_OIF,
    RTA_PRIORITY,
    UNICAST,
    UNREACHABLE,
    KernelError,
    Netlink,
    route_header,
    u32,
)
from runtime.netlink import CREATE, DUMP, REPLACE, attribute, message

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

LAST_RESORT = 0x7FFFFFFE  # metric


class OtherRoutes:
    """lo: the index of this device. index_of: that of any device, 0 if there is none."""

    def __init__(self, netlink: Netlink, lo: int, index_of: "Callable[[str], int]") -> None:
        self._netlink, self._lo, self._index_of = netlink, lo, index_of

    def _prefix_route(self, kind: int, flags: int, prefix: bytes, length: int) -> bytes:
        body = route_header(length, MAIN_TABLE, OWNER, UNREACHABLE) + attribute(RTA_DST, prefix)
        return message(kind, flags, body + u32(RTA_PRIORITY, LAST_RESORT) + u32(RTA_OIF, self._lo))

    def follow_prefixes(self, prefixes: "Iterable[tuple[bytes, int]]") -> list[KernelError]:
        """Have an unreachable route for each of the clients' prefixes, behind all others; return what went wrong."""
        wanted, failures, there = set(prefixes), [], set()
        try:
            request = message(GET_ROUTE, DUMP, route_header(0, MAIN_TABLE, 0, UNREACHABLE))
            for told in self._netlink.listed("to list prefixes", request, ROUTE_FORM, ROUTE_BYTES):
                prefix = told.bytes_of(RTA_DST, 16)
                if prefix is not None and told.fields[5] == OWNER and told.fields[7] == UNREACHABLE:
                    there.add((prefix, told.fields[1]))
        except KernelError as error:
            failures.append(error)
        for prefix, length in wanted | there:
            what = "to route %s/%s", prefix, length
            try:
                if (prefix, length) not in wanted:
                    self._netlink.drop(what, self._prefix_route(DEL_ROUTE, 0, prefix, length))
                elif (prefix, length) not in there:
                    self._netlink.ask(what, self._prefix_route(NEW_ROUTE, CREATE | REPLACE, prefix, length))
            except KernelError as error:
                failures.append(error)
        return failures

    def _pair_route(self, kind: int, flags: int, ipv4: bytes, index: int) -> bytes:
        body = route_header(32, MAIN_TABLE, OWNER, UNICAST, family=AF_INET) + attribute(RTA_DST, ipv4)
        return message(kind, flags, body + u32(RTA_OIF, index))

    def add_pair(self, ipv4: bytes, device: str) -> None:
        """Send what is for the client of another node into the CLAT."""
        request = self._pair_route(NEW_ROUTE, CREATE | REPLACE, ipv4, self._index_of(device))
        self._netlink.ask(("to route %s", ipv4), request)

    def remove_pair(self, ipv4: bytes, device: str) -> None:
        request = self._pair_route(DEL_ROUTE, 0, ipv4, self._index_of(device))
        self._netlink.drop(("to unroute %s", ipv4), request)

    def pairs(self) -> set[bytes]:
        """The clients of other nodes that we route into the CLAT."""
        found = set()
        request = message(GET_ROUTE, DUMP, route_header(0, MAIN_TABLE, family=AF_INET))
        for told in self._netlink.listed("to list routes", request, ROUTE_FORM, ROUTE_BYTES):
            ipv4 = told.bytes_of(RTA_DST, 4)
            if ipv4 is not None and told.fields[1] == 32 and told.fields[5] == OWNER:
                found.add(ipv4)
        return found
