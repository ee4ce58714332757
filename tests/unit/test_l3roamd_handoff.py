# SPDX-License-Identifier: ISC
"""How long a roam takes: quick clients, ROAM that A passes on, nodes that prepare for one another's clients."""

import pytest
from l3roamd_mesh import (
    CLAT_RANGE,
    Air,
    Kernel,
    Mesh,
    check_converged,
    check_goes_on,
    forge,
    joined,
    make_client,
    sent,
)

from l3roamd_py.core import actions as do
from l3roamd_py.core import events, wire
from l3roamd_py.core.client import Answer, Roaming
from xlat464.node import management_address, node_prefix

WAY_S = 0.005
PARTNERS = tuple(
    management_address(node_prefix(CLAT_RANGE, bytes((2, 0, 0, 0, 0, number)))) for number in (1, 2, 3)
)


@pytest.fixture
def prepared():
    return Mesh(partners=PARTNERS)


def kinds(node):
    return [wire.decode(action.payload)[1].TYPE for action in node.actions if isinstance(action, do.Send)]


# Clients that answer quickly


@pytest.mark.parametrize(
    ("answer_s", "wait_s"), [(0.0003, 0.003), (0.002, 0.006), (0.003, 0.009), (0.005, 0.015)]
)
def test_a_client_is_waited_for_as_long_as_its_answers_take(mesh, answer_s, wait_s):
    client = make_client(9, 1)
    client.answer_s = answer_s
    mesh.join(client, mesh.nodes[0])
    mesh.run(6)
    mesh.move(client, mesh.nodes[1])
    mesh.run(0.001 + 3 * WAY_S + wait_s - 0.001)
    assert mesh.path(client) is None
    mesh.run(0.003)
    assert mesh.path(client) is not None


def test_a_client_of_which_little_is_known_has_the_longer_time(mesh, client):
    client.answer_s = 0.0003
    mesh.move(client, mesh.nodes[1])
    mesh.run(0.001 + 3 * WAY_S + 0.009)
    assert mesh.path(client) is None


def test_one_late_answer_is_enough_to_be_given_more_time(mesh):
    client = make_client(9, 1)
    client.answer_s = 0.0003
    mesh.join(client, mesh.nodes[0])
    mesh.run(6)
    client.answer_s = 0.0028
    forge(mesh.nodes[0], wire.Claim(client.mac))
    mesh.run(2)
    client.answer_s = 0.007
    forge(mesh.nodes[0], wire.Claim(client.mac))
    mesh.run(1)
    assert mesh.nodes[0].core.counters["claims_refused"] == 2
    assert mesh.path(client) is not None


# ROAM that the old node sends


def test_an_address_that_is_another_client_s_here_is_not_expected(mesh, client):
    b = mesh.nodes[1]
    resident = make_client(10, 2)
    resident.ipv4 = client.ipv4
    mesh.join(resident, b)
    mesh.run(3)
    b.actions.clear()
    mesh.move(client, b)
    mesh.run(0.01)
    assert wire.EXPECT not in kinds(b)


def test_who_is_not_expected_waits_for_the_node_s_own_roam(mesh, client):
    exit_ = mesh.nodes[3]
    exit_.core.platnode.on_expect = lambda *_: None
    before = mesh.path(client)
    mesh.move(client, mesh.nodes[1])
    mesh.run(0.001 + 4 * WAY_S + 0.009)
    assert mesh.path(client) is None
    mesh.run(0.002)
    assert mesh.path(client) == before


def test_a_client_with_another_plat_than_its_new_node_s_roams_as_ever():
    mesh = Mesh(platnodes=(3, 4))
    client = joined(mesh)
    before = mesh.path(client)
    for node in mesh.nodes:
        node.handle(events.PlatChosen(mesh.nodes[3].plat))
    mesh.run(2)
    mesh.move(client, mesh.nodes[1])
    check_goes_on(mesh, client, before, 0.1)


def test_a_client_that_was_here_is_expected_before_it_has_sent_anything(mesh, client):
    mesh.move(client, mesh.nodes[1])
    mesh.run(3)
    a = mesh.nodes[0]
    a.actions.clear()
    client.node = a
    a.handle(events.ClientSeen(client.mac))
    assert kinds(a) == [wire.CLAIM, wire.CLAIM, wire.EXPECT]


# Prepared nodes


def test_a_prepared_roam_takes_one_round_trip(prepared):
    client = joined(prepared)
    before, b = prepared.path(client), prepared.nodes[1]
    prepared.run(5)
    b.actions.clear()
    prepared.move(client, b)
    prepared.run(0.001 + 2 * WAY_S + 0.001)
    assert prepared.path(client) == before
    assert kinds(b)[:3] == [wire.CLAIM, wire.CLAIM, wire.ROAM]
    check_goes_on(prepared, client, before, 0.1)
    assert kinds(b).count(wire.ACK) == 1
    assert kinds(b).count(wire.CLAIM) <= 4, "the old node has answered"
    assert b.core.counters["arrivals_prepared"] == 1


