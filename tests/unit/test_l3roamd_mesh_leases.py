# SPDX-License-Identifier: ISC
"""Addresses and leases in a simulated mesh: whose an address is, until when, and whom it finds when it is over."""

import pytest
from l3roamd_mesh import CONVERGENCE_S, Client, Mesh, check_converged, joined, make_client

from l3roamd_py.core import actions as do
from l3roamd_py.core import events


def test_a_resident_of_an_overlapping_address_loses_nothing(mesh):
    roamer, resident = make_client(9, 1), make_client(8, 2)
    resident.ipv4 = roamer.ipv4
    mesh.join(roamer, mesh.nodes[0])
    mesh.join(resident, mesh.nodes[1])
    mesh.run(2)
    before, done = mesh.path(resident), len(mesh.nodes[1].actions)
    mesh.move(roamer, mesh.nodes[1])
    mesh.run(CONVERGENCE_S)
    b = mesh.nodes[1]
    assert mesh.path(resident) == before
    assert b.core.counters["conflicts"] == 1
    assert do.RefuseAtGate(roamer.mac, roamer.ipv4) in b.actions
    assert (roamer.mac, roamer.ipv4) not in b.kernel.opened
    later = [action for action in b.actions[done:] if not isinstance(action, do.ProbeClient)]
    assert not any(getattr(action, "mac", None) == resident.mac for action in later)
    roamer.ipv4 = bytes((10, 2, 0, 77))
    b.handle(events.LeaseGranted(roamer.mac, roamer.ipv4, 3600))
    mesh.run(1)
    assert mesh.path(roamer) is not None


def test_the_address_of_a_resident_is_not_by_arp_whoever_spoke_last(mesh):
    client = joined(mesh)
    assert (client.mac, client.ipv4) in mesh.nodes[0].kernel.neighbours
    mesh.nodes[0].handle(events.LeaseEnded(client.mac, client.ipv4))
    assert not mesh.nodes[0].kernel.neighbours


def test_who_comes_again_with_a_residents_address_is_refused_once_and_stays(mesh):
    roamer, resident = make_client(9, 1), make_client(8, 2)
    first = resident.ipv4 = roamer.ipv4
    mesh.join(roamer, mesh.nodes[0])
    mesh.join(resident, mesh.nodes[1])
    mesh.run(2)
    a, b = mesh.nodes[:2]
    mesh.move(roamer, b)
    mesh.run(5)
    roamer.ipv4 = bytes((10, 2, 0, 77))
    b.handle(events.LeaseGranted(roamer.mac, roamer.ipv4, 3600))
    mesh.run(5)
    mesh.move(roamer, a)
    mesh.run(5)
    roamer.ipv4 = first
    a.handle(events.LeaseGranted(roamer.mac, first, 3600))
    mesh.run(5)
    roamer.node = b
    for _ in range(5):
        b.handle(events.ClientSeen(roamer.mac))  # and no packet of it
        mesh.run(0.5)
    assert b.core.node.clients[roamer.mac].ipv4 is None
    mesh.run(5)
    assert mesh.serving(roamer) == [b]
    assert sum("refused" in action.sentence for action in b.actions if isinstance(action, do.Log)) == 2
    assert b.core.counters["arrivals_unproven"] == 0


def test_a_lease_that_our_own_server_gave_to_the_newcomer_is_taken_back(mesh):
    resident, newcomer = joined(mesh), make_client(8, 1)
    newcomer.ipv4 = resident.ipv4
    mesh.join(newcomer, mesh.nodes[0])
    mesh.run(1)
    assert do.ReleaseLease(newcomer.mac, newcomer.ipv4) in mesh.nodes[0].actions
    assert mesh.path(resident) is not None


