# SPDX-License-Identifier: ISC
# ruff: noqa: C403, PT017, PT018, RUF005, RUF015, SIM905 (MicroPython has no pytest, and less syntax)
"""Cases of prefixd's pure modules for both Pythons: test_prefixd.py calls them, MicroPython runs this file.

Each function here whose name starts with "case_" is one; it asserts, and takes nothing.
"""

import struct
import sys

from prefixd import options, probe, table
from prefixd.babel import LINGER_MS, BabelTable, find_words, parse_route
from prefixd.choice import DOUBT, DOWN, GOOD, INFINITY, MANAGEMENT, RECOVERING, UNKNOWN, PlatChoice
from xlat464.address import parse_ipv4, parse_ipv6, parse_prefix6

RANGE = parse_prefix6("fddd:1337:1338::/48")[0]
GREETING = b"BABEL 1.0\nversion babeld-1.12.1\nhost lab\nmy-id 02:00:00:00:00:00:00:01\nok\n"


def plat(number):
    return RANGE[:6] + bytes((0, 1, 0, 2, 0, number)) + bytes(4)


A, B, C = plat(1), plat(2), plat(3)


def line(number, metric, verb="add", installed="yes", route_id="564830143590"):
    text = (
        "%s route %s prefix fddd:1337:1338:1:2:%x::/96 from ::/0 installed %s id 02:00 metric %d refmetric 0"
    )
    return ((text + " via fe80::1 if mesh0\n") % (verb, route_id, number, installed, metric)).encode()


# --- babel


def synced(lines=b"", now_ms=0):
    babel = BabelTable(RANGE)
    babel.start(0, 5000)
    babel.feed(GREETING, now_ms)
    babel.feed(lines + b"ok\n", now_ms)
    return babel


def events(babel, now_ms):
    return [e for e in babel.take_events(now_ms) if e[0] == "metric" or e[2]]


def case_a_route_in_the_range_is_a_plat_wherever_the_bytes_are_cut():
    whole = GREETING + line(1, 96) + line(2, 256) + b"ok\n" + line(1, 128, "change")
    for cut in range(len(whole)):
        babel = BabelTable(RANGE)
        babel.feed(whole[:cut], 0)
        babel.feed(whole[cut:], 0)
        assert babel.metrics == {A: 128, B: 256}, cut
        assert babel.counts["malformed"] == 0
    babel = BabelTable(RANGE)
    for i in range(len(whole)):
        babel.feed(whole[i : i + 1], 0)
    assert babel.metrics == {A: 128, B: 256}


def case_only_installed_96_routes_for_all_sources_count():
    other = (
        b"add route 1 prefix fddd:1337:1339:1:2:3::/96 from ::/0 installed yes id x metric 1 refmetric 0\n"
    )
    longer = b"add route 1 prefix fddd:1337:1338:1:2:3:c000:1/128 from ::/0 installed yes id x metric 1\n"
    source = b"add route 1 prefix fddd:1337:1338:1:2:3::/96 from fd00::/8 installed yes id x metric 1\n"
    babel = synced(other + longer + source + line(1, 96, installed="no") + line(2, INFINITY))
    assert babel.metrics == {}
    assert babel.counts["malformed"] == 0


def case_a_handover_between_two_neighbours_is_no_loss():
    babel = synced(line(1, 96))
    assert events(babel, 0) == [("metric", A, 96)]
    babel.feed(line(1, 96, "change", "no"), 1000)
    assert events(babel, 1000 + LINGER_MS - 1) == []
    babel.feed(line(1, 120, "change", route_id="beef"), 1050)
    assert events(babel, 2000) == [("metric", A, 120)]
    babel.feed(line(1, 96, "flush", "no"), 2000)  # the old neighbour's, not in use any more
    assert events(babel, 3000) == []


def case_a_flushed_or_retracted_route_is_lost_after_the_linger_time():
    for verb, metric in (("flush", 96), ("change", INFINITY)):
        babel = synced(line(1, 96))
        events(babel, 0)
        babel.feed(line(1, metric, verb), 1000)
        assert babel.deadline_ms() == 1000 + LINGER_MS
        assert not babel.has_events(1000)
        assert events(babel, 1000 + LINGER_MS) == [("metric", A, INFINITY)]


