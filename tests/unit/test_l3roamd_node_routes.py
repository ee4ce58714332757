# SPDX-License-Identifier: ISC
"""Route events of the kernel, and which of them say that a node is back."""

import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from l3roamd_py.core.events import NodeAppeared
from l3roamd_py.kernel.node_routes import AWAY_S, NODES_MAX, NodeRoutes
from xlat464.address import parse_ipv6

RANGE, PLATS = parse_ipv6("fddd:1337:1337::"), parse_ipv6("fddd:1338:1338::")
OWN, OTHER = (parse_ipv6(f"fddd:1337:1337:200:0:{number}::") for number in (1, 2))
NEW, DELETED = 24, 25
UNICAST, UNREACHABLE = 1, 7


@pytest.fixture
def routes():
    made = NodeRoutes(RANGE, OWN, PLATS, list)
    yield made
    made.close()


def route(kind=NEW, prefix=OTHER, length=96, type_=UNICAST):
    body = struct.pack("=BBBBBBBBI", socket.AF_INET6, length, 0, 0, 254, 42, 0, type_, 0)
    body += struct.pack("=HHI", 8, 4, 3) + struct.pack("=HH", 20, 1) + prefix  # RTA_OIF, RTA_DST
    return struct.pack("=IHHII", 16 + len(body), kind, 0, 0, 0) + body


@pytest.mark.parametrize(
    ("events", "told"),
    [
        ([(0, {})], [True]),
        ([(0, {}), (1, {}), (500, {})], [True, False, False]),
        ([(0, {}), (1, {"kind": DELETED}), (1.1, {})], [True, False, False]),  # another way to it
        ([(0, {}), (1, {"kind": DELETED}), (1 + AWAY_S, {})], [True, False, True]),
        # babeld keeps a lost route as unreachable, then removes it
        (
            [
                (0, {}),
                (1, {"type_": UNREACHABLE}),
                (1.5, {"kind": DELETED, "type_": UNREACHABLE}),
                (1 + AWAY_S, {}),
            ],
            [True, False, False, True],
        ),
        ([(0, {"kind": DELETED}), (1, {})], [False, True]),
        ([(0, {"prefix": OWN})], [False]),
        ([(0, {"length": 128})], [False]),
        ([(0, {"prefix": parse_ipv6("fddd:1338:1338::")})], [False]),
    ],
)
def test_a_node_appears_when_it_was_away(routes, events, told):
    assert [routes.note(route(**fields), 100.0 + at_s) for at_s, fields in events] == told


@given(st.binary(max_size=80), st.integers(0, 64))
def test_nothing_that_is_no_route_is_taken_for_one(rest, end):
    made = NodeRoutes(RANGE, OWN, PLATS, list)
    try:
        assert not made.note(rest, 1.0) or len(rest) >= 48
        assert not made.note(route()[:end], 1.0) or end >= 56
        assert not made.note(route()[:28] + struct.pack("=HH", 0, 1) + OTHER, 1.0)
    finally:
        made.close()


def test_routes_without_number_are_not_remembered_without_number(routes):
    for number in range(NODES_MAX + 10):
        routes.note(route(prefix=RANGE[:8] + number.to_bytes(4, "big") + bytes(4)), 1.0)
    assert len(routes._here) + len(routes._lost_s) <= NODES_MAX


def test_one_word_for_many_nodes_and_none_for_none(routes, monkeypatch):
    waiting = [route(prefix=OTHER[:11] + bytes((number,)) + bytes(4)) for number in range(9)]

    class Told:
        def recv(self, _size):
            if not waiting:
                raise BlockingIOError
            return waiting.pop()

        def close(self):
            pass

    routes.close()
    routes._socket = Told()
    assert routes.read(1.0) == [NodeAppeared()]
    assert routes.read(1.0) == []
