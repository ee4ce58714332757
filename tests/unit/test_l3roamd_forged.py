# SPDX-License-Identifier: ISC
"""What a node does when others lie to it, repeat themselves or flood it."""

import pytest
from l3roamd_mesh import (
    CLIENT_IPV6,
    LEGACY,
    PLAT_RANGE,
    STRANGER,
    Client,
    Mesh,
    forge,
    make_client,
    sent,
)

from l3roamd_py.core import actions as do
from l3roamd_py.core import events, wire
from l3roamd_py.core.client import Roaming


def test_a_forged_claim_takes_nothing_from_a_client_that_is_here(mesh, client):
    a = mesh.nodes[0]
    before = mesh.path(client)
    for _ in range(5):
        actions = forge(a, wire.Claim(client.mac))
        mesh.run(1)
        assert sent(actions) == []
    assert mesh.path(client) == before
    assert mesh.serving(client) == [a]
    assert a.core.counters["claims_refused"] == 5


@pytest.mark.parametrize("answer_s", [0.016, 0.045])
def test_forged_claims_take_nothing_from_a_client_whose_answer_always_takes_long(answer_s):
    mesh, client = Mesh(), make_client(9, 1)
    client.answer_s = answer_s
    mesh.join(client, mesh.nodes[0])
    mesh.run(3)
    before, a = mesh.path(client), mesh.nodes[0]
    for number in range(200):
        forge(a, wire.Claim(client.mac), STRANGER[:10] + bytes((number, 1)) + STRANGER[12:])
        for _ in range(5):
            mesh.run(0.01)
            assert mesh.path(client) == before
    assert a.core.counters["departures"] == 0


def test_claims_are_not_believed_without_number(mesh):
    """A flood of them cannot take all clients that sleep at once."""
    a = mesh.nodes[0]
    clients = [make_client(number, 1) for number in range(1, 201)]
    for client in clients:
        mesh.join(client, a)
    mesh.run(5)
    for client in clients:
        client.is_asleep = True
    for _ in range(4):
        for number, client in enumerate(clients):
            forge(a, wire.Claim(client.mac), STRANGER[:10] + bytes((number, 1)) + STRANGER[12:])
        mesh.run(0.25)
    assert 64 <= a.core.counters["departures"] <= 64 + 17
    assert a.core.counters["claims_too_many"]


def test_a_forged_claim_takes_nothing_from_a_client_without_ipv4(mesh):
    a, mac, address = mesh.nodes[0], make_client(9, 1).mac, CLIENT_IPV6[:15] + b"\x09"
    client = mesh.clients[mac] = Client(mac, None, a, ipv6=address)
    a.handle(events.AddressSeen(mac, address))
    mesh.run(2)
    forge(a, wire.Claim(mac))
    mesh.run(1)
    assert a.core.counters["claims_refused"] == 1
    assert a.kernel.routes == {(mac, address)}
    client.node = None
    forge(a, wire.Claim(mac))
    mesh.run(a.core.options.send_on_s + 1)
    assert not a.kernel.routes


def test_the_kernel_s_doubt_is_no_sign_of_a_client(mesh):
    a, mac, address = mesh.nodes[0], make_client(9, 1).mac, CLIENT_IPV6[:15] + b"\x09"
    a.handle(events.AddressSeen(mac, address, is_sign=False))
    assert mac in a.core.node.clients, "that we did not know"
    mesh.run(2)
    forge(a, wire.Claim(mac))
    a.handle(events.AddressSeen(mac, address, is_sign=False))
    mesh.run(1)
    assert mac in a.core.node.departed


def test_a_client_that_sleeps_is_lost_to_a_forger_but_comes_back_with_its_address(mesh, client):
    a = mesh.nodes[0]
    before = mesh.path(client)
    client.is_asleep = True
    forge(a, wire.Claim(client.mac))
    mesh.run(0.1)
    assert mesh.path(client) is None
    mesh.run(20)
    client.is_asleep = False
    mesh.knock(client)
    mesh.run(1.2)
    assert mesh.path(client) == before
    mesh.run(5)
    assert mesh.serving(client) == [a]


@pytest.mark.parametrize(
    "sender",
    [bytes(16), LEGACY, bytes.fromhex("ff02" + "00" * 13 + "01"), STRANGER[:12] + bytes((10, 0, 0, 1))],
)
def test_an_extended_claim_must_come_from_the_owner_of_a_clat_prefix(mesh, client, sender):
    client.is_asleep = True
    forge(mesh.nodes[0], wire.Claim(client.mac), sender)
    mesh.run(1)
    assert mesh.path(client) is not None
    assert mesh.nodes[0].core.counters["claims_bad_sender"] == 1


def test_a_forged_info_has_not_the_nonce(mesh):
    client, b = make_client(9, 1), mesh.nodes[1]
    mesh.babel.mislead(2, mesh.address(client), 4, mesh.now_s)
    mesh.clients[client.mac] = client
    mesh.move(client, b)
    mesh.run(0.02)
    lease = wire.Lease(STRANGER[:12] + client.ipv4, mesh.nodes[3].plat, 600)
    assert forge(b, wire.Info(client.mac, (), lease.plat, 600, lease, 12345)) == []
    assert forge(b, wire.Info(client.mac, (), lease.plat, 600, lease)) == []
    assert b.core.counters["infos_forged"] == 2


