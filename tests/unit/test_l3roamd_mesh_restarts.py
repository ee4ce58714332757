# SPDX-License-Identifier: ISC
"""Any walk in a simulated mesh, in any air, with restarts in between: one node serves the client in the end."""

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from l3roamd_mesh import CONVERGENCE_S, Air, Client, Mesh, check_converged, check_goes_on, joined

from l3roamd_py.core import actions as do
from l3roamd_py.core import events

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


def wander(mesh: Mesh, client: Client, walk: list[tuple[int, float, bool]], rests: int) -> None:
    """Walk, then send a packet now and then, with time to come to rest behind each."""
    for node, pause_s, is_polite in walk:
        if client.node is not mesh.nodes[node]:
            mesh.move(client, mesh.nodes[node], is_polite)
        mesh.run(pause_s)
    for _ in range(rests):
        mesh.knock(client)
        mesh.run(CONVERGENCE_S)


@SLOW
@given(AIRS, WALKS, st.integers(0, 1000))
def test_wherever_it_walks_and_however_fast_one_node_serves_it_in_the_end(air, walk, seed):
    mesh = Mesh(air=air, seed=seed)
    client = joined(mesh)
    mesh.run(4)
    wander(mesh, client, walk, 3)
    check_converged(mesh, client)


@SLOW
@given(AIRS, st.floats(0.01, 0.3), WALKS, st.integers(0, 1000))
def test_a_lossy_network_cannot_cut_a_client_off(air, loss, walk, seed):
    mesh = Mesh(air=air, seed=seed)
    client = joined(mesh)
    mesh.run(4)
    air.loss = loss
    wander(mesh, client, walk, 3)
    assert client.node in mesh.serving(client)
    assert (client.mac, client.ipv4) in client.node.kernel.opened


@SLOW
@given(AIRS, WALKS, st.integers(0, 3), st.integers(0, 60), st.integers(0, 1000))
def test_a_restart_at_any_moment_is_not_noticed(air, walk, victim, at, seed):
    mesh = Mesh(air=air, seed=seed)
    client = joined(mesh)
    mesh.run(4)
    mesh.after(at / 20, lambda: restart(mesh, victim))
    wander(mesh, client, walk, 5)
    assert client.node in mesh.serving(client)
    assert mesh.path(client) is not None


def restart(mesh: Mesh, victim: int) -> None:
    node = mesh.nodes[victim]
    node.restart(0.3, node.core.snapshot(mesh.now_s))


def test_a_node_that_dies_before_it_hears_that_its_client_arrived_gives_the_address_up(mesh):
    """Nobody says so again; while it holds it as well, babel leads to it from where it is nearer."""
    client = joined(mesh)
    mesh.move(client, mesh.nodes[1])
    departed = mesh.nodes[0].core.node.departed
    for _ in range(100):
        if departed:
            break
        mesh.run(0.001)
    assert not departed[client.mac].is_acknowledged
    restart(mesh, 0)
    mesh.run(CONVERGENCE_S)
    check_converged(mesh, client)


def test_a_node_that_has_forgotten_where_a_client_is_at_home_learns_it_from_the_platnode(mesh):
    """Its new connections would be another home's than its next node says, and end there."""
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
    check_goes_on(mesh, client, before, CONVERGENCE_S)


@pytest.mark.parametrize("victim", range(4))
def test_a_restart_between_roams_keeps_the_connections(mesh, victim):
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
    check_goes_on(mesh, client, before, CONVERGENCE_S)


