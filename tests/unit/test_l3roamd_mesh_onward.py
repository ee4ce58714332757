# SPDX-License-Identifier: ISC
"""What comes for a client that left goes on to the node that has it now: for a while, and never in circles."""

import struct

import pytest
from l3roamd_mesh import CLAT_RANGE, CLIENT_IPV6, LEGACY, Air, Client, Mesh, joined

from l3roamd_py.core import actions as do
from l3roamd_py.core import events, onward, wire
from xlat464.node import management_address, node_prefix

ADDRESS = CLIENT_IPV6[:8] + bytes.fromhex("02aabbfffeccdd09")
MAC = bytes((2, 0xAA, 0, 0, 0, 9))


def arrive(mesh, ipv4=None, **options):
    """A client whose address the first node routes."""
    client = mesh.clients[MAC] = Client(MAC, ipv4, mesh.nodes[0], ipv6=ADDRESS, **options)
    client.node.handle(events.ClientSeen(MAC, ADDRESS))
    mesh.run(3)
    assert mesh.follow(mesh.nodes[2], ADDRESS) == [mesh.nodes[2], mesh.nodes[0]]
    return client


def routed(mesh):
    return [node.number for node in mesh.nodes if (MAC, ADDRESS) in node.kernel.routes]


def test_what_comes_to_the_old_node_goes_on_at_once_and_then_babel_has_told():
    mesh = Mesh()
    a, b, c, _ = mesh.nodes
    client = arrive(mesh)
    mesh.move(client, b)
    mesh.run(0.1)
    assert mesh.follow(c, ADDRESS) == [c, a, b]
    assert (MAC, ADDRESS) not in a.kernel.opened
    mesh.run(a.core.options.send_on_s - 0.2)
    assert routed(mesh) == [1, 2]
    mesh.run(0.3)
    assert routed(mesh) == [2]
    assert mesh.follow(a, ADDRESS) == [a, b], "babel has to find it from there, too"
    mesh.run(a.core.options.sent_on_s)
    assert not a.core.node.sent_on
    assert all(until_s < mesh.now_s for node in mesh.nodes for _, until_s in node.kernel.care_of.values())


@pytest.mark.parametrize("numbers", [(2, 1), (2, 3), (2, 3, 4), (2, 1, 2), (2, 3, 1, 2)])
@pytest.mark.parametrize("stay_s", [0.05, 0.5, 3])
def test_it_follows_a_client_that_walks_on(numbers, stay_s):
    mesh = Mesh()
    client = arrive(mesh)
    for number in numbers:
        mesh.move(client, mesh.nodes[number - 1])
        mesh.run(stay_s)
        for node in mesh.nodes:
            assert mesh.follow(node, ADDRESS)[-1:] == [client.node]
    mesh.run(35)
    assert routed(mesh) == [client.node.number]


@pytest.mark.parametrize("seed", range(20))
def test_it_never_goes_in_circles_whatever_is_lost_or_late(seed):
    mesh = Mesh(air=Air(jitter_s=0.05, loss=0.3, duplication=0.2), seed=seed)
    client = arrive(mesh)
    for _ in range(30):
        mesh.move(client, mesh.random.choice(mesh.nodes), is_polite=mesh.random.random() < 0.3)
        for _ in range(mesh.random.randrange(1, 12)):
            mesh.run(0.03)
            for node in mesh.nodes:
                mesh.follow(node, ADDRESS)
    mesh.run(60)
    mesh.knock(client)
    mesh.run(30)
    assert len(routed(mesh)) <= 1
    assert not any(node.core.node.sent_on for node in mesh.nodes)


def test_a_client_that_its_new_node_forgets_sends_nothing_in_circles():
    mesh = Mesh()
    _, b, c, _ = mesh.nodes
    client = arrive(mesh)
    mesh.move(client, b)
    mesh.run(0.5)
    client.is_asleep = True
    b.handle(events.AddressGone(MAC, ADDRESS, is_silent=True))
    mesh.run(3.5)
    assert routed(mesh) == [1]
    assert mesh.follow(c, ADDRESS) == []


def test_a_node_of_version_0_gets_nothing_that_it_does_not_understand():
    mesh = Mesh()
    a = mesh.nodes[0]
    client = arrive(mesh)
    client.node = None
    claim = wire.encode(wire.Header(LEGACY, 1, 1, False), wire.Claim(MAC))
    a.handle(events.Datagram(LEGACY, wire.GROUP, claim))
    mesh.run(0.1)
    assert routed(mesh) == []
    assert not any(isinstance(action, do.SendOn) for action in a.actions)


def test_a_node_that_was_prepared_turns_back_too():
    """It has the client before INFO comes, and sends no ACK until then."""
    partners = tuple(
        management_address(node_prefix(CLAT_RANGE, bytes((2, 0, 0, 0, 0, i)))) for i in (1, 2, 3)
    )
    mesh = Mesh(partners=partners)
    a, b, c, _ = mesh.nodes
    client = joined(mesh)
    client.ipv6 = ADDRESS
    a.handle(events.AddressSeen(client.mac, ADDRESS))
    mesh.run(70)
    mesh.move(client, b)
    mesh.run(0.2)
    assert b.core.counters["arrivals_prepared"] == a.core.counters["sent_on"] == 1
    assert mesh.follow(c, ADDRESS) == [c, a, b]


def test_with_send_on_off_the_route_goes_at_once():
    mesh = Mesh(sends_on=False)
    client = arrive(mesh)
    mesh.move(client, mesh.nodes[1])
    mesh.run(0.1)
    assert routed(mesh) == [2]


def test_no_more_routes_stay_than_there_is_room_for():
    mesh = Mesh(sendings_on_burst=1, sendings_on_per_s=0.001)
    a, b = mesh.nodes[:2]
    client = arrive(mesh)
    for number in range(3):
        other = ADDRESS[:15] + bytes((number,))
        a.handle(events.ClientSeen(MAC, other))
    mesh.run(0.1)
    mesh.move(client, b)
    mesh.run(0.1)
    assert len(a.core.node.sent_on) == len([each for each in a.kernel.routes if each[0] == MAC]) == 1


@pytest.mark.parametrize("nonce", [0, 1, 0xFFF, 0x12345678, 0xFFFFFFFF])
def test_a_care_of_address_has_the_checksum_of_its_client_and_the_prefix_of_its_node(nonce):
    place = bytes.fromhex("fddd133713370200000000bbc0000001")
    for address in (ADDRESS, bytes(16), b"\xff" * 16, CLIENT_IPV6):
        ((_, found),) = onward.care_of(place, nonce, [address])
        assert found[:12] == place[:12]
        assert found[12] >> 4 == 15, "no IPv4 address that a client may have"
        sums = [sum(struct.unpack("!8H", each)) % 0xFFFF for each in (found, address)]
        assert sums[0] == sums[1]
    assert onward.care_of(place, nonce, [ADDRESS]) != onward.care_of(place, nonce + 1, [ADDRESS])
    assert len(onward.care_of(place, nonce, [ADDRESS, ADDRESS[::-1], bytes(16)])) == 3