@pytest.mark.parametrize("nonce", [0, 1, 0xFFFFFFFF])
def test_forged_answers_of_the_platnode_change_nothing(mesh, client, nonce):
    b, plat = mesh.nodes[1], mesh.nodes[3].plat
    mesh.nodes[3].is_up = False
    mesh.move(client, b)
    mesh.run(0.1)
    assert isinstance(b.core.node.clients[client.mac].state, Roaming)
    home, at = mesh.nodes[0].clat[:12] + client.ipv4, b.clat[:12] + client.ipv4
    lease = wire.Lease(home, plat, 600)
    for reason in range(9):
        assert forge(b, wire.RoamAck(lease, at, nonce, reason)) == []
        assert forge(b, wire.TokenGrant(lease, nonce, reason)) == []
    assert (client.mac, client.ipv4) not in b.kernel.opened


def test_nothing_that_was_overheard_works_again(mesh, client):
    for node in (1, 2, 0):
        mesh.move(client, mesh.nodes[node])
        mesh.run(6)
    mesh.move(client, mesh.nodes[1])
    mesh.run(6)
    before = mesh.path(client)
    heard = list(mesh.overheard)
    for target, datagram in heard:
        target.handle(datagram)
        mesh.run(0.05)
        assert mesh.path(client) == before
    mesh.run(20)
    assert mesh.path(client) == before
    assert mesh.serving(client) == [mesh.nodes[1]]


def test_a_claim_does_not_run_in_circles(mesh, client):
    """Three nodes, each of which believes the client at the next."""
    nodes = mesh.nodes[:3]
    for node in (1, 2):
        mesh.move(client, mesh.nodes[node])
        mesh.run(6)
    client.node = None
    mesh.nodes[2].handle(events.ClientGone(client.mac))
    mesh.run(5)
    forge(mesh.nodes[2], wire.Claim(client.mac), nodes[0].core.options.address)
    mesh.run(5)
    before = len(mesh.overheard)
    forge(nodes[0], wire.Claim(client.mac))
    mesh.run(5)
    assert len(mesh.overheard) - before < 30


def test_a_claim_that_says_it_may_go_on_for_ever_does_not(mesh, client):
    mesh.move(client, mesh.nodes[1])
    mesh.run(6)
    (onward,) = forge(mesh.nodes[0], wire.Claim(client.mac), ttl=255)
    assert onward.destination == mesh.nodes[1].core.options.address
    assert wire.decode(onward.payload)[0].ttl == mesh.nodes[0].core.options.claim_ttl - 1


def test_a_node_without_roles_for_a_message_counts_it(mesh):
    node = mesh.nodes[0]
    lease = wire.Lease(STRANGER, PLAT_RANGE, 60)
    assert forge(node, wire.Roam(lease, STRANGER)) == []
    assert forge(node, wire.TokenRequest(lease)) == []
    assert forge(node, wire.Ack(make_client(3, 1).mac)) == []
    assert node.core.counters["roams_not_a_platnode"] == 1
    node.handle(events.Datagram(LEGACY, LEGACY, b"\0\1\x7f\1" + bytes(20)))
    node.handle(events.Datagram(LEGACY, LEGACY, b"\1" * 24))
    assert node.core.counters["datagrams_unknown"] == node.core.counters["datagrams_undecodable"] == 1


def test_floods_cannot_grow_the_tables():
    mesh = Mesh(
        max_clients=20,
        max_claims=10,
        max_departed=10,
        max_granted=10,
        max_senders=10,
        rate_per_s=1e9,
        burst=1e9,
        sendings_on_burst=10,
        sendings_on_per_s=1,
    )
    node = mesh.nodes[0]
    for i in range(300):
        mac, ipv4 = bytes((2, 1, 0, 0, i >> 8, i & 255)), bytes((10, 9, i >> 8, i & 255 or 1))
        node.handle(events.ClientSeen(mac))
        node.handle(events.LeaseGranted(mac, ipv4, 600))
        for j in range(50):
            node.handle(events.AddressSeen(mac, CLIENT_IPV6[:14] + bytes((i & 255, j))))
        forge(node, wire.Claim(mac), STRANGER[:10] + bytes((i >> 8, i & 255)) + STRANGER[12:])
        mesh.run(0.02)
    known = node.core.node
    assert len(known.clients) <= 20
    assert len(known.departed) <= 10
    assert len(known.granted) <= 10
    assert len(node.core.admission.sources) <= 10
    assert len(known.timers) <= 5 * 30
    assert all(len(client.addresses) <= 32 for client in known.clients.values())
    assert len(known.owner_of) <= 20 * 33


def test_a_client_may_not_change_its_address_as_it_likes(mesh, client):
    a = mesh.nodes[0]
    other = bytes((10, 1, 0, 200))
    for _ in range(20):
        mesh.knock(client, other)
        mesh.run(0.2)
        assert (client.mac, other) not in a.kernel.opened
    assert do.RefuseAtGate(client.mac, other) in a.actions
    assert mesh.path(client) is not None
    assert list(a.core.node.clients) == [client.mac]
    assert sum(isinstance(action, do.SendToNodes) for action in a.actions) <= 4  # all nodes are asked once


def test_a_client_that_makes_addresses_up_does_not_keep_the_gate_busy(mesh, client):
    a = mesh.nodes[0]
    for number in range(1000):
        a.handle(events.ClientSeen(client.mac, bytes((10, 7, *divmod(number, 256)))))
        mesh.run(0.002)
    assert 1 <= sum(isinstance(action, do.RefuseAtGate) for action in a.actions) <= 3
    assert a.core.counters["foreign_addresses"] > 900
    assert a.core.counters["arrivals"] < 25
    assert mesh.path(client) is not None
