# SPDX-License-Identifier: ISC
"""What a daemon's one loop is made of: clocks, `poll` with a function for each socket, and signals that end it."""

import select
import socket
import time

from runtime import IS_MICRO
from runtime.sockets import receive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Protocol

    class HasDescriptor(Protocol):
        def fileno(self) -> int: ...


POLLIN, POLLOUT = select.POLLIN, select.POLLOUT


class Clock:
    """Milliseconds that only grow. MicroPython's own wrap around, after 12 days on a 32-bit router."""

    def __init__(self) -> None:
        self._total_ms = 0
        self._last = time.ticks_ms() if IS_MICRO else 0  # type: ignore[attr-defined]

    def now_ms(self) -> int:
        if not IS_MICRO:
            return int(time.monotonic() * 1000)
        ticks: int = time.ticks_ms()  # type: ignore[attr-defined]
        self._total_ms += time.ticks_diff(ticks, self._last)  # type: ignore[attr-defined]
        self._last = ticks
        return self._total_ms


if not TYPE_CHECKING and IS_MICRO:

    class BootClock:
        """Seconds since the boot. The time that a node slept before our start counts, sleep since then does not."""

        def __init__(self) -> None:
            with open("/proc/uptime") as file:
                self._now_ms = int(float(file.read().split()[0]) * 1000)
            self._last = time.ticks_ms()

        def now_s(self) -> float:
            # as Clock, in one function: it is called several times in each round of a loop
            ticks = time.ticks_ms()
            self._now_ms += time.ticks_diff(ticks, self._last)
            self._last = ticks
            return self._now_ms / 1000

else:

    class BootClock:
        """Seconds since the boot, time asleep included: leases go on while a node sleeps."""

        def now_s(self) -> float:
            return time.clock_gettime(time.CLOCK_BOOTTIME)


class Poller:
    """select.poll with callbacks: `add` a socket and the function to call when it is ready."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._callbacks: "dict[int, Callable[[], object]]" = {}  # by file descriptor

    def add(self, sock: "HasDescriptor", callback: "Callable[[], object]", events: int = POLLIN) -> None:
        number = sock.fileno()
        self._callbacks[number] = callback
        self._poll.register(number, events)

    def change(self, sock: "HasDescriptor", events: int) -> None:
        self._poll.modify(sock.fileno(), events)

    def forget(self, sock: "HasDescriptor") -> None:
        """Do not wait for a socket any more: before it is closed, for its number may soon be another's."""
        number = sock.fileno()
        if self._callbacks.pop(number, None) is not None:
            self._poll.unregister(number)

    def close(self, sock: "socket.socket") -> None:
        """Forget the socket and close it."""
        self.forget(sock)
        sock.close()

    def ready(self, timeout_ms: int) -> "list[int]":
        """Wait for at most so long; return the descriptors that are ready."""
        return [entry[0] for entry in self._poll.poll(timeout_ms)]

    def call(self, descriptor: int) -> None:
        """Call who waits for a descriptor: nobody any more, when another call of this round closed it."""
        callback = self._callbacks.get(descriptor)
        if callback is not None:
            callback()

    def wait(self, timeout_ms: int) -> None:
        """Wait for at most so long and call who is ready."""
        for descriptor in self.ready(timeout_ms):
            self.call(descriptor)

    def stop_on_signals(self, stop: "Callable[[], None]") -> None:
        """Call stop on SIGTERM and SIGINT, and end the wait, which a signal alone does not.

        MicroPython has no signals.
        """
        try:
            import signal
        except ImportError:
            return
        awake, self._wake = socket.socketpair()
        for each in (awake, self._wake):
            each.setblocking(False)
        self.add(awake, lambda: receive(awake))
        signal.set_wakeup_fd(self._wake.fileno(), warn_on_full_buffer=False)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, lambda _number, _frame: stop())
