# SPDX-License-Identifier: ISC
"""Whole roams in a simulated mesh: who serves the client, whose address the PLAT sees, what is left behind."""

import pytest
from l3roamd_mesh import (
    CLIENT_IPV6,
    CLIENTS,
    CONVERGENCE_S,
    Air,
    Client,
    Mesh,
    check_converged,
    check_goes_on,
    joined,
    make_client,
)

from l3roamd_py.core import actions as do
from l3roamd_py.core import events, wire
from l3roamd_py.core.departed import forget_departed
from xlat464.node import node_client_address


def test_a_new_client_gets_through_at_once_and_a_token_with_its_lease(mesh):
    client = make_client(9, 1)
    mesh.join(client, mesh.nodes[0])
    mesh.run(0.21)
    assert mesh.path(client) is not None
    assert mesh.serving(client) == [mesh.nodes[0]]
    mesh.run(1)
    check_converged(mesh, client)
    assert mesh.nodes[0].core.node.clients[client.mac].lease.token.serial


def test_connections_walk_along_and_home_again(mesh):
    client = joined(mesh)
    before = mesh.path(client)
    for node in (2, 3, 2, 4, 1, 2, 1):
        mesh.move(client, mesh.nodes[node - 1])
        check_goes_on(mesh, client, before, 0.1)
    assert not mesh.nodes[3].kernel.home_of, "at home nothing is mapped"


def test_the_gate_is_closed_for_three_ways_and_an_arp(mesh):
    client = joined(mesh)
    mesh.move(client, mesh.nodes[1])
    mesh.run(0.001 + 3 * 0.005 + 0.009)
    assert mesh.path(client) is None
    mesh.run(0.002)
    assert mesh.path(client) is not None


def test_each_handoff_is_counted_by_the_time_that_it_took(mesh):
    client = joined(mesh)
    for node in (2, 3, 1):
        mesh.move(client, mesh.nodes[node - 1])
        mesh.run(2)
    for node in mesh.nodes[1:3]:
        counters = node.core.counters
        assert counters["roams"] == 1
        # three ways of 5 ms; from our CLAIM on, which is sent once the client has been seen
        assert counters["handoffs_to_25_ms"] + counters["handoffs_to_50_ms"] == 1
        assert 15 <= counters["handoffs_ms"] <= 30


def test_a_client_that_says_goodbye_is_not_asked_for(mesh):
    client = joined(mesh)
    before = mesh.path(client)
    mesh.move(client, mesh.nodes[1], is_polite=True)
    mesh.run(0.001 + 3 * 0.005 + 0.001)
    assert mesh.path(client) == before


def test_b_is_ready_before_it_asks_the_plat_and_asks_before_it_does_what_can_wait(mesh):
    client = joined(mesh)
    b = mesh.nodes[1]
    mesh.nodes[0].handle(events.AddressSeen(client.mac, CLIENT_IPV6[:15] + b"\x09"))
    b.actions.clear()
    mesh.move(client, b)
    mesh.run(1)
    kinds = [type(action) for action in b.actions if not isinstance(action, do.SendClaim | do.SetCurrentPlat)]
    ready, later = (
        [do.AddNeighbour, do.UsePlat, do.Send],
        [do.Send, do.AddNodeClient, do.AddRoute, do.OpenGate, do.AddCareOf],
    )
    assert kinds == [do.Send, do.Send, *ready, *later, do.OpenGate]
    types = [wire.decode(action.payload)[1].TYPE for action in b.actions if isinstance(action, do.Send)]
    assert types == [wire.CLAIM, wire.EXPECT, wire.ROAM, wire.ACK]


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
        check_goes_on(mesh, client, before, 1.5)
        mesh.move(client, mesh.nodes[0])
        check_goes_on(mesh, client, before, CONVERGENCE_S)


def test_a_client_whose_way_babel_forgot_is_found_at_the_neighbours(mesh):
    client = joined(mesh)
    before = mesh.path(client)
    mesh.babel.forget(mesh.now_s)
    mesh.move(client, mesh.nodes[1])
    check_goes_on(mesh, client, before, 0.05)


def test_a_neighbour_that_knows_where_the_client_went_passes_the_question_on(mesh):
    client = joined(mesh)
    mesh.move(client, mesh.nodes[1])
    mesh.run(1)
    before = mesh.path(client)
    mesh.babel.forget(mesh.now_s)
    mesh.nodes[1].is_deaf_to_group = True  # too far away for it
    mesh.move(client, mesh.nodes[2])
    check_goes_on(mesh, client, before, 0.1)


