# SPDX-License-Identifier: ISC
"""The C translator from Python: make a map, translate a packet. No I/O; the pump translates without this.

A map is what `struct siit_map` in siit/src/siit.h says it is, and that file is the reference for every
meaning here. Addresses are bytes in network byte order, prefix lengths are ints: text is parsed elsewhere.
"""

from collections.abc import Iterable
from dataclasses import dataclass

from xlat464.rfc6052 import PLACES

try:
    from siit._siit import ffi, lib
except ImportError as error:  # the module is compiled, not shipped
    raise ImportError(f"siit is not compiled, run `python -m siit._build` first ({error})") from error

HEADROOM: int = lib.SIIT_HEADROOM
TAILROOM: int = lib.SIIT_TAILROOM
MAX_PACKET: int = lib.SIIT_MAX_PACKET
MIN_MTU6: int = lib.SIIT_MIN_MTU6
GSO_NONE: int = lib.SIIT_GSO_NONE
GSO_TCP: int = lib.SIIT_GSO_TCP
GSO_UDP: int = lib.SIIT_GSO_UDP

DUMMY_IPV4 = bytes((192, 0, 0, 8))  # RFC 7600: the address of a router that has none

VERDICTS = tuple(ffi.string(lib.siit_verdict_name(i)).decode() for i in range(lib.siit_verdict_count()))
MEANINGS = {name: ffi.string(lib.siit_verdict_meaning(i)).decode() for i, name in enumerate(VERDICTS)}


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a rule pair: which IPv4 addresses are which IPv6 addresses.

    is_rfc6052 = False is nat46's style NONE: with lengths of 32 and 128 a one-to-one pair, else it maps
    nothing.
    """

    is_rfc6052: bool
    v4: bytes
    v4_length: int
    v6: bytes
    v6_length: int

    def __post_init__(self) -> None:
        if len(self.v4) != 4 or len(self.v6) != 16:
            raise ValueError(f"addresses of {len(self.v4)} and {len(self.v6)} bytes, not 4 and 16")
        if not 0 <= self.v4_length <= 32 or not 0 <= self.v6_length <= 128:
            raise ValueError(f"prefix lengths of {self.v4_length} and {self.v6_length}")
        if self.is_rfc6052 and self.v6_length not in PLACES:
            raise ValueError(f"an RFC 6052 prefix is 32, 40, 48, 56, 64 or 96 bits, not {self.v6_length}")


NOTHING = Side(False, bytes(4), 0, bytes(16), 0)


def rfc6052(v4: bytes, v4_length: int, v6: bytes, v6_length: int) -> Side:
    return Side(True, v4, v4_length, v6, v6_length)


def one_to_one(v4: bytes, v6: bytes) -> Side:
    return Side(False, v4, 32, v6, 128)


@dataclass(frozen=True, slots=True)
class Policy:
    """What RFC 7915 has the operator decide.

    lowest_mtu6: bytes, lowest-ipv6-mtu of section 4, the largest fragment to make; C takes at most the MTU.
    drops_bare_udp: section 4.5, drop UDP without a checksum instead of computing one.
    """

    lowest_mtu6: int = MIN_MTU6
    drops_bare_udp: bool = False

    def __post_init__(self) -> None:
        if not MIN_MTU6 <= self.lowest_mtu6 <= 65535:
            raise ValueError(f"a lowest IPv6 MTU of {self.lowest_mtu6} bytes")


DEFAULT_POLICY = Policy()


class Map:
    """A `struct siit_map *` in .pointer, which lives as long as this object does.

    pairs: (local, remote) of Side each. mtu6: bytes, the largest IPv6 packet to make; C counts less than 1280
    as 1280. icmp_v4: 4 bytes, the source of ICMPv4 errors that have no other. policy: what RFC 7915 leaves to the
    operator. Raises ValueError for the caller's mistakes. It never changes: a change of rules makes a new one.
    """

    def __init__(
        self,
        pairs: Iterable[tuple[Side, Side]],
        mtu6: int = 1500,
        icmp_v4: bytes = DUMMY_IPV4,
        policy: Policy = DEFAULT_POLICY,
    ) -> None:
        self.pairs = tuple(pairs)
        if len(icmp_v4) != 4:
            raise ValueError(f"an IPv4 address of {len(icmp_v4)} bytes")
        if not 0 <= mtu6 <= 0xFFFFFFFF:
            raise ValueError(f"an MTU of {mtu6} bytes")
        self.pointer = ffi.new("struct siit_map *", {"pairs": len(self.pairs)})
        self.pointer.mtu6 = mtu6
        self.pointer.lowest_mtu6 = policy.lowest_mtu6
        self.pointer.drops_bare_udp = policy.drops_bare_udp
        self.pointer.icmp_v4 = list(icmp_v4)
        self.pointer.npairs = len(self.pairs)
        for i, (local, remote) in enumerate(self.pairs):
            fill(self.pointer.pairs[i].local, local)
            fill(self.pointer.pairs[i].remote, remote)


def fill(rule, side: Side) -> None:
    rule.style = lib.SIIT_RFC6052 if side.is_rfc6052 else lib.SIIT_NONE
    rule.v4_len, rule.v6_len = side.v4_length, side.v6_length
    rule.v4, rule.v6 = list(side.v4), list(side.v6)


@dataclass(frozen=True, slots=True)
class Packet:
    """A packet with what a virtio_net_hdr says of it; is_error marks ICMP errors of the translator's own."""

    data: bytes
    gso_type: int = GSO_NONE
    gso_size: int = 0
    needs_csum: bool = False
    is_error: bool = False


@ffi.def_extern()
def siit_collect(context, packet) -> None:
    ffi.from_handle(context).append(packet_of(packet))


def packet_of(packet) -> Packet:
    data = bytes(ffi.buffer(packet.data, packet.len))
    return Packet(data, packet.gso_type, packet.gso_size, bool(packet.needs_csum), bool(packet.is_error))


def translate_packet(rules: Map, packet: Packet) -> tuple[str, list[Packet]]:
    """Translate one packet; return the verdict's name and what leaves: result, fragments or ICMP error."""
    if len(packet.data) > MAX_PACKET:
        raise ValueError(f"a packet of {len(packet.data)} bytes, at most {MAX_PACKET}")
    buffer = ffi.new("uint8_t[]", HEADROOM + len(packet.data) + TAILROOM)
    ffi.memmove(buffer + HEADROOM, packet.data, len(packet.data))
    c_packet = ffi.new("struct siit_packet *")
    c_packet.data, c_packet.len = buffer + HEADROOM, len(packet.data)
    c_packet.gso_type, c_packet.gso_size = packet.gso_type, packet.gso_size
    c_packet.needs_csum = packet.needs_csum
    leaving: list[Packet] = []
    handle = ffi.new_handle(leaving)
    verdict = VERDICTS[lib.siit_translate(rules.pointer, c_packet, lib.siit_collect, handle)]
    return verdict, [packet_of(c_packet)] if verdict == "translated" else leaving


def translate(rules: Map, packet: bytes) -> tuple[str, list[bytes]]:
    """translate_packet for a packet as it is on a wire, without offloads."""
    verdict, leaving = translate_packet(rules, Packet(packet))
    return verdict, [each.data for each in leaving]
