# SPDX-License-Identifier: ISC
"""Choose the PLAT: the lowest babel metric wins, by a margin and after a hold time. No I/O, no clock.

Event   ("metric", prefix, metric)          babel's metric to a PLAT, INFINITY when its route is lost
        ("own", prefix, yes)                the PLAT of this very node: metric 0 and no margin, or gone
        ("health", prefix, health, reason)  what its probes say, see the constants
        ("away", yes)                       babeld is away or still learning: the metrics may be out of date
        ("tick",)                           time has passed
Action  ("use", prefix), ("stop",)          in the order in which to carry them out
        ("lost", prefix)                    this PLAT is not reachable any more, chosen or not

A PLAT whose probes fail, or whose route is lost, is left at once for the best one known to work. To change for a better
metric alone breaks open connections, hence margin and hold time. With no PLAT at all the clients are told so (stop).
They are not told while babeld is away: there is nothing better to go to, and the old one may well come back. When exits
fail but the nodes answer (MANAGEMENT), it may be the probed address that is dead and no exit at all. Then the choice
stays where it is, and goes to the first PLAT whose exit does answer.

A PLAT of which nothing is known is none to go to: anybody can announce hundreds. At the start, or when no probe can be
sent, nothing is known of anybody. Only then the nearest is taken on trust, and left for the first that answers.
"""

from xlat464.address import format_prefix6

INFINITY = 0xFFFF  # metric of a retracted route, RFC 8966 section 4.6.9
MARGIN = 64  # what a challenger must win by
HOLD_MS = 10000  # and for how long
GONE_MAX = 64  # of those whose route went, the latest
SETTLE_MS = 1000  # what a PLAT has for its first answer, before another, or none, is taken in its place

# health, best first
GOOD = 0  # probes through it are answered
DOUBT = 1  # were answered, the latest one not yet
RECOVERING = 2  # was down, answers again, not yet often enough
UNKNOWN = 3  # not probed yet
MANAGEMENT = 4  # the node answers, its exit does not
DOWN = 5  # no answer at all
HEALTH_NAMES = ("good", "in doubt", "recovering", "unknown", "exit down", "down")


