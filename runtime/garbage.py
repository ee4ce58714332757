# SPDX-License-Identifier: ISC
"""When MicroPython collects garbage: while nobody waits for us, and before there is much of it.

MicroPython moves nothing in memory. If it collected garbage only when its heap is full, what stays would be scattered
over all of it, and a list that grows would find no room: so a daemon ended after 700 roams with 0.9 of 8 MiB in use.
A collection looks at all that is alive: a millisecond with 1,000 clients here, some 20 on a router. CPython counts
references, and does not come by here.
"""

import gc
import struct

from runtime import IS_MICRO
from runtime.loop import Clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.loop import Poller

# of garbage; then it is collected whoever waits. Most of it is words
MOST_BYTES = 64 * 1024 * struct.calcsize("P")
ROUNDS = 64  # of a loop, whose garbage is worth a collection
QUIET_MS = 40  # without anything to do: a handoff's next datagram would be here


class Garbage:
    """counters: collections while it was quiet, and how long the longest of them took."""

    def __init__(self) -> None:
        self.counters: dict[str, int] = {}
        self._rounds, self._clock = 0, Clock()
        if IS_MICRO:
            gc.collect()
            gc.threshold(MOST_BYTES)  # type: ignore[attr-defined]
            self.counters = {"collections": 0, "collection_longest_ms": 0}

    def ready(self, poller: "Poller", timeout_ms: int) -> "list[int]":
        """What poller.ready returns; garbage is collected if nothing happens meanwhile."""
        if not IS_MICRO:
            return poller.ready(timeout_ms)
        self._rounds += 1
        if self._rounds < ROUNDS or timeout_ms <= QUIET_MS:
            return poller.ready(timeout_ms)
        found = poller.ready(QUIET_MS)
        if found:
            return found
        begun_ms = self._clock.now_ms()
        gc.collect()
        took_ms, self._rounds = self._clock.now_ms() - begun_ms, 0
        counters = self.counters
        counters["collections"] += 1
        counters["collection_longest_ms"] = max(counters["collection_longest_ms"], took_ms)
        return poller.ready(max(0, timeout_ms - QUIET_MS - took_ms))
