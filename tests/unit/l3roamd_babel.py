# SPDX-License-Identifier: ISC
"""What babel has told each node of a simulated mesh: worked out when it is asked for, as a thousand hear all of it."""

from dataclasses import dataclass

LEAST = 0.2  # of the time that babel takes to tell all nodes


@dataclass
class Change:
    """A node has begun or ceased to announce an address. number: one of its own, for chance."""

    at_s: float
    convergence_s: float
    is_there: bool
    number: int


class Babel:
    """Nodes are numbers. What a node was told last is what was true then: an update may overtake another."""

    def __init__(self, seed: int) -> None:
        self._seed, self._count = seed, 0
        self._changes: dict[bytes, dict[int, list[Change]]] = {}  # address -> by whom -> what
        self._forgotten_s = -1.0
        self._misled: dict[tuple[int, bytes], tuple[float, set[int]]] = {}

    def announce(
        self, address: bytes, number: int, is_there: bool, now_s: float, convergence_s: float
    ) -> None:
        serving = self._changes.setdefault(address, {})
        changes = serving.setdefault(number, [])
        self._count += 1
        changes.append(Change(now_s, convergence_s, is_there, self._count))
        self._drop_known(address, now_s)

    def _drop_known(self, address: bytes, now_s: float) -> None:
        """Leave out what all have heard of and is not true any more."""
        serving = self._changes[address]
        for number, changes in list(serving.items()):
            while len(changes) > 1 and changes[1].at_s + changes[1].convergence_s < now_s:
                del changes[0]
            last = changes[-1]
            if len(changes) == 1 and not last.is_there and last.at_s + last.convergence_s < now_s:
                del serving[number]
        if not serving:
            del self._changes[address]

    def told(self, observer: int, address: bytes, now_s: float) -> set[int]:
        """Return who has an address, as far as a node knows."""
        since_s, known = self._misled.get((observer, address), (-1.0, set()))
        if since_s < self._forgotten_s:
            since_s, known = self._forgotten_s, set()
        found = set(known)
        for number, changes in self._changes.get(address, {}).items():
            told_s = -1.0
            for change in changes:
                arrival_s = self._arrival_s(change, observer)
                if told_s < arrival_s <= now_s:
                    told_s = arrival_s
            if number != observer and told_s > since_s:
                is_there = [change.is_there for change in changes if change.at_s <= told_s][-1]
                (found.add if is_there else found.discard)(number)
        return found

    def _arrival_s(self, change: Change, observer: int) -> float:
        chance = hash((self._seed, observer, change.number)) % 65536 / 65536
        return change.at_s + change.convergence_s * (LEAST + (1 - LEAST) * chance)

    def addresses(self, observer: int, now_s: float) -> set[bytes]:
        """Return the addresses to which a node has a route."""
        known = {*self._changes, *(address for number, address in self._misled if number == observer)}
        return {address for address in known if self.told(observer, address, now_s)}

    # What else may happen to a table of routes

    def forget(self, now_s: float) -> None:
        """No node has a route any more, until it is told anew."""
        self._forgotten_s = now_s

    def mislead(self, observer: int, address: bytes, holder: int, now_s: float) -> None:
        """A node believes that another one has an address, until it is told otherwise."""
        self._misled[observer, address] = (now_s, {holder})

    def lose(self, holder: int) -> None:
        """All know that a node announces nothing."""
        for serving in self._changes.values():
            serving.pop(holder, None)
