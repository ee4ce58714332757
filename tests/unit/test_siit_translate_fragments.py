# SPDX-License-Identifier: ISC
"""Sizes: fragments, DF, MTU (RFC 7915 sections 4, 4.1, 5.1.1), and the segments of the TUN's offloads."""

import pytest
from scapy.layers.inet import ICMP, IP, TCP, UDP, IPOption
from scapy.layers.inet6 import ICMPv6EchoRequest, ICMPv6PacketTooBig, IPv6, IPv6ExtHdrFragment
from scapy.packet import Raw
from siit_world import CLIENTS, INTERNET, check, checksum, clat, one, plat, pseudo, refused

from siit import translator
from siit.translator import GSO_TCP, GSO_UDP, Map, Packet, Policy, translate_packet

OUT = {"src": "10.1.2.3", "dst": "198.51.100.7"}
BACK6 = {"src": "fddd:2::c633:6407", "dst": "fddd:1::a01:203"}


def fragments(rules, packet):
    verdict, packets = translator.translate(rules, bytes(packet))
    assert verdict == "fragmented"
    assert all(len(each) <= 1280 for each in packets)
    return [IPv6(each) for each in packets]


def joined(pieces):
    """What the receiver makes of fragments: the whole packet, with its header checked."""
    data = b""
    for piece in pieces:
        header = piece[IPv6ExtHdrFragment]
        assert header.offset * 8 == len(data)
        assert header.id == pieces[0][IPv6ExtHdrFragment].id
        assert header.m == (piece is not pieces[-1])
        assert len(bytes(header.payload)) % 8 == 0 or piece is pieces[-1]
        assert piece.plen == len(bytes(header))
        data += bytes(header.payload)
    whole = pieces[0].copy()
    whole.nh, whole.plen = pieces[0][IPv6ExtHdrFragment].nh, len(data)
    whole.remove_payload()
    return check(bytes(whole)[:40] + data)


@pytest.mark.parametrize("mtu6", [1280, 1281, 1402, 1500])
@pytest.mark.parametrize(
    "payload", [UDP() / bytes(1480), UDP() / bytes(5001), ICMP(id=5) / bytes(1480), TCP() / bytes(2000)]
)
def test_a_packet_without_df_and_over_the_mtu_is_cut_to_1280(mtu6, payload):
    packet = IP(**OUT, id=4321, ttl=9) / payload
    pieces = fragments(clat(mtu6), packet)
    whole = joined(pieces)
    assert whole.hlim == 8
    assert pieces[0][IPv6ExtHdrFragment].id == 4321
    expected = 58 if ICMP in packet else packet.proto
    assert whole.nh == expected
    assert bytes(whole.payload)[8:] == bytes(packet.payload)[8:] or TCP in packet


def test_the_first_piece_is_as_long_as_the_mtu_allows():
    # RFC 7915 section 4.1: 1280 less 40 and 8 leaves 1232
    pieces = fragments(clat(1280), IP(**OUT, id=1234) / TCP() / bytes(1221))
    assert [len(piece) for piece in pieces] == [1280, 57]


def test_a_fragment_is_cut_to_1280_even_where_the_mtu_is_larger():
    whole = bytes(IP(**OUT, id=99) / UDP(sport=1, dport=2) / (bytes(range(256)) * 8))[20:]
    first = bytes(IP(**OUT, id=99, flags="MF", proto=17) / Raw(whole[:1472]))
    last = bytes(IP(**OUT, id=99, frag=184, proto=17) / Raw(whole[1472:]))
    pieces = [*fragments(clat(1500), first), IPv6(one(clat(1500), last))]
    assert bytes(joined(pieces).payload)[8:] == whole[8:]


def test_a_fragment_with_df_passes_whole_when_it_fits():
    assert len(one(clat(1500), IP(**OUT, flags="DF+MF", proto=47) / Raw(bytes(1400)))) == 1448


