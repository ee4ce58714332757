# SPDX-License-Identifier: ISC

"""Cases of prefixd.choice: which PLAT is used when, and why."""

from prefixd_plats import A, B, C

from prefixd.choice import DOUBT, DOWN, GONE_MAX, GOOD, INFINITY, MANAGEMENT, RECOVERING, UNKNOWN, PlatChoice


def chooser(*told, margin=64, hold_ms=10000):
    """Return a choice that babel has told about (prefix, metric, health) at 0 ms, and its actions."""
    choice = PlatChoice(margin, hold_ms)
    events = [("away", False)]
    for prefix, metric, health in told:
        events.append(("metric", prefix, metric))
        events.append(("health", prefix, health, ""))
    return choice, choice.handle_all(events, 0)


def case_the_lowest_metric_wins_and_a_tie_goes_to_the_lowest_prefix():
    choice, actions = chooser((B, 448, GOOD), (A, 352, GOOD))
    assert actions == [("use", A)]
    assert choice.why == "lowest metric (352, next 448)"
    assert chooser((B, 352, GOOD), (A, 352, GOOD))[1] == [("use", A)]
    assert chooser((A, 352, GOOD))[0].why == "metric 352, the only one"


def case_why_is_told_as_it_is_now():
    choice, _ = chooser((A, 352, GOOD))
    for metric, health, why in (
        (448, UNKNOWN, "lowest metric (352, next 448)"),
        (300, UNKNOWN, "lowest metric that answers (352, not 300)"),
        (300, GOOD, "metric 352, for 300 is not better by 64 for 10 s"),
        (INFINITY, UNKNOWN, "metric 352, the only one"),
    ):
        choice.handle_all((("metric", B, metric), ("health", B, health, "")), 5)
        assert (choice.chosen, choice.explain()) == (A, why)
    choice.handle(("metric", A, INFINITY), 6)
    assert choice.explain() == "no PLAT has a route"
    choice.handle_all((("metric", A, 100), ("health", A, DOWN, "x")), 7)
    assert choice.explain() == "no PLAT answers"
    choice.handle_all((("metric", B, 200), ("health", B, GOOD, "")), 8)
    choice.handle(("tick",), 2000)
    choice.handle(("health", A, GOOD, ""), 2001)
    assert choice.handle(("tick",), 12001) == [("use", A)]
    assert choice.explain() == choice.why == "metric 100 beats 200 for 10 s"


def case_a_start_waits_for_the_nearest_plats_first_answer_but_not_for_ever():
    choice, actions = chooser((A, 352, UNKNOWN), (B, 448, GOOD))
    assert actions == []
    assert choice.handle(("health", A, GOOD, ""), 300) == [("use", A)]
    choice, actions = chooser((A, 352, UNKNOWN), (B, 448, GOOD))
    assert choice.deadline_ms() == 1000
    assert choice.handle(("tick",), 1000) == [("use", B)]
    assert choice.why == "lowest metric that answers (448, not 352)"


def case_a_better_metric_must_win_by_the_margin_and_for_the_hold_time():
    choice, _ = chooser((A, 400, GOOD), (B, 401, GOOD))
    assert choice.handle(("metric", B, 337), 1000) == []
    assert choice.handle(("tick",), 20000) == []
    assert choice.handle(("metric", B, 336), 20000) == []
    assert choice.deadline_ms() == 30000
    assert choice.handle(("metric", B, 337), 29000) == []  # back inside the margin: the time starts again
    assert choice.handle(("metric", B, 300), 29001) == []
    assert choice.handle(("tick",), 39000) == []
    assert choice.handle(("tick",), 39001) == [("use", B)]
    assert choice.why == "metric 300 beats 400 for 10 s"


def case_a_margin_of_nothing_does_not_go_to_and_fro_between_equals():
    choice, _ = chooser((A, 400, GOOD), (B, 400, GOOD), margin=0, hold_ms=0)
    assert choice.handle(("tick",), 5000) == []
    assert choice.handle(("metric", B, 399), 5000) == [("use", B)]


