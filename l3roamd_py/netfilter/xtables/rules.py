# SPDX-License-Identifier: ISC
"""The rules of a roam for kernels without nftables: iptables, ipset and conntrack entries.

Clatnode, as the seed has it: a set of clients per PLAT and a pair of NETMAP rules for each. A program runs only when a
PLAT comes or goes; a client is an element of a set. NETMAP is kept by conntrack, so entries from the time of another
PLAT are removed when that changes: a flow is taken up again in the middle, with the addresses that are right now. Until
then nothing may go to a PLAT that we have not heard of: its entry would have the old one's answers, so another source
port, and the server would end a connection that it does not know.

The gate: a set of IPv4 addresses (a set of MACs with them is not in every kernel; the MAC is kept as a comment), a
chain that sends all others to NFQUEUE, and a rule for each client that was refused.

Platnode: the client's conntrack entries get its new place as their source (conntrack.py). New flows need nothing,
for NAT66, or Jool, takes any source of the CLAT range. A set keeps who is where, with the lease as timeout and the
serial, for a restart.
"""

import ipaddress
import socket
from collections.abc import Iterable, Sequence

from l3roamd_py.core.mapping import Mapping
from l3roamd_py.netfilter.conntrack import Conntrack
from l3roamd_py.netfilter.gate import QUEUE, Client, Gate
from l3roamd_py.netfilter.nfnetlink import refusal
from l3roamd_py.netfilter.rules import PLATS_MAX, RulesError, are_independent, spare_plats
from l3roamd_py.netfilter.set_names import name_of_plat, plat_of_name
from l3roamd_py.netfilter.xtables.chains import OwnChain, queue_rule
from l3roamd_py.netfilter.xtables.ipset import IpSet, IpSets, Member

OPEN = IpSet("l3roamd_open", socket.AF_INET, has_timeout=False)
CURRENT = IpSet("l3roamd_current", socket.AF_INET6, has_timeout=False)
ROAMED = IpSet("l3roamd_roamed", socket.AF_INET6, has_timeout=True)
PLAT_SET = "l3roam_"  # and 24 digits: ipset has room for 31 characters
PREFIX_BYTES = 12  # of a /96
REFUSED_MAX = 256  # rules; the oldest goes, and knocks at the gate again

GATE = OwnChain("iptables", "mangle", "FORWARD", "L3ROAMD_gate")
TO_PLAT = OwnChain("ip6tables", "nat", "PREROUTING", "L3ROAMD_to_plat")
FROM_PLAT = OwnChain("ip6tables", "nat", "POSTROUTING", "L3ROAMD_from_plat")
UNHEARD_PLAT = OwnChain("ip6tables", "mangle", "PREROUTING", "L3ROAMD_unheard_plat")


def seconds(lease_s: int) -> int:
    return max(lease_s, 1)


class XtablesGate(Gate):
    """The gate as a chain in the mangle table."""

    def __init__(self, client_device: str, clat_device: str, queue: int = QUEUE):
        super().__init__(client_device, clat_device, queue)
        self.sets = IpSets()
        self.refused: dict[Client, None] = {}

    def set_up(self) -> None:
        with refusal("cannot make the gate"):
            self.sets.create(OPEN)
            self.listen()
            self._write_gate()

    def tear_down(self) -> None:
        with refusal("cannot remove the gate"):
            GATE.remove()
            self.sets.destroy(OPEN.name)
        self.dissolve()

    def close(self) -> None:
        super().close()
        self.sets.close()

    def _write_gate(self) -> None:
        passing = f"-i {self.client_device} -o {self.clat_device}"
        rules = [
            f"{passing} -s {ipaddress.IPv4Address(ipv4)} -m mac --mac-source {mac.hex(':')} -j DROP"
            for mac, ipv4 in self.refused
        ]
        closed = queue_rule(self.queue_number) if self.fileno() >= 0 else "-j DROP"
        GATE.write([*rules, f"{passing} -m set ! --match-set {OPEN.name} src {closed}"])

    def _admit(self, mac: bytes, ipv4: bytes) -> None:
        if (mac, ipv4) in self.refused:
            del self.refused[mac, ipv4]
            self._write_gate()
        self.sets.add(OPEN.name, Member(ipv4, comment=mac.hex()))

    def _dismiss(self, mac: bytes, ipv4: bytes) -> None:
        if self._owner(ipv4) in (mac, None):
            self.sets.delete(OPEN.name, ipv4)

    def _refuse(self, mac: bytes, ipv4: bytes) -> None:
        self._dismiss(mac, ipv4)
        if (mac, ipv4) in self.refused:
            return
        if len(self.refused) >= REFUSED_MAX:
            del self.refused[next(iter(self.refused))]
        self.refused[mac, ipv4] = None
        self._write_gate()

    def _owner(self, ipv4: bytes) -> bytes | None:
        return next((mac for mac, other in self._opened() if other == ipv4), None)

    def _opened(self) -> set[Client]:
        members = ((packed(each.comment, 6), each.address) for each in self.sets.members(OPEN.name))
        return {(mac, ipv4) for mac, ipv4 in members if mac}

    def opened(self) -> set[Client]:
        with refusal("cannot read who was let in"):
            return self._opened()