@pytest.mark.parametrize("flags", ["DF", 0])
def test_what_fits_gets_no_fragment_header(flags):
    result = check(one(clat(1280), IP(**OUT, flags=flags) / UDP() / bytes(1232)))
    assert (len(result), result.nh) == (1280, 17)


def test_udp_without_checksum_is_computed_before_it_is_cut():
    assert joined(fragments(clat(1280), IP(**OUT) / UDP(chksum=0) / bytes(3000)))[UDP].chksum != 0


@pytest.mark.parametrize("mtu6", [1280, 1400, 1500])
def test_df_and_too_big_is_told_with_the_mtu_for_ipv4(mtu6):
    assert len(one(clat(mtu6), IP(**OUT, flags="DF") / UDP() / bytes(mtu6 - 48))) == mtu6
    error = refused(clat(mtu6), IP(**OUT, flags="DF") / UDP() / bytes(mtu6 - 47), "too-big")
    assert (error[ICMP].type, error[ICMP].code, error[ICMP].nexthopmtu) == (3, 4, mtu6 - 20)


def test_a_fragment_with_df_that_is_too_big_counts_its_fragment_header():
    error = refused(clat(1280), IP(**OUT, flags="DF+MF", proto=47) / Raw(bytes(1240)), "too-big")
    assert error[ICMP].nexthopmtu == 1280 - 28
    assert len(one(clat(1280), IP(**OUT, flags="DF+MF", proto=47) / Raw(bytes(1232)))) == 1280


def test_options_do_not_count_for_the_size():
    packet = IP(**OUT, flags="DF", options=IPOption(b"\x01" * 40)) / UDP() / bytes(1232)
    assert len(one(clat(1280), packet)) == 1280


def test_an_mtu_below_1280_counts_as_1280():
    assert len(one(clat(600), IP(**OUT, flags="DF") / UDP() / bytes(1232))) == 1280


@pytest.mark.parametrize("frag", [0, 185, 8000])
@pytest.mark.parametrize("flags", ["MF", "DF+MF", 0, "DF"])
def test_a_fragment_crosses_with_its_place(frag, flags):
    if frag == 0 and "MF" not in str(flags):
        return
    packet = IP(**OUT, id=0xBEEF, frag=frag, flags=flags, proto=47) / Raw(bytes(range(64)))
    result = IPv6(one(clat(), packet))
    header = result[IPv6ExtHdrFragment]
    assert (header.id, header.offset, header.m, header.nh) == (0xBEEF, frag, "MF" in str(flags), 47)
    assert bytes(header.payload) == bytes(range(64))
    assert (result.plen, header.res1, header.res2) == (72, 0, 0)


def test_fragments_of_udp_join_to_a_right_checksum_both_ways():
    data = bytes(range(256)) * 8
    whole = bytes(IP(**OUT, id=99, ttl=5) / UDP(sport=1, dport=2) / data)
    cut = [whole[20:1044], whole[1044:]]
    there = [
        one(clat(), IP(**OUT, id=99, ttl=5, proto=17, flags="MF" * (i == 0), frag=i * 128) / Raw(part))
        for i, part in enumerate(cut)
    ]
    assert joined([IPv6(each) for each in there])[UDP].payload.load == data
    back = [IP(one(plat(), each)) for each in there]
    assert [(each.frag, str(each.flags), each.id) for each in back] == [(0, "MF", 99), (128, "", 99)]
    transport = b"".join(bytes(each)[20:] for each in back)
    assert checksum(pseudo(bytes(back[0]), 17, len(transport)) + transport) == 0


def test_a_big_fragment_is_cut_again_and_keeps_its_place():
    packet = IP(**OUT, id=4321, flags="MF", frag=100, proto=47) / Raw(bytes(1248))
    first, second = fragments(clat(1280), packet)
    assert [(p[IPv6ExtHdrFragment].offset, p[IPv6ExtHdrFragment].m) for p in (first, second)] == [
        (100, 1),
        (254, 1),
    ]
    assert [len(first), len(second)] == [1280, 64]