def test_an_old_route_that_ends_at_a_node_which_has_forgotten_the_client_costs_no_time(mesh):
    client = joined(mesh)
    mesh.move(client, mesh.nodes[1])
    mesh.run(CONVERGENCE_S)
    before = mesh.path(client)
    mesh.babel.mislead(3, mesh.address(client), 1, mesh.now_s)
    mesh.move(client, mesh.nodes[2])
    check_goes_on(mesh, client, before, 0.05)


@pytest.mark.parametrize("stays_s", [0.231, 0.991])
def test_a_quick_walk_over_several_hops_leaves_nobody_who_was_not_asked(stays_s):
    """Babel's route is old, and nobody who has the client, or let it go, is next to where it is now."""
    mesh = Mesh(nodes=6)
    client = joined(mesh)
    before = mesh.path(client)
    for node in mesh.nodes:
        node.is_deaf_to_group = True
    mesh.move(client, mesh.nodes[1])
    mesh.run(stays_s)
    mesh.babel.mislead(6, mesh.address(client), 5, mesh.now_s)  # who forgot it long ago
    mesh.move(client, mesh.nodes[5])
    check_goes_on(mesh, client, before, 0.25)


def test_who_is_new_to_the_mesh_and_walks_before_babel_has_told_is_found_far_away():
    mesh = Mesh(nodes=6, air=Air(convergence_s=3))
    client = make_client(9, 1)
    mesh.join(client, mesh.nodes[0])
    for node in mesh.nodes:
        node.is_deaf_to_group = True
    mesh.run(0.4)
    before = mesh.path(client)
    mesh.babel.forget(mesh.now_s)
    mesh.move(client, mesh.nodes[5])
    check_goes_on(mesh, client, before, 0.1)


def test_a_crowd_of_clients_that_nobody_has_does_not_ask_every_node_for_each(mesh):
    a = mesh.nodes[0]
    for number in range(200):
        mac = bytes((2, 0xBB, 0, 0, 0, number))
        mesh.babel.mislead(1, node_client_address(CLIENTS, mac), 2, mesh.now_s)
        a.handle(events.ClientSeen(mac))
    mesh.run(1.5)
    asked = [action for action in a.actions if isinstance(action, do.SendToNodes)]
    assert 0 < len(asked) <= 30


def test_who_let_a_client_go_answers_no_question_that_its_node_answers(mesh):
    client = joined(mesh)
    before = mesh.path(client)
    for node in (1, 0, 2):
        mesh.move(client, mesh.nodes[node])
        mesh.run(CONVERGENCE_S)
    one, other = mesh.nodes[0], mesh.nodes[1]
    other.actions.clear()
    mesh.move(client, one)  # which is where the other one believes that it went
    check_goes_on(mesh, client, before, 0.05)
    assert other.core.node.counters["claims_elsewhere"]
    assert not [action for action in other.actions if isinstance(action, do.Send)]


def test_what_a_neighbour_passes_on_is_answered_by_who_let_the_client_go(mesh):
    """The node that has the client has forgotten so (a reboot), and is too far from who knows what it had."""
    client = joined(mesh)
    before = mesh.path(client)
    for node in mesh.nodes[1:3]:
        mesh.move(client, node)
        mesh.run(CONVERGENCE_S)
    told, forgetful = mesh.nodes[1:3]
    told.is_deaf_to_group = True
    mesh.babel.forget(mesh.now_s)
    mesh.announce(forgetful, mesh.address(client), False)
    forgetful.kernel = type(forgetful.kernel)()
    forgetful.restart(0.3, None)
    mesh.run(1)
    forgetful.handle(events.PlatChosen(mesh.nodes[3].plat))
    mesh.move(client, forgetful)
    mesh.run(0.05)
    assert mesh.path(client) == before
    assert told.core.counters["claims_elsewhere"] == 1, "that it was asked itself"
    mesh.run(CONVERGENCE_S)
    check_converged(mesh, client)


def test_a_silent_client_that_was_back_at_its_node_for_a_moment_is_asked_for_again(mesh):
    client = joined(mesh)
    before = mesh.path(client)
    a, b = mesh.nodes[:2]
    b.handle(events.ClientSeen(client.mac))  # and is at a again when a looks
    mesh.run(0.4)
    assert a.core.counters["claims_refused"]
    client.node = b  # its bridge knows it already, so nothing is told
    check_goes_on(mesh, client, before, 1)


