# SPDX-License-Identifier: ISC
"""Two nodes that both serve a client after the mesh was in two parts: one of them lets go, and soon."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from l3roamd_mesh import CLIENT_IPV6, Air, Client, Mesh, joined, make_client

from l3roamd_py.core import actions as do
from l3roamd_py.core import events, wire
from l3roamd_py.core.client import Absent

HEAL_S = 45.0  # after this one node has it: waiting, three questions by ARP, babel


def walk_while_split(mesh: Mesh, client, there: int) -> None:
    """The client's node is alone when it leaves, so the new node takes it as a new one."""
    mesh.split(client.node.number)
    mesh.move(client, mesh.nodes[there - 1])
    mesh.run(5)
    mesh.nodes[there - 1].handle(events.LeaseGranted(client.mac, client.ipv4, 3600))
    mesh.run(25)
    assert len(mesh.serving(client)) == 2


def check_served_by(mesh: Mesh, client, number: int) -> None:
    assert [node.number for node in mesh.serving(client)] == [number]
    for node in mesh.nodes:
        if node.number != number:
            assert client.mac not in node.core.node.clients
            assert (client.mac, client.ipv4) not in node.kernel.opened | node.kernel.neighbours


@pytest.mark.parametrize("there", [2, 3])
def test_after_the_mesh_has_healed_one_node_serves_the_client(mesh, there):
    client = joined(mesh, 1)
    walk_while_split(mesh, client, there)
    before = mesh.path(client)
    mesh.heal()
    mesh.run(HEAL_S)
    check_served_by(mesh, client, there)
    assert mesh.path(client) == before
    mesh.move(client, mesh.nodes[0])  # where the stale node is the nearest, and was asked before
    mesh.run(5)
    assert mesh.path(client) == before


def test_a_neighbour_that_serves_the_client_beside_us_is_told_before_babel_can(mesh):
    client = joined(mesh, 1)
    walk_while_split(mesh, client, 3)
    before = mesh.path(client)
    mesh.heal()
    mesh.run(12)
    check_served_by(mesh, client, 3)
    assert mesh.path(client) == before
    assert mesh.nodes[0].core.node.departed[client.mac].is_acknowledged
    assert mesh.nodes[2].core.counters["roams"] == 0, "what the other knew is out of date"


@pytest.mark.parametrize("far", [0, 2])
def test_a_node_too_far_away_to_be_told_finds_out_by_babel(mesh, far):
    client = joined(mesh, 1)
    walk_while_split(mesh, client, 3)
    mesh.nodes[far].is_deaf_to_group = True
    mesh.heal()
    mesh.run(HEAL_S)
    check_served_by(mesh, client, 3)


def test_without_a_word_of_the_healing_silence_tells_in_the_end(mesh):
    client = joined(mesh, 1)
    walk_while_split(mesh, client, 3)
    mesh.split()
    mesh.run(mesh.nodes[0].core.options.idle_s + HEAL_S)
    check_served_by(mesh, client, 3)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 1000),
    st.sampled_from([0.1, 1.0, 3.5]),
    st.floats(0, 0.2),
    st.lists(st.floats(0.1, 90), max_size=4),
)
def test_however_often_the_mesh_splits_the_client_stays_where_it_is(seed, convergence_s, loss, pauses):
    mesh = Mesh(air=Air(loss=loss, convergence_s=convergence_s), seed=seed)
    client = joined(mesh, 1)
    walk_while_split(mesh, client, 3)
    before = mesh.path(client)
    for pause_s in pauses:
        mesh.heal()
        mesh.run(pause_s)
        mesh.split(1)
        mesh.run(pause_s)
    mesh.heal()
    mesh.run(60 + HEAL_S)
    check_served_by(mesh, client, 3)
    assert mesh.path(client) == before


def test_a_client_that_sleeps_keeps_its_node_and_its_connections(mesh):
    client = joined(mesh, 1)
    before = mesh.path(client)
    client.is_asleep = True
    mesh.heal()
    mesh.run(15)
    assert not mesh.serving(client), "it has not been looked whether another node has it"
    mesh.run(HEAL_S)
    assert mesh.serving(client) == [mesh.nodes[0]]
    assert mesh.path(client) == before
    client.is_asleep = False
    mesh.move(client, mesh.nodes[2])
    mesh.run(1)
    assert mesh.path(client) == before


@pytest.mark.parametrize("asleep_s", [1, 5])
def test_a_client_that_answers_late_is_not_taken_for_another_nodes(mesh, asleep_s):
    client = joined(mesh, 1)
    walk_while_split(mesh, client, 3)
    before = mesh.path(client)
    client.is_asleep = True
    mesh.split()
    mesh.nodes[2].handle(events.NodeAppeared())  # the stale node does not hear of it, and keeps its address
    mesh.run(4 + 3 + asleep_s)
    client.is_asleep = False
    mesh.run(HEAL_S)
    assert mesh.nodes[2] in mesh.serving(client)
    assert mesh.path(client) == before


