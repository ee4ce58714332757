# SPDX-License-Identifier: ISC
"""Clients that are more than one MAC and one address, in a simulated mesh: new MACs, repeaters, virtual machines."""

import pytest
from l3roamd_mesh import CONVERGENCE_S, Client, Mesh, joined, make_client

from l3roamd_py.core import actions as do
from l3roamd_py.core import events

OTHER = bytes((10, 1, 0, 77))  # a second address behind a MAC
OWN = bytes((10, 1, 0, 5))  # the address of a repeater itself
VM = bytes((2, 0xBB, 0, 0, 0, 1))  # a MAC that DHCP knows, and no frame comes from


def refused(node):
    return [action for action in node.actions if isinstance(action, do.ReleaseLease | do.RefuseAtGate)]


def changes_mac(mesh, old, node):
    """The same device with another MAC: by its client-id our DHCP server gives it the old address."""
    new = Client(bytes((2, 0xCC, 0, 0, 0, old.mac[-1])), old.ipv4)
    old.node = None
    mesh.clients[new.mac], new.node = new, node
    node.handle(events.ClientSeen(new.mac))
    mesh.run(0.3)
    node.handle(events.LeaseGranted(new.mac, new.ipv4, 3600, True, True))
    mesh.knock(new)
    return new


@pytest.mark.parametrize("pause_s", [0.2, 400.0])
def test_a_client_that_changes_its_mac_keeps_its_address(pause_s):
    """At once if the old MAC is absent, and if it was here a moment ago when it does not answer."""
    mesh = Mesh()
    old, a = joined(mesh), mesh.nodes[0]
    old.node = None
    mesh.run(pause_s)
    was_absent = a.core.node.clients[old.mac].state.name == "absent"
    assert was_absent == (pause_s > 300)
    new = changes_mac(mesh, old, a)
    mesh.run(0.01 if was_absent else 1.0)
    assert mesh.path(new) is not None
    assert not refused(a)
    assert a.core.counters["addresses_handed_over"] == 1
    mesh.run(CONVERGENCE_S)
    assert a.core.node.granted[new.ipv4][0] == new.mac
    home = mesh.path(new)
    mesh.move(new, mesh.nodes[1])
    mesh.run(CONVERGENCE_S)
    assert mesh.path(new) == home


def test_a_resident_that_answers_keeps_its_address_and_the_newcomer_is_told():
    mesh = Mesh()
    resident, a = joined(mesh), mesh.nodes[0]
    before = mesh.path(resident)
    newcomer = changes_mac(mesh, resident, a)
    resident.node = a  # the other has not gone
    mesh.run(2)
    assert mesh.path(resident) == before
    assert mesh.path(newcomer) is None
    assert do.ReleaseLease(newcomer.mac, newcomer.ipv4) in a.actions


def test_a_resident_that_sleeps_and_answers_late_keeps_its_address():
    mesh = Mesh()
    resident, a = joined(mesh), mesh.nodes[0]
    resident.answer_s = 0.3
    changes_mac(mesh, resident, a)
    resident.node = a
    mesh.run(2)
    assert mesh.path(resident) is not None


def test_who_only_uses_an_address_does_not_have_its_resident_asked_for_it_all_the_time():
    mesh = Mesh()
    resident, a = joined(mesh), mesh.nodes[0]
    intruder = make_client(7, 1)
    intruder.ipv4 = resident.ipv4
    mesh.clients[intruder.mac] = intruder
    mesh.move(intruder, a)
    mesh.run(2)
    done = len(a.actions)
    for _ in range(400):
        mesh.knock(intruder)
        mesh.run(0.02)
    probes = [each for each in a.actions[done:] if each == do.ProbeClient(resident.mac, resident.ipv4)]
    assert len(probes) <= 6  # of which some are to learn what its answers take
    assert mesh.path(resident) is not None


@pytest.mark.parametrize("is_silent", [True, False])
def test_a_client_that_roams_has_its_address_where_another_is_silent(is_silent):
    mesh = Mesh()
    roamer, resident = make_client(9, 1), make_client(8, 2)
    resident.ipv4 = roamer.ipv4
    mesh.join(roamer, mesh.nodes[0])
    mesh.join(resident, mesh.nodes[1])
    mesh.run(2)
    home = mesh.path(roamer)
    if is_silent:
        resident.node = None
    mesh.move(roamer, mesh.nodes[1])
    mesh.run(CONVERGENCE_S)
    assert mesh.path(roamer) == (home if is_silent else None)
    assert (mesh.path(resident) is None) == is_silent


