# SPDX-License-Identifier: ISC
"""How many instructions a handoff and an event cost a node: a slower processor has as many, under any load.

Real daemons of a lab run under callgrind. A client walks between two nodes that are not its first: A served it last, B
serves it now, C is its platnode. Everything is counted that a daemon and the programs that it starts do until the
client walks again. What they do in that time without a walk is subtracted. The kernel is not counted.

An event is a neighbour entry that the kernel tells of and that changes nothing, one at a time.
roam_core_instructions.py counts the core alone.
"""

import json
import re
import shutil
import statistics
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import roam_core_instructions
from bench.roam_interpreters import CPYTHON, Interpreter, daemons_run_on, there, ways
from sdk.lab import Lab, LabError
from sdk.lab.machine import Machines
from sdk.lab.topology_reader import parse_topology
from sdk.roaming import echo_traffic, evaluate
from xlat464.address import format_mac

NODES = ("home", "one", "two", "exit")
MESH = "\n".join(
    [
        *(f'[nodes.{name}]\nrole = "clat"' for name in NODES[:3]),
        '[nodes.exit]\nrole = "plat"',
        *(f'[[links]]\nbetween = ["{a}", "{b}"]' for a in NODES for b in NODES if a < b),
        '[clients.phone]\nnode = "home"',
    ]
)
WARM_UP, WALKS, ROUNDS, EVENTS = 4, 16, 5, 50
STAY_S, EVENT_S = 2.0, 0.02
SETTLE_S = 10.0
PREFIX, ADDRESS = "fd11::/64", "fd11::464"
SOCKET = "/run/l3roamd.sock"
KEYS = (
    ("minstr_a", "M", "instructions of a handoff at the node that is left, millions", 3, 15),
    ("minstr_b", "M", "the same at the node that serves from now on", 3, 15),
    ("minstr_c", "M", "the same at the platnode", 3, 15),
    ("kinstr_event", "k", "instructions of a neighbour event that changes nothing, thousands", 100, 100),
)


def goals(interpreter: Interpreter, rules: str, on: str) -> list[tuple[str, str, str, float]]:
    """The keys with unit, meaning, and the most that is promised."""
    place = 0 if interpreter == CPYTHON else 1
    return [
        (interpreter.keys(rules) + key, unit, f"{on}: {meaning}", most[place])
        for key, unit, meaning, *most in KEYS
    ]


class Counter:
    """Reads how many instructions each node's daemon has executed since it was read the last time."""

    def __init__(self, machines: Machines, folder: Path) -> None:
        self.machines, self.folder = machines, folder
        self.pids = {node: self.inner_pid(node) for node in NODES}

    def inner_pid(self, node: str) -> str:
        """The daemon's process id as its own lab sees it."""
        pids = self.machines.daemons()[node]["l3roamd"]
        told = {pid: Path(f"/proc/{pid}/status").read_text() for pid in pids}
        parents = {pid: re.search(r"^PPid:\s+(\d+)", text, re.M) for pid, text in told.items()}
        # others are programs that it has started, some of which have outlived the shell that they were started by
        own = min((pid for pid, found in parents.items() if found and int(found[1]) not in pids), key=started)
        numbers = re.search(r"^NSpid:\s+(.*)$", told[own], re.M)
        assert numbers is not None
        return numbers[1].split()[-1]

    def read(self) -> dict[str, int]:
        return {node: self.read_node(node) for node in NODES}

    def read_node(self, node: str) -> int:
        self.machines.exec(node, ["vgdb", f"--pid={self.pids[node]}", "dump"])
        counted = 0
        for file in self.folder.glob(f"{node}.*"):
            found = re.search(r"^(?:totals|summary): (\d+)$", file.read_text(), re.M)
            if found is not None:  # else a program that has not ended yet
                counted += int(found[1])
                file.unlink()
        return counted


def started(pid: int) -> int:
    """When a process began, in ticks since the boot: proc(5), field 22 of its stat."""
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])


