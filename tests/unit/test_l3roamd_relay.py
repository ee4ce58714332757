# SPDX-License-Identifier: ISC
"""Messages of l3roamd version 0 go on, so that a node of ours is no wall between two of its nodes."""

import pytest
from l3roamd_mesh import CLIENT_IPV6, LEGACY, STRANGER, Client, Mesh, forge, make_client, sent

from l3roamd_py.core import actions as do
from l3roamd_py.core import events, wire
from l3roamd_py.core.tlv import walk
from xlat464.address import parse_ipv6

ADDRESS = CLIENT_IPV6[:15] + b"\x07"
OTHER_LEGACY = parse_ipv6("fd00::6")


def told(actions, destination):
    """(header, body) of what was sent there."""
    return [
        wire.decode(each.payload) for each in actions if getattr(each, "destination", None) == destination
    ]


def test_a_seek_is_asked_on_the_bridge_and_passed_on_once():
    node = Mesh().nodes[0]
    done = forge(node, wire.Seek(ADDRESS), LEGACY, extended=False, ttl=255, nonce=77)
    assert do.SeekAddress(ADDRESS) in done
    assert told(done, wire.GROUP) == [(wire.Header(LEGACY, 77, 254, False), wire.Seek(ADDRESS))]
    assert not forge(node, wire.Seek(ADDRESS), LEGACY, extended=False, ttl=9, nonce=77)
    assert forge(node, wire.Seek(ADDRESS), LEGACY, extended=False, ttl=1, nonce=78) == [
        do.SeekAddress(ADDRESS)
    ]


def test_a_seek_goes_round_no_mesh_for_ever_and_finds_who_does_not_speak():
    mesh = Mesh()
    mac = make_client(9, 3).mac
    mesh.clients[mac] = Client(mac, None, mesh.nodes[2], ipv6=ADDRESS)
    forge(mesh.nodes[0], wire.Seek(ADDRESS), LEGACY, extended=False, ttl=255)
    mesh.run(2, steps=500)
    for node in mesh.nodes:
        assert len([body for body in sent(node.actions) if isinstance(body, wire.Seek)]) == 1
        assert do.SeekAddress(ADDRESS) in node.actions
    assert mesh.nodes[2].kernel.routes == {(mac, ADDRESS)}


def test_a_seek_for_what_is_no_clients_is_passed_on_and_no_more():
    done = forge(Mesh().nodes[0], wire.Seek(STRANGER), LEGACY, extended=False, ttl=3)
    assert [type(each) for each in done] == [do.Send]


def test_what_would_hang_an_l3roamd_does_not_go_on():
    node = Mesh().nodes[0]
    seek = wire.encode(wire.Header(LEGACY, 5, 9, False), wire.Seek(ADDRESS)) + b"\x0b\x03\x00"
    node.actions.clear()
    node.handle(events.Datagram(LEGACY, wire.GROUP, seek))
    (onward,) = [each for each in node.actions if isinstance(each, do.Send)]
    assert set(walk(onward.payload, 24)) == {wire.TLV_ADDRESS}


def test_a_flood_of_seeks_is_asked_and_passed_on_at_its_pace():
    mesh = Mesh(rate_per_s=1e9, burst=1e9)
    node = mesh.nodes[0]
    node.actions.clear()
    for number in range(2000):
        forge(node, wire.Seek(ADDRESS), LEGACY, extended=False, ttl=255, nonce=number)
    asked = [each for each in node.actions if isinstance(each, do.SeekAddress)]
    assert len(asked) <= node.core.options.seeks_burst
    assert node.core.counters["seeks_too_many"] > 1900
    assert len(node.core.node.relayed) <= node.core.options.max_relayed


@pytest.fixture
def left():
    """A client of ours has gone to an l3roamd."""
    mesh, mac = Mesh(), make_client(9, 1).mac
    a = mesh.nodes[0]
    client = mesh.clients[mac] = Client(mac, None, a, ipv6=ADDRESS)
    a.handle(events.AddressSeen(mac, ADDRESS))
    mesh.run(2)
    client.node = None
    forge(a, wire.Claim(mac), LEGACY, extended=False, ttl=1)
    mesh.run(0.5)
    assert mac in a.core.node.departed
    return mesh, a, mac


def test_after_its_ack_an_l3roamd_is_told_each_address(left):
    _, a, mac = left
    done = forge(a, wire.Ack(mac), LEGACY, extended=False, ttl=1)
    assert [body for _, body in told(done, LEGACY)] == [wire.Seek(ADDRESS)]
    assert not sent(forge(a, wire.Ack(mac), LEGACY, extended=False, ttl=1))