def test_a_client_that_comes_back_has_its_lease_where_another_is_silent():
    mesh = Mesh(nodes=2, platnodes=(2,))
    client, intruder = joined(mesh), make_client(8, 1)
    a, b = mesh.nodes
    mesh.move(client, b)
    mesh.run(CONVERGENCE_S)
    intruder.ipv4 = client.ipv4
    mesh.join(intruder, a)
    mesh.run(5)
    intruder.node = None
    b.is_up, b.kernel.node_clients = False, set()
    mesh.babel.lose(b.number)
    mesh.move(client, a)
    mesh.run(CONVERGENCE_S)
    assert (client.mac, client.ipv4) in a.kernel.opened


# Behind a repeater, or a bridge that sends in its own name


def repeater(mesh, node, own=None):
    """A repeater: our DHCP server hears of a client behind it, whose frames come from the repeater's MAC."""
    there = Client(bytes((2, 0xAA, 0, 0, 0, 5)), own or OTHER, beside=() if own is None else (OTHER,))
    mesh.clients[there.mac], there.node = there, node
    node.handle(events.ClientSeen(there.mac))
    mesh.run(0.3)
    if own is not None:
        node.handle(events.LeaseGranted(there.mac, own, 3600))
        mesh.run(2)
    node.handle(events.LeaseGranted(VM, OTHER, 3600, False))
    return there


def walks(mesh, client, node, *ipv4):
    client.node = node
    node.handle(events.ClientSeen(client.mac))
    for each in ipv4:
        mesh.knock(client, each)
    for _ in range(10):
        mesh.run(0.2)
        for each in ipv4:
            mesh.knock(client, each)
    mesh.run(CONVERGENCE_S)


def test_a_client_behind_a_repeater_is_served_by_the_mac_that_its_packets_come_from():
    mesh = Mesh()
    a, b = mesh.nodes[:2]
    there = repeater(mesh, a)
    mesh.run(1)
    assert VM not in a.core.node.clients
    mesh.knock(there)
    mesh.run(2)
    home = mesh.path(there)
    assert home is not None
    assert (there.mac, OTHER) in a.kernel.neighbours
    walks(mesh, there, b, OTHER)
    assert mesh.path(there) == home
    assert OTHER in a.core.node.away  # its lease at home is kept while it is there


@pytest.mark.parametrize("own", [None, OWN], ids=["no address of its own", "one"])
def test_a_client_behind_a_repeater_that_roams_keeps_its_address_while_it_renews_its_lease(own):
    """The DHCP server where it is hears its MAC, and not the one that it is known by."""
    mesh = Mesh()
    a, b = mesh.nodes[:2]
    there = repeater(mesh, a, own)
    mesh.knock(there, OTHER)
    mesh.run(2)
    home = mesh.path(there, OTHER)
    assert home is not None
    walks(mesh, there, b, OTHER)
    for _ in range(20):
        mesh.run(100)
        b.handle(events.LeaseGranted(VM, OTHER, 300, False))
        mesh.knock(there, OTHER)
        assert mesh.path(there, OTHER) == home
    assert VM not in b.core.node.clients


def talks(mesh, client, ipv4, within_s):
    """A client sends, and again; whether it is let in."""
    for _ in range(round(within_s / 0.1)):
        mesh.knock(client, ipv4)
        mesh.run(0.1)
    return mesh.path(client, ipv4) is not None


@pytest.mark.parametrize("is_seen", [True, False], ids=["the bridge remembers its MAC", "it does not"])
@pytest.mark.parametrize("own", [None, OWN], ids=["no address of its own", "one"])
def test_a_client_goes_behind_a_repeater_and_comes_out_of_it(own, is_seen):
    """Its MAC has a lease in either place, and frames of its own in one: each renewal is for who uses the address."""
    mesh = Mesh()
    a, there = mesh.nodes[0], Client(bytes((2, 0xAA, 0, 0, 0, 5)), own)
    client = Client(VM, OTHER)
    mesh.clients[there.mac], there.node = there, a
    a.handle(events.ClientSeen(there.mac))
    if own is not None:
        a.handle(events.LeaseGranted(there.mac, own, 3600))
        mesh.run(2)
    mesh.join(client, a)
    mesh.run(2)
    for _ in range(3):
        client.node, there.beside = None, (OTHER,)
        a.handle(events.LeaseGranted(VM, OTHER, 3600, is_seen))
        assert talks(mesh, there, OTHER, 1)
        for is_remembered in (is_seen, False, False):
            mesh.run(150)
            a.handle(events.LeaseGranted(VM, OTHER, 3600, is_remembered, True))
            mesh.run(0.01)
            assert mesh.path(there, OTHER) is not None
        there.beside, client.node = (), a
        a.handle(events.ClientSeen(VM))
        mesh.run(0.2)
        a.handle(events.LeaseGranted(VM, OTHER, 3600))
        assert talks(mesh, client, OTHER, 1)
        assert own is None or mesh.path(there, own) is not None
        mesh.run(30)


