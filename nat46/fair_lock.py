# SPDX-License-Identifier: ISC
"""A lock among the threads of this process that serves them in the order in which they came.

The lock between processes (target.locked) is polled. With many pollers, some threads could miss it for longer than they
wait. So only one thread of a process polls at a time.
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterator


class FairLock:
    """Queues of waiting threads, one for each key."""

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Forget all who wait: a forked child has none of them."""
        self._changed = threading.Condition()
        self._queues: dict[object, list[object]] = {}

    @contextlib.contextmanager
    def acquire(self, key: object, until_s: float) -> Iterator[bool]:
        """Hold the key's lock; yield False if it was not free until until_s (monotonic, s)."""
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


fair_lock = FairLock()
os.register_at_fork(after_in_child=fair_lock.reset)
