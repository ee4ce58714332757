# SPDX-License-Identifier: ISC

"""Cases of prefixd.probe, and of the choice by what it finds: PLATs answer, are silent, refuse."""

import struct

from prefixd_plats import A, B, C, plat

from prefixd import echo, probe
from prefixd.choice import DOUBT, DOWN, GOOD, PlatChoice
from xlat464.address import parse_ipv4, parse_ipv6


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
                self.prober.handle_packet(arrival[1], arrival[2], self.now_ms)
            told = self.prober.pop_events(self.now_ms)
            due_ms = self.choice.deadline_ms()
            # as the daemon does: when there is news, and every second
            if told or self.now_ms % 1000 == 0 or (due_ms is not None and self.now_ms >= due_ms):
                for action in self.choice.handle_all(told + [("tick",)], self.now_ms):
                    self.actions.append((self.now_ms, action))
                self.prober.watch(self.choice.chosen, self.choice.metrics, self.now_ms)
            for _sequence, destination, packet in self.prober.pop_due(self.now_ms):
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
    good = b"\x81" + echo.build_echo(prober.ident, sequence, cookie)[1:]
    wrong_cookie = good[:8] + bytes(8) + good[16:]
    wrong_ident = good[:4] + b"\xff\xff" + good[6:]
    wrong_sequence = good[:6] + struct.pack("!H", sequence ^ 0x5555) + good[8:]
    before = dict(prober.counts)
    prober.handle_packet(parse_ipv6("2001:db8::1"), good, 60)  # another source than was asked
    prober.handle_packet(destination, wrong_cookie, 60)
    prober.handle_packet(destination, wrong_sequence, 60)
    request = echo.build_echo(prober.ident, sequence, bytes(8))
    prober.handle_packet(bytes(16), quoting(1, 0, destination, request), 60)
    elsewhere = quoting(1, 0, parse_ipv6("2001:db8::1"), echo.build_echo(prober.ident, sequence, cookie))
    prober.handle_packet(bytes(16), elsewhere, 60)
    assert prober.counts["forged"] == before["forged"] + 5
    prober.handle_packet(destination, wrong_ident, 60)
    prober.handle_packet(destination, b"\x80" + good[1:], 60)
    assert prober.counts["foreign"] == before["foreign"] + 2
    for end in range(8):
        prober.handle_packet(destination, good[:end], 60)
    assert prober.counts["short"] == before["short"] + 8
    assert prober.counts["answered"] == 0
    prober.handle_packet(destination, good, 60)
    assert prober.counts["answered"] == 1
    prober.handle_packet(destination, good, 61)  # a duplicate
    assert prober.counts["answered"] == 1


def case_no_truncation_of_an_error_is_taken_for_one():
    packet = echo.build_echo(7, 9, b"12345678")
    whole = quoting(1, 3, A, packet)
    assert echo.parse_answer(whole, 7) == (9, b"12345678", A, "address unreachable")
    assert echo.parse_answer(quoting(3, 0, A, packet), 7)[3] == "a routing loop"
    assert echo.parse_answer(quoting(2, 0, A, packet), 7) is None
    for end in range(len(whole)):
        try:
            answer = echo.parse_answer(whole[:end], 7)
        except ValueError:
            continue
        assert answer is None or answer[1] != b"12345678" or end >= 64
