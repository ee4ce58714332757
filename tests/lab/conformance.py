# SPDX-License-Identifier: ISC
"""What a case of the conformance table is: rules, packets into a translator, and a claim about what comes out.

The cases are in conformance_4to6.py, conformance_6to4.py and conformance_addresses.py. A claim sees packets only, so
it can be asked again about packets that were recorded: a recording keeps what came, not who was right.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import IPv6, IPv6ExtHdrFragment, defragment6
from scapy.packet import Packet, Raw

MTU_BYTES = 1400  # of the IPv6 side
CLIENT4, SERVER4 = "10.1.0.2", "198.51.100.7"
CLIENT6, SERVER6 = "fd00:64:1::a01:2", "fd00:64:2::c633:6407"
ROUTER6 = "2001:db8::1"  # outside of every rule
OUT = {"src": CLIENT4, "dst": SERVER4}
OUT6 = {"src": CLIENT6, "dst": SERVER6}
BACK = {"src": SERVER6, "dst": CLIENT6}
BACK4 = {"src": SERVER4, "dst": CLIENT4}

SECTIONS = {
    "4.1": "RFC 7915, 4.1: IPv4 headers into IPv6 headers",
    "4.2": "RFC 7915, 4.2: ICMPv4 into ICMPv6",
    "4.3": "RFC 7915, 4.3: the packet in an ICMPv4 error",
    "4.4": "RFC 7915, 4.4: ICMPv4 errors of the translator",
    "4.5": "RFC 7915, 4.5: transport to IPv6",
    "5.1": "RFC 7915, 5.1: IPv6 headers into IPv4 headers",
    "5.1.1": "RFC 7915, 5.1.1: IPv6 fragments",
    "5.2": "RFC 7915, 5.2: ICMPv6 into ICMPv4, and RFC 6791",
    "5.3": "RFC 7915, 5.3: the packet in an ICMPv6 error",
    "5.4": "RFC 7915, 5.4: ICMPv6 errors of the translator",
    "5.5": "RFC 7915, 5.5: transport to IPv4",
    "6052": "RFC 6052, 2.2: addresses in prefixes of six lengths",
    "7757": "RFC 7757: one address for one",
}


@dataclass(frozen=True)
class Rules:
    """The same mapping in two languages: nat46's pairs, and Jool's pool6 and EAM table."""

    pairs: tuple[str, ...]
    pool6: str
    eamt: tuple[str, ...]
    marker: Packet = field(default_factory=lambda: IP(**OUT) / UDP(sport=9, dport=9))


def remote(prefix):
    return f"remote.v4 0.0.0.0/0 remote.v6 {prefix} remote.style RFC6052"


CLIENTS = "local.v4 10.1.0.0/24 local.v6 fd00:64:1::/96 local.style RFC6052"
CLIENTS_EAM = "10.1.0.0/24 fd00:64:1::a01:0/120"
RULES = {"clat": Rules((f"{CLIENTS} {remote('fd00:64:2::/96')}",), "fd00:64:2::/96", (CLIENTS_EAM,))}


@dataclass(frozen=True)
class Case:
    """Packets into the translator, and a claim about the packets (parsed) that come out of it."""

    section: str
    packets: tuple[Packet, ...]
    is_met: Callable[[list[Packet]], bool]
    rules: str = "clat"

    @property
    def raw(self) -> list[bytes]:
        return [bytes(packet) for packet in self.packets]

    @property
    def digest(self) -> str:
        """What names these packets into these rules, so that a recording of others is not taken for theirs."""
        whole = b"".join([repr(RULES[self.rules].pairs).encode(), *self.raw])
        return hashlib.sha256(whole).hexdigest()[:12]

    def claim(self, came: list[bytes]) -> bool:
        """Whether what came is right; a packet too odd to be looked at is not."""
        try:
            return bool(self.is_met([read(data) for data in came]))
        except (IndexError, AttributeError, TypeError, ValueError):
            return False


def case(section, packet, is_met, rules="clat"):
    packets = tuple(packet) if isinstance(packet, list) else (packet,)
    return Case(section, tuple(IPRaw(p) if isinstance(p, bytes) else p for p in packets), is_met, rules)


class IPRaw(Raw):
    """Bytes as they are, for packets that no library would build."""


def read(data):
    return IP(data) if data[0] >> 4 == 4 else IPv6(data)


def has_right_sums(packet):
    """Whether all checksums are as another program computes them."""
    again = packet.copy()
    for layer in (IP, UDP, TCP, ICMP):
        if layer in again:
            del again[layer].chksum
    for layer in again.layers():
        if layer.__name__.startswith("ICMPv6"):
            del again[layer].cksum
    return bytes(again) == bytes(packet)


def one(check=lambda packet: True):
    """A claim about the only packet, whose checksums are right as well."""
    return lambda packets: len(packets) == 1 and has_right_sums(packets[0]) and check(packets[0])


def piece(check):
    """A claim about the only packet, a fragment: nothing can be said of its checksum."""
    return lambda packets: len(packets) == 1 and check(packets[0])


def nothing(packets):
    return not packets


def none_of(version):
    """Not translated to this version; an error to the sender is as good as silence."""
    return lambda packets: all(packet.version != version for packet in packets)


def joined(check=lambda packet: True):
    """A claim about what fragments of IPv6 are together."""

    def is_met(packets):
        if not packets or any(IPv6ExtHdrFragment not in packet for packet in packets):
            return False
        if any(len(packet) > MTU_BYTES for packet in packets):
            return False
        whole = IPv6(bytes(defragment6(packets)))
        return has_right_sums(whole) and check(whole)

    return is_met


def is_from(packet, src, dst, hops):
    return (packet.src, packet.dst, packet.ttl if packet.version == 4 else packet.hlim) == (src, dst, hops)


def is_icmp4(packet, kind, code):
    return packet.version == 4 and (packet[ICMP].type, packet[ICMP].code) == (kind, code)


def is_icmp6(packet, kind, code):
    return packet.version == 6 and packet.nh == 58 and tuple(bytes(packet)[40:42]) == (kind, code)


def rest(packet):
    """The second word of an ICMP header: a pointer, an MTU."""
    start = 24 if packet.version == 4 else 44
    return int.from_bytes(bytes(packet)[start : start + 4], "big")


def quoted(packet):
    """The packet in an error."""
    return read(bytes(packet)[28 if packet.version == 4 else 48 :])


def brief(came):
    """What came, in a few words that are the same in every run."""
    if not came:
        return "nothing came"
    return ", ".join(_brief(read(data)) for data in came)


def _brief(packet):
    data = bytes(packet)
    kind = packet.proto if packet.version == 4 else packet.nh
    start = 20 if packet.version == 4 else 40
    if kind in (1, 58):
        what = f"ICMP{'v6' if kind == 58 else ''} type {data[start]} code {data[start + 1]}"
    else:
        what = {6: "TCP", 17: "UDP", 44: "a fragment"}.get(kind, f"protocol {kind}")
    return f"IPv{packet.version} with {what}, {len(data)} bytes"
