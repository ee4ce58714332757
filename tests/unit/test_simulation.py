# SPDX-License-Identifier: ISC
"""A simulated hour of a hundred nodes: docs/protocol.md's invariants hold, and the checks see what breaks them."""

import json
import re
from pathlib import Path

import pytest
import simulation
from l3roamd_mesh_node import PERFORM
from simulated_checks import CHECKS, KEPT, NOTHING_LEFT, count_broken
from simulated_world import World
from simulation import Simulation

from l3roamd_py.core import actions as do
from l3roamd_py.core import events, wire
from l3roamd_py.core.client import Claiming
from l3roamd_py.core.departed import forget_departed

PROTOCOL = Path(__file__).resolve().parents[2] / "docs/protocol.md"
STRANGER = b"\x02\xee\0\0\0\1"


def test_an_hour_of_a_hundred_nodes_ends_with_every_invariant_in_its_place():
    Simulation(nodes=100, clients=400, minutes=60, seed=2).run()


@pytest.mark.parametrize("seed", [1014, 1027, 1077, 2174])  # each has broken an invariant once
def test_an_hour_of_a_few_nodes_does_so_too(seed):
    Simulation(nodes=9, clients=30, minutes=60, seed=seed).run()


def test_the_checks_are_those_of_the_protocol():
    section = PROTOCOL.read_text().partition("## Invariants")[2].partition("\n## ")[0]
    assert re.findall(r"^\| (\w[\w ]+) \|", section, re.MULTILINE) == [*CHECKS, KEPT, NOTHING_LEFT]


@pytest.fixture(scope="module")
def quiet():
    """A small mesh after a round in which nothing broke, and the checks that see nothing."""
    simulated = Simulation(nodes=9, clients=30, minutes=12, seed=2)
    simulated._end = lambda: None
    simulated.run()
    assert not any(count_broken(simulated.world).values())
    return simulated


def walker_of(world):
    return next(each for each in world.clients.values() if each.node is not None and each.ipv4 and each.ipv6)


def other_of(world, walker):
    return next(node for node in world.nodes if node is not walker.node)


def announce_twice(world, walker, other):
    other.kernel.node_clients.add(world.address(walker))
    return lambda: other.kernel.node_clients.discard(world.address(walker))


def record_twice(world, walker, other):
    clients = other.core.node.clients
    clients[walker.mac] = walker.node.core.node.clients[walker.mac]
    return lambda: clients.pop(walker.mac)


def leave_a_route(world, walker, other):
    other.kernel.routes.add((walker.mac, walker.ipv6))
    return lambda: other.kernel.routes.discard((walker.mac, walker.ipv6))


def lose_a_mapping(world, walker, other):
    lease = walker.node.core.node.clients[walker.mac].lease
    home, lease.home = lease.home, other.clat[:12] + walker.ipv4

    def undo():
        lease.home = home

    return undo


def map_in_the_kernel_alone(world, walker, other):
    mappings = world.exits[0].kernel.home_of
    mappings[bytes(16)] = (bytes(15) + b"\1", world.now_s + 60, 1)
    return lambda: mappings.pop(bytes(16))


def mislead_babel(world, walker, other):
    for node in world.nodes:
        world.babel.mislead(node.number, world.address(walker), other.number, world.now_s)
    return lambda: [world.babel._misled.clear()]


def leave_a_question(world, walker, other):
    client = walker.node.core.node.clients[walker.mac]
    state, client.state = client.state, Claiming()

    def undo():
        client.state = state

    return undo


def leave_a_timer(world, walker, other):
    timers = other.core.node.timers
    timers.set((forget_departed, STRANGER), other.now_s + 60)
    return lambda: timers.cancel((forget_departed, STRANGER))


def fill_a_table(world, walker, other):
    other.core.node.relayed.update({(1, number): 1 for number in range(1000)})
    return other.core.node.relayed.clear


@pytest.mark.parametrize(
    ("name", "harm"),
    [
        ("one node", announce_twice),
        ("one record", record_twice),
        ("same addresses", leave_a_route),
        ("same lease", lose_a_mapping),
        ("same mappings", map_in_the_kernel_alone),
        ("same way", mislead_babel),
        ("no open question", leave_a_question),
        ("no leftovers", leave_a_timer),
        ("bounded", fill_a_table),
    ],
)
def test_each_check_sees_what_it_is_for(quiet, name, harm):
    world = quiet.world
    walker = walker_of(world)
    undo = harm(world, walker, other_of(world, walker))
    try:
        assert count_broken(world)[name]
    finally:
        undo()
    assert not any(count_broken(world).values())


def test_a_fault_of_the_core_ends_with_its_seed_and_the_invariant(monkeypatch, capsys, tmp_path):
    """A node that never takes a route back."""
    monkeypatch.setitem(PERFORM, do.RemoveRoute, lambda node, action: None)
    file = tmp_path / "found.json"
    words = ["--nodes", "9", "--clients", "20", "--minutes", "12", "--seed", "5", "--json", str(file)]
    assert simulation.main(words) == 1
    assert "simulate: seed 5: same addresses: node " in capsys.readouterr().err
    assert json.loads(file.read_text())["broken"]["invariant"] == "same addresses"


def test_what_comes_of_it_is_told_as_a_table_without_a_bar(capsys):
    assert simulation.main(["--nodes", "9", "--clients", "20", "--minutes", "12"]) == 0
    said = capsys.readouterr()
    assert re.search(r"^calm +\d+ +\d+ of \d+$", said.out, re.MULTILINE)
    assert not said.err


@pytest.mark.parametrize(
    "words", [["--nodes", "1"], ["--clients", "0"], ["--seed", "x"], ["--nodes", "70000"]]
)
def test_bad_words_are_one_sentence(capsys, words):
    with pytest.raises(SystemExit) as end:
        simulation.main(words)
    assert end.value.code == 2
    assert len(capsys.readouterr().err.strip().splitlines()) == 1


def test_a_claim_for_a_client_that_a_node_does_not_know_does_there_what_it_does_in_the_core():
    """The simulation leaves the core out, as most of all messages are such."""
    short, whole = (World(300, 20, 1).nodes[7] for _ in range(2))
    source = short.mesh.nodes[0].core.node.address
    for number in range(400):
        mac = bytes((2, 0xAA, 0, 0, 1, number % 5))
        payload = wire.encode(wire.Header(source, number, 1), wire.Claim(mac))
        for node in (short, whole):
            node.mesh.run(0.001)
        short.hear_claim(source, wire.GROUP, payload, mac)
        whole.handle(events.Datagram(source, wire.GROUP, payload))
    assert short.core.counters["datagrams_too_fast"] > 0
    assert short.core.counters.sorted() == whole.core.counters.sorted()
    known = next(iter(short.mesh.clients.values()))
    known.associate(short)
    short.mesh.run(5)
    payload = wire.encode(wire.Header(source, 1000, 1), wire.Claim(known.mac))
    short.hear_claim(source, wire.GROUP, payload, known.mac)
    assert short.core.node.clients[known.mac].rival is not None
