# SPDX-License-Identifier: ISC
"""Every signal that ends a program lets it clean up: `with` and `finally` run, as with Ctrl-C.

Python raises an interrupt anywhere in the program. In a destructor it is only printed, since no code could catch it. So
it is noted as well, and code that runs for long calls raise_missed from time to time.
"""

import signal
import sys
from collections.abc import Callable
from types import FrameType

INTERRUPTED = 130  # exit status
REQUESTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_came: list[int] = []


def handle_requests() -> None:
    """Treat SIGTERM as Ctrl-C, and SIGHUP too unless we run under `nohup`.

    SIGINT is set as well, since a script's `&` makes programs ignore it. All are unblocked, whatever we inherited.
    """
    for number in REQUESTS:
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, interrupt)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, REQUESTS)


def interrupt(number: int, frame: FrameType | None) -> None:
    _came.append(number)
    raise KeyboardInterrupt


def raise_missed() -> None:
    """Raise an interrupt that came since handle_requests() and may have been lost. Not for what cleans up after one."""
    if _came:
        raise KeyboardInterrupt


def run_program(name: str, main: Callable[[], int]) -> int:
    """Run a program to its end and return its exit status; one that is asked to end says so in a sentence."""
    handle_requests()
    try:
        return main()
    except KeyboardInterrupt:
        print(f"{name}: interrupted", file=sys.stderr)
        return INTERRUPTED
