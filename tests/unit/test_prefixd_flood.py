# SPDX-License-Identifier: ISC
"""Somebody announces as many PLATs as the table holds, and none of them is one: a true one is found all the same."""

import pytest
from prefixd_babel_cases import events, line, synced
from prefixd_false_exit_cases import used
from prefixd_plats import A, B, plat
from prefixd_probe_cases import World

from prefixd.choice import GOOD
from prefixd.routes import PER_ROUTER, PLATS

FALSE = range(0x1000, 0x1000 + PLATS)
UPDATE_MS = 16000  # babeld tells of a route again with each update of its neighbour


class Node(World):
    """A world whose PLATs come from a babeld."""

    def __init__(self, lines):
        super().__init__([])
        self.table = synced(lines)
        self.table.find_spare = self.prober.find_spare
        self.read_events()

    def hear(self, lines):
        self.table.feed(lines, self.now_ms)
        self.read_events()

    def read_events(self):
        self.choice.handle_all(events(self.table, self.now_ms), self.now_ms)
        self.prober.watch(self.choice.chosen, self.choice.metrics, self.now_ms)


def false_exits(metric):
    """What 512 routers announce; each line is told again and again, as babeld does it."""
    return b"".join(
        line(number, metric, route_id=f"{number:x}", router=f"02:{number // PER_ROUTER:x}")
        for number in FALSE
    )


@pytest.fixture
def flooded(request):
    """A node with this much in its table before the flood, and the flood at this metric."""
    known, metric = request.param
    node = Node(known)
    for number in FALSE:
        node.lose(plat(number))
    node.run(3000)
    node.hear(false_exits(metric))
    return node, metric


@pytest.mark.parametrize(
    ("flooded", "found_s"),
    [
        ((b"", 10), 60),
        ((b"", 5000), 60),
        # fewer are tried at a time while one works
        ((line(2, 6000, route_id="2", router="b"), 10), 240),
    ],
    indirect=["flooded"],
    ids=["nearer ones", "farther ones", "nearer ones while one works"],
)
def test_a_full_table_takes_a_true_exit_and_its_turn_comes(flooded, found_s):
    node, metric = flooded
    assert len(node.table.metrics) == PLATS
    node.run(node.now_ms + 5000)
    began_ms = node.now_ms
    node.hear(false_exits(metric) + line(1, 50, route_id="1", router="a"))
    while node.choice.health.get(A) != GOOD:
        assert A in node.table.metrics
        assert len(node.table.metrics) <= PLATS
        assert node.now_ms - began_ms < found_s * 1000
        node.run(node.now_ms + UPDATE_MS)
        node.hear(false_exits(metric) + line(1, 50, "change", route_id="1", router="a"))
    node.run(node.now_ms + 12000)
    assert node.choice.chosen == A
    assert set(used(node)) <= {A, B, plat(FALSE[0])}  # one is taken on trust at a start


def test_a_full_table_takes_a_nearer_exit_than_anybody_needs():
    known = b"".join(line(number, 100, route_id=f"{number:x}", router=f"{number}") for number in (2, 3, 4))
    node = Node(known)
    for number in FALSE:
        node.lose(plat(number))
    node.run(3000)
    node.hear(false_exits(5000))
    node.run(node.now_ms + 5000)
    assert not node.prober._candidates.failed
    node.hear(line(1, 20, route_id="1", router="a"))
    node.run(node.now_ms + 30000)
    assert node.choice.chosen == A


def test_one_that_answers_gives_way_to_nobody():
    node = Node(
        b"".join(
            line(number, 100 + number, route_id=f"{number:x}", router=f"{number}") for number in (1, 2, 3)
        )
    )
    for number in FALSE:
        node.lose(plat(number))
    node.run(3000)
    for round_ in range(3):
        node.hear(false_exits(10 + round_))
        node.run(node.now_ms + 5000)
    assert {A, B, plat(3)} <= set(node.table.metrics)
    assert used(node) == [A]
