# SPDX-License-Identifier: ISC
"""Cases of probes among exits that are none, for both Pythons."""

from prefixd_plats import A, B, plat
from prefixd_probe_cases import World

from prefixd.candidates import LATER, SHARE, WIDE
from prefixd.choice import GOOD, INFINITY


class FalseExits:
    """Numbers from which on PLATs are announced that are none: they are silent, or their node alone answers."""

    FIRST, COUNT = 0x1000, 200

    def __init__(self, world, exit_only=False):
        self.prefixes = [plat(number) for number in range(self.FIRST, self.FIRST + self.COUNT)]
        for prefix in self.prefixes:
            world.lose(prefix, exit_only=exit_only)
        world.choice.handle_all([("metric", prefix, 10) for prefix in self.prefixes], world.now_ms)


def used(world):
    return [action[1] for _, action in world.actions if action[0] == "use"]


def case_among_false_exits_that_come_later_a_lost_one_is_left_for_the_known_one_as_fast():
    for exit_only in (False, True):
        world = World([(A, 5000), (B, 6000)])
        world.run(5000)
        FalseExits(world, exit_only)
        world.run(40000)
        lost_ms = world.now_ms
        world.lose(A)
        world.run(lost_ms + 3000)
        assert used(world) == [A, B], (exit_only, used(world))
        assert [ms - lost_ms for ms, action in world.actions if action == ("use", B)][0] <= 2500


def case_among_false_exits_a_start_finds_the_true_one_and_walks_through_none():
    for count in (0x2F, 200):
        FalseExits.COUNT = count
        world = World([])
        FalseExits(world)
        world.choice.handle_all([("metric", A, 5000)], 0)
        world.run(9000)
        # at most the one that is taken on trust before anything is known of anybody
        assert world.choice.chosen == A and len(used(world)) <= 2, (count, used(world))
        found_ms = [ms for ms, action in world.actions if action == ("use", A)][0]
        assert found_ms <= (1100 if count < 48 else 6500), found_ms


def case_a_true_exit_that_comes_last_is_found_and_kept_in_reserve():
    world = World([(A, 5000)])
    FalseExits.COUNT = 24
    world.run(2000)
    FalseExits(world)
    world.run(4000)
    world.choice.handle_all([("metric", B, 6000)], world.now_ms)
    world.run(16000)
    assert world.choice.health.get(B) == GOOD and used(world) == [A]
    FalseExits.COUNT = 200
    FalseExits(world)
    world.run(60000)
    assert world.choice.health.get(B) == GOOD and used(world) == [A]


def case_false_exits_cost_a_bounded_number_of_probes_with_an_exit_and_without():
    world = World([(A, 5000), (B, 6000)])
    FalseExits.COUNT = 200
    FalseExits(world)
    world.run(20000)
    before = world.prober.counts["sent"]
    world.run(80000)
    assert world.prober.counts["sent"] - before <= 60 * 20
    assert len(world.prober.watched) <= 8
    world.lose(A)
    world.lose(B)
    world.run(120000)
    assert world.choice.chosen is None
    before = world.prober.counts["sent"]
    world.run(180000)
    assert world.prober.counts["sent"] - before <= 60 * 40
    assert len(used(world)) <= 3


def case_false_exits_that_come_and_go_keep_no_true_one_waiting_for_ever():
    world = World([(A, 5000)])
    FalseExits.COUNT = 120
    world.run(3000)
    prefixes = FalseExits(world).prefixes
    world.run(5000)
    world.choice.handle_all([("metric", B, 6000)], world.now_ms)
    # all within six seconds, so that always some of them are new
    for at in range(90):
        gone = prefixes[at % 6 :: 6]
        world.choice.handle_all([("metric", prefix, INFINITY) for prefix in gone], world.now_ms)
        world.run(world.now_ms + 1000)
        world.choice.handle_all([("metric", prefix, 10) for prefix in gone], world.now_ms)
    assert world.choice.health.get(B) == GOOD and used(world) == [A]


class Counted:
    """Metrics, and how often all of them are looked at."""

    def __init__(self, metrics):
        self.metrics, self.reads = metrics, 0

    def items(self):
        self.reads += 1
        return self.metrics.items()

    def get(self, prefix):
        return self.metrics.get(prefix)

    def __contains__(self, prefix):
        return prefix in self.metrics

    def __len__(self):
        return len(self.metrics)


def case_news_of_babel_costs_no_look_at_all_where_there_are_many():
    for count, at_most in ((500, 4), (20, 200)):
        world = World([(A, 5000)])
        FalseExits.COUNT = count
        FalseExits(world)
        metrics = Counted(world.choice.metrics)
        for now_ms in range(0, 2000, 10):
            world.prober.watch(A, metrics, now_ms)
        assert 2 <= metrics.reads <= at_most, (count, metrics.reads)
    FalseExits.COUNT = 120


def case_a_false_exit_that_goes_is_forgotten():
    world = World([(A, 5000)])
    false = FalseExits(world)
    world.run(10000)
    world.choice.handle_all([("metric", prefix, 0xFFFF) for prefix in false.prefixes], world.now_ms)
    world.run(12000)
    candidates = world.prober._candidates
    assert list(world.prober.watched) == [A] and candidates.failed == {} and list(candidates.places) == [A]


def case_one_that_had_no_time_to_answer_is_not_put_aside_for_a_minute():
    world = World([(A, 5000)])
    world.run(2000)
    false = FalseExits(world)
    world.run(2010)
    # nothing answers for a moment, and then A does
    for lane in world.prober.watched[A].lanes:
        lane.is_asked = True
    world.prober.pop_events(world.now_ms)
    world.prober.watch(A, world.choice.metrics, world.now_ms)
    assert len(world.prober.watched) > 40
    for lane in world.prober.watched[A].lanes:
        lane.is_asked = False
    world.prober.pop_events(world.now_ms)
    world.prober.watch(A, world.choice.metrics, world.now_ms)
    assert len(world.prober.watched) == 1 + 2 * WIDE // SHARE
    candidates = world.prober._candidates
    assert candidates.failed == {} and candidates.places[false.prefixes[40]] < LATER
