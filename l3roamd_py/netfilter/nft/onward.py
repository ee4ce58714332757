# SPDX-License-Identifier: ISC
"""What comes for a client that left goes on to another node (core/onward.py), as chains of table `ip6 l3roamd_clat`.

  arriving -355  a care-of address is turned back into the client's, before connection tracking. So is what an ICMPv6
                 error quotes, so that whoever sent a packet that is too big for the way hears of it.
  leaving -190   behind connection tracking, for which the packet is what it was, and its flow the same
  own -190       the same for what this node sends itself

Two maps: `care_of` has the care-of addresses of those that left, `client` whose a care-of address is. The checksum of a
care-of address is its client's, so that none follows.
"""

from l3roamd_py.netfilter.nfnetlink import SUBSYSTEM_NFTABLES, refusal
from l3roamd_py.netfilter.nft import messages as nftables
from l3roamd_py.netfilter.nft.expressions import (
    META_IIF_NAME,
    NETWORK,
    NOT_EQUAL,
    TRANSPORT,
    device,
    load,
    store,
    translate,
)
from l3roamd_py.netfilter.nft.messages import OUTPUT, PREROUTING, TYPE_IPV6, Chain, Element, Set, Table
from l3roamd_py.netfilter.nft.rewrite import ADDRESS_BYTES, DESTINATION, ICMPV6_ERROR, QUOTED
from l3roamd_py.netfilter.nft.table import find_element, list_elements
from l3roamd_py.netfilter.onward import CareOf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container, Iterable

    from l3roamd_py.netfilter.nfnetlink import NetfilterSocket
    from l3roamd_py.netfilter.onward import Pairs

CHAINS = [
    Chain("arriving", PREROUTING, -355),
    Chain("leaving", PREROUTING, -190),
    Chain("own", OUTPUT, -190, "route"),
]
MAPS = [Set(name, TYPE_IPV6, ADDRESS_BYTES, TYPE_IPV6, ADDRESS_BYTES) for name in ("care_of", "client")]


def _swap(name: str, base: int, offset: int) -> bytes:
    at = (base, offset, ADDRESS_BYTES)
    return load(*at) + translate(name) + store(*at, is_summed=False)


def rules(table: Table, client_device: str) -> list[bytes]:
    turn_back = device(META_IIF_NAME, client_device, NOT_EQUAL) + _swap("client", NETWORK, DESTINATION)
    turn_back_quoted = ICMPV6_ERROR + _swap("client", TRANSPORT, QUOTED + DESTINATION)
    send_on = _swap("care_of", NETWORK, DESTINATION)
    return [
        nftables.add_rule(table, chain, rule)
        for chain, rule in (
            ("arriving", turn_back),
            ("arriving", turn_back_quoted),
            ("leaving", send_on),
            ("own", send_on),
            ("own", turn_back_quoted),
        )
    ]


class NftOnward:
    """Onward with the maps of a table that is there."""

    def __init__(self, netfilter: "NetfilterSocket", table: Table) -> None:
        self.netfilter, self.table = netfilter, table
        self.turned_back = CareOf()

    def take_over(self) -> None:
        """Go on with what a daemon before us turned back, and not with what it sent on: it does not route that now."""
        self._commit([nftables.flush_set(self.table, "care_of")])
        found = list_elements(self.netfilter, self.table, "client")
        self.turned_back = CareOf([(each.data, each.key) for each in found if each.data])

    def send_on(self, pairs: "Pairs", for_s: float) -> None:
        with refusal("cannot send on what comes for a client"):
            quoted = [(care_of, address) for address, care_of in pairs]
            self._commit(self._put("care_of", pairs, for_s) + self._put("client", quoted, for_s))

    def stop_sending_on(self, address: bytes) -> None:
        with refusal("cannot end sending on"):
            self._remove("care_of", address)

    def add_care_of(self, pairs: "Pairs", for_s: float) -> None:
        with refusal("cannot turn care-of addresses back"):
            self._commit(self._put("client", [(care_of, address) for address, care_of in pairs], for_s))
        self.turned_back.note(pairs)

    def drop_care_of(self, address: bytes) -> None:
        care_of = self.turned_back.pop(address)
        if care_of is not None:
            with refusal("cannot end a care-of address"):
                self._remove("client", care_of)

    def drop_other_care_of(self, addresses: "Container[bytes]") -> None:
        for address in self.turned_back.others(addresses):
            self.drop_care_of(address)

    def _put(self, name: str, pairs: "Iterable[tuple[bytes, bytes]]", for_s: float) -> list[bytes]:
        """What puts keys with their data into a map, in the place of what is there."""
        family, table, ms = self.table.family, self.table.name, int(for_s * 1000)
        there = [key for key, _ in pairs if find_element(self.netfilter, self.table, name, key)]
        add = nftables.add_elements(
            family, table, name, *[Element(key, data, ms) for key, data in pairs], exclusive=False
        )
        return [nftables.delete_elements(family, table, name, key) for key in there] + [add]

    def _remove(self, name: str, key: bytes) -> None:
        if find_element(self.netfilter, self.table, name, key):
            self._commit([nftables.delete_elements(self.table.family, self.table.name, name, key)])

    def _commit(self, messages: list[bytes]) -> None:
        self.netfilter.commit(SUBSYSTEM_NFTABLES, messages)
