# SPDX-License-Identifier: ISC
"""Exits come and go in a simulated mesh: a client is never left on one that is gone, whoever was told of it."""

import pytest
from l3roamd_mesh import Mesh, Node, joined

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
