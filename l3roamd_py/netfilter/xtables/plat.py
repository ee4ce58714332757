# SPDX-License-Identifier: ISC
"""The platnode's rules for kernels without nftables: conntrack entries, and a set of who is where.

The client's conntrack entries get its new place as their source (conntrack.py). New flows need nothing, for NAT66, or
Jool, takes any source of the CLAT range. A set keeps who is where, with the lease as timeout and the serial, for a
restart.
"""

import socket
from collections.abc import Iterable, Sequence

from l3roamd_py.core.mapping import Mapping
from l3roamd_py.netfilter.conntrack import Conntrack
from l3roamd_py.netfilter.nfnetlink import refusal
from l3roamd_py.netfilter.rules import Looks, RulesError, are_independent
from l3roamd_py.netfilter.xtables.clat import seconds
from l3roamd_py.netfilter.xtables.gate import packed
from l3roamd_py.netfilter.xtables.ipset import IpSet, IpSets, Member

ROAMED = IpSet("l3roamd_roamed", socket.AF_INET6, has_timeout=True)
PREFIX_BYTES = 12  # of a /96


class XtablesPlatRules:
    """PlatRules with conntrack entries. The arguments are those of NftPlatRules; nothing hangs on the device here."""

    def __init__(self, plat_device: str, plat: bytes):
        self.device, self.plat = plat_device, plat
        self.sets, self.conntrack = IpSets(), Conntrack()
        self.looks = Looks()

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
            if not self.looks.is_due(now_s) or self.sets.names(ROAMED.name):
                return False
        self.set_up()
        return True

    def map_clients(self, mappings: Sequence[Mapping]) -> list[RulesError | None]:
        if not are_independent(mappings):
            return [error for each in mappings for error in self.map_clients([each])]
        moves = {each.was or each.home: each.at for each in mappings}
        try:
            failed = self._move(moves)
        except RulesError as error:
            return [error] * len(mappings)
        return [self._note(each, failed.get(each.was or each.home)) for each in mappings]

    def _note(self, mapping: Mapping, failure: OSError | None) -> RulesError | None:
        comment = f"{mapping.at.hex()} {mapping.serial}"
        try:
            with refusal("cannot map a client"):
                if failure:
                    raise failure
                self.sets.add(ROAMED.name, Member(mapping.home, seconds(mapping.lease_s), comment))
        except RulesError as error:
            return error
        return None

    def _move(self, moves: dict[bytes, bytes]) -> dict[bytes, OSError]:
        with refusal("cannot read the connections"):
            return self.conntrack.rehome(
                {old: new for old, new in moves.items() if old != new}, self.plat[:PREFIX_BYTES]
            )

    def unmap_client(self, home: bytes, was: bytes) -> None:
        failed = self._move({was: home})
        with refusal("cannot unmap a client"):
            self.sets.delete(ROAMED.name, home)
            for error in failed.values():
                raise error

    def mappings(self) -> Iterable[Mapping]:
        with refusal("cannot read the mappings"):
            members = self.sets.members(ROAMED.name)
        for each in members:
            word, _, serial = (each.comment or "").partition(" ")
            if serial.isdecimal() and (at := packed(word, 16)):
                yield Mapping(each.address, at, None, each.timeout_s or 0, int(serial))