def test_it_is_told_three_times_as_seek_has_no_answer(left):
    mesh, a, mac = left
    forge(a, wire.Ack(mac), LEGACY, extended=False, ttl=1)
    a.actions.clear()
    mesh.run(0.4)
    assert not told(a.actions, LEGACY)
    mesh.run(5)
    again = told(a.actions, LEGACY)
    assert [body for _, body in again] == [wire.Seek(ADDRESS)] * 2
    assert len({header.nonce for header, _ in again}) == 2, "it passes over a nonce that it has seen"


def test_who_went_on_meanwhile_is_not_sought_there(left):
    mesh, a, mac = left
    forge(a, wire.Ack(mac), LEGACY, extended=False, ttl=1)
    a.actions.clear()
    mesh.move(mesh.clients[mac], a)
    mesh.run(5)
    assert wire.Seek(ADDRESS) not in [body for _, body in told(a.actions, LEGACY)]


def test_an_info_to_an_l3roamd_has_another_nonce_each_time_and_one_to_ours_has_not(left):
    """An l3roamd acknowledges a nonce once. If that ACK is lost, only another nonce has it say so again."""
    mesh, a, _ = left
    mesh.run(5)
    infos = [header.nonce for header, body in told(a.actions, LEGACY) if isinstance(body, wire.Info)]
    assert len(infos) == len(set(infos)) == len(a.core.options.info_at_s)
    other, b = make_client(8, 1), a.mesh.nodes[1]
    mesh.clients[other.mac] = other
    other.node = a
    a.handle(events.ClientSeen(other.mac, other.ipv4))
    mesh.run(2)
    other.node = None
    forge(a, wire.Claim(other.mac), b.core.options.address, ttl=1)
    b.is_up = False
    mesh.run(5)
    infos = told(a.actions, b.core.options.address)
    assert len([header for header, body in infos if isinstance(body, wire.Info)]) > 1
    assert len({header.nonce for header, body in infos if isinstance(body, wire.Info)}) == 1


@pytest.mark.parametrize("has_ipv4", [True, False])
def test_of_more_addresses_than_info_has_room_for_the_oldest_are_told_by_seek(has_ipv4):
    mesh, client = Mesh(), make_client(9, 1)
    client.ipv4 = client.ipv4 if has_ipv4 else None
    a, b = mesh.nodes[:2]
    mesh.clients[client.mac], client.node = client, a
    known = [CLIENT_IPV6[:15] + bytes((number,)) for number in range(1, 21)]
    client.others = tuple(known)
    a.handle(events.ClientSeen(client.mac, client.ipv4))
    for address in known:
        a.handle(events.ClientSeen(client.mac, address))
    mesh.run(2)
    assert a.core.node.clients[client.mac].addresses == known
    mesh.move(client, b)
    mesh.run(0.2)
    (info,) = {body.addresses for body in sent(a.actions) if isinstance(body, wire.Info)}
    untold = 6 if has_ipv4 else 5
    assert list(info[has_ipv4:]) == known[untold:]
    seeks = [body.address for body in sent(a.actions) if isinstance(body, wire.Seek)]
    assert seeks == known[:untold]
    assert b.kernel.routes == {(client.mac, address) for address in known}


def test_a_node_of_ours_is_told_nothing_by_seek(left):
    mesh, _, mac = left
    client = mesh.clients[mac]
    mesh.move(client, mesh.nodes[1])
    mesh.run(5)
    assert not [body for each in mesh.nodes for body in sent(each.actions) if isinstance(body, wire.Seek)]


def test_the_claim_of_an_l3roamd_goes_on_to_the_other_one_three_times_at_most(left):
    mesh, a, mac = left
    forge(a, wire.Ack(mac), LEGACY, extended=False, ttl=1)
    onward = []
    for _ in range(16):
        onward += told(forge(a, wire.Claim(mac), OTHER_LEGACY, extended=False, ttl=1, nonce=99), LEGACY)
        mesh.run(0.3)
    assert onward == [(wire.Header(OTHER_LEGACY, 99, 1, False), wire.Claim(mac))] * 3
    assert a.core.counters["claims_not_passed_on"] == 13


def test_a_claim_of_ours_goes_on_to_an_l3roamd(left):
    _, a, mac = left
    forge(a, wire.Ack(mac), LEGACY, extended=False, ttl=1)
    sender = a.mesh.nodes[1].core.options.address
    assert told(forge(a, wire.Claim(mac), sender, ttl=3, nonce=9), LEGACY) == [
        (wire.Header(sender, 9, 2), wire.Claim(mac))
    ]
    assert not told(forge(a, wire.Claim(mac), sender, ttl=1, nonce=10), LEGACY), "it asks who has it"