@pytest.mark.parametrize("pause_s", [1.5, 2.5, 5.0])
def test_who_was_here_for_a_moment_is_not_let_in_before_the_node_that_has_it_lets_it_go(mesh, pause_s):
    """It would begin anew, and what it sends before that node does so ends its connections."""
    client = joined(mesh)
    before = mesh.path(client)
    a, b = mesh.nodes[:2]
    mesh.move(client, b)
    mesh.run(0.004)
    client.node = a  # which says so when it is asked
    mesh.run(pause_s)
    mesh.move(client, b)
    for _ in range(50):
        mesh.run(0.002)
        assert mesh.path(client) in (None, before)
    assert mesh.path(client) == before
    mesh.run(CONVERGENCE_S)
    check_converged(mesh, client)


def test_a_new_client_that_answers_no_arp_gets_through_an_old_route_by_what_it_sends(mesh):
    client, b = make_client(9, 2), mesh.nodes[1]
    mesh.clients[client.mac], client.is_asleep = client, True
    mesh.babel.mislead(2, mesh.address(client), 4, mesh.now_s)
    mesh.move(client, b)
    for _ in range(2):
        mesh.run(1.05)
        mesh.knock(client)
    assert (client.mac, client.ipv4) in b.kernel.opened


def test_who_stayed_where_it_was_is_not_taken_by_a_sign_of_it_elsewhere(mesh):
    client = joined(mesh)
    before = mesh.path(client)
    b = mesh.nodes[1]
    b.handle(events.ClientSeen(client.mac))
    mesh.run(CONVERGENCE_S)
    assert mesh.path(client) == before
    assert mesh.serving(client) == [client.node]
    assert do.Unlearn(client.mac) in b.actions
    mesh.run(400)
    assert client.mac not in b.core.node.clients
    mesh.move(client, b)
    mesh.run(0.2)
    assert mesh.path(client) == before


def test_two_nodes_that_saw_a_client_pass_do_not_give_it_to_each_other():
    """Both claim it in vain, and hear each other's claims while they doubt that it is there."""
    mesh = Mesh(air=Air(delay_s=0.0005, convergence_s=0.05))
    client = joined(mesh)
    client.answer_s = 0.0034  # it is waited for as long as it passes
    mesh.run(4)
    for node in (1, 2, 0):
        mesh.move(client, mesh.nodes[node])
        mesh.run(0.004)
    mesh.run(CONVERGENCE_S)
    check_converged(mesh, client)
    assert mesh.nodes[3].core.counters["roams_mapped"] == 0


def test_a_client_that_comes_back_and_answers_late_is_served(mesh):
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
    assert client.mac in mesh.nodes[0].core.node.clients
    mesh.knock(client)
    mesh.run(1)
    assert mesh.path(client) == before


def test_ipv6_addresses_walk_along(mesh):
    client = joined(mesh)
    address = bytes.fromhex("fd110000000000000000000000000001")
    mesh.nodes[0].handle(events.AddressSeen(client.mac, address))
    mesh.move(client, mesh.nodes[1])
    mesh.run(mesh.nodes[0].core.options.send_on_s + 1)
    assert [(client.mac, address) in node.kernel.routes for node in mesh.nodes] == [False, True, False, False]


def test_a_client_of_which_no_address_is_known_may_come_back(mesh):
    """It cannot be asked, and who had it has let it go: nobody else serves it."""
    client = Client(bytes((2, 0xAA, 0, 0, 0, 9)), None)
    mesh.clients[client.mac] = client
    for node in (0, 1, 0):
        client.node = mesh.nodes[node]
        client.node.handle(events.ClientSeen(client.mac, is_proof=node == 0))  # a station there
        mesh.run(CONVERGENCE_S)
        assert mesh.serving(client) == [client.node]


def test_who_is_back_has_no_timer_as_one_that_left(mesh, client):
    a, b = mesh.nodes[:2]
    for node in (b, a):
        mesh.move(client, node)
        mesh.run(10)
    assert (forget_departed, client.mac) not in a.core.node.timers


def test_who_had_it_before_us_tells_a_client_that_is_back_nothing_new(mesh):
    """It turns back while node 3 asks the PLAT. Node 1 knows that it went to node 2, and repeats what it told then."""
    client = joined(mesh)
    before, exit_node = mesh.path(client), mesh.nodes[3]
    mesh.move(client, mesh.nodes[1])
    mesh.run(5)
    mesh.nodes[2].core.node.proofs.clear()  # it has to ask twice
    mesh.move(client, mesh.nodes[2], is_polite=True)
    mesh.run(0.015)
    exit_node.stall(0.15)
    mesh.run(0.005)
    mesh.move(client, mesh.nodes[1])
    check_goes_on(mesh, client, before, 1.5)
