# SPDX-License-Identifier: ISC
"""Which PLATs are worth asking. No I/O, no clock.

Anybody in the mesh can announce hundreds of PLATs that are none, and nearer ones than the true ones are. So the nearest
that answer are watched. One gives way to a nearer one that answers too, never to one of which nothing is known. Of
those a few at a time are tried, and who has lost a probe makes room. They wait in a queue. One that comes, or comes
again, is behind those that have had a route for longer. Otherwise false ones that come and go would be before a true
one for ever. Of those never tried it is more, the more there are; while nothing answers, many. Some that fail are asked
on, the others again after a while.

To look at all of them takes its time, and there is news of babel's many times a second. So where there are many, that
is done now and then, and what is found lasts until then.
"""

from prefixd.choice import GOOD, INFINITY, MANAGEMENT, RECOVERING, UNKNOWN

BEST = 3  # how many that answer are watched, how many that fail, and how many are tried at a time at least
WIDE = 48  # how many are tried at a time while nothing answers
SHARE = 8  # while something answers: one in so many of those that wait and were never tried, 2 * WIDE at most
FORGET_MS = 60000  # after that one that failed, and is not asked any more, is one that nobody knows
ANSWERED = -1  # the place of one that has answered before: at the front
LATER = 1024  # how many places who was tried stands behind who comes then: a true one is mostly new, and not for ever
FEW = 64  # up to so many are looked at with all news; of more, a look is followed by a ms of none for each


class Candidates:
    """What is remembered of PLATs that are not watched.

    failed  prefix -> (until ms, (health, reason)): not to be tried until then; UNKNOWN for one that made room
    places  prefix -> its place in the queue, or ANSWERED; kept as long as it has a route
    """

    def __init__(self):
        self.failed = {}
        self.places = {}
        self._last = 0  # place at the queue's end, which those that come together share
        self._look_ms = None
        self._waiting = []  # (place, metric, prefix) of those whose turn is next
        self._failing = []  # (metric, prefix) of the nearest that failed and are not watched
        self._distant = []  # (-metric, prefix) of the farthest, which nobody needs
        self._is_looked_at = False

    def pick(self, watched, metrics, now_ms):
        """Return the prefixes to watch, of metrics (prefix -> metric); watched is prefix -> Watched."""
        answering: list = []
        failing: list = []
        trying: list = []
        is_any_good = False
        for prefix, each in watched.items():
            metric = metrics.get(prefix)
            health = each.told[0]
            if metric is None:
                continue
            if health <= RECOVERING:
                is_any_good = is_any_good or health == GOOD
                _insert(answering, (metric, prefix), BEST)
            elif health >= MANAGEMENT:
                _insert(failing, (metric, prefix), BEST)
            else:  # who waits for an answer, the queue, who has lost a probe
                trying.append((2 if each.is_silent() else 0, 0, metric, prefix))
        reach = answering[-1] if len(answering) == BEST else (INFINITY, b"")
        self._is_looked_at = self._look_ms is None or now_ms >= self._look_ms
        if self._is_looked_at:
            self._sort_out(watched, metrics, reach)
            self._look_ms = now_ms + len(metrics) if len(metrics) > FEW else None
        for metric, prefix in self._failing:
            if prefix in self.failed and prefix in metrics:
                _insert(failing, (metric, prefix), BEST)
        for place, metric, prefix in self._waiting:
            if prefix in metrics and prefix not in watched and prefix not in self.failed:
                trying.append((1, place, metric, prefix))
        trying = [entry for entry in trying if entry[2:] < reach]
        trying.sort()
        new = sum(entry[0] <= self._last for entry in self._waiting)
        room = max(BEST, new // SHARE) if is_any_good else WIDE
        return [entry[-1] for entry in answering + failing + trying[:room]]

    def _sort_out(self, watched, metrics, reach):
        """Sort out all that are not watched: whose turn it is, who failed, who is too far away."""
        self._last += 1
        self._waiting, self._failing, self._distant = [], [], []
        for prefix, metric in metrics.items():
            if prefix in watched:
                continue
            if prefix in self.failed:
                if self.failed[prefix][1][0] >= MANAGEMENT:
                    _insert(self._failing, (metric, prefix), BEST)
            elif (metric, prefix) < reach:
                _insert(self._waiting, (self.places.setdefault(prefix, self._last), metric, prefix), 2 * WIDE)
            else:
                _insert(self._distant, (-metric, prefix), BEST)

    def find_spare(self, metric, metrics):
        """Return a prefix of metrics that may give way to a new one at this metric, or None."""
        for prefix in self.failed:
            if prefix in metrics:
                return prefix
        for opposite, prefix in self._distant:
            if -opposite > metric and prefix in metrics:
                return prefix
        return None

    def pop_failed(self, prefix):
        """Return (health, reason) of one that is watched again."""
        failed = self.failed.pop(prefix, None)
        return (UNKNOWN, "") if failed is None else failed[1]

    def leave(self, prefix, watched, now_ms):
        """One is not watched any more; return whether it is still to count as what it was told to be."""
        health = watched.told[0]
        if health <= RECOVERING:
            self.places[prefix] = ANSWERED
        elif health >= MANAGEMENT or watched.is_silent():  # else it had no time to answer
            self.failed[prefix] = (now_ms + FORGET_MS, watched.told)
            self.places[prefix] = self._last + LATER
        return health >= UNKNOWN

    def forget(self, metrics, now_ms):
        """Drop what is out of date, or has no route any more; return the prefixes that failed and are unknown now.

        That is a look at all of them, too.
        """
        if not self._is_looked_at:
            return []
        for prefix in [p for p in self.places if p not in metrics]:
            del self.places[prefix]
        old = [p for p in self.failed if now_ms >= self.failed[p][0] or p not in metrics]
        for prefix in old:
            del self.failed[prefix]
        return old


def _insert(best, entry, most):
    """Put an entry into a sorted list of the lowest, `most` at most."""
    if len(best) == most:
        if not entry < best[-1]:
            return
        best.pop()
    low, high = 0, len(best)
    while low < high:
        middle = (low + high) // 2
        if entry < best[middle]:
            high = middle
        else:
            low = middle + 1
    best.insert(low, entry)
