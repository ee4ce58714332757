# SPDX-License-Identifier: ISC
"""What we say to netfilter, byte for byte, and how we read its answers. The bytes are little-endian machines'."""

import socket
import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l3roamd_py.core.mapping import Mapping
from l3roamd_py.netfilter import conntrack, nfqueue
from l3roamd_py.netfilter.gate import HELD_A_CLIENT, HELD_MAX, HELD_S, WaitingRoom
from l3roamd_py.netfilter.nfnetlink import SUBSYSTEM_NFTABLES, message, transaction
from l3roamd_py.netfilter.nft import expressions as expressions
from l3roamd_py.netfilter.nft import messages as nftables
from l3roamd_py.netfilter.rules import are_independent
from l3roamd_py.netfilter.set_names import name_of_plat, plat_of_name
from l3roamd_py.netfilter.xtables import ipset
from l3roamd_py.netfilter.xtables.plat import compose
from runtime.netlink import (  # fmt: skip
    HEADER_BYTES,
    attribute,
    attributes,
    nested,
    number,
    split,
    text,
    u16,
    u32,
    u64,
    walk,
)

pytestmark = pytest.mark.skipif(sys.byteorder != "little", reason="the expected bytes are little-endian")

AT, HOME = bytes.fromhex("fd" + 14 * "00" + "0b"), bytes.fromhex("fd" + 14 * "00" + "0d")


@pytest.mark.parametrize(
    ("made", "expected"),
    [
        (attribute(1, b""), "0400 0100"),
        (attribute(2, b"\xaa"), "0500 0200 aa000000"),
        (attribute(2, b"\xaa\xbb\xcc\xdd"), "0800 0200 aabbccdd"),
        (u16(3, 0x1234), "0600 0300 12340000"),
        (u32(3, 0x12345678), "0800 0300 12345678"),
        (u64(4, 600000), "0c00 0400 00000000000927c0"),
        (text(1, "to"), "0700 0100 746f0000"),
        (nested(3, u16(1, 1), u16(2, 2)), "1400 0380 06000100 00010000 06000200 00020000"),
    ],
)
def test_an_attribute_is_length_type_value_and_padding(made, expected):
    assert made == bytes.fromhex(expected)


def test_a_message_begins_with_both_headers():
    made = message(SUBSYSTEM_NFTABLES, 12, 0x400, b"\1\2\3\4", socket.AF_INET6, 5)
    assert made == bytes.fromhex("18000000 0c0a 0104 00000000 00000000 0a 00 0005 01020304")


def test_a_transaction_has_its_messages_between_a_begin_and_an_end_and_a_check_has_no_end():
    wanted = [message(SUBSYSTEM_NFTABLES, kind, 0, b"") for kind in (14, 12)]
    whole = number(transaction(SUBSYSTEM_NFTABLES, wanted), 7)
    sent = list(split(whole))
    assert [(kind, sequence) for kind, _, sequence, _, _ in sent] == [
        (0x10, 7),
        (0xA0E, 8),
        (0xA0C, 9),
        (0x11, 10),
    ]
    assert [whole[begin:end][-2:] for *_, begin, end in (sent[0], sent[3])] == [b"\0\x0a", b"\0\x0a"]
    checked = transaction(SUBSYSTEM_NFTABLES, wanted, check_only=True)
    assert checked == transaction(SUBSYSTEM_NFTABLES, wanted)[:-1]


@given(st.binary(max_size=300))
def test_no_bytes_stop_a_walk(garbage):
    list(walk(garbage))
    list(split(garbage))
    list(split(number([garbage])))
    nfqueue.queued_packet(garbage)


def test_an_element_is_read_as_it_was_written():
    element = nftables.Element(AT, HOME, 600000, "18446744073709551615")
    made = nftables.element(element)
    # what the kernel tells is the same with the time left next to the whole
    told = nested(3, nested(1, *(attribute(k, v) for k, v in walk(dict(walk(made))[1])), u64(5, 599000)))
    assert list(nftables.elements_of(told)) == [nftables.Element(AT, HOME, 599000, "18446744073709551615")]


def test_an_addition_to_a_map_byte_for_byte():
    element = nftables.Element(AT, HOME, 600000, "7")
    made = nftables.add_elements(nftables.IPV6, "t", "from", element)
    assert made == bytes.fromhex(
        "74000000 0c0a 0106 00000000 00000000 0a000000"
        "06000100 74000000 09000200 66726f6d 00000000"
        "4c000380 48000180"
        f"18000180 14000100 {AT.hex()} 18000280 14000100 {HOME.hex()}"
        "0c000400 00000000000927c0"
        "08000600 00023700"
    )
    assert not nftables.is_deletion(made)
    assert nftables.is_deletion(nftables.delete_elements(nftables.IPV6, "t", "from", AT))


