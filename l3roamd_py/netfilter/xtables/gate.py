# SPDX-License-Identifier: ISC
"""The gate with iptables: a set of IPv4 addresses, a chain that sends all others to NFQUEUE, and a rule for each client
that was refused.

A set of MACs with them is not in every kernel; the MAC is kept as a comment. To let a client in is an element of the
set; a program runs for those that are refused only, and nobody waits for it.
"""

import socket

from l3roamd_py.netfilter.gate import QUEUE, Gate
from l3roamd_py.netfilter.nfnetlink import refusal
from l3roamd_py.netfilter.rules import Held, RulesError
from l3roamd_py.netfilter.xtables.chains import Chains, OwnChain, queue_rule
from l3roamd_py.netfilter.xtables.ipset import IpSet, IpSets, Member
from runtime.ordered import OldestFirst, oldest
from xlat464.address import format_ipv4, format_mac

TYPE_CHECKING = False
if TYPE_CHECKING:
    from l3roamd_py.netfilter.gate import Client

OPEN = IpSet("l3roamd_open", socket.AF_INET, has_timeout=False)
REFUSED_MAX = 256  # rules; the oldest goes, and knocks at the gate again
GATE = OwnChain("iptables", "mangle", "FORWARD", "L3ROAMD_gate")


class XtablesGate(Gate):
    """The gate as a chain in the mangle table."""

    def __init__(self, client_device: str, clat_device: str, queue: int = QUEUE):
        super().__init__(client_device, clat_device, queue)
        self.sets = IpSets()
        self.chains = Chains(self.sources)
        self.let_in: dict[bytes, bytes] = {}  # IPv4 -> MAC
        self.refused: "OldestFirst[Client, None]" = OldestFirst()

    def set_up(self) -> None:
        with refusal("cannot make the gate"):
            self.sets.create(OPEN)
            members = [(packed(each.comment, 6), each.address) for each in self.sets.members(OPEN.name)]
            self.let_in = {ipv4: mac for mac, ipv4 in members if mac}
            self.listen()
            self._want_gate()
            try:
                self.chains.finish()
            except RulesError:
                if not self.holds_packets or not self.chains.is_settled:
                    raise
                self.unlisten()  # iptables may lack NFQUEUE, then the gate drops; if it was not that, it fails again
                self._want_gate()

    def tear_down(self) -> None:
        with refusal("cannot remove the gate"):
            self.chains.want(GATE, [])
            self.chains.remove()
            self.sets.destroy(OPEN.name)
        self.let_in, self.refused = {}, OldestFirst()
        self.dissolve()

    def close(self) -> None:
        self.chains.close()
        super().close()
        self.sets.close()

    # What the programs are told

    @property
    def is_busy(self) -> bool:
        """Whether rules are being written."""
        return not self.chains.is_settled

    def read_held(self) -> list[Held]:
        self.go_on()
        return super().read_held()

    def go_on(self) -> None:
        """Go on writing rules. Raises RulesError when something went wrong meanwhile; never waits."""
        self.chains.go_on()
        if self.chains.errors:
            sentences, self.chains.errors = self.chains.errors, []
            raise RulesError("; ".join(sentences))

    def tick(self, now_s: float) -> None:
        if self.looks.is_due(now_s):
            self._make_sets()  # first: rules that are made again name them
            self.chains.look()
            self.go_on()

    def _make_sets(self) -> None:
        """See that the sets are there, with their members: somebody may have flushed or destroyed them."""
        with refusal("cannot make the gate's set again"):
            self.sets.create(OPEN)
            there = {each.address: each.comment for each in self.sets.members(OPEN.name)}
            for ipv4, mac in self.let_in.items():
                if there.get(ipv4) != mac.hex():
                    self.sets.add(OPEN.name, Member(ipv4, comment=mac.hex()))

    def _want_gate(self) -> None:
        passing = f"-i {self.client_device} -o {self.clat_device}"
        rules = [
            f"{passing} -s {format_ipv4(ipv4)} -m mac --mac-source {format_mac(mac)} -j DROP"
            for mac, ipv4 in self.refused
        ]
        closed = queue_rule(self.queue_number) if self.holds_packets else "-j DROP"
        self.chains.want(GATE, rules + [f"{passing} -m set ! --match-set {OPEN.name} src {closed}"])

    def _admit(self, mac: bytes, ipv4: bytes) -> None:
        if (mac, ipv4) in self.refused:
            del self.refused[(mac, ipv4)]
            self._want_gate()
        self.sets.add(OPEN.name, Member(ipv4, comment=mac.hex()))
        self.let_in[ipv4] = mac

    def _dismiss(self, mac: bytes, ipv4: bytes) -> None:
        if self.let_in.get(ipv4, mac) == mac:
            self.let_in.pop(ipv4, None)
            self.sets.delete(OPEN.name, ipv4)

    def _refuse(self, mac: bytes, ipv4: bytes) -> None:
        self._dismiss(mac, ipv4)
        if (mac, ipv4) in self.refused:
            return
        if len(self.refused) >= REFUSED_MAX:
            del self.refused[oldest(self.refused)]
        self.refused[(mac, ipv4)] = None
        self._want_gate()

    def opened(self) -> "set[Client]":
        return {(mac, ipv4) for ipv4, mac in self.let_in.items()}


def packed(text: str | None, length: int) -> bytes:
    """Bytes of their hexadecimal text, none if it is not ours: anybody who is root may put members into a set."""
    try:
        value = bytes.fromhex(text or "")
    except ValueError:
        return b""
    return value if len(value) == length else b""
