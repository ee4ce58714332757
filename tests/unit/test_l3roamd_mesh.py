# SPDX-License-Identifier: ISC
"""Whole roams in a simulated mesh: who serves the client, whose address the PLAT sees, what is left behind."""

import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).resolve().parent))

from l3roamd_mesh import CLIENT_IPV6, Air, Client, Mesh, make_client

from l3roamd_py import actions as do
from l3roamd_py import events, wire

SETTLE_S = 15.0


def joined(mesh: Mesh, node: int = 1, number: int = 9) -> Client:
    client = make_client(number, node)
    mesh.join(client, mesh.nodes[node - 1])
    mesh.run(2)
    return client


def check_settled(mesh: Mesh, client: Client) -> None:
    """Exactly one node serves the client, where it is, and lets it through; nothing is left at the others."""
    assert mesh.holders(client) == [client.node]
    assert mesh.path(client) is not None
    for node in mesh.nodes:
        if node is not client.node:
            assert client.mac not in node.core.table.clients
            assert (client.mac, client.ipv4) not in node.kernel.opened | node.kernel.neighbours
            assert node.clat[:12] + client.ipv4 not in node.kernel.plats


def test_a_new_client_gets_through_at_once_and_a_token_with_its_lease():
    mesh = Mesh()
    client = make_client(9, 1)
    mesh.join(client, mesh.nodes[0])
    mesh.run(0.061)
    assert mesh.holders(client) == [mesh.nodes[0]]
    mesh.run(1)
    check_settled(mesh, client)
    assert mesh.nodes[0].core.table.clients[client.mac].lease.token.serial


def test_a_lease_does_not_wear_off_by_roaming():
    mesh = Mesh()
    client = make_client(9, 1)
    mesh.join(client, mesh.nodes[0], lease_s=600)
    mesh.run(2)
    begun_s, before = mesh.now_s, mesh.path(client)
    for i in range(200):
        mesh.move(client, mesh.nodes[1 + i % 2])
        mesh.run(0.7)
    assert mesh.path(client) == before
    lease = client.node.core.table.clients[client.mac].lease
    assert lease.until_s - mesh.now_s > 600 - (mesh.now_s - begun_s) - 10


def test_connections_walk_along_and_home_again():
    mesh = Mesh()
    client = joined(mesh)
    before = mesh.path(client)
    for node in (2, 3, 2, 4, 1, 2, 1):
        mesh.move(client, mesh.nodes[node - 1])
        mesh.run(0.1)
        assert mesh.path(client) == before
        mesh.run(SETTLE_S)
        check_settled(mesh, client)
        assert mesh.path(client) == before
    assert not mesh.nodes[3].kernel.home_of, "at home nothing is mapped"


def test_the_gate_is_closed_for_two_round_trips_and_an_arp():
    mesh = Mesh()
    client = joined(mesh)
    mesh.move(client, mesh.nodes[1])
    mesh.run(0.001 + 4 * 0.005 + 0.009)
    assert mesh.path(client) is None
    mesh.run(0.002)
    assert mesh.path(client) is not None


def test_a_client_that_says_goodbye_is_not_asked_for():
    mesh = Mesh()
    client = joined(mesh)
    before = mesh.path(client)
    mesh.move(client, mesh.nodes[1], is_polite=True)
    mesh.run(0.001 + 4 * 0.005 + 0.001)
    assert mesh.path(client) == before


def test_b_is_ready_before_it_asks_the_plat_and_asks_before_it_does_what_can_wait():
    mesh = Mesh()
    client = joined(mesh)
    b = mesh.nodes[1]
    mesh.nodes[0].handle(events.AddressSeen(client.mac, CLIENT_IPV6[:15] + b"\x09"))
    b.actions.clear()
    mesh.move(client, b)
    mesh.run(1)
    kinds = [type(action) for action in b.actions if not isinstance(action, do.SendClaim | do.SetCurrentPlat)]
    ready, later = [do.AddNeighbour, do.UsePlat, do.Send], [do.Send, do.AddNodeClient, do.AddRoute]
    assert kinds == [do.Send, *ready, *later, do.OpenGate]
    types = [wire.decode(action.payload)[1].TYPE for action in b.actions if isinstance(action, do.Send)]
    assert types == [wire.CLAIM, wire.ROAM, wire.ACK]


