# SPDX-License-Identifier: ISC
"""The gate in nftables: table `ip l3roamd`, with iptables' NFQUEUE where nftables itself has none.

  forward -151  from a refused client: dropped; from one that was not let in: marked (one bit, the others stay)
  forward -150  iptables, mangle: what is marked goes to NFQUEUE, or on if nobody listens
  forward -149  the mark is taken off again

Where nftables has `queue` the first chain does it all. Without either the gate drops.

An open gate has no timeout: it would run out below a client that stays for long, and stall it. Nobody opens gates while
the daemon is dead; when it comes again, opened() tells it what it has to close.
"""

import sys

from l3roamd_py.netfilter.gate import Gate
from l3roamd_py.netfilter.nfnetlink import (
    SUBSYSTEM_NFTABLES,
    NetfilterSocket,
    NetlinkError,
    refusal,
)
from l3roamd_py.netfilter.nft import messages as nftables
from l3roamd_py.netfilter.nft.expressions import (
    DROP,
    LINK,
    META_IIF_NAME,
    META_IIF_TYPE,
    META_MARK,
    META_OIF_NAME,
    NETWORK,
    REGISTER_3RD_WORD,
    bitwise,
    compare,
    device,
    load,
    lookup,
    meta,
    queue,
    set_mark,
    verdict,
)
from l3roamd_py.netfilter.nft.messages import FORWARD, TYPE_ETHER_IPV4, Chain, Element, Set
from l3roamd_py.netfilter.nft.table import (
    find_element,
    is_whole,
    layout,
    list_elements,
    raise_table,
    remove_table,
)
from l3roamd_py.netfilter.rules import Held, RulesError
from l3roamd_py.netfilter.xtables.chains import Chains, OwnChain, queue_rule
from l3roamd_py.netfilter.xtables.program import is_there

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from l3roamd_py.netfilter.gate import Client

MARK = 0x20000000
REFUSED_MS = 600 * 1000  # then it may knock again: one that makes addresses up must not fill the kernel
ETHERNET = (1).to_bytes(2, sys.byteorder)
MARKED = OwnChain("iptables", "mangle", "FORWARD", "L3ROAMD_gate")


