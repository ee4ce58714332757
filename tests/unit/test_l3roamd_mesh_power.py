# SPDX-License-Identifier: ISC
"""What a power cut costs, and when: a client's lease and token are in the memory of one node at a time."""

import pytest
from l3roamd_mesh import Air, Kernel, Mesh, joined
from test_l3roamd_core import sent

from l3roamd_py.core import wire

MOMENTS_S = [number / 1000 for number in range(0, 60, 3)]


def power_cut(mesh, node):
    """Nothing of a node is left, and babel tells that soon."""
    node.is_up, node.is_gone = False, True
    for address in list(node.kernel.node_clients):
        mesh.announce(node, address, False)
    node.kernel = Kernel()


def walking(at_s):
    """A client that is walking from node 1 to 2, a time after it came there; with what it had open."""
    mesh = Mesh(air=Air(delay_s=0.002))
    client = joined(mesh)
    mesh.run(5)
    before = mesh.path(client)
    mesh.move(client, mesh.nodes[1])
    mesh.run(at_s)
    return mesh, client, before


def goes_on(mesh, client):
    for _ in range(4):
        mesh.knock(client)
        mesh.run(3)
    return mesh.path(client)


@pytest.mark.parametrize("at_s", MOMENTS_S)
def test_who_had_the_client_is_needed_until_it_has_told_what_it_knew(at_s):
    mesh, client, before = walking(at_s)
    has_told = mesh.nodes[0].core.counters["departures"] == 1
    power_cut(mesh, mesh.nodes[0])
    assert (goes_on(mesh, client) == before) == has_told
    assert mesh.path(client) is not None, "else it begins anew"


@pytest.mark.parametrize("at_s", MOMENTS_S)
def test_who_has_the_client_is_needed_from_when_the_platnode_is_told(at_s):
    mesh, client, before = walking(at_s)
    has_told = any(isinstance(said, wire.Expect | wire.Roam) for said in sent(mesh.nodes[1].actions))
    power_cut(mesh, mesh.nodes[1])
    mesh.run(1)
    mesh.move(client, mesh.nodes[2])
    assert (goes_on(mesh, client) == before) != has_told
    assert mesh.path(client) is not None, "else it begins anew"


def test_the_home_of_a_client_that_roams_may_die():
    mesh, client, before = walking(2.0)
    power_cut(mesh, mesh.nodes[0])
    mesh.run(60)
    mesh.move(client, mesh.nodes[2])
    assert goes_on(mesh, client) == before
