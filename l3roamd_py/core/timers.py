# SPDX-License-Identifier: ISC
"""Many deadlines, each under a key: setting one again moves it; and when they have surely passed. No clock."""

import heapq

from runtime.ordered import GoneKeys

EVERY = 1 << 28  # key

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Hashable
    from typing import Generic, TypeVar

    K = TypeVar("K", bound=Hashable)
else:
    K, Generic = None, {None: object}  # the base class is an ordinary one where nobody checks types


class Timers(Generic[K]):
    """A heap in which overtaken entries stay until they come up, or until they are the most of it."""

    SLACK = 64

    def __init__(self) -> None:
        self._due: dict[K, float] = {}
        self._heap: list[tuple[float, int, K]] = []
        self._count = 0
        self._next_s: float | None = None
        self._is_next_known = True  # it is asked for several times in each round of a loop
        self._gone = GoneKeys(self._due)

    def __len__(self) -> int:
        return len(self._due)

    def __contains__(self, key: K) -> bool:
        return key in self._due

    def set(self, key: K, at_s: float) -> None:
        self._due[key] = at_s
        self._is_next_known = False
        self._count += 1  # settles ties in order, so that keys need not be comparable
        heapq.heappush(self._heap, (at_s, self._count, key))
        if len(self._heap) > 2 * len(self._due) + self.SLACK:
            self._heap = [entry for entry in self._heap if self._due.get(entry[2]) == entry[0]]
            heapq.heapify(self._heap)

    def due_s(self, key: K, otherwise: float) -> float:
        """When a key is due; otherwise: if it is not set."""
        return self._due.get(key, otherwise)

    def cancel(self, key: K) -> None:
        self._due.pop(key, None)
        self._is_next_known = False
        self._gone.note()  # one that comes due is mostly set again

    @property
    def next_s(self) -> float | None:
        """When the next one is due, None if there is none."""
        if not self._is_next_known:
            while self._heap and self._due.get(self._heap[0][2]) != self._heap[0][0]:
                heapq.heappop(self._heap)
            self._next_s, self._is_next_known = self._heap[0][0] if self._heap else None, True
        return self._next_s

    def pop_due(self, now_s: float, most: int = EVERY) -> list[K]:
        """Take out the keys that are due, so many of them at most, in the order of their deadlines."""
        keys: list[K] = []
        while len(keys) < most and (next_s := self.next_s) is not None and next_s <= now_s:
            key = heapq.heappop(self._heap)[2]
            del self._due[key]
            self._is_next_known = False
            keys.append(key)
        return keys


class Silence:
    """Whether what has not been heard by its deadline may be here unread.

    After we had no processor for a while more may wait than one round reads. A flood must not stop time either.
    """

    LATE_S = 0.05  # a deadline that passed so long ago: we had none
    ROUNDS = 8  # that are then spent on reading, all else waiting

    def __init__(self) -> None:
        self._rounds = 0

    def is_unsure(self, deadline_s: float | None, polled_s: float, is_reading: bool) -> bool:
        """Return whether to read on, after a round that read answers, or none, at polled_s."""
        is_late = deadline_s is not None and deadline_s <= polled_s - self.LATE_S
        self._rounds = self._rounds + 1 if is_late and is_reading else 0
        return 0 < self._rounds < self.ROUNDS
