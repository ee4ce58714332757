# SPDX-License-Identifier: ISC
"""The cases of RFC 7915 section 4: from IPv4 to IPv6."""

from conformance import (
    BACK4,
    CLIENT4,
    CLIENT6,
    OUT,
    SERVER6,
    case,
    has_right_sums,
    is_from,
    is_icmp4,
    is_icmp6,
    joined,
    none_of,
    nothing,
    one,
    piece,
    quoted,
    rest,
)
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption
from scapy.layers.inet6 import ICMPv6EchoReply, ICMPv6EchoRequest, IPv6ExtHdrFragment
from scapy.packet import Raw

SENT = (
    IP(**BACK4, ttl=7, tos=4) / UDP(sport=5, dport=6) / b"0123456789"
)  # what an error of the client's is about


def options(raw):
    return IP(**OUT, options=[IPOption(raw)]) / UDP(sport=1, dport=2) / b"x"


def fragments(packet, size):
    """A datagram's fragments."""
    payload = bytes(packet)[20:]
    return [
        IP(**OUT, id=0x1234, proto=packet.proto, frag=at // 8, flags=0 if at + size >= len(payload) else 1)
        / Raw(payload[at : at + size])
        for at in range(0, len(payload), size)
    ]


def error(kind, code, inner=SENT, **fields):
    return IP(**OUT) / ICMP(type=kind, code=code, **fields) / inner


def becomes(kind, code, word=0):
    return one(lambda p: is_icmp6(p, kind, code) and rest(p) == word)


HEADERS = {
    "UDP to IPv6": case(
        "4.1",
        IP(**OUT, ttl=64) / UDP(sport=1, dport=2) / b"odd",
        one(lambda p: is_from(p, CLIENT6, SERVER6, 63) and UDP in p),
    ),
    "TCP to IPv6 with its class": case(
        "4.1",
        IP(**OUT, tos=0xB8) / TCP(sport=1, dport=2) / b"x",
        one(lambda p: p.tc == 0xB8 and p.fl == 0 and p[TCP].dport == 2),
    ),
    "the ECN bits come along": case(
        "4.1", IP(**OUT, tos=0x03) / TCP(sport=1, dport=2), one(lambda p: p.tc == 0x03)
    ),
    "what fits gets no Fragment Header, without DF either": case(
        "4.1", IP(**OUT, id=7) / UDP(sport=1, dport=2) / b"x", one(lambda p: p.nh == 17)
    ),
    "options go": case(
        "4.1", options(b"\x07\x07\x04\x01\x02\x03\x04\x00"), one(lambda p: len(p) == 49 and p.nh == 17)
    ),
    "an unexpired source route is refused": case(
        "4.1", options(b"\x83\x07\x04\x01\x02\x03\x04\x00"), one(lambda p: is_icmp4(p, 3, 5))
    ),
    "an illegal source is dropped": case("4.1", IP(src="127.0.0.1", dst=OUT["dst"]) / UDP() / b"x", nothing),
    "a source outside the rule": case("4.1", IP(src="10.2.0.2", dst=OUT["dst"]) / UDP() / b"x", none_of(6)),
    "a header whose checksum is wrong is dropped": case(
        "4.1", IP(**OUT, chksum=0x1234) / UDP() / b"x", nothing
    ),
    "a large packet without DF comes in fragments": case(
        "4.1", IP(**OUT) / UDP(sport=1, dport=2) / bytes(1360), joined(lambda p: len(p[UDP]) == 1368)
    ),
    "fragments for a path that nobody knows have 1280 bytes at most": case(
        "4.1",
        IP(**OUT) / UDP(sport=1, dport=2) / bytes(1360),
        lambda packets: len(packets) > 1 and all(len(p) <= 1280 for p in packets),
    ),
    "a first fragment keeps its place": case(
        "4.1",
        fragments(IP(**OUT) / UDP(sport=1, dport=2) / bytes(range(64)), 40)[0],
        piece(lambda p: fragment(p) == (0, 1, 0x1234)),
    ),
    "a last fragment keeps its bytes": case(
        "4.1",
        IP(**OUT, frag=2, proto=17, id=5) / Raw(b"0123456789"),
        piece(lambda p: fragment(p) == (2, 0, 5) and bytes(p).endswith(b"0123456789")),
    ),
    "IGMP is dropped": case("4.1", IP(**OUT, proto=2) / Raw(b"\x16" + bytes(7)), nothing),
}


def fragment(packet):
    header = packet[IPv6ExtHdrFragment]
    return header.offset, header.m, header.id


UNREACHABLE = {
    0: ("net", 1, 0, 0),
    1: ("host", 1, 0, 0),
    2: ("protocol", 4, 1, 6),
    3: ("port", 1, 4, 0),
    5: ("source route failed", 1, 0, 0),
    6: ("destination network unknown", 1, 0, 0),
    7: ("destination host unknown", 1, 0, 0),
    8: ("source host isolated", 1, 0, 0),
    9: ("network prohibited", 1, 1, 0),
    10: ("host prohibited", 1, 1, 0),
    11: ("network, for this type of service", 1, 0, 0),
    12: ("host, for this type of service", 1, 0, 0),
    13: ("communication prohibited", 1, 1, 0),
    15: ("precedence cutoff", 1, 1, 0),
}
POINTERS = {0: 0, 1: 1, 2: 4, 8: 7, 9: 6, 12: 8, 16: 24}  # RFC 7915 figure 3; each run of bytes by its first
SILENT = {
    "source quench": (4, 0),
    "redirect": (5, 0),
    "router advertisement": (9, 0),
    "information request": (15, 0),
    "address mask request": (17, 0),
    "an unknown type": (40, 0),
    "host precedence violation": (3, 14),
}
MESSAGES = {
    "echo request to IPv6": case(
        "4.2",
        IP(**OUT) / ICMP(type=8, id=7, seq=3) / b"ab",
        one(lambda p: (p[ICMPv6EchoRequest].id, p[ICMPv6EchoRequest].seq) == (7, 3)),
    ),
    "echo reply to IPv6": case(
        "4.2", IP(**OUT) / ICMP(type=0, id=7, seq=3) / b"ab", one(lambda p: p[ICMPv6EchoReply].seq == 3)
    ),
    **{
        f"unreachable: {name}": case("4.2", error(3, code), becomes(*expected))
        for code, (name, *expected) in UNREACHABLE.items()
    },
    "Fragmentation Needed says 20 more": case("4.2", error(3, 4, nexthopmtu=1380), becomes(2, 0, 1400)),
    "Fragmentation Needed says no more than this link has": case(
        "4.2", error(3, 4, nexthopmtu=1500), becomes(2, 0, 1400)
    ),
    "Fragmentation Needed without an MTU is a guess of the size": case(
        "4.2", error(3, 4, nexthopmtu=0), one(lambda p: is_icmp6(p, 2, 0) and 1280 <= rest(p) <= 1400)
    ),
    "time exceeded on the way": case("4.2", error(11, 0), becomes(3, 0)),
    "time exceeded in reassembly": case("4.2", error(11, 1), becomes(3, 1)),
    **{
        f"parameter problem at byte {ours}": case("4.2", error(12, 0, ptr=ours), becomes(4, 0, theirs))
        for ours, theirs in POINTERS.items()
    },
    "timestamp is dropped": case("4.2", IP(**OUT) / ICMP(type=13, ts_ori=1, ts_rx=0, ts_tx=0), nothing),
    "parameter problem of a field that IPv6 has not": case("4.2", error(12, 0, ptr=10), nothing),
    "parameter problem: an option is missing": case("4.2", error(12, 1), nothing),
    **{
        f"{name} is dropped": case("4.2", IP(**OUT) / ICMP(type=kind, code=code) / SENT, nothing)
        for name, (kind, code) in SILENT.items()
    },
}
INNER = {
    "the packet in an error is translated and keeps its TTL": case(
        "4.3",
        error(3, 1),
        one(lambda p: is_from(quoted(p), SERVER6, CLIENT6, 7) and quoted(p).tc == 4),
    ),
    "the packet in an error keeps a right checksum": case(
        "4.3", error(3, 3), one(lambda p: quoted(p).version == 6 and has_right_sums(quoted(p)))
    ),
    "an echo in an error becomes an echo": case(
        "4.3",
        error(11, 0, IP(**BACK4, ttl=1) / ICMP(type=8, id=9, seq=1) / b"ab"),
        one(lambda p: bytes(quoted(p))[40] == 128 and has_right_sums(quoted(p))),
    ),
    "a packet of which an error has eight bytes": case(
        "4.3",
        error(3, 1, Raw(bytes(SENT)[:28])),
        one(lambda p: len(p) == 40 + 8 + 48 and quoted(p).src == SERVER6),
    ),
    "an error about an error is dropped": case(
        "4.3", error(3, 1, IP(**BACK4) / ICMP(type=3) / IP(**OUT) / UDP()), nothing
    ),
}
ERRORS = {
    "a TTL that runs out is told": case(
        "4.4",
        IP(**OUT, ttl=1) / UDP() / b"probe",
        one(lambda p: is_icmp4(p, 11, 0) and p.dst == CLIENT4),
    ),
    "DF and too big is told with the MTU for IPv4": case(
        "4.4",
        IP(**OUT, flags="DF") / UDP() / bytes(1360),
        one(lambda p: is_icmp4(p, 3, 4) and p[ICMP].nexthopmtu == 1380),
    ),
    "no error about an error": case("4.4", IP(**OUT, ttl=1) / ICMP(type=3) / SENT, nothing),
}
TRANSPORT = {
    "UDP without a checksum gets one": case(
        "4.5", IP(**OUT) / UDP(sport=1, dport=2, chksum=0) / b"x", one(lambda p: p[UDP].chksum != 0)
    ),
    "fragments of UDP join to a right checksum": case(
        "4.5",
        fragments(IP(**OUT) / UDP(sport=1, dport=2) / bytes(range(100)), 56),
        joined(lambda p: bytes(p[UDP].payload) == bytes(range(100))),
    ),
    "fragments of TCP join to a right checksum": case(
        "4.5",
        fragments(IP(**OUT) / TCP(sport=1, dport=2) / bytes(range(100)), 64),
        joined(lambda p: TCP in p),
    ),
    "a wrong checksum stays wrong": case(
        "4.5",
        IP(**OUT) / UDP(sport=1, dport=2, chksum=0x1234) / b"data",
        lambda packets: not packets or not has_right_sums(packets[0]),
    ),
    **{
        f"protocol {number} passes as it is": case(
            "4.5",
            IP(**OUT, proto=number) / Raw(bytes(range(24))),
            piece(lambda p, number=number: p.nh == number and bytes(p)[40:] == bytes(range(24))),
        )
        for number in (47, 50, 132)
    },
}
CASES = {**HEADERS, **MESSAGES, **INNER, **ERRORS, **TRANSPORT}