def test_prepared_connections_walk_along_and_home_again(prepared):
    client = joined(prepared)
    before = prepared.path(client)
    for node in (2, 3, 2, 4, 1, 2, 1, 3):
        prepared.run(5)
        prepared.move(client, prepared.nodes[node - 1])
        check_goes_on(prepared, client, before, 0.1)
    found = sum(node.core.counters["arrivals_prepared"] for node in prepared.nodes)
    assert found == 7, (
        "all but at node 4, which is no partner; what node 1 was told is out of date after that"
    )


@pytest.mark.parametrize("seed", [*range(8), 929, 1258])
def test_prepared_connections_walk_along_on_bad_links(seed):
    mesh = Mesh(air=Air(jitter_s=0.01, loss=0.2, duplication=0.1), seed=seed, partners=PARTNERS)
    client = joined(mesh)
    mesh.run(5)
    before = mesh.path(client)
    for node in (2, 3, 2, 1, 2, 1, 3):
        mesh.move(client, mesh.nodes[node - 1])
        check_goes_on(mesh, client, before, 3)


def test_what_was_told_beforehand_may_be_out_of_date(prepared):
    """The client was at node 4, of which the partners hear nothing, and has another token since."""
    client = joined(prepared)
    prepared.run(5)
    before = prepared.path(client)
    prepared.move(client, prepared.nodes[3])
    prepared.run(2)
    assert client.mac in prepared.nodes[1].core.node.prepared
    prepared.move(client, prepared.nodes[1])
    check_goes_on(prepared, client, before, 0.2)


@pytest.mark.parametrize("exits", [(4, 4), (4, 6)])
def test_what_was_told_before_an_exit_lost_power_is_no_newer_than_what_comes_after(exits):
    """Serials are of the exit's clock since it started: smaller at one that started later, or again."""
    mesh = Mesh(nodes=6, platnodes=(4, 6), partners=PARTNERS)
    first, later = (mesh.nodes[number - 1] for number in exits)
    client = joined(mesh)
    mesh.run(5)
    assert client.mac in mesh.nodes[1].core.node.prepared
    mesh.move(client, mesh.nodes[4])  # no partner
    mesh.run(5)
    later.booted_s, later.kernel, later.core = mesh.now_s, Kernel(), later.make_core()
    for node in mesh.nodes:
        node.handle(events.PlatLost(first.plat))
        node.handle(events.PlatChosen(later.plat))
    mesh.run(5)
    before = mesh.path(client)
    assert before is not None
    assert before[0] == later.plat
    mesh.move(client, mesh.nodes[1])
    check_goes_on(mesh, client, before, 0.2)


def test_who_had_the_client_knows_better_than_an_exit_that_does_not_answer():
    """What node 2 was told names an exit that is lost; until that is known INFO must not wait."""
    mesh = Mesh(nodes=6, platnodes=(4, 6), partners=PARTNERS)
    client = joined(mesh)
    mesh.run(5)
    mesh.move(client, mesh.nodes[4])  # no partner
    mesh.run(5)
    mesh.nodes[3].is_up = False
    for node in mesh.nodes:
        node.handle(events.PlatLost(mesh.nodes[3].plat))
        node.handle(events.PlatChosen(mesh.nodes[5].plat))
    mesh.run(5)
    before = mesh.path(client)
    mesh.move(client, mesh.nodes[1])
    check_goes_on(mesh, client, before, 0.1)
    assert mesh.nodes[1].core.counters["arrivals_prepared"] == 1


def test_an_answer_with_an_address_of_somebody_else_keeps_no_client_waiting(prepared):
    """Its lease was refused while the ROAM for what was told beforehand is out: only that ROAM counts."""
    client, node = joined(prepared), prepared.nodes[1]
    prepared.run(5)
    before = prepared.path(client)
    prepared.move(client, node)
    for _ in range(100):
        prepared.run(0.001)
        found = node.core.node.clients.get(client.mac)
        if found is not None and isinstance(found.state, Roaming):
            break
    assert found is not None
    assert isinstance(found.state, Roaming)
    found.search.answer = Answer(prepared.nodes[0].core.node.address, 1, None, [])
    node.core.node.touch(client.mac)
    check_goes_on(prepared, client, before, 0.2)
    assert found.search.answer is None


def test_nodes_prepare_again_after_a_restart(prepared):
    client = joined(prepared)
    prepared.run(5)
    before, b = prepared.path(client), prepared.nodes[1]
    b.restart(0.5, b.core.snapshot(prepared.now_s))
    prepared.run(1)
    prepared.choose(prepared.nodes[3])
    prepared.run(5)
    prepared.move(client, b)
    prepared.run(0.001 + 2 * WAY_S + 0.001)
    assert prepared.path(client) == before
    check_goes_on(prepared, client, before, 0.1)


