# SPDX-License-Identifier: ISC
"""The gate in nftables: table `ip l3roamd`, with iptables' NFQUEUE where nftables itself has none.

  forward -151      from a refused client: dropped; from one that was not let in: marked (one bit, the others stay)
  forward -150      iptables, mangle: what is marked goes to NFQUEUE, or on if nobody listens
  postrouting -150  the same, for what rules of others accepted before ours: both must be passed by to pass by the gate
  postrouting -149  the mark is taken off again

Where nftables has `queue` the first chain does it all. Without either the gate drops.

Table `ip6 l3roamd` is the same for IPv6, at prerouting: what a client asks its node needs a way back, too. It is there
when clients have prefixes. Where nothing can hold packets IPv6 passes, since no translation depends on its order.

An open gate has no timeout: it would run out below a client that stays for long, and stall it. Nobody opens gates while
the daemon is dead; when it comes again, opened() tells it what it has to close.
"""

import sys

from l3roamd_py.netfilter.gate import MARK, NEW_BURST, NEW_PER_S, Gate
from l3roamd_py.netfilter.nfnetlink import SUBSYSTEM_NFTABLES, NetfilterSocket, NetlinkError, refusal
from l3roamd_py.netfilter.nft import messages as nftables
from l3roamd_py.netfilter.nft.expressions import (
    ACCEPT,
    DROP,
    LINK,
    META_IIF_NAME,
    META_IIF_TYPE,
    META_L4_PROTOCOL,
    META_MARK,
    META_OIF_NAME,
    NETWORK,
    REGISTER_3RD_WORD,
    TRANSPORT,
    above_rate,
    bitwise,
    compare,
    compare_range,
    device,
    load,
    lookup,
    meta,
    queue,
    set_mark,
    verdict,
)
from l3roamd_py.netfilter.nft.messages import (
    FORWARD,
    POSTROUTING,
    PREROUTING,
    TYPE_ETHER_IPV4,
    TYPE_ETHER_IPV6,
    Chain,
    Element,
    Set,
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
from l3roamd_py.netfilter.nft.wanted import MARKED as WANTED
from l3roamd_py.netfilter.nft.wanted import NftWanted
from l3roamd_py.netfilter.rules import RulesError
from l3roamd_py.netfilter.wanted import MARK as WANTED_MARK
from l3roamd_py.netfilter.xtables.chains import queue_rule
from l3roamd_py.netfilter.xtables.program import is_there
from l3roamd_py.netfilter.xtables.saved import OwnChain
from xlat464.address import mask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from l3roamd_py.netfilter.gate import Client
    from l3roamd_py.netfilter.rules import Prefixes

REFUSED_MS = 600 * 1000  # then its packets wait at the gate again: made-up addresses must not fill the set
ETHERNET = (1).to_bytes(2, sys.byteorder)
ICMPV6, DISCOVERY = bytes((58,)), (bytes((133,)), bytes((136,)))  # which ndp.py hears: RFC 4861
V4, V6 = 4, 16  # bytes of an address: which half of the gate it is for
MARKED = {
    V4: OwnChain("iptables", "mangle", "FORWARD", "L3ROAMD_gate"),
    V6: OwnChain("ip6tables", "mangle", "PREROUTING", "L3ROAMD_gate6"),
}
MARKED_OUT = OwnChain("iptables", "mangle", "POSTROUTING", "L3ROAMD_gate_out")
HALVES = {  # family, hook, the sets' type, where the source address is
    V4: (nftables.IPV4, FORWARD, TYPE_ETHER_IPV4, 12),
    V6: (nftables.IPV6, PREROUTING, TYPE_ETHER_IPV6, 8),
}


class NftGate(Gate):
    """The gate as tables of nftables, named `l3roamd`; with iptables' NFQUEUE where nftables has none."""

    def __init__(self, client_device: str, clat_device: str, queue: int):
        self.netfilter = NetfilterSocket()
        super().__init__(client_device, clat_device, queue)
        self.way = "drop"
        self.halves: dict[int, nftables.Table] = {}  # those that are in the kernel
        self.let_in: "set[Client]" = set()
        self.not_here = NftWanted(self.netfilter, client_device, self.wanted.number)

    def _layout(self, half: int) -> nftables.Table:
        family, hook, key_type, _ = HALVES[half]
        chains = [Chain("gate", hook, -151)]
        if self.way == "mark":
            chains.append(Chain("unmark", POSTROUTING if half == V4 else hook, -149))
        sets = [Set("open", key_type, 8 + half, has_timeout=False), Set("refused", key_type, 8 + half)]
        return layout(family, "l3roamd", chains, sets, self.way)

    def set_up(self) -> None:
        with refusal("cannot make the gate"):
            self.way = self._way()
            self._raise_half(V4)
            self._raise_half(V6)
            self._raise_wanted()

    def set_prefixes(self, prefixes: "Prefixes") -> None:
        self.prefixes = prefixes
        if self.halves:
            with refusal("cannot make the gate"):
                self._raise_half(V6)
                self._raise_wanted()

    def _raise_half(self, half: int) -> None:
        if half == V6 and not self.prefixes and half not in self.halves:
            return
        if half == V6 and self.way == "mark":
            self._mark(V6)
            self.chains.finish()
        table = self._layout(half)
        rules = list(self._gate_rules(half, table))
        raise_table(self.netfilter, table, lambda name: None, lambda names: rules)
        self.halves[half] = table
        self.let_in |= self._opened(half)

    def _raise_wanted(self) -> None:
        if self.way == "drop" or V4 not in self.halves:
            return
        if self.way == "mark":
            self.wanted.new_mark = lambda mark: mark & ~WANTED_MARK
            marked = f"-m mark --mark {hex(WANTED_MARK)}/{hex(WANTED_MARK)} {queue_rule(self.wanted.number)}"
            for chain in WANTED if self.prefixes else WANTED[:1]:
                self.chains.want(chain, [marked])
        if self.network is not None:
            self.not_here.make4(self.way, self.network, self.own_reached | self.reached)
        if self.prefixes or nftables.IPV6 in self.not_here.tables:
            try:
                self.not_here.make6(self.way, self.prefixes)
            except OSError:
                pass  # the kernel has no `fib`: it answers by itself

    @property
    def seeks_ipv6(self) -> bool:
        return nftables.IPV6 in self.not_here.tables

    def _set_reached(self, address: bytes, is_reached: bool) -> None:
        self.not_here.set_reached(address, is_reached)

    def _way(self) -> str:
        """How packets can be queued here."""
        if not self.listen():
            return "drop"
        if has_nft_queue(self.netfilter):
            return "queue"
        if is_there("iptables"):
            self._mark(V4)
            try:
                self.chains.finish()
                self.new_mark = lambda mark: mark & ~MARK
                return "mark"
            except RulesError:
                if not self.chains.is_complete:
                    raise  # somebody holds the lock for longer than we can wait
                self.chains.remove()  # it has no NFQUEUE either
        self.unlisten()
        return "drop"

    def _mark(self, half: int) -> None:
        rule = f"-m mark --mark {hex(MARK)}/{hex(MARK)} {queue_rule(self.queue_number)}"
        if half == V4:
            rule = f"-o {self.clat_device} {rule}"
            self.chains.want(MARKED_OUT, [rule])
        self.chains.want(MARKED[half], [f"-i {self.client_device} {rule}"])

    def tear_down(self) -> None:
        with refusal("cannot remove the gate"):
            for family, *_ in HALVES.values():
                remove_table(self.netfilter, family, "l3roamd")
            self.not_here.remove()
        for chain in (MARKED[V4], MARKED[V6], MARKED_OUT) + WANTED:
            self.chains.want(chain, [])
        self.chains.remove()
        self.halves, self.let_in = {}, set()
        self.dissolve()

    def close(self) -> None:
        super().close()
        self.netfilter.close()

    # Looking after it

    def _generation(self) -> int | None:
        return generation(self.netfilter)

    def tick(self, now_s: float) -> None:
        if self.checks.is_due(now_s):
            with refusal("cannot make the rules again"):
                self._restore()
            self.chains.check(self.checks.is_regular)
            self.go_on()

    def _restore(self) -> None:
        """Make again what somebody took away, with who was let in."""
        for half, table in self.halves.items():
            if is_whole(self.netfilter, table, len(list(self._gate_rules(half, table)))):
                continue
            self.notices.append(f"table {table.name}: somebody changed rules of ours; they are made again")
            self._raise_half(half)
            for mac, address in self.let_in:
                if len(address) == half:
                    self._admit(mac, address)
        if not self.not_here.is_whole():
            self.notices.append("tables l3roamd_wanted: somebody changed rules of ours; they are made again")
            self._raise_wanted()

    def _gate_rules(self, half: int, table: nftables.Table) -> "Iterator[bytes]":
        def rule(*expressions: bytes) -> bytes:
            return nftables.add_rule(table, "gate", passing, *expressions)

        mark = MARK.to_bytes(4, sys.byteorder)
        others = (MARK ^ 0xFFFFFFFF).to_bytes(4, sys.byteorder)
        closed = {
            "queue": queue(self.queue_number),
            "mark": meta(META_MARK) + bitwise(others, mark) + set_mark(),
            "drop": verdict(DROP if half == V4 else ACCEPT),
        }[self.way]
        source = HALVES[half][3]
        client = meta(META_IIF_TYPE) + compare(ETHERNET)
        client += load(LINK, 6, 6) + load(NETWORK, source, half, REGISTER_3RD_WORD)
        passing = device(META_IIF_NAME, self.client_device)
        if half == V4:
            passing += device(META_OIF_NAME, self.clat_device)
            yield rule(client, lookup("refused"), verdict(DROP))
            yield rule(client, lookup("open", invert=True), closed)
        else:
            yield rule(client, lookup("open"), verdict(ACCEPT))
            discovery = meta(META_L4_PROTOCOL) + compare(ICMPV6) + load(TRANSPORT, 0, 1)
            yield rule(discovery, compare_range(*DISCOVERY), verdict(ACCEPT))
            yield rule(client, lookup("refused"), verdict(DROP))
            for prefix, length in self.prefixes:
                inside = meta(META_IIF_TYPE) + compare(ETHERNET) + load(NETWORK, source, half)
                inside += bitwise(mask(b"\xff" * 16, length), bytes(16)) + compare(prefix)
                yield rule(inside, above_rate(NEW_PER_S, NEW_BURST), verdict(DROP))
                yield rule(inside, closed)
        if self.way == "mark":
            if half == V4:
                passing = device(META_OIF_NAME, self.clat_device)
            unmark = meta(META_MARK) + bitwise(others, bytes(4)) + set_mark()
            yield nftables.add_rule(table, "unmark", passing, unmark)

    def _is_let_in(self, mac: bytes, address: bytes) -> bool:
        return (mac, address) in self.let_in

    def _admit(self, mac: bytes, address: bytes) -> None:
        self._move(mac, address, leave="refused", enter="open")
        self.let_in.add((mac, address))

    def _dismiss(self, mac: bytes, address: bytes) -> None:
        self.let_in.discard((mac, address))
        self._move(mac, address, leave="open")

    def _refuse(self, mac: bytes, address: bytes) -> None:
        self.let_in.discard((mac, address))
        self._move(mac, address, leave="open", enter="refused", expires_ms=REFUSED_MS)

    def _move(
        self, mac: bytes, address: bytes, leave: str, enter: str = "", expires_ms: int | None = None
    ) -> None:
        """Take a client out of one set, if it is there, and put it into the other."""
        table, messages = self.halves.get(len(address)), []
        if table is None:
            return
        key = key_of(mac, address)
        if find_element(self.netfilter, table, leave, key):
            messages.append(nftables.delete_elements(table.family, table.name, leave, key))
        # a transaction that changes nothing is none of those that the kernel counts, see table.generation
        is_new = enter == "open" and (mac, address) not in self.let_in
        if enter and (is_new or not find_element(self.netfilter, table, enter, key)):
            element = Element(key, expires_ms=expires_ms)
            messages.append(nftables.add_elements(table.family, table.name, enter, element, exclusive=False))
        self.netfilter.commit(SUBSYSTEM_NFTABLES, messages)

    def opened(self) -> "set[Client]":
        with refusal("cannot read who was let in"):
            return self._opened(V4) | self._opened(V6)

    def _opened(self, half: int) -> "set[Client]":
        if half not in self.halves:
            return set()
        elements = list_elements(self.netfilter, self.halves[half], "open")
        return {(each.key[:6], each.key[8:]) for each in elements}


def key_of(mac: bytes, address: bytes) -> bytes:
    """The concatenation of a MAC, padded to a word's end, and an address."""
    return mac + b"\0\0" + address


def has_nft_queue(netfilter: NetfilterSocket) -> bool:
    """Whether nftables can queue packets; asks the kernel, which takes it back."""
    table = layout(nftables.IPV4, "l3roamd_probe", [Chain("probe", FORWARD, 0)], [])
    try:
        rule = nftables.add_rule(table, "probe", queue(1))
        netfilter.commit(SUBSYSTEM_NFTABLES, nftables.add_table(table) + [rule], check_only=True)
    except NetlinkError:
        return False
    return True
