# SPDX-License-Identifier: ISC
"""How many instructions the roaming core needs, on either Python: a slower processor has as many, under any load.

Counted by callgrind as the difference of two runs, so that starting an interpreter is not in it. A handoff is what the
cores of all three nodes do for it, in the mesh of the tests' cases: no kernel, no socket. An event is a neighbour entry
that the kernel tells of and that changes nothing, from netlink's bytes on.
"""

import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from sdk.debian.micropython import PROGRAM

ROOT = Path(__file__).resolve().parent.parent
LIMIT_S = 600
HANDOFFS, EVENTS = 20, 500
KEYS = (
    ("minstr_handoff", "M", "instructions of a handoff, of the cores of all three nodes, millions"),
    ("kinstr_event", "k", "instructions of a neighbour event that changes nothing, thousands"),
)
CODE = """
import sys
sys.path.insert(0, "tests/unit")
sys.path.insert(0, ".")
from l3roamd_core_cases import MAC, served
import l3roamd_vectors as vectors
from l3roamd_py.core import events
from l3roamd_py.kernel.finding import Finder
from l3roamd_py.kernel.netlink import NEW_NEIGHBOUR, STALE, neighbour_header
from runtime.netlink import attribute

mesh = served()
mesh.handle("d", events.AddressSeen(MAC, vectors.V6))
finder = Finder(None)
finder.client_index = 7
told = neighbour_header(10, 7, STALE) + attribute(1, vectors.V6) + attribute(2, MAC)
for i in range(ROUNDS):
    if WALKS:
        mesh.walk("bd"[i % 2])
    mesh.run(50)
for i in range(EVENTS):
    for event in finder._understand(NEW_NEIGHBOUR, told):
        mesh.handle("d", event)
"""


def count(python: list[str], rounds: int, is_walking: bool, events: int) -> int:
    """The instructions of one run. Raises RuntimeError if it fails."""
    code = (
        CODE.replace("ROUNDS", str(rounds)).replace("WALKS", str(is_walking)).replace("EVENTS", str(events))
    )
    words = ["valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null", *python, "-c", code]
    done = subprocess.run(words, capture_output=True, text=True, cwd=ROOT, timeout=LIMIT_S)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or found is None:
        raise RuntimeError(f"no instructions of {python[0]}: {done.stderr[-500:]}")
    return int(found[1])


def measure(python: list[str]) -> tuple[float, float]:
    """Millions of instructions of a handoff, thousands of an event."""
    idle = count(python, HANDOFFS, False, 0)
    handoff = (count(python, HANDOFFS, True, 0) - idle) / HANDOFFS / 1e6
    event = (count(python, HANDOFFS, False, EVENTS) - idle) / EVENTS / 1e3
    return round(handoff, 3), round(event, 1)


def run(say: Callable[[str], None]) -> dict[str, float]:
    """The keys of what is counted; of MicroPython only where there is one."""
    if shutil.which("valgrind") is None:
        say("instructions are not counted: there is no valgrind")
        return {}
    pythons = {"cpython": [sys.executable]}
    if PROGRAM.exists():
        pythons["micropython"] = [str(PROGRAM)]
    else:
        say("no MicroPython: make oldest-micropython")
    results: dict[str, float] = {}
    for name, python in pythons.items():
        handoff, event = measure(python)
        results |= {
            f"roam.{name}_{key}": value for (key, _, _), value in zip(KEYS, (handoff, event), strict=True)
        }
    return results


if __name__ == "__main__":
    for key, value in run(lambda line: print(line, file=sys.stderr)).items():
        print(key, value)
