# SPDX-License-Identifier: ISC
"""Whatever asks a program to end asks it to clean up: what `with` and `finally` hold is undone, as Ctrl-C does it."""

import signal


def heed() -> None:
    """Take SIGTERM, and SIGHUP unless `nohup` stands before us, for Ctrl-C.

    And SIGINT itself: it is ignored in what a script starts with &.
    """
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        if number != signal.SIGHUP or signal.getsignal(number) != signal.SIG_IGN:
            signal.signal(number, signal.default_int_handler)