def case_a_challenger_that_does_not_answer_never_wins():
    for health in (DOUBT, RECOVERING, UNKNOWN, MANAGEMENT, DOWN):
        choice, _ = chooser((A, 400, GOOD))
        choice.handle(("metric", B, 100), 1)
        choice.handle(("health", B, health, ""), 1)
        assert choice.handle(("tick",), 60000) == [], health


def case_a_lost_route_switches_at_once_to_the_best_that_is_known_to_work():
    choice, _ = chooser((A, 100, GOOD), (B, 200, UNKNOWN), (C, 300, GOOD))
    assert choice.handle(("metric", A, INFINITY), 50) == [("use", C), ("lost", A)]
    assert choice.why == "previous one lost: its route was withdrawn"


def case_a_route_that_goes_after_the_answers_did_is_gone_until_it_is_back():
    choice, _ = chooser((A, 100, GOOD), (B, 200, GOOD), (C, 300, UNKNOWN))
    for plat in (B, C):
        choice.handle(("metric", plat, INFINITY), 1)
    assert choice.gone == []  # babel may have another way in a moment
    choice.handle(("health", A, DOUBT, ""), 2)
    choice.handle(("metric", A, INFINITY), 3)
    assert choice.gone == [A]
    choice.handle(("metric", A, 100), 4)
    assert choice.gone == []


def case_of_those_that_are_gone_the_latest_are_remembered():
    choice, _ = chooser()
    for number in range(100):
        prefix = A[:11] + bytes([number]) + A[12:]
        choice.handle_all(
            (("metric", prefix, 100), ("health", prefix, DOUBT, ""), ("metric", prefix, INFINITY)), 1
        )
    assert len(choice.gone) == GONE_MAX
    assert choice.gone[-1] == prefix


def case_failed_probes_switch_at_once():
    choice, _ = chooser((A, 100, GOOD), (B, 200, GOOD))
    assert choice.handle(("health", A, DOUBT, ""), 50) == []
    assert choice.handle(("health", A, DOWN, "no answer to 3 probes"), 60) == [("use", B), ("lost", A)]
    assert choice.why == "previous one lost: no answer to 3 probes"
    # and back only after margin and hold time
    assert choice.handle(("health", A, RECOVERING, ""), 5000) == []
    assert choice.handle(("health", A, GOOD, ""), 7000) == []
    assert choice.handle(("tick",), 17000) == [("use", A)]


def case_the_best_health_is_taken_before_the_best_metric():
    ranked = [GOOD, DOUBT, RECOVERING, MANAGEMENT]
    for i in range(len(ranked) - 1):
        choice, _ = chooser((A, 10, GOOD), (B, 900, ranked[i]), (C, 100, ranked[i + 1]))
        assert choice.handle(("metric", A, INFINITY), 1)[0] == ("use", B), i


def case_without_any_plat_clients_are_told_once():
    choice, actions = chooser()
    assert actions == [("stop",)]
    assert choice.handle(("tick",), 5) == []
    choice, _ = chooser((A, 100, GOOD))
    assert choice.handle(("metric", A, INFINITY), 5) == [("stop",), ("lost", A)]
    assert choice.why == "no PLAT has a route"
    choice, _ = chooser((A, 100, GOOD))
    assert choice.handle(("health", A, DOWN, "x"), 5) == [("stop",), ("lost", A)]
    assert choice.why == "no PLAT answers"
    assert choice.handle(("health", A, RECOVERING, "x"), 1000) == []
    assert choice.handle(("health", A, GOOD, ""), 1500) == [("use", A)]


def case_while_babeld_is_away_a_plat_is_kept_unless_there_is_a_better_one():
    choice, _ = chooser((A, 100, GOOD), (B, 200, DOWN))
    choice.handle(("away", True), 1)
    assert choice.handle(("health", A, DOWN, "x"), 2) == []
    assert choice.chosen == A
    assert choice.handle(("health", B, GOOD, ""), 3) == [("use", B), ("lost", A)]
    choice, _ = chooser((A, 100, GOOD))
    choice.handle(("away", True), 1)
    choice.handle(("health", A, DOWN, "x"), 2)
    assert choice.handle(("away", False), 3) == [("stop",), ("lost", A)]


def case_nothing_is_said_before_babeld_has_spoken():
    choice = PlatChoice()
    assert choice.handle(("tick",), 0) == []
    assert choice.handle(("away", False), 5000) == [("stop",)]