def test_a_lookup_and_a_payload_write_byte_for_byte():
    assert expressions.translate("to") == bytes.fromhex(
        "2c000180 0b000100 6c6f6f6b75700000 1c000280 07000100 746f0000 08000200 00000001 08000300 00000001"
    )
    parts = attributes(attributes(expressions.store(expressions.TRANSPORT, 32, 16, 2))[1])
    assert {key: int.from_bytes(value, "big") for key, value in walk(parts[2])} == {
        5: 1, 2: 2, 3: 32, 4: 16, 6: 1, 7: 2, 8: 0,
    }  # fmt: skip


def test_a_packet_in_the_queue_has_its_number_mac_and_source():
    packet = bytes.fromhex("4500001c000100004011") + bytes(2) + bytes((10, 126, 0, 50, 198, 51, 100, 2))
    header = attribute(1, (77).to_bytes(4, "big") + b"\x08\0\2")
    body = header + attribute(9, b"\0\6\0\0" + b"\2abcde" + b"\0\0") + attribute(10, packet)
    assert nfqueue.queued_packet(body) == nfqueue.QueuedPacket(
        77, b"\2abcde", bytes((10, 126, 0, 50)), packet
    )
    assert nfqueue.queued_packet(header) == nfqueue.QueuedPacket(77, b"", b"")
    assert nfqueue.queued_packet(attribute(10, packet)) is None


def test_a_verdict_byte_for_byte():
    assert nfqueue.verdict(5523, 77, nfqueue.ACCEPT) == bytes.fromhex(
        "20000000 0103 0100 00000000 00000000 00 00 1593 0c000200 00000001 0000004d"
    )


def test_a_member_of_an_ipset_is_read_as_it_was_written():
    for member in (ipset.Member(AT, 300, "b 7"), ipset.Member(bytes((10, 1, 2, 3)))):
        made = ipset.add("l3roamd_roamed", member)
        data = dict(walk(made[HEADER_BYTES + 4 :]))[ipset.DATA]
        assert list(ipset.members_of(nested(ipset.ELEMENTS, nested(ipset.DATA, data)))) == [member]


# --- conntrack ------------------------------------------------------------------

SERVER = bytes.fromhex("fddd" + 10 * "00" + "c6336402")
POOL = bytes.fromhex("fddd" + 10 * "00" + "c0000209")


def entry(protocol, answer, status=0x19E, **parts):
    original = attributes(conntrack._tuple(1, HOME, SERVER, protocol))[1]
    reply = attributes(conntrack._tuple(2, SERVER, POOL, answer))[2]
    return conntrack.Entry(
        {1: original, 2: reply, 3: status.to_bytes(4, "big"), 7: (600).to_bytes(4, "big"), **parts}
    )


def created(found):
    return attributes(conntrack.create_entry(found, AT)[HEADER_BYTES + 4 :])


def nat_port(parts):
    ranges = attributes(parts[conntrack.NAT_SOURCE])
    assert ranges[4] == ranges[5] == POOL
    ports = attributes(ranges[3])
    assert ports[1] == ports[2]
    return int.from_bytes(ports[1], "big")


def test_a_tcp_entry_moves_with_its_ports_state_nat_and_time():
    ports = {1: b"\6", 2: b"\x12\x34", 3: b"\0\7"}
    answer = {1: b"\6", 2: b"\0\7", 3: b"\x43\x21"}
    state = nested(
        1, attribute(1, b"\3"), attribute(2, b"\7"), attribute(3, b"\x08"), attribute(4, b"\x23\0")
    )
    found = entry(ports, answer)
    found.parts[conntrack.PROTOCOL_STATE] = state
    made = conntrack.Entry(created(found))
    assert (made.address(1, 3), made.address(1, 4), made.protocol(1)) == (AT, SERVER, ports)
    # the answer's direction before NAT, which the kernel then does again
    assert (made.address(2, 3), made.address(2, 4)) == (SERVER, AT)
    assert made.protocol(2) == {1: b"\6", 2: b"\0\7", 3: b"\x12\x34"}
    assert nat_port(made.parts) == 0x4321
    assert made.status == 0x00E  # confirmed, assured, answered; NAT's bits are the kernel's
    assert made.parts[conntrack.TIMEOUT] == found.parts[conntrack.TIMEOUT]
    tcp = attributes(attributes(made.parts[conntrack.PROTOCOL_STATE])[1])
    assert (tcp[1], tcp[2], tcp[3], tcp[4], tcp[5]) == (b"\3", b"\7", b"\x08", b"\x2b\xff", b"\x08\xff")