def test_what_a_repeater_sends_late_keeps_nobody_behind_it_out_for_long():
    """The client answered beside it just then, and the gate refused its address to the repeater."""
    mesh = Mesh()
    there = repeater(mesh, mesh.nodes[0], OWN)
    client = Client(VM, OTHER)
    mesh.join(client, mesh.nodes[0])
    mesh.run(2)
    assert talks(mesh, client, OTHER, 1)
    talks(mesh, there, OTHER, 1)
    assert mesh.path(client) is not None
    assert mesh.nodes[0].kernel.refused
    client.node = None
    assert talks(mesh, there, OTHER, 62)


def test_all_behind_a_repeater_keep_their_addresses_when_its_own_mac_changes():
    """Many take another MAC each time they join, and their clients' leases stay."""
    mesh = Mesh()
    a = mesh.nodes[0]
    clients = [bytes((10, 7, 0, number)) for number in range(8)]
    for turn in range(4):
        there = Client(bytes((2, 0xAA, 0, 0, 9, turn)), clients[0], beside=tuple(clients[1:]))
        for each in mesh.clients.values():
            each.node = None
        mesh.clients[there.mac], there.node = there, a
        a.handle(events.ClientSeen(there.mac))
        for number, ipv4 in enumerate(clients):
            a.handle(events.LeaseGranted(bytes((2, 0xAA, 0, 0, 8, number)), ipv4, 3600, False))
        for _ in range(40):
            for ipv4 in clients:
                mesh.knock(there, ipv4)
            mesh.run(0.1)
        assert [ipv4 for ipv4 in clients if mesh.path(there, ipv4) is None] == []


@pytest.mark.parametrize("is_own", [True, False], ids=["one MAC at the DHCP server", "two"])
def test_two_addresses_behind_one_mac_are_served_and_roam(is_own):
    mesh = Mesh()
    a, b = mesh.nodes[:2]
    there = repeater(mesh, a, OWN)
    if is_own:
        a.handle(events.LeaseEnded(VM, OTHER))
        a.handle(events.LeaseGranted(there.mac, OTHER, 3600))
        mesh.run(1)
        assert mesh.path(there) is not None
    mesh.knock(there, OTHER)
    mesh.run(2)
    homes = [mesh.path(there, OWN), mesh.path(there, OTHER)]
    assert None not in homes
    assert {(there.mac, OWN), (there.mac, OTHER)} <= a.kernel.neighbours
    walks(mesh, there, b, OTHER, OWN)
    assert [mesh.path(there, OWN), mesh.path(there, OTHER)] == homes
    assert not a.kernel.opened
    assert not a.kernel.neighbours
    walks(mesh, there, a, OWN, OTHER)
    assert [mesh.path(there, OWN), mesh.path(there, OTHER)] == homes
    assert not b.kernel.opened
    assert not [action for action in b.actions + a.actions if isinstance(action, do.ReleaseLease)]


def test_a_second_lease_replaces_the_first_one_of_a_client_that_does_not_use_it_any_more():
    """As with a computer that starts from the network, and then asks for a lease by another name."""
    mesh = Mesh()
    a = mesh.nodes[0]
    client = joined(mesh)
    first, client.ipv4 = client.ipv4, OTHER
    a.handle(events.LeaseGranted(client.mac, OTHER, 3600))
    mesh.knock(client)
    mesh.run(1)
    assert mesh.path(client) is not None
    assert (client.mac, first) not in a.kernel.opened
    assert list(a.core.node.clients) == [client.mac]


@pytest.fixture
def repeating():
    """A mesh, its first node, and a repeater there that uses an address of its own and one of who is behind it."""
    mesh = Mesh()
    there = repeater(mesh, mesh.nodes[0], OWN)
    mesh.knock(there, OTHER)
    mesh.run(2)
    return mesh, mesh.nodes[0], there


def test_a_restart_goes_on_with_two_addresses_behind_one_mac(repeating):
    mesh, a, there = repeating
    homes = [mesh.path(there, OWN), mesh.path(there, OTHER)]
    done = len(a.actions)
    a.restart(0.2, a.core.snapshot(mesh.now_s))
    mesh.run(CONVERGENCE_S)
    assert [mesh.path(there, OWN), mesh.path(there, OTHER)] == homes
    assert not [action for action in a.actions[done:] if isinstance(action, do.CloseGate)]


def test_a_repeater_that_leaves_takes_all_behind_it_along(repeating):
    mesh, a, there = repeating
    there.node = None
    a.handle(events.ClientGone(there.mac))
    mesh.run(5)
    assert {client.state.name for client in a.core.node.clients.values()} == {"absent"}


def test_names_of_those_behind_a_mac_do_not_pile_up():
    mesh = Mesh(max_clients=20)
    a = mesh.nodes[0]
    client = joined(mesh)
    for number in range(100):
        mesh.knock(client, bytes((10, 7, 0, number)))
        mesh.run(1.2)
    assert len(a.core.node.behind) <= 20
    assert len(a.core.node.beside) <= 20
    assert mesh.path(client) is not None