class PlatChoice:
    """The candidates, the chosen one and why it is.

    metrics  prefix (16 bytes) -> metric, reachable PLATs only
    own      prefixes of this node's own PLATs, as keys
    health   prefix -> health, where it is not UNKNOWN
    gone     prefixes whose route went while probes were not answered, the latest last: babel will not find another way
    chosen   prefix or None
    why      one human phrase about the last decision; explain() is for now
    """

    def __init__(self, margin=MARGIN, hold_ms=HOLD_MS, settle_ms=SETTLE_MS):
        self.margin = margin
        self.hold_ms = hold_ms
        self.settle_ms = settle_ms
        self.metrics = {}
        self.own = {}
        self.health = {}
        self.gone = []
        self.chosen = None
        self.since_ms = None
        self.why = "waiting for babeld"
        self.is_away = True
        self.is_decided = False  # False only until the first use or stop
        self._lost_why = "its route was withdrawn"
        self._settled_ms = None  # until when the nearest PLAT is waited for
        self._ahead = {}  # challenger -> ms since when it beats the chosen one
        self._is_lowest = False  # whether the chosen one was taken for its metric alone

    def handle(self, event, now_ms):
        """Take one event at now_ms (monotonic); return its actions, often none.

        Raises ValueError for an event that the module docstring does not list: a bug of ours.
        """
        return self.handle_all((event,), now_ms)

    def handle_all(self, events, now_ms):
        """Take events that came together and decide once; return the actions."""
        lost = []
        for event in events:
            prefix = self._note(event)
            if prefix is not None:
                lost.append(("lost", prefix))
        return self._decide(now_ms) + lost

    def _note(self, event):
        """Put the event into the tables; return a prefix, not the chosen one, that it makes unreachable."""
        kind = event[0]
        if kind == "metric" and 0 <= event[2] <= INFINITY:
            return self._note_metric(event[1], event[2], event[1] in self.own)
        if kind == "own":
            prefix = event[1]
            if event[2]:
                self.own[prefix] = True
                return self._note_metric(prefix, 0, True)
            if prefix in self.own:
                del self.own[prefix]
                return self._note_metric(prefix, INFINITY, False)
        elif kind == "health" and GOOD <= event[2] <= DOWN:
            return self._note_health(event[1], event[2], event[3])
        elif kind == "away":
            self.is_away = event[1]
        elif kind != "tick":
            raise ValueError("not an event: %s" % (event,))
        return None

    def _note_metric(self, prefix, metric, is_own):
        if is_own:
            metric = 0
        if metric != INFINITY:
            self.metrics[prefix] = metric
            if prefix in self.gone:
                self.gone.remove(prefix)
            return None
        if prefix not in self.metrics:
            return None
        del self.metrics[prefix]
        if self.health.pop(prefix, UNKNOWN) not in (GOOD, UNKNOWN):
            self.gone = self.gone[1 - GONE_MAX :] + [prefix]
        if prefix == self.chosen:
            self._lost_why = "its route was withdrawn"
            return None
        return prefix

    def _note_health(self, prefix, health, reason):
        was = self.health.get(prefix, UNKNOWN)
        if health == UNKNOWN or prefix not in self.metrics:
            self.health.pop(prefix, None)
        else:
            self.health[prefix] = health
        if prefix == self.chosen and health >= MANAGEMENT:
            self._lost_why = reason
        is_lost = health == DOWN and was != DOWN and prefix in self.metrics and prefix != self.chosen
        return prefix if is_lost else None

    def explain(self):
        """Return why it is the chosen one, or why there is none, with what is so now where why compares."""
        if self.chosen is None:
            return self._describe_none() if self.is_decided else self.why
        return self._describe_lowest(self.chosen) if self._is_lowest else self.why

    def deadline_ms(self):
        """Return when a tick would change something, or None."""
        deadlines = [since_ms + self.hold_ms for since_ms in self._ahead.values()]
        if self._settled_ms is not None:
            deadlines.append(self._settled_ms)
        return min(deadlines) if deadlines else None

    def _decide(self, now_ms):
        if self.chosen is not None and self._is_usable(self.chosen):
            self._settled_ms = None
            return self._challenge(now_ms)
        self._ahead = {}
        best, previous = self._find_best(), self.chosen
        if self._is_worth_waiting(best, now_ms):
            return []
        if best is None:
            return self._do_without(now_ms)
        if self.chosen is not None:
            why = "previous one lost: " + self._lost_why
        elif best in self.own:
            why = "own PLAT"
        else:
            why = self._describe_lowest(best)
        actions = self._use(best, why, now_ms)
        self._is_lowest = previous is None and best not in self.own
        return self._leave(actions, previous)

    def _leave(self, actions, previous):
        """Return the actions and the news that the previous PLAT is lost: the new one is in use by then."""
        return actions if previous is None else actions + [("lost", previous)]

    def _is_usable(self, prefix):
        return prefix in self.metrics and self.health.get(prefix, UNKNOWN) != DOWN

    def _find_best(self):
        """Return the PLAT to take when there is none: by health, then by metric, then by prefix; or None."""
        best, key = None, (DOWN, INFINITY, b"")
        for prefix, metric in self.metrics.items():
            health = self.health.get(prefix, UNKNOWN)
            is_trusted = health != UNKNOWN or not self.health
            if health != DOWN and is_trusted and (best is None or (health, metric, prefix) < key):
                best, key = prefix, (health, metric, prefix)
        return best

    def _is_worth_waiting(self, best, now_ms):
        """Return whether one of which nothing is known may still answer, and be worth it."""
        if self._may_do_better(best):
            if self._settled_ms is None:
                self._settled_ms = now_ms + self.settle_ms
            if now_ms < self._settled_ms:
                return True
        self._settled_ms = None
        return False

    def _may_do_better(self, best):
        """At the start a nearer one might, for it must not end with a farther one; later if none has an exit."""
        if self.chosen is None:
            nearest = None
            for prefix, metric in self.metrics.items():
                if self._is_usable(prefix) and (nearest is None or (metric, prefix) < nearest):
                    nearest = (metric, prefix)
            return nearest is not None and (nearest[1] != best or self.health.get(best) != GOOD)
        if best is not None and self.health.get(best, UNKNOWN) < UNKNOWN:
            return False
        return any(prefix not in self.health for prefix in self.metrics)

    def _do_without(self, now_ms):
        """There is no PLAT that could work."""
        if self.is_away or (self.is_decided and self.chosen is None):
            return []
        self.why = self._describe_none()
        previous = self.chosen
        self.chosen, self.since_ms, self.is_decided = None, now_ms, True
        return self._leave([("stop",)], previous)

    def _challenge(self, now_ms):
        """The chosen PLAT may stay, unless another is better."""
        health = self.health.get(self.chosen, UNKNOWN)
        is_exit_down = health == MANAGEMENT
        is_left = is_exit_down or health == UNKNOWN  # for the first that answers
        rescue, key = None, (DOWN, INFINITY, b"")
        ahead = {}
        for prefix, health in self.health.items():
            if prefix == self.chosen or prefix not in self.metrics:
                continue
            rank = (health, self.metrics[prefix], prefix)
            if is_left and health in (GOOD, RECOVERING) and (rescue is None or rank < key):
                rescue, key = prefix, rank
            if health in (GOOD, MANAGEMENT if is_exit_down else GOOD) and self._is_ahead(prefix):
                ahead[prefix] = self._ahead.get(prefix, now_ms)
        self._ahead = ahead
        if rescue is not None:
            previous = self.chosen
            why = self._lost_why if is_exit_down else "it has not answered"
            return self._leave(self._use(rescue, "previous one lost: " + why, now_ms), previous)
        ripe = [prefix for prefix in ahead if now_ms - ahead[prefix] >= self.hold_ms]
        if not ripe:
            return []
        best = min(ripe, key=lambda prefix: (self.metrics[prefix], prefix))
        if best in self.own:
            return self._use(best, "own PLAT", now_ms)
        why = "metric %d beats %d for %g s" % (
            self.metrics[best],
            self.metrics[self.chosen],
            (now_ms - ahead[best]) // 1000,
        )
        return self._use(best, why, now_ms)

    def _is_ahead(self, prefix):
        if prefix in self.own:
            return self.chosen not in self.own
        mine, theirs = self.metrics[prefix], self.metrics[self.chosen]
        return mine < theirs and mine + self.margin <= theirs

    def _use(self, prefix, why, now_ms):
        self.chosen, self.since_ms, self.why, self.is_decided = prefix, now_ms, why, True
        self._settled_ms = None
        self._ahead = {}
        self._is_lowest = False
        return [("use", prefix)]

    def _describe_none(self):
        return "no PLAT answers" if self.metrics else "no PLAT has a route"

    def _describe_lowest(self, best):
        """Return why the best one is it, with the next one's metric."""
        mine, nearest, answering = self.metrics[best], INFINITY, INFINITY
        for prefix, metric in self.metrics.items():
            if prefix != best:
                nearest = min(nearest, metric)
                if self.health.get(prefix) == GOOD:
                    answering = min(answering, metric)
        if nearest == INFINITY:
            return "metric %d, the only one" % mine
        if answering < mine:
            beaten = (mine, answering, self.margin, self.hold_ms // 1000)
            return "metric %d, for %d is not better by %d for %d s" % beaten
        if nearest < mine:
            return "lowest metric that answers (%d, not %d)" % (mine, nearest)
        return "lowest metric (%d, next %d)" % (mine, nearest)


def describe_action(action):
    """Return an action for the log."""
    if action[0] == "stop":
        return "no PLAT"
    return "%s %s" % (action[0], format_prefix6(action[1], 96))
