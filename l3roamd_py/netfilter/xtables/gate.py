# SPDX-License-Identifier: ISC
"""The gate with iptables. It is a set of addresses of each family, a chain that sends all others to NFQUEUE, and a rule
for each client that was refused.

An ACCEPT of others before it ends the way through the chain. So what came by without a look is looked at where it
leaves the node, in another built-in chain. There iptables does not know by which device it came in, and whoever listens
to the queue does.

A set of MACs with them is not in every kernel; the MAC is kept as a comment. To let a client in is an element of the
set; a program runs for those that are refused only, and nobody waits for it.
"""

import socket

from l3roamd_py.netfilter.gate import MARK, NEW_BURST, NEW_PER_S, QUEUE, Gate
from l3roamd_py.netfilter.nfnetlink import refusal
from l3roamd_py.netfilter.nft.table import generation
from l3roamd_py.netfilter.rules import Checks, RulesError
from l3roamd_py.netfilter.wanted import MARK as WANTED_MARK
from l3roamd_py.netfilter.xtables.chains import Chains, queue_rule
from l3roamd_py.netfilter.xtables.ipset import IpSet, IpSets, Member
from l3roamd_py.netfilter.xtables.saved import OwnChain
from runtime.ordered import OldestFirst, oldest
from xlat464.address import format_ipv4, format_ipv6, format_mac, format_prefix6, mask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from l3roamd_py.netfilter.gate import Client
    from l3roamd_py.netfilter.rules import Prefixes

OPEN = {  # by the bytes of an address
    4: IpSet("l3roamd_open", socket.AF_INET, has_timeout=False),
    16: IpSet("l3roamd_open6", socket.AF_INET6, has_timeout=False),
}
REFUSED_MAX = 256  # rules; the oldest goes, and its packets wait at the gate again
GATE = OwnChain("iptables", "mangle", "FORWARD", "L3ROAMD_gate")
GATE_OUT = OwnChain("iptables", "mangle", "POSTROUTING", "L3ROAMD_gate_out")
GATE6 = OwnChain("ip6tables", "mangle", "PREROUTING", "L3ROAMD_gate6")
WANTED = OwnChain("iptables", "mangle", "PREROUTING", "L3ROAMD_wanted")
WANTED6 = OwnChain("ip6tables", "mangle", "PREROUTING", "L3ROAMD_wanted6")
REACHED = IpSet("l3roamd_reached", socket.AF_INET, has_timeout=False)
DISCOVERY = (133, 134, 135, 136)  # ICMPv6 types which ndp.py hears: RFC 4861
RATE = f"-m limit --limit {NEW_PER_S}/second --limit-burst {NEW_BURST}"