def test_twice_within_one_babel_update_is_still_found():
    mesh = Mesh(air=Air(convergence_s=3))
    client = joined(mesh)
    mesh.run(5)
    before = mesh.path(client)
    for pause_s in (0.2, 0.06, 0.02, 0.0):
        mesh.move(client, mesh.nodes[1])
        mesh.run(pause_s)
        mesh.move(client, mesh.nodes[2])
        mesh.run(pause_s)
        mesh.move(client, mesh.nodes[3])
        mesh.run(1.5)
        assert mesh.path(client) == before, pause_s
        mesh.run(SETTLE_S)
        check_settled(mesh, client)
        mesh.move(client, mesh.nodes[0])
        mesh.run(SETTLE_S)
        check_settled(mesh, client)
        assert mesh.path(client) == before


def test_a_client_whose_way_babel_forgot_is_found_at_the_neighbours():
    mesh = Mesh()
    client = joined(mesh)
    before = mesh.path(client)
    mesh.told.clear()
    mesh.move(client, mesh.nodes[1])
    mesh.run(0.05)
    assert mesh.path(client) == before
    mesh.run(SETTLE_S)
    check_settled(mesh, client)


def test_a_neighbour_that_knows_where_the_client_went_passes_the_question_on():
    mesh = Mesh()
    client = joined(mesh)
    mesh.move(client, mesh.nodes[1])
    mesh.run(1)
    before = mesh.path(client)
    mesh.told.clear()
    mesh.nodes[1].is_deaf_to_group = True  # too far away for it
    mesh.move(client, mesh.nodes[2])
    mesh.run(0.1)
    assert mesh.path(client) == before
    mesh.run(SETTLE_S)
    check_settled(mesh, client)


def test_an_old_route_that_ends_at_a_node_which_has_forgotten_the_client_costs_no_time():
    mesh = Mesh()
    client = joined(mesh)
    mesh.move(client, mesh.nodes[1])
    mesh.run(SETTLE_S)
    before = mesh.path(client)
    mesh.told[(3, mesh.address(client))] = {1}
    mesh.move(client, mesh.nodes[2])
    mesh.run(0.05)
    assert mesh.path(client) == before
    mesh.run(SETTLE_S)
    check_settled(mesh, client)


def test_who_let_a_client_go_answers_no_question_that_its_node_answers():
    mesh = Mesh()
    client = joined(mesh)
    before = mesh.path(client)
    for node in (1, 0, 2):
        mesh.move(client, mesh.nodes[node])
        mesh.run(SETTLE_S)
    one, other = mesh.nodes[0], mesh.nodes[1]
    other.actions.clear()
    mesh.move(client, one)  # which is where the other one believes that it went
    mesh.run(0.05)
    assert mesh.path(client) == before
    mesh.run(SETTLE_S)
    assert other.core.table.counters["claims_elsewhere"]
    assert not [action for action in other.actions if isinstance(action, do.Send)]
    check_settled(mesh, client)


def test_a_silent_client_that_was_back_at_its_node_for_a_moment_is_asked_for_again():
    mesh = Mesh()
    client = joined(mesh)
    before = mesh.path(client)
    a, b = mesh.nodes[:2]
    b.handle(events.ClientSeen(client.mac))  # and is at a again when a looks
    mesh.run(0.4)
    assert a.core.counters["claims_refused"]
    client.node = b  # its bridge knows it already, so nothing is told
    mesh.run(1)
    assert mesh.path(client) == before
    mesh.run(SETTLE_S)
    check_settled(mesh, client)


def test_who_stayed_where_it_was_is_not_taken_by_a_sign_of_it_elsewhere():
    mesh = Mesh()
    client = joined(mesh)
    before = mesh.path(client)
    b = mesh.nodes[1]
    b.handle(events.ClientSeen(client.mac))
    mesh.run(SETTLE_S)
    assert mesh.path(client) == before
    assert mesh.holders(client) == [client.node]
    assert do.Unlearn(client.mac) in b.actions
    mesh.run(400)
    assert client.mac not in b.core.table.clients
    mesh.move(client, b)
    mesh.run(0.2)
    assert mesh.path(client) == before


