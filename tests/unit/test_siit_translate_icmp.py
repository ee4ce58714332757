# SPDX-License-Identifier: ISC
"""ICMP errors and the packets in them: RFC 7915 sections 4.2, 4.3, 5.2, 5.3; RFC 4884, RFC 6791, RFC 1191."""

import struct

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import ICMPv6EchoRequest, IPv6, IPv6ExtHdrDestOpt, IPv6ExtHdrFragment
from scapy.packet import Raw
from siit_world import check, checksum, clat, one, plat, pseudo, refused

CLIENT4, SERVER4 = "10.1.2.3", "198.51.100.7"
CLIENT6, SERVER6 = "fddd:1::a01:203", "fddd:2::c633:6407"
# the packet that was sent, as each world saw it; errors about it travel the other way
SENT4 = IP(src=SERVER4, dst=CLIENT4, ttl=7, id=0, tos=4) / UDP(sport=5, dport=6) / b"0123456789"
SENT6 = IPv6(src=CLIENT6, dst=SERVER6, hlim=7, tc=4) / UDP(sport=5, dport=6) / b"0123456789"
IPV4, IPV6 = IP(src=CLIENT4, dst=SERVER4), IPv6(src=SERVER6, dst=CLIENT6)


def error4(type, code, rest=0, quoted=SENT4, outer=IPV4):
    """An ICMPv4 error from client to server; rest is the second word of its header."""
    icmp = struct.pack("!BBHI", type, code, 0, rest) + bytes(quoted)
    icmp = icmp[:2] + checksum(icmp).to_bytes(2, "big") + icmp[4:]
    return (
        bytes(outer.copy() / Raw(icmp))
        if outer.proto
        else bytes(IP(src=outer.src, dst=outer.dst, proto=1) / Raw(icmp))
    )


def error6(type, code, rest=0, quoted=SENT6, outer=IPV6):
    """An ICMPv6 error from server to client."""
    icmp = struct.pack("!BBHI", type, code, 0, rest) + bytes(quoted)
    header = bytes(IPv6(src=outer.src, dst=outer.dst, nh=58) / Raw(icmp))[:40]
    return header + icmp[:2] + checksum(pseudo(header, 58, len(icmp)) + icmp).to_bytes(2, "big") + icmp[4:]


def read4(packet):
    """(type, code, rest, quoted bytes) of an ICMPv4 error that is right in lengths and checksums."""
    check(packet)
    kind, code, _, rest = struct.unpack("!BBHI", packet[20:28])
    return kind, code, rest, packet[28:]


def read6(packet):
    check(packet)
    kind, code, _, rest = struct.unpack("!BBHI", packet[40:48])
    return kind, code, rest, packet[48:]


UNREACHABLE_4TO6 = {
    **dict.fromkeys((0, 1, 5, 6, 7, 8, 11, 12), (1, 0)),
    2: (4, 1),
    3: (1, 4),
    **dict.fromkeys((9, 10, 13, 15), (1, 1)),
}


@pytest.mark.parametrize("code", range(20))
def test_unreachable_crosses_from_ipv4(code):
    if code == 4:
        return  # fragmentation needed: below
    if code not in UNREACHABLE_4TO6:
        assert refused(clat(), error4(3, code), "icmp-unknown-type") is None
        return
    kind, new_code, rest, _ = read6(one(clat(), error4(3, code)))
    assert (kind, new_code) == UNREACHABLE_4TO6[code]
    assert rest == (6 if code == 2 else 0)  # protocol unreachable points at the next header field


@pytest.mark.parametrize(
    ("code", "expected"), [(0, 1), (1, 10), (2, 1), (3, 1), (4, 3), (5, None), (6, None), (7, None)]
)
def test_unreachable_crosses_from_ipv6(code, expected):
    if expected is None:
        assert refused(clat(), error6(1, code), "icmp-unknown-type") is None
    else:
        assert read4(one(clat(), error6(1, code)))[:3] == (3, expected, 0)


@pytest.mark.parametrize("code", [0, 1])
def test_time_exceeded_crosses_both_ways(code):
    assert read6(one(clat(), error4(11, code)))[:3] == (3, code, 0)
    assert read4(one(clat(), error6(3, code)))[:3] == (11, code, 0)


