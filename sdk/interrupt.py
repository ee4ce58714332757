# SPDX-License-Identifier: ISC
"""Whatever asks a program to end asks it to clean up: what `with` and `finally` hold is undone, as Ctrl-C does it.

Python raises an interrupt wherever the program is, and only prints it where nobody could catch it, as in what runs when
an object goes. So it is noted as well, and who goes on for long asks from time to time.
"""

import signal
import sys
from collections.abc import Callable
from types import FrameType

INTERRUPTED = 130  # exit status
REQUESTS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
_came: list[int] = []


def handle_requests() -> None:
    """Take SIGTERM, and SIGHUP unless `nohup` stands before us, for Ctrl-C.

    And SIGINT itself: it is ignored in what a script starts with &. None of them is held back, whoever started us.
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
