# SPDX-License-Identifier: ISC
"""The roaming daemon on MicroPython with its collections timed; started as it is, it writes the longest to LONGEST.

MicroPython collects when so much was allocated, whatever it does then. This one collects at the end of rounds of its
loop as well, where the time can be taken: a collection walks all that is alive, wherever it happens.
"""

import gc
import sys
from time import ticks_diff, ticks_us  # type: ignore[attr-defined]

from l3roamd_py import daemon
from l3roamd_py.cli import main

LONGEST = "/run/longest_collection_us"
PAUSE_US = 100_000


Untimed = daemon.Daemon


class Daemon(Untimed):
    longest_us, last_us = 0, 0

    def step(self):
        Untimed.step(self)
        begun_us = ticks_us()
        if abs(ticks_diff(begun_us, self.last_us)) < PAUSE_US:
            return
        gc.collect()
        self.last_us = ticks_us()
        took_us = ticks_diff(self.last_us, begun_us)
        if took_us > self.longest_us:
            self.longest_us = took_us
            with open(LONGEST, "w") as file:
                file.write(str(took_us))


daemon.Daemon = Daemon  # type: ignore[misc]
sys.exit(main())
