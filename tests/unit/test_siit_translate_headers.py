# SPDX-License-Identifier: ISC
"""IP headers and transports, RFC 7915 sections 4.1, 4.5, 5.1, 5.5; what is dropped in silence."""

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP
from scapy.layers.inet6 import (
    ICMPv6DestUnreach,
    ICMPv6EchoReply,
    ICMPv6EchoRequest,
    ICMPv6ParamProblem,
    ICMPv6TimeExceeded,
    IPv6,
    IPv6ExtHdrDestOpt,
    IPv6ExtHdrFragment,
    IPv6ExtHdrHopByHop,
    IPv6ExtHdrRouting,
)
from scapy.packet import Raw
from siit_world import check, checksum, clat, one, plat, refused

from siit import translator

CLIENT4, SERVER4 = "10.1.2.3", "198.51.100.7"
CLIENT6, SERVER6 = "fddd:1::a01:203", "fddd:2::c633:6407"
OUT = {"src": CLIENT4, "dst": SERVER4}  # the way from client to server, in the one world and in the other
OUT6 = {"src": CLIENT6, "dst": SERVER6}
BACK6 = {"src": SERVER6, "dst": CLIENT6}

TRANSPORTS = {
    "tcp": TCP(sport=1234, dport=80, flags="PA", seq=7) / b"GET /",
    "tcp with options": TCP(sport=1, dport=2, flags="S", options=[("MSS", 1460), ("WScale", 7)]),
    "udp": UDP(sport=53, dport=5353) / b"odd",
    "udp without payload": UDP(sport=1, dport=2),
    "udp whose sum is zero": UDP(sport=0, dport=0) / b"\x00\x00",
    "gre": Raw(b"\x00\x00\x08\x00" + bytes(24)),
}


@pytest.mark.parametrize("name", TRANSPORTS)
def test_a_transport_crosses_with_its_checksum_made_right(name):
    number = {"tcp": 6, "udp": 17}.get(name.split()[0], 47)
    payload = TRANSPORTS[name]
    there = check(one(clat(), IP(**OUT, ttl=64, proto=number, tos=0xB9) / payload))
    assert (there.src, there.dst, there.hlim, there.tc, there.fl) == (CLIENT6, SERVER6, 63, 0xB9, 0)
    assert there.nh == number
    back = check(one(clat(), IPv6(**BACK6, hlim=64, nh=number, tc=0xB9, fl=0x12345) / payload))
    assert (back.src, back.dst, back.ttl, back.tos, back.proto) == (SERVER4, CLIENT4, 63, 0xB9, number)


@pytest.mark.parametrize("protocol", [4, 33, 41, 47, 50, 51, 59, 89, 132, 136, 253, 255])
def test_other_protocols_pass_unchanged(protocol):
    payload = bytes(range(7))
    assert one(clat(), IP(**OUT, proto=protocol) / payload)[40:] == payload
    assert one(clat(), IPv6(**BACK6, nh=protocol) / Raw(payload))[20:] == payload


@pytest.mark.parametrize(("there", "back"), [(8, ICMPv6EchoRequest), (0, ICMPv6EchoReply)])
def test_echo_crosses_both_ways(there, back):
    data = b"abcdefg"
    result = check(one(clat(), IP(**OUT) / ICMP(type=there, id=77, seq=3) / data))
    assert (result[back].id, result[back].seq, result[back].data) == (77, 3, data)
    again = check(one(plat(), bytes(result)))
    assert (again[ICMP].type, again[ICMP].id, again[ICMP].seq, bytes(again[ICMP].payload)) == (
        there,
        77,
        3,
        data,
    )


@pytest.mark.parametrize("size", [0, 1, 56])
def test_an_echo_reply_of_zeros_has_a_checksum_that_is_none(size):
    # RFC 1624 section 3: an incremental update cannot tell the two zeros apart
    result = one(clat(), IPv6(**BACK6) / ICMPv6EchoReply(id=0, seq=0, data=bytes(size)))
    check(result)
    assert result[22:24] == b"\xff\xff"


def test_a_wrong_checksum_stays_wrong():
    packet = bytearray(bytes(IP(**OUT) / UDP() / b"data"))
    packet[-1] ^= 1
    with pytest.raises(AssertionError):
        check(one(clat(), packet))


def test_udp_without_checksum_gets_one():
    result = check(one(clat(), IP(**OUT) / UDP(sport=1, dport=2, chksum=0) / b"hello"))
    assert result[UDP].chksum != 0


def test_udp_without_checksum_and_a_wrong_length_is_dropped():
    packet = IP(**OUT) / UDP(chksum=0, len=100) / b"hello"
    assert refused(clat(), packet, "bad-udp-length") is None