def test_two_nodes_that_saw_a_client_pass_do_not_give_it_to_each_other():
    """Both claim it in vain, and hear each other's claims while they doubt that it is there."""
    mesh = Mesh(air=Air(delay_s=0.0005, convergence_s=0.05))
    client = joined(mesh)
    mesh.run(4)
    for node in (1, 2, 0):
        mesh.move(client, mesh.nodes[node])
        mesh.run(0.004)
    mesh.run(SETTLE_S)
    check_settled(mesh, client)
    assert mesh.nodes[3].core.counters["roams_mapped"] == 0


def test_a_client_that_comes_back_and_answers_late_is_served():
    mesh = Mesh()
    client = joined(mesh)
    mesh.move(client, mesh.nodes[1])
    mesh.run(6)
    before = mesh.path(client)
    client.node, client.is_asleep = mesh.nodes[0], True
    mesh.nodes[1].is_up = False
    mesh.nodes[0].handle(events.ClientSeen(client.mac))
    mesh.run(0.7)
    client.is_asleep, mesh.nodes[1].is_up = False, True
    mesh.run(1)
    assert client.mac in mesh.nodes[0].core.table.clients
    mesh.knock(client)
    mesh.run(1)
    assert mesh.path(client) == before


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
    mesh.run(SETTLE_S)
    check_settled(mesh, client)


def test_a_platnode_whose_kernel_refuses_says_so():
    mesh = Mesh()
    client = joined(mesh)
    mesh.nodes[3].kernel.refuses = True
    mesh.move(client, mesh.nodes[1])
    mesh.run(0.1)
    assert mesh.path(client) == (mesh.nodes[3].plat, mesh.nodes[1].clat[:12] + client.ipv4)


def test_a_resident_of_an_overlapping_address_loses_nothing():
    mesh = Mesh()
    roamer, resident = make_client(9, 1), make_client(8, 2)
    resident.ipv4 = roamer.ipv4
    mesh.join(roamer, mesh.nodes[0])
    mesh.join(resident, mesh.nodes[1])
    mesh.run(2)
    before, done = mesh.path(resident), len(mesh.nodes[1].actions)
    mesh.move(roamer, mesh.nodes[1])
    mesh.run(SETTLE_S)
    b = mesh.nodes[1]
    assert mesh.path(resident) == before
    assert b.core.counters["conflicts"] == 1
    assert do.RefuseAtGate(roamer.mac, roamer.ipv4) in b.actions
    assert (roamer.mac, roamer.ipv4) not in b.kernel.opened
    assert not any(getattr(a, "mac", None) == resident.mac for a in b.actions[done:])
    roamer.ipv4 = bytes((10, 2, 0, 77))
    b.handle(events.LeaseGranted(roamer.mac, roamer.ipv4, 3600))
    mesh.run(1)
    assert mesh.path(roamer) is not None


def test_the_address_of_a_resident_is_not_by_arp_whoever_spoke_last():
    mesh = Mesh()
    client = joined(mesh)
    assert (client.mac, client.ipv4) in mesh.nodes[0].kernel.neighbours
    mesh.nodes[0].handle(events.LeaseEnded(client.mac, client.ipv4))
    assert not mesh.nodes[0].kernel.neighbours


def test_who_comes_again_with_a_residents_address_is_refused_once_and_stays():
    mesh = Mesh()
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
    assert b.core.table.clients[roamer.mac].ipv4 is None
    mesh.run(5)
    assert mesh.holders(roamer) == [b]
    assert sum("refused" in action.sentence for action in b.actions if isinstance(action, do.Log)) == 2
    assert b.core.counters["arrivals_unproven"] == 0


def test_a_lease_that_our_own_server_gave_to_the_newcomer_is_taken_back():
    mesh = Mesh()
    resident, newcomer = joined(mesh), make_client(8, 1)
    newcomer.ipv4 = resident.ipv4
    mesh.join(newcomer, mesh.nodes[0])
    mesh.run(1)
    assert do.ReleaseLease(newcomer.mac, newcomer.ipv4) in mesh.nodes[0].actions
    assert mesh.path(resident) is not None


def test_renewing_at_b_extends_the_roam_and_without_it_the_kernel_forgets():
    mesh = Mesh()
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


def test_a_lease_that_runs_out_where_it_was_not_renewed_last_is_no_end():
    mesh = Mesh()
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


