# SPDX-License-Identifier: ISC
"""Exits come and go in a simulated mesh: a client is never left on one that is gone, whoever was told of it."""

import pytest
from l3roamd_mesh import CONVERGENCE_S, Mesh, Node, check_converged, joined

from l3roamd_py.core import actions as do
from l3roamd_py.core import events

NOBODY = frozenset()


def two_exits() -> Mesh:
    """Nodes 4 and 3 are exits; all clients begin with 4."""
    return Mesh(platnodes=(4, 3))


def lose(mesh: Mesh, number: int) -> Node:
    node = mesh.nodes[number - 1]
    node.is_up, node.is_gone = False, True
    return node


def test_what_is_not_in_the_set_and_has_no_route_is_left():
    mesh = two_exits()
    client = joined(mesh)
    a, other = mesh.nodes[0], mesh.nodes[2]
    lose(mesh, 4)
    a.handle(events.PlatChosen(other.plat))
    a.handle(events.PlatsTold(frozenset([other.plat]), NOBODY))
    mesh.run(3)
    assert mesh.path(client) == (other.plat, a.clat[:12] + client.ipv4)
    assert a.core.node.current == other.plat


def test_the_current_one_too_is_none_without_a_route():
    """The daemon restored it, and prefixd, which was dead as well, has no other."""
    mesh = two_exits()
    joined(mesh)
    a = mesh.nodes[0]
    for number in (3, 4):
        lose(mesh, number)
    a.handle(events.PlatsTold(NOBODY, NOBODY))
    mesh.run(3)
    assert a.core.node.current is None
    assert a.actions[-1] != do.SetCurrentPlat(a.plat)


def test_what_is_named_lost_is_left_at_once_though_it_has_a_route():
    mesh = two_exits()
    client = joined(mesh)
    a, exit_node, other = mesh.nodes[0], mesh.nodes[3], mesh.nodes[2]
    a.handle(events.PlatChosen(other.plat))
    a.handle(events.PlatsTold(frozenset([other.plat]), frozenset([exit_node.plat])))
    assert mesh.path(client) == (other.plat, a.clat[:12] + client.ipv4)


@pytest.mark.parametrize("is_known", [True, False])
def test_a_plat_that_prefixd_does_not_know_stays_while_there_is_a_route(is_known):
    """It may be too far, or one too many, for prefixd where a client has roamed to."""
    mesh = two_exits()
    client = joined(mesh)
    before = mesh.path(client)
    a, exit_node, other = mesh.nodes[0], mesh.nodes[3], mesh.nodes[2]
    usable = [other.plat, exit_node.plat] if is_known else [other.plat]
    for _ in range(3):
        a.handle(events.PlatChosen(other.plat))
        a.handle(events.PlatsTold(frozenset(usable), NOBODY))
        mesh.run(5)
        assert mesh.path(client) == before


def test_a_route_that_changes_its_way_costs_nobody_the_exit():
    mesh = two_exits()
    client = joined(mesh)
    before = mesh.path(client)
    a, exit_node = mesh.nodes[0], mesh.nodes[3]
    a.handle(events.PlatChosen(mesh.nodes[2].plat))
    exit_node.is_gone = True
    a.handle(events.PlatsUnrouted(frozenset([exit_node.plat])))
    a.handle(events.PlatsTold(NOBODY, NOBODY))
    mesh.run(0.5)
    exit_node.is_gone = False
    mesh.run(10)
    assert mesh.path(client) == before
    assert not a.core.node.unrouted_plats


def test_a_lost_route_alone_is_enough():
    """Nobody tells: prefixd is dead, or a script's word was lost."""
    mesh = two_exits()
    client = joined(mesh)
    a = mesh.nodes[0]
    a.handle(events.PlatChosen(mesh.nodes[2].plat))
    a.handle(events.PlatsUnrouted(frozenset([lose(mesh, 4).plat])))
    mesh.run(3)
    assert mesh.path(client) == (mesh.nodes[2].plat, a.clat[:12] + client.ipv4)


def test_a_plat_that_was_lost_before_a_client_came_back_with_it_is_left_when_it_answers_nothing():
    mesh = two_exits()
    client = joined(mesh)
    a, b = mesh.nodes[:2]
    mesh.move(client, b)
    mesh.run(5)
    b.is_up = False
    for node in mesh.nodes:
        node.handle(events.PlatChosen(mesh.nodes[2].plat))
    lose(mesh, 4)
    mesh.move(client, a)  # which knows its lease, and nobody is left who would say more
    mesh.run(15)
    assert mesh.path(client) == (mesh.nodes[2].plat, a.clat[:12] + client.ipv4)