POINTERS_4TO6 = {
    0: 0,
    1: 1,
    2: 4,
    3: 4,
    8: 7,
    9: 6,
    **dict.fromkeys(range(12, 16), 8),
    **dict.fromkeys(range(16, 20), 24),
}
POINTERS_6TO4 = {
    0: 0,
    1: 1,
    4: 2,
    5: 2,
    6: 9,
    7: 8,
    **dict.fromkeys(range(8, 24), 12),
    **dict.fromkeys(range(24, 40), 16),
}


@pytest.mark.parametrize("code", [0, 2])
@pytest.mark.parametrize("pointer", [*range(22), 255])
def test_a_parameter_problem_points_at_the_same_field_of_ipv6(pointer, code):
    packet = error4(12, code, pointer << 24)
    if pointer in POINTERS_4TO6:
        assert read6(one(clat(), packet))[:3] == (4, 0, POINTERS_4TO6[pointer])
    else:
        assert refused(clat(), packet, "icmp-unknown-pointer") is None


@pytest.mark.parametrize("pointer", [*range(42), 0x100, 0xFFFFFFFF])
def test_a_parameter_problem_points_at_the_same_field_of_ipv4(pointer):
    if pointer in POINTERS_6TO4:
        assert read4(one(clat(), error6(4, 0, pointer)))[:3] == (12, 0, POINTERS_6TO4[pointer] << 24)
    else:
        assert refused(clat(), error6(4, 0, pointer), "icmp-unknown-pointer") is None


def test_an_unknown_next_header_is_protocol_unreachable():
    assert read4(one(clat(), error6(4, 1, 6)))[:3] == (3, 2, 0)


UNTRANSLATABLE = [
    *(error4(kind, 0) for kind in (4, 5, 6, 9, 10, 13, 14, 15, 16, 17, 18, 40)),
    error4(12, 1),
    *(error6(kind, 0) for kind in (0, 5, 100, 127, 130, 131, 132, 133, 134, 135, 136, 137, 143, 255)),
    error6(4, 2),
]


@pytest.mark.parametrize(
    "packet", UNTRANSLATABLE, ids=lambda p: f"ipv{p[0] >> 4} type {p[20 if p[0] >> 4 == 4 else 40]}"
)
def test_other_types_are_dropped_in_silence(packet):
    assert refused(clat(), packet, "icmp-unknown-type") is None


# MTU


@pytest.mark.parametrize(
    ("mtu4", "mtu6"),
    [(1500, 1500), (1480, 1500), (1479, 1499), (1261, 1281), (1260, 1280), (1259, 1280), (68, 1280)],
)
def test_fragmentation_needed_becomes_packet_too_big(mtu4, mtu6):
    assert read6(one(clat(1500), error4(3, 4, mtu4)))[:3] == (2, 0, mtu6)


@pytest.mark.parametrize(
    ("length", "mtu6"),
    [
        (65535, 32020),
        (32000, 17934),
        (17914, 8186),
        (8166, 4372),
        (4352, 2022),
        (2003, 2022),
        (1500, 1512),
        (1492, 1280),
        (68, 1280),
    ],
)
def test_an_mtu_of_zero_is_the_next_plateau_below_the_packets_length(length, mtu6):
    quoted = IP(src=SERVER4, dst=CLIENT4, len=length) / UDP() / bytes(8)
    assert read6(one(clat(65575), error4(3, 4, 0, quoted)))[:3] == (2, 0, mtu6)


@pytest.mark.parametrize(
    ("mtu6", "mtu4"),
    [(1280, 1260), (1400, 1380), (1500, 1480), (9000, 1480), (1200, 1180), (50, 68), (0, 68)],
)
def test_packet_too_big_becomes_fragmentation_needed(mtu6, mtu4):
    assert read4(one(clat(1500), error6(2, 0, mtu6)))[:3] == (3, 4, mtu4)


def test_packet_too_big_about_a_fragment_counts_the_fragment_header():
    quoted = IPv6(src=CLIENT6, dst=SERVER6) / IPv6ExtHdrFragment(m=1, nh=17) / Raw(bytes(64))
    assert read4(one(clat(1500), error6(2, 0, 1400, quoted)))[:3] == (3, 4, 1372)


