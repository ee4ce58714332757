# SPDX-License-Identifier: ISC
"""Which clatnodes babel can reach: a node that comes back to the mesh may serve clients of ours.

The kernel tells of every route that babel changes, and there are many: those of clients are sorted out before they
wake us. Only the /96 of a node counts.
"""

import os
import struct

from l3roamd_py.core.events import Event, NodeAppeared, PlatsUnrouted
from l3roamd_py.kernel.listener import listen
from l3roamd_py.kernel.listing import Listing
from l3roamd_py.kernel.netlink import AF_INET6, NEW_ROUTE, RTA_DST, UNICAST
from runtime.netlink import attributes
from runtime.netlink_socket import ROUTE
from xlat464.address import contains
from xlat464.node import NODE_LENGTH, RANGE_LENGTH, management_address

TYPE_CHECKING = False
if TYPE_CHECKING:
    import socket
    from collections.abc import Callable, Iterable, Iterator

IPV6_ROUTES = 11  # RTNLGRP_
# nlmsghdr: -, type, flags, sequence, port; rtmsg: family, length, -, -, table, protocol, scope, type, flags
HEADERS, HEADERS_BYTES = "IHHIIBBBBBBBBI", 28
AWAY_S = 2.0  # a route that changes its way is gone for less
NODES_MAX = 16384
ASKED_MAX = 256  # of all nodes at once
# only routes to a /96, which is the byte at 17: (operation, jump if true, jump if false, value) of classic BPF
NODES_ONLY = (
    (0x30, 0, 0, 17),
    (0x15, 0, 1, NODE_LENGTH),
    (0x06, 0, 0, 0xFFFFFFFF),
    (0x06, 0, 0, 0),
)


class NodeRoutes:
    """Listens to the kernel's route events; `read` tells of nodes that came and of PLATs that went.

    prefixes: the /96 that routes lead to now; it may raise KernelError. leads_to: whether one does to this /96.
    pending: see Listing.
    """

    def __init__(
        self,
        clat_range: bytes,
        own: bytes,
        plat_range: bytes,
        prefixes: "Callable[[], Iterable[bytes]]",
        leads_to: "Callable[[bytes], bool]" = lambda prefix: False,
        pending: "list[Listing] | None" = None,
    ) -> None:
        self._range, self._own, self._plat_range = clat_range, own, plat_range
        self._prefixes, self._leads_to = prefixes, leads_to
        self._plats: set[bytes] = set()  # that routes lead to
        self._unrouted: set[bytes] = set()  # PLATs whose route went away, not told of yet
        self._here: set[bytes] = set()
        self._lost_s: dict[bytes, float] = {}
        self._unlisted: set[bytes] = set()  # prefixes that a listing has not come to
        self.listing = Listing(self._list, [] if pending is None else pending)
        self._socket = listen(ROUTE, (IPV6_ROUTES,), NODES_ONLY)

    def socket(self) -> "socket.socket":
        return self._socket

    def close(self) -> None:
        self._socket.close()

    def read(self, now_s: float) -> list[Event]:
        """Take what the kernel told; return one NodeAppeared if a node came, however many there were."""
        has_appeared = False
        try:
            for message in self.listing.told(self._socket):
                has_appeared = self.note(message, now_s) or has_appeared
        except OSError:
            pass
        return self._events(has_appeared)

    def _events(self, has_appeared: bool) -> list[Event]:
        events: list[Event] = [PlatsUnrouted(frozenset(self._unrouted))] if self._unrouted else []
        self._unrouted.clear()
        return events + [NodeAppeared()] if has_appeared else events

    def are_all_asked(self) -> bool:
        """Return whether `nodes` tells of all."""
        return len(self._here) <= ASKED_MAX

    def nodes(self) -> list[bytes]:
        """Where the nodes hear us that can be reached, some of them if there are many."""
        found = [management_address(prefix) for prefix in self._here]
        if len(found) <= ASKED_MAX:
            return found
        first = int.from_bytes(os.urandom(4), "big") % len(found)
        return (found + found)[first : first + ASKED_MAX]

    def _list(self) -> "Iterator[list[Event]]":
        """List what can be reached, when we begin and after events were lost."""
        self._unlisted = self._here | self._plats
        for prefix in self._prefixes():
            self._add(prefix, self.listing.now_s)
            yield []
        # a listing may leave out some if others go meanwhile
        for prefix in list(self._unlisted):
            if prefix in self._unlisted and not self._leads_to(prefix):
                self._lose(prefix, self.listing.now_s)
            yield []
        yield self._events(True)  # what was lost may have been one that came and went

    def _add(self, prefix: bytes, now_s: float) -> bool:
        """A route leads to this prefix; return whether it is a node's that was away."""
        self._unlisted.discard(prefix)
        if contains(self._plat_range, RANGE_LENGTH, prefix):
            if len(self._plats) < NODES_MAX:
                self._plats.add(prefix)
            return False
        if not contains(self._range, RANGE_LENGTH, prefix) or prefix == self._own or prefix in self._here:
            return False
        if len(self._here) + len(self._lost_s) >= NODES_MAX:
            self._lost_s.clear()
            self._here.clear()
        self._here.add(prefix)
        lost_s = self._lost_s.pop(prefix, None)
        return lost_s is None or now_s >= lost_s + AWAY_S

    def _lose(self, prefix: bytes, now_s: float) -> None:
        """No route leads to this prefix, or babel keeps one as unreachable for a while."""
        if contains(self._plat_range, RANGE_LENGTH, prefix):
            self._plats.discard(prefix)
            self._unrouted.add(prefix)
        elif prefix in self._here:
            self._here.remove(prefix)
            self._lost_s[prefix] = now_s

    def note(self, message: bytes, now_s: float) -> bool:
        """Take one route event; return whether a node has come that was away."""
        if len(message) < HEADERS_BYTES:
            return False
        fields = struct.unpack_from(HEADERS, message, 0)
        kind, family, length, route = fields[1], fields[5], fields[6], fields[12]
        if family != AF_INET6 or length != NODE_LENGTH:
            return False
        if kind == NEW_ROUTE and route == UNICAST:
            return self._add(destination(message), now_s)
        self._lose(destination(message), now_s)
        return False


def destination(message: bytes) -> bytes:
    """Return the destination in a route message, zeros if it has none that can be one."""
    value = attributes(message, HEADERS_BYTES).get(RTA_DST, b"")
    return value if len(value) == 16 else bytes(16)
