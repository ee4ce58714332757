# SPDX-License-Identifier: ISC
"""Which PLATs are worth asking. No I/O, no clock.

Anybody in the mesh can announce hundreds of PLATs that are none, and nearer ones than the true ones are. So the nearest
that answer are watched, and one gives way to a nearer one that answers too, never to one of which nothing is known. Of
those a few at a time are tried, and who has lost a probe makes room. They wait in a queue, where who comes, or comes
again, is behind who has had a route for longer: else false ones that come and go would be before a true one for ever.
While nothing answers, many are tried at a time. Some that fail are asked on, the others again after a while.
"""

from prefixd.choice import GOOD, INFINITY, MANAGEMENT, RECOVERING, UNKNOWN

BEST = 3  # how many that answer are watched, how many that fail, and how many are tried at a time
WIDE = 48  # how many are tried at a time while nothing answers
FORGET_MS = 60000  # after that one that failed, and is not asked any more, is one that nobody knows
ANSWERED = -1  # the place of one that has answered before: at the front
LATER = 1024  # how many places who was tried stands behind who comes then: a true one is mostly new, and not for ever


class Candidates:
    """What is remembered of PLATs that are not watched.

    failed  prefix -> (until ms, (health, reason)): not to be tried until then; UNKNOWN for one that made room
    places  prefix -> its place in the queue, or ANSWERED; kept as long as it has a route
    """

    def __init__(self):
        self.failed = {}
        self.places = {}
        self._last = 0  # place at the queue's end, which those that come together share

    def pick(self, watched, metrics):
        """Return the prefixes to watch, of metrics (prefix -> metric); watched is prefix -> Watched."""
        answering: list = []
        failing: list = []
        is_any_good = False
        for prefix, metric in metrics.items():
            health = self._health(prefix, watched)
            if health <= RECOVERING:
                is_any_good = is_any_good or health == GOOD
                _keep(answering, (metric, prefix), BEST)
            elif health >= MANAGEMENT:
                _keep(failing, (metric, prefix), BEST)
        reach = answering[-1] if len(answering) == BEST else (INFINITY, b"")
        trying: list = []
        self._last += 1
        for prefix, metric in metrics.items():
            is_due = prefix in watched or prefix not in self.failed
            if is_due and (metric, prefix) < reach and self._health(prefix, watched) == UNKNOWN:
                turn = self._turn(prefix, watched.get(prefix))
                _keep(trying, (turn, metric, prefix), BEST if is_any_good else WIDE)
        return [entry[-1] for entry in answering + failing + trying]

    def _health(self, prefix, watched):
        if prefix in watched:
            return watched[prefix].told[0]
        return self.failed[prefix][1][0] if prefix in self.failed else UNKNOWN

    def _turn(self, prefix, watched):
        """Return whose turn it is, lowest first: who waits for an answer, the queue, who has lost a probe."""
        if watched is None:
            return (1, self.places.setdefault(prefix, self._last))
        return (2, 0) if watched.is_silent() else (0, 0)

    def take_failed(self, prefix):
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
        """Drop what is out of date, or has no route any more; return the prefixes that failed and are unknown now."""
        for prefix in [p for p in self.places if p not in metrics]:
            del self.places[prefix]
        old = [p for p in self.failed if now_ms >= self.failed[p][0] or p not in metrics]
        for prefix in old:
            del self.failed[prefix]
        return old


def _keep(best, entry, most):
    """Put an entry into a sorted list of the lowest, `most` at most."""
    if len(best) < most or entry < best[-1]:
        best.append(entry)
        best.sort()
        del best[most:]