def test_udp_without_checksum_from_ipv6_stays_without():
    result = IP(one(clat(), IPv6(**BACK6) / UDP(chksum=0) / b"tunnel"))
    assert result[UDP].chksum == 0


@pytest.mark.parametrize(("size", "has_df"), [(1260, False), (1261, True)])
def test_df_is_set_on_what_is_longer_than_1260_bytes(size, has_df):
    result = check(one(clat(), IPv6(**BACK6) / UDP() / bytes(size - 28)))
    assert len(result) == size
    assert (result.flags == "DF") is has_df


def test_identifications_of_packets_that_may_be_fragmented_differ():
    seen = {IP(one(clat(), IPv6(**BACK6) / UDP(sport=i) / bytes([i]))).id for i in range(100)}
    assert len(seen) > 90


def test_bytes_behind_the_packet_are_the_links():
    packet = bytes(IP(**OUT) / UDP() / b"x")
    assert one(clat(), packet + bytes(18)) == one(clat(), packet)
    packet = bytes(IPv6(**BACK6) / UDP() / b"x")
    assert one(clat(), packet + bytes(18)) == one(clat(), packet)


# TTL, options, extension headers


@pytest.mark.parametrize("ttl", [0, 1])
def test_a_ttl_that_runs_out_is_told(ttl):
    error = refused(clat(), IP(**OUT, ttl=ttl) / UDP() / b"probe", "ttl-exceeded")
    assert (error.src, error.dst, error[ICMP].type, error[ICMP].code) == ("192.0.0.8", CLIENT4, 11, 0)
    error = refused(clat(), IPv6(**BACK6, hlim=ttl) / UDP() / b"probe", "ttl-exceeded")
    assert (error.src, error.dst, error.hlim) == ("fddd:1::c000:8", SERVER6, 64)
    assert error[ICMPv6TimeExceeded].code == 0


def test_ttl_two_is_enough():
    assert IPv6(one(clat(), IP(**OUT, ttl=2) / UDP())).hlim == 1


OPTIONS = {
    "expired source route": bytes([131, 7, 8, 1, 2, 3, 4, 0]),
    "record route and end": bytes([7, 7, 4, 1, 2, 3, 4, 0]),
    "end before a source route": bytes([1, 0, 131, 5, 4, 0, 0, 0]),
    "option of length 0": bytes([99, 0, 131, 5]),
    "option behind the end": bytes([99, 9, 131, 5]),
    "source route cut off": bytes([1, 1, 1, 131]),
}


@pytest.mark.parametrize("name", OPTIONS)
def test_options_are_dropped(name):
    packet = with_options(OPTIONS[name])
    plain = check(one(clat(), packet))
    assert bytes(plain.payload) == bytes(IPv6(one(clat(), IP(**OUT) / UDP() / b"data")).payload)


@pytest.mark.parametrize("kind", [131, 137])
def test_an_unexpired_source_route_is_refused(kind):
    error = refused(clat(), with_options(bytes([1, kind, 7, 4, 1, 2, 3, 4])), "source-route")
    assert (error[ICMP].type, error[ICMP].code) == (3, 5)


def with_options(options):
    packet = bytearray(bytes(IP(**OUT) / UDP() / b"data"))
    packet[0] = 0x45 + len(options) // 4
    packet[2:4] = (len(packet) + len(options)).to_bytes(2, "big")
    packet[20:20] = options
    packet[10:12] = bytes(2)
    packet[10:12] = checksum(bytes(packet[: 20 + len(options)])).to_bytes(2, "big")
    return bytes(packet)


EXTENSIONS = {
    "hop by hop": IPv6ExtHdrHopByHop(),
    "destination options": IPv6ExtHdrDestOpt(),
    "routing that has arrived": IPv6ExtHdrRouting(addresses=["::1"], segleft=0),
    "several": IPv6ExtHdrHopByHop()
    / IPv6ExtHdrDestOpt()
    / IPv6ExtHdrRouting(segleft=0)
    / IPv6ExtHdrDestOpt(),
}


@pytest.mark.parametrize("name", EXTENSIONS)
def test_extension_headers_are_skipped(name):
    plain = one(clat(), IPv6(**BACK6) / UDP() / b"data")
    assert one(clat(), IPv6(**BACK6) / EXTENSIONS[name] / UDP() / b"data") == plain


def test_extension_headers_before_a_fragment_header_are_skipped_with_it():
    packet = (
        IPv6(**BACK6) / IPv6ExtHdrDestOpt() / IPv6ExtHdrFragment(id=0x10203, m=1) / UDP(len=100) / bytes(8)
    )
    result = IP(one(clat(), packet))
    assert (result.id, result.flags, result.frag, result.proto) == (0x203, "MF", 0, 17)


