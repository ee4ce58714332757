# SPDX-License-Identifier: ISC
"""The table of what follows from what is known of a client: the code, the simulated mesh and the drawing keep to it."""

import ast
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from l3roamd_mesh import joined
from l3roamd_traces import Scenario
from simulation import Simulation

from l3roamd_py.core import events, judge, judge_parts, wire
from l3roamd_py.core.client import Client
from sdk import roaming_states

TABLE = roaming_states.rows()
SEEDS = 250
CORE = "l3roamd_py.core"
LEAVES = ("client", "node", "ports", "rate", "timers", "tlv", "token", "wire")


def test_each_verdict_of_the_table_and_none_other_is_given():
    given = set()
    for module in (judge, judge_parts):
        doers = {name for name, value in vars(module).items() if getattr(value, "__package__", "") == CORE}
        for node in ast.walk(ast.parse(Path(module.__file__).read_text())):
            if (
                isinstance(node, ast.Attribute)
                and isinstance(node.value, ast.Name)
                and node.value.id in doers
            ):
                given.add((node.value.id, node.attr))
    given = {name.replace("_", " ") for module, name in given if module not in ("wire", "parts")}
    assert given == {verdict for *_, verdict, _ in TABLE}


def test_what_happens_in_a_mesh_is_in_the_table(monkeypatch):
    seen, decide = set(), judge.judge

    def watch(client, node):
        verdict = decide(client, node)
        if verdict is None:
            return None

        def run(node, client):
            before = type(client.state).__name__
            verdict(node, client)
            after = type(client.state).__name__
            if node.clients.get(client.mac) is not client:
                is_departed = before != "Claiming" and client.mac in node.departed
                after = "Departed" if is_departed else "forgotten"
            seen.add((before, verdict.__name__.replace("_", " "), after))

        return run

    monkeypatch.setattr(judge, "judge", watch)
    for seed in range(SEEDS):
        Scenario(seed).play()
    Simulation(nodes=9, clients=30, minutes=60, seed=1014).run()  # of nodes that prepare, among others
    table = {(state, verdict, then) for state, _, verdict, then in TABLE}
    assert seen <= table
    assert len(seen) > len(table) * 0.7


def test_the_drawing_in_the_documents_is_of_this_table():
    assert roaming_states.main([]) == 0, "make diagram draws it anew"


def test_nobody_is_judged_by_what_has_not_been_waited_for():
    """An answer that waits to be read must come before the deadline: only a Tick says that a time is over."""
    scenario = Scenario(1)
    assert sum(len(node.core.node.clients) for node in scenario.mesh.nodes) >= len(scenario.clients)
    for node in scenario.mesh.nodes:
        shared = node.core.node
        later = SimpleNamespace(now_s=scenario.mesh.now_s + 1e6, due_s=shared.due_s, options=shared.options)
        for client in node.core.node.clients.values():
            assert judge.judge(client, later) is None


@pytest.mark.parametrize("state", sorted({state for state, *_ in TABLE}))
def test_each_state_has_a_way_out(state):
    assert any(then not in (state, "Claiming") for each, _, _, then in TABLE if each == state)


def test_what_is_known_of_a_client_is_in_few_places():
    assert len(Client.__slots__) <= 12


def test_an_info_makes_no_more_than_fifteen_stops(mesh):
    """Functions between the datagram and our ROAM, beside those that all of them stand on."""
    roamer, node, stops = joined(mesh), mesh.nodes[1], {}
    handle = node.core.handle

    def note(frame, event, _):
        code = frame.f_code
        file = Path(code.co_filename)
        if (
            event == "call"
            and file.parent.name == "core"
            and file.stem not in LEAVES
            and "<" not in code.co_name
        ):
            stops[file.stem, code.co_name] = None

    def watch(event, now_s):
        is_info = isinstance(event, events.Datagram) and wire.decode(event.payload)[1].TYPE == wire.INFO
        sys.setprofile(note if is_info else None)
        try:
            return handle(event, now_s)
        finally:
            sys.setprofile(None)

    node.core.handle = watch
    mesh.move(roamer, node)
    mesh.run(1)
    assert ("requests", "start_roam") in stops
    assert len(stops) <= 15, stops