class NftGate(Gate):
    """The gate as a table of nftables, `ip l3roamd`; with iptables' NFQUEUE where nftables has none."""

    def __init__(self, client_device: str, clat_device: str, queue: int):
        super().__init__(client_device, clat_device, queue)
        self.netfilter = NetfilterSocket()
        self.chains = Chains(self.sources)
        self.way = "drop"
        self.gate = self._layout(self.way)
        self.let_in: "set[Client]" = set()

    def _layout(self, way: str) -> nftables.Table:
        chains = [Chain("gate", FORWARD, -151), Chain("unmark", FORWARD, -149)]
        sets = [
            Set("open", TYPE_ETHER_IPV4, 12, has_timeout=False),
            Set("refused", TYPE_ETHER_IPV4, 12),
        ]
        return layout(nftables.IPV4, "l3roamd", chains, sets, way)

    def set_up(self) -> None:
        with refusal("cannot make the gate"):
            self.way = self._way()
            self.gate = self._layout(self.way)
            self._raise_gate()
            self.let_in = self._opened()

    def _raise_gate(self) -> None:
        rules = list(self._gate_rules(self.way))
        raise_table(self.netfilter, self.gate, lambda name: None, lambda names: rules)

    def _way(self) -> str:
        """How packets can be held here."""
        if not self.listen():
            return "drop"
        if has_nft_queue(self.netfilter):
            return "queue"
        if is_there("iptables"):
            devices = f"-i {self.client_device} -o {self.clat_device}"
            rule = f"{devices} -m mark --mark {hex(MARK)}/{hex(MARK)} {queue_rule(self.queue_number)}"
            self.chains.want(MARKED, [rule])
            try:
                self.chains.finish()
                return "mark"
            except RulesError:
                if not self.chains.is_settled:
                    raise  # somebody holds the lock for longer than we can wait
                self.chains.remove()  # it has no NFQUEUE either
        self.unlisten()
        return "drop"

    def tear_down(self) -> None:
        with refusal("cannot remove the gate"):
            remove_table(self.netfilter, nftables.IPV4, "l3roamd")
        self.chains.want(MARKED, [])
        self.chains.remove()
        self.let_in = set()
        self.dissolve()

    def close(self) -> None:
        self.chains.close()
        super().close()
        self.netfilter.close()

    # Looking after it

    @property
    def is_busy(self) -> bool:
        return not self.chains.is_settled

    def read_held(self) -> list[Held]:
        self.go_on()
        return super().read_held()

    def go_on(self) -> None:
        self.chains.go_on()
        if self.chains.errors:
            sentences, self.chains.errors = self.chains.errors, []
            raise RulesError("; ".join(sentences))

    def tick(self, now_s: float) -> None:
        if self.looks.is_due(now_s):
            with refusal("cannot make the rules again"):
                self._look()
            self.chains.look()
            self.go_on()

    def _look(self) -> None:
        """Make again what somebody took away, with who was let in."""
        if is_whole(self.netfilter, self.gate, len(list(self._gate_rules(self.way)))):
            return
        self._raise_gate()
        for mac, ipv4 in self.let_in:
            self._admit(mac, ipv4)

    def _gate_rules(self, way: str) -> "Iterator[bytes]":
        passing = device(META_IIF_NAME, self.client_device) + device(META_OIF_NAME, self.clat_device)
        client = meta(META_IIF_TYPE) + compare(ETHERNET)
        client += load(LINK, 6, 6) + load(NETWORK, 12, 4, REGISTER_3RD_WORD)
        mark = MARK.to_bytes(4, sys.byteorder)
        keep = (MARK ^ 0xFFFFFFFF).to_bytes(4, sys.byteorder)
        closed = {
            "queue": queue(self.queue_number),
            "mark": meta(META_MARK) + bitwise(keep, mark) + set_mark(),
            "drop": verdict(DROP),
        }[way]
        yield nftables.add_rule(self.gate, "gate", passing, client, lookup("refused"), verdict(DROP))
        yield nftables.add_rule(self.gate, "gate", passing, client, lookup("open", invert=True), closed)
        if way == "mark":
            unmark = meta(META_MARK) + bitwise(keep, bytes(4)) + set_mark()
            yield nftables.add_rule(self.gate, "unmark", passing, unmark)

    def _admit(self, mac: bytes, ipv4: bytes) -> None:
        self._move(key_of(mac, ipv4), leave="refused", enter="open")
        self.let_in.add((mac, ipv4))

    def _dismiss(self, mac: bytes, ipv4: bytes) -> None:
        self.let_in.discard((mac, ipv4))
        self._move(key_of(mac, ipv4), leave="open")

    def _refuse(self, mac: bytes, ipv4: bytes) -> None:
        self.let_in.discard((mac, ipv4))
        self._move(key_of(mac, ipv4), leave="open", enter="refused", expires_ms=REFUSED_MS)

    def _move(self, key: bytes, leave: str, enter: str = "", expires_ms: int | None = None) -> None:
        """Take a client out of one set, if it is there, and put it into the other."""
        gate, messages = self.gate, []
        if find_element(self.netfilter, gate, leave, key):
            messages.append(nftables.delete_elements(gate.family, gate.name, leave, key))
        if enter:
            element = Element(key, expires_ms=expires_ms)
            messages.append(nftables.add_elements(gate.family, gate.name, enter, element, exclusive=False))
        self.netfilter.commit(SUBSYSTEM_NFTABLES, messages)

    def opened(self) -> "set[Client]":
        with refusal("cannot read who was let in"):
            return self._opened()

    def _opened(self) -> "set[Client]":
        return {(each.key[:6], each.key[8:]) for each in list_elements(self.netfilter, self.gate, "open")}


def key_of(mac: bytes, ipv4: bytes) -> bytes:
    """The concatenation of a MAC, padded to a word's end, and an IPv4 address."""
    return mac + b"\0\0" + ipv4


def has_nft_queue(netfilter: NetfilterSocket) -> bool:
    """Whether nftables can queue packets; asks the kernel, which takes it back."""
    table = layout(nftables.IPV4, "l3roamd_probe", [Chain("probe", FORWARD, 0)], [])
    try:
        rule = nftables.add_rule(table, "probe", queue(1))
        netfilter.commit(SUBSYSTEM_NFTABLES, nftables.add_table(table) + [rule], check_only=True)
    except NetlinkError:
        return False
    return True
