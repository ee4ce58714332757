# SPDX-License-Identifier: ISC
"""The same work for many machines, several at a time.

An interrupt may be raised between any two steps of the main thread, even between taking a lock and noting that it must
be released. Inside the pool's own code that would block it for ever. So interrupts are deferred while the pool takes
its work. After that the main thread waits where it holds no lock of Python's.
"""

import signal
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from queue import SimpleQueue
from typing import TypeVar

from sdk.interrupt import REQUESTS, raise_missed
from sdk.timeouts import TIMEOUT_SCALE

WORKERS = 4 if TIMEOUT_SCALE == 1 else 2  # machines that are set up at the same time
Item = TypeVar("Item")


def side_by_side(
    work: Callable[[Item], object], items: Iterable[Item], log: Callable[[str], None] = lambda sentence: None
) -> None:
    """Do the work for every item; most of it is waiting for a program to start.

    log is told every two seconds how many are done. The first failure is raised, and nothing more begun.
    """
    ended: SimpleQueue[BaseException | None] = SimpleQueue()
    waiting, begun, over = list(items), list[Item](), list[Item]()

    def do(item: Item) -> None:
        failure: BaseException | None = None
        begun.append(item)
        try:
            work(item)
        except BaseException as error:
            failure = error
        over.append(item)
        ended.put(failure)

    pool = ThreadPoolExecutor(WORKERS)
    try:
        with interrupts_deferred():
            for item in waiting:
                pool.submit(do, item)
        told = time.monotonic()
        for i in range(1, len(waiting) + 1):
            if (error := ended.get()) is not None:
                raise error
            raise_missed()
            if time.monotonic() > told + 2 and i < len(waiting):
                log(f"{i} of {len(waiting)} done")
                told = time.monotonic()
    finally:
        with interrupts_deferred():
            pool.shutdown(wait=False, cancel_futures=True)
        while len(over) < len(begun):
            time.sleep(0.01)
        with interrupts_deferred():
            pool.shutdown()


@contextmanager
def interrupts_deferred() -> Iterator[None]:
    """Keep what would interrupt this process until the end."""
    if threading.current_thread() is not threading.main_thread():
        yield  # interrupts are the main thread's
        return
    came: list[int] = []
    heeded = {number: signal.getsignal(number) for number in REQUESTS}
    heeded = {number: handler for number, handler in heeded.items() if callable(handler)}
    try:
        for number in heeded:
            signal.signal(number, lambda number, frame: came.append(number))
        yield
    finally:
        for number, handler in heeded.items():
            signal.signal(number, handler)
        for one in came:
            signal.raise_signal(one)
