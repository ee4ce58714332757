# SPDX-License-Identifier: ISC
"""The rules of a roam in nftables: stateless, one table a role, one transaction a roam.

Platnode, table `ip6 l3roamd_plat`: two maps for all clients. `from` turns where a roamed client is into its home before
conntrack (priority -350, after defragmentation at -400), `to` turns it back after the NAT66 of the way back (-50, after
-100). So conntrack never sees that anybody moved. Only what goes to the own PLAT is looked at: a platnode is a
router of the mesh as well, and elsewhere the place is a home of its own.

Clatnode, table `ip6 l3roamd_clat`: a set of clients per PLAT. What leaves the CLAT device has the current PLAT as its
destination; for a client in the set the client's own takes its place, and on the way back the other way round. The
gate is in gate.py.

Elements have the lease as their timeout, so all of it ends without us. A serial is the comment of its element.
"""

import errno
from collections.abc import Iterable, Sequence

from l3roamd_py import nftables
from l3roamd_py.gate import QUEUE
from l3roamd_py.gate_nft import NftGate
from l3roamd_py.nfnetlink import (
    SUBSYSTEM_NFTABLES,
    NetfilterSocket,
    NetlinkError,
    TransactionError,
    is_missing,
    refusal,
    suppress_missing,
)
from l3roamd_py.nftables import (
    META_IIF_NAME,
    META_OIF_NAME,
    NETWORK,
    NOT_EQUAL,
    POSTROUTING,
    PREROUTING,
    TRANSPORT,
    TYPE_IPV6,
    Chain,
    Element,
    Set,
    compare,
    device,
    load,
    lookup,
)
from l3roamd_py.nftables_rewrite import (
    ADDRESS_BYTES,
    DESTINATION,
    ICMPV6_ERROR,
    PREFIX_BYTES,
    QUOTED,
    SOURCE,
    put,
    put_quoted,
    swap,
    swap_quoted,
)
from l3roamd_py.nftables_table import layout, list_elements, raise_table, remove_table
from l3roamd_py.rules import Mapping, RulesError

ATTEMPTS = 4  # what may expire or appear between two tries of one roam
CLASHES = (errno.EEXIST, errno.EBUSY)


def milliseconds(lease_s: int) -> int:
    return max(lease_s, 1) * 1000


