# SPDX-License-Identifier: ISC
"""Nodes that prepare for one another's clients, and a PLAT that is told by the old node: on real nodes."""

import time

import pytest
from meshes import mesh_text
from waiting import wait_until

from sdk.roaming import echo_traffic, evaluate

MESH = mesh_text(
    "a=clat b=clat exit=plat",
    "a-b a-exit b-exit",
    "phone=a",
    of_links="delay_ms = 2",
    prepare="true",
    interpreter='"mixed"',
    rules='"RULES"',
)


@pytest.fixture(scope="module", params=["nft", "xtables"])
def mesh(lab_of, request):
    return lab_of(MESH.replace("RULES", request.param))


def count(lab, node, name):
    return lab.roaming_status(node)["counters"].get(name, 0)


def is_served(lab, node):
    return lab.node_of("phone") == node and lab.serving("phone") is not None


def test_a_walk_that_was_prepared_and_one_that_was_not_keep_what_is_open(mesh):
    wait_until(lambda: is_served(mesh, "a") and mesh.is_answered("phone"), what="the phone at node a")
    wait_until(
        lambda: mesh.roaming_status("b")["prepared"] == 1, what="node b hearing of the phone", deadline_s=30
    )
    with echo_traffic(mesh, "phone") as talking:
        roams = [("b", mesh.roam("phone", "b", hard=True))]
        wait_until(lambda: is_served(mesh, "b"), what="node b serving the phone")
        time.sleep(0.3)  # less than it takes until others are told of it
        roams.append(("a", mesh.roam("phone", "a", hard=True)))
        wait_until(lambda: is_served(mesh, "a"), what="node a serving the phone")
        wait_until(
            lambda: mesh.roaming_status("b")["prepared"] == 1, what="node b hearing of the phone again"
        )
        found = evaluate(talking.end(), roams)
    assert found.broken == []
    assert None not in [handoff.ms for handoff in found.handoffs]
    assert (count(mesh, "b", "arrivals_prepared"), count(mesh, "a", "arrivals_prepared")) == (1, 0)
    assert count(mesh, "a", "departures") == count(mesh, "b", "departures") == 1, "each was asked as ever"
    assert count(mesh, "exit", "expects") >= 1
    # mostly node a's own, which is one again; node b's, if that was slower, is expected no more
    second = count(mesh, "exit", "roams_repeated") + count(mesh, "exit", "roams_not_proven")
    assert second >= 1, "both ROAMs came"
