# SPDX-License-Identifier: ISC
"""The tables of a clatnode in nftables: which chains, sets and rules. No I/O.

  ip l3roamd   prerouting -152   wanted     what clients send to an address of their network that is not `reached` waits
               forward -151      gate       what comes from clients that are not `open` waits, or is dropped
  ip6 l3roamd  prerouting -360   arriving   before connection tracking, for which a packet is of its client and its PLAT
               prerouting -50    going      behind connection tracking and NAT: a flow is the same, wherever its packets
                                            go, and an exit's answers have the client's address. Before, the gate; here,
                                            as what a client asks its node needs a way back, too
               postrouting 300   answering  behind NAT: what comes from a client's PLAT comes from the node's
               output -190       own        what this node sends itself

A packet that is nobody's of ours passes these chains as well. So it is asked first for what is cheap and tells most of
them: a word of an address, then the name of its device. Each chain with a hook has one without for the rest. A verdict
of one ends no other that has a hook. (The index of a device would be cheaper than its name, but one that comes again
has another, and until the rules follow, packets would pass by the gate.)

An IPv6 packet that waited at the gate comes to it once more, with a bit of its mark set, which is taken off there. Then
it is sent on, or what it is for is sought, as with any other.

PLATs. The CLAT device gives a packet the node's PLAT. `plat_of` has each client's own, which takes its place, and
`uses` each pair of them: what has the right PLAT already is not written to. On the way back it is the other way round.

Care-of addresses. `client` has whose such an address is, `care_of` that of who left (onward.py). Its checksum is its
client's, so that none follows. In what an ICMPv6 error quotes it is turned back as well, so that whoever sent a packet
that is too big for the way hears of it.

A client that is not known may flood us: of what waits for that there are NEW_PER_S a second.
"""

import sys

from l3roamd_py.netfilter.gate import MARK, NEW_BURST, NEW_PER_S
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
    NOT_EQUAL,
    REGISTER_2ND,
    REGISTER_3RD_WORD,
    RETURN,
    TRANSPORT,
    above_rate,
    below_rate,
    bitwise,
    compare,
    compare_range,
    destination_type,
    device,
    goto,
    has,
    in_prefix,
    jump,
    load,
    lookup,
    meta,
    put_bit,
    set_mark,
    store,
    translate,
    verdict,
)
from l3roamd_py.netfilter.nft.messages import (
    FORWARD,
    OUTPUT,
    POSTROUTING,
    PREROUTING,
    TYPE_ETHER_IPV4,
    TYPE_ETHER_IPV6,
    TYPE_IPV4,
    TYPE_IPV6,
    TYPE_IPV6_IPV6,
    Chain,
    Set,
)
from l3roamd_py.netfilter.nft.rewrite import (
    ADDRESS_BYTES,
    DESTINATION,
    ICMPV6_ERROR,
    QUOTED,
    SOURCE,
    put,
    put_quoted,
    swap_prefix,
    swap_prefix_quoted,
)
from l3roamd_py.netfilter.nft.table import layout
from l3roamd_py.netfilter.rules import PREFIX_BYTES
from xlat464.address import mask

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from l3roamd_py.netfilter.nft.messages import Table
    from l3roamd_py.netfilter.rules import Prefixes

NAME = "l3roamd"
RANGE_BITS = 48  # of a clat_range
SOURCE4, DESTINATION4 = 12, 16  # in a header
ETHERNET = (1).to_bytes(2, sys.byteorder)
ICMPV6, DISCOVERY = bytes((58,)), (bytes((133,)), bytes((136,)))  # which ndp.py hears: RFC 4861
UNREACHABLE = (7).to_bytes(4, sys.byteorder)  # RTN_UNREACHABLE
PREFIX_MASK = b"\xff" * PREFIX_BYTES + bytes(4)


def discovery() -> bytes:
    return meta(META_L4_PROTOCOL) + compare(ICMPV6) + load(TRANSPORT, 0, 1) + compare_range(*DISCOVERY)


