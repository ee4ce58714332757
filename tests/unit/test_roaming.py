# SPDX-License-Identifier: ISC
"""What is read out of a roaming run: handoffs, losses, what broke. No lab needed."""

import pytest

from sdk.roaming import evaluate

RTT_S = 0.02


def stream(end_s, gates, lost=()):
    """A datagram every 10 ms; what is sent while a gate (from, to) is closed passes when it opens."""
    datagrams = []
    for i in range(round(end_s * 100)):
        sent_s = i / 100
        passed_s = next((to for start, to in gates if start <= sent_s < to), sent_s)
        datagrams.append([sent_s, None if i in lost else passed_s + RTT_S])
    return datagrams


def result(datagrams, errors=(None,)):
    connections = [{"messages": 1, "stall_s": 0.1, "stall_at_s": 0.0, "error": error} for error in errors]
    return {"datagrams": datagrams, "connections": connections, "unsent": 0}


def test_a_handoff_is_told_without_the_round_trip():
    gates = [(1.0, 1.035), (2.0, 2.05)]
    found = evaluate(result(stream(3, gates)), [("b", 1.0), ("a", 2.0)])
    assert [(each.node, round(each.ms)) for each in found.handoffs] == [("b", 35), ("a", 50)]
    assert found.lost == 0
    assert found.rtt_ms == pytest.approx(RTT_S * 1000)


def test_what_never_came_back_is_lost_and_a_visit_without_an_answer_has_no_handoff():
    datagrams = stream(2, [], lost=range(100, 110))
    found = evaluate(result(datagrams), [("b", 1.0), ("a", 1.1)])
    assert found.lost == 10
    assert found.handoffs[0].ms is None
    assert found.handoffs[1].ms == pytest.approx(0, abs=0.001)


def test_what_was_sent_from_the_old_node_is_no_handoff():
    datagrams = [[0.99, 1.05], [1.01, 1.08], [1.5, 1.52]]
    found = evaluate(result(datagrams), [("b", 1.0)])
    assert found.handoffs[0].ms == pytest.approx(60)


def test_broken_connections_are_told_with_their_reasons():
    found = evaluate(result([], [None, "Connection reset by peer"]), [("b", 1.0)])
    assert found.broken == ["Connection reset by peer"]
    assert found.longest_stall_ms == pytest.approx(100)


def test_who_stays_has_no_handoff():
    assert evaluate(result(stream(1, [])), []).handoffs == []