def test_renewing_at_b_extends_the_roam_and_without_it_the_kernel_forgets(mesh):
    client = make_client(9, 1)
    mesh.join(client, mesh.nodes[0], lease_s=600)
    mesh.run(2)
    before = mesh.path(client)
    b = mesh.nodes[1]
    mesh.move(client, b)
    for _ in range(5):
        mesh.run(280)
        b.handle(events.LeaseGranted(client.mac, client.ipv4, 600))
        mesh.run(1)
        assert mesh.path(client) == before
    mesh.run(700)
    assert not [1 for _, until_s, _ in mesh.nodes[3].kernel.home_of.values() if until_s > mesh.now_s]
    assert not mesh.nodes[3].core.platnode.entries or all(
        entry.at is None for entry in mesh.nodes[3].core.platnode.entries.values()
    )


def test_a_lease_that_runs_out_where_it_was_not_renewed_last_is_no_end(mesh):
    client = make_client(9, 1)
    a, b, c = mesh.nodes[:3]
    mesh.join(client, a, lease_s=1000)
    mesh.run(2)
    before = mesh.path(client)
    for node, is_renewed, stays_s in ((b, True, 60), (c, True, 40), (b, False, 20)):
        mesh.move(client, node)
        mesh.run(1)
        if is_renewed:
            node.handle(events.LeaseGranted(client.mac, client.ipv4, 120))
        mesh.run(stays_s - 1)
    b.handle(events.LeaseEnded(client.mac, client.ipv4))
    mesh.run(1)
    assert mesh.path(client) == before


def test_a_client_that_leaves_without_a_word_is_absent_then_forgotten(mesh):
    client = make_client(9, 1)
    mesh.join(client, mesh.nodes[0], lease_s=600)
    mesh.run(2)
    client.node = None
    mesh.run(310)
    assert mesh.nodes[0].core.node.clients[client.mac].state.name == "absent"
    mesh.run(600)
    assert client.mac not in mesh.nodes[0].core.node.clients
    assert not mesh.serving(client)
    assert not mesh.nodes[0].kernel.opened


def test_a_client_that_leaves_without_a_word_is_forgotten_with_a_short_lease_too(mesh):
    client = make_client(9, 1)
    mesh.join(client, mesh.nodes[0], lease_s=120)
    mesh.run(2)
    client.node = None
    mesh.run(600)
    assert client.mac not in mesh.nodes[0].core.node.clients
    assert not mesh.serving(client)


def test_a_client_whose_lease_ended_while_it_was_here_is_served_again_when_it_has_one(mesh):
    client = make_client(9, 1)
    mesh.join(client, mesh.nodes[0], lease_s=120)
    mesh.run(2)
    client.is_asleep = True  # it has given the address up, and answers for it no more
    mesh.run(198)
    assert mesh.path(client) is None
    client.is_asleep = False
    mesh.nodes[0].handle(events.LeaseGranted(client.mac, client.ipv4, 120))
    mesh.run(1)
    check_converged(mesh, client)


@pytest.mark.parametrize("early_s", [None, -0.5, 0.5])
def test_a_client_that_answers_for_its_address_has_a_longer_lease_than_its_node_knows(mesh, early_s):
    """Another node's DHCP server gave it, and a restart, say, lost that. early_s: when our DHCP server says the end."""
    client, a = make_client(9, 1), mesh.nodes[0]
    mesh.join(client, a, lease_s=120)
    mesh.run(2)
    if early_s is not None:
        mesh.after(118.2 - early_s, lambda: a.handle(events.LeaseEnded(client.mac, client.ipv4)))
    before = mesh.path(client)
    assert before is not None
    for _ in range(400):
        mesh.run(1)
        assert mesh.path(client) == before
    check_converged(mesh, client)
    client.is_asleep = True
    mesh.run(1300)
    assert client.mac not in a.core.node.clients


def test_a_lease_that_was_given_back_is_over_at_once(mesh):
    client, a = make_client(9, 1), mesh.nodes[0]
    mesh.join(client, a, lease_s=120)
    mesh.run(30)
    a.handle(events.LeaseEnded(client.mac, client.ipv4))
    assert mesh.path(client) is None


