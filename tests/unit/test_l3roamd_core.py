# SPDX-License-Identifier: ISC
"""What a node does when others lie to it, repeat themselves, come too late or too often; and its parts."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st
from l3roamd_mesh import (
    CLAT_RANGE,
    CLIENT_IPV6,
    CLIENTS,
    PLAT_RANGE,
    Air,
    Client,
    Mesh,
    Node,
    check_settled,
    make_client,
)

from l3roamd_py.core import actions as do
from l3roamd_py.core import events, wire
from l3roamd_py.core.client import Roaming
from l3roamd_py.core.core import Core
from l3roamd_py.core.options import Options
from l3roamd_py.core.rate import Rate
from l3roamd_py.core.timers import Timers
from l3roamd_py.core.tlv import walk
from xlat464.node import node_prefix

LEGACY = bytes.fromhex("fd000000000000000000000000000005")
STRANGER = bytes.fromhex("fddd133713370200000000eec0000001")  # a node of the mesh that is nobody's here


@pytest.fixture
def mesh():
    return Mesh()


@pytest.fixture
def client(mesh):
    client = make_client(9, 1)
    mesh.join(client, mesh.nodes[0])
    mesh.run(2)
    return client


def forge(node: Node, body: wire.Body, sender: bytes = STRANGER, extended: bool = True, ttl: int = 8) -> list:
    """Let a node hear a datagram, and return what it did."""
    before = len(node.actions)
    payload = wire.encode(wire.Header(sender, 1, ttl, extended), body)
    node.handle(events.Datagram(sender, node.core.options.address, payload))
    return node.actions[before:]


def sent(actions: list) -> list[wire.Body]:
    return [wire.decode(action.payload)[1] for action in actions if isinstance(action, do.Send)]


def test_a_forged_claim_takes_nothing_from_a_client_that_is_here(mesh, client):
    a = mesh.nodes[0]
    before = mesh.path(client)
    for _ in range(5):
        actions = forge(a, wire.Claim(client.mac))
        mesh.run(1)
        assert sent(actions) == []
    assert mesh.path(client) == before
    assert mesh.holders(client) == [a]
    assert a.core.counters["claims_refused"] == 5


@pytest.mark.parametrize("answer_s", [0.016, 0.045])
def test_forged_claims_take_nothing_from_a_client_whose_answer_always_takes_long(answer_s):
    mesh, client = Mesh(), make_client(9, 1)
    client.answer_s = answer_s
    mesh.join(client, mesh.nodes[0])
    mesh.run(3)
    before, a = mesh.path(client), mesh.nodes[0]
    for number in range(200):
        forge(a, wire.Claim(client.mac), STRANGER[:10] + bytes((number, 1)) + STRANGER[12:])
        for _ in range(5):
            mesh.run(0.01)
            assert mesh.path(client) == before
    assert a.core.counters["departures"] == 0


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


def test_claims_are_not_believed_without_number():
    """A flood of them cannot take all clients that sleep at once."""
    mesh = Mesh()
    a = mesh.nodes[0]
    clients = [make_client(number, 1) for number in range(1, 201)]
    for client in clients:
        mesh.join(client, a)
    mesh.run(5)
    for client in clients:
        client.is_asleep = True
    for _ in range(4):
        for number, client in enumerate(clients):
            forge(a, wire.Claim(client.mac), STRANGER[:10] + bytes((number, 1)) + STRANGER[12:])
        mesh.run(0.25)
    assert 64 <= a.core.counters["departures"] <= 64 + 17
    assert a.core.counters["claims_too_many"]


def test_a_forged_claim_takes_nothing_from_a_client_without_ipv4(mesh):
    a, mac, address = mesh.nodes[0], make_client(9, 1).mac, CLIENT_IPV6[:15] + b"\x09"
    client = mesh.clients[mac] = Client(mac, None, a, ipv6=address)
    a.handle(events.AddressSeen(mac, address))
    mesh.run(2)
    forge(a, wire.Claim(mac))
    mesh.run(1)
    assert a.core.counters["claims_refused"] == 1
    assert a.kernel.routes == {(mac, address)}
    client.node = None
    forge(a, wire.Claim(mac))
    mesh.run(1)
    assert not a.kernel.routes


def test_the_kernel_s_doubt_is_no_sign_of_a_client(mesh):
    a, mac, address = mesh.nodes[0], make_client(9, 1).mac, CLIENT_IPV6[:15] + b"\x09"
    a.handle(events.AddressSeen(mac, address, is_sign=False))
    assert mac in a.core.node.clients, "that we did not know"
    mesh.run(2)
    forge(a, wire.Claim(mac))
    a.handle(events.AddressSeen(mac, address, is_sign=False))
    mesh.run(1)
    assert mac in a.core.node.departed


def test_a_client_that_sleeps_is_lost_to_a_forger_but_comes_back_with_its_address(mesh, client):
    a = mesh.nodes[0]
    before = mesh.path(client)
    client.is_asleep = True
    forge(a, wire.Claim(client.mac))
    mesh.run(0.1)
    assert mesh.path(client) is None
    mesh.run(20)
    client.is_asleep = False
    mesh.knock(client)
    mesh.run(1.2)
    assert mesh.path(client) == before
    mesh.run(5)
    assert mesh.holders(client) == [a]


@pytest.mark.parametrize(
    "sender",
    [bytes(16), LEGACY, bytes.fromhex("ff02" + "00" * 13 + "01"), STRANGER[:12] + bytes((10, 0, 0, 1))],
)
def test_an_extended_claim_must_come_from_the_owner_of_a_clat_prefix(mesh, client, sender):
    client.is_asleep = True
    forge(mesh.nodes[0], wire.Claim(client.mac), sender)
    mesh.run(1)
    assert mesh.path(client) is not None
    assert mesh.nodes[0].core.counters["claims_bad_sender"] == 1


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
    mesh.told[(2, mesh.address(client))] = {4}
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
    assert not b.kernel.opened
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


def test_a_forged_info_has_not_the_nonce(mesh):
    client, b = make_client(9, 1), mesh.nodes[1]
    mesh.told[(2, mesh.address(client))] = {4}
    mesh.clients[client.mac] = client
    mesh.move(client, b)
    mesh.run(0.02)
    lease = wire.Lease(STRANGER[:12] + client.ipv4, mesh.nodes[3].plat, 600)
    assert forge(b, wire.Info(client.mac, (), lease.plat, 600, lease, 12345)) == []
    assert forge(b, wire.Info(client.mac, (), lease.plat, 600, lease)) == []
    assert b.core.counters["infos_forged"] == 2


@pytest.mark.parametrize("nonce", [0, 1, 0xFFFFFFFF])
def test_forged_answers_of_the_platnode_change_nothing(mesh, client, nonce):
    b, plat = mesh.nodes[1], mesh.nodes[3].plat
    mesh.nodes[3].is_up = False
    mesh.move(client, b)
    mesh.run(0.1)
    assert isinstance(b.core.node.clients[client.mac].state, Roaming)
    home, at = mesh.nodes[0].clat[:12] + client.ipv4, b.clat[:12] + client.ipv4
    lease = wire.Lease(home, plat, 600)
    for reason in range(9):
        assert forge(b, wire.RoamAck(lease, at, nonce, reason)) == []
        assert forge(b, wire.TokenGrant(lease, nonce, reason)) == []
    assert (client.mac, client.ipv4) not in b.kernel.opened


def test_nothing_that_was_overheard_works_again(mesh, client):
    for node in (1, 2, 0):
        mesh.move(client, mesh.nodes[node])
        mesh.run(6)
    mesh.move(client, mesh.nodes[1])
    mesh.run(6)
    before = mesh.path(client)
    heard = list(mesh.overheard)
    for target, datagram in heard:
        target.handle(datagram)
        mesh.run(0.05)
        assert mesh.path(client) == before
    mesh.run(20)
    assert mesh.path(client) == before
    assert mesh.holders(client) == [mesh.nodes[1]]


def test_the_gate_is_closed_before_anybody_hears_that_the_client_may_be_had(mesh, client):
    """Who walks back at once would send what the platnode has by then from elsewhere."""
    a = mesh.nodes[0]
    client.node = None
    a.handle(events.ClientGone(client.mac))
    actions = forge(a, wire.Claim(client.mac))
    kinds = [type(action) for action in actions]
    assert kinds.index(do.CloseGate) < kinds.index(do.Send)
    assert [body for body in sent(actions) if isinstance(body, wire.Info)]


def test_a_claim_does_not_run_in_circles(mesh, client):
    """Three nodes, each of which believes the client at the next."""
    nodes = mesh.nodes[:3]
    for node in (1, 2):
        mesh.move(client, mesh.nodes[node])
        mesh.run(6)
    client.node = None
    mesh.nodes[2].handle(events.ClientGone(client.mac))
    mesh.run(5)
    forge(mesh.nodes[2], wire.Claim(client.mac), nodes[0].core.options.address)
    mesh.run(5)
    before = len(mesh.overheard)
    forge(nodes[0], wire.Claim(client.mac))
    mesh.run(5)
    assert len(mesh.overheard) - before < 30


def test_a_claim_that_says_it_may_go_on_for_ever_does_not(mesh, client):
    mesh.move(client, mesh.nodes[1])
    mesh.run(6)
    (onward,) = forge(mesh.nodes[0], wire.Claim(client.mac), ttl=255)
    assert onward.destination == mesh.nodes[1].core.options.address
    assert wire.decode(onward.payload)[0].ttl == mesh.nodes[0].core.options.claim_ttl - 1


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


def test_a_node_without_roles_for_a_message_counts_it(mesh):
    node = mesh.nodes[0]
    lease = wire.Lease(STRANGER, PLAT_RANGE, 60)
    assert forge(node, wire.Roam(lease, STRANGER)) == []
    assert forge(node, wire.TokenRequest(lease)) == []
    assert forge(node, wire.Seek(LEGACY)) == []
    assert forge(node, wire.Ack(make_client(3, 1).mac)) == []
    assert node.core.counters["roams_not_a_platnode"] == node.core.counters["seeks"] == 1
    node.handle(events.Datagram(LEGACY, LEGACY, b"\0\1\x09\1" + bytes(20)))
    node.handle(events.Datagram(LEGACY, LEGACY, b"\1" * 24))
    assert node.core.counters["datagrams_unknown"] == node.core.counters["datagrams_undecodable"] == 1


def test_a_gratuitous_sign_at_the_old_node_does_not_bring_the_client_back(mesh, client):
    a, b = mesh.nodes[:2]
    mesh.move(client, b)
    mesh.run(1)
    before = mesh.path(client)
    a.actions.clear()
    a.handle(events.ClientSeen(client.mac, client.ipv4))
    mesh.run(10)
    assert do.Unlearn(client.mac) in a.actions, "the bridge would not tell when it really comes"
    assert mesh.holders(client) == [b]
    assert mesh.path(client) == before
    assert a.core.node.departed[client.mac].place == b.core.options.address


def test_floods_cannot_grow_the_tables():
    mesh = Mesh(
        max_clients=20,
        max_claims=10,
        max_departed=10,
        max_granted=10,
        max_senders=10,
        rate_per_s=1e9,
        burst=1e9,
    )
    node = mesh.nodes[0]
    for i in range(300):
        mac, ipv4 = bytes((2, 1, 0, 0, i >> 8, i & 255)), bytes((10, 9, i >> 8, i & 255 or 1))
        node.handle(events.ClientSeen(mac))
        node.handle(events.LeaseGranted(mac, ipv4, 600))
        for j in range(30):
            node.handle(events.AddressSeen(mac, CLIENT_IPV6[:14] + bytes((i & 255, j))))
        forge(node, wire.Claim(mac), STRANGER[:10] + bytes((i >> 8, i & 255)) + STRANGER[12:])
        mesh.run(0.02)
    known = node.core.node
    assert len(known.clients) <= 20
    assert len(known.departed) <= 10
    assert len(known.granted) <= 10
    assert len(node.core.admission.sources) <= 10
    assert len(known.timers) <= 5 * 30
    assert all(len(client.addresses) <= wire.ADDRESSES_MAX for client in known.clients.values())


def test_a_client_may_not_change_its_address_as_it_likes(mesh, client):
    a = mesh.nodes[0]
    other = bytes((10, 1, 0, 200))
    a.handle(events.ClientSeen(client.mac, other))
    assert a.actions[-1] == do.RefuseAtGate(client.mac, other)
    assert mesh.path(client) is not None


def test_a_client_that_makes_addresses_up_does_not_keep_the_gate_busy(mesh, client):
    a = mesh.nodes[0]
    for number in range(1000):
        a.handle(events.ClientSeen(client.mac, bytes((10, 7, *divmod(number, 256)))))
        mesh.run(0.002)
    assert 1 <= sum(isinstance(action, do.RefuseAtGate) for action in a.actions) <= 3
    assert a.core.counters["foreign_addresses"] == 1000
    assert mesh.path(client) is not None


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
    assert not a.core.node.by_ipv4
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


def test_the_snapshot_survives_json_and_a_reboot_makes_it_void(mesh, client):
    a = mesh.nodes[0]
    mesh.move(client, mesh.nodes[1])
    mesh.run(1)
    for node in mesh.nodes:
        saved = json.loads(json.dumps(node.core.snapshot(mesh.now_s)))
        again = node.make_core()
        again.restore(saved, mesh.now_s, node.kernel.opened)
        other = again.snapshot(mesh.now_s)
        assert other == saved
        rebooted = node.make_core()
        rebooted.restore(saved, 5.0)
        assert not rebooted.node.departed
        assert not rebooted.node.clients
    json.dumps([node.core.status(mesh.now_s) for node in mesh.nodes])
    for broken in (
        {"version": 2, **{k: v for k, v in saved.items() if k != "version"}},
        {"now_s": 0},
        {**saved, "clients": [{}]},
    ):
        with pytest.raises((ValueError, KeyError, TypeError)):
            a.make_core().restore(broken, mesh.now_s)


def test_who_is_let_in_by_the_kernel_alone_is_kept_and_who_left_is_not(mesh, client):
    a = mesh.nodes[0]
    core = a.make_core()
    actions = core.restore({}, mesh.now_s, {(client.mac, client.ipv4)})
    assert actions == [do.ProbeClient(client.mac, client.ipv4)]
    answered = core.handle(events.ArpAnswered(client.mac, client.ipv4), mesh.now_s + 0.01)
    assert do.AddNodeClient(mesh.address(client)) in answered
    assert do.CloseGate not in map(type, answered)
    mesh.move(client, mesh.nodes[1])
    mesh.run(1)
    core = a.make_core()
    actions = core.restore(a.core.snapshot(mesh.now_s), mesh.now_s, {(client.mac, client.ipv4)})
    assert do.CloseGate(client.mac, client.ipv4) in actions


def test_the_plats_of_who_left_are_taken_back_and_of_who_is_here_left_to_the_kernel(mesh, client):
    a, plat = mesh.nodes[0], mesh.nodes[3].plat
    here, gone = a.clat[:12] + client.ipv4, a.clat[:12] + bytes((10, 1, 0, 77))
    foreign = mesh.nodes[1].clat[:12] + client.ipv4  # from when this node had another prefix
    for saved in ({}, a.core.snapshot(mesh.now_s)):
        plats = [(here, plat), (gone, plat), (foreign, plat)]
        actions = a.make_core().restore(saved, mesh.now_s, {(client.mac, client.ipv4)}, (), plats)
        left = [action.client for action in actions if isinstance(action, do.LeavePlat)]
        assert sorted(left) == sorted([gone, foreign])


def test_who_left_between_a_snapshot_and_a_kill_leaves_no_plat_behind(mesh, client):
    a = mesh.nodes[0]
    old = a.core.snapshot(mesh.now_s)
    at, use = next(iter(a.kernel.plats.items()))
    mesh.move(client, mesh.nodes[1])
    mesh.run(1)
    a.kernel.plats[at] = use  # it was killed before it took this away
    a.restart(0.1, old)
    mesh.run(10)
    check_settled(mesh, client)


def test_a_restart_with_an_old_snapshot_asks_who_has_the_client(mesh, client):
    a = mesh.nodes[0]
    old = a.core.snapshot(mesh.now_s)
    mesh.move(client, mesh.nodes[1])
    mesh.run(6)
    before = mesh.path(client)
    a.restart(0.1, old)
    mesh.run(10)
    assert mesh.path(client) == before
    assert mesh.holders(client) == [mesh.nodes[1]]


def test_a_daemon_that_ends_while_a_platnode_is_asked_asks_again(mesh):
    """It had waited for a token, or for the word that a client is at home again."""
    a, exit_node = mesh.nodes[0], mesh.nodes[3]
    client, other = make_client(9, 1), make_client(8, 1)
    mesh.join(client, a)
    mesh.run(2)
    mesh.move(client, mesh.nodes[1])
    mesh.run(6)
    exit_node.is_up = False
    mesh.move(client, a)
    mesh.join(other, a)
    mesh.run(3)
    a.restart(0.1, a.core.snapshot(mesh.now_s))
    mesh.run(1)
    assert a.core.node.clients[other.mac].lease.token.serial == 0
    exit_node.is_up = True
    mesh.run(5)
    assert a.core.node.clients[other.mac].lease.token.serial
    assert mesh.path(client) is not None
    assert not exit_node.kernel.home_of


def test_a_lease_of_an_old_snapshot_is_mended_by_the_platnode_s_word(mesh, client):
    """It let the client go after the snapshot; of where to it knows nothing, and its token is worthless."""
    a, b, c = mesh.nodes[:3]
    old = a.core.snapshot(mesh.now_s)
    mesh.move(client, b)
    mesh.run(6)
    before = mesh.path(client)
    a.restart(0.1, old)
    mesh.run(6)
    mesh.told[c.number, mesh.address(client)] = {a.number}  # babel is late
    a.kernel.node_clients.add(mesh.address(client))
    b.is_deaf_to_group = True  # too far away to say so itself
    mesh.move(client, c)
    mesh.run(2)
    assert c.core.counters["roams_refused"] == 1
    assert mesh.path(client) == before


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
    assert mesh.holders(client) == [mesh.nodes[1]]


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