def test_a_client_that_leaves_without_a_word_is_absent_then_forgotten():
    mesh = Mesh()
    client = make_client(9, 1)
    mesh.join(client, mesh.nodes[0], lease_s=600)
    mesh.run(2)
    client.node = None
    mesh.run(310)
    assert mesh.nodes[0].core.table.clients[client.mac].state.value == "absent"
    mesh.run(600)
    assert client.mac not in mesh.nodes[0].core.table.clients
    assert not mesh.holders(client)
    assert not mesh.nodes[0].kernel.opened


def test_a_client_that_leaves_without_a_word_is_forgotten_with_a_short_lease_too():
    mesh = Mesh()
    client = make_client(9, 1)
    mesh.join(client, mesh.nodes[0], lease_s=120)
    mesh.run(2)
    client.node = None
    mesh.run(600)
    assert client.mac not in mesh.nodes[0].core.table.clients
    assert not mesh.holders(client)


def test_a_client_whose_lease_ended_while_it_was_here_is_served_again_when_it_has_one():
    mesh = Mesh()
    client = make_client(9, 1)
    mesh.join(client, mesh.nodes[0], lease_s=120)
    mesh.run(200)
    assert mesh.path(client) is None
    mesh.nodes[0].handle(events.LeaseGranted(client.mac, client.ipv4, 120))
    mesh.run(1)
    check_settled(mesh, client)


def test_an_absent_client_is_found_with_its_lease():
    mesh = Mesh()
    client = joined(mesh)
    before = mesh.path(client)
    client.node = None
    mesh.run(400)
    mesh.move(client, mesh.nodes[1])
    mesh.run(0.05)
    assert mesh.path(client) == before


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
    assert mesh.nodes[1].core.table.clients[old.mac].lease.token.serial, "and can roam again"


def test_after_a_reboot_of_the_only_platnode_clients_roam_by_its_new_secret():
    mesh = Mesh()
    client = joined(mesh)
    exit_node = mesh.nodes[3]
    overheard = mesh.nodes[0].core.table.clients[client.mac].lease.token
    exit_node.is_up = False
    exit_node.kernel = type(exit_node.kernel)()
    for node in mesh.nodes[:3]:
        node.handle(events.PlatLost(exit_node.plat))
    mesh.run(5)
    exit_node.core, exit_node.is_up = exit_node.make_core(), True
    mesh.choose(exit_node)
    mesh.run(10)
    assert mesh.nodes[0].core.table.clients[client.mac].lease.token != overheard
    mesh.move(client, mesh.nodes[1])
    mesh.run(SETTLE_S)
    check_settled(mesh, client)
    # D's address for it, so its connections of after the reboot go on
    assert mesh.path(client) == (exit_node.plat, mesh.nodes[0].clat[:12] + client.ipv4)


def test_without_a_plat_clients_wait_for_one():
    mesh = Mesh(platnodes=())
    client = joined(mesh)
    mesh.move(client, mesh.nodes[1])
    mesh.run(1)
    assert (client.mac, client.ipv4) in mesh.nodes[1].kernel.opened
    assert mesh.holders(client)


def test_ipv6_addresses_walk_along():
    mesh = Mesh()
    client = joined(mesh)
    address = bytes.fromhex("fd110000000000000000000000000001")
    mesh.nodes[0].handle(events.AddressSeen(client.mac, address))
    mesh.move(client, mesh.nodes[1])
    mesh.run(1)
    assert [(client.mac, address) in node.kernel.routes for node in mesh.nodes] == [False, True, False, False]


def test_a_home_whose_address_was_leased_anew_comes_home():
    mesh = Mesh()
    first = joined(mesh)
    mesh.move(first, mesh.nodes[1])
    mesh.run(1)
    second = make_client(8, 1)
    second.ipv4 = first.ipv4
    mesh.join(second, mesh.nodes[0])
    mesh.run(1)
    assert mesh.path(second) == (mesh.nodes[3].plat, mesh.nodes[0].clat[:12] + second.ipv4)


AIRS = st.builds(
    Air,
    delay_s=st.sampled_from([0.0005, 0.005, 0.03]),
    jitter_s=st.sampled_from([0.0, 0.004, 0.04]),
    duplication=st.sampled_from([0.0, 0.3]),
    convergence_s=st.sampled_from([0.05, 1.0, 3.5]),
)
WALKS = st.lists(
    st.tuples(
        st.integers(0, 3), st.sampled_from([0.0, 0.004, 0.02, 0.05, 0.3, 0.7, 2.0, 9.0]), st.booleans()
    ),
    min_size=1,
    max_size=8,
)
SLOW = settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])