def test_a_node_that_is_alone_at_its_start_is_prepared_when_it_has_come_to_the_mesh(prepared):
    client = joined(prepared)
    b = prepared.nodes[1]
    prepared.split(2)
    b.restart(0.5, {})
    prepared.run(1)
    prepared.choose(prepared.nodes[3])  # PREPARE is lost
    prepared.run(5)
    assert not b.core.node.prepared
    prepared.heal()
    prepared.run(5)
    assert client.mac in b.core.node.prepared


def test_a_partner_to_which_the_way_comes_later_is_told_then(prepared):
    client = joined(prepared)
    prepared.run(5)
    a, b = prepared.nodes[:2]
    b.core.node.prepared.clear()  # INFO is lost: it has no ACK
    a.handle(events.NodeAppeared())
    prepared.run(3)
    assert client.mac in b.core.node.prepared


def test_nodes_that_come_and_go_all_the_time_have_partners_asked_and_told_seldom(prepared):
    joined(prepared)
    prepared.run(5)
    a = prepared.nodes[0]
    a.actions.clear()
    for _ in range(1000):
        a.handle(events.NodeAppeared())
        prepared.run(0.02)
    assert 1 <= kinds(a).count(wire.PREPARE) <= 2 * 20
    assert kinds(a).count(wire.INFO) <= 2 * 2


@pytest.mark.parametrize("home", [1, 3])
def test_a_client_whose_mac_shows_up_at_a_prepared_node_stays_where_it_answers(prepared, home):
    client = joined(prepared, home)
    if home != 1:
        prepared.run(5)
        prepared.move(client, prepared.nodes[0])
    prepared.run(5)
    before, b = prepared.path(client), prepared.nodes[1]
    b.handle(events.ClientSeen(client.mac, client.ipv4))
    prepared.run(0.1)
    assert prepared.path(client) == before
    prepared.run(20)
    check_converged(prepared, client)
    assert prepared.path(client) == before


def test_prepared_by_strangers_is_nobody(prepared):
    client = joined(prepared)
    prepared.run(5)
    a, b = prepared.nodes[0], prepared.nodes[1]
    before = a.core.counters["prepares_refused"]
    assert sent(forge(a, wire.Prepare())) == []
    assert a.core.counters["prepares_refused"] == before + 1
    lease = wire.Lease(a.clat[:12] + client.ipv4, prepared.nodes[3].plat, 600)
    for sender in (PARTNERS[0], PARTNERS[2]):
        forge(b, wire.Info(bytes((2, 9, 9, 9, 9, 9)), (), lease.plat, 600, lease, 12345), sender)
    assert bytes((2, 9, 9, 9, 9, 9)) not in b.core.node.prepared


def test_prepare_in_a_partner_s_name_has_all_clients_told_of_seldom(prepared):
    for number in range(20, 40):
        joined(prepared, 1, number)
    prepared.run(5)
    a = prepared.nodes[0]
    a.actions.clear()
    for nonce in range(100):
        forge(a, wire.Prepare(), PARTNERS[1], nonce=nonce)
        prepared.run(0.1)
    told = [body for body in sent(a.actions) if isinstance(body, wire.Info)]
    assert len(told) <= 2 * 20 * len(PARTNERS)


def test_what_is_kept_of_partners_clients_is_bounded():
    mesh = Mesh(partners=PARTNERS, max_prepared=10)
    for number in range(20, 40):
        joined(mesh, 1, number)
    mesh.run(5)
    assert len(mesh.nodes[1].core.node.prepared) == 10


def test_whose_lease_is_over_is_not_kept(prepared):
    client = make_client(9, 1)
    prepared.join(client, prepared.nodes[0], lease_s=100)
    prepared.run(10)
    assert client.mac in prepared.nodes[1].core.node.prepared
    client.is_asleep = True
    prepared.run(160)
    assert not prepared.nodes[1].core.node.prepared


# A node that has forgotten the client's lease answers first


def answer_without_lease(mesh, client, b):
    """A client walks to b, and a node that had it once says so before the one that let it go."""
    mesh.move(client, b)
    mesh.run(0.004)
    nonce = b.core.node.clients[client.mac].search.claim.nonce
    forge(b, wire.Info(client.mac, (), mesh.nodes[3].plat, 0, None, nonce), mesh.nodes[2].core.node.address)


def test_a_lease_that_comes_after_an_answer_without_one_is_better(mesh, client):
    before = mesh.path(client)
    answer_without_lease(mesh, client, mesh.nodes[1])
    check_goes_on(mesh, client, before, 0.1)


def test_what_the_exit_has_mapped_is_the_home_though_nobody_has_told_of_it(mesh, client):
    """ROAM was passed on, and INFO with the lease does not come."""
    a, b = mesh.nodes[:2]
    before, carry = mesh.path(client), mesh.carry

    def lose_info(sender, target, datagram):
        if sender is not a or wire.decode(datagram.payload)[1].TYPE != wire.INFO:
            carry(sender, target, datagram)

    mesh.carry = lose_info
    answer_without_lease(mesh, client, b)
    mesh.run(2)
    assert b.core.node.clients[client.mac].lease.home == before[1] == a.clat[:12] + client.ipv4
    assert mesh.path(client) == before
