# SPDX-License-Identifier: ISC
"""How fast packets cross translations: siit without and with its BPF fast path, and tayga, against plain IPv6.

one      one translation                          (path.py)
two      CLAT and PLAT, without firewall rules    (path.py)
gro      the same, over links that cut packets, with GRO off, on and in lists
"""

import subprocess
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path

from bench.speed import report
from bench.speed.cells import GROUPS, Found, cells, measure
from bench.speed.cpu import resident_kib
from bench.speed.figures import figures
from bench.speed.path import path

ROOT = Path(__file__).resolve().parents[2]
BUILD = ROOT / "build"
ROUNDS, SECONDS = 7, 1.0
QUICK_ROUNDS, QUICK_SECONDS = 1, 0.1
Say = Callable[[str], None]


def run(
    say: Say = lambda line: None, groups: Iterable[str] = GROUPS, quick: bool = False, into: Path = BUILD
) -> dict[str, float]:
    """Measure groups, write what was measured into a folder, and return the figures.

    Raises BenchError or LabError when the machine lacks something.
    """
    rounds, seconds = (QUICK_ROUNDS, QUICK_SECONDS) if quick else (ROUNDS, SECONDS)
    wanted, found, memory = list(groups), Found(), dict[str, float]()
    with tempfile.TemporaryDirectory(prefix="speed-bench-") as name:
        program = f"{name}/net_load"
        subprocess.run(["cc", "-O2", "-o", program, str(ROOT / "bench/net_load.c")], check=True)
        of_path = [group for group in wanted if group in ("one", "two", "gro")]
        if of_path:
            with path(program, Path(name)) as (one, two):
                for group in of_path:
                    topology = one if group == "one" else two
                    found |= measure(topology, cells(group, topology.variants), rounds, seconds, say)
                for variant in ("siit", "tayga"):
                    kib = max(map(resident_kib, two.daemons(variant)))
                    memory[f"speed.{variant}_rss_kib"] = kib
    for line in report.table(found):
        say(line)
    for written in report.write(found, into):
        say(str(written))
    return {**figures(found), **memory}
