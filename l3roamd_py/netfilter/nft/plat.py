# SPDX-License-Identifier: ISC
"""The platnode's rules in nftables: stateless, one transaction a roam. Table `ip6 l3roamd_plat`.

Two maps serve all clients. `from` turns where a roamed client is into its home before conntrack (priority -350, after
defragmentation at -400). `to` turns it back after the NAT66 of the way back (-50, after -100). So conntrack never sees
that anybody moved. A packet's mark has a bit between them that says so, and a new flow is marked at the latter.

A client may be at home while the kernel still has it elsewhere: it came back when the daemon here did not answer. What
it begins there goes back there. A flow whose first packet came from a home itself has a bit in its conntrack mark. That
keeps it from `to`, until one of its packets comes by `from`. Bits of others stay.

ICMPv6 errors of this node itself do not pass prerouting. Two chains at output do the same for them, so that a client
hears why it is refused, and a server what fits.

Only what goes to the own PLAT is looked at. A platnode is a router of the mesh as well, and elsewhere the place is a
home of its own.

Elements have the lease as their timeout, so all of it ends without us. A serial is the comment of its element.

A flow table (offloading) that takes the PLAT's packets past prerouting would pass by these rules as well.
"""

import errno

from l3roamd_py.core.mapping import Mapping
from l3roamd_py.netfilter.nfnetlink import (
    SUBSYSTEM_NFTABLES,
    NetfilterSocket,
    TransactionError,
    is_missing,
    refusal,
)
from l3roamd_py.netfilter.nft import messages as nftables
from l3roamd_py.netfilter.nft.expressions import (
    ACCEPT,
    CT_MARK,
    CT_NEW,
    CT_STATE,
    META_IIF_NAME,
    META_MARK,
    NETWORK,
    NOT_EQUAL,
    conntrack,
    device,
    goto,
    has,
    in_prefix,
    load,
    meta,
    put_bit,
    set_conntrack_mark,
    set_mark,
    translate,
    verdict,
)
from l3roamd_py.netfilter.nft.messages import OUTPUT, PREROUTING, TYPE_IPV6, Chain, Element, Set
from l3roamd_py.netfilter.nft.rewrite import (
    ADDRESS_BYTES,
    DESTINATION,
    ICMPV6_ERROR,
    SOURCE,
    swap,
    swap_quoted,
)
from l3roamd_py.netfilter.nft.table import (
    find_element,
    generation,
    is_whole,
    layout,
    list_elements,
    raise_table,
    remove_table,
)
from l3roamd_py.netfilter.rules import PREFIX_BYTES, Checks, RulesError, independent_rounds, serial_of
from runtime.ordered import each_once
from runtime.sockets import EBUSY

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ATTEMPTS = 4  # what may expire or appear between two tries of one roam
CLASHES = (errno.EEXIST, EBUSY)
# of a packet, up to behind NAT: it came by `from`; of a flow: it began at home. The same bit as the gate's
BIT = 0x20000000


MAPS = tuple(Set(name, TYPE_IPV6, 16, TYPE_IPV6, 16) for name in ("from", "to"))
CHAINS = (
    Chain("before_conntrack", PREROUTING, -350),
    Chain("came"),
    Chain("after_nat", PREROUTING, -50),
    Chain("known"),
    Chain("leaves"),
    Chain("own_before_conntrack", OUTPUT, -350),
    Chain("own_after_conntrack", OUTPUT, -50, "route"),
)
TABLE = layout(nftables.IPV6, "l3roamd_plat", CHAINS, MAPS)