TABLE4 = layout(
    nftables.IPV4,
    NAME,
    (Chain("wanted", PREROUTING, -152), Chain("sought"), Chain("gate", FORWARD, -151), Chain("passing")),
    (
        Set("open", TYPE_ETHER_IPV4, 12, has_timeout=False),
        Set("refused", TYPE_ETHER_IPV4, 12),
        Set("reached", TYPE_IPV4, 4, has_timeout=False),
    ),
)
TABLE6 = layout(
    nftables.IPV6,
    NAME,
    (
        Chain("arriving", PREROUTING, -360),
        Chain("to_plat"),
        Chain("going", PREROUTING, -50),
        Chain("passing"),
        Chain("sought"),
        Chain("answering", POSTROUTING, 300),
        Chain("from_plat"),
        Chain("own", OUTPUT, -190, "route"),
    ),
    (
        Set("open", TYPE_ETHER_IPV6, 24, has_timeout=False),
        Set("refused", TYPE_ETHER_IPV6, 24),
        Set("current", TYPE_IPV6, 16, has_timeout=False),
        Set("plat_of", TYPE_IPV6, 16, TYPE_IPV6, 16),
        Set("uses", TYPE_IPV6_IPV6, 32),
        Set("care_of", TYPE_IPV6, 16, TYPE_IPV6, 16),
        Set("client", TYPE_IPV6, 16, TYPE_IPV6, 16),
    ),
)


