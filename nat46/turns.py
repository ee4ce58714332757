# SPDX-License-Identifier: ISC
"""Whose turn it is among the threads of this process, in the order in which they came.

The lock between processes (target.locked) is asked for again and again, so of many threads that ask some could be
without luck for longer than they wait. So one thread of a process asks at a time.
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterator


class Turns:
    """Queues of threads, each of one key."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all who wait: a forked child has none of them."""
        self._changed = threading.Condition()
        self._queues: dict[object, list[object]] = {}

    @contextlib.contextmanager
    def turn(self, key: object, until_s: float) -> Iterator[bool]:
        """Wait for one's turn; yield False if it has not come by then (monotonic, s)."""
        ticket = object()
        with self._changed:
            queue = self._queues.setdefault(key, [])
            queue.append(ticket)
        try:
            with self._changed:
                wait_s = max(0.0, until_s - time.monotonic())
                is_ours = self._changed.wait_for(lambda: queue[0] is ticket, wait_s)
            yield is_ours
        finally:
            self._leave(key, queue, ticket)

    def _leave(self, key: object, queue: list[object], ticket: object) -> None:
        with self._changed:
            queue.remove(ticket)
            if not queue:
                self._queues.pop(key, None)
            self._changed.notify_all()


turns = Turns()
os.register_at_fork(after_in_child=turns.reset)
