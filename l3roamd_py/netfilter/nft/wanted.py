# SPDX-License-Identifier: ISC
"""Packets for clients that are not here, in nftables: tables `ip l3roamd_wanted` and `ip6 l3roamd_wanted`.

IPv4, from clients, for an address of their network that is not in the set `reached`. IPv6, from anywhere, for an
address inside the clients' prefixes that only an unreachable route leads to.

  prerouting -152   to NFQUEUE, or marked for iptables' (nft/gate.py)
  prerouting -150   iptables, mangle: what is marked goes to NFQUEUE, or on if nobody listens
  prerouting -149   the mark is taken off again

Above NEW_PER_S packets a second IPv4 is dropped, and IPv6 goes on to the kernel's own answer: they must not fill our
processor. A kernel without `fib` holds IPv4 alone.
"""

import sys

from l3roamd_py.netfilter.gate import NEW_BURST, NEW_PER_S
from l3roamd_py.netfilter.nfnetlink import SUBSYSTEM_NFTABLES, NetfilterSocket
from l3roamd_py.netfilter.nft import messages as nftables
from l3roamd_py.netfilter.nft.expressions import (
    ACCEPT,
    DROP,
    META_IIF_NAME,
    META_MARK,
    NETWORK,
    NOT_EQUAL,
    above_rate,
    below_rate,
    bitwise,
    compare,
    destination_type,
    device,
    load,
    lookup,
    meta,
    queue,
    set_mark,
    verdict,
)
from l3roamd_py.netfilter.nft.messages import PREROUTING, TYPE_IPV4, Chain, Element, Set, Table
from l3roamd_py.netfilter.nft.table import find_element, is_whole, layout, raise_table, remove_table
from l3roamd_py.netfilter.wanted import MARK
from l3roamd_py.netfilter.xtables.saved import OwnChain
from xlat464.address import mask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from l3roamd_py.netfilter.rules import Prefixes

NAME = "l3roamd_wanted"
MARKED = (
    OwnChain("iptables", "mangle", "PREROUTING", "L3ROAMD_wanted"),
    OwnChain("ip6tables", "mangle", "PREROUTING", "L3ROAMD_wanted6"),
)
DESTINATION4, DESTINATION6 = 16, 24  # where it is in a header
UNREACHABLE = (7).to_bytes(4, sys.byteorder)  # RTN_UNREACHABLE
BIT, OTHERS = MARK.to_bytes(4, sys.byteorder), (MARK ^ 0xFFFFFFFF).to_bytes(4, sys.byteorder)


class NftWanted:
    """way: "queue" or "mark", as the gate's."""

    def __init__(self, netfilter: NetfilterSocket, client_device: str, queue_number: int) -> None:
        self._netfilter, self._device, self._queue = netfilter, client_device, queue_number
        self._way, self._network = "queue", (bytes(4), 0)
        self._prefixes: "Prefixes" = ()
        self.tables: dict[int, Table] = {}  # what is in the kernel, by its family

    def make4(self, way: str, network: tuple[bytes, int], reached: "Iterable[bytes]") -> None:
        """See that it is there for IPv4, with these addresses and no others. Raises OSError."""
        self._network = network
        table = self._make(nftables.IPV4, way, [Set("reached", TYPE_IPV4, 4, has_timeout=False)])
        elements = [Element(address) for address in reached]
        put = nftables.add_elements(table.family, NAME, "reached", *elements, exclusive=False)
        self._netfilter.commit(SUBSYSTEM_NFTABLES, [nftables.flush_set(table, "reached"), put])

    def make6(self, way: str, prefixes: "Prefixes") -> None:
        self._prefixes = prefixes
        self._make(nftables.IPV6, way, [])

    def _make(self, family: int, way: str, sets: list[Set]) -> Table:
        self._way = way
        chains = [Chain("wanted", PREROUTING, -152)]
        if way == "mark":
            chains.append(Chain("unmark", PREROUTING, -149))
        table = layout(family, NAME, chains, sets, way)
        raise_table(self._netfilter, table, lambda name: None, lambda names: self._rules(table))
        self.tables[family] = table
        return table

    def is_whole(self) -> bool:
        return all(is_whole(self._netfilter, each, len(self._rules(each))) for each in self.tables.values())

    def set_reached(self, address: bytes, is_reached: bool) -> None:
        if nftables.IPV4 not in self.tables:
            return
        table = self.tables[nftables.IPV4]
        if is_reached:
            message = nftables.add_elements(table.family, NAME, "reached", Element(address), exclusive=False)
        elif find_element(self._netfilter, table, "reached", address):
            message = nftables.delete_elements(table.family, NAME, "reached", address)
        else:
            return
        self._netfilter.commit(SUBSYSTEM_NFTABLES, [message])

    def remove(self) -> None:
        for family in (nftables.IPV4, nftables.IPV6):
            remove_table(self._netfilter, family, NAME)
        self.tables = {}

    def _rules(self, table: Table) -> list[bytes]:
        rules = self._rules4() if table.family == nftables.IPV4 else self._rules6()
        added = [nftables.add_rule(table, "wanted", rule) for rule in rules]
        if self._way == "mark":
            unmark = meta(META_MARK) + bitwise(OTHERS, bytes(4)) + set_mark()
            added.append(nftables.add_rule(table, "unmark", unmark))
        return added

    def _queued(self) -> bytes:
        return (
            queue(self._queue)
            if self._way == "queue"
            else meta(META_MARK) + bitwise(OTHERS, BIT) + set_mark()
        )

    def _rules4(self) -> list[bytes]:
        own, length = self._network
        passing, address = device(META_IIF_NAME, self._device), load(NETWORK, DESTINATION4, 4)
        outside = bitwise(mask(b"\xff" * 4, length), bytes(4)) + compare(mask(own, length), NOT_EQUAL)
        sought = passing + address + lookup("reached", invert=True)
        return [
            passing + address + outside + verdict(ACCEPT),
            sought + above_rate(NEW_PER_S, NEW_BURST) + verdict(DROP),
            sought + self._queued(),
        ]

    def _rules6(self) -> list[bytes]:
        rules = []
        for prefix, length in self._prefixes:
            inside = load(NETWORK, DESTINATION6, 16) + bitwise(mask(b"\xff" * 16, length), bytes(16))
            inside += compare(prefix) + destination_type() + compare(UNREACHABLE)
            rules.append(inside + below_rate(NEW_PER_S, NEW_BURST) + self._queued())
        return rules