class Ruleset:
    """What the rules are made of. Whoever changes it has them made again.

    hold, hold_wanted: the expressions for what is to wait, None where nothing can. has_fib: whether the kernel knows of
    what kind a route is. current: the node's PLAT.
    """

    def __init__(self, client_device: str, clat_device: str) -> None:
        self.client_device, self.clat_device = client_device, clat_device
        self.hold: bytes | None = None
        self.hold_wanted: bytes | None = None
        self.has_fib = True
        self.network: tuple[bytes, int] | None = None
        self.prefixes: "Prefixes" = ()
        self.clat_range: bytes | None = None
        self.current: bytes | None = None

    def of(self, table: "Table") -> list[bytes]:
        """All rules of a table, as messages."""
        rules = self._rules4() if table is TABLE4 else self._rules6()
        return [nftables.add_rule(table, chain, rule) for chain, rule in rules]

    def _rules4(self) -> "Iterator[tuple[str, bytes]]":
        of_client = device(META_IIF_NAME, self.client_device)
        if self.hold_wanted is not None and self.network is not None:
            own, length = self.network
            inside = in_prefix(NETWORK, DESTINATION4, mask(own, length), length)
            yield "wanted", inside + of_client + goto("sought")
            yield "sought", load(NETWORK, DESTINATION4, 4) + lookup("reached") + verdict(ACCEPT)
            yield "sought", above_rate(NEW_PER_S, NEW_BURST) + verdict(DROP)
            yield "sought", self.hold_wanted
        yield "gate", device(META_OIF_NAME, self.clat_device) + of_client + goto("passing")
        client = client_key(SOURCE4, 4)
        yield "passing", client + lookup("open") + verdict(ACCEPT)
        yield "passing", is_ethernet() + client + lookup("refused") + verdict(DROP)
        yield "passing", is_ethernet() + (self.hold or verdict(DROP))

    def _rules6(self) -> "Iterator[tuple[str, bytes]]":
        of_ours = to_ours = b""
        if self.clat_range is not None:
            of_ours, to_ours = (is_in(each, self.clat_range, RANGE_BITS) for each in (SOURCE, DESTINATION))
            # to another node's client, which has no PLAT
            yield "to_plat", to_ours + verdict(RETURN)
        yield "arriving", of_ours + device(META_IIF_NAME, self.clat_device) + jump("to_plat")
        turn_back = swap_address("client", NETWORK, DESTINATION)
        yield "arriving", to_ours + device(META_IIF_NAME, self.client_device, NOT_EQUAL) + turn_back
        turn_back_quoted = ICMPV6_ERROR + swap_address("client", TRANSPORT, QUOTED + DESTINATION)
        yield "arriving", turn_back_quoted
        source, used = load(NETWORK, SOURCE, ADDRESS_BYTES), lookup("uses")
        yield "to_plat", source + plat_at(NETWORK, DESTINATION) + used + verdict(RETURN)
        yield "to_plat", source + translate("plat_of") + swap_prefix(DESTINATION)
        yield "to_plat", ICMPV6_ERROR + source + translate("plat_of") + swap_prefix_quoted(SOURCE)
        # who has come back asks for its router first, and is answered here
        yield "own", discovery() + verdict(ACCEPT)
        yield "own", swap_address("care_of", NETWORK, DESTINATION)
        yield "own", turn_back_quoted
        yield from self._gate6()
        yield from self._sought6()
        if self.current is not None:
            yield "answering", to_ours + device(META_OIF_NAME, self.clat_device) + goto("from_plat")
            current = self.current[:PREFIX_BYTES]
            for needs, base, field, replaced in (
                (b"", NETWORK, SOURCE, put(SOURCE, current)),
                (ICMPV6_ERROR, TRANSPORT, QUOTED + DESTINATION, put_quoted(DESTINATION, current)),
            ):
                is_other = needs + load(base, field, PREFIX_BYTES) + compare(current, NOT_EQUAL)
                client = load(NETWORK, DESTINATION, ADDRESS_BYTES)
                yield "from_plat", is_other + client + plat_at(base, field) + used + replaced

    def _sought6(self) -> "Iterator[tuple[str, bytes]]":
        inside = [is_in(DESTINATION, *each) for each in self.prefixes] or [b""]
        for each in inside:
            yield "going", each + goto("sought")
        yield "sought", swap_address("care_of", NETWORK, DESTINATION) + verdict(ACCEPT)
        if self.prefixes and self.hold_wanted is not None and self.has_fib:
            unreachable = destination_type() + compare(UNREACHABLE)
            yield "sought", unreachable + below_rate(NEW_PER_S, NEW_BURST) + self.hold_wanted

    def _gate6(self) -> "Iterator[tuple[str, bytes]]":
        if not self.prefixes:
            return
        client = client_key(SOURCE, ADDRESS_BYTES)
        for each in self.prefixes:
            yield "going", is_in(SOURCE, *each) + device(META_IIF_NAME, self.client_device) + jump("passing")
        has_waited = meta(META_MARK) + has(MARK)
        yield "passing", has_waited + meta(META_MARK) + put_bit(MARK, False) + set_mark() + verdict(RETURN)
        yield "passing", client + lookup("open") + verdict(RETURN)
        yield "passing", discovery() + verdict(RETURN)
        yield "passing", is_ethernet() + client + lookup("refused") + verdict(DROP)
        if self.hold is not None:
            yield "passing", is_ethernet() + above_rate(NEW_PER_S, NEW_BURST) + verdict(DROP)
            yield "passing", is_ethernet() + self.hold


def is_ethernet() -> bytes:
    return meta(META_IIF_TYPE) + compare(ETHERNET)


def client_key(source: int, length: int) -> bytes:
    """Load the key of `open` and `refused`: MAC and address."""
    return load(LINK, 6, 6) + load(NETWORK, source, length, REGISTER_3RD_WORD)


def is_in(field: int, prefix: bytes, length: int) -> bytes:
    """Go on only if an address of an IPv6 packet lies in a prefix."""
    return in_prefix(NETWORK, field, prefix, length)


def plat_at(base: int, field: int) -> bytes:
    """Load the PLAT of an address, behind what the first register has: the key of `uses`."""
    whole = load(base, field, ADDRESS_BYTES, REGISTER_2ND)
    return whole + bitwise(PREFIX_MASK, bytes(ADDRESS_BYTES), REGISTER_2ND)


def swap_address(name: str, base: int, offset: int) -> bytes:
    """Replace an address by what the map has for it, which has the same checksum."""
    at = (base, offset, ADDRESS_BYTES)
    return load(*at) + translate(name) + store(*at, is_summed=False)
