# SPDX-License-Identifier: ISC
"""Cases of what we say to netfilter, byte for byte, how we read its answers, and what waits; for both Pythons."""

import sys

from l3roamd_py.core.mapping import Mapping
from l3roamd_py.netfilter import nfqueue
from l3roamd_py.netfilter.gate import QUEUED_MAX, QUEUED_PER_CLIENT, QUEUED_S, make_room
from l3roamd_py.netfilter.nfnetlink import FAMILY_BYTES, SUBSYSTEM_NFTABLES, message, transaction
from l3roamd_py.netfilter.nft import expressions, hosts, ruleset
from l3roamd_py.netfilter.nft import messages as nftables
from l3roamd_py.netfilter.nft.table import layout
from l3roamd_py.netfilter.onward import CARE_OF_MAX, CareOf
from l3roamd_py.netfilter.rules import (
    PLATS_MAX,
    RulesError,
    independent_rounds,
    name_of_plat,
    plat_of_name,
    serial_of,
    spare_plats,
)
from l3roamd_py.netfilter.xtables import conntrack, ipset, onward
from l3roamd_py.netfilter.xtables.plat import compose
from runtime import netlink
from runtime.netlink import (  # fmt: skip
    HEADER_BYTES,
    MESSAGE_DONE,
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
from runtime.netlink_socket import Skim

AT, HOME = bytes.fromhex("fd" + 14 * "00" + "0b"), bytes.fromhex("fd" + 14 * "00" + "0d")
SERVER = bytes.fromhex("fddd" + 10 * "00" + "c6336402")
POOL = bytes.fromhex("fddd" + 10 * "00" + "c0000209")


def need(made, expected):
    """The bytes are a little-endian machine's."""
    assert sys.byteorder != "little" or made == bytes.fromhex(expected.replace(" ", "")), made.hex()


def case_netfilter_attribute_is_length_type_value_and_padding():
    for made, expected in (
        (attribute(1, b""), "0400 0100"),
        (attribute(2, b"\xaa"), "0500 0200 aa000000"),
        (attribute(2, b"\xaa\xbb\xcc\xdd"), "0800 0200 aabbccdd"),
        (u16(3, 0x1234), "0600 0300 12340000"),
        (u32(3, 0x12345678), "0800 0300 12345678"),
        (u64(4, 600000), "0c00 0400 00000000000927c0"),
        (text(1, "to"), "0700 0100 746f0000"),
        (nested(3, u16(1, 1), u16(2, 2)), "1400 0380 06000100 00010000 06000200 00020000"),
    ):
        need(made, expected)


def case_netfilter_message_begins_with_both_headers():
    made = message(SUBSYSTEM_NFTABLES, 12, 0x400, b"\1\2\3\4", 10, 5)
    need(made, "18000000 0c0a 0104 00000000 00000000 0a 00 0005 01020304")


def case_netfilter_transaction_has_a_begin_and_an_end_and_a_check_has_no_end():
    wanted = [message(SUBSYSTEM_NFTABLES, kind, 0, b"") for kind in (14, 12)]
    whole = number(transaction(SUBSYSTEM_NFTABLES, wanted), 7)
    sent = list(split(whole))
    kinds = [(kind, sequence) for kind, _, sequence, _, _ in sent]
    assert kinds == [(0x10, 7), (0xA0E, 8), (0xA0C, 9), (0x11, 10)]
    assert [whole[each[3] : each[4]][-2:] for each in (sent[0], sent[3])] == [b"\0\x0a", b"\0\x0a"]
    checked = transaction(SUBSYSTEM_NFTABLES, wanted, check_only=True)
    assert checked == transaction(SUBSYSTEM_NFTABLES, wanted)[:-1]


def case_netfilter_element_is_read_as_it_was_written():
    element = nftables.Element(AT, HOME, 600000, "18446744073709551615")
    written = dict(walk(nftables.element(element)))[1]
    # what the kernel tells is the same with the time left next to the whole
    parts = [attribute(kind, value) for kind, value in walk(written)] + [u64(5, 599000)]
    found = list(nftables.elements_of(nested(3, nested(1, *parts))))
    assert found == [nftables.Element(AT, HOME, 599000, "18446744073709551615")]


def case_netfilter_comment_of_somebody_else_is_none():
    """Anybody who is root may write one, in no text at all."""
    parts = [nested(1, attribute(1, AT)), attribute(6, b"\0\3\xff\xfe\0")]
    assert list(nftables.elements_of(nested(3, nested(1, *parts))))[0].comment is None
    member = nested(ipset.DATA, nested(ipset.ADDRESS, attribute(1, AT)), attribute(ipset.COMMENT, b"\xff\0"))
    assert list(ipset.members_of(nested(ipset.ELEMENTS, member))) == [ipset.Member(AT)]


def case_netfilter_serial_is_one_of_ours():
    assert [serial_of(each) for each in ("0", "7", "18446744073709551615")] == [0, 7, 18446744073709551615]
    for wrong in ("", "-1", "+1", " 1", "1 ", "1_0", "x", "\u00b2", 21 * "1"):
        assert serial_of(wrong) is None, wrong


def case_netfilter_addition_to_a_map():
    element = nftables.Element(AT, HOME, 600000, "7")
    made = nftables.add_elements(nftables.IPV6, "t", "from", element)
    need(
        made,
        "74000000 0c0a 0106 00000000 00000000 0a000000"
        "06000100 74000000 09000200 66726f6d 00000000"
        "4c000380 48000180"
        "18000180 14000100 %s 18000280 14000100 %s"
        "0c000400 00000000000927c0"
        "08000600 00023700" % (AT.hex(), HOME.hex()),
    )
    assert not nftables.is_deletion(made)
    assert nftables.is_deletion(nftables.delete_elements(nftables.IPV6, "t", "from", AT))


def case_netfilter_lookup_and_payload():
    need(
        expressions.translate("to"),
        "2c000180 0b000100 6c6f6f6b75700000 1c000280 07000100 746f0000 08000200 00000001 08000300 00000001",
    )
    parts = attributes(attributes(expressions.store(expressions.TRANSPORT, 32, 16, 2))[1])
    found = {key: int.from_bytes(value, "big") for key, value in walk(parts[2])}
    assert found == {5: 1, 2: 2, 3: 32, 4: 16, 6: 1, 7: 2, 8: 0}


def case_netfilter_queue_of_iptables_is_an_expression_of_nf_tables():
    need(
        expressions.queue_of_xtables(5523),
        "34000180 0b000100 7461726765740000 24000280 0c000100 4e46515545554500 08000200 00000003"
        "0c000300 9315 0100 0100 0000",
    )


def case_netfilter_what_is_nobodys_meets_a_rule_or_two_in_each_chain_that_has_a_hook():
    rules = ruleset.Ruleset("br-client", "clat")
    rules.hold, rules.hold_wanted = expressions.queue(1), expressions.queue(2)
    rules.network, rules.clat_range, rules.current = (bytes((10, 126, 0, 1)), 16), AT, SERVER
    rules.prefixes = ((HOME[:8] + bytes(8), 64),)
    of_hosts = hosts.NftHosts(None, "br-client", HOME, AT)
    of_hosts.current = SERVER
    for table, made, most in (
        (ruleset.TABLE4, rules.of(ruleset.TABLE4), 1),
        (ruleset.TABLE6, rules.of(ruleset.TABLE6), 3),
        (hosts.TABLE, of_hosts.rules(), 2),
    ):
        met = {chain.name: 0 for chain in table.chains}
        for rule in made:
            met[attributes(rule[HEADER_BYTES + 4 :])[2].rstrip(b"\0").decode()] += 1
        assert all(met.values()), met
        assert all(met[each.name] <= most for each in table.chains if each.hook not in (None, 3)), met


def case_netfilter_layout_is_told_by_the_comment():
    """The same on both Pythons, so that one takes over what the other made."""
    chains, sets = [nftables.Chain("c", 0, -350)], [nftables.Set("s", 8, 16)]
    assert layout(10, "t", chains, sets).comment == "l3roamd_py 99dbb5828f8f"
    assert layout(10, "t", chains, sets, "x").comment != layout(10, "t", chains, sets).comment


def case_netfilter_queued_packet_has_its_number_mac_and_source():
    packet = bytes.fromhex("4500001c000100004011") + bytes(2) + bytes((10, 126, 0, 50, 198, 51, 100, 2))
    header = attribute(1, (77).to_bytes(4, "big") + b"\x08\0\2")
    body = header + attribute(9, b"\0\6\0\0" + b"\2abcde" + b"\0\0") + attribute(10, packet)
    body += attribute(3, b"\x20\0\0\7") + attribute(5, b"\0\0\0\x09")
    queued = nfqueue.QueuedPacket(77, b"\2abcde", bytes((10, 126, 0, 50)), packet, 0x20000007, 2, 9)
    assert nfqueue.queued_packet(body) == queued
    assert nfqueue.queued_packet(header) == nfqueue.QueuedPacket(77, b"", b"", hook=2)
    assert nfqueue.queued_packet(attribute(10, packet)) is None


def case_netfilter_verdict():
    need(
        nfqueue.verdict(5523, 77, nfqueue.ACCEPT),
        "20000000 0103 0100 00000000 00000000 00 00 1593 0c000200 00000001 0000004d",
    )
    need(
        nfqueue.verdict(5523, 77, nfqueue.REPEAT, 0x20000007),
        "28000000 0103 0100 00000000 00000000 00 00 1593 0c000200 00000004 0000004d 08000300 20000007",
    )
    need(
        nfqueue.verdict(5525, 77, nfqueue.REPEAT, changed=b"abcde"),
        "2c000000 0103 0100 00000000 00000000 00 00 1595 0c000200 00000004 0000004d 09000a00 6162636465000000",
    )


def case_netfilter_a_packet_gets_another_destination_and_nothing_else():
    packet = bytes(range(80))
    assert onward.readdress(packet, b"x" * 16) == packet[:24] + b"x" * 16 + packet[40:]


def case_netfilter_of_care_of_addresses_the_oldest_gives_way():
    known = CareOf(
        [(bytes((i >> 8, i & 255)), b"at" + bytes((i >> 8, i & 255))) for i in range(CARE_OF_MAX + 1)]
    )
    assert known.get(b"\0\0") is known.address_of(b"at\0\0") is None
    assert (known.get(b"\0\1"), known.address_of(b"at\0\1")) == (b"at\0\1", b"\0\1")
    known.note([(b"\0\1", b"elsewhere")])
    assert (known.address_of(b"at\0\1"), known.pop(b"\0\1"), known.pop(b"\0\1")) == (None, b"elsewhere", None)
    assert len(known.others([b"\0\2"])) == CARE_OF_MAX - 2


def case_netfilter_member_of_an_ipset_is_read_as_it_was_written():
    for member in (ipset.Member(AT, 300, "b 7"), ipset.Member(bytes((10, 1, 2, 3)))):
        made = ipset.add("l3roamd_roamed", member)
        data = dict(walk(made[HEADER_BYTES + 4 :]))[ipset.DATA]
        assert list(ipset.members_of(nested(ipset.ELEMENTS, nested(ipset.DATA, data)))) == [member]


# --- conntrack ------------------------------------------------------------------


def entry(protocol, answer, status=0x19E):
    original = conntrack.make_tuple(1, HOME, SERVER, conntrack.make_protocol(protocol))[4:]
    reply = conntrack.make_tuple(2, SERVER, POOL, conntrack.make_protocol(answer))[4:]
    return conntrack.Entry({1: original, 2: reply, 3: status.to_bytes(4, "big"), 7: (600).to_bytes(4, "big")})


def ends(found, direction):
    source, destination, protocol = found.ends(direction)
    return source, destination, attributes(protocol, 4)


def case_conntrack_tuple_is_read_in_whatever_order_the_kernel_writes_it():
    ports = {1: b"\6", 2: b"\x12\x34", 3: b"\0\7"}
    protocol = conntrack.make_protocol(ports)
    usual = conntrack.make_tuple(1, HOME, SERVER, protocol)[4:]
    addresses = nested(1, attribute(4, SERVER), attribute(3, HOME))
    zone = attribute(3, b"\0\5")
    backwards = nested(2, attribute(3, b"\0\7"), attribute(2, b"\x12\x34"), attribute(1, b"\6"))
    for value in (
        usual,
        usual + zone,
        addresses + protocol,
        protocol + addresses,
        addresses + zone + backwards,
    ):
        assert ends(conntrack.Entry({1: value}), 1) == (HOME, SERVER, ports)
    for each in (protocol, backwards):
        assert attributes(conntrack.turned(each), 4) == {1: b"\6", 2: b"\0\7", 3: b"\x12\x34"}


def created(found):
    return attributes(conntrack.create_entry(found, AT)[HEADER_BYTES + 4 :])


def nat_port(parts):
    ranges = attributes(parts[conntrack.NAT_SOURCE])
    assert ranges[4] == ranges[5] == POOL
    ports = attributes(ranges[3])
    assert ports[1] == ports[2]
    return int.from_bytes(ports[1], "big")


def case_conntrack_entry_of_tcp_moves_with_its_ports_state_nat_and_time():
    ports = {1: b"\6", 2: b"\x12\x34", 3: b"\0\7"}
    answer = {1: b"\6", 2: b"\0\7", 3: b"\x43\x21"}
    state = nested(
        1, attribute(1, b"\3"), attribute(2, b"\7"), attribute(3, b"\x08"), attribute(4, b"\x23\0")
    )
    found = entry(ports, answer)
    found.parts[conntrack.PROTOCOL_STATE] = state
    made = conntrack.Entry(created(found))
    assert ends(made, 1) == (AT, SERVER, ports)
    # the answer's direction before NAT, which the kernel then does again
    assert ends(made, 2) == (SERVER, AT, {1: b"\6", 2: b"\0\7", 3: b"\x12\x34"})
    assert nat_port(made.parts) == 0x4321
    assert made.status == 0x00E  # confirmed, assured, answered; NAT's bits are the kernel's
    assert made.parts[conntrack.TIMEOUT] == found.parts[conntrack.TIMEOUT]
    tcp = attributes(attributes(made.parts[conntrack.PROTOCOL_STATE])[1])
    assert [tcp[each] for each in range(1, 6)] == [b"\3", b"\7", b"\x08", b"\x2b\xff", b"\x08\xff"]


def case_conntrack_entry_of_an_echo_moves_with_its_identifier():
    echo = {1: b"\x3a", 7: b"\0\x4d", 8: b"\x80", 9: b"\0"}
    answer = {1: b"\x3a", 7: b"\x22\x22", 8: b"\x81", 9: b"\0"}
    made = conntrack.Entry(created(entry(echo, answer)))
    assert ends(made, 1) == (AT, SERVER, echo)
    assert ends(made, 2) == (SERVER, AT, {1: b"\x3a", 7: b"\0\x4d", 8: b"\x81", 9: b"\0"})
    assert nat_port(made.parts) == 0x2222


def case_conntrack_entry_of_who_translates_itself_keeps_its_nat_under_another_destination():
    """At the exit where the client is, what it sends to pref64 is sent on; elsewhere other nodes have done that."""
    ports, answer = {1: b"\x11", 2: b"\x12\x34", 3: b"\0\7"}, {1: b"\x11", 2: b"\0\7", 3: b"\x43\x21"}
    asked = bytes.fromhex("0064ff9b") + bytes(8) + SERVER[12:]
    made = attributes(conntrack.create_entry(entry(ports, answer), HOME, asked=asked)[HEADER_BYTES + 4 :])
    assert ends(conntrack.Entry(made), 1) == (HOME, asked, ports)
    assert attributes(made[conntrack.NAT_DESTINATION]) == {4: SERVER, 5: SERVER}
    assert nat_port(made) == 0x4321
    back = attributes(conntrack.create_entry(entry(ports, answer), HOME, asked=SERVER)[HEADER_BYTES + 4 :])
    assert ends(conntrack.Entry(back), 1) == (HOME, SERVER, ports)
    assert conntrack.NAT_DESTINATION not in back and nat_port(back) == 0x4321
    removed = attributes(
        conntrack.deletion_of(conntrack.create_entry(entry(ports, answer), HOME))[HEADER_BYTES + 4 :]
    )
    assert ends(conntrack.Entry(removed), 1) == (HOME, SERVER, ports)


def case_conntrack_entry_without_nat_moves_without():
    ports = {1: b"\x11", 2: b"\x12\x34", 3: b"\0\7"}
    assert conntrack.NAT_SOURCE not in created(entry(ports, ports, status=0x8))


# --- names and batches --------------------------------------------------------------


def case_netfilter_set_of_a_plat_is_known_by_its_name_and_no_other_is_taken_for_one():
    plat = bytes.fromhex("fddd13371338020000000003") + bytes(4)
    name = "l3roam_fddd13371338020000000003"
    assert name_of_plat("l3roam_", plat) == name
    assert len(name) <= 31  # ipset's longest
    assert plat_of_name("l3roam_", name) == plat
    for other in ("", "l3roam_", "l3roam_fddd", "l3roam_mine", name[7:], "l3roam_" + 24 * "g"):
        assert plat_of_name("l3roam_", other) is None


def case_netfilter_of_plats_that_have_rules_those_that_no_client_uses_give_way():
    plats = [bytes((number,)) * 12 + bytes(4) for number in range(PLATS_MAX)]
    assert spare_plats(plats, {AT: plats[1], HOME: plats[3]}) == [plats[0], plats[2]] + plats[4:]
    try:
        spare_plats(plats, {bytes((number,)): plat for number, plat in enumerate(plats)})
        raise AssertionError("all are used")
    except RulesError as error:
        assert "expected at most 64" in str(error)


def case_netfilter_mappings_that_share_an_address_are_done_in_their_order_and_all_others_at_once():
    one, two = Mapping(HOME, AT, None, 60, 1), Mapping(SERVER, POOL, SERVER, 60, 1)
    assert independent_rounds([]) == []
    assert independent_rounds([one, two]) == [[0, 1]]
    assert independent_rounds([Mapping(HOME, AT, AT, 60, 2), two]) == [[0, 1]]  # a renewal
    assert independent_rounds([one, Mapping(HOME, POOL, AT, 60, 2), two]) == [[0], [1], [2]]
    assert independent_rounds([one, Mapping(SERVER, POOL, AT, 60, 2)]) == [[0], [1]]
    others = [Mapping(bytes([7, n]) * 8, bytes([8, n]) * 8, None, 60, 1) for n in range(100)]
    again = Mapping(HOME, AT, AT, 60, 2)
    assert [len(each) for each in independent_rounds([one] + others + [again, again])] == [101, 1, 1]


def walk_of(steps):
    """Mappings: home, at, was of each step, letters for addresses; one whose client is at its home ends."""
    found = []
    for step in steps:
        home, at, was = [letter.encode() * 16 if letter != "-" else None for letter in step]
        found.append(Mapping(home, at, was, 60, 1))
    return found


def case_netfilter_moves_of_a_round_come_to_one_for_each_source():
    for steps, moves, moved in (
        ("", "", []),
        ("ha-", "ha", ["h"]),
        ("haa", "", [""]),  # a renewal, or a ROAM once more
        ("hba ic-", "ab ic", ["a", "i"]),
        ("ha- hba", "hb ab", ["h", "ha"]),  # the whole way at once
        ("ha- hha", "ah", ["h", "ha"]),  # there and back
        ("hha ia-", "ah ia", ["a", "i"]),  # another comes to where one was
        ("ha- ih- hba", "hb ih ab", ["h", "i", "ha"]),
    ):
        found, concerned = compose(walk_of(steps.split()))
        assert {chr(old[0]) + chr(new[0]) for old, new in found.items()} == set(moves.split())
        assert [{chr(source[0]) for source in each} for each in concerned] == [set(each) for each in moved]


# --- what waits at the gate --------------------------------------------------------


def case_netfilter_skims_a_pack_for_keys_and_stops_at_what_is_none_of_a_subsystem():
    messages = [message(1, 0, 0, letter * 5) for letter in (b"a", b"b", b"a", b"c")]
    over = netlink.message(MESSAGE_DONE, 0, bytes(4))
    pack = b"".join(each + bytes(-len(each) % 4) for each in messages + [over, messages[0]])
    places = [0, 28, 56, 84, 112]
    only = Skim(HEADER_BYTES + FAMILY_BYTES, 5)
    assert [only.find(pack, at) for at in places] == places, "all are wanted"
    only.keys = {b"bbbbb", b"ccccc"}
    assert [only.find(pack, at) for at in places] == [28, 28, 84, 84, 112]
    only.keys = {b"ddddd"}
    assert only.find(pack, 0) == 112, "the end is never passed over"
    assert only.find(pack[:90], 0) == 84, "nor is what is cut off"
    assert only.find(bytes(16) + pack, 0) == 0 and only.find(b"\0\0" + pack[2:], 0) == len(pack)


ONE, TWO = (b"\2abcde", bytes((10, 1, 2, 3))), (b"\2abcdf", bytes((10, 1, 2, 3)))


def case_gate_has_a_client_wait_in_order_and_over_its_bound_the_newest_goes():
    room = make_room()
    dropped = [packet for each in range(QUEUED_PER_CLIENT + 2) for packet in room.put(ONE, each, 0.0)]
    assert dropped == [QUEUED_PER_CLIENT, QUEUED_PER_CLIENT + 1]
    assert room.put(TWO, 1000, 0.0) == []
    assert room.pop(ONE) == list(range(QUEUED_PER_CLIENT))
    assert room.pop(ONE) == []
    assert (room.pop(TWO), room.queued) == ([1000], 0)


def case_gate_lets_go_over_the_whole_bound_of_who_has_waited_longest():
    room = make_room()
    clients = [(bytes(6), each.to_bytes(4, "big")) for each in range(QUEUED_MAX)]
    for place, client in enumerate(clients):
        assert room.put(client, place, 0.0) == []
    assert room.put(ONE, 5000, 1.0) == [0]
    assert room.queued == QUEUED_MAX


def case_gate_lets_go_of_who_has_waited_too_long():
    room = make_room()
    room.put(ONE, 1, 0.0)
    room.put(TWO, 2, 1.0)
    room.put(ONE, 3, QUEUED_S - 1)
    assert room.pop_late(QUEUED_S - 0.5) == []
    assert room.pop_late(QUEUED_S) == [1, 3]
    assert (room.pop(TWO), room.queued) == ([2], 0)