def test_a_client_that_is_back_while_we_look_is_served_on(mesh):
    client = joined(mesh, 1)
    before = mesh.path(client)
    client.is_asleep = True
    mesh.heal()
    mesh.run(12)
    node = mesh.nodes[0]
    assert isinstance(node.core.node.clients[client.mac].state, Absent)
    node.handle(events.ClientSeen(client.mac))
    assert mesh.serving(client) == [node]
    mesh.run(1)
    assert mesh.path(client) == before


def test_a_claim_finds_a_client_whose_address_is_given_up_for_the_moment(mesh):
    client = joined(mesh, 1)
    before = mesh.path(client)
    client.is_asleep = True
    mesh.heal()
    mesh.run(12)
    assert not mesh.serving(client)
    client.is_asleep = False
    mesh.move(client, mesh.nodes[1])
    mesh.run(HEAL_S)
    assert mesh.path(client) == before
    check_served_by(mesh, client, 2)


def join_without_ipv4(mesh: Mesh, node: int):
    client = make_client(9, node)
    client.ipv4, client.ipv6 = None, CLIENT_IPV6[:15] + b"\x09"
    mesh.clients[client.mac], client.node = client, mesh.nodes[node - 1]
    speak(client)
    mesh.run(2)
    return client


def speak(client) -> None:
    client.node.handle(events.ClientSeen(client.mac))
    client.node.handle(events.AddressSeen(client.mac, client.ipv6))


def test_a_client_without_ipv4_is_asked_too_and_one_node_serves_it_soon(mesh):
    client = join_without_ipv4(mesh, 1)
    mesh.split(1)
    client.node = mesh.nodes[2]
    speak(client)
    mesh.run(30)
    assert len(mesh.serving(client)) == 2
    mesh.heal()
    mesh.run(HEAL_S)
    assert mesh.serving(client) == [mesh.nodes[2]]
    assert client.mac not in mesh.nodes[0].core.node.clients
    assert not mesh.nodes[0].kernel.routes


def test_a_client_without_ipv4_that_sleeps_keeps_its_routes_for_whoever_claims_it(mesh):
    client = join_without_ipv4(mesh, 1)
    client.is_asleep = True
    mesh.heal()
    mesh.run(HEAL_S)
    assert mesh.serving(client) == [mesh.nodes[0]]
    client.is_asleep, client.node = False, mesh.nodes[1]
    client.node.handle(events.ClientSeen(client.mac))
    mesh.run(1)
    assert mesh.nodes[1].kernel.routes == {(client.mac, client.ipv6)}
    mesh.run(mesh.nodes[0].core.options.send_on_s)
    assert not mesh.nodes[0].kernel.routes


def test_a_client_without_ipv4_that_is_back_is_served_though_nobody_knows_it_any_more(mesh):
    client = join_without_ipv4(mesh, 1)
    client.node = mesh.nodes[1]
    speak(client)
    mesh.run(6)
    assert mesh.serving(client) == [mesh.nodes[1]]
    mesh.nodes[1].core = mesh.nodes[1].make_core()  # it has lost its memory
    mesh.nodes[1].kernel.node_clients.clear()
    client.node = mesh.nodes[0]
    speak(client)
    mesh.run(10)
    assert mesh.serving(client) == [mesh.nodes[0]]
    assert mesh.nodes[0].kernel.routes == {(client.mac, client.ipv6)}


def test_where_a_client_went_is_forgotten_in_time_though_signs_of_it_come(mesh):
    client = joined(mesh, 1)
    mesh.move(client, mesh.nodes[1])
    mesh.run(6)
    until_s = mesh.nodes[0].core.node.departed[client.mac].until_s
    mesh.run(until_s - 0.1 - mesh.now_s)
    mesh.nodes[0].handle(events.ClientSeen(client.mac))
    mesh.run(60)
    assert not mesh.nodes[0].core.node.departed
    check_served_by(mesh, client, 2)


def test_a_client_without_ipv4_that_left_without_a_word_is_forgotten(mesh):
    client = join_without_ipv4(mesh, 1)
    client.node = None
    mesh.run(700)
    assert client.mac not in mesh.nodes[0].core.node.clients
    assert not mesh.nodes[0].kernel.routes | set(mesh.serving(client))


def test_a_thousand_clients_cost_the_bridge_and_the_mesh_forty_questions_a_second():
    mesh = Mesh(nodes=2, platnodes=(2,), max_port_clients=1000, max_port_newcomers=1000)
    node = mesh.nodes[0]
    for number in range(1000):
        client = make_client(number % 250, 1)
        client.mac, client.ipv4 = (
            number.to_bytes(6, "big").replace(b"\0", b"\2", 1),
            bytes((10, 1, *divmod(number, 250))),
        )
        mesh.join(client, node)
    mesh.run(60)
    assert len(node.core.node.clients) == 1000
    node.actions.clear()
    asked = []
    for _ in range(600):
        node.handle(events.NodeAppeared())
        mesh.run(0.1)
        asked.append(sum(isinstance(action, do.ProbeClient) for action in node.actions))
    assert {type(action) for action in node.actions} == {do.ProbeClient, do.Send}
    sent = [action for action in node.actions if isinstance(action, do.Send)]
    assert len(sent) == 1000
    assert {(action.destination, wire.decode(action.payload)[1].TYPE) for action in sent} == {
        (wire.GROUP, wire.CLAIM)
    }
    assert asked[-1] == 1000
    assert max(later - now for now, later in zip(asked, asked[10:], strict=False)) <= 41


