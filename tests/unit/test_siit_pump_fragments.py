# SPDX-License-Identifier: ISC
"""The pump and fragments: datagrams that can only be translated whole are joined, in bounds."""

import struct
from ipaddress import IPv4Address

import pytest
from test_siit_pump import CLAT, CLIENT, PLAT, SERVER, Pump, fold, ipv4, pump, udp

from siit.translator import Map, rfc6052


def cut(packet, *sizes, identification=77):
    """An IPv4 packet's fragments, with so many bytes of transport each; the last has the rest."""
    transport, at, pieces = packet[20:], 0, []
    for size in (*sizes, len(transport)):
        part = transport[at : at + size]
        more = 0x2000 if at + len(part) < len(transport) else 0
        source = IPv4Address(packet[12:16])
        pieces.append(
            ipv4(packet[9], part, flags=more | at // 8, identification=identification, source=source)
        )
        at += len(part)
    return pieces


def bare_udp(payload, **header):
    packet = udp(payload, **header)
    return ipv4(17, packet[20:26] + bytes(2) + packet[28:], source=header.get("source", CLIENT))


def join6(packets):
    """The transport that IPv6 fragments, in their order, or one packet without a fragment header, carry."""
    if len(packets) == 1 and packets[0][6] != 44:
        return packets[0][40:]
    whole = b""
    for packet in packets:
        offset = struct.unpack_from("!H", packet, 42)[0]
        assert offset & 0xFFF8 == len(whole)
        assert bool(offset & 1) == (packet is not packets[-1])
        whole += packet[48:]
    return whole


def is_right_udp6(transport):
    addresses = CLAT.packed[:12] + CLIENT.packed + PLAT.packed[:12] + SERVER.packed
    return fold(transport, fold(addresses + struct.pack("!II", len(transport), 17))) == 0xFFFF


@pytest.mark.parametrize("sizes", [(8,), (1480,), (1480, 1480), (8, 16, 24)])
def test_fragments_of_udp_without_a_checksum_get_one_over_the_whole(sizes):
    payload = bytes(i * 31 & 0xFF for i in range(3100))
    with pump(*cut(bare_udp(payload), *sizes)) as it:
        transport = join6([packet for _, packet in it.get(3)])
        assert is_right_udp6(transport)
        assert (transport[:4], transport[8:]) == (struct.pack("!HH", 1000, 2000), payload)
        assert it.counters()["reassembled"] == len(sizes) + 1
        assert "udp-zero-checksum-fragment" not in it.counters()


def test_a_small_datagram_in_fragments_leaves_as_one_packet_and_in_its_place():
    with pump(udp(b"before"), *cut(bare_udp(b"x" * 40), 24), udp(b"behind")) as it:
        got = [packet for _, packet in it.get(3)]
        assert [packet[48:] for packet in got] == [b"before", b"x" * 40, b"behind"]
        assert is_right_udp6(join6(got[1:2]))


def echo4(payload):
    message = struct.pack("!BBHHH", 8, 0, 0, 7, 1) + payload
    return ipv4(1, message[:2] + struct.pack("!H", 0xFFFF ^ fold(message)) + message[4:], flags=0)


def test_a_ping_of_any_size_crosses_both_translators():
    payload = bytes(i & 0xFF for i in range(4000))
    with pump(*cut(echo4(payload), 1480, 1480)) as there:
        pieces = [packet for _, packet in there.get(4)]
    back_rules = Map(
        [(rfc6052(bytes(4), 0, PLAT.packed, 96), rfc6052(bytes((10, 0, 0, 0)), 8, CLAT.packed, 96))]
    )
    with Back(back_rules) as back:
        for piece in pieces:
            back.put(piece)
        ((_, packet),) = back.get(1)
    assert (packet[0], packet[9], struct.unpack_from("!H", packet, 6)[0]) == (0x45, 1, 0), (
        "no DF: the WAN may cut it"
    )
    assert fold(packet[20:]) == 0xFFFF
    assert packet[28:] == payload


class Back(Pump):
    """A pump with rules of the caller's own, for as long as the block lasts."""

    def __init__(self, rules):
        super().__init__()
        self.use(rules)

    def __enter__(self):
        self.run()
        return self

    def __exit__(self, *_):
        self.close()


def test_fragments_with_a_checksum_are_translated_one_by_one():
    with pump(*cut(udp(b"y" * 100), 56)) as it:
        packets = [packet for _, packet in it.get(2)]
        assert [packet[6] for packet in packets] == [44, 44]
        assert is_right_udp6(join6(packets))
        assert "reassembled" not in it.counters()


def test_two_datagrams_whose_fragments_mix_are_told_apart():
    first = cut(bare_udp(b"a" * 40), 24, identification=1)
    second = cut(bare_udp(b"b" * 40), 24, identification=2)
    with pump(first[0], second[0], first[1], second[1]) as it:
        assert [packet[48:] for _, packet in it.get(2)] == [b"a" * 40, b"b" * 40]


def test_what_never_becomes_whole_makes_room_and_is_never_sent():
    """More unfinished datagrams than there are places; then one that is finished."""
    heads = [cut(bare_udp(b"z" * 2000), 1480, identification=i)[0] for i in range(100)]
    with pump(*heads, *cut(bare_udp(b"whole" * 8), 24, identification=200)) as it:
        ((_, packet),) = it.get(1)
        assert packet[48:] == b"whole" * 8
        assert it.counters()["reassembled"] == 102


def test_who_begins_many_datagrams_takes_no_place_of_others():
    first, second = cut(bare_udp(b"victim" * 8, source=IPv4Address("10.0.0.9")), 24, identification=200)
    heads = [cut(bare_udp(b"z" * 2000), 1480, identification=i)[0] for i in range(100)]
    with pump(*heads[:50], first, *heads[50:], second) as it:
        ((_, packet),) = it.get(1)
        assert packet[48:] == b"victim" * 8


BROKEN_ROWS = {
    "a hole": lambda a: [a[0], a[2]],
    "a piece twice": lambda a: [a[0], a[1], a[1], a[2]],
    "a piece of no multiple of eight": lambda a: [a[0], cut(bare_udp(b"q" * 60), 24, 20)[1], a[2]],
    "the end first": lambda a: [a[2], a[0], a[1]],
}


@pytest.mark.parametrize("name", BROKEN_ROWS)
def test_a_datagram_that_does_not_continue_is_given_up(name):
    pieces = cut(bare_udp(b"q" * 60), 24, 24)
    with pump(*BROKEN_ROWS[name](pieces), udp(b"behind", sport=9)) as it:
        got = []
        while not got or got[-1][48:] != b"behind":
            got += [packet for _, packet in it.get(1)]
        assert not any(packet[6] == 17 and len(packet) > 54 for packet in got), "no datagram was made of it"


def test_fragments_of_more_than_65535_bytes_are_given_up():
    pieces = [ipv4(17, struct.pack("!HHHH", 1, 2, 8, 0) + bytes(1472), flags=0x2000, identification=5)]
    pieces += [ipv4(17, bytes(1480), flags=0x2000 | i * 185, identification=5) for i in range(1, 45)]
    with pump(*pieces, udp(b"behind")) as it:
        got = it.get(1)
        while got[-1][1][48:] != b"behind":
            got += it.get(1)
        assert all(len(packet) < 2000 for _, packet in got)