class NftPlatRules:
    """PlatRules with two maps. plat_device: the translator's; plat: the first address of the own /96."""

    def __init__(self, plat_device: str, plat: bytes):
        self.device, self.plat = plat_device, plat
        maps = [Set(name, TYPE_IPV6, 16, TYPE_IPV6, 16) for name in ("from", "to")]
        chains = [
            Chain("before_conntrack", PREROUTING, -350),
            Chain("after_nat", PREROUTING, -50),
        ]
        self.table = layout(nftables.IPV6, "l3roamd_plat", chains, maps)
        self.netfilter = NetfilterSocket()

    def set_up(self) -> None:
        with refusal(f"cannot make table {self.table.name}"):
            raise_table(self.netfilter, self.table, lambda name: None, lambda names: self._rules())

    def tear_down(self) -> None:
        with refusal(f"cannot remove table {self.table.name}"):
            remove_table(self.netfilter, self.table.family, self.table.name)

    def close(self) -> None:
        self.netfilter.close()

    def _rules(self) -> list[bytes]:
        into = device(META_IIF_NAME, self.device, NOT_EQUAL)
        into += load(NETWORK, DESTINATION, PREFIX_BYTES) + compare(self.plat[:PREFIX_BYTES])
        out = device(META_IIF_NAME, self.device)
        return [
            nftables.add_rule(self.table, chain, device_and_prefix, found)
            for chain, device_and_prefix, rules in (
                ("before_conntrack", into, (swap("from", SOURCE), swap_quoted("from", DESTINATION))),
                ("after_nat", out, (swap("to", DESTINATION), swap_quoted("to", SOURCE))),
            )
            for found in rules
        ]

    def map_clients(self, mappings: Sequence[Mapping]) -> list[RulesError | None]:
        if not mappings:
            return []
        error = self._map(mappings)
        if error is None:
            return [None] * len(mappings)
        # one of them spoils a transaction for all: each for itself says which
        return [error] if len(mappings) == 1 else [self._map([each]) for each in mappings]

    def _map(self, mappings: Sequence[Mapping]) -> RulesError | None:
        """Install mappings in one transaction; what is in the way, or is not there any more, is found out by trying."""
        what = f"cannot map {len(mappings)} client(s)"
        in_the_way: list[bytes] = []
        absent: set[bytes] = set()
        try:
            with refusal(what):
                for _ in range(ATTEMPTS):
                    wanted = in_the_way + [
                        each for mapping in mappings for each in self._replacement(mapping)
                    ]
                    messages = [each for each in wanted if each not in absent]
                    try:
                        self.netfilter.commit(SUBSYSTEM_NFTABLES, messages)
                        return None
                    except TransactionError as error:
                        gone = missing_deletions(messages, error)
                        in_the_way = self._in_the_way(mappings, error)
                        if not gone and not in_the_way:
                            raise
                        absent = (absent | gone).difference(in_the_way)
        except RulesError as error:
            return error
        return RulesError(f"{what}: somebody else changes the table all the time")

    def _replacement(self, mapping: Mapping) -> list[bytes]:
        messages = []
        if mapping.was is not None:
            # another client may have come to where this one was
            is_still_ours = self._get("from", mapping.was) == mapping.home
            messages = [self._delete("from", mapping.was)] if is_still_ours else []
            messages.append(self._delete("to", mapping.home))
        expires_ms, serial = milliseconds(mapping.lease_s), str(mapping.serial)
        return [
            *messages,
            self._add("from", Element(mapping.at, mapping.home, expires_ms, serial)),
            self._add("to", Element(mapping.home, mapping.at, expires_ms)),
        ]

    def _in_the_way(self, mappings: Sequence[Mapping], error: TransactionError) -> list[bytes]:
        """Deletions of what the kernel holds for these homes and places, on either side."""
        if not any(code in CLASHES for code in error.errors.values()):
            return []
        homes = {each.home for each in mappings}
        places = {each.at for each in mappings}
        homes |= {home for at in places if (home := self._get("from", at))}
        places |= {at for home in homes if (at := self._get("to", home))}
        return [self._delete("from", at) for at in places if self._get("from", at) in homes] + [
            self._delete("to", home) for home in homes if self._get("to", home)
        ]

    def _add(self, name: str, element: Element) -> bytes:
        return nftables.add_elements(self.table.family, self.table.name, name, element)

    def _delete(self, name: str, key: bytes) -> bytes:
        return nftables.delete_elements(self.table.family, self.table.name, name, key)

    def _get(self, name: str, key: bytes) -> bytes | None:
        try:
            request = nftables.get_element(self.table.family, self.table.name, name, key)
            for answer in self.netfilter.dump(request):
                for element in nftables.elements_of(answer):
                    return element.data
        except NetlinkError as error:
            if not is_missing(error):
                raise
        return None

    def unmap_client(self, home: bytes, was: bytes) -> None:
        with refusal("cannot unmap a client"):
            is_still_ours = self._get("from", was) == home
            deletions = [self._delete("to", home)] + ([self._delete("from", was)] if is_still_ours else [])
            for each in deletions:
                with suppress_missing():
                    self.netfilter.commit(SUBSYSTEM_NFTABLES, [each])

    def mappings(self) -> Iterable[Mapping]:
        with refusal("cannot read the mappings"):
            elements = list_elements(self.netfilter, self.table, "from")
        for each in elements:
            if each.data and each.expires_ms is not None:
                comment = each.comment or ""
                serial = int(comment) if comment.isdecimal() else 0
                yield Mapping(each.data, each.key, None, -(-each.expires_ms // 1000), serial)


def missing_deletions(messages: Sequence[bytes], error: TransactionError) -> set[bytes]:
    """The deletions in a transaction that failed because nothing is there."""
    return {
        messages[index]
        for index, code in error.errors.items()
        if code == errno.ENOENT and nftables.is_deletion(messages[index])
    }


class NftClatRules(NftGate):
    """ClatRules with a set of clients per PLAT. The current PLAT is an element of a set, for a restart."""

    def __init__(self, client_device: str, clat_device: str, queue: int = QUEUE):
        super().__init__(client_device, clat_device, queue)
        chains = [Chain("to_plat", PREROUTING, -360), Chain("from_plat", POSTROUTING, 300)]
        sets = [Set("current", TYPE_IPV6, ADDRESS_BYTES, has_timeout=False)]
        self.table = layout(nftables.IPV6, "l3roamd_clat", chains, sets)
        self.current: bytes | None = None
        self.plats: list[bytes] = []
        self.plat_of: dict[bytes, bytes] = {}

    def set_up(self) -> None:
        super().set_up()
        with refusal(f"cannot make table {self.table.name}"):
            with suppress_missing():
                found = list_elements(self.netfilter, self.table, "current")
                self.current = found[0].key if found else None
            names = raise_table(self.netfilter, self.table, set_of_name, self._rules)
            self.plats = [plat for name in names if (plat := plat_of_name(name))]
            self.plat_of = {
                element.key: plat
                for plat in self.plats
                for element in list_elements(self.netfilter, self.table, name_of_plat(plat))
            }

    def tear_down(self) -> None:
        with refusal(f"cannot remove table {self.table.name}"):
            remove_table(self.netfilter, self.table.family, self.table.name)
        self.plats, self.plat_of, self.current = [], {}, None
        super().tear_down()

    def use_plat(self, client: bytes, plat: bytes, lease_s: int) -> None:
        old = self.plat_of.get(client)
        plats, messages = self.plats, []
        if plat not in plats:
            plats = [*plats, plat]
            messages = [nftables.add_set(self.table, set_of_plat(plat), 1), *self._all_rules(plats)]
        delete = [] if old is None else [self._delete(old, client)]
        add = self._add_element(name_of_plat(plat), Element(client, None, milliseconds(lease_s)))
        with refusal("cannot give a client its PLAT"):
            try:
                self._commit([*messages, *delete, add])
            except TransactionError as error:
                if not delete or not is_missing(error):
                    raise
                self._commit([*messages, add])  # it expired meanwhile
        self.plats, self.plat_of[client] = plats, plat

    def leave_plat(self, client: bytes, plat: bytes) -> None:
        if self.plat_of.get(client) == plat:
            del self.plat_of[client]
        if plat in self.plats:
            with refusal("cannot take a client's PLAT away"), suppress_missing():
                self._commit([self._delete(plat, client)])

    def set_current_plat(self, plat: bytes | None) -> None:
        messages = [nftables.flush_set(self.table, "current")]
        messages += [self._add_element("current", Element(plat))] if plat else []
        before, self.current = self.current, plat
        try:
            with refusal("cannot change the current PLAT"):
                self._commit([*messages, *self._all_rules(self.plats)])
        except RulesError:
            self.current = before
            raise

    def drop_plat(self, plat: bytes) -> None:
        if plat not in self.plats:
            return
        plats = [each for each in self.plats if each != plat]
        with refusal("cannot remove a PLAT's rules"):
            self._commit([*self._all_rules(plats), nftables.delete_set(self.table, name_of_plat(plat))])
        self.plats = plats
        self.plat_of = {client: each for client, each in self.plat_of.items() if each != plat}

    def _commit(self, messages: Sequence[bytes]) -> None:
        self.netfilter.commit(SUBSYSTEM_NFTABLES, messages)

    def _add_element(self, name: str, element: Element) -> bytes:
        return nftables.add_elements(self.table.family, self.table.name, name, element, exclusive=False)

    def _delete(self, plat: bytes, client: bytes) -> bytes:
        return nftables.delete_elements(self.table.family, self.table.name, name_of_plat(plat), client)

    def _all_rules(self, plats: Sequence[bytes]) -> list[bytes]:
        flush = [nftables.flush_chain(self.table, chain.name) for chain in self.table.chains]
        return flush + self._rules([name_of_plat(plat) for plat in plats])

    def _rules(self, names: Sequence[str]) -> list[bytes]:
        rules = []
        for name in names:
            prefix = (plat_of_name(name) or b"")[:PREFIX_BYTES]
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


def name_of_plat(plat: bytes) -> str:
    return "plat_" + plat[:PREFIX_BYTES].hex()


def plat_of_name(name: str) -> bytes | None:
    """The PLAT whose set has this name, None if it is no such set."""
    try:
        prefix = bytes.fromhex(name.removeprefix("plat_"))
    except ValueError:
        return None
    is_plat = name.startswith("plat_") and len(prefix) == PREFIX_BYTES
    return prefix + bytes(4) if is_plat else None


def set_of_plat(plat: bytes) -> Set:
    return Set(name_of_plat(plat), TYPE_IPV6, ADDRESS_BYTES)


def set_of_name(name: str) -> Set | None:
    plat = plat_of_name(name)
    return set_of_plat(plat) if plat else None