def test_who_died_after_it_let_a_client_go_and_is_told_what_is_out_of_date_gives_it_up(mesh):
    """Its snapshot says that the client is there, and a neighbour that it went there; nobody says where it is."""
    client = joined(mesh, 2)
    a, victim, platnode = mesh.nodes[0], mesh.nodes[2], mesh.nodes[3]
    mesh.move(client, victim)
    mesh.run(CONVERGENCE_S)
    saved = victim.core.snapshot(mesh.now_s)
    platnode.is_up = False
    mesh.move(client, a, is_polite=True)
    mesh.run(0.05)
    assert client.mac in victim.core.node.departed
    victim.restart(0.05, saved)
    for _ in range(300):
        mesh.run(0.001)
        found = victim.core.node.clients.get(client.mac)
        if found is not None and found.lease is not None and found.lease.roam is not None and victim.is_up:
            break
    platnode.is_up = True
    mesh.run(40)
    check_converged(mesh, client)


def walked_while_its_node_was_dead(mesh: Mesh, is_deaf: bool = False) -> tuple[Client, dict]:
    """A client that began anew at b, and what the daemon at a had saved of it when it died."""
    client = joined(mesh)
    mesh.run(5)
    a, b = mesh.nodes[:2]
    a.is_deaf_to_group = b.is_deaf_to_group = is_deaf
    saved = a.core.snapshot(mesh.now_s)
    a.is_up = False
    mesh.move(client, b)
    for _ in range(4):
        mesh.run(2)
        mesh.knock(client)
    assert mesh.path(client) == (mesh.nodes[3].plat, b.clat[:12] + client.ipv4)
    return client, saved


@pytest.mark.parametrize("is_deaf", [False, True])
@pytest.mark.parametrize("pause_s", [0.001, 0.05, 0.3, 0.7, 2.0, 5.0, 30.0])
def test_what_a_restart_restored_is_not_served_to_a_client_that_walked_meanwhile(mesh, pause_s, is_deaf):
    """Two nodes would serve it, and each walk between them would end all that it has open."""
    client, saved = walked_while_its_node_was_dead(mesh, is_deaf)
    a, b = mesh.nodes[:2]
    before = mesh.path(client)
    a.restart(0.0, saved)
    mesh.run(pause_s)
    for node in (a, b, a, b):
        mesh.move(client, node)
        check_goes_on(mesh, client, before, 0.3)


def test_what_a_client_has_begun_anew_for_a_while_is_not_given_up_for_what_it_had_before(mesh):
    """Its old node hears of it at last, and its answer takes two seconds more: babel has no way yet."""
    client = joined(mesh)
    a, b = mesh.nodes[:2]
    anew = (mesh.nodes[3].plat, b.clat[:12] + client.ipv4)
    a.is_up = False
    mesh.move(client, b)
    for _ in range(300):
        mesh.run(0.01)
        if mesh.path(client) == anew:
            break
    mesh.run(0.1)
    until_s, perform = mesh.now_s + 1.5, a.perform
    a.perform = lambda action: (isinstance(action, do.Send) and mesh.now_s < until_s) or perform(action)
    a.is_up = True
    mesh.run(1.4)
    assert client.mac in a.core.node.departed
    mesh.run(CONVERGENCE_S)
    assert mesh.path(client) == anew
    check_converged(mesh, client)


def test_one_lost_question_does_not_leave_two_nodes_that_serve_a_client():
    mesh = Mesh(seed=3)
    client, saved = walked_while_its_node_was_dead(mesh)
    a, b = mesh.nodes[:2]
    before = mesh.path(client)
    a.restart(0.0, saved)
    b.is_up = False
    mesh.move(client, a)
    mesh.run(0.05)
    b.is_up = True
    mesh.run(1)
    for node in (b, a):
        mesh.move(client, node)
        check_goes_on(mesh, client, before, 0.3)


def test_a_node_that_restarted_gives_a_client_that_is_not_there_up_at_once(mesh):
    client, saved = walked_while_its_node_was_dead(mesh)
    mesh.nodes[0].restart(0.0, saved)
    mesh.run(1.5)
    check_converged(mesh, client)


def test_a_claim_for_what_a_restart_restored_waits_until_it_is_known_whether_it_is_here(mesh):
    client = joined(mesh)
    before = mesh.path(client)
    a = mesh.nodes[0]
    restart(mesh, 0)
    mesh.run(0.29)
    mesh.move(client, mesh.nodes[1])  # a moment before its node is back
    check_goes_on(mesh, client, before, 1.0)
    assert a.core.counters["restored_not_here"]