def test_an_absent_client_is_found_with_its_lease(mesh):
    client = joined(mesh)
    before = mesh.path(client)
    client.node = None
    mesh.run(400)
    mesh.move(client, mesh.nodes[1])
    mesh.run(0.05)
    assert mesh.path(client) == before


def roamed_and_its_double(mesh: Mesh) -> tuple[Client, Client]:
    """A client that roamed from a to b, and one that has the same address."""
    first, second = joined(mesh), make_client(8, 1)
    mesh.move(first, mesh.nodes[1])
    mesh.run(400)  # its old node has forgotten where it is
    mesh.nodes[1].handle(events.LeaseGranted(first.mac, first.ipv4, 3600))
    second.ipv4 = first.ipv4
    mesh.clients[second.mac], second.node = second, mesh.nodes[0]
    return first, second


def renewals(node) -> int:
    return sum(isinstance(action, do.RenewLease) for action in node.actions)


def test_the_lease_of_a_client_that_roams_is_kept_at_its_home_for_as_long_as_it_does(mesh):
    a, b = mesh.nodes[:2]
    mesh.lease_s = 300
    client = make_client(9, 1)
    mesh.join(client, a, lease_s=300)
    mesh.run(2)
    mesh.move(client, b)
    for minute in range(30):
        mesh.run(60)
        b.handle(events.LeaseGranted(client.mac, client.ipv4, 300))
        _, until_s = a.core.node.granted[client.ipv4]
        assert until_s > mesh.now_s, "nobody else is given its address"
        if minute == 15:
            a.restart(0.1, a.core.snapshot(mesh.now_s))
    assert 5 <= renewals(a) <= 7
    client.node = None
    mesh.run(1000)
    assert renewals(a) <= 8, "the mapping ended, and with it the renewals"
    assert not a.core.node.away


def test_a_lease_of_a_client_that_is_nowhere_ends_at_its_home(mesh):
    client = make_client(9, 1)
    mesh.join(client, mesh.nodes[0], lease_s=300)
    mesh.run(2)
    mesh.move(client, mesh.nodes[1])
    mesh.run(5)
    mesh.move(client, mesh.nodes[0])
    mesh.run(600)
    assert renewals(mesh.nodes[0]) == 0


def test_an_address_that_roams_is_not_taken_home_by_who_was_granted_it_again(mesh):
    """With a small prefix4 it needs no attack: the client's lease was renewed where it is, and ended at its home."""
    first, second = roamed_and_its_double(mesh)
    before = mesh.path(first)
    a = mesh.nodes[0]
    mesh.join(second, a)
    for _ in range(4):
        mesh.run(70)
        assert mesh.path(first) == before
    assert (second.mac, second.ipv4) in a.kernel.opened, "what it begins is answered there"
    assert a.core.node.clients[second.mac].lease.token.serial == 0, "and takes no mapping along"
    mesh.move(second, mesh.nodes[2])
    mesh.run(CONVERGENCE_S)
    assert mesh.path(first) == before
    assert mesh.path(second) == (mesh.nodes[3].plat, mesh.nodes[2].clat[:12] + second.ipv4)


def test_an_address_that_roams_is_not_taken_home_by_who_only_uses_it(mesh):
    first, second = roamed_and_its_double(mesh)
    before = mesh.path(first)
    a = mesh.nodes[0]
    for _ in range(5):
        mesh.move(second, a)
        mesh.run(5)
        assert mesh.path(first) == before
        assert (second.mac, second.ipv4) not in a.kernel.opened
    assert do.RefuseAtGate(second.mac, second.ipv4) in a.actions