# the packet in the error


def carried(transport):
    return {TCP: 6, UDP: 17, ICMP: 1, Raw: 132}[type(transport)]


def test_the_packet_in_the_error_is_translated_but_its_ttl_stays():
    result = one(clat(), error4(3, 3))
    outer, quoted = IPv6(result), read6(result)[3]
    assert (outer.src, outer.dst, outer.hlim) == (CLIENT6, SERVER6, 63)
    inner = check(quoted)
    assert (inner.src, inner.dst, inner.hlim, inner.tc) == (SERVER6, CLIENT6, 7, 4)
    assert bytes(inner[UDP].payload) == b"0123456789"

    result = one(clat(), error6(1, 4))
    outer, quoted = IP(result), read4(result)[3]
    assert (outer.src, outer.dst, outer.ttl, outer.flags) == (SERVER4, CLIENT4, 63, 0)
    inner = check(quoted)
    assert (inner.src, inner.dst, inner.ttl, inner.tos, inner.flags) == (CLIENT4, SERVER4, 7, 4, 0)


@pytest.mark.parametrize("transport", [TCP() / b"data", ICMP(id=9) / b"data", Raw(b"whatever it may be")])
def test_every_transport_in_an_error_keeps_a_right_checksum(transport):
    quoted = IP(src=SERVER4, dst=CLIENT4, proto=carried(transport)) / transport
    inner = read6(one(clat(), error4(11, 0, quoted=quoted)))[3]
    check(inner)
    again = read4(one(plat(), one(clat(), error4(11, 0, quoted=quoted))))[3]
    assert again[20:] == bytes(quoted)[20:]


@pytest.mark.parametrize("kept", [0, 1, 3, 4, 7, 8, 15, 16, 17, 18, 40])
@pytest.mark.parametrize(
    "transport", [TCP() / bytes(40), UDP() / bytes(40), ICMP() / bytes(40), Raw(bytes(50))]
)
def test_a_packet_cut_short_in_an_error_keeps_the_length_it_had(transport, kept):
    packet = bytes(IP(src=SERVER4, dst=CLIENT4, proto=carried(transport)) / transport)
    inner = read6(one(clat(), error4(11, 0, quoted=packet[: 20 + kept])))[3]
    assert (len(inner), struct.unpack("!H", inner[4:6])[0]) == (40 + kept, len(packet) - 20)
    again = read4(one(plat(), one(clat(), error4(11, 0, quoted=packet[: 20 + kept]))))[3]
    assert again[20:] == packet[20 : 20 + kept]
    assert struct.unpack("!H", again[2:4])[0] == len(packet)


def test_options_and_extension_headers_of_a_packet_in_an_error_go():
    quoted = IPv6(src=CLIENT6, dst=SERVER6) / IPv6ExtHdrDestOpt() / UDP(sport=5, dport=6) / b"data"
    inner = check(read4(one(clat(), error6(1, 4, quoted=quoted)))[3])
    assert (inner.proto, inner.len, bytes(inner[UDP].payload)) == (17, 32, b"data")


@pytest.mark.parametrize("frag", [0, 20])
def test_a_fragment_in_an_error_keeps_its_place(frag):
    quoted = IP(src=SERVER4, dst=CLIENT4, proto=17, flags="MF", frag=frag, id=77) / Raw(bytes(64))
    inner = IPv6(read6(one(clat(), error4(11, 1, quoted=quoted)))[3])
    header = inner[IPv6ExtHdrFragment]
    assert (inner.plen, header.id, header.offset, header.m, header.nh) == (72, 77, frag, 1, 17)
    again = IP(read4(one(plat(), one(clat(), error4(11, 1, quoted=quoted))))[3])
    assert (again.id, again.frag, again.flags, again.len) == (77, frag, "MF", 84)
    assert checksum(bytes(again)[:20]) == 0


