# SPDX-License-Identifier: ISC
"""When MicroPython collects garbage: while nobody waits for us, and before there is much of it.

MicroPython moves nothing in memory. If it collected garbage only when its heap is full, what stays would be scattered
over all of it, and a list that grows would find no room: so a daemon ended after 700 roams with 0.9 of 8 MiB in use.
A collection looks at all that is alive: a millisecond with 1,000 clients here, some 20 on a router. CPython counts
references, and does not come by here.

Room is looked for from where the last single block was found, after a collection from the heap's start. What stays has
left holes there, most of them too small for what is made: all of them would be looked through each time, until the
smallest things have filled them, and that takes more instructions than all the rest. So in each round of a loop they
are filled at once, up to a room for many things. What is made then and stays makes holes there. So this is done in the
lower half of the heap; where more is alive, holes are left to what fits.
"""

import gc
import struct

from runtime import IS_MICRO
from runtime.loop import Clock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from runtime.loop import Poller

WORD_BYTES = struct.calcsize("P")
MOST_BYTES = 64 * 1024 * WORD_BYTES  # of garbage; then it is collected whoever waits. Most of it is words
ROUNDS = 64  # of a loop, whose garbage is worth a collection,
USED_BYTES = 2 * MOST_BYTES  # and so is this, where room is looked for; or more where there is much room,
USED_MOST_BYTES = 3 * USED_BYTES  # up to this
STEP_BYTES = USED_BYTES // 4  # most of one round
ROUNDS_A_ROOM = 4  # before room is looked for again
ROOM_WORDS = 256  # of the room that is looked for
NEAR_BYTES = ROOM_WORDS * WORD_BYTES * 4  # holes over which it is not far
ITEMS_AT = 3  # of a list in memory: type, length of what is allocated, length, items (py/objlist.h)
HOLES = bytes(16)  # at a time; their sum takes as many numbers with a point, of one block (4 words) each
QUIET_MS = 40  # without anything to do: a handoff's next datagram would be here


class Garbage:
    """counters: collections while it was quiet, and how long the longest of them took."""

    def __init__(self) -> None:
        self.counters: dict[str, int] = {}
        self._clock = Clock()
        self._here = self._rounds = 0  # where room was found
        self._used_bytes = self._filled_bytes = 0  # since the last collection: by others, and to fill holes
        self._worth_bytes = USED_BYTES
        self._has_room = False
        if IS_MICRO:
            self.counters = {"collections": 0, "collection_longest_ms": 0}
            gc.collect()
            heap_bytes = gc.mem_alloc() + gc.mem_free()  # type: ignore[attr-defined]
            self._highest = id([]) + heap_bytes // 2  # where room is looked for
            self._find_room()

    def ready(self, poller: "Poller", timeout_ms: int) -> "list[int]":
        """What poller.ready returns; garbage is collected if nothing happens meanwhile, or if there is much of it."""
        if IS_MICRO and self._is_due():
            if self._used_bytes < self._worth_bytes + USED_BYTES:
                if timeout_ms <= QUIET_MS:
                    return poller.ready(timeout_ms)
                found = poller.ready(QUIET_MS)
                if found:
                    return found
                timeout_ms -= QUIET_MS
            timeout_ms = max(0, timeout_ms - self._collect_timed())
        return poller.ready(timeout_ms)

    def _collect_timed(self) -> int:
        """Collect, and return how many milliseconds it took."""
        begun_ms, counters = self._clock.now_ms(), self.counters
        self._collect()
        took_ms = self._clock.now_ms() - begun_ms
        counters["collections"] += 1
        counters["collection_longest_ms"] = max(counters["collection_longest_ms"], took_ms)
        return took_ms

    # Functions with more than a few variables have them on the heap; what such a function gives back when it ends would
    # be where room is looked for next. So there is none of them from here to the loop.

    def _is_due(self) -> bool:
        """Find room again, and return whether garbage is worth a collection."""
        self._rounds += 1
        if not self._has_room:
            return self._rounds >= ROUNDS
        if self._rounds % ROUNDS_A_ROOM:
            return self._used_bytes >= self._worth_bytes
        before = self._here
        self._find_room()
        step_bytes = self._here - before
        if step_bytes < -USED_BYTES:
            self._used_bytes = self._filled_bytes = 0  # there was a collection
        elif step_bytes > 0:
            self._used_bytes += min(step_bytes, STEP_BYTES)
        return self._used_bytes >= self._worth_bytes

    def _collect(self) -> None:
        gc.collect()
        self._used_bytes = self._filled_bytes = self._rounds = 0
        self._find_room()
        self._worth_bytes = min(USED_MOST_BYTES, max(USED_BYTES, (self._highest - self._here) // 4 * 3))

    def _find_room(self) -> None:
        """Have all that is made next lie in the first room that there is."""
        gc.threshold(-1)  # type: ignore[attr-defined]
        room = take_room()
        self._here = address_of_items(room) if room else self._highest
        self._has_room = self._here < self._highest
        if self._has_room and self._here - id([]) > NEAR_BYTES:
            self._filled_bytes += fill_holes(self._here)
        elif not self._has_room:
            self._used_bytes = 0
        most_bytes = 4 * USED_BYTES if self._has_room else MOST_BYTES
        gc.threshold(most_bytes + self._filled_bytes)  # type: ignore[attr-defined]
        room.clear()  # which gives the room back


def take_room() -> "list[None]":
    """Return a list of the room's size; an empty one if there is none."""
    try:
        return [None] * ROOM_WORDS
    except MemoryError:
        return []


def fill_holes(end: int) -> int:
    """Have all that is made next lie behind an address; return how many bytes that took."""
    filled_bytes = ROOM_WORDS * WORD_BYTES
    while id([]) < end:
        sum(HOLES, 0.0)
        filled_bytes += 4 * WORD_BYTES * len(HOLES)
    return filled_bytes


if IS_MICRO:
    import uctypes  # type: ignore[import-not-found]

    def address_of_items(of: "list[None]") -> int:
        """Return where the items of a list of MicroPython are."""
        described = uctypes.bytearray_at(id(of), (ITEMS_AT + 1) * WORD_BYTES)
        address: int = struct.unpack_from("P", described, ITEMS_AT * WORD_BYTES)[0]
        return address

else:

    def address_of_items(of: "list[None]") -> int:
        return 0
