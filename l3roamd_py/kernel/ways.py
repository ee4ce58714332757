# SPDX-License-Identifier: ISC
"""Where routes lead: what is asked of the kernel before a client is taken, or given up."""

from errno import EHOSTUNREACH

from l3roamd_py.kernel.netlink import (
    FIB_MATCH,
    GET_ROUTE,
    MAIN_TABLE,
    ROUTE_BYTES,
    ROUTE_FORM,
    RTA_DST,
    RTA_OIF,
    UNICAST,
    UNREACHABLE,
    KernelError,
    Netlink,
    Told,
    route_header,
    stream_apart,
)
from runtime.netlink import DUMP, attribute, message
from xlat464.node import NODE_LENGTH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator


class Ways:
    """lo: the index of this device."""

    def __init__(self, netlink: Netlink, lo: int) -> None:
        self._netlink, self._lo = netlink, lo

    def leads_elsewhere(self, address: bytes) -> bool:
        """Return whether a host route leads to an IPv6 address, and that is not our own."""
        return any(told.number(RTA_OIF) != self._lo for told in self._routes_to(address, 128))

    def has_route(self, address: bytes) -> bool:
        """Return whether a host route leads to an IPv6 address."""
        return bool(self._routes_to(address, 128))

    def leads_to_node(self, address: bytes) -> bool:
        """Return whether a route leads to the node whose /96 an IPv6 address lies in."""
        return bool(self._routes_to(address, NODE_LENGTH))

    def _routes_to(self, address: bytes, length: int) -> list[Told]:
        """The route of this very length, if that is what leads to an IPv6 address."""
        try:
            told = list(self._way_to(address))
        except KernelError:
            return []  # how the kernel says that no route leads there
        return [each for each in told if each.fields[1] == length and each.fields[7] == UNICAST]

    def _way_to(self, address: bytes) -> "Iterator[Told]":
        request = message(GET_ROUTE, 0, route_header(128, flags=FIB_MATCH) + attribute(RTA_DST, address))
        return self._netlink.listed(("where %s is", address), request, ROUTE_FORM, ROUTE_BYTES)

    def is_retracted(self, address: bytes) -> bool:
        """Return whether a routing daemon says of an IPv6 address that its way is lost just now, not that it has none.

        babeld keeps such a route for a while after a neighbour was not heard: RFC 8966 section 2.8. All such routes are
        looked through if the kernel says that one of them has the address.
        """
        try:
            list(self._way_to(address))
            return False
        except KernelError as error:
            if error.number != EHOSTUNREACH:
                return False
        request = message(GET_ROUTE, DUMP, route_header(0, MAIN_TABLE, 0, UNREACHABLE))
        lost = list(self._netlink.listed("to list lost routes", request, ROUTE_FORM, ROUTE_BYTES))
        return any(
            told.fields[7] == UNREACHABLE and told.fields[1] == 128 and told.bytes_of(RTA_DST, 16) == address
            for told in lost
        )

    def prefixes(self) -> "Iterator[bytes]":
        """The /96 that routes lead to, through devices."""
        request = message(GET_ROUTE, DUMP, route_header(0, 0, 0, UNICAST))
        for answer in stream_apart("to list nodes", request):
            told = Told(ROUTE_FORM, ROUTE_BYTES, answer)
            prefix = told.bytes_of(RTA_DST, 16)
            if prefix is not None and told.fields[1] == NODE_LENGTH and told.fields[7] == UNICAST:
                yield prefix
