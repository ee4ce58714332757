# SPDX-License-Identifier: ISC
"""The clatnode's rules with iptables and ipset: a set of clients per PLAT and a pair of NETMAP rules for each.

A program runs only when a PLAT comes or goes; a client is an element of a set. Nobody waits for a program, so what
depends on its rules comes when they are there. A client whose PLAT is new stays at the gate until then.

To find a client's entries of connection tracking, all entries are read. So it is done once for all clients of a round,
at its end. By then their ROAMs have been sent, and it is done before the answers come.

Connection tracking remembers NETMAP for each flow. So when the PLAT changes, entries from before are removed; a flow
gets a new entry in the middle, with the addresses that are right now. If a new entry began before the old one is
removed, it would clash with it and get another source port, and the server would end the connection. So until the
entries are gone packets of clients with a PLAT of their own are dropped, whichever PLAT they are for. The node may have
changed to that PLAT before we have heard of it.

While all clients use the node's own PLAT, NETMAP changes nothing. Then no entry is looked for.

NETMAP works only if no rule of others ends the way through table nat before it. So a packet that should have another
PLAT and has not is dropped later, in POSTROUTING. When our jumps were not the first, entries are removed as when the
PLAT changes. For answers there is no hook behind table nat: a packet that a server sends first in such a moment is
lost.
"""

import socket

from l3roamd_py.netfilter.gate import QUEUE
from l3roamd_py.netfilter.nfnetlink import refusal
from l3roamd_py.netfilter.rules import (
    AGAIN_S,
    PLATS_MAX,
    PREFIX_BYTES,
    Arrival,
    name_of_plat,
    plat_of_name,
    spare_plats,
)
from l3roamd_py.netfilter.xtables.conntrack import Conntrack
from l3roamd_py.netfilter.xtables.errors import Errors, own_error_rule
from l3roamd_py.netfilter.xtables.errors import rules as error_rules
from l3roamd_py.netfilter.xtables.gate import XtablesGate
from l3roamd_py.netfilter.xtables.hosts import (
    FROM_HOSTS,
    HOST_SET,
    TO_HOSTS,
    XtablesHosts,
    network,
    plats_there,
)
from l3roamd_py.netfilter.xtables.ipset import IpSet, Member
from l3roamd_py.netfilter.xtables.onward import XtablesOnward
from l3roamd_py.netfilter.xtables.saved import OwnChain
from xlat464.address import format_ipv6

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

CURRENT = IpSet("l3roamd_current", socket.AF_INET6, has_timeout=False)
PLAT_SET = "l3roam_"  # and 24 digits: ipset has room for 31 characters

# in the order of their writing: clients are held back before the rules of PLATs change
UNHEARD_PLAT = OwnChain("ip6tables", "mangle", "PREROUTING", "L3ROAMD_unheard_plat")
TO_PLAT = OwnChain("ip6tables", "nat", "PREROUTING", "L3ROAMD_to_plat")
FROM_PLAT = OwnChain("ip6tables", "nat", "POSTROUTING", "L3ROAMD_from_plat")
OTHER_PLAT = OwnChain("ip6tables", "mangle", "POSTROUTING", "L3ROAMD_other_plat")
ERRORS = OwnChain("ip6tables", "mangle", "PREROUTING", "L3ROAMD_errors")
OWN_ERRORS = OwnChain("iptables", "mangle", "FORWARD", "L3ROAMD_own_errors")
CHAINS = (UNHEARD_PLAT, OTHER_PLAT, ERRORS, OWN_ERRORS, TO_PLAT, FROM_PLAT, FROM_HOSTS, TO_HOSTS)
IPV6_BYTES = 16
LEFT_MAX = 1024  # clients of whom we know that they left entries
OF_ENTRIES = {UNHEARD_PLAT, TO_PLAT, FROM_PLAT}  # while packets pass by these, entries go wrong


def seconds(lease_s: int) -> int:
    return max(lease_s, 1)


