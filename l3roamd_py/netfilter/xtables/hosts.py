# SPDX-License-Identifier: ISC
"""What hosts that translate themselves send to pref64 goes to a PLAT, by ip6tables' NETMAP and ipset.

A set per PLAT that is not the node's, with the addresses that use it (core/own_plats.py). Connection tracking remembers
NETMAP for each flow, and puts right what comes back and what ICMPv6 errors quote; so what is open when the node's PLAT
changes stays where it is. A flow that is in no table begins with either end: the last rule is for the server's.
"""

import socket

from l3roamd_py.netfilter.rules import PLATS_MAX, name_of_plat, plat_of_name, spare_plats
from l3roamd_py.netfilter.xtables.ipset import IpSet, Member
from l3roamd_py.netfilter.xtables.saved import OwnChain
from xlat464.address import format_ipv6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    from l3roamd_py.netfilter.xtables.chains import Chains
    from l3roamd_py.netfilter.xtables.ipset import IpSets

FROM_HOSTS = OwnChain("ip6tables", "nat", "PREROUTING", "L3ROAMD_from_hosts")
TO_HOSTS = OwnChain("ip6tables", "nat", "POSTROUTING", "L3ROAMD_to_hosts")
HOST_SET = "l3roamh"  # and 24 digits
FOR_EVER = 0


class XtablesHosts:
    """Raises OSError and RulesError as IpSets and Chains do. Whoever adds a PLAT waits for the rules: unwritten."""

    def __init__(
        self, sets: "IpSets", chains: "Chains", client_device: str, pref64: bytes, plat_range: bytes
    ) -> None:
        self.sets, self.chains, self.client_device = sets, chains, client_device
        self.pref64, self.plat_range = pref64, plat_range
        self.current: bytes | None = None
        self.plats: list[bytes] = []
        self.plat_of: dict[bytes, bytes] = {}
        self.unwritten: set[bytes] = set()
        self.doomed: list[bytes] = []

    def set_up(self, current: bytes | None) -> None:
        self.current, self.plats = current, plats_there(self.sets)
        self.plat_of = {
            member.address: plat
            for plat in self.plats
            for member in self.sets.members(name_of_plat(HOST_SET, plat))
        }
        self.want()

    def make_sets(self) -> None:
        """Make again what somebody took away."""
        if self.sets.count([name_of_plat(HOST_SET, plat) for plat in self.plats]) == len(self.plat_of):
            return
        for plat in self.plats:
            self.sets.create(set_of(plat))
        for client, plat in self.plat_of.items():
            self.sets.add(name_of_plat(HOST_SET, plat), Member(client, FOR_EVER))

    def use(self, clients: "Iterable[bytes]", plat: bytes) -> list[bytes]:
        """Return who had another one, or none. Raises RulesError when there are too many PLATs that are used."""
        if plat not in self.plats:
            if len(self.plats) >= PLATS_MAX:
                for spare in spare_plats(self.plats, self.plat_of):
                    self.drop(spare)
            self.sets.create(set_of(plat))
            self.plats.append(plat)
            if plat in self.doomed:
                self.doomed.remove(plat)
            self.unwritten.add(plat)
            self.want()
        moved = [client for client in clients if self.plat_of.get(client) != plat]
        for client in moved:
            self.leave(client)
            self.sets.add(name_of_plat(HOST_SET, plat), Member(client, FOR_EVER))
            self.plat_of[client] = plat
        return moved

    def leave(self, client: bytes) -> bool:
        plat = self.plat_of.pop(client, None)
        if plat is not None:
            self.sets.delete(name_of_plat(HOST_SET, plat), client)
        return plat is not None

    def drop(self, plat: bytes) -> list[bytes]:
        """Return who used it."""
        used = [client for client, each in self.plat_of.items() if each == plat]
        for client in used:
            self.leave(client)
        if plat in self.plats:
            self.plats.remove(plat)
            self.doomed.append(plat)
            self.want()
        return used

    def set_current(self, plat: bytes | None) -> None:
        self.current = plat
        self.want()

    def want(self) -> None:
        match = f"-i {self.client_device} -d {network(self.pref64)}"
        rules = [
            f"{match} -m set --match-set {name_of_plat(HOST_SET, plat)} src -j NETMAP --to {network(plat)}"
            for plat in self.plats
        ]
        if self.current is not None:
            rules.append(f"{match} -j NETMAP --to {network(self.current)}")
        self.chains.want(FROM_HOSTS, rules)
        back = f"-o {self.client_device} -s {format_ipv6(self.plat_range)}/48"
        self.chains.want(TO_HOSTS, [f"{back} -j NETMAP --to {network(self.pref64)}"])

    def note_written(self) -> None:
        """All rules are as wanted."""
        self.unwritten.clear()
        for plat in self.doomed:
            self.sets.destroy(name_of_plat(HOST_SET, plat))
        self.doomed = []


def set_of(plat: bytes) -> IpSet:
    return IpSet(name_of_plat(HOST_SET, plat), socket.AF_INET6, has_timeout=True)


def plats_there(sets: "IpSets") -> list[bytes]:
    """The PLATs that the kernel has a set for."""
    return [plat for name in sets.names(HOST_SET) if (plat := plat_of_name(HOST_SET, name))]


def network(plat: bytes) -> str:
    return format_ipv6(plat) + "/96"