def test_routes_of_plats_that_nobody_uses_are_nobodys_business():
    mesh = two_exits()
    joined(mesh)
    a = mesh.nodes[0]
    others = (mesh.nodes[3].plat[:8] + (1 << 20 | number).to_bytes(4, "big") for number in range(1000))
    a.handle(events.PlatsUnrouted(frozenset(each + bytes(4) for each in others)))
    assert not a.core.node.unrouted_plats


def test_a_silent_platnode_costs_a_second_and_the_connections():
    mesh = Mesh(platnodes=(4, 3))
    client = joined(mesh)
    mesh.nodes[3].is_up = False
    for node in mesh.nodes[:3]:
        node.handle(events.PlatChosen(mesh.nodes[2].plat))
    b = mesh.nodes[1]
    mesh.move(client, b)
    mesh.run(1.0)
    assert mesh.path(client) is None
    mesh.run(0.1)
    assert mesh.path(client) == (mesh.nodes[2].plat, b.clat[:12] + client.ipv4)
    assert any("begins anew" in action.sentence for action in b.actions if isinstance(action, do.Log))
    mesh.run(CONVERGENCE_S)
    check_converged(mesh, client)


def test_a_platnode_whose_kernel_refuses_says_so(mesh):
    client = joined(mesh)
    mesh.nodes[3].kernel.refuses = True
    mesh.move(client, mesh.nodes[1])
    mesh.run(0.1)
    assert mesh.path(client) == (mesh.nodes[3].plat, mesh.nodes[1].clat[:12] + client.ipv4)


def test_another_plat_is_for_new_leases_and_a_lost_one_moves_its_clients():
    mesh = Mesh(platnodes=(4, 3))
    old = joined(mesh)
    before = mesh.path(old)
    mesh.choose(mesh.nodes[2])
    new = joined(mesh, 1, 7)
    assert mesh.path(old) == before
    assert mesh.path(new) == (mesh.nodes[2].plat, mesh.nodes[0].clat[:12] + new.ipv4)
    mesh.move(old, mesh.nodes[1])
    mesh.run(1)
    assert mesh.path(old) == before
    for node in mesh.nodes:
        node.handle(events.PlatLost(mesh.nodes[3].plat))
    assert mesh.path(old) == (mesh.nodes[2].plat, mesh.nodes[1].clat[:12] + old.ipv4)
    mesh.run(1)
    assert mesh.nodes[1].core.node.clients[old.mac].lease.token.serial, "and can roam again"


def test_after_a_reboot_of_the_only_platnode_clients_roam_by_its_new_secret(mesh):
    client = joined(mesh)
    exit_node = mesh.nodes[3]
    overheard = mesh.nodes[0].core.node.clients[client.mac].lease.token
    exit_node.is_up = False
    exit_node.kernel = type(exit_node.kernel)()
    for node in mesh.nodes[:3]:
        node.handle(events.PlatLost(exit_node.plat))
    mesh.run(5)
    exit_node.core, exit_node.is_up = exit_node.make_core(), True
    mesh.choose(exit_node)
    mesh.run(10)
    assert mesh.nodes[0].core.node.clients[client.mac].lease.token != overheard
    mesh.move(client, mesh.nodes[1])
    mesh.run(CONVERGENCE_S)
    check_converged(mesh, client)
    # D's address for it, so its connections of after the reboot go on
    assert mesh.path(client) == (exit_node.plat, mesh.nodes[0].clat[:12] + client.ipv4)


def test_without_a_plat_clients_wait_for_one():
    mesh = Mesh(platnodes=())
    client = joined(mesh)
    mesh.move(client, mesh.nodes[1])
    mesh.run(1)
    assert (client.mac, client.ipv4) in mesh.nodes[1].kernel.opened
    assert mesh.serving(client)


def test_a_client_that_is_back_at_its_home_without_an_exit_has_what_was_mapped_for_it():
    """Its home is still mapped to the node that it came from, as no exit could be told."""
    mesh = Mesh()
    client = joined(mesh)
    a, b, exit_node = mesh.nodes[0], mesh.nodes[1], mesh.nodes[3]
    mesh.move(client, b)
    mesh.run(5)
    for node in mesh.nodes[:3]:
        node.handle(events.PlatLost(exit_node.plat))
    mesh.run(5)
    mesh.move(client, a)
    mesh.run(5)
    assert exit_node.kernel.home_of, "it is mapped to the node before"
    mesh.choose(exit_node)
    mesh.run(1)
    assert a.core.node.clients[client.mac].lease.token.serial
    assert not exit_node.kernel.home_of
    assert mesh.path(client) == (exit_node.plat, a.clat[:12] + client.ipv4)