def case_an_xroute_in_the_range_is_the_nodes_own_plat():
    xroute = b"%s xroute fddd:1337:1338:1:2:1::/96-::/0 prefix fddd:1337:1338:1:2:1::/96 from ::/0 metric 0\n"
    babel = synced(xroute % b"add")
    assert ("own", A, True) in list(babel.take_events(0))
    babel.feed(xroute % b"flush", 10)
    assert ("own", A, False) in list(babel.take_events(10))


def case_malformed_lines_are_counted_and_change_nothing():
    good = line(1, 96)
    bad = (
        good.replace(b"metric 96", b"metric -1"),
        good.replace(b"metric 96", b"metric 65536"),
        good.replace(b"metric 96", b"metric 9_6"),
        good.replace(b"metric 96", b"metric"),
        good.replace(b"installed yes", b"installed maybe"),
        good.replace(b"installed yes ", b""),
        good.replace(b"564830143590", b"0x1"),
        good.replace(b"564830143590", b"-1"),
        good.replace(b"564830143590", b"f" * 17),
        good.replace(b"::/96", b"::/196"),
        good.replace(b"::/96", b"::1/96"),
        good.replace(b"::/96", b":::/96"),
        good.replace(b"from ::/0", b"from ::/0 metric 1"),
        good.replace(b"add route", b"add roast"),
        good.replace(b"if mesh0", b"if"),
        good.replace(b"mesh0", b"\xff\xfe"),
        b"nonsense\n",
        b"\0\n",
    )
    for text in bad:
        babel = synced(text)
        assert babel.metrics == {}, text
        assert babel.counts["malformed"] == 1, text
        assert babel.is_synced and babel.error is None


def case_a_line_without_end_takes_no_memory():
    babel = synced()
    for _ in range(1000):
        babel.feed(b"add route " * 40, 0)
    assert len(babel._partial) <= 512
    babel.feed(b"\n" + line(1, 96), 0)
    assert babel.metrics == {A: 96}
    assert babel.counts["overlong"] == 1
    babel.feed(b"x" * 600 + b"\n" + line(2, 96), 0)
    assert babel.counts["overlong"] == 2 and B in babel.metrics


def case_what_is_no_babeld_is_recognized():
    babel = BabelTable(RANGE)
    babel.feed(b"220 mail.example ESMTP\n", 0)
    assert babel.error is not None
    babel = synced()
    babel.is_synced = False
    babel.feed(b"bad\n", 0)
    assert babel.error is not None


def case_a_new_babeld_may_take_its_time_and_then_the_rest_is_dropped():
    babel = synced(line(1, 96) + line(2, 256))
    events(babel, 0)
    assert not babel.is_away(0)
    babel.disconnect(1000)
    assert babel.is_away(1000) and babel.stale == {A: True, B: True}
    babel.feed(GREETING + b"ok\n", 3000)
    assert babel.is_away(3000) and events(babel, 3000) == []
    babel.feed(line(1, 97), 9000)
    assert events(babel, 9000) == [("metric", A, 97)]
    assert events(babel, 31000) == [("metric", B, INFINITY)]
    assert not babel.is_away(31000) and babel.stale == {}


def case_the_own_plat_stays_when_babeld_does_not_come_back():
    babel = BabelTable(RANGE, own=C)
    babel.start(0, 5000)
    assert ("own", C, True) in list(babel.take_events(0))
    babel.feed(GREETING + line(1, 96) + b"ok\n", 0)
    babel.disconnect(0)
    told = list(babel.take_events(60000))
    assert ("metric", A, INFINITY) in told and C in babel.own


def case_the_cheap_test_finds_every_text_of_a_prefix_in_the_range():
    for text, words in (
        ("fddd:1337:1338::/48", b" prefix fddd:1337:1338:"),
        ("64:ff9b:1::/48", b" prefix 64:ff9b:1:"),
        ("2001:db8::/48", b" prefix 2001:db8:"),
        ("fddd::/48", b" prefix fddd:"),
        ("::/48", b" prefix "),
        ("0:0:1::/48", b" prefix "),
    ):
        assert find_words(parse_prefix6(text)[0]) == words, text
    found = parse_route(line(1, 96), RANGE, 48)
    assert found == ("route", 0x564830143590, A, 96)


