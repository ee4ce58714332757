# SPDX-License-Identifier: ISC
"""What comes for a client that left goes on to another node (core/onward.py), by maps of table `ip6 l3roamd`.

What the rules make of them is in ruleset.py.
"""

from l3roamd_py.netfilter.nfnetlink import SUBSYSTEM_NFTABLES
from l3roamd_py.netfilter.nft import messages as nftables
from l3roamd_py.netfilter.nft.messages import Element, Table
from l3roamd_py.netfilter.nft.table import add_elements, list_elements, removal
from l3roamd_py.netfilter.onward import CareOf, OnwardMaps

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from l3roamd_py.netfilter.nfnetlink import NetfilterSocket
    from l3roamd_py.netfilter.rules import Pairs


class NftOnward(OnwardMaps):
    """Onward with the maps of a table that is there."""

    LEFT, HERE = "care_of", "client"

    def __init__(self, netfilter: "NetfilterSocket", table: Table) -> None:
        super().__init__()
        self.netfilter, self.table = netfilter, table

    def take_over(self) -> None:
        """Go on with what a daemon before us turned back, and not with what it sent on: it does not route that now."""
        self._commit([nftables.flush_set(self.table, self.LEFT)])
        found = list_elements(self.netfilter, self.table, self.HERE)
        self.turned_back = CareOf([(each.data, each.key) for each in found if each.data])

    def send_on(self, pairs: "Pairs", for_s: float) -> None:
        """And turn back what ICMPv6 errors quote of it."""
        super().send_on(pairs, for_s)
        self._put(self.HERE, [(care_of, address) for address, care_of in pairs], for_s)

    def _put(self, name: str, pairs: "Iterable[tuple[bytes, bytes]]", for_s: float) -> None:
        ms, pairs = int(for_s * 1000), list(pairs)
        messages = [each for key, _ in pairs for each in removal(self.netfilter, self.table, name, key)]
        elements = [Element(key, data, ms) for key, data in pairs]
        self._commit(messages + [add_elements(self.table, name, *elements)])

    def _remove(self, name: str, key: bytes) -> None:
        self._commit(removal(self.netfilter, self.table, name, key))

    def _commit(self, messages: list[bytes]) -> None:
        self.netfilter.commit(SUBSYSTEM_NFTABLES, messages)