def test_the_claim_of_an_l3roamd_for_whom_nobody_knows_goes_on_while_its_ttl_lasts():
    node, mac = Mesh().nodes[0], make_client(9, 1).mac
    done = forge(node, wire.Claim(mac), LEGACY, extended=False, ttl=3, nonce=4)
    assert told(done, wire.GROUP) == [(wire.Header(LEGACY, 4, 2, False), wire.Claim(mac))]
    assert not forge(node, wire.Claim(mac), LEGACY, extended=False, ttl=3, nonce=4)
    assert not forge(node, wire.Claim(mac), LEGACY, extended=False, ttl=1, nonce=5)
    assert not forge(node, wire.Claim(mac), STRANGER, ttl=3, nonce=6)


# Nodes of version 0 that keep a client that is here


def claims_to_legacy(actions):
    return [body for _, body in told(actions, LEGACY) if isinstance(body, wire.Claim)]


def came_from_legacy(mesh, is_late=False):
    """A client comes to a from an l3roamd, which answers the CLAIM."""
    a, client = mesh.nodes[0], make_client(9, 1)
    mesh.clients[client.mac] = client
    client.node = a
    a.handle(events.ClientSeen(client.mac, client.ipv4))
    mesh.run(1.5 if is_late else 0.01)
    forge(a, wire.Info(client.mac), LEGACY, extended=False)
    a.actions.clear()
    return a, client


@pytest.mark.parametrize("is_late", [False, True])
def test_an_l3roamd_that_let_a_client_go_is_claimed_from_again_until_it_answers(is_late):
    mesh = Mesh()
    a, client = came_from_legacy(mesh, is_late)
    mesh.run(2.5)
    assert len(claims_to_legacy(a.actions)) == 2, "what is lost is said again"
    forge(a, wire.Info(client.mac), LEGACY, extended=False)
    a.actions.clear()
    mesh.run(20)
    assert not claims_to_legacy(a.actions)


def test_an_l3roamd_that_does_not_answer_is_not_claimed_from_for_ever():
    mesh = Mesh()
    a, _ = came_from_legacy(mesh)
    mesh.run(60)
    assert len(claims_to_legacy(a.actions)) == a.core.options.legacy_reminders


def test_an_l3roamd_is_not_claimed_from_when_the_client_has_gone_back_to_it():
    """It would let go of it, and its kernel tells it of no client twice."""
    mesh = Mesh()
    a, client = came_from_legacy(mesh)
    mesh.run(1)
    client.node = None
    mesh.run(1.5)
    assert not claims_to_legacy(a.actions)
    client.node = a
    a.handle(events.ClientSeen(client.mac, client.ipv4))
    assert claims_to_legacy(a.actions), "it is here all the same"
    a.actions.clear()
    client.node = None
    mesh.run(20)
    assert not claims_to_legacy(a.actions)


@pytest.mark.parametrize("is_heard", [True, False])
def test_the_address_of_a_client_that_went_to_an_l3roamd_ends_though_no_ack_comes(is_heard):
    """That one has the client after its last CLAIM; babel would hide it from us and our neighbours for minutes."""
    mesh = Mesh()
    a, client = came_from_legacy(mesh)
    mesh.run(30)
    client.node = None
    forge(a, wire.Claim(client.mac), LEGACY, extended=False, ttl=1, nonce=2)
    mesh.run(2)
    if is_heard:
        forge(a, wire.Ack(client.mac), LEGACY, extended=False)
    assert mesh.serving(client) == [a]
    mesh.run(12)
    assert mesh.serving(client) == []


def test_an_l3roamd_that_claims_a_client_that_is_here_is_told_that_it_is():
    """It would take it after its last copy, and never ask again."""
    mesh = Mesh()
    a, client = came_from_legacy(mesh)
    mesh.run(30)
    a.actions.clear()
    forge(a, wire.Claim(client.mac), LEGACY, extended=False, ttl=1)
    mesh.run(0.2)
    assert a.core.counters["claims_refused"] == 1
    assert claims_to_legacy(a.actions) == [wire.Claim(client.mac)]
    client.node = None
    a.actions.clear()
    forge(a, wire.Claim(client.mac), LEGACY, extended=False, ttl=1, nonce=2)
    mesh.run(0.2)
    assert not claims_to_legacy(a.actions), "it went there"
    assert client.mac not in a.core.node.clients
