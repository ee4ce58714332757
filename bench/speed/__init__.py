# SPDX-License-Identifier: ISC
"""How fast packets cross translations: siit without and with its BPF fast path, and tayga, against plain IPv6.

one      one translation                          (path.py)
two      CLAT and PLAT, without firewall rules    (path.py)
gro      the same, over links that cut packets, with GRO off, on and in lists
lab      a client's whole path in a lab, with NAT and all rules (lab.py)
roamed   that with the fast path, while so many clients have roamed
"""

import os
import subprocess
import tempfile
from collections.abc import Iterable
from pathlib import Path

from bench.speed import report
from bench.speed.cells import GROUPS, Found, Say, cells, measure
from bench.speed.cpu import resident_kib
from bench.speed.figures import figures
from bench.speed.lab import whole_path
from bench.speed.path import path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
CC = ("cc", "-std=c11", "-O2", "-Wall", "-Wextra", "-Werror")
BUSY = "; others work on it, so only ratios of CPU time tell much"
ROUNDS, SECONDS = 7, 1.0
QUICK_ROUNDS, QUICK_SECONDS = 1, 0.1


def run(
    say: Say = lambda line: None, groups: Iterable[str] = GROUPS, quick: bool = False, into: Path = BUILD
) -> dict[str, float]:
    """Measure groups, write what was measured into a folder, and return the figures.

    Raises BenchError or LabError when the machine lacks something.
    """
    rounds, seconds = (QUICK_ROUNDS, QUICK_SECONDS) if quick else (ROUNDS, SECONDS)
    busy = os.getloadavg()[0]
    say(f"load of the machine before: {busy:.1f}" + (BUSY if busy > 0.5 else ""))
    wanted, found, memory = list(groups), Found(), dict[str, float]()
    with tempfile.TemporaryDirectory(prefix="speed-bench-") as name:
        program = f"{name}/net_load"
        subprocess.run([*CC, "-o", program, str(ROOT / "bench/net_load.c")], check=True)
        if of_path := [group for group in wanted if group in ("one", "two", "gro")]:
            with path(program, Path(name)) as (one, two):
                for group in of_path:
                    topology = one if group == "one" else two
                    found |= measure(topology, cells(group, topology.variants), rounds, seconds, say)
                for variant in ("siit", "tayga"):
                    kib = max(map(resident_kib, two.daemons(variant)))
                    memory[f"speed.{variant}_rss_kib"] = kib
        if of_lab := [group for group in wanted if group in ("lab", "roamed")]:
            with whole_path(program, say) as whole:
                for group in sorted(of_lab):  # roamed comes last: clients do not come back
                    table = cells(group, whole.variants)
                    for roamed in dict.fromkeys(cell.roamed for cell in table):
                        whole.have_roamed(roamed)
                        some = [cell for cell in table if cell.roamed == roamed]
                        found |= measure(whole, some, rounds, seconds, say)
    for line in report.table(found):
        say(line)
    for written in report.write(found, into):
        say(str(written))
    return {**figures(found), **memory}