@pytest.mark.parametrize("size", [1239, 1240, 1400])
@pytest.mark.parametrize("more", [0, 1])
def test_an_ipv6_fragment_crosses_without_df(size, more):
    packet = (
        IPv6(**BACK6, hlim=9) / IPv6ExtHdrFragment(id=0x01020408, offset=80, m=more, nh=6) / Raw(bytes(size))
    )
    result = IP(one(clat(), packet))
    assert (result.id, result.frag, str(result.flags)) == (0x0408, 80, "MF" * more)
    assert (result.ttl, result.proto, result.len, len(result)) == (8, 6, 20 + size, 20 + size)


def test_an_atomic_fragment_is_a_whole_packet():
    result = check(one(clat(), IPv6(**BACK6) / IPv6ExtHdrFragment(id=0x10007) / UDP() / b"x"))
    assert (result.id, result.frag, result.flags) == (7, 0, 0)
    result = check(one(clat(), IPv6(**BACK6) / IPv6ExtHdrFragment(id=1) / ICMPv6EchoRequest(data=b"x")))
    assert result[ICMP].type == 8


def test_a_fragment_of_icmp_is_not_translated():
    error = refused(clat(), IP(**OUT, flags="MF") / ICMP() / bytes(8), "icmp-fragment")
    assert (error[ICMP].type, error[ICMP].code) == (3, 13)
    assert refused(clat(), IP(**OUT, frag=4, proto=1) / Raw(bytes(8)), "icmp-fragment") is None
    packet = IPv6(**BACK6) / IPv6ExtHdrFragment(m=1) / ICMPv6EchoRequest(data=bytes(8))
    assert refused(clat(), packet, "icmp-fragment") is not None
    packet = IPv6(**BACK6) / IPv6ExtHdrFragment(offset=4, nh=58) / Raw(bytes(8))
    assert refused(clat(), packet, "icmp-fragment") is None


def test_the_first_fragment_of_udp_without_checksum_is_refused_and_later_ones_pass():
    packet = IP(**OUT, flags="MF") / UDP(chksum=0) / bytes(16)
    error = refused(clat(), packet, "udp-zero-checksum-fragment")
    assert (error[ICMP].type, error[ICMP].code) == (3, 13)
    one(clat(), IP(**OUT, frag=3, proto=17) / Raw(bytes(16)))


def test_a_first_fragment_without_the_checksum_field_is_dropped():
    assert refused(clat(), IP(**OUT, flags="MF", proto=6) / Raw(bytes(16)), "truncated") is None


def test_an_ipv6_packet_that_ipv4_cannot_hold_is_refused():
    # UDP of more than 65,507 bytes of payload is a jumbogram to IPv4
    packet = bytearray(bytes(IPv6(**BACK6, nh=47) / Raw(bytes(65516))))
    error = refused(clat(), packet, "too-long")
    assert error[ICMPv6PacketTooBig].mtu == 65535
    assert len(one(clat(), IPv6(**BACK6, nh=47) / Raw(bytes(65515)))) == 65535


# offloads


def partial(packet, offset):
    """The packet as the kernel leaves it to a device: the checksum field holds the pseudo header's sum."""
    packet = bytearray(bytes(packet))
    header = 20 if packet[0] >> 4 == 4 else 40
    protocol = packet[9] if header == 20 else packet[6]
    total = checksum(pseudo(bytes(packet), protocol, len(packet) - header)) ^ 0xFFFF
    packet[header + offset : header + offset + 2] = total.to_bytes(2, "big")
    return bytes(packet)


def completed(packet, offset):
    """What the device makes of it."""
    data = bytearray(packet.data)
    header = 20 if data[0] >> 4 == 4 else 40
    data[header + offset : header + offset + 2] = checksum(bytes(data[header:])).to_bytes(2, "big")
    return check(bytes(data))


