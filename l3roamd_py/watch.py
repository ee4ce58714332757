# SPDX-License-Identifier: ISC
"""What the one loop waits for: descriptors that come and go, and signals."""

import contextlib
import selectors
import signal
import socket
from collections.abc import Callable


class Watch:
    """The selector, in which a part may have another descriptor than before, or none."""

    def __init__(self) -> None:
        self.selector = selectors.DefaultSelector()
        self._descriptors: dict[str, int] = {}

    def drop(self, name: str) -> None:
        """Forget a part's descriptor: before it may be closed, for its number may soon be another's."""
        descriptor = self._descriptors.pop(name, -1)
        if descriptor >= 0:
            self.selector.unregister(descriptor)

    def add(self, name: str, descriptor: int, read: Callable[[int, float], None]) -> None:
        self.drop(name)
        if descriptor >= 0:
            self.selector.register(descriptor, selectors.EVENT_READ, read)
            self._descriptors[name] = descriptor

    def stop_on_signals(self, stop: Callable[[], None]) -> None:
        """Call stop on SIGTERM and SIGINT. A byte in a socket ends the wait, which a signal alone does not."""
        awake, self._wake = socket.socketpair()
        awake.setblocking(False)
        self._wake.setblocking(False)

        def drain(_events: int, _now: float) -> None:
            with contextlib.suppress(OSError):
                awake.recv(64)

        self.selector.register(awake, selectors.EVENT_READ, drain)
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: stop())
