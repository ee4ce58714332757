# SPDX-License-Identifier: ISC
"""What a node goes on with after a restart: its snapshot, what the kernel holds, and what others say."""

import json

import pytest
from l3roamd_mesh import (
    check_converged,
    make_client,
)

from l3roamd_py.core import actions as do
from l3roamd_py.core import events
from l3roamd_py.core.token import NO_TOKEN


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
        {"version": saved["version"] - 1, **{k: v for k, v in saved.items() if k != "version"}},
        {"now_s": 0},
        {**saved, "clients": [{}]},
    ):
        with pytest.raises((ValueError, KeyError, TypeError)):
            a.make_core().restore(broken, mesh.now_s)


def walk(value, at=()):
    """The places of all that is in a JSON value, with what is there."""
    yield at, value
    each = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inner in each:
        yield from walk(inner, (*at, key))


def test_what_has_no_address_s_length_and_times_that_are_none_are_refused(mesh, client):
    """Later nobody expects them: each status and each roam would fail."""
    b = mesh.nodes[1]
    mesh.move(client, b)
    mesh.run(1)
    for node in (mesh.nodes[0], b, mesh.nodes[3]):
        saved = json.loads(json.dumps(node.core.snapshot(mesh.now_s)))
        places = [(at, value) for at, value in walk(saved) if not isinstance(value, (list, dict))]
        for at, value in places:
            wrongs = {
                float: (-1.0, float("nan"), 1e300, 10**400),
                str: (value and f"{value}00", "00", "0a2e2001" * 2),
            }
            for wrong in wrongs.get(type(value), ()):
                if value in ("served", "claiming") or at == ("now_s",):
                    continue
                broken = json.loads(json.dumps(saved))
                inside = broken
                for key in at[:-1]:
                    inside = inside[key]
                inside[at[-1]] = wrong
                with pytest.raises((ValueError, KeyError, TypeError)):
                    node.make_core().restore(broken, mesh.now_s)


def test_of_more_than_we_remember_the_newest_is_taken_over(mesh):
    """A daemon on CPython may have left more than one on MicroPython has room for."""
    a, c = mesh.nodes[0], mesh.nodes[3]
    until_s, most = mesh.now_s + 300, 8

    def mac(number):
        return bytes((2, 0xCC, 0, 0, 0, number))

    def ipv4(number):
        return bytes((10, 46, 9, number))

    saved = json.loads(json.dumps(a.core.snapshot(mesh.now_s)))
    leases = {
        n: [(a.clat[:12] + ipv4(n)).hex(), c.plat.hex(), until_s, NO_TOKEN.encode().hex(), True]
        for n in range(1, 21)
    }
    saved["clients"] = [[mac(n).hex(), "served", ipv4(n).hex(), leases[n], [], None] for n in leases]
    saved["granted"] = [[mac(n).hex(), ipv4(n).hex(), until_s] for n in range(1, 41)]
    saved["departed"] = [
        [mac(n).hex(), "00" * 16, False, until_s, None, None, [], mesh.now_s, True] for n in range(41, 61)
    ]
    again = a.make_core()
    for name in ("max_clients", "max_departed", "max_granted"):
        setattr(again.options, name, most)
    actions = again.restore(saved, mesh.now_s, {(mac(n), ipv4(n)) for n in range(1, 61)})
    node = again.node
    assert set(node.clients) == {mac(n) for n in range(13, 21)}
    assert set(node.departed) == {mac(n) for n in range(53, 61)}
    assert set(node.granted) == {ipv4(n) for n in range(33, 41)}
    closed = {each.mac for each in actions if isinstance(each, do.CloseGate)}
    assert closed == {mac(n) for n in range(1, 61)} - set(node.clients)

    saved = json.loads(json.dumps(c.core.snapshot(mesh.now_s)))
    saved["spent"] = [["00" * 12 + ipv4(n).hex(), n, until_s] for n in range(1, 21)]
    again = c.make_core()
    again.options.max_roams = most
    again.restore(saved, mesh.now_s)
    assert sorted(entry.serial for entry in again.platnode.entries.values()) == list(range(13, 21))


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
    check_converged(mesh, client)


def test_a_restart_with_an_old_snapshot_asks_who_has_the_client(mesh, client):
    a = mesh.nodes[0]
    old = a.core.snapshot(mesh.now_s)
    mesh.move(client, mesh.nodes[1])
    mesh.run(6)
    before = mesh.path(client)
    a.restart(0.1, old)
    mesh.run(10)
    assert mesh.path(client) == before
    assert mesh.serving(client) == [mesh.nodes[1]]


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
    mesh.babel.mislead(c.number, mesh.address(client), a.number, mesh.now_s)  # babel is late
    a.kernel.node_clients.add(mesh.address(client))
    b.is_deaf_to_group = True  # too far away to say so itself
    mesh.move(client, c)
    mesh.run(2)
    assert c.core.counters["roams_refused"] == 1
    assert mesh.path(client) == before