# --- choice


def chooser(*told, margin=64, hold_ms=10000):
    """Return a choice that babel has told about (prefix, metric, health) at 0 ms, and its actions."""
    choice = PlatChoice(margin, hold_ms)
    news = [("away", False)]
    for prefix, metric, health in told:
        news.append(("metric", prefix, metric))
        news.append(("health", prefix, health, ""))
    return choice, choice.handle_all(news, 0)


def case_the_lowest_metric_wins_and_a_tie_goes_to_the_lowest_prefix():
    choice, actions = chooser((B, 448, GOOD), (A, 352, GOOD))
    assert actions == [("use", A)]
    assert choice.why == "lowest metric (352, next 448)"
    assert chooser((B, 352, GOOD), (A, 352, GOOD))[1] == [("use", A)]
    assert chooser((A, 352, GOOD))[0].why == "metric 352, the only one"


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
    ranked = [GOOD, DOUBT, RECOVERING, UNKNOWN, MANAGEMENT]
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


# --- probe


def counter():
    """Return a source of "random" bytes that are all different."""
    state = [0]

    def random(count):
        state[0] += 1
        return struct.pack("!Q", state[0] * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF)[-count:]

    return random


class World:
    """A prober and PLATs that answer, are silent or refuse, in simulated time."""

    def __init__(self, plats, targets=("9.9.9.9",), rtt_ms=20, interval_ms=500):
        self.prober = probe.Prober([parse_ipv4(t) for t in targets], counter(), interval_ms)
        self.choice = PlatChoice()
        self.rtt_ms = rtt_ms
        self.metrics = dict(plats)
        self.behaviour = {}  # (prefix, is_exit) -> "silent", "refuse"
        self.now_ms = 0
        self.flying = []  # (arrival ms, source, packet)
        self.actions = []  # (ms, action)
        self.sent = None  # a list where a case looks: MicroPython's heap is small
        self.choice.handle_all([("away", False)] + [("metric", p, m) for p, m in plats], 0)

    def run(self, until_ms):
        while self.now_ms < until_ms:
            for arrival in [f for f in self.flying if f[0] <= self.now_ms]:
                self.flying.remove(arrival)
                self.prober.take_packet(arrival[1], arrival[2], self.now_ms)
            told = self.prober.take_events(self.now_ms) + [("tick",)]
            for action in self.choice.handle_all(told, self.now_ms):
                self.actions.append((self.now_ms, action))
            self.prober.watch(self.choice.chosen, self.choice.metrics, self.now_ms)
            for _sequence, destination, packet in self.prober.take_due(self.now_ms):
                if self.sent is not None:
                    self.sent.append((self.now_ms, destination))
                self._answer(destination, packet)
            self.now_ms += 10

    def _answer(self, destination, packet):
        prefix = destination[:12] + bytes(4)
        is_exit = destination[12:] != bytes((192, 0, 0, 1))
        how = self.behaviour.get((prefix, is_exit), "answer")
        if how == "answer":
            self.flying.append((self.now_ms + self.rtt_ms, destination, b"\x81" + packet[1:]))
        elif how == "refuse":
            self.flying.append((self.now_ms + self.rtt_ms, bytes(16), quoting(1, 0, destination, packet)))

    def lose(self, prefix, how="silent", exit_only=False):
        self.behaviour[(prefix, True)] = how
        if not exit_only:
            self.behaviour[(prefix, False)] = how

    def heal(self, prefix):
        self.behaviour.pop((prefix, True), None)
        self.behaviour.pop((prefix, False), None)


def quoting(kind, code, destination, packet):
    """Return an ICMPv6 error about our probe."""
    header = struct.pack("!IHBB", 0x60000000, len(packet), 58, 64) + bytes(16) + destination
    return struct.pack("!BBHI", kind, code, 0, 0) + header + packet


def case_a_silent_plat_is_left_within_two_and_a_half_seconds_and_never_sooner_than_one():
    for phase in range(0, 500, 70):
        world = World([(A, 100), (B, 200)])
        world.run(5000 + phase)
        assert world.choice.chosen == A
        lost_ms = world.now_ms
        world.lose(A)
        world.run(lost_ms + 4000)
        switched = [ms - lost_ms for ms, action in world.actions if action == ("use", B)]
        assert len(switched) == 1 and 1000 <= switched[0] <= 2500, switched