def test_who_comes_back_after_we_gave_its_address_up_is_claimed_from_the_neighbours(mesh):
    """One may have taken it as a new one: l3roamd does when babel has no way to it, and keeps it for minutes."""
    client = joined(mesh, 1)
    node, client.node = client.node, None
    node.handle(events.ClientGone(client.mac))
    mesh.run(5)
    assert not mesh.serving(client)
    node.actions.clear()
    client.node = node
    mesh.knock(client)
    node.handle(events.ClientSeen(client.mac))
    mesh.run(0.1)
    sent = [wire.decode(action.payload) for action in node.actions if isinstance(action, do.Send)]
    assert [body for _, body in sent if isinstance(body, wire.Claim)] == [wire.Claim(client.mac)]
    mesh.run(HEAL_S)
    check_served_by(mesh, client, 1)


def test_two_nodes_that_take_the_address_of_an_absent_client_at_once_do_not_both_keep_it(mesh):
    """It is off, and each of them believes that it had it last: neither sees the other while both have the address."""
    client = joined(mesh, 1)
    walk_while_split(mesh, client, 3)
    client.is_asleep = True
    mesh.heal()
    mesh.run(12)
    absent = [mesh.nodes[number].core.node.clients[client.mac].state for number in (0, 2)]
    assert [type(state) for state in absent] == [Absent, Absent]
    for node, state in zip((mesh.nodes[0], mesh.nodes[2]), absent, strict=True):
        state.until_s = state.next_s = mesh.now_s
        node.core.node.touch(client.mac)
        node.handle(events.Tick())
    assert len(mesh.serving(client)) == 2
    mesh.run(400)
    assert sum(client.mac in node.core.node.clients for node in mesh.nodes) == 1


# A client that comes to another node while its own looks for it


def far_mesh() -> Mesh:
    """Of so many nodes that none of those here is asked by CLAIM, nor are they neighbours."""
    mesh = Mesh()
    mesh.known_nodes = lambda node: []
    for node in mesh.nodes:
        node.is_deaf_to_group, node.core.node.reaches_all = True, lambda: False
    return mesh


def go_to_a_far_node_while_it_looks(mesh: Mesh, looks: int, late_s: float, convergence_s: float) -> Client:
    """The client of node 1 sleeps, and wakes at node 3 so long after node 1 has given its address up once more.

    convergence_s: until babel has told of that.
    """
    client = joined(mesh, 1)
    client.is_asleep = True
    mesh.nodes[0].handle(events.NodeAppeared())
    for _ in range(looks):
        while not mesh.serving(client):
            mesh.run(0.1)
        while mesh.serving(client):
            mesh.run(0.1)
    mesh.run(late_s)
    client.is_asleep, mesh.air.convergence_s = False, convergence_s
    mesh.move(client, mesh.nodes[2])
    return client


@pytest.mark.parametrize("looks", [2, 3, 4])
def test_where_not_all_can_be_asked_a_newcomer_has_one_node_soon(looks):
    mesh = far_mesh()
    client = go_to_a_far_node_while_it_looks(mesh, looks, 4.0, convergence_s=8.0)
    mesh.run(8)
    mesh.air.convergence_s = 0.5
    assert len(mesh.serving(client)) == 2, "node 1 has taken the address again: babel had not told of node 3"
    before = mesh.path(client)
    mesh.run(HEAL_S)
    check_served_by(mesh, client, 3)
    assert mesh.path(client) == before


def test_a_node_that_answers_from_far_away_is_heard_and_lets_the_address_go():
    """INFO comes after the second copy of CLAIM: without an ACK the node would keep the address for five minutes."""
    mesh = far_mesh()
    client = go_to_a_far_node_while_it_looks(mesh, 2, 4.0, convergence_s=8.0)
    mesh.air.delay_s = 0.08
    mesh.run(8)
    mesh.air.convergence_s = 0.5
    mesh.run(60)
    check_served_by(mesh, client, 3)


def test_an_address_is_not_taken_again_if_babel_leads_elsewhere_at_last():
    mesh = far_mesh()
    client = go_to_a_far_node_while_it_looks(mesh, 2, 3.0, convergence_s=1.0)
    mesh.run(5)
    check_served_by(mesh, client, 3)


def test_where_all_are_asked_no_address_is_given_up_for_a_newcomer(mesh):
    client = joined(mesh, 1)
    mesh.nodes[0].actions.clear()
    mesh.run(60)
    assert not any(isinstance(action, do.RemoveNodeClient) for action in mesh.nodes[0].actions)
    assert mesh.serving(client) == [mesh.nodes[0]]