@SLOW
@given(AIRS, WALKS, st.integers(0, 1000))
def test_wherever_it_walks_and_however_fast_one_node_serves_it_in_the_end(air, walk, seed):
    mesh = Mesh(air=air, seed=seed)
    client = joined(mesh)
    mesh.run(4)
    for node, pause_s, is_polite in walk:
        if client.node is not mesh.nodes[node]:
            mesh.move(client, mesh.nodes[node], is_polite)
        mesh.run(pause_s)
    for _ in range(3):
        mesh.knock(client)
        mesh.run(SETTLE_S)
    check_settled(mesh, client)


@SLOW
@given(AIRS, st.floats(0.01, 0.3), WALKS, st.integers(0, 1000))
def test_a_lossy_network_cannot_cut_a_client_off(air, loss, walk, seed):
    mesh = Mesh(air=air, seed=seed)
    client = joined(mesh)
    mesh.run(4)
    air.loss = loss
    for node, pause_s, is_polite in walk:
        if client.node is not mesh.nodes[node]:
            mesh.move(client, mesh.nodes[node], is_polite)
        mesh.run(pause_s)
    for _ in range(3):
        mesh.knock(client)
        mesh.run(SETTLE_S)
    assert client.node in mesh.holders(client)
    assert (client.mac, client.ipv4) in client.node.kernel.opened


@SLOW
@given(AIRS, WALKS, st.integers(0, 3), st.integers(0, 60), st.integers(0, 1000))
def test_a_restart_at_any_moment_is_not_noticed(air, walk, victim, at, seed):
    mesh = Mesh(air=air, seed=seed)
    client = joined(mesh)
    mesh.run(4)
    mesh.after(at / 20, lambda: restart(mesh, victim))
    for node, pause_s, is_polite in walk:
        if client.node is not mesh.nodes[node]:
            mesh.move(client, mesh.nodes[node], is_polite)
        mesh.run(pause_s)
    for _ in range(5):
        mesh.knock(client)
        mesh.run(SETTLE_S)
    assert client.node in mesh.holders(client)
    assert mesh.path(client) is not None


def restart(mesh: Mesh, victim: int) -> None:
    node = mesh.nodes[victim]
    node.restart(0.3, node.core.snapshot(mesh.now_s))


def test_a_node_that_dies_before_it_hears_that_its_client_arrived_gives_the_address_up():
    """Nobody says so again; while it holds it as well, babel leads to it from where it is nearer."""
    mesh = Mesh()
    client = joined(mesh)
    mesh.move(client, mesh.nodes[1])
    departed = mesh.nodes[0].core.table.departed
    for _ in range(100):
        if departed:
            break
        mesh.run(0.001)
    assert not departed[client.mac].is_acknowledged
    restart(mesh, 0)
    mesh.run(SETTLE_S)
    check_settled(mesh, client)


def test_a_node_that_has_forgotten_whose_guest_a_client_is_learns_it_from_the_platnode():
    """Its new connections would be another home's than its next node says, and end there."""
    mesh = Mesh()
    client = joined(mesh)
    mesh.move(client, mesh.nodes[1])
    mesh.run(5)
    before = mesh.path(client)
    mesh.nodes[1].restart(0.3, None)
    mesh.run(1)
    mesh.nodes[1].handle(events.PlatChosen(mesh.nodes[3].plat))
    mesh.nodes[1].handle(events.LeaseGranted(client.mac, client.ipv4, 3600, False))  # which it renewed there
    mesh.run(1)
    assert mesh.path(client) == before
    mesh.move(client, mesh.nodes[2])
    mesh.run(SETTLE_S)
    check_settled(mesh, client)
    assert mesh.path(client) == before


@pytest.mark.parametrize("victim", range(4))
def test_a_restart_between_roams_keeps_the_connections(victim):
    mesh = Mesh()
    client = joined(mesh)
    before = mesh.path(client)
    mesh.move(client, mesh.nodes[1])
    mesh.run(5)
    restart(mesh, victim)
    mesh.run(0.2)
    assert mesh.path(client) == before
    mesh.run(5)
    assert mesh.path(client) == before
    mesh.move(client, mesh.nodes[2])
    mesh.run(SETTLE_S)
    check_settled(mesh, client)
    assert mesh.path(client) == before