def case_a_plat_that_is_unreachable_is_left_within_seven_tenths_of_a_second():
    for phase in range(0, 500, 70):
        world = World([(A, 100), (B, 200)])
        world.run(5000 + phase)
        lost_ms = world.now_ms
        world.lose(A, "refuse")
        world.run(lost_ms + 3000)
        switched = [ms - lost_ms for ms, action in world.actions if action == ("use", B)]
        assert len(switched) == 1 and switched[0] <= 700, switched
        assert "no route" in world.choice.why


def case_the_plat_before_which_clients_keep_is_known_to_be_silent_as_fast():
    for phase in range(0, 3000, 430):
        world = World([(A, 100), (B, 300)])
        world.run(5000)
        world.metrics[B] = 10
        world.choice.handle_all([("metric", B, 10)], world.now_ms)
        world.run(20000 + phase)
        assert world.choice.chosen == B and world.choice.health[A] == GOOD
        lost_ms = world.now_ms
        world.lose(A)
        world.run(lost_ms + 6000)
        told = [ms - lost_ms for ms, action in world.actions if action == ("lost", A)]
        assert len(told) == 1 and 1000 <= told[0] <= 2500, told


def case_two_plats_lost_together_lead_to_the_third():
    world = World([(A, 100), (B, 200), (C, 300)])
    world.run(5000)
    world.lose(A)
    world.lose(B)
    world.run(9000)
    assert [action for _, action in world.actions if action[0] == "use"] == [("use", A), ("use", C)]


def case_a_dead_probe_target_makes_no_plat_bad():
    world = World([(A, 100), (B, 200)])
    world.run(5000)
    world.lose(A, exit_only=True)
    world.lose(B, exit_only=True)
    world.run(30000)
    assert world.choice.chosen == A
    assert [action for _, action in world.actions] == [("use", A)]


def case_a_dead_exit_is_left_for_one_that_works():
    world = World([(A, 100), (B, 200)])
    world.run(5000)
    world.lose(A, exit_only=True)
    world.run(8000)
    assert world.choice.chosen == B and "its exit" in world.choice.why


def case_one_of_two_targets_is_enough():
    world = World([(A, 100)], targets=("9.9.9.9", "1.1.1.1"))
    world.run(3000)
    dead = A[:12] + parse_ipv4("9.9.9.9")
    answer = world._answer
    world._answer = lambda destination, packet: None if destination == dead else answer(destination, packet)
    world.run(30000)
    assert [action for _, action in world.actions] == [("use", A)]
    assert world.choice.health[A] == GOOD


def case_a_plat_that_comes_back_must_answer_three_times_and_wait():
    world = World([(A, 100), (B, 200)])
    world.run(5000)
    world.lose(A)
    world.run(20000)
    assert world.choice.chosen == B and world.choice.health[A] == DOWN
    world.heal(A)
    world.run(27000)
    assert world.choice.health[A] == GOOD and world.choice.chosen == B
    world.run(40000)
    assert world.choice.chosen == A


def case_a_flapping_plat_does_not_make_the_choice_flap():
    world = World([(A, 100), (B, 200)])
    for i in range(20):
        world.run(5000 + i * 8000)
        world.lose(A)
        world.run(8000 + i * 8000)
        world.heal(A)
    uses = [action for _, action in world.actions if action[0] == "use"]
    assert uses == [("use", A), ("use", B)], uses


def case_a_slow_path_is_not_a_lost_one():
    world = World([(A, 100), (B, 200)], rtt_ms=900)
    world.run(60000)
    assert [action for _, action in world.actions if action[0] != "use"] == []
    assert len(world.actions) == 1


def case_without_targets_the_management_address_decides():
    world = World([(A, 100), (B, 200)], targets=())
    world.run(3000)
    assert world.choice.chosen == A and world.choice.health[A] == GOOD
    world.lose(A)
    world.run(6000)
    assert world.choice.chosen == B


