# SPDX-License-Identifier: ISC
"""What a save of iptables shows of a chain of ours, what is written then, and when rules are looked at."""

import itertools

import pytest

from l3roamd_py.netfilter.rules import CHECK_S, GLANCE_S, Checks
from l3roamd_py.netfilter.xtables.saved import OwnChain, find, hides, lines_to_write, restore_text

GATE = OwnChain("iptables", "mangle", "FORWARD", "L3ROAMD_gate")
JUMP, MADE = "-j L3ROAMD_gate", "-m comment --comment made-for-l3roamd -j L3ROAMD_gate"
QUOTED = MADE.replace("made-for-l3roamd", '"made-for-l3roamd"')


def saved(*rules, table="mangle"):
    lines = [
        f"*{table}",
        ":FORWARD ACCEPT [7:99]",
        ":L3ROAMD_gate - [0:0]",
        *(f"-A FORWARD {r}" for r in rules),
    ]
    return [
        "# by a program",
        *lines,
        "-A L3ROAMD_gate -j DROP",
        "COMMIT",
        "*nat",
        "-A FORWARD -j X",
        "COMMIT",
        "",
    ]


@pytest.mark.parametrize(
    ("rules", "jumps", "before", "number"),
    [
        ([], [], "", 1),
        ([JUMP], [JUMP], "", 1),
        ([QUOTED], [MADE], "", 1),
        (["-j ACCEPT", JUMP], [JUMP], "-j ACCEPT", 1),
        (["-i a -j ACCEPT", "-j RETURN", JUMP], [JUMP], "-i a -j ACCEPT", 1),
        ([JUMP, "-j ACCEPT"], [JUMP], "", 1),
        ([JUMP, "-j ACCEPT", JUMP], [JUMP, JUMP], "", 1),
        (["-j DROP"], [], "-j DROP", 1),
        # the jumps of roles come before ours, where nothing of others is between
        (["-i br -j XLAT464_clat", JUMP], [JUMP], "", 2),
        (["-j XLAT464_clat", "-j ACCEPT", JUMP], [JUMP], "-j ACCEPT", 2),
        (["-j ACCEPT", "-j XLAT464_clat", JUMP], [JUMP], "-j ACCEPT", 1),
        (["-j L3ROAMD_own_errors", JUMP, "-j XLAT464_clat"], [JUMP], "", 3),
        # a chain that has a name like ours, a rule without a target
        (["-j L3ROAMD_gate_out", "-m mark --mark 7", JUMP], [JUMP], "-m mark --mark 7", 1),
    ],
)
def test_a_jump_is_found_with_what_stands_before_it_and_where_it_should_be(rules, jumps, before, number):
    found = find(GATE, saved(*rules))
    assert (found.jumps, found.before, found.number, found.rules) == (jumps, before, number, 1)
    assert found.is_first == (len(jumps) == 1 and not before)


def test_a_chain_of_another_table_is_not_ours():
    found = find(GATE, saved(JUMP, table="filter"))
    assert (found.jumps, found.rules, found.before) == ([], None, "")
    assert hides("# Table `mangle' is incompatible, use 'nft' tool.\n", "mangle")
    assert not hides("\n".join(saved()), "mangle")


def test_a_jump_that_is_not_first_is_taken_away_and_put_where_it_belongs_in_one_go():
    found = find(GATE, saved("-j XLAT464_clat", "-j ACCEPT", JUMP, JUMP))
    lines = lines_to_write(GATE, ["-j DROP"], found, is_made=True)
    assert lines == [
        ":L3ROAMD_gate - [0:0]",
        "-A L3ROAMD_gate -j DROP",
        f"-D FORWARD {JUMP}",
        f"-D FORWARD {JUMP}",
        f"-I FORWARD 2 {MADE}",
    ]
    assert lines_to_write(GATE, [], None, is_made=True) == [":L3ROAMD_gate - [0:0]"]
    assert restore_text([("nat", ["a"]), ("mangle", ["b"]), ("nat", ["c"])]) == (
        "*nat\na\nc\nCOMMIT\n*mangle\nb\nCOMMIT\n"
    )


def test_rules_are_looked_at_every_some_seconds_and_a_second_after_a_change_of_nf_tables():
    number = [1]
    checks = Checks(lambda: number[0])
    assert not checks.is_due(0)  # the first time all is there
    assert not any(checks.is_due(n * GLANCE_S) for n in range(1, 9))
    number[0] = 2
    assert not checks.is_due(8 * GLANCE_S + 0.5)
    assert checks.is_due(9 * GLANCE_S)
    assert not checks.is_regular
    assert checks.is_due(CHECK_S)
    assert checks.is_regular
    assert not checks.is_due(CHECK_S + GLANCE_S)
    without = Checks(lambda: None)
    assert not without.is_due(0)
    assert without.next_s == CHECK_S
    assert without.is_due(CHECK_S)


@pytest.mark.parametrize(("look_s", "pause_s"), [(0.001, GLANCE_S), (0.03, 3), (2, CHECK_S)])
@pytest.mark.parametrize("number", [1, None])  # there may be nf_tables beside iptables without
def test_rules_that_have_no_number_are_looked_at_for_a_hundredth_of_the_time(look_s, pause_s, number):
    checks = Checks(lambda: number, lambda: look_s)
    looks_s = [at_s for at_s in range(31) if checks.is_due(at_s)]
    pauses_s = [later_s - at_s for at_s, later_s in itertools.pairwise([0, *looks_s])]
    assert max(pauses_s) == pause_s
    assert len(looks_s) <= 30 / pause_s + 30 / CHECK_S
