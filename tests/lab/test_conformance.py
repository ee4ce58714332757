# SPDX-License-Identifier: ISC
"""One table of packets and results for every translator: what RFC 7915 asks for, and who does something else.

A case is a packet and a function that says what is wrong with what came out. Where a translator is known to differ,
OTHERWISE says how, from its source, and the case fails when it no longer does: then the table is to be mended.
"""

import os
import uuid
from collections.abc import Callable
from dataclasses import dataclass

import pytest
import translators
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6EchoRequest,
    ICMPv6PacketTooBig,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrFragment,
    defragment6,
)
from scapy.packet import Raw

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces need root")

RULES = (
    "local.v4 10.1.0.0/24 local.v6 fd00:64:1::/96 local.style RFC6052 "
    "remote.v4 0.0.0.0/0 remote.v6 fd00:64:2::/96 remote.style RFC6052"
)
CLIENT4, SERVER4 = "10.1.0.2", "198.51.100.7"
CLIENT6, SERVER6 = "fd00:64:1::a01:2", "fd00:64:2::c633:6407"
OUT = {"src": CLIENT4, "dst": SERVER4}
BACK = {"src": SERVER6, "dst": CLIENT6}
ROUTER6 = "2001:db8::1"  # outside of every rule


@dataclass(frozen=True)
class Case:
    """A packet into the device, by section of RFC 7915, and a claim about the packets that come out."""

    section: str
    packet: IP | IPv6
    holds: Callable[[list], bool]


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


def one(check):
    """A claim about the only packet, whose checksums are right as well."""
    return lambda packets: len(packets) == 1 and has_right_sums(packets[0]) and check(packets[0])


def is_from(packet, src, dst, hops):
    return (packet.src, packet.dst, packet.ttl if packet.version == 4 else packet.hlim) == (src, dst, hops)


def quotes(inner):
    return IPv6(src=CLIENT6, dst=SERVER6, hlim=9) / inner


CASES = {
    "UDP to IPv6": Case(
        "4.1",
        IP(**OUT, ttl=64) / UDP(sport=1, dport=2) / b"odd",
        one(lambda p: is_from(p, CLIENT6, SERVER6, 63) and UDP in p),
    ),
    "TCP to IPv6 with its class": Case(
        "4.1",
        IP(**OUT, tos=0xB8) / TCP(sport=1, dport=2) / b"x",
        one(lambda p: p.tc == 0xB8 and p[TCP].dport == 2),
    ),
    "UDP without a checksum": Case(
        "4.5", IP(**OUT) / UDP(sport=1, dport=2, chksum=0) / b"x", one(lambda p: p[UDP].chksum != 0)
    ),
    "echo request to IPv6": Case(
        "4.2", IP(**OUT) / ICMP(type=8, id=7, seq=3) / b"ab", one(lambda p: p[ICMPv6EchoRequest].seq == 3)
    ),
    "a source outside the rule": Case(
        "4.1",
        IP(src="10.2.0.2", dst=SERVER4) / UDP() / b"x",
        lambda packets: all(p.version == 4 for p in packets),
    ),
    "a last fragment keeps its bytes": Case(
        "4.1",
        IP(**OUT, frag=2, proto=17, id=5) / Raw(b"0123456789"),
        lambda packets: (
            len(packets) == 1
            and packets[0][IPv6ExtHdrFragment].offset == 2
            and bytes(packets[0]).endswith(b"0123456789")
        ),
    ),
    "a large packet without DF comes in fragments": Case(
        "4.1",
        IP(**OUT) / UDP(sport=1, dport=2) / bytes(1360),
        lambda packets: len(packets) > 1 and has_right_sums(IPv6(bytes(defragment6(packets)))),
    ),
    "UDP to IPv4": Case(
        "5.1",
        IPv6(**BACK, hlim=64) / UDP(sport=1, dport=2) / b"odd",
        one(lambda p: is_from(p, SERVER4, CLIENT4, 63)),
    ),
    "a small packet may be fragmented": Case(
        "5.1", IPv6(**BACK) / UDP() / b"x", one(lambda p: p.flags != "DF")
    ),
    "a destination outside the rule": Case(
        "5.1",
        IPv6(src=SERVER6, dst="fd00:64:1::a02:2") / UDP() / b"x",
        lambda packets: all(p.version != 4 for p in packets),
    ),
    "Packet Too Big": Case(
        "5.2",
        IPv6(src=SERVER6, dst=CLIENT6) / ICMPv6PacketTooBig(mtu=1300) / quotes(UDP(sport=1, dport=2) / b"x"),
        one(lambda p: (p[ICMP].type, p[ICMP].code, p[ICMP].nexthopmtu) == (3, 4, 1280)),
    ),
    "an error of a router that no rule maps": Case(
        "5.2, RFC 6791",
        IPv6(src=ROUTER6, dst=CLIENT6) / ICMPv6TimeExceeded() / quotes(UDP(sport=1, dport=2) / b"x"),
        one(lambda p: p[ICMP].type == 11 and p.src not in (CLIENT4, SERVER4)),
    ),
}

# what a translator does instead, and where in its source
OTHERWISE = {
    ("nat46", "UDP to IPv6"): "copies the TTL as it is (nat46_ipv4_input)",
    ("nat46", "UDP to IPv4"): "copies the hop limit as it is (fill_v4hdr_from_v6hdr)",
    ("nat46", "a source outside the rule"): "maps every IPv4 address by RFC6052 (xlate_v4_to_v6)",
    ("nat46", "a destination outside the rule"): "does not look at v4's length (xlate_nat64_to_v4)",
    ("nat46", "a last fragment keeps its bytes"): "writes a checksum into it (ip6_update_csum)",
    ("nat46", "a large packet without DF comes in fragments"): "never fragments (nat46_ipv4_input)",
    ("nat46", "a small packet may be fragmented"): "sets DF on all (nat46_ipv6_input)",
    (
        "nat46",
        "an error of a router that no rule maps",
    ): "takes the destination as source (pairs_xlate_v6_to_v4_outer)",
}


@pytest.fixture(scope="module", params=list(translators.KINDS))
def wire(request, tmp_path_factory):
    """A device that translates by RULES, with a mesh MTU; one for all cases."""
    made = translators.make(
        request.param, tmp_path_factory.mktemp("conformance"), f"cf{uuid.uuid4().hex[:8]}"
    )
    made.translator.create(translators.DEVICE, [RULES])
    made.node.run("ip", "link", "set", translators.DEVICE, "mtu", "1400")
    ours = translators.Wire(made.node)
    ours.name = request.param
    yield ours
    ours.close()
    made.translator.delete(translators.DEVICE)
    made.node.close()


@pytest.mark.parametrize("name", CASES)
def test_a_packet_is_translated_as_rfc_7915_says(wire, name):
    case = CASES[name]
    came = [read(data) for data in wire.send(bytes(case.packet))]
    instead = OTHERWISE.get((wire.name, name))
    if instead:
        assert not case.holds(came), f"{wire.name} no longer {instead}: mend OTHERWISE"
        pytest.xfail(f"{wire.name} {instead}")
    assert case.holds(came), [packet.summary() for packet in came]