class XtablesClatRules(XtablesGate):
    """ClatRules with ipset and NETMAP. The current PLAT is an element of a set, for a restart."""

    def __init__(self, client_device: str, clat_device: str, queue: int = QUEUE):
        super().__init__(client_device, clat_device, queue)
        self.conntrack = Conntrack()
        self.current: bytes | None = None
        self.plats: list[bytes] = []
        self.plat_of: dict[bytes, bytes] = {}

    def set_up(self) -> None:
        super().set_up()
        with refusal("cannot make the rules of the PLATs"):
            self.sets.create(CURRENT)
            self.current = next((each.address for each in self.sets.members(CURRENT.name)), None)
            self.plats = self._plats()
            self.plat_of = self._read_uses()
            self._write_plats(self.plats)
            self._hold_back(self.plats)

    def tear_down(self) -> None:
        with refusal("cannot remove the rules of the PLATs"):
            for chain in (UNHEARD_PLAT, TO_PLAT, FROM_PLAT):
                chain.remove()
            for name in [*(set_of_plat(plat) for plat in self._plats()), CURRENT.name]:
                self.sets.destroy(name)
        self.plats, self.plat_of, self.current = [], {}, None
        super().tear_down()

    def close(self) -> None:
        super().close()
        self.conntrack.close()

    def use_plat(self, client: bytes, plat: bytes, lease_s: int) -> None:
        with refusal("cannot give a client its PLAT"):
            if plat not in self.plats:
                if len(self.plats) >= PLATS_MAX:
                    self._make_room()
                self.sets.create(IpSet(set_of_plat(plat), socket.AF_INET6, has_timeout=True))
                self._write_plats([*self.plats, plat])
                self.plats.append(plat)
                self._hold_back(self.plats)
            self.sets.add(set_of_plat(plat), Member(client, seconds(lease_s)))
            old = self.plat_of.get(client)
            self.plat_of[client] = plat
            if old is not None and old != plat:
                self.sets.delete(set_of_plat(old), client)
            if old != plat:
                # what came while the client was elsewhere left entries without, or with another's, NETMAP
                self.conntrack.forget([client])

    def _read_uses(self) -> dict[bytes, bytes]:
        return {
            member.address: plat for plat in self.plats for member in self.sets.members(set_of_plat(plat))
        }

    def _make_room(self) -> None:
        self.plat_of = self._read_uses()
        for plat in spare_plats(self.plats, self.plat_of):
            self.drop_plat(plat)

    def leave_plat(self, client: bytes, plat: bytes) -> None:
        if self.plat_of.get(client) == plat:
            del self.plat_of[client]
        if plat in self.plats:
            with refusal("cannot take a client's PLAT away"):
                self.sets.delete(set_of_plat(plat), client)

    def set_current_plat(self, plat: bytes | None) -> None:
        before, self.current = self.current, plat
        try:
            with refusal("cannot change the current PLAT"):
                self._write_plats(self.plats)
                if before and before != plat:
                    self.sets.delete(CURRENT.name, before)
                if plat:
                    self.sets.add(CURRENT.name, Member(plat))
                if before != plat:
                    self.conntrack.forget(self.plat_of.keys())
                self._hold_back(self.plats)
        except RulesError:
            self.current = before
            raise

    def drop_plat(self, plat: bytes) -> None:
        if plat not in self.plats:
            return
        plats = [each for each in self.plats if each != plat]
        with refusal("cannot remove a PLAT's rules"):
            self._hold_back(plats)
            self._write_plats(plats)
            self.sets.destroy(set_of_plat(plat))
            self.conntrack.forget([client for client, each in self.plat_of.items() if each == plat])
        self.plats = plats
        self.plat_of = {client: each for client, each in self.plat_of.items() if each != plat}

    def _plats(self) -> list[bytes]:
        """The PLATs that the kernel has a set for."""
        names = self.sets.names(PLAT_SET)
        return [plat for name in names if (plat := plat_of_name(PLAT_SET, name))]

    def _hold_back(self, plats: Sequence[bytes]) -> None:
        """Drop what clients send to a PLAT that is neither theirs nor, as far as we know, the node's."""
        known = [f"-i {self.clat_device} -d {network(self.current)} -j RETURN"] if self.current else []
        others = [
            f"-i {self.clat_device} -m set --match-set {set_of_plat(plat)} src ! -d {network(plat)} -j DROP"
            for plat in plats
        ]
        UNHEARD_PLAT.write([*known, *others])

    def _write_plats(self, plats: Sequence[bytes]) -> None:
        to_plat = [
            f"-i {self.clat_device} -m set --match-set {set_of_plat(plat)} src -j NETMAP --to {network(plat)}"
            for plat in plats
        ]
        from_plat = [
            f"-o {self.clat_device} -s {network(plat)} -m set --match-set {set_of_plat(plat)} dst"
            f" -j NETMAP --to {network(self.current)}"
            for plat in plats
            if self.current
        ]
        TO_PLAT.write(to_plat)
        FROM_PLAT.write(from_plat)


class XtablesPlatRules:
    """PlatRules with conntrack entries. The arguments are those of NftPlatRules; nothing hangs on the device here."""

    def __init__(self, plat_device: str, plat: bytes):
        self.device, self.plat = plat_device, plat
        self.sets, self.conntrack = IpSets(), Conntrack()

    def set_up(self) -> None:
        with refusal("cannot keep who has roamed"):
            self.sets.create(ROAMED)

    def tear_down(self) -> None:
        with refusal("cannot remove who has roamed"):
            self.sets.destroy(ROAMED.name)

    def close(self) -> None:
        self.sets.close()
        self.conntrack.close()

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


def packed(text: str | None, length: int) -> bytes:
    """Bytes of their hexadecimal text, none if it is not ours: anybody who is root may put members into a set."""
    try:
        value = bytes.fromhex(text or "")
    except ValueError:
        return b""
    return value if len(value) == length else b""


def network(plat: bytes) -> str:
    return f"{ipaddress.IPv6Address(plat)}/96"


def set_of_plat(plat: bytes) -> str:
    return name_of_plat(PLAT_SET, plat)