def test_a_restart_neither_closes_a_gate_nor_says_anything_to_babel_while_the_client_is_there(mesh):
    client = joined(mesh)
    mesh.run(5)
    a, done = mesh.nodes[0], len(mesh.nodes[0].actions)
    restart(mesh, 0)
    mesh.run(CONVERGENCE_S)
    kinds = {type(action) for action in a.actions[done:]}
    assert not kinds & {do.CloseGate, do.RemoveNodeClient, do.LeavePlat, do.RemoveNeighbour}
    check_converged(mesh, client)


def test_a_client_that_sleeps_through_a_restart_goes_on_when_it_wakes(mesh):
    client = joined(mesh)
    mesh.move(client, mesh.nodes[1])
    mesh.run(5)
    before = mesh.path(client)
    client.is_asleep = True
    restart(mesh, 1)
    mesh.run(400)
    client.is_asleep = False
    mesh.knock(client)
    check_goes_on(mesh, client, before, 1.2)


def test_who_came_after_the_snapshot_has_its_lease_by_the_exit_s_word():
    """The kernel lets it in and sends it to its exit; what the daemon knew of it is lost."""
    mesh = Mesh()
    client = joined(mesh)
    before, b = mesh.path(client), mesh.nodes[1]
    old = b.core.snapshot(mesh.now_s)
    mesh.move(client, b)
    mesh.run(1)
    b.restart(0.2, old)
    mesh.run(5)
    lease = b.core.node.clients[client.mac].lease
    assert (lease.home, lease.plat) == (mesh.nodes[0].clat[:12] + client.ipv4, before[0])
    mesh.move(client, mesh.nodes[2])
    check_goes_on(mesh, client, before, 1)


def test_who_came_after_the_state_was_written_and_without_a_plat_has_a_lease_after_a_restart():
    mesh = Mesh(platnodes=())
    client = joined(mesh)
    mesh.run(5)
    b = mesh.nodes[1]
    saved = b.core.snapshot(mesh.now_s)
    mesh.move(client, b)
    mesh.run(2)
    assert (client.mac, client.ipv4) in b.kernel.opened
    b.restart(0.2, saved)
    mesh.run(2)
    lease = b.core.node.clients[client.mac].lease
    assert lease.home == b.clat[:12] + client.ipv4


@pytest.mark.parametrize("stay_s", [0.04, 3])
def test_a_token_that_a_restart_has_lost_is_given_anew(mesh, client, stay_s):
    """The state was written before the last two renewals: the exit calls what we have stale."""
    b = mesh.nodes[1]
    before = mesh.path(client)
    mesh.move(client, b)
    mesh.run(stay_s)
    saved = b.core.snapshot(mesh.now_s)
    for _ in range(2):
        b.handle(events.LeaseGranted(client.mac, client.ipv4, 600, True, True))
        mesh.run(1)
    b.restart(0.2, saved)
    mesh.run(3)
    assert mesh.path(client) == before
    lease = b.core.node.clients[client.mac].lease
    assert lease.home == before[1]
    mesh.move(client, mesh.nodes[2])
    check_goes_on(mesh, client, before, 0.1)


def test_the_kernel_knows_of_a_plat_that_came_after_the_state_was_saved(mesh):
    client, a, plat = joined(mesh), mesh.nodes[0], mesh.nodes[3].plat
    a.handle(events.PlatLost(plat))
    saved = a.core.snapshot(a.now_s)
    a.handle(events.PlatChosen(plat))
    mesh.run(1)
    before = mesh.path(client)
    a.restart(0.2, saved)
    mesh.run(5)
    assert mesh.path(client) == before
    mesh.move(client, mesh.nodes[1])
    check_goes_on(mesh, client, before, 0.2)