class NftPlatRules:
    """PlatRules with two maps. plat_device: the translator's; plat: the first address of the own /96."""

    table = TABLE

    def __init__(self, plat_device: str, plat: bytes):
        self.device, self.plat = plat_device, plat
        self.netfilter = NetfilterSocket()
        self.checks = Checks(lambda: generation(self.netfilter))

    def set_up(self) -> None:
        with refusal(f"cannot make table {self.table.name}"):
            raise_table(self.netfilter, self.table, self._rules())

    def tear_down(self) -> None:
        with refusal(f"cannot remove table {self.table.name}"):
            remove_table(self.netfilter, self.table)

    def close(self) -> None:
        self.netfilter.close()

    def tick(self, now_s: float) -> bool:
        with refusal(f"cannot look for table {self.table.name}"):
            if not self.checks.is_due(now_s) or is_whole(self.netfilter, self.table, len(self._rules())):
                return False
        self.set_up()
        return True

    def _rules(self) -> list[bytes]:
        """A packet of the mesh's own meets what is cheap of the first rule or two of a chain, and no more."""
        into = in_prefix(NETWORK, DESTINATION, self.plat, 8 * PREFIX_BYTES)
        into += device(META_IIF_NAME, self.device, NOT_EQUAL)
        begins = conntrack(CT_STATE) + has(CT_NEW) + into + load(NETWORK, SOURCE, ADDRESS_BYTES)
        came_by_from, at_home = meta(META_MARK) + has(BIT), conntrack(CT_MARK) + has(BIT)
        quoted_from, quoted_to = swap_quoted("from", DESTINATION), swap_quoted("to", SOURCE)
        rules = (
            ("before_conntrack", into + goto("came")),
            ("came", swap("from", SOURCE) + meta(META_MARK) + put_bit(BIT, True) + set_mark()),
            ("came", quoted_from),
            ("after_nat", came_by_from + into + goto("known")),
            (
                "after_nat",
                begins + translate("to") + conntrack(CT_MARK) + put_bit(BIT, True) + set_conntrack_mark(),
            ),
            ("known", at_home + conntrack(CT_MARK) + put_bit(BIT, False) + set_conntrack_mark()),
            ("known", meta(META_MARK) + put_bit(BIT, False) + set_mark()),
            ("after_nat", device(META_IIF_NAME, self.device) + goto("leaves")),
            ("leaves", at_home + verdict(ACCEPT)),
            ("leaves", swap("to", DESTINATION)),
            ("leaves", quoted_to),
            ("own_before_conntrack", quoted_from),
            ("own_after_conntrack", ICMPV6_ERROR + at_home + verdict(ACCEPT)),
            ("own_after_conntrack", quoted_to),
            ("own_after_conntrack", ICMPV6_ERROR + swap("to", DESTINATION)),
        )
        return [nftables.add_rule(self.table, chain, rule) for chain, rule in rules]

    def map_clients(self, mappings: "Sequence[Mapping]") -> list[RulesError | None]:
        results: list[RulesError | None] = [None] * len(mappings)
        for indices in independent_rounds(mappings):
            if self._map([mappings[index] for index in indices]) is not None:
                # one of them spoils a transaction for all: each for itself says which
                for index in indices:
                    results[index] = self._map([mappings[index]])
        return results

    def _map(self, mappings: "Sequence[Mapping]") -> RulesError | None:
        try:
            with refusal(f"cannot map {len(mappings)} client(s)"):
                self._install(mappings)
        except RulesError as error:
            return error
        return None

    def _install(self, mappings: "Sequence[Mapping]") -> None:
        """Do mappings in one transaction; what is in the way, or is gone, is found out by trying."""
        in_the_way: list[bytes] = []
        gone: set[bytes] = set()
        for _ in range(ATTEMPTS):
            wanted = in_the_way + [each for mapping in mappings for each in self._replacement(mapping)]
            messages = each_once(wanted, gone)
            try:
                return self.netfilter.commit(SUBSYSTEM_NFTABLES, messages)
            except TransactionError as error:
                now_gone = missing_deletions(messages, error)
                in_the_way = self._in_the_way(mappings, error)
                gone = (gone | now_gone).difference(in_the_way)
                if not now_gone and not in_the_way:
                    if not is_missing(error):
                        raise
                    self.set_up()  # somebody flushed what is not theirs
        raise RulesError("cannot map clients: somebody else changes the table all the time")

    def _replacement(self, mapping: Mapping) -> list[bytes]:
        messages = []
        # it may be over, or another client may have come to where this one was
        if mapping.was is not None and mapping.home in self._told("from", mapping.was):
            messages = [self._delete("from", mapping.was), self._delete("to", mapping.home)]
        if mapping.at == mapping.home:
            return messages
        expires_ms, serial = nftables.milliseconds(mapping.lease_s), str(mapping.serial)
        return messages + [
            self._add("from", Element(mapping.at, mapping.home, expires_ms, serial)),
            self._add("to", Element(mapping.home, mapping.at, expires_ms)),
        ]

    def _in_the_way(self, mappings: "Sequence[Mapping]", error: TransactionError) -> list[bytes]:
        """Deletions of what the kernel holds for these homes and places, on either side."""
        if not any(code in CLASHES for code in error.errors.values()):
            return []
        homes = {each.home for each in mappings}
        places = {each.at for each in mappings if each.at != each.home}
        homes |= {home for at in places if (home := self._get("from", at))}
        places |= {at for home in homes if (at := self._get("to", home))}
        return [self._delete("from", at) for at in places if self._get("from", at) in homes] + [
            self._delete("to", home) for home in homes if self._get("to", home)
        ]

    def _add(self, name: str, element: Element) -> bytes:
        return nftables.add_elements(self.table.family, self.table.name, name, element)

    def _delete(self, name: str, key: bytes) -> bytes:
        return nftables.delete_elements(self.table.family, self.table.name, name, key)

    def _told(self, name: str, key: bytes) -> bytes:
        return find_element(self.netfilter, self.table, name, key)

    def _get(self, name: str, key: bytes) -> bytes | None:
        for element in nftables.elements_of(self._told(name, key)):
            return element.data
        return None

    def mappings(self) -> "Iterable[Mapping]":
        with refusal("cannot read the mappings"):
            elements = list_elements(self.netfilter, self.table, "from")
        for each in elements:
            if each.data and each.expires_ms is not None:
                serial = serial_of(each.comment or "") or 0
                yield Mapping(each.data, each.key, None, -(-each.expires_ms // 1000), serial)


def missing_deletions(messages: "Sequence[bytes]", error: TransactionError) -> set[bytes]:
    """The deletions in a transaction that failed because nothing is there."""
    return {
        messages[index]
        for index, code in error.errors.items()
        if code == errno.ENOENT and nftables.is_deletion(messages[index])
    }
