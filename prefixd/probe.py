# SPDX-License-Identifier: ISC
"""Find out which PLATs work by asking them: ICMPv6 echo. No socket, no clock.

A PLAT is asked in two lanes: through its exit, at a public IPv4 address embedded in its prefix, and at its own
management address. The chosen PLAT, the one before, one in trouble and one on its way back are asked every interval,
others only now and then. A lane that was answered is down after LOSSES unanswered probes. It is down at once, after a
second look, when ICMPv6 or our own kernel says "unreachable". It is up again after SUCCESSES answers in a row. One
address at a time is asked through the exit, and after a lost probe the next one. So no single host on the internet
decides. The first trouble with the chosen PLAT has all others asked at once, so that it is known which one works before
it is needed. Which PLATs are worth asking is in candidates.py.

Only what quotes a probe of ours counts. Address, id, sequence number and a random cookie must be those of a probe that
is still open. Everything else is counted and dropped.
"""

import struct

from prefixd.candidates import Candidates
from prefixd.choice import DOUBT, DOWN, GOOD, MANAGEMENT, RECOVERING, UNKNOWN
from prefixd.echo import COOKIE_BYTES, build_echo, parse_answer
from xlat464.node import management_address
from xlat464.rfc6052 import embed

INTERVAL_MS = 500
IDLE_INTERVALS = 6  # an idle lane is asked every so many intervals
LOSSES = 3  # unanswered probes that take a lane down
REFUSALS = 2  # "unreachable" in a row that do: a single one may be babel changing its mind
SUCCESSES = 3  # answers in a row that bring it up again
OPEN_MS = 3000  # how long an answer may take and still count
ITS_EXIT = "its exit: "


class Lane:
    """One way of asking one PLAT.

    is_up     None until the first verdict
    losses    unanswered probes since the last answer; refusals of these in a row
    streak    answers in a row
    is_asked  a probe is out that must be answered before this lane counts as good again
    """

    def __init__(self, destinations, now_ms):
        self.destinations = destinations
        self.turn = 0
        self.is_up = None
        self.losses = self.refusals = self.streak = 0
        self.is_asked = False
        self.next_ms = now_ms
        self.rtt_ms = None
        self.reason = ""

    def note_answer(self, rtt_ms):
        self.losses = self.refusals = 0
        self.streak = min(self.streak + 1, 0xFFFF)
        self.rtt_ms = rtt_ms
        self.is_asked = False
        if self.is_up is None or self.streak >= SUCCESSES:
            self.is_up = True

    def note_loss(self):
        self.refusals = 0
        self._miss(LOSSES, "no answer to %d probes" % (self.losses + 1), self.losses + 1)

    def note_refusal(self, why):
        self.refusals += 1
        self._miss(REFUSALS, why, self.refusals)

    def _miss(self, enough, reason, misses):
        self.losses = min(self.losses + 1, 0xFFFF)
        self.streak = 0
        self.turn = (self.turn + 1) % len(self.destinations)
        if misses >= max(enough, len(self.destinations)) and self.is_up is not False:
            self.is_up = False
            self.is_asked = False
            self.reason = reason

    def is_urgent(self):
        """Return whether this lane is about to change."""
        return self.is_up is None or (self.is_up and self.losses > 0) or (not self.is_up and self.streak > 0)


class Watched:
    """A PLAT that is asked. lanes: [management] or [management, exit]."""

    def __init__(self, prefix, targets, now_ms):
        self.prefix = prefix
        self.lanes = [Lane((management_address(prefix),), now_ms)]
        if targets:
            self.lanes.append(Lane([embed(prefix, 96, target) for target in targets], now_ms))
        self.told = (UNKNOWN, "")

    def resume(self, told):
        """Go on where it was left, with an exit that fails."""
        for lane in self.lanes:
            lane.is_up = False
            lane.reason = told[1].replace(ITS_EXIT, "")
        self.lanes[0].is_up = told[0] == MANAGEMENT
        self.told = told

    def is_silent(self):
        """Return whether nothing is known of it but a lost probe."""
        return self.told[0] == UNKNOWN and self.lanes[-1].losses > 0

    def judge(self):
        """Return (health, reason). The exit is what counts, the node itself when there is nothing else."""
        lane = self.lanes[-1]
        node = self.lanes[0]
        if lane.is_up is None:
            return (DOWN, node.reason) if node.is_up is False and lane.losses else (UNKNOWN, "")
        if lane.is_up:
            return (DOUBT if lane.is_asked or lane.losses else GOOD), ""
        if lane.streak > 0:
            return RECOVERING, lane.reason
        if node is not lane and node.is_up:
            return MANAGEMENT, ITS_EXIT + lane.reason
        return DOWN, lane.reason