def only(rules, packet):
    verdict, packets = translate_packet(rules, packet)
    assert verdict == "translated"
    return packets[0]


@pytest.mark.parametrize(
    ("transport", "offset"), [(TCP(sport=1) / b"partial", 16), (UDP(sport=1, dport=2) / b"partial", 6)]
)
def test_an_unfinished_checksum_stays_unfinished_and_right(transport, offset):
    there = only(clat(), Packet(partial(IP(**OUT) / transport, offset), needs_csum=True))
    assert there.needs_csum
    completed(there, offset)
    back = only(plat(), there)
    assert back.needs_csum
    assert bytes(completed(back, offset).payload) == bytes(IP(bytes(IP(**OUT) / transport)).payload)


def test_an_unfinished_checksum_is_finished_where_it_must_be():
    packet = Packet(partial(IP(**OUT) / UDP() / bytes(3000), 6), needs_csum=True)
    verdict, packets = translate_packet(clat(), packet)
    assert verdict == "fragmented"
    assert not any(each.needs_csum for each in packets)
    joined([IPv6(each.data) for each in packets])
    echo = bytearray(bytes(IP(**OUT) / ICMP() / b"echo"))
    echo[22:24] = bytes(2)
    result = only(clat(), Packet(bytes(echo), needs_csum=True))
    assert not result.needs_csum
    check(result.data)


@pytest.mark.parametrize("flags", ["DF", 0])
@pytest.mark.parametrize(("gso", "transport", "offset"), [(GSO_TCP, TCP(), 16), (GSO_UDP, UDP(), 6)])
def test_a_super_packet_crosses_as_one(flags, gso, transport, offset):
    data = partial(IP(**OUT, flags=flags) / transport / bytes(65000), offset)
    there = only(clat(1500), Packet(data, gso, 1400, needs_csum=True))
    assert (there.gso_type, there.gso_size, there.needs_csum) == (gso, 1400, True)
    assert len(there.data) == len(data) + 20
    completed(there, offset)
    back = only(plat(), there)
    assert (back.gso_type, back.gso_size, len(back.data)) == (gso, 1400, len(data))
    assert completed(back, offset).flags == "DF"


def test_what_counts_for_the_mtu_is_one_segment_with_its_headers():
    data = partial(IP(**OUT, flags="DF") / TCP() / bytes(20000), 16)
    assert only(clat(1500), Packet(data, GSO_TCP, 1440, needs_csum=True)).gso_size == 1440
    verdict, packets = translate_packet(clat(1500), Packet(data, GSO_TCP, 1441, needs_csum=True))
    assert verdict == "too-big"
    assert check(packets[0].data)[ICMP].nexthopmtu == 1480
    assert packets[0].is_error


def test_tcp_segments_without_df_are_made_shorter_instead_of_fragments():
    data = partial(IP(**OUT) / TCP() / bytes(20000), 16)
    assert only(clat(1280), Packet(data, GSO_TCP, 1440, needs_csum=True)).gso_size == 1220


@pytest.mark.parametrize("size", [1453, 1460, 2000, 30000])
@pytest.mark.parametrize("payload", [1453, 4359, 7001, 60000])
def test_udp_segments_without_df_are_cut_as_the_datagrams_that_they_stand_for(size, payload):
    if payload <= size:
        return
    data = bytes(i * 7 & 0xFF for i in range(payload))
    header = IP(**OUT, ttl=9, tos=4)
    big = partial(header.copy() / UDP(sport=5, dport=6) / data, 6)
    big = big[:4] + b"\xff\xff" + big[6:10] + bytes(2) + big[12:]  # the identification of the first
    big = big[:10] + checksum(big[:20]).to_bytes(2, "big") + big[12:]
    verdict, packets = translate_packet(clat(1500), Packet(big, GSO_UDP, size, needs_csum=True))
    assert verdict == "fragmented"
    expected = []
    for number, at in enumerate(range(0, payload, size)):
        header.id = 0xFFFF + number & 0xFFFF
        datagram = header.copy() / UDP(sport=5, dport=6) / data[at : at + size]
        expected += translator.translate(clat(1500), bytes(datagram))[1]
    assert [each.data for each in packets] == expected


