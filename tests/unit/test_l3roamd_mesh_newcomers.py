# SPDX-License-Identifier: ISC
"""Who is new to the mesh has no route in it before more than frames with its MAC say that it is here."""

import pytest
from l3roamd_mesh import CLIENT_IPV6, Client, Mesh, check_converged, check_goes_on, make_client

from l3roamd_py.core import actions as do
from l3roamd_py.core import events


def arrived(mesh, is_there=True, ipv6=None):
    """A client that no DHCP server of ours knows; if it is not there, somebody sends in its name."""
    client = make_client(9, 1)
    client.ipv6 = ipv6
    mesh.clients[client.mac] = client
    client.node = mesh.nodes[0] if is_there else None
    return client


def is_open(mesh, client):
    return (client.mac, client.ipv4) in mesh.nodes[0].kernel.opened


def test_frames_alone_make_no_route_but_let_through_at_once():
    mesh, a = Mesh(), None
    a, client = mesh.nodes[0], arrived(mesh, is_there=False)
    a.handle(events.ClientSeen(client.mac))
    a.handle(events.ClientSeen(client.mac, client.ipv4))
    mesh.run(0.07)
    assert is_open(mesh, client)
    mesh.run(60)
    assert not any(isinstance(action, do.AddNodeClient) for action in a.actions)
    assert client.mac not in a.core.node.clients
    assert not is_open(mesh, client)


def test_frames_that_go_on_make_no_route_either_and_no_more_claims(mesh):
    a, client = mesh.nodes[0], arrived(mesh, is_there=False)
    for _ in range(200):
        a.handle(events.ClientSeen(client.mac))
        a.handle(events.ClientSeen(client.mac, client.ipv4))
        mesh.run(0.5)
    assert mesh.serving(client) == []
    assert a.core.counters["arrivals"] == 1
    assert is_open(mesh, client), "whoever sends and does not answer is not kept out"


def test_an_answer_to_arp_is_a_proof(mesh):
    a, client = mesh.nodes[0], arrived(mesh)
    a.handle(events.ClientSeen(client.mac))
    a.handle(events.ClientSeen(client.mac, client.ipv4))
    mesh.run(0.065)  # 60 ms for who had it, 2 for its answer
    assert mesh.serving(client) == [a]
    mesh.run(20)
    check_converged(mesh, client)


def test_a_slow_answer_is_one_too(mesh):
    a, client = mesh.nodes[0], arrived(mesh)
    client.answer_s = 0.9
    a.handle(events.ClientSeen(client.mac, client.ipv4))
    mesh.run(5)
    assert mesh.serving(client) == [a]


def test_an_address_that_is_known_later_is_asked_then(mesh):
    a, client = mesh.nodes[0], arrived(mesh)
    a.handle(events.ClientSeen(client.mac))
    mesh.run(30)
    assert mesh.serving(client) == []
    a.handle(events.ClientSeen(client.mac, client.ipv4))
    mesh.run(0.01)
    assert mesh.serving(client) == [a]


@pytest.mark.parametrize("at_s", [0.01, 0.1, 30])
def test_a_lease_of_our_dhcp_server_is_a_proof(mesh, at_s):
    a, client = mesh.nodes[0], arrived(mesh)
    a.handle(events.ClientSeen(client.mac))
    mesh.run(at_s)
    assert mesh.serving(client) == []
    a.handle(events.LeaseGranted(client.mac, client.ipv4, 600))
    mesh.run(0.07)
    assert mesh.serving(client) == [a]


@pytest.mark.parametrize("at_s", [0, 0.1])
def test_that_the_driver_knows_it_is_a_proof(mesh, at_s):
    a, client = mesh.nodes[0], arrived(mesh)
    a.handle(events.ClientSeen(client.mac))
    mesh.run(at_s)
    a.handle(events.ClientSeen(client.mac, is_proof=True))
    mesh.run(0.07)
    assert mesh.serving(client) == [a]


@pytest.mark.parametrize("is_sign", [True, False])
def test_a_client_without_ipv4_is_asked_by_its_ipv6_address(mesh, is_sign):
    address = CLIENT_IPV6[:15] + b"\1"
    a, client = mesh.nodes[0], arrived(mesh, ipv6=address)
    a.handle(events.AddressSeen(client.mac, address, is_sign=is_sign))
    mesh.run(0.5)
    assert mesh.serving(client) == [a]


def test_of_an_address_that_nobody_answers_at_comes_no_route(mesh):
    address = CLIENT_IPV6[:15] + b"\1"
    a, client = mesh.nodes[0], arrived(mesh, is_there=False)
    a.handle(events.AddressSeen(client.mac, address, is_sign=False))
    mesh.run(60)
    assert mesh.serving(client) == []
    assert client.mac not in a.core.node.clients


@pytest.mark.parametrize("pause_s", [0.061, 0.07, 0.3])
def test_a_client_that_walks_on_at_once_takes_its_connections_along(mesh, pause_s):
    """Its address was set by hand, and it may not have answered yet when it goes."""
    client = arrived(mesh)
    client.answer_s = 0.05
    mesh.nodes[0].handle(events.ClientSeen(client.mac))
    mesh.nodes[0].handle(events.ClientSeen(client.mac, client.ipv4))
    mesh.run(pause_s)
    before = mesh.path(client)
    assert before is not None
    mesh.move(client, mesh.nodes[1])
    check_goes_on(mesh, client, before, 0.5)


def test_nobody_vouches_for_whom_it_has_not_proven(mesh):
    """With one MAC at two nodes a route would be had for frames again."""
    client = Client(bytes((2, 0xAA, 0, 0, 0, 9)), None)
    for node in (0, 1, 0, 1):
        mesh.nodes[node].handle(events.ClientSeen(client.mac))
        mesh.run(5)
    assert mesh.serving(client) == []


def test_a_newcomer_that_a_restart_restored_still_has_to_answer(mesh):
    a, client = mesh.nodes[0], arrived(mesh, is_there=False)
    a.handle(events.ClientSeen(client.mac, client.ipv4))
    mesh.run(0.1)
    a.restart(0.1, a.core.snapshot(mesh.now_s))
    mesh.run(10)
    assert mesh.serving(client) == []
