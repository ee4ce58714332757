# SPDX-License-Identifier: ISC
"""The clatnode's rules in nftables: stateless. Table `ip6 l3roamd_clat`, and the gate (gate_nft).

A set of clients per PLAT. What leaves the CLAT device has the current PLAT as its destination. For a client in the set,
the client's own PLAT takes its place. On the way back it is the other way round. Elements have the lease as their
timeout. What of IPv6 goes on after a walk is in the same table: onward.py.
"""

from l3roamd_py.netfilter.gate import QUEUE
from l3roamd_py.netfilter.nfnetlink import (
    SUBSYSTEM_NFTABLES,
    TransactionError,
    is_missing,
    refusal,
    suppress_missing,
)
from l3roamd_py.netfilter.nft import messages as nftables
from l3roamd_py.netfilter.nft import onward
from l3roamd_py.netfilter.nft.expressions import (
    ACCEPT,
    META_IIF_NAME,
    META_OIF_NAME,
    NETWORK,
    TRANSPORT,
    compare,
    device,
    load,
    lookup,
    verdict,
)
from l3roamd_py.netfilter.nft.gate import NftGate
from l3roamd_py.netfilter.nft.messages import POSTROUTING, PREROUTING, TYPE_IPV6, Chain, Element, Set
from l3roamd_py.netfilter.nft.rewrite import (
    ADDRESS_BYTES,
    DESTINATION,
    ICMPV6_ERROR,
    QUOTED,
    SOURCE,
    put,
    put_quoted,
)
from l3roamd_py.netfilter.nft.table import (
    find_element,
    is_whole,
    layout,
    list_elements,
    list_sets,
    raise_table,
    remove_table,
)
from l3roamd_py.netfilter.rules import (
    AGAIN_S,
    PLATS_MAX,
    PREFIX_BYTES,
    RulesError,
    name_of_plat,
    plat_of_name,
    spare_plats,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence

STEM = "plat_"
RANGE_BYTES = 6  # of a clat_range


class NftClatRules(NftGate):
    """ClatRules with a set of clients per PLAT. The current PLAT is an element of a set, for a restart."""

    def __init__(self, client_device: str, clat_device: str, queue: int = QUEUE):
        super().__init__(client_device, clat_device, queue)
        chains = [Chain("to_plat", PREROUTING, -360), Chain("from_plat", POSTROUTING, 300)]
        sets = [Set("current", TYPE_IPV6, ADDRESS_BYTES, has_timeout=False)]
        self.table = layout(nftables.IPV6, "l3roamd_clat", chains + onward.CHAINS, sets + onward.MAPS)
        self.onward = onward.NftOnward(self.netfilter, self.table)
        self.current: bytes | None = None
        self.plats: list[bytes] = []
        self.plat_of: dict[bytes, bytes] = {}

    def set_up(self) -> None:
        super().set_up()
        with refusal(f"cannot make table {self.table.name}"):
            with suppress_missing():
                found = list_elements(self.netfilter, self.table, "current")
                self.current = found[0].key if found else None
            self._raise()
            self.onward.take_over()
            self.plat_of = self._read_uses()

    def _raise(self) -> None:
        names = raise_table(self.netfilter, self.table, set_of_name, self._rules)
        self.plats = [plat for name in names if (plat := plat_of_name(STEM, name))]

    def tear_down(self) -> None:
        with refusal(f"cannot remove table {self.table.name}"):
            remove_table(self.netfilter, self.table.family, self.table.name)
        self.plats, self.plat_of, self.current = [], {}, None
        super().tear_down()

    def _restore(self) -> None:
        super()._restore()
        names = [name_of_plat(STEM, plat) for plat in self.plats]
        is_there = is_whole(self.netfilter, self.table, len(self._rules(names)))
        if is_there and set(names) <= set(list_sets(self.netfilter, self.table)):
            return
        self.notices.append(
            f"table ip6 {self.table.name}: somebody changed rules of ours; they are made again"
        )
        with suppress_missing():
            remove_table(self.netfilter, self.table.family, self.table.name)
        plat_of, plats, self.plats, self.plat_of = self.plat_of, self.plats, [], {}
        self._raise()
        self.set_current_plat(self.current)
        for client, plat in plat_of.items():
            if plat in plats:
                self.use_plat(client, plat, AGAIN_S)

    def use_plat(self, client: bytes, plat: bytes, lease_s: int) -> None:
        if plat not in self.plats and len(self.plats) >= PLATS_MAX:
            self._make_room()
        old = self.plat_of.get(client)
        plats, messages = self.plats, []
        if plat not in plats:
            plats = plats + [plat]
            messages = [nftables.add_set(self.table, set_of_plat(plat), 1)] + self._all_rules(plats)
        delete = [] if old is None else [self._delete(old, client)]
        add = self._add_element(
            name_of_plat(STEM, plat), Element(client, None, nftables.milliseconds(lease_s))
        )
        with refusal("cannot give a client its PLAT"):
            try:
                self._commit(messages + delete + [add])
            except TransactionError as error:
                if not delete or not is_missing(error):
                    raise
                self._commit(messages + [add])  # it expired meanwhile
        self.plats, self.plat_of[client] = plats, plat

    def _read_uses(self) -> dict[bytes, bytes]:
        return {
            element.key: plat
            for plat in self.plats
            for element in list_elements(self.netfilter, self.table, name_of_plat(STEM, plat))
        }

    def _make_room(self) -> None:
        with refusal("cannot read who uses which PLAT"):
            self.plat_of = self._read_uses()
        for plat in spare_plats(self.plats, self.plat_of):
            self.drop_plat(plat)

    def leave_plat(self, client: bytes, plat: bytes) -> None:
        if self.plat_of.get(client) == plat:
            del self.plat_of[client]
        if plat in self.plats:
            with refusal("cannot take a client's PLAT away"), suppress_missing():
                if find_element(self.netfilter, self.table, name_of_plat(STEM, plat), client):
                    self._commit([self._delete(plat, client)])

    def set_current_plat(self, plat: bytes | None) -> None:
        messages = [nftables.flush_set(self.table, "current")]
        messages += [self._add_element("current", Element(plat))] if plat else []
        before, self.current = self.current, plat
        try:
            with refusal("cannot change the current PLAT"):
                self._commit(messages + self._all_rules(self.plats))
        except RulesError:
            self.current = before
            raise

    def drop_plat(self, plat: bytes) -> None:
        if plat not in self.plats:
            return
        plats = [each for each in self.plats if each != plat]
        with refusal("cannot remove a PLAT's rules"):
            delete = nftables.delete_set(self.table, name_of_plat(STEM, plat))
            self._commit(self._all_rules(plats) + [delete])
        self.plats = plats
        self.plat_of = {client: each for client, each in self.plat_of.items() if each != plat}

    def _commit(self, messages: "Sequence[bytes]") -> None:
        self.netfilter.commit(SUBSYSTEM_NFTABLES, messages)

    def _add_element(self, name: str, element: Element) -> bytes:
        return nftables.add_elements(self.table.family, self.table.name, name, element, exclusive=False)

    def _delete(self, plat: bytes, client: bytes) -> bytes:
        return nftables.delete_elements(self.table.family, self.table.name, name_of_plat(STEM, plat), client)

    def _all_rules(self, plats: "Sequence[bytes]") -> list[bytes]:
        flush = [nftables.flush_chain(self.table, chain.name) for chain in self.table.chains]
        return flush + self._rules([name_of_plat(STEM, plat) for plat in plats])

    def _rules(self, names: "Sequence[str]") -> list[bytes]:
        rules = onward.rules(self.table, self.client_device)
        if self.clat_range is not None:  # to another node's client, which has no PLAT
            ours = device(META_IIF_NAME, self.clat_device) + load(NETWORK, DESTINATION, RANGE_BYTES)
            rules.append(
                nftables.add_rule(
                    self.table, "to_plat", ours, compare(self.clat_range[:RANGE_BYTES]), verdict(ACCEPT)
                )
            )
        for name in names:
            prefix = (plat_of_name(STEM, name) or b"")[:PREFIX_BYTES]
            rules += self._rules_to(name, prefix)
            if self.current:
                rules += self._rules_from(name, prefix, self.current[:PREFIX_BYTES])
        return rules

    def _rules_to(self, name: str, prefix: bytes) -> list[bytes]:
        ours = device(META_IIF_NAME, self.clat_device) + load(NETWORK, SOURCE, ADDRESS_BYTES) + lookup(name)
        return [
            nftables.add_rule(self.table, "to_plat", ours, put(DESTINATION, prefix)),
            nftables.add_rule(self.table, "to_plat", ours, ICMPV6_ERROR, put_quoted(SOURCE, prefix)),
        ]

    def _rules_from(self, name: str, prefix: bytes, current: bytes) -> list[bytes]:
        ours = device(META_OIF_NAME, self.clat_device)
        ours += load(NETWORK, DESTINATION, ADDRESS_BYTES) + lookup(name)
        is_from = load(NETWORK, SOURCE, PREFIX_BYTES) + compare(prefix)
        quotes = load(TRANSPORT, QUOTED + DESTINATION, PREFIX_BYTES) + compare(prefix)
        return [
            nftables.add_rule(self.table, "from_plat", ours, is_from, put(SOURCE, current)),
            nftables.add_rule(
                self.table, "from_plat", ours, ICMPV6_ERROR, quotes, put_quoted(DESTINATION, current)
            ),
        ]


def set_of_plat(plat: bytes) -> Set:
    return Set(name_of_plat(STEM, plat), TYPE_IPV6, ADDRESS_BYTES)


def set_of_name(name: str) -> Set | None:
    plat = plat_of_name(STEM, name)
    return set_of_plat(plat) if plat else None