def test_a_routing_header_on_its_way_is_a_parameter_problem():
    packet = IPv6(**BACK6) / IPv6ExtHdrDestOpt() / IPv6ExtHdrRouting(addresses=["::1"], segleft=1) / UDP()
    error = refused(clat(), packet, "source-route")
    assert (error[ICMPv6ParamProblem].code, error[ICMPv6ParamProblem].ptr) == (0, 40 + 8 + 3)


@pytest.mark.parametrize("header", [IPv6ExtHdrHopByHop(), IPv6ExtHdrDestOpt(), IPv6ExtHdrRouting(segleft=0)])
def test_an_extension_header_behind_a_fragment_header_is_refused(header):
    packet = IPv6(**BACK6) / IPv6ExtHdrFragment(m=1) / header / UDP()
    error = refused(clat(), packet, "extension-after-fragment")
    assert error[ICMPv6DestUnreach].code == 1


def test_no_next_header_passes():
    assert IP(one(clat(), IPv6(**BACK6, nh=59))).proto == 59


# what is no packet, or none that may be forwarded

BROKEN = {
    "nothing": (b"", "truncated"),
    "one byte of ipv4": (b"\x45", "truncated"),
    "ipv4 header cut off": (bytes(IP(**OUT))[:19], "truncated"),
    "ipv4 payload cut off": (bytes(IP(**OUT) / UDP() / b"abc")[:-1], "truncated"),
    "ihl of four": (b"\x44" + bytes(IP(**OUT))[1:], "bad-header"),
    "total length below the header": (bytes(IP(**OUT, len=19)), "bad-header"),
    "header checksum": (bytes(IP(**OUT, chksum=0x1234)), "bad-header-checksum"),
    "version five": (b"\x50" + bytes(40), "bad-header"),
    "udp header cut off": (bytes(IP(**OUT, proto=17) / Raw(bytes(7))), "truncated"),
    "tcp header cut off": (bytes(IP(**OUT, proto=6) / Raw(bytes(19))), "truncated"),
    "echo cut off": (bytes(IP(**OUT, proto=1) / Raw(b"\x08" + bytes(6))), "truncated"),
    "fragments of more than 65535 bytes": (bytes(IP(**OUT, frag=8191, proto=17) / bytes(100)), "bad-header"),
    "ipv6 header cut off": (bytes(IPv6(**BACK6))[:39], "truncated"),
    "ipv6 payload cut off": (bytes(IPv6(**BACK6) / UDP() / b"abc")[:-1], "truncated"),
    "extension header cut off": (bytes(IPv6(**BACK6, nh=0) / Raw(b"\x11\x01" + bytes(6))), "truncated"),
    "icmpv6 in ipv4": (bytes(IP(**OUT, proto=58) / Raw(b"\x80" + bytes(7))), "foreign-icmp"),
    "igmp": (bytes(IP(**OUT, proto=2) / Raw(b"\x16" + bytes(7))), "igmp"),
    "igmp at its last hop": (bytes(IP(**{**OUT, "ttl": 1}, proto=2) / Raw(b"\x16" + bytes(7))), "igmp"),
    "icmpv4 in ipv6": (bytes(IPv6(**BACK6, nh=1) / Raw(b"\x08" + bytes(7))), "foreign-icmp"),
    "igmp in ipv6": (bytes(IPv6(**BACK6, nh=2) / Raw(b"\x16" + bytes(7))), "igmp"),
    "igmp behind options": (
        bytes(IPv6(**BACK6) / IPv6ExtHdrDestOpt(nh=2) / Raw(b"\x16" + bytes(7))),
        "igmp",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_what_is_broken_is_dropped_in_silence(name):
    packet, verdict = BROKEN[name]
    assert refused(clat(), packet, verdict) is None


EXTENSION_NUMBERS = [
    0,
    43,
    44,
    60,
    135,
    139,
    140,
]  # RFC 7045 section 4, without AH and ESP, which both versions have
# a header of eight bytes whose next header is TCP, and a TCP SYN to port 80 behind it
HIDDEN_TCP = b"\x06\x00\x01\x04" + bytes(4) + bytes(TCP(sport=1000, dport=80, flags="S"))


@pytest.mark.parametrize("number", EXTENSION_NUMBERS)
@pytest.mark.parametrize(
    ("rules", "addresses"), [(clat(), OUT), (plat(), {**OUT, "src": SERVER4, "dst": CLIENT4})]
)
def test_no_protocol_number_becomes_an_extension_header_with_a_transport_behind_it(rules, addresses, number):
    error = refused(rules, IP(**addresses, proto=number) / Raw(HIDDEN_TCP), "extension-number")
    assert (error.dst, error[ICMP].type, error[ICMP].code) == (addresses["src"], 3, 2)
    refused(rules, IP(**addresses, proto=number, flags="MF") / Raw(HIDDEN_TCP), "extension-number")
    assert refused(rules, IP(**addresses, proto=number, frag=8) / Raw(HIDDEN_TCP), "extension-number") is None


def test_a_translated_packet_shows_the_transport_of_the_original_alone():
    """Of all 256 numbers: what passes both ways comes out with its number and its payload as they were."""
    for number in set(range(256)) - {1, 6, 17}:  # which have a checksum, and tests of their own
        verdict, packets = translator.translate(clat(), bytes(IP(**OUT, proto=number) / Raw(HIDDEN_TCP)))
        if verdict != "translated":
            assert number in [2, 58, *EXTENSION_NUMBERS]
            continue
        there = one(plat(), packets[0])
        assert (there[9], there[20:]) == (number, HIDDEN_TCP)


@pytest.mark.parametrize(
    "source", ["0.0.0.0", "0.1.2.3", "127.0.0.1", "224.0.0.1", "255.255.255.255", "169.254.1.1"]
)
def test_an_illegal_ipv4_address_is_dropped_in_silence(source):
    assert refused(plat(), IP(src=source, dst=CLIENT4) / UDP(), "illegal-source") is None
    assert refused(clat(), IP(src=CLIENT4, dst=source) / UDP(), "illegal-destination") is None
    inside6 = "fddd:2::" + source
    assert refused(clat(), IPv6(src=inside6, dst=CLIENT6) / UDP(), "illegal-source") is None
    assert refused(plat(), IPv6(src=CLIENT6, dst=inside6) / UDP(), "illegal-destination") is None


@pytest.mark.parametrize("source", ["::", "::1", "fe80::1", "ff02::1"])
def test_an_illegal_ipv6_address_is_dropped_in_silence(source):
    assert refused(clat(), IPv6(src=source, dst=CLIENT6) / UDP(), "illegal-source") is None
    assert refused(clat(), IPv6(src=SERVER6, dst=source) / UDP(), "illegal-destination") is None


def test_an_address_that_no_rule_maps_is_prohibited():
    error = refused(clat(), IP(src="192.168.0.1", dst=SERVER4) / UDP(), "no-rule-source")
    assert (error.dst, error[ICMP].type, error[ICMP].code) == ("192.168.0.1", 3, 13)
    error = refused(plat(), IP(src=SERVER4, dst="192.168.0.1") / UDP(), "no-rule-destination")
    assert (error.dst, error[ICMP].type, error[ICMP].code) == (SERVER4, 3, 13)
    error = refused(clat(), IPv6(src="2001:db8::1", dst=CLIENT6) / UDP(), "no-rule-source")
    assert (error.src, error.dst, error[ICMPv6DestUnreach].code) == ("fddd:1::c000:8", "2001:db8::1", 1)
    error = refused(clat(), IPv6(src=SERVER6, dst="fddd:1::c000:1") / UDP(), "no-rule-destination")
    assert (error.src, error[ICMPv6DestUnreach].code) == ("fddd:1::c000:8", 1)


def test_an_error_of_ours_quotes_no_more_than_576_and_1280_bytes():
    error = refused(clat(), IP(**OUT, ttl=1) / UDP() / bytes(1200), "ttl-exceeded")
    assert len(error) == 576
    error = refused(clat(), IPv6(**BACK6, hlim=1) / UDP() / bytes(1400), "ttl-exceeded")
    assert len(error) == 1280


SILENT = {
    "ipv4 error": IP(**OUT, ttl=1) / ICMP(type=3) / IP() / UDP(),
    "ipv4 fragment that is not the first": IP(**OUT, ttl=1, frag=5) / Raw(bytes(8)),
    "ipv6 error": IPv6(**BACK6, hlim=1) / ICMPv6DestUnreach() / IPv6() / UDP(),
    "ipv6 error behind options": IPv6(**BACK6, hlim=1) / IPv6ExtHdrDestOpt() / ICMPv6DestUnreach() / IPv6(),
    "redirect": IP(**OUT, ttl=1) / ICMP(type=5) / IP() / UDP(),
}


@pytest.mark.parametrize("name", SILENT)
def test_no_error_is_sent_about(name):
    assert refused(clat(), SILENT[name], "ttl-exceeded") is None


def test_every_verdict_has_a_name_and_a_meaning():
    assert translator.VERDICTS[:2] == ("translated", "fragmented")
    assert len(set(translator.VERDICTS)) == len(translator.VERDICTS)
    assert all(translator.MEANINGS[name] for name in translator.VERDICTS)


# addresses

# RFC 6052 section 2.4
