# SPDX-License-Identifier: ISC
"""What a node does when others come too late, or are l3roamd; leases, and the core's parts."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from l3roamd_mesh import (
    CLAT_RANGE,
    CLIENT_IPV6,
    CLIENTS,
    LEGACY,
    PLAT_RANGE,
    Air,
    Mesh,
    forge,
    make_client,
    sent,
)

from l3roamd_py.core import actions as do
from l3roamd_py.core import events, wire
from l3roamd_py.core.core import Core
from l3roamd_py.core.options import Options
from l3roamd_py.core.rate import Rate
from l3roamd_py.core.timers import Timers
from l3roamd_py.core.tlv import walk
from xlat464.node import node_prefix


def test_what_is_due_may_cancel_what_is_due_as_well():
    core = Core(Options(CLAT_RANGE, PLAT_RANGE, CLIENTS, clat=CLAT_RANGE))
    timers, done = core.node.timers, []

    def first(node, mac):
        done.append(mac)
        node.timers.cancel((second, mac))

    def second(node, mac):
        done.append(b"second")

    timers.set((first, b"first"), 1.0)
    timers.set((second, b"first"), 1.5)
    core.handle(events.Tick(), 2.0)
    assert done == [b"first"]
    assert timers.next_s is None or timers.next_s > 2.0


def test_who_was_let_go_and_answers_late_is_claimed_back_and_waited_for_the_next_time():
    mesh, client = Mesh(measure_after_s=1000.0), make_client(9, 1)
    client.answer_s = 0.04
    mesh.join(client, mesh.nodes[0])
    mesh.run(3)
    before, a = mesh.path(client), mesh.nodes[0]
    forge(a, wire.Claim(client.mac))
    mesh.run(1.3)  # nobody knocked
    assert mesh.path(client) == before
    assert a.core.counters["departures_regretted"] == 1
    for _ in range(50):
        forge(a, wire.Claim(client.mac))
        mesh.run(0.1)
        assert mesh.path(client) == before
    assert a.core.counters["departures"] == 1


def test_that_an_answer_took_long_once_makes_nobody_wait():
    """It was we who were busy."""
    mesh, client = Mesh(), make_client(9, 1)
    client.answer_s = 0.2
    mesh.join(client, mesh.nodes[0])
    mesh.run(2)
    client.answer_s = 0.001
    mesh.run(2)
    before = mesh.path(client)
    mesh.move(client, mesh.nodes[1])
    mesh.run(0.001 + 4 * 0.005 + 0.011)
    assert mesh.path(client) == before


def test_a_client_whose_answer_takes_long_is_not_waited_for_longer_than_a_handoff_may_take():
    mesh, client = Mesh(), make_client(9, 1)
    client.answer_s = 0.4
    mesh.join(client, mesh.nodes[0])
    mesh.run(3)
    before = mesh.path(client)
    mesh.move(client, mesh.nodes[1])
    mesh.run(0.001 + 4 * 0.005 + 0.151)
    assert mesh.path(client) == before


def test_l3roamd_gets_no_tlv_that_it_does_not_know_and_no_token(mesh, client):
    a = mesh.nodes[0]
    client.node = None
    a.handle(events.AddressSeen(client.mac, CLIENT_IPV6[:15] + b"\1"))
    done = len(a.actions)
    forge(a, wire.Claim(client.mac), LEGACY, extended=False, ttl=1)
    mesh.run(5)
    infos = [action for action in a.actions[done:] if isinstance(action, do.Send)]
    assert len(infos) == 7
    for info in infos:
        assert info.destination == LEGACY
        assert set(walk(info.payload, 24)) == {0, 1}
    assert wire.decode(infos[0].payload)[1].addresses[1:] == (CLIENT_IPV6[:15] + b"\1",)


def test_an_info_of_l3roamd_brings_ipv6_and_a_better_one_may_still_come(mesh):
    client, b = make_client(9, 1), mesh.nodes[1]
    mesh.babel.mislead(2, mesh.address(client), 4, mesh.now_s)
    mesh.clients[client.mac] = client
    mesh.move(client, b)
    mesh.run(0.02)
    assert sent(
        forge(b, wire.Info(client.mac, (CLIENT_IPV6[:15] + b"\1", LEGACY)), LEGACY, extended=False)
    ) == [wire.Ack(client.mac)]
    assert b.kernel.routes == {(client.mac, CLIENT_IPV6[:15] + b"\1")}, (
        "only addresses of the client prefixes"
    )
    mesh.run(0.13)
    assert (client.mac, client.ipv4) not in b.kernel.opened
    mesh.run(0.02)
    assert (client.mac, client.ipv4) in b.kernel.opened
    b.actions.clear()
    mesh.run(2)
    (again,) = [
        action for action in b.actions if isinstance(action, do.Send) and action.destination == LEGACY
    ]
    assert wire.decode(again.payload)[1] == wire.Claim(client.mac), "it may have thought again that it has it"
    forge(b, wire.Info(client.mac), LEGACY, extended=False)
    b.actions.clear()
    mesh.run(20)
    assert not [action for action in b.actions if getattr(action, "destination", None) == LEGACY]


def test_an_l3roamd_that_had_the_client_long_ago_does_not_end_the_question(mesh, client):
    """It hears what goes to the group, and answers for minutes; whom babel knows may not have heard the first copy."""
    b, before = mesh.nodes[1], mesh.path(client)
    mesh.air.loss = 1.0
    mesh.move(client, b)
    mesh.run(0.02)
    forge(b, wire.Info(client.mac), LEGACY, extended=False)
    mesh.air.loss = 0.0
    mesh.run(0.05)
    assert mesh.path(client) == before


def test_the_gate_is_closed_before_anybody_hears_that_the_client_may_be_had(mesh, client):
    """Who walks back at once would send what the platnode has by then from elsewhere."""
    a = mesh.nodes[0]
    client.node = None
    a.handle(events.ClientGone(client.mac))
    actions = forge(a, wire.Claim(client.mac))
    kinds = [type(action) for action in actions]
    assert kinds.index(do.CloseGate) < kinds.index(do.Send)
    assert [body for body in sent(actions) if isinstance(body, wire.Info)]


def test_each_roam_may_be_asked_for_a_proof(mesh, client):
    """A renewal was asked for one and its answer was lost: that is no reason to refuse the next renewal."""
    b, exit_node = mesh.nodes[1], mesh.nodes[3]
    mesh.move(client, b)
    mesh.run(6)
    before = mesh.path(client)

    def renew(is_answered: bool) -> None:
        b.core.node.proofs.clear()
        exit_node.core.platnode.entries.clear()  # as far as it knows, the client has never been there
        b.handle(events.LeaseGranted(client.mac, client.ipv4, 3600))
        mesh.run(0.012)
        exit_node.is_up = is_answered
        mesh.run(6)
        exit_node.is_up = True

    renew(is_answered=False)
    assert b.core.counters["roams_unanswered"] == 1
    renew(is_answered=True)
    assert b.core.counters["roams_failed"] == 0
    assert mesh.path(client) == before


def test_a_gratuitous_sign_at_the_old_node_does_not_bring_the_client_back(mesh, client):
    a, b = mesh.nodes[:2]
    mesh.move(client, b)
    mesh.run(1)
    before = mesh.path(client)
    a.actions.clear()
    a.handle(events.ClientSeen(client.mac, client.ipv4))
    mesh.run(10)
    assert do.Unlearn(client.mac) in a.actions, "the bridge would not tell when it really comes"
    assert mesh.serving(client) == [b]
    assert mesh.path(client) == before
    assert a.core.node.departed[client.mac].place == b.core.options.address


def test_who_has_no_lease_is_served_with_the_address_that_it_uses(mesh):
    client, a = make_client(5, 1), mesh.nodes[0]
    mesh.clients[client.mac] = client
    mesh.move(client, a)
    mesh.run(1)
    home = mesh.path(client)
    assert home is not None
    mesh.move(client, mesh.nodes[1])
    mesh.run(1)
    assert mesh.path(client) == home
    done = len(mesh.nodes[1].actions)
    client.ipv4 = bytes((10, 1, 0, 99))
    for _ in range(10):
        mesh.run(0.05)
        mesh.knock(client)
    mesh.run(2)
    mesh.knock(client)
    mesh.run(1)
    assert len(mesh.nodes[1].actions) - done < 30


def test_a_released_lease_closes_the_gate(mesh, client):
    a = mesh.nodes[0]
    a.handle(events.LeaseEnded(client.mac, client.ipv4))
    assert mesh.path(client) is None
    assert not a.core.node.owner_of
    a.handle(events.LeaseGranted(client.mac, client.ipv4, 60))
    assert mesh.path(client) is not None


def test_a_lease_from_the_file_says_nothing_of_where_the_client_is(mesh):
    client, a = make_client(9, 1), mesh.nodes[0]
    a.handle(events.LeaseGranted(client.mac, client.ipv4, 600, is_seen=False))
    assert not a.core.node.clients
    mesh.clients[client.mac] = client
    mesh.move(client, a)
    mesh.run(1)
    assert a.core.node.clients[client.mac].lease.is_granted


def test_a_slow_roam_is_taken_over_when_info_comes_late():
    mesh = Mesh(air=Air(delay_s=0.27))
    client = make_client(9, 1)
    mesh.join(client, mesh.nodes[0])
    mesh.run(5)
    before = mesh.path(client)
    mesh.move(client, mesh.nodes[1])
    mesh.run(3)
    assert mesh.path(client) == before
    mesh.run(20)
    assert mesh.serving(client) == [mesh.nodes[1]]


@pytest.mark.parametrize(
    "change",
    [
        {"clat_range": CLAT_RANGE[:15] + b"\1"},
        {"node_client_prefix": bytes(15)},
        {"clat": node_prefix(PLAT_RANGE, bytes((2, 0, 0, 0, 0, 1)))},
        {"clat": None},
    ],
)
def test_options_that_cannot_be_are_refused(change):
    options = {"clat_range": CLAT_RANGE, "plat_range": PLAT_RANGE, "node_client_prefix": CLIENTS}
    options |= {"clat": node_prefix(CLAT_RANGE, bytes((2, 0, 0, 0, 0, 1))), **change}
    with pytest.raises(ValueError, match=r"/\d\d|prefix"):
        Core(Options(**options))


@given(st.lists(st.tuples(st.integers(0, 5), st.integers(0, 50)), max_size=300), st.integers(0, 60))
def test_timers_come_due_in_order_and_once(settings, now_s):
    timers, last = Timers(), {}
    for key, at_s in settings:
        timers.set(key, at_s)
        last[key] = at_s
    assert timers.next_s == min(last.values(), default=None)
    due = timers.pop_due(now_s)
    assert sorted(due) == sorted(key for key, at_s in last.items() if at_s <= now_s)
    assert [last[key] for key in due] == sorted(last[key] for key in due)
    assert len(timers._heap) <= 2 * 6 + Timers.SLACK
    assert timers.pop_due(now_s) == []


def test_the_rate_is_kept_for_each_sender_and_the_longest_silent_is_forgotten():
    rate = Rate(rate_per_s=10, burst=2, max_senders=2)
    assert [rate.is_within(b"a", 0) for _ in range(4)] == [True, True, False, False]
    assert rate.is_within(b"b", 0)
    assert [rate.is_within(b"a", 0.1) for _ in range(2)] == [True, False]
    assert rate.is_within(b"c", 0.1)
    assert len(rate) == 2
