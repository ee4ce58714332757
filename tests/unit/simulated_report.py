# SPDX-License-Identifier: ISC
"""What people see of a simulation: a bar while it lasts, and a table of what happened."""

import resource
import sys
import time
from collections import Counter


class Progress:
    """A bar on a terminal, rewritten in place; elsewhere nothing."""

    WIDTH = 40

    def __init__(self) -> None:
        self._begun_s = self._told_s = time.monotonic()
        self._is_shown = sys.stderr.isatty()

    def tell(self, what: str, share: float) -> None:
        now_s = time.monotonic()
        if self._is_shown and now_s > self._told_s + 0.2:
            self._told_s = now_s
            bar = "#" * int(share * self.WIDTH)
            left_s = (now_s - self._begun_s) * (1 / max(share, 0.001) - 1)
            print(
                f"\r[{bar:{self.WIDTH}}] {share:4.0%} {what:10} {left_s:5.0f} s left ",
                end="",
                file=sys.stderr,
                flush=True,
            )

    def end(self) -> None:
        if self._is_shown:
            print("\r" + " " * (self.WIDTH + 40), end="\r", file=sys.stderr, flush=True)


def summarize(simulation) -> dict:
    world = simulation.world
    counters: Counter = Counter()
    for node in world.nodes:
        counters.update(node.core.counters.sorted())
    wall_s = time.monotonic() - simulation.wall_s
    return {
        "seed": simulation.seed,
        "nodes": len(world.nodes),
        "clients": len(world.clients),
        "simulated_s": round(world.now_s - simulation.begun_s),
        "wall_s": round(wall_s, 1),
        "events": world._count,
        "events_per_s": round(world._count / wall_s),
        "rss_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024,
        **{name.replace(" ", "_"): count for name, count in sorted(simulation.counts.items())},
        "rounds": simulation.rounds,
        "counters": dict(sorted(counters.items())),
    }


def table(found: dict) -> str:
    lines = [
        f"{name.replace('_', ' '):20} {value:>12,}"
        for name, value in found.items()
        if isinstance(value, (int, float))
    ]
    lines += ["", f"{'ROUND':12} {'WALKS':>10} {'CONNECTIONS KEPT':>22}"]
    lines += [
        f"{each['trouble']:12} {each['walks']:>10,} {each['kept']:>12,} of {each['had']:,}"
        for each in found["rounds"]
    ]
    return "\n".join(lines)


def row(found: dict) -> str:
    """One of many seeds."""
    broken = "-" if found["broken"] is None else found["broken"]["invariant"]
    return f"seed {found['seed']:>6} {found['wall_s']:>9,} s {found.get('walks', 0):>10,} walks  broken: {broken}"