class XtablesGate(Gate):
    """The gate as a chain in the mangle table."""

    def __init__(self, client_device: str, clat_device: str, queue: int = QUEUE):
        self.sets = IpSets()
        super().__init__(client_device, clat_device, queue)
        self.chains = Chains(self.sources)
        self.checks = Checks(self._generation, self.chains.look_s)
        self.new_mark = {length: lambda mark: mark | MARK for length in (4, 16)}
        self._has_types = True  # of addresses, for ip6tables
        self.let_in: dict[bytes, bytes] = {}  # address -> MAC
        self.wanted.new_mark = lambda mark: mark | WANTED_MARK
        self.refused: "OldestFirst[Client, None]" = OldestFirst()

    def set_up(self) -> None:
        with refusal("cannot make the gate"):
            for each in OPEN.values():
                self.sets.create(each)
                members = [(packed(m.comment, 6), m.address) for m in self.sets.members(each.name)]
                self.let_in |= {address: mac for mac, address in members if mac}
            self.listen()
            self._want_gate()
            try:
                self.chains.finish()
            except RulesError:
                if not self.can_queue or not self.chains.is_complete:
                    raise
                self.unlisten()  # iptables may lack NFQUEUE, then the gate drops; if it was not that, it fails again
                self._want_gate()
            self._raise_wanted()
            try:
                self.chains.finish()
            except RulesError:
                if not self.chains.is_complete or WANTED6 not in self.chains.wanted:
                    raise
                self._has_types = False  # iptables lacks addrtype: IPv6 is answered by the kernel
                self._raise_wanted()

    def set_prefixes(self, prefixes: "Prefixes") -> None:
        self.prefixes = prefixes
        if GATE in self.chains.wanted:
            self._want_gate()
            self._raise_wanted()

    def _raise_wanted(self) -> None:
        if GATE not in self.chains.wanted or not self.can_queue:
            return
        bit = f"{hex(WANTED_MARK)}/{hex(WANTED_MARK)}"
        is_new, clear = f"-m mark ! --mark {bit}", f"-j MARK --set-xmark 0x0/{hex(WANTED_MARK)}"
        queue = f"{RATE} {queue_rule(self.wanted.number)}"
        if self.network is not None:
            self._make_reached()
            if WANTED not in self.chains.wanted:  # what a daemon before us let pass is sought again
                others = {member.address for member in self.sets.members(REACHED.name)} - self.own_reached
                self.sets.delete(REACHED.name, *others)
            own, length = self.network
            sought = f"-i {self.client_device} -d {format_ipv4(mask(own, length))}/{length} {is_new}"
            sought += f" -m set ! --match-set {REACHED.name} dst"
            self.chains.want(
                WANTED, [f"{sought} {queue}", f"{sought} -j DROP", f"-i {self.client_device} {clear}"]
            )
        rules = [
            f"-d {format_prefix6(prefix, length)} {is_new} -m addrtype --dst-type UNREACHABLE {queue}"
            for prefix, length in (self.prefixes if self._has_types else ())
        ]
        if rules or WANTED6 in self.chains.wanted:
            self.chains.want(WANTED6, rules + [clear] if rules else [])

    @property
    def seeks_ipv6(self) -> bool:
        return bool(self.chains.wanted.get(WANTED6))

    def _make_reached(self) -> None:
        self.sets.create(REACHED)
        for address in self.own_reached | self.reached:
            self.sets.add(REACHED.name, Member(address))

    def _set_reached(self, address: bytes, is_reached: bool) -> None:
        if WANTED not in self.chains.wanted:
            return
        if is_reached:
            self.sets.add(REACHED.name, Member(address))
        else:
            self.sets.delete(REACHED.name, address)

    def tear_down(self) -> None:
        with refusal("cannot remove the gate"):
            self.chains.want(WANTED, [])
            self.chains.want(WANTED6, [])
            self.chains.want(GATE, [])
            self.chains.want(GATE_OUT, [])
            self.chains.want(GATE6, [])
            self.chains.remove()
            for each in OPEN.values():
                self.sets.destroy(each.name)
            self.sets.destroy(REACHED.name)
        self.let_in, self.refused = {}, OldestFirst()
        self.dissolve()

    def close(self) -> None:
        super().close()
        self.chains.close()
        self.sets.close()

    @property
    def is_busy(self) -> bool:
        """Whether rules are being written."""
        return not self.chains.is_complete

    def go_on(self) -> None:
        """Go on writing rules."""
        self.chains.go_on()
        if self.chains.notices:
            self.notices += self.chains.pop_notices()
        if self.chains.errors:
            self._complain()

    def _complain(self) -> None:
        sentences, self.chains.errors = self.chains.errors, []
        raise RulesError("; ".join(sentences))

    @property
    def behind(self) -> list[str]:
        return self.chains.told_behind()

    # What the programs are told

    def _generation(self) -> int | None:
        return generation(self.sets.netfilter)

    def tick(self, now_s: float) -> None:
        if self.checks.is_due(now_s):
            self._make_sets()  # first: rules that are made again name them
            self.chains.check(self.checks.is_regular)
            self.go_on()

    def _make_sets(self) -> None:
        """See that the sets are there, with their members: somebody may have flushed or destroyed them."""
        with refusal("cannot make the gate's set again"):
            # as many as there should be: nothing is amiss, and to read them all takes a while
            if self.sets.count([each.name for each in OPEN.values()]) == len(self.let_in):
                return
            there: dict[bytes, str | None] = {}
            for each in OPEN.values():
                self.sets.create(each)
                there.update((m.address, m.comment) for m in self.sets.members(each.name))
            for address, mac in self.let_in.items():
                if there.get(address) != mac.hex():
                    self._add(mac, address)
            if WANTED in self.chains.wanted:
                self._make_reached()

    def _want_gate(self) -> None:
        device, is_queued = f"-i {self.client_device}", self.can_queue
        passing, queue = f"{device} -o {self.clat_device}", queue_rule(self.queue_number)
        bit = f"{hex(MARK)}/{hex(MARK)}"
        waits, clear = f"-m mark ! --mark {bit} -m set ! --match-set", f"-j MARK --set-xmark 0x0/{hex(MARK)}"
        closed, leaving = f"-m set ! --match-set {OPEN[4].name} src -j DROP", f"-o {self.clat_device}"
        if is_queued:
            closed = f"{waits} {OPEN[4].name} src {queue}"
        self.chains.want(GATE, self._refused_rules(4, passing) + [f"{passing} {closed}"])
        self.chains.want(GATE_OUT, [f"{leaving} {closed}", f"{leaving} {clear}"] if is_queued else [])
        rules6 = self._refused_rules(16, device)
        if self.prefixes and is_queued:
            rules6 += [f"{device} -p icmpv6 --icmpv6-type {kind} -j RETURN" for kind in DISCOVERY]
        for prefix, length in self.prefixes if is_queued else ():
            source = f"{device} -s {format_prefix6(prefix, length)}"
            unknown = f"{source} {waits} {OPEN[16].name} src"
            rules6 += [f"{unknown} {RATE} {queue}", f"{unknown} -j DROP"]
        if self.prefixes and is_queued:
            rules6.append(f"{device} {clear}")
        if rules6 or GATE6 in self.chains.wanted:
            self.chains.want(GATE6, rules6)

    def _refused_rules(self, length: int, passing: str) -> list[str]:
        return [
            f"{passing} -s {text_of(address)} -m mac --mac-source {format_mac(mac)} -j DROP"
            for mac, address in self.refused
            if len(address) == length
        ]

    def _add(self, mac: bytes, address: bytes) -> None:
        self.sets.add(OPEN[len(address)].name, Member(address, comment=mac.hex()))

    def _is_let_in(self, mac: bytes, address: bytes) -> bool:
        return self.let_in.get(address) == mac

    def _admit(self, mac: bytes, address: bytes) -> None:
        if (mac, address) in self.refused:
            del self.refused[(mac, address)]
            self._want_gate()
        self._add(mac, address)
        self.let_in[address] = mac

    def _dismiss(self, mac: bytes, address: bytes) -> None:
        if self.let_in.get(address, mac) == mac:
            self.let_in.pop(address, None)
            self.sets.delete(OPEN[len(address)].name, address)

    def _refuse(self, mac: bytes, address: bytes) -> None:
        self._dismiss(mac, address)
        if (mac, address) in self.refused:
            return
        if len(self.refused) >= REFUSED_MAX:
            del self.refused[oldest(self.refused)]
        self.refused[(mac, address)] = None
        self._want_gate()

    def opened(self) -> "set[Client]":
        return {(mac, address) for address, mac in self.let_in.items()}


def text_of(address: bytes) -> str:
    text: str = format_ipv4(address) if len(address) == 4 else format_ipv6(address)
    return text


def packed(text: str | None, length: int) -> bytes:
    """Bytes of their hexadecimal text, none if it is not ours: anybody who is root may put members into a set."""
    try:
        value = bytes.fromhex(text or "")
    except ValueError:
        return b""
    return value if len(value) == length else b""
