# SPDX-License-Identifier: ISC
"""The gate in nftables: who is in its sets, and the tables themselves (ruleset.py).

What waits goes to NFQUEUE by nf_tables' own expression, or by iptables' target where the kernel lacks that. Without
either the gate drops IPv4; IPv6 passes, since no translation depends on its order, and nothing is sought.

An open gate has no timeout: it would run out below a client that stays for long, and stall it. Nobody opens gates while
the daemon is dead; when it comes again, opened() tells it what it has to close.
"""

from l3roamd_py.netfilter.gate import MARK, Gate
from l3roamd_py.netfilter.nfnetlink import SUBSYSTEM_NFTABLES, NetfilterSocket, refusal
from l3roamd_py.netfilter.nft import messages as nftables
from l3roamd_py.netfilter.nft.expressions import queue, queue_of_xtables
from l3roamd_py.netfilter.nft.messages import FORWARD, IPV4, IPV6, Chain, Element, Table
from l3roamd_py.netfilter.nft.ruleset import TABLE4, TABLE6, Ruleset
from l3roamd_py.netfilter.nft.table import (
    add_elements,
    find_element,
    generation,
    is_whole,
    layout,
    list_elements,
    raise_table,
    removal,
    remove_table,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from l3roamd_py.netfilter.gate import Client
    from l3roamd_py.netfilter.rules import Prefixes

    Queue = Callable[[int], bytes]

# what daemons had whose rules stood in several tables: a new one takes over from such a one as well
RETIRED = (
    Table(IPV6, "l3roamd_clat", "", ()),
    Table(IPV4, "l3roamd_wanted", "", ()),
    Table(IPV6, "l3roamd_wanted", "", ()),
)
REFUSED_MS = 60 * 1000  # then its packets wait at the gate again: made-up addresses must not fill the set
TABLES = {4: TABLE4, 16: TABLE6}  # by the bytes of an address


class NftGate(Gate):
    """The tables of a clatnode, and in them the gate."""

    def __init__(self, client_device: str, clat_device: str, queue: int):
        self.netfilter = NetfilterSocket()
        super().__init__(client_device, clat_device, queue)
        self.ruleset = Ruleset(client_device, clat_device)
        self.is_up = False
        self.let_in: "set[Client]" = set()

    def set_up(self) -> None:
        with refusal("cannot make the gate"):
            hold = queue_expression(self.netfilter) if self.listen() else None
            if hold is None:
                self.unlisten()
            else:
                self.ruleset.hold = hold(self.queue_number)
                self.new_mark = {16: lambda mark: mark | MARK}
                self.ruleset.hold_wanted = hold(self.wanted.number)
            self.ruleset.clat_range = self.clat_range
            self._raise(TABLE4)
            self._raise(TABLE6)
            for table in RETIRED:
                remove_table(self.netfilter, table)
            self.is_up = True
            self._put_reached()
            self.let_in = self._opened(TABLE4) | self._opened(TABLE6)

    def _raise(self, table: Table) -> None:
        try:
            raise_table(self.netfilter, table, self.ruleset.of(table))
        except OSError:
            if table is TABLE4 or not self.ruleset.has_fib:
                raise
            self.ruleset.has_fib = False  # then the kernel answers by itself for who is not here
            raise_table(self.netfilter, table, self.ruleset.of(table))

    def set_prefixes(self, prefixes: "Prefixes") -> None:
        self.prefixes = self.ruleset.prefixes = prefixes
        if self.is_up:
            with refusal("cannot make the gate"):
                self._raise(TABLE6)

    def _raise_wanted(self) -> None:
        self.ruleset.network = self.network
        if self.is_up:
            self._raise(TABLE4)
            self._put_reached()

    def _put_reached(self) -> None:
        """What a daemon before us let pass is sought again."""
        elements = [Element(address) for address in self.own_reached | self.reached]
        messages = [nftables.flush_set(TABLE4, "reached")]
        if elements:
            messages.append(add_elements(TABLE4, "reached", *elements))
        self._commit(messages)

    @property
    def seeks_ipv6(self) -> bool:
        return self.is_up and self.ruleset.hold_wanted is not None and self.ruleset.has_fib

    def _set_reached(self, address: bytes, is_reached: bool) -> None:
        if is_reached:
            self._commit([add_elements(TABLE4, "reached", Element(address))])
        else:
            self._commit(removal(self.netfilter, TABLE4, "reached", address))

    def tear_down(self) -> None:
        with refusal("cannot remove the gate"):
            for table in list(TABLES.values()) + list(RETIRED):
                remove_table(self.netfilter, table)
        self.is_up, self.let_in = False, set()
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
                for table in TABLES.values():
                    if not is_whole(self.netfilter, table, len(self.ruleset.of(table))):
                        self.notices.append(
                            f"table {table}: somebody changed rules of ours; they are made again"
                        )
                        self._restore(table)

    def _restore(self, table: Table) -> None:
        """Make a table again that somebody took away, or a part of it, with who was let in."""
        self._raise(table)
        if table is TABLE4:
            self._put_reached()
        for mac, address in self.let_in:
            if TABLES[len(address)] is table:
                self._admit(mac, address)

    # Clients

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
        if not self.is_up:
            return
        table, key = TABLES[len(address)], key_of(mac, address)
        messages = removal(self.netfilter, table, leave, key)
        # a transaction that changes nothing is none of those that the kernel counts, see table.generation
        is_new = enter == "open" and (mac, address) not in self.let_in
        if enter and (is_new or not find_element(self.netfilter, table, enter, key)):
            messages.append(add_elements(table, enter, Element(key, expires_ms=expires_ms)))
        self._commit(messages)

    def opened(self) -> "set[Client]":
        with refusal("cannot read who was let in"):
            return self._opened(TABLE4) | self._opened(TABLE6)

    def _opened(self, table: Table) -> "set[Client]":
        if not self.is_up:
            return set()
        return {(each.key[:6], each.key[8:]) for each in list_elements(self.netfilter, table, "open")}

    def _commit(self, messages: list[bytes]) -> None:
        self.netfilter.commit(SUBSYSTEM_NFTABLES, messages)


def key_of(mac: bytes, address: bytes) -> bytes:
    """The concatenation of a MAC, padded to a word's end, and an address."""
    return mac + b"\0\0" + address


def queue_expression(netfilter: NetfilterSocket) -> "Queue | None":
    """How nf_tables can hold packets here; asks the kernel, which takes it back."""
    table = layout(nftables.IPV4, "l3roamd_probe", [Chain("probe", FORWARD, 0)], [])
    for expression in (queue, queue_of_xtables):
        try:
            rule = nftables.add_rule(table, "probe", expression(1))
            netfilter.commit(SUBSYSTEM_NFTABLES, nftables.add_table(table) + [rule], check_only=True)
            return expression
        except OSError:
            pass
    return None
