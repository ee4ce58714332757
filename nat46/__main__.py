# SPDX-License-Identifier: ISC
"""`python -m nat46` is nat46ctl."""

import signal
import sys

from nat46.cli import main
from runtime.command import end_with


def run() -> None:
    for each in (signal.SIGTERM, signal.SIGHUP):
        if signal.getsignal(each) == signal.SIG_DFL:  # not with nohup
            signal.signal(each, lambda number, _: sys.exit(128 + number))  # an interrupted change is undone
    end_with(main)


if __name__ == "__main__":
    run()
