# SPDX-License-Identifier: ISC
"""A node has no processor for a while: what was said to it meanwhile must not seem unsaid."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from l3roamd_mesh import Mesh, check_converged, check_goes_on, forge, joined, make_client
from test_l3roamd_mesh_restarts import AIRS, SLOW, WALKS, wander

from l3roamd_py.core import wire
from l3roamd_py.core.timers import Silence

STALLS_S = [0.1, 0.5, 2.0, 5.0]


@pytest.mark.parametrize("stall_s", STALLS_S)
def test_a_client_that_answered_meanwhile_is_not_given_to_a_forger(mesh, stall_s):
    client, a = joined(mesh), mesh.nodes[0]
    mesh.run(5)
    before = mesh.path(client)
    forge(a, wire.Claim(client.mac))
    a.stall(stall_s)
    mesh.run(stall_s / 2)
    forge(a, wire.Claim(client.mac))  # is read before the client's answer
    check_goes_on(mesh, client, before, stall_s)
    assert a.core.counters["departures"] == 0


@pytest.mark.parametrize("stall_s", STALLS_S)
def test_a_question_that_was_asked_late_has_its_time(mesh, stall_s):
    """The client is slow to answer, and the second question only leaves after the stall."""
    client, a = joined(mesh), mesh.nodes[0]
    mesh.run(5)
    before = mesh.path(client)
    client.is_asleep = True
    forge(a, wire.Claim(client.mac))
    a.stall(stall_s)
    mesh.run(stall_s - 0.001)
    client.is_asleep = False
    check_goes_on(mesh, client, before, 0.05)
    assert a.core.counters["departures"] == 0


@pytest.mark.parametrize("at_s", [0.01, 0.04, 0.2, 0.4])
@pytest.mark.parametrize("stall_s", STALLS_S)
def test_who_was_claimed_too_late_is_claimed_as_often_as_ever(mesh, stall_s, at_s):
    """What left before the stall was lost: what leaves after it is waited for."""
    client = joined(mesh)
    mesh.run(5)
    before, b = mesh.path(client), mesh.nodes[1]
    mesh.air.loss = 1.0
    mesh.move(client, b)
    mesh.run(at_s)
    b.stall(stall_s)
    mesh.run(stall_s - 0.001)
    mesh.air.loss = 0.0
    check_goes_on(mesh, client, before, 0.35)
    assert b.core.counters["claims_unanswered"] == 0


@pytest.mark.parametrize("stall_s", STALLS_S)
def test_a_node_that_stalls_does_not_take_a_client_for_new(mesh, stall_s):
    """Babel knows no way, and the one copy that left was lost."""
    client = joined(mesh)
    mesh.run(5)
    before, b = mesh.path(client), mesh.nodes[1]
    mesh.babel.forget(mesh.now_s)
    mesh.split(1)
    mesh.move(client, b)
    mesh.run(0.01)
    b.stall(stall_s)
    mesh.run(stall_s - 0.001)
    mesh.part = set()
    check_goes_on(mesh, client, before, 0.3)


@pytest.mark.parametrize("stall_s", STALLS_S)
def test_a_platnode_that_stalls_is_asked_as_often_as_ever(mesh, stall_s):
    """ROAM was lost, and B stalls before its next copy."""
    client = joined(mesh)
    mesh.run(5)
    before, b = mesh.path(client), mesh.nodes[1]
    mesh.nodes[3].is_up = False
    mesh.move(client, b)
    mesh.run(0.04)
    assert b.core.node.clients[client.mac].lease.roam is not None
    b.stall(stall_s)
    mesh.run(stall_s - 0.001)
    mesh.nodes[3].is_up = True
    check_goes_on(mesh, client, before, 0.3)
    assert b.core.counters["roams_unanswered"] == 0


@pytest.mark.parametrize("stall_s", STALLS_S)
def test_who_was_restored_is_asked_again_after_a_stall(mesh, stall_s):
    client, a = joined(mesh), mesh.nodes[0]
    mesh.run(5)
    before = mesh.path(client)
    client.is_asleep = True
    a.restart(0.01, a.core.snapshot(mesh.now_s))
    mesh.run(0.02)
    a.stall(stall_s)
    mesh.run(stall_s - 0.001)
    client.is_asleep = False
    check_goes_on(mesh, client, before, 0.3)
    assert a.core.counters["restored_not_here"] == 0


@SLOW
@given(AIRS, WALKS, st.integers(0, 3), st.sampled_from(STALLS_S), st.floats(0, 3), st.integers(0, 1000))
def test_whoever_stalls_and_whenever_one_node_serves_it_in_the_end(air, walk, victim, stall_s, at_s, seed):
    mesh = Mesh(air=air, seed=seed)
    client = joined(mesh)
    mesh.run(4)
    mesh.after(at_s, lambda: mesh.nodes[victim].stall(stall_s))
    wander(mesh, client, walk, 3)
    check_converged(mesh, client)


def test_many_clients_of_a_node_that_stalled_are_all_there_still():
    """All have been silent for long, and are asked when it stalls."""
    mesh = Mesh(idle_s=10.0)
    a, clients = mesh.nodes[0], [make_client(number, 1) for number in range(1, 60)]
    for client in clients:
        mesh.join(client, a)
    mesh.run(11.9)
    a.stall(4.0)
    mesh.run(20)
    assert a.core.counters["absences"] == 0
    assert all(mesh.path(client) for client in clients)


def test_silence_counts_when_all_is_read_or_too_much_comes():
    silence = Silence()
    assert not silence.is_unsure(None, 10.0, True)
    assert not silence.is_unsure(11.0, 10.0, True)
    assert not silence.is_unsure(9.99, 10.0, True)  # a little late is nothing
    assert silence.is_unsure(8.0, 10.0, True)
    assert not silence.is_unsure(8.0, 10.0, False)
    rounds = [silence.is_unsure(8.0, 10.0, True) for _ in range(Silence.ROUNDS)]
    assert rounds == [True] * (Silence.ROUNDS - 1) + [False]
