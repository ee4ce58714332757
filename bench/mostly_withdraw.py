# SPDX-License-Identifier: ISC
"""How long hosts with a CLAT of their own go on believing in an exit that has died without a word.

`run()` returns {"mostly.withdraw_ms"}: from its last answer until PREF64 with lifetime 0 is on the link, median of
some rounds beside radvd, on MicroPython as a router has it. Needs root.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "tests" / "lab"))

from advert_lab import A, Node  # noqa: E402
from prefixd_lab import Namespaces  # noqa: E402
from waiting import wait_until  # noqa: E402

from bench import standalone_micropython  # noqa: E402

ROUNDS = 7
PAUSE_S = 13.0  # until what is said three times after a change has been said


def withdraw_ms(node):
    died_s = node.kill_exit()
    return 1000 * (wait_until(lambda: node.withdrawn(died_s), "lifetime 0")[0] - died_s)


def run(say):
    """Return the value."""
    took_ms = []
    python = " ".join(standalone_micropython.command())
    with Namespaces() as spaces, tempfile.TemporaryDirectory(prefix="mostly-bench") as folder:
        node = Node(spaces, Path(folder), python)
        node.start_radvd()
        for number in range(ROUNDS):
            begun_s = time.monotonic()
            # a new one: it has patience with an exit that comes back
            prefixd = node.start_prefixd(hosts_hook="true")
            prefixd.wait_chosen(A)
            wait_until(lambda since_s=begun_s: node.announced(since_s), "PREF64")
            time.sleep(PAUSE_S + number / ROUNDS)  # at another moment between two probes each time
            took_ms.append(withdraw_ms(node))
            node.revive_exit()
            prefixd.process.kill()
            prefixd.process.wait()
    say("withdrawn after " + ", ".join(f"{each:.0f}" for each in took_ms) + " ms")
    return {"mostly.withdraw_ms": statistics.median(took_ms)}