BAD_QUOTES = {
    "nothing": (b"", "icmp-inner-truncated"),
    "less than a header": (bytes(SENT4)[:19], "icmp-inner-truncated"),
    "options cut off": (b"\x4f\x00\x00\x64" + bytes(SENT4)[4:38], "icmp-inner-truncated"),
    "ihl of four": (b"\x44" + bytes(SENT4)[1:], "icmp-inner-bad-header"),
    "the other version": (bytes(SENT6), "icmp-inner-bad-header"),
    "length below its header": (bytes(SENT4)[:2] + b"\x00\x13" + bytes(SENT4)[4:], "icmp-inner-bad-header"),
    **{
        f"protocol {number}": (
            bytes(IP(src=SERVER4, dst=CLIENT4, proto=number) / Raw(b"\x06" + bytes(27))),
            "icmp-inner-bad-header",
        )
        for number in (0, 2, 43, 44, 58, 60, 135, 139, 140)
    },
    "an address without rule": (bytes(IP(src=SERVER4, dst="192.168.1.1") / UDP()), "icmp-inner-no-rule"),
    "an error": (bytes(IP(src=SERVER4, dst=CLIENT4) / ICMP(type=3) / SENT4), "icmp-nested-error"),
    "a timestamp": (bytes(IP(src=SERVER4, dst=CLIENT4) / ICMP(type=13)), "icmp-unknown-type"),
}


@pytest.mark.parametrize("name", BAD_QUOTES)
def test_an_error_about_nothing_known_is_dropped_in_silence(name):
    quoted, verdict = BAD_QUOTES[name]
    assert refused(clat(), error4(11, 0, quoted=quoted), verdict) is None


@pytest.mark.parametrize("number", [1, 2])
def test_an_error_about_what_is_never_translated_to_ipv6_is_dropped_in_silence(number):
    quoted = IPv6(src=CLIENT6, dst=SERVER6, nh=number) / Raw(b"\x08" + bytes(27))
    assert refused(clat(), error6(1, 4, quoted=quoted), "icmp-inner-bad-header") is None


def test_an_error_about_an_error_is_dropped_from_ipv6_too():
    assert refused(clat(), error6(1, 0, quoted=IPv6(error6(1, 0))), "icmp-inner-no-rule") is None
    nested = IPv6(src=CLIENT6, dst=SERVER6, nh=58) / Raw(b"\x01\x00" + bytes(46))
    assert refused(clat(), error6(1, 0, quoted=nested), "icmp-nested-error") is None
    echo = IPv6(src=CLIENT6, dst=SERVER6) / ICMPv6EchoRequest(id=3, data=b"x")
    check(read4(one(clat(), error6(1, 0, quoted=echo)))[3])


def test_an_error_with_a_wrong_checksum_is_not_made_right():
    packet = bytearray(error4(3, 3))
    packet[-1] ^= 1
    assert refused(clat(), packet, "icmp-bad-checksum") is None
    packet = bytearray(error6(1, 4))
    packet[-1] ^= 1
    assert refused(clat(), packet, "icmp-bad-checksum") is None


def test_wrong_checksums_inside_do_not_matter():
    quoted = bytearray(bytes(SENT4))
    quoted[10:12] = b"\x12\x34"
    quoted[26:28] = b"\x12\x34"
    read6(one(clat(), error4(3, 3, quoted=bytes(quoted))))


# sources of errors


def test_a_router_that_no_rule_maps_gets_the_dummy_address():
    packet = error6(3, 0, outer=IPv6(src="2001:db8::1", dst=CLIENT6))
    assert IP(one(clat(), packet)).src == "192.0.0.8"
    packet = error4(11, 0, outer=IP(src="192.168.3.4", dst=SERVER4))
    assert IPv6(one(clat(), packet)).src == "fddd:1::c000:8"


@pytest.mark.parametrize(("source", "mapped"), [("127.0.0.1", "fddd:2::7f00:1"), ("0.0.0.0", "fddd:2::")])
def test_an_illegal_source_of_an_ipv4_error_is_translated(source, mapped):
    quoted = IP(src=CLIENT4, dst=SERVER4) / UDP() / b"x"
    assert IPv6(one(plat(), error4(11, 0, quoted=quoted, outer=IP(src=source, dst=CLIENT4)))).src == mapped


# length and extensions
