# SPDX-License-Identifier: ISC
"""The same work for many machines, several at a time."""

import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor, as_completed
from typing import TypeVar

from sdk.patience import SLOWER

WORKERS = 4 if SLOWER == 1 else 2  # machines that are set up at the same time
Item = TypeVar("Item")


def side_by_side(
    work: Callable[[Item], object], items: Iterable[Item], log: Callable[[str], None] = lambda sentence: None
) -> None:
    """Do the work for every item; most of it is waiting for a program to start.

    log is told every two seconds how many are done. The first failure is raised, and nothing more begun.
    """
    with ThreadPoolExecutor(WORKERS) as pool:
        try:
            begun = [pool.submit(work, item) for item in items]
            told = time.monotonic()
            for i, done in enumerate(as_completed(begun), 1):
                done.result()
                if time.monotonic() > told + 2 and i < len(begun):
                    log(f"{i} of {len(begun)} done")
                    told = time.monotonic()
        except BaseException:
            pool.shutdown(cancel_futures=True)
            raise
