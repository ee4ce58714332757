# SPDX-License-Identifier: ISC
"""Who makes MACs up at one port of the bridge takes no room from others, nor from who comes to that port."""

import pytest
from l3roamd_mesh import CLIENT_IPV6, Client, Mesh, check_converged, make_client

from l3roamd_py.core import actions as do
from l3roamd_py.core import events, wire
from l3roamd_py.core.ports import Ports

MACS = 4500


def made_up(number):
    return Client(bytes((2, 0xBB, 0, 0, *divmod(number, 256))), bytes((10, 99, *divmod(number, 250))))


def flood(mesh, port="lan1", count=MACS, is_answering=False, is_slow=True):
    """Frames and ARP in the names of many; is_answering: the attacker answers as well."""
    a = mesh.nodes[0]
    for number in range(count):
        client = made_up(number)
        a.ports[client.mac] = port
        if is_answering:
            mesh.clients[client.mac], client.node = client, a
        a.handle(events.ClientSeen(client.mac))
        a.handle(events.ClientSeen(client.mac, client.ipv4))
        if is_slow:
            mesh.run(0.0002)


def comes(mesh, port, number=9):
    client = make_client(number, 1)
    mesh.clients[client.mac], client.node = client, mesh.nodes[0]
    mesh.nodes[0].ports[client.mac] = port
    return client


def routes(mesh):
    """The host routes that a node has which all of them come to."""
    return mesh.babel.addresses(3, mesh.now_s)


def claims(node):
    sent = (action for action in node.actions if isinstance(action, do.Send))
    return {
        wire.decode(action.payload)[1].mac
        for action in sent
        if action.destination == wire.GROUP and isinstance(wire.decode(action.payload)[1], wire.Claim)
    }


def sentences(node):
    return [action.sentence for action in node.actions if isinstance(action, do.Log)]


def test_frames_in_many_names_cost_the_mesh_no_route_and_few_claims(mesh):
    a = mesh.nodes[0]
    flood(mesh)
    assert len(a.core.node.clients) <= 128
    mesh.run(20)
    assert routes(mesh) == set()
    assert len(claims(a)) <= 3 * 128
    assert len(a.core.node.clients) == 0
    assert not a.core.node.ports._clients
    assert not a.core.node.ports._newcomers
    assert sum("lan1" in sentence for sentence in sentences(a)) == 1
    assert a.core.counters["newcomers_too_many_at_port"] > MACS - 3 * 128


def test_who_answers_in_many_names_has_as_many_routes_as_a_port_may(mesh):
    flood(mesh, is_answering=True)
    mesh.run(20)
    assert len(routes(mesh)) <= 512
    assert len(mesh.nodes[0].core.node.clients) <= 512


@pytest.mark.parametrize("is_answering", [False, True])
def test_a_client_at_another_port_notices_nothing(mesh, is_answering):
    a = mesh.nodes[0]
    flood(mesh, is_answering=is_answering)
    client = comes(mesh, "lan2")
    a.handle(events.ClientSeen(client.mac))
    a.handle(events.ClientSeen(client.mac, client.ipv4))
    flood(mesh, count=300)
    mesh.run(0.02)
    assert mesh.path(client) is not None
    mesh.run(5)
    assert mesh.serving(client) == [a]


def test_a_client_that_comes_to_the_flooded_port_gets_in_by_its_lease(mesh):
    a = mesh.nodes[0]
    flood(mesh, is_slow=False)
    client = comes(mesh, "lan1")
    a.handle(events.ClientSeen(client.mac))
    assert client.mac not in a.core.node.clients
    a.handle(events.LeaseGranted(client.mac, client.ipv4, 600))
    mesh.run(0.07)
    assert mesh.path(client) is not None
    assert mesh.serving(client) == [a]
    mesh.run(20)
    check_converged(mesh, client)