def case_only_the_best_few_are_asked_and_idle_ones_seldom():
    world = World([(plat(i), 100 + i) for i in range(1, 200)])
    world.run(10000)
    world.sent = []
    world.run(20000)
    asked = set([destination[:12] for _, destination in world.sent])
    assert len(asked) == 3
    chosen = [ms for ms, destination in world.sent if destination[:12] == A[:12]]
    assert 38 <= len(chosen) <= 42
    assert len(world.sent) - len(chosen) <= 2 * 2 * 4
    assert len(world.prober._open) < 10


def case_while_babeld_is_away_unreachable_is_no_evidence():
    world = World([(A, 100), (B, 200)])
    world.run(5000)
    world.prober.excused[A] = True
    world.lose(A, "refuse")
    world.run(8000)
    assert world.choice.health[A] in (GOOD, DOUBT) and world.choice.chosen == A


def case_forged_and_foreign_packets_are_counted_and_dropped():
    world = World([(A, 100)])
    world.behaviour[(A, True)] = world.behaviour[(A, False)] = "silent"
    world.run(50)
    prober = world.prober
    sequence = list(prober._open)[0]
    _prefix, _index, destination, cookie, _ms, _lost = prober._open[sequence]
    good = b"\x81" + probe.build_echo(prober.ident, sequence, cookie)[1:]
    wrong_cookie = good[:8] + bytes(8) + good[16:]
    wrong_ident = good[:4] + b"\xff\xff" + good[6:]
    wrong_sequence = good[:6] + struct.pack("!H", sequence ^ 0x5555) + good[8:]
    before = dict(prober.counts)
    prober.take_packet(parse_ipv6("2001:db8::1"), good, 60)  # another source than was asked
    prober.take_packet(destination, wrong_cookie, 60)
    prober.take_packet(destination, wrong_sequence, 60)
    request = probe.build_echo(prober.ident, sequence, bytes(8))
    prober.take_packet(bytes(16), quoting(1, 0, destination, request), 60)
    elsewhere = quoting(1, 0, parse_ipv6("2001:db8::1"), probe.build_echo(prober.ident, sequence, cookie))
    prober.take_packet(bytes(16), elsewhere, 60)
    assert prober.counts["forged"] == before["forged"] + 5
    prober.take_packet(destination, wrong_ident, 60)
    prober.take_packet(destination, b"\x80" + good[1:], 60)
    assert prober.counts["foreign"] == before["foreign"] + 2
    for end in range(8):
        prober.take_packet(destination, good[:end], 60)
    assert prober.counts["short"] == before["short"] + 8
    assert prober.counts["answered"] == 0
    prober.take_packet(destination, good, 60)
    assert prober.counts["answered"] == 1
    prober.take_packet(destination, good, 61)  # a duplicate
    assert prober.counts["answered"] == 1


def case_no_truncation_of_an_error_is_taken_for_one():
    packet = probe.build_echo(7, 9, b"12345678")
    whole = quoting(1, 3, A, packet)
    assert probe.parse_answer(whole, 7) == (9, b"12345678", A, "address unreachable")
    assert probe.parse_answer(quoting(3, 0, A, packet), 7)[3] == "a routing loop"
    assert probe.parse_answer(quoting(2, 0, A, packet), 7) is None
    for end in range(len(whole)):
        try:
            answer = probe.parse_answer(whole[:end], 7)
        except ValueError:
            continue
        assert answer is None or answer[1] != b"12345678" or end >= 64


# --- options and table

GOOD_OPTIONS = (
    "--plat-range fddd:1337:1338::/48 --clat clat --target /run/siit/control.sock"
    " --source fddd:1337:1337:1234:5678:9abc:c000:1"
).split()


def case_good_options_are_taken():
    found = options.parse(GOOD_OPTIONS + ["--probe-ipv4", "9.9.9.9,1.1.1.1", "--probe-ipv4=8.8.8.8"])
    assert found["plat_range"] == RANGE and len(found["probe_ipv4"]) == 3
    assert found["babel"] == ("inet6", bytes(15) + b"\x01", 33123)
    assert (found["margin"], found["hold_s"], found["probe_interval_ms"]) == (64, 10, 500)
    assert options.parse(["--status", "--json"]) == {
        "status": True,
        "json": True,
        "socket": "/run/prefixd.sock",
    }
    assert options.parse(["--help"]) == {"help": True}
    assert options.parse(GOOD_OPTIONS + ["--babel", "/run/babel"])["babel"] == ("unix", "/run/babel")


