# SPDX-License-Identifier: ISC
"""IPv4 between clients of different nodes: they find each other, walk, fall silent; and what others may say of it."""

import pytest
from l3roamd_mesh import CLIENT_IPV6, CLIENTS, STRANGER, Air, Client, Mesh, forge, joined, make_client, sent

from l3roamd_py.core import actions as do
from l3roamd_py.core import events, wire
from xlat464.node import management_address

NOBODY = bytes((10, 7, 7, 7))


def at(node, client):
    return node.clat[:12] + client.ipv4


def meet(mesh, one, other, within_s=0.5):
    mesh.send_to(one, other.ipv4)
    mesh.run(within_s)
    return mesh.send_to(one, other.ipv4)


def is_open(mesh, one, other):
    """Whether packets pass both ways."""
    return mesh.send_to(one, other.ipv4) and mesh.send_to(other, one.ipv4)


def opens(mesh, one, other, within_s, every_s=1):
    """Whether packets pass both ways before long, when both have tried."""
    for _ in range(within_s // every_s):
        mesh.run(every_s)
        if is_open(mesh, one, other):
            return True
    return False


@pytest.fixture
def two():
    """Two clients of different nodes that have met."""
    mesh = Mesh()
    one, other = joined(mesh, 1, 9), joined(mesh, 2, 8)
    assert meet(mesh, one, other)
    mesh.run(0.2)
    return mesh, one, other


def seeks(mesh):
    return [body for node in mesh.nodes for body in sent(node.actions) if isinstance(body, wire.Seek)]


def test_two_clients_find_each_other_in_two_round_trips():
    mesh = Mesh(air=Air(delay_s=0.005))
    one, other = joined(mesh, 1, 9), joined(mesh, 2, 8)
    assert not mesh.send_to(one, other.ipv4)
    mesh.run(0.025)
    assert mesh.send_to(one, other.ipv4), "SEEK, FOUND, PAIR, PAIRED"
    assert other.ipv4 in one.arp
    assert mesh.send_to(other, one.ipv4) or meet(mesh, other, one, 0)
    a, b = mesh.nodes[:2]
    assert a.kernel.pairs == {other.ipv4: at(b, other)}
    assert b.kernel.pairs == {one.ipv4: at(a, one)}


@pytest.mark.parametrize("seed", range(8))
def test_they_do_so_through_a_bad_network(seed):
    mesh = Mesh(air=Air(0.02, 0.02, loss=0.2, duplication=0.1), seed=seed)
    one, other = joined(mesh, 1, 9), joined(mesh, 2, 8)
    for _ in range(20):
        if meet(mesh, one, other) and is_open(mesh, one, other):
            return
    pytest.fail("they did not meet")


def test_an_address_that_nobody_has_is_refused_and_not_sought_again_at_once():
    mesh = Mesh()
    one = joined(mesh, 1, 9)
    mesh.send_to(one, NOBODY)
    mesh.run(2)
    assert (mesh.nodes[0], NOBODY) in mesh.refused
    assert NOBODY in one.arp, "so that what it sends comes to us"
    count = len(seeks(mesh))
    mesh.refused.clear()
    mesh.send_to(one, NOBODY)
    assert mesh.refused == [(mesh.nodes[0], NOBODY)]
    assert len(seeks(mesh)) == count
    mesh.run(5)
    mesh.send_to(one, NOBODY)
    assert len(seeks(mesh)) > count
    mesh.run(10)
    assert not mesh.nodes[0].core.node.sought


def test_a_node_that_hears_only_the_last_seek_answers_in_time():
    mesh = Mesh()
    one, other = joined(mesh, 1, 9), joined(mesh, 2, 8)
    mesh.split(2)
    mesh.send_to(one, other.ipv4)
    mesh.run(1)
    mesh.split()
    mesh.run(0.2)
    assert is_open(mesh, one, other)
    assert not mesh.refused


def test_what_nobody_had_is_sought_again_when_a_node_has_come():
    mesh = Mesh()
    one, other = joined(mesh, 1, 9), joined(mesh, 2, 8)
    a = mesh.nodes[0]
    mesh.split(2)
    mesh.send_to(one, other.ipv4)
    mesh.run(1.6)
    assert mesh.refused == [(a, other.ipv4)]
    mesh.split()
    assert not meet(mesh, one, other), "not at once"
    a.handle(events.NodeAppeared())
    assert meet(mesh, one, other)


def test_a_client_of_the_same_node_is_not_sought():
    mesh = Mesh()
    one, other = joined(mesh, 1, 9), joined(mesh, 1, 8)
    mesh.nodes[0].handle(events.Wanted(one.mac, one.ipv4, other.ipv4))
    assert do.PassWanted(other.ipv4, True) in mesh.nodes[0].actions
    assert not seeks(mesh)


def test_a_stranger_searches_for_nothing():
    mesh = Mesh()
    mesh.nodes[0].handle(events.Wanted(make_client(7, 1).mac, make_client(7, 1).ipv4, NOBODY))
    assert not seeks(mesh)


def test_a_scan_costs_the_mesh_little():
    mesh = Mesh()
    one, other = joined(mesh, 1, 9), joined(mesh, 2, 8)
    third = joined(mesh, 1, 7)
    for number in range(1000):
        mesh.nodes[0].handle(
            events.Wanted(one.mac, one.ipv4, bytes((10, 3, number >> 8, number & 255)), True)
        )
        mesh.run(0.002)
    options = mesh.nodes[0].core.options
    assert mesh.nodes[0].core.counters["searches"] <= options.client_seeks_burst + 2
    assert mesh.nodes[0].core.counters["searches_too_fast"] > 900
    assert len(mesh.nodes[0].core.node.sought) <= options.max_sought
    assert meet(mesh, third, other), "others are not kept from it"


@pytest.mark.parametrize("who", ["one", "other"])
def test_who_walks_stays_reachable(two, who):
    mesh, one, other = two
    walker, stays = (one, other) if who == "one" else (other, one)
    before = len(seeks(mesh))
    mesh.move(walker, mesh.nodes[2])
    mesh.run(0.3)
    mesh.send_to(walker, stays.ipv4)
    mesh.run(0.1)
    assert is_open(mesh, one, other)
    groups = [
        a for n in mesh.nodes for a in n.actions if isinstance(a, do.Send) and a.destination == wire.GROUP
    ]
    assert not [each for each in groups if isinstance(wire.decode(each.payload)[1], wire.Seek)][before:]
    mesh.run(100)
    old = mesh.nodes[0 if who == "one" else 1]
    assert not old.kernel.pairs
    assert not old.core.node.pairs


def test_all_who_talk_to_a_client_that_walks_stay_in_touch(two):
    mesh, one, other = two
    third = joined(mesh, 1, 7)
    assert meet(mesh, third, other)
    mesh.move(other, mesh.nodes[2])
    mesh.run(0.4)
    for client in (one, third):
        assert mesh.send_to(client, other.ipv4)
        assert meet(mesh, other, client, 0.1)


def test_both_walk_at_once(two):
    mesh, one, other = two
    mesh.move(one, mesh.nodes[2])
    mesh.move(other, mesh.nodes[3])
    assert opens(mesh, one, other, 10)


def test_one_walks_to_the_other_s_node_and_back(two):
    mesh, one, other = two
    mesh.move(one, mesh.nodes[1])
    mesh.run(1)
    assert is_open(mesh, one, other)
    assert not mesh.nodes[1].kernel.pairs
    mesh.move(one, mesh.nodes[0])
    mesh.run(1)
    meet(mesh, one, other)
    meet(mesh, other, one)
    assert is_open(mesh, one, other)


def test_what_is_used_stays_and_what_is_not_goes(two):
    mesh, one, other = two
    for _ in range(20):
        mesh.run(10)
        assert is_open(mesh, one, other)
    assert do.RestorePair(other.ipv4, at(mesh.nodes[1], other)) in mesh.nodes[0].actions
    mesh.run(200)
    for node in mesh.nodes:
        assert not node.kernel.pairs
        assert not node.core.node.pairs


def test_a_node_that_restarts_is_found_again(two):
    mesh, one, other = two
    b = mesh.nodes[1]
    b.kernel.pairs.clear()
    b.kernel.reached.clear()
    b.restart(0.5, b.core.snapshot(mesh.now_s))
    assert opens(mesh, one, other, 60, every_s=5)


def test_a_node_without_power_is_given_up(two):
    mesh, one, other = two
    mesh.nodes[1].is_up = False
    for _ in range(15):
        mesh.run(3)
        mesh.send_to(one, other.ipv4)
    assert not mesh.nodes[0].kernel.pairs
    assert (mesh.nodes[0], other.ipv4) in mesh.refused


def test_nothing_passes_before_the_translator_has_the_pair():
    mesh = Mesh()
    mesh.translator_s = 0.8
    one, other, third = joined(mesh, 1, 9), joined(mesh, 2, 8), joined(mesh, 1, 7)
    mesh.send_to(one, other.ipv4)
    mesh.run(0.5)
    mesh.send_to(third, other.ipv4)
    mesh.send_to(other, one.ipv4)
    a, b = mesh.nodes[:2]
    for node, address in ((a, other.ipv4), (b, one.ipv4)):
        assert address not in node.kernel.reached
        assert do.PassWanted(address, True) not in node.actions
    assert other.ipv4 not in one.arp
    mesh.run(2.5)
    assert is_open(mesh, one, other)
    assert is_open(mesh, third, other)
    assert other.ipv4 in one.arp


def test_what_the_translator_does_not_take_is_refused_and_tried_again():
    mesh = Mesh()
    one, other = joined(mesh, 1, 9), joined(mesh, 2, 8)
    mesh.untranslatable.add(other.ipv4)
    assert not meet(mesh, one, other)
    a = mesh.nodes[0]
    assert (a, other.ipv4) in mesh.refused
    assert a.core.counters["pairs_not_made"] >= 1
    assert other.ipv4 not in a.core.node.pairs
    mesh.untranslatable.clear()
    mesh.run(1)
    assert meet(mesh, one, other)


def test_an_answer_of_the_translators_for_a_pair_that_is_no_more_is_nothing(two):
    mesh, one, other = two
    a, c = mesh.nodes[0], mesh.nodes[2]
    before = a.core.node.counters.sorted()
    a.handle(events.PairMade(other.ipv4, at(c, other), False))
    a.handle(events.PairMade(NOBODY, at(c, other), True))
    assert is_open(mesh, one, other)
    assert a.core.node.counters.sorted() == before


# Forged and unasked


def heard(node, body, sender, nonce=1):
    before = dict(node.kernel.pairs)
    forge(node, body, sender, nonce=nonce)
    return node.kernel.pairs != before


def test_a_found_that_nobody_asked_for_is_nothing():
    mesh = Mesh()
    joined(mesh, 1, 9)
    a, c = mesh.nodes[0], mesh.nodes[2]
    there = c.clat[:12] + NOBODY
    assert not heard(a, wire.Found(there, 1), management_address(c.clat))
    assert not a.core.node.pairs
    assert a.core.counters["founds_unexpected"] == 1


def test_a_found_in_another_node_s_name_leads_nowhere():
    """Whoever hears a SEEK knows its nonce; PAIR goes to the node itself, and that says nothing."""
    mesh = Mesh()
    one = joined(mesh, 1, 9)
    a, c = mesh.nodes[0], mesh.nodes[2]
    a.handle(events.Wanted(one.mac, one.ipv4, NOBODY, True))
    (nonce,) = a.core.node.sought[NOBODY].nonces
    forge(a, wire.Found(c.clat[:12] + NOBODY, nonce), management_address(c.clat), nonce=5)
    mesh.run(5)
    assert not a.kernel.pairs
    assert not a.core.node.pairs


def test_a_paired_needs_the_nonce_of_pair():
    mesh = Mesh()
    one = joined(mesh, 1, 9)
    a, c = mesh.nodes[0], mesh.nodes[2]
    a.handle(events.Wanted(one.mac, one.ipv4, NOBODY, True))
    (nonce,) = a.core.node.sought[NOBODY].nonces
    there = c.clat[:12] + NOBODY
    forge(a, wire.Found(there, nonce), management_address(c.clat), nonce=5)
    assert not heard(a, wire.Paired(there, at(a, one), 77), management_address(c.clat))
    assert a.core.counters["paireds_unexpected"] == 1


def test_a_pair_needs_the_nonce_of_found():
    mesh = Mesh()
    one = joined(mesh, 1, 9)
    a, c = mesh.nodes[0], mesh.nodes[2]
    there = c.clat[:12] + NOBODY
    assert not heard(a, wire.Pair(there, at(a, one), 12345), management_address(c.clat))
    assert a.core.counters["pairs_unproven"] == 1


def test_who_is_not_proven_hears_nothing_of_where_a_client_went():
    mesh = Mesh()
    one = joined(mesh, 1, 9)
    mesh.move(one, mesh.nodes[1])
    mesh.run(2)
    a, c = mesh.nodes[0], mesh.nodes[2]
    assert not forge(a, wire.Pair(c.clat[:12] + NOBODY, at(a, one), 1), management_address(c.clat))


@pytest.mark.parametrize("case", ["range", "sender", "peer", "own"])
def test_a_pair_that_does_not_fit_is_nothing(case):
    mesh = Mesh()
    one = joined(mesh, 1, 9)
    a, c = mesh.nodes[0], mesh.nodes[2]
    sender, there, peer = management_address(c.clat), c.clat[:12] + NOBODY, at(a, one)
    if case == "range":
        there = CLIENTS[:12] + NOBODY
    if case == "sender":
        sender = STRANGER
    if case == "peer":
        peer = c.clat[:12] + one.ipv4
    if case == "own":
        there = a.clat[:12] + NOBODY
    assert not heard(a, wire.Pair(there, peer, 1), sender)
    assert a.core.counters["pairs_bad"] == 1


def prove(mesh, node, liar, ipv4):
    """The nonce that a node gives another one, which asks for its client."""
    before = len(liar.actions)
    forge(node, wire.Seek(bytes(10) + b"\xff\xff" + ipv4), management_address(liar.clat), nonce=99)
    del liar.actions[before:]
    founds = [a for a in node.actions if isinstance(a, do.Send) and a.payload[2] == wire.Found.TYPE]
    return wire.decode(founds[-1].payload)[0].nonce


def test_another_node_does_not_take_a_client_that_is_where_it_was(two):
    mesh, one, other = two
    a, b, c = mesh.nodes[:3]
    nonce = prove(mesh, a, c, one.ipv4)
    body = wire.Pair(at(c, other), at(a, one), nonce)
    for _ in range(20):
        forge(a, body, management_address(c.clat), nonce=4)
        mesh.run(0.5)
        assert a.kernel.pairs == {other.ipv4: at(b, other)}
    assert a.core.counters["pairs_refused"] == 20
    assert is_open(mesh, one, other)


def test_it_takes_one_whose_node_is_gone(two):
    mesh, one, other = two
    a, b, c = mesh.nodes[:3]
    b.is_up = False
    other.node = c
    body = wire.Pair(at(c, other), at(a, one), prove(mesh, a, c, one.ipv4))
    for _ in range(4):
        forge(a, body, management_address(c.clat), nonce=4)
        mesh.run(1.1)
    assert a.kernel.pairs == {other.ipv4: at(c, other)}


def test_only_the_node_that_had_it_says_where_a_client_went(two):
    mesh, one, other = two
    a, b, c = mesh.nodes[:3]
    forge(a, wire.Found(at(mesh.nodes[3], other), 0), management_address(c.clat))
    assert other.ipv4 not in a.core.node.sought
    forge(a, wire.Found(at(mesh.nodes[3], other), 0), management_address(b.clat))
    mesh.run(0.2)
    assert is_open(mesh, one, other), "until the other node says that it is there"


def test_pairs_are_bounded():
    mesh = Mesh(rate_per_s=1e9, burst=1e9, max_pairs=8)
    one = joined(mesh, 1, 9)
    a, c = mesh.nodes[0], mesh.nodes[2]
    nonce = prove(mesh, a, c, one.ipv4)
    for number in range(1, 50):
        there = c.clat[:12] + bytes((10, 9, 9, number))
        forge(a, wire.Pair(there, at(a, one), nonce), management_address(c.clat), nonce=number)
    mesh.run(0.01)
    assert len(a.kernel.pairs) == 8
    assert a.core.counters["pairs_too_many"] > 0


def test_a_seek_for_ipv4_that_is_not_here_goes_on():
    mesh = Mesh()
    joined(mesh, 1, 9)
    body = wire.Seek(bytes(10) + b"\xff\xff" + NOBODY)
    done = forge(mesh.nodes[1], body, management_address(mesh.nodes[2].clat), ttl=8, nonce=3)
    assert [type(each) for each in done] == [do.Send]
    assert wire.decode(done[0].payload)[0].ttl == 7


# IPv6: a packet from anywhere for a client that babel does not know

PHONE6 = CLIENT_IPV6[:15] + b"\x07"


def test_an_ipv6_address_is_sought_until_there_is_a_route():
    mesh = Mesh()
    a, c = mesh.nodes[0], mesh.nodes[2]
    mac = make_client(9, 3).mac
    mesh.clients[mac] = Client(mac, None, c, ipv6=PHONE6)
    a.handle(events.Wanted(b"", STRANGER, PHONE6))
    assert do.SeekAddress(PHONE6) in a.actions, "on our own bridge, too"
    mesh.run(0.3)
    assert c.kernel.routes == {(mac, PHONE6)}
    assert do.PassWanted(PHONE6) not in a.actions
    a.routed.add(PHONE6)  # babel tells of it
    mesh.run(0.2)
    assert do.PassWanted(PHONE6) in a.actions
    assert not a.core.node.sought


def test_after_five_seconds_it_is_unreachable_and_not_sought_again_at_once():
    mesh = Mesh()
    a = mesh.nodes[0]
    a.handle(events.Wanted(b"", STRANGER, PHONE6))
    mesh.run(4.9)
    assert not mesh.refused
    mesh.run(0.2)
    assert mesh.refused == [(a, PHONE6)]

    def asked():
        return sum(isinstance(body, wire.Seek) for body in sent(a.actions))

    assert asked() == 3
    a.handle(events.Wanted(b"", STRANGER, PHONE6))
    assert asked() == 3
    assert len(mesh.refused) == 2
    mesh.run(10)
    assert a.core.next_deadline_s is None or not a.core.node.sought


def test_what_is_no_client_s_passes():
    a = Mesh().nodes[0]
    a.handle(events.Wanted(b"", STRANGER, STRANGER))
    assert a.actions[-1] == do.PassWanted(STRANGER)


def test_a_flood_for_addresses_that_nobody_has_costs_few_seeks():
    mesh = Mesh()
    a = mesh.nodes[0]
    for number in range(5000):
        a.handle(events.Wanted(b"", STRANGER, CLIENT_IPV6[:14] + number.to_bytes(2, "big")))
        mesh.run(0.002)
    options = a.core.options
    most = (options.own_seeks_burst + 10 * options.own_seeks_per_s + 1) * len(options.seek6_at_s)
    assert 0 < len([body for body in sent(a.actions) if isinstance(body, wire.Seek)]) <= most
    assert len(a.core.node.sought) <= options.max_sought


def test_an_unknown_client_is_learnt_before_it_searches():
    mesh = Mesh()
    a = mesh.nodes[0]
    client = make_client(9, 1)
    client.ipv6, client.node, mesh.clients[client.mac] = CLIENT_IPV6[:15] + b"\x08", a, client
    a.handle(events.Wanted(client.mac, client.ipv6, PHONE6))
    assert not seeks(mesh)
    mesh.run(1)
    a.handle(events.Wanted(client.mac, client.ipv6, PHONE6))
    assert len(seeks(mesh)) >= 1