def test_an_echo_moves_with_its_identifier():
    echo = {1: b"\x3a", 7: b"\0\x4d", 8: b"\x80", 9: b"\0"}
    answer = {1: b"\x3a", 7: b"\x22\x22", 8: b"\x81", 9: b"\0"}
    made = conntrack.Entry(created(entry(echo, answer)))
    assert made.protocol(1) == echo
    assert made.protocol(2) == {**echo, 8: b"\x81"}
    assert nat_port(made.parts) == 0x2222


def test_an_entry_without_nat_moves_without():
    ports = {1: b"\x11", 2: b"\x12\x34", 3: b"\0\7"}
    assert conntrack.NAT_SOURCE not in created(entry(ports, ports, status=0x8))


# --- names and batches --------------------------------------------------------------


def test_a_set_of_a_plat_is_known_by_its_name_and_no_other_is_taken_for_one():
    plat = bytes.fromhex("fddd13371338020000000003") + bytes(4)
    assert name_of_plat("l3roam_", plat) == "l3roam_fddd13371338020000000003"
    assert len(name_of_plat("l3roam_", plat)) <= 31  # ipset's longest
    assert plat_of_name("l3roam_", "l3roam_fddd13371338020000000003") == plat
    for name in (
        "",
        "l3roam_",
        "l3roam_fddd",
        "l3roam_mine",
        "fddd13371338020000000003",
        "l3roam_" + 24 * "g",
    ):
        assert plat_of_name("l3roam_", name) is None


def test_mappings_that_share_an_address_are_not_independent():
    one, two = Mapping(HOME, AT, None, 60, 1), Mapping(SERVER, POOL, SERVER, 60, 1)
    assert are_independent([])
    assert are_independent([one, two])
    assert are_independent([Mapping(HOME, AT, AT, 60, 2), two])  # a renewal
    assert not are_independent([one, Mapping(HOME, POOL, AT, 60, 2)])
    assert not are_independent([one, Mapping(SERVER, POOL, AT, 60, 2)])


def walk_of(*steps):
    """Mappings: (home, at, was), letters for addresses; one whose client is at its home ends."""
    home, at, was = 0, 1, 2
    return [
        Mapping(*(each[place].encode() * 16 if each[place] else None for place in (home, at, was)), 60, 1)
        for each in steps
    ]


@pytest.mark.parametrize(
    ("steps", "moves", "moved"),
    [
        ([], "", []),
        ([("h", "a", "")], "ha", ["h"]),
        ([("h", "a", "a")], "", [""]),  # a renewal, or a ROAM once more
        ([("h", "b", "a"), ("i", "c", "")], "ab ic", ["a", "i"]),
        ([("h", "a", ""), ("h", "b", "a")], "hb ab", ["h", "ha"]),  # the whole way at once
        ([("h", "a", ""), ("h", "h", "a")], "ah", ["h", "ha"]),  # there and back
        ([("h", "h", "a"), ("i", "a", "")], "ah ia", ["a", "i"]),  # another comes to where one was
        ([("h", "a", ""), ("i", "h", ""), ("h", "b", "a")], "hb ih ab", ["h", "i", "ha"]),
    ],
)
def test_the_moves_of_a_round_come_to_one_for_each_source(steps, moves, moved):
    found, concerned = compose(walk_of(*steps))
    assert {chr(old[0]) + chr(new[0]) for old, new in found.items()} == set(moves.split())
    assert [{chr(source[0]) for source in each} for each in concerned] == [set(each) for each in moved]


# --- what waits at the gate --------------------------------------------------------

ONE, TWO = (b"\2abcde", bytes((10, 1, 2, 3))), (b"\2abcdf", bytes((10, 1, 2, 3)))


def test_a_client_waits_in_order_and_over_its_bound_the_newest_goes():
    room = WaitingRoom()
    dropped = [packet for number in range(HELD_A_CLIENT + 2) for packet in room.put(ONE, number, 0.0)]
    assert dropped == [HELD_A_CLIENT, HELD_A_CLIENT + 1]
    assert room.put(TWO, 1000, 0.0) == []
    assert room.take(ONE) == list(range(HELD_A_CLIENT))
    assert room.take(ONE) == []
    assert (room.take(TWO), room.held) == ([1000], 0)


def test_over_the_whole_bound_who_has_waited_longest_goes():
    room = WaitingRoom()
    clients = [(bytes(6), number.to_bytes(4, "big")) for number in range(HELD_MAX)]
    for place, client in enumerate(clients):
        assert room.put(client, place, 0.0) == []
    assert room.put(ONE, 5000, 1.0) == [0]
    assert room.held == HELD_MAX


def test_who_has_waited_too_long_goes():
    room = WaitingRoom()
    room.put(ONE, 1, 0.0)
    room.put(TWO, 2, 1.0)
    room.put(ONE, 3, HELD_S - 1)
    assert room.take_late(HELD_S - 0.5) == []
    assert room.take_late(HELD_S) == [1, 3]
    assert (room.take(TWO), room.held) == ([2], 0)