def handoffs(lab: Lab, counter: Counter) -> dict[str, float]:
    """Return the instructions of a handoff, in the median, at A, B and C."""
    counter.read()
    time.sleep(STAY_S * WALKS / 2)
    idle = {node: count * 2 / WALKS for node, count in counter.read().items()}
    counts: dict[str, list[float]] = {"a": [], "b": [], "c": []}
    for walk in range(WARM_UP + WALKS):
        left, serves = ("one", "two") if walk % 2 else ("two", "one")
        lab.roam("phone", serves, hard=True)
        time.sleep(STAY_S)
        found = counter.read()
        if walk >= WARM_UP:
            for role, node in (("a", left), ("b", serves), ("c", "exit")):
                counts[role].append(found[node] - idle[node])
    return {role: statistics.median(values) for role, values in counts.items()}


def event(lab: Lab, counter: Counter, node: str) -> float:
    """Return the instructions of a neighbour event of an address that the daemon knows, in the median of rounds."""
    mac = format_mac(lab.client("phone").mac)
    lab.running.ask(node, SOCKET, f"add_prefix {PREFIX}")
    counted: dict[bool, list[int]] = {False: [], True: []}
    with lab.popen(node, ["ip", "-batch", "-"], stdin=subprocess.PIPE, text=True) as told:
        assert told.stdin
        for turn in range(2 + 2 * ROUNDS):
            counter.read_node(node)
            for i in range(EVENTS):
                if turn % 2:
                    state = ("stale", "reachable")[i % 2]
                    told.stdin.write(f"neigh replace {ADDRESS} lladdr {mac} dev br-client nud {state}\n")
                    told.stdin.flush()
                time.sleep(EVENT_S)
            if turn >= 2:  # the first ones change something
                counted[bool(turn % 2)].append(counter.read_node(node))
    return (statistics.median(counted[True]) - statistics.median(counted[False])) / EVENTS


def measure(say: Callable[[str], None], rules: str, folder: Path) -> dict[str, float]:
    """The keys' values, in their order, of the daemons that labs run now."""
    topology = parse_topology(f'[lab]\nrules = "{rules}"\n{MESH}', "the bench's mesh")
    with Lab(topology, name="bench-" + folder.name[-8:], log=say) as lab:
        lab.wait_ready()
        time.sleep(SETTLE_S)
        counter = Counter(lab.running, folder)
        with echo_traffic(lab, "phone", 1, 200, 50) as talking:
            roles = handoffs(lab, counter)
            found = evaluate(talking.end(), [])
        if found.broken:
            raise LabError(f"the connection was lost: {found.broken[0]}")
        return {
            **{f"minstr_{role}": round(value / 1e6, 2) for role, value in roles.items()},
            "kinstr_event": round(event(lab, counter, "two") / 1e3, 1),
        }


def run(say: Callable[[str], None] = lambda line: None) -> dict[str, float]:
    """All that is counted; what cannot be is said."""
    if shutil.which("valgrind") is None:
        say("instructions are not counted: there is no valgrind, which `make bench` installs")
        return {}
    results: dict[str, float] = {}
    for interpreter in there(say):
        results |= roam_core_instructions.measure(interpreter)
    for interpreter, rules in ways(say):
        with tempfile.TemporaryDirectory(prefix="roam-callgrind-") as name:
            tool = ("valgrind", "-q", "--tool=callgrind", "--trace-children=yes")
            out = f"--callgrind-out-file={name}/$XLAT464_MACHINE.%p"
            with daemons_run_on(interpreter, (*tool, out)):
                found = measure(say, rules, Path(name))
        say(", ".join(f"{interpreter.keys(rules)}{key} {value}" for key, value in found.items()))
        results |= {interpreter.keys(rules) + key: value for key, value in found.items()}
    return results


if __name__ == "__main__":
    print(json.dumps(run(lambda line: print(line, flush=True)), indent=1))