def test_a_home_that_is_mapped_to_a_dead_node_comes_home_with_who_was_granted_it(mesh):
    first, second = roamed_and_its_double(mesh)
    mesh.nodes[1].is_up, mesh.nodes[1].is_gone, first.node = False, True, None
    mesh.join(second, mesh.nodes[0])
    mesh.run(3)
    assert mesh.path(second) == (mesh.nodes[3].plat, mesh.nodes[0].clat[:12] + second.ipv4)


@pytest.mark.parametrize("is_renewed", [True, False])
def test_a_client_that_comes_home_from_a_node_that_died_is_at_home_at_once(mesh, is_renewed):
    first, _ = roamed_and_its_double(mesh)
    before = mesh.path(first)
    mesh.nodes[1].is_up, mesh.nodes[1].is_gone = False, True
    mesh.move(first, mesh.nodes[0])
    mesh.run(0.2)
    mesh.nodes[0].handle(events.LeaseGranted(first.mac, first.ipv4, 3600, is_renewed=is_renewed))
    mesh.run(4)
    assert mesh.path(first) == before


@pytest.mark.parametrize("asks_after_s", [0.005, 0.5])
def test_a_client_whose_lease_its_home_never_ended_is_at_home_there_whatever_else_is_mapped(
    mesh, asks_after_s
):
    first, _ = roamed_and_its_double(mesh)
    before = mesh.path(first)
    a, b = mesh.nodes[:2]
    mesh.announce(b, mesh.address(first), False)
    b.kernel = type(b.kernel)()
    b.restart(0.1, None)  # it lives, and has forgotten the client
    mesh.run(1)
    first.node = a
    a.handle(events.ClientSeen(first.mac))
    mesh.run(asks_after_s)
    a.handle(events.LeaseGranted(first.mac, first.ipv4, 3600, is_renewed=True))
    mesh.run(0.5)
    assert mesh.path(first) == before


def test_who_was_granted_nothing_gives_way_to_a_client_that_comes_with_its_lease(mesh):
    roamer, squatter = joined(mesh), make_client(8, 2)
    before, b = mesh.path(roamer), mesh.nodes[1]
    squatter.ipv4 = roamer.ipv4
    mesh.clients[squatter.mac] = squatter
    mesh.move(squatter, b)
    mesh.run(3)
    assert (squatter.mac, squatter.ipv4) in b.kernel.opened
    mesh.move(roamer, b)
    mesh.run(0.1)
    assert mesh.path(roamer) == before
    for _ in range(5):
        mesh.knock(squatter)
        mesh.run(2)
        assert mesh.path(roamer) == before
        assert (squatter.mac, squatter.ipv4) not in b.kernel.opened


def test_who_was_granted_nothing_gives_way_to_who_is_granted_its_address(mesh):
    owner, squatter = make_client(9, 1), make_client(8, 1)
    squatter.ipv4 = owner.ipv4
    mesh.clients[squatter.mac] = squatter
    mesh.move(squatter, mesh.nodes[0])
    mesh.run(3)
    mesh.join(owner, mesh.nodes[0])
    mesh.run(3)
    mesh.knock(owner)
    mesh.run(0.1)
    assert mesh.path(owner) is not None
    mesh.knock(squatter)
    mesh.run(3)
    assert mesh.path(owner) is not None
    assert (squatter.mac, squatter.ipv4) not in mesh.nodes[0].kernel.opened
    assert not any(isinstance(action, do.ReleaseLease) for action in mesh.nodes[0].actions)


def test_a_lease_does_not_wear_off_by_roaming(mesh):
    client = make_client(9, 1)
    mesh.join(client, mesh.nodes[0], lease_s=600)
    mesh.run(2)
    begun_s, before = mesh.now_s, mesh.path(client)
    for i in range(200):
        mesh.move(client, mesh.nodes[1 + i % 2])
        mesh.run(0.7)
    assert mesh.path(client) == before
    lease = client.node.core.node.clients[client.mac].lease
    assert lease.until_s - mesh.now_s > 600 - (mesh.now_s - begun_s) - 10