class Prober:
    """All probes of all PLATs that are worth asking.

    targets  IPv4 addresses (4 bytes each) to ask through an exit; none: the management address alone decides
    random   function: number of bytes -> that many random bytes
    counts   sent, answered, refused, and what was dropped: short (or odd), foreign (another program), forged
             or too late
    """

    def __init__(self, targets, random, interval_ms=INTERVAL_MS):
        self.targets = targets
        self.random = random
        self.interval_ms = interval_ms
        self.slow_ms = interval_ms * IDLE_INTERVALS
        self.ident = struct.unpack("!H", random(2))[0]
        self.sequence = 0
        self.watched = {}  # prefix -> Watched
        self.chosen = None
        self.left = None  # the one before, which clients keep: a roaming daemon changes it for new ones only
        self.counts = {"sent": 0, "answered": 0, "refused": 0, "short": 0, "foreign": 0, "forged": 0}
        self.excused = {}  # prefixes whose "unreachable" says nothing: babeld is away and took its routes
        self._open = {}  # sequence -> [prefix, lane index, destination, cookie, sent_ms, is_lost]
        self._rushed_ms = None
        self._candidates = Candidates()
        self._forgotten = []  # prefixes of which nothing is known any more, to tell

    def watch(self, chosen, metrics, now_ms):
        """Take the present candidates (prefix -> metric) and the chosen one; ask the best few of them."""
        is_new = chosen != self.chosen
        if is_new:
            self.left, self.chosen = self.chosen, chosen
        candidates = self._candidates
        wanted = candidates.pick(self.watched, metrics, now_ms)
        for prefix in (chosen, self.left):
            if prefix in metrics and prefix not in wanted:
                wanted.append(prefix)
        for prefix in wanted:
            if prefix not in self.watched:
                self.watched[prefix] = Watched(prefix, self.targets, now_ms)
                told = candidates.pop_failed(prefix)
                if told[0] != UNKNOWN:
                    self.watched[prefix].resume(told)
        for prefix in list(self.watched):
            if prefix not in wanted and not candidates.leave(prefix, self.watched.pop(prefix), now_ms):
                self._forgotten.append(prefix)
        self._forgotten += candidates.forget(metrics, now_ms)
        if is_new and chosen in self.watched:
            for index, lane in enumerate(self.watched[chosen].lanes):
                lane.next_ms = min(lane.next_ms, now_ms + self.interval_ms // (1 + index))

    def find_spare(self, metric, metrics):
        """Return a prefix of metrics that may give way to a new one at this metric, or None."""
        return self._candidates.find_spare(metric, metrics)

    def pop_due(self, now_ms):
        """Return the probes to send now: (sequence, destination, packet)."""
        probes = []
        for watched in self.watched.values():
            for index, lane in enumerate(watched.lanes):
                if lane.next_ms <= now_ms:
                    probes.append(self._ask(watched, index, lane, now_ms))
        return probes

    def _ask(self, watched, index, lane, now_ms):
        is_in_use = watched.prefix == self.chosen or (watched.prefix == self.left and lane.is_up is not False)
        is_fast = is_in_use or self.chosen is None or lane.is_urgent()
        pause_ms = self.interval_ms if is_fast else self.slow_ms
        if index and lane.is_up is None and not lane.losses:
            pause_ms += self.interval_ms // 2  # between the other lane's probes: so trouble is noticed sooner
        lane.next_ms = now_ms + pause_ms
        self.sequence = (self.sequence + 1) & 0xFFFF
        cookie = self.random(COOKIE_BYTES)
        destination = lane.destinations[lane.turn]
        self._open[self.sequence] = [watched.prefix, index, destination, cookie, now_ms, False]
        self.counts["sent"] += 1
        return self.sequence, destination, build_echo(self.ident, self.sequence, cookie)

    def handle_packet(self, source, packet, now_ms):
        """Take an ICMPv6 message (from its type on) from an address (16 bytes). Never raises."""
        try:
            answer = parse_answer(packet, self.ident)
        except ValueError:
            self.counts["short"] += 1
            return
        if answer is None:
            self.counts["foreign"] += 1
            return
        sequence, cookie, destination, refusal = answer
        probe = self._open.get(sequence)
        if probe is None or cookie != probe[3] or (destination or source) != probe[2]:
            self.counts["forged"] += 1
        elif refusal is None:
            self._answer(sequence, now_ms)
        else:
            self.refuse(sequence, refusal, now_ms)

    def _answer(self, sequence, now_ms):
        prefix, index, _destination, _cookie, sent_ms, _is_lost = self._open.pop(sequence)
        self.counts["answered"] += 1
        watched = self.watched.get(prefix)
        if watched is not None:
            lane = watched.lanes[index]
            lane.note_answer(now_ms - sent_ms)
            if lane.is_urgent():
                lane.next_ms = min(lane.next_ms, now_ms + self.interval_ms)

    def refuse(self, sequence, why, now_ms):
        """An ICMPv6 error, or our own kernel, says that this probe does not get there."""
        prefix, index, _destination, _cookie, _sent_ms, is_lost = self._open.pop(sequence)
        self.counts["refused"] += 1
        watched = self.watched.get(prefix)
        if watched is None or is_lost or prefix in self.excused:
            return
        watched.lanes[index].note_refusal(why)
        if watched.lanes[index].is_up is not False:
            for i, lane in enumerate(watched.lanes):
                again_ms = now_ms + (self.interval_ms // 5 if i == index else 0)
                lane.next_ms = min(lane.next_ms, again_ms)
        self._trouble(watched, now_ms)

    def cancel(self, sequence):
        """This probe could not be sent, for a reason that says nothing about the PLAT."""
        self._open.pop(sequence, None)

    def _trouble(self, watched, now_ms):
        """The chosen PLAT did not answer: ask all others, which are in doubt until they answer."""
        if watched.prefix != self.chosen:
            return
        if self._rushed_ms is not None and now_ms - self._rushed_ms < self.interval_ms:
            return
        self._rushed_ms = now_ms
        for other in self.watched.values():
            if other is not watched:
                for lane in other.lanes:
                    lane.is_asked = lane.is_up is True
                    lane.next_ms = now_ms

    def pop_events(self, now_ms):
        """Give up on probes that had their time; return what is new: ("health", prefix, health, reason)."""
        for sequence in list(self._open):
            probe = self._open[sequence]
            age_ms = now_ms - probe[4]
            if not probe[5] and age_ms >= self._patience_ms(probe):
                probe[5] = True
                watched = self.watched.get(probe[0])
                if watched is not None:
                    lane = watched.lanes[probe[1]]
                    lane.note_loss()
                    if lane.is_urgent():
                        lane.next_ms = min(lane.next_ms, now_ms)
                    self._trouble(watched, now_ms)
            if age_ms >= max(OPEN_MS, 2 * self.interval_ms):
                del self._open[sequence]
        events = [("health", prefix, UNKNOWN, "") for prefix in self._forgotten]
        self._forgotten = []
        for prefix, watched in self.watched.items():
            verdict = watched.judge()
            if verdict != watched.told:
                watched.told = verdict
                events.append(("health", prefix, verdict[0], verdict[1]))
        return events

    def deadline_ms(self):
        """Return when there is something to send or to give up, or None."""
        nearest = None
        for watched in self.watched.values():
            for lane in watched.lanes:
                if nearest is None or lane.next_ms < nearest:
                    nearest = lane.next_ms
        for probe in self._open.values():
            if not probe[5]:
                due_ms = probe[4] + self._patience_ms(probe)
                if nearest is None or due_ms < nearest:
                    nearest = due_ms
        return nearest

    def _patience_ms(self, probe):
        """Return after how long a probe counts as lost: an interval, up to two where answers take long."""
        watched = self.watched.get(probe[0])
        rtt_ms = watched.lanes[probe[1]].rtt_ms if watched is not None else None
        return min(max(self.interval_ms, 2 * (rtt_ms or 0)), 2 * self.interval_ms)
