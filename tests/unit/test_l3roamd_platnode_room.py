# SPDX-License-Identifier: ISC
"""Role C: no node can take the room of others, and a mapping lasts an hour at most."""

from test_l3roamd_platnode import NOW_S, answer, make_core, make_token, roam, send

from l3roamd_py.core import wire
from l3roamd_py.core.actions import UnmapClient
from l3roamd_py.core.core import Core


def home_of(node: int, client: int) -> bytes:
    """A home of one of several clatnodes."""
    return (
        bytes.fromhex("fddd1337133702000000")
        + node.to_bytes(2, "big")
        + bytes((10, 0))
        + client.to_bytes(2, "big")
    )


def come(core: Core, home: bytes, at_node: int = 0xBB, serial: int = 10) -> int:
    """A home's ROAM to a place of its own at a node; return the answer's reason."""
    at = home_of(at_node, 0)[:12] + home[12:]
    actions = send(core, roam(make_token(serial, home), at, home))
    return answer([each for each in actions if not isinstance(each, UnmapClient)])[1].reason


def test_one_node_cannot_take_the_places_of_others():
    core = make_core(max_roams=10, max_roams_of_node=8, rate_per_s=1e9)
    for node in (1, 2, 3):
        assert come(core, home_of(node, 1)) == wire.OK
    for client in range(1, 2000):
        assert come(core, home_of(9, client), 0xB0 + client % 7) == wire.OK
    homes = list(core.platnode.entries)
    assert {home_of(node, 1) for node in (1, 2, 3)} <= set(homes)
    assert set(homes) - {home_of(node, 1) for node in (1, 2, 3)} == {home_of(9, i) for i in range(1993, 2000)}
    assert core.counters["roams_evicted"] == 1999 - 7
    assert come(core, home_of(4, 1)) == wire.OK, "the largest gives way"
    assert core.platnode.groups.count(home_of(9, 1)) == 6


def test_of_one_node_so_many_are_remembered_and_its_oldest_give_way_with_their_mapping():
    core = make_core(max_roams_of_node=3, rate_per_s=1e9)
    for client in (1, 2, 3):
        come(core, home_of(9, client), client)
    send(
        core, roam(make_token(11, home_of(9, 2)), home_of(9, 2), home_of(9, 2))
    )  # at home again: only its serial
    come(core, home_of(9, 4))
    assert home_of(9, 2) not in core.platnode.entries
    assert core.counters["serials_forgotten"] == 1
    actions = send(core, roam(make_token(10, home_of(9, 5)), home_of(7, 5), home_of(9, 5)))
    unmapped = [each for each in actions if isinstance(each, UnmapClient)]
    assert [(each.home, each.was) for each in unmapped] == [(home_of(9, 1), home_of(1, 1))]


def test_to_one_place_no_more_are_mapped_than_a_node_serves():
    core = make_core(max_roams_of_node=3, rate_per_s=1e9)
    reasons = [come(core, home_of(node, node), 0xBB) for node in range(1, 6)]
    assert reasons == [wire.OK] * 3 + [wire.FULL] * 2
    assert come(core, home_of(1, 1), 0xBB, serial=9000000) == wire.OK, "a renewal needs no further place"
    assert come(core, home_of(4, 4), 0xCC) == wire.OK
    send(core, roam(make_token(9000000, home_of(2, 2)), home_of(2, 2), home_of(2, 2)))
    assert come(core, home_of(5, 5), 0xBB) == wire.OK


def test_a_mapping_lasts_an_hour_at_most_and_is_renewed():
    core = make_core()
    (action,) = actions = send(core, roam(make_token(10, expiry_s=100000), lease_s=0xFFFFFFFF))
    granted = answer(actions)[1].lease
    assert (action.lease_s, granted.lease_s) == (3600, 3600)
    again = answer(send(core, roam(granted.token, lease_s=80000), NOW_S + 1800))[1]
    assert (again.reason, again.lease.lease_s) == (wire.OK, 3600)