def case_each_bad_option_is_refused_with_one_sentence():
    for bad, word in (
        ("--margin x", "--margin"),
        ("--margin -1", "--margin"),
        ("--margin 65536", "--margin"),
        ("--hold-s 1.5", "--hold-s"),
        ("--probe-interval-ms 5", "--probe-interval-ms"),
        ("--probe-ipv4 1.2.3", "--probe-ipv4"),
        ("--probe-ipv4 127.0.0.1", "--probe-ipv4"),
        ("--own-plat fddd:1:2:3:4:5::/96", "plat range"),
        ("--own-plat fddd:1337:1338::/64", "/96"),
        ("--babel localhost:33123", "--babel"),
        ("--babel [::1]:0", "--babel"),
        ("--clat clat", "twice"),
        ("--nonsense 1", "--nonsense"),
        ("extra", "extra"),
        ("--hook", "--hook"),
        ("--json", "--status"),
        ("--status", "--status"),
        ("--socket " + "/x" * 60, "--socket"),
    ):
        try:
            options.parse(GOOD_OPTIONS + bad.split(" "))
        except options.UsageError as error:
            assert word in str(error) and "\n" not in str(error), str(error)
        else:
            raise AssertionError(bad)
    for name, text in (
        ("--plat-range", "fddd::/47"),
        ("--clat", "a/b"),
        ("--clat", "a b"),
        ("--clat", "x" * 16),
        ("--source", "1.2.3.4"),
        ("--target", ""),
    ):
        arguments = list(GOOD_OPTIONS)
        arguments[arguments.index(name) + 1] = text
        try:
            options.parse(arguments)
        except options.UsageError as error:
            assert name in str(error), str(error)
        else:
            raise AssertionError(name)
    for i in range(0, len(GOOD_OPTIONS), 2):
        try:
            options.parse(GOOD_OPTIONS[:i] + GOOD_OPTIONS[i + 2 :])
        except options.UsageError as error:
            assert "missing" in str(error)
        else:
            raise AssertionError(GOOD_OPTIONS[i])


def case_the_table_names_the_chosen_plat_first():
    lane = {"up": True, "rtt_ms": 12, "losses": 0}
    plat_b = {"prefix": "b::/96", "metric": 500, "own": False, "stale": False, "chosen": True}
    plat_b.update({"state": "good", "reason": "", "management": lane, "exit": lane})
    plat_a = dict(plat_b)
    plat_a.update({"prefix": "a::/96", "metric": 100, "chosen": False, "exit": None})
    plat_a.update({"state": "down", "reason": "no route"})
    status = {
        "chosen": "b::/96",
        "why": "because",
        "since_ms": 150000,
        "translator": "set",
        "roaming": "none",
    }
    status.update({"babel": "connected", "babel_away": False, "probes": "open"})
    status["babel_counts"] = {"lines": 5, "malformed": 1, "overlong": 0, "full": 0}
    status["probe_counts"] = {"sent": 1, "answered": 1, "refused": 0, "short": 0, "foreign": 0, "forged": 0}
    status["plats"] = [plat_a, plat_b] + [plat_a] * 40
    lines = table.render(status)
    assert lines[0] == "PLAT      b::/96 for 2 min" and lines[1] == "why       because"
    rows = [text for text in lines if "::/96 " in text][1:]
    assert rows[0].startswith("*  b::/96  500") and "12 ms" in rows[0] and "down (no route)" in rows[1]
    assert lines[-1] == "... and 22 more"
    status["chosen"] = None
    assert table.render(status)[0] == "PLAT      none: because"


CASES = [name for name in sorted(globals()) if name[:5] == "case_"]

if __name__ == "__main__":
    failed = 0
    for name in CASES:
        try:
            globals()[name]()
            print("ok", name)
        except Exception as error:
            failed += 1
            print("FAILED", name)
            if hasattr(sys, "print_exception"):
                sys.print_exception(error)
    sys.exit(failed)