class XtablesClatRules(XtablesGate):
    """ClatRules with ipset and NETMAP. The current PLAT is an element of a set, for a restart."""

    def __init__(self, client_device: str, clat_device: str, queue: int = QUEUE):
        super().__init__(client_device, clat_device, queue)
        self.conntrack = Conntrack()
        self.onward = XtablesOnward(self.sets, self.chains, self.sources, client_device)
        self.errors: Errors | None = None
        self.current: bytes | None = None
        self.plats: list[bytes] = []
        self.plat_of: dict[bytes, bytes] = {}
        self._to_hand_on: list[bytes] = []  # addresses of clients that left
        self.own: XtablesHosts | None = None
        self._left: list[bytes] = []  # addresses of IPv6 that were here
        self._lost: list[bytes] = []  # PLATs; what clients that translate themselves have open there is to go
        self._unwritten: set[bytes] = set()  # PLATs whose rules are not there yet
        self._doomed: dict[bytes, list[bytes]] = {}  # PLATs whose rules are going, and who was there
        self._had_several = (
            False  # PLATs, or may have had: entries of another than the current one may be there
        )
        self._is_turning = False  # the current PLAT is another, and entries of the old one may still be there
        # of clients, by their IPv4 or own IPv6, until their PLAT's rules are there and their old entries are not
        self._to_forget: dict[bytes, bytes] = {}
        self._to_open: dict[bytes, bytes] = {}  # -> MAC
        self._to_turn: list[
            bytes
        ] = []  # addresses of IPv6 whose connections at this node's own PLAT begin here now

    def set_up(self) -> None:
        super().set_up()
        with refusal("cannot make the rules of the PLATs"):
            self.sets.create(CURRENT)
            found = self.sets.members(CURRENT.name)
            self.current = found[0].address if found else None
            self.plats = self._plats()
            self._had_several = bool(self.plats or self.current)
            self.plat_of = self._read_uses()
            if self.errors is None and self.can_queue:
                try:
                    self.errors = Errors()
                    self.sources.add(self.errors)
                except OSError:
                    pass  # then NAT does what it can
            self._want_plats()
            self.onward.set_up(self.can_queue)
            self.chains.want(FROM_HOSTS, [])
            self.chains.want(TO_HOSTS, [])
            if self.pref64 is not None:
                devices = self.client_device, self.pref64, self.plat_range
                self.own = XtablesHosts(self.sets, self.chains, *devices)
                self.own.set_up(self.current)
        self.chains.finish()

    def tear_down(self) -> None:
        with refusal("cannot remove the rules of the PLATs"):
            for chain in CHAINS:
                self.chains.want(chain, [])
            self.onward.tear_down()
            super().tear_down()
            self.onward.destroy_sets()
            names = [set_of_plat(plat) for plat in self._plats()] + [CURRENT.name]
            for name in names + [name_of_plat(HOST_SET, plat) for plat in plats_there(self.sets)]:
                self.sets.destroy(name)
        self.plats, self.plat_of, self.current, self.own = [], {}, None, None
        self._unwritten, self._doomed, self._is_turning = set(), {}, False
        self._to_forget, self._to_open, self._to_turn, self._to_hand_on = {}, {}, [], []

    def close(self) -> None:
        if self.errors is not None:
            self.sources.forget(self.errors)
            self.errors.close()
        self.onward.close()
        super().close()
        self.conntrack.close()

    def read_arrivals(self) -> list[Arrival]:
        if self.errors is not None:
            with refusal("cannot read the errors for clients"):
                self.errors.read(self.plat_of.get, self.current)
        self.onward.read()
        return super().read_arrivals()

    # Clients

    def use_plat(self, client: bytes, plat: bytes, lease_s: int) -> None:
        with refusal("cannot give a client its PLAT"):
            if plat not in self.plats:
                self._add_plat(plat)
            self.sets.add(set_of_plat(plat), Member(client, seconds(lease_s)))
            old = self.plat_of.get(client)
            self.plat_of[client] = plat
            if old is not None and old != plat:
                self.sets.delete(set_of_plat(old), client)
            self._had_several = self._had_several or plat != self.current
            if old != plat and (self._had_several or plat in self._unwritten):
                # what came while the client was elsewhere left entries without, or with another's, NETMAP
                self._to_forget[client[12:]] = client

    def use_plats(self, clients: "Iterable[bytes]", plat: bytes) -> None:
        if self.own is None:
            return
        with refusal("cannot give clients their PLAT"):
            moved = self.own.use(clients, plat)
            if plat != self.current:  # what they had open at the node's stays there
                self._to_forget.update({client: client for client in moved})

    def hosts(self) -> list[bytes] | None:
        return None

    def _add_plat(self, plat: bytes) -> None:
        if len(self.plats) >= PLATS_MAX:
            self.plat_of = self._read_uses()
            for spare in spare_plats(self.plats, self.plat_of):
                self._drop(spare)
        self.sets.create(IpSet(set_of_plat(plat), socket.AF_INET6, has_timeout=True))
        for client in self._doomed.pop(plat, []):
            self.sets.delete(set_of_plat(plat), client)
        self.plats.append(plat)
        self._unwritten.add(plat)
        self._want_plats()

    def leave_plat(self, client: bytes, plat: bytes) -> None:
        if self.own is not None and client in self.own.plat_of:
            with refusal("cannot take a client's PLAT away"):
                self.own.leave(client)
            self._to_open.pop(client, None)
            self._to_forget[client] = client  # it may come back with another one
            return
        if self.plat_of.get(client) == plat:
            del self.plat_of[client]
            self._to_forget.pop(client[12:], None)
            self._to_open.pop(client[12:], None)
        if plat in self.plats:
            with refusal("cannot take a client's PLAT away"):
                self.sets.delete(set_of_plat(plat), client)

    def open_gate(self, mac: bytes, address: bytes) -> None:
        if address in self._left:  # its entries are of what it had open then, which is farther by now
            self._left.remove(address)
            self._to_forget[address] = address
        if self.own_exit is not None and len(address) == IPV6_BYTES and address not in self._to_turn:
            self._to_turn.append(address)
        if address in self._to_hand_on:
            self._to_hand_on.remove(address)  # it has been away for less than a round
        if address in self._to_forget or address in self._to_turn:
            self._to_open[address] = mac
        else:
            super().open_gate(mac, address)

    def close_gate(self, mac: bytes, address: bytes) -> None:
        if self.own is not None and len(address) == IPV6_BYTES and address not in self._left:
            self._left = self._left[1 - LEFT_MAX :] + [address]
            if self.own_exit is not None:
                self._to_hand_on.append(address)
        if address in self._to_turn:
            self._to_turn.remove(address)
        self._to_open.pop(address, None)
        super().close_gate(mac, address)

    def hand_on(self) -> None:
        if self._to_hand_on and self.own_exit is not None:
            gone, self._to_hand_on = self._to_hand_on, []
            with refusal("cannot hand on what clients have open at this node's exit"):
                self.conntrack.turn(gone, self.own_exit[:PREFIX_BYTES], None)

    # PLATs

    def set_current_plat(self, plat: bytes | None) -> None:
        before, self.current = self.current, plat
        with refusal("cannot change the current PLAT"):
            if before and before != plat:
                self.sets.delete(CURRENT.name, before)
            if plat:
                self.sets.add(CURRENT.name, Member(plat))
            self._is_turning = self._is_turning or before != plat
            self._had_several = self._had_several or (before is not None and before != plat)
            self._want_plats()
            if self.own is not None:
                self.own.set_current(plat)

    def drop_plat(self, plat: bytes) -> None:
        if self.own is not None:
            with refusal("cannot remove a PLAT's clients"):
                self.own.drop(plat)
                self._lost.append(plat)
        if plat in self.plats:
            self._drop(plat)

    def _drop(self, plat: bytes) -> None:
        self.plats.remove(plat)
        self._unwritten.discard(plat)
        self._doomed[plat] = [client for client, each in self.plat_of.items() if each == plat]
        self.plat_of = {client: each for client, each in self.plat_of.items() if each != plat}
        self._want_plats()

    # What follows when rules are written, and at the end of a round

    @property
    def is_busy(self) -> bool:
        return not self.chains.is_complete or bool(
            self._to_forget or self._lost or self._to_turn or self._to_hand_on
        )

    def go_on(self) -> None:
        self.hand_on()
        with refusal("cannot do what was to follow a PLAT's rules"):
            while self._go_on():
                pass
        super().go_on()

    def _go_on(self) -> bool:
        """Do what the rules of PLATs that are there allow; whether there are others to write now."""
        is_complete = self.chains.go_on()
        disturbed, self.chains.disturbed = self.chains.disturbed, set()
        if self.plats and disturbed & OF_ENTRIES:
            self._is_turning = True
            self._want_plats()
            is_complete = self.chains.go_on()
        if is_complete:
            self._unwritten.clear()
            if self.own is not None:
                self.own.note_written()
        self._forget(is_complete)
        if not is_complete:
            return False
        for plat in list(self._doomed):
            self.sets.destroy(set_of_plat(plat))
            del self._doomed[plat]
        if self._is_turning:
            self._is_turning = False
            self._want_plats()
        return not self.chains.is_complete

    def _forget(self, is_complete: bool) -> None:
        """Remove old entries of clients, of all at once, and let in who waits for that."""
        own_plat_of, unwritten = self.own_plat_of, self._unwritten
        if self.own is not None:
            unwritten = unwritten | self.own.unwritten
        ready = [
            each
            for each in self._to_forget.values()
            if (self.plat_of.get(each) or own_plat_of.get(each)) not in unwritten
        ]
        # of hosts what is open at this node's own exit stays, by whichever node they come there
        clients = {
            each: self.own_exit if each in self._to_forget else self.plat_of.get(each) for each in ready
        }
        if is_complete:
            for doomed in self._doomed.values():
                clients.update(dict.fromkeys(doomed))
            clients.update(self.plat_of if self._is_turning else {})
        self.conntrack.forget(clients)
        if self._to_turn and self.own_exit is not None and self.pref64 is not None:
            self.conntrack.turn(self._to_turn, self.own_exit[:PREFIX_BYTES], self.pref64[:PREFIX_BYTES])
        if is_complete and self.pref64 is not None:
            for plat in self._lost:
                self.conntrack.forget_plat(self.pref64[:PREFIX_BYTES], plat[:PREFIX_BYTES])
            self._lost.clear()
        for client in ready:
            address = client if client in self._to_forget else client[12:]
            del self._to_forget[address]
            if (mac := self._to_open.pop(address, None)) is not None:
                super().open_gate(mac, address)
        for address in self._to_turn:
            if address not in self._to_forget and (mac := self._to_open.pop(address, None)) is not None:
                super().open_gate(mac, address)
        self._to_turn = []

    def _make_sets(self) -> None:
        super()._make_sets()
        with refusal("cannot make the PLATs' sets again"):
            self.onward.make_sets()
            if self.own is not None:
                self.own.make_sets()
            self.sets.create(CURRENT)
            if self.current:
                self.sets.add(CURRENT.name, Member(self.current))
            names = [set_of_plat(plat) for plat in self.plats]
            if self.sets.count(names) == len(self.plat_of):
                return
            for name in names:
                self.sets.create(IpSet(name, socket.AF_INET6, has_timeout=True))
            there = self._read_uses()
            for client, plat in self.plat_of.items():
                if there.get(client) != plat:
                    self.sets.add(set_of_plat(plat), Member(client, AGAIN_S))

    def _read_uses(self) -> dict[bytes, bytes]:
        return {
            member.address: plat for plat in self.plats for member in self.sets.members(set_of_plat(plat))
        }

    def _plats(self) -> list[bytes]:
        """The PLATs that the kernel has a set for."""
        names = self.sets.names(PLAT_SET)
        return [plat for name in names if (plat := plat_of_name(PLAT_SET, name))]

    def _want_plats(self) -> None:
        self.chains.want(UNHEARD_PLAT, self._unheard_rules())
        # what has such a source comes out of the CLAT here; by which device it came POSTROUTING does not know
        others = self._to_others("") + [
            f"-m set --match-set {set_of_plat(plat)} src ! -d {network(plat)} -j DROP" for plat in self.plats
        ]
        self.chains.want(OTHER_PLAT, others)
        others = [
            f"-m set --match-set {set_of_plat(plat)} dst" for plat in self.plats if plat != self.current
        ]
        errors = [rule for match in others for rule in error_rules(match)] if self.errors else []
        self.chains.want(ERRORS, errors)
        self.chains.want(OWN_ERRORS, [own_error_rule(self.clat_device)] if errors else [])
        to_plat = [f"{self._to(plat)} -j NETMAP --to {network(plat)}" for plat in self.plats]
        self.chains.want(TO_PLAT, self._to_others(f"-i {self.clat_device} ") + to_plat)
        from_plat = [
            "-o %s -s %s -m set --match-set %s dst -j NETMAP --to %s"
            % (self.clat_device, network(plat), set_of_plat(plat), network(self.current))
            for plat in self.plats
            if self.current
        ]
        self.chains.want(FROM_PLAT, from_plat)

    def _unheard_rules(self) -> list[str]:
        """Drop what clients with a PLAT send to one that is not, as far as we know, the node's."""
        known = []
        if self.current and not self._is_turning:
            known = [f"-i {self.clat_device} -d {network(self.current)} -j RETURN"]
        known += self._to_others(f"-i {self.clat_device} ")
        return known + [f"{self._to(plat)} -j DROP" for plat in self.plats]

    def _to_others(self, passing: str) -> list[str]:
        """Leave alone what is for another node's client, which has no PLAT."""
        if self.clat_range is None or not self.plats:
            return []
        return [f"{passing}-d {format_ipv6(self.clat_range)}/48 -j RETURN"]

    def _to(self, plat: bytes) -> str:
        return f"-i {self.clat_device} -m set --match-set {set_of_plat(plat)} src"


def set_of_plat(plat: bytes) -> str:
    return name_of_plat(PLAT_SET, plat)