def test_udp_segments_with_df_that_are_too_big_are_told_of():
    data = partial(IP(**OUT, flags="DF") / UDP() / bytes(20000), 6)
    verdict, packets = translate_packet(clat(1400), Packet(data, GSO_UDP, 1400, needs_csum=True))
    assert (verdict, check(packets[0].data)[ICMP].nexthopmtu) == ("too-big", 1380)


@pytest.mark.parametrize(
    ("lowest", "mtu6", "largest"), [(1280, 1500, 1280), (1400, 1500, 1400), (1500, 1400, 1400)]
)
def test_pieces_are_as_long_as_the_lowest_ipv6_mtu_allows(lowest, mtu6, largest):
    rules = Map([(CLIENTS, INTERNET)], mtu6, policy=Policy(lowest_mtu6=lowest))
    for packet in (IP(**OUT) / UDP() / bytes(3000), IP(**OUT, flags="MF", proto=47) / Raw(bytes(1480))):
        _, pieces = translator.translate(rules, bytes(packet))
        assert largest - 8 < len(pieces[0]) <= largest


@pytest.mark.parametrize("lowest", [0, 1279, 65536])
def test_a_lowest_mtu_that_ipv6_does_not_know_is_refused(lowest):
    with pytest.raises(ValueError, match="lowest IPv6 MTU"):
        Policy(lowest_mtu6=lowest)


@pytest.mark.parametrize("flags", [0, "MF"])
def test_udp_without_checksum_is_dropped_where_the_operator_says_so(flags):
    rules = Map([(CLIENTS, INTERNET)], policy=Policy(drops_bare_udp=True))
    assert refused(rules, IP(**OUT, flags=flags) / UDP(chksum=0) / bytes(16), "udp-zero-checksum") is None
    one(rules, IP(**OUT) / UDP() / bytes(16))
    one(
        Map([(INTERNET, CLIENTS)], policy=Policy(drops_bare_udp=True)),
        IPv6(src="fddd:1::a01:203", dst="fddd:2::c633:6407") / UDP(chksum=0),
    )


def test_small_segments_go_without_df():
    data = partial(IPv6(**BACK6) / TCP() / bytes(20000), 16)
    assert IP(only(clat(), Packet(data, GSO_TCP, 1220, needs_csum=True)).data).flags == 0
    assert IP(only(clat(), Packet(data, GSO_TCP, 1221, needs_csum=True)).data).flags == "DF"


@pytest.mark.parametrize(
    "packet",
    [
        Packet(bytes(IP(**OUT) / UDP() / bytes(99)), GSO_TCP, 50, True),
        Packet(bytes(IP(**OUT) / TCP() / bytes(99)), GSO_TCP, 0, True),
        Packet(bytes(IP(**OUT, flags="MF") / TCP() / bytes(96)), GSO_TCP, 50, True),
        Packet(bytes(IP(**OUT) / TCP(dataofs=1) / bytes(96)), GSO_TCP, 50, True),
        Packet(bytes(IP(**OUT, proto=47) / Raw(bytes(96))), 0, 0, True),
        Packet(bytes(IP(**OUT) / UDP(chksum=0) / bytes(99)), GSO_UDP, 50, False),
        Packet(bytes(IPv6(**BACK6) / UDP() / bytes(99)), GSO_TCP, 50, True),
        Packet(bytes(IPv6(**BACK6) / IPv6ExtHdrFragment() / UDP()), 0, 0, True),
    ],
)
def test_an_offload_that_the_packet_contradicts_is_dropped(packet):
    assert translate_packet(clat(), packet) == ("bad-offload", [])
