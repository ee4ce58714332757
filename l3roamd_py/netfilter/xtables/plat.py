# SPDX-License-Identifier: ISC
"""The platnode's rules for kernels without nftables: conntrack entries, and a set of who is where.

The client's conntrack entries get its new place as their source (conntrack.py). New flows need nothing, for NAT66, or
Jool, takes any source of the CLAT range. A set keeps who is where, with the lease as timeout and the serial, for a
restart.

All entries have to be looked at to find a client's, so it is done once for all mappings of a round.
"""

import errno
import socket

from l3roamd_py.core.mapping import Mapping
from l3roamd_py.netfilter.nfnetlink import refusal
from l3roamd_py.netfilter.rules import PREFIX_BYTES, Checks, RulesError, serial_of
from l3roamd_py.netfilter.xtables import ipset
from l3roamd_py.netfilter.xtables.clat import seconds
from l3roamd_py.netfilter.xtables.conntrack import Conntrack
from l3roamd_py.netfilter.xtables.gate import packed
from l3roamd_py.netfilter.xtables.ipset import IpSet, IpSets, Member
from runtime.sockets import error_number, phrase_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

ROAMED = IpSet("l3roamd_roamed", socket.AF_INET6, has_timeout=True)


class XtablesPlatRules:
    """PlatRules with conntrack entries. The arguments are those of NftPlatRules; nothing hangs on the device here."""

    def __init__(self, plat_device: str, plat: bytes):
        self.device, self.plat = plat_device, plat
        self.sets, self.conntrack = IpSets(), Conntrack()
        self.checks = Checks(lambda: None)  # sets have no number

    def set_up(self) -> None:
        with refusal("cannot keep who has roamed"):
            self.sets.create(ROAMED)

    def tear_down(self) -> None:
        with refusal("cannot remove who has roamed"):
            self.sets.destroy(ROAMED.name)

    def close(self) -> None:
        self.sets.close()
        self.conntrack.close()

    def tick(self, now_s: float) -> bool:
        """The connections of who has roamed are nobody's rules; the set may be gone."""
        with refusal("cannot look for who has roamed"):
            if not self.checks.is_due(now_s) or self.sets.names(ROAMED.name):
                return False
        self.set_up()
        return True

    def map_clients(self, mappings: "Sequence[Mapping]") -> list[RulesError | None]:
        moves, moved = compose(mappings)
        try:
            with refusal("cannot read the connections"):
                failed = self.conntrack.rehome(moves, self.plat[:PREFIX_BYTES])
            with refusal("cannot note who has roamed"):
                refused = self.sets.netfilter.failures([note(each) for each in mappings])
        except RulesError as error:
            return [error] * len(mappings)
        errors: list[RulesError | None] = []
        for place, sources in enumerate(moved):
            codes = [error_number(failed[source]) or errno.EIO for source in sources if source in failed]
            is_gone = is_at_home(mappings[place]) and refused.get(place) in ipset.MISSING
            codes += [] if is_gone or place not in refused else [refused[place]]
            errors.append(RulesError(f"cannot map a client: {phrase_of(codes[0])}") if codes else None)
        return errors

    def mappings(self) -> "Iterable[Mapping]":
        with refusal("cannot read the mappings"):
            members = self.sets.members(ROAMED.name)
        for each in members:
            word, _, text = (each.comment or "").partition(" ")
            at, serial = packed(word, 16), serial_of(text)
            if at and serial is not None:
                yield Mapping(each.address, at, None, each.timeout_s or 0, serial)


def is_at_home(mapping: Mapping) -> bool:
    return mapping.at == mapping.home


def note(mapping: Mapping) -> bytes:
    """What has the set say where a client is."""
    if is_at_home(mapping):
        return ipset.delete(ROAMED.name, mapping.home)
    comment = f"{mapping.at.hex()} {mapping.serial}"
    return ipset.add(ROAMED.name, Member(mapping.home, seconds(mapping.lease_s), comment))


def compose(mappings: "Sequence[Mapping]") -> tuple[dict[bytes, bytes], list[set[bytes]]]:
    """What mappings come to that are done in this order, as one move of each old source, and whom each of them moves.

    A client may go on before its last move is carried out: then its entries go the whole way at once.
    """
    moves: dict[bytes, bytes] = {}
    came: dict[bytes, set[bytes]] = {}  # place -> the old sources of what has come there
    moved = []
    for each in mappings:
        old, new = each.was or each.home, each.at
        sources: set[bytes] = set()
        if old != new:
            sources = came.pop(old, set()) | (set() if old in moves else {old})
            for source in sources:
                moves[source] = new
            came.setdefault(new, set()).update(sources)
        moved.append(sources)
    return {old: new for old, new in moves.items() if old != new}, moved
