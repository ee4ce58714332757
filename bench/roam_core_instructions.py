# SPDX-License-Identifier: ISC
"""How many instructions the roaming core alone needs for what roam_instructions.py counts of whole daemons.

Counted by callgrind as the difference of two runs, so that starting an interpreter is not in it. A handoff is what the
cores of all three nodes do for it, in the mesh of the tests' cases: no kernel, no socket. An event is a neighbour entry
that the kernel tells of and that changes nothing, from netlink's bytes on.
"""

import re

from bench.roam_interpreters import Interpreter

LIMIT_S = 600
HANDOFFS, EVENTS = 20, 500
KEYS = (
    ("core_minstr", "M", "instructions of a handoff, of the cores alone of all three nodes, millions"),
    (
        "core_kinstr_event",
        "k",
        "instructions of a neighbour event that changes nothing in the core, thousands",
    ),
)
CODE = """
import sys
sys.path.insert(0, "tests/unit")
sys.path.insert(0, ".")
from l3roamd_core_cases import MAC, served
import l3roamd_vectors as vectors
from l3roamd_py.core import events
from l3roamd_py.kernel.finder import Finder
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


def count(interpreter: Interpreter, rounds: int, is_walking: bool, events: int) -> int:
    """The instructions of one run. Raises RuntimeError if it fails."""
    code = (
        CODE.replace("ROUNDS", str(rounds)).replace("WALKS", str(is_walking)).replace("EVENTS", str(events))
    )
    valgrind = ("valgrind", "--tool=callgrind", "--callgrind-out-file=/dev/null")
    done = interpreter.run(["-c", code], LIMIT_S, valgrind)
    found = re.search(r"Collected : (\d+)", done.stderr)
    if done.returncode or found is None:
        raise RuntimeError(f"no instructions of {interpreter.words[0]}: {done.stderr[-500:]}")
    return int(found[1])


def measure(interpreter: Interpreter) -> dict[str, float]:
    """The keys of one interpreter."""
    idle = count(interpreter, HANDOFFS, False, 0)
    handoff = (count(interpreter, HANDOFFS, True, 0) - idle) / HANDOFFS / 1e6
    event = (count(interpreter, HANDOFFS, False, EVENTS) - idle) / EVENTS / 1e3
    values = (round(handoff, 3), round(event, 1))
    return {f"roam.{interpreter.prefix}{key}": value for (key, *_), value in zip(KEYS, values, strict=True)}