@pytest.mark.parametrize("ipv6", [None, CLIENT_IPV6[:15] + b"\1"])
def test_a_client_that_comes_to_the_flooded_port_gets_in_by_its_answer(mesh, ipv6):
    a = mesh.nodes[0]
    flood(mesh, is_slow=False)
    mesh.run(1)  # the flood goes on, in the names of those that are in; the others' questions are over
    client = comes(mesh, "lan1")
    client.ipv6 = ipv6
    if ipv6 is None:
        a.handle(events.ClientSeen(client.mac, client.ipv4))
    else:
        a.handle(events.AddressSeen(client.mac, ipv6, is_sign=False))
        assert [action for action in a.actions if action == do.SolicitClient(client.mac, ipv6)]
        a.handle(events.AddressSeen(client.mac, ipv6))  # as the neighbour table has it then
    mesh.run(0.1)
    assert mesh.serving(client) == [a]


def test_a_roamed_client_that_comes_to_the_flooded_port_keeps_its_connections(mesh):
    client = make_client(9, 2)
    mesh.join(client, mesh.nodes[1])
    mesh.run(5)
    before = mesh.path(client)
    flood(mesh, is_slow=False)
    mesh.run(1)
    mesh.nodes[0].ports[client.mac] = "lan1"
    mesh.move(client, mesh.nodes[0])
    mesh.run(0.2)
    assert mesh.path(client) == before


def test_where_all_have_answered_others_wait_and_come_in_when_one_leaves():
    mesh = Mesh(max_port_clients=20)
    a = mesh.nodes[0]
    flood(mesh, count=20, is_answering=True)
    mesh.run(1)
    client = comes(mesh, "lan1")
    for _ in range(5):
        a.handle(events.LeaseGranted(client.mac, client.ipv4, 600))
        mesh.run(1)
    assert client.mac not in a.core.node.clients
    assert a.core.counters["clients_too_many_at_port"] >= 5
    assert sentences(a) == ["lan1 has 20 clients, as many as it may: others wait"]
    other = comes(mesh, "lan2", number=8)
    a.handle(events.ClientSeen(other.mac, other.ipv4))
    mesh.run(1)
    assert mesh.serving(other) == [a]
    gone = mesh.clients.pop(made_up(3).mac)
    a.handle(events.ClientGone(gone.mac))
    mesh.run(30)
    assert gone.mac in a.core.node.clients, "it may sleep, and has its lease still"
    mesh.knock(client)
    mesh.run(1)
    assert mesh.serving(client) == [a]
    assert gone.mac not in a.core.node.clients
    assert len(a.core.node.clients) == 21


def test_a_port_is_remembered_and_moves_with_its_client():
    ports = Ports(2, 1, 1.0)
    ports.add(b"a", "x")
    assert not ports.has_room("x", False)
    assert ports.has_room("x", True)
    assert ports.least("x") == b"a"
    ports.note_proof(b"a")
    assert ports.has_room("x", False)
    ports.add(b"b", "x")
    assert not ports.has_room("x", True)
    ports.add(b"a", "")  # not known any more
    assert not ports.has_room("x", True)
    ports.add(b"a", "y")
    assert ports.least("y") is None, "it has proven to be here"
    ports.add(b"b", "y")
    assert ports.least("y") == b"b"
    assert ports.least("x") is None
    ports.leave(b"a")
    assert ports.least("y") == b"b"
    ports.note_proof(b"b")
    assert ports.least("y") == b"a"
    ports.come_back(b"a")
    assert ports.least("y") is None
    ports.leave(b"a")
    for mac in (b"a", b"b", b"c"):
        ports.remove(mac)
    assert not any((ports._clients, ports._newcomers, ports._absent, ports._port_of))


def test_questions_and_sentences_are_few():
    ports = Ports(2, 1, 10.0)
    assert sum(ports.may_ask("x", 0.0) for _ in range(99)) == 10
    assert ports.may_ask("y", 0.0)
    assert [ports.may_tell("x", at_s) for at_s in (0.0, 1.0, 299.0, 601.0)] == [True, False, False, True]
