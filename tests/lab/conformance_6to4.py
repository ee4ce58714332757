# SPDX-License-Identifier: ISC
"""The cases of RFC 7915 section 5: from IPv6 to IPv4."""

from conformance import (
    BACK,
    CLIENT4,
    CLIENT6,
    OUT6,
    ROUTER6,
    SERVER4,
    SERVER6,
    case,
    has_right_sums,
    is_from,
    is_icmp4,
    is_icmp6,
    none_of,
    nothing,
    one,
    piece,
    quoted,
    rest,
)
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ND_NS,
    ICMPv6PacketTooBig,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    ICMPv6Unknown,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.packet import Raw

SENT = (
    IPv6(**OUT6, hlim=7, tc=4) / UDP(sport=5, dport=6) / b"0123456789"
)  # what an error of the server's is about
DATA = UDP(sport=1, dport=2) / b"x"


def error(message, inner=SENT, src=SERVER6):
    return IPv6(src=src, dst=CLIENT6) / message / inner


def becomes(kind, code, word=0):
    return one(lambda p: is_icmp4(p, kind, code) and rest(p) == word)


HEADERS = {
    "UDP to IPv4": case(
        "5.1",
        IPv6(**BACK, hlim=64) / UDP(sport=1, dport=2) / b"odd",
        one(lambda p: is_from(p, SERVER4, CLIENT4, 63)),
    ),
    "TCP to IPv4 with its class": case(
        "5.1",
        IPv6(**BACK, tc=0xB8, fl=0x12345) / TCP(sport=1, dport=2) / b"x",
        one(lambda p: p.tos == 0xB8 and p.proto == 6),
    ),
    "up to 1260 bytes may be fragmented": case(
        "5.1", IPv6(**BACK) / UDP() / bytes(1232), one(lambda p: len(p) == 1260 and p.flags != "DF")
    ),
    "over 1260 bytes has DF": case(
        "5.1", IPv6(**BACK) / UDP() / bytes(1233), one(lambda p: len(p) == 1261 and p.flags == "DF")
    ),
    "packets that may be fragmented have different identifications": case(
        "5.1",
        [IPv6(**BACK) / UDP(sport=i, dport=2) / b"x" for i in (1, 2, 3)],
        lambda packets: len({p.id for p in packets}) == 3,
    ),
    "a Hop-by-Hop header is skipped": case(
        "5.1", IPv6(**BACK) / IPv6ExtHdrHopByHop() / DATA, one(lambda p: p.proto == 17 and len(p) == 29)
    ),
    "Destination Options are skipped": case(
        "5.1", IPv6(**BACK) / IPv6ExtHdrDestOpt() / DATA, one(lambda p: p.proto == 17 and len(p) == 29)
    ),
    "a Routing header that has arrived is skipped": case(
        "5.1",
        IPv6(**BACK) / IPv6ExtHdrRouting(addresses=["2001:db8::9"], segleft=0) / DATA,
        one(lambda p: p.proto == 17 and len(p) == 29),
    ),
    "a Routing header on its way is a parameter problem": case(
        "5.1",
        IPv6(**BACK) / IPv6ExtHdrRouting(addresses=["2001:db8::9"], segleft=1) / DATA,
        one(lambda p: is_icmp6(p, 4, 0) and rest(p) == 43),
    ),
    "a destination outside the rule": case(
        "5.1", IPv6(src=SERVER6, dst="fd00:64:1::a02:2") / UDP() / b"x", none_of(4)
    ),
    "a source outside the rule is not mapped": case(
        "5.1", IPv6(src=ROUTER6, dst=CLIENT6) / UDP() / b"x", none_of(4)
    ),
    "an illegal address within is dropped": case(
        "5.1", IPv6(src="fd00:64:2::127.0.0.1", dst=CLIENT6) / UDP() / b"x", nothing
    ),
}
FRAGMENTS = {
    "a first fragment keeps its place, without DF": case(
        "5.1.1",
        IPv6(**BACK)
        / IPv6ExtHdrFragment(id=0x10203, m=1)
        / UDP(sport=1, dport=2, len=108, chksum=0x1234)
        / bytes(48),
        piece(lambda p: (p.id, p.flags, p.frag, p.proto) == (0x203, "MF", 0, 17)),
    ),
    "a later fragment keeps its place and its bytes": case(
        "5.1.1",
        IPv6(**BACK) / IPv6ExtHdrFragment(id=0x10203, offset=7, nh=17) / Raw(b"0123456789"),
        piece(lambda p: (p.id, p.flags, p.frag) == (0x203, 0, 7) and bytes(p)[20:] == b"0123456789"),
    ),
    "an atomic fragment is a packet": case(
        "5.1.1",
        IPv6(**BACK) / IPv6ExtHdrFragment(id=0x10203) / DATA,
        one(lambda p: (p.frag, "MF" in p.flags, p.proto) == (0, False, 17)),
    ),
    "headers before the Fragment Header are skipped": case(
        "5.1.1",
        IPv6(**BACK)
        / IPv6ExtHdrDestOpt()
        / IPv6ExtHdrFragment(id=9, m=1)
        / UDP(len=108, chksum=0x1234)
        / bytes(8),
        piece(lambda p: (p.id, p.flags, p.proto) == (9, "MF", 17)),
    ),
}
UNREACHABLE = {
    0: ("no route", 3, 1),
    1: ("prohibited", 3, 10),
    2: ("beyond scope", 3, 1),
    3: ("address", 3, 1),
    4: ("port", 3, 3),
}
POINTERS = {0: 0, 1: 1, 4: 2, 6: 9, 7: 8, 8: 12, 24: 16}  # RFC 7915 figure 6; each run of bytes by its first
SILENT = {
    "multicast listener query": ICMPv6Unknown(type=130, msgbody=bytes(24)),
    "neighbour solicitation": ICMPv6ND_NS(tgt=CLIENT6),
    "an unknown error": ICMPv6Unknown(type=100, msgbody=bytes(24)),
    "an unknown type": ICMPv6Unknown(type=200, msgbody=bytes(24)),
}
MESSAGES = {
    "echo request to IPv4": case(
        "5.2",
        IPv6(**BACK) / ICMPv6EchoRequest(id=7, seq=3, data=b"ab"),
        one(lambda p: (p[ICMP].type, p[ICMP].id, p[ICMP].seq) == (8, 7, 3)),
    ),
    "echo reply to IPv4": case(
        "5.2",
        IPv6(**BACK) / ICMPv6EchoReply(id=7, seq=3, data=b"ab"),
        one(lambda p: (p[ICMP].type, p[ICMP].id, p[ICMP].seq) == (0, 7, 3)),
    ),
    **{
        f"unreachable from IPv6: {name}": case("5.2", error(ICMPv6DestUnreach(code=code)), becomes(*expected))
        for code, (name, *expected) in UNREACHABLE.items()
    },
    "unreachable from IPv6: rejected by source policy": case(
        "5.2", error(ICMPv6DestUnreach(code=5)), nothing
    ),
    "Packet Too Big says 20 less": case("5.2", error(ICMPv6PacketTooBig(mtu=1300)), becomes(3, 4, 1280)),
    "Packet Too Big says no more than IPv4's link can have": case(
        "5.2",
        error(ICMPv6PacketTooBig(mtu=9000)),
        one(lambda p: is_icmp4(p, 3, 4) and rest(p) <= 1500),
    ),
    "time exceeded from IPv6": case("5.2", error(ICMPv6TimeExceeded(code=0)), becomes(11, 0)),
    "time exceeded in reassembly, from IPv6": case("5.2", error(ICMPv6TimeExceeded(code=1)), becomes(11, 1)),
    **{
        f"parameter problem from IPv6 at byte {ours}": case(
            "5.2", error(ICMPv6ParamProblem(code=0, ptr=ours)), becomes(12, 0, theirs << 24)
        )
        for ours, theirs in POINTERS.items()
    },
    "parameter problem of a field that IPv4 has not": case(
        "5.2", error(ICMPv6ParamProblem(code=0, ptr=2)), nothing
    ),
    "an unknown next header is protocol unreachable": case(
        "5.2", error(ICMPv6ParamProblem(code=1, ptr=6)), becomes(3, 2)
    ),
    "an unknown option is dropped": case("5.2", error(ICMPv6ParamProblem(code=2, ptr=40)), nothing),
    **{
        f"{name} from IPv6 is dropped": case("5.2", IPv6(**BACK, hlim=255) / message, nothing)
        for name, message in SILENT.items()
    },
    "an error of a router that no rule maps": case(
        "5.2",
        error(ICMPv6TimeExceeded(), src=ROUTER6),
        one(lambda p: p[ICMP].type == 11 and p.src not in (CLIENT4, SERVER4)),
    ),
}
INNER = {
    "the packet in an error is translated and keeps its hop limit": case(
        "5.3",
        error(ICMPv6DestUnreach(code=0)),
        one(lambda p: is_from(quoted(p), CLIENT4, SERVER4, 7) and quoted(p).tos == 4),
    ),
    "the packet in an error from IPv6 keeps a right checksum": case(
        "5.3",
        error(ICMPv6DestUnreach(code=4)),
        one(lambda p: quoted(p).version == 4 and has_right_sums(quoted(p))),
    ),
    "an echo in an error from IPv6 becomes an echo": case(
        "5.3",
        error(ICMPv6TimeExceeded(), IPv6(**OUT6, hlim=1) / ICMPv6EchoRequest(id=9, seq=1, data=b"ab")),
        one(lambda p: bytes(quoted(p))[20] == 8 and quoted(p).proto == 1),
    ),
    "headers of the packet in an error go": case(
        "5.3",
        error(ICMPv6DestUnreach(code=0), IPv6(**OUT6) / IPv6ExtHdrDestOpt() / DATA),
        one(lambda p: quoted(p).proto == 17 and quoted(p).src == CLIENT4),
    ),
    "an error about an error from IPv6 is dropped": case(
        "5.3", error(ICMPv6DestUnreach(), IPv6(**OUT6) / ICMPv6DestUnreach() / IPv6(**BACK) / UDP()), nothing
    ),
}
ERRORS = {
    "a hop limit that runs out is told": case(
        "5.4",
        IPv6(**BACK, hlim=1) / UDP() / b"probe",
        one(lambda p: is_icmp6(p, 3, 0) and p.dst == SERVER6),
    ),
    "no error about an error, from IPv6": case(
        "5.4", IPv6(**BACK, hlim=1) / ICMPv6DestUnreach() / SENT, nothing
    ),
}
TRANSPORT = {
    "fragments to IPv4 join to a right checksum": case(
        "5.5",
        [
            IPv6(**BACK)
            / IPv6ExtHdrFragment(id=5, m=1, nh=17)
            / Raw(bytes(IPv6(**BACK) / UDP() / bytes(100))[40:96]),
            IPv6(**BACK) / IPv6ExtHdrFragment(id=5, offset=7, nh=17) / Raw(bytes(52)),
        ],
        lambda packets: len(packets) == 2 and has_right_sums(together(packets)),
    ),
    **{
        f"protocol {number} passes to IPv4 as it is": case(
            "5.5",
            IPv6(**BACK, nh=number) / Raw(bytes(range(24))),
            piece(lambda p, number=number: p.proto == number and bytes(p)[20:] == bytes(range(24))),
        )
        for number in (47, 50, 132)
    },
}


def together(packets):
    """The IPv4 packet that fragments, in their order, are."""
    first = packets[0]
    payload = b"".join(bytes(packet)[20:] for packet in packets)
    return IP(
        bytes(IP(src=first.src, dst=first.dst, proto=first.proto, id=first.id, ttl=first.ttl) / Raw(payload))
    )


CASES = {**HEADERS, **FRAGMENTS, **MESSAGES, **INNER, **ERRORS, **TRANSPORT}