def case_when_only_exits_fail_the_choice_does_not_wander():
    choice, _ = chooser((A, 100, GOOD), (B, 200, GOOD))
    # both exits in trouble: the probed address may be the dead one
    assert choice.handle_all([("health", B, DOUBT, ""), ("health", A, MANAGEMENT, "its exit: x")], 5) == []
    assert choice.handle(("health", B, MANAGEMENT, "its exit: x"), 6) == []
    assert choice.chosen == A
    # B's exit answers: that is the one
    assert choice.handle(("health", B, RECOVERING, ""), 7) == [("use", B), ("lost", A)]
    assert choice.why == "previous one lost: its exit: x"


def case_the_own_plat_is_used_at_metric_0_and_left_when_its_probes_fail():
    choice, _ = chooser((A, 50, GOOD))
    assert choice.handle_all([("own", C, True), ("health", C, GOOD, "")], 0) == []
    assert choice.handle(("tick",), 10000) == [("use", C)]
    assert choice.why == "own PLAT" and choice.metrics[C] == 0
    assert choice.handle(("health", C, MANAGEMENT, "its exit: no route"), 11000) == [("use", A), ("lost", C)]
    assert choice.handle(("own", C, False), 12000) == [("lost", C)]
    assert chooser((A, 50, GOOD))[0].handle(("own", A, True), 1) == []


def case_a_plat_that_is_not_the_chosen_one_is_told_as_lost_too():
    choice, _ = chooser((A, 100, GOOD), (B, 200, GOOD))
    assert choice.handle(("metric", B, INFINITY), 5) == [("lost", B)]
    assert choice.handle(("metric", B, INFINITY), 6) == []


def case_an_event_that_is_none_is_our_bug():
    for event in (("metric", A, -1), ("metric", A, 65536), ("health", A, 9, ""), ("nonsense",)):
        try:
            PlatChoice().handle(event, 0)
        except ValueError:
            continue
        raise AssertionError(event)


def case_one_of_which_nothing_is_known_is_not_gone_to_but_has_a_moment_to_answer():
    choice, _ = chooser((A, 100, GOOD), (B, 200, UNKNOWN), (C, 300, UNKNOWN))
    assert choice.handle(("health", A, DOWN, "x"), 50) == []
    assert choice.deadline_ms() == 1050
    assert choice.handle(("health", C, GOOD, ""), 60) == [("use", C), ("lost", A)]
    choice, _ = chooser((A, 100, GOOD), (B, 200, UNKNOWN))
    assert choice.handle(("metric", A, INFINITY), 50) == []
    assert choice.handle(("tick",), 1049) == []
    choice.health[C] = DOWN  # something is known of somebody, so probes are sent
    assert choice.handle(("tick",), 1050) == [("stop",), ("lost", A)]
    assert choice.handle(("tick",), 9000) == [] and choice.handle(("tick",), 10000) == []
    assert choice.handle(("health", B, GOOD, ""), 10500) == [("use", B)]


def case_one_whose_exit_fails_is_used_only_if_an_unknown_one_does_not_answer_in_time():
    choice, _ = chooser((A, 100, GOOD), (B, 200, MANAGEMENT), (C, 300, UNKNOWN))
    assert choice.handle(("health", A, DOWN, "x"), 50) == []
    assert choice.handle(("tick",), 1050) == [("use", B), ("lost", A)]


def case_where_probes_tell_nothing_the_nearest_is_taken_and_left_for_the_first_that_answers():
    choice, actions = chooser((A, 100, UNKNOWN), (B, 200, UNKNOWN))
    assert actions == []
    assert choice.handle(("tick",), 1000) == [("use", A)]
    assert choice.handle(("tick",), 60000) == []
    assert choice.handle(("metric", A, INFINITY), 60000) == []  # B may answer
    assert choice.handle(("tick",), 61000) == [("use", B), ("lost", A)]
    assert choice.handle_all([("metric", C, 900), ("health", C, GOOD, "")], 62000) == [
        ("use", C),
        ("lost", B),
    ]
    assert choice.why == "previous one lost: it has not answered"
